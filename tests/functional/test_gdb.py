# SPDX-License-Identifier: GPL-2.0-or-later
"""The gdb stub: Debian's gdb debugs a test kernel on two CPUs and a program of a Linux guest; packets of a hostile peer."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/split")]
import guest  # noqa: E402
from bare_guest import COUNTER, LOAD, Guest, forever, increment  # noqa: E402

BINARY = pathlib.Path(os.environ.get("QEMU_BINARY", ROOT / "build/system/qemu-system-x86_64"))
KERNELS = BINARY.resolve().parents[1] / "tests/tcg/kernels"
needs_kvm = pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="no /dev/kvm here")
needs_gdb = pytest.mark.skipif(not shutil.which("gdb"), reason="gdb is not installed")


def wait_for_stub(path, process):
    """Until it listens: the name is there a moment before that (unix(7), __SO_ACCEPTCON in /proc/net/unix)."""
    while not re.search(rf"^\S+ \S+ \S+ 00010000 .* {re.escape(str(path))}$", pathlib.Path("/proc/net/unix").read_text(encoding="utf-8"), re.M):
        assert process.poll() is None
        time.sleep(0.01)


@pytest.fixture(name="machine")
def machine_fixture(tmp_path):
    """Starts a machine whose stub listens at tmp_path/gdb; ended after the test."""
    started = []

    def start(*args):
        process = subprocess.Popen([BINARY, "-machine", "q35", "-cpu", "max", "-nodefaults", "-display", "none", "-serial",
                                    f"file:{tmp_path}/serial", "-gdb", f"unix:{tmp_path}/gdb,server=on,wait=off", *args])
        started.append(process)
        wait_for_stub(tmp_path / "gdb", process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_kernel(*extra):
    return ["-smp", "2", "-m", "128", "-kernel", str(KERNELS / "kernel64.bin"), *extra]


test_kernel.__test__ = False


def gdb(tmp_path, program, *commands):
    script = tmp_path / "commands"
    script.write_text("\n".join(["set pagination off", "set confirm off", f"file {program}",
                                 f"target remote {tmp_path}/gdb", *commands]) + "\n", encoding="ascii")
    return subprocess.run(["gdb", "-nx", "-batch", "-x", str(script)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False).stdout


def words(text, *wanted):
    """Each pattern is found behind the one before."""
    at = 0
    for pattern in wanted:
        found = re.compile(pattern, re.S).search(text, at)
        assert found, f"{pattern!r} not in:\n{text[at:]}"
        at = found.end()


@needs_gdb
@pytest.mark.parametrize("jit", ["on", "off"])
def test_debugs_a_kernel(machine, tmp_path, jit):
    machine(*test_kernel("-S", "-accel", f"tcg,jit={jit}"))
    text = gdb(tmp_path, KERNELS / "kernel64.elf",
               "break kernel_main", "continue", "stepi", "info registers rip cr0 efer", "set $xmm1.v2_int64[1] = 0x1122334455667788",
               "p/x $xmm1.v2_int64", "p/x $mxcsr", "p/x $fctrl", "p/x $cs", "info threads", "delete",
               "watch *(long *)&fault", "continue", "p *(long *)&fault", "delete",
               "hbreak change_itself", "continue", "x/i $pc", "delete",
               # Code that is written here is what runs: `xor %ecx,%ecx` becomes `mov $5,%cl; nop` of the same length and more.
               "p/x *(unsigned char *)change_itself", "set var *(unsigned short *)change_itself = 0x05b1", "stepi", "p/x $ecx & 0xff",
               "set $ecx = 0", "break *0x8000", "continue", "info threads", "delete",
               "awatch *(int *)0x7008", "continue", "continue", "delete", "rwatch *(int *)0x7004", "delete",
               "thread 1", "break timer_tick", "continue", "backtrace 2", "x/2i timer_stub",
               "monitor info status", "monitor no-such-command", "delete", "detach")
    words(text, r"Breakpoint 1, \w+ in kernel_main", r"rip +0x\w+ +0x\w+ <kernel_main\+2>", r"cr0 +0x80000033", r"efer +0x500",
          r"= \{0x0, 0x1122334455667788\}", r"= 0x1f80", r"= 0x37f|= 0x40", r"= 0x20", r"\* 1 +Thread 1 \(CPU#0", r"2 +Thread 2 \(CPU#1 \[halted",
          r"Hardware watchpoint \d+: \*\(long \*\)&fault", r"Old value = 0\s+New value = 1", r"= 1\n",
          r"hit Breakpoint \d, \w+ in change_itself", r"=> \w+ <change_itself>:\s+xor +%ecx,%ecx", r"= 0x31", r"= 0x5",
          r"Thread 2 received signal SIGTRAP", r"\* 2 +Thread 2",
          r"access \(read/write\) watchpoint", r"[Vv]alue = \w+", r"[Vv]alue = \w+", r"hit Breakpoint \d+, \w+ in timer_tick",
          r"#0 [^\n]*timer_tick", r"#1 [^\n]*timer_stub", r"<timer_stub>:\s+push +%rax", r"VM status: paused \(debug\)", r"no-such-command",
          r"Remote target\) detached")
    # Detached, it runs to its end.
    while "END" not in (tmp_path / "serial").read_text(encoding="latin-1"):
        time.sleep(0.05)


@needs_gdb
@needs_kvm
@pytest.mark.parametrize("irqchip", ["on", "off"])
def test_debugs_a_kernel_of_kvm(machine, tmp_path, irqchip):
    """Breakpoints in debug registers, on either CPU and in real mode, and single steps, one of them in an interrupt's handler."""
    program = BINARY.resolve().parents[1] / "tests/kvm/kernel-kvm"
    machine("-S", "-smp", "2", "-m", "128", "-accel", f"kvm,kernel-irqchip={irqchip}", "-device", "edu,addr=4", "-kernel",
            str(program.with_suffix(".bin")))
    text = gdb(tmp_path, program.with_suffix(".elf"),
               "break kernel_main", "continue", "stepi", "info registers rip cr0 efer", "delete", "hbreak on_pic", "continue",
               "backtrace 2", "stepi", "x/i $pc", "delete", "break *0x8000", "continue", "info threads", "delete", "stepi",
               "break on_msi", "continue", "backtrace 1", "delete", "detach")
    words(text, r"Breakpoint 1, \w+ in kernel_main", r"rip +0x\w+ +0x\w+ <kernel_main\+2>", r"cr0 +0x80000033", r"efer +0x500",
          r"Breakpoint 2, \w+ in on_pic", r"#1 [^\n]*wait_for", r"=> \w+ <on_pic\+\d>:", r"Thread 2 received signal SIGTRAP",
          r"1 +Thread 1 [^\n]*kernel_main", r"\* 2 +Thread 2", r"0x0*[1-9] in",
          r"Breakpoint \d, \w+ in on_msi", r"Remote target\) detached")
    while "END" not in (tmp_path / "serial").read_text(encoding="latin-1"):
        time.sleep(0.05)
    assert "FAIL" not in (tmp_path / "serial").read_text(encoding="latin-1")


