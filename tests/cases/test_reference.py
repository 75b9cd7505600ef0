"""What lua/types says of the script API is so, all of it and nothing more; docs/reference.md is made
of it.

Scripts of every kind look at what they have from inside (api_scripts.py, tests/lua/api_probe.lua):
they try every word of our sources on every object, read every field, and call every function with
all of its arguments, with the required ones, and with one less. Here that is compared with the
annotations.
"""
import json
import re
import subprocess

import pytest

from api_scripts import (ARGUMENTS, CHAPTERS, CLASSES, FUNCTIONS, GIVEN, LATER, NOT_IN_POLICIES,
                         NOT_IN_TESTS, Found, alternatives, look, look_from_a_test, reference)
from support import ROOT


def class_of(name):
    return CLASSES[f"alacrity.{name}" if name else "alacrity"]


def plain(path):
    """The name as it is in the sources: what the annotations call pool:set may be of a test."""
    return re.split(r"[.:]", path)[-1]


# ---- types ----

def fits(kind, found):
    """Is a value of the type `found` (as api_probe.lua tells it) one of `kind`?"""
    for part in alternatives(kind):
        if part.endswith("?"):
            if found == "nil":
                return True
            part = part[:-1]
        if part.startswith('"'):
            part = "string"
        elif part.startswith("fun("):
            part = "function"
        elif part == "true":
            part = "boolean"
        elif re.fullmatch(r"\d+", part):
            part = "integer"
        elif part.endswith("[]") or part.startswith("table<"):
            part = "table"
        elif part in CLASSES and found == "table":
            return True  # a plain table; its fields are looked at by themselves
        if part in ("any", found) or (part, found) == ("number", "integer"):
            return True
    return False


def same_members(place, documented, found):
    """Names and types; `documented` is {name: type}."""
    assert not set(found) - set(documented), \
        f"{place} has what lua/types does not say: {sorted(set(found) - set(documented))}"
    assert not set(documented) - set(found), \
        f"lua/types says what {place} does not have: {sorted(set(documented) - set(found))}"
    for name, kind in documented.items():
        assert fits(kind, found[name]), f"{place}.{name} is said to be {kind}, but is {found[name]}"


def members_of(item, where):
    fields = {field.name: field.kind for field in item.fields if not field.name.startswith("[")}
    return fields | {function.name: "fun()" for function in item.functions
                     if where in function.where}


# ---- the text ----

def test_the_reference_is_made_of_the_annotations():
    assert reference.text_of_all() == (ROOT / "docs/reference.md").read_text(encoding="utf-8"), \
        "write it anew: make reference"


