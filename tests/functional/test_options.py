# SPDX-License-Identifier: GPL-2.0-or-later
"""Options about the machine as a whole: -global, -action, -rtc, -msg."""
import calendar
import pathlib
import re
import sys
import time

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "split")]
import machine  # noqa: E402
from test_cli import QTEST, fails, run  # noqa: E402


@pytest.fixture(name="start")
def start_fixture(tmp_path):
    """Starts machines that must end with 0."""
    started = []

    def start(*args, **more):
        vm = machine.Machine(tmp_path, *args, **more)
        started.append(vm)
        return vm
    yield start
    for vm in started:
        assert vm.close() == 0


def test_global_is_a_default(start):
    vm = start("-global", "edu.dma_mask=0xffff", "-global", "driver=edu,property=dma_mask,value=0xfffff", "-device", "edu,id=a",
               "-device", "edu,id=b,dma_mask=0xff")
    assert vm.qmp("qom-get", path="a", property="dma_mask")["return"] == 0xfffff
    assert vm.qmp("qom-get", path="b", property="dma_mask")["return"] == 0xff
    assert "return" in vm.qmp("device_add", driver="edu", id="c")
    assert vm.qmp("qom-get", path="c", property="dma_mask")["return"] == 0xfffff


def test_global_gives_what_is_required_and_what_all_pci_devices_have(start):
    vm = start("-global", "nvme.serial=everyone", "-global", "edu.addr=9", "-device", "edu,id=e", "-device", "nvme,id=n")
    assert vm.qmp("qom-get", path="n", property="serial")["return"] == "everyone"
    assert vm.qmp("qom-get", path="e", property="addr")["return"] == "9"


@pytest.mark.parametrize("args, words", [
    (["-global", "nothing-like.x=1"], ["-global", "nothing-like"]), (["-global", "edo.x=1"], ["-global", "edu"]),
    (["-global", "edu.colour=red"], ["-global", "edu", "colour"]), (["-global", "edu"], ["-global", "DRIVER.PROP=VALUE"]),
    (["-global", "driver=edu,property=x"], ["-global", "value=VALUE"]),
    (["-global", "edu.dma_mask=wide", "-device", "edu"], ["-global edu.dma_mask", "wide"]),
    (["-action", "reboot=never"], ["-action", "reboot", "never", "reset, shutdown"]),
    (["-action", "panic"], ["-action", "panic", "exit-failure"]), (["-action", "sleep=reset"], ["-action", "sleep", "watchdog"]),
    (["-rtc", "base=yesterday"], ["-rtc", "yesterday", "localtime"]), (["-rtc", "clock=sun"], ["-rtc", "sun", "host, vm, rt"]),
    (["-rtc", "driftfix=more"], ["-rtc", "more", "slew"]), (["-rtc", "zone=x"], ["-rtc", "zone"]),
    (["-rtc", "base=2006-13-45"], ["-rtc", "2006-13-45"]),
    (["-msg", "timestamp=often"], ["-msg", "often"]), (["-msg", "colour=on"], ["-msg", "colour"]),
])
def test_one_clear_line(args, words, tmp_path):
    text = fails(*QTEST, *args, cwd=tmp_path)
    for word in words:
        assert word in text, text


def test_messages_have_time_and_name():
    done = run(*QTEST, "-msg", "timestamp=on,guest-name=on", "-name", "guest=alpha", "-device", "no-such")
    assert done.returncode == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z alpha qemu-system-x86_64: -device: .no-such.*\n", done.stderr)


def cmos(vm, index):
    vm.qtest(f"outb 0x70 {index}")
    return int(vm.qtest("inb 0x71"), 16)


def clock(vm):
    """The calendar clock's time as seconds, read between two equal looks at the seconds."""
    while True:
        fields = [cmos(vm, i) for i in (0, 2, 4, 7, 8, 9, 0x32)]
        if cmos(vm, 0) == fields[0]:
            sec, minute, hour, day, month, year, century = [(f >> 4) * 10 + (f & 15) for f in fields]
            return calendar.timegm((century * 100 + year, month, day, hour, minute, sec))


def test_rtc_begins_at_a_date(start):
    before = time.monotonic()
    vm = start("-rtc", "base=2006-06-17T16:01:21")
    wanted = calendar.timegm((2006, 6, 17, 16, 1, 21))
    assert wanted <= clock(vm) <= wanted + (time.monotonic() - before) + 2


@pytest.mark.parametrize("base, zone", [("utc", "XYZ-3"), ("localtime", "XYZ-3"), ("localtime", "UTC0")])
def test_rtc_base(start, monkeypatch, base, zone):
    monkeypatch.setenv("TZ", zone)
    before = time.time()
    vm = start("-rtc", f"base={base}")
    hours = 3 if base == "localtime" and zone == "XYZ-3" else 0
    assert int(before) <= clock(vm) - hours * 3600 <= time.time()


def test_rtc_follows_guest_time_when_told(start):
    vm = start("-rtc", "base=2010-01-01,clock=vm")
    first = clock(vm)
    assert clock(vm) == first  # guest time is the test's
    vm.qtest("clock_step 5000000000")
    assert clock(vm) == first + 5


def test_rtc_of_monotonic_time_goes_on(start):
    vm = start("-rtc", "base=2010-01-01,clock=rt")
    first = clock(vm)
    while clock(vm) < first + 2:
        pass


def pending(vm):
    return cmos(vm, 12)


@pytest.mark.parametrize("driftfix, more", [("none", 0), ("slew", 9)])
def test_rtc_makes_up_for_late_interrupts(start, driftfix, more):
    """Ten periods of 1/1024 s pass while the guest does not look."""
    vm = start("-rtc", f"driftfix={driftfix}")
    vm.qtest("outb 0x70 11")
    vm.qtest("outb 0x71 0x42")
    for _ in range(10):
        vm.qtest("clock_step 976563")
    seen = 0
    while pending(vm) & 0x40:
        seen += 1
    assert seen == 1 + more


def test_set_action(start):
    vm = start()
    assert vm.qmp("set-action", reboot="shutdown", watchdog="none")["return"] == {}
    assert "panic" in vm.qmp("set-action", panic="sing")["error"]["desc"]
    assert vm.qmp("watchdog-set-action", action="pause")["return"] == {}
    assert "action" in vm.qmp("watchdog-set-action", action="bark")["error"]["desc"]
    assert vm.qmp("inject-nmi")["return"] == {}


@pytest.mark.parametrize("option", [["-no-reboot"], ["-action", "reboot=shutdown"]])
def test_reboot_ends_when_told(start, option):
    vm = start(*option)
    vm.qtest_socket.sendall(b"outb 0xcf9 0x6\n")
    assert vm.process.wait(machine.START_TIMEOUT) == 0
