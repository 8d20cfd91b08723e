"""Random operations on several repositories, forks of forks among them, with a clock that the test moves: pushes, deletions
of refs and of repositories, checkpoints, maintenance, exports that are taken in again, restarts, kills and hand-overs. After each
one the refs of every repository are the model's, and again and again git looks at clones and at the folders.

What no ref reaches any more may be referred to without being sent until its grace is over, and is in no file once it is over
and maintenance ran. What was forced away before a fork is in none of the fork's files. So each repository's model knows when
an object left, and when a checkpoint has certainly seen it gone.

`make model-long` goes on with Rounds for as long as one likes; see fault/_long.py."""
import glob
import json
import os
import random
import shutil
import signal
import struct
import threading
import zlib

from harness import Repo, expect, same, test, wait_for
from harness.clock import Clock
from harness.core import Fail, sanitized, slowness
from harness.model import LOOKS, PUSHES, Model
from harness.pkt import COMMIT
from harness.raw import Objects, Wire, check_clone
from harness.server import run_warren
from harness.workers import logged, running, worker

IN_MEMORY = True
COST = 30
HOUR_MS = 3_600_000
GRACE_MS = 2 * HOUR_MS
SETTINGS = {"WARREN_GIT_CRUFT_GRACE": "2h", "WARREN_HTTP_REQUEST_TIMEOUT": "1h"}
# On one repository, which they choose by chance, and on all of them.
ON_ONE = {**PUSHES, **LOOKS, "git_clone": 0, "shallow": 0, "revive": 14, "secret": 8, "above": 3, "forget": 6, "foreign": 3,
          "checkpoint": 10, "maintain": 6, "fork": 7, "move_in": 2, "remove": 3, "look_at_clone": 3, "look_at_files": 3}
ON_ALL = {"later": 10, "restart": 2, "kill": 2, "kill_worker": 2, "hand_over": 2, "stop_for_a_while": 1}
MOST = 6  # repositories at a time


def index_ids(path):
    """The ids in a pack's index, version 2."""
    with open(path, "rb") as f:
        data = f.read()
    expect(data[:8] == b"\xfftOc\0\0\0\2", "an index of version 2", path)
    (count,) = struct.unpack(">I", data[8 + 255 * 4:8 + 256 * 4])
    at = 8 + 256 * 4
    return {data[at + 20 * i:at + 20 * i + 20].hex() for i in range(count)}


