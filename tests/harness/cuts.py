"""Power cuts: sessions whose writes are noted, and the judge of what a cut left (harness/disk.py makes it).

A session runs scenes on a watched server and marks in its log what was begun and what was acknowledged; around every
flush of it there are cuts, and on each folder that one leaves a server has to serve what was acknowledged by then."""
import concurrent.futures
import json
import os
import random
import shutil
import threading
import time

from harness.clock import Clock
from harness.core import expect, same, wait_for
from harness.disk import FLUSH, FLUSHED, MARK, Choice, Control, Disk, Notes, environment
from harness.pkt import pack
from harness.raw import Gone, Wire, check_clone
from harness.server import Account, Repo, Server, run_warren
from harness.traffic import Everyone, Lane
from harness.whole import ENDED, Bare, Errand, ended_jobs, rows, strays, unnamed, until_none

GRACE = 7200
CONFIG = f"[git]\ncruft_grace = {GRACE}s\n"
# Each server's own view of the disk's folders, so that jobs mean the same after a cut.
HERE = "/proc/self/cwd"


class Session:
    """A watched server, and marks in its log of what was begun and what was acknowledged."""

    def __init__(self, t, seed):
        self.t, self.random = t, random.Random(f"{seed}:session")
        self.folder = t.path(f"session-{seed}")
        self.disk = os.path.join(self.folder, "disk")
        self.data = os.path.join(self.disk, "data")
        for name in ("bare", "out"):
            os.makedirs(os.path.join(self.disk, name))
        self.bare = Bare(t.git, os.path.join(self.disk, "bare", "it.git"), "bare", self.random)
        self.notes = Notes(os.path.join(self.folder, "log"))
        self.notes.begin(self.disk)
        self.control = Control(os.path.join(self.folder, "control"))
        self.clock = Clock(os.path.join(self.folder, "clock"))
        self.env = environment(self.disk, self.notes.path, self.control.path, self.clock)
        self.server = Server(data=self.data, env=self.env, config=CONFIG, cwd=self.disk)
        t.stack.callback(self.server.remove, check=False)
        self.server.may_fail = True
        Lane.now = staticmethod(lambda: self.clock.now_ms() / 1000)
        t.stack.callback(setattr, Lane, "now", staticmethod(time.time))
        self.server.start()
        self.account = self.server.account("a")
        self.notes.mark(account=True)
        self.lanes, self.count, self.cuts, self.lock = {}, 0, 0, threading.Lock()  # lanes of each repository
        self.errands = {}
        self.others = {}  # number to what a commit by API became instead of what was foretold

    def scene(self, name, function):
        self.notes.mark(scene=name)
        function(self)

    def repo(self, lanes=1):
        name = self.number()
        self.notes.mark(creating=f"x{name}")
        repo_id = self.account.repo(name=f"x{name}").id
        self.notes.mark(made=repo_id, name=f"x{name}")
        self.lanes[repo_id] = []
        for _ in range(lanes):
            self.lane(repo_id)
        return repo_id

    def lane(self, repo_id):
        lane = Lane(f"w{len(self.lanes[repo_id])}", random.Random(self.random.random()))
        self.lanes[repo_id].append(lane)
        return lane

    def wire(self):
        return Wire(self.server.url, self.account.key)

    def number(self):
        with self.lock:
            self.count += 1
            return self.count

    def push(self, repo_id, lane, wire=None, strict=True, **kinds):
        """One push with its marks; the one of the acknowledgement is written before anybody learns of it."""
        lane.kinds = kinds or {"small": 1}
        return self.send(repo_id, lane, *lane.prepare(), wire, strict)

    def bring_back(self, repo_id, lane, ref, oid):
        """A push of what was there once, without its objects."""
        lane.open, lane.atomic = {ref: oid}, False
        self.send(repo_id, lane, {ref: (lane.refs.get(ref), oid)}, pack([]), False, None, True)

    def send(self, repo_id, lane, commands, pack, atomic, wire, strict):
        number, wanted = self.number(), lane.open
        self.notes.mark(begun=number, repo=repo_id, lane=lane.name, wanted=wanted, atomic=atomic)
        try:
            said = (wire or self.wire()).push(repo_id, commands, pack, atomic)
        except Gone:
            lane.reset()
            lane.open = None
            raise
        accepted = said.accepted()
        if lane.open != wanted:
            self.others[number] = lane.open
        # A refusal says that nothing changed, unless it says that this is not known.
        self.notes.mark(done=number, accepted=sorted(accepted), unknown=not accepted and "unknown" in str(said))
        expect(said.ok or not strict, "a push", said, self.server.log_tail())
        lane.settled(accepted)
        if not said.ok:
            lane.reset()
        return said

    def together(self, jobs):
        """Each job (a function) on a thread of its own."""
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result()

    def checkpoint(self, repo_id):
        status, _, err = run_warren("repo", "checkpoint", repo_id, "--data", self.data)
        same(status, 0, f"checkpoint: {err}")

    def delete(self, repo_id):
        self.notes.mark(deleting=repo_id)
        self.account.api.delete(f"/git/v1/repo/{repo_id}").empty()
        self.notes.mark(deleted=repo_id)

    def later(self, seconds):
        """The time of day moves on; a process that runs would take that for a mistake."""
        self.server.stop()
        self.clock.move(1000 * seconds)
        self.notes.mark(later=1000 * seconds)
        self.server.start()

    # Jobs.

    def errand(self, kind, *words, source=None, branch=None, path=None, alone=False):
        """One job with its marks, beside the server or without one; what it made has the lanes of its source from then on."""
        number = self.number()
        name = f"x{number}"
        lanes = self.lanes[source] if source else [self.bare.lane]
        self.errands[number] = lanes
        self.notes.mark(errand=number, kind=kind, name=name, source=source, branch=branch, path=path)
        if kind in ("fork", "adopt"):
            words += ("--name", name)
        if alone:
            self.server.stop()
            made = self.command("repo", kind, *words).get("repoId")
        else:
            made = self.command("repo", kind, *words, "--detach")
            self.notes.mark(queued=number, job=made["jobId"])
            job, made = made["jobId"], made["repoId"]
            wait_for(lambda: self.command("job", "show", job)["state"] in ENDED, f"{kind}: its end")
            state = self.command("job", "show", job)
            same(state["state"], "done", f"{kind}: {state}")
        self.notes.mark(ended=number)
        if alone:
            self.server.start()
        if kind in ("fork", "adopt"):
            refs = self.wire().refs(made)
            self.notes.mark(seen=made, refs=refs, of=number)
            self.lanes[made] = Errand(kind, name, {}, lanes, branch=branch).settle(refs, self.random)
        return made

    def command(self, *args):
        status, out, err = run_warren(*args, "--data", self.data, env=self.env, cwd=self.disk)
        same(status, 0, f"{args}: {err}")
        return json.loads(out)

    def emptied(self):
        """The folders of deleted repositories are gone."""
        there = rows(self.account.api)
        until_none(lambda: strays(self.server, there), "the removal of what was deleted")

    def end(self):
        if self.server.alive():
            self.server.stop()
        self.notes.close()
        return self.notes.read()


