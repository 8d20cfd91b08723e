"""kill -9, SIGTERM and hand-overs at random instants of pushes and deliveries: each acknowledged update arrives, with its right
commit and what was before it, in the order of the changes.

`make crash-long` goes on with Rounds for a thousand rounds; see fault/_long.py."""
import json
import os
import random
import signal
import socket
import threading
import time

from harness import expect, same, test, wait_for
from harness.raw import Gone, Wire
from harness.receiver import Receiver, commit, trigger
from harness.workers import logged, running, worker

COST = 14
CONFIG = "[webhooks]\nallow_private_networks = true\nretry_pause = 10ms\n"


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
                if status == 503:  # one process is handing over to the next
                    time.sleep(0.02)
                    continue
                if status != 200:
                    return
                self.acknowledged.append(json.loads(data)["commit"]["sha"])
        except (Gone, OSError):
            pass


class World:
    """Repositories with one trigger each; writers on two branches of each; pushes of git beside them."""

    def __init__(self, t, count=2):
        self.random = t.random
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

    def write(self, end):
        """Writers until end() has done what it does."""
        writers = [Writer(self.server, self.account.key, repo, branch, said) for (repo, branch), said in self.said.items()]
        for w in writers:
            w.start()
        time.sleep(self.random.uniform(0.02, 0.3))
        end()
        for w in writers:
            w.stopped.set()
        for w in writers:
            w.join()

    def round(self, end):
        """The same with an end() that stops the server, which is started again."""
        self.write(end)
        self.server.start()

    def check(self, what):
        """Each update that git sees came, in order; what was acknowledged is among it."""
        api = self.server.api(self.account.key)
        for (repo, branch), said in self.said.items():
            wanted = self.history(api, repo, branch)
            expect(set(said) <= set(wanted), f"{what}: {branch}: acknowledged, and not there", set(said) - set(wanted))
            wait_for(lambda: len(set(self.arrived(repo, branch))) >= len(wanted), f"{what}: {len(wanted)} updates of {branch}")
            calls, place = self.calls(repo, branch), {sha: i for i, sha in enumerate(wanted)}
            first = list(dict.fromkeys(c["commit"] for c in calls))
            same(first, wanted, f"{what}: {branch}: what came, in the order of its first arrival")
            # Whatever is sent again, it is never older than what came last.
            places = [place[c["commit"]] for c in calls]
            same(places, sorted(places), f"{what}: {branch}: nothing comes late")
            for c in calls:
                i = place[c["commit"]]
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


class Rounds:
    PER_FOLDER = 20

    def __init__(self, t, seed):
        self.world, self.seed, self.n = World(t), seed, 0
        self.server = self.world.server

    def round(self, n):
        self.n, self.world.random = n, random.Random(f"{self.seed}:{n}")
        self.world.round(self.server.kill)
        if n % 5 == 4:
            self.world.check(f"seed {self.seed}, round {n}")

    def close(self):
        self.world.check(f"seed {self.seed}, round {self.n}")
        expect(sum(len(said) for said in self.world.said.values()) > 0, "there was something to kill", self.world.said)


@test
def kill_9(t):
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(20):
        rounds.round(n)
    rounds.close()


def attempts(world, word):
    """Of each delivery to such an endpoint, the attempts that came."""
    found = {}
    for call in world.receiver.calls:
        if call["path"].startswith(f"/{word}/"):
            found.setdefault(call["delivery"], []).append(call["attempt"])
    return found


@test
def sigterm(t):
    """A stop lets what is under way end: nothing comes twice that did not fail."""
    world = World(t)
    for _ in t.rounds(5):
        world.round(world.server.stop)
    world.check("after the stops")
    same([d for d, came in attempts(world, "ok").items() if len(came) != 1], [], "deliveries that came more than once")


@test
def handed_over(t):
    """One process after the other, while there is always something under way: each attempt is one's of them."""
    world = World(t)
    for n, _ in enumerate(t.rounds(2), 1):
        before = wait_for(lambda: worker(world.server), "one worker")

        def next_one(n=n, before=before):
            for client in world.server.clients:
                client.close()  # an idle connection would be kept for some seconds
            os.kill(world.server.pid, signal.SIGUSR2)
            wait_for(lambda: len(logged(world.server, "upgrade.ends")) == n, "the next program")
            said = {key: len(of) for key, of in world.said.items()}
            wait_for(lambda: all(len(of) > said[key] for key, of in world.said.items()), "a commit of each writer in the next process")
        world.write(next_one)
        wait_for(lambda: not running(before), "the end of the old worker")
        world.check(f"hand-over {n}")
    same({tuple(came) for came in attempts(world, "ok").values()}, {("1",)}, "attempts where the endpoint takes all")
    same({tuple(came) for came in attempts(world, "fail").values()}, {("1", "2")}, "attempts where it refuses each first one")


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
