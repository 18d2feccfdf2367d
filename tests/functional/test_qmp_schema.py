# SPDX-License-Identifier: GPL-2.0-or-later
"""Every QMP command with good arguments and with bad ones; the schema, and the reference page made of it."""
import json
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(ROOT / "tests/split")]
from test_cli import BINARY  # noqa: E402
from test_options import start_fixture  # noqa: E402,F401  pylint: disable=unused-import

CLASSES = {"GenericError", "CommandNotFound", "DeviceNotFound", "DeviceNotActive"}
WRONG = {"str": 7, "int": "seven", "bool": "perhaps", "number": "much", "object": [], "[any]": {}}
PLAIN = {"str": "x", "int": 1, "bool": True, "number": 1.5, "object": {}, "[any]": [], "any": None}
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
    ("migrate", {"uri": "file:/dev/null"}), ("migrate_cancel", {}), ("migrate-incoming", {"uri": "defer"}),
]
# What cannot be well here: the answer is an error of its own.
REFUSED = {"migrate-incoming", "migrate_cancel", "inject-nmi", "block_resize", "qom-set", "migrate"}
# They are answered, and then it is over.
LAST = {"quit", "qmp_capabilities"}


@pytest.fixture(name="vm")
def vm_fixture(start):
    return start()


def call(vm, command, args):
    """The answer; events are passed over."""
    vm.qmp_socket.sendall(json.dumps({"execute": command, "arguments": args}).encode() + b"\n")
    while True:
        answer = json.loads(vm.qmp_file.readline())
        if "event" not in answer:
            return answer


def schema(vm):
    entities = vm.qmp("query-qmp-schema")["return"]
    return entities, {e["name"]: e for e in entities}


def commands(vm):
    """Name of a command: its members."""
    entities, by_name = schema(vm)
    return {e["name"]: (by_name[e["arg-type"]]["members"], e["x-open"]) for e in entities if e["meta-type"] == "command"}


def test_schema_is_whole(vm):
    entities, by_name = schema(vm)
    assert {e["name"] for e in entities if e["meta-type"] == "command"} == {c["name"] for c in vm.qmp("query-commands")["return"]}
    assert len(by_name) == len({(e["name"], e["meta-type"]) for e in entities})
    for entity in entities:
        for key in ("arg-type", "ret-type", "element-type"):
            assert entity.get(key, "any") in by_name
        for member in entity.get("members", []):
            assert member["type"] in by_name
        if entity["meta-type"] in ("command", "event"):
            assert entity["x-doc"].endswith("."), entity["name"]


def test_every_event_of_the_sources_is_in_the_schema(vm):
    entities, _ = schema(vm)
    known = {e["name"] for e in entities if e["meta-type"] == "event"}
    used = set()
    for path in ROOT.glob("*/**/*.c"):
        if path.parts[len(ROOT.parts)] in ("core", "hw", "block", "migration", "system", "net", "ui", "accel", "gdbstub"):
            used |= set(re.findall(r'emit_\w+\(\w[\w>.()-]*, "([A-Z_]+)"', path.read_text(encoding="utf-8")))
    assert used and used <= known, used - known
    for name in known:
        assert any(f'"{name}"' in p.read_text(encoding="utf-8") for p in ROOT.glob("*/**/*.c")
                   if "build" not in str(p.relative_to(ROOT)) and p.name != "qmp-schema.c"), name


def test_reference_page_has_all(vm):
    page = (pathlib.Path(BINARY).resolve().parents[1] / "docs/qmp-reference.md").read_text(encoding="utf-8")
    entities, _ = schema(vm)
    for entity in entities:
        if entity["meta-type"] in ("command", "event"):
            assert f"\n### {entity['name']}\n" in page, entity["name"]


def test_good_arguments(vm):
    called = set()
    for name, args in GOOD:
        answer = call(vm, name, args)
        called.add(name)
        if name in REFUSED:
            assert "return" in answer or answer["error"]["class"] == "GenericError", (name, answer)
        else:
            assert "return" in answer, (name, args, answer)
    for name, (members, _) in commands(vm).items():
        if name not in called | LAST:  # one that is younger than this list
            answer = call(vm, name, {m["name"]: PLAIN[m["type"]] for m in members if "default" not in m})
            assert "return" in answer or answer["error"]["class"] in CLASSES, (name, answer)
    assert "return" in vm.qmp("quit")
    assert vm.process.wait(120) == 0


def test_bad_arguments(vm):
    for name, (members, is_open) in commands(vm).items():
        if name in LAST - {"quit"}:
            continue
        plain = {m["name"]: PLAIN[m["type"]] for m in members if "default" not in m}
        bad = [] if is_open else [{**plain, "no-such-argument": 1}]
        bad += [{**plain, m["name"]: WRONG[m["type"]]} for m in members if m["type"] in WRONG]
        bad += [{k: v for k, v in plain.items() if k != m["name"]} for m in members if "default" not in m]
        for args in bad:
            answer = call(vm, name, args)
            assert answer["error"]["class"] == "GenericError", (name, args, answer)
            assert answer["error"]["desc"]


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
