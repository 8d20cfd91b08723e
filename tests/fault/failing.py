"""Calls that fail: the n-th write, flush, rename, open, mmap and so on under the data folder, for n = 1, 2, ... until an
operation no longer notices; once, or until further notice. The one client gets an error, other repositories are served,
and when the cause is gone the same server goes on; nothing acknowledged is lost and nothing is there in half."""
import errno
import os
import random
import resource
import threading

from harness import Fail, Server, expect, same, test, wait_for
from harness.core import rounds, sanitized
from harness.disk import Control, environment
from harness.raw import Gone, Wire, check_clone
from harness.server import run_warren
from harness.traffic import Everyone, Lane, check_lanes

IN_MEMORY = True
COST = 20
# calls, error, how often, whether the first write is only cut short
CASES = [
    ("write", errno.ENOSPC, 1, False), ("write", errno.ENOSPC, 1 << 31, False), ("write", errno.ENOSPC, 1 << 31, True),
    ("write", errno.EIO, 1, False), ("write", errno.EIO, 1 << 31, False), ("flush", errno.EIO, 1, False), ("flush", errno.EIO, 2, False),
    ("flush", errno.EIO, 1 << 31, False), ("flush", errno.ENOSPC, 1, False), ("rename", errno.EIO, 1, False),
    ("rename", errno.ENOSPC, 1 << 31, False), ("open", errno.EMFILE, 1, False), ("open", errno.EMFILE, 1 << 31, False),
    ("create", errno.EROFS, 1 << 31, False), ("create", errno.ENOSPC, 1, False), ("map", errno.ENOMEM, 1, False),
    ("map", errno.ENOMEM, 1 << 31, False), ("size", errno.ENOSPC, 1, False), ("mkdir", errno.ENOSPC, 1, False),
    ("mkdir", errno.EROFS, 1 << 31, False), ("unlink", errno.EIO, 1, False),
    ("write+flush+rename+create+size+mkdir+unlink", errno.EROFS, 1 << 31, False),
    ("write+size+mkdir+create", errno.ENOSPC, 1 << 31, False),
]
READING = {"open", "map"}


class World:
    """A server whose disk fails on request, a repository that suffers and one that must not notice."""

    def __init__(self, t, name):
        self.t, self.random = t, t.random
        self.data = t.path("data-" + name)
        os.mkdir(self.data, 0o700)
        self.control = Control(t.path("control-" + name))
        self.server = Server(data=self.data, env=environment(self.data, control=self.control.path))
        self.server.may_fail = True
        t.stack.callback(self.server.remove, check=False)
        self.server.start()
        self.account = self.server.account()
        self.lanes, self.said = {}, None
        # Killed, and not recovered yet: while that fails the last push may be out of sight.
        self.unclean = False
        self.other = self.repo()
        self.ok(self.other, "at first")

    def wire(self):
        return Wire(self.server.url, self.account.key)

    def repo(self):
        repo_id = self.account.repo(name="x").id
        self.lanes[repo_id] = [Lane("w", random.Random(self.random.random()), {"small": 1})]
        return repo_id

    def push(self, repo_id, what, **kinds):
        """One push, whatever becomes of it: True, False, or None where its outcome is not known."""
        lane = self.lanes[repo_id][0]
        lane.kinds = kinds or {"small": 1}
        commands, pack, atomic = lane.prepare()
        try:
            said = self.wire().push(repo_id, commands, pack, atomic)
        except Gone as e:
            raise Fail(f"{what}: no answer: {e}\n{self.server.log_tail()}") from None
        self.said = said
        expect(said.status in (200, 500, 503), f"{what}: the answer", said)
        if said.ok:
            lane.settled()
            return True
        accepted = said.accepted()
        if said.status == 500:
            # The server says that it does not know; what it serves from now on tells.
            lane.reset()
            return None
        lane.settled(accepted)
        lane.reset()
        return False

    def ok(self, repo_id, what):
        expect(self.push(repo_id, what) is True, f"{what}: a push", self.server.log_tail())

    def holds(self, repo_id, what):
        """The refs are as they may be, and whole."""
        wire = self.wire()
        refs = wire.refs(repo_id)
        check_lanes(self.lanes[repo_id], refs, what)
        check_clone(wire, Everyone(self.lanes[repo_id]), repo_id, refs, what)

    def others_go_on(self, what):
        expect(self.server.alive(), f"{what}: the server lives", self.server.log_tail())
        self.ok(self.other, what + ", another repository")
        self.holds(self.other, what + ", another repository")

    def recovers(self, repo_id, what):
        """The cause is gone: the same server accepts a push again, at once or soon."""
        lane = self.lanes[repo_id][0]
        if lane.open is not None:
            wait_for(lambda: self.try_refs(repo_id) is not None, what + ": refs again", 30)
            lane.check(self.try_refs(repo_id), what)
        try:
            wait_for(lambda: self.push(repo_id, what + ", afterwards"), what + ": a push again", 30)
        except Fail as e:
            raise Fail(f"{e}: {self.said}\n{self.server.log_tail()}") from None
        self.holds(repo_id, what + ", afterwards")

    def try_refs(self, repo_id):
        try:
            return self.wire().refs(repo_id)
        except Fail:
            return None

    def killed(self, what):
        self.server.kill()
        self.server.start()
        for repo_id in self.lanes:
            self.holds(repo_id, what)


