-- Run by `alacrity test examples/policies`.
local test = require "alacrity.test"

test.case("a client that comes too often in a minute is sent away", function()
  test.pool { "a", "b" }
  local policy = test.policy("./client-limit.lua", { most = 3 })
  for _ = 1, 3 do test.ok(policy:pick { client = "192.0.2.1" }) end
  test.equal(policy:pick { client = "192.0.2.1" }, nil)
  test.ok(policy:pick { client = "192.0.2.2" }, "another one may come")
  test.ok(policy:pick { client = "192.0.2.1", attempt = 2 }, "a retry is not another session")
  test.advance(61)
  test.ok(policy:pick { client = "192.0.2.1" }, "a minute later")
end)
