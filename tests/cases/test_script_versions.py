"""A policy is swapped, shadowed, promoted and rolled back while traffic runs: no session fails, no
count is lost, what the version before knew is carried over, and what fails goes away by itself."""
import concurrent.futures
import json
import os

import pytest

from support import (FULL, PATIENCE, ROOT, SANITIZED, Alacrity, Load, Server, ServerProcess, ask, eventually,
                     free_port, serve_name, settled, web_over)

# Answers the backend at `at`, and counts its picks over versions.
AT = """
return { api = 1, kind = "policy", name = "counting", options = { at = { type = "number", default = %d } },
  new = function(cfg, carry)
    local picks = carry and carry.picks or 0
    return {
      pick = function(self, ctx, pool)
        if ctx.listener ~= "trial" then
          picks = picks + 1
          if picks %% 5 == 0 then print("picks " .. picks) end
        end
        return pool[cfg.at]
      end,
      snapshot = function(self) return { picks = picks } end,
    }
  end }
"""
FAILS = """
return { api = 1, kind = "policy", name = "fails", new = function() return {
  pick = function(self, ctx, pool)
    if ctx.listener ~= "trial" then %s end
    return pool[1]
  end } end }
"""


def start(port, names="ab", workers=1, policy=None, scripts=None, **lua):
    servers = [Server(serve_name, name) for name in names]
    config = {**web_over(servers, port, policy=policy or {"script": "./one.lua"}),
              "workers": workers, "lua": lua}
    return Alacrity(config, scripts={"one.lua": AT % 1, "two.lua": AT % 2, **(scripts or {})})


def script(balancer, verb, pool, file=None, *more, ok=True):
    words = [str(balancer.folder / file)] if file and file.endswith(".lua") else [file] if file else []
    return balancer.admin("script", verb, pool, *words, *more, ok=ok, plain=True)


def roles(balancer, pool="app"):
    versions = balancer.admin("script", "list", pool)["versions"]
    return {version["role"]: version["version"] for version in versions}


def test_swap_carries_over_and_rollback_returns():
    port = free_port()
    with start(port) as balancer:
        assert {ask(port) for _ in range(7)} == {b"a\n"}
        assert "version 2" in script(balancer, "swap", "app", "two.lua")
        assert {ask(port) for _ in range(4)} == {b"b\n"}
        status = balancer.admin("status")
        assert status["pools"][0]["policy"] == status["scripts"][0]["name"]
        assert status["pools"][0]["policy"].endswith("/two.lua")
        balancer.wait_line("picks 10")
        assert roles(balancer) == {"current": 2, "previous": 1}
        assert "version 1" in script(balancer, "rollback", "app")
        assert {ask(port) for _ in range(5)} == {b"a\n"}
        balancer.wait_line("picks 15")
        stats = balancer.at_rest()
        pool = stats["pools"]["app"]
        assert pool["sessions_total"] == pool["picks_total"] == 16 and pool["fallbacks_total"] == 0
        assert pool["versions"]["current"]["number"] == 1


def test_a_bad_script_is_refused_and_the_old_one_goes_on():
    port = free_port()
    bad = {
        "syntax.lua": "return {",
        "kind.lua": AT.replace('"policy"', '"check"') % 1,
        "new.lua": 'return {api = 1, kind = "policy", name = "x", new = function() error("no") end}',
        "pick.lua": 'return {api = 1, kind = "policy", name = "x", new = function() return {pick = '
                    'function() return 7 end} end}',
        "loop.lua": "while true do end",
    }
    with start(port, scripts=bad) as balancer:
        for name, word in [("syntax.lua", "syntax.lua:1"), ("kind.lua", "this is a check"),
                           ("new.lua", "no"), ("pick.lua", "number value"),
                           ("loop.lua", "it was stopped")]:
            assert word in script(balancer, "swap", "app", name, ok=False)
        line = json.loads(balancer.wait_line("syntax.lua:1"))
        assert line["message"] == line["message"].strip(), "one line, without its end"
        assert "no stock policy 'least-con'" in script(balancer, "swap", "app", "least-con", ok=False)
        assert "no pool 'ap'" in script(balancer, "swap", "ap", "two.lua", ok=False)
        assert "no shadow" in script(balancer, "promote", "app", ok=False)
        assert "no version before" in script(balancer, "rollback", "app", ok=False)
        assert {ask(port) for _ in range(5)} == {b"a\n"}
        assert roles(balancer) == {"current": 1}


