"""Repositories made from a source: of this server, of somebody else's; as jobs; and what is left when it fails."""
import glob
import os
import signal
import socket
import threading
import uuid

from harness import expect, same, test, wait_for
from harness.api import UUID
from harness import pkt
from harness.server import run_warren
from harness.sources import PASSWORD, Sources
from harness.workers import logged

ALLOWED = "[sources]\nallow_private_networks = true\n"
JOB = ["id", "kind", "state", "repoId", "stage", "done", "total", "createdAt", "startedAt", "endedAt", "result", "error"]
ASYNC = {"Prefer": "handling=lenient, respond-async; wait=5"}


class World:
    """c1 - c2 - c3 (main), c2 - s1 (side); v1: annotated tag of c2; light: c1; tree, blob: annotated tags of such;
    refs/changes/1: o1, which nothing else reaches."""

    def __init__(self, t, path):
        git, self.path = t.git, git_init(t, path)
        self.c1 = git.commit(self.path, {"a": "1\n", "dir/b": "b\n"}, "c1")
        self.c2 = git.commit(self.path, {"a": "2\n"}, "c2")
        git("tag", "-a", "-m", "one", "v1", cwd=self.path)
        git("tag", "light", self.c1, cwd=self.path)
        git("tag", "-a", "-m", "a tree", "tree", f"{self.c1}^{{tree}}", cwd=self.path)
        git("tag", "-a", "-m", "a blob", "blob", f"{self.c1}:a", cwd=self.path)
        git("checkout", "-q", "-b", "side", cwd=self.path)
        self.s1 = git.commit(self.path, {"side": "s\n"}, "s1")
        git("checkout", "-q", "main", cwd=self.path)
        self.c3 = git.commit(self.path, {"a": "3\n", "new": "n\n"}, "c3")
        git("checkout", "-q", "--detach", cwd=self.path)
        self.o1 = git.commit(self.path, {"other": "o\n"}, "o1")
        git("update-ref", "refs/changes/1", self.o1, cwd=self.path)
        git("checkout", "-q", "main", cwd=self.path)
        self.v1 = git.rev(self.path, "refs/tags/v1")
        self.all = {"refs/heads/main": self.c3, "refs/heads/side": self.s1, "refs/tags/v1": self.v1, "refs/tags/light": self.c1,
                    **{f"refs/tags/{name}": git.rev(self.path, f"refs/tags/{name}") for name in ("tree", "blob")}}

    def push(self, t, url):
        t.git("push", "-q", url, "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*", cwd=self.path)


def git_init(t, name):
    return t.git.init(t.path(name))


def source(url, **more):
    return {"source": {"url": url, **more}}


def make(account, body, headers=None):
    made = account.api.post("/git/v1/repo", body, headers=headers or {}).ok(["repoId"])
    expect(UUID.match(made["repoId"]), "repoId", made)
    return made["repoId"]


def url_of(account, repo_id, secret="own"):
    word = account.key if secret == "own" else secret
    return f"{account.server.url.replace('//', f'//x:{word}@')}/{repo_id}.git"


def refs_of(account, repo_id):
    """{name: id}, as clients are told them."""
    reply = account.api.get(f"/{repo_id}.git/info/refs?service=git-upload-pack")
    same(reply.status, 200, "refs")
    lines = [p.split(b"\0")[0].decode().split() for p in pkt.parse(reply.body)[2:] if p]
    return {name: oid for oid, name in lines if name.startswith("refs/") and not name.endswith("^{}")}


def default_of(account, repo_id):
    return account.api.get(f"/git/v1/repo/{repo_id}").ok()["defaultBranch"]


def count(account):
    return account.api.get("/git/v1/repo?limit=1").ok()["total"]


def check_sound(t, account, repo_id, name="clone"):
    """A clone by git is sound, and the server finds nothing wrong; the clone."""
    path = t.git.mirror(url_of(account, repo_id), t.path(f"{name}-{repo_id}"))
    t.git("fsck", "--full", "--strict", cwd=path)
    account.server.verify(repo_id)
    return path


