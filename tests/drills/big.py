"""Big configurations: what starting, checking and reloading them takes, in time and memory; what the
pages of their facts take; and what reloads cost the sessions meanwhile. `make drill-big`, or

    tests/drills/big.py [--rate N] [--seconds N] [KIND ...]

KIND: backends (10 000 in one pool), pools (1 000 of 10), listeners (1 000), all (all of that at once;
its pages need more than the default lua.memory). The latency of short connections is counted from
when each should have begun, at a steady rate: in quiet, and with ten reloads, each of which changes
half of the addresses; three times in turn, and the medians are told."""
import argparse
import http.client
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))
from machine import build, free_ports, start_responder  # noqa: E402

BINARY = os.environ.get("ALACRITY", str(HERE.parents[1] / "build/release/alacrity"))
BACKENDS, POOLS, LISTENERS = 10000, 1000, 1000
ROUNDS = 3
PAGES = ("/", "/stats.json", "/stats;csv", "/metrics")
WEB, STATS = free_ports(2)


def address_of(listener):
    """Where nobody else listens."""
    return f"127.9.{listener // 100}.1", 12000 + listener % 100


class Site:
    """A configuration of that kind and the process that runs it."""

    def __init__(self, kind, folder, behind):
        self.kind, self.behind = kind, behind
        self.file, self.socket = folder / f"{kind}.yaml", folder / f"{kind}.sock"
        self.log = folder / f"{kind}.log"
        self.write(self.text(0))

    def write(self, text):
        self.file.write_text(text, encoding="ascii")

    def text(self, shift):
        """`shift`: half of the backends are elsewhere than with the next higher one."""
        many = {kind: self.kind in (kind, "all") for kind in ("backends", "pools", "listeners")}
        lines = ["workers: 2", f"admin: {{socket: {self.socket}}}",
                 "log: {sessions: false}", "lua: {memory: 256MiB}" if self.kind == "all" else "",
                 "listeners:", f'  web: {{bind: "127.0.0.1:{WEB}", pool: app}}',
                 f'  stats: {{bind: "127.0.0.1:{STATS}", service: stats}}']
        pools = [f"p{i}" for i in range(POOLS)] if many["pools"] else []
        for i in range(LISTENERS if many["listeners"] else 0):
            pool = pools[i % POOLS] if pools else "app"
            host, port = address_of(i)
            lines.append(f'  l{i}: {{bind: "{host}:{port}", pool: {pool}}}')
        lines.append("pools:")
        for pool in ["app", *pools]:
            count = BACKENDS if pool == "app" and many["backends"] else 10
            lines += [f"  {pool}:", "    policy: least-conn", "    backends:"]
            lines += [f"      b{i}: 127.0.0.1:{self.port_of(i, shift)}" for i in range(count)]
        return "\n".join(lines) + "\n"

    def port_of(self, number, shift):
        return self.behind[(number + (shift if number % 2 else 0)) % len(self.behind)]

    def start(self):
        began = time.monotonic()
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([BINARY, "run", "-f", self.file], stderr=log, stdout=log)
        while not re.search("ready", self.log.read_text("utf-8")):
            if self.process.poll() is not None or time.monotonic() > began + 60:
                sys.exit(f"{self.kind} does not start:\n{self.log.read_text('utf-8')[-2000:]}")
            time.sleep(0.002)
        return (time.monotonic() - began) * 1000

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)

    def memory(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text("ascii")
        return [int(re.search(rf"^{word}: +(\d+)", text, re.M)[1]) / 1024 for word in ("Rss", "Pss")]

    def cpu(self):
        """CPU time of each thread in ms, by its name."""
        return {(task / "comm").read_text("ascii").strip():
                int((task / "schedstat").read_text("ascii").split()[0]) / 1e6
                for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir()}

    def admin(self, *words):
        began = time.monotonic()
        done = subprocess.run([BINARY, *words, "--socket", self.socket], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{words}: {done.stderr[-2000:]}")
        return (time.monotonic() - began) * 1000, done.stdout


def load(folder, count, rate):
    """Latencies of short connections in ms; every byte of them is compared."""
    done = subprocess.run([folder / "loadgen", str(WEB), "latency", str(count), str(rate)],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"a session failed: {done.stderr}")
    return {key: value / 1000 for key, value in json.loads(done.stdout).items() if key != "seconds"}


def median_of(rounds):
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


class Prober(threading.Thread):
    """Asks /healthz, which control answers by itself, as often as it can: how long it was busy."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended, self.worst = threading.Event(), 0

    def run(self):
        asker = http.client.HTTPConnection("127.0.0.1", STATS, timeout=30)
        while not self.ended.wait(0.001):
            began = time.perf_counter()
            asker.request("GET", "/healthz")
            asker.getresponse().read()
            asker.close()
            self.worst = max(self.worst, (time.perf_counter() - began) * 1000)

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def __enter__(self):
        self.start()
        return self


def get(path):
    asker = http.client.HTTPConnection("127.0.0.1", STATS, timeout=60)
    began = time.perf_counter()
    asker.request("GET", path)
    answer = asker.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"{path}: {answer.status} {body[:200]}")
    return (time.perf_counter() - began) * 1000, body


def reload_ten_times(site, seconds, texts):
    """Ten, over that time; how long each took."""
    took, pause = [], seconds / 11
    for text in texts:
        time.sleep(pause)
        site.write(text)
        took.append(site.admin("reload")[0])
    return took


def drill(kind, folder, given):
    behind = free_ports(8)
    responder = start_responder(folder, behind)
    site = Site(kind, folder, behind)
    began = time.monotonic()
    subprocess.run([BINARY, "check", "-f", site.file], check=True, capture_output=True)
    checked = (time.monotonic() - began) * 1000
    print(f"\n{kind}: check {checked:.0f} ms, start {site.start():.0f} ms", end="")
    print(", memory {:.0f} MiB (PSS {:.0f})".format(*site.memory()))
    try:
        before = site.cpu()
        took = statistics.median(site.admin("reload")[0] for _ in range(5))
        time.sleep(0.3)  # what the old plans' end costs belongs to it
        print(f"  reload {took:.0f} ms (median of 5)", end="")
        print(", memory then {:.0f} MiB (PSS {:.0f})".format(*site.memory()))
        print("    CPU ms of each, by thread:", ", ".join(
            f"{name} {(spent - before.get(name, 0)) / 5:.2f}"
            for name, spent in sorted(site.cpu().items()) if spent - before.get(name, 0) > 0.01))
        for words in (("status",), ("script", "list"), ("backend", "list")):
            with Prober() as prober:
                took, text = site.admin(*words)
            print(f"  {' '.join(words):14} {took:6.0f} ms {len(text) / 1024:8.0f} KiB, "
                  f"control busy for up to {prober.worst:.0f} ms")
        for page in PAGES:
            with Prober() as prober:
                took, text = get(page)
            print(f"  GET {page:10} {took:6.0f} ms {len(text) / 1024:8.0f} KiB, "
                  f"control busy for up to {prober.worst:.0f} ms")
        count = int(given.rate * given.seconds)
        load(folder, count // 5, given.rate)  # warm
        quiet, during, times = [], [], []
        texts = [site.text(number + 1) for number in range(10)]  # before: it takes this Python a while
        for _ in range(ROUNDS):  # in turns: what else the machine does then disturbs both
            quiet.append(load(folder, count, given.rate))
            reloader = threading.Thread(
                target=lambda: times.extend(reload_ten_times(site, given.seconds, texts)))
            reloader.start()
            during.append(load(folder, count, given.rate))
            reloader.join()
        quiet, during = median_of(quiet), median_of(during)
        print(f"  {given.rate} connections a second, ms: {'p50':>8} {'p99':>8} {'p99.9':>8} {'max':>8}")
        for name, values in (("in quiet", quiet), ("ten reloads", during)):
            print(f"    {name:30}" + "".join(f" {values[key]:8.2f}" for key in
                                             ("p50", "p99", "p999", "max")))
        print(f"    reloads: median {statistics.median(times):.0f} ms, longest {max(times):.0f} ms; "
              f"p99.9 added {during['p999'] - quiet['p999']:.2f} ms")
        more = ("l0", f"l{LISTENERS - 1}") if kind in ("listeners", "all") else ()
        for name in more:
            with socket.create_connection(address_of(int(name[1:])), timeout=30) as session:
                session.sendall(b"x" * 32)
                session.shutdown(socket.SHUT_WR)
                while session.recv(100):
                    pass
        facts = json.loads(get("/stats.json")[1])
        for name in more:
            assert facts["listeners"][name]["ended"]["done"] + \
                facts["listeners"][name]["ended"]["backend_reset"] == 1, f"{name} does not serve"
        assert facts["configuration"] == 6 + 10 * ROUNDS and facts["pools"]["app"]["sessions_total"] > 2 * ROUNDS * count
        assert facts["pools"]["app"]["backends"]["b1"]["address"].endswith(
            f":{site.port_of(1, 10)}"), "not the last configuration"
    finally:
        code = site.stop()
        responder.kill()
        responder.wait()
    assert code == 0, f"exit code {code}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=["backends", "pools", "listeners", "all"])
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alacrity-big-") as name:
        folder = pathlib.Path(name)
        build(folder)
        for kind in given.kinds:
            drill(kind, folder, given)


if __name__ == "__main__":
    main()
