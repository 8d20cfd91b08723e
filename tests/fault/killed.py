"""kill -9 of the server at random instants of pushes: what was acknowledged is there, everything else is not there at all.

`make crash-long` goes on with Rounds for a thousand rounds; see fault/_long.py."""
import http.client
import os
import shutil
import threading
import time

from harness import Account, expect, same, test, wait_for
from harness.crashes import Rounds
from harness.disk import CRASH, Control, environment
from harness.server import run_warren

COST = 12


class Writer(threading.Thread):
    """Pushes new commits to its own branches, one after another, until the server is gone; remembers what was said."""

    def __init__(self, git, repo, path, name, random):
        super().__init__()
        self.git, self.repo, self.path, self.name_, self.random = git, repo, path, name, random
        self.acknowledged, self.open_ = {}, {}
        self.turn = 0
        self.stopped = threading.Event()

    def step(self):
        """One push: mostly a new commit to one branch; sometimes two branches at once, a deletion, or a force."""
        self.turn += 1
        kind = self.random.randrange(8)
        size = self.random.choice([10, 10, 2000, 300_000])
        self.git.commit(self.path, {f"f{self.turn % 5}": self.random.randbytes(size)}, f"{self.name_} {self.turn}")
        tip = self.git.rev(self.path)
        main, other, short = (f"refs/heads/{self.name_}{s}" for s in ("", "-two", "-short"))
        wanted = {main: tip}
        if kind == 0:
            wanted[other] = tip
        elif kind == 1 and self.acknowledged.get(short):
            wanted[short] = None
        elif kind == 2:
            wanted[short] = self.git.rev(self.path, "HEAD~0")
        elif kind == 3 and self.turn > 3:
            self.git("reset", "-q", "--hard", "HEAD~2", cwd=self.path)
            wanted[main] = self.git.rev(self.path)
        return wanted, kind == 0

    def run(self):
        while not self.stopped.is_set():
            wanted, atomic = self.step()
            self.open_ = wanted
            specs = [f"+{oid}:{ref}" if oid else f":{ref}" for ref, oid in wanted.items()]
            status, _, _ = self.git.run("push", "-q", *(["--atomic"] if atomic else []), self.repo.url(), *specs, cwd=self.path)
            if status != 0:
                self.atomic_ = atomic
                return
            self.acknowledged.update(wanted)
            self.open_ = {}


def check(t, server, repo, writers, what):
    """Each ref has its acknowledged value or, if a push to it was cut off, that push's; all is sound."""
    refs = t.git.remote_refs(repo.url())
    for w in writers:
        known = set(w.acknowledged) | set(w.open_)
        for ref in known:
            possible = {w.acknowledged.get(ref)} | ({w.open_[ref]} if ref in w.open_ else set())
            expect(refs.get(ref) in possible, f"{what}: {ref}", refs.get(ref), possible)
        if w.open_ and getattr(w, "atomic_", False):
            news = {ref: refs.get(ref) == oid for ref, oid in w.open_.items() if w.acknowledged.get(ref) != oid}
            expect(len(set(news.values())) <= 1, f"{what}: an atomic push is there in part", news)
        w.acknowledged.update({ref: refs.get(ref) for ref in known})
        w.open_ = {}
    mine = {ref for w in writers for ref in w.acknowledged}
    expect(set(refs) <= mine | {"refs/heads/main"}, f"{what}: refs out of nowhere", sorted(set(refs) - mine))
    return refs


@test
def kill_9_during_pushes(t):
    server = t.own_server()
    account = server.account()
    repo = account.repo()
    base = t.git.init(t.path("base"))
    t.git.commit(base, {"a": "b"})
    t.git("push", "-q", repo.url(), "main", cwd=base)
    paths = []
    for n in range(3):
        path = t.path(f"w{n}")
        t.git("clone", "-q", base, path)
        paths.append(path)
    done = {n: {} for n in range(3)}
    pushes = 0
    for turn in t.rounds(16):
        writers = [Writer(t.git, repo, paths[n], f"w{n}", t.random) for n in range(3)]
        for n, w in enumerate(writers):
            w.acknowledged, w.turn = done[n], turn * 100
            w.start()
        time.sleep(t.random.uniform(0.02, 0.35))
        server.kill()
        for w in writers:
            w.stopped.set()
        for w in writers:
            w.join()
        pushes += sum(w.turn - turn * 100 for w in writers)
        server.start()
        refs = check(t, server, repo, writers, f"round {turn}")
        for n, w in enumerate(writers):
            done[n] = w.acknowledged
        if turn % 5 == 4 or turn == t.rounds(16)[-1]:
            copy = t.git.mirror(repo.url(), t.path(f"copy{turn}"), turn % 3)
            same(t.git.refs(copy), refs, f"round {turn}: refs of a clone")
            t.git("fsck", "--full", "--no-dangling", cwd=copy)
    expect(pushes > len(t.rounds(16)), "there were pushes to kill", pushes)
    wait_for(lambda: not left_over(server), "nothing left of cut pushes")