class Place(Model):
    """One repository of several. left: object to when it was reached last. settled: object to when a checkpoint had certainly
    found it unreached. gone: what maintenance dropped. marks: of some blobs, bytes that stand in files as they are."""

    def __init__(self, world, repo, name):
        super().__init__(world.t, repo, world.random, f"{world.what}, {name}", world.wire, world.objects)
        self.world, self.name = world, name
        self.turn = 1_000_000 * world.count  # so that no two repositories make the same commit
        self.left, self.settled, self.gone = {}, {}, set()

    # What the clock makes of objects.

    def push(self, wanted, extra=(), **how):
        before, began = self.reached(), self.world.now()
        super().push(wanted, extra=extra, **how)
        self.pushed(wanted, extra, before, began)

    def pushed(self, wanted, extra, before, began):
        """Something was accepted. What it brought and refers to is young again, whether refs reach it or not."""
        after = self.reached()
        brought = self.objects.closure([o for o in wanted.values() if o]) | self.objects.closure(extra)
        for oid in before | brought:
            self.settled.pop(oid, None)
        for oid in before - after:
            self.left[oid] = began
        for oid in after:
            self.left.pop(oid, None)
        self.gone -= after | brought

    def seen_by_checkpoint(self, began, whole):
        """A checkpoint that began then is done; a whole one leaves nothing of what was past its grace then."""
        if whole:
            for oid in [o for o, at in self.settled.items() if at + GRACE_MS + 2000 <= began]:
                del self.settled[oid]
                self.left.pop(oid, None)
                self.gone.add(oid)
        now, reached = self.world.now(), self.reached()
        for oid in (self.was | self.sent) - reached - self.gone:
            self.settled.setdefault(oid, now)

    def certain(self, oids):
        """Whether these, which no ref reaches, are all there (True), something is not (False), or nobody can know (None)."""
        if oids & self.gone or oids - self.was - self.sent:
            return False
        now = self.world.now()
        return True if all(oid in self.left and now - self.left[oid] < GRACE_MS for oid in oids) else None

    def refer(self, name, new):
        """A push that leaves out all that ever was here, whether it can be found or not."""
        reached, began = self.reached(), self.world.now()
        brought = self.objects.closure([new], self.was | self.sent | self.gone | reached)
        needed = self.objects.closure([new]) - reached - brought
        pack = self.objects.pack(brought, reached, self.random)
        said = self.wire.push(self.repo_id, {name: (self.refs.get(name), new)}, pack)
        expect(said.status == 200, f"{self.what}: a push", said)
        # Asked for afterwards: time has passed since.
        wanted = self.certain(needed)
        if said.ok:
            expect(wanted is not False, f"{self.what}: {new} was accepted, and needs what is gone", sorted(needed & self.gone)[:3])
            self.refs[name] = new
            self.was |= self.objects.closure([new], self.was)
            self.sent |= brought
            self.pushed({name: new}, (), reached, began)
        else:
            expect(wanted is not True, f"{self.what}: {new} was refused, and all that it needs has its grace", said)
            words = f"{said.unpack} {said.results}"
            expect("missing " in words or "not in the repository" in words, f"{self.what}: the sentence of a refusal", said)

    # Operations on refs.

    def lost_commits(self):
        return self.of_kind(COMMIT, (self.was | self.gone) - self.reached())

    def revive(self):
        """A ref to something that no ref reaches any more, or to a commit on top of it, without its objects."""
        lost = self.lost_commits()
        if not lost:
            return self.force()
        tip = self.random.choice(lost)
        name = self.free_name(self.random.choice(["refs/heads/", "refs/tags/", "refs/custom/"]))
        self.refer(name, tip if self.random.random() < 0.5 else self.commit(tip))

    def above(self):
        """A commit of its own, with a tree or a file of one that no ref reaches any more."""
        lost = self.lost_commits()
        if not lost:
            return self.secret()
        tree = self.objects.links[self.random.choice(lost)][0]
        if self.random.random() < 0.5:
            rows = self.rows(tree)
            name = self.random.choice(sorted(rows)) if rows else None
            tree = self.objects.tree({"own": self.blob(), **({"z" + name: rows[name]} if name else {})})
        self.turn += 1
        start = self.some_commit()
        new = self.objects.commit(tree, [start] if start else [], f"above {self.turn}")
        self.refer(self.free_name(), new)

    def secret(self):
        """A blob whose bytes stand in files as they are, so that a search finds it wherever it is left."""
        start = self.some_commit()
        data = self.random.randbytes(400)
        blob = self.objects.blob(data)
        self.world.marks[blob] = data
        tree = self.objects.tree({**(self.rows(self.objects.links[start][0]) if start else {}), f"secret{self.random.randrange(3)}": blob})
        self.turn += 1
        new = self.objects.commit(tree, [start] if start else [], f"secret {self.turn}")
        branches = self.branches()
        self.push({self.random.choice(branches) if branches and self.random.random() < 0.3 else self.free_name(): new})

    def forget(self):
        """Every ref that reaches some secret goes, or moves before it."""
        marks = sorted(set(self.world.marks) & self.reached())
        if not marks:
            return self.secret()
        secret = self.random.choice(marks)
        clean = [c for c in self.of_kind(COMMIT, self.reached()) if secret not in self.objects.closure([c])]
        wanted = {}
        for name in [n for n in self.refs if secret in self.reached(n)]:
            if name != self.default_ref and (not clean or self.random.random() < 0.5):
                wanted[name] = None
            else:
                self.turn += 1
                wanted[name] = self.random.choice(clean) if clean else self.objects.commit(self.objects.tree({}), [], f"anew {self.turn}")
        self.push(wanted, atomic=self.random.random() < 0.5)

    def foreign(self):
        """What another repository has is not there because of that."""
        theirs = set().union(*[p.reached() for p in self.world.places if p is not self])
        theirs = self.of_kind(COMMIT, theirs - self.was - self.sent - self.gone)
        if not theirs:
            return self.grow()
        tip = self.random.choice(theirs)
        said = self.wire.push(self.repo_id, {self.free_name(): (None, tip)}, self.objects.pack(()))
        expect(said.status == 200 and not said.accepted(), f"{self.what}: a commit that only another repository has", said)

    # Care.

    def checkpoint(self):
        began = self.world.now()
        self.world.run("repo", "checkpoint", self.repo_id)
        self.seen_by_checkpoint(began, False)

    def maintain(self):
        self.maintain_alone()
        self.look_at_size()

    def maintain_alone(self):
        began = self.world.now()
        self.world.run("repo", "maintain", self.repo_id, *(["--redelta"] if self.random.random() < 0.2 else []))
        self.seen_by_checkpoint(began, True)
        self.look_at_files()

    def fork(self):
        if len(self.world.places) >= MOST:
            return self.remove()
        heads = self.branches()
        branch = self.random.choice(heads) if heads and self.random.random() < 0.3 else None
        made = self.world.run("repo", "fork", self.repo_id, *(["--branch", branch[len("refs/heads/"):]] if branch else []))
        refs = {n: o for n, o in self.refs.items() if n == branch or (not branch and n.startswith(("refs/heads/", "refs/tags/")))}
        place = self.world.add(made["repoId"], refs, self.name + "f")
        place.default_ref = branch or self.default_ref
        place.look_at_files(exact=True)

    def move_in(self):
        """Out to a folder, which git compares with the model, and in again as another repository."""
        if not self.refs or len(self.world.places) >= MOST:
            return self.remove()
        path = self.t.path(f"out-{os.urandom(4).hex()}.git")
        self.world.run("repo", "export", self.repo_id, path, *self.maybe_link())
        same(self.t.git.refs(path), self.refs, f"{self.what}: refs of what went out")
        self.judge(path, "what went out")
        made = self.world.run("repo", "adopt", self.world.account.name, path, *self.maybe_link())
        place = self.world.add(made["repoId"], self.refs, self.name + "a")
        place.default_ref = "refs/heads/" + made["defaultBranch"]
        if self.random.random() < 0.7:
            shutil.rmtree(path)
        place.look_at_files(exact=True)

    def maybe_link(self):
        return ["--link"] if self.random.random() < 0.5 else []

    def remove(self):
        if len(self.world.places) < 2:
            return self.grow()
        self.world.account.api.delete(self.repo.path).empty()
        self.world.places.remove(self)
        self.world.removed.append(self.repo_id)

    # Looking.

    def look_at_clone(self):
        check_clone(self.wire, self.objects, self.repo_id, self.refs, self.what)
        self.git_clone()

    def judge(self, path, what):
        """git likes the folder, and it has what the refs reach and nothing else."""
        self.t.git("-c", "safe.directory=*", "fsck", "--full", "--strict", "--no-dangling", cwd=path)
        listed = self.t.git("-c", "safe.directory=*", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)", cwd=path)
        same(set(listed.split()), self.reached(), f"{self.what}: objects of {what}")

    @property
    def path(self):
        found = glob.glob(os.path.join(self.world.server.data, "repos", "*", "*", self.repo_id + ".git"))
        return found[0] if found else None

    def contents(self):
        """{file: bytes} of the whole folder."""
        found = {}
        for folder, _, names in os.walk(self.path) if self.path else ():
            for name in names:
                try:
                    with open(os.path.join(folder, name), "rb") as f:
                        found[os.path.relpath(os.path.join(folder, name), self.path)] = f.read()
                except FileNotFoundError:
                    pass  # swept meanwhile
        return found

    def found_marks(self, blobs):
        """{blob: files that have its bytes} of marked blobs."""
        files = self.contents()
        found = {blob: sorted(name for name, data in files.items() if self.world.marks[blob] in data) for blob in blobs}
        return {blob: names for blob, names in found.items() if names}

    def look_at_files(self, exact=False):
        """What is gone is in no file. exact: nor is anything else that no ref reaches; the repository is new."""
        reached = self.reached()
        marks = set(self.world.marks)
        away = marks - reached if exact else marks & self.gone
        try:
            # Journals stay until their events are handed over.
            wait_for(lambda: not away or not self.found_marks(away), f"{self.what}: the end of bytes that are gone", 20)
        except Fail as e:
            raise Fail(f"{e}: {self.found_marks(away)}") from None
        same(set(self.found_marks(marks & reached)), marks & reached, f"{self.what}: marked bytes that refs reach, in files")
        stored = set().union(*[index_ids(p) for p in glob.glob(os.path.join(self.path or "", "objects", "pack", "*.idx"))])
        same(stored & self.gone, set(), f"{self.what}: objects that are gone, in packs")
        if exact:
            same(stored, reached, f"{self.what}: objects of a new repository")

    def look_at_size(self):
        """After maintenance: a quarter more than git's repack needs for the same refs, and what no ref reaches as it is."""
        if not self.refs:
            return
        copy = self.t.git.mirror(self.repo.url(), self.t.path(f"size-{os.urandom(4).hex()}"))
        self.t.git("repack", "-adq", cwd=copy)
        best = sum(os.path.getsize(p) for p in glob.glob(os.path.join(copy, "objects", "pack", "*.pack")))
        shutil.rmtree(copy)
        packs = self.world.run("repo", "show", self.repo_id)["packs"]
        kept = sum(p["bytes"] for p in packs if p["role"] != "cruft")
        cruft = sum(p["bytes"] for p in packs if p["role"] == "cruft")
        unreached = (self.was | self.sent) - self.reached() - self.gone
        most = sum(len(zlib.compress(self.objects.all[o][1], 1)) + 40 + 40 for o in unreached) + 4096
        expect(kept <= best * 5 // 4 + 4096, f"{self.what}: bytes of its packs", kept, best)
        expect(cruft <= most, f"{self.what}: bytes of what no ref reaches", cruft, most)


class World:
    """A server, and repositories that come and go."""

    def __init__(self, rounds, r, what):
        self.rounds, self.random, self.what = rounds, r, what
        self.t, self.server, self.account, self.clock = rounds.t, rounds.server, rounds.account, rounds.clock
        self.objects, self.marks = Objects(), {}
        self.felt_ms = rounds.clock.ahead_ms
        self.wire = Wire(self.server.url, self.account.key)
        self.places, self.removed, self.said, self.count = [], [], [], 0
        for _ in range(2):
            self.add(self.account.repo(name="model").id, {}, "")

    def now(self):
        """What the process that serves takes for the time."""
        return self.clock.now_ms() - self.clock.ahead_ms + self.felt_ms

    def run(self, *args):
        status, out, err = run_warren(*args, "--data", self.server.data, env={**self.server.env})
        same(status, 0, f"{self.what}: warren {' '.join(args)}: exit status, with {out!r} {err!r}")
        return json.loads(out)

    def add(self, repo_id, refs, name):
        self.count += 1
        place = Place(self, Repo(self.account, repo_id), f"r{self.count}{name}")
        place.refs = dict(refs)
        place.was = place.reached()
        self.places.append(place)
        return place

    # The server.

    def hang_up(self):
        for client in [self.wire, *self.server.clients]:
            client.close()

    def served_anew(self):
        """Another process serves now, which believes the clock."""
        self.felt_ms = self.clock.ahead_ms
        self.hang_up()
        self.wire = Wire(self.server.url, self.account.key)
        for place in self.places:
            place.wire = self.wire

    def later(self):
        """Time passes: a little, up to the end of the grace, or beyond it. Seen by the next process."""
        self.clock.move(self.random.choice([60_000, HOUR_MS, GRACE_MS // 2, GRACE_MS - 30_000, GRACE_MS, GRACE_MS * 9 // 8, 3 * GRACE_MS]))
        getattr(self, self.random.choice(["restart", "kill", "kill_worker", "hand_over"]))()

    def restart(self):
        self.server.stop()
        self.server.start()
        self.served_anew()

    def kill(self):
        self.server.kill()
        self.server.start()
        self.served_anew()

    def kill_worker(self):
        """Its supervisor starts another one."""
        before = wait_for(lambda: worker(self.server), "one worker")
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: worker(self.server) not in (None, before), "another worker")
        self.ready()

    def hand_over(self):
        before = wait_for(lambda: worker(self.server), "one worker")
        done = len(logged(self.server, "upgrade.ends"))
        os.kill(self.server.pid, signal.SIGUSR2)
        wait_for(lambda: len(logged(self.server, "upgrade.ends")) > done, "the next program")
        if self.random.random() < 0.95:
            self.hang_up()  # else the old worker waits for the connection, which may have a request to come
        wait_for(lambda: not running(before), "the end of the old worker")
        wait_for(lambda: worker(self.server), "the new worker alone")
        self.ready()

    def ready(self):
        """The listening socket is the supervisor's: who comes too early waits."""
        self.served_anew()
        same(self.wire.request("GET", "/healthz")[0], 200, "the new worker")

    def stop_for_a_while(self):
        """Commands do without a server, and plain git reads the folders after a checkpoint."""
        self.server.stop()
        self.served_anew()
        for place in self.places:
            place.checkpoint()
            if place.path and place.refs:
                same(self.t.git.refs(place.path), place.refs, f"{place.what}: refs of the folder")
                self.t.git("-c", "safe.directory=*", "fsck", "--full", "--strict", "--no-dangling", cwd=place.path)
        place = self.random.choice(self.places)
        getattr(place, self.random.choice(["maintain_alone", "checkpoint", *(["fork"] if len(self.places) < MOST else [])]))()
        self.server.start()
        self.served_anew()

    # Steps.

    def step(self, operation):
        place = self.random.choice(self.places)
        on_one = operation in ON_ONE
        self.said = [*self.said[-14:], f"{operation}({place.name})" if on_one else operation]
        try:
            getattr(place if on_one else self, operation)()
            self.look()
        except Exception as e:
            raise Fail(f"{self.what}, operations {' '.join(self.said)}: {e}") from e

    def look(self):
        for place in self.places:
            listed = self.wire.ls_refs(place.repo_id)
            same({n: oid for n, (oid, _) in listed.items()}, place.refs, f"{place.what}: refs")

    def removed_files(self):
        return sorted(name for name in self.server.files("repos") if any(i in name for i in self.removed))

    def end(self):
        """All at rest: every repository by git, before and after all that is past its grace went."""
        for place in self.places:
            place.look_at_clone()
            self.server.verify(place.repo_id)
            place.checkpoint()
        self.step("stop_for_a_while")
        self.clock.move(2 * GRACE_MS)
        self.step("restart")
        for place in self.places:
            place.maintain()
            place.look_at_clone()
            place.by_id()
            self.server.verify(place.repo_id)
        wait_for(lambda: not self.removed_files(), f"{self.what}: the files of deleted repositories")
        for place in self.places[1:]:
            place.remove()
        self.wire.close()


class Rounds:
    """Each round has repositories of its own, and some hundred operations on them."""

    PER_FOLDER = 10
    OPERATIONS = 200

    def __init__(self, t, seed):
        self.t, self.seed = t, seed
        self.clock = Clock(t.path("clock"))
        self.server = t.own_server(env={**self.clock.environment, **SETTINGS})
        self.account = self.server.account()

    def round(self, n, operations=None):
        world = World(self, random.Random(f"{self.seed}:{n}"), f"seed {self.seed}, round {n}")
        weights = {**ON_ONE, **ON_ALL}
        for name in world.random.choices(list(weights), list(weights.values()), k=operations or self.OPERATIONS):
            world.step(name)
        world.end()
        return world

    def close(self):
        self.server.stop()


@test
def some_hundred_operations(t):
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(1 if sanitized() else 2):
        rounds.round(n, 60 if sanitized() else None)
    rounds.close()


class Care(threading.Thread):
    """A checkpoint or maintenance beside pushes."""

    def __init__(self, place, what):
        super().__init__(daemon=True)
        self.place, self.what, self.wrong = place, what, None

    def run(self):
        try:
            self.place.world.run("repo", self.what, self.place.repo_id)
        except BaseException as e:  # pylint: disable=broad-except
            self.wrong = e


def rely_beside(world, when, what):
    """Pushes that refer to what only cruft has while a checkpoint runs on a slow disk, when its grace is this old."""
    r = world.random
    place = world.add(world.account.repo(name="relied on").id, {}, "")
    world.said = [f"{what} {when} the end of the grace"]
    for _ in range(3):
        place.secret()
    lost = place.commit(place.some_commit())
    place.push({"refs/heads/lost": lost})
    if r.random() < 0.5:
        place.checkpoint()
    place.push({"refs/heads/lost": None})
    place.checkpoint()
    passed = world.now() - place.left[lost]
    world.clock.move({"before": GRACE_MS - 60_000, "at": GRACE_MS - passed - 300, "after": GRACE_MS + 60_000}[when])
    getattr(world, r.choice(["restart", "kill", "kill_worker", "hand_over"]))()
    place.grow()
    world.clock.slow(r.choice([5, 20, 60]))
    care = Care(place, what)
    care.start()
    n = 0
    while care.is_alive() or n == 0:
        n += 1
        care.join(r.uniform(0, 0.1))
        name = f"refs/heads/again{n}"
        place.refer(name, r.choice([lost, place.commit(lost)]))
        if name in place.refs and r.random() < 0.5:
            place.push({name: None})
    care.join()
    world.clock.slow(0)
    if care.wrong is not None:
        raise care.wrong
    world.look()
    place.look_at_clone()
    world.server.verify(place.repo_id)
    for name in ("checkpoint", "look_at_clone", "stop_for_a_while", "look_at_clone"):
        getattr(place if name in ON_ONE else world, name)()
    world.server.verify(place.repo_id)
    # In the end it is gone, by its name at least, and comes back only with all that belongs to it.
    place.push({name: None for name in place.refs if name.startswith("refs/heads/again")} or {"refs/heads/more": place.commit()})
    place.checkpoint()
    world.clock.move(2 * GRACE_MS)
    world.restart()
    place.maintain()
    expect(lost in place.gone, f"{place.what}: what the model says of what nobody keeps", lost)
    place.refer("refs/heads/lost", lost)
    expect("refs/heads/lost" not in place.refs, f"{place.what}: a ref to what is gone")
    place.push({"refs/heads/lost": lost})
    place.look_at_clone()
    world.server.verify(place.repo_id)
    world.look()


@test
def relied_on_beside_a_checkpoint(t):
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(1):
        world = World(rounds, random.Random(f"{rounds.seed}:beside:{n}"), f"seed {rounds.seed}, beside {n}")
        for when in ("before", "at", "after"):
            rely_beside(world, when, world.random.choice(["checkpoint", "maintain"]))
        world.wire.close()
    rounds.close()
