# SPDX-License-Identifier: GPL-2.0-or-later
"""SeaBIOS as Debian packages it: what it says on its debug port and its menu on the serial port."""
import json
import os
import pathlib
import re
import socket
import struct
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


DMIDECODE = pathlib.Path("/usr/sbin/dmidecode")
DEBUG = ["-chardev", "stdio,id=dc", "-device", "isa-debugcon,iobase=0x402,chardev=dc"]


@pytest.mark.parametrize("cpus", [1, 4])
@pytest.mark.parametrize("machine, words", [
    ("q35", ["Running on QEMU (q35)", "PCIe: using q35 mmconfig at 0xb0000000", "addr 0x0000000100000000 len 0x0000000040000000 [RAM]"]),
    ("pc-i440fx-7.2", ["Running on QEMU (i440fx)", "PCI: init bdf=00:01.3 id=8086:7113", "addr 0x0000000000000000 len 0x0000000040000000 [RAM]"])])
def test_seabios_finds_the_machine(console, cpus, machine, words):
    text = console(machine, "-m", "3G" if machine == "q35" else "1G", "-smp", str(cpus), *DEBUG).wait_for("Booting from Hard Disk")
    for found in ("QEMU fw_cfg DMA interface supported", f"Found {cpus} cpu(s) max supported {cpus} cpu(s)",
                  "table(50434146)=", "ACPI: parse DSDT", *words):
        assert found in text, text


def test_seabios_starts_255_cpus(console):
    """The most there may be: each comes up by INIT and SIPI and counts itself."""
    text = console("q35,accel=tcg", "-m", "256", "-smp", "255", *DEBUG).wait_for("Booting from Hard Disk")
    assert "Found 255 cpu(s) max supported 255 cpu(s)" in text, text


OVMF = "/usr/share/ovmf/OVMF.fd"


def test_ovmf_comes_up(console):
    """64-bit firmware of another make, by -bios: caches as RAM, its MSRs and page tables, all CPUs, up to its shell."""
    console("q35,accel=tcg", "-cpu", "max", "-m", "256", "-smp", "2", "-bios", OVMF,
            "-serial", "stdio").wait_for("UEFI Interactive Shell")


