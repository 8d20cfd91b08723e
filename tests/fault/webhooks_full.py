"""A full disk under deliveries, of the database alone and of all: pushes are answered as they are without triggers, what was
acknowledged arrives in order when there is room again, nothing twice, and the log does not fill what is left of the disk."""
import collections
import errno
import json
import os
import threading
import time

from harness import Server, expect, same, test, wait_for
from harness.disk import Control, environment
from harness.elsewhere import Elsewhere, answer
from harness.receiver import trigger

COST = 6
CONFIG = "[webhooks]\nallow_private_networks = true\nretry_pause = 50ms\n"


class World:
    """A repository with triggers, and one without any that is treated alike."""

    def __init__(self, t):
        self.data = t.path("data")
        os.mkdir(self.data, 0o700)
        self.control = Control(t.path("control"))
        self.server = Server(data=self.data, config=CONFIG, env=environment(self.data, control=self.control.path))
        self.server.may_fail = True
        t.stack.callback(self.server.remove, check=False)
        self.server.start()
        self.gate = threading.Event()
        self.gate.set()
        self.there = Elsewhere(t, {"/hook": answer(), "/held": self.held, "/fails": answer(500)})
        self.account = self.server.account()
        self.told, self.plain = (self.account.repo(defaultBranch="main") for _ in range(2))
        for path in self.there.routes:
            trigger(self.told, self.there.url + path)
        self.said, self.n = [], 0
        self.commit()
        wait_for(lambda: self.came("/hook") == self.said, "the first one")

    def held(self, request):
        self.gate.wait()
        return answer()

    def came(self, path):
        return [json.loads(r.body)["commit"] for r in list(self.there.requests) if r.path == path]

    def answers(self):
        """The same commit to each; their statuses, that of the repository with triggers first."""
        self.n += 1
        body = {"branch": "main", "message": str(self.n), "files": [{"path": "a", "content": str(self.n)}]}
        replies = [self.account.api.post(f"{r.path}/commits", body) for r in (self.told, self.plain)]
        if replies[0].status == 200:
            self.said.append(replies[0].json["commit"]["sha"])
        return tuple(r.status for r in replies)

    def commit(self):
        same(self.answers(), (200, 200), "a commit")

    def lines(self):
        """What the log says beside requests, by its event."""
        return collections.Counter(line["event"] for line in self.server.log_lines() if line["event"] != "request")

    def full(self, what, seconds, **where):
        """No room for some time, with changes all along; how both repositories answered."""
        self.control.fail("write+size+mkdir+create", errno.ENOSPC, **where)
        until, seen = time.monotonic() + seconds, collections.Counter()
        while time.monotonic() < until:
            seen[self.answers()] += 1
        expect(self.control.failed() > 0, f"{what}: writes failed")
        return seen

    def room(self, what):
        self.control.clear()
        wait_for(lambda: self.answers() == (200, 200), f"{what}: a commit when there is room again")
        for path in ("/hook", "/held"):
            wait_for(lambda: self.came(path)[-1:] == self.said[-1:], f"{what}: the last call to {path}")
            came, said = self.came(path), set(self.said)
            same(len(came), len(set(came)), f"{what}: twice to {path}")
            # A change whose answer was that nobody knows may be there, too.
            same([sha for sha in came if sha in said], self.said, f"{what}: what came to {path}")


def said_once(w, before, what):
    """What is tried again twice a second, for as long as it takes, is said when it begins and when it ends."""
    lines = w.lines() - before
    expect(1 <= lines["webhook.failed"] <= 3, f"{what}: webhook.failed", lines)
    expect(1 <= lines["webhook.works_again"] <= 3, f"{what}: webhook.works_again", lines)
    # Of each repository's events once.
    expect(lines["job.failed"] <= 3, f"{what}: job.failed", lines)


@test
def of_the_database(t):
    """While it has no room: calls go on and end, their outcomes cannot be written down, and events wait in the journal."""
    w = World(t)
    w.gate.clear()
    w.commit()
    wait_for(lambda: len(w.came("/held")) == 2, "a call under way")
    before = w.lines()
    w.control.fail("write+size", errno.ENOSPC, path="warren.db")
    w.gate.set()
    seen = w.full("the database", 2, path="warren.db")
    same(set(seen), {(200, 200)}, "changes are acknowledged all the same")
    w.room("the database")
    wait_for(lambda: (w.lines() - before)["webhook.works_again"], "the end of it in the log")
    said_once(w, before, "the database")


@test
def of_all(t):
    w = World(t)
    seen = w.full("all", 1.5)
    same([pair for pair in seen if pair[0] != pair[1]], [], "with triggers it is answered as without")
    expect(all(a >= 500 for a, _ in seen), "and refused", seen)
    w.room("all")
