"""on_close: policies hear how sessions ended; what a session keeps reaches its log line."""
import collections
import json
import time

import pytest

from support import (QUESTION, SANITIZED, Alacrity, Server, ServerProcess, ask, dead_address, dial, eventually,
                     free_port, read_all, reset, serve_name, web_over)

HEAD = """
local alacrity = require "alacrity"
local ends = alacrity.shared("ends")
return {api = 1, kind = "policy", name = "%s",
new = function()
  return {
"""
TAIL = "  }\nend}\n"
COUNTING = """
    pick = function(self, ctx, pool)
      ends:incr("pick", 1, 0)
      return pool:least()
    end,
    on_close = function(self, closed)
      ends:incr("%s " .. closed.reason .. " " .. (closed.backend and closed.backend.name or "none"), 1, 0)
      ends:incr("in", closed.bytes_in, 0)
      ends:incr("out", closed.bytes_out, 0)
      ends:incr("attempts", closed.attempts, 0)
    end,
"""
# A service that tells what the policies counted.
TELL = """
local alacrity = require "alacrity"
local json = require("alacrity.format").json
local ends = alacrity.shared("ends")
return {api = 1, kind = "service", name = "tell", new = function() return {
  serve = function(self, request) return 200, "text/plain", tostring(ends:get(request.path:sub(2):gsub("%%20", " ")) or 0) end}
end}
"""


def script(body, name="mine"):
    return HEAD % name + body + TAIL


def config(servers, port, **pool):
    made = web_over(servers, port, policy={"script": "./mine.lua"}, **pool)
    made["listeners"]["tell"] = {"bind": f"127.0.0.1:{free_port()}", "service": {"script": "./tell.lua"}}
    return made


def address_of(made):
    return int(made["listeners"]["tell"]["bind"].rpartition(":")[2])


def told(made, key):
    answer = ask(address_of(made), f"GET /{key.replace(' ', '%20')} HTTP/1.0\r\n\r\n".encode())
    return float(answer.split(b"\r\n\r\n")[1])


def ask_on(connection):
    with connection:
        connection.sendall(QUESTION)
        return read_all(connection)


def test_each_session_is_told_once_with_its_end():
    servers, port = [Server(serve_name, "a")], free_port()
    made = config(servers, port)
    scripts = {"mine.lua": script(COUNTING % "v1"), "tell.lua": TELL}
    with Alacrity(made, scripts=scripts) as balancer:
        for _ in range(40):
            assert ask(port) == b"a\n"
        eventually(lambda: told(made, "v1 done a") == 40)
        assert (told(made, "pick"), told(made, "in"), told(made, "out")) == (40, 40 * 32, 40 * 2)
        assert told(made, "attempts") == 40
        connection = dial(port)
        eventually(lambda: balancer.backend("a")["active"] == 1)
        reset(connection)
        eventually(lambda: told(made, "v1 client_reset a") == 1)
        assert balancer.at_rest()["pools"]["app"]["policy_errors_total"] == 0


def test_who_was_never_connected_is_told_without_a_backend():
    port = free_port()
    made = web_over([], port, policy={"script": "./mine.lua"}, retries=1)
    made["pools"]["app"]["backends"] = {"x": dead_address(), "y": dead_address()}
    made["listeners"]["tell"] = {"bind": f"127.0.0.1:{free_port()}", "service": {"script": "./tell.lua"}}
    scripts = {"mine.lua": script(COUNTING % "v1"), "tell.lua": TELL}
    with Alacrity(made, scripts=scripts):
        assert ask(port) == b""
        eventually(lambda: told(made, "v1 connect_failed none") == 1)
        assert told(made, "attempts") == 2


@pytest.mark.parametrize("how", ["swap", "reload"])
def test_the_version_then_current_is_told(how):
    servers, port = [Server(serve_name, "a")], free_port()
    made = config(servers, port)
    scripts = {"mine.lua": script(COUNTING % "v1"), "tell.lua": TELL,
               "next.lua": script(COUNTING % "v2")}
    with Alacrity(made, scripts=scripts) as balancer:
        before = dial(port)
        eventually(lambda: balancer.backend("a")["active"] == 1)
        if how == "swap":
            balancer.admin("script", "swap", "app", balancer.folder / "next.lua")
        else:
            balancer.put("mine.lua", scripts["next.lua"])
            balancer.admin("reload")
        assert ask_on(before) == b"a\n"
        eventually(lambda: told(made, "v2 done a") == 1)
        assert told(made, "v1 done a") == 0


