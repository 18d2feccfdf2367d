# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile clients play whole sessions against the real server: a disk, a probe, a graphics card and two small devices.  Each session is
made from its number alone, so that one that fails can be played again: FUZZ_FIRST=N FUZZ_SESSIONS=1.  FUZZ_SESSIONS is
how many are played."""
import os
import pathlib
import random
import socket
import struct
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import CONFIG, PROBE_BINARY, RemoteServer, attach, eventfd, memory_file, nvme_args  # noqa: E402
from vfio_user import Client, Lost, header  # noqa: E402

SESSIONS = int(os.environ.get("FUZZ_SESSIONS", "500"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
MESSAGES = 60
SANITIZED = b"__asan_init" in pathlib.Path(PROBE_BINARY).read_bytes()
RAM = 1 << 20
EDGES = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 255, 4095, 4096, 4097, 0xffff, 0x10000, RAM - 1, RAM, 0x7fffffff,
         0x80000000, 0xfffffffe, 0xffffffff, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1]


class Player:
    """One session: what a client may send, right, nearly right and wrong."""

    def __init__(self, number, path, answered):
        self.chance, self.answered, self.queue = random.Random(number), answered, []
        self.client = Client(path)
        self.client.socket.settimeout(20)
        pipe, pair = os.pipe(), [end.detach() for end in socket.socketpair()]
        self.other_ends = [pipe[0], pair[1]]
        self.fds = [memory_file(RAM), eventfd(), os.open("/dev/null", os.O_RDWR), pipe[1], pair[0], memory_file(0)]

    def number(self, bits=64):
        pick = self.chance.random()
        value = self.chance.choice(EDGES) if pick < 0.6 else self.chance.getrandbits(bits) if pick < 0.8 else \
            self.chance.randrange(64)
        return value & ((1 << bits) - 1)

    def small(self, top):
        return self.chance.randrange(top) if self.chance.random() < 0.9 else self.number(32)

    def some_fds(self):
        return [self.chance.choice(self.fds) for _ in range(self.chance.choice([0, 0, 1, 1, 2, 9]))]

    # --- messages: (command, body, fds) ---

    def dma_map(self):
        size = self.chance.choice([4096, 8192, RAM, self.number()])
        return 2, struct.pack("<IIQQQ", 32, self.chance.choice([3, 3, 3, 1, 2, 0, 7, 11, self.number(32)]),
                              self.chance.choice([0, 4096, self.number()]),
                              self.chance.choice([0, 4096, 0x10000, self.number()]), size), self.some_fds()

    def dma_unmap(self):
        flags = self.chance.choice([0, 0, 1, 2, self.number(32)])
        address, size = self.chance.choice([(0x100000, RAM), (0, 0), (self.number(), self.number())])
        return 3, struct.pack("<IIQQ", self.chance.choice([24, 48, self.number(32)]), flags, address, size) + os.urandom(self.chance.choice([0, 0, 16])), []

    def info(self):
        kind = self.chance.choice([4, 7])
        return kind, struct.pack("<IIII", self.chance.choice([16, self.number(32)]), 0, self.small(6), 0), []

    def region_info(self):
        return 5, struct.pack("<IIIIQQ", self.chance.choice([32, 4096, self.number(32)]), 0, self.small(10), 0, 0, 0), []

    def io_fds(self):
        return 6, struct.pack("<IIII", self.chance.choice([16, 65536, self.number(32)]), 0, self.small(10), 0), []

    def set_irqs(self):
        flags = self.chance.choice([1, 2, 4]) | self.chance.choice([8, 16, 32]) if self.chance.random() < 0.9 \
            else self.number(32)
        count = self.chance.choice([0, 1, 1, 2, 16, self.number(32)])
        data = bytes(self.chance.choices([0, 1], k=count)) if flags & 2 and count < 64 else b""
        fds = [self.chance.choice(self.fds) for _ in range(min(count, 16))] if flags & 4 else []
        return 8, struct.pack("<IIIII", 20 + len(data), flags, self.small(5), self.small(20), count) + data, fds

    def place(self):
        """offset, region of an access; often one that means something."""
        region = self.chance.choice([0, 0, 0, 2, 2, 5, 7, 7, self.small(10)])
        offset = self.chance.choice([self.chance.randrange(0, 256), self.chance.randrange(0, 64) * 4,
                                     0x1000 + 4 * self.chance.randrange(8), 0x14, 4, 0x400 + self.chance.randrange(0x120),
                                     self.number()])
        return offset, region

    def read(self):
        offset, region = self.place()
        return 9, struct.pack("<QII", offset, region, self.chance.choice([1, 2, 4, 8, 16, 4096, self.number(32)])), []

    def write(self):
        offset, region = self.place()
        size = self.chance.choice([1, 2, 4, 4, 8, 8, 64, 5000])
        data = struct.pack("<Q", self.chance.choice([self.number(), 0x00460001, 0x000f000f, 3, 7])) * (size // 8 + 1)
        claimed = size if self.chance.random() < 0.95 else self.number(32)
        return 10, struct.pack("<QII", offset, region, claimed) + data[:size], []

    def write_multi(self):
        writes = [self.place() for _ in range(self.chance.randrange(6))]
        body = struct.pack("<Q", len(writes) if self.chance.random() < 0.9 else self.number())
        for offset, region in writes:
            body += struct.pack("<QIIQ", offset, region, self.small(9), self.number())
        return 15, body, []

    def feature(self):
        flags = self.chance.choice([1, 2, 6, 7, 8, self.small(64)]) | self.chance.choice([1, 2, 4, 5, 6]) << 16
        return 16, struct.pack("<II", self.chance.choice([8, 16, 40, self.number(32)]), flags) + \
            os.urandom(self.chance.choice([0, 8, 16, 32])), []

    def noise(self):
        return self.number(16), os.urandom(self.chance.randrange(64)), self.some_fds()

    def reset(self):
        return 13, b"", []

    def work(self):
        """The probe moves data between its buffer and memory without an fd; what goes before is queued."""
        def write(region, offset, form, value):
            return 10, struct.pack("<QII" + form, offset, region, struct.calcsize(form), value), []

        self.queue += [(2, struct.pack("<IIQQQ", 32, 3, 0, 0x100000, RAM), []), write(7, 4, "H", 6),
                       write(2, 8, "Q", 0x100000 + self.chance.randrange(RAM)), write(2, 16, "I", self.small(20000)),
                       write(2, 20, "I", self.chance.choice([1, 2, 3]))]
        return self.queue.pop(0)

    def message(self):
        if self.queue:
            return self.queue.pop(0)
        kind = self.chance.choices([self.dma_map, self.dma_unmap, self.info, self.region_info, self.io_fds, self.set_irqs,
                                    self.read, self.write, self.write_multi, self.feature, self.noise, self.reset, self.work],
                                   [6, 3, 1, 2, 2, 8, 10, 20, 4, 4, 3, 1, 3])[0]
        return kind()

    # --- the session ---

    def begin(self):
        caps = self.chance.choice([b'{"capabilities":{"max_msg_fds":16}}', b'{"capabilities":{"twin_socket":{"supported":true}}}',
                                   b"{}", b"", b'{"capabilities":{"max_data_xfer_size":1}}', b"[" * 50, os.urandom(40)])
        self.client.send(1, struct.pack("<HH", 0, self.chance.choice([0, 1, 2, 9])) + (caps + b"\0" if caps else b""))

    def take_replies(self):
        """Reads what has come, as a client that goes on does; answers DMA well, badly or by leaving."""
        while not self.client.silent():
            self.take_reply()

    def take_reply(self):
        m = self.client.receive()
        for fd in m.fds:
            os.close(fd)
        if not m.flags & 0x20:
            self.answered.add(m.command)
        if not m.flags & 0xf and m.command in (11, 12):
            self.answer_dma(m)
        return m.command

    def answer_dma(self, m):
        pick = self.chance.random()
        data = b"" if m.command == 12 else bytes(min(struct.unpack_from("<Q", m.body, 8)[0], RAM))
        body = m.body[:16] + data
        if pick < 0.1:
            body = body[:self.chance.randrange(len(body) + 1)]
        elif pick < 0.2:
            body = os.urandom(16) + data
        if pick > 0.95:
            raise Lost
        flags, error = (0x21, self.number(32)) if 0.2 < pick < 0.4 else (1, 0)
        self.client.send_raw(header(m.command, 16 + len(body), m.id, flags, error) + body)

    def play(self):
        if self.chance.random() < 0.95:
            self.begin()
        for _ in range(self.chance.randrange(MESSAGES)):
            command, body, fds = self.message()
            pick = self.chance.random()
            size = 16 + len(body) if pick < 0.98 else self.number(32)
            flags = self.chance.choice([0] * 8 + [0x10, 0x10, self.number(32)])
            self.client.send_raw(header(command & 0xffff, size, self.number(16), flags) + body, fds)
            self.take_replies()
        if self.chance.random() < 0.2:
            os.ftruncate(self.fds[0], 0)

    def close(self):
        self.client.close()
        for fd in self.fds + self.other_ends:
            os.close(fd)


def play_session(number, path, answered):
    player = Player(number, path, answered)
    try:
        player.play()
        player.client.send(13)  # the last reply tells that all was served
        player.client.socket.settimeout(0.2)
        while player.take_reply() != 13:
            pass
    except (Lost, OSError):
        pass  # the server may end a connection that broke the rules
    finally:
        player.close()


@pytest.mark.parametrize("iothread", [False, True])
def test_43_hostile_sessions(tmp_path, iothread):
    server = RemoteServer(tmp_path, *nvme_args(tmp_path), "-device", "probe,id=p0", "-device", "edu,id=edu0",
                          "-device", "tick,id=tick0", "-device", "VGA,id=vga0", "-object", "iothread,id=io0", binary=PROBE_BINARY)
    where = {"iothread": "io0"} if iothread else {}
    paths = [server.serve(device, f"vfu{i}", **where) for i, device in enumerate(("nvme0", "p0", "edu0", "vga0"))]
    innocent = attach(server.serve("tick0", "vfu4"))
    fds, answered = [], set()
    for number in range(FIRST, FIRST + SESSIONS):
        play_session(number, paths[number % len(paths)], answered)
        assert server.process.poll() is None, f"session {number} ended the server"
        assert innocent.read(CONFIG, 0, 4) == b"\x34\x12\x01\x0f", number
        if number % 10 == 0:
            server.ok("query-status")
        if number % 50 == 0:
            server.qmp("screendump", filename=str(tmp_path / "screen"))  # whatever the registers say
    for path in paths:
        attach(path).close()
    for _ in range(3):
        for path in paths:
            attach(path).close()
        server.ok("query-status")
        fds.append(server.fds())
    assert max(fds) <= 70, fds
    assert SANITIZED or server.private_kib() < 64 << 10
    # The sessions got somewhere: each kind of request was done at least once, and DMA by message happened.
    assert SESSIONS < 100 or answered >= {*range(1, 14), 15}, answered
    innocent.close()
    assert server.close() == 0