def kinds(w):
    """(what is asked for, beside the URL: the refs and the default branch that come of it)."""
    all_at = {**w.all, "refs/heads/main": w.c2}
    return [
        ({}, None, {"refs/heads/main": w.c3}, "main"),
        ({"rev": None, "branch": None, "depth": None, "allBranches": None}, None, {"refs/heads/main": w.c3}, "main"),
        ({"rev": ""}, None, {"refs/heads/main": w.c3}, "main"),
        ({"rev": "HEAD"}, None, {"refs/heads/main": w.c3}, "main"),
        ({"rev": "side"}, None, {"refs/heads/side": w.s1}, "side"),
        ({"branch": "side"}, None, {"refs/heads/side": w.s1}, "side"),
        ({"rev": "side", "branch": "main"}, None, {"refs/heads/side": w.s1}, "side"),
        ({"rev": "refs/heads/side"}, None, {"refs/heads/side": w.s1}, "side"),
        ({"rev": "side"}, "trunk", {"refs/heads/side": w.s1}, "side"),
        ({"rev": "v1"}, None, {"refs/heads/main": w.c2}, "main"),
        ({"rev": "refs/tags/v1"}, "dev", {"refs/heads/dev": w.c2}, "dev"),
        ({"rev": "light"}, "a/b", {"refs/heads/a/b": w.c1}, "a/b"),
        ({"rev": w.c3}, "x", {"refs/heads/x": w.c3}, "x"),
        ({"rev": w.v1}, "x", {"refs/heads/x": w.c2}, "x"),
        ({"rev": w.s1[:9].upper()}, None, {"refs/heads/main": w.s1}, "main"),
        ({"allBranches": True}, None, w.all, "main"),
        ({"allBranches": True, "rev": "side"}, None, w.all, "side"),
        ({"allBranches": True}, "side", w.all, "side"),
        ({"allBranches": True, "rev": "v1"}, None, all_at, "main"),
        ({"allBranches": True, "rev": "v1"}, "old", {**w.all, "refs/heads/old": w.c2}, "old"),
    ]


def check_kinds(t, account, w, url, table):
    for asked, default, refs, branch in table:
        body = source(url, **asked)
        if default:
            body["defaultBranch"] = default
        made = make(account, body)
        same(refs_of(account, made), refs, f"refs of {asked}, {default}")
        same(default_of(account, made), branch, f"default branch of {asked}, {default}")
    path = check_sound(t, account, make(account, source(url, allBranches=True)))
    same(t.git.objects(path), t.git.objects(w.path, "--branches", "--tags"), "objects of all branches")


# ---- of this server ----


@test
def a_repository_of_this_server_is_forked(t):
    account, other = t.account, t.account
    w = World(t, "own")
    repo = account.repo(name="template")
    w.push(t, repo.url())
    bare = f"{t.server.url}/{repo.id}"
    table = kinds(w) + [({"rev": "main~1"}, "p", {"refs/heads/p": w.c2}, "p"),
                        ({"rev": w.c2[:10]}, "p", {"refs/heads/p": w.c2}, "p")]
    check_kinds(t, account, w, bare, table)
    before = count(account), count(other)
    for rev in ("none", "main~9", "refs/changes/1", w.o1, w.o1[:12], "0" * 40, "v1^{tree}", "a..b", "x y", "refs/heads/", "tree", "blob"):
        account.api.post("/git/v1/repo", source(bare, rev=rev)).error("INVALID_REVISION", revision=rev)
    # "main" cannot stand beside "main/x".
    w2 = account.repo()
    t.git("push", "-q", w2.url(), f"{w.c1}:refs/heads/main/x", cwd=w.path)
    account.api.post("/git/v1/repo", source(f"{t.server.url}/{w2.id}")).error("INVALID_REVISION", revision="HEAD")
    account.api.post("/git/v1/repo", source(f"{t.server.url}/{w2.id}", rev=w.c1, allBranches=True)).error("GIT_INVALID_REQUEST")
    made = make(account, source(f"{t.server.url}/{w2.id}", allBranches=True))
    same(refs_of(account, made), {"refs/heads/main/x": w.c1}, "all branches without a HEAD")
    same((count(account), count(other)), (before[0] + 2, before[1]), "repositories left behind by refusals")
    # The one does not see what becomes of the other.
    made = make(account, source(bare))
    t.git("push", "-q", url_of(account, made), f"{w.s1}:refs/heads/main", "--force", cwd=w.path)
    same(refs_of(account, repo.id)["refs/heads/main"], w.c3, "the source after a push to the fork")


