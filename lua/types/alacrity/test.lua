---@meta alacrity.test

--- # Tests
---
--- `local test = require "alacrity.test"`, in files whose names end in `_test.lua`, which `alacrity
--- test` runs in virtual time. [testing.md](testing.md) is the guide. A test has what checks have;
--- nothing reaches the network, and `print` writes a comment.

--- The module.
---
--- In: tests
---@class alacrity.test
local test = {}

--- A case: the function is called when the whole file is loaded. It fails by its first error. What
--- it makes is gone when it ends; what is made outside of cases stays for the file.
---@param name string
---@param run fun()
function test.case(name, run) end

--- Fails unless both are equal: tables, by what they contain.
---@param got any
---@param wanted any
---@param what? string said in front of the failure
function test.equal(got, wanted, what) end

--- Fails unless the number is near.
---@param got number
---@param wanted number
---@param within number
---@param what? string
function test.near(got, wanted, within, what) end

--- Fails when it is nil or false.
---@param value any
---@param what? string
---@return any value the same
function test.ok(value, what) end

--- Fails unless the function raises an error.
---@param call fun()
---@param part? string what the error must contain, as plain text
---@return string error
function test.error(call, part) end

--- Virtual seconds; scripts see the same in `alacrity.now()`.
---@return number seconds
function test.clock() end

--- Lets that much time pass, at once.
---@param seconds number not negative
function test.advance(seconds) end

--- A pool of real backends. A mistake in it is an error.
---
--- ```lua
--- local pool = test.pool { "a", { name = "b", weight = 3, tags = { "backup" } }, zone = "here" }
--- ```
---@param backends (string|alacrity.test.Backend)[] beside them, `name` names the pool and `zone` says where the balancer stands
---@return alacrity.test.Pool
function test.pool(backends) end

--- Loads a policy the real way. What is wrong with it is an error.
---@param script string a path beside the test, `"./nearest.lua"`, or the name of a stock one
---@param options? table what would stand under `with:`
---@param pool? alacrity.test.Pool the one made last
---@return alacrity.test.Policy
function test.policy(script, options, pool) end

--- Loads a check the real way. What is wrong with it is an error.
---@param script string
---@param options? table
---@return alacrity.test.Check
function test.check(script, options) end

--- A server for `check:run` that sends the bytes one at a time.
---@param bytes string
---@param pause number seconds before each
---@return fun(conversation: alacrity.Socket) server
function test.drip(bytes, pause) end

--- So many bytes that mean nothing, the same ones every time.
---@param count integer
---@return string
function test.garbage(count) end

--- A backend of a test's pool, as it is made. What is left out is as in `()`.
---
--- In: tests
---@class alacrity.test.Backend
--- Its name.
---@field name string
--- (One of 192.0.2.0/24.)
---@field address? string
--- (None.)
---@field zone? string
--- (None.)
---@field tags? string[]
--- (`"up"`.)
---@field state? "up"|"starting"|"suspect"|"down"|"drain"|"maint"
--- (1.) 0 to 1000000.
---@field weight? integer
--- (0.) Sessions it has.
---@field active? integer
--- (0: no limit.)
---@field max_sessions? integer
--- (0: not known.) The average and the last time to connect.
---@field connect_ms? number

--- What `test.pool` makes. Nothing in it changes by itself: a pick does not raise `active`, and
--- nobody checks the backends.
---
--- In: tests
---@class alacrity.test.Pool
local pool = {}

--- Changes facts of a backend: `pool:set("a", { active = 5, state = "drain" })`. Name, address,
--- zone and tags stay as they are.
---@param name string
---@param facts table with `state`, `weight`, `active`, `max_sessions`, `connect_ms`
function pool:set(name, facts) end

--- The facts of a backend as they are.
---@param name string
---@return table facts `address`, `state`, `weight`, `active`, `max_sessions`, `connect_ms`
function pool:get(name) end

--- One more. As with a new configuration, policies of the pool are made anew.
---@param backend string|alacrity.test.Backend
function pool:add(backend) end

--- One less. As with a new configuration, policies of the pool are made anew.
---@param name string
function pool:remove(name) end

--- What `test.policy` makes. A policy that raises an error, answers nonsense or has to be stopped
--- is an error of the test, where the balancer would use the fallback.
---
--- In: tests
---@class alacrity.test.Policy
local policy = {}

--- Asks for one session.
---@param session? alacrity.test.Session
---@return string? backend its name
---@return string? reason why nobody
function policy:pick(session) end

--- Asks that often, each time for another client.
---@param times integer 1 to 1000000
---@param session? alacrity.test.Session
---@return table<string, integer> counts how often each backend was the answer, by name
---@return integer nobody how often none was
function policy:spread(times, session) end

--- Tells its `on_close` that a session ended. That it has none, or fails, is an error.
---@param closed? alacrity.test.Closed
function policy:close(closed) end

--- What ended. What is left out is as in `()`.
---
--- In: tests
---@class alacrity.test.Closed
--- (`"192.0.2.1"`.)
---@field client? string
--- (40000.)
---@field port? integer
--- (`"test"`.)
---@field listener? string
--- (None.) The name of the one it was connected to.
---@field backend? string
--- (`"done"`, or `"no_backend"` without a backend.)
---@field reason? string
--- (1, or 0 without a backend.)
---@field attempts? integer
--- (0.)
---@field duration_ms? number
--- (0.)
---@field bytes_in? number
--- (0.)
---@field bytes_out? number
--- (None.) What the session keeps.
---@field values? table

--- The session a policy is asked about. What is left out is as in `()`.
---
--- In: tests
---@class alacrity.test.Session
--- (`"192.0.2.1"`.) An address without a port, or `"unix"`.
---@field client? string
--- (40000.)
---@field port? integer
--- (`"test"`.)
---@field listener? string
--- (None.) Names of backends; they are not offered.
---@field tried? string[]
--- (One more than were tried.)
---@field attempt? integer
--- (`"refused"` if any was tried.) A word of `ctx.last_failure`.
---@field last_failure? string
--- (None.) What it keeps, for `ctx:get`; after the pick it is what the session keeps then.
---@field values? table

--- What `test.check` makes.
---
--- In: tests
---@class alacrity.test.Check
local check = {}

--- Runs it once, in virtual time. An error of the check is an error of the test.
---@param with? alacrity.test.Run
---@return "up"|"down"|"drain" state
---@return string info
function check:run(with) end

--- How a check is run. What is left out is as in `()`.
---
--- In: tests
---@class alacrity.test.Run
--- (A backend named `backend`.)
---@field backend? string|alacrity.test.Backend
--- (`"silent"`.) What the check finds: a function, called for each connection with the conversation
--- and its number; a list of steps `{ expect = bytes }`, `{ send = bytes }`, `{ wait = seconds }`,
--- `"close"`, `"reset"`; or `"refused"`, `"unreachable"`, `"unanswered"`, `"closed"`, `"reset"`,
--- `"silent"`.
---@field server? string|table|fun(conversation: alacrity.Socket, number: integer): string?
--- (1.) Virtual seconds it may take.
---@field timeout? number
--- (0.) Virtual seconds until a connect is answered.
---@field connect? number

return test
