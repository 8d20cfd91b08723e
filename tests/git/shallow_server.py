"""A repository whose own history ends before its beginning (made with a depth), beside git's own server with the same: clients of
all kinds do the same with both, and have the same afterwards."""
import os

from harness import expect, same, test
from harness.elsewhere import GitServer
from harness.server import run_warren

IN_MEMORY = True
COST = 5


def v(version):
    return ("-c", f"protocol.version={version}")


def roots(path):
    """The ids in a repository's shallow file."""
    for name in (".git/shallow", "shallow"):
        if os.path.exists(os.path.join(path, name)):
            with open(os.path.join(path, name), encoding="ascii") as f:
                return sorted(set(f.read().split()))  # git may name one twice
    return []


def history(t):
    """Thirteen commits with a merge, a side branch and a tag of an old commit."""
    work = t.git.init(t.path("work"))
    for i in range(10):
        t.git.commit(work, {f"f{i % 4}": f"{i}\n" * 50, "last": f"{i}"}, f"commit {i}")
    t.git("checkout", "-q", "-b", "side", "HEAD~3", cwd=work)
    t.git.commit(work, {"side": "1"}, "side 1")
    t.git.commit(work, {"side": "2"}, "side 2")
    t.git("checkout", "-q", "main", cwd=work)
    t.git("merge", "-q", "-m", "merge", "side", cwd=work)
    t.git("tag", "-a", "-m", "old", "v0", "HEAD~2", cwd=work)
    return work


class Pair:
    """A repository here and a bare one behind git's own server, with the same refs and the same roots."""

    def __init__(self, t, depth, account=None):
        self.t, self.account = t, account or t.account
        self.work = history(t)
        whole = self.account.repo()
        t.git("push", "-q", whole.url(), "main", "side", "v0", cwd=self.work)
        url = f"{self.account.server.url}/{whole.id}"
        self.repo = self.account.repo(source={"url": url, "depth": depth, "allBranches": True})
        self.bare = t.git.init(t.path("gits/bare"), bare=True)
        refs = t.git.remote_refs(self.repo.url())
        same(sorted(refs), ["refs/heads/main", "refs/heads/side", "refs/tags/v0"], "what was made")
        t.git("fetch", "-q", "--no-tags", "--depth", str(depth), f"file://{self.work}", *[f"+{name}:{name}" for name in refs], cwd=self.bare)
        t.git("config", "http.receivepack", "true", cwd=self.bare)
        same(t.git.refs(self.bare), refs, "the same refs")
        self.urls = self.repo.url(), GitServer(t, t.path("gits")).url + "/bare"
        self.turn, self.versions = 0, []

    def restarted(self):
        """The server has another port."""
        self.account.server.start()
        self.urls = self.repo.url(), self.urls[1]

    def version(self):
        """Each in its turn, in an order of chance."""
        self.versions = self.versions or self.t.random.sample([0, 1, 2, 2], 4)
        return v(self.versions.pop())

    def clone(self, *options):
        self.turn += 1
        copies, version = [self.t.path(f"{name}-{self.turn}") for name in ("ours", "theirs")], self.version()
        for url, copy in zip(self.urls, copies):
            self.t.git(*version, "clone", "-q", *options, url, copy)
        self.alike(copies, f"{version}: clone {options}")
        return copies

    def fetch(self, copies, *options):
        version = self.version()
        for copy in copies:
            self.t.git(*version, "fetch", "-q", *options, cwd=copy)
        self.alike(copies, f"{version}: fetch {options}")

    def alike(self, copies, what):
        ours, theirs = copies
        same(roots(ours), roots(theirs), f"{what}: roots")
        same(self.t.git.refs(ours), self.t.git.refs(theirs), f"{what}: refs")
        same(self.t.git.objects(ours), self.t.git.objects(theirs), f"{what}: objects")
        self.t.git("fsck", "--full", "--strict", "--no-dangling", cwd=ours)

    def push(self, work, refspec, *options):
        for url in self.urls:
            self.t.git("push", "-q", *options, url, refspec, cwd=work)

    def checkpoint(self):
        status, _, err = run_warren("repo", "checkpoint", self.repo.id, "--data", self.account.server.data)
        same(status, 0, f"checkpoint: {err}")
        self.account.server.verify(self.repo.id)


