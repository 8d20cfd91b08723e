"""Two server processes on one data folder, one of them handing over to the other under load: nothing is lost or doubled, no
event either, what runs in the old one ends right, and nobody is told of an internal error."""
import json
import os
import signal
import threading
import time

from harness import Fail, expect, same, test, wait_for
from harness.core import slowness
from harness.pkt import report
from harness.raw import Gone, Refused, Wire, check_clone, unpack
from harness.slow import SlowClone, SlowPush
from harness.traffic import Everyone, Lane, check_lanes
from harness.workers import logged, rows, running, sequence, worker, workers

COST = 20
KINDS = {"small": 40, "files": 3, "large": 3, "two": 6, "atomic": 6, "rewind": 4, "delete": 4, "move": 4, "tag": 4}


class Patient(Wire):
    """Comes again when the server says that it cannot just now (503): then nothing was done."""

    def __init__(self, *args):
        super().__init__(*args)
        self.told = 0

    def request(self, method, path, body=None, headers=None, seconds=60):
        until = time.monotonic() + 60 * slowness()
        while True:
            status, data = super().request(method, path, body, headers, seconds)
            if status != 503 or time.monotonic() > until:
                return status, data
            self.told += 1
            time.sleep(0.02)


class Client(threading.Thread):
    """Does something again and again, on a connection of its own, until it is told to stop; the first failure stays."""

    def __init__(self, load, what):
        super().__init__(daemon=True)
        self.load, self.what, self.wrong, self.done, self.gone = load, what, None, 0, 0
        self.wire = Patient(load.server.url, load.account.key)

    def run(self):
        try:
            while not self.load.stopped.is_set():
                try:
                    self.what(self.wire)
                    self.done += 1
                except Gone as e:
                    self.gone += 1
                    if not self.load.kills:
                        raise Fail(f"a connection was closed under its request: {e}") from None
        except BaseException as e:  # pylint: disable=broad-except
            self.wrong = e
        finally:
            self.wire.close()


class Load:
    """Pushers on shared repositories and on their own, cloners, and who creates and lists repositories."""

    def __init__(self, t, server, kills=False, pushers=3):
        self.t, self.server, self.kills = t, server, kills
        self.account = server.account()
        self.stopped = threading.Event()
        self.shared = [self.account.repo() for _ in range(2)]
        self.own = [self.account.repo() for _ in range(pushers)]
        self.lanes = {repo.id: [] for repo in [*self.shared, *self.own]}
        self.made = set()
        self.clients = []
        for n in range(pushers):
            mine = []
            for repo in [*self.shared, self.own[n]]:
                lane = Lane(f"w{n}", t.random, KINDS)
                self.lanes[repo.id].append(lane)
                mine.append((repo.id, lane))
            self.clients.append(Client(self, self.pusher(mine)))
        self.clients += [Client(self, self.clone) for _ in range(2)]
        self.clients += [Client(self, self.rest), Client(self, self.first_pushes)]

    def pusher(self, mine):
        def push(wire):
            repo_id, lane = self.t.random.choice(mine)
            if lane.open is not None:
                # Cut off by a kill: whichever became of it is seen in the refs.
                lane.check({ref: oid for ref, oid in self.refs(wire, repo_id).items() if lane.mine(ref)}, repo_id)
            lane.step(wire, repo_id)
        return push

    @staticmethod
    def refs(wire, repo_id):
        return wire.refs(repo_id)

    def clone(self, wire):
        repo = self.t.random.choice([*self.shared, *self.own])
        everyone = Everyone(self.lanes[repo.id])
        refs = wire.refs(repo.id)
        try:
            got = wire.clone(repo.id, refs)
        except Refused:
            return  # rewound meanwhile
        expect(set(got) == everyone.closure(refs.values()), f"{repo.id}: objects of a clone", len(got))

    def rest(self, wire):
        status, body = wire.request("GET", f"/git/v1/repo/{self.t.random.choice(self.shared).id}/default-branch")
        same(status, 200, f"a read with {body[:300]!r}")

    def first_pushes(self, wire):
        """A new repository and its first push, which only one process may make."""
        status, body = wire.request("POST", "/git/v1/repo", b"{}", {"Content-Type": "application/json"})
        same(status, 200, f"a creation with {body[:300]!r}")
        repo_id = json.loads(body)["repoId"]
        lane = Lane("first", self.t.random, {"small": 1})
        self.lanes[repo_id] = [lane]
        self.made.add(repo_id)
        lane.step(wire, repo_id)

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *failure):
        self.stopped.set()
        for client in self.clients:
            client.join()
        if failure[0] is None:
            for client in self.clients:
                if client.wrong is not None:
                    raise client.wrong

    def check(self):
        """What every lane was told of is there, whole, and once."""
        wire = Patient(self.server.url, self.account.key)
        for repo_id, lanes in self.lanes.items():
            refs = wire.refs(repo_id)
            check_lanes(lanes, refs, f"{repo_id} at the end")
            check_clone(wire, Everyone(lanes), repo_id, refs, f"{repo_id} at the end")
        wire.close()
        for repo in [*self.shared, *self.own]:
            self.server.verify(repo.id)
        for repo_id in self.lanes:
            last = sequence(self.server, repo_id) if repo_id not in self.made or self.kills else 1
            wait_for(lambda i=repo_id, n=last: rows(self.server)[i][0] >= n, f"the events of {repo_id}")
            same(rows(self.server)[repo_id][0], last, f"{repo_id}: event_seq")
        expect(all(client.done for client in self.clients), "everybody did something", [c.done for c in self.clients])


