# SPDX-License-Identifier: GPL-2.0-or-later
"""Small kernels test the CPU from inside: exceptions, gates, tasks, VM86, paging, a second processor, the APIC's timer, SMM.

Each prints one line per test. What our CPU prints is recorded (expectedNN.txt, by the manual); Debian's QEMU runs the same
file, and each line on which it differs is in the table of known differences.
"""
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("QEMU_BINARY", ROOT / "build/system/qemu-system-x86_64"))
KERNELS = BINARY.resolve().parents[1] / "tests/tcg/kernels"
PEER = shutil.which("qemu-system-x86_64")

# Name of the line, why QEMU 7.2's TCG prints something else. RF is handled apart: QEMU never saves it set.
DIFFERENCES = [
    (r"ring[03]\.int1", "F1 is an undefined opcode there; the manual: INT1 is a #DB trap"),
    (r"ring[03]\.ss_noncanonical", "an address through RBP or RSP that is not canonical is a #GP there, not #SS(0)"),
    (r"ring[03]\.(jmp|call|ret)_noncanonical", "there the jump is done and the fetch faults; here the jump itself does"),
    (r"ring0\.gp_msr", "reading an unknown MSR gives 0 there, #GP(0) here"),
    (r"ring0\.gp_cr8", "reserved bits of CR8 are ignored there"),
    (r"ring[03]\.xm", "unmasked SIMD exceptions are not raised there"),
    (r"ring3\.ac", "there are no alignment checks there"),
    (r"ring0\.rdpmc", "RDPMC of a counter that is not there: #UD there, #GP(0) here"),
    (r"(dpl0|task|absent)\.int40", "in long mode the vector is scaled by 16 there; the manual: the index is the vector"),
    (r"reserved", "P is not set with RSVD there; the manual: bit 0 is set when a reserved bit faults"),
    (r"ring[03]\.(limit_out|down_out|null|write_code|write_ro)", "there are no checks of segment limits and types there"),
    (r"ring[03]\.at", "an SMI asked for by OUT comes at the end of a block there, after the instruction here"),
    (r"deadline", "the timer has no TSC-deadline mode there"),
    (r"tr", "the busy bit of TR's hidden part is not set there"),
    (r"halted", "the map's auto halt field is always 0 there, and HLT never resumed"),
    (r"(closed|tseg|tseg_write|tseg_off|locked|still_locked)\.window", "without a VGA card the closed window shows RAM there"),
    (r"still_locked\.registers: smram", "D_LCK of a pc's host bridge locks nothing there; 440FX data sheet: all but D_CLS is read-only"),
    (r"vm86\.(cli3|beyond)", "accesses beyond 64 KiB do not fault there"),
]


