"""A script that never comes back is stopped, wherever it is called from; no session notices, and
everything around it goes on."""
import functools
import json
import pathlib
import re

import pytest

from support import Alacrity, Server, ask, eventually, free_port, serve_name, web_over

HERE = pathlib.Path(__file__).parent
RUNAWAYS = (HERE / "runaways.lua").read_text(encoding="utf-8")
NAMES = re.findall(r'\{ name = "([^"]*)"(, late = true)?', RUNAWAYS)
STOPPED = "policy_overruns_total"
# Nothing can be stopped asynchronously under ThreadSanitizer, and memory has no cap there. A count
# hook finds these only after very long.
LONG_WITHOUT_PROOF = {"load recursion", "gsub recursion", "pcall of itself", "rep of big", "memory strings", "memory rep"}

# Picks the first backend, but for client ports ending in the digits that `when` tells: then it runs
# away in the way that `name` says.
POLICY = """
local kinds = require "runaways"
return { api = 1, kind = "policy", name = "runaway",
  options = { kind = { type = "string", default = "" }, every = { type = "number", default = 2 } },
  new = function(cfg)
    local picks, own = 0, {}
    for i = 1, 100 do own[i] = { i } end
    return { pick = function(self, ctx, pool)
      if ctx.listener == "trial" then return pool[1] end
      picks = picks + 1
      assert(#own == 100)
      if picks % cfg.every == 0 then
        for _, kind in ipairs(kinds) do
          if cfg.kind == kind.name then kind.run() end
        end
      end
      return pool[2]
    end }
  end }
"""


def configuration(servers, port, kind, overruns=0, **lua):
    policy = {"script": "./runaway.lua", "with": {"kind": kind}}
    return {**web_over(servers, port, policy=policy), "workers": 1,
            "lua": {"path": ["."], "overruns": overruns, "memory": "32MiB", **lua}}


def start(config):
    return Alacrity(config, scripts={"runaway.lua": POLICY, "runaways.lua": RUNAWAYS})


@functools.cache
def watchdog_is_proven():
    port = free_port()
    with Alacrity(web_over([Server(serve_name, "a")], port)) as balancer:
        return balancer.admin("status")["watchdog"] == "proven"


@pytest.mark.parametrize("kind,late", NAMES, ids=[name for name, _ in NAMES])
def test_no_session_notices(kind, late):
    """Every second pick runs away; all sessions are served, by policy or fallback."""
    if (late or kind in LONG_WITHOUT_PROOF) and not watchdog_is_proven():
        pytest.skip("a count hook cannot stop a C function")
    port = free_port()
    with start(configuration([Server(serve_name, name) for name in "ab"], port, kind)) as balancer:
        def stopped_thrice():
            assert ask(port) in (b"a\n", b"b\n")
            pool = balancer.pool()
            return pool[STOPPED] + pool["policy_errors_total"] >= 3
        eventually(stopped_thrice, "it is asked again after each stop")
        web = balancer.at_rest()["listeners"]["web"]
        assert web["sessions_total"] == web["ended"]["done"]


def test_it_is_taken_out_when_it_goes_on_and_comes_back_with_a_reload():
    port, other = free_port(), free_port()
    servers = [Server(serve_name, name) for name in "ab"]
    config = configuration(servers, port, "tight", overruns=3)
    config["listeners"]["good"] = {"bind": f"127.0.0.1:{other}", "pool": "good"}
    config["pools"]["good"] = {"backends": config["pools"]["app"]["backends"]}
    with start(config) as balancer:
        eventually(lambda: ask(port) and balancer.pool()["policy_out_total"] > 0, "it is taken out")
        balancer.wait_line("stopped too often")
        pool = balancer.pool()
        assert pool[STOPPED] == 3 and pool["policy_out_workers"] == 1
        assert {ask(port) for _ in range(10)} == {b"a\n", b"b\n"}, "the fallback serves"
        assert {ask(other) for _ in range(10)} == {b"a\n", b"b\n"}
        assert balancer.pool("good")["fallbacks_total"] == 0
        script = balancer.stats()["scripts"][0]
        assert script["state"] == "out" and script["overruns_total"] == 3

        config["pools"]["app"]["policy"]["with"]["kind"] = ""
        balancer.reload(config)
        assert {ask(port) for _ in range(10)} == {b"b\n"}, "the new version is asked"
        pool = balancer.pool()
        assert pool[STOPPED] == 3 and pool["policy_out_workers"] == 0
        web = balancer.at_rest()["listeners"]["web"]
        assert web["sessions_total"] == web["ended"]["done"]


# Fill their memory and swallow LuaJIT's error about it: in compiled code, and so that collecting
# the garbage afterwards needs memory, too.
FILLERS = {
    "compiled": "local t = {} while true do t = {t, tostring(t)} end",
    "litter": "for i = 1, 1e9 do kept, drop = i % 8 == 0 and {kept} or kept, {drop, 'k' .. i} end",
}
FILLS = """
local kept, drop
return { api = 1, kind = "policy", name = "fills", new = function()
  return { pick = function(self, ctx, pool)
    if ctx.listener == "trial" then return pool[1] end
    pcall(function() %s end)
    drop = nil
    return pool[1]
  end }
end }
"""


