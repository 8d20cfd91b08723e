"""What else makes and moves branches, and what only looks as if it did: each once, with the paths that count."""
import json
import os
import subprocess

from harness import expect, same, test
from harness.receiver import Receiver, commit, ended, once_each, trigger
from harness.server import Repo

COST = 7
CONFIG = "[webhooks]\nallow_private_networks = true\nretry_pause = 20ms\n"
CLIENTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")


class World:
    """A repository with an empty default branch main, a folder of git's for it, and who is told."""

    def __init__(self, t):
        self.t, self.git = t, t.git
        self.server = t.own_server(config=CONFIG)
        self.receiver = Receiver(t, self.server.url)
        self.account = self.server.account()
        self.repo = self.account.repo(defaultBranch="main")
        self.path = t.git.init(t.path("work"))

    def trigger(self, name, *filters, repo=None, **more):
        return trigger(repo or self.repo, f"{self.receiver.url}/ok/{name}", *filters, **more)

    def heard(self, **wanted):
        """By endpoint the (branch, commit) of each call, in the order of their branches' changes; each came once."""
        for name, rows in wanted.items():
            self.receiver.wait(f"/ok/{name}", len(rows))
        for name, rows in wanted.items():
            once_each(self.receiver.of(f"/ok/{name}"))
            got = [(b["branch"], b["commit"]) for b in self.receiver.bodies(f"/ok/{name}")]
            same(sorted(got), sorted(rows), f"what {name} heard of")
            for branch in {b for b, _ in rows}:
                same([c for b, c in got if b == branch], [c for b, c in rows if b == branch], f"{branch} at {name}")
        self.receiver.check()

    def push(self, *specs, config=()):
        self.git(*config, "push", "-q", self.repo.url(), *specs, cwd=self.path)


@test
def commits_without_a_branch(t):
    """A commit that nothing reaches is no event; the branch that is made at it is one, with the paths it brings."""
    w = World(t)
    w.trigger("all")
    w.trigger("docs", None, ["docs/**"])
    api, base = w.account.api, commit(w.repo, "main", {"docs/a": "1", "src/b": "1"})
    old = commit(w.repo, "main", {"src/b": "2"})
    trees = [api.get(f"{w.repo.path}/git/commits/{sha}").ok()["tree"]["sha"] for sha in (base, old)]
    heard = [("main", base), ("main", old)]

    def made(tree, *parents):
        return api.post(f"{w.repo.path}/git/commits", {"message": "made", "tree": tree, "parents": list(parents)}).ok()["commit"]["sha"]

    same_docs, no_history, back = made(trees[0], old), made(trees[1]), made(trees[1], base)
    for branch, sha in (("src", same_docs), ("root", no_history), ("back", back)):
        api.post(f"{w.repo.path}/git/refs/heads/{branch}", {"sha": sha}).ok()
        heard.append((branch, sha))
    last = commit(w.repo, "main", {"docs/a": "last"})
    # Of one without history in common all paths count.
    w.heard(all=heard + [("main", last)], docs=[("main", base), ("root", no_history), ("main", last)])


@test
def repositories_that_are_made_of_something(t):
    """Nobody is told of what a repository begins with: by files, from an address, as a fork, or from a folder."""
    w = World(t)
    w.git.commit(w.path, {"docs/a": "1"})
    tip = w.git.rev(w.path)
    w.push("main")
    bare = w.git.init(t.path("bare.git"), bare=True)
    w.git("push", "-q", bare, "main", cwd=w.path)
    w.git("symbolic-ref", "HEAD", "refs/heads/main", cwd=bare)
    api = w.account.api
    files = {"type": "files", "files": {"docs/a": "1"}, "commitMessage": "imported"}
    ids = {"imported": api.post("/git/v1/repo", {"import": files, "defaultBranch": "main"}).ok()["repoId"],
           "copied": api.post("/git/v1/repo", {"source": {"url": w.repo.url()}}).ok()["repoId"],
           "forked": w.server.cli("repo", "fork", w.repo.id, "--name", "forked")["repoId"],
           "adopted": w.server.cli("repo", "adopt", w.account.name, bare, "--name", "adopted")["repoId"]}
    heard = {}
    for name, repo_id in ids.items():
        repo = Repo(w.account, repo_id)
        w.trigger(name, repo=repo, payload="extended")
        before = api.get(f"{repo.path}/git/refs/heads/main").ok()["sha"]
        same(before, tip if name != "imported" else before, f"{name}: where it begins")
        sha = commit(repo, "main", {"docs/b": name})
        heard[name] = [("main", sha)]
        w.receiver.wait(f"/ok/{name}", 1)
        body = w.receiver.bodies(f"/ok/{name}")[0]
        same((body["before"], body["forced"], body["repoId"]), (before, False, repo_id), f"{name}: the first one")
    w.heard(**heard)


