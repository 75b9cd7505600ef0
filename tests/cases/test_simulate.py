"""`alacrity simulate`: the numbers agree with queueing theory, traces replay, and bad input is told."""
import json
import math
import random
import re
import xml.etree.ElementTree as tree

import pytest

from support import FULL, SANITIZED, Alacrity, ServerProcess, ask, command, eventually, free_port, serve_name

SCALE = 10 if SANITIZED else 1 if FULL else 4  # fewer sessions, and larger margins


def simulate(*words, code=0):
    """The results by policy, and the whole document."""
    done = command("simulate", *words, "--json", timeout=120)
    assert done.returncode == code, done.stderr
    document = json.loads(done.stdout)
    for result in document["policies"]:
        speed = result.pop("speed")
        assert speed["ns_per_pick"] >= 0 and speed["picks_per_second"] > 0
    return {result["policy"]: result for result in document["policies"]}, document


def about(got, wanted, share):
    share *= math.sqrt(SCALE)
    assert wanted * (1 - share) <= got <= wanted * (1 + share), f"{got}, wanted about {wanted}"


# ---- theory ----

@pytest.mark.parametrize("kind, mean_ms", [("exp", 40), ("const", 20)])
def test_one_server_queues_as_theory_says(kind, mean_ms):
    """M/M/1 and M/D/1 at a load of 0.8: mean waits rho / (mu - lambda), and half of that."""
    results, _ = simulate("-b", 1, "-p", "first", "--capacity", 1, "--rate", "80/s", "--session",
                          f"{kind}:10ms", "--duration", f"{8 * 3600 // SCALE}s", "--connect", "0")
    wait = results["first"]["wait"]
    about(wait["mean_ms"], mean_ms, 0.06)
    about(wait["share"], 0.8, 0.03)
    if kind == "exp":
        about(wait["p99_ms"], math.log(80) / 20 * 1000, 0.06)


@pytest.mark.parametrize("session", ["exp:2s", "const:2s", "pareto:2s:3"])
def test_as_many_are_open_as_arrive_times_stay(session):
    """Little's law, with a slow one, which has twice as many."""
    results, document = simulate("-b", 4, "-p", "round-robin", "--rate", "100/s", "--session", session,
                                 "--duration", f"{20000 // SCALE}s", "--slow", "b4=2x")
    backends = results["round-robin"]["backends"]
    for name in ("b1", "b2", "b3"):
        about(backends[name]["mean_active"], 50, 0.02)
    about(backends["b4"]["mean_active"], 100, 0.02)
    about(document["sessions"], 100 * 20000 / SCALE, 0.01)


def test_a_few_servers_for_one_queue_wait_less_than_one_that_is_as_fast():
    """M/M/4 at a load of 0.8: Erlang's formula."""
    offered, servers = 3.2, 4
    blocked = offered ** servers / math.factorial(servers) / (1 - offered / servers)
    waits = blocked / (sum(offered ** k / math.factorial(k) for k in range(servers)) + blocked)
    results, _ = simulate("-b", 1, "-p", "first", "--capacity", 4, "--rate", "320/s", "--session",
                          "exp:10ms", "--duration", f"{2 * 3600 // SCALE}s", "--connect", "0")
    about(results["first"]["wait"]["share"], waits, 0.03)
    about(results["first"]["wait"]["mean_ms"], waits / (400 - 320) * 1000, 0.08)


# ---- policies ----

def test_the_policies_differ_as_they_should():
    results, _ = simulate("-p", "round-robin", "-p", "least-conn", "-p", "random", "-p", "first",
                          "-b", 5, "--rate", "100/s", "--duration", "10m", "--slow", "b3=20")
    assert results["round-robin"]["spread"] < 1.001
    assert 1.002 < results["random"]["spread"] < 1.1
    assert results["first"]["spread"] == 5
    assert results["least-conn"]["backends"]["b3"]["share"] < 0.1
    assert results["round-robin"]["peak"]["backend"] == "b3"
    assert results["least-conn"]["peak"]["active"] < results["round-robin"]["peak"]["active"] / 2


