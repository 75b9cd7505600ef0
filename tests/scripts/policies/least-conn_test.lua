local test = require "alacrity.test"

test.case("the fewest sessions for the weight", function()
  local pool = test.pool { { name = "a", active = 3 }, { name = "b", active = 2 } }
  local policy = test.policy "least-conn"
  test.equal(policy:pick(), "b")
  pool:set("a", { weight = 3 }) -- 4 / 3 against 3 / 1
  test.equal(policy:pick(), "a")
end)

test.case("equal ones in turn", function()
  test.pool { "a", "b", "c", "d" }
  test.equal(test.policy "least-conn":spread(400), { a = 100, b = 100, c = 100, d = 100 })
end)

test.case("fills up evenly when sessions are counted", function()
  local pool = test.pool { { name = "a", active = 7 }, "b", "c" }
  local policy = test.policy "least-conn"
  for _ = 1, 14 do
    local name = policy:pick()
    pool:set(name, { active = pool:get(name).active + 1 })
  end
  for _, name in ipairs { "a", "b", "c" } do test.equal(pool:get(name).active, 7, name) end
end)

test.case("a full one is not asked for", function()
  local pool = test.pool { { name = "a", max_sessions = 1 }, { name = "b", active = 9 } }
  local policy = test.policy "least-conn"
  test.equal(policy:pick(), "a")
  pool:set("a", { active = 1 })
  test.equal(policy:pick(), "b")
end)
