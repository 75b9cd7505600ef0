"""The scripts with which test_reference.py looks at the script API from inside: one of each kind, in a
running balancer, and a file of tests. What they tell is read into `Found`."""
import importlib.util
import json
import re

from support import (LIMIT, ROOT, Alacrity, Server, ask, command, dead_address, dial, eventually,
                     free_port, read_all)

_spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

CHAPTERS = reference.chapters()
CLASSES = {item.name: item for chapter in CHAPTERS for item in chapter.classes}
FUNCTIONS = [function for chapter in CHAPTERS
             for function in chapter.functions + [f for c in chapter.classes for f in c.functions]]
GIVEN = "scripts"  # this chapter tells what scripts give; the others what they get

# What each function is called with: a Lua expression for each parameter.
ARGUMENTS = {
    "pool:least": [], "pool:rotate": ["rotation"], "pool:maglev": ["5"], "pool:ring": ["5", "1.25"],
    "pool:find": ["pool[1].id"], "pool:min": ["score"], "pool:p2c": ["score"],
    "pool:tagged": ["'blue'"], "pool:untagged": ["'red'"], "pool:near": [], "pool:far": [],
    "backend:has_tag": ["'blue'"],
    "ctx:get": ["'kept'"], "ctx:set": ["'other'", "1"], "ctx:peek": ["3", "5"],
    "ctx:use": ["'app'"], "ctx:reject": ["'why'"], "closed:get": ["'kept'"],
    "log.debug": ["'said'"], "log.info": ["{message = 'said', a = 1}"], "log.warning": ["'said'"],
    "log.error": ["'said'"],
    "alacrity.now": [], "alacrity.worker": [], "alacrity.hash": ["'x'"], "alacrity.rotation": [],
    "alacrity.every": ["1000", "nothing"], "alacrity.after": ["1000", "nothing"],
    "alacrity.spawn": ["nothing"], "alacrity.shared": ["'tried'"],
    "alacrity.counter": ["unused()", "'help'", "{a = 'b'}"],
    "alacrity.gauge": ["unused()", "'help'", "{a = 'b'}"],
    "alacrity.histogram": ["unused()", "{1, 2}", "'help'", "{a = 'b'}"],
    "alacrity.facts": ["true"], "alacrity.backends": ["'app'", "1"],
    "dictionary:get": ["'there'"], "dictionary:set": ["'k'", "'v'", "60"],
    "dictionary:add": ["'k'", "1", "60"], "dictionary:incr": ["'n'", "1", "0", "60"],
    "dictionary:delete": ["'k'"], "dictionary:ttl": ["'there'"], "dictionary:count": [],
    "counter:add": ["2"], "gauge:set": ["2"], "gauge:add": ["2"], "histogram:observe": ["2"],
    "net.connect": ["address", "{timeout = 5}"], "net.sleep": ["0.001"],
    "socket:send": ["'ping'", "5"], "socket:receive": ["3", "5"], "socket:receive_line": ["100", "5"],
    "socket:receive_all": ["100000", "5"], "socket:receive_some": ["100", "5"], "socket:close": [],
    "format.json": ["{a = 1}", "{}"], "format.array": ["{}"], "format.order": ["{'a'}"],
    "format.utf8": ["'x'"], "format.html": ["'x'"], "format.csv": ["'x'"], "format.label": ["'x'"],
    "format.sample": ["1"], "format.count": ["1"], "format.bytes": ["1"], "format.duration": ["1"],
    "print": [], "require": ["'alacrity'"], "load": ["'return 1'", "'name'", "'t'", "{}"],
    "loadstring": ["'return 1'", "'name'"],
    "os.time": ["{year = 2020, month = 1, day = 1}"], "os.clock": [], "os.date": ["'*t'", "0"],
    "test.case": ["'later'", "nothing"], "test.equal": ["1", "1", "'what'"],
    "test.near": ["1", "1.5", "1", "'what'"], "test.ok": ["1", "'what'"],
    "test.error": ["function() error('oops') end", "'oops'"], "test.clock": [],
    "test.advance": ["1"], "test.pool": ["{'a', {name = 'b', weight = 3}}"],
    "test.policy": ["'least-conn'", "{}", "pool"], "test.check": ["'tcp'", "{}"],
    "test.route": ["'protocol'", "{}"], "route:run": ["{bytes = 'SSH-2.0'}"],
    "test.drip": ["'x'", "1"], "test.garbage": ["10"],
    "pool:set": ["'a'", "{active = 1}"], "pool:get": ["'a'"], "pool:add": ["another()"],
    "pool:remove": ["another_gone()"],
    "policy:pick": ["{client = '192.0.2.7'}"], "policy:spread": ["10", "{listener = 'web'}"],
    "policy:close": ["{backend = 'a'}"], "check:run": ["{server = 'closed'}"],
}
# Called where a script is constructed; else they raise.
IN_NEW = {"alacrity.counter", "alacrity.gauge", "alacrity.histogram"}
TIMERS = {"alacrity.every", "alacrity.after", "alacrity.spawn"}
# Made at the top of a file of tests, not in a case.
AT_THE_TOP = {"test.case"}
# They are there in tests, but raise, as the text says.
NOT_IN_TESTS = IN_NEW | TIMERS | {"alacrity.facts", "alacrity.backends"}
# They are there in policies, but raise, as the text says.
NOT_IN_POLICIES = {"ctx:peek", "ctx:use", "ctx:reject"}
# They do not look at their arguments: one less shows only later.
LATER = {"format.order", "test.drip"}


