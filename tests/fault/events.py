"""How far a repository's events are handed over (event_seq) and whether a start has to look (mark), read from the database
file: after pushes, after a stop, and after kill -9 without any request to the repository."""
import threading
import time

from harness import expect, same, test, wait_for
from harness.raw import Gone, Objects, Wire
from harness.workers import rows, sequence

COST = 6


class Pusher(threading.Thread):
    """Small pushes to one repository, one after another, until the server is gone or there were enough."""

    def __init__(self, server, account, repo_id, most, objects, tip):
        super().__init__()
        self.wire, self.repo_id, self.most = Wire(server.url, account.key), repo_id, most
        self.acknowledged, self.wrong = 0, None
        self.objects, self.tip = objects, tip

    def run(self):
        try:
            while self.acknowledged < self.most:
                blob = self.objects.blob(f"{self.repo_id} {time.monotonic()}".encode())
                tree = self.objects.tree({"f": blob})
                commit = self.objects.commit(tree, [self.tip] if self.tip else [])
                said = self.wire.push(self.repo_id, {"refs/heads/main": (self.tip, commit)},
                                      self.objects.pack([blob, tree, commit]))
                if not said.ok:
                    self.wrong = said
                    return
                self.tip = commit
                self.acknowledged += 1
        except Gone:
            pass
        finally:
            self.wire.close()


def push_together(server, account, repos, most=10 ** 9, tips=None):
    """Started threads; tips: {repository: (objects, commit)} to go on from."""
    pushers = [Pusher(server, account, repo.id, most, *(tips[repo.id] if tips else (Objects(), None))) for repo in repos]
    for p in pushers:
        p.start()
    return pushers


@test
def what_is_pushed_is_counted_and_a_stop_leaves_no_mark(t):
    server = t.own_server()
    account = server.account()
    repos = [account.repo() for _ in range(4)]
    quiet = account.repo()
    pushers = push_together(server, account, repos, 25)
    wait_for(lambda: all(rows(server)[r.id][1] for r in repos), "marks while there are pushes")
    for p in pushers:
        p.join()
        expect(p.wrong is None, "a push was refused", p.wrong)
    wait_for(lambda: all(rows(server)[r.id][0] == 25 for r in repos), "all events handed over")
    for repo in repos:
        same(sequence(server, repo.id), 25, "records in the journal")
    same(rows(server)[quiet.id], (0, None), "a repository without a push")
    server.stop()
    for repo in repos:
        same(rows(server)[repo.id], (25, None), "after a stop")


@test
def a_kill_loses_no_event_and_the_start_is_not_asked(t):
    server = t.own_server()
    account = server.account()
    repos = [account.repo() for _ in range(4)]
    known = {repo.id: 0 for repo in repos}
    tips = {repo.id: (Objects(), None) for repo in repos}
    behind = 0
    for turn in t.rounds(8):
        pushers = push_together(server, account, repos, tips=tips)
        time.sleep(t.random.uniform(0.05, 0.6))
        server.kill()
        for p in pushers:
            p.join()
            expect(p.wrong is None, "a push was refused", p.wrong)
            known[p.repo_id] += p.acknowledged
        left = rows(server)
        behind += sum(left[r.id][0] < known[r.id] for r in repos)
        server.start()
        wait_for(lambda: all(rows(server)[r.id][0] >= known[r.id] for r in repos), f"round {turn}: events of the killed")
        for p in pushers:
            last = sequence(server, p.repo_id)
            expect(known[p.repo_id] <= last <= known[p.repo_id] + 1, f"round {turn}: records", last, known[p.repo_id])
            # The last one may be a record that nobody was told of; its event comes all the same.
            wait_for(lambda: rows(server)[p.repo_id][0] >= last, f"round {turn}: the last event")
            same(rows(server)[p.repo_id][0], last, f"round {turn}: event_seq")
            known[p.repo_id] = last
            tips[p.repo_id] = (p.objects, Wire(server.url, account.key).refs(p.repo_id).get("refs/heads/main"))
    expect(behind > 0, "a kill found events that were not handed over", behind)
    server.stop()
    expect(all(mark is None for _, mark in rows(server).values()), "marks after a stop", rows(server))


@test
def a_deletion_takes_its_mark_along(t):
    server = t.own_server()
    account = server.account()
    repo, other = account.repo(), account.repo()
    for p in push_together(server, account, [repo, other], 3):
        p.join()
        expect(p.wrong is None, "a push was refused", p.wrong)
    account.api.delete(repo.path).empty()
    server.kill()
    server.start()
    wait_for(lambda: set(rows(server)) == {other.id} and rows(server)[other.id][0] == 3, "the other one's events")
    wait_for(lambda: not server.files("repos", repo.id[:2], repo.id[2:4], repo.id + ".git"), "the folder to go")