def test_weights_and_caps_and_a_policy_from_a_configuration(tmp_path):
    file = tmp_path / "pool.yaml"
    file.write_text("""
listeners: {web: {bind: "127.0.0.1:80", pool: app}}
pools:
  other: {backends: {z: "127.0.0.1:1"}}
  app:
    policy: {script: ./mine.lua, with: {name: big}}
    backends:
      big: {address: "127.0.0.1:1", weight: 3, max_sessions: 7}
      small: 127.0.0.1:2
""", encoding="utf-8")
    (tmp_path / "mine.lua").write_text("""
return {api = 1, kind = "policy", name = "mine", options = {name = {type = "string"}},
  new = function(cfg) return {pick = function(self, ctx, pool)
    for i = 1, #pool do if pool[i].name == cfg.name then return pool[i] end end
    return pool[1] end} end}""", encoding="utf-8")
    results, _ = simulate("--pool", f"{file}:app", "--rate", "20/s", "--session", "const:1s",
                          "--duration", "10m", "--connect", "0")
    backends = results["./mine.lua"]["backends"]
    assert backends["big"]["peak_active"] == 7 and backends["big"]["fair_share"] == 0.75
    # Erlang's loss formula: what 7 places cannot take of 20 overflows.
    terms = [20 ** k / math.factorial(k) for k in range(8)]
    big = 20 * (1 - terms[7] / sum(terms))
    about(backends["big"]["mean_active"], big, 0.01)
    about(backends["small"]["mean_active"], 20 - big, 0.03)
    by_name, _ = simulate("--pool", f"{file}:app", "-p", "round-robin", "--rate", "1/s", "--duration", "1h")
    assert by_name["round-robin"]["spread"] < 1.01


def test_a_script_sees_virtual_time_latency_clients_and_its_options(tmp_path):
    script = tmp_path / "looks.lua"
    script.write_text("""
local alacrity = require "alacrity"
return {api = 1, kind = "policy", name = "looks",
  options = {least = {type = "number"}, word = {type = "string"}, on = {type = "boolean"}},
  new = function(cfg)
    local last, first
    return {pick = function(self, ctx, pool)
      if ctx.listener == "trial" then return pool[1] end
      local now = alacrity.now()
      first = first or now
      assert(now >= (last or 0) and now - first < 86400)
      last = now
      assert(ctx.client:match("^10%.0%.%d+%.%d+$") and ctx.attempt == 1)
      assert(cfg.word == "x" and cfg.on == true)
      local slowest = pool[1]
      for i = 2, #pool do
        if pool[i].connect_ewma_ms > slowest.connect_ewma_ms then slowest = pool[i] end
      end
      if now - first > 80000 and slowest.name ~= "b2" then return nil, "who?" end
      return slowest.connect_ewma_ms > cfg.least and pool[1] or pool[#pool] end} end}
""", encoding="utf-8")
    results, _ = simulate("-p", script, "--with", "least=1e9", "--with", "word=x", "--with", "on=yes",
                          "-b", "b1,b2", "--slow", "b2=7", "--rate", "1/s", "--duration", "1d")
    result = results[str(script)]
    assert result["errors"] == 0 and result["nil"] == 0, result
    assert result["backends"]["b2"]["sessions"] == result["sessions"]


def test_zones_and_tags_of_a_configuration(tmp_path):
    file = tmp_path / "pool.yaml"
    file.write_text("""
zone: north
listeners: {web: {bind: "127.0.0.1:80", pool: app}}
pools:
  app:
    backends:
      a: {address: "127.0.0.1:1", zone: north, tags: [canary]}
      b: {address: "127.0.0.1:2", zone: north}
      c: {address: "127.0.0.1:3", zone: south}
""", encoding="utf-8")
    results, _ = simulate("--pool", f"{file}:app", "-p", "zone-aware", "-p", "canary", "--with",
                          "percent=20", "--rate", "20/s", "--duration", "10m")
    assert results["zone-aware"]["backends"]["c"]["sessions"] == 0
    about(results["canary"]["backends"]["a"]["share"], 0.2, 0.1)


