"""Random operations against a model in memory: after each one the server's refs are the model's, and every pack that it sends
holds exactly what the refs reach, whatever was pushed, moved, rewound and deleted before, and after checkpoints, restarts
and kills as well.

`make model-long` goes on with Rounds for as long as one likes; see fault/_long.py."""
import glob
import http.client
import os
import random
import shutil
import socket

from harness import Repo, expect, same, test
from harness import pkt
from harness.core import Fail, sanitized, slowness
from harness.pkt import COMMIT, TAG
from harness.raw import FETCH, Objects, Refused, Wire, check_clone, unpack
from harness.server import run_warren

COST = 14
OPERATIONS = {
    "grow": 30, "branch": 8, "merge": 5, "force": 7, "root": 2, "delete": 8, "point": 8, "revive": 6, "tag": 6, "light": 3,
    "retag": 2, "custom": 6, "many": 3, "atomic_refused": 2, "partly_refused": 2, "stale": 3, "folder": 2, "missing": 2,
    "spare": 3, "again": 2, "large": 1, "default": 1,
    "fetch": 10, "by_id": 8, "clone": 4, "git_clone": 1, "shallow": 1,
    "checkpoint": 4, "restart": 1, "kill": 1,
}


class Copy:
    """What a client has that fetches now and then: these objects, and tips of which it has everything."""

    def __init__(self):
        self.have, self.tips = set(), set()


