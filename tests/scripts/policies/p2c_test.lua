local test = require "alacrity.test"

test.case("of two, always the emptier", function()
  test.pool { { name = "a", active = 1 }, "b" }
  test.equal(test.policy "p2c":spread(500), { a = 0, b = 500 })
end)

test.case("the fullest of many gets none, the others share", function()
  test.pool { { name = "full", active = 50 }, "b", "c", "d" }
  local counts = test.policy "p2c":spread(3000)
  test.equal(counts.full, 0)
  for _, name in ipairs { "b", "c", "d" } do test.near(counts[name], 1000, 150, name) end
end)

test.case("by weight", function()
  test.pool { { name = "a", active = 5, weight = 10 }, { name = "b", active = 1 } }
  test.equal(test.policy "p2c":pick(), "a")
end)

test.case("the only one", function()
  test.pool { "a" }
  test.equal(test.policy "p2c":pick(), "a")
end)
