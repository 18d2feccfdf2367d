# SPDX-License-Identifier: GPL-2.0-or-later
"""SeaBIOS as Debian packages it: what it says on its debug port and its menu on the serial port."""
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


class Console:
    """A machine whose debug port and serial port are read from pipes."""

    def __init__(self, machine, *args):
        self.text = ""
        self.process = subprocess.Popen([BINARY, "-machine", machine, "-nodefaults", "-nographic", *args],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)

    def poll(self):
        data = self.process.stdout.read()
        self.text += data.decode(errors="replace") if data else ""
        time.sleep(0.02)

    def wait_for(self, words):
        """Everything until `words`; a machine that ends without them fails."""
        while words not in self.text:
            ended = self.process.poll() is not None
            self.poll()
            assert not ended or words in self.text, self.text[-3000:]
        return self.text

    def send(self, keys):
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(name="console")
def console_fixture():
    started = []

    def start(machine, *args):
        started.append(Console(machine, *args))
        return started[-1]

    yield start
    for console in started:
        console.close()


DEBUG = ["-chardev", "stdio,id=dc", "-device", "isa-debugcon,iobase=0x402,chardev=dc"]


@pytest.mark.parametrize("cpus", [1, 4])
def test_seabios_finds_the_machine(console, cpus):
    text = console("q35", "-m", "3G", "-smp", str(cpus), *DEBUG).wait_for("Booting from Hard Disk")
    for words in ("Running on QEMU (q35)", "QEMU fw_cfg DMA interface supported", "PCIe: using q35 mmconfig at 0xb0000000",
                  f"Found {cpus} cpu(s) max supported {cpus} cpu(s)", "table(50434146)=", "ACPI: parse DSDT",
                  "addr 0x0000000100000000 len 0x0000000040000000 [RAM]"):
        assert words in text, text


def test_boot_menu_on_the_serial_port(console):
    started = time.monotonic()
    machine = console("q35", "-m", "128", "-boot", "menu=on", "-serial", "stdio")
    machine.wait_for("Press ESC for boot menu")
    print(f"SeaBIOS to its boot menu: {time.monotonic() - started:.2f} s")
    machine.send(b"\x1b")
    text = machine.wait_for("Select boot device:")
    assert "SeaBIOS (version 1." in text


def test_given_firmware(tmp_path, console):
    """-bios by path, and by name in a directory of -L; an image of a kind that cannot be is refused."""
    image = pathlib.Path("/usr/share/seabios/bios.bin").read_bytes()
    (tmp_path / "mine.bin").write_bytes(image)
    for args in (["-bios", str(tmp_path / "mine.bin")], ["-L", str(tmp_path), "-bios", "mine.bin"]):
        console("q35", "-m", "64", *args, *DEBUG).wait_for("Running on QEMU (q35)")
    (tmp_path / "odd.bin").write_bytes(image[:1000])
    for args, words in (["odd.bin"], "bad size"), (["no-such.bin"], "cannot find"):
        done = subprocess.run([BINARY, "-L", str(tmp_path), "-nodefaults", "-display", "none", "-bios", str(tmp_path / args[0])],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "-bios" in done.stderr and words in done.stderr
        assert len(done.stderr.splitlines()) == 1