def alternatives(kind):
    """The types of a union, written apart."""
    parts, depth, start, quoted = [], 0, 0, False
    for at, letter in enumerate(kind):
        if letter == '"':
            quoted = not quoted
        depth += (letter in "(<{[") - (letter in ")>}]")
        if letter == "|" and depth == 0 and not quoted:
            parts.append(kind[start:at])
            start = at + 1
    return parts + [kind[start:]]


# ---- the scripts ----

def words():
    files = [ROOT / "include/alacrity/script.h", *(ROOT / "lua").glob("*.c"),
             *(ROOT / "lua/alacrity").rglob("*.lua")]
    found = set()
    for file in files:
        found |= set(re.findall(r"[A-Za-z_]\w*", file.read_text(encoding="utf-8")))
    assert len(found) > 1000
    return "return {" + ",".join(f'"{word}"' for word in sorted(found)) + "}\n"


def calls(where, owners, wanted):
    """Lua that calls the functions of this kind of script whose paths `wanted` lets through."""
    lines = []
    for function in FUNCTIONS:
        if where not in function.where or function.place.startswith(f"lua/types/{GIVEN}.lua"):
            continue
        owner = re.split(r"[.:]", function.path)[0] if re.search("[.:]", function.path) else None
        if function.path not in wanted or (owner and owner not in owners):
            continue
        needed = [value for value in function.parameters
                  if not value.optional and "nil" not in alternatives(value.kind)]
        lines.append(
            f"probe.call(tell, {{path = '{function.path}', name = '{function.name}', "
            f"owner = {f'function() return {owners[owner]} end' if owner else 'nil'}, "
            f"is_method = {str(':' in function.path).lower()}, total = {len(function.parameters)}, "
            f"required = {len(needed)}, "
            f"arguments = function() return {', '.join(ARGUMENTS[function.path])} end}})")
    return "\n".join(lines)


LIBRARY = {"alacrity": "alacrity", "log": "alacrity.log", "dictionary": "dictionary",
           "format": "format", "os": "os"}
COUNTING = {"counter": "counter", "gauge": "gauge", "histogram": "histogram"}
SERVING = set(ARGUMENTS) - IN_NEW - AT_THE_TOP

