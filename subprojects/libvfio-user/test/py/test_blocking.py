# SPDX-License-Identifier: BSD-3-Clause
"""A context without ATTACH_NB: its calls wait, for whole messages and for clients, one after the other."""
import errno
import os
import struct

import pytest

import vfio_user as vu


@pytest.fixture
def blocking(start):
    server = start(("blocking",))
    client = vu.Client(server.paths[0])
    client.negotiate({"max_msg_fds": 8})
    yield server, client
    client.close()


def test_requests(blocking):
    _, client = blocking
    client.write(0, 0, b"abcd")
    assert client.read(0, 0, 4) == b"abcd"
    client.read(9, 0, 4, error=errno.EINVAL)
    fd = vu.memory_file(4096)
    client.map(0x1000, 4096, fd=fd)
    client.unmap(0x1000, 4096)
    client.call(vu.RESET)
    os.close(fd)


def test_pieces(blocking):
    _, client = blocking
    message = vu.header(vu.GET_INFO, 32) + struct.pack("<IIII", 16, 0, 0, 0)
    for byte in message * 2:
        client.send_raw(bytes([byte]))
    for _ in range(2):
        client.receive().check()


def test_large(blocking):
    _, client = blocking
    client.call(vu.GET_INFO, struct.pack("<IIII", 16, 0, 0, 0) + bytes(vu.MAX_DATA)).check()
    client.set_state(vu.STOP_COPY)
    for _ in range(3):
        client.send(vu.MIG_READ, struct.pack("<II", 8 + vu.MAX_DATA, vu.MAX_DATA))
    for _ in range(3):
        assert len(client.receive().check().body) == 8 + vu.MAX_DATA


def test_many_requests_before_a_reply_is_read(blocking):
    _, client = blocking
    for _ in range(60):
        client.send(vu.REGION_READ, struct.pack("<QII", 0, 0, 4096))
    for _ in range(60):
        client.receive().check()


def test_bad_size(blocking):
    _, client = blocking
    client.send_raw(vu.header(vu.GET_INFO, 3))
    assert client.receive().error == errno.EINVAL
    client.info()


@pytest.mark.parametrize("rest", [b"", b"\0", vu.header(vu.GET_INFO, 32), vu.header(vu.GET_INFO, 0) + bytes(100)])
def test_one_client_after_the_other(blocking, rest):
    server, client = blocking
    if rest:
        client.send_raw(rest)
    client.close()
    for _ in range(5):
        other = vu.Client(server.paths[0])
        other.negotiate({})
        other.info()
        other.close()


def test_refused_client(blocking):
    server, client = blocking
    client.close()
    other = vu.Client(server.paths[0])
    other.negotiate(b"{", error=errno.EINVAL)
    other.close()
    other = vu.Client(server.paths[0])
    other.negotiate({})
    other.close()
