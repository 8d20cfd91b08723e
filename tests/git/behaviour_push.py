"""What git expects of a server that it pushes to over HTTP: what is said about each ref, in every form of output; what is
sent, and how; pushes of all or nothing, with leases, options, certificates, from shallow clones and with submodules."""
import os
import re
import stat

from harness import expect, same, test

IN_MEMORY = True
COST = 3


def begin(t, commits=3, **fields):
    """(repo, work): commits 0, 1, ... on main, pushed."""
    repo = t.account.repo(**fields)
    work = t.git.init(t.path(f"work-{repo.id[:8]}"))
    for i in range(commits):
        t.git.commit(work, {f"f{i}": f"{i}\n"}, str(i))
    t.git("push", "-q", repo.url(), "main", cwd=work)
    return repo, work


def pushed(t, work, *args, env=None, config=()):
    """(exit status, what was said) of a push."""
    status, out, err = t.git.run(*config, "push", *args, cwd=work, env=env)
    return status, (out + err).decode(errors="replace")


def said(text, name):
    """What git's table says about a ref: its mark and what stands in brackets and parentheses behind it."""
    line = next((line for line in text.splitlines() if re.search(rf"-> {re.escape(name)}( \(|$)|\] +{re.escape(name)}( \(|$)", line)), "")
    match = re.match(r" (.) (\[[^\]]*\]|\S+) .*?(\([^()]*\))?$", line)
    return (match.group(1), match.group(2), match.group(3)) if match else None


def refs(t, repo):
    return {k.replace("refs/heads/", ""): o for k, o in t.git.remote_refs(repo.url()).items()}


# What is sent.

@test
def what_a_push_sends(t):
    """A list and one request; no Expect, never version 2; in chunks above http.postBuffer; nothing at all when nothing is new."""
    repo, work = begin(t)
    for version in (0, 1, 2):
        t.git.commit(work, {"n": str(version)}, "one")
        trace = t.git.traced("-c", f"protocol.version={version}", "push", "-v", "-v", repo.url(), "main", cwd=work)
        same(trace.status, 0, trace.err)
        lines = [line for request in trace.requests for line in request]
        expect(not any(re.match("Expect:", line, re.I) for line in lines), "no Expect", lines)
        same(any(line.lower() == "git-protocol: version=2" for line in lines), False, "version 2 is not asked for")
        expect(re.search(r"POST git-receive-pack \(\d+ bytes\)", trace.err), "in one piece", trace.err)
        same(len(trace.posts), 1, "requests")
        (answer,) = [a for r, a in zip(trace.requests, trace.answers) if r[0].startswith("POST")]
        expect(any(line.lower() == "content-type: application/x-git-receive-pack-result" for line in answer), "its type", answer)
        t.git.commit(work, {"n": f"{version} again"}, "two")
        trace = t.git.traced("-c", f"protocol.version={version}", "-c", "http.postBuffer=4", "push", "-v", "-v", repo.url(), "main:side", cwd=work)
        same(trace.status, 0, trace.err)
        t.git.commit(work, {"big": t.random.randbytes(200_000)}, "big")
        trace = t.git.traced("-c", f"protocol.version={version}", "-c", "http.postBuffer=65536", "push", "-v", "-v", repo.url(), "main", cwd=work)
        expect(trace.status == 0 and "POST git-receive-pack (chunked)" in trace.err, "in chunks", trace.err)
        trace = t.git.traced("push", repo.url(), "main", cwd=work)
        same((trace.status, len(trace.posts)), (0, 0), f"nothing new: {trace.err}")
        expect("Everything up-to-date" in trace.err, "which is said", trace.err)
    same(refs(t, repo)["main"], t.git.rev(work), "tip")


@test
def a_dry_run_changes_nothing(t):
    repo, work = begin(t)
    before = refs(t, repo)
    t.git.commit(work, {"n": "1"}, "new")
    trace = t.git.traced("push", "--dry-run", repo.url(), "main", "main:new", cwd=work)
    same((trace.status, len(trace.posts)), (0, 0), trace.err)
    same(said(trace.err, "new"), ("*", "[new branch]", None), "as if")
    same(refs(t, repo), before, "refs")


