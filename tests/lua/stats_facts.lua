-- Canned facts in the shape of alacrity.facts() (lua/facts.c), for tests of what renders them.
local function backend(name, state, more)
  local b = { name = name, address = "127.0.0.1:9001", configured_address = "127.0.0.1:9001",
    state = state, admin = "ready", eligible = state == "up" or state == "starting", weight = 1,
    configured_weight = 1, max_sessions = 0, tags = {}, active = 0, sessions_total = 0,
    bytes_in_total = 0, bytes_out_total = 0, picks_total = 0, shadow_picks_total = 0,
    connect_failures_total = 0, connect_timeouts_total = 0,
    resets_total = 0, connect_ms = 0, checks_total = 0, checks_failed_total = 0, downs_total = 0,
    changed_ms = 1700000000000, reason = "" }
  for k, v in pairs(more or {}) do b[k] = v end
  return b
end

local function pool(name, backends, more)
  local p = { name = name, policy = "round-robin", fallback = "round-robin", retries = 3,
    sessions_active = 0, sessions_total = 0, bytes_in_total = 0, bytes_out_total = 0,
    retries_total = 0, picks_total = 0, policy_errors_total = 0, policy_bad_answers_total = 0,
    policy_nil_total = 0, policy_overruns_total = 0, policy_resting_total = 0, policy_out_total = 0,
    policy_out_workers = 0, versions = { current = { number = 1, name = "round-robin",
      origin = "configuration", since_ms = 1700000000000 } }, fallbacks_total = 0, no_backend_total = 0, backends_eligible = 0,
    backends = backends }
  for _, b in ipairs(backends) do
    if b.eligible then p.backends_eligible = p.backends_eligible + 1 end
    p.sessions_active = p.sessions_active + b.active
    p.sessions_total = p.sessions_total + b.sessions_total
  end
  for k, v in pairs(more or {}) do p[k] = v end
  return p
end

local function listener(name, more)
  local l = { name = name, bind = { "127.0.0.1:8080" }, max_sessions = 0, sessions_active = 0,
    sessions_total = 0, handed_over_total = 0, bytes_in_total = 0, bytes_out_total = 0,
    ended = { done = 0, client_reset = 0, backend_reset = 0, idle_timeout = 0, session_timeout = 0,
      connect_failed = 0, no_backend = 0, limit = 0, out_of_descriptors = 0, out_of_memory = 0,
      drain = 0, killed = 0, rejected = 0, no_route = 0, route_failed = 0 } }
  for k, v in pairs(more or {}) do
    if k == "ended" then
      for reason, n in pairs(v) do l.ended[reason] = n end
    else
      l[k] = v
    end
  end
  return l
end

local function script(kind, name, more)
  local s = { kind = kind, name = name, version = 3, state = "running", calls_total = 0,
    errors_total = 0, overruns_total = 0, memory_bytes = 0, last_error = "" }
  if kind == "policy" then
    s.bad_answers_total, s.nil_answers_total, s.fallbacks_total = 0, 0, 0
  end
  for k, v in pairs(more or {}) do s[k] = v end
  return s
end

local canned = { backend = backend, pool = pool, listener = listener, script = script }

