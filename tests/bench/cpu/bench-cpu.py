#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The software CPU against the host's and against Debian's QEMU TCG, in one run.

guest-cpu.c runs on the host and in two guests with the same kernel and initramfs.  A table says for each workload what
one unit costs, how often slower than native both are, and our time over the peer's (below 1: ours is faster); the last
lines are boot to init and the instruction rates of the integer loop and of the boot.  --json: one object a line.
"""
import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

OURS = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
PEER = os.environ.get("PEER_QEMU_BINARY", "/usr/bin/qemu-system-x86_64")
BOOTED = b"bench-init"
TIMEOUT = 600


class Run:
    """One run of the program: its figures, and for a guest the time to init and the instructions until then."""

    def __init__(self):
        self.cost, self.unit = {}, {}
        self.boot = self.boot_instructions = None

    def take(self, line):
        words = line.decode(errors="replace").split()
        if words[:1] == ["cpu"] and len(words) == 4:
            self.cost[words[1]], self.unit[words[1]] = float(words[2]), words[3]


def run_native(program, names):
    run = Run()
    for line in subprocess.run([program, *names], stdout=subprocess.PIPE, check=True).stdout.splitlines():
        run.take(line)
    return run


def count_instructions(path):
    """What the first CPU has executed, asked over QMP."""
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect(path)
        file = conn.makefile("rw")
        for command in (None, "qmp_capabilities", "query-cpus-fast"):
            if command:
                file.write(json.dumps({"execute": command}) + "\n")
                file.flush()
            answer = json.loads(file.readline())
        return answer["return"][0]["x-instructions"]


def run_guest(binary, initrd, accel="tcg", qmp=None):
    command = [binary, "-machine", "q35", "-accel", accel, "-nodefaults", "-nographic", "-serial", "stdio", "-m", "512",
               "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", "console=ttyS0 no_timer_check quiet"]
    if qmp:
        command += ["-qmp", f"unix:{qmp},server=on,wait=off"]
    run, start = Run(), time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as vm:
        try:
            for line in vm.stdout:
                if BOOTED in line:
                    run.boot = time.monotonic() - start
                    run.boot_instructions = count_instructions(qmp) if qmp else None
                run.take(line)
                if time.monotonic() - start > TIMEOUT:
                    break
        finally:
            vm.kill()
        if run.boot is None:
            raise RuntimeError(f"{binary} did not boot: {vm.stderr.read().decode(errors='replace')}")
    return run


def median(runs, name):
    return statistics.median(r.cost[name] for r in runs)


def rows_of(native, ours, peer):
    for name, unit in native[0].unit.items():
        if any(name not in r.cost for r in ours + peer):
            raise RuntimeError(f"{name}: no figure from a guest")
        n, o, p = (median(runs, name) for runs in (native, ours, peer))
        yield {"bench": "cpu-" + name, "unit": unit, "native_ns": n, "ours_ns": o, "peer_ns": p,
               "ours_slowdown": round(o / n, 2), "peer_slowdown": round(p / n, 2), "ratio": round(o / p, 2)}


def boot_row(ours, peer):
    o, p = (statistics.median(r.boot for r in runs) for runs in (ours, peer))
    return {"bench": "boot-to-init", "ours_s": round(o, 2), "peer_s": round(p, 2), "ratio": round(o / p, 2),
            "ours_million_per_s": round(statistics.median(r.boot_instructions / r.boot for r in ours) / 1e6)}


def print_table(rows, boot):
    print(f"{'workload':20} {'unit':12} {'native ns':>12} {'ours ns':>12} {'peer ns':>12} "
          f"{'ours/native':>11} {'peer/native':>11} {'ours/peer':>9}")
    for r in rows:
        print(f"{r['bench'][4:]:20} {r['unit']:12} {r['native_ns']:12.3f} {r['ours_ns']:12.3f} {r['peer_ns']:12.3f} "
              f"{r['ours_slowdown']:11.2f} {r['peer_slowdown']:11.2f} {r['ratio']:9.2f}")
        if r["bench"] == "cpu-integer-loop":
            rate = 1000 / r["ours_ns"]
    print(f"boot to init: ours {boot['ours_s']} s, peer {boot['peer_s']} s, ratio {boot['ratio']}; "
          f"{boot['ours_million_per_s']} million instructions per second")
    if any(r["bench"] == "cpu-integer-loop" for r in rows):
        print(f"integer loop: {rate:.0f} million instructions per second")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="*", help="names as guest-cpu prints them (default: all)")
    parser.add_argument("--runs", type=int, default=1, help="runs of each; medians are shown")
    parser.add_argument("--jit", choices=["on", "off"], default="on", help="off: our interpreter alone")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mpqemu-bench-") as name:
        work = pathlib.Path(name)
        program = work / "guest-cpu"
        subprocess.run(["gcc", "-O2", "-static", "-o", program, str(pathlib.Path(__file__).with_name("guest-cpu.c"))],
                       check=True)
        init = guest.PROLOGUE + f"echo {BOOTED.decode()}\n/bin/guest-cpu {' '.join(args.workload)}\npoweroff -f\n"
        initrd = guest.initramfs(work / "initrd.gz", init, {"bin/guest-cpu": (0o100755, program.read_bytes())})
        native, ours, peer = [], [], []
        for _ in range(args.runs):
            native.append(run_native(program, args.workload))
            ours.append(run_guest(OURS, initrd, f"tcg,jit={args.jit}", str(work / "qmp")))
            peer.append(run_guest(PEER, initrd))
    rows, boot = list(rows_of(native, ours, peer)), boot_row(ours, peer)
    if args.json:
        for row in [*rows, boot]:
            print(json.dumps(row))
    else:
        print_table(rows, boot)


if __name__ == "__main__":
    main()