class Truth:
    """What the marks up to an instant say: what has to be there, and what may be."""

    def __init__(self):
        self.after = {}  # repository to a lane that the judge made
        self.account, self.scene, self.ahead = False, "", 0
        self.creating, self.errands = set(), {}  # names; number to a job that has not been seen to its end
        self.made, self.deleting, self.deleted = set(), set(), set()
        self.refs, self.open = {}, {}  # repository to refs; number to (repository, lane, wanted, atomic)

    def feed(self, m):
        if "account" in m:
            self.account = True
        elif "scene" in m:
            self.scene = m["scene"]
        elif "later" in m:
            self.ahead += m["later"]
        elif "creating" in m:
            self.creating.add(m["creating"])
        elif "made" in m:
            self.creating.discard(m["name"])
            self.made.add(m["made"])
            self.refs[m["made"]] = {}
        elif "errand" in m:
            self.errands[m["errand"]] = {**m, "choices": self.values(m["source"]), "job": None, "ended": False}
        elif "queued" in m:
            self.errands[m["queued"]]["job"] = m["job"]
        elif "ended" in m:
            self.errands[m["ended"]]["ended"] = True
            if self.errands[m["ended"]]["kind"] == "maintain":
                del self.errands[m["ended"]]
        elif "deleting" in m:
            self.deleting.add(m["deleting"])
        elif "deleted" in m:
            self.deleted.add(m["deleted"])
        elif "begun" in m:
            self.open[m["begun"]] = (m["repo"], m["lane"], m["wanted"], m["atomic"])
            for errand in self.errands.values():
                if errand["source"] == m["repo"] and not errand["ended"]:
                    for ref, new in m["wanted"].items():
                        errand["choices"].setdefault(ref, {self.refs[m["repo"]].get(ref)}).add(new)
        elif "seen" in m:
            if "of" in m:
                del self.errands[m["of"]]
                self.made.add(m["seen"])
            self.settle(m["seen"], m["refs"])
        elif "done" in m:
            if m["unknown"]:
                return
            repo_id, _, wanted, _ = self.open.pop(m["done"])
            for ref in m["accepted"]:
                if wanted[ref] is None:
                    self.refs[repo_id].pop(ref, None)
                else:
                    self.refs[repo_id][ref] = wanted[ref]

    def copy(self):
        other = Truth()
        other.account, other.scene, other.ahead = self.account, self.scene, self.ahead
        other.creating = set(self.creating)
        other.errands = {n: {**e, "choices": {ref: set(v) for ref, v in e["choices"].items()}} for n, e in self.errands.items()}
        other.made, other.deleting, other.deleted = set(self.made), set(self.deleting), set(self.deleted)
        other.refs, other.open = {k: dict(v) for k, v in self.refs.items()}, dict(self.open)
        return other

    def values(self, repo_id):
        """{ref: what it may be now}"""
        out = {ref: {oid} for ref, oid in self.refs.get(repo_id, {}).items()}
        for row in self.open.values():
            for ref, new in row[2].items() if row[0] == repo_id else ():
                out.setdefault(ref, {None}).add(new)
        return out

    def settle(self, repo_id, refs):
        """This was served: from here on it has to stay."""
        self.refs[repo_id] = dict(refs)
        self.open = {n: row for n, row in self.open.items() if row[0] != repo_id}

    def check(self, refs, repo_id, what):
        """The refs of a repository are what they may be."""
        opened = [row for row in self.open.values() if row[0] == repo_id]
        for ref in {*refs, *self.refs[repo_id], *[ref for row in opened for ref in row[2]]}:
            possible = {self.refs[repo_id].get(ref)} | {row[2][ref] for row in opened if ref in row[2]}
            expect(refs.get(ref) in possible, f"{what}: {ref}", refs.get(ref), possible)
        for _, _, wanted, atomic in opened:
            news = {ref: refs.get(ref) == new for ref, new in wanted.items() if self.refs[repo_id].get(ref) != new}
            expect(not atomic or len(set(news.values())) < 2, f"{what}: an atomic push is there in part", news)


