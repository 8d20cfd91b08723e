"""Partial clones: what each filter leaves out, and nothing but that; what git fetches later, one object or many, by itself;
filters together with depths, tags, submodules, pushes, other filters."""
import glob
import os
import re

from harness import expect, same, test

IN_MEMORY = True
COST = 15
VERSIONS = (0, 1, 2)
FILTERS = ("blob:none", "blob:limit=0", "blob:limit=10", "blob:limit=1k", "blob:limit=1m", "tree:0", "tree:1", "tree:2", "tree:3",
           "object:type=commit", "object:type=tree", "object:type=blob", "object:type=tag")
COMBINED = (("tree:2", "blob:limit=500"), ("blob:none", "tree:1"), ("object:type=blob", "blob:limit=1k"), ("tree:3", "blob:limit=10", "blob:limit=1m"))


def v(version):
    return ("-c", f"protocol.version={version}")


def begin(t):
    """(repo, work): folders three deep, the same blob and folder at several depths, blobs of many sizes, tags of everything."""
    repo = t.account.repo()
    work = t.git.init(t.path(f"work-{repo.id[:8]}"))
    for i in range(4):
        t.git.commit(work, {f"file{i}": f"{i}\n", "size9": "123456789", "size10": "1234567890", "size1k": b"k" * 1024, "size1k1": b"k" * 1023,
                            f"a/b/c/deep{i}": f"deep {i}\n", "a/changing": f"{i}\n" * 300 * (i + 1), "b/c/deep0": "deep 0\n", "b/size9": "123456789",
                            "empty": b""}, str(i))
    t.git("tag", "-a", "-m", "x", "v1", "HEAD~1", cwd=work)
    t.git("push", "-q", repo.url(), "main", "v1", cwd=work)
    return repo, work


def ids(t, path):
    """Every object that the repository holds, by id, without asking anybody for more."""
    out = t.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)", cwd=path)
    return dict(line.split() for line in out.splitlines())


def missing(t, path, *what):
    lines = t.git("rev-list", "--objects", "--missing=print", "--quiet", *(what or ("--all",)), cwd=path).splitlines()
    return {line[1:] for line in lines if line.startswith("?")}


def same_objects(t, copy, wanted, what):
    got = ids(t, copy)
    def rows(oids):
        return sorted(f"{got.get(o) or wanted[o]} {o}" for o in oids)
    same((rows(set(got) - set(wanted)), rows(set(wanted) - set(got))), ([], []), f"{what}: too many, too few")


def packs(path):
    return set(glob.glob(os.path.join(path, ".git/objects/pack/*.pack")))


def bare_source(t, work, name=None):
    """The same repository as git's own upload-pack serves it, to compare with."""
    path = t.path("source-" + (name or os.path.basename(work)))
    t.git("clone", "-q", "--bare", "--no-local", f"file://{work}", path)
    for key in ("allowFilter", "allowAnySHA1InWant"):
        t.git("config", f"uploadpack.{key}", "true", cwd=path)
    return path


def partial(t, url, path, spec, *options, version=2):
    t.git(*v(version), "clone", "-q", "--no-checkout", f"--filter={spec}", *options, url, path)
    return path


