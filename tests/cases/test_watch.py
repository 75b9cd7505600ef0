"""`run --watch`: a configuration, its scripts and what they require are reloaded by themselves when a
file changes, however it is written; what is refused changes nothing."""
import os
import re
import signal
import time

import pytest

from support import (FULL, PATIENCE, Alacrity, Server, ask, command, dial, eventually, free_port, serve_echo,
                     serve_name, web_over)

AT = """
return { api = 1, kind = "policy", name = "at", new = function()
  return { pick = function(self, ctx, pool) return pool[%d] end } end }
"""
BY_MODULE = """
local at = require "at"
return { api = 1, kind = "policy", name = "at", new = function()
  return { pick = function(self, ctx, pool) return pool[at] end } end }
"""


class Watching(Alacrity):
    OPTIONS = ["--watch"]

    def reloads(self):
        return self.admin("status")["reloads_total"]

    def refused(self):
        return self.admin("status")["reloads_failed"]


def start(port, scripts, *, policy="./one.lua", handler=serve_name, **more):
    servers = [Server(handler, name) for name in "ab"]
    config = {**web_over(servers, port, policy={"script": policy}), "workers": 2, **more}
    return Watching(config, scripts=scripts)


def becomes(port, answer):
    eventually(lambda: ask(port) == answer, f"sessions go to {answer}")


