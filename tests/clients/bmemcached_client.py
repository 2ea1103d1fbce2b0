"""python-binary-memcached, which uses the binary protocol only, against a running server. Run by scripts/clients."""

import ssl

import bmemcached
from bmemcached.exceptions import MemcachedException
from harness import ADDRESS, CERT, HOST, LARGE, PASSWORD, TOO_LARGE, USER, Suite, eventually, raises, same

suite = Suite("python-binary-memcached")
c = bmemcached.Client((ADDRESS,), socket_timeout=20)


@suite.feature
def set_():
    same(c.set("set", "one"), True)
    same(c.set("set", "two"), True)
    same(c.get("set"), "two")
    same(c.set("empty", ""), True)
    same(c.get("empty"), "")


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
    same(c.delete_multi(list(pairs)), True)
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
    same(c.replace("replace", "2"), True)
    same(c.get("replace"), "2")


@suite.feature
def cas():
    c.set("cas", "1")
    value, unique = c.gets("cas")
    same(value, "1")
    same(c.cas("cas", "2", unique), True)
    same(c.cas("cas", "3", unique), False)
    same(c.get("cas"), "2")
    same(c.cas("cas-nothing", "1", unique), False)


@suite.feature
def delete():
    c.set("delete", "1")
    _, unique = c.gets("delete")
    same(c.delete("delete", cas=unique + 1), False)
    same(c.delete("delete"), True)
    same(c.get("delete"), None)


@suite.feature
def incr():
    same(c.incr("incr", 5, default=10), 10)
    same(c.incr("incr", 5), 15)
    same(c.incr("incr", 2**64 - 16), 2**64 - 1)
    same(c.incr("incr", 2), 1)


@suite.feature
def decr():
    same(c.decr("decr", 5, default=10), 10)
    same(c.decr("decr", 4), 6)
    same(c.decr("decr", 100), 0)


@suite.feature
def expiry():
    c.set("expiry", "1", time=1)
    eventually(lambda: c.get("expiry") is None)


@suite.feature
def flags():
    for value in (12, 3.5, ["a", {"b": None}], "text", b"bytes", True):
        c.set("flags", value)
        same(c.get("flags"), value)


@suite.feature
def large():
    same(c.set("large", LARGE, compress_level=0), True)
    same(c.get("large"), LARGE)
    raises(MemcachedException, c.set, "large", TOO_LARGE, compress_level=0)
    same(c.get("large"), None)


@suite.feature
def stats():
    ((_, rows),) = c.stats().items()
    same(rows["version"], b"1.6.45")
    ((_, rows),) = c.stats("settings").items()
    same(rows["binding_protocol"], b"auto-negotiate")


@suite.feature_with("tls")
def tls(port):
    trusting = ssl.create_default_context(cafile=CERT)
    own = bmemcached.Client(("%s:%d" % (HOST, port),), socket_timeout=20, tls_context=trusting)
    same(own.set("tls", LARGE, compress_level=0), True)
    same(own.get("tls"), LARGE)
    own.disconnect_all()


@suite.feature_with("sasl")
def sasl(port):
    server = ("%s:%d" % (HOST, port),)
    known = bmemcached.Client(server, USER, PASSWORD, socket_timeout=20)
    same(known.set("sasl", "1"), True)
    same(known.get("sasl"), "1")
    known.disconnect_all()
    raises(MemcachedException, bmemcached.Client(server, USER, PASSWORD + "!").get, "sasl")
    raises(MemcachedException, bmemcached.Client(server).get, "sasl")


@suite.feature
def flush():
    c.set("flush", "1")
    same(c.flush_all(), True)
    same(c.get("flush"), None)


suite.run()