@test
def exactly_what_the_filter_leaves_out(t):
    """Each filter, in each version: the objects that came are those that git's own server gives."""
    repo, work = begin(t)
    source, of_one = bare_source(t, work), {}
    for spec in FILTERS:
        if "object:type" in spec and t.git.version < (2, 32):
            continue
        name = spec.replace(":", "-").replace("=", "-")
        wanted = ids(t, partial(t, f"file://{source}", t.path(f"w-{name}"), spec, "--bare"))
        of_one[spec] = wanted
        for version in VERSIONS:
            copy = partial(t, repo.url(), t.path(f"{version}-{name}"), spec, "--bare", version=version)
            same_objects(t, copy, wanted, f"version {version}, {spec}")
            same(t.git.refs(copy), t.git.refs(work), f"version {version}, {spec}: refs")
            if "object:type" not in spec:
                same(missing(t, copy), missing(t, t.path(f"w-{name}")), f"version {version}, {spec}: what is missing")
                t.git("fsck", "--full", "--no-dangling", cwd=copy)
                expect(glob.glob(os.path.join(copy, "objects/pack/*.promisor")), "a promisor pack")
    # Of combined filters git forgets objects that one of them saw at another depth, so they are held against its single ones.
    for parts in COMBINED:
        if not set(parts) <= set(of_one):
            continue
        wanted = {o: kind for o, kind in of_one[parts[0]].items() if all(o in of_one[p] for p in parts)}
        for version in VERSIONS:
            spec = "combine:" + "+".join(parts)
            copy = partial(t, repo.url(), t.path(f"{version}-{len(parts)}-{parts[0][-3:]}"), spec, "--bare", version=version)
            same_objects(t, copy, wanted, f"version {version}, {spec}")


@test
def random_histories_and_filters(t):
    """A clone and fetches bring what a fresh clone by git's own server would, wherever files and folders moved in between."""
    r = t.random
    for turn in t.rounds(4):
        repo, spec = t.account.repo(), r.choice((*FILTERS[:5], *FILTERS[5:9] * 2))
        work, copy = t.git.init(t.path(f"random{turn}")), t.path(f"random{turn}-copy")
        for step in range(3):
            for _ in range(r.choice([1, 2, 4])):
                files = {"/".join([*r.choices("ab", k=r.choice([0, 1, 2, 3])), f"f{r.randrange(2)}"]):
                         str(r.randrange(2)) * r.choice([1, 9, 10, 2000]) for _ in range(r.choice([1, 3]))}
                t.git.commit(work, files, "x")
            if r.random() < 0.5:
                t.git("tag", "-a", "-m", "x", f"t{step}", cwd=work)
            t.git("push", "-q", "--mirror", repo.url(), cwd=work)
            if step == 0:
                partial(t, repo.url(), copy, spec, "--mirror")
            else:
                t.git("fetch", "-q", cwd=copy)
            source = bare_source(t, work, f"random{turn}-{step}")
            fresh = partial(t, f"file://{source}", t.path(f"random{turn}-{step}-fresh"), spec, "--mirror")
            same(t.git.refs(copy), t.git.refs(work), f"{spec}: refs")
            gone, wanted = missing(t, copy), missing(t, fresh)
            same((sorted(gone - wanted), sorted(wanted - gone)), ([], []), f"turn {turn}, step {step}, {spec}: missing, and too much")
            t.git("fsck", "--full", "--no-dangling", cwd=copy)
        expect(not set(ids(t, copy)) - t.git.objects(work), f"{spec}: nothing that no ref reaches")


@test
def git_fetches_what_it_needs(t):
    """A checkout, a diff, blame and log of a clone without blobs; afterwards nothing is missing."""
    repo, work = begin(t)
    for version in VERSIONS:
        copy = partial(t, repo.url(), t.path(f"c{version}"), "blob:none", version=version)
        before = missing(t, copy, "HEAD")
        same(before, {o for o, kind in ids(t, work).items() if kind == "blob"}, f"version {version}: every blob is missing")
        same(t.git("config", "remote.origin.partialclonefilter", cwd=copy).strip(), "blob:none", "the filter is kept")
        t.git(*v(version), "checkout", "-q", "main", cwd=copy)
        same(t.git("status", "--porcelain", cwd=copy), "", f"version {version}: the work tree")
        same(missing(t, copy, "HEAD") & t.git.objects(work, "HEAD^{tree}"), set(), f"version {version}: the tip is whole")
        same(t.git(*v(version), "diff", "HEAD~1", cwd=copy), t.git("diff", "HEAD~1", cwd=work), "diff")
        same(t.git(*v(version), "blame", "-s", "a/changing", cwd=copy), t.git("blame", "-s", "a/changing", cwd=work), "blame")
        t.git(*v(version), "log", "-p", cwd=copy)
        same(missing(t, copy, "HEAD"), set(), f"version {version}: all is there")
        same(set(ids(t, copy)), t.git.objects(work), "and no more")
        t.git("fsck", "--full", cwd=copy)


