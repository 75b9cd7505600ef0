-- Run by `alacrity test examples/checks`.
local test = require "alacrity.test"

local check = test.check("./load.lua")

test.case("up with the load it tells", function()
  test.equal({ check:run { server = { { send = "0.7\r\n" } } } }, { "up", "load 0.7" })
end)

test.case("down when it says something else, or nothing", function()
  test.equal({ check:run { server = { { send = "busy\r\n" } } } }, { "down", "no load: busy" })
  test.equal({ check:run { server = { { send = "-1\r\n" } } } }, { "down", "no load: -1" })
  test.equal({ check:run { server = { "close" } } }, { "down", "closed" })
  test.equal({ check:run { server = "refused" } }, { "down", "refused" })
end)
