"""kill -9 and SIGTERM at random instants of pushes and deliveries: each acknowledged update arrives, with its right commit and
what was before it, in the order of the changes.

`make crash-long` goes on with this for a thousand rounds, too."""
import json
import socket
import threading
import time

from harness import expect, same, test, wait_for
from harness.raw import Gone, Wire
from harness.receiver import Receiver, commit, trigger

COST = 14
CONFIG = "[webhooks]\nallow_private_networks = true\nretry_pause = 50ms\n"


class Writer(threading.Thread):
    """Commits to its branch until the server is gone. acknowledged: the branch's commits in their order, each from its answer."""

    def __init__(self, server, key, repo, branch, acknowledged):
        super().__init__(daemon=True)
        self.server, self.key, self.repo, self.branch, self.acknowledged = server, key, repo, branch, acknowledged
        self.stopped = threading.Event()

    def run(self):
        try:
            wire = Wire(self.server.url, self.key)
            while not self.stopped.is_set():
                n = len(self.acknowledged)
                body = {"branch": self.branch, "message": f"{n}", "files": [{"path": f"{self.branch}{n % 7}", "content": f"{n} {time.time()}"}]}
                status, data = wire.request("POST", f"/git/v1/repo/{self.repo.id}/commits", json.dumps(body).encode())
                if status != 200:
                    return
                self.acknowledged.append(json.loads(data)["commit"]["sha"])
        except (Gone, OSError):
            pass


class World:
    """Repositories with one trigger each; writers on two branches of each; pushes of git beside them."""

    def __init__(self, t, count=2):
        self.t = t
        # The server has the same place after each start, so that its consumer has its keys while it is away.
        with socket.create_server(("127.0.0.1", 0)) as s:
            place = f"127.0.0.1:{s.getsockname()[1]}"
        self.server = t.own_server(config=CONFIG, listen=place)
        self.receiver = Receiver(t, self.server.url)
        self.account = self.server.account()
        self.repos = [self.account.repo(defaultBranch="main") for _ in range(count)]
        self.said = {}
        for i, repo in enumerate(self.repos):
            # The first call of each delivery of the second one fails, so that there is always something to be tried again.
            trigger(repo, f"{self.receiver.url}/{'fail/1/500' if i else 'ok'}/{repo.id}", payload="extended")
            for branch in ("main", "side"):
                self.said[repo, branch] = []
        first = self.account.repo(defaultBranch="main")
        trigger(first, f"{self.receiver.url}/ok/first")
        commit(first, "main", {"a": "b"})
        self.receiver.wait("/ok/first", 1)

    def round(self, n, end):
        """Writers until end() has stopped the server, which is started again."""
        writers = [Writer(self.server, self.account.key, repo, branch, said) for (repo, branch), said in self.said.items()]
        for w in writers:
            w.start()
        time.sleep(self.t.random.uniform(0.02, 0.3))
        end()
        for w in writers:
            w.stopped.set()
        for w in writers:
            w.join()
        self.server.start()

    def check(self, what):
        """Each update that git sees came, in order; what was acknowledged is among it."""
        api = self.server.api(self.account.key)
        for (repo, branch), said in self.said.items():
            wanted = self.history(api, repo, branch)
            expect(set(said) <= set(wanted), f"{what}: {branch}: acknowledged, and not there", set(said) - set(wanted))
            wait_for(lambda: len(set(self.arrived(repo, branch))) >= len(wanted), f"{what}: {len(wanted)} updates of {branch}")
            calls = self.calls(repo, branch)
            first = list(dict.fromkeys(c["commit"] for c in calls))
            same(first, wanted, f"{what}: {branch}: what came, in the order of its first arrival")
            # Whatever is sent again, it is never older than what came last.
            places = [wanted.index(c["commit"]) for c in calls]
            same(places, sorted(places), f"{what}: {branch}: nothing comes late")
            for c in calls:
                i = wanted.index(c["commit"])
                same((c["before"], c["forced"]), (wanted[i - 1] if i else None, False), f"{what}: {branch}: before of {c['commit']}")
        by_delivery = {}
        for call in self.receiver.check():
            if call["path"] == "/ok/first":
                continue
            by_delivery.setdefault(call["delivery"], set()).add(call["body"])
        same([d for d, bodies in by_delivery.items() if len(bodies) != 1], [], f"{what}: deliveries whose body changed")
        same(len({b for bodies in by_delivery.values() for b in bodies}), len(by_delivery), f"{what}: one delivery for each update")

    def history(self, api, repo, branch):
        """Its commits, oldest first."""
        found, at = [], 0
        while True:
            page = api.get(f"{repo.path}/git/commits?branch={branch}&limit=500&offset={at}")
            if page.status == 404:
                return []
            rows = page.ok()["commits"]
            found += [row["sha"] for row in rows]
            at += len(rows)
            if len(rows) < 500:
                return found[::-1]

    def calls(self, repo, branch):
        bodies = [json.loads(c["body"]) for c in self.receiver.calls if c["path"].endswith(repo.id)]
        return [b for b in bodies if b["branch"] == branch]

    def arrived(self, repo, branch):
        return [c["commit"] for c in self.calls(repo, branch)]


@test
def kill_9(t):
    world = World(t)
    rounds = t.rounds(20)
    for n in rounds:
        world.round(n, world.server.kill)
        if n % 5 == 4 or n == rounds[-1]:
            world.check(f"round {n}")
    expect(sum(len(said) for said in world.said.values()) > len(rounds), "there was something to kill", world.said)


@test
def sigterm(t):
    """A stop lets what is under way end: nothing comes twice that did not fail."""
    world = World(t)
    for n in t.rounds(5):
        world.round(n, world.server.stop)
    world.check("after the stops")
    counts = {}
    for call in world.receiver.calls:
        if "/ok/" in call["path"]:
            counts[call["delivery"]] = counts.get(call["delivery"], 0) + 1
    same({n for n in counts.values()} - {1}, set(), "deliveries that came more than once")


@test
def held_at_the_end(t):
    """An attempt that hangs over a stop is cut off, not counted, and made again at once."""
    server = t.own_server(config=CONFIG + "timeout = 300s\n[server]\nstop_timeout = 1s\n")
    receiver = Receiver(t)
    account = server.account()
    repo = account.repo(defaultBranch="main")
    trigger(repo, f"{receiver.url}/ok/x")
    receiver.hold()
    made = account.api.post(f"{repo.path}/commits", {"branch": "main", "message": "m", "files": [{"path": "a", "content": "b"}]}).ok()
    receiver.wait("/ok/x", 1)
    for end in (server.stop, server.kill):
        came = len(receiver.of("/ok/x"))
        end()
        server.start()
        receiver.wait("/ok/x", came + 1)
    receiver.go()
    calls = receiver.of("/ok/x")
    same({(c["delivery"], c["attempt"]) for c in calls}, {(calls[0]["delivery"], "1")}, "the same attempt of the same delivery")
    same(json.loads(calls[0]["body"])["commit"], made["commit"]["sha"], "the commit")
    receiver.check()
