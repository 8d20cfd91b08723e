"""Warren as a client of other Git servers: git http-backend in both versions, Warren itself, and servers that err."""
import os
import tempfile

from harness import expect, same, test
from harness.elsewhere import Elsewhere, GitServer, answer, ask, certificate, redirect
from harness.gitcmd import ZERO
from harness.pkt import FLUSH, pkts

ADVERT, RESULT = "application/x-git-upload-pack-advertisement", "application/x-git-upload-pack-result"


def folder(t):
    """Where the suite's repositories are: they are made once, and tests add others beside them."""
    return os.path.join(t.git.home, "repositories")


def repository(t):
    """r.git: a bare repository with branches, tags of every kind, and refs that are neither."""
    work, bare = os.path.join(t.git.home, "work"), os.path.join(folder(t), "r.git")
    if os.path.exists(bare):
        return bare
    t.git.init(work)
    git = lambda *args: t.git(*args, cwd=work)
    for i in range(6):
        t.git.commit(work, {"same": "x" * i, f"d{i}/f": f"{i}\n"}, f"commit {i}")
    git("branch", "old", "HEAD~3")
    git("branch", "a/b/c", "HEAD~1")
    git("checkout", "-q", "-b", "side", "HEAD~2")
    t.git.commit(work, {"side": "s"}, "side")
    git("merge", "-q", "--no-edit", "main")
    git("tag", "-a", "-m", "one", "v1", "main~2")
    git("tag", "-a", "-m", "two", "v2", "v1")
    git("tag", "light", "main~1")
    git("tag", "-a", "-m", "t", "tree", "HEAD^{tree}")
    git("update-ref", "refs/notes/x", "HEAD")
    git("update-ref", "refs/tags/v1.0", "HEAD")
    t.git("clone", "-q", "--mirror", work, bare)
    t.git("symbolic-ref", "HEAD", "refs/heads/main", cwd=bare)
    return bare


def known(t, bare):
    """The branches and tags as remote_client prints them."""
    rows = t.git("for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", "refs/heads", "refs/tags", cwd=bare)
    out = []
    for line in rows.splitlines():
        name, oid, peeled = line.split(" ")
        # git's format peels once, the protocol wholly.
        out.append([name, oid, t.git.rev(bare, f"{oid}^{{}}") if peeled else None])
    return sorted(out, key=lambda row: row[0].encode())


