# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_FEATURE, the migration states with every way between them, MIG_DATA_READ and MIG_DATA_WRITE."""
import errno
import struct

import pytest

import vfio_user as vu

STATES = {"STOP": vu.STOP, "RUNNING": vu.RUNNING, "STOP_COPY": vu.STOP_COPY, "RESUMING": vu.RESUMING,
          "PRE_COPY": vu.PRE_COPY}
CALLBACK = {"STOP": 0, "RUNNING": 1, "STOP_COPY": 2, "PRE_COPY": 3, "RESUMING": 4}
# The steps from each state to each other; None: refused.
WAYS = {
    "STOP": {"RUNNING": ["RUNNING"], "STOP_COPY": ["STOP_COPY"], "RESUMING": ["RESUMING"],
             "PRE_COPY": ["RUNNING", "PRE_COPY"]},
    "RUNNING": {"STOP": ["STOP"], "STOP_COPY": ["STOP", "STOP_COPY"], "RESUMING": ["STOP", "RESUMING"],
                "PRE_COPY": ["PRE_COPY"]},
    "STOP_COPY": {"STOP": ["STOP"], "RUNNING": ["STOP", "RUNNING"], "RESUMING": ["STOP", "RESUMING"],
                  "PRE_COPY": None},
    "RESUMING": {"STOP": ["STOP"], "RUNNING": ["STOP", "RUNNING"], "STOP_COPY": ["STOP", "STOP_COPY"],
                 "PRE_COPY": ["STOP", "RUNNING", "PRE_COPY"]},
    "PRE_COPY": {"STOP": ["RUNNING", "STOP"], "RUNNING": ["RUNNING"], "STOP_COPY": ["STOP_COPY"],
                 "RESUMING": ["RUNNING", "STOP", "RESUMING"]},
}
DEVICE_STATE = bytes(i * 7 & 0xff for i in range(10000))


def enter(server, client, state):
    client.set_state(STATES[state])
    server.notes()


# --- features ---

def test_migration_feature(client):
    assert client.feature(vu.GET | vu.MIGRATION, argsz=16) == struct.pack("<Q", 5)
    assert client.feature(vu.GET | vu.MIGRATION, argsz=4096) == struct.pack("<Q", 5)
    client.feature(vu.GET | vu.MIGRATION, argsz=15, error=errno.EINVAL)
    client.feature(vu.SET | vu.MIGRATION, bytes(8), error=errno.EINVAL)


ALLOWED = {vu.MIGRATION: vu.GET, vu.MIG_STATE: vu.GET | vu.SET, vu.LOG_START: vu.SET, vu.LOG_STOP: vu.SET,
           vu.LOG_REPORT: vu.GET}


@pytest.mark.parametrize("index", [*range(20), 0xffff])
def test_probe(client, index):
    for ops in (0, vu.GET, vu.SET, vu.GET | vu.SET):
        known = index in ALLOWED and not ops & ~ALLOWED[index]
        data = client.feature(vu.PROBE | ops | index, b"any data", error=0 if known else errno.EINVAL)
        assert data == (b"any data" if known else None)
    assert client.state() == vu.RUNNING


@pytest.mark.parametrize("index", [0, 3, 4, 5, 9, 10, 0xffff])
def test_no_such_feature(client, index):
    client.feature(vu.GET | index, bytes(64), error=errno.EINVAL)
    client.feature(vu.SET | index, bytes(64), error=errno.EINVAL)


@pytest.mark.parametrize("flags", [0, vu.GET | vu.SET, 1 << 19 | vu.GET, 1 << 31 | vu.GET])
def test_bad_operation(client, flags):
    client.feature(flags | vu.MIG_STATE, bytes(8), argsz=64, error=errno.EINVAL)


def test_wrong_operation(client):
    client.feature(vu.GET | vu.LOG_START, bytes(16), argsz=64, error=errno.EINVAL)
    client.feature(vu.GET | vu.LOG_STOP, argsz=64, error=errno.EINVAL)
    client.feature(vu.SET | vu.LOG_REPORT, bytes(24), error=errno.EINVAL)


def test_short(client):
    for length in range(8):
        client.call(vu.FEATURE, struct.pack("<II", 16, vu.GET | vu.MIG_STATE)[:length], error=errno.EINVAL)


@pytest.mark.parametrize("index, size", [(vu.MIG_STATE, 8), (vu.LOG_START, 16)])
def test_set_without_data(client, index, size):
    for length in range(size):
        client.feature(vu.SET | index, bytes(length), argsz=64, error=errno.EINVAL)
    for argsz in (0, 7, 8 + size - 1):
        client.feature(vu.SET | index, struct.pack("<Q", 4096) + bytes(size - 8), argsz=argsz, error=errno.EINVAL)


