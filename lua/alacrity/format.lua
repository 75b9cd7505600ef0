-- Text for people and machines: JSON, CSV, Prometheus and HTML escaping, and human-readable
-- numbers. Pure functions without state, for any script; nothing here yields.
local format = {}

local byte, find, gsub, sub = string.byte, string.find, string.gsub, string.sub
local concat = table.concat
local floor, huge = math.floor, math.huge
local sprintf = string.format

local EXACT = 2 ^ 53 -- above it a Lua number no longer holds every integer

-- ---- bytes to valid UTF-8 --------------------------------------------------------------------

-- Length of the well-formed UTF-8 sequence at `i` (RFC 3629: no overlong forms, no surrogates), or
-- nil when there is none.
local function utf8_sequence(text, i)
  local a, b, c, d = byte(text, i, i + 3)
  if a < 0x80 then return 1 end
  local function continues(x) return x and x >= 0x80 and x <= 0xBF end
  if a >= 0xC2 and a <= 0xDF and continues(b) then return 2 end
  if a >= 0xE0 and a <= 0xEF and continues(b) and continues(c)
    and not (a == 0xE0 and b < 0xA0) and not (a == 0xED and b > 0x9F) then
    return 3
  end
  if a >= 0xF0 and a <= 0xF4 and continues(b) and continues(c) and continues(d)
    and not (a == 0xF0 and b < 0x90) and not (a == 0xF4 and b > 0x8F) then
    return 4
  end
end

