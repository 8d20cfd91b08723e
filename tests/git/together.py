"""Writers, readers and checkpoints of the same repositories at once, for as long as the thread sanitizer likes to look."""
import random
import threading
import time

from harness import Repo, same, test
from harness.core import sanitized
from harness.raw import Refused, Wire, check_clone
from harness.traffic import Everyone, Lane, check_lanes

CONCURRENT = True
COST = 4


@test
def writers_readers_and_checkpoints(t):
    """Every push goes through, no clone breaks, and in the end the refs are the lanes' and all is there."""
    server = t.own_server()
    account = server.account()
    steps = 8 if sanitized() else 40
    for turn in t.rounds(1):
        repos = {account.repo().id: [Lane(f"w{i}", random.Random(t.random.random()), large=1_100_000) for i in range(n)] for n in (3, 1)}
        troubles, done = [], threading.Event()

        def guard(function, *args):
            try:
                function(*args)
            except BaseException as e:
                troubles.append(e)
                done.set()

        def write(repo_id, lane):
            wire = Wire(server.url, account.key)
            for _ in range(steps):
                lane.step(wire, repo_id)

        def read(repo_id):
            """What a writer left behind between the list and the clone may be refused; what comes is whole."""
            wire = Wire(server.url, account.key)
            while not done.is_set():
                try:
                    wire.clone(repo_id, wire.refs(repo_id))
                except Refused:
                    pass
                time.sleep(0.005)

        def checkpoint(repo_id):
            while not done.is_set():
                server.cli("repo", "checkpoint", repo_id)
                time.sleep(0.02)

        writers = [threading.Thread(target=guard, args=(write, r, lane)) for r, lanes in repos.items() for lane in lanes]
        others = [threading.Thread(target=guard, args=(read, r)) for r in repos for _ in range(2)]
        others += [threading.Thread(target=guard, args=(checkpoint, r)) for r in repos]
        for thread in writers + others:
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in others:
            thread.join()
        if troubles:
            raise troubles[0]
        wire = Wire(server.url, account.key)
        for repo_id, lanes in repos.items():
            refs = wire.refs(repo_id)
            check_lanes(lanes, refs, f"round {turn}")
            same(refs, {ref: oid for lane in lanes for ref, oid in lane.refs.items()}, f"round {turn}: refs")
            check_clone(wire, Everyone(lanes), repo_id, refs, f"round {turn}")
            server.verify(repo_id)
            copy = t.git.mirror(Repo(account, repo_id).url(), t.path(f"copy-{repo_id}"))
            t.git("fsck", "--full", "--strict", "--no-dangling", cwd=copy)
