# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the man page of what -help says.

usage: gen-docs.py PROGRAM OUTPUT
"""
import re
import subprocess
import sys


def options(text):
    """[option with its argument, what it does] of -help."""
    found = []
    for line in text.splitlines():
        if line.startswith("-"):
            usage, _, doc = line.partition("  ")
            found.append([usage.strip(), doc.strip()])
        elif line.startswith(" ") and found:
            found[-1][1] = (found[-1][1] + " " + line.strip()).strip()
    return found


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text)


def man(program):
    text = subprocess.run([program, "-help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = ['.TH QEMU\\-SYSTEM\\-X86_64 1 "" mpqemu', ".SH NAME",
             "qemu\\-system\\-x86_64 \\- machine emulator whose PCI devices can each run in a process of their own",
             ".SH SYNOPSIS", ".B qemu\\-system\\-x86_64", "[options]", ".SH DESCRIPTION",
             "Options begin with one or two dashes.  What cannot be done is one line on standard error that names the",
             "option and the cause.", ".SH OPTIONS"]
    for usage, doc in options(text):
        name, _, arg = usage.partition(" ")
        lines += [".TP", f".B {roff(name)}" + (f" \\fI{roff(arg)}\\fR" if arg else ""), roff(doc[:1].upper() + doc[1:]) + "."]
    lines += [".SH EXIT STATUS", "0 after a power\\-off, quit or a signal to end; 1 after an error."]
    return "\n".join(lines) + "\n"


def main():
    program, output = sys.argv[1:]
    with open(output, "w", encoding="utf-8") as out:
        out.write(man(program))


main()
