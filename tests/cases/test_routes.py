"""A route script chooses the pool of each session, after a look at what the client sends first. What
it looked at reaches the backend all the same, and nothing it does harms another session."""
import json
import socket
import time

import pytest

from support import (LIMIT, SANITIZED, Alacrity, Load, Server, backends, command, dead_address,
                     dial, eventually, free_port, random_bytes, read_all, read_exactly, reset,
                     serve_hash, serve_named_echo, serve_name, settled, sha)

TSAN = pytest.mark.skipif(SANITIZED == "tsan", reason="nothing can be stopped under ThreadSanitizer")


def script(body, top="", extra=""):
    """A route whose method has this body."""
    return f"""
local alacrity = require "alacrity"
local net = require "alacrity.net"
{top}
return {{ api = 1, kind = "route", name = "mine", {extra}
  new = function(cfg)
    return {{ route = function(self, ctx)
{body}
    end }}
  end }}
"""


# The first byte tells the pool.
BY_BYTE = script("""
      local first, why = ctx:peek(1)
      if first == "a" then ctx:use("a")
      elseif first == "b" then ctx:use("b")
      elseif first == "x" then ctx:reject("unwanted")
      elseif first == "u" then ctx:use("nowhere")
      elseif first == "e" then error("a telling word")
      elseif first == "r" then return "a"
      elseif first == "l" then while true do end
      elseif first == "s" then net.sleep(3600) end
""")


class Routed:
    """Listener `web` with a route over pools a, b and rest, the last its default; `plain` beside
    it has none."""

    def __init__(self, route=BY_BYTE, handler=serve_named_echo, *, pool="rest", timeout=None,
                 use=None, listener=None, servers=None, **top):
        self.port, self.plain = free_port(), free_port()
        self.servers = servers or {name: Server(handler, name) for name in ("a", "b", "rest")}
        web = {"bind": f"127.0.0.1:{self.port}", "route": use or {"script": "./mine.lua"},
               **(listener or {})}
        if pool:
            web["pool"] = pool
        if timeout:
            web["timeouts"] = {"route": timeout}
        self.config = {
            "listeners": {"web": web, "plain": {"bind": f"127.0.0.1:{self.plain}", "pool": "rest"}},
            "pools": {name: {"backends": backends([server])}
                      for name, server in self.servers.items()}, **top}
        self.balancer = Alacrity(self.config, scripts={"mine.lua": route})

    def __enter__(self):
        self.balancer.__enter__()
        return self

    def __exit__(self, *how):
        return self.balancer.__exit__(*how)

    def answer(self, first):
        """The name of the server that answers to these bytes; None: the session was ended."""
        with dial(self.port) as client:
            client.sendall(first)
            client.shutdown(socket.SHUT_WR)
            got = read_all(client)
            if not got:
                return None
            name, _, rest = got.partition(b"\n")
            assert rest == first
            return name.decode()

    def web(self):
        return self.balancer.listener("web")

    def rest(self):
        return self.balancer.at_rest()["listeners"]["web"]

    def waiting(self, count):
        eventually(lambda: sum(s["state"] == "routing" for s in self.sessions()) >= count,
                   f"{count} sessions wait for their route")

    def sessions(self):
        return self.balancer.admin("session", "list")["sessions"]


# ---- choosing ----

def test_the_first_byte_chooses_and_reaches_the_backend():
    with Routed() as routed:
        assert routed.answer(b"apple") == "a"
        assert routed.answer(b"banana") == "b"
        assert routed.answer(b"cherry") == "rest", "it chose nothing: the listener's pool"
        web = routed.rest()
        assert web["routes_total"] == 3 and web["ended"]["done"] == 3
        assert web["bytes_in_total"] == 5 + 6 + 6
        assert web["route"] == "./mine.lua" and web["pool"] == "rest"
        assert routed.balancer.pool("a")["sessions_total"] == 1