@test
def clones_and_fetches_as_from_git(t):
    pair = Pair(t, 3)
    top = pair.clone()[0]
    expect(roots(top), "it is shallow")
    same(roots(top), roots(pair.bare), "where history ends")
    kinds = [(), ("--mirror",), ("--depth", "1"), ("--depth", "2", "--no-single-branch"), ("--depth", "50")]
    copies = {options: pair.clone(*options) for options in kinds}
    for turn in range(2):
        t.git.commit(top, {"new": f"{turn}", f"f{turn}": "changed"}, f"new {turn}")
        pair.push(top, "HEAD:refs/heads/main")
        if turn == 1:
            pair.checkpoint()
        for options in kinds:
            pair.fetch(copies[options])
    pair.clone()
    one, two = copies[kinds[2]], copies[kinds[3]]
    pair.fetch(one, "--deepen", "1")
    pair.fetch(one, "--depth", "4")
    for both in (one, two, copies[()]):
        pair.fetch(both, "--unshallow")
        expect(roots(both[0]), "it ends where the server's does")
    pair.fetch(copies[kinds[4]], "--depth", "1")
    # By time git's own server forgets where its own history ends, and its client gives up.
    since = t.path("since")
    t.git("clone", "-q", "--shallow-since=2001-01-01", pair.urls[0], since)
    same(roots(since), roots(pair.clone()[0]), "all that is younger")
    t.git("fsck", "--full", "--strict", cwd=since)


@test
def pushes_of_all_kinds(t):
    pair = Pair(t, 2)
    for turn, options in enumerate(((), ("--depth", "1"), ())):
        ours, _ = pair.clone(*options)
        t.git.commit(ours, {f"pushed-{turn}": "x"}, "on top")
        pair.push(ours, "HEAD:refs/heads/main")
    # Somebody with all of the history has nothing to add to what is here.
    t.git("fetch", "-q", pair.repo.url(), "main", cwd=pair.work)
    t.git("checkout", "-q", "main", cwd=pair.work)
    older = t.git.rev(pair.work, "main~8")
    t.git("merge", "-q", "--no-ff", "-m", "with all behind it", "FETCH_HEAD", cwd=pair.work)
    pair.push(pair.work, "main")
    # What stands on commits that are not here cannot come; a root that is here may become a branch.
    t.git("checkout", "-q", "-b", "older", older, cwd=pair.work)
    t.git.commit(pair.work, {"older": "x"}, "on something older")
    for url in pair.urls:
        t.git.fails("push", "-q", url, "older", cwd=pair.work)
    root = roots(pair.bare)[0]
    pair.push(pair.bare, f"{root}:refs/heads/root")
    pair.checkpoint()
    pair.push(pair.bare, ":refs/heads/side", "-f")
    pair.push(pair.bare, f"+{root}:refs/heads/main", "-f")
    pair.clone("--mirror")
    pair.checkpoint()
    pair.clone("--mirror")


@test
def forks_exports_and_restarts(t):
    server = t.own_server()
    account = server.account()
    pair = Pair(t, 3, account)
    fork = account.repo(source={"url": f"{server.url}/{pair.repo.id}", "allBranches": True})
    shorter = account.repo(source={"url": f"{server.url}/{pair.repo.id}", "allBranches": True, "depth": 1})
    copy = t.git.mirror(fork.url(), t.path("fork"))
    same((roots(copy), t.git.refs(copy)), (roots(pair.bare), t.git.refs(pair.bare)), "the fork")
    same(t.git.objects(copy), t.git.objects(pair.bare), "the fork's objects")
    t.git("fsck", "--full", "--strict", cwd=copy)
    copy = t.git.mirror(shorter.url(), t.path("shorter"))
    tips = {t.git.rev(copy, f"{name}^{{commit}}") for name in t.git.refs(copy)}
    same(set(roots(copy)), tips, "the shorter one")
    t.git("fsck", "--full", "--strict", cwd=copy)
    server.cli("repo", "export", pair.repo.id, t.path("exported"))
    same(roots(t.path("exported")), roots(pair.bare), "exported")
    t.git("fsck", "--full", "--strict", cwd=t.path("exported"))
    server.kill()
    pair.restarted()
    for one in (pair.repo, fork, shorter):
        server.verify(one.id)
    pair.clone()
    pair.checkpoint()
    server.stop()
    pair.restarted()
    pair.clone("--mirror")
    folder = os.path.join(server.data, "repos", pair.repo.id[:2], pair.repo.id[2:4], pair.repo.id + ".git")
    same(roots(folder), roots(pair.bare), "what plain git finds in the folder")
    t.git("fsck", "--full", "--strict", cwd=folder)
    same(t.git.objects(folder), t.git.objects(pair.bare), "its objects")
