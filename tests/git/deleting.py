"""Deletion: answers at once, what is under way ends cleanly, and the disk is given back whatever happens in between."""
import http.client
import json
import os
import random
import select
import sqlite3
import threading
import time

from harness import expect, same, test, wait_for
from harness.core import sanitized, slowness
from harness.pkt import DELIM, FLUSH, ZERO, pkts, push_body, report
from harness.raw import FETCH, PUSH, Objects, Wire, unpack
from harness.slow import SlowClone, SlowPush
from harness.traffic import Lane
from harness.workers import logged

CONCURRENT = True
COST = 8


def left(server, repo_ids=None):
    """Files and folders of these repositories, or of any."""
    found = []
    for folder, folders, files in os.walk(os.path.join(server.data, "repos")):
        names = folders + files if folder.count(os.sep) - server.data.count(os.sep) >= 3 else files
        found += [os.path.join(folder, n) for n in names if repo_ids is None or any(r in os.path.join(folder, n) for r in repo_ids)]
    return found


def until_gone(server, *repos):
    """Nothing is left of them: no folder, no row."""
    ids = [repo.id for repo in repos]
    wait_for(lambda: not left(server, ids), "the removal of folders")

    def no_row():
        db = sqlite3.connect(f"file:{os.path.join(server.data, 'warren.db')}?mode=ro", uri=True, timeout=30)
        try:
            return not {row[0] for row in db.execute("SELECT id FROM repo")} & set(ids)
        finally:
            db.close()
    wait_for(no_row, "the removal of rows")


def delete(repo):
    repo.account.api.delete(repo.path).empty()
    repo.account.api.get(repo.path).error("REPOSITORY_NOT_FOUND")


def fill(repo, size=3000):
    """One commit; (its id, the objects)."""
    objects = Objects()
    tip = objects.commit(objects.tree({"f": objects.blob(os.urandom(size))}))
    said = Wire(repo.account.server.url, repo.account.key).push(
        repo.id, {"refs/heads/main": (None, tip)}, objects.pack(objects.closure([tip])))
    expect(said.ok, "a push", said)
    return tip, objects


def refused(status, body):
    """In order: the repository is not there, or went in the last moment: its row first, which gives the permission."""
    if status == 200:
        unpacked, results = report(body)
        why = unpacked + " ".join(results.values())
        expect(any(word in why for word in ("deleted", "withdrawn", "Not found")), "why it was refused", unpacked, results)
        expect("ok" not in results.values(), "nothing was accepted", results)
        return
    same(status, 404, "status of a push")
    expect(b"not found" in body.lower() or b"deleted" in body, "why it was refused", body)
    expect(not body.startswith(b"{") or b'_NOT_FOUND"' in body, "the API's code for it", body)


@test
def a_clone_under_way_ends_whole(t):
    server = t.own_server()
    repo = server.account().repo()
    tip, objects = fill(repo, 12_000_000)
    clones = [SlowClone(repo, [tip]) for _ in range(3)]
    for clone in clones:
        expect(select.select([clone.connection.sock], [], [], 60)[0], "the beginning of the answer")
    delete(repo)
    until_gone(server, repo)
    for clone in clones:
        status, data = clone.answer()
        same(status, 200, "status")
        same(set(unpack(data)), objects.closure([tip]), "objects of the clone")


@test
def a_push_under_way_is_refused_with_a_sentence(t):
    """The first one of a repository, and a later one."""
    server = t.own_server()
    for later in (False, True):
        repo = server.account().repo()
        if later:
            fill(repo)
        push = SlowPush(repo)
        push.send(0.5)
        wait_for(lambda: any(size > 1_000_000 for size in server.files("run").values()), "the beginning of the push")
        delete(repo)
        until_gone(server, repo)
        push.send(1)
        status, body = push.answer()
        refused(status, body)
        wait_for(lambda: not any(server.files("run").values()), "the removal of what was pushed")
        same(left(server), [], "what is in repos/")


class Admitted:
    """A request that was let in, by its head; the body is sent when the test asks for it."""

    def __init__(self, repo, path, body, headers):
        url = repo.account.server.url.split("//")[1]
        self.body = body
        self.connection = http.client.HTTPConnection(*url.split(":"), timeout=60 * slowness())
        self.connection.putrequest("POST", path)
        headers = {**headers, "Expect": "100-continue", "Content-Length": str(len(body)), "Authorization": f"Bearer {repo.account.key}"}
        for header, value in headers.items():
            self.connection.putheader(header, value)
        self.connection.endheaders()
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            got = self.connection.sock.recv(1)
            expect(got, "the word to go on", head)
            head += got
        expect(head.startswith(b"HTTP/1.1 100 "), "the word to go on", head)

    def answer(self):
        self.connection.send(self.body)
        reply = self.connection.getresponse()
        return reply.status, reply.read()