def test_a_worker_that_is_not_wanted_any_more_still_tells():
    """Its sessions go on, and end as any others, also after a swap; it does nothing else."""
    servers, port = [Server(serve_name, "a")], free_port()
    made = config(servers, port)
    ticking = COUNTING % "v2" + "}, alacrity.every(0.02, function() ends:incr('ticks', 1, 0) end), {"
    scripts = {"mine.lua": script(COUNTING % "v1"), "tell.lua": TELL, "next.lua": script(ticking)}
    with Alacrity({**made, "workers": 3}, scripts=scripts) as balancer:
        before = [dial(port) for _ in range(40)]
        eventually(lambda: balancer.backend("a")["active"] == 40)
        shares = [worker["sessions"] for worker in balancer.stats()["workers"]]
        assert len(shares) == 3 and all(shares), "each has some"
        balancer.reload({**made, "workers": 1})
        for connection in before[:20]:
            assert ask_on(connection) == b"a\n"
        eventually(lambda: told(made, "v1 done a") == 20)
        balancer.admin("script", "swap", "app", balancer.folder / "next.lua")
        for connection in before[20:]:
            assert ask_on(connection) == b"a\n"
        eventually(lambda: told(made, "v2 done a") == 20)
        ticks, began = told(made, "ticks"), time.monotonic()
        eventually(lambda: told(made, "ticks") >= ticks + 20)
        assert told(made, "ticks") - ticks <= (time.monotonic() - began) / 0.02 + 2, "one worker's"
        balancer.reload({**made, "workers": 3})
        for _ in range(20):
            assert ask(port) == b"a\n"
        eventually(lambda: told(made, "v1 done a") == 40)


def test_an_error_in_it_harms_no_session_and_is_counted():
    servers, port = [Server(serve_name, "a")], free_port()
    text = script("pick = function(s, c, pool) return pool[1] end,\n"
                  "on_close = function(s, closed) if closed.listener ~= 'trial' then error('boom') end end,")
    with Alacrity(config(servers, port), scripts={"mine.lua": text, "tell.lua": TELL}) as balancer:
        for _ in range(5):
            assert ask(port) == b"a\n"
        pool = balancer.at_rest()["pools"]["app"]
        assert pool["policy_errors_total"] == 5 and pool["fallbacks_total"] == 0
        line = json.loads(balancer.wait_line(r"on_close of"))
        assert "mine.lua:" in line["message"] and "boom" in line["message"]


def test_a_version_that_fails_in_it_is_rolled_back():
    servers, port = [Server(serve_name, "a")], free_port()
    bad = script("pick = function(s, c, pool) return pool[1] end,\n"
                 "on_close = function(s, closed) if closed.listener ~= 'trial' then error('boom') end end,",
                 "bad")
    made = config(servers, port)
    scripts = {"mine.lua": script(COUNTING % "v1"), "bad.lua": bad, "tell.lua": TELL}
    with Alacrity(made, scripts=scripts) as balancer:
        balancer.admin("script", "swap", "app", balancer.folder / "bad.lua")
        for _ in range(20):
            assert ask(port) == b"a\n"
        balancer.wait_line('"event":"rollback"')
        balancer.wait_line("back to version 1")
        eventually(lambda: ask(port) == b"a\n" and told(made, "v1 done a") >= 1)


def test_one_that_does_not_come_back_is_stopped():
    servers, port = [Server(serve_name, "a")], free_port()
    text = script("pick = function(s, c, pool) return pool[1] end,\n"
                  "on_close = function(s, closed) while closed.listener ~= 'trial' do end end,")
    with Alacrity(config(servers, port), scripts={"mine.lua": text, "tell.lua": TELL}) as balancer:
        for _ in range(10):
            assert ask(port) == b"a\n"
        pool = balancer.at_rest()["pools"]["app"]
        assert pool["policy_overruns_total"] >= 1
        balancer.wait_line(r'"hook":"on_close"')


def put(made, key, value):
    """Has the service of GATE set a number, or take it away."""
    ask(address_of(made), f"GET /{key}={value} HTTP/1.0\r\n\r\n".encode())


GATE = TELL.replace("serve = function(self, request)", """serve = function(self, request)
    local key, value = request.path:match("^/(.+)=(.*)$")
    if value == "" then ends:delete(key) elseif value then ends:set(key, tonumber(value)) end""")


@pytest.mark.skipif(SANITIZED == "tsan", reason="nothing can be stopped under ThreadSanitizer")
def test_who_was_never_asked_about_is_not_told():
    """Sessions that came while the state was made anew, and got their backend from the fallback."""
    servers, port = [Server(serve_name, "a")], free_port()
    text = script("""
      pick = function(self, ctx, pool)
        ends:incr("asked", 1, 0)
        while ends:get("run") do end
        return pool[1]
      end,
      on_close = function(self, closed) ends:incr("told", 1, 0) end,""").replace(
          "new = function()", "new = function() while ends:get('hold') do end")
    made = {**config(servers, port), "workers": 1, "lua": {"overruns": 0, "budget": "20s"}}
    with Alacrity(made, scripts={"mine.lua": text, "tell.lua": GATE}) as balancer:
        put(made, "hold", 1)
        put(made, "run", 1)
        before = [dial(port) for _ in range(8)]
        eventually(lambda: balancer.pool()["policy_resting_total"] == 7)
        put(made, "run", "")
        put(made, "hold", "")
        eventually(lambda: ask(port) == b"a\n" and told(made, "told") > 0, "it is asked again")
        assert [ask_on(connection) for connection in before] == [b"a\n"] * 8
        balancer.at_rest()
        # The one in whose pick it was stopped is told, those after it are not.
        assert told(made, "told") == balancer.pool()["picks_total"]


