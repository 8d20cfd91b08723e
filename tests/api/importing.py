"""Repositories of one commit: from files, archives and the files of Git repositories; and what attacks by such things come to."""
import glob
import gzip
import io
import json
import os
import sqlite3
import struct
import subprocess
import tarfile
import zipfile
import zlib

from harness import expect, same, test, wait_for
from harness.core import slowness
from harness.elsewhere import Elsewhere, GitServer, answer, redirect

CONFIG = """[sources]
allow_private_networks = true
max_archive = 12m
max_entries = 3000
max_file = 24m
max_unpacked = 48m
min_rate = 1k
min_rate_window = 1s
redirects = 3
timeout = 20s
"""
MESSAGE = "all of it\n\nas one\n"


def body(kind, url=None, **more):
    fields = {"type": kind, "commitMessage": MESSAGE, **({"url": url} if url else {}), **more}
    return {"import": {k: v for k, v in fields.items() if k != "defaultBranch"},
            **({"defaultBranch": fields["defaultBranch"]} if "defaultBranch" in fields else {})}


class World:
    """A server with an account, and what is left of what failed."""

    def __init__(self, t, config=CONFIG):
        self.t, self.server = t, t.own_server(config=config)
        self.account, self.made = self.server.account(), []
        self.elsewhere = Elsewhere(t)

    def url(self, path, data):
        return self.route(path, answer(200, data))

    def route(self, path, what):
        """what: as harness.elsewhere has it."""
        self.elsewhere.routes["/" + path] = what
        return f"{self.elsewhere.url}/{path}"

    def make(self, wish):
        reply = self.account.api.post("/git/v1/repo", wish)
        self.made.append(reply.ok(["repoId"])["repoId"])
        return self.made[-1]

    def refuse(self, wish, code="GIT_INVALID_REQUEST", words="", **fields):
        error = self.account.api.post("/git/v1/repo", wish).error(code, **fields)
        expect(words in error["message"], f"the sentence of {code}", error)
        return error

    def clone(self, repo_id):
        """A bare clone that git's fsck has looked at."""
        path = self.t.git.mirror(f"{self.server.url.replace('//', f'//x:{self.account.key}@')}/{repo_id}", self.t.path(repo_id))
        self.t.git("fsck", "--strict", cwd=path)
        return path

    def tree(self, repo_id, branch="main", author="Warren <warren@localhost>"):
        """The tree of the one commit that is there."""
        path = self.clone(repo_id)
        same(self.t.git("for-each-ref", "--format=%(refname)", cwd=path).split(), [f"refs/heads/{branch}"], "refs")
        same(self.t.git("log", "--all", "--format=%an <%ae>|%cn <%ce>|%P|%B", cwd=path), f"{author}|{author}||{MESSAGE}\n",
             "the commit")
        same(self.account.api.get(f"/git/v1/repo/{repo_id}/default-branch").ok(), {"defaultBranch": branch}, "default branch")
        return self.t.git.rev(path, f"{branch}^{{tree}}")

    def nothing_left(self):
        """Rows and folders are those of what was made; nothing is in run/."""
        def rows():
            db = sqlite3.connect(f"file:{self.server.data}/warren.db?mode=ro", uri=True)
            try:
                return sorted(row[0] for row in db.execute("SELECT id FROM repo"))
            finally:
                db.close()
        wait_for(lambda: rows() == sorted(self.made), "the removal of rows")
        names = lambda: [os.path.basename(p) for p in glob.glob(os.path.join(self.server.data, "repos", "*", "*", "*"))]
        wait_for(lambda: sorted(names()) == sorted(f"{m}.git" for m in self.made), "the removal of folders")
        same([p for p in glob.glob(os.path.join(self.server.data, "run", "*", "*", "*"))], [], "spools")


def tree_of(t, folder):
    """What git makes of a folder."""
    index = t.git.init(t.path("index-" + os.path.basename(folder)), bare=True)
    run = lambda *words: t.git("--git-dir", index, "--work-tree", folder, "-c", "core.bare=false", *words, cwd=folder)
    run("add", "-A", "-f", ".")
    return run("write-tree").strip()


def fill(t, name, large=False):
    """A folder with files of all kinds."""
    root = t.path(name).encode()
    files = {b"one": b"1\n", b"sub/two": b"2", b"sub/deep/er/three": b"3" * 70000, b"empty": b"", b"sub.x": b"x",
             "sub/\u00e4\u03b2".encode(): b"u", b"latin \xff": b"l"}
    if large:  # more than is kept in memory of one
        files[b"big"] = t.random.randbytes(9 << 19)
    for path, data in files.items():
        os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
        with open(os.path.join(root, path), "wb") as f:
            f.write(data)
    os.chmod(os.path.join(root, b"one"), 0o755)
    os.symlink(b"../one", os.path.join(root, b"sub/link"))
    os.link(os.path.join(root, b"sub/two"), os.path.join(root, b"hard"))
    return t.path(name)


