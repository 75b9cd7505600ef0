local test = require "alacrity.test"

test.case("the share of the canaries, within each group the emptiest", function()
  test.pool { { name = "old", active = 3 }, "older", { name = "new", tags = { "canary" } } }
  local counts = test.policy("canary", { percent = 25 }):spread(4000)
  test.near(counts.new, 1000, 120)
  test.equal(counts.old, 0)
end)

test.case("the others take all when no canary is there, and the other way round", function()
  local pool = test.pool { "a", { name = "new", tags = { "canary" } } }
  local policy = test.policy("canary", { percent = 50 })
  pool:set("new", { state = "down" })
  test.equal(policy:spread(100), { a = 100, new = 0 })
  pool:set("new", { state = "up" })
  pool:set("a", { state = "down" })
  test.equal(policy:spread(100), { a = 0, new = 100 })
end)
