---@meta _

--- # Scripts
---
--- A script is a Lua file that returns one table. Its `kind` says what it decides: a *policy* picks
--- backends, a *route* chooses the pool of a session, a *check* asks whether a backend is well, a
--- *service* answers HTTP requests. The balancer makes *instances* of it with `new`, and calls their
--- methods.
---
--- Kinds to come (`discovery`) will have their section here.

--- What an option may look like that stands under `with:` in a configuration. Mistakes in the
--- configuration are reported at their place; `new` gets complete, checked values. Tables and
--- values are read as they stand: metatables do not count here.
---
--- ```lua
--- options = {
---   path  = { type = "string", default = "/" },
---   code  = { type = "integer", default = 200, min = 100, max = 599, help = "status to expect" },
---   zones = { type = "list", of = "string", default = {} },
---   key   = { type = "string", required = true },
--- }
--- ```
---
--- In: policies, routes, checks, services
---@class alacrity.Option
--- What the value must be. A `duration` is written `250ms`, `2s`, `5m`; the script gets
--- milliseconds. A `pool` is the name of one; that there is none is a mistake in the configuration.
--- `any` takes every value there is in YAML.
---@field type "string"|"number"|"integer"|"boolean"|"duration"|"pool"|"list"|"map"|"any"
--- The value when nothing is given; without it the option is nil then. Every instance gets a copy
--- of its own. That of a duration may be written as text, `"250ms"`.
---@field default? any
--- True: it must be given.
---@field required? boolean
--- The least number allowed; of a duration, in milliseconds; of a list or map, for each element.
---@field min? number
--- The largest number allowed; as `min`.
---@field max? number
--- The only values allowed; of a list or map, for each element.
---@field choices? any[]
--- The type of the elements of a list or map.
---@field of? string
--- A sentence for people.
---@field help? string

--- What the file of a policy returns.
---
--- ```lua
--- ---@type alacrity.PolicyScript
--- local script = {
---   api = 1, kind = "policy", name = "first-or-least",
---   options = { busy = { type = "integer", default = 20 } },
---   new = function(cfg)
---     return {
---       pick = function(self, ctx, pool)
---         local first = pool[1]
---         if first and first.active < cfg.busy then return first end
---         return pool:least()
---       end,
---     }
---   end,
--- }
--- return script
--- ```
---
--- In: policies
---@class alacrity.PolicyScript
--- The version of this interface: 1.
---@field api 1
--- Says what it is.
---@field kind "policy"
--- Whatever you like to call it. What `snapshot` returns is only given to a script of the same
--- name.
---@field name string
--- Its options, by their names.
---@field options? table<string, alacrity.Option>
--- Makes the instance for one pool on one worker: `cfg` are the options, `carry` what the
--- `snapshot` of the version before returned on this worker, or nil. Runs on the builder, off the
--- path of traffic, with the CPU budget `lua.budget`; an error refuses the configuration. Shared
--- dictionaries can be read here, but not changed.
---@field new fun(cfg: table, carry?: table): alacrity.Policy

--- An instance of a policy: a table with these methods, as `new` returns it. It belongs to one pool
--- and one worker, and is only called on that worker.
---
--- In: policies
---@class alacrity.Policy
local policy = {}

--- Which backend gets this session? Asked once for every session, and again for every retry, with
--- the CPU budget `lua.pick_budget`. It may not wait, and must not keep `ctx`, nor a part of the
--- pool.
---
--- An error, a backend that is not on offer, or nil sends the session to the pool's `fallback`, and
--- is counted. `nil, reason` is how a policy says that nobody should get the session: with
--- `fallback: reject` it is closed.
---@param ctx alacrity.Context the session
---@param pool alacrity.Pool the backends that can take it, one at least: without any it is not asked
---@return alacrity.Backend? backend one of the pool, or nil
---@return string? reason why nobody, for people; up to 127 bytes are kept
function policy:pick(ctx, pool) end

--- What the next version shall know; called on the worker when the policy is about to be replaced
--- (by a reload, a swap, a rollback). It reaches `new(cfg, carry)` of the next version on the same
--- worker, if both have the same `name`. May be left out.
---@return table? carry plain data: no functions or metatables; at most 1 MiB encoded
function policy:snapshot() end

--- How did a session end that this version, or one before it, was asked about? Called on the worker
--- for each, whether it was relayed or never reached a backend, with the CPU budget
--- `lua.pick_budget`. It cannot wait, and `closed` must not be kept. May be left out. It is tried
--- once before the version goes live (`closed.listener` is `trial` then). A shadow is not told, nor
--- a script whose state is being made anew.
---@param closed alacrity.Closed
function policy:on_close(closed) end

