"""What a configuration wants of TCP sockets, the sockets have: looked at in the kernel, or seen in
what it does."""
import copy
import pathlib
import socket

import pytest

from kernel import (Namespace, congestion, congestion_controls, connection_from, connection_to,
                    listening_sockets, syn_carried_bytes, tcp)
from support import (LIMIT, QUESTION, Alacrity, Server, ask, command, dead_address, dial, eventually,
                     free_port, read_exactly, serve_echo, serve_name, short_folder, web_over)

OTHER = next((name for name in congestion_controls("allowed") if name != congestion(socket.socket())),
             None)
WANTED = {"user_timeout": "31s", "keepalive": {"idle": "33s", "interval": "7s", "count": 4},
          "receive_buffer": "96KiB", "send_buffer": "80KiB", **({"congestion": OTHER} if OTHER else {})}


def what_it_has(one):
    """Its options, as a configuration would have them."""
    on = one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    return {"user_timeout": f"{tcp(one, socket.TCP_USER_TIMEOUT) // 1000}s",
            "keepalive": {"idle": f"{tcp(one, socket.TCP_KEEPIDLE)}s",
                          "interval": f"{tcp(one, socket.TCP_KEEPINTVL)}s",
                          "count": tcp(one, socket.TCP_KEEPCNT)} if on else False,
            "receive_buffer": f"{one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2048}KiB",
            "send_buffer": f"{one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2048}KiB",
            **({"congestion": congestion(one)} if OTHER else {})}


def web(server, port, listener=None, pool=None):
    config = web_over([server], port, **({"tcp": pool} if pool else {}))
    if listener:
        config["listeners"]["web"]["tcp"] = listener
    return config


def open_session(port):
    client = dial(port)
    client.sendall(b"hello")
    assert read_exactly(client, 5) == b"hello"
    return client


def test_clients_and_backends_get_what_is_written():
    """Each in its place: what the listener says is not the backend's, and the other way."""
    server, port = Server(serve_echo), free_port()
    new = socket.socket()
    for listener, pool in ((WANTED, None), (None, WANTED)):
        with Alacrity(web(server, port, listener, pool)) as balancer, \
                open_session(port) as client, connection_from(balancer.pid, client) as accepted, \
                connection_to(balancer.pid, server.port) as dialled:
            assert (what_it_has(accepted) == WANTED) == (listener is WANTED), what_it_has(accepted)
            assert (what_it_has(dialled) == WANTED) == (pool is WANTED), what_it_has(dialled)
            plain = dialled if listener else accepted
            assert not plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert tcp(plain, socket.TCP_USER_TIMEOUT) == 0
            assert congestion(plain) == congestion(new)
            assert balancer.stats()["socket_options_refused_total"] == 0


def test_accepted_sockets_do_not_wait_to_fill_a_segment():
    """TCP_NODELAY comes with the listening socket, without a call for each connection; those to
    backends get it before anything is sent a second time."""
    server, port = Server(serve_echo), free_port()
    with Alacrity(web(server, port)) as balancer, open_session(port) as client, \
            connection_from(balancer.pid, client) as accepted, \
            connection_to(balancer.pid, server.port) as dialled:
        assert tcp(accepted, socket.TCP_NODELAY)
        client.sendall(b"again")
        assert read_exactly(client, 5) == b"again"
        assert tcp(dialled, socket.TCP_NODELAY)


def test_a_reload_changes_the_options_of_sockets_that_stay():
    """From nothing to everything and back; also for workers that come with the same reload."""
    server, port = Server(serve_echo), free_port()
    all_of_them = {**WANTED, "defer_accept": "3s", "fast_open": 17}
    plain, full = web(server, port), web(server, port, all_of_them)
    with Alacrity(plain) as balancer:
        with open_session(port) as client, connection_from(balancer.pid, client) as accepted:
            initial = what_it_has(accepted)
        for config, workers, wanted in ((full, 2, WANTED), (full, 4, WANTED), (plain, 4, initial),
                                        (full, 1, WANTED), (plain, 1, initial)):
            balancer.reload({**copy.deepcopy(config), "workers": workers})
            with listening_sockets(balancer.pid, port) as listening:
                for one in listening:
                    assert (tcp(one, socket.TCP_DEFER_ACCEPT) > 0) == (config is full)
                    assert tcp(one, socket.TCP_FASTOPEN) == (17 if config is full else 0)
            with open_session(port) as client, connection_from(balancer.pid, client) as accepted:
                assert what_it_has(accepted) == wanted
        assert balancer.stats()["socket_options_refused_total"] == 0


def test_buffers_grow_again_once_their_size_is_not_written_any_more():
    """SO_RCVBUF turns off what the kernel does by need; a reload without it turns that on."""
    server, port = Server(serve_name), free_port()
    lock = 72  # SO_BUF_LOCK: 1 the send buffer's, 2 the receive buffer's size is fixed
    with Alacrity(web(server, port, {"receive_buffer": "64KiB", "send_buffer": "64KiB"})) as balancer:
        for options, fixed in (({"receive_buffer": "64KiB", "send_buffer": "64KiB"}, 3),
                               ({"send_buffer": "64KiB"}, 1), ({}, 0), ({"receive_buffer": "9KiB"}, 2)):
            balancer.reload(web(server, port, options))
            with listening_sockets(balancer.pid, port) as listening:
                assert {one.getsockopt(socket.SOL_SOCKET, lock) for one in listening} == {fixed}


