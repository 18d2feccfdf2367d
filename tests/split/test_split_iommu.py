# SPDX-License-Identifier: GPL-2.0-or-later
"""Remote devices of a guest with an IOMMU: what the server is told, and what it may do (checks by number: README.md)."""
import errno
import os
import pathlib
import struct
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import fake_server as fake  # noqa: E402
import iommu as vtd  # noqa: E402
from iommu import READ, WRITE, Iommu  # noqa: E402
from machine import DEVFN, SHARED_RAM, Machine, nvme_server, start_fails, vfio_user  # noqa: E402
from remote_server import RemoteServer  # noqa: E402
from test_split_nvme import ACQ, ASQ, BUF, Nvme, wait_for  # noqa: E402

IOVA, DATA = 0x20000000, 0x2000000
WIRE_READ, WIRE_WRITE = 1, 2


def dma(server, command, address, data_or_count):
    data = data_or_count if isinstance(data_or_count, bytes) else b""
    return server.request(command, struct.pack("<QQ", address, len(data) or data_or_count) + data)


@pytest.fixture(name="translated")
def translated_fixture(tmp_path, serve):
    """A machine, the driver of its IOMMU, and the server of the device behind it."""
    machines = []

    def start(ram=SHARED_RAM, caps=fake.CAPS, **options):
        server = serve(caps=caps)
        machine = Machine(tmp_path, *ram, *vtd.OPTIONS, *vfio_user(server.path, **options))
        machines.append(machine)
        machine.map_bars()
        server.untranslated = dict(server.maps)
        driver = Iommu(machine)
        assert server.untranslated and not server.maps  # all of memory, until translation is on
        server.log.clear()
        return machine, driver, server

    yield start
    for machine in machines:
        assert machine.close() == 0


def test_check_65_refused_without_caching_mode(serve):
    line = start_fails(*SHARED_RAM, "-device", "intel-iommu", *vfio_user(serve().path))
    assert "vfio-user-pci" in line and "caching-mode=on" in line and "intel-iommu" in line


def test_check_65_refused_when_plugged(tmp_path, serve):
    machine = Machine(tmp_path, *SHARED_RAM, "-device", "intel-iommu")
    answer = machine.qmp("device_add", driver="vfio-user-pci", id="late", socket=serve().path)
    assert "caching-mode=on" in answer["error"]["desc"]
    assert machine.close() == 0


def test_check_65_iommu_comes_first(serve):
    line = start_fails(*SHARED_RAM, *vfio_user(serve().path), "-device", "intel-iommu,caching-mode=on")
    assert "intel-iommu" in line and "before vfio-user-pci 'vd'" in line


@pytest.mark.parametrize("options,text", [
    (["intel-iommu", "intel-iommu"], "one already"), (["intel-iommu", "virtio-iommu-pci"], "an IOMMU on bus pcie.0 already"),
    (["virtio-iommu-pci", "intel-iommu"], "an IOMMU on bus pcie.0 already"), (["intel-iommu,aw-bits=57"], "allowed 39, 48"),
    (["pcie-root-port,id=rp", "virtio-iommu-pci,bus=rp"], "root bus"), (["intel-iommu,intremap=off,eim=on"], "intremap=on"),
])
def test_refused_starts(options, text):
    assert text in start_fails(*[word for option in options for word in ("-device", option)])


def test_check_65_virtio_iommu_comes_first(serve):
    line = start_fails(*SHARED_RAM, *vfio_user(serve().path), "-device", "virtio-iommu-pci")
    assert "virtio-iommu-pci" in line and "before vfio-user-pci 'vd'" in line


@pytest.mark.parametrize("ram,options", [(SHARED_RAM, {}), (SHARED_RAM, {"no-direct-dma": True}), ([], {})])
def test_check_41_map_unmap(translated, ram, options):
    machine, driver, server = translated(ram, **options)
    machine.set_memory(DATA, b"pattern!")
    driver.map(IOVA, DATA, READ | WRITE)
    fds = 1 if ram and not options else 0
    assert server.maps == {IOVA: (0x1000, WIRE_READ | WIRE_WRITE, DATA if fds else 0, fds)}
    assert dma(server, fake.DMA_READ, IOVA, 8).body[16:] == b"pattern!"
    assert dma(server, fake.DMA_WRITE, IOVA + 0xff8, b"written!").error == 0
    assert machine.memory(DATA + 0xff8, 8) == b"written!"
    assert driver.fault() is None
    driver.unmap(IOVA)
    assert not server.maps
    assert dma(server, fake.DMA_READ, IOVA, 8).error
    assert driver.fault() == (6, IOVA, DEVFN, True)
    assert dma(server, fake.DMA_WRITE, IOVA, b"x" * 8).error
    assert driver.fault() == (5, IOVA, DEVFN, False)
    assert driver.fault() is None
    assert machine.memory(DATA, 8) == b"pattern!"
    # An address of memory is none of the device's.
    assert dma(server, fake.DMA_WRITE, DATA, b"x").error
    assert machine.memory(DATA, 8) == b"pattern!"


