"""Random histories: pushed in pieces and compared with their source, ref by ref and object by object."""
from harness import same, test

IN_MEMORY = True
COST = 4


class Import:
    """Writes a stream for git fast-import: commits, merges, renames, modes, links, submodules, tags of every kind."""

    def __init__(self, random):
        self.random, self.out, self.mark, self.time = random, [], 0, 1_600_000_000
        self.branches, self.files = {}, {}

    def data(self, content):
        content = content if isinstance(content, bytes) else content.encode()
        return b"data %d\n" % len(content) + content + b"\n"

    def name(self):
        r = self.random
        return "/".join(r.choice(["a", "b", "\u00fc", "dir", "x y", "deep", "z"]) + str(r.randrange(3)) for _ in range(r.randint(1, 4)))

    def content(self):
        r = self.random
        kind = r.randrange(5)
        if kind == 0:
            return r.randbytes(r.randrange(3000))
        if kind == 1:
            return b"same\n" * r.randrange(200)
        if kind == 2:
            return b""
        return "".join(f"line {r.randrange(50)}\n" for _ in range(r.randrange(200))).encode()

    def change(self, files):
        r = self.random
        for _ in range(r.randint(1, 5)):
            kind = r.randrange(10)
            name = r.choice(sorted(files)) if files and r.random() < 0.6 else self.name()
            if kind == 0 and files:
                gone = r.choice(sorted(files))
                files.pop(gone)
                self.out.append(b'D "%s"\n' % gone.encode())
                continue
            # A file takes the place of a folder and the other way round.
            for other in [o for o in files if o.startswith(name + "/") or name.startswith(o + "/")]:
                files.pop(other)
                self.out.append(b'D "%s"\n' % other.encode())
            files[name] = True
            if kind == 1:
                self.out.append(b'M 160000 %040x "%s"\n' % (r.getrandbits(160) | 1, name.encode()))
            else:
                mode = {2: b"100755", 3: b"120000"}.get(kind, b"100644")
                self.out.append(b'M %s inline "%s"\n' % (mode, name.encode()) + self.data(self.content() if kind != 3 else b"target"))

    def step(self):
        r = self.random
        self.time += r.choice([0, 1, 60, 86400, -3600])
        branch = r.choice(["main", "main", "dev", "feat/x", "feat/y", f"b{r.randrange(6)}"])
        known = sorted(self.branches)
        root = branch not in self.branches and (not known or r.random() < 0.1)
        start = branch if branch in self.branches else (r.choice(known) if known and not root else None)
        self.mark += 1
        files = dict(self.files.get(start, {}))
        self.out.append(b"commit refs/heads/%s\nmark :%d\n" % (branch.encode(), self.mark))
        for who in (b"author", b"committer"):
            self.out.append(b"%s N \xc3\xbc <n@example.com> %d %s\n" % (who, self.time, r.choice([b"+0000", b"-0730", b"+1345"])))
        self.out.append(self.data(r.choice(["", "one line", "subject\n\nbody\n", "trailing  \n\n\n", "\u65e5\u672c\n"])))
        if start:
            self.out.append(b"from :%d\n" % self.branches[start])
            for other in {r.choice(known) for _ in range(r.choice([0, 0, 0, 1, 1, 3]))} - {start, branch}:
                self.out.append(b"merge :%d\n" % self.branches[other])
        self.change(files)
        self.branches[branch], self.files[branch] = self.mark, files
        if r.random() < 0.1:
            target = r.randint(1, self.mark)
            self.out.append(b"tag v%d\nfrom :%d\ntagger T <t@example.com> %d +0000\n" % (self.mark, target, self.time) + self.data("tag\n"))
        if r.random() < 0.05:
            self.out.append(b"reset refs/tags/light%d\nfrom :%d\n\n" % (self.mark, r.randint(1, self.mark)))

    def take(self):
        out, self.out = b"".join(self.out), []
        return out


@test
def random_histories_arrive_whole(t):
    account = t.account
    for turn in t.rounds(4):
        repo = account.repo()
        work = t.git.init(t.path(f"w{turn}"), bare=True)
        marks = t.path(f"marks{turn}")
        maker = Import(t.random)
        copies = {}
        for piece in range(t.random.randint(2, 4)):
            for _ in range(t.random.choice([1, 5, 40])):
                maker.step()
            options = ["--import-marks=" + marks] if piece else []
            t.git("fast-import", "--quiet", "--force", "--export-marks=" + marks, *options, cwd=work, data=maker.take())
            version = t.random.randrange(3)
            t.git("-c", f"protocol.version={version}", "push", "-q", "-f", repo.url(), "refs/heads/*:refs/heads/*",
                  "refs/tags/*:refs/tags/*", cwd=work)
            for v in (0, 1, 2):
                if v not in copies:
                    copies[v] = t.git.mirror(repo.url(), t.path(f"m{turn}-{v}-{piece}"), v)
                else:
                    t.git("-c", f"protocol.version={v}", "fetch", "-q", "--prune", "origin", cwd=copies[v])
                t.git.same_repository(copies[v], work, f"round {turn}, piece {piece}, version {v}")
            if t.random.random() < 0.6:
                copies.pop(t.random.randrange(3))
            victims = [n for n in t.git.refs(work) if n != "refs/heads/main" and t.random.random() < 0.15]
            for name in victims:
                t.git("update-ref", "-d", name, cwd=work)
                if name.startswith("refs/heads/"):
                    maker.branches.pop(name[11:], None)
            if victims:
                t.git("push", "-q", repo.url(), *[":" + name for name in victims], cwd=work)
        same(t.git.remote_refs(repo.url()), t.git.refs(work), f"round {turn}: refs in the end")


@test
def random_shallow_clones_are_sound(t):
    account = t.account
    for turn in t.rounds(2):
        repo = account.repo()
        work = t.git.init(t.path(f"w{turn}"), bare=True)
        maker = Import(t.random)
        for _ in range(60):
            maker.step()
        t.git("fast-import", "--quiet", "--force", cwd=work, data=maker.take())
        t.git("push", "-q", repo.url(), "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*", cwd=work)
        for version in (0, 1, 2):
            copy = t.git.init(t.path(f"c{turn}-{version}"), bare=True)
            config = ("-c", f"protocol.version={version}")
            for _ in range(5):
                depth = t.random.choice(["--depth=1", "--depth=3", "--depth=10", "--deepen=2"])
                what = t.random.choice([["refs/heads/*:refs/heads/*"], ["refs/heads/main:refs/heads/main"],
                                        ["refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"]])
                t.git(*config, "fetch", "-q", "-f", depth, repo.url(), *what, cwd=copy)
                t.git("fsck", "--full", "--no-dangling", cwd=copy)
            t.git(*config, "fetch", "-q", "-f", "--depth=2147483647", repo.url(), "refs/heads/*:refs/heads/*",
                  "refs/tags/*:refs/tags/*", cwd=copy)
            t.git.same_repository(copy, work, f"round {turn}, version {version}, unshallowed")
