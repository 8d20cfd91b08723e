"""Tests and what they are given. A failed expectation is a Fail; any other exception fails the test as well."""
import contextlib
import os
import random
import resource
import shutil
import tempfile
import time


class Fail(AssertionError):
    """An expectation that did not hold."""


class Skip(Exception):
    """The test cannot run here; its text says why."""


TESTS = []


def test(function):
    """Marks a test of the suite; tests run in the order of the file."""
    TESTS.append(function)
    return function


def shown(value, limit=1500):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"


def expect(condition, message, *details):
    if not condition:
        raise Fail(": ".join([message, *(shown(d) for d in details)]))


def same(got, wanted, what):
    if got != wanted:
        raise Fail(f"{what}: got {shown(got)}, wanted {shown(wanted)}")


def wait_for(predicate, what, seconds=60.0):
    """Asks until the predicate gives something true, which is returned; a Fail after so many seconds."""
    deadline = time.monotonic() + seconds * slowness()
    pause = 0.005
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Fail(f"still waiting for {what} after {seconds * slowness():.0f} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def warren():
    """The program under test."""
    return os.environ["WARREN_BIN"]


def sanitized():
    return any(name in warren().split(os.sep) for name in ("asan", "tsan"))


def slowness():
    """Deadlines are stretched by this under the sanitizers; results never depend on it."""
    return 6.0 if sanitized() else 1.0


def rounds():
    return float(os.environ.get("WARREN_TEST_ROUNDS") or 1)


class Test:
    """One running test: its folder, its random numbers, the suite's shared server, what is undone at its end."""

    def __init__(self, suite, name, seed):
        self.suite, self.name = suite, name
        self.random = random.Random(f"{seed}:{suite.name}:{name}")
        self.stack = contextlib.ExitStack()
        self._tmp = None

    @property
    def tmp(self):
        if self._tmp is None:
            self._tmp = tempfile.mkdtemp(prefix="warren-test-")
            self.stack.callback(shutil.rmtree, self._tmp, ignore_errors=True)
        return self._tmp

    def path(self, *names):
        return os.path.join(self.tmp, *names)

    def write(self, name, data):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(data if isinstance(data, bytes) else data.encode())
        return path

    @property
    def git(self):
        return self.suite.git

    @property
    def server(self):
        """The server that the suite's tests share; started again when the test before broke it."""
        return self.suite.shared_server()

    @property
    def account(self):
        """A fresh account on the shared server."""
        return self.server.account()

    def own_server(self, **options):
        """A server for this test alone, stopped and checked at its end."""
        from harness.server import Server
        server = Server(**options)
        self.stack.callback(server.remove)
        return server.start()

    def skip(self, why):
        raise Skip(why)

    def skip_if_sanitized(self):
        if sanitized():
            raise Skip("memory and time mean nothing under a sanitizer")

    def rounds(self, per_round=1):
        """How often a randomised test goes round: WARREN_TEST_ROUNDS times per_round."""
        return range(max(1, int(rounds() * per_round)))


class Suite:
    """The tests of one file, and the server and git that they share."""

    def __init__(self, name):
        from harness.gitcmd import Git
        self.name = name
        self._server = None
        self._git = None
        self._new_git = Git

    @property
    def git(self):
        if self._git is None:
            self._git = self._new_git()
        return self._git

    def shared_server(self):
        from harness.server import Server
        if self._server is not None and not self._server.alive():
            self._server.remove(check=False)
            self._server = None
        if self._server is None:
            self._server = Server().start()
        return self._server

    def check(self):
        """After each test: the shared server has to be there, without complaints so far."""
        if self._server is not None:
            self._server.check_log()
            expect(self._server.alive(), "the server died", self._server.log_tail())

    def cpu_seconds(self):
        """What the suite has computed so far: itself, the programs that ended, and the shared server."""
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        server = self._server.cpu_seconds() if self._server is not None and self._server.alive() else 0
        return sum(u.ru_utime + u.ru_stime for u in used) + server

    def log_tail(self):
        return self._server.log_tail() if self._server is not None else ""

    def drop_server(self):
        if self._server is not None:
            self._server.remove(check=False)
            self._server = None

    def abandon(self):
        """Leaves nothing behind when the run is broken off."""
        self.drop_server()
        if self._git is not None:
            self._git.remove()

    def finish(self):
        """Stops the shared server; raises what was wrong with its end."""
        try:
            if self._server is not None:
                self._server.remove()
        finally:
            self._server = None
            if self._git is not None:
                self._git.remove()
