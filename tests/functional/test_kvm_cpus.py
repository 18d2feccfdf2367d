# SPDX-License-Identifier: GPL-2.0-or-later
"""The other processors of a KVM guest are started again and again, whatever they are doing: each arrives each time."""
import os
import pathlib
import struct
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/split"))
from bare_guest import COUNTER, ICR, OTHER, Guest, forever, increment, store  # noqa: E402

pytestmark = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm here")
CPUS, OTHERS_AT = 4, 0x6000
INIT, SIPI = 0xc4500, 0xc4600 | OTHERS_AT >> 12  # to all but the sender
WORK = {"device memory": b"\x26\xa1\0\0",  # mov ax, es:[0]
        "port": b"\xe4\x61", "sleep": b"\xf4", "nothing": b""}  # in al, 0x61; hlt


def others_code(work):
    """Of real mode: counts at OTHER, then works."""
    code = (b"\x31\xc0\x8e\xd8\xf0\x66\xff\x06" + struct.pack("<H", OTHER) +  # xor ax, ax; mov ds, ax; lock inc dword [OTHER]
            b"\xb8\0\xa0\x8e\xc0" + work + b"\xeb" + struct.pack("b", -len(work) - 2))  # mov ax, 0xa000; mov es, ax; jmp to work
    return code.ljust(-(-len(code) // 4) * 4, b"\x90")


def first_code(others):
    """Starts the others, waits until each has counted, counts."""
    place = b"".join(store(OTHERS_AT + at, word) for at, (word,) in zip(range(0, len(others), 4), struct.iter_unpack("<I", others)))
    compare = b"\x67\x44\x3b\x04\x25" + struct.pack("<I", OTHER)  # cmp r8d, [OTHER]
    start = store(ICR, INIT) + store(ICR, SIPI) + b"\x41\x83\xc0" + bytes((CPUS - 1,))  # add r8d
    wait = compare + b"\x75" + struct.pack("b", -len(compare) - 2)  # jne to compare
    return place + store(0xfee000f0, 0x1ff) + b"\x45\x31\xc0" + forever(start + wait + increment(COUNTER))  # xor r8d, r8d


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("irqchip", ["on", "split", "off"])
def test_each_arrives(tmp_path, irqchip, work):
    """Also while the machine is stopped, goes on and is looked at."""
    guest = Guest(tmp_path, first_code(others_code(WORK[work])), cpus=CPUS, accel=f"kvm,kernel-irqchip={irqchip}")
    for _ in range(10):
        assert "return" in guest.qmp("stop")
        assert "return" in guest.qmp("human-monitor-command", **{"command-line": "info registers -a"})
        assert "return" in guest.qmp("cont")
        guest.goes_on()
        assert len(guest.qmp("query-cpus-fast")["return"]) == CPUS
        guest.goes_on()
    assert guest.close() == 0
