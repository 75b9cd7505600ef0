#!/usr/bin/python3
"""CPU per short connection, Alacrity beside HAProxy, both with one worker, in interleaved rounds.

    tests/bench/run.py [--rounds 7] [--count 20000] [--concurrency 64] [--strace] [--nginx no]

What is compared is the CPU time (user and system) of the whole proxy process per connection, from
/proc/PID/stat; the ratio of medians is what travels to another machine, the times do not. Both run
at the same time and take turns, so that a machine that gets slower slows both.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TICK = os.sysconf("SC_CLK_TCK")

ALACRITY = """\
workers: 1
admin: {{socket: "{folder}/admin.sock"}}
listeners:
  web: {{bind: "127.0.0.1:{port}", pool: app}}
pools:
  app:
    policy: round-robin
    backends: {{{backends}}}
"""

HAPROXY = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 5m
    timeout server 5m
listen web
    bind 127.0.0.1:{port}
    balance roundrobin
{servers}
"""


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def build(folder):
    for name in ("loadgen", "responder"):
        subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o",
                        folder / name, HERE / f"{name}.c"], check=True)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    # sum_exec_runtime is finer than the ticks, where the kernel shows it
    exact = 0.0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            exact += int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
        except (OSError, IndexError):
            return (int(fields[11]) + int(fields[12])) / TICK
    return exact


def wait_port(port, process):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"the proxy ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit("the proxy does not listen")


class Proxy:
    def __init__(self, name, port, words):
        self.name, self.port, self.costs, self.rates = name, port, [], []
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        wait_port(port, self.process)

    @property
    def pid(self):
        return self.process.pid

    def round(self, folder, count, concurrency):
        before = cpu_seconds(self.pid)
        done = subprocess.run([folder / "loadgen", "127.0.0.1", str(self.port), str(count),
                               str(concurrency)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{self.name}: {done.stdout}{done.stderr}")
        cost = (cpu_seconds(self.pid) - before) / count * 1e6
        seconds = float(re.search(r"([\d.]+) s", done.stdout).group(1))
        return cost, count / seconds

    def system_calls(self, folder, count, concurrency):
        """Calls per connection by name; its own run, because tracing makes everything slow."""
        report = folder / f"{self.name}.strace"
        tracer = subprocess.Popen(["strace", "-c", "-f", "-o", report, "-p", str(self.pid)],
                                  stderr=subprocess.PIPE)
        tracer.stderr.readline()  # "Process N attached"
        self.round(folder, count, concurrency)
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        calls = {}
        for line in report.read_text(encoding="ascii").splitlines():
            found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if found and found.group(2) != "total":
                calls[found.group(2)] = int(found.group(1)) / count
        return calls

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--binary", default=os.environ.get("ALACRITY",
                                                            ROOT / "build/release/alacrity"))
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--count", type=int, default=20000, help="connections a round")
    options.add_argument("--concurrency", type=int, default=64)
    options.add_argument("--backends", type=int, default=4)
    options.add_argument("--strace", action="store_true", help="count system calls, too")
    options.add_argument("--limit", type=float, help="exit 1 when the ratio is above")
    given = options.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="alacrity-bench-"))
    started = []
    try:
        build(folder)
        alacrity_port, haproxy_port, *behind = free_ports(2 + given.backends)
        responder = subprocess.Popen([folder / "responder", *map(str, behind)],
                                     stdout=subprocess.PIPE)
        started.append(responder)
        if responder.stdout.readline() != b"ready\n":
            sys.exit("the responder does not start")
        (folder / "alacrity.yaml").write_text(ALACRITY.format(
            folder=folder, port=alacrity_port,
            backends=", ".join(f'b{i}: "127.0.0.1:{p}"' for i, p in enumerate(behind))),
            encoding="ascii")
        (folder / "haproxy.cfg").write_text(HAPROXY.format(
            port=haproxy_port,
            servers="\n".join(f"    server b{i} 127.0.0.1:{p}" for i, p in enumerate(behind))),
            encoding="ascii")
        ours = Proxy("alacrity", alacrity_port,
                     [given.binary, "run", "-f", folder / "alacrity.yaml"])
        started.append(ours.process)
        theirs = Proxy("haproxy", haproxy_port, ["haproxy", "-db", "-f", folder / "haproxy.cfg"])
        started.append(theirs.process)

        proxies = [ours, theirs]
        for proxy in proxies:
            proxy.round(folder, given.count // 4 or 1, given.concurrency)  # warm up
        print(f"{given.rounds} rounds of {given.count} connections, {given.concurrency} at a time; "
              "CPU in us per connection")
        for number in range(given.rounds):
            for proxy in proxies if number % 2 == 0 else reversed(proxies):
                cost, rate = proxy.round(folder, given.count, given.concurrency)
                proxy.costs.append(cost)
                proxy.rates.append(rate)
            print(f"  round {number + 1}: alacrity {ours.costs[-1]:6.1f}  haproxy "
                  f"{theirs.costs[-1]:6.1f}  ratio {ours.costs[-1] / theirs.costs[-1]:.3f}")
        for proxy in proxies:
            print(f"{proxy.name:9} median {statistics.median(proxy.costs):6.1f} us  "
                  f"(min {min(proxy.costs):.1f}, max {max(proxy.costs):.1f})  "
                  f"{statistics.median(proxy.rates):.0f} connections/s")
        ratio = statistics.median(ours.costs) / statistics.median(theirs.costs)
        paired = statistics.median(a / b for a, b in zip(ours.costs, theirs.costs))
        print(f"ratio of medians {ratio:.3f}, median of the rounds' ratios {paired:.3f}")
        if given.strace:
            for proxy in proxies:
                calls = proxy.system_calls(folder, 2000, given.concurrency)
                listed = "  ".join(f"{name} {number:.2f}" for name, number in
                                   sorted(calls.items(), key=lambda item: -item[1])
                                   if number >= 0.01)
                print(f"{proxy.name}: {sum(calls.values()):.1f} system calls a connection: {listed}")
        if given.limit and ratio > given.limit:
            sys.exit(f"the ratio is above {given.limit}")
    finally:
        for process in started:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
