"""What the benchmark needs of the machine: its own programs built, ports, CPU and memory read."""
import datetime
import os
import pathlib
import random
import socket
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BUILT = HERE.parents[1] / "build/bench"
TICK = os.sysconf("SC_CLK_TCK")
PROGRAMS = {"loadgen": ("loadgen", "load_exchange", "load_bulk", "wire"),
            "responder": ("responder", "wire")}


def build(folder):
    """Puts the programs there; they are made once and kept, until a source is newer."""
    BUILT.mkdir(parents=True, exist_ok=True)
    newest = max(source.stat().st_mtime for source in HERE.glob("*.[ch]"))
    for name, sources in PROGRAMS.items():
        made = BUILT / name
        if not made.exists() or made.stat().st_mtime < newest:
            unfinished = BUILT / f"{name}.{os.getpid()}"  # another may be making it, too
            subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o",
                            unfinished, *(HERE / f"{source}.c" for source in sources)], check=True)
            unfinished.replace(made)
        (folder / name).symlink_to(made)


def free_ports(count):
    """Below the range from which the kernel takes the ports of outgoing connections."""
    found = set()
    while len(found) < count:
        port = random.randrange(10000, 18000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                found.add(port)
            except OSError:
                pass
    return list(found)


def start_responder(folder, ports):
    """The backends; returns their process."""
    with open(folder / "responder.log", "w", encoding="ascii") as log:
        process = subprocess.Popen([folder / "responder", *map(str, ports)],
                                   stdout=subprocess.PIPE, stderr=log)
    if process.stdout.readline() != b"ready\n":
        sys.exit("the responder does not start: " + (folder / "responder.log").read_text("ascii"))
    return process


def family(pid):
    """The process and its children, such as nginx's worker."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *(each for child in children for each in family(int(child)))]


def cpu_seconds(pid):
    """CPU time of all threads, exact where the kernel shows it (schedstat), else in its ticks."""
    exact = 0.0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            exact += int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
        except (OSError, IndexError):
            text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
            fields = text.rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / TICK
    return exact


def machine_seconds():
    """CPU time that the whole machine has spent on anything, stolen time left out."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _wait, irq, softirq = map(int, stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICK


def kernel_seconds():
    """CPU time of the kernel's own threads: where work that a proxy hands on would be done."""
    total = 0.0
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text("ascii", "replace")
            if stat.rpartition(")")[2].split()[1] == "2":  # its parent: kthreadd
                total += cpu_seconds(folder.name)
        except OSError:
            pass  # it has ended
    return total


def memory_bytes(pid):
    """Proportional set size: memory shared with others counts in shares."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Pss:"))


def first_line(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).partition("\n")[0].strip()


def describe():
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "cpu": model, "cpus": os.cpu_count(), "kernel": os.uname().release}