class World:
    """One repository and its model."""

    def __init__(self, rounds, r, what):
        self.rounds, self.random, self.what = rounds, r, what
        self.server, self.t = rounds.server, rounds.t
        self.repo_id = rounds.account.repo(name="model").id
        self.objects = Objects()
        self.refs = {}
        self.was = set()     # ids that refs have reached at some time: the server may still hold them
        self.sent = set()    # ids that came with a push of which something was accepted: it may hold these too
        self.copies = [Copy(), Copy()]
        self.turn = 0
        self.said = []       # the last operations, for whoever reads a failure
        self.wire = rounds.wire()

    # Making things.

    def blob(self):
        r = self.random
        grown = [o for o in self.objects.like if len(self.objects.all[o][1]) < 3000]
        if grown and r.random() < 0.3:
            old = r.choice(grown)
        else:
            old = self.objects.blob(r.randbytes(r.choice([0, 1, 30, 400, 2000])))
        if r.random() < 0.6:
            return self.objects.blob(self.objects.all[old][1] + r.randbytes(r.randrange(1, 50)), old)
        return old

    def tree(self, like=None, depth=0):
        r = self.random
        files = {}
        if like:
            files = self.rows(like)
        for _ in range(r.choice([1, 1, 2, 4])):
            name = f"{'abcde'[r.randrange(5)]}{r.randrange(3)}"
            files.pop(name + "/", None)
            files.pop(name, None)
            if depth < 2 and r.random() < 0.3:
                files[name + "/"] = self.tree(None, depth + 1)
            else:
                files[name] = self.blob()
        if len(files) > 2 and r.random() < 0.2:
            files.pop(r.choice(sorted(files)))
        return self.objects.tree(files)

    def rows(self, tree):
        data, out = self.objects.all[tree][1], {}
        while data:
            mode, rest = data.split(b" ", 1)
            name, rest = rest.split(b"\0", 1)
            out[name.decode() + ("/" if mode == b"40000" else "")] = rest[:20].hex()
            data = rest[20:]
        return out

    def commit(self, *parents):
        self.turn += 1
        like = self.objects.links[parents[0]][0] if parents and self.random.random() < 0.9 else None
        return self.objects.commit(self.tree(like), parents, f"commit {self.turn}")

    # Choosing among what is there.

    def of_kind(self, kind, oids):
        return sorted(o for o in oids if self.objects.all[o][0] == kind)

    def reached(self, *names):
        return self.objects.closure([self.refs[n] for n in names] if names else self.refs.values())

    def branches(self):
        return sorted(n for n in self.refs if n.startswith("refs/heads/"))

    def free_name(self, folder="refs/heads/"):
        """A name that is not taken, nor a folder of one, nor below one."""
        while True:
            name = folder + self.random.choice(["main", "dev", "a", "b/c", "b/d/e", "x.y", "\u00fc"]) + self.random.choice(["", "1", "2", "-3"])
            if not any(n == name or n.startswith(name + "/") or name.startswith(n + "/") for n in self.refs):
                return name

    def some_commit(self):
        found = self.of_kind(COMMIT, self.reached())
        return self.random.choice(found) if found else None

    # Pushing.

    def push(self, wanted, extra=(), atomic=False, without=None, refused=(), old=None):
        """wanted: {ref: new or None}. extra: more objects in the pack. without: what the pack leaves out (default: all that is
        reached now). refused: refs that the server has to refuse. old: wrong old ids of some refs."""
        reached = self.reached()
        without = reached if without is None else without
        new = self.objects.closure([o for o in wanted.values() if o], without) | set(extra)
        commands = {ref: ((old or {}).get(ref, self.refs.get(ref)), oid) for ref, oid in wanted.items()}
        pack = self.objects.pack(new, reached, self.random) if any(wanted.values()) else b""
        said = self.wire.push(self.repo_id, commands, pack, atomic)
        expect(said.status == 200, f"{self.what}: a push", said)
        if refused:
            expect(not said.accepted() & set(refused), f"{self.what}: refs that should be refused", said, refused)
            if atomic:
                same(said.accepted(), set(), f"{self.what}: an atomic push with a refusal")
                return
            same(said.accepted(), set(wanted) - set(refused), f"{self.what}: the others")
        else:
            expect(said.ok, f"{self.what}: a push", said, commands)
        self.sent |= new
        for ref, oid in wanted.items():
            if ref in refused:
                continue
            if oid is None:
                self.refs.pop(ref)
            else:
                self.refs[ref] = oid
                self.was |= self.objects.closure([oid], self.was)

    # Operations. Each may find that it does not apply, and then does something simple.

    def grow(self):
        branches = self.branches()
        if not branches:
            self.push({"refs/heads/main": self.commit()})
            return
        name = self.random.choice(branches)
        tip = self.refs[name]
        for _ in range(self.random.choice([1, 1, 1, 2, 5])):
            tip = self.commit(tip)
        self.push({name: tip})

    def branch(self):
        start = self.some_commit()
        self.push({self.free_name(): self.commit(*([start] if start else []))})

    def merge(self):
        branches = self.branches()
        if len(branches) < 2:
            return self.branch()
        a, b = self.random.sample(branches, 2)
        self.push({a: self.commit(self.refs[a], self.refs[b], *([self.some_commit()] if self.random.random() < 0.2 else []))})

    def force(self):
        branches = self.branches()
        if not branches:
            return self.grow()
        name = self.random.choice(branches)
        older = self.of_kind(COMMIT, self.reached(name))
        tip = self.random.choice(older)
        self.push({name: self.commit(tip) if self.random.random() < 0.5 else tip})

    def root(self):
        """A history of its own, perhaps in the place of another."""
        branches = self.branches()
        name = self.random.choice(branches) if branches and self.random.random() < 0.5 else self.free_name()
        self.push({name: self.commit()})

    def delete(self):
        names = [n for n in self.refs if n != "refs/heads/main" and self.random.random() < 0.3]
        if not names:
            return self.branch()
        self.push({n: None for n in names}, atomic=self.random.random() < 0.5)

    def point(self):
        """A ref to a commit of another: no object goes over the wire."""
        tip = self.some_commit()
        if not tip:
            return self.grow()
        branches = [n for n in self.branches() if self.refs[n] != tip]
        name = self.random.choice(branches) if branches and self.random.random() < 0.5 else self.free_name()
        self.push({name: tip}, without={tip, *self.reached()})

    def revive(self):
        """A ref to something that no ref reaches any more, without its objects: what is served then is whole."""
        gone = self.of_kind(COMMIT, self.was - self.reached())
        if not gone:
            return self.force()
        tip = self.random.choice(gone)
        name = self.free_name(self.random.choice(["refs/heads/", "refs/tags/", "refs/custom/"]))
        new = tip if self.random.random() < 0.5 else self.commit(tip)
        self.push({name: new}, without=self.was)

    def tag(self):
        oids = self.reached()
        if not oids:
            return self.grow()
        target = self.random.choice(sorted(oids) if self.random.random() < 0.3 else self.of_kind(COMMIT, oids))
        name = self.free_name("refs/tags/")
        oid = self.objects.tag(target, name)
        if self.random.random() < 0.2:
            oid = self.objects.tag(oid, name + "-twice")
        self.push({name: oid})

    def light(self):
        tip = self.some_commit()
        if not tip:
            return self.grow()
        self.push({self.free_name("refs/tags/"): tip})

    def retag(self):
        tags, tip = sorted(n for n in self.refs if n.startswith("refs/tags/")), self.some_commit()
        if not tags or not tip:
            return self.tag()
        name = self.random.choice(tags)
        self.turn += 1
        self.push({name: self.objects.tag(tip, f"again-{self.turn}")})

    def custom(self):
        """Refs that are neither branches nor tags may hold anything."""
        mine = sorted(n for n in self.refs if n.startswith("refs/custom/"))
        name = self.random.choice(mine) if mine and self.random.random() < 0.5 else self.free_name("refs/custom/")
        start = self.some_commit()
        kind = self.random.randrange(5)
        if kind == 0:
            oid = self.objects.blob(self.random.randbytes(40))
        elif kind == 1:
            oid = self.tree()
        elif kind == 2 and start:
            oid = self.random.choice(sorted(self.reached()))
        else:
            oid = self.commit(*([start] if start else []))
        if self.refs.get(name) != oid:
            self.push({name: oid})

    def many(self):
        """Several refs in one push, created, moved and deleted."""
        wanted = {n: None if n != "refs/heads/main" and self.random.random() < 0.3 else self.commit(self.refs[n])
                  for n in self.branches() if self.random.random() < 0.5}
        while len(wanted) < 2:
            name = self.free_name()
            if not any(n == name or n.startswith(name + "/") or name.startswith(n + "/") for n in wanted):
                wanted[name] = self.commit()
        self.push(wanted, atomic=self.random.random() < 0.5)

    def wrong(self):
        """A branch to push to, and an old id that is not its."""
        name = self.random.choice(self.branches())
        others = self.of_kind(COMMIT, self.was - {self.refs[name]})
        return name, self.random.choice(others) if others and self.random.random() < 0.7 else None

    def stale(self):
        if not self.branches():
            return self.grow()
        name, old = self.wrong()
        self.push({name: self.commit(self.refs[name])}, refused=[name], old={name: old})

    def atomic_refused(self):
        if not self.branches():
            return self.grow()
        name, old = self.wrong()
        self.push({name: self.commit(self.refs[name]), self.free_name("refs/custom/"): self.commit()}, atomic=True,
                  refused=[name], old={name: old})

    def partly_refused(self):
        if not self.branches():
            return self.grow()
        name, old = self.wrong()
        self.push({name: self.commit(self.refs[name]), self.free_name("refs/custom/"): self.commit()}, refused=[name], old={name: old})

    def folder(self):
        """A ref below a ref."""
        if not self.refs:
            return self.grow()
        name = self.random.choice(sorted(self.refs)) + "/below"
        if not any(n.startswith(name) for n in self.refs):
            self.push({name: self.commit()}, refused=[name])

    def missing(self):
        """A push that leaves out something that the server does not have."""
        tip = self.some_commit()
        new = self.commit(*([tip] if tip else []))
        needed = self.objects.closure([new], self.reached())
        left_out = self.random.choice(sorted(needed))
        if left_out in self.was | self.sent:
            return self.stale()
        name = self.free_name()
        pack = self.objects.pack(needed - {left_out}, ())
        said = self.wire.push(self.repo_id, {name: (None, new)}, pack)
        expect(not said.accepted(), f"{self.what}: a push without one of its objects", said)

    def spare(self):
        """Objects in the pack that no ref reaches: they go nowhere."""
        tip = self.some_commit()
        other = self.commit(*([tip] if tip else []))
        extra = self.objects.closure([other], self.reached()) | {self.objects.blob(self.random.randbytes(100))}
        self.push({self.free_name(): self.commit(*([tip] if tip else []))}, extra=extra)

    def again(self):
        """A pack of objects that are all there."""
        tip = self.some_commit()
        if not tip:
            return self.grow()
        self.push({self.free_name(): tip}, without=set())

    def large(self):
        tip = self.some_commit()
        tree = self.objects.tree({"large": self.objects.blob(self.random.randbytes(1_200_000 if not sanitized() else 300_000))})
        self.push({self.free_name(): self.objects.commit(tree, [tip] if tip else [], f"large {self.turn}")})

    def default(self):
        """The default branch cannot be deleted."""
        if "refs/heads/main" not in self.refs:
            return self.grow()
        self.push({"refs/heads/main": None}, refused=["refs/heads/main"])

    # Looking.

    def fetch(self):
        """A client that has something gets what it lacks, and nothing that no ref reaches."""
        if not self.refs:
            return
        copy = self.random.choice(self.copies)
        names = sorted(self.refs)
        tips = {self.refs[n] for n in names if self.random.random() < 0.7} or {self.refs[names[0]]}
        haves = set(self.random.sample(sorted(copy.tips), min(len(copy.tips), self.random.choice([0, 1, 3, 100]))))
        thin = self.random.random() < 0.5
        bases = {o: self.objects.all[o] for o in self.objects.closure(haves)} if thin else None
        got = set(unpack(self.wire.fetch(self.repo_id, tips, sorted(haves), thin), bases))
        wanted, had = self.objects.closure(tips), self.objects.closure(haves)
        expect(got <= wanted, f"{self.what}: a fetch brings what was not asked for", sorted(got - wanted)[:5])
        # What is no longer reachable cannot count as common: the client gets it again.
        expect(wanted - had <= got, f"{self.what}: a fetch is incomplete", sorted(wanted - had - got)[:5])
        copy.have |= got
        copy.tips |= tips

    def by_id(self):
        """What a ref reaches may be asked for by its id, and nothing else."""
        reached = self.reached()
        gone = sorted(self.was - reached)
        if gone:
            oid = self.random.choice(self.of_kind(COMMIT, gone) or gone if self.random.random() < 0.6 else gone)
            try:
                self.wire.fetch(self.repo_id, [oid])
            except Refused:
                pass
            else:
                raise Fail(f"{self.what}: {oid} was sent, which no ref reaches")
        commits = self.of_kind(COMMIT, reached)
        if commits:
            oid = self.random.choice(commits)
            same(set(unpack(self.wire.fetch(self.repo_id, [oid]))), self.objects.closure([oid]), f"{self.what}: a fetch by id")

    def clone(self):
        check_clone(self.wire, self.objects, self.repo_id, self.refs, self.what)

    def git_clone(self):
        """With git, in two protocols: fsck, and the pack that came has what the refs reach and nothing else."""
        if not self.refs:
            return
        wanted = self.reached()
        for version in (0, 2):
            path = self.t.path(f"clone-{os.urandom(4).hex()}")
            copy = self.t.git.mirror(Repo(self.rounds.account, self.repo_id).url(), path, version)
            same(self.t.git.refs(copy), self.refs, f"{self.what}: refs of a clone, version {version}")
            self.t.git("fsck", "--full", "--strict", "--no-dangling", cwd=copy)
            listed = self.t.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", cwd=copy).split()
            same(set(listed), self.t.git.objects(copy), f"{self.what}: objects received, version {version}")
            same(set(listed), wanted, f"{self.what}: objects of the model, version {version}")
            shutil.rmtree(copy)

    def shallow(self):
        if not self.branches():
            return
        path = self.t.path(f"shallow-{os.urandom(4).hex()}")
        name = self.random.choice(self.branches())
        self.t.git("init", "-q", "--bare", path)
        for depth in (f"--depth={self.random.choice([1, 2, 5])}", "--unshallow"):
            if depth == "--unshallow" and not os.path.exists(os.path.join(path, "shallow")):
                break
            self.t.git("fetch", "-q", depth, Repo(self.rounds.account, self.repo_id).url(), f"+{name}:refs/heads/got", cwd=path)
            self.t.git("fsck", "--full", "--no-dangling", cwd=path)
            same(self.t.git.refs(path)["refs/heads/got"], self.refs[name], f"{self.what}: a shallow fetch")
        shutil.rmtree(path)

    # The server.

    def checkpoint(self):
        status, _, err = run_warren("repo", "checkpoint", self.repo_id, "--data", self.server.data)
        same(status, 0, f"{self.what}: checkpoint: {err}")
        if self.random.random() < 0.3:
            self.clone()

    def restart(self):
        self.server.stop()
        self.server.start()
        self.wire = self.rounds.wire()

    def kill(self):
        self.server.kill()
        self.server.start()
        self.wire = self.rounds.wire()

    # Steps.

    def step(self, operation):
        self.said = [*self.said[-11:], operation]
        try:
            getattr(self, operation)()
            listed = self.wire.ls_refs(self.repo_id)
            same({n: oid for n, (oid, _) in listed.items()}, self.refs, f"{self.what}: refs")
            for name, (oid, peeled) in listed.items():
                same(peeled, self.peeled(oid), f"{self.what}: what {name} leads to")
        except Exception as e:
            raise Fail(f"{self.what}, operations {' '.join(self.said)}: {e}") from e

    def peeled(self, oid):
        if self.objects.all[oid][0] != TAG:
            return None
        while self.objects.all[oid][0] == TAG:
            oid = self.objects.links[oid][0]
        return oid


