-- How the attempts of tests/lua/escapes*.lua become scripts; and the witness, a script that looks
-- whether its world is as it was. For tests/unit/test_escape.c.
local attempts = {}
for _, file in ipairs { "escapes", "escapes_of_views" } do
  for _, entry in ipairs(dofile("tests/lua/" .. file .. ".lua")) do attempts[#attempts + 1] = entry end
end

local HEAD = [[
local alacrity, kept, marker = require "alacrity", {}, %q
local net = select(2, pcall(require, "alacrity.net"))
if type(net) ~= "table" then net = nil end
require "alacrity.format" require "alacrity.stats_json" require "good"
local dictionary, rotation = alacrity.shared("escape"), alacrity.rotation()
local counter, gauge = alacrity.counter("escape"), alacrity.gauge("escape_g")
local histogram = alacrity.histogram("escape_h", { 1, 2 })
local pcall, tostring, type, error = pcall, tostring, type, error
local function can(f, ...)
  local ok, answer = pcall(f, ...)
  return ok and (answer or answer == nil) and (answer or true) or false
end
local function each(list, f)
  for i = 1, 40 do -- not ipairs: a list may hold nil where there is no pool
    local x = list[i]
    if x ~= nil and f(x) then return tostring(x) end
  end
end
]]
local METHODS = {
  policy = [[
pick = function(self, ctx, pool)
  local said = answer_of(pool[1], pool, ctx)
  if said then error(said, 0) end
  return pool[1]
end]],
  check = [[
check = function(self, backend)
  local said = answer_of(backend, nil, nil)
  if said then error(said, 0) end
  return "up", "contained"
end]],
}

local function script(kind, head, body, new)
  return ("%s\n%s\nreturn {api = 1, kind = %q, name = 'x', new = function() %s return {%s} end}"):format(
    head, body, kind, new or "", METHODS[kind])
end

-- While a script is constructed require still reads files: these are tried there, too.
local WHILE_LOADING = { machine = true, require = true, code = true, objects = true }

--- The text of a script that makes one attempt: it fails with `escaped: ...` if that was a success.
local function attempt_script(entry, kind, marker)
  return script(kind, HEAD:format(marker), ([[
local function attempt(view, pool, ctx)
%s
end
local function answer_of(...)
  local ok, escaped = pcall(attempt, ...)
  if ok and escaped then return "escaped: " .. tostring(escaped) end
end]]):format(entry[3]), WHILE_LOADING[entry.section] and
    "local said = answer_of() if said then error(said, 0) end")
end

-- What a script finds in its world: a change here is a change of what docs/sandbox.md promises.
local WORLD = {
  _G = "_G _VERSION assert bit error getmetatable ipairs load loadstring math next os pairs pcall print "
    .. "rawequal rawget rawset require select setmetatable string table tonumber tostring type unpack xpcall",
  string = "byte char find format gmatch gsub len lower match rep reverse sub upper",
  table = "concat foreach foreachi getn insert maxn move remove sort",
  math = "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min "
    .. "modf pi pow rad random randomseed sin sinh sqrt tan tanh",
  bit = "arshift band bnot bor bswap bxor lshift rol ror rshift tobit tohex",
  os = "clock date time",
}

--- The text of the witness: it fails with what it finds changed.
local function witness_script(kind)
  local world = {}
  for name, members in pairs(WORLD) do
    if kind == "check" and name == "_G" then members = members:gsub(" error", " coroutine error") end
    world[#world + 1] = ("[%q] = %q"):format(name, members)
  end
  return script(kind, ([[
local WORLD = { %s }
require "alacrity.format" require "good"
local counter, rotation = require "alacrity".counter("witness"), require "alacrity".rotation()
local dictionary = require "alacrity".shared("witness")
local rawget, pairs, type, error = rawget, pairs, type, error
local sort, concat = table.sort, table.concat]]):format(table.concat(world, ", ")), [[
local function members(t)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  sort(names)
  return concat(names, " ")
end

local function answer_of(view, pool, ctx)
  for name, expected in pairs(WORLD) do
    local found = members(name == "_G" and _G or _G[name])
    if found ~= expected then return name .. " is now " .. found end
  end
  local alacrity, format, good = require "alacrity", require "alacrity.format", require "good"
  local s = "Abc"
  local facts = { b = { 1, 2 }, a = format.array {}, c = setmetatable({ y = 1, z = 2 }, format.order { "z" }) }
  local truths = {
    { "methods of strings", s:upper() == "ABC" and s:len() == 3 and s:gsub("b", "x") == "Axc" and not s.escaped },
    { "string functions", string.upper(s) == "ABC" and string.format("%d", 5) == "5" },
    { "tables", concat({ 1, 2 }, "-") == "1-2" and select("#", unpack { 1, 2, 3 }) == 3 },
    { "numbers", math.floor(2.5) == 2 and bit.band(7, 3) == 3 and tonumber("0x10") == 16 },
    { "clocks", type(os.time()) == "number" and os.date("!%Y", 0) == "1970" },
    { "metatables of strings", getmetatable("") == false },
    { "load", load("return _G")() == _G and load("\27LJ") == nil },
    { "require", require "alacrity" == alacrity and not pcall(require, "ffi") },
    { "the library", alacrity.hash("abc") == 0x32D153FF and type(alacrity.now()) == "number"
      and not rawget(alacrity, "escaped") and type(alacrity.log.info) == "function"
      and not rawget(alacrity.log, "escaped") and getmetatable(alacrity) == nil },
    { "alacrity.format", format.json(facts) == '{"a":[],"b":[1,2],"c":{"z":2}}'
      and format.html("<") == "&lt;" and not format.escaped },
    { "objects of the library", tostring(counter) == "counter" and not counter:add(1)
      and not dictionary:set("k", "v") and (dictionary:get("k") or "v") == "v" },
    { "modules", good.answer == 42 and not good.escaped and getmetatable(good) == nil },
    { "backends", view.name == "b1" and view.pool_name == "app" and view.address == "127.0.0.1:9001"
      and view.weight == 1 and view.active == 0 and view.state == "up" and view == view
      and tostring(view) == "backend app/b1" and not pcall(function() view.weight = 1 end)
      and type(getmetatable(view)) ~= "table" },
  }
  if pool then
    truths[#truths + 1] = { "the pool", #pool == 3 and #pool.all == 3 and pool[3].name == "b3"
      and pool.all[2] == pool[2] and pool[0] == nil and pool[4] == nil and pool.name == "app"
      and pool:least() and pool:maglev(1) == pool:maglev(1) and pool:ring(1) and tostring(pool) == "pool app"
      and pool:min(function(b) return -b.id end) and not pcall(pool.least, 5)
      and #pool:untagged("x") == 3 and pool:rotate(rotation) }
    truths[#truths + 1] = { "the session", ctx.attempt == 1 and type(ctx.client) == "string" }
  else
    local net = require "alacrity.net"
    truths[#truths + 1] = { "the network", members(net) == "connect sleep" and net.sleep(1e-6) == true }
    local socket = net.connect(view)
    truths[#truths + 1] = { "sockets", socket and socket:send("x") == true and not socket.escaped }
    socket:close()
  end
  for i = 1, #truths do
    if not truths[i][2] then return truths[i][1] .. " are not what they were" end
  end
end]])
end

-- ---- the same in a console -----------------------------------------------------------------------

local CONSOLE_HEAD = HEAD:gsub('require "alacrity.stats_json" require "good"', '')
  :gsub(', alacrity.rotation%(%)', ''):gsub('alacrity.shared%("escape"%)', 'alacrity.shared("known")')
  :gsub('local counter.-\n', ''):gsub('local histogram.-\n', '')

--- The text that makes one attempt in a console, which knows neither backends nor metrics. It answers
--- `escaped: ...` if that was a success.
local function console_text(entry, _, marker)
  return ([[
%s
local view, pool, ctx, rotation, counter, gauge, histogram = dictionary -- the only object there is
local function attempt()
%s
end
local ok, escaped = pcall(attempt)
return ok and escaped and "escaped: " .. tostring(escaped) or "contained"]]):format(
    CONSOLE_HEAD:format(marker), entry[3])
end

return { attempts = attempts, console_text = console_text, attempt_script = attempt_script, witness_script = witness_script }