def replace(path, text):
    """As most editors do: another file takes the place."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def test_script_is_written_anew_and_replaced():
    port = free_port()
    with start(port, {"one.lua": AT % 1}) as balancer:
        assert ask(port) == b"a\n"
        balancer.put("one.lua", AT % 2)
        becomes(port, b"b\n")
        line = balancer.wait_line(r'"event":"watch"')
        assert "one.lua changed: configuration 2 is live" in line
        replace(balancer.folder / "one.lua", AT % 1)
        becomes(port, b"a\n")
        balancer.wait_line(r"one.lua changed: configuration 3 is live")
        assert balancer.reloads() == 2 and balancer.refused() == 0


def test_without_the_option_nothing_is_watched():
    port = free_port()
    servers = [Server(serve_name, name) for name in "ab"]
    config = web_over(servers, port, policy={"script": "./one.lua"})
    with Alacrity(config, scripts={"one.lua": AT % 1}) as balancer:
        balancer.put("one.lua", AT % 2)
        time.sleep(0.5)  # several times what a watch takes
        assert ask(port) == b"a\n"


def test_broken_script_is_refused_then_mended():
    port = free_port()
    with start(port, {"one.lua": AT % 1}) as balancer:
        balancer.put("one.lua", "return {")
        line = balancer.wait_line(r"one.lua changed: refused, the running one goes on")
        assert "one.lua:1:" in line, "it says why"
        assert ask(port) == b"a\n"
        balancer.put("one.lua", AT % 2)
        becomes(port, b"b\n")
        assert balancer.refused() == 1


def test_module_and_what_comes_to_stand_before_it():
    """A required file is watched, and so is the place of one that would be found before it."""
    port = free_port()
    with start(port, {"one.lua": BY_MODULE, "second/at.lua": "return 1", "first/other.lua": ""},
               lua={"path": ["./first", "./second"]}) as balancer:
        assert ask(port) == b"a\n"
        balancer.put("second/at.lua", "return 2")
        becomes(port, b"b\n")
        balancer.put("first/at.lua", "return 1")
        becomes(port, b"a\n")
        os.unlink(balancer.folder / "first/at.lua")
        becomes(port, b"b\n")


def test_check_and_configuration():
    port = free_port()
    check = ('return {{ api = 1, kind = "check", name = "c", new = function() return {{ check = '
             'function() return "{}" end }} end }}')
    servers = [Server(serve_name, name) for name in "ab"]
    config = web_over(servers, port, policy="round-robin",
                      check={"script": "./check.lua", "interval": "100ms"})
    with Watching(config, scripts={"check.lua": check.format("up")}) as balancer:
        balancer.wait_state("a", "up")
        balancer.put("check.lua", check.format("down"))
        balancer.wait_state("a", "down")
        balancer.write(b"listeners: [")
        balancer.wait_line(r"alacrity.yaml changed: refused")
        # While the configuration cannot even be read, the check is still known and watched.
        since = len(balancer.lines)
        balancer.put("check.lua", check.format("up"))
        balancer.wait_line(r"check.lua changed: refused", since=since)
        balancer.write(config)
        balancer.wait_state("a", "up")


def test_route_and_a_session_that_waits_meanwhile():
    """A session that waits meanwhile is routed by the script it met."""
    port = free_port()
    route = ('return { api = 1, kind = "route", name = "r", new = function() return { route = '
             'function(self, ctx) ctx:peek(1) ctx:use("%s") end } end }')
    config = web_over([Server(serve_name, "a")], port)
    config["pools"]["other"] = {"backends": {"b": Server(serve_name, "b").text}}
    config["listeners"]["web"]["route"] = {"script": "./route.lua"}
    with Watching(config, scripts={"route.lua": route % "app"}) as balancer:
        assert ask(port) == b"a\n"
        with dial(port) as waiting:
            eventually(lambda: balancer.admin("session", "list")["sessions"])
            balancer.put("route.lua", route % "other")
            becomes(port, b"b\n")
            balancer.put("route.lua", route % "nowhere" + "nonsense")
            balancer.wait_line(r"route.lua changed: refused")
            waiting.sendall(b"q" * 32)
            assert waiting.recv(10) == b"a\n"
        assert ask(port) == b"b\n"


def test_file_that_is_missing_for_a_moment():
    port = free_port()
    with start(port, {"one.lua": AT % 1}) as balancer:
        path = balancer.folder / "one.lua"
        os.rename(path, balancer.folder / "one.lua~")
        time.sleep(0.3)  # longer than a look takes, shorter than its patience
        path.write_text(AT % 2, encoding="utf-8")
        becomes(port, b"b\n")
        assert balancer.refused() == 0, "nobody tried while it was not there"

        path.unlink()
        balancer.wait_line(r"one.lua changed: refused")
        assert ask(port) == b"b\n"
        path.write_text(AT % 1, encoding="utf-8")
        becomes(port, b"a\n")


def test_link_is_switched():
    """As Kubernetes does: a file is a link through a folder that is a link, and that is switched."""
    port = free_port()
    scripts = {"v1/one.lua": AT % 1, "v2/one.lua": AT % 2}
    servers = [Server(serve_name, name) for name in "ab"]
    config = web_over(servers, port, policy={"script": "./scripts/one.lua"})

    class Linked(Watching):
        def put(self, name, text):
            super().put(name, text)
            scripts_folder = self.folder / "scripts"
            if not scripts_folder.exists():
                scripts_folder.mkdir()
                os.symlink("../v1", scripts_folder / "..data")
                os.symlink("..data/one.lua", scripts_folder / "one.lua")

    with Linked(config, scripts=scripts) as balancer:
        assert ask(port) == b"a\n"
        os.symlink("../v2", balancer.folder / "scripts/..new")
        os.replace(balancer.folder / "scripts/..new", balancer.folder / "scripts/..data")
        becomes(port, b"b\n")


def test_burst_of_writes_is_one_reload():
    port = free_port()
    with start(port, {"one.lua": AT % 1, "two.lua": AT % 1}) as balancer:
        for i in range(60):
            (balancer.folder / "one.lua").write_text(AT % (1 + i % 2), encoding="utf-8")
            time.sleep(0.005)  # the burst itself
        becomes(port, b"b\n")
        assert balancer.reloads() + balancer.refused() <= 2 * PATIENCE


def test_many_reloads_leave_nothing_behind_and_sessions_unharmed():
    port = free_port()
    with start(port, {"one.lua": AT % 1}, handler=serve_echo) as balancer:
        with dial(port) as session:
            def echo():
                session.sendall(b"still here")
                assert session.recv(100) == b"still here"
            echo()
            before = None  # after the first: it may have opened what stays
            for i in range(100 if FULL else 40):
                since = len(balancer.lines)
                replace(balancer.folder / "one.lua", AT % (1 + i % 2) + f"-- {i}")
                balancer.wait_line(r'"event":"watch".*is live', since=since)
                echo()
                before = before or balancer.fds()
            eventually(lambda: balancer.fds() <= before, "no descriptor is lost")


def test_swapped_in_policy_is_swapped_in_again():
    port = free_port()
    scripts = {"one.lua": AT % 1, "two.lua": BY_MODULE, "lib/at.lua": "return 2", "third.lua": AT % 1}
    with start(port, scripts, lua={"path": ["./lib"]}) as balancer:
        def swap(name):
            balancer.admin("script", "swap", "app", balancer.folder / name, plain=True)

        swap("two.lua")
        assert ask(port) == b"b\n"
        replace(balancer.folder / "two.lua", AT % 1)
        becomes(port, b"a\n")
        assert re.search(r"pool app: version 3 .* is live", balancer.wait_line(r"two.lua changed"))
        balancer.put("two.lua", BY_MODULE)
        becomes(port, b"b\n")
        balancer.put("lib/at.lua", "return 1")
        becomes(port, b"a\n")

        balancer.put("two.lua", "return {")
        assert "two.lua:1:" in balancer.wait_line(r"two.lua changed: refused")
        assert ask(port) == b"a\n"
        balancer.put("two.lua", AT % 2)
        becomes(port, b"b\n")
        assert balancer.reloads() == 0

        swap("third.lua")  # now two.lua is nobody's
        version = balancer.pool()["versions"]["current"]["number"]
        balancer.put("two.lua", AT % 2 + "-- again")
        time.sleep(0.5)  # several times what a watch takes
        assert balancer.pool()["versions"]["current"]["number"] == version

        balancer.put("one.lua", AT % 2)  # what is configured is in force again
        becomes(port, b"b\n")
        assert balancer.reloads() == 1
        balancer.put("third.lua", AT % 1 + "-- again")
        time.sleep(0.5)  # several times what a watch takes
        assert ask(port) == b"b\n"


def test_policy_swapped_in_with_options_keeps_them():
    port = free_port()
    given = '''return { api = 1, kind = "policy", name = "given",
      options = { at = { type = "number", default = 1 } },
      new = function(cfg) return { pick = function(self, ctx, pool) return pool[cfg.at] end } end }'''
    with start(port, {"one.lua": AT % 1, "given.lua": given}) as balancer:
        balancer.admin("script", "swap", "app", balancer.folder / "given.lua", "--with", "at=2",
                       plain=True)
        for turn in range(3):
            since = len(balancer.lines)
            balancer.put("given.lua", f"{given} -- {turn}")
            balancer.wait_line("given.lua changed: pool app: .* is live", since=since)
            assert ask(port) == b"b\n"


def test_reload_by_command_is_not_done_twice():
    port = free_port()
    with start(port, {"one.lua": AT % 1}) as balancer:
        for i in range(10):
            balancer.put("one.lua", AT % (1 + i % 2))
            balancer.reload()
            time.sleep(0.25)  # longer than a watch takes
        assert ask(port) == b"b\n"
        assert balancer.reloads() <= 10 + PATIENCE, "one may have been asked for before"


def test_stops_while_it_watches():
    port = free_port()
    with start(port, {"one.lua": AT % 1}) as balancer:
        with dial(port) as session:
            session.sendall(b"q")
            balancer.process.send_signal(signal.SIGTERM)
            balancer.wait_line("draining")
            balancer.put("one.lua", AT % 2)
            time.sleep(0.5)  # several times what a watch takes
        text = balancer.ended()
        assert not re.search(r"one.lua changed", text), "there is nothing to reload any more"


@pytest.mark.parametrize("words", [["check", "--watch", "-f", "x.yaml"], ["run", "--watch"]])
def test_where_it_does_not_belong(words):
    done = command(*words)
    assert done.returncode == 2 and done.stderr
