# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams of earlier versions load (tests/data/migration), and a machine of every model saves what it has loaded byte for byte.

`python3 tests/split/test_migration_streams.py NAME [pc]` keeps the stream of this version as tests/data/migration/NAME.gz."""
import gzip
import json
import pathlib
import random
import shutil
import struct
import sys
import tempfile
import time
import zlib

import pytest

from mailbox_guest import CODE, COUNTER, READ, WRITE, MailboxGuest
from bare_guest import out
from machine import SHARED_RAM, start_fails

DATA = pathlib.Path(__file__).resolve().parents[1] / "data/migration"
# Slot, BAR and its address: those the storm goes over.
BARS = {"nvme": (4, 0, 0xfe000000, 0x2000), "virtio-blk": (5, 4, 0xfd000000, 0x4000), "edu": (6, 0, 0xfc000000, 0x100)}
HEADER = 16
MACHINE, CPU, DEVICE, CLOCK = 1, 4, 5, 6


def setup():
    code = b""
    for slot, bar, address, _ in BARS.values():
        for register, value in ((0x10 + bar * 4, address), (0x14 + bar * 4, 0), (4, 2)):
            code += out(0xcf8, 0x80000000 | slot << 11 | register) + out(0xcfc, value)
    return code


def devices(tmp, board="q35"):
    """Every model that a machine without firmware and network can have."""
    names = ["d0", "d1", "d2"] + (["d3"] if board == "pc" else [])
    for name in names:
        with open(tmp / name, "wb") as image:
            image.truncate(1 << 20)
    drives = [word for name in names for word in ("-drive", f"id={name},file={tmp}/{name},format=raw,if=none")]
    models = ["nvme,id=nvme0,serial=s,drive=d0,addr=4", "virtio-blk-pci,id=blk0,drive=d1,addr=5", "edu,id=edu0,addr=6",
              "lsi53c895a,id=lsi0,addr=7", "scsi-hd,bus=lsi0.0,drive=d2", "ich9-ahci,id=ahci0,addr=8", "virtio-rng-pci,id=rng0,addr=9",
              "e1000,id=e0,addr=10", "virtio-net-pci,id=net0,addr=11", "pci-serial,id=ser0,addr=12", "pci-testdev,id=test0,addr=13",
              "VGA,id=vga0,addr=14", "pcie-root-port,id=port0,addr=15", "pci-bridge,id=bridge0,addr=16"]
    if board == "pc":  # its own IDE function, and what the streams of q35 were begun without
        models[models.index("pcie-root-port,id=port0,addr=15")] = "i6300esb,id=dog0,addr=15"
        models += ["ide-hd,bus=ide.0,drive=d3", "ide-cd,bus=ide.1", "isa-serial,id=com0", "pvpanic,id=panic0"]
    return [*drives, *[word for model in models for word in ("-device", model)]]


def start(tmp, name, *args, board="q35"):
    place = tmp / name
    place.mkdir()
    return MailboxGuest(place, "-machine", board, *devices(place, board), *args, code=setup() + CODE)


def until(guest, status):
    while guest.status() != status:
        assert guest.process.poll() is None, guest.said.read_text("utf-8")
        time.sleep(0.01)


def save(guest, path):
    assert guest.qmp("migrate", uri=f"file:{path}") == {"return": {}}
    while (said := guest.info())["status"] not in ("completed", "failed"):
        time.sleep(0.01)
    assert said["status"] == "completed", said


def storm(guest, seed):
    """Registers of all sizes of use are written and read, with what likes to be addresses of RAM or small numbers."""
    rng = random.Random(seed)
    guest.wait(lambda: guest.word(COUNTER) > 0, "the guest to run", timeout=300)
    guest.act(WRITE, BARS["edu"][2] + 0x60, 1)  # its interrupt line is up
    for _ in range(200):
        _, _, address, size = rng.choice(list(BARS.values()))
        value = rng.choice((0, 1, rng.getrandbits(4), rng.getrandbits(32), 0x300000 + rng.getrandbits(12) * 4))
        guest.act(rng.choice((READ, WRITE)), address + rng.randrange(size) // 4 * 4, value)


@pytest.mark.parametrize("seed, board", [(1, "q35"), (2, "q35"), (3, "pc")])
def test_saved_loaded_saved(tmp_path, seed, board):
    source = start(tmp_path, "source", board=board)
    storm(source, seed)
    source.qmp("stop")
    save(source, tmp_path / "first")
    assert source.close() == 0
    target = start(tmp_path, "target", "-incoming", f"file:{tmp_path}/first", board=board)
    until(target, "paused")
    save(target, tmp_path / "second")
    assert target.close() == 0
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def loads_and_runs(tmp_path, stream):
    (tmp_path / "stream").write_bytes(stream)
    board = "pc" if b'{"machine":"pc",' in stream[:64] else "q35"  # what the first record says, in each version of records
    guest = start(tmp_path, "guest", "-incoming", f"file:{tmp_path}/stream", board=board)
    until(guest, "running")
    guest.goes_on()
    assert guest.act(READ, BARS["edu"][2]) == 0x010000ed
    assert guest.close() == 0


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.gz")))
def test_earlier_stream(tmp_path, name):
    loads_and_runs(tmp_path, gzip.decompress((DATA / name).read_bytes()))


def records(stream):
    at = 8
    while at < len(stream):
        kind, size = struct.unpack_from("<II", stream, at)
        yield kind, stream[at + HEADER:at + HEADER + size]
        at += HEADER + size


def earlier_cpu(section):
    """A CPU as version 1 said it: without what came with KVM."""
    name_len = struct.unpack_from("<H", section, 4)[0]
    at = 6 + name_len
    body = section[at + 12:]
    body = body[:body.index(b"\x0axsave_more")]  # the first of them
    return section[:at] + struct.pack("<III", 1, len(body), zlib.crc32(body)) + body


def saved_now(tmp_path):
    """The stream of a guest that runs."""
    source = start(tmp_path, "source")
    source.wait(lambda: source.word(COUNTER) > 0, "the guest to run", timeout=300)
    save(source, tmp_path / "new")
    assert source.close() == 0
    return (tmp_path / "new").read_bytes()


def test_first_versions(tmp_path):
    """Version 1 of the stream and of its CPUs."""
    new = saved_now(tmp_path)
    loads_and_runs(tmp_path, first_version((kind, earlier_cpu(payload) if kind == CPU else payload)
                                           for kind, payload in records(new)))


def first_version(pieces):
    stream = b"MPQM" + struct.pack("<I", 1)
    for kind, payload in pieces:
        head = struct.pack("<II", kind, len(payload))
        stream += head + struct.pack("<I", zlib.crc32(head + payload)) + payload
    return stream


# A q35's own devices: one that came with its version 2, one that it has always had.
SMBUS, AHCI = "ICH9-SMB ", "ich9-ahci /machine/unattached/"


def other_board(stream, version, without=(), more=()):
    """The stream as a board of that version would give it, without devices (by how they are described) and with more."""
    out, gone, at = [], [], 0
    for kind, payload in records(stream):
        if kind == MACHINE:
            machine = json.loads(payload)
            names = machine["devices"]
            gone = [any(name.startswith(text) for text in without) for name in names]
            assert sum(gone) == len(without)
            machine["devices"] = [name for name, left_out in zip(names, gone) if not left_out] + list(more)
            machine.pop("board")
            machine.update({"board": version} if version else {})
            payload = json.dumps(machine).encode()
        if kind == DEVICE:
            at += 1
            if gone[at - 1]:
                continue
        out.append((kind, payload))
    return first_version(out)


def refused(tmp_path, stream):
    (tmp_path / "stream").write_bytes(stream)
    return start_fails(*SHARED_RAM, *devices(tmp_path), "-incoming", f"file:{tmp_path}/stream")


def test_boards_grow(tmp_path):
    """What a board has got since is as reset after a stream without it; everything else that differs is named."""
    new = saved_now(tmp_path)
    for version in (1, None):
        loads_and_runs(tmp_path, other_board(new, version, [SMBUS]))
        shutil.rmtree(tmp_path / "guest")
    loads_and_runs(tmp_path, other_board(new, 1))  # had it all the same
    shutil.rmtree(tmp_path / "guest")
    for stream, text in ((other_board(new, 2, [SMBUS]), "device 'ICH9-SMB[0]' here is not in the source"),
                         (other_board(new, 1, [AHCI]), "device 'ich9-ahci[0]' here is not in the source"),
                         (other_board(new, 1, ["edu "]), "device 'edu /machine/peripheral/edu0' here is not in the source"),
                         (other_board(new, 1, [], ["flux /machine/unattached/device[99]"]), "device 'flux[0]' of the source is not here"),
                         (other_board(new, 2, [], ["edu /machine/peripheral/edu0"]), "device 'edu /machine/peripheral/edu0' of the source"),
                         (other_board(new, 99), "board is of version 99")):
        assert text in refused(tmp_path, stream)


def changed(pieces, kind, change):
    """The first record of that kind is replaced by the list of payloads that `change` makes of it; and where the last of them begins."""
    out, at, place = [], 8, 0
    for record, payload in pieces:
        new = change(payload) if record == kind and not place else [payload]
        for data in new:
            place = at if record == kind and new != [payload] else place
            out.append((record, data))
            at += 12 + len(data)
    return first_version(out), place


def test_bad_records(tmp_path):
    """What is wrong is said with the record it is in, and where that begins."""
    pieces = list(records(saved_now(tmp_path)))
    for kind, name, change, text in (
            (CPU, "CPU", lambda p: [p, p], "there are more than 1 of these"),
            (CLOCK, "clock", lambda p: [p, p], "there are more than 1 of these"),
            (CLOCK, "clock", lambda p: [struct.pack("<q", -1)], "guest time of -1 ns (allowed 0.."),
            (CLOCK, "clock", lambda p: [struct.pack("<q", 2**63 - 1)], "guest time of 9223372036854775807 ns"),
            (DEVICE, "device", lambda p: [p + b"x"], "ends at byte"),
            (DEVICE, "device", lambda p: [p[:-1]], "state section '/machine/unattached/ioapic': truncated"),
            (MACHINE, "machine", lambda p: [b"[]"], "the description of the machine is not JSON"),
            (MACHINE, "machine", lambda p: [p, p], "the machine was described already")):
        stream, place = changed(pieces, kind, change)
        said = refused(tmp_path, stream)
        assert f"-incoming: migration: {name} record at byte {place}: " in said and text in said, said


def with_field(section, field, value):
    """A device's section where a field of the first level has another value."""
    at = 6 + struct.unpack_from("<H", section, 4)[0]
    body = section[at + 12:]
    name = bytes([len(field)]) + field.encode() + struct.pack("<I", len(value))
    place = body.index(name) + len(name)
    body = body[:place] + value + body[place + len(value):]
    return section[:at] + section[at:at + 4] + struct.pack("<II", len(body), zlib.crc32(body)) + body