class Judge:
    """Starts servers on folders that cuts have left, several at once."""

    def __init__(self, session, threads=2, keeps=True):
        self.s, self.t, self.keeps = session, session.t, keeps
        self.pool = concurrent.futures.ThreadPoolExecutor(threads)
        self.slots = threading.Semaphore(2 * threads)
        self.jobs, self.seen, self.checked = [], {}, 0

    def cut(self, disk, truth, choice, at, closely):
        """The folder now; it is looked over on another thread."""
        self.slots.acquire()
        if any(job.done() and job.exception() for job in self.jobs):
            self.slots.release()
            return
        self.checked += 1
        what = f"scene {truth.scene}, cut at note {at}, {choice}"
        self.s.cuts += 1
        path = os.path.join(self.s.folder, f"cut-{self.s.cuts}")
        disk.make(path, choice)
        truth = truth.copy()
        self.jobs.append(self.pool.submit(self.look, path, truth, what, closely))

    def look(self, path, truth, what, closely):
        try:
            clock = Clock(os.path.join(self.s.folder, os.path.basename(path) + ".clock"))
            clock.move(truth.ahead)
            server = Server(data=os.path.join(path, "data"), env=clock.environment, config=CONFIG, cwd=path)
            try:
                server.start()
                self.serves(server, truth, what, closely)
                server.kill()
                if closely:
                    server.start()
                    self.serves(server, truth, what + ", once more", False)
                    server.stop()
                server.check_log()
            except Exception as e:
                raise AssertionError(f"{what}: {e}\n{server.log_tail()}\n{self.keep(path, what)}") from None
            finally:
                server.remove(check=False)
            shutil.rmtree(path)
        finally:
            self.slots.release()

    def keep(self, path, what):
        """A folder that was refused is worth a look; the long run keeps it."""
        if not self.keeps or not os.environ.get("WARREN_KEEP"):
            return ""
        kept = os.path.join(os.environ["WARREN_KEEP"], "".join(c if c.isalnum() else "-" for c in what))
        shutil.copytree(path, kept, dirs_exist_ok=True, ignore=lambda d, names: [n for n in names if ".sock" in n])
        return f"the folder is kept in {kept}"

    def serves(self, server, truth, what, closely):
        if not truth.account:
            return
        account = Account(server, self.s.account.id, "a", self.s.account.key)
        wire = Wire(server.url, account.key)
        jobs = ended_jobs(server, what)
        there = rows(account.api)
        allowed = truth.made | {repo_id for repo_id, name in there.items() if name in truth.creating}
        for number in list(truth.errands):
            allowed |= self.settle(number, server, wire, truth, there, jobs, what)
        same(set(there) - allowed, set(), f"{what}: rows out of nowhere")
        for repo_id in truth.made:
            expect(repo_id not in truth.deleted or repo_id not in there, f"{what}: a deleted repository")
            if repo_id in truth.deleting and repo_id not in there:
                continue
            expect(repo_id in there, f"{what}: a repository that was made")
            refs = wire.refs(repo_id)
            truth.check(refs, repo_id, what)
            after = truth.after.setdefault(repo_id, Lane("after", random.Random(what), {"small": 1}))
            check_clone(wire, Everyone([*self.s.lanes[repo_id], after]), repo_id, refs, what)
            if closely and refs:
                server.verify(repo_id)
                copy = self.t.git.mirror(Repo(account, repo_id).url(), os.path.join(server.folder, repo_id))
                same(self.t.git.refs(copy), refs, f"{what}: refs of a clone by git")
                self.t.git("fsck", "--full", "--strict", "--no-dangling", cwd=copy)
            after.step(wire, repo_id)
            truth.settle(repo_id, {**refs, **after.refs})
        self.s.bare.check(what, os.path.join(os.path.dirname(server.data), "bare", "it.git"))
        until_none(lambda: strays(server, there), f"{what}: nothing but repositories that are there")
        # A removal that was not flushed comes undone. The next checkpoint sweeps at the latest.
        for repo_id in random.Random(what).sample(sorted(there), min(2, len(there))) if closely else ():
            server.cli("repo", "checkpoint", repo_id)
            until_none(lambda repo_id=repo_id: unnamed(server, repo_id), f"{what}: nothing in {repo_id} that it does not name")
        account.api.close()
        wire.close()

    def settle(self, number, server, wire, truth, there, jobs, what):
        """What became of a job that had not been seen to its end: all there, or nothing. The row that it made."""
        e = truth.errands[number]
        what = f"{what}: {e['kind']} {e['name']}"
        lanes, choices = self.s.errands[number], e["choices"] if e["source"] else {r: {o} for r, o in self.s.bare.refs.items()}
        errand = Errand(e["kind"], e["name"], choices, lanes, branch=e["branch"])
        job = jobs.get(e["job"])
        expect(job or not e["job"], f"{what}: its job is gone")
        done = e["ended"] or (job is not None and job["state"] == "done")
        out = e["path"] and os.path.join(os.path.dirname(server.data), "out", e["path"])
        if e["path"] and os.path.isdir(out):
            self.look_at_export(errand, out, what)
            done = not job or job["state"] == "done" or "already" in job["error"]["message"]
        expect(done or not job or e["source"] in truth.deleting, f"{what}: its job", job, server.log_tail())
        if e["kind"] in ("export", "maintain"):
            expect(not e["path"] or os.path.isdir(out) or not done, f"{what}: done, and not there")
            return set()
        ids = {repo_id for repo_id, name in there.items() if name == e["name"]}
        expect(len(ids) == 1 if done else len(ids) <= 1 and not (job and ids), f"{what}: its row", ids, job)
        for repo_id in ids:
            refs = wire.refs(repo_id)
            errand.check(refs, what)
            check_clone(wire, Everyone(lanes), repo_id, refs, what)
            server.verify(repo_id)
            # From here on it is a repository like others.
            truth.made.add(repo_id)
            truth.settle(repo_id, refs)
            with self.s.lock:
                self.s.lanes.setdefault(repo_id, lanes)
            del truth.errands[number]
        return ids

    def look_at_export(self, errand, path, what):
        """A folder with that name is whole."""
        errand.check(self.t.git.refs(path), what)
        self.t.git("fsck", "--full", "--strict", "--no-dangling", cwd=path)

    def end(self):
        self.pool.shutdown()
        for job in self.jobs:
            job.result()


