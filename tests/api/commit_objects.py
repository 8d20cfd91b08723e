"""Commits made of a tree and parents by their ids: what they are, who sees them, and how they get a branch."""
import hashlib
import itertools

from harness import expect, same, test, wait_for

COST = 2
ADA = {"name": "Ada L\u00f6velace", "email": "ada@example.com", "date": "2026-01-31T09:05:09+01:00"}
BOB = {"name": "Bob", "email": "bob@example.com", "date": "1999-12-31T23:59:60Z"}
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def pushed(t, account=None, files=None):
    """(repository, folder with the same) with two commits on main and an annotated tag."""
    repo = (account or t.account).repo()
    work = t.git.init(t.path(f"work-{repo.id}"))
    t.git.commit(work, {"a": "1", "d/b": "2"})
    t.git.commit(work, files or {"a": "3"})
    t.git("tag", "-a", "-m", "words", "v1", cwd=work)
    t.git("push", "-q", repo.url(), "main", "v1", cwd=work)
    return repo, work


def path(repo):
    return f"{repo.path}/git/commits"


def make(repo, api=None, **fields):
    return (api or repo.account.api).post(path(repo), {"message": "made\n", "parents": [], **fields}).ok(["commit"])["commit"]


@test
def it_is_the_commit_that_git_makes(t):
    repo, work = pushed(t)
    tip, first, tree = (t.git.rev(work, name) for name in ("HEAD", "HEAD~", "HEAD~^{tree}"))
    message = "words\n\n  of \U0001f407 several lines\n\n"
    wanted = t.git("commit-tree", tree, "-p", tip, "-p", first, cwd=work, data=message.encode(), env={
        "GIT_AUTHOR_NAME": ADA["name"], "GIT_AUTHOR_EMAIL": ADA["email"], "GIT_AUTHOR_DATE": "1769846709 +0100",
        "GIT_COMMITTER_NAME": BOB["name"], "GIT_COMMITTER_EMAIL": BOB["email"], "GIT_COMMITTER_DATE": "946684800 +0000"}).strip()
    made = make(repo, message=message, tree=tree, parents=[tip, first], author=ADA, committer=BOB)
    same(made, {"sha": wanted, "tree": {"sha": tree}, "parents": [{"sha": tip}, {"sha": first}], "message": message,
                "author": {"name": ADA["name"], "email": ADA["email"], "date": made["author"]["date"]},
                "committer": {"name": BOB["name"], "email": BOB["email"], "date": made["committer"]["date"]}}, "the answer")
    same((made["author"]["date"][:19], made["committer"]["date"][:19]), ("2026-01-31T08:05:09", "2000-01-01T00:00:00"), "dates in UTC")
    same(repo.account.api.get(f"{path(repo)}/{wanted}").ok(), made, "read back")
    # Again, by abbreviations, and with a parent named twice.
    again = make(repo, message=message, tree=tree[:9].upper(), parents=[tip[:8], first, tip], author=ADA, committer=BOB)
    same(again, made, "the same once more")


@test
def nobody_has_it_before_it_has_a_branch(t):
    account = t.account
    repo, work = pushed(t, account)
    reader = repo.account.server.api(account.identity(read=repo).secret())
    writer = repo.account.server.api(account.identity(write=repo).secret())
    before = t.git.remote_refs(repo.url())
    tip, tree = t.git.rev(work), t.git.rev(work, "HEAD~^{tree}")
    made = make(repo, api=writer, tree=tree, parents=[tip])["sha"]
    same(t.git.remote_refs(repo.url()), before, "no branch moved")
    same(account.api.get(f"{path(repo)}").ok()["total"], 2, "commits of the branch")
    writer.get(f"{path(repo)}/{made[:12]}").ok()
    reader.get(f"{path(repo)}/{made}").error("COMMIT_NOT_FOUND")
    t.git.fails("fetch", "-q", repo.url(), made, cwd=work)
    # It can be built on.
    on_top = make(repo, tree=tree, parents=[made], message="on top")["sha"]
    same(writer.post(f"{repo.path}/git/refs/heads/made/here", {"sha": on_top}).ok(), {"name": "made/here", "sha": on_top}, "the branch")
    reader.get(f"{path(repo)}/{made}").ok()
    t.git("fetch", "-q", repo.url(), "refs/heads/made/here", cwd=work)
    same(t.git("rev-list", "FETCH_HEAD", cwd=work).split()[:3], [on_top, made, tip], "what git fetches")
    t.git("fsck", "--full", "--strict", cwd=work)
    copy = t.git.mirror(repo.url(), t.path("copy"))
    t.git("fsck", "--full", "--strict", cwd=copy)


@test
def it_survives_a_crash(t):
    server = t.own_server()
    account = server.account()
    repo, work = pushed(t, account)
    made = make(repo, tree=t.git.rev(work, "HEAD^{tree}"), parents=[t.git.rev(work)])
    server.kill()
    server.start()
    same(account.api.get(f"{path(repo)}/{made['sha']}").ok(), made, "after the crash")
    server.cli("repo", "checkpoint", repo.id)
    same(account.api.get(f"{path(repo)}/{made['sha']}").ok(), made, "after a checkpoint")
    account.api.post(f"{repo.path}/git/refs/heads/kept", {"sha": made["sha"]}).ok()
    wait_for(lambda: t.git.remote_refs(repo.url()).get("refs/heads/kept") == made["sha"], "the branch")
    server.verify(repo.id)


