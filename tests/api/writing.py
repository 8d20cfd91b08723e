"""Writing by REST: what is committed is what git reads; many writers at once lose nothing of each other; what was acknowledged
outlives kill -9."""
import base64
import json
import os
import signal
import threading
import time

from harness import expect, same, test, wait_for
from harness import pkt
from harness.core import sanitized, slowness
from harness.raw import Gone, Objects, Wire
from harness.workers import sequence, worker

COST = 10
CONCURRENT = True


class Caller:
    """One kept-alive connection that makes commits by API."""

    def __init__(self, server, key, repo_id):
        self.server, self.key, self.id = server, key, repo_id
        self.wire = Wire(server.url, key)

    def post(self, path, body):
        """(status, what was answered); Gone where there was no answer."""
        status, data = self.wire.request("POST", f"/git/v1/repo/{self.id}/{path}", json.dumps(body).encode())
        return status, json.loads(data)

    def commit(self, files, message, branch=None, **more):
        return self.post("commits", {"message": message, "branch": branch, **more,
                                     "files": [{"path": p, "content": c} for p, c in files.items()]})

    def get(self, path):
        status, data = self.wire.request("GET", f"/git/v1/repo/{self.id}/{path}")
        expect(status == 200, f"GET {path}", status, data[:300])
        return json.loads(data)

    def tip(self, branch="main"):
        status, data = self.wire.request("GET", f"/git/v1/repo/{self.id}/git/refs/heads/{branch}")
        return json.loads(data)["sha"] if status == 200 else None


def all_at_once(functions):
    """Runs them side by side; raises what the first one raised."""
    troubles, gate = [], threading.Barrier(len(functions))

    def run(function):
        try:
            gate.wait()
            function()
        except BaseException as e:
            troubles.append(e)
    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if troubles:
        raise troubles[0]


class Clone:
    """What git sees, and what it holds of it."""

    def __init__(self, t, repo, name):
        self.git, self.path = t.git, t.git.mirror(repo.url(), t.path(name))
        t.git("fsck", "--strict", "--no-dangling", cwd=self.path)

    def lines(self, *args):
        return self.git(*args, cwd=self.path).splitlines()

    def line(self, branch):
        """The commits of a branch, newest first, none of which has two parents, and only the last none."""
        rows = [row.split() for row in self.lines("rev-list", "--parents", f"refs/heads/{branch}")]
        for row, before in zip(rows, rows[1:]):
            same(row[1:], [before[0]], f"a line: the parent of {row[0]}")
        same(len(rows[-1]), 1, "the first one has no parent")
        return [row[0] for row in rows]

    def files(self, rev):
        """{path: content} of small files."""
        rows = [row.split(None, 3) for row in self.lines("ls-tree", "-r", rev)]
        asked = "".join(f"{row[2]}\n" for row in rows).encode()
        _, out, _ = self.git.run("cat-file", "--batch", cwd=self.path, data=asked)
        found, at = {}, 0
        for row in rows:
            head, at = out[at:out.index(b"\n", at)], out.index(b"\n", at) + 1
            size = int(head.split()[2])
            found[row[3]] = out[at:at + size].decode()
            at += size + 1
        return found


# One commit.

def setup(t):
    account = t.account
    repo = account.repo()
    return account.api, repo, Caller(t.server, account.key, repo.id)


