# SPDX-License-Identifier: GPL-2.0-or-later
"""A served VGA: its frame buffer is memory that the client maps, the picture is the server's to take."""
import mmap
import os
import pathlib
import struct
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import BINARY, CONFIG, IO, MEMORY, RemoteServer, attach, enable  # noqa: E402
from vfio_user import ROM  # noqa: E402

VRAM = 16 << 20
XRES, YRES, BPP, ENABLE = 1, 2, 3, 4


@pytest.fixture(name="server")
def server_fixture(tmp_path):
    running = RemoteServer(tmp_path, "-device", "VGA,id=vga0", "-object", "iothread,id=io0", binary=BINARY)
    yield running
    assert running.close() == 0


def port(client, number, value):
    client.write(2, 0x400 + number - 0x3c0, bytes([value]))


def set_mode(client, width, height):
    enable(client, MEMORY | IO)
    client.read(2, 0x41a, 1)
    port(client, 0x3c0, 0x20)  # the screen is on
    for register, value in ((ENABLE, 0), (XRES, width), (YRES, height), (BPP, 32), (ENABLE, 0x41)):
        client.write(2, 0x500 + 2 * register, struct.pack("<H", value))


def frame_buffer(client):
    info = client.region_info(0, 4096)
    assert info.flags & 4 and info.areas == [(0, VRAM)] and len(info.fds) == 1
    memory = mmap.mmap(info.fds[0], VRAM, offset=info.offset)
    os.close(info.fds[0])
    return memory


def picture(server, **arguments):
    path = server.tmp / "screen.ppm"
    server.ok("screendump", filename=str(path), **arguments)
    kind, size, _, pixels = path.read_bytes().split(b"\n", 3)
    assert kind == b"P6"
    width, height = map(int, size.split())
    assert len(pixels) == 3 * width * height
    return width, height, pixels


@pytest.mark.parametrize("iothread", [{}, {"iothread": "io0"}])
def test_40_drawing_is_no_message(server, iothread):
    """What the client writes to its mapping is on the screen, and nothing was sent."""
    client = attach(server.serve("vga0", **iothread))
    set_mode(client, 320, 200)
    memory = frame_buffer(client)
    for i in range(50):
        x, y = i * 6, i * 4
        memory[(y * 320 + x) * 4:(y * 320 + x) * 4 + 4] = struct.pack("<I", 0x102030 + i)
        width, height, pixels = picture(server, device="vga0")
        assert (width, height) == (320, 200)
        assert pixels[3 * (y * 320 + x):3 * (y * 320 + x) + 3] == struct.pack(">I", 0x102030 + i)[1:]
    client.write(0, 0, b"\xff\xff\xff\0")  # by message it is the same memory
    assert memory[:4] == b"\xff\xff\xff\0" and picture(server)[2][:3] == b"\xff\xff\xff"
    client.close()


def test_the_next_client_has_a_frame_buffer_of_its_own(server):
    path = server.serve("vga0")
    first = attach(path)
    set_mode(first, 64, 64)
    mine = frame_buffer(first)
    mine[:4] = b"mine"
    first.close()
    server.event("VFU_CLIENT_HANGUP")
    second = attach(path)
    set_mode(second, 64, 64)
    fresh = frame_buffer(second)
    assert fresh[:8] == bytes(8)
    mine[:4] = b"\xff" * 4
    assert fresh[:4] == bytes(4) and picture(server)[2][:3] == bytes(3)
    second.close()


def test_13_option_rom(server):
    client = attach(server.serve("vga0"))
    size = client.region_info(ROM).size
    if not size:
        pytest.skip("vgabios-stdvga.bin (Debian: seabios) is not installed")
    image = pathlib.Path("/usr/share/seabios/vgabios-stdvga.bin").read_bytes()
    assert client.read(ROM, 0, len(image)) == image and image[:2] == b"\x55\xaa"
    client.close()


def test_reset_blanks_the_screen(server):
    client = attach(server.serve("vga0"))
    set_mode(client, 64, 64)
    memory = frame_buffer(client)
    memory[:4] = b"\1\2\3\4"
    client.call(13)
    assert memory[:4] == bytes(4) and client.read(2, 0x500 + 2 * ENABLE, 2) == bytes(2)
    assert client.read(CONFIG, 4, 2) == bytes(2)
    client.close()