@test
def an_own_repository_is_known_by_every_name_of_the_server(t):
    account, other = t.account, t.account
    w = World(t, "names")
    repo = account.repo()
    w.push(t, repo.url())
    port = t.server.url.rsplit(":", 1)[1]
    here = f"127.0.0.1:{port}"
    for url in (f"http://{here}/{repo.id}", f"http://{here}/{repo.id}.git", f"http://{here}/{repo.id.upper()}.git/",
                f"HTTP://{here}/{repo.id}", f"https://{here}/{repo.id}", f"http://{here}/{repo.id}#x"):
        make(account, source(url))
    for host, url in (("git.example.com", f"https://git.example.com/{repo.id}"),
                      ("git.example.com", f"http://GIT.example.com:80/{repo.id}"),
                      ("git.example.com:443", f"https://git.example.com/{repo.id}.git"),
                      ("[::1]:77", f"http://[::1]:77/{repo.id}"), (f"localhost:{port}", f"http://localhost:{port}/{repo.id}")):
        make(account, source(url), {"Host": host})
    # Not ours: other ports, and paths that no repository has. These are fetched, and so refused by their address.
    for url in (f"http://{here}/x/{repo.id}", f"http://{here}/{repo.id}/x", f"http://{here}/", f"http://127.0.0.1:1/{repo.id}"):
        account.api.post("/git/v1/repo", source(url)).error("GIT_INVALID_REQUEST")
    reader, writer, none = (account.identity() for _ in range(3))
    reader.grant(repo, "read")
    writer.grant(repo, "write")
    secrets = (account.key, reader.secret(), writer.secret(), reader.secret(scope="read"))
    for login, secret in zip(("x", "x-access-token", "", "a%20b"), secrets):
        made = make(other, source(f"http://{login}:{secret}@{here}/{repo.id}.git"))
        same(refs_of(other, made), {"refs/heads/main": w.c3}, "the fork is the other account's")
    plain = f"http://{here}/{repo.id}.git"
    for login, code in ((f"x:{none.secret()}", "SOURCE_NOT_FOUND"), (f"x:{other.key}", "SOURCE_NOT_FOUND"),
                        ("x:rubbish", "SOURCE_UNAUTHORIZED"), ("x", "SOURCE_UNAUTHORIZED"), ("x:", "SOURCE_UNAUTHORIZED"),
                        (account.key, "SOURCE_UNAUTHORIZED")):
        other.api.post("/git/v1/repo", source(f"http://{login}@{here}/{repo.id}.git")).error(code, url=plain)
    absent = f"http://{here}/{uuid.uuid4()}"
    other.api.post("/git/v1/repo", source(plain)).error("SOURCE_NOT_FOUND", url=plain)
    other.api.post("/git/v1/repo", source(absent)).error("SOURCE_NOT_FOUND", url=absent)
    account.api.post("/git/v1/repo", source(absent)).error("SOURCE_NOT_FOUND", url=absent)
    public = account.repo(public=True)
    w.push(t, public.url())
    made = make(other, source(f"http://{here}/{public.id}"))
    same(other.api.get(f"/git/v1/repo/{made}").ok()["visibility"], "private", "a fork of a public repository")
    same(refs_of(other, made), {"refs/heads/main": w.c3}, "a public source")


@test
def what_was_forced_away_is_not_forked(t):
    account = t.account
    w = World(t, "away")
    repo = account.repo()
    w.push(t, repo.url())
    t.git("push", "-q", "--force", repo.url(), f"{w.c1}:refs/heads/main", cwd=w.path)
    url = f"{t.server.url}/{repo.id}"
    for rev in (w.c3, w.c3[:10]):
        account.api.post("/git/v1/repo", source(url, rev=rev)).error("INVALID_REVISION", revision=rev)
    path = check_sound(t, account, make(account, source(url, allBranches=True)))
    expect(w.c3 not in t.git.objects(path), "a commit that was forced away came along")


@test
def an_empty_source_makes_an_empty_repository(t):
    account = t.account
    for branch in ("main", "trunk"):
        repo = account.repo(defaultBranch=branch)
        made = make(account, source(f"{t.server.url}/{repo.id}"))
        same((refs_of(account, made), default_of(account, made)), ({}, branch), "an empty fork")
        made = make(account, {**source(f"{t.server.url}/{repo.id}", allBranches=True), "defaultBranch": "x"})
        same((refs_of(account, made), default_of(account, made)), ({}, "x"), "an empty fork with a branch of its own")
        account.api.post("/git/v1/repo", source(f"{t.server.url}/{repo.id}", rev="main")).error("INVALID_REVISION")


@test
def what_makes_no_sense_is_refused_before_anything_is_made(t):
    account = t.account
    right = f"{t.server.url}/{account.repo().id}"
    before = count(account)
    for value in (5, [], "http://x.example/y", True, {}, {"url": None}, {"url": 5}, {"url": ""}, {"url": "x"},
                  {"url": "ftp://x.example/y"}, {"url": "file:///etc"}, {"url": "ssh://git@x.example/y"}, {"url": "http://"},
                  {"url": "http:///y"}, {"url": "http://x y/"}, {"url": "http://x.example/a b"}, {"url": "http://x.example/\n"},
                  {"url": "http://x.example/\u0000"}, {"url": "http://x.example:70000/"}, {"url": "http://x.example/" + "y" * 9000},
                  {"url": right, "rev": 5}, {"url": right, "branch": []}, {"url": right, "depth": 0}, {"url": right, "depth": -1},
                  {"url": right, "depth": 1.5}, {"url": right, "depth": "1"}, {"url": right, "depth": 1 << 40},
                  {"url": right, "allBranches": 1}, {"url": right, "rev": "x" * 5000}, {"url": right, "rev": "a\u0000b"}):
        account.api.post("/git/v1/repo", {"source": value}).error("GIT_INVALID_REQUEST")
    account.api.post("/git/v1/repo", {**source(right), "defaultBranch": "a..b"}).error("GIT_INVALID_REQUEST")
    files = {"type": "files", "files": {"a": "x"}, "commitMessage": "m"}
    account.api.post("/git/v1/repo", {**source(right), "import": files}).error("SOURCE_IMPORT_CONFLICT")
    for change in ({"type": None}, {"type": "rar"}, {"type": 5}, {"files": None}, {"files": []}, {"files": {"a": 5}},
                   {"files": {"a": None}}, {"commitMessage": None}, {"commitMessage": 5}, {"commitMessage": "a\u0000b"},
                   {"authorName": ""}, {"authorName": "a<b"}, {"authorEmail": "x\ny"}, {"type": "tar"}, {"type": "zip", "url": "x"},
                   {"type": "git", "url": right, "dir": 5}):
        account.api.post("/git/v1/repo", {"import": {**files, **change}}).error("GIT_INVALID_REQUEST")
    for path in ("", "/a", "a//b", "../a", "a/.", ".git/config", "a/.GIT/b"):
        account.api.post("/git/v1/repo", {"import": {**files, "files": {path: "x"}}}).error("INVALID_FILE_PATH", path=path)
    same(count(account), before, "repositories left behind")
    same(account.api.get("/git/v1/job").ok(["jobs"])["jobs"], [], "jobs left behind")


