"""A server of one's own: started on a free port with its own data folder, stopped and looked over at the end."""
import base64
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

from harness.api import Api
from harness.core import Fail, expect, same, slowness, warren

FINDING = re.compile(rb"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:")
# Nothing of the machine's own settings reaches the program under test.
KEPT = ("PATH", "TMPDIR", "LANG", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "LD_LIBRARY_PATH")


def clean_environment(extra=None):
    env = {k: v for k, v in os.environ.items() if k in KEPT}
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", "second_deadlock_stack=1")
    env.update(extra or {})
    return env


def run_warren(*args, env=None, timeout=60, cwd=None):
    """One command to its end: (exit status, stdout, stderr)."""
    done = subprocess.run([warren(), *args], stdin=subprocess.DEVNULL, capture_output=True, env=clean_environment(env),
                          timeout=timeout * slowness(), cwd=cwd)
    expect(not FINDING.search(done.stderr), "a sanitizer complains", done.stderr.decode(errors="replace"))
    return done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")


class Server:
    """flags: further options of `serve`; config: text of an INI file; listen: None for a free port of 127.0.0.1."""

    def __init__(self, flags=(), env=None, config=None, data=None, listen="127.0.0.1:0", cafile=None, program=None,
                 cwd=None):
        self.folder = tempfile.mkdtemp(prefix="warren-server-")
        self.data = data or os.path.join(self.folder, "data")
        self.flags, self.env, self.listen, self.cafile = list(flags), dict(env or {}), listen, cafile
        self.log_path = os.path.join(self.folder, "log")
        if config is not None:
            path = os.path.join(self.folder, "warren.conf")
            with open(path, "w", encoding="utf-8") as f:
                f.write(config)
            self.flags += ["--config", path]
        self.program = program or warren()
        self.cwd = cwd
        self.process = None
        self.url = None
        self.secrets = set()
        self.accounts = 0
        self.clients = []
        self.checked = 0  # bytes of the log that check_log() has seen
        self.killed = False
        self.may_fail = False  # answers of 500 are part of the test

    def start(self, seconds=30):
        self.killed = False
        args = [self.program, "serve", "--data", self.data]
        args += ["--listen", self.listen] if self.listen else []
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*args, *self.flags], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=log, env=clean_environment(self.env), start_new_session=True, cwd=self.cwd)
        line = self._ready_line(seconds * slowness())
        match = re.fullmatch(r"warren: listening on (https?://\S+:\d+)\n", line)
        if not match:
            self.kill()
            raise Fail(f"no ready line but {line!r}\n{self.log_tail()}")
        self.url = match.group(1)
        return self

    def _ready_line(self, seconds):
        out, line = self.process.stdout.fileno(), b""
        deadline = time.monotonic() + seconds
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([out], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                break
            piece = os.read(out, 4096)
            if not piece:
                break
            line += piece
        return line.decode(errors="replace")

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=40):
        try:
            return self.process.wait(seconds * slowness())
        except subprocess.TimeoutExpired:
            raise Fail(f"the server does not end within {seconds * slowness():.0f} s of SIGTERM\n{self.log_tail()}") from None

    def stop(self):
        """SIGTERM; the end has to be clean."""
        for client in self.clients:
            client.close()
        if self.alive():
            self.terminate()
        status = self.wait()
        self.process.stdout.close()
        same(status, 0, f"exit status after SIGTERM\n{self.log_tail()}")
        self.check_log()

    def kill(self):
        """kill -9 of everything that was started."""
        self.killed = True
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()

    def restart(self):
        if self.alive():
            self.stop()
        for client in self.clients:
            client.close()
        return self.start()

    def remove(self, check=True):
        try:
            if self.alive():
                if check:
                    self.stop()
                else:
                    self.kill()
            elif check and self.process is not None and not self.killed:
                same(self.process.poll(), 0, f"exit status\n{self.log_tail()}")
                self.check_log()
        finally:
            if self.alive():
                self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    # What it wrote.

    def log(self):
        with open(self.log_path, "rb") as f:
            return f.read()

    def log_tail(self):
        return "log of the server:\n" + self.log()[-2000:].decode(errors="replace")

    def log_lines(self):
        """The log as objects; a line that is none fails."""
        lines = []
        for raw in self.log().split(b"\n")[:-1]:
            try:
                lines.append(json.loads(raw))
            except ValueError:
                raise Fail(f"a line of the log is not JSON: {raw[:300]!r}") from None
        return lines

    def check_log(self):
        """No sanitizer finding, JSON only, no answer of 500, no secret: since the last look."""
        text = self.log()[self.checked:]
        if FINDING.search(text):
            raise Fail("a sanitizer complains\n" + text[-8000:].decode(errors="replace"))
        whole = text[:text.rfind(b"\n") + 1]
        for secret in self.secrets:
            expect(secret not in whole, "a secret in the log", secret)
        for raw in whole.split(b"\n")[:-1]:
            try:
                line = json.loads(raw)
            except ValueError:
                raise Fail(f"a line of the log is not JSON: {raw[:300]!r}") from None
            status = line.get("status")
            if not self.may_fail and line.get("event") == "request" and status in (500, 501, 502):
                raise Fail(f"an internal error: {raw.decode()}\n{self.log_tail()}")
        self.checked += len(whole)

    def keep_secret(self, secret, users=("x-access-token", "git", "anyone")):
        """This may never show up in the log, nor its Basic forms."""
        self.secrets.add(secret.encode())
        for user in users:
            self.secrets.add(base64.b64encode(f"{user}:{secret}".encode()).rstrip(b"="))
        return secret

    # Memory and files.

    def pids(self):
        found = [self.pid]
        for pid in found:
            try:
                with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                    found += [int(child) for child in f.read().split()]
            except OSError:
                pass
        return found

    def rss_anon(self):
        """Bytes of anonymous memory of the server's processes."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/status", encoding="ascii") as f:
                    match = re.search(r"^RssAnon:\s+(\d+) kB", f.read(), re.M)
            except OSError:
                continue
            total += int(match.group(1)) * 1024 if match else 0
        return total

    def cpu_seconds(self):
        """What the server's processes have computed."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def files(self, *below):
        """Every file of the data folder (below a part of it) that is not the database's, with its size."""
        found = {}
        root = os.path.join(self.data, *below)
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    found[os.path.relpath(path, self.data)] = os.stat(path).st_size
                except FileNotFoundError:
                    pass
        return {k: v for k, v in found.items() if ".db" not in k and ".sqlite" not in k}

    # Administration and callers.

    def cli(self, *args, status=0):
        """A subcommand on this data folder; its JSON."""
        code, out, err = run_warren(*args, "--data", self.data)
        same(code, status, f"warren {' '.join(args)}: exit status, with {out!r} {err!r}")
        return json.loads(out) if status == 0 else err

    def verify(self, repo_id):
        """The program's own look at all of a repository."""
        code, out, err = run_warren("repo", "verify", repo_id, "--data", self.data)
        same(code, 0, f"warren repo verify {repo_id}: exit status, with {out!r} {err!r}")

    def account(self, name=None):
        self.accounts += 1
        made = self.cli("account", "create", name or f"account-{self.accounts}-{os.urandom(3).hex()}")
        same(sorted(made), ["accountId", "apiKey", "name"], "members of account create")
        return Account(self, made["accountId"], made["name"], self.keep_secret(made["apiKey"]))

    def api(self, credential=None, **options):
        client = Api(self.url, credential, cafile=self.cafile, **options)
        self.clients.append(client)
        return client


