"""Commands on whole repositories: fork, adopt, export, and the jobs that do them; beside a running server and without one."""
import json
import os
import signal
import subprocess
import time

from harness import expect, same, test, wait_for
from harness.api import TIME, UUID
from harness.core import slowness, warren
from harness.server import Repo, clean_environment, run_warren

ENDED = ("done", "failed", "cancelled")


def run(server, *args, status=0):
    """(JSON or None, stderr) of a command on the server's data folder."""
    code, out, err = run_warren(*args, "--data", server.data)
    same(code, status, f"warren {' '.join(args)}: exit status, with {out!r} {err!r}")
    if status == 0:
        same(out.count("\n"), 1, "one line")
        return json.loads(out), err
    same(out, "", f"warren {' '.join(args)}: stdout of a failure")
    return None, err


def history(t, name="work"):
    work = t.git.init(t.path(name))
    for n in range(3):
        t.git.commit(work, {"file": f"{n}\n" * 50, f"other-{n}": os.urandom(300).hex()})
    t.git("branch", "side", "HEAD~1", cwd=work)
    t.git("tag", "light", "HEAD~1", cwd=work)
    t.git("tag", "-a", "-m", "words", "heavy", cwd=work)
    return work


def pushed(t, account, name="work"):
    """(repository with a history, its working copy, the id of what was in it and is not any more)"""
    work = history(t, name)
    repo = account.repo(name="the source", public=True)
    t.git("push", "-q", repo.url(), "--all", cwd=work)
    t.git("push", "-q", repo.url(), "--tags", cwd=work)
    t.git("checkout", "-q", "-b", "gone", cwd=work)
    t.git.commit(work, {"secret": "of the branch that goes"})
    t.git("push", "-q", repo.url(), "gone", cwd=work)
    gone = t.git.rev(work)
    t.git("push", "-q", repo.url(), ":gone", cwd=work)
    t.git("checkout", "-q", "main", cwd=work)
    t.git("branch", "-q", "-D", "gone", cwd=work)
    return repo, work, gone


def found(account, repo_id):
    """A repository that a command made."""
    expect(UUID.match(repo_id), "an id", repo_id)
    return Repo(account, repo_id)


def jobs_of(server, repo_id):
    return server.cli("job", "list", "--repo", repo_id)["jobs"]


@test
def a_fork_is_what_its_source_was(t):
    for running in (True, False):
        server = t.own_server()
        account = server.account()
        repo, work, gone = pushed(t, account, f"work-{running}")
        if not running:
            server.stop()
        made, _ = run(server, "repo", "fork", repo.id, "--name", "the fork")
        same(made["sourceId"], repo.id, "the source")
        same(made["refs"], 4, "refs")
        one, _ = run(server, "repo", "fork", repo.id, "--branch", "side")
        same(one["refs"], 1, "refs of one branch")
        for bad, words in ((("repo", "fork", repo.id, "--branch", "nope"), "nope"), (("repo", "fork", "nonsense"), "nonsense"),
                           (("repo", "fork", repo.id, "--branch", "a..b"), "branch"), (("repo", "fork", repo.id, "--name", "a\nb"), "name")):
            expect(words in run(server, *bad, status=1)[1], "says why", bad)
        server.verify(made["repoId"])
        server.verify(one["repoId"])
        if not running:
            server.start()
        fork, single = found(account, made["repoId"]), found(account, one["repoId"])
        t.git.same_repository(t.git.mirror(fork.url(), t.path(f"fork-{running}")), work, "the fork")
        same(set(t.git.refs(t.git.mirror(single.url(), t.path(f"one-{running}")))), {"refs/heads/side"}, "refs of one branch")
        row = account.api.get(fork.path).ok()
        same((row["name"], row["defaultBranch"], row["visibility"]), ("the fork", "main", "public"), "the fork's row")
        row = account.api.get(single.path).ok()
        same((row["name"], row["defaultBranch"]), (None, "side"), "the row of one branch")
        t.git.fails("fetch", "-q", fork.url(), gone, cwd=t.git.init(t.path(f"empty-{running}")))
        # The failed one left nothing.
        same(account.api.get("/git/v1/repo").ok()["total"], 3, "repositories")
        # From now on neither knows of the other.
        t.git("push", "-q", "-f", repo.url(), "side:main", cwd=work)
        account.api.delete(repo.path).empty()
        wait_for(lambda: not any(repo.id in name for name in server.files()), "the source's removal")
        server.verify(fork.id)
        t.git.same_repository(t.git.mirror(fork.url(), t.path(f"again-{running}")), work, "the fork without its source")
        t.git("push", "-q", fork.url(), "side:new", cwd=work)


