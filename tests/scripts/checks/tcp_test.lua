local test = require "alacrity.test"

local check = test.check "tcp"

test.case("up when a connection is accepted, whatever comes of it", function()
  for _, server in ipairs { "silent", "closed", "reset" } do
    test.equal({ check:run { server = server } }, { "up", "accepts connections" }, server)
  end
end)

test.case("down when it is not", function()
  test.equal({ check:run { server = "refused" } }, { "down", "refused" })
  test.equal(check:run { server = "unreachable" }, "down")
end)

test.case("down when it is not accepted in time", function()
  local began = test.clock()
  test.equal({ check:run { server = "unanswered", timeout = 2 } }, { "down", "timeout" })
  test.near(test.clock() - began, 2, 0.001)
  test.equal(check:run { connect = 1.9, timeout = 2 }, "up")
  test.equal(check:run { connect = 2.1, timeout = 2 }, "down")
end)
