# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest copies a file both ways through its network card and -netdev user: the card in process and in another process."""
import concurrent.futures
import os
import socket
import threading

import pytest

import network as net

SIZES = {"in-process": 16 << 20, "remote": int(os.environ.get("MPQEMU_TEST_FILE_MIB", "64")) << 20}

COPY = net.CARD_UP + """
ip route add default via 10.0.2.2
echo test: mac $(cat /sys/class/net/eth0/address)
wget -q -O /tmp/file http://10.0.2.2:%(port)d/file; echo test: wget $?
echo test: sum $(md5sum /tmp/file | cut -d' ' -f1)
(printf 'POST /back HTTP/1.0\\r\\nContent-Length: %%d\\r\\n\\r\\n' $(stat -c %%s /tmp/file); cat /tmp/file) |
    nc 10.0.2.2 %(port)d | sed -n 's/^HTTP[^ ]* /test: post /p'
echo hello from the guest | timeout 120 nc -l -p 7777 >/dev/null
echo test: errors $(cat /sys/class/net/eth0/statistics/*_errors | tr '\\n' ' ')
"""


def ask_guest(port, stop):
    """What the guest says at its port 7777, which the host sees at `port`; asks until it is there, or `stop` is set."""
    heard = b""
    while not heard and not stop.wait(0.2):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
                s.shutdown(socket.SHUT_WR)
                heard = s.recv(100)
        except OSError:
            pass
    return heard.decode()


@pytest.mark.parametrize("where", SIZES)
@pytest.mark.parametrize("card", net.CARDS)
def test_copy(tmp_path, card, where):
    port, stop = net.free_port(), threading.Event()
    netdev = ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:7777"]
    device = f"{card},netdev=n0,mac=52:54:00:ab:cd:ef"
    meta, modules = net.CARDS[card]
    with net.web_server(tmp_path / "www", SIZES[where]) as web, concurrent.futures.ThreadPoolExecutor() as pool:
        script = COPY % {"modules": " ".join(modules), "port": web.port, "ip": "10.0.2.15"}
        heard = pool.submit(ask_guest, port, stop)
        try:
            if where == "in-process":
                out = net.run(net.guest_command(tmp_path, modules, script, [*netdev, "-device", device], meta))
            else:
                sock = tmp_path / "card.sock"
                with net.server([sock], *netdev, *net.serve_args(sock, f"{device},id=card0")):
                    out = net.run(net.guest_command(tmp_path, modules, script,
                                                    ["-device", f"vfio-user-pci,socket={sock}"], meta))
        finally:
            stop.set()
    assert net.word(out, "test: mac ") == "52:54:00:ab:cd:ef"
    assert net.word(out, "test: wget ") == "0" and net.word(out, "test: sum ") == web.sum, out[-3000:]
    assert net.word(out, "test: post ").startswith("200") and web.posted == web.sum, out[-3000:]
    assert heard.result() == "hello from the guest\n"
    assert set(net.word(out, "test: errors ").split()) == {"0"}
