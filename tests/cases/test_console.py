"""`alacrity console`: Lua over the facts of a running balancer, in a state that looks and cannot touch;
whatever is typed, or how a client behaves, stays without consequence for anybody else."""
import contextlib
import json
import os
import pty
import re
import subprocess
import threading

import pytest

from support import (BINARY, LIMIT, Alacrity, Load, Server, ask, command, dial, eventually, free_port,
                     read_all, serve_echo, serve_name, web_over)

SHARING = """
local d = require "alacrity".shared("seen")
return { api = 1, kind = "policy", name = "sharing", new = function() return {
  pick = function(self, ctx, pool)
    if ctx.listener ~= "trial" then d:incr("picks") end
    return pool:least()
  end } end }
"""


class Console:
    """A client of our own, which can misbehave."""

    def __init__(self, balancer, request=b"console\n"):
        self.connection = dial(balancer.socket)
        self.connection.sendall(request)
        self.heard = b""
        self.verdict = self.line()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def line(self):
        while b"\n" not in self.heard:
            part = self.connection.recv(1 << 16)
            if not part:
                raise EOFError(self.heard)
            self.heard += part
        line, _, self.heard = self.heard.partition(b"\n")
        return line.decode()

    def send(self, text):
        text = text.encode() if isinstance(text, str) else text
        self.connection.sendall(b"%d\n%s" % (len(text), text))

    def answer(self):
        word, length = self.line().split()
        while len(self.heard) < int(length):
            part = self.connection.recv(1 << 16)
            assert part, "it ended in the middle of an answer"
            self.heard += part
        text, self.heard = self.heard[:int(length)], self.heard[int(length):]
        return word, text.decode()

    def ask(self, text):
        self.send(text)
        return self.answer()

    def ended(self):
        with contextlib.suppress(ConnectionResetError):
            return self.connection.recv(1 << 16) == b""
        return True


def start(port=None, scripts=None, policy="least-conn", handler=serve_name, **more):
    servers = [Server(handler, name) for name in "ab"]
    config = {**web_over(servers, port or free_port(), policy=policy), "workers": 2, **more}
    return Alacrity(config, scripts=scripts)


def run(balancer, *options, lines=None):
    done = subprocess.run([BINARY, "console", "--socket", str(balancer.socket), *options], text=True,
                          input=lines, capture_output=True, timeout=LIMIT)
    return done.returncode, done.stdout, done.stderr


def evaluate(balancer, text, *options):
    return run(balancer, "-e", text, *options)


@pytest.fixture(name="balancer")
def a_balancer():
    with start() as balancer:
        yield balancer


# ---- what is typed ----

VALUES = [
    ("1 + 1", "2"), ("= 1 + 1", "2"), ("return 1, nil, 'x'", '1\nnil\n"x"'), ("local x = 1", ""), ("", ""),
    ("'a\\n\\27[31m\\0\\\"\\\\é\\255'", '"a\\n\\027[31m\\000\\"\\\\\\195\\169\\255"'), ("'é'", '"é"'),
    ("'\\194\\155'", '"\\194\\155"'), ("{}", "{}"), ("0/0 ~= 0/0", "true"), ("2^53 - 1", "9007199254740991"),
    ("{3, 2, b = {true}, a = 'x', ['b c'] = 1, [10] = 0}",
     '{3, 2, [10] = 0, a = "x", b = {true}, ["b c"] = 1}'),
    ("do local t = {} t.t = t return t end", "{t = {...}: it holds itself}"),
    ("print('a', 1) print('\\27[2J')", "a\t1\n\\027[2J"), ("alacrity.format.bytes(2048)", '"2.00 KiB"'),
    ("require 'alacrity.format'.json{1}", '"[1]"'), ("facts.pools[1].name", '"app"'),
    ("pools.app.backends.b.state", '"up"'), ("pools.nope", "nil"), ("listeners.web.pool", '"app"'),
    ("#facts.workers", "2"), ("alacrity.facts().configuration", "1"),
]


def test_values(balancer):
    for text, shown in VALUES:
        assert evaluate(balancer, text) == (0, shown + "\n" if shown else "", ""), text


