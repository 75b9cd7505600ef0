"""The route scripts that come with Alacrity, each as one would use it."""
import random
import socket
import ssl
import threading
import time

import pytest

from support import (LIMIT, Alacrity, Server, backends, command, dial, eventually, free_port, read_all,
                     read_exactly, refused_politely, serve_name, serve_named_echo)


class Routed:
    """Listener `web` with a stock route, its own pool `rest` (or none)."""

    def __init__(self, name, options, *, pools=("a", "b", "rest"), pool="rest",
                 handler=serve_named_echo, **listener):
        self.port = free_port()
        web = {"bind": f"127.0.0.1:{self.port}", "route": {"name": name, "with": options},
               **listener}
        if pool:
            web["pool"] = pool
        self.config = {"listeners": {"web": web},
                       "pools": {name: {"backends": backends([Server(handler, name)])}
                                 for name in pools}}
        self.balancer = Alacrity(self.config)

    def __enter__(self):
        self.balancer.__enter__()
        return self

    def __exit__(self, *how):
        return self.balancer.__exit__(*how)

    def answer(self, sent, pieces=1, end=True):
        """Who answers to these bytes, having got all of them; None: nobody."""
        with dial(self.port) as client:
            size = max(1, -(-len(sent) // pieces))
            for at in range(0, len(sent), size):
                client.sendall(sent[at:at + size])
                if pieces > 1:
                    time.sleep(0.001)  # so that each is a packet of its own
            if not end:
                name = b""
                while not name.endswith(b"\n"):
                    name += read_exactly(client, 1)
                assert read_exactly(client, len(sent)) == sent
                return name[:-1].decode()
            client.shutdown(socket.SHUT_WR)
            name, _, rest = read_all(client).partition(b"\n")
            assert not name or rest == sent
            return name.decode() or None

    def errors(self):
        return self.balancer.at_rest()["listeners"]["web"]["route_errors_total"]


# ---- sni ----

def client_hello(name):
    context = ssl.create_default_context()
    if name is None:
        context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(hello, size):
    """The same handshake message in records of that many bytes."""
    message = hello[5:]
    parts = [message[at:at + size] for at in range(0, len(message), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in parts)


SNI = {"pools": {"a.example": "a", "*.B.example": "b"}}


@pytest.mark.parametrize("name,pool", [
    ("a.example", "a"), ("A.Example", "a"), ("www.b.example", "b"), ("x.y.b.example", "b"),
    ("b.example", "rest"), ("www.a.example", "rest"), ("a.example.org", "rest"), (None, "rest"),
])
def test_sni_chooses_by_name(name, pool):
    with Routed("sni", SNI) as routed:
        hello = client_hello(name)
        assert routed.answer(hello, end=False) == pool
        assert routed.answer(hello + b"more" * 1000) == pool
        assert routed.errors() == 0


@pytest.mark.parametrize("size", [1 << 14, 200, 64])
def test_sni_in_pieces(size):
    """Records split anywhere, packets split anywhere."""
    with Routed("sni", SNI) as routed:
        hello = in_records(client_hello("www.b.example"), size)
        assert routed.answer(hello, end=False) == "b"
        for pieces in (2, 7, 100, len(hello)):
            assert routed.answer(hello, pieces, end=False) == "b"


def test_sni_without_a_pool_for_others():
    with Routed("sni", SNI, pool=None) as routed:
        assert routed.answer(client_hello("a.example"), end=False) == "a"
        assert routed.answer(client_hello("c.example")) is None
        assert routed.answer(b"GET / HTTP/1.0\r\n\r\n") is None
        assert routed.balancer.at_rest()["listeners"]["web"]["ended"]["no_route"] == 2


def test_sni_and_garbage():
    """Cut anywhere, changed anywhere, random: another pool at most, no error, and never a wait for
    bytes of which nothing says that they will come."""
    draw = random.Random(11)
    hello = client_hello("a.example")
    with Routed("sni", SNI) as routed:
        for text in (b"", b"\n", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", b"\x16", b"\x16\x03",
                     b"\x16\x03\x01\xff\xff", b"\x16\x03\x01\x00\x00", b"\x16" * 100):
            assert routed.answer(text) == "rest", text
        for text in (b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x00\x00", b"\x17\x03\x01\x00\x05"):
            assert routed.answer(text, end=False) == "rest", text
        assert routed.answer(in_records(hello, 3)) == "rest", "too many records"
        for at in range(0, len(hello), 5):
            assert routed.answer(hello[:at]) == "rest"
        for _ in range(300):
            broken = bytearray(hello)
            for _ in range(draw.randint(1, 8)):
                broken[draw.randrange(len(broken))] = draw.choice((0, 1, 255, draw.randrange(256)))
            assert routed.answer(bytes(broken)) in ("a", "rest")
        for _ in range(100):
            assert routed.answer(b"\x16\x03\x01" + draw.randbytes(draw.randint(0, 400))) == "rest"
        assert routed.errors() == 0


@pytest.mark.parametrize("name,options,word", [
    ("sni", {}, "script sni needs the option 'pools'"),
    ("sni", {"pools": {"x.example": 5}}, "must be the name of a pool"),
    ("protocol", {"tls": "ap"}, "option 'tls' of script protocol names the pool 'ap'"),
    ("protocol", {"wait": "0ms"}, "option 'wait' of script protocol is 0; write at least 1"),
    ("rate-limit", {"rate": 0}, "option 'rate' of script rate-limit is 0"),
    ("rate-limit", {"burst": 1.5}, "must be a whole number"),
    ("rate-limit", {"par": "1s"}, "did you mean 'per'?"),
])
def test_bad_options_are_refused_at_their_place(name, options, word):
    routed = Routed(name, options)
    text = routed.balancer.ended(code=1)
    assert word in text and "alacrity.yaml:" in text


def test_a_pool_that_there_is_not_is_a_mistake_in_the_configuration():
    with Routed("sni", SNI) as routed:
        routed.config["listeners"]["web"]["route"]["with"] = {"pools": {"c.example": "nowhere"}}
        text = routed.balancer.reload(routed.config, ok=False)
        assert "names the pool 'nowhere', which there is not" in text and "alacrity.yaml:" in text
        assert command("check", "-f", routed.balancer.file).returncode == 1


# ---- protocol ----

def test_protocol_by_the_first_bytes():
    options = {"ssh": "a", "tls": "b", "http": "c", "wait": "30s"}
    with Routed("protocol", options, pools=("a", "b", "c", "rest")) as routed:
        for sent, pool in ((b"SSH-2.0-OpenSSH_9.2\r\n", "a"), (client_hello("x.example"), "b"),
                           (b"GET / HTTP/1.1\r\n", "c"), (b"PRI * HTTP/2.0\r\n\r\nSM", "c"),
                           (b"DELETE /x HTTP/1.1\r\n", "c"), (b"EHLO me\r\n", "rest"),
                           (b"ssh-2", "rest"), (b"\x16\x02xx", "rest"), (b"\0\0\0\x08", "rest")):
            assert routed.answer(sent, end=False) == pool, sent
            assert routed.answer(sent, len(sent), end=False) == pool, sent
        assert routed.answer(b"GE") == "rest"
        assert routed.errors() == 0


def test_protocol_in_which_the_server_speaks_first():
    with Routed("protocol", {"ssh": "a", "wait": "100ms"}) as routed:
        assert routed.answer(b"", end=False) == "rest"
        assert routed.answer(b"GET / HTTP/1.1\r\n", end=False) == "rest", "no pool of its own"


# ---- rate-limit ----

def served(routed, source="127.0.0.1"):
    with socket.create_connection(("127.0.0.1", routed.port), LIMIT, (source, 0)) as client:
        client.sendall(b"q" * 32)
        return client.recv(100) != b""


def test_rate_limit_of_each_client_over_all_workers():
    options = {"rate": 1, "per": "1h", "burst": 5}
    with Routed("rate-limit", options, handler=serve_name) as routed:
        assert [served(routed) for _ in range(5)] == [True] * 5
        assert not any(served(routed) for _ in range(20))
        assert refused_politely(routed.port)
        assert served(routed, "127.0.0.2"), "another client's"
        routed.balancer.reload()
        assert not served(routed), "a reload forgets nothing"
        assert served(routed, "127.0.0.2")
        ended = routed.balancer.at_rest()["listeners"]["web"]["ended"]
        assert ended["rejected"] == 22 and ended["done"] == 7


def test_rate_limit_lets_go_on_after_a_while():
    options = {"rate": 10, "per": "1s", "burst": 3}
    with Routed("rate-limit", options, handler=serve_name) as routed:
        began = time.monotonic()
        good = sum(served(routed) for _ in range(3))
        eventually(lambda: not served(routed))
        for _ in range(5):
            eventually(lambda: served(routed))
            good += 1
        # 3 at once, then one each 100 ms.
        assert good <= 3 + (time.monotonic() - began) * 10 + 1
        time.sleep(0.5)  # nothing to await: the bucket empties by the clock
        assert [served(routed) for _ in range(3)] == [True] * 3, "it may burst again"


def test_rate_limit_under_many_at_once():
    """Two workers may let one more pass for each pair that asks in the same instant, not more."""
    options = {"rate": 1, "per": "1h", "burst": 50}
    with Routed("rate-limit", options, handler=serve_name) as routed:
        good = []
        threads = [threading.Thread(target=lambda: good.extend(served(routed) for _ in range(25)))
                   for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(good) == 200 and 50 <= sum(good) <= 60
