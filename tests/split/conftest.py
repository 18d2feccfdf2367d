# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures: servers on raw sockets and machines with a vfio-user-pci on one; all end with the test."""
import gc
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import fake_server as fake  # noqa: E402
from bare_guest import Guest  # noqa: E402
from machine import Machine, vfio_user  # noqa: E402
from remote_server import RemoteServer  # noqa: E402


def descriptors():
    """fd -> what it is."""
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            pass  # of the listing itself
    return found


@pytest.fixture(autouse=True)
def no_fds_left():
    """Tests leave no descriptors behind: there would be too few for those that come later."""
    before = descriptors()
    yield
    for server in list(fake.FakeServer.living):
        server.close()
    gc.collect()
    # Raw clients hold plain numbers: eventfds and memory they made for the server, and those it gave them.
    for fd, what in descriptors().items():
        if fd not in before and (what.startswith("/memfd:") or what == "anon_inode:[eventfd]"):
            os.close(fd)
    left = {fd: what for fd, what in descriptors().items() if fd not in before}
    assert not left, left


@pytest.fixture(autouse=True, scope="module")
def fds_do_not_grow():
    """Nor does what a whole file shares.  Not of a session: tests of other directories, which nobody holds to this, may come last
    in one, and readers of guests that were killed are still at their ends then."""
    before = descriptors()
    yield
    gc.collect()
    after = descriptors()
    assert len(after) <= len(before), {fd: what for fd, what in after.items() if before.get(fd) != what}


@pytest.fixture(name="serve")
def serve_fixture(tmp_path):
    servers = []

    def serve(**options):
        server = fake.FakeServer(str(tmp_path / f"fake{len(servers)}.sock"), **options)
        servers.append(server)
        return server

    yield serve
    for server in servers:
        server.close()


@pytest.fixture(name="connect")
def connect_fixture(tmp_path, request):
    machines, always = [], getattr(request, "param", {})

    def connect(server, *args, **options):
        machine = Machine(tmp_path, *args, *vfio_user(server.path, **always, **options))
        machines.append(machine)
        return machine

    yield connect
    for machine in machines:
        assert machine.close() == 0


@pytest.fixture(name="boot")
def boot_fixture(tmp_path):
    guests = []

    def boot(server, code, *args, cpus=1, accel="tcg", **options):
        guest = Guest(tmp_path, code, *args, *vfio_user(server.path, **options), cpus=cpus, accel=accel)
        guests.append(guest)
        return guest

    yield boot
    for guest in guests:
        assert guest.close() == 0


@pytest.fixture(name="servers")
def servers_fixture(tmp_path):
    running = []

    def start(*args, **options):
        running.append(RemoteServer(tmp_path, *args, **options))
        return running[-1]

    yield start
    for server in running:
        assert server.close() == 0