def archive(folder, *command):
    return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout


# ---- what is wanted ----


@test
def files_of_the_request_become_a_commit(t):
    w = World(t)
    files = {"README.md": "# \u00e4\n", "src/a.c": "int a;\n", "src/a/b": "", "src.c": "x\u0000y", "\U0001f600": "smile",
             "content": "long \u00e4\n" * 1000}
    work = t.path("files")
    for path, text in files.items():
        os.makedirs(os.path.dirname(os.path.join(work, path)), exist_ok=True)
        with open(os.path.join(work, path), "wb") as f:
            f.write(text.encode())
    wanted = tree_of(t, work)
    same(w.tree(w.make(body("files", files=files))), wanted, "the tree")
    made = w.make(body("files", files=files, authorName="A U", authorEmail="a@u", defaultBranch="trunk/x"))
    same(w.tree(made, "trunk/x", "A U <a@u>"), wanted, "the tree")
    same(w.tree(w.make(body("files", files={}))), "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
         "the empty tree")
    for path in ("", "/a", "a/", "a//b", ".", "../a", "a/../b", ".git", ".GIT/config", "a/.git/b", "git~1"):
        w.refuse(body("files", files={"fine": "x", path: "y"}), "INVALID_FILE_PATH", path=path)
    w.refuse(body("files", files={"a/b": "x", "a.b": "y", "a": "z"}), "INVALID_FILE_PATH", path="a")
    w.refuse(body("files", files={".gitmodules": "[submodule \"../x\"]\n\tpath = x\n\turl = x\n"}), words="gitmodules")
    w.refuse(body("files", files={"a": 1}))
    w.refuse(body("files"))
    w.nothing_left()


@test
def archives_become_what_tar_and_unzip_make_of_them(t):
    w = World(t)
    work = fill(t, "work", True)
    wanted, below = tree_of(t, work), tree_of(t, os.path.join(work, "sub"))
    plain = archive(work, "tar", "--format=pax", "-cf", "-", ".")
    given = {"a.tar": plain, "a.tar.gz": gzip.compress(plain, 1), "gnu.tar": archive(work, "tar", "--format=gnu", "-cf", "-", "."),
             "parts.tar.gz": gzip.compress(plain[:9999], 1) + gzip.compress(plain[9999:], 1),
             "a.zip": archive(work, "sh", "-c", "zip -qry ../a.zip . && cat ../a.zip")}
    for name, data in given.items():
        kind, url = ("zip" if name.endswith("zip") else "tar"), w.url(name, data)
        same(w.tree(w.make(body(kind, url))), wanted, name)
    os.rename(os.path.join(work, "big"), t.path("big"))
    w.url("gnu.tar", archive(work, "tar", "--format=gnu", "-czf", "-", "."))
    w.url("a.zip", archive(work, "sh", "-c", "rm ../a.zip; zip -qry ../a.zip . && cat ../a.zip"))
    wanted = tree_of(t, work)
    for kind, name in (("tar", "gnu.tar"), ("zip", "a.zip")):
        url = f"{w.elsewhere.url}/{name}"
        same(w.tree(w.make(body(kind, url, dir="./sub/"))), below, f"the folder of {name}")
        for wrong in ("none", "one", "su", "sub/none", "../sub"):
            w.refuse(body(kind, url, dir=wrong), "IMPORT_SUBDIR_NOT_FOUND", source=kind, dir=wrong)
    # Nothing of what was left out is stored.
    made = w.make(body("tar", f"{w.elsewhere.url}/a.tar.gz", dir="sub"))
    blob = t.git("hash-object", t.path("big")).strip()
    w.account.api.get(f"/git/v1/repo/{made}/git/blobs/{blob}").error("BLOB_NOT_FOUND")
    # As GitHub serves them: a redirect to another place, one folder at the top, a password for the first.
    top = archive(t.tmp, "tar", "-czf", "-", "work")
    w.url("moved.tgz", top)
    w.elsewhere.routes["/o/r"] = lambda r: redirect("/moved.tgz") if r.credential == ("me", "p@ss w") else answer(401)
    w.server.keep_secret("p%40ss%20w", users=())
    url = f"{w.elsewhere.url}/o/r?token=s3cr3t"
    w.refuse(body("tar", url), "SOURCE_UNAUTHORIZED", url=url.partition("?")[0])
    w.server.keep_secret("s3cr3t", users=())
    same(w.tree(w.make(body("tar", url.replace("//", "//me:p%40ss%20w@"), dir="work"))), wanted, "behind a password")
    w.nothing_left()


