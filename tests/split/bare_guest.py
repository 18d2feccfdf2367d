# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of a few instructions, as bzImages for the 64-bit boot protocol, on a machine whose RAM the test sees."""
import mmap
import os
import struct
import time

from machine import DEVFN, Machine

LOAD = 0x1000000
COUNTER, VALUE, OTHER, GO = 0x200000, 0x200004, 0x7000, 0x200008
IDT, STACK = 0x280000, 0x290000
RAM_SIZE = 64 << 20
ICR = 0xfee00300


# Addresses are 32 bits wide (prefix 0x67): displacements would be sign-extended.
def store(address, value):
    return b"\x67\xc7\x04\x25" + struct.pack("<II", address, value)  # mov dword [address], value


def load(address):
    return b"\x67\x8b\x04\x25" + struct.pack("<I", address)  # mov eax, [address]


def save(address):
    return b"\x67\x89\x04\x25" + struct.pack("<I", address)  # mov [address], eax


def increment(address):
    return b"\x67\xff\x04\x25" + struct.pack("<I", address)  # inc dword [address]


def out(port, value):
    return b"\xba" + struct.pack("<I", port) + b"\xb8" + struct.pack("<I", value) + b"\xef"


def config_read(offset):
    return out(0xcf8, 0x80000000 | DEVFN << 8 | offset) + b"\xba\xfc\x0c\0\0\xed"


def config_write(offset, value):
    return out(0xcf8, 0x80000000 | DEVFN << 8 | offset) + out(0xcfc, value)


def forever(code):
    return code + b"\xe9" + struct.pack("<i", -(len(code) + 5))


def wait_for(address):
    """Until the word at address is not 0."""
    return b"\x67\x83\x3c\x25" + struct.pack("<I", address) + b"\0\x74\xf5"  # cmp dword [address], 0; jz back


def on_interrupt(vector, handler):
    """The beginning of a guest's code: has `handler` run at each interrupt `vector`, once they are allowed."""
    at, gate = LOAD + 0x200 + 2, IDT + vector * 16
    return (b"\xeb" + bytes((len(handler) + 2,)) + handler + b"\x48\xcf" +  # jmp over; iretq
            b"\xbc" + struct.pack("<I", STACK) +  # mov esp
            store(gate, 0x100000 | (at & 0xffff)) + store(gate + 4, (at & 0xffff0000) | 0x8e00) + store(gate + 8, 0) +
            store(IDT + 0xff0, 0xfff) + store(IDT + 0xff4, IDT >> 16) + store(IDT + 0xff8, 0) +
            b"\x67\x0f\x01\x1c\x25" + struct.pack("<I", IDT + 0xff0) +  # lidt
            store(0xfee000f0, 0x1ff))


def start_other_cpu():
    """The second CPU counts at OTHER, in real mode."""
    loop = b"\x66\xff\x06" + struct.pack("<H", OTHER) + b"\xeb\xf9\0"
    return (store(0x6000, struct.unpack("<I", loop[:4])[0]) + store(0x6004, struct.unpack("<I", loop[4:])[0]) +
            store(ICR + 0x10, 1 << 24) + store(ICR, 0x4500) + store(ICR + 0x10, 1 << 24) + store(ICR, 0x4606))


def bzimage(path, code):
    image = bytearray(1024)
    image[0x1f1], image[0x211] = 1, 1
    image[0x1fe:0x200], image[0x201:0x206] = b"\x55\xaa", b"\x62HdrS"
    struct.pack_into("<H", image, 0x206, 0x20c)
    struct.pack_into("<I", image, 0x22c, 0x7fffffff)
    struct.pack_into("<H", image, 0x236, 1)
    struct.pack_into("<I", image, 0x238, 255)
    struct.pack_into("<QI", image, 0x258, LOAD, 0x100000)
    path.write_bytes(bytes(image) + bytes(0x200) + code + bytes(512))


class Guest(Machine):
    """Runs `code`, with the software CPU unless told otherwise."""

    def __init__(self, tmp, code, *args, cpus=1, accel="tcg", stderr=None):
        ram = tmp / "ram"
        with open(ram, "wb") as file:
            file.truncate(RAM_SIZE)
        bzimage(tmp / "kernel", code)
        super().__init__(tmp, "-object", f"memory-backend-file,id=mem,size=64M,mem-path={ram},share=on", "-machine",
                         "memory-backend=mem", "-kernel", str(tmp / "kernel"), "-smp", str(cpus), *args, accel=accel, stderr=stderr)
        with open(ram, "r+b") as file:
            self.ram = mmap.mmap(file.fileno(), RAM_SIZE)

    def word(self, address):
        return struct.unpack_from("<I", self.ram, address)[0]

    def set_word(self, address, value):
        struct.pack_into("<I", self.ram, address, value)

    def wait(self, condition, what, timeout=300):
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(0.005)

    def goes_on(self, address=COUNTER):
        begin = self.word(address)
        self.wait(lambda: self.word(address) != begin, "the guest to go on")

    def stands(self, address=COUNTER):
        begin = self.word(address)
        time.sleep(0.2)
        return self.word(address) == begin

    def close(self):
        self.ram.close()
        return super().close()
