"""Reading by REST: every answer about a repository with awkward data is what git says of the same repository."""
import base64
import io
import os
import stat
import tarfile
import tempfile
import threading
import time
import urllib.parse
import zipfile

from harness import expect, same, test
from harness import pkt
from harness.core import sanitized
from harness.raw import Objects, Wire

COST = 8
LINK = "0700000000000000000000000000000000000000"
FILES = {
    b"plain": b"text\n", b"empty": b"", b"bytes": bytes(range(256)), b"long": b"a long line " * 20_000,
    b" ": b"space", b"-": b"dash", b"a+b": b"plus", b"100%": b"percent", b"%41": b"not A", b"q?x=1&y#z": b"query", b"a:b": b"colon",
    b"\"q\"'\\": b"quotes", b"new\nline": b"line", b"\x01\x7f": b"control", b"..a": b"dots", b"...": b"three", b"~": b"tilde",
    b"\xc3\xa4\xf0\x9f\x90\x87": b"utf-8", b"a\xcc\x88": b"decomposed", b"\xe4\xff": b"no utf-8", b"dir/a/b/c/d": b"deep",
    b"dir/\xfe/\xfd": b"bytes below bytes", b"dir/a.b": b"x", b"dir/a-b": b"y", b"dir.x": b"before dir", b"dir0": b"behind dir",
    b"\xed\xa0\x80": b"surrogate", b"\xef\xbf\xbd": b"the real U+FFFD", b"{path}": b"braces", b"recursive=true": b"no query",
}
MODES = {b"program": (b"100755", b"#!/bin/sh\n"), b"dir/link": (b"120000", b"../plain"), b"link\xff": (b"120000", b"nowhere\xfe"),
         b"module": (b"160000", LINK.encode()), b"modules/one": (b"160000", LINK.encode())}


def quoted(path):
    """As fast-import takes any bytes."""
    return b'"' + b"".join(b"\\%03o" % c for c in path) + b'"'


def commit(ref, mark, date, message, parents=(), files=None, who=b"C <c@example.org>"):
    out = b"reset %s\ncommit %s\nmark :%d\nauthor A U Thor <a@example.org> %d +0130\ncommitter %s %d -0800\ndata %d\n%s\n" % (
        ref, ref, mark, date - 5, who, date, len(message), message)
    out += b"".join(b"%s :%d\n" % (b"merge" if i else b"from", p) for i, p in enumerate(parents))
    for path, content in (files or {}).items():
        mode, data = content if isinstance(content, tuple) else (b"100644", content)
        if mode == b"160000":
            out += b"M 160000 %s %s\n" % (data, quoted(path))
        else:
            out += b"M %s inline %s\ndata %d\n%s\n" % (mode, quoted(path), len(data), data)
    return out + b"\n"


class World:
    """One repository with all that is awkward, at the server and beside it."""

    def __init__(self, t):
        self.git, self.random = t.git, t.random
        self.path = tempfile.mkdtemp(dir=t.git.home, suffix=".git")
        t.git.init(self.path, bare=True)
        self.account = t.server.account()
        self.api = self.account.api
        self.repo = self.account.repo(name="world")
        self.run("fast-import", "--quiet", "--force", "--date-format=raw-permissive", data=self.stream())
        self.tags()
        self.run("push", "-q", "--mirror", self.repo.url())
        reader = self.account.identity(read=self.repo)
        self.reader = t.server.api(reader.secret())

    def run(self, *args, **options):
        return self.git(*args, cwd=self.path, **options)

    def lines(self, *args):
        return self.run(*args).splitlines()

    def bytes(self, *args):
        status, out, err = self.git.run(*args, cwd=self.path)
        expect(status == 0, f"git {args}", err)
        return out

    def rev(self, name):
        return self.run("rev-parse", name).strip()

    def stream(self):
        r = self.random
        out = commit(b"refs/heads/main", 1, 1_600_000_000, b"all of it\n", (), {**FILES, **MODES})
        out += commit(b"refs/heads/root-only", 2, 1_600_000_001, b"no newline at the end", (), {b"only": b"x"})
        marks = {1: b"main"}
        self.texts = {b"x": b"0\n" * 40}
        for n in range(3, 80):
            parents = [n - 1 if n > 3 and r.random() < 0.6 else r.choice([m for m in marks])]
            wanted = 1 if r.random() < 0.7 else r.choice([2, 2, 3, 5])
            parents += [m for m in r.sample(sorted(marks), min(len(marks), wanted - 1)) if m not in parents]
            if r.random() < 0.06:
                parents = []
            date = 1_600_000_000 + n // 2 * 50 - (r.randrange(5000) if r.random() < 0.2 else 0)
            files = {b"d%d/f%d" % (r.randrange(4), r.randrange(4)): self.text(r) for _ in range(r.choice([0, 1, 1, 3]))}
            message = [b"subject\n\nbody\n", b"", b"\xe4\xf6 bytes\n", "\u00e4 \U0001f407\n".encode(), b"\n\n  odd \n\n"][n % 5]
            who = [b"C <c@example.org>", b"<nobody@x>", b"J\xf6rg <j@x>", b"No Mail <>"][n % 4]
            out += commit(b"refs/heads/n%d" % n, n, date, message, parents, files, who)
            marks[n] = n
        out += commit(b"refs/heads/octopus", 100, 1_600_009_000, b"eight\n", [1, 3, 5, 8, 13, 21, 34, 55, 79])
        out += commit(b"refs/heads/feat/\xc3\xa4/x+y", 101, 1_600_009_001, b"a name\n", [79])
        out += commit(b"refs/heads/\xff\xfe", 102, 1_600_009_002, b"a name of bytes\n", [79])
        return out

    def text(self, r):
        lines = [b"line %d %d\n" % (i, r.randrange(3)) for i in range(30)]
        return b"".join(lines)

    def tags(self):
        for args in (["light", "main"], ["-a", "-m", "words\n\nmore", "annotated", "main"], ["-a", "-m", "again", "nested", "annotated"],
                     ["-a", "-m", "b", "ofblob", "main:plain"], ["-a", "-m", "t", "oftree", "main:dir"], ["blob", "main:bytes"],
                     ["tree", "main^{tree}"]):
            self.run("-c", "advice.nestedTag=false", "tag", *args)
        old = f"object {self.rev('main')}\ntype commit\ntag \u00e4/v0\n\nno tagger\n".encode()
        self.run("update-ref", "refs/tags/v\u00e4/0", self.run("hash-object", "-t", "tag", "-w", "--stdin", "--literally", data=old).strip())

    def tree(self, rev):
        """{path: (mode, kind, id, size or None)} of everything, submodules left out."""
        out = {}
        for row in self.bytes("ls-tree", "-r", "-t", "-l", "-z", rev).split(b"\0")[:-1]:
            head, path = row.split(b"\t", 1)
            mode, kind, oid, size = head.split()
            if kind != b"commit":
                out[path] = (mode.decode(), kind.decode(), oid.decode(), None if size == b"-" else int(size))
        return out


