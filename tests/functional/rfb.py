# SPDX-License-Identifier: GPL-2.0-or-later
"""An RFB client (RFC 6143) for tests: handshakes, raw, zlib and tight decoding, keys and pointer."""
import socket
import struct
import subprocess
import zlib

RAW, ZLIB, TIGHT, DESKTOP_SIZE, EXTENDED_KEY = 0, 6, 7, -223, -258
FORMAT_32 = (32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
FORMAT_16 = (16, 16, 1, 1, 31, 63, 31, 11, 5, 0)
FORMAT_8 = (8, 8, 0, 1, 7, 7, 3, 0, 3, 6)
FORMAT_MAP = (8, 8, 0, 0, 0, 0, 0, 0, 0, 0)


def des_answer(password, challenge):
    """By openssl, whose DES is an implementation of others."""
    key = bytes(int(f"{b:08b}"[::-1], 2) for b in password.encode()[:8].ljust(8, b"\0"))
    return subprocess.run(["openssl", "enc", "-des-ecb", "-nopad", "-K", key.hex(), "-provider", "legacy", "-provider", "default"],
                          input=challenge, stdout=subprocess.PIPE, check=True).stdout


class Refused(Exception):
    """The server says no."""


class Client:
    def __init__(self, address, version=8, password=None, shared=True):
        """`address`: a path, or (host, port)."""
        self.sock = socket.socket(socket.AF_UNIX) if isinstance(address, str) else socket.socket()
        self.sock.connect(address)  # may have to wait for its turn, which a timeout would not let it
        self.sock.settimeout(300)
        self.buffer = b""
        self.inflate, self.streams = zlib.decompressobj(), [zlib.decompressobj() for _ in range(4)]
        self.colours, self.rects = None, []
        assert self.take(12) == b"RFB 003.008\n"
        self.send(b"RFB 003.%03d\n" % version)
        self.authenticate(version, password)
        self.send(bytes([shared]))
        self.width, self.height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.name = self.take(struct.unpack(">I", self.take(4))[0]).decode()
        self.pixels = bytearray(3 * self.width * self.height)
        self.set_format(FORMAT_32)

    def authenticate(self, version, password):
        if version >= 7:
            types = self.take(self.take(1)[0])
            kind = types[0]
            self.send(bytes([kind]))
        else:
            kind, = struct.unpack(">I", self.take(4))
        assert kind == (1 if password is None else 2)
        if kind == 2:
            self.send(des_answer(password, self.take(16)))
        if kind == 2 or version >= 8:
            if struct.unpack(">I", self.take(4))[0]:
                raise Refused(self.take(struct.unpack(">I", self.take(4))[0]) if version >= 8 else b"")

    def send(self, data):
        self.sock.sendall(data)

    def take(self, n):
        while len(self.buffer) < n:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def set_format(self, fmt):
        self.format = fmt
        self.send(struct.pack(">B3xBBBBHHHBBB3x", 0, *fmt))

    def set_encodings(self, *encodings):
        self.send(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    def request(self, incremental=False, area=None):
        self.send(struct.pack(">BBHHHH", 3, incremental, *(area or (0, 0, self.width, self.height))))

    def key(self, keysym, down=None):
        for state in (True, False) if down is None else (down,):
            self.send(struct.pack(">BBxxI", 4, state, keysym))

    def pointer(self, x, y, buttons=0):
        self.send(struct.pack(">BBHH", 5, buttons, x, y))

    # --- pictures ---

    def rgb(self, value):
        if self.colours:
            return self.colours[value]
        *_, rmax, gmax, bmax, rs, gs, bs = self.format
        return bytes((((value >> s & m) * 255 + m // 2) // m) for m, s in ((rmax, rs), (gmax, gs), (bmax, bs)))

    def pixels_of(self, data):
        """RGB of raw pixels."""
        size, order = self.format[0] // 8, "big" if self.format[2] else "little"
        if size == 4 and order == "little" and self.format[7:] == (16, 8, 0):
            out = bytearray(len(data) // 4 * 3)
            out[0::3], out[1::3], out[2::3] = data[2::4], data[1::4], data[0::4]
            return out
        table = {}
        out = bytearray()
        for i in range(0, len(data), size):
            raw = data[i:i + size]
            if raw not in table:
                table[raw] = self.rgb(int.from_bytes(raw, order))
            out += table[raw]
        return out

    def tight_size(self):
        value = 0
        for shift in (0, 7, 14):
            byte = self.take(1)[0]
            value |= (byte & 0x7f if shift < 14 else byte) << shift
            if not byte & 0x80:
                break
        return value

    def tight_bytes(self, stream, n):
        if n < 12:
            return self.take(n)
        data = self.streams[stream].decompress(self.take(self.tight_size()))
        assert len(data) == n
        return data

    def tight_pixels(self, data):
        if self.format[0] == 32 and self.format[1] == 24:
            return bytearray(data)
        return self.pixels_of(data)

    def tight(self, w, h):
        control = self.take(1)[0]
        size = 3 if self.format[0] == 32 else self.format[0] // 8
        for stream in range(4):
            if control >> stream & 1:
                self.streams[stream] = zlib.decompressobj()
        if control >> 4 == 8:
            return self.tight_pixels(self.take(size)) * (w * h)
        assert control < 0x80
        stream, kind = control >> 4 & 3, self.take(1)[0] if control & 0x40 else 0
        if kind == 0:
            return self.tight_pixels(self.tight_bytes(stream, w * h * size))
        assert kind == 1
        count = self.take(1)[0] + 1
        palette = self.tight_pixels(self.take(count * size))
        palette = [palette[3 * i:3 * i + 3] for i in range(count)]
        if count > 2:
            return b"".join(palette[i] for i in self.tight_bytes(stream, w * h))
        pitch = (w + 7) // 8
        bits = self.tight_bytes(stream, pitch * h)
        return b"".join(palette[bits[y * pitch + x // 8] >> (7 - x % 8) & 1] for y in range(h) for x in range(w))

    def rect(self, x, y, w, h, encoding):
        if encoding == DESKTOP_SIZE:
            self.width, self.height = w, h
            self.pixels = bytearray(3 * w * h)
            return
        if encoding == EXTENDED_KEY:
            return
        if encoding == TIGHT:
            rgb = self.tight(w, h)
        else:
            n = w * h * self.format[0] // 8
            data = self.take(n) if encoding == RAW else self.inflate.decompress(self.take(struct.unpack(">I", self.take(4))[0]))
            assert len(data) == n
            rgb = self.pixels_of(data)
        for line in range(h):
            at = 3 * ((y + line) * self.width + x)
            self.pixels[at:at + 3 * w] = rgb[3 * w * line:3 * w * (line + 1)]

    def update(self):
        """Waits for one update; its rectangles are (x, y, w, h, encoding)."""
        while True:
            kind = self.take(1)[0]
            if kind == 1:
                first, count = struct.unpack(">xHH", self.take(5))
                values = struct.unpack(f">{3 * count}H", self.take(6 * count))
                self.colours = {first + i: bytes(v >> 8 for v in values[3 * i:3 * i + 3]) for i in range(count)}
                continue
            assert kind == 0, kind
            self.rects = []
            for _ in range(struct.unpack(">xH", self.take(3))[0]):
                self.rects.append(struct.unpack(">HHHHi", self.take(12)))
                self.rect(*self.rects[-1])
            return self.rects

    def whole(self):
        """The whole picture, of the size that the server says in the end."""
        while True:
            size = self.width, self.height
            self.request()
            if all(r[4] >= 0 for r in self.update()) and size == (self.width, self.height):
                return bytes(self.pixels)

    def close(self):
        self.sock.close()
