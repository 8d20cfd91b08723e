"""Shallow clones: depth, since a time, excluding a ref, deepening, unshallowing, pushes from them."""
import os

from harness import expect, same, test

IN_MEMORY = True
COST = 3
VERSIONS = (0, 1, 2)


def v(version):
    return ("-c", f"protocol.version={version}")


def begin(t, commits=12):
    repo = t.account.repo()
    work = t.git.init(t.path("work"))
    for i in range(commits):
        t.git.commit(work, {f"f{i % 4}": f"{i}\n", "last": f"{i}"}, f"commit {i}")
    t.git("checkout", "-q", "-b", "side", "HEAD~4", cwd=work)
    t.git.commit(work, {"side": "1"}, "side")
    t.git("checkout", "-q", "main", cwd=work)
    t.git("merge", "-q", "-m", "merge", "side", cwd=work)
    t.git("tag", "-a", "-m", "old", "v0", "HEAD~6", cwd=work)
    t.git("push", "-q", repo.url(), "main", "side", "v0", cwd=work)
    return repo, work


def count(t, path, rev="HEAD"):
    return int(t.git("rev-list", "--count", rev, cwd=path))


def depth_of(t, work, depth):
    """How many commits lie within so many steps of main's tip."""
    seen, edge = set(), {t.git.rev(work)}
    for _ in range(depth):
        seen |= edge
        edge = {p for c in edge for p in t.git("rev-list", "--parents", "-n1", c, cwd=work).split()[1:]} - seen
    return len(seen)


@test
def clones_of_a_depth(t):
    repo, work = begin(t)
    for version in VERSIONS:
        for depth in (1, 2, 5, 100):
            copy = t.path(f"c{version}-{depth}")
            t.git(*v(version), "clone", "-q", "--depth", str(depth), repo.url(), copy)
            same(count(t, copy), depth_of(t, work, depth), f"version {version}, depth {depth}: commits")
            same(t.git.rev(copy, "HEAD^{tree}"), t.git.rev(work, "HEAD^{tree}"), "tree")
            t.git("fsck", "--full", cwd=copy)
            same(os.path.exists(os.path.join(copy, ".git/shallow")), depth < 100, "shallow")
        have = t.git("cat-file", "--batch-all-objects", "--batch-check", cwd=t.path(f"c{version}-1")).splitlines()
        expect(len([1 for line in have if line.split()[1] == "commit"]) == 1, "depth 1 holds one commit", have)


@test
def deepen_and_unshallow(t):
    repo, work = begin(t)
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--depth", "1", repo.url(), copy)
        for depth in (2, 4, 3):
            t.git(*v(version), "fetch", "-q", "--no-tags", "--depth", str(depth), cwd=copy)
            same(count(t, copy, "origin/main"), depth_of(t, work, depth), f"version {version}: depth {depth}")
            t.git("fsck", "--full", "--no-dangling", cwd=copy)
        t.git(*v(version), "fetch", "-q", "--deepen", "2", cwd=copy)
        t.git("fsck", "--full", "--no-dangling", cwd=copy)
        expect(count(t, copy, "origin/main") > depth_of(t, work, 3), "deepened", count(t, copy, "origin/main"))
        t.git(*v(version), "fetch", "-q", "--unshallow", cwd=copy)
        expect(not os.path.exists(os.path.join(copy, ".git/shallow")), "no longer shallow")
        same(t.git.objects(copy, "origin/main"), t.git.objects(work, "main"), f"version {version}: unshallowed")
        t.git("fsck", "--full", cwd=copy)


@test
def fetches_into_a_shallow_clone(t):
    repo, work = begin(t)
    copies = {}
    for version in VERSIONS:
        copies[version] = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--depth", "2", repo.url(), copies[version])
    for turn in range(3):
        t.git.commit(work, {"f1": f"new {turn}", "last": f"n{turn}"}, f"new {turn}")
        t.git("push", "-q", repo.url(), "main", cwd=work)
        for version, copy in copies.items():
            t.git(*v(version), "pull", "-q", cwd=copy)
            same(t.git.rev(copy), t.git.rev(work), f"version {version}: tip")
            t.git("fsck", "--full", "--no-dangling", cwd=copy)
    for version, copy in copies.items():
        expect(os.path.exists(os.path.join(copy, ".git/shallow")), "still shallow")
        t.git(*v(version), "fetch", "-q", "--depth", "1", cwd=copy)
        same(count(t, copy, "origin/main"), 1, f"version {version}: cut again")


@test
def pushes_from_a_shallow_clone(t):
    repo, _ = begin(t)
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--depth", "1", repo.url(), copy)
        t.git.commit(copy, {"from-shallow": f"{version}"})
        t.git(*v(version), "push", "-q", "origin", "main", cwd=copy)
        same(t.git.remote_refs(repo.url())["refs/heads/main"], t.git.rev(copy), f"version {version}: pushed")
    t.git("fsck", "--full", cwd=t.git.mirror(repo.url(), t.path("mirror")))


@test
def a_push_that_would_make_the_server_shallow_is_refused(t):
    repo, _ = begin(t)
    copy = t.path("copy")
    t.git("clone", "-q", "--depth", "1", repo.url(), copy)
    empty = repo.account.repo()
    t.git.fails("push", empty.url(), "main", cwd=copy)
    same(t.git.remote_refs(empty.url()), {}, "nothing there")


@test
def a_depth_of_a_branch_and_a_tag(t):
    repo, work = begin(t)
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--depth", "1", "--branch", "v0", repo.url(), copy)
        same(t.git.rev(copy), t.git.rev(work, "v0^{commit}"), f"version {version}: at the tag")
        t.git(*v(version), "fetch", "-q", "--depth", "2", "origin", "side:refs/heads/side", cwd=copy)
        same(count(t, copy, "side"), 2, f"version {version}: side")
        t.git("fsck", "--full", "--no-dangling", cwd=copy)
    both = t.path("both")
    t.git("clone", "-q", "--depth", "1", "--no-single-branch", repo.url(), both)
    same(count(t, both, "origin/side"), 1, "every branch at depth 1")
