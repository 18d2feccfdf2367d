# SPDX-License-Identifier: GPL-2.0-or-later
"""A served function as a client sees it: config space, BARs, interrupts, DMA, mapped memory, doorbells, reset.  The
numbers in names are those of the behaviours a split machine is held to."""
import errno
import mmap
import os
import pathlib
import random
import struct
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import (BAR0, BAR1, BINARY, CONFIG, INTX_OFF, IO, MASTER, MEMORY, PROBE_BINARY, Probe,  # noqa: E402
                           RemoteServer, attach, attach_inet, enable, eventfd, free_port, memory_file, nvme_args, signalled, until)
from vfio_user import (BOOL, EVENTFD, INTX, MASK, MSI, MSIX, NONE, READABLE, ROM, TRIGGER, UNMASK,  # noqa: E402
                       UNMAP_ALL, WRITEABLE, header, REPLY, DMA_READ, DMA_WRITE)

OK, DECODE, DEVICE, ACCESS = 0, 1, 2, 4
RAM = 1 << 20


# The same body on a socket that carries no descriptors (check 55).
ANY_SOCKET = pytest.mark.parametrize("serve", ["unix", "inet"], indirect=True)


@pytest.fixture(name="serve")
def serve_fixture(tmp_path, request):
    """Starts a server of the probe (and more); clients on its sockets."""
    running, clients = [], []
    inet = getattr(request, "param", "unix") == "inet"

    def serve(*options, extra=(), **kwargs):
        devices, ports = [], [free_port() if inet else None for _ in options or ("",)]
        for i, option in enumerate(options or ("",)):
            where = f"type=inet,host=127.0.0.1,port={ports[i]}" if inet else f"type=unix,path={tmp_path}/p{i}.sock"
            devices += ["-device", f"probe,id=p{i}{option}", "-object", f"x-vfio-user-server,id=vfu{i},device=p{i},{where}"]
        server = RemoteServer(tmp_path, *devices, *extra, binary=PROBE_BINARY, **kwargs)
        running.append(server)
        clients.extend(attach_inet(port) if inet else attach(f"{tmp_path}/p{i}.sock") for i, port in enumerate(ports))
        return [server, *clients[-len(options or ("",)):]]

    yield serve
    for client in clients:
        client.close()
    for server in running:
        assert server.close() == 0


def irq(client, kind, vector=0):
    """An eventfd that the client assigns to a vector."""
    fd = eventfd()
    client.set_irqs(EVENTFD | TRIGGER, kind, vector, 1, fds=[fd])
    return fd


def msix_on(client, flags=0x8000):
    cap = capability(client, 0x11)
    client.write(CONFIG, cap + 2, struct.pack("<H", flags | 15))


def msi_on(client, log2=2):
    cap = capability(client, 0x05)
    client.write(CONFIG, cap + 2, struct.pack("<H", 1 | log2 << 4))


def capability(client, ident):
    at = client.read(CONFIG, 0x34, 1)[0]
    while at:
        found, following = client.read(CONFIG, at, 2)
        if found == ident:
            return at
        at = following
    raise AssertionError(f"no capability {ident:#x}")


# --- config space and BARs ---

@ANY_SOCKET
def test_08_config_space_in_one_read_equals_parts(serve):
    _, client = serve()
    whole = client.read(CONFIG, 0, 256)
    for size in (1, 2, 4, 3):
        parts = b"".join(client.read(CONFIG, at, min(size, 256 - at)) for at in range(0, 256, size))
        assert parts == whole
    client.read(CONFIG, 255, 4, error=errno.EINVAL)
    client.read(CONFIG, 4096 - 2, 4, error=errno.EINVAL)


@ANY_SOCKET
def test_09_bars_hold_what_is_written_and_tell_their_size(serve):
    _, client = serve()
    client.write(CONFIG, BAR0, b"\xff" * 24)
    sizes = struct.unpack("<6I", client.read(CONFIG, BAR0, 24))
    assert sizes[:2] == (0xffff000c, 0xffffffff) and sizes[2] == 0xfffff000
    assert sizes[3:] == (0xffffffe1, 0xfffff000, 0xfffff008)
    client.write(CONFIG, BAR0, struct.pack("<II", 0xfe000000, 1))
    assert client.read(CONFIG, BAR0, 8) == struct.pack("<II", 0xfe00000c, 1)


