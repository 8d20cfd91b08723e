"""Repositories by REST: create, list, read, delete, default branch, visibility."""
import urllib.parse
import uuid

from harness import expect, same, test, wait_for
from harness.api import TIME, UUID
from harness.gitcmd import ZERO
from harness import pkt

ROW = ["id", "name", "visibility", "createdAt", "defaultBranch", "branches", "tags"]
INFO = ["id", "name", "accountId", "visibility", "defaultBranch", "createdAt"]


def push_small(repo, ref="refs/heads/main", **options):
    """One small commit by a raw push; its id."""
    tip, objects = pkt.small(**options)
    body = pkt.push_body([(ZERO, tip, ref)], pkt.pack([pkt.entry(k, d) for k, d in objects]))
    reply = repo.account.api.post(f"/{repo.id}.git/git-receive-pack", body,
                                  headers={"Content-Type": "application/x-git-receive-pack-request"})
    same(pkt.report(reply.body), ("ok", {ref: "ok"}), "push")
    return tip


@test
def an_empty_object_makes_a_private_repository(t):
    account = t.account
    made = account.api.post("/git/v1/repo", {}).ok(["repoId"])
    expect(UUID.match(made["repoId"]), "repoId", made)
    info = account.api.get(f"/git/v1/repo/{made['repoId']}").ok(INFO)
    expect(TIME.match(info.pop("createdAt")), "createdAt", info)
    same(info, {"id": made["repoId"], "name": None, "accountId": account.id, "visibility": "private",
                "defaultBranch": "main"}, "repository")


@test
def an_empty_body_counts_as_an_empty_object(t):
    t.account.api.post("/git/v1/repo").ok(["repoId"])


@test
def every_field_is_kept(t):
    account = t.account
    repo = account.repo(name="Ein H\u00e4schen \U0001f407", public=True, defaultBranch="feat/x")
    info = account.api.get(repo.path).ok(INFO)
    same((info["name"], info["visibility"], info["defaultBranch"]), ("Ein H\u00e4schen \U0001f407", "public", "feat/x"), "fields")


@test
def null_counts_as_absent_and_unknown_keys_are_ignored(t):
    account = t.account
    repo = account.repo(name=None, public=None, defaultBranch=None, source=None, **{"import": None, "devServers": [1], "x": {}})
    info = account.api.get(repo.path).ok(INFO)
    same((info["name"], info["visibility"], info["defaultBranch"]), (None, "private", "main"), "fields")


@test
def the_content_type_of_json_is_not_checked(t):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "nonsense"):
        t.account.api.post("/git/v1/repo", {"name": "x"}, headers={"Content-Type": kind}).ok(["repoId"])


@test
def wrong_types_are_refused(t):
    account = t.account
    for fields in ({"name": 5}, {"name": ["x"]}, {"name": True}, {"public": "yes"}, {"public": 1}, {"defaultBranch": 7},
                   {"defaultBranch": {}}, {"source": "https://example.com/x.git"}, {"import": 3}):
        account.api.post("/git/v1/repo", fields).error("GIT_INVALID_REQUEST")
    same(account.api.get("/git/v1/repo").ok()["total"], 0, "repositories left behind")


@test
def bodies_that_are_no_json_object_are_refused(t):
    account = t.account
    for body in (b"[]", b"\"x\"", b"null", b"5", b"{", b"{\"name\":", b"{}{}", b"{} x", b"nonsense", b"\xff\xfe",
                 b'{"name": "\xff"}', b'{"name": "a\\u0000b"}', b"{'name': 1}", b"[" * 30000, b'{"a":' * 10000):
        account.api.post("/git/v1/repo", body).error("GIT_INVALID_REQUEST")


