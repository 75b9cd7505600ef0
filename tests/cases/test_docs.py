"""What the documentation shows is true: the reference is what the binary prints, and every example
in README.md and docs/*.md is taken by `alacrity check`.

What an example is, so that none is left out silently:
- a fenced block says its language: yaml, lua, sh or console; one that says none is output, and
  looks like neither YAML of ours nor Lua of ours;
- `yaml` is a map of top-level keys. With `listeners` it is a whole configuration and is checked as
  it stands; without, it is a fragment, and gets a listener for each of its pools, or for a page;
- a script that a configuration names is the first of its kind shown in the same file;
- `lua` with a line that begins with `return` is a whole script of the kind it says; any other is a
  fragment: statements that run at the top of a script. `options = ...` among them become its
  options, and those that are required are given. One that begins with `-- part of` cannot stand
  alone, and only its syntax is checked.
"""
import re
import subprocess

import pytest
import yaml

from support import ROOT, command

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^( *)```([a-z]*)\n(.*?)^\1```$", re.M | re.S)
SECTIONS = {"user", "zone", "workers", "pin_workers", "timeouts",
            "limits", "admin", "log", "lua", "pools", "splice", "listeners"}
SHOWN = {"yaml": 3, "lua": 5}  # at least; fewer means that this file no longer finds them


class Block:
    def __init__(self, document, match):
        self.document, self.language = document, match.group(2)
        self.text = re.sub(rf"^{match.group(1)}", "", match.group(3), flags=re.M)
        self.line = document.read_text(encoding="utf-8")[:match.start()].count("\n") + 1
        self.name = f"{document.name}:{self.line}"

    @property
    def is_script(self):
        return re.search(r"^return\b", self.text, re.M) is not None

    @property
    def kind(self):
        found = re.search(r'\bkind\s*=\s*"(\w+)"', self.text)
        assert found, f"{self.name}: a script that does not say its kind"
        return found.group(1)


BLOCKS = [Block(document, match) for document in DOCUMENTS
          for match in FENCE.finditer(document.read_text(encoding="utf-8"))]


def blocks(language):
    return [pytest.param(block, id=block.name) for block in BLOCKS if block.language == language]


def taken(folder, config):
    """Checks it; text is written as it stands, so that it is judged as it is shown."""
    file = folder / "alacrity.yaml"
    file.write_text(config if isinstance(config, str) else yaml.safe_dump(config),
                    encoding="utf-8")
    done = command("check", "-f", file)
    assert done.returncode == 0, f"{file.read_text(encoding='utf-8')}\n{done.stderr}"


def use(kind, script):
    """The smallest configuration that uses the script as what it is."""
    pool = {"backends": {"a": "127.0.0.1:9001"}}
    web = {"bind": "127.0.0.1:8080", "pool": "app"}
    if kind == "service":
        web = {"bind": "127.0.0.1:8080", "service": script}
    elif kind == "route":
        web["route"] = script
    else:
        pool[kind] = script
    return {"listeners": {"web": web}, "pools": {"app": pool}}


# ---- the reference ----

def test_the_reference_is_what_the_binary_prints():
    done = command("schema", "--markdown")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs/configuration.md").read_text(encoding="utf-8"), \
        "write it anew: build/alacrity schema --markdown > docs/configuration.md"


