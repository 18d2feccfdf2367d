# SPDX-License-Identifier: GPL-2.0-or-later
"""Every option of -help: it is in the man page, and nonsense for it is one line and exit 1; -readconfig."""
import os
import pathlib
import random
import re
import subprocess
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "split")]
from test_cli import BINARY, QTEST, START_TIMEOUT, fails, run  # noqa: E402
from test_options import start_fixture  # noqa: E402,F401  pylint: disable=unused-import

NONSENSE = ["", ",", "=", ",,", "=,=", "x=", "=x", "a,b,c", "id=x", "0", "-1", "99999999999999999999", "%s%n", "{", "{}", "[]", '{"a":1}',
            '{"id":{}}', "null", "\xff\xfe", "\x1b[2J", "no-such-thing", "help,help", "type=,id=", "a" * 5000, "chardev:", "unix:", "tcp:",
            "tcp::", "fd:", "fd:-1", "file:", "driver=", "accel=", "size=", "cpus=-1", "base=", "node,nodeid=x", "node,cpus=1-99999999999", "dist,src=0,dst=0,val=-1", "cpu,node-id=0", "mon:mon:", "/", "../..",
            "a=b,a=c", "id=" + "i" * 300, "on", "off,on"]
# Their text may be anything, or what they do is to end at once or to leave the terminal.
FREE = {"help", "h", "version"}


def options():
    """[name, takes an argument] of -help."""
    found = []
    for line in run("-help").stdout.splitlines():
        if line.startswith("-"):
            usage = line.split("  ")[0].split(" ")
            found.append((usage[0][1:], len(usage) > 1))
    assert len(found) > 50
    return found


def test_every_option_is_in_the_man_page():
    page = (pathlib.Path(BINARY).resolve().parents[1] / "docs/qemu-system-x86_64.1").read_text(encoding="utf-8")
    for name, _ in options():
        assert "\n.B \\-" + name.replace("-", "\\-") in page, name
    if pathlib.Path("/usr/bin/man").exists():
        done = subprocess.run(["man", "-l", "--warnings", "-"], input=page, text=True, capture_output=True, check=False)
        assert done.returncode == 0 and not done.stderr, done.stderr


def test_every_option_has_a_test():
    """Some test besides the nonsense below gives it."""
    tests = pathlib.Path(__file__).resolve().parents[1]
    texts = "\n".join(path.read_text(encoding="utf-8") for kind in ("py", "c", "sh") for path in tests.glob(f"**/*.{kind}")
                      if path != pathlib.Path(__file__).resolve())
    assert [name for name, _ in options() if not re.search(r"[\"' (]-" + re.escape(name) + r"[\"' ,)]", texts)] == []


def ends_with_one_line(args, cwd):
    """What was not refused at once is refused at the last option, which is wrong too."""
    process = subprocess.run([BINARY.encode(), *(a.encode("utf-8", "surrogateescape") if isinstance(a, str) else a for a in QTEST + args),
                              b"-device", b"no-such-device"], stdin=subprocess.DEVNULL, capture_output=True, cwd=cwd,
                             timeout=START_TIMEOUT, check=False)
    err = process.stderr.decode(errors="replace")
    lines = [line for line in err.splitlines() if not line.startswith("char device redirected")]
    # "help" in an argument lists and ends well.
    assert process.returncode == 1 or (process.returncode == 0 and process.stdout), (args, process.returncode, err)
    assert process.returncode == 0 or (len(lines) >= 1 and lines[-1].startswith("qemu-system-x86_64: ")), (args, err)
    assert process.returncode == 0 or len([line for line in lines if line.startswith("qemu-system-x86_64: -")]) == 1, (args, err)
    assert "Sanitizer" not in err, err


@pytest.mark.parametrize("name, takes", options(), ids=lambda v: str(v))
def test_nonsense(name, takes, tmp_path):
    if name in FREE:
        return
    if not takes:
        ends_with_one_line(["-" + name], tmp_path)
        return
    for value in NONSENSE:
        ends_with_one_line(["-" + name, value.encode("latin-1")], tmp_path)
    rng = random.Random(name)
    for _ in range(5):
        value = bytes(rng.choice(b"abcdid=,:.{}[]\"'0123456789\x01\xf0") for _ in range(rng.randrange(1, 40)))
        ends_with_one_line(["-" + name, value], tmp_path)


CONFIG = '''# a machine
[machine]
  type = "q35"
  accel = "qtest"

[memory]
  size = "64M"
[name]
  guest = "from, a file"
[chardev "c0"]
  backend = "ringbuf"
[global]
  driver = "edu"
  property = "dma_mask"
  value = "255"
[device "e0"]
  driver = "edu"
  addr = "7"
[object "m0"]
  qom-type = "memory-backend-ram"
  size = "1M"
'''


def test_readconfig(start, tmp_path):
    (tmp_path / "vm.cfg").write_text(CONFIG)
    vm = start("-readconfig", str(tmp_path / "vm.cfg"))
    assert vm.qmp("query-name")["return"]["name"] == "from, a file"
    assert vm.qmp("qom-get", path="e0", property="dma_mask")["return"] == 255
    assert vm.qmp("qom-get", path="e0", property="addr")["return"] == "7"
    assert "c0" in [c["label"] for c in vm.qmp("query-chardev")["return"]]
    assert vm.qmp("qom-get", path="/objects/m0", property="size")["return"] == 1 << 20


@pytest.mark.parametrize("text, words", [
    ("[machin]\ntype = \"q35\"\n", ["line 1", "machin"]), ("[machine\n", ["line 1", "[NAME]"]), ("type = \"q35\"\n", ["line 1", "no section"]),
    ("[machine]\n\ntype = q35\n", ["line 3", "KEY = \"VALUE\""]), ("[machine]\n", ["line 1", "empty"]),
    ("[device \"d\"]\ndriver = \"no-such\"\n", ["no-such"]), ("[device \"d]\n", ["line 1"]), ("[memory]\nsize = \"lots\"\n", ["line 1", "-m", "lots"]),
    ("[machine]\n = \"q35\"\n", ["line 2"]), ("[machine]\na b = \"q35\"\n", ["line 2"]), ("[machine] x\n", ["line 1"]),
    ("[machine]\ntype = \"q\"35\"\n", ["line 2"]), ("\x01\x02\n", ["line 1"]), ("[global]\ndriver = \"edu\"\n", ["line 1", "-global"]),
])
def test_readconfig_errors(text, words, tmp_path):
    (tmp_path / "f").write_text(text)
    line = fails(*QTEST, "-readconfig", "f", cwd=tmp_path)
    for word in words:
        assert word in line, line


def test_readconfig_of_what_is_no_text_file(tmp_path):
    assert "No such file" in fails("-readconfig", "none", cwd=tmp_path)
    (tmp_path / "zero").write_bytes(b"[machine]\0\n")
    assert "not a text file" in fails("-readconfig", "zero", cwd=tmp_path)
    assert os.strerror(21) in fails("-readconfig", "/", cwd=tmp_path)