@test
def one_object_one_request(t):
    """A missing blob is fetched without a list of refs, many of them together."""
    repo, work = begin(t)
    copy = partial(t, repo.url(), t.path("c"), "blob:none")
    trace = t.git.traced(*v(2), "cat-file", "-p", t.git.rev(work, "HEAD~2:a/changing"), cwd=copy)
    same((trace.out, trace.sent("command=ls-refs"), trace.sent("want ")), (t.git("cat-file", "-p", "HEAD~2:a/changing", cwd=work), 0, 1), "one blob")
    trace = t.git.traced(*v(2), "checkout", "-q", "main", cwd=copy)
    same((trace.status, trace.sent("command=fetch"), trace.sent("want ") > 5), (0, 1, True), "a checkout")
    err = t.git.fails("cat-file", "-p", "1" * 40, cwd=copy)
    expect("1" * 40 in err, "one that is nowhere", err)


@test
def trees_that_are_missing(t):
    repo, work = begin(t)
    for version in VERSIONS:
        copy = partial(t, repo.url(), t.path(f"c{version}"), "tree:0", version=version)
        same(set(ids(t, copy).values()), {"commit", "tag"}, f"version {version}: commits and tags only")
        t.git("fsck", cwd=copy)
        tree = t.git.rev(work, "HEAD:a/b")
        same(t.git(*v(version), "cat-file", "-p", tree, cwd=copy), t.git("cat-file", "-p", tree, cwd=work), "a tree")
        t.git("fsck", cwd=copy)
        same(t.git.objects(copy, "HEAD"), t.git.objects(work, "HEAD"), f"version {version}: a walk brings all the rest")
        t.git(*v(version), "checkout", "-q", "main", cwd=copy)
        t.git("fsck", "--full", cwd=copy)


@test
def a_blob_by_its_id(t):
    repo, work = begin(t)
    blobs = [t.git.rev(work, f"HEAD~{i}:a/changing") for i in range(4)]
    for version in VERSIONS:
        copy = partial(t, repo.url(), t.path(f"c{version}"), "blob:none", version=version)
        t.git(*v(version), "fetch", "-q", "origin", blobs[0], cwd=copy)
        same(blobs[0] in missing(t, copy), False, f"version {version}: asked for by id")
        lines = "".join(f"{o}\n" for o in blobs)
        t.git(*v(version), "fetch", "-q", "--no-tags", "--filter=blob:none", "--stdin", "origin", cwd=copy, data=lines.encode())
        same(missing(t, copy) & set(blobs), set(), f"version {version}: many by id, though the filter says none")
        t.git("fsck", "--full", cwd=copy)


@test
def what_a_ref_points_at_comes_along(t):
    """Blobs and trees that refs name come whatever the filter, and every tag in a chain of them; what an annotated tag leads to
    may come (git's versions differ), and a fsck is content."""
    repo, work = begin(t)
    t.git("tag", "light-blob", "HEAD:a/changing", cwd=work)
    t.git("tag", "light-tree", "HEAD~1:b", cwd=work)
    t.git("tag", "-a", "-m", "x", "blob", "HEAD~1:a/changing", cwd=work)
    t.git("tag", "-a", "-m", "x", "tree", "HEAD^{tree}", cwd=work)
    t.git("tag", "-a", "-m", "x", "nested", "v1", cwd=work)
    t.git("push", "-q", repo.url(), "--tags", cwd=work)
    whole = ids(t, work)
    for spec, left in (("blob:none", ("blob",)), ("tree:0", ("blob", "tree"))):
        needed = {o: kind for o, kind in whole.items() if kind not in left} | {t.git.rev(work, n): "" for n in ("light-blob", "light-tree")}
        may = {t.git.rev(work, f"{n}^{{}}") for n in ("blob", "tree")}
        for version in VERSIONS:
            copy = partial(t, repo.url(), t.path(f"{version}-{spec[:4]}"), spec, "--bare", version=version)
            have = set(ids(t, copy))
            same((sorted(set(needed) - have), sorted(have - set(needed) - may)), ([], []), f"version {version}, {spec}: too few, too many")
            t.git("fsck", "--full", cwd=copy)


