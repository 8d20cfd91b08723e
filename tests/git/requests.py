"""Random histories, clients and fetch requests: what Warren answers is compared with what `git upload-pack` answers of
a bare repository with the same refs and the objects that these reach, and both with what the request allows and needs.

The client's repository afterwards is complete but for what it asked to leave out, holds nothing that the refs do not
reach, and is what it would be by git's answer. Some of the repositories are shallow themselves. `make requests-long` goes on with Rounds for as long as one likes."""
import os
import random
import shutil
import subprocess

from harness import expect, pkt, same, test
from harness.core import Fail, sanitized
from harness.fetches import FOREVER, Answer, Ask, Client, Filter, Refusal
from harness.history import History
from harness.pkt import BLOB, COMMIT, TAG, TREE
from harness.raw import FETCH, KINDS, Wire, unpack
from harness.server import run_warren

IN_MEMORY = True
COST = 14
CONFIG = """[core]
	repositoryformatversion = 0
	bare = true
[uploadpack]
	allowAnySHA1InWant = true
	allowFilter = true
	allowRefInWant = true
[pack]
	threads = 1
"""


class Repositories:
    """One history, in Warren and in a bare repository."""

    def __init__(self, rounds, r, what):
        self.rounds, self.random, self.what, self.git = rounds, r, what, rounds.t.git
        self.history = History(r)
        self.objects, self.kind = self.history.objects, self.history.kind
        self.closure, self.peeled = self.history.closure, self.history.peeled
        self.repo_id = rounds.account.repo(name="requests").id
        self.states = []
        # A branch or tag was rewound or deleted since the last checkpoint: of what it reached Warren only knows by a
        # walk whether refs still reach it, which it spares itself for haves.
        self.lost = False
        self.ends = set()  # where the repository's own history ends; these have no parents here
        self.path = rounds.t.path(f"bare-{os.urandom(4).hex()}")
        self.grow()
        if "refs/heads/main" in self.refs and r.random() < 0.3:
            self.shorten(r.randrange(1, 6))

    def grow(self):
        """Some work, pushed; git gets all that the refs reach now, and nothing else."""
        for _ in range(self.random.choice([1, 2, 3])):
            before = self.history.refs
            after = self.history.change()
            while not after:
                after = self.history.change()
            self.push(before, after)
            self.lost |= any(n not in after or o not in self.closure([after[n]]) for n, o in before.items())
            self.states.append(after)
        if self.random.random() < 0.3:
            status, _, err = run_warren("repo", "checkpoint", self.repo_id, "--data", self.rounds.server.data)
            same(status, 0, f"{self.what}: checkpoint: {err}")
            self.lost = False
        self.refs = self.history.refs
        self.reached = self.closure(self.refs.values())
        self.write_bare()

    def shorten(self, depth):
        """It goes on as one that was made from itself with a depth: what is behind that never was."""
        source = {"url": f"{self.rounds.server.url}/{self.repo_id}", "depth": depth, "allBranches": True}
        self.repo_id = self.rounds.account.repo(source=source).id
        self.refs = self.history.refs = self.rounds.wire.refs(self.repo_id)
        status, body = self.rounds.wire.request("GET", f"/{self.repo_id}.git/info/refs?service=git-upload-pack")
        same(status, 200, "the list of refs")
        lines = [line.decode() for line in pkt.parse(body) if isinstance(line, bytes)]
        self.ends = {line.split()[1] for line in lines if line.startswith("shallow ")}
        for oid in self.ends:
            self.objects.links[oid] = self.objects.links[oid][:1]
        self.reached = self.closure(self.refs.values())
        self.states, self.lost = [self.refs], False
        self.write_bare()

    def push(self, before, after):
        commands = {n: (before.get(n), after.get(n)) for n in {*before, *after} if before.get(n) != after.get(n)}
        if not commands:
            return
        known = self.closure(before.values())
        pack = self.objects.pack(self.closure(after.values()) - known, known, self.random)
        said = self.rounds.wire.push(self.repo_id, commands, pack if any(new for _, new in commands.values()) else b"")
        expect(said.ok, f"{self.what}: a push", said, commands)

    def write_bare(self):
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in ("objects/pack", "refs"):
            os.makedirs(os.path.join(self.path, folder))
        packed = "".join(f"{oid} {name}\n" for name, oid in sorted(self.refs.items()))
        files = {"HEAD": "ref: refs/heads/main\n", "packed-refs": packed, "config": CONFIG}
        if self.ends & self.reached:
            files["shallow"] = "".join(f"{oid}\n" for oid in sorted(self.ends & self.reached))
        for name, text in files.items():
            with open(os.path.join(self.path, name), "w", encoding="utf-8") as f:
                f.write(text)
        self.git("index-pack", "--stdin", cwd=self.path, data=self.objects.pack(self.reached, random=self.random))

    def by_git(self, ask):
        env = {**self.git.env, **({"GIT_PROTOCOL": "version=2"} if ask.version == 2 else {})}
        done = subprocess.run(["git", "upload-pack", "--stateless-rpc", self.path], input=ask.body(), env=env,
                              capture_output=True, timeout=60)
        if done.returncode != 0 and done.stdout[4:8] != b"ERR ":
            raise Refusal(f"git ends with {done.returncode}: {done.stderr[-300:]!r}")
        return Answer(ask, done.stdout)

    def by_warren(self, ask):
        headers = {**FETCH, **({"Git-Protocol": "version=2"} if ask.version == 2 else {})}
        status, body = self.rounds.wire.request("POST", f"/{self.repo_id}.git/git-upload-pack", ask.body(), headers)
        if status != 200:
            raise Refusal(f"status {status}: {body[:300]!r}")
        return Answer(ask, body)

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Clients(Repositories):
    """Clients of every kind, and what they ask."""

    def __init__(self, *args):
        self.clients = []  # some that have fetched before
        super().__init__(*args)

    def tips(self, refs):
        values = sorted(set(refs.values()))
        return self.random.sample(values, self.random.randint(1, len(values)))

    def client(self):
        r = self.random
        if self.clients and r.random() < 0.4:
            return r.choice(self.clients)
        kind = r.choice(["empty", "full", "full", "depth", "roots", "own"])
        if kind == "empty":
            return Client(kind)
        tips = self.tips(r.choice(self.states))
        roots = set()
        if kind == "depth":
            roots = self.roots_at(tips, r.randrange(1, 5))
        elif kind == "roots":
            commits = sorted(self.history.commits_of(self.closure(tips)))
            roots = set(r.sample(commits, min(len(commits), r.randrange(1, 4))))
        have = self.closure(tips, roots)
        # Mostly it knows where the server's history ends; it may also have more from elsewhere.
        client = Client(kind, have, tips, (roots | self.ends if r.random() < 0.85 else roots) & have)
        if r.random() < 0.25:
            client.partial = self.filter()
            client.have = self.filtered(client.partial, tips, roots=roots)
        if kind == "own" or r.random() < 0.1:
            self.work(client)
        return client

    def work(self, client):
        """Commits that only this client has."""
        commits = sorted(self.history.commits_of(client.have))
        for _ in range(self.random.randrange(1, 4)):
            new = self.history.commit(self.random.sample(commits, min(len(commits), self.random.randrange(3))))
            client.have |= {new} | self.closure([self.objects.links[new][0]])
            client.tips.add(new)
            commits.append(new)

    def roots_at(self, tips, depth):
        """The commits at this depth below the tips."""
        at, seen = self.history.commits_of(self.peeled(t) for t in tips), set()
        for _ in range(depth - 1):
            seen |= at
            at = {p for c in at for p in self.history.parents(c)} - seen
        return at

    def ask(self, client):
        r = self.random
        ask = Ask(r.choice([0, 2, 2]))
        ask.thin, ask.ofs, ask.tags, ask.done = (r.random() < p for p in (0.6, 0.8, 0.5, 0.8))
        ask.shallow = r.sample(sorted(client.shallow), len(client.shallow))
        if client.partial and r.random() < 0.5 and self.lazily(ask, client):
            return ask
        self.want(ask)
        self.have(ask, client)
        self.limit(ask)
        if client.partial:
            ask.filter = r.choice([client.partial, client.partial, client.partial, None, self.filter()])
        elif r.random() < 0.15:
            ask.filter = self.filter()
        if ask.version == 0:
            ask.bands = r.choice(["side-band-64k", "side-band-64k", "side-band", ""])
            ask.ack = r.choice(["multi_ack_detailed", "multi_ack_detailed", "multi_ack", ""])
            ask.no_done = r.random() < 0.3 and ask.ack == "multi_ack_detailed"
        elif not ask.haves:
            ask.done = True
        return ask

    def lazily(self, ask, client):
        """What a partial clone asks as soon as it needs what it left out."""
        lacking = sorted(self.closure(client.tips, client.shallow) & self.reached - client.have)
        if lacking:
            ask.wants = self.random.sample(lacking, min(len(lacking), self.random.randrange(1, 5)))
            ask.filter, ask.done = Filter("blob:none"), True
        return bool(lacking)

    def want(self, ask):
        r = self.random
        ask.wants = self.tips(self.refs)
        commits, gone = sorted(self.history.commits_of(self.reached)), sorted(set(self.objects.all) - self.reached)
        for chance, oids in ((0.15, commits), (0.07, sorted(self.reached)), (0.04, gone)):
            if oids and r.random() < chance:
                ask.wants.append(r.choice(oids))
        ask.wants = list(dict.fromkeys(ask.wants))
        if ask.version == 2 and r.random() < 0.15:
            names = sorted(self.refs)
            ask.want_refs = {n: self.refs[n] for n in r.sample(names, r.randint(1, len(names)))}
            ask.wants = ask.wants if r.random() < 0.3 else []

    def have(self, ask, client):
        r = self.random
        mine = sorted(o for o in client.have if self.kind(o) in (COMMIT, TAG))
        ask.haves = r.sample(mine, r.choice([0, min(1, len(mine)), len(mine) // 2, len(mine)]))
        if r.random() < 0.5:
            ask.haves = list(dict.fromkeys([*sorted(client.tips & set(mine)), *ask.haves]))

    def limit(self, ask):
        r = self.random
        dates = sorted(self.history.dates[c] for c in self.history.commits_of(self.reached))
        kind = r.random()
        if 0.5 <= kind < 0.75:
            ask.depth = r.choice([1, 1, 2, 3, 4, 6, 10, 100, FOREVER])
            ask.relative = ask.depth != FOREVER and r.random() < 0.3
        if 0.75 <= kind < 0.9 and dates:
            ask.since = r.choice(dates) + r.choice([0, 0, 1, -1])
        if 0.85 <= kind:
            names = [n for n in sorted(self.refs) if self.kind(self.peeled(self.refs[n])) == COMMIT]
            ask.nots = [self.named(n) for n in r.sample(names, min(len(names), r.choice([1, 1, 2])))]

    @staticmethod
    def meant(name):
        return name, f"refs/{name}", f"refs/tags/{name}", f"refs/heads/{name}"

    def named(self, ref):
        """A name that git's users would give, where it is clear."""
        name = ref.split("/", 2)[2]
        clear = ref in self.meant(name) and len([n for n in self.meant(name) if n in self.refs]) == 1
        return name if clear and self.random.random() < 0.5 else ref

    def filter(self):
        r = self.random

        def one():
            return r.choice(["blob:none", f"blob:limit={r.choice(['0', '1', '21', '1k', '1024', '3000'])}",
                             f"tree:{r.randrange(5)}", f"object:type={r.choice(list(KINDS.values()))}"])
        return Filter(one() if r.random() < 0.7 else f"combine:{one()}+{one()}".replace("=", r.choice(["=", "%3D"])))

    # What a filter leaves.

    def filtered(self, rule, wanted, more=(), roots=(), top=0):
        """What wanted and more reach, but for what the filter leaves out; what is wanted always stays, and what tags
        of it tag. top: how deep a tree lies that is wanted. Nothing says it; by git's code it is above a commit's own
        tree, at -1."""
        reached = self.closure([*wanted, *more], roots)
        if rule is None:
            return reached
        given = {o for t in wanted for o in self.chain(t)}
        depth = {}
        todo = [(0, self.objects.links[o][0]) for o in reached if self.kind(o) in (COMMIT, TAG)]
        todo += [(top, o) for o in given if self.kind(o) in (TREE, BLOB)]
        while todo:
            at, oid = todo.pop()
            if self.kind(oid) in (TREE, BLOB) and depth.get(oid, 1 << 60) > at:
                depth[oid] = at
                todo += [(at + 1, o) for o in self.objects.links[oid]]

        def stays(oid):
            small = self.kind(oid) != BLOB or len(self.objects.all[oid][1]) < rule.limit
            return oid in given or self.kind(oid) in rule.kinds and depth.get(oid, -1) < rule.depth and small
        return {o for o in reached if stays(o)}

    def chain(self, oid):
        """A tag, and all that it leads to."""
        out = [oid]
        while self.kind(oid) == TAG:
            oid = self.objects.links[oid][0]
            out.append(oid)
        return out


class World(Clients):
    """The judge."""

    def step(self):
        client = self.client()
        ask = self.ask(client)
        try:
            self.compare(client, ask)
        except Exception as e:
            raise Fail(f"{self.what}: {e}\n{client!r}\n{ask!r}\n{self.drawn(client)}") from e

    def drawn(self, client):
        """Refs and commits, for whoever reads a failure."""
        rows = [f"{oid[:7]} {name}" for name, oid in sorted(self.refs.items())]
        for oid in [o for o in self.history.dates if o in self.reached | client.have]:
            rows.append(f"{oid[:7]} ({' '.join(p[:7] for p in self.history.parents(oid))}) at {self.history.dates[oid]}"
                        f"{' reached' if oid in self.reached else ''}{' had' if oid in client.have else ''}")
        return "\n".join(rows)

    def compare(self, client, ask):
        git, refused = self.answer(self.by_git, ask)
        warren, why = self.answer(self.by_warren, ask)
        if not set(ask.wants) <= self.reached:
            expect(why and "not our ref" in why, "wants that no ref reaches", why)
        elif why:
            # Git looks at depths only when it sends a pack; and where dates lie it looks too little.
            unlooked = git and (ask.version == 2 and git.pack is None or self.history.lying)
            expect(refused or unlooked and self.cut(client, ask) is None, "refused, and git answers", why)
        elif self.forgets(ask):
            self.compare_packs(client, ask, warren, warren)
        elif refused:
            expect(self.history.lying and self.cut(client, ask) is not None, "answered, and git refuses", refused)
        else:
            self.acknowledged(ask, warren, git)
            self.compare_packs(client, ask, warren, git)

    def forgets(self, ask):
        """By time, and by what others reach, git's server forgets where its own history ends, and mostly dies there."""
        return self.ends & self.reached and not ask.depth and ask.deepens()

    @staticmethod
    def answer(by, ask):
        try:
            return by(ask), None
        except Refusal as e:
            return None, str(e)

    def acknowledged(self, ask, warren, git):
        """Both know what the refs reach, and nothing else. An ACK of something unknown only says that it is enough."""
        expect(set(warren.acks) <= set(ask.haves), "acknowledged without being named", warren.acks)
        common = {h for h in ask.haves if h in self.reached and self.kind(self.peeled(h)) == COMMIT}
        ours, theirs = set(warren.acks) & common, set(git.acks) & common
        if ask.version == 0 and not ask.ack:
            # One ACK is enough; git says more of them, depending on what is a parent of what.
            expect(ours or self.lost or not common, "nothing acknowledged")
        else:
            expect(ours == theirs or self.lost and ours < theirs, "acknowledged", ours, theirs)
        if ask.version == 2:
            expect(set(warren.acks) <= self.reached, "acknowledged what is not known", warren.acks)
        # Enough in common: each want leads to a have, or to a parent of one, over commits that are not older than all
        # haves. Git does not look through tags among the haves.
        known = {self.peeled(h) for h in ours}
        known |= {p for h in known if self.kind(h) == COMMIT for p in self.history.parents(h)}
        wants = self.history.commits_of(self.peeled(w) for w in ask.wanted())
        expect(not warren.ready or all(self.closure([w]) & known for w in wants), "ready too early")
        if not self.lost and all(self.kind(h) == COMMIT for h in ask.haves):
            # In version 0 a have that is unknown asks for it, and Warren does not compute it for each of them; where
            # dates lie it depends on the order of the wants.
            may_differ = self.history.lying or ask.version == 0 and not set(ask.haves) <= self.reached
            expect(warren.ready == git.ready or may_differ, "ready", warren.ready, git.ready)
        pack = ask.done or warren.ready and (ask.version == 2 or ask.no_done)
        same(warren.pack is not None, pack, "whether a pack comes")

    def cut(self, client, ask):
        """The roots that the client gets, and those that it loses, by git's documentation; None where no commit stays.
        Git's own answer is the same, unless the history lies: then its walks by date end too early."""
        roots = client.shallow & self.reached
        tips = self.history.commits_of(self.peeled(w) for w in ask.wanted())
        if ask.depth == FOREVER:
            return (self.closure(tips) & self.ends) - roots, roots - self.ends
        if ask.depth:
            return self.cut_at(roots, *((roots, ask.depth + 1) if ask.relative else (tips, ask.depth)))
        if not ask.deepens():
            # In version 0 the list of refs has told of them.
            return (self.closure(tips, roots) & self.ends) - roots if ask.version == 2 else set(), set()
        named = [next(self.refs[n] for n in self.meant(name) if n in self.refs) for name in ask.nots]
        left = self.closure([self.peeled(oid) for oid in named])
        kept, todo = set(), list(tips)
        while todo:
            oid = todo.pop()
            old = ask.since is not None and self.history.dates[oid] < ask.since
            if oid not in kept and oid not in left and not old:
                kept.add(oid)
                todo += self.history.parents(oid)
        ends = {c for c in kept if set(self.history.parents(c)) - kept} | kept & self.ends
        return (ends - roots, (kept & roots) - ends) if kept else None

    def spared(self, client, ask):
        """Roots of the repository's own that lie behind what the client has: git tells of them, which it needs not."""
        if ask.version == 0 or ask.deepens():
            return set()
        had = self.history.commits_of(self.peeled(h) for h in ask.haves if h in self.reached)
        return self.ends & self.closure(had, client.shallow)

    def cut_at(self, roots, level, depth):
        seen = set()
        for _ in range(depth - 1):
            seen |= level
            level = {p for c in level for p in self.history.parents(c)} - seen
        # At the deepest level a commit is called a root even where it has no parents to lose.
        return (level | seen & self.ends) - roots, roots & seen - self.ends

    def compare_packs(self, client, ask, warren, git):
        if warren.pack is not None or ask.version == 0:
            come, go = self.cut(client, ask)
            spare = self.spared(client, ask) & come
            same((warren.shallow | spare, warren.unshallow), (come, go), "roots that come and go")
        if warren.pack is None:
            return
        same(warren.wanted, ask.want_refs, "wanted-refs")
        ours = self.received(client, ask, warren, "warren")
        alike = (warren.shallow, warren.unshallow) == (git.shallow, git.unshallow)
        # All roots go by --unshallow; where its own history ends git takes away only those that wants reach.
        fewer = self.ends & self.reached and ask.depth == FOREVER and git.unshallow <= warren.unshallow
        fewer = fewer or git.shallow - warren.shallow <= self.spared(client, ask) and git.unshallow == warren.unshallow
        may_differ = git.pack is None or self.history.lying or fewer
        expect(alike or may_differ, "git cuts elsewhere", git.shallow, git.unshallow)
        if git.pack is not None and alike:
            self.no_more(ask, ours, self.received(client, ask, git, "git"))
        if client.shallow or ask.deepens() or self.random.random() < 0.5:
            # Roots behind roots that stay: both tell of them, and the client has no use for them.
            roots = ((client.shallow | warren.shallow) - warren.unshallow) & (client.have | ours)
            kind = client.kind if client.kind.startswith("grown") else f"grown {client.kind}"
            self.clients = [*self.clients[-5:], Client(
                kind, client.have | ours, {*client.tips, *ask.wanted()}, roots, client.partial or ask.filter)]

    def no_more(self, ask, ours, theirs):
        """No commit and no tag that git would not send. Git may send more: it lets the new roots hide what the client
        has behind them."""
        more = {o for o in ours - theirs if self.kind(o) in (COMMIT, TAG)}
        # Tags come along with what they lead to, and git need not have sent that.
        more -= {o for o in more if self.kind(o) == TAG and ask.tags and self.peeled(o) in ours}
        # A have counts as the commit that it leads to: tags come again where they are wanted. Dates that lie make both
        # overlook that a have leads to a commit; and see lost.
        had = self.closure(ask.haves)
        more -= {o for o in more if o in had and (self.kind(o) == TAG or self.history.lying or self.lost)}
        expect(not more, "sent what git does not send", self.names(more))

    def received(self, client, ask, answer, who):
        """The ids that came; judges what the client has then."""
        roots = (client.shallow | answer.shallow) - answer.unshallow
        behind = [p for oid in answer.unshallow for p in self.history.parents(oid)]
        # What the haves reach counts as there, whatever a filter kept away. A partial clone that lacks a delta's base
        # fetches it, as any other object that it needs.
        had = self.closure([*set(ask.haves) & self.reached, *answer.unshallow], client.shallow)
        bases = client.have | had if client.partial else client.have
        got = unpack(answer.pack, {oid: self.objects.all[oid] for oid in bases})
        for oid, row in got.items():
            same(row, self.objects.all.get(oid), f"{who}: object {oid}")
        ours = set(got)
        after = client.have | ours
        expect(ours <= self.reached, f"{who}: sent what no ref reaches", self.names(ours - self.reached))
        spare = ours - self.filtered(ask.filter, [*ask.wanted(), *behind], (), roots, -1)
        if ask.tags:
            spare -= self.tags_along(ours, after, who)
        if who == "git":
            # It also takes trees and blobs for sent that it only looked at as bases, and sends their tags.
            spare -= {o for o in spare if self.kind(o) == TAG}
        expect(not spare, f"{who}: sent what was not asked for", self.names(spare))
        if not client.partial and not ask.filter:
            lacking = self.closure([*client.tips, *ask.wanted()], roots) - after
        elif who == "warren":
            lacking = self.filtered(ask.filter, ask.wanted(), behind, roots) - had - after
        else:
            # Git forgets what was wanted when it has met it in a tree and left it out, and more with "combine:".
            lacking = set()
        expect(not lacking, f"{who}: the client lacks", self.names(lacking))
        return ours

    def tags_along(self, ours, after, who):
        """include-tag: all tags that lead to something that was sent, with the tags on the way."""
        tags = [o for n, o in self.refs.items() if n.startswith("refs/tags/") and self.peeled(o) in ours]
        along = {o for tag in tags for o in self.chain(tag)}
        expect(along <= after, f"{who}: tags that lead to what was sent did not come", self.names(along - after))
        return along

    def names(self, oids):
        return [f"{KINDS[self.kind(o)]} {o}" for o in sorted(oids)[:5]]


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
        world = World(self, random.Random(f"{self.seed}:{n}"), f"seed {self.seed}, round {n}")
        for i in range(self.REQUESTS):
            world.step()
            if i % 15 == 14:
                world.grow()
        if world.ends:
            self.server.verify(world.repo_id)
        world.close()

    def close(self):
        self.server.stop()


@test
def thousands_of_requests(t):
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(3 if sanitized() else 12):
        rounds.round(n)
    rounds.close()
