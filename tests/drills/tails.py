"""What everything else on a worker costs a session in latency: p50, p99, p99.9 and the longest of a
steady load far below saturation (short connections, and 16 that stay and ask and answer), latency
counted from when a request should have started. Each disturbance takes turns with quiet, so that the
machine's own noise shows. Beside it what the balancer tells of itself: the longest turn of the
worker's loop by the wall and in CPU time, long turns, and how long the worker was ready to run while
the machine ran something else. Where it may, it gives the balancer, the probe and its backend
real-time priority, so that what else the machine does disturbs them less.
`python3 tests/drills/tails.py [NAME...]`."""
import array
import contextlib
import http.client
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "cases"), str(HERE.parent / "bench")]
from machine import build, start_responder  # noqa: E402
from support import Alacrity, ask, dial, eventually, free_port  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS_EACH", "4"))
STAYING, STAYING_RATE, SHORT_RATE = 16, 800, 300
LOOPS = """
return { api = 1, kind = "policy", name = "loops", new = function() return {
  pick = function(self, ctx, pool)
    if ctx.listener ~= "trial" then while true do end end
    return pool[1]
  end } end }
"""
GREEDY = """
return { api = 1, kind = "policy", name = "greedy", new = function()
  local kept, at = {}, 0
  return { pick = function(self, ctx, pool)
    at = at % 64 + 1
    local fresh = {}
    for i = 1, 128 do fresh[i] = { i } end -- about 10 KiB in small pieces
    kept[at] = fresh
    return pool[1]
  end } end }
"""
OTHER = """
return { api = 1, kind = "policy", name = "other", new = function() return {
  pick = function(self, ctx, pool) return pool[1] end } end }
"""


def hurry(pid, priority):
    """Ahead of everything without such a priority, with all its threads."""
    with contextlib.suppress(PermissionError):
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setscheduler(int(task), os.SCHED_RR, os.sched_param(priority))


