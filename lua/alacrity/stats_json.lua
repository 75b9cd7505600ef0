-- The facts as JSON (/stats.json): listeners, pools and backends become objects keyed by name, in
-- document order; every other name is the fact's own. New fields may be added; none is renamed.
local format = require "alacrity.format"

local ROOT = format.order { "version", "configuration", "now_ms", "uptime_ms", "draining", "watchdog",
  "reloads_total", "reloads_failed_total", "log_dropped_total", "log_suppressed_total",
  "socket_options_refused_total",
  "listeners", "pools", "workers", "scripts", "script_metrics", "arena", "shared" }
local LISTENER = format.order { "bind", "pool", "route", "service", "max_sessions",
  "sessions_active", "sessions_total", "handed_over_total", "bytes_in_total", "bytes_out_total", "routes_total",
  "route_errors_total", "route_timeouts_total", "route_overruns_total", "route_resting_total",
  "route_out_total", "route_out_workers", "ended" }
local POOL = format.order { "policy", "fallback", "check", "check_out", "zone", "retries", "sessions_active",
  "sessions_total", "bytes_in_total", "bytes_out_total", "retries_total", "picks_total",
  "policy_errors_total", "policy_bad_answers_total", "policy_nil_total",
  "policy_overruns_total", "policy_resting_total", "policy_out_total", "policy_out_workers",
  "fallbacks_total",
  "no_backend_total", "backends_eligible", "versions", "shadow", "backends" }
local VERSIONS = format.order { "current", "previous", "failed", "shadow" }
local VERSION = format.order { "number", "name", "path", "origin", "since_ms" }
local SHADOW = format.order { "asked_total", "agreed_total", "failed_total", "current_ns_total",
  "shadow_ns_total", "sample" }
local BACKEND = format.order { "address", "configured_address", "state", "admin", "eligible",
  "weight", "configured_weight", "max_sessions", "zone", "tags", "active", "sessions_total",
  "bytes_in_total", "bytes_out_total", "picks_total", "shadow_picks_total",
  "connect_failures_total", "connect_timeouts_total",
  "resets_total", "connect_ms", "checks_total", "checks_failed_total", "downs_total",
  "changed_ms", "reason" }
local WORKER = format.order { "index", "sessions", "heartbeat_age_ms", "lua_memory_bytes",
  "turn_max_ms", "turn_cpu_max_ms", "long_turns_total", "spliced_bytes_total", "pipes",
  "no_pipe_total", "splice_refused_total", "cpu" }
local SCRIPT = format.order { "kind", "name", "path", "pool", "listener", "version", "state", "calls_total",
  "errors_total", "overruns_total", "bad_answers_total", "nil_answers_total", "fallbacks_total", "memory_bytes",
  "last_error" }

local SHARED = format.order { "entries", "bytes", "limit_bytes", "evictions_total",
  "dictionaries" }
local METRIC = format.order { "name", "kind", "help", "labels", "value", "buckets", "count", "sum" }
local BUCKET = format.order { "le", "count" }
local DICTIONARY = format.order { "entries" }

-- A list of things with names as one object from name to thing, in the list's order.
local function by_name(list, order)
  local map, names = {}, {}
  for i, thing in ipairs(list) do
    names[i] = thing.name
    map[thing.name] = setmetatable(thing, order)
  end
  return setmetatable(map, format.order(names))
end

local function all(list, order)
  for _, thing in ipairs(list) do setmetatable(thing, order) end
  return format.array(list)
end

local function by_label(labels)
  local map, names = {}, {}
  for i, pair in ipairs(labels) do
    names[i] = pair.name
    map[pair.name] = pair.value
  end
  return setmetatable(map, format.order(names))
end

--- Takes the facts over: they are reshaped in place. `pause` is called now and then, so that others
--- may have their turn.
return function(facts, pause)
  for _, listener in ipairs(facts.listeners) do format.array(listener.bind) end
  for _, pool in ipairs(facts.pools) do
    for _, backend in ipairs(pool.backends) do format.array(backend.tags) end
    pool.backends = by_name(pool.backends, BACKEND)
    pause()
    for _, version in pairs(pool.versions) do setmetatable(version, VERSION) end
    setmetatable(pool.versions, VERSIONS)
    if pool.shadow then setmetatable(pool.shadow, SHADOW) end
  end
  facts.listeners = by_name(facts.listeners, LISTENER)
  facts.pools = by_name(facts.pools, POOL)
  facts.workers = all(facts.workers, WORKER)
  facts.scripts = all(facts.scripts, SCRIPT)
  for _, metric in ipairs(facts.script_metrics) do
    metric.labels = by_label(metric.labels)
    if metric.buckets then metric.buckets = all(metric.buckets, BUCKET) end
  end
  facts.script_metrics = all(facts.script_metrics, METRIC)
  facts.shared.dictionaries = by_name(facts.shared.dictionaries, DICTIONARY)
  setmetatable(facts.shared, SHARED)
  local out = format.json(setmetatable(facts, ROOT), { pause = pause })
  out[#out + 1] = "\n"
  return out
end
