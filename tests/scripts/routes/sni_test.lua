local test = require "alacrity.test"
local route = test.route("sni", { pools = { ["a.example"] = "a", ["*.b.example"] = "b" } })

local function u16(n) return string.char(math.floor(n / 256), n % 256) end

-- A ClientHello, as small as they come: the extensions are given as {type, text}.
local function hello(extensions)
  local list = ""
  for _, extension in ipairs(extensions) do
    list = list .. u16(extension[1]) .. u16(#extension[2]) .. extension[2]
  end
  local body = "\3\3" .. ("r"):rep(32) .. "\0" .. u16(2) .. "\19\1" .. "\1\0" .. u16(#list) .. list
  local message = "\1\0" .. u16(#body) .. body
  return "\22\3\1" .. u16(#message) .. message
end

local function name(text) return { 0, u16(#text + 3) .. "\0" .. u16(#text) .. text } end
local OTHER = { 10, "\0\2\0\29" }

test.case("the name chooses, wherever it stands", function()
  test.equal(route:run { bytes = hello { name "a.example" } }, "a")
  test.equal(route:run { bytes = hello { OTHER, name "www.b.example", OTHER } }, "b")
  test.equal(route:run { bytes = hello { name "A.EXAMPLE." } }, "a")
  test.equal({ route:run { bytes = hello { name "c.example" } } }, { nil, "default" })
  test.equal({ route:run { bytes = hello { OTHER } } }, { nil, "default" })
  test.equal({ route:run { bytes = hello {} } }, { nil, "default" })
end)

test.case("byte by byte", function()
  test.equal(route:run { bytes = hello { name "a.example" }, pause = 0.01 }, "a")
end)

test.case("lengths that lie", function()
  local good = hello { OTHER, name "a.example" }
  for at = 1, #good do
    for _, value in ipairs { 0, 1, 127, 255 } do
      local bytes = good:sub(1, at - 1) .. string.char(value) .. good:sub(at + 1)
      local pool, word = route:run { bytes = bytes, ended = true }
      test.ok(pool == "a" or word == "default", at)
    end
    test.equal({ route:run { bytes = good:sub(1, at - 1), ended = true } }, { nil, "default" })
  end
end)

test.case("a client that says it will send more, and does not", function()
  test.equal({ route:run { bytes = "\22\3\1\1\0\1", timeout = 3 } }, { nil, "timeout" })
end)
