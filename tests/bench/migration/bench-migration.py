#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a move costs: RAM a second against bare copies through a socket, downtime with and without a device in another process, how much
slower the guest is meanwhile, pages sent twice; and the same of Debian's QEMU when it is there (without a disk: its nvme cannot
migrate).  Rounds interleave; the best counts.

A bare copy is as many bytes of one process's memory, more than a cache holds, that go to another process: into a buffer that stays in its
cache; into shared memory that is fresh, as a destination's is; into shared memory that was there before, as a destination's with
prealloc=on.  Each move is read against the copy into memory of its kind, made just before it beside the same guest: one that runs
wants a processor for itself.

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
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

RAM, DATA, BUSY = 1536, 1280, 4  # MiB: of the guest; random in it, so much that the ends of a move count little; that it writes all the time
COPIED, CHUNK = DATA << 20, 1 << 20
DOWNTIME = 30  # ms that a guest may stand: with much more QEMU stops it in its first round, and has nothing to send twice
INIT = guest.PROLOGUE + f"""
until [ -b /dev/nvme0n1 ] || grep -q nodisk /proc/cmdline; do sleep 0.1; done
mount -t tmpfs -o size={DATA + 8}m t /tmp; dd if=/dev/urandom of=/tmp/data bs=1M count={DATA} 2>/dev/null
/migration-guest mem memory {BUSY}
"""