def test_get_without_data(client):
    for length in range(24):
        client.feature(vu.GET | vu.LOG_REPORT, bytes(length), argsz=4096, error=errno.EINVAL)


def test_log_ranges(client):
    client.start_log(4096, [(0, 1 << 20), (1 << 30, 4096)])
    client.feature(vu.SET | vu.LOG_STOP)
    client.feature(vu.SET | vu.LOG_START, struct.pack("<QII", 4096, 2, 0) + bytes(16), error=errno.EINVAL)
    client.feature(vu.SET | vu.LOG_START, struct.pack("<QII", 4096, 0xffffffff, 0), error=errno.EINVAL)


def test_without_migration(start):
    server = start(("nomigration",))
    client = vu.Client(server.paths[0])
    client.negotiate({})
    for index in (1, 2, 6, 7, 8):
        for op in (vu.GET, vu.SET, vu.PROBE):
            client.feature(op | index, bytes(64), argsz=128, error=errno.EINVAL)
    client.mig_read(8, error=errno.EINVAL)
    client.mig_write(bytes(8), error=errno.EINVAL)
    client.call(vu.DIRTY_PAGES, struct.pack("<II", 8, 1), error=errno.EINVAL)
    client.close()


# --- states ---

@pytest.mark.parametrize("target", STATES)
@pytest.mark.parametrize("origin", STATES)
def test_every_way(server, client, origin, target):
    enter(server, client, origin)
    way = [] if origin == target else WAYS[origin][target]
    client.set_state(STATES[target], error=0 if way is not None else errno.EINVAL)
    assert server.notes() == [("state", CALLBACK[step]) for step in way or []]
    assert client.state() == STATES[origin if way is None else target]


@pytest.mark.parametrize("target", [0, 5, 7, 8, 9, 100, 0xffffffff])
@pytest.mark.parametrize("origin", STATES)
def test_no_such_state(server, client, origin, target):
    enter(server, client, origin)
    client.set_state(target, error=errno.EINVAL)
    assert server.notes() == [] and client.state() == STATES[origin]


def test_transition_fails(server, client):
    server.fail("transition", errno.EIO)
    client.set_state(vu.STOP_COPY, error=errno.EIO)
    assert client.state() == vu.RUNNING and server.notes() == [("state", 0)]
    server.fail("transition", 0)
    client.set_state(vu.STOP_COPY)


