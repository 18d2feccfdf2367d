# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes documents of what the program says of itself: `man` of -help, `qmp` of query-qmp-schema.

usage: gen-docs.py man|qmp PROGRAM OUTPUT
"""
import json
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


def schema(program):
    talk = '{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema","id":1}{"execute":"quit"}'
    done = subprocess.run([program, "-machine", "none", "-nodefaults", "-S", "-qmp", "stdio"], input=talk, stdout=subprocess.PIPE,
                          text=True, check=True)
    return next(m["return"] for m in map(json.loads, done.stdout.splitlines()) if m.get("id") == 1)


def members(entity, types):
    words = []
    for member in types[entity["arg-type"]]["members"]:
        optional = "default" in member
        words.append(f"`{member['name']}`: {member['type']}" + (" (optional)" if optional else ""))
    if entity.get("x-open"):
        words.append("and what the model takes")
    return "; ".join(words)


def qmp(program):
    entities = schema(program)
    types = {e["name"]: e for e in entities if e["meta-type"] == "object"}
    lines = ["# QMP reference", "",
             "Made in the build of the tables that requests are checked against; `query-qmp-schema` answers the same. Errors have",
             "the class GenericError, CommandNotFound, DeviceNotFound or DeviceNotActive."]
    for title, meta, empty in (("Commands", "command", "no arguments"), ("Events", "event", "no data")):
        lines += ["", f"## {title}"]
        for entity in sorted((e for e in entities if e["meta-type"] == meta), key=lambda e: e["name"]):
            lines += ["", f"### {entity['name']}", "", entity["x-doc"], "", (members(entity, types) or empty) + "."]
    return "\n".join(lines) + "\n"


def main():
    kind, program, output = sys.argv[1:]
    with open(output, "w", encoding="utf-8") as out:
        out.write({"man": man, "qmp": qmp}[kind](program))


main()
