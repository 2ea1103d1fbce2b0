"""Shared code of the Python client tests: features, a verdict line for each, polling.

Every client test, in any language, prints the same three kinds of line, which scripts/clients reads:

    plan CLIENT FEATURE...          all features to try; one that never reports has failed
    ok CLIENT FEATURE
    not ok CLIENT FEATURE: REASON
"""

import asyncio
import os
import sys
import time
import traceback

HOST = os.environ["MEMC_HOST"]
PORT = int(os.environ["MEMC_PORT"])
ADDRESS = "%s:%d" % (HOST, PORT)

# Login of the servers "sasl" and "authfile" of with-server.
USER = os.environ.get("MEMC_USER")
PASSWORD = os.environ.get("MEMC_PASSWORD")

# The certificate of the server "tls".
CERT = os.environ.get("MEMC_TLS_CERT")

# The largest value that a server with the default 1 MiB item limit accepts for certain.
LARGE = b"0123456789abcdef" * ((1024 * 1024 - 512) // 16)
TOO_LARGE = b"x" * (1024 * 1024)


class Suite:
    def __init__(self, client):
        self.client = client
        self.features = []

    def feature(self, function):
        self.features.append((function.__name__.rstrip("_"), function))
        return function

    def feature_with(self, kind):
        """A feature for the server of that kind; gets its port. Not planned in a run without such a server."""
        port = os.environ.get("MEMC_%s_PORT" % kind.upper())

        def decorate(function):
            if port:
                self.features.append((function.__name__.rstrip("_"), lambda: function(int(port))))
            return function

        return decorate

    def run(self):
        print("plan", self.client, *[name for name, _ in self.features], flush=True)
        failed = 0
        for name, function in self.features:
            try:
                function()
            except Exception as error:
                failed += 1
                line = traceback.extract_tb(error.__traceback__)[-1].lineno
                for frame in traceback.extract_tb(error.__traceback__):
                    if os.path.basename(frame.filename) == os.path.basename(sys.argv[0]):
                        line = frame.lineno
                reason = " ".join(("%s %s" % (type(error).__name__, error)).split())[:200]
                print("not ok", self.client, name + ":", "line %d: %s" % (line, reason), flush=True)
            else:
                print("ok", self.client, name, flush=True)
        sys.exit(1 if failed else 0)


def same(got, want):
    if got != want:
        shown = [repr(value) for value in (got, want)]
        raise AssertionError("got %s, wanted %s" % tuple(s if len(s) < 80 else s[:77] + "..." for s in shown))


def raises(error, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except error:
        return
    raise AssertionError("no %s was raised" % (error,))


def wait(awaitable):
    """Result of an asyncio client. All clients run on one loop, and only inside this call."""
    return _loop.run_until_complete(awaitable)


_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)


def eventually(condition, seconds=6.0):
    """Waits for a condition that depends on time, such as expiry."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("still not so after %.0f seconds" % seconds)
        time.sleep(0.05)