def test_what_is_shared_and_when_it_came_back_are_virtual_too(tmp_path):
    script = tmp_path / "shares.lua"
    script.write_text("""
local alacrity = require "alacrity"
local picks = alacrity.shared("picks")
return {api = 1, kind = "policy", name = "shares", new = function() return {
  pick = function(self, ctx, pool)
    picks:incr("n", 1)
    local now, b2 = alacrity.now(), pool.all[2]
    if ctx.listener ~= "trial" and now > 1000 + 400 then
      assert(picks:get("n") > 100)
      assert(b2.recovered_at >= 1325 and b2.recovered_at <= 1326, b2.recovered_at)
      assert(now - pool.all[1].connected_at < 60)
    end
    return pool[1] end} end}""", encoding="utf-8")
    results, _ = simulate("-p", script, "-b", 2, "--rate", "5/s", "--duration", "10m",
                          "--fail", "b2@5m-320s", "--notice", "5s")
    assert results[str(script)]["errors"] == 0


def test_only_clients_of_a_backend_that_went_move_when_hashed():
    results, _ = simulate("-p", "source-hash", "-p", "round-robin", "--rate", "200/s", "--duration",
                          "20m", "--remove", "b5@10m", "--clients", 2000)
    for result in results.values():
        assert 1700 < result["moves"]["clients"] < 2000
    assert results["source-hash"]["moves"]["share"] < 0.05
    assert results["round-robin"]["moves"]["share"] > 0.8
    assert results["source-hash"]["backends"]["b5"]["share"] < 0.07


def test_a_failure_cuts_is_noticed_and_ends():
    results, _ = simulate("-p", "round-robin", "-b", 4, "--rate", "100/s", "--duration", "10m",
                          "--fail", "b2@2m-4m", "--notice", "10s", "--session", "const:1s")
    result = results["round-robin"]
    backend = result["backends"]["b2"]
    assert 15 <= result["cut"] <= 35 and backend["cut"] == result["cut"]
    # Three connects fail in a row and put it aside; none is lost, each has a retry.
    assert result["retries"] == backend["connect_failures"] == 3 and result["lost"] == 0
    about(backend["sessions"], 25 * (600 - 130), 0.03)
    about(backend["mean_active"], 25 * 470 / 600, 0.05)
    assert backend["peak_active"] < 60
    all_down, _ = simulate("-p", "round-robin", "-b", 2, "--rate", "100/s", "--duration", "2m",
                           "--fail", "b1@0-1m", "--fail", "b2@0-1m", "--notice", "1s")
    about(all_down["round-robin"]["lost"], 6100, 0.05)


def test_what_a_policy_does_wrong_is_counted(tmp_path):
    script = tmp_path / "bad.lua"
    for body, count, said in [
            ("return nil", "nil", None),
            ("return 1", "bad_answers", "bad.lua: pick answered a number value that is none"),
            ("error('x')", "errors", "bad.lua:4: x")]:
        script.write_text("""
return {api = 1, kind = "policy", name = "bad", new = function() return {
  pick = function(self, ctx, pool) if ctx.listener == "trial" then return pool[1] end
  %s end} end}""" % body, encoding="utf-8")
        code = 1 if said else 0
        results, document = simulate("-p", script, "-p", "first", "--duration", "10s", code=code)
        result = results[str(script)]
        assert result[count] == result["fallbacks"] == document["sessions"] == result["sessions"]
        assert (said or "") in (result["first_error"] or ""), result
        assert results["first"]["first_error"] is None
        done = command("simulate", "-p", script, "-p", "first", "--duration", "10s")
        assert done.returncode == code and "bad.lua: the fallback made 100.0 % of its picks\n" in done.stdout
        assert "first: the fallback" not in done.stdout and "first FAILED" not in done.stdout
        if said:
            times = f"{document['sessions']:,}"
            assert re.search(rf"bad.lua FAILED {times} times; the first error:\n  .*{said}", done.stdout)


