# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server costs, counted in its own memory and processor time, so that a busy machine changes nothing: memory
with one disk, nothing while idle, and mappings by the ten thousand."""
import pathlib
import random
import struct
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import BINARY, RemoteServer, attach, command, nvme_args, until  # noqa: E402
from test_server_loop import NvmeClient  # noqa: E402
from vfio_user import header  # noqa: E402

SANITIZED = b"__asan_init" in pathlib.Path(BINARY).read_bytes()
needs_plain_build = pytest.mark.skipif(SANITIZED, reason="sanitizers have costs of their own")


def cpu_seconds(pid):
    return sum(int(p.read_text(encoding="ascii").split()[0])
               for p in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


@pytest.fixture(name="disk")
def disk_fixture(tmp_path):
    server = RemoteServer(tmp_path, *nvme_args(tmp_path), binary=BINARY)
    driver = NvmeClient(server.serve("nvme0"))
    driver.start()
    driver.write_blocks(31)
    for slot in range(31):
        assert driver.done(driver.CQ, slot) == 0
    yield server
    driver.kill()
    assert server.close() == 0


@needs_plain_build
def test_private_memory_with_one_disk(disk):
    print(f"{disk.private_kib()} KiB private")
    assert disk.private_kib() <= 10 << 10


@needs_plain_build
def test_no_processor_time_without_io(disk):
    """0.1 %: looking for work ends when there is none."""
    time.sleep(0.5)
    before, begin = cpu_seconds(disk.process.pid), time.monotonic()
    time.sleep(3)
    spent, passed = cpu_seconds(disk.process.pid) - before, time.monotonic() - begin
    print(f"{spent / passed * 100:.4f} % of a processor while idle")
    assert spent < passed * 0.001


@needs_plain_build
def test_start_costs_little(tmp_path):
    """Processor time until it listens; the best of some starts."""
    costs = []
    for i in range(5):
        path = tmp_path / f"{i}.sock"
        server = subprocess.Popen(command(*nvme_args(tmp_path), "-object",
                                          f"x-vfio-user-server,id=vfu0,type=unix,path={path},device=nvme0"))
        until(path.exists, "socket")
        costs.append(cpu_seconds(server.pid) * 1000)
        server.terminate()
        assert server.wait() == 0
    print(f"{min(costs):.1f} ms of processor time until it listens")
    assert min(costs) <= 20


class Mapper:
    """Maps and unmaps pages as a vIOMMU does, without waiting for each reply; tells the server's processor time."""

    def __init__(self, client, server):
        self.client, self.pid = client, server.process.pid

    def run(self, messages):
        def read_replies():
            for _ in messages:
                self.client.receive().check()

        reader = threading.Thread(target=read_replies)
        begin = cpu_seconds(self.pid)
        reader.start()
        for i in range(0, len(messages), 64):
            self.client.send_raw(b"".join(messages[i:i + 64]))
        reader.join()
        return cpu_seconds(self.pid) - begin

    def map(self, pages):
        return self.run([header(2, 48) + struct.pack("<IIQQQ", 32, 3, 0, page << 12, 4096) for page in pages])

    def unmap(self, pages):
        return self.run([header(3, 40) + struct.pack("<IIQQ", 24, 0, page << 12, 4096) for page in pages])

    def best(self, pages):
        """The cheapest of several rounds: what else the machine does is not measured."""
        rounds = [(self.map(pages), self.unmap(pages)) for _ in range(7)]
        return [min(r[i] for r in rounds) for i in (0, 1)]


@needs_plain_build
def test_54_mappings_by_the_ten_thousand(tmp_path):
    """65,000, nearly all the protocol has: each costs about what it does with 100; memory is bounded and used again."""
    server = RemoteServer(tmp_path, "-device", "tick,id=t0", binary=BINARY)
    path = server.serve("t0", **{"poll-us": 0})
    before, client = server.private_kib(), attach(path)
    pages, mapper = [256 + 2 * i for i in range(65000)], Mapper(client, server)
    random.Random(1).shuffle(pages)
    probe = [257 + 260 * i for i in range(500)]
    mapper.map(pages[:100])
    few = mapper.best(probe)
    mapper.map(pages[100:])
    many, full = mapper.best(probe), server.private_kib()
    print(f"map {500 / few[0]:.0f}/s and {500 / many[0]:.0f}/s, unmap {500 / few[1]:.0f}/s and {500 / many[1]:.0f}/s; "
          f"{full - before} KiB")
    # On a quiet machine 1.1 to 1.6; a list that is searched from its beginning has 20 and more.
    assert many[0] < 5 * few[0] and many[1] < 5 * few[1]
    assert full - before < 65000  # less than 1 KiB a mapping
    mapper.unmap(pages)
    print(f"unmapped: {server.private_kib() - before} KiB")
    assert server.private_kib() - before < (full - before) * 2 / 3  # the rest is kept for the next
    client.close()
    server.event("VFU_CLIENT_HANGUP")
    client = attach(path)
    Mapper(client, server).map(pages)
    print(f"a second such client: {server.private_kib() - full} KiB more")
    assert server.private_kib() - full < 8192
    client.close()
    server.event("VFU_CLIENT_HANGUP")
    attach(path).close()  # its turn comes when the memory of the one before was let go
    assert server.private_kib() - before < (full - before) * 2 / 3
    assert server.close() == 0
