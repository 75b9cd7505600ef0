"""The README's two commands are what is run: they cannot drift apart from the machine's use."""
import re

from support import ROOT


def commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) >= 2, "two ```sh blocks"
    for block in blocks[:2]:
        assert len(block.strip().splitlines()) == 1, f"one pasted line: {block}"
    return [block.strip() for block in blocks[:2]]


def test_the_first_installs_builds_and_starts_the_demo():
    first, _ = commands()
    assert "apt-get" in first and "make demo" in first or "alacrity demo" in first


def test_ci_runs_the_second():
    _, second = commands()
    assert second in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_the_second_runs_all_tests():
    _, second = commands()
    assert "tests/run" in second or "make check" in second


def test_packages_agree():
    """Whatever either line installs is a Debian package name, never a path or an URL."""
    for line in commands():
        for packages in re.findall(r"apt-get install ([^&|;]*)", line):
            for word in packages.split():
                assert re.fullmatch(r"-?[-a-z0-9.+=:]+", word, re.I), word
