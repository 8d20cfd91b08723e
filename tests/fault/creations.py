"""Creations of every kind, ended at each step: kill -9, SIGTERM, or a next program that takes over. What was acknowledged is
there, whole; else nothing is, neither row nor folder, spool or job that goes on.

A step is a change of the disk (harness/disk.py): in between, nothing that a next process could find is any different. A run
takes some of each kind; `make crash-long` goes on with Rounds, through all of them (some 1,200) and again."""
import glob
import io
import os
import random
import signal
import sqlite3
import tarfile
import threading

from harness import Server, expect, same, test, wait_for
from harness.core import sanitized, slowness
from harness.disk import CRASH, Control, environment
from harness.elsewhere import Elsewhere, GitServer, answer
from harness.raw import Gone, Wire
from harness.whole import strays, until_none
from harness.workers import logged, running, worker

COST = 25
CONFIG = "[sources]\nallow_private_networks = true\n"
CHANGES = "write+flush+rename+create+size+mkdir+unlink"
ASYNC = {"Prefer": "respond-async"}
NEVER = 1 << 30
NAME = "the same each time"


def tar_of(work, *names):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as out:
        for name in names:
            out.add(os.path.join(work, name), name)
    return tar.getvalue()


def repo_rows(server):
    """{id: state} of all repositories, as the database has them."""
    db = sqlite3.connect(f"file:{server.data}/warren.db?mode=ro", uri=True, timeout=30)
    try:
        return dict(db.execute("SELECT id, state FROM repo"))
    finally:
        db.close()


