-- Prelude: run once in every new Lua state (lua/vm.c), on the builder thread. It declares the views
-- through which scripts see backends, pools and sessions, and makes the environments they run in.
-- It and its parts (lua/alacrity/inner/) are the only Lua that ever holds `ffi`.
--
-- A view is a `const struct X &`: reading a field is a machine load, writing is refused. A script
-- never gets a pointer, and no method here trusts what it is called with: `pool.least(5)` must not
-- turn 5 into an address. Bounds are checked in the positive form, so that NaN fails them.
--
-- Everything a pick can call must be compiled by the JIT: no closures made per call, no varargs.
local host = ...
local ffi = host.ffi

ffi.cdef(host.cdef)
ffi.cdef [[
struct alacrity_all { uint32_t eligible_count; }; /* the pool again, seen as all its backends */
typedef double alacrity_now(void);
]]

local cast, istype, text = ffi.cast, ffi.istype, ffi.string
local _G, error, pcall, type, tostring, select = _G, error, pcall, type, tostring, select
local getmetatable, ipairs, pairs, load, concat = getmetatable, ipairs, pairs, load, table.concat
local find, match, sub = string.find, string.match, string.sub
local floor, random, huge = math.floor, math.random, math.huge
local band = bit.band

local backend_t = ffi.typeof("struct alacrity_backend")
local pool_t = ffi.typeof("struct alacrity_pool")
local all_t = ffi.typeof("struct alacrity_all")
local backend_ptr = ffi.typeof("const struct alacrity_backend_private *")
local pool_ptr = ffi.typeof("const struct alacrity_pool_private *")
local ctx_t = ffi.typeof("struct alacrity_ctx")
local ctx_ptr = ffi.typeof("const struct alacrity_ctx_private *")
local closed_t = ffi.typeof("struct alacrity_closed")
local closed_ptr = ffi.typeof("const struct alacrity_closed_private *")
local all_ptr = ffi.typeof("const struct alacrity_all *")
local rotation_t = ffi.typeof("struct { uint32_t count; int64_t words[?]; }")

local natives = cast("const struct alacrity_natives *", host.natives)
local native_least, native_maglev = natives.least, natives.maglev
local native_ring, native_find, native_hash = natives.ring, natives.find, natives.hash
local native_rotate, native_rotate_words = natives.rotate, natives.rotate_words
local native_subset = natives.subset
local native_value_get, native_value_set = natives.value_get, natives.value_set
local library = cast("const struct alacrity_library *", host.library)
local this_worker, all_workers = host.worker, host.workers
local native_now = cast("alacrity_now *", host.now)
local states, failures = host.states, host.failures
local zones, tags = host.zones, host.tags -- code to name; name to bit
zones[0] = ""

-- ---- backend: one server -----------------------------------------------------------------------

local backend_fields = {
  name = function(self) return text(cast(backend_ptr, self).name) end,
  pool_name = function(self) return text(cast(backend_ptr, self).pool) end,
  address = function(self) return text(cast(backend_ptr, self).address) end,
  state = function(self) return states[self.state_code] or "gone" end,
  zone = function(self) return zones[self.zone_code] or "" end,
}

local function check_tag(tag)
  if type(tag) ~= "string" then error("the name of a tag must be a string", 3) end
end

local backend_methods = {
  --- Is it tagged so in the configuration?
  has_tag = function(self, tag)
    if not istype(backend_t, self) then
      error("call the methods of a backend with a colon, as in backend:has_tag('x')", 2)
    end
    check_tag(tag)
    local bits = tags[tag]
    return bits ~= nil and band(self.tag_bits, bits) ~= 0
  end,
}

ffi.metatype(backend_t, {
  __index = function(self, key)
    local field = backend_fields[key]
    if field then return field(self) end
    return backend_methods[key]
  end,
  -- LuaJIT asks this for any pair with a backend in it: the other may be nil or a number.
  __eq = function(a, b)
    return istype(backend_t, a) and istype(backend_t, b) and a.id == b.id
  end,
  __tostring = function(self) return "backend " .. self.pool_name .. "/" .. self.name end,
  __metatable = false,
})