TOP = """
local probe, alacrity, format = require "probe", require "alacrity", require "alacrity.format"
local dictionary = alacrity.shared("tried")
local function nothing() end
local made = 0
local function unused() made = made + 1 return KIND .. made end
"""
NEW = """
local counter, gauge = alacrity.counter("of_test"), alacrity.gauge("in_test")
local histogram = alacrity.histogram("by_test", { 1 })
local rotation = alacrity.rotation()
"""
LOOK = """
dictionary:set("there", 1)
probe.globals(tell)
probe.members(tell, "alacrity", alacrity)
probe.members(tell, "alacrity.Log", alacrity.log)
probe.members(tell, "alacrity.format", format)
probe.members(tell, "alacrity.Dictionary", dictionary)
probe.members(tell, "alacrity.Rotation", alacrity.rotation())
"""
LOOK_AT_COUNTING = """
probe.members(tell, "alacrity.Counter", counter)
probe.members(tell, "alacrity.Gauge", gauge)
probe.members(tell, "alacrity.Histogram", histogram)
"""


def top(kind):
    return f'local KIND = "{kind}"\n{TOP}'


def policy_script():
    return top("policy") + f"""
local noted, module_asked, instance_asked = {{}}, {{}}, {{}}
local function note(line) noted[#noted + 1] = line end
local options = {{ given = {{ type = "integer", default = 7, required = false, min = 1, max = 9,
                             choices = {{ 7 }}, help = "help" }},
                  many = {{ type = "list", of = "string", default = {{}} }} }}
return probe.asked({{ api = 1, kind = "policy", name = "probe", options = options, new = function(cfg)
  local tell = note
  {NEW}
  {calls("policies", LIBRARY, IN_NEW)}
  local done, closed_seen = false, false
  local function score(backend) return backend.active end
  local function look(ctx, pool)
    local tell, backend = probe.teller("policies"), pool[1]
    for _, line in ipairs(noted) do tell(line) end
    {LOOK}
    {LOOK_AT_COUNTING}
    tell("options " .. tostring(cfg.given))
    ctx:set("kept", 1)
    probe.members(tell, "alacrity.Context", ctx)
    probe.members(tell, "alacrity.Pool", pool)
    probe.members(tell, "alacrity.AllBackends", pool.all)
    probe.members(tell, "alacrity.Backend", backend)
    {calls("policies", LIBRARY | COUNTING | {"pool": "pool", "backend": "backend", "ctx": "ctx"},
           SERVING)}
    probe.tell_asked(tell, "alacrity.PolicyScript", module_asked)
    tell("done")
  end
  return probe.asked({{
    pick = function(self, ctx, pool)
      if ctx.listener ~= "trial" and ctx.attempt == 2 and not done then
        done = true
        look(ctx, pool)
      end
      return pool[1] -- the one that refuses comes first
    end,
    on_close = function(self, closed)
      if not done or closed_seen then return end
      closed_seen = true
      local tell = probe.teller("policies")
      probe.members(tell, "alacrity.Closed", closed)
      {calls("policies", {"closed": "closed"}, SERVING)}
      tell("closed done")
    end,
    snapshot = function(self)
      local tell = probe.teller("policies")
      probe.tell_asked(tell, "alacrity.Policy", instance_asked)
      tell("snapshot done")
    end,
  }}, instance_asked)
end }}, module_asked)
"""


