# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of KVM whose disk is in another process move with it or without it, and get another process for it: what the disk's process
wrote to their memory comes along, doorbells and interrupts go past our program as before."""
import os
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/split"))
from bare_guest import increment, on_interrupt, store  # noqa: E402
from machine import BAR0, DEVFN, vfio_user  # noqa: E402
from mailbox_guest import BLOCK, CODE, READ, WRITE, DiskServer, MailboxGuest, Nvme  # noqa: E402

pytestmark = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm here")
INTERRUPTS, VECTOR, EOI = 0x200020, 0x41, 0xfee000b0
ECAM, MSIX_TABLE = 0xb0000000 + (DEVFN << 12), BAR0 + 0x2000
READ_TO, SAVED, LARGE, LARGE_SIZE = 0x320000, 0x340000, 20 << 20, 16 << 20
TEXT = b"read while it moves"
COUNTING = on_interrupt(VECTOR, increment(INTERRUPTS) + store(EOI, 0)) + b"\xfb" + CODE  # sti


class DiskGuest(MailboxGuest):
    """Its disk is in another process; the test drives the disk through the guest's CPU."""

    def irqfds(self):
        """How many interrupts go past our program."""
        said = self.qmp("human-monitor-command", **{"command-line": "info kvm"})["return"]
        return int(re.search(r"^irqfds: (\d+)", said, re.M).group(1))


class DirectNvme(Nvme):
    """Completions by MSI-X, doorbells by eventfd."""

    completions = 3

    def __init__(self, guest):
        at = guest.act(READ, ECAM + 0x34) & 0xff
        while (head := guest.act(READ, ECAM + at)) & 0xff != 0x11:
            at = head >> 8 & 0xff
        for offset, value in ((0, 0xfee00000), (4, 0), (8, VECTOR), (12, 0)):
            guest.act(WRITE, MSIX_TABLE + offset, value)
        guest.act(WRITE, ECAM + at, head | 0x80000000)
        super().__init__(guest)

    def use(self):
        """Each command's end is an interrupt by irqfd, and each doorbell a signal that no message goes with."""
        assert self.guest.irqfds() == 1
        before, messages = self.guest.word(INTERRUPTS), self.messages()
        super().use()
        self.guest.wait(lambda: self.guest.word(INTERRUPTS) > before, "an interrupt", timeout=300)
        assert self.messages() == messages

    def messages(self):
        return self.guest.qmp("qom-get", path="/machine/peripheral/vd", property="messages-sent")["return"]


class Rig:
    """Processes for one disk, and guests with it; all but the first process wait for it."""

    def __init__(self, tmp, accel):
        self.tmp, self.accel, self.servers, self.guests = tmp, accel, [], []
        self.image = tmp / "disk.img"
        self.image.write_bytes(bytes(4 << 20))

    def place(self, name):
        (self.tmp / name).mkdir()
        return self.tmp / name

    def serve(self, drive=""):
        self.servers.append(DiskServer(self.place(f"server{len(self.servers)}"), self.image,
                                       *(("-incoming", "defer") if self.servers else ()), drive=drive))
        return self.servers[-1]

    def start(self, *more, server=None, **options):
        """With a process of its own for the disk, unless `server` is one."""
        server = server or self.serve()
        self.guests.append(DiskGuest(self.place(f"guest{len(self.guests)}"), *vfio_user(server.path, **options), *more,
                                     code=COUNTING, accel=self.accel))
        return self.guests[-1]

    def end(self):
        for guest in self.guests:
            guest.process.kill()
            guest.process.wait()
        for server in self.servers:
            server.end()


@pytest.fixture(name="rig", params=["on", "split"])
def fixture_rig(tmp_path, request):
    rig = Rig(tmp_path, f"kvm,kernel-irqchip={request.param}")
    yield rig
    rig.end()


def migrate(source, target, uri, meanwhile):
    """All that comes before LARGE has been sent when `meanwhile` is done."""
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 256 << 10, "downtime-limit": 100})
    assert "return" in source.qmp("migrate", uri=uri)
    source.wait(lambda: source.info().get("ram", {}).get("transferred", 0) > 200 << 10, "what comes first to be sent", timeout=300)
    meanwhile()
    assert source.info()["status"] == "active"
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 0})
    source.wait(lambda: source.info()["status"] not in ("active", "device"), "the move", timeout=300)
    assert source.info()["status"] == "completed", source.info()
    target.wait(lambda: target.status() == "running", "the guest to arrive", timeout=300)


