"""An application in front of a cluster: reads through the cache, and counts what it sees.

Started by run.py with the name of a client and its settings, as JSON. Reads one command a line:

    phase NAME     counts from now on under this name, and prints the counts so far
    place NAME     stores each key once, marked with NAME; prints how many stores were acknowledged
    end            prints the counts and ends, even if requests hang

Each of a few threads has a client and keys of its own, so that every read has one right answer: the database of the
application is a dictionary, written before the cache. A value older than the last write that the cache was told of,
with or without success, is a stale read.
"""

import json
import os
import random
import sys
import threading
import time

KEYS = 3000
THREADS = 4
PAUSE = 0.002
WRITES = 0.1


def libmemcached(servers, behaviors):
    import pylibmc

    client = pylibmc.Client(["%s:%d" % tuple(server) for server in servers], behaviors={"ketama": True, **behaviors})
    return client.get, client.set


def pymemcache_hash(servers, **options):
    from pymemcache.client.hash import HashClient

    client = HashClient([tuple(server) for server in servers], default_noreply=False, **options)
    return client.get, client.set


def pymemcache_proxy(servers, **options):
    from pymemcache.client.base import Client

    client = Client(tuple(servers[0]), default_noreply=False, **options)
    return client.get, client.set


class Counts:
    def __init__(self):
        self.requests = self.hits = self.misses = self.stale = 0
        self.longest = 0.0
        self.errors = {}


class Worker(threading.Thread):
    def __init__(self, number, make):
        super().__init__(daemon=True)
        self.make = make
        self.keys = ["key-%04d" % n for n in range(KEYS) if n % THREADS == number]
        self.database = dict.fromkeys(self.keys, 0)
        self.told = dict.fromkeys(self.keys, 0)
        self.random = random.Random(number)
        self.counts = Counts()
        self.began = None
        self.mark = "-"
        self.to_place = None
        self.placed = 0

    def call(self, function, *args):
        """Result of a request, or None with an error that is counted."""
        self.began = began = time.monotonic()
        try:
            result = function(*args)
        except Exception as error:
            kind = type(error).__name__
            self.counts.errors[kind] = self.counts.errors.get(kind, 0) + 1
            result = None
        self.began = None
        self.counts.requests += 1
        self.counts.longest = max(self.counts.longest, time.monotonic() - began)
        return result

    def store(self, key):
        version = self.database[key]
        stored = self.call(self.set, key, ("%s %d " % (self.mark, version)).ljust(100).encode())
        self.told[key] = version
        return stored

    def read(self, key):
        errors = sum(self.counts.errors.values())
        value = self.call(self.get, key)
        if sum(self.counts.errors.values()) > errors:
            return
        if value is None:
            self.counts.misses += 1
            self.store(key)
            return
        self.counts.hits += 1
        self.counts.stale += int(value.split()[1]) < self.told[key]

    def run(self):
        self.get, self.set = self.make()
        while True:
            if self.to_place is not None:
                self.place()
            key = self.random.choice(self.keys)
            if self.random.random() < WRITES:
                self.database[key] += 1
                self.store(key)
            else:
                self.read(key)
            time.sleep(PAUSE)

    def place(self):
        self.mark, until = self.to_place
        self.placed = 0
        for key in self.keys:
            if time.monotonic() > until:
                break
            self.placed += bool(self.store(key))
        self.to_place = None


def reply(**fields):
    print(json.dumps(fields), flush=True)


def main():
    config = json.loads(sys.argv[1])
    maker = {"libmemcached": libmemcached, "hash": pymemcache_hash, "proxy": pymemcache_proxy}[config["client"]]
    workers = [Worker(n, lambda: maker(config["servers"], **config["options"])) for n in range(THREADS)]
    for worker in workers:
        worker.start()
    began = time.monotonic()
    for line in sys.stdin:
        words = line.split()
        if words[0] == "place":
            until = time.monotonic() + float(words[2])
            for worker in workers:
                worker.to_place = (words[1], until)
            while any(worker.to_place for worker in workers) and time.monotonic() < until + 1:
                time.sleep(0.02)
            reply(placed=sum(worker.placed for worker in workers))
            continue
        now = time.monotonic()
        fields = {"seconds": now - began, "errors": {}}
        for name in "requests", "hits", "misses", "stale":
            fields[name] = sum(getattr(worker.counts, name) for worker in workers)
        for worker in workers:
            for kind, count in worker.counts.errors.items():
                fields["errors"][kind] = fields["errors"].get(kind, 0) + count
        waits = [now - max(began, worker.began) for worker in workers if worker.began]
        fields["longest"] = max([worker.counts.longest for worker in workers] + waits)
        fields["hanging"] = sum(wait > 1 for wait in waits)
        reply(**fields)
        if words[0] == "end":
            os._exit(0)
        began = now
        for worker in workers:
            worker.counts = Counts()


main()