class Account:
    """An account and its key. Calls go through one kept-alive connection."""

    def __init__(self, server, account_id, name, key):
        self.server, self.id, self.name, self.key = server, account_id, name, key
        self._api = None

    @property
    def api(self):
        if self._api is None or self._api.url != self.server.url:
            self._api = self.server.api(self.key)
        return self._api

    def repo(self, **fields):
        made = self.api.post("/git/v1/repo", fields).ok(["repoId"])
        return Repo(self, made["repoId"])

    def identity(self, **grants):
        """An identity with the grants given as repo=level pairs, keyed by anything: identity(read=repo)."""
        made = self.api.post("/identity/v1/identities").ok(["id", "managed"])
        identity = Identity(self, made["id"])
        for level, repos in grants.items():
            for repo in repos if isinstance(repos, (list, tuple)) else [repos]:
                identity.grant(repo, level)
        return identity


class Identity:
    def __init__(self, account, identity_id):
        self.account, self.id = account, identity_id
        self.path = f"/identity/v1/identities/{identity_id}"

    def token(self, **fields):
        """(id, secret) of a new token."""
        made = self.account.api.post(f"{self.path}/tokens", fields or None).ok(["id", "token"])
        return made["id"], self.account.server.keep_secret(made["token"])

    def secret(self, **fields):
        return self.token(**fields)[1]

    def revoke(self, token_id):
        self.account.api.delete(f"{self.path}/tokens/{token_id}").empty()

    def grant(self, repo, level):
        self.account.api.post(f"{self.path}/permissions/git/{repo.id}", {"permission": level}).empty()


class Repo:
    def __init__(self, account, repo_id):
        self.account, self.id = account, repo_id
        self.path = f"/git/v1/repo/{repo_id}"

    def url(self, secret="own", user="x-access-token", suffix=".git"):
        """The clone URL; secret None for none in it."""
        scheme, rest = self.account.server.url.split("://")
        secret = self.account.key if secret == "own" else secret
        login = f"{user}:{secret}@" if secret is not None else ""
        return f"{scheme}://{login}{rest}/{self.id}{suffix}"