def world(t):
    """Made by the first test that asks; again where the server is another one."""
    made = getattr(t.suite, "world", None)
    if made is None or made.account.server is not t.server or made.api.url != t.server.url:
        t.suite.world = made = World(t)
    return made


def escaped(path):
    return urllib.parse.quote_from_bytes(path, safe="")


def is_utf8(data):
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def with_bytes(row, key, data):
    """The key as it has to look: what is no UTF-8 is told apart by its bytes."""
    if is_utf8(data):
        same(row.get(key), data.decode(), f"{key} of {data!r}")
        expect(key + "Base64" not in row, f"{data!r} is text", row)
    else:
        same(base64.b64decode(row[key + "Base64"]), data, f"{key}Base64 of {data!r}")
        expect("\ufffd" in row[key], f"{data!r} shows what is wrong with it", row)
    return {key, key + "Base64"} & set(row)


def check_entry(row, path, wanted, more=()):
    mode, kind, oid, size = wanted
    keys = with_bytes(row, "path", path) | with_bytes(row, "name", path.rsplit(b"/", 1)[-1])
    same((row["type"], row["sha"]), ("dir" if kind == "tree" else "file", oid), f"entry {path!r}")
    if kind == "blob":
        same(row["size"], size, f"size of {path!r}")
    same(set(row), keys | {"type", "sha", "size" if kind == "blob" else "entries"} | set(more), f"members of {path!r}")


# Contents.

@test
def every_file_by_its_path(t):
    w = world(t)
    for path, wanted in w.tree("main").items():
        if wanted[1] != "blob":
            continue
        data = MODES[path][1] if path in MODES else FILES[path]
        for form in (escaped(path), urllib.parse.quote_from_bytes(path)):
            row = w.api.get(f"{w.repo.path}/contents/{form}").ok()
            check_entry(row, path, wanted, ["content"])
            same(row["content"], base64.b64encode(data).decode(), f"content of {path!r}")
            same(w.api.get(f"{w.repo.path}/contents/{form}/").error("PATH_NOT_FOUND")["code"], "PATH_NOT_FOUND", "with a slash")


def check_listing(rows, tree, folder, recursive):
    """The rows of a folder in git's order, and below them theirs."""
    head = folder + b"/" if folder else b""
    wanted = [p for p in tree if p.startswith(head) and b"/" not in p[len(head):]]
    same(len(rows), len(wanted), f"entries of {folder!r}")
    for row, path in zip(rows, wanted):
        check_entry(row, path, tree[path])
        if tree[path][1] != "tree":
            continue
        if recursive:
            check_listing(row["entries"], tree, path, True)
        else:
            same(row["entries"], [], f"entries of {path!r}, not gone into")


@test
def every_folder(t):
    w = world(t)
    tree = w.tree("main")
    folders = [b""] + [p for p, row in tree.items() if row[1] == "tree"]
    expect(b"dir/\xfe" in folders and b"modules" in folders, "folders", folders)
    for folder in folders:
        for end in ("", "/") if folder else ("",):
            for recursive in (False, True):
                path = escaped(folder) + end
                row = w.api.get(f"{w.repo.path}/contents/{path}?recursive={str(recursive).lower()}").ok()
                check_entry(row, folder, tree.get(folder, ("", "tree", w.rev("main^{tree}"), None)))
                check_listing(row["entries"], tree, folder, recursive)
    same(w.api.get(f"{w.repo.path}/contents").ok()["entries"], w.api.get(f"{w.repo.path}/contents/").ok()["entries"], "without a slash")


@test
def paths_that_lead_nowhere(t):
    w = world(t)
    for path in ("no", "plain/x", "plain/", "module", "module/", "modules/one", "dir%2F..%2Fplain", "a%2F..%2Fb", "%2E%2E", ".%2Fplain", "dir%2F.",
                 "dir//a", "dir%2F%2Fa", "/plain", "%2Fplain", "dir/link/x", "PLAIN", "%2542", "pl%61in%20", "plain%0A", "%ff", "/", "x" * 5000):
        value = w.api.get(f"{w.repo.path}/contents/{path}").error("PATH_NOT_FOUND")
        expect(value["path"] in (urllib.parse.unquote(path, errors="replace"), urllib.parse.unquote(path[:-1], errors="replace")),
               f"the path of {path[:50]}", value["path"][:60])
    for path in ("plain%00", "%00"):
        w.api.get(f"{w.repo.path}/contents/{path}").error("GIT_INVALID_REQUEST")
    for bad in ("recursive=yes", "recursive=1"):
        w.api.get(f"{w.repo.path}/contents/?{bad}").error("GIT_INVALID_REQUEST")


