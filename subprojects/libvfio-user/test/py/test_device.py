# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_INFO, _GET_REGION_INFO, _GET_REGION_IO_FDS, _GET_IRQ_INFO and DEVICE_RESET."""
import errno
import mmap
import os
import struct

import pytest

import vfio_user as vu


def test_info(client):
    assert client.info() == (16, 3, 9, 5)
    assert client.info(0xffffffff) == (16, 3, 9, 5)
    client.info(15, error=errno.EINVAL)
    client.info(0, error=errno.EINVAL)


@pytest.mark.parametrize("command, size",
                         [(vu.GET_INFO, 16), (vu.REGION_INFO, 32), (vu.REGION_IO_FDS, 16), (vu.IRQ_INFO, 16)])
def test_short(client, command, size):
    for length in range(size):
        client.call(command, (struct.pack("<I", 4096) + bytes(28))[:length], error=errno.EINVAL)
    client.call(command, struct.pack("<I", 4096) + bytes(28)).close()
    client.call(command, struct.pack("<I", 4096) + bytes(100)).close()


@pytest.mark.parametrize("command, size",
                         [(vu.GET_INFO, 16), (vu.REGION_INFO, 32), (vu.REGION_IO_FDS, 16), (vu.IRQ_INFO, 16)])
def test_argsz_too_small(client, command, size):
    for argsz in range(size):
        client.call(command, struct.pack("<I", argsz) + bytes(28), error=errno.EINVAL)


# --- regions ---

@pytest.mark.parametrize("index, flags, size", [(0, 3, 4096), (2, 3, 256), (3, 3, 4096), (5, 0, 0), (vu.ROM, 1, 2048),
                                                (vu.CONFIG, 3, 4096), (vu.VGA, 0, 0)])
@pytest.mark.parametrize("argsz", [32, 33, 4096, 0xffffffff])
def test_region_without_file(client, index, flags, size, argsz):
    info = client.region_info(index, argsz)
    assert (info.flags, info.size, info.argsz, info.length, info.cap_offset, info.fds) == (flags, size, 32, 32, 0, [])
    assert info.index == index


@pytest.mark.parametrize("index", [9, 10, 100, 0xffffffff])
def test_no_such_region(client, index):
    client.region_info(index, error=errno.EINVAL)
    client.io_fds(index, error=errno.EINVAL)


def test_sparse_region(client):
    needed = 32 + 16 + 2 * 16
    for argsz in (32, needed - 1):
        info = client.region_info(1, argsz)
        # Without room there is no fd, and nothing may claim that there is one.
        assert (info.argsz, info.length, info.flags, info.cap_offset, info.fds) == (needed, 32, 3, 0, [])
    info = client.region_info(1, needed)
    assert (info.argsz, info.length, info.flags, info.cap_offset) == (needed, needed, 15, 32)
    assert info.areas == [(0, 4096), (8192, 4096)] and len(info.fds) == 1 and info.offset == 0
    os.close(info.fds[0])


def test_mappable_region(client):
    info = client.region_info(4, 64)
    assert info.areas == [(0, 1 << 20)] and info.offset == 8192 and info.flags == 15
    with mmap.mmap(info.fds[0], 1 << 20, offset=info.offset) as memory:
        memory[5:9] = b"bar4"
    assert os.pread(info.fds[0], 4, 8192 + 5) == b"bar4"
    os.close(info.fds[0])


def test_client_without_fds_can_not_map(server):
    client = vu.Client(server.paths[0])
    client.negotiate({"max_msg_fds": 0})
    info = client.region_info(4, 4096)
    assert (info.flags & 4, info.fds) == (0, [])
    client.close()


# --- I/O fds ---

def test_io_fds(server, client):
    reply = client.io_fds(0)
    assert struct.unpack_from("<IIII", reply.body) == (16 + 4 * 48, 0, 0, 4)
    entries = [struct.unpack_from("<QQIIIIQQ", reply.body, 16 + 48 * i) for i in range(4)]
    none = 0xffffffff
    # The latest comes first; equal fds are sent once.
    assert entries == [(0x40, 2, none, 0, 0, none, 0, 0), (0x30, 0, 0, 0, 0, none, 0, 0),
                       (0x20, 8, 1, 0, 1, none, 0, 0x1122334455667788), (0x10, 4, 0, 0, 0, none, 0, 0)]
    assert len(reply.fds) == 2
    os.write(reply.fds[0], struct.pack("Q", 3))
    assert vu.signalled(reply.fds[0]) == 3
    reply.close()


@pytest.mark.parametrize("argsz", [16, 17, 16 + 4 * 48 - 1])
def test_io_fds_without_room(client, argsz):
    reply = client.io_fds(0, argsz)
    assert reply.body == struct.pack("<IIII", 16 + 4 * 48, 0, 0, 4) and not reply.fds


def test_no_io_fds(client):
    assert client.io_fds(1).body == struct.pack("<IIII", 16, 0, 1, 0)


@pytest.mark.parametrize("fields", [dict(flags=1), dict(count=1), dict(index=5), dict(index=vu.VGA), dict(argsz=15),
                                    dict(argsz=vu.MAX_DATA + 1)])