def test_the_top_level_keys_are_known_here():
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    table = text.partition("## At the top of the file\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == SECTIONS


# ---- links ----

def anchors(document):
    """Of its headings, as they are made where Markdown is shown."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), f"{document.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{document.name}: {target}"


# ---- examples ----

def test_every_block_is_of_a_kind_we_know():
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        assert not re.search(r"^ *~~~", text, re.M), f"{document.name}: write ```, not ~~~"
        fences = len(re.findall(r"^ *```", text, re.M))
        assert fences == 2 * sum(block.document == document for block in BLOCKS), \
            f"{document.name}: a block that is not closed, or not found here"
    for block in BLOCKS:
        assert block.language in ("yaml", "lua", "sh", "console", ""), block.name
    for language, count in SHOWN.items():
        assert sum(block.language == language for block in BLOCKS) >= count, language


def test_a_block_without_a_language_is_no_example():
    for block in BLOCKS:
        if not block.language:
            keys = set(re.findall(r"^(\w+):(?:\s|$)", block.text, re.M))
            assert not keys & SECTIONS, f"{block.name} looks like yaml; say so"
            assert not block.is_script, f"{block.name} looks like lua; say so"


def scripts_named(config):
    """(kind, file) of every script the configuration names."""
    for pool in config.get("pools", {}).values():
        for kind in ("policy", "check"):
            if isinstance(pool.get(kind), dict) and "script" in pool[kind]:
                yield kind, pool[kind]["script"]
    for listener in config.get("listeners", {}).values():
        for kind in ("route", "service"):
            if isinstance(listener.get(kind), dict) and "script" in listener[kind]:
                yield kind, listener[kind]["script"]


@pytest.mark.parametrize("block", blocks("yaml"))
def test_a_configuration_is_taken(block, folder):
    config = yaml.safe_load(block.text)
    assert isinstance(config, dict) and config and set(config) <= SECTIONS, \
        "show a map of top-level keys"
    for kind, file in scripts_named(config):
        shown = [other for other in BLOCKS if other.document == block.document
                 and other.language == "lua" and other.is_script and other.kind == kind]
        assert shown, f"it names {file}, but {block.document.name} shows no {kind}"
        (folder / file).write_text(shown[0].text, encoding="utf-8")
    if "listeners" in config:
        taken(folder, block.text)
        return
    listeners = [f"  {pool}: {{bind: '127.0.0.1:{8080 + i}', pool: {pool}}}\n"
                 for i, pool in enumerate(config.get("pools", {}))]
    page = "  page: {bind: '127.0.0.1:8080', service: stats}\n"
    taken(folder, f"{block.text}listeners:\n{''.join(listeners) or page}")


@pytest.mark.parametrize("block", blocks("lua"))
def test_a_script_is_taken(block, folder):
    script = {"script": "./mine.lua"}
    if block.text.startswith("-- part of"):
        (folder / "mine.lua").write_text(block.text, encoding="utf-8")
        done = subprocess.run(["luajit", "-b", str(folder / "mine.lua"), "/dev/null"],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    if block.is_script:
        kind, text = block.kind, block.text
    else:
        kind, text = "policy", block.text + (
            '\nreturn {api = 1, kind = "policy", name = "mine", options = options, new = function()'
            "\n  return {pick = function(self, ctx, pool) return pool[1] end} end}\n")
        given = re.findall(r'(\w+)\s*=\s*{\s*type = "string", required = true', text)
        if given:
            script["with"] = {name: "given" for name in given}
    (folder / "mine.lua").write_text(text, encoding="utf-8")
    taken(folder, use(kind, script))


def test_the_manual_page_has_every_command():
    """What `alacrity help` lists has a line in the SYNOPSIS of alacrity(8)."""
    page = (ROOT / "docs/alacrity.8").read_text(encoding="utf-8")
    synopsis = page.split(".Sh SYNOPSIS")[1].split(".Sh ")[0]
    known = set()
    for line in re.findall(r"^\.Cm (.*)$", synopsis, re.M):
        first, *others = line.split(" | ")
        before = first.split()[:-1]  # `backend drain | ready`: the verb is of all
        known.update([first, *(" ".join([*before, other]) for other in others)])
    listed = re.findall(r"^  (\w+(?:, \w+)*)( (?:list|show|diff|swap|shadow|promote|rollback|drop"
                        r"|drain|ready|maint|weight|kill))?\b.*$", command("help").stdout, re.M)
    wanted = {(verb + action).strip() for verbs, action in listed for verb in verbs.split(", ")}
    assert len(wanted) > 20
    assert wanted <= known
