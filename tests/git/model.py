"""Random operations against a model in memory: after each one the server's refs are the model's, and every pack that it sends
holds exactly what the refs reach, whatever was pushed, moved, rewound and deleted before, and after checkpoints, restarts
and kills as well.

`make model-long` goes on with Rounds for as long as one likes; see fault/_long.py."""
import glob
import http.client
import os
import random
import socket

from harness import expect, same, test
from harness import pkt
from harness.core import sanitized, slowness
from harness.model import LOOKS, PUSHES, Model
from harness.raw import FETCH, Objects, Wire, check_clone, unpack
from harness.server import run_warren

IN_MEMORY = True
COST = 14
OPERATIONS = {**PUSHES, **LOOKS, "checkpoint": 4, "restart": 1, "kill": 1}


class World(Model):
    """One repository, and the server that has it."""

    def __init__(self, rounds, r, what):
        super().__init__(rounds.t, rounds.account.repo(name="model"), r, what, rounds.wire())
        self.rounds, self.server = rounds, rounds.server

    def checkpoint(self):
        status, _, err = run_warren("repo", "checkpoint", self.repo_id, "--data", self.server.data)
        same(status, 0, f"{self.what}: checkpoint: {err}")
        if self.random.random() < 0.3:
            self.clone()

    def restart(self):
        self.server.stop()
        self.server.start()
        self.wire = self.rounds.wire()

    def kill(self):
        self.server.kill()
        self.server.start()
        self.wire = self.rounds.wire()


class Rounds:
    """Each round is a repository of its own, and some hundred operations on it; the ones before are looked at again."""

    PER_FOLDER = 20
    OPERATIONS = 250

    def __init__(self, t, seed):
        self.t, self.seed = t, seed
        self.server = t.own_server()
        self.account = self.server.account()
        self.worlds = []

    def wire(self):
        return Wire(self.server.url, self.account.key)

    def round(self, n, operations=None):
        r = random.Random(f"{self.seed}:{n}")
        world = World(self, r, f"seed {self.seed}, round {n}")
        for name in r.choices(list(OPERATIONS), list(OPERATIONS.values()), k=operations or self.OPERATIONS):
            world.step(name)
        self.end(world)
        self.worlds = [*self.worlds[-3:], world]
        for older in self.worlds:
            older.wire = self.wire()
            older.step("clone")

    def end(self, world):
        """All at rest: with git, before and after a checkpoint, and what was left behind is asked for by its id."""
        for name in ("git_clone", "checkpoint", "clone", "by_id", "git_clone", "restart", "git_clone", "by_id"):
            world.step(name)
            if name == "checkpoint":
                self.folder(world)
        self.server.verify(world.repo_id)

    def folder(self, world):
        """After a checkpoint plain git reads the folder itself."""
        (path,) = glob.glob(os.path.join(self.server.data, "repos", "*", "*", world.repo_id + ".git"))
        config = ("-c", "safe.directory=*")
        same(self.t.git.refs(path), world.refs, f"{world.what}: refs of the folder")
        self.t.git(*config, "fsck", "--full", "--strict", "--no-dangling", cwd=path)
        self.t.git(*config, "log", "--oneline", "--all", cwd=path)

    def close(self):
        self.server.stop()


@test
def a_thousand_operations(t):
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(1 if sanitized() else 4):
        rounds.round(n, 100 if sanitized() else None)
    rounds.close()


@test
def after_each_checkpoint(t):
    """A checkpoint after every few operations, so that there are always several generations."""
    rounds = Rounds(t, t.random.randrange(1 << 31))
    for n in t.rounds(1):
        r = random.Random(f"{rounds.seed}:dense:{n}")
        world = World(rounds, r, f"seed {rounds.seed}, dense round {n}")
        names = [k for k in OPERATIONS if k not in ("restart", "kill", "checkpoint")]
        for _ in range(15 if sanitized() else 60):
            for name in r.choices(names, [OPERATIONS[k] for k in names], k=r.choice([1, 2, 4])):
                world.step(name)
            world.step("checkpoint")
            world.step("clone")
        rounds.end(world)
    rounds.close()


def slow_clone(server, account, repo_id, refs):
    """A clone that has begun to arrive: its answer, of which hardly anything was read, and little fits into buffers."""
    host, port = server.url.split("//")[1].split(":")
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    s.settimeout(60 * slowness())
    s.connect((host, int(port)))
    body = pkt.pkts("command=fetch\n", pkt.DELIM, "ofs-delta\n", *[f"want {w}\n" for w in sorted(set(refs.values()))], "done\n", pkt.FLUSH)
    head = "".join(f"{k}: {v}\r\n" for k, v in {
        "Host": "x", "Authorization": f"Bearer {account.key}", "Git-Protocol": "version=2", "Content-Length": len(body), **FETCH}.items())
    s.sendall(f"POST /{repo_id}.git/git-upload-pack HTTP/1.1\r\n{head}\r\n".encode() + body)
    answer = http.client.HTTPResponse(s)
    answer.begin()
    same(answer.status, 200, "status of a slow clone")
    return s, answer, answer.read(1000)


@test
def slow_clones_outlive_checkpoints(t):
    """Readers hold what they began with: packs and journals that checkpoints have long replaced."""
    server = t.own_server()
    account = server.account()
    repo_id = account.repo().id
    wire, objects, r = Wire(server.url, account.key), Objects(), t.random
    refs, readers, last = {}, [], None

    def push(name, new):
        oids = objects.closure([new], objects.closure(refs.values()))
        said = wire.push(repo_id, {name: (refs.get(name), new)}, objects.pack(oids))
        expect(said.ok, "a push", said)
        refs[name] = new
    for i in range(4):
        # Some megabytes as a pack, some in the journal.
        for size in [3_000_000, *[400_000] * 6]:
            last = objects.commit(objects.tree({f"f{i}": objects.blob(r.randbytes(size))}), [last] if last else [], f"{i} {size}")
            push("refs/heads/main", last)
        readers.append((*slow_clone(server, account, repo_id, refs), dict(refs)))
        t.stack.callback(readers[-1][0].close)
        if i == 2:
            last = objects.commit(objects.tree({"new": objects.blob(b"a rewind")}), [], "rewound")
            push("refs/heads/main", last)
        server.cli("repo", "checkpoint", repo_id)
    for s, answer, first, had in readers:
        packets = pkt.parse(first + answer.read())
        got = unpack(pkt.bands(packets[1:])[1])
        same(set(got), objects.closure(had.values()), "what a slow clone got")
        s.close()
    check_clone(wire, objects, repo_id, refs, "a clone at the end")