def route_script(port):
    return top("route") + f"""
local net = require "alacrity.net"
local noted, module_asked, instance_asked, done = {{}}, {{}}, {{}}, false
local function note(line) noted[#noted + 1] = line end
local address = "127.0.0.1:{port}"
return probe.asked({{ api = 1, kind = "route", name = "probe", new = function()
  local tell = note
  {NEW}
  {calls("routes", LIBRARY, IN_NEW)}
  return probe.asked({{ route = function(self, ctx)
    if done then return end
    done = true
    local tell = probe.teller("routes")
    for _, line in ipairs(noted) do tell(line) end
    {LOOK}
    {LOOK_AT_COUNTING}
    local function fresh() return assert(net.connect(address, {{ timeout = 5 }})) end
    ctx:set("kept", 1)
    probe.members(tell, "alacrity.Context", ctx)
    probe.members(tell, "alacrity.net", net)
    probe.members(tell, "alacrity.Socket", fresh())
    {calls("routes", LIBRARY | COUNTING | {"net": "net", "socket": "fresh()", "ctx": "ctx"}, SERVING)}
    probe.tell_asked(tell, "alacrity.RouteScript", module_asked)
    probe.tell_asked(tell, "alacrity.Route", instance_asked)
    ctx:use("other")
    tell("done")
  end }}, instance_asked)
end }}, module_asked)
"""


def check_script(port):
    return top("check") + f"""
local net = require "alacrity.net"
local noted, module_asked, instance_asked, done = {{}}, {{}}, {{}}, false
local function note(line) noted[#noted + 1] = line end
local address = "127.0.0.1:{port}"
return probe.asked({{ api = 1, kind = "check", name = "probe", new = function()
  local tell = note
  {NEW}
  {calls("checks", LIBRARY, IN_NEW)}
  return probe.asked({{ check = function(self, backend)
    if done then return "up" end
    done = true
    local tell = probe.teller("checks")
    for _, line in ipairs(noted) do tell(line) end
    {LOOK}
    {LOOK_AT_COUNTING}
    local function fresh() return assert(net.connect(backend, {{ timeout = 5 }})) end
    local socket, names = fresh(), {{}}
    assert(net.connect(backend, probe.asked({{ timeout = 5 }}, names))):close()
    probe.tell_asked(tell, "alacrity.net.ConnectOptions", names)
    probe.members(tell, "alacrity.net", net)
    probe.members(tell, "alacrity.Socket", socket)
    probe.members(tell, "alacrity.Backend", backend)
    {calls("checks", LIBRARY | COUNTING | {"net": "net", "socket": "fresh()", "backend": "backend"},
           SERVING)}
    probe.tell_asked(tell, "alacrity.CheckScript", module_asked)
    probe.tell_asked(tell, "alacrity.Check", instance_asked)
    tell("done")
    return "up"
  end }}, instance_asked)
end }}, module_asked)
"""


def service_script(port):
    return top("service") + f"""
local net = require "alacrity.net"
local noted, module_asked, instance_asked, done = {{}}, {{}}, {{}}, false
local function note(line) noted[#noted + 1] = line end
local address = "127.0.0.1:{port}"
return probe.asked({{ api = 1, kind = "service", name = "probe", new = function()
  local tell = note
  {NEW}
  {calls("services", LIBRARY, IN_NEW)}
  return probe.asked({{ serve = function(self, request)
    if request.path == "/lines" then return 200, "text/plain", probe.told() end
    if request.path == "/facts" then return 200, "application/json", format.json(alacrity.facts()) end
    local tell = probe.teller("services")
    for _, line in ipairs(noted) do tell(line) end
    {LOOK}
    {LOOK_AT_COUNTING}
    local function fresh() return assert(net.connect(address, {{ timeout = 5 }})) end
    probe.members(tell, "alacrity.net", net)
    probe.members(tell, "alacrity.Socket", fresh())
    probe.members(tell, "alacrity.Request", request)
    {calls("services", LIBRARY | COUNTING | {"net": "net", "socket": "fresh()"}, SERVING)}
    probe.tell_asked(tell, "alacrity.ServiceScript", module_asked)
    probe.tell_asked(tell, "alacrity.Service", instance_asked)
    tell("done")
    return 200, "text/plain", "looked\\n"
  end }}, instance_asked)
end }}, module_asked)
"""


