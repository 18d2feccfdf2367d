# SPDX-License-Identifier: GPL-2.0-or-later
"""Watchdogs of a guest that stops feeding them: Linux's own drivers arm them, the machine is reset, Linux boots again."""
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
MODULES = ["watchdog", "lpc_ich", "intel_pmc_bxt", "iTCO_vendor_support", "i6300esb", "iTCO_wdt"]
ARM = """
for m in watchdog lpc_ich intel_pmc_bxt iTCO_vendor_support; do insmod /$m.ko; done
insmod /%s.ko heartbeat=4
echo "test: identity $(cat /sys/class/watchdog/watchdog0/identity)"
echo > /dev/watchdog
echo test: armed
sleep 100000
"""


def next_event(machine, name):
    while True:
        line = machine.stdout.readline()
        assert line, "the machine ended"
        message = json.loads(line)
        if message.get("event") == name:
            return message.get("data")


@pytest.mark.parametrize("device, module, identity", [
    (["-device", "i6300esb"], "i6300esb", "i6300ESB timer"), (["-global", "ICH9-LPC.noreboot=false"], "iTCO_wdt", "iTCO_wdt")])
def test_watchdog_resets_the_guest(tmp_path, device, module, identity):
    vmlinuz, modules = guest.kernel_with_modules(MODULES, guest.GENERIC)
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + ARM % module, {f.name: (0o100644, f.read_bytes()) for f in modules})
    log = tmp_path / "log"
    command = [BINARY, "-machine", "q35,accel=tcg", "-m", "256", "-nodefaults", "-display", "none", "-serial", f"file:{log}",
               "-kernel", str(vmlinuz), "-initrd", str(initrd), "-append", guest.CMDLINE, "-qmp", "stdio", *device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as machine:
        try:
            machine.stdin.write('{"execute":"qmp_capabilities"}\n')
            machine.stdin.flush()
            assert next_event(machine, "WATCHDOG") == {"action": "reset"}
            assert f"test: identity {identity}" in log.read_text(errors="replace")
            assert next_event(machine, "RESET")["guest"]
            while log.read_text(errors="replace").count("test: armed") < 2:
                assert machine.poll() is None
                time.sleep(0.05)
            machine.stdin.write('{"execute":"quit"}\n')
            machine.stdin.flush()
            machine.wait()
        finally:
            machine.kill()
