"""meta-memcache, which uses the meta commands only, against a running server. Run by scripts/clients."""

import os

from harness import HOST, LARGE, PORT, TOO_LARGE, Suite, eventually, raises, same
from meta_memcache import (
    CacheClient,
    Key,
    LeasePolicy,
    MemcacheServerError,
    Miss,
    RecachePolicy,
    RequestFlags,
    ServerAddress,
    SetMode,
    StalePolicy,
    Value,
    connection_pool_factory_builder,
)

suite = Suite("meta-memcache")


def client():
    pool = connection_pool_factory_builder(connection_timeout=20, recv_timeout=20)
    return CacheClient.cache_client_from_servers([ServerAddress(HOST, PORT)], pool)


c = client()


@suite.feature
def set_():
    same(c.set("set", "one", ttl=0), True)
    same(c.set("set", "two", ttl=0), True)
    same(c.get("set"), "two")
    same(c.set("empty", b"", ttl=0), True)
    same(c.get("empty"), b"")


@suite.feature
def get():
    same(c.get("get-nothing"), None)
    c.set("get", b"\x00\r\nEN\r\n\xff", ttl=0)
    same(c.get("get"), b"\x00\r\nEN\r\n\xff")


@suite.feature
def multi():
    pairs = {Key("multi%d" % i): "value %d" % i for i in range(300)}
    for key, value in pairs.items():
        c.set(key, value, ttl=0)
    same(c.multi_get([*pairs, Key("multi-nothing")]), {**pairs, Key("multi-nothing"): None})
    tokens = c.multi_get_cas(["multi1", "multi2", "multi-nothing"])
    same([found[0] for found in tokens.values()], ["value 1", "value 2", None])


@suite.feature
def add():
    same(c.set("add", "1", ttl=0, set_mode=SetMode.ADD), True)
    same(c.set("add", "2", ttl=0, set_mode=SetMode.ADD), False)
    same(c.refill("add", "3", ttl=0), False)
    same(c.get("add"), "1")


@suite.feature
def replace():
    same(c.set("replace", "1", ttl=0, set_mode=SetMode.REPLACE), False)
    c.set("replace", "1", ttl=0)
    same(c.set("replace", "22", ttl=0, set_mode=SetMode.REPLACE), True)
    same(c.get("replace"), "22")


@suite.feature
def append():
    same(c.set("append", b"x", ttl=0, set_mode=SetMode.APPEND), False)
    c.set("append", b"a", ttl=0)
    same(c.set("append", b"b" * 100, ttl=0, set_mode=SetMode.APPEND), True)
    same(c.get("append"), b"a" + b"b" * 100)


@suite.feature
def prepend():
    same(c.set("prepend", b"x", ttl=0, set_mode=SetMode.PREPEND), False)
    c.set("prepend", b"z", ttl=0)
    same(c.set("prepend", b"y" * 100, ttl=0, set_mode=SetMode.PREPEND), True)
    same(c.get("prepend"), b"y" * 100 + b"z")


@suite.feature
def cas():
    same(c.get_cas("cas"), (None, None))
    first = c.set_cas("cas", "1", ttl=0)
    same(c.get_cas("cas"), ("1", first))
    second = c.set_cas("cas", "2", ttl=0, cas_token=first)
    same(second > first, True)
    same(c.set("cas", "3", ttl=0, cas_token=first), False)
    same(c.delete("cas", cas_token=first), False)
    same(c.get("cas"), "2")
    same(c.delete("cas", cas_token=second), True)


@suite.feature
def incr():
    same(c.delta_and_get("incr", 1), None)
    same(c.delta_initialize_and_get("incr", 1, initial_value=9, initial_ttl=100), 9)
    same(c.delta_and_get("incr", 1), 10)
    same(c.delta_and_get("incr", 2**32, refresh_ttl=1000), 2**32 + 10)
    same(c.delta("incr", 1), True)
    c.set("incr-word", "word", ttl=0)
    raises(MemcacheServerError, c.delta, "incr-word", 1)


@suite.feature
def decr():
    c.set("decr", 10, ttl=0)
    same(c.delta_and_get("decr", -1), 9)
    same(c.get("decr"), 9)
    same(c.delta_and_get("decr", -100), 0)


@suite.feature
def touch():
    same(c.touch("touch", ttl=10), False)
    c.set("touch", "t", ttl=100)
    same(c.touch("touch", ttl=1000), True)
    found = c.meta_get(Key("touch"), RequestFlags(return_value=True, return_ttl=True, return_client_flag=True))
    same(900 < found.flags.ttl <= 1000, True)
    same(c.get("touch", touch_ttl=0), "t")
    found = c.meta_get(Key("touch"), RequestFlags(return_value=True, return_ttl=True, return_client_flag=True))
    same(found.flags.ttl, -1)