# ---- depth ----


@test
def a_source_of_this_server_can_be_cut_short(t):
    account = t.account
    w = World(t, "cut")
    repo = account.repo()
    w.push(t, repo.url())
    url = f"{t.server.url}/{repo.id}"
    check_depths(t, account, w, url)
    # From one that is shallow itself, as far as that goes.
    short = make(account, source(url, depth=2))
    check_shallow(t, account, make(account, source(f"{t.server.url}/{short}")), [w.c3, w.c2], [w.c2])
    check_shallow(t, account, make(account, source(f"{t.server.url}/{short}", depth=1)), [w.c3], [w.c3])
    check_shallow(t, account, make(account, source(f"{t.server.url}/{short}", depth=2147483647)), [w.c3, w.c2], [w.c2])


@test
def what_went_out_shallow_comes_in_again_whole_or_by_a_depth(t):
    """Not by an adoption, which says what helps; and that does help."""
    server = t.own_server(config=ALLOWED)
    account, theirs = server.account(), Sources(t)
    w = World(t, "out")
    repo = account.repo()
    w.push(t, repo.url())
    short = make(account, source(f"{server.url}/{repo.id}", depth=2))
    out = os.path.join(theirs.folder, "out.git")
    server.cli("repo", "export", short, out)
    same(t.git("rev-parse", "--is-shallow-repository", cwd=out).strip(), "true", "what went out")
    t.git("fsck", "--full", "--strict", cwd=out)
    said = server.cli("repo", "adopt", account.name, out, status=1)
    for words in ("git fetch --unshallow URL", "source.depth 2147483647"):
        expect(words in said, "what helps", said)
    check_shallow(t, account, make(account, source(theirs.url("out"), depth=2147483647)), [w.c3, w.c2], [w.c2])
    t.git("fetch", "-q", "--unshallow", repo.url(), cwd=out)
    made = server.cli("repo", "adopt", account.name, out)["repoId"]
    same(refs_of(account, made), {"refs/heads/main": w.c3}, "refs")
    check_shallow(t, account, made, [w.c3, w.c2, w.c1], [])
    same(len(rows(server, account)), 4, "rows")


def check_shallow(t, account, repo_id, commits, roots):
    """A clone has these commits and ends at these roots; every object of theirs is there."""
    path = check_sound(t, account, repo_id, "short")
    same(sorted(t.git("rev-list", "--all", cwd=path).split()), sorted(commits), "commits of a shallow repository")
    shallow = os.path.join(path, "shallow")
    found = open(shallow, encoding="ascii").read().split() if os.path.exists(shallow) else []
    same(sorted(found), sorted(roots), "roots of a shallow repository")


def check_depths(t, account, w, url):
    check_shallow(t, account, make(account, source(url, depth=2)), [w.c3, w.c2], [w.c2])
    check_shallow(t, account, make(account, source(url, depth=3)), [w.c3, w.c2, w.c1], [])
    check_shallow(t, account, make(account, {**source(url, depth=1, rev="v1"), "defaultBranch": "d"}), [w.c2], [w.c2])
    made = make(account, source(url, depth=1, allBranches=True))
    check_shallow(t, account, made, [w.c3, w.s1, w.c2, w.c1], [w.c3, w.s1, w.c2])
    same(refs_of(account, made), w.all, "refs of all branches, cut short")
    # It goes on like any other.
    path = t.git.mirror(url_of(account, made), t.path(f"on-{made}"))
    work = t.path(f"work-{made}")
    t.git("clone", "-q", "--no-local", path, work)
    tip = t.git.commit(work, {"more": "m\n"}, "more")
    t.git("push", "-q", url_of(account, made), "HEAD:refs/heads/main", cwd=work)
    same(refs_of(account, made)["refs/heads/main"], tip, "a push to a shallow repository")


