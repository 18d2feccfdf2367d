# SPDX-License-Identifier: GPL-2.0-or-later
"""vfio-user-pci against a server that says what no good one says, or says it late."""
import errno
import os
import pathlib
import random
import struct
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import fake_server as fake  # noqa: E402
from machine import BAR0, BAR2, BAR4, SHARED_RAM, Machine, start_fails, vfio_user  # noqa: E402


def pytest_generate_tests(metafunc):
    """Check 30: everything a started device does is the same when its messages are sent by a thread."""
    if "connect" in metafunc.fixturenames:
        metafunc.parametrize("connect", [{}, {"x-send-queued": True}], indirect=True, ids=["", "queued"])


def caps(text):
    return b'{"capabilities":{' + text.encode() + b"}}\0"


# --- starting ---


def test_check_1_no_socket():
    assert "socket" in start_fails("-device", "vfio-user-pci")


def test_check_2_no_listener(tmp_path):
    line = start_fails(*vfio_user(tmp_path / "nobody"))
    assert "nobody" in line and os.strerror(errno.ENOENT) in line


@pytest.mark.parametrize("address", ['{"type":"inet","host":"h","port":"1"}', '{"type":"unix"}', '{"type":"vsock"}', '""', "17"])
def test_bad_address(address):
    assert "socket" in start_fails("-device", f'{{"driver":"vfio-user-pci","socket":{address}}}')


@pytest.mark.parametrize("version", [(1, 0), (0, 2), (0, 65535)])
def test_check_5_version_refused(serve, version):
    server = serve(version=version)
    assert f"version {version[0]}.{version[1]}" in start_fails(*vfio_user(server.path))


@pytest.mark.parametrize("reply,key", [
    (b'{"capabilities":{}}', "NUL"), (b"", "JSON"), (b"{\0", "JSON"), (b"[]\0", "JSON"), (b"{} {}\0", "JSON"),
    (caps('"max_msg_fds":17'), "max_msg_fds"), (caps('"max_msg_fds":-1'), "max_msg_fds"), (caps('"max_msg_fds":"8"'), "max_msg_fds"),
    (caps('"max_data_xfer_size":67108865'), "max_data_xfer_size"), (caps('"max_data_xfer_size":0'), "max_data_xfer_size"),
    (caps('"max_dma_maps":65536'), "max_dma_maps"), (caps('"pgsizes":6144'), "pgsizes"),
    (caps('"migration":{"max_bitmap_size":268435457}'), "max_bitmap_size"),
    (caps('"twin_socket":{"supported":true}'), "twin_socket"),
    (caps('"twin_socket":{"supported":true,"fd_index":0}'), "twin_socket"), (caps('"write_multiple":1'), "write_multiple"),
])
def test_check_6_capability_refused(serve, reply, key):
    assert key in start_fails(*vfio_user(serve(caps=reply).path))


def test_older_minor_accepted(serve, connect):
    assert connect(serve(version=(0, 0), caps=b"{}\0")).config_read(0) == 0x56781234


STEPS = [fake.VERSION, fake.GET_INFO, fake.REGION_INFO, fake.IRQ_INFO, fake.REGION_READ, fake.RESET, fake.SET_IRQS, fake.DMA_MAP]


@pytest.mark.parametrize("step", STEPS)
def test_check_60_hang_up_during_start(serve, step):
    server = serve(on={step: lambda s, m: s.hang_up()})
    begin = time.monotonic()
    assert "vfio-user-pci" in start_fails(*SHARED_RAM, *vfio_user(server.path, **{"x-msg-timeout": 600000}))
    assert time.monotonic() - begin < 300


@pytest.mark.parametrize("step", STEPS)
def test_check_60_silence_during_start(serve, step):
    server = serve(on={step: lambda s, m: None})
    assert os.strerror(errno.ETIMEDOUT) in start_fails(*SHARED_RAM, *vfio_user(server.path, **{"x-msg-timeout": 300}))


@pytest.mark.parametrize("step", STEPS)
def test_check_60_refusal_during_start(serve, step):
    server = serve(on={step: lambda s, m: s.reply(m, error=errno.EXDEV)})
    assert os.strerror(errno.EXDEV) in start_fails(*SHARED_RAM, *vfio_user(server.path))


