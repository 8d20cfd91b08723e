"""What may be wanted: all that refs reach. And nothing tells what else is stored: to every request an object that a forced
push or a deletion took away, or that is another repository's, is answered to the byte as one that never was."""
from harness import expect, same, test
from harness.pkt import DELIM, FLUSH, bands, parse, pkts
from harness.raw import FETCH, unpack

IN_MEMORY = True
COST = 3
NEVER = "1234567890abcdef" * 2 + "12345678"
CAPABILITIES = "side-band-64k no-progress ofs-delta thin-pack"
TEXT = "".join(f"line {i} of a text that only changes a little\n" for i in range(200))


class World:
    """main~2 - main~1 - main, pushed as base - lost - lost - lost and topic first, then moved by force."""

    def __init__(self, t, account):
        git, self.repo = t.git, account.repo()
        self.api, self.t = account.api, t
        self.work = work = git.init(t.path(self.repo.id))
        git.commit(work, {"text": TEXT, "d/kept": "kept"}, "one")
        self.base = git.commit(work, {"text": TEXT + "two"}, "two")
        self.lost = [git.commit(work, {"text": TEXT + f"secret {i}", f"d/secret{i}": f"{self.repo.id} {i}"}, f"lost {i}")
                     for i in range(3)]
        git("tag", "-a", "-m", "secret", "lost-tag", cwd=work)
        git("checkout", "-q", "-b", "topic", self.base, cwd=work)
        self.topic = git.commit(work, {"topic/file": f"topic of {self.repo.id}"}, "topic")
        git("push", "-q", self.repo.url(), "main", "topic", "lost-tag", cwd=work)

    def move(self):
        """What was taken away, by what it is."""
        git, work = self.t.git, self.work
        git("checkout", "-q", "-B", "main", self.base, cwd=work)
        self.tip = git.commit(work, {"text": TEXT + "secret no more", "new": "new"}, "new")
        git("push", "-q", "-f", self.repo.url(), "main", ":topic", ":lost-tag", cwd=work)
        lost = self.lost[-1]
        return {"tip": lost, "commit": self.lost[0], "tree": git.rev(work, f"{lost}^{{tree}}"), "folder": git.rev(work, f"{lost}:d"),
                "file": git.rev(work, f"{lost}:d/secret2"), "text": git.rev(work, f"{lost}:text"), "tag": git.rev(work, "lost-tag"),
                "branch": self.topic, "its file": git.rev(work, f"{self.topic}:topic/file")}

    def checkpoint(self):
        self.t.server.cli("repo", "checkpoint", self.repo.id)

    def post(self, body, version):
        headers = {**FETCH, **({"Git-Protocol": "version=2"} if version == 2 else {})}
        return self.api.post(f"/{self.repo.id}.git/git-upload-pack", body, headers=headers)

    def v2(self, *arguments, command="fetch"):
        return self.post(pkts(f"command={command}\n", "object-format=sha1\n", DELIM, *[a + "\n" for a in arguments], FLUSH), 2)

    def pack(self, *wants):
        """What a pack for these wants holds, alike in both versions: {id: (kind, bytes)}."""
        packets = parse(self.v2("no-progress", *[f"want {w}" for w in wants], "done").body)
        same(packets[0], b"packfile\n", f"a pack for {wants}")
        one = unpack(bands(packets[1:])[1])
        first, *others = [f"want {w}" for w in wants]
        packets = parse(self.post(pkts(f"{first} side-band-64k no-progress\n", *[o + "\n" for o in others], FLUSH, "done\n"), 0).body)
        same(packets[0], b"NAK\n", f"a pack for {wants}")
        same(unpack(bands(packets[1:])[1]), one, "both versions")
        return one


def v0_requests(tip, base, oid):
    """Whole bodies that name oid in every place that takes one."""
    first = f"want {tip} {CAPABILITIES}"
    endings = {"done": ["done\n"], "a flush": [FLUSH], "nothing": []}
    for acks in ("", " multi_ack", " multi_ack_detailed", " multi_ack_detailed no-done"):
        for name, ending in endings.items():
            yield f"have it,{acks} {name}", [first + acks + "\n", FLUSH, f"have {oid}\n", *ending]
            yield f"have it and more,{acks} {name}", [first + acks + "\n", FLUSH, f"have {base}\n", f"have {oid}\n", *ending]
            yield f"have more and it,{acks} {name}", [first + acks + "\n", FLUSH, f"have {oid}\n", f"have {base}\n", *ending]
    yield "want it", [f"want {oid} {CAPABILITIES}\n", FLUSH, "done\n"]
    yield "want it too", [first + "\n", f"want {oid}\n", FLUSH, "done\n"]
    yield "want it with a filter", [f"want {oid} {CAPABILITIES} filter\n", "filter blob:none\n", FLUSH, "done\n"]
    yield "want it with a depth", [f"want {oid} {CAPABILITIES} shallow\n", "deepen 1\n", FLUSH, "done\n"]
    for name, depth in (("no depth", []), ("depth 1", ["deepen 1\n"]), ("depth 2", ["deepen 2\n"]),
                        ("all", [f"deepen {0x7fffffff}\n"]), ("since", ["deepen-since 1000\n"]),
                        ("not", ["deepen-not refs/heads/main\n"])):
        yield f"shallow, {name}", [f"{first} shallow\n", f"shallow {oid}\n", *depth, FLUSH, "done\n"]
        yield f"shallow and have, {name}", [f"{first} shallow\n", f"shallow {oid}\n", *depth, FLUSH, f"have {oid}\n", "done\n"]
        yield f"shallow twice, {name}", [f"{first} shallow\n", f"shallow {base}\n", f"shallow {oid}\n", *depth, FLUSH,
                                         f"have {base}\n", "done\n"]
    yield "deepen-not it", [f"{first} shallow deepen-not\n", f"deepen-not {oid}\n", FLUSH, "done\n"]
    yield "deepen-relative", [f"{first} shallow deepen-relative\n", f"shallow {oid}\n", "deepen 1\n", FLUSH, "done\n"]