@test
def illegal_default_branches_are_refused(t):
    account = t.account
    for name in ("a..b", "a b", "x.lock", "/x", "x/", "x//y", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a\\b", "@{x",
                 ".x", "x/.y", "x.", "a\u0001b", "a\u007fb", "x" * 300, "x.lock/y"):
        account.api.post("/git/v1/repo", {"defaultBranch": name}).error("GIT_INVALID_REQUEST")
    for name in ("master", "release/1.0", "\u00e9", "\u65e5\u672c", "a@b", "x-", "{x}", "a.b.c", "%2F", "#1", "x" * 200):
        info = account.api.get(account.repo(defaultBranch=name).path).ok()
        same(info["defaultBranch"], name, "defaultBranch")


@test
def names_have_a_bound_and_need_not_be_unique(t):
    account = t.account
    for name in ("x" * 255, "\u00e9" * 127, "same", "same", " ", "a/b", "../..", "<script>", "%00", "'; --"):
        same(account.api.get(account.repo(name=name).path).ok()["name"], name, "name")
    account.api.post("/git/v1/repo", {"name": "x" * 256}).error("GIT_INVALID_REQUEST")
    account.api.post("/git/v1/repo", {"name": "\u00e9" * 128}).error("GIT_INVALID_REQUEST")


@test
def source_and_import_are_refused(t):
    account = t.account
    source = {"url": "http://127.0.0.1:1/x.git"}  # no public address
    account.api.post("/git/v1/repo", {"source": source}).error("GIT_INVALID_REQUEST")
    account.api.post("/git/v1/repo", {"import": {"type": "files", "files": {}}}).error("GIT_INVALID_REQUEST")
    reply = account.api.post("/git/v1/repo", {"source": source, "import": {"type": "files", "files": {}}})
    expect(reply.json["code"] in ("GIT_INVALID_REQUEST", "SOURCE_IMPORT_CONFLICT") and reply.status == 400, "both", reply.body)
    same(account.api.get("/git/v1/repo").ok()["total"], 0, "repositories left behind")


@test
def the_list_is_newest_first_with_every_member(t):
    account = t.account
    repos = [account.repo(name=f"r{i}") for i in range(5)]
    answer = account.api.get("/git/v1/repo").ok(["repositories", "total", "offset"])
    same([r["id"] for r in answer["repositories"]], [r.id for r in reversed(repos)], "order")
    same((answer["total"], answer["offset"]), (5, 0), "total and offset")
    row = answer["repositories"][0]
    same(sorted(row), sorted(ROW), "members of a row")
    expect(TIME.match(row["createdAt"]), "createdAt", row)
    same({k: row[k] for k in ("name", "visibility", "defaultBranch", "branches", "tags")},
         {"name": "r4", "visibility": "private", "defaultBranch": "main", "branches": {}, "tags": {}}, "row")


@test
def the_list_shows_branches_and_tags(t):
    account = t.account
    repo = account.repo()
    work = t.git.init(t.path("work"))
    first = t.git.commit(work, {"a": "1"}, "one")
    t.git("branch", "feat/x", cwd=work)
    second = t.git.commit(work, {"a": "2"}, "two")
    t.git("tag", "light", cwd=work)
    t.git("tag", "-a", "-m", "Version one\n\nMore words.", "v1/a", first, cwd=work)
    t.git("push", "-q", repo.url(), "--all", cwd=work)
    t.git("push", "-q", repo.url(), "--tags", cwd=work)
    row = account.api.get("/git/v1/repo").ok()["repositories"][0]
    same(row["branches"], {"main": {"name": "main", "default": True, "target": second},
                           "feat/x": {"name": "feat/x", "default": False, "target": first}}, "branches")
    same(sorted(row["tags"]), ["light", "v1/a"], "tags")
    same(row["tags"]["light"], {"name": "light", "target": second, "message": None}, "a lightweight tag")
    tag = row["tags"]["v1/a"]
    same((tag["name"], tag["target"]), ("v1/a", first), "an annotated tag")
    same(tag["message"].strip(), "Version one\n\nMore words.", "its message")


@test
def pages_cover_the_list_without_overlap(t):
    account = t.account
    ids = [account.repo().id for _ in range(7)][::-1]
    got = []
    for offset in (0, 3, 6):
        page = account.api.get(f"/git/v1/repo?limit=3&offset={offset}").ok()
        same((page["total"], page["offset"]), (7, offset), "total and offset")
        got += [r["id"] for r in page["repositories"]]
    same(got, ids, "all pages")
    for query, wanted in (("limit=0", []), ("offset=7", []), ("offset=100000", []), ("limit=100000", ids), ("limit=", ids),
                          ("offset=", ids), ("limit=2&offset=6", ids[6:]), ("unknown=1&limit=1", ids[:1]),
                          ("limit=99999999999999999999", ids)):
        page = account.api.get(f"/git/v1/repo?{query}").ok()
        same([r["id"] for r in page["repositories"]], wanted, query)
        same(page["total"], 7, f"{query}: total")


@test
def the_default_page_has_fifty_rows(t):
    account = t.account
    for _ in range(53):
        account.repo()
    same(len(account.api.get("/git/v1/repo").ok()["repositories"]), 50, "rows")
    same(len(account.api.get("/git/v1/repo?limit=52").ok()["repositories"]), 52, "rows with limit=52")


@test
def numbers_that_are_none_are_refused(t):
    account = t.account
    for path in ("/git/v1/repo", "/identity/v1/identities", f"{account.identity().path}/permissions/git"):
        for bad in ("NaN", "-1", "abc", "1.5", "1e3", "0x10", "+", "1,5", "%201", "--1", "\u0663"):
            for key in ("limit", "offset"):
                value = bad if "%" in bad or bad == "+" else urllib.parse.quote(bad)
                account.api.get(f"{path}?{key}={value}").error("GIT_INVALID_REQUEST")


@test
def search_looks_at_name_and_id_without_case(t):
    account = t.account
    a, b, c = account.repo(name="Alpha One"), account.repo(name="beta%two_x"), account.repo()

    def found(query):
        page = account.api.get(f"/git/v1/repo?search={query}").ok()
        same(page["total"], len(page["repositories"]), f"{query}: total")
        return {r["id"] for r in page["repositories"]}

    same(found("alpha"), {a.id}, "lower case")
    same(found("ALPHA+o"), {a.id}, "upper case and a space")
    same(found("%25two"), {b.id}, "a percent sign is itself")
    same(found("o_x"), {b.id}, "an underscore is itself")
    same(found("a%25e"), set(), "a percent sign is no wildcard")
    same(found("_lpha"), set(), "an underscore is no wildcard")
    same(found(c.id[:13]), {c.id}, "part of an id")
    same(found(c.id.upper()), {c.id}, "an id in capitals")
    same(found(""), {a.id, b.id, c.id}, "empty means no filter")
    same(found("nowhere"), set(), "nothing")
    same(found("'%3B%20DROP"), set(), "quotes")
    page = account.api.get("/git/v1/repo?search=a&limit=1").ok()
    expect(len(page["repositories"]) <= 1 <= page["total"], "total counts all that match", page)


@test
def an_identity_lists_what_it_was_granted(t):
    account = t.account
    a, b, _, public = account.repo(), account.repo(name="b"), account.repo(), account.repo(public=True)
    identity = account.identity(read=a, write=b)
    api = t.server.api(identity.secret())
    page = api.get("/git/v1/repo").ok()
    same({r["id"] for r in page["repositories"]}, {a.id, b.id}, "granted")
    same(page["total"], 2, "total")
    same(api.get("/git/v1/repo?search=b&limit=0").ok()["repositories"], [], "an empty page")
    expect(public.id not in {r["id"] for r in page["repositories"]}, "public is nothing to REST")
    same(t.server.api(account.identity().secret()).get("/git/v1/repo").ok()["total"], 0, "without a grant")


@test
def a_deleted_repository_is_gone_everywhere(t):
    account = t.account
    repo, other = account.repo(public=True), account.repo()
    identity = account.identity(read=[repo, other])
    push_small(repo)
    expect(any(repo.id in name for name in t.server.files()), "its folder is there")
    account.api.delete(repo.path).empty()
    account.api.delete(repo.path).error("REPOSITORY_NOT_FOUND", repoId=repo.id)
    account.api.get(repo.path).error("REPOSITORY_NOT_FOUND")
    account.api.get(repo.path + "/default-branch").error("REPOSITORY_NOT_FOUND")
    same(account.api.get("/git/v1/repo").ok()["total"], 1, "total")
    same(account.api.get(f"/{repo.id}/info/refs?service=git-upload-pack").status, 404, "info/refs")
    same(t.server.api().get(f"/{repo.id}/info/refs?service=git-upload-pack").status, 401, "info/refs without credential")
    account.api.get(f"{identity.path}/permissions/git/{repo.id}").error("GIT_REPOSITORY_NOT_FOUND")
    grants = account.api.get(f"{identity.path}/permissions/git").ok()
    same([g["id"] for g in grants["repositories"]], [other.id], "grants")
    wait_for(lambda: not any(repo.id in name for name in t.server.files()), "its folder's removal")


@test
def the_default_branch_can_be_read_and_set(t):
    account = t.account
    repo = account.repo(defaultBranch="trunk")
    path = repo.path + "/default-branch"
    same(account.api.get(path).ok(), {"defaultBranch": "trunk"}, "default branch")
    account.api.put(path, {"defaultBranch": "any/legal"}).empty()
    same(account.api.get(path).ok(), {"defaultBranch": "any/legal"}, "unborn, so any name is taken")
    push_small(repo, "refs/heads/main")
    push_small(repo, "refs/heads/feat/x", message="y")
    account.api.put(path, {"defaultBranch": "nowhere"}).error("BRANCH_NOT_FOUND", branch="nowhere")
    same(account.api.get(path).ok(), {"defaultBranch": "any/legal"}, "after the refusal")
    for name in ("feat/x", "main"):
        account.api.put(path, {"defaultBranch": name}).empty()
        same(account.api.get(path).ok(), {"defaultBranch": name}, "default branch")
        line = t.git("ls-remote", "--symref", repo.url(), "HEAD").splitlines()[0]
        same(line, f"ref: refs/heads/{name}\tHEAD", "HEAD for git")
        same(account.api.get(repo.path).ok()["defaultBranch"], name, "in the repository")


@test
def illegal_default_branch_requests_are_refused(t):
    account = t.account
    path = account.repo(defaultBranch="keep").path + "/default-branch"
    for body in ({}, {"defaultBranch": None}, {"defaultBranch": 5}, {"defaultBranch": ["main"]}, {"defaultBranch": "a..b"},
                 {"defaultBranch": "x.lock"}, {"branch": "main"}, b"{", b"[]"):
        account.api.put(path, body).error("GIT_INVALID_REQUEST")
    same(account.api.get(path).ok(), {"defaultBranch": "keep"}, "default branch")


@test
def visibility_can_be_read_and_set(t):
    account = t.account
    repo = account.repo()
    push_small(repo)
    path = repo.path + "/visibility"
    anonymous = t.server.api()
    refs = f"/{repo.id}/info/refs?service=git-upload-pack"
    same(account.api.get(path).ok(), {"visibility": "private"}, "visibility")
    same(anonymous.get(refs).status, 401, "anonymous on a private repository")
    account.api.put(path, {"visibility": "public"}).empty()
    same(account.api.get(path).ok(), {"visibility": "public"}, "visibility")
    same(anonymous.get(refs).status, 200, "anonymous on a public repository")
    anonymous.get(repo.path).error("UNAUTHORIZED_ERROR")
    account.api.put(path, {"visibility": "private"}).empty()
    same(anonymous.get(refs).status, 401, "anonymous right after it became private")
    for body in ({}, {"visibility": None}, {"visibility": "secret"}, {"visibility": True}, {"visibility": "PUBLIC"}, b"{"):
        account.api.put(path, body).error("GIT_INVALID_REQUEST")
    same(account.api.get(path).ok(), {"visibility": "private"}, "visibility")


@test
def json_bodies_have_a_bound(t):
    account = t.account
    path = account.repo().path + "/visibility"
    fits = b'{"visibility": "public"}'.ljust(65536)
    account.api.put(path, fits).empty()
    account.api.put(path, fits + b" ").error("PAYLOAD_TOO_LARGE")
    account.api.put(path, b" " * 1000000).error("PAYLOAD_TOO_LARGE")
    account.api.post("/git/v1/repo", {"name": "after"}).ok(["repoId"])


@test
def accounts_do_not_see_each_other(t):
    a, b = t.account, t.account
    mine, theirs = a.repo(name="mine"), b.repo(name="theirs", public=True)
    same([r["id"] for r in a.api.get("/git/v1/repo").ok()["repositories"]], [mine.id], "list")
    same(a.api.get("/git/v1/repo?search=" + theirs.id).ok()["total"], 0, "search by a foreign id")
    a.api.delete(theirs.path).error("REPOSITORY_NOT_FOUND")
    b.api.get(theirs.path).ok(INFO)


@test
def a_reader_may_read_and_not_change(t):
    account = t.account
    repo = account.repo()
    api = t.server.api(account.identity(read=repo).secret())
    api.get(repo.path).ok(INFO)
    api.get(repo.path + "/default-branch").ok(["defaultBranch"])
    api.get(repo.path + "/visibility").ok(["visibility"])
    api.delete(repo.path).error("GIT_REPOSITORY_ACCESS_DENIED")
    api.put(repo.path + "/visibility", {"visibility": "public"}).error("GIT_REPOSITORY_ACCESS_DENIED")
    unknown = f"/git/v1/repo/{uuid.uuid4()}"
    api.get(unknown).error("REPOSITORY_NOT_FOUND")