@test
def quiet_and_progress(t):
    repo, work = begin(t)
    for n, (option, meter, table) in enumerate((("--quiet", False, False), ("--no-progress", False, True), ("--progress", True, True))):
        t.git.commit(work, {f"n{n}": "1"}, "new")
        status, text = pushed(t, work, option, repo.url(), "main")
        same((status, "Writing objects" in text, text.startswith("To http") or "\nTo http" in text), (0, meter, table), f"{option}: {text}")
        expect(option != "--quiet" or not text, "quiet is quiet", text)


@test
def passwords_stay_out_of_the_output(t):
    repo, work = begin(t)
    for args in (("--porcelain",), ("-v",)):
        _, text = pushed(t, work, *args, repo.url(), "+HEAD:refs/heads/scrub")
        expect(repo.account.key not in text and f"{t.server.url}/{repo.id}" in text, f"{args}", text)


@test
def a_password_is_asked_for_when_it_is_needed(t):
    """Everyone may clone a public repository; who pushes to it is asked."""
    repo, work = begin(t, public=True)
    asked = t.path("asked")
    ask = t.write("askpass", f'#!/bin/sh\necho "$1" >>{asked}\ncase "$1" in Username*) echo x;; *) echo {repo.account.key};; esac\n')
    os.chmod(ask, stat.S_IRWXU)
    copy = t.path("copy")
    t.git("clone", "-q", repo.url(None), copy, env={"GIT_ASKPASS": ask})
    expect(not os.path.exists(asked), "nobody is asked for a clone")
    t.git.commit(copy, {"n": "1"}, "new")
    t.git("push", "-q", "origin", "main", cwd=copy, env={"GIT_ASKPASS": ask})
    same([line.split(" ")[0] for line in open(asked, encoding="utf-8").read().splitlines()], ["Username", "Password"], "asked for a push")
    same(refs(t, repo)["main"], t.git.rev(copy), "tip")


# What is said about each ref.

@test
def every_outcome_in_the_table(t):
    repo, work = begin(t)
    t.git("push", "-q", repo.url(), "main:back", "main:gone", "main~1:refs/heads/forward", "main:same", "main:refs/tags/v1", cwd=work)
    status, text = pushed(t, work, "-v", repo.url(), "+main~1:back", ":gone", "main:forward", "main:same", "main:new", "main~1:refs/tags/v1",
                          "main~1:refs/tags/v2", "main~2:main", "main:refs/warren/x")
    expect(status != 0, "some were refused", text)
    wanted = {"back": ("+", None, "(forced update)"), "gone": ("-", "[deleted]", None), "forward": (" ", None, None),
              "same": ("=", "[up to date]", None), "new": ("*", "[new branch]", None), "v2": ("*", "[new tag]", None),
              "v1": ("!", "[rejected]", "(already exists)"), "main": ("!", "[rejected]", "(non-fast-forward)")}
    for name, (mark, what, why) in wanted.items():
        got = said(text, name)
        expect(got is not None, f"{name} is in the table", text)
        same((got[0], got[2]), (mark, why), f"{name} in {text}")
        expect(what is None or got[1] == what, f"{name}: {what}", text)
    mark, what, why = said(text, "refs/warren/x")
    same((mark, what), ("!", "[remote rejected]"), "a reserved name")
    expect(len(why) > 4, "a reason", text)
    expect("Updates were rejected because" in text, "git's advice", text)
    main = {n: t.git.rev(work, r) for n, r in (("main", "main"), ("old", "main~1"))}
    same(refs(t, repo), {"back": main["old"], "forward": main["main"], "main": main["main"], "new": main["main"], "same": main["main"],
                         "refs/tags/v1": main["main"], "refs/tags/v2": main["old"]}, "refs")


@test
def somebody_was_faster(t):
    repo, work = begin(t)
    other = t.path("other")
    t.git("clone", "-q", repo.url(), other)
    t.git("remote", "add", "origin", repo.url(), cwd=work)
    t.git("fetch", "-q", cwd=work)
    theirs = t.git.commit(other, {"theirs": "1"}, "theirs")
    t.git("push", "-q", "origin", "main", cwd=other)
    mine = t.git.commit(work, {"mine": "1"}, "mine")
    status, text = pushed(t, work, "origin", "main")
    same((status, said(text, "main")), (1, ("!", "[rejected]", "(fetch first)")), "without having it")
    status, text = pushed(t, work, "--force-with-lease", "origin", "main")
    same((status, said(text, "main")), (1, ("!", "[rejected]", "(stale info)")), "a lease on what was seen")
    t.git("fetch", "-q", cwd=work)
    status, text = pushed(t, work, "origin", "main")
    same((status, said(text, "main")), (1, ("!", "[rejected]", "(non-fast-forward)")), "having it")
    same(refs(t, repo)["main"], theirs, "still theirs")
    status, text = pushed(t, work, f"--force-with-lease=main:{theirs}", "origin", "main")
    same((status, said(text, "main")[2], refs(t, repo)["main"]), (0, "(forced update)", mine), "a lease on what there is")
    status, text = pushed(t, work, "--force-with-lease=new:", "origin", "main:new")
    same((status, refs(t, repo)["new"]), (0, mine), "a lease on there being nothing")
    status, text = pushed(t, work, "--force-with-lease=new:", "origin", "main~1:new")
    same((status, said(text, "new")), (1, ("!", "[rejected]", "(stale info)")), "which is no longer so")


