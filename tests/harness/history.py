"""Random histories as hosts see them, and odder ones: merges, octopuses, several roots, criss-cross, equal and lying
dates, tags of everything, tags of tags, refs beside branches and tags, submodules, deep folders, the same trees and
blobs again.

What anything reaches is known here without git."""
from harness import pkt
from harness.pkt import COMMIT, TAG, TREE
from harness.raw import Objects

NAMES = ["a", "a.b", "a-b", "a0", "b", "c", "README", "src", "lib", "x y", "\u00e4"]
LINK, FOLDER, FILE, PROGRAM, SYMLINK = "160000", "40000", "100644", "100755", "120000"


class History:
    """Objects, and the refs as they are after the last change. Only what refs reached at some time is in commits."""

    def __init__(self, random):
        self.random, self.objects, self.refs = random, Objects(), {}
        self.commits, self.blobs, self.dates, self.rows = [], [], {}, {}
        self.lying = random.random() < 0.3
        self.clock = 1_600_000_000
        self.turn = 0

    # Making objects.

    def date(self):
        """Never before an older commit's, unless this history lies."""
        r = self.random
        self.clock += r.choice([0, 0, 0, 1, 60, 90_000])
        return max(1, self.clock + r.randint(-2_000_000, 2_000_000)) if self.lying and r.random() < 0.4 else self.clock

    def blob(self):
        r = self.random
        if self.blobs and r.random() < 0.2:
            return r.choice(self.blobs)
        if self.blobs and r.random() < 0.5:
            old = r.choice(self.blobs[-20:])
            data = self.objects.all[old][1]
            oid = self.objects.blob(data[:60_000] + r.randbytes(r.randrange(1, 40)),
                old if len(data) <= 60_000 else None)
        elif r.random() < 0.03:
            oid = self.objects.blob(r.randbytes(700) * r.randrange(40, 200))
        else:
            oid = self.objects.blob(r.randbytes(r.choice([0, 1, 20, 20, 200, 1024, 3000])))
        self.blobs.append(oid)
        return oid

    def tree(self, rows):
        """rows: {name: (mode, id)}."""
        ordered = sorted(rows.items(), key=lambda row: (row[0] + ("/" if row[1][0] == FOLDER else "")).encode())
        oid = self.objects.add(TREE, pkt.tree(*[(mode, name, i) for name, (mode, i) in ordered]),
                               [i for _, (mode, i) in ordered if mode != LINK])
        self.rows[oid] = dict(rows)
        return oid

    def edit(self, tree=None, level=0):
        """A tree that differs from the one given, as a rule."""
        r = self.random
        rows = dict(self.rows[tree]) if tree else {}
        for _ in range(r.choice([1, 1, 1, 2, 6])):
            name = r.choice(NAMES)
            old = rows.get(name)
            kind = r.random()
            if kind < 0.1 and old:
                del rows[name]
            elif kind < 0.4 and level < 6:
                rows[name] = FOLDER, self.edit(old[1] if old and old[0] == FOLDER else None, level + 1)
            elif kind < 0.45:
                rows[name] = LINK, r.randbytes(20).hex()
            elif kind < 0.5 and self.rows:
                rows[name] = FOLDER, r.choice(sorted(self.rows))
            else:
                rows[name] = r.choice([FILE, FILE, FILE, FILE, PROGRAM, SYMLINK]), self.blob()
        return self.tree(rows)

    def commit(self, parents=(), tree=None):
        r = self.random
        self.turn += 1
        if tree is None:
            like = self.objects.links[r.choice(parents)][0] if parents else None
            kind = r.random()
            if kind < 0.1 and like:
                tree = like
            elif kind < 0.2 and self.commits:
                tree = self.objects.links[r.choice(self.commits)][0]
            else:
                tree = self.edit(like)
        date = self.date()
        oid = self.objects.add(COMMIT, pkt.commit(tree, *parents, message=f"commit {self.turn}", date=date),
            [tree, *parents])
        self.dates[oid] = date
        return oid

    # Changing the refs: the new values, which change() makes count.

    def change(self):
        """The refs after some further work."""
        self.refs = dict(self.refs)
        for _ in range(self.random.choice([1, 2, 4, 8])):
            getattr(self, self.random.choices(
                ["grow", "merge", "octopus", "cross", "root", "branch", "force", "delete", "tag", "light", "other"],
                [30, 10, 3, 4, 3, 10, 5, 5, 8, 3, 5])[0])()
        return self.refs

    def kept(self, oid):
        self.commits.append(oid)
        return oid

    def branches(self):
        return sorted(n for n in self.refs if n.startswith("refs/heads/"))

    def free(self, folder):
        self.turn += 1
        return f"{folder}{self.random.choice(['a', 'b/c', 'v', 'x.y'])}{self.turn}"

    def name(self):
        names = self.branches()
        return self.random.choice(names) if names and self.random.random() < 0.9 else \
            "refs/heads/main" if not names or self.random.random() < 0.3 else self.free("refs/heads/")

    def some_commit(self):
        found = sorted(o for o in self.closure(self.refs.values()) if self.kind(o) == COMMIT)
        return self.random.choice(found) if found else self.kept(self.commit())

    def grow(self):
        name = self.name()
        for _ in range(self.random.choice([1, 1, 2, 5])):
            self.refs[name] = self.kept(self.commit([self.refs[name]] if name in self.refs else []))

    def merge(self, most=2):
        tips = list(dict.fromkeys([self.refs[n] for n in self.branches()] + [self.some_commit(), self.some_commit()]))
        self.random.shuffle(tips)
        self.refs[self.name()] = self.kept(self.commit(tips[:most]))

    def octopus(self):
        self.merge(self.random.randrange(3, 6))

    def cross(self):
        a, b = self.kept(self.commit([self.some_commit()])), self.kept(self.commit([self.some_commit()]))
        for _ in range(self.random.choice([1, 2])):
            a, b = self.kept(self.commit([a, b])), self.kept(self.commit([b, a]))
        self.refs[self.name()] = a
        self.refs[self.name() if self.random.random() < 0.5 else self.free("refs/heads/")] = b

    def root(self):
        self.refs[self.name() if self.random.random() < 0.4 else self.free("refs/heads/")] = self.kept(self.commit())

    def branch(self):
        tip = self.some_commit()
        self.refs[self.free("refs/heads/")] = tip if self.random.random() < 0.3 else self.kept(self.commit([tip]))

    def force(self):
        tip = self.some_commit()
        self.refs[self.name()] = tip if self.random.random() < 0.6 else self.kept(self.commit([tip]))

    def delete(self):
        for name in [n for n in sorted(self.refs) if n != "refs/heads/main" and self.random.random() < 0.3]:
            del self.refs[name]

    def tag(self):
        """A tag of a commit, or of anything; a tag of a tag."""
        r = self.random
        target = self.some_commit() if r.random() < 0.6 else r.choice(sorted(self.closure([self.some_commit()])))
        name = self.free("refs/tags/")
        for i in range(r.choice([1, 1, 1, 2, 3])):
            target = self.objects.tag(target, f"{name[len('refs/tags/'):]}-{i}")
            if r.random() < 0.2:
                self.refs[self.free("refs/tags/")] = target
        self.refs[name] = target

    def light(self):
        self.refs[self.free("refs/tags/")] = self.some_commit()

    def other(self):
        """Refs beside branches and tags hold anything."""
        r = self.random
        what = r.randrange(5)
        oid = self.edit() if what == 0 else self.blob() if what == 1 else self.objects.tag(self.some_commit(),
            "elsewhere") \
            if what == 2 else self.kept(self.commit([self.some_commit()]))
        self.refs[self.free(r.choice(["refs/notes/", "refs/pull/", "refs/x/y/"]))] = oid

    # What is known of them.

    def kind(self, oid):
        return self.objects.all[oid][0]

    def parents(self, commit):
        return self.objects.links[commit][1:]

    def peeled(self, oid):
        while self.kind(oid) == TAG:
            oid = self.objects.links[oid][0]
        return oid

    def closure(self, tips, shallow=()):
        """Every id that the tips reach where commits of `shallow` have no parents."""
        seen, todo = set(), list(tips)
        while todo:
            oid = todo.pop()
            if oid not in seen:
                seen.add(oid)
                links = self.objects.links[oid]
                todo.extend(links[:1] if oid in shallow else links)
        return seen

    def commits_of(self, oids):
        return {o for o in oids if self.kind(o) == COMMIT}
