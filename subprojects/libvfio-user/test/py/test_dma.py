# SPDX-License-Identifier: BSD-3-Clause
"""DMA_MAP and DMA_UNMAP: what is accepted, each refusal, what the device is told, dirty bitmaps."""
import errno
import os
import random
import struct

import pytest

import vfio_user as vu

PAGE = 4096
RW = vu.READABLE | vu.WRITEABLE


@pytest.fixture
def memory():
    fd = vu.memory_file(1 << 20)
    yield fd
    os.close(fd)


def test_map_and_unmap(server, client, memory):
    client.map(0x1000, PAGE, RW, memory, 0)
    client.map(0x2000, 2 * PAGE, vu.READABLE, memory, PAGE)
    client.map(0x10000, PAGE)
    assert server.notes() == [("map", 0x1000, PAGE, 1, 3, PAGE), ("map", 0x2000, 2 * PAGE, 1, 1, PAGE),
                              ("map", 0x10000, PAGE, 0, 3, PAGE)]
    reply = client.unmap(0x2000, 2 * PAGE)
    assert reply.body == struct.pack("<IIQQ", 24, 0, 0x2000, 2 * PAGE)
    assert server.notes() == [("unmap", 0x2000, 2 * PAGE)]
    client.unmap(0x2000, 2 * PAGE, error=errno.ENOENT)


def test_mapping_is_the_file(server, client, memory):
    os.pwrite(memory, b"\x42" * 100, 5000)
    client.map(0x100000, 3 * PAGE, RW, memory, PAGE)
    assert server.copy("map-read", 0x100000 + 904, 100) == {"errno": 0, "sum": vu.checksum(b"\x42" * 100)}
    assert server.copy("map-write", 0x100000, 8, 0x17)["errno"] == 0
    assert os.pread(memory, 9, PAGE) == b"\x17" * 8 + b"\0"
    assert server.copy("direct-write", 0x100010, 4, 0x18)["errno"] == 0
    assert os.pread(memory, 4, PAGE + 16) == b"\x18" * 4
    assert server.copy("direct-read", 0x100010, 4) == {"errno": 0, "sum": vu.checksum(b"\x18" * 4)}


@pytest.mark.parametrize("offset, size", [(1, PAGE), (4095, 2), (100, 9000), (PAGE - 1, 1)])
def test_unaligned_offset(server, client, memory, offset, size):
    """All of the range is accessible, also when it begins inside a page of the file."""
    os.pwrite(memory, bytes([7]), offset + size - 1)
    client.map(0x5000, size, RW, memory, offset)
    assert server.copy("map-read", 0x5000 + size - 1, 1) == {"errno": 0, "sum": 7}


@pytest.mark.parametrize("address, size",
                         [(0, 1), (0xfffffffffffff000, 0xfff), (3, 5), (0, 8 << 40), (0x1000, PAGE + 1)])
def test_odd_ranges(client, address, size):
    client.map(address, size)
    client.unmap(address, size)


@pytest.mark.parametrize("fields, error", [
    (dict(argsz=31), errno.EINVAL), (dict(argsz=0), errno.EINVAL), (dict(flags=16), errno.EINVAL),
    (dict(flags=0x80000003), errno.EINVAL), (dict(flags=RW | vu.MMAP), errno.EINVAL),
    (dict(flags=RW | vu.FILE_IO), errno.EINVAL), (dict(size=0), errno.EINVAL),
    (dict(size=(8 << 40) + 1), errno.ENOSPC),
    (dict(address=0xfffffffffffff000, size=0x2000), errno.EINVAL), (dict(size=0xffffffffffffffff), errno.EINVAL)])
def test_refused(server, client, fields, error):
    client.map(**{"address": 0x1000, "size": PAGE, **fields}, error=error)
    assert server.notes() == []
    client.map(0x1000, PAGE)


