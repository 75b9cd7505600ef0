-- What there really is for scripts, found from inside: a module of the scripts that
-- tests/cases/test_reference.py runs. It writes lines into the function it is given; the test compares
-- them with what lua/types says.
--
-- The members of a view cannot be listed. But each of them has its name somewhere in our sources, so
-- every word of the sources is tried.
local words = require "words"
local probe = {}

local VIEWS = { backend = "alacrity.Backend", pool = "alacrity.Pool", ["all of pool"] = "alacrity.AllBackends",
  ctx = "alacrity.Context", closed = "alacrity.Closed", counter = "alacrity.Counter", gauge = "alacrity.Gauge",
  histogram = "alacrity.Histogram", ["shared dictionary"] = "alacrity.Dictionary" }

--- The type of a value, as it is written in an annotation.
function probe.kind(value)
  local kind = type(value)
  if kind == "number" then return value % 1 == 0 and "integer" or "number" end
  if kind == "userdata" then return "alacrity.Socket" end
  if kind ~= "cdata" then return kind end
  local shown = tostring(value)
  return VIEWS[shown] or VIEWS[shown:match("^(.-) [^ ]*$")] or shown
end

local function read(object, word) return object[word] end

--- A line `members WHAT name=kind name=kind ...`
function probe.members(tell, what, object)
  local found, seen = { "members", what }, {}
  local function note(name, value)
    if type(name) == "string" and name:sub(1, 2) ~= "__" and value ~= nil and not seen[name] then
      seen[name] = true
      found[#found + 1] = name .. "=" .. probe.kind(value)
    end
  end
  if type(object) == "table" then
    for name, value in pairs(object) do note(name, value) end
  end
  for _, word in ipairs(words) do
    local ok, value = pcall(read, object, word)
    if ok then note(word, value) end
  end
  tell(table.concat(found, " "))
end

local function outcome(ok, ...)
  if not ok then return "raised " .. tostring((...)):gsub("[\r\n].*", "") end
  local kinds = { "answered" }
  for i = 1, select("#", ...) do kinds[#kinds + 1] = probe.kind((select(i, ...))) end
  return table.concat(kinds, " ")
end

local function try(call, count)
  local owner = call.owner and call.owner()
  local arguments = { call.arguments() }
  local f
  if owner ~= nil then f = owner[call.name] else f = _G[call.name] end
  local said
  if call.is_method then
    said = outcome(pcall(f, owner, unpack(arguments, 1, count)))
  else
    said = outcome(pcall(f, unpack(arguments, 1, count)))
  end
  if type(owner) == "userdata" then owner:close() end
  return said
end

--- Lines `call PATH full|least|less ...`: with all arguments, with those that are required, and with one
--- less.
function probe.call(tell, call)
  tell("call " .. call.path .. " full " .. try(call, call.total))
  tell("call " .. call.path .. " least " .. try(call, call.required))
  if call.required > 0 then
    tell("call " .. call.path .. " less " .. try(call, call.required - 1))
  end
end

--- A table that tells which of its names were asked for: `names[name] = true`.
function probe.asked(object, names)
  return setmetatable({}, {
    __index = function(_, name)
      names[name] = true
      return object[name]
    end,
  })
end

--- A line `asked WHAT name name ...`
function probe.tell_asked(tell, what, names)
  local list = { "asked", what }
  for name in pairs(names) do list[#list + 1] = tostring(name) end
  tell(table.concat(list, " "))
end

--- The globals and the libraries of Lua, each as members.
function probe.globals(tell)
  probe.members(tell, "_G", _G)
  for _, name in ipairs { "string", "table", "math", "bit", "os", "coroutine" } do
    if _G[name] then probe.members(tell, name, _G[name]) end
  end
end

-- The lines of all scripts of a process, in a shared dictionary.
function probe.teller(kind)
  local lines = require("alacrity").shared("lines")
  return function(line) lines:set(lines:incr("count"), kind .. " " .. line) end
end

function probe.told()
  local lines, all = require("alacrity").shared("lines"), {}
  for i = 1, lines:get("count") or 0 do all[i] = lines:get(i) end
  return table.concat(all, "\n") .. "\n"
end

return probe
