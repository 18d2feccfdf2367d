# SPDX-License-Identifier: GPL-2.0-or-later
"""What query-qmp-schema promises, held against what comes: answers, events.  Values of its types, right and wrong, for tests."""

PYTHON = {"string": str, "number": (int, float), "int": int, "boolean": bool, "object": dict, "value": object}
PLAIN = {"string": "x", "number": 1.5, "int": 1, "boolean": True, "object": {}, "value": None}


class Schema:
    def __init__(self, entities):
        self.entities = entities
        self.by_name = {e["name"]: e for e in entities}
        assert len(self.by_name) == len(entities)

    def of(self, meta):
        return {e["name"]: e for e in self.entities if e["meta-type"] == meta}

    def check_object(self, entity, value, where, is_open=False):
        """All members that must be there are, those that are there are of their types, and there are no others."""
        assert isinstance(value, dict), (where, value)
        members = list(entity["members"])
        for variant in entity.get("variants", []):
            if variant["case"] == value[entity["tag"]]:
                members += self.by_name[variant["type"]]["members"]
        for member in members:
            if member["name"] in value:
                self.check(member["type"], value[member["name"]], f"{where}.{member['name']}")
            else:
                assert "default" in member, f"{where}.{member['name']} is not there"
        more = set(value) - {m["name"] for m in members}
        assert is_open or not more, (where, more)

    def check(self, name, value, where):
        entity = self.by_name[name]
        meta = entity["meta-type"]
        if meta == "builtin":
            kind = PYTHON[entity["json-type"]]
            assert isinstance(value, kind) and (isinstance(value, bool) <= (kind in (bool, object))), (where, value)
        elif meta == "enum":
            assert value in entity["values"], (where, value)
        elif meta == "array":
            assert isinstance(value, list), (where, value)
            for i, element in enumerate(value):
                self.check(entity["element-type"], element, f"{where}[{i}]")
        else:
            assert meta == "object", (where, meta)
            self.check_object(entity, value, where)

    def check_answer(self, command, answer):
        """Errors have class and text; what is returned is of the command's type."""
        if "error" in answer:
            assert set(answer["error"]) == {"class", "desc"} and answer["error"]["desc"], answer
            assert "bug of this program" not in answer["error"]["desc"], answer
        else:
            self.check(self.by_name[command]["ret-type"], answer["return"], command)

    def check_event(self, event):
        self.check(self.by_name[event["event"]]["arg-type"], event.get("data", {}), event["event"])

    def plain(self, name):
        """A value of that type, without what may be left out."""
        entity = self.by_name[name]
        meta = entity["meta-type"]
        if meta == "builtin":
            return PLAIN[entity["json-type"]]
        if meta == "enum":
            return entity["values"][0]
        if meta == "array":
            return [self.plain(entity["element-type"])]
        value = {m["name"]: self.plain(m["type"]) for m in entity["members"] if "default" not in m}
        for variant in entity.get("variants", []):
            if variant["case"] == value[entity["tag"]]:
                value.update(self.plain(variant["type"]))
        return value

    def wrong(self, name):
        """Values that are not of that type."""
        entity = self.by_name[name]
        meta = entity["meta-type"]
        if meta == "builtin":
            return [] if entity["json-type"] == "value" else [[1], None] + ([1.5] if entity["json-type"] == "int" else [])
        if meta == "enum":
            return [7, "no-such-value", ""]
        if meta == "array":
            return [{}, "x"] + [[w] for w in self.wrong(entity["element-type"])]
        plain = self.plain(name)
        worse = [[], 7, {**plain, "no-such-member": 1}]
        for member in entity["members"]:
            worse += [{**plain, member["name"]: w} for w in self.wrong(member["type"])]
            if "default" not in member:
                worse.append({k: v for k, v in plain.items() if k != member["name"]})
        return worse


def of_machine(call, known={}):  # pylint: disable=dangerous-default-value
    """The schema of the binary that `call` (a command) asks: asked once in a run of the tests."""
    if "schema" not in known:
        known["schema"] = Schema(call("query-qmp-schema")["return"])
    return known["schema"]