--- A busy small site, with one of everything that can be seen.
function canned.site()
  local now = 1700000360000
  return { version = "0.1.0", configuration = 3, now_ms = now, uptime_ms = 273840000,
    draining = false, watchdog = true, reloads_total = 4, reloads_failed_total = 1, log_dropped_total = 0,
    log_suppressed_total = 17, socket_options_refused_total = 0,
    listeners = {
      listener("web", { bind = { "0.0.0.0:80", "[::]:80" }, pool = "app", max_sessions = 20000,
        sessions_active = 137, sessions_total = 1234567, bytes_in_total = 98765432100,
        bytes_out_total = 1234567890123, ended = { done = 1230211, client_reset = 3981,
          idle_timeout = 212, connect_failed = 24, limit = 2 } }),
      listener("database", { bind = { "unix:/run/alacrity/db.sock" }, pool = "postgres",
        sessions_active = 12, sessions_total = 8123, bytes_in_total = 812300,
        bytes_out_total = 9812300, ended = { done = 8111 } }),
      listener("tls", { bind = { "0.0.0.0:443" }, route = "./routes/names.lua", sessions_active = 3,
        sessions_total = 470, routes_total = 468, route_errors_total = 2, route_timeouts_total = 5,
        route_overruns_total = 1, route_resting_total = 2, route_out_total = 0,
        route_out_workers = 0, ended = { done = 452, rejected = 11, route_failed = 4 } }),
      listener("stats", { bind = { "127.0.0.1:8404" }, service = "stats", sessions_active = 1,
        sessions_total = 301, bytes_in_total = 60200, bytes_out_total = 5112233 }),
    },
    pools = {
      pool("app", {
        backend("a", "up", { active = 61, sessions_total = 601234, bytes_in_total = 4.8e10,
          bytes_out_total = 6e11, picks_total = 601240, connect_ms = 0.43, checks_total = 4000,
          reason = "connected in 0.4 ms" }),
        backend("b", "up", { address = "127.0.0.1:9002", active = 76, weight = 3,
          configured_weight = 1, sessions_total = 633330, bytes_in_total = 5e10,
          bytes_out_total = 6.3e11, picks_total = 633333, connect_ms = 1.2,
          connect_failures_total = 3, resets_total = 1, max_sessions = 500,
          reason = "connected in 1.1 ms" }),
        backend("c", "down", { address = "127.0.0.1:9003", connect_failures_total = 21,
          connect_timeouts_total = 4, checks_total = 4000, checks_failed_total = 180,
          downs_total = 2, reason = "connect: Connection refused" }),
        backend("d", "drain", { admin = "drain", address = "[2001:db8::4]:9004", active = 2,
          sessions_total = 3, changed_ms = now - 61000, reason = "set by the administrator" }),
        backend("e", "suspect", { address = "app-5.example.net:9005",
          changed_ms = now - 2500, reason = "3 connects failed in a row" }),
      }, { policy = "least-conn", check = "http", check_out = false, retries_total = 24, picks_total = 1234600,
        policy_errors_total = 7, fallbacks_total = 7,
        versions = { current = { number = 4, name = "least-conn", origin = "swap",
            since_ms = now - 3600000 },
          failed = { number = 5, name = "./tried.lua", path = "/etc/alacrity/tried.lua",
            origin = "swap", since_ms = now - 7200000 },
          shadow = { number = 6, name = "./nearest.lua", path = "/etc/alacrity/nearest.lua",
            origin = "shadow", since_ms = now - 60000 } },
        shadow = { asked_total = 2000, agreed_total = 1500, failed_total = 3,
          current_ns_total = 400000, shadow_ns_total = 600000, sample = 10 }, bytes_in_total = 98765432100,
        bytes_out_total = 1234567890123 }),
      pool("postgres", {
        backend("primary", "starting", { address = "10.0.0.1:5432", active = 12,
          sessions_total = 8123, changed_ms = 0 }),
        backend("replica", "maint", { admin = "maint", address = "10.0.0.2:5432" }),
      }, { policy = "primary-first", check = "./primary.lua", check_out = true }),
    },
    workers = { { index = 0, sessions = 70, heartbeat_age_ms = 12, lua_memory_bytes = 240000,
        turn_max_ms = 0.75, turn_cpu_max_ms = 0.5, long_turns_total = 0,
        spliced_bytes_total = 5368709120, pipes = 3, no_pipe_total = 12, splice_refused_total = 1 },
      { index = 1, sessions = 80, heartbeat_age_ms = 5210, lua_memory_bytes = 250000,
        turn_max_ms = 4.5, turn_cpu_max_ms = 2.25, long_turns_total = 2, spliced_bytes_total = 0,
        pipes = 0, no_pipe_total = 0, splice_refused_total = 0 } },
    scripts = {
      script("policy", "least-conn", { pool = "app", calls_total = 1234600, errors_total = 7,
        fallbacks_total = 7 }),
      script("policy", "primary-first", { pool = "postgres", path = "./policies/primary-first.lua",
        calls_total = 8123 }),
      script("route", "./routes/names.lua", { path = "./routes/names.lua", listener = "tls",
        calls_total = 468, errors_total = 2, overruns_total = 1, memory_bytes = 90112 }),
      script("check", "http", { calls_total = 12003, memory_bytes = 183204 }),
      script("service", "stats", { calls_total = 300, errors_total = 1, memory_bytes = 183204,
        last_error = "page.lua:12: attempt to index a nil value (field '?')" }),
    },
    script_metrics = {
      { name = "hits", kind = "counter", help = "Hits.", value = 12345678901,
        labels = { { name = "kind", value = "good" }, { name = "zone", value = "a" } } },
      { name = "queue", kind = "gauge", help = "Of a script.", labels = {}, value = -0.25 },
      { name = "wait_seconds", kind = "histogram", help = "Waiting.", labels = {}, count = 9,
        sum = 12.5, buckets = { { le = 0.1, count = 3 }, { le = 1, count = 8 } } },
      { name = "hits", kind = "counter", help = "Hits.", value = 3,
        labels = { { name = "kind", value = "bad" }, { name = "zone", value = "a" } } },
    },
    arena = { slots = 7, pools = 2, listeners = 3 },
    shared = { entries = 1205, bytes = 88220, limit_bytes = 16777216, evictions_total = 3,
      dictionaries = { { name = "clients", entries = 1200 }, { name = "flags", entries = 5 } } } }
end

--- Names and texts as nasty as they come.
function canned.hostile()
  local evil = "<script>alert(1)</script>\"'&,\\\n\200\0"
  local facts = canned.site()
  facts.listeners[1].name, facts.listeners[1].bind[1] = evil, evil
  facts.pools[1].name, facts.pools[1].policy, facts.pools[1].check = evil, evil, evil
  facts.listeners[1].pool, facts.listeners[1].route = evil, evil
  facts.listeners[3].route, facts.scripts[3].listener = evil, evil
  for _, b in ipairs(facts.pools[1].backends) do b.reason, b.address = evil, evil end
  facts.pools[1].backends[1].name = evil
  local s = facts.scripts[1]
  s.name, s.path, s.pool, s.last_error = evil, evil, evil, evil
  facts.shared.dictionaries[1].name = evil
  facts.script_metrics[1].help, facts.script_metrics[1].labels[1].value = evil, evil
  return facts
end

--- One pool of that many backends.
function canned.large(count)
  local facts, backends = canned.site(), {}
  for i = 1, count do
    backends[i] = backend("server-" .. i, i % 9 == 0 and "down" or "up", { sessions_total = i * 1000,
      bytes_in_total = i * 12345, bytes_out_total = i * 1234567, picks_total = i * 1000,
      active = i, connect_ms = i / 100, reason = "connected in 0.4 ms" })
  end
  facts.pools = { pool("app", backends) }
  facts.listeners[2].pool = "app"
  return facts
end

return canned
