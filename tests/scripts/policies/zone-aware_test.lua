local test = require "alacrity.test"

test.case("stays in its zone, and leaves it when the zone lacks backends", function()
  local pool = test.pool { zone = "north", { name = "n1", zone = "north" },
    { name = "n2", zone = "north" }, { name = "s", zone = "south" } }
  local policy = test.policy "zone-aware"
  test.equal(policy:spread(200).s, 0)
  pool:set("n1", { state = "down" })
  local counts = policy:spread(7000)
  test.near(counts.s, 2000, 200) -- half of the weight is away: two in seven
  pool:set("n2", { state = "down" })
  test.equal(policy:spread(100), { n1 = 0, n2 = 0, s = 100 })
end)

test.case("must know where it stands", function()
  test.pool { { name = "a", zone = "north" } }
  test.error(function() test.policy "zone-aware" end, "write zone: NAME")
end)
