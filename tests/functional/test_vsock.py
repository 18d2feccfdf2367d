# SPDX-License-Identifier: GPL-2.0-or-later
"""vfio-user over vsock, in a guest of ours: its kernel speaks vsock with itself (vsock_loopback), which not every host does.

The guest runs the library's tests of sockets without descriptors, a split machine whose device is driven through qtest, and
the command line of docs/system/vfio-user.md.
"""
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = pathlib.Path(os.environ.get("QEMU_BINARY", ROOT / "build/system/qemu-system-x86_64"))
BUILD = BINARY.parent.parent
PROGRAMS = {"qemu": BINARY, "edu-test": BUILD / "tests/qtest/edu-test",
            "sockets-test": BUILD / "subprojects/libvfio-user/test/test-vfio-user-sockets"}
MODULES = ["vsock", "vmw_vsock_virtio_transport_common", "vsock_loopback"]
LIBRARY_CASES = ["regions", "interrupts", "dma", "dma_without_waiting", "halves", "deaf_client", "blocking", "any_address", "bad_addresses"]
DEVICE_CASES = ["registers", "factorial", "dma", "bad_dma", "no_interrupts"]
DOCUMENTED = re.search(r"^    \.\.\. (.*\"vsock\".*)$", (ROOT / "docs/system/vfio-user.md").read_text(encoding="utf-8"), re.M).group(1)

INIT = guest.PROLOGUE + f"""
for m in {" ".join(MODULES)}; do insmod /modules/$m.ko || echo "no module $m"; done
export TMPDIR=/tmp QTEST_TRANSPORT=vsock QTEST_QEMU_BINARY=/qemu
/sockets-test vsock 2>&1
echo "library ended: $?"
/edu-test 2>&1
echo "device ended: $?"
/qemu -machine x-remote,vfio-user=on -nodefaults -device edu,id=edu0 \\
    -object x-vfio-user-server,id=vfu0,type=vsock,cid=4294967295,port=4444,device=edu0 &
for i in $(seq 100); do # until the server listens
    printf '%s' '{{"execute":"qmp_capabilities"}}{{"execute":"query-pci"}}{{"execute":"quit"}}' | \\
        /qemu -machine q35,accel=qtest -nodefaults -display none -qmp stdio {DOCUMENTED.replace('"cid":"2"', '"cid":"1"')} && break
    sleep 0.1
done
poweroff -f
"""


@pytest.fixture(name="output", scope="module")
def output_fixture(tmp_path_factory):
    """What the guest printed: one boot for all cases."""
    tmp = tmp_path_factory.mktemp("vsock")
    vmlinuz, modules = guest.kernel_with_modules(MODULES)
    files = guest.libraries(*PROGRAMS.values())
    files.update({name: (0o100755, path.read_bytes()) for name, path in PROGRAMS.items()})
    files.update({f"modules/{m.name}": (0o100644, m.read_bytes()) for m in modules})
    initrd = guest.initramfs(tmp / "initrd.gz", INIT, {**guest.directories(files), **files})
    done = subprocess.run(
        [BINARY, "-machine", "q35,accel=tcg", "-cpu", "max", "-m", "512", "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot",
         "-kernel", str(vmlinuz), "-initrd", str(initrd), "-append", guest.CMDLINE + " panic=-1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    print(text)
    return text


@pytest.fixture(name="parts", scope="module")
def parts_fixture(output):
    return re.split(r"(?:library|device) ended: \d+\r?\n", output)


@pytest.mark.parametrize("case", LIBRARY_CASES)
def test_library(parts, case):
    assert re.search(rf"\[ +OK +\] test_{case}\r?\n", parts[0]), parts[0][-6000:]


@pytest.mark.parametrize("case", DEVICE_CASES)
def test_device(parts, case):
    """A device of a server with type=vsock, as the guest of a client on vsock sees it."""
    assert re.search(rf"\[ +OK +\] test_{case}\r?\n", parts[1]), parts[1][-6000:]


def test_all_cases_ended(output):
    assert re.findall(r"(\w+) ended: (\d+)", output) == [("library", "0"), ("device", "0")], output[-6000:]


def test_documented_command_line(parts):
    assert re.search(r'"x-state": *"connected"', parts[2]), parts[2]
