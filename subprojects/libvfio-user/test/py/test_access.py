# SPDX-License-Identifier: BSD-3-Clause
"""REGION_READ, REGION_WRITE and REGION_WRITE_MULTI; config space as a guest uses it."""
import errno
import os
import struct

import pytest

import vfio_user as vu


def test_read_back(client):
    for size in (1, 2, 4, 8, 3, 4096):
        data = os.urandom(size)
        client.write(0, 4096 - size, data)
        assert client.read(0, 4096 - size, size) == data


def test_region_without_callback(client):
    client.read(3, 0, 4, error=errno.EINVAL)
    client.write(3, 0, b"1234", error=errno.EINVAL)


def test_mappable_region_by_message(server, client):
    client.write(1, 100, b"abcd")
    assert client.read(1, 100, 4) == b"abcd"
    assert server.notes() == [("bar1", 100, 4, 1), ("bar1", 100, 4, 0)]


@pytest.mark.parametrize("offset, error",
                         [(5, 5), (errno.ENOTSUP, errno.ENOTSUP), (200, errno.EINVAL), (0, errno.EINVAL)])
def test_callback_fails(client, offset, error):
    client.read(2, offset, 4, error=error)
    client.write(2, offset, b"1234", error=error)
    client.info()


@pytest.mark.parametrize("region, offset, count", [
    (0, 4093, 4), (0, 4096, 1), (0, 4097, 0), (0, 1 << 63, 4), (0, 0xffffffffffffffff, 1),
    (0, 0xfffffffffffffffc, 8), (5, 0, 4),
    (vu.VGA, 0, 4), (9, 0, 4), (0xffffffff, 0, 4), (vu.CONFIG, 4094, 4), (0, 0, vu.MAX_DATA + 1)])
def test_outside(client, region, offset, count):
    client.read(region, offset, count, error=errno.EINVAL)
    if count <= 8:
        client.write(region, offset, bytes(count), error=errno.EINVAL)


@pytest.mark.parametrize("count", [0xffffffff, vu.MAX_DATA + 1, 5, 3, 0])
def test_write_count_is_exact(client, count):
    client.write(0, 0, b"1234", count=count, error=errno.EINVAL)


@pytest.mark.parametrize("command", [vu.REGION_READ, vu.REGION_WRITE])
def test_short(client, command):
    for length in range(16):
        client.call(command, bytes(length), error=errno.EINVAL)


def test_count_0(client):
    """Clients get 16 bytes, or a bare header from older libraries."""
    for command in (vu.REGION_READ, vu.REGION_WRITE):
        assert client.call(command, struct.pack("<QII", 0, 0, 0)).body in (b"", struct.pack("<QII", 0, 0, 0))


def test_1_mib(start):
    server = start(())
    client = vu.Client(server.paths[0])
    client.negotiate({})
    # The region is smaller: what counts is that a message of the advertised size arrives and is answered.
    client.write(4, 0, bytes(vu.MAX_DATA), error=errno.EINVAL)
    client.write(0, 0, bytes(vu.MAX_DATA), error=errno.EINVAL)
    client.info()
    client.close()


def test_no_reply(client):
    client.post(vu.REGION_WRITE, struct.pack("<QII", 8, 0, 4) + b"post")
    client.post(vu.REGION_WRITE, struct.pack("<QII", 1 << 40, 0, 4) + b"lost")
    client.post(vu.REGION_WRITE, b"short")
    client.post(99, b"unknown")
    client.post(vu.RESET)
    client.post(vu.DMA_MAP, struct.pack("<IIQQQ", 32, 3, 0, 0x1000, 4096))
    client.post(vu.GET_INFO, bytes(3))
    assert client.read(0, 8, 4) == b"post"
    client.unmap(0x1000, 4096)
    assert client.silent()


def test_pipelining(client):
    sent = [client.send(vu.REGION_READ, struct.pack("<QII", i, 0, 1)) for i in range(100)]
    assert [client.receive().check().id for _ in sent] == sent


# --- REGION_WRITE_MULTI ---

def test_write_multi(client):
    assert client.write_multi([(0, 0, b"1"), (0, 10, b"22"), (0, 20, b"4444"), (0, 32, b"88888888")]) == 4
    assert client.read(0, 0, 40) == b"1" + bytes(9) + b"22" + bytes(8) + b"4444" + bytes(8) + b"88888888"
    assert client.write_multi([(0, 8 * i, struct.pack("<Q", i)) for i in range(200)]) == 200
    assert client.write_multi([]) == 0