def hmp(path, *lines):
    """The number the monitor at a socket answers the last of the lines with."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall("".join(line + "\n" for line in lines).encode())
        text = ""
        while not re.search(r"= 0x\w+\s", text):
            text += s.recv(4096).decode()
    return int(re.search(r"= (0x\w+)", text)[1], 16)


# Where SMRAM's register is: the address of its dword in configuration space, the port of its byte
@pytest.mark.parametrize("machine, address, port", [("q35", 0x8000009c, 0xcfd), ("pc", 0x80000070, 0xcfe)])
@pytest.mark.parametrize("smm, value", [("on", 0x0a), ("off", 0x02)])
def test_seabios_and_smm(console, tmp_path, machine, address, port, smm, value):
    """SeaBIOS puts its handler into SMRAM and closes it; without SMM it leaves the register alone."""
    monitor = tmp_path / "monitor"
    console(f"{machine},accel=tcg,smm={smm}", "-m", "64", *DEBUG, "-monitor", f"unix:{monitor},server=on,wait=off").wait_for("No bootable device")
    assert hmp(monitor, f"o /w 0xcf8 {address:#x}", f"i /b {port:#x}") == value


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_firmware_above_2_gib(console, machine):
    """SeaBIOS moves itself to the end of the low RAM; from there its calls wrap at 4 GiB."""
    console(machine, "-m", "2560", *DEBUG).wait_for("Booting from Hard Disk")


@pytest.mark.parametrize("options, tried", [
    ("order=cd", ["Hard Disk", "DVD/CD", "Floppy"]), ("order=dc", ["DVD/CD", "Hard Disk", "Floppy"]),
    ("once=d,order=c,reboot-timeout=1", ["DVD/CD", "Hard Disk", "Floppy", "Hard Disk", "DVD/CD", "Floppy"]),
    ("order=dc,strict=on", ["DVD/CD", "Hard Disk", "Floppy"]), ("order=d,strict=on,bootindex=1", ["Hard Disk"])])
def test_boot_order(console, tmp_path, options, tried):
    """As a peer has it with the same firmware."""
    options, _, index = options.partition(",bootindex=")
    drives, none = [], "No bootable device"
    for name in ("hd", "cd"):
        (tmp_path / name).write_bytes(bytes(1 << 20))
        drives += ["-drive", f"id={name},file={tmp_path}/{name},format=raw,if=none"]
    machine = console("q35", "-boot", options, *drives, "-device", f"virtio-blk-pci,drive=hd,bootindex={index or -1}", "-device", "ahci,id=ahci",
                      "-device", "ide-cd,bus=ahci.0,drive=cd", *DEBUG)
    rounds = 2 if "once" in options else 1  # what was for once is over after a reboot
    while machine.text.count(none) < rounds:
        assert machine.process.poll() is None, machine.text
        machine.poll()
    assert re.findall(r"Booting from ([^.\n]*?)\.\.\.", "".join(machine.text.split(none)[:rounds])) == tried


SAY_BOOT = """
echo "test: $(cat /proc/cmdline) acpi $(ls /sys/firmware/acpi/tables | wc -l)"
dmesg | grep -o 'RAMDISK: .*' | sed 's/^/test: /'
poweroff -f
"""


@pytest.fixture(name="initrd", scope="module")
def initrd_fixture(tmp_path_factory):
    return guest.initramfs(tmp_path_factory.mktemp("initrd") / "initrd.gz", guest.PROLOGUE + SAY_BOOT)


def rom_boot(machine, initrd, *args):
    return ["-bios", "bios-256k.bin", "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", "console=ttyS0 no_timer_check tsc_early_khz=1000000 mill=wheel",
            "-machine", machine, "-serial", "stdio", *args]


@pytest.mark.parametrize("machine, cpus", [("q35", 4), ("pc", 1)])
def test_firmware_boots_kernel(console, initrd, machine, cpus):
    """-kernel with -bios: SeaBIOS runs our option ROM, before what has a bootindex; the kernel begins in real mode."""
    text = console(machine, *rom_boot(machine, initrd, "-m", "256", "-smp", str(cpus), "-device", "edu,bootindex=0")).wait_for("reboot: Power down")
    assert "Booting from ROM" in text and "test: console=ttyS0 no_timer_check tsc_early_khz=1000000 mill=wheel acpi " in text and "test: RAMDISK" in text, text


def test_initrd_goes_below_firmwares_tables(console, initrd, tmp_path):
    """A file of 200 KiB that firmware puts at the end of memory; the host cannot know, the option ROM asks."""
    (tmp_path / "big").write_bytes(bytes(200 << 10))
    allocate = struct.pack("<I56sIB63x", 1, b"opt/big", 4096, 1)
    (tmp_path / "loader").write_bytes(allocate)
    text = console("q35", *rom_boot("q35", initrd, "-m", "256", "-fw_cfg", f"opt/big,file={tmp_path}/big",
                                    "-fw_cfg", f"etc/table-loader,file={tmp_path}/loader")).wait_for("reboot: ")
    start, end = (int(n, 16) for n in re.search(r"test: RAMDISK: \[mem 0x(\w+)-0x(\w+)\]", text).groups())
    assert end < (256 << 20) - (200 << 10) and start > 200 << 20, text


def test_kernel_that_firmware_cannot_boot(tmp_path):
    """What is no bzImage, or of a protocol without a setup part that takes a command line."""
    image = bytearray(guest.kernel().read_bytes()[:1 << 20])
    image[0x206:0x208] = b"\x03\x02"
    (tmp_path / "old").write_bytes(image)
    (tmp_path / "text").write_text("no kernel " * 100)
    for name, words in ("old", "too old a kernel (boot protocol 2.03"), ("text", "is not a Linux kernel image"):
        done = subprocess.run([BINARY, "-nodefaults", "-display", "none", "-bios", "bios-256k.bin", "-kernel", str(tmp_path / name)],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_machines_and_their_versions():
    """Names as QEMU's; the layout of the chip sets that drivers look for."""
    for machine, ids in (("pc-q35-7.2", {(0, 0): 0x29c0, (31, 0): 0x2918}),
                         ("pc-i440fx-7.2", {(0, 0): 0x1237, (1, 0): 0x7000, (1, 1): 0x7010, (1, 3): 0x7113}), ("none", {})):
        done = subprocess.run([BINARY, "-machine", machine, "-accel", "qtest", "-nodefaults", "-display", "none", "-qmp", "stdio"],
                              input='{"execute":"qmp_capabilities"}\n{"execute":"query-pci"}\n{"execute":"quit"}\n',
                              capture_output=True, text=True, check=True)
        found = {(d["slot"], d["function"]): d["id"]["device"] for line in done.stdout.splitlines()
                 for bus in json.loads(line).get("return") or [] for d in bus["devices"]}
        assert {k: found.get(k) for k in ids} == ids


