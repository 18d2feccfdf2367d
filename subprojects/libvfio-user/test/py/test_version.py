# SPDX-License-Identifier: BSD-3-Clause
"""VERSION: numbers, capabilities, every malformed one, and what comes instead of it."""
import errno
import json
import os
import struct

import pytest

import vfio_user as vu


@pytest.mark.parametrize("minor, answer", [(0, 0), (1, 1), (2, 2), (3, 2), (65535, 2)])
def test_minor(server, minor, answer):
    client = vu.Client(server.paths[0])
    (major, got), caps = client.negotiate({}, minor=minor)
    assert (major, got) == (0, answer)
    assert caps["max_msg_fds"] == 8 and caps["max_data_xfer_size"] == vu.MAX_DATA
    assert caps["migration"]["pgsize"] == os.sysconf("SC_PAGESIZE")
    client.close()


@pytest.mark.parametrize("caps", [
    None, b"{}", b"[]", b'{"capabilities":{}}', b"{} junk", b'{"capabilities":{"unknown":{"a":[1]}},"more":1}',
    {"max_msg_fds": 0}, {"max_msg_fds": 1024}, {"max_data_xfer_size": 1}, {"migration": {"pgsize": 4096}},
    {"max_dma_maps": 0}, {"pgsizes": 4096}, {"twin_socket": {"supported": False}}, {"write_multiple": False},
    {"migration": {"max_bitmap_size": 268435456}}])
def test_accepted(server, caps):
    client = vu.Client(server.paths[0])
    client.negotiate(caps)
    client.info()
    client.close()


@pytest.mark.parametrize("caps", [
    b"", b"{", b"nonsense", b'"', b'{"capabilities":[]}', b'{"capabilities":1}', {"max_msg_fds": 1025},
    {"max_msg_fds": -1}, {"max_msg_fds": "8"}, {"max_msg_fds": None}, {"max_data_xfer_size": 0},
    {"max_data_xfer_size": -1},
    {"max_data_xfer_size": []}, {"max_dma_maps": -1}, {"pgsizes": "x"}, {"twin_socket": True},
    {"twin_socket": {"supported": 1}}, {"write_multiple": 1}, {"migration": []}, {"migration": {"pgsize": 8192}},
    {"migration": {"pgsize": "4096"}}])
def test_refused(server, caps):
    client = vu.Client(server.paths[0])
    client.negotiate(caps, error=errno.EINVAL)
    assert client.is_lost()
    client.close()
    assert ("refused", errno.EINVAL) in server.notes()
    # And the next one is served.
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.info()
    client.close()


def refuse(server, data, error, fds=(), replies=True):
    client = vu.Client(server.paths[0])
    client.send_raw(data, fds)
    if replies:
        reply = client.receive()
        assert (reply.flags, reply.error) == (vu.REPLY | vu.ERROR, error)
    assert client.is_lost()
    client.close()


@pytest.mark.parametrize("major", [1, 65535])
def test_major(server, major):
    refuse(server, vu.header(vu.VERSION, 20) + struct.pack("<HH", major, 0), errno.EINVAL)


@pytest.mark.parametrize("command", [0, *range(2, 20), 0xffff])
def test_other_command_first(server, command):
    refuse(server, vu.header(command, 20) + bytes(4), errno.EINVAL)


def test_reply_first(server):
    refuse(server, vu.header(vu.VERSION, 20, flags=vu.REPLY) + bytes(4), errno.EINVAL)


@pytest.mark.parametrize("length", range(4))
def test_short(server, length):
    refuse(server, vu.header(vu.VERSION, 16 + length) + bytes(length), errno.EINVAL)


@pytest.mark.parametrize("size", [0, 1, 15, vu.MAX_MESSAGE + 1, 0x7fffffff, 0xffffffff])
def test_bad_size(server, size):
    refuse(server, vu.header(vu.VERSION, size), errno.EINVAL)


def test_json_without_end(server):
    text = b'{"capabilities":{}}'
    refuse(server, vu.header(vu.VERSION, 20 + len(text)) + bytes(4) + text, errno.EINVAL)


def test_json_too_long(server):
    text = b'{"a":"' + b"x" * 5000 + b'"}\0'
    refuse(server, vu.header(vu.VERSION, 20 + len(text)) + bytes(4) + text, errno.EINVAL)


def test_json_nested(server):
    client = vu.Client(server.paths[0])
    client.negotiate(b'{"a":' * 500 + b"1" + b"}" * 500, error=errno.EINVAL)
    client.close()


def test_fd_with_version(server):
    fds = server.usage()["fds"]
    refuse(server, vu.header(vu.VERSION, 20) + bytes(4), errno.EFAULT, fds=[0, 1])
    server.until(lambda: server.usage()["fds"] == fds)


def test_second_version(client):
    client.call(vu.VERSION, bytes(4), error=errno.EINVAL)
    client.info()


def test_a_byte_at_a_time(server):
    client = vu.Client(server.paths[0])
    body = struct.pack("<HH", 0, 1) + b'{"capabilities":{}}\0'
    for byte in vu.header(vu.VERSION, 16 + len(body)) + body:
        client.send_raw(bytes([byte]))
        server.usage()
    client.receive().check()
    client.info()
    client.close()


def test_silent_client_blocks_nobody(server):
    silent = vu.Client(server.paths[0])
    assert server.ask("state", 1) == {"lost": 0, "attached": 1}
    silent.send_raw(vu.header(vu.VERSION, 20))
    assert server.ask("state", 1) == {"lost": 0, "attached": 1}
    silent.close()
    server.until(lambda: ("refused", errno.ENOTCONN) in server.notes())


def test_twin_socket(server):
    client = vu.Client(server.paths[0])
    _, caps = client.negotiate({"max_msg_fds": 1, "twin_socket": {"supported": True}})
    assert caps["twin_socket"] == {"supported": True, "fd_index": 0} and client.twin
    client.close()
    server.until_lost(1)
    client = vu.Client(server.paths[0])
    _, caps = client.negotiate({"max_msg_fds": 0, "twin_socket": {"supported": True}})
    assert not caps.get("twin_socket", {}).get("supported") and client.twin is None
    client.close()


@pytest.mark.parametrize("asked", [True, False])
def test_write_multiple(server, asked):
    client = vu.Client(server.paths[0])
    _, caps = client.negotiate({"write_multiple": asked})
    assert caps.get("write_multiple", False) is asked
    client.close()


def test_limits_are_told(start):
    server = start(("maxdma=64", "nomigration"))
    client = vu.Client(server.paths[0])
    _, caps = client.negotiate({})
    assert caps["max_dma_maps"] == 64 and "migration" not in caps
    client.close()


def test_reply_fits_qemu(server):
    """QEMU takes a reply that is not larger than its own request of 214 bytes."""
    client = vu.Client(server.paths[0])
    caps = {"max_msg_fds": 16, "max_data_xfer_size": 1048576, "max_dma_maps": 65535, "pgsizes": 4096,
            "write_multiple": True, "migration": {"pgsize": 4096, "max_bitmap_size": 268435456}}
    reply = client.call(vu.VERSION, bytes(4) + json.dumps({"capabilities": caps}).encode() + b"\0")
    assert reply.size <= 214 and reply.body[-1] == 0
    assert struct.unpack_from("<HH", reply.body) == (0, 0)
    client.close()


def test_second_client_waits(server):
    first, second = vu.Client(server.paths[0]), vu.Client(server.paths[0])
    first.negotiate({})
    second.send(vu.VERSION, bytes(4))
    first.info()
    assert second.silent()
    first.close()
    second.receive().check()
    second.info()
    second.close()
