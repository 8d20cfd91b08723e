"""Pushes: create, update, force, delete, atomic; what is refused, and that a refusal changes nothing."""
import threading

from harness import expect, same, test

CONCURRENT = True
COST = 4


def begin(t, commits=3, **fields):
    """(repo, work): a repository with some commits on main, pushed."""
    repo = t.account.repo(**fields)
    work = t.git.init(t.path(f"work-{repo.id[:8]}"))
    for i in range(commits):
        t.git.commit(work, {f"f{i}": f"{i}\n"}, f"commit {i}")
    t.git("push", "-q", repo.url(), "main", cwd=work)
    return repo, work


@test
def create_update_force_delete(t):
    repo, work = begin(t)
    main = t.git.rev(work)
    t.git("push", "-q", repo.url(), "main:side", "main~1:refs/tags/x", cwd=work)
    t.git("push", "-q", repo.url(), "main~1:refs/heads/side2", cwd=work)
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": main, "refs/heads/side": main,
                                         "refs/heads/side2": t.git.rev(work, "main~1"),
                                         "refs/tags/x": t.git.rev(work, "main~1")}, "created")
    t.git.fails("push", repo.url(), "main~2:side", cwd=work)
    t.git("push", "-q", repo.url(), "+main~2:side", cwd=work)
    same(t.git.remote_refs(repo.url())["refs/heads/side"], t.git.rev(work, "main~2"), "forced")
    t.git("push", "-q", repo.url(), "main:side", ":side2", ":refs/tags/x", cwd=work)
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": main, "refs/heads/side": main}, "deleted")


@test
def a_push_of_nothing_new(t):
    repo, work = begin(t)
    t.git("push", "-q", repo.url(), "main", cwd=work)
    t.git("push", "-q", repo.url(), "main:again", cwd=work)
    same(len(t.git.remote_refs(repo.url())), 2, "refs")


@test
def pushing_speaks_every_version(t):
    for version in (0, 1, 2):
        repo = t.account.repo()
        work = t.git.init(t.path(f"v{version}"))
        t.git.commit(work, {"a": "b"})
        t.git("-c", f"protocol.version={version}", "push", "-q", repo.url(), "main", cwd=work)
        same(t.git.remote_refs(repo.url()), t.git.refs(work), f"version {version}")


@test
def a_lease_protects(t):
    repo, work = begin(t)
    old = t.git.rev(work, "main~1")
    t.git.fails("push", f"--force-with-lease=main:{old}", repo.url(), "main~1:main", cwd=work)
    t.git("push", "-q", f"--force-with-lease=main:{t.git.rev(work)}", repo.url(), "+main~1:main", cwd=work)
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": old}, "refs")


@test
def a_stale_push_is_refused(t):
    repo, work = begin(t)
    other = t.path("other")
    t.git("clone", "-q", repo.url(), other)
    t.git.commit(other, {"theirs": "1"})
    t.git("push", "-q", "origin", "main", cwd=other)
    t.git.commit(work, {"mine": "1"})
    t.git.fails("push", repo.url(), "main", cwd=work)
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": t.git.rev(other)}, "refs")


@test
def an_atomic_push_is_all_or_nothing(t):
    repo, work = begin(t)
    t.git("push", "-q", repo.url(), "main:a", "main:b", cwd=work)
    before = t.git.remote_refs(repo.url())
    t.git.commit(work, {"n": "1"})
    err = t.git.fails("push", "--atomic", repo.url(), "main:a", "main:refs/warren/x", "main:b", cwd=work)
    expect("a" in err, "said", err)
    same(t.git.remote_refs(repo.url()), before, "nothing of it")
    t.git("push", "-q", repo.url(), "main:a", cwd=work)
    status, _, _ = t.git.run("push", repo.url(), "main:b", "main:refs/warren/x", cwd=work)
    expect(status != 0, "a refused ref fails the push")
    same(t.git.remote_refs(repo.url())["refs/heads/b"], t.git.rev(work), "without --atomic the others go through")
    t.git("push", "-q", "--atomic", repo.url(), "main", "main:c", ":a", ":b", cwd=work)
    same(sorted(t.git.remote_refs(repo.url())), ["refs/heads/c", "refs/heads/main"], "an atomic push that is right")