def test_moves_with_its_disk(rig):
    """The disk's process writes to pages that were sent before, which KVM knows nothing of: they are sent again."""
    uri = f"unix:{rig.tmp}/move"
    source = rig.start()
    nvme = DirectNvme(source)
    nvme.use()
    nvme.write(100, TEXT)
    source.ram[LARGE:LARGE + LARGE_SIZE] = os.urandom(LARGE_SIZE)
    target = rig.start("-incoming", uri)

    def read():
        for n in range(8):
            assert nvme.command(1, 2, 1, READ_TO + n * 0x3000, 100, 0, 0) == 0

    migrate(source, target, uri, read)
    nvme.guest = target
    for n in range(8):
        assert bytes(target.ram[READ_TO + n * 0x3000:READ_TO + n * 0x3000 + BLOCK]).rstrip(b"\0") == TEXT
    assert target.ram[LARGE:LARGE + LARGE_SIZE] == source.ram[LARGE:LARGE + LARGE_SIZE]
    assert source.stands() and source.close() == 0
    nvme.use()
    assert target.close() == 0


def test_moves_and_its_disk_stays(rig):
    """Twice, the second time from where it came to. Commands of a slow disk are under way: each is answered once, and what they read
    into pages that were sent before is there."""
    server = rig.serve(drive=",throttling.iops-total=20")
    guest = rig.start(server=server)
    nvme = DirectNvme(guest)
    nvme.use()
    nvme.write(100, TEXT)
    for turn in range(2):
        uri = f"unix:{rig.tmp}/move{turn}"
        guest.ram[LARGE:LARGE + LARGE_SIZE] = os.urandom(LARGE_SIZE)
        guest.qmp("migrate-set-capabilities", capabilities=[{"capability": "x-keep-servers", "state": True}])
        target = rig.start("-incoming", uri, server=server, takeover=True)

        def submit():
            for n in range(16):
                guest.ram[SAVED + n * BLOCK:SAVED + n * BLOCK + BLOCK] = (b"turn %d block %d " % (turn, n)).ljust(BLOCK, b"x")
                nvme.submit(1, 1, 1, SAVED + n * BLOCK, 2000 + n, 0, 0)
                nvme.submit(1, 2, 1, READ_TO + n * 0x1000, 100, 0, 0)

        migrate(guest, target, uri, submit)
        assert guest.stands()
        assert target.ram[LARGE:LARGE + LARGE_SIZE] == guest.ram[LARGE:LARGE + LARGE_SIZE]
        guest.process.terminate()
        assert guest.close() == 0
        guest = nvme.guest = target
        assert [nvme.complete(1) for _ in range(32)] == [0] * 32
        assert not nvme.done(1)
        for n in range(16):
            assert bytes(guest.ram[READ_TO + n * 0x1000:READ_TO + n * 0x1000 + BLOCK]).rstrip(b"\0") == TEXT
        for n in (0, 7, 15):
            assert nvme.read(2000 + n) == (b"turn %d block %d " % (turn, n)).ljust(BLOCK, b"x")
        for n in range(16):
            guest.ram[READ_TO + n * 0x1000:READ_TO + n * 0x1000 + BLOCK] = bytes(BLOCK)
        nvme.use()
    assert guest.close() == 0


def test_another_process_for_its_disk(rig):
    """With commands under way: each is answered once. The old process is gone, so nothing goes to its eventfds."""
    guest = rig.start()
    nvme = DirectNvme(guest)
    nvme.use()
    for turn in range(2):
        for n in range(16):
            guest.ram[SAVED + n * BLOCK:SAVED + n * BLOCK + BLOCK] = (b"turn %d block %d " % (turn, n)).ljust(BLOCK, b"x")
            nvme.submit(1, 1, 1, SAVED + n * BLOCK, 2000 + n, 0, 0)
        old, new = rig.servers[-1], rig.serve()
        answer = guest.qmp("x-device-handover", id="vd", socket=str(new.path))
        assert "return" in answer, answer
        old.end()
        assert [nvme.complete(1) for _ in range(16)] == [0] * 16
        assert not nvme.done(1)
        for n in (0, 7, 15):
            assert nvme.read(2000 + n) == (b"turn %d block %d " % (turn, n)).ljust(BLOCK, b"x")
        nvme.use()
    assert guest.close() == 0