def test_a_single_failure_among_many_is_told_too(tmp_path):
    script = tmp_path / "once.lua"
    script.write_text("""
local alacrity = require "alacrity"
return {api = 1, kind = "policy", name = "once", new = function() return {
  on_close = function(self, closed)
    if closed.duration_ms > 9000 then error("closing") end
  end,
  pick = function(self, ctx, pool) return pool[1] end} end}""", encoding="utf-8")
    results, _ = simulate("-p", script, "--duration", "20m", "--seed", 4, code=1)
    result = results[str(script)]
    assert 0 < result["errors"] < 50 and result["fallbacks"] == 0
    assert result["first_error"].endswith("once.lua:5: closing")


def test_a_policy_that_loops_is_stopped_and_in_the_end_not_asked(tmp_path):
    script = tmp_path / "loops.lua"
    script.write_text("""
return {api = 1, kind = "policy", name = "loops", new = function() return {
  pick = function(self, ctx, pool) if ctx.listener == "trial" then return pool[1] end
  while true do end end} end}""", encoding="utf-8")
    results, document = simulate("-p", script, "--duration", "10s", "--workers", 1, code=1)
    result = results[str(script)]
    # A count hook, all there is under ThreadSanitizer, does not tell where.
    where = "" if SANITIZED == "tsan" else r", in or below the function at \S*loops.lua:3$"
    assert re.match(rf"pick: it was stopped: it used .*{where}", result["first_error"]), result
    assert result["overruns"] == 3 and result["not_asked"] == document["sessions"] - 3


def test_every_instance_knows_its_worker_and_hears_of_every_end(tmp_path):
    script = tmp_path / "knows.lua"
    script.write_text("""
local alacrity = require "alacrity"
local workers, ends = alacrity.shared("workers"), alacrity.shared("ends")
return {api = 1, kind = "policy", name = "knows", new = function()
  local index, count = alacrity.worker()
  assert(index >= 0 and index < 3 and count == 3)
  alacrity.after(1, function() assert(workers:add(tostring(index), true)) end) -- nobody else is it
  alacrity.after(599, function()
    assert(workers:count() == 3)
    for _, reason in ipairs {"done", "backend_reset", "connect_failed", "no_backend"} do
      assert(ends:get(reason), reason)
    end
  end)
  return {pick = function(self, ctx, pool) assert(#pool > 0) return pool[1] end,
    on_close = function(self, closed) ends:incr(closed.reason, 1, 0) end} end}""", encoding="utf-8")
    results, _ = simulate("-p", script, "-b", 1, "--workers", 3, "--duration", "10m", "--fail", "b1@1m-2m")
    assert results[str(script)]["first_error"] is None


def test_a_backend_that_accepts_and_resets(tmp_path):
    """A policy that listens avoids it; one that does not loses a fifth of its sessions there."""
    script = tmp_path / "hears.lua"
    script.write_text("""
return {api = 1, kind = "policy", name = "hears", new = function()
  local bad = {}
  return {
    on_close = function(self, closed)
      if closed.reason == "backend_reset" then
        assert(closed.backend.name == "b2" and closed.duration_ms < 10)
        bad[closed.backend.id] = true
      end
    end,
    pick = function(self, ctx, pool)
      return pool:min(function(b) return (bad[b.id] and 1000 or 0) + b.active end) end} end}""", encoding="utf-8")
    results, _ = simulate("-p", script, "-p", "round-robin", "-b", 4, "--reset", "b2=20%", "--capacity", 100,
                          "--rate", "100/s", "--duration", "10m", "--workers", 1)
    heard, deaf = results[str(script)], results["round-robin"]
    assert heard["errors"] == 0 and heard["cut"] < 10
    about(deaf["cut"], deaf["backends"]["b2"]["sessions"] * 0.2, 0.06)
    assert deaf["backends"]["b2"]["cut"] == deaf["cut"]
    about(deaf["backends"]["b2"]["mean_active"], deaf["backends"]["b1"]["mean_active"] * 0.8, 0.06)
    text = command("simulate", "-p", "first", "--reset", "b1=0.5", "--duration", "1m").stdout
    assert "b1 resets 50 % of its sessions" in text and re.search("^cut  .*sessions that their backend cut", text, re.M)


