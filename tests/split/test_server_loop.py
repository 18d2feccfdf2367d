# SPDX-License-Identifier: GPL-2.0-or-later
"""Nobody waits for anybody: clients that say nothing, half of something, or never read; objects on threads of their
own; memory taken away under I/O; clients that come and go by the hundred.  LOOPS multiplies the long one."""
import mmap
import os
import pathlib
import signal
import struct
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import (BINARY, CONFIG, PROBE_BINARY, ROOT, Probe, attach, enable,  # noqa: E402
                           eventfd, memory_file, nvme_args, signalled, until)
from vfio_user import (DMA_READ, EVENTFD, INTX, MSIX, READABLE, REGION_READ, RESET, TRIGGER, VERSION,  # noqa: E402
                       WRITEABLE, Client, Lost, header)

RAM = 4 << 20


def two_probes(servers, **second):
    server = servers("-device", "probe,id=p0", "-device", "probe,id=p1", "-object", "iothread,id=io0",
                     "-object", "iothread,id=io1", binary=PROBE_BINARY)
    return server, server.serve("p0"), server.serve("p1", "vfu1", **second)


def answers(server, other):
    """The monitor and another object are served."""
    server.ok("query-status")
    assert other.read(CONFIG, 0, 2) == b"\x34\x12"


SILENCES = {
    "nothing": lambda c: None,
    "half a header": lambda c: c.send_raw(header(VERSION, 20)[:7]),
    "half a VERSION": lambda c: c.send_raw(header(VERSION, 60) + b"\0\0\1\0{"),
    "half a message": lambda c: (c.negotiate(), c.send_raw(header(REGION_READ, 32)[:9])),
    "half a body": lambda c: (c.negotiate(), c.send_raw(header(REGION_READ, 32) + b"\0" * 5)),
}


@pytest.mark.parametrize("silence", SILENCES)
def test_37_43_silent_client(servers, silence):
    server, path, other_path = two_probes(servers)
    other, silent = attach(other_path), Client(path)
    SILENCES[silence](silent)
    for _ in range(20):
        answers(server, other)
    silent.close()
    attach(path).close()
    other.close()


def test_a_message_that_comes_in_pieces_is_served(servers):
    server, path, other_path = two_probes(servers)
    other, slow = attach(other_path), attach(path)
    message = header(REGION_READ, 32, 77) + struct.pack("<QII", 0, CONFIG, 4)
    for byte in message:
        slow.send_raw(bytes([byte]))
        answers(server, other)
    assert slow.receive().check().body[16:] == b"\x34\x12\x02\x0f"
    slow.close()
    other.close()


