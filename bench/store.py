#!/usr/bin/env python3
"""What the store costs at numbers: many repositories, forks, checkpoints, deletion, a worker that dies. One run, one table.

Requests are replayed raw by a small C program over kept connections (bench/replay.c), works of the store alone are a
program linked with it (bench/store.c). The server's CPU, its memory and CPU of the peer's commands are the stable figures;
times to an answer and flushes are as good as the disk and as quiet as the machine. A goal counts as met by the figure that
it speaks of. Parts: fork and checkpoint (of --big, a path to git.git, and of a small repository), create, many (--repos
repositories with a push each: memory, start, opening, listing), worker, delete (--delete of the many).
"""
import argparse
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

import compare
from compare import Account, Replay, git, make_repository, pkt, raw

STORE = "build/release/bench/store"
JSON = {"Content-Type": "application/json"}
GIT_ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
rows = []


def row(work, goal, met, figure, peer=""):
    """One line of the table, said at once as well."""
    rows.append((work, goal, "" if met is None else "met" if met else "MISSED", figure, peer))
    print(f"  {work}: {figure}" + (f" ({peer})" if peer else ""))
    sys.stdout.flush()


def table():
    head = ("work", "goal", "", "figure", "beside it")
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(5)]
    print()
    for r in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(r, widths)).rstrip())


def peer_cpu(argv, times, undo=None):
    """Median wall and CPU milliseconds of a command with its children."""
    wall, cpu = [], []
    for i in range(times):
        before, start = os.times(), time.perf_counter()
        subprocess.run([a.format(i) for a in argv], env=GIT_ENV, check=True, capture_output=True)
        after = os.times()
        wall.append((time.perf_counter() - start) * 1000)
        cpu.append((after.children_user + after.children_system - before.children_user - before.children_system) * 1000)
        if undo:
            shutil.rmtree(undo.format(i))
    return statistics.median(wall), sum(cpu) / len(cpu)


