"""Care that is due is taken whatever happened to the process, without any request to the repository."""
import os
import sqlite3

from harness import expect, same, test, wait_for
from harness.clock import Clock
from harness.raw import Objects, Wire
from harness.workers import logged

COST = 3
RELEASE_ONLY = True
HOUR_MS = 3600 * 1000
# What waits for a pause in writing comes soon.
SOON = {"WARREN_MAINTENANCE_QUIET": "100ms"}


def due(server, repo):
    """(marked, when, why)"""
    db = sqlite3.connect(f"file:{os.path.join(server.data, 'warren.db')}?mode=ro", uri=True, timeout=30)
    try:
        return db.execute("SELECT mark IS NOT NULL, due_ms, due_why FROM repo WHERE id = ?", (repo.id,)).fetchone()
    finally:
        db.close()


def push_commit(account, repo, ref, files):
    """The commit, of so many files of its own."""
    objects, wire = Objects(), Wire(repo.account.server.url, account.key)
    blobs = {f"f{n}": objects.blob(f"{ref} {n}\n".encode()) for n in range(files)}
    tree = objects.tree(blobs)
    commit = objects.commit(tree, [])
    said = wire.push(repo.id, {ref: (None, commit)}, objects.pack([*blobs.values(), tree, commit]))
    expect(said.ok, "the push", said)
    wire.close()
    return commit


def checkpoints(server, repo):
    return [line for line in logged(server, "repo.checkpoint") if line["repo"] == repo.id]


@test
def work_that_was_due_at_a_kill_is_done(t):
    server = t.own_server()
    account = server.account()
    repo = account.repo()
    push_commit(account, repo, "refs/heads/a", 100)
    server.kill()
    expect(due(server, repo) != (0, None, None), "the row knows of it", due(server, repo))
    server.env.update(SOON)
    server.start()
    wait_for(lambda: checkpoints(server, repo), "the checkpoint")
    wait_for(lambda: due(server, repo) == (0, None, None), "that nothing is left")
    same(server.cli("repo", "show", repo.id)["journalRecords"], 0, "records in journals")
    server.stop()


@test
def what_nothing_reaches_goes_when_its_time_is_over(t):
    clock = Clock(t.path("clock"))
    server = t.own_server(env={**clock.environment, **SOON}, config="[git]\ncruft_grace = 1h\n[http]\nrequest_timeout = 1h\n")
    account = server.account()
    repo = account.repo()
    push_commit(account, repo, "refs/heads/a", 3)
    gone = push_commit(account, repo, "refs/heads/b", 5)
    Wire(server.url, account.key).push(repo.id, {"refs/heads/b": (gone, None)})
    server.cli("repo", "checkpoint", repo.id)
    wait_for(lambda: due(server, repo)[0] == 0 and due(server, repo)[2] == "cruft", "the row to say when")
    at = due(server, repo)[1]
    expect(HOUR_MS // 2 < at - clock.now_ms() < 2 * HOUR_MS, "an hour and a little", at - clock.now_ms())
    server.kill()
    clock.move(2 * HOUR_MS)
    server.start()
    wait_for(lambda: any(line["dropped"] == 7 for line in checkpoints(server, repo)), "commit, tree and files to go")
    wait_for(lambda: due(server, repo) == (0, None, None), "that nothing is left")
    server.verify(repo.id)


@test
def a_command_leaves_what_it_made_due_to_the_next_server(t):
    server = t.own_server(env=SOON)
    account = server.account()
    repo = account.repo()
    push_commit(account, repo, "refs/heads/a", 3)
    gone = push_commit(account, repo, "refs/heads/b", 5)
    Wire(server.url, account.key).push(repo.id, {"refs/heads/b": (gone, None)})
    server.stop()
    server.cli("repo", "checkpoint", repo.id)
    same(due(server, repo)[2], "look", "what the row says")
    server.start()
    wait_for(lambda: due(server, repo)[0] == 0 and due(server, repo)[2] == "cruft", "the server's judgement")
