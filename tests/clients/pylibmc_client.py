"""pylibmc (libmemcached) against a running server: text, or the binary protocol if MEMC_PROTOCOL is binary.

Run by scripts/clients through with-server.
"""

import glob
import os
import time

# The SASL library in pylibmc has no mechanisms; the system's work.
os.environ.setdefault("SASL_PATH", ":".join(glob.glob("/usr/lib/*/sasl2")))

import pylibmc
from harness import ADDRESS, HOST, LARGE, PASSWORD, TOO_LARGE, USER, Suite, eventually, raises, same

suite = Suite("pylibmc")
BINARY = os.environ.get("MEMC_PROTOCOL") == "binary"


def client(server=ADDRESS, username=None, password=None, **behaviors):
    return pylibmc.Client([server], binary=BINARY, username=username, password=password, behaviors=behaviors)


c = client(cas=True, tcp_nodelay=True)


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
    same("get" in c, True)
    same("get-nothing" in c, False)


@suite.feature
def multi():
    pairs = {"multi%d" % i: "value %d" % i for i in range(300)}
    same(c.set_multi(pairs), [])
    same(c.get_multi(list(pairs) + ["multi-nothing"]), pairs)
    same(c.set_multi({"1": "x", "2": "y"}, key_prefix="prefix-"), [])
    same(c.get_multi(["1", "2", "3"], key_prefix="prefix-"), {"1": "x", "2": "y"})
    same(c.add_multi({"multi1": "again", "multi-new": "n"}), ["multi1"])
    same(c.delete_multi(list(pairs)), True)
    same(c.get_multi(list(pairs)), {})


@suite.feature
def add():
    same(c.add("add", "1"), True)
    same(c.add("add", "2"), False)
    same(c.get("add"), "1")


@suite.feature
def replace():
    if BINARY:
        raises(pylibmc.NotFound, c.replace, "replace", "1")
    else:
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
    same(c.gets("cas"), (None, None))
    c.set("cas", "1")
    value, token = c.gets("cas")
    same(value, "1")
    same(c.cas("cas", "2", token), True)
    same(c.cas("cas", "3", token), False)
    same(c.get("cas"), "2")


@suite.feature
def incr():
    raises(pylibmc.NotFound, c.incr, "incr")
    c.set("incr", 9)
    same(c.incr("incr"), 10)
    for _ in range(3):
        c.incr("incr", 2**31 - 1)
    same(c.get("incr"), 3 * (2**31 - 1) + 10)
    c.set_multi({"incr1": 1, "incr2": 2})
    c.incr_multi(["incr1", "incr2"], delta=10)
    same(c.get_multi(["incr1", "incr2"]), {"incr1": 11, "incr2": 12})


@suite.feature
def decr():
    raises(pylibmc.NotFound, c.decr, "decr")
    c.set("decr", 10)
    same(c.decr("decr"), 9)
    same(c.get("decr"), 9)
    same(c.decr("decr", 100), 0)


@suite.feature
def touch():
    # with the binary protocol, libmemcached waits for its timeout after a hit, with any server
    same(c.touch("touch", 10), False)
    c.set("touch", "t", time=100)
    same(c.touch("touch", 1000), True)
    same(c.get("touch"), "t")
    # an absolute time long past: the item expires at once
    same(c.touch("touch", int(time.time()) - 1000), True)
    same(c.get("touch"), None)


@suite.feature
def delete():
    same(c.delete("delete"), False)
    c.set("delete", "d")
    same(c.delete("delete"), True)
    same(c.get("delete"), None)


@suite.feature
def expiry():
    c.set("expiry-never", "1", time=0)
    c.set("expiry-date", "1", time=int(time.time()) + 100)
    c.set("expiry-old-date", "1", time=int(time.time()) - 100)
    same(c.get("expiry-old-date"), None)
    c.set("expiry-later", "1", time=100)
    c.set("expiry-soon", "1", time=1)
    eventually(lambda: c.get("expiry-soon") is None)
    same(set(c.get_multi(["expiry-never", "expiry-date", "expiry-later"])),
         {"expiry-never", "expiry-date", "expiry-later"})