class Victim:
    """The repository that suffers: a new one for each case, so that what it holds stays small."""

    def __init__(self, w, *pushes):
        self.w, self.pushes, self.id = w, pushes, None

    def __call__(self, after):
        if after % 12 == 0:
            self.id = self.w.repo()
            self.w.ok(self.id, "at first")
        for kinds in self.pushes:
            self.w.push(self.id, "before", **kinds)
        return self.id


def go_through(w, name, prepare, act, cases, path=lambda repo_id: repo_id, most=150):
    """act(repo) under each case, from the first call on, until it no longer meets a failing one."""
    for calls, error, times, halved in cases:
        for after in range(most):
            what = f"{name}: {calls} number {after + 1} fails with {errno.errorcode[error]} " \
                   f"{'once' if times == 1 else 'twice' if times == 2 else 'from then on'}{', cut short' if halved else ''}"
            repo_id = prepare(after)
            w.control.fail(calls, error, after, times, halved, path(repo_id))
            outcome = act(repo_id, what)
            failed = w.control.failed()
            if failed and times > 2:
                if path(repo_id) == repo_id:
                    w.others_go_on(what)
                if calls not in READING and not w.unclean and w.try_refs(repo_id) is not None and not w.lanes[repo_id][0].open:
                    w.holds(repo_id, what + ", still")
            w.control.clear()
            if not failed:
                expect(outcome is True, f"{what}: nothing failed, and yet", outcome, w.server.log_tail())
            w.recovers(repo_id, what)
            if failed and w.random.random() < 0.15:
                w.killed(what + ", killed then")
            if not failed:
                break
            if len(w.lanes) > 12:
                for repo in list(w.lanes)[1:8]:
                    del w.lanes[repo]
        else:
            raise Fail(f"{name}: still failing calls behind the {most}th")
    w.killed(f"{name}: in the end")
    w.server.check_log()


def share(t, cases, n):
    """So many of them, times WARREN_TEST_ROUNDS; a few where a sanitizer makes them slow."""
    return t.random.sample(cases, min(len(cases), int(rounds() * (2 if sanitized() else n)) or 1))


@test
def a_push(t):
    w = World(t, "push")
    go_through(w, "a push", Victim(w), lambda repo_id, what: w.push(repo_id, what), share(t, CASES, 23))


@test
def a_first_push(t):
    w = World(t, "first")
    go_through(w, "a first push", lambda after: w.repo(), lambda repo_id, what: w.push(repo_id, what), share(t, CASES, 12))


@test
def a_large_push(t):
    w = World(t, "large")
    go_through(w, "a large push", Victim(w), lambda repo_id, what: w.push(repo_id, what, large=1), share(t, CASES, 4))


@test
def spools_of_all(t):
    """run/ is everybody's: a push that needs it fails, and goes through when there is room again."""
    w = World(t, "run")
    go_through(w, "a spool", Victim(w), lambda repo_id, what: w.push(repo_id, what, large=1), share(t, CASES, 4),
               lambda repo_id: "/run/")