@pytest.mark.parametrize("region,sizes", [(3, (1, 2, 4)), (5, (1, 2, 4, 8)), (0, (1, 2, 4, 8))])
@ANY_SOCKET
def test_11_accesses_of_every_size(serve, region, sizes):
    _, client = serve()
    enable(client, IO | MEMORY)
    for size in sizes:
        value = bytes(range(0x81, 0x81 + size))
        client.write(region, 16, value)
        assert client.read(region, 16, size) == value
    data = os.urandom(29)
    client.write(region, 3, data)
    assert client.read(region, 3, 29) == data


@ANY_SOCKET
def test_12_a_bar_behind_one_that_cannot_be_written(serve):
    _, client = serve()
    enable(client)
    client.write(4, 0, b"\1\2\3\4")
    assert client.read(4, 0, 4) == b"\0\0\0\0"
    client.write(5, 0, b"\1\2\3\4")
    assert client.read(5, 0, 4) == b"\1\2\3\4"


@ANY_SOCKET
def test_accesses_beyond_a_region_are_refused(serve):
    _, client = serve()
    client.read(5, 4096, 1, error=errno.EINVAL)
    client.read(5, 4095, 2, error=errno.EINVAL)
    client.read(5, 1 << 63, 8, error=errno.EINVAL)
    client.write(1, 0, b"\0", error=errno.EINVAL)
    assert client.read(0, 0x9000, 4) == b"\xff" * 4  # a hole inside a BAR


@ANY_SOCKET
def test_13_option_rom(serve, tmp_path):
    image = os.urandom(5000)
    (tmp_path / "rom.bin").write_bytes(image)
    _, client = serve(f",romfile={tmp_path}/rom.bin")
    info = client.region_info(ROM, 4096)
    assert info.size == 8192 and info.flags & 3 == 1
    assert client.read(ROM, 0, 5000) == image
    assert b"".join(client.read(ROM, at, min(7, 5000 - at)) for at in range(0, 5000, 7)) == image
    client.write(ROM, 0, b"x", error=errno.EPERM)
    assert client.read(ROM, 0, 1) == image[:1]


@ANY_SOCKET
def test_39_reset_is_seen_once(serve):
    _, client = serve()
    probe = Probe(client)
    probe.set(Probe.LEN, 77)
    client.write(CONFIG, BAR0, struct.pack("<I", 0xfe000000))
    before = probe.get(Probe.RESETS)
    client.call(13)
    assert client.read(CONFIG, 4, 2) == b"\0\0" and client.read(CONFIG, BAR0, 4) == b"\x0c\0\0\0"
    enable(client)
    assert probe.get(Probe.RESETS) == before + 1 and probe.get(Probe.LEN) == 0


@ANY_SOCKET
def test_a_function_of_a_multifunction_device_is_served(serve):
    """Each function has a socket of its own; its place in a slot is the client's."""
    _, first, second = serve(",addr=3.0,multifunction=on", ",addr=3.1")
    assert first.read(CONFIG, 0, 4) == second.read(CONFIG, 0, 4)
    enable(first)
    first.write(5, 0, b"\1")
    enable(second)
    assert second.read(5, 0, 1) == b"\0"


# --- interrupts ---

def test_22_intx_comes_again_until_it_is_deasserted(serve):
    _, client = serve()
    probe, fd = Probe(client), irq(client, INTX)
    probe.set(Probe.INTX, 1)
    assert signalled(fd) == 1
    for _ in range(5):
        client.set_irqs(NONE | UNMASK, INTX, 0, 1)  # the guest's EOI
        assert signalled(fd) == 1
    probe.set(Probe.INTX, 0)
    client.set_irqs(NONE | UNMASK, INTX, 0, 1)
    assert signalled(fd) == 0
    probe.set(Probe.INTX, 1)
    assert signalled(fd) == 1


