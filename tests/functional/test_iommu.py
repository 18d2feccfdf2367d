# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Debian kernel behind intel-iommu: its disk in process and in another process, by translated addresses; a function
whose mapping is not there; remapped interrupts; and ACPI tables as the guest has them."""
import re
import shutil
import subprocess

import pytest

from test_guest import BINARY, VERIFY, check_disk, console_words, image_fixture, make_initrd, server_fixture  # noqa: F401
import guest

KINDS = """
echo "test: groups $(cat /sys/kernel/iommu_groups/*/type | sort -u | tr '\\n' ' ')"
dmesg | grep -E 'DMAR|ACPI|x2apic' | sed 's/^/test: log /'
sed 's/^/test: irq /' /proc/interrupts
"""


def boot(initrd, *extra, append="", ram=256, kernel=None):
    """The console's text of a machine that powered itself off."""
    command = [BINARY, "-machine", "q35,accel=tcg", "-nodefaults", "-nographic", "-serial", "stdio", "-m", str(ram),
               "-object", f"memory-backend-memfd,id=mem,size={ram}M,share=on", "-machine", "memory-backend=mem",
               "-kernel", str(kernel or guest.kernel()), "-initrd", str(initrd),
               "-append", f"{guest.CMDLINE} intel_iommu=on {append}", *extra]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def check_log(out, groups):
    assert console_words(out, "test: groups ")[0].split() == groups, out[-3000:]
    log = "\n".join(console_words(out, "test: log "))
    assert "DMAR: IOMMU enabled" in log
    for bad in ("fault", "ACPI Error", "ACPI BIOS", "ACPI Warning", "firmware bug", "Failed"):
        assert bad.lower() not in log.lower(), log
    return log


@pytest.mark.parametrize("options,append,groups,x2apic", [
    ("", "", ["DMA-FQ"], False),
    ("caching-mode=on,aw-bits=48", "", ["DMA"], True),
    ("intremap=off", "iommu.strict=1", ["DMA"], False),
    ("", "iommu=pt", ["identity"], False),
])
def test_disk_in_process(tmp_path, image, options, append, groups, x2apic):
    initrd = make_initrd(tmp_path, VERIFY + KINDS)
    out = boot(initrd, "-device", f"intel-iommu,{options}".rstrip(","), "-drive", f"id=d0,file={image},format=raw,if=none",
               "-device", "nvme,serial=s,drive=d0", *(["-cpu", "max", "-smp", "2"] if x2apic else []), append=append)
    check_disk(out, image)
    log = check_log(out, groups)
    remapped = "intremap=off" not in options
    assert ("Enabled IRQ remapping in x2apic mode" in log) == x2apic
    assert ("Enabled IRQ remapping" in log) == remapped
    lines = [line for line in console_words(out, "test: irq ") if "nvme0q" in line or "timer" in line and "edge" in line]
    assert len(lines) >= 3 and all(("IR-" in line) == remapped for line in lines), lines


@pytest.mark.parametrize("option,append,groups", [("", "", ["DMA"]), (",no-direct-dma=on", "", ["DMA"]),
                                                  ("", "iommu=pt", ["identity"])])
def test_disk_in_another_process(tmp_path, image, server, option, append, groups):
    process, sock = server()
    initrd = make_initrd(tmp_path, VERIFY + KINDS)
    out = boot(initrd, "-device", "intel-iommu,caching-mode=on", "-device", f"vfio-user-pci,socket={sock}{option}",
               append=append)
    check_disk(out, image)
    check_log(out, groups)
    assert process.wait() == 0


# Modules of virtio are not in the kernel; two disks, of which one driver honours the IOMMU and the other gives addresses
# of memory, as drivers of before version 1 do.
VIRTIO = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk"]
VIRTIO_DISKS = f"""
for m in {' '.join(VIRTIO)}; do insmod /$m.ko || echo test: insmod $m failed; done
for disk in vda vdb; do
    while [ ! -b /dev/$disk ]; do sleep 0.1; done
    yes $disk | dd of=/dev/$disk bs=64k count=8 conv=fsync iflag=fullblock 2>/dev/null && echo test: written $disk
done
"""


def test_virtio_with_and_without_the_iommu(tmp_path):
    vmlinuz, modules = guest.kernel_with_modules(VIRTIO)
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + VIRTIO_DISKS + KINDS + "\npoweroff -f\n",
                             {f.name: (0o100644, f.read_bytes()) for f in modules})
    extra = ["-device", "intel-iommu"]
    for n, options in enumerate(["", ",iommu_platform=on,disable-legacy=on"]):
        image = tmp_path / f"disk{n}.img"
        image.write_bytes(bytes(1 << 20))
        extra += ["-drive", f"id=d{n},file={image},format=raw,if=none", "-device", f"virtio-blk-pci,drive=d{n}{options}"]
    out = boot(initrd, *extra, kernel=vmlinuz)
    check_log(out, ["DMA-FQ"])
    assert console_words(out, "test: written ") == ["vda", "vdb"], out[-3000:]
    for n, disk in enumerate(["vda", "vdb"]):
        assert (tmp_path / f"disk{n}.img").read_bytes()[: 512 << 10] == f"{disk}\n".encode() * (128 << 10)


# edu at its first BAR: DMA_SRC, DMA_DST, DMA_CNT, DMA_CMD; no driver is bound to it, so nothing is mapped for it.
EDU = """
dev=$(grep -l 0x11e8 /sys/bus/pci/devices/*/device); dev=${dev%/device}
echo 1 > $dev/enable
printf '\\006\\000' | dd of=$dev/config bs=1 seek=4 conv=notrunc 2>/dev/null
bar=$(head -1 $dev/resource | cut -d' ' -f1)
echo test: edu $(devmem $bar 32)
devmem $((bar + 0x80)) 64 0x40000
devmem $((bar + 0x88)) 64 0x1234000
devmem $((bar + 0x90)) 64 64
devmem $((bar + 0x98)) 64 3
while ! dmesg | grep -q 'fault addr'; do sleep 0.1; done
dmesg | grep DMAR | sed 's/^/test: log /'
"""
FAULT = r"\[DMA Write NO_PASID\] Request device \[00:01\.0\] fault addr 0x1234000 \[fault reason 0x05\]"


def fault_of(out):
    assert console_words(out, "test: edu ") == ["0x010000ED"], out[-3000:]
    return [line.split("] ", 1)[1] for line in console_words(out, "test: log ") if "fault addr" in line]


def test_unmapped_address_is_a_fault_in_the_log(tmp_path):
    initrd = make_initrd(tmp_path, EDU)
    faults = fault_of(boot(initrd, "-device", "intel-iommu", "-device", "edu"))
    assert len(faults) == 1 and re.search(FAULT, faults[0])


def test_the_peer_logs_the_same(tmp_path):
    """What the guest prints under the distribution's emulator, of the same device and the same mistake."""
    peer = shutil.which("qemu-system-x86_64", path="/usr/bin")
    if not peer:
        pytest.skip("no qemu-system-x86_64 of the distribution")
    initrd = make_initrd(tmp_path, EDU)
    theirs = subprocess.run([peer, "-machine", "q35,accel=tcg", "-nodefaults", "-nographic", "-serial", "stdio", "-m", "256",
                             "-kernel", str(guest.kernel()), "-initrd", str(initrd),
                             "-append", "console=ttyS0 no_timer_check quiet intel_iommu=on", "-device", "intel-iommu", "-device", "edu"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    ours = boot(initrd, "-device", "intel-iommu", "-device", "edu")
    assert fault_of(theirs.stdout) == fault_of(ours)