# ---- of others ----


@test
def a_repository_of_another_server_is_fetched(t):
    server = t.own_server(config=ALLOWED)
    account, theirs = server.account(), Sources(t)
    w = World(t, "theirs")
    bare = theirs.repo("a")
    w.push(t, bare)
    t.git("push", "-q", bare, "refs/changes/*:refs/changes/*", cwd=w.path)
    url = theirs.url("a")
    check_kinds(t, account, w, url, kinds(w)[3::2])
    for rev in ("none", "main~1", "0" * 12, "0" * 40, "x y", w.c3[:3], "tree", "refs/tags/blob"):
        account.api.post("/git/v1/repo", source(url, rev=rev)).error("INVALID_REVISION", revision=rev)
    # An id that no branch or tag has is asked for, and given by a server that lets one.
    made = make(account, {**source(url, rev=w.o1), "defaultBranch": "o"})
    same(refs_of(account, made), {"refs/heads/o": w.o1}, "a commit by its id")
    check_sound(t, account, made)
    blob = t.git.rev(w.path, "main:a")
    account.api.post("/git/v1/repo", source(url, rev=blob)).error("INVALID_REVISION", revision=blob)
    theirs.version2 = False
    check_kinds(t, account, w, url, [k for k in kinds(w) if k[0].get("rev") in ("v1", "side")])
    # Here an id that nothing reaches is refused, though it is there.
    t.git("update-ref", "-d", "refs/changes/1", cwd=bare)
    account.api.post("/git/v1/repo", source(url, rev=w.o1)).error("INVALID_REVISION", revision=w.o1)
    theirs.version2 = True
    # Detached, unborn, and no branches at all.
    bare = theirs.repo("b")
    t.git("push", "-q", bare, f"{w.c2}:refs/heads/work", cwd=w.path)
    account.api.post("/git/v1/repo", source(theirs.url("b"))).error("INVALID_REVISION", revision="HEAD")
    make(account, source(theirs.url("b"), rev=w.c1))
    t.git("update-ref", "--no-deref", "HEAD", w.c2, cwd=bare)
    made = make(account, source(theirs.url("b")))
    same((refs_of(account, made), default_of(account, made)), ({"refs/heads/main": w.c2}, "main"), "a detached HEAD")
    theirs.repo("c")
    made = make(account, source(theirs.url("c")))
    same((refs_of(account, made), default_of(account, made)), ({}, "main"), "an empty source")
    # Passwords, and what is not there.
    account.api.post("/git/v1/repo", source(theirs.url("a", "locked"))).error("SOURCE_UNAUTHORIZED", url=theirs.url("a", "locked"))
    make(account, source(theirs.url("a", "locked", login=True)))
    account.api.post("/git/v1/repo", source(theirs.url("none"))).error("SOURCE_NOT_FOUND", url=theirs.url("none"))
    # A redirect to another host is followed without the password.
    theirs.moved = theirs.base.replace("127.0.0.1", "localhost")
    del theirs.seen[:]
    make(account, source(theirs.url("a", "moved", login=True)))
    same({word for _, path, word in theirs.seen if not path.startswith("/moved")}, {None}, "the password elsewhere")
    # Another Warren, with its own callers.
    far = t.account
    repo = far.repo()
    w.push(t, repo.url())
    made = make(account, source(repo.url(), allBranches=True))
    same(refs_of(account, made), w.all, "refs from another Warren")
    account.api.post("/git/v1/repo", source(repo.url(secret="rubbish"))).error("SOURCE_UNAUTHORIZED", url=repo.url(secret=None))
    check_no_secret(server, [PASSWORD, "p%40ss", far.key, account.key])


@test
def a_source_of_another_server_can_be_cut_short(t):
    server = t.own_server(config=ALLOWED)
    account, theirs = server.account(), Sources(t)
    w = World(t, "theirs")
    w.push(t, theirs.repo("a"))
    check_depths(t, account, w, theirs.url("a"))


def check_no_secret(server, words):
    """Nowhere in the log, and nowhere in the database's files."""
    files = glob.glob(os.path.join(server.data, "warren.db*"))
    expect(files, "the database's files")
    texts = {server.log_path: server.log()}
    for path in files:
        with open(path, "rb") as f:
            texts[path] = f.read()
    for path, text in texts.items():
        for word in words:
            expect(word.encode() not in text, f"a credential in {os.path.basename(path)}", word)