@needs_kvm
def test_points_of_kvm(tmp_path):
    """Four debug registers, then instructions, which are in memory while the CPU runs, and never when it stands.  A host that does
    not stop at accesses, or at instructions, says so when it is asked to."""
    there = LOAD + 0x200 + 0x80  # in the image, not run
    with_rest = forever(increment(COUNTER)).ljust(0x80, b"\x90") + bytes(range(64))
    vm = Guest(tmp_path, with_rest, "-gdb", f"unix:{tmp_path}/gdb,server=on,wait=off", accel="kvm")
    try:
        vm.goes_on()
        points_of_kvm(vm, Peer(tmp_path / "gdb"), there)
        vm.goes_on()
        assert vm.ram[there:there + 64] == bytes(range(64))
    finally:
        assert vm.close() == 0


def points_of_kvm(vm, peer, there):
    code = vm.ram[there:there + 64]
    assert code == bytes(range(64))
    assert peer.packet("?") == "T05thread:1;"
    watches = peer.packet("Z2,1000,8")
    assert watches in ("OK", "E.this host's KVM does not stop a guest at accesses in debug registers")
    for point, why in [("Z3,1000,4", "reads alone"), ("Z2,1000,3", "1, 2, 4 or 8 bytes"), ("Z2,1001,4", "in their place"), ("Z4,1000,10", "1, 2, 4 or 8")]:
        answer = peer.packet(point)
        assert answer.startswith("E.") and (why in answer or watches != "OK"), answer
    for n in range(4 - (watches == "OK")):
        assert peer.packet(f"Z1,{n + 2}000,1") == "OK"
    assert peer.packet("Z1,a000,1") == "E.there are 4 debug registers"
    patches = peer.packet(f"Z0,{there:x},1")
    assert patches in ("OK", "E.this host's KVM does not stop a guest at INT3, and the debug registers are taken")
    if patches == "OK":
        for n in range(1, 8):
            assert peer.packet(f"Z0,{there + 2 * n:x},1") == "OK"
        assert peer.packet(f"m{there:x},40") == code.hex()
        answer = peer.packet("Z0,ffff800000000000,1")
        assert answer.startswith("E.no memory that can be written"), answer
    patched = bytes(0xcc if patches == "OK" and n < 16 and n % 2 == 0 else n for n in range(64))
    for _ in range(3):
        count = vm.word(COUNTER)
        peer.send(b"$c#63")
        vm.wait(lambda was=count: vm.word(COUNTER) != was, "the guest to go on")
        assert vm.ram[there:there + 64] == patched
        vm.ram[there + 2] = 0x77  # the guest wrote over one
        peer.send(b"\x03")
        assert peer.reply().startswith("T02")
        assert vm.ram[there:there + 64] == code[:2] + b"\x77" + code[3:]
        vm.ram[there + 2] = 2
    peer.sock.close()