class Rounds:
    """Each round is a repository of its own, and some hundred operations on it; the ones before are looked at again."""

    PER_FOLDER = 20
    OPERATIONS = 250

    def __init__(self, t, seed):
        self.t, self.seed = t, seed
        self.server = t.own_server()
        self.account = self.server.account()
        self.worlds = []

    def wire(self):
        return Wire(self.server.url, self.account.key)

    def round(self, n, operations=None):
        r = random.Random(f"{self.seed}:{n}")
        world = World(self, r, f"seed {self.seed}, round {n}")
        for name in r.choices(list(OPERATIONS), list(OPERATIONS.values()), k=operations or self.OPERATIONS):
            world.step(name)
        self.end(world)
        self.worlds = [*self.worlds[-3:], world]
        for older in self.worlds:
            older.wire = self.wire()
            older.step("clone")

    def end(self, world):
        """All at rest: with git, before and after a checkpoint, and what was left behind is asked for by its id."""
        for name in ("git_clone", "checkpoint", "clone", "by_id", "git_clone", "restart", "git_clone", "by_id"):
            world.step(name)
            if name == "checkpoint":
                self.folder(world)
        self.server.verify(world.repo_id)

    def folder(self, world):
        """After a checkpoint plain git reads the folder itself."""
        (path,) = glob.glob(os.path.join(self.server.data, "repos", "*", "*", world.repo_id + ".git"))
        config = ("-c", "safe.directory=*")
        same(self.t.git.refs(path), world.refs, f"{world.what}: refs of the folder")
        self.t.git(*config, "fsck", "--full", "--strict", "--no-dangling", cwd=path)
        self.t.git(*config, "log", "--oneline", "--all", cwd=path)

    def close(self):
        self.server.stop()


