"""Every example is a configuration that works."""
import pytest
import yaml

from support import ROOT, Alacrity, command, free_port

EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.name)
def test_check_says_ok(file):
    done = command("check", "-f", file)
    assert done.returncode == 0, done.stderr


def elsewhere(config):
    """The same on addresses of this story's own, so that it disturbs nobody."""
    config["log"] = {"level": "info"}
    for listener in config["listeners"].values():
        binds = listener["bind"] if isinstance(listener["bind"], list) else [listener["bind"]]
        listener["bind"] = [f"127.0.0.1:{free_port()}" for _ in binds]
    config.pop("admin", None)
    return config


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.name)
def test_it_starts(file):
    config = elsewhere(yaml.safe_load(file.read_text(encoding="utf-8")))
    scripts = {str(path.relative_to(file.parent)): path.read_text(encoding="utf-8")
               for path in file.parent.rglob("*.lua")}
    with Alacrity(config, scripts=scripts) as balancer:
        assert balancer.admin("status")["configuration"] == 1