# What works where: requests, and the states in which they do.
MAP = struct.pack("<IIQQQ", 32, 3, 0, 0x1000, 4096)
MATRIX = [
    (vu.DMA_MAP, MAP, {"RUNNING", "PRE_COPY", "RESUMING"}),
    (vu.DMA_UNMAP, struct.pack("<IIQQ", 24, vu.UNMAP_ALL, 0, 0), {"RUNNING", "PRE_COPY", "RESUMING"}),
    (vu.GET_INFO, struct.pack("<I", 16) + bytes(12), {"RUNNING", "PRE_COPY", "RESUMING"}),
    (vu.REGION_INFO, struct.pack("<I", 32) + bytes(28), {"RUNNING", "PRE_COPY", "RESUMING"}),
    (vu.REGION_IO_FDS, struct.pack("<I", 16) + bytes(12), {"RUNNING", "PRE_COPY", "RESUMING"}),
    (vu.IRQ_INFO, struct.pack("<I", 16) + bytes(12), {"RUNNING", "PRE_COPY", "RESUMING"}),
    (vu.SET_IRQS, struct.pack("<IIIII", 20, vu.TRIGGER | vu.NONE, vu.MSIX, 0, 0),
     {"RUNNING", "PRE_COPY", "RESUMING"}),
    (vu.RESET, b"", {"RUNNING", "PRE_COPY", "RESUMING"}),
    (vu.REGION_READ, struct.pack("<QII", 0, 0, 4), {"RUNNING", "PRE_COPY", "RESUMING", "STOP"}),
    (vu.REGION_WRITE, struct.pack("<QII", 0, 0, 4) + bytes(4), {"RUNNING", "PRE_COPY", "RESUMING", "STOP"}),
    (vu.FEATURE, struct.pack("<II", 16, vu.GET | vu.MIG_STATE), set(STATES)),
    (vu.MIG_READ, struct.pack("<II", 16, 8), {"PRE_COPY", "STOP_COPY"}),
    (vu.MIG_WRITE, struct.pack("<II", 16, 8) + bytes(8), {"RESUMING"}),
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("command, body, states", MATRIX, ids=[str(row[0]) for row in MATRIX])
def test_what_works_where(server, client, command, body, states, state):
    enter(server, client, state)
    client.call(command, body, error=0 if state in states else errno.EINVAL).close()


def test_reset_leaves_the_state_alone(client):
    client.set_state(vu.PRE_COPY)
    client.call(vu.RESET)
    assert client.state() == vu.PRE_COPY


@pytest.mark.parametrize("state", STATES)
def test_next_client_finds_it_running(server, client, state):
    client.set_state(STATES[state])
    client.close()
    server.until_lost(1)
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.map(0x1000, 4096)
    assert client.state() == vu.RUNNING
    client.close()


def test_state_changes_wait_for_the_device(start):
    server = start(("quiesce",))
    client = vu.Client(server.paths[0])
    client.negotiate({})
    client.set_state(vu.STOP)
    assert server.notes() == [("quiesce",), ("state", 0)]
    client.feature(vu.PROBE | vu.SET | vu.MIG_STATE, bytes(8))
    client.feature(vu.GET | vu.MIGRATION, argsz=16)
    assert server.notes() == []
    client.close()


# --- data ---

@pytest.mark.parametrize("piece", [1000, 999, 4096, 10000, 65536, vu.MAX_DATA])
@pytest.mark.parametrize("state", [vu.STOP_COPY, vu.PRE_COPY])
def test_read(client, state, piece):
    client.set_state(state)
    data = b""
    while True:
        part = client.mig_read(piece)
        data += part
        if len(part) < piece:
            break
    assert data == DEVICE_STATE
    assert client.mig_read(piece) == b""


def test_read_nothing(client):
    client.set_state(vu.STOP_COPY)
    assert client.mig_read(0) == b""


@pytest.mark.parametrize("piece", [1000, 777, 10000])
def test_save_and_restore(server, client, piece):
    client.set_state(vu.RESUMING)
    saved = bytes(range(256)) * 30
    for at in range(0, len(saved), piece):
        client.mig_write(saved[at:at + piece])
    client.set_state(vu.RUNNING)
    client.set_state(vu.STOP_COPY)
    assert client.mig_read(vu.MAX_DATA) == saved


@pytest.mark.parametrize("size, argsz", [(vu.MAX_DATA + 1, None), (0xfffffff7, 0xffffffff), (0xffffffff, 7),
                                         (8, 15), (8, 0), (0, 7)])
def test_read_refused(client, size, argsz):
    client.set_state(vu.STOP_COPY)
    client.mig_read(size, (8 + size) & 0xffffffff if argsz is None else argsz, error=errno.EINVAL)


@pytest.mark.parametrize("size, argsz", [(101, None), (0xffffffff, 0xffffffff), (100, 107), (0xfffffff8, 0),
                                         (vu.MAX_DATA + 1, None)])
def test_write_refused(client, size, argsz):
    client.set_state(vu.RESUMING)
    client.mig_write(bytes(100), size, argsz, error=errno.EINVAL)


def test_short_data_messages(client):
    client.set_state(vu.STOP_COPY)
    for length in range(8):
        client.call(vu.MIG_READ, bytes(length), error=errno.EINVAL)
    client.set_state(vu.RESUMING)
    for length in range(8):
        client.call(vu.MIG_WRITE, bytes(length), error=errno.EINVAL)


def test_client_limit(server):
    client = vu.Client(server.paths[0])
    client.negotiate({"max_data_xfer_size": 100})
    client.set_state(vu.STOP_COPY)
    client.mig_read(101, error=errno.EINVAL)
    assert len(client.mig_read(100)) == 100
    client.close()
    server.until_lost(1)
    client = vu.Client(server.paths[0])
    client.negotiate({"max_data_xfer_size": 1 << 40})
    client.set_state(vu.STOP_COPY)
    client.mig_read(vu.MAX_DATA + 1, error=errno.EINVAL)
    assert len(client.mig_read(vu.MAX_DATA)) == 10000
    client.close()


def test_device_fails(server, client):
    client.set_state(vu.STOP_COPY)
    server.fail("read", errno.EIO)
    client.mig_read(8, error=errno.EIO)
    server.fail("read", 0)
    client.set_state(vu.RESUMING)
    server.fail("write", errno.ENOMEM)
    client.mig_write(bytes(8), error=errno.ENOMEM)
    server.fail("write", 0)
    client.mig_write(bytes(10001), error=errno.ENOSPC)
    server.fail("short", 1)
    client.mig_write(bytes(8), error=errno.EINVAL)