@test
def at_a_revision(t):
    w = world(t)
    plain = w.rev("main:plain")
    full = w.rev("main")
    for rev in ("main", "HEAD", "refs/heads/main", "light", "annotated", "nested", "refs/tags/nested", full, full[:12], full.upper(), "tree",
                "octopus~1", "octopus^1", "octopus^", "octopus~0^1~0", "root-only~0"):
        for name in ("rev", "ref"):
            path, wanted = ("only", w.rev("root-only:only")) if rev.startswith("root") else ("plain", plain)
            row = w.api.get(f"{w.repo.path}/contents/{path}?{name}={urllib.parse.quote(rev, safe='')}").ok()
            same(row["sha"], wanted, f"{path} at {rev}")
    same(w.api.get(f"{w.repo.path}/contents/plain?ref=root-only&rev=main").ok()["sha"], plain, "rev wins")
    same(w.api.get(f"{w.repo.path}/contents/plain?rev=&ref=").ok()["sha"], plain, "empty ones mean HEAD")
    same(w.api.get(f"{w.repo.path}/contents/a.b?rev=oftree").ok()["sha"], w.rev("main:dir/a.b"), "a tag of a tree")
    for branch in (b"feat/\xc3\xa4/x+y", b"\xff\xfe"):
        row = w.api.get(f"{w.repo.path}/contents/?rev={escaped(branch)}").ok()
        same(row["sha"], w.bytes("rev-parse", branch + b"^{tree}").decode().strip(), f"{branch!r}")
    for rev in ("no", "refs/heads/no", "0" * 40, "abcd" * 10, "main~100", "main^2", "octopus^10", "feat"):
        value = w.api.get(f"{w.repo.path}/contents/plain?rev={urllib.parse.quote(rev, safe='')}").error("REFERENCE_NOT_FOUND")
        same(value["reference"], rev, "reference")
    for rev in ("main@{1}", "main..main", "main^{tree}", ":/x", "main:plain", "ma in", "^main", "main~x", "blob~1", "ofblob", "blob", "a\nb"):
        value = w.api.get(f"{w.repo.path}/contents/plain?rev={urllib.parse.quote(rev, safe='')}").error("INVALID_REVISION")
        same(value["revision"], rev, "revision")
    w.api.get(f"{w.repo.path}/contents/plain?rev=main%00x").error("GIT_INVALID_REQUEST")


@test
def abbreviations_of_several(t):
    """Two commits whose ids begin alike: made one after another until there are two."""
    w = world(t)
    repo, objects, met, n = w.account.repo(), Objects(), {}, 0
    blob = objects.blob(b"x")
    tree = objects.tree({"x": blob})
    while True:
        oid = objects.commit(tree, message=str(n))
        n += 1
        if oid[:4] in met:
            break
        met[oid[:4]] = oid
    other, four = met[oid[:4]], oid[:4]
    push(w, repo, {"refs/heads/main": oid}, objects, [blob, tree, oid])
    same(w.api.get(f"{repo.path}/git/commits/{four}").ok()["sha"], oid, "the only one so far")
    push(w, repo, {"refs/heads/other": other}, objects, [other])
    w.api.get(f"{repo.path}/git/commits/{four}").error("AMBIGUOUS", rev=four)
    w.api.get(f"{repo.path}/contents/?rev={four}").error("AMBIGUOUS", rev=four)
    w.api.get(f"{repo.path}/git/commits?until={four}").error("AMBIGUOUS", rev=four)
    w.api.post(f"{repo.path}/git/refs/heads/new", {"sha": four}).error("AMBIGUOUS", rev=four)
    longer = next(k for k in range(5, 41) if oid[:k] != other[:k])
    same(w.api.get(f"{repo.path}/contents/?rev={oid[:longer]}").ok()["sha"], tree, "with more digits")


# Objects by id.

@test
def objects_by_id(t):
    w = world(t)
    kinds = {"blob": "blobs", "tree": "trees", "tag": "tags", "commit": "commits"}
    missing = {"blob": "BLOB_NOT_FOUND", "tree": "TREE_NOT_FOUND", "tag": "TAG_NOT_FOUND", "commit": "COMMIT_NOT_FOUND"}
    ids = {k: [] for k in kinds}
    for row in w.lines("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"):
        oid, kind = row.split()
        ids[kind].append(oid)
    for kind, route in kinds.items():
        for oid in ids[kind][:60]:
            row = w.api.get(f"{w.repo.path}/git/{route}/{oid}").ok()
            same(row["sha"], oid, kind)
            if kind == "blob":
                same((row["encoding"], row["size"]), ("base64", len(base64.b64decode(row["content"]))), f"blob {oid}")
                same(pkt.oid(pkt.BLOB, base64.b64decode(row["content"])), oid, "the content's id")
            if kind == "tree":
                check_tree(row, w.bytes("ls-tree", "-l", "-z", oid))
            other = next(k for k in kinds if k != kind)
            field = "sha" if other == "commit" else "hash"
            same(w.api.get(f"{w.repo.path}/git/{kinds[other]}/{oid}").error(missing[other])[field], oid, f"a {kind} is no {other}")
        for bad in ("abc", "main", "0" * 41, "xyzw", "%20abcd"):
            same(w.api.get(f"{w.repo.path}/git/{route}/{bad}").error("INVALID_OBJECT_ID")["hash"], urllib.parse.unquote(bad), "hash")
        field = "sha" if kind == "commit" else "hash"
        same(w.api.get(f"{w.repo.path}/git/{route}/{'0' * 40}").error(missing[kind])[field], "0" * 40, field)
        same(w.api.get(f"{w.repo.path}/git/{route}/{ids[kind][0][:20].upper()}").ok()["sha"], ids[kind][0], "abbreviated")


def check_tree(row, listed):
    wanted = []
    for line in listed.split(b"\0")[:-1]:
        head, name = line.split(b"\t", 1)
        _, kind, oid, size = head.split()
        if kind != b"commit":
            wanted.append((name, kind.decode(), oid.decode(), size))
    same(len(row["tree"]), len(wanted), "entries of a tree")
    for entry, (name, kind, oid, size) in zip(row["tree"], wanted):
        keys = with_bytes(entry, "path", name)
        same((entry["type"], entry["sha"]), (kind, oid), f"entry {name!r}")
        same(set(entry), keys | {"type", "sha"} | ({"size"} if kind == "blob" else set()), f"members of {name!r}")
        if kind == "blob":
            same(entry["size"], int(size), f"size of {name!r}")


