# SPDX-License-Identifier: GPL-2.0-or-later
"""The KVM accelerator on this machine's /dev/kvm, even one that only emulates its guests: tests/kvm/kernel-kvm.c."""
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("QEMU_BINARY", ROOT / "build/system/qemu-system-x86_64"))
KERNEL = BINARY.resolve().parents[1] / "tests/kvm/kernel-kvm.bin"
REFUSE_MSR = KERNEL.with_name("librefuse-msr.so")
FIRMWARE = pathlib.Path("/usr/share/seabios/bios-256k.bin")
IRQCHIPS = ["on", "split", "off"]
needs_kvm = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm here")
TESTS = ["port", "string", "mmio64", "mmio_string", "nothing_there", "pic", "ioapic", "apic_timer", "self", "priority_high",
         "priority_read", "priority_low", "second_cpu"]
EDU_TESTS = ["edu_id", "edu_liveness", "edu_line", "edu_msi", "edu_factorial"]


def command(*args, accel="kvm"):
    return [str(BINARY), "-machine", f"q35,accel={accel}", "-smp", "2", "-m", "128", "-nodefaults", "-display", "none", *args]


def run_kernel(tmp, *args, accel="kvm", cpu="max", at_end=None):
    """What the kernel prints up to END, and what the program said."""
    output, errors = tmp / "serial", tmp / "stderr"
    with open(errors, "w", encoding="utf-8") as stderr, subprocess.Popen(
            command("-cpu", cpu, "-chardev", f"file,id=c0,path={output}", "-serial", "chardev:c0", "-kernel", str(KERNEL),
                    "-no-reboot", *args, accel=accel), stdin=subprocess.DEVNULL, stderr=stderr) as process:
        end = time.monotonic() + 300
        try:
            while True:
                assert time.monotonic() < end, output.read_text(encoding="latin-1")
                text = output.read_text(encoding="latin-1").replace("\r", "") if output.exists() else ""
                if text.endswith("END\n"):
                    if at_end:
                        at_end()
                    return text.splitlines(), errors.read_text(encoding="utf-8")
                assert process.poll() is None and text.count("BEGIN") < 2, errors.read_text(encoding="utf-8") + text
                time.sleep(0.02)
        finally:
            process.kill()


def expected(tests):
    lines = ["BEGIN", *(f"{name}: ok" for name in tests), "END"]
    lines.insert(lines.index("string: ok"), "string: written")
    return lines


@needs_kvm
@pytest.mark.parametrize("irqchip", IRQCHIPS)
def test_kernel(tmp_path, irqchip):
    """Ports, device memory, interrupts of each kind, a second processor, a device by line and by message."""
    lines, said = run_kernel(tmp_path, "-device", "edu,addr=4", accel=f"kvm,kernel-irqchip={irqchip}")
    assert lines == expected(TESTS + EDU_TESTS)
    assert len(said.splitlines()) <= 1, said  # at most the MSRs that the host refuses


def test_kernel_on_tcg(tmp_path):
    """The kernel itself is right."""
    assert run_kernel(tmp_path, "-device", "edu,addr=4", accel="tcg")[0] == expected(TESTS + EDU_TESTS)


def ask(path, line):
    """What the monitor answers to one line."""
    with socket.socket(socket.AF_UNIX) as conn:
        conn.settimeout(300)
        conn.connect(str(path))
        file = conn.makefile("rw", encoding="utf-8")
        for command_ in ({"execute": "qmp_capabilities"},
                         {"execute": "human-monitor-command", "arguments": {"command-line": line}}):
            file.write(json.dumps(command_) + "\n")
            file.flush()
        answers = []
        while len(answers) < 2:
            answer = json.loads(file.readline())
            answers += [answer["return"]] if "return" in answer else []
    return answers[1]


class Server:
    """A process of its own with the devices edu and nvme."""

    def __init__(self, tmp):
        disk = tmp / "disk"
        disk.write_bytes(bytes(1 << 20))
        self.paths = {name: tmp / f"{name}.sock" for name in ("edu", "nvme")}
        objects = [arg for name, path in self.paths.items()
                   for arg in ("-object", f"x-vfio-user-server,id=s-{name},type=unix,path={path},device={name}")]
        self.process = subprocess.Popen([
            str(BINARY), "-machine", "x-remote,vfio-user=on", "-nodefaults", "-display", "none", "-device", "edu,id=edu",
            "-drive", f"id=d0,file={disk},format=raw,if=none", "-device", "nvme,id=nvme,serial=s,drive=d0", *objects],
            stdin=subprocess.DEVNULL)
        end = time.monotonic() + 300
        while not all(path.exists() for path in self.paths.values()):
            assert self.process.poll() is None and time.monotonic() < end
            time.sleep(0.01)

    def devices(self, options=""):
        ram = ["-object", "memory-backend-memfd,id=mem,size=128M,share=on", "-machine", "memory-backend=mem"]
        return ram + [arg for name, addr in (("edu", 4), ("nvme", 5))
                      for arg in ("-device", f"vfio-user-pci,socket={self.paths[name]},addr={addr}{options}")]