class Server:
    """warren serve in a control group of its own, started and stopped as the parts want it."""

    def __init__(self, binary, tmp, name):
        self.binary, self.name, self.data = binary, "warren", os.path.join(tmp, name)
        self.env = dict(os.environ, WARREN_SERVER_DATA=self.data, WARREN_SERVER_LISTEN="127.0.0.1:0",
                        WARREN_SERVER_LOG_LEVEL="warn")
        self.log = open(os.path.join(tmp, name + ".log"), "w")
        self.account = json.loads(subprocess.check_output([binary, "account", "create", "bench"], env=self.env, stderr=self.log))
        self.account_cpu, self.process = Account(name), None
        self.auth = {"Authorization": "Bearer " + self.account["apiKey"]}

    def start(self):
        """Seconds until it says where it listens."""
        began = time.perf_counter()
        self.process = subprocess.Popen([self.binary, "serve"], env=self.env, stdout=subprocess.PIPE, text=True, stderr=self.log,
                                        preexec_fn=self.account_cpu.join)
        line = self.process.stdout.readline()
        took = time.perf_counter() - began
        self.host, port = line.strip().rpartition("//")[2].rsplit(":", 1)
        self.port = int(port)
        return took

    def stop(self, how=signal.SIGTERM):
        if self.process:
            worker = self.worker()
            self.process.send_signal(how)
            self.process.wait()
            while how == signal.SIGKILL and os.path.exists(f"/proc/{worker}"):
                time.sleep(0.01)
        self.process = None

    def close(self):
        self.stop()
        self.account_cpu.close()
        self.log.close()

    def worker(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as f:
            return int(f.read().split()[0])

    def memory(self):
        """Megabytes: what its processes have to themselves, and all that they have mapped just now, files included."""
        private = resident = 0
        for pid in (self.process.pid, self.worker()):
            with open(f"/proc/{pid}/smaps_rollup") as f:
                for line in f:
                    kind, _, value = line.partition(":")
                    if kind == "Pss":
                        resident += int(value.split()[0])
                    elif kind == "Pss_Anon":
                        private += int(value.split()[0])
        return private / 1024, resident / 1024

    def held(self):
        """Descriptors and maps of the worker."""
        with open(f"/proc/{self.worker()}/maps") as f:
            return len(os.listdir(f"/proc/{self.worker()}/fd")), sum(1 for _ in f)

    def sql(self, statement, *args):
        db = sqlite3.connect(f"file:{self.data}/warren.db?mode=ro", uri=True)
        try:
            return db.execute(statement, args).fetchall()
        finally:
            db.close()

    def repos(self):
        return [r[0] for r in self.sql("SELECT id FROM repo WHERE state = 'live' ORDER BY seq")]

    def replay(self, tmp, needle, clients):
        return Replay(tmp, self, needle, clients).start().end()

    def request(self, method, path, body=None):
        c = http.client.HTTPConnection(self.host, self.port, timeout=60)
        c.request(method, path, json.dumps(body) if body else None, {**self.auth, **(JSON if body else {})})
        answer = c.getresponse()
        data = answer.read()
        c.close()
        return answer.status, data

    def create(self):
        return json.loads(self.request("POST", "/git/v1/repo", {})[1])["repoId"]


def ms(value):
    return f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


# ---- fork, checkpoint ----

def fork(args, tmp, server):
    source = os.path.join(tmp, "small")
    make_repository(source)
    server.start()
    small = server.create()
    git("push", "-q", f"http://x:{server.account['apiKey']}@{server.host}:{server.port}/{small}", "refs/heads/*:refs/heads/*", cwd=source)
    subprocess.run([server.binary, "repo", "checkpoint", small, "--data", server.data], check=True, stdout=subprocess.DEVNULL)
    server.stop()
    git("clone", "-q", "--bare", source, source + ".git")
    todo = [("a small repository", small, source + ".git", 100, 2)]
    if args.big:
        done = subprocess.run([server.binary, "repo", "adopt", "bench", args.big, "--data", server.data], check=True, text=True,
                              capture_output=True).stdout
        server.big = json.loads(done)["repoId"]
        todo.append(("the big repository", server.big, args.big, 30, 5))
    for name, repo, path, count, goal in todo:
        v = json.loads(subprocess.check_output([STORE, "fork", server.data, repo, str(count)]))
        wall, cpu = peer_cpu(["git", "clone", "-q", "--bare", "--shared", path, os.path.join(tmp, "clone-{}")], 10,
                             os.path.join(tmp, "clone-{}"))
        row(f"fork of {name}", f"< {goal} ms", v["cpu_ms"] < goal, f"{ms(v['cpu_ms'])} of CPU, {ms(v['wall_ms'])} with flushes",
            f"git clone --bare --shared: {ms(cpu)} of CPU, {ms(wall)}, which flushes nothing")


def checkpoint(args, tmp, server):
    v = json.loads(subprocess.check_output(["nice", STORE, "checkpoint", server.data, server.big, "1000"]))
    row("checkpoint of the big one after 1,000 commits", "< 500 ms", v["checkpoint_ms"] < 500,
        f"{ms(v['checkpoint_ms'])}, CPU {ms(v['checkpoint_cpu_ms'])}")
    row(f"its base written anew ({v['bytes'] / 1e6:.0f} MB)", "< 3000 ms CPU", v["rebased"] and v["rebase_cpu_ms"] < 3000,
        f"CPU {ms(v['rebase_cpu_ms'])}, {ms(v['rebase_ms'])}")


# ---- creating ----

def creations(server, n, clients):
    one = raw(server, "POST", "/git/v1/repo", JSON, b"{}")
    return [one * (n // clients)] * clients


def create(args, tmp, server, where):
    v = server.replay(tmp, "repoId", creations(server, 16000, 16))
    figure = f"{v['rate']:.0f}/s, p99 {ms(v['p99_ms'])}, server CPU {v['cpu_ms'] * 1000:.0f} us each"
    if where == "an empty server":
        wall, cpu = peer_cpu(["git", "init", "-q", "--bare", os.path.join(tmp, "init-{}")], 30, os.path.join(tmp, "init-{}"))
        row(f"create, 16 clients, {where}", ">= 5000/s", v["rate"] >= 5000, figure, f"git init --bare: {1000 / wall:.0f}/s, CPU {ms(cpu)}")
    else:
        row(f"create, 16 clients, {where}", "as at 10", None, figure)


# ---- many ----

def packs():
    """A first push as people make one: some text, a few files, 4 to 20 KB. Ten of them, by turns."""
    chance, bodies = random.Random(1), []
    for i in range(10):
        path = tempfile.mkdtemp(prefix="warren-bench-")
        git("init", "-q", "-b", "main", path)
        for f in range(3 + i % 3):
            with open(os.path.join(path, f"file{f}.txt"), "w") as out:
                out.write("".join(f"{chance.getrandbits(4 * 12 * (1 + i)):x} line {k}\n" for k in range(60)))
        git("add", "-A", cwd=path)
        git("commit", "-q", "-m", "First", cwd=path)
        tip = git("rev-parse", "HEAD", cwd=path).strip()
        pack = git("pack-objects", "--revs", "--stdout", "-q", cwd=path, stdin=tip + b"\n")
        bodies.append(pkt(b"0" * 40 + b" " + tip + b" refs/heads/main\0 report-status") + b"0000" + pack)
        shutil.rmtree(path)
    return bodies


def push_all(server, tmp, ids, clients=32):
    """Each its first push: through the door that every client takes."""
    bodies, seconds, cpu = packs(), 0, 0
    for at in range(0, len(ids), 8000):
        part = ids[at:at + 8000]
        pieces = [b"".join(raw(server, "POST", f"/{r}/git-receive-pack", compare.RECEIVE, bodies[i % len(bodies)])
                           for i, r in enumerate(part[c::clients], c)) for c in range(clients)]
        v = server.replay(tmp, "ok refs/heads/main", [p for p in pieces if p])
        seconds += v["seconds"]
        cpu += v["cpu_ms"] * v["count"] / 1000
        print(f"  {at + len(part)} of {len(ids)} pushed, {(at + len(part)) / seconds:.0f}/s")
        sys.stdout.flush()
    return seconds, cpu


def listing(server, tmp, offset, times=40):
    """Latency and CPU of pages of 50 before this offset, each with its own repositories."""
    pages = [raw(server, "GET", f"/git/v1/repo?limit=50&offset={max(0, offset - 50 * i)}", {}) for i in range(times)]
    return server.replay(tmp, "repositories", [b"".join(pages)])


def advert(server, repo):
    return raw(server, "GET", f"/{repo}/info/refs?service=git-upload-pack", compare.V2)


def open_each(server, tmp, ids):
    """Protocol 0, whose advertisement names the refs, so that each has to be opened."""
    return server.replay(tmp, "refs/heads/main", [b"".join(raw(server, "GET", f"/{r}/info/refs?service=git-upload-pack", {}) for r in ids)])


def fill(args, tmp, server):
    n = args.repos
    have = len(server.repos())
    server.replay(tmp, "repoId", creations(server, n - have, 16) if n - have >= 16 else creations(server, 16, 16))
    ids = server.repos()
    seconds, cpu = push_all(server, tmp, ids)
    row(f"{len(ids)} repositories, a first push each", "", None, f"{len(ids) / seconds:.0f}/s with 32 clients, server CPU {cpu / len(ids) * 1e3:.2f} ms each")
    return ids


def many(args, tmp, server):
    small_pages = listing(server, tmp, 0)
    row("list page of 50, first of a small server", "< 5 ms", small_pages["median_ms"] < 5,
        f"median {ms(small_pages['median_ms'])}, p99 {ms(small_pages['p99_ms'])}, server CPU {ms(small_pages['cpu_ms'])}")
    ids = fill(args, tmp, server)
    time.sleep(5)
    private, resident = server.memory()
    descriptors, maps = server.held()
    row("idle memory after that", "< 100 MB", resident < 100, f"{resident:.0f} MB, {private:.0f} of them not files", f"{descriptors} descriptors, {maps} maps")
    server.stop()
    starts = [server.start()]
    server.stop(signal.SIGKILL)
    after_kill = server.start()
    private, resident = server.memory()
    row("start, until it listens", "< 1 s", starts[0] < 1, f"{starts[0] * 1000:.0f} ms, after kill -9 {after_kill * 1000:.0f} ms")
    row("idle memory after a start", "< 100 MB", resident < 100, f"{resident:.0f} MB, {private:.0f} of them not files")
    chosen = random.Random(2).sample(ids, min(4000, len(ids)))
    warm, asked = chosen[:len(chosen) // 2], chosen[len(chosen) // 2:]
    open_each(server, tmp, asked)  # its pages are in memory from now on
    server.stop()
    server.start()
    open_each(server, tmp, warm[:200])
    first = open_each(server, tmp, asked)
    again = open_each(server, tmp, [asked[-1]] * len(asked))
    row("info/refs, opening the repository for it", "< 1 ms", first["median_ms"] < 1,
        f"median {ms(first['median_ms'])}, p99 {ms(first['p99_ms'])}, server CPU {ms(first['cpu_ms'])}",
        f"one that is open: median {ms(again['median_ms'])}, CPU {ms(again['cpu_ms'])}")
    for where, offset in (("the first", 2000), ("in the middle", len(ids) // 2), ("the last", len(ids) - 50)):
        # The first time what it reads may have to come from the disk. Each page is opened anew the second time as well.
        once, v = listing(server, tmp, offset), listing(server, tmp, offset)
        row(f"list page of 50, {where} of {len(ids)}", "< 5 ms", v["median_ms"] < 5,
            f"median {ms(v['median_ms'])}, p99 {ms(v['p99_ms'])}, server CPU {ms(v['cpu_ms'])}",
            f"the first time: median {ms(once['median_ms'])}, CPU {ms(once['cpu_ms'])}")
    private, resident = server.memory()
    descriptors, maps = server.held()
    row("idle memory after reading", "< 100 MB", resident < 100, f"{resident:.0f} MB, {private:.0f} of them not files", f"{descriptors} descriptors, {maps} maps")
    create(args, tmp, server, f"{len(ids)} there")


# ---- a worker that dies ----

def worker(args, tmp, server):
    repo, waits = server.repos()[0], []
    for _ in range(20):
        server.request("GET", f"/git/v1/repo/{repo}")
        old = server.worker()
        os.kill(old, signal.SIGKILL)
        began = time.perf_counter()
        while True:
            try:
                if server.request("GET", f"/{repo}/info/refs?service=git-upload-pack")[0] == 200:
                    break
            except (OSError, http.client.HTTPException):
                time.sleep(0.001)
        waits.append((time.perf_counter() - began) * 1000)
        # One that dies young is started later and later: what is measured is a crash of one that has served for a while.
        time.sleep(args.life)
    waits.sort()
    row("worker killed, until the next answer", "< 100 ms", waits[-1] < 100, f"median {ms(waits[10])}, longest of 20 {ms(waits[-1])}")


# ---- deletion ----

def delete(args, tmp, server):
    ids = server.repos()
    with_folder = [i for i in ids if os.path.isdir(os.path.join(server.data, "repos", i[:2], i[2:4], i + ".git"))]
    doomed, others = with_folder[:args.delete], with_folder[args.delete:args.delete + 200]
    if not others:
        doomed, others = with_folder[:len(with_folder) // 2], with_folder[len(with_folder) // 2:][:200]

    def beside():
        return [b"".join(advert(server, r) + raw(server, "GET", f"/git/v1/repo/{r}", {}) for r in others) * 5] * 2
    quiet = server.replay(tmp, "", beside())
    began = server.account_cpu.cpu()
    clients = [b"".join(raw(server, "DELETE", f"/git/v1/repo/{r}", {}) for r in doomed[c::8]) for c in range(8)]
    run = Replay(tmp, server, "", clients).start()
    busy = [server.replay(tmp, "", beside())]
    while run.process.poll() is None:
        busy.append(server.replay(tmp, "", beside()))
    v, ended = run.end(), time.perf_counter()
    while time.perf_counter() - ended < 600 and server.sql("SELECT 1 FROM repo WHERE state = 'deleting' LIMIT 1"):
        busy.append(server.replay(tmp, "", beside()))
    gone, cpu = time.perf_counter() - ended, server.account_cpu.cpu() - began
    left = sum(os.path.exists(os.path.join(server.data, "repos", i[:2], i[2:4], i + ".git")) for i in doomed)
    busy_count = sum(b["count"] for b in busy)
    p99 = statistics.median(b["p99_ms"] for b in busy)
    row(f"deletion of {len(doomed)}, 8 clients", "p99 < 20 ms", v["p99_ms"] < 20, f"p99 {ms(v['p99_ms'])}, median {ms(v['median_ms'])}")
    row("their disk back, after the last answer", "< 60 s", gone < 60 and left == 0, f"{gone:.1f} s, {left} folders left",
        f"all CPU of the server until then {cpu:.1f} s, {busy_count} other requests in it")
    row("other requests' p99 meanwhile", "<= twice", p99 <= 2 * quiet["p99_ms"], f"{ms(p99)}, quiet {ms(quiet['p99_ms'])}")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--warren", default="build/release/warren")
    p.add_argument("--big", help="a large bare repository, to fork and to checkpoint")
    p.add_argument("--repos", type=int, default=100000)
    p.add_argument("--delete", type=int, default=10000)
    p.add_argument("--life", type=float, default=1.5, help="seconds between two kills of the worker")
    p.add_argument("--tmp", help="where the data go; a folder of its own in there")
    p.add_argument("--part", action="append", choices=("fork", "checkpoint", "create", "many", "worker", "delete"))
    args = p.parse_args()
    tmp, servers = tempfile.mkdtemp(prefix="warren-bench-", dir=args.tmp), []

    def wanted(*parts):
        return not args.part or any(x in args.part for x in parts)
    try:
        if wanted("fork", "checkpoint"):
            servers.append(Server(args.warren, tmp, "one"))
            fork(args, tmp, servers[-1])
            if args.big and wanted("checkpoint"):
                checkpoint(args, tmp, servers[-1])
        if wanted("create", "many", "worker", "delete"):
            servers.append(Server(args.warren, tmp, "many"))
            servers[-1].start()
            create(args, tmp, servers[-1], "an empty server")
            if wanted("many"):
                many(args, tmp, servers[-1])
            elif wanted("worker", "delete"):
                fill(args, tmp, servers[-1])
            if wanted("worker"):
                worker(args, tmp, servers[-1])
            if wanted("delete"):
                delete(args, tmp, servers[-1])
        table()
    finally:
        for s in servers:
            s.close()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    main()
