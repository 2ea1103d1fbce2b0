"""python-memcached against a running server. Run by scripts/clients through with-server."""

import time

import memcache
from harness import ADDRESS, LARGE, TOO_LARGE, Suite, eventually, raises, same

suite = Suite("python-memcached")
c = memcache.Client([ADDRESS], cache_cas=True, socket_timeout=20, dead_retry=0)


@suite.feature
def set_():
    same(c.set("set", "one"), True)
    same(c.set("set", "two"), True)
    same(c.get("set"), "two")
    same(c.set("empty", b""), True)
    same(c.get("empty"), b"")


@suite.feature
def get():
    same(c.get("get-nothing"), None)
    same(c.get("get-nothing", "default"), "default")
    c.set("get", b"\x00\r\nEND\r\n\xff")
    same(c.get("get"), b"\x00\r\nEND\r\n\xff")


@suite.feature
def multi():
    pairs = {"multi%d" % i: "value %d" % i for i in range(300)}
    same(c.set_multi(pairs), [])
    same(c.get_multi(list(pairs) + ["multi-nothing"]), pairs)
    same(c.set_multi({"1": "x", "2": "y"}, key_prefix="prefix-"), [])
    same(c.get_multi(["1", "2", "3"], key_prefix="prefix-"), {"1": "x", "2": "y"})
    same(c.delete_multi(list(pairs)), 1)
    same(c.get_multi(list(pairs)), {})


@suite.feature
def add():
    same(c.add("add", "1"), True)
    same(c.add("add", "2"), False)
    same(c.get("add"), "1")


@suite.feature
def replace():
    same(c.replace("replace", "1"), False)
    c.set("replace", "1")
    same(c.replace("replace", "22"), True)
    same(c.get("replace"), "22")


@suite.feature
def append():
    same(c.append("append", b"x"), False)
    c.set("append", b"a")
    same(c.append("append", b"b" * 5000), True)
    same(c.get("append"), b"a" + b"b" * 5000)


@suite.feature
def prepend():
    same(c.prepend("prepend", b"x"), False)
    c.set("prepend", b"z")
    same(c.prepend("prepend", b"y" * 5000), True)
    same(c.get("prepend"), b"y" * 5000 + b"z")


@suite.feature
def cas():
    c.set("cas", "1")
    same(c.gets("cas"), "1")
    same(c.cas("cas", "2"), True)
    same(c.gets("cas"), "2")
    other = memcache.Client([ADDRESS])
    same(other.set("cas", "3"), True)
    same(c.cas("cas", "4"), False)
    same(c.get("cas"), "3")


@suite.feature
def incr():
    same(c.incr("incr"), None)
    c.set("incr", 9)
    same(c.incr("incr"), 10)
    same(c.incr("incr", 2**32), 2**32 + 10)
    c.set("incr", "word")
    raises(ValueError, c.incr, "incr")


@suite.feature
def decr():
    same(c.decr("decr"), None)
    c.set("decr", 10)
    same(c.decr("decr"), 9)
    same(c.get("decr"), 9)
    same(c.decr("decr", 100), 0)


@suite.feature
def touch():
    same(c.touch("touch", 10), 0)
    c.set("touch", "t", time=100)
    same(c.touch("touch", 1000), 1)
    same(c.get("touch"), "t")
    same(c.touch("touch", -1), 1)
    same(c.get("touch"), None)


@suite.feature
def delete():
    same(c.delete("delete"), 0)
    c.set("delete", "d")
    same(c.delete("delete"), 1)
    same(c.get("delete"), None)


@suite.feature
def expiry():
    c.set("expiry-never", "1", time=0)
    c.set("expiry-past", "1", time=-1)
    same(c.get("expiry-past"), None)
    c.set("expiry-date", "1", time=int(time.time()) + 100)
    c.set("expiry-later", "1", time=100)
    c.set("expiry-soon", "1", time=1)
    eventually(lambda: c.get("expiry-soon") is None)
    same(set(c.get_multi(["expiry-never", "expiry-date", "expiry-later"])),
         {"expiry-never", "expiry-date", "expiry-later"})


@suite.feature
def stats():
    ((server, before),) = c.get_stats()
    same(server.startswith(ADDRESS), True)
    c.set("stats", "s")
    c.get("stats")
    ((_, after),) = c.get_stats()
    same(int(after["cmd_set"]) - int(before["cmd_set"]), 1)
    same(int(after["get_hits"]) - int(before["get_hits"]), 1)
    ((_, slabs),) = c.get_slab_stats()
    same(any("chunk_size" in fields for fields in slabs.values() if isinstance(fields, dict)), True)
    ((_, items),) = c.get_stats("items")
    same(any(name.endswith(":number") for name in items), True)


@suite.feature
def large():
    same(c.set("large", LARGE), True)
    same(c.get("large"), LARGE)
    text = "compress me " * 100000
    same(c.set("large-packed", text, min_compress_len=1000), True)
    same(c.get("large-packed"), text)


@suite.feature
def toolarge():
    bold = memcache.Client([ADDRESS], server_max_value_length=0)
    bold.set("toolarge", b"old")
    same(not bold.set("toolarge", TOO_LARGE), True)
    same(c.get("toolarge"), None)
    same(bold.set("toolarge", b"after"), True)


@suite.feature
def keys():
    for key in ("k" * 250, b"\xff\xfe\x80", "schl\u00fcssel", "a:b/c?d=e,f;{}[]'\""):
        same(c.set(key, "v"), True)
        same(c.get(key), "v")
    raises(memcache.Client.MemcachedKeyLengthError, c.set, "k" * 251, "v")


@suite.feature
def flags():
    for value in (b"bytes", "text", 5, 2**40, {"pickled": [1, 2, None]}, 1.5):
        same(c.set("flags", value), True)
        same(c.get("flags"), value)
        same(type(c.get("flags")), type(value))


@suite.feature
def noreply():
    c.set("noreply", 1, noreply=True)
    c.incr("noreply", 4, noreply=True)
    c.add("noreply", "x", noreply=True)
    c.touch("noreply", 100, noreply=True)
    same(c.get("noreply"), 5)
    c.delete("noreply", noreply=True)
    same(c.get("noreply"), None)
    same(c.set_multi({"n%d" % i: "v" for i in range(50)}, noreply=True), [])
    same(len(c.get_multi(["n%d" % i for i in range(50)])), 50)


@suite.feature
def flush():
    c.set("flush", "1")
    c.flush_all()
    same(c.get("flush"), None)
    same(c.set("flush", "2"), True)
    same(c.get("flush"), "2")


suite.run()