@test
def leases_and_names_in_any_language(t):
    repo, work = begin(t)
    t.git("remote", "add", "origin", repo.url(), cwd=work)
    name = "rama-de-\u00e1rbol"
    t.git("checkout", "-q", "-b", name, cwd=work)
    t.git.commit(work, {"n": "1"}, "n")
    t.git("push", "-q", "--force-with-lease", "origin", name, cwd=work)
    same(t.git("ls-remote", "origin", f"refs/heads/{name}", cwd=work).split(), [t.git.rev(work), f"refs/heads/{name}"], "there")
    t.git("push", "-q", "--delete", "--force-with-lease", "origin", name, cwd=work)
    same(t.git("ls-remote", "origin", f"refs/heads/{name}", cwd=work), "", "gone")


# Porcelain: exactly these lines, which programs read.

def workbench(t):
    """There: main at B; foo, bar, baz at A. Here: main, baz, next at A."""
    repo = t.account.repo()
    work = t.git.init(t.path(f"bench-{repo.id[:8]}"))
    a = t.git.commit(work, {"a": "1"}, "A")
    b = t.git.commit(work, {"b": "1"}, "B")
    t.git("push", "-q", repo.url(), f"{b}:refs/heads/main", *[f"{a}:refs/heads/{n}" for n in ("foo", "bar", "baz")], cwd=work)
    t.git("reset", "-q", "--hard", a, cwd=work)
    for name in ("baz", "next"):
        t.git("branch", name, a, cwd=work)
    t.git("remote", "add", "origin", repo.url(), cwd=work)
    t.git("config", "core.abbrev", "40", cwd=work)
    return repo, work, a, b


WHAT = ("main", ":refs/heads/foo", "{b}:bar", "baz", "next")


def porcelain(t, options, lines, after, status):
    """Each line: flag, from:to, what about it; A and B stand for the commits."""
    repo, work, a, b = workbench(t)
    got, out, err = t.git.run("push", "--porcelain", *options, "origin", *[w.format(b=b) for w in WHAT], cwd=work)
    text = out.decode().replace(a, "A").replace(b, "B")
    same(text.splitlines()[0], f"To {t.server.url}/{repo.id}.git", "first line")
    same(text.splitlines()[1:], [*lines, "Done"], f"{options}: lines, with {err.decode()}")
    same(got, status, f"{options}: exit status")
    same({n: {a: "A", b: "B"}[o] for n, o in refs(t, repo).items()}, after, f"{options}: refs")


BEFORE = {"main": "B", "foo": "A", "bar": "A", "baz": "A"}
SAME = "=\trefs/heads/baz:refs/heads/baz\t[up to date]"
REJECTED = "!\trefs/heads/main:refs/heads/main\t[rejected] (non-fast-forward)"
DONE = [" \tB:refs/heads/bar\tA..B", "-\t:refs/heads/foo\t[deleted]", "*\trefs/heads/next:refs/heads/next\t[new branch]"]
FORCED = [SAME, DONE[0], DONE[1], "+\trefs/heads/main:refs/heads/main\tB...A (forced update)", DONE[2]]
ATOMIC = [SAME, "!\tB:refs/heads/bar\t[rejected] (atomic push failed)", "!\t(delete):refs/heads/foo\t[rejected] (atomic push failed)", REJECTED,
          "!\trefs/heads/next:refs/heads/next\t[rejected] (atomic push failed)"]


@test
def porcelain_of_some_that_go_through(t):
    porcelain(t, (), [SAME, *DONE, REJECTED], {"main": "B", "bar": "B", "baz": "A", "next": "A"}, 1)


