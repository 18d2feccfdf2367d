# SPDX-License-Identifier: GPL-2.0-or-later
"""Every back end of character devices, under a serial port that the test drives, and under monitors."""
import base64
import json
import os
import pathlib
import pty
import socket
import sys
import time

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "split")]
import machine  # noqa: E402
from test_cli import QTEST, fails, run  # noqa: E402
from test_options import start_fixture  # noqa: E402,F401  pylint: disable=unused-import

LSR, FCR, DATA = 0x3fd, 0x3fa, 0x3f8
IAC, BREAK = 255, 243
LIMIT = 300


def put(vm, data):
    for byte in data:
        vm.qtest(f"outb {DATA:#x} {byte}")


def get(vm, count):
    """What comes in at the port."""
    deadline = time.monotonic() + LIMIT
    data = b""
    while len(data) < count:
        assert time.monotonic() < deadline, data
        if int(vm.qtest(f"inb {LSR:#x}"), 16) & 1:
            data += bytes([int(vm.qtest(f"inb {DATA:#x}"), 16)])
    return data


def receive(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        assert more, data
        data += more
    return data


def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(machine.START_TIMEOUT)
    sock.connect(str(path))
    return sock


def listen(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(machine.START_TIMEOUT)
    sock.bind(str(path))
    sock.listen(1)
    return sock


def port_of(vm, chardev):
    """The port number a server got that asked for any."""
    for line in open(f"/proc/{vm.process.pid}/net/tcp", encoding="ascii").readlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in [os.readlink(f"/proc/{vm.process.pid}/fd/{fd}")
                                                          for fd in os.listdir(f"/proc/{vm.process.pid}/fd")]:
            return int(words[1].split(":")[1], 16)
    raise AssertionError(chardev)


def filename(vm, label):
    return next(c["filename"] for c in vm.qmp("query-chardev")["return"] if c["label"] == label)


def test_pty(start):
    vm = start("-serial", "pty")
    put(vm, b"nobody listens yet")
    assert not int(vm.qtest(f"inb {LSR:#x}"), 16) & 1  # it is no terminal that echoes
    fd = os.open(filename(vm, "serial0").removeprefix("pty:"), os.O_RDWR | os.O_NOCTTY)
    put(vm, b"from the guest")
    text, said = b"", b"nobody listens yetfrom the guest"
    while len(text) < len(said):
        text += os.read(fd, len(said))
    assert text == said
    os.write(fd, b"to the guest")
    assert get(vm, 12) == b"to the guest"
    os.close(fd)


def test_file_and_pipe(start, tmp_path):
    for end in ("in", "out"):
        os.mkfifo(tmp_path / f"p.{end}")
    (tmp_path / "more").write_bytes(b"before ")
    vm = start("-serial", f"pipe:{tmp_path}/p", "-chardev", f"file,id=f,path={tmp_path}/more,append=on,mux=on", "-serial", "chardev:f")
    with open(tmp_path / "p.in", "wb") as far, open(tmp_path / "p.out", "rb") as near:
        far.write(b"in")
        far.flush()
        assert get(vm, 2) == b"in"
        put(vm, b"out")
        assert near.read(3) == b"out"
    for byte in b"after":
        vm.qtest(f"outb 0x2f8 {byte}")
    assert (tmp_path / "more").read_bytes() == b"before after"


def test_null(start):
    vm = start("-serial", "null")
    put(vm, b"nowhere")
    assert not int(vm.qtest(f"inb {LSR:#x}"), 16) & 1
    assert filename(vm, "serial0") == "null"


def test_ringbuf(start):
    vm = start("-chardev", "ringbuf,id=r,size=8", "-serial", "chardev:r")
    put(vm, b"0123456789ab")
    assert vm.qmp("ringbuf-read", device="r", size=3)["return"] == "456"
    assert vm.qmp("ringbuf-write", device="r", data="xyz")["return"] == {}
    assert vm.qmp("ringbuf-read", device="r", size=100, format="utf8")["return"] == "789abxyz"
    assert vm.qmp("ringbuf-write", device="r", data=base64.b64encode(b"\xff\x00").decode(), format="base64")["return"] == {}
    assert base64.b64decode(vm.qmp("ringbuf-read", device="r", size=9, format="base64")["return"]) == b"\xff\x00"
    assert vm.qmp("ringbuf-read", device="r", size=1)["return"] == ""
    for bad in ({"device": "r", "size": 0}, {"device": "r", "size": -1}, {"device": "none", "size": 1},
                {"device": "r", "size": 1, "format": "rot13"}, {"device": "compat_monitor0", "size": 1}):
        assert vm.qmp("ringbuf-read", **bad)["error"]["class"] == "GenericError"
    assert vm.qmp("human-monitor-command", **{"command-line": "ringbuf_write r hello"})["return"] == ""
    assert vm.qmp("human-monitor-command", **{"command-line": "ringbuf_read r 5"})["return"] == "hello\n"


def test_unix_server_and_its_next_client(start, tmp_path):
    vm = start("-serial", f"unix:{tmp_path}/s,server=on,wait=off")
    for _ in range(3):
        with connect(tmp_path / "s") as far:
            far.sendall(b"ping")
            assert get(vm, 4) == b"ping"
            put(vm, b"pong")
            assert receive(far, 4) == b"pong"


def test_tcp_client(start):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        vm = start("-serial", f"tcp:127.0.0.1:{listener.getsockname()[1]}")
        far, _ = listener.accept()
    with far:
        far.settimeout(machine.START_TIMEOUT)
        put(vm, b"\xff\x00")
        assert receive(far, 2) == b"\xff\x00"


def test_telnet(start):
    vm = start("-serial", "telnet:127.0.0.1:0,server=on,wait=off")
    with socket.create_connection(("127.0.0.1", port_of(vm, "serial0")), machine.START_TIMEOUT) as far:
        assert receive(far, 12) == bytes([IAC, 251, 1, IAC, 251, 3, IAC, 251, 0, IAC, 253, 0])
        far.sendall(bytes([IAC, 253, 1, ord("a"), IAC, IAC, IAC, 250, 24, 1, IAC, 240, ord("b")]))
        far.sendall(bytes([IAC]))
        far.sendall(bytes([252, 3, ord("c"), IAC, 241, ord("d")]))
        assert get(vm, 5) == b"a\xffbcd"
        put(vm, b"x\xffy")
        assert receive(far, 4) == b"x\xff\xffy"
        far.sendall(bytes([IAC, BREAK]))
        deadline = time.monotonic() + LIMIT
        while not int(vm.qtest(f"inb {LSR:#x}"), 16) & 0x10:  # break interrupt
            assert time.monotonic() < deadline


def test_monitor_over_telnet(start):
    vm = start("-chardev", "socket,id=m,host=127.0.0.1,port=0,server=on,wait=off,telnet=on", "-mon", "m")
    with socket.create_connection(("127.0.0.1", port_of(vm, "m")), machine.START_TIMEOUT) as far:
        far.sendall(b"info version\r\n")
        text = b""
        while b"QMP" not in text:
            text += far.recv(4096)


def test_reconnect(start, tmp_path):
    """Nobody is there at first, and the server goes away and comes again."""
    vm = start("-chardev", f"socket,id=c,path={tmp_path}/r,reconnect=1", "-serial", "chardev:c")
    for n in range(2):
        listener = listen(tmp_path / "r")
        far, _ = listener.accept()
        far.settimeout(machine.START_TIMEOUT)
        far.sendall(b"%d" % n)
        assert get(vm, 1) == b"%d" % n
        put(vm, b"ok")
        assert receive(far, 2) == b"ok"
        far.close()
        listener.close()
        os.unlink(tmp_path / "r")


def test_qmp_over_a_client_that_reconnects(start, tmp_path):
    listener = listen(tmp_path / "q")
    start("-chardev", f"socket,id=c,path={tmp_path}/q,reconnect=1", "-mon", "c,mode=control")
    for _ in range(2):
        far, _ = listener.accept()
        far.settimeout(machine.START_TIMEOUT)
        assert "QMP" in json.loads(far.makefile().readline())
        far.close()


def test_logfile(start, tmp_path):
    (tmp_path / "log").write_bytes(b"old ")
    vm = start("-chardev", f"ringbuf,id=r,logfile={tmp_path}/log,logappend=on", "-serial", "chardev:r",
               "-chardev", f"null,id=n,logfile={tmp_path}/log2", "-serial", "chardev:n")
    put(vm, b"new")
    vm.qtest("outb 0x2f8 0x41")
    assert (tmp_path / "log").read_bytes() == b"old new"
    assert (tmp_path / "log2").read_bytes() == b"A"


def test_mux_of_a_port_and_two_monitors(start, tmp_path):
    vm = start("-chardev", f"socket,id=c,path={tmp_path}/m,server=on,wait=off,mux=on", "-serial", "chardev:c", "-mon", "c")
    with connect(tmp_path / "m") as far:
        far.sendall(b"port")
        assert get(vm, 4) == b"port"
        far.sendall(b"\x01cinfo version\r\x01cmore")
        text = b""
        while b"QMP" not in text:
            text += far.recv(4096)
        assert get(vm, 4) == b"more"
        far.sendall(b"\x01\x01")
        assert get(vm, 1) == b"\x01"


def test_keys_of_a_mux_while_the_guest_stands(start, tmp_path):
    """The port takes nothing then; the way to the monitor is open, and what was typed before it comes in later."""
    vm = start("-chardev", f"socket,id=c,path={tmp_path}/m,server=on,wait=off,mux=on", "-serial", "chardev:c", "-mon", "c")
    with connect(tmp_path / "m") as far:
        vm.qmp("stop")
        far.sendall(b"first, ten and more\x01cinfo status\r")
        text = b""
        while b"VM status: paused" not in text:
            text += far.recv(4096)
        assert int(vm.qtest(f"inb {LSR:#x}"), 16) & 1 == 0
        far.sendall(b"cont\r\x01c, then")
        vm.qtest(f"outb {FCR:#x} 1")
        assert get(vm, 25) == b"first, ten and more, then"


def test_plugging_character_devices(start, tmp_path):
    vm = start()
    backends = [b["name"] for b in vm.qmp("query-chardev-backends")["return"]]
    assert {"null", "pty", "file", "pipe", "ringbuf", "socket", "stdio", "fd"} <= set(backends)
    sock = {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": str(tmp_path / "a")}}, "server": True, "wait": False}}
    for ident, backend in [("a", sock), ("b", {"type": "ringbuf", "data": {"size": 16}}), ("c", {"type": "null", "data": {}}),
                           ("d", {"type": "file", "data": {"out": str(tmp_path / "d")}})]:
        assert vm.qmp("chardev-add", id=ident, backend=backend)["return"] == {}
    assert vm.qmp("chardev-add", id="p", backend={"type": "pty", "data": {}})["return"]["pty"].startswith("/dev/pts/")
    assert (tmp_path / "a").exists() and (tmp_path / "d").exists()
    assert "return" in vm.qmp("device_add", driver="pci-serial", id="s", chardev="a", addr="5")
    assert "busy" in vm.qmp("chardev-remove", id="a")["error"]["desc"]
    for ident in "bcdp":
        assert vm.qmp("chardev-remove", id=ident)["return"] == {}
    for name, more in [("chardev-remove", {}), ("chardev-send-break", {})]:
        assert vm.qmp(name, id="nobody", **more)["error"]["class"] == "GenericError"
    for backend in ({"type": "tape"}, {"type": "file", "data": {}}, {}, {"type": 1}, {"type": "ringbuf", "data": {"size": 3}}):
        assert "error" in vm.qmp("chardev-add", id="x", backend=backend)
    assert vm.qmp("chardev-send-break", id="a")["return"] == {}


@pytest.mark.parametrize("text, words", [
    ("ringbuf,id=c,size=12", ["-chardev", "power of two"]), ("ringbuf,id=c,size=x", ["-chardev", "size"]),
    ("ringbuf,id=c,size=4G", ["-chardev", "4294967296"]),
    ("socket,id=c,path=s,server=on,reconnect=1", ["-chardev", "reconnect"]), ("socket,id=c,path=s,reconnect=soon", ["-chardev", "soon"]),
    ("socket,id=c,path=s,telnet=maybe", ["-chardev", "telnet"]), ("null,id=c,logfile=/no/such/dir/f", ["-chardev", "/no/such/dir/f"]),
    ("null,id=c,logfile=l,logappend=2", ["-chardev", "logappend"]),
])
def test_one_clear_line(text, words, tmp_path):
    line = fails(*QTEST, "-chardev", text, cwd=tmp_path)
    for word in words:
        assert word in line, line


def test_help_lists_the_back_ends():
    done = run("-chardev", "help")
    assert done.returncode == 0
    for name in ("null", "pty", "ringbuf", "socket"):
        assert f"\n  {name} " in done.stdout


MONITOR_ENDS = {"pty": "pty", "pipe": "pipe,path={tmp}/p", "unix": "socket,path={tmp}/s,server=on,wait=off",
                "tcp": "socket,host=127.0.0.1,port=0,server=on,wait=off", "telnet": "socket,host=127.0.0.1,port=0,server=on,wait=off,telnet=on"}


def far_end(kind, vm, tmp):
    """Files to write to and to read from what the monitor has."""
    if kind == "pipe":
        return open(tmp / "p.in", "wb", buffering=0), open(tmp / "p.out", "rb", buffering=0)
    if kind == "pty":
        far = open(os.open(filename(vm, "m").removeprefix("pty:"), os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0)
        return far, far
    if kind == "unix":
        far = connect(tmp / "s")
    else:
        far = socket.create_connection(("127.0.0.1", port_of(vm, "m")), machine.START_TIMEOUT)
    stream = far.makefile("rwb", buffering=0)
    far.close()
    return stream, stream


def read_until(stream, words):
    text = b""
    while words not in text:
        more = stream.read(4096)
        assert more, text
        text += more
    return text


@pytest.mark.parametrize("kind", MONITOR_ENDS)
@pytest.mark.parametrize("mode", ["control", "readline"])
def test_monitor_over(start, tmp_path, kind, mode):
    """Both monitors by each device that has a far end, all they say in its log."""
    for end in ("in", "out") if kind == "pipe" else ():
        os.mkfifo(tmp_path / f"p.{end}")
    vm = start("-chardev", MONITOR_ENDS[kind].format(tmp=tmp_path) + f",id=m,logfile={tmp_path}/log", "-mon", f"m,mode={mode}")
    put_to, take_from = far_end(kind, vm, tmp_path)
    if mode == "control":
        put_to.write(b'{"execute": "qmp_capabilities"}\n{"execute": "query-name", "id": 7}\n')
        read_until(take_from, b'"id":7')
    else:
        put_to.write(b"info version\r")
        read_until(take_from, b"QMP 7.2.0")
    assert (b'"id":7' if mode == "control" else b"QMP 7.2.0") in (tmp_path / "log").read_bytes()
    put_to.close()
    take_from.close()


@pytest.mark.parametrize("mode, words", [("control", '{"QMP"'), ("readline", "(qemu) ")])
def test_monitor_that_nobody_answers(start, tmp_path, mode, words):
    """It greets a file and a ring buffer; nothing is wrong with null."""
    vm = start("-chardev", f"file,id=f,path={tmp_path}/f", "-chardev", "ringbuf,id=r,size=4096", "-chardev", "null,id=n",
               *(arg for name in "frn" for arg in ("-mon", f"{name},mode={mode}")))
    assert words in (tmp_path / "f").read_text()
    assert words in vm.qmp("ringbuf-read", device="r", size=4096)["return"]


@pytest.mark.parametrize("option, said, words", [
    ("-qmp", '{"execute": "qmp_capabilities"}\n{"execute": "quit", "id": 7}\n', '"id":7'), ("-monitor", "info version\nquit\n", "QMP 7.2.0")])
def test_monitor_over_stdio(option, said, words):
    done = run(*QTEST, option, "stdio", said=said)
    assert done.returncode == 0 and words in done.stdout, done
