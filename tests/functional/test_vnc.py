# SPDX-License-Identifier: GPL-2.0-or-later
"""The VNC server: what an RFB client sees is what screendump sees, in every encoding; passwords; keys; hostile clients."""
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import time

import pytest
import rfb

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
FRAME, MMIO = 0xe0000000, 0xe1000000


class Machine:
    """A machine with a graphics card, a monitor and a VNC server at a path; with accel=qtest the test is its CPU."""

    def __init__(self, work, vnc=None, accel="qtest", *args):
        self.vnc = str(work / "vnc")
        command = [BINARY, "-machine", f"q35,accel={accel}", "-m", "64", "-nodefaults", "-vga", "std", "-vnc", vnc or f"unix:{self.vnc}",
                   "-qmp", f"unix:{work}/qmp,server=on,wait=off", *args]
        if accel == "qtest":
            command += ["-qtest", f"unix:{work}/qtest,server=on,wait=off"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.work, self.events = work, []
        self.qmp = self.connect("qmp")
        self.qmp.readline()
        self.run("qmp_capabilities")
        self.qtest = self.connect("qtest") if accel == "qtest" else None

    def connect(self, name):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(300)
        while sock.connect_ex(str(self.work / name)):
            assert self.process.poll() is None
            time.sleep(0.01)
        return sock.makefile("rw")

    def execute(self, name, **arguments):
        self.qmp.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.qmp.flush()
        while True:
            answer = json.loads(self.qmp.readline())
            if "event" not in answer:
                return answer
            self.events.append(answer["event"])

    def run(self, name, **arguments):
        answer = self.execute(name, **arguments)
        assert "return" in answer, answer
        return answer["return"]

    def hmp(self, line):
        return self.run("human-monitor-command", **{"command-line": line})

    def bus(self, *words):
        self.qtest.write(" ".join(hex(w) if isinstance(w, int) else w for w in words) + "\n")
        self.qtest.flush()
        answer = self.qtest.readline()
        assert answer.startswith("OK"), answer
        return int(answer.split()[1], 16) if " " in answer else None

    def config(self, at, value):
        self.bus("outl", 0xcf8, 0x80000800 | at)
        self.bus("outl", 0xcfc, value)

    def start_card(self):
        self.config(0x10, FRAME)
        self.config(0x18, MMIO)
        self.config(0x04, 7)

    def mode(self, width, height):
        for index, value in ((4, 0), (1, width), (2, height), (3, 32), (4, 0x41)):
            self.bus("writew", MMIO + 0x500 + 2 * index, value)
        self.bus("outb", 0x3c0, 0x20)

    def draw(self, at, data):
        self.bus("write", FRAME + at, len(data), "0x" + data.hex())

    def dump(self):
        path = self.work / "screen.ppm"
        self.run("screendump", filename=str(path))
        _, size, _, pixels = path.read_bytes().split(b"\n", 3)
        return tuple(map(int, size.split())), pixels

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])  # KiB

    def close(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(name="machine")
def machine_fixture(tmp_path):
    started = []

    def start(*args):
        started.append(Machine(tmp_path, *args))
        return started[-1]

    yield start
    for machine in started:
        machine.close()


def picture(seed, width, height):
    """Areas of one colour, of two, of some, and noise: what the encodings tell apart."""
    rng = random.Random(seed)
    lines = []
    for y in range(height):
        band = 4 * y // height
        colours = [0x102030, 0xf0e0d0] if band == 1 else [rng.randrange(1 << 24) for _ in range(2000)] if band == 3 else [0x0000aa * k for k in range(9)]
        lines.append(b"".join(struct.pack("<I", 0x334455 if band == 0 else rng.choice(colours)) for x in range(width)))
    return b"".join(lines)


def near(a, b, tolerance):
    return len(a) == len(b) and (a == b if not tolerance else max(abs(x - y) for x, y in zip(a, b)) <= tolerance)


@pytest.mark.parametrize("encoding", [rfb.RAW, rfb.ZLIB, rfb.TIGHT])
def test_client_sees_what_screendump_sees(machine, encoding):
    m = machine()
    m.start_card()
    m.mode(320, 200)
    m.draw(0, picture(1, 320, 200))
    for version in (3, 7, 8):
        client = rfb.Client(m.vnc, version)
        client.set_encodings(encoding, rfb.DESKTOP_SIZE)
        for fmt, tolerance in ((rfb.FORMAT_32, 0), (rfb.FORMAT_16, 5), (rfb.FORMAT_8, 43), (rfb.FORMAT_MAP, 43)):
            client.set_format(fmt)
            assert near(client.whole(), m.dump()[1], tolerance), fmt
            assert {r[4] for r in client.rects} == {encoding}
        client.close()


@pytest.mark.parametrize("encoding", [rfb.RAW, rfb.ZLIB, rfb.TIGHT])
def test_only_changes_are_sent(machine, encoding):
    m = machine()
    m.start_card()
    m.mode(640, 480)
    client, other = rfb.Client(m.vnc), rfb.Client(m.vnc)
    for c in (client, other):
        c.set_encodings(encoding)
        c.whole()
    rng = random.Random(encoding)
    for _ in range(20):
        x, y = rng.randrange(600), rng.randrange(480)
        client.request(incremental=True)
        m.draw(4 * (640 * y + x), bytes([rng.randrange(1, 255) | 1, 7, rng.randrange(256), 0]) * 30)
        while True:  # what one draws the server may see in two pieces
            rects = client.update()
            assert all(r[1] in (y, y + 1) and r[3] <= 2 for r in rects)
            if bytes(client.pixels) == m.dump()[1]:
                break
            client.request(incremental=True)
    assert other.whole() == m.dump()[1]
    other.request(area=(600, 400, 40, 80))
    assert all(r[0] >= 600 and r[1] >= 400 for r in other.update())


def test_resize(machine):
    m = machine()
    m.start_card()
    m.mode(640, 480)
    knows, old = rfb.Client(m.vnc), rfb.Client(m.vnc)
    knows.set_encodings(rfb.TIGHT, rfb.DESKTOP_SIZE)
    old.set_encodings(rfb.ZLIB)
    for width, height in ((800, 600), (64, 32), (2560, 1600), (640, 480)):
        knows.request(incremental=True)
        m.mode(width, height)
        m.draw(0, bytes([width & 255, 9, 99, 0]) * 500)
        while (knows.width, knows.height) != (width, height):
            knows.update()
            knows.request(incremental=True)
        knows.update()
        assert knows.whole() == m.dump()[1] and m.dump()[0] == (width, height)
        seen = old.whole()  # that client keeps its size: it sees a part, or black around
        assert len(seen) == 3 * 640 * 480 and seen[:3 * min(width, 500)] == m.dump()[1][:3 * min(width, 500)]


def test_passwords(machine, tmp_path):
    m = machine(f"unix:{tmp_path}/vnc,password=on")
    for version in (3, 8):
        with pytest.raises((rfb.Refused, EOFError)):  # none is set yet
            rfb.Client(m.vnc, version, password="")
    m.run("set_password", protocol="vnc", password="mill-wheel")
    for version in (3, 7, 8):
        assert rfb.Client(m.vnc, version, password="mill-whe").name == "mpqemu"
        with pytest.raises((rfb.Refused, EOFError)):
            rfb.Client(m.vnc, version, password="mill-whx")
    m.run("change-vnc-password", password="x")
    rfb.Client(m.vnc, password="x").whole()
    m.run("expire_password", protocol="vnc", time="now")
    with pytest.raises(rfb.Refused):
        rfb.Client(m.vnc, password="x")
    assert m.hmp("expire_password vnc +1000") == ""
    rfb.Client(m.vnc, password="x")
    assert "error" in m.execute("set_password", protocol="spice", password="x")
    assert "error" in m.execute("expire_password", protocol="vnc", time="soon")
    assert m.run("query-vnc")["auth"] == "vnc"


def test_clients_and_events(machine, tmp_path):
    m = machine(":77,to=99")
    info = m.run("query-vnc")
    assert info["enabled"] and info["clients"] == [] and 5977 <= int(info["service"]) <= 5999
    address = ("127.0.0.1", int(info["service"]))
    clients = [rfb.Client(address) for _ in range(3)]
    assert len(m.run("query-vnc")["clients"]) == 3 and m.hmp("info vnc").count("Client: 127.0.0.1:") == 3
    alone = rfb.Client(address, shared=False)
    with pytest.raises(EOFError):
        clients[0].take(1)
    assert alone.whole()
    assert len(m.run("query-vnc")["clients"]) == 1
    alone.close()
    while m.run("query-vnc")["clients"] or m.events.count("VNC_DISCONNECTED") < 4:
        time.sleep(0.01)
    assert [m.events.count(f"VNC_{what}") for what in ("CONNECTED", "INITIALIZED", "DISCONNECTED")] == [4, 4, 4]
    second = subprocess.run([BINARY, "-accel", "qtest", "-nodefaults", "-vnc", f":{int(info['service']) - 5900}"], capture_output=True, text=True, check=False)
    assert second.returncode == 1 and "cannot listen" in second.stderr


@pytest.mark.parametrize("args, words", [
    (["-vnc", "5900"], "bad address"), (["-vnc", ":x"], "bad display"), (["-vnc", ":70000"], "bad display"), (["-vnc", ":3,to=2"], "bad to="),
    (["-vnc", ":1,password=secret"], "bad password="), (["-vnc", ":1,websocket=on"], "unknown option 'websocket'"),
    (["-vnc", "unix:"], "bad length"), (["-vnc", "unix:/nonexistent/x"], "cannot listen"), (["-vnc", ":1,display=none"], "not found"),
    (["-display", "gtk"], "no such display"), (["-display", "vnc"], "no such display"), (["-display", "vnc=x"], "bad address")])
def test_wrong_options(args, words):
    done = subprocess.run([BINARY, "-accel", "qtest", "-nodefaults", *args], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_display_option_and_none(machine, tmp_path):
    m = machine("none", "qtest", "-display", f"vnc=unix:{tmp_path}/vnc")
    assert len(rfb.Client(m.vnc).whole()) == 3 * 640 * 480
    m.close()
    assert subprocess.run([BINARY, "-accel", "qtest", "-nodefaults", "-vnc", "none", "-qmp", "stdio"], text=True, capture_output=True, check=True,
                          input='{"execute":"qmp_capabilities"}\n{"execute":"query-vnc"}\n{"execute":"quit"}\n').stdout.count('"enabled":false') == 1


# --- keys and pointer ---

def text_of(m):
    """The characters on the VGA's text screen, from the guest's memory."""
    words = [int(w, 16) for line in m.hmp("xp /2000hx 0xb8000").splitlines() for w in line.split(":")[1].split()]
    return "".join(chr(w & 255) if 32 <= w & 255 < 127 else " " for w in words)


# The sixteen colours of text modes as SeaBIOS loads them.
COLOURS = [bytes((0xaa * (n >> 2 & 1), 0x55 if n == 6 else 0xaa * (n >> 1 & 1), 0xaa * (n & 1))) if n < 8 else
           bytes((0x55 + 0xaa * (n >> 2 & 1), 0x55 + 0xaa * (n >> 1 & 1), 0x55 + 0xaa * (n & 1))) for n in range(16)]


def guest_bytes(m, address, count):
    return bytes(int(w, 16) for line in m.hmp(f"xp /{count}xb {address:#x}").splitlines() for w in line.split(":")[1].split())


def check_text_screen(m):
    """The picture of 80 x 25 characters, each 9 x 16, is what the text memory, the BIOS's font (vector 43h) and its colours make."""
    offset, segment = struct.unpack("<HH", guest_bytes(m, 0x10c, 4))
    font, pixels, text = guest_bytes(m, 16 * segment + offset, 4096), b"", None
    while text != (text := guest_bytes(m, 0xb8000, 4000) + guest_bytes(m, 0x450, 2)):  # the BIOS may still write
        pixels = m.dump()[1]
    cells, (column, row) = text[:4000], text[4000:]
    assert len(set(cells[::2])) > 20
    for at in range(2000):
        char, attribute = cells[2 * at], cells[2 * at + 1]
        x, y, at_cursor = at % 80 * 9, at // 80 * 16, at == 80 * row + column
        for line in range(13 if at_cursor else 16):
            bits = font[16 * char + line] << 1 | (font[16 * char + line] & 1 if 0xc0 <= char < 0xe0 else 0)
            want = b"".join(COLOURS[attribute & 15 if bits >> 8 - n & 1 else attribute >> 4] for n in range(9))
            assert pixels[3 * (720 * (y + line) + x):3 * (720 * (y + line) + x + 9)] == want, (at % 80, at // 80, line, chr(char))


def wait_for_text(m, words):
    while words not in text_of(m):
        assert m.process.poll() is None
        time.sleep(0.05)
    return text_of(m)


@pytest.mark.parametrize("how", ["vnc", "extended", "send-key", "sendkey", "input-send-event"])
def test_boot_menu_by_keys(machine, tmp_path, how):
    """Esc opens SeaBIOS's menu, 1 chooses."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    m = machine(None, "tcg", "-boot", "menu=on,splash-time=60000", "-drive", f"id=d0,file={tmp_path}/disk,format=raw,if=none", "-device",
                "virtio-blk-pci,drive=d0")
    client = rfb.Client(m.vnc)
    client.set_encodings(rfb.TIGHT, rfb.DESKTOP_SIZE, *([rfb.EXTENDED_KEY] if how == "extended" else []))

    def press(name, keysym, number):
        if how == "vnc":
            client.key(keysym)
        elif how == "extended":
            for down in (1, 0):
                client.send(struct.pack(">BBHII", 255, 0, down, 0, number))
        elif how == "sendkey":
            assert m.hmp(f"sendkey {name}") == ""
        elif how == "send-key":
            m.run("send-key", keys=[{"type": "qcode", "data": name}])
        else:
            for down in (True, False):
                m.run("input-send-event", events=[{"type": "key", "data": {"down": down, "key": {"type": "number", "data": number}}}])

    wait_for_text(m, "Press ESC for boot menu")
    press("esc", 0xff1b, 1)
    wait_for_text(m, "Select boot device:")
    wait_for_text(m, "1. Virtio disk")
    if how == "extended":
        client.whole()
        client.request(incremental=True)
    (width, height), pixels = m.dump()
    client.whole()
    assert (client.width, client.height) == (width, height) == (720, 400)
    assert client.whole() == pixels == m.dump()[1]
    check_text_screen(m)
    press("1", ord("1"), 2)
    wait_for_text(m, "Booting from")


def test_pointer_moves_the_mouse(machine):
    """Where the guest has a PS/2 mouse (8042: the auxiliary device), as movements from where the pointer was; upwards is positive."""
    m = machine()

    def mouse():
        while m.bus("inb", 0x64) & 0x21 != 0x21:
            time.sleep(0.01)
        return m.bus("inb", 0x60)

    m.bus("outb", 0x64, 0xa8)
    m.bus("outb", 0x64, 0xd4)
    m.bus("outb", 0x60, 0xf4)
    assert mouse() == 0xfa
    client = rfb.Client(m.vnc)
    client.pointer(100, 100)
    client.pointer(105, 102, buttons=1)
    assert [mouse() for _ in range(3)] == [0x29, 5, 0xfe]
    client.pointer(95, 110, buttons=1)
    assert [mouse() for _ in range(3)] == [0x39, 0xf6, 0xf8]
    client.pointer(95, 110)
    assert [mouse() for _ in range(3)] == [0x08, 0, 0]


def test_wrong_keys(machine):
    m = machine()
    for name, arguments in (("send-key", {"keys": []}), ("send-key", {"keys": [{"type": "qcode", "data": "nokey"}]}),
                            ("send-key", {"keys": [{"type": "qcode", "data": "a"}] * 17}), ("send-key", {"keys": ["a"]}),
                            ("send-key", {"keys": [{"type": "number", "data": 1000}]}),
                            ("send-key", {"keys": [{"type": "qcode", "data": "a"}], "hold-time": 0}),
                            ("input-send-event", {"events": [{"type": "key", "data": {"down": True}}]}),
                            ("input-send-event", {"events": [{"type": "btn", "data": {"down": True, "button": "x"}}]}),
                            ("input-send-event", {"events": [{"type": "abs", "data": {"axis": "x", "value": 1}}]}),
                            ("input-send-event", {"events": [{"type": "rel", "data": {"axis": "z", "value": 1}}]}),
                            ("input-send-event", {"events": [7]})):
        assert "error" in m.execute(name, **arguments), (name, arguments)
    m.run("input-send-event", events=[{"type": "rel", "data": {"axis": "x", "value": 1}}, {"type": "btn", "data": {"down": True, "button": "left"}}])
    assert "no key" in m.hmp("sendkey ctrl-nokey") and m.hmp("sendkey ctrl-alt-delete 10") == m.hmp("sendkey 0x1e") == ""


# --- hostile clients ---

def test_silent_and_slow_clients(machine):
    """Those who say nothing, or ask and do not read: they cost little, and others are served."""
    m = machine()
    m.start_card()
    m.mode(1280, 1024)
    m.draw(0, random.Random(5).randbytes(1 << 16))
    good = rfb.Client(m.vnc)
    good.whole()
    before = m.memory()
    silent = [socket.socket(socket.AF_UNIX) for _ in range(15)]
    for sock in silent:
        sock.connect(m.vnc)
    deaf = []
    for _ in range(10):
        client = rfb.Client(m.vnc)
        client.set_encodings(rfb.RAW)
        client.sock.setblocking(False)
        deaf.append(client)
        try:
            for _ in range(20000):
                client.request()
                client.set_format(rfb.FORMAT_MAP)
        except BlockingIOError:
            pass
    assert good.whole() == m.dump()[1]
    assert m.memory() - before < 64 << 10
    # More than it takes are turned away.
    many = [socket.socket(socket.AF_UNIX) for _ in range(10)]
    for sock in many:
        sock.connect(m.vnc)
        sock.settimeout(300)
    assert b"" in [sock.recv(12) for sock in many]
    for client in deaf:
        client.close()
    # The silent ones are given ten seconds.
    silent[0].settimeout(300)
    assert silent[0].recv(12) == b"RFB 003.008\n" and silent[0].recv(1) == b""
    assert good.whole() == m.dump()[1]


def test_nonsense(machine):
    """Random bytes at each stage of the protocol, and messages that say too much."""
    m = machine()
    m.start_card()
    m.mode(64, 48)
    rng = random.Random(11)
    good = rfb.Client(m.vnc)
    for round_number in range(150):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(m.vnc)
        try:
            sock.sendall([b"", b"RFB 003.008\n", b"RFB 003.003\n", b"RFB 003.008\n\x01\x01", b"RFB 003.003\n\x01"][round_number % 5] +
                         rng.randbytes(rng.randrange(1, 400)))
        except OSError:
            pass
        sock.close()
        if round_number % 10 == 0:
            assert good.whole() == m.dump()[1]
    for message in (struct.pack(">BxH", 2, 65535) + bytes(4 * 65535), struct.pack(">BxxxI", 6, 1 << 20) + bytes(1 << 20),
                    struct.pack(">BBHHHH", 3, 0, 65535, 65535, 65535, 65535), struct.pack(">BBHHHH", 3, 1, 0, 0, 65535, 65535),
                    struct.pack(">BBHH", 5, 255, 65535, 65535), struct.pack(">BBxxI", 4, 7, 0xffffffff),
                    struct.pack(">BBHII", 255, 0, 9, 0xffffffff, 0xffffffff)):
        client = rfb.Client(m.vnc)
        client.send(message)
        assert client.whole() == m.dump()[1]
        client.close()
    for fmt in ((7,) + rfb.FORMAT_32[1:], (32, 24, 0, 0) + rfb.FORMAT_32[4:], (32, 24, 0, 1, 65535, 255, 255, 31, 8, 0), (8, 8, 0, 1, 0, 7, 3, 0, 3, 6)):
        client = rfb.Client(m.vnc)
        client.set_format(fmt)
        with pytest.raises((EOFError, ConnectionResetError, BrokenPipeError)):
            client.whole()
    assert good.whole() == m.dump()[1]
    m.run("quit")
    assert m.process.wait() == 0