-- ---- pool: the eligible backends ---------------------------------------------------------------

local pool_methods = {}

local function check_pool(self)
  if not istype(pool_t, self) then
    error("call the methods of a pool with a colon, as in pool:least()", 3)
  end
end

local function check_hash(hash)
  if not (type(hash) == "number" and hash >= 0 and hash < 2 ^ 32) then
    error("the hash must be a number from 0 to 2^32 - 1, such as ctx.client_hash", 3)
  end
end

local function check_score(score)
  if type(score) ~= "function" then
    error("the score must be a function(backend) that returns a number", 3)
  end
end

-- What selectors answer, by the backend's id, made when a policy gets its pool: a reference that
-- leaves machine code would else be made, and collected, for each pick.
local answers = {}

local function keep_answers(pool)
  local p = cast(pool_ptr, pool)
  for i = 0, p.all_count - 1 do
    local b = p.all[i][0]
    answers[b.id] = b
  end
end

local function answer(pool, i)
  if i >= 0 then return answers[cast(pool_ptr, pool).eligible[i].id] end
end

--- The backend with the fewest active sessions for its weight; equal ones take turns. Native.
function pool_methods.least(self)
  check_pool(self)
  return answer(self, native_least(self))
end

--- The backend that owns the hash in a Maglev table: even, and stable when others come and go.
function pool_methods.maglev(self, hash)
  check_pool(self)
  check_hash(hash)
  return answer(self, native_maglev(self, hash))
end

--- The same on a ketama-like ring. With a factor, from 1 up, a backend that has that many times its
--- fair share of all sessions is passed over: the next on the ring gets them.
function pool_methods.ring(self, hash, factor)
  check_pool(self)
  check_hash(hash)
  if factor == nil then
    factor = 0
  elseif not (type(factor) == "number" and factor >= 1) then
    error("the factor must be a number from 1 up, or left out", 2)
  end
  return answer(self, native_ring(self, hash, factor))
end

--- The backend with this id, if it is one of those that can take this session.
function pool_methods.find(self, id)
  check_pool(self)
  if not (type(id) == "number" and id >= 0 and id < 2 ^ 32) then
    error("the id must be the id of a backend", 2)
  end
  return answer(self, native_find(self, id))
end

-- What rotations stand for. Scripts must not get hold of the arrays: nothing checks their bounds.
local rotations = setmetatable({}, { __mode = "k" })

--- The next in turn: smooth weighted round robin (3,1 gives a a b a), exact in every round. What
--- each is owed is kept in a rotation, made in `new` with alacrity.rotation(). Native.
function pool_methods.rotate(self, rotation)
  check_pool(self)
  local own = rotations[rotation]
  local count = cast(pool_ptr, self).all_count
  if not own or own.count ~= count then
    if own == nil then error("pool:rotate() takes a rotation, made with alacrity.rotation()", 2) end
    own = rotation_t(native_rotate_words(count), count)
    rotations[rotation] = own
  end
  return answer(self, native_rotate(self, own.words))
end

local function subset(self, kind, bits)
  check_pool(self)
  local part = native_subset(self, kind, bits)
  if part == nil then error("parts are made of the whole pool, not of parts (or memory is out)", 3) end
  return part[0]
end

--- Parts of the pool, each a pool itself: only those with the tag, only those without it, only those
--- in the zone where the balancer stands, only those elsewhere. `all` stays that of the whole.
function pool_methods.tagged(self, tag)
  check_tag(tag)
  return subset(self, 0, tags[tag] or 0)
end
function pool_methods.untagged(self, tag)
  check_tag(tag)
  return subset(self, 1, tags[tag] or 0)
end
function pool_methods.near(self) return subset(self, 2, 0) end
function pool_methods.far(self) return subset(self, 3, 0) end

