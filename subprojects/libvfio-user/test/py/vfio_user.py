# SPDX-License-Identifier: BSD-3-Clause
"""A raw vfio-user client and the server program it is pointed at.  The client sends what it is told, right or wrong, a
byte at a time if need be; it knows the layout of messages and nothing else about the protocol."""
import array
import ctypes
import errno
import json
import os
import select
import socket
import struct
import subprocess
import time

(VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO, REGION_IO_FDS, IRQ_INFO, SET_IRQS, REGION_READ,
 REGION_WRITE, DMA_READ,
 DMA_WRITE, RESET, DIRTY_PAGES, WRITE_MULTI, FEATURE, MIG_READ, MIG_WRITE) = range(1, 19)
COMMAND, REPLY, NO_REPLY, ERROR = 0, 1, 0x10, 0x20
READABLE, WRITEABLE, MMAP, FILE_IO = 1, 2, 4, 8
UNMAP_BITMAP, UNMAP_ALL = 1, 2
NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = 1, 2, 4, 8, 16, 32
INTX, MSI, MSIX, ERR, REQ = range(5)
CONFIG, ROM, VGA = 7, 6, 8
GET, SET, PROBE = 1 << 16, 1 << 17, 1 << 18
MIGRATION, MIG_STATE, LOG_START, LOG_STOP, LOG_REPORT = 1, 2, 6, 7, 8
STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P = range(1, 8)
MAX_DATA = 1 << 20
MAX_MESSAGE = MAX_DATA + 32
# Only ends what hangs: a busy machine may take long for anything.
PATIENCE = 60

libc = ctypes.CDLL(None, use_errno=True)


def memory_file(size, name="client"):
    fd = os.memfd_create(name)
    os.truncate(fd, size)
    return fd


def eventfd():
    """An eventfd that does not block; its fd."""
    fd = libc.eventfd(0, 0o4000 | 0o2000000)
    assert fd >= 0
    return fd


def signalled(fd):
    """How often the eventfd was signalled since the last call."""
    try:
        return struct.unpack("Q", os.read(fd, 8))[0]
    except BlockingIOError:
        return 0


class Lost(Exception):
    """The server closed the connection."""


class Message:
    def __init__(self, head, body, fds):
        self.id, self.command, self.size, self.flags, self.error = struct.unpack("<HHIII", head)
        self.body, self.fds = body, fds

    def check(self, error=0):
        got = self.error if self.flags & ERROR else 0
        assert got == error, f"errno {got} ({errno.errorcode.get(got)}), not {error} ({errno.errorcode.get(error)})"
        assert self.flags == (REPLY | ERROR if error else REPLY)
        if error:
            assert self.body == b"" and not self.fds, "an error reply is a bare header"
        return self

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []


def header(command, size, ident=1, flags=COMMAND, error=0):
    return struct.pack("<HHIII", ident, command, size, flags, error)


