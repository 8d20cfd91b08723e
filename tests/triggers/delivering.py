"""Webhooks as their consumers get them: each source of events and each filter, verified by jose, each exactly once."""
import json
import re
import threading

from harness import expect, same, test
from harness.receiver import Receiver, commit, once_each, trigger

COST = 14
CONFIG = "[webhooks]\nallow_private_networks = true\nretry_pause = 20ms\n"

# name: branches, globs, and whether a branch and its changed paths pass.
FILTERS = {
    "all": (None, None, lambda b, p: True),
    "empty": ([], [], lambda b, p: True),
    "main": (["main"], None, lambda b, p: b == "main"),
    "one": (["feat/*"], None, lambda b, p: re.fullmatch(r"feat/[^/]*", b)),
    "deep": (["feat/**", "rel-[0-9]"], None, lambda b, p: b.startswith("feat/") or re.fullmatch(r"rel-[0-9]", b)),
    "docs": (None, ["docs/**"], lambda b, p: any(x.startswith("docs/") for x in p)),
    "names": (None, ["*.md", "*.{c,h}"], lambda b, p: any(re.search(r"\.(md|c|h)$", x) for x in p)),
    "both": (["feat/*", "main"], ["src/*"], lambda b, p: re.fullmatch(r"feat/[^/]*|main", b) and
             any(re.fullmatch(r"src/[^/]*", x) for x in p)),
}


class World:
    """A repository with a trigger for each filter, and the events that it should have told of."""

    def __init__(self, t, server, receiver):
        self.t, self.git, self.receiver = t, t.git, receiver
        self.account = server.account()
        self.repo = self.account.repo(defaultBranch="main")
        self.path = t.git.init(t.path("work"))
        self.events = []  # (branch, commit, before, forced, pusher, changed paths)
        for name, (branches, globs, _) in FILTERS.items():
            trigger(self.repo, f"{receiver.url}/ok/{name}", branches, globs)
        trigger(self.repo, f"{receiver.url}/ok/extended", payload="extended")
        trigger(self.repo, f"{receiver.url}/ok/basic", payload="basic")

    def event(self, branch, new, before=None, forced=False, pusher=None, paths=()):
        self.events.append((branch, new, before, forced, pusher or ("account", self.account.id), tuple(paths)))

    def push(self, *specs, secret="own"):
        self.git("push", "-q", self.repo.url(secret), *specs, cwd=self.path)

    def write(self, files, message="x"):
        self.git.commit(self.path, files, message)
        return self.git.rev(self.path)

    def check(self):
        """Exactly what should have come did, to each endpoint, and nothing else."""
        receiver = self.receiver
        wanted = {name: [e for e in self.events if passes(e[0], e[5])] for name, (_, _, passes) in FILTERS.items()}
        wanted["extended"] = wanted["basic"] = self.events
        for name, events in wanted.items():
            receiver.wait(f"/ok/{name}", len(events))
        for name, events in wanted.items():
            calls = receiver.of(f"/ok/{name}")
            once_each(calls)
            want = sorted((e[0], e[1]) for e in events)
            same(sorted((b["branch"], b["commit"]) for b in receiver.bodies(f"/ok/{name}")), want, f"events of {name}")
            for branch in {e[0] for e in events}:
                same([b["commit"] for b in receiver.bodies(f"/ok/{name}") if b["branch"] == branch],
                     [e[1] for e in events if e[0] == branch], f"order of {branch} at {name}")
            for call in calls:
                same(call["attempt"], "1", f"attempts of {name}")
        for call in receiver.of("/ok/all"):
            body = json.loads(call["body"])
            same(call["body"], json.dumps({"event": "branchUpdate", "repoId": self.repo.id, "branch": body["branch"],
                                           "commit": body["commit"]}, separators=(",", ":")), "the body, to the byte")
        for body in receiver.bodies("/ok/extended"):
            branch, new, before, forced, pusher, _ = next(e for e in self.events if e[:2] == (body["branch"], body["commit"]))
            same(list(body), ["event", "repoId", "branch", "commit", "before", "forced", "pusher", "occurredAt"], "members")
            same((body["before"], body["forced"], body["pusher"]), (before, forced, {"type": pusher[0], "id": pusher[1]}),
                 f"more of {branch} {new}")
            expect(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["occurredAt"]), "occurredAt", body)


