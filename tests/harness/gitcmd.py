"""The real git, cut off from the machine's settings, and repositories to push with it.

WARREN_TEST_GIT=FOLDER takes another git than the installed one: a package of git unpacked there (FOLDER/usr/bin/git)."""
import os
import re
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


class Trace:
    """One run of git and what went over the wire: packets as git shows them, and HTTP's headers in their order."""

    def __init__(self, status, out, err, packets, headers):
        self.status, self.out, self.err, self.packets = status, out, err, packets
        self.headers = re.findall(r"(=> Send|<= Recv) header: ([^\r\n]+)", headers)

    def _each(self, way):
        """[[first line, header...]...]: the requests, or the answers."""
        found = []
        for said, line in self.headers:
            if said != way:
                continue
            if re.match(r"[A-Z]+ \S+ HTTP/|HTTP/", line):
                found.append([])
            if found:
                found[-1].append(line)
        return found

    @property
    def requests(self):
        return self._each("=> Send")

    @property
    def answers(self):
        return self._each("<= Recv")

    @property
    def posts(self):
        return [r for r in self.requests if r[0].startswith("POST ")]

    def sent(self, text):
        """How often the client sent a packet that begins with this."""
        return len(re.findall(r"> (?:\\\d)?" + re.escape(text), self.packets))

    def got(self, text):
        """How often the server sent a packet that begins with this."""
        return len(re.findall(r"< (?:\\\d)?" + re.escape(text), self.packets))


class Git:
    """git(...) runs one command and returns its stdout; git.fails(...) wants it to fail and returns its stderr."""

    def __init__(self):
        self.home = tempfile.mkdtemp(prefix="warren-git-")
        path = os.path.join(self.home, ".gitconfig")  # where versions before 2.32 look, which know no GIT_CONFIG_GLOBAL
        with open(path, "w", encoding="utf-8") as f:
            f.write(CONFIG)
        self.env = {"PATH": os.environ["PATH"], "HOME": self.home, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": path,
                    "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "LC_ALL": "C", "TZ": "UTC", "NO_PROXY": "*",
                    "no_proxy": "*"}
        other = os.environ.get("WARREN_TEST_GIT")
        if other:
            usr = os.path.join(os.path.abspath(other), "usr")
            self.env.update(PATH=f"{usr}/bin:{self.env['PATH']}", GIT_EXEC_PATH=f"{usr}/lib/git-core",
                            GIT_TEMPLATE_DIR=f"{usr}/share/git-core/templates")
        self._version = None

    @property
    def version(self):
        """(2, 39)"""
        if self._version is None:
            self._version = tuple(int(n) for n in re.search(r"(\d+)\.(\d+)", self("version")).groups())
        return self._version

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

    def traced(self, *args, env=None, **options):
        """A Trace of one run, which may fail."""
        with tempfile.TemporaryDirectory(dir=self.home) as folder:
            packets, headers = os.path.join(folder, "packets"), os.path.join(folder, "headers")
            status, out, err = self.run(*args, env={"GIT_TRACE_PACKET": packets, "GIT_TRACE_CURL": headers,
                                                    "GIT_TRACE_CURL_NO_DATA": "1", **(env or {})}, **options)
            texts = []
            for path in (packets, headers):
                with open(path, "a+", encoding="utf-8", errors="replace") as f:
                    f.seek(0)
                    texts.append(f.read())
        return Trace(status, out.decode(errors="replace"), err.decode(errors="replace"), *texts)

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

    def apart(self, path, a, b):
        """(how many commits only a reaches, only b). Of the whole histories: `rev-list a...b` stops too early where commits are
        dated before their parents, and then counts some that both reach."""
        of_a, of_b = (set(self("rev-list", f"{rev}^0", "--", cwd=path).split()) for rev in (a, b))
        return len(of_a - of_b), len(of_b - of_a)

    def mirror(self, url, path, version=2, *options):
        self("-c", f"protocol.version={version}", "clone", "-q", "--mirror", *options, url, path)
        return path

    def same_repository(self, copy, source, what):
        """All refs and all objects alike, and the copy is sound."""
        same(self.refs(copy), self.refs(source), f"{what}: refs")
        same(self.objects(copy), self.objects(source), f"{what}: objects")
        self("fsck", "--full", "--no-dangling", cwd=copy)
