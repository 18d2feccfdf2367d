# SPDX-License-Identifier: GPL-2.0-or-later
"""-numa: nodes as a stock kernel sees them, `info numa`, what firmware is told, and what is refused."""
import os
import pathlib
import re
import struct
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/split"), str(ROOT / "tests/functional")]
import acpi_golden  # noqa: E402
import guest  # noqa: E402
from machine import Machine  # noqa: E402
from test_cli import fails  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
SAY_NODES = """
for node in /sys/devices/system/node/node[0-9]*; do
    echo "node: ${node##*node} $(cat $node/cpulist) $(sed -n 's/.*MemTotal: *//p' $node/meminfo) $(cat $node/distance)"
done
dmesg | grep -i 'acpi.*error\\|srat.*bad\\|slit.*bad' | sed 's/^/test: error /'
poweroff -f
"""
TWO_BACKENDS = ["-object", "memory-backend-memfd,id=a,size=96M", "-object", "memory-backend-ram,id=b,size=160M"]


@pytest.fixture(name="initrd", scope="module")
def initrd_fixture(tmp_path_factory):
    return guest.initramfs(tmp_path_factory.mktemp("initrd") / "initrd.gz", guest.PROLOGUE + SAY_NODES)


@pytest.mark.parametrize("machine, args, nodes", [
    ("q35", ["-numa", "node,cpus=0,cpus=2-3,mem=160M", "-numa", "node,mem=96", "-numa", "cpu,node-id=1,core-id=1", "-smp", "4",
             "-numa", "dist,src=0,dst=1,val=31"], [("0,2-3", 160, "10 31"), ("1", 96, "31 10")]),
    ("pc", [*TWO_BACKENDS, "-smp", "2,sockets=2", "-numa", "node,memdev=a", "-numa", "node,memdev=b"],
     [("0", 96, "10 20"), ("1", 160, "20 10")])])
