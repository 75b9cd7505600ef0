"""Ten thousand runaways: a policy that runs away in one of 52 ways at random picks, on two workers,
under 500 new sessions a second and 2 000 idle ones, while versions are swapped and configurations
reloaded. Nothing may crash, no session may fail, memory and mappings stay flat, and every stop comes
in time. `make drill`; KILLS=N for another number."""
import json
import os
import pathlib
import re
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cases"))
from support import (Alacrity, Load, ServerProcess, ask, dial, free_port, serve_patient_echo,  # noqa: E402
                     serve_name, web_over)

KILLS = int(os.environ.get("KILLS", "10000"))
IDLE = int(os.environ.get("IDLE", "2000"))
TICK_US = 8000  # a tick of 4 ms, rounded up by a kernel of 250 Hz
RUNAWAYS = (HERE.parent / "cases" / "runaways.lua").read_text(encoding="utf-8")
POLICY = """
local kinds = require "runaways"
return { api = 1, kind = "policy", name = "drill", options = { chance = { type = "number" } },
  new = function(cfg, carry)
    local picks = carry and carry.picks or 0
    return {
      pick = function(self, ctx, pool)
        if ctx.listener == "trial" then return pool[1] end
        picks = picks + 1
        if math.random() < cfg.chance then kinds[math.random(#kinds)].run() end
        return pool[math.random(#pool)]
      end,
      snapshot = function(self) return { picks = picks } end,
    }
  end }
"""


def mappings(balancer):
    return len(pathlib.Path(f"/proc/{balancer.process.pid}/maps").read_text().splitlines())


class Stops:
    """Reads the CPU time of every stop out of the log as it grows."""

    def __init__(self, balancer):
        self.balancer, self.at, self.cpu_us, self.causes = balancer, 0, [], {}

    def read(self):
        lines = self.balancer.lines
        while self.at < len(lines):
            line = lines[self.at]
            self.at += 1
            if '"cpu_us"' in line:
                event = json.loads(line)
                self.causes[event["cause"]] = self.causes.get(event["cause"], 0) + 1
                if event["cause"] == "budget":
                    self.cpu_us.append(event["cpu_us"])
        return sum(self.causes.values())


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] / 1000


def main():
    servers = [ServerProcess(serve_name, name) for name in "abc"]
    echo = ServerProcess(serve_patient_echo, "echo")
    port, quiet = free_port(), free_port()
    config = {**web_over(servers, port, policy={"script": "./drill.lua", "with": {"chance": 0.2}}),
              "workers": 2, "lua": {"path": ["."], "overruns": 0, "rollback_errors": 0}}
    config["listeners"]["quiet"] = {"bind": f"127.0.0.1:{quiet}", "pool": "quiet"}
    config["pools"]["quiet"] = {"backends": {"echo": f"127.0.0.1:{echo.port}"}}
    names = {b"a\n", b"b\n", b"c\n"}
    first = last = None
    with Alacrity(config, scripts={"drill.lua": POLICY, "runaways.lua": RUNAWAYS},
                  descriptors=20000) as balancer:
        idle = [dial(quiet) for _ in range(IDLE)]
        stops = Stops(balancer)
        start = time.monotonic()
        swaps = reloads = 0
        with Load(lambda _: ask(port) in names, threads=32, per_second=500) as load:
            while (kills := stops.read()) < KILLS:
                time.sleep(1)
                if first is None and kills >= KILLS // 10:
                    first = (balancer.rss(), mappings(balancer))
                if int(time.monotonic() - start) % 3 == 0:
                    balancer.admin("script", "swap", "app", str(balancer.folder / "drill.lua"))
                    swaps += 1
                if int(time.monotonic() - start) % 20 == 0:
                    balancer.reload(config)
                    reloads += 1
                if not balancer.running():
                    break
                print(f"\r{kills} kills, {load.done} sessions, {len(load.failures)} failed, "
                      f"RSS {balancer.rss()} KiB, {mappings(balancer)} mappings   ", end="",
                      file=sys.stderr, flush=True)
        last = (balancer.rss(), mappings(balancer))
        for client in idle:
            client.sendall(b"x")
            assert client.recv(1) == b"x", "an idle session was lost"
            client.close()
        stats = balancer.at_rest()
        web, pool = stats["listeners"]["web"], stats["pools"]["app"]
        print(f"\n{stops.read()} stops {stops.causes} in {time.monotonic() - start:.0f} s, "
              f"{swaps} swaps, {reloads} reloads; errors of scripts {pool['policy_errors_total']}")
        print(f"sessions {load.done}, failed {len(load.failures)}; counted {web['sessions_total']}, "
              f"done {web['ended']['done']}")
        print(f"RSS after a tenth {first[0]} KiB, at the end {last[0]} KiB; "
              f"mappings {first[1]}, {last[1]}")
        print(f"CPU until stop: p50 {percentile(stops.cpu_us, .5)} ms, p99 "
              f"{percentile(stops.cpu_us, .99)} ms, max {max(stops.cpu_us) / 1000} ms, and up to one "
              f"tick before it is seen; allowed at p99: 10 ms + one tick = "
              f"{(10000 + TICK_US) / 1000} ms")
        assert load.failures == [] and web["sessions_total"] == web["ended"]["done"]
        assert last[0] < first[0] * 1.25 and last[1] < first[1] * 1.25
        assert percentile(stops.cpu_us, .99) <= (10000 + TICK_US) / 1000


if __name__ == "__main__":
    main()
