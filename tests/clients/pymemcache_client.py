"""pymemcache against a running server. Run by scripts/clients through with-server."""

import ssl
import time

from harness import CERT, HOST, LARGE, PORT, TOO_LARGE, Suite, eventually, raises, same
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

suite = Suite("pymemcache")
c = Client((HOST, PORT), timeout=20, default_noreply=False)


@suite.feature
def set_():
    same(c.set("set", b"one"), True)
    same(c.set("set", b"two"), True)
    same(c.get("set"), b"two")
    same(c.set("empty", b""), True)
    same(c.get("empty"), b"")


@suite.feature
def get():
    same(c.get("get-nothing"), None)
    same(c.get("get-nothing", b"default"), b"default")
    c.set("get", b"\x00\r\nEND\r\n\xff")
    same(c.get("get"), b"\x00\r\nEND\r\n\xff")


@suite.feature
def multi():
    pairs = {"multi%d" % i: b"value %d" % i for i in range(300)}
    same(c.set_many(pairs), [])
    same(c.get_many(list(pairs) + ["multi-nothing"]), pairs)
    same(set(c.gets_many(["multi1", "multi2", "multi-nothing"])), {"multi1", "multi2"})
    same(c.delete_many(list(pairs)), True)
    same(c.get_many(list(pairs)), {})
    hashed = HashClient([(HOST, PORT)], use_pooling=True, default_noreply=False)
    same(hashed.set_many({"h1": b"1", "h2": b"2"}), [])
    same(hashed.get_many(["h1", "h2"]), {"h1": b"1", "h2": b"2"})
    hashed.close()
    pooled = PooledClient((HOST, PORT), max_pool_size=4)
    pooled.set("pooled", b"p", noreply=False)
    same(pooled.get("pooled"), b"p")
    pooled.close()


@suite.feature
def add():
    same(c.add("add", b"1"), True)
    same(c.add("add", b"2"), False)
    same(c.get("add"), b"1")


@suite.feature
def replace():
    same(c.replace("replace", b"1"), False)
    same(c.get("replace"), None)
    c.set("replace", b"1")
    same(c.replace("replace", b"22"), True)
    same(c.get("replace"), b"22")


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
    same(c.cas("cas", b"x", b"1"), None)
    c.set("cas", b"1")
    value, token = c.gets("cas")
    same(value, b"1")
    same(c.cas("cas", b"2", token), True)
    same(c.cas("cas", b"3", token), False)
    same(c.get("cas"), b"2")
    same(c.gets("cas")[1] > token, True)


@suite.feature
def incr():
    same(c.incr("incr", 1), None)
    c.set("incr", b"9")
    same(c.incr("incr", 1), 10)
    same(c.incr("incr", 2**32), 2**32 + 10)
    c.set("incr", b"18446744073709551615")
    same(c.incr("incr", 1), 0)
    c.set("incr", b"word")
    raises(MemcacheClientError, c.incr, "incr", 1)


@suite.feature
def decr():
    same(c.decr("decr", 1), None)
    c.set("decr", b"10")
    same(c.decr("decr", 1), 9)
    same(c.get("decr"), b"9 ")
    same(c.decr("decr", 100), 0)


@suite.feature
def touch():
    same(c.touch("touch", 10), False)
    c.set("touch", b"t", expire=100)
    same(c.touch("touch", 0), True)
    same(c.get("touch"), b"t")
    same(c.touch("touch", -1), True)
    same(c.get("touch"), None)


@suite.feature
def gat():
    same(c.raw_command(b"gat 10 gat-nothing", b"END\r\n"), b"")
    c.set("gat", b"g", expire=1)
    same(c.raw_command(b"gat 100 gat", b"END\r\n"), b"VALUE gat 0 1\r\ng\r\n")
    c.set("gat-clock", b"", expire=1)
    eventually(lambda: c.get("gat-clock") is None)
    same(c.get("gat"), b"g")
    same(c.raw_command(b"gats -1 gat", b"END\r\n").startswith(b"VALUE gat 0 1 "), True)
    same(c.get("gat"), None)


@suite.feature
def delete():
    same(c.delete("delete"), False)
    c.set("delete", b"d")
    same(c.delete("delete"), True)
    same(c.get("delete"), None)


