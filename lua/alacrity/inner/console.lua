-- The console's Lua side (lua/console.c): evaluates a text in one environment, and makes text of what
-- comes of it. Runs in a sandbox of its own, beside the one of those who type, so that nothing they
-- change is changed for it. Control thread.
local prelude = ...
local alacrity = prelude.modules.alacrity
local format = require "alacrity.format"
local type, next, rawget, select, pcall, tostring = type, next, rawget, select, pcall, tostring
local byte, find, gsub, sub, rep = string.byte, string.find, string.gsub, string.sub, string.rep
local sprintf, concat, sort = string.format, table.concat, table.sort
local pairs, ipairs, setmetatable, error, load = pairs, ipairs, setmetatable, error, load

local TEXT_BYTES = 262144 -- of one answer
local WIDTH, DEPTH, ENTRIES = 96, 8, 200
local OK, FAILED, INCOMPLETE = 0, 1, 2 -- enum console_answer

-- ---- text for people ---------------------------------------------------------------------------

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }

local function code(c) return (gsub(c, ".", function(b) return sprintf("\\%03d", byte(b)) end)) end
local function escape(c) return ESCAPES[c] or code(c) end

-- Bytes that a terminal would obey, and those that are no UTF-8, become numbers. `pattern`: which of
-- the others are escaped.
local function visible(text, pattern)
  text = gsub(text, pattern, escape)
  if find(text, "[\128-\255]") then
    text = gsub(text, format.utf8(text) == text and "\194[\128-\159]" or "[\128-\255]", code)
  end
  return text
end

local function quoted(text) return '"' .. visible(text, '[%c%z\127"\\]') .. '"' end
local function shown(text) return visible(text, "[%z\1-\8\11-\31\127]") end

local RANKS = { number = 1, string = 2, boolean = 3 }

local function before(a, b)
  local rank_a, rank_b = RANKS[type(a)] or 4, RANKS[type(b)] or 4
  if rank_a ~= rank_b then return rank_a < rank_b end
  if rank_a <= 2 then return a < b end
  return rank_a == 3 and not a and b
end

