"""The proxies that are compared: how each is configured, started, measured and stopped.

All have one worker thread, four backends in turn, the same timeouts and, where they can, a TCP
check of each backend every two seconds and a stats page. To compare one more, add it to KINDS.
"""
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

from machine import cpu_seconds, family, free_ports, memory_bytes

BACKENDS = 4
EVERYTHING = {"short", "pingpong", "down", "up", "idle", "latency", "calls", "instructions"}


class Failed(Exception):
    """A run whose numbers are worth nothing."""


class NotTraced(Exception):
    """The machine does not let one process look into another."""


def connections_allowed():
    """A proxied connection needs two descriptors in the proxy, and some are needed for the rest."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 400) // 2


def alacrity(folder, port, stats_port, behind):
    backends = ", ".join(f'b{i}: "127.0.0.1:{p}"' for i, p in enumerate(behind))
    (folder / "alacrity.yaml").write_text(f"""\
workers: 1
timeouts: {{connect: 5s, idle: 5m}}
admin: {{socket: "{folder}/admin.sock"}}
listeners:
  web: {{bind: "127.0.0.1:{port}", pool: app}}
  stats: {{bind: "127.0.0.1:{stats_port}", service: stats}}
pools:
  app:
    policy: round-robin
    check: {{type: tcp, interval: 2s}}
    backends: {{{backends}}}
""", encoding="ascii")
    return ["run", "-f", folder / "alacrity.yaml"]


def haproxy(folder, port, stats_port, behind, *, top="", defaults="", listen=""):
    servers = "\n".join(f"    server b{i} 127.0.0.1:{p} check inter 2s"
                        for i, p in enumerate(behind))
    (folder / "haproxy.cfg").write_text(f"""\
global
    nbthread 1
    maxconn {connections_allowed()}
{top}
defaults
    mode tcp
    timeout connect 5s
    timeout client 5m
    timeout server 5m
{defaults}
listen stats
    mode http
    bind 127.0.0.1:{stats_port}
    stats enable
    stats uri /
listen web
    bind 127.0.0.1:{port}
    balance roundrobin
{listen}
{servers}
""", encoding="ascii")
    return ["-db", "-f", folder / "haproxy.cfg"]


def haproxy_splice(*where):
    return haproxy(*where, top="    maxpipes 64",
                   defaults="    option splice-request\n    option splice-response")


def haproxy_lua(folder, *where):
    """The one way HAProxy has to choose a server in Lua."""
    (folder / "pick.lua").write_text(f"""\
local turn = 0
core.register_action("pick", {{"tcp-req"}}, function(txn)
  turn = (turn + 1) % {BACKENDS}
  txn:set_var("txn.server", "b" .. turn)
end)
""", encoding="ascii")
    return haproxy(
        folder, *where, top=f"    lua-load {folder}/pick.lua",
        listen="    tcp-request content lua.pick\n" +
        "\n".join(f"    use-server b{i} if {{ var(txn.server) -m str b{i} }}"
                  for i in range(BACKENDS)))


def nginx_module(program):
    for folder in (pathlib.Path(program).parents[1] / "lib/nginx/modules",
                   pathlib.Path("/usr/lib/nginx/modules")):
        if (folder / "ngx_stream_module.so").exists():
            return folder / "ngx_stream_module.so"
    return None


def nginx(folder, port, _stats_port, behind):
    servers = "\n".join(f"        server 127.0.0.1:{p};" for p in behind)
    (folder / "nginx.conf").write_text(f"""\