@test
def a_thousand_operations(t):
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(1 if sanitized() else 4):
        rounds.round(n, 100 if sanitized() else None)
    rounds.close()


@test
def after_each_checkpoint(t):
    """A checkpoint after every few operations, so that there are always several generations."""
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(1):
        r = random.Random(f"{rounds.seed}:dense:{n}")
        world = World(rounds, r, f"seed {rounds.seed}, dense round {n}")
        names = [k for k in OPERATIONS if k not in ("restart", "kill", "checkpoint")]
        for _ in range(15 if sanitized() else 60):
            for name in r.choices(names, [OPERATIONS[k] for k in names], k=r.choice([1, 2, 4])):
                world.step(name)
            world.step("checkpoint")
            world.step("clone")
        rounds.end(world)
    rounds.close()


def slow_clone(server, account, repo_id, refs):
    """A clone that has begun to arrive: its answer, of which hardly anything was read, and little fits into buffers."""
    host, port = server.url.split("//")[1].split(":")
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    s.settimeout(60 * slowness())
    s.connect((host, int(port)))
    body = pkt.pkts("command=fetch\n", pkt.DELIM, "ofs-delta\n", *[f"want {w}\n" for w in sorted(set(refs.values()))], "done\n", pkt.FLUSH)
    head = "".join(f"{k}: {v}\r\n" for k, v in {
        "Host": "x", "Authorization": f"Bearer {account.key}", "Git-Protocol": "version=2", "Content-Length": len(body), **FETCH}.items())
    s.sendall(f"POST /{repo_id}.git/git-upload-pack HTTP/1.1\r\n{head}\r\n".encode() + body)
    answer = http.client.HTTPResponse(s)
    answer.begin()
    same(answer.status, 200, "status of a slow clone")
    return s, answer, answer.read(1000)