@suite.feature
def expiry():
    c.set("expiry-never", b"1", expire=0)
    c.set("expiry-past", b"1", expire=-1)
    same(c.get("expiry-past"), None)
    c.set("expiry-date", b"1", expire=int(time.time()) + 100)
    c.set("expiry-old-date", b"1", expire=int(time.time()) - 100)
    same(c.get("expiry-old-date"), None)
    c.set("expiry-later", b"1", expire=100)
    c.set("expiry-soon", b"1", expire=1)
    eventually(lambda: c.get("expiry-soon") is None)
    same(set(c.get_many(["expiry-never", "expiry-date", "expiry-later"])),
         {"expiry-never", "expiry-date", "expiry-later"})


@suite.feature
def stats():
    before = c.stats()
    same(before[b"pid"] > 0, True)
    same(before[b"max_connections"], 1024)
    c.set("stats", b"s")
    c.get("stats")
    c.get("stats-nothing")
    after = c.stats()
    same(after[b"cmd_set"] - before[b"cmd_set"], 1)
    same(after[b"get_hits"] - before[b"get_hits"], 1)
    same(after[b"get_misses"] - before[b"get_misses"], 1)
    same(after[b"bytes_read"] > before[b"bytes_read"], True)
    same(b"maxbytes" in c.stats("settings"), True)
    same(any(name.endswith(b":chunk_size") for name in c.stats("slabs")), True)
    same(any(name.startswith(b"items:") for name in c.stats("items")), True)


@suite.feature
def version():
    same(len(c.version().split(b".")) >= 3, True)


@suite.feature
def large():
    same(c.set("large", LARGE), True)
    same(c.get("large"), LARGE)
    many = {"large%d" % i: LARGE[: 300000 + i] for i in range(8)}
    same(c.set_many(many), [])
    same(c.get_many(list(many)), many)


@suite.feature
def toolarge():
    c.set("toolarge", b"old")
    raises(MemcacheServerError, c.set, "toolarge", TOO_LARGE)
    same(c.get("toolarge"), None)
    same(c.set("toolarge", b"after"), True)


@suite.feature
def keys():
    for key in (b"k" * 250, b"\xff\xfe\x80", "schl\u00fcssel".encode(), b"a:b/c?d=e,f;{}[]'\""):
        same(c.set(key, key), True)
        same(c.get(key), key)
    raises(MemcacheClientError, c.set, "k" * 251, b"")
    # without the client's own check, the server refuses too
    raises(MemcacheClientError, c.raw_command, b"delete " + b"k" * 251)


@suite.feature
def flags():
    for value in (0, 1, 65535, 2**32 - 1):
        same(c.set("flags", b"f", flags=value), True)
        same(c.raw_command(b"get flags", b"END\r\n"), b"VALUE flags %d 1\r\nf\r\n" % value)


@suite.feature
def noreply():
    c.set("noreply", b"1", noreply=True)
    c.incr("noreply", 4, noreply=True)
    c.add("noreply", b"x", noreply=True)
    c.append("noreply", b"0", noreply=True)
    c.prepend("noreply", b"1", noreply=True)
    c.touch("noreply", 100, noreply=True)
    same(c.get("noreply"), b"150")
    c.delete("noreply", noreply=True)
    c.replace("noreply", b"x", noreply=True)
    same(c.get("noreply"), None)
    c.flush_all(noreply=True)
    same(c.version() != b"", True)


@suite.feature_with("tls")
def tls(port):
    own = Client((HOST, port), timeout=20, tls_context=ssl.create_default_context(cafile=CERT))
    same(own.set("tls", LARGE, noreply=False), True)
    same(own.get("tls"), LARGE)
    own.close()
    # a certificate that this client does not know
    raises(ssl.SSLError, Client((HOST, port), tls_context=ssl.create_default_context()).get, "tls")
    # and both mismatches of TLS and plain text
    raises(Exception, Client((HOST, port), timeout=20).version)
    raises(ssl.SSLError, Client((HOST, PORT), timeout=20, tls_context=ssl.create_default_context(cafile=CERT)).version)
    same(c.version() != b"", True)


@suite.feature
def flush():
    c.set("flush", b"1")
    same(c.flush_all(delay=1000), True)
    same(c.get("flush"), b"1")
    same(c.flush_all(), True)
    same(c.get("flush"), None)
    same(c.set("flush", b"2"), True)
    same(c.get("flush"), b"2")
    same(c.cache_memlimit(64), True)


suite.run()
