-- Tests for scripts: what a `*_test.lua` file gets from require "alacrity.test" when `alacrity test`
-- runs it. docs/testing.md describes it for users; lua/test.h how it works.
--
-- The native functions answer nil and what is wrong; here that becomes an error at the line of the
-- test. Those that the driver serves (policy, pick, check, run, ...) yield, and answer `false` and a
-- message, or `true` and what was asked for.
local found, native = pcall(require, "alacrity.test_native")
if not found then error("alacrity.test works only in files that `alacrity test` runs", 0) end
local alacrity, net = require "alacrity", require "alacrity.net"

local format, concat, sort, rep = string.format, table.concat, table.sort, string.rep
local floor, min, maxn = math.floor, math.min, table.maxn

local test = {}

-- ---- showing and comparing values --------------------------------------------------------------

local function by_text(a, b) return tostring(a) < tostring(b) end

local function show(value, depth)
  if type(value) == "string" then return format("%q", value) end
  if type(value) ~= "table" then return tostring(value) end
  if depth == 0 then return "{...}" end
  local parts, keys, length = {}, {}, #value
  for i = 1, length do parts[i] = show(value[i], depth - 1) end
  for key in pairs(value) do
    local listed = type(key) == "number" and key >= 1 and key <= length and floor(key) == key
    if not listed then keys[#keys + 1] = key end
  end
  sort(keys, by_text)
  for _, key in ipairs(keys) do
    local name = type(key) == "string" and key:match("^[%a_][%w_]*$") or "[" .. show(key, 1) .. "]"
    parts[#parts + 1] = name .. " = " .. show(value[key], depth - 1)
  end
  return "{" .. concat(parts, ", ") .. "}"
end

local function is_same(a, b, depth)
  if a == b or (a ~= a and b ~= b) then return true end
  if type(a) ~= "table" or type(b) ~= "table" or depth == 0 then return false end
  for key, value in pairs(a) do
    if not is_same(value, b[key], depth - 1) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

local function said(what) return what and tostring(what) .. ": " or "" end

--- Fails unless both are equal; tables, when what they contain is.
function test.equal(got, wanted, what)
  if not is_same(got, wanted, 16) then
    error(format("%sgot %s, wanted %s", said(what), show(got, 8), show(wanted, 8)), 2)
  end
end

--- Fails unless the number is at most `within` away.
function test.near(got, wanted, within, what)
  if not (type(got) == "number" and got >= wanted - within and got <= wanted + within) then
    error(format("%sgot %s, wanted %s, give or take %s", said(what), show(got, 8), wanted, within), 2)
  end
end

--- Fails when the value is nil or false.
function test.ok(value, what)
  if not value then error(said(what) .. "got " .. tostring(value), 2) end
  return value
end

--- Fails unless the function raises an error that contains the text; returns the error.
function test.error(call, part)
  if type(call) ~= "function" then error("test.error() takes a function", 2) end
  local ok, err = pcall(call)
  if ok then error("no error was raised", 2) end
  err = tostring(err)
  if part and not err:find(part, 1, true) then
    error(format("got the error %q, wanted one with %q", err, part), 2)
  end
  return err
end

-- Raises what a native function said, at the line of the test `level` calls up. What begins with
-- that line already is about what stands there.
local function refuse(message, level)
  local here = native.callers():match("^[^,]*")
  if message:sub(1, #here + 1) == here .. ":" then error(message, 0) end
  error(message, level + 1)
end

-- ---- cases -------------------------------------------------------------------------------------

local function describe(err)
  local where = native.callers()
  err = tostring(err)
  if where ~= "" and where:find(", ", 1, true) then err = err .. "\nat " .. where end
  return err
end

-- The pool made last, which policies are for: in this case, or else outside of cases.
local in_case, last_pool, file_pool = false, nil, nil

--- A case: the function is called once the whole file is loaded. It fails by an error.
function test.case(name, run)
  if type(name) ~= "string" or type(run) ~= "function" then
    error("write test.case(name, function() ... end)", 2)
  end
  local ok, why = native.case(name, function()
    in_case, last_pool = true, file_pool
    native.finish(xpcall(run, describe))
  end)
  if not ok then error(why, 2) end
end

-- ---- time --------------------------------------------------------------------------------------

--- Virtual seconds; scripts see the same in alacrity.now().
test.clock = alacrity.now

--- Lets virtual time pass: timers of the scripts happen. What fails in one is raised here.
function test.advance(seconds)
  if not (type(seconds) == "number" and seconds >= 0) then
    error("test.advance() takes seconds", 2)
  end
  local ok, why = native.advance(seconds)
  if ok == false then error(why, 2) end
  if ok then return end
  while seconds > 0 do -- a server waits
    net.sleep(min(seconds, 86400))
    seconds = seconds - 86400
  end
end

-- ---- pools -------------------------------------------------------------------------------------

local Pool = {}
Pool.__index = Pool

local pools = 0

-- What is said when a backend is made; all else can be changed.
local FIXED = { name = true, address = true, zone = true, tags = true }

local function change(pool, name, facts, level)
  if type(facts) ~= "table" then error("a backend's facts are a table", level + 1) end
  for key, value in pairs(facts) do
    if not FIXED[key] then
      local ok, why = native.set(pool.id, name, key, value)
      if not ok then error(why, level + 1) end
    end
  end
end

local function add(pool, backend, level)
  if type(backend) == "string" then backend = { name = backend } end
  if type(backend) ~= "table" or type(backend.name) ~= "string" then
    error("a backend is a table with a name, such as {name = \"a\", weight = 2}", level + 1)
  end
  pool.added = pool.added + 1
  local address = backend.address or format("192.0.2.%d:80", (pool.added - 1) % 254 + 1)
  local ok, why = native.add(pool.id, backend.name, address, backend.zone, backend.tags)
  if not ok then error(why, level + 1) end
  change(pool, backend.name, backend, level + 1)
end

--- A pool of backends, from a list of names or of {name =, weight =, active =, state =, ...}.
function test.pool(backends)
  if type(backends) ~= "table" then error("test.pool() takes a list of backends", 2) end
  pools = pools + 1
  local id, why = native.pool(backends.name or (pools == 1 and "test" or "test-" .. pools),
    backends.zone)
  if not id then error(why, 2) end
  local pool = setmetatable({ id = id, added = 0 }, Pool)
  for _, backend in ipairs(backends) do add(pool, backend, 2) end
  last_pool = pool
  if not in_case then file_pool = pool end
  return pool
end

--- Changes facts of a backend: state, active, weight, connect_ms, max_sessions.
function Pool:set(name, facts) change(self, name, facts, 2) end

--- The facts of a backend, as they are.
function Pool:get(name)
  local facts, why = native.get(self.id, name)
  if not facts then error(why, 2) end
  return facts
end

--- One more backend, or one less. As with a new configuration, policies of the pool are made anew.
function Pool:add(backend) add(self, backend, 2) end

function Pool:remove(name)
  local ok, why = native.remove(self.id, name)
  if not ok then error(why, 2) end
end

-- ---- policies ----------------------------------------------------------------------------------

local Policy = {}
Policy.__index = Policy

--- Loads a policy, a file beside the test or a stock one, for a pool (the one made last).
function test.policy(script, options, pool)
  pool = pool or last_pool
  if not pool then error("make a pool first, with test.pool()", 2) end
  local ok, id = native.policy(script, options, pool.id)
  if not ok then refuse(id, 2) end
  return setmetatable({ id = id }, Policy)
end

local SESSION = { client = true, port = true, attempt = true, listener = true, last_failure = true,
  tried = true, values = true }

local function ask(policy, times, session, level)
  session = session or {}
  for key in pairs(session) do
    if not SESSION[key] then
      error("a session has no '" .. tostring(key) ..
        "'; it has client, port, attempt, listener, last_failure, tried and values", level + 1)
    end
  end
  local tried = session.tried or {}
  local failure = session.last_failure or (#tried > 0 and "refused" or nil)
  local ok, answer, more, values = native.pick(policy.id, times, session.client or "192.0.2.1",
    session.port or 40000, session.listener or "test", session.attempt or #tried + 1, failure, tried,
    session.values)
  if not ok then refuse(answer, level + 1) end
  if values and session.values then
    for key in pairs(session.values) do session.values[key] = nil end
    for key, value in pairs(values) do session.values[key] = value end
  end
  return answer, more
end

--- Asks for one session: the name of a backend, or nil and why there is none. Afterwards
--- `session.values`, if it is given, is what the session keeps (ctx:set).
function Policy:pick(session)
  local name, why = ask(self, 0, session, 2)
  return name, why
end

--- Asks `times` times, each for another client: how often each backend was the answer, by name,
--- and how often there was none.
function Policy:spread(times, session)
  if not (type(times) == "number" and times >= 1 and times <= 1e6) then
    error("policy:spread() takes a number of sessions, 1 to 1000000", 2)
  end
  local counts, nobody = ask(self, times, session, 2)
  return counts, nobody
end

local CLOSED = { client = true, port = true, listener = true, attempts = true, backend = true,
  reason = true, duration_ms = true, bytes_in = true, bytes_out = true, values = true }

--- Tells the policy's on_close that a session ended.
function Policy:close(closed)
  closed = closed or {}
  for key in pairs(closed) do
    if not CLOSED[key] then
      error("what ended has no '" .. tostring(key) .. "'; it has client, port, listener, attempts, " ..
        "backend (a name), reason, duration_ms, bytes_in, bytes_out and values", 2)
    end
  end
  local ok, why = native.close(self.id, closed.client or "192.0.2.1", closed.port or 40000,
    closed.listener or "test", closed.attempts or (closed.backend and 1 or 0), closed.backend,
    closed.reason or (closed.backend and "done" or "no_backend"), closed.duration_ms or 0,
    closed.bytes_in or 0, closed.bytes_out or 0, closed.values)
  if not ok then refuse(why, 2) end
end

-- ---- checks ------------------------------------------------------------------------------------

local Check = {}
Check.__index = Check

--- Loads a check, a file beside the test or a stock one.
function test.check(script, options)
  local ok, id = native.check(script, options)
  if not ok then refuse(id, 2) end
  return setmetatable({ id = id }, Check)
end

-- A list of steps as a server: {expect = bytes}, {send = bytes}, {wait = seconds}, "close", "reset".
local STEP = { expect = "string", send = "string", wait = "number" }

-- What is wrong with a step; nil: nothing.
local function fault_of(step)
  if step == "close" or step == "reset" then return nil end
  if type(step) ~= "table" then return "got " .. show(step, 2) end
  for key, value in pairs(step) do
    if not STEP[key] then return "there is no " .. show(key, 1) end
    if type(value) ~= STEP[key] then return key .. " takes a " .. STEP[key] end
  end
  return next(step) == nil and "it is empty" or nil
end

local function check_steps(steps, level)
  for i = 1, maxn(steps) do
    local fault = fault_of(steps[i])
    if fault then
      error(format("step %d of the server: %s; a step is {expect = bytes}, {send = bytes}, " ..
        "{wait = seconds}, \"close\" or \"reset\"", i, fault), level + 1)
    end
  end
  for key in pairs(steps) do
    if type(key) ~= "number" then
      error(format("the server has no %s: it is a list of steps, each in braces of its own, such as " ..
        "{{send = bytes}, \"close\"}", show(key, 1)), level + 1)
    end
  end
end

local function play(steps, conversation)
  for i, step in ipairs(steps) do
    if step == "close" then return end
    if step == "reset" then return "reset" end
    if step.expect then
      local got, why = conversation:receive(#step.expect)
      if got ~= step.expect then
        error(format("step %d of the server: got %s, expected %q", i,
          got and format("%q", got) or why, step.expect), 0)
      end
    end
    if step.wait then net.sleep(step.wait) end
    if step.send then conversation:send(step.send) end
  end
end

local function serve(server)
  return function(conversation, number)
    local ok, result = xpcall(server, describe, conversation, number)
    native.served(ok and result == "reset", not ok and result or nil)
  end
end

-- What the test wrote as server, for the driver.
local function server_of(server, level)
  if type(server) == "table" then
    check_steps(server, level + 1)
    local steps = server
    server = function(conversation) return play(steps, conversation) end
  end
  if type(server) == "function" then return serve(server) end
  return server or "silent"
end

local RUN = { backend = true, server = true, timeout = true, connect = true }

--- Runs the check once: "up", "down" or "drain", and its text.
function Check:run(with)
  with = with or {}
  for key in pairs(with) do
    if not RUN[key] then
      error("a run has no '" .. tostring(key) .. "'; it has backend, server, timeout and connect", 2)
    end
  end
  local backend = with.backend or "backend"
  local kept = last_pool
  local pool = test.pool { type(backend) == "string" and { name = backend } or backend }
  last_pool = kept
  local name = type(backend) == "string" and backend or backend.name
  local ok, state, info = native.run(self.id, pool.id, name, with.timeout or 1, with.connect or 0,
    server_of(with.server, 2))
  if not ok then refuse(state, 2) end
  return state, info
end

-- ---- routes ------------------------------------------------------------------------------------

local Route = {}
Route.__index = Route

--- Loads a route, a file beside the test or a stock one.
function test.route(script, options)
  local ok, id = native.route(script, options)
  if not ok then refuse(id, 2) end
  return setmetatable({ id = id }, Route)
end

local ROUTED = { client = true, port = true, listener = true, bytes = true, pause = true,
  ended = true, timeout = true, connect = true, server = true, values = true }

--- Asks for one session: the name of the pool it chose; or nil and "default" (it chose nothing),
--- "timeout", or "rejected" and why.
function Route:run(with)
  with = with or {}
  for key in pairs(with) do
    if not ROUTED[key] then
      error("a session to be routed has no '" .. tostring(key) .. "'; it has client, port, listener, " ..
        "bytes, pause, ended, timeout, connect, server and values", 2)
    end
  end
  local ok, word, what, values = native.routed(self.id, with.client or "192.0.2.1",
    with.port or 40000, with.listener or "test", with.bytes or "", with.pause or 0, with.ended,
    with.timeout or 5, with.connect or 0, server_of(with.server, 2), with.values)
  if not ok then refuse(word, 2) end
  if with.values then
    for key in pairs(with.values) do with.values[key] = nil end
    for key, value in pairs(values) do with.values[key] = value end
  end
  if word == "pool" then return what end
  if word == "rejected" then return nil, word, what end
  return nil, word
end

--- A server that sends the bytes one at a time, with a pause before each.
function test.drip(bytes, pause)
  return function(conversation)
    for i = 1, #bytes do
      net.sleep(pause)
      if not conversation:send(bytes:sub(i, i)) then return end
    end
  end
end

--- So many bytes that mean nothing, the same ones every time.
function test.garbage(count)
  local block = {}
  for i = 0, 255 do block[i + 1] = string.char((i * 167 + 13) % 256) end
  return rep(concat(block), floor(count / 256) + 1):sub(1, count)
end

return test