@test
def addresses_that_are_not_public_are_refused(t):
    account, theirs = t.account, Sources(t)
    before = count(account)
    port = theirs.server.server_port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"127.1:{port}", f"[::1]:{port}", f"[::ffff:127.0.0.1]:{port}", "10.0.0.1",
                 "169.254.169.254", "0.0.0.0"):
        account.api.post("/git/v1/repo", source(f"http://{host}/a.git")).error("GIT_INVALID_REQUEST")
    same(theirs.seen, [], "nobody was asked")
    same(count(account), before, "repositories left behind")
    jobs = account.api.get("/git/v1/job?limit=3").ok(["jobs"])["jobs"]
    same([(sorted(j), j["kind"], j["state"], j["error"]["code"]) for j in jobs],
         [(sorted(JOB), "repo.create", "failed", "GIT_INVALID_REQUEST")] * 3, "jobs that failed")


# ---- as jobs ----


def job_of(account, job_id):
    return account.api.get(f"/git/v1/job/{job_id}").ok(JOB)


def ended(account, job_id):
    return wait_for(lambda: next((j for j in [job_of(account, job_id)] if j["endedAt"]), None), "the job's end")


def folders(server):
    return sorted(os.path.basename(p) for p in glob.glob(os.path.join(server.data, "repos", "*", "*", "*")))


def rows(server, account):
    """Repositories of the account in whatever state, as the database has them."""
    import sqlite3
    db = sqlite3.connect(f"file:{server.data}/warren.db?mode=ro", uri=True)
    try:
        return [row[0] for row in db.execute("SELECT id FROM repo WHERE account_id = ?", (account.id,))]
    finally:
        db.close()


def nothing_left(server, account, kept=()):
    wait_for(lambda: sorted(rows(server, account)) == sorted(kept), "the rows' removal")
    wait_for(lambda: not [f for f in folders(server) if not any(k in f for k in kept)], "the folders' removal")


@test
def a_creation_can_be_a_job_that_is_watched_and_cancelled(t):
    server = t.own_server(config=ALLOWED)
    account, other, theirs = server.account(), server.account(), Sources(t)
    w = World(t, "job")
    w.push(t, theirs.repo("a"))
    reply = account.api.post("/git/v1/repo", source(theirs.url("a", "held", login=True)), headers=ASYNC)
    same((reply.status, sorted(reply.json)), (202, ["jobId", "repoId"]), "the answer")
    job_id, repo_id = reply.json["jobId"], reply.json["repoId"]
    same((reply.header("Preference-Applied"), reply.header("Location")), ("respond-async", f"/git/v1/job/{job_id}"), "headers")
    theirs.wait_held()
    seen = wait_for(lambda: next((j for j in [job_of(account, job_id)] if j["stage"] == "receiving"), None), "the stage")
    same((seen["id"], seen["kind"], seen["state"], seen["repoId"], seen["endedAt"], seen["result"], seen["error"]),
         (job_id, "repo.create", "running", repo_id, None, None, None), "the job")
    # Nobody sees the repository yet, and nobody else the job.
    account.api.get(f"/git/v1/repo/{repo_id}").error("REPOSITORY_NOT_FOUND", repoId=repo_id)
    same(count(account), 0, "repositories in the list")
    for wrong in (job_id, str(uuid.uuid4()), "x"):
        other.api.get(f"/git/v1/job/{wrong}").error("JOB_NOT_FOUND", jobId=wrong)
        other.api.delete(f"/git/v1/job/{wrong}").error("JOB_NOT_FOUND", jobId=wrong)
    same(other.api.get("/git/v1/job").ok(["jobs"])["jobs"], [], "jobs of the other account")
    second = account.api.post("/git/v1/repo", source(theirs.url("a", "held")), headers=ASYNC).json
    listed = account.api.get("/git/v1/job").ok(["jobs"])["jobs"]
    same([j["id"] for j in listed], [second["jobId"], job_id], "jobs, newest first")
    same(len(account.api.get("/git/v1/job?limit=1").ok(["jobs"])["jobs"]), 1, "limit")
    # One is cancelled, the other one goes on.
    account.api.delete(f"/git/v1/job/{second['jobId']}").ok(JOB)
    gone = ended(account, second["jobId"])
    same((gone["state"], gone["result"], gone["error"]), ("cancelled", None, None), "a cancelled job")
    theirs.let_go()
    done = ended(account, job_id)
    same((done["state"], done["result"], done["error"]), ("done", {"repoId": repo_id}, None), "a job that is done")
    same(refs_of(account, repo_id), {"refs/heads/main": w.c3}, "what it made")
    account.api.delete(f"/git/v1/job/{job_id}").ok(JOB)
    same(job_of(account, job_id)["state"], "done", "cancelling comes too late")
    # A failure tells the same as it would have told who waits.
    url = theirs.url("none")
    failed = ended(account, account.api.post("/git/v1/repo", source(url), headers=ASYNC).json["jobId"])
    same((failed["state"], failed["result"], failed["error"]["code"], failed["error"]["url"]), ("failed", None, "SOURCE_NOT_FOUND", url),
         "a job that failed")
    # A fork, too, where that was asked for; an empty repository is made at once.
    reply = account.api.post("/git/v1/repo", source(f"{server.url}/{repo_id}"), headers=ASYNC)
    same(reply.status, 202, "a fork as a job")
    same(ended(account, reply.json["jobId"])["state"], "done", "a fork as a job")
    made = account.api.post("/git/v1/repo", {}, headers=ASYNC).ok(["repoId"])
    nothing_left(server, account, [repo_id, reply.json["repoId"], made["repoId"]])
    check_no_secret(server, [PASSWORD, "p%40ss", account.key])


