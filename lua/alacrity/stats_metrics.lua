-- The facts in the Prometheus text format 0.0.4 (/metrics): base units, counters end in _total,
-- states are one-hot (a series for each state, 1 for the current one). Names and labels are a
-- promise to dashboards: add, never rename.
local format = require "alacrity.format"

local label, sample = format.label, format.sample

local STATES = { "starting", "up", "suspect", "down", "drain", "maint", "gone" }
local ADMINS = { "ready", "drain", "maint" }

-- A family is { name, type, help, value }: value is the name of a field, or a function of the item
-- that answers a number, or nil to leave the item out.
local function seconds(field)
  return function(item) return item[field] / 1000 end
end
local function flag(field)
  return function(item) return item[field] and 1 or 0 end
end

local PROCESS = {
  { "configuration_number", "gauge", "Number of the current configuration.", "configuration" },
  { "uptime_seconds", "gauge", "Time since the start of the process.", seconds "uptime_ms" },
  { "draining", "gauge", "1 while the process drains before it stops.", flag "draining" },
  { "watchdog_proven", "gauge", "1 if every script can be stopped; 0: a count hook does its best.",
    flag "watchdog" },
  { "reloads_total", "counter", "Reloads asked for.", "reloads_total" },
  { "reloads_failed_total", "counter", "Reloads refused because something was wrong.",
    "reloads_failed_total" },
  { "log_lines_dropped_total", "counter", "Log lines dropped because the target was too slow.",
    "log_dropped_total" },
  { "log_lines_suppressed_total", "counter",
    "Log lines left out because there were too many alike, or of one script, in a second.",
    "log_suppressed_total" },
  { "socket_options_refused_total", "counter",
    "Options of sockets that the kernel refused; those sockets serve without.",
    "socket_options_refused_total" },
}

local LISTENER = {
  { "listener_sessions_active", "gauge", "Sessions open now.", "sessions_active" },
  { "listener_sessions_limit", "gauge", "Most sessions at a time; 0 = no limit.", "max_sessions" },
  { "listener_sessions_total", "counter", "Sessions accepted and admitted.", "sessions_total" },
  { "listener_handed_over_total", "counter",
    "Connections that one worker accepted and another serves, so that all have their share.",
    "handed_over_total" },
  { "listener_in_bytes_total", "counter", "Bytes received from clients.", "bytes_in_total" },
  { "listener_out_bytes_total", "counter", "Bytes sent to clients.", "bytes_out_total" },
}

local ROUTE = { -- of listeners that have one
  { "listener_routes_total", "counter", "Times the route script was asked.", "routes_total" },
  { "listener_route_errors_total", "counter", "Those in which it raised an error.",
    "route_errors_total" },
  { "listener_route_timeouts_total", "counter", "Those that took too long.",
    "route_timeouts_total" },
  { "listener_route_overruns_total", "counter", "Those stopped for using up their budget.",
    "route_overruns_total" },
  { "listener_route_resting_total", "counter",
    "Sessions it was not asked for, as its state was being made anew.", "route_resting_total" },
  { "listener_route_out_total", "counter",
    "Sessions it was not asked for, as it was stopped too often.", "route_out_total" },
  { "listener_route_out_workers", "gauge",
    "Workers that ask the route no more, until a new version is published.",
    "route_out_workers" },
}

