"""Clients that discover the nodes of a cluster, by `config get cluster`. Run by scripts/clients through with-server."""

import os

from harness import HOST, PORT, Suite, eventually, same
from pymemcache.client.base import Client

CLUSTER_PORT = int(os.environ["MEMC_CLUSTER_PORT"])
FILE = os.environ["MEMC_CLUSTER_FILE"]
ENDPOINT = "%s:%d" % (HOST, CLUSTER_PORT)
NODES = [(HOST, CLUSTER_PORT), (HOST, PORT)]

suite = Suite("elasticache")
versions = iter(range(10, 1000))


def announce(nodes):
    """Puts other nodes into the file, and waits until the server names them."""
    words = ["%s|%s|%d" % (host, host, port) for host, port in nodes]
    version = next(versions)
    with open(FILE + ".new", "w") as file:
        file.write("%d\n%s\n" % (version, "\n".join(words)))
    os.rename(FILE + ".new", FILE)
    want = ("%d\n%s\n" % (version, " ".join(words))).encode()
    config = Client((HOST, CLUSTER_PORT), timeout=20)
    eventually(lambda: want in config.raw_command(b"config get cluster", b"END\r\n"), 20)
    config.close()


def pairs(client, prefix):
    for n in range(50):
        client.set("%s%d" % (prefix, n), b"%d" % n)
    same([client.get("%s%d" % (prefix, n)) for n in range(50)], [b"%d" % n for n in range(50)])


@suite.feature
def auto_discovery():
    from elasticache_auto_discovery import discover

    announce(NODES)
    nodes = discover(ENDPOINT, 20)
    same([(host.decode(), ip.decode(), int(port)) for host, ip, port in nodes], [(h, h, p) for h, p in NODES])


@suite.feature
def elastipymemcache():
    from django_elastipymemcache.client import AWSElastiCacheClient

    announce(NODES)
    client = AWSElastiCacheClient(ENDPOINT, discovery_interval=0.001, timeout=20)
    same(set(client.clients), {"%s:%d" % node for node in NODES})
    pairs(client, "elastipymemcache")
    announce(NODES[:1])
    eventually(lambda: client.get("x") is None and set(client.clients) == {ENDPOINT}, 20)
    announce(NODES)
    eventually(lambda: client.get("x") is None and len(client.clients) == 2, 20)
    pairs(client, "elastipymemcache-again")
    client.close()


@suite.feature
def pyclient():
    from elasticache_pyclient.memcache_client import Cluster

    announce(NODES[:1])
    cluster = Cluster(ENDPOINT, 20)
    same(cluster.servers, [ENDPOINT])
    announce(NODES)
    cluster.update()
    same(cluster.servers, ["%s:%d" % node for node in NODES])


suite.run()
