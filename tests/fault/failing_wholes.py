"""Calls that fail in what concerns whole repositories: the n-th write, flush, link, rename, open, mmap and so on of a fork, an
adoption, maintenance, an export or a deletion, for n = 1, 2, ... until the work no longer notices; beside a server and by
commands without one. The job ends, done or failed with words; what failed leaves nothing, sources stay as they are, the
server serves others meanwhile, and the same work goes through when the cause is gone."""
import errno
import json
import os
import random
import shutil

from harness import Server, expect, same, test, wait_for
from harness.core import rounds, sanitized
from harness.disk import Control, environment
from harness.raw import Wire, check_clone
from harness.server import run_warren
from harness.traffic import Everyone, Lane
from harness.whole import Bare, ended_jobs, forked, rows, strays, until_none

IN_MEMORY = True
COST = 20
# calls, error, how often, whether the first write is only cut short, where
CASES = [
    ("write", errno.EIO, 1, False, "/repos/"), ("write", errno.ENOSPC, 1, True, "/repos/"),
    ("flush", errno.EIO, 1, False, "/repos/"), ("flush", errno.EIO, 2, False, "/repos/"),
    ("rename", errno.EIO, 1, False, "/repos/"), ("rename", errno.EMLINK, 1, False, "/repos/"),
    ("create", errno.EROFS, 1, False, "/repos/"), ("open", errno.EIO, 1, False, "/repos/"),
    ("open", errno.EMFILE, 1, False, "/repos/"), ("map", errno.ENOMEM, 1, False, "/repos/"),
    ("size", errno.ENOSPC, 1, False, "/repos/"), ("mkdir", errno.EACCES, 1, False, "/repos/"),
    ("unlink", errno.EIO, 1, False, "/repos/"), ("write", errno.EIO, 1, False, "warren.db"),
    ("flush", errno.EIO, 1, False, "warren.db"), ("memory", errno.ENOMEM, 1, False, "wr-job"),
    ("write+flush+rename+create+size+mkdir+unlink", errno.EROFS, 1 << 31, False, "/repos/"),
    ("write+size+mkdir+create", errno.ENOSPC, 1 << 31, False, "/repos/"),
    ("flush", errno.EIO, 1 << 31, False, "/repos/"),
]


class World:
    """A server whose disk fails on request, a source that has all kinds of packs, and a repository that must not notice."""

    def __init__(self, t, name):
        self.t, self.random = t, t.random
        self.data = t.path("data-" + name)
        os.mkdir(self.data, 0o700)
        self.bare = Bare(t.git, t.path(f"bare-{name}.git"), "bare", t.random)
        self.control = Control(t.path("control-" + name))
        self.env = environment(self.data, control=self.control.path)
        self.server = Server(data=self.data, env=self.env)
        self.server.may_fail = True
        t.stack.callback(self.server.remove, check=False)
        self.server.start()
        self.account = self.server.account()
        self.lanes, self.made = {}, 0
        self.other, self.source = self.repo(), self.repo()
        for kind in ("small", "files", "two", "tag"):
            self.push(self.source, kind)
        self.server.cli("repo", "checkpoint", self.source)
        for kind in ("rewind", "small", "delete", "small"):
            self.push(self.source, kind)

    def repo(self):
        repo_id = self.account.repo(name="x").id
        self.lanes[repo_id] = Lane("w", random.Random(self.random.random()))
        self.push(repo_id, "small")
        return repo_id

    def push(self, repo_id, kind):
        self.lanes[repo_id].kinds = {kind: 1}
        self.lanes[repo_id].step(Wire(self.server.url, self.account.key), repo_id)

    def name(self):
        self.made += 1
        return f"made-{self.made}"

    def command(self, *args):
        """(its JSON or None, what it says)."""
        status, out, err = run_warren(*args, "--data", self.data, env=self.env)
        expect(status == 0 or err.strip(), f"{args}: an error and no word", status)
        return (json.loads(out) if status == 0 else None), err

    def job(self, *words):
        """Queues it, and waits for its end: the job, or None where there is none. A cause that lasts does until then."""
        made, _ = self.command("repo", *words, "--detach")
        if made is None:
            return None
        if self.control.lasts:
            self.goes_on(self.other, "meanwhile")
            self.control.clear()
        return ended_jobs(self.server, words[0])[made["jobId"]]

    def goes_on(self, repo_id, what):
        """A push to it and a clone of it."""
        lane = self.lanes[repo_id]
        self.push(repo_id, "small")
        wire = Wire(self.server.url, self.account.key)
        refs = wire.refs(repo_id)
        lane.check(refs, what)
        check_clone(wire, lane.objects, repo_id, refs, what)

    def refs(self, repo_id):
        return Wire(self.server.url, self.account.key).refs(repo_id)

    def whole(self, repo_id, refs, objects, what):
        got = self.refs(repo_id)
        same(got, refs, f"{what}: refs")
        check_clone(Wire(self.server.url, self.account.key), objects, repo_id, got, what)
        self.server.verify(repo_id)

    def nothing_else(self, ids, what):
        """Rows and folders of these repositories, and of the two that are always there."""
        ids = {*ids, self.other, self.source}
        same(set(rows(self.account.api)), ids, f"{what}: rows")
        until_none(lambda: strays(self.server, ids), f"{what}: left over", 90)
        self.bare.check(what)