def test_two_nodes_in_the_guest(initrd, machine, args, nodes):
    done = subprocess.run([BINARY, "-machine", f"{machine},accel=tcg", "-m", "256", "-nodefaults", "-nographic", "-serial", "stdio",
                           "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", guest.CMDLINE, *args],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    text = done.stdout.decode(errors="replace")
    seen = re.findall(r"node: \d+ (\S+) (\d+) kB (\d+ \d+)", text)
    assert [(cpus, distance) for cpus, _, distance in seen] == [(cpus, distance) for cpus, _, distance in nodes], text
    for (_, kib, _), (_, mib, _) in zip(seen, nodes):
        assert mib - 48 < int(kib) / 1024 <= mib, text  # less what the kernel keeps to itself
    assert "test: error" not in text, text


def info_numa(machine):
    return machine.qmp("human-monitor-command", **{"command-line": "info numa"})["return"]


def test_tables_firmware_and_monitor(tmp_path):
    """3 GiB in two nodes, the second on both sides of the hole below 4 GiB; an APIC id that is left out."""
    machine = Machine(tmp_path, "-m", "3G", "-smp", "6,sockets=2,cores=3", "-numa", "node,mem=1G,cpus=0-2", "-numa", "node,mem=2G,cpus=3-5",
                      "-numa", "dist,src=0,dst=1,val=255")
    try:
        tables = dict(acpi_golden.tables(machine))
        srat, slit = tables["SRAT"][48:], tables["SLIT"][36:]
        cpus, memory = [], []
        while srat:
            if srat[0] == 0:
                cpus.append((srat[3], srat[2]))
            else:
                memory.append((struct.unpack_from("<I", srat, 2)[0], *struct.unpack_from("<QQ", srat, 8)))
            srat = srat[srat[1]:]
        gib = 1 << 30
        assert cpus == [(0, 0), (1, 0), (2, 0), (4, 1), (5, 1), (6, 1)]
        assert memory == [(0, 0, 0xa0000), (0, 1 << 20, gib - (1 << 20)), (1, gib, gib), (1, 4 * gib, gib)]
        assert slit == struct.pack("<Q4B", 2, 10, 255, 255, 10)
        words = struct.unpack("<10Q", acpi_golden.read_item(machine, 0x0d, 80))
        assert words == (2, 0, 0, 0, 0, 1, 1, 1, gib, 2 * gib)
        assert info_numa(machine).replace("\r", "").splitlines() == [
            "2 nodes", "node 0 cpus: 0 1 2", "node 0 size: 1024 MB", "node 0 plugged: 0 MB",
            "node 1 cpus: 3 4 5", "node 1 size: 2048 MB", "node 1 plugged: 0 MB"]
    finally:
        machine.close()


def test_without_nodes(tmp_path):
    machine = Machine(tmp_path)
    try:
        assert not {"SRAT", "SLIT"} & set(dict(acpi_golden.tables(machine)))
        assert info_numa(machine).strip() == "0 nodes"
        assert acpi_golden.read_item(machine, 0x0d, 8) == bytes(8)
    finally:
        machine.close()


def test_readconfig(tmp_path):
    (tmp_path / "numa.cfg").write_text('[numa]\n  type = "node"\n  mem = "128M"\n  cpus = "0"\n')
    machine = Machine(tmp_path, "-m", "128", "-readconfig", str(tmp_path / "numa.cfg"))
    try:
        assert info_numa(machine).replace("\r", "").splitlines()[:2] == ["1 nodes", "node 0 cpus: 0"]
    finally:
        machine.close()


# The words of QEMU 7.2's errors.
@pytest.mark.parametrize("args, words", [
    (["node,mem=1M,memdev=x"], "mixing both is not allowed"),
    (["node,nodeid=128"], "allowed 0..127"),
    (["node", "node,nodeid=0"], "Duplicate NUMA nodeid: 0"),
    (["node,cpus=0-4"], "CPU index (4) should be smaller than maxcpus (4)"),
    (["node,cpus=0-1", "node,cpus=1-3"], "is already assigned to node-id: 0"),
    (["node,cpus=3-1"], "cpus"), (["node,cpus=x"], "cpus"), (["node,cpus=1-"], "cpus"), (["node,cpus="], "cpus"),
    (["node,mem=x"], "mem"), (["node,foo=1"], "unknown option 'foo'"), (["foo"], "Parameter 'type' does not accept value 'foo'"),
    (["node,mem=64M", "node,mem=32M"], "total memory for NUMA nodes (0x6000000) should equal RAM size (0x8000000)"),
    (["node,mem=16777215T", "node,mem=1"], "node 0: bad size"), (["node"], "total memory for NUMA nodes (0x0)"),
    (["node,nodeid=1,mem=128M"], "Node ID missing: 0"),
    (["dist,src=0,dst=1,val=20"], "Source/Destination NUMA node is missing"),
    (["node", "node", "dist,src=0,dst=1,val=5"], "NUMA distance (5) is invalid, it shouldn't be less than 10."),
    (["node", "node", "dist,src=0,dst=0,val=20"], "Local distance of node 0 should be 10."),
    (["node", "node", "dist,src=0,dst=1,val=256"], "val"), (["node", "dist,src=0,dst=0"], "val"),
    (["node,mem=128M", "node", "node", "dist,src=0,dst=1,val=20"], "The distance between node 0 and 2 is missing"),
    (["node,mem=128M", "node", "node", "dist,src=0,dst=1,val=20", "dist,src=1,dst=0,val=30", "dist,src=0,dst=2,val=20", "dist,src=1,dst=2,val=20"],
     "At least one asymmetrical pair"),
    (["node", "cpu,node-id=0,socket-id=9"], "no match found"), (["node", "cpu,node-id=0,socket-id=-1"], "socket-id"),
    (["node", "cpu,node-id=3,socket-id=0"], "Invalid node-id=3"), (["node", "cpu,socket-id=0"], "Missing mandatory node-id property"),
    (["node", "node", "cpu,node-id=0,core-id=1", "cpu,node-id=1,core-id=1"], "is already assigned to node-id: 0"),
    (["node,memdev=none"], "memdev=none"),
])
def test_errors(args, words):
    line = fails("-smp", "4", "-m", "128", *[word for arg in args for word in ("-numa", arg)])
    assert line.startswith("-numa") and words in line, line


@pytest.mark.parametrize("args, words", [
    (["-object", "memory-backend-ram,id=a,size=128M", "-numa", "node,memdev=a", "-numa", "node,memdev=a"], "can't be used multiple times"),
    (["-object", "memory-backend-ram,id=a,size=128M", "-machine", "memory-backend=a", "-numa", "node,memdev=a"], "mutually exclusive"),
    (["-machine", "none", "-numa", "node"], "not supported by machine none"),
])
def test_errors_of_other_options(args, words):
    assert words in fails(*args)


def test_backends_of_nodes_stay(tmp_path):
    """They cannot be deleted, and a machine with several is not moved."""
    machine = Machine(tmp_path, "-m", "256", *TWO_BACKENDS, "-numa", "node,memdev=a", "-numa", "node,memdev=b")
    try:
        assert "RAM of the machine" in machine.qmp("object-del", id="b")["error"]["desc"]
        assert "-numa" in machine.qmp("migrate", uri=f"file:{tmp_path}/stream")["error"]["desc"]
        machine.set_memory((96 << 20) - 4, b"abcdefgh")  # over the edge of both
        assert machine.memory((96 << 20) - 4, 8) == b"abcdefgh"
    finally:
        machine.close()
