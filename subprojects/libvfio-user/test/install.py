#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Builds and installs the library alone, then compiles programs against what was installed, as its users do.

Arguments: the library's source directory, the C compiler.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(sys.argv[1]).resolve()
CC = sys.argv[2:]
PROGRAM = SOURCE / "test/install-program.c"
HEADERS = ["libvfio-user.h", "vfio-user.h", "pci_defs.h"] + [f"pci_caps/{n}.h" for n in ("common", "dsn", "msi", "msix", "pm", "px")]
# What a library without versions looks like to the linker.
UNVERSIONED = "".join(f"int {name}(void) {{ return 0; }}\n" for name in
                      ("vfu_create_ctx_fd", "vfu_pci_init", "vfu_setup_device_dma", "vfu_sgl_read", "vfu_sgl_write",
                       "vfu_realize_ctx", "vfu_attach_ctx", "vfu_destroy_ctx"))


def run(*args, **kwargs):
    done = subprocess.run([str(a) for a in args], text=True, capture_output=True, check=False, **kwargs)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, args))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main():
    # The surrounding build's variables are not ours.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MESON", "NINJA"))}
    env["CC"] = " ".join(CC)
    with tempfile.TemporaryDirectory() as name:
        tmp = pathlib.Path(name)
        root = tmp / "root"
        run("meson", "setup", "--prefix=/usr", "--libdir=lib", "-Dtests=disabled", tmp / "build", SOURCE, env=env)
        run("meson", "install", "-C", tmp / "build", "--destdir", root, env=env)
        for header in HEADERS:
            assert (root / "usr/include" / header).is_file(), header
        assert os.readlink(root / "usr/lib/libvfio-user.so").startswith("libvfio-user.so.0")

        env.update(PKG_CONFIG_PATH=str(root / "usr/lib/pkgconfig"), PKG_CONFIG_SYSROOT_DIR=str(root),
                   LD_LIBRARY_PATH=str(root / "usr/lib"))
        flags = run("pkg-config", "--cflags", "--libs", "vfio-user", env=env).split()
        static = run("pkg-config", "--static", "--libs", "vfio-user", env=env).split()
        static = ["-l:libvfio-user.a" if f == "-lvfio-user" else f for f in static] + flags[:1]

        def program(what, *args):
            out = tmp / what.replace(" ", "-")
            run(*CC, "-Wall", "-Wextra", "-Werror", PROGRAM, "-o", out, *args, env=env)
            assert run(out, env=env) == "attached\n", what
            print(what)

        program("shared", *flags)
        program("static", *static)
        program("older source, shared", "-DVFU_API_COMPAT", "-DOLD_FORM", *flags)
        program("older source, static", "-DVFU_API_COMPAT", "-DOLD_FORM", *static)
        old_binary(tmp, env, flags)


def old_binary(tmp, env, flags):
    """A program linked against a library of the older generation, without versions, then run with this one."""
    stub, include = tmp / "old", tmp / "old-include"
    stub.mkdir()
    include.mkdir()
    (stub / "stub.c").write_text(UNVERSIONED, encoding="utf-8")
    run(*CC, "-shared", "-fPIC", "-Wl,-soname,libvfio-user.so.0", stub / "stub.c", "-o", stub / "libvfio-user.so")
    include_flag = next(f for f in flags if f.startswith("-I"))
    # The older header: the same names with fewer parameters.
    text = pathlib.Path(include_flag[2:], "libvfio-user.h").read_text(encoding="utf-8")
    text = text.replace("size_t max_regions, vfu_dma_register", "vfu_dma_register").replace("void *data, int flags);", "void *data);")
    (include / "libvfio-user.h").write_text(text, encoding="utf-8")
    out = tmp / "old-program"
    run(*CC, "-DOLD_FORM", PROGRAM, f"-I{include}", include_flag, f"-L{stub}", "-lvfio-user", "-o", out)
    assert "LIBVFIO_USER" not in run("readelf", "-V", out)
    assert run(out, env=env) == "attached\n"
    print("older binary")


main()