def test_write_multi_stops_at_a_failure(client):
    assert client.write_multi([(0, 0, b"a"), (9, 0, b"b"), (0, 1, b"c")]) == 1
    assert client.read(0, 0, 2) == b"a\0"
    client.write_multi([(2, 5, b"b"), (0, 1, b"c")], error=5)


@pytest.mark.parametrize("count, tail", [(0, b""), (2, b""), (0xffffffffffffffff, b""), (1 << 61, b""),
                                         (1, b"x"), (1, bytes(24))])
def test_write_multi_count(client, count, tail):
    client.write_multi([(0, 0, b"a")], count, tail, error=errno.EINVAL)


@pytest.mark.parametrize("size", [0, 9, 0xffffffff])
def test_write_multi_entry(client, size):
    client.call(vu.WRITE_MULTI, struct.pack("<QQIIQ", 1, 0, 0, size, 0), error=errno.EINVAL)


def test_write_multi_short(client):
    for length in range(8):
        client.call(vu.WRITE_MULTI, bytes(length), error=errno.EINVAL)


def test_write_multi_without_reply(client):
    body = struct.pack("<Q", 1) + struct.pack("<QII8s", 0, 0, 4, b"multi")
    client.post(vu.WRITE_MULTI, body)
    assert client.read(0, 0, 5) == b"mult\0"


# --- config space ---

def config(client, offset, size=4):
    return int.from_bytes(client.read(vu.CONFIG, offset, size), "little")


def poke(client, offset, value, size=4, error=0):
    client.write(vu.CONFIG, offset, value.to_bytes(size, "little"), error)


def test_config_header(client):
    space = client.read(vu.CONFIG, 0, 256)
    assert struct.unpack_from("<HHHHBBBB", space) == (0x1234, 0x5678, 0, 0x10, 7, 2, 8, 1)
    assert struct.unpack_from("<HH", space, 0x2c) == (0x9abc, 0xdef0)
    assert space[0x34] == 0x40 and space[0x3d] == 1
    assert client.read(vu.CONFIG, 0, 4096)[:256] == space


@pytest.mark.parametrize("bar, sized", [(0, 0xfffff000), (1, 0xffffc000), (2, 0xffffff01), (3, 0xfffff000),
                                        (4, 0xfff0000c),
                                        (5, 0xffffffff)])
def test_bar_sizing(client, bar, sized):
    at = 0x10 + 4 * bar
    poke(client, at, 0xffffffff)
    assert config(client, at) == sized
    poke(client, at, 0x12345678)
    kind = {2: 1, 4: 0xc}.get(bar, 0)  # I/O; 64 bits and prefetchable
    assert config(client, at) == 0x12345678 & (sized ^ kind) | kind


def test_rom_sizing(client):
    poke(client, 0x30, 0xfffff800)
    assert config(client, 0x30) == 0xfffff800
    poke(client, 0x30, 0xffffffff)
    assert config(client, 0x30) == 0xfffff801


def test_read_only_header(client):
    before = client.read(vu.CONFIG, 0, 64)
    for offset in (0, 2, 8, 9, 0xe, 0xf, 0x2c, 0x2e, 0x28, 0x34, 0x3d, 0x3e, 0x3f):
        poke(client, offset, 0xff, 1)
    assert client.read(vu.CONFIG, 0, 64) == before


def test_command(client):
    poke(client, 4, 0xffff, 2)
    assert config(client, 4, 2) == 0x557  # I/O, memory, master, invalidate, parity, SERR, INTx disable
    poke(client, 5, 0, 1)
    assert config(client, 4, 2) == 0x57
    poke(client, 4, 0, 2)
    poke(client, 0x3c, 0x0b, 1)
    poke(client, 0xc, 0x10, 1)
    poke(client, 0xd, 0x40, 1)
    assert (config(client, 0x3c, 1), config(client, 0xc, 1), config(client, 0xd, 1)) == (0x0b, 0x10, 0x40)


def test_write_across_the_header(client):
    poke(client, 3, 0xffffffff)
    assert config(client, 4, 2) == 0x557


