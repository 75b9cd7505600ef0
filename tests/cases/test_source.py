"""Where backends see their sessions come from: an address that was chosen, or the client's own."""
import socket

import pytest

from kernel import Namespace
from support import (Alacrity, Server, ask, command, dead_address, free_port, read_exactly,
                     serve_echo, serve_name, short_folder, web_over)
import support


def serve_peer(connection, _server):
    """Who are you?"""
    read_exactly(connection, len(support.QUESTION))
    connection.sendall(connection.getpeername()[0].encode())


def test_backends_see_the_pools_source():
    server, port = Server(serve_peer), free_port()
    with Alacrity(web_over([server], port, source="127.0.0.77")) as balancer:
        assert ask(port) == b"127.0.0.77"
        balancer.reload(web_over([server], port))
        assert ask(port) == b"127.0.0.1"


def test_a_source_of_ipv6():
    try:
        server = Server(serve_peer, address=("::1", free_port()))
    except OSError:
        pytest.skip("no IPv6 here")
    port = free_port()
    with Alacrity(web_over([server], port, source="::1")):
        assert ask(port) == b"::1"


def test_a_port_serves_every_destination():
    """With two local ports to choose from, two backends each get two connections at a time: a port
    that bind had taken would be gone for the other backend, too."""
    with Namespace() as network:
        network.set("net/ipv4/ip_local_port_range", "40000 40001")
        servers, port = [Server(serve_echo, name) for name in "ab"], free_port()
        with Alacrity({**web_over(servers, port, source="127.0.0.77", retries=0),
                       "workers": 1}) as balancer:
            clients = []
            for number in range(4):
                client = socket.socket()
                client.bind(("127.0.0.1", 41000 + number))  # none of the two
                client.settimeout(support.LIMIT)
                client.connect(("127.0.0.1", port))
                client.sendall(b"here")
                assert read_exactly(client, 4) == b"here"
                clients.append(client)
            assert [balancer.backend(name)["active"] for name in "ab"] == [2, 2]
            for client in clients:
                client.close()


def test_an_address_this_machine_has_not_got_is_not_the_backends_fault():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port, source="203.0.113.9", retries=0)
    with Alacrity(config) as balancer:
        for _ in range(5):
            assert ask(port) == b""
        assert balancer.backend("a")["connect_failures_total"] == 0
        assert balancer.state("a") != "suspect"
        balancer.wait_line("cannot reach backends from the pool's source")
        assert "warning: this machine has not got the address" in \
            command("check", "-f", balancer.file).stderr


def test_a_backend_of_the_other_family_is_a_mistake(folder):
    path = folder / "alacrity.yaml"
    path.write_text("pools:\n  app:\n    source: 127.0.0.1\n"
                    "    backends:\n      a: '127.0.0.1:80'\n      b: '[::1]:80'\n"
                    "      c: 'unix:/x'\n", encoding="utf-8")
    done = command("check", "-f", path)
    assert f"{path}:6:7: backend 'b' has an IPv6 address, which cannot be reached" in done.stderr
    assert done.stderr.count("cannot be reached") == 1


# ---- source: client ----

class Street:
    """client 10.1.0.2 -- 10.1.0.1 balancer 10.2.0.1 -- 10.2.0.2 server, whose way to everybody is
    through the balancer; what comes from there is the balancer's, whoever it is for."""

    def __init__(self):
        self.client, self.balancer, self.server = Namespace(), Namespace(), Namespace()
        self.balancer.join("left", self.client, "wire")
        self.balancer.join("right", self.server, "wire")
        self.client.run("ip addr add 10.1.0.2/24 dev wire", "ip link set wire up")
        self.server.run("ip addr add 10.2.0.2/24 dev wire", "ip link set wire up",
                        "ip route add default via 10.2.0.1")
        self.balancer.run("ip addr add 10.1.0.1/24 dev left", "ip link set left up",
                          "ip addr add 10.2.0.1/24 dev right", "ip link set right up",
                          "ip rule add iif right lookup 100",
                          "ip route add local default dev lo table 100")

    def close(self):
        for network in (self.client, self.balancer, self.server):
            network.close()  # the last one to know it: the kernel removes it


@pytest.fixture
def street():
    made = Street()
    yield made
    made.close()


def test_backends_see_the_clients_themselves(street):
    with street.server:
        server = Server(serve_peer, address=("10.2.0.2", 9001))
    with street.balancer:
        config = web_over([server], 0, source="client")
        config["listeners"]["web"]["bind"] = "10.1.0.1:8080"
        with Alacrity(config) as balancer:
            with street.client:
                assert ask(("10.1.0.1", 8080)) == b"10.1.0.2"
            config["pools"]["app"].pop("source")
            balancer.reload(config)
            with street.client:
                assert ask(("10.1.0.1", 8080)) == b"10.2.0.1"


def test_a_client_without_an_address_comes_from_the_balancer():
    folder = short_folder()
    server = Server(serve_peer)
    config = web_over([server], 0, source="client")
    config["listeners"]["web"]["bind"] = f"unix:{folder}/web.sock"
    with Alacrity(config):
        assert ask(folder / "web.sock") == b"127.0.0.1"


def test_client_needs_a_capability_and_says_so(folder):
    path = folder / "alacrity.yaml"
    text = ("pools:\n  app:\n    source: client\n    backends: {a: '%s'}\n" % dead_address())
    path.write_text(text, encoding="utf-8")
    folder.chmod(0o755)
    for verb in ("check", "run"):
        done = support.subprocess.run(
            ["setpriv", "--bounding-set=-all", "--inh-caps=-all", support.BINARY, verb, "-f",
             str(path)], capture_output=True, text=True, check=False, timeout=support.LIMIT)
        assert done.returncode == 1
        assert f"{path}:3:13: 'source: client' needs CAP_NET_ADMIN, which this process lacks" in \
            done.stderr
    path.write_text("user: nobody\n" + text, encoding="utf-8")
    done = command("check", "-f", path)
    assert f"{path}:4:13: 'source: client' needs CAP_NET_ADMIN, which is given up" in done.stderr
