# SPDX-License-Identifier: GPL-2.0-or-later
"""The command lines and commands of docs/system/multi-process.md that start a server, run as they are printed (with
paths of the test, and a free port)."""
import json
import pathlib
import re
import shlex
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import BINARY, CONFIG, PATIENCE, ROOT, RemoteServer, attach, until  # noqa: E402
from vfio_user import Client  # noqa: E402

TEXT = (ROOT / "docs/system/multi-process.md").read_text(encoding="utf-8")
BLOCKS = [" ".join(block.replace("\\\n", " ").split()) for block in
          re.findall(r"^    (qemu-system-x86_64 -machine x-remote(?:.*\\\n)*.*)$", TEXT, re.M)]
PROPERTIES = re.findall(r"^\| `([a-z-]+)`", TEXT[TEXT.index("## The server's object"):TEXT.index("Every way to listen")], re.M)


def connect(words):
    port = re.search(r"port=(\d+)", words)
    path = re.search(r"(?:socket\.)?path=([^, ]+)", words)
    if port:
        return Client(fd=socket.create_connection(("127.0.0.1", int(port[1]))).detach())
    return Client(path[1])


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_command_line(tmp_path, number):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(tmp_path / "disk.img", "wb") as disk:
        disk.truncate(1 << 20)
    words = BLOCKS[number].replace("/tmp/", f"{tmp_path}/").replace("port=5555", f"port={port}")
    words = words.replace("file=disk.img", f"file={tmp_path}/disk.img")
    server = subprocess.Popen([BINARY, *shlex.split(words)[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    found = []

    def connected():
        assert server.poll() is None
        try:
            found.append(connect(words))
        except OSError:
            return False
        return True

    until(connected, "listening")
    found[0].negotiate()
    assert found[0].read(CONFIG, 0, 2) in (b"\x34\x12", b"\x36\x1b")
    found[0].close()
    if "auto-shutdown=off" in words:
        server.terminate()
    assert server.wait(PATIENCE) == 0


def test_commands(tmp_path):
    server = RemoteServer(tmp_path)
    commands = [json.loads(line) for line in re.findall(r'^    (\{"execute".*\})$', TEXT, re.M)]
    assert [c["execute"] for c in commands] == ["device_add", "object-add", "object-del", "device_del"]
    for command in commands:
        arguments = {k: v.replace("/tmp/", f"{tmp_path}/") for k, v in command["arguments"].items()}
        server.ok(command["execute"], **arguments)
        if command["execute"] == "object-add":
            attach(arguments["path"]).close()
    assert server.close() == 0


def test_every_property_is_in_a_command_line_and_in_the_help():
    """Those with a value of their own kind of socket are in test_server_object.py."""
    shown = subprocess.run([BINARY, "-object", "x-vfio-user-server,help"], capture_output=True, text=True, check=False,
                           timeout=PATIENCE).stdout
    assert set(PROPERTIES) >= {"device", "type", "path", "host", "iothread", "poll-us", "reuse", "socket", "str", "cid"}
    for name in PROPERTIES:
        assert f"{name}=" in shown
        assert name in ("cid", "str") or any(name in block for block in BLOCKS), name
    assert len(BLOCKS) >= 5
