"""memcache, which uses the meta commands only, as a blocking and an asyncio client, against a running server.

Run by scripts/clients through with-server. Its module has the name of python-memcached's, so it is installed apart.
"""

import os
import sys

sys.path.insert(0, os.path.join(sys.prefix, "apart"))

import asyncio

import memcache
from harness import HOST, LARGE, PASSWORD, PORT, TOO_LARGE, USER, Suite, eventually, raises, same, wait
from memcache import MemcacheError, MetaCommand

suite = Suite("memcache")
c = memcache.Memcache((HOST, PORT), pool_timeout=20)
a = memcache.AsyncMemcache((HOST, PORT), pool_timeout=20)


def meta(command, key, *flags, value=None):
    """Return code, flags and value of one meta command."""
    result = c.execute_meta_command(
        MetaCommand(command, key, None if value is None else len(value), list(flags), value))
    return result.rc, result.flags, result.value


@suite.feature
def set_():
    c.set("set", "one")
    c.set("set", "two")
    same(c.get("set"), "two")
    wait(a.set("set", "three"))
    same(wait(a.get("set")), "three")


@suite.feature
def get():
    same(c.get("get-nothing"), None)
    same(wait(a.get("get-nothing")), None)
    c.set("get", b"\x00\r\nEN\r\n\xff")
    same(c.get("get"), b"\x00\r\nEN\r\n\xff")
    same(meta(b"mg", "get-nothing", b"v"), (b"EN", [], None))


@suite.feature
def multi():
    names = ["multi%d" % i for i in range(100)]

    async def many():
        await asyncio.gather(*[a.set(name, "value of " + name) for name in names])
        return await asyncio.gather(*[a.get(name) for name in names])

    same(wait(many()), ["value of " + name for name in names])


@suite.feature
def cas():
    same(c.gets("cas"), None)
    c.set("cas", "1")
    value, token = c.gets("cas")
    same(value, "1")
    c.cas("cas", "2", token)
    raises(MemcacheError, c.cas, "cas", "3", token)
    same(c.get("cas"), "2")
    value, token = wait(a.gets("cas"))
    wait(a.cas("cas", "4", token))
    same(c.get("cas"), "4")


@suite.feature
def incr():
    raises(MemcacheError, c.incr, "incr")
    c.set("incr", 9)
    same(c.incr("incr"), 10)
    same(c.incr("incr", 2**32), 2**32 + 10)
    same(wait(a.incr("incr")), 2**32 + 11)


@suite.feature
def decr():
    raises(MemcacheError, c.decr, "decr")
    c.set("decr", 10)
    same(c.decr("decr"), 9)
    same(c.get("decr"), 9)
    same(c.decr("decr", 100), 0)


@suite.feature
def delete():
    c.set("delete", "d")
    c.delete("delete")
    same(c.get("delete"), None)
    same(meta(b"md", "delete")[0], b"NF")


@suite.feature
def modes():
    same(meta(b"ms", "modes", b"ME", value=b"b")[0], b"HD")
    same(meta(b"ms", "modes", b"ME", value=b"x")[0], b"NS")
    same(meta(b"ms", "modes", b"MA", value=b"c")[0], b"HD")
    same(meta(b"ms", "modes", b"MP", value=b"a")[0], b"HD")
    same(meta(b"mg", "modes", b"v", b"f"), (b"VA", [b"f0"], b"abc"))
    same(meta(b"ms", "modes-nothing", b"MR", value=b"x")[0], b"NS")


@suite.feature
def fields():
    same(meta(b"ms", "fields", b"F7", b"T100", value=b"12345")[0], b"HD")
    rc, flags, value = meta(b"mg", "fields", b"v", b"s", b"f", b"h", b"k", b"Oopaque")
    same((rc, value, flags), (b"VA", b"12345", [b"s5", b"f7", b"h0", b"kfields", b"Oopaque"]))


@suite.feature
def expiry():
    c.set("expiry-later", "1", expire=100)
    c.set("expiry-soon", "1", expire=1)
    eventually(lambda: c.get("expiry-soon") is None)
    same(c.get("expiry-later"), "1")


@suite.feature
def large():
    c.set("large", LARGE)
    same(c.get("large"), LARGE)
    same(wait(a.get("large")), LARGE)


@suite.feature
def toolarge():
    c.set("toolarge", "old")
    # this client cannot parse the refusal, and drops the connection
    raises(ValueError, c.set, "toolarge", TOO_LARGE)
    same(c.get("toolarge"), None)
    c.set("toolarge", "after")
    same(c.get("toolarge"), "after")


@suite.feature
def keys():
    for key in ("k" * 250, "schl\u00fcssel", "a:b/c?d=e,f;{}[]'\""):
        c.set(key, key)
        same(c.get(key), key)
    raises(MemcacheError, c.set, "k" * 251, "v")


@suite.feature
def flags():
    for value in (b"bytes", "text", 5, 2**40, {"pickled": [1, 2, None]}, 1.5):
        c.set("flags", value)
        same(c.get("flags"), value)


@suite.feature_with("authfile")
def authfile(port):
    known = memcache.Memcache((HOST, port), username=USER, password=PASSWORD)
    known.set("authfile", "1")
    same(known.get("authfile"), "1")
    stranger = memcache.Memcache((HOST, port), username=USER, password=PASSWORD + "!")
    raises(MemcacheError, stranger.get, "authfile")
    raises(MemcacheError, memcache.Memcache((HOST, port)).get, "authfile")


@suite.feature
def flush():
    c.set("flush", "1")
    c.flush_all()
    same(c.get("flush"), None)
    c.set("flush", "2")
    wait(a.flush_all())
    same(c.get("flush"), None)


suite.run()
