"""One tenant with hundreds of endpoints that hang, on names of their own, and thousands of updates: another one's arrive
meanwhile, the server's memory stays within bounds, and it computes nothing once all it can do is to wait."""
import json
import time

from harness import expect, same, test, wait_for
from harness.core import sanitized
from harness.elsewhere import Elsewhere, answer
from harness.outside import PUBLIC, Outside
from harness.pkt import pack
from harness.raw import Wire
from harness.receiver import commit, trigger

COST = 18
MEMORY = 80 << 20  # the same for 200,000 that wait: --rounds 16
TRIGGERS = 100  # of each of three repositories: as many as there may be
# The names' server is late, nobody answers, or an answer has no end.
WAYS = {"late": "late", "hang": PUBLIC, "endless": PUBLIC}


def endless(_):
    yield b"HTTP/1.1 200 Here\r\nContent-Type: x\r\n\r\n"
    while True:
        yield b"x" * 65536


class World:
    def __init__(self, t):
        self.t, self.outside = t, Outside(t)
        for way, address in WAYS.items():
            self.outside.name(f"*.{way}.example", address)
        self.outside.name("good.example", PUBLIC)
        self.there = Elsewhere(t, {"/hang": lambda r: None, "/endless": endless, "/all": answer(), "/docs": answer()})
        self.server = t.own_server(config="[server]\nstop_timeout = 1s\n", env=self.outside.environment)
        self.bad, self.good = self.server.account(), self.server.account().repo(defaultBranch="main")
        trigger(self.good, f"http://good.example:{self.there.port}/all", payload="extended")
        trigger(self.good, f"http://good.example:{self.there.port}/docs", globs=["docs/**"])

    def endpoint(self, host, way):
        return f"http://{host}.{way}.example:{self.there.port}/{way}"

    def branches(self, repo, count):
        """So many updates."""
        tip, wire = commit(repo, "main", {"f": repo.id}), Wire(self.server.url, self.bad.key)
        said = wire.push(repo.id, {f"refs/heads/b{n}/x": (None, tip) for n in range(count - 1)}, pack([]))
        wire.close()
        expect(said.ok, "branches are made", said)

    def called(self, path):
        return [r for r in self.there.requests if r.path == path]

    def told(self, shas):
        """The good tenant's endpoints, of each of these once and in order, and of nothing else."""
        for path, wanted in (("/all", shas), ("/docs", shas[::2])):
            wait_for(lambda p=path, n=len(wanted): len(self.called(p)) >= n, f"{len(wanted)} calls to {path}")
            same([json.loads(r.body)["commit"] for r in self.called(path)], wanted, f"what {path} was told")
            same({r.headers["x-warren-attempt"] for r in self.called(path)}, {"1"}, f"attempts at {path}")

    def waiting(self, under_way=0):
        status = self.server.cli("webhook", "status")
        return status["queued"] + under_way * status["sending"]

    def busy(self):
        """Of one core, for a moment."""
        began, used = time.monotonic(), self.server.cpu_seconds()
        time.sleep(0.5)
        return (self.server.cpu_seconds() - used) / (time.monotonic() - began)


@test
def hundreds_that_hang(t):
    w = World(t)
    shas = [commit(w.good, "main", {"docs/a": "first"})]
    w.told(shas)
    before = w.server.rss_anon()
    repos = [w.bad.repo(defaultBranch="main") for _ in range(4)]
    for i, repo in enumerate(repos[:3]):
        for n in range(TRIGGERS):
            way = "hang" if n % 2 else "late"
            trigger(repo, w.endpoint(f"h{i}-{n}", way), globs=["f*"] if n % 4 < 2 else None)
    for way in WAYS:
        trigger(repos[3], w.endpoint("many", way))
    for repo in repos[:3]:
        w.branches(repo, len(t.rounds(40)))
    w.branches(repos[3], 2000)
    for n in range(40):
        shas.append(commit(w.good, "main", {f"{'src' if n % 2 == 0 else 'docs'}/a": str(n)}))
    w.told(shas)
    # A push of many branches is handed over in pieces, between which others have their turn. Half of the triggers look at
    # paths, of which only the first update of each repository has any; what never ends is delivered.
    wanted = 3 * TRIGGERS // 2 * (len(t.rounds(40)) + 1) + 2 * 2000
    wait_for(lambda: w.waiting(1) >= wanted, "all of the other one's are there")
    if not sanitized():
        expect(w.server.rss_anon() - before < MEMORY, "memory", before, w.server.rss_anon())
        wait_for(lambda: w.busy() < 0.2, "nothing to compute")
    # Those who are gone leave nothing but what is under way.
    for repo in repos:
        w.bad.api.delete(repo.path).empty()
    wait_for(lambda: w.waiting() == 0, "nothing waits")
    shas += [commit(w.good, "main", {"src/a": "last"}), commit(w.good, "main", {"docs/a": "last"})]
    w.told(shas)