def shown(data):
    return data.decode(errors="replace")


def check_commit(w, row):
    raw = w.bytes("cat-file", "commit", row["sha"])
    head, message = raw.split(b"\n\n", 1)
    fields = [line.split(b" ", 1) for line in head.split(b"\n")]
    same(row["tree"], {"sha": dict(fields)[b"tree"].decode()}, "tree")
    same([p["sha"] for p in row["parents"]], [v.decode() for k, v in fields if k == b"parent"], "parents")
    if is_utf8(message):
        same(row["message"], message.decode(), "message")
    for role in ("author", "committer"):
        who, _, rest = dict(fields)[role.encode()].partition(b"> ")
        name, _, mail = who.partition(b"<")
        same((row[role]["name"], row[role]["email"]), (shown(name.strip()), shown(mail)), role)
        date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(rest.split()[0])))
        expect(row[role]["date"].startswith(date), f"date of {role}", row[role]["date"], date)


@test
def every_commit(t):
    w = world(t)
    for oid in w.lines("rev-list", "--all"):
        row = w.api.get(f"{w.repo.path}/git/commits/{oid}").ok(["sha", "tree", "parents", "author", "committer", "message"])
        check_commit(w, row)


# Branches and tags.

def wanted_refs(w, folder):
    out = {}
    for line in w.bytes("for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", folder).splitlines():
        oid, kind, name = line.split(b" ", 2)
        out[name[len(folder):]] = (oid.decode(), kind.decode())
    return out


@test
def branches(t):
    w = world(t)
    wanted = wanted_refs(w, "refs/heads/")
    for end in ("", "/"):
        rows = w.api.get(f"{w.repo.path}/git/refs/heads{end}").ok(["branches"])["branches"]
        same([r["commit"] for r in rows], [wanted[n][0] for n in sorted(wanted)], "tips, sorted by name")
        for row, name in zip(rows, sorted(wanted)):
            with_bytes(row, "name", name)
    for name, (oid, _) in wanted.items():
        for form in (escaped(name), urllib.parse.quote_from_bytes(name)):
            row = w.api.get(f"{w.repo.path}/git/refs/heads/{form}").ok()
            with_bytes(row, "name", b"refs/heads/" + name)
            same(row["sha"], oid, "tip")
    for name in ("no", "main/x", "feat", "MAIN", "refs/heads/main", "main~1", "%2E%2E", "undefined", "x" * 5000):
        same(w.api.get(f"{w.repo.path}/git/refs/heads/{name}").error("BRANCH_NOT_FOUND")["branch"], urllib.parse.unquote(name), "branch")


def check_tag(w, row, name, oid, kind):
    keys = with_bytes(row, "name", name)
    same(set(row), keys | {"tagger", "message", "target", "sha"}, f"members of {name!r}")
    same(row["sha"], oid, f"sha of {name!r}")
    if kind != "tag":
        same((row["tagger"], row["message"], row["target"]), (None, None, {"sha": oid}), f"{name!r}")
        return
    head, message = w.bytes("cat-file", "tag", oid).split(b"\n\n", 1)
    same(row["target"], {"sha": head.split(b"\n")[0].split()[1].decode()}, f"target of {name!r}")
    same(row["message"], message.decode(), f"message of {name!r}")
    same(row["tagger"] is not None, b"\ntagger " in head, f"tagger of {name!r}")


@test
def tags(t):
    w = world(t)
    wanted = wanted_refs(w, "refs/tags/")
    for end in ("", "/"):
        rows = w.api.get(f"{w.repo.path}/git/refs/tags{end}").ok(["tags"])["tags"]
        same(len(rows), len(wanted), "tags")
        for row, name in zip(rows, sorted(wanted)):
            check_tag(w, row, name, *wanted[name])
    for name, (oid, kind) in wanted.items():
        check_tag(w, w.api.get(f"{w.repo.path}/git/refs/tags/{escaped(name)}").ok(), name, oid, kind)
        if kind == "tag":
            row = w.api.get(f"{w.repo.path}/git/tags/{oid}").ok()
            own = w.bytes("cat-file", "tag", oid).split(b"\ntag ")[1].split(b"\n")[0]
            check_tag(w, row, own, oid, kind)
    for name in ("no", "annotated^{}", "main"):
        same(w.api.get(f"{w.repo.path}/git/refs/tags/{urllib.parse.quote(name)}").error("REFERENCE_NOT_FOUND")["reference"],
             f"refs/tags/{name}", "reference")


# Histories.

class Order:
    """The fixed order of a branch, and who reaches whom."""

    def __init__(self, w, branch):
        self.branch = branch
        rows = [line.split() for line in w.lines("rev-list", "--date-order", "--parents", f"refs/heads/{branch}")]
        self.order = [r[0] for r in rows]
        parents = {r[0]: r[1:] for r in rows}
        self.reach = {}
        for oid in reversed(self.order):
            self.reach[oid] = {oid}.union(*[self.reach[p] for p in parents[oid]])

    def select(self, since, until, ascending):
        """What the reference's words leave."""
        order = self.order
        if since and until:
            taken = [o for o in order if o in self.reach[until] and o not in self.reach[since]]
        elif until and ascending:
            taken = [o for o in order if o in self.reach[until]]
        elif until:
            taken = order[order.index(until):]
        elif since and ascending:
            taken = order[:order.index(since) + 1]
        elif since:
            taken = [o for o in order if o not in self.reach[since]]
        else:
            taken = order
        return taken[::-1] if ascending else taken


KEYS = ["commits", "count", "limit", "offset", "order", "selector", "next_commit"]


def ask(w, branch, **query):
    query = {k: v for k, v in {"branch": branch, **query}.items() if v is not None}
    return w.api.get(f"{w.repo.path}/git/commits?{urllib.parse.urlencode(query)}")


