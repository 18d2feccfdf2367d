# SPDX-License-Identifier: BSD-3-Clause
"""DMA_READ and DMA_WRITE: the server asks; the client answers, late, wrongly or not at all."""
import errno
import struct

import pytest

import vfio_user as vu

BASE = 0x10000
SIZE = 1 << 22
RW = vu.READABLE | vu.WRITEABLE


@pytest.fixture(params=["one socket", "twin socket"])
def peer(server, request):
    client = vu.Client(server.paths[0])
    twin = {"twin_socket": {"supported": True}} if request.param == "twin socket" else {}
    client.negotiate({"max_msg_fds": 8, **twin})
    assert (client.twin is None) == (not twin)
    client.map(BASE, SIZE, RW)
    yield client
    client.close()


def begin(server, how, address, length, fill=0):
    server.say("copy", 0, how, address, length, fill)


@pytest.mark.parametrize("length", [1, 4, 4096, 100000, vu.MAX_DATA])
def test_read(server, peer, length):
    memory = bytearray(i * 13 & 0xff for i in range(length + 8))
    begin(server, "read", BASE + 8, length)
    assert peer.serve_dma(memory, BASE) == (vu.DMA_READ, BASE + 8, length)
    assert server.answer() == {"errno": 0, "sum": vu.checksum(memory[8:8 + length])}


@pytest.mark.parametrize("length", [1, 4, 4096, 100000, vu.MAX_DATA])
def test_write(server, peer, length):
    memory = bytearray(length + 16)
    begin(server, "write", BASE + 8, length, 0x5a)
    assert peer.serve_dma(memory, BASE) == (vu.DMA_WRITE, BASE + 8, length)
    assert server.answer()["errno"] == 0
    assert memory == bytes(8) + b"\x5a" * length + bytes(8)


def test_in_pieces(server):
    client = vu.Client(server.paths[0])
    client.negotiate({"max_data_xfer_size": 1000})
    client.map(BASE, SIZE, RW)
    memory = bytearray(2500)
    begin(server, "write", BASE, 2500, 1)
    assert [client.serve_dma(memory, BASE)[1:] for _ in range(3)] == [(BASE, 1000), (BASE + 1000, 1000),
                                                                      (BASE + 2000, 500)]
    assert server.answer()["errno"] == 0 and memory == b"\1" * 2500
    begin(server, "read", BASE, 1001)
    assert [client.serve_dma(memory, BASE)[2] for _ in range(2)] == [1000, 1]
    assert server.answer()["sum"] == vu.checksum(b"\1" * 1001)
    client.close()


def test_more_than_a_message(server, peer):
    memory = bytearray(3 * vu.MAX_DATA)
    begin(server, "write", BASE, 3 * vu.MAX_DATA, 2)
    assert [peer.serve_dma(memory, BASE)[2] for _ in range(3)] == [vu.MAX_DATA] * 3
    assert server.answer()["errno"] == 0 and memory == b"\2" * (3 * vu.MAX_DATA)


@pytest.mark.parametrize("error", [1, errno.EFAULT, errno.ENODEV, errno.E2BIG, 4096])
@pytest.mark.parametrize("how", ["read", "write"])
def test_client_refuses(server, peer, how, error):
    begin(server, how, BASE, 16)
    peer.serve_dma(bytearray(16), BASE, error=error)
    assert server.answer()["errno"] == error
    peer.info()


@pytest.mark.parametrize("error", [0, 4097, 0xffffffff])
def test_odd_errno(server, peer, error):
    begin(server, "read", BASE, 16)
    m = (peer.twin or peer).receive()
    (peer.twin or peer).send_raw(vu.header(m.command, 16, m.id, vu.REPLY | vu.ERROR, error))
    assert server.answer()["errno"] == errno.EINVAL


def test_region_with_file_by_message(server, peer):
    """Without the flag for direct access a mappable region is read by messages too."""
    fd = vu.memory_file(4096)
    peer.map(BASE + SIZE, 4096, RW, fd)
    begin(server, "read", BASE + SIZE, 16)
    peer.serve_dma(bytearray(b"m" * 16), BASE + SIZE)
    assert server.answer()["sum"] == vu.checksum(b"m" * 16)


