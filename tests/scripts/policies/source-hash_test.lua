local test = require "alacrity.test"

local function places(policy, clients)
  local found = {}
  for i = 1, clients do
    local client = ("10.1.%d.%d"):format(i / 250, i % 250)
    found[client] = policy:pick { client = client }
  end
  return found
end

test.case("a client stays where it is", function()
  test.pool { "a", "b", "c" }
  local policy = test.policy "source-hash"
  test.equal(places(policy, 200), places(policy, 200))
  local home = policy:pick { client = "2001:db8::7", port = 1 }
  test.equal(policy:pick { client = "2001:db8::7", port = 2 }, home)
end)

test.case("two instances agree", function()
  test.pool { "a", "b", "c" }
  test.equal(places(test.policy "source-hash", 200), places(test.policy "source-hash", 200))
end)

test.case("even", function()
  test.pool { "a", "b", "c", "d" }
  local counts = test.policy "source-hash":spread(8000)
  for _, name in ipairs { "a", "b", "c", "d" } do test.near(counts[name], 2000, 200, name) end
end)

test.case("when one goes down nearly only its clients move, and they come back", function()
  local pool = test.pool { "a", "b", "c", "d", "e" }
  local policy = test.policy "source-hash"
  local before = places(policy, 1000)
  pool:set("c", { state = "down" })
  local moved = 0
  for client, name in pairs(places(policy, 1000)) do
    test.ok(name ~= "c")
    if before[client] ~= "c" and before[client] ~= name then moved = moved + 1 end
  end
  test.ok(moved < 100, moved .. " of 1000 moved without need")
  pool:set("c", { state = "up" })
  test.equal(places(policy, 1000), before)
end)

test.case("when one is added or removed nearly only its clients move", function()
  local pool = test.pool { "a", "b", "c", "d" }
  local policy = test.policy "source-hash"
  local before = places(policy, 1000)
  pool:add "e"
  local moved = 0
  for client, name in pairs(places(policy, 1000)) do
    if name ~= "e" and name ~= before[client] then moved = moved + 1 end
  end
  test.ok(moved < 100, moved .. " of 1000 moved without need")
  pool:remove "e"
  test.equal(places(policy, 1000), before)
end)