@test
def what_was_let_in_before_and_comes_when_nothing_is_left(t):
    """The repository is gone from disk, table and memory, so that it would look empty: it never does."""
    server = t.own_server()
    repo = server.account().repo()
    tip, objects = fill(repo)
    known = set(objects.all)
    blob = next(oid for oid, (kind, _) in objects.all.items() if kind == 3)
    later = objects.commit(objects.tree({"f": blob, "g": objects.blob(b"two")}), [tip])
    thin = objects.pack(objects.closure([later]) - known)
    push = lambda old, new, data, ref="refs/heads/main": (f"/{repo.id}.git/git-receive-pack", push_body([(old, new, ref)], data), PUSH)
    fetch = lambda command, *rest: (f"/{repo.id}.git/git-upload-pack", pkts(f"command={command}\n", DELIM, *rest, FLUSH),
                                    {**FETCH, "Git-Protocol": "version=2"})
    api = lambda path, **body: (f"/git/v1/repo/{repo.id}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    requests = [
        push(tip, later, thin), push(ZERO, later, thin), push(ZERO, tip, objects.pack(known)), push(tip, later, b""),
        push(tip, ZERO, b"", "refs/heads/other"), push(ZERO, tip, b"PACK"), fetch("ls-refs", "peel\n"), fetch("fetch", f"want {tip}\n", "done\n"),
        api("/commits", message="m", files=[{"path": "a", "content": "b"}]), api("/git/refs/heads/other", sha=tip), api("/git/refs/heads/other"),
        api("/git/commits", message="m", tree=objects.tree({}), parents=[tip]),
    ]
    # What was written to of late is kept in memory, by who has events to hand over.
    server.restart()
    waiting = [Admitted(repo, *request) for request in requests]
    delete(repo)
    until_gone(server, repo)
    wait_for(lambda: any(line["repo"] == repo.id for line in logged(server, "repo.removed")), "the end of the removal")
    for (path, _, _), client in zip(requests, waiting):
        status, body = client.answer()
        if path.endswith("receive-pack"):
            refused(status, body)
        else:
            same(status, 404, f"status of {path}")
            expect(b'"REPOSITORY_NOT_FOUND"' in body or b"not found" in body.lower(), f"the words for {path}", body)
            expect(b"BRANCH" not in body and b"COMMIT" not in body, f"what is missing for {path}", body)
    same(left(server), [], "what is in repos/")


@test
def what_git_says_when_a_repository_goes(t):
    repo = t.account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b"})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    delete(repo)
    for what in (("push", repo.url(), "main:other"), ("fetch", repo.url()), ("clone", repo.url(), t.path("clone"))):
        said = t.git.fails(*what, cwd=work)
        expect("not found" in str(said), "what git says", what, said)


def job_end(server, made):
    def ended():
        job = server.cli("job", "show", made["jobId"])
        return job["state"] in ("done", "failed", "cancelled") and job
    return wait_for(ended, "the job's end")


@test
def jobs_on_what_goes(t):
    """A fork or an export comes to its end, or says that the repository is not there; and leaves nothing in half."""
    server = t.own_server()
    account = server.account()
    for n in t.rounds(8):
        repo = account.repo()
        lane = Lane("w", random.Random(t.random.random()), {"files": 1, "large": 1, "rewind": 1})
        wire = Wire(server.url, account.key)
        for _ in range(4):
            lane.step(wire, repo.id)
        out = t.path(f"out-{n}")
        command = ("repo", "fork", repo.id) if n % 2 else ("repo", "export", repo.id, out)
        made = server.cli(*command, "--detach")
        time.sleep(t.random.random() * 0.03)
        delete(repo)
        job = job_end(server, made)
        if job["state"] == "done" and n % 2:
            same(job["result"]["refs"], 1, "refs of the fork: it is not what is left of its source")
            server.verify(made["repoId"])
            until_gone(server, repo)
            server.verify(made["repoId"])
            continue
        if job["state"] == "done":
            t.git("fsck", "--full", "--strict", cwd=out)
        else:
            same(job["error"]["code"], "REPOSITORY_NOT_FOUND", f"why {command[1]} failed: {job['error']}")
            same(os.path.exists(out), False, "something is there in half")
            wait_for(lambda: not left(server, [made["repoId"]]), "the removal of what failed")
        until_gone(server, repo)