@test
def a_commit_of_another_repository_becomes_the_first_of_ours(t):
    w = World(t)
    work = fill(t, "work")
    wanted, below = tree_of(t, work), tree_of(t, os.path.join(work, "sub"))
    repo = t.git.init(t.path("r"))
    first = t.git.commit(repo, {"old": "only in the first\n"}, "first")
    t.git("tag", "-a", "-m", "t", "v1", cwd=repo)
    t.git("rm", "-q", "old", cwd=repo)
    subprocess.run(["cp", "-a", work + "/.", repo], check=True)
    t.git("add", "-A", "-f", cwd=repo)
    t.git("commit", "-qm", "second", cwd=repo)
    second = t.git.rev(repo, "HEAD")
    old = t.git.rev(repo, "v1^{tree}")
    t.git.mirror(repo, t.path("served", "r.git"))
    theirs = GitServer(t, t.path("served"), credential=("me", "w0rd-"))
    ours = w.account.repo()
    w.made.append(ours.id)
    t.git("push", "-q", ours.url(), "HEAD:refs/heads/main", "v1", cwd=repo)
    w.server.keep_secret("w0rd-", users=("me",))
    for url in (f"http://me:w0rd-@127.0.0.1:{theirs.port}/r.git", f"{w.server.url}/{ours.id}"):
        made = w.make(body("git", url))
        same(w.tree(made), wanted, "the files of HEAD")
        for gone in (first, second):
            w.account.api.get(f"/git/v1/repo/{made}/git/commits/{gone}").error("COMMIT_NOT_FOUND", sha=gone)
        same(w.tree(w.make(body("git", url, rev="v1"))), old, "the files of a tag")
        same(w.tree(w.make(body("git", url, branch="main", dir="/sub", defaultBranch="x")), "x"), below, "a folder's files")
        w.refuse(body("git", url, dir="sub/two"), "IMPORT_SUBDIR_NOT_FOUND", source="git", dir="sub/two")
        w.refuse(body("git", url, rev="none"), "INVALID_REVISION", revision="none")
    wrong = f"http://127.0.0.1:{theirs.port}/r.git"
    w.refuse(body("git", wrong), "SOURCE_UNAUTHORIZED", url=wrong)
    wrong = w.route("none.git", answer(404))
    w.refuse(body("git", wrong), "SOURCE_NOT_FOUND", url=wrong)
    w.nothing_left()


@test
def a_file_that_never_fits_is_refused_for_good(t):
    """One that fits only at another time would be worth asking again for."""
    server = t.own_server(config="[http]\nmax_buffered = 16m\n")
    repo = server.account().repo(defaultBranch="main")
    work = t.git.init(t.path("large"))
    t.git.commit(work, {"large": t.random.randbytes(9 << 20), "small": "x"})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    reply = repo.account.api.post("/git/v1/repo", body("git", f"{server.url}/{repo.id}"))
    expect("make the repository from its source" in reply.error("PAYLOAD_TOO_LARGE")["message"], "what to do", reply.body)
    made = repo.account.api.post("/git/v1/repo", {"source": {"url": f"{server.url}/{repo.id}"}}).ok()["repoId"]
    t.git("clone", "-q", f"{server.url.replace('//', f'//x:{repo.account.key}@')}/{made}", t.path("copy"))
    same(t.git.rev(t.path("copy")), t.git.rev(work), "made from its source")


# ---- what is not ----


