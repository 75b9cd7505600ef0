-- Run by `alacrity test examples/checks`. No Redis is needed: the servers are made up here, and time
-- is virtual, so that a timeout takes no time.
local test = require "alacrity.test"

local check = test.check("./redis.lua")

test.case("up when it answers", function()
  local state, info = check:run { server = { { expect = "PING\r\n" }, { send = "+PONG\r\n" } } }
  test.equal(state, "up")
  test.equal(info, "answers")
end)

test.case("down while it loads its data", function()
  local state, info = check:run {
    server = function(conversation)
      test.equal(conversation:receive_line(), "PING")
      conversation:send("-LOADING Redis is loading the dataset in memory\r\n")
    end,
  }
  test.equal(state, "down")
  test.equal(info, "-LOADING Redis is loading the dataset in memory")
end)

test.case("down when nobody listens, or nobody answers in time", function()
  test.equal({ check:run { server = "refused" } }, { "down", "refused" })
  test.equal({ check:run { server = "unanswered", timeout = 5 } }, { "down", "timeout" })
  test.equal({ check:run { server = "silent", timeout = 5 } }, { "down", "timeout" })
end)

test.case("down when it closes or talks nonsense", function()
  test.equal({ check:run { server = { { expect = "PING\r\n" }, "close" } } }, { "down", "closed" })
  test.equal({ check:run { server = { { expect = "PING\r\n" }, "reset" } } }, { "down", "reset" })
  local nonsense = { { expect = "PING\r\n" }, { send = ("x"):rep(300) } }
  test.equal({ check:run { server = nonsense } }, { "down", "too long" })
end)

test.case("slow is not down, as long as it is within the timeout", function()
  local drip = test.drip("+PONG\r\n", 0.1)
  test.equal({ check:run { server = drip, timeout = 1 } }, { "up", "answers" })
  test.equal({ check:run { server = drip, timeout = 0.5 } }, { "down", "timeout" })
end)
