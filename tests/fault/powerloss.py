"""Power cuts: a server's writes are noted by a preloaded library, and folders made as a disk could look at any instant; each
has to serve what was acknowledged by then, whole, and to go on.

Around every flush there are cuts: what was not flushed is there, is not, or is in part (harness/disk.py). CI takes a
sample of them for each scene, by seed; `make powerloss-long` takes all, session after session."""
import concurrent.futures
import os
import random
import re
import shutil
import threading

from harness import Account, Repo, Server, expect, same, test
from harness.core import sanitized
from harness.disk import FLUSH, FLUSHED, MARK, Choice, Control, Disk, Notes, environment
from harness.raw import Gone, Wire, check_clone
from harness.server import run_warren
from harness.traffic import Everyone, Lane, check_lanes

COST = 25
SCENES = {}


def scene(function):
    SCENES[function.__name__] = function
    return function


class Session:
    """A watched server, and marks in its log of what was begun and what was acknowledged."""

    def __init__(self, t, seed):
        self.t, self.random = t, random.Random(f"{seed}:session")
        self.folder = t.path(f"session-{seed}")
        os.makedirs(self.folder)
        self.data = os.path.join(self.folder, "data")
        os.mkdir(self.data, 0o700)
        self.notes = Notes(os.path.join(self.folder, "log"))
        self.control = Control(os.path.join(self.folder, "control"))
        self.server = Server(data=self.data, env=environment(self.data, self.notes.path, self.control.path))
        t.stack.callback(self.server.remove, check=False)
        self.server.may_fail = True
        self.server.start()
        self.account = self.server.account("a")
        self.notes.mark(account=True)
        self.lanes, self.count, self.cuts, self.lock = {}, 0, 0, threading.Lock()  # lanes of each repository

    def scene(self, name):
        self.notes.mark(scene=name)
        SCENES[name](self)

    def repo(self, lanes=1):
        repo_id = self.account.repo(name="x").id
        self.notes.mark(made=repo_id)
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

    def push(self, repo_id, lane, wire=None, strict=True, **kinds):
        """One push with its marks; the one of the acknowledgement is written before anybody learns of it."""
        lane.kinds = kinds or {"small": 1}
        commands, pack, atomic = lane.prepare()
        with self.lock:
            self.count += 1
            number = self.count
        self.notes.mark(begun=number, repo=repo_id, lane=lane.name, wanted=lane.open, atomic=atomic)
        try:
            said = (wire or self.wire()).push(repo_id, commands, pack, atomic)
        except Gone:
            lane.reset()
            lane.open = None
            raise
        accepted = said.accepted()
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

    def end(self):
        if self.server.alive():
            self.server.stop()
        self.notes.close()
        return self.notes.read()


# What happens; in this order in one session.

@scene
def first_push(s):
    s.first = s.repo(2)
    s.push(s.first, s.lanes[s.first][0])


@scene
def push(s):
    for kind in ("small", "files", "two", "tag", "custom", "small"):
        s.push(s.first, s.lanes[s.first][0], **{kind: 1})


@scene
def batch(s):
    """Records that share a flush: four writers on one repository, and two on another that is new."""
    s.many, other = s.repo(4), s.repo(2)

    def work(repo_id, lane):
        wire = s.wire()
        for _ in range(4):
            s.push(repo_id, lane, wire)
    s.together([lambda r=repo_id, w=lane: work(r, w) for repo_id in (s.many, other) for lane in s.lanes[repo_id]])


@scene
def large_push(s):
    s.push(s.first, s.lanes[s.first][0], large=1)
    new = s.repo()
    s.push(new, s.lanes[new][0], large=1)
    s.push(new, s.lanes[new][0])


@scene
def rewinds_and_deletions(s):
    for kind in ("rewind", "delete", "small", "move", "atomic", "delete", "small"):
        s.push(s.first, s.lanes[s.first][0], **{kind: 1})


