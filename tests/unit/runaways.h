/* Scripts that would never end by themselves, or not before they have hurt: each a function that
 * the watchdog must stop (or that must run into an error of its own), whatever it does. */
#ifndef RUNAWAYS_H
#define RUNAWAYS_H

static const struct runaway {
    const char *name, *source;
} runaways[] = {
    {"main_chunk", "while true do local t = {} t[1] = ('x'):rep(10) end"},
    {"main_chunk_compiled", "local x = 0 while true do x = x + 1 end"},
    {"tight", "return function() while true do end end"},
    {"numeric_loop",
     "return function() local x = 0 for i = 1, 1e15 do x = x + i % 3 end return x end"},
    {"tables",
     "return function() while true do local t = {} for i = 1, 50 do t[i] = {a = i, b = {}} "
     "for k, v in pairs(t[i]) do t[k] = v end end end end"},
    {"concat", "return function() while true do local s = '' for i = 1, 20000 do s = s .. 'x' end "
               "end end"},
    {"big_rep", "return function() while true do local s = ('x'):rep(1000000) end end"},
    {"rep_of_big", "return function() local c = ('x'):rep(1000000) while true do local s = "
                   "c:rep(15) end end"},
    {"pathological_find",
     "return function() return ('a'):rep(5000):find(('a-'):rep(20) .. 'b') end"},
    {"pathological_gsub", "return function() while true do (('a'):rep(4000)):gsub('a-a-a-b', '') "
                          "end end"},
    {"pathological_match",
     "return function() return ('a'):rep(3000):match('(.-)(.-)(.-)(.-)b') end"},
    {"gsub_callback", "return function() local s = ('x'):rep(100000) while true do "
                      "s:gsub('.', function(c) return c .. c end) end end"},
    {"gmatch", "return function() local s = ('ab '):rep(10000) while true do for w in "
               "s:gmatch('%a+') do end end end"},
    {"coroutine_ping_pong",
     "return function() while true do local c = coroutine.wrap(function() for "
     "i = 1, 1000 do coroutine.yield(i) end end) for i = 1, 1000 do c() end "
     "end end"},
    {"coroutine_inner",
     "return function() while true do coroutine.resume(coroutine.create(function() "
     "local x = 0 while true do x = x + 1 end end)) end end"},
    {"coroutine_bomb", "return function() local t = {} while true do t[#t + 1] = "
                       "coroutine.create(function() end) end end"},
    {"coroutine_nest", "return function() local function f() return coroutine.wrap(f)() end return "
                       "f() end"},
    {"coroutine_nest_resumed",
     "return function() local function f() "
     "coroutine.resume(coroutine.create(f)) end while true do f() end end"},
    {"pcall_error", "return function() while true do pcall(error, 'x') end end"},
    {"pcall_inner",
     "return function() while true do pcall(function() while true do end end) end end"},
    {"pcall_of_itself", "return function() local function f() pcall(f) f() end f() end"},
    {"xpcall_bad_handler", "return function() local function h() error('again') end while true do "
                           "xpcall(function() error 'x' end, h) end end"},
    {"compiled_errors",
     "local f = function(i) local t = nil if i % 7 == 0 then return t.x end return "
     "i end return function() local i = 0 while true do i = i + 1 pcall(f, i) "
     "pcall(string.rep) end end"},
    {"recursion", "return function() local function f(n) return 1 + f(n + 1) end while true do "
                  "pcall(f, 1) end end"},
    {"tail_recursion", "return function() local function f(n) return f(n + 1) end return f(1) end"},
    {"mutual_recursion", "return function() local f, g function f(n) if n > 0 then return g(n - 1) "
                         "end return f(1e6) end function g(n) return f(n) end return f(1) end"},
    {"gsub_recursion", "return function() local function f() return (('x'):gsub('.', f)) end while "
                       "true do pcall(f) end end"},
    {"gsub_and_coroutines",
     "return function() local function f() return (('x'):gsub('.', function() "
     "return coroutine.wrap(f)() end)) end while true do pcall(f) end end"},
    {"sort_recursion", "return function() local function f() table.sort({2, 1, 3}, function(a, b) "
                       "f() return a < b end) end while true do pcall(f) end end"},
    {"load_recursion",
     "return function() local function f() load(function() f() end) end while true "
     "do pcall(f) end end"},
    {"gsub_and_errors",
     "return function() local n = 0 local function f() n = n + 1 if n % 3000 == 0 "
     "then error('x') end pcall(error, 'y') return (('x'):gsub('.', f)) end while "
     "true do pcall(f) end end"},
    {"tostring_recursion",
     "return function() local mt = {} mt.__tostring = function(o) return "
     "tostring(o) end while true do pcall(tostring, setmetatable({}, mt)) end "
     "end"},
    {"index_recursion",
     "return function() local m = setmetatable({}, {__index = function(t, k) "
     "return t[k .. 'x'] end}) while true do pcall(function() return m.a end) end "
     "end"},
    {"index_chain",
     "return function() local t = {} t = setmetatable(t, {__index = function(_, k) "
     "return t[k + 1] end}) while true do pcall(function() return t[1] end) end end"},
    {"memory_tables", "return function() local t = {} for i = 1, 1e9 do t[i] = {i} end end"},
    {"memory_strings", "return function() local s = 'xx' while true do s = s .. s end end"},
    {"memory_swallowed", "return function() while true do pcall(function() local t = {} for i = 1, "
                         "1e9 do t[i] = {i, tostring(i)} end end) end end"},
    {"memory_rep_swallowed",
     "return function() while true do pcall(string.rep, 'x', 2 ^ 30) end end"},
    {"memory_closures",
     "return function() local t = {} while true do t[#t + 1] = function() return t "
     "end end end"},
    {"lying_comparator",
     "return function() local t = {} for i = 1, 20000 do t[i] = (i * 7919) % 20011 "
     "end while true do pcall(table.sort, t, function(a, b) return true end) end "
     "end"},
    {"insert_at_one",
     "return function() local t = {} for i = 1, 1e8 do table.insert(t, 1, i) end end"},
    {"remove_at_one",
     "return function() local t = {} for i = 1, 60000 do t[i] = i end while true do "
     "t[#t + 1] = table.remove(t, 1) end end"},
    {"table_concat",
     "return function() local t = {} for i = 1, 200000 do t[i] = 'abc' end while true "
     "do table.concat(t) end end"},
    {"unpack", "return function() local t = {} for i = 1, 5000 do t[i] = i end while true do "
               "select('#', unpack(t)) end end"},
    {"load_loop",
     "return function() local n = 0 while true do n = n + 1 local f = loadstring('local a "
     "= ' .. n .. ' return function(x) for i = 1, 20 do x = x + i * a end return x "
     "end')() f(n) end end"},
    {"compile_storm",
     "return function() local n = 0 while true do n = n + 1 local f = "
     "loadstring('local x = 0 for i = 1, 200 do if i % ' .. (n % 17 + 2) .. ' == 0 "
     "then x = x + i * ' .. n .. ' else x = x - 1 end end return x') for k = 1, 5 do "
     "f() end end end"},
    {"big_load", "return function() local s = ('local a = {1, 2, 3} '):rep(20000) while true do "
                 "loadstring(s) end end"},
    {"plain_find",
     "return function() local s = ('a'):rep(8000000) while true do s:find('b', 1, true) "
     "end end"},
    {"libm", "return function() local x = 1 while true do x = math.sin(x) + math.pow(1.1, x) + "
             "math.exp(-x) + math.log(2 + x) end end"},
    {"format",
     "return function() while true do local s = ('%g %s %d %5.3f %q'):format(1.5, 'abc', 42, "
     "3.14159, 'q') end end"},
    {"number_to_text",
     "return function() local i = 0 while true do i = i + 1.5 local s = tostring(i) "
     "end end"},
    {"collect", "return function() local t = {} for i = 1, 100000 do t[i] = {i} end while true do "
                "collectgarbage() end end"},
    {"date", "return function() while true do os.date('%c', 1e9) os.time() end end"},
    {"finalizer", "return function() while true do local p = newproxy(true) getmetatable(p).__gc = "
                  "function() while true do end end p = nil collectgarbage() end end"},
    {"next_loop",
     "return function() local t = {} for i = 1, 1000 do t['k' .. i] = i end while true do "
     "local k = nil repeat k = next(t, k) until not k end end"},
    {"bit_loop",
     "return function() local x = 1 while true do x = bit.bxor(bit.rol(x, 3), 0x5bd1) end "
     "end"},
    {"goto_loop", "return function() ::again:: goto again end"},
    {"repeat_upvalue", "local up = 0 return function() repeat up = up + 1 until false end"},
};
#define RUNAWAY_COUNT (sizeof(runaways) / sizeof(runaways[0]))

#endif
