# SPDX-License-Identifier: GPL-2.0-or-later
"""OVMF in flash: both of its builds, the variables it keeps, and, of the one with SMM, that nobody else can change them."""
import re
import shutil

import pytest

from test_firmware import console_fixture, guest, initrd_fixture  # noqa: F401  pylint: disable=unused-import

IMAGES = "/usr/share/OVMF/OVMF"
SHELL = "UEFI Interactive Shell"
SECURE = ("-global", "driver=cfi.pflash01,property=secure,value=on")
VARIABLE = "setvar mpq -guid 12345678-1234-1234-1234-123456789abc"
FLASH_BASE = 0x100000000 - (4 << 20)  # of the variables: both images have 4 MiB together


@pytest.fixture(name="variables")
def variables_fixture(tmp_path):
    """The image of an empty store."""
    return shutil.copy(f"{IMAGES}_VARS_4M.fd", tmp_path / "vars.fd")


def flash(code, variables):
    return ["-cpu", "max", "-m", "512", "-serial", "stdio",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={IMAGES}_{code}.fd", "-drive", f"if=pflash,format=raw,file={variables}"]


class Shell:
    """OVMF's shell on the serial port of a console."""

    def __init__(self, console):
        self.console, self.read = console, 0
        self.begin()

    def wait_for(self, words):
        """What came since the last time, up to `words`."""
        while words not in self.console.text[self.read:]:
            assert self.console.process.poll() is None, self.console.text[-3000:]
            self.console.poll()
        start, self.read = self.read, self.console.text.index(words, self.read) + len(words)
        return self.console.text[start:self.read]

    def begin(self):
        self.wait_for(SHELL)
        self.wait_for("seconds to skip")
        self.console.send(b"x")
        self.wait_for("Shell>")

    def run(self, line):
        self.console.send(line.encode() + b"\r")
        return self.wait_for("Shell>")

    def peek(self, address):
        return int(re.search(r" : 0x(\w+)", self.run(f"mm {address:X} -w 4 -MEM -n"))[1], 16)


def test_smm_keeps_variables(console, variables):
    """A variable that OVMF's handler in SMRAM writes, with four CPUs that it calls together, is there after a reset and in the
    image; what the shell, outside of that mode, writes to the flash is dropped."""
    machine = console("q35,accel=tcg,smm=on", *flash("CODE_4M.secboot", variables), "-smp", "4", *SECURE, "-global", "ICH9-LPC.noreboot=on")
    shell = Shell(machine)
    shell.run(f"{VARIABLE} -bs -rt -nv =0x5a6b7c8d")
    signature = FLASH_BASE + 0x28
    assert shell.peek(signature) == int.from_bytes(b"_FVH", "little")
    for byte in (0x40, 0):  # program 0
        shell.run(f"mm {signature:X} {byte:X} -w 1 -MEM -n")
    assert shell.peek(signature) == int.from_bytes(b"_FVH", "little")
    machine.send(b"reset\r")
    shell.begin()
    assert re.search(r"mpq - 0004 Bytes\s+8D 7C 6B 5A", shell.run(VARIABLE)), machine.text[-2000:]
    machine.process.terminate()
    machine.process.wait()
    with open(variables, "rb") as f:
        assert "mpq\0".encode("utf-16-le") + b"\x8d\x7c\x6b\x5a" in f.read()


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_without_smm(console, variables, machine):
    """The other build writes to the flash itself; given as nodes on one of the machines."""
    before = open(variables, "rb").read()
    options = flash("CODE_4M", variables)
    if machine == "pc":
        options[-4:] = ["-blockdev", f"driver=file,node-name=code,read-only=on,filename={IMAGES}_CODE_4M.fd",
                        "-blockdev", f"driver=file,node-name=vars,filename={variables}"]
        machine += ",pflash0=code,pflash1=vars"
    started = console(f"{machine},accel=tcg", *options)
    started.wait_for(SHELL)
    started.process.terminate()
    started.process.wait()
    after = open(variables, "rb").read()
    assert len(after) == len(before) and "BootOrder\0".encode("utf-16-le") in after


def test_boots_linux(console, variables, initrd):
    """The kernel of -kernel, as an EFI application, from the build with SMM on one CPU."""
    text = console("q35,accel=tcg,smm=on", *flash("CODE_4M.secboot", variables), *SECURE, "-kernel", str(guest.kernel()), "-initrd", str(initrd),
                   "-append", "console=ttyS0 no_timer_check tsc_early_khz=1000000 mill=wheel").wait_for("reboot: Power down")
    assert "efi: EFI v2.7" in text and re.search("test: .*mill=wheel.* acpi [1-9]", text), text[-3000:]