@test
def later_fetches(t):
    """The filter goes on; --no-filter brings all of the new; --refetch brings what another filter lets through."""
    for version in VERSIONS:
        repo, work = begin(t)
        copy = partial(t, repo.url(), t.path(f"c{version}"), "blob:none", version=version)

        def grow(name, sizes):
            old = t.git.rev(work)
            for i, size in enumerate(sizes):
                t.git.commit(work, {name: f"{name} {i} ".ljust(size, "x")}, f"{name} {i}")
            t.git("push", "-q", repo.url(), "main", cwd=work)
            return f"{old}..origin/main"

        def fetch(*args):
            t.git(*v(version), "fetch", "-q", *args, "origin", cwd=copy)
        span = grow("one", (20, 20, 20))
        fetch()
        same(len(missing(t, copy, span)), 3, f"version {version}: the filter goes on")
        span = grow("two", (20, 20))
        fetch("--no-filter")
        same(len(missing(t, copy, span)), 0, f"version {version}: --no-filter")
        if t.git.version >= (2, 36):
            span = grow("three", (100, 1000, 10000, 10000, 20000, 20000))
            fetch("--filter=blob:limit=999")
            same(len(missing(t, copy, span)), 5, f"version {version}: another filter")
            fetch("--filter=blob:limit=15000", "--refetch")
            same(len(missing(t, copy, span)), 2, f"version {version}: --refetch")
            fetch("--filter=blob:limit=29999", "--refetch")
            same(missing(t, copy), set(), f"version {version}: --refetch once more")
        t.git("fsck", "--full", "--no-dangling", cwd=copy)


@test
def a_filter_without_a_clone(t):
    repo, work = begin(t)
    for version in VERSIONS:
        copy = t.git.init(t.path(f"c{version}"))
        t.git("remote", "add", "origin", repo.url(), cwd=copy)
        t.git(*v(version), "fetch", "-q", "--filter=blob:none", "origin", "main:refs/heads/other", cwd=copy)
        same(missing(t, copy, "other"), {o for o, kind in ids(t, work).items() if kind == "blob"}, f"version {version}: every blob")
        t.git("fsck", "--full", cwd=copy)


@test
def shallow_and_partial(t):
    repo, work = begin(t)
    source = bare_source(t, work)
    for version in VERSIONS:
        for spec in ("blob:none", "tree:1", "blob:limit=100"):
            name = f"{version}-{spec[:4]}-{len(spec)}"
            copy, other = t.path(name), t.path(f"w-{name}")
            partial(t, repo.url(), copy, spec, "--depth=2", version=version)
            partial(t, f"file://{source}", other, spec, "--depth=2")
            same_objects(t, copy, ids(t, other), f"version {version}, {spec}: at depth 2")
            for options in (("--deepen=1",), ("--unshallow",)):
                for path in (copy, other):
                    t.git(*v(version), "fetch", "-q", *options, cwd=path)
                same(missing(t, copy), missing(t, other), f"version {version}, {spec} {options}: what is missing")
                t.git("fsck", "--full", "--no-dangling", cwd=copy)
            if t.git.version >= (2, 36):
                t.git(*v(version), "fetch", "-q", "--refetch", "--filter=blob:limit=1m", cwd=copy)
                same(missing(t, copy), set(), f"version {version}, {spec}: refetched")