@test
def killed_again_and_again(t):
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(18):
        rounds.round(n)
    expect(rounds.pushes > len(t.rounds(18)), "there were pushes to kill", rounds.pushes)
    expect(rounds.kept > 0, "forks, adoptions or exports were there in the end")
    rounds.close()


CALLS = "write+flush+rename+create+mkdir+unlink"


@test
def an_export_that_was_killed_is_cleared_away(t):
    """At each call; then again, killed at one call of the clearing away or of what follows; and then to its end."""
    disk = t.path("disk")
    os.makedirs(os.path.join(disk, "out"))
    control = Control(t.path("control"))
    env = environment(disk, control=control.path)
    server = t.own_server(data=os.path.join(disk, "data"))
    account = server.account()
    repo = account.repo()
    base = t.git.init(t.path("base"))
    t.git.commit(base, {"a": "b"})
    t.git("push", "-q", repo.url(), "main", cwd=base)
    refs = t.git.remote_refs(repo.url())
    server.stop()
    path = os.path.join(disk, "out", "x.git")

    def export(killed_at=None):
        """Whether it got to its end."""
        control.fail(CALLS, CRASH, 1 << 30 if killed_at is None else killed_at, 1, path="/out/")
        status, _, err = run_warren("repo", "export", repo.id, path, "--data", server.data, env=env)
        expect(status == 0 or control.failed(), "an export", status, err)
        return status == 0

    def whole(what):
        same(t.git.refs(path), refs, f"{what}: refs")
        t.git("fsck", "--full", "--strict", "--no-dangling", cwd=path)
        same(os.listdir(os.path.dirname(path)), ["x.git"], f"{what}: what is there")
        shutil.rmtree(path)

    export()
    calls = control.seen()
    whole("one that nobody killed")
    for n in range(calls):
        expect(not export(n), f"killed at call {n}: it got to its end")
        if not os.path.exists(path) and export(t.random.randrange(2 * calls)):
            whole(f"killed at call {n}, and made then")
        if not os.path.exists(path):
            expect(export(), f"killed at call {n}: the next one")
        whole(f"killed at call {n}")


def left_over(server):
    """Spool files that outlive their push."""
    return [name for name in server.files("run") if "pack" in name or "tmp" in name]


@test
def kill_9_during_creations_and_deletions(t):
    """Repositories, identities, grants, tokens: what was answered is there after the start, what was deleted is not."""
    server = t.own_server()
    account = server.account()
    for turn in t.rounds(6):
        made, deleting, deleted = [], [], []

        def work():
            mine = Account(server, account.id, account.name, account.key)
            try:
                while True:
                    repo = mine.repo(name="x")
                    identity = mine.identity(write=repo)
                    secret = identity.secret()
                    made.append((repo, identity, secret))
                    if len(made) % 3 == 0:
                        deleting.append(repo.id)
                        mine.api.delete(repo.path).empty()
                        deleted.append(repo.id)
            except (OSError, http.client.HTTPException):
                return

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(t.random.uniform(0.1, 0.5))
        server.kill()
        for thread in threads:
            thread.join()
        server.start()
        asking = server.api()
        for repo, _identity, secret in made:
            status = asking.get(repo.path, credential=secret).status
            if repo.id in deleted:
                same(status, 404, f"round {turn}: a deleted repository")
            elif repo.id not in deleting:
                same(status, 200, f"round {turn}: what was answered is there")
        expect(made, "something was made")


@test
def kill_9_during_a_clone_harms_nothing(t):
    server = t.own_server()
    account = server.account()
    repo = account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {f"f{i}": t.random.randbytes(500_000) for i in range(20)})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for turn in t.rounds(3):
        clone = t.git.start("clone", "-q", "--mirror", repo.url(), t.path(f"c{turn}"))
        time.sleep(t.random.uniform(0.01, 0.3))
        server.kill()
        clone.communicate(timeout=60)
        server.start()
    t.git.same_repository(t.git.mirror(repo.url(), t.path("copy")), work, "after all")


@test
def the_first_push_killed(t):
    """The folder of a repository comes into being whole or not at all."""
    server = t.own_server()
    account = server.account()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b", "big": os.urandom(200_000)})
    for turn in t.rounds(6):
        repos = [account.repo() for _ in range(6)]
        pushes = [t.git.start("push", "-q", repo.url(), "main", cwd=work) for repo in repos]
        time.sleep(t.random.uniform(0.02, 0.15))
        server.kill()
        said = []
        for push in pushes:
            push.communicate(timeout=60)
            said.append(push.returncode == 0)
        server.start()
        for repo, acknowledged in zip(repos, said):
            refs = t.git.remote_refs(repo.url())
            expect(refs in ({}, t.git.refs(work)), f"round {turn}: all or nothing", refs)
            expect(refs or not acknowledged, f"round {turn}: acknowledged and gone")
            t.git("push", "-q", repo.url(), "main", cwd=work)
        t.git("fsck", "--full", cwd=t.git.mirror(repos[0].url(), t.path(f"copy{turn}")))