class World:
    """A server whose steps are counted, its own repository as a source, and the same on two servers elsewhere."""

    def __init__(self, t):
        self.t = t
        data = t.path("data")
        os.mkdir(data, 0o700)
        self.control = Control(t.path("control"))
        self.server = Server(data=data, config=CONFIG, env=environment(data, control=self.control.path))
        t.stack.callback(self.server.remove)
        self.server.start()
        self.account = self.server.account()
        self.fill()
        self.jobs, self.counted = set(), {}
        self.turn = 0

    def fill(self):
        t = self.t
        work = t.git.init(t.path("work"))
        t.git.commit(work, {"a": "1\n", "dir/b": "b\n"}, "one")
        t.git("branch", "side", cwd=work)
        # More than goes into a journal's record.
        t.git.commit(work, {"a": "2\n", "large": t.random.randbytes(1_500_000)}, "two")
        self.source = self.account.repo(name="source", defaultBranch="main")
        t.git("push", "-q", self.source.url(), "main", "side", cwd=work)
        self.server.cli("repo", "checkpoint", self.source.id)
        t.git.commit(work, {"a": "3\n"}, "three")
        t.git("push", "-q", self.source.url(), "main", cwd=work)
        t.git.mirror(work, t.path("served", "r.git"))
        self.refs = {ref: t.git.rev(work, ref) for ref in ("refs/heads/main", "refs/heads/side")}
        self.tree = t.git.rev(work, "main^{tree}")
        self.one_file = t.git("mktree", cwd=work, data=f"100644 blob {t.git.rev(work, 'main:a')}\ta\n".encode()).strip()
        self.git_url = GitServer(t, t.path("served")).url + "/r.git"
        self.tar_url = Elsewhere(t, {"/a.tar": answer(200, tar_of(work, "a", "dir", "large"))}).url + "/a.tar"

    def kinds(self):
        """{name: (what is asked for, whether it is a job, {ref: id} or the tree that comes of it)}"""
        own = f"{self.server.url}/{self.source.id}"
        main = {"refs/heads/main": self.refs["refs/heads/main"]}
        files = {"type": "files", "files": {"a": "3\n"}, "commitMessage": "m"}
        return {
            "empty": ({}, False, {}),
            "own fork": ({"source": {"url": own, "allBranches": True}}, False, self.refs),
            "own fork cut short": ({"source": {"url": own, "depth": 1}}, False, main),
            "own fork as a job": ({"source": {"url": own}}, True, main),
            "source": ({"source": {"url": self.git_url, "allBranches": True}}, True, self.refs),
            "files": ({"import": files}, False, self.one_file),
            "tar": ({"import": {"type": "tar", "url": self.tar_url, "commitMessage": "m"}}, True, self.tree),
            "git": ({"import": {"type": "git", "url": self.git_url, "commitMessage": "m"}}, True, self.tree),
            "own git": ({"import": {"type": "git", "url": own, "commitMessage": "m"}}, True, self.tree),
        }

    # One creation.

    def ask(self, kind, headers=None):
        """(status, what was said), or None: the connection broke."""
        api = self.server.api(self.account.key)
        try:
            reply = api.post("/git/v1/repo", {"name": NAME, **self.kinds()[kind][0]}, headers=headers or {})
        except OSError:
            return None
        finally:
            api.close()
        return reply.status, reply.json

    def steps(self, kind):
        """How many there are of one that goes well."""
        self.control.fail(CHANGES, CRASH, NEVER)
        headers = ASYNC if self.kinds()[kind][1] else {}
        status, said = self.ask(kind, headers)
        same(status, 202 if headers else 200, f"{kind}: status")
        if headers:
            self.ended(said["jobId"])
        n = self.control.seen()
        self.control.clear()
        self.whole(kind, said["repoId"], kind)
        self.remove(said["repoId"])
        return n

    def ended(self, job_id):
        return wait_for(lambda: next((j for j in [self.account.api.get(f"/git/v1/job/{job_id}").ok()] if j["endedAt"]), None),
                        "the job's end")

    def whole(self, kind, repo_id, what):
        """All of it is there."""
        wanted = self.kinds()[kind][2]
        row = self.account.api.get(f"/git/v1/repo/{repo_id}").ok()
        same((row["name"], row["defaultBranch"]), (NAME, "main"), f"{what}: its row")
        wire = Wire(self.server.url, self.account.key)
        refs = wire.refs(repo_id)
        wire.close()
        if isinstance(wanted, dict):
            same(refs, wanted, f"{what}: refs")
        else:
            same(sorted(refs), ["refs/heads/main"], f"{what}: refs")
            commit = self.account.api.get(f"/git/v1/repo/{repo_id}/git/commits/{refs['refs/heads/main']}").ok()
            same((commit["tree"]["sha"], commit["parents"]), (wanted, []), f"{what}: its commit")
        self.server.verify(repo_id)

    def remove(self, repo_id):
        """And waits until it is gone, lest its removal be among the steps of what comes next."""
        self.account.api.delete(f"/git/v1/repo/{repo_id}").empty()
        wait_for(lambda: not self.rows(), "the removal of a row")

    # What is left.

    def rows(self):
        """{id: state} of all repositories but the source."""
        return {i: state for i, state in repo_rows(self.server).items() if i != self.source.id}

    def new_jobs(self):
        """Those that were not there before, once they have ended."""
        def look():
            found = self.account.api.get("/git/v1/job?limit=100").ok()["jobs"]
            return None if any(not job["endedAt"] for job in found) else [(found, [j for j in found if j["id"] not in self.jobs])]
        found, new = wait_for(look, "jobs to end")[0]
        self.jobs = {job["id"] for job in found}
        return new

    def judge(self, kind, said, what, may_break):
        """said: of ask(). The next process, or the same, serves by now."""
        expect(said is not None or may_break, f"{what}: a connection without an answer")
        self.account.api.close()
        wait_for(self.answers, f"{what}: an answer")
        jobs = self.new_jobs()
        expect(len(jobs) <= 1, f"{what}: jobs", jobs)
        job = jobs[0] if jobs else None
        accepted = said is not None and said[0] == 202
        expect(job or not accepted, f"{what}: a job that was acknowledged")
        done = said[0] == 200 if not accepted and said else job["state"] == "done" if job else None
        expect(not job or done is None or (job["state"] == "done") == done, f"{what}: the job and the answer", job, said)
        if said and said[0] not in (200, 202):
            same(said[0], 503, f"{what}: a refusal: {said}")
        live = lambda: sorted(i for i, state in self.rows().items() if state == "live")
        wait_for(lambda: set(self.rows()) == set(live()), f"{what}: the end of rows")
        there = live()
        # Without an answer, and without a job that says so, it may be complete.
        expect(len(there) == (1 if done else 0) or (done is None and len(there) == 1), f"{what}: rows", there, said, job)
        until_none(lambda: strays(self.server, {self.source.id, *there}), f"{what}: nothing else")
        listed = self.account.api.get("/git/v1/repo").ok()["repositories"]
        same(sorted(row["id"] for row in listed), sorted([self.source.id, *there]), f"{what}: the list")
        if there:
            known = said[1]["repoId"] if done and said else job["repoId"] if job else there[0]
            same(there[0], known, f"{what}: its id")
            self.whole(kind, there[0], what)
            self.remove(there[0])

    def wait_for_step(self, said, what):
        """Until the armed step came, or the job that was asked for has ended without it."""
        def over():
            if self.control.failed():
                return True
            try:
                return self.server.api(self.account.key).get(f"/git/v1/job/{said[1]['jobId']}").ok()["endedAt"]
            except OSError:
                return True
        if said is not None and said[0] == 202:
            wait_for(over, f"{what}: the step")

    def close(self):
        self.server.stop()
        same(self.server.files("run"), {}, "files in run/")
        left = {os.path.basename(p) for p in glob.glob(os.path.join(self.server.data, "repos", "*", "*", "*"))}
        same(left, {f"{self.source.id}.git"}, "folders")

    def answers(self):
        wire = Wire(self.server.url, self.account.key)
        try:
            return wire.request("GET", "/healthz")[0] == 200
        except Gone:
            return False
        finally:
            wire.close()