@test
def the_first_commit_and_what_follows(t):
    api, repo, _ = setup(t)
    odd = {"a": "text\n", "d/e/f": "\u00e4\U0001f407", "empty": "", "nul": "a\0b", "d/x y+%?": "name", "d/new\nline": "\r\n"}
    files = [{"path": p, "content": c, "encoding": None, "deleted": None} for p, c in odd.items()]
    files += [{"path": "bytes", "content": base64.b64encode(bytes(range(256))).decode(), "encoding": "base64"},
              {"path": "none", "content": "", "encoding": "base64"}, {"path": "said", "content": "x", "encoding": "utf8", "deleted": False}]
    author = {"name": "A U Th\u00f6r", "email": "a@example.org"}
    made = api.post(f"{repo.path}/commits", {"message": "subject\n\nbody", "files": files, "author": author, "branch": None,
                                             "expectedSha": None, "unknown": [1]}).ok(["commit"])["commit"]
    same(made, api.get(f"{repo.path}/git/commits/{made['sha']}").ok(), "the answer is what is read")
    same((made["parents"], made["message"]), ([], "subject\n\nbody"), "commit")
    for who in ("author", "committer"):
        same((made[who]["name"], made[who]["email"]), (author["name"], author["email"]), who)
    same(t.git("ls-remote", repo.url(), "refs/heads/main").split()[0], made["sha"], "git sees it")
    second = api.post(f"{repo.path}/commits", {"message": "", "expectedSha": made["sha"], "files": [
        {"path": "a", "deleted": True}, {"path": "d/e/f", "deleted": True, "content": None}, {"path": "a/b", "content": "folder now"},
        {"path": "d/e", "content": "file now"}, {"path": "said", "content": "one"}, {"path": "said", "content": "two"}]}).ok()["commit"]
    same(second["parents"], [{"sha": made["sha"]}], "parent")
    clone = Clone(t, repo, "clone")
    same(clone.line("main"), [second["sha"], made["sha"]], "history")
    listed = t.git("ls-tree", "-r", "-z", "--name-only", "main", cwd=clone.path).split("\0")[:-1]
    same(sorted(listed), sorted({"d/x y+%?", "d/new\nline", "d/e", "a/b", "empty", "nul", "bytes", "none", "said"}), "files")
    for path, content in {"said": b"two", "bytes": bytes(range(256)), "nul": b"a\0b", "none": b"", "d/new\nline": b"\r\n"}.items():
        _, out, _ = t.git.run("cat-file", "blob", f"main:{path}", cwd=clone.path)
        same(out, content, path)
    who = "A U Th\u00f6r <a@example.org>"
    same(t.git("log", "-1", "--format=%an <%ae>|%cn <%ce>|%B", made["sha"], cwd=clone.path), f"{who}|{who}|subject\n\nbody\n", "as git has it")


@test
def modes_are_kept(t):
    """A changed file keeps its mode; a link stays one; what stands for a submodule becomes a file."""
    api, repo, _ = setup(t)
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"program": "#!\n", "plain": "x", "d/gone": "y"})
    os.symlink("plain", os.path.join(work, "link"))
    os.chmod(os.path.join(work, "program"), 0o755)
    t.git("update-index", "--add", "--cacheinfo", "160000," + "07" * 20 + ",module", cwd=work)
    os.mkdir(os.path.join(work, "module"))
    t.git.commit(work, {})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    paths = ("program", "plain", "link", "module", "new")
    api.post(f"{repo.path}/commits", {"message": "m", "files": [*[{"path": p, "content": "changed"} for p in paths], {"path": "d/gone", "deleted": True}]}).ok()
    clone = Clone(t, repo, "clone")
    same([row.split()[0] for row in clone.lines("ls-tree", "-r", "main")], ["120000", "100644", "100644", "100644", "100755"], "modes")
    same(clone.files("main"), {p: "changed" for p in paths}, "files, and no empty folder")


@test
def branches_on_the_way(t):
    api, repo, caller = setup(t)
    first = caller.commit({"a": "1"}, "m")[1]["commit"]["sha"]
    status, made = caller.commit({"b": "2"}, "m", "feat/\u00e4")
    same((status, made["commit"]["parents"]), (200, []), "a branch that was not there starts here")
    same(caller.tip(), first, "the other one stays")
    same(sorted(b["name"] for b in api.get(f"{repo.path}/git/refs/heads").ok()["branches"]), ["feat/\u00e4", "main"], "branches")
    made = api.post(f"{repo.path}/commits", {"message": "nothing", "files": []}).ok()["commit"]
    same(made["tree"], api.get(f"{repo.path}/git/commits/{first}").ok()["tree"], "no changes repeat the tree")
    for name in ("feat", "feat/\u00e4/x"):
        api.post(f"{repo.path}/commits", {"message": "m", "branch": name, "files": []}).error("GIT_INVALID_REQUEST")


