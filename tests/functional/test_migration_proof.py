# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole of it: a guest with five devices in another process, each at work, moves back and forth with that process.

Its disks' journals (nvme, virtio-blk, lsi), the frames of its cards (e1000, virtio-net) and its memory are numbered and summed:
migration-guest.c.  And it stays while its devices move, one after the other, to another process.  MIGRATION_HOPS=20 for the long run."""
import binascii
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from network import VIRTIO
from test_migration import BINARY, Vm, guest
from test_scsi import MODULES as SCSI

HOPS = int(os.environ.get("MIGRATION_HOPS", "5"))
HANDOVERS = HOPS if "MIGRATION_HOPS" in os.environ else 2
RAM = 192
MODULES = [*dict.fromkeys([*SCSI, "nvme-core", "nvme", *VIRTIO, "virtio_blk", "failover", "net_failover",
                           "virtio_net", "e1000"])]
CARDS = {"e1000": "52:54:00:00:00:01", "virtio-net": "52:54:00:00:00:02"}
SLOTS, RECORD = 256, 512
INIT = guest.PROLOGUE + """
for round in 1 2 3 4; do for m in %s; do insmod /$m.ko 2>/dev/null; done; done
until [ -b /dev/sda ] && [ -b /dev/vda ] && [ -b /dev/nvme0n1 ]; do sleep 0.1; done
for card in /sys/class/net/eth*; do
    [ "$(cat $card/address)" = %s ] && e1000=${card##*/} || virtio=${card##*/}
    ip link set ${card##*/} up
done
mount -t ext4 /dev/nvme0n1 /mnt && dd if=/dev/zero of=/mnt/journal bs=64k count=2 conv=fsync 2>/dev/null
for n in 0 1 2 3 4 5 6 7; do dd if=/dev/urandom of=/mnt/kept$n bs=64k count=4 2>/dev/null; done
sum=$(cat /mnt/kept* | md5sum)
(n=0; while [ ! -e /tmp/end ]; do n=$((n + 1)); cp /mnt/kept$((n %% 8)) /mnt/new$((n %% 8)); rm -f /mnt/new$(((n + 4) %% 8)); done) &
churn=$!
echo "test: ready"
/migration-guest disk nvme /mnt/journal disk virtio-blk /dev/vda disk lsi /dev/sda net e1000 $e1000 net virtio-net $virtio mem memory 12
touch /tmp/end; wait $churn
umount /mnt; mount -t ext4 /dev/nvme0n1 /mnt
[ "$(cat /mnt/kept* | md5sum)" = "$sum" ] || echo "test: error-files-differ"
umount /mnt && echo "test: unmounted"
while true; do sleep 1; done
""" % (" ".join(MODULES), CARDS["e1000"])


class Peer:
    """The other end of both cards' wires."""

    def __init__(self, path):
        self.frames = {name: [] for name in CARDS}  # (number, when)
        self.bad = 0
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind(str(path))
        self.names = {bytes.fromhex(mac.replace(":", "")): name for name, mac in CARDS.items()}
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while True:
            frame = self.sock.recv(65536)
            if not frame:
                return
            if frame[12:14] == b"\x88\xb5":
                number = record_number(frame[14:])
                self.bad += number is None
                self.frames[self.names[frame[6:12]]].append((number, time.monotonic()))

    def end(self, path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", str(path))
        self.thread.join()


def record_number(data):
    """None: it is not as it was written."""
    magic, number, crc = struct.unpack_from("<4sII", data)
    return number if magic == b"MIGR" and binascii.crc32(data[12:]) == crc else None


class Side:
    """The process of the guest and that of its devices."""

    def __init__(self, tmp_path, name, uri=None):
        self.tmp, self.name, self.uri = tmp_path, name, uri
        self.start_server()
        self.start_client()

    def wire(self, number):
        return f"dgram,id=n{number},local.type=unix,local.path={self.tmp}/{self.name}.n{number},remote.type=unix,remote.path={self.tmp}/peer"

    def start_server(self):
        drives = [("d0", "nvme"), ("d1", "virtio-blk"), ("d2", "lsi")]
        devices = ["nvme,id=nvme0,serial=s,drive=d0", "virtio-blk-pci,id=blk0,drive=d1", "lsi53c895a,id=lsi0",
                   "scsi-hd,bus=lsi0.0,drive=d2", f"e1000,id=e0,netdev=n0,mac={CARDS['e1000']}",
                   f"virtio-net-pci,id=v0,netdev=n1,mac={CARDS['virtio-net']}"]
        served = ["nvme0", "blk0", "lsi0", "e0", "v0"]
        self.paths = {ident: self.tmp / f"{self.name}.{ident}" for ident in served}
        self.server = subprocess.Popen(
            [BINARY, "-machine", "x-remote,vfio-user=on,auto-shutdown=off", "-nodefaults", "-display", "none",
             *[word for ident, disk in drives for word in ("-drive", f"id={ident},file={self.tmp}/{disk}.img,format=raw,if=none")],
             "-netdev", self.wire(0), "-netdev", self.wire(1), *[word for device in devices for word in ("-device", device)],
             *[word for ident, path in self.paths.items()
               for word in ("-object", f"x-vfio-user-server,id=vfu-{ident},type=unix,path={path},device={ident}")],
             *(("-incoming", "defer") if self.uri else ())],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not all(path.exists() for path in self.paths.values()):
            assert self.server.poll() is None, self.server.stderr.read()
            time.sleep(0.01)

    def start_client(self):
        self.vm = Vm.__new__(Vm)
        self.vm.qmp_path = self.tmp / f"{self.name}.qmp"
        command = [BINARY, "-machine", "q35,accel=tcg,memory-backend=mem", "-nodefaults", "-m", str(RAM), "-nographic",
                   "-object", f"memory-backend-memfd,id=mem,size={RAM}M,share=on", "-serial", "stdio",
                   "-kernel", str(guest.kernel_with_modules(MODULES, guest.GENERIC)[0]), "-initrd", str(self.tmp / "initrd.gz"),
                   "-append", guest.CMDLINE, "-qmp", f"unix:{self.vm.qmp_path},server=on,wait=off",
                   "-qmp", f"unix:{self.vm.qmp_path}2,server=on,wait=off", "-global", "vfio-user-pci.x-msg-timeout=60000",
                   *[word for ident, path in self.paths.items() for word in ("-device", f"vfio-user-pci,id={ident},socket={path}")],
                   *(("-incoming", self.uri) if self.uri else ())]
        self.vm.launch(command, stdin=subprocess.PIPE)

    def told(self, name):
        """The last number the guest told of it, or None."""
        with self.vm.changed:
            return max((int(line.split()[2]) for line in self.vm.lines
                        if len(line.split()) == 3 and line.split()[:2] in (["at", name], ["last", name])), default=None)

    def until(self, condition):
        with self.vm.changed:
            while not condition():
                assert self.vm.process.poll() is None, self.vm.process.stderr.read()
                self.vm.changed.wait(0.5)
            assert not [line for line in self.vm.lines if "error" in line], self.vm.lines

    def all_go_on(self):
        """Every disk, card and the memory make progress here."""
        for name in ("nvme", "virtio-blk", "lsi", *CARDS, "memory"):
            self.until(lambda: self.told(name) is not None)
            begin = self.told(name)
            self.until(lambda: self.told(name) > begin)

    def end(self):
        self.vm.process.stdin.close()
        self.vm.end()
        self.server.kill()
        self.server.wait()
        return self.server.stderr.read()


class Successor(Side):
    """Another process for the devices of a guest that stays."""

    def __init__(self, tmp_path, name):
        self.tmp, self.name, self.uri = tmp_path, name, "none comes"
        self.start_server()

    def end(self):
        self.server.kill()
        self.server.wait()
        return self.server.stderr.read()


def move(source, target, auto_converge):
    """What query-migrate says in the end."""
    source.vm.run("migrate-set-capabilities", capabilities=[{"capability": "auto-converge", "state": auto_converge}])
    if auto_converge:  # it is needed then
        source.vm.run("migrate-set-parameters", **{"max-bandwidth": 64 << 20, "downtime-limit": 100, "cpu-throttle-initial": 60,
                                                   "cpu-throttle-increment": 30})
    else:
        source.vm.run("migrate-set-parameters", **{"max-bandwidth": 0, "downtime-limit": 400})
    assert source.vm.run("migrate", uri=target.uri) == {"return": {}}
    info = source.vm.until_migrated()
    assert info["status"] == "completed", info
    target.vm.until_status("running")
    return info


def check_journal(data, last):
    """Each slot has the newest record that belongs there."""
    for slot in range(SLOTS):
        newest = last - (last - slot) % SLOTS
        record = data[slot * RECORD:(slot + 1) * RECORD]
        assert newest <= 0 or record_number(record) == newest, (slot, last, record[:16])


def check_frames(peer, moves):
    """In order, none twice; what is missing was sent within a move."""
    assert not peer.bad
    lost = {}
    for name, frames in peer.frames.items():
        lost[name] = 0
        assert frames[0][0] <= 5, frames[:3]
        for (before, when), (number, then) in zip(frames, frames[1:]):
            assert number > before, f"{name}: frame {number} after {before}"
            lost[name] += number - before - 1
            assert number == before + 1 or any(begin < then and when < end for begin, end in moves), (name, before, number)
    return lost


def check_file_system(tmp_path, last):
    image = str(tmp_path / "nvme.img")
    done = subprocess.run(["/sbin/e2fsck", "-fn", image], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run(["/sbin/debugfs", "-R", f"dump /journal {tmp_path}/journal", image], check=True, capture_output=True)
    check_journal((tmp_path / "journal").read_bytes(), last)


@pytest.fixture(name="place")
def fixture_place(tmp_path):
    for name in ("nvme", "virtio-blk", "lsi"):
        with open(tmp_path / f"{name}.img", "wb") as image:
            image.truncate(32 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(tmp_path / "nvme.img")], check=True)
    _, modules = guest.kernel_with_modules(MODULES, guest.GENERIC)
    program = pathlib.Path(BINARY).parents[1] / "tests/functional/migration-guest"
    guest.initramfs(tmp_path / "initrd.gz", INIT, {**{f.name: (0o100644, f.read_bytes()) for f in modules},
                                                   "migration-guest": (0o100755, program.read_bytes())})
    sides = []
    yield tmp_path, sides
    for side in sides:
        side.end()


def free_uri(tmp_path, transport, hop):
    if transport == "unix":
        return f"unix:{tmp_path}/hop{hop}"
    return f"tcp:127.0.0.1:{20000 + os.getpid() % 400 * 30 + hop}"  # below those the kernel gives away


def hops():
    """Transport and auto-converge, all four pairs."""
    return [(("unix", "tcp")[n % 2], n // 2 % 2 == 1) for n in range(HOPS)]


def first_side(place):
    """A guest at work, and the far end of its wires."""
    tmp_path, sides = place
    peer = Peer(tmp_path / "peer")
    side = Side(tmp_path, "side0")
    sides.append(side)
    side.all_go_on()
    return peer, side


def test_nothing_is_lost(place):
    tmp_path, sides = place
    peer, side = first_side(place)
    moves = []
    for hop, (transport, auto_converge) in enumerate(hops(), 1):
        target = Side(tmp_path, f"side{hop}", free_uri(tmp_path, transport, hop))
        sides.append(target)
        begin = time.monotonic()
        info = move(side, target, auto_converge)
        target.all_go_on()
        moves.append((begin, time.monotonic()))
        sides.remove(side)
        assert side.end() == ""
        print(f"hop {hop}: {transport}, auto-converge {auto_converge}: {info['total-time']} ms, downtime {info['downtime']} ms,"
              f" rounds {info['ram']['dirty-sync-count']}, slowed by {info.get('cpu-throttle-percentage', 0)} %")
        side = target
    all_is_there(tmp_path, side, peer, moves)


def all_is_there(tmp_path, side, peer, moves):
    """The guest comes to its end; disks and wires have all that it says."""
    side.vm.process.stdin.write("end\n")
    side.vm.process.stdin.flush()
    side.until(lambda: "unmounted" in side.vm.lines)
    last = {name: side.told(name) for name in ("nvme", "virtio-blk", "lsi", *CARDS)}
    side.vm.run("quit")
    side.vm.process.wait()
    peer.end(tmp_path / "peer")
    for name in ("virtio-blk", "lsi"):
        check_journal((tmp_path / f"{name}.img").read_bytes(), last[name])
    check_file_system(tmp_path, last["nvme"])
    lost = check_frames(peer, moves)
    for name in CARDS:
        assert peer.frames[name][-1][0] == last[name]
    print(f"{len(moves)} moves; last numbers {last}; frames lost {lost}")


def second_monitor(vm):
    monitor = Vm.__new__(Vm)
    monitor.qmp_path, monitor.process, monitor.events = f"{vm.qmp_path}2", vm.process, []
    monitor.connect()
    return monitor


def hand_over_to_one_that_stands(side, successor, ident):
    """The guest, all its devices and the monitor go on until it does."""
    monitor = second_monitor(side.vm)
    successor.server.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(successor.server.pid, os.WUNTRACED)[1])  # all its threads
    command = {"execute": "x-device-handover", "arguments": {"id": ident, "socket": str(successor.paths[ident])}}
    side.vm.sock.sendall(json.dumps(command).encode() + b"\n")
    for _ in range(2):
        side.all_go_on()
        assert monitor.run("query-status")["return"]["status"] == "running"
        assert "being replaced" in monitor.run("device_del", id=ident)["error"]["desc"]
    successor.server.send_signal(signal.SIGCONT)
    monitor.sock.close()
    while "event" in (answer := json.loads(side.vm.file.readline())):
        pass
    return answer


def test_devices_change_their_process(place):
    """Each to a new one in turn, again and again, while it and the others are at work."""
    tmp_path, sides = place
    peer, side = first_side(place)
    moves = []
    for hop in range(1, HANDOVERS + 1):
        successor = Successor(tmp_path, f"side{hop}")
        sides.append(successor)
        begin = time.monotonic()
        for ident, path in successor.paths.items():
            if hop == 1 and ident == "nvme0":
                answer = hand_over_to_one_that_stands(side, successor, ident)
            else:
                answer = side.vm.run("x-device-handover", id=ident, socket=str(path))
            assert "return" in answer, answer
            print(f"{hop}: {ident}: {answer['return']}")
        side.all_go_on()
        moves.append((begin, time.monotonic()))
        sides.remove(successor)
        side.server, successor.server = successor.server, side.server
        assert successor.end() == ""
    assert side.vm.run("query-status")["return"]["status"] == "running"
    all_is_there(tmp_path, side, peer, moves)