def test_refused_with_fd(server, client, memory):
    fds = server.usage()["fds"]
    client.map(0x1000, PAGE, RW | vu.MMAP | vu.FILE_IO, memory, error=errno.EINVAL)
    client.map(0x1000, PAGE, RW, memory, offset=1 << 63, error=errno.EINVAL)
    client.map(0x1000, PAGE, RW, memory, offset=(1 << 63) - 100, error=errno.EINVAL)
    ends = os.pipe()
    client.map(0x1000, PAGE, RW, ends[0], error=errno.EACCES)
    client.map(0x1000, PAGE, vu.READABLE, ends[0], error=errno.ENODEV)
    only_read = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY)
    client.map(0x1000, PAGE, RW, only_read, error=errno.EACCES)
    client.map(0x1000, PAGE, vu.READABLE, only_read)
    client.unmap(0x1000, PAGE)
    for fd in (*ends, only_read):
        os.close(fd)
    assert server.usage()["fds"] == fds


@pytest.mark.parametrize("length", range(1, 32))
def test_short_map(client, length):
    client.call(vu.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0x1000, PAGE)[:length], error=errno.EINVAL)


def test_surplus_is_ignored(server, client, memory):
    fds = server.usage()["fds"]
    client.map(0x1000, PAGE, RW, [memory] * 5, extra=b"surplus", argsz=64)
    assert server.usage()["fds"] == fds + 1
    client.unmap(0x1000, PAGE, fds=[memory, memory])
    assert server.usage()["fds"] == fds


@pytest.mark.parametrize("address, size", [
    (0x10000, 0x4000), (0x10000, 1), (0x13fff, 1), (0x13fff, 0x10000), (0xf000, 0x1001), (0, 0x100000),
    (0x11000, 0x1000)])
def test_overlap(server, client, address, size):
    client.map(0x10000, 0x4000)
    server.notes()
    client.map(address, size, error=errno.EEXIST)
    assert server.notes() == []
    client.map(0xf000, 0x1000)
    client.map(0x14000, 0x1000)


def test_limit(start):
    server = start(("maxdma=64",))
    client = vu.Client(server.paths[0])
    client.negotiate({})
    for i in range(64):
        client.map(i * PAGE, PAGE)
    client.map(64 * PAGE, PAGE, error=errno.EINVAL)
    client.unmap(5 * PAGE, PAGE)
    client.map(64 * PAGE, PAGE)
    client.close()


@pytest.mark.parametrize("address, size",
                         [(0x1000, 0x1000), (0x1000, 0x3000), (0x2000, 0x1000), (0, 0x2000), (0x1001, 0x1fff),
                                           (0x1000, 0), (0, 0)])
def test_unmap_wants_the_same_range(client, address, size):
    client.map(0x1000, 0x2000)
    client.unmap(address, size, error=errno.ENOENT)
    client.unmap(0x1000, 0x2000)


@pytest.mark.parametrize("fields", [
    dict(argsz=23), dict(argsz=0), dict(argsz=vu.MAX_DATA + 1), dict(argsz=0xffffffff), dict(flags=4),
    dict(flags=0x80000000),
    dict(flags=vu.UNMAP_ALL | vu.UNMAP_BITMAP), dict(flags=vu.UNMAP_ALL), dict(flags=vu.UNMAP_ALL, address=0),
    dict(flags=vu.UNMAP_ALL, size=0), dict(flags=vu.UNMAP_BITMAP)])
def test_unmap_refused(client, fields):
    client.map(0x1000, PAGE)
    client.unmap(**{"address": 0x1000, "size": PAGE, **fields}, error=errno.EINVAL)
    client.unmap(0x1000, PAGE)


@pytest.mark.parametrize("length", range(1, 24))
def test_short_unmap(client, length):
    client.call(vu.DMA_UNMAP, struct.pack("<IIQQ", 24, 0, 0x1000, PAGE)[:length], error=errno.EINVAL)


def test_unmap_all(server, client, memory):
    client.unmap(0, 0, vu.UNMAP_ALL)
    for i in range(300):
        client.map(i * PAGE, PAGE, RW, memory)
    server.notes()
    client.unmap(0, 0, vu.UNMAP_ALL)
    assert sorted(n[1] for n in server.notes() if n[0] == "unmap") == [i * PAGE for i in range(300)]
    client.map(0, 300 * PAGE)


