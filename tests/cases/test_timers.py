"""alacrity.every, after and spawn in the running balancer: they begin when their version is live,
end with it, and what goes wrong in them hurts nobody."""
import threading
import time

import pytest

from support import (SANITIZED, Alacrity, Server, ask, dial, eventually, free_port, serve_name,
                     settled, web_over)

POLICY = """
local alacrity = require "alacrity"
local t = alacrity.shared("t")
return { api = 1, kind = "policy", name = "timed", new = function(cfg)
  local self = {}
  %s
  function self.pick(_, ctx, pool)
    %s
    return pool[1]
  end
  return self
end }
"""
# Path = what is read, or with `=` what is written; `forget KEY` takes it away.
TABLE = """
local alacrity, net = require "alacrity", require "alacrity.net"
local t = alacrity.shared("t")
return { api = 1, kind = "service", name = "table", new = function(cfg)
  %s
  return { serve = function(self, request)
    local key, value = request.path:match("^/([^=]*)=?(.*)$")
    local gone = key:match("^forget%%%%20(.*)$")
    if gone then t:delete(gone) elseif value ~= "" then t:set(key, tonumber(value) or value) end
    return 200, "text/plain", tostring(t:get(key))
  end }
end }
"""


class Table:
    """A balancer with a policy of the story's own, and the shared dictionary t beside it."""

    def __init__(self, policy=POLICY % ("", ""), service="", names="ab", **more):
        self.port, self.own = free_port(), free_port()
        servers = [Server(serve_name, name) for name in names]
        self.config = {**web_over(servers, self.port, policy={"script": "./timed.lua"}), **more}
        self.config["listeners"]["table"] = {"bind": f"127.0.0.1:{self.own}",
                                             "service": {"script": "./table.lua"}}
        self.balancer = Alacrity(self.config, scripts={"timed.lua": policy,
                                                       "table.lua": TABLE % service})

    def __enter__(self):
        self.balancer.__enter__()
        return self

    def __exit__(self, *what):
        self.balancer.__exit__(*what)

    def read(self, key):
        return ask(self.own, f"GET /{key.replace(' ', '%20')} HTTP/1.0\r\n\r\n".encode()).partition(
            b"\r\n\r\n")[2].decode()

    def number(self, key):
        text = self.read(key)
        return 0 if text == "nil" else float(text)

    def version(self, policy):
        self.balancer.put("timed.lua", policy)
        self.balancer.reload()


def ticking(name):
    return POLICY % (f'alacrity.every(0.02, function() t:incr("{name}") end)', "")


def test_a_policy_that_renews_what_it_knows():
    policy = POLICY % ('local number = 1 alacrity.every(0.02, function() '
                       'number = t:get("number") or 1 end)', 'if true then return pool[number] end')
    with Table(policy, names="abc") as table:
        assert {ask(table.port) for _ in range(10)} == {b"a\n"}
        for number, name in ((2, b"b\n"), (3, b"c\n")):
            table.read(f"number={number}")
            eventually(lambda: {ask(table.port) for _ in range(10)} == {name},
                       "both workers have renewed")


def test_they_end_with_their_configuration_and_none_ticks_twice():
    with Table(ticking("one"), workers=2) as table:
        eventually(lambda: table.number("one") >= 10)
        for name, before in (("two", "one"), ("three", "two")):
            table.version(ticking(name))
            ended = table.number(before)
            began = time.monotonic()
            eventually(lambda: table.number(name) >= 20)
            # Two workers, 20 ms each: more would be timers of another instance.
            assert table.number(name) <= 2 * ((time.monotonic() - began) / 0.02 + 10)
            assert table.number(before) == ended
        table.balancer.reload()  # the same again: a new instance, the old one's timers gone
        before, began = table.number("three"), time.monotonic()
        eventually(lambda: table.number("three") >= before + 20)
        assert table.number("three") - before <= 2 * ((time.monotonic() - began) / 0.02 + 2)
        table.balancer.reload({**table.config, "workers": 1})
        before, began = table.number("three"), time.monotonic()
        eventually(lambda: table.number("three") >= before + 20)
        assert table.number("three") - before <= (time.monotonic() - began) / 0.02 + 2


def test_a_session_from_before_a_reload_keeps_no_timer_alive(black_hole):
    """It still may ask the old version, which is kept for it, but does nothing of itself."""
    with Table(ticking("one"), timeouts={"connect": "60s", "drain": "100ms"}) as table:
        table.config["pools"]["app"]["backends"] = {"hole": black_hole, "b": "127.0.0.1:1"}
        table.balancer.reload(table.config)
        with dial(table.port):
            eventually(lambda: table.balancer.admin("session", "list")["sessions"])
            table.version(ticking("two"))
            before = table.number("one")
            eventually(lambda: table.number("two") >= 20)
            assert table.number("one") == before
            assert table.balancer.admin("session", "list")["sessions"]


def test_they_come_and_go_with_versions_of_a_policy():
    with Table(ticking("one")) as table:
        balancer = table.balancer
        balancer.put("two.lua", ticking("two"))
        balancer.put("three.lua", ticking("three"))
        eventually(lambda: table.number("one") >= 4)

        def only(name, *others):
            quiet = [table.number(other) for other in others]
            before = table.number(name)
            eventually(lambda: table.number(name) >= before + 6)
            assert [table.number(other) for other in others] == quiet

        balancer.admin("script", "swap", "app", str(balancer.folder / "two.lua"), plain=True)
        only("two", "one")
        balancer.admin("script", "shadow", "app", str(balancer.folder / "three.lua"), plain=True)
        ask(table.port)
        only("two", "one", "three")  # a shadow does nothing of itself
        balancer.admin("script", "promote", "app", plain=True)
        only("three", "one", "two")
        balancer.admin("script", "rollback", "app", plain=True)
        only("two", "one", "three")
        balancer.reload()
        only("one", "two", "three")


