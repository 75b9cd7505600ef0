"""docs/tutorial.md is true: its files are written, its commands are run in their order in an empty
folder, and what they print is compared with what is shown.

How the document says what is what:
- a line **NAME** before a block of code: a file of that name;
- a `console` block: lines that begin with `$ ` are commands for one and the same shell, the lines after
  them what it prints. In these, a number stands for any number, `...` for anything, and `...` alone on
  a line for any lines; how many blanks there are does not matter.

The document's ports become free ones, and the place of the program its real one.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading

import pytest

from support import BINARY, LIMIT, ROOT, SANITIZER_WORDS, free_port

TEXT = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^\*\*(\S+)\*\*\n\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
PORTS = ("8080", "8404", "9001", "9002", "9003")
END = "-- that was it --"
CURL = """#!/usr/bin/python3
import sys, urllib.request
sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[-1]).read())
"""


def steps():
    """("file", name, text) and ("run", command, output), in their order."""
    for name, language, text in BLOCK.findall(TEXT):
        if name:
            yield "file", name, text
            continue
        assert language == "console", f"a block that is neither a file nor commands: {text}"
        for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
            asked, _, shown = part.partition("\n")
            yield "run", asked, shown


class Shell:
    """One bash for all commands, as a person has; a group of its own, so that all of it ends."""

    def __init__(self, folder, environment):
        self.process = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def run(self, asked):
        late = threading.Timer(LIMIT, self.end)
        late.start()
        try:
            self.process.stdin.write(f"{asked}\necho '{END}'\n")
            self.process.stdin.flush()
            lines = []
            for line in self.process.stdout:
                if line.strip() == END:
                    return "".join(lines)
                lines.append(line)
            raise AssertionError(f"{asked}\nnever came to its end:\n{''.join(lines)}")
        finally:
            late.cancel()

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def pattern_of(shown):
    """The expression that what is printed has to match."""
    lines = []
    for line in shown.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
            continue
        words = re.escape(re.sub(r"\s+", " ", line.strip()))
        words = words.replace(r"\.\.\.", ".*")
        words = re.sub(r"\d+(?:(?:,|\\\.)\d+)*", lambda _: r"\d+(?:[,.]\d+)*", words)
        lines.append(words + "\n")
    return "".join(lines)


def is_as_shown(printed, shown):
    printed = "".join(re.sub(r"\s+", " ", line.strip()) + "\n" for line in printed.splitlines())
    return re.fullmatch(pattern_of(shown), printed) is not None


@pytest.mark.parametrize("printed, shown, same", [
    ("a 12.5 ms\n", "a   3 ms\n", True), ("a 1,204\n", "a 7\n", True), ("b 12\n", "a 12\n", False),
    ("a\nb\n", "a\n", False), ("a\n", "a\nb\n", False), ("", "a\n", False), ("a\n", "", False),
    ("a b c\n", "a ... c\n", True), ("a\nx\ny\nb\n", "a\n...\nb\n", True), ("a\nb\n", "a\n...\n", True),
    ("x: 5\n", "x: five\n", False), ("1 x\n", "1.5 x\n", True), ("\n", "\n", True)])
def test_outputs_are_compared(printed, shown, same):
    assert is_as_shown(printed, shown) == same


@pytest.mark.bound(120)
def test_the_tutorial_is_what_happens(folder):
    ports = {port: str(free_port()) for port in PORTS}

    def here(text):
        text = re.sub(r"\b(" + "|".join(PORTS) + r")\b", lambda match: ports[match[1]], text)
        return text.replace("/path/to/alacrity/build", str(folder / "bin"))

    (folder / "bin").mkdir()
    (folder / "bin/alacrity").symlink_to(pathlib.Path(BINARY).resolve())
    if shutil.which("curl") is None:  # the only tool a small machine may lack
        (folder / "bin/curl").write_text(CURL, encoding="utf-8")
        (folder / "bin/curl").chmod(0o755)
    work = folder / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ALACRITY_SOCKET"}
    shell = Shell(work, environment)
    commands = 0
    try:
        for verb, name, text in steps():
            if verb == "file":
                (work / name).write_text(here(text), encoding="utf-8")
                continue
            printed = shell.run(here(name))
            commands += 1
            log = work / "balancer.log"
            said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            assert is_as_shown(printed, here(text)), \
                f"$ {name}\nshown:\n{text}\nprinted:\n{printed}\nthe log:\n{said[-3000:]}"
            if name.endswith("&"):  # a person is slower
                shell.run("until grep -q ready balancer.log; do sleep 0.05; done")
        assert not SANITIZER_WORDS.search(log.read_text(encoding="utf-8", errors="replace"))
    finally:
        shell.end()
    assert commands > 25, "most of the tutorial was not found"
    assert (work / "chart.svg").read_text(encoding="utf-8").startswith("<svg")
