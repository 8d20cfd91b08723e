#!/usr/bin/env python3
"""make test-real: whole repositories of the world, and a gigabyte of large files.

WARREN_REAL_REPOS names bare repositories on this machine, separated by colons; they are read, never written. Each is pushed,
cloned with protocol versions 0, 1 and 2, checked, and compared ref by ref and object by object; then come further pushes
and fetches, force, delete, atomic. The figures (seconds, the server's highest RssAnon) are printed, not judged, but for
the memory of the gigabyte."""
import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
GIGABYTE_LIMIT = 200 << 20
VERSIONS = (0, 1, 2)

# What real histories have, and git's own fsck minds: redis a mode with a zero in front.
CONFIG = "[git]\nfsck_ignore = zeroPaddedFilemode badTimezone\n"


def say(text):
    print(text, flush=True)


class Watch(threading.Thread):
    """The server's highest RssAnon while it runs, and the time."""

    def __init__(self, server, what):
        super().__init__(daemon=True)
        self.server, self.what, self.peak, self.over = server, what, 0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.peak = max(self.peak, self.server.rss_anon())

    def __enter__(self):
        self.begun = time.monotonic()
        self.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        self.join()
        if kind is None:
            say(f"     {self.what}: {time.monotonic() - self.begun:.1f} s, RssAnon at most {self.peak >> 20} MB")


def v(version):
    return ("-c", f"protocol.version={version}")


def pushable(git, source):
    """{name: id} of the heads and tags of a repository, whatever else it has."""
    return {name: oid for name, oid in git.refs(source).items() if name.startswith(("refs/heads/", "refs/tags/"))}


class Scratch:
    """A repository beside the source that borrows its objects; what the test adds never reaches the source."""

    def __init__(self, git, source, path):
        self.git, self.path = git, path
        git.init(path, bare=True)
        with open(os.path.join(path, "objects/info/alternates"), "w", encoding="utf-8") as f:
            f.write(os.path.join(os.path.realpath(source), "objects") + "\n")
        refs = pushable(git, source)
        if not refs:
            # A mirror may keep its branches under refs/remotes/.
            refs = {name.replace("refs/remotes/", "refs/heads/", 1): oid for name, oid in git.refs(source).items()
                    if name.startswith("refs/remotes/") and not name.endswith("/HEAD")}
        lines = "".join(f"create {name} {oid}\n" for name, oid in refs.items())
        git("update-ref", "--stdin", cwd=path, data=lines.encode())
        self.branch = next((n for n in ("main", "master", "unstable", "develop") if f"refs/heads/{n}" in refs), None)
        if self.branch is None:
            self.branch = next((n for n in refs if n.startswith("refs/heads/")), "refs/heads/main")[11:]
        if f"refs/heads/{self.branch}" not in refs:
            head = git.rev(source, "HEAD^{commit}")
            git("update-ref", f"refs/heads/{self.branch}", head, cwd=path)

    def commit(self, branch, message, parent=None, path="warren-test"):
        """A new commit on a branch: its parent's tree and one file more."""
        parent = parent or self.git.rev(self.path, branch)
        blob = self.git("hash-object", "-w", "--stdin", cwd=self.path, data=os.urandom(5000)).strip()
        index = {"GIT_INDEX_FILE": os.path.join(self.path, "test-index")}
        self.git("read-tree", parent, cwd=self.path, env=index)
        self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", cwd=self.path, env=index)
        tree = self.git("write-tree", cwd=self.path, env=index).strip()
        new = self.git("commit-tree", tree, "-p", parent, "-m", message, cwd=self.path).strip()
        self.git("update-ref", f"refs/heads/{branch}", new, cwd=self.path)
        return new


