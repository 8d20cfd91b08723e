"""Push, clone and fetch with the real git, in protocol versions 0, 1 and 2."""
import os
import re

from harness import expect, same, test

CONCURRENT = True
IN_MEMORY = True
COST = 5
VERSIONS = (0, 1, 2)


def v(version):
    return ("-c", f"protocol.version={version}")


def history(t, path, commits=5):
    t.git.init(path)
    for i in range(commits):
        t.git.commit(path, {f"dir{i % 2}/file{i}": f"text {i}\n" * 50, "changing": f"{i}\n" * (i + 1)}, f"commit {i}")
    return path


@test
def push_clone_fetch_in_every_version(t):
    account = t.account
    for version in VERSIONS:
        repo = account.repo()
        work = history(t, t.path(f"work{version}"))
        t.git(*v(version), "push", "-q", repo.url(), "main", cwd=work)
        copy = t.path(f"copy{version}")
        t.git(*v(version), "clone", "-q", repo.url(), copy)
        same(t.git.rev(copy), t.git.rev(work), f"version {version}: tip")
        same(t.git("status", "--porcelain", cwd=copy), "", f"version {version}: the work tree")
        t.git("fsck", "--full", cwd=copy)
        for n in range(3):
            t.git.commit(work, {f"more{n}": f"{n}"}, "more")
            t.git(*v(version), "push", "-q", repo.url(), "main", cwd=work)
            t.git(*v(version), "pull", "-q", cwd=copy)
            same(t.git.rev(copy), t.git.rev(work), f"version {version}: tip after a fetch")
        t.git("fsck", "--full", cwd=copy)
        mirror = t.git.mirror(repo.url(), t.path(f"mirror{version}"), version)
        t.git.same_repository(mirror, work, f"version {version}")


@test
def the_version_asked_for_is_spoken(t):
    """What git itself says about the packets, so that no test runs version 2 in silence."""
    account = t.account
    repo = account.repo()
    work = history(t, t.path("work"), 1)
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for version, mark in ((0, r"< [0-9a-f]{40} HEAD"), (1, r"< version 1"), (2, r"< version 2")):
        _, _, err = t.git.run(*v(version), "clone", "-q", repo.url(), t.path(f"v{version}"), env={"GIT_TRACE_PACKET": "2"})
        expect(re.search(mark, err.decode(errors="replace")), f"version {version}", err.decode(errors="replace")[:1000])
    _, _, err = t.git.run(*v(1), "ls-remote", repo.url(), env={"GIT_TRACE_PACKET": "2"})
    expect(b"version 1" in err, "version 1 for ls-remote", err)


@test
def an_empty_repository_can_be_cloned(t):
    account = t.account
    for version in VERSIONS:
        for branch in ("main", "trunk/x"):
            repo = account.repo(defaultBranch=branch)
            copy = t.path(f"{version}-{branch.replace('/', '-')}")
            t.git(*v(version), "clone", "-q", repo.url(), copy)
            same(t.git("ls-remote", repo.url()), "", "no refs")
            named = version == 2 and t.git.version >= (2, 31)
            if named:
                same(t.git("symbolic-ref", "HEAD", cwd=copy).strip(), f"refs/heads/{branch}", "the unborn branch")
            t.git("checkout", "-q", "-B", branch, cwd=copy) if not named else None
            t.git.commit(copy, {"a": "1"})
            t.git(*v(version), "push", "-q", "origin", branch, cwd=copy)
            again = t.path(f"again-{version}-{branch.replace('/', '-')}")
            t.git(*v(version), "clone", "-q", repo.url(), again)
            same(t.git("symbolic-ref", "HEAD", cwd=again).strip(), f"refs/heads/{branch}", "HEAD")


@test
def tags_annotated_and_light_and_nested(t):
    account = t.account
    for version in VERSIONS:
        repo = account.repo()
        work = history(t, t.path(f"work{version}"), 3)
        t.git("tag", "light", "HEAD~1", cwd=work)
        t.git("tag", "-a", "-m", "one", "v1", "HEAD~1", cwd=work)
        t.git("tag", "-a", "-m", "a tag of a tag", "outer", "v1", cwd=work)
        t.git("tag", "-a", "-m", "a tree", "tree", "HEAD^{tree}", cwd=work)
        t.git("tag", "-a", "-m", "a blob", "blob", "HEAD:changing", cwd=work)
        t.git("tag", "bare-blob", "HEAD:changing", cwd=work)
        t.git(*v(version), "push", "-q", repo.url(), "main", "--tags", cwd=work)
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"m{version}"), version), work, f"version {version}")
        peeled = dict(reversed(line.split("\t")) for line in t.git(*v(version), "ls-remote", repo.url()).splitlines())
        same(peeled["refs/tags/outer^{}"], t.git.rev(work, "HEAD~1"), f"version {version}: a tag of a tag, peeled")
        same(peeled["refs/tags/blob^{}"], t.git.rev(work, "HEAD:changing"), f"version {version}: a tagged blob, peeled")
        expect("refs/tags/light^{}" not in peeled, "a light tag is not peeled")


