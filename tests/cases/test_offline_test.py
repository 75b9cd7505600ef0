"""`alacrity test`: what it prints, how it ends, and that no test can hang it or reach the machine."""
import re

import pytest

from support import PATIENCE, ROOT, SANITIZED, command, free_port

HEAD = 'local test = require "alacrity.test"\n'
LAST = """
return {api = 1, kind = "policy", name = "last",
  options = {n = {type = "integer", default = 0, min = 0}},
  new = function(cfg) return {pick = function(self, ctx, pool) %s end} end}
"""


class Done:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.lines = self.out.splitlines()
        self.passed = [line for line in self.lines if line.startswith("ok ")]
        self.failed = [line for line in self.lines if line.startswith("not ok ")]


def run(folder, text=None, *options, **files):
    """Runs the text as story_test.lua, with `name="text"` as name.lua beside it."""
    if text is not None:
        (folder / "story_test.lua").write_text(HEAD + text, encoding="utf-8")
    for name, content in files.items():
        (folder / f"{name}.lua").write_text(content, encoding="utf-8")
    return Done(command("test", *options, folder))


def passes(folder, text, *options, **files):
    done = run(folder, text, *options, **files)
    assert done.code == 0 and not done.failed and done.passed, done.out + done.err
    return done


def fails(folder, text, message, *options, **files):
    done = run(folder, text, *options, **files)
    assert done.code == 1 and len(done.failed) == 1, done.out + done.err
    assert message in done.out, done.out
    return done


def case(body):
    return f'test.case("it", function()\n{body}\nend)\n'


# ---- what is printed ----

def test_tap(tmp_path):
    done = run(tmp_path, """
        print("hello", 1, nil)
        test.case("good # one", function() end)
        test.case("bad", function() test.equal(1 + 1, 3, "sum") end)
        """)
    file = tmp_path / "story_test.lua"
    assert done.lines == [
        "TAP version 13",
        "# hello\t1\tnil",
        f"ok 1 - {file}: good \\# one",
        f"not ok 2 - {file}: bad",
        "  ---",
        "  message: |",
        done.lines[6],
        "  ...",
        "1..2",
        "# 1 passed, 1 failed",
    ]
    assert done.lines[6].endswith("story_test.lua:5: sum: got 2, wanted 3")
    assert done.code == 1 and done.err == ""


def test_files_are_found_below_and_run_in_order(tmp_path):
    for name in ("b/c/x_test.lua", "a_test.lua", "b/a_test.lua", "helper.lua", ".git/x_test.lua"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + 'test.case("c", function() end)', encoding="utf-8")
    done = Done(command("test", tmp_path))
    assert [re.search(rf"{tmp_path}/(.*): c$", line).group(1) for line in done.passed] == [
        "a_test.lua", "b/a_test.lua", "b/c/x_test.lua"]
    named = Done(command("test", tmp_path / "helper.lua"))
    assert named.code == 0 and len(named.passed) == 1


def test_only_chooses(tmp_path):
    text = 'test.case("red", function() end) test.case("blue", error)'
    done = run(tmp_path, text, "--only", "red")
    assert done.code == 0 and len(done.passed) == 1
    assert run(tmp_path, text, "--only", "green").code == 2


def test_the_guides_examples_are_the_ones_that_are_run():
    guide = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```lua\n(.*?)```", guide, re.S)
    assert len(blocks) == 3
    for block, file in zip(blocks, ("policies/nearest_test.lua", "checks/redis_test.lua",
                                   "routes/ask_test.lua")):
        example = (ROOT / "examples" / file).read_text(encoding="utf-8")
        for part in block.split("\n\n"):
            assert part.startswith("-- ") or part.strip() in example, part


# ---- how it ends ----

@pytest.mark.parametrize("words", [
    [], ["/nowhere"], ["--timeout", "soon", "."], ["--seed", "0", "."], ["--zonk", "."]],
    ids=["nothing", "missing", "timeout", "seed", "unknown"])
def test_wrong_command_lines(words):
    done = command("test", *words)
    assert done.returncode == 2 and done.stderr and not done.stdout


def test_a_folder_without_tests(tmp_path):
    done = command("test", tmp_path)
    assert done.returncode == 2 and "no *_test.lua below" in done.stderr


def test_help():
    done = command("test", "--help")
    assert done.returncode == 0 and "--only" in done.stdout


