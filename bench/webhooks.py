#!/usr/bin/env python3
"""What webhooks cost: from the acknowledgement of an update to the receiver's accept, deliveries a second, what an update
costs with a trigger and without, and what hanging endpoints of one tenant do to another.

The receiver is bench/sink.c on the same two cores. Parts: latency, rate, cost, saturated,
hanging, queue.
"""
import argparse
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import store
from api import changes, first_commit
from compare import git, make_repository, raw
from store import JSON, Server, ms, row

SINK = "build/release/bench/sink"
QUEUE = "build/release/bench/deliveries"


class Sink:
    def __init__(self):
        self.process = subprocess.Popen([SINK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip().rpartition(" ")[2]

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def count(self):
        self.say("count")
        return int(self.process.stdout.readline())

    def times(self):
        """{commit: microseconds} since the last question."""
        self.say("times")
        found = {}
        while (line := self.process.stdout.readline().split()):
            found[line[0]] = int(line[1])
        return found

    def wait(self, n, seconds=300):
        deadline = time.monotonic() + seconds
        while self.count() < n:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{n} calls were wanted, {self.count()} came")
            time.sleep(0.01)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Caller:
    """One kept connection, of whichever account."""

    def __init__(self, server, key=None):
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        self.headers = {"Authorization": "Bearer " + (key or server.account["apiKey"]), **JSON}

    def call(self, method, path, body=None):
        self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:200]}")
        return json.loads(data)

    def repo(self):
        return self.call("POST", "/git/v1/repo", {})["repoId"]

    def trigger(self, repo, endpoint, **filters):
        return self.call("POST", f"/git/v1/repo/{repo}/trigger", {"trigger": {"event": "push", **filters},
                                                                  "action": {"action": "webhook", "endpoint": endpoint}})["triggerId"]

    def commit(self, repo, n, branch="main"):
        """(commit, microseconds of the acknowledgement)"""
        made = self.call("POST", f"/git/v1/repo/{repo}/commits", {"branch": branch, "message": f"{n}", "files": [
            {"path": f"f{n % 50}", "content": f"{time.monotonic_ns()}\n"}]})
        return made["commit"]["sha"], time.monotonic_ns() // 1000


