"""Out of descriptors: newcomers are turned away and counted, nothing spins, and it recovers."""
import contextlib
import time

import pytest

from support import (Alacrity, ServerProcess, dial, eventually, free_port, serve_named_echo,
                     web_over)


def greeted(client):
    try:
        return client.recv(10) != b""
    except (TimeoutError, ConnectionResetError):
        return False


# One of the two runs out in the middle of a session: one descriptor for the client, none to dial.
@pytest.mark.parametrize("descriptors", [80, 81])
def test_exhaustion_and_recovery(descriptors):
    server, port = ServerProcess(serve_named_echo, "a"), free_port()
    config = {**web_over([server], port), "workers": 1}
    with Alacrity(config, descriptors=descriptors) as balancer, contextlib.ExitStack() as stack:
        stats_before = balancer.listener()["ended"]["out_of_descriptors"]
        assert stats_before == 0
        idle = balancer.fds()
        clients = [stack.enter_context(dial(port, timeout=1)) for _ in range(100)]
        balancer.wait_line("descriptors")
        served = [client for client in clients[:10] if greeted(client)]
        assert len(served) == 10, "the first ones are served"

        cpu, start = balancer.cpu(), time.monotonic()
        time.sleep(1)  # the measure itself: what a second of being full costs
        spent = (balancer.cpu() - cpu) / (time.monotonic() - start)
        assert spent < 0.3, f"it spins: {spent:.0%} of a CPU"
        assert balancer.running()
        for client in served:
            client.sendall(b"still here")
            assert client.recv(100) == b"still here"

        stack.close()
        eventually(lambda: balancer.listener()["sessions_active"] == 0, "all have ended")
        assert balancer.listener()["ended"]["out_of_descriptors"] > 0
        assert balancer.backend("a")["connect_failures_total"] == 0, "not the backend's failure"

        def works_again():
            with contextlib.suppress(OSError), dial(port) as client:
                return client.recv(10) == b"a\n"
        eventually(works_again, "a new session is served")
        eventually(lambda: balancer.fds() <= idle + 2, "no descriptor is lost")


def test_the_same_again_and_again():
    """The reserve descriptor comes back after each time."""
    server, port = ServerProcess(serve_named_echo, "a"), free_port()
    config = {**web_over([server], port), "workers": 1}
    with Alacrity(config, descriptors=70) as balancer:
        for _ in range(4):
            with contextlib.ExitStack() as stack:
                refused = balancer.listener()["ended"]["out_of_descriptors"]
                for _ in range(60):
                    stack.enter_context(dial(port, timeout=1))
                # Each tells of itself by its end: served, or turned away.
                with contextlib.suppress(OSError):
                    for client in (dial(port, timeout=1) for _ in range(5)):
                        stack.enter_context(client).recv(10)
            eventually(lambda: balancer.listener()["sessions_active"] == 0)
            assert balancer.listener()["ended"]["out_of_descriptors"] > refused


def test_a_reload_without_descriptors_is_refused_or_works():
    """Never half: whatever it answers, traffic goes on."""
    server, port = ServerProcess(serve_named_echo, "a"), free_port()
    config = {**web_over([server], port), "workers": 1}
    with Alacrity(config, descriptors=70) as balancer:
        with contextlib.ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(dial(port, timeout=1))
            balancer.wait_line("descriptors")
            balancer.write({**config, "workers": 8})
            balancer.process.send_signal(1)
        eventually(lambda: balancer.listener()["sessions_active"] == 0)
        balancer.write(config)
        balancer.reload()
        with dial(port) as client:
            assert client.recv(10) == b"a\n"
