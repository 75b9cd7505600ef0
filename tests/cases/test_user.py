"""`user:` — started as root, it becomes another user before it accepts a connection, keeps nothing
of root but the right to bind low ports, and can do everything it could before."""
import contextlib
import os
import pathlib
import pwd
import random
import resource
import shutil
import signal
import stat
import subprocess

import pytest

import support
from support import (Alacrity, Server, ask, command, dead_address, dial, eventually, free_port,
                     serve_name, web_over)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

NOBODY = pwd.getpwnam("nobody")
CAP_NET_BIND_SERVICE = 1 << 10

PICK = """return { api = 1, kind = "policy", name = "mine", options = {},
    new = function() return { pick = function(self, ctx, pool) return pool[%d] end } end }"""


class Dropping(Alacrity):
    """A balancer that becomes nobody, in a folder of nobody's."""

    def write(self, config):
        os.chown(self.folder, NOBODY.pw_uid, NOBODY.pw_gid)
        super().write({"user": "nobody", **config} if isinstance(config, dict) else config)


def low_address():
    """A port below 1024, on an address nobody else has."""
    return (f"127.{random.randint(64, 127)}.{random.randint(0, 255)}.{random.randint(2, 254)}", 80)


def threads(balancer):
    """Name of each thread -> what the kernel knows of it."""
    found = {}
    for thread, task in balancer.threads():
        lines = (task / "status").read_text().splitlines()
        found[thread, task.name] = {
            name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    return found


def assert_dropped(balancer, workers):
    seen = threads(balancer)
    names = sorted(name for name, _ in seen)
    assert [f"worker {i}" for i in range(workers)] == [n for n in names if n.startswith("worker")]
    assert names.count("builder") == 1
    for (name, _), status in seen.items():
        assert status["Uid"] == [str(NOBODY.pw_uid)] * 4, name
        assert status["Gid"] == [str(NOBODY.pw_gid)] * 4, name
        assert set(map(int, status["Groups"])) == set(os.getgrouplist("nobody", NOBODY.pw_gid))
        kept = CAP_NET_BIND_SERVICE if name == "builder" else 0
        for capabilities in ("CapEff", "CapPrm"):
            assert int(status[capabilities][0], 16) == kept, (name, capabilities)
        for capabilities in ("CapInh", "CapAmb"):
            assert int(status[capabilities][0], 16) == 0, (name, capabilities)
        assert status["NoNewPrivs"] == ["1"], name
    # The kernel shows what may be dumped and traced as its user's, what may not as root's.
    assert os.stat(f"/proc/{balancer.pid}/mem").st_uid == 0


@contextlib.contextmanager
def groups_of_root(groups):
    before = os.getgroups()
    os.setgroups(groups)
    try:
        yield
    finally:
        os.setgroups(before)


def test_no_thread_keeps_more_than_it_needs():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with groups_of_root([0, 4, 27]):
        balancer = Dropping(config)
    with balancer:
        assert_dropped(balancer, workers=2)
        assert ask(port) == b"a\n"
        balancer.reload({**config, "workers": 4})
        assert_dropped(balancer, workers=4)
        balancer.wait_line("gave up root.* nobody")


def test_a_reload_can_do_what_it_could_before():
    """Low ports, scripts, workers."""
    servers, port, low = [Server(serve_name, n) for n in "ab"], free_port(), low_address()
    config = web_over(servers, port, policy={"script": "./mine.lua"})
    with Dropping(config, scripts={"mine.lua": PICK % 1}) as balancer:
        assert ask(port) == b"a\n"
        balancer.put("mine.lua", PICK % 2)
        config["listeners"]["low"] = {"bind": "%s:%d" % low, "pool": "app"}
        balancer.reload({**config, "workers": 3})
        assert ask(low) == ask(port) == b"b\n"
        del config["listeners"]["low"]
        balancer.reload(config)
        with pytest.raises(ConnectionRefusedError):
            dial(low)


def test_a_low_port_from_the_start():
    server, low = Server(serve_name, "a"), low_address()
    with Dropping({**web_over([server], 0), "listeners": {
            "web": {"bind": "%s:%d" % low, "pool": "app"}}}):
        assert ask(low) == b"a\n"


def is_of_nobody(path, mode):
    status = os.stat(path)
    return (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == \
        (NOBODY.pw_uid, NOBODY.pw_gid, mode)


def test_the_admin_socket_is_the_users_and_roots():
    """Made as root at first, by the user later: no difference to be seen."""
    server = Server(serve_name, "a")
    config = web_over([server], free_port())
    folder = support.short_folder()  # root's, so that the folder for the socket is made as root
    os.chmod(folder, 0o755)
    first = folder / "made" / "admin.sock"
    with Dropping({**config, "admin": {"socket": str(first)}}) as balancer:
        assert is_of_nobody(first, 0o600) and is_of_nobody(first.parent, 0o755)
        assert command("status", "--socket", first).returncode == 0  # by root
        second = first.parent / "other.sock"
        balancer.write({**config, "admin": {"socket": str(second)}})
        assert command("reload", "--socket", first).returncode == 0
        eventually(second.exists)
        assert is_of_nobody(second, 0o600) and not first.exists()
        assert command("status", "--socket", second).returncode == 0
        balancer.stop()
        assert not second.exists(), "it is removed at the end"


class Logging(Dropping):
    """One that logs to a file from the start."""

    def __enter__(self):
        config = support.yaml.safe_load(self.file.read_text())
        self.log = pathlib.Path(config["log"]["target"])
        eventually(lambda: self.log.exists() and '"ready"' in self.log.read_text(), "ready")
        return self


def test_a_log_file_is_the_users_and_can_be_reopened():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    folder = support.short_folder()  # root's, as /var/log is
    os.chmod(folder, 0o755)
    config["log"] = {"target": str(folder / "a.log"), "sessions": True}
    with Logging(config) as balancer:
        assert is_of_nobody(balancer.log, 0o640)
        balancer.log.rename(folder / "a.log.1")
        balancer.log.touch(mode=0o640)  # as logrotate does for `create 0640 nobody`
        os.chown(balancer.log, NOBODY.pw_uid, NOBODY.pw_gid)
        balancer.process.send_signal(signal.SIGUSR1)

        def logged_again():
            ask(port)
            return '"session"' in balancer.log.read_text()
        eventually(logged_again, "lines in the new file")
        balancer.reload(config)
        config["log"]["target"] = str(balancer.folder / "moved.log")
        balancer.reload(config)
        eventually(lambda: "is live" in (balancer.folder / "moved.log").read_text())
        config["log"]["target"] = str(folder / "no.log")
        assert "let the user this runs as write to it" in balancer.reload(config, ok=False)
        assert ask(port) == b"a\n"


@pytest.mark.parametrize("name", ["of_root.log", "link.log"])
def test_root_writes_no_log_for_a_user_who_may_not(name):
    """A file of root's, and a link that would make one: it does not start, nothing is written."""
    folder = support.short_folder()
    os.chmod(folder, 0o755)
    target = folder / "of_root.log"
    if name == "link.log":
        (folder / name).symlink_to(target)
    else:
        target.touch(mode=0o600)
    config = {**web_over([], free_port()), "log": {"target": str(folder / name)}}
    config["pools"]["app"]["backends"] = {"a": dead_address()}
    balancer = Dropping(config)
    told = balancer.ended(code=1)
    assert "log.target" in told and name in told
    assert not balancer.socket.exists()
    if name == "link.log":
        assert not target.exists()
    else:
        assert target.read_text() == "" and target.stat().st_uid == 0


def test_a_unix_listener_is_the_users():
    """Made as root at the start or by the user later: no difference, and it is removed."""
    server, folder = Server(serve_name, "a"), support.short_folder()
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    first, second = folder / "1.sock", folder / "2.sock"
    config = web_over([server], free_port())
    one = {"bind": f"unix:{first}", "pool": "app"}
    two = {"bind": f"unix:{second}", "pool": "app"}
    with Dropping({**config, "listeners": {"one": one}}) as balancer:
        balancer.reload({**config, "listeners": {"one": one, "two": two}})
        assert is_of_nobody(first, 0o755) and is_of_nobody(second, 0o755)
        assert ask(first) == ask(second) == b"a\n"
        balancer.reload({**config, "listeners": {"two": two}})
        assert not first.exists()
        balancer.stop()
        assert not second.exists()


def test_what_the_user_may_not_read_is_told_at_a_reload():
    servers, port = [Server(serve_name, n) for n in "ab"], free_port()
    config = web_over(servers, port, policy={"script": "./mine.lua"})
    with Dropping(config, scripts={"mine.lua": PICK % 1}) as balancer:
        script = balancer.folder / "mine.lua"
        script.write_text(PICK % 2)
        script.chmod(0o600)
        told = balancer.reload(ok=False)
        assert "mine.lua" in told and "Permission denied" in told and "let the user" in told
        script.chmod(0o644)
        balancer.file.chmod(0o600)
        told = balancer.reload(ok=False)
        assert "alacrity.yaml: cannot be read: Permission denied; let the user" in told
        assert ask(port) == b"a\n"
        balancer.file.chmod(0o644)
        balancer.reload()
        assert ask(port) == b"b\n"


def test_a_reload_cannot_change_the_user():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with Dropping(config) as balancer:
        for user in ("root", "daemon"):
            told = balancer.reload({**config, "user": user}, ok=False)
            assert "alacrity.yaml:1:7: 'user' cannot change" in told and "restart" in told
        Alacrity.write(balancer, config)  # without `user`
        told = balancer.reload(ok=False)
        assert "'user' cannot change" in told and "restart" in told
        balancer.reload(config)
        assert ask(port) == b"a\n"
    with Alacrity(config) as balancer:
        told = balancer.reload({**config, "user": "nobody"}, ok=False)
        assert "'user' cannot change" in told and "restart" in told
        balancer.reload({**config, "user": "root"})  # the one it is
        assert ask(port) == b"a\n"


@contextlib.contextmanager
def no_more_threads():
    """What is started in here may have no threads beyond those it starts as root."""
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, before)


@pytest.mark.skipif(support.SANITIZED == "asan", reason="its leak checker needs another thread")
def test_a_worker_that_cannot_be_started_changes_nothing():
    server, port = Server(serve_name, "a"), free_port()
    config = web_over([server], port)
    with no_more_threads():
        balancer = Dropping(config)
    with balancer:
        new_socket, new_log = balancer.folder / "new.sock", balancer.folder / "new.log"
        moved = {**config, "admin": {"socket": str(new_socket)}, "log": {"target": str(new_log)}}
        told = balancer.reload({**moved, "workers": 4}, ok=False)
        assert "workers: worker 2 cannot be started" in told
        assert not new_socket.exists() and ask(port) == b"a\n"
        said = len(balancer.lines)
        balancer.reload(config)
        balancer.wait_line("is live", since=said)
        balancer.reload(moved)
        assert new_socket.exists()
        eventually(lambda: "is live" in new_log.read_text(), "a line in the new log")
        assert not balancer.socket.exists() and ask(port) == b"a\n"


def run_as_nobody(folder, *words):
    """Starts `alacrity WORDS` as nobody, who may not enter the folder the binary is built in."""
    shutil.copy(support.BINARY, folder / "alacrity")
    os.chmod(folder, 0o755)
    return subprocess.Popen([folder / "alacrity", *words], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/",
                            user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[])


def configuration_of(user, folder):
    file = folder / "a.yaml"
    file.write_text(f"user: {user}\nworkers: 1\nadmin: {{socket: off}}\n"
                    f"listeners: {{web: {{bind: '127.0.0.1:{free_port()}', pool: app}}}}\n"
                    f"pools: {{app: {{backends: {{a: '{dead_address()}'}}}}}}\n")
    return file


def test_only_root_can_become_another(folder):
    file = configuration_of("daemon", folder)
    process = run_as_nobody(folder, "run", "-f", file)
    told, _ = process.communicate(timeout=support.LIMIT)
    assert process.returncode == 1
    assert f"{file}:1:7: cannot become user 'daemon': only root can" in told
    assert command("check", "-f", file).returncode == 0, "the file itself is good"


def test_naming_the_user_it_is_already_changes_nothing(folder):
    process = run_as_nobody(folder, "run", "-f", configuration_of("nobody", folder))
    try:
        assert any("ready" in line for line in iter(process.stdout.readline, ""))
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=support.LIMIT)
        assert process.returncode == 0, rest
    finally:
        process.kill()
        process.wait()


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not installed")
def test_it_does_not_start_where_all_threads_would_keep_everything(folder):
    file = configuration_of("nobody", folder)
    done = subprocess.run(["setpriv", "--securebits", "+no_setuid_fixup", support.BINARY, "-f",
                           file], capture_output=True, text=True, timeout=support.LIMIT)
    assert done.returncode == 1 and "securebits" in done.stderr
