"""Counters, gauges and histograms of scripts: added up over threads, shown to programs and to
Prometheus, kept over reloads."""
import re
import subprocess

from support import Alacrity, Server, ask, eventually, free_port, serve_name, web_over

POLICY = """
local alacrity = require "alacrity"
local sessions = alacrity.counter("sessions", "Sessions a script saw.")
local seen = {}
for _, port in ipairs { "odd", "even" } do
  seen[port] = alacrity.counter("ports", "Sessions by port: 'a\\\\b' \\n \\"c\\".", { port = port })
end
local attempts = alacrity.gauge("attempts", "Attempts in the last pick.")
local low = alacrity.histogram("client_port", { 20000, 40000 }, "Ports of clients.")
return { api = 1, kind = "policy", name = "counting", new = function()
  local made = alacrity.counter("sessions")  -- the same again
  return { pick = function(self, ctx, pool)
    made:add(0.5)
    sessions:add(0.5)
    seen[ctx.client_port % 2 == 0 and "even" or "odd"]:add()
    attempts:set(ctx.attempt)
    low:observe(ctx.client_port)
    return pool[1]
  end }
end }
"""
SERVICE = """
local sessions = require("alacrity").counter("sessions", "Sessions a script saw.")
return { api = 1, kind = "service", name = "counting", new = function()
  return { serve = function() sessions:add(1000) return 200, "text/plain", "counted" end }
end }
"""


def start(scripts, port, **more):
    config = web_over([Server(serve_name, "a")], port, policy={"script": "./counting.lua"})
    config.update(more)
    return config, Alacrity(config, scripts=scripts)


def metrics_of(balancer):
    body = balancer.get("/metrics")[2]
    return dict(line.rsplit(" ", 1) for line in body.splitlines() if line[0] != "#"), body


def test_all_threads_count_together_and_go_on_after_a_reload():
    port, other = free_port(), free_port()
    config, balancer = start({"counting.lua": POLICY, "service.lua": SERVICE}, port)
    with balancer:
        config["listeners"]["count"] = {"bind": f"127.0.0.1:{other}",
                                        "service": {"script": "./service.lua"}}
        total = 0
        for round_ in range(3):
            balancer.reload(config)
            for _ in range(20):
                assert ask(port) == b"a\n"
            assert b"counted" in ask(other, b"GET / HTTP/1.0\r\n\r\n")
            balancer.at_rest()
            total += 1020
            samples, body = metrics_of(balancer)
            assert samples["alacrity_script_sessions_total"] == str(total)
            sessions = 20 * (round_ + 1)
            assert int(samples['alacrity_script_ports_total{port="odd"}']) + \
                int(samples['alacrity_script_ports_total{port="even"}']) == sessions
            assert samples["alacrity_script_client_port_count"] == str(sessions)
            assert samples['alacrity_script_client_port_bucket{le="+Inf"}'] == str(sessions)
            assert samples["alacrity_script_attempts"] in ("1", "2"), "one for each worker that picked"
        done = subprocess.run(["promtool", "check", "metrics"], input=body, text=True,
                              capture_output=True, timeout=30)
        assert done.returncode == 0 and not done.stdout + done.stderr, done.stdout + done.stderr
        told = {(metric["name"], *metric["labels"].values()): metric
                for metric in balancer.stats()["script_metrics"]}
        assert told["sessions",]["value"] == total and told["sessions",]["kind"] == "counter"
        assert told["ports", "odd"]["value"] + told["ports", "even"]["value"] == 60
        assert [b["le"] for b in told["client_port",]["buckets"]] == [20000, 40000]
        assert told["client_port",]["count"] == 60
        # Nobody counts any more: they are gone, and begin anew when a script makes them again.
        balancer.reload(web_over([Server(serve_name, "a")], port))
        eventually(lambda: not balancer.stats()["script_metrics"])
        balancer.reload(config)
        assert metrics_of(balancer)[0]["alacrity_script_sessions_total"] == "0"


def test_gauges_of_workers_that_are_not_needed_any_more():
    script = """
        local size = require("alacrity").gauge("size")
        return { api = 1, kind = "policy", name = "g", new = function()
          return { pick = function(_, _, pool) size:set(1) return pool[1] end }
        end }
        """
    port = free_port()
    config, balancer = start({"counting.lua": script}, port, workers=4)
    with balancer:
        def all_picked():
            ask(port)
            return metrics_of(balancer)[0]["alacrity_script_size"] == "4"
        eventually(all_picked, "every worker picked once")
        balancer.reload({**config, "workers": 1})
        assert metrics_of(balancer)[0]["alacrity_script_size"] == "1"


def test_names_of_alacritys_own_cannot_be_taken():
    port = free_port()
    config, balancer = start({"counting.lua": POLICY}, port)
    with balancer:
        own = re.findall(r"^# TYPE alacrity_script_(\w+) (\w+)$", metrics_of(balancer)[1], re.M)
        own = [(name.removesuffix("_total"), kind) for name, kind in own
               if name.removesuffix("_total") not in ("sessions", "ports", "attempts", "client_port")]
        assert len(own) >= 4
        for name, kind in own:
            balancer.put("counting.lua", f'\n\nrequire("alacrity").{kind}("{name}")')
            said = balancer.reload(ok=False)
            assert f"counting.lua:3: alacrity.{kind}(): the name belongs to Alacrity" in said, said
        balancer.put("counting.lua", POLICY.replace("return {", 'alacrity.gauge("sessions")\nreturn {', 1))
        said = balancer.reload(ok=False)
        assert "alacrity.gauge(): there is a counter of this name already" in said