def test_a_list_as_an_option(tmp_path):
    script = tmp_path / "lists.lua"
    script.write_text("""
return {api = 1, kind = "policy", name = "lists", options = {bad = {type = "list", of = "%s"}},
  new = function(cfg) assert(table.concat(cfg.bad, "+") == "%s") return {
    pick = function(self, ctx, pool) return pool[1] end} end}""" % ("string", "b1+b 2+3"), encoding="utf-8")
    simulate("-p", script, "--with", "bad=[b1, b 2 ,3]", "--duration", "1s")
    done = command("simulate", "-p", script, "--with", "bad=b1", "--duration", "1s")
    assert done.returncode == 1 and "option 'bad' of script" in done.stderr
    assert "must be a list such as [a, b]" in done.stderr
    done = command("simulate", "-p", script, "--with", "bad=[]", "--duration", "1s")
    assert done.returncode == 1 and "assertion failed" in done.stderr


def test_a_file_that_was_meant_is_told_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("simulate", "-p", "grudge")
    assert done.returncode == 1 and "to mean it" not in done.stderr
    (tmp_path / "grudge.lua").write_text("", encoding="utf-8")
    done = command("simulate", "-p", "grudge")
    assert done.returncode == 1 and "there is a file ./grudge.lua; to mean it, write -p ./grudge.lua" in done.stderr


# ---- what is printed ----

def test_the_same_seed_gives_the_same_result():
    words = ["-p", "random", "-p", "p2c", "-p", "source-hash", "--duration", "5m", "--capacity", 12,
             "--fail", "b1@1m-2m"]
    _, first = simulate(*words)
    _, again = simulate(*words)
    _, other = simulate(*words, "--seed", 2)
    assert first == again and first["policies"] != other["policies"]


def test_the_text_and_the_chart(tmp_path):
    chart = tmp_path / "c.svg"
    done = command("simulate", "-p", "round-robin", "-p", "least-conn", "--rate", "100/s",
                   "--duration", "10m", "--capacity", 20, "--slow", "b3=3x", "--fail", "b2@2m-3m",
                   "--remove", "b<&>@5m", "-b", "b1,b2,b3,b<&>", "--chart", chart)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.match(r"60,\d\d\d sessions in 10 min, 100 a second, each 1.0 s on average", lines[0])
    assert "b3 is 3 times as slow" in lines and "b<&> is drained at 5 min" in lines
    table = {line[:22].strip(): line[22:].split("   ")[0].split() for line in lines}
    for row in ("spread", "deviation", "99 % wait", "moved", "cut", "picks a s"):
        assert row in table, done.stdout
    assert "nil" not in table
    root = tree.parse(chart).getroot()
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{space}text")]
    for wanted in ("round-robin", "least-conn", "b2 fails", "b<&> drained", "10 min"):
        assert wanted in texts
    assert len([p for p in root.iter(f"{space}path") if p.get("stroke")]) == 8


def test_many_backends():
    done = command("simulate", "-b", 1000, "-p", "least-conn", "--duration", "30s", "--rate", "1000/s")
    assert done.returncode == 0 and "and 976 more" in done.stdout


# ---- traces ----

