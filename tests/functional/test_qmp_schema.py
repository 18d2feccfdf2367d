# SPDX-License-Identifier: GPL-2.0-or-later
"""Every QMP command with good arguments and with bad ones, and what it returns; the schema, and the reference page made of it."""
import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(ROOT / "tests/split")]
from qmp_schema import Schema  # noqa: E402
from test_cli import BINARY  # noqa: E402
from test_options import start_fixture  # noqa: E402,F401  pylint: disable=unused-import

CLASSES = {"GenericError", "CommandNotFound", "DeviceNotFound", "DeviceNotActive"}
# In this order: later ones need what earlier ones made.  A set: the class of the error it answers here.
GOOD = [
    ("query-version", {}), ("query-commands", {}), ("query-qmp-schema", {}), ("query-status", {}), ("query-name", {}), ("query-kvm", {}),
    ("query-cpus-fast", {}), ("query-machines", {}), ("query-memory-size-summary", {}), ("query-chardev", {}), ("query-chardev-backends", {}),
    ("query-pci", {}), ("query-block", {}), ("query-blockstats", {}), ("query-migrate", {}), ("query-migrate-parameters", {}),
    ("query-migrate-capabilities", {}), ("stop", {}), ("cont", {}), ("system_reset", {}), ("system_powerdown", {}), ("inject-nmi", {}),
    ("set-action", {"reboot": "reset", "shutdown": "pause", "panic": "none", "watchdog": "debug"}), ("watchdog-set-action", {"action": "none"}),
    ("human-monitor-command", {"command-line": "info status"}),
    ("chardev-add", {"id": "r", "backend": {"type": "ringbuf", "data": {}}}), ("ringbuf-write", {"device": "r", "data": "x"}),
    ("ringbuf-read", {"device": "r", "size": 1}), ("chardev-send-break", {"id": "r"}), ("chardev-remove", {"id": "r"}),
    ("qom-list", {"path": "/"}), ("qom-get", {"path": "/machine", "property": "type"}), ("qom-list-types", {"implements": "device"}),
    ("qom-list-properties", {"typename": "edu"}), ("device-list-properties", {"typename": "edu"}),
    ("object-add", {"qom-type": "iothread", "id": "t"}), ("qom-set", {"path": "t", "property": "poll-max-ns", "value": 0}),
    ("object-del", {"id": "t"}), ("device_add", {"driver": "VGA", "id": "v"}), ("screendump", {"filename": "/dev/null", "device": "v"}),
    ("device_add", {"driver": "edu", "id": "e"}), ("device_del", {"id": "e"}),
    ("blockdev-add", {"driver": "null-co", "node-name": "n"}), ("block_resize", {"node-name": "n", "size": 1 << 20}),
    ("blockdev-del", {"node-name": "n"}), ("netdev_add", {"type": "user", "id": "u"}), ("set_link", {"name": "u", "up": False}),
    ("netdev_del", {"id": "u"}), ("migrate-set-parameters", {"downtime-limit": 200}),
    ("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]}),
    ("getfd", {"fdname": "f"}), ("closefd", {"fdname": "f"}), ("migrate", {"uri": "file:/dev/null"}), ("migrate_cancel", {}), ("migrate-incoming", {"uri": "defer"}),
]
# What cannot be well here: the answer is an error of its own.
REFUSED = {"getfd", "closefd", "migrate-incoming", "migrate_cancel", "inject-nmi", "block_resize", "qom-set", "migrate"}
# They are answered, and then it is over.
LAST = {"quit", "qmp_capabilities"}


@pytest.fixture(name="vm")
def vm_fixture(start):
    return start()


def call(vm, command, args):
    """The answer, which is as the schema says, as are the events before it."""
    vm.qmp_socket.sendall(json.dumps({"execute": command, "arguments": args}).encode() + b"\n")
    while True:
        answer = json.loads(vm.qmp_file.readline())
        if "event" not in answer:
            vm.schema.check_answer(command, answer)
            return answer
        vm.schema.check_event(answer)


def commands(vm):
    """Name of a command: the type of its arguments, and whether it takes more."""
    return {name: (e["arg-type"], "x-open" in e.get("features", [])) for name, e in vm.schema.of("command").items()}


def test_schema_is_whole(vm):
    entities, by_name = vm.schema.entities, vm.schema.by_name
    assert set(vm.schema.of("command")) == {c["name"] for c in vm.qmp("query-commands")["return"]}
    used = {"q_empty"}
    for entity in entities:
        inside = entity.get("members", []) + entity.get("variants", []) if entity["meta-type"] == "object" else []
        for name in [entity[k] for k in ("arg-type", "ret-type", "element-type") if k in entity] + [m["type"] for m in inside]:
            assert by_name[name]["meta-type"] not in ("command", "event"), (entity, name)
            used.add(name)
        if "tag" in entity:
            tag = next(m for m in entity["members"] if m["name"] == entity["tag"])
            assert {v["case"] for v in entity["variants"]} <= set(by_name[tag["type"]]["values"])
    assert used == {e["name"] for e in entities if e["meta-type"] not in ("command", "event")}


def test_only_properties_return_what_they_like(vm):
    """Every command's answer has a type that says what is in it, down to its leaves."""
    loose = {name for name, e in vm.schema.of("command").items() if e["ret-type"] in ("any", "object", "[any]", "[object]")}
    assert loose == {"qom-get"}
    leaves = {(e["name"], m["name"]) for e in vm.schema.of("object").values() for m in e["members"] if m["type"] in ("any", "object")}
    assert leaves == {("ObjectPropertyInfo", "default-value"), ("SchemaInfoObjectMember", "default"), ("ChardevBackend", "data"),
                      ("q_obj_qom-set-arg", "value"), ("q_obj_x-device-handover-arg", "socket")}


@pytest.mark.parametrize("text, words", [
    ("struct", "line 1: not a definition"), ("struct A -> B", "line 1: struct A: only commands"), ("    - a: int | x", "line 1: a member of nothing"),
    ("struct A\n    It is.\n    - a: Int | x", "there is no type 'Int'"), ("struct A\n    - a: int | x", "what it is must be said"),
    ("struct A\n    It is.\n    - a: int", "line 3: A: not a member"), ("struct A\n    It is.\n    - a | x", "does not belong"),
    ("enum A\n    It is.\n    - a: int | x", "does not belong"), ("command a loud\n    It is.", "'loud' is unknown"),
    ("enum A\n    It is.\n    - x | y\nenum A\n    It is.\n    - x | y", "A is there twice"),
    ("struct A by b\n    It is.\n    - b: str | x", "must be a member of an enum type"),
    ("struct A\n    It is.\n    - b: str | x\n    - b: int | x", "a member is there twice"),
])
def test_mistakes_of_the_schema_are_told(tmp_path, text, words):
    (tmp_path / "schema").write_text(text + "\n", encoding="utf-8")
    done = subprocess.run([sys.executable, str(ROOT / "scripts/gen-qmp.py"), "reference", str(tmp_path / "schema"), str(tmp_path / "out")],
                          stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_every_event_of_the_sources_is_in_the_schema(vm):
    known = set(vm.schema.of("event"))
    used = set()
    for path in ROOT.glob("*/**/*.c"):
        if path.parts[len(ROOT.parts)] in ("core", "hw", "block", "migration", "system", "net", "ui", "accel", "gdbstub"):
            used |= set(re.findall(r'(?:emit_\w+|\btell|vnc_event)\(\w[\w>.(), -]*?, "([A-Z_]{2,})"', path.read_text(encoding="utf-8")))
    assert used and used <= known, used - known
    for name in known:
        assert any(f'"{name}"' in p.read_text(encoding="utf-8") for p in ROOT.glob("*/**/*.c")
                   if "build" not in str(p.relative_to(ROOT)) and p.parts[-2] != "monitor"), name


def test_reference_page_has_all(vm):
    """Commands, events and types, each with all its members."""
    page = (pathlib.Path(BINARY).resolve().parents[1] / "docs/qmp-reference.md").read_text(encoding="utf-8")
    parts = dict(part.split("\n", 1) for part in page.split("\n### ")[1:])
    for name, entity in {**vm.schema.of("command"), **vm.schema.of("event")}.items():
        for member in vm.schema.by_name[entity["arg-type"]]["members"]:
            assert f"\n- `{member['name']}` (" in parts[name], (name, member)
        returned = entity.get("ret-type", "q_empty").strip("[]")
        assert returned[0].islower() or f"[{returned}](#{returned.lower()})" in parts[name], name
    for name, entity in {**vm.schema.of("object"), **vm.schema.of("enum")}.items():
        if not name.startswith("q_"):
            for member in entity["members"]:
                assert f"\n- `{member['name']}`" in parts[name], (name, member)
    for target in set(re.findall(r"\]\(#(\w+)\)", page)):
        assert target in {name.lower() for name in parts}, target


def test_good_arguments(vm):
    called = set()
    for name, args in GOOD:
        answer = call(vm, name, args)
        called.add(name)
        if name in REFUSED:
            assert "return" in answer or answer["error"]["class"] == "GenericError", (name, answer)
        else:
            assert "return" in answer, (name, args, answer)
    for name, (kind, _) in commands(vm).items():
        if name not in called | LAST:  # one that is younger than this list
            answer = call(vm, name, vm.schema.plain(kind))
            assert "return" in answer or answer["error"]["class"] in CLASSES, (name, answer)
    assert "return" in vm.qmp("quit")
    assert vm.process.wait(120) == 0


def test_bad_arguments(vm):
    """At every depth: a member that is not there, one that should not be, one of another type, a text that is none of the few."""
    for name, (kind, is_open) in commands(vm).items():
        if name in LAST - {"quit"}:
            continue
        bad = [w for w in vm.schema.wrong(kind) if isinstance(w, dict) and not (is_open and "no-such-member" in w)]
        if kind == "q_empty":
            bad = [{"no-such-member": 1}]
        for args in bad:
            answer = call(vm, name, args)
            assert answer["error"]["class"] == "GenericError", (name, args, answer)
            assert answer["error"]["desc"]


# Nothing here may be empty.
FULL = ["-name", "full", "-numa", "node,mem=64M", "-device", "pcie-root-port,id=rp,chassis=1,slot=1", "-device", "pci-bridge,id=br,chassis_nr=2",
        "-device", "edu,id=behind,bus=br,addr=3", "-blockdev", "null-co,node-name=n0,size=1M", "-device", "nvme,serial=x,drive=n0",
        "-chardev", "ringbuf,id=r", "-device", "VGA", "-smp", "2,sockets=1,cores=1,threads=2"]


def full_answers(vm):
    queries = [n for n, (kind, _) in commands(vm).items() if n.startswith("query-") and kind == "q_empty"] + ["query-blockstats"]
    return {name: call(vm, name, {})["return"] for name in queries}


def test_answers_of_a_full_machine(start, tmp_path):
    """Each list has something in it, so that its elements were looked at."""
    vm = start(*FULL, "-vnc", f"unix:{tmp_path}/vnc")
    answers = full_answers(vm)
    assert all(answers[name] for name in answers if name != "query-migrate"), answers
    cpus = answers["query-cpus-fast"]
    assert [c["props"]["thread-id"] for c in cpus] == [0, 1] and all(c["props"]["node-id"] == 0 for c in cpus)
    for cpu in cpus:
        assert cpu["thread-id"] == vm.process.pid  # the CPUs of qtest have no threads
        assert call(vm, "qom-get", {"path": cpu["qom-path"], "property": "type"})["return"] == "apic"
    bridges = {d["qdev_id"]: d["pci_bridge"] for d in answers["query-pci"][0]["devices"] if "pci_bridge" in d}
    assert set(bridges) == {"rp", "br"} and bridges["br"]["devices"][0]["qdev_id"] == "behind"
    assert call(vm, "qom-list", {"path": "/machine"})["return"] and call(vm, "qom-list-types", {})["return"]


def test_cpus_have_threads(start):
    vm = start("-smp", "3", accel="tcg")
    threads = {c["thread-id"] for c in vm.qmp("query-cpus-fast")["return"]}
    names = [pathlib.Path(f"/proc/{vm.process.pid}/task/{t}/comm").read_text(encoding="utf-8") for t in sorted(threads)]
    assert names == ["CPU 0/TCG\n", "CPU 1/TCG\n", "CPU 2/TCG\n"]


def test_windows_of_a_bridge(start):
    vm = start("-device", "pci-bridge,id=br,chassis_nr=2,addr=4")
    for offset, value in ((0x18, 0x00060500), (0x1c, 0x2010), (0x20, 0xfe30fe10), (0x24, 0xd010d000)):
        vm.config_write(offset, value)
    bus = vm.qmp("query-pci")["return"][0]["devices"][1]["pci_bridge"]["bus"]
    assert bus == {"number": 0, "secondary": 5, "subordinate": 6, "io_range": {"base": 0x1000, "limit": 0x2fff},
                   "memory_range": {"base": 0xfe100000, "limit": 0xfe3fffff},
                   "prefetchable_range": {"base": 0xd0000000, "limit": 0xd01fffff}}


# --- what clients of QEMU expect ---

# What QEMU always has and this program has not; a client that insists on one of these would be told a lie.
NOT_HERE = {
    "BlockDeviceStats": {"unmap_bytes", "unmap_operations", "rd_total_time_ns", "wr_total_time_ns", "flush_total_time_ns", "unmap_total_time_ns",
                         "wr_highest_offset", "unmap_merged", "failed_rd_operations", "failed_wr_operations", "failed_flush_operations",
                         "failed_unmap_operations", "invalid_rd_operations", "invalid_wr_operations", "invalid_flush_operations",
                         "invalid_unmap_operations", "account_invalid", "account_failed", "timed_stats"},
    "BlockDeviceInfo": {"cache"},
    "MigrationStats": {"postcopy-requests", "multifd-bytes", "pages-per-second", "precopy-bytes", "downtime-bytes",
                       "postcopy-bytes", "dirty-sync-missed-zero-copy"},
}


def compare(ours, theirs, kind, their_kind, done):
    """What we send under a name that QEMU has is what QEMU sends under it: the same JSON, texts that it knows, no member missing."""
    mine, other = ours.by_name[kind], theirs.by_name[their_kind]
    if (kind, their_kind) in done or other.get("json-type") == "value":
        return
    done.add((kind, their_kind))
    assert mine["meta-type"] == other["meta-type"] or {mine["meta-type"], other["meta-type"]} == {"builtin", "enum"}, (kind, other)
    if mine["meta-type"] == "enum" == other["meta-type"]:
        assert {v for v in mine["values"] if not v.startswith("x-")} <= set(other["values"]), (kind, other)
    elif mine["meta-type"] == "array":
        compare(ours, theirs, mine["element-type"], other["element-type"], done)
    elif mine["meta-type"] == "object":
        names = {m["name"]: m for m in other["members"]}
        for member in mine["members"]:
            if not member["name"].startswith("x-"):
                assert member["name"] in names, (kind, member)
                compare(ours, theirs, member["type"], names[member["name"]]["type"], done)
        missing = {n for n, m in names.items() if "default" not in m} - {m["name"] for m in mine["members"]}
        assert missing == NOT_HERE.get(kind, set()), (kind, missing)
        for variant in mine.get("variants", []):
            compare(ours, theirs, variant["type"], next(v["type"] for v in other["variants"] if v["case"] == variant["case"]), done)
    elif "json-type" in mine and "json-type" in other:
        assert mine["json-type"] == other["json-type"], (kind, their_kind)


def test_answers_and_events_are_those_of_qemu(vm):
    talk = '{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema","id":1}{"execute":"quit"}'
    done = subprocess.run(["qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"], input=talk,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    theirs = Schema(next(m["return"] for m in map(json.loads, done.stdout.splitlines()) if m.get("id") == 1))
    seen, compared = set(), set()
    for key, meta in (("ret-type", "command"), ("arg-type", "event")):
        for name, entity in vm.schema.of(meta).items():
            if name in theirs.by_name and name != "query-qmp-schema":
                compare(vm.schema, theirs, entity[key], theirs.by_name[name][key], compared)
                seen.add(name)
    ours = set(vm.schema.of("command")) | set(vm.schema.of("event"))
    assert ours - seen == {"query-qmp-schema", "x-device-handover", "VFIO_DEVICE_ERROR", "VFIO_DEVICE_REQUEST", "VFIO_USER_DISCONNECT",
                           "VFU_CLIENT_CONNECT"}


@pytest.mark.parametrize("name, args, wanted", [
    ("no-such-command", {}, "CommandNotFound"), ("Query-Status", {}, "CommandNotFound"), ("", {}, "CommandNotFound"),
    ("device_del", {"id": "nobody"}, "DeviceNotFound"), ("qom-list", {"path": "/no/where"}, "DeviceNotFound"),
    ("qom-get", {"path": "/no/where", "property": "x"}, "DeviceNotFound"), ("qom-get", {"path": "/machine", "property": "x"}, "GenericError"),
    ("qom-set", {"path": "/no/where", "property": "x", "value": 1}, "DeviceNotFound"),
    ("device-list-properties", {"typename": "no-such"}, "DeviceNotFound"), ("qom-list-properties", {"typename": "no-such"}, "DeviceNotFound"),
    ("set_link", {"name": "nobody", "up": True}, "DeviceNotFound"), ("object-del", {"id": "nobody"}, "GenericError"),
    ("device_add", {"driver": "no-such"}, "GenericError"), ("object-add", {"qom-type": "no-such", "id": "x"}, "GenericError"),
    ("blockdev-add", {"driver": "no-such", "node-name": "n"}, "GenericError"), ("blockdev-del", {"node-name": "nobody"}, "GenericError"),
    ("block_resize", {"device": "nobody", "size": 1}, "GenericError"), ("netdev_add", {"type": "no-such", "id": "n"}, "GenericError"),
    ("migrate", {"uri": "pigeon:home"}, "GenericError"), ("migrate-set-parameters", {"speed": 1}, "GenericError"),
    ("migrate-set-capabilities", {"capabilities": [1]}, "GenericError"), ("screendump", {"filename": "/no/such/dir/x"}, "GenericError"),
    ("chardev-remove", {"id": "nobody"}, "GenericError"), ("ringbuf-read", {"device": "nobody", "size": 1}, "GenericError"),
    ("set-action", {"panic": "sing"}, "GenericError"), ("human-monitor-command", {}, "GenericError"),
])
def test_classes_of_errors(vm, name, args, wanted):
    assert call(vm, name, args)["error"]["class"] == wanted