@pytest.mark.parametrize("text, message", [
    ("local x = = 1", "story_test.lua:2: unexpected symbol near '='"),
    ("local x = nil .. 'a'", "story_test.lua:2: attempt to concatenate a nil value"),
    ("", "there is no case in this file"),
    ("require 'nowhere'", "story_test.lua:2: there is no module 'nowhere'"),
    ("while true do end", "it was stopped: it ran for "),
], ids=["syntax", "error", "no case", "require", "loop"])
def test_a_file_that_cannot_be_used_has_failed(tmp_path, text, message):
    fails(tmp_path, text, message, "--timeout", "200ms")


def test_a_case_that_never_ends_is_stopped_and_the_next_file_runs(tmp_path):
    (tmp_path / "z_test.lua").write_text(HEAD + case(""), encoding="utf-8")
    done = run(tmp_path, """
        test.case("loops", function() while true do pcall(error) end end)
        test.case("after", function() end)
        """, "--timeout", "300ms")
    assert done.code == 1 and len(done.failed) == 2 and len(done.passed) == 1, done.out
    assert "loops\n" in done.out and "it was stopped: it ran for" in done.out
    assert "not run: a case before it had to be stopped" in done.out


@pytest.mark.parametrize("body", [
    "while true do test.advance(1) end",
    "test.pool{'a'} local p = test.policy('first') while true do p:pick() end",
], ids=["in virtual time", "picking"])
def test_one_that_goes_on_for_ever_by_asking_is_stopped_too(tmp_path, body):
    fails(tmp_path, case(body), "it did not end within 0.3 s", "--timeout", "300ms")


@pytest.mark.skipif(SANITIZED == "tsan", reason="there memory has no cap, as stopping has no proof")
def test_nothing_that_fills_memory_ends_the_process(tmp_path):
    done = run(tmp_path, case("local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end"))
    assert done.code == 1 and len(done.failed) == 1, done.out
    assert "memory" in done.out


# ---- the environment ----

def test_it_is_a_script_like_any_other(tmp_path):
    passes(tmp_path, case("""
        for _, name in ipairs {"io", "debug", "ffi", "package", "jit", "dofile"} do
          test.equal(rawget(_G, name), nil, name)
        end
        test.equal(os.execute, nil)
        test.error(function() require "ffi" end, "no module")
        """))


def test_require_finds_what_stands_beside_and_in_the_given_folders(tmp_path):
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "far.lua").write_text("return {far = true}", encoding="utf-8")
    passes(tmp_path, """
        local near, far = require "near", require "far"
        test.case("both", function() test.ok(near.near) test.ok(far.far) end)
        """, "-I", tmp_path / "extra", near="return {near = true}")


def test_files_share_nothing(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}_test.lua").write_text(
            HEAD + case("test.equal(rawget(_G, 'left'), nil) left = 1"), encoding="utf-8")
    assert Done(command("test", tmp_path)).code == 0


def test_no_balancer_can_be_reached_from_a_test_of_a_check(tmp_path):
    port = free_port()
    passes(tmp_path, case(f"""
        local net = require "alacrity.net"
        test.equal({{ net.connect("127.0.0.1:{port}") }}, {{ nil, "refused" }})
        """))


def test_what_scripts_log_is_shown_when_asked_for(tmp_path):
    text = case('test.pool {"a"} test.policy("./says.lua"):pick()')
    says = LAST % 'require("alacrity").log.debug("looked at " .. ctx.client) return pool[1]'
    quiet = passes(tmp_path, text, says=says)
    assert quiet.err == "" and "looked" not in quiet.out
    assert "looked at 192.0.2.1" in passes(tmp_path, text, "-v", says=says).err


def test_a_script_is_no_test(tmp_path):
    for top, said in [("", "this file is no test, but a script: it returns a table"),
                      ("local c = require('alacrity').counter('c')", "a test makes no metrics of its own")]:
        (tmp_path / "last.lua").write_text(top + LAST % "return pool[1]", encoding="utf-8")
        done = Done(command("test", tmp_path / "last.lua"))
        assert done.code == 1 and said in done.out, done.out
        assert ("is this file a test? it made no case" in done.out) == bool(top)
    done = run(tmp_path, "error 'oh'")
    assert done.code == 1 and "is this file a test" not in done.out  # its name says so


