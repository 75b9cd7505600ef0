-- The stats service without the program: canned facts in, every format out, judged by others where
-- there are others (python3 for JSON, promtool for metrics). From the top of the tree:
-- luajit tests/lua/test_stats.lua
package.path = "lua/?.lua;tests/lua/?.lua;" .. package.path
local canned = require "stats_facts"

local facts
local pauses = 0
package.loaded.alacrity = {
  now = os.clock,
  facts = function(backends) -- as the program tells them: first without backends
    assert(backends == false)
    facts.parts = {}
    for _, pool in ipairs(facts.pools) do
      facts.parts[pool.name], pool.backend_count, pool.backends = pool.backends, #pool.backends, {}
    end
    return facts
  end,
  backends = function(name, first)
    return { unpack(facts.parts[name], first, first + 99) }, facts.configuration
  end,
}
package.loaded["alacrity.net"] = { sleep = function() pauses = pauses + 1 end }
local script = assert(loadfile "scripts/services/stats.lua")()
local service = script.new({}, nil)

local tests = 0
local function check(condition, what)
  tests = tests + 1
  if not condition then error(what, 2) end
end

local function get(path, with, method)
  facts = with or canned.site()
  local status, kind, body = service:serve { method = method or "GET", path = path, query = "" }
  return status, kind, type(body) == "table" and table.concat(body) or body
end

-- What `command` says of `text` on its standard input; true when it exits with 0.
local function judged(command, text)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
  local pipe = assert(io.popen(command .. " < " .. name .. " 2>&1; echo exit $?"))
  local output = pipe:read "*a"
  pipe:close()
  os.remove(name)
  return output:match "exit 0%s*$" ~= nil, output
end

local function installed(program)
  return os.execute("command -v " .. program .. " > /dev/null") == 0
end

local function empty()
  local f = canned.site()
  f.listeners, f.pools, f.workers, f.scripts, f.configuration = {}, {}, {}, {}, 0
  return f
end

local variants = { site = canned.site, hostile = canned.hostile, empty = empty }

