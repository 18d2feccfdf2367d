# SPDX-License-Identifier: BSD-3-Clause
"""Clients that do what no client should: the connection survives or is closed, and nobody else notices."""
import errno
import os
import random
import resource
import select
import socket
import struct

import pytest

import vfio_user as vu

INFO = struct.pack("<IIII", 16, 0, 0, 0)


@pytest.fixture
def raw(server):
    """A client whose connection may be gone by the end."""
    made = vu.Client(server.paths[0])
    made.negotiate({})
    yield made
    made.close()


def reconnect(server):
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.info()
    client.close()


# --- headers ---

@pytest.mark.parametrize("command", [0, 1, vu.DMA_READ, vu.DMA_WRITE, *range(19, 40), 0x100, 0x8000, 0xffff])
def test_unknown_command(client, command):
    client.call(command, bytes(32), error=errno.EINVAL)
    client.call(command, error=errno.EINVAL)
    client.info()


@pytest.mark.parametrize("command", [c for c in range(1, 19) if c != vu.RESET])
def test_no_payload(client, command):
    client.call(command, error=errno.EINVAL)
    client.info()


@pytest.mark.parametrize("kind", range(1, 16))
def test_not_a_command(client, kind):
    client.send_raw(vu.header(vu.GET_INFO, 32, 77, kind) + INFO)
    reply = client.receive()
    assert (reply.id, reply.error, reply.flags) == (77, errno.EINVAL, vu.REPLY | vu.ERROR)
    client.info()


def test_other_flags_are_ignored(client):
    client.send_raw(vu.header(vu.GET_INFO, 32, 1, vu.ERROR, 5) + INFO)
    client.receive().check()


@pytest.mark.parametrize("size", [0, 1, 15, vu.MAX_MESSAGE + 1, 0x7fffffff, 0x80000000, 0xffffffff])
def test_bad_size(server, raw, size):
    """Answered; the stream goes on when nothing follows, so the next bytes are a header."""
    raw.send_raw(vu.header(vu.GET_INFO, size, 5))
    reply = raw.receive()
    assert (reply.id, reply.error) == (5, errno.EINVAL)
    raw.info()


@pytest.mark.parametrize("size", [0, 15, vu.MAX_MESSAGE + 1, 0xffffffff])
def test_bad_size_with_more_behind(server, raw, size):
    """What follows can't be told apart any more: the connection ends, and only that."""
    raw.send_raw(vu.header(vu.GET_INFO, size) + bytes(200))
    assert raw.is_lost()
    server.until_lost(1)
    reconnect(server)


def test_largest_message(client):
    client.call(vu.REGION_WRITE, struct.pack("<QII", 0, 0, vu.MAX_DATA) + bytes(vu.MAX_DATA), error=errno.EINVAL)
    client.call(vu.GET_INFO, INFO + bytes(vu.MAX_DATA)).check()


@pytest.mark.parametrize("length", range(1, 16))
def test_half_a_header(server, raw, length):
    raw.send_raw(vu.header(vu.GET_INFO, 32)[:length])
    assert server.ask("state", 0) == {"lost": 0, "attached": 1}
    raw.send_raw(vu.header(vu.GET_INFO, 32)[length:] + INFO)
    raw.receive().check()
    raw.send_raw(vu.header(vu.GET_INFO, 32)[:length])
    raw.close()
    server.until_lost(1)
    reconnect(server)


@pytest.mark.parametrize("length", [0, 1, 8, 15])
def test_half_a_body(server, raw, length):
    raw.send_raw(vu.header(vu.GET_INFO, 32) + INFO[:length])
    assert server.ask("state", 0) == {"lost": 0, "attached": 1}
    raw.send_raw(INFO[length:])
    raw.receive().check()
    raw.send_raw(vu.header(vu.GET_INFO, 32) + INFO[:length])
    raw.close()
    server.until_lost(1)
    reconnect(server)


def test_a_byte_at_a_time(server, raw):
    for _ in range(2):
        for byte in vu.header(vu.GET_INFO, 32) + INFO:
            raw.send_raw(bytes([byte]))
            server.usage()
        raw.receive().check()


def test_two_messages_in_pieces(raw):
    """The cut wanders through two messages."""
    both = vu.header(vu.GET_INFO, 32, 1) + INFO + vu.header(vu.REGION_READ, 32, 2) + struct.pack("<QII", 0, 0, 4)
    for cut in range(1, len(both)):
        raw.send_raw(both[:cut])
        raw.send_raw(both[cut:])
        assert [raw.receive().check().id for _ in range(2)] == [1, 2]


# --- descriptors ---

@pytest.mark.parametrize("command, body", [
    (vu.GET_INFO, INFO), (vu.REGION_READ, struct.pack("<QII", 0, 0, 4)), (vu.RESET, b""), (99, b"x" * 8),
    (vu.DMA_UNMAP, struct.pack("<IIQQ", 24, vu.UNMAP_ALL, 0, 0))])
@pytest.mark.parametrize("count", [1, 8, 253])
def test_surplus_fds_are_closed(server, client, command, body, count):
    fds = server.usage()["fds"]
    client.send(command, body, [0] * count)
    client.receive()
    assert server.usage()["fds"] == fds


def test_fds_of_half_a_message(server, raw):
    fds = server.usage()["fds"]
    for _ in range(3):
        client = raw if _ == 0 else vu.Client(server.paths[0])
        if client is not raw:
            client.negotiate({})
        client.send_raw(vu.header(vu.DMA_MAP, 48)[:5], [0] * 200)
        client.send_raw(vu.header(vu.DMA_MAP, 48)[5:], [0] * 200)
        client.close()
        server.until_lost(_ + 1)
        assert server.usage()["fds"] == fds - 1