BROKEN_REPLIES = {
    "info cut": (fake.GET_INFO, lambda s, m: s.reply(m, b"\x10\0\0\0")),
    "info huge": (fake.GET_INFO, lambda s, m: s.reply(m, struct.pack("<IIII", 16, 3, 101, 5))),
    "info no pci": (fake.GET_INFO, lambda s, m: s.reply(m, struct.pack("<IIII", 16, 1, 9, 5))),
    "info few regions": (fake.GET_INFO, lambda s, m: s.reply(m, struct.pack("<IIII", 16, 3, 3, 5))),
    "region cut": (fake.REGION_INFO, lambda s, m: s.reply(m, bytes(31))),
    "region argsz": (fake.REGION_INFO, lambda s, m: s.reply(m, struct.pack("<IIIIQQ", 0xffffffff, 3, m.body[8], 0, 4096, 0))),
    "region index": (fake.REGION_INFO, lambda s, m: s.reply(m, struct.pack("<IIIIQQ", 32, 3, 99, 0, 4096, 0))),
    "region size": (fake.REGION_INFO, lambda s, m: s.reply(m, struct.pack("<IIIIQQ", 32, 3, m.body[8], 0, 1 << 63, 0))),
    "config size": (fake.REGION_INFO, lambda s, m: s.reply(m, struct.pack("<IIIIQQ", 32, 3, m.body[8], 0, 16, 0))),
    "cap loop": (fake.REGION_INFO, lambda s, m: s.reply(m, struct.pack("<IIIIQQHHIQ", 48, 15, m.body[8], 32, 4096, 0, 9, 1, 32, 0))),
    "sparse outside": (fake.REGION_INFO, lambda s, m: s.reply(
        m, struct.pack("<IIIIQQHHIIIQQ", 64, 15, m.body[8], 32, 4096, 0, 1, 1, 0, 1, 0, 4096, 4096))),
    "irq cut": (fake.IRQ_INFO, lambda s, m: s.reply(m, bytes(8))),
    "read short": (fake.REGION_READ, lambda s, m: s.reply(m, m.body[:16] + bytes(7))),
    "read other": (fake.REGION_READ, lambda s, m: s.reply(m, bytes(16 + 256))),
    "bad type": (fake.GET_INFO, lambda s, m: s.send(m.id, m.command, 7, bytes(16))),
    "header of 8": (fake.GET_INFO, lambda s, m: s.conn.sendall(struct.pack("<HHIII", m.id, m.command, 8, 1, 0))),
    "header of 4 GiB": (fake.GET_INFO, lambda s, m: s.conn.sendall(struct.pack("<HHIII", m.id, m.command, 0xffffffff, 1, 0))),
    "other command": (fake.GET_INFO, lambda s, m: s.send(m.id, fake.IRQ_INFO, 1, struct.pack("<IIII", 16, 3, 9, 5))),
    "error 0": (fake.GET_INFO, lambda s, m: s.send(m.id, m.command, 0x21, b"", 0)),
}


@pytest.mark.parametrize("name", BROKEN_REPLIES)
def test_check_42_broken_reply_during_start(serve, name):
    command, answer = BROKEN_REPLIES[name]
    server = serve(on={command: answer})
    assert "vfio-user-pci" in start_fails(*SHARED_RAM, *vfio_user(server.path, **{"x-msg-timeout": 5000}))


@pytest.mark.parametrize("config,error", [
    (lambda c: c.__setitem__(0x0e, 1), "header type"), (lambda c: c.__setitem__(0x41, 0x40), "never ends"),
    (lambda c: struct.pack_into("<I", c, 0x44, 5), "MSI-X"), (lambda c: struct.pack_into("<I", c, 0x44, 0xff8 | 4), "MSI-X"),
])
def test_bad_config_space(serve, config, error):
    server = serve()
    config(server.config)
    assert error in start_fails(*vfio_user(server.path))


def test_check_60_failed_starts_leave_nothing(serve, connect, tmp_path):
    machine = connect(serve())
    first = None
    for _ in range(12):
        server = serve(on={fake.DMA_MAP: lambda s, m: s.reply(m, error=errno.EINVAL)})
        answer = machine.qmp("device_add", driver="vfio-user-pci", id="other", socket=server.path)
        assert "DMA map" in answer["error"]["desc"]
        first = first or machine.fd_count()
    assert machine.fd_count() == first
    assert len(os.listdir(f"/proc/{machine.process.pid}/task")) < 12


# --- config space and BARs ---


def test_check_8_9_10_config_space(serve, connect):
    server = serve()
    machine = connect(server, **{"x-pci-vendor-id": 0xabcd})
    assert machine.config_read(0) == 0x5678abcd
    assert struct.unpack_from("<H", server.config, 0)[0] == 0x1234
    machine.config_write(0x10, 0xffffffff)
    assert machine.config_read(0x10) == 0xfffff000
    machine.config_write(0x10, BAR0)
    assert machine.config_read(0x10) == BAR0
    assert struct.unpack_from("<I", server.config, 0x10)[0] == BAR0
    assert [m.body for m in server.messages(fake.REGION_READ)][0] == struct.pack("<QII", 0, 7, 256)