def test_22_intx_masked_by_the_client(serve):
    _, client = serve()
    probe, fd = Probe(client), irq(client, INTX)
    client.set_irqs(BOOL | MASK, INTX, 0, 1, b"\1")
    probe.set(Probe.INTX, 1)
    assert signalled(fd) == 0
    client.set_irqs(BOOL | UNMASK, INTX, 0, 1, b"\1")
    assert signalled(fd) == 1
    enable(client, MEMORY | MASTER | INTX_OFF)
    client.set_irqs(NONE | UNMASK, INTX, 0, 1)
    assert signalled(fd) == 0
    enable(client)
    assert signalled(fd) == 1


def test_intx_asserted_before_the_client_has_an_eventfd(serve):
    _, client = serve()
    probe = Probe(client)
    probe.set(Probe.INTX, 1)
    fd = irq(client, INTX)
    until(lambda: signalled(fd), "the interrupt that waited")
    client.set_irqs(NONE | UNMASK, INTX, 0, 1)
    assert signalled(fd) == 1


def test_23_devices_that_share_a_line(serve):
    """The line is shared in the client's machine: a deassert of one device changes nothing for the other."""
    _, one, two = serve("", "")
    first, second = Probe(one), Probe(two)
    fds = [irq(one, INTX), irq(two, INTX)]
    first.set(Probe.INTX, 1)
    second.set(Probe.INTX, 1)
    first.set(Probe.INTX, 0)
    for client in (one, two):
        client.set_irqs(NONE | UNMASK, INTX, 0, 1)
    assert [signalled(fd) for fd in fds] == [1, 2]


def test_24_first_interrupt_after_enable(serve):
    _, client = serve()
    probe = Probe(client)
    fds = [irq(client, MSIX, 0), irq(client, MSIX, 15)]
    msix_on(client)
    probe.set(Probe.RAISE, 0)
    probe.set(Probe.RAISE, 15)
    assert [signalled(fd) for fd in fds] == [1, 1]


def test_25_masked_vector_is_pending(serve):
    _, client = serve()
    probe = Probe(client)
    fds = [irq(client, MSIX, v) for v in range(16)]
    msix_on(client)
    client.set_irqs(NONE | MASK, MSIX, 3, 1)
    for _ in range(2):
        probe.set(Probe.RAISE, 3)
    assert signalled(fds[3]) == 0
    assert client.read(0, 0x3000, 8) == b"\x08" + b"\0" * 7
    client.set_irqs(NONE | UNMASK, MSIX, 3, 1)
    assert signalled(fds[3]) == 1
    assert client.read(0, 0x3000, 8) == b"\0" * 8


def test_masks_of_any_range(serve):
    _, client = serve()
    probe = Probe(client)
    fds = [irq(client, MSIX, v) for v in range(16)]
    msix_on(client)
    masked, chance = set(), random.Random(5)
    for _ in range(60):
        start = chance.randrange(16)
        count, mask = chance.randrange(1, 17 - start), chance.random() < 0.5
        client.set_irqs(NONE | (MASK if mask else UNMASK), MSIX, start, count)
        masked = masked | set(range(start, start + count)) if mask else masked - set(range(start, start + count))
        for vector in range(16):
            probe.set(Probe.RAISE, vector)
        pending = struct.unpack("<Q", client.read(0, 0x3000, 8))[0]
        assert pending == sum(1 << v for v in masked)
        for vector in range(16):
            assert bool(signalled(fds[vector])) == (vector not in masked)
    client.set_irqs(NONE | MASK, MSIX, 10, 7, error=errno.EINVAL)


def test_msi_without_mask_bits_is_masked_by_the_server(serve):
    _, client = serve(",no-msix=on,msi=4")
    probe = Probe(client)
    fds = [irq(client, MSI, v) for v in range(4)]
    msi_on(client)
    client.set_irqs(NONE | MASK, MSI, 1, 2)
    for vector in range(4):
        probe.set(Probe.RAISE, vector)
    assert [signalled(fd) for fd in fds] == [1, 0, 0, 1]
    client.set_irqs(NONE | UNMASK, MSI, 0, 4)
    assert [signalled(fd) for fd in fds] == [0, 1, 1, 0]