def test_rejected_sessions_end_in_order_and_are_counted():
    with Routed(log={"sessions": True}) as routed:
        assert routed.answer(b"x") is None
        assert routed.rest()["ended"]["rejected"] == 1
        line = json.loads(routed.balancer.wait_line('"rejected"'))
        assert line["reason"] == "rejected" and line["why"] == "unwanted" and line["pool"] == "-"
        status, _, metrics = routed.balancer.get("/metrics")
        assert status == 200
        assert 'alacrity_listener_sessions_ended_total{listener="web",reason="rejected"} 1' in metrics
        assert 'alacrity_listener_routes_total{listener="web"} 1' in metrics
        assert 'alacrity_listener_routes_total{listener="plain"}' not in metrics


@pytest.mark.parametrize("first,word", [
    (b"u", "there is no pool 'nowhere'"),
    (b"e", "a telling word"),
    (b"r", "route must return nothing"),
])
def test_an_error_leads_to_the_default_pool(first, word):
    with Routed() as routed:
        assert routed.answer(first) == "rest"
        line = json.loads(routed.balancer.wait_line(word))
        assert line["message"].startswith("route of ./mine.lua failed: ")
        if first != b"r":
            assert "mine.lua:" in line["message"]
        assert routed.rest()["route_errors_total"] == 1
        route, = (s for s in routed.balancer.stats()["scripts"] if s["kind"] == "route")
        assert route["errors_total"] == 1 and route["listener"] == "web"
        assert route["calls_total"] == 1 and route["state"] == "running"
        assert route["name"] == "./mine.lua"
        status = routed.balancer.admin("status")
        assert any(s["kind"] == "route" and s["errors"] == 1 for s in status["scripts"])


@pytest.mark.parametrize("first,reason", [(b"c", "no_route"), (b"e", "route_failed"),
                                          (b"u", "route_failed"), (b"x", "rejected")])
def test_without_a_default_pool_the_session_ends(first, reason):
    with Routed(pool=None) as routed:
        assert routed.answer(b"a") == "a"
        assert routed.answer(first) is None
        ended = routed.rest()["ended"]
        assert ended[reason] == 1 and ended["done"] == 1


def test_what_it_knows_of_the_session():
    route = script("""
      assert(ctx.listener == "web" and ctx.attempt == 0 and ctx.client_port > 0)
      assert(ctx.client_hash == alacrity.hash and true or type(ctx.client_hash) == "number")
      assert(ctx.last_failure == nil and ctx.nothing == nil)
      ctx:use(ctx.client == "127.0.0.2" and "b" or "a")
""")
    with Routed(route, serve_name) as routed:
        for source, name in (("127.0.0.1", b"a\n"), ("127.0.0.2", b"b\n")):
            with socket.create_connection(("127.0.0.1", routed.port), LIMIT, (source, 0)) as client:
                client.sendall(b"q" * 32)
                assert read_all(client) == name


def test_what_it_has_the_session_keep_reaches_policy_and_log():
    """Values set before the pick, across waits, and not those of a session that is over."""
    route = script("""
      assert(ctx:get("tenant") == nil)
      local tenant = ctx:peek(1)
      ctx:set("tenant", tenant)
      net.sleep(0.01)
      assert(ctx:get("tenant") == tenant)
      ctx:use("a")
""")
    policy = """return { api = 1, kind = "policy", name = "p", new = function()
      return { pick = function(self, ctx, pool)
        return pool[ctx:get("tenant") == "2" and 2 or 1]
      end } end }"""
    with Routed(route, log={"sessions": True}) as routed:
        routed.balancer.put("policy.lua", policy)
        other = Server(serve_named_echo, "other")
        routed.config["pools"]["a"] = {
            "policy": {"script": "./policy.lua"},
            "backends": {"a": routed.servers["a"].text, "other": other.text}}
        routed.balancer.reload(routed.config)
        assert [routed.answer(first) for first in (b"1", b"2", b"1")] == ["a", "other", "a"]
        line = json.loads(routed.balancer.wait_line('"ctx.tenant":"2"'))
        assert line["backend"] == "other"
        assert routed.rest()["route_errors_total"] == 0