--- The backend with the lowest score(backend); of equal ones any, with the same chance. NaN is never
--- lowest: a score of 0/0 leaves a backend out. Make the score function once, in `new`, not in the
--- pick.
function pool_methods.min(self, score)
  check_pool(self)
  check_score(score)
  local p = cast(pool_ptr, self)
  local best, best_score = -1, huge
  local equals, turn = 0, 0 -- the m-th of equals replaces the one before with a chance of 1 in m
  for i = 0, self.count - 1 do
    local s = score(p.eligible[i][0])
    if s < best_score then
      best, best_score, equals = i, s, 1
      turn = 1 / random()
    elseif s == best_score then -- also the first, if that is infinity
      equals = equals + 1
      if equals > turn then best, turn = i, equals / random() end
    end
  end
  if best >= 0 then return p.eligible[best][0] end
end

--- The better, by lowest score(backend), of two different backends drawn at random.
function pool_methods.p2c(self, score)
  check_pool(self)
  check_score(score)
  local p = cast(pool_ptr, self)
  local count = self.count
  if count == 0 then return nil end
  if count == 1 then return p.eligible[0][0] end
  local i = random(0, count - 1)
  local j = random(0, count - 2)
  if j >= i then j = j + 1 end
  local a, b = p.eligible[i][0], p.eligible[j][0]
  if score(b) < score(a) then return b end
  return a
end

ffi.metatype(pool_t, {
  __len = function(self) return self.count end,
  __index = function(self, key)
    if type(key) == "number" then
      if key >= 1 and key <= self.count and floor(key) == key then
        return cast(pool_ptr, self).eligible[key - 1][0]
      end
      return nil
    end
    if key == "all" then return cast(all_ptr, self)[0] end
    if key == "name" then return text(cast(pool_ptr, self).name) end
    if key == "zone" then return zones[self.zone_code] or "" end
    return pool_methods[key]
  end,
  __tostring = function(self) return "pool " .. self.name end,
  __metatable = false,
})

ffi.metatype(all_t, {
  __len = function(self) return cast(pool_ptr, self).all_count end,
  __index = function(self, key)
    local p = cast(pool_ptr, self)
    if type(key) == "number" and key >= 1 and key <= p.all_count and floor(key) == key then
      return p.all[key - 1][0]
    end
  end,
  __tostring = function(self) return "all of pool " .. text(cast(pool_ptr, self).name) end,
  __metatable = false,
})

-- ---- what a session keeps -----------------------------------------------------------------------

local NOTHING, NUMBER, BOOLEAN, STRING = 0, 1, 2, 3 -- alacrity_value.type
local TRIAL, GONE = 1, 5 -- alacrity_library.stage; enum values_fault
local value = ffi.new("struct alacrity_value")
local VALUE_FAULTS = {
  "a key must be a name: up to 32 letters, digits and _, no digit first",
  "a string is at most 256 bytes long",
  "a session keeps at most 16 values",
  "out of memory",
  "the session is over",
}