@test
def names_that_are_ours_are_refused(t):
    repo, work = begin(t)
    before = t.git.remote_refs(repo.url())
    for name in ("refs/warren/x", "refs/warren/a/b", "refs/one-level"):
        t.git.fails("push", repo.url(), f"main:{name}", cwd=work)
    same(t.git.remote_refs(repo.url()), before, "refs")
    t.git("push", "-q", repo.url(), "main:refs/warrens/x", cwd=work)


@test
def the_default_branch_is_not_deleted(t):
    repo, work = begin(t)
    t.git("push", "-q", repo.url(), "main:other", cwd=work)
    t.git.fails("push", repo.url(), ":main", cwd=work)
    expect("refs/heads/main" in t.git.remote_refs(repo.url()), "still there")
    repo.account.api.put(repo.path + "/default-branch", {"defaultBranch": "other"}).empty()
    t.git("push", "-q", repo.url(), ":main", cwd=work)
    same(sorted(t.git.remote_refs(repo.url())), ["refs/heads/other"], "refs")


@test
def a_file_and_a_folder_cannot_have_one_name(t):
    repo, work = begin(t)
    t.git("push", "-q", repo.url(), "main:a/b", cwd=work)
    before = t.git.remote_refs(repo.url())
    for name in ("a", "a/b/c", "main/x"):
        t.git.fails("push", repo.url(), f"main:refs/heads/{name}", cwd=work)
        same(t.git.remote_refs(repo.url()), before, name)
    t.git("push", "-q", repo.url(), ":a/b", cwd=work)
    t.git("push", "-q", repo.url(), "main:refs/heads/a", cwd=work)
    same(sorted(t.git.remote_refs(repo.url())), ["refs/heads/a", "refs/heads/main"], "after the folder went")


@test
def a_branch_has_to_be_a_commit(t):
    repo, work = begin(t)
    before = t.git.remote_refs(repo.url())
    for what in ("HEAD^{tree}", "HEAD:f0"):
        oid = t.git.rev(work, what)
        t.git.fails("push", repo.url(), f"{oid}:refs/heads/odd", cwd=work)
    same(t.git.remote_refs(repo.url()), before, "refs")


@test
def a_reader_is_told_that_it_may_not_push(t):
    repo, work = begin(t)
    identity = repo.account.identity(read=repo)
    secret = identity.secret()
    t.git.commit(work, {"n": "1"})
    err = t.git.fails("push", repo.url(secret), "main", cwd=work)
    expect("403" in err, "403", err)
    t.git("clone", "-q", repo.url(secret), t.path("copy"))
    writer = repo.account.identity(write=repo).secret()
    t.git("push", "-q", repo.url(writer), "main", cwd=work)
    same(t.git.remote_refs(repo.url(secret)), {"refs/heads/main": t.git.rev(work)}, "refs")


@test
def a_push_to_nowhere(t):
    repo, work = begin(t)
    repo.account.api.delete(repo.path).empty()
    err = t.git.fails("push", repo.url(), "main", cwd=work)
    expect("not found" in err.lower() or "404" in err, "404", err)


