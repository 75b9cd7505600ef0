---@meta _

--- # Globals
---
--- The language is Lua 5.1 as LuaJIT speaks it. Every script has globals and copies of the
--- libraries of its own. What could reach the machine is not there: no `io`, `debug`, `package`,
--- `ffi` or `jit`, no `dofile`, `loadfile`, `collectgarbage`, `getfenv`, `setfenv`, `newproxy`
--- ([sandbox.md](sandbox.md)).
---
--- These are as everywhere:
---
--- - Has: `assert`, `error`, `getmetatable`, `ipairs`, `next`, `pairs`, `pcall`, `rawequal`, `rawget`, `rawset`, `select`, `setmetatable`, `tonumber`, `tostring`, `type`, `unpack`, `xpcall`, `_G`, `_VERSION`
--- - `string` has: `byte`, `char`, `find`, `format`, `gmatch`, `gsub`, `len`, `lower`, `match`, `rep`, `reverse`, `sub`, `upper`
--- - `table` has: `concat`, `foreach`, `foreachi`, `getn`, `insert`, `maxn`, `move`, `remove`, `sort`
--- - `math` has: `abs`, `acos`, `asin`, `atan`, `atan2`, `ceil`, `cos`, `cosh`, `deg`, `exp`, `floor`, `fmod`, `frexp`, `huge`, `ldexp`, `log`, `log10`, `max`, `min`, `modf`, `pi`, `pow`, `rad`, `random`, `randomseed`, `sin`, `sinh`, `sqrt`, `tan`, `tanh`
--- - `bit` has: `arshift`, `band`, `bnot`, `bor`, `bswap`, `bxor`, `lshift`, `rol`, `ror`, `rshift`, `tobit`, `tohex`
--- - `coroutine` (in checks, services and tests; a pick never waits) has: `create`, `isyieldable`, `resume`, `running`, `status`, `wrap`, `yield`
---
--- These are different, or less than elsewhere:

--- Writes a line to the log, as `alacrity.log.info` does.
---
--- In: everywhere
function print(...) end

--- The library (`alacrity`, `alacrity.net`, ...), or a file in the folders of `lua: {path: [...]}`:
--- `require "my.module"` is `my/module.lua` there. At the top of the script or in `new`: later only
--- what was loaded by then, as a pick never waits for a disk. A module is loaded anew for each
--- script.
---
--- In: everywhere
---@param name string letters, digits, `_`, `-`, and single dots
---@return any module
function require(name) end

--- Compiles source text; never bytecode.
---
--- In: everywhere
---@param chunk string|(fun(): string?)
---@param name? string
---@param mode? string not looked at
---@param environment? table the script's own globals
---@return function? compiled
---@return string? error
function load(chunk, name, mode, environment) end

--- Compiles source text; never bytecode.
---
--- In: everywhere
---@param chunk string
---@param name? string
---@return function? compiled
---@return string? error
function loadstring(chunk, name) end

--- The clock, and nothing else.
---
--- In: everywhere
---@class os
os = {}

--- Seconds since 1970, of the time in the table or now.
---@param time? table
---@return integer
function os.time(time) end

--- Seconds of CPU time the process has used.
---@return number
function os.clock() end

--- The time as text, or with `"*t"` as a table.
---@param format? string
---@param time? number
---@return string|table
function os.date(format, time) end