def pages(w, order, since, until, ascending, limit):
    """Page after page by next_commit."""
    found, query = [], {"since": since, "until": until}
    while True:
        page = ask(w, order.branch, limit=limit, order="asc" if ascending else "desc", disableTotalCount="true", **query).ok(KEYS)
        found += [c["sha"] for c in page["commits"]]
        same(page["count"], len(page["commits"]), "count")
        if page["next_commit"] is None:
            return found
        same(page["count"], limit, "a page that is not the last one is full")
        query["since" if ascending else "until"] = page["next_commit"]


@test
def histories(t):
    w = world(t)
    for branch in ("octopus", "n79", "root-only", "main"):
        order, r = Order(w, branch), t.random
        for _ in t.rounds(12):
            since = r.choice(order.order) if r.random() < 0.5 else None
            until = r.choice(order.order) if r.random() < 0.5 else None
            ascending, limit = r.random() < 0.5, r.choice([1, 3, 7, 50, 500])
            query = {"since": since and since[:r.choice([12, 40])], "until": until, "order": "asc" if ascending else "desc", "limit": limit}
            if since and until and since not in order.reach[until]:
                same(ask(w, branch, **query).error("INVALID_RANGE")["until"], until, "until")
                continue
            wanted = order.select(since, until, ascending)
            page = ask(w, branch, **query).ok([*KEYS, "total"])
            same([c["sha"] for c in page["commits"]], wanted[:limit], "commits")
            same((page["total"], page["count"], page["limit"]), (len(wanted), len(wanted[:limit]), limit), "numbers")
            same(page["next_commit"], wanted[limit] if len(wanted) > limit else None, "next_commit")
            same(page["offset"], None if since or until else 0, "offset")
            same(page["selector"], selector(query["since"], until), "selector")
            # A cursor cannot stand beside the other end of the same name; COMPATIBILITY says so.
            if not (until if ascending else since):
                same(pages(w, order, since, until, ascending, limit), wanted, "all pages")


def selector(since, until):
    if since and until:
        return {"Range": {"since": since, "until": until}}
    return {"Since": since} if since else {"Until": until} if until else None


@test
def pages_by_offset(t):
    w = world(t)
    order = Order(w, "octopus")
    for way in ("asc", "desc"):
        wanted, found = order.select(None, None, way == "asc"), []
        for offset in range(0, len(wanted) + 9, 9):
            page = ask(w, "octopus", offset=offset, limit=9, order=way).ok([*KEYS, "total"])
            same((page["offset"], page["total"]), (offset, len(wanted)), "numbers")
            found += [c["sha"] for c in page["commits"]]
        same(found, wanted, f"all pages, {way}")
    same(ask(w, "octopus", limit=0).ok()["next_commit"], order.order[0], "a page of nothing")
    same(ask(w, "octopus", limit=100_000).ok()["limit"], 500, "too large is lowered")
    same(ask(w, None).ok()["commits"], ask(w, "main").ok()["commits"], "HEAD")


@test
def histories_refused(t):
    w = world(t)
    main, other = w.rev("main"), w.rev("root-only")
    same(ask(w, "main", since=other).error("COMMIT_NOT_IN_BRANCH", sha=other)["branch"], "main", "branch")
    same(ask(w, None, until=other).error("COMMIT_NOT_IN_BRANCH", sha=other)["branch"], "main", "HEAD's branch")
    same(ask(w, "main", since=main, until=main).ok()["commits"], [], "equal ends")
    ask(w, "main", since=main, offset=1).error("OFFSET_WITH_SELECTOR")
    same(ask(w, "main", since=main, offset=0).ok()["offset"], None, "offset 0 is none")
    ask(w, "main", since="xyz").error("INVALID_OBJECT_ID", hash="xyz")
    ask(w, "main", until="main").error("INVALID_OBJECT_ID", hash="main")
    ask(w, "main", until="0" * 40).error("COMMIT_NOT_FOUND", sha="0" * 40)
    ask(w, "main", since=w.rev("main^{tree}")).error("COMMIT_NOT_FOUND")
    ask(w, "no").error("BRANCH_NOT_FOUND", branch="no")
    ask(w, "refs/heads/main").error("BRANCH_NOT_FOUND", branch="refs/heads/main")
    w.api.get(f"{w.repo.path}/git/commits?branch=main%00x").error("GIT_INVALID_REQUEST")
    for query in ("order=up", "limit=x", "limit=-1", "offset=NaN", "disableTotalCount=no"):
        w.api.get(f"{w.repo.path}/git/commits?{query}").error("GIT_INVALID_REQUEST")


# Comparing.

LETTERS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "T": "changed"}


def git_diff(w, base, head):
    """{path: (status, additions, deletions, sha or None, old path)} of git diff base...head."""
    status, out, _ = w.git.run("merge-base", base, head, cwd=w.path)
    base = out.split()[0].decode() if status == 0 else base
    fields = w.bytes("diff-tree", "-r", "-M", "-z", "--raw", "--numstat", base, head).split(b"\0")[:-1]
    rows, at = {}, 0
    while at < len(fields):
        if fields[at].startswith(b":"):
            old_mode, mode, old, new, letter = fields[at][1:].decode().split()
            names = fields[at + 1:at + (3 if letter[0] == "R" else 2)]
            kind = "changed" if letter == "M" and old == new else LETTERS[letter[0]]
            link = (mode if letter != "D" else old_mode) == "160000"
            rows[names[-1]] = [kind, 0, 0, None if link else old if letter == "D" else new, names[0] if letter[0] == "R" else None]
            at += 1 + len(names)
            continue
        added, deleted, name = fields[at].split(b"\t")
        if not name:
            name, at = fields[at + 2], at + 2
        if added != b"-":
            rows[name][1:3] = int(added), int(deleted)
        at += 1
    return rows


