# SPDX-License-Identifier: GPL-2.0-or-later
"""What a driver of intel-iommu does (VT-d 3.3: tables in 9, registers in 11.4), for the Machine of machine.py."""
import struct
import time

from machine import DEVFN

REGS = 0xfed90000
GCMD, GSTS, RTADDR, FSTS, IQT, IQA, FRCD = 0x18, 0x1c, 0x20, 0x34, 0x88, 0x90, 0x220
TE, SRTP, QIE = 1 << 31, 1 << 30, 1 << 26
READ, WRITE = 1, 2
DOMAIN = 9
OPTIONS = ["-device", "intel-iommu,caching-mode=on"]


class Iommu:
    """Three levels of tables at `base` of guest memory; those of the first 1 GiB of addresses are made when needed."""

    def __init__(self, machine, base=0x100000):
        self.machine, self.tail = machine, 0
        self.root, self.context, self.l3, self.l2, self.queue, self.status = (base + 0x1000 * i for i in range(6))
        self.tables, self.next_table = {}, base + 0x6000
        machine.write(self.root, self.context | 1, "q")
        machine.write(self.context + 16 * DEVFN, self.l3 | 1, "q")
        machine.write(self.context + 16 * DEVFN + 8, 1 | DOMAIN << 8, "q")
        machine.write(self.l3, self.l2 | 3, "q")
        machine.write(REGS + RTADDR, self.root, "q")
        machine.write(REGS + IQA, self.queue, "q")
        for bit in (SRTP, QIE, TE):
            self.command(bit, True)

    def command(self, bit, on):
        keep = self.machine.read(REGS + GSTS) & (TE | QIE) & ~bit
        self.machine.write(REGS + GCMD, keep | (bit if on else 0))
        assert bool(self.machine.read(REGS + GSTS) & bit) == on

    def table(self, iova):
        index = iova >> 21
        if index not in self.tables:
            self.tables[index] = self.next_table
            self.next_table += 0x1000
            self.machine.write(self.l2 + 8 * index, self.tables[index] | 3, "q")
        return self.tables[index]

    def fill(self, iova, entries):
        """Writes entries from iova on, within 2 MiB, and tells nobody."""
        self.machine.set_memory(self.table(iova) + 8 * (iova >> 12 & 511), struct.pack(f"<{len(entries)}Q", *entries))

    def submit(self, *descriptors):
        """Queues descriptors, and waits until they were carried out; seconds from the doorbell on."""
        self.machine.write(self.status, 0)
        for low, high in [*descriptors, (5 | 1 << 5 | 1 << 32, self.status)]:
            self.machine.set_memory(self.queue + 16 * self.tail, struct.pack("<QQ", low, high))
            self.tail = (self.tail + 1) % 256
        begin = time.monotonic()
        self.machine.write(REGS + IQT, 16 * self.tail, "q")
        while self.machine.read(self.status) != 1:
            assert time.monotonic() < begin + 60, "the wait descriptor"
        return time.monotonic() - begin

    def invalidate(self, iova, order=0):
        """2^order pages at iova, aligned."""
        return self.submit((2 | 3 << 4 | DOMAIN << 16, iova | order))

    def map(self, iova, address, permissions):
        self.fill(iova, [address | permissions if permissions else 0])
        self.invalidate(iova)

    def unmap(self, iova):
        self.map(iova, 0, 0)

    def fault(self):
        """(reason, address, requester, is a read) of the oldest record, which is acknowledged; None: there is none."""
        status = self.machine.read(REGS + FSTS)
        if not status & 2:
            return None
        record = REGS + FRCD + 16 * (status >> 8 & 0xff)
        address, high = self.machine.read(record, "q"), self.machine.read(record + 8, "q")
        self.machine.write(record + 12, 1 << 31)
        return high >> 32 & 0xff, address, high & 0xffff, bool(high >> 62 & 1)