@scene
def rows(s):
    """Creation and deletion of repositories, with pushes to one of them."""
    repos = [s.repo() for _ in range(3)]
    s.push(repos[0], s.lanes[repos[0]][0])
    s.push(repos[1], s.lanes[repos[1]][0])
    for repo_id in repos[1:]:
        s.notes.mark(deleting=repo_id)
        s.account.api.delete(f"/git/v1/repo/{repo_id}").empty()
        s.notes.mark(deleted=repo_id)


@scene
def checkpoint(s):
    """By itself, and with writers beside it; then again, on top of what that one made."""
    s.checkpoint(s.first)
    s.push(s.first, s.lanes[s.first][0])
    for _ in range(2):
        def work(lane):
            wire = s.wire()
            for _ in range(4):
                s.push(s.many, lane, wire, small=4, rewind=1, two=1)
        s.together([lambda: s.checkpoint(s.many), *[lambda w=lane: work(w) for lane in s.lanes[s.many][:3]]])
    s.checkpoint(s.many)
    s.push(s.first, s.lanes[s.first][0], rewind=1)
    s.checkpoint(s.first)


@scene
def recovery(s):
    """Killed while two write, started again, and gone on with; twice."""
    for _ in range(2):
        def work(lane):
            wire = s.wire()
            try:
                while True:
                    s.push(s.many, lane, wire, small=3, two=1, delete=1)
                    done.append(1)
                    if len(done) >= 8:
                        go.set()
            except Gone:
                return
        done, go = [], threading.Event()

        def kill():
            go.wait(60)
            s.server.kill()
        s.together([kill, *[lambda w=lane: work(w) for lane in s.lanes[s.many][:2]]])
        s.server.start()
        wire = s.wire()
        refs = wire.refs(s.many)
        # Known now, and served: from here on it has to stay.
        s.notes.mark(seen=s.many, refs=refs)
        for lane in s.lanes[s.many]:
            lane.refs = {ref: oid for ref, oid in refs.items() if lane.mine(ref)}
            lane.reset()
        s.push(s.many, s.lanes[s.many][0], wire)
    s.checkpoint(s.many)
    s.push(s.many, s.lanes[s.many][0])


@scene
def failed_flushes(s):
    """A flush that fails takes what it covers with it: nothing later may stand on that."""
    lane = s.lanes[s.first][0]
    for after in range(4):
        s.control.fail("flush", 5, after, 1, path="/repos/")
        s.push(s.first, lane, strict=False)
        s.control.clear()
        s.push(s.first, lane)
        s.push(s.first, lane, two=1)
    fresh = s.repo()
    s.control.fail("flush", 5, 0, 1, path="/repos/")
    s.push(fresh, s.lanes[fresh][0], strict=False)
    s.control.clear()
    s.push(fresh, s.lanes[fresh][0])


@scene
def clean_stop(s):
    s.server.stop()
    s.server.start()
    s.push(s.first, s.lanes[s.first][0])
    s.server.stop()


