# SPDX-License-Identifier: GPL-2.0-or-later
"""vfio-pci with a real kernel: a peer emulator's guest with an IOMMU gives its NVMe and e1000 to our program.

The peer (qemu-system-x86_64 of the distribution, software CPU) boots a stock kernel with an initramfs that holds our
program, its libraries and tests/functional/vfio-pci-guest.c, which drives the devices through the qtest accelerator.
Then our program boots the same kernel as a guest of its own on its software CPU, whose nvme driver uses the device; and once
more with KVM, where the kernel hands the device's interrupts to the guest.
"""
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = pathlib.Path(os.environ.get("QEMU_BINARY", ROOT / "build/system/qemu-system-x86_64"))
DRIVER = BINARY.parent.parent / "tests/functional/vfio-pci-guest"
PEER = shutil.which("qemu-system-x86_64", path="/usr/bin")
MODULES = ["irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci", "kvm", "kvm-amd"]
CASES = ["test_nvme", "test_nvme_trapped", "test_e1000", "test_two_devices", "test_refused", "test_busy",
         "test_options", "test_requested_back", "test_bus_reset", "test_shared_group", "test_documented_lines"]

INIT = guest.PROLOGUE + guest.SAY_APART + """
for m in {modules}; do insmod /modules/$m.ko || echo "no module $m"; done
# give ADDRESS: to vfio-pci, whatever driver has it.
give() {{
    echo vfio-pci > /sys/bus/pci/devices/$1/driver_override
    [ -e /sys/bus/pci/devices/$1/driver ] && echo $1 > /sys/bus/pci/devices/$1/driver/unbind
    echo $1 > /sys/bus/pci/drivers_probe
}}
export VFIO_NVME=0000:00:04.0 VFIO_E1000=0000:00:05.0 VFIO_NOT_GIVEN=0000:00:07.0
export VFIO_PAIR=0000:00:06.0 VFIO_PAIR_OTHER=0000:00:06.1
bus=$(ls /sys/bus/pci/devices/0000:00:08.0/pci_bus)
export VFIO_BUS=$bus:01.0 VFIO_BUS_OTHER=$bus:02.0
give $VFIO_NVME; give $VFIO_E1000; give $VFIO_PAIR; give $VFIO_BUS; give $VFIO_BUS_OTHER
# These two have no reset of their own from here on.
for device in $VFIO_BUS $VFIO_BUS_OTHER; do
    methods=/sys/bus/pci/devices/$device/reset_method
    [ -e $methods ] && echo > $methods
done
export QTEST_QEMU_BINARY=/qemu TMPDIR=/tmp
/driver 2>&1
echo "driver ended: $?"
/qemu -machine q35,accel=tcg -m 128 -nodefaults -nographic -kernel /vmlinuz -initrd /inner.gz \\
    -serial file:/tmp/console -serial file:/tmp/said \\
    -append "console=ttyS0 no_timer_check quiet" -device vfio-pci,host=$VFIO_NVME </dev/null
echo "inner guest ended: $?"
cat /tmp/said
cat /tmp/console >/dev/console
/qemu -machine q35,accel=kvm -cpu host -m 128 -nodefaults -nographic -kernel /vmlinuz -initrd /inner.gz \\
    -serial file:/tmp/console -serial file:/tmp/said \\
    -append "console=ttyS0 no_timer_check quiet who=kvm" -device vfio-pci,host=$VFIO_NVME -trace 'vfio_vector' </dev/null
echo "kvm guest ended: $?"
cat /tmp/said
cat /tmp/console >/dev/console
poweroff -f
"""

# The guest of our program: its driver reads the pattern and writes what the host then finds in the image.
INNER = guest.PROLOGUE + guest.SAY_APART + """
while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done
w=inner; grep -q who=kvm /proc/cmdline && w=kvm
echo "$w: read $(dd if=/dev/nvme0n1 bs=512 count=1 2>/dev/null | md5sum | cut -d' ' -f1)"
yes vfio | head -c 262144 | dd of=/dev/nvme0n1 bs=64k seek=16 conv=fsync 2>/dev/null && echo "$w: written"
echo "$w: interrupts $(grep 'PCI-MSI.*nvme0q' /proc/interrupts | awk '{ n += $2 } END { print n }')"
poweroff -f
"""
PAGE = (ROOT / "docs/system/vfio-pci.md").read_text(encoding="utf-8")


def documented_lines():
    """The command lines of the page, and those its tables have as examples, without the program's name."""
    whole = re.findall(r"^    qemu-system-x86_64 ((?:.*\\\n)*.*)$", PAGE, re.M)
    parts = re.findall(r"^\|.*\| `(-(?:device|object) .*)` \|$", PAGE, re.M)
    lines = [" ".join(line.replace("\\\n", " ").split()) for line in whole] + ["-machine q35 -m 64 " + p for p in parts]
    assert len(lines) == PAGE.count("    qemu-system-x86_64 ") + 4
    return lines


PATTERN = bytes(i * 7 % 256 for i in range(512))