@test
def a_server_that_is_killed_after_the_answer(t):
    server = t.own_server()
    account = server.account()
    stays = account.repo()
    tip, _ = fill(stays)
    for n in t.rounds(3):
        repos = [account.repo() for _ in range(30)]
        for repo in repos:
            fill(repo)
        for repo in repos:
            account.api.delete(repo.path).empty()
        if n % 2:
            time.sleep(t.random.random() * 0.1)
        server.kill()
        server.start()
        for repo in repos[::7]:
            account.api.get(repo.path).error("REPOSITORY_NOT_FOUND")
        until_gone(server, *repos)
        same(Wire(server.url, account.key).refs(stays.id), {"refs/heads/main": tip}, "the one that stays")
        expect(all(stays.id in path for path in left(server)), "nothing else is left", left(server))


@test
def pushes_beside_deletions(t):
    """Each push is accepted, or refused in order; whatever it was, nothing of the repository is left."""
    server = t.own_server()
    account = server.account()
    for turn in t.rounds(3):
        repos = [account.repo() for _ in range(6)]
        troubles = []

        def write(repo, name, seed):
            lane, wire = Lane(name, random.Random(seed), large=1_100_000), Wire(server.url, account.key)
            try:
                while True:
                    commands, pack, atomic = lane.prepare()
                    said = wire.push(repo.id, commands, pack, atomic)
                    lane.settled(said.accepted())
                    if not said.ok:
                        refused(said.status, said.body)
                        return
            except BaseException as e:  # pylint: disable=broad-except
                troubles.append(e)

        threads = [threading.Thread(target=write, args=(repo, f"w{i}", t.random.random())) for repo in repos for i in range(2)]
        for thread in threads:
            thread.start()
        for repo in repos:
            time.sleep(t.random.random() * 0.1)
            if t.random.random() < 0.5:
                server.cli("repo", "checkpoint", repo.id)
            account.api.delete(repo.path).empty()
        for thread in threads:
            thread.join()
        if troubles:
            raise troubles[0]
        until_gone(server, *repos)
        same(left(server), [], f"round {turn}: what is in repos/")
        wait_for(lambda: not any(server.files("run").values()), "the removal of what was pushed")


@test
def many_deletions(t):
    """Hundreds, by four clients at once: all that they took comes back, and who lives beside them notices nothing."""
    server = t.own_server()
    account, other = server.account(), server.account()
    stays = other.repo()
    tip, objects = fill(stays)
    pack = objects.pack(objects.closure([tip]))
    count, troubles = 100 if sanitized() else len(t.rounds(400)), []
    ids = [[] for _ in range(4)]

    def make(mine):
        wire = Wire(server.url, account.key)
        for _ in range(count // 4):
            status, body = wire.request("POST", "/git/v1/repo", b"{}", {"Content-Type": "application/json"})
            same(status, 200, "a creation")
            mine.append(json.loads(body)["repoId"])
            expect(wire.push(mine[-1], {"refs/heads/main": (None, tip)}, pack).ok, "a push")

    def remove(mine):
        wire = Wire(server.url, account.key)
        for repo in mine:
            same(wire.request("DELETE", f"/git/v1/repo/{repo}")[0], 200, "a deletion")

    def at_once(function):
        def guard(mine):
            try:
                function(mine)
            except BaseException as e:  # pylint: disable=broad-except
                troubles.append(e)
        threads = [threading.Thread(target=guard, args=(mine,)) for mine in ids]
        for thread in threads:
            thread.start()
        return threads

    for thread in at_once(make):
        thread.join()
    wire = Wire(server.url, other.key)
    threads = at_once(remove)
    while any(thread.is_alive() for thread in threads) or left(server, sum(ids, [])):
        same(wire.refs(stays.id), {"refs/heads/main": tip}, "the one that stays")
        time.sleep(0.05)
    if troubles:
        raise troubles[0]
    wait_for(lambda: server.cli("account", "list")["accounts"][0]["repositories"] == 0, "the rows")
    expect(all(stays.id in path for path in left(server)), "nothing else is left", left(server)[:5])
    server.verify(stays.id)