def test_io_fds_refused(client, fields):
    client.io_fds(**{"index": 0, **fields}, error=errno.EINVAL)


def test_io_fds_above_what_the_client_takes(server):
    client = vu.Client(server.paths[0])
    client.negotiate({"max_msg_fds": 1})
    client.io_fds(0, error=errno.E2BIG)
    assert client.io_fds(0, 16).body == struct.pack("<IIII", 16 + 4 * 48, 0, 0, 4)
    client.close()


# --- interrupts ---

@pytest.mark.parametrize("index, count", [(vu.INTX, 1), (vu.MSI, 4), (vu.MSIX, 8), (vu.ERR, 1), (vu.REQ, 1)])
def test_irq_info(client, index, count):
    argsz, flags, got, vectors = client.irq_info(index)
    assert (argsz, got, vectors) == (16, index, count) and flags & 1


@pytest.mark.parametrize("index", [5, 6, 0xffffffff])
def test_no_such_irq(client, index):
    client.irq_info(index, error=errno.EINVAL)


# --- reset ---

def test_reset(server, client):
    client.call(vu.RESET)
    client.call(vu.RESET, b"surplus")
    assert server.notes() == [("reset", 0), ("reset", 0)]
    server.fail("reset", errno.EIO)
    client.call(vu.RESET, error=errno.EIO)
    server.fail("reset", 0)
    client.call(vu.RESET)


def test_lost_client_resets_once(server, client):
    client.map(0x1000, 4096)
    client.close()
    server.until_lost(1)
    assert server.notes() == [("map", 0x1000, 4096, 0, 3, 4096), ("unmap", 0x1000, 4096), ("reset", 1)]


# --- quiesce ---

def quiesced(start, error=0):
    server = start(("quiesce",), ())
    client = vu.Client(server.paths[0])
    client.negotiate({})
    server.fail("quiesce", error)
    return server, client


def pending(server, client, command, body, fds=()):
    """Sends a request that waits for the device; nothing else on this socket is served meanwhile."""
    client.send(command, body, fds)
    client.send(vu.GET_INFO, struct.pack("<IIII", 16, 0, 0, 0))
    other = vu.Client(server.paths[1])
    other.negotiate({})
    other.info()
    other.close()
    assert client.silent()
    assert server.notes() == [("quiesce",)]


MAP = struct.pack("<IIQQQ", 32, 3, 0, 0x1000, 4096)


def test_quiesce_at_once(start):
    server, client = quiesced(start)
    client.map(0x1000, 4096)
    client.unmap(0x1000, 4096)
    client.call(vu.RESET)
    client.info()
    client.read(0, 0, 4)
    assert [n[0] for n in server.notes()] == ["quiesce", "map", "quiesce", "unmap", "quiesce", "reset"]
    client.close()


@pytest.mark.parametrize("command, body", [(vu.DMA_MAP, MAP), (vu.RESET, b"")])
def test_quiesce_later(start, command, body):
    server, client = quiesced(start, errno.EBUSY)
    pending(server, client, command, body)
    assert server.ask("quiesced", 0, "x", 0) == 0
    assert client.receive().check().command == command
    assert client.receive().check().command == vu.GET_INFO
    assert len(server.notes()) == 1
    assert server.ask("quiesced", 0, "x", 0) == errno.EINVAL
    server.fail("quiesce", 0)
    client.close()


def test_quiesce_fails_later(start):
    server, client = quiesced(start, errno.EBUSY)
    pending(server, client, vu.DMA_MAP, MAP)
    assert server.ask("quiesced", 0, "x", errno.ENOTTY) == 0
    client.receive().check(errno.ENOTTY)
    client.receive().check()
    assert server.notes() == []
    server.fail("quiesce", 0)
    client.close()


def test_quiesce_fails_at_once(start):
    server, client = quiesced(start, errno.EPERM)
    client.map(0x1000, 4096, error=errno.EPERM)
    client.call(vu.RESET, error=errno.EPERM)
    client.info()
    server.fail("quiesce", 0)
    client.close()


def test_client_leaves_while_quiescing(start):
    server, client = quiesced(start, errno.EBUSY)
    pending(server, client, vu.DMA_MAP, MAP)
    client.close()
    server.fail("quiesce", 0)
    assert server.ask("quiesced", 0, "x", 0) == 0
    assert server.notes() == [("map", 0x1000, 4096, 0, 3, 4096), ("quiesce",), ("unmap", 0x1000, 4096), ("reset", 1)]
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.close()


def test_teardown_waits_for_the_device(start):
    server, client = quiesced(start)
    client.map(0x1000, 4096)
    server.notes()
    server.fail("quiesce", errno.EBUSY)
    client.close()
    server.until(lambda: ("quiesce",) in server.notes())
    assert server.ask("quiesced", 0, "x", 0) == 0
    assert server.notes() == [("unmap", 0x1000, 4096), ("reset", 1)]
    server.fail("quiesce", 0)
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.info()
    client.close()
