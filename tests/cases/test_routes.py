"""A route script chooses the pool of each session, after a look at what the client sends first. What
it looked at reaches the backend all the same."""
import json
import socket
import time

import pytest

from routed import Peeking, Routed, script
from support import (LIMIT, Server, command, dead_address, dial, eventually, random_bytes, read_all,
                     read_exactly, reset, serve_hash, serve_name, serve_named_echo, settled, sha)


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