def test_options_are_those_of_the_pool():
    port = free_port()
    policy = {"script": "./one.lua", "with": {"at": 3}}
    other = 'return {api = 1, kind = "policy", name = "x", new = function() return {pick = ' \
            'function(self, ctx, pool) return pool[1] end} end}'
    with start(port, names="abc", policy=policy, scripts={"other.lua": other}) as balancer:
        assert ask(port) == b"c\n"
        script(balancer, "swap", "app", "two.lua")
        assert ask(port) == b"c\n", "it has the configured one's name"
        script(balancer, "swap", "app", "other.lua")
        assert ask(port) == b"a\n", "another script: those options are not for it"
        script(balancer, "shadow", "app", "round-robin")  # no stock policy has an option `at`
        script(balancer, "drop", "app")
        script(balancer, "swap", "app", "least-conn")


LISTED = """
return {
  api = 1, kind = "policy", name = "listed",
  options = { places = { type = "list", of = "integer", required = true } },
  new = function(options)
    return { pick = function(self, ctx, pool) return pool[options.places[2]] end }
  end,
}
"""


def test_a_list_is_given_with_the_command():
    port = free_port()
    with start(port, names="abc", scripts={"listed.lua": LISTED}) as balancer:
        script(balancer, "swap", "app", "listed.lua", "--with", "places=[1,3]")
        assert ask(port) == b"c\n"
        assert "whole number" in script(balancer, "swap", "app", "listed.lua", "--with", "places=[1,x]",
                                   ok=False)
        assert "list" in script(balancer, "swap", "app", "listed.lua", "--with", "places=1", ok=False)
        assert ask(port) == b"c\n"


def test_options_are_given_with_the_command():
    port = free_port()
    policy = {"script": "./one.lua", "with": {"at": 2}}
    with start(port, names="abc", policy=policy) as balancer:
        assert "it has no" not in script(balancer, "swap", "app", "two.lua", "--with", "at=3")
        assert ask(port) == b"c\n"
        script(balancer, "shadow", "app", "two.lua", "1", "--with", "at=1")
        script(balancer, "promote", "app")
        assert ask(port) == b"a\n"
        script(balancer, "rollback", "app")
        assert ask(port) == b"c\n", "a version keeps its options"
        assert "number" in script(balancer, "swap", "app", "two.lua", "--with", "at=yes", ok=False)
        assert "'att'" in script(balancer, "swap", "app", "two.lua", "--with", "att=1", ok=False)
        for words, why in [(["--with", "at"], "KEY=VALUE"), (["--with", "=1"], "KEY=VALUE"),
                           (["--with", "at=1", "--with", "at=2"], "given twice"),
                           (["--with", "at=1 2"], "not one word"),
                           (["3"], "only --with KEY=VALUE may stand"),
                           ([word for i in range(25) for word in ("--with", f"a{i}=1")], "at most")]:
            assert why in script(balancer, "swap", "app", "two.lua", *words, ok=False)
        assert "--with is for" in balancer.admin("status", "--with", "a=1", ok=False)
        assert roles(balancer)["current"] == 2


def test_a_shadow_is_only_counted():
    port = free_port()
    with start(port, workers=2) as balancer:
        assert "version 2" in script(balancer, "shadow", "app", "two.lua")
        assert {ask(port) for _ in range(20)} == {b"a\n"}
        balancer.at_rest()
        answer = balancer.admin("script", "list", "app")
        shadow = answer["shadows"][0]
        assert shadow["asked_total"] == 20 and shadow["agreed_total"] == 0
        assert shadow["failed_total"] == 0 and shadow["worst_backend"] == "b"
        assert shadow["worst_times_fair"] == 2 and shadow["shadow_ns"] > 0
        shares = {row["backend"]: row["shadow_picks_total"] for row in answer["shares"]}
        assert shares == {"a": 0, "b": 20}
        assert balancer.pool()["versions"]["shadow"]["number"] == 2
        assert balancer.pool()["shadow"]["asked_total"] == 20
        assert "shadow version 2" in balancer.get("/")[-1]

        assert "version 2" in script(balancer, "promote", "app")
        assert {ask(port) for _ in range(10)} == {b"b\n"}
        assert roles(balancer) == {"current": 2, "previous": 1}
        assert balancer.admin("script", "list")["shadows"] == []