ERRORS = [
    ("x = * 1", "console:1: unexpected symbol near '*'"), ("a = 1\nb = = 2", "console:2: unexpected symbol"),
    ("local t\nt.x = 1", "console:2: attempt to index local 't'"), ("x +", "not complete"),
    ("x = 'a", "unfinished string"), ("error('mine')", "mine"), ("error({1})", "the error is {1}"), ("error()", "the error is nil"),
    ("return setmetatable({}, {__tostring = error}) .. 1", "concatenate"),
    ("require 'x'", "only the library"), ("require 'alacrity.net'", "is for checks, services and routes"),
    ("alacrity.every(1, print)", "every"), ("alacrity.log.info('x')", "log"), ("io.open('x')", "io"),
    ("os.exit()", "exit"), ("alacrity.counter('x')", "counter"), ("coroutine.yield()", "coroutine"),
    ("setmetatable(_G, {})", "protected"), ("load('\\27LJ')()", "nil value"),
    ("alacrity.shared('nobody has it')", "no shared dictionary"),
    ("facts.x.y", "console:1: attempt to index field 'x'"),
]


def test_errors(balancer):
    for text, told in ERRORS:
        code, out, error = evaluate(balancer, text)
        assert (code, out) == (1, "") and told in error, (text, error)
        if "not complete" not in told:
            code, out, error = evaluate(balancer, text, "--json")
            assert code == 1 and error == "" and told in json.loads(out)["error"], (text, out)


def test_json(balancer):
    code, out, _ = evaluate(balancer, "pools.app.backends.a", "--json")
    assert code == 0 and json.loads(out)["name"] == "a"
    assert evaluate(balancer, "1, 'x', nil", "--json")[1] == '1\n"x"\nnull\n'
    assert evaluate(balancer, "print('x')", "--json") == (0, '"x"\n', "")
    code, out, _ = evaluate(balancer, "print", "--json")
    assert code == 1 and "cannot write a function" in json.loads(out)["error"]
    code, out, _ = evaluate(balancer, "('x'):rep(300000)", "--json")
    assert code == 1 and "longer than 256 KiB" in json.loads(out)["error"]


def test_lines(balancer):
    """As a file of lines: variables stay, what is incomplete goes on, an error ends nothing."""
    code, out, error = run(balancer, lines="x = {\n1, 2}\nfoo.bar()\nfor i = 1, 2 do\n  print(x[i])\nend\n"
                                           "y\n#x")
    assert (code, out) == (1, "1\n2\nnil\n2\n") and "global 'foo'" in error
    assert run(balancer, lines="1\n2\n") == (0, "1\n2\n", "")
    code, out, error = run(balancer, lines="1\nx = (\n")
    assert (code, out) == (1, "1\n") and "not complete" in error
    assert run(balancer, lines="") == (0, "", "")


def test_terminal(balancer):
    ours, its = pty.openpty()
    process = subprocess.Popen([BINARY, "console", "--socket", str(balancer.socket)], stdin=its,
                               stdout=its, stderr=its)
    os.close(its)
    shown = b""

    def await_text(part):
        nonlocal shown
        while part not in shown:
            shown += os.read(ours, 4096)
        shown = shown.partition(part)[2]

    await_text(b"\n> ")
    os.write(ours, b"x = {\n")
    await_text(b"\n>> ")
    os.write(ours, b"7}\n")
    await_text(b"\n> ")
    os.write(ours, b"x[1] * 6\n")
    await_text(b"42\r\n> ")
    os.write(ours, b"\x04")
    assert process.wait(LIMIT) == 0
    os.close(ours)


def test_wrong_command_lines(balancer):
    for words in [["status", "-e", "1"], ["console", "more"], ["console", "-e"]]:
        assert command(*words, "--socket", balancer.socket).returncode == 2
    code, _, error = evaluate(balancer, "")
    assert code == 0 and error == ""
    done = command("console", "-e", "1", "--socket", "/nonexistent/admin.sock")
    assert done.returncode == 3


# ---- bounds ----

def test_long_answers_are_cut():
    with start(lua={"budget": "5s"}) as balancer:
        code, out, _ = evaluate(balancer, "local t = {} for i = 1, 1000 do t[i] = i end return t")
        assert code == 0 and "200,\n" in out and "201,\n" not in out and "... 800 more" in out
        code, out, _ = evaluate(balancer, "('x'):rep(300000)")
        assert code == 0 and 262144 < len(out) < 262300 and out.endswith("longer than 256 KiB\n")
        wide = "local t = {} for i = 1, 200 do t[i] = {('y'):rep(1500), ('z'):rep(1500)} end return t"
        code, out, _ = evaluate(balancer, wide)
        assert code == 0 and len(out) < 262300 and "cut here" in out
        code, out, _ = evaluate(balancer, "for i = 1, 1e5 do print('line') end return 'end'")
        assert code == 0 and 262144 < len(out) < 262300 and "cut here" in out


