# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: help, what is accepted, and one clear line for each thing that cannot be."""
import json
import os
import pathlib
import pty
import signal
import socket
import subprocess
import termios
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
# Only ends what hangs.
START_TIMEOUT = float(os.environ.get("START_TIMEOUT", "300"))
QTEST = ["-machine", "q35,accel=qtest", "-m", "16", "-nodefaults"]


def run(*args, cwd=None, said=""):
    return subprocess.run([BINARY, *args], input=said, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors="replace", cwd=cwd, timeout=START_TIMEOUT, check=False)


def fails(*args, cwd=None):
    """The one line on stderr of a start that must fail."""
    done = run(*args, cwd=cwd)
    lines = done.stderr.splitlines()
    assert done.returncode == 1, (args, done.returncode, done.stderr)
    assert len(lines) == 1, lines
    assert lines[0].startswith("qemu-system-x86_64: "), lines[0]
    assert done.stdout == ""
    return lines[0].removeprefix("qemu-system-x86_64: ")


@pytest.mark.parametrize("option", ["-help", "--help", "-h", "-version", "--version"])
def test_help_and_version(option):
    done = run(option)
    assert done.returncode == 0 and done.stdout and not done.stderr


def test_help_names_every_option_that_works():
    text = run("-help").stdout
    # None is cut short.
    assert "\n-accel NAME[,jit=on|off][,kernel-irqchip=on|split|off][,dirty-ring-size=N]\n" in text
    assert all(line.count("[") == line.count("]") for line in text.splitlines() if line.startswith("-")), text
    for option in ["machine", "accel", "cpu", "m", "smp", "object", "device", "drive", "chardev", "serial", "monitor", "qmp",
                   "kernel", "initrd", "append", "nodefaults", "nographic", "display", "S", "name", "pidfile", "d", "D",
                   "trace", "qtest", "qtest-log", "help", "version"]:
        assert f"\n-{option}" in text, option


@pytest.mark.parametrize("args, wanted", [
    (["-machine", "help"], ["q35", "x-remote", "pc-q35-7.2", "pc-i440fx-7.2"]), (["-accel", "help"], ["tcg", "qtest"]), (["-cpu", "help"], ["qemu64"]),
    (["-device", "help"], ["nvme", "vfio-user-pci"]), (["-device", "?"], ["nvme"]),
    (["-object", "help"], ["memory-backend-memfd", "x-vfio-user-server"]),
    (["-device", "nvme,help"], ["drive", "serial", "addr"]), (["-machine", "x-remote,help"], ["vfio-user"]),
    (["-object", "memory-backend-memfd,help"], ["size", "share"]), (["-d", "help"], ["guest_errors", "int "]),
    (["-trace", "help"], []),
])
def test_lists(args, wanted):
    done = run(*args)
    assert done.returncode == 0, done.stderr
    for word in wanted:
        assert word in done.stdout + done.stderr, word


@pytest.mark.parametrize("option, nearest", [
    ("-machin", "-machine"), ("--devise", "-device"), ("-nographics", "-nographic"), ("-kernal", "-kernel"),
    ("-qpm", "-qmp"), ("-pid", "-pidfile"),
])
def test_unknown_option(option, nearest):
    text = fails(option, "x")
    assert text.startswith(f"{option}: unknown option (did you mean {nearest}")


@pytest.mark.parametrize("option", ["-foo", "-usb", "-no-such-option", "-9", "--" + "x" * 200])
def test_unknown_option_like_no_other(option):
    assert fails(option, "x") == f"{option}: unknown option; -help lists those there are"


@pytest.mark.parametrize("option", ["-machine", "-m", "-device", "-qmp", "-append", "-chardev"])
def test_missing_argument(option):
    assert fails(option).startswith(f"{option}: needs an argument")


