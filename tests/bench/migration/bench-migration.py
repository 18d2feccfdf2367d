#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a move costs: RAM a second against a bare copy through a socket, downtime with and without a device in another process, how much
slower the guest is meanwhile, pages sent twice; and the same of Debian's QEMU when it is there (without a disk: its nvme cannot
migrate).  Rounds interleave; the best counts.

    tests/bench/migration/bench-migration.py [--rounds N] [--binary PATH] [--guest PATH] [--other PATH]
"""
import argparse
import json
import mmap
import multiprocessing
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

RAM, DATA, BUSY = 384, 192, 4  # MiB: of the guest; random in it; that it writes all the time
INIT = guest.PROLOGUE + f"""
until [ -b /dev/nvme0n1 ] || grep -q nodisk /proc/cmdline; do sleep 0.1; done
mount -t tmpfs -o size={DATA + 8}m t /tmp; dd if=/dev/urandom of=/tmp/data bs=1M count={DATA} 2>/dev/null
/migration-guest mem memory {BUSY}
"""


class Vm:
    def __init__(self, args, place, kind, name, initrd, uri=None):
        self.place, self.path = place, place / f"{name}.qmp"
        self.laps, self.server = [], None
        command = [args.other if kind == "other" else args.binary, "-machine", "q35,accel=tcg,memory-backend=mem", "-nodefaults", "-m", str(RAM),
                   "-object", f"memory-backend-memfd,id=mem,size={RAM}M,share=on", "-nographic", "-serial", "stdio",
                   "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", "console=ttyS0 no_timer_check quiet" + (" nodisk" if kind == "other" else ""),
                   "-qmp", f"unix:{self.path},server=on,wait=off"]
        drive = ["-drive", f"id=d0,file={place}/disk.img,format=raw,if=none"]
        if kind == "remote":
            sock = place / f"{name}.vfio"
            self.server = subprocess.Popen([args.binary, "-machine", "x-remote,vfio-user=on,auto-shutdown=off", "-nodefaults", "-display", "none",
                                            *drive, "-device", "nvme,id=nvme0,serial=s,drive=d0", *(("-incoming", "defer") if uri else ()),
                                            "-object", f"x-vfio-user-server,id=v,type=unix,path={sock},device=nvme0"], stdin=subprocess.DEVNULL)
            while not sock.exists():
                time.sleep(0.01)
            command += ["-device", json.dumps({"driver": "vfio-user-pci", "id": "nvme0", "socket": {"type": "unix", "path": str(sock)}})]
        elif kind == "local":
            command += [*drive, "-device", "nvme,id=nvme0,serial=s,drive=d0"]
        self.process = subprocess.Popen(command + (["-incoming", uri] if uri else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        errors="replace")
        threading.Thread(target=self.read, daemon=True).start()
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(str(self.path))
                break
            except OSError:
                time.sleep(0.02)
        self.file = self.sock.makefile("r")
        self.file.readline()
        self.qmp("qmp_capabilities")

    def read(self):
        for line in self.process.stdout:
            if found := re.search(r"test: at memory (\d+)", line):
                self.laps.append((time.monotonic(), int(found.group(1))))

    def qmp(self, command, **arguments):
        self.sock.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while "event" in (answer := json.loads(self.file.readline())):
            pass
        assert "return" in answer, answer
        return answer["return"]

    def rate(self, seconds):
        """Laps of its memory a second."""
        begin = len(self.laps)
        end = time.monotonic() + seconds
        while time.monotonic() < end or len(self.laps) < begin + 2:
            time.sleep(0.05)
        (first, low), (last, high) = self.laps[begin], self.laps[-1]
        return (high - low) / (last - first)

    def until_over(self):
        while (said := self.qmp("query-migrate")).get("status") not in ("completed", "failed", "cancelled"):
            time.sleep(0.01)
        return said

    def end(self):
        for process in (self.process, self.server):
            if process:
                process.kill()
                process.wait()


def one_move(args, place, kind, number, initrd):
    """Figures of one guest that moves once."""
    source = Vm(args, place, kind, f"{kind}{number}a", initrd)
    target = Vm(args, place, kind, f"{kind}{number}b", initrd, f"unix:{place}/{kind}{number}")
    try:
        before = source.rate(2)
        source.qmp("migrate-set-parameters", **{"max-bandwidth": 4 << 20, "downtime-limit": 1})
        source.qmp("migrate", uri=f"unix:{place}/{kind}{number}")
        time.sleep(0.5)
        during = source.rate(2)
        source.qmp("migrate_cancel")
        source.until_over()
        target.end()
        target = Vm(args, place, kind, f"{kind}{number}c", initrd, f"unix:{place}/{kind}{number}m")
        source.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 40, "downtime-limit": 500})
        source.qmp("migrate", uri=f"unix:{place}/{kind}{number}m")
        said = source.until_over()
        assert said["status"] == "completed", said
        ram = said["ram"]
        seconds = max(said["total-time"] - said.get("setup-time", 0), 1) / 1000
        return {"MB/s": ram["transferred"] / 1e6 / seconds, "downtime": said["downtime"], "slowdown": before / during,
                "twice": ram["normal"] + ram["duplicate"] - RAM * 256, "bytes": ram["transferred"]}
    finally:
        source.end()
        target.end()


def swallow(path, size, keep):
    """Reads as many bytes: all into the same memory, or each to its own, fresh as a destination's is, and shared."""
    memory = mmap.mmap(-1, size) if keep else bytearray(1 << 20)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        conn, _ = listener.accept()
        view, left = memoryview(memory), size
        while left > 0:
            left -= conn.recv_into(view[size - left:] if keep else view, min(left, 1 << 20))
        conn.send(b".")