@test
def a_fork_of_nothing_is_empty(t):
    server = t.own_server()
    account = server.account()
    repo = account.repo(defaultBranch="trunk")
    made, _ = run(server, "repo", "fork", repo.id)
    fork = found(account, made["repoId"])
    same(account.api.get(fork.path).ok()["defaultBranch"], "trunk", "default branch")
    work = history(t)
    t.git("push", "-q", fork.url(), "main", cwd=work)
    same(t.git.remote_refs(repo.url()), t.git.remote_refs(account.repo().url()), "the source is still empty")


@test
def maintaining(t):
    for running in (True, False):
        server = t.own_server()
        account = server.account()
        repo, work, gone = pushed(t, account, f"work-{running}")
        if not running:
            server.stop()
        for flags in ((), ("--redelta",)):
            done, _ = run(server, "repo", "maintain", repo.id, *flags)
            same(set(done), {"jobId", "repoId", "bytesBefore", "bytesAfter", "cruftObjects", "droppedObjects", "rebased"}, "what it says")
            same((done["repoId"], done["cruftObjects"], done["droppedObjects"]), (repo.id, 3, 0), "one commit that nothing reaches")
            shown, _ = run(server, "repo", "show", repo.id)
            same(sorted(pack["role"] for pack in shown["packs"]), ["base", "cruft"], "one pack for each role")
            same([pack["dead"] for pack in shown["packs"]], [0, 0], "nothing dead")
            expect(not shown["rewound"] and shown["checkpoint"] > 0, "a checkpoint", shown)
        expect("nonsense" in run(server, "repo", "maintain", "nonsense", status=1)[1], "says why")
        if not running:
            server.start()
        job = jobs_of(server, repo.id)[0]
        same((job["kind"], job["state"], job["args"]), ("repo.maintain", "done", {"redelta": True}), "the job")
        same({"jobId": job["jobId"], **job["result"]}, done, "its result")
        server.verify(repo.id)
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"clone-{running}")), work, "what is there")


@test
def adopting_and_exporting(t):
    for running in (True, False):
        server = t.own_server()
        account = server.account()
        work = history(t, f"work-{running}")
        bare = t.git.init(t.path(f"bare-{running}.git"), bare=True)
        t.git("push", "-q", bare, "--all", cwd=work)
        t.git("push", "-q", bare, "--tags", cwd=work)
        t.git("symbolic-ref", "HEAD", "refs/heads/side", cwd=bare)
        before = t.git.refs(bare)
        if not running:
            server.stop()
        made, _ = run(server, "repo", "adopt", account.name, bare, "--name", "came in")
        same(made["defaultBranch"], "side", "its HEAD")
        server.verify(made["repoId"])
        nowhere = t.path("nowhere")
        for bad in ((account.name, nowhere), (account.name, work), ("nobody", bare)):
            expect(run(server, "repo", "adopt", *bad, status=1)[1].strip(), "says why")
        out = t.path(f"out-{running}.git")
        given, _ = run(server, "repo", "export", made["repoId"], out, "--link")
        same(given["path"], out, "the path")
        expect("already" in run(server, "repo", "export", made["repoId"], out, status=1)[1], "nothing is overwritten")
        same(t.git.refs(out), before, "refs that went out")
        same(t.git("symbolic-ref", "HEAD", cwd=out).strip(), "refs/heads/side", "HEAD that went out")
        t.git("fsck", "--full", "--strict", cwd=out)
        same(t.git.refs(bare), before, "the folder that was taken in stays as it was")
        if not running:
            server.start()
        repo = found(account, made["repoId"])
        row = account.api.get(repo.path).ok()
        same((row["name"], row["defaultBranch"], row["visibility"]), ("came in", "side", "private"), "the row")
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"clone-{running}")), work, "what was taken in")
        same(account.api.get("/git/v1/repo").ok()["total"], 1, "repositories: those that failed left nothing")
        wait_for(lambda: all(repo.id in path for path in server.files("repos")), "the removal of what failed")


@test
def a_long_history_is_put_in_order_before_anybody_asks(t):
    """By a checkpoint, and where a repository comes as a whole."""
    server = t.own_server()
    account = server.account()
    bare = t.git.init(t.path("long.git"), bare=True)
    commits = "".join(f"commit refs/heads/main\ncommitter C <c@example.org> {1700000000 + n // 3} +0000\ndata 0\n\n" for n in range(1000))
    t.git("fast-import", "--quiet", cwd=bare, data=commits.encode())
    first_page = t.git("rev-list", "--date-order", "-50", "main", cwd=bare).split()
    pushed = account.repo()
    t.git("push", "-q", pushed.url(), "main", cwd=bare)
    run(server, "repo", "checkpoint", pushed.id)
    made = [run(server, "repo", "fork", pushed.id)[0], run(server, "repo", "adopt", account.name, bare)[0]]
    for repo in [pushed, *(found(account, m["repoId"]) for m in made)]:
        orders = [path for path in server.files("repos") if path.endswith(f"{repo.id}.git/warren/order")]
        same(len(orders), 1, "orders of the history")
        page = account.api.get(f"{repo.path}/git/commits").ok()
        same((page["total"], [c["sha"] for c in page["commits"]]), (1000, first_page), "the first page")


