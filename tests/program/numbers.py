"""More repositories than may be open: what a server holds of them stays within its bounds, and every request is answered."""
import http.client
import json
import os
import threading

from harness import expect, same, test, wait_for
from harness.core import slowness, warren
from harness.pkt import ZERO, entry, pack, parse, push_body, report, small
from harness.raw import PUSH, unpack
from harness.slow import SlowClone
from harness.workers import worker

COST = 20
REPOS = 120
KEPT = 16
# Those that were written to are let go soon.
SOON = "[maintenance]\nquiet = 200ms\n"
READERS = 8
# A repository without a checkpoint: its folder, warren/, the lock and a journal, which is mapped.
FILES, MAPS = 4, 1


def held(server):
    """(open locks, open files, maps) of repositories, in the process that serves."""
    pid, files = worker(server), []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            files.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    files = [path for path in files if "/repos/" in path]
    with open(f"/proc/{pid}/maps", encoding="ascii") as f:
        maps = sum("/repos/" in line for line in f)
    return sum(path.endswith("/warren/lock") for path in files), len(files), maps


class Client:
    """A kept connection."""

    def __init__(self, account):
        self.key = account.key
        self.connection = http.client.HTTPConnection(*account.server.url.split("//")[1].split(":"), timeout=60 * slowness())

    def ask(self, method, path, body=None, headers=None):
        self.connection.request(method, path, body, {"Authorization": f"Bearer {self.key}", **(headers or {})})
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def in_turns(account, repos, clients, work):
    """work(client, repo) for each, by several clients; what went wrong first is raised."""
    failures = []

    def run(mine):
        client = Client(account)
        try:
            for repo in mine:
                work(client, repo)
        except Exception as e:
            failures.append(e)
        finally:
            client.connection.close()
    threads = [threading.Thread(target=run, args=(repos[c::clients],)) for c in range(clients)]
    for thread in threads:
        thread.start()
    return threads, failures


def finished(threads, failures):
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def fill(account, count):
    """Repositories with a commit of their own each: {id: tip}."""
    ids = [account.repo().id for _ in range(count)]
    tips = {}

    def first(client, repo):
        tip, objects = small(repo, repo.encode())
        body = push_body([(ZERO, tip, "refs/heads/main")], pack([entry(k, d) for k, d in objects]))
        status, answer = client.ask("POST", f"/{repo}.git/git-receive-pack", body, PUSH)
        same(status, 200, "status of a first push")
        same(report(answer), ("ok", {"refs/heads/main": "ok"}), "its report")
        tips[repo] = tip
    finished(*in_turns(account, ids, READERS, first))
    return tips


def read_all(account, tips, random, times, look):
    """All of them by several clients, in an order by chance; look() all the while."""
    def advert(client, repo):
        status, answer = client.ask("GET", f"/{repo}.git/info/refs?service=git-upload-pack")
        same(status, 200, "status")
        expect(tips[repo].encode() in answer, "its own tip", repo, answer[:300])
    order = [repo for _ in range(times) for repo in random.sample(sorted(tips), len(tips))]
    threads, failures = in_turns(account, order, READERS, advert)
    while any(thread.is_alive() for thread in threads):
        look()
    finished(threads, failures)


@test
def open_repositories_are_bounded_by_their_number(t):
    server = t.own_server(config=SOON + f"[git]\nidle_repos = {KEPT}\n")
    account = server.account()
    tips = fill(account, REPOS)
    wait_for(lambda: held(server)[0] <= KEPT, "those that were written to")
    server.restart()
    most = [0, 0, 0]

    def look():
        for i, n in enumerate(held(server)):
            most[i] = max(most[i], n)
    read_all(account, tips, t.random, len(t.rounds(3)), look)
    look()
    # Each reader has one in use, and may be closing another one.
    bound = KEPT + 2 * READERS
    expect(most[0] <= bound and most[1] <= FILES * bound and most[2] <= MAPS * bound, "locks, files, maps", most, bound)
    expect(most[0] > KEPT // 2, "some are kept", most)
    locks, files, maps = held(server)
    expect(locks <= KEPT and files <= KEPT * FILES and maps <= KEPT * MAPS, "once they are idle", locks, files, maps)
    page = json.loads(Client(account).ask("GET", "/git/v1/repo?limit=500")[1])
    same({r["id"]: r["branches"]["main"]["target"] for r in page["repositories"]}, tips, "the list, which opens each")
    expect(held(server)[0] <= KEPT, "after the list", held(server))


@test
def few_open_files_are_enough(t):
    """The system allows so few that those kept open are fewer than they might be; nobody is turned away for it."""
    files = 400
    limited = t.write("limited", f'#!/bin/sh\nulimit -n {files}\nexec {warren()} "$@"\n')
    os.chmod(limited, 0o755)
    server = t.own_server(program=limited, config=SOON)
    account = server.account()
    tips = fill(account, REPOS)
    most = [0]

    def look():
        most[0] = max(most[0], held(server)[1])
    server.restart()
    read_all(account, tips, t.random, len(t.rounds(2)), look)
    expect(most[0] <= files // 4 + 2 * READERS * FILES, "files of repositories", most)
    wait_for(lambda: held(server)[1] <= files // 4, "a quarter, once they are idle")


@test
def memory_bounds_them_too(t):
    """A thousand refs in a journal are a few hundred kilobytes of memory."""
    server = t.own_server(config=SOON + "[git]\nidle_memory = 1m\n")
    account = server.account()
    tips = fill(account, 40)

    def many_refs(client, repo):
        names = [(ZERO, tips[repo], f"refs/heads/{repo}/{i:04}") for i in range(2000)]
        status, answer = client.ask("POST", f"/{repo}.git/git-receive-pack", push_body(names, pack([])), PUSH)
        same((status, report(answer)[0]), (200, "ok"), "a push of refs")
    finished(*in_turns(account, sorted(tips), READERS, many_refs))
    server.restart()
    read_all(account, tips, t.random, 1, lambda: None)
    wait_for(lambda: held(server)[0] <= 10, "far fewer than git.idle_repos")
    expect(held(server)[0] >= 1, "the last one used stays")


@test
def a_clone_goes_on_when_its_repository_is_closed(t):
    """It is neither cut off nor kept from ending by all the others that come and go."""
    server = t.own_server(config=SOON + "[git]\nidle_repos = 1\n")
    account = server.account()
    repo = account.repo()
    tip, objects = small("large", t.random.randbytes(12_000_000))
    body = push_body([(ZERO, tip, "refs/heads/main")], pack([entry(k, d) for k, d in objects]))
    status, answer = Client(account).ask("POST", f"/{repo.id}.git/git-receive-pack", body, PUSH)
    same((status, report(answer)[0]), (200, "ok"), "the push")
    clone = SlowClone(repo, [tip])
    tips = fill(account, 40)
    read_all(account, tips, t.random, len(t.rounds(2)), lambda: None)
    wait_for(lambda: held(server)[0] <= 2, "all others are closed")
    status, data = clone.answer()
    same(status, 200, "the clone's status")
    same({oid: row for oid, row in unpack(data).items()}[tip][0], 1, "its commit")
    same(len(unpack(data)), len(objects), "its objects")
    read_all(account, {repo.id: tip}, t.random, 1, lambda: None)
