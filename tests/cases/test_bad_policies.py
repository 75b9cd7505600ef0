"""A policy that fails in any way: the pool's fallback answers, it is counted, no session notices."""
import pytest

from support import (QUESTION, Alacrity, Server, ask, backends, dial, eventually, free_port,
                     read_all, refused_politely, serve_name, web_over)

SESSIONS = 100
# `picks` counts from 1; the trial pick of the build is not traffic, so the first is always good.
SCRIPT = """
local Policy = {}
Policy.__index = Policy
function Policy:pick(ctx, pool)
  self.picks = self.picks + 1
  if self.picks == 1 then self.first = pool[1]; self.pool = pool; return pool[1] end
  %s
end
return { api = 1, kind = "policy", name = "bad", options = {},
         new = function() return setmetatable({ picks = 0 }, Policy) end }
"""
ERROR, BAD, NIL = "policy_errors_total", "policy_bad_answers_total", "policy_nil_total"


def start(body, port, **policy):
    servers = [Server(serve_name, name) for name in "abc"]
    config = {**web_over(servers, port, policy={"script": "./bad.lua", **policy}), "workers": 1}
    return Alacrity(config, scripts={"bad.lua": SCRIPT % body})


@pytest.mark.parametrize("body,counter", [
    ('error("x")', ERROR),
    ('error({ table = true })', ERROR),
    ('error(nil)', ERROR),
    ('error()', ERROR),
    ('error(setmetatable({}, { __tostring = function() error("again") end }))', ERROR),
    ('return nil .. "x"', ERROR),
    ('return pool[0]', None),
    ('return pool[#pool + 1]', None),
    ('return pool[0/0]', None),
    ('return pool[1e300]', None),
    ('return pool.nothing.here', ERROR),
    ('local function deep() return 1 + deep() end return deep()', ERROR),
    ('return ("x"):rep(2^31)', None),
    ('coroutine.yield(pool[1])', ERROR),
    ('return 1', BAD),
    ('return -1', BAD),
    ('return "a"', BAD),
    ('return true', BAD),
    ('return {}', BAD),
    ('return ctx', BAD),
    ('return pool', BAD),
    ('return print', BAD),
    ('return setmetatable({}, { __index = function() error("x") end })', BAD),
    ('return coroutine.create(function() end)', ERROR),
    ('return 1LL', BAD),
    ('return 0x7fffffffffffffffULL', BAD),
    ('return 1i', BAD),
    ('return loadstring("return -1ULL")()', BAD),
    ('return 0/0', BAD),
    ('return 1/0', BAD),
    ('return pool.all', BAD),
    ('return self.pool', BAD),
    ('return pool.least', BAD),
    ('return pool[1].weight', BAD),
    ('return { pool[1] }', BAD),
    ('return setmetatable({}, { __index = pool[1] })', BAD),
    ('return tostring(pool[1])', BAD),
    ('return pool.least(5)', ERROR),
    ('return pool:maglev(0/0)', ERROR),
    ('return pool:min(function() return {} end)', ERROR),
    ('return', NIL),
    ('return nil', NIL),
    ('return nil, "nobody suits"', NIL),
    ('return false', None),
])
def test_no_session_notices(body, counter):
    port = free_port()
    with start(body, port) as balancer:
        answers = {ask(port) for _ in range(SESSIONS)}
        assert answers == {b"a\n", b"b\n", b"c\n"}, "the fallback goes round"
        stats = balancer.at_rest()
        web, pool = stats["listeners"]["web"], stats["pools"]["app"]
        assert web["sessions_total"] == web["ended"]["done"] == SESSIONS
        # Whether the trial was the first pick of this instance is the builder's affair.
        assert pool["fallbacks_total"] in (SESSIONS, SESSIONS - 1)
        assert pool[ERROR] + pool[BAD] + pool[NIL] == pool["fallbacks_total"]
        if counter:
            assert pool[counter] == pool["fallbacks_total"]


def test_errors_are_shown_and_not_repeated_without_end():
    port = free_port()
    with start('error("a telling word")', port) as balancer:
        for _ in range(SESSIONS):
            ask(port)
        balancer.wait_line("a telling word")
        assert sum("a telling word" in line for line in balancer.lines) <= 60
        assert any("bad.lua:7" in line for line in balancer.lines), "the line of the error"


def test_an_answer_that_became_stale():
    """The script keeps a backend; once that is drained, it is not a legal answer any more."""
    port = free_port()
    with start("return self.first", port) as balancer:
        assert {ask(port) for _ in range(20)} == {b"a\n"}
        assert balancer.at_rest()["pools"]["app"][BAD] == 0
        balancer.admin("backend", "drain", "app/a")
        assert {ask(port) for _ in range(20)} == {b"b\n", b"c\n"}
        assert balancer.at_rest()["pools"]["app"][BAD] == 20


