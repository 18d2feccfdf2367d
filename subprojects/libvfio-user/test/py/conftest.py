# SPDX-License-Identifier: BSD-3-Clause
"""Every test gets a server of its own process with two devices; the second one has a client that must stay well."""
import pytest

import vfio_user as vu


@pytest.fixture
def start(tmp_path):
    """start(options, ...): a server with these contexts; all are stopped, and checked for leaks, at the end."""
    servers = []

    def make(*contexts):
        servers.append(vu.Server(tmp_path, *(contexts or ((), ()))))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def server(start):
    """Device 0 is for the test; device 1's client lives through it unharmed."""
    made = start((), ())
    witness = vu.Client(made.paths[1])
    witness.negotiate({})
    witness.write(0, 0, b"witness!")
    yield made
    assert witness.read(0, 0, 8) == b"witness!"
    witness.close()


@pytest.fixture
def client(server):
    made = vu.Client(server.paths[0])
    made.negotiate({"max_msg_fds": 16, "write_multiple": True})
    yield made
    made.close()