--- Any bytes as valid UTF-8: what is not becomes U+FFFD. Texts that come from the network (the
--- reason a check gives) need it before they stand in JSON or in an exposition.
function format.utf8(text)
  if not find(text, "[\128-\255]") then return text end
  local parts, i = {}, 1
  while i <= #text do
    local length = utf8_sequence(text, i)
    parts[#parts + 1] = length and sub(text, i, i + length - 1) or "\239\191\189"
    i = i + (length or 1)
  end
  return concat(parts)
end

-- ---- JSON ------------------------------------------------------------------------------------

local JSON_ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f",
  ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function json_escape(c)
  return JSON_ESCAPES[c] or sprintf("\\u%04x", byte(c))
end

local function json_string(text)
  if find(text, '[%c"\\]') then text = gsub(text, '[%c"\\]', json_escape) end
  return '"' .. format.utf8(text) .. '"'
end

local function json_number(number)
  if number ~= number or number == huge or number == -huge then return "null" end
  if floor(number) == number and number < EXACT and number > -EXACT then
    return sprintf("%.0f", number)
  end
  return sprintf("%.14g", number)
end

local Array = {} -- the metatable format.array sets

--- Marks a table as a JSON array, so that an empty one reads `[]` and not `{}`.
function format.array(list)
  return setmetatable(list, Array)
end

--- A metatable that makes format.json write exactly these keys, in this order, of a table; keys
--- without a value are left out. Make it once and set it on many tables.
function format.order(keys)
  return { order = keys }
end

local write_json

local function write_array(out, list, depth)
  out[#out + 1] = "["
  for i = 1, #list do
    if i > 1 then out[#out + 1] = "," end
    write_json(out, list[i], depth)
  end
  out[#out + 1] = "]"
end

local PIECES = 1000

-- Many pieces become one, so that even a long text ends with few of them.
local function gather(out)
  out.done[#out.done + 1] = concat(out)
  for i = #out, 1, -1 do out[i] = nil end
  if out.pause then out.pause() end
end

local function write_object(out, object, keys, depth)
  local separator = "{"
  for i = 1, #keys do
    local key = keys[i]
    local value = object[key]
    if value ~= nil then
      out[#out + 1] = separator
      out[#out + 1] = json_string(tostring(key))
      out[#out + 1] = ":"
      write_json(out, value, depth)
      separator = ","
    end
  end
  out[#out + 1] = separator == "{" and "{}" or "}"
end

local function sorted_keys(object)
  local keys = {}
  for key in pairs(object) do
    if type(key) ~= "string" and type(key) ~= "number" then
      error("json: a key of type " .. type(key), 0)
    end
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

function write_json(out, value, depth)
  local kind = type(value)
  if kind == "string" then
    out[#out + 1] = json_string(value)
  elseif kind == "number" then
    out[#out + 1] = json_number(value)
  elseif kind == "boolean" or kind == "nil" then
    out[#out + 1] = tostring(value == nil and "null" or value)
  elseif kind == "table" then
    if depth >= 64 then error("json: nested too deep, or a cycle", 0) end
    if #out >= PIECES then gather(out) end
    local meta = getmetatable(value)
    if meta == Array or (#value > 0 and not (meta and meta.order)) then
      write_array(out, value, depth + 1)
    else
      write_object(out, value, meta and meta.order or sorted_keys(value), depth + 1)
    end
  else
    error("json: cannot write a " .. kind, 0)
  end
end

--- JSON text of strings, numbers (NaN and infinities are null), booleans, arrays and tables. Keys
--- are sorted, unless format.order says otherwise. Raises an error on functions, userdata and
--- cycles. A long text is better written into a list, in pieces: it is returned then. If the list
--- has a function `pause`, that is called now and then: it can net.sleep(0) to give others a turn.
function format.json(value, list)
  local out = { done = list or {}, pause = list and list.pause }
  write_json(out, value, 0)
  out.done[#out.done + 1] = concat(out)
  return list or concat(out.done)
end

-- ---- escaping --------------------------------------------------------------------------------

local HTML_ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
  ["'"] = "&#39;" }

--- Safe as HTML text and inside a quoted attribute. nil is "".
function format.html(value)
  if value == nil then return "" end
  local text = tostring(value)
  if find(text, "[&<>\"'%z\128-\255]") then
    text = gsub(format.utf8(text), "[&<>\"']", HTML_ESCAPES)
    text = gsub(text, "%z", "\239\191\189")
  end
  return text
end

--- One field of a CSV line (RFC 4180): valid UTF-8, quoted only where it must be. nil is the empty
--- field.
function format.csv(value)
  if value == nil then return "" end
  if type(value) == "number" then return json_number(value) end
  local text = gsub(format.utf8(tostring(value)), "%z", "\239\191\189")
  if find(text, '[",\r\n]') then text = '"' .. gsub(text, '"', '""') .. '"' end
  return text
end

local LABEL_ESCAPES = { ["\\"] = "\\\\", ['"'] = '\\"', ["\n"] = "\\n" }

--- The value of a Prometheus label, to stand between double quotes.
function format.label(value)
  local text = format.utf8(tostring(value))
  if find(text, '[\\"\n]') then text = gsub(text, '[\\"\n]', LABEL_ESCAPES) end
  return text
end

--- A Prometheus sample value.
function format.sample(number)
  if number ~= number then return "NaN" end
  if number == huge then return "+Inf" end
  if number == -huge then return "-Inf" end
  return json_number(number)
end

-- ---- for people ------------------------------------------------------------------------------

local function three_digits(number)
  if number >= 100 then return sprintf("%.0f", number) end
  if number >= 10 then return sprintf("%.1f", number) end
  return sprintf("%.2f", number)
end

local function scaled(number, step, units)
  local unit = 1
  -- 999.5 would print as 1000: that is 1.00 of the next unit.
  while number >= step - 0.5 and unit < #units do
    number, unit = number / step, unit + 1
  end
  return number, units[unit]
end

local COUNT_UNITS = { "", " k", " M", " G", " T", " P" }
local BYTE_UNITS = { " B", " KiB", " MiB", " GiB", " TiB", " PiB" }

--- 950, 9 500, 12.3 k, 4.56 M: exact below ten thousand, else three digits.
function format.count(number)
  if number < 999.95 then return sprintf(number % 1 == 0 and "%.0f" or "%.1f", number) end
  if number < 9999.5 then
    local whole = floor(number + 0.5)
    return sprintf("%d\226\128\175%03d", floor(whole / 1000), whole % 1000) -- narrow no-break space
  end
  local value, unit = scaled(number, 1000, COUNT_UNITS)
  return three_digits(value) .. unit
end

--- 512 B, 1.50 KiB, 23.4 MiB.
function format.bytes(number)
  if number < 1000 then return sprintf("%.0f B", number) end
  local value, unit = scaled(number, 1024, BYTE_UNITS)
  if value >= 1000 then return sprintf("%.0f", value) .. unit end
  return three_digits(value) .. unit
end

--- Milliseconds as the two largest units that matter: 0.4 ms, 250 ms, 12 s, 5 min 3 s, 3 d 4 h.
function format.duration(ms)
  if ms < 999.5 then return sprintf(ms < 10 and ms % 1 ~= 0 and "%.1f ms" or "%.0f ms", ms) end
  local seconds = floor(ms / 1000 + 0.001) -- 999.7 ms is one second, not none
  if seconds < 60 then return seconds .. " s" end
  local large, large_unit, small, small_unit
  if seconds < 3600 then
    large, large_unit, small, small_unit = floor(seconds / 60), " min", seconds % 60, " s"
  elseif seconds < 86400 then
    large, large_unit = floor(seconds / 3600), " h"
    small, small_unit = floor(seconds % 3600 / 60), " min"
  else
    large, large_unit = floor(seconds / 86400), " d"
    small, small_unit = floor(seconds % 86400 / 3600), " h"
  end
  if small == 0 then return large .. large_unit end
  return large .. large_unit .. " " .. small .. small_unit
end

return format