def test_bad_fields(tmp_path):
    """Values that no device could have saved."""
    pieces = list(records(saved_now(tmp_path)))
    described = next(json.loads(payload) for kind, payload in pieces if kind == MACHINE)["devices"]
    sections = [i for i, (kind, _) in enumerate(pieces) if kind == DEVICE]
    for model, field, value, text in (
            ("mc146818rtc", "moving_offset", struct.pack("<q", -2**62), "bad time (moving_offset -4611686018427387904"),
            ("mc146818rtc", "moving_offset", struct.pack("<q", 2**63 - 1), "bad time (moving_offset 9223372036854775807")):
        at = sections[next(i for i, name in enumerate(described) if name.startswith(model + " "))]
        hostile = list(pieces)
        hostile[at] = (DEVICE, with_field(pieces[at][1], field, value))
        assert text in refused(tmp_path, first_version(hostile))


def keep(name, board="q35"):
    with tempfile.TemporaryDirectory() as tmp:
        source = start(pathlib.Path(tmp), "source", board=board)
        storm(source, 0)
        save(source, pathlib.Path(tmp) / "stream")
        source.close()
        DATA.mkdir(exist_ok=True)
        (DATA / f"{name}.gz").write_bytes(gzip.compress((pathlib.Path(tmp) / "stream").read_bytes(), 9, mtime=0))


if __name__ == "__main__":
    keep(*sys.argv[1:])
