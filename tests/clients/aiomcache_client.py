"""aiomcache (asyncio) against a running server. Run by scripts/clients through with-server."""

import asyncio
import ssl
import time

import aiomcache
from aiomcache.exceptions import ClientException
from harness import CERT, HOST, LARGE, PORT, TOO_LARGE, Suite, eventually, raises, same, wait

suite = Suite("aiomcache")
c = aiomcache.Client(HOST, PORT, pool_size=4)


@suite.feature
def set_():
    same(wait(c.set(b"set", b"one")), True)
    same(wait(c.set(b"set", b"two")), True)
    same(wait(c.get(b"set")), b"two")
    same(wait(c.set(b"empty", b"")), True)
    same(wait(c.get(b"empty")), b"")


@suite.feature
def get():
    same(wait(c.get(b"get-nothing")), None)
    same(wait(c.get(b"get-nothing", b"default")), b"default")
    wait(c.set(b"get", b"\x00\r\nEND\r\n\xff"))
    same(wait(c.get(b"get")), b"\x00\r\nEND\r\n\xff")


@suite.feature
def multi():
    names = [b"multi%d" % i for i in range(300)]

    async def many():
        same(await asyncio.gather(*[c.set(name, b"value of " + name) for name in names]), [True] * 300)
        return await asyncio.gather(*[c.get(name) for name in names])

    same(wait(many()), [b"value of " + name for name in names])
    got = wait(c.multi_get(*names, b"multi-nothing"))
    same(got, tuple(b"value of " + name for name in names) + (None,))


@suite.feature
def add():
    same(wait(c.add(b"add", b"1")), True)
    same(wait(c.add(b"add", b"2")), False)
    same(wait(c.get(b"add")), b"1")


@suite.feature
def replace():
    same(wait(c.replace(b"replace", b"1")), False)
    wait(c.set(b"replace", b"1"))
    same(wait(c.replace(b"replace", b"22")), True)
    same(wait(c.get(b"replace")), b"22")


@suite.feature
def append():
    same(wait(c.append(b"append", b"x")), False)
    wait(c.set(b"append", b"a"))
    same(wait(c.append(b"append", b"b" * 5000)), True)
    same(wait(c.get(b"append")), b"a" + b"b" * 5000)


@suite.feature
def prepend():
    same(wait(c.prepend(b"prepend", b"x")), False)
    wait(c.set(b"prepend", b"z"))
    same(wait(c.prepend(b"prepend", b"y" * 5000)), True)
    same(wait(c.get(b"prepend")), b"y" * 5000 + b"z")


@suite.feature
def cas():
    same(wait(c.gets(b"cas")), (None, None))
    wait(c.set(b"cas", b"1"))
    value, token = wait(c.gets(b"cas"))
    same(value, b"1")
    same(wait(c.cas(b"cas", b"2", token)), True)
    same(wait(c.cas(b"cas", b"3", token)), False)
    same(wait(c.get(b"cas")), b"2")
    same(wait(c.cas(b"cas-nothing", b"1", token)), False)


@suite.feature
def incr():
    raises(ClientException, wait, c.incr(b"incr"))
    wait(c.set(b"incr", b"9"))
    same(wait(c.incr(b"incr")), 10)
    same(wait(c.incr(b"incr", 2**32)), 2**32 + 10)
    wait(c.set(b"incr", b"word"))
    raises(ClientException, wait, c.incr(b"incr"))


@suite.feature
def decr():
    raises(ClientException, wait, c.decr(b"decr"))
    wait(c.set(b"decr", b"10"))
    same(wait(c.decr(b"decr")), 9)
    same(wait(c.get(b"decr")), b"9 ")
    same(wait(c.decr(b"decr", 100)), 0)


@suite.feature
def touch():
    same(wait(c.touch(b"touch", 10)), False)
    wait(c.set(b"touch", b"t", 100))
    same(wait(c.touch(b"touch", 1000)), True)
    same(wait(c.get(b"touch")), b"t")
    same(wait(c.touch(b"touch", -1)), True)
    same(wait(c.get(b"touch")), None)


@suite.feature
def delete():
    same(wait(c.delete(b"delete")), False)
    wait(c.set(b"delete", b"d"))
    same(wait(c.delete(b"delete")), True)
    same(wait(c.get(b"delete")), None)


@suite.feature
def expiry():
    wait(c.set(b"expiry-date", b"1", int(time.time()) + 100))
    wait(c.set(b"expiry-old-date", b"1", int(time.time()) - 100))
    same(wait(c.get(b"expiry-old-date")), None)
    wait(c.set(b"expiry-later", b"1", 100))
    wait(c.set(b"expiry-soon", b"1", 1))
    eventually(lambda: wait(c.get(b"expiry-soon")) is None)
    same(wait(c.multi_get(b"expiry-date", b"expiry-later")), (b"1", b"1"))


@suite.feature
def stats():
    before = wait(c.stats())
    wait(c.set(b"stats", b"s"))
    wait(c.get(b"stats"))
    after = wait(c.stats())
    same(int(after[b"cmd_set"]) - int(before[b"cmd_set"]), 1)
    same(int(after[b"get_hits"]) - int(before[b"get_hits"]), 1)
    same(wait(c.stats(b"settings"))[b"maxbytes"], b"67108864")


@suite.feature
def version():
    same(wait(c.version()), b"1.6.45")


@suite.feature
def large():
    same(wait(c.set(b"large", LARGE)), True)
    same(wait(c.get(b"large")), LARGE)


@suite.feature
def toolarge():
    wait(c.set(b"toolarge", b"old"))
    raises(ClientException, wait, c.set(b"toolarge", TOO_LARGE))
    same(wait(c.get(b"toolarge")), None)
    same(wait(c.set(b"toolarge", b"after")), True)


@suite.feature
def keys():
    for key in (b"k" * 250, "schl\u00fcssel".encode(), b"a:b/c?d=e,f;{}[]'\""):
        same(wait(c.set(key, key)), True)
        same(wait(c.get(key)), key)


@suite.feature
def flags():
    async def load(value, number):
        return number, value

    async def dump(pair):
        return pair[1], pair[0]

    own = aiomcache.FlagClient(HOST, PORT, get_flag_handler=load, set_flag_handler=dump)
    for number in (1, 65535, 2**32 - 1):
        same(wait(own.set(b"flags", (number, b"f"))), True)
        same(wait(own.get(b"flags")), (number, b"f"))
    wait(own.close())


@suite.feature_with("tls")
def tls(port):
    trusting = ssl.create_default_context(cafile=CERT)
    own = aiomcache.Client(HOST, port, conn_args={"ssl": trusting})
    same(wait(own.set(b"tls", LARGE)), True)
    same(wait(own.get(b"tls")), LARGE)
    wait(own.close())


@suite.feature
def flush():
    wait(c.set(b"flush", b"1"))
    wait(c.flush_all())
    same(wait(c.get(b"flush")), None)
    same(wait(c.set(b"flush", b"2")), True)
    same(wait(c.get(b"flush")), b"2")


suite.run()
