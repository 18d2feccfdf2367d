# SPDX-License-Identifier: GPL-2.0-or-later
"""What every split machine is held to (README.md here lists the checks by number), against servers on raw sockets."""
import errno
import os
import pathlib
import struct
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import fake_server as fake  # noqa: E402
from bare_guest import COUNTER, GO, VALUE, config_write, forever, increment, load, save, store, wait_for  # noqa: E402
from machine import BAR0, BAR4, SHARED_RAM, start_fails, vfio_user  # noqa: E402

MULTI = b'{"capabilities":{"max_msg_fds":8,"write_multiple":true}}\0'


def eventually(condition, what="it to happen"):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def dma(server, command, address, data_or_count):
    data = data_or_count if isinstance(data_or_count, bytes) else b""
    return server.request(command, struct.pack("<QQ", address, len(data) or data_or_count) + data)


def test_check_4_device_added_by_the_monitor(serve, connect):
    machine = connect(serve())
    server = serve()
    assert "return" in machine.qmp("device_add", driver="vfio-user-pci", id="second", addr="5", socket=server.path)
    machine.qtest(f"outl 0xcf8 {0x80000000 | 5 << 11:#x}")
    assert int(machine.qtest("inl 0xcfc"), 16) == 0x56781234


# --- BARs ---


def test_check_11_every_kind_of_bar(serve, connect):
    """64-bit above 4 GiB, prefetchable 32-bit, and I/O ports, at every size."""
    server = serve()
    server.regions[0], server.regions[1] = bytearray(8192), None
    del server.regions[1]
    server.regions[3] = bytearray(4096)
    struct.pack_into("<I", server.config, 0x10, 0xc)
    struct.pack_into("<I", server.config, 0x1c, 0x8)
    machine = connect(server)
    for offset, value in ((0x10, 0), (0x14, 8), (0x1c, 0xfe300000), (0x18, 0xc000), (4, 7)):
        machine.config_write(offset, value)
    machine.config_write(0x10, 0xffffffff)
    assert machine.config_read(0x10) == 0xffffe00c
    machine.config_write(0x10, 0)
    value = 0x1122334455667788
    for base, region in ((8 << 32, 0), (0xfe300000, 3)):
        for width, size in (("b", 1), ("w", 2), ("l", 4), ("q", 8)):
            part = value & ((1 << 8 * size) - 1)
            machine.write(base + 0x40, part, width)
            assert machine.read(base + 0x40, width) == part
            assert server.regions[region][0x40 : 0x40 + size] == part.to_bytes(size, "little")
    for width, size in (("b", 1), ("w", 2), ("l", 4)):
        part = value & ((1 << 8 * size) - 1)
        machine.qtest(f"out{width} 0xc010 {part:#x}")
        assert int(machine.qtest(f"in{width} 0xc010"), 16) == part
        assert server.regions[2][0x10 : 0x10 + size] == part.to_bytes(size, "little")


def test_check_12_read_only_bar_before_a_writable_one(serve, connect):
    def info(server, m):
        if m.body[8] != 0:
            return True
        server.reply(m, struct.pack("<IIIIQQ", 32, 1, 0, 0, 4096, 0))
        return False

    server = serve(on={fake.REGION_INFO: info})
    server.regions[1] = bytearray(4096)
    machine = connect(server)
    machine.map_bars()
    machine.config_write(0x14, 0xfe200000)
    machine.write(0xfe200000, 0x77)
    assert machine.read(0xfe200000) == 0x77 and server.regions[1][0] == 0x77


class SparseServer(fake.FakeServer):
    """BAR 0 of 16 KiB, of which the second and the fourth page can be mapped."""

    def __init__(self, path):
        self.memory = os.memfd_create("bar")
        os.ftruncate(self.memory, 0x6000)
        super().__init__(path)
        self.own_fds = [self.memory]
        self.regions[0] = bytearray(0x4000)

    def region_info(self, m):
        if m.body[8] != 0:
            super().region_info(m)
            return
        cap = struct.pack("<HHIIIQQQQ", 1, 1, 0, 2, 0, 0x1000, 0x1000, 0x3000, 0x1000)
        self.reply(m, struct.pack("<IIIIQQ", 32 + len(cap), 0xf, 0, 32, 0x4000, 0x2000) + cap, fds=[self.memory])