def shown_results():
    """Cases made of the examples that say `expression --> result`."""
    lines = []
    for function in FUNCTIONS:
        for block in re.findall(r"```lua\n(.*?)```", function.text, re.S):
            if "-->" in block:
                block = re.sub(r"^(.*) --> (.*)$", r"test.equal(\1, [==[\2]==])", block, flags=re.M)
                lines.append(f"do {block} end")
    assert lines
    return "\n".join(lines)


def script_of_a_test():
    cases = calls("tests", LIBRARY | {"test": "test"}, AT_THE_TOP)
    owners = {"test": "test", "pool": "pool", "policy": "policy", "check": "check", "route": "route",
              "net": "net"}
    refused = "\n".join(
        f"if pcall({path}, {', '.join(ARGUMENTS[path]) or 'nil'}) then tell('raised not {path}') end"
        for path in sorted(NOT_IN_TESTS))
    own = {f.path for f in FUNCTIONS if f.where == ["tests"]}
    return top("test") + f"""
local net, test, words = require "alacrity.net", require "alacrity.test", require "words"
local address = "192.0.2.1:80"
local function tell(line) print("tests " .. line) end
{cases}
test.case("look", function()
  {LOOK}
  probe.members(tell, "alacrity.net", net)
  probe.members(tell, "alacrity.test", test)
  local pool, added = test.pool {{ "a", "b" }}, 0
  local function another() added = added + 1 return "n" .. added end
  local function another_gone() local name = another() pool:add(name) return name end
  local policy, check = test.policy("./hears.lua"), test.check("tcp")
  local route = test.route("protocol", {{ ssh = "a" }})
  {shown_results()}
  probe.members(tell, "alacrity.test.Pool", pool)
  probe.members(tell, "alacrity.test.Policy", policy)
  probe.members(tell, "alacrity.test.Check", check)
  probe.members(tell, "alacrity.test.Route", route)
  {calls("tests", LIBRARY, SERVING - own)}
  {calls("tests", owners, SERVING & own)}
  {calls("tests", owners, {"net.sleep", "net.connect"})}
  {refused}

  -- Tables that are given: which names are not refused?
  local function accepted(what, refusal, give)
    local names = {{}}
    for _, word in ipairs(words) do
      local _, err = pcall(give, word)
      if not (type(err) == "string" and err:find(refusal:format(word), 1, true)) then names[word] = true end
    end
    probe.tell_asked(tell, what, names)
  end
  accepted("alacrity.test.Backend", "a backend has no '%s'", function(word) pool:set("a", {{ [word] = {{}} }}) end)
  accepted("alacrity.test.Session", "a session has no '%s'", function(word)
    policy:pick {{ [word] = "-" , tried = {{ "nobody" }} }}
  end)
  accepted("alacrity.test.Closed", "what ended has no '%s'", function(word)
    policy:close {{ [word] = "-", backend = "nobody" }}
  end)
  accepted("alacrity.test.Run", "a run has no '%s'", function(word)
    check:run {{ [word] = "-", timeout = -1 }}
  end)
  accepted("alacrity.test.Routed", "a session to be routed has no '%s'", function(word)
    route:run {{ [word] = "-", timeout = -1 }}
  end)
  local function served(conversation) probe.members(tell, "alacrity.Socket", conversation) end
  check:run {{ server = served }}
  tell("done")
end)
"""


# ---- looking ----

def serve_lines(connection, _server):
    """Says much, ends its side, and waits for the other end."""
    connection.sendall(b"line\n" * 1000)
    connection.shutdown(1)
    read_all(connection)


BAD = """
return { api = 1, kind = "policy", name = "bad", new = function()
  return { pick = function(self, ctx, pool)
    if ctx.listener ~= "trial" then error("bad") end
    return pool[1]
  end }
end }
"""


