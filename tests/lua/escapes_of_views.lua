-- More attempts, as in tests/lua/escapes.lua: through what scripts are shown (backends, pools,
-- sessions), through numbers that are cdata, and through the network.
local attempts = {}
local section
local function attempt(entry)
  entry.section = section
  attempts[#attempts + 1] = entry
end

-- ---- views -------------------------------------------------------------------------------------
section = "views"

attempt { "write a backend", "every field of a backend, and new ones",
  [[ return each({ "id", "weight", "active", "state_code", "connect_ewma_ms", "max_sessions", "name",
       "pool_name", "address", "state", "escaped", 1, -1, 0 }, function(key)
       return can(function() view[key] = 5 return true end)
         or can(function() view[key] = nil return true end)
         or can(function() view[key] = view return true end)
     end) ]] }
attempt { "write pool and session", "every field of pool, pool.all and ctx", only = "policy",
  [[ return each({ "count", "all", "name", "least", "eligible", "eligible_count", "all_count", "attempt",
       "client", "client_hash", "listener", 1, 2, -1, 1.5 }, function(key)
       return can(function() pool[key] = 5 return true end)
         or can(function() pool.all[key] = 5 return true end)
         or can(function() ctx[key] = 5 return true end)
         or can(function() pool[key] = view return true end)
     end) ]] }
attempt { "be a route", "what only routes may call, on anything, in and outside of a coroutine's reach",
  only = "policy",
  [[ local odd = { ctx, 5, 0/0, 2^47, "x", {}, true, print, view, pool, pool.all, 1LL, 1i, 0ULL }
     return each({ "peek", "use", "reject" }, function(name)
       return can(ctx[name]) or each(odd, function(x)
         return can(ctx[name], x) or can(ctx[name], x, 1) or can(ctx[name], x, "app", 1)
           or can(ctx[name], x, x)
       end)
     end) ]] }
attempt { "write in a hot loop", "writes that only compiled code would make",
  [[ local before = view.weight
     for i = 1, 300 do pcall(function() view.weight = i end) end
     local t = setmetatable({}, { __newindex = view })
     for i = 1, 300 do local target = i > 250 and t or {} pcall(function() target.weight = i end) end
     return view.weight ~= before ]] }
attempt { "private fields", "what stands behind the public fields: pointers, arrays, structures",
  [[ return each({ "view", "pool", "eligible", "all_count", "natives", "members", "script",
       "positions", "facts", "slot", "health", "reason" }, function(key)
       return view[key] or ctx and ctx[key] or pool and (type(pool[key]) == "cdata" or pool.all[key])
     end) ]] }
attempt { "only plain values", "a field that is an address, an array or a 64-bit number",
  [[ for _, key in ipairs { "id", "weight", "active", "state_code", "connect_ewma_ms", "max_sessions",
       "name", "pool_name", "address", "state" } do
       local kind = type(view[key]) if kind ~= "number" and kind ~= "string" then return key end
     end
     for _, key in ipairs { "attempt", "client_hash", "client_port", "last_failure_code", "client",
       "listener" } do
       local kind = ctx and type(ctx[key]) or "number"
       if kind ~= "number" and kind ~= "string" then return key end
     end ]] }
attempt { "pointer arithmetic", "view + 1, view - view, view[1] and their kind",
  [[ local ways = { "v + 1", "1 + v", "v - 1", "v - v", "v * 2", "v / 2", "v % 2", "v ^ 2", "-v",
       "v + 1LL", "1ULL + v", "v - 1LL", "v .. ''", "'' .. v", "v + v", "v + 1i", "v()", "v(1)",
       "v < v", "v <= v", "v < 1", "v > 1LL", "v[1] + 0", "v[0] + 0", "v[-1] + 0", "v[1LL] + 0",
       "v[v] + 0", "v.name + 1", "v.name[0] + 1" }
     return each(ways, function(way)
       local f = load("local v = ... return " .. way)
       return can(f, view) or pool and (can(f, pool.all) or can(f, ctx)
         or way ~= "v[1] + 0" and can(f, pool))
     end) ]] }
attempt { "indices", "pool[i] and pool.all[i] for numbers that are no position", only = "policy",
  [[ return each({ 0, -1, -0.5, 0.5, 1.5, 3.5, 4, 2^31 - 1, 2^31, 2^32, 2^32 + 1, 2^52, 2^53, 2^63,
       2^64, 1e300, -1e300, 1/0, -1/0, 0/0, -2^31, -2^32, -2^63, 1 + 2^-50, 5e-324 },
       function(i) return pool[i] or pool.all[i] or ctx[i] or pool[1][i] end) ]] }
attempt { "indices of other kinds", "cdata, strings, tables as index", only = "policy",
  [[ return each({ 1LL, 2ULL, 1i, "1", "0", "-1", "", true, false, {}, print, view, pool, ctx, pool.all },
       function(i) return pool[i] or pool.all[i] or view[i] or ctx[i] end) ]] }
attempt { "indices in a hot loop", "an index that leaves its bounds in compiled code", only = "policy",
  [[ local found = 0
     for i = -300, 300 do if pool[i] then found = found + 1 end end
     for i = 1, 300 do if pool.all[i / 64] and i % 64 ~= 0 then return true end end
     return found ~= #pool ]] }
attempt { "methods of other things", "methods of a pool called with what is none", only = "policy",
  [[ local one = function() return 1 end
     return each({ 5, -1, 0/0, 2^47, "x", {}, true, view, ctx, pool.all, 0LL, 1ULL, 1i, print, one,
       setmetatable({}, { __index = pool }) }, function(x)
       return can(pool.least, x) or can(pool.maglev, x, 1) or can(pool.ring, x, 1)
         or can(pool.min, x, one) or can(pool.p2c, x, one)
     end) or can(pool.least) ]] }
attempt { "methods in a hot loop", "a pool that becomes something else in compiled code", only = "policy",
  [[ local least, n = pool.least, 0
     for i = 1, 300 do
       local x = i % 100 == 99 and ctx or i % 100 == 98 and 7 or pool
       if pcall(least, x) and x ~= pool then return true end
     end ]] }
attempt { "hashes", "maglev and ring with hashes out of range", only = "policy",
  [[ return each({ -1, -1e300, 2^32, 2^53, 1e300, 1/0, -1/0, 0/0, "1", "x", {}, true, 1LL, 1ULL, 1i, view },
       function(hash) return can(pool.maglev, pool, hash) or can(pool.ring, pool, hash) end)
       or can(pool.maglev, pool) or can(pool.ring, pool) ]] }
attempt { "scores", "score functions that answer anything", only = "policy",
  [[ local liar = setmetatable({}, { __lt = function() return true end, __le = function() return true end,
       __eq = function() return false end })
     local answers = { 1, 0/0, 1/0, -1/0, "x", liar, false, view, pool, 1LL, 1i, print, {} }
     for _, answer in ipairs(answers) do
       for _, name in ipairs { "min", "p2c" } do
         local ok, b = pcall(pool[name], pool, function() return answer end)
         if ok and b and b.pool_name ~= pool.name then return name end
       end
     end
     local n, ok, b = 0, nil, nil -- changes its mind from call to call
     ok, b = pcall(pool.min, pool, function() n = n + 1 return n % 2 == 0 and liar or -n end)
     if ok and b and b.pool_name ~= pool.name then return true end
     return can(pool.min, pool, 5) or can(pool.p2c, pool, {}) or can(pool.min, pool)
       or can(pool.min, pool, setmetatable({}, { __call = function() return 1 end })) ]] }
attempt { "scores that call back", "score functions that pick again, without end, or raise errors",
  only = "policy",
  [[ local depth = 0
     local function score() depth = depth + 1
       if depth > 50 then error("deep") end pool:p2c(score) pool:least() return pool:min(score) end
     pcall(pool.min, pool, score)
     local function endless() return pool:min(endless) end
     pcall(pool.min, pool, endless)
     return pool:least() == nil or #pool ~= 3 ]] }
attempt { "parts within scores", "parts of the pool made while a score goes over one", only = "policy",
  [[ local part = pool:untagged("nothing")
     local b = part:min(function()
       for i = 1, 40 do pool:tagged("t" .. i) pool:untagged("u" .. i) pool:near() pool:far() end
       return 1
     end)
     return b and b.pool_name ~= pool.name or can(function() return pool:near():far() end) ]] }
attempt { "views as metatables", "a view as metatable, as __index and as environment", only = "policy",
  [[ local t = setmetatable({}, { __index = pool.all })
     return can(setmetatable, {}, pool) or can(load, "return io", "x", "t", pool)
       or each({ 0, -1, 2^31, 1e300, 0/0, 1LL }, function(i) return t[i] end) ]] }
attempt { "rotations as tables", "what stands behind a rotation, by writing into it", only = "policy",
  [[ local r = alacrity.rotation()
     r.count, r.credits = 1, {}
     setmetatable(r, { __mode = "k", __index = function() return 1 end })
     pool:rotate(r)
     for _, v in pairs(r) do if type(v) == "cdata" then return true end end
     return can(pool.rotate, pool, setmetatable({}, { __index = r })) ]] }
attempt { "conversions", "a view where a number or a string is expected",
  [[ return tonumber(view) or each({ math.floor, math.abs, bit.tobit, bit.bnot, bit.tohex, string.upper,
       string.byte, string.len, string.reverse, string.char, os.date, table.concat, unpack, ipairs, pairs,
       alacrity.hash, loadstring, require, math.randomseed },
       function(f) return can(f, view) end)
       or can(string.rep, "x", view) or can(string.format, "%d", view) or can(string.format, "%x", view)
       or can(string.format, "%g", view) or can(string.format, "%c", view)
       or can(string.sub, "x", view) or can(string.find, "x", view) or can(string.gsub, "x", "x", view)
       or can(bit.bor, view, 1) or can(bit.band, 1LL, view) or can(bit.lshift, view, 1)
       or can(select, view, 1) or can(math.max, 1, view) or can(string.rep, view, 2) ]] }
attempt { "views as tables", "library functions for tables, on views",
  [[ local x = pool or view
     return can(table.insert, x, 1) or can(table.remove, x, 1) or can(table.sort, x)
       or can(table.concat, x) or can(unpack, x) or can(ipairs, x) or can(pairs, x) or can(next, x)
       or can(table.maxn, x) or can(table.foreach, x, print) or can(table.getn, x)
       or can(table.move, x, 1, 2, 3) or can(table.move, { 1 }, 1, 1, 1, x) ]] }
attempt { "addresses in texts", "tostring or format of a view showing where it is",
  [[ local texts = { tostring(view), ("%s"):format(view), pool and tostring(pool) or "",
       pool and tostring(pool.all) or "", ctx and tostring(ctx) or "" }
     return table.concat(texts, " "):find("0x") ]] }
attempt { "addresses as numbers", "the address %p shows of Lua's own object, made a number, followed",
  [[ local n = load("return " .. ("%p"):format(view) .. "ULL")()
     return can(function() return n[0] end) or can(function() return n.name end)
       or can(function() return n() end) or can(function() n[0] = 1 return true end)
       or can(alacrity.hash, n) or n == view or view == n
       or pool and (can(pool.least, n) or pool[n] or pool.all[n]) ]] }
attempt { "views in loops", "views as bounds of a loop",
  [[ return can(function() for i = view, 5 do end return true end)
       or can(function() for i = 1, view do end return true end)
       or can(function() for i = 1, 5, view do end return true end)
       or can(function() for k in view do end return true end) ]] }
attempt { "views that are equal", "equality with everything; views as keys",
  [[ local t = { [view] = true }
     for _, x in ipairs { 1, "x", {}, true, print, 1LL, 1i, ctx or 0, pool or 0, view.name, view.id } do
       if view == x or x == view or rawequal(view, x) then return true end
     end
     return view == nil or not t[view] ]] }
attempt { "stale views", "views kept from earlier calls",
  [[ kept[#kept + 1] = view kept[#kept + 1] = pool kept[#kept + 1] = ctx
     for _, x in ipairs(kept) do
       local _ = tostring(x), x.name, x.client, x.count, x[1], x[2], x.all and x.all[1]
     end
     if #kept > 60 then kept = {} end ]] }
attempt { "length of views", "# of what has none",
  [[ return can(function() return #view end) or ctx and can(function() return #ctx end) ]] }

attempt { "parts of a pool", "tagged, near and their like with anything for a tag and a pool", only = "policy",
  [[ local odd = { 5, 0/0, "x", {}, true, print, view, pool, pool.all, ctx, 1LL, counter, rotation }
     local bad = each(odd, function(x)
       for _, name in ipairs { "tagged", "untagged", "near", "far" } do
         local ok, part = pcall(pool[name], pool, x)
         if ok and (#part > #pool or part[#part + 1] or part.name ~= pool.name) then return true end
         if x ~= pool and can(pool[name], x, "x") then return true end
       end
     end)
     return bad or can(pool.tagged, pool:near(), "x") or can(pool.near, pool.all)
       or can(view.has_tag, pool, "x") or can(view.has_tag, 5) or can(view.has_tag, view, view)
       or can(view.has_tag, view, 0/0) ]] }
attempt { "a part that changes", "a part kept from an earlier pick, made anew while it is looked at", only = "policy",
  [[ local parts = kept.parts or { pool:untagged("x"), pool:far(), pool:near() }
     kept.parts = parts
     for _, part in ipairs(parts) do
       local b = part:min(function(backend)
         pool:untagged("x") pool:far() pool:near()
         return -backend.id
       end)
       if b and b.pool_name ~= pool.name then return true end
       pcall(part.p2c, part, function(backend) pool:near() return backend.active end)
     end ]] }
attempt { "rotations", "what stands for a rotation, and what does not", only = "policy",
  [[ local odd = { 5, 0/0, "x", {}, true, print, view, pool, 1LL, counter,
       setmetatable({}, { __index = rotation, __eq = function() return true end }) }
     local bad = each(odd, function(x) return can(pool.rotate, pool, x) end) or can(pool.rotate, pool)
     setmetatable(rotation, { __index = function() return 5 end }) rotation.count = 1e9 rotation[1] = 5
     for i = 1, 20 do
       if not pool:rotate(rotation) then return true end
       pool:near():rotate(rotation) pool:untagged("x"):rotate(rotation)
     end
     return bad or can(pool.rotate, view, rotation) ]] }
attempt { "factors and ids", "pool:ring with any factor, pool:find with any id", only = "policy",
  [[ return each({ 0, -1, 0.5, 0/0, -1/0, "x", {}, 1LL, view }, function(x)
       return can(pool.ring, pool, 1, x)
     end) or each({ -1, 0.5 + 2^31, 2^32, 1/0, 0/0, "x", {}, 1LL, view, 2^32 - 1 }, function(x)
       return (select(2, pcall(pool.find, pool, x)) or {}).name
     end) ]] }

-- ---- objects of the library ----------------------------------------------------------------------
section = "objects"

attempt { "write an object", "the number that an object is, and other fields",
  [[ return each({ dictionary, counter, gauge, histogram }, function(x)
       return each({ "id", "value", "add", "get", 0, 1, -1, 1LL }, function(key)
         return can(function() x[key] = 5 return true end) or can(function() x[key] = x return true end)
           or type(key) == "number" and can(function() return x[key] end)
       end) or can(rawset, x, "id", 5) or can(setmetatable, x, {}) or type(getmetatable(x)) == "table"
         or can(function() return x.__index or x.__metatable or x.__newindex end)
     end) ]] }
attempt { "write an object in a hot loop", "its number, changed by compiled code only",
  [[ local id = counter.id
     for i = 1, 300 do
       local x = setmetatable({}, { __newindex = counter })
       pcall(function() counter.id = i end) pcall(function() x.id = i end)
     end
     return counter.id ~= id ]] }
attempt { "operators on objects", "arithmetic, calls, comparison, text",
  [[ return each({ dictionary, counter, gauge, histogram }, function(x)
       return each({ "x + 1", "x - x", "1LL + x", "x()", "x(5)", "#x", "x .. ''", "x < x", "-x", "x[1]" },
         function(way) return can(load("local x = ... return " .. way), x) end)
         or tostring(x):find("0x") or tonumber(x)
     end) ]] }
attempt { "objects mixed up", "methods of one kind on another, and on what is none",
  [[ local methods = { { dictionary, "get", "set", "add", "incr", "delete", "ttl", "count" },
       { counter, "add" }, { gauge, "set", "add" }, { histogram, "observe" } }
     for _, kind in ipairs(methods) do
       for i = 2, #kind do
         local method = kind[1][kind[i] ]
         local bad = each({ dictionary, counter, gauge, histogram, 5, 2^40, "x", {}, true, 0LL, 1i, print,
           view or 0, pool or 0, setmetatable({}, { __index = kind[1] }) }, function(x)
           return x ~= kind[1] and can(method, x, 1, 1)
         end) or can(method)
         if bad then return kind[i] .. " of " .. bad end
       end
     end ]] }
attempt { "amounts", "counting what is no number",
  [[ return each({ 0/0, 1/0, -1/0, "1", {}, true, 1LL, view or 1LL }, function(n)
       return can(counter.add, counter, n) or can(gauge.add, gauge, n) or can(histogram.observe, histogram, n)
         or n ~= 1/0 and n ~= -1/0 and can(gauge.set, gauge, n)
     end) or can(counter.add, counter, -1) ]] }
attempt { "keys and values", "what a dictionary cannot hold",
  [[ return each({ 0/0, {}, true, print, 1LL, view or {}, ("k"):rep(251) }, function(key)
       return can(dictionary.get, dictionary, key) or can(dictionary.set, dictionary, key, 1)
         or can(dictionary.incr, dictionary, key) or can(dictionary.delete, dictionary, key)
     end) or each({ {}, print, 1LL, view or {}, ("v"):rep(65537) }, function(value)
       return can(dictionary.set, dictionary, "k", value) or can(dictionary.add, dictionary, "k", value)
     end) or each({ 0, -1, 0/0, 1/0, 1e10, "1", {}, 1LL }, function(ttl)
       return can(dictionary.set, dictionary, "k", 1, ttl)
     end) ]] }
attempt { "what dictionaries give back", "NUL, invalid UTF-8, empty and long values, numbers at their edges",
  [[ for _, value in ipairs { "", "\0", "a\0b", "\255\254", ("v"):rep(65536), 0, -0, 2^53, 1e308, -1/0, true } do
       for _, key in ipairs { "", "\0", "a\0b", ("k"):rep(250), 0, 2^53, 1/0 } do
         if pcall(dictionary.set, dictionary, key, value, 1000) then
           local back = dictionary:get(key)
           if back ~= nil and back ~= value then return type(value) end
           dictionary:delete(key)
         end
       end
     end ]] }
attempt { "names of dictionaries", "odd and many names",
  [[ return each({ "", ("n"):rep(64), 5, {}, true, view or {}, 1LL }, function(name)
       return can(alacrity.shared, name)
     end) or select(2, pcall(alacrity.shared, "a\0b")) == dictionary ]] }
attempt { "names of metrics", "names, texts and labels that would break the exposition",
  [[ local liar = setmetatable({}, { __index = function() return "x" end, __len = function() return 5 end })
     return each({ "", "a b", "a\n", "a\0", "1a", "A", "calls", "a_total", ("n"):rep(64), 5, {}, 1LL }, function(name)
       return can(alacrity.counter, name) or can(alacrity.gauge, name) or can(alacrity.histogram, name, { 1 })
     end) or each({ 5, "x", true, { x = 1 }, { [1] = "x" }, { ["a b"] = "x" }, { a = ("v"):rep(64) }, { a = "\0" },
       { a = "1", b = "2", c = "3", d = "4", e = "5" }, { a = liar }, 1LL }, function(labels)
       return can(alacrity.counter, "escape_labels", "help", labels)
     end) or each({ {}, { "x" }, { 2, 1 }, { 0/0 }, { 1, 1 }, { 1/0 }, 5, liar }, function(buckets)
       return can(alacrity.histogram, "escape_buckets", buckets)
     end) or can(alacrity.counter, "escape", ("h"):rep(128)) or can(alacrity.counter, "escape_g") ]] }

-- ---- 64-bit and complex numbers: cdata that plain source can write ---------------------------------
section = "boxed numbers"

attempt { "following a boxed number", "1LL as a pointer",
  [[ return each({ 1LL, 0ULL, 0x400000ULL, 0xffffffffffffffffULL, 3i }, function(n)
       return tostring(n) ~= "0+3i" and (can(function() return n[0] end) or can(function() return n[1LL] end))
         or can(function() n[0] = 1 return true end) or can(function() return n.x end)
         or can(function() n.re = 5 return true end) or can(function() return n() end)
         or can(function() return #n end) or can(function() return n .. "" end)
     end) ]] }
attempt { "parts of a complex number", "indices beyond its two parts",
  [[ local c = 3i
     for i = 1, 200 do
       for _, k in ipairs { i, -i, 2^20 + i } do
         local part = c[k] if part ~= 0 and part ~= 3 then return k end
       end
     end ]] }
attempt { "dividing by zero", "64-bit division that would trap in C",
  [[ local least, minus, zero = -0x8000000000000000LL, -1LL, 0LL
     for i = 1, 200 do
       local n = i > 190 and zero or minus
       local _ = least / n, least % n, 1ULL / (0ULL * i), 1ULL % (0ULL * i), zero ^ minus
     end ]] }
attempt { "boxed numbers where numbers belong", "loops, string functions, bits",
  [[ for _, n in ipairs { 1LL, -1LL, 0x7fffffffffffffffLL, 0xffffffffffffffffULL, 1i } do
       pcall(string.rep, "x", n) pcall(string.sub, "abc", n) pcall(string.char, n)
       pcall(string.format, "%d %x %g %s", n, n, n, n) pcall(bit.lshift, n, 2^31) pcall(bit.rol, 1LL, n)
       pcall(bit.tohex, n, -2^31) pcall(bit.tohex, 1LL, 1e300) pcall(unpack, {}, n) pcall(select, n, 1)
       pcall(table.insert, {}, n, 1) pcall(table.concat, {}, "", n) pcall(math.random, n)
       pcall(os.date, "%c", n) pcall(tonumber, n, 10) pcall(bit.arshift, n, 1LL)
       pcall(function() for i = n, n + 1 do end end)
     end ]] }
attempt { "boxed numbers as arguments of ours", "hash, log, methods of the pool",
  [[ return each({ 1LL, 1ULL, 1i }, function(n)
       alacrity.log.debug(n)
       return can(alacrity.hash, n) or pool and (can(pool.maglev, pool, n) or can(pool.min, pool, n))
     end) ]] }
attempt { "the ffi behind a literal", "literals load the ffi on demand: is it left somewhere?",
  [[ load("return 1LL, 2ULL, 3i")()
     return rawget(_G, "ffi") or can(require, "ffi") or type(getmetatable(1LL)) == "table" ]] }

-- ---- coroutines and the network: checks and services ---------------------------------------------
section = "waiting"

attempt { "coroutines in a policy", "yielding out of a pick", only = "policy",
  [[ return rawget(_G, "coroutine") or can(require, "coroutine") or can(require, "alacrity.net") ]] }
attempt { "an attempt in a coroutine", "globals and views, seen from inside a coroutine", only = "check",
  [[ return coroutine.wrap(function()
       return io or debug or ffi or getfenv or can(require, "ffi") or can(function() view.weight = 9 return true end)
     end)() ]] }
attempt { "the run's own coroutine", "resumed from inside itself", only = "check",
  [[ local own = coroutine.running()
     return coroutine.resume(own) or coroutine.wrap(function() return (coroutine.resume(own)) end)() ]] }
attempt { "a coroutine of an earlier run", "kept, and resumed with that run's things", only = "check",
  [[ local old = kept.co
     kept.co = coroutine.create(function()
       local socket = net and kept.socket
       while true do coroutine.yield(can(net.sleep, 0.001) or socket and can(socket.send, socket, "x")) end
     end)
     return old and select(2, coroutine.resume(old)) ]] }
attempt { "waiting in a coroutine", "alacrity.net in a coroutine of the script", only = "check",
  [[ return coroutine.wrap(function() return can(net.sleep, 0.001) or can(net.connect, view) end)() ]] }
attempt { "waiting in a callback", "alacrity.net inside gsub, sort, load, a metamethod called from C", only = "check",
  [[ local slept
     local function sleep()
       local ok, why = pcall(net.sleep, 0.001)
       slept = slept or ok or not why:find("calls back") and why
     end
     pcall(string.gsub, "x", "x", sleep) pcall(table.sort, { 2, 1 }, sleep) pcall(load, sleep)
     pcall(net.connect, view, setmetatable({}, { __index = sleep }))
     return slept ]] }
attempt { "a wait that failed", "closing a socket whose wait was refused, then waiting", only = "check",
  [[ local socket = net.connect(view)
     pcall(string.gsub, "x", "x", function() socket:receive(1, 0.001) end)
     pcall(string.gsub, "x", "x", function() socket:send(("x"):rep(1e6), 0.001) end)
     socket:close()
     net.sleep(0.005) ]] }
attempt { "metatables of sockets", "the methods of all sockets", only = "check",
  [[ local socket = net.connect(view)
     local meta = getmetatable(socket)
     local ok = type(meta) == "table" or can(setmetatable, socket, {})
       or can(function() socket.send = 5 return true end) or can(rawset, socket, "send", 5)
       or can(rawget, socket, "send") or can(next, socket) or socket.__index or socket.__gc
       or can(function() return #socket end) or can(function() return socket + 1 end)
       or can(function() return socket() end) or socket == view or tonumber(socket)
     socket:close()
     return ok ]] }
attempt { "methods of sockets", "called with what is no socket", only = "check",
  [[ local socket = net.connect(view)
     local ok = each({ "send", "receive", "receive_line", "receive_all", "receive_some", "close" },
       function(name)
         return socket[name] and each({ 5, "x", {}, view, 1LL, true, print,
           setmetatable({}, { __index = socket }) }, function(x) return can(socket[name], x, 1, 1) end)
           or can(socket[name])
       end)
     socket:close()
     return ok ]] }
attempt { "sockets of an earlier run", "kept, and used again", only = "check",
  [[ local old = kept.socket
     kept.socket = net.connect(view)
     return old and (old:send("x") or old:receive_some(1) or old:receive_line()) ]] }
attempt { "closed sockets", "closed twice, used afterwards", only = "check",
  [[ local socket = net.connect(view)
     socket:close() socket:close()
     return socket:send("x") or socket:receive(1) or socket:receive_all() ]] }
attempt { "unix sockets", "the admin socket, or any other, by its path", only = "check",
  [[ return each({ "unix:" .. marker, "unix:/run/alacrity/admin.sock", "unix:@abstract",
       "unix:/var/run/docker.sock" }, function(address)
       local ok, socket, why = pcall(net.connect, address)
       return ok and (socket or why) -- "refused" would mean that it tried
     end) ]] }
attempt { "odd addresses", "names, ports and things that are no address", only = "check",
  [[ return each({ "", "localhost:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1",
       "127.0.0.1:80\0x", ("1"):rep(1e5), "%s%n:1", "[::1]" }, function(address)
       local ok, socket = pcall(net.connect, address) return ok and socket
     end) ]] }
attempt { "odd limits", "times and sizes out of range", only = "check",
  [[ local socket = net.connect(view)
     local ok = each({ -1, 0/0, 1/0, -1/0, 1e300, "x", {}, 1LL, view }, function(n)
       return can(net.sleep, n) or can(socket.receive, socket, n) or can(socket.receive_line, socket, n)
         or can(socket.send, socket, "x", n) or can(net.connect, view, { timeout = n })
     end) or can(socket.receive, socket, 0) or can(socket.receive, socket, 1.5)
       or can(socket.receive, socket, 2^32 + 1) or can(socket.receive, socket)
     socket:close()
     return ok ]] }
attempt { "more sockets than allowed", "until there is no more", only = "check",
  [[ for i = 1, 20 do
       local socket, why = net.connect(view)
       if not socket then return i ~= 17 and why end
     end
     return true ]] }
attempt { "more bytes than allowed", "a send above the bound", only = "check",
  [[ local socket = net.connect(view)
     local ok = socket:send(("x"):rep(2^20 + 1)) socket:close() return ok ]] }

return attempts
