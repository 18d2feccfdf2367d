# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_SET_IRQS: every data type with every action, ranges, violations; and the interrupts that follow."""
import errno
import os
import struct

import pytest

import vfio_user as vu

COUNTS = {vu.INTX: 1, vu.MSI: 4, vu.MSIX: 8, vu.ERR: 1, vu.REQ: 1}


@pytest.fixture
def events():
    fds = [vu.eventfd() for _ in range(8)]
    yield fds
    for fd in fds:
        os.close(fd)


def assign(client, index, start, fds, **kwargs):
    client.set_irqs(vu.TRIGGER | vu.EVENTFD, index, start, len(fds), fds=fds, **kwargs)


def test_trigger(server, client, events):
    for number in range(8):
        assert server.irq(vu.MSIX, number) == errno.ENOENT
    assert server.irq(vu.MSIX, 8) == errno.EINVAL
    assert server.irq(5, 0) == errno.EINVAL
    assign(client, vu.MSIX, 0, events)
    for number in range(8):
        assert server.irq(vu.MSIX, number) == 0
        assert [vu.signalled(fd) for fd in events] == [int(i == number) for i in range(8)]


@pytest.mark.parametrize("index", COUNTS)
def test_each_type_has_its_own(server, client, events, index):
    assign(client, index, 0, events[:1])
    for other in COUNTS:
        assert server.irq(other, 0) == (0 if other == index else errno.ENOENT)
    assert vu.signalled(events[0]) == 1


def test_any_prefers_msix(server, client, events):
    assert server.irq("any", 0) == errno.ENOENT
    assert server.irq("any", 8) == errno.EINVAL
    for number, index in enumerate((vu.INTX, vu.MSI, vu.MSIX)):
        assign(client, index, 0, [events[number]])
        assert server.irq("any", 0) == 0
        assert [vu.signalled(fd) for fd in events[:3]] == [int(i == number) for i in range(3)]


def test_replace(server, client, events):
    fds = server.usage()["fds"]
    assign(client, vu.MSIX, 0, events[:4])
    assign(client, vu.MSIX, 2, events[4:6])
    for number, event in ((0, 0), (1, 1), (2, 4), (3, 5)):
        assert server.irq(vu.MSIX, number) == 0
        assert vu.signalled(events[event]) == 1
    assert server.usage()["fds"] == fds + 4
    client.set_irqs(vu.TRIGGER | vu.NONE, vu.MSIX, 0, 0)
    assert server.usage()["fds"] == fds


@pytest.mark.parametrize("first, count", [(0, 8), (0, 1), (3, 2), (7, 1), (1, 7)])
def test_remove_a_range(server, client, events, first, count):
    assign(client, vu.MSIX, 0, events)
    assign(client, vu.INTX, 0, events[:1])
    client.set_irqs(vu.TRIGGER | vu.EVENTFD, vu.MSIX, first, count)
    for number in range(8):
        assert server.irq(vu.MSIX, number) == (errno.ENOENT if first <= number < first + count else 0)
    assert server.irq(vu.INTX, 0) == 0


@pytest.mark.parametrize("first, count", [(0, 8), (2, 3), (7, 1)])
def test_loopback_none(client, events, first, count):
    assign(client, vu.MSIX, 0, events)
    client.set_irqs(vu.TRIGGER | vu.NONE, vu.MSIX, first, count)
    assert [vu.signalled(fd) for fd in events] == [int(first <= i < first + count) for i in range(8)]


def test_loopback_bool(client, events):
    assign(client, vu.MSIX, 0, events)
    client.set_irqs(vu.TRIGGER | vu.BOOL, vu.MSIX, 1, 5, b"\1\0\1\0\1")
    assert [vu.signalled(fd) for fd in events] == [0, 1, 0, 1, 0, 1, 0, 0]


def test_loopback_without_eventfds(client):
    client.set_irqs(vu.TRIGGER | vu.NONE, vu.MSIX, 0, 8)
    client.set_irqs(vu.TRIGGER | vu.BOOL, vu.MSIX, 0, 8, b"\1" * 8)


@pytest.mark.parametrize("action", [vu.MASK, vu.UNMASK])
def test_mask(server, client, action):
    masked = int(action == vu.MASK)
    client.set_irqs(action | vu.NONE, vu.MSIX, 2, 3)
    client.set_irqs(action | vu.BOOL, vu.MSIX, 0, 8, b"\1\1\0\0\1\0\1\1")
    client.set_irqs(action | vu.NONE, vu.INTX, 0, 1)
    client.set_irqs(action | vu.NONE, vu.MSI, 0, 4)
    assert server.notes() == [("msix", 2, 3, masked), ("msix", 0, 2, masked), ("msix", 4, 1, masked),
                              ("msix", 6, 2, masked),
                              ("intx", 0, 1, masked)]


def test_combinations(client):
    """Exactly one data type and one action; the rest of the 32 bits is zero."""
    for flags in range(64):
        one_each = bin(flags & 7).count("1") == 1 and bin(flags & 56).count("1") == 1
        data = b"\1" if flags & 7 == vu.BOOL else b""
        client.set_irqs(flags, vu.MSIX, 0, 1, data, error=0 if one_each else errno.EINVAL)
    for bit in range(6, 32):
        client.set_irqs(vu.TRIGGER | vu.NONE | 1 << bit, vu.MSIX, 0, 1, error=errno.EINVAL)


