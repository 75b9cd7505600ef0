"""What a policy that runs away costs the sessions of another pool on the same worker: latency of
connect, ask and answer, before it runs away, while it does (three stops, then the breaker), and
after it was taken out. `python3 tests/drills/breaker.py`."""
import os
import pathlib
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cases"))
from support import Alacrity, Server, ServerProcess, ask, free_port, serve_name, web_over  # noqa: E402

SECONDS = float(os.environ.get("SECONDS_EACH", "10"))
POLICY = """
return { api = 1, kind = "policy", name = "loops", new = function() return {
  pick = function(self, ctx, pool)
    if ctx.listener ~= "trial" then while true do end end
    return pool[1]
  end } end }
"""


def main():
    good, bad = free_port(), free_port()
    server = ServerProcess(serve_name, "a")
    config = web_over([server], good)
    config["workers"] = 1
    config["lua"] = {"rollback_errors": 0}
    config["listeners"]["bad"] = {"bind": f"127.0.0.1:{bad}", "pool": "bad"}
    config["pools"]["bad"] = {"policy": {"script": "./loops.lua"},
                              "backends": {"a": f"127.0.0.1:{server.port}"}}
    phases = {"before": [], "during": [], "after": []}
    with Alacrity(config, scripts={"loops.lua": POLICY}) as balancer:
        phase, stop = ["before"], threading.Event()

        def measure():
            while not stop.wait(0.002):
                began = time.perf_counter()
                assert ask(good) == b"a\n"
                phases[phase[0]].append((time.perf_counter() - began) * 1000)

        thread = threading.Thread(target=measure)
        thread.start()
        time.sleep(SECONDS)
        phase[0] = "during"
        while balancer.pool("bad")["policy_out_total"] == 0:
            assert ask(bad) == b"a\n"
        phase[0] = "after"
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            assert ask(bad) == b"a\n"
            time.sleep(0.002)
        stop.set()
        thread.join()
        pool = balancer.pool("bad")
        print(f"stops {pool['policy_overruns_total']}, taken out on {pool['policy_out_workers']} worker")
    for name, values in phases.items():
        values.sort()
        print(f"{name:7} {len(values):6} sessions of the other pool: p50 {values[len(values) // 2]:.2f} "
              f"ms, p99 {values[int(len(values) * .99)]:.2f} ms, max {values[-1]:.2f} ms")


if __name__ == "__main__":
    main()
