# SPDX-License-Identifier: GPL-2.0-or-later
"""A graphics card in a guest that boots: what Debian's SeaBIOS and its VGA BIOS show, by both formats of screendump."""
import json
import os
import pathlib
import socket
import struct
import subprocess
import time
import zlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
VGABIOS = pathlib.Path("/usr/share/seabios/vgabios-stdvga.bin")


class Monitor:
    def __init__(self, path, process):
        self.socket = socket.socket(socket.AF_UNIX)
        while self.socket.connect_ex(str(path)):
            assert process.poll() is None
            time.sleep(0.02)
        self.file = self.socket.makefile("r")
        self.file.readline()
        self.run("qmp_capabilities")

    def run(self, name, **arguments):
        self.socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        answer = json.loads(self.file.readline())
        while "event" in answer:
            answer = json.loads(self.file.readline())
        assert "return" in answer, answer


def lines_of_text(path):
    """Rows of 16 lines with something on them; None unless the picture is a text screen."""
    kind, size, _, pixels = path.read_bytes().split(b"\n", 3)
    assert kind == b"P6"
    width, height = map(int, size.split())
    if (width, height) != (720, 400):
        return None
    return [row for row in range(25) if any(pixels[3 * width * 16 * row:3 * width * 16 * (row + 1)])]


def png_pixels(data):
    """Of a picture of 8-bit RGB that is not interlaced (PNG, 3rd edition, 5 and 9)."""
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8:at + 8 + size]
        assert zlib.crc32(kind + body) == struct.unpack_from(">I", data, at + 8 + size)[0]
        if kind == b"IHDR":
            width, height, *rest = struct.unpack(">IIBBBBB", body)
            assert rest == [8, 2, 0, 0, 0]
        packed += body if kind == b"IDAT" else b""
        at += 12 + size
    raw, stride, rows = zlib.decompress(packed), 3 * width, [bytes(3 * width)]
    for y in range(height):
        method, line, above = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)]), rows[-1]
        for x in range(stride if method else 0):
            a, b, c = line[x - 3] if x >= 3 else 0, above[x], above[x - 3] if x >= 3 else 0
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line[x] = line[x] + (0, a, b, (a + b) // 2, nearest)[method] & 255
        rows.append(bytes(line))
    return b"".join(rows[1:])


@pytest.mark.skipif(not VGABIOS.exists(), reason="seabios is not installed")
def test_firmware_writes_on_the_screen(tmp_path):
    process = subprocess.Popen([BINARY, "-machine", "q35,accel=tcg", "-m", "64", "-nodefaults", "-display", "none", "-vga", "std",
                                "-qmp", f"unix:{tmp_path}/qmp,server=on,wait=off"], stdin=subprocess.DEVNULL)
    try:
        monitor, screen = Monitor(tmp_path / "qmp", process), tmp_path / "screen.ppm"
        seen = None
        while not seen or 0 not in seen or len(seen) < 3:  # the version, and that there is nothing to boot
            monitor.run("screendump", filename=str(screen))
            seen = lines_of_text(screen)
            time.sleep(0.1)
        while True:  # the BIOS may still write between the two
            monitor.run("screendump", filename=str(tmp_path / "screen.png"), format="png")
            before = screen.read_bytes()
            monitor.run("screendump", filename=str(screen))
            if screen.read_bytes() == before:
                break
        png = (tmp_path / "screen.png").read_bytes()
        assert png[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack_from(">II", png, 16) == (720, 400)
        assert png_pixels(png) == screen.read_bytes().split(b"\n", 3)[3]
        monitor.run("quit")
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
