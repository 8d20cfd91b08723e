"""Random histories, clients and fetch requests: what Warren answers is compared with what `git upload-pack` answers of a bare
repository with the same refs and the objects that these reach, and both with what the request allows and needs.

Of the client's repository afterwards: complete but for what it asked to leave out, nothing that the refs do not reach, and
equal to what it would be by git's answer. `make requests-long` goes on with Rounds for as long as one likes."""
import os
import random
import re
import shutil
import subprocess

from harness import expect, same, test
from harness import pkt
from harness.core import Fail, sanitized
from harness.history import History
from harness.pkt import BLOB, COMMIT, DELIM, FLUSH, TAG, TREE, ZERO
from harness.raw import FETCH, KINDS, Wire, unpack
from harness.server import run_warren

COST = 14
FOREVER = 0x7fffffff


def short(oids):
    return " ".join(re.sub(r"^([0-9a-f]{7})[0-9a-f]{33}$", r"\1", o) for o in sorted(oids)) or "-"


class Refusal(Exception):
    """The answer is an ERR packet, or a status that is none of 200."""


class Filter:
    """What a partial clone leaves out: one conjunction, whatever was combined."""

    def __init__(self, spec):
        self.spec, self.limit, self.depth, self.kinds = spec, 1 << 60, 1 << 60, {COMMIT, TREE, BLOB, TAG}
        for part in spec[len("combine:"):].split("+") if spec.startswith("combine:") else [spec]:
            name, _, value = part.replace("%3A", ":").replace("%3D", "=").replace("=", ":").partition(":")
            if name == "tree":
                self.depth = min(self.depth, int(value))
            elif name == "object":
                self.kinds &= {k for k, word in KINDS.items() if value == f"type:{word}"}
            else:
                self.limit = min(self.limit, 0 if value == "none" else int(value[len("limit:"):].replace("k", "000")) * 128 // 125
                                 if value.endswith("k") else int(value[len("limit:"):]))

    def __repr__(self):
        return self.spec


class Client:
    """A repository somewhere: what its tips reach as far as its roots, but for what a filter kept away."""

    def __init__(self, have=(), tips=(), shallow=(), partial=None, known=None):
        self.have, self.tips, self.shallow, self.partial = set(have), set(tips), set(shallow), partial
        self.known = known or ""

    def __repr__(self):
        return f"{self.known} client: tips {short(self.tips)}, roots {short(self.shallow)}, partial {self.partial}"


class Bases:
    """What a thin pack's deltas may build on, for unpack()."""

    def __init__(self, world, have):
        self.world, self.have = world, have

    def get(self, oid):
        return self.world.objects.all.get(oid) if oid in self.have else None


class Ask:
    """One request. depth, since, nots: where history shall end; relative: depth counts from the client's roots."""

    def __init__(self, version=2):
        self.version, self.wants, self.want_refs, self.haves, self.shallow = version, [], {}, [], []
        self.depth, self.relative, self.since, self.nots, self.filter = 0, False, None, [], None
        self.thin = self.ofs = self.tags = self.done = self.no_done = False
        self.bands, self.ack = "side-band-64k", "multi_ack_detailed"

    def wanted(self):
        return [*self.wants, *self.want_refs.values()]

    def deepens(self):
        return bool(self.depth or self.since is not None or self.nots)

    def limits(self):
        return [*([f"deepen {self.depth}"] if self.depth else []), *([f"deepen-since {self.since}"] if self.since is not None else []),
                *[f"deepen-not {n}" for n in self.nots]]

    def body(self):
        shallow = [f"shallow {s}" for s in self.shallow]
        if self.version == 2:
            flags = {"thin-pack": self.thin, "ofs-delta": self.ofs, "include-tag": self.tags, "deepen-relative": self.relative,
                     "no-progress": True, "done": self.done}
            rows = [*[f"want {w}" for w in self.wants], *[f"want-ref {name}" for name in self.want_refs], *shallow, *self.limits(),
                    *([f"filter {self.filter}"] if self.filter else []), *[f"have {h}" for h in self.haves],
                    *[name for name, on in flags.items() if on]]
            return pkt.pkts("command=fetch\n", "object-format=sha1\n", DELIM, *[r + "\n" for r in rows], FLUSH)
        flags = {"thin-pack": self.thin, "ofs-delta": self.ofs, "include-tag": self.tags, "deepen-relative": self.relative,
                 "no-progress": True, "no-done": self.no_done, self.bands: bool(self.bands), self.ack: bool(self.ack),
                 "shallow": bool(shallow) or self.deepens(), "deepen-since": self.since is not None, "deepen-not": bool(self.nots),
                 "filter": bool(self.filter)}
        words = " ".join(name for name, on in flags.items() if on)
        rows = [f"want {w}\n" if i else f"want {w} {words}\n" for i, w in enumerate(self.wants)]
        rows += [*[s + "\n" for s in shallow], *[row + "\n" for row in self.limits()], *([f"filter {self.filter}\n"] if self.filter else [])]
        haves = [f"have {h}\n" for h in self.haves]
        # One round, which is what clients over HTTP send: git leaves at the first flush after haves.
        return pkt.pkts(*rows, FLUSH, *haves, "done\n" if self.done else FLUSH)

    def __repr__(self):
        return "asks " + " ".join(f"{k}={short(v) if isinstance(v, list) else v}" for k, v in vars(self).items() if v)


