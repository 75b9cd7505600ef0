---@meta alacrity

--- # The library
---
--- `local alacrity = require "alacrity"`. Every script gets a copy of its own: what it changes in
--- it, it changes for itself. Require it at the top of the script.

--- What scripts of every kind have.
---
--- In: everywhere
---@class alacrity
--- Writes to the log.
---@field log alacrity.Log
local alacrity = {}

--- Writes to the balancer's log. A line is a text (anything else is shown as `tostring` does), or a
--- table: its `message`, and up to 16 further fields of strings, numbers or booleans. What does not
--- fit is cut, and shows it ([library.md](library.md#alacritylog-what-a-script-says)). At most 100
--- lines a second of a state; those left out are counted.
---
--- ```lua
--- alacrity.log.info("hello")
--- alacrity.log.warning { message = "slow answer", backend = "a", load = 0.25 }
--- ```
---
--- In: everywhere
---@class alacrity.Log
local log = {}

--- Shown with `log: {level: debug}`.
---@param line any
function log.debug(line) end

--- For what is worth a line.
---@param line any
function log.info(line) end

--- For what someone should look at.
---@param line any
function log.warning(line) end

--- For what is broken.
---@param line any
function log.error(line) end

--- Seconds of a clock that never jumps; only differences mean something. It is one clock for all
--- workers, control and other processes of the machine, until that starts anew: a time may be kept in
--- `alacrity.shared`, and another worker may compare it. In tests and simulations it is the virtual
--- clock.
---@return number seconds
function alacrity.now() end

--- On which worker the script runs, from 0, and how many there are. Checks and services run on none.
--- For what one instance is to do for all:
---
--- ```lua
--- if alacrity.worker() == 0 then known:set(table_size) end
--- ```
---@return integer? index nil in checks, services and tests
---@return integer count
function alacrity.worker() end

--- A 32-bit hash, the same on every node and after every start. Native.
---
--- ```lua
--- local backend = pool:maglev(alacrity.hash(ctx.client .. ctx.listener))
--- ```
---@param bytes string anything else is an error
---@return integer hash 0 to 2^32 - 1
function alacrity.hash(bytes) end

--- Remembers whose turn it is, for `pool:rotate`. To be made once, in `new`.
---@return alacrity.Rotation
function alacrity.rotation() end

--- What `alacrity.rotation()` makes. There is nothing in it for scripts.
---
--- In: everywhere
---@class alacrity.Rotation

--- Calls `what()` again and again, `seconds` after the turn before has ended; the first time after
--- as long. To be called in `new` or later; what `new` makes begins when the version is live. A
--- timer ends with the instance that made it. In a policy a turn runs on the worker and cannot
--- wait; in checks and services it is a coroutine that may. An instance has at most 64 timers. In
--- files of tests it is an error; so it is at the top of a script.
--- [More](library.md#alacrityevery-after-spawn-what-a-script-does-later).
---
--- In: policies, routes, checks, services
---@param seconds number 0.01 to 31536000
---@param what fun()
---@return fun() cancel ends it
function alacrity.every(seconds, what) end

--- Calls `what()` once, after `seconds`. Else as `alacrity.every`.
---
--- In: policies, routes, checks, services
---@param seconds number 0 to 31536000
---@param what fun()
---@return fun() cancel makes it not happen
function alacrity.after(seconds, what) end

--- Calls `what()` soon, beside what runs now. Else as `alacrity.every`.
---
--- In: policies, routes, checks, services
---@param what fun()
function alacrity.spawn(what) end

--- The dictionary of that name: one for the whole process, seen by all workers, checks and
--- services. It survives reloads, and ends with the process. May be opened anywhere, also at the
--- top of a script.
---@param name string 1 to 63 bytes; 256 names at most
---@return alacrity.Dictionary
function alacrity.shared(name) end

--- A number that only grows, shown as `alacrity_script_NAME_total`. To be made at the top of the
--- script or in `new`, else (and in files of tests) it is an error; the same name and labels are
--- the same series in every script.
---
--- In: policies, routes, checks, services
---@param name string `a-z`, `0-9`, `_`, at most 63 bytes
---@param help? string what it counts, for people; at most 127 bytes
---@param labels? table<string, string> at most 4, tell series of one name apart
---@return alacrity.Counter
function alacrity.counter(name, help, labels) end

--- A number that goes up and down, shown as `alacrity_script_NAME`. Made like a counter. What is shown
--- is the sum over all workers and control: of what is the same for all, let one of them tell
--- (`alacrity.worker`).
---
--- In: policies, routes, checks, services
---@param name string
---@param help? string
---@param labels? table<string, string>
---@return alacrity.Gauge
function alacrity.gauge(name, help, labels) end

--- How values spread, shown as `alacrity_script_NAME_bucket`, `_sum` and `_count`. Made like a
--- counter.
---
--- In: policies, routes, checks, services
---@param name string
---@param buckets number[] 1 to 30 upper bounds, ascending
---@param help? string
---@param labels? table<string, string>
---@return alacrity.Histogram
function alacrity.histogram(name, buckets, help, labels) end

--- Everything the process knows of itself: a plain table, new on each call. In checks too; only
--- while something serves: at the top of a script, in `new` and in files of tests it is an error.
---
--- With very many backends that takes long (about 4 ms a thousand): `facts(false)` leaves their lists
--- empty, and `alacrity.backends` answers them a part at a time.
---
--- In: checks, services
---@param backends? boolean true
---@return alacrity.Facts
function alacrity.facts(backends) end

--- Some of the backends of a pool, as they stand in the list `backends` of its facts: at most 128 of
--- them, from number `first` on (1 is the first); none, if there is no such pool or backend. Also
--- the number of the configuration they are from: it may be another than that of facts taken before.
---
--- In: checks, services
---@param pool string
---@param first integer
---@return alacrity.Facts.Backend[] backends
---@return integer configuration
function alacrity.backends(pool, first) end

--- A dictionary that all workers and control see. Keys are strings of at most 250 bytes or numbers
--- (`1` and `"1"` are two keys); values are numbers, booleans, or strings of at most 64 KiB.
--- Anything else is an error. When memory (`lua.shared`) is full, what was not used for the longest
--- time goes.
---
--- While a script is loaded or constructed it can read, not change. In a trial pick and in a
--- shadow, changes are answered as if made, and are not.
---
--- ```lua
--- local sessions = alacrity.shared("sessions by client")
--- -- in a pick: at most 600 a minute from one client, over all workers
--- if sessions:incr(ctx.client, 1, 0, 60) > 600 then return nil, "too many sessions" end
--- ```
---
--- In: everywhere
---@class alacrity.Dictionary
--- A number of its own; nothing a script needs.
---@field id integer
local dictionary = {}

--- The value, or nil.
---@param key string|number
---@return string|number|boolean|nil value
function dictionary:get(key) end

--- Stores it.
---@param key string|number
---@param value string|number|boolean nil is an error: use `delete`
---@param ttl? number seconds until it is gone, above 0; without it, until deleted
function dictionary:set(key, value, ttl) end

--- The same, only if there is none yet.
---@param key string|number
---@param value string|number|boolean
---@param ttl? number
---@return boolean added
function dictionary:add(key, value, ttl) end

--- Adds to a number, in one step over all workers. Where there is none it begins at `initial`, and
--- only then `ttl` counts. That there is something else than a number is an error.
---@param key string|number
---@param by? number 1
---@param initial? number 0
---@param ttl? number
---@return number sum
function dictionary:incr(key, by, initial, ttl) end

--- Removes it.
---@param key string|number
---@return boolean was_there
function dictionary:delete(key) end

--- How long it is there.
---@param key string|number
---@return number? seconds left; `math.huge`: it does not end; nil: there is none
function dictionary:ttl(key) end

--- How many entries; what is over may be counted for some seconds.
---@return integer
function dictionary:count() end

--- Counts while the script serves: while it is loaded or constructed that is an error; in a trial
--- or as a shadow nothing is counted. Every thread counts for itself, what is shown is the sum.
---
--- In: policies, routes, checks, services
---@class alacrity.Counter
--- A number of its own; nothing a script needs.
---@field id integer
local counter = {}

--- So many more.
---@param n? number 1; not negative
function counter:add(n) end

--- As a counter, but it may go down. What is shown is the sum of what each thread set last.
---
--- In: policies, routes, checks, services
---@class alacrity.Gauge
--- A number of its own; nothing a script needs.
---@field id integer
local gauge = {}

--- What is so now, on this thread.
---@param value number not NaN
function gauge:set(value) end

--- So many more, or less.
---@param n? number 1
function gauge:add(n) end

--- As a counter, of values that fall into buckets.
---
--- In: policies, routes, checks, services
---@class alacrity.Histogram
--- A number of its own; nothing a script needs.
---@field id integer
local histogram = {}

--- One more value.
---@param value number finite
function histogram:observe(value) end

return alacrity