@pytest.mark.parametrize("permissions,flags", [(READ, WIRE_READ), (WRITE, WIRE_WRITE), (READ | WRITE, WIRE_READ | WIRE_WRITE)])
def test_check_41_permissions(translated, permissions, flags):
    machine, driver, server = translated()
    machine.set_memory(DATA, b"pattern!")
    driver.map(IOVA, DATA, permissions)
    assert server.maps[IOVA][1] == flags
    answer = dma(server, fake.DMA_READ, IOVA, 8)
    assert (answer.error, driver.fault()) == ((0, None) if permissions & READ else (errno.EPERM, (6, IOVA, DEVFN, True)))
    answer = dma(server, fake.DMA_WRITE, IOVA, b"changed!")
    assert (answer.error, driver.fault()) == ((0, None) if permissions & WRITE else (errno.EPERM, (5, IOVA, DEVFN, False)))
    assert machine.memory(DATA, 8) == (b"changed!" if permissions & WRITE else b"pattern!")
    # Other permissions are another mapping; the same ones are no news.
    driver.map(IOVA, DATA, READ | WRITE)
    assert server.maps[IOVA][1] == WIRE_READ | WIRE_WRITE
    changed = permissions != (READ | WRITE)
    assert (server.count(fake.DMA_MAP), server.count(fake.DMA_UNMAP)) == (1 + changed, int(changed))


def test_check_41_over_pages(translated):
    """A request over pages that are neighbours only for the device; the first that is not mapped ends it."""
    machine, driver, server = translated()
    driver.map(IOVA, DATA + 0x5000, READ | WRITE)
    driver.map(IOVA + 0x1000, DATA, READ | WRITE)
    data = bytes(range(256)) * 32
    assert dma(server, fake.DMA_WRITE, IOVA, data).error == 0
    assert machine.memory(DATA + 0x5000, 0x1000) + machine.memory(DATA, 0x1000) == data
    assert dma(server, fake.DMA_WRITE, IOVA + 0x1ffc, b"12345678").error
    assert driver.fault() == (5, IOVA + 0x2000, DEVFN, False)
    assert machine.memory(DATA + 0x1000, 4) == bytes(4)


def test_check_65_thousands_of_pages(translated):
    machine, driver, server = translated()
    for base in range(0, 4096, 512):
        entries = [(DATA + 0x1000 * (n * 7 % 4096)) | 3 for n in range(base, base + 512)]
        driver.fill(IOVA + 0x1000 * base, entries)
        driver.invalidate(IOVA + 0x1000 * base, 9)
    assert len(server.maps) == 4096
    assert {server.maps[IOVA + 0x1000 * n] for n in range(4096)} == {
        (0x1000, 3, DATA + 0x1000 * n, 1) for n in range(4096)}
    for n in (0, 1, 2047, 4095):
        machine.set_memory(DATA + 0x1000 * (n * 7 % 4096), struct.pack("<I", n))
        assert dma(server, fake.DMA_READ, IOVA + 0x1000 * n, 4).body[16:] == struct.pack("<I", n)
    # All of the domain at once, of which every second page is gone.
    for base in range(0, 4096, 512):
        driver.fill(IOVA + 0x1000 * base, [0 if n % 2 else (DATA + 0x1000 * (n * 7 % 4096)) | 3 for n in range(base, base + 512)])
    maps = server.count(fake.DMA_MAP)
    driver.submit((2 | 2 << 4 | vtd.DOMAIN << 16, 0))
    assert len(server.maps) == 2048
    assert server.count(fake.DMA_MAP) == maps  # those that stay are not told again
    driver.command(vtd.TE, False)
    assert server.maps == server.untranslated


def test_unmap_waits_for_the_server(translated):
    """The guest is told that an invalidation is done when the server has let go, not before."""
    machine, driver, server = translated()
    driver.map(IOVA, DATA, READ | WRITE)
    driver.fill(IOVA, [0])
    seen = []
    server.on[fake.DMA_UNMAP] = lambda s, m: seen.append(machine_status(machine, driver)) or True
    driver.invalidate(IOVA)
    assert seen == [0] and not server.maps


