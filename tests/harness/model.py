"""A repository and what it has to be: random operations on it through pushes, and looks at it. Objects, refs and all that was
ever pushed are known here, so each answer can be compared with what it should be.

Who uses it says which operations there are, and in step() what happens around each."""
import os
import shutil

from harness.core import Fail, expect, same, sanitized
from harness.pkt import COMMIT, TAG
from harness.raw import Objects, Refused, check_clone, unpack

PUSHES = {
    "grow": 30, "branch": 8, "merge": 5, "force": 7, "root": 2, "delete": 8, "point": 8, "revive": 6, "tag": 6, "light": 3,
    "retag": 2, "custom": 6, "many": 3, "atomic_refused": 2, "partly_refused": 2, "stale": 3, "folder": 2, "missing": 2,
    "spare": 3, "again": 2, "large": 1, "default": 1,
}
LOOKS = {"fetch": 10, "by_id": 8, "clone": 4, "git_clone": 1, "shallow": 1}


class Copy:
    """What a client has that fetches now and then: these objects, and tips of which it has everything."""

    def __init__(self):
        self.have, self.tips = set(), set()


class Model:
    """repo: a harness.Repo. wire: a connection of its account, replaced when the server has another address. objects: shared
    by repositories that have something in common."""

    def __init__(self, t, repo, random, what, wire, objects=None):
        self.t, self.repo, self.repo_id, self.random, self.what, self.wire = t, repo, repo.id, random, what, wire
        self.objects = Objects() if objects is None else objects
        self.default_ref = "refs/heads/main"
        self.refs = {}
        self.was = set()     # ids that refs have reached at some time: the server may still hold them
        self.sent = set()    # ids that came with a push of which something was accepted: it may hold these too
        self.copies = [Copy(), Copy()]
        self.turn = 0
        self.said = []       # the last operations, for whoever reads a failure

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
            self.push({self.default_ref: self.commit()})
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
        names = [n for n in self.refs if n != self.default_ref and self.random.random() < 0.3]
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
        wanted = {n: None if n != self.default_ref and self.random.random() < 0.3 else self.commit(self.refs[n])
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
        if self.default_ref not in self.refs:
            return self.grow()
        self.push({self.default_ref: None}, refused=[self.default_ref])

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
            copy = self.t.git.mirror(self.repo.url(), path, version)
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
            self.t.git("fetch", "-q", depth, self.repo.url(), f"+{name}:refs/heads/got", cwd=path)
            self.t.git("fsck", "--full", "--no-dangling", cwd=path)
            same(self.t.git.refs(path)["refs/heads/got"], self.refs[name], f"{self.what}: a shallow fetch")
        shutil.rmtree(path)

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