class Answer:
    """What was answered, taken apart."""

    def __init__(self, ask, body):
        self.acks, self.ready, self.shallow, self.unshallow, self.wanted, self.pack = [], False, set(), set(), {}, None
        if body[4:8] == b"ERR ":
            raise Refusal(body[8:300].decode(errors="replace"))
        if ask.version == 2:
            self.read_sections(pkt.parse(body))
        else:
            self.read_v0(ask, body)

    def cut(self, line):
        word, oid = line.split()
        {"shallow": self.shallow, "unshallow": self.unshallow}[word].add(oid)

    def read_sections(self, packets):
        while packets:
            title = packets.pop(0)
            if title == b"packfile\n":
                self.take(pkt.bands(packets))
                return
            while packets and packets[0] not in (None, 1):
                line = packets.pop(0).decode().rstrip("\n")
                if title == b"acknowledgments\n":
                    self.ready |= line == "ready"
                    self.acks += [line.split()[1]] if line.startswith("ACK ") else []
                elif title == b"shallow-info\n":
                    self.cut(line)
                elif title == b"wanted-refs\n":
                    oid, name = line.split(" ", 1)
                    self.wanted[name] = oid
                else:
                    raise Fail(f"an unknown section {title!r}")
            if not packets or packets.pop(0) is None:
                return

    def read_v0(self, ask, body):
        at, cutting = 0, ask.deepens()
        while at < len(body):
            if body[at:at + 4] == b"PACK":
                self.pack = body[at:]
                return
            n = int(body[at:at + 4], 16)
            line = body[at + 4:at + n]
            if n == 0:
                expect(cutting, "a flush out of place", body[:at + 4])
                cutting, at = False, at + 4
            elif cutting:
                self.cut(line.decode())
                at += n
            elif line[:3] == b"ACK":
                words = line.decode().split()
                self.acks.append(words[1])
                self.ready |= words[2:] == ["ready"]
                at += n
            elif line[:3] == b"NAK":
                at += n
            else:
                self.take(pkt.bands(pkt.parse(body[at:])))
                return

    def take(self, bands):
        expect(not bands[3], "an error in the answer", bands[3])
        self.pack = bands[1]


