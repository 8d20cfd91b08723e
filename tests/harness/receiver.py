"""A consumer of webhooks (tests/clients/receiver.mjs) as a process, and what it was sent."""
import json
import os
import subprocess
import threading

from harness.core import expect, same, slowness, wait_for
from harness.node import packages
from harness.said import read_time

CLIENTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")


class Receiver:
    """calls: what came, in order. Each was verified by jose, and check() says whether all were. issuer: the only one whose
    keys count; else whoever the signature names. port: another receiver's, to be it again."""

    def __init__(self, t, issuer=None, port=0, cooldown_ms=None, cache_ms=600000):
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_PROXY": "*", "TZ": "UTC", "PORT": str(port),
               "MODULES": packages(CLIENTS, "clients")}
        if issuer:
            env["ISSUER"] = issuer
        if cooldown_ms is not None:
            env.update(COOLDOWN=str(cooldown_ms), CACHE=str(cache_ms))
        self.calls, self.heard, self.url = [], 0, None
        self.lock, self.ready = threading.Lock(), threading.Event()
        self.process = subprocess.Popen(["node", os.path.join(CLIENTS, "receiver.mjs")], env=env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        t.stack.callback(self.close)
        expect(self.ready.wait(30 * slowness()) and self.url, "the receiver does not start")

    def _read(self):
        for raw in self.process.stdout:
            line = json.loads(raw)
            with self.lock:
                if "listening" in line:
                    self.url = line["listening"]
                    self.ready.set()
                elif "heard" in line:
                    self.heard += 1
                else:
                    self.calls.append(line)
        self.ready.set()

    def _tell(self, word):
        wanted = self.heard + 1
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()
        wait_for(lambda: self.heard >= wanted, f"the receiver hears {word!r}")

    def hold(self):
        """Every call that comes from now on waits for its answer until go()."""
        self._tell("hold")

    def go(self):
        self._tell("go")

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.thread.join()

    def of(self, path):
        """The calls to one path (without its query)."""
        with self.lock:
            return [c for c in self.calls if c.get("path", "").split("?")[0] == path]

    def bodies(self, path):
        return [json.loads(c["body"]) for c in self.of(path)]

    def wait(self, path, n, seconds=60.0):
        """Until n calls came to this path; all of them."""
        wait_for(lambda: len(self.of(path)) >= n, f"{n} calls to {path}, of which {len(self.of(path))} came", seconds)
        return self.of(path)

    def check(self):
        """Every call was genuine, and came with all that the documentation promises."""
        with self.lock:
            calls = list(self.calls)
        for call in calls:
            same(call.get("verified"), True, f"jose verifies {call}")
            same(call["method"], "POST", "method")
            same(call["type"], "application/json", "content type")
            expect(call["agent"].startswith("warren/"), "User-Agent", call["agent"])
            payload = call["payload"]
            same(payload["jti"], call["delivery"], "jti is the delivery")
            same(payload["repoId"], json.loads(call["body"])["repoId"], "the repository that was signed for")
            expect(0 < payload["exp"] - payload["iat"] <= 3600, "lifetime", payload)
            same((call["header"]["alg"], bool(call["header"]["kid"])), ("EdDSA", True), "header of the signature")
        same([c["failed"] for c in calls if "failed" in c], [], "failures of the receiver")
        return calls


def once_each(calls):
    """No delivery came twice, each attempt with the same bytes."""
    by_id = {}
    for call in calls:
        by_id.setdefault(call["delivery"], []).append(call)
    for delivery, several in by_id.items():
        same(len(several), 1, f"calls of delivery {delivery}")
    return by_id


def trigger(repo, endpoint, branches=None, globs=None, payload=None):
    """The id of a new trigger."""
    action = {"action": "webhook", "endpoint": endpoint, **({"payload": payload} if payload else {})}
    body = {"trigger": {"event": "push", "branches": branches, "globs": globs}, "action": action}
    return repo.account.api.post(f"{repo.path}/trigger", body).ok(["triggerId"])["triggerId"]


def commit(repo, branch, files, message="by API", api=None, **more):
    """The id of a new commit, as it was acknowledged."""
    body = {"branch": branch, "message": message, "files": [{"path": p, "content": c} for p, c in files.items()], **more}
    return (api or repo.account.api).post(f"{repo.path}/commits", body).ok()["commit"]["sha"]


def history(repo, one):
    return repo.account.api.get(f"{repo.path}/trigger/{one}/delivery").ok(["deliveries"])["deliveries"]


def tried_again(row, give_up_ms, what):
    """It had another attempt, unless the first one took until it was given up."""
    lasted = (read_time(row["endedAt"]) - read_time(row["createdAt"])).total_seconds() * 1000
    expect(row["attempts"] > 1 or lasted >= give_up_ms, f"{what}: it is tried again", row)


def ended(repo, one, state, n=1):
    """Its newest delivery once n of them have ended like this."""
    def look():
        rows = history(repo, one)
        return rows if sum(r["state"] in ("delivered", "failed") for r in rows) >= n else None
    rows = wait_for(look, f"{n} deliveries of {one} to end")
    same({r["state"] for r in rows}, {state}, f"how they ended: {rows[0]}")
    return rows[0]
