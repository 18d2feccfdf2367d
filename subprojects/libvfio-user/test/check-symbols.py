#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The shared library exports what the header declares, and nothing else.  Arguments: library, header."""
import re
import subprocess
import sys

library, header = sys.argv[1:]
nm = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[2] for line in nm.splitlines()}
with open(header, encoding="utf-8") as f:
    text = re.sub(r"/\*.*?\*/|#define.*", "", f.read())
declared = set(re.findall(r"^[a-z][\w ]*[ *]((?:vfu|dma)_\w+)\(", text, flags=re.M))
for name in sorted(exported ^ declared):
    print(f"{name}: {'exported, not declared' if name in exported else 'declared, not exported'}")
sys.exit(exported != declared)