def make_initramfs(path, vmlinuz, modules):
    files = guest.libraries(BINARY, DRIVER)
    inner = guest.initramfs(path.with_name("inner.gz"), INNER)
    files["vmlinuz"] = (0o100644, vmlinuz.read_bytes())
    files["inner.gz"] = (0o100644, inner.read_bytes())
    files["qemu"] = (0o100755, BINARY.read_bytes())
    files["lines"] = (0o100644, "\n".join(documented_lines()).encode())
    files["driver"] = (0o100755, DRIVER.read_bytes())
    for module in modules:
        files[f"modules/{module.name}"] = (0o100644, module.read_bytes())
    return guest.initramfs(path, INIT.format(modules=" ".join(MODULES)), {**guest.directories(files), **files})


@pytest.fixture(name="output", scope="module")
def output_fixture(tmp_path_factory):
    """What the guest printed: one boot for all cases."""
    if not PEER:
        pytest.skip("no qemu-system-x86_64 of the distribution to run the guest's guest in")
    assert DRIVER.exists(), f"{DRIVER} is not built"
    tmp = tmp_path_factory.mktemp("vfio-pci")
    disk = tmp / "disk.img"
    disk.write_bytes(PATTERN + bytes(4 << 20))
    shared = tmp / "shared.img"
    shared.write_bytes(PATTERN + bytes(4 << 20))
    vmlinuz, modules = guest.kernel_with_modules(MODULES)
    initrd = make_initramfs(tmp / "initrd.gz", vmlinuz, modules)
    command = [
        PEER, "-accel", "tcg", "-cpu", "max", "-M", "q35,kernel-irqchip=off", "-m", "1024", "-nodefaults", "-nographic",
        "-serial", f"file:{tmp}/console", "-serial", "stdio", "-no-reboot", "-kernel", str(vmlinuz), "-initrd", str(initrd),
        "-append", "console=ttyS0 quiet intel_iommu=on no_timer_check panic=-1",
        "-device", "intel-iommu,intremap=on",
        "-device", "e1000,mac=52:54:00:12:34:56,addr=5",
        # Two functions on a bus of their own.
        "-device", "pcie-pci-bridge,id=bridge,addr=8",
        "-device", "e1000,bus=bridge,addr=1,romfile=", "-device", "e1000,bus=bridge,addr=2,romfile="]
    # Functions of one slot without access control share an IOMMU group.
    for n, addr in enumerate(["4", "6.0,multifunction=on", "6.1", "7"]):
        image = f"file={shared},snapshot=on" if n else f"file={disk}"
        command += ["-drive", f"id=d{n},{image},format=raw,if=none",
                    "-device", f"nvme,serial=given-away-{n},drive=d{n},addr={addr}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=3600, check=False)
    text = done.stdout.decode(errors="replace")
    print(text, "\nThe first serial port:\n", (tmp / "console").read_text(errors="replace"))
    return text, disk


@pytest.mark.parametrize("case", CASES)
def test_case(output, case):
    assert re.search(rf"\[ +OK +\] {case}\r?\n", output[0]), output[0][-6000:]


def test_all_cases_ended(output):
    """No case of the driver is missing above, and none crashed."""
    assert sorted(set(re.findall(r"\[ RUN +\] (\w+)", output[0]))) == sorted(CASES)
    assert "driver ended: 0" in output[0]


def test_linux_guest(output):
    """A stock driver in a guest of our software CPU: DMA both ways and MSI-X through the host's IOMMU."""
    text, disk = output
    said = dict(re.findall(r"inner: (\w+) ?(\w*)", text))
    assert "inner guest ended: 0" in text, text[-6000:]
    assert said["read"] == hashlib.md5(PATTERN).hexdigest()
    assert "written" in said
    assert int(said["interrupts"]) >= 5
    assert disk.read_bytes()[16 << 16:(16 << 16) + 262144] == (b"vfio\n" * 60000)[:262144]


def test_linux_guest_of_kvm(output):
    """The same with our KVM accelerator: every vector of the disk's queues interrupts without our program."""
    text = output[0]
    said = dict(re.findall(r"kvm: (\w+) ?(\w*)", text))
    assert "kvm guest ended: 0" in text, text[-6000:]
    assert said["read"] == hashlib.md5(PATTERN).hexdigest()
    assert "written" in said
    assert int(said["interrupts"]) >= 5
    assert "MSI vector 1 interrupts directly" in text


@pytest.mark.parametrize("what", [["-device", "vfio-pci,help"], ["-object", "iommufd,help"]])
def test_every_option_is_documented(what):
    text = subprocess.run([str(BINARY), *what], check=True, text=True, stdout=subprocess.PIPE).stdout
    options = re.findall(r"^  ([\w-]+)=", text, re.M)
    assert options and [name for name in options if not re.search(rf"`{name}[=`]", PAGE)] == []


def test_every_option_has_a_command_line():
    """And a test runs it: test_documented_lines, in the guest."""
    text = subprocess.run([str(BINARY), "-device", "vfio-pci,help"], check=True, text=True, stdout=subprocess.PIPE).stdout
    lines = " ".join(documented_lines())
    assert [name for name in re.findall(r"^  ([\w-]+)=", text, re.M) if not re.search(rf"[, ]{name}=", lines)] == []