local POOL = {
  { "pool_backends", "gauge", "Backends in the configuration.",
    function(pool) return #pool.backends end },
  { "pool_backends_eligible", "gauge", "Backends that take new sessions.", "backends_eligible" },
  { "pool_sessions_active", "gauge", "Sessions open now.", "sessions_active" },
  { "pool_sessions_total", "counter", "Sessions connected to a backend.", "sessions_total" },
  { "pool_in_bytes_total", "counter", "Bytes from clients to backends.", "bytes_in_total" },
  { "pool_out_bytes_total", "counter", "Bytes from backends to clients.", "bytes_out_total" },
  { "pool_retries_total", "counter", "Further picks after a failed connect.", "retries_total" },
  { "pool_no_backend_total", "counter", "Sessions ended because no backend was eligible.",
    "no_backend_total" },
  { "pool_picks_total", "counter", "Times the policy was asked.", "picks_total" },
  { "pool_policy_errors_total", "counter",
    "Picks, ends of sessions and timers in which the policy raised an error.", "policy_errors_total" },
  { "pool_policy_bad_answers_total", "counter",
    "Picks answered by something that is not an eligible backend.", "policy_bad_answers_total" },
  { "pool_policy_nil_total", "counter", "Picks answered by nil.", "policy_nil_total" },
  { "pool_policy_overruns_total", "counter",
    "Picks, ends of sessions and timers in which the policy was stopped.", "policy_overruns_total" },
  { "pool_policy_resting_total", "counter",
    "Picks not asked, as the policy's state was being made anew.", "policy_resting_total" },
  { "pool_policy_out_total", "counter",
    "Picks not asked, as the policy was stopped too often.", "policy_out_total" },
  { "pool_policy_out_workers", "gauge",
    "Workers that ask the policy no more, until a new version is published.",
    "policy_out_workers" },
  { "pool_check_out", "gauge",
    "1 while the check is not asked any more, as it was stopped too often.",
    function(pool)
      if pool.check_out == nil then return nil end
      return pool.check_out and 1 or 0
    end },
  { "pool_fallbacks_total", "counter", "Picks the fallback answered instead of the policy.",
    "fallbacks_total" },
}

local SHADOW = {
  { "pool_shadow_picks_total", "counter", "Picks the shadow policy was asked for too.",
    "asked_total" },
  { "pool_shadow_agreed_total", "counter", "Those it answered as the current policy did.",
    "agreed_total" },
  { "pool_shadow_failed_total", "counter", "Those it answered no backend for.", "failed_total" },
}

local BACKEND = {
  { "backend_eligible", "gauge", "1 if it takes new sessions.", flag "eligible" },
  { "backend_weight", "gauge", "Effective weight.", "weight" },
  { "backend_sessions_active", "gauge", "Sessions open or being connected.", "active" },
  { "backend_sessions_limit", "gauge", "Most sessions at a time; 0 = no limit.", "max_sessions" },
  { "backend_sessions_total", "counter", "Sessions connected.", "sessions_total" },
  { "backend_in_bytes_total", "counter", "Bytes from clients.", "bytes_in_total" },
  { "backend_out_bytes_total", "counter", "Bytes to clients.", "bytes_out_total" },
  { "backend_picks_total", "counter", "Times it was chosen.", "picks_total" },
  { "backend_connect_failures_total", "counter",
    "Connects refused, unreachable or timed out.", "connect_failures_total" },
  { "backend_connect_timeouts_total", "counter", "Connects timed out.", "connect_timeouts_total" },
  { "backend_resets_total", "counter", "Sessions the backend reset.", "resets_total" },
  { "backend_connect_average_seconds", "gauge",
    "Moving average of the connect time; 0 = none yet.", seconds "connect_ms" },
  { "backend_checks_total", "counter", "Health checks finished.", "checks_total" },
  { "backend_checks_failed_total", "counter", "Health checks failed.", "checks_failed_total" },
  { "backend_downs_total", "counter", "Changes from up to down, but for wishes to drain.", "downs_total" },
  { "backend_last_change_timestamp_seconds", "gauge", "Time of the last change of state.",
    function(backend) return backend.changed_ms > 0 and backend.changed_ms / 1000 or nil end },
}

local WORKER = {
  { "worker_sessions_active", "gauge", "Sessions open now.", "sessions" },
  { "worker_heartbeat_age_seconds", "gauge", "Time since the worker's loop last turned.",
    seconds "heartbeat_age_ms" },
  { "worker_lua_memory_bytes", "gauge", "Memory of the worker's Lua states.", "lua_memory_bytes" },
  { "worker_turn_seconds_max", "gauge",
    "Longest turn of the worker's loop in the last half to whole minute.", seconds "turn_max_ms" },
  { "worker_turn_cpu_seconds_max", "gauge", "The same in CPU time.", seconds "turn_cpu_max_ms" },
  { "worker_long_turns_total", "counter", "Turns of 1 ms of CPU time or more.",
    "long_turns_total" },
  { "worker_spliced_bytes_total", "counter", "Bytes that were written without copying them.",
    "spliced_bytes_total" },
  { "worker_pipes", "gauge", "Pipes to splice through, in use or at rest.", "pipes" },
  { "worker_splice_no_pipe_total", "counter",
    "Moves of streams that were copied, as no pipe was to be had.", "no_pipe_total" },
  { "worker_splice_refused_total", "counter",
    "Sessions for which the kernel would not splice.", "splice_refused_total" },
}

local SCRIPT = {
  { "script_calls_total", "counter", "Calls of the script.", "calls_total" },
  { "script_errors_total", "counter", "Calls that raised an error.", "errors_total" },
  { "script_overruns_total", "counter", "Calls stopped for using up their budget.",
    "overruns_total" },
  { "script_memory_bytes", "gauge", "Memory of the script's Lua state.",
    "memory_bytes" },
}

local SHARED = {
  { "shared_bytes", "gauge", "Memory of all shared dictionaries.", "bytes" },
  { "shared_limit_bytes", "gauge", "Most memory of all shared dictionaries (lua.shared).",
    "limit_bytes" },
  { "shared_evictions_total", "counter", "Entries that had to make room for others.",
    "evictions_total" },
}

local DICTIONARY = {
  { "shared_entries", "gauge", "Entries of the shared dictionary.", "entries" },
}

-- Every series of one family stands together: items inside, families outside.
local function head(out, name, kind, help)
  out[#out + 1] = "# HELP " .. name .. " " .. help .. "\n# TYPE " .. name .. " " .. kind .. "\n"
end

local AT_ONCE = 64 -- items

-- What stands in `chunk` is one piece now, and there is time for others.
local function flush(out, chunk)
  out[#out + 1] = table.concat(chunk)
  out.pause()
  return {}
end

local function write_family(out, spec, items, labels)
  local name, field = "alacrity_" .. spec[1], spec[4]
  local is_function = type(field) == "function"
  local headed, chunk = false, {}
  for i = 1, #items do
    local value
    if is_function then value = field(items[i]) else value = items[i][field] end
    if value then
      if not headed then head(out, name, spec[2], spec[3]) end
      headed = true
      local n = #chunk
      chunk[n + 1], chunk[n + 2], chunk[n + 3], chunk[n + 4] = name, labels[i], sample(value), "\n"
    end
    if i % AT_ONCE == 0 or i == #items then chunk = flush(out, chunk) end
  end
end

local function write_families(out, specs, items, labels)
  for _, spec in ipairs(specs) do write_family(out, spec, items, labels) end
end

-- One series for each of `words`; number(item, word) is its value.
local function write_by_word(out, name, kind, help, word_label, words, items, labels, number)
  if #items == 0 then return end
  head(out, name, kind, help)
  local chunk = {}
  for i = 1, #items do
    local open = name .. labels[i]:sub(1, -3) .. "," .. word_label .. '="'
    for w = 1, #words do
      local n = #chunk
      chunk[n + 1], chunk[n + 2], chunk[n + 3] = open, words[w], '"} '
      chunk[n + 4], chunk[n + 5] = sample(number(items[i], words[w])), "\n"
    end
    if i % AT_ONCE == 0 or i == #items then chunk = flush(out, chunk) end
  end
end

local function one_hot(field)
  return function(item, word) return item[field] == word and 1 or 0 end
end

local function labels_of(items, describe)
  local labels = {}
  for i = 1, #items do labels[i] = "{" .. describe(items[i]) .. "} " end
  return labels
end

local function listeners(out, items)
  local labels = labels_of(items, function(l) return 'listener="' .. label(l.name) .. '"' end)
  write_families(out, LISTENER, items, labels)
  write_families(out, ROUTE, items, labels)
  local reasons = {}
  for reason in pairs(items[1] and items[1].ended or {}) do reasons[#reasons + 1] = reason end
  table.sort(reasons)
  write_by_word(out, "alacrity_listener_sessions_ended_total", "counter",
    "Sessions ended, or refused, by reason.", "reason", reasons, items, labels,
    function(listener, reason) return listener.ended[reason] end)
end

local function backends(out, pools)
  local items, labels = {}, {}
  for _, pool in ipairs(pools) do
    local open = '{pool="' .. label(pool.name) .. '",backend="'
    for _, backend in ipairs(pool.backends) do
      items[#items + 1] = backend
      labels[#labels + 1] = open .. label(backend.name) .. '"} '
    end
  end
  write_by_word(out, "alacrity_backend_state", "gauge", "1 for the state the backend is in.",
    "state", STATES, items, labels, one_hot "state")
  write_by_word(out, "alacrity_backend_admin", "gauge", "1 for what the administrator asked for.",
    "admin", ADMINS, items, labels, one_hot "admin")
  write_families(out, BACKEND, items, labels)
end

-- The shortest text that is exactly this number.
local function exact(number)
  local text = ("%.14g"):format(number)
  return tonumber(text) == number and text or ("%.17g"):format(number)
end

local function write_histogram(out, name, metric, labels)
  for _, bucket in ipairs(metric.buckets) do
    out[#out + 1] = name .. "_bucket{" .. labels .. 'le="' .. exact(bucket.le) .. '"} '
      .. sample(bucket.count) .. "\n"
  end
  local own = labels ~= "" and "{" .. labels:sub(1, -2) .. "} " or " "
  out[#out + 1] = name .. "_bucket{" .. labels .. 'le="+Inf"} ' .. sample(metric.count) .. "\n"
  out[#out + 1] = name .. "_sum" .. own .. sample(metric.sum) .. "\n"
  out[#out + 1] = name .. "_count" .. own .. sample(metric.count) .. "\n"
end

local HELP_ESCAPES = { ["\\"] = "\\\\", ["\n"] = "\\n" }

-- What scripts count themselves: alacrity_script_NAME. Series of one name may be anywhere in the
-- list.
local function script_metrics(out, list)
  local families, names = {}, {}
  for _, metric in ipairs(list) do
    local family = families[metric.name]
    if not family then
      family = {}
      families[metric.name] = family
      names[#names + 1] = metric.name
    end
    family[#family + 1] = metric
  end
  for _, short in ipairs(names) do
    local first = families[short][1]
    local name = "alacrity_script_" .. short .. (first.kind == "counter" and "_total" or "")
    head(out, name, first.kind, (format.utf8(first.help):gsub("[\\\n]", HELP_ESCAPES)))
    for _, metric in ipairs(families[short]) do
      local labels = {}
      for i, pair in ipairs(metric.labels) do
        labels[i] = pair.name .. '="' .. label(pair.value) .. '",'
      end
      labels = table.concat(labels)
      if metric.kind == "histogram" then
        write_histogram(out, name, metric, labels)
      else
        out[#out + 1] = name .. (labels ~= "" and "{" .. labels:sub(1, -2) .. "} " or " ")
          .. sample(metric.value) .. "\n"
      end
    end
  end
end

--- `pause` is called now and then, so that others may have their turn.
return function(facts, pause)
  local out = { pause = pause }
  head(out, "alacrity_build_info", "gauge", "Version of the program; always 1.")
  out[#out + 1] = 'alacrity_build_info{version="' .. label(facts.version) .. '"} 1\n'
  write_families(out, PROCESS, { facts }, { " " })
  listeners(out, facts.listeners)
  write_families(out, POOL, facts.pools,
    labels_of(facts.pools, function(pool) return 'pool="' .. label(pool.name) .. '"' end))
  local shadows, shadow_labels = {}, {}
  for _, pool in ipairs(facts.pools) do
    if pool.shadow then
      shadows[#shadows + 1] = pool.shadow
      shadow_labels[#shadow_labels + 1] = '{pool="' .. label(pool.name) .. '"} '
    end
  end
  write_families(out, SHADOW, shadows, shadow_labels)
  backends(out, facts.pools)
  write_families(out, WORKER, facts.workers,
    labels_of(facts.workers, function(worker) return 'worker="' .. worker.index .. '"' end))
  write_families(out, SCRIPT, facts.scripts, labels_of(facts.scripts, function(script)
    return 'kind="' .. label(script.kind) .. '",script="' .. label(script.path or script.name)
      .. '",pool="' .. label(script.pool or "") .. '"'
      .. ',listener="' .. label(script.listener or "") .. '"'
  end))
  script_metrics(out, facts.script_metrics)
  write_families(out, SHARED, { facts.shared }, { " " })
  write_families(out, DICTIONARY, facts.shared.dictionaries,
    labels_of(facts.shared.dictionaries, function(dictionary)
      return 'dictionary="' .. label(dictionary.name) .. '"'
    end))
  return out
end