def test_37_client_that_never_reads(servers):
    """Its replies pile up to a limit, then nothing of it is served before it reads; the others are."""
    server, path, other_path = two_probes(servers)
    other, deaf = attach(other_path), attach(path)
    deaf.socket.setblocking(False)
    request = header(REGION_READ, 32) + struct.pack("<QII", 0, CONFIG, 4096 // 16)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += deaf.socket.send(request * 64)
            if sent % (1 << 20) < 4096:
                answers(server, other)
    except BlockingIOError:
        pass
    for _ in range(20):
        answers(server, other)
    assert sent < 64 << 20
    assert server.private_kib() < 64 << 10
    deaf.socket.settimeout(300)
    first = deaf.receive().check()
    assert first.body[16:18] == b"\x34\x12"
    deaf.close()
    attach(path).close()
    other.close()


def test_37_dma_that_is_never_answered(servers):
    """The device waits for its client in the object's iothread: monitor and other objects go on."""
    server, path, other_path = two_probes(servers)
    server.ok("object-del", id="vfu0")
    path = server.serve("p0", iothread="io0")
    other, deaf = attach(other_path), attach(path)
    probe = Probe(deaf)
    deaf.map(0, 4096)
    probe.start(1, 0, 16)
    assert deaf.receive().command == DMA_READ
    for _ in range(20):
        answers(server, other)
    deaf.close()
    server.event("VFU_CLIENT_HANGUP")
    attach(path).close()
    other.close()


def test_two_iothreads_serve_in_parallel(servers):
    """Each device waits inside one callback for its own client: both at once only when they have threads of their own."""
    server, _, _ = two_probes(servers)
    for ident in ("vfu0", "vfu1"):
        server.ok("object-del", id=ident)
    clients = [attach(server.serve(f"p{i}", f"vfu{i}", iothread=f"io{i}")) for i in (0, 1)]
    memory = bytearray(b"parallel" * 512)
    for client in clients:
        probe = Probe(client)
        client.map(0, 4096)
        probe.start(1, 0, 8)
    waiting = [client.receive() for client in clients]  # neither has been answered
    assert all(m.command == DMA_READ for m in waiting)
    for client, message in zip(clients, waiting):
        client.send_raw(header(DMA_READ, 40, message.id, 1) + message.body[:16] + memory[:8])
        client.receive().check()
        assert Probe(client).buffer(8) == b"parallel"
        client.close()


def test_an_iothread_and_the_main_loop_together(servers):
    """Registers, topology changes and resets from both threads at once."""
    server, path, other_path = two_probes(servers, iothread="io1")
    failures = []

    def hammer(where):
        try:
            client = attach(where)
            for i in range(150):
                enable(client)
                client.write(CONFIG, 0x18, struct.pack("<I", 0xfe000000 + (i << 12)))
                client.write(5, 0, struct.pack("<I", i))
                assert client.read(5, 0, 4) == struct.pack("<I", i)
                client.map(0x1000 * i, 4096)
                if i % 10 == 9:
                    client.call(RESET)
            client.close()
        except (AssertionError, OSError, Lost) as failure:
            failures.append(failure)

    threads = [threading.Thread(target=hammer, args=(p,)) for p in (path, other_path)]
    for thread in threads:
        thread.start()
    while any(t.is_alive() for t in threads):
        server.ok("query-pci")
        server.ok("qom-list", path="/machine/peripheral")
    for thread in threads:
        thread.join()
    assert not failures


# --- memory taken away while the device uses it ---

def held(client, milliseconds):
    """The device writes to a page when it lets go of it."""
    probe, fd = Probe(client), memory_file(4096)
    client.map(0x10000, 4096, fd=fd)
    memory = mmap.mmap(fd, 4096)
    os.close(fd)
    probe.set(Probe.HOLD_MS, milliseconds)
    assert probe.move(3, 0x10000, 4096) == 0
    return memory


def test_unmap_waits_for_the_last_use(servers):
    server, path, other_path = two_probes(servers)
    client, other = attach(path), attach(other_path)
    memory = held(client, 200)
    ident = client.send(3, struct.pack("<IIQQ", 24, 0, 0x10000, 4096))
    while client.silent():
        answers(server, other)
    assert client.receive().check().id == ident and memory[:2] == b"\xed\xed"
    assert Probe(client).move(1, 0x10000, 4) == 1
    client.close()
    other.close()


@pytest.mark.parametrize("iothread", [False, True])
def test_66_client_that_leaves_under_a_transfer(servers, iothread):
    server, path, other_path = two_probes(servers)
    if iothread:
        server.ok("object-del", id="vfu0")
        path = server.serve("p0", iothread="io0")
    client, other = attach(path), attach(other_path)
    memory = held(client, 150)
    client.close()
    answers(server, other)
    server.event("VFU_CLIENT_HANGUP")
    assert memory[:2] == b"\xed\xed"
    attach(path).close()
    other.close()


@pytest.mark.parametrize("iothread", [False, True])
def test_object_del_under_a_transfer(servers, iothread):
    server, path, _ = two_probes(servers)
    if iothread:
        server.ok("object-del", id="vfu0")
        path = server.serve("p0", iothread="io0")
    client = attach(path)
    memory = held(client, 100)
    server.ok("object-del", id="vfu0")
    assert memory[:2] == b"\xed\xed"
    client.close()
    attach(server.serve("p0")).close()


# --- clients that come and go under I/O ---

class NvmeClient:
    """A driver of a served disk that keeps its queue full and leaves whenever it is told to."""
    ASQ, ACQ, SQ, CQ, DATA = 0x1000, 0x2000, 0x3000, 0x4000, 0x100000

    def __init__(self, path, direct=True):
        self.client, fd = attach(path), memory_file(RAM)
        self.client.map(0, RAM, READABLE | WRITEABLE, fd=fd if direct else None)
        self.memory = mmap.mmap(fd, RAM)
        self.irq = eventfd()
        self.client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, fds=[self.irq])
        os.close(fd)
        self.tail = 0

    def command(self, ring, slot, opcode, nsid=0, prp=0, cdw10=0, cdw11=0, cdw12=0):
        struct.pack_into("<BBHIQQQQIIIIII", self.memory, ring + 64 * slot, opcode, 0, slot, nsid, 0, 0, prp, 0, cdw10, cdw11,
                         cdw12, 0, 0, 0)

    def done(self, ring, slot):
        until(lambda: self.memory[ring + 16 * slot + 14] & 1, "completion")
        return struct.unpack_from("<H", self.memory, ring + 16 * slot + 14)[0] >> 1

    def start(self):
        enable(self.client)
        self.client.write(0, 0x24, struct.pack("<I", 0x000f000f))
        self.client.write(0, 0x28, struct.pack("<QQ", self.ASQ, self.ACQ))
        self.client.write(0, 0x14, struct.pack("<I", 0x00460001))
        until(lambda: self.client.read(0, 0x1c, 1)[0] & 1, "CSTS.RDY")
        self.command(self.ASQ, 0, 5, prp=self.CQ, cdw10=31 << 16 | 1, cdw11=1)
        self.command(self.ASQ, 1, 1, prp=self.SQ, cdw10=31 << 16 | 1, cdw11=1 << 16 | 1)
        self.client.write(0, 0x1000, struct.pack("<I", 2))
        assert self.done(self.ACQ, 0) == 0 and self.done(self.ACQ, 1) == 0

    def write_blocks(self, count, first=0):
        """Starts 4 KiB writes and does not wait; block n is filled with n + 1."""
        for slot in range(count):
            at = self.DATA + 4096 * slot
            self.memory[at:at + 4096] = struct.pack("<Q", first + slot + 1) * 512
            self.command(self.SQ, slot, 1, 1, at, 8 * (first + slot), 0, 7)
        self.client.write(0, 0x1008, struct.pack("<I", count))

    def kill(self):
        self.client.close()
        self.memory.close()
        os.close(self.irq)