def test_a_policy_needs_a_pool_of_its_case_or_of_the_file(tmp_path):
    one = 'test.case("one", function() test.pool {"a"} end)\n'
    two = 'test.case("two", function() test.equal(test.policy("first"):pick(), "f") end)\n'
    fails(tmp_path, one + two, "story_test.lua:3: make a pool first, with test.pool()")
    passes(tmp_path, 'test.pool {"f"}\n' + one + two)


# ---- assertions ----

def test_assertions(tmp_path):
    passes(tmp_path, case("""
        test.equal({1, {a = "x"}}, {1, {a = "x"}})
        test.equal(0/0, 0/0)
        test.error(function() test.equal({1}, {1, 2}) end, "got {1}, wanted {1, 2}")
        test.error(function() test.equal({a = 1}, {}) end, "got {a = 1}, wanted {}")
        test.error(function() test.equal("1", 1) end, 'got "1", wanted 1')
        test.near(1.05, 1, 0.1)
        test.error(function() test.near(1.2, 1, 0.1) end)
        test.error(function() test.near(nil, 1, 0.1) end)
        test.error(function() test.ok(false, "light") end, "light: got false")
        test.error(function() test.error(function() end) end, "no error was raised")
        test.error(function() test.error(function() error("a") end, "b") end)
        test.equal(test.error(function() error({}) end):sub(1, 6), "table:")
        """))


def test_where_it_failed_is_told_through_helpers(tmp_path):
    done = fails(tmp_path, """
        local function helper(x) test.equal(x, 2) end
        test.case("it", function()
          helper(1)
        end)""", "story_test.lua:3: got 1, wanted 2")
    assert re.search(r"at \S*story_test.lua:3, \S*story_test.lua:5$", done.out, re.M), done.out


# ---- policies ----

def test_a_policy_sees_real_views(tmp_path):
    passes(tmp_path, case("""
        test.pool {name = "app", {name = "a", weight = 7, active = 3, connect_ms = 1.5,
                                  max_sessions = 9, address = "10.0.0.1:5432"},
                   {name = "b", state = "down"}}
        local name, why = test.policy("./look.lua"):pick {client = "2001:db8::1", port = 7,
                                                        listener = "web", tried = {"b"}}
        test.equal(name, nil)
        test.equal(why, "1 2 app a app 10.0.0.1:5432 up 7 3 1.5 9 down "
          .. "2 2001:db8::1 7 web refused")
        """), look=LAST % """
        local a, all = pool[1], pool.all
        if ctx.listener == "trial" then return a end
        return nil, table.concat({#pool, #all, pool.name, a.name, a.pool_name, a.address, a.state,
          a.weight, a.active, a.connect_ewma_ms, a.max_sessions, all[2].state,
          ctx.attempt, ctx.client, ctx.client_port, ctx.listener, ctx.last_failure}, " ")""")


def test_a_policy_of_the_users_is_proved_as_in_a_configuration(tmp_path):
    for broken, body, said in [
            ("syntax", "return = 1", "./broken.lua:4: unexpected symbol near '='"),
            ("trial", "return pool[3].x", "./broken.lua:4: attempt to index a nil value "
                                          "(trial pick for "),
            ("bad", "return 'a'", "answered a string value in the trial pick"),
            ("loop", "while true do end", "it was stopped")]:
        fails(tmp_path, case("test.pool {'a'} test.policy('./broken.lua')"), said,
              broken=LAST % body)
    good = LAST % "return pool[1]"
    for options, said in [("{m = 1}", "unknown option 'm' of script ./good.lua; it has: n"),
                          ("{n = 'x'}", "option 'n' of script ./good.lua must be a whole number"),
                          ("{n = -1}", "write at least 0"),
                          ("{n = -12345678}", "is -12345678; write at least 0"),
                          ("{n = print}", "options are a table of")]:
        done = fails(tmp_path, case(f"test.pool {{'a'}}\ntest.policy('./good.lua', {options})"),
                     said, good=good)
        assert "story_test.lua:4:" in done.out, done.out
    passes(tmp_path, case("test.pool {'a'} test.policy('./good.lua', {n = 2})"), good=good)