def test_fds_with_every_byte(server, raw):
    """More descriptors than any message may have, in many pieces: bounded, and closed."""
    fds = server.usage()["fds"]
    for byte in vu.header(vu.GET_INFO, 32) + INFO:
        raw.send_raw(bytes([byte]), [0] * 100)
        assert server.usage()["fds"] <= fds + 253
    try:
        raw.receive()
    except vu.Lost:
        server.until_lost(1)
    assert server.usage()["fds"] <= fds
    raw.close()


def test_more_fds_than_the_server_has_room_for(server, raw):
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    fds = server.usage()["fds"]
    raw.send(vu.GET_INFO, INFO, [0] * 200)
    assert raw.is_lost()
    server.until_lost(1)
    assert server.usage()["fds"] == fds - 1
    reconnect(server)


def test_fds_with_a_bad_header(server, raw):
    fds = server.usage()["fds"]
    raw.send_raw(vu.header(vu.GET_INFO, 0), [0] * 10)
    assert raw.receive().error == errno.EINVAL
    assert server.usage()["fds"] == fds


# --- clients that do not read, or leave ---

def test_never_reads(server, raw):
    """Requests without end whose answers nobody takes: the server stops reading, and holds little for it."""
    raw.socket.setblocking(False)
    body = struct.pack("<QII", 0, 0, 4096)
    message, sent = vu.header(vu.REGION_READ, 32) + body, 0
    idle = 0
    while idle < 20:
        try:
            sent += raw.socket.send(message)
            idle = 0
        except BlockingIOError:
            server.usage()
            idle += 1
    assert sent < 4 << 20
    # It is served again once it reads.
    raw.socket.settimeout(vu.PATIENCE)
    for _ in range(sent // 32):
        assert len(raw.receive().check().body) == 16 + 4096


def test_never_reads_big_replies(server, raw):
    heap = server.usage()["heap"]
    raw.socket.setblocking(False)
    raw.send(vu.FEATURE, struct.pack("<III", 16, vu.SET | vu.MIG_STATE, vu.STOP_COPY) + bytes(4))
    for _ in range(100):
        try:
            raw.send(vu.MIG_READ, struct.pack("<II", 8 + vu.MAX_DATA, vu.MAX_DATA))
        except BlockingIOError:
            break
        server.usage()
    assert server.usage()["heap"] < heap + (8 << 20)
    raw.close()
    server.until_lost(1)
    assert server.usage()["heap"] < heap + (1 << 20)


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
def test_shutdown(server, raw, how):
    raw.send(vu.GET_INFO, INFO)
    raw.socket.shutdown(how)
    if how == socket.SHUT_RD:
        try:
            raw.send(vu.GET_INFO, INFO)
        except BrokenPipeError:
            pass
    server.until_lost(1)
    reconnect(server)


def test_leaves_without_reading(server, raw):
    for _ in range(50):
        raw.send(vu.REGION_READ, struct.pack("<QII", 0, 0, 4096))
    raw.close()
    server.until_lost(1)
    reconnect(server)


def test_connects_and_leaves(server):
    for _ in range(50):
        vu.Client(server.paths[0]).close()
    reconnect(server)


# --- memory ---

def test_memory_is_bounded(server, client):
    """Requests that name huge sizes allocate nothing of the kind."""
    fd = vu.memory_file(4096)
    heap = server.usage()["heap"]
    client.map(0, 1 << 42, vu.READABLE, fd)
    client.start_log(1 << 20)
    client.feature(vu.SET | vu.LOG_STOP)
    client.start_log(4096)
    client.report(0, 1 << 42, 4096, argsz=0xffffffff, error=errno.EINVAL)
    client.unmap_bitmap(0, 1 << 42, bitmap=1 << 60, argsz=0xffffffff, error=errno.EINVAL)
    client.unmap_bitmap(0, 1 << 42, bitmap=0xfffff000, argsz=0xffffffff, error=errno.EINVAL)
    client.unmap(0, 1 << 42)
    assert server.usage()["heap"] < heap + (1 << 20)
    os.close(fd)


# --- noise ---

@pytest.mark.parametrize("seed", range(30))
def test_noise(server, seed):
    """Well-formed headers around random bodies; every command is answered, or the connection ends."""
    noise = random.Random(seed)
    client = vu.Client(server.paths[0])
    client.negotiate({"max_msg_fds": 16})
    try:
        for _ in range(200):
            body = bytes(noise.choice((0, 0, 0, 1, 2, 3, 4, 16, 32, 255, noise.randrange(256)))
                         for _ in range(noise.randrange(80)))
            flags = noise.choice((vu.COMMAND, vu.COMMAND, vu.COMMAND, vu.NO_REPLY, vu.REPLY))
            client.send(noise.randrange(20), body, [0] * noise.choice((0, 0, 0, 1, 3)), flags)
            if flags != vu.NO_REPLY:
                client.receive().close()
    except (vu.Lost, BrokenPipeError, ConnectionResetError):
        pass
    client.close()
    reconnect(server)


@pytest.mark.parametrize("seed", range(10))
def test_garbage(server, seed):
    noise = random.Random(seed)
    client = vu.Client(server.paths[0])
    if seed % 2:
        client.negotiate({})
    client.socket.setblocking(False)
    for _ in range(20):
        try:
            client.socket.send(noise.randbytes(1000))
            if select.select([client.socket], [], [], 0)[0] and not client.socket.recv(65536):
                break
        except OSError:
            break
    client.close()
    reconnect(server)