@test
def porcelain_of_all_forced(t):
    for option in ((), ("--atomic",)):
        porcelain(t, ("--force", *option), FORCED, {"main": "A", "bar": "B", "baz": "A", "next": "A"}, 0)


@test
def porcelain_of_all_or_nothing(t):
    porcelain(t, ("--atomic",), ATOMIC, BEFORE, 1)


@test
def porcelain_of_dry_runs(t):
    porcelain(t, ("--dry-run",), [SAME, *DONE, REJECTED], BEFORE, 1)
    porcelain(t, ("--dry-run", "--force"), FORCED, BEFORE, 0)
    porcelain(t, ("--dry-run", "--atomic"), ATOMIC, BEFORE, 1)
    porcelain(t, ("--dry-run", "--atomic", "--force"), FORCED, BEFORE, 0)


@test
def porcelain_of_what_the_server_refuses(t):
    """A reason for each ref; with --atomic the others get one too."""
    for atomic in ((), ("--atomic",)):
        repo, work, a, b = workbench(t)
        status, out, _ = t.git.run("push", "--porcelain", *atomic, "origin", f"{b}:refs/heads/bar", "next", "next:refs/heads/foo/under", cwd=work)
        rows = {row[1].split(":")[1]: (row[0], row[2]) for row in (line.split("\t") for line in out.decode().splitlines()) if len(row) == 3}
        same((status, sorted(rows)), (1, ["refs/heads/bar", "refs/heads/foo/under", "refs/heads/next"]), f"{atomic}: rows of {out!r}")
        for name, (flag, what) in rows.items():
            refused = bool(atomic) or "under" in name
            same(flag == "!", refused, f"{atomic}: {name} {what}")
            expect(not refused or re.fullmatch(r"\[remote rejected\] \(.{5,}\)", what), f"{atomic}: a reason for {name}", what)
        same(refs(t, repo) == {"main": b, "foo": a, "bar": a, "baz": a}, bool(atomic), f"{atomic}: refs")


@test
def no_status_no_success(t):
    """A broken pack: every ref is reported as refused, with the reason in the text."""
    repo, work = begin(t)
    before = refs(t, repo)
    blob = t.git.rev(work, "HEAD:f0")
    tree = t.git("mktree", cwd=work, data=f"100644 blob {blob}\t.git\n".encode()).strip() if t.git.version < (2, 20) else None
    if tree is None:
        raw = b"100644 .git\0" + bytes.fromhex(blob)
        tree = t.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", cwd=work, data=raw).strip()
    bad = t.git("commit-tree", "-m", "bad", "-p", "HEAD", tree, cwd=work).strip()
    status, text = pushed(t, work, repo.url(), f"{bad}:refs/heads/one", f"{bad}:refs/heads/two", "main~1:refs/heads/three")
    same(status, 1, f"status with {text}")
    expect("hasDotgit" in text, "git's name for it", text)
    for name in ("one", "two", "three"):
        same(said(text, name)[:2], ("!", "[remote rejected]"), f"{name} in {text}")
    same(refs(t, repo), before, "refs")


# Many at once, all or nothing.

@test
def all_or_nothing(t):
    """What the client sees is refused here and told of every ref; what only the server sees likewise."""
    repo = t.account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "1"}, "one")
    two = t.git.commit(work, {"b": "1"}, "two")
    for name in ("collateral", "other"):
        t.git("branch", name, cwd=work)
    t.git("push", "-q", repo.url(), "main", "collateral", "other", cwd=work)
    t.git("checkout", "-q", "collateral", cwd=work)
    t.git.commit(work, {"c": "1"}, "three")
    t.git("checkout", "-q", "main", cwd=work)
    t.git("reset", "-q", "--hard", "HEAD~1", cwd=work)
    t.git("branch", "atomic", cwd=work)
    before = refs(t, repo)
    status, text = pushed(t, work, "--atomic", repo.url(), "main", "atomic", "collateral")
    expect(status != 0, "refused", text)
    same(said(text, "main")[:2], ("!", "[rejected]"), text)
    for name in ("atomic", "collateral"):
        same(said(text, name), ("!", "[rejected]", "(atomic push failed)"), f"{name} in {text}")
    expect("other" not in text, "not a word of what was not pushed", text)
    same((refs(t, repo), before["main"]), (before, two), "refs")

    t.git("push", "-q", repo.url(), ":other", "+collateral:refs/heads/other/conflict", cwd=work)
    before = refs(t, repo)
    t.git("branch", "-f", "other", "collateral", cwd=work)
    status, text = pushed(t, work, "--atomic", repo.url(), "atomic", "other")
    expect(status != 0, "refused", text)
    for name in ("atomic", "other"):
        same(said(text, name)[:2], ("!", "[remote rejected]"), f"{name} in {text}")
    same(refs(t, repo), before, "refs")


