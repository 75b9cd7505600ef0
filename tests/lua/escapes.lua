-- Attempts to get out of the sandbox, run by tests/unit/test_escape.c as a policy (compiled, and with
-- the JIT off) and as a check. tests/lua/escape_scripts.lua makes scripts of them.
--
-- An attempt is the body of a function: `{ name, what is tried, body }`, with `only = "policy"` or
-- `only = "check"` where it makes sense in one of them only. It may raise an error, or answer nothing;
-- a true answer says that it got out. Around it stand:
--   view            a backend
--   pool, ctx       the pool and the session of a policy; nil in a check
--   net             alacrity.net; nil in a policy
--   alacrity, kept  the library; a table that outlives the calls
--   dictionary, counter, gauge, histogram, rotation   one of each, of the library
--   marker          path of a file that is not there, and must not be afterwards
--   can(f, ...)     did the call go through? Then what it answered, or true
--   each(list, f)   the first element for which f answers true
-- A module `good` stands in lua.path ({answer = 42}); a module `secret` stands in the folder above.
-- Every attempt is made many times, so that what can be compiled is.

local BYTECODE = ("%q"):format(string.dump(function() return true end))

local attempts = {}
local section
local function attempt(entry)
  entry.section = section
  attempts[#attempts + 1] = entry
end

-- ---- reaching the machine ----------------------------------------------------------------------
section = "machine"

attempt { "globals of the machine", "libraries and functions that reach files, processes, the debugger",
  [[ return each({ "io", "debug", "package", "jit", "ffi", "dofile", "loadfile", "module", "getfenv",
       "setfenv", "newproxy", "collectgarbage", "gcinfo", "arg", "host" },
       function(name) return rawget(_G, name) or _G[name] end) ]] }
attempt { "os beyond the clock", "anything in os but time, clock and date",
  [[ for name in pairs(os) do
       if name ~= "time" and name ~= "clock" and name ~= "date" then return name end
     end ]] }
attempt { "os by name", "functions of os that end the process, read secrets, change files",
  [[ return can(os.exit, 7) or can(os.execute, "touch " .. marker) or can(os.getenv, "PATH")
       or can(os.rename, marker, marker) or can(os.remove, marker) or can(os.tmpname)
       or can(os.setlocale, "C") ]] }
attempt { "write a file", "io.open by every name it may have",
  [[ local file = (io or require("io")).open(marker, "w")
     file:write("out") file:close() return true ]] }
attempt { "run a command", "io.popen by every name it may have",
  [[ return (io or require("io")).popen("touch " .. marker) ]] }
attempt { "walk everything", "a function of the machine anywhere in what can be reached from _G",
  [[ local WANTED = { cdef = 1, cast = 1, open = 1, popen = 1, execute = 1, dump = 1, getfenv = 1,
       setfenv = 1, getregistry = 1, loadlib = 1, typeof = 1, metatype = 1,
       getupvalue = 1, sethook = 1, traceinfo = 1, exit = 1, newproxy = 1, preload = 1, loaded = 1 }
     local seen, queue = {}, { _G, alacrity, net, require "alacrity.format", require "good",
       getmetatable(""), getmetatable(view), getmetatable(1LL), view, pool, ctx }
     for i = 1, 11 do
       local from = queue[i]
       if type(from) == "table" then
         local list = { from }
         while #list > 0 do
           local t = table.remove(list)
           if not seen[t] then
             seen[t] = true
             for k, v in next, t do
               if WANTED[k] then return k end
               if type(v) == "table" then list[#list + 1] = v end
               if type(v) == "userdata" then return k end
             end
             local meta = getmetatable(t)
             if type(meta) == "table" then list[#list + 1] = meta end
           end
         end
       end
     end ]] }

-- ---- require -----------------------------------------------------------------------------------
section = "require"

attempt { "LuaJIT's own modules", "what LuaJIT keeps ready for require",
  [[ return each({ "ffi", "jit", "jit.util", "jit.opt", "jit.profile", "string.buffer", "table.new",
       "table.clear", "thread.exdata" }, function(name) return can(require, name) end) ]] }
attempt { "libraries by require", "libraries the state has loaded, but not handed out",
  [[ return each({ "io", "debug", "os", "package", "string", "coroutine", "_G", "base" },
       function(name) return can(require, name) end) ]] }
attempt { "the prelude", "loading again what makes the sandbox",
  [[ return each({ "alacrity.inner.shared", "alacrity.inner/shared", "alacrity.shared", "alacrity.prelude", "prelude", "alacrity..prelude", "alacrity/prelude",
       "alacrity.prelude.lua", "lua.alacrity.prelude" }, function(name) return can(require, name) end) ]] }
attempt { "built-in scripts", "stock scripts as if they were modules of the library",
  [[ return each({ "alacrity.../policies/first", "alacrity.policies.first", "scripts.policies.first",
       "alacrity.%2e%2e", "alacrity.", "alacrity", ".alacrity" },
       function(name) return name ~= "alacrity" and can(require, name) end) ]] }
attempt { "out of lua.path", "names that climb or begin at the root",
  [[ return each({ "../secret", "..secret", ".secret", "...secret", "lib/../secret", "../lib/good",
       "./good", "good/../../secret", "good...secret", "/etc/passwd", "~/secret",
       (marker:gsub("[^/]*$", "secret")) }, function(name) return can(require, name) end) ]] }
attempt { "odd names", "names with NUL, spaces, percent signs, line ends; empty and huge ones",
  [[ return each({ "", " ", "good\0", "good\0.lua", "\0", "good ", "good\n", "%s", "%", "good%",
       "good.lua.", "good..", ("a"):rep(100000), ("a."):rep(50000) .. "a", "go?od", "good;", "g\255d" },
       function(name) return can(require, name) end) ]] }
attempt { "names that are none", "anything but a string",
  [[ local liar = setmetatable({}, { __tostring = function() return "good" end,
       __concat = function() return "good" end, __eq = function() return true end })
     return can(require) or each({ 1, true, {}, liar, print, view, 1LL, 0/0 },
       function(name) return can(require, name) end) ]] }
attempt { "package by its back doors", "package.loaded and the loaders",
  [[ return package.loaded or package.loaders or package.preload or package.path ]] }
attempt { "a liar's string functions", "require with find and match replaced",
  [[ local old = { string.find, string.match, string.sub, type }
     string.find = function() return 1 end string.match = function() return "good" end
     string.sub = function() return "format" end type = function() return "string" end
     local ok = can(require, "../secret") or can(require, 5)
     string.find, string.match, string.sub, type = old[1], old[2], old[3], old[4]
     return ok ]] }
attempt { "a module of the library in its stead", "lua.path against the library's names",
  [[ return require("alacrity").hash == nil or require("alacrity.format").json == nil ]] }
attempt { "a file that is bytecode", "a module that is compiled", [[ return can(require, "bytes") ]] }
attempt { "a module that requires itself", "looking at a module while it is loaded",
  [[ return can(require, "circular") ]] }

-- ---- code --------------------------------------------------------------------------------------
section = "code"

attempt { "string.dump", "bytecode of a function, to be changed and loaded again",
  [[ return string.dump or ("").dump or alacrity.dump ]] }
attempt { "bytecode by load", "every mode, with and without an environment",
  "local code = " .. BYTECODE .. [[
     return each({ "b", "bt", "t", "", "x", false, 7 }, function(mode)
       local ok, f = pcall(load, code, "x", mode or nil) if ok and f then return f() end
       ok, f = pcall(load, code, "x", mode or nil, {}) if ok and f then return f() end
     end) ]] }
attempt { "bytecode by loadstring", "the older name",
  "local f = loadstring(" .. BYTECODE .. ") return f and f()" }
attempt { "bytecode in pieces", "a reader that gives one byte at a time",
  "local code, i = " .. BYTECODE .. [[, 0
     local f = load(function() i = i + 1 return code:sub(i, i) ~= "" and code:sub(i, i) or nil end,
       "x", "b")
     return f and f() ]] }
attempt { "bytecode in disguise", "after a byte order mark, after a first line that is skipped",
  "local code = " .. BYTECODE .. [[
     return each({ "\239\187\191", "#!lua\n", "\239\187\191#!lua\n", "\n", " " }, function(before)
       local f = load(before .. code, "x", "bt") return f and f()
     end) ]] }
attempt { "a reader that lies", "readers that answer anything but strings, or change their mind",
  [[ for _, value in ipairs { 5, {}, true, view, 1LL, print } do
       local given
       local ok, f = pcall(load, function()
         if not given then given = true return value end
       end)
       if ok and f then return "took " .. type(value) end
     end
     local n = 0
     pcall(load, function() n = n + 1 if n < 5 then return ("x"):rep(n) end error("enough") end) ]] }
attempt { "the state's own globals", "load without an environment, or with nil or false",
  [[ local function env_of(...) local f = load("return _G, require, print", ...)
       return f and f() end
     local e = env_of() if e ~= _G then return true end
     e = env_of("x", "t", nil) if e ~= _G then return true end
     return loadstring("return _G")() ~= _G ]] }
attempt { "odd environments", "load with an environment that is no table",
  [[ return each({ 5, "x", true, print, view, false, 1LL },
       function(env) return can(load, "return 1", "x", "t", env) end) ]] }
attempt { "globals of loaded chunks", "a chunk that writes globals writes them for all",
  [[ load("escaped_global = 1")() escaped_global = nil
     local env = {} load("escaped_in_env = 1", "x", "t", env)()
     return rawget(_G, "escaped_in_env") ]] }
attempt { "function environments", "getfenv and setfenv by any name, also inside loaded chunks",
  [[ return can(load("return getfenv(0)")) or can(load("return getfenv(1)"))
       or can(load("return setfenv(1, {})")) or _G["get" .. "fenv"] or ("").getfenv or table.getfenv ]] }
attempt { "the environment of the library", "a loaded chunk handed to the library sees its globals",
  [[ local seen
     local spy = setmetatable({}, { __index = function(_, key) seen = key return nil end })
     pcall(load("return json({})", "x", "t", spy))
     require("alacrity.format").json({ 1, a = 2 })
     return seen ~= "json" and seen ]] }
attempt { "chunk names", "a chunk that calls itself something else reaches nothing else",
  [[ return each({ "=[C]", "@/etc/passwd", "=\n", "@alacrity.prelude", ("@"):rep(100000), "\0" },
       function(name) return load("return io or debug or ffi", name)() end) ]] }
attempt { "endless parentheses", "the parser's own stack",
  [[ return load("return " .. ("("):rep(100000) .. "1" .. (")"):rep(100000))
       or load("return " .. ("{"):rep(100000)) or load(("do "):rep(100000)) ]] }

-- ---- metatables --------------------------------------------------------------------------------
section = "metatables"

attempt { "metatables of everything", "getmetatable of what is not ours",
  [[ return each({ "", 0, true, print, load, view, 1LL, 1ULL, 1i, pool or 0, pool and pool.all or 0,
       ctx or 0, function() end, alacrity.now, require },
       function(x) return type(getmetatable(x)) == "table" end) ]] }
attempt { "setmetatable of everything", "a metatable of ours on what is not ours",
  [[ return each({ "", 0, true, print, view, 1LL, 1i, pool or 0, ctx or 0, alacrity.now },
       function(x) return can(setmetatable, x, {}) or can(setmetatable, x, nil) end) ]] }
attempt { "metamethods as fields", "reading a metatable's fields through its object",
  [[ return each({ "__index", "__newindex", "__metatable", "__gc", "__eq", "__call", "__tostring" },
       function(key) return view[key] or ("")[key] or pool and (pool[key] or pool.all[key] or ctx[key])
     end) ]] }
attempt { "string methods for all", "methods of all strings, through the string table",
  [[ string.upper = function() return "changed" end string.gsub = nil string.escaped = true
     return ("x"):upper() ~= "X" or ("x").escaped or not ("x").gsub ]] }
attempt { "string metatable by rawset", "the index of strings is the table of ours?",
  [[ rawset(string, "len", function() return -1 end) return ("abc"):len() ~= 3 ]] }
attempt { "write into a string", "fields of strings",
  [[ local s = "x" s.escaped = true return ("x").escaped ]] }
attempt { "raw access to views", "rawget, rawset, next, rawequal",
  [[ rawequal(view, 1)
     return can(rawget, view, "weight") or can(rawset, view, "weight", 9) or can(next, view)
       or pool and (can(rawset, pool, 1, view) or can(rawget, pool, 1)) ]] }
attempt { "a view as metatable", "setmetatable(t, view)", [[ return can(setmetatable, {}, view) ]] }
attempt { "a view behind a table", "writing through __newindex = view",
  [[ local t = setmetatable({}, { __index = view, __newindex = view })
     local ok = pcall(function() t.weight = 77 end)
     return ok or t.weight == 77 or t.name ~= view.name ]] }
attempt { "a pool behind a table", "methods of the pool on a table that stands for it", only = "policy",
  [[ local t = setmetatable({}, { __index = pool })
     return can(function() return t:least() end) or can(function() return t:maglev(1) end)
       or can(function() return t:min(function() return 1 end) end) ]] }
attempt { "finalizers", "__gc of tables, run by the collector at a bad moment",
  [[ for i = 1, 100 do setmetatable({}, { __gc = function() kept.ran = true end }) end
     for i = 1, 2000 do local t = { i, {} } end
     return kept.ran ]] }
attempt { "weak tables of views", "__mode, with views as keys and values",
  [[ local t = setmetatable({}, { __mode = "kv" })
     for i = 1, 100 do t[view] = view t[i] = view t["x" .. i] = {} end
     for _, v in pairs(t) do if type(v) == "cdata" and v.name ~= view.name then return true end end ]] }
attempt { "foreign operators", "tables with every metamethod, mixed with views",
  [[ local meta, got = {}, nil
     for _, event in ipairs { "add", "sub", "mul", "div", "mod", "pow", "unm", "concat", "len", "eq",
       "lt", "le", "call" } do
       meta["__" .. event] = function(a, b) got = type(a) == "cdata" and a or b return false end
     end
     local t = setmetatable({}, meta)
     for _, operator in ipairs { "+", "-", "*", "/", "%", "^", "..", "==", "<", "<=" } do
       local f = load("local a, b = ... return a " .. operator .. " b")
       pcall(f, t, view) pcall(f, view, t) pcall(f, t, 1LL) pcall(f, 1LL, t)
       if got and got ~= view and got ~= 1LL then return operator end
     end ]] }
attempt { "a protected metatable", "__metatable of our own fools nobody",
  [[ local t = setmetatable({}, { __metatable = getmetatable(view) })
     return pool and (can(pool.least, t) or can(pool.maglev, t, 1)) ]] }

-- ---- errors ------------------------------------------------------------------------------------
section = "errors"

attempt { "hostile error objects", "errors whose __tostring raises, yields nothing, or lies",
  [[ for _, f in ipairs { function() error("again") end, function() return nil end,
       function() return {} end, function() return view end, function(x) return (tostring(x)) end } do
       local e = setmetatable({}, { __tostring = f })
       pcall(error, e) pcall(tostring, e) pcall(alacrity.log.debug, e) pcall(string.format, "%s", e)
       xpcall(function() error(e) end, function(x) return x end)
     end ]] }
attempt { "error handlers", "handlers of xpcall that raise, recurse, or are no function",
  [[ local function again(e) error(e) end
     xpcall(error, again) xpcall(error, error) pcall(xpcall, error) pcall(xpcall, error, 5)
     xpcall(function() local x = nil return x.y end, function(e) return debug or jit end)
     xpcall(function() return xpcall(error, again) end, again)
     local _, got = xpcall(function() error("x") end, function() return getfenv or debug end)
     return got ]] }
attempt { "levels of errors", "error() at levels that are not there",
  [[ for _, level in ipairs { -1, 0, 1, 2, 50, 1e9, -1e9, 0/0, 1/0 } do pcall(error, "x", level) end ]] }
attempt { "pcall of pcall", "deep and self-referring protected calls",
  [[ pcall(pcall) pcall(pcall, pcall, pcall, error) pcall(xpcall, pcall, pcall) xpcall(pcall, pcall, error)
     local f = pcall for i = 1, 100 do local g = f f = function() return g(pcall, error) end end f() ]] }
attempt { "recursion without end", "the end of the stack, caught, and then work goes on",
  [[ local function deep() return 1 + deep() end
     local ok = pcall(deep)
     local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k .. "x"] end
     pcall(function() return t.x end)
     return ok ]] }
attempt { "errors out of callbacks", "leaving gsub, sort and readers by an error",
  [[ for i = 1, 20 do
       pcall(string.gsub, "xxx", "x", function() error(view) end)
       pcall(table.sort, { 3, 2, 1 }, function() error({}) end)
       pcall(load, function() error("x") end)
       pcall(table.foreach, { 1 }, function() error() end)
       pcall(setmetatable({}, { __call = error }))
     end ]] }
attempt { "a table that changes", "sort, next and concat of a table that changes meanwhile",
  [[ local t = {} for i = 1, 100 do t[i] = i end
     pcall(table.sort, t, function(a, b) t[#t + 1] = 1 t[1] = nil return true end)
     pcall(function() for k in pairs(t) do t[k] = nil t[k .. "x"] = 1 end end)
     pcall(next, t, "no such key")
     pcall(table.foreach, t, function(k) t[k] = nil for i = 1, 100 do t[i] = i end end) ]] }

-- ---- other scripts -----------------------------------------------------------------------------
section = "other scripts"

attempt { "_G replaced", "globals emptied, replaced, watched",
  [[ local keep = _G
     _G = {} setmetatable(keep, { __index = function() return "spy" end, __newindex = error })
     setmetatable(keep, nil)
     for _, name in ipairs { "unpack", "ipairs", "assert", "tonumber", "xpcall", "_VERSION" } do
       keep[name] = nil
     end
     string, table, math, bit, os = nil, nil, nil, nil, nil
     keep._G = keep ]] }
attempt { "library tables", "string, table, math, bit and os changed for others",
  [[ local evil = function() return "evil" end
     for _, library in ipairs { string, table, math, bit, os } do
       for name in pairs(library) do rawset(library, name, evil) end
       library.escaped = evil
       pcall(setmetatable, library, { __index = evil })
     end ]] }
attempt { "the library, for others", "fields of alacrity and alacrity.log changed",
  [[ local evil = function() return 666 end
     for _, t in ipairs { alacrity, alacrity.log, require "alacrity" } do
       for name in pairs(t) do rawset(t, name, evil) end
       rawset(t, "escaped", evil) pcall(setmetatable, t, { __index = evil })
     end ]] }
attempt { "modules of the library, for others", "functions of alacrity.format changed",
  [[ local format = require "alacrity.format"
     for name in pairs(format) do rawset(format, name, function() return "evil" end) end
     rawset(format, "escaped", true) ]] }
attempt { "inside a module of the library", "metatables that format hands out, changed",
  [[ local format = require "alacrity.format"
     local meta = getmetatable(format.array {})
     if type(meta) == "table" then
       meta.order = { "evil" } meta.__index = function() return "evil" end meta.__metatable = "evil"
     end
     local order = format.order { "a" } order.order = nil
     pcall(format.json, setmetatable({}, { __metatable = { order = { "x" } } }))
     pcall(format.json, setmetatable({}, { __metatable = 5 })) ]] }
attempt { "formats of the stats page", "metatables that the pages leave on facts, changed",
  [[ local facts = { listeners = {}, pools = {}, workers = {}, scripts = {}, arena = {} }
     pcall(require "alacrity.stats_json", facts)
     for _, t in ipairs { facts, facts.listeners, facts.pools, facts.scripts, facts.arena } do
       local meta = getmetatable(t)
       if type(meta) == "table" then meta.order = { "evil" } meta.__metatable = 1 end
     end ]] }
attempt { "a module of lua.path, for others", "the table of a module changed",
  [[ local good = require "good" good.answer = 0 good.escaped = true setmetatable(good, {}) ]] }
attempt { "globals for others", "globals that other scripts would see",
  [[ escaped, print, require, load = true, error, error, error rawset(_G, "witness", 1) ]] }
attempt { "random numbers for others", "math.randomseed: what others draw is still random",
  [[ math.randomseed(1) math.random() ]] }

-- ---- text that goes out ------------------------------------------------------------------------
section = "log"

attempt { "lines in the log", "line ends, escapes, NUL, formats, invalid UTF-8",
  [[ for _, text in ipairs { "a\nb", "\27[2J\27]0;x\7", "a\0b", "%s%n%n%d", "\255\254", "\r\n", "\8\8\8" } do
       print(text) alacrity.log.info(text) alacrity.log.error(text)
     end ]] }
attempt { "huge lines", "megabytes at once",
  [[ if kept.done then return end kept.done = true
     local line = ("x"):rep(1e6) print(line) alacrity.log.warning(line) print(line, line)
     pcall(error, line) ]] }
attempt { "no lines", "nothing, and things that are no text",
  [[ print() print(nil) print(view, 1LL, {}, print) pcall(alacrity.log.info) alacrity.log.info(view)
     alacrity.log.info({}) alacrity.log.info(0/0)
     pcall(print, setmetatable({}, { __tostring = function() return {} end })) ]] }
attempt { "fields of a line", "names that forge fields, values that are none, metatables",
  [[ local touched
     local spy = setmetatable({ message = "x" }, { __index = function() touched = true end,
       __tostring = function() touched = true return "x" end, __pairs = function() touched = true end })
     alacrity.log.debug(spy) alacrity.log.info(spy)
     alacrity.log.info { message = "a\nb", level = "error", script = "other", time = 0, thread = "x",
       ["a b"] = 1, ["a\0b"] = 2, ["x=1 y"] = 3, ["\27[2J"] = 4, [""] = 5, [1] = 6, [true] = 8,
       deep = { {} }, f = print, v = view, n = 0/0, big = ("x"):rep(1e5), [("n"):rep(1e4)] = 1 }
     local many = {} for i = 1, 200 do many["field" .. i] = i end alacrity.log.info(many)
     return touched ]] }

-- ---- library functions driven hard ---------------------------------------------------------------
section = "library"

attempt { "more than there is", "sizes and counts that do not fit",
  [[ pcall(string.rep, "x", 1e15) pcall(string.rep, "x", 2^31 - 1, "x") pcall(string.format, "%" .. ("0"):rep(1000) .. "d", 1)
     return can(unpack, {}, 1, 1e8) or can(unpack, {}, -2^31, 2^31 - 1)
       or can(string.format, "%999d", 1) or can(string.format, "%.999f", 1) or can(string.char, -1)
       or can(string.char, 256) or can(table.concat, {}, "", 1, 2^30) or can(string.byte, ("x"):rep(1e6), 1, -1)
       or can(select, 0, 1)
       or can(string.format, "%*d", 1, 1) or can(string.format, "%n", 1) ]] }
attempt { "slices out of range", "string functions with positions that are none",
  [[ for _, i in ipairs { 0, -1, 2^31, -2^31, 2^53, -2^53, 1e300, -1e300, 1/0, -1/0, 0/0 } do
       for _, j in ipairs { 0, -1, 2^31, -2^31, 2^53, 1e300, 1/0, 0/0 } do
         if #("abc"):sub(i, j) > 3 then return true end
         pcall(string.byte, "abc", i, j) pcall(string.find, "abc", "b", i) pcall(string.rep, "", i)
       end
     end ]] }
attempt { "patterns", "broken and deep patterns",
  [[ for _, p in ipairs { "%", "[", "[]", "[^", "%b", "%bx", "%f", "(", ")", "()", "%1", "%9", "(%1)", "[a-",
       "[%", ("("):rep(200), ("a?"):rep(200), "%g\0", "\0", "[\0-\255]", "%z*", ".-%1" } do
       pcall(string.find, "abc\0def", p) pcall(string.match, "abc", p) pcall(string.gsub, "abc", p, "%0%1%9")
       pcall(function() for _ in ("abc"):gmatch(p) do end end)
     end
     pcall(string.gsub, "x", "x", "%") pcall(string.gsub, "x", "x", { x = view })
     pcall(string.gsub, "x", "x", 1LL) pcall(string.find, ("a"):rep(1000), ("(a)"):rep(33)) ]] }
attempt { "clocks", "dates and times out of range",
  [[ for _, t in ipairs { 0, -1, 2^31, 2^53, -2^53, 1e300, 1/0, 0/0 } do
       pcall(os.date, "%c", t) pcall(os.date, "*t", t) pcall(os.date, "!%c", t)
       pcall(os.time, { year = t, month = t, day = t, hour = t })
     end
     for _, f in ipairs { "%", "%E", "%O", "%Ez", "%!", "%10Y", ("%c"):rep(1000), "\0%c", "%+", "%_", "" } do
       pcall(os.date, f)
     end
     pcall(os.time, setmetatable({}, { __index = function() error("x") end })) ]] }
attempt { "mathematics", "random, ldexp, tables at their edges",
  [[ for _, n in ipairs { 0, -1, 2^31, 2^53, 1e300, 1/0, 0/0 } do
       pcall(math.random, n) pcall(math.random, n, n) pcall(math.ldexp, 1, n) pcall(math.frexp, n)
       pcall(math.fmod, n, 0) pcall(math.fmod, 1, n) pcall(bit.tobit, n) pcall(bit.bswap, n)
       pcall(tostring, n) pcall(tonumber, "z", 36) pcall(tonumber, "1", n) pcall(select, n)
       local t = {} pcall(function() t[n] = 1 end) pcall(next, t, n) pcall(table.remove, t, n)
     end ]] }

return attempts
