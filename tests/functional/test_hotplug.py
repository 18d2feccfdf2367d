# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk in another process comes and goes by QMP while Linux reads from it: in the slot of a root port, driven by pciehp, and
by ACPI on the buses of a pc, driven by acpiphp."""
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
# Machine, what else it has, and the bus of each round.
WAYS = {
    "native": ("q35", ["pcie-root-port,id=rp,slot=1"], ["rp", "rp"]),
    "acpi": ("pc", ["pci-bridge,id=br,chassis_nr=1"], ["br", "pci.0"]),
    "acpi-express": ("q35", ["pci-bridge,id=br,chassis_nr=1", "pcie-root-port,id=rp,slot=1"], ["br", "rp"]),
}
# By firmware, which has to leave room behind the empty bridge; and with root ports that have no hot plug of their own.
OPTIONS = {"acpi": ["-bios", "bios-256k.bin"], "acpi-express": ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=on"]}
ROUNDS = 2
INIT = f"""
echo "test: ready"
for round in $(seq {ROUNDS}); do
  until dd if=/dev/nvme0n1 of=/dev/null bs=4k count=1 2>/dev/null; do sleep 0.1; done  # its node comes before it can be opened
  reads=0
  while dd if=/dev/nvme0n1 of=/dev/null bs=64k count=32 2>/dev/null; do
    [ $reads = 2 ] && echo "test: reading $round"
    reads=$((reads + 1))
    echo 3 > /proc/sys/vm/drop_caches
  done
  while [ -b /dev/nvme0n1 ]; do sleep 0.1; done
  echo "test: gone $round"
done
dmesg | grep -E 'BUG:|Oops|Call Trace|WARNING:|ACPI.*([Ee]rror|[Ww]arning)|AE_|acpiphp.*(fail|rror)' | sed 's/^/test: bad /'
echo "test: done"
while true; do sleep 1000; done
"""


class Guest:
    def __init__(self, tmp, machine, *args):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp / "qmp"))
        listener.listen(1)
        self.process = subprocess.Popen([BINARY, "-machine", f"{machine},accel=tcg", "-m", "256", "-nodefaults", "-display", "none",
                                         "-serial", "stdio", "-qmp", f"unix:{tmp}/qmp", *args],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
        self.qmp_socket, _ = listener.accept()
        listener.close()
        self.qmp_file = self.qmp_socket.makefile("r")
        self.qmp_file.readline()
        self.events = []
        self.run("qmp_capabilities")
        self.console = ""

    def run(self, name, **arguments):
        self.qmp_socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        answer = json.loads(self.qmp_file.readline())
        while "event" in answer:
            self.events.append(answer["event"])
            answer = json.loads(self.qmp_file.readline())
        assert "return" in answer, answer

    def event(self, name):
        while name not in self.events:
            self.events.append(json.loads(self.qmp_file.readline()).get("event"))
        self.events.remove(name)

    def wait_for(self, words):
        for line in self.process.stdout:
            self.console += line
            if words in line:
                return
        raise AssertionError(self.console[-3000:])

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.qmp_file.close()
        self.qmp_socket.close()


@pytest.mark.parametrize("way", WAYS)
def test_remote_nvme_comes_and_goes_under_reads(tmp_path, way):
    machine_type, models, buses = WAYS[way]
    sock = tmp_path / "nvme.sock"
    (tmp_path / "disk.img").write_bytes(os.urandom(4 << 20))
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + INIT)
    server = subprocess.Popen([BINARY, "-machine", "x-remote,vfio-user=on,auto-shutdown=off", "-nodefaults", "-display", "none",
                               "-drive", f"id=d0,file={tmp_path}/disk.img,format=raw,if=none",
                               "-device", "nvme,id=nvme0,serial=plug,drive=d0",
                               "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=nvme0"])
    machine = None
    try:
        while not sock.exists():
            assert server.poll() is None
            time.sleep(0.01)
        machine = Guest(tmp_path, machine_type, "-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-machine", "memory-backend=mem",
                        *(word for model in models for word in ("-device", model)), *OPTIONS.get(way, []), "-kernel", str(guest.kernel()), "-initrd", str(initrd),
                        "-append", guest.CMDLINE)
        machine.wait_for("test: ready")
        for number, bus in enumerate(buses, 1):
            machine.run("device_add", driver="vfio-user-pci", id="hot", bus=bus, socket={"type": "unix", "path": str(sock)})
            machine.wait_for(f"test: reading {number}")
            machine.run("device_del", id="hot")
            machine.event("DEVICE_DELETED")
            machine.wait_for(f"test: gone {number}")
        machine.wait_for("test: done")
        machine.run("quit")
        assert machine.process.wait() == 0 and "test: bad" not in machine.console, machine.console[-3000:]
    finally:
        if machine:
            machine.close()
        server.kill()
        server.wait()
