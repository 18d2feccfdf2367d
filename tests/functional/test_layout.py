# SPDX-License-Identifier: GPL-2.0-or-later
"""Slots, ids and classes of the machines' own PCI functions are those that Debian's QEMU shows, but for what is listed here."""
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
