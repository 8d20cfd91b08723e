"""The supervisor: a worker that dies is replaced, what killed two of them is parked, a new program takes over in place."""
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

from harness import Server, expect, same, test, wait_for
from harness.core import slowness, warren
from harness.disk import CRASH, Control, environment
from harness.pkt import report
from harness.raw import Gone, Wire, check_clone
from harness.server import clean_environment, run_warren
from harness.slow import SlowPush
from harness.traffic import Lane, check_lanes
from harness.workers import logged, running, worker, workers

COST = 20


def kill_worker(server):
    old = wait_for(lambda: worker(server), "one worker")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: worker(server) not in (None, old), "the next worker")


def spools(server, pid):
    """What a worker keeps in run/ of pushes under way: files that it has open there, but for those that say that it lives."""
    root, found = os.path.join(server.data, "run") + "/", []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            path = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if path.startswith(root) and not path.endswith(".lock"):
            found.append(path)
    return found


def descriptors(pid):
    return sorted(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))


def set_newer(server, newer):
    """Makes the database one that a newer program has changed, or takes that back."""
    db = sqlite3.connect(os.path.join(server.data, "warren.db"), timeout=30)
    with db:
        db.execute("INSERT INTO migration VALUES (9999, 'newer', 0)" if newer else "DELETE FROM migration WHERE number = 9999")
    db.close()


@test
def a_worker_that_dies_is_replaced(t):
    server = t.own_server()
    account = server.account()
    repo, lane = account.repo(), Lane("w", t.random, {"small": 1})
    for _ in t.rounds(4):
        wire = Wire(server.url, account.key)
        lane.step(wire, repo.id)
        kill_worker(server)
        wire.close()
        # No request is refused: connections wait in the socket's queue.
        same(server.api().get("/healthz").status, 200, "the next worker")
    wire = Wire(server.url, account.key)
    refs = wire.refs(repo.id)
    check_lanes([lane], refs, "after the last death")
    check_clone(wire, lane.objects, repo.id, refs, "after the last death")
    wire.close()
    same(len(logged(server, "worker.died")), len(t.rounds(4)), "deaths in the log")
    expect(server.alive(), "the supervisor still runs")


@test
def a_worker_whose_supervisor_is_gone_ends(t):
    server = t.own_server()
    account = server.account()
    pid = wait_for(lambda: worker(server), "one worker")
    server.killed = True
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()
    wait_for(lambda: not running(pid), "the end of the worker")
    server.start()
    same(account.api.get("/git/v1/repo").status, 200, "the next server on the same folder")


@test
def a_server_that_cannot_start_says_so_and_ends(t):
    blocked = t.path("file")
    with open(blocked, "w", encoding="ascii") as f:
        f.write("x")
    os.mkdir(t.path("data"))
    os.mkdir(t.path("data", "warren.db"))
    code, out, err = run_warren("serve", "--data", t.path("data"), "--listen", "127.0.0.1:0")
    same((code, out), (1, ""), "a folder in the database's place")
    expect("warren:" in err, "what is wrong", err)


def under_control(t):
    """A server, what makes its calls fail, and an account."""
    data = t.path("data")
    os.mkdir(data, 0o700)
    control = Control(t.path("control"))
    server = Server(data=data, env=environment(data, control=control.path))
    t.stack.callback(server.remove)
    server.start()
    server.may_fail = True
    return server, control, server.account()


def ask(wire, repo):
    """(status, body), or None when the worker died in it."""
    try:
        return wire.request("GET", f"/{repo.id}.git/info/refs?service=git-upload-pack")
    except Gone:
        wire.close()
        return None


