"""What git expects of a server that it clones and fetches from over HTTP, whatever options it is given: requests and
answers, lists of refs, refs that move meanwhile, histories cut off at a depth, large negotiations."""
import os
import re

from harness import Fail, expect, same, test
from harness.relay import Relay

IN_MEMORY = True
COST = 16
VERSIONS = (0, 1, 2)
# Before 2.44 git looks for tags to follow in a stale list of loose objects, in versions 0 and 1 over HTTP.
PACKED = ("-c", "fetch.unpackLimit=1")
NEVER = "1" * 40


def v(version):
    return ("-c", f"protocol.version={version}")


def begin(t, commits=4, **fields):
    """(repo, work): commits one, two, ... on main, the last of them pushed."""
    repo = t.account.repo(**fields)
    work = t.git.init(t.path(f"work-{repo.id[:8]}"))
    for i in range(commits):
        t.git.commit(work, {f"f{i}": f"{i}\n", "changing": f"{i}\n" * (i + 1)}, str(i))
    t.git("push", "-q", repo.url(), "main", cwd=work)
    return repo, work


def push(t, repo, work, *what):
    t.git("push", "-q", repo.url(), *what, cwd=work)


def subjects(t, path, rev="origin/main"):
    return t.git("log", "--format=%s", rev, "--", cwd=path).split()


def ids(t, path):
    """Every object that the repository holds."""
    out = t.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", cwd=path)
    return set(out.split())


def fast_import(t, path, stream):
    t.git("fast-import", "--quiet", "--force", cwd=path, data="".join(stream).encode())


def many_tags(t, work, first, last):
    """Tags on commits that have nothing in common, each a root."""
    rows = []
    for i in range(first, last):
        rows += [f"reset refs/tags/{'long' * 20}-{i}\ncommit refs/tags/{'long' * 20}-{i}\n",
                 f"committer C <c@example.com> {1600000000 + i} +0000\ndata 0\nM 644 inline file\ndata 1\nx\n"]
    fast_import(t, work, rows)


def line_of_commits(word, n, parent=None, start=1700000000, ref="refs/heads/main"):
    rows = []
    for i in range(1, n + 1):
        rows.append(f"commit {ref}\nmark :{i}\ncommitter C <c@example.com> {start + i} +0000\ndata {len(word + str(i))}\n{word}{i}\n"
                    + (f"from {parent}\n" if parent else "") + f"M 100644 inline {word}{i % 5}\ndata {len(str(i))}\n{i}\n")
        parent = f":{i}"
    return rows


# Requests and answers.

