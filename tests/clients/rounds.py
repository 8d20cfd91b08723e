"""Clients that are not git: dulwich, libgit2, JGit, isomorphic-git. Each clones, fetches, pushes (new branches and tags, updates,
forced ones, deletions), and is refused what it may not do; git looks at what it left behind, here and there.

A client is a small program that takes verbs line by line (_dulwich.py has the shortest), so that all go the same way."""
import glob
import os
import shutil
import subprocess
import threading

from harness import Fail, expect, same, test
from harness.core import slowness, warren
from harness.node import packages

COST = 3
RELEASE_ONLY = True
HERE = os.path.dirname(os.path.abspath(__file__))
# JGit's jar names no others.
JARS = ("org.eclipse.jgit.jar", "javaewah.jar", "slf4j-api.jar", "slf4j-nop.jar", "jsch.jar")


class Client:
    """A running client. clone, fetch and push return what it said: {ref: "ok" or why not}; a Fail in the client's words."""

    def __init__(self, t, *command, **env):
        env = {"PATH": os.environ["PATH"], "HOME": t.tmp, "LC_ALL": "C.UTF-8", "NO_PROXY": "*", "no_proxy": "*", "GIT_CONFIG_NOSYSTEM": "1", **env}
        self.errors = open(t.path("errors"), "w+b")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=env)
        t.stack.callback(self.close)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(10 * slowness())
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def __call__(self, verb, *args):
        timer = threading.Timer(60 * slowness(), self.process.kill)
        timer.start()
        self.process.stdin.write("\t".join((verb, *args, "")).rstrip("\t").encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().decode()
        timer.cancel()
        word, *rest = line.rstrip("\n").split("\t")
        if word != "ok":
            self.errors.seek(0)
            raise Fail(f"{verb}: {line.strip() or 'the client is gone: ' + self.errors.read()[-2000:].decode(errors='replace')}")
        return dict(row.split("=", 1) for row in rest)

    def fails(self, *args):
        try:
            said = self(*args)
        except Fail as e:
            return str(e)
        if all(word == "ok" for word in said.values()):
            raise Fail(f"{args}: went well and should not have")
        return str(said)


def begin(t):
    """(repo, work): some commits with folders, a link, a program, a large file, a merge, tags of both kinds."""
    repo = t.account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {f"d{i}/f{i}": f"{i}\n" * 100 for i in range(20)}, "one")
    t.git.commit(work, {"d1/f1": "changed", "large": t.random.randbytes(300_000), "\u00fc": "\u00e4"}, "two")
    os.chmod(os.path.join(work, "d2/f2"), 0o755)
    os.symlink("d2/f2", os.path.join(work, "link"))
    t.git.commit(work, {}, "three")
    t.git("checkout", "-q", "-b", "side", "HEAD~1", cwd=work)
    t.git.commit(work, {"side": "1"}, "side")
    t.git("checkout", "-q", "main", cwd=work)
    t.git("merge", "-q", "-m", "merge", "side", cwd=work)
    t.git("tag", "-a", "-m", "tag", "v1", "HEAD~1", cwd=work)
    t.git("tag", "light", cwd=work)
    t.git("push", "-q", repo.url(), "main", "side", "--tags", cwd=work)
    return repo, work


def look_at_clone(t, client, repo, work):
    copy = t.path("copy")
    client("clone", repo.url(), copy, "0")
    same(t.git.rev(copy), t.git.rev(work), "the clone's tip")
    same(t.git.objects(copy, "--all", "HEAD"), t.git.objects(work), "the clone's objects")
    refs = t.git.refs(copy)
    same({k: refs.get(k) for k in ("refs/tags/v1", "refs/tags/light", "refs/remotes/origin/side")},
         {"refs/tags/v1": t.git.rev(work, "v1"), "refs/tags/light": t.git.rev(work), "refs/remotes/origin/side": t.git.rev(work, "side")}, "its refs")
    same(t.git("status", "--porcelain", cwd=copy), "", "its work tree")
    t.git("fsck", "--full", cwd=copy)
    same({k: o for k, o in client("ls", repo.url()).items() if k != "HEAD"}, t.git.remote_refs(repo.url()), "the list of refs")
    return copy


def look_at_fetch(t, client, repo, work, copy):
    """New commits, some of them deltas; then nothing new."""
    for name in ("large", "d1/f1"):
        with open(os.path.join(work, name), "ab") as f:
            f.write(b"more\n")
        t.git.commit(work, {}, f"more {name}")
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for _ in range(2):
        client("fetch", copy, repo.url(), "refs/heads/main:refs/heads/fetched")
        same(t.git.rev(copy, "refs/heads/fetched"), t.git.rev(work), "what was fetched")
        same(t.git.objects(copy, "refs/heads/fetched"), t.git.objects(work, "main"), "its objects")
    t.git("fsck", "--full", cwd=copy)
    t.git("reset", "-q", "--hard", "refs/heads/fetched", cwd=copy)