@test
def the_default_branch_of_what_is_adopted(t):
    """Its HEAD, also where that branch is not there yet; main where HEAD is detached."""
    server = t.own_server()
    account = server.account()
    work = history(t)
    for head, wanted in (("refs/heads/side", "side"), ("refs/heads/not/yet", "not/yet"), (t.git.rev(work), "main")):
        bare = t.path(f"bare-{wanted.replace('/', '-')}.git")
        t.git("clone", "-q", "--bare", work, bare)
        t.git(*(("symbolic-ref", "HEAD") if "/" in head else ("update-ref", "--no-deref", "HEAD")), head, cwd=bare)
        made, _ = run(server, "repo", "adopt", account.name, bare)
        same(made["defaultBranch"], wanted, f"what is said for HEAD {head}")
        same(account.api.get(f"/git/v1/repo/{made['repoId']}").ok()["defaultBranch"], wanted, f"the row for HEAD {head}")


@test
def paths_are_meant_from_here(t):
    server = t.own_server()
    account = server.account()
    work = history(t)
    done = subprocess.run([warren(), "repo", "adopt", account.name, ".git", "--data", server.data], cwd=work, capture_output=True,
                          env=clean_environment(), timeout=60 * slowness())
    same(done.returncode, 0, f"exit status with {done.stderr!r}")
    server.verify(json.loads(done.stdout)["repoId"])


@test
def jobs_are_seen(t):
    server = t.own_server()
    account, other = server.account(), server.account()
    repo, work, _ = pushed(t, account)
    made, _ = run(server, "repo", "fork", repo.id, "--detach")
    same(sorted(made), ["jobId", "repoId"], "members")
    job = wait_for(lambda: (lambda j: j["state"] in ENDED and j)(server.cli("job", "show", made["jobId"])), "the job's end")
    same((job["state"], job["kind"], job["repoId"], job["accountId"], job["error"]),
         ("done", "repo.fork", made["repoId"], account.id, None), "the job")
    for key in ("createdAt", "startedAt", "endedAt"):
        expect(TIME.match(job[key]), key, job)
    same(job["result"]["repoId"], made["repoId"], "the result")
    expect(run(server, "repo", "fork", repo.id, "--branch", "nope", status=1), "a failure")
    failed, done = server.cli("job", "list")["jobs"]
    same((failed["state"], failed["error"]["code"], failed["result"]), ("failed", "BRANCH_NOT_FOUND", None), "a failed one")
    same(done["jobId"], made["jobId"], "the newest first")
    same(server.cli("job", "list", "--account", account.name)["jobs"], [failed, done], "by account")
    same(server.cli("job", "list", "--account", other.id)["jobs"], [], "of another account")
    same(jobs_of(server, made["repoId"]), [done], "by repository")
    same(server.cli("job", "cancel", made["jobId"]), done, "what has ended stays as it is")
    for bad in (("job", "show", "x"), ("job", "cancel", repo.id), ("job", "list", "--account", "nobody"), ("job", "list", "--repo", "x")):
        run(server, *bad, status=1)
    begun = [x for x in server.log_lines() if x.get("event") == "job.begun" and x["job"] == made["jobId"]]
    ended = [x for x in server.log_lines() if x.get("event") == "job.done" and x["job"] == made["jobId"]]
    same((len(begun), len(ended)), (1, 1), "lines of the log")
    for line in begun + ended:
        same((line["repo"], line["account"], line["kind"]), (made["repoId"], account.id, "repo.fork"), "a line of the log")
    expect(isinstance(ended[0]["ms"], int), "its time", ended)


@test
def what_is_detached_without_a_server_waits_for_the_next(t):
    server = t.own_server()
    account = server.account()
    repo, work, _ = pushed(t, account)
    server.stop()
    made, _ = run(server, "repo", "fork", repo.id, "--detach")
    gone, _ = run(server, "repo", "fork", repo.id, "--detach")
    same(server.cli("job", "show", made["jobId"])["state"], "queued", "before a server runs")
    same(server.cli("job", "cancel", gone["jobId"])["state"], "cancelled", "one that is not wanted")
    # Only what the command asked for is done by it.
    run(server, "repo", "fork", repo.id)
    same(server.cli("job", "show", made["jobId"])["state"], "queued", "after another command")
    server.start()
    wait_for(lambda: server.cli("job", "show", made["jobId"])["state"] == "done", "the job")
    server.verify(made["repoId"])
    same(account.api.get("/git/v1/repo").ok()["total"], 3, "repositories")