def upgrades(server):
    return len(logged(server, "upgrade.ends"))


@test
def one_program_after_the_other_under_load(t):
    server = t.own_server()
    with Load(t, server) as load:
        for n, _ in enumerate(t.rounds(3), 1):
            before = wait_for(lambda: worker(server), "one worker")
            time.sleep(t.random.uniform(0, 0.3))
            os.kill(server.pid, signal.SIGUSR2)
            wait_for(lambda: upgrades(server) == n, "the next program")
            wait_for(lambda: not running(before), "the end of the old worker")
    load.check()
    server.stop()
    marks = {repo_id: mark for repo_id, (_, mark) in rows(server).items() if mark}
    same(marks, {}, "marks after a stop")
    same(server.files("run"), {}, "files in run/")


@test
def killed_while_they_change(t):
    """The old worker in the middle of handing over; the new one before it serves; the new one when it has begun to."""
    server = t.own_server()
    with Load(t, server, kills=True) as load:
        for n in t.rounds(6):
            before = wait_for(lambda: worker(server), "one worker")
            done = upgrades(server)
            os.kill(server.pid, signal.SIGUSR2)
            victim = wait_for(lambda: [w for w in workers(server) if w != before], "the next program's worker")[0]
            if n % 3 == 0:
                wait_for(lambda: upgrades(server) > done, "the hand-over")
                time.sleep(t.random.uniform(0, 0.05))
                victim = before
            elif n % 3 == 2:
                wait_for(lambda: upgrades(server) > done, "the hand-over")
            if running(victim):
                os.kill(victim, signal.SIGKILL)
            wait_for(lambda: not running(before) and worker(server) not in (None, before), "the next worker alone")
            expect(server.alive(), "the supervisor")
    load.check()


@test
def what_runs_in_the_old_worker_ends_right(t):
    server = t.own_server()
    account = server.account()
    repo, lane = account.repo(), Lane("w", t.random, {"large": 1}, 6_000_000)
    wire = Wire(server.url, account.key)
    lane.step(wire, repo.id)
    for n, _ in enumerate(t.rounds(2), 1):
        before = wait_for(lambda: worker(server), "one worker")
        # A first push, and one to what the new worker has by then.
        target = account.repo() if n % 2 else repo
        push, clone = SlowPush(target, f"refs/heads/slow{n}"), SlowClone(repo, lane.refs.values())
        push.send(0.5)
        os.kill(server.pid, signal.SIGUSR2)
        wait_for(lambda: upgrades(server) == n, "the next program")
        same(server.api().get("/healthz").status, 200, "the new worker")
        other = Patient(server.url, account.key)
        wanted = set(lane.objects.closure(lane.refs.values()))
        lane.step(other, repo.id)
        expect(running(before), "the old worker while it has something to do")
        push.send(1)
        status, body = push.answer()
        same((status, report(body)), (200, ("ok", {push.ref: "ok"})), "the push that began in the old worker")
        status, data = clone.answer()
        same((status, set(unpack(data))), (200, wanted), "the clone that began in the old worker")
        wait_for(lambda: not running(before), "the end of the old worker")
        refs = other.refs(target.id)
        same(refs[push.ref], push.tip, "the push, as the new worker says")
        got = other.clone(target.id, {push.ref: push.tip})
        same(set(got), push.ids, "its objects")
        lane.step(other, repo.id)
        check_lanes([lane], {ref: oid for ref, oid in other.refs(repo.id).items() if lane.mine(ref)}, "in the end")
        other.close()
    wire.close()


@test
def a_stop_during_a_hand_over_ends_both(t):
    server = t.own_server(flags=["--stop-timeout", "500ms"])
    account = server.account()
    repo = account.repo()
    before = wait_for(lambda: worker(server), "one worker")
    push = SlowPush(repo)
    push.send(0.5)
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: upgrades(server) == 1, "the next program")
    expect(running(before), "the old worker waits for the push")
    same(server.cli("repo", "show", repo.id)["exists"], False, "commands reach the new worker")
    server.terminate()
    same(server.wait(), 0, "exit status")
    expect(not running(before), "the old worker has ended as well")
    push.connection.close()
    same(server.files("run"), {}, "files in run/")