@pytest.mark.skipif(SANITIZED == "tsan", reason="nothing can be stopped under ThreadSanitizer")
def test_a_shadow_that_is_promoted_while_it_is_made_anew():
    """Its timers are the builder's until the new state is there, and begin then."""
    with Table(ticking("one"), workers=1, lua={"overruns": 0, "budget": "20s"}) as table:
        balancer = table.balancer
        balancer.put("two.lua", POLICY % (
            'alacrity.every(0.02, function() t:incr("two") end) while t:get("hold") do end',
            "while t:get('run') do end"))
        balancer.admin("script", "shadow", "app", str(balancer.folder / "two.lua"), plain=True)
        table.read("hold=1")
        table.read("run=1")
        assert ask(table.port) == b"a\n"
        balancer.wait_line("pick of .*two.lua .shadow of app.: it was stopped")
        promote = threading.Thread(target=balancer.admin, args=("script", "promote", "app", "--force"))
        promote.start()  # it is answered when the builder has time for it
        eventually(lambda: ask(table.port) and balancer.pool()["policy_resting_total"] >= 5)
        assert table.number("two") == 0
        table.read("forget hold")
        table.read("forget run")
        promote.join()
        eventually(lambda: table.number("two") >= 6)
        assert {ask(table.port) for _ in range(10)} == {b"a\n"}


def test_an_error_in_a_timer_is_told_and_counted_and_harms_no_session():
    policy = POLICY % ('alacrity.every(0.02, function() t:incr("n") error("a telling word") end)',
                       "")
    with Table(policy) as table:
        line = table.balancer.wait_line("a telling word")
        assert "timer of ./timed.lua failed" in line and "timed.lua:6" in line
        before = table.number("n")
        eventually(lambda: table.number("n") > before + 5, "it goes on")
        assert {ask(table.port) for _ in range(20)} == {b"a\n"}
        pool = table.balancer.at_rest()["pools"]["app"]
        assert pool["policy_errors_total"] >= 5 and pool["fallbacks_total"] == 0


def test_a_version_whose_timers_fail_is_taken_back():
    """Though no session came."""
    with Table(ticking("one")) as table:
        balancer = table.balancer
        balancer.put("two.lua", POLICY % ('alacrity.every(0.02, function() error("no") end)', ""))
        balancer.admin("script", "swap", "app", str(balancer.folder / "two.lua"), plain=True)
        balancer.wait_line('"event":"rollback"')
        balancer.wait_line("back to version 1")
        before = table.number("one")
        eventually(lambda: table.number("one") > before + 5)


@pytest.mark.skipif(SANITIZED == "tsan", reason="nothing can be stopped under ThreadSanitizer")
def test_a_runaway_on_a_worker_is_stopped_and_in_the_end_taken_out():
    policy = POLICY % ('alacrity.every(0.05, function() t:incr("n") '
                       'while t:get("run") do end end)', "")
    lua = {"budget": "20ms", "overruns": 3, "overrun_window": "1h"}
    with Table(policy, lua=lua, workers=1) as table:
        balancer = table.balancer
        eventually(lambda: table.number("n") >= 2)
        assert {ask(table.port) for _ in range(10)} == {b"a\n"}
        table.read("run=1")
        balancer.wait_line("timer of ./timed.lua: it was stopped")
        # Each new state ticks again, and is stopped again: three times, then it is out.
        balancer.wait_line("timer of ./timed.lua: it was stopped.*stopped too often")
        assert {ask(table.port) for _ in range(20)} <= {b"a\n", b"b\n"}, "the fallback serves"
        pool = balancer.at_rest()["pools"]["app"]
        assert pool["policy_out_total"] == 20 and pool["policy_overruns_total"] == 3
        settled(lambda: table.number("n"))
        assert balancer.get("/livez")[0] == 200


@pytest.mark.skipif(SANITIZED == "tsan", reason="nothing can be stopped under ThreadSanitizer")
def test_a_runaway_on_control_stops_no_other_service():
    service = 'alacrity.spawn(function() net.sleep(0.1) while true do t:incr("n") end end)'
    lua = {"budget": "20ms", "overruns": 2, "overrun_window": "1h"}
    with Table(service=service, lua=lua) as table:
        balancer = table.balancer
        balancer.wait_line("timer of ./table.lua: it was stopped.*stopped too often")
        assert balancer.get("/stats.json")[0] == 200 and ask(table.port) == b"a\n"
        script, = (s for s in balancer.stats()["scripts"] if s["name"] == "./table.lua")
        assert script["state"] == "out" and script["overruns_total"] == 2


def test_a_service_that_asks_another_server_again_and_again():
    """What spawn and every do on control: they wait, are closed by a reload, and begin anew."""
    server = Server(serve_name, "far")
    service = f"""
        alacrity.every(0.05, function()
          local socket = assert(net.connect("{server.text}"))
          socket:send(("q"):rep(32))
          t:set("said", socket:receive_line())
          t:incr("asked")
          socket:close()
        end)
        alacrity.spawn(function()
          for i = 1, 3 do net.sleep(0.01) t:incr("steps") end
          net.sleep(3600)
        end)"""
    with Table(service=service) as table:
        eventually(lambda: table.number("asked") >= 5)
        assert table.read("said") == "far" and table.number("steps") == 3
        fds = min(table.balancer.fds() for _ in range(50))
        for steps in range(6, 21, 3):
            table.balancer.reload()
            eventually(lambda: table.number("steps") == steps, "each begins its own")
        eventually(lambda: table.balancer.fds() <= fds, "nothing is left open")