@test
def refused_and_nothing_changed(t):
    api, repo, caller = setup(t)
    tip = caller.commit({"a": "1", "d/e": "2"}, "m")[1]["commit"]["sha"]
    before = sequence(t.server, repo.id)
    good = {"path": "a", "content": "new"}

    def refused(code, files=(), field=None, **more):
        reply = api.post(f"{repo.path}/commits", {"message": "m", "files": [good, *files], **more}).error(code)
        for key, value in (field or {}).items():
            same(reply[key], value, f"{key} of {code}")
    for path in ("", "/", "a/", "/a", "a//b", ".", "..", "a/../b", ".git", ".GIT/x", "d/.git/config", "git~1", "a\0b", "x" * 20_000):
        refused("INVALID_FILE_PATH", [{"path": path, "content": ""}], {"path": path})
        refused("INVALID_FILE_PATH", [{"path": path, "deleted": True}], {"path": path})
    for path in ("a/b", "d"):
        refused("INVALID_FILE_PATH", [{"path": path, "content": ""}], {"path": path})
    for path in ("no", "d", "d/no", "a/b", "no/no"):
        refused("PATH_NOT_FOUND", [{"path": path, "deleted": True}], {"path": path})
    for change in ({}, {"content": "", "deleted": True}, {"content": None}, {"deleted": False}, {"deleted": None, "content": None}):
        refused("INVALID_FILE_CHANGE", [{"path": "x", **change}], {"path": "x"})
    for text in ("a", "YQ", "YQ=", "Y===", "====", "YW==YQ==", "Y Q=", "YQ==\n", "Y-_=", "\u00e4bcd", "=", "YQ=a"):
        refused("INVALID_BASE64_CONTENT", [{"path": "x", "content": text, "encoding": "base64"}], {"path": "x"})
    for change in ({"path": None, "content": ""}, {"content": ""}, {"path": 1, "content": ""}, {"path": "x", "content": 1},
                   {"path": "x", "content": "", "encoding": "utf-16"}, {"path": "x", "content": "", "deleted": "yes"}, [], "x", None, 7):
        refused("GIT_INVALID_REQUEST", [change])
    for branch in ("a b", "a..b", "-x", "HEAD", "x.lock", "a~1", "/a", "a/", "a\0", "*", "@{", "y" * 5000):
        refused("GIT_INVALID_REQUEST", branch=branch)
    for author in ({"name": "A"}, {"email": "a"}, {"name": "", "email": "a"}, {"name": "A", "email": ""}, {"name": "A<", "email": "a"},
                   {"name": "A\nB", "email": "a"}, {"name": "A", "email": "a\0"}, "A <a>", {"name": "x" * 1025, "email": "a"}):
        refused("GIT_INVALID_REQUEST", author=author)
    for sha in ("abc", "main", tip[:12], tip + "0", "x" * 40):
        refused("INVALID_OBJECT_ID", expectedSha=sha, field={"hash": sha})
    refused("GIT_INVALID_REQUEST", message="a\0b")
    for body in ({"files": [good]}, {"message": "m"}, {"message": 1, "files": []}, {"message": "m", "files": {}}, {"message": "m", "files": None}):
        api.post(f"{repo.path}/commits", body).error("GIT_INVALID_REQUEST")
    refused("CONFLICTING_PARENT", expectedSha="1" * 40, field={"expected": "1" * 40, "actual": tip})
    refused("CONFLICTING_PARENT", expectedSha=tip, branch="new", field={"expected": tip, "actual": None})
    refused("GIT_INVALID_REQUEST", [{"path": ".gitmodules", "content": "[submodule \"../x\"]\n\tpath = x\n\turl = y\n"}])
    same(caller.tip(), tip, "the branch")
    same(sequence(t.server, repo.id), before, "the journal")
    same(Clone(t, repo, "clone").files("main"), {"a": "1", "d/e": "2"}, "files")