@test
def what_moves_up_is_sent(t):
    """A file or folder that lay too deep for the client's filter, and now does not, is not one that it has."""
    for version in VERSIONS:
        repo = t.account.repo()
        work = t.git.init(t.path(f"up{version}"))
        t.git.commit(work, {"a/a/file": "1\n", "b/b/c/file": "2\n"}, "deep")
        t.git("push", "-q", repo.url(), "main", cwd=work)
        copy = partial(t, repo.url(), t.path(f"c{version}"), "tree:3", "--bare", version=version)
        t.git.commit(work, {"a/file": "1\n", "c/file": "2\n"}, "copied up")
        t.git("push", "-q", repo.url(), "main", cwd=work)
        t.git(*v(version), "fetch", "-q", "origin", "main:main", cwd=copy)
        same({t.git.rev(work, "HEAD:a/file"), t.git.rev(work, "HEAD:c/file")} & missing(t, copy), set(), f"version {version}: what is missing")


@test
def one_pack_for_many_branches(t):
    """Branches and tags that came since are one exchange, and tags follow in a clone of one branch."""
    repo, work = begin(t)
    copy = t.path("c")
    t.git("clone", "-q", "--filter=blob:none", repo.url(), copy)
    before = packs(copy)
    for name in "ABC":
        t.git.commit(work, {f"new{name}": name}, name)
        t.git("branch", name, cwd=work)
        t.git("tag", f"tag{name}", cwd=work)
    t.git("push", "-q", repo.url(), "main", "A", "B", "C", "--tags", cwd=work)
    t.git("-c", "fetch.unpackLimit=1", "fetch", "-q", "origin", cwd=copy)
    same(len(packs(copy) - before), 1, "packs")
    t.git("fetch", "-q", "--tags", "origin", cwd=copy)
    one = t.path("one")
    t.git("clone", "-q", "--single-branch", "-b", "B", "--filter=blob:none", repo.url(), one)
    same(sorted(r for r in t.git.refs(one) if "tags" in r), ["refs/tags/tagA", "refs/tags/tagB", "refs/tags/v1"], "tags of one branch")


@test
def deltas_on_what_the_client_lacks(t):
    """A fetch into a clone without trees or blobs never needs more than it asked for; thin packs are on by default."""
    for spec in ("tree:0", "blob:none"):
        repo = t.account.repo()
        work = t.git.init(t.path(f"work-{spec[:4]}"))
        files = {f"file{i}": f"line {i}\n" * 200 for i in range(100)}
        t.git.commit(work, files, "initial")
        t.git("push", "-q", repo.url(), "main", cwd=work)
        copy = partial(t, repo.url(), t.path(f"c-{spec[:4]}"), spec, "--bare")
        t.git.commit(work, {"file1": files["file1"] + "another line\n"}, "a small change")
        t.git("push", "-q", "--thin", repo.url(), "main", cwd=work)
        trace = t.git.traced(*v(2), "fetch", "-q", "origin", "main:new", cwd=copy)
        same(trace.status, 0, f"{spec}: {trace.err}")
        t.git("fsck", cwd=copy)
        t.git(*v(2), "fetch", "-q", "--no-filter", "origin", "main:again", cwd=copy)
        same(t.git(*v(2), "show", "new:file1", cwd=copy), files["file1"] + "another line\n", f"{spec}: its content")


@test
def pushes_from_a_partial_clone(t):
    """On top of what it never had; then both sides go on, and what is repacked stays whole."""
    repo, work = begin(t)

    def collect(copy):
        """Some versions lose what a partial clone pushed (mended in 2.48)."""
        if not (2, 40) <= t.git.version < (2, 48):
            t.git("gc", "-q", "--prune=now", cwd=copy)
    for version in VERSIONS:
        for spec in ("blob:none", "tree:0"):
            copy = t.path(f"c{version}-{spec[:4]}")
            t.git(*v(version), "clone", "-q", f"--filter={spec}", repo.url(), copy)
            t.git.commit(copy, {"a/changing": f"by {version} {spec}\n"}, "from a partial clone")
            t.git(*v(version), "push", "-q", "origin", "main", cwd=copy)
            collect(copy)
            t.git("pull", "-q", repo.url(), "main", cwd=work)
            t.git.commit(work, {"b/more": f"{version} {spec}"}, "from elsewhere")
            t.git("push", "-q", repo.url(), "main", cwd=work)
            t.git(*v(version), "pull", "-q", cwd=copy)
            same(t.git.rev(copy), t.git.rev(work), f"version {version}, {spec}: tip")
            collect(copy)
            t.git("fsck", "--full", cwd=copy)
    t.git.same_repository(t.git.mirror(repo.url(), t.path("m")), work, "all of it")