BAD = [
    (["-machine", "q36"], ["-machine", "q36", "q35"]),
    (["-numa", '{"type":"node","nodeid":null}'], ["-numa", "'nodeid' is null"]),
    (["-numa", '{"type":"node","cpus":["0",null]}'], ["-numa", "'cpus' is null"]),
    (["-netdev", '{"type":"stream","id":"a","addr":{"type":null}}'], ["-netdev", "'type' is null"]),
    (["-parallel", "null"], ["-parallel null", "not available", "none"]),
    (["-parallel", "none", "-device", "no-such"], ["-device", "no-such"]),
    (["-machine", "nothing-like-it"], ["-machine", "nothing-like-it"]),
    (["-machine", "q35,no-such=1"], ["-machine", "no-such"]), (["-machine", "q35,no_such=1"], ["-machine", "no-such"]),
    (["-machine", "q35,accel=qtest,kernel_irqchip=maybe"], ["-machine", "kernel-irqchip", "maybe", "split"]),
    (["-machine", "q35,memory-backend=mem"], ["memory-backend=mem"]),
    (["-machine", "q35,=x"], ["-machine"]),
    (["-machine", "q35,smm=on,accel=qtest"], ["smm=on", "qtest", "smm=off"]),
    (["-icount", "shift=11"], ["-icount", "shift=11", "0..10"]), (["-icount", "shift=auto,sleep=off"], ["-icount", "sleep=on"]),
    (["-icount", "2,align=on"], ["-icount", "align=on"]), (["-icount", "2"], ["-icount", "qtest", "-accel tcg"]),
    (["-icount", "2", "-smp", "2"], ["-icount", "-smp 2", "allowed 1"]),
    (["-machine", "{broken"], ["-machine", "JSON"]),
    (["-accel", "kvn"], ["-accel", "kvn"]), (["-accel", "tcg,thread=single"], ["-accel", "thread"]), (["-accel", ""], ["-accel"]),
    (["-accel", "tcg,jit=maybe"], ["jit=maybe", "jit=on|off"]),
    (["-machine", "accel=none"], ["none"]),
    (["-accel", "tcg", "-cpu", "no-such-cpu"], ["-cpu", "no-such-cpu"]), (["-accel", "tcg", "-cpu", "host"], ["-cpu host", "kvm"]),
    (["-accel", "tcg", "-cpu", "max,+aes,-no-such-feature"], ["-cpu", "'no-such-feature'"]),
    (["-m", "0"], ["-m"]), (["-m", "x"], ["-m", "x"]), (["-m", "-5"], ["-m"]), (["-m", "99999999999T"], ["-m"]),
    (["-m", "16,slots=2"], ["-m", "slots"]), (["-m", "1025k"], ["-m"]),
    (["-smp", "0"], ["-smp"]), (["-smp", "x"], ["-smp"]), (["-smp", "4097"], ["-smp"]), (["-smp", "2,clusters=2"], ["-smp", "clusters"]),
    (["-smp", "3,cores=2"], ["-smp 3,cores=2", "cores (2)", "maxcpus (3)"]), (["-smp", "4,maxcpus=2"], ["-smp 4,maxcpus=2", "1..maxcpus: 2"]),
    (["-smp", "4,cores=x"], ["cores", "x"]), (["-smp", "4,sockets=2,threads=0"], ["threads", "1..4096"]),
    (["-smp", "4096,dies=4096,cores=4096,threads=4096"], ["dies (4096)"]), (["-smp", "200,sockets=5,cores=40"], ["-smp", "0..254"]),
    (["-object", "no-such,id=x"], ["-object", "no-such"]), (["-object", "memory-backend-ram,size=4096"], ["-object", "id"]),
    (["-object", "memory-backend-ram,id=m"], ["-object", "size"]),
    (["-object", "memory-backend-ram,id=m,size=lots"], ["-object", "lots"]),
    (["-object", "memory-backend-ram,id=0m,size=4096"], ["-object", "0m"]),
    (["-object", '{"qom-type": "memory-backend-ram", "id": "m", "size": "4096"'], ["-object", "JSON"]),
    (["-object", "memory-backend-ram,id=m,size=4k", "-object", "memory-backend-ram,id=m,size=4k"], ["-object", "m"]),
    (["-m", "16", "-object", "memory-backend-memfd,id=mem,size=16M,share=off", "-machine", "memory-backend=mem",
      "-device", "vfio-user-pci,socket=s"], ["-device", "'mem'", "share=on", "no-direct-dma=on"]),
    (["-object", "memory-backend-file,id=m,size=4k,mem-path=/no/such/dir"], ["-object", "/no/such/dir"]),
    (["-device", "no-such"], ["-device", "no-such"]), (["-device", "nvme"], ["-device", "nvme"]),
    (["-device", "nvmee"], ["-device", "nvmee", "nvme"]),
    (["-device", "nvme,serial=x,drive=none-such"], ["-device", "none-such"]),
    (["-device", "vfio-user-pci"], ["-device", "socket"]),
    (["-device", "vfio-user-pci,socket=/no/such/socket"], ["-device", "/no/such/socket", "No such file"]),
    (["-device", '{"driver": "vfio-user-pci"'], ["-device", "JSON"]), (["-device", '{"driver": 1}'], ["-device"]),
    (["-device", "no-such,help"], ["-device", "no-such"]),
    (["-object", "x-vfio-user-server,id=v,type=unix,path=/tmp/x,device=d"], ["-object"]),
    (["-drive", "id=d,file=/no/such/image,format=raw,if=none"], ["-drive", "/no/such/image"]),
    (["-drive", "id=d,file=/,format=raw,if=none"], ["-drive", "/"]),
    (["-drive", "id=d,format=raw,if=none"], ["-drive", "file"]),
    (["-drive", "id=d,file=/dev/null,format=qcow9,if=none"], ["-drive", "qcow9"]),
    (["-blockdev", "null-co"], ["-blockdev", "node-name"]), (["-blockdev", "no-such,node-name=n"], ["-blockdev", "no-such"]),
    (["-blockdev", '{"driver": "raw", "node-name": "n", "file": {"driver": "file", "filename": "/no/such/image"}}'],
     ["-blockdev", "No such file"]),
    (["-drive", "id=d,file=null-co://,if=none,throttling.iops-total=lots"], ["-drive", "throttling.iops-total=lots"]),
    (["-drive", "id=d,file=nbd:unix:/no/such/socket,if=none"], ["-drive", "/no/such/socket"]),
    (["-chardev", "no-such,id=c"], ["-chardev", "no-such"]), (["-chardev", "null"], ["-chardev", "id"]),
    (["-chardev", "null,id=c", "-chardev", "null,id=c"], ["-chardev", "c"]), (["-chardev", "null,id=c,path=x"], ["-chardev", "path"]),
    (["-chardev", "file,id=c"], ["-chardev", "path"]), (["-chardev", "file,id=c,path=/no/such/dir/f"], ["-chardev", "/no/such/dir/f"]),
    (["-chardev", "socket,id=c"], ["-chardev", "path"]), (["-chardev", "socket,id=c,path=x,port=1"], ["-chardev"]),
    (["-chardev", "socket,id=c,path=/no/such/s"], ["-chardev", "/no/such/s"]), (["-chardev", "fd,id=c,fd=99"], ["-chardev", "99"]),
    (["-chardev", "socket,id=c,path=" + "x" * 200], ["-chardev", "too long"]), (["-chardev", "null,id=c,mux=maybe"], ["-chardev", "mux"]),
    (["-chardev", "socket,id=c,host=127.0.0.1,port=1"], ["-chardev", "refused"]),
    (["-chardev", "socket,id=c,host=127.0.0.1,port=99999,server=on,wait=off"], ["-chardev", "no such port (99999, allowed 0..65535)"]),
    (["-machine", "q35,accel=tcg", "-gdb", "tcp::65536"], ["-gdb", "65536"]), (["-incoming", "tcp::70000"], ["-incoming", "70000"]),
    (["-m", "16", "-object", "memory-backend-memfd,id=mem,size=16M,share=on", "-machine", "memory-backend=mem", "-device",
      '{"driver":"vfio-user-pci","socket":{"type":"inet","host":"localhost","port":"65537"}}'], ["-device", "65537"]),
    (["-serial", "vc"], ["-serial", "'vc'", "allowed"]), (["-serial", "bogus"], ["-serial", "bogus"]), (["-serial", "chardev:nobody"], ["-serial", "nobody"]),
    (["-serial", "tcp:nohost"], ["-serial", "tcp"]), (["-monitor", "bogus"], ["-monitor", "bogus"]),
    (["-qmp", "unix:/no/such/dir/s,server=on,wait=off"], ["-qmp", "/no/such/dir/s"]),
    (["-mon", "nobody"], ["-mon", "nobody"]), (["-chardev", "null,id=c", "-mon", "c,mode=odd"], ["-mon", "odd"]),
    (["-chardev", "null,id=c", "-mon", "c", "-mon", "c"], ["-mon"]),
    (["-append", "x"], ["-append", "-kernel"]), (["-initrd", "x"], ["-initrd", "-kernel"]),
    (["-kernel", "/no/such/kernel"], ["-kernel", "/no/such/kernel"]), (["-kernel", "/dev/null"], ["-kernel"]),
    (["-kernel", "/"], ["-kernel"]), (["-bios", "x"], ["-bios", "firmware"]),
    (["-boot", "order=z"], ["-boot", "order", "'z'"]), (["-boot", "cc"], ["-boot", "'cc'"]), (["-boot", "menu=maybe"], ["-boot", "menu"]),
    (["-boot", "splash-time=70000"], ["-boot", "splash-time", "65535"]), (["-boot", "fast=on"], ["-boot", "fast", "allowed"]),
    (["-fw_cfg", "opt/a"], ["-fw_cfg", "file=", "string="]), (["-fw_cfg", "opt/a,file=/no/such/file"], ["-fw_cfg", "/no/such/file"]),
    (["-fw_cfg", "opt/a,string=x,file=y"], ["-fw_cfg"]), (["-fw_cfg", "n" * 60 + ",string=x"], ["-fw_cfg", "name", "55"]),
    (["-fw_cfg", "opt/a,string=x,what=y"], ["-fw_cfg", "what"]), (["-uuid", "0011"], ["-uuid", "0011"]),
    (["-smbios", "product=x"], ["-smbios", "type="]), (["-smbios", "type=5"], ["-smbios", "5", "allowed"]), (["-smbios", "type=1,what=x"], ["-smbios", "what"]),
    (["-smbios", "type=1,uuid=1"], ["-smbios", "uuid"]), (["-smbios", "type=4,max-speed=x"], ["-smbios", "max-speed", "65535"]),
    (["-smbios", "type=0,release=1"], ["-smbios", "release"]), (["-smbios", "type=1,serial=" + "s" * 300], ["-smbios", "serial", "300"]),
    (["-debugcon", "bogus"], ["-debugcon", "bogus"]), (["-device", "isa-debugcon,iobase=0x70"], ["isa-debugcon", "0x70", "rtc"]),
    (["-display", "gtk"], ["-display", "gtk", "none"]), (["-vga", "cirrus"], ["-vga", "cirrus", "std, none"]), (["-net", "user"], ["-net", "user"]),
    (["-name", "guest=x,what=y"], ["-name", "what"]), (["-pidfile", "/no/such/dir/pid"], ["-pidfile", "/no/such/dir/pid"]),
    (["-d", "everything"], ["-d", "everything"]), (["-D", "/no/such/dir/log"], ["-D", "/no/such/dir/log"]),
    (["-trace", "no-such-event-at-all"], ["-trace", "no-such-event-at-all"]),
    (["-qtest", "bogus"], ["-qtest", "bogus"]), (["-qtest", "null", "-qtest-log", "/no/such/dir/l"], ["-qtest-log", "/no/such/dir/l"]),
    (["-daemonize", "-nographic"], ["-daemonize"]), (["disk.img"], ["disk.img", "-drive"]), (["-"], ["-"]), ([""], [""]),
    (["-serial", "stdio", "-qmp", "stdio"], ["-qmp", "stdio"]),
]


