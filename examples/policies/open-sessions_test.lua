-- Run by `alacrity test examples/policies`.
local test = require "alacrity.test"

local function opened(policy, client)
  local session = { client = client, values = {} }
  return policy:pick(session), session
end

local function ended(policy, session, backend)
  policy:close { client = session.client, values = session.values, backend = backend }
end

test.case("who has too many open must end one first", function()
  test.pool { "a", "b" }
  local policy = test.policy("./open-sessions.lua", { most = 2 })
  local backend, first = opened(policy, "192.0.2.1")
  test.ok(backend)
  test.ok(opened(policy, "192.0.2.1"))
  local none, third = opened(policy, "192.0.2.1")
  test.equal(none, nil)
  ended(policy, third) -- it was not counted
  test.equal(opened(policy, "192.0.2.1"), nil)
  test.ok(opened(policy, "192.0.2.2"), "another client")
  ended(policy, first, backend)
  test.ok(opened(policy, "192.0.2.1"), "one has ended")
end)

test.case("a retry counts once", function()
  test.pool { "a", "b" }
  local policy = test.policy("./open-sessions.lua", { most = 1 })
  local session = { client = "192.0.2.3", values = {} } -- dictionaries are the file's, not the case's
  test.ok(policy:pick(session))
  session.tried = { "a" }
  test.equal(policy:pick(session), "b")
end)
