"""Zones and tags: from the configuration to scripts and people, and a reload changes them."""
import collections

from support import Alacrity, Server, ask, eventually, free_port, serve_name, web_over

# Says by its choice what it sees: the first backend with the tag, else one of its own zone.
SCRIPT = """
return { api = 1, kind = "policy", name = "labels",
  new = function()
    return { pick = function(self, ctx, pool)
      for i = 1, #pool do if pool[i]:has_tag("chosen") then return pool[i] end end
      for i = 1, #pool do if pool[i].zone == pool.zone then return pool[i] end end
    end }
  end }
"""


def config_of(servers, port, labels, **pool):
    config = web_over(servers, port, policy={"script": "./labels.lua", "fallback": "reject"}, **pool)
    config["pools"]["app"]["backends"] = {
        s.name: {"address": s.text, **labels.get(s.name, {})} for s in servers}
    return config


def answers(port):
    return collections.Counter(ask(port) for _ in range(20))


def test_a_reload_changes_zones_and_tags():
    servers, port = [Server(serve_name, n) for n in "abc"], free_port()
    east = {"a": {"zone": "west"}, "b": {"zone": "east"}}
    config = {"zone": "east", **config_of(servers, port, east)}
    with Alacrity(config, scripts={"labels.lua": SCRIPT}) as balancer:
        assert answers(port) == {b"b\n": 20}

        tagged = {**east, "c": {"tags": ["ssd", "chosen"]}}
        balancer.reload({"zone": "east", **config_of(servers, port, tagged)})
        assert answers(port) == {b"c\n": 20}

        balancer.reload({"zone": "east", **config_of(servers, port, east, zone="west")})
        assert answers(port) == {b"a\n": 20}, "the pool's zone wins over the general one"

        stood = balancer.backend("a")["picks_total"]
        balancer.reload({"zone": "east", **config_of(servers, port, {}, zone="west")})
        assert answers(port) == {b"": 20}, "nobody is chosen or near by"
        assert balancer.backend("a")["picks_total"] == stood


def test_they_are_shown():
    servers, port = [Server(serve_name, n) for n in "ab"], free_port()
    labels = {"a": {"zone": "west", "tags": ["ssd", "canary"]}, "b": {"tags": "ssd"}}
    config = config_of(servers, port, labels, zone="east")
    with Alacrity(config, scripts={"labels.lua": SCRIPT}) as balancer:
        pool = balancer.pool()
        assert pool["zone"] == "east"
        assert pool["backends"]["a"]["zone"] == "west"
        assert pool["backends"]["a"]["tags"] == ["ssd", "canary"]
        assert "zone" not in pool["backends"]["b"] and pool["backends"]["b"]["tags"] == ["ssd"]
        listed = {b["name"]: b for b in balancer.admin("backend", "list")["backends"]}
        assert (listed["a"]["zone"], listed["a"]["tags"]) == ("west", "ssd, canary")
        assert (listed["b"]["zone"], listed["b"]["tags"]) == (None, "ssd")
        assert "ssd, canary" in balancer.admin("backend", "list", plain=True)


def test_tags_come_and_go_for_ever():
    """32 at a time, but any number in a lifetime: bits are used again."""
    servers, port = [Server(serve_name, n) for n in "ab"], free_port()

    def tagged(number):
        names = [f"t{number}-{i}" for i in range(15)]
        return config_of(servers, port, {"a": {"tags": names}, "b": {"tags": ["chosen", *names]}})

    with Alacrity(tagged(0), scripts={"labels.lua": SCRIPT}) as balancer:
        for number in range(1, 8):
            balancer.write(tagged(number))
            # Bits of the configuration before the last are free once its plans are.
            eventually(lambda: balancer.admin("reload", ok=None).returncode == 0)
            assert answers(port) == {b"b\n": 20}
