"""Sessions are spread evenly over the workers, however the kernel deals connections out."""
import contextlib
import selectors
import socket
import threading

from support import (Alacrity, Load, Server, ask, dial, eventually, free_port, serve_name,
                     short_folder, web_over)


class Hold:
    """A backend that keeps every connection until the other end closes, all in one thread."""

    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", free_port()), backlog=4096)
        self.name, self.text = "a", "127.0.0.1:%d" % self.listening.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        known = selectors.DefaultSelector()
        known.register(self.listening, selectors.EVENT_READ)
        while True:
            for key, _ in known.select():
                if key.fileobj is self.listening:
                    known.register(self.listening.accept()[0], selectors.EVENT_READ)
                elif not key.fileobj.recv(4096):
                    known.unregister(key.fileobj)
                    key.fileobj.close()


def spread(balancer, workers):
    """Sessions of each worker that serves."""
    return [worker["sessions"] for worker in balancer.admin("status")["workers"]
            if worker["index"] < workers]


def open_many(stack, balancer, address, count, workers, before=0):
    """So many connections more; the busiest worker's sessions divided by the mean."""
    for _ in range(count):
        stack.enter_context(dial(address))
    eventually(lambda: sum(spread(balancer, workers)) == count + before, "all are open")
    return max(spread(balancer, workers)) * workers / (count + before)


def test_each_worker_has_its_share_of_connections_that_stay():
    hold, port = Hold(), free_port()
    with Alacrity({**web_over([hold], port), "workers": 8}) as balancer, \
            contextlib.ExitStack() as stack:
        assert open_many(stack, balancer, port, 400, 8) <= 1.25
        assert 0 < balancer.listener()["handed_over_total"] < 400
        assert balancer.listener()["sessions_total"] == 400  # each is counted once


def test_workers_that_come_with_a_reload_catch_up():
    """They get what is new until they have as much as the others. With fewer workers than listening
    sockets, too, all have their share."""
    hold, port = Hold(), free_port()
    config = web_over([hold], port)
    with Alacrity({**config, "workers": 1}) as balancer, contextlib.ExitStack() as stack:
        open_many(stack, balancer, port, 100, 1)
        balancer.reload({**config, "workers": 2})
        assert open_many(stack, balancer, port, 100, 2, before=100) <= 1.25
        stack.close()
        eventually(lambda: sum(spread(balancer, 2)) == 0, "all have ended")
        balancer.reload({**config, "workers": 3})
        balancer.reload({**config, "workers": 2})
        assert open_many(stack, balancer, port, 200, 2) <= 1.25


def test_a_unix_socket_is_spread_too():
    """One listening socket for all workers."""
    hold, folder = Hold(), short_folder()
    config = web_over([hold], 0)
    config["listeners"]["web"]["bind"] = f"unix:{folder}/web.sock"
    with Alacrity({**config, "workers": 4}) as balancer, contextlib.ExitStack() as stack:
        assert open_many(stack, balancer, folder / "web.sock", 200, 4) <= 1.25


def test_nothing_is_lost_when_newcomers_are_handed_over_in_a_reload():
    """Long sessions of a single worker make it hand every newcomer over, while plans change and the
    listener's place among the others does."""
    server, hold, port, held = Server(serve_name, "a"), Hold(), free_port(), free_port()
    config = web_over([server], port)
    config["pools"]["held"] = {"backends": {"a": hold.text}}
    listeners = {"held": {"bind": f"127.0.0.1:{held}", "pool": "held"}}
    first = {**config, "listeners": {**listeners, **config["listeners"]}}
    other = {**config, "listeners": {**config["listeners"], **listeners}}
    with Alacrity({**first, "workers": 1}) as balancer, contextlib.ExitStack() as stack:
        open_many(stack, balancer, held, 200, 1)
        with Load(lambda _: ask(port) == b"a\n", threads=8, per_second=400) as load:
            for round_ in range(10):
                balancer.reload({**(other if round_ % 2 else first), "workers": 2 + round_ % 2})
                load.wait_done(20)
        assert not load.failures, load.failures[:3]
        assert balancer.listener()["handed_over_total"] > 50
        stats = balancer.at_rest()
        assert stats["listeners"]["web"]["sessions_total"] == load.done


def test_the_cap_of_a_listener_is_kept_by_who_takes_a_newcomer_over():
    hold, port = Hold(), free_port()
    config = web_over([hold], port)
    config["listeners"]["web"]["max_sessions"] = 60
    with Alacrity({**config, "workers": 4}) as balancer, contextlib.ExitStack() as stack:
        open_many(stack, balancer, port, 60, 4)
        for _ in range(20):
            with dial(port) as client:
                assert client.recv(10) == b""
        assert balancer.listener()["ended"]["limit"] == 20