# How one is ended at a step, whether its client may go without an answer then, and what of it there has to be.

def kill(w, kind, step, headers, what):
    w.turn += 1
    w.control.fail(CHANGES, CRASH, step, 1)
    said = w.ask(kind, headers)
    w.wait_for_step(said, what)
    # The supervisor goes on with another worker; or all of it is gone.
    if w.turn % 2:
        w.server.kill()
        w.control.clear()
        w.server.start()
    w.control.clear()
    w.judge(kind, said, what, True)


def stop(w, kind, step, headers, what):
    w.control.fail(CHANGES, -signal.SIGTERM, step, 1)
    said = w.ask(kind, headers)
    w.wait_for_step(said, what)
    if not w.control.failed():
        w.server.terminate()
    same(w.server.wait(), 0, f"{what}: exit status")
    w.server.process.stdout.close()
    w.control.clear()
    w.server.start()
    w.judge(kind, said, what, False)


def hand_over(w, kind, step, headers, what):
    before = wait_for(lambda: worker(w.server), "one worker")
    w.control.fail(CHANGES, -signal.SIGUSR2, step, 1)
    said = w.ask(kind, headers)
    w.wait_for_step(said, what)
    w.control.clear()
    if not w.control.failed():
        os.kill(w.server.pid, signal.SIGUSR2)
    expect(said is None or said[0] in (200, 202), f"{what}: what was begun is ended", said)
    w.account.api.close()
    wait_for(lambda: not running(before) and worker(w.server), f"{what}: the next program alone")
    w.judge(kind, said, what, False)


def one(w, kind, step, end, random):
    """The step is counted from the beginning again where there are not so many."""
    if kind not in w.counted:
        w.counted[kind] = w.steps(kind)
        expect(w.counted[kind] > 2, f"{kind}: steps", w.counted)
        w.new_jobs()
    step %= w.counted[kind]
    headers = ASYNC if w.kinds()[kind][1] and random.random() < 0.5 else {}
    end(w, kind, step, headers, f"{kind}, {end.__name__} at {step} of {w.counted[kind]}{' as a job' if headers else ''}")


def over_all(t, end, each):
    """So many steps of each kind."""
    w = World(t)
    for kind in w.kinds():
        for _ in t.rounds(1 if sanitized() else each):
            one(w, kind, t.random.randrange(1 << 20), end, t.random)
    w.close()