def one_repository(t, source):
    from harness.core import expect, same
    git, server = t["git"], t["server"]
    name = os.path.basename(os.path.dirname(source.rstrip("/")) if source.rstrip("/").endswith("/repo") else source.rstrip("/"))
    say(f"== {name}")
    account = server.account()
    scratch = Scratch(git, source, os.path.join(t["tmp"], "scratch"))
    repo = account.repo(name=name, defaultBranch=scratch.branch)
    hour = 3600
    push = lambda *args: git("push", "-q", repo.url(), *args, cwd=scratch.path, seconds=hour)
    with Watch(server, "push of all heads and tags"):
        push("refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*")
    refs = git.refs(scratch.path)
    objects = git.objects(scratch.path)
    say(f"     {len(refs)} refs, {len(objects)} objects")
    copies = {}
    for version in VERSIONS:
        copies[version] = os.path.join(t["tmp"], f"copy{version}")
        with Watch(server, f"clone, version {version}"):
            git(*v(version), "clone", "-q", "--mirror", repo.url(), copies[version], seconds=hour)
        same(git.refs(copies[version]), refs, f"version {version}: refs")
        same(git.objects(copies[version]), objects, f"version {version}: objects")
        git("fsck", "--full", "--no-dangling", cwd=copies[version], seconds=hour)
    links = [line for line in git("ls-tree", "-r", scratch.branch, cwd=scratch.path, seconds=hour).splitlines()
             if line.startswith("160000")]
    say(f"     submodules at the tip of {scratch.branch}: {len(links)}")
    for turn in range(4):
        scratch.commit(scratch.branch, f"further {turn}")
        git("tag", "-a", "-m", "a tag", f"warren-test-{turn}", scratch.branch, cwd=scratch.path)
        push(scratch.branch, f"warren-test-{turn}")
        for version, copy in copies.items():
            git(*v(version), "fetch", "-q", "--prune", "origin", cwd=copy, seconds=hour)
            same(git.refs(copy), git.refs(scratch.path), f"version {version}: refs after fetch {turn}")
    shallow = os.path.join(t["tmp"], "shallow")
    with Watch(server, "clone --depth 1"):
        git("clone", "-q", "--bare", "--depth", "1", repo.url(), shallow, seconds=hour)
    git("fetch", "-q", "--depth", "20", repo.url(), scratch.branch, cwd=shallow, seconds=hour)
    git("fsck", "--full", "--no-dangling", cwd=shallow, seconds=hour)
    with Watch(server, "unshallow"):
        git("fetch", "-q", "--unshallow", repo.url(), f"+{scratch.branch}:{scratch.branch}", cwd=shallow, seconds=hour)
    expect(git.objects(shallow, scratch.branch) == git.objects(scratch.path, scratch.branch), "unshallowed")

    # Force: the branch goes back and elsewhere; delete; atomic, with one ref that is refused.
    back = git.rev(scratch.path, f"{scratch.branch}~3")
    scratch.commit(scratch.branch, "another way", parent=back)
    git.fails("push", repo.url(), scratch.branch, cwd=scratch.path)
    push("-f", scratch.branch)
    for n in ("one", "two", "three"):
        git("update-ref", f"refs/heads/warren-test/{n}", scratch.branch, cwd=scratch.path)
    push("refs/heads/warren-test/*:refs/heads/warren-test/*")
    git.fails("push", "--atomic", repo.url(), ":warren-test/one", f"{scratch.branch}:refs/warren/x", cwd=scratch.path)
    expect("refs/heads/warren-test/one" in git.remote_refs(repo.url()), "atomic: nothing happened")
    push("--atomic", ":warren-test/one", ":warren-test/two")
    for n in ("one", "two"):
        git("update-ref", "-d", f"refs/heads/warren-test/{n}", cwd=scratch.path)
    for version, copy in copies.items():
        git(*v(version), "fetch", "-q", "--prune", "origin", cwd=copy, seconds=hour)
        git.same_repository(copy, scratch.path, f"version {version} in the end")
    server.restart()
    last = os.path.join(t["tmp"], "last")
    git("clone", "-q", "--mirror", repo.url(), last, seconds=hour)
    git.same_repository(last, scratch.path, "after a start")


def a_gigabyte(t):
    from harness.core import expect, same, sanitized
    git, server = t["git"], t["server"]
    say("== a gigabyte of random files")
    repo = server.account().repo()
    work = git.init(os.path.join(t["tmp"], "work"))
    rng = random.Random(5)
    for n in range(5):
        with open(os.path.join(work, f"large{n}"), "wb") as f:
            for _ in range(205):
                f.write(rng.randbytes(1 << 20))
    git("-c", "core.bigFileThreshold=1m", "add", ".", cwd=work, seconds=1800)
    git("commit", "-q", "-m", "large", cwd=work, seconds=1800)
    with Watch(server, "push of 1 GB") as pushed:
        git("push", "-q", repo.url(), "main", cwd=work, seconds=1800)
    copy = os.path.join(t["tmp"], "copy")
    with Watch(server, "clone of 1 GB") as cloned:
        git("clone", "-q", "--bare", repo.url(), copy, seconds=1800)
    same(git.rev(copy), git.rev(work), "tip")
    git("fsck", "--full", cwd=copy, seconds=1800)
    expect(sanitized() or max(pushed.peak, cloned.peak) < GIGABYTE_LIMIT, "the server's memory", pushed.peak >> 20, cloned.peak >> 20)


def main():
    p = argparse.ArgumentParser(description="Pushes, clones and compares real repositories.")
    p.add_argument("--warren", default="build/release/warren")
    p.add_argument("--no-gigabyte", action="store_true")
    args = p.parse_args()
    os.environ["WARREN_BIN"] = os.path.abspath(args.warren)
    from harness.gitcmd import Git
    from harness.server import Server
    sources = [s for s in os.environ.get("WARREN_REAL_REPOS", "").split(":") if s]
    if not sources:
        say("WARREN_REAL_REPOS names no repository: only the gigabyte is tried")
    work = [(one_repository, s) for s in sources] + ([] if args.no_gigabyte else [(lambda t, _: a_gigabyte(t), "a gigabyte")])
    passed = failed = 0
    for function, what in work:
        t = {"git": Git(), "tmp": tempfile.mkdtemp(prefix="warren-real-"), "server": Server(config=CONFIG)}
        try:
            t["server"].start()
            function(t, what)
            t["server"].stop()
            passed += 1
        except Exception:
            failed += 1
            say(f"FAIL {what}\n{traceback.format_exc()[-6000:]}\n{t['server'].log_tail()}")
        finally:
            t["server"].remove(check=False)
            t["git"].remove()
            shutil.rmtree(t["tmp"], ignore_errors=True)
    say(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
