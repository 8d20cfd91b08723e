"""Power cuts: a server's writes are noted by a preloaded library, and folders made as a disk could look at any instant; each
has to serve what was acknowledged by then, whole, and to go on.

Around every flush there are cuts: what was not flushed is there, is not, or is in part (harness/disk.py). CI takes a
sample of them for each scene, by seed; `make powerloss-long` takes all, session after session, also of the scenes of
whole repositories (fault/powerloss_wholes.py)."""
import random
import re
import threading

from harness import same, test
from harness.core import sanitized
from harness.cuts import Judge, Truth, cuts, judge, sample, session
from harness.disk import MARK, Choice, Disk
from harness.raw import Gone
from harness.scenes import WHOLES

IN_MEMORY = True
COST = 25
SCENES = {}


def scene(function):
    SCENES[function.__name__] = function
    return function


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
def commits_by_api(s):
    """Of a repository without anything as well, and of several writers at once."""
    new = s.repo(3)
    for kind in ("api", "api", "branch", "object", "api"):
        s.push(new, s.lanes[new][0], **{kind: 1})

    def work(lane):
        wire = s.wire()
        for _ in range(3):
            s.push(new, lane, wire, api=2, small=1)
    s.together([lambda w=lane: work(w) for lane in s.lanes[new]])


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
        s.delete(repo_id)


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
    for after in range(3):
        s.control.fail("flush", 5, after, 1, path="/repos/")
        s.push(s.first, lane, strict=False, api=1)
        s.control.clear()
        s.push(s.first, lane, api=1)
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


@test
def power_cuts_at_flushes(t):
    """A sample of every scene's cuts; those right after an answer, with nothing there that was not flushed, always are in it."""
    for _ in t.rounds(1):
        sample(t, SCENES, 3 if sanitized() else 14)


# Whose flushes count, by the name at the flush; folders among them.
NEEDED = [r"^journal\.", r"\.pack$", r"\.idx$", r"^current", r"\.db-wal$", r"^pack$", r"^warren$", r"^[0-9a-f]{2}$", r"^repos$"]


@test
def a_disk_that_ignores_flushes_is_noticed(t):
    """The judge can find something: where the flushes of one kind of file do nothing, an acknowledged push is gone after a cut."""
    s, notes = session(t, t.random.randrange(1 << 31), {f.__name__: f for f in (first_push, push, large_push)})
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
    """For fault/_long.py: a round is two sessions of their own and all their cuts."""

    PER_FOLDER = 1

    def __init__(self, t, seed):
        self.t, self.seed = t, seed

    def round(self, n):
        r = random.Random(f"{self.seed}:{n}")
        for scenes in (SCENES, WHOLES):
            s, notes = session(self.t, r.randrange(1 << 31), scenes)
            chosen = [cut for found in cuts(notes).values() for cut in found]
            print(f"powerloss: session {n}, {len(chosen)} cuts", flush=True)
            judge(s, notes, chosen, r, 10, lambda done: done % 500 or print(f"powerloss: {done} cuts", flush=True))

    def close(self):
        pass