@test
def another_default_branch(t):
    """A new branch's paths are counted from where it left the branch that is the default one by then."""
    w = World(t)
    w.git.commit(w.path, {"src/a": "1"})
    root = w.git.rev(w.path)
    w.push("main")
    w.git("checkout", "-q", "-b", "dev", cwd=w.path)
    dev = w.git.commit(w.path, {"docs/a": "1"})
    w.push("dev")
    w.trigger("all")
    w.trigger("docs", None, ["docs/**"])

    def branch(name, at, files):
        w.git("checkout", "-q", "-B", name, at, cwd=w.path)
        sha = w.git.commit(w.path, files, name)
        w.push(name)
        return name, sha

    first = branch("one", dev, {"src/b": "1"})  # and docs/a, which main has not
    w.account.api.put(f"{w.repo.path}/default-branch", {"defaultBranch": "dev"}).empty()
    second = branch("two", dev, {"src/b": "2"})
    third = branch("three", root, {"src/b": "3"})
    fourth = branch("four", root, {"docs/b": "4"})
    moved = branch("dev", dev, {"docs/c": "5"})
    fifth = branch("five", moved[1], {"src/b": "5"})
    sixth = branch("six", dev, {"docs/d": "6"})
    w.account.api.put(f"{w.repo.path}/default-branch", {"defaultBranch": "main"}).empty()
    seventh = branch("seven", moved[1], {"src/b": "7"})
    w.heard(all=[first, second, third, fourth, moved, fifth, sixth, seventh], docs=[first, fourth, moved, sixth, seventh])


@test
def another_default_branch_at_once(t):
    """What was made right before the change is judged by the branch that was the default one then, and what follows by the new one."""
    w = World(t)
    w.git.commit(w.path, {"src/a": "1"})
    w.push("main")
    w.git("checkout", "-q", "-b", "dev", cwd=w.path)
    dev = w.git.commit(w.path, {"docs/a": "1"})
    w.push("dev")
    w.trigger("all")
    w.trigger("docs", None, ["docs/**"])
    api, made = w.account.api, []
    for n in range(12):
        for name in ("one", "two"):
            made.append((f"{name}-{n}", dev))
            api.post(f"{w.repo.path}/git/refs/heads/{name}-{n}", {"sha": dev}).ok()
            api.put(f"{w.repo.path}/default-branch", {"defaultBranch": "dev" if name == "one" else "main"}).empty()
    w.heard(all=made, docs=made[::2])


@test
def other_ways_to_push(t):
    """Each version of the protocol, and another client."""
    w = World(t)
    w.trigger("all")
    w.trigger("docs", None, ["docs/**"])
    heard = []
    for version in (0, 1, 2):
        for files in ({"docs/a": str(version)}, {"src/a": str(version)}):
            heard.append(("main", w.git.commit(w.path, files)))
            w.push("main", config=("-c", f"protocol.version={version}"))
    docs = heard[::2]
    if subprocess.run(["/usr/bin/python3", "-c", "import dulwich"], capture_output=True).returncode == 0:
        sha = w.git.commit(w.path, {"docs/dulwich": "1"})
        words = "\t".join(("push", w.path, w.repo.url(), "refs/heads/main:refs/heads/main"))
        done = subprocess.run(["/usr/bin/python3", "-E", os.path.join(CLIENTS, "_dulwich.py")], input=words.encode() + b"\n",
                              capture_output=True, timeout=120, env=w.git.env)
        expect(done.stdout.startswith(b"ok\t"), "dulwich pushes", done.stdout, done.stderr)
        heard.append(("main", sha))
        docs.append(("main", sha))
    w.heard(all=heard, docs=docs)