@test
def everything_to_an_empty_repository(t):
    _, work = begin(t)
    t.git("branch", "a/b", "HEAD~1", cwd=work)
    t.git("tag", "-a", "-m", "x", "v1", cwd=work)
    t.git("update-ref", "refs/notes/n", "HEAD", cwd=work)
    for options, wanted in ((("--all",), "refs/heads/"), (("--tags",), "refs/tags/"), (("--mirror",), "refs/")):
        repo = t.account.repo()
        t.git("push", "-q", *options, repo.url(), cwd=work)
        same(t.git.remote_refs(repo.url()), {k: o for k, o in t.git.refs(work).items() if k.startswith(wanted)}, f"{options}")
    t.git.same_repository(t.git.mirror(repo.url(), t.path("m")), work, "mirrored")
    t.git("branch", "-q", "-D", "a/b", cwd=work)
    t.git("push", "-q", "--mirror", repo.url(), cwd=work)
    same(t.git.remote_refs(repo.url()), t.git.refs(work), "a mirror deletes what went")
    t.git("push", "-q", repo.url(), "main:stale", "main:keep", cwd=work)
    t.git("branch", "keep", cwd=work)
    t.git("push", "-q", "--prune", repo.url(), "refs/heads/*:refs/heads/*", cwd=work)
    same(sorted(refs(t, repo)), ["keep", "main", "refs/notes/n", "refs/tags/v1"], "--prune likewise")


@test
def tags_that_follow_a_branch(t):
    repo, work = begin(t)
    t.git("tag", "-a", "-m", "x", "annotated", "HEAD~1", cwd=work)
    t.git("tag", "light", cwd=work)
    t.git.commit(work, {"n": "1"}, "n")
    t.git("push", "-q", "--follow-tags", repo.url(), "main", cwd=work)
    same(sorted(refs(t, repo)), ["main", "refs/tags/annotated"], "refs")


@test
def two_thousand_tags_in_one_push(t):
    repo, work = begin(t)
    tip = t.git.rev(work)
    packed = t.write(os.path.join(work, ".git/packed-refs"),
                     "".join(f"{tip} {name}\n" for name in sorted(f"refs/tags/really-long-tag-name-{i}" for i in range(2000))))
    trace = t.git.traced("push", "-q", "--mirror", repo.url(), cwd=work)
    same((trace.status, len(trace.posts) <= 2), (0, True), trace.err)
    same(t.git.remote_refs(repo.url()), t.git.refs(work), "refs")
    os.unlink(packed)
    t.git("push", "-q", "--atomic", "--mirror", repo.url(), cwd=work)
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": tip}, "and all gone")


@test
def deleting_what_is_not_there(t):
    repo, work = begin(t)
    status, text = pushed(t, work, repo.url(), ":nothing")
    expect(status != 0 and "remote ref does not exist" in text, "git says so itself", text)
    t.git("push", "-q", repo.url(), "main:dev", cwd=work)
    status, text = pushed(t, work, "--delete", repo.url(), "dev", "main")
    same((status, said(text, "dev"), said(text, "main")[:2]), (1, ("-", "[deleted]", None), ("!", "[remote rejected]")), text)
    same(sorted(refs(t, repo)), ["main"], "refs")


# Options and certificates.