def v2_requests(tip, base, oid):
    first = ["thin-pack", "no-progress", "ofs-delta", f"want {tip}"]
    for name, more in (("", []), (" done", ["done"]), (" wait", ["wait-for-done"])):
        yield f"have it,{name}", [*first, f"have {oid}", *more]
        yield f"have it and more,{name}", [*first, f"have {base}", f"have {oid}", *more]
        yield f"have more and it,{name}", [*first, f"have {oid}", f"have {base}", *more]
    yield "have it without a want", [f"have {oid}", "wait-for-done"]
    yield "want it", [f"want {oid}", "done"]
    yield "want it too", [*first, f"want {oid}", "done"]
    yield "want it with a filter", [f"want {oid}", "filter blob:none", "done"]
    yield "want it as a ref", [f"want-ref {oid}", "done"]
    for name, depth in (("no depth", []), ("depth 1", ["deepen 1"]), ("depth 2", ["deepen 2"]), ("all", [f"deepen {0x7fffffff}"]),
                        ("since", ["deepen-since 1000"]), ("not", ["deepen-not refs/heads/main"]),
                        ("relative", ["deepen 1", "deepen-relative"])):
        yield f"shallow, {name}", [*first, f"shallow {oid}", *depth, "done"]
        yield f"shallow and have, {name}", [*first, f"shallow {oid}", *depth, f"have {oid}", "done"]
        yield f"shallow twice, {name}", [*first, f"shallow {base}", f"shallow {oid}", *depth, f"have {base}"]
    yield "deepen-not it", [*first, f"deepen-not {oid}", "done"]


def answers(w, oid):
    """{request: (status, headers of content, body)}."""
    out = {}
    for name, rows in v0_requests(w.tip, w.base, oid):
        out[f"version 0: {name}"] = w.post(pkts(*rows), 0)
    for name, rows in v2_requests(w.tip, w.base, oid):
        out[f"version 2: {name}"] = w.v2(*rows)
    for name, rows in (("size", ["size", f"oid {oid}"]), ("two sizes", ["size", f"oid {w.base}", f"oid {oid}"]), ("it", [f"oid {oid}"])):
        out[f"object-info: {name}"] = w.v2(*rows, command="object-info")
    return {name: (reply.status, reply.header("Content-Type"), reply.body) for name, reply in out.items()}


def told_nothing(w, ids, what):
    wanted = answers(w, NEVER)
    for name, (status, _, body) in wanted.items():
        if ": want it" in name:
            expect(status == 400 or (b"ERR " in body and b"PACK" not in body), f"{what}: {name} is refused", status, body[:300])
    for kind, oid in ids.items():
        for name, (status, content, body) in answers(w, oid).items():
            same((status, content, body.replace(oid.encode(), NEVER.encode())), wanted[name], f"{what}, the {kind}: {name}")
            raw = bytes.fromhex(oid)
            expect(raw not in body, f"{what}, the {kind}: {name}: no delta on it")


def known_is_known(w, what):
    """What the same requests tell of an object that refs reach: else the comparison above would prove nothing."""
    known, never = answers(w, w.base), answers(w, NEVER)
    for name in ("version 0: have it, done", "version 2: have it,", "version 2: want it", "version 0: want it too",
                 "version 0: shallow and have, all", "version 2: shallow, all", "object-info: size"):
        status, _, body = known[name]
        same(status, 200, f"{what}: {name}")
        expect(body.replace(w.base.encode(), NEVER.encode()) != never[name][2], f"{what}: {name} tells nothing", body[:200])


@test
def what_was_taken_away_looks_like_what_never_was(t):
    account = t.account
    worlds = {when: World(t, account) for when in ("never a checkpoint", "a checkpoint before", "checkpoints before and after")}
    others = World(t, account)
    foreign = {"foreign commit": others.topic, "foreign file": t.git.rev(others.work, f"{others.topic}:topic/file"),
               "foreign tag": t.git.rev(others.work, "lost-tag")}
    for when, w in worlds.items():
        if when != "never a checkpoint":
            w.checkpoint()
        lost = w.move()
        if when == "checkpoints before and after":
            w.checkpoint()
        told_nothing(w, {**lost, **foreign}, when)
        known_is_known(w, when)


