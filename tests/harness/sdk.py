"""An npm package of the SDK as a process that is told what to call (tests/clients/calls.mjs)."""
import base64
import json
import os
import re
import subprocess
import tempfile
import threading

from harness.core import Fail, expect, same, slowness
from harness.node import packages

CLIENTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")
# The older package knows no trace ids.
PACKAGES = {"freestyle": True, "freestyle-sandboxes": False}


class Refused(Exception):
    """What a call threw: name, message, body, traceId; class: the package's export that it is an instance of."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.error = error


class Place:
    """A method's address: sdk.git.repos.list(...), sdk.repo(ID).commits.create(...), sdk.identity(ID).tokens.list()."""

    def __init__(self, sdk, where, way):
        self._sdk, self._where, self._way = sdk, where, way

    def __getattr__(self, name):
        return Place(self._sdk, self._where, [*self._way, name])

    def __call__(self, *args, **options):
        return self._sdk.call(self._where, self._way, [*args, options] if options else list(args))


class Sdk:
    def __init__(self, t, package="freestyle", kept=False, **env):
        """env: KEY or TOKEN. kept: it lives on behind the test."""
        self.package, self.traced = package, PACKAGES[package]
        self.answers = []  # (name of the method, what it gave)
        self.thrown = None  # the class of the last failure
        modules = packages(CLIENTS, "clients")
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_PROXY": "*", "TZ": "UTC", "MODULES": modules,
               "PACKAGE": package, "URL": t.server.url, **env}
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(["node", os.path.join(CLIENTS, "calls.mjs")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, env=env)
        if not kept:
            t.stack.callback(self.close)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def call(self, where, way, args):
        timer = threading.Timer(60 * slowness(), self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps({"way": way, "args": args, **where}).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = b""
        timer.cancel()
        if not line:
            self.errors.seek(0)
            raise Fail(f"{self.package} {'.'.join(way)}: node ended: {self.errors.read()[-2000:].decode(errors='replace')}")
        outcome = json.loads(line)
        name = ".".join([*(["repo"] if "repo" in where else ["identity"] if "identity" in where else []), *way])
        if "error" in outcome:
            raise Refused(outcome["error"])
        value = outcome.get("value")
        if isinstance(value, dict) and set(value) == {"base64"}:
            return base64.b64decode(value["base64"])
        self.answers.append((name, value))
        return value

    def repo(self, repo_id):
        return Place(self, {"repo": repo_id}, [])

    def identity(self, identity_id):
        return Place(self, {"identity": identity_id}, [])

    @property
    def git(self):
        return Place(self, {}, ["git"])

    @property
    def identities(self):
        return Place(self, {}, ["identities"])

    def whoami(self):
        return self.call({}, ["whoami"], [])

    def fails(self, code, status, place, *args, **options):
        """The call throws the package's own class for this code; its body."""
        what = f"{self.package} {'.'.join(place._way)}"
        try:
            got = place(*args, **options)
        except Refused as e:
            error = e.error
        else:
            raise Fail(f"{what}: {code} was expected, not {got!r}")
        same((error["code"], error["status"]), (code, status), f"{what}: the class's code and status with {error}")
        self.thrown = error["class"]
        same(error["class"], error["name"], f"{what}: an instance of the exported class")
        same(error["body"]["code"], code, f"{what}: the body's code")
        expect(error["message"].startswith(f"{code}: "), f"{what}: message", error["message"])
        if self.traced:
            expect(re.match(r"^[0-9a-z-]+$", error.get("traceId") or ""), f"{what}: traceId", error)
            expect(error["message"].endswith(f"TraceId: {error['traceId']}"), f"{what}: the trace id in the message", error)
        return error["body"]