def test_a_backend_that_a_reload_took_away(black_hole):
    """A session of the old configuration is still dialling when the backend leaves that its policy
    kept from before: the retry answers it, that is a bad answer, and the fallback serves."""
    port, live, leaves = free_port(), Server(serve_name, "b"), Server(serve_name, "c")
    config = web_over([], port, policy={"script": "./keeps.lua"}, timeouts={"connect": "3s"})
    config["pools"]["app"]["backends"] = {"a": black_hole, **backends([live, leaves])}
    config["workers"] = 1
    script = """
return { api = 1, kind = "policy", name = "keeps", new = function()
  return { pick = function(self, ctx, pool)
    if ctx.attempt > 1 then return self.gone end
    self.gone = pool.all[3] -- nil in the next configuration, which has no third
    return pool[1]
  end }
end }"""
    with Alacrity(config, scripts={"keeps.lua": script}) as balancer:
        with dial(port) as client:
            client.sendall(QUESTION)
            eventually(lambda: balancer.backend("a")["active"] == 1, "the session dials")
            del config["pools"]["app"]["backends"]["c"]
            balancer.reload(config)
            assert read_all(client) == b"b\n"
        pool = balancer.at_rest()["pools"]["app"]
        assert (pool[BAD], pool["fallbacks_total"], pool["retries_total"]) == (1, 1, 1)


def test_a_backend_of_another_pool():
    """Two pools of one script share its state; each can only answer its own backends."""
    first, second = free_port(), free_port()
    config = web_over([Server(serve_name, "a")], first, policy={"script": "./mixes.lua"})
    config["listeners"]["two"] = {"bind": f"127.0.0.1:{second}", "pool": "other"}
    config["pools"]["other"] = {**config["pools"]["app"], "backends": backends([Server(serve_name, "b")])}
    config["workers"] = 1
    script = """
local kept = {}
return { api = 1, kind = "policy", name = "mixes", new = function()
  return { pick = function(self, ctx, pool)
    kept[pool.name] = pool[1]
    return ctx.listener == "two" and kept.app or pool[1]
  end }
end }"""
    with Alacrity(config, scripts={"mixes.lua": script}) as balancer:
        for _ in range(20):
            assert (ask(first), ask(second)) == (b"a\n", b"b\n")
        stats = balancer.at_rest("two")
        assert (stats["pools"]["app"][BAD], stats["pools"]["other"][BAD]) == (0, 20)


def test_the_pool_kept_from_an_earlier_pick():
    """It shows the eligible backends of now, or is refused; either way nobody notices."""
    port = free_port()
    with start("return self.pool[1]", port) as balancer:
        balancer.admin("backend", "drain", "app/a")
        assert b"a\n" not in {ask(port) for _ in range(40)}
        assert balancer.at_rest()["listeners"]["web"]["ended"]["done"] == 40


@pytest.mark.parametrize("body", [
    "pool[1] = nil; return pool[2]",
    "pool[1].weight = 0; return pool[1]",
    "ctx.attempt = 7; return pool[1]",
    "pool.count = 99; return pool[50]",
    "setmetatable(pool, nil); return pool[1]",
    "getmetatable(pool).__index = nil; return pool[1]",
    "return debug.getregistry()",
    "return io.open('/etc/passwd')",
    "return os.execute('true')",
    "return require('ffi')",
    "return loadstring('\\27LJ')()",
])
def test_what_a_script_may_not_touch(body):
    port = free_port()
    with start(body, port) as balancer:
        answers = {ask(port) for _ in range(50)}
        assert answers == {b"a\n", b"b\n", b"c\n"}
        pool = balancer.at_rest()["pools"]["app"]
        assert pool[ERROR] + pool[BAD] >= 49
        assert all(b["weight"] == 1 for b in pool["backends"].values())


def test_globals_of_two_scripts_do_not_meet():
    """Each user script has a state of its own."""
    first, second = free_port(), free_port()
    servers = [Server(serve_name, name) for name in "ab"]
    config = web_over(servers, first, policy={"script": "./bad.lua"})
    config["listeners"]["two"] = {"bind": f"127.0.0.1:{second}", "pool": "other"}
    config["pools"]["other"] = {**config["pools"]["app"], "policy": {"script": "./other.lua"}}
    scripts = {"bad.lua": SCRIPT % "string.format, table, math = nil, nil, nil; x = 1; return pool[1]",
               "other.lua": SCRIPT % 'if x then error("met") end; '
                                     'local n = math.floor(2.5); return pool[n]'}
    with Alacrity(config, scripts=scripts) as balancer:
        for _ in range(20):
            ask(first)
            assert ask(second) in (b"a\n", b"b\n")
        assert balancer.pool("other")[ERROR] == 0


def test_fallback_reject_closes_politely():
    port = free_port()
    with start('return nil, "closed today"', port, fallback="reject") as balancer:
        ask(port)  # perhaps the good first pick
        for _ in range(10):
            assert refused_politely(port)
        assert balancer.at_rest()["listeners"]["web"]["ended"]["no_backend"] >= 10


def test_an_error_in_the_trial_is_refused_at_start():
    port = free_port()
    servers = [Server(serve_name, "a")]
    script = SCRIPT.replace("if self.picks == 1", 'error("at once")\n  if self.picks == 1') % ""
    balancer = Alacrity(web_over(servers, port, policy={"script": "./bad.lua"}),
                        scripts={"bad.lua": script})
    text = balancer.ended(code=1)
    assert "bad.lua:6" in text and "at once" in text


def test_memory_thrown_away_by_a_policy_is_collected():
    port = free_port()
    with start("local t = {}; for i = 1, 1000 do t[i] = {} end; return pool[1]", port) as balancer:
        for _ in range(300):
            ask(port)
        before = balancer.rss()
        for _ in range(600):
            ask(port)
        eventually(lambda: balancer.rss() < before + 8192, "memory stays bounded")
