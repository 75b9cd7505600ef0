"""The benchmark still works, and its load generator sees every byte that is not as it was sent. What
it measures is nobody's business here."""
import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as tree

import pytest

from support import BINARY, LIMIT, ROOT, Server, dial, free_port

sys.path.append(str(ROOT / "tests/bench"))
import machine  # noqa: E402

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="the generator is built by gcc")


def bench(*words):
    return subprocess.run([sys.executable, ROOT / "tests/bench/run.py", "--quick", *map(str, words)],
                          capture_output=True, text=True, timeout=LIMIT * 2,
                          check=False, env={**os.environ, "ALACRITY": BINARY})


def test_quick_run_measures_everything(folder):
    kept = folder / "kept.md"
    kept.write_text("before\n<!-- run begins -->\nold\n<!-- run ends -->\nafter\n", encoding="utf-8")
    done = bench("--proxies", "alacrity", "--json", folder / "b.json", "--markdown", kept,
                 "--chart", folder / "b.svg")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((folder / "b.json").read_text(encoding="utf-8"))["results"]
    wanted = {f"{mode}.{what}" for mode in ("short", "pingpong", "down", "up")
              for what in ("cpu", "involved", "added", "machine")}
    wanted |= {"short.rate", "idle", *(f"latency.{what}" for what in ("p50", "p99", "p999", "added"))}
    assert set(results) - {"calls"} == wanted  # strace is not everywhere, and not always allowed
    for key in ("short.cpu", "pingpong.cpu", "down.cpu", "up.cpu", "short.rate", "latency.p50"):
        assert results[key]["alacrity"]["median"] > 0, key
    text = kept.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| GiB down, CPU of the proxy, ms |" in text
    assert tree.parse(folder / "b.svg").getroot().tag.endswith("svg")


def test_proxy_that_does_not_start_ends_the_run():
    done = bench("--proxies", "alacrity", "--only", "short", "--binary", "/bin/false")
    assert done.returncode == 1 and "alacrity ended with 1" in done.stderr, done.stderr


# ---- the load generator behind a relay that spoils one connection ----

def spoilt(part, inside, way):
    """`part` with the byte at `inside` treated in this way, and whether the stream goes on."""
    byte, tail = part[inside:inside + 1], part[inside + 1:]
    instead = {"changed": bytes([byte[0] ^ 1]), "lost": b"", "doubled": byte * 2, "cut": b""}[way]
    return part[:inside] + instead + (b"" if way == "cut" else tail), way != "cut"


def pump(source, target, way, at):
    """Copies to the end of the stream; byte number `at` is spoilt when there is a way."""
    position, on = 0, True
    with contextlib.suppress(OSError):
        while on and (part := source.recv(1 << 16)):
            inside = at - position
            position += len(part)
            if way and 0 <= inside < len(part):
                part, on = spoilt(part, inside, way)
            target.sendall(part)
    for end in (source, target):
        with contextlib.suppress(OSError):  # the other direction was quicker
            end.shutdown(socket.SHUT_RDWR)


def relay(port, way, direction, at):
    """In front of `port`; the second connection is the spoilt one."""
    numbers = itertools.count()

    def serve(client, _server):
        mine = way if next(numbers) == 1 else None
        with dial(port) as server:
            up = threading.Thread(target=pump, args=(client, server,
                                                     mine if direction == "up" else None, at))
            up.start()
            pump(server, client, mine if direction == "down" else None, at)
            up.join()

    return Server(serve)


# Where a byte is spoilt: in the second answer or question where there is one, else in the first.
# A byte that is lost where both sides then wait is noticed too, but only when patience ends.
FAULTS = [
    ("short", (20, 4), [("down", 40, "changed lost doubled cut"), ("up", 9, "changed cut")]),
    ("latency", (20, 200), [("down", 63, "changed lost doubled cut"), ("up", 31, "changed cut")]),
    ("pingpong", (40, 2), [("down", 64 + 40, "changed doubled cut"), ("up", 41, "changed cut")]),
    ("idle", (10, 4), [("down", 40, "changed doubled cut"), ("down", 64 + 40, "changed cut"),
                       ("up", 41, "changed cut")]),
    ("down", (1 << 20, 2), [("down", 300001, "changed lost doubled cut"), ("up", 20, "changed"),
                            ("down", (1 << 19) - 1, "changed lost doubled cut")]),
    ("up", (1 << 20, 2), [("up", 300001, "changed lost doubled cut"), ("down", 5, "changed lost"),
                          ("up", 32 + (1 << 19) - 1, "changed cut")]),
]


def test_generator_sees_every_byte(folder):
    machine.build(folder)
    port = free_port()
    responder = machine.start_responder(folder, [port])

    def load(mode, numbers, *fault):
        return subprocess.run([folder / "loadgen", str(relay(port, *fault).port), mode,
                               *map(str, numbers)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=LIMIT, check=False)
    try:
        for mode, numbers, faults in FAULTS:
            unharmed = load(mode, numbers, None, "down", 0)
            assert unharmed.returncode == 0, f"{mode}: {unharmed.stderr}"
            assert json.loads(unharmed.stdout.splitlines()[-1])["seconds"] > 0
            for direction, at, ways in faults:
                for way in ways.split():
                    harmed = load(mode, numbers, way, direction, at)
                    assert harmed.returncode == 1 and "loadgen: connection" in harmed.stderr, \
                        f"{mode}, {way} {direction} at {at}: {harmed.stdout}{harmed.stderr}"
        assert responder.poll() is None, "the responder ended"
    finally:
        responder.kill()
        responder.wait()
        responder.stdout.close()
