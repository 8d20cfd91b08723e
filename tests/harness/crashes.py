"""Round after round on one data folder: pushes, checkpoints, forks, adoptions, exports and deletions until the server is
killed; it starts again, at times is killed in that too, and everything is looked over.

A kill comes at a random instant, or in the n-th call of one kind (harness/disk.py). Some rounds kill a command that
works without a server. The time of day moves on between rounds, so that what no ref reaches is dropped after its grace.
"""
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time

from harness.api import Api
from harness.clock import Clock
from harness.core import Fail, expect, same, slowness, wait_for, warren
from harness.disk import CRASH, Control, environment
from harness.raw import Gone, Wire, check_clone
from harness.server import Repo, Server, clean_environment, run_warren
from harness.traffic import Lane, check_lanes
from harness.whole import Bare, Errand, Whole, ended_jobs, most_links, rows, strays, unnamed, until_none
from harness.workers import running

GRACE = 7200
CALLS = ["write", "flush", "rename", "create", "size", "mkdir", "unlink", "map", "open"]
# How often a thread of errands takes which; without a server only the first four.
ERRANDS = {"fork": 6, "adopt": 2, "export": 2, "maintain": 2, "delete": 3, "create": 2}


class Rounds:
    PER_FOLDER = 100
    MOST = 6  # repositories, beside those that a round makes

    def __init__(self, t, seed):
        self.t, self.seed = t, seed
        self.control, self.clock = Control(t.path("control")), Clock(t.path("clock"))
        self.server = Server(config=f"[git]\ncruft_grace = {GRACE}s\n")
        t.stack.callback(self.server.remove)
        Lane.now = staticmethod(lambda: self.clock.now_ms() / 1000)
        t.stack.callback(setattr, Lane, "now", staticmethod(time.time))
        os.mkdir(self.server.data, 0o700)
        self.server.env = environment(self.server.data, control=self.control.path, clock=self.clock)
        self.server.start()
        self.account = self.server.account()
        self.lock = threading.Lock()  # lanes and what is known of errands
        self.wholes, self.errands = {}, []
        self.pushes = self.made = self.kept = 0
        self.counts = {}
        r = random.Random(f"{seed}:bare")
        self.bares = [Bare(t.git, t.path(f"bare{i}.git"), f"bare{i}", r) for i in range(2)]
        self.stopping = threading.Event()

    def round(self, n):
        r = random.Random(f"{self.seed}:{n}")
        what = f"seed {self.seed}, round {n}"
        if not self.wholes or r.random() < 0.2:
            self.new_repo(r)
        for lane in (lane for whole in self.wholes.values() for lane in whole.lanes):
            lane.random = random.Random(r.random())
        if r.random() < 0.12:
            self.alone(r, what)
        else:
            self.until_killed(r)
        self.start(r)
        self.look(r, what, n % 10 == 9)

    def name(self):
        with self.lock:
            self.made += 1
            return f"r{self.made}"

    def new_repo(self, r):
        name = self.name()
        repo_id = self.account.repo(name=name).id
        self.wholes[repo_id] = Whole(repo_id, [Lane(f"{name}w{i}", r) for i in range(r.choice([1, 1, 2, 3]))])

    # What goes on.

    def until_killed(self, r):
        self.stopping.clear()
        pushed, troubles = [], []

        def guard(function, *args):
            try:
                function(*args)
            except Gone:
                pass
            except BaseException as e:
                troubles.append(e)

        threads = [threading.Thread(target=guard, args=(self.push, whole, lane, pushed))
                   for whole in self.wholes.values() for lane in whole.lanes if r.random() < 0.7]
        if r.random() < 0.6:
            threads.append(threading.Thread(target=guard, args=(self.checkpoints, random.Random(r.random()))))
        threads += [threading.Thread(target=guard, args=(self.run_errands, random.Random(r.random())))
                    for _ in range(r.choice([0, 1, 1, 2]))]
        self.armed = r.random() < 0.4
        if self.armed:
            self.arm(r, 60)
        for thread in threads:
            thread.start()
        self.let_go_on(r, pushed, troubles)
        self.stopping.set()
        if self.armed:
            self.count("in a call" if self.control.failed() else "not in a call")
        self.server.kill()
        for thread in threads:
            thread.join()
        self.control.clear()
        self.pushes += len(pushed)
        if troubles:
            raise troubles[0]

    def arm(self, r, most):
        """Whoever makes the n-th call dies; mostly an early one, since some calls are rare."""
        place = r.choice(["/repos/", "/repos/", "/run/", "warren.db"])
        self.control.fail(r.choice(CALLS), CRASH, int(r.random() ** 3 * most), 1, path=place)

    def let_go_on(self, r, pushed, troubles):
        until = time.monotonic() + (0.5 if self.armed else r.uniform(0, 0.25)) * slowness()
        count = r.randrange(1, 25) if r.random() < 0.3 else 1 << 30
        while time.monotonic() < until and len(pushed) < count and not troubles:
            if self.armed and self.control.failed():
                break
            time.sleep(0.002)
        time.sleep(r.uniform(0, 0.006))

    def excused(self):
        """Whether something may go wrong that was asked of the server."""
        return self.stopping.is_set() or (self.armed and self.control.failed())

    def push(self, whole, lane, pushed):
        wire = Wire(self.server.url, self.account.key)
        while not self.stopping.is_set():
            with self.lock:
                commands, pack, atomic = lane.prepare()
                whole.opened(lane)
            said = wire.push(whole.id, commands, pack, atomic)
            if not said.ok and (whole.deleting or self.excused()):
                return
            expect(said.ok, f"{lane.name}: a push", said, commands)
            with self.lock:
                whole.opened(lane)  # a commit by API may be another one than was foretold
                lane.settled()
            pushed.append(lane)

    def checkpoints(self, r):
        while not self.stopping.is_set():
            time.sleep(r.uniform(0, 0.02))
            whole = r.choice(list(self.wholes.values()))
            if self.stopping.is_set():
                return
            status, _, err = self.command("repo", "checkpoint", whole.id)
            expect(status == 0 or self.excused() or whole.deleting, "a checkpoint", status, err)

    def command(self, *args):
        return run_warren(*args, "--data", self.server.data, env=self.server.env)

    def run_errands(self, r):
        while not self.stopping.is_set():
            kind = r.choices(list(ERRANDS), list(ERRANDS.values()))[0]
            self.count(kind)
            if kind == "delete":
                self.delete(r)
            elif kind == "create":
                self.create(r)
            else:
                self.queue(r, kind)
            time.sleep(r.choice([0, 0, r.uniform(0, 0.02)]))

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def delete(self, r):
        with self.lock:
            left = [whole for whole in self.wholes.values() if not whole.deleting]
            if len(left) < 2:
                return
            whole = r.choice(left)
            whole.deleting = True
        status, body = Wire(self.server.url, self.account.key).request("DELETE", f"/git/v1/repo/{whole.id}")
        expect(status == 200 or self.excused(), "a deletion", status, body)
        whole.deleted = status == 200

    def create(self, r):
        """A repository, and its first push or two."""
        lane = Lane(f"{self.name()}w0", random.Random(r.random()))
        wire = Wire(self.server.url, self.account.key)
        errand = Errand("create", lane.name, {}, [lane])
        self.errands.append(errand)
        status, body = wire.request("POST", "/git/v1/repo", json.dumps({"name": errand.name}).encode(),
                                    {"Content-Type": "application/json"})
        if status != 200 and self.excused():
            return
        same(status, 200, f"a creation: {body}")
        errand.repo_id = json.loads(body)["repoId"]
        for _ in range(r.randrange(1, 3)):
            commands, pack, atomic = lane.prepare()
            said = wire.push(errand.repo_id, commands, pack, atomic)
            if not said.ok and self.excused():
                return
            expect(said.ok, f"{lane.name}: a first push", said, commands)
            lane.settled()

    # Jobs.

    def errand(self, r, kind):
        """(an errand, the words of its command), or None where there is nothing to do it with."""
        name = self.name()
        with self.lock:
            left = [whole for whole in self.wholes.values() if not whole.deleting]
            if kind == "adopt":
                bare = r.choice(self.bares)
                errand = Errand(kind, name, {ref: {oid} for ref, oid in bare.refs.items()}, [bare.lane])
                words = ["adopt", self.account.name, bare.path, "--name", name, *self.link(r)]
            elif not left:
                return None
            else:
                errand, words = self.errand_from(r, kind, name, r.choice(left))
            self.errands.append(errand)
        return errand, words

    @staticmethod
    def link(r):
        return ["--link"] if r.random() < 0.5 else []

    def errand_from(self, r, kind, name, whole):
        errand = Errand(kind, name, whole.values(), list(whole.lanes))
        errand.source = whole
        whole.errands.append(errand)
        if kind == "fork":
            words = ["fork", whole.id, "--name", name]
            if r.random() < 0.25:
                errand.branch = r.choice(whole.lanes).ref()
                words += ["--branch", errand.branch.removeprefix("refs/heads/")]
        elif kind == "export":
            errand.path = self.t.path(f"export-{name}")
            words = ["export", whole.id, errand.path, *self.link(r)]
        else:
            words = ["maintain", whole.id] + (["--redelta"] if r.random() < 0.3 else [])
        return errand, words

    def queue(self, r, kind):
        made = self.errand(r, kind)
        if made is None:
            return
        errand, words = made
        status, out, err = self.command("repo", *words, "--detach")
        if status != 0:
            gone = errand.source is not None and errand.source.deleting
            expect(self.excused() or gone, f"{kind}: a refusal", status, err)
            errand.refused = not self.excused()
            return
        said = json.loads(out)
        errand.job_id, errand.repo_id = said["jobId"], said["repoId"]
        while not self.stopping.is_set() and r.random() < 0.9:
            status, out, err = self.command("job", "show", errand.job_id)
            if status == 0 and json.loads(out)["endedAt"]:
                return

    def alone(self, r, what):
        """A command without a server, killed."""
        self.stopping.clear()
        self.armed = r.random() < 0.6
        if r.random() < 0.5:
            pids = self.server.pids()
            self.server.kill()
            # Who still dies may have the control socket yet.
            wait_for(lambda: not any(running(pid) for pid in pids), "the end of the killed")
        else:
            self.server.stop()
        for _ in range(r.randrange(1, 4)):
            kind = r.choice(list(ERRANDS)[:4])
            made = self.errand(r, kind)
            if made is None:
                continue
            self.count(kind + " alone")
            if self.armed:
                self.arm(r, 80)
            self.run_alone(r, *made, what)
            self.control.clear()

    def run_alone(self, r, errand, words, what):
        child = subprocess.Popen([warren(), "repo", *words, "--data", self.server.data], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=clean_environment(self.server.env), start_new_session=True)
        if not self.armed and r.random() < 0.8:
            time.sleep(r.uniform(0, 0.06) * slowness())
            os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate(timeout=60 * slowness())
        if child.returncode == 0:
            errand.repo_id = json.loads(out).get("repoId")
            errand.done = True
        else:
            expect(child.returncode < 0 or errand.branch, f"{what}: {words} without a server", child.returncode, err)

    # Afterwards.

    def start(self, r):
        """Recovery has to bear a kill as well. For the next process it may be later."""
        if r.random() < 0.3:
            self.clock.move(1000 * r.randrange(GRACE // 4, GRACE * 2))
        for _ in range(r.choice([0, 0, 0, 0, 1, 2])):
            timer = threading.Timer(r.uniform(0.001, 0.06), self.kill_quietly)
            timer.start()
            try:
                self.server.start()
                self.touch()
            except (Fail, Gone):
                pass
            timer.join()
            if self.server.alive():
                self.server.kill()
        if r.random() < 0.25:
            self.arm(r, 40)
        try:
            self.server.start()
            self.touch()
        except (Fail, Gone):
            expect(self.control.failed(), "the server is gone", self.server.log_tail())
        self.control.clear()
        # A worker that died before it was ready takes its supervisor along.
        wait_for(lambda: not self.server.alive() or self.answers(), "an answer, or the server's end")
        if not self.server.alive():
            self.server.killed = True
            self.server.start()

    def kill_quietly(self):
        if self.server.process.poll() is None:
            try:
                os.killpg(self.server.process.pid, 9)
            except ProcessLookupError:
                pass

    def touch(self):
        """Opens the repositories: that is when they are recovered."""
        wire = Wire(self.server.url, self.account.key)
        for whole in self.wholes.values():
            if not whole.deleting:
                wire.refs(whole.id)

    def look(self, r, what, closely):
        jobs = ended_jobs(self.server, what)
        api = Api(self.server.url, self.account.key)
        wire = Wire(self.server.url, self.account.key)
        there = rows(api)
        for repo_id, whole in self.wholes.items():
            if repo_id in there and any(lane.open and lane.call is not None for lane in whole.lanes):
                refs = wire.refs(repo_id)
                for lane in whole.lanes:
                    if lane.late(refs):
                        whole.opened(lane)
        for repo_id, whole in list(self.wholes.items()):
            whole.errands = []
            if whole.deleting and repo_id not in there:
                del self.wholes[repo_id]
            expect(repo_id in there or whole.deleting, f"{what}: {repo_id} is gone")
            expect(repo_id not in there or not whole.deleted, f"{what}: {repo_id} is back")
            whole.deleting = False
        for errand in self.errands:
            self.settle(errand, there, jobs, wire, what)
        self.errands = []
        same(set(there), set(self.wholes), f"{what}: rows")
        for repo_id, whole in self.wholes.items():
            refs = wire.refs(repo_id)
            check_lanes(whole.lanes, refs, what)
            if closely or r.random() < 0.4:
                check_clone(wire, whole.objects(), repo_id, refs, what)
            if closely:
                self.look_closely(repo_id, refs, r, what)
        for bare in self.bares:
            bare.check(what)
        self.trim(api, r)
        until_none(lambda: strays(self.server, set(self.wholes)), f"{what}: nothing but repositories that are there")
        for repo_id in r.sample(list(self.wholes), min(2, len(self.wholes))):
            until_none(lambda repo_id=repo_id: unnamed(self.server, repo_id), f"{what}: nothing in {repo_id} that it does not name")
        api.close()
        wire.close()

    def answers(self):
        try:
            return Wire(self.server.url, self.account.key).request("GET", "/healthz")[0] == 200
        except Gone:
            return False

    def look_closely(self, repo_id, refs, r, what):
        copy = self.t.git.mirror(Repo(self.account, repo_id).url(), self.t.path(f"copy-{repo_id}"), r.randrange(3))
        same(self.t.git.refs(copy), refs, f"{what}: refs of a clone by git")
        self.t.git("fsck", "--full", "--strict", "--no-dangling", cwd=copy)
        shutil.rmtree(copy)
        self.server.verify(repo_id)

    def settle(self, errand, there, jobs, wire, what):
        """What became of it: all there, or nothing."""
        what = f"{what}: {errand.kind} {errand.name}"
        job = jobs.get(errand.job_id)
        expect(job or not errand.job_id, f"{what}: its job is gone")
        if job and job["state"] != "done":
            self.failed(errand, job, what)
        if errand.kind == "export":
            self.settle_export(errand, job, what)
        if errand.kind in ("export", "maintain"):
            return
        ids = [repo_id for repo_id, name in there.items() if name == errand.name]
        acknowledged = errand.done or (job and job["state"] == "done") or (errand.kind == "create" and errand.repo_id)
        expect(len(ids) == 1 if acknowledged else len(ids) <= 1, f"{what}: its row", ids)
        expect(not ids or not errand.refused and (not job or acknowledged), f"{what}: a row of what failed", job)
        if not ids:
            return
        expect(errand.repo_id in (None, ids[0]), f"{what}: another id", ids)
        if errand.kind == "create":
            self.wholes[ids[0]] = Whole(ids[0], errand.lanes)
            return
        refs = wire.refs(ids[0])
        errand.check(refs, what)
        self.wholes[ids[0]] = Whole(ids[0], errand.settle(refs, random.Random(errand.name)))
        self.server.verify(ids[0])
        self.kept += 1

    def failed(self, errand, job, what):
        source = errand.source
        if source is not None and source.id not in self.wholes:
            return
        if errand.kind == "export" and os.path.isdir(errand.path) and "already" in job["error"]["message"]:
            return
        expect(errand.may_fail(job["error"]), f"{what}: its job", job, self.server.log_tail())

    def settle_export(self, errand, job, what):
        """A folder with that name is whole."""
        if os.path.isdir(errand.path):
            refs = self.t.git.refs(errand.path)
            errand.check(refs, what)
            self.t.git("fsck", "--full", "--strict", "--no-dangling", cwd=errand.path)
            shutil.rmtree(errand.path)
            self.kept += 1
        else:
            expect(not errand.done and (not job or job["state"] != "done"), f"{what}: done, and not there")
        begun = [name for name in os.listdir(self.t.tmp) if name.startswith(os.path.basename(errand.path) + ".new-")]
        # The job that began again has removed it; without a job nobody asked for one.
        expect(not begun or not job or job["state"] != "done", f"{what}: left over", begun)
        for name in begun:
            shutil.rmtree(self.t.path(name))

    def trim(self, api, r):
        while len(self.wholes) > self.MOST:
            repo_id = r.choice(list(self.wholes))
            del self.wholes[repo_id]
            api.delete(f"/git/v1/repo/{repo_id}").empty()

    def close(self):
        """All goes, and what was taken in by links is its owner's alone again."""
        api = Api(self.server.url, self.account.key)
        for repo_id in self.wholes:
            api.delete(f"/git/v1/repo/{repo_id}").empty()
        api.close()
        until_none(lambda: strays(self.server, set()), "nothing left")
        for bare in self.bares:
            same(most_links(bare.path), 1, "links to what was taken in")
        self.server.stop()
        print(f"killed: {self.pushes} pushes, {self.kept} made by jobs, {self.counts}", flush=True)