def bare_copy(path, size, keep=False):
    """MB/s of as many bytes through a socket, from memory to memory of two processes."""
    data = memoryview(os.urandom(1 << 20) * 64)
    other = multiprocessing.Process(target=swallow, args=(path, size, keep))
    other.start()
    with socket.socket(socket.AF_UNIX) as sock:
        while sock.connect_ex(path):
            time.sleep(0.01)
        begin, left = time.monotonic(), size
        while left > 0:
            part = min(left, 1 << 20)
            sock.sendall(data[left % (63 << 20):][:part])
            left -= part
        sock.recv(1)
        took = time.monotonic() - begin
    other.join()
    os.unlink(path)
    return size / 1e6 / took


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default=str(ROOT / "build/system/qemu-system-x86_64"))
    parser.add_argument("--guest", default=str(ROOT / "build/tests/functional/migration-guest"))
    parser.add_argument("--other", default=shutil.which("qemu-system-x86_64", path="/usr/bin"))
    args = parser.parse_args()
    kinds = ["local", "remote", *(["other"] if args.other else [])]
    runs, copies, kept = {kind: [] for kind in kinds}, [], []
    with tempfile.TemporaryDirectory() as tmp:
        place = pathlib.Path(tmp)
        (place / "disk.img").write_bytes(bytes(4 << 20))
        initrd = guest.initramfs(place / "initrd.gz", INIT, {"migration-guest": (0o100755, pathlib.Path(args.guest).read_bytes())})
        for number in range(args.rounds):
            for kind in kinds:
                runs[kind].append(one_move(args, place, kind, number, initrd))
                print(kind, {name: round(value, 1) for name, value in runs[kind][-1].items()}, flush=True)
            copies.append(bare_copy(str(place / "copy"), int(runs["local"][-1]["bytes"])))
            kept.append(bare_copy(str(place / "copy"), int(runs["local"][-1]["bytes"]), keep=True))
    best = {kind: {"MB/s": max(r["MB/s"] for r in runs[kind]), "downtime": min(r["downtime"] for r in runs[kind]),
                   "slowdown": min(r["slowdown"] for r in runs[kind]), "twice": min(r["twice"] for r in runs[kind])} for kind in kinds}
    local = best["local"]
    print(f"RAM over unix: {local['MB/s']:.0f} MB/s, bare copy {max(copies):.0f} MB/s: ratio {local['MB/s'] / max(copies):.2f} (goal 0.7)")
    print(f"  the same into fresh shared memory, as a destination's is: {max(kept):.0f} MB/s: ratio {local['MB/s'] / max(kept):.2f}")
    print(f"downtime: {local['downtime']} ms without, {best['remote']['downtime']} ms with a device in another process: "
          f"ratio {best['remote']['downtime'] / max(local['downtime'], 1):.2f} (goal 1.2)")
    print(f"guest slowdown while writes are logged: {local['slowdown']:.2f} times; pages sent twice: {local['twice']}")
    if "other" in best:
        other = best["other"]
        print(f"QEMU: {other['MB/s']:.0f} MB/s (ours {local['MB/s'] / other['MB/s']:.2f} times), downtime {other['downtime']} ms, "
              f"slowdown {other['slowdown']:.2f}, pages sent twice {other['twice']}")


if __name__ == "__main__":
    main()
