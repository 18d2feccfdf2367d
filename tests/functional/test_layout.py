# SPDX-License-Identifier: GPL-2.0-or-later
"""Slots, ids and classes of the machines' own PCI functions, and the interrupts of slots, are those of Debian's QEMU, but for what is
listed here."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
PEER = shutil.which("qemu-system-x86_64")

# (slot, function): why the peer has it and we do not.
NO_CARDS = "a graphics or network card is there when it is asked for"
MACHINES = {
    ("q35", True): {},
    ("q35", False): {(1, 0): NO_CARDS, (2, 0): NO_CARDS},
    ("pc", True): {},
    ("pc", False): {(2, 0): NO_CARDS, (3, 0): NO_CARDS},
}


def functions(binary, accel, machine, bare):
    """(slot, function): vendor, device and class."""
    talk = "".join(json.dumps({"execute": command}) + "\n" for command in ("qmp_capabilities", "query-pci", "quit"))
    done = subprocess.run([binary, "-machine", machine, "-accel", accel, "-S", "-display", "none", "-qmp", "stdio", "-serial", "null",
                           *(["-nodefaults"] if bare else [])], input=talk, capture_output=True, text=True, check=True)
    buses = next(answer["return"] for answer in map(json.loads, done.stdout.splitlines()) if answer.get("return"))
    return {(d["slot"], d["function"]): (d["id"]["vendor"], d["id"]["device"], d["class_info"]["class"])
            for bus in buses for d in bus["devices"]}


@pytest.mark.skipif(not PEER, reason="Debian's qemu-system-x86_64 is not installed")
@pytest.mark.parametrize("machine, bare", MACHINES)
def test_functions_are_the_peers(machine, bare):
    ours, theirs = functions(BINARY, "qtest", machine, bare), functions(PEER, "tcg", machine, bare)
    assert {at: what for at, what in theirs.items() if at not in MACHINES[machine, bare]} == ours
    assert set(MACHINES[machine, bare]) <= set(theirs)


# A function that raises INTA when it is told to, and its registers.
RAISER, RAISE, BAR = "edu", 0x60, 0xe0000000


class Qtest:
    """Drives a machine without CPUs over its standard streams; `raised`: inputs of the I/O APIC that went up."""

    def __init__(self, binary, accel, *args):
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([binary, *accel, "-display", "none", "-nodefaults", "-qtest", "stdio", "-qtest-log", "none", *args],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.raised = []

    def __call__(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        while not (line := self.process.stdout.readline()).startswith("OK"):
            assert line.startswith("IRQ "), line
            if "raise" in line:
                self.raised.append(int(line.split()[2]))

    def config(self, slot, register, value):
        self("outl", 0xcf8, hex(1 << 31 | slot << 11 | register))
        self("outl", 0xcfc, hex(value))

    def close(self):
        self.process.kill()
        self.process.communicate()


def inputs(binary, accel, slots):
    """Slot -> the inputs that its INTA raises."""
    found = {}
    qtest = Qtest(binary, accel, "-machine", "q35", *(word for slot in slots for word in ("-device", f"{RAISER},addr={slot:#x}")))
    try:
        qtest("irq_intercept_in", "ioapic")
        for slot in slots:
            qtest.raised.clear()
            qtest.config(slot, 0x10, BAR)
            qtest.config(slot, 0x04, 0x06)
            qtest("writel", hex(BAR + RAISE), 1)
            found[slot] = list(qtest.raised)
            qtest("writel", hex(BAR + RAISE + 4), 1)
            qtest.config(slot, 0x04, 0)
    finally:
        qtest.close()
    return found


@pytest.mark.skipif(not PEER, reason="Debian's qemu-system-x86_64 is not installed")
def test_interrupts_are_the_peers():
    slots = range(1, 31)
    ours, theirs = inputs(BINARY, ["-accel", "qtest"], slots), inputs(PEER, ["-accel", "tcg", "-S"], slots)
    assert ours == theirs
    assert all(len(raised) == 1 for raised in ours.values())