@test
def the_journal_says_who_asked(t):
    api, repo, _ = setup(t)
    identity = repo.account.identity()
    identity.grant(repo, "write")
    token = identity.secret()
    replies = [api.post(f"{repo.path}/commits", {"message": "m", "files": [{"path": "a", "content": "1"}]}),
               api.post(f"{repo.path}/git/refs/heads/by-api", {}),
               t.server.api(token).post(f"{repo.path}/commits", {"message": "m", "branch": "theirs", "files": []})]
    tip = [reply.ok() for reply in replies][0]["commit"]["sha"]
    path = t.git.mirror(repo.url(), t.path("clone"))
    t.git("push", "-q", repo.url(secret=token), f"{tip}:refs/heads/pushed", cwd=path)
    folder = os.path.join(t.server.data, "repos", repo.id[:2], repo.id[2:4], f"{repo.id}.git", "warren")
    journal = b""
    for name in os.listdir(folder):
        if name.startswith("journal."):
            with open(os.path.join(folder, name), "rb") as file:
                journal += file.read()
    same(journal.count(f"account:{repo.account.id}".encode()), 2, "changes by the key")
    same(journal.count(f"identity:{identity.id}".encode()), 2, "changes by the token")
    for reply in replies:
        same(journal.count(reply.header("x-freestyle-trace-id")[:16].encode()), 1, f"{reply.what} is in one record")


