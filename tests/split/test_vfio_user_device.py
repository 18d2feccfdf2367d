# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest sees of a device behind a socket: capabilities, doorbells, option ROM, interrupts of the device itself."""
import array
import fcntl
import os
import pathlib
import select
import socket
import struct
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import fake_server as fake  # noqa: E402
from bare_guest import COUNTER, GO, VALUE, config_write, forever, increment, load, save, store, wait_for  # noqa: E402
from machine import BAR0, BAR4, SHARED_RAM, Machine, start_fails, vfio_user  # noqa: E402


def eventfd():
    return os.eventfd(0, os.EFD_CLOEXEC)


def signals(fd):
    """How often an eventfd was signalled since the last look."""
    ready = select.poll()  # select() knows no descriptors beyond 1023
    ready.register(fd, select.POLLIN)
    return os.eventfd_read(fd) if ready.poll(0) else 0


def config(server, offset, data):
    server.config[offset : offset + len(data)] = data


def grow_config(server):
    server.regions[7] = server.config = server.config + bytearray(4096 - 256)


# --- capabilities ---


def test_capability_table(serve, connect):
    """PM without PME, PCIe with its type, vendor and VPD as they are, EA hidden; hidden registers stay unwritten."""
    server = serve()
    config(server, 0x41, b"\x50")
    config(server, 0x50, bytes([1, 0x58, 0x03, 0xfe, 0, 0, 0, 0]))       # PM
    config(server, 0x58, bytes([0x14, 0x60, 0xaa, 0xbb]))                # EA
    config(server, 0x60, bytes([0x10, 0xa0, 0x02, 0]) + struct.pack("<IHH", 0x10000000, 0, 0) + bytes(8) + b"\x11\0" * 2)
    config(server, 0xa0, bytes([9, 0xb0, 6, 0x5a, 0x12, 0x34]))          # vendor specific
    config(server, 0xb0, bytes([3, 0, 0, 0, 0x78, 0x56, 0x34, 0x12]))    # VPD
    machine = connect(server)
    assert machine.config_read(0x40) & 0xffff == 0x5011
    assert machine.config_read(0x50) == 0x06036001 | 0 and machine.config_read(0x50) >> 16 & 0xf800 == 0
    assert machine.config_read(0x60) & 0xffff == 0xa010
    assert machine.config_read(0x60) >> 20 & 0xf == 9
    assert machine.config_read(0xa0) == 0x5a06b009 and machine.config_read(0xb4) == 0x12345678
    assert machine.config_read(0x58) == 0
    machine.config_write(0x58, 0xffffffff)
    machine.config_write(0xb4, 0xcafe)
    machine.config_read(4)
    assert server.config[0x58:0x5c] == bytes([0x14, 0x60, 0xaa, 0xbb]) and server.config[0xb4:0xb8] == b"\xfe\xca\0\0"


def ext(server, offset, ident, following, body=b""):
    config(server, offset, struct.pack("<I", ident | 1 << 16 | following << 20) + body)


def test_extended_capabilities(serve, connect):
    """AER passes; SR-IOV, ATS, PRI, PASID are hidden; ARI ends at this function; a resizable BAR has one size."""
    server = serve()
    grow_config(server)
    for offset, ident, following in ((0x100, 0x0f, 0x110), (0x110, 1, 0x140), (0x140, 0x13, 0x150), (0x150, 0x1b, 0x158),
                                     (0x158, 0x10, 0x198), (0x198, 0x0e, 0x1a0), (0x1a0, 0x15, 0x1b0), (0x1b0, 0x0b, 0)):
        ext(server, offset, ident, following)
    config(server, 0x114, b"\x21\x43\x65\x07")
    config(server, 0x19c, b"\x00\x05\x07\x00")
    config(server, 0x1a4, struct.pack("<II", 0x3f0, 1 << 5 | 2 << 8))
    machine = connect(server)
    ecam = 0xb0000000 + (4 << 15)
    machine.qtest("outl 0xcf8 0x80000060")
    machine.qtest("outl 0xcfc 0xb0000001")
    at, seen = 0x100, []
    while at:
        header = machine.read(ecam + at)
        seen.append((at, header & 0xffff))
        at = header >> 20
    assert seen == [(0x100, 0), (0x110, 1), (0x198, 0x0e), (0x1a0, 0x15), (0x1b0, 0x0b)]
    assert machine.read(ecam + 0x114) == 0x07654321
    assert machine.read(ecam + 0x19c) == 0x00070000
    assert machine.read(ecam + 0x1a4) == 1 << 6
    for offset in (0x104, 0x144, 0x160, 0x1a8):
        machine.write(ecam + offset, 0xffffffff)
        machine.read(ecam + 0x114)
        assert server.config[offset : offset + 4] != b"\xff" * 4
        assert offset == 0x1a8 or machine.read(ecam + offset) == 0