def test_what_a_session_keeps_is_seen_by_later_picks_and_in_the_log():
    port = free_port()
    made = web_over([], port, policy={"script": "./mine.lua"}, retries=2)
    server = Server(serve_name, "z")
    made["pools"]["app"]["backends"] = {"x": dead_address(), "y": dead_address(), "z": server.text}
    made["log"] = {"sessions": True}
    text = script("""
      pick = function(self, ctx, pool)
        ctx:set("tried", (ctx:get("tried") or "") .. pool[1].name)
        ctx:set("tenant", 'a "b"') ctx:set("paid", true) ctx:set("score", 1.5)
        return pool[1]
      end,
      on_close = function(self, closed)
        if closed.listener ~= "trial" then assert(closed:get("tried") == "xyz") end
      end,""")
    with Alacrity(made, scripts={"mine.lua": text}) as balancer:
        assert ask(port) == b"z\n"
        line = json.loads(balancer.wait_line(r'"event":"session"'))
        kept = {key: value for key, value in line.items() if key.startswith("ctx.")}
        assert kept == {"ctx.tried": "xyz", "ctx.tenant": 'a "b"', "ctx.paid": True, "ctx.score": 1.5}
        assert balancer.at_rest()["pools"]["app"]["policy_errors_total"] == 0


def test_a_shadow_neither_hears_nor_keeps():
    servers, port = [Server(serve_name, "a")], free_port()
    made = config(servers, port)
    other = script("""
      pick = function(self, ctx, pool) ctx:set("shadow", 1) return pool[1] end,
      on_close = function(self, closed) if closed.listener ~= "trial" then error("told") end end,""", "other")
    checks = script("""
      pick = function(self, ctx, pool) return pool[1] end,
      on_close = function(self, closed)
        ends:incr(closed:get("shadow") and "spoilt" or "fine", 1, 0)
      end,""")
    scripts = {"mine.lua": checks, "other.lua": other, "tell.lua": TELL}
    with Alacrity(made, scripts=scripts) as balancer:
        balancer.admin("script", "shadow", "app", balancer.folder / "other.lua")
        for _ in range(10):
            assert ask(port) == b"a\n"
        eventually(lambda: told(made, "fine") == 10)
        assert told(made, "spoilt") == 0
        assert balancer.at_rest()["pools"]["app"]["policy_errors_total"] == 0


@pytest.mark.bound(120)
def test_counts_are_exact_over_many_pools_and_swaps():
    """Ends reach the policy of their own pool, whichever version that is by then."""
    servers = [ServerProcess(serve_name, f"s{i}") for i in range(6)]
    ports = [free_port() for _ in servers]
    body = """
      pick = function(self, ctx, pool) return pool[1] end,
      on_close = function(self, closed)
        if closed.listener == "trial" then return end
        ends:incr(closed.backend.pool_name .. " " .. closed.listener, 1, 0)
      end,"""
    made = {"listeners": {}, "pools": {}}
    for i, (server, port) in enumerate(zip(servers, ports)):
        made["listeners"][f"l{i}"] = {"bind": f"127.0.0.1:{port}", "pool": f"p{i}"}
        made["pools"][f"p{i}"] = {"backends": {"a": server.text}, "policy": (
            {"script": "./mine.lua"} if i % 2 == 0 else "first")}
    made["listeners"]["tell"] = {"bind": f"127.0.0.1:{free_port()}", "service": {"script": "./tell.lua"}}
    with Alacrity(made, scripts={"mine.lua": script(body), "tell.lua": TELL}) as balancer:
        wanted = collections.Counter()
        for turn in range(60):
            i = turn % 6
            assert ask(ports[i]) == f"s{i}\n".encode()
            wanted[i] += i % 2 == 0
            if turn % 7 == 0:
                balancer.admin("script", "swap", "p2", balancer.folder / "mine.lua")
        eventually(lambda: sum(told(made, f"p{i} l{i}") for i in range(6)) == sum(wanted.values()))
        assert {i: told(made, f"p{i} l{i}") for i in range(6)} == {i: wanted[i] for i in range(6)}