@pytest.mark.parametrize("kind,option,enable_it", [(MSIX, "", msix_on), (MSI, ",no-msix=on,msi=4", msi_on)])
def test_message_raised_before_the_client_has_an_eventfd(serve, kind, option, enable_it):
    _, client = serve(option)
    probe = Probe(client)
    enable_it(client)
    probe.set(Probe.RAISE, 2)
    fd = irq(client, kind, 2)
    until(lambda: signalled(fd), "the interrupt that waited")


def test_64_assigned_means_unmasked(serve):
    _, client = serve()
    probe, fd = Probe(client), irq(client, MSIX, 7)
    msix_on(client)
    for _ in range(3):
        probe.set(Probe.RAISE, 7)
        assert signalled(fd) == 1


def test_interrupts_of_one_kind_do_not_come_as_another(serve):
    """INTx goes to the INTx eventfd although the client has set up vectors."""
    _, client = serve()
    probe = Probe(client)
    line, vector = irq(client, INTX), irq(client, MSIX, 0)
    probe.set(Probe.INTX, 1)
    assert (signalled(line), signalled(vector)) == (1, 0)


# --- DMA ---

def mapped(client, flags=READABLE | WRITEABLE, address=0, size=RAM):
    fd = memory_file(size)
    client.map(address, size, flags, fd=fd)
    memory = mmap.mmap(fd, size)
    os.close(fd)
    return memory


@pytest.mark.parametrize("size", [1, 7, 4096, 300000])
def test_14_memory_with_an_fd(serve, size):
    _, client = serve()
    probe, memory = Probe(client), mapped(client)
    pattern = os.urandom(size)
    memory[0x123:0x123 + size] = pattern
    assert probe.move(1, 0x123, size) == OK
    assert probe.buffer(min(size, 4096)) == pattern[:4096]
    assert probe.move(2, 0x60001, size) == OK
    assert memory[0x60001:0x60001 + size] == pattern


@pytest.mark.parametrize("size", [1, 7, 4096, 2500000])
@ANY_SOCKET
def test_16_memory_without_an_fd(serve, size):
    """By messages, in pieces no larger than the client takes."""
    _, client = serve()
    probe, memory = Probe(client), bytearray(os.urandom(4 << 20))
    client.map(0x10000, len(memory))
    for command in (1, 2):
        before = bytes(memory)
        probe.start(command, 0x10000 + 5, size)
        done = 0
        while done < size:
            kind, address, count = client.serve_dma(memory, 0x10000)
            assert kind == (DMA_READ, DMA_WRITE)[command - 1] and address == 0x10005 + done and count <= 1 << 20
            done += count
        client.receive().check()
        assert probe.get(Probe.RESULT) == OK
        assert bytes(memory) == before
    assert probe.buffer(min(size, 4096)) == bytes(memory[5:5 + size][:4096])


@ANY_SOCKET
def test_18_layout_of_dma_messages(serve):
    _, client = serve()
    probe = Probe(client)
    probe.fill(b"abcdefgh")
    client.map(0x5000, 4096)
    probe.start(2, 0x5010, 8)
    message = client.receive()
    assert message.command == DMA_WRITE and message.body == struct.pack("<QQ", 0x5010, 8) + b"abcdefgh"
    client.send_raw(header(DMA_WRITE, 32, message.id, REPLY) + message.body[:16])
    client.receive().check()
    assert probe.get(Probe.RESULT) == OK


def test_17_dma_that_cannot_be(serve):
    _, client = serve()
    probe = Probe(client)
    mapped(client, address=0x10000)
    for address, length in ((0, 4), (0x10000 + RAM, 1), (0xfffffffffffff000, 4096), (0x10000 + RAM - 4, 8), (0xfffc, 8)):
        assert probe.move(1, address, length) == DECODE
        assert probe.move(2, address, length) == DECODE
    client.map(0x800000, 4096)
    probe.start(1, 0x800000, 4)
    client.serve_dma(b"", error=errno.EFAULT)
    client.receive().check()
    assert probe.get(Probe.RESULT) == DEVICE
    assert client.read(CONFIG, 0, 2) == b"\x34\x12"