@pytest.mark.parametrize("how", ["PCIe", "AF"])
def test_function_level_reset(serve, connect, how):
    server = serve()
    if how == "PCIe":
        config(server, 0x41, b"\x60")
        config(server, 0x60, b"\x10\0\x02\0\0\0\0\x10")
        register, bit = 0x68, 0x8000
    else:
        config(server, 0x41, b"\x60")
        config(server, 0x60, b"\x13\0\x06\x03\0\0")
        register, bit = 0x64, 1
    machine = connect(server)
    machine.map_bars()
    before = server.count(fake.RESET)
    machine.config_write(register, bit)
    assert server.count(fake.RESET) == before + 1
    assert machine.config_read(4) & 7 == 0
    assert all(not (struct.unpack_from("<Q", m.body)[0] == register and m.body[16 + bit.bit_length() // 9] & 0x81)
               for m in server.messages(fake.REGION_WRITE))


@pytest.mark.parametrize("where", ["auto", "bar1", "bar3", "bar0"])
def test_msix_relocation(serve, connect, where):
    server = serve()
    machine = connect(server, **{"x-msix-relocation": where})
    table = machine.config_read(0x44)
    bar = table & 7
    assert bar == {"auto": 1}.get(where, int(where[-1]) if where[-1].isdigit() else 1)
    address = 0xfe200000
    machine.map_bars()
    machine.config_write(0x10 + 4 * bar, address)
    assert machine.config_read(0x10 + 4 * bar) & ~0xf == address
    entry = address + (table & ~7)
    machine.write(entry, 0xfee00000)
    assert machine.read(entry) == 0xfee00000
    machine.config_write(0x40, 0x80000000)
    machine.write(entry + 12, 0)
    assert (2, 0) in server.eventfds
    if bar == 0:
        machine.write(address + 0x10, 5)
        assert machine.read(address + 0x10) == 5 and server.regions[0][0x10] == 5


def test_msix_relocation_needs_a_place(serve):
    assert "x-msix-relocation" in start_fails(*vfio_user(serve().path, **{"x-msix-relocation": "bar2"}))


def test_sub_page_bar(serve, connect):
    server = serve()
    server.regions[1] = bytearray(64)
    machine = connect(server)
    machine.map_bars()
    machine.config_write(0x14, 0xffffffff)
    assert machine.config_read(0x14) == 0xffffffc0
    machine.config_write(0x14, 0xfe000fc0)
    machine.write(0xfe000fc4, 0x1234)
    assert machine.read(0xfe000fc4) == 0x1234 and server.regions[1][4:6] == b"\x34\x12"
    assert machine.read(BAR0) == 0


# --- check 13 ---


def short(server, m):
    """Less than was asked for of the ROM."""
    offset, region, count = struct.unpack_from("<QII", m.body)
    if region != 6:
        return True
    count = min(count, 1000)
    server.reply(m, struct.pack("<QII", offset, region, count) + bytes(server.regions[region][offset : offset + count]))
    return False


@pytest.mark.parametrize("options", [{}, {"on": {fake.REGION_READ: short}},
                                     {"caps": b'{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":4096}}\0'}],
                         ids=["whole", "short replies", "small messages"])
def test_check_13_option_rom(serve, connect, options):
    server = serve(**options)
    image = os.urandom(70000)
    server.regions[6] = bytearray(image)
    machine = connect(server)
    machine.config_write(0x30, 0xffffffff)
    assert machine.config_read(0x30) == 0xfffe0001
    machine.config_write(0x30, 0xfe400001)
    machine.map_bars()
    for offset in (0, 0x8000, 65536 - 16, 69000):
        assert machine.memory(0xfe400000 + offset, 64) == image[offset : offset + 64]
    assert machine.memory(0xfe400000 + 70000, 4) == b"\xff" * 4
    machine.write(0xfe400000, 0)
    assert machine.memory(0xfe400000, 4) == image[:4]


@pytest.mark.parametrize("accel", ["tcg", pytest.param("kvm", marks=pytest.mark.skipif(
    not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm here"))])
def test_guest_cannot_write_to_a_rom(serve, boot, accel):
    """It goes on behind the write, and reads what was there: for KVM a read-only slot."""
    server = serve()
    server.regions[6] = bytearray(struct.pack("<I", 0x600d600d) * 1024)
    guest = boot(server, config_write(0x30, 0xfe400001) + config_write(4, 2) + wait_for(GO) +
                 forever(store(0xfe400010, 0xbad) + load(0xfe400010) + save(VALUE) + increment(COUNTER)), accel=accel)
    guest.set_word(GO, 1)
    guest.wait(lambda: guest.word(COUNTER) > 10, "ten writes")
    assert guest.word(VALUE) == 0x600d600d
    assert not [m for m in server.messages(fake.REGION_WRITE) if m.body[8] == 6]


def test_ids(serve, connect):
    server = serve()
    options = {"x-pci-vendor-id": 0xaaaa, "x-pci-device-id": 0xbbbb, "x-pci-sub-vendor-id": 0xcccc, "x-pci-sub-device-id": 0xdddd}
    machine = connect(server, **options)
    assert machine.config_read(0) == 0xbbbbaaaa and machine.config_read(0x2c) == 0xddddcccc
    assert struct.unpack_from("<HH", server.config) == (0x1234, 0x5678)
    assert struct.unpack_from("<HH", server.config, 0x2c) == (0x1af4, 0x1100)


@pytest.mark.parametrize("option", ["no-direct-dma", "secure-dma"])
def test_check_15_no_descriptor_of_memory(serve, connect, option):
    server = serve()
    connect(server, *SHARED_RAM, **{option: True})
    assert server.maps and not any(m.fds for m in server.messages(fake.DMA_MAP))


@pytest.mark.parametrize("options", [{"rombar": False}, {"romfile": ""}])
def test_option_rom_hidden(serve, connect, options):
    server = serve()
    server.regions[6] = bytearray(2048)
    machine = connect(server, **options)
    machine.config_write(0x30, 0xffffffff)
    assert machine.config_read(0x30) == 0


def test_option_rom_from_a_file(serve, connect, tmp_path):
    server = serve()
    server.regions[6] = bytearray(2048)
    (tmp_path / "rom").write_bytes(b"\x55\xaa" + bytes(4000))
    machine = connect(server, romfile=str(tmp_path / "rom"))
    machine.config_write(0x30, 0xfe400001)
    machine.map_bars()
    assert machine.memory(0xfe400000, 2) == b"\x55\xaa"


# --- check 51: doorbells ---


def with_doorbells(server):
    stream, theirs = socket.socketpair()
    server.doorbell_fds = [eventfd(), eventfd(), eventfd(), os.memfd_create("shadow"), theirs.detach()]
    server.own_fds = [stream.detach()]
    server.doorbells[0] = [(0x100, 4, 0, 0, 0, 0xffffffff, 0, 0),      # any value
                           (0x108, 4, 1, 0, 1, 0xffffffff, 0, 7),      # only 7
                           (0x110, 4, 2, 2, 0, 3, 0x20, 0),            # shadow
                           (0x130, 4, 4, 1, 0, 0xffffffff, 0, 0),      # ioregionfd, which no released Linux has
                           (0x118, 4, 0xffffffff, 0, 0, 0xffffffff, 0, 0), (0x120, 4, 3, 0, 0, 0, 0, 0),  # unusable
                           (0x4000, 4, 0, 0, 0, 0xffffffff, 0, 0), (0x128, 3, 0, 0, 0, 0xffffffff, 0, 0)]
    return server


def writes_to_bar0(server):
    return [m for m in server.messages(fake.REGION_WRITE) if m.body[8] == 0]


def test_check_51_doorbells(serve, connect):
    server = with_doorbells(serve())
    machine = connect(server)
    machine.map_bars()
    any_value, seven, shadowed, shadow, _ = server.doorbell_fds
    machine.write(BAR0 + 0x100, 1)
    machine.write(BAR0 + 0x108, 7)
    machine.write(BAR0 + 0x110, 0x1234)
    machine.write(BAR0 + 0x100, 2)
    assert signals(any_value) == 2 and signals(seven) == 1 and signals(shadowed) == 1
    assert os.pread(shadow, 4, 0x20) == b"\x34\x12\0\0"
    assert not writes_to_bar0(server)
    for offset, value in ((0x108, 8), (0x118, 1), (0x120, 1), (0x128, 1), (0x104, 1), (0x130, 0x77)):
        machine.write(BAR0 + offset, value)
    assert len(writes_to_bar0(server)) == 6
    # What is offered as ioregionfd is served as if it had not been: written, and read back.
    assert machine.read(BAR0 + 0x130) == 0x77 and server.regions[0][0x130] == 0x77
    ready = select.poll()
    ready.register(server.own_fds[0], select.POLLIN)
    assert not ready.poll(0)
    # Messages may not be overtaken by doorbells, so writes are waited for.
    assert not any(m.flags & fake.NO_REPLY for m in writes_to_bar0(server))


def test_check_51_doorbells_under_tcg(serve, boot):
    server = with_doorbells(serve())
    guest = boot(server, config_write(0x10, BAR0) + config_write(4, 6) + wait_for(GO) +
                 forever(store(BAR0 + 0x100, 1) + increment(COUNTER)))
    guest.set_word(GO, 1)
    guest.wait(lambda: guest.word(COUNTER) > 1000, "a thousand doorbells")
    assert signals(server.doorbell_fds[0]) > 900
    assert not writes_to_bar0(server)


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm here")
def test_check_51_doorbells_under_kvm(serve, boot):
    """The kernel signals: the writes do not even leave the guest."""
    server = with_doorbells(serve())
    guest = boot(server, config_write(0x10, BAR0) + config_write(4, 6) + wait_for(GO) +
                 forever(store(BAR0 + 0x100, 1) + store(BAR0 + 0x108, 8) + increment(COUNTER)), accel="kvm")
    guest.set_word(GO, 1)
    guest.wait(lambda: guest.word(COUNTER) > 1000, "a thousand doorbells")
    assert "ioeventfds: 2" in guest.qmp("human-monitor-command", **{"command-line": "info kvm"})["return"]
    assert signals(server.doorbell_fds[0]) > 900 and signals(server.doorbell_fds[1]) == 0
    # The value that is not the one asked for is a message.
    assert {m.body[:8] for m in writes_to_bar0(server)} == {struct.pack("<Q", 0x108)}


def test_doorbells_without_eventfd(serve, connect):
    server = with_doorbells(serve())
    machine = connect(server, **{"x-no-kvm-ioeventfd": True})
    machine.map_bars()
    machine.write(BAR0 + 0x100, 1)
    assert machine.read(BAR0 + 0x100) == 1 and len(writes_to_bar0(server)) == 1
    assert server.count(fake.REGION_IO_FDS) == 0


def test_doorbells_are_messages_while_intx_is_in_use(serve, connect):
    server = with_doorbells(serve())
    machine = connect(server)
    machine.map_bars()
    os.eventfd_write(server.eventfds[(0, 0)], 1)
    end = time.monotonic() + 60
    while not machine.config_read(4) >> 16 & 8:
        assert time.monotonic() < end
    machine.write(BAR0 + 0x100, 1)
    assert len(writes_to_bar0(server)) == 1 and not machine.config_read(4) >> 16 & 8


# --- what the device says of itself ---


def test_error_interrupt(serve, connect):
    server = serve()
    server.irq_counts[3] = 1
    machine = connect(server)
    os.eventfd_write(server.eventfds[(3, 0)], 1)
    assert machine.event("VFIO_DEVICE_ERROR")["device"] == "vd"
    machine.map_bars()
    assert machine.config_read(0) == 0x56781234


def test_request_interrupt(serve, connect):
    server = serve()
    server.irq_counts[4] = 1
    machine = connect(server)
    os.eventfd_write(server.eventfds[(4, 0)], 1)
    assert machine.event("VFIO_DEVICE_REQUEST")["device"] == "vd"
    assert machine.event("DEVICE_DELETED")["device"] == "vd"


def test_request_interrupt_ignored(serve, connect):
    server = serve()
    server.irq_counts[4] = 1
    connect(server, **{"x-req": False})
    assert (4, 0) not in server.eventfds


def test_check_67_loss_is_visible(serve, connect):
    server = serve()
    machine = connect(server)
    path = "/machine/peripheral/vd"
    assert machine.qmp("qom-get", path=path, property="state")["return"] == "connected"
    server.conn.shutdown(socket.SHUT_RDWR)
    data = machine.event("VFIO_USER_DISCONNECT")
    assert data == {"device": "vd", "path": path, "reason": "the server closed the connection"}
    assert machine.qmp("qom-get", path=path, property="state")["return"] == "lost"
    devices = machine.qmp("query-pci")["return"][0]["devices"]
    assert [d["x-state"] for d in devices if d["qdev_id"] == "vd"] == ["lost"]


# --- addresses ---


@pytest.mark.parametrize("family,host", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_inet(tmp_path, family, host):
    server = fake.FakeServer("", family=family)
    address = {"type": "inet", "host": host, "port": str(server.listener.getsockname()[1])}
    machine = Machine(tmp_path, *vfio_user("", socket=address))
    try:
        machine.map_bars()
        machine.write(BAR0 + 8, 0x55)
        assert machine.read(BAR0 + 8) == 0x55
        assert machine.config_read(0x3c) >> 8 & 0xff == 0 and machine.config_read(0x34) & 0xff == 0
        assert all(not m.fds for m in server.log) and not server.count(fake.SET_IRQS)
        reply = server.request(fake.DMA_WRITE, struct.pack("<QQ", 0x300000, 4) + b"abcd")
        assert not reply.error and machine.memory(0x300000, 4) == b"abcd"
        assert machine.qmp("qom-get", path="/machine/peripheral/vd", property="socket")["return"] == address
    finally:
        assert machine.close() == 0
        server.close()


def test_inet_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
        assert port in start_fails(*vfio_user("", socket={"type": "inet", "host": "127.0.0.1", "port": port}))


def test_inherited_fd(serve, tmp_path):
    server = serve()
    with socket.socket(socket.AF_UNIX) as conn:
        conn.connect(server.path)
        os.set_inheritable(conn.fileno(), True)
        machine = Machine(tmp_path, *vfio_user("", socket={"type": "fd", "str": str(conn.fileno())}), inherit=True)
    assert machine.config_read(0) == 0x56781234
    assert machine.close() == 0


@pytest.mark.parametrize("number", ["0", "999", "x", "-1"])
def test_bad_fd(number):
    assert "socket" in start_fails(*vfio_user("", socket={"type": "fd", "str": number}))


def test_vsock_nobody_listens():
    assert "vsock:1:9" in start_fails(*vfio_user("", socket={"type": "vsock", "cid": "1", "port": "9"}))


# --- twin socket ---


class TwinServer(fake.FakeServer):
    """Its requests travel on a socket of their own."""

    def version_reply(self, m):
        assert b'"twin_socket":{"supported":true}' in m.body
        self.twin, theirs = socket.socketpair(socket.AF_UNIX)
        self.caps = b'{"capabilities":{"max_msg_fds":8,"twin_socket":{"supported":true,"fd_index":0}}}\0'
        self.reply(m, struct.pack("<HH", 0, 1) + self.caps, fds=[theirs.fileno()])
        theirs.close()

    def ask(self, command, body):
        self.twin.sendall(struct.pack("<HHIII", 77, command, 16 + len(body), 0, 0) + body)
        head = self.twin.recv(16, socket.MSG_WAITALL)
        size = struct.unpack_from("<I", head, 4)[0]
        return self.twin.recv(size - 16, socket.MSG_WAITALL)


def test_twin_socket(tmp_path):
    server = TwinServer(str(tmp_path / "twin"))
    machine = Machine(tmp_path, *vfio_user(server.path))
    try:
        machine.map_bars()
        for size in (4, 4096, 1 << 20):
            data = os.urandom(size)
            assert server.ask(fake.DMA_WRITE, struct.pack("<QQ", 0x400000, size) + data) == struct.pack("<QQ", 0x400000, size)
            assert server.ask(fake.DMA_READ, struct.pack("<QQ", 0x400000, size))[16:] == data
        assert machine.read(BAR0) == 0
        server.twin.close()
        assert machine.event("VFIO_USER_DISCONNECT")["reason"]
    finally:
        assert machine.close() == 0
        server.close()


# --- iothread ---


def test_iothread(serve, connect):
    """One thread looks after two sockets; it stays while one of them is there."""
    servers = serve(), serve()
    machine = connect(servers[0], "-object", "iothread,id=io0", iothread="io0")
    threads = machine.thread_count()
    assert "return" in machine.qmp("device_add", driver="vfio-user-pci", id="second", addr="5", iothread="io0",
                                   socket=servers[1].path)
    assert machine.thread_count() == threads
    machine.map_bars()
    reply = servers[0].request(fake.DMA_WRITE, struct.pack("<QQ", 0x300000, 4) + b"abcd")
    assert not reply.error and machine.memory(0x300000, 4) == b"abcd"
    machine.qmp("system_reset")
    machine.event("RESET")
    machine.map_bars()
    servers[0].pause()
    machine.qmp("system_reset")
    assert "return" in machine.qmp("query-status")
    servers[0].resume()
    machine.event("RESET")
    assert "in use" in machine.qmp("object-del", id="io0")["error"]["desc"]
    servers[1].conn.shutdown(socket.SHUT_RDWR)
    assert machine.event("VFIO_USER_DISCONNECT")["device"] == "second"
    for name in ("vd", "second"):
        assert "return" in machine.qmp("device_del", id=name)
    assert "return" in machine.qmp("object-del", id="io0")


@pytest.mark.parametrize("options", [{}, {"iothread": "io0"}])
def test_reset_of_a_silent_server_ends_with_the_time_out(serve, connect, options):
    resets = []

    def only_the_first(_, message):
        resets.append(message)
        return len(resets) == 1

    machine = connect(serve(on={fake.RESET: only_the_first}), "-object", "iothread,id=io0", **options, **{"x-msg-timeout": 1000})
    machine.map_bars()
    machine.qmp("system_reset")
    machine.event("RESET")
    assert machine.config_read(0) == 0x56781234 and len(resets) == 2


# --- boot order ---

def fw_cfg_file(machine, name):
    """A file of the firmware's configuration, by its two ports."""
    def take(size):
        return bytes(int(machine.qtest("inb 0x511"), 16) for _ in range(size))

    machine.qtest("outw 0x510 0x19")
    for _ in range(struct.unpack(">I", take(4))[0]):
        size, selector, _, found = struct.unpack(">IHH56s", take(64))
        if found.rstrip(b"\0").decode() == name:
            machine.qtest(f"outw 0x510 {selector}")
            return take(size)
    raise AssertionError(name)


def test_boot_order(serve, tmp_path):
    """Each place in the boot order is one device's, and firmware finds the order."""
    server, other = serve(), serve()
    ours = vfio_user(server.path, bootindex=4)
    error = start_fails("-device", "edu,id=e,bootindex=4", *ours)
    assert "bootindex of 'vd' is that of 'e' (4)" in error
    machine = Machine(tmp_path, *vfio_user(other.path, bootindex=4), "-device", "edu,id=e,addr=5,bootindex=3")
    lines = fw_cfg_file(machine, "bootorder").rstrip(b"\0").decode().splitlines()
    assert [line.rpartition("@")[2] for line in lines[:2]] == ["5", "4"]
    error = machine.qmp("device_add", driver="edu", id="late", bootindex=4)["error"]["desc"]
    assert "bootindex of 'late' is that of 'vd' (4)" in error
    assert "return" in machine.qmp("device_del", id="vd")
    assert "return" in machine.qmp("device_add", driver="edu", id="late", bootindex=4)
    assert machine.close() == 0
