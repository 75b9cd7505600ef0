"""Every byte arrives, in order, both ways, whatever the sizes; ends and resets are carried across."""
import errno
import random
import select
import socket
import threading
import time

import pytest

from support import (FULL, LIMIT, PATIENCE, Alacrity, Server, dial, eventually, free_port,
                     random_bytes, read_all, read_exactly, reset, serve_echo, serve_hash, sha,
                     web_over)

MIB = 1 << 20


def exchange(connection, data, chunk=1 << 18):
    """Sends the data, half-closes, and returns all that came back meanwhile and after."""
    failed = []

    def send():
        try:
            for at in range(0, len(data), chunk):
                connection.sendall(data[at:at + chunk])
            connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            failed.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    got = read_all(connection)
    sender.join(LIMIT)
    assert not failed, failed
    return got


@pytest.fixture
def echo():
    server, port = Server(serve_echo, "echo"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        yield balancer, port
        assert not server.errors


@pytest.mark.bound(120)
def test_all_sizes_come_back_whole(echo):
    balancer, port = echo
    random.seed(1)
    sizes = [1, 2, 31, 1447, 1448, 4095, 65535, 65536, 65537, 131072, MIB, MIB + 1, 8 * MIB,
             64 * MIB] + [random.randint(1, 4 * MIB) for _ in range(10)]
    for number, size in enumerate(sizes):
        data = random_bytes(size, number)
        with dial(port) as client:
            assert sha(exchange(client, data)) == sha(data), f"{size} bytes"
    stats = balancer.at_rest()
    web = stats["listeners"]["web"]
    assert web["bytes_in_total"] == web["bytes_out_total"] == sum(sizes)
    assert web["sessions_total"] == web["ended"]["done"] == len(sizes)


@pytest.mark.bound(120)
def test_many_at_once(echo):
    _, port = echo
    wrong = []

    def one(number):
        size = random.Random(number).randint(1, 2 * MIB)
        data = random_bytes(size, number)
        try:
            with dial(port) as client:
                if exchange(client, data, chunk=1 + number * 977) != data:
                    wrong.append(number)
        except OSError as error:
            wrong.append((number, error))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(1, 41)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_tiny_writes(echo):
    """One byte a packet, each awaited: nothing is held back until more comes."""
    _, port = echo
    with dial(port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(2000):
            byte = bytes([number % 256])
            client.sendall(byte)
            assert client.recv(10) == byte


def test_half_close_of_the_client_then_the_answer():
    """The server learns of the end of the request, and its answer still comes through."""
    server, port = Server(serve_hash, "hash"), free_port()
    with Alacrity(web_over([server], port)):
        for size in (0, 1, 100_000, 20 * MIB):
            data = random_bytes(size, size)
            with dial(port) as client:
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                assert read_all(client).decode() == sha(data)


def test_half_close_of_the_server_then_the_upload():
    """The client reads the end of the answer and goes on sending."""
    received = []

    def early(connection, _server):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        received.append(read_all(connection))

    server, port = Server(early, "early"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        data = random_bytes(5 * MIB, 5)
        with dial(port) as client:
            assert read_all(client) == b"bye"
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            eventually(lambda: received, "the server has read to the end")
            assert received[0] == data
        web = balancer.at_rest()["listeners"]["web"]
        assert web["ended"]["done"] == 1


def test_answer_before_the_upload_ends():
    """A server that answers and closes while the client still sends: the answer is delivered."""
    answer = random_bytes(200_000, 7)

    def impatient(connection, _server):
        read_exactly(connection, 1000)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        read_exactly(connection, 1000)  # then closes with more on the way: a reset

    server, port = Server(impatient, "impatient"), free_port()
    with Alacrity(web_over([server], port)):
        for _ in range(20):
            with dial(port) as client:
                client.sendall(bytes(2000))
                got = read_exactly(client, len(answer))
                assert got == answer


def test_reset_of_the_client_reaches_the_server():
    seen = []

    def watch(connection, _server):
        read_exactly(connection, 5)
        connection.sendall(b"go on")
        try:
            seen.append(connection.recv(1))
        except OSError as error:
            seen.append(error.errno)

    server, port = Server(watch, "watch"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        client = dial(port)
        client.sendall(b"hello")
        assert read_exactly(client, 5) == b"go on"
        reset(client)
        eventually(lambda: seen, "the server noticed")
        assert seen == [errno.ECONNRESET]
        assert balancer.at_rest()["listeners"]["web"]["ended"]["client_reset"] == 1


def test_reset_of_the_server_reaches_the_client():
    def rude(connection, _server):
        read_exactly(connection, 5)
        reset(connection)

    server, port = Server(rude, "rude"), free_port()
    with Alacrity(web_over([server], port)) as balancer:
        with dial(port) as client:
            client.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        stats = balancer.at_rest()
        assert stats["listeners"]["web"]["ended"]["backend_reset"] == 1
        assert stats["pools"]["app"]["backends"]["rude"]["resets_total"] == 1


@pytest.mark.parametrize("front", ["ipv4", "unix"])
def test_a_client_that_vanishes_after_its_end_of_stream(front, folder):
    """Nobody waits for the answer any more: the backend learns it long before the idle timeout."""
    heard, vanished, told = threading.Event(), threading.Event(), []

    def works_long(connection, _server):
        read_all(connection)
        connection.sendall(b"unread")  # a unix socket closed with unread bytes is a reset
        heard.set()
        vanished.wait(LIMIT)
        eventually(lambda: select.select([], [connection], [], 0)[1] and
                   connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "it was reset")
        told.append(True)

    server, port = Server(works_long, "slow"), free_port()
    config = web_over([server], port)
    target = port if front == "ipv4" else folder / "web.sock"
    if front == "unix":
        config["listeners"]["web"]["bind"] = f"unix:{target}"
    with Alacrity(config) as balancer:
        client = dial(target)
        client.sendall(b"request")
        client.shutdown(socket.SHUT_WR)
        assert heard.wait(LIMIT)
        select.select([client], [], [], LIMIT)  # the answer is there, and stays unread
        reset(client)
        vanished.set()
        eventually(lambda: told, "the backend knows")
        web = balancer.at_rest()["listeners"]["web"]
        assert web["ended"]["client_reset"] == 1


@pytest.mark.parametrize("front", ["ipv4", "unix"])
def test_a_client_that_waits_for_a_slow_answer(front, folder):
    """It ended its stream and is still there: it gets its answer, however long that takes."""
    def thinks(connection, _server):
        read_all(connection)
        time.sleep(2.5)  # the measure itself: vanished clients are looked for every second
        connection.sendall(b"42")

    server, port = Server(thinks, "thinks"), free_port()
    config = web_over([server], port)
    target = port if front == "ipv4" else folder / "web.sock"
    if front == "unix":
        config["listeners"]["web"]["bind"] = f"unix:{target}"
    with Alacrity(config) as balancer, dial(target) as client:
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"42"
        assert balancer.at_rest()["listeners"]["web"]["ended"]["done"] == 1


def test_a_reader_with_a_tiny_window_gets_all():
    """The end of the stream waits behind bytes that the client takes slowly."""
    def sends_and_ends(connection, _server):
        read_exactly(connection, 1)
        connection.sendall(bytes(1_000_000))
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)

    server, port = Server(sends_and_ends, "s"), free_port()
    with Alacrity(web_over([server], port)), socket.socket() as client:
        client.settimeout(LIMIT)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # before it is announced
        client.connect(("127.0.0.1", port))
        client.sendall(b"x")
        assert len(read_all(client)) == 1_000_000


@pytest.mark.parametrize("front", ["ipv4", "ipv6", "unix"])
@pytest.mark.parametrize("back", ["ipv4", "ipv6", "unix"])
def test_families(front, back, folder):
    port = free_port()
    bind, target = {"ipv4": (f"127.0.0.1:{port}", ("127.0.0.1", port)),
                    "ipv6": (f"[::1]:{port}", ("::1", port)),
                    "unix": (f"unix:{folder}/web.sock", folder / "web.sock")}[front]
    address = {"ipv4": ("127.0.0.1", free_port()), "ipv6": ("::1", free_port()),
               "unix": folder / "back.sock"}[back]
    server = Server(serve_echo, "echo", address)
    config = web_over([server], port)
    config["listeners"]["web"]["bind"] = bind
    data = random_bytes(3 * MIB, 3)
    with Alacrity(config) as balancer:
        for _ in range(3):
            with dial(target) as client:
                assert exchange(client, data) == data
        assert balancer.at_rest()["listeners"]["web"]["sessions_total"] == 3


def test_one_listener_on_several_addresses(folder):
    server, first, second = Server(serve_echo, "echo"), free_port(), free_port()
    config = web_over([server], first)
    config["listeners"]["web"]["bind"] = [f"127.0.0.1:{first}", f"[::1]:{second}",
                                          f"unix:{folder}/web.sock"]
    with Alacrity(config) as balancer:
        for target in (first, ("::1", second), folder / "web.sock"):
            with dial(target) as client:
                assert exchange(client, b"hello") == b"hello"
        assert balancer.at_rest()["listeners"]["web"]["sessions_total"] == 3


def test_a_host_name_as_backend():
    server, port = Server(serve_echo, "echo"), free_port()
    config = web_over([server], port)
    config["pools"]["app"]["backends"] = {"echo": f"localhost:{server.port}"}
    with Alacrity(config), dial(port) as client:
        assert exchange(client, b"hello") == b"hello"


@pytest.mark.skipif(not FULL, reason="long form: FULL=1")
@pytest.mark.bound(300)
def test_random_sessions_of_every_kind(echo):
    """2 000 sessions that end in a random way at a random moment; those that end well are whole."""
    balancer, port = echo
    dice = random.Random(42)
    for number in range(2000 // PATIENCE):
        data = random_bytes(dice.choice([1, 100, 70_000, 700_000]), number)
        with dial(port) as client:
            kind = dice.random()
            if kind < 0.8:
                assert exchange(client, data, dice.choice([100_000, 1 << 20])) == data
            elif kind < 0.9:
                client.sendall(data[:50_000])
            else:
                client.sendall(data[:50_000])
                reset(client)
    balancer.at_rest()