def run(command, output, **kwargs):
    """Lines the kernel prints, up to END; the machine is ended then."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **kwargs) as process:
        try:
            while True:
                text = output.read_text(encoding="latin-1").replace("\r", "") if output.exists() else ""
                if text.endswith("END\n"):
                    return text.splitlines()
                assert process.poll() is None, process.stderr.read()
                assert text.count("BEGIN") < 2, "the kernel was reset"
                time.sleep(0.02)
        finally:
            process.kill()


def machine(binary, kernel, output, chardev):
    bits, _, board = kernel.partition("-")
    return [str(binary), "-machine", f"{board or 'q35'},accel=tcg", "-cpu", "max", "-smp", "2", "-m", "128", "-nodefaults", "-display", "none",
            *chardev(output), "-kernel", str(KERNELS / f"kernel{bits}.bin"), "-no-reboot"]


def to_file(output):
    return ["-chardev", f"file,id=c0,path={output}", "-serial", "chardev:c0"]


def expected(kernel):
    bits, _, board = kernel.partition("-")
    lines = (ROOT / f"tests/tcg/kernels/expected{bits}.txt").read_text(encoding="ascii").splitlines()
    if board == "pc":  # its host bridge has the window, but no TSEG
        lines = [re.sub(r" esmramc=\w+", "", line) for line in lines if not line.startswith("tseg")]
        lines = [re.sub(r"^((?:still_)?locked.tseg: outside)=f+", r"\1=600dcafe", line) for line in lines]
    return lines


@pytest.mark.parametrize("bits", ["32", "64", "smm", "smm-pc"])
def test_prints_what_the_manual_says(tmp_path, bits):
    output = tmp_path / "serial"
    assert run(machine(BINARY, bits, output, to_file), output) == expected(bits)


def test_log_of_interrupts(tmp_path):
    """-d int has a line for each exception the kernel says it met, in their order, with the same contents."""
    output, log = tmp_path / "serial", tmp_path / "log"
    lines = run([*machine(BINARY, "64", output, to_file), "-d", "int", "-D", str(log)], output)
    said = re.findall(r"^ring(\d)\.\w+: vector=(\w+) error=(\w+) at=\w+ cs=(\w+)", "\n".join(lines), re.M)
    logged = iter(re.findall(r"^int: cpu=\d+ v=(\w+) e=([\w-]+) soft=[01] cpl=(\d) at (\w+):\w{16}(?: cr2=\w{16})? to \w+:\w{16}$",
                             log.read_text(encoding="ascii"), re.M))
    assert len(said) > 40
    for cpl, vector, error, cs in said:
        wanted = (int(vector, 16), int(error, 16), int(cpl), int(cs, 16))
        assert any((int(v, 16), 0 if e == "-" else int(e, 16), int(level), int(at, 16)) == wanted
                   for v, e, level, at in logged), f"no line for {wanted}"


# The last 16 bytes of a ROM: lidt %cs:0, whose limit is 0; int3.
TRIPLE_FAULT = bytes(0xfff0) + b"\x2e\x0f\x01\x1e\0\0\xcc" + bytes(9)


@pytest.mark.parametrize("args", [["-no-reboot"], ["-action", "reboot=shutdown"], []], ids=["no-reboot", "action", "reset"])
def test_triple_fault(tmp_path, args):
    """It ends the machine when told so, and resets it again and again when not; the log says where."""
    rom, log = tmp_path / "rom", tmp_path / "log"
    rom.write_bytes(TRIPLE_FAULT)
    command = [str(BINARY), "-machine", "q35,accel=tcg", "-m", "16", "-nodefaults", "-display", "none", "-bios", str(rom),
               "-d", "cpu_reset", "-D", str(log), *args]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            while not args and (not log.exists() or log.read_text(encoding="ascii").count("Triple fault (CPU 0)") < 3):
                assert process.poll() is None
                time.sleep(0.02)
            if args:
                assert process.wait() == 0
        finally:
            process.kill()
    text = log.read_text(encoding="ascii")
    assert text.count("Triple fault (CPU 0)") == 1 or not args
    assert re.search(r"Triple fault \(CPU 0\)\n[^T]*RIP=000000000000fff6\b", text), text


def counted(tmp_path, name, *args):
    """What the kernel prints under -icount."""
    output = tmp_path / name
    return run([str(BINARY), "-machine", "q35", "-cpu", "max", "-m", "64", "-nodefaults", "-display", "none", *to_file(output),
                "-kernel", str(KERNELS / "kernelicount.bin"), "-no-reboot", *args], output)


def test_icount_makes_runs_equal(tmp_path):
    first = counted(tmp_path, "first", "-icount", "shift=3,sleep=off")
    assert first == counted(tmp_path, "second", "-icount", "shift=3,sleep=off")
    assert first == counted(tmp_path, "sleep", "-icount", "shift=3,sleep=on")
    assert first == counted(tmp_path, "interpreter", "-icount", "shift=3,sleep=off", "-accel", "tcg,jit=off")
    assert first != counted(tmp_path, "shift", "-icount", "shift=4,sleep=off")
    ticks = [[int(word.split("=")[1], 16) for word in line.split()[1:]] for line in first if line.startswith("halt")]
    gaps = [later[1] - earlier[1] for earlier, later in zip(ticks, ticks[1:])]
    assert min(gaps) > 990000 and max(gaps) < 1010000, "a halted CPU's time goes from timer to timer"
    # Time that is not counted is never twice the same.
    assert counted(tmp_path, "free1") != counted(tmp_path, "free2")
    assert counted(tmp_path, "auto", "-icount", "shift=auto")[-1] == "END"


@pytest.mark.skipif(not PEER, reason="Debian's qemu-system-x86 is not installed")
@pytest.mark.parametrize("bits", ["32", "64", "smm", "smm-pc"])
def test_differs_from_qemu_only_where_known(tmp_path, bits):
    output = tmp_path / "serial"
    ours, theirs = expected(bits), run(machine(PEER, bits, output, to_file), output)
    assert [line.split(":")[0].split(" ")[0] for line in ours] == [line.split(":")[0].split(" ")[0] for line in theirs]
    unexplained, used = [], set()
    for mine, peer in zip(ours, theirs):
        if re.sub(r" rf=1", " rf=0", mine) == peer:
            continue
        reason = next((entry for entry in DIFFERENCES if re.match(entry[0] + r"\b", mine)), None)
        used.add(reason)
        if not reason:
            unexplained.append(f"ours {mine}\nQEMU {peer}")
    assert not unexplained, "\n".join(unexplained)
    assert used, "a table nobody needs: the comparison has not compared"
