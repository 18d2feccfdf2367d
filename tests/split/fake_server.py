# SPDX-License-Identifier: GPL-2.0-or-later
"""A vfio-user server on a raw socket, for what a well-behaved one never does.  It serves a small PCI device: BAR 0 is
4 KiB of memory that keeps what is written, BAR 2 the same as I/O ports, BAR 4 holds the MSI-X table."""
import array
import errno
import os
import socket
import struct
import threading
import time

VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO, REGION_IO_FDS, IRQ_INFO, SET_IRQS = range(1, 9)
REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE, RESET = range(9, 14)
COMMAND, REPLY, NO_REPLY, ERROR = 0, 1, 0x10, 0x20
CAPS = b'{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576}}\0'
VECTORS = 20


class Message:
    def __init__(self, ident, command, flags, error, body, fds):
        self.id, self.command, self.flags, self.error, self.body, self.fds = ident, command, flags, error, body, fds


class Lost(Exception):
    """The client hung up."""


def make_config():
    config = bytearray(256)
    struct.pack_into("<HHHHBBBB", config, 0, 0x1234, 0x5678, 0, 0x10, 1, 0, 0, 0xff)
    struct.pack_into("<II", config, 0x10, 0, 0)
    struct.pack_into("<I", config, 0x18, 1)
    struct.pack_into("<I", config, 0x20, 0)
    struct.pack_into("<HH", config, 0x2c, 0x1af4, 0x1100)
    config[0x34], config[0x3d] = 0x40, 1
    struct.pack_into("<BBHII", config, 0x40, 0x11, 0, VECTORS - 1, 4, 0x800 | 4)
    return config