@pytest.mark.parametrize("width,size", [("b", 1), ("w", 2), ("l", 4), ("q", 8)])
def test_check_11_bar_accesses(serve, connect, width, size):
    server = serve()
    machine = connect(server)
    machine.map_bars()
    value = 0x1122334455667788 & ((1 << 8 * size) - 1)
    for offset in (0, 0x18, 4096 - size, 0x101):
        machine.write(BAR0 + offset, value, width)
        assert machine.read(BAR0 + offset, width) == value
        assert server.regions[0][offset : offset + size] == value.to_bytes(size, "little")


def test_check_7_27_posted_writes(serve, connect):
    server = serve()
    machine = connect(server)
    machine.map_bars()
    for i in range(100):
        machine.write(BAR0 + 8, i)
    assert machine.read(BAR0 + 8) == 99
    machine.qtest(f"outl {BAR2:#x} 0x1234")
    writes = server.messages(fake.REGION_WRITE)
    by_region = {r: [m for m in writes if m.body[8] == r] for r in (0, 2, 7)}
    assert len(by_region[0]) == 100 and all(m.flags & fake.NO_REPLY for m in by_region[0])
    assert [m.body[16] for m in by_region[0]] == list(range(100))
    assert by_region[2] and by_region[7] and not any(m.flags & fake.NO_REPLY for m in by_region[2] + by_region[7])
    assert server.count(15) == 0


def test_check_28_no_posted_writes(serve, connect):
    server = serve()
    machine = connect(server, **{"x-no-posted-writes": True})
    machine.map_bars()
    machine.write(BAR0, 7)
    assert server.regions[0][0] == 7
    assert not any(m.flags & fake.NO_REPLY for m in server.log)


def patient_read(machine, address):
    """A read that the server answers: on a busy machine perhaps not within the time-out."""
    end = time.monotonic() + 300
    while (value := machine.read(address)) == 0xffffffff:
        assert time.monotonic() < end
    return value


def test_check_31_late_reply_is_dropped(serve, connect):
    late = []

    def delay(server, m):
        if struct.unpack_from("<QI", m.body) != (0x40, 0):
            return True
        late.append(m)
        return False

    server = serve(on={fake.REGION_READ: delay})
    machine = connect(server, **{"x-msg-timeout": 1000})
    machine.map_bars()
    server.regions[0][0x44] = 5
    for _ in range(3):
        assert machine.read(BAR0 + 0x40) == 0xffffffff
    assert patient_read(machine, BAR0 + 0x44) == 5
    ids = {m.id for m in late}
    assert len(ids) == 3
    for m in late:
        server.region_read(m)
    assert patient_read(machine, BAR0 + 0x44) == 5
    assert patient_read(machine, BAR0 + 0x48) == 0


def test_check_52_ids_in_flight_are_not_reused(serve, connect):
    held = []

    def hold(server, m):
        if struct.unpack_from("<QI", m.body) == (0x40, 0):
            held.append(m)
            return False
        return True

    server = serve(on={fake.REGION_READ: hold})
    machine = connect(server, **{"x-msg-timeout": 1000})
    machine.map_bars()
    machine.read(BAR0 + 0x40)
    for i in range(70000):
        machine.write(BAR0, i)
    assert patient_read(machine, BAR0) == 69999
    sent = [m.id for m in server.log if not m.flags & fake.REPLY]
    assert len(sent) > 70000 and sent.count(held[0].id) <= 2
    after = [m for m in server.log[server.log.index(held[0]) + 1 :] if m.id == held[0].id and not m.flags & fake.REPLY]
    assert not after


# --- DMA ---


def dma_read(server, address, count):
    return server.request(fake.DMA_READ, struct.pack("<QQ", address, count))


def dma_write(server, address, data):
    return server.request(fake.DMA_WRITE, struct.pack("<QQ", address, len(data)) + data)