@test
def push_options(t):
    repo, work = begin(t)
    for n, (config, options) in enumerate((((), ("one",)), ((), ("one", "more structured text", '"embedded quotes"', "\u00fc=\u00e4", "")),
                                           (("-c", "push.pushOption=by-config", "-c", "push.pushOption=again"), ()))):
        t.git.commit(work, {f"n{n}": "1"}, "n")
        trace = t.git.traced(*config, "push", "-q", *[f"--push-option={o}" for o in options], repo.url(), "main", cwd=work)
        same((trace.status, trace.err), (0, ""), f"{options}")
        same(refs(t, repo)["main"], t.git.rev(work), f"{options}: tip")
    t.git.commit(work, {"atomic": "1"}, "n")
    t.git("push", "-q", "--atomic", "-o", "x", repo.url(), "main", "main:other", ":other" if "other" in refs(t, repo) else "main:third", cwd=work)
    same(sorted(refs(t, repo)), ["main", "other", "third"], "with --atomic")
    before = refs(t, repo)
    t.git.commit(work, {"many": "1"}, "n")
    status, text = pushed(t, work, *[f"--push-option={i}" for i in range(101)], repo.url(), "main")
    expect(status != 0 and "push option" in text, "too many", text)
    same(refs(t, repo), before, "refs")


@test
def certificates_are_not_taken(t):
    repo, work = begin(t)
    before = refs(t, repo)
    t.git.commit(work, {"n": "1"}, "n")
    status, text = pushed(t, work, "--signed", repo.url(), "main")
    expect(status != 0 and "does not support --signed push" in text, "refused", text)
    same(refs(t, repo), before, "refs")
    status, text = pushed(t, work, "--signed=if-asked", repo.url(), "main")
    same((status, refs(t, repo)["main"]), (0, t.git.rev(work)), f"if asked, but nobody does: {text}")


# Shallow clones and submodules.

@test
def from_a_shallow_clone(t):
    """What stands on history that is here goes through; what would end here where the clone ends does not, with its whole push."""
    repo, work = begin(t, 4)
    for version in (0, 2):
        copy = t.path(f"c{version}")
        t.git("-c", f"protocol.version={version}", "clone", "-q", "--depth", "2", repo.url(), copy)
        t.git.commit(copy, {"n": str(version)}, "10")
        t.git("push", "-q", repo.url(), f"+main:refs/remotes/top/{version}", cwd=copy)
        mirror = t.git.mirror(repo.url(), t.path(f"m{version}"))
        t.git("fsck", "--full", cwd=mirror)
        same(t.git("log", "--format=%s", f"refs/remotes/top/{version}", "--", cwd=mirror).split(), ["10", "3", "2", "1", "0"], "its history")
    elsewhere = t.git.init(t.path("elsewhere"))
    for name in "abc":
        t.git.commit(elsewhere, {"x": name}, name)
    cut = t.path("cut")
    t.git("clone", "-q", "--no-local", "--depth", "2", f"file://{elsewhere}", cut)
    t.git("checkout", "-q", "--orphan", "whole", cwd=cut)
    t.git.commit(cut, {"whole": "1"}, "a root of its own")
    before = refs(t, repo)
    for options in ((), ("--atomic",)):
        status, text = pushed(t, cut, *options, repo.url(), "main:refs/heads/cut", "whole:refs/heads/whole")
        same((status, said(text, "cut")), (1, ("!", "[remote rejected]", "(shallow update not allowed)")), text)
        expect("git fetch --unshallow" in text, "what to do", text)
        same(refs(t, repo), before, "refs")
    t.git("push", "-q", repo.url(), "whole:refs/heads/whole", cwd=cut)
    same(refs(t, repo), {**before, "whole": t.git.rev(cut, "whole")}, "alone it goes through")
    t.git("fsck", "--full", cwd=t.git.mirror(repo.url(), t.path("last")))


@test
def submodules_are_pushed_along(t):
    inner, _ = begin(t)
    outer, work = begin(t)
    t.git("submodule", "add", "-q", inner.url(), "sub", cwd=work)
    t.git.commit(work, {}, "with a submodule")
    sub = os.path.join(work, "sub")
    new = t.git.commit(sub, {"n": "1"}, "new")
    t.git.commit(work, {}, "newer submodule")
    t.git("remote", "add", "origin", outer.url(), cwd=work)
    status, text = pushed(t, work, "--recurse-submodules=check", "origin", "main")
    expect(status != 0 and "not be found on any remote" in text, "the submodule's commit is nowhere", text)
    t.git("push", "-q", "--recurse-submodules=on-demand", "-o", "asdf", "-o", "more structured text", "origin", "main", cwd=work)
    same((refs(t, inner)["main"], refs(t, outer)["main"]), (new, t.git.rev(work)), "both")
    copy = t.path("copy")
    t.git("clone", "-q", "--recurse-submodules", outer.url(), copy)
    same(t.git.rev(os.path.join(copy, "sub")), new, "cloned with it")