def test_a_ctx_that_was_kept_is_of_no_use():
    """Not to another session, not after its own, and nothing else can stand in its place."""
    route = script("""
      if first then
        for _, wrong in ipairs { first, 5, "x", {}, function() end, 2 ^ 53 } do
          assert(not pcall(ctx.use, wrong, "b"))
          assert(not pcall(ctx.reject, wrong))
          assert(not pcall(ctx.peek, wrong, 1))
        end
        assert(not pcall(ctx.use)) assert(not pcall(ctx.use, nil, "b"))
        assert(not pcall(ctx.use, ctx)) assert(not pcall(ctx.use, ctx, {}))
        for _, bytes in ipairs { 0, -1, 1.5, 0/0, 1/0, 16385, "x" } do
          assert(not pcall(ctx.peek, ctx, bytes))
        end
        assert(not pcall(ctx.peek, ctx, 1, -1)) assert(not pcall(ctx.peek, ctx, 1, 0/0))
        assert(first.client == "127.0.0.1")
        local text = "x"
        text:gsub("x", function()
          local ok, why = pcall(ctx.peek, ctx, 1)
          assert(not ok and why:find("calls back"), why)
        end)
        ctx:use("b")
        alacrity.after(0, function() assert(not pcall(ctx.use, ctx, "a")) end)
        return
      end
      first = ctx
      ctx:peek(1)
      ctx:use("a")
      alacrity.after(0.01, function()
        assert(first.client == "" and first.listener == "" and first.client_port == 0)
        alacrity.log.info("all forgotten")
      end)
""", top="local first")
    with Routed(route, workers=1) as routed:
        with dial(routed.port) as client:
            routed.waiting(1)
            assert {routed.answer(b"z") for _ in range(5)} == {"b"}
            client.sendall(b"z")
            assert read_exactly(client, 3) == b"a\nz"
        routed.balancer.wait_line("all forgotten")
        web = routed.rest()
        assert web["route_errors_total"] == 0
        assert not any("failed" in line for line in routed.balancer.lines)


# ---- peeking ----

PEEKS = script("""
      local bytes, why = ctx:peek(cfg.bytes, cfg.wait / 1000)
      d:set("got", bytes)
      d:set("why", why or "enough")
      d:incr("n")
      ctx:use("a")
""", top='local d = alacrity.shared("peeks")', extra="""
  options = { bytes = { type = "integer", default = 5 },
              wait = { type = "duration", default = 0 } },""")
READER = """
local d = require("alacrity").shared("peeks")
return { api = 1, kind = "service", name = "reader", new = function()
  return { serve = function(self, req)
    return 200, "text/plain", tostring(d:get(req.path:sub(2)))
  end }
end }
"""