local function value_get(values, key)
  if type(key) ~= "string" then error("the key must be a string", 3) end
  native_value_get(values, key, #key, value)
  local kind = value.type
  if kind == NUMBER then return value.number end
  if kind == BOOLEAN then return value.number ~= 0 end
  if kind == STRING then return text(value.bytes, value.length) end
end

-- A shadow's changes, and those of the trial, are checked and not made.
local function value_set(values, key, content)
  if type(key) ~= "string" then error("the key must be a string", 3) end
  if library.stage == TRIAL then values = nil end
  local kind, fault = type(content), 0
  if kind == "string" then
    fault = native_value_set(values, key, #key, STRING, 0, content, #content)
  elseif kind == "number" then
    fault = native_value_set(values, key, #key, NUMBER, content, "", 0)
  elseif kind == "boolean" then
    fault = native_value_set(values, key, #key, BOOLEAN, content and 1 or 0, "", 0)
  elseif content == nil then
    fault = native_value_set(values, key, #key, NOTHING, 0, "", 0)
  else
    error("a value must be a number, a string, a boolean, or nil to remove it", 3)
  end
  if fault ~= 0 and not (fault == GONE and library.stage == TRIAL) then
    error(VALUE_FAULTS[fault], 3)
  end
end

-- ---- ctx: the session a backend is picked for --------------------------------------------------

local function check_ctx(self)
  if not istype(ctx_t, self) then
    error("call the methods of ctx with a colon, as in ctx:get('tenant')", 3)
  end
end

local ctx_methods = {
  --- What the session keeps under the key: a number, a string, a boolean, or nil.
  get = function(self, key)
    check_ctx(self)
    local kept = value_get(cast(ctx_ptr, self).values, key) -- no tail call: errors name the caller
    return kept
  end,
  --- Has the session keep a value under a name of up to 32 letters, digits and _: a number, a
  --- boolean, a string of up to 256 bytes; nil removes it. At most 16. Later picks, on_close and the
  --- session's log line see it.
  set = function(self, key, content)
    check_ctx(self)
    value_set(cast(ctx_ptr, self).values, key, content)
  end,
  -- Only while a route is asked (lua/route.c): what the client sends first, and what to do with it.
  peek = host.peek,
  use = host.use,
  reject = host.reject,
}

local ctx_fields = {
  client = function(self) return text(cast(ctx_ptr, self).client) end,
  listener = function(self) return text(cast(ctx_ptr, self).listener) end,
  last_failure = function(self)
    local code = self.last_failure_code
    if code ~= 0 then return failures[code] or "error " .. code end
  end,
}

ffi.metatype(ctx_t, {
  __index = function(self, key)
    local field = ctx_fields[key]
    if field then return field(self) end
    return ctx_methods[key]
  end,
  __tostring = function() return "ctx" end,
  __metatable = false,
})

-- ---- closed: how a session ended ---------------------------------------------------------------

local closed_fields = {
  client = function(self) return text(cast(closed_ptr, self).client) end,
  listener = function(self) return text(cast(closed_ptr, self).listener) end,
  reason = function(self) return text(cast(closed_ptr, self).reason) end,
  backend = function(self)
    local backend = cast(closed_ptr, self).backend
    if backend ~= nil then return backend[0] end
  end,
}

local closed_methods = {
  --- What the session keeps under the key.
  get = function(self, key)
    if not istype(closed_t, self) then
      error("call the methods of what ended with a colon, as in closed:get('tenant')", 2)
    end
    local kept = value_get(cast(closed_ptr, self).values, key)
    return kept
  end,
}

ffi.metatype(closed_t, {
  __index = function(self, key)
    local field = closed_fields[key]
    if field then return field(self) end
    return closed_methods[key]
  end,
  __tostring = function() return "closed" end,
  __metatable = false,
})

-- ---- the library -------------------------------------------------------------------------------

local native_log = host.log

-- A line of text, or of a table: its `message`, and up to 16 further fields of plain values.
local function logger(level)
  return function(line)
    if type(line) ~= "table" then line = tostring(line) end
    native_log(level, line)
  end
end

local alacrity = {
  log = { debug = logger(0), info = logger(1), warning = logger(2), error = logger(3) },
  --- Seconds of a clock that never jumps; only differences mean something.
  now = function() return native_now() end,
  --- Which worker this is, from 0 (nil on control), and how many there are.
  worker = function() return this_worker, all_workers end,
  --- Whose turn it is, for pool:rotate().
  rotation = function()
    local rotation = {}
    rotations[rotation] = false -- the array is made at the first use, when the pool is known
    return rotation
  end,
  --- 32-bit hash of a string, the same on every node and start.
  hash = function(bytes)
    if type(bytes) ~= "string" then error("alacrity.hash() takes a string", 2) end
    return native_hash(bytes, #bytes)
  end,
}
for _, part in ipairs(host.parts) do part(alacrity, host) end
local modules = { alacrity = alacrity } -- require() answers copies; the control thread adds its own

-- ---- environments ------------------------------------------------------------------------------

local GLOBALS = { "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal",
  "rawget", "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall",
  "_VERSION" }
local LIBRARIES = { "string", "table", "math", "bit" }
if host.control then LIBRARIES[#LIBRARIES + 1] = "coroutine" end

string.dump = nil -- also reachable as ("").dump
getmetatable("").__metatable = false

--- A copy down to the last plain table: what a script changes in it is changed for that script alone.
local function copied(value)
  if type(value) ~= "table" or getmetatable(value) then return value end
  local copy = {}
  for k, v in pairs(value) do copy[k] = copied(v) end
  return copy
end

local plain = {}
for _, name in ipairs(GLOBALS) do plain[name] = _G[name] end
for _, name in ipairs(LIBRARIES) do plain[name] = _G[name] end
plain.os = { time = os.time, clock = os.clock, date = os.date }

local load_builtin, load_file = host.load_builtin, host.load_file
local LOADING = {}

--- Everything a script requires is its own: modules from lua.path and those of the library are loaded
--- in its environment, what prelude and C made is copied.
local function new_require(env)
  local loaded = {}
  return function(name)
    if type(name) ~= "string" then error("require() takes the name of a module", 2) end
    local found = loaded[name]
    if found == LOADING then error("module '" .. name .. "' requires itself", 2) end
    if found ~= nil then return found end
    if modules[name] ~= nil then
      loaded[name] = copied(modules[name])
      return loaded[name]
    end
    if not match(name, "^[%w_%-]+$") and not match(name, "^[%w_%-][%w_%-%.]*[%w_%-]$")
      or find(name, "..", 1, true) then
      error("'" .. name .. "' is no name of a module; write folder.module", 2)
    end
    local chunk
    if find(name, "^alacrity%.") then
      chunk = load_builtin(sub(name, #"alacrity." + 1), env)
    else
      chunk = load_file(name, env)
    end
    loaded[name] = LOADING
    local ok, value = pcall(chunk, name)
    if not ok then
      loaded[name] = nil
      error(value, 0)
    end
    if value == nil then value = true end
    loaded[name] = value
    return value
  end
end

--- A fresh environment: nothing in it can reach the machine, or another script's environment.
local function sandbox()
  local env = copied(plain)
  env._G = env
  env.print = function(...)
    local parts = {}
    for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
    native_log(1, concat(parts, "\t"))
  end
  env.require = new_require(env)
  -- Text only: bytecode can do anything. A chunk without an environment would get the state's own.
  env.load = function(chunk, name, _, chunk_env)
    if chunk_env == nil then chunk_env = env end
    if type(chunk_env) ~= "table" then error("load() takes a table as environment", 2) end
    return load(chunk, name, "t", chunk_env)
  end
  env.loadstring = function(chunk, name)
    if type(chunk) ~= "string" then error("loadstring() takes a string", 2) end
    return load(chunk, name, "t", env)
  end
  return env
end

math.randomseed(host.seed)

-- Whoever gets hold of the state's own globals finds nothing there.
local names = {}
for name in pairs(_G) do names[#names + 1] = name end
for _, name in ipairs(names) do _G[name] = nil end

return {
  -- What crosses from one version of a script to the next, or to another state: data, no functions.
  encode = host.buffer.encode,
  decode = host.buffer.decode,
  modules = modules,
  sandbox = sandbox,
  backend = function(pointer) return cast("const struct alacrity_backend *", pointer)[0] end,
  pool = function(pointer)
    local pool = cast("const struct alacrity_pool *", pointer)[0]
    keep_answers(pool)
    return pool
  end,
  ctx = function(pointer) return cast("const struct alacrity_ctx *", pointer)[0] end,
  closed = function(pointer) return cast("const struct alacrity_closed *", pointer)[0] end,
  size = function(name) return ffi.sizeof("struct " .. name) end,
  offset = function(name, field) return (ffi.offsetof("struct " .. name, field)) end,
}
