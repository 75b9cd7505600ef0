"""Looking at the sockets of the balancer, and network namespaces to try it in."""
import contextlib
import ctypes
import os
import pathlib
import socket
import struct
import subprocess

import pytest

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
SYS_PIDFD_GETFD = 438
NAMESPACE = "/proc/thread-self/ns/net"

TCP_FASTOPEN_CONNECT, SYN_DATA = 30, 32  # TCPI_OPT_SYN_DATA: bytes went with the SYN


# ---- sockets ----

def sockets_of(pid):
    """Every TCP socket of the process, as a socket of ours: the same one, so that its options are
    to be seen. Close them soon."""
    process = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    continue
            copy = LIBC.syscall(SYS_PIDFD_GETFD, process, int(name), 0)
            if copy < 0:
                if ctypes.get_errno() in (1, 38):
                    pytest.skip("the sockets of other processes cannot be looked at here")
                continue  # it was closed meanwhile
            one = socket.socket(fileno=copy)
            if one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM:
                yield one
            else:
                one.close()
    finally:
        os.close(process)


def find_sockets(pid, fits):
    found = []
    for one in sockets_of(pid):
        if fits(one):
            found.append(one)
        else:
            one.close()
    return found


def is_listening(one):
    return one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def peer_port(one):
    try:
        return one.getpeername()[1]
    except OSError:
        return None


@contextlib.contextmanager
def listening_sockets(pid, port):
    found = find_sockets(pid, lambda one: is_listening(one) and one.getsockname()[1] == port)
    assert found, f"nothing listens on {port}"
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(one) for one in found]


@contextlib.contextmanager
def connection_from(pid, client):
    """The balancer's end of the client's connection."""
    port = client.getsockname()[1]
    (one,) = find_sockets(pid, lambda one: not is_listening(one) and peer_port(one) == port)
    with one:
        yield one


@contextlib.contextmanager
def connection_to(pid, port):
    """The balancer's only connection to a server."""
    (one,) = find_sockets(pid, lambda one: not is_listening(one) and peer_port(one) == port)
    with one:
        yield one


def tcp(one, option):
    return one.getsockopt(socket.IPPROTO_TCP, option)


def congestion(one):
    return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def syn_carried_bytes(one):
    """Did bytes go with the SYN?"""
    info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 16)
    return bool(struct.unpack_from("B", info, 5)[0] & SYN_DATA)


def congestion_controls(which="available"):
    return pathlib.Path(
        f"/proc/sys/net/ipv4/tcp_{which}_congestion_control").read_text(encoding="ascii").split()


# ---- namespaces ----

def _call(function, *arguments):
    if function(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Namespace:
    """A network of its own. Inside `with` this thread makes its sockets there, and starts its
    processes there. A story that cannot have one is skipped."""

    def __init__(self):
        self.before = []
        here = os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(LIBC.unshare, CLONE_NEWNET)
            self.descriptor = os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
            _call(LIBC.setns, here, CLONE_NEWNET)
        except OSError as error:
            pytest.skip(f"no network namespace can be made here: {error}")
        finally:
            os.close(here)
        self.run("ip link set lo up")

    def __enter__(self):
        self.before.append(os.open(NAMESPACE, os.O_RDONLY | os.O_CLOEXEC))
        _call(LIBC.setns, self.descriptor, CLONE_NEWNET)
        return self

    def __exit__(self, *_):
        before = self.before.pop()
        _call(LIBC.setns, before, CLONE_NEWNET)
        os.close(before)

    def run(self, *commands, keep=None):
        with self:
            for words in commands:
                done = subprocess.run(words.split(), capture_output=True, text=True, check=False,
                                      pass_fds=[keep] if keep else [])
                assert done.returncode == 0, f"{words}: {done.stderr}"

    def set(self, name, value):
        """A setting of the kernel's (sysctl) for this network."""
        with self, open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def join(self, name, other, other_name):
        """A cable from here to another namespace."""
        self.run(f"ip link add {name} type veth peer name {other_name}")
        self.run(f"ip link set {other_name} netns /proc/self/fd/{other.descriptor}",
                 keep=other.descriptor)

    def close(self):
        os.close(self.descriptor)
