# SPDX-License-Identifier: GPL-2.0-or-later
"""The human monitor: what it shows, memory, ports and expressions, completion and history."""
import pathlib
import re
import socket
import sys
import time

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "split")]
import machine  # noqa: E402
from test_options import start_fixture  # noqa: E402,F401  pylint: disable=unused-import


def hmp(vm, line):
    return vm.qmp("human-monitor-command", **{"command-line": line})["return"].rstrip("\n")


INFO = {
    "status": r"VM status: (running|paused.*)", "version": r".*QMP 7\.2\.0.*", "mtree": r".*memory.*system.*", "mtree -f": r".*",
    "pci": r".*Bus +0, device +31, function 0.*", "qtree": r'.*dev: edu, id "e".*', "qom-tree": r".*/machine.*peripheral.*",
    "registers": r"CPU#0.*RIP=.*", "irq": r"IRQ statistics for.*", "pic": r".*pin 23 .*pic0: irr=.*", "cpus": r"\* CPU #0:.*",
    "block": r"d0: .*null-co.*", "network": r"n0.*link.*", "chardev": r".*serial0: filename=null.*", "migrate": r".*",
    "migrate_parameters": r".*max-bandwidth: 134217728 bytes/second\ndowntime-limit: 300 ms\ncpu-throttle-initial: 20\n.*",
    "migrate_capabilities": r"events: on\nauto-converge: off\n.*",
    "jit": r"CPU#0: \d+ blocks.*code memory.*", "kvm": r"kvm support: disabled",
}


@pytest.fixture(name="vm")
def vm_fixture(start):
    return start("-S", "-device", "edu,id=e", "-drive", "id=d0,file=null-co://,if=none", "-netdev", "user,id=n0", "-serial", "null",
                 accel="tcg")


def test_info(vm):
    for subject, pattern in INFO.items():
        text = hmp(vm, f"info {subject}")
        assert re.fullmatch(pattern, text, re.S), (subject, text)
    listed = hmp(vm, "info")
    for subject in INFO:
        assert f"info {subject.split()[0]} " in listed


def test_info_under_qtest_has_no_registers_to_show_but_does_not_fail(start):
    vm = start()
    for subject in INFO:
        hmp(vm, f"info {subject}")
    assert "tcg" in hmp(vm, "info jit")


def test_irqs_are_counted(start):
    vm = start("-device", "edu,id=e")
    before = hmp(vm, "info irq")
    vm.qtest("outb 0x43 0x34")
    vm.qtest("outb 0x40 0x00")
    vm.qtest("outb 0x40 0x10")
    vm.qtest("clock_step 100000000")
    after = hmp(vm, "info irq")
    count = int(re.search(r"^ 0: (\d+)$", after, re.M)[1])
    assert count > 10 and after != before


@pytest.mark.parametrize("line, text", [
    ("p 1+2*3", "0x7"), ("p /x (1<<12)|0x0f", "0x100f"), ("print /d -1", "-1"), ("p -1", "0xffffffffffffffff"), ("p /x ~0", "0xffffffffffffffff"), ("p /d 7%4-8/4", "1"), ("p /d -5%3", "-2"), ("p /d -7/2", "-3"), ("p /d (1<<63)/-1", "-9223372036854775808"),
    ("p /x 0xff&0x0f^3", "0xc"), ("p /u 1 << 63 >> 62", "2"), ("p /x $cs", "0xf000"), ("p $rip", "0xfff0"), ("p $eip", "0xfff0"), ("p $pc", "0xfffffff0"), ("p $cs.base", "0xffff0000"), ("p $ds.limit", "0xffff"), ("p $edx-$rdx", "0x0"), ("p /c 65", "'A'"),
    ("p /o 8", "010"), ("p 1/0", "division by zero"), ("p $zz", "unknown register '$zz'"), ("p (1", "')' is missing"),
    ("p", "'' is not a number"), ("p 1 2", "unexpected '2'"), ("p " + "(" * 500, "too many parentheses or signs"),
    ("p " + "-" * 500 + "1", "too many parentheses or signs"), ("p /z 1", "unknown format letter 'z' (allowed x d u o c, b h w g)"),
    ("xp /0x 0", "count is out of range (allowed 1..65536)"), ("x /x nowhere", "'nowhere' is not a number"),
    ("i 0x10000", "one port of 0..0xffff, of size b, h or w"), ("o 0x70", "'' is not a number"),
    ("x /2i 0", "unknown format letter 'i' (allowed x d u o c, b h w g)"),
])
def test_lines(vm, line, text):
    assert hmp(vm, line) == text