LOOPS = int(os.environ.get("LOOPS", "1"))


def test_66_clients_come_and_go_under_io(servers, tmp_path):
    """Descriptors and memory stay; the image has whole blocks only, and what was acknowledged is there."""
    server = servers(*nvme_args(tmp_path), "-object", "iothread,id=io0", binary=BINARY)
    path = server.serve("nvme0", iothread="io0")
    fds, kib, rounds = [], [], 60 * LOOPS
    for i in range(rounds):
        driver = NvmeClient(path)
        driver.start()
        driver.write_blocks(31, 31 * (i % 8))
        if i % 3 == 0:
            for slot in range(31):
                assert driver.done(driver.CQ, slot) == 0
        driver.kill()
        if i % 20 == 19:
            until(lambda: server.count("VFU_CLIENT_HANGUP") or True, "events taken")
            fds.append(server.fds())
            kib.append(server.private_kib())
    attach(path).close()
    # One client may be on its way out when it is counted, with its memory, socket, eventfds and epoll.
    assert max(fds) - min(fds) <= 6, fds
    # The first clients fill what the allocator keeps (a sanitizer's a good deal of it).
    assert kib[-1] - kib[len(kib) // 2] < 2048, kib
    image = (tmp_path / "disk0.img").read_bytes()
    for block in range(31 * 8):
        data = image[4096 * block:4096 * (block + 1)]
        assert data in (struct.pack("<Q", block + 1) * 512, bytes(4096)), block
    assert image[:4096] == struct.pack("<Q", 1) * 512
    print(f"{rounds} clients: descriptors {fds[0]}..{fds[-1]}, private KiB {kib[0]}..{kib[-1]}")


VICTIM = f"""
import sys, time
sys.path.insert(0, {str(ROOT / 'tests/split')!r})
from test_server_loop import NvmeClient
driver = NvmeClient(sys.argv[1])
driver.start()
driver.write_blocks(31)
print("started", flush=True)
time.sleep(600)
"""


def test_66_kill_9_of_a_client_during_io(servers, tmp_path):
    """The server is ready for the next, which reads what the dead one had been told is written."""
    import subprocess  # pylint: disable=import-outside-toplevel
    server = servers(*nvme_args(tmp_path), binary=BINARY)
    path = server.serve("nvme0")
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", VICTIM, path], stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout.readline() == "started\n"
            victim.send_signal(signal.SIGKILL)
        server.event("VFU_CLIENT_HANGUP")
    driver = NvmeClient(path)
    driver.start()
    driver.write_blocks(4)
    assert [driver.done(driver.CQ, slot) for slot in range(4)] == [0] * 4
    driver.kill()
    image = (tmp_path / "disk0.img").read_bytes()
    for block in range(31):
        assert image[4096 * block:4096 * (block + 1)] in (struct.pack("<Q", block + 1) * 512, bytes(4096))


def test_60_client_that_hangs_up_at_every_step(servers):
    """After any number of its requests; nothing is left behind."""
    server, path, _ = two_probes(servers)
    counts, irq, memory = [], eventfd(), memory_file(4096)
    steps = [lambda c: c.negotiate({"max_msg_fds": 8}), lambda c: c.info(), lambda c: c.region_info(0, 4096),
             lambda c: c.map(0, 4096, fd=memory), lambda c: c.irq_info(MSIX),
             lambda c: c.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, fds=[irq]), lambda c: c.read(CONFIG, 0, 256),
             lambda c: c.call(RESET), lambda c: c.unmap(0, 4096)]
    for _ in range(3):
        for upto in range(len(steps) + 1):
            client = Client(path)
            for step in steps[:upto]:
                reply = step(client)
                for fd in getattr(reply, "fds", None) or []:
                    os.close(fd)
            client.close()
        attach(path).close()
        until(lambda: server.ok("query-status") and True, "monitor")
        time.sleep(0.05)
        counts.append(server.fds())
    assert counts[0] == counts[-1], counts
    assert signalled(irq) == 0


def test_a_second_client_has_its_turn_after_the_first(servers):
    server, path, _ = two_probes(servers)
    first = attach(path)
    second = Client(path)
    second.send_raw(header(VERSION, 20) + b"\0\0\1\0")
    assert second.silent() and first.read(CONFIG, 0, 2) == b"\x34\x12"
    first.close()
    assert second.receive().check().command == VERSION
    second.close()
    server.ok("query-status")


def test_stopped_server_serves_what_was_sent_meanwhile(servers):
    server, path, _ = two_probes(servers)
    client = attach(path)
    server.process.send_signal(signal.SIGSTOP)
    client.send_raw(b"".join(header(10, 36, i, 0x10) + struct.pack("<QIII", 0, 5, 4, i) for i in range(200)))
    client.send(REGION_READ, struct.pack("<QII", 0, 5, 4))
    server.process.send_signal(signal.SIGCONT)
    assert client.receive().check().body[16:] == struct.pack("<I", 199)
    client.close()
