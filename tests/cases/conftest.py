"""Bounds every test in time and shows the balancer's log when a test fails."""
import contextlib
import faulthandler
import os
import select
import signal
import socket

import pytest

import support

faulthandler.enable()


@pytest.fixture(autouse=True)
def bounded(request):
    mark = request.node.get_closest_marker("bound")
    seconds = (mark.args[0] if mark else 60) * support.PATIENCE

    def too_late(_signal, _frame):
        raise TimeoutError(f"the test took longer than {seconds} s")

    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture(autouse=True)
def tidy():
    """Whatever a story started and did not stop is stopped here, also when it failed."""
    yield
    support.stop_all()


@pytest.fixture
def folder(tmp_path):
    """A folder with a short path: a unix socket's name has room for about 100 bytes."""
    short = support.short_folder()
    yield short


@pytest.fixture
def black_hole():
    """An address that answers no handshake: a listening socket whose queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", support.free_port()))
        listening.listen(0)
        for _ in range(16):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
            _, writable, _ = select.select([], [filler], [], 0.3)
            if not writable:  # this one waits already: so will all others
                break
        else:
            pytest.skip("the queue of a listening socket does not fill up here")
        yield "127.0.0.1:%d" % listening.getsockname()[1]


def pytest_report_header(config):
    return f"binary under test: {support.BINARY}"


def pytest_sessionstart(session):
    if not os.access(support.BINARY, os.X_OK):
        pytest.exit(f"{support.BINARY} is missing: build it first, or set ALACRITY", 2)