class World:
    """One history, in Warren and in a bare repository."""

    def __init__(self, rounds, r, what):
        self.rounds, self.random, self.what, self.git = rounds, r, what, rounds.t.git
        self.history = History(r)
        self.objects = self.history.objects
        self.repo_id = rounds.account.repo(name="requests").id
        self.states, self.clients = [], []
        # A branch or tag was rewound or deleted since the last checkpoint: of what it reached Warren only knows by a walk
        # whether refs still reach it, which it spares itself for haves.
        self.lost = False
        self.path = rounds.t.path(f"bare-{os.urandom(4).hex()}")
        self.grow()

    # Making both repositories.

    def grow(self):
        """Some work, pushed; git gets all that the refs reach now, and nothing else."""
        for _ in range(self.random.choice([1, 2, 3])):
            before = self.history.refs
            after = self.history.change()
            while not after:
                after = self.history.change()
            self.push(before, after)
            self.lost |= any(n not in after or o not in self.history.closure([after[n]]) for n, o in before.items())
            self.states.append(after)
        if self.random.random() < 0.3:
            status, _, err = run_warren("repo", "checkpoint", self.repo_id, "--data", self.rounds.server.data)
            same(status, 0, f"{self.what}: checkpoint: {err}")
            self.lost = False
        self.refs = self.history.refs
        self.reached = self.history.closure(self.refs.values())
        self.write_bare()

    def push(self, before, after):
        commands = {n: (before.get(n), after.get(n)) for n in {*before, *after} if before.get(n) != after.get(n)}
        known = self.history.closure(before.values())
        oids = self.history.closure(after.values()) - known
        if not commands:
            return
        said = self.rounds.wire.push(self.repo_id, commands, self.objects.pack(oids, known, self.random) if any(
            new for _, new in commands.values()) else b"")
        expect(said.ok, f"{self.what}: a push", said, commands)

    def write_bare(self):
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in ("objects/pack", "refs"):
            os.makedirs(os.path.join(self.path, folder))
        files = {"HEAD": "ref: refs/heads/main\n", "packed-refs": "".join(f"{o} {n}\n" for n, o in sorted(self.refs.items())),
                 "config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[uploadpack]\n\tallowAnySHA1InWant = true\n"
                           "\tallowFilter = true\n\tallowRefInWant = true\n[pack]\n\tthreads = 1\n"}
        for name, text in files.items():
            with open(os.path.join(self.path, name), "w", encoding="utf-8") as f:
                f.write(text)
        self.git("index-pack", "--stdin", cwd=self.path, data=self.objects.pack(self.reached, random=self.random))

    # Clients.

    def tips(self, refs):
        values = sorted(set(refs.values()))
        return self.random.sample(values, self.random.randint(1, len(values)))

    def client(self):
        r = self.random
        if self.clients and r.random() < 0.4:
            return r.choice(self.clients)
        kind = r.choice(["empty", "full", "full", "depth", "roots", "own"])
        if kind == "empty":
            return Client(known=kind)
        tips = self.tips(r.choice(self.states))
        roots = set()
        if kind == "depth":
            roots = self.roots_at(tips, r.randrange(1, 5))
        elif kind == "roots":
            commits = sorted(self.history.commits_of(self.history.closure(tips)))
            roots = set(r.sample(commits, min(len(commits), r.randrange(1, 4))))
        have = self.history.closure(tips, roots)
        client = Client(have, tips, roots & have, known=kind)
        if r.random() < 0.25:
            client.partial = self.filter()
            client.have = self.filtered(client.partial, tips, roots=roots)
        if kind == "own" and self.history.commits_of(client.have) or r.random() < 0.1:
            self.work(client)
        return client

    def work(self, client):
        """Commits that only this client has."""
        commits = sorted(self.history.commits_of(client.have))
        for _ in range(self.random.randrange(1, 4)):
            new = self.history.commit(self.random.sample(commits, min(len(commits), self.random.randrange(3))))
            client.have |= self.history.closure([new], {*commits, *client.shallow})
            client.have |= self.history.closure([self.objects.links[new][0]])
            client.tips.add(new)
            commits.append(new)

    def roots_at(self, tips, depth):
        """The commits at this depth below the tips."""
        at, seen = {self.history.peeled(t) for t in tips}, set()
        at = self.history.commits_of(at)
        for _ in range(depth - 1):
            seen |= at
            at = {p for c in at for p in self.history.parents(c)} - seen
        return at

    # Requests.

    def ask(self, client):
        r = self.random
        ask = Ask(r.choice([0, 2, 2]))
        ask.thin, ask.ofs, ask.tags, ask.done = (r.random() < p for p in (0.6, 0.8, 0.5, 0.8))
        ask.wants = self.tips(self.refs)
        commits = sorted(self.history.commits_of(self.reached))
        if r.random() < 0.15 and commits:
            ask.wants.append(r.choice(commits))
        if r.random() < 0.07:
            ask.wants.append(r.choice(sorted(self.reached)))
        gone = sorted(set(self.objects.all) - self.reached)
        if r.random() < 0.04 and gone:
            ask.wants.append(r.choice(gone))
        ask.wants = list(dict.fromkeys(ask.wants))
        if ask.version == 2 and r.random() < 0.15:
            names = sorted(self.refs)
            ask.want_refs = {n: self.refs[n] for n in r.sample(names, r.randint(1, len(names)))}
            ask.wants = ask.wants if r.random() < 0.3 else []
        if client.partial or r.random() < 0.15:
            ask.filter = self.filter() if not client.partial or r.random() < 0.2 else None if r.random() < 0.3 else client.partial
        lacking = sorted(self.history.closure(client.tips, client.shallow) & self.reached - client.have) if client.partial else []
        if lacking and r.random() < 0.5:
            # What a partial clone does as soon as it needs what it left out.
            ask.wants, ask.want_refs, ask.shallow = r.sample(lacking, min(len(lacking), r.randrange(1, 5))), {}, sorted(client.shallow)
            ask.filter, ask.done = Filter("blob:none"), True
            return ask
        ask.shallow = sorted(client.shallow)
        r.shuffle(ask.shallow)
        commits = sorted(o for o in client.have if self.history.kind(o) in (COMMIT, TAG))
        ask.haves = r.sample(commits, r.choice([0, min(1, len(commits)), len(commits) // 2, len(commits)]))
        tips = sorted(client.tips & set(commits))
        if r.random() < 0.5:
            ask.haves = list(dict.fromkeys([*tips, *ask.haves]))
        self.limit(ask, client)
        if ask.version == 0:
            ask.bands = r.choice(["side-band-64k", "side-band-64k", "side-band", ""])
            ask.ack = r.choice(["multi_ack_detailed", "multi_ack_detailed", "multi_ack", ""])
            ask.no_done = r.random() < 0.3 and ask.ack == "multi_ack_detailed"
        if ask.version == 2 and not ask.haves:
            ask.done = True
        return ask

    def limit(self, ask, client):
        r = self.random
        kind = r.random()
        if kind < 0.5:
            return
        if kind < 0.75:
            ask.depth = r.choice([1, 1, 2, 3, 4, 6, 10, 100, FOREVER])
            ask.relative = ask.depth != FOREVER and r.random() < 0.3
        if 0.75 <= kind < 0.9 and self.history.commits_of(self.reached):
            dates = sorted(self.history.dates[c] for c in self.history.commits_of(self.reached))
            ask.since = r.choice(dates) + r.choice([0, 0, 1, -1])
        if kind >= 0.85:
            names = [n for n in sorted(self.refs) if self.history.kind(self.history.peeled(self.refs[n])) == COMMIT]
            ask.nots = [self.named(n) for n in r.sample(names, min(len(names), r.choice([1, 1, 2])))]

    def filter(self):
        r = self.random
        one = lambda: r.choice(["blob:none", f"blob:limit={r.choice(['0', '1', '21', '1k', '1024', '3000'])}", f"tree:{r.randrange(5)}",
                                f"object:type={r.choice(list(KINDS.values()))}"])
        return Filter(one() if r.random() < 0.7 else f"combine:{one()}+{one()}".replace("=", r.choice(["=", "%3D"])))

    def filtered(self, rule, wanted, more=(), roots=(), top=0):
        """What wanted and more reach, but for what the filter leaves out; what is wanted always stays, and what tags of it tag.
        top: how deep a tree lies that is wanted. Nothing says it; by git's code it lies above a commit's own tree: -1."""
        reached = self.history.closure([*wanted, *more], roots)
        if rule is None:
            return reached
        given = {o for t in wanted for o in self.chain(t)}
        depth = {}
        todo = [(0, self.objects.links[o][0]) for o in reached if self.history.kind(o) in (COMMIT, TAG)]
        todo += [(top, o) for o in given if self.history.kind(o) in (TREE, BLOB)]
        while todo:
            at, oid = todo.pop()
            if self.history.kind(oid) in (TREE, BLOB) and depth.get(oid, 1 << 60) > at:
                depth[oid] = at
                todo += [(at + 1, o) for o in self.objects.links[oid]]
        fits = lambda o: o in given or self.history.kind(o) in rule.kinds and depth.get(o, -1) < rule.depth and (
            self.history.kind(o) != BLOB or len(self.objects.all[o][1]) < rule.limit)
        return {o for o in reached if fits(o)}

    def chain(self, oid):
        """A tag, and all that it leads to."""
        out = [oid]
        while self.history.kind(oid) == TAG:
            oid = self.objects.links[oid][0]
            out.append(oid)
        return out

    def named(self, ref):
        """A name that git's users would give, where it is clear."""
        short = ref.split("/", 2)[2] if ref.count("/") > 1 and ref.split("/")[1] in ("heads", "tags") else ref
        alike = [n for n in (short, f"refs/{short}", f"refs/tags/{short}", f"refs/heads/{short}") if n in self.refs]
        return short if len(alike) == 1 and self.random.random() < 0.5 else ref

    def by_git(self, ask):
        env = {**self.git.env, **({"GIT_PROTOCOL": "version=2"} if ask.version == 2 else {})}
        done = subprocess.run(["git", "upload-pack", "--stateless-rpc", self.path], input=ask.body(), env=env, capture_output=True,
                              timeout=60)
        if done.returncode != 0 and done.stdout[4:8] != b"ERR ":
            raise Refusal(f"git ends with {done.returncode}: {done.stderr[-300:]!r}")
        return Answer(ask, done.stdout)

    def by_warren(self, ask):
        headers = {**FETCH, **({"Git-Protocol": "version=2"} if ask.version == 2 else {})}
        status, body = self.rounds.wire.request("POST", f"/{self.repo_id}.git/git-upload-pack", ask.body(), headers)
        if status != 200:
            raise Refusal(f"status {status}: {body[:300]!r}")
        return Answer(ask, body)

    def step(self):
        client = self.client()
        ask = self.ask(client)
        try:
            self.compare(client, ask)
        except Exception as e:
            raise Fail(f"{self.what}: {e}\n{client!r}\n{ask!r}\n{self.drawn(client)}") from e

    def drawn(self, client):
        """Refs and commits, for whoever reads a failure."""
        commits = self.history.commits_of(self.reached | client.have)
        rows = [f"{o[:7]} {n}" for n, o in sorted(self.refs.items())]
        for c in sorted(commits, key=lambda c: self.history.commits.index(c) if c in self.history.commits else 1 << 30):
            rows.append(f"{c[:7]} ({' '.join(p[:7] for p in self.history.parents(c))}) at {self.history.dates[c]}"
                        f"{' reached' if c in self.reached else ''}{' had' if c in client.have else ''}")
        return "\n".join(rows)

    def compare(self, client, ask):
        git = warren = refused = None
        try:
            git = self.by_git(ask)
        except Refusal as e:
            refused = e
        try:
            warren = self.by_warren(ask)
        except Refusal as e:
            if set(ask.wants) - self.reached:
                expect("not our ref" in str(e), "wants that no ref reaches", str(e))
                return
            # Git looks at depths only when it sends a pack; and where dates lie it looks too little.
            if refused is None and (ask.version == 2 and git.pack is None or self.history.lying):
                same(self.cut(client, ask), None, "refused, and git answers")
            else:
                expect(refused is not None, "refused, and git answers", str(e))
            return
        expect(not set(ask.wants) - self.reached, "sent what no ref reaches")
        if refused is not None:
            expect(self.history.lying and self.cut(client, ask) is not None, "answered, and git refuses", str(refused))
            return
        self.acknowledged(client, ask, warren, git)
        if warren.pack is not None or ask.version == 0:
            shallow, unshallow = self.cut(client, ask)
            same(warren.shallow, shallow, "new roots")
            same(warren.unshallow, unshallow, "roots that are none any more")
        if warren.pack is None or git.pack is None:
            return
        alike = (warren.shallow, warren.unshallow) == (git.shallow, git.unshallow)
        expect(alike or self.history.lying, "git cuts elsewhere", git.shallow, git.unshallow, warren.shallow, warren.unshallow)
        if not alike:
            self.received(client, ask, warren, "warren")
            return
        same(warren.wanted, ask.want_refs, "wanted-refs")
        theirs = self.received(client, ask, git, "git")
        ours = self.received(client, ask, warren, "warren")
        # Git lets the new roots hide from it what the client has behind them, and sends that again.
        for kind in (COMMIT, TAG):
            more = {o for o in ours - theirs if self.history.kind(o) == kind}
            # A have counts as the commit that it leads to: its tags come again where they are wanted.
            # Tags come along with what they lead to, and git need not have sent that.
            more -= {o for o in more if kind == TAG and ask.tags and self.history.peeled(o) in ours}
            # Dates that lie make both overlook that a have leads to a commit; and see World.lost.
            more -= self.history.closure(ask.haves) if kind == TAG or self.history.lying or self.lost else set()
            expect(not more, f"{KINDS[kind]}s that git does not send", self.names(more))
        tips = {*client.tips, *ask.wanted()}
        # Roots behind roots that stay: both tell of them, and the client has no use for them.
        roots = ((client.shallow | warren.shallow) - warren.unshallow) & (client.have | ours)
        if client.shallow or self.random.random() < 0.5 or ask.deepens():
            self.clients = [*self.clients[-5:], Client(client.have | ours, tips, roots, client.partial or ask.filter,
                                                     "grown " + client.known[:40])]

    def acknowledged(self, client, ask, warren, git):
        """Both know what the refs reach, and nothing else. An ACK of something unknown only says that it is enough."""
        expect(set(warren.acks) <= set(ask.haves), "acknowledged without being named", warren.acks)
        common = {h for h in ask.haves if h in self.reached and self.history.kind(self.history.peeled(h)) == COMMIT}
        # Without multi_ack one ACK is enough; git says more of them, depending on what is a parent of what.
        if ask.version == 0 and not ask.ack:
            same(bool(warren.acks), bool(common), "acknowledged") if not self.lost else None
        elif self.lost:
            expect(set(warren.acks) & common <= set(git.acks), "acknowledged", warren.acks, git.acks)
        else:
            same(set(warren.acks) & common, set(git.acks) & common, "acknowledged")
        if ask.version == 2 or warren.pack is None:
            expect(not set(warren.acks) - self.reached or warren.ready or ask.ack == "multi_ack", "acknowledged what is not known", warren.acks)
        # Enough in common: each want leads to a have, or to a parent of one, over commits that are not older than all haves.
        # Git's does not look through tags among the haves.
        theirs = {self.history.peeled(a) for a in warren.acks if a in self.reached}
        theirs |= {p for c in theirs for p in self.history.parents(c)}
        wants = self.history.commits_of(self.history.peeled(w) for w in ask.wanted())
        enough = all(self.history.closure([w]) & theirs for w in wants)
        expect(enough or not warren.ready, "ready too early")
        if not self.lost and all(self.history.kind(h) == COMMIT for h in ask.haves):
            same(warren.ready, git.ready, "ready")
        same(warren.pack is not None, ask.done or warren.ready and (ask.version == 2 or ask.no_done), "whether a pack comes")

    def cut(self, client, ask):
        """The roots that the client gets, and those that it loses, by git's documentation; None where no commit stays. Git's own answer is the same, unless
        the history lies: then its walks by date end too early."""
        roots = client.shallow & self.reached
        tips = self.history.commits_of(self.history.peeled(w) for w in ask.wanted())
        if ask.depth == FOREVER:
            return set(), roots
        if ask.depth:
            level, far = (roots, ask.depth + 1) if ask.relative else (tips, ask.depth)
            seen = set(level)
            for _ in range(far - 1):
                level = {p for c in level for p in self.history.parents(c)} - seen
                if not level:
                    break
                seen |= level
            else:
                seen -= level
            # At the deepest level a commit is called a root even where it has no parents to lose.
            return level - roots, roots & seen
        if not ask.deepens():
            return set(), set()
        left = self.history.closure([self.history.peeled(self.refs[self.full(n)]) for n in ask.nots])
        kept, todo = set(), list(tips)
        while todo:
            commit = todo.pop()
            if commit not in kept and commit not in left and (ask.since is None or self.history.dates[commit] >= ask.since):
                kept.add(commit)
                todo += self.history.parents(commit)
        if not kept:
            return None
        ends = {c for c in kept if set(self.history.parents(c)) - kept}
        return ends - roots, (kept & roots) - ends

    def full(self, name):
        return next(n for n in (name, f"refs/{name}", f"refs/tags/{name}", f"refs/heads/{name}") if n in self.refs)

    def received(self, client, ask, answer, who):
        """The ids that came; judges what the client has then."""
        had = self.history.closure([*set(ask.haves) & self.reached, *answer.unshallow], client.shallow)
        # A partial clone that lacks a base fetches it, as any other object that it needs.
        got = unpack(answer.pack, Bases(self, client.have | had if client.partial else client.have))
        ours = set(got)
        for oid, row in got.items():
            same(row, self.objects.all.get(oid), f"{who}: object {oid}")
        roots = (client.shallow | answer.shallow) - answer.unshallow
        after = client.have | ours
        behind = [p for c in answer.unshallow for p in self.history.parents(c)]
        allowed = self.filtered(ask.filter, [*ask.wanted(), *behind], (), roots, -1)
        # include-tag: whole chains of tags that lead to something that was sent.
        spare = ours - allowed
        if ask.tags:
            for oid in [o for n, o in self.refs.items() if n.startswith("refs/tags/")]:
                while self.history.kind(oid) == TAG and self.history.peeled(oid) in ours:
                    spare.discard(oid)
                    oid = self.objects.links[oid][0]
            lone = {t for n, t in self.refs.items() if n.startswith("refs/tags/") and self.history.peeled(t) in ours} - after
            expect(not lone, f"{who}: tags that lead to what was sent did not come along", self.names(lone))
        # Git also takes trees and blobs for sent that it only looked at as bases.
        spare -= {o for o in spare if who == "git" and self.history.kind(o) == TAG}
        expect(not spare, f"{who}: sent what was not asked for", self.names(spare))
        expect(ours <= self.reached, f"{who}: sent what no ref reaches", self.names(ours - self.reached))
        if client.partial or ask.filter:
            # What the haves reach counts as there, whatever a filter kept away. Git forgets what was wanted when it has met it
            # in a tree and left it out, and with "combine:" more than that, so its answer is no measure here.
            lacking = self.filtered(ask.filter, ask.wanted(), behind, roots) - had - after if who == "warren" else set()
        else:
            lacking = self.history.closure([*client.tips, *ask.wanted()], roots) - after
        expect(not lacking, f"{who}: the client lacks", self.names(lacking))
        return ours

    def names(self, oids):
        return [f"{KINDS[self.history.kind(o)]} {o}" for o in sorted(oids)[:5]]

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Rounds:
    """Each round is a history of its own, and requests while it grows."""

    PER_FOLDER = 100
    REQUESTS = 60

    def __init__(self, t, seed):
        self.t, self.seed = t, seed
        self.server = t.own_server()
        self.account = self.server.account()
        self.wire = Wire(self.server.url, self.account.key)

    def round(self, n):
        r = random.Random(f"{self.seed}:{n}")
        world = World(self, r, f"seed {self.seed}, round {n}")
        for i in range(self.REQUESTS):
            world.step()
            if i % 15 == 14:
                world.grow()
        world.close()

    def close(self):
        self.server.stop()


@test
def thousands_of_requests(t):
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(3 if sanitized() else 12):
        rounds.round(n)
    rounds.close()
