# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command line of docs/system/vfio-user.md starts a machine, and every property of the device is in it."""
import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import fake_server as fake  # noqa: E402
from machine import BINARY, ROOT, SHARED_RAM, Machine  # noqa: E402

TEXT = (ROOT / "docs/system/vfio-user.md").read_text(encoding="utf-8")
# The one with vsock is run by tests/functional/test_vsock.py, in a guest that has it.
LINES = [line for line in re.findall(r"^    \.\.\. (.*)$", TEXT, re.M) if '"vsock"' not in line]


@pytest.mark.parametrize("line", LINES)
def test_documented_command_line(tmp_path, line):
    family = socket.AF_INET if '"inet"' in line else socket.AF_UNIX
    server = fake.FakeServer(str(tmp_path / "nvme.sock"), family=family)
    conn = socket.socket(family)
    words = shlex.split(line.replace("/tmp/nvme.sock", server.path))
    if '"inet"' in line:
        words = [w.replace("4444", str(server.listener.getsockname()[1])) for w in words]
    if '"fd"' in line:
        conn.connect(server.path)
        os.set_inheritable(conn.fileno(), True)
        words = [w.replace('"5"', json.dumps(str(conn.fileno()))) for w in words]
    machine = Machine(tmp_path, *SHARED_RAM, *words, inherit=True)
    conn.close()
    devices = machine.qmp("query-pci")["return"][0]["devices"]
    assert [d["x-state"] for d in devices if "x-state" in d] == ["connected"]
    assert machine.close() == 0
    server.close()


def test_every_property_is_documented():
    out = subprocess.run([BINARY, "-machine", "q35", "-device", "vfio-user-pci,help"], capture_output=True, text=True,
                         check=True).stdout
    names = re.findall(r"^\s*([a-z][a-z0-9-]*)=", out, re.M)
    assert len(names) > 15
    assert [n for n in names if f"`{n}" not in TEXT] == []
    watched = TEXT[TEXT.index("## What can be watched") : TEXT.index("| event | when")]
    lines = "\n".join(LINES)
    # What can be set is set in a line that test_documented_command_line runs.
    assert [n for n in names if f"`{n}`" not in watched and not re.search(rf'[,"]{n}["=]', lines)] == []
