# SPDX-License-Identifier: GPL-2.0-or-later
"""RAM that comes into memory that is there already is read straight into it: the bytes are the source's, and a damaged byte is found
there as it is in memory that comes with the pages, also when the damage is in where they belong."""
import os
import struct
import time

import pytest

from machine import Machine, start_fails

SIZE, DATA = 64 << 20, 8 << 20
RAM, HEADER, HEAD = 2, 16, 12


def backend(tmp, name, there):
    return ["-object", f"memory-backend-file,id=mem,size={SIZE},share=on,mem-path={tmp / name},prealloc={'on' if there else 'off'}",
            "-machine", "memory-backend=mem"]


@pytest.fixture(name="stream", scope="module")
def fixture_stream(tmp_path_factory):
    """The stream of a machine with random data, with holes between, and its RAM."""
    tmp = tmp_path_factory.mktemp("source")
    content = bytearray(SIZE)
    for at in range(0, DATA, 1 << 20):
        content[at:at + 800 * 1024 - 4096] = os.urandom(800 * 1024 - 4096)
    (tmp / "ram").write_bytes(content)
    source = Machine(tmp, *backend(tmp, "ram", False), "-S")
    assert "return" in source.qmp("migrate", uri=f"file:{tmp}/stream")
    while (said := source.qmp("query-migrate")["return"])["status"] != "completed":
        assert said["status"] != "failed", said
        time.sleep(0.01)
    assert source.close() == 0
    return (tmp / "stream").read_bytes(), (tmp / "ram").read_bytes()


def pages_of(stream):
    """Where the records of RAM begin."""
    found, at = [], 8
    while at < len(stream):
        kind, size = struct.unpack_from("<II", stream, at)
        found += [at] if kind == RAM else []
        at += HEADER + size
    return found


@pytest.mark.parametrize("there", [False, True])
def test_bytes_are_the_source_s(stream, tmp_path, there):
    saved, content = stream
    (tmp_path / "stream").write_bytes(saved)
    target = Machine(tmp_path, *backend(tmp_path, "ram", there), "-incoming", f"file:{tmp_path}/stream")
    while target.qmp("query-status")["return"]["status"] == "inmigrate":
        assert target.process.poll() is None
        time.sleep(0.01)
    assert (tmp_path / "ram").read_bytes() == content
    assert target.close() == 0


@pytest.mark.parametrize("there", [False, True])
def test_damage_is_found(stream, tmp_path, there):
    saved, _ = stream
    at = pages_of(saved)[3]
    size = struct.unpack_from("<I", saved, at + 4)[0]
    # Another block, a page beside, outside of the RAM, not at a page; the first byte of a page, the last of the record.
    for place, bit in ((0, 1), (5, 0x10), (9, 0x40), (4, 4), (HEAD, 1), (size - 1, 0x80)):
        bad = bytearray(saved)
        bad[at + HEADER + place] ^= bit
        (tmp_path / "bad").write_bytes(bad)
        said = start_fails(*backend(tmp_path, "ram", there), "-incoming", f"file:{tmp_path}/bad")
        assert f"damaged record (RAM) at byte {at}:" in said, (place, said)
    (tmp_path / "bad").write_bytes(saved[:at + HEADER + size - 5])
    assert "the stream ends in RAM at byte" in start_fails(*backend(tmp_path, "ram", there), "-incoming", f"file:{tmp_path}/bad")
