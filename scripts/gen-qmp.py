#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes of the QMP schema (monitor/qmp.schema, which explains its language) what the build needs of it.

usage: gen-qmp.py code SCHEMA OUT.c OUT.h | reference SCHEMA OUT.md

code: the tables that requests, answers and events are checked against and query-qmp-schema is made of, and the
declarations of the functions behind the commands.  reference: the page for people.
"""
import dataclasses
import re
import sys

BUILTINS = {"str": "text", "int": "integer", "number": "number", "bool": "boolean", "object": "object", "any": "any value"}
HEAD = re.compile(r"(enum|struct|command|event) ([A-Za-z][\w-]*)((?: (?!->)[\w-]+)*)(?: -> (\[?\w+\]?))?$")
MEMBER = re.compile(r"- (?:(case) )?([\w-]+)(\?)?(?:: (\[?\w+\]?))? \| (.+)$")
WORDS = {"struct": {"by"}, "enum": set(), "command": {"open", "later", "early", "fd"}, "event": set()}


class SchemaError(Exception):
    pass


@dataclasses.dataclass
class Member:
    name: str
    type: str
    optional: bool
    doc: str


@dataclasses.dataclass
class Entity:
    kind: str
    name: str
    line: int
    words: list
    ret: str
    doc: str = ""
    members: list = dataclasses.field(default_factory=list)
    cases: list = dataclasses.field(default_factory=list)

    @property
    def tag(self):
        return self.words[1] if self.words[:1] == ["by"] else None


def fail(line, text):
    raise SchemaError(f"line {line}: {text}")


def parse_head(number, line):
    match = HEAD.match(line)
    if not match:
        fail(number, f"not a definition ('{line}', allowed enum, struct, command or event, and a name)")
    kind, name, words, ret = match.groups()
    words = words.split()
    if kind == "struct" and words:
        if len(words) != 2 or words[0] != "by":
            fail(number, f"struct {name}: '{' '.join(words)}' is unknown (allowed by TAG)")
    elif not set(words) <= WORDS[kind]:
        fail(number, f"{kind} {name}: '{' '.join(words)}' is unknown (allowed {', '.join(sorted(WORDS[kind])) or 'nothing'})")
    if ret and kind != "command":
        fail(number, f"{kind} {name}: only commands return something")
    return Entity(kind, name, number, words, ret)


def add_line(entity, number, text):
    match = MEMBER.match(text)
    if text.startswith("- ") and not match:
        fail(number, f"{entity.name}: not a member ('{text}', allowed - NAME[?]: TYPE | WHAT, - VALUE | WHAT, - case VALUE: TYPE | WHAT)")
    if not match:
        last = (entity.cases or entity.members)[-1] if entity.members else entity
        last.doc = f"{last.doc} {text}".strip()
        return
    case, name, optional, kind, doc = match.groups()
    if (kind is None) != (entity.kind == "enum") or (case and not entity.tag):
        fail(number, f"{entity.name}: '{name}' does not belong into {entity.kind}")
    (entity.cases if case else entity.members).append(Member(name, kind, bool(optional), doc))


def check(entities):
    """Each name once, each type known, each with a text."""
    known = {}
    for e in entities:
        if e.name in known or e.name in BUILTINS:
            fail(e.line, f"{e.name} is there twice")
        known[e.name] = e
    for e in entities:
        uses = [m.type for m in e.members + e.cases if m.type] + ([e.ret] if e.ret else [])
        for name in (u.strip("[]") for u in uses):
            if name not in BUILTINS and (name not in known or known[name].kind not in ("struct", "enum")):
                fail(e.line, f"{e.name}: there is no type '{name}'")
        names = [m.name for m in e.members]
        if len(set(names)) != len(names):
            fail(e.line, f"{e.name}: a member is there twice")
        if not e.doc.endswith("."):
            fail(e.line, f"{e.name}: what it is must be said, in sentences")
        if e.tag:
            tag = next((m for m in e.members if m.name == e.tag and m.type in known and known[m.type].kind == "enum"), None)
            if not tag or {c.name for c in e.cases} - {v.name for v in known[tag.type].members}:
                fail(e.line, f"{e.name}: '{e.tag}' must be a member of an enum type that has all the cases")
            if any(c.type not in known or known[c.type].kind != "struct" for c in e.cases):
                fail(e.line, f"{e.name}: a case must be a struct")
    return known


def parse(path):
    entities = []
    with open(path, encoding="utf-8") as schema:
        for number, line in enumerate(schema, 1):
            line = line.rstrip()
            if not line or line.startswith("#"):
                continue
            if not line.startswith(" "):
                entities.append(parse_head(number, line))
            elif not entities:
                fail(number, "a member of nothing")
            else:
                add_line(entities[-1], number, line.strip())
    check(entities)
    return entities


# --- C ---

def c_name(name):
    return name.replace("-", "_")


def type_ref(name):
    return f"&qmp_array_{name[1:-1]}" if name.startswith("[") else f"&qmp_type_{name}"


def c_members(entity):
    if not entity.members:
        return []
    rows = [f'    {{"{m.name}", {type_ref(m.type)}, {str(m.optional).lower()}}},' for m in entity.members]
    return [f"static const QmpMember members_{c_name(entity.name)}[] = {{"] + rows + ["    {NULL}};"]


def c_struct(entity, symbol, name):
    """A constant of type QmpType with the members of a struct, a command or an event."""
    lines, fields = c_members(entity), [f'.name = "{name}"', ".meta = QMP_STRUCT"]
    if entity.members:
        fields.append(f".members = members_{c_name(entity.name)}")
    if "open" in entity.words:
        fields.append(".open = true")
    if entity.tag:
        rows = [f'    {{"{c.name}", {type_ref(c.type)}}},' for c in entity.cases]
        lines += [f"static const QmpCase cases_{entity.name}[] = {{"] + rows + ["    {NULL}};"]
        fields += [f'.tag = "{entity.tag}"', f".cases = cases_{entity.name}"]
    return lines + [f"{symbol} = {{{', '.join(fields)}}};"]


def c_types(entities):
    types = [e for e in entities if e.kind in ("struct", "enum")]
    arrays = sorted({t[1:-1] for e in entities for t in [m.type for m in e.members] + [e.ret] if t and t.startswith("[")})
    names = list(BUILTINS) + [e.name for e in types]
    lines = [f"static const QmpType qmp_type_{n};" for n in names] + [f"static const QmpType qmp_array_{n};" for n in arrays]
    lines += [f'static const QmpType qmp_type_{n} = {{.name = "{n}", .meta = QMP_{n.upper()}}};' for n in BUILTINS]
    lines += [f'static const QmpType qmp_array_{n} = {{.name = "[{n}]", .meta = QMP_ARRAY, .element = &qmp_type_{n}}};' for n in arrays]
    for e in types:
        symbol = f"static const QmpType qmp_type_{e.name}"
        if e.kind == "enum":
            values = ", ".join(f'"{m.name}"' for m in e.members)
            lines += [f"static const char *const values_{e.name}[] = {{{values}, NULL}};",
                      f'{symbol} = {{.name = "{e.name}", .meta = QMP_ENUM, .values = values_{e.name}}};']
        else:
            lines += c_struct(e, symbol, e.name)
    lines += ["const QmpType *const qmp_types[] = {"] + [f"    &qmp_type_{n}," for n in names]
    return lines + [f"    &qmp_array_{n}," for n in arrays] + ["    NULL,", "};"]


def code(entities, out_c, out_h):
    commands = [e for e in entities if e.kind == "command"]
    events = sorted((e for e in entities if e.kind == "event"), key=lambda e: e.name)
    lines = ["/* Generated by scripts/gen-qmp.py from monitor/qmp.schema. */", '#include "qmp-commands.h"', ""] + c_types(entities)
    for e in commands + events:
        lines += c_struct(e, f"static const QmpType arg_{c_name(e.name)}", f"q_obj_{e.name}-arg")
    lines += ["const QmpCommand qmp_commands[] = {"]
    for e in commands:
        symbol = "qmp_" + re.sub("^qmp_", "", c_name(e.name))
        fields = [f'.name = "{e.name}"', f".args = &arg_{c_name(e.name)}", f".run{'_fd' if 'fd' in e.words else ''} = {symbol}"]
        fields += [f".ret = {type_ref(e.ret)}"] if e.ret else []
        fields += [f".later = {symbol}_later"] if "later" in e.words else []
        fields += [".early = true"] if "early" in e.words else []
        lines.append(f"    {{{', '.join(fields)}}},")
    lines += ["    {.name = NULL},", "};", "const QmpEvent qmp_events[] = {"]
    lines += [f'    {{"{e.name}", &arg_{c_name(e.name)}}},' for e in events] + ["    {NULL},", "};"]
    out_c.write("\n".join(lines) + "\n")
    lines = ["/* Generated by scripts/gen-qmp.py from monitor/qmp.schema. */", "#ifndef MONITOR_QMP_COMMANDS_H",
             "#define MONITOR_QMP_COMMANDS_H", '#include "monitor-internal.h"']
    for e in commands:
        symbol = "qmp_" + re.sub("^qmp_", "", c_name(e.name))
        lines += [f"QmpRun{'Fd' if 'fd' in e.words else ''}Fn {symbol};"] + ([f"QmpLaterFn {symbol}_later;"] if "later" in e.words else [])
    out_h.write("\n".join(lines + ["#endif"]) + "\n")


# --- the reference page ---

def link(name):
    bare = name.strip("[]")
    text = BUILTINS.get(bare) or f"[{bare}](#{bare.lower()})"
    return f"list of {text}" if name.startswith("[") else text


def rows(members):
    lines = []
    for m in members:
        kind = f" ({link(m.type)}{', optional' if m.optional else ''})" if m.type else ""
        lines.append(f"- `{m.name}`{kind}: {m.doc}")
    return lines


def describe(entity):
    lines = ["", f"### {entity.name}", "", entity.doc]
    empty = {"command": ["No arguments."], "event": ["No data."]}.get(entity.kind, [])
    lines += [""] + (rows(entity.members) or empty)
    for c in entity.cases:
        lines.append(f"- where `{entity.tag}` is `{c.name}`, also the members of {link(c.type)}: {c.doc}")
    if "open" in entity.words:
        lines.append("- and what the model or back end takes.")
    if entity.kind == "command":
        lines += ["", f"Returns: {link(entity.ret)}." if entity.ret else "Returns an empty object."]
    return lines


def reference(entities, out):
    lines = ["# QMP reference", "",
             "Made in the build of the schema that requests, answers and events are checked against; `query-qmp-schema` answers the",
             "same. Errors have the class GenericError, CommandNotFound, DeviceNotFound or DeviceNotActive."]
    for title, kinds in (("Commands", ("command",)), ("Events", ("event",)), ("Types", ("struct", "enum"))):
        lines += ["", f"## {title}"]
        for entity in sorted((e for e in entities if e.kind in kinds), key=lambda e: e.name):
            lines += describe(entity)
    out.write("\n".join(lines) + "\n")


def main():
    kind, schema, outputs = sys.argv[1], sys.argv[2], sys.argv[3:]
    try:
        entities = parse(schema)
    except SchemaError as error:
        sys.exit(f"{schema}: {error}")
    files = [open(path, "w", encoding="utf-8") for path in outputs]  # pylint: disable=consider-using-with
    {"code": code, "reference": reference}[kind](entities, *files)
    for file in files:
        file.close()


main()
