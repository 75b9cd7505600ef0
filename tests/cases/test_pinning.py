"""`pin_workers` ties each worker to one CPU of those the process may use."""
import os

from support import Alacrity, Server, ask, free_port, serve_name, web_over


def workers_cpus(balancer):
    """What the kernel lets each worker run on."""
    found = {}
    for name, task in balancer.threads():
        if name.startswith("worker "):
            found[int(name.split()[1])] = os.sched_getaffinity(int(task.name))
    return found


def shown(balancer):
    return {worker["index"]: worker["cpu"] for worker in balancer.admin("status")["workers"]}


def test_workers_are_tied_and_let_loose_by_reloads():
    server, port, allowed = Server(serve_name, "a"), free_port(), os.sched_getaffinity(0)
    config, cpus = web_over([server], port), sorted(os.sched_getaffinity(0))
    with Alacrity({**config, "workers": 3, "pin_workers": True}) as balancer:
        wanted = {index: cpus[index % len(cpus)] for index in range(3)}
        assert workers_cpus(balancer) == {index: {cpu} for index, cpu in wanted.items()}
        assert shown(balancer) == wanted
        assert {worker["index"]: worker["cpu"] for worker in balancer.stats()["workers"]} == wanted
        assert ask(port) == b"a\n"
        balancer.reload({**config, "workers": 3})
        assert set(map(frozenset, workers_cpus(balancer).values())) == {frozenset(allowed)}
        assert set(shown(balancer).values()) == {None}
        balancer.reload({**config, "workers": 4, "pin_workers": True})
        assert shown(balancer)[3] == cpus[3 % len(cpus)]
        assert os.sched_getaffinity(balancer.pid) == allowed  # of the main thread


def test_only_cpus_the_process_may_use_are_dealt_out():
    """As a cgroup's cpuset, or `taskset`, says."""
    server, port, before = Server(serve_name, "a"), free_port(), os.sched_getaffinity(0)
    last = max(before)
    os.sched_setaffinity(0, {last})
    try:
        balancer = Alacrity({**web_over([server], port), "workers": 2, "pin_workers": True})
    finally:
        os.sched_setaffinity(0, before)
    with balancer:
        assert workers_cpus(balancer) == {0: {last}, 1: {last}}
        assert shown(balancer) == {0: last, 1: last}