def test_17_refused_dma_is_told_to_who_asks(serve, tmp_path):
    """As messages of no bytes, for the fault log of an IOMMU; no more than 16 without an answer, and none is waited for."""
    _, client = serve()
    client.close()
    client = attach(f"{tmp_path}/p0.sock", twin_socket={"supported": True}, dma_faults=True)
    probe, told = Probe(client), []
    mapped(client, READABLE, 0x10000)
    for i in range(20):
        assert probe.move(1 + i % 2, 0x800000 + 0x1000 * i, 8) == DECODE
    assert probe.move(2, 0x10010, 8) == ACCESS
    for _ in range(16):
        told.append(client.twin.receive())
    assert client.twin.silent()
    for i, m in enumerate(told):
        assert m.command == (DMA_WRITE if i % 2 else DMA_READ) and m.body == struct.pack("<QQ", 0x800000 + 0x1000 * i, 0)
        client.twin.send_raw(header(m.command, 32, m.id, 1) + m.body)
    assert probe.move(2, 0x10010, 8) == ACCESS
    m = client.twin.receive()
    assert m.command == DMA_WRITE and m.body == struct.pack("<QQ", 0x10010, 0)
    client.close()


def test_17_no_dma_without_bus_master(serve):
    _, client = serve()
    probe = Probe(client)
    mapped(client)
    enable(client, MEMORY)
    assert probe.move(1, 0, 4) == DECODE
    enable(client)
    assert probe.move(1, 0, 4) == OK


def test_mixed_within_one_transfer(serve):
    """An fd, a hole's neighbour by message, an fd again: one transfer, every byte at its place."""
    _, client = serve()
    probe = Probe(client)
    low, high = mapped(client, address=0x10000, size=0x1000), mapped(client, address=0x12000, size=0x1000)
    middle = bytearray(0x1000)
    client.map(0x11000, 0x1000)
    pattern = os.urandom(0x3000)
    probe.fill(pattern)
    probe.start(2, 0x10000, 0x3000)
    assert client.serve_dma(middle, 0x11000) == (DMA_WRITE, 0x11000, 0x1000)
    client.receive().check()
    assert probe.get(Probe.RESULT) == OK
    assert low[:] + bytes(middle) + high[:] == pattern


def test_19_protections(serve):
    _, client = serve()
    probe = Probe(client)
    probe.fill(b"x" * 64)
    read_only, write_only = mapped(client, READABLE, 0x10000, 4096), mapped(client, WRITEABLE, 0x20000, 4096)
    assert probe.move(2, 0x10000, 8) == ACCESS and read_only[:8] == b"\0" * 8
    assert probe.move(1, 0x10000, 8) == OK
    assert probe.move(1, 0x20000, 8) == ACCESS
    probe.fill(b"y" * 64)
    assert probe.move(2, 0x20010, 8) == OK and write_only[0x10:0x18] == b"y" * 8
    client.map(0x30000, 4096, READABLE)
    client.map(0x40000, 4096, 0, fd=memory_file(4096))
    assert probe.move(2, 0x30000, 8) == ACCESS
    assert probe.move(1, 0x40000, 8) == ACCESS and probe.move(2, 0x40000, 8) == ACCESS
    assert client.read(CONFIG, 0, 2) == b"\x34\x12"


def test_many_mappings(serve):
    """As with a vIOMMU: thousands of pages, in any order, found and dropped again."""
    _, client = serve()
    probe, fd = Probe(client), memory_file(RAM)
    memory, pages = mmap.mmap(fd, RAM), list(range(4000))
    random.Random(1).shuffle(pages)
    for page in pages:
        client.map(page << 13, 4096, fd=fd, offset=page % 256 << 12)
    for page in pages[:50]:
        memory[page % 256 << 12:(page % 256 << 12) + 2] = struct.pack("<H", page % 256)
        assert probe.move(1, page << 13, 2) == OK and probe.buffer(2) == struct.pack("<H", page % 256)
        assert probe.move(1, (page << 13) + 4096, 2) == DECODE
    for page in pages[:2000]:
        client.unmap(page << 13, 4096)
    assert probe.move(1, pages[0] << 13, 2) == DECODE and probe.move(1, pages[-1] << 13, 2) == OK
    client.unmap(0, 0, UNMAP_ALL)
    assert probe.move(1, pages[-1] << 13, 2) == DECODE
    os.close(fd)


