# SPDX-License-Identifier: GPL-2.0-or-later
"""-smp: how the CPUs lie, as a stock kernel sees it, and many of them; and one whose time is counted."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
SAY_TOPOLOGY = """
for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
    t=$cpu/topology
    echo "cpu: ${cpu##*cpu} $(cat $t/physical_package_id) $(cat $t/die_id) $(cat $t/core_id) $(cat $t/thread_siblings_list)"
done
grep apicid /proc/cpuinfo | grep -v initial | sed 's/.*: /apicid: /'
grep -m1 'siblings' /proc/cpuinfo
grep -m1 'cpu cores' /proc/cpuinfo
dmesg | grep -i x2apic | sed 's/^/dmesg: /'
poweroff -f
"""


@pytest.fixture(name="initrd", scope="module")
def initrd_fixture(tmp_path_factory):
    return guest.initramfs(tmp_path_factory.mktemp("initrd") / "initrd.gz", guest.PROLOGUE + SAY_TOPOLOGY)


def boot(initrd, smp, *args, append=""):
    done = subprocess.run([BINARY, "-machine", "q35,accel=tcg", "-m", "512", "-nodefaults", "-nographic", "-serial", "stdio",
                           "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", guest.CMDLINE + " " + append,
                           "-smp", smp, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode(errors="replace")


# what -smp says; APIC ids; package, die, core and thread siblings of each CPU
TOPOLOGIES = [
    ("8,sockets=2,cores=2,threads=2", range(8),
     [(0, 0, 0, "0-1"), (0, 0, 0, "0-1"), (0, 0, 1, "2-3"), (0, 0, 1, "2-3"),
      (1, 0, 0, "4-5"), (1, 0, 0, "4-5"), (1, 0, 1, "6-7"), (1, 0, 1, "6-7")]),
    # a core's id is what is left of the APIC id: two bits for three cores
    ("6,cores=3,maxcpus=12", [0, 1, 2, 4, 5, 6],
     [(0, 0, 0, "0"), (0, 0, 1, "1"), (0, 0, 2, "2"), (1, 0, 0, "3"), (1, 0, 1, "4"), (1, 0, 2, "5")]),
]


@pytest.mark.parametrize("smp, ids, places", TOPOLOGIES)
def test_topology_in_the_guest(initrd, smp, ids, places):
    text = boot(initrd, smp, "-cpu", "max")
    seen = {int(n): (int(package), int(die), int(core), threads)
            for n, package, die, core, threads in re.findall(r"cpu: (\d+) (\d+) (\d+) (\d+) ([\d,-]+)", text)}
    assert [seen[n] for n in sorted(seen)] == places, text
    assert [int(n) for n in re.findall(r"apicid: (\d+)", text)] == list(ids), text


def test_icount_makes_boots_equal(tmp_path):
    """A kernel's whole log, its times included; only the date, which it reads from the real-time clock, is from outside."""
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + "dmesg\npoweroff -f\n")
    logs = [boot(initrd, "1", "-icount", "shift=3,sleep=off", "-rtc", "base=2020-01-01,clock=vm") for _ in range(2)]
    assert logs[0] == logs[1] and len(logs[0].splitlines()) > 100