def test_stopped_text_costs_this_console_its_variables(balancer):
    budget, memory = "of CPU time (lua.budget: 100 ms)", "it filled its memory"
    texts = [("while true do end", budget), ("while true do pcall(error) end", budget),
             ("return setmetatable({}, {__tostring = error}), (function() while true do end end)()", budget)]
    if balancer.admin("status")["watchdog"] == "proven":  # else C functions escape it
        texts += [("local s = ('a?'):rep(3e4) .. ('a'):rep(3e4) return (('a'):rep(3e4)):find(s)", None),
                  ("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1e6) .. i end", memory)]
    with Console(balancer) as one, Console(balancer) as other:
        for console in (one, other):
            assert console.verdict == "ok" and console.ask("x = 5") == ("ok", "")
        for text, cause in texts:
            word, told = one.ask(text)
            assert word == "error", (text, told)
            if cause:
                assert cause in told and told.endswith("your variables are gone\n"), told
            assert one.ask("x")[1] in ("nil\n", "6\n" if not cause else "nil\n")
            assert one.ask("x = 6") == ("ok", "")
        assert other.ask("x") == ("ok", "5\n")
        assert one.ask("pools.app.name") == ("ok", '"app"\n')
    assert balancer.admin("status")["draining"] is False


def test_how_many(balancer):
    with contextlib.ExitStack() as stack:
        consoles = [stack.enter_context(Console(balancer)) for _ in range(4)]
        assert [console.verdict for console in consoles] == ["ok"] * 4
        code, _, error = evaluate(balancer, "1")
        assert code == 1 and "there are 4 consoles already" in error
        code, out, _ = evaluate(balancer, "1", "--json")
        assert code == 1 and "4 consoles" in json.loads(out)["error"]
        assert consoles[3].ask("1") == ("ok", "1\n")
    eventually(lambda: evaluate(balancer, "1")[0] == 0, "there is room again")


def test_long_texts(balancer):
    with Console(balancer) as console:
        assert console.ask("return '" + "x" * 65000 + "'")[0] == "ok"
        text = "--" + "x" * (65536 - 2)
        assert console.ask(text) == ("ok", "")
        console.connection.sendall(b"65537\n")
        word, told = console.answer()
        assert word == "error" and "65536" in told and console.ended()
    code, out, error = run(balancer, lines="x = '" + "y" * 70000 + "'\n1 + 1\n")
    assert (code, out) == (1, "2\n") and "at most 65536 bytes" in error
    code, _, error = evaluate(balancer, "--" + "x" * 70000)
    assert code == 1 and "at most 65536 bytes" in error


def test_garbage_is_told_and_ends_it(balancer):
    for garbage in [b"hello\n", b"-1\nx", b"\n", b"9" * 20, bytes(8), b"1 \nx", b"00000001\n"]:
        with Console(balancer) as console:
            assert console.verdict == "ok" and console.ask("1") == ("ok", "1\n")
            console.connection.sendall(garbage)
            word, told = console.answer()
            assert word == "error" and "not what a console is sent" in told and console.ended()


def test_binary_texts(balancer):
    with Console(balancer) as console:
        assert console.ask(b"\x1bLJ\x02")[0] == "error"
        assert console.ask(b"return '\xff\x00'") == ("ok", '"\\255\\000"\n')
        assert console.ask(bytes(range(256)))[0] == "error"
        assert console.ask("1") == ("ok", "1\n")


def test_many_texts_at_once_and_byte_by_byte(balancer):
    with Console(balancer, b"console\n1\n1" + b"2\n22" * 200) as console:
        assert console.verdict == "ok" and console.answer() == ("ok", "1\n")
        for _ in range(200):
            assert console.answer() == ("ok", "22\n")
        for byte in b"5\n1 + 5":
            console.connection.sendall(bytes([byte]))
        assert console.answer() == ("ok", "6\n")


def test_who_hangs_up(balancer):
    with Console(balancer) as console:
        assert console.ask("1")[0] == "ok"
    before = balancer.fds()
    for i in range(40):
        with Console(balancer) as console:
            if i % 4 == 1:
                console.connection.sendall(b"100\nretu")  # in the middle of a text
            elif i % 4 == 2:
                console.send("('x'):rep(250000)")  # without taking the answer
            elif i % 4 == 3:
                console.send("while true do end")
        eventually(lambda: balancer.fds() <= before, "it is gone")