def test_38_two_clients_with_equal_addresses_never_meet(serve):
    _, one, two = serve("", "")
    probes, memories = [Probe(one), Probe(two)], [mapped(one, address=0x10000), mapped(two, address=0x10000)]
    for client in (one, two):
        client.write(CONFIG, BAR0, struct.pack("<II", 0xfe000000, 0))
        client.write(CONFIG, BAR1 + 4, struct.pack("<I", 0xfd000000))
    for i, probe in enumerate(probes):
        probe.fill(bytes([0xa0 + i]) * 16)
        assert probe.move(2, 0x10000, 16) == OK
        (one, two)[i].write(5, 0, bytes([0xb0 + i]))
        (one, two)[i].write(0, 0, bytes([0xc0 + i]))
    assert [m[:16] for m in memories] == [b"\xa0" * 16, b"\xa1" * 16]
    assert [c.read(5, 0, 1) + c.read(0, 0, 1) for c in (one, two)] == [b"\xb0\xc0", b"\xb1\xc1"]
    one.unmap(0x10000, RAM)
    assert probes[0].move(1, 0x10000, 4) == DECODE and probes[1].move(1, 0x10000, 4) == OK


# --- mapped memory and doorbells ---

def bar_memory(client):
    info = client.region_info(0, 4096)
    memory = mmap.mmap(info.fds[0], 0x8000, offset=info.offset)
    return info, memory


def test_40_ram_of_a_bar_is_offered_with_sparse_areas(serve):
    """The two stretches of RAM, and neither the MSI-X table between them nor registers."""
    _, client = serve()
    info, memory = bar_memory(client)
    assert info.flags & 4 and sorted(info.areas) == [(0, 0x2000), (0x4000, 0x4000)]
    memory[0x10:0x14] = b"mapd"
    assert client.read(0, 0x10, 4) == b"mapd"
    client.write(0, 0x4000, b"msgs")
    assert memory[0x4000:0x4004] == b"msgs"
    client.write(0, 0x2000, b"\1\0\0\0")
    assert memory[0x2000:0x2004] == b"\0" * 4
    for region in (2, 3, 4, 5, CONFIG):
        plain = client.region_info(region, 4096)
        assert not plain.flags & 4 and not plain.fds
    with pytest.raises(OSError):
        os.ftruncate(info.fds[0], 0)


def test_40_a_client_that_left_does_not_see_the_next_ones_memory(serve):
    server, first = serve()
    info, memory = bar_memory(first)
    memory[:4] = b"mine"
    reply = first.io_fds(0)
    first.close()
    server.event("VFU_CLIENT_HANGUP")
    second = attach(f"{server.tmp}/p0.sock")
    probe, (_, fresh) = Probe(second), bar_memory(second)
    assert fresh[:4] == b"\0" * 4
    second.write(0, 0, b"next")
    memory[4:8] = b"spoi"
    assert memory[:4] == b"mine" and second.read(0, 0, 8) == b"next\0\0\0\0"
    for fd in reply.fds:  # the values, and the eventfd
        os.write(fd, struct.pack("<Q", 1))
    assert probe.get(Probe.RUNG) == 0
    second.close()


def doorbells(client, region=0):
    """offset -> (eventfd, shadow fd, shadow offset, size)"""
    reply = client.io_fds(region, 65536)
    argsz, _, _, count = struct.unpack_from("<IIII", reply.body)
    assert argsz == 16 + 48 * count
    found = {}
    for i in range(count):
        offset, size, fd, kind, flags, shadow, at, _ = struct.unpack_from("<QQIIIIQQ", reply.body, 16 + 48 * i)
        assert kind == 2 and flags == 0
        found[offset] = (reply.fds[fd], reply.fds[shadow], at, size)
    assert len(reply.fds) == (2 if count else 0)
    return found