def test_memory_and_ports(start):
    vm = start("-S", accel="tcg")
    rom = hmp(vm, "xp /16xb 0xffff0").splitlines()[0]
    assert rom.startswith("00000000000ffff0: 0xea ")  # a far jump
    assert hmp(vm, "xp /2xw 0xfffffff0").split(": ")[1] == hmp(vm, "xp /2xw 0xffff0").split(": ")[1]
    assert hmp(vm, "x /2xw $pc") == hmp(vm, "xp /2xw 0xfffffff0")
    hmp(vm, "o /b 0x70 0x0f")
    hmp(vm, "o /b 0x71 0x5a")
    assert hmp(vm, "i /b 0x71") == "portb[0x0071] = 0x5a"
    assert re.fullmatch(r"portl\[0x0cf8\] = 0x[0-9a-f]{8}", hmp(vm, "i /w 0xcf8"))
    assert re.fullmatch(r"[0-9a-f]{16}: -?\d+ -?\d+", hmp(vm, "x /2dw $rsp & 0xfff0"))


def test_screendump_takes_its_format_anywhere(start, tmp_path):
    vm = start("-device", "VGA,id=v")
    for line, head in (("{}", b"P6"), ("{} -f png", b"\x89PNG"), ("-f png {}", b"\x89PNG"), ("{} -f ppm v", b"P6")):
        assert hmp(vm, "screendump " + line.format(tmp_path / "picture")) == ""
        assert (tmp_path / "picture").read_bytes().startswith(head)
    for line in ("", "-f", "-f png", "a b c", "a -f", "-f png -f ppm a"):
        said = hmp(vm, f"screendump {line}".rstrip())
        assert said.startswith(("screendump: FILE", "Error: ")), (line, said)
    assert "gif" in hmp(vm, "screendump a -f gif")


def test_nmi_and_gdbserver(vm, tmp_path):
    assert hmp(vm, "nmi") == ""
    assert "unix:" in hmp(vm, f"gdbserver unix:{tmp_path}/gdb,server=on,wait=off")
    assert hmp(vm, "gdbserver none") == "gdbserver is off"


