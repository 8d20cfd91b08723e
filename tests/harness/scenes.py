"""What happens to whole repositories in a session of power cuts (harness/cuts.py), in this order in one session."""
import threading

from harness.cuts import GRACE, HERE

WHOLES = {}


def scene(function):
    WHOLES[function.__name__] = function
    return function


@scene
def beginning(s):
    """A source with a base, a tail, dead entries and a journal."""
    s.source = s.repo(2)
    lane = s.lanes[s.source][0]
    for kind in ("small", "files", "two", "tag", "custom", "small"):
        s.push(s.source, lane, **{kind: 1})
    s.checkpoint(s.source)
    for kind in ("small", "rewind", "tag"):
        s.push(s.source, lane, **{kind: 1})


@scene
def fork(s):
    s.fork = s.errand("fork", s.source, source=s.source)
    s.push(s.fork, s.lanes[s.fork][0])
    s.checkpoint(s.source)
    s.errand("fork", s.source, source=s.source)


@scene
def fork_of_a_branch_without_a_server(s):
    branch = s.lanes[s.source][0].ref()
    s.errand("fork", s.source, "--branch", branch.removeprefix("refs/heads/"), source=s.source, branch=branch, alone=True)


@scene
def fork_of_a_fork_under_pushes(s):
    s.many = s.repo(3)
    for lane in s.lanes[s.many]:
        s.push(s.many, lane)
    over = threading.Event()

    def work(lane):
        wire = s.wire()
        while not over.is_set():
            s.push(s.many, lane, wire, small=3, two=1, rewind=1, delete=1)

    def fork():
        try:
            s.errand("fork", s.many, source=s.many)
            s.errand("fork", s.fork, source=s.fork)
        finally:
            over.set()
    s.together([fork, *[lambda w=lane: work(w) for lane in s.lanes[s.many][:2]]])


@scene
def adopt(s):
    s.copied = s.errand("adopt", "a", f"{HERE}/bare/it.git")
    s.push(s.copied, s.lanes[s.copied][0])
    s.linked = s.errand("adopt", "a", f"{HERE}/bare/it.git", "--link")
    s.push(s.linked, s.lanes[s.linked][0], rewind=1)


@scene
def adopt_without_a_server(s):
    s.errand("adopt", "a", f"{HERE}/bare/it.git", "--link", alone=True)


@scene
def export(s):
    s.errand("export", s.source, f"{HERE}/out/one", source=s.source, path="one")
    s.errand("export", s.fork, f"{HERE}/out/two", "--link", source=s.fork, path="two")
    s.errand("export", s.copied, f"{HERE}/out/three", source=s.copied, path="three", alone=True)


@scene
def cruft(s):
    """What no ref reaches moves to a pack of its own, comes back, and goes."""
    lane = s.lanes[s.source][0]
    main = lane.ref()
    s.push(s.source, lane, files=1)
    s.push(s.source, lane, small=1)
    lost = lane.refs[main]
    s.checkpoint(s.source)
    s.push(s.source, lane, rewind=1)
    s.push(s.source, lane, rewind=1)
    s.checkpoint(s.source)
    s.bring_back(s.source, lane, lane.ref("-three"), lost)
    s.checkpoint(s.source)
    s.push(s.source, lane, delete=1)
    s.push(s.source, lane, rewind=1)
    s.checkpoint(s.source)
    s.later(2 * GRACE)
    s.checkpoint(s.source)
    s.push(s.source, lane)


@scene
def base_rewrite(s):
    s.errand("maintain", s.source, source=s.source)
    lane, other = s.lanes[s.source]
    for kind in ("files", "rewind", "small"):
        s.push(s.source, lane, **{kind: 1})

    def work():
        wire = s.wire()
        for _ in range(4):
            s.push(s.source, other, wire, small=2, two=1)
    s.together([lambda: s.errand("maintain", s.source, "--redelta", source=s.source), work])
    s.errand("maintain", s.fork, source=s.fork)
    s.push(s.fork, s.lanes[s.fork][0], rewind=1)


@scene
def deletion(s):
    """Of what others were forked from, of forks, of what was taken in by links, of nothing, and of what is being pushed to."""
    for repo_id in (s.source, s.linked, s.repo()):
        s.delete(repo_id)
    s.emptied()
    s.push(s.fork, s.lanes[s.fork][0])
    s.delete(s.fork)
    s.emptied()


@scene
def clean_stop(s):
    s.server.stop()
    s.server.start()
    s.push(s.copied, s.lanes[s.copied][0])
    s.server.stop()