class Making:
    """A job that makes a repository: done and whole, or failed and nothing is there."""

    def __init__(self, w, words, refs, objects):
        self.w, self.words, self.refs, self.objects = w, words, refs, objects

    def __call__(self, what, failing):
        w = self.w
        job = w.job(*self.words(), "--name", w.name())
        return self.judge(job, job and job["repoId"], what)

    def judge(self, job, made, what):
        w = self.w
        w.control.clear()
        if job is None or job["state"] != "done":
            expect(not job or (job["state"] == "failed" and job["error"]["message"]), f"{what}: its end", job)
            same(set(rows(w.account.api)), {w.other, w.source}, f"{what}: rows")
            return False
        w.whole(made, self.refs(), self.objects, what)
        w.account.api.delete(f"/git/v1/repo/{made}").empty()
        return True


class Alone(Making):
    """The same by a command without a server."""

    def __call__(self, what, failing):
        w = self.w
        w.server.stop()
        failing()
        made, _ = w.command("repo", *self.words(), "--name", w.name())
        w.control.clear()
        w.server.start()
        ended_jobs(w.server, what)
        return self.judge(made and {"state": "done"}, made and made["repoId"], what)


def go_through(w, name, act, cases, most=120):
    """act() under each case, from the first call on, until it no longer meets a failing one; in strides, to be done soon."""
    for calls, error, times, halved, place in cases:
        after = 0
        while True:
            what = (f"{name}: {calls} number {after + 1} of {place} fails with {errno.errorcode[error]} x {times}"
                    f"{', cut short' * halved}")

            def fail():
                w.control.fail(calls, error, after, times, halved, place, w.other)
                w.control.lasts = times > 2
            if not isinstance(act, Alone):
                fail()
            outcome = act(what, fail)
            met = w.control.failed()
            w.control.lasts = False
            expect(outcome or met, f"{what}: nothing failed, and yet", w.server.log_tail())
            if not met:
                break
            expect(after < (100_000 if calls == "memory" else most), f"{what}: still failing")
            after += 1 + w.random.randrange(1 + after // 3)
        expect(act(f"{name}: afterwards", lambda: None), f"{what}: the next attempt", w.server.log_tail())
        expect(w.server.alive(), f"{what}: the server lives", w.server.log_tail())
        w.server.verify(w.source)
        w.goes_on(w.source, what)
    w.nothing_else((), f"{name}: in the end")
    w.server.kill()
    w.server.start()
    w.goes_on(w.source, f"{name}: killed in the end")
    w.goes_on(w.other, f"{name}: killed in the end")
    w.server.check_log()


def share(t, n, once=False):
    """So many cases, times WARREN_TEST_ROUNDS. once: of those that pass; a command alone goes on trying for minutes."""
    cases = [case for case in CASES if (case[0] != "memory" or not sanitized()) and (case[2] <= 2 or not once)]
    return t.random.sample(cases, min(len(cases), int(rounds() * (1 if sanitized() else n)) or 1))


def forking(w, kind=Making):
    lane = w.lanes[w.source]
    return kind(w, lambda: ("fork", w.source), lambda: {r: o for r, o in lane.refs.items() if forked(r)}, lane.objects)


def adopting(w, *more):
    return Making(w, lambda: ("adopt", w.account.name, w.bare.path, *more), lambda: w.bare.refs, Everyone([w.bare.lane]))


@test
def a_fork(t):
    w = World(t, "fork")
    go_through(w, "a fork", forking(w), share(t, 2))


@test
def a_fork_without_a_server(t):
    w = World(t, "alone")
    go_through(w, "a fork without a server", forking(w, Alone), share(t, 2, once=True))


@test
def an_adoption(t):
    for link in ((), ("--link",)):
        w = World(t, "adopt" + "".join(link))
        # A loose object is one write into the pack that takes it, and the folder may have some hundreds.
        go_through(w, "an adoption", adopting(w, *link), share(t, 2), most=5000)


@test
def maintenance(t):
    w = World(t, "maintain")

    def act(what, failing):
        job = w.job("maintain", w.source)
        met = w.control.failed()
        w.control.clear()
        w.whole(w.source, w.lanes[w.source].refs, w.lanes[w.source].objects, what)
        expect(job is None or job["state"] == "done" or job["error"]["message"], f"{what}: its end", job)
        if not met or w.random.random() < 0.3:
            for kind in ("rewind", "small", "files"):
                w.push(w.source, kind)
        return job is not None and job["state"] == "done"
    go_through(w, "maintenance", act, share(t, 2))


@test
def an_export(t):
    w = World(t, "export")

    def act(what, failing):
        path = t.path(w.name())
        job = w.job("export", w.source, path)
        w.control.clear()
        done = job is not None and job["state"] == "done"
        # What failed after the folder got its name is there, and whole.
        expect(os.path.isdir(path) or not done, f"{what}: done, and not there")
        begun = [name for name in os.listdir(os.path.dirname(path)) if name.startswith(os.path.basename(path) + ".")]
        expect(not begun or w.control.failed(), f"{what}: left over", begun)
        if os.path.isdir(path):
            same(t.git.refs(path), w.lanes[w.source].refs, f"{what}: refs")
            t.git("fsck", "--full", "--strict", "--no-dangling", cwd=path)
            shutil.rmtree(path)
        return done
    go_through(w, "an export", act, share(t, 2))


@test
def a_deletion(t):
    w = World(t, "deletion")

    def act(what, failing):
        w.control.clear()
        repo_id = w.repo()
        failing()
        reply = w.account.api.delete(f"/git/v1/repo/{repo_id}")
        expect(reply.status in (200, 500, 503), f"{what}: the answer", reply.status)
        answered = reply.status == 200
        if answered:
            same(w.account.api.get(f"/git/v1/repo/{repo_id}").status, 404, f"{what}: it is gone")
            # Its files go while calls fail, or later.
            wait_for(lambda: w.control.failed() or not w.server.files("repos", repo_id[:2], repo_id[2:4]), f"{what}: its files")
            if w.control.lasts:
                w.goes_on(w.other, what)
        w.control.clear()
        if not answered:
            w.account.api.delete(f"/git/v1/repo/{repo_id}").empty()
        return answered
    go_through(w, "a deletion", act, share(t, 2))