def test_bare_write_reply(server, peer):
    begin(server, "write", BASE, 16)
    m = (peer.twin or peer).receive()
    (peer.twin or peer).send_raw(vu.header(m.command, 16, m.id, vu.REPLY))
    assert server.answer()["errno"] == 0


def answer(peer, command, body, ident=0, flags=vu.REPLY):
    out = peer.twin or peer
    m = out.receive()
    out.send_raw(vu.header(m.command if command is None else command, 16 + len(body), m.id + ident, flags) + body)


@pytest.mark.parametrize("body", [
    b"", bytes(8), struct.pack("<QQ", BASE, 16), struct.pack("<QQ", BASE, 16) + bytes(15),
    struct.pack("<QQ", BASE, 16) + bytes(17),
    struct.pack("<QQ", BASE + 1, 16) + bytes(16), struct.pack("<QQ", BASE, 15) + bytes(15),
    struct.pack("<QQ", BASE, 1 << 60)])
def test_wrong_read_reply(server, peer, body):
    begin(server, "read", BASE, 16)
    answer(peer, None, body)
    assert server.answer()["errno"] == errno.EINVAL
    peer.info()


@pytest.mark.parametrize("body", [bytes(8), struct.pack("<QQ", BASE + 1, 16), struct.pack("<QQ", BASE, 15)])
def test_wrong_write_reply(server, peer, body):
    begin(server, "write", BASE, 16)
    answer(peer, None, body)
    assert server.answer()["errno"] == errno.EINVAL
    peer.info()


@pytest.mark.parametrize("ident, command", [(1, None), (0, vu.DMA_WRITE), (0, vu.GET_INFO)])
def test_reply_to_something_else(server, peer, ident, command):
    begin(server, "read", BASE, 16)
    answer(peer, command, struct.pack("<QQ", BASE, 16) + bytes(16), ident)
    assert server.answer()["errno"] == errno.EPROTO
    server.until_lost(1)
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.close()


def test_commands_before_the_reply(server, peer):
    """Both sides ask at once: neither takes the other's request for its answer."""
    begin(server, "read", BASE, 16)
    m = (peer.twin or peer).receive()
    ids = [peer.send(vu.REGION_READ, struct.pack("<QII", i, 0, 1)) for i in range(20)]
    peer.post(vu.REGION_WRITE, struct.pack("<QII", 0, 0, 4) + b"post")
    assert peer.silent()
    (peer.twin or peer).send_raw(vu.header(m.command, 48, m.id, vu.REPLY) + struct.pack("<QQ", BASE, 16) + b"x" * 16)
    assert server.answer() == {"errno": 0, "sum": vu.checksum(b"x" * 16)}
    assert [peer.receive().check().id for _ in ids] == ids
    assert peer.read(0, 0, 4) == b"post"


def test_client_leaves_instead(server, peer):
    begin(server, "read", BASE, 16)
    (peer.twin or peer).receive()
    peer.close()
    assert server.answer()["errno"] == errno.ENOTCONN
    server.until_lost(1)


def test_no_answer(server, peer):
    """The wait ends; a late answer is dropped and the connection goes on."""
    begin(server, "read", BASE, 16)
    m = (peer.twin or peer).receive()
    assert server.answer()["errno"] == errno.ETIMEDOUT
    (peer.twin or peer).send_raw(vu.header(m.command, 48, m.id, vu.REPLY) + struct.pack("<QQ", BASE, 16) + bytes(16))
    peer.info()
    begin(server, "write", BASE, 16, 3)
    memory = bytearray(16)
    peer.serve_dma(memory, BASE)
    assert server.answer()["errno"] == 0 and memory == b"\3" * 16


def test_flood_instead_of_an_answer(server):
    """What a client may send while the server waits for it is bounded."""
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.map(BASE, SIZE, RW)
    begin(server, "read", BASE, 16)
    client.receive()
    try:
        for _ in range(6000):
            client.post(vu.REGION_READ, struct.pack("<QII", 0, 0, 4))
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert server.answer()["errno"] == errno.ENOBUFS
    client.close()


def test_unmapped(server, peer):
    assert server.copy("read", 0, 16)["errno"] == errno.ENOENT
    assert server.copy("read", BASE + SIZE - 8, 16)["errno"] == errno.ENOENT
    assert server.copy("map-read", BASE, 16)["errno"] == errno.EFAULT
