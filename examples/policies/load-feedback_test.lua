-- Run by `alacrity test examples/policies`.
local alacrity, test = require "alacrity", require "alacrity.test"
local loads = alacrity.shared("load")

test.case("the one with the least load for its sessions", function()
  local pool = test.pool { { name = "a", active = 2 }, { name = "b", active = 2 } }
  loads:set("a", 4)
  loads:set("b", 1)
  local policy = test.policy("./load-feedback.lua")
  test.equal(policy:pick(), "b")
  pool:set("b", { active = 20 }) -- 1 * 21 against 4 * 3
  test.equal(policy:pick(), "a")
end)

test.case("who said nothing counts as loaded by 1", function()
  test.pool { { name = "silent" }, { name = "idle" } }
  loads:set("idle", 0.2)
  test.equal(test.policy("./load-feedback.lua"):pick(), "idle")
end)

test.case("what a server says anew is believed when its time has come", function()
  test.pool { "a", "b" }
  loads:set("a", 1)
  loads:set("b", 2)
  local policy = test.policy("./load-feedback.lua", { renew = "2s" })
  test.equal(policy:pick(), "a")
  loads:set("a", 3)
  test.advance(1.9)
  test.equal(policy:pick(), "a")
  test.advance(0.1)
  test.equal(policy:pick(), "b")
end)