def pushes(w):
    first = w.write({"README.md": "1", "src/a.c": "a", "docs/x/y.txt": "d"})
    w.push("main")
    w.event("main", first, paths=["README.md", "src/a.c", "docs/x/y.txt"])
    second = w.write({"src/a.c": "b"})
    w.push("main")
    w.event("main", second, first, paths=["src/a.c"])
    # A new branch counts from where it left the default branch.
    w.git("checkout", "-q", "-b", "feat/one", first, cwd=w.path)
    feature = w.write({"docs/z": "z"})
    w.push("feat/one")
    w.event("feat/one", feature, paths=["docs/z"])
    # Two branches at once, one of them without a change of its own; a tag, and a branch too deep for *.
    w.git("tag", "v1", cwd=w.path)
    deep = w.write({"lib/deep/q.h": "h"})
    w.push("feat/one:refs/heads/feat/two/deep", f"{second}:refs/heads/same", "v1", "--atomic")
    w.event("feat/two/deep", deep, paths=["docs/z", "lib/deep/q.h"])
    w.event("same", second)
    # Without history in common: all of its paths.
    w.git("checkout", "-q", "--orphan", "alone", cwd=w.path)
    w.git("rm", "-q", "-rf", ".", cwd=w.path)
    alone = w.write({"src/only.txt": "o"})
    w.push("alone:refs/heads/rel-7")
    w.event("rel-7", alone, paths=["src/only.txt"])
    # Forced, refused, deleted, tags moved, other refs.
    w.git("checkout", "-q", "-B", "rewound", second, cwd=w.path)
    other = w.write({"README.md": "other"})
    expect(w.git.run("push", "-q", w.repo.url(), "rewound:refs/heads/feat/one", cwd=w.path)[0] != 0, "no fast-forward")
    w.push("+rewound:refs/heads/feat/one")
    w.event("feat/one", other, feature, True, paths=["README.md", "src/a.c", "docs/z"])
    w.push(":refs/heads/same", ":refs/tags/v1")
    w.push(f"{second}:refs/notes/x", f"{second}:refs/tags/v1")
    # Back to where it was, which is also a rewind.
    w.push(f"+{second}:refs/heads/feat/one")
    w.event("feat/one", second, other, True, paths=["README.md"])
    return second


def by_api(w, tip):
    sha = commit(w.repo, "main", {"docs/api.md": "1"})
    w.event("main", sha, tip, paths=["docs/api.md"])
    identity = w.account.identity(write=w.repo)
    token = identity.secret()
    client = w.repo.account.server.api(token)
    again = commit(w.repo, "main", {"src/api.c": "1"}, api=client)
    w.event("main", again, sha, pusher=("identity", identity.id), paths=["src/api.c"])
    new = commit(w.repo, "feat/new", {"src/sub/x": "1"}, api=client)
    w.event("feat/new", new, pusher=("identity", identity.id), paths=["src/sub/x"])
    w.account.api.post(f"{w.repo.path}/git/refs/heads/made", {"sha": sha}).ok()
    w.event("made", sha)
    w.git("fetch", "-q", w.repo.url(), "main", cwd=w.path)
    w.git("checkout", "-q", "-B", "main", "FETCH_HEAD", cwd=w.path)
    pushed = w.write({"docs/pushed": "1"})
    w.push("main", secret=token)
    w.event("main", pushed, again, pusher=("identity", identity.id), paths=["docs/pushed"])
    empty = commit(w.repo, "main", {}, "nothing")
    w.event("main", empty, pushed)
    # Refused: nobody hears of it.
    w.account.api.post(f"{w.repo.path}/commits", {"branch": "main", "message": "late", "expectedSha": sha,
                                                  "files": [{"path": "x", "content": "y"}]}).error("CONFLICTING_PARENT")


@test
def every_source_and_every_filter(t):
    server = t.own_server(config=CONFIG)
    receiver = Receiver(t, server.url)
    world = World(t, server, receiver)
    by_api(world, pushes(world))
    world.check()
    # Of a repository that is made from this one nobody is told, and its later changes are its own.
    copy = world.account.api.post("/git/v1/repo", {"source": {"url": world.repo.url()}}).ok()["repoId"]
    world.account.api.post(f"/git/v1/repo/{copy}/commits", {"branch": "main", "message": "m", "files": [{"path": "docs/q", "content": "q"}]}).ok()
    last = commit(world.repo, "main", {"docs/last": "1"})
    world.event("main", last, world.events[-1][1], paths=["docs/last"])
    world.check()
    receiver.check()


