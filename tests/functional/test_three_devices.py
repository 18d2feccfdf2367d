# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest with an NVMe disk, a virtio disk and a network card, all used at once: in process, in one server, in three."""
import hashlib

import pytest

import network as net

MODULES = [*net.CARDS["virtio-net-pci"][1], "virtio_blk"]
SIZE = 16 << 20

USE = net.CARD_UP + """
fill() { # disk
    dd if=/dev/urandom of=/tmp/$1 bs=1M count=16 2>/dev/null
    dd if=/tmp/$1 of=/dev/$1 bs=64k oflag=direct conv=fsync 2>/dev/null && rm /tmp/$1 &&
        dd if=/dev/$1 bs=128k count=128 iflag=direct 2>/dev/null | md5sum | sed "s/ .*//; s/^/test: $1 /"
}
while { [ ! -b /dev/vda ] || [ ! -b /dev/nvme0n1 ]; }; do sleep 0.1; done
fill nvme0n1 & fill vda &
for i in 1 2 3 4; do wget -q -O - http://10.0.2.2:%(port)d/file | md5sum | sed "s/ .*//; s/^/test: net$i /"; done
wait; echo test: all done
"""


@pytest.mark.parametrize("servers", ["in-process", "one-server", "three-servers"])
def test_three_devices(tmp_path, servers):
    disks = {name: tmp_path / f"{name}.img" for name in ("nvme0n1", "vda")}
    for path in disks.values():
        with open(path, "wb") as f:
            f.truncate(2 * SIZE)
    parts = {"disk0": (["-drive", f"id=d0,file={disks['nvme0n1']},format=raw,if=none"], "nvme,serial=one,drive=d0"),
             "disk1": (["-drive", f"id=d1,file={disks['vda']},format=raw,if=none"], "virtio-blk-pci,drive=d1"),
             "card0": (["-netdev", "user,id=n0"], "virtio-net-pci,netdev=n0")}
    socks = {name: tmp_path / f"{name}.sock" for name in parts}
    remote = [word for sock in socks.values() for word in ("-device", f"vfio-user-pci,socket={sock}")]
    with net.web_server(tmp_path / "www", SIZE) as web:
        script = USE % {"modules": " ".join(MODULES), "port": web.port, "ip": "10.0.2.15"}
        backends = {name: [*args, *net.serve_args(socks[name], f"{device},id={name}")]
                    for name, (args, device) in parts.items()}
        if servers == "in-process":
            args = [word for back, device in parts.values() for word in (*back, "-device", device)]
            out = net.run(net.guest_command(tmp_path, MODULES, script, args))
        elif servers == "one-server":
            with net.server(socks.values(), *sum(backends.values(), [])):
                out = net.run(net.guest_command(tmp_path, MODULES, script, remote))
        else:
            with net.server([socks["disk0"]], *backends["disk0"]), net.server([socks["disk1"]], *backends["disk1"]), \
                    net.server([socks["card0"]], *backends["card0"]):
                out = net.run(net.guest_command(tmp_path, MODULES, script, remote))
    assert "test: all done" in out, out[-3000:]
    for i in range(1, 5):
        assert net.word(out, f"test: net{i} ") == web.sum
    for name, path in disks.items():
        with open(path, "rb") as f:
            assert net.word(out, f"test: {name} ") == hashlib.md5(f.read(SIZE)).hexdigest()