def line(**fields):
    return json.dumps({"time": "2026-01-02T03:04:05.500Z", "level": "info", "event": "session",
                       "message": "session ended", "listener": "web", "client": "10.1.2.3:40000",
                       "pool": "app", "backend": "a", "duration_ms": 1500, **fields}) + "\n"


def test_a_trace_replays_times_clients_and_durations(tmp_path):
    log = tmp_path / "session.log"
    sessions = [(0, 2.0, "10.0.0.1:1"), (1, 3.0, "[2001:db8::1]:2"), (1.5, 0.0, "unix:"),
                (9, 1.0, "10.0.0.1:77")]
    text = "\n" + json.dumps({"event": "reload", "time": "x", "list": "[", "n": -1.5e3}) + "\n"
    for at, lasted, client in sorted(sessions, key=lambda s: s[0] + s[1]):
        text += line(time=f"2026-12-31T23:59:{50 + at + lasted:06.3f}Z" if at + lasted < 10
                     else f"2027-01-01T00:00:{at + lasted - 10:06.3f}Z",
                     duration_ms=lasted * 1000, client=client)
    log.write_text(text, encoding="utf-8")
    script = tmp_path / "says.lua"
    script.write_text("""
local alacrity, began = require "alacrity", nil
return {api = 1, kind = "policy", name = "says", new = function() return {
  pick = function(self, ctx, pool)
    if ctx.listener == "trial" then return pool[1] end
    began = began or alacrity.now()
    alacrity.log.error(("%.2f %s %d %d"):format(alacrity.now() - began, ctx.client, ctx.client_port,
      pool[1].active))
    return pool[1] end} end}""", encoding="utf-8")
    done = command("simulate", "-p", script, "-b", 1, "--trace", log, "--workers", 1, "--connect", "0")
    assert done.returncode == 0, done.stderr
    said = re.findall(r"error script (\d\.\d\d \S+ \d+ \d)", done.stderr)
    assert said == ["0.00 10.0.0.1 1 0", "1.00 2001:db8::1 2 1", "1.50 unix 0 2",
                    "9.00 10.0.0.1 77 0"], done.stderr
    assert done.stdout.startswith("4 sessions in 9.0 s, from ")


def test_the_balancers_own_log_is_a_trace(tmp_path):
    server, port = ServerProcess(serve_name, "a"), free_port()
    log = tmp_path / "session.log"
    config = {"log": {"target": str(log), "format": "json", "sessions": True},
              "listeners": {"web": {"bind": f"127.0.0.1:{port}", "pool": "app"}},
              "pools": {"app": {"check": False, "backends": {"a": server.text}}}}
    balancer = Alacrity(config)
    try:
        def answers():
            try:
                return ask(port)
            except OSError:
                return None
        eventually(answers)
        for _ in range(29):
            ask(port)
    finally:
        balancer.stop()
    _, document = simulate("--trace", log, "-p", "least-conn", "-b", 3)
    assert document["sessions"] == 30 and document["clients"] == 1


def test_sessions_of_other_pools_are_left_out(tmp_path):
    log, file = tmp_path / "session.log", tmp_path / "pool.yaml"
    log.write_text(line() + line(pool="other") + line(), encoding="utf-8")
    file.write_text('listeners: {web: {bind: "127.0.0.1:80", pool: app}}\n'
                    'pools: {app: {backends: {a: "127.0.0.1:1"}}}\n', encoding="utf-8")
    assert simulate("--trace", log)[1]["sessions"] == 3
    assert simulate("--trace", log, "--pool", f"{file}:app")[1]["sessions"] == 2