@test
def comparisons(t):
    w = world(t)
    names = ["main", "octopus", "root-only", "n79", "n40", "n20", "annotated", "octopus~1", "octopus^5"]
    pairs = [(a, b) for a in names for b in names]
    for base, head in t.random.sample(pairs, min(len(pairs), len(t.rounds(40)))):
        query = urllib.parse.urlencode({"base": base, "head": head})
        got = w.api.get(f"{w.repo.path}/compare?{query}").ok(["status", "ahead_by", "behind_by", "total_commits", "files"])
        behind, ahead = w.git.apart(w.path, base, head)
        same((got["ahead_by"], got["behind_by"], got["total_commits"]), (ahead, behind, ahead), f"{base}...{head}")
        same(got["status"], "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical", "status")
        if several_bases(w, base, head):
            continue
        wanted = git_diff(w, base, head)
        same([raw(f, "filename") for f in got["files"]], sorted(wanted), f"files of {base}...{head}")
        for f in got["files"]:
            kind, added, deleted, oid, old = wanted[raw(f, "filename")]
            same((f["status"], f["sha"], raw(f, "previous_filename")), (kind, oid, old), f"{base}...{head}: {f['filename']}")
            if f["sha"] is not None:
                same((f["additions"], f["deletions"], f["changes"]), (added, deleted, added + deleted), f"lines of {f['filename']}")
    for query in ("base=main", "head=main", "", "base=&head=main"):
        w.api.get(f"{w.repo.path}/compare?{query}").error("GIT_INVALID_REQUEST")
    w.api.get(f"{w.repo.path}/compare?base=main&head=no").error("REFERENCE_NOT_FOUND", reference="no")
    w.api.get(f"{w.repo.path}/compare?base=main&head=tree").error("INVALID_REVISION", revision="tree")


def several_bases(w, a, b):
    """Which of several git takes depends on more than the history."""
    status, out, _ = w.git.run("merge-base", "--all", a, b, cwd=w.path)
    return status == 0 and len(out.split()) > 1


def raw(row, key):
    encoded = {"filename": "pathBase64", "previous_filename": "previousPathBase64"}.get(key, key + "Base64")
    if encoded in row:
        return base64.b64decode(row[encoded])
    return None if row[key] is None else row[key].encode()


# Archives.

def git_archive(w, rev):
    """{path: (kind, mode's x bit, bytes)} as git packs it."""
    out = {}
    with tarfile.open(fileobj=io.BytesIO(w.bytes("archive", "--format=tar", rev)), encoding="utf-8", errors="surrogateescape") as tar:
        for m in tar:
            if m.isdir():
                continue
            data = os.fsencode(m.linkname) if m.issym() else tar.extractfile(m).read()
            out[os.fsencode(m.name)] = ("link" if m.issym() else "file", bool(m.mode & 0o100) and not m.issym(), data)
    return out


@test
def tarballs(t):
    w = world(t)
    for rev in ("main", "octopus", "root-only", "oftree"):
        reply = w.api.get(f"{w.repo.path}/tarball?rev={rev}")
        same((reply.status, reply.header("Content-Type")), (200, "application/x-tar"), "tarball")
        expect(reply.header("Content-Disposition").startswith("attachment"), "Content-Disposition")
        got = {}
        with tarfile.open(fileobj=io.BytesIO(reply.body), encoding="utf-8", errors="surrogateescape") as tar:
            for m in tar:
                expect(not m.isdir() or m.name, "no top directory", m.name)
                if m.isdir():
                    continue
                data = os.fsencode(m.linkname) if m.issym() else tar.extractfile(m).read()
                got[os.fsencode(m.name)] = ("link" if m.issym() else "file", bool(m.mode & 0o100) and not m.issym(), data)
                date = 0 if rev == "oftree" else int(w.run("log", "-1", "--format=%ct", rev))
                same(m.mtime, date, "time")
        same(got, git_archive(w, rev), f"tarball of {rev}")
        same(w.api.get(f"{w.repo.path}/tarball?ref={rev}").body, reply.body, "the same bytes again")


@test
def zips(t):
    w = world(t)
    for rev in ("main", "octopus", "root-only"):
        reply = w.api.get(f"{w.repo.path}/zip?rev={rev}")
        same((reply.status, reply.header("Content-Type")), (200, "application/zip"), "zip")
        got = {}
        with zipfile.ZipFile(io.BytesIO(reply.body)) as z:
            expect(z.testzip() is None, "sums of the zip")
            for m in z.infolist():
                if m.is_dir():
                    continue
                name = m.filename.encode() if m.flag_bits & 0x800 else m.filename.encode("cp437")
                mode = m.external_attr >> 16
                link = stat.S_ISLNK(mode)
                got[name] = ("link" if link else "file", bool(mode & 0o100) and not link, z.read(m))
        wanted = git_archive(w, rev)
        same(set(got), set(wanted), f"names in the zip of {rev}")
        same(got, wanted, f"zip of {rev}")
    for kind in ("tarball", "zip"):
        w.api.get(f"{w.repo.path}/{kind}?rev=no").error("REFERENCE_NOT_FOUND", reference="no")
        w.api.get(f"{w.repo.path}/{kind}?rev=blob").error("INVALID_REVISION", revision="blob")


# Nothing, and a great deal.