def tar_of(*entries, format=tarfile.PAX_FORMAT):
    """entries: (name, data or None, {fields})"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, data, fields in entries:
            info = tarfile.TarInfo(name)
            info.size = len(data or b"")
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data or b""))
    return out.getvalue()


def one(name, data=b"x", **fields):
    return name, data, fields


def header(name, size, kind=b"0"):
    """A tar header that claims this size, in base 256."""
    h = bytearray(512)
    h[:len(name)] = name
    h[100:108], h[108:116], h[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
    h[124:136] = b"\x80" + size.to_bytes(11, "big")
    h[136:148], h[148:156], h[156:157], h[257:265] = b"00000000000\0", b" " * 8, kind, b"ustar\x0000"
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h)


def zip_of(*entries, method=zipfile.ZIP_DEFLATED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in entries:
            z.writestr(name, data)
    return out.getvalue()


def endless(piece, head=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"):
    yield head
    while True:
        yield piece


@test
def broken_archives_are_refused_in_words(t):
    w = World(t)
    noise = t.random.randbytes(70000)
    good = tar_of(one("a", noise), one("b"))
    zipped, packed = gzip.compress(good), zip_of(("a", noise), ("b", b"x"))
    cases = [("tar", b"", "no tar"), ("tar", b"<html>no archive</html>" * 100, "no tar"), ("tar", packed, "no tar"), ("zip", good, "no zip"),
             ("zip", b"", "no zip"), ("tar", good[:60000], "cut short"), ("tar", good[:512 * 139], "cut short"),
             ("tar", zipped[:len(zipped) // 2], "cut short"), ("tar", zipped[:30] + b"\0" * 30 + zipped[60:], ""),
             ("tar", good[:70656] + b"?" * 512 + good[71168:], "damaged"), ("zip", packed[:60], "cut short"),
             ("zip", packed[:-30], "cut short"), ("zip", packed[:len(packed) - 60], "cut short"),
             ("zip", packed.replace(b"PK\1\2", b"PK\1\7"), ""), ("zip", packed[:40] + b"\xff" * 8 + packed[48:], "")]
    locked = bytearray(packed)
    for sign, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        i = -1
        while (i := locked.find(sign, i + 1)) >= 0:
            locked[i + at] |= 1
    cases.append(("zip", bytes(locked), "encrypted"))
    for i, (kind, data, words) in enumerate(cases):
        url = w.url(str(i), data)
        w.refuse(body(kind, url), "SOURCE_NOT_FOUND", words, url=url)
    for kind, make in (("tar", lambda n: tar_of(one("fine"), one(n))), ("zip", lambda n: zip_of(("fine", b""), (n, b"x")))):
        for n in ("/etc/passwd", "../x", "a/../../x", ".git/config", "a/.GIT/x", "git~1", "a/.git ", ".g\u200cit/x", "d/" * 1025 + "x"):
            w.refuse(body(kind, w.url("path", make(n))), "INVALID_FILE_PATH", path=n)
    w.refuse(body("tar", w.url("link", tar_of(one("a", None, type=tarfile.LNKTYPE, linkname="/etc/passwd")))), "INVALID_FILE_PATH")
    w.refuse(body("tar", w.url("link", tar_of(one("a", None, type=tarfile.LNKTYPE, linkname="none")))), words="hard link")
    w.refuse(body("tar", w.url("modules", tar_of(one(".gitmodules", b"[submodule \"../x\"]\n\turl = x\n\tpath = x\n")))),
             words="gitmodules")
    w.nothing_left()


@test
def odd_servers_of_archives_are_refused_in_words(t):
    w = World(t)
    good = tar_of(one("a"))
    for status, code in ((401, "SOURCE_UNAUTHORIZED"), (403, "SOURCE_UNAUTHORIZED"), (404, "SOURCE_NOT_FOUND"), (410, "SOURCE_NOT_FOUND")):
        url = w.route("s", answer(status, good))
        w.refuse(body("tar", url), code, url=url)
    for status in (204, 206, 400, 500, 503):
        w.refuse(body("tar", w.route("s", answer(status, good))), "SOURCE_NOT_FOUND", str(status), url=url)
    for i in range(5):
        w.route(f"r{i}", redirect(f"/r{i + 1}"))
    w.url("r5", good)
    w.make(body("tar", f"{w.elsewhere.url}/r2"))
    w.refuse(body("tar", f"{w.elsewhere.url}/r1"), "SOURCE_NOT_FOUND")
    for name, what in (("file", redirect("file:///etc/passwd")), ("short", lambda r: answer(200, good)[:-9000]),
                       ("rubbish", lambda r: b"\0\1\2" * 1000)):
        url = w.route(name, what)
        w.refuse(body("tar", url), "SOURCE_NOT_FOUND", url=url)
    # Nobody listens there, or nobody has the name; the credential is not repeated.
    for host in ("127.0.0.1:1", "nowhere.invalid"):
        for wish in (body("tar", f"http://ada:secret@{host}/a"), body("git", f"http://ada:secret@{host}/a"),
                     {"source": {"url": f"http://ada:secret@{host}/a"}}):
            w.refuse(wish, "SOURCE_NOT_FOUND", url=f"http://{host}/a")
    w.refuse(body("tar", w.route("silent", lambda r: None)), words="slow")
    w.refuse(body("tar", w.route("stops", lambda r: (answer(200, good)[:700] if i == 0 else pause(w) for i in range(2)))))
    w.refuse(body("tar", w.route("endless", lambda r: endless(os.urandom(65536)))), "SOURCE_NOT_FOUND")
    noise = b"".join(header(b"f%d" % i, 65536) + t.random.randbytes(65536) for i in range(16))
    w.refuse(body("tar", w.route("files", lambda r: endless(noise))), "PAYLOAD_TOO_LARGE")
    w.nothing_left()


def pause(w):
    w.elsewhere.gone.wait(30 * slowness())
    return b""


def bombs(t):
    zeros = b"\0" * (1 << 20)
    tiny = lambda n: b"".join(header(b"f%07d" % i, 0) for i in range(n))
    squeeze = lambda pieces: b"".join(gzipped(pieces))
    yield "a tar of zeros", "tar", squeeze([header(b"a", 23 << 20), *[zeros] * 23]), "for each of its own"
    yield "a gzip of gzips", "tar", gzip.compress(gzip.compress(header(b"a", 20 << 20) + zeros * 20)), "for each of its own"
    yield "8 EB", "tar", header(b"a", (1 << 63) - 1), ""
    yield "4 EB", "tar", header(b"a", 1 << 62), "A file"
    yield "a file that is too large", "tar", header(b"a", 25 << 20) + t.random.randbytes(1 << 20) * 7, ""
    yield "a pipe of 8 EB", "tar", header(b"a", (1 << 63) - 1, b"6") + zeros, ""
    yield "many entries", "tar", squeeze([tiny(100000)]), "entries"
    yield "headers without an entry", "tar", squeeze([header(b"x", 1 << 20, b"x"), zeros] * 60), "for each of its own"
    yield "a huge header", "tar", squeeze([header(b"x", 1 << 62, b"x"), *[zeros] * 20]), ""
    yield "many folders", "tar", squeeze([named(i, b"/".join(b"%02x" % c for c in t.random.randbytes(1000))) for i in range(9)] + [bytes(1024)]), "folders"
    yield "long names", "tar", squeeze([named(i, b"%05d" % i * 3000) for i in range(2900)]), "for each of its own"
    yield "a hole", "tar", sparse(1 << 40), "A file"
    yield "a smaller hole", "tar", sparse(20 << 20), "for each of its own"
    yield "a zip of zeros", "zip", zip_of(("a", zeros * 20)), "for each of its own"
    yield "a zip of many", "zip", zip_of(*[(f"{i:05}", b"") for i in range(4000)]), "entries"
    yield "a zip in which all files are one", "zip", overlapping(), ""
    yield "a gzip that is itself", "tar", quine(), ""


def named(i, path):
    """An empty file in a tar, with a path of any length in GNU's way."""
    return header(b"././@LongLink", len(path) + 1, b"L") + path.ljust(len(path) // 512 * 512 + 512, b"\0") + header(b"%d" % i, 0)


def gzipped(pieces):
    z = zlib.compressobj(6, zlib.DEFLATED, 31)
    for piece in pieces:
        yield z.compress(piece)
    yield z.flush()


def sparse(size):
    """GNU's sparse file (1.0 by pax records) that is all hole."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole", "GNU.sparse.realsize": str(size)}
    return tar_of(("s", b"1\n0\n0\n".ljust(512, b"\0"), {"pax_headers": records}))


def overlapping():
    """One file of a megabyte to which a thousand names of the directory lead."""
    packed = zip_of(("a", b"\0" * (1 << 20)))
    at, end = packed.index(b"PK\1\2"), packed.index(b"PK\5\6")
    return packed[:at] + packed[at:end] * 1000 + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1000, 1000, (end - at) * 1000, at, 0)


def quine():
    """25 gzips around nothing: libarchive opens what a filter gives as long as it looks like a filter's."""
    data = b""
    for _ in range(60):
        data = gzip.compress(data)
    return data


@test
def bombs_end_within_their_bounds(t):
    w = World(t)
    w.make(body("tar", w.url("good", tar_of(one("a")))))
    before = w.server.rss_anon()
    for name, kind, data, words in bombs(t):
        reply = w.account.api.post("/git/v1/repo", body(kind, w.url("bomb", data)))
        expect(reply.status in (400, 413), f"{name}: status", reply.status, reply.body)
        error = reply.error("PAYLOAD_TOO_LARGE" if reply.status == 413 else "SOURCE_NOT_FOUND")
        expect(words in error["message"], f"{name}: the sentence", error)
        w.nothing_left()
    # A megabyte here and there is the allocator's; a bomb that was held would be tens of them.
    grown = w.server.rss_anon() - before
    expect(grown < (48 << 20) * slowness(), "memory that bombs leave behind", grown)
    w.account.api.get("/git/v1/repo").ok()
