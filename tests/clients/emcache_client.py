"""emcache (asyncio) against a running server. Run by scripts/clients through with-server."""

import asyncio
import time

import emcache
from emcache import NotFoundCommandError, NotStoredStorageCommandError, StorageCommandError
from harness import CERT, HOST, LARGE, PASSWORD, PORT, TOO_LARGE, USER, Suite, eventually, raises, same, wait

suite = Suite("emcache")
NODE = emcache.MemcachedHostAddress(HOST, PORT)


def client(node=NODE, **options):
    return wait(emcache.create_client([node], timeout=20, **options))


def value(item):
    return None if item is None else item.value


c = client(max_connections=4)


@suite.feature
def set_():
    wait(c.set(b"set", b"one"))
    wait(c.set(b"set", b"two"))
    same(value(wait(c.get(b"set"))), b"two")
    wait(c.set(b"empty", b""))
    same(value(wait(c.get(b"empty"))), b"")


@suite.feature
def get():
    same(wait(c.get(b"get-nothing")), None)
    wait(c.set(b"get", b"\x00\r\nEND\r\n\xff"))
    same(value(wait(c.get(b"get"))), b"\x00\r\nEND\r\n\xff")


@suite.feature
def multi():
    names = [b"multi%d" % i for i in range(300)]

    async def fill():
        await asyncio.gather(*[c.set(name, b"value of " + name) for name in names])

    async def read(reader):
        return [item.value for item in await asyncio.gather(*[reader.get(name) for name in names])]

    wanted = [b"value of " + name for name in names]
    wait(fill())
    same(wait(read(c)), wanted)
    got = wait(c.get_many(names + [b"multi-nothing"]))
    same({name: item.value for name, item in got.items()}, dict(zip(names, wanted)))
    same(len({item.cas for item in wait(c.gets_many(names)).values()}), 300)
    batching = client(autobatching=True)
    same(wait(read(batching)), wanted)
    wait(batching.close())


@suite.feature
def add():
    wait(c.add(b"add", b"1"))
    raises(NotStoredStorageCommandError, wait, c.add(b"add", b"2"))
    same(value(wait(c.get(b"add"))), b"1")


@suite.feature
def replace():
    raises(NotStoredStorageCommandError, wait, c.replace(b"replace", b"1"))
    wait(c.set(b"replace", b"1"))
    wait(c.replace(b"replace", b"22"))
    same(value(wait(c.get(b"replace"))), b"22")


@suite.feature
def append():
    raises(NotStoredStorageCommandError, wait, c.append(b"append", b"x"))
    wait(c.set(b"append", b"a"))
    wait(c.append(b"append", b"b" * 5000))
    same(value(wait(c.get(b"append"))), b"a" + b"b" * 5000)


@suite.feature
def prepend():
    raises(NotStoredStorageCommandError, wait, c.prepend(b"prepend", b"x"))
    wait(c.set(b"prepend", b"z"))
    wait(c.prepend(b"prepend", b"y" * 5000))
    same(value(wait(c.get(b"prepend"))), b"y" * 5000 + b"z")


@suite.feature
def cas():
    same(wait(c.gets(b"cas")), None)
    wait(c.set(b"cas", b"1"))
    item = wait(c.gets(b"cas"))
    wait(c.cas(b"cas", b"2", item.cas))
    raises(NotStoredStorageCommandError, wait, c.cas(b"cas", b"3", item.cas))
    raises(StorageCommandError, wait, c.cas(b"cas-nothing", b"1", item.cas))
    same(value(wait(c.get(b"cas"))), b"2")


@suite.feature
def incr():
    raises(NotFoundCommandError, wait, c.increment(b"incr", 1))
    wait(c.set(b"incr", b"9"))
    same(wait(c.increment(b"incr", 1)), 10)
    same(wait(c.increment(b"incr", 2**32)), 2**32 + 10)


@suite.feature
def decr():
    raises(NotFoundCommandError, wait, c.decrement(b"decr", 1))
    wait(c.set(b"decr", b"10"))
    same(wait(c.decrement(b"decr", 1)), 9)
    same(wait(c.decrement(b"decr", 100)), 0)


@suite.feature
def touch():
    raises(NotFoundCommandError, wait, c.touch(b"touch", 10))
    wait(c.set(b"touch", b"t", exptime=100))
    wait(c.touch(b"touch", 1000))
    same(value(wait(c.get(b"touch"))), b"t")
    wait(c.touch(b"touch", -1))
    same(wait(c.get(b"touch")), None)