@test
def what_waits_for_a_source_of_ours_loses_it_with_the_right_to_see_it(t):
    server = t.own_server(config=ALLOWED + "threads = 1\n")
    owner, other, theirs = server.account(), server.account(), Sources(t)
    w = World(t, "revoked")
    w.push(t, theirs.repo("a"))
    repo = owner.repo(public=True)
    w.push(t, repo.url())
    other.api.post("/git/v1/repo", source(theirs.url("a", "held")), headers=ASYNC)
    theirs.wait_held()
    url = f"{server.url}/{repo.id}"
    wishes = source(url), {"import": {"type": "git", "url": url, "commitMessage": "m"}}
    jobs = [other.api.post("/git/v1/repo", wish, headers=ASYNC).json["jobId"] for wish in wishes]
    owner.api.put(repo.path + "/visibility", {"visibility": "private"}).ok()
    theirs.let_go()
    for job_id in jobs:
        job = ended(other, job_id)
        same((job["state"], (job["error"] or {}).get("code"), (job["error"] or {}).get("url")), ("failed", "SOURCE_NOT_FOUND", url), "the job")
    same(count(other), 1, "repositories")


@test
def who_waits_hears_that_the_job_was_cancelled(t):
    server = t.own_server(config=ALLOWED)
    account, theirs = server.account(), Sources(t)
    World(t, "waits").push(t, theirs.repo("a"))
    replies = []
    waiting = threading.Thread(target=lambda: replies.append(server.api(account.key).post("/git/v1/repo", source(theirs.url("a", "held")))))
    waiting.start()
    theirs.wait_held()
    job = account.api.get("/git/v1/job").ok(["jobs"])["jobs"][0]
    account.api.delete(f"/git/v1/job/{job['id']}").ok(JOB)
    waiting.join()
    error = replies[0].error("UNAVAILABLE")
    expect("cancelled" in error["message"], "a sentence", error)
    nothing_left(server, account)
    # A fault of the server's own has the route's code, and is told in the log alone.
    os.rename(os.path.join(server.data, "repos"), os.path.join(server.data, "elsewhere"))
    with open(os.path.join(server.data, "repos"), "wb"):
        server.may_fail = True
    failed = account.api.post("/git/v1/repo", source(theirs.url("a"))).error("CREATE_REPOSITORY_FAILED")
    expect(server.data not in failed["message"], "a path of the server's in an answer", failed)
    os.unlink(os.path.join(server.data, "repos"))
    os.rename(os.path.join(server.data, "elsewhere"), os.path.join(server.data, "repos"))
    theirs.let_go()
    make(account, source(theirs.url("a")))


@test
def a_client_that_leaves_leaves_nothing(t):
    server = t.own_server(config=ALLOWED)
    account, theirs = server.account(), Sources(t)
    w = World(t, "leaves")
    w.push(t, theirs.repo("a"))
    body = f'{{"source": {{"url": "{theirs.url("a", "held")}"}}}}'.encode()
    raw = socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=60)
    raw.sendall(f"POST /git/v1/repo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {account.key}\r\nContent-Length: {len(body)}\r\n\r\n"
                .encode() + body)
    theirs.wait_held()
    same(len(rows(server, account)), 1, "a row while it is made")
    raw.close()
    job = wait_for(lambda: next((j for j in account.api.get("/git/v1/job").ok()["jobs"] if j["endedAt"]), None), "the job's end")
    same(job["state"], "cancelled", "the job of a client that left")
    nothing_left(server, account)


@test
def a_server_that_ends_leaves_nothing(t):
    server = t.own_server(config=ALLOWED + "[server]\nstop_timeout = 800ms\n")
    account, theirs = server.account(), Sources(t)
    w = World(t, "ends")
    w.push(t, theirs.repo("a"))
    held = source(theirs.url("a", "held", login=True))
    job = account.api.post("/git/v1/repo", held, headers=ASYNC).json["jobId"]
    theirs.wait_held()
    server.kill()
    same(len(rows(server, account)), 1, "the row that was left")
    server.start()
    failed = ended(account, job)
    same((failed["state"], failed["error"]["code"]), ("failed", "INTERNAL_ERROR"), "the job after kill -9")
    nothing_left(server, account)
    # SIGTERM: some patience, and then a sentence.
    theirs.held.clear()
    job = account.api.post("/git/v1/repo", held, headers=ASYNC).json["jobId"]
    theirs.wait_held()
    server.restart()
    failed = ended(account, job)
    same((failed["state"], failed["error"]["code"]), ("failed", "UNAVAILABLE"), "the job after SIGTERM")
    expect("stopped" in failed["error"]["message"], "a sentence", failed["error"])
    nothing_left(server, account)
    same([p for p in glob.glob(os.path.join(server.data, "run", "*", "*")) if os.path.getsize(p)], [], "spools")
    check_no_secret(server, [PASSWORD, "p%40ss", account.key])