@test
def slow_clones_outlive_checkpoints(t):
    """Readers hold what they began with: packs and journals that checkpoints have long replaced."""
    server = t.own_server()
    account = server.account()
    repo_id = account.repo().id
    wire, objects, r = Wire(server.url, account.key), Objects(), t.random
    refs, readers, last = {}, [], None

    def push(name, new):
        oids = objects.closure([new], objects.closure(refs.values()))
        said = wire.push(repo_id, {name: (refs.get(name), new)}, objects.pack(oids))
        expect(said.ok, "a push", said)
        refs[name] = new
    for i in range(4):
        # Some megabytes as a pack, some in the journal.
        for size in [3_000_000, *[400_000] * 6]:
            last = objects.commit(objects.tree({f"f{i}": objects.blob(r.randbytes(size))}), [last] if last else [], f"{i} {size}")
            push("refs/heads/main", last)
        readers.append((*slow_clone(server, account, repo_id, refs), dict(refs)))
        t.stack.callback(readers[-1][0].close)
        if i == 2:
            last = objects.commit(objects.tree({"new": objects.blob(b"a rewind")}), [], "rewound")
            push("refs/heads/main", last)
        server.cli("repo", "checkpoint", repo_id)
    for s, answer, first, had in readers:
        packets = pkt.parse(first + answer.read())
        got = unpack(pkt.bands(packets[1:])[1])
        same(set(got), objects.closure(had.values()), "what a slow clone got")
        s.close()
    check_clone(wire, objects, repo_id, refs, "a clone at the end")