def test_capability_list(client):
    assert [config(client, at, 2) for at in (0x40, 0x48, 0x60, 0x6c, 0xa8, 0xb0)] == [
        0x4801, 0x6005, 0x6c11, 0xa810, 0xb009, 0x0009]
    assert client.read(vu.CONFIG, 0x100, 12) == struct.pack("<III", 0x3, 0x11223344, 0x55667788) or \
        config(client, 0x100, 2) == 3


def test_power_management(client):
    poke(client, 0x44, 3, 2)
    assert config(client, 0x44, 2) & 3 == 3
    poke(client, 0x40, 0, 1, errno.EPERM)
    poke(client, 0x41, 0, 1, errno.EPERM)
    poke(client, 0x42, 0, 2, errno.ENOTSUP)
    poke(client, 0x46, 0, 1, errno.ENOTSUP)
    poke(client, 0x44, 0, 1, errno.EINVAL)


def test_msi(client):
    poke(client, 0x4a, 0x21, 2)
    assert config(client, 0x4a, 2) & 0x71 == 0x21
    poke(client, 0x4a, 0x31, 2, errno.EINVAL)
    poke(client, 0x4c, 0xfee01234)
    poke(client, 0x50, 1)
    poke(client, 0x54, 0x4321, 2)
    assert (config(client, 0x4c), config(client, 0x50), config(client, 0x54, 2)) == (0xfee01234, 1, 0x4321)
    poke(client, 0x48, 0, 1, errno.EPERM)


def test_write_past_a_capability(client):
    """It starts inside MSI and ends beyond: what is behind is the next capability's, and its header is not writable."""
    client.write(vu.CONFIG, 0x5c, b"\xff" * 22, error=errno.EPERM)
    client.write(vu.CONFIG, 0x62, b"\xff" * 40, error=errno.EPERM)
    client.info()


def test_msix(client):
    poke(client, 0x62, 0xffff, 2)
    assert config(client, 0x62, 2) == 0xc007
    poke(client, 0x63, 0, 1)
    assert config(client, 0x62, 2) == 7
    poke(client, 0x63, 0x8007 & 0xffff, 2)
    poke(client, 0x64, 0xffffffff)
    assert config(client, 0x64) == 0
    poke(client, 0x60, 0, 1, errno.EPERM)


def test_function_level_reset(server, client):
    devctl = 0x6c + 8
    poke(client, devctl, 0x8000 | 0x1f, 2)
    assert server.notes() == [("reset", 2)]
    assert config(client, devctl, 2) & 0x8000 == 0
    server.fail("reset", errno.EIO)
    poke(client, devctl, 0x8000, 2, errno.EIO)
    server.fail("reset", 0)
    for offset, size in ((devctl, 1), (devctl - 1, 1), (devctl - 1, 3), (devctl, 3), (devctl + 1, 1)):
        poke(client, offset, 0, size, errno.EINVAL)
    poke(client, devctl + 2, 0xf, 2)
    poke(client, 0x6c + 0x28, 5, 2)
    assert config(client, 0x6c + 0x28, 2) == 5
    poke(client, 0x6c + 0x10, 3, 2)
    assert config(client, 0x6c + 0x10, 2) == 0
    poke(client, 0x6c + 4, 3, 2, errno.EINVAL)
    poke(client, 0x6c, 3, 1, errno.EPERM)


def test_flr_waits_for_the_device(start):
    server = start(("quiesce",))
    client = vu.Client(server.paths[0])
    client.negotiate({})
    poke(client, 0x74, 0x8000, 2)
    assert server.notes() == [("quiesce",), ("reset", 2)]
    client.close()


def test_vendor_capability(client):
    poke(client, 0xab, 0xdeadbeef)
    assert config(client, 0xab) == 0xdeadbeef
    poke(client, 0xb3, 1, 1, errno.EPERM)
    poke(client, 0x104, 1, 4, errno.EPERM)
    poke(client, 0xc0, 1, 4, errno.EINVAL)
    assert config(client, 0xc0) == 0


def test_config_by_callback(start):
    server = start(("alwayscb",))
    client = vu.Client(server.paths[0])
    client.negotiate({})
    poke(client, 4, 7, 2)
    poke(client, 0x40, 0xff, 1)
    assert config(client, 0x40, 1) == 0xff
    assert server.notes() == [("config", 4, 2, 1), ("config", 0x40, 1, 1), ("config", 0x40, 1, 0)]
    client.read(vu.CONFIG, 4093, 4, error=errno.EINVAL)
    client.close()