@test
def what_kills_two_workers_is_parked(t):
    t.skip_if_sanitized()
    server, control, account = under_control(t)
    poisoned, other = account.repo(), account.repo()
    lanes = {repo: Lane("w", t.random, {"small": 1}) for repo in (poisoned, other)}
    wire = Wire(server.url, account.key)
    for repo, lane in lanes.items():
        lane.step(wire, repo.id)
    # Whoever opens it next dies: a request, or the next worker at its start, which looks for events that are still to be handed
    # over.
    control.fail("open", CRASH, path=f"{poisoned.id}.git")
    os.kill(wait_for(lambda: worker(server), "one worker"), signal.SIGKILL)
    wire.close()
    wait_for(lambda: logged(server, "repo.parked") or ask(wire, poisoned) and None, "the second death")
    status, body = wait_for(lambda: ask(wire, poisoned), "an answer")
    same(status, 503, f"a parked repository: {body!r}")
    expect(b"out of service" in body, "what a client is told", body)
    same([line["repo"] for line in logged(server, "repo.parked")], [poisoned.id], "parked, by the log")
    same(server.cli("repo", "parked"), {"parked": [poisoned.id]}, "parked, by the command")
    listed = account.api.get("/git/v1/repo").ok()["repositories"]
    same({r["id"]: len(r["branches"]) for r in listed}, {poisoned.id: 0, other.id: 1}, "the list, without what it has")
    said = t.git.fails("ls-remote", poisoned.url())
    expect("remote: This repository is out of service" in said, "what git says", said)
    lanes[other].step(wire, other.id)
    control.clear()
    same(wire.request("GET", f"/{poisoned.id}.git/info/refs?service=git-upload-pack")[0], 503, "it stays parked")
    same(server.cli("repo", "unpark", poisoned.id), {"repoId": poisoned.id}, "unparked")
    for repo, lane in lanes.items():
        lane.step(wire, repo.id)
        check_clone(wire, lane.objects, repo.id, lane.refs, "at the end")
    wire.close()


@test
def what_kills_only_where_all_are_listed_is_parked(t):
    t.skip_if_sanitized()
    server, control, account = under_control(t)
    poisoned, wire = account.repo(), Wire(server.url, account.key)
    Lane("w", t.random, {"small": 1}).step(wire, poisoned.id)
    wire.close()
    # After an end in order no start looks at it.
    server.restart()
    control.fail("open", CRASH, path=f"{poisoned.id}.git")

    def listed():
        wire = Wire(server.url, account.key)
        try:
            return wire.request("GET", "/git/v1/repo")
        except Gone:
            return None
        finally:
            wire.close()

    same([listed(), listed()], [None, None], "two deaths")
    same(listed()[0], 200, "the list after them")
    same(server.cli("repo", "parked"), {"parked": [poisoned.id]}, "parked")


@test
def a_job_that_kills_two_workers_has_failed(t):
    t.skip_if_sanitized()
    server, control, account = under_control(t)
    came = t.git.init(t.path("came"))
    t.git.commit(came, {"file": "text"})
    control.fail("rename", CRASH, path=".git")
    job = server.cli("repo", "adopt", account.id, os.path.join(came, ".git"), "--detach")
    wait_for(lambda: len(logged(server, "worker.died")) == 2, "two deaths")
    ended = wait_for(lambda: (lambda j: j["state"] == "failed" and j)(server.cli("job", "show", job["jobId"])), "the job's end")
    expect("out of service" in ended["error"]["message"], "why", ended)
    same([line["repo"] for line in logged(server, "repo.parked")], [job["repoId"]], "parked")
    wait_for(lambda: server.cli("repo", "parked") == {"parked": []}, "the removal of what it made")
    same(len(logged(server, "worker.died")), 2, "deaths")


@test
def a_new_program_takes_over_in_place(t):
    """Under pushes: no request fails that was not under way in a connection that the old worker closed."""
    server = t.own_server()
    account = server.account()
    repo, lane, stop = account.repo(), Lane("w", t.random, {"small": 1}), threading.Event()
    broken = []

    def write():
        wire = Wire(server.url, account.key)
        while not stop.is_set():
            try:
                said = lane.step(wire, repo.id, strict=False)
                if not said.ok:
                    broken.append(repr(said))
            except Gone as e:
                broken.append(repr(e))
                lane.settled(())
                lane.reset()
        wire.close()

    thread = threading.Thread(target=write)
    thread.start()
    files = descriptors(server.pid)
    try:
        for n, _ in enumerate(t.rounds(3), 1):
            before, supervisor = wait_for(lambda: worker(server), "one worker"), server.pid
            # The first by the command, others by the signal.
            if n == 1:
                same(server.cli("upgrade"), {"pid": supervisor}, "what was told")
            else:
                os.kill(supervisor, signal.SIGUSR2)
            wait_for(lambda: len(logged(server, "upgrade.ends")) == n, "the next program")
            wait_for(lambda: not running(before), "the end of the old worker")
            expect(server.alive(), "the same process")
            same(descriptors(supervisor), files, "its files")
    finally:
        stop.set()
        thread.join()
    same(broken, [], "pushes that did not go through")
    wire = Wire(server.url, account.key)
    refs = wire.refs(repo.id)
    check_lanes([lane], refs, "after the last program")
    check_clone(wire, lane.objects, repo.id, refs, "after the last program")
    wire.close()