@pytest.mark.parametrize("ram", [[], SHARED_RAM])
def test_check_15_16_18_dma_messages(serve, connect, ram):
    server = serve()
    machine = connect(server, *ram, **{"no-direct-dma": True})
    machine.map_bars()
    assert server.maps and all(fds == 0 for _, _, _, fds in server.maps.values())
    for size in (1, 7, 4096, 1 << 20):
        data = os.urandom(size)
        reply = dma_write(server, 0x200001, data)
        assert not reply.flags & fake.ERROR and reply.body == struct.pack("<QQ", 0x200001, size)
        assert machine.memory(0x200001, min(size, 4096)) == data[:4096]
        reply = dma_read(server, 0x200001, size)
        assert reply.body == struct.pack("<QQ", 0x200001, size) + data


def test_check_17_dma_errors(serve, connect):
    server = serve()
    machine = connect(server)
    machine.map_bars()
    cases = [(dma_read(server, 1 << 40, 8), errno.ENODEV), (dma_read(server, (1 << 64) - 4, 8), None),
             (dma_read(server, 0, (1 << 20) + 1), errno.E2BIG), (server.request(fake.DMA_READ, b"\0"), errno.EINVAL),
             (server.request(fake.DMA_WRITE, struct.pack("<QQ", 0, 8) + b"x"), errno.EINVAL), (server.request(77, bytes(8)), errno.ENOSYS),
             (server.request(fake.DMA_READ, b""), errno.EINVAL)]
    for reply, error in cases:
        assert reply.flags & fake.ERROR and reply.error == (error or reply.error) and not reply.body
    machine.config_write(4, 3)
    assert dma_read(server, 0x1000, 4).error == errno.ENODEV
    machine.config_write(4, 7)
    assert not dma_read(server, 0x1000, 4).error


def test_dma_to_registers(serve, connect):
    server = serve()
    machine = connect(server)
    machine.map_bars()
    table = BAR4 + 12
    assert not dma_write(server, table, struct.pack("<I", 0)).error
    assert dma_read(server, table, 4).body[16:] == bytes(4)
    assert machine.read(table) == 0


def test_check_49_dma_inside_a_register_read(serve, connect):
    def nested(server, m):
        if struct.unpack_from("<QI", m.body) != (0x80, 0):
            return True
        server.send(0x7777, fake.DMA_READ, fake.COMMAND, struct.pack("<QQ", 0x3000, 4))
        while True:
            reply = server.receive()
            if reply.id == 0x7777 and reply.flags & fake.REPLY:
                break
        server.reply(m, m.body[:16] + reply.body[16:20])
        return False

    server = serve(on={fake.REGION_READ: nested})
    machine = connect(server)
    machine.map_bars()
    machine.write(0x3000, 0xcafef00d)
    assert machine.read(BAR0 + 0x80) == 0xcafef00d


def test_check_14_direct_dma_has_fds(serve, connect):
    server = serve()
    connect(server, *SHARED_RAM)
    assert any(fds == 1 for _, _, _, fds in server.maps.values())
    assert all(fds <= 1 for _, _, _, fds in server.maps.values())


# --- interrupts, reset, loss ---


def enable_msix(machine):
    machine.config_write(0x40, 0x80000000)


def vector(machine, n, masked):
    machine.write(BAR4 + 16 * n, 0xfee00000)
    machine.write(BAR4 + 16 * n + 8, 0x40 + n)
    machine.write(BAR4 + 16 * n + 12, masked)


def pending(machine):
    return machine.read(BAR4 + 0x800, "q")


