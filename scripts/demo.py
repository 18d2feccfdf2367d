# SPDX-License-Identifier: GPL-2.0-or-later
"""The split guest of scripts/demo: a client with the guest, a server with its NVMe controller."""
import argparse
import hashlib
import json
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time

import guest

ROOT = guest.ROOT
BINARY = ROOT / "build" / "system" / "qemu-system-x86_64"
IMAGE_MIB = 256


def server_command(image, sock):
    return [str(BINARY), "-machine", "x-remote,vfio-user=on", "-nodefaults",
            "-drive", f"id=d0,file={image},format=raw,if=none", "-device", "nvme,id=nvme0,serial=demo,drive=d0",
            "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=nvme0"]


def client_command(kernel, initrd, sock, append, qmp=None):
    """With a QMP socket the terminal is the serial port's alone: no Ctrl-A keys."""
    device = {"driver": "vfio-user-pci", "id": "disk", "socket": {"type": "unix", "path": str(sock)}}
    return [str(BINARY), "-machine", "q35,accel=kvm:tcg", "-m", "512",
            "-object", "memory-backend-memfd,id=mem,size=512M,share=on", "-machine", "memory-backend=mem",
            "-kernel", str(kernel), "-initrd", str(initrd), "-append", append, "-nographic",
            *(["-qmp", f"unix:{qmp},server=on,wait=off"] if qmp else []), "-device", json.dumps(device)]


class Qmp:
    """Just enough of a QMP client to read a property."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.file = self.sock.makefile("r")
        self.file.readline()
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        self.sock.sendall((json.dumps({"execute": command, "arguments": arguments}) + "\n").encode())
        while True:
            reply = json.loads(self.file.readline())
            if "return" in reply or "error" in reply:
                return reply.get("return")


def wait_for(path, process):
    while not path.exists():
        if process.poll() is not None:
            raise SystemExit(f"demo: the server ended with status {process.returncode} before it listened")
        time.sleep(0.01)


def rss_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return {key: int(value) // 1024 for key, value in re.findall(r"(RssAnon|RssFile|RssShmem):\s+(\d+)", status)}


def messages(qmp):
    counts = {name: qmp.run("qom-get", path="/machine/peripheral/disk", property=name)
              for name in ("messages-sent", "messages-received")}
    return sum(v for v in counts.values() if isinstance(v, int))


def follow(client, qmp_path, server_pid):
    """Shows the guest's console, returns (what it said, figures taken while it ran)."""
    said, figures, qmp = [], {"start": time.monotonic()}, None
    for line in client.stdout:
        line = line.rstrip("\r\n")
        if "demo: " not in line:
            continue
        text = line[line.index("demo: ") + 6:]
        said.append(text)
        print(f"  guest: {text}", flush=True)
        if text.startswith("init after"):
            figures["boot"] = time.monotonic() - figures["start"]
            qmp = Qmp(qmp_path)
            figures["messages"] = -messages(qmp)
        elif text == "checksums agree":
            figures["messages"] += messages(qmp)
            figures["client"], figures["server"] = rss_mib(client.pid), rss_mib(server_pid)
    return said, figures


def seconds(said, what):
    for text in said:
        if text.startswith(what + " "):
            start, end = text.split()[1:3]
            return max(float(end) - float(start), 0.01)
    raise SystemExit(f"demo: the guest never said {what}")


def check_image(image, said, work):
    """What the host finds in the image: a clean file system, and the file the guest wrote."""
    fsck = subprocess.run(["/sbin/e2fsck", "-fn", str(image)], capture_output=True, text=True, check=False)
    if fsck.returncode:
        raise SystemExit(f"demo: e2fsck finds the file system unclean:\n{fsck.stdout}{fsck.stderr}")
    out = work / "file0"
    subprocess.run(["/sbin/debugfs", "-R", f"dump /file0 {out}", str(image)], check=True, capture_output=True)
    digest = hashlib.md5(out.read_bytes()).hexdigest()
    if f"sum {digest}  file0" not in said:
        raise SystemExit(f"demo: file0 in the image has checksum {digest}, which is not what the guest printed")
    return digest


def summary(server_cmd, client_cmd, said, figures, digest):
    mib = 64
    write, read = seconds(said, "write-time"), seconds(said, "read-time")
    print("\nA guest in one process, its disk controller in another\n")
    print("  server:", shlex.join(server_cmd))
    print("  client:", shlex.join(client_cmd), "\n")
    print(f"  boot to init      {figures['boot']:.1f} s")
    print(f"  written, synced   {mib / write:.1f} MiB/s")
    print(f"  read back         {mib / read:.1f} MiB/s")
    print(f"  socket messages   {figures['messages'] / (3 * mib):.1f} per MiB of disk traffic")
    for name in ("client", "server"):
        sizes = ", ".join(f"{key[3:].lower()} {value} MiB" for key, value in figures[name].items())
        print(f"  {name} memory     {sizes}")
    for text in said:
        if text.startswith("irq "):
            print("  interrupts       ", text[4:].strip())
    print(f"  on the host       e2fsck clean, file0 has the guest's checksum {digest}")


def run_demo(work):
    image, sock, qmp = work / "disk.img", work / "vfio-user.sock", work / "qmp.sock"
    with open(image, "wb") as f:
        f.truncate(IMAGE_MIB << 20)
    initrd = guest.initramfs(work / "initrd.gz",
                             guest.PROLOGUE + (ROOT / "scripts/guest/demo-init.sh").read_text(encoding="ascii"))
    server_cmd = server_command(image, sock)
    client_cmd = client_command(guest.kernel(), initrd, sock, "console=ttyS0 no_timer_check quiet", qmp)
    print("starting the server and the client ...", flush=True)
    with subprocess.Popen(server_cmd) as server:
        try:
            wait_for(sock, server)
            with subprocess.Popen(client_cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                  errors="replace") as client:
                said, figures = follow(client, qmp, server.pid)
        finally:
            server.terminate()
    if client.returncode or "done" not in said:
        raise SystemExit(f"demo: the client ended with status {client.returncode}, the guest said: {said[-1:]}")
    digest = check_image(image, said, work)
    summary(server_cmd, client_cmd, said, figures, digest)


def run_shell(work):
    image, sock = work / "disk.img", work / "vfio-user.sock"
    with open(image, "wb") as f:
        f.truncate(IMAGE_MIB << 20)
    initrd = guest.initramfs(work / "initrd.gz", guest.PROLOGUE + "exec setsid cttyhack sh\n")
    print("the remote disk is /dev/nvme0n1; Ctrl-A x quits\n", flush=True)
    with subprocess.Popen(server_command(image, sock)) as server:
        try:
            wait_for(sock, server)
            return subprocess.call(client_command(guest.kernel(), initrd, sock, "console=ttyS0 no_timer_check quiet"))
        finally:
            server.terminate()


def main():
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--shell", action="store_true", help="an interactive shell in the guest")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mpqemu-demo-") as work:
        work = pathlib.Path(work)
        if args.shell:
            sys.exit(run_shell(work))
        print("fetching the guest's kernel (first time only) ...", flush=True)
        guest.kernel()
        run_demo(work)


if __name__ == "__main__":
    main()