CHOICES = [("none", "none"), ("all", "none"), ("none", "all"), ("all", "all"), ("all", "length"), ("some", "some"),
           ("all", "some"), ("some", "all"), ("some", "some")]


def cuts(notes):
    """{scene: [(number of notes, names, bytes)...]}: before and after each flush, at each answer, and in between."""
    found, current, quiet = {}, "", 0
    for i, note in enumerate(notes, 1):
        mark = note.mark if note.kind == MARK else {}
        current = mark.get("scene", current)
        quiet = 0 if note.kind in (FLUSH, FLUSHED) else quiet + 1
        if note.kind in (FLUSH, FLUSHED) or {"done", "made", "deleted", "queued", "ended"} & set(mark):
            found.setdefault(current, []).extend((i, *choice) for choice in CHOICES)
        elif quiet % 4 == 3:
            found.setdefault(current, []).append((i, "some", "some"))
    return found


def judge(s, notes, chosen, r, closely, tell=lambda done: None):
    """Replays the notes and cuts at the chosen places; closely: of so many cuts one is looked at with git, and twice."""
    disk, truth, judge_ = Disk(), Truth(), Judge(s)
    chosen = sorted(chosen)
    try:
        for i, note in enumerate(notes, 1):
            disk.feed(note)
            if note.kind == MARK:
                begun = note.mark.get("begun")
                truth.feed({**note.mark, "wanted": s.others[begun]} if begun in s.others else note.mark)
            while chosen and chosen[0][0] == i:
                _, names, data = chosen.pop(0)
                judge_.cut(disk, truth, Choice(names, data, random.Random(r.random())), i, judge_.checked % closely == 0)
                tell(judge_.checked)
    finally:
        judge_.end()
    return judge_.checked


def session(t, seed, scenes):
    """scenes: {name: function of a session}, in this order."""
    s = Session(t, seed)
    for name, function in scenes.items():
        s.scene(name, function)
    return s, s.end()


def sample(t, scenes, each):
    """A session of these scenes, and so many of the cuts of each judged."""
    seed = t.random.randrange(1 << 31)
    s, notes = session(t, seed, scenes)
    chosen = []
    for found in cuts(notes).values():
        chosen += t.random.sample(found, min(len(found), each))
    checked = judge(s, notes, chosen, random.Random(seed), 10)
    expect(checked == len(chosen), "all cuts were judged", checked)
