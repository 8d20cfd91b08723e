"""Pushers against each other and against readers: one winner a round, all or none of an atomic push, never an object missing."""
import random
import threading

from harness import expect, same, test
from harness.core import sanitized
from harness.pkt import ZERO
from harness.raw import Objects, Refused, Wire

CONCURRENT = True
COST = 4


class Race:
    """A repository, what was ever made for it, and threads whose first trouble ends them all."""

    def __init__(self, t, server=None):
        self.server = server or t.own_server()
        account = self.server.account()
        self.id, self.key = account.repo().id, account.key
        self.objects, self.lock = Objects(), threading.Lock()
        self.troubles, self.done, self.threads = [], threading.Event(), []
        self.root = self.commit(None, "root")
        self.seeds = random.Random(t.random.random())

    def wire(self):
        return Wire(self.server.url, self.key)

    def commit(self, parent, text):
        with self.lock:
            tree = self.objects.tree({"file": self.objects.blob(f"{text}\n".encode()), "same": self.objects.blob(b"same\n")})
            return self.objects.commit(tree, [parent] if parent else [], text)

    def pack(self, tip, without):
        with self.lock:
            return self.objects.pack(self.objects.closure([tip], without=self.objects.closure([without]) if without else ()))

    def start(self, function, *args):
        def guard():
            try:
                function(*args)
            except BaseException as e:
                self.troubles.append(e)
                self.done.set()
        self.threads.append(threading.Thread(target=guard))
        self.threads[-1].start()
        return self.threads[-1]

    def finish(self, *writers):
        """Waits for the writers, then for the others."""
        for thread in writers:
            thread.join()
        self.done.set()
        for thread in self.threads:
            thread.join()
        # Who waited at a barrier that another one broke has nothing to tell.
        for trouble in sorted(self.troubles, key=lambda e: isinstance(e, threading.BrokenBarrierError)):
            raise trouble

    def clones(self):
        """Clones again and again: what is there is whole. A ref that moved on meanwhile may not be wanted any more."""
        wire = self.wire()
        while not self.done.is_set():
            refs = wire.refs(self.id)
            try:
                got = wire.clone(self.id, refs)
            except Refused:
                continue
            with self.lock:
                wanted = self.objects.closure(refs.values())
            same(set(got), wanted, "the objects of a clone")

    def checkpoints(self):
        while not self.done.is_set():
            self.server.cli("repo", "checkpoint", self.id)
            self.done.wait(0.05)


@test
def eight_pushers_on_one_branch(t):
    """All expect the same tip. One gets it, the others are told what happened."""
    race, count = Race(t), 8
    rounds = 5 if sanitized() else 25
    first = race.wire()
    expect(first.push(race.id, {"refs/heads/main": (None, race.root)}, race.pack(race.root, None)).ok, "the first push")
    state = {"tip": race.root}
    said = {}

    def judge():
        """Between two rounds, with nobody pushing."""
        winners = [n for n, (_, answer) in said.items() if answer.accepted()]
        same(len(winners), 1, f"winners of {[a for _, a in said.values()]}")
        for n, (_, answer) in said.items():
            reason = answer.results["refs/heads/main"]
            expect(n in winners or ("moved" in reason and said[winners[0]][0] in reason), "the others get a sentence", answer)
        state["tip"] = said[winners[0]][0]
        same(first.refs(race.id), {"refs/heads/main": state["tip"]}, "the winner's commit is there")
        said.clear()

    barrier = threading.Barrier(count)
    after = threading.Barrier(count, action=judge)

    def push(n):
        wire = race.wire()
        try:
            for turn in t.rounds(rounds):
                commit = race.commit(state["tip"], f"{turn} by {n}")
                pack = race.pack(commit, state["tip"])
                barrier.wait()
                said[n] = commit, wire.push(race.id, {"refs/heads/main": (state["tip"], commit)}, pack, atomic=n % 2 == 0)
                after.wait()
        except BaseException:
            barrier.abort()
            after.abort()
            raise

    writers = [race.start(push, n) for n in range(count)]
    for _ in range(2):
        race.start(race.clones)
    race.start(race.checkpoints)
    race.finish(*writers)


@test
def atomic_pushes_are_seen_whole(t):
    """Refs that move, come and go together: no list shows some of them before and some after."""
    race = Race(t)
    names = [f"refs/heads/{n}" for n in ("a", "a-b", "m/x/y", "z")] + [f"refs/tags/t{i}" for i in range(16)]
    steps = 10 if sanitized() else 80
    wire = race.wire()
    expect(wire.push(race.id, {n: (None, race.root) for n in names}, race.pack(race.root, None), atomic=True).ok, "the first push")

    def write():
        tip = race.root
        for turn in t.rounds(steps):
            commit = race.commit(tip, f"step {turn}")
            expect(wire.push(race.id, {n: (tip, commit) for n in names}, race.pack(commit, tip), atomic=True).ok, "together")
            tip = commit
            if turn % 5 == 0:
                expect(wire.push(race.id, {n: (tip, None) for n in names}, atomic=True).ok, "all go")
                expect(wire.push(race.id, {n: (None, tip) for n in names}, race.pack(tip, None), atomic=True).ok, "and come")
            if turn % 7 == 0:
                odd = {n: (tip, race.root) for n in names}
                odd[names[turn % len(names)]] = (race.root if tip != race.root else "1" * 40, race.root)
                same(wire.push(race.id, odd, race.pack(race.root, None), atomic=True).accepted(), set(), "one is wrong, none goes")

    def read(version):
        reader, seen = race.wire(), 0
        while not race.done.is_set():
            refs = {n: oid for n, (oid, _) in reader.ls_refs(race.id).items()} if version == 2 else reader.refs(race.id)
            expect(len(set(refs.values())) <= 1 and len(refs) in (0, len(names)), "all or none", refs)
            seen += 1
        expect(seen > 0, "something was read")

    writer = race.start(write)
    for version in (0, 2, 2):
        race.start(read, version)
    race.start(race.checkpoints)
    race.finish(writer)