class Rounds:
    """One after the other of each kind's steps, ended in one way or another."""
    PER_FOLDER = 1 << 20

    def __init__(self, t, seed):
        self.world, self.seed = World(t), seed
        self.server = self.world.server

    def round(self, n):
        kinds = list(self.world.kinds())
        r = random.Random(f"{self.seed}:{n}")
        one(self.world, kinds[n % len(kinds)], n // len(kinds), r.choice([kill, kill, kill, stop, hand_over]), r)

    def close(self):
        self.world.close()


@test
def killed_at_some_step(t):
    over_all(t, kill, 2)


@test
def stopped_at_some_step(t):
    over_all(t, stop, 1)


@test
def handed_over_at_some_step(t):
    over_all(t, hand_over, 1)


def in_two(data, begun, go):
    """An answer's bytes, the second half of them when go is set."""
    def say(_request):
        yield data[:len(data) // 2]
        begun.release()
        go.wait(60 * slowness())
        yield data[len(data) // 2:]
    return say


def waiting(server, account, wishes):
    """Asks for each on a connection of its own; what gives the answers once they are there."""
    replies = {}

    def ask(name, wish, headers):
        api = server.api(account.key)
        replies[name] = api.post("/git/v1/repo", {"name": name, **wish}, headers=headers)
        api.close()
    threads = [threading.Thread(target=ask, args=(name, wish, headers)) for name, (wish, headers) in wishes.items()]

    def answers():
        for thread in threads:
            thread.join()
        return replies
    for thread in threads:
        thread.start()
    return answers


def held(t, server, begun, go):
    """{name: (what is asked for, headers)}: sources that stop in the middle, for who waits and who does not."""
    work = t.git.init(t.path("held"))
    t.git.commit(work, {"a": t.random.randbytes(200_000)})
    tar = answer(200, tar_of(work, "a"))
    pack = GitServer(t, t.path("bare"))
    t.git.mirror(work, t.path("bare", "r.git"))
    elsewhere = Elsewhere(t, {"/a.tar": in_two(tar, begun, go)})

    def slowly(request):
        parts = list(pack.backend(request))
        return in_two(b"".join(parts), begun, go)(request) if any(b"PACK" in p for p in parts) else parts
    for path in ("/r.git/info/refs", "/r.git/git-upload-pack"):
        elsewhere.routes[path] = slowly
    source = {"source": {"url": f"{elsewhere.url}/r.git"}}
    imports = {"import": {"type": "tar", "url": f"{elsewhere.url}/a.tar", "commitMessage": "m"}}
    return {"source": (source, {}), "tar": (imports, {}), "source job": (source, ASYNC), "tar job": (imports, ASYNC)}, t.git.rev(work)


def while_they_wait(t, patience, end):
    """A hand-over while creations wait in the middle of what they fetch; end(go) says whether they get the rest."""
    server = t.own_server(config=f"{CONFIG}[server]\nstop_timeout = {patience}\n")
    account, begun, go = server.account(), threading.Semaphore(0), threading.Event()
    t.stack.callback(go.set)
    wishes, tip = held(t, server, begun, go)
    answers = waiting(server, account, wishes)
    for _ in wishes:
        expect(begun.acquire(timeout=60 * slowness()), "a source that is asked")
    before = wait_for(lambda: worker(server), "one worker")
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: logged(server, "server.handing_over"), "the hand-over")
    rows = lambda: account.api.get("/git/v1/repo").ok()["repositories"]
    same(rows(), [], "what the next program lists meanwhile")
    end(go)
    replies = answers()
    wait_for(lambda: not running(before), "the end of the old worker")
    jobs = account.api.get("/git/v1/job").ok()["jobs"]
    same((len(jobs), all(job["endedAt"] for job in jobs)), (4, True), "jobs")
    for name, (_, headers) in wishes.items():
        same(replies[name].status == 202, bool(headers), f"{name}: the answer")
    return server, account, replies, jobs, tip


@test
def who_waits_over_a_hand_over_gets_what_was_asked_for(t):
    server, account, replies, jobs, tip = while_they_wait(t, "60s", lambda go: go.set())
    same({job["state"] for job in jobs}, {"done"}, "jobs")
    made = {name: reply.json["repoId"] for name, reply in replies.items()}
    listed = {row["name"]: row["id"] for row in account.api.get("/git/v1/repo").ok()["repositories"]}
    same(listed, made, "repositories")
    wire = Wire(server.url, account.key)
    for name, repo_id in made.items():
        refs = wire.refs(repo_id)
        expect(list(refs) == ["refs/heads/main"] and (refs["refs/heads/main"] == tip or "tar" in name), f"{name}: refs", refs)
        server.verify(repo_id)
    wire.close()


@test
def who_waits_too_long_over_a_hand_over_hears_of_it(t):
    server, _, replies, jobs, _ = while_they_wait(t, "800ms", lambda go: None)
    for name, reply in replies.items():
        if reply.status != 202:
            expect("stopped" in reply.error("UNAVAILABLE")["message"], f"{name}: a sentence", reply.json)
    same({(job["state"], job["error"]["code"]) for job in jobs}, {("failed", "UNAVAILABLE")}, "jobs")
    wait_for(lambda: not repo_rows(server), "the removal of rows")
    until_none(lambda: strays(server, ()), "nothing left")
