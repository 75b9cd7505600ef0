"""Regressions of the data path and of reloads: each of these once went wrong."""
import contextlib
import os
import select
import socket
import threading

import pytest

from support import (Alacrity, Load, Server, ask, backends, command, dial, eventually, free_port,
                     read_all, serve_name, serve_named_echo, web_over)


def test_a_file_that_is_no_socket_is_left_alone(folder):
    precious = folder / "precious"
    precious.write_text("keep me")
    file = folder / "c.yaml"
    file.write_text(f"""
admin: {{socket: off}}
listeners: {{web: {{bind: "unix:{precious}", pool: app}}}}
pools: {{app: {{backends: {{a: 127.0.0.1:{free_port()}}}}}}}
""")
    assert command("run", "-f", file).returncode == 1
    assert precious.read_text() == "keep me"


def test_a_socket_file_that_another_took_over_survives_our_end(folder):
    server, path = Server(serve_name, "a"), folder / "web.sock"
    config = {"listeners": {"web": {"bind": f"unix:{path}", "pool": "app"}},
              "pools": {"app": {"backends": backends([server])}}}
    with Alacrity(config) as balancer, socket.socket(socket.AF_UNIX) as other:
        assert ask(path) == b"a\n"
        os.unlink(path)
        other.bind(str(path))
        other.listen(5)
        balancer.stop()
        assert path.exists()


def test_a_drain_waits_for_every_worker():
    """Sessions that end while the drain begins must not make one worker count for two."""
    stays_on, port, none = Server(serve_named_echo, "a"), free_port(), free_port()
    config = web_over([stays_on], port)
    config["workers"] = 4
    config["pools"]["dead"] = {"retries": 0, "suspect_after": 0,
                               "backends": {"x": "unix:/nonexistent/socket"}}
    config["listeners"]["none"] = {"bind": f"127.0.0.1:{none}", "pool": "dead"}
    with Alacrity(config) as balancer, contextlib.ExitStack() as stack:
        stays = stack.enter_context(dial(port))
        assert stays.recv(2) == b"a\n"
        stopped = threading.Event()

        def knock():
            while not stopped.is_set():
                with contextlib.suppress(OSError):
                    dial(none, timeout=1).close()
        knocking = [threading.Thread(target=knock, daemon=True) for _ in range(4)]
        for thread in knocking:
            thread.start()
        balancer.process.terminate()
        balancer.wait_line("draining")
        assert not select.select([stays], [], [], 0.5)[0], "the session that stays was cut"
        stopped.set()
        stays.sendall(b"still there?")
        assert stays.recv(100) == b"still there?"
        stays.close()
        balancer.process.wait(20)


def test_a_reload_that_replaces_all_backends_fails_nobody():
    """While some workers still have the old plan, its backends must go on serving."""
    a, b, port = Server(serve_name, "a"), Server(serve_name, "b"), free_port()

    def generation(number):
        config = web_over([], port)
        config["pools"]["app"]["backends"] = {f"a{number}": a.text, f"b{number}": b.text}
        return config

    with Alacrity(generation(0)) as balancer:
        with Load(lambda _: ask(port) in (b"a\n", b"b\n"), threads=12, per_second=8000) as load:
            for number in range(1, 150):
                balancer.reload(generation(number))
        assert load.done > 500 and not load.failures
        assert balancer.listener()["ended"]["no_backend"] == 0


def test_a_cut_stream_does_not_look_whole():
    """An idle timeout with bytes undelivered is a reset, never an orderly end."""
    data = b"d" * (20 << 20)

    def floods(connection, _server):
        with contextlib.suppress(OSError):
            connection.sendall(data)

    server, port = Server(floods, "a"), free_port()
    with Alacrity({**web_over([server], port), "timeouts": {"idle": "300ms"}}) as balancer:
        with dial(port) as client:
            eventually(lambda: balancer.listener()["ended"]["idle_timeout"] == 1)
            with pytest.raises(ConnectionResetError):
                read_all(client)


def test_a_refused_reload_with_more_workers_drops_nobody():
    server, port = Server(serve_name, "a"), free_port()
    config = {**web_over([server], port), "workers": 1}
    with Alacrity(config) as balancer, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        refused = web_over([server], port)
        refused["workers"] = 8
        refused["listeners"]["zz"] = {"bind": "127.0.0.1:%d" % taken.getsockname()[1], "pool": "app"}
        with Load(lambda _: ask(port) == b"a\n", threads=8, per_second=800) as load:
            for _ in range(40):
                with pytest.raises(Exception):
                    balancer.reload(refused)
        assert load.done > 100 and not load.failures
