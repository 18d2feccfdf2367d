#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs a libFuzzer target for some seconds, beginning with the corpus of the tree, which stays as it is.  What it finds is
kept beside the program, and its name printed: minimise it, fix the bug, add the file to the corpus."""
import argparse
import pathlib
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    if not any(args.corpus.iterdir()):
        sys.exit(f"{args.corpus}: empty corpus")
    with tempfile.TemporaryDirectory() as found:
        command = [str(args.program.absolute()), f"-max_total_time={args.seconds}", "-max_len=4096", "-timeout=60",
                   "-rss_limit_mb=3072", "-print_final_stats=1", f"-artifact_prefix={args.program.absolute()}-",
                   found,
                   str(args.corpus)]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
