"""A script that says nearly what it means is told so when it is loaded, and not silently run without
what it means."""
import json

import pytest

from support import command

MODULE = 'return { api = 1, kind = "%s", name = "x", %s new = function(cfg) return %s end }'
HOOKS = {"policy": "pick = function(self, ctx, pool) return pool[1] end",
         "check": 'check = function() return "up" end',
         "service": "serve = function() return 200 end",
         "route": "route = function(self, ctx) return ctx:pool('app') end"}


def check(folder, kind, text):
    """What `alacrity check` says of it; the exit code with it."""
    use = {"script": "./x.lua"}
    pool = {"backends": {"a": "127.0.0.1:1"}}
    listener = {"bind": "127.0.0.1:9", **({"service": use} if kind == "service" else {"pool": "app"})}
    if kind == "policy":
        pool["policy"] = use
    elif kind == "check":
        pool["check"] = use
    elif kind == "route":
        listener["route"] = use
    (folder / "x.lua").write_text(text, encoding="utf-8")
    (folder / "c.yaml").write_text(json.dumps({"listeners": {"web": listener}, "pools": {"app": pool}}),
                                   encoding="utf-8")
    done = command("check", "-f", folder / "c.yaml")
    return done.returncode, done.stdout + done.stderr


def load(folder, kind, fields="", methods="%s"):
    return check(folder, kind, MODULE % (kind, fields, "{ " + methods.replace("%s", HOOKS[kind]) + " }"))


@pytest.mark.parametrize("kind", HOOKS)
def test_fields_of_a_module(tmp_path, kind):
    assert load(tmp_path, kind)[0] == 0, load(tmp_path, kind)
    for fields, why in [("option = {},", "unknown field 'option' of the module; did you mean 'options'?"),
                        ("author = 'me',", "unknown field 'author' of the module; it has api, kind"),
                        ("3,", "whose key is a number value")]:
        code, said = load(tmp_path, kind, fields)
        assert code == 1 and why in said and "x.lua" in said


@pytest.mark.parametrize("kind,methods,meant", [
    ("policy", "%s, on_closed = function() end", "on_close"),
    ("policy", "%s, snapshots = function() end", "snapshot"),
    ("policy", "picks = function() end", "pick"),
    ("check", "checks = function() end", "check"),
    ("service", "server = function() end", "serve"),
    ("route", "routes = function() end", "route"),
])
def test_methods_of_an_instance(tmp_path, kind, methods, meant):
    code, said = load(tmp_path, kind, "", methods)
    assert code == 1 and f"did you mean '{meant}'?" in said


def test_a_class_is_looked_at_too(tmp_path):
    text = """local P = {} P.__index = P
    function P:pick(ctx, pool) return pool[1] end
    function P:onclose() end
    return { api = 1, kind = "policy", name = "x", new = function() return setmetatable({}, P) end }"""
    code, said = check(tmp_path, "policy", text)
    assert code == 1 and "a method 'onclose'; did you mean 'on_close'?" in said


def test_whatever_else_an_instance_has_is_its_own(tmp_path):
    own = ("%s, on_close = function() end, on_closed = function() end, picks = 1, snapshots = {}, "
           "helper = function() end")
    code, said = load(tmp_path, "policy", "", own)
    assert code == 0, said


def test_who_may_not_wait_is_told_so(tmp_path):
    code, said = check(tmp_path, "policy",
                       'local net = require "alacrity.net"\n' + MODULE % ("check", "", "{}"))
    assert code == 1
    assert "alacrity.net is for checks, services and routes: a policy's pick may not wait" in said