def test_the_annotations_are_lua_and_none_is_forgotten():
    files = sorted((ROOT / "lua/types").rglob("*.lua"))
    assert sorted(ROOT / f"lua/types/{name}.lua" for name in reference.FILES) == files
    for file in files:
        done = subprocess.run(["luajit", "-b", str(file), "/dev/null"], capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_editors_find_them():
    """In the sources by examples/.luarc.json, and where they are installed."""
    pointer = json.loads((ROOT / "examples/.luarc.json").read_text(encoding="utf-8"))
    assert [(ROOT / "examples" / path).resolve() for path in pointer["workspace.library"]] == \
        [ROOT / "lua/types"]
    shown = re.search(r"^{\n.*?^}$", (ROOT / "docs/scripts.md").read_text(encoding="utf-8"), re.M | re.S)
    shown = json.loads(shown[0])
    assert shown["workspace.library"] == ["/usr/local/share/alacrity/types"]
    assert set(shown) == set(pointer)
    done = subprocess.run(["make", "-n", "install"], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert "/usr/local/share/alacrity/types/" in done.stdout
    installed = set(re.search(r"for f in ([^;]*\balacrity\.lua[^;]*);", done.stdout)[1].split())
    assert installed == {f"{name}.lua" for name in reference.FILES}


def test_everything_says_what_it_means_and_where_it_is():
    for item in CLASSES.values():
        assert item.text and item.where, item.place
        for field in item.fields:
            assert field.text or field.name.startswith("["), f"{item.place}: {field.name}"
    for function in FUNCTIONS:
        assert function.text and function.where, function.place
        names = [value.name for value in function.parameters]
        assert names == [name for name in function.names if name != "..."], function.place
        optional = [value.optional for value in function.parameters]
        assert optional == sorted(optional), f"{function.place}: what may be left out comes last"


def test_every_type_is_there():
    known = {"any", "nil", "true", "boolean", "integer", "number", "string", "table", "fun",
             "function"} | set(CLASSES)
    values = [value for item in CLASSES.values() for value in item.fields]
    values += [value for f in FUNCTIONS for value in f.parameters + f.returns]
    for value in values:
        bare = re.sub(r'"[^"]*"|\w+\??:', "", value.kind)  # texts, and names in fun(name: type)
        for word in re.findall(r"[A-Za-z_][\w.]*", bare):
            assert word in known, f"{value.name} {value.kind}: what is {word}?"


SOURCES = {"views": ["lua/alacrity/prelude.lua"],
           "alacrity": ["lua/alacrity/prelude.lua", *(f"lua/alacrity/inner/{name}.lua" for name in
                                                      ("shared", "metrics", "timers"))],
           "alacrity/format": ["lua/alacrity/format.lua"],
           "alacrity/test": ["lua/alacrity/test.lua"]}
ELSEWHERE = {"debug", "info", "warning", "error", "clock", "facts", "backends", "peek", "use",
             "reject"}  # not written as a function


@pytest.mark.parametrize("file", sorted(SOURCES))
def test_parameters_have_the_names_of_the_sources(file):
    """Of what is written in Lua; what is not, is only called."""
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in SOURCES[file])
    written = {}
    for match in re.finditer(r"function [\w]+[.:](\w+)\(([^)]*)\)|(\w+) = function\(([^)]*)\)", text):
        names = [name for name in re.split(r", *", match[2] or match[4] or "")
                 if name and name != "self"]
        written.setdefault(match[1] or match[3], []).append(names)
    functions = [f for f in FUNCTIONS if f.place.startswith(f"lua/types/{file}.lua")]
    assert functions
    for function in functions:
        if function.name in written:
            assert function.names in written[function.name], \
                f"{function.place}: the source has {written[function.name]}"
        else:
            assert function.name in ELSEWHERE, f"{function.path} is not in {SOURCES[file]}"


# ---- what there is ----

SEEN = {  # which classes the scripts of each kind look at
    "policies": ["", "Log", "format", "Dictionary", "Rotation", "Counter", "Gauge", "Histogram",
                 "Context", "Closed", "Pool", "AllBackends", "Backend"],
    "routes": ["", "Log", "format", "Dictionary", "Rotation", "Counter", "Gauge", "Histogram",
               "net", "Socket", "Context"],
    "checks": ["", "Log", "format", "Dictionary", "Rotation", "Counter", "Gauge", "Histogram",
               "net", "Socket", "Backend"],
    "services": ["", "Log", "format", "Dictionary", "Rotation", "Counter", "Gauge", "Histogram",
                 "net", "Socket", "Request"],
    "tests": ["", "Log", "format", "Dictionary", "Rotation", "net", "Socket", "test", "test.Pool",
              "test.Policy", "test.Check", "test.Route"],
}
OWN = {"alacrity.test.Pool": {"id", "added"}, "alacrity.test.Policy": {"id"},
       "alacrity.test.Check": {"id"}, "alacrity.test.Route": {"id"}}  # how those tables are made; not for tests
GIVEN_TABLES = ["PolicyScript", "Policy", "RouteScript", "Route", "CheckScript", "Check", "ServiceScript", "Service",
                "net.ConnectOptions", "test.Backend", "test.Session", "test.Closed", "test.Run",
                "test.Routed"]


def test_every_class_is_looked_at():
    looked = {class_of(name).name for names in SEEN.values() for name in names}
    looked |= {class_of(name).name for name in GIVEN_TABLES} | {"alacrity.Option", "os"}
    looked |= {name for name in CLASSES if name.startswith("alacrity.Facts")}
    assert looked == set(CLASSES)
    for where, names in SEEN.items():
        assert {name for name in names if where not in class_of(name).where} == set()
        missing = {item.name for item in CLASSES.values() if where in item.where}
        missing -= {class_of(name).name for name in names + GIVEN_TABLES} | {"alacrity.Option", "os"}
        assert {name for name in missing if not name.startswith("alacrity.Facts")} == set(), where


def see_that_members_are_as_documented(found, where, name):
    item = class_of(name)
    members = found.members[where, item.name]
    members = {key: kind for key, kind in members.items() if key not in OWN.get(item.name, ())}
    documented = members_of(item, where)
    if where == "tests" and item.name == "alacrity":
        documented |= {plain(path): "fun()" for path in NOT_IN_TESTS}
    if where == "routes" and item.name == "alacrity.Context":
        del documented["last_failure"]  # nothing was dialled yet
    if where == "policies" and item.name == "alacrity.Context":
        documented |= {plain(path): "fun()" for path in NOT_IN_POLICIES}
        assert members["last_failure"] == "string", "looked at on a retry"
    same_members(f"{item.name} in {where}", documented, members)


def see_that_given_tables_are_as_documented(found, name):
    item = class_of(name)
    names = found.asked[item.name] - {"__gc", "__index"}
    documented = set(members_of(item, item.where[-1]))
    assert not names ^ documented, f"what is looked for in {item.name}, or documented, but not both: " \
        f"{sorted(names ^ documented)}"


def test_options_are_as_documented():
    text = (ROOT / "lua/options.c").read_text(encoding="utf-8")
    keys = re.search(r"keys\[\] = {(.*?)}", text, re.S)[1]
    assert set(re.findall(r'"(\w+)"', keys)) == set(members_of(class_of("Option"), "policies"))
    types = re.search(r"type_words\[[^]]*\] = {(.*?)};", text, re.S)[1]
    documented = next(f.kind for f in class_of("Option").fields if f.name == "type")
    assert set(re.findall(r'"(\w+)"', types)) == set(re.findall(r'"(\w+)"', documented))


LISTED = re.compile(r"^- (?:`(\w+)` [^`]*?)?[Hh]as: (.*)$", re.M)


def see_that_globals_are_as_documented(found, where):
    chapter = next(c for c in CHAPTERS if c.file == "sandbox")
    listed = {match[1] or "_G": set(re.findall(r"`(\w+)`", match[2]))
              for match in LISTED.finditer(chapter.text)}
    assert set(listed) == {"_G", "string", "table", "math", "bit", "coroutine"}
    listed["_G"] |= set(listed) - {"_G"} | {"os"} | {f.name for f in chapter.functions}
    listed["os"] = {f.name for f in CLASSES["os"].functions}
    if where in ("policies", "routes"):
        listed["_G"].remove("coroutine")
        del listed["coroutine"]
    for name, names in listed.items():
        members = set(found.members[where, name])
        assert not members ^ names, f"{name} in {where} has, or is documented, but not both: " \
            f"{sorted(members ^ names)}"


def look_at_fact(path, value, item, seen):
    fields = {field.name: field for field in item.fields}
    assert set(value) <= set(fields), f"{path}: {sorted(set(value) - set(fields))} not in lua/types"
    for name, field in fields.items():
        here = f"{item.name}.{name}"
        if name not in value:
            assert field.optional, f"{path} has no {name}"
            continue
        seen.add(here)
        kind, got = field.kind.rstrip("?"), value[name]
        if kind.startswith('"'):
            assert f'"{got}"' in alternatives(kind), f"{here} is {got!r}"
        elif kind.endswith("[]"):
            for each in got or []:  # an empty list may be written {}
                if kind[:-2] in CLASSES:
                    look_at_fact(here, each, CLASSES[kind[:-2]], seen)
                else:
                    assert kind == "string[]" and isinstance(each, str), here
        elif kind in CLASSES:
            look_at_fact(here, got, CLASSES[kind], seen)
        else:
            types = {"integer": int, "number": (int, float), "string": str, "boolean": bool}
            assert isinstance(got, types[kind]) and (kind == "boolean") == isinstance(got, bool), \
                f"{here} is said to be {kind}, but is {got!r}"


def see_that_facts_are_as_documented(found):
    seen = set()
    look_at_fact("facts", found.facts, class_of("Facts"), seen)
    documented = {f"{item.name}.{field.name}" for item in CLASSES.values() for field in item.fields
                  if item.name.startswith("alacrity.Facts")}
    assert documented - seen == set(), "documented, but not seen in a configuration that has it all"


# ---- calls ----

CALLED = [(where, function) for function in FUNCTIONS for where in function.where
          if not function.place.startswith(f"lua/types/{GIVEN}.lua")
          and not (where == "tests" and function.owner is not None
                   and function.owner.name == "alacrity.Socket")]  # the driver's, in servers


def test_arguments_are_known_for_every_function():
    assert {function.path for _, function in CALLED} == set(ARGUMENTS)
    for _, function in CALLED:
        assert len(ARGUMENTS[function.path]) == len(function.parameters), function.path


def see_that_calls_are_as_documented(found, where, function):
    said = {how: found.calls.get((where, function.path, how)) for how in ("full", "least", "less")}
    assert said["full"], f"{function.path} was not called in {where}"
    for how in ("full", "least"):
        assert said[how].startswith("answered"), f"{function.path}, {how}: {said[how]}"
        kinds = said[how].split(" ")[1:]
        for value, kind in zip(function.returns, kinds + ["nil"] * len(function.returns)):
            assert fits(value.kind, kind) or (value.optional and kind == "nil"), \
                f"{function.path} is said to answer {value.kind}, not {kind}"
        assert len(kinds) <= len(function.returns), f"{function.path} answers more: {said[how]}"
    silent = where == "tests" and function.path == "net.connect"  # there is no network
    silent = silent or function.path == "alacrity.worker"  # nil on control
    if function.returns and not silent:
        assert said["full"].split(" ")[1:2] not in ([], ["nil"]), f"{function.path}: no answer"
    if said["less"] is None or function.path in LATER:
        return
    required = [value for value in function.parameters if not value.optional]
    if "any" not in alternatives(required[-1].kind):
        assert said["less"].startswith("raised"), \
            f"{function.path} takes {required[-1].name} to be left out: {said['less']}"


# One test, as what it looks at takes a while to find, and all mistakes of it, as one hides others.
def test_the_api_is_what_is_documented(folder):
    lines, facts = look()
    found = Found(lines + look_from_a_test(folder), facts)
    steps = [(see_that_members_are_as_documented, where, name)
             for where, names in SEEN.items() for name in names]
    steps += [(see_that_given_tables_are_as_documented, name) for name in GIVEN_TABLES]
    steps += [(see_that_globals_are_as_documented, where) for where in SEEN]
    steps += [(see_that_facts_are_as_documented,)]
    steps += [(see_that_calls_are_as_documented, where, function) for where, function in CALLED]
    mistakes = []
    for step, *arguments in steps:
        try:
            step(found, *arguments)
        except AssertionError as error:
            mistakes.append(str(error).partition("\nassert ")[0])
    assert not mistakes, "\n" + "\n".join(mistakes)