def test_a_deferred_connection_is_no_session_until_it_speaks():
    server, port = Server(serve_name, "a"), free_port()
    for options, silent_ones in (({"defer_accept": "30s"}, 0), ({}, 1)):
        with Alacrity({**web(server, port, options), "workers": 1}) as balancer, \
                dial(port) as silent:
            assert ask(port) == b"a\n"  # came later: whoever is to be accepted before it has been
            assert balancer.listener()["sessions_total"] == 1 + silent_ones
            silent.sendall(QUESTION)
            assert read_exactly(silent, 2) == b"a\n"
            assert balancer.listener()["sessions_total"] == 2


def question_with_the_syn(port):
    """One session whose client asks as early as it may; did the bytes go with the SYN?"""
    with socket.socket() as client:
        client.sendto(QUESTION, socket.MSG_FASTOPEN, ("127.0.0.1", port))
        client.settimeout(LIMIT)
        assert read_exactly(client, 2) == b"a\n"
        return syn_carried_bytes(client)


def test_clients_that_were_here_before_open_fast():
    with Namespace() as network:
        network.set("net/ipv4/tcp_fastopen", 3)
        server, port = Server(serve_name, "a"), free_port()
        with Alacrity(web(server, port, {"fast_open": 16})) as balancer:
            question_with_the_syn(port)  # gets the cookie
            assert question_with_the_syn(port)
            balancer.reload(web(server, port))
            question_with_the_syn(port)
            assert not question_with_the_syn(port)


def serve_whether_fast(connection, server):
    read_exactly(connection, len(QUESTION))
    server.fast.append(syn_carried_bytes(connection))
    connection.sendall(server.name.encode() + b"\n")


def test_backends_that_allow_it_get_the_first_bytes_with_the_syn():
    with Namespace() as network:
        network.set("net/ipv4/tcp_fastopen", 3)
        server, port = Server(serve_whether_fast, "a"), free_port()
        server.fast = []
        server.listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        with Alacrity(web(server, port, pool={"fast_open": True})) as balancer:
            assert ask(port) == ask(port) == ask(port) == b"a\n"
            balancer.reload(web(server, port))
            assert ask(port) == b"a\n"
        assert server.fast == [False, True, True, False]


def test_a_backend_that_is_gone_after_a_fast_opening_ends_the_session():
    """The connection counted as made before the backend answered: no other one is tried."""
    with Namespace() as network:
        network.set("net/ipv4/tcp_fastopen", 3)
        server, port = Server(serve_whether_fast, "a"), free_port()
        server.fast = []
        server.listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        with Alacrity(web(server, port, pool={"fast_open": True})) as balancer:
            assert ask(port) == ask(port) == b"a\n"
            server.stop()
            with dial(port) as client:
                client.sendall(QUESTION)
                with pytest.raises(ConnectionResetError):
                    while client.recv(100):
                        pass
                    raise ConnectionResetError  # an orderly end is as good as a reset
            balancer.at_rest()
            server.start()
            eventually(lambda: ask(port) == b"a\n", "it serves again")


def test_unix_sockets_serve_whatever_tcp_says():
    folder = short_folder()
    server = Server(serve_name, "a", address=folder / "server.sock")
    config = web(server, 0, {**WANTED, "defer_accept": "3s"}, {**WANTED, "fast_open": True})
    config["listeners"]["web"]["bind"] = f"unix:{folder}/web.sock"
    with Alacrity(config) as balancer:
        assert ask(folder / "web.sock") == b"a\n"
        assert balancer.stats()["socket_options_refused_total"] == 0


def test_what_the_kernel_refuses_is_counted_told_and_served_without():
    """A congestion control that only root may use, for who gave root up: known when it is tried."""
    forbidden = [name for name in congestion_controls() if name not in congestion_controls("allowed")]
    if not forbidden:
        pytest.skip("every congestion control is allowed here")
    server, port = Server(serve_name, "a"), free_port()
    config = {**web(server, port, pool={"congestion": forbidden[0]}), "user": "nobody"}
    with Alacrity(config) as balancer:
        assert ask(port) == b"a\n"
        refused = balancer.stats()["socket_options_refused_total"]
        assert refused >= 1
        assert balancer.admin("status")["socket_options_refused"] == refused
        assert f"alacrity_socket_options_refused_total {refused}" in balancer.get("/metrics")[2]
        balancer.wait_line("the kernel refuses congestion: ")


def test_a_buffer_beyond_what_the_kernel_allows_is_told():
    """It makes it smaller without a word."""
    most = int(pathlib.Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii"))
    server, port = Server(serve_name, "a"), free_port()
    with Alacrity(web(server, port, {"receive_buffer": most * 3})) as balancer:
        assert ask(port) == b"a\n"
        assert balancer.stats()["socket_options_refused_total"] == 2  # one for each worker's socket
        balancer.wait_line("the kernel refuses receive_buffer: .*rmem_max")


def test_mistakes_are_told(folder):
    path = folder / "alacrity.yaml"
    path.write_text(
        "pools:\n  app:\n    backends: {a: '%s'}\n"
        "    tcp: {congestion: nosuch}\n"
        "    source: 127.0.0.1:80\n"
        "  six:\n    backends: {a: '%s', b: '[::1]:80'}\n"
        "    tcp: {keepalive: maybe, defer_accept: 1s}\n"
        "listeners:\n  web: {bind: '127.0.0.1:1', pool: app, tcp: {fast_open: on}}\n"
        % (dead_address(), dead_address()), encoding="utf-8")
    said = command("check", "-f", path).stderr
    for words in (f"{path}:4:23: the kernel has no congestion control 'nosuch'; write one of: ",
                  f"{path}:5:13: '127.0.0.1:80' is no IP address",
                  f"{path}:8:22: 'keepalive' is on, off or a map, not maybe",
                  f"{path}:8:29: 'defer_accept' is not a key of a pool's 'tcp'",
                  f"{path}:10:58: 'fast_open' needs a whole number from 0 to 65535, not on"):
        assert words in said, said
