#!/usr/bin/env python3
"""make test-browsers: in headless Chromium, isomorphic-git from another origin through CORS, and the page at /docs."""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))


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


def run(world, script, **env):
    from harness.node import packages
    out = command("node", os.path.join(HERE, script), env={
        "MODULES": packages(HERE, "browsers"), "CHROMIUM": shutil.which("chromium"), "HOME": world.tmp, "TMPDIR": world.tmp,
        "WARREN": world.server.url, **env})
    print("     " + out.strip().replace("\n", "\n     "))


def chromium(world):
    run(world, "chromium.mjs", REPO=world.url, REPO_ID=world.repo.id, TOKEN=world.token, READER=world.reader)
    world.check_pushed("from-the-browser", "hello from a page\n")


def docs(world):
    run(world, "docs.mjs")


def main():
    p = argparse.ArgumentParser(description="Clones and pushes with isomorphic-git in Chromium, and looks at /docs with it.")
    p.add_argument("--warren", default="build/release/warren")
    args = p.parse_args()
    os.environ["WARREN_BIN"] = os.path.abspath(args.warren)
    failed = 0
    for name, part in (("chromium", chromium), ("docs", docs)):
        print(f"== {name}", flush=True)
        world = None
        try:
            world = World()
            part(world)
            world.close(check=True)
        except Exception:
            failed += 1
            print(f"FAIL {name}\n{traceback.format_exc()[-6000:]}{world.server.log_tail() if world else ''}")
            if world:
                world.close(check=False)
    print(f"{2 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