def test_a_shadow_takes_no_turn_from_the_current_policy():
    """Both take turns among equals; the shadow's turns are not the current one's."""
    port = free_port()
    with start(port, policy="least-conn") as balancer:
        script(balancer, "shadow", "app", "least-conn")
        answers = []
        for _ in range(20):
            answers.append(ask(port))
            balancer.at_rest()
        assert answers.count(b"a\n") == answers.count(b"b\n") == 10
        shadow = balancer.admin("script", "list")["shadows"][0]
        assert shadow["asked_total"] == shadow["agreed_total"] == 20


def test_a_shadow_may_do_what_it_wants():
    """It fails, it runs away, it is sampled, it is dropped: the sessions go where they went."""
    port = free_port()
    scripts = {"fails.lua": FAILS % 'error("never")', "loops.lua": FAILS % "while true do end"}
    with start(port, scripts=scripts) as balancer:
        for name, sample, asked in [("fails.lua", "1", 12), ("loops.lua", "1", 12),
                                    ("two.lua", "4", 3)]:
            script(balancer, "shadow", "app", name, sample)
            assert {ask(port) for _ in range(12)} == {b"a\n"}
            balancer.at_rest()
            shadow = balancer.admin("script", "list")["shadows"][0]
            assert shadow["asked_total"] == asked
            assert shadow["failed_total"] == (0 if name == "two.lua" else 12)
            script(balancer, "drop", "app")
        line = balancer.wait_line("never")
        assert "fails.lua (shadow of app) failed" in line, "who reads the log knows it is no harm"
        balancer.wait_line("loops.lua .shadow of app.: it was stopped")
        pool = balancer.pool()
        assert pool["fallbacks_total"] == 0 and pool["policy_errors_total"] == 0
        assert {ask(port) for _ in range(5)} == {b"a\n"}


@pytest.mark.parametrize("body,why", [('error("not today")', "failed"), ("return 7", "failed"),
                                      ("while true do end", "stopped too often")])
def test_a_version_that_fails_goes_away_by_itself(body, why):
    port = free_port()
    with start(port, scripts={"fails.lua": FAILS % body}, rollback_errors=5) as balancer:
        script(balancer, "swap", "app", "fails.lua")
        eventually(lambda: ask(port) and roles(balancer) == {"current": 1, "failed": 2},
                   "it returns to version 1")
        line = json.loads(balancer.wait_line('"event":"rollback"'))
        assert why in line["message"] and line["pool"] == "app"
        assert body in balancer.admin("script", "show", "app", "failed", plain=True)
        before = balancer.pool()["fallbacks_total"]
        assert {ask(port) for _ in range(10)} == {b"a\n"}
        assert balancer.pool()["fallbacks_total"] == before
        web = balancer.at_rest()["listeners"]["web"]
        assert web["sessions_total"] == web["ended"]["done"], "no session noticed"
        assert "failed, returned to version 1" in balancer.get("/")[-1]


def test_it_returns_after_a_reload_too():
    """The configuration stays; the pool's policy is the one from before it."""
    port = free_port()
    with start(port, scripts={"fails.lua": FAILS % 'error("x")'}, rollback_errors=5) as balancer:
        ask(port)
        config = web_over([Server(serve_name, name) for name in "ab"], port,
                          policy={"script": "./fails.lua"})
        balancer.reload({**config, "workers": 2, "lua": {"rollback_errors": 5}})
        eventually(lambda: ask(port) and roles(balancer) == {"current": 1, "failed": 2})
        assert {ask(port) for _ in range(10)} == {b"a\n"}


def test_a_worker_that_is_used_no_more_is_not_held_against_the_new_version():
    port = free_port()
    with start(port, workers=2, policy={"script": "./fails.lua"}, overruns=1,
               scripts={"fails.lua": FAILS % "while true do end"}) as balancer:
        eventually(lambda: ask(port) and balancer.pool()["policy_out_workers"] == 2)
        config = web_over([Server(serve_name, name) for name in "ab"], port,
                          policy={"script": "./two.lua"})
        balancer.reload({**config, "workers": 1})
        assert balancer.pool()["policy_out_workers"] == 0
        settled(lambda: roles(balancer), still=0.6)  # longer than between two looks
        assert roles(balancer) == {"current": 2, "previous": 1}
        assert {ask(port) for _ in range(5)} == {b"b\n"}