@needs_gdb
def test_debugs_a_program_of_linux(machine, tmp_path):
    program = tmp_path / "program"
    subprocess.run(["gcc", "-nostdlib", "-static", "-no-pie", "-o", program, ROOT / "tests/functional/gdb-guest.S"], check=True)
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + "echo test: up\n/program &\nwait\n",
                             {"program": (0o100755, program.read_bytes())})
    machine("-smp", "2", "-m", "256", "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", guest.CMDLINE, "-S")
    text = gdb(tmp_path, program, "hbreak marked", "continue", "p/d $rdi", "p/d $xmm3.v2_int64[1]", "p/d *(long *)&counter", "continue",
               "p/d $rdi", "delete", "watch *(long *)&total", "continue", "x/i $pc", "p/d *(long *)&total", "stepi",
               "x/i $pc", "stepi", "x/i $pc", "delete", "set var *(long *)&counter = 1000", "break marked", "continue",
               "continue", "p/d $rdi", "p/x $cs", "delete", "detach")
    words(text, r"hit Breakpoint 1, \w+ in marked", r"\$1 = 1\n", r"\$2 = 1\n", r"\$3 = 1\n", r"hit Breakpoint 1", r"\$4 = 2\n",
          r"Hardware watchpoint 2", r"Old value = 1\s+New value = 3", r"<marked\+\d+>:\s+nop", r"\$5 = 3\n", r"<marked\+\d+>:\s+ret",
          r"<_start\+\d+>:\s+jmp", r"hit Breakpoint 3", r"hit Breakpoint 3|\$6", r"\$6 = 100[12]\n", r"= 0x33\n", r"detached")


@needs_gdb
def test_interrupt_and_kill(machine, tmp_path):
    process = machine(*test_kernel())
    while "END" not in (tmp_path / "serial").read_text(encoding="latin-1"):
        time.sleep(0.05)
    text = gdb(tmp_path, KERNELS / "kernel64.elf", "x/i $pc", "info threads", "kill")
    words(text, r"=> \w+ <kernel_main\+\d+>", r"Thread 2 \(CPU#1")
    assert process.wait(timeout=300) == 0


