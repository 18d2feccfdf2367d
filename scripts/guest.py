# SPDX-License-Identifier: GPL-2.0-or-later
"""Test guests: a stock Debian kernel (downloaded and unpacked, never installed) and small initramfs images."""
import gzip
import io
import os
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("MPQEMU_GUEST_CACHE", ROOT / "build" / "guest"))


def _run(args, **kwargs):
    return subprocess.run(args, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs).stdout


CLOUD = "linux-image-cloud-amd64"
GENERIC = "linux-image-amd64"


def _kernel_package(meta):
    depends = subprocess.run(["apt-cache", "depends", meta], text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, check=False).stdout
    package = re.search(r"Depends: (linux-image-\S+)", depends)
    return package.group(1) if package else None


def _unpack_kernel(work, meta=CLOUD):
    """Downloads the kernel's package and unpacks it below `work`; the directory of its files."""
    package = _kernel_package(meta)
    if not package:
        _run(["apt-get", "update", "-qq"])
        package = _kernel_package(meta)
    if not package:
        raise RuntimeError(f"no package {meta} to be had; check apt's sources")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    _run(["apt-get", "download", package], cwd=work)
    _run(["dpkg", "-x", str(next(work.glob("*.deb"))), "root"], cwd=work)
    return work / "root"


def kernel(cache=CACHE):
    """Path of the cloud kernel's vmlinuz; downloads it on first use."""
    cache = pathlib.Path(cache)
    vmlinuz = cache / "vmlinuz"
    if vmlinuz.exists():
        return vmlinuz
    work = cache / "unpack"
    root = _unpack_kernel(work)
    partial = cache / "vmlinuz.partial"
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), partial)
    partial.rename(vmlinuz)
    shutil.rmtree(work)
    return vmlinuz


def kernel_with_modules(names, meta=CLOUD, cache=CACHE):
    """A vmlinuz of the same package as the modules `names`, and their paths in that order; downloaded on first use."""
    kept = pathlib.Path(cache) / ("modules" if meta == CLOUD else f"modules-{meta}")
    files = [kept / f"{name}.ko" for name in names]
    if not all(f.exists() for f in [kept / "vmlinuz", *files]):
        work = pathlib.Path(cache) / f"unpack-{kept.name}"
        root = _unpack_kernel(work, meta)
        partial = work / "modules"
        partial.mkdir()
        shutil.copy(next((root / "boot").glob("vmlinuz-*")), partial / "vmlinuz")
        for module in root.glob("lib/modules/*/kernel/**/*.ko"):  # all of them: the next test wants others
            module.rename(partial / module.name)
        shutil.rmtree(kept, ignore_errors=True)
        partial.rename(kept)
        shutil.rmtree(work)
    return kept / "vmlinuz", files


class Cpio:
    """A newc archive (see the kernel's initramfs buffer format), compressed with gzip."""

    def __init__(self):
        self.out = io.BytesIO()
        self.inode = 0

    def add(self, name, mode, data=b"", rdev=(0, 0)):
        self.inode += 1
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name) + 1, 0]
        header = b"070701" + b"".join(b"%08x" % f for f in fields)
        self._padded(header + name.encode() + b"\0")
        self._padded(data)

    def _padded(self, data):
        self.out.write(data + b"\0" * (-len(data) % 4))

    def write(self, path):
        self.add("TRAILER!!!", 0)
        pathlib.Path(path).write_bytes(gzip.compress(self.out.getvalue(), 6, mtime=0))


def initramfs(path, init, files=None):
    """Writes an initramfs of busybox, the shell script `init` and `files` ({name: (mode, bytes)})."""
    busybox = pathlib.Path("/bin/busybox")
    archive = Cpio()
    for name in ("bin", "dev", "proc", "sys", "mnt", "tmp", "etc"):
        archive.add(name, 0o040755)
    archive.add("dev/console", 0o020600, rdev=(5, 1))
    archive.add("dev/null", 0o020666, rdev=(1, 3))
    archive.add("bin/busybox", 0o100755, busybox.read_bytes())
    archive.add("bin/sh", 0o120777, b"busybox")
    archive.add("init", 0o100755, init.encode())
    for name, (mode, data) in (files or {}).items():
        archive.add(name, mode, data)
    archive.write(path)
    return path