@test
def of_two_pushes_at_once_exactly_one_wins(t):
    """Several writers, each with its own commit on the same tip, at the same time, again and again."""
    repo, work = begin(t)
    writers = 6
    for turn in t.rounds(4):
        tip = t.git.rev(work)
        clones = []
        for n in range(writers):
            copy = t.path(f"w{turn}-{n}")
            t.git("clone", "-q", "--shared", work, copy)
            t.git("reset", "-q", "--hard", tip, cwd=copy)
            t.git.commit(copy, {f"by{n}": f"{turn}"}, f"writer {n}")
            clones.append(copy)
        barrier = threading.Barrier(writers)
        results = {}

        def push(n, copy):
            barrier.wait()
            results[n] = t.git.run("push", repo.url(), "main", cwd=copy)

        threads = [threading.Thread(target=push, args=pair) for pair in enumerate(clones)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [n for n, (status, _, _) in results.items() if status == 0]
        same(len(winners), 1, f"winners, with {[r[2][-300:] for r in results.values()]}")
        won = t.git.rev(clones[winners[0]])
        same(t.git.remote_refs(repo.url()), {"refs/heads/main": won}, "the winner's commit")
        t.git("pull", "-q", repo.url(), "main", cwd=work)
        same(t.git.rev(work), won, "pulled")


@test
def pushes_to_different_branches_at_once_all_win(t):
    repo, work = begin(t)
    writers = 8
    clones = []
    for n in range(writers):
        copy = t.path(f"w{n}")
        t.git("clone", "-q", "--shared", work, copy)
        clones.append(copy)
    failed = []

    def push(n, copy):
        for i in range(4):
            t.git.commit(copy, {f"by{n}": f"{i}"}, f"writer {n}, {i}")
            status, _, err = t.git.run("push", "-q", repo.url(), f"main:b{n}", cwd=copy)
            if status != 0:
                failed.append(err)

    threads = [threading.Thread(target=push, args=pair) for pair in enumerate(clones)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(failed, [], "failed pushes")
    refs = t.git.remote_refs(repo.url())
    for n, copy in enumerate(clones):
        same(refs[f"refs/heads/b{n}"], t.git.rev(copy), f"branch {n}")
    t.git("fsck", "--full", cwd=t.git.mirror(repo.url(), t.path("mirror")))


@test
def clones_and_pushes_at_once(t):
    """Readers see whole histories only, whatever is being pushed meanwhile."""
    repo, work = begin(t)
    stop, wrong = threading.Event(), []

    def read(n):
        turn = 0
        while not stop.is_set():
            turn += 1
            copy = t.path(f"r{n}-{turn}")
            status, _, err = t.git.run("-c", f"protocol.version={turn % 3}", "clone", "-q", "--mirror", repo.url(), copy)
            if status == 0:
                status, _, err = t.git.run("fsck", "--full", cwd=copy)
            if status != 0:
                wrong.append(err)
                return

    readers = [threading.Thread(target=read, args=(n,)) for n in range(3)]
    for reader in readers:
        reader.start()
    try:
        for i in t.rounds(15):
            t.git.commit(work, {f"d{i % 3}/f{i}": f"{i}" * 100}, f"{i}")
            t.git("push", "-q", repo.url(), "main", f"main:b{i % 5}", *(["-f"] if i % 4 == 0 else []), cwd=work)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    same(wrong, [], "readers that met something broken")
    mirror = t.git.mirror(repo.url(), t.path("last"))
    same(t.git.refs(mirror)["refs/heads/main"], t.git.rev(work), "tip")


@test
def big_and_chunked_pushes(t):
    """Above http.postBuffer git sends chunks, after a probe with an empty request."""
    for size, buffer in ((300_000, "65536"), (3_000_000, "1000000"), (200, "1")):
        repo = t.account.repo()
        work = t.git.init(t.path(f"w{size}"))
        t.git.commit(work, {"big": t.random.randbytes(size), "small": "x"})
        t.git("-c", f"http.postBuffer={buffer}", "push", "-q", repo.url(), "main", cwd=work)
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"m{size}")), work, f"{size} bytes")


@test
def deep_delta_chains_and_many_objects(t):
    repo = t.account.repo()
    work = t.git.init(t.path("work"))
    text = [f"line {i}\n" for i in range(3000)]
    stream = []
    for i in range(1, 200):
        text[t.random.randrange(len(text))] = f"changed {i}\n"
        body = "".join(text)
        stream.append(f"commit refs/heads/main\nmark :{i}\ncommitter C <c@example.com> {1700000000 + i} +0000\ndata 1\nx\n"
                      f"M 100644 inline file\ndata {len(body)}\n{body}\n")
    t.git("fast-import", "--quiet", cwd=work, data="".join(stream).encode())
    t.git("repack", "-q", "-a", "-d", "-f", "--depth=250", "--window=50", cwd=work)
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for version in (0, 2):
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"m{version}"), version), work, f"version {version}")


