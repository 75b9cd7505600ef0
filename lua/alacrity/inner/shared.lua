-- alacrity.shared(name): dictionaries that all workers and control see (core/pool/shared.h). A part
-- of the prelude, run once in every new state; like it, it holds `ffi` and must not give it away.
--
-- A dictionary is a number in a constant field; the functions below hand that and plain values to
-- C, which copies. All of it is compiled by the JIT.
local alacrity, host = ...
local ffi = host.ffi
local type, error, istype, new, text = type, error, ffi.istype, ffi.new, ffi.string
local huge = math.huge

ffi.cdef "struct alacrity_dictionary { const uint32_t id; };"
local dictionary_t = ffi.typeof "struct alacrity_dictionary"
local value_t = ffi.typeof "struct alacrity_shared_value"
local library = ffi.cast("const struct alacrity_library *", host.library)
local natives = ffi.cast("const struct alacrity_shared_natives *", host.shared)
local native_get, native_set, native_add = natives.get, natives.set, natives.add
local native_incr, native_delete, native_ttl = natives.incr, natives.delete, natives.ttl
local native_count, native_open = natives.count, natives.open

local BUILDING, LOOKING = 0, 3
local NUMBER, BOOLEAN, STRING = 1, 2, 3 -- as in include/alacrity/script.h
local KEY_BYTES, VALUE_BYTES, TTL_MAX = 250, 65536, 1e9

local answer -- one for the state, made when it opens its first dictionary: it is large

-- Each check names the line that called the method, which is two levels up.
local function check_self(self)
  if not istype(dictionary_t, self) then
    error("call the methods of a shared dictionary with a colon, as in d:get(key)", 3)
  end
end

local function check_stage()
  if library.stage == BUILDING then
    error("shared values can be changed only when the script serves, not when it is loaded or "
      .. "constructed", 3)
  elseif library.stage == LOOKING then
    error("the console only looks: it changes no shared value", 3)
  end
end

-- What C gets for a key: its bytes and their number, or nil and a number.
local function key_parts(key)
  if type(key) == "string" then
    if #key > KEY_BYTES then error("a shared key has at most 250 bytes", 3) end
    return key, #key, 0
  end
  if type(key) ~= "number" or key ~= key then
    error("a shared key must be a string or a number, and not NaN", 3)
  end
  return nil, 0, key
end

local function value_parts(value)
  local kind = type(value)
  if kind == "number" then return NUMBER, value, nil, 0 end
  if kind == "boolean" then return BOOLEAN, value and 1 or 0, nil, 0 end
  if kind ~= "string" then
    error("a shared value must be a number, a string or a boolean; to remove one, use d:delete(key)",
      3)
  end
  if #value > VALUE_BYTES then error("a shared string has at most 65536 bytes", 3) end
  return STRING, 0, value, #value
end

local function check_ttl(ttl)
  if ttl == nil then return 0 end
  if not (type(ttl) == "number" and ttl > 0 and ttl <= TTL_MAX) then
    error("the time to live must be seconds, above 0 and at most 1e9", 3)
  end
  return ttl
end

local methods = {}

--- d:get(key): the value, or nil.
function methods.get(self, key)
  check_self(self)
  local bytes, length, number = key_parts(key)
  native_get(library, self.id, bytes, length, number, answer)
  local kind = answer.type
  if kind == NUMBER then return answer.number end
  if kind == STRING then return text(answer.bytes, answer.length) end
  if kind == BOOLEAN then return answer.number ~= 0 end
  return nil
end

--- d:set(key, value, ttl): stores a number, string or boolean; for `ttl` seconds, or until deleted.
function methods.set(self, key, value, ttl)
  check_self(self)
  check_stage()
  local bytes, length, number = key_parts(key)
  local kind, value_number, value_bytes, value_length = value_parts(value)
  native_set(library, self.id, bytes, length, number, kind, value_number, value_bytes,
    value_length, check_ttl(ttl))
end

--- d:add(key, value, ttl): as set, but only if there is none yet. True: it was stored.
function methods.add(self, key, value, ttl)
  check_self(self)
  check_stage()
  local bytes, length, number = key_parts(key)
  local kind, value_number, value_bytes, value_length = value_parts(value)
  return native_add(library, self.id, bytes, length, number, kind, value_number, value_bytes,
    value_length, check_ttl(ttl)) ~= 0
end

--- d:incr(key, by, initial, ttl): adds `by` (1) to the number, atomically over all workers, and
--- returns the sum. Where there is none it begins with `initial` (0), and only then `ttl` counts.
function methods.incr(self, key, by, initial, ttl)
  check_self(self)
  check_stage()
  local bytes, length, number = key_parts(key)
  if by == nil then by = 1 end
  if initial == nil then initial = 0 end
  if type(by) ~= "number" or type(initial) ~= "number" then
    error("d:incr(key, by, initial) takes numbers", 2)
  end
  native_incr(library, self.id, bytes, length, number, by, initial, check_ttl(ttl), answer)
  if answer.type ~= NUMBER then
    error("d:incr(): the value of this key is no number", 2)
  end
  return answer.number
end

--- d:delete(key): true if there was one.
function methods.delete(self, key)
  check_self(self)
  check_stage()
  local bytes, length, number = key_parts(key)
  return native_delete(library, self.id, bytes, length, number) ~= 0
end

--- d:ttl(key): seconds left, math.huge when it does not end, nil when there is none.
function methods.ttl(self, key)
  check_self(self)
  local bytes, length, number = key_parts(key)
  local left = native_ttl(library, self.id, bytes, length, number)
  if left >= 0 then return left end
  return nil
end

--- d:count(): how many entries it has; such as are over may be counted for some seconds more.
function methods.count(self)
  check_self(self)
  return native_count(library, self.id)
end

ffi.metatype(dictionary_t, {
  __index = methods,
  __tostring = function() return "shared dictionary" end,
  __metatable = false,
})

local known = {}

--- The dictionary of that name, the same for all scripts of the process. Bounded in memory together
--- with all others (lua.shared): what was not used for the longest time makes room.
function alacrity.shared(name)
  if type(name) ~= "string" or #name < 1 or #name > 63 then
    error("alacrity.shared() takes a name of 1 to 63 bytes", 2)
  end
  local found = known[name]
  if found then return found end
  local id = native_open(library, name, #name)
  if id < 0 and library.stage == LOOKING then
    error("there is no shared dictionary of that name; facts.shared.dictionaries lists them", 2)
  elseif id < 0 then
    error("there are too many shared dictionaries: at most 256 names are kept", 2)
  end
  answer = answer or new(value_t)
  found = new(dictionary_t, id)
  known[name] = found
  return found
end
