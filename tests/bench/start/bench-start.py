#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process costs before and beside its guest: ours against Debian's qemu-system-x86_64, taking turns in one run.

greeting: process start to the first line of QMP.   instruction: process start to the first byte that firmware of 9
bytes at the reset vector writes to a serial port.   memory: private memory of the process of an idle guest of 128 MiB.
size: of the stripped program.   One JSON object a line; times are the best of the runs.
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
OURS = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
PEER = "/usr/bin/qemu-system-x86_64"
# mov al, 'X'; mov dx, 3f8h; out dx, al; hlt; jmp to the hlt
CODE = bytes.fromhex("b058baf803eef4ebfd")
GOALS = {"greeting_ms": 1 / 3, "instruction_ms": 1 / 3, "memory_kib": 1 / 2}


def firmware(path):
    rom = bytearray(b"\xf4" * 65536)
    rom[0xfff0:0xfff0 + len(CODE)] = CODE
    path.write_bytes(rom)
    return path


def first_byte(command, ready):
    """Milliseconds to the first output; ready(process) is what to measure then."""
    started = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as vm:
        byte = os.read(vm.stdout.fileno(), 1)
        taken = (time.monotonic() - started) * 1000
        try:
            if not byte:
                raise RuntimeError(f"{' '.join(command)}: said nothing")
            return taken, ready(vm) if ready else None
        finally:
            vm.kill()


def private_kib(vm):
    time.sleep(1)  # what runs at the start has ended
    with open(f"/proc/{vm.pid}/smaps_rollup", encoding="ascii") as rollup:
        return sum(int(line.split()[1]) for line in rollup if line.startswith("Private"))


def measure(binary, rom, memory):
    common = [binary, "-machine", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "128"]
    greeting, _ = first_byte([*common, "-S", "-qmp", "stdio"], None)
    instruction, kib = first_byte([*common, "-bios", str(rom), "-serial", "stdio"], private_kib if memory else None)
    return {"greeting_ms": greeting, "instruction_ms": instruction, **({"memory_kib": kib} if memory else {})}


def stripped_size(binary, work):
    subprocess.run(["strip", "-o", str(work / "stripped"), binary], check=True)
    return (work / "stripped").stat().st_size


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    best = {OURS: {}, PEER: {}}
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        rom = firmware(work / "rom")
        for turn in range(args.runs):
            for binary, figures in best.items():
                for what, value in measure(binary, rom, turn < 3).items():
                    figures[what] = min(value, figures.get(what, value))
        for what, goal in GOALS.items():
            ours, peer = best[OURS][what], best[PEER][what]
            print(json.dumps({"bench": f"start-{what}", "ours": round(ours, 2), "peer": round(peer, 2), "ratio": round(ours / peer, 3),
                              "goal": round(goal, 3), "met": ours <= peer * goal}), flush=True)
        ours, peer = stripped_size(OURS, work), stripped_size(PEER, work)
        print(json.dumps({"bench": "start-binary_size", "ours": ours, "peer": peer, "ratio": round(ours / peer, 3)}), flush=True)


if __name__ == "__main__":
    main()