def quantiles(latencies):
    latencies = sorted(latencies)
    return latencies[len(latencies) // 2] / 1000, latencies[len(latencies) * 99 // 100] / 1000


def measure(caller, sink, repos, n, pause):
    """Latencies in microseconds of n updates over these repositories."""
    sink.times()
    acknowledged, before = {}, sink.count()
    for i in range(n):
        sha, at = caller.commit(repos[i % len(repos)], i)
        acknowledged[sha] = at
        time.sleep(pause())
    sink.wait(before + n)
    came = sink.times()
    return [came[sha] - at for sha, at in acknowledged.items()]


def latency(args, tmp, server, sink):
    caller, rng = Caller(server), random.Random(1)
    for what, filters in (("", {}), (", with globs", {"globs": ["d*/**", "f*"]})):
        repo = first_commit(server, tmp)
        caller.trigger(repo, sink.url + "/latency", **filters)
        measure(caller, sink, [repo], 20, lambda: 0.01)
        p50, p99 = quantiles(measure(caller, sink, [repo], args.count, lambda: rng.uniform(0, 0.03)))
        row(f"acknowledged to accepted, idle server{what}", "p50 < 10 ms, p99 < 50", p50 < 10 and p99 < 50, f"p50 {ms(p50)}, p99 {ms(p99)}")


def rate(args, tmp, server, sink):
    caller = Caller(server)
    repos, per = [caller.repo() for _ in range(16)], args.backlog // 16
    triggers = [caller.trigger(repo, sink.url + "/rate") for repo in repos]
    for repo, one in zip(repos, triggers):
        caller.call("PATCH", f"/git/v1/repo/{repo}/trigger/{one}", {"paused": True})
    body = [b"".join(raw(server, "POST", f"/git/v1/repo/{repo}/commits", JSON, json.dumps(
        {"branch": f"b{i % 8}", "message": f"{i}", "files": [{"path": f"f{i}", "content": "x"}]}).encode()) for i in range(per)) for repo in repos]
    server.replay(tmp, "commit", body)
    began, before, cpu = time.monotonic(), sink.count(), server.account_cpu.cpu()
    for repo, one in zip(repos, triggers):
        caller.call("PATCH", f"/git/v1/repo/{repo}/trigger/{one}", {"paused": False})
    sink.wait(before + per * 16)
    seconds, cpu = time.monotonic() - began, server.account_cpu.cpu() - cpu
    n = per * 16
    row(f"deliveries a second, a backlog of {n}", ">= 2000/s", n / seconds >= 2000, f"{n / seconds:.0f}/s, server CPU {cpu * 1e6 / n:.0f} us each, "
        f"memory {server.memory()[0]:.0f} MB")


def cost(args, tmp, server, sink):
    """Pushes of the real git, in turns to a repository with a trigger and one without."""
    caller, works = Caller(server), {}
    for name in ("plain", "heard"):
        repo, folder = caller.repo(), os.path.join(tmp, name)
        make_repository(folder)
        git("remote", "add", "warren", f"http://x:{server.account['apiKey']}@{server.host}:{server.port}/{repo}", cwd=folder)
        git("push", "-q", "warren", "main", cwd=folder)
        works[name] = folder
        if name == "heard":
            caller.trigger(repo, sink.url + "/cost")
    took = {name: [] for name in works}
    for i in range(args.pushes):
        for name in (("plain", "heard") if i % 2 else ("heard", "plain")):
            git("commit", "-q", "--allow-empty", "-m", f"{i}", cwd=works[name])
            began = time.perf_counter()
            git("push", "-q", "warren", "main", cwd=works[name])
            took[name].append((time.perf_counter() - began) * 1000)
    a, b = (statistics.median(took[name]) for name in ("plain", "heard"))
    ratio = statistics.median(y / x for x, y in zip(took["plain"], took["heard"]))
    row("git push to a repository with a trigger", "<= 1.05 x without", ratio <= 1.05, f"{ratio:.3f} x: {ms(b)}", f"without: {ms(a)}")


def saturated(args, tmp, server, sink):
    """Commits by API, one after the other without a pause, while what they cause is delivered on the same cores."""
    caller = Caller(server)
    plain, heard = first_commit(server, tmp), first_commit(server, tmp)
    caller.trigger(heard, sink.url + "/cost")
    runs = {plain: [], heard: []}
    for r in range(args.rounds * 2):
        for repo in ((plain, heard) if r % 2 else (heard, plain)):
            before = sink.count()
            runs[repo].append(server.replay(tmp, "commit", [changes(server, repo, r, args.count)]))
            if repo == heard:
                sink.wait(before + args.count)
    ratio = statistics.median(b["median_ms"] / a["median_ms"] for a, b in zip(runs[plain], runs[heard]))
    a, b = ({key: statistics.median(v[key] for v in runs[repo]) for key in ("median_ms", "p99_ms", "cpu_ms")} for repo in (plain, heard))
    row("commits without a pause, with a trigger", "", None, f"{ratio:.3f} x: p50 {ms(b['median_ms'])}, p99 {ms(b['p99_ms'])}, "
        f"server CPU {b['cpu_ms'] * 1000:.0f} us", f"without: p50 {ms(a['median_ms'])}, p99 {ms(a['p99_ms'])}, CPU {a['cpu_ms'] * 1000:.0f} us")


def hanging(args, tmp, server, sink):
    """Updates of many repositories, of which one tenant's endpoints hang."""
    other = json.loads(subprocess.check_output([server.binary, "account", "create", "hanging", "--data", server.data]))
    good, bad = Caller(server), Caller(server, other["apiKey"])
    repos = [good.repo() for _ in range(args.many)]
    for repo in repos:
        good.trigger(repo, sink.url + "/good")
    victims = [bad.repo() for _ in range(args.many // 10)]
    for i, repo in enumerate(victims):
        bad.trigger(repo, f"{sink.url}/hang/{i}")
    rng = random.Random(2)
    measure(good, sink, repos, args.many, lambda: 0)
    idle = quantiles(measure(good, sink, repos, args.updates // 2, lambda: rng.uniform(0, 0.004)))
    for i in range(args.updates // 2):
        bad.commit(victims[i % len(victims)], i)
    busy = quantiles(measure(good, sink, repos, args.updates // 2, lambda: rng.uniform(0, 0.004)))
    row(f"the same over {args.many} repositories, another tenant's endpoints hang", "p99 <= 2 x idle", busy[1] <= 2 * idle[1],
        f"p50 {ms(busy[0])}, p99 {ms(busy[1])}", f"idle: p50 {ms(idle[0])}, p99 {ms(idle[1])}")


def queue(args, tmp, server, sink):
    """Rows of the queue alone, without server and endpoints."""
    few, many = (json.loads(line) for line in subprocess.check_output([QUEUE, tmp, "1000", str(args.queued)]).splitlines())
    same = all(many[key] <= 1.25 * few[key] for key in ("enqueue_us", "deliver_us"))
    row(f"{args.queued:,} deliveries queued", "cost as with 1,000, memory < 100 MB", same and many["memory_mb"] < 100,
        f"CPU {many['enqueue_us']:.0f} us to enqueue one, {many['deliver_us']:.0f} us to claim it and write down its end, "
        f"{many['memory_mb']} MB", f"with 1,000: {few['enqueue_us']:.0f} and {few['deliver_us']:.0f} us")


def main():
    parts = {"latency": latency, "rate": rate, "cost": cost, "saturated": saturated, "hanging": hanging, "queue": queue}
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--warren", default="build/release/warren")
    p.add_argument("--count", type=int, default=500)
    p.add_argument("--pushes", type=int, default=100)
    p.add_argument("--backlog", type=int, default=32000)
    p.add_argument("--many", type=int, default=500)
    p.add_argument("--updates", type=int, default=10000)
    p.add_argument("--queued", type=int, default=1000000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--tmp", help="where the data go; a folder of its own in there")
    p.add_argument("--part", action="append", choices=parts)
    args = p.parse_args()
    tmp, server, sink = tempfile.mkdtemp(prefix="warren-bench-", dir=args.tmp), None, Sink()
    try:
        server = Server(args.warren, tmp, "webhooks")
        server.env.update(WARREN_SERVER_LOG_LEVEL="info", WARREN_WEBHOOKS_ALLOW_PRIVATE_NETWORKS="true")
        server.start()
        for name in args.part or parts:
            parts[name](args, tmp, server, sink)
        store.table()
    finally:
        if server:
            server.close()
        sink.close()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
