"""Ten thousand backend names come and go through reloads; memory stays what it was."""
import pytest

from support import PATIENCE, SANITIZED, Alacrity, Server, ask, backends, free_port, serve_name, web_over

NAMES, AT_ONCE = 10_000, 100


@pytest.mark.heavy
@pytest.mark.bound(180)
def test_ten_thousand_names():
    live, port = Server(serve_name, "live"), free_port()
    config = web_over([live], port, policy="first")

    def generation(number):
        names = range(number * AT_ONCE, (number + 1) * AT_ONCE)
        config["pools"]["app"]["backends"] = {
            **backends([live]), **{f"n{i}": f"127.0.0.1:{1 + i % 60000}" for i in names}}
        # A pool and a listener that are never seen again come along, too.
        config["pools"][f"p{number}"] = {"backends": backends([live])}
        config["listeners"][f"l{number}"] = {"bind": f"unix:{balancer.folder}/{number}.sock",
                                             "pool": f"p{number}"}
        config["pools"].pop(f"p{number - 1}", None)
        config["listeners"].pop(f"l{number - 1}", None)
        balancer.reload(config)
        assert ask(port) == b"live\n"

    with Alacrity(config) as balancer:
        rounds = NAMES // AT_ONCE
        for number in range(rounds):
            if number == rounds // 4:
                before, fds = balancer.rss(), balancer.fds()
            generation(number)
        grown = balancer.rss() - before
        assert SANITIZED or grown < 4096, f"{grown} KiB more after {rounds * 3 // 4} reloads"
        assert balancer.fds() <= fds + 2
        stats = balancer.stats()
        assert stats["arena"]["slots"] <= 4 * AT_ONCE, stats["arena"]
        assert stats["arena"]["pools"] <= 8 and stats["arena"]["listeners"] <= 8
        assert stats["listeners"]["web"]["sessions_total"] == rounds
        assert stats["pools"]["app"]["backends"]["live"]["sessions_total"] == rounds


@pytest.mark.heavy
@pytest.mark.bound(120)
def test_sessions_leave_no_memory_behind():
    live, port = Server(serve_name, "live"), free_port()
    with Alacrity(web_over([live], port)) as balancer:
        for _ in range(1000 // PATIENCE):
            ask(port)
        before = balancer.rss()
        for _ in range(3000 // PATIENCE):
            ask(port)
        assert SANITIZED or balancer.rss() - before < 1024