def test_many_regions_in_any_order(server, client):
    order = [(i * 7919) % 1000 for i in range(1000)]
    for i in order:
        client.map(i * 2 * PAGE, PAGE)
    assert server.copy("map-read", 2 * PAGE * 500, 8)["errno"] == errno.EFAULT
    assert server.copy("map-read", 2 * PAGE * 500 + PAGE, 8)["errno"] == errno.ENOENT
    for i in reversed(order):
        client.unmap(i * 2 * PAGE, PAGE)
    client.map(0, 2000 * PAGE)


SPREADS = {"even": lambda r: r.randrange(1 << 12) * PAGE,
           "clusters": lambda r: (1 << r.randrange(13, 63)) + r.randrange(64) * PAGE,
           "rising": lambda r: int(4096 ** (1 + r.random() * 3.9)) * 16, "dense": lambda r: r.randrange(600) * 64}


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("seed", range(3))
def test_any_regions_in_any_order(server, client, spread, seed):
    """Maps, unmaps and lookups at random against a list; first it grows, then it shrinks."""
    noise, regions = random.Random(seed), {}

    def find(address):
        return next((start for start, size in regions.items() if start <= address < start + size), None)

    for i in range(1500):
        address, size = SPREADS[spread](noise), noise.choice((1, 64, PAGE, 3 * PAGE))
        if noise.random() < (0.8 if i < 900 else 0.2):
            taken = any(address < start + length and start < address + size for start, length in regions.items())
            client.map(address, size, error=errno.EEXIST if taken else 0)
            if not taken:
                regions[address] = size
        elif regions:
            victim = noise.choice(sorted(regions))
            client.unmap(victim, regions.pop(victim))
        address = noise.choice(sorted(regions) or [0]) + noise.choice((-1, 0, 1, 63, PAGE - 1, PAGE))
        if address >= 0:
            assert server.copy("map-read", address,
                               1)["errno"] == (errno.ENOENT if find(address) is None else errno.EFAULT)
    server.notes()
    client.unmap(0, 0, vu.UNMAP_ALL)
    assert sorted(tuple(n[1:]) for n in server.notes()) == sorted(regions.items())


def test_protection(server, client, memory):
    client.map(0x1000, PAGE, vu.READABLE, memory)
    client.map(0x3000, PAGE, vu.READABLE)
    for how in ("map-write", "direct-write", "write"):
        assert server.copy(how, 0x1000, 4)["errno"] == errno.EACCES
        assert server.copy(how, 0x3000, 4)["errno"] == errno.EACCES
    assert server.copy("map-read", 0x1000, 4)["errno"] == 0


def test_file_io(server, client, memory):
    client.map(0x1000, PAGE, RW | vu.FILE_IO, memory, PAGE)
    client.map(0x8000, PAGE, RW | vu.MMAP, memory, 0)
    assert [n[3] for n in server.notes()] == [0, 1]
    assert server.copy("map-write", 0x1000, 4)["errno"] == errno.EFAULT
    assert server.copy("direct-write", 0x1004, 4, 0x33)["errno"] == 0
    assert os.pread(memory, 4, PAGE + 4) == b"\x33" * 4
    assert server.copy("direct-read", 0x1004, 4)["sum"] == vu.checksum(b"\x33" * 4)


def test_file_shorter_than_region(server, client):
    fd = vu.memory_file(PAGE)
    client.map(0x1000, 4 * PAGE, RW, fd)
    assert server.copy("direct-read", 0x1000, PAGE)["errno"] == 0
    assert server.copy("direct-read", 0x1000, 2 * PAGE)["errno"] == errno.EIO
    os.truncate(fd, 0)
    assert server.copy("direct-read", 0x1000, PAGE)["errno"] == errno.EIO
    client.info()
    os.close(fd)