def fetched(t, url, bare, *ids, **keys):
    """Fetches the ids and compares what came with the source; the report, and which commits came."""
    got = ask("fetch", url, *ids, private=1, out=t.path("pack"), **keys)
    same(got["code"], "OK", f"the fetch of {ids} from {url}: {got['text']}")
    with tempfile.TemporaryDirectory(dir=t.tmp) as copy:
        t.git("init", "-q", "--bare", "--template=", copy)
        if got["shallow"]:
            with open(os.path.join(copy, "shallow"), "w", encoding="utf-8") as f:
                f.writelines(f"{i}\n" for i in sorted(got["shallow"]))
        with open(t.path("pack"), "rb") as f:
            t.git("index-pack", "--stdin", "--strict", cwd=copy, data=f.read())
        have = set(t.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", cwd=copy).split())
        same(have, t.git.objects(copy if got["shallow"] else bare, *ids), f"the objects of {ids}")
        got["commits"] = t.git("rev-list", *ids, "--", cwd=copy).split() if got["shallow"] else []
    return got


def servers(t, root, all_kinds=False):
    """git of both versions; and one whose answers are zipped, and one that says version 1."""
    two = {"v2": GitServer(t, root), "v0": GitServer(t, root, version=0)}
    return {**two, "zipped": GitServer(t, root, zipped=True), "v1": GitServer(t, root, version=1)} if all_kinds else two


@test
def refs_and_packs(t):
    bare = repository(t)
    ids = [t.git.rev(bare, "main"), t.git.rev(bare, "side"), t.git.rev(bare, "v2"), t.git.rev(bare, "tree")]
    for name, there in servers(t, folder(t), all_kinds=True).items():
        got = fetched(t, there.url + "/r.git", bare, *ids)
        same(got["refs"], known(t, bare), f"the refs by {name}")
        same((got["head"], got["head_oid"]), ("refs/heads/main", ids[0]), f"HEAD by {name}")
        asked = {r.headers.get("git-protocol") for r in there.requests}
        same(asked, {"version=2"} if name in ("v2", "zipped") else {"version=2", None}, f"the versions asked of {name}")
        fetched(t, there.url + "/r.git/", bare, ids[2])
    same(there.requests[-1].headers.get("content-type"), "application/x-git-upload-pack-request", "the request's type")


@test
def cut_histories(t):
    bare = repository(t)
    main, side = t.git.rev(bare, "main"), t.git.rev(bare, "side")
    for name, there in servers(t, folder(t)).items():
        for depth in (1, 3, 100):
            clone = t.path(f"c-{name}-{depth}")
            t.git("-c", f"protocol.version={2 if name == 'v2' else 0}", "clone", "-q", "--bare", "--depth", str(depth), "--no-single-branch",
                  "--no-tags", there.url + "/r.git", clone)
            tips = [main, side, t.git.rev(bare, "old"), t.git.rev(bare, "a/b/c")]
            got = fetched(t, there.url + "/r.git", bare, *tips, depth=depth)
            path = os.path.join(clone, "shallow")
            with open(path if os.path.exists(path) else os.devnull, encoding="utf-8") as f:
                same(sorted(got["shallow"]), sorted(f.read().split()), f"where depth {depth} ends by {name}")
            if got["shallow"]:
                wanted = t.git("rev-list", "--all", cwd=clone).split()
                same(set(got["commits"]), set(wanted), f"the commits of depth {depth} by {name}")


@test
def a_source_that_is_cut_itself(t):
    bare = repository(t)
    t.git("clone", "-q", "--bare", "--depth", "2", "file://" + bare, os.path.join(folder(t), "cut.git"))
    root = t.git("rev-list", "main", cwd=os.path.join(folder(t), "cut.git")).split()[-1]
    for name, there in servers(t, folder(t)).items():
        got = fetched(t, there.url + "/cut.git", None, t.git.rev(bare, "main"))
        same(got["shallow"], [root], f"what {name} says of its own end")


@test
def ids_that_no_ref_has(t):
    bare = repository(t)
    inner, unknown = t.git.rev(bare, "main~2"), "1" * 40
    for name, there in servers(t, folder(t)).items():
        got = ask("fetch", there.url + "/r.git", unknown, private=1)
        same((got["code"], got["fields"]), ("INVALID_REVISION", {"revision": unknown}), f"an id unknown to {name}")
        fetched(t, there.url + "/r.git", bare, inner)


@test
def heads_of_every_kind(t):
    bare = repository(t)
    unborn, detached = t.git.init(os.path.join(folder(t), "unborn.git"), bare=True), os.path.join(folder(t), "detached.git")
    t.git("symbolic-ref", "HEAD", "refs/heads/later", cwd=unborn)
    t.git("clone", "-q", "--mirror", bare, detached)
    t.git("update-ref", "--no-deref", "HEAD", "refs/heads/old", cwd=detached)
    t.git("clone", "-q", "--mirror", bare, os.path.join(folder(t), "away.git"))
    t.git("symbolic-ref", "HEAD", "refs/heads/gone", cwd=os.path.join(folder(t), "away.git"))
    for name, there in servers(t, folder(t)).items():
        see = lambda r: [ask("refs", f"{there.url}/{r}", private=1)[k] for k in ("code", "head", "head_oid")]
        new = name == "v2"
        same(see("unborn.git"), ["OK", "refs/heads/later" if new else "", ZERO], f"an empty repository by {name}")
        same(see("away.git"), ["OK", "refs/heads/gone" if new else "", ZERO], f"a HEAD that leads nowhere by {name}")
        # Version 0 does not tell a HEAD of its own from an old server's, whose branch is guessed as git does.
        same(see("detached.git"), ["OK", "" if new else "refs/heads/old", t.git.rev(bare, "old")], f"a HEAD of its own by {name}")


@test
def warren_itself(t):
    bare, repo = repository(t), t.account.repo()
    t.git("push", "-q", repo.url(), "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*", cwd=bare)
    got = fetched(t, repo.url(), bare, t.git.rev(bare, "main"), t.git.rev(bare, "v2"))
    same((got["refs"], got["head"]), (known(t, bare), "refs/heads/main"), "the refs")
    same(len(fetched(t, repo.url(), bare, t.git.rev(bare, "main"), depth=2)["commits"]), 2, "a cut history")
    fetched(t, repo.url(), bare, t.git.rev(bare, "main~2"))
    got = ask("refs", repo.url(secret=None), private=1)
    same((got["code"], got["fields"]), ("SOURCE_UNAUTHORIZED", {"url": repo.url(secret=None)}), "without a credential")


@test
def large_packs(t):
    """More than any buffer on the way holds."""
    work, size = t.git.init(t.path("work")), (6 << 20) * len(t.rounds())
    t.git("config", "core.compression", "0", cwd=work)
    head = t.git.commit(work, {f"f{i}": t.random.randbytes(1 << 20) for i in range(size >> 20)})
    t.git("clone", "-q", "--bare", work, os.path.join(folder(t), "large.git"))
    there = GitServer(t, folder(t), config=[("core.compression", "0")])
    got = fetched(t, there.url + "/large.git", work, head)
    expect(got["bytes"] > size, "the pack", got["bytes"])
    got = ask("fetch", there.url + "/large.git", head, private=1, max_bytes=1 << 20)
    same(got["code"], "TOO_LARGE", "more than allowed")


@test
def credentials(t):
    bare = repository(t)
    there = GitServer(t, folder(t), credential=("me@home", "p:%/ss"))
    host = f"127.0.0.1:{there.port}/r.git"
    good = f"http://me%40home:p%3A%25%2Fss@{host}"
    fetched(t, good, bare, t.git.rev(bare, "main"))
    for url in (f"http://{host}", f"http://me%40home:wrongpass@{host}", f"http://me%40home@{host}"):
        got = ask("refs", url, private=1)
        same((got["code"], got["fields"]), ("SOURCE_UNAUTHORIZED", {"url": f"http://{host}"}), "a wrong credential")
        expect("wrongpass" not in str(got) and "me@" not in str(got), "nothing of it is repeated", got)
    there.routes["/echo.git/info/refs"] = answer(200, pkts("# service=git-upload-pack\n", FLUSH, "ERR user me@home password p:%/ss is bad\n"),
                                                 Content_Type=ADVERT)
    got = ask("refs", good.replace("r.git", "echo.git"), private=1)
    expect("p:%/ss" not in str(got) and "me@home" not in str(got), "the other server's words cannot give it away", got)
    same(ask("refs", good.replace("r.git", "none.git"), private=1)["fields"], {"url": f"http://127.0.0.1:{there.port}/none.git"}, "the field")


@test
def moved_repositories(t):
    bare = repository(t)
    there, other = GitServer(t, folder(t), credential=("me", "x")), GitServer(t, folder(t))
    refs = "/info/refs?service=git-upload-pack"
    there.routes["/old.git/info/refs"] = redirect(f"/r.git{refs}", 301)
    there.routes["/far.git/info/refs"] = redirect(f"{other.url}/r.git{refs}", 301)
    mine = f"http://me:x@127.0.0.1:{there.port}"
    fetched(t, f"{mine}/old.git", bare, t.git.rev(bare, "main"))
    same([r.path for r in there.requests if r.method == "POST"], ["/r.git/git-upload-pack"] * 2, "POST goes to the new place")
    fetched(t, f"{mine}/far.git", bare, t.git.rev(bare, "main"))
    same([r.credential for r in other.requests], [None] * 3, "the other host does not learn the credential")
    # As git: only the first request is redirected, and only to what looks like a repository.
    for to in ("/login", "/r.git/info/refs", "/r.git/info/refs?service=git-upload-pack&x=1", "/r.git/info/refs?service=git-receive-pack"):
        there.routes["/bad.git/info/refs"] = redirect(to)
        there.routes["/login"] = answer(200, pkts("version 2\n", "fetch\n", FLUSH), Content_Type=ADVERT)
        got = ask("refs", f"{mine}/bad.git", private=1)
        expect(got["code"] in ("INVALID_REQUEST", "SOURCE_UNAUTHORIZED", "SOURCE_NOT_FOUND"), f"to {to}", got)
    there.routes["/post.git/info/refs"] = redirect(f"/r.git{refs}")
    there.routes["/r.git/git-upload-pack"] = redirect("/elsewhere")
    same(ask("refs", f"{mine}/post.git", private=1)["text"].split(",")[0], "The other server redirects (status 302)", "a redirected POST")
    same(ask("refs", f"{mine}/old.git", private=1, redirects=0)["code"], "INVALID_REQUEST", "where none is followed")


@test
def no_git_here(t):
    bare = repository(t)
    listing = f"{t.git.rev(bare, 'main')}\trefs/heads/main\n".encode()
    there = Elsewhere(t, {
        "/page/info/refs": answer(200, b"<html>hello", Content_Type="text/html"),
        "/dumb/info/refs": answer(200, listing, Content_Type="text/plain"), "/empty/info/refs": answer(200, b""),
        "/nothing/info/refs": answer(200, b"", Content_Type=ADVERT), "/busy/info/refs": answer(503), "/gone/info/refs": answer(410),
        "/no/info/refs": answer(403), "/odd/info/refs": answer(204, b""), "/error/info/refs": answer(500, b"<h1>"),
        "/brotli/info/refs": answer(200, b"xx", Content_Type=ADVERT, Content_Encoding="br"),
        "/badzip/info/refs": answer(200, b"xx", Content_Type=ADVERT, Content_Encoding="gzip"),
        "/said/info/refs": answer(200, pkts("# service=git-upload-pack\n", FLUSH, "ERR it is \x1b[31mMonday\n"), Content_Type=ADVERT),
        "/absent/info/refs": answer(200, pkts("ERR Repository not found.\n"), Content_Type=ADVERT),
        "/html/info/refs": answer(200, pkts("version 2\n", "fetch=shallow\n", FLUSH), Content_Type=ADVERT),
        "/html/git-upload-pack": answer(200, b"<html>", Content_Type="text/html"),
    })
    wanted = {"page": ("SOURCE_NOT_FOUND", ""), "empty": ("SOURCE_NOT_FOUND", ""), "gone": ("SOURCE_NOT_FOUND", ""), "none": ("SOURCE_NOT_FOUND", ""),
              "absent": ("SOURCE_NOT_FOUND", ""), "no": ("SOURCE_UNAUTHORIZED", ""), "busy": ("NET_UNREACHABLE", "busy (status 503)"),
              "dumb": ("INVALID_REQUEST", "dumb HTTP protocol"), "nothing": ("INVALID_REQUEST", "breaks off"),
              "odd": ("SOURCE_NOT_FOUND", "status 204"), "error": ("SOURCE_NOT_FOUND", "status 500"),
              "brotli": ("INVALID_REQUEST", "encoding"), "badzip": ("INVALID_REQUEST", "gzip encoding"),
              "said": ("INVALID_REQUEST", "The other server says: it is  [31mMonday"), "html": ("INVALID_REQUEST", "not of Git's type")}
    for name, (code, says) in wanted.items():
        got = ask("refs", f"{there.url}/{name}", private=1)
        same(got["code"], code, f"{name}: {got}")
        expect(says in got["text"], f"the words of {name}", got["text"])
        if code.startswith("SOURCE"):
            same(got["fields"], {"url": f"{there.url}/{name}"}, f"the field of {name}")
    got = ask("refs", there.url.replace("://", "://ada:secret@") + "/said", private=1)
    same((got["code"], "cannot be repeated" in got["text"], "Monday" in got["text"]), ("INVALID_REQUEST", True, False), "words after a secret")
    for url in ("ftp://127.0.0.1/r.git", "/r.git", "git@127.0.0.1:r.git", "file:///r.git", "", f"{there.url}/r.git?x=y", "http://"):
        same(ask("refs", url, private=1)["code"], "INVALID_REQUEST", f"the URL {url}")
    same(ask("refs", there.url + "/page")["code"], "NET_REFUSED", "a private address")


@test
def other_formats_and_old_servers(t):
    other = os.path.join(folder(t), "sha256.git")
    t.git("init", "-q", "--bare", "--object-format=sha256", other)
    tree = t.git("mktree", cwd=other).strip()
    t.git("update-ref", "refs/heads/main", t.git("commit-tree", "-m", "one", tree, cwd=other).strip(), cwd=other)
    for name, there in servers(t, folder(t)).items():
        got = ask("refs", there.url + "/sha256.git", private=1)
        same(got["code"], "INVALID_REQUEST", f"sha256 by {name}: {got}")
        expect("object format" in got["text"], "its words", got["text"])
    one = f"{'1' * 40} refs/heads/main\0ofs-delta agent=old\n"
    there = Elsewhere(t, {"/old.git/info/refs": answer(200, pkts("# service=git-upload-pack\n", FLUSH, one, FLUSH), Content_Type=ADVERT)})
    same(ask("refs", there.url + "/old.git", private=1)["refs"], [["refs/heads/main", "1" * 40, None]], "an old server's refs")
    expect("side-band-64k" in ask("fetch", there.url + "/old.git", "1" * 40, private=1)["text"], "an old server")
    expect("without depth" in ask("fetch", there.url + "/old.git", "1" * 40, private=1, depth=1)["text"], "one that cannot cut")


@test
def packs_that_break(t):
    """The answer cut short in its beginning and at its end, broken off in a chunk, with an error."""
    bare = repository(t)
    there, main = GitServer(t, folder(t)), t.git.rev(bare, "main")
    url = there.url + "/r.git"
    fetched(t, url, bare, main)
    request = there.requests[-1]
    whole = b"".join(there.backend(request)).partition(b"\r\n\r\n")[2]
    plain, rest = b"", whole
    while rest:
        n, _, rest = rest.partition(b"\r\n")
        plain, rest = plain + rest[:int(n, 16)], rest[int(n, 16) + 2:]

    def served(body):
        """What a fetch says when this is the answer; the refs are git's."""
        there.routes["/r.git/git-upload-pack"] = lambda r: body if b"command=fetch" in r.body else there.backend(r)
        return ask("fetch", url, main, private=1)

    same(served(answer(200, plain, Content_Type=RESULT))["code"], "OK", "all of it")
    for n in [*range(0, 12), *range(18, 24), *range(len(plain) - 6, len(plain))]:
        got = served(answer(200, plain[:n], Content_Type=RESULT))
        same(got["code"], "INVALID_REQUEST", f"{n} bytes of it: {got}")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {RESULT}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    same(served(head + whole[:-30])["code"], "NET_UNREACHABLE", "chunks that break off")
    error = pkts("packfile\n") + b"0015\2counting objects" + b"001e\3fatal: the disk is gone\n\n"
    expect("the disk is gone" in served(answer(200, error, Content_Type=RESULT))["text"], "band 3", error)


@test
def slow_servers(t):
    """One that counts objects for a while before it sends is not slow; one that stops in the pack is."""
    one = f"{'1' * 40} refs/heads/main\0side-band-64k\n"
    there = Elsewhere(t, {"/info/refs": answer(200, pkts("# service=git-upload-pack\n", FLUSH, one, FLUSH), Content_Type=ADVERT)})
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {RESULT}\r\n\r\n".encode() + pkts("NAK\n")

    def thinks():
        yield head
        for _ in range(25):
            there.gone.wait(0.1)
            yield b"0005\2"
        yield b"0009\1PACK0000"

    def stops():
        yield head + b"0009\1PACK"
        there.gone.wait()

    fetch = lambda **keys: ask("fetch", there.url, "1" * 40, private=1, **keys)
    there.routes["/git-upload-pack"] = lambda r: thinks()
    got = fetch(min_rate=1000, min_rate_ms=2000)
    same((got["code"], got["bytes"]), ("OK", 4), "a server that thinks")
    there.routes["/git-upload-pack"] = lambda r: stops()
    same(fetch(min_rate=1000, min_rate_ms=300)["code"], "NET_SLOW", "one that stops")
    same(fetch(cancel_ms=300)["code"], "CANCELLED", "one that is given up")
    # Each of the two answers comes in time, and both together do not.
    refs = there.routes["/info/refs"]

    def late(what):
        there.gone.wait(0.3)
        yield what

    there.routes.update({"/info/refs": lambda r: late(refs), "/git-upload-pack": lambda r: late(head + b"0009\1PACK0000")})
    same(fetch(deadline_ms=500)["code"], "NET_SLOW", "all requests have one deadline")
    same(fetch()["code"], "OK", "without it")


@test
def over_tls(t):
    bare, pem = repository(t), certificate(t)
    there = GitServer(t, folder(t), tls=pem)
    fetched(t, there.url + "/r.git", bare, t.git.rev(bare, "main"), ca=pem + ".crt")
    same(ask("refs", there.url + "/r.git", private=1)["code"], "NET_UNREACHABLE", "a certificate that nobody knows")
