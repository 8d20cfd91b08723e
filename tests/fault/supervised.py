"""The supervisor: a worker that dies is replaced, what killed two of them is parked, a new program takes over in place."""
import os
import shutil
import signal
import threading

from harness import Server, expect, same, test, wait_for
from harness.core import warren
from harness.disk import CRASH, Control, environment
from harness.raw import Gone, Wire, check_clone
from harness.server import run_warren
from harness.slow import SlowPush
from harness.traffic import Lane, check_lanes
from harness.workers import logged, running, worker


def kill_worker(server):
    old = wait_for(lambda: worker(server), "one worker")
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: worker(server) not in (None, old), "the next worker")


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
    data = t.path("data")
    os.mkdir(data, 0o700)
    control = Control(t.path("control"))
    server = Server(data=data, env=environment(data, control=control.path))
    t.stack.callback(server.remove)
    server.start()
    server.may_fail = True
    account = server.account()
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
    lanes[other].step(wire, other.id)
    control.clear()
    same(wire.request("GET", f"/{poisoned.id}.git/info/refs?service=git-upload-pack")[0], 503, "it stays parked")
    same(server.cli("repo", "unpark", poisoned.id), {"repoId": poisoned.id}, "unparked")
    for repo, lane in lanes.items():
        lane.step(wire, repo.id)
        check_clone(wire, lane.objects, repo.id, lane.refs, "at the end")
    wire.close()


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
    finally:
        stop.set()
        thread.join()
    same(broken, [], "pushes that did not go through")
    wire = Wire(server.url, account.key)
    refs = wire.refs(repo.id)
    check_lanes([lane], refs, "after the last program")
    check_clone(wire, lane.objects, repo.id, refs, "after the last program")
    wire.close()


@test
def an_upgrade_waits_for_the_one_before(t):
    server = t.own_server()
    repo = server.account().repo()
    push = SlowPush(repo)
    push.send(0.5)
    before = wait_for(lambda: worker(server), "one worker")
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: logged(server, "upgrade.ends"), "the next program")
    os.kill(server.pid, signal.SIGUSR2)
    wait_for(lambda: logged(server, "upgrade.waits"), "word of it in the log")
    expect(running(before), "the first worker has a push")
    same(len(logged(server, "upgrade.begins")), 1, "programs")
    push.send(1)
    same((push.answer()[0], running(server.pid)), (200, True), "the push")
    wait_for(lambda: len(logged(server, "upgrade.ends")) == 2, "the second one")
    wait_for(lambda: worker(server), "one worker")


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