def test_without_dma(start, memory):
    server = start(("nodma",))
    client = vu.Client(server.paths[0])
    client.negotiate({})
    fds = server.usage()["fds"]
    client.map(0x1000, PAGE, RW, memory)
    assert server.usage()["fds"] == fds
    client.map(0x1000, PAGE, argsz=1, error=errno.EINVAL)
    client.unmap(0x1000, PAGE)
    client.unmap_bitmap(0x1000, PAGE, error=errno.EINVAL)
    client.start_log(error=errno.EINVAL)
    client.feature(vu.SET | vu.LOG_STOP, error=errno.EINVAL)
    client.info()
    client.close()


# --- dirty pages ---

def test_dirty_bitmap_on_unmap(server, client, memory):
    client.map(0, 100 * PAGE, RW, memory)
    client.unmap_bitmap(0, 100 * PAGE, bitmap=16, error=errno.EINVAL)
    client.start_log()
    server.copy("map-write", 3 * PAGE + 5, 1)
    server.copy("map-write", 70 * PAGE - 1, 2)
    client.unmap_bitmap(0, 100 * PAGE, bitmap=8, error=errno.EINVAL)
    client.unmap_bitmap(0, 100 * PAGE, page=3000, bitmap=16, error=errno.EINVAL)
    client.unmap_bitmap(0, 100 * PAGE, bitmap=16, argsz=55, error=errno.EINVAL)
    client.unmap_bitmap(PAGE, 99 * PAGE, bitmap=16, error=errno.ENOENT)
    reply = client.unmap_bitmap(0, 100 * PAGE, bitmap=16)
    assert reply.body[:40] == struct.pack("<IIQQQQ", 56, vu.UNMAP_BITMAP, 0, 100 * PAGE, PAGE, 16)
    assert vu.bits(reply.body[40:]) == [3, 69, 70]
    client.unmap(0, 100 * PAGE, error=errno.ENOENT)


def test_report(server, client, memory):
    client.map(0, 64 * PAGE, RW, memory)
    client.map(64 * PAGE, 64 * PAGE, RW, memory, 64 * PAGE)
    client.map(1 << 32, PAGE)
    client.report(0, PAGE, error=errno.EINVAL)
    client.start_log()
    client.start_log()
    client.start_log(8192, error=errno.EINVAL)
    assert client.report(0, 64 * PAGE) == []
    for page in (0, 1, 63, 64, 127):
        server.copy("map-write", page * PAGE, 1)
    server.copy("direct-write", 10 * PAGE, PAGE + 1)
    assert client.report(0, 64 * PAGE) == [0, 1, 10, 11, 63]
    assert client.report(0, 64 * PAGE) == []
    server.copy("map-write", 63 * PAGE, 1)
    # A range over two regions.
    assert client.report(0, 128 * PAGE) == [63, 64, 127]
    server.copy("map-read", 0, 100)
    assert client.report(0, 128 * PAGE) == []
    client.report(0, 200 * PAGE, error=errno.ENOENT)
    client.report(1 << 40, PAGE, error=errno.ENOENT)
    client.report(PAGE, PAGE, error=errno.ENOTSUP)
    client.feature(vu.SET | vu.LOG_STOP)
    client.feature(vu.SET | vu.LOG_STOP)
    client.report(0, PAGE, error=errno.EINVAL)


@pytest.mark.parametrize("page, expected", [(4096, [0, 300, 1500]), (8192, [0, 150, 750]), (65536, [0, 18, 93]),
                                            (1 << 20, [0, 1, 5])])
def test_report_with_larger_pages(server, client, page, expected):
    fd = vu.memory_file(8 << 20)
    client.map(0, 8 << 20, RW, fd)
    client.start_log()
    for dirty in (0, 300, 1500):
        server.copy("map-write", dirty * PAGE + 17, 1)
    assert client.report(0, 8 << 20, page) == expected
    os.close(fd)


def test_report_with_smaller_pages(server, client):
    """More than 255 of the client's pages in one of the log's: the known library loops for ever."""
    fd = vu.memory_file(8 << 20)
    client.map(0, 8 << 20, RW, fd)
    client.start_log(2 << 20)
    server.copy("map-write", (2 << 20) + 5, 1)
    assert client.report(0, 8 << 20, 4096) == list(range(512, 1024))
    os.close(fd)