def test_options_reach_the_script(tmp_path):
    passes(tmp_path, case("""
        test.pool {"a"}
        local policy = test.policy("./o.lua", {list = {"x", "y"}, map = {k = {1, 2}}, wait = "250ms",
          on = true, text = 5, none = nil})
        local _, why = policy:pick()
        test.equal(why, "x y 2 250 true 5 9")
        """), o="""
        return {api = 1, kind = "policy", name = "o", options = {list = {type = "list", of = "string"},
          map = {type = "map"}, wait = {type = "duration"}, on = {type = "boolean"},
          text = {type = "string"}, none = {type = "integer", default = 9}},
          new = function(c) return {pick = function(self, ctx, pool)
            return nil, ("%s %s %d %d %s %s %d"):format(c.list[1], c.list[2], c.map.k[2], c.wait,
              tostring(c.on), c.text, c.none) end} end}""")


def test_what_a_policy_does_wrong_fails_the_test_that_asked(tmp_path):
    for body, said in [("return nil + 1", "./wrong.lua:4: attempt to perform arithmetic"),
                       ("return {}", "answered a table value that is none of the backends on offer"),
                       ("return pool.all[1]", "answered a cdata value that is none"),
                       ("while true do end", "it was stopped: it used more than")]:
        body = f"if ctx.listener == 'trial' then return pool[1] end {body}"
        fails(tmp_path, case("""
            test.pool {{name = "a", state = "down"}, "b"}
            test.policy("./wrong.lua"):pick()"""), said, wrong=LAST % body)


def test_a_stopped_policy_is_made_anew_and_in_the_end_taken_out(tmp_path):
    passes(tmp_path, case("""
        test.pool {"a"}
        local policy = test.policy "./loops.lua"
        for _ = 1, 3 do
          test.equal(policy:pick(), "a")
          test.error(function() policy:pick() end, "it was stopped")
        end
        test.error(function() policy:pick() end, "stopped too often")
        """), loops="""
        return {api = 1, kind = "policy", name = "loops", new = function() local n = 0
          return {pick = function(self, ctx, pool)
            if ctx.listener ~= "trial" then n = n + 1 end
            if n == 2 then while true do end end
            return pool[1] end} end}""")


def test_backends_change_between_picks(tmp_path):
    passes(tmp_path, case("""
        local pool = test.pool {"a", {name = "b", state = "starting"}}
        local policy = test.policy "first"
        test.equal(policy:pick {tried = {"a"}}, "b")
        test.equal({policy:pick {tried = {"a", "b"}}}, {nil, "no backend can take it"})
        test.error(function() policy:pick {tried = {"z"}} end, "tried: there is no backend 'z'")
        for _, state in ipairs {"down", "suspect", "drain", "maint"} do
          pool:set("a", {state = state})
          test.equal(pool:get("a").state, state)
          test.equal(policy:pick(), "b", state)
        end
        pool:set("a", {state = "up", weight = 0})
        test.equal(policy:pick(), "b")
        pool:remove "b"
        test.equal({policy:pick()}, {nil, "no backend can take it"})
        pool:add {name = "c", weight = 2}
        test.equal(policy:pick(), "c")
        pool:remove "a" pool:remove "c"
        test.error(function() policy:pick() end, "the pool has no backends")
        pool:add "b"
        test.equal(policy:pick(), "b")
        test.error(function() pool:add "b" end, "there is a backend 'b' already")
        test.error(function() pool:set("z", {active = 1}) end, "there is no backend 'z'")
        test.error(function() pool:set("b", {active = -1}) end, "active must be a whole number")
        test.error(function() pool:set("b", {state = "off"}) end, "state must be")
        """))


def test_math_random_is_the_same_every_time(tmp_path):
    text = case('test.pool {"a", "b", "c"} print(math.random(1e9)) '
                'local p = test.policy "random" local t = {} '
                'for i = 1, 30 do t[i] = p:pick() end print(table.concat(t))')
    first, again = passes(tmp_path, text), passes(tmp_path, text)
    other = passes(tmp_path, text, "--seed", "2")
    assert first.lines == again.lines and first.lines != other.lines


def test_two_pools_and_what_belongs_to_a_case(tmp_path):
    passes(tmp_path, """
        local kept
        local pool = test.pool {"everybody's"}
        test.case("two pools", function()
          local one, two = test.pool {name = "one", "a"}, test.pool {"b"}
          test.equal(test.policy("first", nil, one):pick(), "a")
          kept = test.policy("first")
          test.equal(kept:pick(), "b")
          test.error(function() test.pool {name = "one"} end, "there is a pool 'one' already")
        end)
        test.case("it is over", function()
          test.error(function() kept:pick() end, "another case's")
          test.equal(test.policy("first", {}, pool):pick(), "everybody's")
          test.pool {name = "one", "z"}
        end)
        """)


