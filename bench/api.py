#!/usr/bin/env python3
"""What the REST API costs: each row of its table, in one run.

Beside it, in turns: for small requests a bare server on the same HTTP library with the same threads (bench/hello.c), for
commits the store without HTTP (bench/append.c), for archives `git archive`. Server CPU of each operation is the stable figure;
rates and times are as good as the disk and as quiet as the machine. Parts: calls, commits, history (--big, a path to git.git),
archive (--big), template, list (--repos repositories).
"""
import argparse
import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import compare
import store
from compare import Account, Replay, git, make_repository, raw
from store import JSON, Server, ms, row

LOAD, HELLO, APPEND = (os.path.join("build/release/bench", name) for name in ("load", "hello", "append"))
CLIENTS = 64


class Hello:
    """The bare server, with an answer of as many bytes."""

    def __init__(self, name, size):
        self.account_cpu = Account(name)
        self.process = subprocess.Popen([HELLO, "2", str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=self.account_cpu.join)
        line = self.process.stdout.readline()
        self.host, port = line.strip().rpartition("//")[2].rsplit(":", 1)
        self.port, self.auth = int(port), {}

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.account_cpu.close()


def load(tmp, server, path, needle, seconds):
    """The same GET again and again over kept connections; CPU of the server in microseconds each."""
    file = os.path.join(tmp, "request")
    with open(file, "wb") as f:
        f.write(raw(server, "GET", path, {})[8:])
    cpu = server.account_cpu.cpu()
    done = subprocess.run([LOAD, server.host, str(server.port), str(CLIENTS), str(seconds), needle, file], stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError("a request failed: " + path)
    v = json.loads(done.stdout)
    v["cpu_us"] = (server.account_cpu.cpu() - cpu) * 1e6 / v["count"]
    v["rate"] = v["count"] / v["seconds"]
    return v


def against_hello(args, tmp, server, work, path, needle, size, goal):
    hello = Hello("hello", size)
    try:
        ours, bare = [], []
        for _ in range(args.rounds):
            bare.append(load(tmp, hello, "/", "hello", args.seconds))
            ours.append(load(tmp, server, path, needle, args.seconds))
    finally:
        hello.close()
    ratio = statistics.median(a["rate"] / b["rate"] for a, b in zip(ours, bare))
    a, b = ({key: statistics.median(v[key] for v in values) for key in values[0]} for values in (ours, bare))
    row(work, f">= {goal:.0%} of hello", ratio >= goal,
        f"{ratio:.0%}: {a['rate']:.0f}/s, server CPU {a['cpu_us']:.1f} us each, median {ms(a['median_ms'])}, p99 {ms(a['p99_ms'])}",
        f"hello: {b['rate']:.0f}/s, CPU {b['cpu_us']:.1f} us, client's {b['client_cpu_us']:.1f} us")


def push(server, source, repo):
    git("push", "-q", f"http://x:{server.account['apiKey']}@{server.host}:{server.port}/{repo}", "refs/heads/*:refs/heads/*", cwd=source)


def settle(server, repo):
    subprocess.run([server.binary, "repo", "checkpoint", repo, "--data", server.data], check=True, stdout=subprocess.DEVNULL)


# ---- small requests ----

def calls(args, tmp, server):
    source = os.path.join(tmp, "source")
    make_repository(source)
    with open(os.path.join(source, "ten.txt"), "w") as f:
        f.write("".join(f"{i:07d} ten kilobytes of this..\n" for i in range(320)))
    git("add", "-A", cwd=source)
    git("commit", "-q", "-m", "Ten", cwd=source)
    repo = server.create()
    push(server, source, repo)
    settle(server, repo)
    for work, path, needle in (("whoami", "/auth/v1/whoami", "accountId"), ("read a repository", f"/git/v1/repo/{repo}", "defaultBranch"),
                               ("get a branch", f"/git/v1/repo/{repo}/git/refs/heads/main", "refs/heads/main")):
        status, body = server.request("GET", path)
        assert status == 200
        against_hello(args, tmp, server, f"{work}, {CLIENTS} connections", path, needle, len(body), 0.6)
    path = f"/git/v1/repo/{repo}/contents/ten.txt"
    status, body = server.request("GET", path)
    assert status == 200 and len(base64.b64decode(json.loads(body)["content"])) == 10240
    against_hello(args, tmp, server, f"file of 10 KB from a pack, {CLIENTS} connections", path, "content", 200, 0.4)


# ---- commits ----

def commit(server, repo, files, n):
    body = json.dumps({"message": f"change {n}", "files": files}).encode()
    return raw(server, "POST", f"/git/v1/repo/{repo}/commits", JSON, body)


def first_commit(server, tmp):
    """A repository with 10,000 files in 100 folders."""
    repo = server.create()
    files = [{"path": f"d{d:03d}/f{f:03d}", "content": f"file {f} of folder {d}\n"} for d in range(100) for f in range(100)]
    server.replay(tmp, "commit", [commit(server, repo, files, 0)])
    return repo


def changes(server, repo, writer, n):
    """As bench/commits.c makes them."""
    return b"".join(commit(server, repo, [{"path": f"d{(i * 7 + writer) % 100:03d}/f{i * 13 % 100:03d}",
                                           "content": f"writer {writer}, version {i}\n"}], i) for i in range(n))


def commits(args, tmp, server):
    repo = first_commit(server, tmp)
    ours, bare = [], []
    for _ in range(args.rounds):
        ours.append(server.replay(tmp, "commit", [changes(server, repo, 0, args.count)]))
        bare.append(json.loads(subprocess.check_output([APPEND, "alone", tmp, str(args.count)])))
    ratio = statistics.median(a["median_ms"] / b["median_ms"] for a, b in zip(ours, bare))
    a, b = ({key: statistics.median(v[key] for v in values) for key in ("median_ms", "p99_ms", "cpu_ms")} for values in (ours, bare))
    row("commit of one file into 10,000, one client", "p50 <= 1.5 x the store", ratio <= 1.5,
        f"{ratio:.2f} x: p50 {ms(a['median_ms'])}, p99 {ms(a['p99_ms'])}, server CPU {a['cpu_ms'] * 1000:.0f} us",
        f"the store alone: p50 {ms(b['median_ms'])}, CPU {b['cpu_ms'] * 1000:.0f} us")
    many = [first_commit(server, tmp) for _ in range(16)]
    v = server.replay(tmp, "commit", [changes(server, r, i, args.count * 2) for i, r in enumerate(many)])
    row("the same, 16 clients on 16 repositories", ">= 5000/s", v["rate"] >= 5000,
        f"{v['rate']:.0f}/s, p99 {ms(v['p99_ms'])}, server CPU {v['cpu_ms'] * 1000:.0f} us each")
    v = server.replay(tmp, "commit", [changes(server, repo, i, args.count) for i in range(16)])
    row("the same, 16 clients on one branch", ">= 2000/s, none refused", v["rate"] >= 2000,
        f"{v['rate']:.0f}/s, p99 {ms(v['p99_ms'])}, server CPU {v['cpu_ms'] * 1000:.0f} us each")
    text = "".join(f"{i:09d} a line of a file that somebody wrote\n" for i in range(400))[:20000]
    large = [[{"path": f"r{r}/d{f % 20}/file{f}.txt", "content": f"{r} {f}\n" + text} for f in range(1000)] for r in range(5)]
    v = server.replay(tmp, "commit", [b"".join(commit(server, repo, files, 0) for files in large)])
    row("1,000 files, 20 MB in one commit", "<= 1 s", v["median_ms"] <= 1000, f"{ms(v['median_ms'])}, server CPU {ms(v['cpu_ms'])}")


# ---- a large repository ----

def adopt(args, server):
    server.stop()
    out = subprocess.run([server.binary, "repo", "adopt", "bench", args.big, "--data", server.data], check=True, text=True,
                         capture_output=True).stdout
    server.start()
    return json.loads(out)["repoId"]


def get(server, path):
    return raw(server, "GET", path, {})


def history(args, tmp, server, repo):
    listing, page = f"/git/v1/repo/{repo}/contents/?recursive=true", f"/git/v1/repo/{repo}/git/commits"

    def show(work, goal, v):
        row(work, f"< {goal} ms", v["median_ms"] < goal, f"median {ms(v['median_ms'])}, server CPU {ms(v['cpu_ms'])}")
    server.replay(tmp, "branches", [get(server, f"/git/v1/repo/{repo}/git/refs/heads")])
    show("recursive listing of the big one, the first", 10, server.replay(tmp, "entries", [get(server, listing)]))
    show("recursive listing of the big one", 10, server.replay(tmp, "entries", [get(server, listing) * 30]))
    show("first page of commits, the first ever", 5, server.replay(tmp, "total", [get(server, page)]))
    show("first page of commits", 5, server.replay(tmp, "total", [get(server, page) * 30]))
    after = []
    for i in range(10):
        server.replay(tmp, "commit", [commit(server, repo, [{"path": "bench.txt", "content": f"{i}\n"}], i)])
        after.append(server.replay(tmp, "total", [get(server, page)]))
    show("first page of commits, after a commit", 5, {key: statistics.median(v[key] for v in after) for key in ("median_ms", "cpu_ms")})


def pushed_history(args, tmp, server):
    """The first page ever of the big one's HEAD, which is pushed: at once, and, with nothing in memory, after the checkpoint."""
    repo = server.create()
    page = get(server, f"/git/v1/repo/{repo}/git/commits")
    git("push", "-q", f"http://x:{server.account['apiKey']}@{server.host}:{server.port}/{repo}", "HEAD:refs/heads/main", cwd=args.big)
    v = server.replay(tmp, "total", [page])
    row("first page of commits, just after the first push", "", None, f"median {ms(v['median_ms'])}")
    settle(server, repo)
    server.stop()
    server.start()
    v = server.replay(tmp, "total", [page])
    row("first page of commits, after the first checkpoint and a start", "< 5 ms", v["median_ms"] < 5,
        f"{ms(v['median_ms'])}, server CPU {ms(v['cpu_ms'])}")


def archive(args, tmp, server, repo):
    for kind, fmt, goal in (("tarball", "tar", 0.5), ("zip", "zip", None)):
        v = server.replay(tmp, "", [get(server, f"/git/v1/repo/{repo}/{kind}") * 5])
        _, cpu = store.peer_cpu(["git", "--git-dir=" + args.big, "archive", "--format=" + fmt, "HEAD"], 5)
        ratio = v["cpu_ms"] / cpu
        row(f"{kind} of the big one's HEAD", "<= 1/2 of git's CPU" if goal else "", ratio <= goal if goal else None,
            f"{ratio:.2f}: server CPU {ms(v['cpu_ms'])}, sending included, {v['bytes'] / 5e6:.1f} MB",
            f"git archive: CPU {ms(cpu)}")


# ---- repositories ----

def template(args, tmp, server):
    source = os.path.join(tmp, "template")
    make_repository(source)
    repo = server.create()
    push(server, source, repo)
    settle(server, repo)
    body = json.dumps({"source": {"url": f"http://{server.host}:{server.port}/{repo}"}}).encode()
    v = server.replay(tmp, "repoId", [raw(server, "POST", "/git/v1/repo", JSON, body) * 200])
    row("create from an own template", "< 5 ms", v["median_ms"] < 5,
        f"median {ms(v['median_ms'])}, p99 {ms(v['p99_ms'])}, server CPU {ms(v['cpu_ms'])}")


def listed(args, tmp, server):
    there = len(server.repos())
    server.replay(tmp, "repoId", store.creations(server, max(16, args.repos - there), 16))
    ids = server.repos()
    store.push_all(server, tmp, ids[-2000:])
    v = store.listing(server, tmp, min(2000, len(ids)))
    row(f"list page of 50 among {len(ids)}", "< 5 ms", v["median_ms"] < 5,
        f"median {ms(v['median_ms'])}, p99 {ms(v['p99_ms'])}, server CPU {ms(v['cpu_ms'])}", "pages of repositories with refs")


def main():
    parts = ("calls", "commits", "history", "archive", "template", "list")
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--warren", default="build/release/warren")
    p.add_argument("--big", help="a large bare repository, such as git.git")
    p.add_argument("--repos", type=int, default=100000)
    p.add_argument("--count", type=int, default=300, help="commits of each client")
    p.add_argument("--seconds", type=float, default=2, help="of each round of small requests")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--tmp", help="where the data go; a folder of its own in there")
    p.add_argument("--part", action="append", choices=parts)
    args = p.parse_args()
    tmp, server = tempfile.mkdtemp(prefix="warren-bench-", dir=args.tmp), None
    wanted = args.part or parts
    try:
        server = Server(args.warren, tmp, "api")
        server.env["WARREN_SERVER_LOG_LEVEL"] = "info"  # each request with its line, as people run it
        server.start()
        if "calls" in wanted:
            calls(args, tmp, server)
        if "commits" in wanted:
            commits(args, tmp, server)
        if args.big and ("history" in wanted or "archive" in wanted):
            repo = adopt(args, server)
            if "archive" in wanted:
                archive(args, tmp, server, repo)
            if "history" in wanted:
                history(args, tmp, server, repo)
                pushed_history(args, tmp, server)
        if "template" in wanted:
            template(args, tmp, server)
        if "list" in wanted:
            listed(args, tmp, server)
        store.table()
    finally:
        if server:
            server.close()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
