-- alacrity.format: run by `luajit tests/lua/test_format.lua` from the top of the tree.
package.path = "lua/?.lua;" .. package.path
local format = require "alacrity.format"

local tests = 0
local function same(got, wanted)
  tests = tests + 1
  if got ~= wanted then
    error(("got %q, wanted %q"):format(tostring(got), tostring(wanted)), 2)
  end
end

-- JSON: order, arrays, escapes, numbers
same(format.json { b = 1, a = true }, '{"a":true,"b":1}')
same(format.json { 1, "x", { y = false } }, '[1,"x",{"y":false}]')
same(format.json {}, "{}")
same(format.json(format.array {}), "[]")
same(format.json(nil), "null")
same(format.json(setmetatable({ a = 1, z = 2, hidden = 3 }, format.order { "z", "a", "none" })),
  '{"z":2,"a":1}')
same(format.json(setmetatable({}, format.order { "a" })), "{}")
same(format.json '"\\\n\r\t\b\f\0\31', [["\"\\\n\r\t\b\f\u0000\u001f"]])
same(format.json(2 ^ 53 - 1), "9007199254740991")
same(format.json(-3), "-3")
same(format.json(0.5), "0.5")
same(format.json(0 / 0), "null")
same(format.json(1 / 0), "null")
same(format.json(1e300), "1e+300")
same(pcall(format.json, print), false)
same(pcall(format.json, { [{}] = 1 }), false)

-- Long ones into a list, and with time for others.
local long, calls, list = {}, 0, {}
for i = 1, 5000 do long[i] = { i, "a" } end
list.pause = function() calls = calls + 1 end
same(format.json(long, list), list)
same(table.concat(list), format.json(long))
same(#list > 5 and calls == #list - 1, true)

local cycle = {}
cycle.self = cycle
same(pcall(format.json, cycle), false)

-- UTF-8: whole sequences stay, everything else becomes U+FFFD
local bad = "\239\191\189"
same(format.utf8 "gr\195\188n \226\130\172 \240\159\152\128", "gr\195\188n \226\130\172 \240\159\152\128")
same(format.utf8 "a\200b", "a" .. bad .. "b")
same(format.utf8 "\192\175", bad .. bad) -- overlong
same(format.utf8 "\237\160\128", bad .. bad .. bad) -- surrogate
same(format.utf8 "\244\144\128\128", bad:rep(4)) -- beyond U+10FFFF
same(format.utf8 "x\226\130", "x" .. bad .. bad) -- cut short
same(format.json "\255", '"' .. bad .. '"')

-- HTML, CSV, Prometheus
same(format.html [[<a href="x">'&]], "&lt;a href=&quot;x&quot;&gt;&#39;&amp;")
same(format.html "plain", "plain")
same(format.html "a\0b\200", "a" .. bad .. "b" .. bad)
same(format.html(nil), "")
same(format.html(12), "12")
same(format.csv "plain", "plain")
same(format.csv 'a,"b"', '"a,""b"""')
same(format.csv "a\nb", '"a\nb"')
same(format.csv "a\0b\200", "a" .. bad .. "b" .. bad) -- what a check says may be any bytes
same(format.csv(12), "12")
same(format.csv(nil), "")
same(format.label 'a"b\\c\nd', 'a\\"b\\\\c\\nd')
same(format.sample(3), "3")
same(format.sample(0.25), "0.25")
same(format.sample(0 / 0), "NaN")
same(format.sample(1 / 0), "+Inf")
same(format.sample(-1 / 0), "-Inf")

-- for people
same(format.count(0), "0")
same(format.count(999), "999")
same(format.count(999.96), "1\226\128\175000")
same(format.count(9500), "9\226\128\175500")
same(format.count(12345), "12.3 k")
same(format.count(999999), "1.00 M")
same(format.bytes(0), "0 B")
same(format.bytes(1023), "1023 B")
same(format.bytes(1024), "1.00 KiB")
same(format.bytes(1536), "1.50 KiB")
same(format.bytes(1024 * 1024 - 1), "1.00 MiB")
same(format.bytes(2 ^ 40 * 3), "3.00 TiB")
same(format.duration(0), "0 ms")
same(format.duration(0.43), "0.4 ms")
same(format.duration(250), "250 ms")
same(format.duration(999.7), "1 s")
same(format.duration(12000), "12 s")
same(format.duration(60000), "1 min")
same(format.duration(303000), "5 min 3 s")
same(format.duration(3660000), "1 h 1 min")
same(format.duration(273840000), "3 d 4 h")

print(("format: %d checks passed"):format(tests))
