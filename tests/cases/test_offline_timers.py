"""Timers where time is made up: `alacrity test` and `alacrity simulate` let them happen as it passes."""
import json
import time

import pytest

from support import SANITIZED, command
from test_offline_test import case, fails, passes, run

# A policy that answers nobody, and why: how often its timer came.
TICKS = """
local alacrity = require "alacrity"
return {api = 1, kind = "policy", name = "ticks", new = function()
  local turns, stop = 0, nil
  stop = alacrity.every(0.1, function() turns = turns + 1; %s end)
  return {pick = function(self, ctx, pool) return nil, tostring(turns) end} end}
"""


def test_a_policys_timers_happen_as_time_passes(tmp_path):
    passes(tmp_path, case("""
        test.pool {"a"}
        local policy = test.policy "./ticks.lua"
        local function turns() return tonumber((select(2, policy:pick()))) end
        test.equal(turns(), 0)
        test.advance(1) -- the one that is due at its very end, too
        test.equal(turns(), 10)
        test.advance(0.05)
        test.equal(turns(), 10)
        test.advance(0.05)
        test.equal(turns(), 11)
        test.near(test.clock(), 1001.1, 1e-9)
        """), ticks=TICKS % "")
    passes(tmp_path, case("""
        test.pool {"a"}
        local policy = test.policy "./ticks.lua"
        test.advance(86400 * 3)
        test.equal({policy:pick()}, {nil, "5"})
        """), ticks=TICKS % "if turns == 5 then stop() end")


def test_after_and_spawn_and_what_a_pick_begins(tmp_path):
    passes(tmp_path, case("""
        test.pool {"a"}
        local policy = test.policy "./begins.lua"
        test.equal({policy:pick()}, {nil, "-"})
        test.advance(0.001)
        test.equal({policy:pick()}, {nil, "-spawned "})
        test.advance(1.998)
        test.equal({policy:pick()}, {nil, "-spawned "})
        test.advance(0.001)
        test.equal({policy:pick()}, {nil, "-spawned after 2.000 "})
        """), begins="""
        local alacrity = require "alacrity"
        return {api = 1, kind = "policy", name = "begins", new = function()
          local said, begun = "-", false
          return {pick = function(self, ctx, pool)
            if not begun and ctx.listener ~= "trial" then
              begun = true
              local at = alacrity.now()
              alacrity.after(2, function() said = said .. ("after %.3f "):format(alacrity.now() - at) end)
              alacrity.spawn(function() said = said .. "spawned " end)
            end
            return nil, said end} end}""")


@pytest.mark.parametrize("body, said", [
    ("if turns == 3 then error('third') end", "a timer of ./ticks.lua failed: ./ticks.lua:5: third"),
    ("while true do end", "a timer of ./ticks.lua failed: timer: it was stopped"),
])
def test_what_fails_in_a_timer_fails_the_test(tmp_path, body, said):
    ticks = TICKS % body
    done = fails(tmp_path, case('test.pool {"a"}\ntest.policy "./ticks.lua"\ntest.advance(1)'), said,
                 ticks=ticks)
    assert "story_test.lua:5: a timer" in done.out  # the line that let the time pass
    passes(tmp_path, case("""
        test.pool {"a"}
        test.policy "./ticks.lua"
        test.error(function() test.advance(0.3) end, "a timer of ./ticks.lua failed")
        """), ticks=ticks)
    # Time passes in other ways, too.
    fails(tmp_path, case("""
        test.pool {"a"}
        test.policy "./ticks.lua"
        require("alacrity.net").sleep(1)
        """), said, ticks=ticks)


def test_timers_end_with_the_case_that_made_their_policy(tmp_path):
    text = 'test.pool {"a"}\ntest.policy "./ticks.lua"\ntest.check "./checks.lua"\ntest.advance(0.2)'
    passes(tmp_path, case(text) + 'test.case("next", function() test.advance(9) end)',
           ticks=TICKS % "if turns == 3 then error('third') end",
           checks="""
           local alacrity = require "alacrity"
           return {api = 1, kind = "check", name = "checks", new = function()
             alacrity.after(1, function() error("late") end)
             return {check = function() return "up" end} end}""")