def libraries(*programs):
    """{path in the guest: (mode, bytes)} of everything the programs load."""
    files = {}
    for program in programs:
        text = subprocess.run(["ldd", str(program)], check=True, text=True, stdout=subprocess.PIPE).stdout
        for path in re.findall(r"(/\S+) \(0x", text):
            files[path.lstrip("/")] = (0o100755, pathlib.Path(path).read_bytes())
    return files


def directories(files):
    """The directories of files, parents first."""
    found = {str(parent) for name in files for parent in pathlib.Path(name).parents} - {"."}
    return {name: (0o040755, b"") for name in sorted(found)}


PROLOGUE = """#!/bin/sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev 2>/dev/null
mount -t proc proc /proc
mount -t sysfs sys /sys
"""


# For kernels under the software CPU.  A busy host takes the CPU away while Linux looks whether timer interrupts come and how
# fast the TSC (1 GHz) is; with a clock that runs wild sleeps are short and RCU complains.
CMDLINE = "console=ttyS0 no_timer_check tsc_early_khz=1000000 quiet"

# The second serial port is the script's own: on the console a kernel prints in the middle of its lines.
SAY_APART = "exec >/dev/ttyS1 2>&1\n"

USERLAND = ["bash", "coreutils", "dash", "gcc", "grep", "libc6-dev", "openssl", "perl-base", "python3-minimal", "sed"]
SYSTEMD = ["bash", "coreutils", "dash", "grep", "sed", "systemd", "util-linux"]


def _download_packages(work, packages):
    """The packages and all they depend on, as if nothing were installed yet."""
    (work / "debs" / "partial").mkdir(parents=True)
    (work / "status").touch()
    _run(["apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "-o", f"Dir::State::status={work}/status",
          "-o", "Debug::NoLocking=1", "-o", f"Dir::Cache::archives={work}/debs", "install", *packages])
    return sorted((work / "debs").glob("*.deb"))


def _unpack_debian(work, packages):
    """The root directory, below `work`, of a small Debian made of the packages; none of their scripts ran."""
    root = work / "root"
    shutil.rmtree(work, ignore_errors=True)
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "tmp", "root"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for deb in _download_packages(work, packages):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE) as unpack:
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", str(root)], stdin=unpack.stdout, check=True)
        assert unpack.returncode == 0, deb
    for name in ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/share/info"):
        shutil.rmtree(root / name, ignore_errors=True)
    if not (root / "bin/sh").exists():
        (root / "bin/sh").symlink_to("dash")
    return root


def userland(cache=CACHE):
    """An ext4 image of a small Debian with a compiler, from its packages; none of their scripts ran.  Made on first use."""
    image = pathlib.Path(cache) / "userland.img"
    if image.exists():
        return image
    work = pathlib.Path(cache).resolve() / "userland"
    root = _unpack_debian(work, USERLAND)
    partial = work / "userland.img"
    _run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(root), str(partial), "768M"])
    partial.rename(image)
    shutil.rmtree(work)
    return image


def systemd_root(cache=CACHE):
    """The root directory of a Debian that systemd runs, from its packages and without a unit of ours.  Made on first use."""
    kept = pathlib.Path(cache).resolve() / "systemd"
    if kept.exists():
        return kept
    work = kept.with_name("systemd-unpack")
    root = _unpack_debian(work, SYSTEMD)
    for name in ("usr/lib/x86_64-linux-gnu/gconv", "usr/share/zoneinfo", "usr/share/perl5", "usr/share/bash-completion"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "etc/machine-id").write_text("6d61726b656420666f7220746573747a\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/group").write_text("root:x:0:\ntty:x:5:\n")
    root.rename(kept)
    shutil.rmtree(work)
    return kept
