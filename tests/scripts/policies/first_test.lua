local test = require "alacrity.test"

test.case("the first that can take it", function()
  local pool = test.pool { { name = "primary", max_sessions = 2 }, "standby", "last" }
  local policy = test.policy "first"
  test.equal(policy:pick(), "primary")
  pool:set("primary", { active = 2 })
  test.equal(policy:pick(), "standby")
  pool:set("primary", { active = 0, state = "down" })
  test.equal(policy:pick(), "standby")
  test.equal(policy:pick { tried = { "standby" } }, "last")
  pool:set("primary", { state = "up" })
  test.equal(policy:pick(), "primary")
end)