def test_timers_of_checks_and_routes(tmp_path):
    body = """
        local alacrity = require "alacrity"
        return {api = 1, kind = "%s", name = "x", new = function()
          local turns = 0
          alacrity.every(0.1, function()
            turns = turns + 1
            if turns == 11 then error("eleventh") end
          end)
          return {%s} end}"""
    done = run(tmp_path, """
        test.case("check", function()
          local check = test.check "./checks.lua"
          test.advance(1)
          test.equal({check:run {}}, {"up", "10"})
          test.error(function() test.advance(0.1) end, "a timer of ./checks.lua failed: ./checks.lua:7")
        end)
        test.case("route", function()
          local route = test.route "./routes.lua"
          test.advance(1)
          test.equal({route:run {}}, {nil, "rejected", "10"})
          test.error(function() test.advance(0.1) end, "a timer of ./routes.lua failed: ./routes.lua:7")
        end)
        """, checks=body % ("check", "check = function() return 'up', tostring(turns) end"),
               routes=body % ("route", "route = function(self, ctx) ctx:reject(tostring(turns)) end"))
    assert len(done.passed) == 2, done.out + done.err


def test_one_that_spawns_itself_for_ever_does_not_hang(tmp_path):
    (tmp_path / "spawns.lua").write_text("""
        local alacrity = require "alacrity"
        return {api = 1, kind = "policy", name = "spawns", new = function()
          local turns = 0
          local function again() turns = turns + 1; alacrity.spawn(again) end
          alacrity.spawn(again)
          return {pick = function(self, ctx, pool) return pool[1], turns end} end}""", encoding="utf-8")
    passes(tmp_path, case('test.pool {"a"}\ntest.policy "./spawns.lua"\ntest.advance(2)'))
    done = command("simulate", "-p", tmp_path / "spawns.lua", "--duration", "10s")
    assert done.returncode == 0, done.stdout


# ---- simulate ----

def simulate(script, *words, code=0):
    done = command("simulate", "-p", script, *words, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)["policies"][0]


def test_timers_happen_between_the_sessions(tmp_path):
    """Every pick sees as many turns as virtual time has had room for, on both workers."""
    script = tmp_path / "exact.lua"
    script.write_text("""
        local alacrity = require "alacrity"
        return {api = 1, kind = "policy", name = "exact", new = function()
          local turns, last = 0, 1000
          alacrity.every(0.01, function()
            turns = turns + 1
            assert(alacrity.now() > last - 1e-9 and alacrity.now() <= 1060)
            last = alacrity.now()
          end)
          return {pick = function(self, ctx, pool)
            local passed = alacrity.now() - 1000
            assert(math.abs(turns - passed / 0.01) < 1.01, turns .. " in " .. passed)
            assert(last <= alacrity.now())
            return pool[1] end} end}""", encoding="utf-8")
    began = time.monotonic()
    result = simulate(script, "--duration", "1m", "--workers", 2)
    assert result["errors"] == 0, result["first_error"]
    assert time.monotonic() - began < (20 if SANITIZED else 2)  # 12,000 turns


def test_what_fails_in_a_timer_is_counted(tmp_path):
    script = tmp_path / "ticks.lua"
    for body, count, said in [("error('tick')", "errors", "ticks.lua:5: tick"),
                              ("while true do end", "overruns", "timer: it was stopped")]:
        text = TICKS % body
        script.write_text(text.replace("return nil, tostring(turns)", "return pool[1]"), encoding="utf-8")
        result = simulate(script, "--duration", "10s", "--workers", 1, code=1)
        assert said in result["first_error"], result
        # Errors go on; one that is stopped again and again is taken out.
        assert result[count] == (100 if count == "errors" else 3), result
        assert (result["fallbacks"] > 0) == (count == "overruns")
