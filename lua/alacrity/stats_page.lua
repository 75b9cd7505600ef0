-- The facts as a page for people (/): what runs, how well, and what changed last. It works without
-- its script (rates are then dashes) and on a phone, where each table row becomes a card.
-- Whatever comes from a configuration, a script or the network goes through html().
local format = require "alacrity.format"
local assets = require "alacrity.stats_assets"

local html, count, bytes, duration = format.html, format.count, format.bytes, format.duration

local STATE_CLASS = { up = "good", starting = "warn", suspect = "bad", down = "bad",
  drain = "warn", maint = "" , gone = "" }

local LATE_MS = 3000 -- a worker that has not turned its loop for so long deserves a look

-- ---- small parts -----------------------------------------------------------------------------

local function pill(word, class)
  return '<span class="pill ' .. (class or "") .. '">' .. html(word) .. "</span>"
end

-- A place the page's script fills with how fast a counter grows.
local function rate(key, total, is_bytes)
  return '<span data-rate="' .. html(key) .. '" data-n="' .. format.sample(total) .. '"'
    .. (is_bytes and " data-bytes" or "") .. ">\226\128\147</span>"
end

local function number(label, value, below)
  return '<td class="n" data-l="' .. label .. '">' .. value
    .. (below and "<small>" .. below .. "</small>" or "") .. "</td>"
end

-- A number that is bad news unless it is zero.
local function trouble(value)
  if value == 0 then return '<span class="dim">0</span>' end
  return '<span class="alert">' .. count(value) .. "</span>"
end

local function traffic(key, thing)
  return number("In", rate(key .. "/in", thing.bytes_in_total, true), bytes(thing.bytes_in_total))
    .. number("Out", rate(key .. "/out", thing.bytes_out_total, true), bytes(thing.bytes_out_total))
end

local function plural(n, word)
  return count(n) .. " " .. word .. (n == 1 and "" or "s")
end

local function sum(list, field)
  local total = 0
  for _, thing in ipairs(list) do total = total + thing[field] end
  return total
end