@test
def large_pushes(t):
    """10,000 changed files, of which globs match the last one or none; 120 branches at once."""
    w = World(t)
    paths = [f"d{n // 100:03}/f{n % 100:02}" for n in range(9_999)] + ["zzz/last.txt"]

    def imported(branch, round_, parent=""):
        lines = [f"commit refs/heads/{branch}\ncommitter A <a@b> {1700000000 + round_} +0000\ndata 1\nx\n{parent}"]
        lines += [f"M 644 inline {path}\ndata 2\n{round_}\n\n" for path in paths]
        w.git("fast-import", "--quiet", data="".join(lines).encode(), cwd=w.path)
        return branch, w.git.rev(w.path, branch)

    first = imported("main", 1)
    w.push("main")
    w.trigger("all")
    last, none = w.trigger("last", None, ["zzz/*.txt"]), w.trigger("none", None, ["docs/**", "*.md", "d100/*"])
    second = imported("main", 2, f"from {first[1]}\n")
    w.push("main")
    third = commit(w.repo, "main", {"README.md": "1"})
    w.heard(all=[second, ("main", third)], last=[second], none=[("main", third)])
    same([ended(w.repo, one, "delivered")["note"] for one in (last, none)], [None, None], "nothing was left open")
    # Each branch with a commit of its own, every fourth one with docs.
    lines = []
    for n in range(120):
        path = "docs/x" if n % 4 == 0 else "src/x"
        lines.append(f"commit refs/heads/many/{n}\ncommitter A <a@b> 1700000009 +0000\ndata 1\nx\nfrom {second[1]}\n"
                     f"M 644 inline {path}\ndata 3\n{n:03}\n")
    w.git("fast-import", "--quiet", data="".join(lines).encode(), cwd=w.path)
    refs = w.git.refs(w.path)
    many = [(f"many/{n}", refs[f"refs/heads/many/{n}"]) for n in range(120)]
    w.push("refs/heads/many/*:refs/heads/many/*")
    w.heard(all=[second, ("main", third), *many], last=[second], none=[("main", third), *many[::4]])


@test
def names_that_are_not_text(t):
    """Branches and paths of any bytes: a wrong byte is one character to a glob, and U+FFFD in the body."""
    w = World(t)
    w.trigger("all")
    w.trigger("branch", ["caf?/*"])
    w.trigger("exact", ["caf\u00e9/*"])
    w.trigger("path", None, ["d?r/*.txt"])
    w.git.commit(w.path, {"a": "1"})
    w.push("main")
    heard = {"all": [("main", w.git.rev(w.path))], "branch": [], "exact": [], "path": []}
    for n, (name, folder) in enumerate([(b"caf\xe9/x", b"d\xffr"), (b"caf\xe8/x", b"dir"), ("caf\u00e9/x".encode(), b"d\xff\xfer"),
                                        (b"caf/x", "d\u00fcr".encode())]):
        blob = w.git("hash-object", "-w", "--stdin", data=b"%d" % n, cwd=w.path).strip()
        tree = w.git("mktree", data=f"100644 blob {blob}\tx.txt\n".encode(), cwd=w.path).strip()
        top = w.git("mktree", "-z", data=f"040000 tree {tree}\t".encode() + folder + b"\0", cwd=w.path).strip()
        sha = w.git("commit-tree", top, "-p", "main", "-m", "x", cwd=w.path).strip()
        w.push(f"{sha}:refs/heads/".encode() + name)
        row = name.decode(errors="replace"), sha
        heard["all"].append(row)
        for endpoint, wanted in (("branch", n < 3), ("exact", n == 2), ("path", n != 2)):
            heard[endpoint] += [row] if wanted else []
    same(len({b for b, _ in heard["all"]}), 4, "two of them look alike")
    w.heard(**heard)
    body = next(c["body"] for c in w.receiver.of("/ok/all") if heard["all"][1][1] in c["body"])
    same(body, json.dumps({"event": "branchUpdate", "repoId": w.repo.id, "branch": "caf\ufffd/x", "commit": heard["all"][1][1]},
                          separators=(",", ":"), ensure_ascii=False), "the body")