@pytest.mark.parametrize("how", FILLERS)
def test_who_fills_its_memory_ends_no_process(how):
    if not watchdog_is_proven():
        pytest.skip("memory is not bounded without proof")
    port = free_port()
    config = {**web_over([Server(serve_name, "a")], port, policy={"script": "./fills.lua"}),
              "lua": {"memory": "8MiB", "pick_budget": "10s", "overruns": 0}}
    with Alacrity(config, scripts={"fills.lua": FILLS % FILLERS[how]}) as balancer:
        for _ in range(6):
            assert ask(port) == b"a\n"
        balancer.wait_line("it filled its memory")


def test_the_log_tells():
    port = free_port()
    with start(configuration([Server(serve_name, "a"), Server(serve_name, "b")], port,
                             "tight")) as balancer:
        eventually(lambda: ask(port) and balancer.pool()[STOPPED] > 0)
        line = json.loads(balancer.wait_line("it was stopped"))
        assert "./runaway.lua" in line["message"] and "pick_budget: 10 ms" in line["message"]
        assert line["script"] == "./runaway.lua" and line["hook"] == "pick"
        assert line["cause"] == "budget" and line["cpu_us"] >= 10000
        if watchdog_is_proven():
            assert "runaways.lua:" in line["message"], "where it was"


@pytest.mark.parametrize("where,script", [
    ("main chunk", "while true do end"),
    ("new", 'return {api = 1, kind = "policy", name = "x", new = function() while true do end end}'),
    ("trial pick", 'return {api = 1, kind = "policy", name = "x", new = function() '
                   'return {pick = function() while true do end end} end}'),
])
def test_at_build_it_is_a_message(where, script):
    """`check`, start and reload refuse it; what runs goes on."""
    port = free_port()
    servers = [Server(serve_name, name) for name in "ab"]
    good = web_over(servers, port)
    bad = web_over(servers, port, policy={"script": "./bad.lua"})
    text = Alacrity(bad, scripts={"bad.lua": script}).ended(code=1)
    assert "bad.lua" in text and "it was stopped: it used more than" in text, where
    with Alacrity(good, scripts={"bad.lua": script}) as balancer:
        text = balancer.reload(bad, ok=False)
        assert "it was stopped: it used more than" in text
        assert {ask(port) for _ in range(10)} == {b"a\n", b"b\n"}


def test_a_check_that_runs_away_keeps_the_state():
    """The script's backends stay as they are; other pools' checks, stats and admin go on."""
    port = free_port()
    servers = [Server(serve_name, name) for name in "ab"]
    check = """
local calls = 0
return {api = 1, kind = "check", name = "x", new = function() return {check = function()
  calls = calls + 1
  if calls > 4 then while true do end end
  return "up", "well"
end} end}
"""
    config = web_over(servers, port, check={"type": "./check.lua", "interval": "100ms"})
    config["pools"]["app"]["check"] = {"script": "./check.lua", "interval": "100ms", "fall": 1}
    config["pools"]["other"] = {"backends": {"a": f"127.0.0.1:{servers[0].port}"},
                                "check": {"type": "tcp", "interval": "100ms"}}
    with Alacrity(config, scripts={"check.lua": check}) as balancer:
        balancer.wait_state("a", "up")
        balancer.wait_line("check of ./check.lua: it was stopped")
        before = balancer.backend("a", pool="other")["checks_total"]
        eventually(lambda: balancer.backend("a", pool="other")["checks_total"] > before + 3)
        assert balancer.state("a") == "up"
        assert {ask(port) for _ in range(10)} == {b"a\n", b"b\n"}


def test_a_service_that_runs_away_answers_500_and_then_works():
    port = free_port()
    service = """
return {api = 1, kind = "service", name = "x", new = function() return {serve = function(self, req)
  if req.path == "/loop" then while true do end end
  return 200, "text/plain", "well"
end} end}
"""
    config = web_over([Server(serve_name, "a")], free_port())
    config["listeners"]["page"] = {"bind": f"127.0.0.1:{port}", "service": {"script": "./page.lua"}}
    config["lua"] = {"budget": "50ms", "overruns": 0}
    with Alacrity(config, scripts={"page.lua": service}) as balancer:
        def get(path):
            return ask(port, b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
        for _ in range(3):
            assert get(b"/").endswith(b"well")
            assert get(b"/loop").startswith(b"HTTP/1.1 500")
            eventually(lambda: get(b"/").endswith(b"well"), "its state is made anew")
        page = [script for script in balancer.stats()["scripts"] if script["name"] == "./page.lua"]
        assert page[0]["overruns_total"] == 3 and page[0]["state"] == "running"


def test_reloads_and_stops_at_once():
    """States are lost, made anew and retired at the same time."""
    port = free_port()
    servers = [Server(serve_name, name) for name in "ab"]
    config = {**configuration(servers, port, "tight"), "workers": 2}
    with start(config) as balancer:
        for _ in range(8):
            for _ in range(5):
                assert ask(port) in (b"a\n", b"b\n")
            balancer.reload(config)
        web = balancer.at_rest()["listeners"]["web"]
        assert web["sessions_total"] == web["ended"]["done"]