local function head_row(...)
  local cells = {}
  for _, title in ipairs { ... } do
    local numeric = title:sub(1, 1) == "#" -- "#Rate": a column of numbers
    cells[#cells + 1] = "<th" .. (numeric and ' class="n">' or ">") .. title:gsub("^#", "") .. "</th>"
  end
  return "<table><thead><tr>" .. table.concat(cells) .. "</tr></thead><tbody>"
end

-- ---- sections --------------------------------------------------------------------------------

local function page_header(out, facts)
  out[#out + 1] = "<header><h1>Alacrity</h1>"
    .. (facts.draining and pill("draining", "warn") or pill("serving", "good"))
    .. '<div class="about"><span>configuration ' .. count(facts.configuration)
    .. "</span><span>up " .. duration(facts.uptime_ms) .. "</span><span>"
    .. plural(facts.reloads_total, "reload")
    .. (facts.reloads_failed_total > 0
      and ', <span class="alert">' .. count(facts.reloads_failed_total) .. " refused</span>" or "")
    .. "</span><span>version " .. html(facts.version) .. "</span></div></header>"
end

local function tile(out, title, value)
  out[#out + 1] = '<div class="tile"><span>' .. title .. "</span><b>" .. value .. "</b></div>"
end

local function tiles(out, facts)
  local backends, eligible, errors = 0, 0, sum(facts.scripts, "errors_total")
  for _, pool in ipairs(facts.pools) do
    backends, eligible = backends + #pool.backends, eligible + pool.backends_eligible
  end
  out[#out + 1] = '<div class="tiles">'
  tile(out, "Sessions now", count(sum(facts.listeners, "sessions_active")))
  tile(out, "New sessions", rate("all/sessions", sum(facts.listeners, "sessions_total")))
  tile(out, "From clients", rate("all/in", sum(facts.listeners, "bytes_in_total"), true))
  tile(out, "To clients", rate("all/out", sum(facts.listeners, "bytes_out_total"), true))
  tile(out, "Backends in service", (eligible < backends and '<span class="alert">' .. count(eligible)
    .. "</span>" or count(eligible)) .. " of " .. count(backends))
  tile(out, "Script errors", errors == 0 and "0" or trouble(errors))
  out[#out + 1] = "</div>"
end

-- How sessions of a listener ended, most frequent first; ordinary ends alone need no words.
local function endings(ended)
  local list, parts = {}, {}
  for reason, n in pairs(ended) do
    if n > 0 then list[#list + 1] = { reason, n } end
  end
  table.sort(list, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return a[1] < b[1]
  end)
  for i, entry in ipairs(list) do
    parts[i] = count(entry[2]) .. "&nbsp;" .. html((entry[1]:gsub("_", " ")))
  end
  if #parts == 0 then return "" end
  return "<small>" .. table.concat(parts, " \194\183 ") .. "</small>"
end

local function listener_row(listener)
  local key = "listener/" .. listener.name
  return '<tr><td class="name">' .. html(listener.name) .. "<small>"
    .. html(table.concat(listener.bind, ", ")) .. "</small></td>"
    .. '<td data-l="Answered by">' .. (listener.pool
      and '<a href="#pool-' .. html(listener.pool) .. '">' .. html(listener.pool) .. "</a>"
      or html(listener.service or "") .. (listener.service and "<small>service</small>" or ""))
    .. (listener.route and "<small>route " .. html(listener.route) .. "</small>" or "") .. "</td>"
    .. number("Active", count(listener.sessions_active),
      listener.max_sessions > 0 and "of " .. count(listener.max_sessions) or nil)
    .. number("Sessions", rate(key, listener.sessions_total),
      count(listener.sessions_total))
    .. traffic(key, listener)
    .. '<td class="wide" data-l="Sessions ended">' .. endings(listener.ended) .. "</td></tr>"
end

local function listeners(out, facts)
  out[#out + 1] = '<section><div class="head"><h2>Listeners</h2></div>'
    .. head_row("Name", "Answered by", "#Active", "#Sessions", "#In", "#Out", "Sessions ended")
  for _, listener in ipairs(facts.listeners) do
    out[#out + 1] = listener_row(listener)
    out.pause()
  end
  out[#out + 1] = "</tbody></table></section>"
end

local function last_change(backend, now_ms)
  local why = backend.reason ~= "" and "<small>" .. html(backend.reason) .. "</small>" or ""
  if backend.changed_ms <= 0 then return why end
  local seconds = math.max(0, math.floor((now_ms - backend.changed_ms) / 1000))
  return (seconds == 0 and "just now" or duration(seconds * 1000) .. " ago") .. why
end

local function failures(backend)
  local parts = {}
  if backend.connect_timeouts_total > 0 then
    parts[#parts + 1] = count(backend.connect_timeouts_total) .. " timed out"
  end
  if backend.resets_total > 0 then parts[#parts + 1] = plural(backend.resets_total, "reset") end
  return trouble(backend.connect_failures_total),
    #parts > 0 and table.concat(parts, ", ") or nil
end

-- Which part of the pool's sessions a backend got.
local function share_bar(part, whole)
  if part == 0 then return "" end
  return '<span class="share" title="share of the pool"><i style="width:'
    .. string.format("%.1f", part / math.max(part, whole) * 100) .. '%"></i></span>'
end

local function backend_row(pool, backend, now_ms)
  local key = "backend/" .. pool.name .. "/" .. backend.name
  local failed, failed_how = failures(backend)
  local weight = count(backend.weight)
  if backend.weight ~= backend.configured_weight then
    weight = weight .. "<small>set, was " .. count(backend.configured_weight) .. "</small>"
  end
  local admin = backend.admin ~= "ready" and backend.admin ~= backend.state
  return '<tr><td class="name">' .. html(backend.name) .. "<small>" .. html(backend.address)
    .. '</small></td><td class="state">' .. pill(backend.state, STATE_CLASS[backend.state])
    .. (admin and "<small>admin: " .. html(backend.admin) .. "</small>" or "") .. "</td>"
    .. number("Active", count(backend.active),
      backend.max_sessions > 0 and "of " .. count(backend.max_sessions) or nil)
    .. number("Sessions", rate(key, backend.sessions_total),
      count(backend.sessions_total) .. share_bar(backend.sessions_total, pool.sessions_total))
    .. traffic(key, backend)
    .. number("Connect", backend.connect_ms > 0 and duration(backend.connect_ms) or "\226\128\147")
    .. number("Failures", failed, failed_how)
    .. number("Weight", weight)
    .. '<td class="wide" data-l="Last change">' .. last_change(backend, now_ms) .. "</td></tr>"
end

local function pool_notes(pool)
  local checked = pool.check and html(pool.check) .. " check" or "not checked"
  if pool.check_out then
    checked = '<span class="alert">' .. checked .. " is out: stopped too often, not checked</span>"
  end
  local notes = { html(pool.policy), checked }
  if pool.retries_total > 0 then
    notes[#notes + 1] = count(pool.retries_total) .. (pool.retries_total == 1 and " retry"
      or " retries")
  end
  if pool.no_backend_total > 0 then
    notes[#notes + 1] = '<span class="alert">' .. plural(pool.no_backend_total, "session")
      .. " found no backend</span>"
  end
  return table.concat(notes, " \194\183 ")
end

local function version(v)
  return "version " .. count(v.number) .. " (" .. html(v.name) .. ")"
end

-- Where the policy came from, when not from the configuration; what failed; how the shadow does.
local function version_notes(pool)
  local notes, versions, shadow = {}, pool.versions, pool.shadow
  if versions.current and versions.current.origin ~= "configuration" then
    notes[#notes + 1] = version(versions.current) .. " by " .. html(versions.current.origin)
  end
  if versions.failed then
    notes[#notes + 1] = '<span class="alert">' .. version(versions.failed)
      .. " failed, returned to " .. version(versions.current) .. "</span>"
  end
  if shadow and versions.shadow then
    local asked = math.max(shadow.asked_total, 1)
    notes[#notes + 1] = "shadow " .. version(versions.shadow) .. ": "
      .. ("%.1f%% the same of %s, %s failed, %.1f \194\181s a pick beside %.1f"):format(
        100 * shadow.agreed_total / asked, plural(shadow.asked_total, "pick"),
        count(shadow.failed_total), shadow.shadow_ns_total / asked / 1000,
        shadow.current_ns_total / asked / 1000)
  end
  if #notes == 0 then return "" end
  return '<div class="head"><span class="dim">' .. table.concat(notes, " \194\183 ") .. "</span></div>"
end

local function pool_section(out, pool, now_ms)
  local all, eligible = #pool.backends, pool.backends_eligible
  local class = eligible == 0 and "bad" or eligible < all and "warn" or "good"
  out[#out + 1] = '<section id="pool-' .. html(pool.name) .. '"><div class="head"><h2>'
    .. html(pool.name) .. "</h2>" .. pill(count(eligible) .. " of " .. count(all), class)
    .. '<span class="dim">' .. pool_notes(pool) .. '</span></div>' .. version_notes(pool)
    .. head_row("Backend", "State", "#Active", "#Sessions", "#In", "#Out", "#Connect",
      "#Failures", "#Weight", "Last change")
  for _, backend in ipairs(pool.backends) do
    out[#out + 1] = backend_row(pool, backend, now_ms)
    out.pause()
  end
  out[#out + 1] = "</tbody></table></section>"
end

local function worker_notes(worker)
  local notes = { ("longest turn %.1f&nbsp;ms, %.1f of it CPU"):format(worker.turn_max_ms,
    worker.turn_cpu_max_ms) }
  if worker.spliced_bytes_total > 0 then
    notes[#notes + 1] = bytes(worker.spliced_bytes_total) .. " spliced"
  end
  if worker.no_pipe_total > 0 then
    notes[#notes + 1] = plural(worker.no_pipe_total, "move") .. " without a pipe"
  end
  if worker.splice_refused_total > 0 then
    notes[#notes + 1] = "splice refused to " .. plural(worker.splice_refused_total, "session")
  end
  return table.concat(notes, " \194\183 ")
end

local function workers(out, facts)
  out[#out + 1] = '<section><div class="head"><h2>Workers</h2></div><div class="workers">'
  for _, worker in ipairs(facts.workers) do
    local late = worker.heartbeat_age_ms > LATE_MS
    out[#out + 1] = "<div><span>worker " .. worker.index .. "</span><span>"
      .. (late and pill("silent for " .. duration(worker.heartbeat_age_ms), "bad")
        or plural(worker.sessions, "session")) .. "</span><small>" .. worker_notes(worker)
      .. "</small></div>"
  end
  out[#out + 1] = "</div></section>"
end

local STATES = { out = "taken out: stopped too often", rebuilding = "being made anew" }

local function script_row(script)
  local is_policy = script.kind == "policy"
  return '<tr><td class="name">' .. html(script.name) .. "<small>" .. html(script.path or "stock")
    .. "</small>" .. (STATES[script.state] and pill(STATES[script.state], "bad") or "")
    .. '</td><td data-l="Kind">' .. html(script.kind)
    .. ((script.pool or script.listener) and "<small>of " .. html(script.pool or script.listener)
      .. "</small>" or "") .. "</td>"
    .. number("Calls", count(script.calls_total))
    .. number("Errors", trouble(script.errors_total))
    .. number("Overruns", trouble(script.overruns_total))
    .. (is_policy and number("Bad answers", trouble(script.bad_answers_total))
      .. number("Said nil", trouble(script.nil_answers_total))
      .. number("Fallbacks", trouble(script.fallbacks_total))
      or "<td></td><td></td><td></td>")
    .. number("Memory", bytes(script.memory_bytes))
    .. '<td class="wide" data-l="Last error">' .. (script.last_error ~= ""
      and "<code>" .. html(script.last_error) .. "</code>"
      or '<span class="dim">none</span>') .. "</td></tr>"
end

local function scripts(out, facts)
  out[#out + 1] = '<section><div class="head"><h2>Scripts</h2></div>'
    .. head_row("Script", "Kind", "#Calls", "#Errors", "#Overruns", "#Bad answers", "#Said nil",
      "#Fallbacks", "#Memory", "Last error")
  for _, script in ipairs(facts.scripts) do
    out[#out + 1] = script_row(script)
    out.pause()
  end
  out[#out + 1] = "</tbody></table></section>"
end

local function footer(out, facts)
  out[#out + 1] = '<footer><a href="/stats.json">JSON</a><a href="/stats;csv">CSV</a>'
    .. '<a href="/metrics">Prometheus</a><a href="/healthz">health</a>'
    .. (facts.log_dropped_total > 0 and '<span class="alert">'
      .. plural(facts.log_dropped_total, "log line") .. " dropped</span>" or "")
    .. "<span>In = from clients. Totals count from the start of the process, across reloads.</span>"
    .. "</footer>"
end

-- The icon: three lines leaving one point.
local ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
  .. "%3Cpath d='M2 8h5M7 8l6-5M7 8h6M7 8l6 5' stroke='%233d5afe' stroke-width='2' fill='none' "
  .. "stroke-linecap='round'/%3E%3C/svg%3E"

local TOP = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,'
  .. 'initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
  .. "style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:\">"
  .. '<meta name="color-scheme" content="light dark"><link rel="icon" href="' .. ICON .. '">'
  .. '<noscript><meta http-equiv="refresh" content="2"></noscript><style>' .. assets.style
  .. '</style></head><body><div id="lost" class="bad">No answer. Trying again; what stands below '
  .. "is the last that was known.</div>"

--- `pause` is called now and then, so that others may have their turn.
return function(facts, pause)
  local out = { pause = pause, '<!doctype html><html lang="en"><head><title>Alacrity \194\183 '
    .. count(sum(facts.listeners, "sessions_active")) .. " sessions</title>", TOP,
    '<main data-now="' .. format.sample(facts.now_ms) .. '">' }
  page_header(out, facts)
  tiles(out, facts)
  listeners(out, facts)
  for _, pool in ipairs(facts.pools) do pool_section(out, pool, facts.now_ms) end
  workers(out, facts)
  scripts(out, facts)
  footer(out, facts)
  out[#out + 1] = "</main><script>" .. assets.script .. "</script></body></html>\n"
  return out
end
