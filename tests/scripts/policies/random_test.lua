local test = require "alacrity.test"

test.case("in proportion to the weight", function()
  test.pool { { name = "a", weight = 3 }, { name = "b", weight = 1 } }
  local counts = test.policy "random":spread(8000)
  test.near(counts.a, 6000, 200)
  test.equal(counts.a + counts.b, 8000)
end)

test.case("nobody of weight 0", function()
  test.pool { { name = "a", weight = 0 }, "b" }
  test.equal(test.policy "random":spread(200), { a = 0, b = 200 })
end)