class Peeking(Routed):
    def __init__(self, route=PEEKS, handler=serve_named_echo, *, options=None, **more):
        super().__init__(route, handler, use={"script": "./mine.lua", "with": options or {}}, **more)

    def __enter__(self):
        super().__enter__()
        self.reader = free_port()
        self.balancer.put("reader.lua", READER)
        self.config["listeners"]["reader"] = {"bind": f"127.0.0.1:{self.reader}",
                                              "service": {"script": "./reader.lua"}}
        self.balancer.reload(self.config)
        return self

    def read(self, key):
        with dial(self.reader) as client:
            client.sendall(f"GET /{key} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return read_all(client).partition(b"\r\n\r\n")[2].decode()

    def saw(self):
        return self.read("got"), self.read("why")


def test_one_byte_at_a_time():
    with Peeking() as routed:
        with dial(routed.port) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in b"hello world":
                client.sendall(bytes([byte]))
                time.sleep(0.002)  # so that each is a packet of its own
            assert read_exactly(client, 2 + 11) == b"a\nhello world"
        assert routed.saw() == ("hello", "enough")


def test_the_client_ends_before_there_is_enough():
    with Peeking() as routed:
        assert routed.answer(b"hey") == "a"
        assert routed.saw() == ("hey", "closed")
        with dial(routed.port) as client:
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"a\n"
        assert routed.saw() == ("", "closed")


def test_its_own_limit_passes():
    with Peeking(options={"wait": "100ms"}) as routed:
        with dial(routed.port) as client:
            client.sendall(b"hey")
            assert read_exactly(client, 5) == b"a\nhey"
            assert routed.saw() == ("hey", "timeout")
            client.sendall(b" there")
            assert read_exactly(client, 6) == b" there"
        assert routed.rest()["route_timeouts_total"] == 0


def test_a_client_that_never_sends():
    with Peeking(timeout="200ms") as routed:
        with dial(routed.port) as client:
            assert read_exactly(client, 5) == b"rest\n", "the default pool, after a while"
            client.sendall(b"hello")
            assert read_exactly(client, 5) == b"hello"
        web = routed.rest()
        assert web["route_timeouts_total"] == 1 and web["ended"]["done"] == 1
        assert routed.read("n") == "nil"


def test_a_client_that_never_sends_enough_and_no_default_pool():
    with Peeking(timeout="200ms", pool=None) as routed:
        with dial(routed.port) as client:
            client.sendall(b"hey")
            assert client.recv(100) == b"", "an orderly end"
        assert routed.rest()["ended"]["route_failed"] == 1


def test_a_client_that_resets_while_it_is_looked_at():
    with Peeking() as routed:
        fds = settled(routed.balancer.fds)
        for sent in (b"", b"hey"):
            client = dial(routed.port)
            client.sendall(sent)
            routed.waiting(1)
            reset(client)
            eventually(lambda: not routed.sessions())
        assert routed.rest()["ended"]["client_reset"] == 2
        eventually(lambda: routed.balancer.fds() <= fds)
        assert routed.read("n") == "nil"
        assert routed.answer(b"hello") == "a"


def test_peeks_see_the_same_bytes_again():
    route = script("""
      local one, five, two = ctx:peek(1), ctx:peek(5), ctx:peek(2)
      if one == "h" and five == "hello" and two == "he" then ctx:use("a") end
""")
    with Routed(route) as routed:
        assert routed.answer(b"hello world") == "a"


@pytest.mark.parametrize("bytes_", [1, 5, 16384])
def test_a_large_upload_arrives_whole(bytes_):
    data = random_bytes(1 << 20, 7)
    with Peeking(handler=serve_hash, options={"bytes": bytes_}) as routed:
        with dial(routed.port) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            assert read_all(client).decode() == sha(data)
        stats = routed.balancer.at_rest()
        assert stats["listeners"]["web"]["bytes_in_total"] == len(data)
        assert stats["pools"]["a"]["bytes_in_total"] == len(data)


def test_what_was_peeked_survives_backends_that_are_dead():
    """Two refuse; the third gets every byte, also behind an orderly end."""
    with Routed() as routed:
        pool = routed.config["pools"]["a"]
        pool["backends"] = {"dead1": dead_address(), "dead2": dead_address(), **pool["backends"]}
        pool["suspect_after"] = 0
        routed.balancer.reload(routed.config)
        assert {routed.answer(b"apple pie") for _ in range(12)} == {"a"}
        assert routed.balancer.pool("a")["retries_total"] > 0


def test_over_a_unix_socket():
    route = script('ctx:peek(5) ctx:use("a")')
    with Routed(route) as routed:
        path = routed.balancer.folder / "web.sock"
        routed.config["listeners"]["web"]["bind"] = f"unix:{path}"
        routed.balancer.reload(routed.config)
        with dial(path) as client:
            client.sendall(b"hello")
            assert read_exactly(client, 7) == b"a\nhello"


# ---- sockets of its own ----

def test_it_may_ask_another_server():
    """Who answers decides; nothing stays open, whatever the script leaves behind."""
    oracle = Server(lambda connection, _: connection.sendall(
        b"b\n" if connection.recv(1) == b"2" else b"a\n"), "oracle")
    route = script(f"""
      local first = ctx:peek(1)
      local socket = assert(net.connect("{oracle.text}", {{ timeout = 5 }}))
      assert(socket:send(first))
      ctx:use(assert(socket:receive_line()))
      net.connect("{oracle.text}") -- and forgotten
""")
    with Routed(route) as routed:
        fds = settled(routed.balancer.fds)
        for _ in range(10):
            assert routed.answer(b"1") == "a"
            assert routed.answer(b"2") == "b"
        routed.rest()
        eventually(lambda: routed.balancer.fds() <= fds, "nothing is left open")


def test_its_timers_may_wait_too():
    oracle = Server(lambda connection, _: connection.sendall(b"b\n"), "oracle")
    route = f"""
local alacrity, net = require "alacrity", require "alacrity.net"
return {{ api = 1, kind = "route", name = "mine", new = function()
  local pool = "a"
  alacrity.every(0.05, function()
    local socket = net.connect("{oracle.text}")
    pool = socket:receive_line()
    socket:close()
  end)
  return {{ route = function(self, ctx) ctx:use(pool) end }}
end }}
"""
    with Routed(route) as routed:
        eventually(lambda: routed.answer(b"x") == "b")
        routed.balancer.reload()
        eventually(lambda: routed.answer(b"x") == "b")


# ---- many, and through what happens meanwhile ----

COUNT = 200 if SANITIZED else 1000


def test_a_thousand_wait_and_then_all_go_on():
    with Peeking(options={"bytes": 5}, timeout="60s") as routed:
        clients = [dial(routed.port) for _ in range(COUNT)]
        for client in clients:
            client.sendall(b"hell")
        eventually(lambda: routed.web()["sessions_active"] == COUNT)
        assert plain(routed), "who has no route does not wait"
        for number, client in enumerate(clients):
            client.sendall(b"o %d" % number)
        for number, client in enumerate(clients):
            want = b"a\nhello %d" % number
            assert read_exactly(client, len(want)) == want
            client.close()
        web = routed.rest()
        assert web["ended"]["done"] == COUNT and web["routes_total"] == COUNT


def test_a_reload_while_routes_wait():
    """They are answered by the script of then, though its state is used for nothing else; then it
    goes."""
    with Routed(timeout="60s") as routed:
        clients = [dial(routed.port) for _ in range(50)]
        routed.waiting(50)
        for other in ("b", "a"):
            routed.balancer.put("mine.lua", script(f'ctx:peek(1) ctx:use("{other}")'))
            routed.balancer.reload()
        assert routed.answer(b"banana") == "a", "newcomers meet the new script"
        for number, client in enumerate(clients):
            client.sendall(b"abx"[number % 3:][:1])
            client.shutdown(socket.SHUT_WR)
            want = [b"a\na", b"b\nb", b""][number % 3]
            assert read_all(client) == want
            client.close()
        assert routed.rest()["ended"]["rejected"] == 16


def test_a_reload_without_the_listener_and_its_pool_while_routes_wait():
    with Routed(timeout="60s") as routed:
        client = dial(routed.port)
        routed.waiting(1)
        config = {"listeners": {"plain": routed.config["listeners"]["plain"]},
                  "pools": {"rest": routed.config["pools"]["rest"]}}
        routed.balancer.reload(config)
        client.sendall(b"apple")
        assert client.recv(100) == b"", "the pool it chose has nobody in service any more"
        client.close()
        eventually(lambda: not routed.sessions())


@pytest.mark.parametrize("pool", ["rest", None])
def test_the_end_of_a_plan_that_was_kept_for_one_route(pool):
    """Its last session is rejected, fails, is killed or goes away: everything of it is freed, but
    not while its script is still on the stack."""
    with Routed(timeout="60s", pool=pool) as routed:
        for end in ("reject", "error", "kill", "reset", "stop"):
            client = dial(routed.port)
            routed.waiting(1)
            routed.balancer.reload()
            if end == "kill":
                routed.balancer.admin("session", "kill", routed.sessions()[0]["id"], plain=True)
            elif end == "reset":
                reset(client)
            elif end != "stop" or SANITIZED != "tsan":
                client.sendall({"reject": b"x", "error": b"e", "stop": b"l"}[end])
            if end != "reset":
                client.shutdown(socket.SHUT_WR)
                read_all(client)
                client.close()
            eventually(lambda: not routed.sessions(), end)
        assert routed.answer(b"a") == "a"


def test_killed_while_it_waits():
    with Routed() as routed:
        with dial(routed.port) as client:
            client.sendall(b"s")
            routed.waiting(1)
            routed.balancer.admin("session", "kill", routed.sessions()[0]["id"], plain=True)
            assert client.recv(100) == b""
        assert routed.rest()["ended"]["killed"] == 1


def test_the_session_timeout_holds():
    with Routed(listener={"timeouts": {"session": "300ms", "route": "0"}}) as routed:
        with dial(routed.port) as client:
            client.sendall(b"s")
            assert client.recv(100) == b""
        assert routed.rest()["ended"]["session_timeout"] == 1


def test_waiting_sessions_count_against_limits():
    with Routed(listener={"max_sessions": 2}, timeout="60s") as routed:
        first, second = dial(routed.port), dial(routed.port)
        routed.waiting(2)
        with dial(routed.port) as client:
            assert client.recv(100) == b""
        assert routed.web()["ended"]["limit"] == 1
        first.close()
        second.close()


def test_a_drain_while_routes_wait():
    with Routed(timeouts={"drain": "500ms", "route": "60s"}) as routed:
        quick, slow = dial(routed.port), dial(routed.port)
        routed.waiting(2)
        routed.balancer.process.terminate()
        eventually(lambda: "drain" in "".join(routed.balancer.lines[-3:]))
        quick.sendall(b"apple")
        quick.shutdown(socket.SHUT_WR)
        assert read_all(quick) == b"a\napple", "it still goes on"
        assert slow.recv(100) == b""
        routed.balancer.ended()


# ---- who runs away ----

@TSAN
def test_a_runaway_ends_no_session_and_is_taken_out():
    """All that wait in its state go on to the default pool; other listeners notice nothing."""
    with Routed(lua={"budget": "20ms", "overruns": 3, "overrun_window": "1h"}, timeout="60s",
                workers=1) as routed:
        with Load(lambda _: plain(routed), threads=4, per_second=100) as load:
            for stop in range(3):
                waiting = [dial(routed.port) for _ in range(10)]
                routed.waiting(10)
                assert routed.answer(b"l") == "rest"
                for client in waiting:
                    client.sendall(b"apple")
                    assert read_exactly(client, 10) == b"rest\napple"
                    client.close()
                routed.balancer.wait_line("route of ./mine.lua: it was stopped")
                if stop < 2:
                    eventually(lambda: routed.answer(b"a") == "a", "it is made anew")
            routed.balancer.wait_line("stopped too often")
            assert routed.answer(b"a") == "rest"
            load.wait_done(20)
        assert load.failures == []
        web = routed.rest()
        assert web["route_overruns_total"] == 33 and web["route_out_total"] >= 1
        assert web["route_out_workers"] == 1
        assert web["ended"]["done"] == web["sessions_total"]
        route, = (s for s in routed.balancer.stats()["scripts"] if s["kind"] == "route")
        assert route["state"] == "out"
        routed.balancer.reload()
        assert routed.answer(b"a") == "a"
        assert routed.web()["route_out_workers"] == 0


def plain(routed):
    with dial(routed.plain) as client:
        client.sendall(b"z")
        return read_exactly(client, 6) == b"rest\nz"


@TSAN
def test_without_a_default_pool_a_runaway_ends_the_sessions_in_its_state():
    with Routed(lua={"budget": "20ms"}, timeout="60s", workers=1, pool=None) as routed:
        waiting = dial(routed.port)
        routed.waiting(1)
        assert routed.answer(b"l") is None
        assert waiting.recv(100) == b""
        waiting.close()
        assert routed.rest()["ended"]["route_failed"] == 2


# ---- at build ----

@pytest.mark.parametrize("text,word", [
    ("return {api = 1, kind = 'route', name = 'x', new = function() return {} end}",
     "has no method route"),
    ("return {api = 1, kind = 'policy', name = 'x', new = function() return {} end}",
     "this is a policy, but it is used as a route"),
    ("\nlocal x = 1 +\nreturn x", "mine.lua:3"),
    ("return {api = 1, kind = 'route', name = 'x', new = function() error('no way') end}",
     "mine.lua:1: no way"),
    ("local net = require 'alacrity.net' return {api = 1, kind = 'route', name = 'x', "
     "new = function() net.sleep(1) end}", "alacrity.net works only while"),
    (script("", extra="options = {pools = {type = 'map', required = true}},"), "pools"),
])
def test_a_broken_one_is_refused(text, word):
    with Routed() as routed:
        routed.balancer.put("mine.lua", text)
        assert word in routed.balancer.reload(ok=False)
        done = command("check", "-f", routed.balancer.file)
        assert done.returncode == 1 and word in done.stdout + done.stderr
        assert routed.answer(b"apple") == "a", "what runs goes on"