def test_zones_and_tags(tmp_path):
    passes(tmp_path, case("""
        local pool = test.pool {zone = "north", {name = "a", zone = "north", tags = {"x", "y"}},
                                {name = "b", zone = "south", tags = {"y"}}, "c"}
        local function said() local _, why = test.policy("./labels.lua", nil, pool):pick() return why end
        test.equal(said(), "north a:north:true b:south:false c::false tagged 2 near 1")
        pool:add {name = "d", zone = "east", tags = {"y", "z"}}
        test.equal(said(), "north a:north:true b:south:false c::false d:east:false tagged 3 near 1")
        """), labels=LAST % """
        local t = {pool.zone}
        for i = 1, #pool do
          t[#t + 1] = ("%s:%s:%s"):format(pool[i].name, pool[i].zone, tostring(pool[i]:has_tag("x")))
        end
        t[#t + 1] = ("tagged %d near %d"):format(#pool:tagged("y"), #pool:near())
        if ctx.listener == "trial" then return pool[1] end
        return nil, table.concat(t, " ")""")


def test_what_is_shared_can_be_changed(tmp_path):
    passes(tmp_path, case("""
        local alacrity = require "alacrity"
        alacrity.shared("counts"):set("n", 5)
        test.pool {"a"}
        local policy = test.policy "./counts.lua"
        test.equal({policy:pick()}, {nil, "6"})
        test.equal({policy:pick()}, {nil, "7"})
        local check = test.check "./asks.lua"
        test.equal({check:run()}, {"up", "8"})
        """), counts=LAST % 'return nil, tostring(require("alacrity").shared("counts"):incr("n", 1))',
           asks=CHECK % 'return "up", tostring(require("alacrity").shared("counts"):incr("n", 1))')


# ---- time ----

def test_virtual_time(tmp_path):
    passes(tmp_path, case("""
        local alacrity = require "alacrity"
        test.pool {"a"}
        local policy = test.policy "./clock.lua"
        local began, year = test.clock(), 365 * 86400
        test.equal(alacrity.now(), began)
        local _, said = policy:pick()
        test.equal(tonumber(said), began)
        test.advance(year)
        test.equal(test.clock(), began + year)
        _, said = policy:pick()
        test.equal(tonumber(said), began + year)
        """), clock=LAST % 'return nil, ("%.17g"):format(require("alacrity").now())')


# ---- checks ----

CHECK = """
local net = require "alacrity.net"
return {api = 1, kind = "check", name = "mine", new = function() return {check = function(self, backend)
%s
end} end}
"""


def check_passes(folder, body, check):
    passes(folder, case('local check = test.check "./mine.lua"\n' + body), mine=CHECK % check)


def test_a_check_talks_to_a_server_of_the_test(tmp_path):
    check_passes(tmp_path, """
        local state, info = check:run {backend = {name = "b7", address = "10.9.8.7:66", active = 3},
          server = function(conversation, number)
            test.equal(conversation:receive_line(), "who b7 10.9.8.7:66 3")
            conversation:send("you are " .. number .. "\\n")
            test.equal({conversation:receive(1)}, {nil, "closed"})
          end}
        test.equal({state, info}, {"drain", "you are 1 you are 2"})
        """, """
        local said = {}
        for i = 1, 2 do
          local s = net.connect(backend)
          s:send(("who %s %s %d\\n"):format(backend.name, backend.address, backend.active))
          said[i] = s:receive_line()
          s:close()
        end
        return "drain", table.concat(said, " ")""")


