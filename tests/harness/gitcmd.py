"""The real git, cut off from the machine's settings, and repositories to push with it."""
import os
import shutil
import subprocess
import tempfile

from harness.core import Fail, same, slowness

ZERO = "0" * 40
CONFIG = """[user]
	name = A U Thor
	email = author@example.com
[init]
	defaultBranch = main
[gc]
	auto = 0
[advice]
	detachedHead = false
[core]
	fsync = none
[protocol "file"]
	allow = always
[maintenance]
	auto = false
"""


class Git:
    """git(...) runs one command and returns its stdout; git.fails(...) wants it to fail and returns its stderr."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="warren-git-")
        path = os.path.join(self.home, "gitconfig")
        with open(path, "w", encoding="utf-8") as f:
            f.write(CONFIG)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": path,
                    "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C", "TZ": "UTC", "NO_PROXY": "*",
                    "no_proxy": "*"}

    def remove(self):
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self, *args, cwd=None, env=None, **options):
        return subprocess.Popen(["git", *args], cwd=cwd or self.home, env={**self.env, **(env or {})},
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                start_new_session=True, **options)

    def run(self, *args, cwd=None, env=None, data=None, seconds=120):
        """(exit status, stdout, stderr), as bytes."""
        try:
            done = subprocess.run(["git", *args], cwd=cwd or self.home, env={**self.env, **(env or {})}, input=data or b"",
                                  capture_output=True, timeout=seconds * slowness())
        except subprocess.TimeoutExpired:
            raise Fail(f"git {' '.join(args)}: not done after {seconds * slowness():.0f} s") from None
        return done.returncode, done.stdout, done.stderr

    def __call__(self, *args, **options):
        status, out, err = self.run(*args, **options)
        if status != 0:
            raise Fail(f"git {' '.join(args)}: exit status {status}\n{out[-2000:].decode(errors='replace')}"
                       f"{err[-4000:].decode(errors='replace')}")
        return out.decode(errors="surrogateescape")

    def fails(self, *args, **options):
        status, out, err = self.run(*args, **options)
        if status == 0:
            raise Fail(f"git {' '.join(args)}: went well and should not have\n{err.decode(errors='replace')}")
        return err.decode(errors="replace") + out.decode(errors="replace")

    # Making repositories.

    def init(self, path, bare=False):
        self("init", "-q", *(["--bare"] if bare else []), path)
        return path

    def commit(self, path, files, message="change"):
        """Writes files (name to text or bytes; None deletes) and commits; the new commit's id."""
        for name, content in files.items():
            full = os.path.join(path, name)
            if content is None:
                os.unlink(full)
                continue
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "wb") as f:
                f.write(content if isinstance(content, bytes) else content.encode())
        self("add", "-A", cwd=path)
        self("commit", "-q", "--allow-empty", "-m", message, cwd=path)
        return self.rev(path)

    def rev(self, path, name="HEAD"):
        return self("rev-parse", name, cwd=path).strip()

    # Comparing them.

    def refs(self, path):
        """{name: id} of a repository on disk."""
        lines = self("for-each-ref", "--format=%(refname) %(objectname)", cwd=path).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines)

    def remote_refs(self, url, *options, config=()):
        """{name: id} as ls-remote shows them, without HEAD and peeled tags."""
        lines = self(*config, "ls-remote", *options, url).splitlines()
        pairs = (line.split("\t") for line in lines)
        return {name: oid for oid, name in pairs if name != "HEAD" and not name.endswith("^{}")}

    def objects(self, path, *what):
        """The ids of all that the refs (or the given revisions) reach."""
        return {line.split(" ", 1)[0] for line in self("rev-list", "--objects", *(what or ["--all"]), "--", cwd=path).splitlines()}

    def mirror(self, url, path, version=2, *options):
        self("-c", f"protocol.version={version}", "clone", "-q", "--mirror", *options, url, path)
        return path

    def same_repository(self, copy, source, what):
        """All refs and all objects alike, and the copy is sound."""
        same(self.refs(copy), self.refs(source), f"{what}: refs")
        same(self.objects(copy), self.objects(source), f"{what}: objects")
        self("fsck", "--full", "--no-dangling", cwd=copy)