@test
def tags_follow_their_commits(t):
    """include-tag: a fetch of a branch brings the annotated tags of what it brings, without asking again."""
    account = t.account
    for version in VERSIONS:
        repo = account.repo()
        work = history(t, t.path(f"work{version}"), 2)
        t.git("push", "-q", repo.url(), "main", cwd=work)
        copy = t.path(f"copy{version}")
        t.git("clone", "-q", repo.url(), copy)
        t.git.commit(work, {"x": "y"})
        t.git("tag", "-a", "-m", "new", "v2", cwd=work)
        t.git("push", "-q", repo.url(), "main", "v2", cwd=work)
        status, _, err = t.git.run(*v(version), "fetch", "-q", "origin", "main:refs/remotes/origin/main", cwd=copy,
                                   env={"GIT_TRACE_CURL": "2", "GIT_TRACE_CURL_NO_DATA": "1"})
        same(status, 0, "fetch")
        same(t.git.rev(copy, "v2"), t.git.rev(work, "v2"), f"version {version}: the tag came along")
        posts = len(re.findall(r"=> Send header: POST .*git-upload-pack", err.decode(errors="replace")))
        expect(posts <= (2 if version == 2 else 1), f"version {version}: one fetch is enough for the tag", posts)


@test
def trees_with_submodules(t):
    account = t.account
    repo = account.repo()
    inner = history(t, t.path("inner"), 2)
    work = history(t, t.path("work"), 2)
    t.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", inner, "deps/inner", cwd=work)
    t.git("commit", "-q", "-m", "a submodule", cwd=work)
    t.git.commit(work, {"after": "1"}, "after")
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for version in VERSIONS:
        copy = t.git.mirror(repo.url(), t.path(f"m{version}"), version)
        t.git.same_repository(copy, work, f"version {version}")
        expect("160000 commit" in t.git("ls-tree", "-r", "main", cwd=copy), "the submodule's entry")
    t.git("submodule", "update", "-q", "--remote", cwd=work)
    t.git.commit(inner, {"n": "1"})
    t.git("submodule", "update", "-q", "--remote", cwd=work)
    t.git.commit(work, {}, "newer submodule")
    t.git("push", "-q", repo.url(), "main", cwd=work)
    t.git.same_repository(t.git.mirror(repo.url(), t.path("last")), work, "after a change of the submodule")


@test
def fifteen_hundred_refs(t):
    account = t.account
    repo = account.repo()
    work = history(t, t.path("work"), 5)
    commits = t.git("rev-list", "HEAD", cwd=work).split()
    names = [f"refs/heads/b/{i:04}" for i in range(900)] + [f"refs/tags/t{i:04}" for i in range(600)]
    lines = "".join(f"create {name} {commits[i % len(commits)]}\n" for i, name in enumerate(names))
    t.git("update-ref", "--stdin", cwd=work, data=lines.encode())
    t.git("push", "-q", repo.url(), "--all", cwd=work)
    t.git("push", "-q", repo.url(), "--tags", cwd=work)
    for version in VERSIONS:
        same(t.git.remote_refs(repo.url(), config=v(version)), t.git.refs(work), f"version {version}: refs")
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"m{version}"), version), work, f"version {version}")
    t.git("push", "-q", repo.url(), *[f":{name}" for name in names[:700]], cwd=work)
    wanted = {k: o for k, o in t.git.refs(work).items() if k not in set(names[:700])}
    same(t.git.remote_refs(repo.url()), wanted, "after deleting 700")


@test
def names_in_any_language_and_odd_ones(t):
    account = t.account
    repo = account.repo()
    work = history(t, t.path("work"), 1)
    tip = t.git.rev(work)
    names = ["feature/x", "a/b/c/d/e/f", "\u00fcml\u00e4ut", "\u65e5\u672c\u8a9e/\u30d6\u30e9\u30f3\u30c1", "x'y", "x\"y", "x&y;z", "100%", "%2F", "a+b", "a#b",
             "dollar$x", "x=y", "x,y", "(paren)", "<angle>", "pipe|x", "star-less", "ends.with.dots.x", "UPPER", "upper", "-dash",
             "semi;colon", "bang!", "at@sign", "emoji\U0001f407", "x" * 200, "d/" * 30 + "deep", "{brace}", "`tick`"]
    names = [n for n in names if t.git.run("check-ref-format", f"refs/heads/{n}")[0] == 0]
    expect(len(names) > 20, "names to try", names)
    t.git("update-ref", "--stdin", cwd=work, data="".join(f'create "refs/heads/{n}" {tip}\n'.replace('\\', '\\\\')
          if '"' not in n else f"create refs/heads/{n} {tip}\n" for n in names).encode())
    t.git("push", "-q", repo.url(), "refs/heads/*:refs/heads/*", cwd=work)
    for version in VERSIONS:
        same(t.git.remote_refs(repo.url(), config=v(version)), t.git.refs(work), f"version {version}: refs")
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"m{version}"), version), work, f"version {version}")
    for name in names:
        t.git("push", "-q", repo.url(), f":refs/heads/{name}", cwd=work)
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": tip}, "after deleting them")


