"""Big configurations start, serve, reload and tell of themselves like small ones."""
import json
import threading

import pytest

from support import SANITIZED, Alacrity, ServerProcess, ask, free_port, serve_name, web_over

MANY = 2000 if SANITIZED else 10000


def named(server, count, first=0):
    return {f"b{i}": f"127.0.0.1:{server.port}" for i in range(first, first + count)}


@pytest.mark.heavy
@pytest.mark.bound(120)
def test_ten_thousand_backends_and_half_of_them_changed():
    """What stays keeps its counts, what goes is gone, and no page leaves any out."""
    old, new = ServerProcess(serve_name, "old"), ServerProcess(serve_name, "new")
    web = free_port()
    config = web_over([old], web, policy="round-robin")
    config["pools"]["app"]["backends"] = named(old, MANY)
    with Alacrity(config) as balancer:
        for _ in range(50):
            assert ask(web) == b"old\n"
        balancer.at_rest()
        before = balancer.pool()
        served = {name for name, backend in before["backends"].items() if backend["sessions_total"]}
        assert len(before["backends"]) == MANY and len(served) in range(25, 51)
        # The first half stays, the second half goes, as many others come.
        config["pools"]["app"]["backends"] = {**named(old, MANY // 2), **named(new, MANY // 2, MANY)}
        balancer.reload(config)
        stats = balancer.stats()
        after = stats["pools"]["app"]
        assert list(after["backends"]) == list(config["pools"]["app"]["backends"])
        assert after["backends_eligible"] == MANY and after["sessions_total"] == 50
        for name in served & set(after["backends"]):
            assert after["backends"][name]["sessions_total"] == \
                before["backends"][name]["sessions_total"]
        assert stats["arena"]["slots"] == MANY
        # A half at a time is drained: the other one serves.
        config["pools"]["app"]["backends"] = {**named(new, MANY // 2), **named(new, MANY // 2, MANY)}
        balancer.reload(config)
        assert {ask(web) for _ in range(50)} == {b"new\n"}
        for path, mark in (("/", '<tr><td class="name">b'), ("/stats;csv", "app,b"),
                           ("/metrics", "alacrity_backend_weight{")):
            status, _, body = balancer.get(path)
            assert status == 200
            assert body.count(mark) >= MANY, path
        assert len(balancer.admin("backend", "list", plain=True).splitlines()) > MANY


@pytest.mark.heavy
@pytest.mark.bound(120)
def test_a_thousand_listeners_serve():
    """Also those that a reload adds; and what other pages tell does not wait for the stats page."""
    server = ServerProcess(serve_name, "a")
    first = [free_port() for _ in range(90)]
    config = web_over([server], free_port())
    config["workers"] = 1
    config["listeners"].update({f"l{i}": {"bind": f"127.{1 + i // 90}.0.1:{first[i % 90]}",
                                          "pool": "app"} for i in range(990)})
    with Alacrity(config) as balancer:
        for i in (0, 89, 90, 500, 989):
            assert ask((f"127.{1 + i // 90}.0.1", first[i % 90])) == b"a\n"
        config["listeners"].update({f"m{i}": {"bind": f"127.77.0.1:{first[i]}", "pool": "app"}
                                    for i in range(10)})
        balancer.reload(config)
        answers = []

        def page():
            answers.append(json.loads(balancer.get("/stats.json")[2]))

        threads = [threading.Thread(target=page) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert all(ask(("127.77.0.1", first[i])) == b"a\n" for i in range(10))
        for thread in threads:
            thread.join()
        assert [len(answer["listeners"]) for answer in answers] == [1002] * 4
        balancer.at_rest("m9")
        listeners = balancer.stats()["listeners"]
        assert sum(listener["sessions_total"] for name, listener in listeners.items()
                   if name != "stats") == 15


@pytest.mark.bound(60)
def test_more_listeners_than_descriptors_are_refused_in_one_line():
    server = ServerProcess(serve_name, "a")
    config = web_over([server], free_port())
    ports = [free_port() for _ in range(100)]
    config["listeners"].update({f"l{i}": {"bind": f"127.{1 + i // 100}.0.1:{ports[i % 100]}",
                                          "pool": "app"} for i in range(300)})
    balancer = Alacrity(config, descriptors=500)
    text = balancer.ended(code=1)
    lines = [line for line in text.splitlines() if "descriptors" in line or "open files" in line]
    assert len(lines) == 1 and "603" in lines[0] and "500" in lines[0], text[-2000:]