-- dispatch
check(script.api == 1 and script.kind == "service" and script.name == "stats", "contract")
for path, type_wanted in pairs { ["/"] = "text/html", ["/stats.json"] = "application/json",
  ["/stats;csv"] = "text/plain", ["/stats%3Bcsv"] = "text/plain", ["/;csv"] = "text/plain",
  ["/metrics"] = "text/plain; version=0.0.4" } do
  local status, content_type, body = get(path)
  check(status == 200, path)
  check(content_type:sub(1, #type_wanted) == type_wanted, path .. " is " .. content_type)
  check(#body > 100, path)
end
check(get "/nowhere" == 404, "unknown path")
check(get("/", nil, "POST") == 405, "method")

-- JSON
local JSON = [==[python3 -c '
import json, sys
d = json.load(sys.stdin)
assert set(d) >= {"listeners", "pools", "scripts", "workers", "configuration"}
for l in d["listeners"].values():
    for k in "sessions_total sessions_active bytes_in_total bytes_out_total ended bind".split():
        assert k in l, k
for p in d["pools"].values():
    for b in p["backends"].values():
        for k in "state admin sessions_total active".split():
            assert k in b, k
if d["configuration"]:
    assert isinstance(d["scripts"], list) and len(d["scripts"]) == 5
    assert d["scripts"][2]["kind"] == "route" and d["scripts"][2]["listener"]
    tls = d["listeners"]["tls"]
    assert tls["route"] and tls["routes_total"] == 468 and tls["ended"]["rejected"] == 11
    assert "pool" not in tls and "route" not in d["listeners"]["database"]
    hits = [m for m in d["script_metrics"] if m["name"] == "hits"]
    assert len(hits) == 2 and hits[1]["labels"] == {"kind": "bad", "zone": "a"}, hits
    assert d["script_metrics"][2]["buckets"][1] == {"le": 1, "count": 8}
    assert d["shared"]["dictionaries"]["flags"] == {"entries": 5} and d["shared"]["entries"] == 1205
    assert list(d["pools"])[1] == "postgres" and len(d["pools"]["postgres"]["backends"]) == 2
']==]
for name, make in pairs(variants) do
  local _, _, body = get("/stats.json", make())
  local good, output = judged(JSON, body)
  check(good, name .. ".json: " .. output)
end
local _, _, json = get "/stats.json"
check(json:find('"bytes_out_total":1234567890123', 1, true), "large counters are exact")

-- CSV
local CSV = [==[python3 -c '
import csv, sys
rows = list(csv.reader(sys.stdin))
head = rows[0]
assert head[0] == "# pxname" and head[1] == "svname" and head[17] == "status", head
assert all(len(r) == len(head) for r in rows), [len(r) for r in rows]
rows = [dict(zip(head, r)) for r in rows[1:]]
if rows:
    assert [r["type"] for r in rows] == list("0000" "22222" "1" "22" "1"), rows
    assert [r["status"] for r in rows[:11]] == [
        "OPEN", "OPEN", "OPEN", "OPEN", "UP", "UP", "DOWN", "DRAIN", "DOWN", "UP", "UP"], rows
    assert rows[11]["status"] == "MAINT"
    assert rows[0]["slim"] == "20000" and rows[0]["stot"] == "1234567"
    assert rows[1]["slim"] == "" and rows[2]["dses"] == "11"
    assert rows[6]["econ"] == "21" and rows[9]["svname"] == "BACKEND" and rows[9]["act"] == "2"
']==]
for name, make in pairs(variants) do
  local _, _, body = get("/stats;csv", make())
  local good, output = judged(CSV, body)
  check(good, name .. ".csv: " .. output)
end
local _, _, csv = get "/stats;csv"
local header = csv:match "^[^\n]+"
local _, commas = header:gsub(",", "")
check(commas == 128, "HAProxy 2.6 has 128 columns, here are " .. commas)
check(header:sub(-1) == ",", "every line ends with a comma")

-- Prometheus
for name, make in pairs(variants) do
  local _, _, body = get("/metrics", make())
  local seen = {}
  for series in body:gmatch "\n([^#\n][^\n]*) [^ \n]+" do
    check(not seen[series], "twice: " .. series)
    seen[series] = true
  end
  if installed "promtool" then
    local good, output = judged("promtool check metrics", body)
    check(good and output:match "^exit 0", name .. ".metrics: " .. output)
  end
end
local _, _, metrics = get "/metrics"
for _, line in ipairs {
  'alacrity_backend_state{pool="app",backend="c",state="down"} 1',
  'alacrity_backend_state{pool="app",backend="c",state="up"} 0',
  'alacrity_listener_sessions_ended_total{listener="web",reason="client_reset"} 3981',
  'alacrity_listener_out_bytes_total{listener="web"} 1234567890123',
  "alacrity_configuration_number 3",
  'alacrity_listener_sessions_ended_total{listener="tls",reason="route_failed"} 4',
  'alacrity_listener_routes_total{listener="tls"} 468',
  'alacrity_script_errors_total{kind="route",script="./routes/names.lua",pool="",listener="tls"} 2',
  'alacrity_pool_check_out{pool="app"} 0\nalacrity_pool_check_out{pool="postgres"} 1',
  'alacrity_shared_entries{dictionary="clients"} 1200',
  "alacrity_shared_evictions_total 3",
  "alacrity_log_lines_suppressed_total 17",
  'alacrity_script_hits_total{kind="good",zone="a"} 12345678901\n'
    .. 'alacrity_script_hits_total{kind="bad",zone="a"} 3',
  "alacrity_script_queue -0.25",
  'alacrity_script_wait_seconds_bucket{le="0.1"} 3',
  'alacrity_script_wait_seconds_bucket{le="+Inf"} 9',
  "alacrity_script_wait_seconds_sum 12.5",
  "alacrity_script_wait_seconds_count 9",
} do
  check(metrics:find("\n" .. line .. "\n", 1, true), "missing: " .. line)
end

-- HTML: nothing of a hostile name gets out, and all elements are closed
local HTML = [==[python3 -c '
import html.parser, sys
void = {"meta", "link", "br"}
class P(html.parser.HTMLParser):
    stack, scripts = [], 0
    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        if tag not in void: self.stack.append(tag)
    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, (tag, self.getpos())
p = P()
p.feed(sys.stdin.read())
assert p.stack == [] and p.scripts == 1, (p.stack, p.scripts)
']==]
for name, make in pairs(variants) do
  local _, _, body = get("/", make())
  local good, output = judged(HTML, body)
  check(good, name .. ".html: " .. output)
  check(not body:find("alert(1)</script>", 1, true), name)
  check(not body:find("https?://[^w]"), name .. ": an external asset")
end

local _, _, page = get "/"
check(page:find("./primary.lua check is out: stopped too often", 1, true), "a check that is out")
check(not page:find("http check is out", 1, true), "one that is not")

-- It lets others have their turn, often; two pages are not made at once, unless the other is lost.
local clock = 0
package.loaded.alacrity.now = function()
  clock = clock + 0.0005
  return clock
end
for _, path in ipairs { "/", "/stats.json", "/stats;csv", "/metrics" } do
  pauses, facts = 0, canned.large(1000)
  service:serve { method = "GET", path = path, query = "" }
  check(pauses > 10, path .. " made only " .. pauses .. " pauses")
end
package.loaded["alacrity.net"].sleep = coroutine.yield
facts = canned.large(1000)
local function start()
  return coroutine.wrap(function() return service:serve { method = "GET", path = "/", query = "" } end)
end
local first, second = start(), start()
first()
for _ = 1, 5 do check(second() == 0.002, "the second waits") end
local status, body
repeat
  clock = clock + 0.01
  status, _, body = first()
until body
check(status == 200, "the first is served")
check(second() == 0, "then the second")
local third, waits = start(), 0 -- the second is never asked to go on
while third() == 0.002 do waits = waits + 1 end
check(waits > 100, "the third gave the second up after " .. waits)
-- No page is made of two configurations.
package.loaded["alacrity.net"].sleep = function() end
package.loaded.alacrity.now = os.clock
service.working, facts = nil, canned.large(1000)
local backends = package.loaded.alacrity.backends
package.loaded.alacrity.backends = function(name, first)
  local part, configuration = backends(name, first)
  return part, first > 500 and configuration + 1 or configuration
end
check(not pcall(service.serve, service, { method = "GET", path = "/", query = "" }), "torn")
package.loaded.alacrity.backends = backends
service.working = nil

-- cheap: well under the budget of a service even on a slow machine
for _, path in ipairs { "/", "/stats.json", "/stats;csv", "/metrics" } do
  local best = math.huge
  for _ = 1, 5 do
    facts = canned.large(1000)
    local start = os.clock()
    service:serve { method = "GET", path = path, query = "" }
    best = math.min(best, os.clock() - start)
  end
  print(("  %-12s 1000 backends in %.1f ms"):format(path, best * 1000))
  check(best < 0.1, path .. " is slow")
end

print(("stats: %d checks passed"):format(tests))
