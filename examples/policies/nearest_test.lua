-- Run by `alacrity test examples/policies`.
local test = require "alacrity.test"

test.case("the fastest to connect gets the session", function()
  test.pool {
    { name = "near", connect_ms = 0.3 },
    { name = "far", connect_ms = 12 },
  }
  test.equal(test.policy("./nearest.lua"):pick(), "near")
end)

test.case("a busy one gives way to one further off", function()
  local pool = test.pool {
    { name = "near", connect_ms = 1 },
    { name = "far", connect_ms = 12 },
  }
  local policy = test.policy("./nearest.lua", { penalty_ms = 2 })
  pool:set("near", { active = 5 }) -- 1 + 2 * 5 = 11
  test.equal(policy:pick(), "near")
  pool:set("near", { active = 6 }) -- 13
  test.equal(policy:pick(), "far")
end)

test.case("equal ones share", function()
  test.pool { "a", "b" }
  local counts = test.policy("./nearest.lua"):spread(2000)
  test.near(counts.a, 1000, 150)
end)

test.case("whoever is left is taken", function()
  local pool = test.pool { { name = "a", connect_ms = 1 }, { name = "b", connect_ms = 9 } }
  local policy = test.policy("./nearest.lua")
  test.equal(policy:pick { tried = { "a" } }, "b")
  pool:set("a", { state = "down" })
  test.equal(policy:pick(), "b")
  pool:set("b", { state = "drain" })
  test.equal(policy:pick(), nil)
end)

test.case("a negative penalty is refused", function()
  test.pool { "a" }
  test.error(function() test.policy("./nearest.lua", { penalty_ms = -1 }) end, "at least 0")
end)
