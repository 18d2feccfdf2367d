#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Connects, maps, resets, is killed and connects again, thousands of times: the server's descriptors and heap stay what they
were.  Clients leave in turns: by SIGKILL, by close, in the middle of a message, with replies unread."""
import argparse
import os
import pathlib
import signal
import struct
import sys
import tempfile
import time

import vfio_user as vu

PAGE = 4096
WARM_UP = 50
HEAP_SLACK = 4096


def work(path, memory, event):
    client = vu.Client(path)
    client.negotiate({"max_msg_fds": 8, "twin_socket": {"supported": True}})
    for i in range(8):
        client.map(i << 20, 1 << 20, vu.READABLE | vu.WRITEABLE, memory if i % 2 else None)
    client.set_irqs(vu.TRIGGER | vu.EVENTFD, vu.MSIX, 0, 4, fds=[event] * 4)
    client.start_log(PAGE)
    client.call(vu.RESET)
    client.unmap(0, 1 << 20)
    client.set_state(vu.PRE_COPY)
    return client


def killed(path, memory, event):
    """A client process that dies while it is connected."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(path, memory, event)
            os.write(write_end, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write_end)
    assert os.read(read_end, 1) == b"!", "the client failed"
    os.close(read_end)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def closes(path, memory, event):
    work(path, memory, event).close()


def half(path, memory, event):
    client = work(path, memory, event)
    client.send_raw(vu.header(vu.DMA_MAP, 48) + b"half", [memory] * 10)
    client.close()


def unread(path, memory, event):
    client = work(path, memory, event)
    for _ in range(10):
        client.send(vu.REGION_READ, struct.pack("<QII", 0, 0, PAGE))
    client.close()


WAYS = (killed, closes, half, unread)


def run(rounds, program):
    memory, event = vu.memory_file(1 << 20), vu.eventfd()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        server = vu.Server(pathlib.Path(directory), (), program=program)
        before = None
        for i in range(1, rounds + 1):
            WAYS[i % len(WAYS)](server.paths[0], memory, event)
            server.until_lost(i)
            server.notes()
            usage = server.usage()
            if i == WARM_UP:
                before = usage
            elif before:
                assert usage["fds"] == before["fds"], f"round {i}: {usage}, first {before}"
                assert usage["heap"] <= before["heap"] + HEAP_SLACK, f"round {i}: {usage}, first {before}"
        server.stop()
    print(f"{rounds} connections in {time.monotonic() - started:.1f} s; first {before}, last {usage}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10000, help="connections (default: 10000)")
    parser.add_argument("server", help="the device-server program")
    args = parser.parse_args()
    if args.rounds <= WARM_UP:
        parser.error(f"--rounds: too few ({args.rounds}, more than {WARM_UP})")
    run(args.rounds, args.server)


if __name__ == "__main__":
    sys.exit(main())
