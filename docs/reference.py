#!/usr/bin/python3
"""Prints docs/reference.md from the annotations in lua/types (`make reference`).

The annotations are those of the Lua language server, and these habits of ours:
- a file begins with `---@meta` and a block of text whose first line is `# Title`: a chapter;
- a class is a block of text that ends with `---@class`; what follows it up to the next blank line
  are its fields, each after its text;
- a function is a block of text, parameters and returns, right above an empty `function ... end`;
- a line `In: policies, checks` says which scripts have it; functions inherit it from their class.

tests/cases/test_reference.py reads the same annotations, to compare them with what there really is.
"""
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "lua/types"
FILES = ["scripts", "views", "alacrity", "alacrity/net", "alacrity/format", "alacrity/facts",
         "alacrity/test", "sandbox"]
KINDS = ["policies", "routes", "checks", "services", "tests"]


class Mistake(Exception):
    """Something in an annotation that this file does not understand."""


class Value:
    """A field, a parameter, or what a function returns."""

    def __init__(self, name, kind, text):
        self.optional = name.endswith("?") or kind.endswith("?")
        self.name, self.kind, self.text = name.rstrip("?"), kind, text


class Item:
    def __init__(self, text, place):
        self.text, self.where = split_where(text, place)
        self.place = place  # file:line


class Class(Item):
    def __init__(self, name, text, place):
        super().__init__(text, place)
        self.name, self.fields, self.functions, self.operators = name, [], [], []


class Function(Item):
    def __init__(self, path, parameters, text, place):
        super().__init__(text, place)
        self.path = path  # as it is written: alacrity.hash, pool:least, print
        self.names = parameters  # of the definition
        self.parameters, self.returns, self.owner = [], [], None

    @property
    def name(self):
        return re.split(r"[.:]", self.path)[-1]

    def signature(self):
        """With `?` behind what may be left out."""
        optional = {value.name for value in self.parameters if value.optional}
        shown = ", ".join(name + ("?" if name in optional else "") for name in self.names)
        return f"{self.path}({shown})"


class Chapter:
    def __init__(self, title, text, file):
        self.title, self.text, self.file = title, text, file
        self.classes, self.functions = [], []  # those functions belong to no class


def split_where(lines, place):
    """The text without its line `In: ...`, and the kinds that one names."""
    where, kept = [], []
    for line in lines:
        if line.startswith("In: "):
            where = [word.strip() for word in line[4:].split(",")]
            where = KINDS if where == ["everywhere"] else where
            if not set(where) <= set(KINDS):
                raise Mistake(f"{place}: {line}")
        else:
            kept.append(line)
    return "\n".join(kept).strip(), where


def split_type(text):
    """The type at the start of the text, and the rest."""
    depth, quoted = 0, False
    for at, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in "(<{[":
            depth += 1
        elif not quoted and letter in ")>}]":
            depth -= 1
        elif letter == " " and not quoted and depth == 0 and text[at - 1] != ":":
            return text[:at], text[at:].strip()
    return text, ""


def named(text):
    """`name? type text`"""
    name, _, rest = text.partition(" ")
    kind, told = split_type(rest)
    return Value(name, kind, told)


def returned(text):
    """`type name text`"""
    kind, rest = split_type(text)
    name, _, told = rest.partition(" ")
    return Value(name, kind, told)