class Stage:
    """The balancer over two responders: one for the probe alone, one for what disturbs."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {name: free_port() for name in ("app", "other", "bad", "greedy", "backend",
                                                     "second")}
        responders = (start_responder(folder, [self.ports["backend"]]),
                      start_responder(folder, [self.ports["second"]]))
        self.to_end = list(responders)
        hurry(responders[0].pid, 10)
        self.balancer = Alacrity(self.config(), scripts={
            "loops.lua": LOOPS, "greedy.lua": GREEDY, "other.lua": OTHER})
        self.balancer.__enter__()
        hurry(self.balancer.pid, 5)
        self.worker = dict(self.balancer.threads())["worker 0"]

    def config(self, **more):
        second = {"b": f"127.0.0.1:{self.ports['second']}"}
        pools = {"app": {"backends": {"a": f"127.0.0.1:{self.ports['backend']}"}},
                 "other": {"backends": second},
                 "bad": {"policy": {"script": "./loops.lua"}, "backends": second},
                 "greedy": {"policy": {"script": "./greedy.lua"}, "backends": second}}
        return {"workers": 1, "lua": {"rollback_errors": 0}, **more,
                "pools": {**pools, **more.get("pools", {})},
                "listeners": {name: {"bind": f"127.0.0.1:{self.ports[name]}", "pool": name}
                              for name in ("app", "other", "bad", "greedy")}}

    def close(self, failed):
        self.balancer.__exit__(failed, None, None)
        for process in self.to_end:
            process.kill()
            process.wait()

    def loadgen(self, listener, mode, count, at_once, **options):
        return subprocess.Popen([self.folder / "loadgen", str(self.ports[listener]), mode,
                                 str(count), str(at_once)], stdout=subprocess.DEVNULL, **options)

    def probe(self):
        done = subprocess.run([self.folder / "tails_probe", str(self.ports["app"]), str(SECONDS),
                               str(STAYING), str(STAYING_RATE), str(SHORT_RATE)],
                              stdout=subprocess.PIPE, check=True,
                              preexec_fn=lambda: hurry(os.getpid(), 10))
        samples = array.array("d", done.stdout)
        return samples[1::2]

    def told(self):
        worker = self.balancer.stats()["workers"][0]
        waited = (self.worker / "schedstat").read_text(encoding="ascii").split()[1]
        return {**worker, "waited_ms": int(waited) / 1e6}


# ---- what disturbs: each is a context that lasts as long as it disturbs ----

@contextlib.contextmanager
def repeated(action, pause=0.0):
    """The action again and again, in a thread."""
    stop = threading.Event()
    failed = []

    def run():
        try:
            while not stop.is_set():
                action()
                stop.wait(pause)
        except Exception as error:  # every kind of failure counts
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()
    if failed:
        raise failed[0]


@contextlib.contextmanager
def configured(stage, **more):
    stage.balancer.reload(stage.config(**more))
    yield
    stage.balancer.reload(stage.config())


@contextlib.contextmanager
def overruns(stage):
    stage.balancer.reload()  # the policy is asked again
    def overrun():
        for _ in range(3):
            dial(stage.ports["bad"]).close()
            time.sleep(SECONDS / 4)
    before = stage.balancer.pool("bad")["policy_overruns_total"]
    with repeated(overrun, SECONDS):
        yield
    assert stage.balancer.pool("bad")["policy_overruns_total"] > before


def checks(stage):
    return configured(stage, pools={"checked": {
        "check": {"type": "tcp", "interval": "1s"},
        "backends": {f"c{i}": f"127.0.0.1:{stage.ports['second']}" for i in range(50)}}})


def pages(stage):
    connection = http.client.HTTPConnection("127.0.0.1", stage.balancer.stats_port)

    def get():
        for path in ("/", "/metrics", "/stats.json"):
            connection.request("GET", path)
            assert connection.getresponse().read()
    return repeated(get)


def session_log(stage):
    return configured(stage, log={"sessions": True, "target": str(stage.folder / "session.log")})


@contextlib.contextmanager
def log_nobody_reads(stage):
    """More than its pipe and the rings hold, so that lines are lost."""
    fifo = stage.folder / "log.fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    log = {"sessions": True, "target": str(fifo)}
    with configured(stage, log=log):
        before = stage.balancer.stats()["log_dropped_total"]
        other = stage.loadgen("other", "short", 4000, 8)
        assert other.wait() == 0
        yield
        assert stage.balancer.stats()["log_dropped_total"] > before
    os.close(reader)
    os.unlink(fifo)


@contextlib.contextmanager
def log_reader_stops(stage):
    """What a disk that hangs now and then looks like."""
    fifo = stage.folder / "log.fifo"
    os.mkfifo(fifo)
    with open(stage.folder / "taken.log", "wb") as taken, \
            subprocess.Popen(["cat", fifo], stdout=taken) as reader:
        def hang():
            reader.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            reader.send_signal(signal.SIGCONT)
        with configured(stage, log={"sessions": True, "target": str(fifo)}), repeated(hang, 0.2):
            yield
        reader.kill()
    os.unlink(fifo)


def reloads(stage):
    return repeated(stage.balancer.reload, 0.05)


def swaps(stage):
    def swap():
        with dial(str(stage.balancer.socket)) as admin:
            admin.sendall(f"script swap other {stage.balancer.folder}/other.lua\n".encode())
            answer = admin.recv(4096)
            assert answer.startswith(b"ok"), answer
            admin.recv(4096)
    return repeated(swap, 0.02)


@contextlib.contextmanager
def streams(stage, mode):
    running, ended = [], threading.Event()

    def run():
        if ended.is_set():
            return
        running.append(stage.loadgen("other", mode, 4 << 30, 4, stderr=subprocess.DEVNULL))
        running[-1].wait()
    with repeated(run):
        eventually(lambda: running)
        yield
        ended.set()
        running[-1].kill()


def down(stage):
    return streams(stage, "down")


def up(stage):
    return streams(stage, "up")


@contextlib.contextmanager
def crowd(stage):
    """5 000 are opened at once, ask and are answered, and close at once; again and again."""
    def come_and_go():
        crowd_of = stage.loadgen("other", "idle", 5000, 5000, stdin=subprocess.DEVNULL)
        assert crowd_of.wait() == 0
    with repeated(come_and_go, 0.5):
        yield


@contextlib.contextmanager
def listed(stage):
    """`session list` while 8 000 are open."""
    held = stage.loadgen("other", "idle", 8000, 500, stdin=subprocess.PIPE)
    eventually(lambda: stage.balancer.listener("other")["sessions_active"] == 8000)

    def ask_list():
        with dial(str(stage.balancer.socket)) as admin:
            admin.sendall(b"session list\n")
            while admin.recv(1 << 20):
                pass
    with repeated(ask_list, 0.3):
        yield
    held.stdin.close()
    assert held.wait() == 0


def connections_of(name):
    """Short connections of another pool, as fast as the probe's own, three times as many."""
    @contextlib.contextmanager
    def run(stage):
        other = stage.loadgen(name, "latency", int(3 * SHORT_RATE * (SECONDS + 1)), 3 * SHORT_RATE)
        yield
        assert other.wait() == 0
    return run


