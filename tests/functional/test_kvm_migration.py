# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of KVM that move through a file: what they wrote while they moved is there, and their state comes back as it was."""
import os
import pathlib
import re
import struct
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/split"))
from bare_guest import COUNTER, Guest, forever, increment, on_interrupt, store  # noqa: E402

pytestmark = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm here")
PAGES = [0x300000 + n * 0x5000 for n in range(16)]
# Every round writes each page once, then counts.
CODE = forever(b"".join(increment(page) for page in PAGES) + increment(COUNTER))


def start(tmp, name, *args, accel):
    (tmp / name).mkdir()
    return Guest(tmp / name, CODE, *args, accel=accel)


def migrate(guest, path):
    assert "return" in guest.qmp("migrate", uri=f"file:{path}")
    arrive_in_file(guest)


def arrive_in_file(guest):
    end = time.monotonic() + 300
    while (status := guest.qmp("query-migrate")["return"].get("status")) != "completed":
        assert status != "failed" and time.monotonic() < end, guest.qmp("query-migrate")
        time.sleep(0.01)


def arrive(guest, status):
    end = time.monotonic() + 300
    while guest.qmp("query-status")["return"]["status"] != status:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("accel", ["kvm,kernel-irqchip=on", "kvm,kernel-irqchip=split", "kvm,kernel-irqchip=off",
                                   "kvm -accel kvm,dirty-ring-size=1024"])
def test_moves_while_it_writes(tmp_path, accel):
    """Bitmaps and rings both tell every page that was written."""
    accel, *more = accel.split()
    source = start(tmp_path, "source", *more, accel=accel)
    source.wait(lambda: source.word(COUNTER) > 1000, "the guest to run")
    migrate(source, tmp_path / "stream")
    count = source.word(COUNTER)
    assert source.close() == 0
    target = start(tmp_path, "target", *more, "-incoming", f"file:{tmp_path}/stream", accel=accel)
    arrive(target, "running")
    assert target.word(COUNTER) >= count
    target.goes_on()
    target.qmp("stop")
    count = target.word(COUNTER)
    assert {target.word(page) - count for page in PAGES} <= {0, 1}
    assert target.close() == 0


MANY, MANY_SIZE = 0x400000, 4000 * 0x1000
# Every round writes each of 4000 pages once, then counts.
WRITE_MANY = forever(b"\xbf" + struct.pack("<I", MANY) +  # mov edi
                     b"\xff\x07\x81\xc7" + struct.pack("<I", 0x1000) +  # inc dword [rdi]; add edi
                     b"\x81\xff" + struct.pack("<I", MANY + MANY_SIZE) + b"\x72\xf0" +  # cmp edi; jb to inc
                     increment(COUNTER))


def test_more_is_written_than_a_ring_holds(tmp_path):
    """The guest runs on while it moves, and no page is lost: where the rings of this KVM do not hold, bitmaps are used, and it says so."""
    ring = ("-accel", "kvm,dirty-ring-size=1024")
    (tmp_path / "source").mkdir()
    with open(tmp_path / "said", "w+", encoding="utf-8") as said:
        source = Guest(tmp_path / "source", WRITE_MANY, *ring, accel="kvm", stderr=said)
        said.seek(0)
        size = re.search(r"^dirty-ring-size: (\d+)", source.qmp("human-monitor-command", **{"command-line": "info kvm"})["return"], re.M)
        assert (size[1] == "1024") == ("bitmaps are used" not in said.read())
    source.wait(lambda: source.word(COUNTER) > 2, "the guest to run")
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 20})
    assert "return" in source.qmp("migrate", uri=f"file:{tmp_path}/stream")
    for _ in range(8):
        source.goes_on()
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 0})
    arrive_in_file(source)
    count = source.word(COUNTER)
    assert source.close() == 0
    (tmp_path / "target").mkdir()
    target = Guest(tmp_path / "target", WRITE_MANY, *ring, "-incoming", f"file:{tmp_path}/stream", accel="kvm")
    arrive(target, "running")
    assert target.word(COUNTER) >= count
    target.goes_on()
    target.qmp("stop")
    count = target.word(COUNTER)
    assert {target.word(page) - count for page in range(MANY, MANY + MANY_SIZE, 0x1000)} <= {0, 1}
    assert target.close() == 0


@pytest.mark.parametrize("irqchip", ["on", "split", "off"])
def test_state_comes_back_as_it_was(tmp_path, irqchip):
    """What a stopped machine saves, and what one saves that has loaded that, are the same bytes."""
    accel = f"kvm,kernel-irqchip={irqchip}"
    source = start(tmp_path, "source", accel=accel)
    source.wait(lambda: source.word(COUNTER) > 1000, "the guest to run")
    source.qmp("stop")
    registers = source.qmp("human-monitor-command", **{"command-line": "info registers"})["return"]
    migrate(source, tmp_path / "first")
    assert source.close() == 0
    target = start(tmp_path, "target", "-incoming", f"file:{tmp_path}/first", accel=accel)
    arrive(target, "paused")
    assert target.qmp("human-monitor-command", **{"command-line": "info registers"})["return"] == registers
    migrate(target, tmp_path / "second")
    assert target.close() == 0
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def out8(port, value):
    return bytes((0xb0, value, 0xe6, port))


def sleeper():
    """Sleeps, but for the timer's interrupt every 10 ms, by way of the 8259: then it counts."""
    handler = b"\x50" + increment(COUNTER) + out8(0x20, 0x20) + b"\x58"  # push rax ... pop rax
    chips = store(0xfee00350, 0x700) + b"".join(out8(port, value) for port, value in (
        (0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0xa1, 0xff), (0x21, 0xfe), (0x43, 0x34), (0x40, 0x9c), (0x40, 0x2e)))
    return on_interrupt(0x20, handler) + chips + b"\xfb\xf4\xeb\xfd"  # sti; hlt; jmp to hlt


@pytest.mark.parametrize("irqchip", ["on", "split", "off"])
def test_halted_cpu_wakes_where_it_arrives(tmp_path, irqchip):
    """What a CPU waits for is known of it before it has run there."""
    accel = f"kvm,kernel-irqchip={irqchip}"
    (tmp_path / "source").mkdir()
    source = Guest(tmp_path / "source", sleeper(), accel=accel)
    source.wait(lambda: source.word(COUNTER) > 5, "the guest to run")
    source.wait(lambda: source.qmp("stop") and "HLT=1" in source.qmp("human-monitor-command", **{"command-line": "info registers"})["return"] or
                not source.qmp("cont"), "it to sleep")
    migrate(source, tmp_path / "stream")
    assert source.close() == 0
    (tmp_path / "target").mkdir()
    target = Guest(tmp_path / "target", sleeper(), "-incoming", f"file:{tmp_path}/stream", accel=accel)
    arrive(target, "paused")
    count = target.word(COUNTER)
    target.qmp("cont")
    target.wait(lambda: target.word(COUNTER) > count + 5, "the CPU to wake")
    assert target.close() == 0