load_module {nginx_module(shutil.which("nginx"))};
daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections {2 * connections_allowed()}; }}
stream {{
    upstream app {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_pass app;
        proxy_connect_timeout 5s;
        proxy_timeout 5m;
    }}
}}
""", encoding="ascii")
    return ["-p", folder, "-e", folder / "nginx.err", "-c", folder / "nginx.conf"]


HAPROXY_APT = "apt-get install haproxy"
NGINX_APT = "apt-get install nginx libnginx-mod-stream"
# name: label, program, how to configure, how to get it, what it is measured in
KINDS = {
    "alacrity": ("Alacrity", None, alacrity, None, EVERYTHING),
    "haproxy": ("HAProxy", "haproxy", haproxy, HAPROXY_APT, EVERYTHING),
    "haproxy-lua": ("HAProxy, Lua picks", "haproxy", haproxy_lua, HAPROXY_APT,
                    {"short", "latency", "calls", "instructions"}),
    "haproxy-splice": ("HAProxy, splicing", "haproxy", haproxy_splice, HAPROXY_APT, {"down", "up"}),
    "nginx": ("nginx stream", "nginx", nginx, NGINX_APT, EVERYTHING),
}
LABELS = {**{name: kind[0] for name, kind in KINDS.items()}, "direct": "no proxy"}


def missing(name):
    """Why a proxy cannot take part, or None."""
    _, program, _, apt, _ = KINDS[name]
    if program and not shutil.which(program):
        return apt
    if name == "nginx" and not nginx_module(shutil.which(program)):
        return apt
    return None


class Target:
    """What load is sent to: a proxy, or (as it stands here) a backend itself."""
    name, modes, pids = "direct", {"short", "pingpong", "down", "up", "latency"}, ()

    def __init__(self, programs, port):
        self.programs, self.port = programs, port

    def load(self, mode, count, more):
        """Sends load and returns what the generator says of it."""
        done = subprocess.run([self.programs / "loadgen", str(self.port), mode, str(count),
                               str(more)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            responder = (self.programs / "responder.log").read_text(encoding="ascii")
            raise Failed(f"{self.name}, {mode}: {done.stdout}{done.stderr}{responder}{self.log()}")
        return json.loads(done.stdout)

    def log(self):
        return ""

    def cpu(self):
        return sum(map(cpu_seconds, self.pids))


class Proxy(Target):
    """A running proxy, in a folder of its own."""

    def __init__(self, name, programs, behind, *, binary, before=()):
        label, program, configure, _, self.modes = KINDS[name]
        port, stats_port = free_ports(2)
        super().__init__(programs, port)
        self.name, self.label = name, label
        self.folder = programs / f"{name}-{port}"
        self.folder.mkdir()
        words = configure(self.folder, port, stats_port, behind)
        with open(self.folder / "log", "w", encoding="ascii") as log:
            self.process = subprocess.Popen([*before, binary if name == "alacrity" else program,
                                             *words], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        self.wait_ready()

    @property
    def pids(self):
        return family(self.process.pid)

    def wait_ready(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}: {self.log()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise Failed(f"{self.name} does not listen: {self.log()}")

    def log(self):
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]

    def memory(self):
        return sum(map(memory_bytes, self.pids))

    def idle_bytes(self, count):
        """Growth of memory per connection while `count` are open and silent."""
        self.load("short", 500, 16)  # what the first connections bring into memory is not theirs
        before = self.memory()
        with subprocess.Popen([self.programs / "loadgen", str(self.port), "idle", str(count),
                               "64"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as holder:
            held = holder.stdout.readline() == "holding\n"
            growth = self.memory() - before if held else 0
            _, complaint = holder.communicate()
        if not held or holder.returncode != 0:
            raise Failed(f"{self.name}, idle: {complaint}{self.log()}")
        return growth / count

    def system_calls(self, count):
        """Calls per short connection by name. perf's counters hardly slow anything down; strace makes
        every call slow, and so calls that come once a turn more frequent."""
        totals = self.counted_by_perf(count) if shutil.which("perf") else {}
        if not totals:
            count //= 10
            totals = self.counted_by_strace(count)
        return {name: total / count for name, total in totals.items()}

    def counted_by_perf(self, count):
        """{}: perf may not or cannot."""
        report, events = self.folder / "perf", "syscalls:sys_enter_*"
        orders, order = os.pipe()
        said, say = os.pipe()
        with subprocess.Popen(
                ["perf", "stat", "-x,", "-o", report, "-e", events, "-D", "-1", "--control",
                 f"fd:{orders},{say}", "-p", ",".join(map(str, self.pids))],
                pass_fds=(orders, say), stderr=subprocess.DEVNULL) as counter:
            os.close(orders)
            os.close(say)
            with open(order, "wb", buffering=0) as tell, open(said, "rb", buffering=0) as answers:
                try:
                    tell.write(b"enable\n")
                    if not answers.read(4):  # its "ack"; the end of the pipe if it has given up
                        return {}
                except BrokenPipeError:
                    return {}
                try:
                    self.load("short", count, 64)
                finally:
                    counter.send_signal(signal.SIGINT)  # it writes its report
        fields = [line.split(",") for line in report.read_text(encoding="ascii").splitlines()]
        return {each[2].removeprefix("syscalls:sys_enter_"): int(each[0])
                for each in fields if len(each) > 2 and each[0].isdigit() and int(each[0]) > 0}

    def counted_by_strace(self, count):
        if not shutil.which("strace"):
            raise NotTraced("apt-get install linux-perf or strace")
        report = self.folder / "strace"
        attach = [word for pid in self.pids for word in ("-p", str(pid))]
        with subprocess.Popen(["strace", "-c", "-f", "-o", report, *attach],
                              stderr=subprocess.PIPE, text=True) as tracer:
            for _ in self.pids:
                said = tracer.stderr.readline()
                if "attached" not in said:
                    tracer.kill()
                    raise NotTraced(said.strip())
            try:
                self.load("short", count, 64)
            finally:
                tracer.send_signal(signal.SIGINT)  # it detaches and writes its report
                tracer.stderr.read()
        totals = {}
        for line in report.read_text(encoding="ascii").splitlines():
            found = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if found and found.group(2) != "total":
                totals[found.group(2)] = int(found.group(1))
        return totals

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def instructions(name, programs, behind, count, **more):
    """User-space instructions per short connection, counted by valgrind in runs of its own, of two
    lengths: the difference has no start and end of the process in it. Cachegrind, because callgrind
    does not survive the jumps by which a runaway script is left."""
    totals = []
    for connections in (count, 3 * count):
        proxy = Proxy(name, programs, behind, before=[
            "valgrind", "--tool=cachegrind", "--cache-sim=no",
            f"--cachegrind-out-file={programs}/{name}-{connections}.%p"], **more)
        try:
            proxy.load("short", connections, 64)
        finally:
            proxy.stop()
        counted = [int(re.search(r"^summary: (\d+)", file.read_text(errors="replace"), re.M)[1])
                   for file in programs.glob(f"{name}-{connections}.*")]
        if not counted:
            raise Failed(f"{name}: valgrind counted nothing: {proxy.log()}")
        totals.append(sum(counted))
    return (totals[1] - totals[0]) / (2 * count)