def ring(bell, value):
    os.pwrite(bell[1], struct.pack("<I", value), bell[2])
    os.write(bell[0], struct.pack("<Q", 1))


def test_51_doorbells_leave_values_in_shared_memory(serve):
    _, client = serve()
    probe, bells = Probe(client), doorbells(client)
    assert sorted(bells) == [0x8000, 0x8008, 0x8010, 0x8018] and not doorbells(client, 2)
    ring(bells[0x8010], 0x1234)
    until(lambda: probe.get(Probe.RUNG) == 1, "the doorbell")
    assert [probe.get(Probe.SEEN + 4 * i) for i in range(4)] == [0, 0, 0x1234, 0]
    with pytest.raises(OSError):
        os.ftruncate(bells[0x8000][1], 0)


# --- nvme through its doorbells ---

class NvmeQueues:
    """The admin queue of a served controller, in memory it has mapped."""

    def __init__(self, client):
        self.client, self.memory, self.tail, self.head = client, mapped(client), 0, 0
        self.bells = doorbells(client)
        enable(client)
        client.write(0, 0x24, struct.pack("<I", 0x000f000f))
        client.write(0, 0x28, struct.pack("<QQ", 0x1000, 0x2000))
        client.write(0, 0x14, struct.pack("<I", 0x00460001))
        until(lambda: client.read(0, 0x1c, 1)[0] & 1, "CSTS.RDY")

    def submit(self, opcode, cdw10=0, prp=0x3000):
        struct.pack_into("<BBHIQQQQIIIIII", self.memory, 0x1000 + 64 * self.tail, opcode, 0, self.tail, 0, 0, 0, prp, 0,
                         cdw10, 0, 0, 0, 0, 0)
        self.tail = (self.tail + 1) % 16
        return self.tail

    def complete(self, phase=1):
        at = 0x2000 + 16 * self.head + 14
        until(lambda: self.memory[at] & 1 == phase, "completion")
        self.head = (self.head + 1) % 16
        return struct.unpack_from("<H", self.memory, at)[0] >> 1


def test_51_nvme_runs_on_doorbells_without_messages(serve, tmp_path):
    server = RemoteServer(tmp_path, *nvme_args(tmp_path), binary=BINARY)
    client = attach(server.serve("nvme0"))
    queues = NvmeQueues(client)
    assert 0x1000 in queues.bells and 0x1004 in queues.bells
    for i in range(40):
        ring(queues.bells[0x1000], queues.submit(6, 1))
        assert queues.complete(1 - i // 16 % 2) == 0
        ring(queues.bells[0x1004], queues.head)
    assert queues.memory[0x3004:0x3004 + 7] == b"server0"
    # a value that cannot be is reported once and forgotten; the queue goes on
    ring(queues.bells[0x1000], 4711)
    ring(queues.bells[0x1000], queues.submit(6, 1))
    assert queues.complete(1 - 40 // 16 % 2) == 0
    # after a reset of the controller the queues begin at 0 again
    client.write(0, 0x14, struct.pack("<I", 0))
    until(lambda: not client.read(0, 0x1c, 1)[0] & 1, "disabled")
    again = NvmeQueues.__new__(NvmeQueues)
    again.__dict__.update(client=client, memory=queues.memory, tail=0, head=0, bells=queues.bells)
    queues.memory[0x2000:0x2100] = b"\0" * 256
    client.write(0, 0x14, struct.pack("<I", 0x00460001))
    until(lambda: client.read(0, 0x1c, 1)[0] & 1, "CSTS.RDY")
    ring(queues.bells[0x1000], again.submit(6, 1))
    assert again.complete() == 0
    # a doorbell by message is as good, and what is in shared memory follows it
    client.write(0, 0x1004, struct.pack("<I", again.head))
    client.write(0, 0x1000, struct.pack("<I", again.submit(6, 1)))
    assert again.complete() == 0
    ring(queues.bells[0x1000], again.submit(6, 1))
    assert again.complete() == 0
    client.close()
    assert server.close() == 0
