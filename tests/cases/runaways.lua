-- Scripts that would never come back by themselves, for the cases and drills of the watchdog: each
-- is a function of no arguments, written with what a policy can reach. `late = true`: what never
-- ends is a C function, which a count hook alone cannot stop.
local concat, insert, remove, sort, unpack = table.concat, table.insert, table.remove, table.sort, unpack

local function grow(s) return s .. s end

return {
  { name = "tight", run = function() while true do end end },
  { name = "numeric", run = function() local x = 0 for i = 1, 1e15 do x = x + i % 3 end return x end },
  { name = "repeat", run = function() local n = 0 repeat n = n + 1 until n < 0 end },
  { name = "goto", run = function() ::again:: goto again end },
  { name = "nested", run = function() while true do for i = 1, 100 do for k = 1, 100 do local _ = i * k end end end end },
  { name = "tables", run = function()
    while true do
      local t = {}
      for i = 1, 50 do
        t[i] = { a = i, b = {} }
        for k, v in pairs(t[i]) do t[k] = v end
      end
    end
  end },
  { name = "next", run = function()
    local t = {}
    for i = 1, 1000 do t["k" .. i] = i end
    while true do
      local k = nil
      repeat k = next(t, k) until not k
    end
  end },
  { name = "concat", run = function() while true do local s = "" for _ = 1, 20000 do s = s .. "x" end end end },
  { name = "rep", run = function() while true do local _ = ("x"):rep(1000000) end end },
  { name = "rep of big", run = function() local c = ("x"):rep(1000000) while true do local _ = c:rep(15) end end },
  { name = "find", late = true, run = function() return ("a"):rep(5000):find(("a-"):rep(20) .. "b") end },
  { name = "match", late = true, run = function() return ("a"):rep(3000):match("(.-)(.-)(.-)(.-)b") end },
  { name = "gsub pattern", late = true, run = function() while true do ("a"):rep(4000):gsub("a-a-a-b", "") end end },
  { name = "gsub callback", run = function()
    local s = ("x"):rep(100000)
    while true do s:gsub(".", function(c) return c .. c end) end
  end },
  { name = "gmatch", run = function()
    local s = ("ab "):rep(10000)
    while true do for _ in s:gmatch("%a+") do end end
  end },
  { name = "plain find", run = function() local s = ("a"):rep(8000000) while true do s:find("b", 1, true) end end },
  { name = "format", run = function()
    while true do local _ = ("%g %s %d %5.3f %q"):format(1.5, "abc", 42, 3.14159, "q") end
  end },
  { name = "number to text", run = function() local i = 0 while true do i = i + 1.5 local _ = tostring(i) end end },
  { name = "text to number", run = function() while true do local _ = tonumber("123.456e7") end end },
  { name = "libm", run = function()
    local x = 1
    while true do x = math.sin(x) + math.pow(1.1, x) + math.exp(-x) + math.log(2 + x) end
  end },
  { name = "bit", run = function() local x = 1 while true do x = bit.bxor(bit.rol(x, 3), 0x5bd1) end end },
  { name = "random", run = function() while true do math.random(1, 100) end end },
  { name = "pcall error", run = function() while true do pcall(error, "x") end end },
  { name = "pcall inner", run = function() while true do pcall(function() while true do end end) end end },
  { name = "pcall of itself", run = function() local function f() pcall(f) f() end f() end },
  { name = "xpcall handler", run = function()
    local function h() error("again") end
    while true do xpcall(function() error "x" end, h) end
  end },
  { name = "errors compiled", run = function()
    local function f(i) local t = nil if i % 7 == 0 then return t.x end return i end
    local i = 0
    while true do i = i + 1 pcall(f, i) pcall(string.rep) end
  end },
  { name = "recursion", run = function() local function f(n) return 1 + f(n + 1) end while true do pcall(f, 1) end end },
  { name = "tail recursion", run = function() local function f(n) return f(n + 1) end return f(1) end },
  { name = "mutual", run = function()
    local f, g
    function f(n) if n > 0 then return g(n - 1) end return f(1e6) end
    function g(n) return f(n) end
    return f(1)
  end },
  { name = "gsub recursion", run = function()
    local function f() return (("x"):gsub(".", f)) end
    while true do pcall(f) end
  end },
  { name = "gsub and errors", run = function()
    local n = 0
    local function f()
      n = n + 1
      if n % 3000 == 0 then error("x") end
      pcall(error, "y")
      return (("x"):gsub(".", f))
    end
    while true do pcall(f) end
  end },
  { name = "sort recursion", run = function()
    local function f() sort({ 2, 1, 3 }, function(a, b) f() return a < b end) end
    while true do pcall(f) end
  end },
  { name = "load recursion", run = function()
    local function f() load(function() f() end) end
    while true do pcall(f) end
  end },
  { name = "tostring recursion", run = function()
    local mt = {}
    mt.__tostring = function(o) return tostring(o) end
    while true do pcall(tostring, setmetatable({}, mt)) end
  end },
  { name = "index recursion", run = function()
    local m = setmetatable({}, { __index = function(t, k) return t[k .. "x"] end })
    while true do pcall(function() return m.a end) end
  end },
  { name = "concat metamethod", run = function()
    local m
    m = setmetatable({}, { __concat = function(a, b) return m .. m end })
    while true do pcall(function() return m .. m end) end
  end },
  { name = "memory tables", run = function() local t = {} for i = 1, 1e9 do t[i] = { i } end end },
  { name = "memory strings", run = function() local s = "xx" while true do s = grow(s) end end },
  { name = "memory swallowed", run = function()
    while true do pcall(function() local t = {} for i = 1, 1e9 do t[i] = { i, tostring(i) } end end) end
  end },
  { name = "memory rep", run = function() while true do pcall(string.rep, "x", 2 ^ 30) end end },
  { name = "memory closures", run = function() local t = {} while true do t[#t + 1] = function() return t end end end },
  { name = "lying comparator", run = function()
    local t = {}
    for i = 1, 20000 do t[i] = (i * 7919) % 20011 end
    while true do pcall(sort, t, function() return true end) end
  end },
  { name = "insert at one", run = function() local t = {} for i = 1, 1e8 do insert(t, 1, i) end end },
  { name = "remove at one", run = function()
    local t = {}
    for i = 1, 60000 do t[i] = i end
    while true do t[#t + 1] = remove(t, 1) end
  end },
  { name = "table concat", run = function()
    local t = {}
    for i = 1, 200000 do t[i] = "abc" end
    while true do concat(t) end
  end },
  { name = "unpack", run = function()
    local t = {}
    for i = 1, 5000 do t[i] = i end
    while true do select("#", unpack(t)) end
  end },
  { name = "load", run = function()
    local n = 0
    while true do
      n = n + 1
      loadstring("local a = " .. n .. " return function(x) for i = 1, 20 do x = x + i * a end return x end")()(n)
    end
  end },
  { name = "compile storm", run = function()
    local n = 0
    while true do
      n = n + 1
      local f = loadstring("local x = 0 for i = 1, 200 do if i % " .. (n % 17 + 2) .. " == 0 then x = x + i * "
        .. n .. " else x = x - 1 end end return x")
      for _ = 1, 5 do f() end
    end
  end },
  { name = "big load", run = function()
    local s = ("local a = {1, 2, 3} "):rep(20000)
    while true do loadstring(s) end
  end },
  { name = "date", run = function() while true do os.date("%c", 1e9) os.time() end end },
  { name = "upvalue", run = (function() local up = 0 return function() repeat up = up + 1 until false end end)() },
}
