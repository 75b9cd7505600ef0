local test = require "alacrity.test"
local route = test.route("./ask.lua", { server = "127.0.0.1:7000", remember = "10s" })

local asked = 0
local function answers(line)
  return function(conversation)
    asked = asked + 1
    test.ok(conversation:receive_line())
    conversation:send(line .. "\n")
  end
end

test.case("the server says which pool, and is asked once", function()
  local session = { bytes = "blue\nhello, world", server = answers("east"), values = {} }
  test.equal(route:run(session), "east")
  test.equal(session.values, { token = "blue" })
  test.equal(route:run { bytes = "blue\nhello again..", server = "refused" }, "east")
  test.equal(asked, 1)
  test.advance(11)
  test.equal(route:run { bytes = "blue\nhello again..", server = answers("west") }, "west")
end)

test.case("it does not know the token, or there is none", function()
  test.equal({ route:run { bytes = "red\n", ended = true, server = answers("none") } },
    { nil, "rejected", "unknown token" })
  test.equal({ route:run { bytes = "GET / HTTP/1.1\r\n" } }, { nil, "rejected", "no token" })
  test.equal({ route:run {} }, { nil, "rejected", "no token" })
end)

test.case("it cannot be asked", function()
  for i, server in ipairs { "refused", "unreachable", "unanswered", "closed", "silent" } do
    test.equal({ route:run { bytes = "green" .. i .. "\nhello, world", server = server } },
      { nil, "default" })
  end
end)