def test_check_40_sparse_areas(tmp_path, connect, serve):
    server = SparseServer(str(tmp_path / "sparse"))
    machine = connect(server)
    machine.map_bars()
    for offset in (0x1000, 0x1ffc, 0x3004):
        machine.write(BAR0 + offset, 0x100 + offset)
        assert os.pread(server.memory, 4, 0x2000 + offset) == struct.pack("<I", 0x100 + offset)
        os.pwrite(server.memory, b"\x01\x02\x03\x04", 0x2000 + offset)
        assert machine.read(BAR0 + offset) == 0x04030201
    assert not [m for m in server.messages(fake.REGION_READ) + server.messages(fake.REGION_WRITE) if m.body[8] == 0]
    for offset in (0, 0xffc, 0x2000, 0x2ffc):
        machine.write(BAR0 + offset, offset + 1)
        assert machine.read(BAR0 + offset) == offset + 1
    writes = [m for m in server.messages(fake.REGION_WRITE) if m.body[8] == 0]
    # Accesses to the mapped pages must not overtake a write, so none is posted.
    assert len(writes) == 4 and not any(m.flags & fake.NO_REPLY for m in writes)
    # A mapping that must be trapped while INTx is in use comes back after it.
    os.eventfd_write(server.eventfds[(0, 0)], 1)
    eventually(lambda: machine.config_read(4) >> 16 & 8)
    machine.read(BAR0 + 0x1000)
    assert not machine.config_read(4) >> 16 & 8
    server.close()


def test_truncated_mapping(tmp_path, connect):
    """The server cuts the file of a mapped BAR short: the device is lost, the machine is not."""
    server = SparseServer(str(tmp_path / "sparse"))
    machine = connect(server)
    machine.map_bars()
    machine.write(BAR0 + 0x1000, 5)
    os.ftruncate(server.memory, 0)
    assert machine.read(BAR0 + 0x1000) == 0
    machine.write(BAR0 + 0x3000, 1)
    assert machine.qmp("qom-get", path="/machine/peripheral/vd", property="state")["return"] == "lost"
    assert machine.read(BAR0) == 0xffffffff
    assert "return" in machine.qmp("device_del", id="vd")
    server.close()


def test_no_mmap(tmp_path, connect):
    server = SparseServer(str(tmp_path / "sparse"))
    machine = connect(server, **{"x-no-mmap": True})
    machine.map_bars()
    machine.write(BAR0 + 0x1000, 5)
    assert machine.read(BAR0 + 0x1000) == 5 and server.regions[0][0x1000] == 5
    server.close()


# --- posted writes ---


def test_check_29_writes_share_messages_when_the_queue_grows(serve, boot):
    server = serve(caps=MULTI)
    writes = b"".join(store(BAR0 + 4 * (i % 1000), i) for i in range(2000))
    guest = boot(server, config_write(0x10, BAR0) + config_write(4, 6) + wait_for(GO) + writes + load(BAR0) + save(VALUE) +
                 forever(increment(COUNTER)), **{"x-msg-timeout": 600000})
    guest.wait(lambda: server.count(fake.REGION_WRITE) == 2, "the set-up")
    server.pause()
    guest.set_word(GO, 1)
    guest.wait(guest.stands, "the guest to write")
    time.sleep(1)
    server.resume()
    guest.wait(lambda: guest.word(COUNTER), "the writes to be done")
    multi = server.messages(15)
    assert multi and all(struct.unpack_from("<Q", m.body)[0] <= 200 and m.flags & fake.NO_REPLY for m in multi)
    assert guest.word(VALUE) == 1000
    assert struct.unpack("<1000I", server.regions[0][:4000]) == tuple(range(1000, 2000))
    got = guest.qmp("qom-get", path="/machine/peripheral/vd", property="writes-coalesced")["return"]
    assert got == sum(struct.unpack_from("<Q", m.body)[0] for m in multi)


def test_check_7_no_shared_messages_unless_announced(serve, boot):
    server = serve()
    writes = b"".join(store(BAR0 + 4 * (i % 1000), i) for i in range(2000))
    guest = boot(server, config_write(0x10, BAR0) + config_write(4, 6) + writes + forever(increment(COUNTER)))
    server.pause()
    time.sleep(0.5)
    server.resume()
    guest.wait(lambda: guest.word(COUNTER), "the writes to be done")
    assert server.count(15) == 0


# --- DMA ---