@pytest.fixture(name="server")
def server_fixture(tmp_path):
    server = Server(tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


DIRECT = re.compile(r"(MSI|INTx) vector \d+ .*directly")


@needs_kvm
@pytest.mark.parametrize("irqchip, options, kinds", [
    ("on", "", {"INTx", "MSI"}), ("split", "", {"MSI"}), ("off", "", set()),
    ("on", ",x-no-kvm-intx=on", {"MSI"}), ("on", ",x-no-kvm-msi=on", {"INTx"}),
    ("on", ",x-no-kvm-ioeventfd=on", {"INTx", "MSI"})])
def test_remote_devices(tmp_path, server, irqchip, options, kinds):
    """Interrupts of another process enter the guest by irqfd, unless told not to."""
    monitor = tmp_path / "qmp"
    found = {}

    def look():
        found.update(re.findall(r"^([\w-]+): (\w+)\r?$", ask(monitor, "info kvm"), re.M))

    lines, said = run_kernel(tmp_path, "-trace", "vfio*", "-qmp", f"unix:{monitor},server=on,wait=off",
                             *server.devices(options), accel=f"kvm,kernel-irqchip={irqchip}", at_end=look)
    assert lines == expected(TESTS + EDU_TESTS + ["nvme"])
    assert {match.group(1) for match in map(DIRECT.search, said.splitlines()) if match} == kinds, said
    assert found["kernel-irqchip"] == irqchip
    # The disk in slot 5 still has INTx, edu its message.
    assert int(found["irqfds"]) == ("INTx" in kinds) + ("MSI" in kinds)


@pytest.mark.parametrize("args", [["-machine", "q35,accel=kvm:tcg"], ["-accel", "kvm", "-accel", "tcg"],
                                  ["-enable-kvm", "-accel", "tcg"]])
def test_falls_back_with_one_line(args):
    """Where KVM runs a 64-bit guest it is used; else one line says which does, and why."""
    done = subprocess.run([str(BINARY), *args, "-nodefaults", "-display", "none", "-S", "-monitor", "stdio"],
                          input="info kvm\nquit\n", capture_output=True, text=True, timeout=300, check=True)
    if "kvm support: enabled" in done.stdout:
        assert "using" not in done.stderr
    else:
        assert re.fullmatch(r"qemu-system-x86_64: -accel: passed over 'kvm': [^\n]+; using tcg\n", done.stderr), done.stderr


@needs_kvm
@pytest.mark.skipif(not FIRMWARE.exists(), reason="Debian's package seabios is not installed")
def test_firmware(tmp_path):
    """SeaBIOS looks for something to boot: 16-bit code, timers, PCI, ROM that becomes RAM under running code."""
    output = tmp_path / "log"
    with subprocess.Popen(command("-chardev", f"file,id=c0,path={output}", "-device", "isa-debugcon,chardev=c0,iobase=0x402",
                                  accel="kvm"), stdin=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 300
            while not output.exists() or b"No bootable device" not in output.read_bytes():
                assert process.poll() is None and time.monotonic() < end, output.read_text(encoding="latin-1")
                time.sleep(0.05)
        finally:
            process.kill()


@needs_kvm
@pytest.mark.parametrize("cpu, line", [
    ("max,+no-such", "-cpu max,+no-such: unknown feature 'no-such'"),
    ("Z80", "-cpu Z80: unknown model 'Z80', there are host, max, qemu64, "),
    ("max,sse=maybe", "-cpu max,sse=maybe: 'sse=maybe': a feature is +NAME, -NAME, NAME=on or NAME=off")])
def test_bad_cpu(cpu, line):
    done = subprocess.run(command("-cpu", cpu), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode == 1
    assert line in done.stderr.splitlines()[-1]


@needs_kvm
def test_features_the_host_lacks_are_named(tmp_path):
    """No processor has both: 3dnow and amx."""
    lines, said = run_kernel(tmp_path, cpu="qemu64,+3dnow,+amx-tile,-sse3")
    assert lines == expected(TESTS)
    warning = next(line for line in said.splitlines() if "-cpu" in line)
    assert re.match(r"qemu-system-x86_64: warning: -cpu qemu64,\+3dnow,\+amx-tile,-sse3: the host does not support ", warning)
    assert "3dnow" in warning or "amx-tile" in warning


@needs_kvm
def test_refused_msr_is_left_out_with_one_warning(tmp_path, monkeypatch):
    """Of two processors; the guest runs on without it."""
    monkeypatch.setenv("LD_PRELOAD", str(REFUSE_MSR))
    monkeypatch.setenv("REFUSED_MSR", "0x277")  # IA32_PAT, which every host lists
    lines, said = run_kernel(tmp_path)
    assert lines == expected(TESTS)
    assert [line for line in said.splitlines() if "MSR" in line] == [
        "qemu-system-x86_64: warning: kvm: the host lists MSR 0x277 and refuses it; it is left out of the CPU's state"]


@needs_kvm
def test_bad_ring_size():
    done = subprocess.run(command("-accel", "kvm,dirty-ring-size=1000"), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "bad dirty-ring-size (1000, allowed powers of two, 1024.." in done.stderr