@test
def an_empty_repository(t):
    w = world(t)
    repo = w.account.repo()
    get = lambda path: w.api.get(repo.path + path)
    same(get("/git/refs/heads").ok(), {"branches": []}, "branches")
    same(get("/git/refs/tags/").ok(), {"tags": []}, "tags")
    for query in ("", "?branch=main", "?order=asc&limit=3"):
        page = get(f"/git/commits{query}").ok([*KEYS, "total"])
        same((page["commits"], page["count"], page["total"], page["next_commit"]), ([], 0, 0, None), f"commits{query}")
    get("/git/commits?branch=other").error("BRANCH_NOT_FOUND", branch="other")
    for path in ("/contents", "/contents/", "/contents/a", "/contents/?recursive=true", "/tarball", "/zip"):
        get(path).error("REFERENCE_NOT_FOUND", reference="HEAD")
        get(f"{path}{'&' if '?' in path else '?'}rev=main").error("REFERENCE_NOT_FOUND", reference="main")
    get("/compare?base=main&head=other").error("REFERENCE_NOT_FOUND", reference="main")
    get("/git/refs/heads/main").error("BRANCH_NOT_FOUND", branch="main")
    get("/git/refs/tags/v1").error("REFERENCE_NOT_FOUND", reference="refs/tags/v1")
    for route, code in (("blobs", "BLOB_NOT_FOUND"), ("trees", "TREE_NOT_FOUND"), ("tags", "TAG_NOT_FOUND"), ("commits", "COMMIT_NOT_FOUND")):
        get(f"/git/{route}/{'1' * 40}").error(code)
        get(f"/git/{route}/1234").error(code)
    get("/git/commits?since=1234").error("COMMIT_NOT_FOUND", sha="1234")
    same(get("/default-branch").ok(), {"defaultBranch": "main"}, "default branch")
    w.api.post(f"{repo.path}/git/refs/heads/x").error("BRANCH_NOT_FOUND", branch="main")
    same(w.api.put(f"{repo.path}/default-branch", {"defaultBranch": "any/name"}).ok(), {}, "any name while there is no branch")
    get("/contents/?rev=any/name").error("REFERENCE_NOT_FOUND")


def push(w, repo, refs, objects, oids):
    """A raw push of these objects, on refs that are not there yet."""
    said = Wire(w.account.server.url, w.account.key).push(repo.id, {r: (None, o) for r, o in refs.items()}, objects.pack(oids))
    expect(said.ok, "push", said)


@test
def many_files_in_one_folder(t):
    w, count = world(t), 10_000 if sanitized() else 100_000
    repo, objects = w.account.repo(), Objects()
    blobs = [objects.blob(b"%d" % i) for i in range(10)]
    names = sorted(f"f{i}" for i in range(count))
    folder = objects.tree({n: blobs[int(n[1:]) % 10] for n in names})
    root = objects.tree({"many/": folder, "one": blobs[0]})
    tip = objects.commit(root)
    push(w, repo, {"refs/heads/main": tip}, objects, [*blobs, folder, root, tip])
    for path in ("contents/many", "contents/?recursive=true", f"git/trees/{folder}"):
        got = w.api.get(f"{repo.path}/{path}").ok()
        rows = got["tree"] if "tree" in got else got["entries"] if "many" in path else got["entries"][0]["entries"]
        same([r["path"].rsplit("/", 1)[-1] for r in rows], names, f"names of {path}")
        same({r["sha"] for r in rows}, set(blobs), f"ids of {path}")
    same(base64.b64decode(w.api.get(f"{repo.path}/contents/many/f{count - 1}").ok()["content"]), b"9", "the last one")
    w.api.get(f"{repo.path}/contents/many/f{count}").error("PATH_NOT_FOUND")
    made = w.api.post(f"{repo.path}/commits", {"message": "m", "files": [{"path": f"many/f{count}", "content": "new"}]}).ok(["commit"])
    same(made["commit"]["parents"], [{"sha": tip}], "on top of it")
    got = w.api.get(f"{repo.path}/compare?base={tip}&head=main").ok()
    same([(f["filename"], f["status"]) for f in got["files"]], [(f"many/f{count}", "added")], "what changed")


@test
def many_branches(t):
    w, count = world(t), 10_000
    repo, objects = w.account.repo(), Objects()
    blob = objects.blob(b"x")
    tree = objects.tree({"x": blob})
    tips = [objects.commit(tree, message=str(i)) for i in range(7)]
    refs = {f"refs/heads/b{i}": tips[i % 7] for i in range(count)}
    push(w, repo, refs, objects, [blob, tree, *tips])
    rows = w.api.get(f"{repo.path}/git/refs/heads").ok(["branches"])["branches"]
    same([(f"refs/heads/{r['name']}", r["commit"]) for r in rows], sorted(refs.items()), "branches")
    same(w.api.get(f"{repo.path}/git/refs/heads/b{count - 1}").ok()["sha"], refs[f"refs/heads/b{count - 1}"], "the last one")
    made = w.api.post(f"{repo.path}/git/refs/heads/one-more", {"sha": tips[3]}).ok()
    same(made, {"name": "one-more", "sha": tips[3]}, "one more")
    w.api.put(f"{repo.path}/default-branch", {"defaultBranch": "b7"}).empty()
    same(w.api.get(f"{repo.path}/git/commits").ok()["commits"][0]["sha"], tips[0], "of the new default branch")