def look_at_pushes(t, client, repo, copy):
    def push(*specs):
        said = client("push", copy, repo.url(), *specs)
        same(said, {spec.split(":")[1]: "ok" for spec in specs}, f"push {specs}")

    def there(name):
        return t.git.remote_refs(repo.url()).get(name)
    first = t.git.commit(copy, {"new": "1\n", "d3/f3": "0\n" + "3\n" * 99}, "from the client")
    t.git("tag", "-f", "-a", "-m", "x", "v2", cwd=copy)
    push("refs/heads/main:refs/heads/main")
    same(there("refs/heads/main"), first, "an update")
    push("refs/heads/main:refs/heads/new", "refs/tags/v2:refs/tags/v2")
    same((there("refs/heads/new"), there("refs/tags/v2")), (first, t.git.rev(copy, "refs/tags/v2")), "a new branch and a tag")
    t.git("commit", "-q", "--amend", "-m", "another", cwd=copy)
    second = t.git.rev(copy)
    push("+refs/heads/main:refs/heads/new")
    same(there("refs/heads/new"), second, "a forced one")
    push(":refs/heads/new", ":refs/tags/light")
    same((there("refs/heads/new"), there("refs/tags/light")), (None, None), "deletions")
    push("refs/heads/main:refs/notes/x")
    mirror = t.git.mirror(repo.url(), t.path("mirror"))
    t.git("fsck", "--full", cwd=mirror)
    same(t.git.objects(mirror, "refs/notes/x"), t.git.objects(copy, "refs/heads/main"), "all of its objects arrived")
    same(t.git("show", "refs/heads/main:new", cwd=mirror), "1\n", "a file")
    return mirror


def look_at_refusals(t, client, repo, copy, mirror):
    before = t.git.refs(mirror)
    expect(client.fails("push", copy, repo.url(), "+refs/heads/main:refs/warren/x"), "a reserved name")
    t.git.commit(copy, {"refused": "1"}, "refused")
    reader = repo.account.identity(read=repo).secret()
    err = client.fails("push", copy, repo.url(reader), "+refs/heads/main:refs/heads/main")
    expect(any(word in err for word in ("403", "forbidden", "Forbidden", "denied", "not permitted", "not authorized")), "a reader's push", err)
    err = client.fails("clone", repo.url("wrong"), t.path("wrong"), "0")
    expect(any(word in err for word in ("401", "uthori", "uthentication", "credentials", "UserCanceled")), "a wrong password", err)
    same(t.git.remote_refs(repo.url()), before, "refs after all this")
    client("clone", repo.url(reader), t.path("by-a-reader"), "0")


def a_round(t, client, shallow=False):
    repo, work = begin(t)
    copy = look_at_clone(t, client, repo, work)
    look_at_fetch(t, client, repo, work, copy)
    mirror = look_at_pushes(t, client, repo, copy)
    look_at_refusals(t, client, repo, copy, mirror)
    empty = repo.account.repo()
    same(client("push", copy, empty.url(), "refs/heads/main:refs/heads/main", "refs/tags/v1:refs/tags/v1"),
         {"refs/heads/main": "ok", "refs/tags/v1": "ok"}, "the first push to a repository")
    t.git("fsck", "--full", cwd=t.git.mirror(empty.url(), t.path("first")))
    if shallow:
        cut = t.path("cut")
        client("clone", repo.url(), cut, "1")
        same(t.git("rev-list", "--count", "HEAD", cwd=cut).strip(), "1", "a clone of one commit")
        client("deepen", cut, repo.url(), "refs/heads/main", "2")
        tip = t.git.remote_refs(repo.url())["refs/heads/main"]
        same((t.git.rev(cut), t.git("rev-list", "--count", "HEAD", cwd=cut).strip()), (tip, "2"), "deepened")
        t.git("fsck", "--full", cwd=cut)
        new = t.git.commit(cut, {"from-shallow": "1"}, "from a shallow clone")
        client("push", cut, repo.url(), "refs/heads/main:refs/heads/main")
        same(t.git.remote_refs(repo.url())["refs/heads/main"], new, "a push from it")
        t.git("fsck", "--full", cwd=t.git.mirror(repo.url(), t.path("last")))


@test
def dulwich(t):
    """Debian's, so with Debian's Python."""
    if subprocess.run(["/usr/bin/python3", "-c", "import dulwich"], capture_output=True).returncode:
        t.skip("python3-dulwich is not installed")
    a_round(t, Client(t, "/usr/bin/python3", "-E", os.path.join(HERE, "_dulwich.py")), shallow=True)


@test
def libgit2(t):
    program = os.path.join(os.path.dirname(warren()), "tests", "libgit2_client")
    expect(os.path.exists(program), "no libgit2_client beside the program: make unit", program)
    a_round(t, Client(t, program))


@test
def jgit(t):
    jars = [f"/usr/share/java/{jar}" for jar in JARS if os.path.exists(f"/usr/share/java/{jar}")]
    if not shutil.which("javac") or not jars or not jars[0].endswith(JARS[0]):
        t.skip("JGit is not installed: bash config/setup.sh browsers")
    done = subprocess.run(["javac", "-cp", ":".join(jars), "-d", t.path("classes"), os.path.join(HERE, "JGitClient.java")], capture_output=True)
    same(done.returncode, 0, f"javac: {done.stderr.decode(errors='replace')}")
    a_round(t, Client(t, "java", "-XX:TieredStopAtLevel=1", f"-Duser.home={t.tmp}", "-cp", ":".join([*jars, t.path("classes")]), "JGitClient"))


@test
def isomorphic_git(t):
    modules = packages(HERE, "clients")
    a_round(t, Client(t, "node", os.path.join(HERE, "isomorphic.mjs"), MODULES=modules), shallow=True)