def parse(file):
    source = (FOLDER / f"{file}.lua").read_text(encoding="utf-8").splitlines()
    chapter, block, text, owners = None, None, [], {}
    for number, line in enumerate(source, 1):
        place = f"lua/types/{file}.lua:{number}"
        tag = re.match(r"---@(\w+) ?(.*)", line)
        if tag and tag[1] == "meta":
            continue
        if tag and tag[1] == "class":
            block = Class(tag[2].split(" ")[0], text, place)
            chapter.classes.append(block)
            text = []
        elif tag and tag[1] == "field" and isinstance(block, Class):
            value = named(tag[2])
            value.text = " ".join(text) or value.text
            block.fields.append(value)
            text = []
        elif tag and tag[1] == "operator" and isinstance(block, Class):
            block.operators.append(tag[2])
        elif tag and tag[1] in ("param", "return"):
            text.append(tag)
        elif tag:
            raise Mistake(f"{place}: {line}")
        elif line.startswith("---"):
            text.append(line[4:])
        elif made := re.match(r"function ([\w.:]+)\(([^)]*)\) end$", line):
            tags = [each for each in text if not isinstance(each, str)]
            names = [name.strip() for name in made[2].split(",") if name.strip()]
            function = Function(made[1], names, [each for each in text if isinstance(each, str)],
                                place)
            function.parameters = [named(each[2]) for each in tags if each[1] == "param"]
            function.returns = [returned(each[2]) for each in tags if each[1] == "return"]
            owner = owners.get(re.split(r"[.:]", made[1])[0])
            function.owner = owner
            function.where = function.where or (owner.where if owner else [])
            (owner or chapter).functions.append(function)
            text = []
        elif made := re.match(r"(?:local )?(\w+) = {}$", line):
            owners[made[1]] = block
        elif not line and text and chapter is None:
            if not text[0].startswith("# "):
                raise Mistake(f"{place}: a chapter begins with `# Title`")
            chapter, text = Chapter(text[0][2:], "\n".join(text[1:]).strip(), file), []
        elif line and not line.startswith("return "):
            raise Mistake(f"{place}: {line}")
        elif text:
            raise Mistake(f"{place}: text that belongs to nothing: {text[0]}")
    return chapter


def chapters():
    return [parse(file) for file in FILES]


# ---- printing ----

def sentence(where):
    return "In scripts of every kind." if where == KINDS else f"In {', '.join(where)}."


def cell(text):
    return text.replace("|", "\\|")


def examples_marked(text):
    """Only a whole script, or options, can be checked as it stands (tests/cases/test_docs.py)."""
    def mark(match):
        alone = re.search(r"^(return\b|options = )", match[1], re.M)
        return match[0] if alone else f"```lua\n-- part of a script\n{match[1]}```"
    return re.sub(r"```lua\n(.*?)```", mark, text, flags=re.S)


def print_function(function, level):
    lines = [f"{'#' * level} `{function.signature()}`", ""]
    if function.text:
        lines += [examples_marked(function.text), ""]
    for value in function.parameters:
        lines.append(f"- `{value.name}`: `{value.kind}`{', ' + value.text if value.text else ''}")
    for value in function.returns:
        told = " ".join(filter(None, [f"`{value.name}`" if value.name else "", value.text]))
        lines.append(f"- → `{value.kind}`{' ' + told if told else ''}")
    if function.parameters or function.returns:
        lines.append("")
    if not function.owner or function.where != function.owner.where:
        lines += [f"*{sentence(function.where)}*", ""]
    return lines


def print_class(item):
    lines = [f"### `{item.name}`", "", examples_marked(item.text), ""]
    lines += [f"*{sentence(item.where)}*", ""]
    named_fields = [field for field in item.fields if not field.name.startswith("[")]
    if named_fields:
        lines += ["| field | type | |", "|---|---|---|"]
        for field in named_fields:
            kind = field.kind + ("?" if field.optional and not field.kind.endswith("?") else "")
            lines.append(f"| `{field.name}` | `{cell(kind)}` | {cell(field.text)} |")
        lines.append("")
    for function in item.functions:
        lines += print_function(function, 4)
    return lines


def text_of_all():
    lines = ["# Reference", "",
             "Everything a script can use. Made from the annotations in `lua/types` by `make reference`,",
             "which editors read too (see [scripts.md](scripts.md#in-your-editor)); each of them is",
             "compared with the real thing on every test run.", "",
             "A type that ends with `?` may be nil; a parameter with `?` may be left out.", "",
             "Options of type `duration`, and everything named `..._ms`, are milliseconds; every other time is",
             "in seconds: `alacrity.now()`, `every` and `after`, the `ttl` of what is shared, limits in",
             "`alacrity.net`. A duration option therefore becomes `cfg.pause / 1000` there.", ""]
    all_chapters = chapters()
    for chapter in all_chapters:
        anchor = chapter.title.lower().replace(" ", "-")
        lines.append(f"- [{chapter.title}](#{anchor})")
    lines.append("")
    for chapter in all_chapters:
        lines += [f"## {chapter.title}", "", chapter.text, ""]
        for item in chapter.classes:
            lines += print_class(item)
        for function in chapter.functions:
            lines += print_function(function, 3)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(text_of_all())