def ended(server, job_id):
    return wait_for(lambda: (lambda j: j["state"] in ENDED and j)(server.cli("job", "show", job_id)), "the job's end")


def whole_or_gone(t, server, account, made, work, name):
    """The job has ended, and the repository is either whole or nowhere. Returns the job's state."""
    job = ended(server, made["jobId"])
    if job["state"] == "done":
        server.verify(made["repoId"])
        t.git.same_repository(t.git.mirror(found(account, made["repoId"]).url(), t.path(name)), work, name)
    else:
        wait_for(lambda: not any(made["repoId"] in path for path in server.files()), "the removal of what failed")
        account.api.get(f"/git/v1/repo/{made['repoId']}").error("REPOSITORY_NOT_FOUND")
    return job["state"]


@test
def a_server_that_is_killed_in_the_middle(t):
    """kill -9 of all of it some time after the job was queued: it is done, or there is nothing of it."""
    server = t.own_server()
    account = server.account()
    work = history(t)
    for n in range(60):
        t.git.commit(work, {f"f{n}": os.urandom(2000).hex()})
    repo = account.repo()
    t.git("push", "-q", repo.url(), "--all", cwd=work)
    t.git("push", "-q", repo.url(), "--tags", cwd=work)
    for n in t.rounds(6):
        command = ("repo", "fork", repo.id) if n % 2 else ("repo", "adopt", account.name, os.path.join(work, ".git"))
        made, _ = run(server, *command, "--detach")
        time.sleep(t.random.random() * 0.08)
        server.kill()
        server.start()
        same(whole_or_gone(t, server, account, made, work, f"killed-{n}"), "done", "a job that can be repeated")
    for name in server.files("repos"):
        expect(".new-" not in name, "what a killed one left", name)


@test
def a_worker_that_is_killed_in_the_middle(t):
    """The same of the worker alone: its supervisor starts the next one, and a command that follows sees the end."""
    server = t.own_server()
    account = server.account()
    repo, work, _ = pushed(t, account)
    for n in t.rounds(3):
        command = subprocess.Popen([warren(), "repo", "fork", repo.id, "--data", server.data], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=clean_environment())
        time.sleep(t.random.random() * 0.08)
        workers = server.pids()[1:]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        out, err = command.communicate(timeout=60 * slowness())
        wait_for(lambda: set(server.pids()[1:]) - set(workers), "another worker")
        if command.returncode != 0:
            # It was killed before it had said what the job is.
            expect(err.strip(), "says why")
            continue
        made = json.loads(out)
        same(whole_or_gone(t, server, account, made, work, f"fork-{n}"), "done", "the job")


@test
def a_command_without_a_server_that_is_broken_off(t):
    """SIGINT cancels the job; kill -9 leaves it to the next server."""
    server = t.own_server()
    account = server.account()
    repo, work, _ = pushed(t, account)
    for n in t.rounds(4):
        server.stop()
        known = {j["jobId"] for j in server.cli("job", "list")["jobs"]}
        command = subprocess.Popen([warren(), "repo", "fork", repo.id, "--data", server.data], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=clean_environment())
        time.sleep(t.random.random() * 0.1)
        command.send_signal(signal.SIGKILL if n % 2 else signal.SIGINT)
        command.communicate(timeout=60 * slowness())
        server.start()
        for job in server.cli("job", "list")["jobs"]:
            if job["jobId"] not in known:
                whole_or_gone(t, server, account, job, work, f"broken-{n}")


@test
def an_account_that_goes_takes_its_jobs_along(t):
    server = t.own_server()
    account = server.account()
    repo, work, _ = pushed(t, account)
    made = [run(server, "repo", "fork", repo.id, "--detach")[0] for _ in range(5)]
    server.cli("account", "delete", account.name, "--with-repositories")
    wait_for(lambda: not server.files("repos"), "the removal of all")
    wait_for(lambda: not server.cli("job", "list")["jobs"], "the end of its jobs, which go with the account")
    for one in made:
        run(server, "job", "show", one["jobId"], status=1)
    same(server.cli("account", "list")["accounts"], [], "accounts")


@test
def no_request_makes_jobs_with_paths(t):
    server = t.own_server()
    account = server.account()
    for path in ("/git/v1/job", "/git/v1/jobs", "/git/v1/repo/adopt", "/git/v1/repo/export"):
        reply = account.api.post(path, {"path": t.tmp, "account": account.id})
        expect(reply.status in (404, 405), f"POST {path}", reply.status)
    same(server.cli("job", "list")["jobs"], [], "jobs")