def test_every_way_a_peer_can_fail(tmp_path):
    check_passes(tmp_path, """
        local function run(server, more)
          local with = {server = server, timeout = 10}
          for k, v in pairs(more or {}) do with[k] = v end
          local began = test.clock()
          local state, info = check:run(with)
          return state .. " " .. info .. (" %.1f"):format(test.clock() - began)
        end
        test.equal(run "refused", "down connect refused 0.0")
        test.equal(run("refused", {connect = 0.5}), "down connect refused 0.5")
        test.equal(run "unreachable", "down connect No route to host 0.0")
        test.equal(run "unanswered", "down connect timeout 2.0")
        test.equal(run("silent", {connect = 2.5}), "down connect timeout 2.0")
        test.equal(run "silent", "down receive timeout 3.0")
        test.equal(run("silent", {connect = 1}), "down receive timeout 4.0")
        test.equal(run("silent", {timeout = 1}), "down timeout 1.0")
        test.equal(run {"close"}, "down receive closed 0.0")
        test.equal(run {"reset"}, "down receive reset 0.0")
        test.equal(run {{wait = 1}, {send = "ab"}}, "down receive closed 1.0")
        test.equal(run {{send = "abc"}}, "up abc 0.0")
        test.equal(run(test.drip("abc", 0.5)), "up abc 1.5")
        test.equal(run(test.drip("abc", 1.5)), "down receive timeout 3.0")
        test.equal(run {{send = test.garbage(100000)}}, "up " .. test.garbage(3) .. " 0.0")
        """, """
        local s, err = net.connect(backend, {timeout = 2})
        if not s then return "down", "connect " .. err end
        local bytes, why = s:receive(3, 3)
        if not bytes then return "down", "receive " .. why end
        return "up", bytes""")


def test_a_peer_that_does_not_read_makes_a_check_wait(tmp_path):
    check_passes(tmp_path, """
        test.equal({check:run {server = "silent", timeout = 5}}, {"down", "timeout"})
        local state = check:run {server = function(conversation)
          test.equal(#conversation:receive(300000), 300000)
        end}
        test.equal(state, "up")
        """, """
        local s = net.connect(backend)
        local ok, why = s:send(("x"):rep(300000), 2)
        return ok and "up" or "down", why""")


def test_what_goes_wrong_in_a_check_or_its_server_fails_the_test(tmp_path):
    mine = CHECK % ("local s = net.connect(backend) s:send('hello') local l, why = s:receive_line() "
                    "if l == 'boom' then error('bang') end "
                    "if l == 'loop' then while true do end end return l, why")
    for server, said in [("{{send = 'boom\\n'}}", "check ./mine.lua: ./mine.lua:4: bang"),
                         ("{{send = 'loop\\n'}}", "it was stopped"),
                         ("{{send = 'odd\\n'}}", 'it must answer "up", "down" or "drain"'),
                         ("{{expect = 'holla'}}", 'step 1 of the server: got "hello", expected "holla"'),
                         ("{{expect = 'hello'}, {send = 'up\\n'}, {expect = 'bye'}}",
                          'step 3 of the server: got closed, expected "bye"'),
                         ("{{sned = 'x'}}", 'step 1 of the server: there is no "sned"; a step is '
                          '{expect = bytes}, {send = bytes}, {wait = seconds}, "close" or "reset"'),
                         ("{{send = 'x'}, {send = 7}}", "step 2 of the server: send takes a string"),
                         ("{{}}", "step 1 of the server: it is empty"),
                         ("{{send = 'x'}, 'rest'}", 'step 2 of the server: got "rest"; a step is'),
                         ("{nil, 'close'}", "step 1 of the server: got nil; a step is"),
                         ("{send = 'x'}", 'the server has no "send": it is a list of steps'),
                         ("function(c) c.x.y = 1 end", "attempt to index"),
                         ("7", "server must be a function"),
                         ("'asleep'", "server must be a function")]:
        done = fails(tmp_path, case(f'test.check("./mine.lua"):run {{server = {server}}}'), said,
                     mine=mine)
        assert "story_test.lua:3: " in done.out, done.out


def test_checks_are_proved_too(tmp_path):
    fails(tmp_path, case('test.check "./nowhere.lua"'), "cannot read the script ./nowhere.lua")
    fails(tmp_path, case('test.check "./p.lua"'), "this is a policy, but it is used as a check",
          p=LAST % "return pool[1]")
    fails(tmp_path, case('test.check "redis"'), "there is no stock check 'redis'")


def test_a_check_that_waits_long_takes_no_time(tmp_path):
    passes(tmp_path, case("""
        local check = test.check "tcp"
        for _ = 1, 1000 do check:run {server = "unanswered", timeout = 3600} end
        """), "--timeout", f"{20 * PATIENCE}s")


# ---- routes ----

ROUTE = """
local net = require "alacrity.net"
return {api = 1, kind = "route", name = "r",
  options = {pool = {type = "pool", default = "any"}},
  new = function(cfg) return {route = function(self, ctx) %s end} end}
"""