@suite.feature
def delete():
    same(c.delete("delete"), False)
    same(c.invalidate("delete"), True)
    c.set("delete", "d", ttl=0)
    same(c.delete("delete"), True)
    same(c.get("delete"), None)


@suite.feature
def expiry():
    c.set("expiry-later", "1", ttl=100)
    c.set("expiry-soon", "1", ttl=1)
    eventually(lambda: c.get("expiry-soon") is None)
    same(c.get("expiry-later"), "1")


@suite.feature
def lease():
    # the first client to miss gets the lease, the others see that it is taken
    other = client()
    patient = LeasePolicy(ttl=30, miss_retries=1, miss_retry_wait=0.01)
    same(c.get_or_lease("lease", patient), None)
    same(other.get_or_lease("lease", patient), None)
    flags = RequestFlags(return_value=True, return_client_flag=True)
    found = other.meta_get(Key("lease"), flags)
    same((isinstance(found, Value), found.size, found.flags.win), (True, 0, False))
    same(c.set("lease", "filled", ttl=0), True)
    same(other.get_or_lease("lease", patient), "filled")


@suite.feature
def recache():
    # within the recache time one reader wins a miss and the others still hit
    c.set("recache", "old", ttl=20)
    policy = RecachePolicy(ttl=30)
    same(c.get("recache", recache_policy=policy), None)
    same(c.get("recache", recache_policy=policy), "old")
    c.set("recache", "new", ttl=1000)
    same(c.get("recache", recache_policy=policy), "new")


@suite.feature
def stale():
    policy = StalePolicy(mark_stale_on_deletion_ttl=30, mark_stale_on_cas_mismatch=True)
    token = c.set_cas("stale", "old", ttl=1000)
    same(c.delete("stale", stale_policy=policy), True)
    value, seen = c.get_cas("stale")
    same((value, seen > token), (None, True))
    same(c.get("stale"), "old")
    found = c.meta_get(Key("stale"), RequestFlags(return_value=True, return_client_flag=True))
    same((found.flags.stale, found.flags.win), (True, False))
    same(c.set("stale", "new", ttl=1000, cas_token=seen, stale_policy=policy), True)
    same(c.get("stale"), "new")


@suite.feature
def fields():
    c.set("fields", "12345", ttl=0)
    flags = RequestFlags(
        return_value=True, return_size=True, return_ttl=True, return_fetched=True, return_last_access=True,
        return_cas_token=True, return_client_flag=True, return_key=True)
    before = c.meta_get(Key("fields"), flags)
    same((before.value, before.size, before.flags.ttl, before.flags.fetched), ("12345", 5, -1, False))
    after = c.meta_get(Key("fields"), flags)
    same((after.flags.fetched, after.flags.cas_token), (True, before.flags.cas_token))
    same(isinstance(c.meta_get(Key("fields-nothing"), flags), Miss), True)


@suite.feature
def large():
    # above a few bytes this client compresses values, so the value must not shrink
    noise = bytes((i * i * 31 + (i >> 7) * 17 + (i * 2654435761 >> 13)) & 255 for i in range(900000))
    same(c.set("large", noise, ttl=0), True)
    same(c.get("large"), noise)
    same(c.set("large-packed", LARGE, ttl=0), True)
    same(c.get("large-packed"), LARGE)


@suite.feature
def toolarge():
    c.set("toolarge", "old", ttl=0)
    raises(MemcacheServerError, c.set, "toolarge", os.urandom(len(TOO_LARGE)), ttl=0)
    same(c.get("toolarge"), None)
    same(c.set("toolarge", "after", ttl=0), True)


@suite.feature
def keys():
    # keys that are not plain text are sent in base64
    for key in ("k" * 250, "schl\u00fcssel", "a b\tc\r\n", "a:b/c?d=e,f;{}[]'\"", "k" * 400):
        same(c.set(key, "v of " + key[:9], ttl=0), True)
        same(c.get(key), "v of " + key[:9])
        same(c.multi_get([key]), {Key(key): "v of " + key[:9]})
        same(c.delete(key), True)


@suite.feature
def flags():
    for value in (b"bytes", "text", 5, 2**40, {"pickled": [1, 2, None]}, 1.5, "compress me " * 10000):
        same(c.set("flags", value, ttl=0), True)
        same(c.get("flags"), value)


@suite.feature
def noreply():
    c.set("noreply", 1, ttl=0, no_reply=True)
    c.delta("noreply", 4, no_reply=True)
    c.touch("noreply", ttl=100, no_reply=True)
    same(c.get("noreply"), 5)
    c.delete("noreply", no_reply=True)
    c.delete("noreply", no_reply=True)
    same(c.get("noreply"), None)


suite.run()