DISTURBANCES = {
    "nothing": lambda stage: contextlib.nullcontext(),
    "another pool's policy overruns": overruns,
    "50 checks a second": checks,
    "page, /metrics, /stats.json": pages,
    "session log to a file": session_log,
    "session log nobody reads": log_nobody_reads,
    "session log, reader stops": log_reader_stops,
    "reloads": reloads,
    "script swaps": swaps,
    "4 streams of 1 GiB down": down,
    "4 streams of 1 GiB up": up,
    "5000 come and go at once": crowd,
    "session list of 8000": listed,
    "another pool's connections": connections_of("other"),
    "those of a policy that allocates": connections_of("greedy"),
}


def described(samples):
    samples = sorted(samples)
    at = [samples[int((len(samples) - 1) * share)] * 1000 for share in (.5, .99, .999, 1)]
    return " ".join(f"{value:6.2f}" for value in at)


def measure(folder, name, disturbance):
    stage, failed = Stage(folder), True
    samples = {"quiet": [], "disturbed": []}
    sums = {"quiet": [0, 0], "disturbed": [0, 0]}
    try:
        for _ in range(ROUNDS):
            for phase in samples:
                with disturbance(stage) if phase == "disturbed" else contextlib.nullcontext():
                    before = stage.told()
                    samples[phase] += stage.probe()
                    after = stage.told()
                for i, key in enumerate(("long_turns_total", "waited_ms")):
                    sums[phase][i] += after[key] - before[key]
            if phase == "disturbed":
                worst = after
        failed = None
    finally:
        stage.close(failed)
    print(f"{name:34}", end="")
    for phase in samples:
        print(f" | {described(samples[phase])} | {sums[phase][0]:3} {sums[phase][1]:7.1f}", end="")
    print(f" | {worst['turn_max_ms']:6.2f} {worst['turn_cpu_max_ms']:6.2f}", flush=True)


def main():
    wanted = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{'':34} | {'quiet: p50, p99, p99.9, max ms':^27} | {'long, waited':^11}"
          f" | {'disturbed: the same':^27} | {'long, waited':^11} | longest turn, CPU")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-o",
                        folder / "tails_probe", HERE / "tails_probe.c",
                        HERE.parent / "bench/wire.c"], check=True)
        for name, disturbance in DISTURBANCES.items():
            if not wanted or any(word in name for word in wanted):
                measure(folder, name, disturbance)


if __name__ == "__main__":
    main()
