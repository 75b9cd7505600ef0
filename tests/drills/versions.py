"""How long versions take, and what errors cost: the time from `script swap` of a policy of 200 lines
to its answer that it is live, on two workers; the time from the first failing pick until the pool is
back on the version before, and what the user sees; CPU time and rate of short connections with a
policy whose every pick fails beside the same one in good health. `python3 tests/drills/versions.py`."""
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "cases"), str(HERE.parent / "bench")]
from machine import build, cpu_seconds, start_responder  # noqa: E402
from support import (Alacrity, Load, Server, ServerProcess, ask, eventually, free_port,  # noqa: E402
                     serve_name, web_over)

SWAPS = int(os.environ.get("SWAPS", "100"))
COUNT = int(os.environ.get("COUNT", "20000"))


def long_policy(lines=200):
    """Does something in each of its functions, all of which its pick calls."""
    steps = (lines - 12) // 4
    text = ["local steps = {}"]
    for i in range(steps):
        text += [f"steps[{i + 1}] = function(backend, score)",
                 f"  if backend.weight > {i + 1000} then score = score * 2 end",
                 f"  return score + backend.active % {i + 2}", "end"]
    text += ['return { api = 1, kind = "policy", name = "long", new = function(cfg, carry)',
             "  local picks = carry and carry.picks or 0", "  return {",
             "    pick = function(self, ctx, pool)", "      picks = picks + 1",
             "      local score = 0",
             "      for i = 1, #steps do score = steps[i](pool[1], score) end",
             "      return pool[1 + picks % #pool]", "    end,",
             "    snapshot = function() return { picks = picks } end,", "  }", "end }"]
    return "\n".join(text) + "\n"


def swap_times():
    port = free_port()
    servers = [ServerProcess(serve_name, name) for name in "ab"]
    text = long_policy()
    config = web_over(servers, port, policy={"script": "./long.lua"})
    with Alacrity(config, scripts={"long.lua": text}) as balancer:
        took = []
        with Load(lambda _: ask(port), threads=8, per_second=200) as load:
            for _ in range(SWAPS):
                began = time.perf_counter()
                balancer.admin("script", "swap", "app", balancer.folder / "long.lua")
                took.append((time.perf_counter() - began) * 1000)
                time.sleep(0.02)
        log = "".join(balancer.lines)
        assert not load.failures, load.failures[:3]
        status = balancer.admin(*["status"])
    took.sort()
    # The command itself: a process that starts, connects and prints.
    began = time.perf_counter()
    for _ in range(20):
        subprocess.run([os.environ.get("ALACRITY", "build/release/alacrity"), "--version"],
                       stdout=subprocess.DEVNULL, check=True)
    start = (time.perf_counter() - began) / 20 * 1000
    print(f"swap of a policy of {text.count(chr(10))} lines, 2 workers, {SWAPS} times under 200/s: p50 "
          f"{took[len(took) // 2]:.1f} ms, p99 {took[len(took) * 99 // 100]:.1f} ms, most "
          f"{took[-1]:.1f} ms, of which starting a process {start:.1f} ms; {load.done} sessions, "
          f"0 failed; {log.count('is live') - 1} versions live; configuration "
          f"{status.get('configuration', '?')}")


FAILS = """
return {{ api = 1, kind = "policy", name = "fails", new = function() return {{
  pick = function(self, ctx, pool)
    if ctx.listener ~= "trial" then error("not today") end
    return pool[1]
  end }} end }}
""".format()


def rollback_time():
    port = free_port()
    servers = [Server(serve_name, name) for name in "ab"]
    with Alacrity(web_over(servers, port), scripts={"fails.lua": FAILS}) as balancer:
        balancer.admin("script", "swap", "app", balancer.folder / "fails.lua")
        began = time.perf_counter()
        asked = 0
        while "back to version" not in "".join(balancer.lines):
            assert ask(port)
            asked += 1
        took = (time.perf_counter() - began) * 1000
        errors = balancer.pool()["policy_errors_total"]
        print(f"rollback: {took:.0f} ms and {errors} failed picks after the first session ({asked} "
              "sessions, all served). The user sees:")
        for line in balancer.lines:
            if '"rollback"' in line or "back to version" in line:
                print("  log:    " + json.loads(line)["message"])
        eventually(lambda: "returned to version" in balancer.get("/")[-1])
        page = re.sub(r"<[^>]*>", " ", balancer.get("/")[-1])
        for found in re.findall(r"[^.\n]*returned to version[^.\n]*", page):
            print("  page:   " + " ".join(found.split()))


def storm():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="alacrity-drill-"))
    build(folder)
    behind, ports = [free_port() for _ in range(4)], [free_port(), free_port()]
    responder = start_responder(folder, behind)
    good = "return { api = 1, kind = 'policy', name = 'good', new = function() return {\n" \
           "  pick = function(self, ctx, pool) return pool:least() end } end }\n"
    backends = {f"b{i}": f"127.0.0.1:{port}" for i, port in enumerate(behind)}
    config = {"workers": 1, "lua": {"rollback_errors": 0, "overruns": 0}, "listeners": {}, "pools": {}}
    for name, port in zip(("good", "fails"), ports):
        config["listeners"][name] = {"bind": f"127.0.0.1:{port}", "pool": name}
        config["pools"][name] = {"policy": {"script": f"./{name}.lua"}, "backends": backends}
    try:
        with Alacrity(config, scripts={"good.lua": good, "fails.lua": FAILS}) as balancer:
            costs, rates = {"good": [], "fails": []}, {"good": [], "fails": []}
            for turn in range(6):  # the first is for warmth
                for name, port in zip(("good", "fails"), ports):
                    before = cpu_seconds(balancer.pid)
                    done = subprocess.run([folder / "loadgen", str(port), "short", str(COUNT), "64"],
                                          capture_output=True, text=True, check=True)
                    if turn > 0:
                        costs[name].append((cpu_seconds(balancer.pid) - before) / COUNT * 1e6)
                        rates[name].append(COUNT / json.loads(done.stdout)["seconds"])
            errors = balancer.pool("fails")["policy_errors_total"]
        for name in costs:
            print(f"storm: {name:5} {statistics.median(costs[name]):.1f} us of CPU a connection, "
                  f"{statistics.median(rates[name]):.0f} connections a second")
        print(f"storm: every pick failed ({errors} errors), 0 sessions failed")
    finally:
        responder.terminate()


if __name__ == "__main__":
    swap_times()
    rollback_time()
    storm()