def test_a_session_from_before_a_reload_is_not_held_against_the_new_version(black_hole):
    """It dials on, and asks the policy of then again, which is out."""
    port = free_port()
    live = Server(serve_name, "live")
    config = {**web_over([live], port, policy={"script": "./fails.lua"}), "workers": 1,
              "timeouts": {"connect": "1s"}, "lua": {"overruns": 1}}
    config["pools"]["app"]["backends"] = {"hole": black_hole, "live": live.text}
    with Alacrity(config, scripts={"fails.lua": FAILS % "while true do end",
                                   "two.lua": AT % 2}) as balancer:
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            waiting = [threads.submit(ask, port) for _ in range(2)]  # one is dialled to the hole
            eventually(lambda: balancer.listener()["sessions_active"] == 1 and
                       balancer.pool()["policy_out_workers"] == 1)
            config["pools"]["app"]["policy"]["script"] = "./two.lua"
            balancer.reload(config)
            assert [one.result() for one in waiting] == [b"live\n"] * 2
        assert balancer.pool()["policy_out_total"] >= 1, "it asked the old one"
        settled(lambda: roles(balancer), still=0.6)
        assert roles(balancer) == {"current": 2, "previous": 1}


def test_a_pipe_is_no_script():
    """Nobody may ever write to it: what reads it would wait for ever."""
    port = free_port()
    with start(port) as balancer:
        os.mkfifo(balancer.folder / "pipe.lua")
        assert "no regular file" in script(balancer, "swap", "app", "pipe.lua", ok=False)
        assert "live" in balancer.reload()


# Takes its time to be constructed, and says when it begins to.
SLOW = """
return { api = 1, kind = "policy", name = "slow", new = function()
  print("the slow one begins")
  local now = require("alacrity").now
  local ends = now() + 1.5
  while now() < ends do end
  return { pick = function(self, ctx, pool) return pool[1] end }
end }
"""


def test_what_fails_while_a_reload_is_built_is_not_returned_to():
    """The wish to go back must not outlive the version it is about."""
    port = free_port()
    with start(port, scripts={"fails.lua": FAILS % 'error("x")', "slow.lua": SLOW}) as balancer:
        script(balancer, "swap", "app", "fails.lua")
        config = web_over([Server(serve_name, name) for name in "ab"], port,
                          policy={"script": "./one.lua"})
        config["pools"]["other"] = {**config["pools"]["app"], "policy": {"script": "./slow.lua"}}
        config = {**config, "workers": 1, "lua": {"budget": "1m"}}
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            reload = threads.submit(balancer.reload, config)
            balancer.wait_line("the slow one begins")
            for _ in range(15):
                ask(port)
            reload.result()
        script(balancer, "shadow", "app", "round-robin")  # waits behind whatever was wished for
        assert roles(balancer) == {"current": 3, "previous": 2, "kept": 1, "shadow": 4}
        assert not any('"event":"rollback"' in line for line in balancer.lines)


def test_a_reload_puts_the_configuration_back():
    port = free_port()
    with start(port) as balancer:
        script(balancer, "swap", "app", "two.lua")
        assert ask(port) == b"b\n"
        balancer.reload()
        assert ask(port) == b"a\n"
        assert roles(balancer) == {"current": 3, "previous": 2, "kept": 1}
        balancer.reload()
        assert roles(balancer) == {"current": 3, "previous": 2, "kept": 1}, "the same text is the same version"


def test_the_source_is_kept():
    """The file may change or go: the version is what was published."""
    port = free_port()
    with start(port) as balancer:
        script(balancer, "swap", "app", "two.lua")
        (balancer.folder / "one.lua").write_text("gone")
        assert balancer.admin("script", "show", "app", "1", plain=True) == AT % 1
        assert balancer.admin("script", "show", "app")["text"] == AT % 2
        script(balancer, "rollback", "app")
        assert ask(port) == b"a\n"


SWAPS = 1000 if FULL else 60


