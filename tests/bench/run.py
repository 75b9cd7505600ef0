#!/usr/bin/python3
"""Alacrity beside HAProxy and nginx, one worker each, in interleaved rounds: docs/benchmark.md.

    tests/bench/run.py [--rounds 9] [--quick] [--only short,bulk] [--json FILE] [--markdown FILE]

All proxies run at the same time and take turns, so that a machine that gets slower slows all; the
ratios travel to another machine, the times do not.
"""
import argparse
import os
import pathlib
import resource
import shutil
import statistics
import sys
import tempfile
import time

import report
from machine import build, cpu_seconds, describe, first_line, free_ports, kernel_seconds, \
    machine_seconds, start_responder
from proxies import BACKENDS, KINDS, LABELS, Failed, NotTraced, Proxy, Target, \
    connections_allowed, instructions, missing

ROOT = pathlib.Path(__file__).resolve().parents[2]
GIB = 1 << 30
ONLY = ("short", "pingpong", "bulk", "idle", "latency", "calls")
# What one round of a mode is: count, and the generator's second number (see loadgen.c).
# Many short rounds rather than a few long ones: what disturbs the machine then disturbs all alike.
FULL = {"short": (5000, 64), "pingpong": (20000, 16), "down": (GIB // 2, 4), "up": (GIB // 2, 4)}
QUICK = {"short": (300, 16), "pingpong": (400, 4), "down": (32 << 20, 4), "up": (32 << 20, 4)}
# What a proxy adds to what the same load costs without one.
ADDED = {"latency.p50": "latency.added",
         **{f"{mode}.involved": f"{mode}.added" for mode in ("short", "pingpong", "down", "up")}}
UNITS = {"short": 1e6, "pingpong": 1e6, "down": GIB * 1e3, "up": GIB * 1e3}  # us, ms of a GiB


class Run:
    def __init__(self, given, folder):
        self.given, self.folder = given, folder
        self.sizes = QUICK if given.quick else FULL
        self.results, self.elsewhere, self.left_out = {}, [], {}
        self.targets, self.responder, self.rate = [], None, given.rate

    def note(self, key, name, value):
        self.results.setdefault(key, {}).setdefault(name, []).append(value)

    def start(self):
        build(self.folder)
        self.behind = free_ports(BACKENDS)
        self.responder = start_responder(self.folder, self.behind)
        for name in self.given.proxies:
            if (apt := missing(name)):
                print(f"{LABELS[name]} is left out, it is not installed: {apt}")
            else:
                self.targets.append(self.proxy(name))
        self.targets.append(Target(self.folder, self.behind[0]))

    def proxy(self, name):
        return Proxy(name, self.folder, self.behind, binary=self.given.binary)

    def warm_up(self):
        """Also finds the rate for the latency: half of what the slowest proxy can do."""
        count, at_once = self.sizes["short"]
        slowest = min(count / target.load("short", count, at_once)["seconds"]
                      for target in self.targets if "short" in target.modes)
        self.rate = self.rate or max(int(slowest / 2) // 100 * 100, 100)

    def measure(self, mode, target):
        if mode == "idle":
            self.idle(target.name)
        elif mode == "latency":
            seconds = 0.2 if self.given.quick else 2
            said = target.load("latency", max(int(self.rate * seconds), 1), self.rate)
            for key in ("p50", "p99", "p999"):
                self.note(f"latency.{key}", target.name, said[key])
        else:
            self.cost(mode, target)

    def spent(self, target):
        """CPU seconds so far: of the proxy, of all that have to do with the load, of the machine."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        proxy = target.cpu()
        involved = proxy + cpu_seconds(self.responder.pid) + kernel_seconds() + \
            ended.ru_utime + ended.ru_stime
        return proxy, involved, machine_seconds()

    def cost(self, mode, target):
        count, more = self.sizes[mode]
        before, began = self.spent(target), time.monotonic()
        said = target.load(mode, count, more)
        elapsed = time.monotonic() - began
        proxy, involved, machine = (now - then for now, then in zip(self.spent(target), before))
        for key, seconds in (("cpu", proxy), ("involved", involved), ("machine", machine)):
            if key != "cpu" or target.pids:
                self.note(f"{mode}.{key}", target.name, seconds / count * UNITS[mode])
        if mode == "short":
            self.note("short.rate", target.name, count / said["seconds"])
        self.elsewhere.append(max(machine - involved, 0) / elapsed / os.cpu_count())

    def idle(self, name):
        """In a process of its own, because a process that was busy has memory to give already."""
        proxy = self.proxy(name)
        try:
            self.note("idle", name, proxy.idle_bytes(200 if self.given.quick else
                                                     min(self.given.idle, connections_allowed())))
        finally:
            proxy.stop()

    def rounds(self):
        modes = [mode for word in ONLY if word in self.given.only and word != "calls"
                 for mode in (("down", "up") if word == "bulk" else (word,))]
        for number in range(self.given.rounds):
            began = time.monotonic()
            for mode in modes:
                if mode == "idle" and number > 2:
                    continue  # hardly varies
                turns = [target for target in self.targets if mode in target.modes]
                for target in turns if number % 2 == 0 else reversed(turns):
                    self.measure(mode, target)
            for measured, added in ADDED.items():
                for name, values in self.results.get(measured, {}).items():
                    if name != "direct":
                        self.note(added, name, values[-1] - self.results[measured]["direct"][-1])
            print(f"round {number + 1} of {self.given.rounds}: {time.monotonic() - began:.0f} s",
                  flush=True)

    def calls(self):
        """System calls, counted in runs of their own."""
        for target in self.targets:
            if "calls" in target.modes:
                try:
                    calls = target.system_calls(200 if self.given.quick else 20000)
                except NotTraced as reason:
                    print(f"system calls are not counted: {reason}")
                    return
                self.note("calls", target.name, sum(calls.values()))
                print(f"system calls of {LABELS[target.name]}: " + "  ".join(
                    f"{name} {number:.2f}" for name, number in
                    sorted(calls.items(), key=lambda item: -item[1]) if number >= 0.01))

    def instructions(self):
        if not shutil.which("valgrind"):
            print("instructions are not counted: apt-get install valgrind")
            return
        for target in self.targets:
            if "instructions" in target.modes:
                self.note("instructions", target.name, instructions(
                    target.name, self.folder, self.behind, 100 if self.given.quick else 1000,
                    binary=self.given.binary))

    def stop(self):
        for target in self.targets:
            if isinstance(target, Proxy):
                target.stop()
        if self.responder:
            self.responder.terminate()
            self.responder.wait()

    def summary(self, load):
        names = {target.name for target in self.targets}
        versions = {"alacrity": first_line(self.given.binary, "--version")}
        if any(name.startswith("haproxy") for name in names):
            versions["haproxy"] = first_line("haproxy", "-v").split(" - ")[0]
        if "nginx" in names:
            versions["nginx"] = first_line("nginx", "-v").replace("nginx version: ", "")
        return {"machine": {**describe(), "load": load}, "versions": versions,
                "rounds": self.given.rounds, "rate": self.rate,
                "elsewhere": statistics.median(self.elsewhere) if self.elsewhere else 0.0,
                "results": self.results}


def words_of(known):
    def split(text):
        words = text.split(",")
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word} is none of {', '.join(known)}")
        return words
    return split


def options():
    told = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    told.add_argument("--binary", type=pathlib.Path,
                      default=os.environ.get("ALACRITY", ROOT / "build/release/alacrity"))
    told.add_argument("--rounds", type=int, help="9, and 1 with --quick")
    told.add_argument("--quick", action="store_true", help="tiny: shows that it works, no more")
    told.add_argument("--only", type=words_of(ONLY), default=ONLY, help=",".join(ONLY))
    told.add_argument("--proxies", type=words_of(KINDS), default=list(KINDS), help=",".join(KINDS))
    told.add_argument("--rate", type=int, help="for the latency, connections a second")
    told.add_argument("--idle", type=int, default=8000, help="idle connections to open")
    told.add_argument("--instructions", action="store_true",
                      help="count instructions with valgrind, too (slow)")
    told.add_argument("--json", metavar="FILE")
    told.add_argument("--markdown", metavar="FILE")
    told.add_argument("--chart", metavar="FILE", help="SVG")
    given = told.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 9)
    return given


def main():
    given = options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 20000 if hard == resource.RLIM_INFINITY else min(hard, 20000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="alacrity-bench-", dir="/tmp"))
    run = Run(given, folder)
    try:
        run.start()
        run.warm_up()
        before = os.getloadavg()[0]
        run.rounds()
        load = f"{before:.1f} before and {os.getloadavg()[0]:.1f} after"
        if "calls" in given.only:
            run.calls()
        if given.instructions:
            run.instructions()
        done = run.summary(load)
    except Failed as failure:
        sys.exit(f"failed: {failure}")
    finally:
        run.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{report.about(done)}\n\n{report.text(done)}")
    for path, write in ((given.json, report.write_json), (given.markdown, report.write_markdown),
                        (given.chart, report.write_chart)):
        if path:
            write(path, done)


if __name__ == "__main__":
    main()
