"""A receiver that does not read stops its sender; what waits in the balancer is bounded."""
import hashlib
import socket
import threading

import pytest

from support import (SANITIZED, Alacrity, Server, dial, free_port, read_all, read_exactly, settled,
                     web_over)

MIB = 1 << 20
BLOCK = bytes(range(256)) * 4096  # 1 MiB
TOTAL = 32  # blocks a connection: far more than sockets hold
CONNECTIONS = 8


def expected(blocks):
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(BLOCK)
    return digest.hexdigest()


@pytest.mark.bound(120)
def test_a_client_that_does_not_read():
    def flood(connection, _server):
        read_exactly(connection, 1)
        for _ in range(TOTAL):
            connection.sendall(BLOCK)

    server, port = Server(flood, "flood"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        before = balancer.rss()
        clients = [dial(port) for _ in range(CONNECTIONS)]
        for client in clients:
            client.sendall(b"x")
        # The flood has come to a stand: nobody reads.
        stopped = settled(lambda: balancer.listener()["bytes_out_total"], seconds=60)
        assert 0 < stopped < CONNECTIONS * TOTAL * MIB
        cpu = balancer.cpu()
        grown = balancer.rss() - before
        assert SANITIZED or grown < 4096, f"{grown} KiB for {CONNECTIONS} stalled sessions"
        settled(lambda: balancer.listener()["bytes_out_total"], still=1)
        assert balancer.cpu() - cpu < 0.5, "it spins while it waits"
        for client in clients:
            digest = hashlib.sha256()
            while part := client.recv(1 << 18):
                digest.update(part)
            assert digest.hexdigest() == expected(TOTAL)
            client.close()
        assert balancer.at_rest()["listeners"]["web"]["bytes_out_total"] == \
            CONNECTIONS * TOTAL * MIB


@pytest.mark.bound(120)
def test_a_server_that_does_not_read():
    may_read = threading.Event()

    def late_hash(connection, _server):
        may_read.wait(60)
        digest = hashlib.sha256(read_all(connection))
        connection.sendall(digest.hexdigest().encode())

    server, port = Server(late_hash, "late"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        before = balancer.rss()
        with dial(port) as client:
            def upload():
                for _ in range(TOTAL):
                    client.sendall(BLOCK)
                client.shutdown(socket.SHUT_WR)

            client.settimeout(60)
            sender = threading.Thread(target=upload, daemon=True)
            sender.start()
            stopped = settled(lambda: balancer.listener()["bytes_in_total"])
            assert 0 < stopped < TOTAL * MIB
            assert SANITIZED or balancer.rss() - before < 2048
            may_read.set()
            assert read_all(client).decode() == expected(TOTAL)
            sender.join(60)


def test_one_stalled_session_does_not_hold_up_the_others():
    """On one worker, so that they share everything."""
    def flood_or_echo(connection, _server):
        if read_exactly(connection, 1) == b"f":
            for _ in range(TOTAL):
                connection.sendall(BLOCK)
        else:
            connection.sendall(b"quick")

    server, port = Server(flood_or_echo, "s"), free_port()
    config = {**web_over([server], port), "workers": 1}
    with Alacrity(config) as balancer, dial(port) as stalled:
        stalled.sendall(b"f")
        settled(lambda: balancer.listener()["bytes_out_total"])
        for _ in range(100):
            with dial(port, timeout=5) as client:
                client.sendall(b"e")
                assert read_all(client) == b"quick"