@pytest.mark.parametrize("index, count", COUNTS.items())
def test_ranges(client, index, count):
    flags = vu.TRIGGER | vu.NONE
    client.set_irqs(flags, index, 0, 0)
    client.set_irqs(flags, index, 0, count)
    for start, number in ((0, count + 1), (count, 1), (count, 0), (1, 0), (0xffffffff, 1), (1, 0xffffffff),
                          (0xffffffff, 0xffffffff),
                          (0x80000000, 0x80000000), (0, 0xffffffff)):
        client.set_irqs(flags, index, start, number, error=errno.EINVAL)


@pytest.mark.parametrize("flags", [vu.MASK | vu.NONE, vu.UNMASK | vu.NONE, vu.TRIGGER | vu.EVENTFD,
                                   vu.TRIGGER | vu.BOOL])
def test_nothing_at_all(client, flags):
    client.set_irqs(flags, vu.MSIX, 0, 0, error=errno.EINVAL)


@pytest.mark.parametrize("index", [5, 6, 0xffffffff])
def test_no_such_type(client, index):
    client.set_irqs(vu.TRIGGER | vu.NONE, index, 0, 0, error=errno.EINVAL)
    client.set_irqs(vu.TRIGGER | vu.NONE, index, 0, 1, error=errno.EINVAL)


@pytest.mark.parametrize("index", [vu.ERR, vu.REQ])
def test_err_and_req_only_trigger(server, client, events, index):
    for action in (vu.MASK, vu.UNMASK):
        client.set_irqs(action | vu.NONE, index, 0, 1, error=errno.EINVAL)
    assign(client, index, 0, events[:1])
    assert server.irq(index, 0) == 0
    client.set_irqs(vu.TRIGGER | vu.NONE, index, 0, 0)
    assert server.irq(index, 0) == errno.ENOENT


@pytest.mark.parametrize("length", range(1, 20))
def test_short(client, length):
    client.call(vu.SET_IRQS, struct.pack("<IIIII", 20, vu.TRIGGER | vu.NONE, vu.MSIX, 0, 1)[:length],
                error=errno.EINVAL)


@pytest.mark.parametrize("argsz", [0, 19])
def test_argsz(client, argsz):
    client.set_irqs(vu.TRIGGER | vu.NONE, vu.MSIX, 0, 1, argsz=argsz, error=errno.EINVAL)


@pytest.mark.parametrize("length", [0, 1, 2, 4, 100])
def test_bools_are_count_bytes(client, length):
    client.set_irqs(vu.TRIGGER | vu.BOOL, vu.MSIX, 0, 3, b"\1" * length, error=errno.EINVAL)


@pytest.mark.parametrize("flags, count", [(vu.TRIGGER | vu.NONE, 2), (vu.TRIGGER | vu.NONE, 0),
                                          (vu.MASK | vu.NONE, 2),
                                          (vu.TRIGGER | vu.EVENTFD, 1), (vu.TRIGGER | vu.EVENTFD, 3)])
def test_fds_that_do_not_fit(server, client, events, flags, count):
    fds = server.usage()["fds"]
    client.set_irqs(flags, vu.MSIX, 0, count, fds=events[:2], error=errno.EINVAL)
    assert server.usage()["fds"] == fds


def test_fds_with_bools(client, events):
    client.set_irqs(vu.TRIGGER | vu.BOOL, vu.MSIX, 0, 2, b"\1\1", fds=events[:2], error=errno.EINVAL)


def test_pipe_or_socket_is_no_eventfd(server, client):
    """A write to one could block the device or kill it."""
    ends = os.pipe()
    for fd in (*ends, client.socket.fileno()):
        client.set_irqs(vu.TRIGGER | vu.EVENTFD, vu.MSIX, 0, 1, fds=[fd], error=errno.EINVAL)
        os.fstat(fd)
    for fd in ends:
        os.close(fd)
    assert server.irq(vu.MSIX, 0) == errno.ENOENT


@pytest.mark.parametrize("waits", [False, True])
def test_full_eventfd_does_not_block(server, client, events, waits):
    os.write(events[0], struct.pack("Q", 0xfffffffffffffffe))
    assign(client, vu.MSIX, 0, events[:1])
    # The flag is the file's, which the client shares.
    os.set_blocking(events[0], waits)
    assert server.irq(vu.MSIX, 0) == 0
    client.info()


def test_a_lost_client_takes_its_fds_along(server, client, events):
    fds = server.usage()["fds"]
    assign(client, vu.MSIX, 0, events)
    client.close()
    server.until_lost(1)
    assert server.usage()["fds"] == fds - 1
    assert server.irq(vu.MSIX, 0) == errno.ENOENT
    client = vu.Client(server.paths[0])
    client.negotiate({})
    assert server.irq(vu.MSIX, 0) == errno.ENOENT
    client.close()