@pytest.mark.parametrize("text, said", [
    ("x", ":2: it is no JSON object"),
    ('{"a"', ":2: a ':' is missing"),
    ('{"a": }', ":2: a member has no plain value"),
    ('{"a": [1]}', ":2: a member has no plain value"),
    ('{"a": 1 "b": 2}', ":2: a ',' or '}' is missing"),
    ('{"a": "b', ":2: a string does not end"),
    (r'{"a": "\x"}', ":2: a string has a bad escape"),
    ('{"a": 1} {', ":2: something stands behind the object"),
    ("2026-01-02T03:04:05.678Z info session session ended", ":2: it is no JSON object"),
    (line(time="yesterday"), ':2: this session has no "time"'),
    (line(duration_ms=-1), ':2: this session has no "duration_ms" of 0 or more'),
    (line(client="somebody"), 'the "client" of this session is no address'),
    ('{"event": "session"}', ':2: this session has no "time"'),
], ids=range(13))
def test_a_bad_line_of_a_trace_is_told(tmp_path, text, said):
    log = tmp_path / "session.log"
    log.write_text(line() + text, encoding="utf-8")
    done = command("simulate", "--trace", log)
    assert done.returncode == 1 and f"{log}:2: " in done.stderr and said in done.stderr, done.stderr


def test_a_trace_of_anything_is_read_or_refused(tmp_path):
    drawn, log = random.Random(7), tmp_path / "session.log"
    for _ in range(15):
        data = bytearray((line() * 3).encode())
        for _ in range(drawn.randint(1, 6)):
            data[drawn.randrange(len(data))] = drawn.randrange(256)
        log.write_bytes(data[:drawn.randint(1, len(data))])
        assert command("simulate", "--trace", log).returncode in (0, 1)


def test_a_trace_without_the_end_of_a_line_takes_no_memory():
    done = command("simulate", "--trace", "/dev/zero")
    assert done.returncode == 1 and "/dev/zero:1: this line is longer than 1 MiB" in done.stderr


def test_a_trace_may_have_long_lines_of_others_and_no_end_of_the_last(tmp_path):
    log = tmp_path / "session.log"
    log.write_text('{"event":"reload","message":"%s"}\n%s' % ("x" * 1000000, line().strip()), encoding="utf-8")
    assert simulate("--trace", log)[1]["sessions"] == 1


def test_a_trace_without_sessions(tmp_path):
    log = tmp_path / "session.log"
    log.write_text('{"event":"reload"}\n', encoding="utf-8")
    done = command("simulate", "--trace", log)
    assert done.returncode == 1 and "there is no session in it" in done.stderr


# ---- the command line ----

@pytest.mark.parametrize("words, said", [
    (["--zonk"], "zonk"),
    (["extra"], "there is no use for 'extra'"),
    (["--rate", "100"], "--rate must be such as"),
    (["--rate", "0/s"], "--rate must be such as"),
    (["--rate", "5/d"], "--rate must be such as"),
    (["--duration", "0"], "--duration must be"),
    (["--duration", "1"], "--duration must be"),
    (["--session", "exp"], "--session must be"),
    (["--session", "normal:1s"], "--session must be"),
    (["--session", "exp:1s:2"], "--session must be"),
    (["--session", "pareto:1s:1"], "--session must be"),
    (["--clients", "0"], "--clients must be"),
    (["--workers", "64"], "--workers must be"),
    (["--seed", "0"], "--seed must be"),
    (["--connect", "fast"], "--connect must be"),
    (["-b", "0"], "--backends"),
    (["-b", "1001"], "--backends"),
    (["-b", "a,a"], "'a' is no new name"),
    (["-b", "a,,b"], "'' is no new name"),
    (["-b", "a=x"], "the weight of a must be"),
    (["--slow", "b99=2"], "--slow: there is no backend 'b99'"),
    (["--slow", "b1"], "--slow is written"),
    (["--slow", "b1=-2"], "--slow is written"),
    (["--slow", "b1=2y"], "--slow is written"),
    (["--reset", "z=1"], "--reset: there is no backend 'z'"),
    (["--reset", "b1"], "--reset is written"),
    (["--reset", "b1=101%"], "--reset is written"),
    (["--reset", "b1=0.5x"], "--reset is written"),
    (["--capacity", "0"], "--capacity must be"),
    (["--capacity", "z=1"], "--capacity: there is no backend 'z'"),
    (["--fail", "b1"], "--fail is written"),
    (["--fail", "b1@5m-4m"], "--fail is written"),
    (["--remove", "q@1m"], "--remove: there is no backend 'q'"),
    (["--with", "a=1"], "--with follows a --policy"),
    (["-p", "first", "--with", "a"], "KEY=VALUE"),
    (["--pool", "nofile"], "--pool is written FILE:POOL"),
    (["--pool", "a:b", "-b", "3"], "--backends cannot be given, too"),
    (["--trace", "/nowhere"], "cannot read the trace /nowhere"),
    (["--trace", "/nowhere", "--rate", "1/s"], "cannot be given, too"),
    (sum([["-p", "first"]] * 17, []), "at most 16 policies"),
], ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "")
def test_wrong_command_lines(words, said):
    done = command("simulate", *words)
    assert done.returncode == 2 and said in done.stderr and not done.stdout, done.stderr