@test
def a_large_file(t):
    """A hundred megabytes: it is inflated while it goes out in pieces, so that the server never has all of it."""
    w, size = world(t), (10 if sanitized() else 100) << 20
    repo, objects = w.account.repo(), Objects()
    line = t.random.randbytes(1 << 12)
    data = (line * (size // len(line)))[:size - 3] + b"end"
    blob = objects.blob(data)
    tree = objects.tree({"large": blob})
    tip = objects.commit(tree)
    push(w, repo, {"refs/heads/main": tip}, objects, [blob, tree, tip])
    wanted = base64.b64encode(data)
    server, wire = w.account.server, Wire(w.account.server.url, w.account.key)
    before, most, done = server.rss_anon(), [0], threading.Event()

    def watch():
        while not done.wait(0.01):
            most[0] = max(most[0], server.rss_anon())
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for path in ("contents/large", f"git/blobs/{blob}"):
            status, body = wire.request("GET", f"{repo.path}/{path}")
            same(status, 200, path)
            at = body.index(b'"content":"') + len(b'"content":"')
            expect(body[at:at + len(wanted) + 2] == wanted + b'"}', f"content of {path}")
        same(w.api.get(f"{repo.path}/contents/").ok()["entries"][0]["size"], size, "size in the list")
        got = w.api.get(f"{repo.path}/compare?base={tip}&head={tip}").ok()
        same(got["files"], [], "compared with itself")
    finally:
        done.set()
        watcher.join()
    if not sanitized():
        expect(most[0] - before < 48 << 20, "memory while it goes out", (most[0] - before) >> 20)


# Who sees what.

@test
def what_a_force_push_took_away(t):
    """Who may only read finds nothing of it by any id; who may write does, and can bring it back."""
    w = world(t)
    repo, objects = w.account.repo(), Objects()
    wire = Wire(w.account.server.url, w.account.key)
    reader = w.account.server.api(w.account.identity(read=repo).secret())
    writer = w.account.server.api(w.account.identity(write=repo).secret())
    blob, secret = objects.blob(b"kept"), objects.blob(b"a secret " + t.random.randbytes(8).hex().encode())
    tree, gone_tree = objects.tree({"f": blob}), objects.tree({"f": secret})
    root = objects.commit(tree, message="root")
    gone = objects.commit(gone_tree, [root], "gone")
    tag = objects.tag(gone, "gone")
    said = wire.push(repo.id, {"refs/heads/main": (None, gone), "refs/tags/gone": (None, tag)},
                     objects.pack([blob, secret, tree, gone_tree, root, gone, tag]))
    expect(said.ok, "push", said)
    hidden = {"blobs": (secret, "BLOB_NOT_FOUND"), "trees": (gone_tree, "TREE_NOT_FOUND"), "commits": (gone, "COMMIT_NOT_FOUND"),
              "tags": (tag, "TAG_NOT_FOUND")}
    for route, (oid, _) in hidden.items():
        same(reader.get(f"{repo.path}/git/{route}/{oid}").ok()["sha"], oid, f"{route} before")
    said = wire.push(repo.id, {"refs/heads/main": (gone, root), "refs/tags/gone": (tag, None)}, objects.pack([]))
    expect(said.ok, "the force", said)
    for checkpoint in (False, True):
        if checkpoint:
            w.account.server.cli("repo", "checkpoint", repo.id)
        for route, (oid, code) in hidden.items():
            for digits in (oid, oid[:16]):
                reader.get(f"{repo.path}/git/{route}/{digits}").error(code)
            same(writer.get(f"{repo.path}/git/{route}/{oid}").ok()["sha"], oid, f"{route}, for who may write")
            same(w.api.get(f"{repo.path}/git/{route}/{oid}").ok()["sha"], oid, f"{route}, for the key")
        for path in (f"contents/?rev={gone}", f"tarball?rev={gone}", f"zip?rev={gone[:20]}", f"compare?base=main&head={gone}",
                     f"contents/?rev={gone}~0", f"contents/?rev={tag}"):
            reader.get(f"{repo.path}/{path}").error("REFERENCE_NOT_FOUND")
        for selected in ("since", "until"):
            reader.get(f"{repo.path}/git/commits?{selected}={gone}").error("COMMIT_NOT_FOUND")
            writer.get(f"{repo.path}/git/commits?{selected}={gone}").error("COMMIT_NOT_IN_BRANCH", sha=gone)
        same(reader.get(f"{repo.path}/git/blobs/{blob}").ok()["sha"], blob, "what is still there")
    same(writer.post(f"{repo.path}/git/refs/heads/back", {"sha": gone}).ok(["name", "sha"])["sha"], gone, "brought back")
    same(base64.b64decode(reader.get(f"{repo.path}/contents/f?rev=back").ok()["content"])[:9], b"a secret ", "and seen again")


@test
def the_default_branch_and_who_may_change_it(t):
    w = world(t)
    repo = w.account.repo()
    one = w.api.post(f"{repo.path}/commits", {"message": "1", "branch": "one", "files": [{"path": "f", "content": "1"}]}).ok()["commit"]["sha"]
    two = w.api.post(f"{repo.path}/commits", {"message": "2", "branch": "two", "files": [{"path": "f", "content": "2"}]}).ok()["commit"]["sha"]
    w.api.get(f"{repo.path}/contents/f").error("REFERENCE_NOT_FOUND", reference="HEAD")
    same(w.api.get(f"{repo.path}/git/commits").ok()["commits"], [], "the unborn default branch")
    for name, tip, content in (("one", one, b"1"), ("two", two, b"2")):
        w.api.put(f"{repo.path}/default-branch", {"defaultBranch": name}).empty()
        same(w.api.get(f"{repo.path}/default-branch").ok(), {"defaultBranch": name}, "default branch")
        same(base64.b64decode(w.api.get(f"{repo.path}/contents/f").ok()["content"]), content, "HEAD")
        same(w.api.get(f"{repo.path}/git/commits").ok()["commits"][0]["sha"], tip, "HEAD's history")
        made = w.api.post(f"{repo.path}/git/refs/heads/from-{name}").ok()
        same(made["sha"], tip, "a branch from HEAD")
        same(w.git("ls-remote", "--symref", repo.url(), "HEAD").split()[1], f"refs/heads/{name}", "git's HEAD")
    w.api.put(f"{repo.path}/default-branch", {"defaultBranch": "no"}).error("BRANCH_NOT_FOUND", branch="no")
    writer = w.account.server.api(w.account.identity(write=repo).secret())
    writer.put(f"{repo.path}/default-branch", {"defaultBranch": "one"}).error("GIT_REPOSITORY_ACCESS_DENIED")
    writer.put(f"{repo.path}/visibility", {"visibility": "public"}).error("GIT_REPOSITORY_ACCESS_DENIED")
    same(w.api.get(f"{repo.path}/visibility").ok(), {"visibility": "private"}, "visibility")
    w.api.put(f"{repo.path}/visibility", {"visibility": "public"}).empty()
    same(w.git("ls-remote", repo.url(None), "refs/heads/one").split()[0], one, "without a credential")
    w.account.server.api().get(f"{repo.path}/contents/f").error("UNAUTHORIZED_ERROR")
    w.api.put(f"{repo.path}/visibility", {"visibility": "private"}).empty()
    w.git.fails("ls-remote", repo.url(None))