@pytest.mark.heavy
@pytest.mark.bound(240 if FULL else 90)
def test_many_swaps_under_load():
    """500 connections a second and a swap after the other: 0 failed, no growth, counts exact."""
    servers = [ServerProcess(serve_name, name) for name in "ab"]
    port = free_port()
    config = {**web_over(servers, port, policy={"script": "./one.lua"}), "workers": 2}
    with Alacrity(config, scripts={"one.lua": AT % 1, "two.lua": AT % 2}) as balancer:
        with Load(lambda _: ask(port) in (b"a\n", b"b\n"), threads=16,
                  per_second=500 / PATIENCE) as load:
            for number in range(SWAPS):
                script(balancer, "swap", "app", ("two.lua", "one.lua")[number % 2])
                if number == SWAPS // 4:
                    before = balancer.rss()
            load.wait_done(200 // PATIENCE)
        assert load.failures == []
        stats = balancer.at_rest()
        pool, web = stats["pools"]["app"], stats["listeners"]["web"]
        assert pool["fallbacks_total"] == 0
        assert web["sessions_total"] == web["ended"]["done"] == pool["sessions_total"]
        assert pool["picks_total"] == pool["sessions_total"]
        assert SANITIZED or balancer.rss() < before + 4096, "KiB"  # a sanitizer keeps what was freed
        assert pool["versions"]["current"]["number"] == SWAPS + 1


def test_diff():
    port = free_port()
    with start(port) as balancer:
        script(balancer, "shadow", "app", "two.lua")
        shown = balancer.admin("script", "diff", "app", plain=True)
        two = f"({balancer.folder}/two.lua)"
        assert shown.startswith(f"--- version 1 (./one.lua), current\n+++ version 2 {two}, shadow\n")
        assert "default = 1" in shown and "default = 2" in shown
        script(balancer, "promote", "app")
        shown = balancer.admin("script", "diff", "app", plain=True)
        assert "--- version 1 (./one.lua), previous\n+++ version 2" in shown and "current\n" in shown
        shown = balancer.admin("script", "diff", "app", "1", "2", plain=True)
        assert shown.startswith(f"--- version 1 (./one.lua)\n+++ version 2 {two}\n")
        assert balancer.admin("script", "diff", "app", "current", "current", plain=True) == ""
        for versions, missing in [("9", "8"), "9"], [("2", "8"), "8"], [("2",), "shadow"]:
            told = balancer.admin("script", "diff", "app", *versions, ok=False, plain=True)
            assert f"{missing}: the pool has no such version" in told, "it says which"
        assert "no such pool" in balancer.admin("script", "diff", "ap", ok=False, plain=True)


def test_diff_with_a_version_that_failed():
    """It is not the previous one, and is never shown as that."""
    port = free_port()
    with start(port, scripts={"fails.lua": FAILS % 'error("x")'}, rollback_errors=2) as balancer:
        told = balancer.admin("script", "diff", "app", ok=False, plain=True)
        assert "previous: the pool has no such version" in told
        script(balancer, "swap", "app", "fails.lua")
        eventually(lambda: ask(port) and roles(balancer) == {"current": 1, "failed": 2})
        shown = balancer.admin("script", "diff", "app", plain=True)
        assert "--- version 2 (" in shown and ", failed\n+++ version 1 (./one.lua), current" in shown
        told = balancer.admin("script", "show", "app", "previous", ok=False, plain=True)
        assert "no such version" in told


def test_what_failed_is_not_rolled_back_to():
    """Neither by itself nor by hand: it has to be swapped in again."""
    port = free_port()
    with start(port, scripts={"fails.lua": FAILS % 'error("x")'}, rollback_errors=3) as balancer:
        script(balancer, "swap", "app", "fails.lua")
        eventually(lambda: ask(port) and roles(balancer) == {"current": 1, "failed": 2})
        assert "a version that failed" in script(balancer, "rollback", "app", ok=False)
        assert roles(balancer) == {"current": 1, "failed": 2}
        script(balancer, "swap", "app", "two.lua")
        assert roles(balancer) == {"current": 3, "previous": 1, "failed": 2}
        script(balancer, "rollback", "app")
        assert roles(balancer) == {"current": 1, "previous": 3, "failed": 2}, "by hand is no failure"
        script(balancer, "rollback", "app")
        assert roles(balancer) == {"current": 3, "previous": 1, "failed": 2}


def numbers(balancer, pool="app"):
    return [(version["role"], version["version"])
            for version in balancer.admin("script", "list", pool)["versions"]]


def fail(balancer, port, name, number):
    """Swaps it in, and sees it out."""
    script(balancer, "swap", "app", name)
    eventually(lambda: ask(port) and ("failed", number) in numbers(balancer))


def test_some_versions_are_kept_and_can_be_returned_to():
    port = free_port()
    with start(port, names="abc", scripts={"three.lua": AT % 3, "fails.lua": FAILS % 'error("x")'},
               rollback_errors=3) as balancer:
        script(balancer, "swap", "app", "two.lua")
        fail(balancer, port, "fails.lua", 3)
        assert numbers(balancer) == [("current", 2), ("failed", 3), ("previous", 1)]
        assert "version 1" in script(balancer, "rollback", "app"), "also after one has failed"
        assert ask(port) == b"a\n"
        script(balancer, "swap", "app", "three.lua")
        assert ask(port) == b"c\n"
        assert "version 2" in script(balancer, "rollback", "app", "2")
        assert ask(port) == b"b\n"
        assert numbers(balancer) == [("current", 2), ("previous", 4), ("kept", 1), ("failed", 3)]
        assert balancer.admin("script", "show", "app", "1", plain=True) == AT % 1
        assert "default = 1" in balancer.admin("script", "diff", "app", "1", "4", plain=True)
        assert "in force" in script(balancer, "rollback", "app", "2", ok=False)
        assert "no version '9'" in script(balancer, "rollback", "app", "9", ok=False)
        assert "version 3" in script(balancer, "rollback", "app", "3"), "who names it may have it"
        eventually(lambda: ask(port) and numbers(balancer)[:2] == [("current", 2), ("failed", 3)])


def test_failures_do_not_push_the_good_version_out():
    port = free_port()
    scripts = {f"fails{number}.lua": FAILS % f'error("{number}")' for number in range(6)}
    with start(port, scripts=scripts, rollback_errors=3) as balancer:
        script(balancer, "swap", "app", "two.lua")
        for number in range(6):
            fail(balancer, port, f"fails{number}.lua", number + 3)
        assert numbers(balancer) == [("current", 2), ("failed", 8), ("failed", 7), ("failed", 6),
                                     ("previous", 1)]
        assert "version 1" in script(balancer, "rollback", "app")
        assert ask(port) == b"a\n"


def test_a_reload_does_not_bring_back_what_failed():
    port = free_port()
    module = 'return {say = function() error("as configured") end}'
    fails = FAILS % 'require("said").say()'
    with start(port, rollback_errors=3,
               scripts={"fails.lua": fails.replace("return {", 'local _ = require("said")\nreturn {', 1),
                        "said.lua": module}) as balancer:
        config = {**web_over([Server(serve_name, name) for name in "ab"], port,
                             policy={"script": "./fails.lua"}),
 "workers": 1, "lua": {"rollback_errors": 3, "path": ["."]}}
        assert "version" not in balancer.reload(config)
        eventually(lambda: ask(port) and roles(balancer) == {"current": 1, "failed": 2})
        config["pools"]["app"]["backends"].pop("b")  # about something else
        for workers in (1, 2):
            config["workers"] = workers
            answer = balancer.reload(config)
            assert "pool app: ./fails.lua failed at 2" in answer
            assert "its text has not changed: version 1 (./one.lua) stays" in answer
            assert "`alacrity script swap app ./fails.lua`" in answer
            before = balancer.pool()
            assert {ask(port) for _ in range(6)} == {b"a\n"}
            after = balancer.pool()
            assert after["policy_errors_total"] == before["policy_errors_total"]
            assert after["picks_total"] - before["picks_total"] == 6, "it is asked"
        balancer.wait_line("its text has not changed")
        assert roles(balancer) == {"current": 1, "failed": 2}
        # It can be swapped in all the same, and is the configured one then.
        script(balancer, "swap", "app", "fails.lua")
        assert roles(balancer)["current"] == 3
        eventually(lambda: ask(port) and roles(balancer) == {"current": 1, "failed": 3})
        # A text that has changed is tried, also when only a file that it requires has.
        (balancer.folder / "said.lua").write_text("return {say = function() end}")
        assert "stays" not in balancer.reload(config)
        assert roles(balancer) == {"current": 4, "previous": 1, "failed": 3}


def test_a_reload_with_other_options_tries_it():
    port = free_port()
    fails = FAILS.replace('name = "fails",', 'name = "fails", options = { n = { type = "number" } },')
    policy = {"script": "./fails.lua", "with": {"n": 1}}
    with start(port, scripts={"fails.lua": fails % 'error("x")'}, rollback_errors=3) as balancer:
        config = {**web_over([Server(serve_name, name) for name in "ab"], port, policy=policy),
                  "workers": 1, "lua": {"rollback_errors": 3}}
        balancer.reload(config)
        eventually(lambda: ask(port) and roles(balancer) == {"current": 1, "failed": 2})
        assert "stays" in balancer.reload(config)
        policy["with"]["n"] = 2
        assert "stays" not in balancer.reload(config)
        assert roles(balancer)["current"] == 3


COUNTS = """
local t = require("alacrity").shared("t")
return { api = 1, kind = "policy", name = "counts", new = function() return {
  pick = function(self, ctx, pool) print("picked " .. t:incr("picks")) return pool[1] end } end }
"""


def test_what_stays_over_a_reload_acts_as_before():
    port = free_port()
    with start(port, policy={"script": "./counts.lua"}, rollback_errors=3,
               scripts={"counts.lua": COUNTS, "fails.lua": FAILS % 'error("x")'}) as balancer:
        config = {**web_over([Server(serve_name, name) for name in "ab"], port,
                             policy={"script": "./fails.lua"}),
                  "workers": 1, "lua": {"rollback_errors": 3}}
        balancer.reload(config)
        eventually(lambda: ask(port) and roles(balancer) == {"current": 1, "failed": 2})
        assert "stays" in balancer.reload(config)
        for _ in range(12):
            ask(port)
        balancer.wait_line("picked 12")
        script(balancer, "swap", "app", "two.lua")  # what stayed can be replaced, too
        assert ask(port) == b"b\n"


# Of ten picks that are no trial, so many do not end well.
NOW_AND_THEN = """
return { api = 1, kind = "policy", name = "now-and-then", new = function()
  local picks = 0
  return { pick = function(self, ctx, pool)
    picks = picks + (ctx.listener == "trial" and 0 or 1)
    if picks %% 10 < %d and ctx.listener ~= "trial" then %s end
    return pool[2]
  end } end }
"""


@pytest.mark.parametrize("count,body,why", [
    (1, 'error("x")', None), (2, 'error("x")', "of 20 picks, 4 failed (4 errors or nonsense, 0 while"),
    (2, "return 7", "of 20 picks, 4 failed (4 errors"), (9, "return nil", None),
    (10, "if picks == 30 then while true do end end", "stopped too often: of 32 picks, 3 failed"),
])
def test_a_shadow_that_fails_is_not_promoted(count, body, why):
    port = free_port()
    with start(port, scripts={"some.lua": NOW_AND_THEN % (count, body)}, overruns=1) as balancer:
        script(balancer, "shadow", "app", "some.lua")
        for _ in range(32 if "while" in body else 20):
            ask(port)
        balancer.at_rest()
        shadow = balancer.admin("script", "list")["shadows"][0]
        kinds = {"error": "errors_total", "return 7": "errors_total", "return nil": "nil_total",
                 "if": "stopped_total"}
        for word, key in kinds.items():
            if body.startswith(word):
                assert shadow[key] == shadow["failed_total"] > 1
        assert shadow["state"] == ("out" if "while" in body else "running")
        if why:
            answer = script(balancer, "promote", "app", ok=False)
            assert why in answer and "script promote app --force" in answer
            assert roles(balancer) == {"current": 1, "shadow": 2}
            script(balancer, "promote", "app", None, "--force")
        else:
            script(balancer, "promote", "app")
        assert roles(balancer) == {"current": 2, "previous": 1}
        assert "--force is for" in balancer.admin("script", "drop", "app", "--force", ok=False)


def test_a_stock_script_is_shown():
    port = free_port()
    with start(port, policy="round-robin") as balancer:
        text = (ROOT / "scripts/policies/round-robin.lua").read_text(encoding="utf-8")
        assert balancer.admin("script", "show", "app", plain=True) == text
        assert balancer.admin("script", "show", "app")["text"] == text
        script(balancer, "shadow", "app", "two.lua")
        assert "+" + (AT % 2).splitlines()[1] in balancer.admin("script", "diff", "app", plain=True)