def upgrades(server):
    return len(logged(server, "upgrade.ends"))


def upgrade(server):
    done = upgrades(server)
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: upgrades(server) > done, "the next program")


@test
def an_upgrade_goes_on_beside_workers_that_still_serve(t):
    """So many of them; where there are more, the oldest has to end."""
    os.mkdir(t.path("data"), 0o700)
    os.symlink(t.path("data"), t.path("serve"))
    server = t.own_server(data=t.path("data"), cwd=t.tmp, flags=["--stop-timeout", "500ms", "--data", "serve"])
    account = server.account()
    pushes, busy = [], []
    for n in range(5):
        busy += [w for w in workers(server) if w not in busy]
        pushes.append(SlowPush(account.repo(), f"refs/heads/slow{n}"))
        pushes[-1].send(0.5)
        wait_for(lambda b=busy[-1]: spools(server, b), "the beginning of the push")
        same(all(running(w) for w in busy), True, "all workers that have a push")
        if n < 4:
            upgrade(server)
    same(logged(server, "upgrade.waits"), [], "nothing waited")
    upgrade(server)
    expect(not running(busy[0]), "the oldest worker had to end")
    same(len(logged(server, "upgrade.waits")), 1, "word of it in the log")
    for push in pushes[1:]:
        push.send(1)
        status, body = push.answer()
        same((status, report(body)), (200, ("ok", {push.ref: "ok"})), "a push in a worker that ends later")
    pushes[0].connection.close()
    wait_for(lambda: worker(server) not in (None, *busy), "the last worker alone")


@test
def a_worker_that_cannot_start_leaves_the_one_before(t):
    """The program understands its configuration, but not the database: what serves goes on, and the next upgrade comes through."""
    server = t.own_server()
    repo = server.account().repo()
    before = wait_for(lambda: worker(server), "one worker")
    set_newer(server, True)
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: len(logged(server, "worker.died")) > 2, "deaths of the next worker")
    expect(all("newer program" in line["detail"] for line in logged(server, "worker.failed")), "why")
    wire = Wire(server.url, repo.account.key)
    lane = Lane("w", t.random, {"small": 1})
    lane.step(wire, repo.id)
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: len(logged(server, "upgrade.begins")) == 2, "the program after that")
    lane.step(wire, repo.id)
    expect(running(before), "the first worker")
    set_newer(server, False)
    wait_for(lambda: upgrades(server) == 1, "the next worker")
    wait_for(lambda: worker(server) not in (None, before), "it alone")
    wire.close()


@test
def a_configuration_that_is_wrong_changes_nothing(t):
    # Without --listen, which would beat the file.
    server = t.own_server(config="[server]\nlisten = 127.0.0.1:0\n", listen=None)
    path = server.flags[server.flags.index("--config") + 1]
    before = wait_for(lambda: worker(server), "one worker")
    for text, what in (("[server]\nlog_level = loud\n", "loud"), ("[server]\nno_such_key = 1\n", "no_such_key"),
                       ("[server]\nlisten = nowhere\n", "nowhere")):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        failed = len(logged(server, "upgrade.failed"))
        os.kill(server.pid, signal.SIGUSR2)
        wait_for(lambda n=failed: len(logged(server, "upgrade.failed")) > n, "word of it in the log")
        expect(what in logged(server, "upgrade.failed")[-1]["what"], "what is wrong", logged(server, "upgrade.failed")[-1])
    same(worker(server), before, "the worker")


@test
def an_upgrade_does_not_move_to_another_data_folder(t):
    """The folder stands in the configuration, and is another one by now: nobody has its lock."""
    link = t.path("data")
    os.mkdir(t.path("one"), 0o700)
    os.mkdir(t.path("two"), 0o700)
    os.symlink(t.path("one"), link)
    server = Server(data=link)
    t.stack.callback(server.remove)
    server.start()
    before = wait_for(lambda: worker(server), "one worker")
    os.unlink(link)
    os.symlink(t.path("two"), link)
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: logged(server, "upgrade.failed"), "word of it in the log")
    expect("data folder" in logged(server, "upgrade.failed")[0]["what"], "what is wrong", logged(server, "upgrade.failed")[0])
    same((worker(server), os.listdir(t.path("two"))), (before, []), "the worker, and the other folder")


