---@meta _

--- # What a pick sees
---
--- Views of the balancer's own memory: reading a field is a machine load, nothing can be written,
--- and what is read is as it is at that moment, on any thread. A view costs nothing to hand over,
--- so there is no need to copy.
---
--- Three things to know:
---
--- - `ctx` and parts of a pool (`pool:tagged(...)` and the like) are for the pick they were asked
---   for in: kept any longer they tell of other sessions, or of an earlier state. A backend may be
---   kept, but is another one when it has left the configuration. Use `backend.id` as a table key:
---   two views of one backend are equal (`==`), and yet different keys.
--- - Selectors answer nil when nobody is on offer.
--- - LuaJIT compiles loops, not the making of functions: make score functions once, in `new`, never
---   in the pick ([what is fast](policies.md#what-is-fast)).

--- The session a backend is picked for. Valid only during the pick.
---
--- In: policies
---@class alacrity.Context
--- 1 on the first pick, 2 on the first retry, ...
---@field attempt integer
--- The client's numeric address without its port; `"unix"` for unix sockets.
---@field client string
--- A 32-bit hash of that, the same on every worker and node: for `pool:maglev` and `pool:ring`.
---@field client_hash integer
--- 0 for unix sockets.
---@field client_port integer
--- The listener's name; `"trial"` in the trial pick.
---@field listener string
--- Why the attempt before failed: `refused`, `timeout`, `unreachable`, `reset`, `no socket`, `no
--- port left`, `no descriptor left` or `error NUMBER`; nil on the first.
---@field last_failure? string
--- The same as the system's number; 0 on the first.
---@field last_failure_code integer
local ctx = {}

--- What the session keeps under this name.
---@param key string
---@return string|number|boolean|nil value
function ctx:get(key) end

--- Has the session keep a value. Later picks of the session see it, whatever version is asked; so
--- do `on_close`, and the session's line in the log (as `ctx.NAME`). A session keeps at most 16.
--- What a shadow or a trial sets is not kept. What does not fit is an error.
---@param key string up to 32 letters, digits and `_`, no digit first
---@param content string|number|boolean|nil a string of up to 256 bytes; nil removes it
function ctx:set(key, content) end

--- How a session ended. Valid only during `on_close`.
---
--- In: policies
---@class alacrity.Closed
--- As in `ctx`.
---@field client string
--- As in `ctx`.
---@field client_hash integer
--- As in `ctx`.
---@field client_port integer
--- As in `ctx`.
---@field listener string
--- It was connected to; nil: to none.
---@field backend? alacrity.Backend
--- `done`, `client_reset`, `idle_timeout`, ...: the names of
--- [`alacrity.Facts.Ended`](#alacrityfactsended).
---@field reason string
--- The number behind `reason`.
---@field reason_code integer
--- Backends that were dialled.
---@field attempts integer
--- Milliseconds since it was accepted.
---@field duration_ms number
--- From the client.
---@field bytes_in number
--- To the client.
---@field bytes_out number
local closed = {}

--- What the session keeps under this name.
---@param key string
---@return string|number|boolean|nil value
function closed:get(key) end

--- The backends that can take this session, in the order of the configuration: those that are up
--- (or not checked yet), neither drained nor full, and not tried before by this session.
---
--- `#pool` is their number, `pool[i]` the i-th, from 1 (nil for any other index). There is no
--- iterator: write `for i = 1, #pool do local backend = pool[i] ... end`.
---
--- In: policies
---@class alacrity.Pool
---@operator len: integer
---@field [integer] alacrity.Backend
--- The same as `#pool`.
---@field count integer
--- Every backend of the pool, whatever its state.
---@field all alacrity.AllBackends
--- The pool's name.
---@field name string
--- The zone in which the balancer stands for this pool, `""` if that is not said.
---@field zone string
--- The number behind `zone`, as in `backend.zone_code`: quicker to compare than names. 0 if it is
--- not said.
---@field zone_code integer
--- Another number whenever the state, weight, zone or tags of any backend of the pool changed: for
--- what is costly to find out. 0 in the trial.
---@field generation integer
local pool = {}

--- The backend with the fewest active sessions for its weight; idle ones first, equal ones in turn.
--- Native. In pools of more than 16, that one has become *emptier* is noticed after at most 128
--- picks of this worker.
---@return alacrity.Backend?
function pool:least() end

--- The next in turn, smoothly and exactly by weight: weights 3 and 1 give a a b a. Native.
---
--- ```lua
--- new = function()
---   local rotation = alacrity.rotation()
---   return { pick = function(self, ctx, pool) return pool:rotate(rotation) end }
--- end
--- ```
---@param rotation alacrity.Rotation made in `new`, with `alacrity.rotation()`; anything else is an error
---@return alacrity.Backend?
function pool:rotate(rotation) end

--- The owner of the hash in a Maglev table: even, and stable when others come and go. Native.
---@param hash integer 0 to 2^32 - 1, such as `ctx.client_hash` or `alacrity.hash(text)`
---@return alacrity.Backend?
function pool:maglev(hash) end

--- The owner of the hash on a ketama-like ring. With a factor, a backend that has that many times
--- its fair share of all sessions is passed over, and the next on the ring gets them. Native.
---@param hash integer 0 to 2^32 - 1
---@param factor? number from 1 up; without it there is no bound
---@return alacrity.Backend?
function pool:ring(hash, factor) end

--- The backend with this id, if it can take this session. Native.
---@param id integer `backend.id` of one seen before
---@return alacrity.Backend?
function pool:find(id) end

--- The one with the lowest score; of equal ones any, with the same chance. A score of `0/0` (NaN)
--- leaves a backend out.
---
--- ```lua
--- new = function()
---   local function score(backend) return backend.connect_ewma_ms * (backend.active + 1) end
---   return { pick = function(self, ctx, pool) return pool:min(score) end }
--- end
--- ```
---@param score fun(backend: alacrity.Backend): number made once, in `new`
---@return alacrity.Backend?
function pool:min(score) end

--- Two different ones are drawn at random, and the one with the lower score is the answer. The cost
--- does not grow with the pool.
---@param score fun(backend: alacrity.Backend): number made once, in `new`
---@return alacrity.Backend?
function pool:p2c(score) end

--- The part with this tag: a pool itself, with all of these methods, for this pick. It costs
--- little: it is kept until a state changes. Parts are made of the whole pool, not of parts: that
--- is an error. Native.
---@param tag string a tag that no backend has gives an empty part
---@return alacrity.Pool
function pool:tagged(tag) end

--- The part without this tag. Native.
---@param tag string
---@return alacrity.Pool
function pool:untagged(tag) end

--- The part in the zone where the balancer stands. Native.
---@return alacrity.Pool
function pool:near() end

--- The part elsewhere. Native.
---@return alacrity.Pool
function pool:far() end

--- Every backend of a pool whatever its state: `#pool.all`, `pool.all[i]`. That of a part is still
--- that of the whole. To answer one that cannot take the session is a bad answer.
---
--- In: policies
---@class alacrity.AllBackends
---@operator len: integer
---@field [integer] alacrity.Backend
--- How many of them (of a part: of it) can take this session: the same as `#pool`.
---@field eligible_count integer

--- One server. May be kept; see above for how long.
---
--- In: policies, checks
---@class alacrity.Backend
--- A number of its own while it is in the configuration: for table keys, and `pool:find`.
---@field id integer
--- Its name.
---@field name string
--- The name of its pool.
---@field pool_name string
--- As it was resolved: `10.0.0.11:8080`, `[::1]:80`, `unix:/run/app.sock`.
---@field address string
--- What it is now. A pick is only offered those that are `up` or `starting`.
---@field state "starting"|"up"|"suspect"|"down"|"drain"|"maint"|"gone"
--- The number behind `state`.
---@field state_code integer
--- Its weight as it is now, 0 to 1000000.
---@field weight integer
--- Sessions open or being dialled, of all workers.
---@field active integer
--- How many it takes; 0 = no limit.
---@field max_sessions integer
--- The average time to connect, in milliseconds; 0 = not known yet.
---@field connect_ewma_ms number
--- The last time to connect, in milliseconds; 0 = not known yet.
---@field connect_last_ms number
--- When that was, in whole seconds of `alacrity.now()`; 0 = never.
---@field connected_at integer
--- Since when it can take sessions again, in the same seconds; 0 = it always could.
---@field recovered_at integer
--- Its zone, `""` if it has none.
---@field zone string
--- The number behind `zone`: the same name has the same number in a process; 0 = none.
---@field zone_code integer
--- The bits of its tags. Which tag has which is decided by the configuration: use `has_tag`.
---@field tag_bits integer
local backend = {}

--- Is it tagged so in the configuration?
---@param tag string
---@return boolean
function backend:has_tag(tag) end