class Client:
    def __init__(self, path=None, fd=None):
        if fd is not None:
            self.socket = socket.socket(fileno=fd)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(path)
        self.socket.settimeout(PATIENCE)
        self.ident, self.twin = 0, None

    def close(self):
        self.socket.close()
        if self.twin:
            self.twin.close()

    # --- bytes ---

    def send_raw(self, data, fds=()):
        if fds:
            sent = self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
            data = data[sent:]
        if data:
            self.socket.sendall(data)

    def receive_exact(self, size):
        data, fds = b"", []
        while len(data) < size:
            part, ancillary, _, _ = self.socket.recvmsg(size - len(data), socket.CMSG_SPACE(253 * 4))
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds += array.array("i", payload[:len(payload) - len(payload) % 4]).tolist()
            if not part:
                raise Lost
            data += part
        return data, fds

    def receive(self):
        try:
            head, fds = self.receive_exact(16)
            body, more = self.receive_exact(struct.unpack_from("<I", head, 4)[0] - 16)
        except ConnectionError as lost:
            raise Lost from lost
        return Message(head, body, fds + more)

    def silent(self):
        """Nothing has come from the server."""
        return not select.select([self.socket], [], [], 0)[0]

    def is_lost(self):
        """Waits for the end of the connection; what comes before is skipped."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    # --- messages ---

    def send(self, command, body=b"", fds=(), flags=COMMAND):
        self.ident = (self.ident + 1) & 0xffff
        self.send_raw(header(command, 16 + len(body), self.ident, flags) + body, fds)
        return self.ident

    def call(self, command, body=b"", fds=(), error=0):
        ident = self.send(command, body, fds)
        reply = self.receive()
        assert (reply.id, reply.command) == (ident, command)
        return reply.check(error)

    def post(self, command, body=b"", fds=()):
        self.send(command, body, fds, NO_REPLY)

    def negotiate(self, caps=None, minor=1, error=0):
        body = struct.pack("<HH", 0, minor)
        if caps is not None:
            body += (caps if isinstance(caps, bytes) else json.dumps({"capabilities": caps}).encode()) + b"\0"
        reply = self.call(VERSION, body, error=error)
        if error:
            return None
        got = struct.unpack_from("<HH", reply.body)
        answer = json.loads(reply.body[4:-1])["capabilities"]
        if answer.get("twin_socket", {}).get("supported"):
            self.twin = Client(fd=reply.fds[answer["twin_socket"]["fd_index"]])
        return got, answer

    # --- commands ---

    def map(self, address, size, flags=READABLE | WRITEABLE, fd=None, offset=0, error=0, argsz=32, extra=b""):
        return self.call(DMA_MAP, struct.pack("<IIQQQ", argsz, flags, offset, address, size) + extra,
                         [] if fd is None else fd if isinstance(fd, list) else [fd], error)

    def unmap(self, address, size, flags=0, argsz=24, tail=b"", error=0, fds=()):
        return self.call(DMA_UNMAP, struct.pack("<IIQQ", argsz, flags, address, size) + tail, fds, error)

    def unmap_bitmap(self, address, size, page=4096, bitmap=8, argsz=None, error=0):
        return self.unmap(address, size, UNMAP_BITMAP, 40 + bitmap if argsz is None else argsz,
                          struct.pack("<QQ", page, bitmap), error)

    def info(self, argsz=16, error=0):
        body = self.call(GET_INFO, struct.pack("<IIII", argsz, 0, 0, 0), error=error).body
        return struct.unpack("<IIII", body) if not error else None

    def region_info(self, index, argsz=32, error=0):
        reply = self.call(REGION_INFO, struct.pack("<IIIIQQ", argsz, 0, index, 0, 0, 0), error=error)
        return reply if error else RegionInfo(reply)

    def io_fds(self, index, argsz=4096, flags=0, count=0, error=0):
        return self.call(REGION_IO_FDS, struct.pack("<IIII", argsz, flags, index, count), error=error)

    def irq_info(self, index, argsz=16, error=0):
        body = self.call(IRQ_INFO, struct.pack("<IIII", argsz, 0, index, 0), error=error).body
        return struct.unpack("<IIII", body) if not error else None

    def set_irqs(self, flags, index, start, count, data=b"", fds=(), argsz=None, error=0):
        return self.call(SET_IRQS, struct.pack("<IIIII", 20 + len(data) if argsz is None else argsz, flags,
                                               index, start,
                                               count) + data, fds, error)

    def read(self, region, offset, count, error=0):
        reply = self.call(REGION_READ, struct.pack("<QII", offset, region, count), error=error)
        if error:
            return None
        assert struct.unpack_from("<QII", reply.body) == (offset, region, count) and len(reply.body) == 16 + count
        return reply.body[16:]

    def write(self, region, offset, data, error=0, count=None):
        count = len(data) if count is None else count
        reply = self.call(REGION_WRITE, struct.pack("<QII", offset, region, count) + data, error=error)
        if not error:
            assert struct.unpack("<QII", reply.body) == (offset, region, count)

    def write_multi(self, writes, count=None, tail=b"", error=0):
        """writes: (region, offset, data); how many were done."""
        body = struct.pack("<Q", len(writes) if count is None else count)
        for region, offset, data in writes:
            body += struct.pack("<QII8s", offset, region, len(data), data)
        reply = self.call(WRITE_MULTI, body + tail, error=error)
        return None if error else struct.unpack("<Q", reply.body)[0]

    def feature(self, flags, data=b"", argsz=None, error=0):
        """The data of the reply."""
        reply = self.call(FEATURE, struct.pack("<II", 8 + len(data) if argsz is None else argsz, flags) + data,
                          error=error)
        if error:
            return None
        assert struct.unpack_from("<I", reply.body, 4)[0] == flags
        return reply.body[8:]

    def set_state(self, state, error=0):
        self.feature(SET | MIG_STATE, struct.pack("<II", state, 0), error=error)

    def state(self):
        return struct.unpack("<II", self.feature(GET | MIG_STATE, argsz=16))[0]

    def start_log(self, page=4096, ranges=(), error=0):
        data = struct.pack("<QII", page, len(ranges), 0) + b"".join(struct.pack("<QQ", *r) for r in ranges)
        self.feature(SET | LOG_START, data, error=error)

    def report(self, address, length, page=4096, argsz=MAX_DATA, error=0):
        """The numbers of the dirty pages."""
        data = self.feature(GET | LOG_REPORT, struct.pack("<QQQ", address, length, page), argsz, error)
        if error:
            return None
        assert struct.unpack_from("<QQQ", data) == (address, length, page)
        pages = -(-length // page)
        assert len(data) - 24 == -(-pages // 64) * 8
        return bits(data[24:])

    def mig_read(self, size, argsz=None, error=0):
        reply = self.call(MIG_READ, struct.pack("<II", 8 + size if argsz is None else argsz, size), error=error)
        if error:
            return None
        got, actual = struct.unpack_from("<II", reply.body)
        assert got == 8 + actual and len(reply.body) == 8 + size and not any(reply.body[8 + actual:])
        return reply.body[8:8 + actual]

    def mig_write(self, data, size=None, argsz=None, error=0):
        size = len(data) if size is None else size
        self.call(MIG_WRITE, struct.pack("<II", 8 + size if argsz is None else argsz, size) + data, error=error)

    def serve_dma(self, memory, base=0, expect=None, error=0):
        """Answers one DMA message of the server out of memory; (command, address, count)."""
        peer = self.twin or self
        m = peer.receive()
        assert m.flags == COMMAND and m.command in (DMA_READ, DMA_WRITE)
        address, count = struct.unpack_from("<QQ", m.body)
        if error:
            peer.send_raw(header(m.command, 16, m.id, REPLY | ERROR, error))
        elif m.command == DMA_READ:
            data = m.body[:16] + bytes(memory[address - base:address - base + count])
            peer.send_raw(header(m.command, 16 + len(data), m.id, REPLY) + data)
        else:
            memory[address - base:address - base + count] = m.body[16:]
            assert len(m.body) == 16 + count
            peer.send_raw(header(m.command, 32, m.id, REPLY) + m.body[:16])
        return m.command, address, count


def bits(bitmap):
    return [i for i in range(len(bitmap) * 8) if bitmap[i // 8] >> i % 8 & 1]


class RegionInfo:
    def __init__(self, reply):
        body = reply.body
        self.argsz, self.flags, self.index, self.cap_offset, self.size, self.offset = struct.unpack_from("<IIIIQQ", body)
        self.fds, self.length, self.areas = reply.fds, len(body), None
        if self.cap_offset:
            ident, version, following, count, reserved = struct.unpack_from("<HHIII", body, self.cap_offset)
            assert (ident, version, following, reserved) == (1, 1, 0, 0)
            self.areas = [struct.unpack_from("<QQ", body, self.cap_offset + 16 + 16 * i) for i in range(count)]


class Server:
    """A device-server; contexts are lists of options."""

    def __init__(self, directory, *contexts, program=None):
        self.paths = [str(directory / f"device-{i}.sock") for i in range(len(contexts))]
        arguments = [",".join([path, *options]) for path, options in zip(self.paths, contexts)]
        self.process = subprocess.Popen([program or os.environ["VFIO_USER_DEVICE_SERVER"], *arguments], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.answer() == "ready"

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the server died: {self.process.wait()}: {self.process.stderr.read()}")
        return json.loads(line)

    def say(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()

    def ask(self, *words):
        self.say(*words)
        return self.answer()

    def notes(self, index=0):
        """What the callbacks noted since the last call."""
        return [tuple(note) for note in self.ask("notes", index)]

    def fail(self, what, error, index=0):
        assert self.ask("fail", index, what, error) == 0

    def usage(self):
        return self.ask("usage")

    def irq(self, kind, number, index=0):
        return self.ask("irq", index, kind, number)

    def copy(self, how, address, length, fill=0, index=0):
        return self.ask("copy", index, how, address, length, fill)

    def until(self, condition):
        """Polls until condition() is true: for what the server notices by itself."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "never came true"
            time.sleep(0.002)

    def until_lost(self, times, index=0):
        self.until(lambda: self.ask("state", index)["lost"] >= times)

    def stop(self):
        """End of input ends it; leaks and sanitizer reports are failures."""
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        errors = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        assert status == 0 and errors == "", f"status {status}: {errors}"


def checksum(data):
    total = 0
    for byte in data:
        total = (total * 31 + byte) & 0xffffffffffffffff
    return total