@pytest.mark.parametrize("args, words", BAD, ids=[" ".join(a)[:60] for a, _ in BAD])
def test_one_clear_line(args, words, tmp_path):
    base = [] if "-machine" in args else QTEST
    text = fails(*base, *args, cwd=tmp_path)
    for word in words:
        assert word in text, text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args, words", [
    (["-kernel", "/etc/passwd"], ["-kernel", "x-remote"]), (["-cpu", "max"], ["-cpu", "x-remote"]),
    (["-serial", "null"], ["-serial", "x-remote"]), (["-smp", "2"], ["-smp", "x-remote"]),
    (["-object", "x-vfio-user-server,id=v,type=unix,path=s,device=nobody"], ["-object", "nobody"]),
    (["-object", "x-vfio-user-server,id=v"], ["-object", "x-vfio-user-server"]),
    (["-device", "edu,id=e", "-object", "x-vfio-user-server,id=v,type=inet,host=127.0.0.1,port=99999,device=e"], ["-object", "99999"]),
])
def test_server_machine_errors(args, words, tmp_path):
    text = fails("-machine", "x-remote,vfio-user=on", "-nodefaults", *args, cwd=tmp_path)
    for word in words:
        assert word in text, text
    assert list(tmp_path.iterdir()) == []


def test_nothing_left_behind_when_a_late_step_fails(tmp_path):
    """Pid file and sockets of earlier options are gone when a later one fails."""
    fails(*QTEST, "-pidfile", "pid", "-qmp", "unix:q.sock,server=on,wait=off", "-chardev",
          "socket,id=c,path=c.sock,server=on,wait=off", "-qtest", "unix:/no/such/dir/q", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def wait_for(condition, process=None):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, "the program has ended"
        time.sleep(0.02)


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("machine", ["q35,accel=qtest", "q35,accel=tcg", "x-remote,vfio-user=on"])
def test_signals_end_orderly(sig, machine, tmp_path):
    args = ["-machine", machine, "-nodefaults", "-pidfile", "pid", "-qmp", "unix:q.sock,server=on,wait=off"]
    if "tcg" in machine:
        args += ["-S"]
    process = subprocess.Popen([BINARY, *args], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    wait_for((tmp_path / "q.sock").exists, process)
    assert int((tmp_path / "pid").read_text()) == process.pid
    process.send_signal(sig)
    assert process.wait(120) == 0
    assert list(tmp_path.iterdir()) == []


def test_signal_while_waiting_for_a_connection(tmp_path):
    process = subprocess.Popen([BINARY, *QTEST, "-pidfile", "pid", "-qmp", "unix:q.sock,server=on"], stdin=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    wait_for((tmp_path / "q.sock").exists, process)
    process.terminate()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "waiting for a connection" in err
    assert list(tmp_path.iterdir()) == []


def test_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path):
    path = tmp_path / "q.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    process = subprocess.Popen([BINARY, *QTEST, "-qmp", f"unix:{path},server=on,wait=off"], stdin=subprocess.DEVNULL)
    with socket.socket(socket.AF_UNIX) as client:
        def connected():
            try:
                client.connect(str(path))
                return True
            except OSError:
                return False
        wait_for(connected, process)
        assert "QMP" in json.loads(client.makefile().readline())
        text = fails(*QTEST, "-qmp", f"unix:{path},server=on,wait=off")
        assert str(path) in text and path.exists()
    process.terminate()
    assert process.wait(120) == 0


def test_daemonize(tmp_path):
    done = run(*QTEST, "-daemonize", "-pidfile", "pid", "-qmp", f"unix:{tmp_path}/q.sock,server=on,wait=off", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pid = int((tmp_path / "pid").read_text())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "q.sock"))
        file = client.makefile("rw")
        assert "QMP" in json.loads(file.readline())
        for command in ("qmp_capabilities", "quit"):
            file.write(json.dumps({"execute": command}) + "\n")
            file.flush()
    wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists() or "Z" in pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2])
    wait_for(lambda: not (tmp_path / "pid").exists())
    assert fails(*QTEST, "-daemonize", "-qmp", "unix:/no/such/dir/q").startswith("-qmp")


