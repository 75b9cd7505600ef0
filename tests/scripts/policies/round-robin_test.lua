local test = require "alacrity.test"

test.case("in turn, in the order of the pool", function()
  test.pool { "a", "b", "c" }
  local policy = test.policy "round-robin"
  local first = policy:pick()
  local order = { a = "b", b = "c", c = "a" }
  for _ = 1, 9 do
    local name = policy:pick()
    test.equal(name, order[first])
    first = name
  end
end)

test.case("exactly by weight, and well mixed", function()
  test.pool { { name = "a", weight = 3 }, { name = "b", weight = 1 } }
  local policy = test.policy "round-robin"
  test.equal(policy:spread(400), { a = 300, b = 100 })
  local since = 0
  for _ = 1, 40 do
    since = policy:pick() == "b" and 0 or since + 1
    test.ok(since <= 4, "b waits for more than four turns of a")
  end
end)

test.case("who is down has no turn, and who comes back is not made up to", function()
  local pool = test.pool { "a", "b", "c" }
  local policy = test.policy "round-robin"
  pool:set("b", { state = "down" })
  local without = policy:spread(300)
  test.equal(without.b, 0)
  test.near(without.a, 150, 1)
  pool:set("b", { state = "up" })
  local counts = policy:spread(30)
  test.near(counts.b, 10, 1)
end)

test.case("a retry gets another", function()
  test.pool { "a", "b" }
  local policy = test.policy "round-robin"
  for _ = 1, 4 do test.equal(policy:pick { tried = { "a" } }, "b") end
  test.equal(policy:pick { tried = { "a", "b" } }, nil)
end)