@test
def a_thousand_files_in_one_commit(t):
    api, repo, _ = setup(t)
    size = 2_000 if sanitized() else 20_000
    text = t.random.randbytes(size // 2).hex()
    files = {f"d{i % 40}/f{i}": f"{i} {text}" for i in range(1000)}
    before = sequence(t.server, repo.id)
    api.post(f"{repo.path}/commits", {"message": "m", "files": [{"path": p, "content": c} for p, c in files.items()]}).ok(["commit"])
    same(sequence(t.server, repo.id), before + 1, "one record of the journal")
    same(Clone(t, repo, "clone").files("main"), files, "files")


# Many writers.

WRITERS = 16


@test
def writers_on_one_branch(t):
    """Nobody hears of a conflict, nothing is lost; --rounds 10 is 500 commits of each."""
    account, repo = t.account, None
    repo = account.repo()
    each, seen = len(t.rounds(10 if sanitized() else 50)), {}
    before = sequence(t.server, repo.id)

    def write(n):
        caller, mine = Caller(t.server, account.key, repo.id), []
        for i in range(each):
            status, made = caller.commit({f"w{n}/f{i}": f"{n} {i}"}, f"{n} {i}")
            expect(status == 200, f"commit {n} {i}", status, made)
            mine.append(made["commit"]["sha"])
        seen[n] = mine
    all_at_once([lambda n=n: write(n) for n in range(WRITERS)])
    same(sequence(t.server, repo.id), before + WRITERS * each, "one record of the journal for each")
    clone = Clone(t, repo, "clone")
    line = clone.line("main")
    same(set(line), {oid for mine in seen.values() for oid in mine}, "every commit is in the line, and nothing else")
    same(len(line), WRITERS * each, "commits")
    place = {oid: i for i, oid in enumerate(line)}
    for n, mine in seen.items():
        expect(all(place[a] > place[b] for a, b in zip(mine, mine[1:])), f"the order of writer {n}")
    same(clone.files("main"), {f"w{n}/f{i}": f"{n} {i}" for n in range(WRITERS) for i in range(each)}, "files")
    # Each commit changes its own file alone.
    changed = clone.lines("log", "--format=%s", "--name-only", "main")
    same(changed, [x for subject in clone.lines("log", "--format=%s", "main")
                   for x in (subject, "", "w{}/f{}".format(*subject.split()))], "what each changed")


@test
def writers_with_expected_ids(t):
    """Exactly one wins each time; the others hear what is there, and go on from that."""
    account = t.account
    repo = account.repo()
    each, conflicts, seen = len(t.rounds(12)), [], []

    def write(n):
        caller, tip = Caller(t.server, account.key, repo.id), None
        for i in range(each):
            while True:
                status, made = caller.commit({f"w{n}/f{i}": f"{n} {i}"}, f"{n} {i}", expectedSha=tip or "1" * 40)
                if status == 200:
                    tip = made["commit"]["sha"]
                    seen.append((tip, made["commit"]["parents"]))
                    break
                same((status, made["code"], made["expected"]), (409, "CONFLICTING_PARENT", tip or "1" * 40), "a conflict")
                expect(made["actual"] and made["actual"] != tip, "the actual id is another one", made)
                conflicts.append(made["actual"])
                tip = made["actual"]
    first = Caller(t.server, account.key, repo.id).commit({"first": ""}, "first")[1]["commit"]["sha"]
    all_at_once([lambda n=n: write(n) for n in range(8)])
    clone = Clone(t, repo, "clone")
    line = clone.line("main")
    same(len(line), 8 * each + 1, "commits")
    same({oid: [{"sha": below}] for oid, below in zip(line, line[1:])}, dict(seen), "each on what it expected")
    same(len(clone.files("main")), 8 * each + 1, "files")
    expect(set(conflicts) <= set(line) and first == line[-1], "what conflicts told of were tips")
    expect(len(conflicts) >= 8, "there were conflicts", len(conflicts))


@test
def the_first_commit_of_many(t):
    account = t.account
    for turn in t.rounds(4):
        repo = account.repo()
        branches = ["main"] if turn % 2 else ["main", "other", "a/b"]

        def write(n):
            status, made = Caller(t.server, account.key, repo.id).commit({f"f{n}": str(n)}, str(n), branches[n % len(branches)])
            expect(status == 200, "a first commit", status, made)
        all_at_once([lambda n=n: write(n) for n in range(WRITERS)])
        clone = Clone(t, repo, f"clone{turn}")
        for i, branch in enumerate(branches):
            mine = range(i, WRITERS, len(branches))
            same(len(clone.line(branch)), len(mine), f"commits of {branch}")
            same(clone.files(branch), {f"f{n}": str(n) for n in mine}, f"files of {branch}")


@test
def creators_of_one_branch(t):
    account = t.account
    repo = account.repo()
    caller = Caller(t.server, account.key, repo.id)
    tips = [caller.commit({"f": str(i)}, str(i))[1]["commit"]["sha"] for i in range(WRITERS)]
    for turn in t.rounds(6):
        won, name = [], f"b{turn}/x"

        def create(n):
            status, made = Caller(t.server, account.key, repo.id).post(f"git/refs/heads/{name}", {"sha": tips[n]} if n else {})
            if status == 200:
                same(made["name"], name, "name")
                won.append(made["sha"])
            else:
                same((status, made["code"], made["branch"]), (409, "BRANCH_ALREADY_EXISTS", name), "all others")
        all_at_once([lambda n=n: create(n) for n in range(WRITERS)])
        same(len(won), 1, "one wins")
        same(caller.tip(name), won[0], "with its commit")
    status, made = caller.post("git/refs/heads/b0", {})
    same((status, made["code"]), (400, "GIT_INVALID_REQUEST"), "another branch's folder")
    same(t.git.remote_refs(repo.url())["refs/heads/main"], tips[-1], "the branch they began at")


class Pusher:
    """Pushes a file on top of whatever the branch has, with objects of its own."""

    def __init__(self, server, key, repo_id, name):
        self.caller, self.name, self.pushed = Caller(server, key, repo_id), name, []

    def step(self, i, branch="main"):
        """Whether it went through; it does not where the branch moved meanwhile."""
        tip, objects = self.caller.tip(branch), Objects()
        tree = self.caller.get(f"git/commits/{tip}")["tree"]["sha"]
        rows = [("40000" if e["type"] == "tree" else "100644", e["path"], e["sha"]) for e in self.caller.get(f"git/trees/{tree}")["tree"]]
        path = f"{self.name}-{i}"
        blob = objects.blob(path.encode())
        rows.append(("100644", path, blob))
        rows.sort(key=lambda r: (r[1] + ("/" if r[0] == "40000" else "")).encode())
        root = objects.add(pkt.TREE, pkt.tree(*rows))
        commit = objects.commit(root, [tip], path)
        said = self.caller.wire.push(self.caller.id, {f"refs/heads/{branch}": (tip, commit)}, objects.pack([blob, root, commit]))
        if said.ok:
            self.pushed.append(commit)
        return said.ok


@test
def commits_and_pushes_on_one_branch(t):
    account = t.account
    repo = account.repo()
    Caller(t.server, account.key, repo.id).commit({"first": ""}, "first")
    each, over, lost = len(t.rounds(40)), [], []

    def write(n):
        caller = Caller(t.server, account.key, repo.id)
        for i in range(each):
            status, made = caller.commit({f"w{n}/f{i}": f"{n} {i}"}, f"{n} {i}")
            expect(status == 200, "a commit beside pushes", status, made)
        over.append(n)
    pushers = [Pusher(t.server, account.key, repo.id, f"p{n}") for n in range(4)]

    def push(p):
        while len(p.pushed) < 5 or len(over) < 4:
            if not p.step(len(p.pushed)):
                lost.append(p)
    all_at_once([*[lambda n=n: write(n) for n in range(4)], *[lambda p=p: push(p) for p in pushers]])
    clone = Clone(t, repo, "clone")
    line = clone.line("main")
    same(len(line), 1 + 4 * each + sum(len(p.pushed) for p in pushers), "commits")
    expect(all(set(p.pushed) <= set(line) for p in pushers), "every push is in the line")
    wanted = {"first": "", **{f"w{n}/f{i}": f"{n} {i}" for n in range(4) for i in range(each)},
              **{f"{p.name}-{i}": f"{p.name}-{i}" for p in pushers for i in range(len(p.pushed))}}
    same(clone.files("main"), wanted, "files")


# kill -9.

class Story:
    """Writers by API and by push on one branch, and makers of branches, of one repository that lives through kills."""

    def __init__(self, t):
        self.t, self.server = t, t.own_server()
        self.account = self.server.account()
        self.repo = self.account.repo()
        self.acknowledged, self.open = {}, {}  # {path: content}, with what has no answer yet
        self.commits, self.branches, self.open_branches = set(), {}, {}
        self.turn, self.stop = 0, threading.Event()
        status, made = self.caller().commit({"first": ""}, "first")
        expect(status == 200, "the first commit", made)
        self.acknowledged["first"] = ""
        self.commits.add(made["commit"]["sha"])

    def caller(self):
        return Caller(self.server, self.account.key, self.repo.id)

    def write(self, n, r):
        caller, i = self.caller(), 0
        while not self.stop.is_set():
            i += 1
            path, content = f"w{n}/r{self.turn}/f{i}", r.randbytes(r.choice([1, 20, 400])).hex()
            self.open[path] = content
            status, made = caller.commit({path: content, f"w{n}/last": path}, path)
            expect(status == 200, "a commit", status, made)
            self.commits.add(made["commit"]["sha"])
            self.acknowledged[path] = self.open.pop(path)

    def branch(self, n):
        caller, i = self.caller(), 0
        while not self.stop.is_set():
            tip = caller.tip()
            i += 1
            name = f"b{n}-{self.turn}-{i}"
            self.open_branches[name] = tip
            status, made = caller.post(f"git/refs/heads/{name}", {"sha": tip})
            expect(status == 200, "a branch", status, made)
            self.branches[name] = self.open_branches.pop(name)

    def push(self, n):
        pusher, i = Pusher(self.server, self.account.key, self.repo.id, f"p{n}-{self.turn}"), 0
        while not self.stop.is_set():
            path = f"{pusher.name}-{i}"
            self.open[path] = path
            if pusher.step(i):
                self.commits.add(pusher.pushed[-1])
                self.acknowledged[path] = self.open.pop(path)
                i += 1

    def round(self):
        """Until somebody is killed: the worker, or everything."""
        r, troubles = self.t.random, []
        self.turn += 1
        self.stop.clear()

        def guard(function, *args):
            try:
                function(*args)
            except Gone:
                pass
            except BaseException as e:
                troubles.append(e)
        work = [*[(self.write, n, self.t.random) for n in range(5)], (self.branch, 0), (self.push, 0)]
        threads = [threading.Thread(target=guard, args=w) for w in work]
        for thread in threads:
            thread.start()
        time.sleep(r.uniform(0.02, 0.25) * slowness())
        alone = r.random() < 0.4 and worker(self.server)
        if alone:
            os.kill(alone, signal.SIGKILL)
        else:
            self.server.kill()
        self.stop.set()
        for thread in threads:
            thread.join()
        if troubles:
            raise troubles[0]
        if not alone:
            self.server.start()
        wait_for(lambda: self.answers(), "an answer")

    def answers(self):
        try:
            return self.caller().wire.request("GET", "/healthz")[0] == 200
        except Gone:
            return False

    def look(self):
        """All that was acknowledged is there; of what has no answer each commit is there whole or not at all."""
        what = f"round {self.turn}"
        clone = Clone(self.t, self.repo, f"clone{self.turn}")
        line = set(clone.line("main"))
        expect(self.commits <= line, f"{what}: a commit is gone", sorted(self.commits - line)[:3])
        expect(len(line) <= len(self.commits) + len(self.open), f"{what}: commits out of nowhere", len(line))
        files = {p: c for p, c in clone.files("main").items() if not p.endswith("/last")}
        for path, content in files.items():
            same(content, self.acknowledged.get(path, self.open.get(path)), f"{what}: {path}")
        expect(set(self.acknowledged) <= set(files), f"{what}: a file is gone", sorted(set(self.acknowledged) - set(files))[:3])
        same(len(line), len(files), f"{what}: one commit, one file")
        refs = {ref.removeprefix("refs/heads/"): oid for ref, oid in clone.git.refs(clone.path).items()}
        refs.pop("main")
        for name, oid in refs.items():
            same(oid, self.branches.get(name, self.open_branches.get(name)), f"{what}: branch {name}")
        expect(set(self.branches) <= set(refs), f"{what}: a branch is gone", sorted(set(self.branches) - set(refs))[:3])
        same(self.caller().tip(), self.t.git.rev(clone.path, "refs/heads/main"), f"{what}: the API sees what git sees")
        self.acknowledged, self.open, self.commits, self.branches, self.open_branches = files, {}, line, refs, {}


@test
def kill_9_under_commits(t):
    story, made = Story(t), 0
    for turn in t.rounds(2 if sanitized() else 10):
        before = len(story.commits)
        story.round()
        if turn % 3 == 2 or turn == t.rounds(2 if sanitized() else 10)[-1]:
            story.look()
        made += len(story.commits) - before
    expect(made > 20, "there were commits to kill", made)
    story.server.verify(story.repo.id)
