#!/usr/bin/env python3
"""make test-browsers: isomorphic-git in headless Chromium, from another origin through CORS; JGit."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
JARS = ("org.eclipse.jgit.jar", "javaewah.jar", "slf4j-api.jar", "slf4j-nop.jar", "jsch.jar")


def command(*args, env=None, seconds=300):
    from harness.core import Fail
    done = subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds,
                          env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **(env or {})})
    if done.returncode:
        raise Fail(f"{' '.join(args)[:300]}: exit status {done.returncode}\n{done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


class World:
    """A server, a repository with two commits and a tag, a token that may write to it, and one that may read."""

    def __init__(self):
        from harness.gitcmd import Git
        from harness.server import Server
        self.tmp = tempfile.mkdtemp(prefix="warren-browsers-")
        self.server, self.git = Server().start(), Git()
        account = self.server.account()
        self.repo = account.repo(name="for browsers")
        self.work = self.git.init(os.path.join(self.tmp, "work"))
        self.git.commit(self.work, {f"d{i}/f{i}": f"{i}\n" * 200 for i in range(30)}, "one")
        self.git.commit(self.work, {"d1/f1": "changed\n", "\u00fc": "\u00e4"}, "two")
        self.git("tag", "-a", "-m", "tag", "v1", cwd=self.work)
        self.git("push", "-q", self.repo.url(), "main", "v1", cwd=self.work)
        self.identity = account.identity(write=self.repo)
        self.token = self.identity.secret()
        self.reader = account.identity(read=self.repo).secret()
        self.url = self.repo.url(None)

    def check_pushed(self, name, content):
        """The client's commit is here, whole."""
        from harness.core import same
        copy = self.git.mirror(self.repo.url(), os.path.join(self.tmp, "after"))
        self.git("fsck", "--full", cwd=copy)
        same(self.git("show", f"main:{name}", cwd=copy), content, "the pushed file")
        same(self.git.rev(copy, "main~1"), self.git.rev(self.work), "its parent")

    def close(self, check):
        try:
            self.server.remove(check=check)
        finally:
            self.git.remove()
            shutil.rmtree(self.tmp, ignore_errors=True)


def chromium(world):
    from harness.node import packages
    browser = shutil.which("chromium")
    modules = packages(HERE, "browsers")
    out = command("node", os.path.join(HERE, "chromium.mjs"), env={
        "MODULES": modules, "CHROMIUM": browser, "HOME": world.tmp, "WARREN": world.server.url, "REPO": world.url, "REPO_ID": world.repo.id,
        "TOKEN": world.token, "READER": world.reader, "TMPDIR": world.tmp})
    print("     " + out.strip().replace("\n", "\n     "))
    world.check_pushed("from-the-browser", "hello from a page\n")


def jgit(world):
    from harness.core import expect
    jars = [f"/usr/share/java/{jar}" for jar in JARS if os.path.exists(f"/usr/share/java/{jar}")]
    expect(jars and jars[0].endswith(JARS[0]), "Debian's libjgit-java", jars)
    classes = os.path.join(world.tmp, "classes")
    command("javac", "-cp", ":".join(jars), "-d", classes, os.path.join(HERE, "JGitRound.java"))
    out = command("java", "-cp", ":".join([*jars, classes]), "JGitRound", world.url, world.token, world.reader, os.path.join(world.tmp, "jgit"),
                  env={"HOME": world.tmp, "GIT_CONFIG_NOSYSTEM": "1"})
    print("     " + out.strip().replace("\n", "\n     "))
    world.check_pushed("from-jgit", "hello from JGit\n")


def main():
    p = argparse.ArgumentParser(description="Clones and pushes with isomorphic-git in Chromium, and with JGit.")
    p.add_argument("--warren", default="build/release/warren")
    p.add_argument("--only", choices=["chromium", "jgit"])
    args = p.parse_args()
    os.environ["WARREN_BIN"] = os.path.abspath(args.warren)
    passed = failed = 0
    for function in (chromium, jgit):
        if args.only not in (None, function.__name__):
            continue
        print(f"== {function.__name__}", flush=True)
        world = None
        try:
            world = World()
            function(world)
            world.close(check=True)
            passed += 1
        except Exception:
            failed += 1
            print(f"FAIL {function.__name__}\n{traceback.format_exc()[-6000:]}{world.server.log_tail() if world else ''}")
            if world:
                world.close(check=False)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