def machine_status(machine, driver):
    """What the wait descriptor wrote, read in memory itself: the machine is busy with the invalidation."""
    for fd in os.listdir(f"/proc/{machine.process.pid}/fd"):
        path = f"/proc/{machine.process.pid}/fd/{fd}"
        if "memfd" in os.readlink(path):
            with open(path, "rb") as memory:
                memory.seek(driver.status)
                return struct.unpack("<I", memory.read(4))[0]
    raise AssertionError("no memfd")


def test_more_mappings_than_the_server_takes(translated):
    caps = b'{"capabilities":{"max_msg_fds":8,"max_dma_maps":100}}\0'
    machine, driver, server = translated(caps=caps)
    driver.fill(IOVA, [(DATA + 0x1000 * n) | 3 for n in range(256)])
    driver.invalidate(IOVA, 8)
    assert len(server.maps) == 100
    assert dma(server, fake.DMA_READ, IOVA, 8).error == 0
    # Room for others again.
    driver.fill(IOVA, [0] * 256)
    driver.invalidate(IOVA, 8)
    assert not server.maps
    driver.map(IOVA + 0x80000, DATA, READ)
    assert list(server.maps) == [IOVA + 0x80000]
    assert machine.qmp("query-status")["return"]["running"]


def test_mapping_of_no_ram(translated):
    """Registers, and nothing at all: not told, and nothing is reached by it."""
    machine, driver, server = translated()
    driver.map(IOVA, 0xfed90000, READ | WRITE)
    driver.map(IOVA + 0x1000, 0x40000000, READ | WRITE)
    assert not server.maps
    assert dma(server, fake.DMA_READ, IOVA + 0x1000, 4).error == errno.ENODEV
    assert machine.qmp("query-status")["return"]["running"]


def rates(driver, base, rounds=5, pages=512):
    """The best seconds for mapping and for unmapping `pages` pages by one invalidation."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for i, entries in enumerate(([(DATA + 0x1000 * n) | 3 for n in range(pages)], [0] * pages)):
            driver.fill(base, entries)
            best[i] = min(best[i], driver.invalidate(base, pages.bit_length() - 1))
    return best


def test_check_54_rates_with_many_mappings(translated):
    """The same 512 pages come and go beside 100 mappings and beside 65,000: the most a device can have is 65,535."""
    _, driver, server = translated()
    base, many = IOVA + 0x1f000000, 65_000
    driver.fill(IOVA, [(DATA + 0x1000 * n) | 3 for n in range(100)])
    driver.invalidate(IOVA, 7)
    assert len(server.maps) == 100
    few = rates(driver, base)
    for first in range(0, many, 512):
        driver.fill(IOVA + 0x1000 * first, [(DATA + 0x1000 * n) | 3 for n in range(min(512, many - first))])
        driver.invalidate(IOVA + 0x1000 * first, 9)
    assert len(server.maps) == many
    lots = rates(driver, base)
    for _ in range(100):  # a busy host only ever makes a round longer: the best of as many as it needs
        if all(lot < 2 * little for lot, little in zip(lots, few)):
            break
        lots = [min(pair) for pair in zip(lots, rates(driver, base, rounds=1))]
    print(f"map {few[0] / 512 * 1e6:.1f} us a page beside 100, {lots[0] / 512 * 1e6:.1f} beside {many}; "
          f"unmap {few[1] / 512 * 1e6:.1f}, {lots[1] / 512 * 1e6:.1f}")
    assert lots[0] < 2 * few[0] and lots[1] < 2 * few[1]


class Behind:
    """edu of another process behind a root port, and so on bus 1, of a guest with an IOMMU."""

    REGS, BUFFER, ID, PORT = 0xfe000000, 0x40000, 0x100, DEVFN << 8
    BEHIND = [*SHARED_RAM, "-device", "pcie-root-port,id=rp,addr=4"]

    def __init__(self, tmp, *options):
        tmp.mkdir()
        self.server = RemoteServer(tmp, "-device", "edu,id=e0,dma_mask=0xffffffffffffffff", *options)
        self.machine = Machine(tmp, *vtd.OPTIONS, *self.BEHIND,
                               *vfio_user(self.server.serve("e0"), bus="rp", addr="0"), *options)

    def configure(self, function, *values):
        for offset, value in values:
            self.machine.qtest(f"outl 0xcf8 {0x80000000 | function | offset:#x}")
            self.machine.qtest(f"outl 0xcfc {value:#x}")

    def enable(self):
        self.configure(self.PORT, (0x18, 0x00010100), (0x20, 0xfe00fe00), (4, 7))
        self.configure(self.ID << 8, (0x10, self.REGS), (4, 6))

    def dma(self, source, target, command):
        for register, value in ((0x80, source), (0x88, target), (0x90, 4), (0x98, command | 1)):
            self.machine.write(self.REGS + register, value, "q")
        wait_for(lambda: not self.machine.read(self.REGS + 0x98, "q") & 1, "the transfer")

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        code = self.machine.close()
        self.server.process.terminate()
        assert (code == 0 and self.server.wait_exit() == 0) or failed


@pytest.mark.parametrize("passes", [False, True])
def test_what_a_device_behind_a_port_reaches_moves(tmp_path, passes):
    """The number of the bus, by which the IOMMU knows the device, comes with the port's state, after that of the IOMMU."""
    with Behind(tmp_path / "source") as source, Behind(tmp_path / "target", "-incoming", "defer") as target:
        driver = Iommu(source.machine)
        source.machine.write(driver.root + 16, DATA + 0x1000 | 1, "q")  # the contexts of bus 1
        source.machine.write(DATA + 0x1000, 1 | 2 << 2 if passes else 1 | driver.l3, "q")
        source.machine.write(DATA + 0x1008, 1 | vtd.DOMAIN << 8, "q")
        source.enable()
        driver.submit((1 | 1 << 4, 0))
        driver.map(IOVA, DATA, READ | WRITE)
        source.machine.write(DATA, 0x12345678)
        source.dma(DATA if passes else IOVA, source.BUFFER, 0)
        target.machine.qmp("migrate-incoming", uri=f"unix:{tmp_path}/move")
        source.machine.qmp("migrate", uri=f"unix:{tmp_path}/move")
        wait_for(lambda: target.machine.qmp("query-status")["return"]["status"] == "running", "the move")
        driver.machine = target.machine
        target.dma(target.BUFFER, (DATA if passes else IOVA) + 8, 2)
        assert target.machine.read(DATA + 8) == 0x12345678 and driver.fault() is None
        if not passes:
            target.dma(target.BUFFER, IOVA + 0x1000, 2)
            wait_for(lambda: target.machine.read(vtd.REGS + vtd.FSTS) & 2, "the fault")
            assert driver.fault() == (5, IOVA + 0x1000, target.ID, False)