-- Keys beyond 1 to `count`, in order.
local function other_keys(t, count)
  local keys = {}
  for key in next, t do
    if not (type(key) == "number" and key >= 1 and key <= count and key % 1 == 0) then
      keys[#keys + 1] = key
    end
  end
  sort(keys, before)
  return keys
end

local function raw_count(t)
  local count = 0
  while rawget(t, count + 1) ~= nil do count = count + 1 end
  return count
end

local room -- bytes that may still be written
local write -- (value, depth, around) -> text

local function write_key(key, depth, around)
  if type(key) == "string" and find(key, "^[%a_][%w_]*$") then return key .. " = " end
  return "[" .. write(key, depth, around) .. "] = "
end

local function join(parts, depth)
  local length = 2 * depth + 2
  for i = 1, #parts do
    length = length + #parts[i] + 2
    if length > WIDTH or find(parts[i], "\n", 1, true) then
      local indent = rep("  ", depth)
      return "{\n" .. indent .. "  " .. concat(parts, ",\n" .. indent .. "  ") .. "\n" .. indent .. "}"
    end
  end
  return "{" .. concat(parts, ", ") .. "}"
end

local function write_table(t, depth, around)
  if around[t] then return "{...}: it holds itself" end
  if depth >= DEPTH then return next(t) == nil and "{}" or "{...}" end
  around[t] = true
  local parts, count = {}, raw_count(t)
  local keys = other_keys(t, count)
  local total = count + #keys
  for i = 1, total do
    if i > ENTRIES or room < 0 then
      parts[#parts + 1] = sprintf("... %d more", total - i + 1)
      break
    end
    local key, name = i, ""
    if i > count then
      key = keys[i - count] -- may be false
      name = write_key(key, depth + 1, around)
    end
    parts[#parts + 1] = name .. write(rawget(t, key), depth + 1, around)
    room = room - #name - 2
  end
  around[t] = nil
  return join(parts, depth)
end

local function write_number(n)
  if n % 1 == 0 and n > -2 ^ 53 and n < 2 ^ 53 then return sprintf("%.0f", n) end
  return tostring(n)
end

function write(value, depth, around)
  local kind, text = type(value)
  if kind == "table" then
    return write_table(value, depth, around)
  elseif kind == "string" then
    text = quoted(value)
  elseif kind == "number" then
    text = write_number(value)
  else
    local ok, told = pcall(tostring, value)
    text = ok and type(told) == "string" and shown(told) or kind
  end
  room = room - #text
  return text
end

-- ---- what there is to look at ------------------------------------------------------------------

local looked -- at, by the text being evaluated

local function named(list, each)
  local map = {}
  for _, entry in ipairs(list) do map[entry.name] = each and each(entry) or entry end
  return map
end

local looks = {
  facts = function() return alacrity.facts() end,
  pools = function(facts)
    return named(facts.pools, function(pool)
      local copy = {}
      for key, value in next, pool do copy[key] = value end
      copy.backends = named(pool.backends)
      return copy
    end)
  end,
  listeners = function(facts) return named(facts.listeners) end,
}

local function look(_, key)
  local how = looks[key]
  if how and looked[key] == nil then
    looked[key] = how(key ~= "facts" and look(nil, "facts") or nil)
  end
  return looked[key]
end

-- ---- the environment ---------------------------------------------------------------------------

for name in pairs(alacrity) do
  if name ~= "now" and name ~= "hash" and name ~= "shared" and name ~= "facts" then
    alacrity[name] = nil
  end
end

local printed -- lines

local env = prelude.sandbox()
local require_library = env.require

env.require = function(name)
  if type(name) ~= "string" or not find(name, "^alacrity") then
    error("the console has only the library, such as alacrity.format", 2)
  end
  return require_library(name)
end
env.print = function(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
  printed[#printed + 1] = concat(parts, "\t")
end
env.alacrity = env.require("alacrity")
env.alacrity.format = env.require("alacrity.format")
setmetatable(env, { __index = look, __metatable = false })

-- ---- evaluating --------------------------------------------------------------------------------

-- Did it end too early? A further line does not help a quoted string.
local function is_early(fault)
  return find(fault, "near '<eof>'$") and not find(fault, "unfinished string near", 1, true)
end

-- The chunk; or nil, the answer's kind and why.
local function compile(text)
  local as_value, value_fault = load("return " .. gsub(text, "^%s*=", ""), "=console", "t", env)
  if as_value then return as_value end
  local chunk, fault = load(text, "=console", "t", env)
  if chunk then return chunk end
  if is_early(fault) or is_early(value_fault) then return nil, INCOMPLETE, "" end
  return nil, FAILED, fault
end

local function fault_text(fault)
  if type(fault) == "string" then return fault end
  room = TEXT_BYTES
  return "the error is " .. write(fault, 0, {})
end

local function as_json(results, count)
  local lines = {}
  for i = 1, #printed do lines[i] = format.json(printed[i]) end
  for i = 1, count do lines[#lines + 1] = format.json(results[i]) end
  local text = concat(lines, "\n")
  if #text > TEXT_BYTES then error("the answer is longer than 256 KiB: ask for a part of it", 0) end
  return text
end

local function as_text(results, count)
  local lines = {}
  room = TEXT_BYTES
  for i = 1, #printed do
    lines[i] = shown(printed[i])
    room = room - #lines[i]
  end
  for i = 1, count do
    if room < 0 then break end
    lines[#lines + 1] = write(results[i], 0, {})
  end
  local text = concat(lines, "\n")
  if #text <= TEXT_BYTES and room >= 0 then return text end
  return sub(text, 1, TEXT_BYTES) .. "\n... cut here: the answer is longer than 256 KiB"
end

local function pack(ok, ...) return ok, select("#", ...), { ... } end

--- (text, as JSON?) -> kind of answer, its text.
return function(text, json)
  local chunk, kind, fault = compile(text)
  if not chunk then return kind, fault end
  looked, printed = {}, {}
  local ok, count, results = pack(pcall(chunk))
  if not ok then return FAILED, fault_text(results[1]) end
  local made, answer = pcall(json and as_json or as_text, results, count)
  looked, printed = {}, {}
  if not made then return FAILED, fault_text(answer) end
  return OK, answer ~= "" and answer .. "\n" or ""
end