def route(body):
    return f'local route = test.route("./r.lua")\n{case(body)}'


def test_a_route_chooses_rejects_or_does_neither(tmp_path):
    passes(tmp_path, route("""
        test.equal(route:run { bytes = "one" }, "one")
        test.equal({ route:run { bytes = "two" } }, { nil, "rejected", "for a reason" })
        test.equal({ route:run { bytes = "six" } }, { nil, "default" })
        test.equal({ route:run { bytes = "si", timeout = 2 } }, { nil, "timeout" })
        test.equal({ route:run { bytes = "si", ended = true } }, { nil, "default" })
        """), r=ROUTE % """
        local word = ctx:peek(3)
        if word == "one" then ctx:use("two") ctx:use("one") end
        if word == "two" then ctx:use("one") ctx:reject("for a reason") end
        """)


def test_what_a_route_sees_is_what_the_test_says(tmp_path):
    passes(tmp_path, route("""
        local session = { client = "2001:db8::1", port = 7, listener = "web", values = { n = 1 },
                          bytes = "abc", pause = 0.5 }
        local began = test.clock()
        test.equal(route:run(session), "2001:db8::1 7 web 0")
        test.near(test.clock() - began, 1, 0.001)
        test.equal(session.values, { n = 2, seen = "ab" })
        """), r=ROUTE % """
        ctx:set("n", ctx:get("n") + 1)
        ctx:set("seen", (ctx:peek(2)))
        ctx:use(("%s %d %s %d"):format(ctx.client, ctx.client_port, ctx.listener, ctx.attempt))
        """)


def test_a_route_talks_to_a_server_of_the_test(tmp_path):
    passes(tmp_path, route("""
        test.equal(route:run { bytes = "x", server = { { expect = "x" }, { send = "east\\n" } } },
          "east")
        test.equal({ route:run { bytes = "x", server = "refused" } }, { nil, "rejected", "refused" })
        """), r=ROUTE % """
        local first = ctx:peek(1)
        local socket, why = net.connect("192.0.2.9:80")
        if not socket then return ctx:reject(why) end
        socket:send(first)
        ctx:use(socket:receive_line())
        """)


@pytest.mark.parametrize("body,run_,message", [
    ("error('oh no')", "{}", "oh no"),
    ("return 5", "{}", "must return nothing"),
    ("ctx:peek(0)", "{}", "1 to 16384"),
    ("ctx:use()", "{}", "bad argument"),
    ("", "{ nonsense = 1 }", "story_test.lua:4: a session to be routed has no 'nonsense'"),
    ("", "{ pause = -1 }", "pause must be seconds"),
    ("", "{ timeout = 0 }", "timeout must be seconds"),
    ("", "{ client = 'nobody' }", "client must be an address"),
    ("", "{ bytes = ('x'):rep(16385) }", "bytes are 16384 at most"),
    ("", "{ values = { n = {} } }", "values: n is no number"),
    ("", "{ server = 'asleep' }", "server must be"),
    ("net.connect('192.0.2.1:80') net.sleep(1)", "{ server = function() error('x') end }", "x"),
])
def test_what_goes_wrong_in_a_route_fails_the_test(tmp_path, body, run_, message):
    fails(tmp_path, route(f"route:run({run_})"), message, r=ROUTE % body)


@pytest.mark.skipif(SANITIZED == "tsan", reason="nothing can be stopped under ThreadSanitizer")
def test_a_route_that_does_not_end_fails_the_test_and_the_next_goes_on(tmp_path):
    done = run(tmp_path, route("route:run { bytes = 'x' }")
               + 'test.case("again", function() test.equal(route:run { bytes = "y" }, "any") end)',
               r=ROUTE % "if ctx:peek(1) == 'x' then while true do end end ctx:use(cfg.pool)")
    assert len(done.failed) == 1 and len(done.passed) == 1, done.out
    assert "used more than" in done.out or "it was stopped" in done.out


def test_a_case_that_fails_while_its_route_waits_leaves_nothing(tmp_path):
    done = run(tmp_path, route("route:run { bytes = 'x', server = function() error('x') end }")
               + 'test.case("b", function() test.equal(route:run { bytes = "yes" }, "any") end)',
               r=ROUTE % "net.connect('192.0.2.1:80') ctx:peek(3, 1) ctx:use(cfg.pool)")
    assert len(done.failed) == 1 and len(done.passed) == 1, done.out
