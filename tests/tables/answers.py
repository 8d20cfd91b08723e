"""Every answer that docs/openapi.yaml declares, provoked: each operation's success, and each status and code that it lists. The
harness compares every reply with the document; here it is that none of the document was never seen."""
import collections
import hashlib
import json
import uuid

from harness import Reply, expect, same, test
from harness.reference import check, document

COST = 3
LIMIT = 100 * 1024
# What a client cannot bring about: {code: why}, for all operations or one.
NOT_BY_A_CLIENT = {
    "CANNOT_DELETE_MANAGED_IDENTITY": "no identity of this server is its own yet",
    "CANNOT_MODIFY_MANAGED_IDENTITY": "no identity of this server is its own yet",
    "NO_DEFAULT_BRANCH": "every repository has one",
    "UNAVAILABLE": "fault/large_bodies, fault/greedy",
    "STORAGE_FULL": "fault/route_failures",
}
NOT_HERE = {
    ("downloadTarball", "GIT_INVALID_REQUEST"): "a folder that is nested more deeply than git can push",
    ("downloadZip", "GIT_INVALID_REQUEST"): "a folder that is nested more deeply than git can push",
    ("listBranches", "GIT_INVALID_REQUEST"): "300,000 branches",
    ("listTags", "GIT_INVALID_REQUEST"): "300,000 tags",
    ("redeliver", "GIT_INVALID_REQUEST"): "an update that came a moment ago",
}


# Nobody is there to be called.
TRIGGER = {"trigger": {"event": "push"}, "action": {"action": "webhook", "endpoint": "http://127.0.0.1:9/"}}


def oid_of(kind, data):
    return hashlib.sha1(b"%s %d\0%s" % (kind.encode(), len(data), data)).hexdigest()


def alike(kind, make):
    """Two different objects of this kind whose ids begin with the same four digits."""
    seen, i = {}, 0
    while True:
        data = make(i)
        other = seen.setdefault(oid_of(kind, data)[:4], data)
        if other is not data:
            return other, data
        i += 1