@test
def a_stop_while_no_worker_starts_is_in_order(t):
    server = t.own_server()
    set_newer(server, True)
    os.kill(wait_for(lambda: worker(server), "one worker"), signal.SIGKILL)
    wait_for(lambda: len(logged(server, "worker.died")) > 3, "deaths at the start")
    server.terminate()
    same(server.wait(), 0, "exit status")


@test
def a_worker_that_is_told_to_end_is_replaced(t):
    server = t.own_server()
    for sig in (signal.SIGTERM, signal.SIGUSR1):
        before = wait_for(lambda: worker(server), "one worker")
        os.kill(before, sig)
        wait_for(lambda b=before: worker(server) not in (None, b), "the next worker")
        same(server.api().get("/healthz").status, 200, "it serves")
    expect(server.alive(), "the supervisor")


@test
def who_kills_a_worker_parks_nothing(t):
    """Not even what was the only thing at work, both times."""
    server = t.own_server()
    repo = server.account().repo()
    for _ in range(3):
        push = SlowPush(repo)
        push.send(0.5)
        wait_for(lambda: spools(server, worker(server)), "the beginning of the push")
        kill_worker(server)
        push.connection.close()
    same(server.cli("repo", "parked"), {"parked": []}, "parked")
    same(repo.account.api.get(repo.path).status, 200, "the repository")


@test
def the_next_server_waits_for_an_orphaned_worker(t):
    server = t.own_server(flags=["--stop-timeout", "500ms"])
    repo = server.account().repo()
    push = SlowPush(repo)
    push.send(0.5)
    pid = wait_for(lambda: worker(server), "one worker")
    wait_for(lambda: spools(server, pid), "the beginning of the push")
    server.killed = True
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait()
    # As its keeper starts it again at once.
    server.start()
    expect(not running(pid), "the worker has ended")
    push.connection.close()
    same(repo.account.api.get(repo.path).status, 200, "the next server")


@test
def closed_streams_become_no_files(t):
    """What is printed must not go to the file or socket that got a closed descriptor's number."""
    data = t.path("data")
    process = subprocess.Popen(["/bin/sh", "-c", f"exec {warren()} serve --data {data} --listen 127.0.0.1:0 <&- >&- 2>&-"],
                               env=clean_environment(), start_new_session=True)
    try:
        wait_for(lambda: os.path.exists(os.path.join(data, "control.sock")), "the server")
        wait_for(lambda: run_warren("repo", "parked", "--data", data)[0] == 0, "an answer of it")
        same(os.path.getsize(os.path.join(data, "lock")), 0, "bytes in the lock's file")
        same([os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)], ["/dev/null"] * 3, "its streams")
    finally:
        process.terminate()
        same(process.wait(40 * slowness()), 0, "exit status")


@test
def an_upgrade_ends_in_order_wherever_it_is(t):
    """Signals at random instants of it: further upgrades, then a stop, or a kill of the supervisor with the next server at once."""
    server = t.own_server(flags=["--stop-timeout", "2s"])
    account = server.account()
    repo, lane = account.repo(), Lane("w", t.random, {"small": 1})
    for n in t.rounds(8):
        wire = Wire(server.url, account.key)
        lane.step(wire, repo.id)
        began = workers(server)
        for _ in range(t.random.choice([1, 1, 2, 5])):
            os.kill(server.pid, signal.SIGUSR2)
            time.sleep(t.random.choice([0, t.random.uniform(0, 0.1)]))
        began += [w for w in workers(server) if w not in began]
        if n % 2:
            server.terminate()
            same(server.wait(), 0, "exit status")
            same(server.files("run"), {}, "files in run/")
        else:
            server.killed = True
            os.kill(server.pid, signal.SIGKILL)
            server.process.wait()
        server.start()
        expect(not any(running(w) for w in began), "all workers of before have ended", began)
        wire.close()
    wire = Wire(server.url, account.key)
    check_lanes([lane], wire.refs(repo.id), "in the end")
    wire.close()


@test
def a_program_that_does_not_start_takes_over_nothing(t):
    program = t.path("warren")
    shutil.copy(warren(), program)
    server = Server(program=program)
    t.stack.callback(server.remove)
    server.start()
    before = wait_for(lambda: worker(server), "one worker")
    # As an installation replaces it: the old file is still what runs.
    with open(program + ".next", "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexit 3\n")
    os.chmod(program + ".next", 0o755)
    os.rename(program + ".next", program)
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: logged(server, "upgrade.failed"), "word of it in the log")
    same(worker(server), before, "the worker")
    same(server.api().get("/healthz").status, 200, "it serves")
