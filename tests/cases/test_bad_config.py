"""Every mistake in a configuration is told, all at once, with its place; and nothing starts.

The files of bad/ say themselves what is expected of them: `# expect: LINE:COLUMN: words`.
"""
import json
import pathlib
import re
import socket

import pytest

from support import (Alacrity, Server, command, dead_address, free_port, serve_name, web_over)

BAD = sorted((pathlib.Path(__file__).parent / "bad").glob("*.yaml"))
EXPECT = re.compile(rb"^# expect: (\d+:\d+): (.*)$", re.M)


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_every_mistake_is_told(file):
    expected = [(at.decode(), words.decode().strip())
                for at, words in EXPECT.findall(file.read_bytes())]
    assert expected, "the file does not say what is wrong with it"
    for verb in ("check", "run"):
        done = command(verb, "-f", file)
        assert done.returncode == 1, done
        lines = done.stderr.splitlines()
        for at, words in expected:
            assert any(f"{file}:{at}: " in line and words in line for line in lines), \
                f"{verb}: nothing at {at} about {words!r} in:\n{done.stderr}"
        told = [line for line in lines if line.startswith(f"{file}:")]
        assert len(told) == len(expected), f"{verb} says more or less:\n{done.stderr}"


def test_there_are_bad_files():
    assert len(BAD) > 20


def test_a_good_one_is_ok(folder):
    (folder / "good.yaml").write_text(
        "listeners:\n  web: {bind: '127.0.0.1:8080', pool: app}\n"
        f"pools:\n  app:\n    backends: {{a: {dead_address()}}}\n", encoding="utf-8")
    done = command("check", "-f", folder / "good.yaml")
    assert done.returncode == 0 and "ok" in done.stdout


def test_a_file_that_cannot_be_read(folder):
    for path in (folder / "missing.yaml", folder):
        done = command("check", "-f", path)
        assert done.returncode == 1
        assert str(path) in done.stderr


def test_wrong_use_of_the_command_line():
    for words in ([], ["nonsense"], ["run"], ["check"], ["check", "-x"], ["run", "-f"]):
        done = command(*words)
        assert done.returncode == 2, words
        assert done.stderr and not done.stdout


def check_with_script(folder, kind, text):
    (folder / "mine.lua").write_text(text, encoding="utf-8")
    (folder / "a.yaml").write_text(
        "listeners:\n"
        "  web: {bind: '127.0.0.1:8080', %s}\n"
        "pools:\n  app:\n    %s\n    backends: {a: '127.0.0.1:9'}\n" % (
            "pool: app" if kind in ("policy", "check") else kind + ": {script: ./mine.lua}",
            {"policy": "policy: {script: ./mine.lua}", "check": "check: {script: ./mine.lua}",
             "service": "retries: 1", "route": "retries: 1"}[kind]), encoding="utf-8")
    return command("check", "-f", folder / "a.yaml")


@pytest.mark.parametrize("kind", ["policy", "check", "service", "route"])
@pytest.mark.parametrize("text,word", [
    ("return {\n  x = \n}", r"mine\.lua:3"),
    ("local x = 1\nerror('while loading')", r"mine\.lua:2.*while loading"),
    ("return nil", r"mine\.lua"),
    ("return { api = 1 }", r"mine\.lua|kind"),
    ("return { api = 1, kind = 'nonsense', name = 'x', new = function() return {} end }", "kind"),
    ("\x1bLJ\x02\x00", r"mine\.lua"),
])
def test_a_script_that_is_no_script(folder, kind, text, word):
    done = check_with_script(folder, kind, text)
    assert done.returncode == 1, done
    assert re.search(word, done.stderr), done.stderr


def test_options_are_checked_against_the_script(folder):
    (folder / "mine.lua").write_text(
        "return { api = 1, kind = 'policy', name = 'm', options = { size = { type = 'number', default = 10 } },\n"
        "  new = function(cfg) return { pick = function(self, ctx, pool) return pool[1] end } end }",
        encoding="utf-8")
    (folder / "a.yaml").write_text(
        "listeners:\n  web: {bind: '127.0.0.1:8080', pool: app}\n"
        "pools:\n  app:\n    policy: {script: ./mine.lua, with: {sise: 3}}\n"
        "    backends: {a: '127.0.0.1:9'}\n", encoding="utf-8")
    done = command("check", "-f", folder / "a.yaml")
    assert done.returncode == 1
    assert "sise" in done.stderr and "a.yaml:5" in done.stderr


def test_a_port_in_use():
    server, port = Server(serve_name, "a"), free_port()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        balancer = Alacrity(web_over([server], port))
        text = balancer.ended(code=1)
        assert f"127.0.0.1:{port}" in text and "in use" in text and "alacrity.yaml:" in text


def test_a_port_that_another_balancer_has():
    """SO_REUSEPORT alone would let two of them share it silently."""
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([server], port)):
        text = Alacrity(web_over([server], port)).ended(code=1)
        assert f"127.0.0.1:{port}" in text and "in use" in text


def test_a_reload_onto_a_port_in_use_is_refused():
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        config = web_over([server], port)
        config["listeners"]["more"] = {"bind": server.text, "pool": "app"}
        assert "in use" in balancer.reload(config, ok=False)
        assert "more" not in balancer.stats()["listeners"]


def test_an_admin_socket_that_another_balancer_has():
    server = Server(serve_name, "a")
    with Alacrity(web_over([server], free_port())) as balancer:
        config = {**web_over([server], free_port()), "admin": {"socket": str(balancer.socket)}}
        text = Alacrity(config).ended(code=1)
        assert "admin" in text
        balancer.admin("status")


def test_a_backend_name_that_cannot_be_resolved(folder):
    (folder / "a.yaml").write_text(
        "listeners:\n  web: {bind: '127.0.0.1:8080', pool: app}\n"
        "pools:\n  app:\n    backends: {a: 'nowhere.invalid:80'}\n", encoding="utf-8")
    done = command("check", "-f", folder / "a.yaml")
    assert done.returncode == 1
    assert "a.yaml:5:" in done.stderr and "nowhere.invalid" in done.stderr


def test_the_schema_is_json():
    schema = json.loads(command("schema").stdout)
    assert "draft-07" in schema["$schema"]
    assert {"listeners", "pools", "workers"} <= set(schema["properties"])


def test_what_is_hardly_meant_is_a_warning(tmp_path):
    """A check that is always late, a pool nobody uses, a backend that is the listener itself."""
    file = tmp_path / "alacrity.yaml"
    text = """listeners:
  web: {bind: "0.0.0.0:8080", pool: app}
  page: {bind: "127.0.0.1:8404", service: stats}
pools:
  app:
    check: {type: tcp, interval: 1s, timeout: 1s}
    backends: {a: "127.0.0.2:8081", page: "127.0.0.1:8404"}
"""
    file.write_text(text, encoding="utf-8")
    done = command("check", "-f", file)
    assert done.returncode == 0 and done.stderr == ""
    text = text.replace("timeout: 1s", "timeout: 2s").replace("8081", "8080")
    file.write_text(text + "  spare: {backends: {b: 127.0.0.1:9}}\n", encoding="utf-8")
    done = command("check", "-f", file)
    assert done.returncode == 0 and done.stdout == f"{file}: ok\n"
    assert [line.split(": ")[1:3] for line in done.stderr.splitlines()] == [
        ["warning", "the check of pool 'app' may take 2000 ms, but is due every 1000 ms"],
        ["warning", "backend 'a' is listener 'web' of this very file"],
        ["warning", "pool 'spare' is used by no listener; name it in one, or leave it out"]]
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == ["6", "7", "8"]