def nographic(*args):
    """A program on a terminal of its own: process, master side, settings before."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen([BINARY, "-machine", "q35,accel=qtest", "-m", "16", "-nographic", *args], stdin=slave,
                               stdout=slave, stderr=slave, start_new_session=True)
    return process, master, slave, before


def read_until(master, text, collected):
    while text not in collected:
        collected += os.read(master, 4096)
    return collected


def test_terminal_keys_and_restoration():
    process, master, slave, before = nographic()
    wait_for(lambda: termios.tcgetattr(slave) != before, process)
    os.write(master, b"\x01h")
    out = read_until(master, b"Ctrl-A x", b"")
    os.write(master, b"\x01c")
    out = read_until(master, b"(qemu) ", out)
    os.write(master, b"info statusx\x7f\r")
    out = read_until(master, b"VM status: running", out)
    os.write(master, b"\x1b[A\r")  # the line before
    out = read_until(master, b"VM status: running", b"")
    os.write(master, b"\x01x")
    assert process.wait(120) == 0
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("sig, code", [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGABRT, -signal.SIGABRT)])
def test_terminal_is_restored_by_signals(sig, code):
    process, master, slave, before = nographic()
    wait_for(lambda: termios.tcgetattr(slave) != before, process)
    process.send_signal(sig)
    status = process.wait(120)
    assert status == code
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_terminal_is_restored_after_a_failed_start():
    process, master, slave, before = nographic("-device", "no-such")
    assert process.wait(120) == 1
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_serial_to_file_and_chardev(tmp_path):
    args = [*QTEST, "-serial", "file:out.txt", "-chardev", "socket,id=c,path=c.sock,server=on,wait=off", "-serial", "chardev:c",
            "-name", "x", "-no-user-config", "-display", "none", "-vga", "none", "-net", "none", "-nic", "none", "-no-reboot",
            "-no-shutdown", "-S", "-d", "guest_errors,unimp", "-D", "log.txt", "-qmp", "unix:q.sock,server=on,wait=off"]
    process = subprocess.Popen([BINARY, *args], stdin=subprocess.DEVNULL, cwd=tmp_path)
    wait_for((tmp_path / "q.sock").exists, process)
    assert (tmp_path / "out.txt").exists() and (tmp_path / "c.sock").exists()
    process.terminate()
    assert process.wait(120) == 0
    assert not (tmp_path / "c.sock").exists() and not (tmp_path / "q.sock").exists()