class World:
    """An account with a repository that holds two alike of each kind of object, identities, and the paths of all operations."""

    def __init__(self, t):
        self.git = t.git
        self.server = t.own_server(config=f"[http]\nmax_commit = {LIMIT}\n[webhooks]\nallow_private_networks = true\n")
        self.account, self.other = self.server.account(), self.server.account()
        self.folder = t.git.init(t.path("alike"))
        who = b"A <a@b> 1700000000 +0000\n"
        blobs = self.put("blob", lambda i: b"%d" % i)
        trees = self.put("tree", lambda i: b"100644 f%d\0" % i + bytes.fromhex(blobs[0]))
        root = self.tree(b"".join(b"100644 b%d\0" % i + bytes.fromhex(b) for i, b in enumerate(blobs)) +
                         b"".join(b"40000 t%d\0" % i + bytes.fromhex(o) for i, o in enumerate(trees)))
        commits = self.put("commit", lambda i: b"tree %s\nauthor %scommitter %s\n%d" % (root.encode(), who, who, i))
        tags = self.put("tag", lambda i: b"object %s\ntype commit\ntag v\ntagger %s\n%d" % (commits[0].encode(), who, i))
        self.ids = {"blobs": blobs[0], "trees": trees[0], "commits": commits[0], "tags": tags[0]}
        for i in (0, 1):
            t.git("update-ref", f"refs/heads/{'main' if i == 0 else 'aside'}", commits[i], cwd=self.folder)
            t.git("update-ref", f"refs/tags/v{i}", tags[i], cwd=self.folder)
        self.commits = commits
        self.repo = self.account.repo(name="alike")
        t.git("push", "-q", self.repo.url(), "--all", cwd=self.folder)
        t.git("push", "-q", self.repo.url(), "--tags", cwd=self.folder)
        self.spare()
        reader = self.account.identity(read=self.repo)
        self.reading = reader.secret()

    def put(self, kind, make):
        return [self.write(kind, data) for data in alike(kind, make)]

    def write(self, kind, data):
        status, out, err = self.git.run("hash-object", "-t", kind, "-w", "--stdin", "--literally", cwd=self.folder, data=data)
        expect(status == 0, f"a {kind} is written", err)
        return out.decode().strip()

    def tree(self, data):
        return self.write("tree", data)

    def spare(self):
        """Fresh things to change: an identity with a token and a grant."""
        self.identity = self.account.identity()
        self.token, _ = self.identity.token()
        self.granted = self.account.repo()
        self.ungranted = self.account.repo()
        self.identity.grant(self.granted, "read")
        self.triggers = f"{self.repo.path}/trigger"
        self.trigger = self.account.api.post(self.triggers, TRIGGER).ok(["triggerId"])["triggerId"]
        self.delivery = self.account.api.post(f"{self.triggers}/{self.trigger}/test").ok(["deliveryId"])["deliveryId"]

    def path(self, operation, repo=None, identity=None):
        path, last = operation.path, {"{path}": "b0", "{branch}": "main", "{tag}": "v0", "{job}": str(uuid.uuid4()), "{token}": self.token,
                                            "{trigger}": self.trigger, "{delivery}": self.delivery}
        if "permissions" in path:
            made = self.ungranted if operation.method == "POST" else self.granted
            path = path.replace("{repo}", repo or made.id)
        for name, value in {"{repo}": repo or self.repo.id, "{identity}": identity or self.identity.id, **last}.items():
            path = path.replace(name, value)
        if "{hash}" in path:
            kind = path.split("/")[-2]
            path = path.replace("{hash}", self.ids[kind])
        if operation.id == "createBranch":
            path = path[:-len("main")] + f"new-{uuid.uuid4()}"
        return path + ("?base=main&head=aside" if operation.id == "compare" else "")

    def body(self, operation):
        """A right one."""
        if "requestBody" not in operation.body:
            return None
        return {"setDefaultBranch": {"defaultBranch": "main"}, "setVisibility": {"visibility": "private"},
                "createGitCommit": {"message": "m", "tree": self.ids["trees"], "parents": []},
                "createTrigger": TRIGGER, "createCommit": {"message": "m", "files": []}, "revokeLegacyToken": {"tokenId": self.token},
                **{name: {"permission": "read"} for name in ("grantPermission", "updatePermission", "grantLegacyPermission",
                                                             "updateLegacyPermission")}}.get(operation.id, {})

    def ask(self, method, path, body=None, key="own", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.account.api.request(method, path, body, headers=headers, credential=self.account.key if key == "own" else key)


def provoke_common(w, operation):
    """What follows from who may, what the path names, and the body."""
    absent, access = str(uuid.uuid4()), operation.body["x-access"]
    method, body = operation.method, w.body(operation)
    if access != "none":
        w.ask(method, w.path(operation), body, key=None).error("UNAUTHORIZED_ERROR")
    if access == "account":
        w.ask(method, w.path(operation), body, key=w.reading)
    if access == "write":
        w.ask(method, w.path(operation), body, key=w.reading).error("GIT_REPOSITORY_ACCESS_DENIED")
    if "{repo}" in operation.path:
        w.ask(method, w.path(operation, repo=absent), body)
    if "{identity}" in operation.path:
        w.ask(method, w.path(operation, identity=absent), body).error("IDENTITY_NOT_FOUND")
    if "requestBody" in operation.body:
        w.ask(method, w.path(operation), b"{").error("GIT_INVALID_REQUEST")
        w.ask(method, w.path(operation), b" " * (LIMIT + 1)).error("PAYLOAD_TOO_LARGE")
        w.ask(method, w.path(operation), body, Content_Encoding="br").error("UNSUPPORTED_MEDIA_TYPE")
    elif any(document().resolve(p)["name"] == "limit" for p in operation.body.get("parameters", ())):
        w.ask(method, w.path(operation) + "?limit=NaN").error("GIT_INVALID_REQUEST")
    if operation.id not in ("deleteRepository", "getJob", "cancelJob"):
        reply = w.ask(method, w.path(operation), body)
        same(reply.status, 200, f"{reply.what}: a right request, with {reply.body[:300]!r}")
    if method not in ("GET", "PUT"):
        w.spare()


def provoke_more(w):
    """What is particular to one operation."""
    a, repo, absent = w.ask, w.repo.path, "1234567890" * 4
    for kind, code in (("blobs", "BLOB"), ("trees", "TREE"), ("tags", "TAG"), ("commits", "COMMIT")):
        a("GET", f"{repo}/git/{kind}/{absent}").error(f"{code}_NOT_FOUND")
        a("GET", f"{repo}/git/{kind}/xyz").error("INVALID_OBJECT_ID")
        a("GET", f"{repo}/git/{kind}/{w.ids[kind][:4]}").error("AMBIGUOUS", rev=w.ids[kind][:4])
    short = w.commits[0][:4]
    for path, more in (("contents/b0?rev=", ""), ("tarball?rev=", ""), ("zip?rev=", ""), ("compare?head=main&base=", "")):
        a("GET", f"{repo}/{path}{short}{more}").error("AMBIGUOUS")
        a("GET", f"{repo}/{path}a..b").error("INVALID_REVISION")
        a("GET", f"{repo}/{path}gone").error("REFERENCE_NOT_FOUND")
    a("GET", f"{repo}/contents/b0?recursive=maybe").error("GIT_INVALID_REQUEST")
    a("GET", f"{repo}/contents/gone").error("PATH_NOT_FOUND")
    a("GET", f"{repo}/compare?base=main").error("GIT_INVALID_REQUEST")
    a("GET", f"{repo}/compare?base=nowhere").error("GIT_INVALID_REQUEST")
    listed = f"{repo}/git/commits"
    one, other = w.commits
    # Unknown fields are passed over, and null is no value.
    made = a("POST", f"{repo}/commits", {"message": "m", "files": [{"path": "x", "content": "", "encoding": None, "mode": 7}], "branch": None,
                                         "author": None, "expectedSha": None, "more": [{}]}).ok()["commit"]["sha"]
    for query, code in ((f"since={absent}", "COMMIT_NOT_FOUND"), ("since=x", "INVALID_OBJECT_ID"), (f"until={short}", "AMBIGUOUS"),
                        (f"since={made}&until={one}", "INVALID_RANGE"), (f"since={one}&offset=1", "OFFSET_WITH_SELECTOR"),
                        (f"since={other}", "COMMIT_NOT_IN_BRANCH"), ("branch=gone", "BRANCH_NOT_FOUND")):
        a("GET", f"{listed}?{query}").error(code)
    a("GET", f"{repo}/git/refs/heads/gone").error("BRANCH_NOT_FOUND")
    a("GET", f"{repo}/git/refs/tags/gone").error("REFERENCE_NOT_FOUND")
    a("PUT", f"{repo}/default-branch", {"defaultBranch": "gone"}).error("BRANCH_NOT_FOUND")
    heads = f"{repo}/git/refs/heads"
    a("POST", f"{heads}/", {}).error("BRANCH_NAME_EMPTY")
    for sha, code in ((absent, "COMMIT_NOT_FOUND"), ("x", "INVALID_OBJECT_ID"), (short, "AMBIGUOUS")):
        a("POST", f"{heads}/new", {"sha": sha}).error(code)
    a("POST", f"{heads}/aside", {}).error("BRANCH_ALREADY_EXISTS")
    a("POST", f"{w.granted.path}/git/refs/heads/new", {}).error("BRANCH_NOT_FOUND")
    for change, code in (({"path": "/"}, "INVALID_FILE_PATH"), ({"path": "a"}, "INVALID_FILE_CHANGE"),
                         ({"path": "gone", "deleted": True}, "PATH_NOT_FOUND"),
                         ({"path": "a", "content": "?", "encoding": "base64"}, "INVALID_BASE64_CONTENT")):
        a("POST", f"{repo}/commits", {"message": "m", "files": [change]}).error(code)
    for expected, code in ((absent, "CONFLICTING_PARENT"), ("main", "INVALID_OBJECT_ID")):
        a("POST", f"{repo}/commits", {"message": "m", "files": [], "expectedSha": expected}).error(code)
    low = lambda **fields: a("POST", listed, {"message": "m", "tree": w.ids["trees"], "parents": [], **fields})
    low(tree=absent).error("TREE_NOT_FOUND")
    low(tree="x").error("INVALID_OBJECT_ID")
    low(tree=w.ids["trees"][:4]).error("AMBIGUOUS")
    low(parents=[absent]).error("PARENT_NOT_FOUND")


def provoke_identities(w):
    a = w.ask
    for where, grants in ((w.identity.path, "permissions/git"), (f"/git/v1/identity/{w.identity.id}", "permissions")):
        change = "PUT" if grants.endswith("git") else "PATCH"
        a("POST", f"{where}/{grants}/{w.granted.id}", {"permission": "read"}).error("PERMISSION_ALREADY_EXISTS")
        a(change, f"{where}/{grants}/{w.ungranted.id}", {"permission": "read"}).error("PERMISSION_NOT_FOUND")
        a("DELETE", f"{where}/{grants}/{w.ungranted.id}").error("PERMISSION_NOT_FOUND")
    a("GET", f"{w.identity.path}/tokens/{uuid.uuid4()}").error("NOT_FOUND")
    a("DELETE", f"{w.identity.path}/tokens/{uuid.uuid4()}").error("NOT_FOUND")
    a("DELETE", f"/git/v1/identity/{w.identity.id}/tokens", {"tokenId": str(uuid.uuid4())}).error("NOT_FOUND")
    a("DELETE", w.granted.path).empty()
    a("DELETE", w.repo.path, key=w.reading).error("GIT_REPOSITORY_ACCESS_DENIED")


def provoke_triggers(w):
    a, one = w.ask, f"{w.triggers}/{w.trigger}"
    gone = f"{w.triggers}/{uuid.uuid4()}"
    for method, path, body in (("GET", "", None), ("PATCH", "", {}), ("DELETE", "", None), ("POST", "/test", {}), ("GET", "/delivery", None),
                               ("GET", f"/delivery/{w.delivery}", None), ("POST", f"/delivery/{w.delivery}/redeliver", None)):
        a(method, gone + path, body).error("NOT_FOUND")
    a("POST", f"{one}/test", {"branch": "gone"}).error("BRANCH_NOT_FOUND", branch="gone")


def provoke_creations(w):
    a = w.ask
    here = lambda repo: f"{w.server.url}/{repo}"
    source = lambda url, **more: {"source": {"url": url, **more}}
    brought = lambda **fields: {"import": {"commitMessage": "m", **fields}}
    files = {"type": "files", "files": {"a": "b"}}
    a("POST", "/git/v1/repo", {**source(here(w.repo.id)), **brought(**files)}).error("SOURCE_IMPORT_CONFLICT")
    a("POST", "/git/v1/repo", source(here(uuid.uuid4()))).error("SOURCE_NOT_FOUND")
    a("POST", "/git/v1/repo", source(f"http://x:wrong@{here(w.repo.id).split('//')[1]}")).error("SOURCE_UNAUTHORIZED")
    a("POST", "/git/v1/repo", source(here(w.repo.id), rev="gone")).error("INVALID_REVISION")
    a("POST", "/git/v1/repo", brought(type="files", files={"../a": "b"})).error("INVALID_FILE_PATH")
    a("POST", "/git/v1/repo", brought(type="git", url=here(w.repo.id), dir="gone")).error("IMPORT_SUBDIR_NOT_FOUND")


def provoke_jobs(w, elsewhere):
    """A creation that goes on by itself; its source is somewhere else, whatever comes of it."""
    begun = w.ask("POST", "/git/v1/repo", {"source": {"url": elsewhere}}, Prefer="respond-async")
    same(begun.status, 202, f"{begun.what}: with {begun.body[:300]!r}")
    job = f"/git/v1/job/{begun.json['jobId']}"
    w.ask("GET", job).ok()
    w.ask("DELETE", job).ok()
    for method in ("GET", "DELETE"):
        w.ask(method, f"/git/v1/job/{uuid.uuid4()}").error("JOB_NOT_FOUND")


def provoke_fixed(w):
    for path in ("/healthz", "/.well-known/jwks.json", "/openapi.json", "/docs"):
        w.ask("POST", path).error("METHOD_NOT_ALLOWED")
        tag = w.ask("GET", path).header("ETag")
        if tag:
            same(w.ask("GET", path, If_None_Match=tag).status, 304, f"{path}: when it is known")


@test
def every_declared_answer_is_seen(t):
    w, doc = World(t), document()
    doc.seen.clear()
    for operation in doc.operations:
        if not operation.git:
            provoke_common(w, operation)
    for provoke in (provoke_more, provoke_triggers, provoke_identities, provoke_creations, provoke_fixed):
        w.spare()
        provoke(w)
    provoke_jobs(w, "http://127.0.0.1:9/repository.git")
    git = {o.id for o in doc.operations if o.git}
    missing = [(o, status, code) for o, status, code in doc.declared() if (o, status, code) not in doc.seen and o not in git]
    excused = [row for row in missing if row[1] == 500 or row[2] in NOT_BY_A_CLIENT or (row[0], row[2]) in NOT_HERE]
    print(f"note: {len(doc.seen)} answers of the reference were seen; not by a client or not here, times each:",
          ", ".join(f"{code} {n}" for code, n in sorted(collections.Counter(str(row[2]) for row in excused).items())))
    same(sorted(set(missing) - set(excused), key=str), [], "answers that the reference declares and that were never seen")
    same(sorted({row[2] for row in doc.seen if row[2] in NOT_BY_A_CLIENT}), [], "codes that were seen after all")


class Made(Reply):
    def __init__(self, status, value):
        super().__init__("a made-up answer", status, [("Content-Type", "application/json")], json.dumps(value).encode())


@test
def what_is_not_declared_fails(t):
    """The comparison itself."""
    del t
    right = {"id": str(uuid.uuid4()), "name": None, "accountId": str(uuid.uuid4()), "visibility": "private", "defaultBranch": "main",
             "createdAt": "2024-01-01T00:00:00Z"}
    path = f"/git/v1/repo/{right['id']}"
    check("GET", path, Made(200, right))
    check("GET", path, Made(404, {"code": "REPOSITORY_NOT_FOUND", "message": "m", "repoId": "x"}))
    wrong = [(200, {**right, "more": 1}), (200, {k: v for k, v in right.items() if k != "name"}), (200, {**right, "visibility": "secret"}),
             (200, {**right, "id": 7}), (201, right), (404, {"code": "REPOSITORY_NOT_FOUND", "message": "m"}),
             (404, {"code": "BRANCH_NOT_FOUND", "message": "m", "branch": "x"}), (418, {"code": "TEAPOT", "message": "m"}),
             (404, {"code": "REPOSITORY_NOT_FOUND", "message": "m", "repoId": "x", "more": 1})]
    for status, value in wrong:
        try:
            check("GET", path, Made(status, value))
        except AssertionError:
            continue
        expect(False, "an answer that is not as the document says", status, value)
