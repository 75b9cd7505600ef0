"""Bounds every test in time and shows the balancer's log when a test fails."""
import faulthandler
import os
import signal

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


def pytest_report_header(config):
    return f"binary under test: {support.BINARY}"


def pytest_sessionstart(session):
    if not os.access(support.BINARY, os.X_OK):
        pytest.exit(f"{support.BINARY} is missing: build it first, or set ALACRITY", 2)
