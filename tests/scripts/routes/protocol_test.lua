local test = require "alacrity.test"
local route = test.route("protocol", { ssh = "shell", http = "web", wait = "2s" })

test.case("by the first bytes", function()
  test.equal(route:run { bytes = "SSH-2.0-x\r\n" }, "shell")
  test.equal(route:run { bytes = "GET / HTTP/1.1\r\n" }, "web")
  test.equal({ route:run { bytes = "\22\3\1\0" } }, { nil, "default" })
end)

test.case("they may come one by one", function()
  local began = test.clock()
  test.equal(route:run { bytes = "SSH-2.0-x\r\n", pause = 0.25 }, "shell")
  test.near(test.clock() - began, 1, 0.001, "after the fourth")
end)

test.case("who says nothing, or too little, is not waited for longer", function()
  local began = test.clock()
  test.equal({ route:run {} }, { nil, "default" })
  test.near(test.clock() - began, 2, 0.001)
  test.equal({ route:run { bytes = "SSH" } }, { nil, "default" })
  began = test.clock()
  test.equal({ route:run { bytes = "SSH", ended = true } }, { nil, "default" })
  test.equal(test.clock(), began, "a client that ended says no more")
end)