# ---- and the balancer ----

def test_looks_at_traffic_and_changes_nothing():
    port = free_port()
    with start(port, {"sharing.lua": SHARING}, {"script": "./sharing.lua"}) as balancer:
        with Console(balancer) as console:
            assert console.ask("pools.app.sessions_total") == ("ok", "0\n")
            for _ in range(6):
                ask(port)
            balancer.at_rest()
            assert console.ask("pools.app.sessions_total") == ("ok", "6\n"), "facts are fresh each time"
            assert console.ask("d = alacrity.shared('seen')") == ("ok", "")
            assert console.ask("d:get('picks')") == ("ok", "6\n")
            for change in ["d:set('picks', 0)", "d:delete('picks')", "d:incr('picks')", "d:add('x', 1)"]:
                word, told = console.ask(change)
                assert word == "error" and "only looks" in told
            assert console.ask("return d:get('picks'), d:count()") == ("ok", "6\n1\n")
            console.ask("pcall(alacrity.shared, 'other')")
            assert console.ask("#facts.shared.dictionaries") == ("ok", "1\n"), "asking makes none"
            # What it does to its own copy of the facts is nobody's business.
            console.ask("facts.pools[1].backends[1].state = 'down'")
            assert console.ask("pools.app.backends.a.state") == ("ok", '"up"\n')
        assert balancer.stats()["pools"]["app"]["backends"]["a"]["state"] == "up"


def test_across_reloads():
    port = free_port()
    with start(port) as balancer, Console(balancer) as console:
        assert console.ask("x = facts.configuration") == ("ok", "")
        for _ in range(3):
            balancer.reload()
            assert console.ask("x")[0] == "ok"
        assert console.ask("return x, facts.configuration") == ("ok", "1\n4\n")
        moved = {**web_over([Server(serve_name, "z")], port), "pools": {
            "other": {"backends": {"z": Server(serve_name, "z").text}}}}
        moved["listeners"]["web"]["pool"] = "other"
        moved["admin"] = {"socket": str(balancer.folder / "moved.sock")}
        balancer.reload(moved)
        assert console.ask("return pools.app, pools.other.name") == ("ok", 'nil\n"other"\n')


def test_traffic_goes_on_beside_consoles():
    port = free_port()
    with start(port, handler=serve_echo) as balancer, dial(port) as session:
        def once(_):
            with dial(port) as client:
                client.sendall(b"x")
                return client.recv(1) == b"x"

        def torment():
            with Console(balancer) as console:
                for text in ["while true do end", "facts", "x = x or {} for i = 1, 1e6 do x[i] = i end"]:
                    console.ask(text)
        with Load(once, threads=4, per_second=100) as load:
            threads = [threading.Thread(target=torment) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LIMIT)
            load.wait_done(20)
            balancer.reload()
        assert load.failures == []
        session.sendall(b"still here")
        assert session.recv(20) == b"still here"


def test_stops_beside_an_open_console():
    with start() as balancer, Console(balancer) as console:
        assert console.ask("1") == ("ok", "1\n")
        balancer.stop()
        assert console.ended()


def test_socket_is_the_guard(balancer):
    assert re.search(r"0o?600$", oct(os.stat(balancer.socket).st_mode)), "who may connect, may look"
    with dial(balancer.socket) as connection:
        connection.sendall(b"console now\n")
        assert b"wrong number of words" in read_all(connection)


def piped(balancer, text):
    return subprocess.run([BINARY, "console", "--socket", str(balancer.socket)], input=text, text=True,
                          capture_output=True, timeout=LIMIT)


@pytest.mark.parametrize("word", ["exit", "quit  "])
def test_a_word_ends_it(word):
    with Alacrity(web_over([Server(serve_name, "a")], free_port())) as balancer:
        done = piped(balancer, f"1 + 1\n{word}\n3\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_it_helps_and_knows_keys_it_does_not_understand():
    with Alacrity(web_over([Server(serve_name, "a")], free_port())) as balancer:
        done = piped(balancer, "help\n\033[A\nhelp = 5\nhelp + 1\n")
        assert "everything the stats page shows" in done.stdout and done.stdout.endswith("6\n")
        assert "rlwrap" in done.stderr and done.returncode == 1