@suite.feature
def gat():
    same(wait(c.gat(10, b"gat-nothing")), None)
    wait(c.set(b"gat", b"g", flags=7, exptime=100))
    item = wait(c.gats(1000, b"gat", return_flags=True))
    same((item.value, item.flags, item.cas > 0), (b"g", 7, True))
    same(set(wait(c.gat_many(1000, [b"gat", b"gat-nothing"]))), {b"gat"})
    same(value(wait(c.gat(-1, b"gat"))), b"g")
    same(wait(c.get(b"gat")), None)


@suite.feature
def delete():
    raises(NotFoundCommandError, wait, c.delete(b"delete"))
    wait(c.set(b"delete", b"d"))
    wait(c.delete(b"delete"))
    same(wait(c.get(b"delete")), None)


@suite.feature
def expiry():
    wait(c.set(b"expiry-past", b"1", exptime=-1))
    same(wait(c.get(b"expiry-past")), None)
    wait(c.set(b"expiry-date", b"1", exptime=int(time.time()) + 100))
    wait(c.set(b"expiry-later", b"1", exptime=100))
    wait(c.set(b"expiry-soon", b"1", exptime=1))
    eventually(lambda: wait(c.get(b"expiry-soon")) is None)
    same(set(wait(c.get_many([b"expiry-date", b"expiry-later"]))), {b"expiry-date", b"expiry-later"})


@suite.feature
def stats():
    before = wait(c.stats(NODE))
    wait(c.set(b"stats", b"s"))
    wait(c.get(b"stats"))
    after = wait(c.stats(NODE))
    same(int(after["cmd_set"]) - int(before["cmd_set"]), 1)
    same(int(after["get_hits"]) - int(before["get_hits"]), 1)
    same(wait(c.stats(NODE, "settings"))["maxbytes"], "67108864")


@suite.feature
def version():
    same(wait(c.version(NODE)), "1.6.45")


@suite.feature
def verbosity():
    wait(c.verbosity(NODE, 1))
    wait(c.verbosity(NODE, 0))


@suite.feature
def large():
    wait(c.set(b"large", LARGE))
    same(value(wait(c.get(b"large"))), LARGE)


@suite.feature
def toolarge():
    wait(c.set(b"toolarge", b"old"))
    raises(StorageCommandError, wait, c.set(b"toolarge", TOO_LARGE))
    same(wait(c.get(b"toolarge")), None)
    wait(c.set(b"toolarge", b"after"))


@suite.feature
def keys():
    for key in (b"k" * 250, b"a:b/c?d=e,f;{}[]'\""):
        wait(c.set(key, key))
        same(value(wait(c.get(key))), key)


@suite.feature
def flags():
    for number in (0, 1, 65535):
        wait(c.set(b"flags", b"f", flags=number))
        same(wait(c.get(b"flags", return_flags=True)).flags, number)


@suite.feature
def noreply():
    # on one connection, so that a wrong reply would be seen
    single = client(max_connections=1)
    wait(single.set(b"noreply", b"1", noreply=True))
    wait(single.increment(b"noreply", 4, noreply=True))
    wait(single.add(b"noreply", b"x", noreply=True))
    wait(single.append(b"noreply", b"0", noreply=True))
    wait(single.prepend(b"noreply", b"1", noreply=True))
    wait(single.touch(b"noreply", 100, noreply=True))
    same(value(wait(single.get(b"noreply"))), b"150")
    wait(single.delete(b"noreply", noreply=True))
    wait(single.replace(b"noreply", b"x", noreply=True))
    same(wait(single.get(b"noreply")), None)
    wait(single.close())


@suite.feature_with("tls")
def tls(port):
    own = client(emcache.MemcachedHostAddress(HOST, port), ssl=True, ssl_extra_ca=CERT)
    wait(own.set(b"tls", LARGE))
    same(value(wait(own.get(b"tls"))), LARGE)
    wait(own.close())


@suite.feature_with("authfile")
def authfile(port):
    node = emcache.MemcachedHostAddress(HOST, port)
    known = client(node, username=USER, password=PASSWORD)
    wait(known.set(b"authfile", b"1"))
    same(value(wait(known.get(b"authfile"))), b"1")
    wait(known.close())
    # this client connects in the background; it reports a refused login as no connection
    unknown = wait(emcache.create_client([node], timeout=1, username=USER, password=PASSWORD + "!"))
    raises((asyncio.TimeoutError, emcache.CommandError), wait, unknown.get(b"authfile"))
    wait(unknown.close())


@suite.feature
def flush():
    wait(c.set(b"flush", b"1"))
    wait(c.flush_all(NODE, 1000))
    same(value(wait(c.get(b"flush"))), b"1")
    wait(c.flush_all(NODE))
    same(wait(c.get(b"flush")), None)
    wait(c.set(b"flush", b"2"))
    same(value(wait(c.get(b"flush"))), b"2")
    wait(c.cache_memlimit(NODE, 64))


suite.run()