class Terminal:
    """A monitor's far end; what it shows, without what moves the cursor."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(str(path))
        self.until("(qemu) ")

    def until(self, text):
        seen = ""
        while text not in seen:
            more = self.sock.recv(4096)
            assert more, seen
            seen += more.decode()
        return seen

    def type(self, keys, text):
        self.sock.sendall(keys.encode())
        return self.until(text)


@pytest.fixture(name="terminal")
def terminal_fixture(start, tmp_path):
    start("-monitor", f"unix:{tmp_path}/m,server=on,wait=off", "-device", "edu,id=edu-one", "-device", "edu,id=edu-two")
    term = Terminal(tmp_path / "m")
    yield term
    term.sock.close()


def test_completion(terminal):
    terminal.type("info vers\t\r", "QMP 7.2.0")
    terminal.type("device_del edu-o\t", "edu-one ")
    terminal.type("\x15device_add ed\t", "edu ")
    terminal.type("\x15info \t", "version")
    terminal.type("\x15info re\t", "gisters ")
    listed = terminal.type("\x15sys\t\t", "system_reset")
    assert "system_" in listed
    terminal.type("\x15device_del \t\t", "edu-one  edu-two")
    terminal.type("\x15zzz\t\r", "unknown command: 'zzz'")


def test_history(terminal):
    terminal.type("info name\r", "(qemu) ")
    terminal.type("info version\r", "QMP")
    terminal.type("\x1b[A\x1b[A", "info name")
    terminal.type("\x1b[B\r", "QMP")


def test_parameters_of_a_move(vm):
    for line, said in (("max-bandwidth 3", ""), ("max-bandwidth 64k", ""), ("downtime-limit 5", ""), ("cpu-throttle-initial 40", ""),
                       ("cpu-throttle-initial 100", "Error: Parameter 'cpu-throttle-initial' expects an integer in the range of 1 to 99"),
                       ("max-bandwidth much", "Error: Parameter 'max-bandwidth' expects an integer in the range of 0 to 9223372036854775807"),
                       ("downtime-limit 1k", "Error: Parameter 'downtime-limit' expects an integer in the range of 0 to 2000000"),
                       ("nonsense 1", "Error: Parameter 'nonsense' is not supported; query-migrate-parameters lists those that are"),
                       ("downtime-limit", "usage: migrate_set_parameter NAME VALUE"), ("", "usage: migrate_set_parameter NAME VALUE")):
        assert hmp(vm, f"migrate_set_parameter {line}".strip()) == said
        if line == "max-bandwidth 3":
            assert "max-bandwidth: 3145728 bytes/second" in hmp(vm, "info migrate_parameters")
    text = hmp(vm, "info migrate_parameters")
    assert "max-bandwidth: 65536 bytes/second\ndowntime-limit: 5 ms\ncpu-throttle-initial: 40\n" in text
    for line, said in (("auto-converge on", ""), ("events off", "Error: Capability 'events' cannot be switched off"),
                       ("auto-converge maybe", "Expected 'on' or 'off'"), ("auto-converge", "usage: migrate_set_capability NAME on|off")):
        assert hmp(vm, f"migrate_set_capability {line}") == said
    assert "Capability 'nonsense' is not supported" in hmp(vm, "migrate_set_capability nonsense on")
    assert "auto-converge: on" in hmp(vm, "info migrate_capabilities")
    assert {"capability": "auto-converge", "state": True} in vm.qmp("query-migrate-capabilities")["return"]
    assert vm.qmp("query-migrate-parameters")["return"]["max-bandwidth"] == 65536


def until(vm, status):
    deadline = time.monotonic() + 300
    while f"Migration status: {status}" not in (text := hmp(vm, "info migrate")):
        assert time.monotonic() < deadline, text
        time.sleep(0.01)
    return text


def test_a_move_by_the_monitor(vm, tmp_path):
    """-d and without: the monitor does not wait; progress, an end that was asked for, and the other side's part."""
    assert hmp(vm, "info migrate") == "Migration status: none"
    assert "Error: " in hmp(vm, "migrate -d") and "Error: " in hmp(vm, "migrate -d nowhere:at-all")
    hmp(vm, "migrate_set_parameter max-bandwidth 1k")
    hmp(vm, "migrate_set_parameter downtime-limit 1")
    assert hmp(vm, f"migrate -d file:{tmp_path}/slow") == ""
    text = until(vm, "active")
    assert re.search(r"transferred ram: \d+ kbytes \(\d+ % done\)\nremaining ram: \d+ kbytes\ntotal ram: 65536 kbytes", text), text
    assert "in progress" in hmp(vm, "migrate -d file:/dev/null")
    assert hmp(vm, "migrate_cancel") == ""
    until(vm, "cancelled")
    assert hmp(vm, "migrate_cancel") == ""
    hmp(vm, "migrate_set_parameter max-bandwidth 0")
    assert "was not specified" in hmp(vm, "migrate_incoming tcp:127.0.0.1:1")
    assert hmp(vm, f"migrate file:{tmp_path}/stream") == ""
    text = until(vm, "completed")
    assert "(100 % done)" in text and "device /machine/peripheral/e (edu): " in text