@test
def everything_that_refs_reach_may_be_wanted(t):
    w = World(t, t.account)
    git = t.git
    for when in ("before a checkpoint", "after one", "moved since"):
        if when == "moved since":
            w.move()
        lines = git("rev-list", "--objects", "main", cwd=w.work).split("\n")
        ids = [line.split()[0] for line in lines if line]
        said = git("cat-file", "--batch-check", cwd=w.work, data="\n".join(ids).encode()).split("\n")
        kinds = dict(line.split()[:2] for line in said if line)
        for oid in ids:
            got = w.pack(oid)
            wanted = git("rev-list", "--objects", oid, cwd=w.work).split("\n") if kinds[oid] != "blob" else [oid]
            same(sorted(got), sorted({line.split()[0] for line in wanted if line}), f"{when}: the pack for a {kinds[oid]}")
        blobs = [oid for oid in ids if kinds[oid] == "blob"]
        same(sorted(w.pack(*blobs)), sorted(blobs), f"{when}: all files at once")
        sizes = w.v2("size", *[f"oid {oid}" for oid in ids], command="object-info").body
        for oid in ids:
            size = git("cat-file", "-s", oid, cwd=w.work).strip()
            expect(f"{oid} {size}".encode() in sizes, f"{when}: the size of a {kinds[oid]}", sizes[:500])
        if when == "before a checkpoint":
            w.checkpoint()


@test
def what_comes_back_is_there_again(t):
    w = World(t, t.account)
    w.checkpoint()
    lost = w.move()
    told_nothing(w, {"tip": lost["tip"]}, "away")
    for again in range(2):
        t.git("push", "-q", w.repo.url(), f"{w.lost[1]}:refs/heads/again", cwd=w.work)
        expect(w.lost[0] in w.pack(w.lost[0]), "a commit that came back")
        told_nothing(w, {"tip": lost["tip"], "file": lost["file"], "branch": lost["branch"]}, "only a part came back")
        t.git("push", "-q", w.repo.url(), ":again", cwd=w.work)
        told_nothing(w, {"commit": lost["commit"], "tip": lost["tip"]}, "away once more")
        if again == 0:
            w.checkpoint()


@test
def other_refs_count_like_branches(t):
    w = World(t, t.account)
    t.git("push", "-q", w.repo.url(), f"{w.lost[0]}:refs/pull/1/head", cwd=w.work)
    for when in range(3):
        if when == 0:
            lost = w.move()
        elif when == 1:
            w.checkpoint()
        else:
            t.git("push", "-q", w.repo.url(), ":refs/pull/1/head", cwd=w.work)
            told_nothing(w, {"commit": lost["commit"]}, "the ref is gone")
            continue
        expect(w.lost[0] in w.pack(w.lost[0]), "what the ref reaches")
        expect(b"ACK " + w.lost[0].encode() in w.v2(f"want {w.tip}", f"have {w.lost[0]}").body, "it is known")
        told_nothing(w, {"tip": lost["tip"], "branch": lost["branch"]}, "what it does not reach")


@test
def a_shallow_client_whose_root_only_a_long_walk_finds(t):
    """Between the branch and the client's root lies a commit with a wrong date, and what was deleted stood on that root. A
    server that took the root for unknown would take the client for having all that lies behind it."""
    git, repo, work = t.git, t.account.repo(), t.git.init(t.path("work"))

    def commit(date, parents, name):
        stamp = {"GIT_AUTHOR_DATE": f"@{date} +0000", "GIT_COMMITTER_DATE": f"@{date} +0000"}
        blob = git("hash-object", "-w", "--stdin", cwd=work, data=name.encode()).strip()
        tree = git("mktree", cwd=work, data=f"100644 blob {blob}\tfile\n".encode()).strip()
        return git("commit-tree", "-m", name, *[a for p in parents for a in ("-p", p)], tree, cwd=work, env=stamp).strip()

    old = commit(50, [], "old")
    root = commit(2000, [old], "root")
    wrong = commit(100, [root], "wrong date")
    lost = commit(3000, [root], "lost")
    git("push", "-q", repo.url(), f"{wrong}:refs/heads/main", f"{lost}:refs/heads/lost", cwd=work)
    t.server.cli("repo", "checkpoint", repo.id)
    for version in (0, 2):
        git("-c", f"protocol.version={version}", "clone", "-q", "--depth", "2", "--single-branch", repo.url(), t.path(f"c{version}"))
    git("push", "-q", repo.url(), ":lost", cwd=work)
    merge = commit(4000, [wrong, old], "merge")
    git("push", "-q", repo.url(), f"{merge}:refs/heads/next", cwd=work)
    for version in (0, 2):
        copy = t.path(f"c{version}")
        git("-c", f"protocol.version={version}", "fetch", "-q", "origin", "next:next", cwd=copy)
        git("fsck", "--full", cwd=copy)
        same(git("rev-list", "next", cwd=copy).split(), git("rev-list", merge, cwd=work).split(), "history")