@pytest.mark.parametrize("name", ["q35", "pc"])
def test_boot_menu_on_the_serial_port(console, name):
    started = time.monotonic()
    machine = console(name, "-m", "128", "-boot", "menu=on", "-serial", "stdio")
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


def dmi(tmp_path, *args):
    """What dmidecode in the guest says."""
    files = {"usr/sbin/dmidecode": (0o100755, DMIDECODE.read_bytes()), **guest.libraries(DMIDECODE)}
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + """
/usr/sbin/dmidecode 2>&1 | sed 's/^/dmi: /'
poweroff -f
""", {**guest.directories(files), **files})
    done = subprocess.run([BINARY, "-m", "256", "-nodefaults", "-nographic", "-serial", "stdio",
                           "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", guest.CMDLINE, *args],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    text = "\n".join(re.findall(r"dmi: (.*)", done.stdout))
    assert "End Of Table" in text and "invalid" not in text.lower() and "wrong" not in text.lower(), done.stdout
    return text


GIVEN = ["-uuid", "00112233-4455-6677-8899-aabbccddeeff", "-smbios", "type=1,manufacturer=Mill,product=Wheel,serial=S-1,family=Water",
         "-smbios", "type=2,product=Board,asset=A-2", "-smbios", "type=3,serial=C-3", "-smbios", "type=4,version=Fast,max-speed=3100",
         "-smbios", "type=11,value=one", "-smbios", "type=11,value=two", "-smbios", "type=17,manufacturer=Ram,speed=2666",
         "-smbios", "type=0,vendor=Us,version=7.7,release=3.4"]


@pytest.mark.parametrize("args, version", [([], "SMBIOS 2.8 present"), (["-machine", "pc"], "SMBIOS 2.8"), (["-machine", "smbios-entry-point-type=64"], "SMBIOS 3.0")],
                         ids=["direct", "direct-pc", "direct-3.0"])
def test_smbios_says_what_was_given(tmp_path, args, version):
    text = dmi(tmp_path, *GIVEN, *args)
    for words in (version, "Manufacturer: Mill", "Product Name: Wheel", "Serial Number: S-1", "Family: Water",
                  "UUID: 00112233-4455-6677-8899-aabbccddeeff", "Product Name: Board", "Asset Tag: A-2", "Serial Number: C-3",
                  "Version: Fast", "Max Speed: 3100 MHz", "String 1: one", "String 2: two", "Manufacturer: Ram",
                  "Speed: 2666 MT/s", "Size: 256 MB", "Vendor: Us", "BIOS Revision: 3.4"):
        assert words in text, text