def look():
    """What the scripts of a running balancer tell: lines, and the facts."""
    web, other, page, server = free_port(), free_port(), free_port(), Server(serve_lines, "b")
    routed = free_port()
    config = {
        "pin_workers": True,
        "lua": {"path": ["."], "pick_budget": "10s", "budget": "10s", "rollback_errors": 2},
        "listeners": {"web": {"bind": f"127.0.0.1:{web}", "pool": "app"},
                      "other": {"bind": f"127.0.0.1:{other}", "pool": "other"},
                      "routed": {"bind": f"127.0.0.1:{routed}", "pool": "app",
                                 "timeouts": {"route": "20s"}, "route": {"script": "./route.lua"}},
                      "page": {"bind": f"127.0.0.1:{page}", "service": {"script": "./service.lua"}}},
        "pools": {
            "app": {"policy": {"script": "./policy.lua"}, "zone": "here",
                    "backends": {"dead": {"address": dead_address(), "tags": ["blue"]},
                                 "b": {"address": server.text, "tags": ["blue"], "zone": "here"},
                                 "c": {"address": server.text}}},
            "other": {"check": {"script": "./check.lua", "interval": "1s", "timeout": "20s"},
                      "backends": {"b": {"address": server.text, "zone": "here"}}}}}
    scripts = {"policy.lua": policy_script(), "route.lua": route_script(server.port), "check.lua": check_script(server.port),
               "service.lua": service_script(server.port), "bad.lua": BAD, "words.lua": words(),
               "probe.lua": (ROOT / "tests/lua/api_probe.lua").read_text(encoding="utf-8")}

    def get(path):
        with dial(page) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = read_all(connection).decode().partition("\r\n\r\n")
        assert " 200 " in head.splitlines()[0], head
        return body

    with Alacrity(config, scripts=scripts) as balancer:
        ask(web)
        ask(routed)
        get("/look")
        eventually(lambda: "\nchecks done" in get("/lines"), "the check has looked")
        eventually(lambda: "\npolicies closed done" in get("/lines"), "the session has ended")
        eventually(lambda: "\nroutes done" in get("/lines"), "the route has looked")
        balancer.admin("script", "swap", "app", "least-conn", plain=True)
        balancer.admin("script", "shadow", "app", "first", plain=True)
        balancer.admin("script", "swap", "other", balancer.folder / "bad.lua", plain=True)
        for _ in range(4):
            ask(other)
        eventually(lambda: '"failed"' in get("/facts"), "the bad policy was left")
        ask(web)
        eventually(lambda: "\npolicies snapshot done" in get("/lines"), "the policy was replaced")
        return get("/lines").splitlines(), json.loads(get("/facts"))


HEARS = """
return { api = 1, kind = "policy", name = "hears", new = function()
  return { pick = function(self, ctx, pool) return pool:least() end, on_close = function() end }
end }
"""


def look_from_a_test(folder):
    (folder / "hears.lua").write_text(HEARS, encoding="utf-8")
    (folder / "words.lua").write_text(words(), encoding="utf-8")
    probe = (ROOT / "tests/lua/api_probe.lua").read_text(encoding="utf-8")
    (folder / "probe.lua").write_text(probe, encoding="utf-8")
    (folder / "look_test.lua").write_text(script_of_a_test(), encoding="utf-8")
    done = command("test", "-I", folder, "--only", "look", "--timeout", "60s", folder,
                   timeout=4 * LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line[2:] for line in done.stdout.splitlines() if line.startswith("# ")]


class Found:
    def __init__(self, lines, facts):
        self.members, self.calls, self.asked, self.facts = {}, {}, {}, facts
        for line in lines:
            where, _, rest = line.partition(" ")
            verb, _, rest = rest.partition(" ")
            if verb == "members":
                what, *pairs = rest.split(" ")
                self.members[where, what] = dict(pair.split("=") for pair in pairs)
            elif verb == "call":
                path, how, said = rest.split(" ", 2)
                self.calls[where, path, how] = said
            elif verb == "asked":
                what, *names = rest.split(" ")
                self.asked[what] = set(names)
            assert verb != "raised", line