class Truth:
    """What the marks up to an instant say: what has to be there, and what may be."""

    def __init__(self):
        self.after = {}  # repository to a lane that the judge made
        self.account, self.scene = False, ""
        self.made, self.deleting, self.deleted = set(), set(), set()
        self.refs, self.open = {}, {}  # repository to refs; number to (repository, lane, wanted, atomic)

    def feed(self, m):
        if "account" in m:
            self.account = True
        elif "scene" in m:
            self.scene = m["scene"]
        elif "made" in m:
            self.made.add(m["made"])
            self.refs[m["made"]] = {}
        elif "deleting" in m:
            self.deleting.add(m["deleting"])
        elif "deleted" in m:
            self.deleted.add(m["deleted"])
        elif "begun" in m:
            self.open[m["begun"]] = (m["repo"], m["lane"], m["wanted"], m["atomic"])
        elif "seen" in m:
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
        other.account, other.scene = self.account, self.scene
        other.made, other.deleting, other.deleted = set(self.made), set(self.deleting), set(self.deleted)
        other.refs, other.open = {k: dict(v) for k, v in self.refs.items()}, dict(self.open)
        return other

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
            server = Server(data=path)
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
        shutil.copytree(path, kept, dirs_exist_ok=True, ignore=lambda d, names: [n for n in names if n.endswith(".sock")])
        return f"the folder is kept in {kept}"

    def serves(self, server, truth, what, closely):
        if not truth.account:
            return
        account = Account(server, self.s.account.id, "a", self.s.account.key)
        wire = Wire(server.url, account.key)
        for repo_id in truth.made:
            status = account.api.get(f"/git/v1/repo/{repo_id}").status
            if repo_id in truth.deleting:
                expect(status == 404 or (status == 200 and repo_id not in truth.deleted), f"{what}: a deleted repository", status)
                continue
            same(status, 200, f"{what}: a repository that was made")
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
        account.api.close()
        wire.close()

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
        if note.kind in (FLUSH, FLUSHED) or "done" in mark or "made" in mark or "deleted" in mark:
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
                truth.feed(note.mark)
            while chosen and chosen[0][0] == i:
                _, names, data = chosen.pop(0)
                judge_.cut(disk, truth, Choice(names, data, random.Random(r.random())), i, judge_.checked % closely == 0)
                tell(judge_.checked)
    finally:
        judge_.end()
    return judge_.checked


def session(t, seed, scenes):
    s = Session(t, seed)
    for name in scenes:
        s.scene(name)
    return s, s.end()


@test
def power_cuts_at_flushes(t):
    """A sample of every scene's cuts; those right after an answer, with nothing there that was not flushed, always are in it."""
    for _ in t.rounds(1):
        seed = t.random.randrange(1 << 31)
        s, notes = session(t, seed, SCENES)
        chosen = []
        for found in cuts(notes).values():
            chosen += t.random.sample(found, min(len(found), 3 if sanitized() else 14))
        checked = judge(s, notes, chosen, random.Random(seed), 10)
        expect(checked == len(chosen), "all cuts were judged", checked)


# Whose flushes count, by the name at the flush; folders among them.
NEEDED = [r"^journal\.", r"\.pack$", r"\.idx$", r"^current", r"\.db-wal$", r"^pack$", r"^warren$", r"^[0-9a-f]{2}$", r"^repos$"]


@test
def a_disk_that_ignores_flushes_is_noticed(t):
    """The judge can find something: where the flushes of one kind of file do nothing, an acknowledged push is gone after a cut."""
    s, notes = session(t, t.random.randrange(1 << 31), ["first_push", "push", "large_push"])
    last = max(i for i, note in enumerate(notes, 1) if note.kind == MARK and "done" in note.mark)
    unnoticed = []
    for pattern in t.random.sample(NEEDED, 2) if sanitized() else NEEDED:
        disk, truth = Disk(lambda name, pattern=pattern: re.search(pattern, name)), Truth()
        for note in notes[:last]:
            disk.feed(note)
            if note.kind == MARK:
                truth.feed(note.mark)
        judge_ = Judge(s, keeps=False)
        judge_.cut(disk, truth, Choice("none", "none"), last, False)
        try:
            judge_.end()
        except AssertionError:
            continue
        unnoticed.append(pattern)
    same(unnoticed, [], "lost flushes that went unnoticed")


class Rounds:
    """For fault/_long.py: a round is a session of its own and all its cuts."""

    PER_FOLDER = 1

    def __init__(self, t, seed):
        self.t, self.seed = t, seed

    def round(self, n):
        r = random.Random(f"{self.seed}:{n}")
        s, notes = session(self.t, r.randrange(1 << 31), SCENES)
        chosen = [cut for found in cuts(notes).values() for cut in found]
        print(f"powerloss: session {n}, {len(chosen)} cuts", flush=True)
        judge(s, notes, chosen, r, 10, lambda done: done % 500 or print(f"powerloss: {done} cuts", flush=True))

    def close(self):
        pass