class Peer:
    """Speaks the protocol as it likes."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.sock.settimeout(300)

    def send(self, data):
        self.sock.sendall(data)

    def packet(self, body):
        data = body if isinstance(body, bytes) else body.encode()
        self.send(b"$" + data + b"#%02x" % (sum(data) & 0xff))
        return self.reply()

    def byte(self):
        got = self.sock.recv(1)
        assert got, "the stub hung up"
        return got

    def reply(self):
        while (c := self.byte()) != b"$":
            if c == b"-":
                return "-"
        body = b""
        while (c := self.byte()) != b"#":
            body += c
        self.byte()
        self.byte()
        self.send(b"+")
        return body.decode("latin-1")


def test_hostile_packets(machine, tmp_path):
    machine(*test_kernel("-S"))
    peer = Peer(tmp_path / "gdb")
    assert peer.packet("?") == "T05thread:1;"
    peer.send(b"$g#00")
    assert peer.byte() == b"-"
    assert len(peer.packet("g")) > 500
    for body, reply in [("m0,ffffffffffffffff", "E16"), ("m,", "E16"), ("m0", "E16"), ("mzz,1", "E16"), ("m10000000000000000,1", "E16"),
                        ("p9999", "E16"), ("p", "E16"), ("P0=12", "E16"), ("G00", "E16"), ("M0,ffffffff:00", "E16"), ("X0,5:ab", "E16"),
                        ("Hg7f", "E03"), ("Hx1", "E03"), ("T7", "E03"), ("Z0,1", "E16"), ("Z9,0,1", "E16"), ("Z2,0,0", "E16"),
                        ("Z2,ffffffffffffffff,8", "E16"), ("z0,1,1", "E16"), ("vCont;x", "E16"), ("vCont;c:77", "E16"), ("cxyz", "E16"),
                        ("qXfer:features:read:other.xml:0,10", "E00"), ("qXfer:features:read:target.xml:fffff,10", "E16"),
                        ("qRcmd,zz", "E16"), ("qNothing", ""), ("vMustReplyEmpty", ""), ("", ""), ("\x01\x02", "")]:
        assert peer.packet(body) == reply, body
    peer.send(b"$" + b"m" * 100000 + b"#%02x" % (100000 * ord("m") & 0xff))
    assert peer.byte() == b"-"
    for i in range(256):
        assert peer.packet(f"Z0,{i:x},1") == "OK"
    assert peer.packet("Z0,1000,1") == "E1c"
    # Garbage of all kinds, then an orderly packet.
    state = 12345
    for _ in range(200):
        noise = bytearray()
        for _ in range(50):
            state = (state * 1103515245 + 12345) & 0x7fffffff
            noise.append(state >> 16 & 0xff)
        peer.send(bytes(noise).replace(b"$k#", b"...").replace(b"\x03", b""))
    peer.sock.close()
    peer = Peer(tmp_path / "gdb")
    assert peer.packet("qAttached") == "1"
    assert peer.packet("QStartNoAckMode") == "OK"
    peer.send(b"$qC#b4")
    assert peer.byte() == b"$", "no acknowledgement any more"


def test_accelerator_without_points(tmp_path):
    """No breakpoints, watchpoints and steps: errors to gdb, and one line."""
    with subprocess.Popen([BINARY, "-machine", "q35,accel=qtest", "-smp", "2", "-nodefaults", "-display", "none", "-gdb",
                           f"unix:{tmp_path}/gdb,server=on,wait=off"], stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for_stub(tmp_path / "gdb", process)
            peer = Peer(tmp_path / "gdb")
            assert peer.packet("?") == "T05thread:1;"
            for refused in ("Z0,1000,1", "Z1,1000,1", "Z2,1000,4", "s", "vCont;s:1;c", "vCont;c:1"):
                assert peer.packet(refused) == "E16", refused
            process.terminate()
            _, said = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 0
    assert len([line for line in said.splitlines() if "gdb: accelerator qtest has no breakpoints" in line and "-accel tcg" in line]) == 1, said


def listening_port(pid):
    """The TCP port a process listens on."""
    sockets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        columns = line.split()
        if columns[3] == "0A" and f"socket:[{columns[9]}]" in sockets:
            return int(columns[1].split(":")[1], 16)
    return None


def test_tcp_and_its_short_form():
    command = [BINARY, "-machine", "q35,accel=tcg", "-nodefaults", "-display", "none", "-S"]
    with subprocess.Popen([*command, "-gdb", "tcp::0"]) as process:
        try:
            while not (port := listening_port(process.pid)):
                assert process.poll() is None
                time.sleep(0.02)
            peer = Peer.__new__(Peer)
            peer.sock = socket.create_connection(("127.0.0.1", port), timeout=300)
            assert peer.packet("?") == "T05thread:1;"
            assert "xfer:features:read+" in peer.packet("qSupported:xmlRegisters=i386").lower()
            assert "org.gnu.gdb.i386.sse" in peer.packet("qXfer:features:read:target.xml:0,4000")
            peer.sock.close()
        finally:
            process.kill()
    with socket.socket() as mine:
        try:
            mine.bind(("127.0.0.1", 1234))
            mine.listen()
        except OSError:
            pass  # somebody else listens there
        done = subprocess.run([*command, "-s"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "tcp::1234" in done.stderr and "in use" in done.stderr


def test_without_cpus_and_by_the_monitor(tmp_path):
    done = subprocess.run([BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults", "-gdb", "tcp::0"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1 and "-gdb" in done.stderr and "no CPUs" in done.stderr
    with subprocess.Popen([BINARY, "-machine", "q35", "-nodefaults", "-display", "none", "-monitor", "stdio", "-S"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(f"gdbserver unix:{tmp_path}/g,server=on,wait=off\ngdbserver none\ngdbserver unix:/no/such/x,server=on\nquit\n")
    words(out, r"unix:.*/g", r"gdbserver is off", r"error: .*/no/such/x")