@test
def a_creation_goes_on_while_another_program_takes_over(t):
    server = t.own_server(config=ALLOWED + "[server]\nstop_timeout = 60s\n")
    account, theirs = server.account(), Sources(t)
    w = World(t, "upgrade")
    w.push(t, theirs.repo("a"))
    made = account.api.post("/git/v1/repo", source(theirs.url("a", "held")), headers=ASYNC).json
    theirs.wait_held()
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: logged(server, "upgrade.ends"), "the next program")
    wait_for(lambda: logged(server, "server.handing_over"), "the hand-over")
    api = server.api(account.key)
    same(api.get(f"/git/v1/job/{made['jobId']}").ok(JOB)["state"], "running", "the job, as the next program sees it")
    make(account, source(theirs.url("a")))
    theirs.let_go()
    same(ended(account, made["jobId"])["state"], "done", "the job")
    same(refs_of(account, made["repoId"]), {"refs/heads/main": w.c3}, "what it made")
    check_sound(t, account, made["repoId"])
    nothing_left(server, account, [r["id"] for r in account.api.get("/git/v1/repo").ok()["repositories"]])


@test
def creations_are_bounded_in_time_and_size(t):
    server = t.own_server(config=ALLOWED + "timeout = 1s\n[git]\nmax_pack = 64k\n")
    account, theirs = server.account(), Sources(t)
    w = World(t, "small")
    w.push(t, theirs.repo("a"))
    error = account.api.post("/git/v1/repo", source(theirs.url("a", "held"))).error("GIT_INVALID_REQUEST")
    expect("long" in error["message"], "a sentence for a source that does not go on", error)
    t.git.commit(w.path, {"big": os.urandom(200_000)})
    w.push(t, theirs.repo("b"))
    account.api.post("/git/v1/repo", source(theirs.url("b"))).error("PAYLOAD_TOO_LARGE")
    nothing_left(server, account)
    make(account, source(theirs.url("a")))


@test
def creations_wait_for_each_other_within_bounds(t):
    server = t.own_server(config=ALLOWED + "threads = 1\n[lanes]\naccount_share = 50\n")
    account, other, theirs = server.account(), server.account(), Sources(t)
    World(t, "many").push(t, theirs.repo("a"))
    held = source(theirs.url("a", "held"))
    jobs = [account.api.post("/git/v1/repo", held, headers=ASYNC)]
    theirs.wait_held()
    while jobs[-1].status == 202 and len(jobs) < 20:
        jobs.append(account.api.post("/git/v1/repo", held, headers=ASYNC))
    expect(3 < len(jobs) < 12, "creations until one was refused", len(jobs))
    jobs.pop().error("UNAVAILABLE")
    jobs.append(other.api.post("/git/v1/repo", held, headers=ASYNC))
    same(jobs[-1].status, 202, "another account still has room")
    theirs.let_go()
    for who in (account, other):
        wait_for(lambda a=who: all(j["state"] == "done" for j in a.api.get("/git/v1/job").ok()["jobs"]), "all of them")


# ---- public_url ----


@test
def the_public_url_is_a_name_of_this_server(t):
    server = t.own_server(flags=["--public-url", "https://Code.example.com/warren/"])
    account = server.account()
    w = World(t, "public")
    repo = account.repo()
    w.push(t, repo.url())
    for url in (f"https://code.example.com/warren/{repo.id}", f"http://x:{account.key}@code.example.com/warren/{repo.id}.git",
                f"{server.url}/{repo.id}"):
        make(account, source(url))
    reply = account.api.post("/git/v1/repo", source(f"{server.url}/{repo.id}"), headers=ASYNC)
    same(reply.header("Location"), f"https://Code.example.com/warren/git/v1/job/{reply.json['jobId']}", "Location")
    same(ended(account, reply.json["jobId"])["state"], "done", "the job")
    for wrong in ("x", "serve", "ftp://x.example/", "https://", "https://user@x.example/", "https://:p@x.example", "https://x.example/?q",
                  "https://x.example/#f", "https://x.example:99999/"):
        code, _, err = run_warren("config", "check", "--data", server.data, "--public-url", wrong)
        same(code, 1, f"config check with public_url {wrong}")
        expect("public_url" in err, "the option's name", err)