class Vm:
    def __init__(self, args, place, kind, name, initrd, uri=None, there=False):
        self.kind, self.path = kind, place / f"{name}.qmp"
        self.laps, self.server = [], None
        command = [args.other if kind == "other" else args.binary, "-machine", "q35,accel=tcg,memory-backend=mem", "-nodefaults", "-m", str(RAM),
                   "-object", f"memory-backend-memfd,id=mem,size={RAM}M,share=on,prealloc={'on' if there else 'off'}", "-nographic", "-serial", "stdio",
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


def slowdown(args, place, name, source, initrd):
    """How many times slower the guest is while what it writes is logged; that move is given up."""
    uri = f"unix:{place}/{name}-slow"
    target = Vm(args, place, source.kind, f"{name}-slow", initrd, uri)
    try:
        before = source.rate(2)
        source.qmp("migrate-set-parameters", **{"max-bandwidth": 4 << 20, "downtime-limit": 1})
        source.qmp("migrate", uri=uri)
        time.sleep(0.5)
        during = source.rate(2)
        source.qmp("migrate_cancel")
        source.until_over()
        return before / during
    finally:
        target.end()


def one_move(args, place, way, number, initrd):
    """Figures of one guest that moves once."""
    kind, there, runs = way
    name = f"{kind}{number}{'t' if there else 'f'}{'r' if runs else 's'}"
    source, target = Vm(args, place, kind, name, initrd), None
    try:
        source.rate(0.1)
        figures = {"slowdown": slowdown(args, place, name, source, initrd)} if runs and not there else {}
        target = Vm(args, place, kind, f"{name}-to", initrd, f"unix:{place}/{name}", there)
        if not runs:
            source.qmp("stop")
        copy = bare_copy(str(place / "copy"), "there" if there else "fresh")
        source.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 40, "downtime-limit": DOWNTIME})
        source.qmp("migrate", uri=f"unix:{place}/{name}")
        said = source.until_over()
        assert said["status"] == "completed", said
        ram = said["ram"]
        seconds = max(said["total-time"] - said.get("setup-time", 0), 1) / 1000
        return {**figures, "MB/s": ram["transferred"] / 1e6 / seconds, "copy MB/s": copy, "downtime": said.get("x-downtime-us", said["downtime"] * 1000) / 1000,
                "twice": ram["normal"] + ram["duplicate"] - ram["total"] // 4096, "rounds": ram["dirty-sync-count"]}
    finally:
        source.end()
        if target:
            target.end()


def swallow(path, size, where):
    """Reads as many bytes: all into the same memory; or each to its own, fresh or used before, and shared."""
    memory = bytearray(CHUNK) if where == "cache" else mmap.mmap(-1, size)
    if where == "there":
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = 1
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        conn, _ = listener.accept()
        view, left = memoryview(memory), size
        while left > 0:
            left -= conn.recv_into(view if where == "cache" else view[size - left:], min(left, CHUNK))
        conn.send(b".")


def bare_copy(path, where, size=COPIED):
    """MB/s of as many bytes through a socket, from memory to memory of two processes."""
    data = memoryview(os.urandom(CHUNK) * (size // CHUNK))
    other = multiprocessing.Process(target=swallow, args=(path, size, where))
    other.start()
    with socket.socket(socket.AF_UNIX) as sock:
        while sock.connect_ex(path):
            time.sleep(0.01)
        begin = time.monotonic()
        for at in range(0, size, CHUNK):
            sock.sendall(data[at:at + CHUNK])
        sock.recv(1)
        took = time.monotonic() - begin
    other.join()
    os.unlink(path)
    return size / 1e6 / took


def best(runs, figure, pick=min):
    return pick(run[figure] for run in runs)


def median(runs):
    return statistics.median(run["downtime"] for run in runs)


def tell_rate(what, runs, goal=""):
    moved, copied = best(runs, "MB/s", max), best(runs, "copy MB/s", max)
    print(f"{what}: {moved:.0f} MB/s, bare copy {copied:.0f} MB/s: ratio {moved / copied:.2f}{goal}")


def report(runs, cached, other):
    local, remote = runs["local", False, True], runs["remote", False, True]
    print("RAM over unix, and a bare copy of memory into memory of the same kind beside the same guest:")
    tell_rate("  into memory that is there (prealloc=on), the guest runs", runs["local", True, True], " (goal 0.7)")
    tell_rate("  into memory that is there (prealloc=on), the guest stands", runs["local", True, False], " (goal 0.7)")
    tell_rate("  into fresh memory, the guest runs", local, " (goal 0.7)")
    print(f"  a bare copy into a buffer that stays in the cache, no guest: {max(cached):.0f} MB/s")
    down = best(local, "downtime")
    print(f"downtime: {down:.2f} ms without, {best(remote, 'downtime'):.2f} ms with a device in another process: "
          f"ratio {best(remote, 'downtime') / down:.2f} (goal 1.2); median {median(local):.2f}, {median(remote):.2f} ms: "
          f"{median(remote) / median(local):.2f}")
    print(f"guest slowdown while writes are logged: {best(local, 'slowdown'):.2f} times; pages sent twice: {best(local, 'twice')}, of "
          f"{BUSY * 256} that it writes all the time")
    if other:
        fresh, there = runs["other", False, True], runs["other", True, True]
        print(f"QEMU: {best(fresh, 'MB/s', max):.0f} MB/s (ours {best(local, 'MB/s', max) / best(fresh, 'MB/s', max):.2f} times), into "
              f"memory that is there {best(there, 'MB/s', max):.0f} MB/s (ours "
              f"{best(runs['local', True, True], 'MB/s', max) / best(there, 'MB/s', max):.2f} times), downtime {best(fresh, 'downtime'):.0f} ms, "
              f"slowdown {best(fresh, 'slowdown'):.2f}, pages sent twice {best(fresh, 'twice')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default=str(ROOT / "build/system/qemu-system-x86_64"))
    parser.add_argument("--guest", default=str(ROOT / "build/tests/functional/migration-guest"))
    parser.add_argument("--other", default=shutil.which("qemu-system-x86_64", path="/usr/bin"))
    args = parser.parse_args()
    ways = [("local", False, True), ("local", True, True), ("local", True, False), ("remote", False, True)]
    ways += [("other", False, True), ("other", True, True)] if args.other else []
    runs, cached = {way: [] for way in ways}, []
    with tempfile.TemporaryDirectory() as tmp:
        place = pathlib.Path(tmp)
        (place / "disk.img").write_bytes(bytes(4 << 20))
        initrd = guest.initramfs(place / "initrd.gz", INIT, {"migration-guest": (0o100755, pathlib.Path(args.guest).read_bytes())})
        for number in range(args.rounds):
            for way in ways:
                runs[way].append(one_move(args, place, way, number, initrd))
                print(way[0], "there" if way[1] else "fresh", "runs" if way[2] else "stands",
                      {name: round(value, 1) for name, value in runs[way][-1].items()}, flush=True)
            cached.append(bare_copy(str(place / "copy"), "cache"))
    report(runs, cached, args.other)


if __name__ == "__main__":
    main()