def test_check_14_memory_both_ways(serve, connect):
    """What is mapped from the fd of a DMA map is the guest's memory."""
    import mmap
    taken = []

    def keep(server, m):
        _, flags, offset, address, size = struct.unpack("<IIQQQ", m.body)
        if m.fds and address == 0:
            taken.append((mmap.mmap(m.fds[0], size, offset=offset), flags))
        server.maps[address] = (size, flags, offset, len(m.fds))
        server.reply(m)
        return False

    machine = connect(serve(on={fake.DMA_MAP: keep}), *SHARED_RAM)
    memory, flags = taken[-1]
    assert flags == 3
    machine.set_memory(0x1234, b"from the guest")
    assert memory[0x1234:0x1242] == b"from the guest"
    memory[0x2000:0x200b] = b"from device"
    assert machine.memory(0x2000, 11) == b"from device"
    for memory, _ in taken:
        memory.close()


def test_check_15_larger_than_one_message(serve, connect):
    """The client takes messages up to the size it announced and says so beyond."""
    server = serve()
    machine = connect(server, *SHARED_RAM, **{"no-direct-dma": True})
    machine.map_bars()
    data = os.urandom(3 << 20)
    for i in range(3):
        assert not dma(server, fake.DMA_WRITE, 0x200001 + (i << 20), data[i << 20 : (i + 1) << 20]).error
    assert b"".join(dma(server, fake.DMA_READ, 0x200001 + (i << 20), 1 << 20).body[16:] for i in range(3)) == data
    assert dma(server, fake.DMA_READ, 0, (1 << 20) + 1).error == errno.E2BIG


def test_check_19_write_to_read_only_memory(serve, connect):
    server = serve()
    server.regions[6] = bytearray(b"\x55\xaa" * 1024)
    machine = connect(server)
    machine.config_write(0x30, 0xfe400001)
    machine.map_bars()
    assert [flags for address, (_, flags, _, _) in server.maps.items() if address == 0xfe400000] == [1]
    assert dma(server, fake.DMA_WRITE, 0xfe400000, b"x").error == errno.EPERM
    assert dma(server, fake.DMA_READ, 0xfe400000, 2).body[16:] == b"\x55\xaa"
    assert machine.memory(0xfe400000, 2) == b"\x55\xaa"


def test_check_21_refused_map_at_start_undoes_the_others(serve):
    server = serve(on={fake.DMA_MAP: lambda s, m: s.reply(m, error=errno.ENOSPC) if m.body[16:24] == bytes(8) else True})
    line = start_fails(*SHARED_RAM, *vfio_user(server.path))
    assert "DMA map" in line and os.strerror(errno.ENOSPC) in line
    assert struct.unpack_from("<II", server.messages(fake.DMA_UNMAP)[-1].body) == (24, 2)


def test_check_21_refused_map_at_run_time(serve, boot):
    """Too late for the access that caused it: the device is given up, and the event says why."""
    late = []

    def refuse(server, m):
        if m.body[16:24] != struct.pack("<Q", 0xfe400000):
            return True
        late.append(m)
        return False

    server = serve(on={fake.DMA_MAP: refuse})
    server.regions[6] = bytearray(2048)
    guest = boot(server, config_write(4, 6) + wait_for(GO) + config_write(0x30, 0xfe400001) + forever(increment(COUNTER)))
    guest.set_word(GO, 1)
    guest.wait(lambda: late, "the map")
    time.sleep(0.2)
    server.reply(late[0], error=errno.ENOMEM)
    assert os.strerror(errno.ENOMEM) in guest.event("VFIO_USER_DISCONNECT")["reason"]
    guest.goes_on()


def test_check_53_dma_while_the_main_loop_is_busy(serve, connect):
    """The main loop waits for another device that never answers."""
    server, silent = serve(), serve(on={fake.GET_INFO: lambda s, m: None})
    machine = connect(server)
    machine.map_bars()
    machine.qmp_socket.sendall(b'{"execute":"device_add","arguments":{"driver":"vfio-user-pci","id":"x","socket":"%s",'
                               b'"x-msg-timeout":600000}}\n' % silent.path.encode())
    assert silent.wait(lambda s: any(m.command == fake.GET_INFO for m in s.log))
    for i in range(100):
        assert not dma(server, fake.DMA_WRITE, 0x300000 + i, b"%c" % i).error
    silent.conn.shutdown(2)
    while '"error"' not in machine.qmp_file.readline():
        pass
    assert machine.memory(0x300000, 100) == bytes(range(100))


def test_check_61_private_ram(serve, connect):
    private = ["-object", "memory-backend-memfd,id=mem,size=64M,share=off", "-machine", "memory-backend=mem"]
    assert "share=on" in start_fails(*private, *vfio_user(serve().path))
    server = serve()
    machine = connect(server, *private, **{"no-direct-dma": True})
    machine.map_bars()
    assert not dma(server, fake.DMA_WRITE, 0x5000, b"messages").error
    assert machine.memory(0x5000, 8) == b"messages"