@test
def other_pushes_are_seen_in_their_order(t):
    """Each ref alone, the refused ones aside: what a list shows is the beginning of the push, or all of it."""
    race = Race(t)
    names = [f"refs/heads/{n}" for n in ("z", "b", "y", "a", "x", "c")]
    steps = 10 if sanitized() else 60
    wire = race.wire()
    history = [race.root]
    expect(wire.push(race.id, {n: (None, race.root) for n in names}, race.pack(race.root, None)).ok, "the first push")

    def write():
        tip = race.root
        for turn in t.rounds(steps):
            commit = race.commit(tip, f"step {turn}")
            history.append(commit)
            commands = {n: (tip, commit) for n in names}
            commands["refs/heads/stale"] = ("1" * 40, commit)
            said = wire.push(race.id, commands, race.pack(commit, tip))
            same(said.accepted(), set(names), "all but the stale one")
            tip = commit

    def read():
        reader = race.wire()
        while not race.done.is_set():
            refs = {n: oid for n, (oid, _) in reader.ls_refs(race.id).items()}
            at = [history.index(refs[n]) for n in names]
            expect(at == sorted(at, reverse=True) and at[0] - at[-1] <= 1, "in the push's order", at)

    writer = race.start(write)
    for _ in range(3):
        race.start(read)
    race.finish(writer)


@test
def atomic_pushes_that_overlap(t):
    """Two want some of the same refs: who wins has all of his, who loses none."""
    race = Race(t)
    names = [f"refs/heads/{i}" for i in range(12)]
    wire = race.wire()
    expect(wire.push(race.id, {n: (None, race.root) for n in names}, race.pack(race.root, None)).ok, "the first push")
    state = {n: race.root for n in names}
    said = {}
    count = 4

    def judge():
        wanted = dict(state)
        for mine, commit, answer in said.values():
            expect(answer.accepted() in (set(), set(mine)), "all or none", answer)
            for name in answer.accepted():
                same(wanted[name], state[name], f"{name} has one winner")
                wanted[name] = commit
        expect(wanted != state, "somebody wins", [a for _, _, a in said.values()])
        state.update(wanted)
        same(wire.refs(race.id), state, "the refs are the winners'")
        said.clear()

    barrier, after = threading.Barrier(count), threading.Barrier(count, action=judge)

    def push(n, seed):
        mine, own = random.Random(seed), race.wire()
        try:
            for turn in t.rounds(5 if sanitized() else 25):
                some = mine.sample(names, 4)
                commit = race.commit(race.root, f"{turn} by {n}")
                pack = race.pack(commit, race.root)
                barrier.wait()
                said[n] = some, commit, own.push(race.id, {name: (state[name], commit) for name in some}, pack, atomic=True)
                after.wait()
        except BaseException:
            barrier.abort()
            after.abort()
            raise

    writers = [race.start(push, n, race.seeds.random()) for n in range(count)]
    race.start(race.clones)
    race.finish(*writers)


@test
def one_ref_comes_and_goes(t):
    """Some create it, some delete it, all by what they think it is; in the end it is what the last success made it."""
    race = Race(t)
    name = "refs/heads/now-and-then"
    steps = 8 if sanitized() else 60
    wire = race.wire()
    expect(wire.push(race.id, {"refs/heads/main": (None, race.root)}, race.pack(race.root, None)).ok, "the first push")
    wins = []

    def push(n, seed):
        mine, own = random.Random(seed), race.wire()
        for turn in t.rounds(steps):
            now = own.refs(race.id).get(name)
            new = None if now and mine.random() < 0.6 else race.commit(race.root, f"{turn} by {n}")
            answer = own.push(race.id, {name: (now, new)}, race.pack(new, race.root) if new else b"", atomic=mine.random() < 0.5)
            if answer.ok:
                wins.append((now or ZERO, new or ZERO))
            else:
                expect(len(answer.results[name].split()) > 3, "a sentence", answer)

    writers = [race.start(push, n, race.seeds.random()) for n in range(6)]
    race.start(race.clones)
    race.finish(*writers)
    # The successes are one way from absent to what it is now: each value is left as often as it was come to.
    balance = {}
    for old, new in wins:
        balance[old] = balance.get(old, 0) - 1
        balance[new] = balance.get(new, 0) + 1
    now = wire.refs(race.id).get(name, ZERO)
    wanted = {} if now == ZERO else {ZERO: -1, now: 1}
    same({k: v for k, v in balance.items() if v}, wanted, "the way of the ref")