--- What the file of a route returns. Differs from a policy's in `kind`, and in what `new` returns.
---
--- ```lua
--- ---@type alacrity.RouteScript
--- local script = {
---   api = 1, kind = "route", name = "shell-or-rest",
---   options = { shell = { type = "pool" } },
---   new = function(cfg)
---     return {
---       route = function(self, ctx)
---         if cfg.shell and ctx:peek(4, 1) == "SSH-" then ctx:use(cfg.shell) end
---       end,
---     }
---   end,
--- }
--- return script
--- ```
---
--- In: routes
---@class alacrity.RouteScript
--- The version of this interface: 1.
---@field api 1
--- Says what it is.
---@field kind "route"
--- Whatever you like to call it.
---@field name string
--- Its options, by their names.
---@field options? table<string, alacrity.Option>
--- Makes the instance for one listener on one worker. There is no carry: the second argument is nil.
---@field new fun(cfg: table): alacrity.Route

--- An instance of a route: one for each listener and worker.
---
--- In: routes
---@class alacrity.Route
local route = {}

--- Which pool gets this session? Run as a coroutine for each session, before the first pick; it may
--- wait for what the client sends (`ctx:peek`) and in [alacrity.net](#network). It chooses with
--- `ctx:use`, ends the session with `ctx:reject`, or does neither: then the listener's `pool` gets
--- it. So it does when `route` raises an error, returns something, is stopped, or passes
--- `timeouts.route`; without a `pool` the session ends then.
---@param ctx alacrity.Context the session
function route:route(ctx) end

--- What the file of a check returns. Differs from a policy's in `kind`, and in what `new` returns.
---
--- In: checks
---@class alacrity.CheckScript
--- The version of this interface: 1.
---@field api 1
--- Says what it is.
---@field kind "check"
--- Whatever you like to call it.
---@field name string
--- Its options, by their names.
---@field options? table<string, alacrity.Option>
--- Makes the instance for one pool. There is no carry: the second argument is nil.
---@field new fun(cfg: table): alacrity.Check

--- An instance of a check: one for each pool, on the control thread.
---
--- In: checks
---@class alacrity.Check
local check = {}

--- Is this backend well? Run as a coroutine for each backend, every `interval`; it may wait in
--- [alacrity.net](#network). At the pool's `timeout` it is ended and has failed, and its sockets
--- are closed. An error keeps the backend's state and is counted.
---@param backend alacrity.Backend
---@return "up"|"down"|"drain" state `drain` takes it out at once, without waiting for `fall` failures
---@return string? info for people: shown as the reason, cut after 255 bytes
function check:check(backend) end

--- What the file of a service returns. Differs from a policy's in `kind`, and in what `new`
--- returns.
---
--- In: services
---@class alacrity.ServiceScript
--- The version of this interface: 1.
---@field api 1
--- Says what it is.
---@field kind "service"
--- Whatever you like to call it.
---@field name string
--- Its options, by their names.
---@field options? table<string, alacrity.Option>
--- Makes the instance for one listener. There is no carry: the second argument is nil.
---@field new fun(cfg: table): alacrity.Service

--- An instance of a service: one for each listener, on the control thread.
---
--- In: services
---@class alacrity.Service
local service = {}

--- Answers one HTTP request. Run as a coroutine; it may wait in [alacrity.net](#network). An error,
--- or anything but the three values, is a 500 for the client and is counted. A long body need not
--- be made one string: a list of strings is sent one after the other. Each piece of work between two
--- waits may take `lua.budget`, and checks wait for it too: what takes longer than a few
--- milliseconds should `net.sleep(0)` now and then.
---
--- ```lua
--- serve = function(self, request)
---   if request.path ~= "/" then return 404, "text/plain", "only / is here\n" end
---   return 200, "text/plain; charset=utf-8", "hello " .. request.client .. "\n"
--- end
--- ```
---@param request alacrity.Request
---@return integer status 200 to 599
---@return string content_type
---@return string|string[] body
function service:serve(request) end

--- The HTTP request a service answers. A plain table, made for this request.
---
--- In: services
---@class alacrity.Request
--- `GET`, `HEAD`, `POST`, ...
---@field method string
--- What stands before the `?`, as it was sent: `%20` stays `%20`.
---@field path string
--- What stands behind the `?`, else `""`.
---@field query string
--- By name in lower case: `request.headers["user-agent"]`.
---@field headers table<string, string>
--- `""` when there is none.
---@field body string
--- The client's address.
---@field client string