# --- interrupts ---


def test_check_23_a_shared_line(serve, connect):
    """Two devices on one line: it stays up until both let go."""
    servers = serve(), serve()
    machine = connect(servers[0], multifunction=True)
    machine.qtest("irq_intercept_in ioapic")
    assert "return" in machine.qmp("device_add", driver="vfio-user-pci", id="second", addr="4.1", socket=servers[1].path)
    machine.map_bars()
    second = 0xfe500000
    for offset, value in ((0x10, second), (4, 6)):
        machine.qtest(f"outl 0xcf8 {0x80000000 | 0x21 << 8 | offset:#x}")
        machine.qtest(f"outl 0xcfc {value:#x}")

    def levels():
        machine.qtest("clock_step 1")
        return [line for line, level in machine.irqs.items() if level]

    for server in servers:
        os.eventfd_write(server.eventfds[(0, 0)], 1)
    eventually(lambda: machine.config_read(4) >> 16 & 8)
    eventually(levels)
    line = levels()
    time.sleep(0.1)
    machine.read(BAR0)
    assert not machine.config_read(4) >> 16 & 8 and levels() == line
    machine.read(second)
    assert not levels()


def test_check_24_msi_first_interrupts(serve, connect):
    """The messages of vectors 0 and 3 of 4, written to memory where the test sees them."""
    server = serve()
    server.irq_counts[1] = 4
    server.config[0x41] = 0x50
    server.config[0x50:0x54] = b"\x05\0\x84\0"
    machine = connect(server)
    machine.map_bars()
    for offset, value in ((0x54, 0x200000), (0x58, 0), (0x5c, 0x40), (0x50, 0x210000)):
        machine.config_write(offset, value)
    assert server.wait(lambda s: len([k for k in s.eventfds if k[0] == 1]) == 4)
    assert len([m for m in server.messages(fake.SET_IRQS) if struct.unpack_from("<I", m.body, 8)[0] == 1]) == 1
    for vector in (0, 3):
        os.eventfd_write(server.eventfds[(1, vector)], 1)
        eventually(lambda want=0x40 + vector: machine.read(0x200000) == want)


def test_check_26_vectors_are_set_up_together(serve, connect):
    """All that are unmasked when MSI-X is enabled, in as few messages as the server's limit of 8 fds allows."""
    server = serve()
    machine = connect(server)
    machine.map_bars()
    for vector in range(fake.VECTORS):
        machine.write(BAR4 + 16 * vector + 12, vector in (9, 10))
    before = server.count(fake.SET_IRQS)
    machine.config_write(0x40, 0x80000000)
    chunks = [struct.unpack_from("<III", m.body, 8) + (len(m.fds),) for m in server.messages(fake.SET_IRQS)[before:]]
    chunks = [c for c in chunks if c[0] == 2]
    assert [c[1:] for c in chunks] == [(0, 8, 8), (8, 1, 1), (11, 8, 8), (19, 1, 1)]


# --- ends ---


def test_check_32_killed_under_load(serve, boot):
    """A CPU in the middle of accesses goes on at once, though a time-out is ten minutes."""
    server = serve()
    guest = boot(server, config_write(0x10, BAR0) + config_write(4, 6) +
                 forever(load(BAR0 + 4) + store(BAR0, 1) + load(BAR0) + save(VALUE) + increment(COUNTER)),
                 **{"x-msg-timeout": 600000})
    guest.goes_on()
    server.conn.shutdown(2)
    assert guest.event("VFIO_USER_DISCONNECT")["device"] == "vd"
    guest.wait(lambda: guest.word(VALUE) == 0xffffffff, "all ones")
    guest.goes_on()
    assert "return" in guest.qmp("device_del", id="vd")
    assert guest.event("DEVICE_DELETED")["device"] == "vd"
    guest.goes_on()


def test_check_62_plugged_again_and_again(serve, connect):
    """A thousand times, server alive; nothing is left of a device that went: no fd, no thread, no memory."""
    machine = connect(serve())
    counts, sizes = [], []
    for i in range(1000):
        assert "return" in machine.qmp("device_del", id="vd"), i
        server = serve()
        assert "return" in machine.qmp("device_add", driver="vfio-user-pci", id="vd", addr="4", socket=server.path)
        counts.append((machine.fd_count(), machine.thread_count()))
        sizes.append(machine.private_kib())
        server.close()
    assert counts[-1] == counts[10]
    # Less than a page in ten rounds: the heap settles, a leak does not.
    assert sizes[-1] - sizes[200] < 320, sizes[::100]