@test
def refs_outside_heads_and_tags(t):
    account = t.account
    repo = account.repo()
    work = history(t, t.path("work"), 3)
    t.git("push", "-q", repo.url(), "main", "HEAD~1:refs/notes/commits", "HEAD~2:refs/changes/01/1/1",
          cwd=work)
    refs = t.git.remote_refs(repo.url())
    same(sorted(refs), ["refs/changes/01/1/1", "refs/heads/main", "refs/notes/commits"], "refs")
    mirror = t.git.mirror(repo.url(), t.path("mirror"))
    same(t.git.refs(mirror), refs, "a mirror has them")


@test
def one_branch_alone(t):
    account = t.account
    repo = account.repo()
    work = history(t, t.path("work"), 4)
    t.git("checkout", "-q", "-b", "side", "HEAD~2", cwd=work)
    t.git.commit(work, {"side": "only here"})
    t.git("push", "-q", repo.url(), "main", "side", cwd=work)
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", "--single-branch", "--branch", "side", "--no-tags", repo.url(), copy)
        same(t.git.objects(copy), t.git.objects(work, "side"), f"version {version}: exactly the branch's objects")
        have = {line.split()[0] for line in t.git("cat-file", "--batch-all-objects", "--batch-check", cwd=copy).splitlines()}
        same(have, t.git.objects(work, "side"), f"version {version}: never a superset")


@test
def a_fetch_brings_little(t):
    """After a clone, a fetch of one new commit moves its few objects and not the history."""
    account = t.account
    repo = account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {f"f{i}": os.urandom(2000) for i in range(300)})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git(*v(version), "clone", "-q", repo.url(), copy)
        t.git.commit(work, {"f7": f"changed for {version}"})
        t.git("push", "-q", repo.url(), "main", cwd=work)
        before = set(os.listdir(os.path.join(copy, ".git/objects/pack")))
        t.git(*v(version), "-c", "fetch.unpackLimit=1", "fetch", "-q", cwd=copy)
        new = [n for n in os.listdir(os.path.join(copy, ".git/objects/pack")) if n not in before and n.endswith(".idx")]
        same(len(new), 1, "packs that came")
        count = len(t.git("show-index", cwd=copy, data=open(os.path.join(copy, ".git/objects/pack", new[0]), "rb").read()).splitlines())
        expect(count <= 10, f"version {version}: objects that came", count)
        same(t.git.rev(copy, "origin/main"), t.git.rev(work), f"version {version}: tip")


@test
def diverged_histories_negotiate(t):
    """Both sides have hundreds of commits that the other lacks: several rounds of haves."""
    account = t.account
    repo = account.repo()
    work = t.git.init(t.path("work"))
    base = t.git.commit(work, {"base": "x"})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    copies = []
    for version in VERSIONS:
        copy = t.path(f"c{version}")
        t.git("clone", "-q", repo.url(), copy)
        copies.append(copy)
        grow(t, copy, base, f"local{version}", 600)
    grow(t, work, base, "theirs", 700)
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for version, copy in zip(VERSIONS, copies):
        t.git(*v(version), "-c", "fetch.unpackLimit=1", "fetch", "-q", cwd=copy)
        same(t.git.rev(copy, "origin/main"), t.git.rev(work), f"version {version}: tip")
        t.git("fsck", "--full", "--no-dangling", cwd=copy)
        t.git(*v(version), "push", "-q", repo.url(), f"main:mine{version}", cwd=copy)
        same(t.git.remote_refs(repo.url())[f"refs/heads/mine{version}"], t.git.rev(copy, "main"), "pushed back")


def grow(t, path, base, word, n):
    """n commits on top of base, made by fast-import."""
    stream, parent = [], base
    for i in range(1, n + 1):
        stream.append(f"commit refs/heads/main\nmark :{i}\ncommitter C <c@example.com> {1700000000 + i} +0000\ndata 1\nx\n"
                      f"from {parent}\nM 100644 inline {word}{i % 7}\ndata {len(word + str(i))}\n{word}{i}\n")
        parent = f":{i}"
    t.git("fast-import", "--quiet", "--force", cwd=path, data="".join(stream).encode())
    t.git("reset", "-q", "--hard", "main", cwd=path)