@pytest.mark.parametrize("page, error", [(0, errno.EINVAL), (1, errno.EINVAL), (3000, errno.EINVAL),
                                         (2048, errno.EINVAL),
                                         (1 << 63, errno.EINVAL), (1 << 21, errno.EINVAL)])
def test_log_page_size(client, memory, page, error):
    client.map(0, 1 << 20, RW, memory)
    client.start_log(page, error=error)
    client.start_log(4096)


@pytest.mark.parametrize("page", [0, 3, 3000, 4095])
def test_report_page_size(client, memory, page):
    client.map(0, 1 << 20, RW, memory)
    client.start_log()
    client.report(0, 1 << 20, page, error=errno.EINVAL)


@pytest.mark.parametrize("address, length, error", [
    (0, 0, errno.EINVAL), (0, 4095, errno.EINVAL), (0xfffffffffffff000, 0x2000, errno.EINVAL),
    (PAGE, 0x100, errno.ENOTSUP),
    (1 << 50, PAGE, errno.ENOENT), (0, 1 << 62, errno.EINVAL)])
def test_report_range(client, memory, address, length, error):
    client.map(0, 1 << 20, RW, memory)
    client.start_log()
    client.report(address, length, error=error)


def test_report_room(client, memory):
    client.map(0, 1 << 20, RW, memory)
    client.start_log()
    client.report(0, 1 << 20, argsz=32 + 31, error=errno.EINVAL)
    client.report(0, 1 << 20, argsz=32 + 32)


def test_region_mapped_while_logging(server, client, memory):
    client.start_log()
    client.map(0, 1 << 20, RW, memory)
    server.copy("map-write", 9 * PAGE, 1)
    assert client.report(0, 1 << 20) == [9]


def test_log_ends_with_the_client(server, client, memory):
    client.map(0, 1 << 20, RW, memory)
    client.start_log()
    client.close()
    server.until_lost(1)
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.map(0, 1 << 20, RW, memory)
    client.report(0, 1 << 20, error=errno.EINVAL)
    client.close()


# --- the older DIRTY_PAGES ---

def dirty_pages(client, flags, *numbers, argsz=None, error=0):
    body = struct.pack("<II", 8 + 8 * len(numbers) if argsz is None else argsz,
                       flags) + struct.pack(f"<{len(numbers)}Q", *numbers)
    return client.call(vu.DIRTY_PAGES, body, error=error)


def test_legacy(server, client, memory):
    client.map(0, 1 << 20, RW, memory)
    dirty_pages(client, 1)
    server.copy("map-write", 100 * PAGE, 1)
    reply = dirty_pages(client, 4, 0, 1 << 20, PAGE, 32, argsz=72)
    assert reply.body[8:40] == struct.pack("<QQQQ", 0, 1 << 20, PAGE, 32) and vu.bits(reply.body[40:]) == [100]
    dirty_pages(client, 4, 0, 1 << 20, PAGE, 8, argsz=48, error=errno.EINVAL)
    dirty_pages(client, 4, 0, 1 << 20, PAGE, 32, argsz=71, error=errno.EINVAL)
    dirty_pages(client, 4, 0, 1 << 20, 3000, 32, argsz=72, error=errno.EINVAL)
    dirty_pages(client, 4, 0, 0, PAGE, 32, argsz=72, error=errno.EINVAL)
    dirty_pages(client, 4, 1 << 40, PAGE, PAGE, 8, argsz=48, error=errno.ENOENT)
    dirty_pages(client, 4, argsz=72, error=errno.EINVAL)
    for flags in (0, 3, 5, 6, 7, 8):
        dirty_pages(client, flags, error=errno.EINVAL)
    dirty_pages(client, 1, argsz=7, error=errno.EINVAL)
    client.call(vu.DIRTY_PAGES, bytes(4), error=errno.EINVAL)
    dirty_pages(client, 2)
    dirty_pages(client, 4, 0, 1 << 20, PAGE, 32, argsz=72, error=errno.EINVAL)