@test
def what_a_clone_asks_for_and_is_told(t):
    """Paths, types and headers of the two or three exchanges; nothing may be cached, nothing leads elsewhere."""
    repo, _ = begin(t)
    for version in VERSIONS:
        trace = t.git.traced(*v(version), "clone", "-q", repo.url(), t.path(f"c{version}"), env={"LANGUAGE": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"})
        same(trace.status, 0, f"version {version}: {trace.err}")
        answered = [(r[0].split(" ")[0], r[0].split(" ")[1], a) for r, a in zip(trace.requests, trace.answers) if " 401 " not in a[0] + " "]
        paths = [f"/{repo.id}.git/info/refs?service=git-upload-pack"] + [f"/{repo.id}.git/git-upload-pack"] * (2 if version == 2 else 1)
        same([path for _, path, _ in answered], paths, f"version {version}: paths")
        same([method for method, _, _ in answered], ["GET"] + ["POST"] * (len(paths) - 1), f"version {version}: methods")
        kinds = ["application/x-git-upload-pack-advertisement"] + ["application/x-git-upload-pack-result"] * (len(paths) - 1)
        for (_, path, answer), kind in zip(answered, kinds):
            headers = {k.lower(): value for k, _, value in (line.partition(": ") for line in answer[1:])}
            expect(answer[0].startswith("HTTP/1.1 200"), f"{path}: status", answer[0])
            same(headers["content-type"], kind, f"{path}: type")
            for word in ("no-cache", "max-age=0", "must-revalidate"):
                expect(word in headers["cache-control"], f"{path}: Cache-Control", headers["cache-control"])
            same(headers["pragma"], "no-cache", f"{path}: Pragma")
            expect("expires" in headers and "location" not in headers, f"{path}: Expires, and no Location", headers)


@test
def chunked_and_zipped_requests(t):
    """A list of wants longer than http.postBuffer comes in chunks; one that is long but fits comes zipped."""
    repo, work = begin(t, 1)
    fast_import(t, work, [row for i in range(1500) for row in line_of_commits(f"n{i}-", 1, ref=f"refs/heads/many/{i}")])
    push(t, repo, work, "refs/heads/*")
    for version in (0, 2):
        for size, header in ((65536, "Transfer-Encoding: chunked"), (1000000, "Content-Encoding: gzip")):
            copy = t.path(f"c{version}-{size}")
            trace = t.git.traced(*v(version), "-c", f"http.postBuffer={size}", "clone", "-q", "--mirror", repo.url(), copy)
            same(trace.status, 0, f"version {version}: {trace.err}")
            expect(any(line.lower() == header.lower() for post in trace.posts for line in post), f"version {version}: {header}", trace.posts)
            t.git.same_repository(copy, work, f"version {version}, {header}")


@test
def one_exchange_lists_refs_in_version_2(t):
    repo, work = begin(t)
    trace = t.git.traced(*v(2), "ls-remote", repo.url())
    same(len(trace.posts), 1, "requests")
    expect(t.git.rev(work) in trace.out, "the list", trace.out)


@test
def headers_and_names_of_all_kinds(t):
    """Cookies, headers nobody knows, another name for the host."""
    repo, work = begin(t)
    cookies = t.write("cookies", "Set-Cookie: Foo=1\nSet-Cookie: Bar=\n")
    out = t.git("-c", f"http.cookieFile={cookies}", "-c", "http.extraHeader=x-magic: abra", "-c", "http.extraHeader=Accept-Language: ko",
                "-c", "http.userAgent=", "ls-remote", repo.url())
    expect(t.git.rev(work) in out, "the list", out)
    if t.git.version >= (2, 37):
        port = t.server.url.rsplit(":", 1)[1]
        url = repo.url().replace("127.0.0.1", "git.example.com")
        out = t.git("-c", f"http.curloptResolve=git.example.com:{port}:127.0.0.1", "ls-remote", url)
        expect(t.git.rev(work) in out, "by another host name", out)


@test
def credentials_are_remembered_and_forgotten(t):
    """A helper is told of what worked, and of what did not, so the statuses are the right ones."""
    repo, _ = begin(t)
    store = t.path("store")
    helper = ("-c", "credential.helper=", "-c", f"credential.helper=store --file={store}")

    def ask(password):
        path = t.write("askpass", f'#!/bin/sh\necho "$1" >>{t.path("asked")}\ncase "$1" in Username*) echo x;; *) echo {password};; esac\n')
        os.chmod(path, 0o755)
        if os.path.exists(t.path("asked")):
            os.unlink(t.path("asked"))
        return {"GIT_ASKPASS": path}

    def asked():
        return os.path.exists(t.path("asked"))
    t.git(*helper, "ls-remote", repo.url(None), env=ask(repo.account.key))
    expect(asked() and repo.account.key in open(store, encoding="ascii").read(), "asked, and remembered")
    t.git(*helper, "ls-remote", repo.url(None), env=ask("wrong"))
    expect(not asked(), "not asked again")
    t.write("store", f"{t.server.url.replace('://', '://x:bogus@')}\n")
    t.git.fails(*helper, "ls-remote", repo.url(None), env=ask(repo.account.key))
    expect(not asked() and "bogus" not in open(store, encoding="ascii").read(), "what did not work is forgotten")
    t.git(*helper, "ls-remote", repo.url(None), env=ask(repo.account.key))
    expect(asked(), "and asked for again")


@test
def no_other_services(t):
    """Archives, and repositories of another hash, are refused with words at once."""
    repo, _ = begin(t)
    expect(t.git.fails("archive", f"--remote={repo.url()}", "HEAD"), "words about archives")
    if t.git.version >= (2, 31):
        other = t.path("sha256")
        t.git("init", "-q", "--object-format=sha256", other)
        for version in VERSIONS:
            err = t.git.fails(*v(version), "fetch", repo.url(), "main", cwd=other)
            expect("sha1" in err or "hash" in err or "object format" in err or "algorithm" in err, f"version {version}: words", err)


@test
def nothing_that_was_not_announced(t):
    """Bundles and packs by URL are offered by no line, so git asks for none whatever it is set to."""
    repo, work = begin(t)
    trace = t.git.traced(*v(2), "-c", "transfer.bundleURI=true", "-c", "fetch.uriProtocols=http,https", "clone", "-q", repo.url(), t.path("c"))
    same(trace.status, 0, trace.err)
    same((trace.got("bundle-uri"), trace.sent("command=bundle-uri"), trace.sent("packfile-uris")), (0, 0, 0), "lines about them")
    same(t.git.rev(t.path("c")), t.git.rev(work), "tip")


@test
def everything_in_a_side_band(t):
    """sideband-all, for which git has a switch of its tests only."""
    repo, work = begin(t)
    env = {"GIT_TEST_SIDEBAND_ALL": "1"}
    copy = t.path("c")
    trace = t.git.traced(*v(2), "clone", "-q", "--depth", "2", repo.url(), copy, env=env)
    same((trace.status, trace.sent("sideband-all")), (0, 1), f"a clone: {trace.err}")
    t.git.commit(work, {"more": "1"}, "more")
    push(t, repo, work, "main")
    for args in (("fetch", "-q"), ("fetch", "-q", "--unshallow")):
        trace = t.git.traced(*v(2), *args, cwd=copy, env=env)
        expect(trace.status == 0 and trace.sent("sideband-all"), " ".join(args), trace.err)
        t.git("fsck", "--full", "--no-dangling", cwd=copy)
    same(t.git.objects(copy, "origin/main"), t.git.objects(work), "objects")
    err = t.git.fails(*v(2), "fetch", "origin", NEVER, cwd=copy, env=env)
    expect("not our ref" in err, "a refusal in it", err)


# Lists of refs.

@test
def lists_with_symbolic_refs(t):
    repo, work = begin(t)
    t.git("tag", "-a", "-m", "x", "v1", "HEAD~1", cwd=work)
    push(t, repo, work, "main:refs/heads/a/b", "v1", "HEAD~1:refs/notes/n")
    main, tag, old = t.git.rev(work), t.git.rev(work, "v1"), t.git.rev(work, "HEAD~1")
    for version in VERSIONS:
        def ls(*args):
            return t.git(*v(version), "ls-remote", *args).splitlines()
        same(ls("--symref", repo.url()), ["ref: refs/heads/main\tHEAD", f"{main}\tHEAD", f"{main}\trefs/heads/a/b", f"{main}\trefs/heads/main",
                                          f"{old}\trefs/notes/n", f"{tag}\trefs/tags/v1", f"{old}\trefs/tags/v1^{{}}"], f"version {version}: all")
        same(ls("--symref", repo.url(), "HEAD"), ["ref: refs/heads/main\tHEAD", f"{main}\tHEAD"], f"version {version}: HEAD")
        same(ls("--heads", repo.url()), [f"{main}\trefs/heads/a/b", f"{main}\trefs/heads/main"], f"version {version}: heads")
        same(ls("--tags", "--refs", repo.url()), [f"{tag}\trefs/tags/v1"], f"version {version}: tags")
        same(ls(repo.url(), "b", "refs/notes/*"), [f"{main}\trefs/heads/a/b", f"{old}\trefs/notes/n"], f"version {version}: patterns")
        same(t.git.run(*v(version), "ls-remote", "--exit-code", repo.url(), "nothing")[0], 2, f"version {version}: no match")
    repo.account.api.put(repo.path + "/default-branch", {"defaultBranch": "a/b"}).empty()
    for version in VERSIONS:
        same(t.git(*v(version), "ls-remote", "--symref", repo.url(), "HEAD").splitlines()[0], "ref: refs/heads/a/b\tHEAD", f"version {version}: moved")
        t.git(*v(version), "clone", "-q", repo.url(), t.path(f"c{version}"))
        same(t.git("symbolic-ref", "HEAD", cwd=t.path(f"c{version}")).strip(), "refs/heads/a/b", f"version {version}: HEAD of a clone")


@test
def an_unborn_head(t):
    """The default branch's name comes along though there is nothing on it yet."""
    if t.git.version < (2, 31):
        t.skip("this git does not ask for it")
    repo, work = begin(t, defaultBranch="not/yet")
    empty = repo.account.repo(defaultBranch="not/yet")
    for n, bare in enumerate(([], ["--bare"])):
        t.git(*v(2), "clone", "-q", *bare, empty.url(), t.path(f"e{n}"))
        same(t.git("symbolic-ref", "HEAD", cwd=t.path(f"e{n}")).strip(), "refs/heads/not/yet", f"of nothing {bare}")
        _, _, err = t.git.run(*v(2), "clone", *bare, repo.url(), t.path(f"c{n}"))
        same(t.git("symbolic-ref", "HEAD", cwd=t.path(f"c{n}")).strip(), "refs/heads/not/yet", f"of another branch {bare}")
        same(b"nonexistent ref" in err, not bare, f"the warning {bare}: {err}")
    same(t.git.refs(t.path("c1")), t.git.refs(work), "what there is came")
    same(t.git.run("ls-remote", "--exit-code", empty.url())[0], 2, "an empty list")


@test
def only_what_was_asked_for_is_listed(t):
    """Prefixes keep other refs out of version 2's answers."""
    repo, work = begin(t)
    push(t, repo, work, "main:refs/heads/unwanted", "main:refs/tags/known", "HEAD~1:refs/heads/dwim")
    copy = t.git.init(t.path("copy"))
    t.git("remote", "add", "origin", repo.url(), cwd=copy)
    trace = t.git.traced(*v(2), "fetch", "-q", "origin", "main", cwd=copy)
    same((trace.status, "unwanted" in trace.packets), (0, False), f"one branch: {trace.err}")
    t.git(*v(2), "fetch", "-q", "origin", f"{t.git.rev(work)}:refs/heads/exact", cwd=copy)
    same(t.git.rev(copy, "exact"), t.git.rev(work), "by its id")
    same(t.git.rev(copy, "refs/tags/known"), t.git.rev(work), "the tag came along")
    trace = t.git.traced(*v(2), "fetch", "-q", "--no-tags", "origin", f"{t.git.rev(work)}:refs/heads/again", cwd=copy)
    same((trace.status, trace.sent("command=ls-refs")), (0, 0), "an id alone needs no list")
    trace = t.git.traced(*v(2), "fetch", "-q", "origin", cwd=copy)
    expect("ref-prefix refs/heads/" in trace.packets and "ref-prefix refs/tags/" in trace.packets, "prefixes of a whole fetch", trace.packets)


@test
def refspecs_of_every_form(t):
    """Short names, whole names, patterns and ids in one fetch bring these and nothing else."""
    for version in VERSIONS:
        repo, work = begin(t, 1)
        tree = t.git.rev(work, "HEAD^{tree}")
        made = {}
        for name in ("dwim", "exact", "exact-unwanted", "prefix1", "prefix2", "by-id", "unrelated"):
            made[name] = t.git("commit-tree", "-m", name, tree, cwd=work).strip()
            t.git("tag", name, made[name], cwd=work)
        push(t, repo, work, "--tags")
        copy = t.git.init(t.path(f"c{version}"))
        t.git(*v(version), "fetch", "-q", repo.url(), "dwim", "refs/tags/exact", "refs/tags/prefix*:refs/tags/prefix*", made["by-id"], cwd=copy)
        have = ids(t, copy)
        same({n for n, oid in made.items() if oid in have}, {"dwim", "exact", "prefix1", "prefix2", "by-id"}, f"version {version}: what came")
        t.git(*v(version), "fetch", "-q", repo.url(), "refs/heads/none*:refs/heads/none*", cwd=copy)
        err = t.git.fails(*v(version), "fetch", repo.url(), "refs/heads/none", cwd=copy)
        expect("find remote ref" in err, f"version {version}: a ref that is not there", err)
        t.git(*v(version), "fetch", "-q", repo.url(), "+refs/*:refs/mirrored/*", "^refs/tags/un*", cwd=copy)
        same(sorted(r for r in t.git.refs(copy) if r.startswith("refs/mirrored/")),
             sorted("refs/mirrored" + r[4:] for r in t.git.refs(work) if "/un" not in r), f"version {version}: all but one")


@test
def tags_follow_whatever_the_depth(t):
    repo, work = begin(t)
    t.git("tag", "light", cwd=work)
    t.git("tag", "-a", "-m", "x", "annotated", cwd=work)
    t.git("tag", "-a", "-m", "x", "older", "HEAD~2", cwd=work)
    push(t, repo, work, "--tags")
    for version in VERSIONS:
        copy = t.git.init(t.path(f"c{version}"))
        t.git(*v(version), *PACKED, "fetch", "-q", "--depth", "1", repo.url(), "refs/tags/annotated:refs/tags/annotated", cwd=copy)
        same(sorted(t.git.refs(copy)), ["refs/tags/annotated", "refs/tags/light"], f"version {version}: tags at depth 1")
        t.git("fsck", "--full", cwd=copy)
        branch = t.git.init(t.path(f"b{version}"))
        t.git(*v(version), "fetch", "-q", repo.url(), "main:got", cwd=branch)
        same(sorted(t.git.refs(branch)), ["refs/heads/got", "refs/tags/annotated", "refs/tags/light", "refs/tags/older"],
             f"version {version}: tags with a branch")
        none = t.git.init(t.path(f"n{version}"))
        t.git(*v(version), "fetch", "-q", "--no-tags", repo.url(), "main:got", cwd=none)
        same((sorted(t.git.refs(none)), ids(t, none)), (["refs/heads/got"], t.git.objects(work, "main")), f"version {version}: no tags, if so wished")


@test
def refs_that_went_are_pruned(t):
    repo, work = begin(t)
    push(t, repo, work, "main:a", "main:keep", "main:refs/tags/t")
    for version in VERSIONS:
        t.git(*v(version), "clone", "-q", "--mirror", repo.url(), t.path(f"c{version}"))
    push(t, repo, work, ":a", ":refs/tags/t", "main:refs/heads/a/b/c")
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "fetch", "-q", "--prune", cwd=copy)
        same(t.git.refs(copy), t.git.remote_refs(repo.url()), f"version {version}: refs")
        t.git(*v(version), "fetch", "-q", "--atomic", cwd=copy) if t.git.version >= (2, 31) else None


@test
def server_options_are_taken(t):
    repo, work = begin(t)
    copy = t.path("c")
    trace = t.git.traced(*v(2), "clone", "-q", "--server-option=hello", "--server-option=two words", repo.url(), copy)
    same((trace.status, trace.sent("server-option=hello") >= 2, trace.sent("server-option=two words") >= 2), (0, True, True), trace.err)
    trace = t.git.traced(*v(2), "fetch", "-q", "-o", "hello", "origin", "main", cwd=copy)
    same((trace.status, trace.sent("server-option=hello") >= 1), (0, True), trace.err)
    out = t.git(*v(2), "ls-remote", "-o", "x=y", repo.url())
    expect(t.git.rev(work) in out, "ls-remote", out)


# What may be wanted.

@test
def anything_reachable_by_its_id(t):
    repo, work = begin(t)
    t.git("tag", "-a", "-m", "inner", "inner", "HEAD~1", cwd=work)
    t.git("tag", "-a", "-m", "outer", "outer", "inner", cwd=work)
    push(t, repo, work, "outer")
    t.git.commit(work, {"doomed": "pushed and taken back"}, "doomed")
    push(t, repo, work, "HEAD:refs/heads/doomed")
    push(t, repo, work, ":doomed")
    wanted = {"a commit": "HEAD~3", "a tree": "HEAD~2^{tree}", "a blob": "HEAD~3:changing", "a tag in a tag": "inner"}
    for version in VERSIONS:
        for what, rev in wanted.items():
            copy = t.git.init(t.path(f"{version}-{what}"))
            t.git(*v(version), "fetch", "-q", "--no-tags", repo.url(), t.git.rev(work, rev), cwd=copy)
            same(ids(t, copy), t.git.objects(work, t.git.rev(work, rev)), f"version {version}: {what}")
        copy = t.git.init(t.path(f"{version}-none"))
        for what in ("HEAD", "HEAD^{tree}", "HEAD:doomed"):
            err = t.git.fails(*v(version), "fetch", repo.url(), t.git.rev(work, what), cwd=copy)
            expect(f"not our ref {t.git.rev(work, what)}" in err, f"version {version}: {what} is refused", err)
        same(ids(t, copy), set(), f"version {version}: nothing came")


@test
def refs_that_move_between_list_and_fetch(t):
    """Version 2 wants refs by name and gets them as they are by then; by id, what is still reachable is there."""
    for version in (0, 2):
        for way in ("ahead", "rewound", "gone"):
            repo, work = begin(t)
            copy, relay = t.path(f"{version}-{way}"), Relay(t, t.server)
            t.git("clone", "-q", repo.url(), copy)
            fast_import(t, copy, line_of_commits("s", 40, ref="refs/heads/side"))
            t.git.commit(work, {"listed": "1"}, "listed")
            push(t, repo, work, "main", "main:other")
            listed = t.git.rev(work)

            def move():
                if way == "ahead":
                    t.git.commit(work, {"newer": "1"}, "newer")
                    push(t, repo, work, "main")
                elif way == "rewound":
                    t.git("reset", "-q", "--hard", "HEAD~1", cwd=work)
                    t.git.commit(work, {"instead": "1"}, "instead")
                    push(t, repo, work, "-f", "main", "main:other")
                else:
                    t.git("push", "-q", repo.url(), ":other", cwd=work)
            relay.once(b"command=fetch" if version == 2 else b"want ", move)
            branch = "other" if way == "gone" else "main"
            trace = t.git.traced(*v(version), "fetch", relay.through(repo.url()), f"+{branch}:refs/remotes/origin/{branch}", cwd=copy)
            expect(relay.before is None, "it moved meanwhile")
            by_name = version == 2 and trace.sent("want-ref")
            if by_name and way == "gone":
                expect(trace.status and "unknown ref refs/heads/other" in trace.err, f"version {version}, {way}", trace.err)
            elif not by_name and way == "rewound":
                expect(trace.status and f"not our ref {listed}" in trace.err, f"version {version}, {way}", trace.err)
            else:
                same(trace.status, 0, f"version {version}, {way}: {trace.err}")
                same(t.git.rev(copy, f"origin/{branch}"), t.git.rev(work) if by_name else listed, f"version {version}, {way}: what came")
            t.git("fsck", "--full", "--no-dangling", cwd=copy)
            same(bool(by_name), version == 2, "git asks by name where it can")


@test
def wants_by_name(t):
    repo, work = begin(t)
    t.git("branch", "o/foo", "HEAD~1", cwd=work)
    t.git("branch", "o/bar", "HEAD~2", cwd=work)
    t.git("checkout", "-q", "-b", "baz", "HEAD~3", cwd=work)
    t.git.commit(work, {"baz": "1"}, "baz")
    push(t, repo, work, "--all")
    copy = t.git.init(t.path("c"))
    t.git("remote", "add", "origin", repo.url(), cwd=copy)
    trace = t.git.traced(*v(2), "fetch", "-q", "origin", "main", "baz", cwd=copy)
    same((trace.status, trace.sent("want-ref refs/heads/main"), trace.sent("want-ref refs/heads/baz"), trace.sent("want ")), (0, 1, 1, 0), "two by name")
    same((t.git.rev(copy, "origin/main"), t.git.rev(copy, "origin/baz")), (t.git.rev(work, "main"), t.git.rev(work, "baz")), "they came")
    trace = t.git.traced(*v(2), "fetch", "-q", "origin", "refs/heads/o/*:refs/heads/o/*", f"{t.git.rev(work, 'main~3')}:refs/heads/by-id", cwd=copy)
    same(trace.status, 0, trace.err)
    same({k: o for k, o in t.git.refs(copy).items() if k.startswith("refs/heads/")},
         {"refs/heads/o/foo": t.git.rev(work, "o/foo"), "refs/heads/o/bar": t.git.rev(work, "o/bar"), "refs/heads/by-id": t.git.rev(work, "main~3")}, "refs")
    fresh = t.git.init(t.path("f"))
    trace = t.git.traced(*v(2), "fetch", "-q", repo.url(), "o/foo:o/foo", f"{t.git.rev(work, 'o/bar')}:refs/heads/by-id", cwd=fresh)
    same((trace.status, trace.sent("want-ref refs/heads/o/foo"), trace.sent("want ")), (0, 1, 1), f"by name and by id: {trace.err}")
    same(ids(t, fresh), t.git.objects(work, "o/foo"), "objects")


# Negotiation.

@test
def only_negotiating(t):
    """What both have in common, and no pack."""
    if t.git.version < (2, 32):
        t.skip("this git has no --negotiate-only")
    repo, work = begin(t)
    copy = t.path("c")
    t.git("clone", "-q", repo.url(), copy)
    t.git.commit(copy, {"local": "1"})
    fast_import(t, copy, line_of_commits("s", 100, parent=t.git.rev(copy), ref="refs/heads/long"))
    tips = ("--negotiation-tip=main", "--negotiation-tip=long")
    for tip in tips:
        trace = t.git.traced(*v(2), "fetch", "--no-tags", "--negotiate-only", tip, "origin", cwd=copy)
        same(trace.status, 0, trace.err)
        expect(t.git.rev(work) in trace.out.split() and not set(trace.out.split()) - t.git.objects(work), f"{tip}: in common", trace.out)
        same((trace.sent("wait-for-done") > 0, trace.got("packfile")), (True, 0), "how")
    t.git("checkout", "-q", "--orphan", "unrelated", cwd=copy)
    alone = t.git.commit(copy, {"alone": "1"}, "alone")
    same(t.git(*v(2), "fetch", "--negotiate-only", f"--negotiation-tip={alone}", "origin", cwd=copy), "", "nothing in common")
    err = t.git.fails(*v(0), "fetch", "--negotiate-only", tips[0], "origin", cwd=copy)
    expect("protocol v2" in err, "version 0 has none", err)
    trace = t.git.traced(*v(2), "-c", "push.negotiate=true", "push", "-q", "origin", "long", cwd=copy)
    same((trace.status, trace.sent("wait-for-done") > 0), (0, True), f"before a push: {trace.err}")


@test
def negotiations_of_every_kind(t):
    """Every strategy that git has, from nothing in common to all; unrelated local branches cost rounds and harm nothing."""
    repo, work = begin(t)
    fast_import(t, work, line_of_commits("w", 300, parent=t.git.rev(work)))
    push(t, repo, work, "main~200:main")
    for version in VERSIONS:
        for kind in ("default", "skipping", "noop"):
            copy = t.path(f"{version}-{kind}")
            t.git("clone", "-q", "--no-local", repo.url(), copy)
            rows = [row for i in range(20) for row in line_of_commits(f"u{i}-", 10, ref=f"refs/heads/unrelated{i}")]
            fast_import(t, copy, rows + line_of_commits("mine", 90, parent=t.git.rev(copy), ref="refs/heads/mine"))
    push(t, repo, work, "main")
    for version in VERSIONS:
        for kind in ("default", "skipping", "noop"):
            copy = t.path(f"{version}-{kind}")
            trace = t.git.traced(*v(version), "-c", f"fetch.negotiationAlgorithm={kind}", "fetch", "-q", cwd=copy)
            same(trace.status, 0, f"version {version}, {kind}: {trace.err}")
            same(t.git.rev(copy, "origin/main"), t.git.rev(work, "main"), f"version {version}, {kind}: tip")
            t.git("fsck", "--full", "--no-dangling", cwd=copy)


@test
def many_refs_with_nothing_in_common(t):
    """Wants and haves by the hundred, by the thousand with more rounds, each a history of its own."""
    repo, work = begin(t, 1)
    step = len(t.rounds(300))
    many_tags(t, work, 0, step)
    push(t, repo, work, "--tags")
    for version in (0, 2):
        t.git(*v(version), "clone", "-q", repo.url(), t.path(f"c{version}"))
    for turn in range(2):
        many_tags(t, work, (turn + 1) * step, (turn + 2) * step)
        push(t, repo, work, "--tags")
        for version in (0, 2):
            trace = t.git.traced(*v(version), "fetch", "-q", "--tags", cwd=t.path(f"c{version}"))
            same(trace.status, 0, f"version {version}: {trace.err}")
            same({k: o for k, o in t.git.refs(t.path(f"c{version}")).items() if k.startswith("refs/tags/")},
                 {k: o for k, o in t.git.refs(work).items() if k.startswith("refs/tags/")}, f"version {version}: tags")
    t.git("fsck", "--full", "--no-dangling", cwd=t.path("c2"))


# Depths.

@test
def no_shallow_lines_behind_a_ready(t):
    """Depth with a negotiation of several rounds: version 0's answers have to begin with the same lines each time."""
    for version in VERSIONS:
        repo, work = begin(t, 7)
        copy = t.path(f"c{version}")
        t.git("clone", "-q", repo.url(), copy)
        fast_import(t, work, [row for i in range(15) for row in line_of_commits(f"u{i}-", 1, ref=f"refs/heads/unrelated{i}")])
        push(t, repo, work, "--all")
        t.git("fetch", "-q", work, "refs/heads/unrelated*:refs/heads/unrelated*", cwd=copy)
        t.git.commit(work, {"new": "1"}, "new")
        push(t, repo, work, "main")
        t.git("checkout", "-q", "--orphan", "mine", cwd=copy)
        t.git.commit(copy, {"mine": "1"}, "mine")
        t.git(*v(version), "fetch", "-q", "--depth", "2", cwd=copy)
        same(subjects(t, copy), ["new", "6"], f"version {version}: commits")
        t.git("fsck", "--full", "--no-dangling", cwd=copy)


@test
def since_a_time(t):
    repo = t.account.repo()
    work = t.git.init(t.path("work"))
    rows, parent = [], ""
    for i, (when, name) in enumerate(((100000000, "one"), (200000000, "two"), (300000000, "three")), 1):
        rows.append(f"commit refs/heads/main\nmark :{i}\ncommitter C <c@example.com> {when} +0700\ndata {len(name)}\n{name}\n{parent}"
                    f"M 644 inline {name}\ndata 1\nx\n")
        parent = f"from :{i}\n"
    fast_import(t, work, rows)
    push(t, repo, work, "main")
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--shallow-since", "300000000 +0700", repo.url(), copy)
        same(subjects(t, copy), ["three"], f"version {version}: a clone")
        t.git(*v(version), "fetch", "-q", "--shallow-since", "200000000 +0700", "origin", cwd=copy)
        same(subjects(t, copy), ["three", "two"], f"version {version}: a fetch")
        t.git("fsck", "--full", cwd=copy)
        err = t.git.fails(*v(version), "clone", "-q", "--shallow-since", "400000000 +0700", repo.url(), t.path(f"none{version}"))
        expect("no commits selected" in err, f"version {version}: nothing so new", err)


@test
def excluding_refs(t):
    repo, work = begin(t, 3)
    for name, rev in (("one", "HEAD~2"), ("two", "HEAD~1"), ("three", "HEAD")):
        t.git("tag", name, rev, cwd=work)
    push(t, repo, work, "--tags")
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--shallow-exclude", "two", repo.url(), copy)
        same(subjects(t, copy), ["2"], f"version {version}: a clone")
        t.git("tag", "-f", "-a", "-m", "x", f"again{version}", "HEAD~1", cwd=work)
        push(t, repo, work, f"again{version}")
        # The new tag follows, so git fetches twice in one process.
        t.git(*v(version), "fetch", "-q", "--shallow-exclude", "refs/tags/one", "origin", cwd=copy)
        same(subjects(t, copy), ["2", "1"], f"version {version}: a fetch")
        expect(version != 2 or f"refs/tags/again{version}" in t.git.refs(copy), "a tag that follows")
        t.git("fsck", "--full", cwd=copy)
        err = t.git.fails(*v(version), "fetch", "--shallow-exclude", "nothing-like-it", "origin", cwd=copy)
        expect("nothing-like-it" in err, f"version {version}: an unknown ref", err)


@test
def deepening(t):
    """Relative to what one has, also when the branch has grown; nothing is cut off by it."""
    for version in VERSIONS:
        repo, work = begin(t, 4)
        copy, full = t.path(f"c{version}"), t.path(f"full{version}")
        t.git(*v(version), "clone", "-q", "--depth", "1", repo.url(), copy)
        t.git(*v(version), "clone", "-q", repo.url(), full)
        t.git.commit(work, {"more": "1"}, "more")
        push(t, repo, work, "main")
        t.git(*v(version), "fetch", "-q", "--deepen=1", cwd=copy)
        same(subjects(t, copy), ["more", "3", "2"], f"version {version}: one deeper")
        t.git(*v(version), "fetch", "-q", "--deepen=1", cwd=full)
        same((subjects(t, full), t.git("rev-parse", "--is-shallow-repository", cwd=full).strip()),
             (["more", "3", "2", "1", "0"], "false"), f"version {version}: a whole clone stays whole")
        t.git(*v(version), "fetch", "-q", "--depth=2", cwd=copy)
        same(subjects(t, copy), ["more", "3"], f"version {version}: less deep")
        t.git(*v(version), "fetch", "-q", "--unshallow", cwd=copy)
        same((subjects(t, copy), os.path.exists(os.path.join(copy, ".git/shallow"))), (["more", "3", "2", "1", "0"], False), f"version {version}: all")
        for path in (copy, full):
            t.git("fsck", "--full", "--no-dangling", cwd=path)


@test
def what_lies_behind_the_boundary_is_sent_again(t):
    """A commit may bring back a blob that the client's history has only where it was cut off."""
    for version in VERSIONS:
        repo, work = begin(t, 1)
        t.git.commit(work, {"back": "once more\n"}, "with")
        t.git.commit(work, {"back": None}, "without")
        t.git.commit(work, {"x": "1"}, "later")
        push(t, repo, work, "main")
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--depth", "2", repo.url(), copy)
        t.git.commit(work, {"back": "once more\n"}, "again")
        push(t, repo, work, "main")
        t.git(*v(version), "fetch", "-q", cwd=copy)
        same(subjects(t, copy), ["again", "later", "without"], f"version {version}: commits")
        same(t.git("cat-file", "-p", "origin/main:back", cwd=copy), "once more\n", f"version {version}: the blob")
        t.git("fsck", "--full", cwd=copy)


@test
def a_branch_from_before_the_boundary(t):
    """The client has commits on top of a cut, and wants a branch that leaves history below it, in several rounds."""
    for version in VERSIONS:
        repo, work = begin(t, 2)
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--depth", "1", repo.url(), copy)
        fast_import(t, copy, line_of_commits("c", 70, parent=t.git.rev(copy)))
        t.git("checkout", "-q", "-b", "new", "main~1", cwd=work)
        t.git.commit(work, {"wanted": "1"}, "wanted")
        push(t, repo, work, "new")
        t.git(*v(version), "fetch", "-q", "origin", "new:new", cwd=copy)
        same(subjects(t, copy, "new"), ["wanted", "0"], f"version {version}: commits")
        t.git("fsck", "--full", "--no-dangling", cwd=copy)


@test
def shallow_branches_that_went(t):
    """After pruning and repacking the client's list of roots is shorter; it deepens all the same."""
    repo, work = begin(t, 2)
    t.git("checkout", "-q", "-b", "branch", cwd=work)
    for name in "CED":
        t.git.commit(work, {name: "1"}, name)
    tip = t.git.rev(work)
    push(t, repo, work, "branch")
    for version in VERSIONS:
        t.git(*v(version), "clone", "-q", "--depth=1", "--no-tags", "--no-single-branch", repo.url(), t.path(f"c{version}"))
    push(t, repo, work, ":branch")
    refspec = "+refs/heads/*:refs/remotes/origin/*"
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "fetch", "-q", "--prune", "--depth=1", "origin", refspec, cwd=copy)
        t.git("reflog", "expire", "--all", "--expire=now", cwd=copy)
        t.git("repack", "-q", "-adfl", cwd=copy)
    push(t, repo, work, f"{tip}:refs/heads/back")
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "fetch", "-q", "--prune", "--depth=2", "origin", refspec, cwd=copy)
        same(subjects(t, copy, "origin/back"), ["D", "E"], f"version {version}: the branch, back")
        t.git("fsck", "--full", "--no-dangling", cwd=copy)


@test
def shallow_submodules(t):
    inner, inner_work = begin(t, 3)
    outer = t.account.repo()
    work = t.git.init(t.path("outer"))
    t.git("submodule", "add", "-q", inner.url(), "sub", cwd=work)
    t.git.commit(work, {"a": "1"}, "with a submodule")
    t.git("push", "-q", outer.url(), "main", cwd=work)
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--depth", "1", "--recurse-submodules", "--shallow-submodules", outer.url(), copy)
        same(subjects(t, os.path.join(copy, "sub"), "HEAD"), ["2"], f"version {version}: the submodule at depth 1")
        same(t.git.rev(os.path.join(copy, "sub")), t.git.rev(inner_work), f"version {version}: its commit")