def eventually(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_check_25_26_msix_mask_and_pending(serve, connect):
    server = serve()
    machine = connect(server)
    machine.map_bars()
    for n in range(fake.VECTORS):
        vector(machine, n, 0)
    enable_msix(machine)
    assert server.wait(lambda s: len([k for k in s.eventfds if k[0] == 2]) == fake.VECTORS)
    assert max(len(m.fds) for m in server.messages(fake.SET_IRQS)) == 8
    vector(machine, 3, 1)
    os.write(server.eventfds[(2, 3)], struct.pack("<Q", 1))
    eventually(lambda: pending(machine) == 8)
    vector(machine, 3, 0)
    assert pending(machine) == 0


def test_check_22_intx_until_acknowledged(serve, connect):
    server = serve()
    machine = connect(server)
    machine.map_bars()
    assert server.wait(lambda s: (0, 0) in s.eventfds)

    def asserted():
        return bool(machine.config_read(4) >> 16 & 8)

    for _ in range(2):
        os.write(server.eventfds[(0, 0)], struct.pack("<Q", 1))
        eventually(asserted)
        before = server.count(fake.SET_IRQS)
        machine.read(BAR0)
        assert not asserted()
        assert server.wait(lambda s: sum(1 for m in s.log if m.command == fake.SET_IRQS) == before + 1)
        assert struct.unpack_from("<IIIII", server.messages(fake.SET_IRQS)[-1].body) == (20, 0x11, 0, 0, 1)


def test_check_39_reset_reaches_the_device_once(serve, connect):
    server = serve()
    machine = connect(server)
    machine.map_bars()
    before = server.count(fake.RESET)
    machine.qmp("system_reset")
    machine.event("RESET")
    assert server.count(fake.RESET) == before + 1


@pytest.mark.parametrize("how", ["hang up", "nonsense"])
def test_check_32_loss_at_run_time(serve, connect, how):
    server = serve()
    machine = connect(server)
    machine.map_bars()
    if how == "hang up":
        server.conn.shutdown(2)
    else:
        server.conn.sendall(struct.pack("<HHIII", 0, 9, 3, 1, 0))
    data = machine.event("VFIO_USER_DISCONNECT")
    assert data["device"] == "vd" and data["path"] == "/machine/peripheral/vd" and data["reason"]
    assert machine.read(BAR0) == 0xffffffff
    machine.write(BAR0, 1)
    assert machine.config_read(0) == 0xffffffff
    assert "return" in machine.qmp("device_del", id="vd")
    assert machine.event("DEVICE_DELETED")["device"] == "vd"
    again = serve()
    assert "return" in machine.qmp("device_add", driver="vfio-user-pci", id="vd", addr="4", socket=again.path)
    assert machine.config_read(0) == 0x56781234


def test_check_48_62_unplug_with_msix_many_times(serve, connect):
    machine = connect(serve())
    fds = []
    for i in range(100):
        assert "return" in machine.qmp("device_del", id="vd")
        server = serve()
        assert "return" in machine.qmp("device_add", driver="vfio-user-pci", id="vd", addr="4", socket=server.path)
        machine.map_bars()
        enable_msix(machine)
        vector(machine, 1, 0)
        assert server.wait(lambda s: (2, 1) in s.eventfds), i
        fds.append((machine.fd_count(), machine.thread_count()))
        server.close()
    assert fds[-1] == fds[5]


class Mutator(fake.FakeServer):
    """Damages what it sends: bits, lengths, fds, types, ids, and messages nobody asked for."""

    def __init__(self, path, source):
        self.source = source
        super().__init__(path)

    def run(self):
        try:
            super().run()
        except (KeyError, struct.error):
            pass  # a request about a region that only exists in damaged replies

    def send(self, ident, command, flags, body=b"", error=0, fds=()):
        dice, data = self.source.random(), bytearray(body)
        if dice < 0.14 and body:
            for _ in range(self.source.randrange(1, 4)):
                data[self.source.randrange(len(data))] = self.source.choice([0, 1, 0x80, 0xff])
        elif dice < 0.18:
            data = data[: self.source.randrange(len(data) + 1)]
        elif dice < 0.20:
            data += bytes(self.source.randrange(1, 200))
        elif dice < 0.22:
            fds = [os.open(os.devnull, os.O_RDWR) for _ in range(self.source.randrange(1, 30))]
        elif dice < 0.25:
            flags ^= 1 << self.source.randrange(8)
        elif dice < 0.27:
            super().send(self.source.randrange(65536), self.source.choice([2, 9, 11, 12, 200]), self.source.choice([0, 1, 0x10]),
                         bytes(self.source.randrange(64)))
        elif dice < 0.275:
            ident ^= 1
        try:
            super().send(ident, command, flags, bytes(data), error, fds)
        finally:
            for fd in fds:
                os.close(fd)


@pytest.mark.parametrize("seed", range(3))
def test_check_42_damaged_replies(serve, connect, tmp_path, seed):
    machine = connect(serve())
    assert "return" in machine.qmp("device_del", id="vd")
    source, started, fds = random.Random(seed), 0, []
    for i in range(150):
        server = Mutator(str(tmp_path / f"mutator{i}"), source)
        answer = machine.qmp("device_add", driver="vfio-user-pci", id="vd", addr="4", socket=server.path, **{"x-msg-timeout": 50})
        if "return" in answer:
            started += 1
            machine.map_bars()
            for _ in range(10):
                machine.read(BAR0 + source.randrange(0, 4096, 8), source.choice("bwlq"))
                machine.write(BAR4 + source.randrange(0, 4096, 8), source.randrange(1 << 32))
            enable_msix(machine)
            for offset in range(0, 0x60, 4):
                machine.config_read(offset)
            assert "return" in machine.qmp("device_del", id="vd")
        else:
            assert answer["error"]["desc"]
        server.close()
        fds.append(machine.fd_count())
    assert fds[-1] == fds[0] and started