@pytest.mark.parametrize("words, said", [
    (["-p", "nope"], "there is no stock policy 'nope'"),
    (["-p", "./nope.lua"], "cannot read the script ./nope.lua"),
    (["-p", "first", "--with", "a=1"], "unknown option 'a' of script first"),
    (["--pool", "/nowhere.yaml:app"], "/nowhere.yaml"),
    (["--duration", "1s", "--chart", "/nowhere/c.svg"], "/nowhere/c.svg: No such file"),
], ids=["stock", "script", "option", "pool", "chart"])
def test_what_cannot_be_used(words, said):
    done = command("simulate", *words)
    assert done.returncode == 1 and said in done.stderr, done.stderr


def test_a_script_that_is_wrong_is_told_with_its_line(tmp_path):
    script = tmp_path / "bad.lua"
    script.write_text("return = 1", encoding="utf-8")
    done = command("simulate", "-p", script)
    assert done.returncode == 1 and "bad.lua:1: unexpected symbol" in done.stderr


def test_help():
    done = command("simulate", "--help")
    assert done.returncode == 0 and "--trace FILE" in done.stdout and not done.stderr


# ---- policies that hear of ends ----

HEARS = """
local by_name = {} -- sessions it was told of that have not ended
return {api = 1, kind = "policy", name = "hears", new = function()
  return {
    pick = function(self, ctx, pool)
      for i = 1, #pool do
        local mine = by_name[pool[i].name] or 0
        if mine ~= pool[i].active and ctx.listener ~= "trial" then
          error(pool[i].name .. ": " .. mine .. " by ends, " .. pool[i].active .. " by the facts")
        end
      end
      local one, before = pool:least(), ctx:get("at")
      if ctx.listener ~= "trial" then
        if before then by_name[before] = by_name[before] - 1 end -- this is its retry
        by_name[one.name] = (by_name[one.name] or 0) + 1
        ctx:set("at", one.name)
      end
      return one
    end,
    on_close = function(self, closed)
      if closed.listener == "trial" then return end
      local at = closed:get("at")
      assert(closed.backend.name == at and closed.duration_ms > 0 and closed.client ~= "")
      assert(closed.reason == "done" or closed.reason == "backend_reset")
      by_name[at] = by_name[at] - 1
    end,
  }
end}
"""


def test_a_policy_is_told_of_every_end(tmp_path):
    """It counts for itself, and finds its counts to be the facts, also when a backend fails."""
    (tmp_path / "hears.lua").write_text(HEARS, encoding="utf-8")
    results, _ = simulate("-b", 3, "-p", tmp_path / "hears.lua", "--rate", "50/s", "--session", "exp:1s",
                          "--duration", "300s", "--fail", "b2@100s-160s", "--workers", 1)
    (result,) = results.values()
    assert result["errors"] == 0 and result["overruns"] == 0, result
    assert result["cut"] > 0, "the failure cut some"