@suite.feature
def stats():
    ((server, before),) = c.get_stats()
    same(server.startswith(ADDRESS.encode()), True)
    c.set("stats", "s")
    c.get("stats")
    ((_, after),) = c.get_stats()
    same(int(after["cmd_set"]) - int(before["cmd_set"]), 1)
    same(int(after["get_hits"]) - int(before["get_hits"]), 1)


@suite.feature
def large():
    same(c.set("large", LARGE), True)
    same(c.get("large"), LARGE)
    many = {"large%d" % i: LARGE[: 300000 + i] for i in range(8)}
    same(c.set_multi(many), [])
    same(c.get_multi(list(many)), many)
    text = "compress me " * 100000
    same(c.set("large-packed", text, min_compress_len=1000), True)
    same(c.get("large-packed"), text)


@suite.feature
def toolarge():
    c.set("toolarge", b"old")
    raises(pylibmc.Error, c.set, "toolarge", TOO_LARGE)
    fresh = client()
    same(fresh.get("toolarge"), None)
    same(fresh.set("toolarge", b"after"), True)


@suite.feature
def keys():
    for key in ("k" * 250, b"\xff\xfe\x80", "schl\u00fcssel", "a:b/c?d=e,f;{}[]'\""):
        same(c.set(key, "v"), True)
        same(c.get(key), "v")


@suite.feature
def flags():
    # the client keeps a value's type in its flags
    for value in (b"bytes", "text", 5, 2**40, {"pickled": [1, 2, None]}, 1.5):
        same(c.set("flags", value), True)
        same(c.get("flags"), value)
        same(type(c.get("flags")), type(value))


@suite.feature
def noreply():
    quiet = client(_noreply=True)
    for i in range(100):
        quiet.set("noreply%d" % i, "v%d" % i)
    quiet.delete("noreply0")
    quiet.get("noreply99")
    eventually(lambda: c.get("noreply99") == "v99" and c.get("noreply0") is None)
    piped = client(no_block=True)
    for i in range(100):
        piped.set("piped%d" % i, "p%d" % i)
    same(piped.get("piped99"), "p99")


@suite.feature
def behaviors():
    pairs = {"behaviors%d" % i: "value %d" % i for i in range(50)}
    for chosen in ({"ketama": True}, {"ketama_weighted": True, "remove_failed": 1}, {"tcp_nodelay": True, "cas": True},
                   {"hash": "crc", "distribution": "consistent"}, {"no_block": True, "tcp_keepalive": True}):
        own = client(**chosen)
        same(own.set_multi(pairs), [])
        same(own.get_multi(list(pairs)), pairs)
        own.disconnect_all()
    if not BINARY:  # a packet may carry any key
        verifying = client(verify_keys=True)
        same(verifying.set_multi(pairs), [])
        same(verifying.set("a b", "1"), False)
    pool = pylibmc.ClientPool(c, 4)
    with pool.reserve() as own:
        same(own.get("behaviors1"), "value 1")


@suite.feature_with("sasl")
def sasl(port):
    server = "%s:%d" % (HOST, port)
    known = client(server, USER, PASSWORD)
    same(known.set("sasl", "1"), True)
    same(known.get("sasl"), "1")
    for stranger in (client(server, USER, PASSWORD + "!"), client(server)):
        try:
            same(stranger.get("sasl"), None)
        except pylibmc.Error:
            pass


@suite.feature
def flush():
    c.set("flush", "1")
    same(c.flush_all(time=1000), True)
    same(c.get("flush"), "1")
    same(c.flush_all(), True)
    same(c.get("flush"), None)
    same(c.set("flush", "2"), True)
    same(c.get("flush"), "2")


suite.run()