def test_nvme_through_translated_addresses(tmp_path):
    """A real server: queues and data at addresses that only the tables lead to memory."""
    server, path = nvme_server(tmp_path)
    machine = Machine(tmp_path, *SHARED_RAM, *vtd.OPTIONS, *vfio_user(path))
    try:
        driver = Iommu(machine, 0x3000000)
        for page, target in ((ASQ, DATA), (ACQ, DATA + 0x1000), (BUF, DATA + 0x2000)):
            driver.map(IOVA + page, target, READ | WRITE)
        nvme = TranslatedNvme(machine)
        assert nvme.identify()[4:9] == b"split"
        # The page for the data is gone: the command fails, and the memory keeps what it has.
        machine.set_memory(DATA + 0x2000, bytes(64))
        driver.unmap(IOVA + BUF)
        slot = nvme.slot
        nvme.ring(6, IOVA + BUF, 1)
        wait_for(lambda: nvme.done(slot), "completion")
        assert struct.unpack("<H", machine.memory(DATA + 0x1000 + 16 * slot + 14, 2))[0] >> 1 == 4  # data transfer error
        assert machine.memory(DATA + 0x2000, 64) == bytes(64)
    finally:
        assert machine.close() == 0
        server.kill()
        server.wait()


class TranslatedNvme(Nvme):
    """What the driver reads and writes is at DATA; what it tells the controller is at IOVA."""

    PLACES = {ASQ: DATA, ACQ: DATA + 0x1000, BUF: DATA + 0x2000}

    def __init__(self, machine):
        super().__init__(Shifted(machine))

    def identify(self):
        slot = self.slot
        self.ring(6, IOVA + BUF, 1)
        wait_for(lambda: self.done(slot), "completion")
        return self.machine.memory(BUF, 64)


class Shifted:
    """A machine in which memory at ASQ, ACQ and BUF is where the tables lead the controller's addresses."""

    def __init__(self, machine):
        self.machine = machine

    def place(self, address):
        page = address & ~0xfff
        return TranslatedNvme.PLACES[page] + (address & 0xfff)

    def write(self, address, value, width="l"):
        self.machine.write(address, IOVA + value if value in (ASQ, ACQ) else value, width)

    def set_memory(self, address, data):
        self.machine.set_memory(self.place(address), data)

    def memory(self, address, size):
        return self.machine.memory(self.place(address), size)

    def __getattr__(self, name):
        return getattr(self.machine, name)
