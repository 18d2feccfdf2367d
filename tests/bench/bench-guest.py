#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks with a real guest, as ratios within one run, one JSON object a line.

boot: time to the first line of init, ours against Debian's qemu-system-x86_64 -accel tcg, same kernel and initrd.
io:   4 KiB direct I/O in the guest, sequential at queue depth 1, random at 1 and 32, on a file and on a null back end: the
      remote NVMe controller against the same one in process; the best of runs that take turns.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

OURS = str(ROOT / "build/system/qemu-system-x86_64")
PEER = "/usr/bin/qemu-system-x86_64"
APPEND = "console=ttyS0 no_timer_check quiet"


def emit(name, **figures):
    print(json.dumps({"bench": name, **figures}), flush=True)


def boot_command(binary, initrd):
    return [binary, "-machine", "q35", "-accel", "tcg", "-nodefaults", "-nographic", "-serial", "stdio", "-m", "512",
            "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", APPEND]


def time_to_line(command, marker, timeout):
    """Seconds until a console line holds `marker`; the process is killed then."""
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as vm:
        try:
            for line in vm.stdout:
                if marker in line:
                    return time.monotonic() - start
                if time.monotonic() - start > timeout:
                    break
        finally:
            vm.kill()
    raise RuntimeError(f"{command[0]} never said {marker}")


def bench_boot(work, runs):
    initrd = guest.initramfs(work / "boot.gz", guest.PROLOGUE + "echo bench-init\nsleep 1000\n")
    ours, peer = [], []
    for _ in range(runs):
        ours.append(time_to_line(boot_command(OURS, initrd), b"bench-init", 600))
        peer.append(time_to_line(boot_command(PEER, initrd), b"bench-init", 600))
    emit("boot-to-init", ours_s=round(statistics.median(ours), 2), peer_s=round(statistics.median(peer), 2),
         ratio=round(statistics.median(ours) / statistics.median(peer), 2), runs=runs)


def io_client(initrd, device):
    return [OURS, "-machine", "q35", "-accel", "tcg", "-nodefaults", "-nographic", "-serial", "stdio", "-m", "512",
            "-object", "memory-backend-memfd,id=mem,size=512M,share=on", "-machine", "memory-backend=mem",
            "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", APPEND, *device]


def io_figures(command):
    out = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
                         check=True, timeout=900).stdout
    figures = {}
    for line in out.splitlines():
        words = line.split()
        if words[:1] == ["io"] and len(words) == 4:
            figures[words[1]] = int(words[3]) / float(words[2])
    if len(figures) != 6:
        raise RuntimeError("the guest printed:\n" + out[-2000:])
    return figures


def run_io(work, initrd, drive, split):
    disk = ["-drive", f"id=d0,if=none,format=raw,{drive}", "-device", "nvme,id=nvme0,serial=bench,drive=d0"]
    if not split:
        return io_figures(io_client(initrd, disk))
    sock = work / "io.sock"
    server = [OURS, "-machine", "x-remote,vfio-user=on", "-nodefaults", *disk,
              "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=nvme0"]
    with subprocess.Popen(server) as process:
        try:
            while not sock.exists():
                time.sleep(0.01)
            return io_figures(io_client(initrd, ["-device", f"vfio-user-pci,socket={sock}"]))
        finally:
            process.terminate()


def bench_io(work, runs, count):
    program = work / "guest-io"
    subprocess.run(["gcc", "-O2", "-static", "-o", program, str(ROOT / "tests/bench/guest/guest-io.c")], check=True)
    init = guest.PROLOGUE + f"while [ ! -b /dev/nvme0n1 ]; do sleep 1; done\n/bin/guest-io /dev/nvme0n1 {count}\npoweroff -f\n"
    initrd = guest.initramfs(work / "io.gz", init, {"bin/guest-io": (0o100755, program.read_bytes())})
    image = work / "io.img"
    image.write_bytes(bytes(64 << 20))
    for kind, drive in {"file": f"file={image}", "null": "file=null-co://,size=64M"}.items():
        local, split = [], []
        for _ in range(runs):
            local.append(run_io(work, initrd, drive, False))
            split.append(run_io(work, initrd, drive, True))
        for name in local[0]:
            a, b = (max(r[name] for r in rows) for rows in (split, local))
            emit(f"guest-io-4k-{kind}-{name}", split_iops=round(a), local_iops=round(b), ratio=round(a / b, 3), runs=runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["boot", "io"], help="boot, io (default: both)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--count", type=int, default=4000, help="requests of each kind in the guest")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mpqemu-bench-") as work:
        if "boot" in args.what:
            bench_boot(pathlib.Path(work), args.runs)
        if "io" in args.what:
            bench_io(pathlib.Path(work), args.runs, args.count)


if __name__ == "__main__":
    main()
