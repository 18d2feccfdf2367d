# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP over a socket: the session, split and garbage input, clients that misbehave."""
import json
import os
import pathlib
import random
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
HELLO = b'{"execute": "qmp_capabilities"}\n'


class Session:
    """A raw connection: bytes out, JSON messages in."""

    def __init__(self, path, negotiate=True):
        deadline = time.monotonic() + 60
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(str(path))
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        self.sock.settimeout(300)
        self.file = self.sock.makefile("rb")
        self.greeting = json.loads(self.file.readline())
        if negotiate:
            assert self.exchange(HELLO) == {"return": {}}

    def message(self):
        line = self.file.readline()
        assert line, "hung up"
        return json.loads(line)

    def reply(self):
        while True:
            message = self.message()
            if "event" not in message:
                return message

    def exchange(self, data):
        self.sock.sendall(data)
        return self.reply()

    def run(self, command, **arguments):
        return self.exchange(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    def close(self):
        self.file.close()
        self.sock.close()


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    """A machine with QMP at a socket; it must end with 0 and leave no socket."""
    path = tmp_path / "qmp.sock"
    process = subprocess.Popen([BINARY, "-machine", "q35,accel=qtest", "-m", "16", "-nodefaults", "-name", "guest=tested",
                                "-qmp", f"unix:{path},server=on,wait=off"], stdin=subprocess.DEVNULL)
    yield path
    assert process.poll() is None, "the program died"
    session = Session(path)
    assert session.run("quit") == {"return": {}}
    session.close()
    assert process.wait(60) == 0
    assert not path.exists()


@pytest.fixture(name="qmp")
def qmp_fixture(path):
    session = Session(path)
    yield session
    session.close()


def error_of(reply):
    return reply["error"]["class"], reply["error"]["desc"]


def alive(session):
    return session.run("query-status")["return"]["running"] in (True, False)


def test_greeting_and_negotiation(path):
    session = Session(path, negotiate=False)
    version = session.greeting["QMP"]["version"]
    assert set(version["qemu"]) == {"major", "minor", "micro"} and version["package"]
    assert session.greeting["QMP"]["capabilities"] == []
    assert error_of(session.run("query-status")) == \
        ("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'")
    assert "error" in session.run("qmp_capabilities", enable=["oob"])
    assert session.run("qmp_capabilities") == {"return": {}}
    assert error_of(session.run("qmp_capabilities")) == \
        ("CommandNotFound", "Capabilities negotiation is already complete, command ignored")
    assert alive(session)
    session.close()


@pytest.mark.parametrize("ident", [0, -1, 2 ** 63 - 1, "x", "", None, [1, {"a": 2}], {"k": []}, True, "\u00e9\u4e2d"])
def test_id_comes_back(qmp, ident):
    reply = qmp.exchange(json.dumps({"execute": "query-name", "id": ident}).encode() + b"\n")
    assert reply["return"] == {"name": "tested"}
    assert reply.get("id") == ident
    reply = qmp.exchange(json.dumps({"execute": "no-such", "id": ident}).encode() + b"\n")
    assert reply["error"]["class"] == "CommandNotFound" and reply.get("id") == ident


def test_every_listed_command_exists(qmp):
    names = [c["name"] for c in qmp.run("query-commands")["return"]]
    assert len(names) == len(set(names))
    for wanted in ["qmp_capabilities", "query-version", "query-status", "stop", "cont", "quit", "system_reset",
                   "system_powerdown", "device_add", "device_del", "device-list-properties", "object-add", "object-del",
                   "qom-list", "qom-get", "qom-set", "query-commands", "human-monitor-command", "query-pci"]:
        assert wanted in names
    for name in names:
        if name not in ("quit", "system_reset", "system_powerdown"):
            reply = qmp.run(name)
            assert "return" in reply or reply["error"]["desc"], name
    assert alive(qmp)


def test_byte_by_byte(qmp):
    for byte in b'{"execute" : "query-name",\r\n "id"\t: 5 }':
        qmp.sock.sendall(bytes([byte]))
    assert qmp.reply() == {"return": {"name": "tested"}, "id": 5}


def test_many_in_one_write(qmp):
    qmp.sock.sendall(b"".join(b'{"execute":"query-name","id":%d}' % n for n in range(500)))
    assert [qmp.reply()["id"] for _ in range(500)] == list(range(500))


@pytest.mark.parametrize("request_text, desc", [
    ("{}", "QMP input lacks member 'execute'"),
    ("[]", "QMP input must be a JSON object"),
    ('"text"', "QMP input must be a JSON object"),
    ("12 ", "QMP input must be a JSON object"),
    ("null", "QMP input must be a JSON object"),
    ('{"execute": 1}', "QMP input member 'execute' must be a string"),
    ('{"execute": null}', "QMP input member 'execute' must be a string"),
    ('{"execute": "stop", "arguments": []}', "QMP input member 'arguments' must be an object"),
    ('{"execute": "stop", "extra": 1}', "QMP input member 'extra' is unexpected"),
    ('{"execute": "stop", "arguments": {"x": 1}}', "Parameter 'x' is unexpected"),
    ('{"execute": "device_del"}', "Parameter 'id' is missing"),
    ('{"execute": "device_del", "arguments": {"id": 3}}', "Invalid parameter type for 'id', expected: string"),
    ('{"execute": "human-monitor-command", "arguments": {"command-line": {}}}',
     "Invalid parameter type for 'command-line', expected: string"),
])
def test_malformed_requests(qmp, request_text, desc):
    assert error_of(qmp.exchange(request_text.encode() + b"\n")) == ("GenericError", desc)
    assert alive(qmp)


GARBAGE = [
    b"hello world\n", b"}{\n", b"]]]]\n", b'{"execute" "stop"}\n', b'{"execute": "stop",,}\n', b"\x00\x01\x02\n",
    b"\x7f\x80\x81\xfe\n", b'{"execute": "\xff\xfe"}\n', b'{"execute": "\xc3\x28"}\n', b'"unterminated\n',
    b'{"a": "raw \x07 bell"}\n', b"GET / HTTP/1.1\n", b"-\n", b"1e\n", b"tru\n", b"[" * 5000 + b"\n", b'{"a":' * 2000 + b"\n",
    b'{"execute": "stop"\x00}\n',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_an_error_and_no_more(qmp, garbage):
    qmp.sock.sendall(garbage + b"\n")
    assert qmp.reply()["error"]["class"] == "GenericError"
    # What follows on a line of its own is heard, after whatever else the garbage was answered with.
    qmp.sock.sendall(b'\xff{"execute": "query-name", "id": "after"}\n')
    while True:
        reply = qmp.reply()
        if reply.get("id") == "after":
            break
        assert "error" in reply
    assert reply["return"] == {"name": "tested"}


def test_reset_byte_drops_half_a_value(qmp):
    qmp.sock.sendall(b'{"execute": "sto\xff{"execute": "query-name"}\n')
    assert qmp.reply()["return"] == {"name": "tested"}


def test_random_noise(qmp):
    rng = random.Random(1)
    words = [b'{"execute":', b'"stop"', b"}", b"{", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\xff", b"null", b"1.5e9",
             b"'", b"\\u12", b"/*", b"\x00", bytes(range(128, 160))]
    for _ in range(200):
        qmp.sock.sendall(b"".join(rng.choice(words) for _ in range(rng.randrange(1, 40))))
        qmp.sock.sendall(b'\xff\n{"execute": "query-name", "id": "sync"}\n')
        while True:
            reply = qmp.reply()
            if reply.get("id") == "sync":
                assert "return" in reply
                break


def test_huge_message_is_refused(qmp):
    qmp.sock.sendall(b'{"execute": "query-name", "id": "')
    sent = 0
    while sent < 17 << 20:
        sent += qmp.sock.send(b"x" * 65536)
    assert "too large" in qmp.reply()["error"]["desc"]
    assert qmp.exchange(b'\n{"execute": "query-name"}\n')["return"] == {"name": "tested"}


def test_client_that_never_reads(path):
    """Its commands wait for it; the others are served."""
    lazy = Session(path)
    lazy.sock.settimeout(1)
    with pytest.raises(OSError):
        for _ in range(100000):
            lazy.sock.sendall(b'{"execute":"query-commands"}\n' * 100)
    # The machine still lives: its end of the socket can be closed and opened again.
    lazy.close()
    session = Session(path)
    assert alive(session)
    session.close()


def test_sessions_begin_anew(path):
    for n in range(50):
        session = Session(path, negotiate=n % 2 == 0)
        session.sock.sendall(b'{"execute": "query-na')  # left unfinished
        session.close()
    session = Session(path)
    assert alive(session)
    session.close()


def test_stop_and_cont_and_events(qmp):
    assert qmp.run("query-status")["return"]["status"] == "running"
    qmp.sock.sendall(b'{"execute": "stop"}\n{"execute": "query-status", "id": 1}\n{"execute": "cont"}\n')
    messages = [qmp.message() for _ in range(5)]
    events = [m["event"] for m in messages if "event" in m]
    assert events == ["STOP", "RESUME"]
    assert all(set(m["timestamp"]) == {"seconds", "microseconds"} for m in messages if "event" in m)
    assert [m["return"]["status"] for m in messages if m.get("id") == 1] == ["paused"]


def test_object_tree(qmp):
    root = {e["name"]: e["type"] for e in qmp.run("qom-list", path="/")["return"]}
    assert root["objects"] == "child<container>" and root["machine"].startswith("child<")
    assert qmp.run("qom-list", path="/nowhere")["error"]["class"] == "DeviceNotFound"
    assert qmp.run("object-add", **{"qom-type": "memory-backend-ram", "id": "m0", "size": 65536}) == {"return": {}}
    assert qmp.run("qom-get", path="/objects/m0", property="size") == {"return": 65536}
    assert "error" in qmp.run("qom-get", path="/objects/m0", property="nope")
    assert "error" in qmp.run("qom-set", path="/objects/m0", property="size", value=1)
    assert qmp.run("object-del", id="m0") == {"return": {}}
    assert "error" in qmp.run("object-del", id="m0")
    for bad in ["", "1x", "a b", "a/b", "..", "x" * 3, "\u00e9"]:
        reply = qmp.run("object-add", **{"qom-type": "memory-backend-ram", "id": bad, "size": 4096})
        assert ("return" in reply) == (bad == "xxx"), bad


def test_types_and_properties(qmp):
    types = {t["name"] for t in qmp.run("qom-list-types")["return"]}
    assert {"memory-backend-memfd", "memory-backend-ram"} <= types
    for name in types:
        assert isinstance(qmp.run("qom-list-properties", typename=name)["return"], list)
    devices = [t["name"] for t in qmp.run("qom-list-types", implements="device")["return"]]
    for name in devices:
        for prop in qmp.run("device-list-properties", typename=name)["return"]:
            assert prop["name"] and prop["type"]
    assert "error" in qmp.run("device-list-properties", typename="no-such")


def test_device_add_errors(qmp):
    assert "no-such" in qmp.run("device_add", driver="no-such")["error"]["desc"]
    assert qmp.run("device_del", id="nobody")["error"]["class"] == "DeviceNotFound"
    before = qmp.run("query-pci")["return"]
    for driver in [t["name"] for t in qmp.run("qom-list-types", implements="pci-device")["return"]]:
        qmp.run("device_add", driver=driver, id="d0", **{"no-such-property": 1})
    assert qmp.run("query-pci")["return"] == before


def test_human_monitor(qmp):
    for line in ["info status", "info mtree", "info mtree -f", "info pci", "info qtree", "help", "", "nonsense", "info",
                 "x" * 100000, "qom-get / x y z", "xp /0xb 0", "xp /99999999x 0", "xp", "device_add", "object_add x,y,z"]:
        assert isinstance(qmp.run("human-monitor-command", **{"command-line": line})["return"], str)
    assert "pc.ram" in qmp.run("human-monitor-command", **{"command-line": "info mtree"})["return"]


def test_block_nodes(qmp, tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(1 << 20))
    assert qmp.run("blockdev-add", driver="raw", **{"node-name": "n0", "read-only": False,
                                                    "file": {"driver": "file", "filename": str(image)}}) == {"return": {}}
    assert qmp.run("blockdev-add", driver="null-co", **{"node-name": "n1", "size": 1 << 20}) == {"return": {}}
    drives = {d["device"]: d for d in qmp.run("query-block")["return"]}
    assert drives["n0"]["inserted"]["file"] == str(image) and drives["n0"]["inserted"]["drv"] == "file"
    assert drives["n1"]["inserted"]["drv"] == "null-co"
    assert qmp.run("block_resize", **{"node-name": "n0", "size": 2 << 20}) == {"return": {}}
    assert image.stat().st_size == 2 << 20
    assert "bad size" in qmp.run("block_resize", **{"node-name": "n0", "size": 7})["error"]["desc"]
    assert "not a file" in qmp.run("block_resize", **{"node-name": "n1", "size": 512})["error"]["desc"]
    assert qmp.run("device_add", driver="nvme", id="disk", serial="s", drive="n0") == {"return": {}}
    assert "in use by disk" in qmp.run("blockdev-del", **{"node-name": "n0"})["error"]["desc"]
    assert "duplicate id" in qmp.run("blockdev-add", driver="null-co", **{"node-name": "n1"})["error"]["desc"]
    assert qmp.run("blockdev-del", **{"node-name": "n1"}) == {"return": {}}
    assert "n1" in qmp.run("blockdev-del", **{"node-name": "n1"})["error"]["desc"]
    assert "unknown option" in qmp.run("blockdev-add", driver="null-co", **{"node-name": "x", "speed": 1})["error"]["desc"]
