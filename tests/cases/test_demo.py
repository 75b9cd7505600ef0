"""`alacrity demo` needs no file: it prints two addresses, and both answer."""
import re
import signal
import socket
import subprocess
import urllib.request

import pytest

from support import BINARY, LIMIT, SANITIZER_WORDS, command, eventually


def taken(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=LIMIT) as answer:
            return answer.status, answer.read().decode()
    except OSError:
        return None


def test_both_addresses_answer():
    ports = [int(p) for p in re.findall(r"127\.0\.0\.1:(\d+)", command("demo", "--print").stdout)]
    busy = sorted({port for port in ports if taken(port)})
    if busy:
        pytest.skip(f"the demo's addresses are in use on this machine: {busy}")
    process = subprocess.Popen([BINARY, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, errors="replace")
    try:
        urls = []
        for line in process.stdout:
            urls += re.findall(r"http://\S+", line)
            if len(urls) == 2:
                break
        assert len(urls) == 2
        service, stats = urls
        eventually(lambda: get(stats), "the stats page is served")
        answers = [eventually(lambda: get(service), "the service answers") for _ in range(12)]
        assert all(status == 200 for status, _ in answers)
        assert len({body for _, body in answers}) >= 2, "more than one backend answers"
        status, page = get(stats)
        assert status == 200 and "<html" in page
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            _, errors = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert process.returncode == 0 and not SANITIZER_WORDS.search(errors), errors


def test_the_printed_configuration_is_a_good_start(folder):
    (folder / "mine.yaml").write_text(command("demo", "--print").stdout, encoding="utf-8")
    done = command("check", "-f", folder / "mine.yaml")
    assert done.returncode == 0, done.stderr
