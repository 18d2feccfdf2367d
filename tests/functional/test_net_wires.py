# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on other wires than -netdev user: a tap of the host's kernel, and two guests joined by sockets, one of them with its
card in another process."""
import concurrent.futures
import ctypes
import os
import subprocess

import pytest

import network as net

CLONE_NEWNET = 0x40000000
FILE_SIZE = 16 << 20

FETCH = net.CARD_UP + """
echo test: queues $(ls /sys/class/net/eth0/queues | tr '\\n' ' ')
echo test: mtu $(cat /sys/class/net/eth0/mtu) $(cat /sys/class/net/eth0/speed)
wget -q -O /tmp/file http://10.9.0.1:%(port)d/file; echo test: sum $(md5sum /tmp/file | cut -d' ' -f1)
(printf 'POST /back HTTP/1.0\\r\\nContent-Length: %%d\\r\\n\\r\\n' $(stat -c %%s /tmp/file); cat /tmp/file) |
    nc 10.9.0.1 %(port)d | sed -n 's/^HTTP[^ ]* /test: post /p'
echo test: errors $(cat /sys/class/net/eth0/statistics/*_errors | tr '\\n' ' ')
"""
SEND = net.CARD_UP + """
while ! ping -c 1 -W 1 10.9.0.2 >/dev/null; do sleep 0.1; done
dd if=/dev/urandom of=/tmp/file bs=1M count=8 2>/dev/null; echo test: sum $(md5sum /tmp/file | cut -d' ' -f1)
while ! nc 10.9.0.2 7777 </tmp/file; do sleep 0.1; done
"""
TAKE = net.CARD_UP + """
timeout 300 nc -l -p 7777 >/tmp/file; echo test: sum $(md5sum /tmp/file | cut -d' ' -f1)
"""


def in_network_namespace(fn, *args):
    """Runs fn in a thread, and programs it starts, with a network of its own."""
    def run():
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK) or ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
            pytest.skip("no tap interfaces, or no right to a network namespace")
        return fn(*args)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def copy_by_tap(tmp_path, card, tap_options, card_options, where):
    flags = ["multi_queue"] if "queues=" in tap_options else []
    for command in (["tuntap", "add", "mode", "tap", *flags, "name", "tap0"], ["addr", "add", "10.9.0.1/24", "dev", "tap0"],
                    ["link", "set", "tap0", "up", "mtu", "4000"]):
        subprocess.run(["ip", *command], check=True)
    meta, modules = net.CARDS[card]
    netdev, device = ["-netdev", f"tap,id=n0,ifname=tap0{tap_options}"], f"{card},netdev=n0{card_options}"
    with net.web_server(tmp_path / "www", FILE_SIZE, "10.9.0.1") as web:
        script = FETCH % {"modules": " ".join(modules), "port": web.port, "ip": "10.9.0.2"}
        if where == "in-process":
            out = net.run(net.guest_command(tmp_path, modules, script, ["-smp", "2", *netdev, "-device", device], meta))
        else:
            sock = tmp_path / "card.sock"
            with net.server([sock], *netdev, *net.serve_args(sock, f"{device},id=card0")):
                out = net.run(net.guest_command(tmp_path, modules, script,
                                                ["-smp", "2", "-device", f"vfio-user-pci,socket={sock}"], meta))
    assert net.word(out, "test: sum ") == web.sum and net.word(out, "test: post ").startswith("200"), out[-3000:]
    assert web.posted == web.sum and set(net.word(out, "test: errors ").split()) == {"0"}
    return out


def copy_in_a_namespace(tmp_path, card, *args):
    meta, modules = net.CARDS[card]
    net.guest.kernel_with_modules(modules, meta)  # what has to be fetched is fetched from the host's own network
    return in_network_namespace(copy_by_tap, tmp_path, card, *args)


@pytest.mark.parametrize("where", ["in-process", "remote"])
def test_e1000_on_a_tap(tmp_path, where):
    copy_in_a_namespace(tmp_path, "e1000", "", "", where)


@pytest.mark.parametrize("where", ["in-process", "remote"])
def test_virtio_on_a_tap(tmp_path, where):
    """With pairs of queues and the MTU of the network, as the driver sees them."""
    out = copy_in_a_namespace(tmp_path, "virtio-net-pci", ",queues=2", ",mq=on,host_mtu=4000,speed=10000,duplex=full", where)
    assert net.word(out, "test: queues ") == "rx-0 rx-1 tx-0 tx-1"
    assert net.word(out, "test: mtu ") == "4000 10000"


WIRES = {
    "socket": ("socket,id=n0,listen=127.0.0.1:{port}", "socket,id=n0,connect=127.0.0.1:{port}"),
    "stream": ("stream,id=n0,server=on,addr.type=unix,addr.path={tmp}/wire",
               "stream,id=n0,addr.type=unix,addr.path={tmp}/wire"),
    "dgram": ("dgram,id=n0,local.type=unix,local.path={tmp}/a,remote.type=unix,remote.path={tmp}/b",
              "dgram,id=n0,local.type=unix,local.path={tmp}/b,remote.type=unix,remote.path={tmp}/a"),
}


@pytest.mark.parametrize("wire", WIRES)
def test_two_guests(tmp_path, wire):
    modules, port, sock = net.CARDS["virtio-net-pci"][1], net.free_port(), tmp_path / "card.sock"
    one, two = (text.format(port=port, tmp=tmp_path) for text in WIRES[wire])
    words = {"modules": " ".join(modules)}
    with concurrent.futures.ThreadPoolExecutor() as pool, net.server(
            [sock], "-netdev", one, *net.serve_args(sock, "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:02,id=card0")):
        taken = pool.submit(net.run, net.guest_command(tmp_path, modules, TAKE % {**words, "ip": "10.9.0.2"},
                                                       ["-device", f"vfio-user-pci,socket={sock}"], name="take"))
        sent = net.run(net.guest_command(tmp_path, modules, SEND % {**words, "ip": "10.9.0.1"},
                                         ["-netdev", two, "-device", "virtio-net-pci,netdev=n0"], name="send"))
        assert net.word(sent, "test: sum ") == net.word(taken.result(), "test: sum ")