class FakeServer(threading.Thread):
    """on: command -> function(server, message) that answers itself; returning True means "as usual after all"."""
    living = []  # to be closed with the test that made them

    def __init__(self, path, on=None, version=(0, 1), caps=CAPS, family=socket.AF_UNIX):
        super().__init__(daemon=True)
        self.family = family
        self.path, self.on, self.version, self.caps = path, on or {}, version, caps
        self.log, self.lock, self.config = [], threading.Lock(), make_config()
        self.regions = {0: bytearray(4096), 2: bytearray(256), 4: bytearray(4096), 7: self.config}
        self.doorbells = {}  # region -> [(offset, size, fd index, type, flags, shadow fd index, shadow offset, datamatch)]
        self.doorbell_fds, self.irq_counts = [], {0: 1, 2: VECTORS}
        self.eventfds, self.replies, self.next_id, self.conn = {}, {}, 0, None
        self.maps, self.fds = {}, set()  # fds: of messages, ours until drop() or close()
        self.changed = threading.Condition(self.lock)
        self.going = threading.Event()
        self.going.set()
        self.own_fds = []  # what it hands out, besides doorbell_fds
        self.living.append(self)
        self.listener = self.listen()
        self.listener.listen(1)
        self.start()

    def listen(self):
        listener = socket.socket(self.family)
        listener.bind({socket.AF_UNIX: self.path, socket.AF_INET6: ("::1", 0)}.get(self.family, ("127.0.0.1", 0)))
        return listener

    # --- the stream ---

    def receive_exact(self, size):
        data = b""
        while len(data) < size:
            part = self.conn.recv(size - len(data))
            if not part:
                raise Lost
            data += part
        return data

    def receive(self):
        fds = array.array("i")
        head, control, _, _ = self.conn.recvmsg(16, socket.CMSG_SPACE(64 * 4))
        if not head:
            raise Lost
        for _, _, data in control:
            fds.frombytes(data[: len(data) // 4 * 4])
        head += self.receive_exact(16 - len(head))
        self.fds.update(fds)
        ident, command, size, flags, error = struct.unpack("<HHIII", head)
        return Message(ident, command, flags, error, self.receive_exact(size - 16), list(fds))

    def drop(self, fd):
        """Closes an fd of a message."""
        if fd in self.fds:
            self.fds.remove(fd)
            os.close(fd)

    def send(self, ident, command, flags, body=b"", error=0, fds=()):
        data = struct.pack("<HHIII", ident, command, 16 + len(body), flags, error) + body
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.conn.sendmsg([data], control)
        if sent < len(data):  # the client may hang up at what it has read, and the server's thread close this
            self.conn.sendall(data[sent:])

    def reply(self, message, body=b"", error=0, fds=()):
        if not message.flags & NO_REPLY:
            self.send(message.id, message.command, REPLY | (ERROR if error else 0), body, error, fds)

    def request(self, command, body, timeout=300):
        """A command to the client, from any thread but the server's own; its reply."""
        with self.lock:
            self.next_id += 1
            ident = self.next_id
            self.send(ident, command, COMMAND, body)
            assert self.changed.wait_for(lambda: ident in self.replies, timeout)
            return self.replies.pop(ident)

    # --- the device ---

    def version_reply(self, m):
        self.reply(m, struct.pack("<HH", *self.version) + self.caps)

    def region_info(self, m):
        index = struct.unpack_from("<I", m.body, 8)[0]
        size = len(self.regions.get(index, b""))
        self.reply(m, struct.pack("<IIIIQQ", 32, 3 if size else 0, index, 0, size, 0))

    def irq_info(self, m):
        index = struct.unpack_from("<I", m.body, 8)[0]
        self.reply(m, struct.pack("<IIII", 16, 1, index, self.irq_counts.get(index, 0)))

    def region_io_fds(self, m):
        argsz, _, index = struct.unpack_from("<III", m.body)
        entries = [struct.pack("<QQIIIIQQ", *e) for e in self.doorbells.get(index, [])]
        needed = 16 + 48 * len(entries)
        body = struct.pack("<IIII", needed, 0, index, len(entries))
        self.reply(m, body + b"".join(entries) if needed <= argsz else body, fds=self.doorbell_fds if entries else ())

    def set_irqs(self, m):
        _, flags, index, start, count = struct.unpack_from("<IIIII", m.body)
        if flags & 0x24 == 0x24:
            for i in range(count):
                self.drop(self.eventfds.pop((index, start + i), None))
            for i, fd in enumerate(m.fds):
                self.eventfds[(index, start + i)] = fd
        elif flags == 0x21 and count == 0:
            for key in [k for k in self.eventfds if k[0] == index]:
                self.drop(self.eventfds.pop(key))
        self.reply(m)

    def region_read(self, m):
        offset, region, count = struct.unpack_from("<QII", m.body)
        self.reply(m, m.body[:16] + bytes(self.regions[region][offset : offset + count]))

    def region_write(self, m):
        offset, region, count = struct.unpack_from("<QII", m.body)
        self.regions[region][offset : offset + count] = m.body[16 : 16 + count]
        self.reply(m, m.body[:16])

    def write_multi(self, m):
        for i in range(struct.unpack_from("<Q", m.body)[0]):
            offset, region, count = struct.unpack_from("<QII", m.body, 8 + 24 * i)
            self.regions[region][offset : offset + count] = m.body[24 + 24 * i : 24 + 24 * i + count]
        self.reply(m, m.body[:8])

    def dma_map(self, m):
        _, flags, offset, address, size = struct.unpack("<IIQQQ", m.body)
        self.maps[address] = (size, flags, offset, len(m.fds))
        for fd in m.fds:
            self.drop(fd)
        self.reply(m)

    def dma_unmap(self, m):
        flags, address = struct.unpack_from("<IQ", m.body, 4)
        found = self.maps.pop(address, None)
        if flags & 2:
            self.maps, found = {}, True
        self.reply(m, m.body if found else b"", 0 if found else errno.ENOENT)

    def handle(self, m):
        usual = {VERSION: self.version_reply, DMA_MAP: self.dma_map, DMA_UNMAP: self.dma_unmap, REGION_INFO: self.region_info,
                 IRQ_INFO: self.irq_info, REGION_IO_FDS: self.region_io_fds, SET_IRQS: self.set_irqs, REGION_READ: self.region_read,
                 REGION_WRITE: self.region_write, 15: self.write_multi,
                 GET_INFO: lambda m: self.reply(m, struct.pack("<IIII", 16, 3, 9, 5)), RESET: self.reply}
        if m.flags & 0xf == REPLY:
            self.replies[m.id] = m
            self.changed.notify_all()
        elif m.command not in self.on or self.on[m.command](self, m):
            usual[m.command](m)

    def run(self):
        try:
            self.conn, _ = self.listener.accept()
            while True:
                m = self.receive()
                self.going.wait()
                with self.lock:
                    self.log.append(m)
                    self.handle(m)
        except (Lost, OSError):
            pass
        finally:
            self.hang_up()

    def hang_up(self):
        if self.conn:
            self.conn.close()

    # --- what tests ask ---

    def pause(self):
        """As SIGSTOP does to a process: what comes is left unread, or at least unanswered."""
        self.going.clear()

    def resume(self):
        self.going.set()

    def count(self, command):
        with self.lock:
            return sum(1 for m in self.log if m.command == command and not m.flags & REPLY)

    def messages(self, command):
        with self.lock:
            return [m for m in self.log if m.command == command and not m.flags & REPLY]

    def wait(self, condition, timeout=300):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with self.lock:
                if condition(self):
                    return True
            time.sleep(0.01)
        return False

    def close(self):
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.going.set()
        if self.conn:
            try:
                self.conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.join(20)
        for fd in list(self.fds):
            self.drop(fd)
        if self in self.living:
            self.living.remove(self)
            for fd in {*self.own_fds, *self.doorbell_fds}:
                os.close(fd)