@test
def a_push_from_a_clone_without_its_own_objects(t):
    """Thin packs: what the other side has is the base of deltas."""
    repo = t.account.repo()
    work = t.git.init(t.path("work"))
    text = "".join(f"line {i} {t.random.random()}\n" for i in range(5000))
    t.git.commit(work, {"file": text})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for i in range(5):
        text = text.replace(f"line {i * 100} ", f"LINE {i * 100} ")
        t.git.commit(work, {"file": text})
        t.git("push", "-q", "--thin", repo.url(), "main", cwd=work)
    t.git("push", "-q", "--no-thin", repo.url(), "main:copy", cwd=work)
    t.git.same_repository(t.git.mirror(repo.url() , t.path("m")), t.git.mirror(repo.url(), t.path("m0"), 0), "versions")
    same(t.git.objects(t.path("m"), "main"), t.git.objects(work), "objects")


@test
def a_mirror_follows(t):
    """All kinds of refs, moved, made and deleted in one push; what only the server has goes as well."""
    repo, work = begin(t)
    t.git("tag", "-a", "-m", "tag", "v1", cwd=work)
    for name in ("refs/notes/x", "refs/changes/01/1", "refs/heads/topic/a", "refs/tags/light"):
        t.git("update-ref", name, "main~1", cwd=work)
    t.git("update-ref", "refs/other/tree", "main^{tree}", cwd=work)
    for options in ((), ("--atomic",)):
        t.git("push", "-q", "--mirror", *options, repo.url(), cwd=work)
        same(t.git.remote_refs(repo.url()), t.git.refs(work), "all that is there")
        t.git("update-ref", "-d", "refs/heads/topic/a", cwd=work)
        t.git("update-ref", "refs/heads/topic", "main~2", cwd=work)
        t.git("tag", "-d", "v1", cwd=work)
        t.git("commit", "-q", "--amend", "-m", "once more", cwd=work)
        t.git("push", "-q", "--mirror", *options, repo.url(), cwd=work)
        same(t.git.remote_refs(repo.url()), t.git.refs(work), "and what became of it")
        t.git("update-ref", "-d", "refs/heads/topic", cwd=work)
        t.git("update-ref", "refs/heads/topic/a", "main", cwd=work)
        t.git("tag", "-a", "-m", "tag", "v1", cwd=work)
    err = t.git.fails("push", repo.url(), "main:refs/heads/x", "main:refs/warren/mirror", cwd=work)
    expect("refs/warren/ belongs to the server" in err, "the server's own", err)
    same(t.git.mirror(repo.url(), t.path("m")) and t.git.refs(t.path("m"))["refs/other/tree"], t.git.rev(work, "main^{tree}"), "a tree")


@test
def limits_are_read_by_people(t):
    server = t.own_server(config="[git]\nmax_commands = 5\nmax_push_options = 1\n")
    repo = server.account().repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "1"})
    err = t.git.fails("push", repo.url(), *[f"main:b{i}" for i in range(6)], cwd=work)
    expect("A push may update 5 refs" in err, "refs", err)
    err = t.git.fails("push", "-o", "a", "-o", "b", repo.url(), "main", cwd=work)
    expect("A push may bring 1 push options" in err, "options", err)
    same(t.git.remote_refs(repo.url()), {}, "nothing")
    t.git("push", "-q", "-o", "a", repo.url(), *[f"main:b{i}" for i in range(5)], cwd=work)
    same(len(t.git.remote_refs(repo.url())), 5, "up to the limit")


@test
def a_thousand_refs(t):
    """Git itself compares each name with all others for a push over HTTP; a hundred thousand go in protocol/receive_capabilities."""
    repo, work = begin(t)
    names = sorted(f"refs/heads/many/{i % 20}/{i}" for i in range(1000))
    for new in ("main~1", "main", None):
        rows = [f"{oid} {n}\n" for oid in [t.git.rev(work, new)] for n in names] if new else []
        with open(f"{work}/.git/packed-refs", "w", encoding="ascii") as f:
            f.writelines(["# pack-refs with: peeled fully-peeled sorted \n", *rows])
        t.git("push", "-q", "--mirror", "--atomic", repo.url(), cwd=work)
        same(t.git.remote_refs(repo.url()), t.git.refs(work), f"at {new}")
    t.git("fsck", "--full", cwd=t.git.mirror(repo.url(), t.path("m")))