@test
def a_history_can_begin_with_nothing(t):
    repo = t.account.repo()
    first = make(repo, tree=EMPTY_TREE, message="")
    same((first["parents"], first["tree"]["sha"], first["message"]), ([], EMPTY_TREE, ""), "the first commit")
    second = make(repo, tree=EMPTY_TREE, parents=[first["sha"]])
    same(t.git.remote_refs(repo.url()), {}, "no ref")
    repo.account.api.post(f"{repo.path}/git/refs/heads/main", {"sha": second["sha"]}).ok()
    copy = t.git.mirror(repo.url(), t.path("copy"))
    same(t.git("rev-list", "--all", cwd=copy).split(), [second["sha"], first["sha"]], "what git clones")
    t.git("fsck", "--full", "--strict", cwd=copy)


@test
def who_is_named_stands_for_who_is_not(t):
    repo = t.account.repo()

    def people(**fields):
        made = make(repo, tree=EMPTY_TREE, **fields)
        return made["author"], made["committer"]

    default = people()
    expect(default[0] == default[1] and default[0]["name"] and default[0]["email"], "the server's", default)
    same(people(author=None, committer=None)[0]["name"], default[0]["name"], "null is absent")
    for one in ({"author": ADA}, {"committer": ADA}, {"author": ADA, "committer": None}):
        author, committer = people(**one)
        same((author, author["name"]), (committer, ADA["name"]), f"{sorted(one)}")
    author, committer = people(author=ADA, committer={"name": "B", "email": "b", "date": None})
    expect(author["date"] < committer["date"], "without a date it is now", author, committer)


@test
def dates(t):
    repo = t.account.repo()
    for text, wanted in (("1970-01-01T00:00:00Z", "1970-01-01T00:00:00"), ("1970-01-01T01:00:00.999+01:00", "1970-01-01T00:00:00"),
                         ("2024-02-29T23:59:59.5-23:59", "2024-03-01T23:58:59"), ("2000-02-29t00:00:00z", "2000-02-29T00:00:00"),
                         ("2026-01-31 09:05:09.123456789+00:00", "2026-01-31T09:05:09"), ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59")):
        made = make(repo, tree=EMPTY_TREE, author={"name": "a", "email": "b", "date": text})
        same(made["author"]["date"][:19], wanted, text)
    for text in ("", "now", "2026-01-31", "2026-01-31T09:05:09", "2026-1-31T09:05:09Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
                 "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z",
                 "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+24:00",
                 "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00+0100", "2026-01-01T00:00:00Z ", " 2026-01-01T00:00:00Z", "1969-12-31T23:59:59Z",
                 "1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "+026-01-01T00:00:00Z", "2026-01-01T00:00:00\u0660Z", 1769846709, {}, True):
        repo.account.api.post(path(repo), {"message": "m", "tree": EMPTY_TREE, "parents": [], "author": {**ADA, "date": text}}
                              ).error("GIT_INVALID_REQUEST")


def twins():
    """Two names of a file with the content x, whose trees have ids with the same first four digits."""
    blob = hashlib.sha1(b"blob 1\0x").digest()
    met = {}
    for i in itertools.count():
        name = f"f{i}"
        body = b"100644 " + name.encode() + b"\0" + blob
        digits = hashlib.sha1(b"tree %d\0" % len(body) + body).hexdigest()[:4]
        if digits in met:
            return met[digits], name, digits
        met[digits] = name


@test
def ids_that_do_not_serve(t):
    one, two, digits = twins()
    repo, work = pushed(t, files={f"x/{one}": "x", f"y/{two}": "x"})
    api = repo.account.api
    commit, tree, blob, tag = (t.git.rev(work, name) for name in ("HEAD", "HEAD^{tree}", "HEAD:a", "v1"))
    nothing = "0" * 39 + "1"

    def post(**fields):
        return api.post(path(repo), {"message": "m", "tree": tree, "parents": [], **fields})

    post(tree=digits).error("AMBIGUOUS", rev=digits)
    for text in (nothing, blob, commit, tag, nothing[:20]):
        post(tree=text).error("TREE_NOT_FOUND", hash=text)
    for text in (nothing, blob, tree, tag, EMPTY_TREE):
        post(parents=[commit, text]).error("PARENT_NOT_FOUND", sha=text)
    for text in ("", "abc", "HEAD", "main", "g" * 40, commit + "0", commit[:-1] + "\n", "refs/heads/main", "\u0000" * 8):
        post(tree=text).error("INVALID_OBJECT_ID", hash=text)
        post(parents=[text]).error("INVALID_OBJECT_ID", hash=text)
    for fields in ({"message": None}, {"message": 1}, {"message": "a\u0000b"}, {"tree": None}, {"tree": 5}, {"parents": None}, {"parents": commit},
                   {"parents": {}}, {"parents": [None]}, {"parents": [[commit]]}, {"parents": [1]}, {"parents": [commit[:10]] * 1001},
                   {"author": "Ada"}, {"author": []}, {"author": {"name": "a"}}, {"author": {"email": "a"}}, {"author": {"name": "", "email": "a"}},
                   {"committer": {"name": "a<b", "email": "a"}}, {"committer": {"name": "a", "email": "a>b"}}, {"committer": {"name": "a\nb", "email": "a"}},
                   {"committer": {"name": "a" * 1025, "email": "a"}}, {"committer": {"name": 1, "email": "a"}}):
        post(**fields).error("GIT_INVALID_REQUEST")
    api.post(path(repo), []).error("GIT_INVALID_REQUEST")
    post(message="m" * 70000).error("PAYLOAD_TOO_LARGE")
    same(t.git.remote_refs(repo.url()), {"refs/heads/main": commit, "refs/tags/v1": tag}, "nothing changed")
    other = t.account.repo()
    other.account.api.post(path(repo), {"message": "m", "tree": tree, "parents": []}).error("REPOSITORY_NOT_FOUND")
    other.account.api.post(path(other), {"message": "m", "tree": tree, "parents": []}).error("TREE_NOT_FOUND", hash=tree)