@test
def a_checkpoint(t):
    w = World(t, "checkpoint")

    def act(repo_id, what):
        status, _, err = run_warren("repo", "checkpoint", repo_id, "--data", w.data)
        expect(status == 0 or err, f"{what}: an error and no word", status)
        return status == 0
    go_through(w, "a checkpoint", Victim(w, {"small": 1}, {"files": 1}, {"rewind": 1, "delete": 1, "two": 1}), act, share(t, CASES, 8))


@test
def an_opening(t):
    """The server starts, or was killed; the first one who asks meets the failing call."""
    w = World(t, "opening")
    victim = Victim(w, {"two": 1})

    def prepare(after):
        repo_id = victim(after)
        w.unclean = w.random.random() < 0.5
        if w.unclean:
            w.server.kill()
        else:
            w.server.stop()
        w.server.start()
        return repo_id

    def act(repo_id, what):
        return w.try_refs(repo_id) is not None and w.push(repo_id, what)
    go_through(w, "an opening", prepare, act, share(t, CASES, 5))


@test
def the_database(t):
    """Rows that cannot be written: an error, and no row; afterwards they can."""
    w = World(t, "database")
    cases = [("write", errno.ENOSPC, 1, False), ("write", errno.EIO, 1 << 31, False), ("flush", errno.EIO, 1, False),
             ("flush", errno.EIO, 1 << 31, False), ("write", errno.ENOSPC, 1 << 31, True)]
    for calls, error, times, halved in share(t, cases, 5):
        for after in range(40):
            what = f"rows: {calls} number {after + 1} fails with {errno.errorcode[error]}"
            before = rows(w)
            w.control.fail(calls, error, after, times, halved, "warren.db")
            reply = w.account.api.post("/git/v1/repo", {"name": "new"})
            failed = w.control.failed()
            expect(reply.status in (200, 500, 503), f"{what}: the answer", reply.status, reply.body)
            w.holds(w.other, what)
            w.control.clear()
            wait_for(lambda: w.account.api.post("/git/v1/repo", {"name": "again"}).status == 200, what + ": a row again", 30)
            now = rows(w)
            expect(before <= now, f"{what}: rows are lost", before - now)
            if reply.status == 200:
                expect(reply.json["repoId"] in now, f"{what}: what was answered is there")
            w.others_go_on(what)
            if not failed:
                same(reply.status, 200, f"{what}: nothing failed, and yet")
                break
    w.killed("rows: in the end")


def rows(w):
    found, after = set(), ""
    while True:
        page = w.account.api.get(f"/git/v1/repo?limit=100{after}").ok()
        found |= {r["id"] for r in page["repositories"]}
        if not page.get("nextCursor"):
            return found
        after = "&cursor=" + page["nextCursor"]


@test
def few_descriptors(t):
    """Many repositories, and hardly any descriptors beyond what the server needs anyway."""
    server = t.own_server()
    server.may_fail = True
    account = server.account()
    lanes = {account.repo().id: Lane("w", random.Random(t.random.random()), {"small": 1}) for _ in range(15 if sanitized() else 40)}
    wire = Wire(server.url, account.key)
    for repo_id, lane in lanes.items():
        lane.step(wire, repo_id)
    server.restart()
    wire = Wire(server.url, account.key)
    wire.refs(next(iter(lanes)))
    limits = {}
    for pid in server.pids():
        limits[pid] = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 24, limits[pid][1]))
    answers = []

    def work(part):
        own = Wire(server.url, account.key)
        for repo_id in part:
            lane = lanes[repo_id]
            commands, pack, atomic = lane.prepare()
            try:
                said = own.push(repo_id, commands, pack, atomic)
            except Gone:
                answers.append("gone")
                return
            answers.append(said.status)
            if said.status != 500:
                lane.settled(said.accepted())
            if not said.ok:
                lane.reset()
    ids = list(lanes)
    threads = [threading.Thread(target=work, args=(ids[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(server.alive(), "the server lives", server.log_tail())
    same(len(answers), len(lanes), "every push has an end")
    expect(200 in answers and set(answers) <= {200, 503}, "some went through, the others have to wait", answers)
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    wire = Wire(server.url, account.key)
    for repo_id, lane in lanes.items():
        refs = wire.refs(repo_id)
        lane.check(refs, "with descriptors again")
        lane.step(wire, repo_id)
        check_clone(wire, lane.objects, repo_id, lane.refs, "with descriptors again")
