# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs every test of the tree: builds with gcc, clang and sanitizers, meson's tests, then pytest with real guests."""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "check-logs"
# Busy machines are slow, not wrong: meson's limits only end what hangs.
TIMEOUT_FACTOR = "20"


class Results:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def add(self, name, outcome):
        if outcome == "passed":
            self.passed += 1
        elif outcome == "skipped":
            self.skipped.append(name)
        else:
            self.failed.append(name)

    def report(self):
        for name in self.skipped:
            print(f"skipped: {name}")
        for name in self.failed:
            print(f"FAILED: {name}")
        print(f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped")
        return 1 if self.failed else 0


def step(results, name, command, env=None):
    """Runs a command that counts as one test; its output goes to a log."""
    log = LOGS / (re.sub(r"\W+", "-", name) + ".log")
    started = time.monotonic()
    print(f"[{name}] ...", flush=True)
    with open(log, "w", encoding="utf-8") as out:
        status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False,
                                env={**os.environ, **(env or {})}).returncode
    print(f"[{name}] {'ok' if status == 0 else 'FAILED'} in {time.monotonic() - started:.0f} s", flush=True)
    if status:
        print("".join(log.read_text(encoding="utf-8", errors="replace").splitlines(True)[-40:]))
    results.add(name, "failed" if status else "passed")
    return status == 0


def build(results, name, directory, *options):
    configure = ["./configure", f"--build-dir={directory}", *options]
    return step(results, f"configure {name}", configure) and step(results, f"build {name}", ["ninja", "-C", directory])


MESON_OUTCOMES = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}


def meson_tests(results, name, directory, *suites):
    log = ROOT / directory / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    print(f"[tests, {name}] ...", flush=True)
    command = ["meson", "test", "-C", directory, "--no-rebuild", "-t", TIMEOUT_FACTOR, "--print-errorlogs"]
    for suite in suites:
        command += ["--no-suite" if suite.startswith("-") else "--suite", suite.lstrip("-")]
    with open(LOGS / f"tests-{name}.log", "w", encoding="utf-8") as out:
        env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1", "UBSAN_OPTIONS": "halt_on_error=1"}
        subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False, env=env)
    if not log.exists():
        results.add(f"{name}: meson test ran nothing", "failed")
        return
    for line in log.read_text(encoding="utf-8").splitlines():
        test = json.loads(line)
        outcome = MESON_OUTCOMES.get(test["result"], "failed")
        results.add(f"{name}: {test['name']}", outcome)
        if outcome == "failed":
            print(f"FAILED {name}: {test['name']}\n{test.get('stdout', '')[-2000:]}{test.get('stderr', '')[-2000:]}")


def run_pytest(command, env, report):
    """Its output, which is also kept in `report`; says each file's name when its first test has ended."""
    lines, shown = [], None
    with subprocess.Popen(command, cwd=ROOT, text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=env) as run, open(report, "w", encoding="utf-8") as out:
        for line in run.stdout:
            lines.append(line)
            out.write(line)
            out.flush()
            started = re.match(r"(tests/\S+\.py)::", line)
            if started and started[1] != shown:
                shown = started[1]
                print(f"[pytest] {shown}", flush=True)
    return run.returncode, "".join(lines)


def pytests(results, directories):
    print("[pytest] ...", flush=True)
    started = time.monotonic()
    command = ["/usr/bin/python3", "-m", "pytest", "-rA", "-v", "-p", "no:cacheprovider", *directories]
    env = {**os.environ, "QEMU_BINARY": str(ROOT / "build/system/qemu-system-x86_64"), "PYTHONDONTWRITEBYTECODE": "1"}
    status, text = run_pytest(command, env, LOGS / "pytest.txt")
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) (.*)$", text, re.M)
    for word, name in outcomes:
        results.add(f"pytest {name}", {"PASSED": "passed", "SKIPPED": "skipped"}.get(word, "failed"))
    if status or not outcomes:
        print(text[-6000:])
    if not outcomes:
        results.add("pytest ran nothing", "failed")
    print(f"[pytest] {len(outcomes)} tests in {time.monotonic() - started:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="scripts/check", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one build with gcc and its tests, no sanitizers, no guests")
    args = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    results = Results()
    step(results, "layers", ["scripts/check-layers"])
    step(results, "headers stand alone", ["scripts/check-headers"])
    if build(results, "gcc", "build", *([] if args.quick else ["--enable-fuzz"])):
        meson_tests(results, "gcc", "build", "-bench")
        if not args.quick:
            pytests(results, ["tests/functional", "tests/split"])
    if not args.quick:
        build(results, "clang", "build-clang", "--cc=clang")
        if build(results, "sanitizers", "build-asan", "--enable-sanitizers"):
            meson_tests(results, "sanitizers", "build-asan", "-bench", "-slow")
    sys.exit(results.report())


if __name__ == "__main__":
    main()
