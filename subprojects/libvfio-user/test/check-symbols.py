#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The shared library exports exactly what exports.txt lists, with those versions, and the header declares and explains all of it.

A name that appears or goes is a change of the ABI: exports.txt is then edited on purpose.  Arguments: library, header, exports.txt.
"""
import re
import subprocess
import sys

library, header, expected = sys.argv[1:]
nm = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[2] for line in nm.splitlines() if line.split()[1] != "A"}
with open(expected, encoding="utf-8") as f:
    listed = {line.strip() for line in f if line.strip() and not line.startswith("#")}
with open(header, encoding="utf-8") as f:
    source = f.read()
text = re.sub(r"/\*.*?\*/|#define.*", "", source)
declared = set(re.findall(r"^[a-z][\w ]*[ *]((?:vfu|dma)_\w+)\(", text, flags=re.M))
names = {symbol.split("@")[0] for symbol in exported}
problems = [f"{s}: exported, not listed" for s in sorted(exported - listed)]
problems += [f"{s}: listed, not exported" for s in sorted(listed - exported)]
problems += [f"{n}: exported, not declared" for n in sorted(names - declared)]
problems += [f"{n}: declared, not exported" for n in sorted(declared - names)]
# A comment stands before a declaration or before the group (no empty line in between) that it is in.
groups = re.split(r"\n\n+(?=/\*|\w)", source)
explained = {n for g in groups if g.startswith("/*") for n in re.findall(r"\b((?:vfu|dma)_\w+)\(", re.sub(r"/\*.*?\*/", "", g, flags=re.S))}
problems += [f"{n}: without a comment" for n in sorted(declared - explained)]
soname = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
if "[libvfio-user.so.0]" not in soname:
    problems.append("soname is not libvfio-user.so.0")
print("\n".join(problems) if problems else f"{len(exported)} symbols")
sys.exit(bool(problems))