@test
def submodules_of_partial_clones(t):
    inner, inner_work = begin(t)
    repo = t.account.repo()
    work = t.git.init(t.path("outer"))
    t.git("submodule", "add", "-q", inner.url(), "sub", cwd=work)
    t.git("checkout", "-q", "HEAD~1", cwd=os.path.join(work, "sub"))
    t.git.commit(work, {"a": "1"}, "one")
    t.git("checkout", "-q", t.git.rev(inner_work), cwd=os.path.join(work, "sub"))
    t.git.commit(work, {"a": "2"}, "two")
    t.git("push", "-q", repo.url(), "main", cwd=work)
    # .gitmodules is one of the blobs left out, and looked at all the same.
    t.git("-c", "transfer.fsckObjects=true", "clone", "-q", "--filter=blob:none", repo.url(), t.path("checked"))
    t.git("-c", "transfer.fsckObjects=true", "clone", "-q", "--no-checkout", "--filter=blob:none", repo.url(), t.path("unchecked"))
    t.git("fetch", "-q", cwd=t.path("unchecked"))
    if t.git.version < (2, 36):
        return
    copy = t.path("c")
    t.git("clone", "-q", "--filter=blob:none", "--also-filter-submodules", "--recurse-submodules", repo.url(), copy)
    sub = os.path.join(copy, "sub")
    expect(missing(t, sub, "HEAD"), "the submodule is partial")
    t.git("checkout", "-q", "HEAD^", cwd=copy)
    t.git("submodule", "update", "-q", cwd=copy)
    same((t.git.rev(sub), t.git("show", "HEAD:a/changing", cwd=sub)),
         (t.git.rev(inner_work, "HEAD~1"), t.git("show", "HEAD~1:a/changing", cwd=inner_work)), "the submodule fetched")
    t.git("fsck", "--full", cwd=copy)
    t.git("fsck", "--full", cwd=sub)


@test
def sparse_checkouts(t):
    """Only the blobs of the cone come with the checkout."""
    repo, work = begin(t)
    copy = t.path("c")
    t.git("clone", "-q", "--filter=blob:none", "--sparse", repo.url(), copy)
    here = {t.git.rev(work, f"HEAD:{n}") for n in ("size9", "file0", "size1k")}
    deep = t.git.rev(work, "HEAD:a/b/c/deep3")
    gone = missing(t, copy, "HEAD")
    expect(not here & gone and deep in gone, "files at the top only", gone)
    t.git("sparse-checkout", "set", "a/b", cwd=copy)
    expect(deep not in missing(t, copy, "HEAD"), "and then those of a folder")
    t.git("fsck", "--full", cwd=copy)


@test
def filters_that_are_refused(t):
    repo, work = begin(t)
    oid = t.git.rev(work, "HEAD:size9")
    for version in VERSIONS:
        for n, spec in enumerate((f"sparse:oid={oid}", "sparse:oid=main:size9", f"combine:blob:none+sparse:oid={oid}")):
            err = t.git.fails(*v(version), "clone", "--no-checkout", f"--filter={spec}", repo.url(), t.path(f"{version}-{n}"))
            expect(re.search(r"remote error: .*sparse", err) or re.search(r"sparse.* not ", err), f"version {version}, {spec}: a sentence", err)
        several = t.path(f"several{version}")
        t.git(*v(version), "clone", "-q", "--bare", "--filter=blob:none", "--filter=tree:1", repo.url(), several)
        same(set(ids(t, several)), {o for c in t.git("rev-list", "--all", cwd=work).split() for o in (c, t.git.rev(work, f"{c}^{{tree}}"))}
             | {t.git.rev(work, "v1")}, f"version {version}: two filters are one")