@test
def progress_is_told_and_can_be_turned_off(t):
    account = t.account
    repo = account.repo()
    work = history(t, t.path("work"), 3)
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for version in VERSIONS:
        _, _, err = t.git.run(*v(version), "clone", "--progress", repo.url(), t.path(f"p{version}"))
        expect(b"remote: " in err, f"version {version}: progress from the server", err)
        _, _, err = t.git.run(*v(version), "clone", "-q", repo.url(), t.path(f"q{version}"))
        same(err, b"", f"version {version}: nothing said")


@test
def executables_links_and_odd_contents(t):
    account = t.account
    repo = account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"empty": b"", "zeros": b"\0" * 5000, "binary": bytes(range(256)) * 100, "crlf": b"a\r\nb\r\n",
                        "run.sh": b"#!/bin/sh\n", "with space/\u00fc/\u65e5\u672c": b"x", "x" * 200: b"long name",
                        "big": t.random.randbytes(3_000_000)})
    os.chmod(os.path.join(work, "run.sh"), 0o755)
    os.symlink("run.sh", os.path.join(work, "link"))
    t.git.commit(work, {}, "modes")
    t.git("push", "-q", repo.url(), "main", cwd=work)
    for version in VERSIONS:
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"m{version}"), version), work, f"version {version}")
    same(t.git("ls-tree", "-r", "main", cwd=t.path("m2")), t.git("ls-tree", "-r", "main", cwd=work), "the tree")


@test
def commits_of_every_form(t):
    """Merges, an octopus, several roots, an empty message, other encodings, extra headers, odd zones."""
    account = t.account
    repo = account.repo()
    work = history(t, t.path("work"), 2)
    for name in ("a", "b", "c"):
        t.git("checkout", "-q", "-b", name, "main", cwd=work)
        t.git.commit(work, {f"of-{name}": name}, name)
    t.git("checkout", "-q", "main", cwd=work)
    t.git("merge", "-q", "-m", "octopus", "a", "b", "c", cwd=work)
    t.git("checkout", "-q", "--orphan", "root2", cwd=work)
    t.git.commit(work, {"second": "root"})
    t.git("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "", cwd=work)
    t.git("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "--allow-empty", "-F", "-", cwd=work, data=b"caf\xe9\n")
    tree = t.git.rev(work, "HEAD^{tree}")
    raw = (f"tree {tree}\nparent {t.git.rev(work)}\nauthor A <a@example.com> 1 -1130\ncommitter C <> 4000000000 +1400\n"
           "gpgsig -----BEGIN PGP SIGNATURE-----\n \n abc\n -----END PGP SIGNATURE-----\nx-more yes\n\nbody\n\n\n")
    made = t.git("hash-object", "-t", "commit", "-w", "--stdin", cwd=work, data=raw.encode()).strip()
    t.git("update-ref", "refs/heads/handmade", made, cwd=work)
    t.git("push", "-q", repo.url(), "--all", cwd=work)
    for version in VERSIONS:
        t.git.same_repository(t.git.mirror(repo.url(), t.path(f"m{version}"), version), work, f"version {version}")


@test
def partial_transfers_of_an_unknown_object_are_refused(t):
    account = t.account
    repo = account.repo()
    work = history(t, t.path("work"), 2)
    t.git("push", "-q", repo.url(), "main", cwd=work)
    hidden = t.git.rev(work)
    t.git("commit", "-q", "--amend", "-m", "other", cwd=work)
    t.git("push", "-q", "-f", repo.url(), "main", cwd=work)
    for version in VERSIONS:
        copy = t.git.init(t.path(f"c{version}"))
        err = t.git.fails(*v(version), "fetch", repo.url(), hidden, cwd=copy)
        expect("not our ref" in err or "not advertised" in err or "unadvertised" in err, f"version {version}", err)
        err = t.git.fails(*v(version), "fetch", repo.url(), "1" * 40, cwd=copy)
        same(t.git("cat-file", "--batch-all-objects", "--batch-check", cwd=copy), "", "nothing came")


@test
def a_force_push_hides_what_it_took_away(t):
    """Never a superset: the clone after it holds no object of the old history."""
    account = t.account
    repo = account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"keep": "1"})
    t.git.commit(work, {"secret": "pushed by mistake"})
    secret = t.git.rev(work, "HEAD:secret")
    t.git("push", "-q", repo.url(), "main", cwd=work)
    t.git("reset", "-q", "--hard", "HEAD~1", cwd=work)
    t.git("push", "-q", "-f", repo.url(), "main", cwd=work)
    for version in VERSIONS:
        copy = t.git.mirror(repo.url(), t.path(f"m{version}"), version)
        expect(t.git.run("cat-file", "-e", secret, cwd=copy)[0] != 0, f"version {version}: the secret is not sent")