@test
def in_order_whatever_fails(t):
    """A later update waits for an earlier one of its branch; other branches and endpoints do not."""
    server = t.own_server(config=CONFIG)
    receiver = Receiver(t, server.url)
    repo = server.account().repo(defaultBranch="main")
    trigger(repo, f"{receiver.url}/fail/2/503")
    trigger(repo, f"{receiver.url}/ok/steady")
    made = {"a": [], "b": [], "c": []}
    for n in range(10):
        for branch in made:
            made[branch].append(commit(repo, branch, {f"f{n}": str(n)}))
    receiver.wait("/fail/2/503", 3 * 30)
    for branch, shas in made.items():
        for path, times in (("/fail/2/503", 3), ("/ok/steady", 1)):
            calls = [c for c in receiver.wait(path, 30 * times) if json.loads(c["body"])["branch"] == branch]
            same([json.loads(c["body"])["commit"] for c in calls], [s for s in shas for _ in range(times)], f"{branch} at {path}")
            same([c["attempt"] for c in calls], [str(1 + i % times) for i in range(10 * times)], "attempts")
    by_id = {}
    for call in receiver.of("/fail/2/503"):
        by_id.setdefault(call["delivery"], set()).add(call["body"])
    same([len(bodies) for bodies in by_id.values()], [1] * 30, "the same bytes on each attempt")
    signatures = {c["payload"]["iat"] for c in receiver.check()}
    expect(signatures, "signed")


@test
def many_writers(t):
    """What is pushed and committed at once, by many, to many repositories: nothing is lost, nothing comes twice."""
    server = t.own_server(config=CONFIG)
    receiver = Receiver(t, server.url)
    account = server.account()
    repos = [account.repo(defaultBranch="main") for _ in range(6)]
    for repo in repos:
        trigger(repo, f"{receiver.url}/ok/{repo.id}")
    made = {repo.id: [] for repo in repos}
    per_writer = 12

    def write(repo, branch):
        api = server.api(account.key)
        for n in range(per_writer):
            made[repo.id].append((branch, commit(repo, branch, {f"{branch}/{n}": "x"}, api=api)))
    threads = [threading.Thread(target=write, args=(repo, branch)) for repo in repos for branch in ("main", "other")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for repo in repos:
        same(len(made[repo.id]), 2 * per_writer, "commits that were acknowledged")
        calls = receiver.wait(f"/ok/{repo.id}", 2 * per_writer)
        once_each(calls)
        for branch in ("main", "other"):
            same([b["commit"] for b in receiver.bodies(f"/ok/{repo.id}") if b["branch"] == branch],
                 [sha for of, sha in made[repo.id] if of == branch], f"order of {branch}")
    receiver.check()


@test
def only_what_comes_later(t):
    """A trigger hears of no update that was acknowledged before it was made; deleted, it hears of none that came later."""
    server = t.own_server(config=CONFIG)
    receiver = Receiver(t, server.url)
    repo = server.account().repo(defaultBranch="main")
    api = repo.account.api
    for n in range(8):
        commit(repo, "main", {f"f{n}": "before"})
        one = trigger(repo, f"{receiver.url}/ok/{n}")
        wanted = commit(repo, "main", {f"f{n}": "between"})
        receiver.wait(f"/ok/{n}", 1)
        api.delete(f"{repo.path}/trigger/{one}").empty()
        commit(repo, "main", {f"f{n}": "after"})
        same([b["commit"] for b in receiver.bodies(f"/ok/{n}")], [wanted], f"turn {n}")
    last = trigger(repo, f"{receiver.url}/ok/last")
    sha = commit(repo, "main", {"last": "1"})
    receiver.wait("/ok/last", 1)
    for n in range(8):
        same([b["commit"] for b in receiver.bodies(f"/ok/{n}")][1:], [], f"nothing more of turn {n}")
    same(receiver.bodies("/ok/last")[0]["commit"], sha, "the last one")
    api.delete(f"{repo.path}/trigger/{last}").empty()
    receiver.check()
