"""Every route of server/http/routes.def by every kind of caller. What has to come out is computed here from the access
column alone, by rules written down from the reference and not from the server."""
import base64
import re
import uuid

from harness import expect, same, test, wait_for
from harness.api import Api
from harness.routes import routes

COST = 12
NEED = {"REPO_READ": 1, "REPO_WRITE": 2, "REPO_ADMIN": 3, "GIT_READ": 1, "GIT_WRITE": 2}


class Caller:
    """kind: none, bad (no live credential whatever its form), key, foreign_key, token; level on the repositories."""

    def __init__(self, name, kind, level=0, secret=None, header=None, foreign=False):
        self.name, self.kind, self.level, self.secret, self.header, self.foreign = name, kind, level, secret, header, foreign


def wanted(route, caller, public, service=None):
    """(status, code or None) that this caller has to get for a request that is otherwise right."""
    need = NEED.get(route.access)
    if route.access == "GIT_SERVICE":
        need = 1 if service == "git-upload-pack" else 2
    if route.access == "NONE":
        return 200, None
    if caller.kind == "bad":
        return 401, "UNAUTHORIZED_ERROR"
    if caller.kind == "none":
        return (200, None) if route.git and public and need == 1 else (401, "UNAUTHORIZED_ERROR")
    if route.access == "ANY":
        return 200, None
    if route.access == "ACCOUNT":
        if caller.kind == "token":
            return 403, "FORBIDDEN"
        return (404, "IDENTITY_NOT_FOUND") if caller.foreign and "{identity}" in route.path else (200, None)
    level = caller.level
    if route.git and public and level == 0:
        level = 1
    if level == 0:
        return 404, "REPOSITORY_NOT_FOUND"
    return (403, "GIT_REPOSITORY_ACCESS_DENIED") if level < need else (200, None)


BLOB = "c1b0730e0133447badcfd47fd144e254807b06e1"  # of the one byte x
# Right requests for what nothing made: who may hear of it hears that it is not there.
NOT_THERE = {"wr_api_tag_get": "REFERENCE_NOT_FOUND", "wr_api_tag_object": "TAG_NOT_FOUND", "wr_api_job_get": "JOB_NOT_FOUND",
             "wr_api_job_cancel": "JOB_NOT_FOUND", "wr_api_trigger_get": "NOT_FOUND", "wr_api_trigger_change": "NOT_FOUND",
             "wr_api_trigger_delete": "NOT_FOUND", "wr_api_trigger_test": "NOT_FOUND", "wr_api_delivery_list": "NOT_FOUND",
             "wr_api_delivery_get": "NOT_FOUND", "wr_api_delivery_redeliver": "NOT_FOUND"}
# Never called, for nothing happens in a repository after a trigger of this test was made.
TRIGGER = {"trigger": {"event": "push"}, "action": {"action": "webhook", "endpoint": "https://hooks.invalid/"}}


class World:
    """Two accounts, identities of every kind, and fresh objects for each request that changes something."""

    def __init__(self, t):
        self.server = t.server
        self.account, self.other = t.account, t.account
        self.reader, self.writer, self.none = (self.account.identity() for _ in range(3))
        self.foreign_identity = self.other.identity(write=self.other.repo())
        expired_id, expired = self.writer.token(expiresIn=1)
        revoked_id, revoked = self.writer.token()
        self.writer.revoke(revoked_id)
        second = self.server.cli("key", "create", self.account.name, "second")
        dead_key = self.server.keep_secret(second["apiKey"])
        probe = self.server.api(dead_key)
        probe.get("/auth/v1/whoami").ok()
        self.server.cli("key", "revoke", self.account.name, "second")
        gone = self.account.identity()
        gone_token = gone.secret()
        self.account.api.delete(gone.path).empty()
        live = self.account.key
        writing = self.writer.secret()
        self.callers = [
            Caller("no credential", "none"),
            Caller("rubbish", "bad", secret="rubbish"),
            Caller("rubbish like a key", "bad", secret=live[:-4] + ("AAAA" if not live.endswith("AAAA") else "BBBB")),
            Caller("rubbish like a token", "bad", secret=writing[:-4] + ("AAAA" if not writing.endswith("AAAA") else "BBBB")),
            Caller("a key cut short", "bad", secret=live[:-1]),
            Caller("Bearer without a word", "bad", header={"Authorization": "Bearer"}),
            Caller("Bearer with two words", "bad", header={"Authorization": f"Bearer {live} {live}"}),
            Caller("an unknown scheme", "bad", header={"Authorization": f"Digest {live}"}),
            Caller("no scheme", "bad", header={"Authorization": live}),
            Caller("Basic that is no base64", "bad", header={"Authorization": "Basic !!!"}),
            Caller("Basic without a colon", "bad",
                   header={"Authorization": "Basic " + base64.b64encode(live.encode()).decode()}),
            Caller("an expired token", "bad", secret=expired),
            Caller("a revoked token", "bad", secret=revoked),
            Caller("a token of a deleted identity", "bad", secret=gone_token),
            Caller("a revoked key", "bad", secret=dead_key),
            Caller("another account's key", "key", 0, self.other.key, foreign=True),
            Caller("another account's identity", "token", 0, self.foreign_identity.secret(), foreign=True),
            Caller("an identity without a grant", "token", 0, self.none.secret()),
            Caller("a reader", "token", 1, self.reader.secret()),
            Caller("a writer", "token", 2, writing),
            Caller("a writer with a read-scoped token", "token", 1, self.writer.secret(scope="read")),
            Caller("the account's key", "key", 3, live),
        ]
        probe = self.server.api(expired)
        wait_for(lambda: probe.get("/auth/v1/whoami").status == 401, "the token's expiry")

    def fresh(self, public):
        repo = self.account.repo(public=public, name="matrix")
        made = self.account.api.post(f"{repo.path}/commits", {"message": "m", "files": [{"path": "d/f", "content": "x"}]}).ok()["commit"]
        repo.names = {"path*": "d/f", "branch*": "main", "tag*": "none",
                      **{name: str(uuid.uuid4()) for name in ("job", "trigger", "delivery")},
                      "commits": made["sha"], "trees": made["tree"]["sha"], "blobs": BLOB, "tags": made["sha"]}
        self.reader.grant(repo, "read")
        self.writer.grant(repo, "write")
        target = self.account.identity()
        return repo, target, target.token()[0]


def instance(route, repo, target, token):
    """(path, body) of a right request."""
    path = route.path.replace("{repo.git}", f"{repo.id}.git").replace("{repo}", repo.id).replace("{identity}", target.id)
    path = path.replace("{token}", token).replace("{grant}", repo.id)
    path = re.sub(r"(\w+)/\{hash\}", lambda m: f"{m[1]}/{repo.names[m[1]]}", path)
    if route.method == "POST":
        path = path.replace("{branch*}", "another")
    path = re.sub(r"\{(path\*|branch\*|tag\*|job|trigger|delivery)\}", lambda m: repo.names[m[1]], path)
    expect("{" not in path, "a parameter that this test does not know", route.path)
    if path.endswith("/compare"):
        path += "?base=main&head=main"
    if path.endswith("/git/refs/heads") and route.method == "POST":
        path += "/another"
    bodies = {"default-branch": {"defaultBranch": "main"}, "visibility": {"visibility": "private"},
              "permissions": {"permission": "read"}, "/git/commits": {"message": "m", "tree": repo.names["trees"], "parents": []},
              "/commits": {"message": "m", "files": []}, "/trigger": TRIGGER}
    body = None
    if route.body in ("JSON", "LARGE"):
        body = next((v for k, v in bodies.items() if k in route.path), {})
        if route.method == "DELETE" and path.endswith("/tokens"):
            body = {"tokenId": token}
    return path, body


def prepare(route, repo, target):
    """A grant where the route changes, reads or removes one."""
    if "{grant}" in route.path and route.method != "POST":
        target.grant(repo, "write")


def forms(route, caller):
    """The ways in which this caller can send what it has."""
    if caller.kind == "none":
        return [("", {})]
    if caller.header is not None:
        return [("", caller.header)]
    out = [("Bearer", {"Authorization": f"Bearer {caller.secret}"})]
    if route.git:
        for user in ("x-access-token", "", "some body"):
            word = base64.b64encode(f"{user}:{caller.secret}".encode()).decode()
            out.append((f"Basic {user}", {"Authorization": f"Basic {word}"}))
    elif caller.kind != "key":
        out.append(("token header", {"X-Freestyle-Identity-Access-Token": caller.secret}))
    return out


def check_reply(route, reply, caller, status, code, repo):
    same(reply.status, status, f"{reply.what} by {caller.name}: status, with {reply.body[:200]!r}")
    if status == 401 and route.git:
        expect((reply.header("WWW-Authenticate") or "").startswith("Basic "), f"{reply.what}: WWW-Authenticate")
    if not route.git:
        expect(reply.header("WWW-Authenticate") is None, f"{reply.what}: no browser dialog for REST")
    if status == 200:
        return
    if route.git:
        expect(reply.header("Content-Type").startswith("text/plain"), f"{reply.what}: Content-Type",
               reply.header("Content-Type"))
        expect(reply.body.strip() and not reply.body.startswith(b"{"), f"{reply.what}: a sentence for the user", reply.body)
        return
    value = reply.error(code)
    if code == "UNAUTHORIZED_ERROR":
        same(value["route"], reply.what.split(" ")[1].split("?")[0], f"{reply.what}: route")
    if code == "REPOSITORY_NOT_FOUND":
        same(value["repoId"], repo.id, f"{reply.what}: repoId")


def git_request(route, path):
    """[(service, path, body, headers)] for a Git route."""
    if route.path.endswith("/info/refs"):
        return [(s, f"{path}?service={s}", None, {}) for s in ("git-upload-pack", "git-receive-pack")]
    service = route.path.rsplit("/", 1)[1]
    return [(service, path, b"0000", {"Content-Type": f"application/x-{service}-request"})]


def run_matrix(t, public):
    world = World(t)
    anonymous = Api(t.server.url)
    t.stack.callback(anonymous.close)
    tried = 0
    for route in routes():
        objects = None
        for caller in world.callers:
            for _form, credential in forms(route, caller):
                if objects is None:
                    objects = world.fresh(public)
                    prepare(route, *objects[:2])
                path, body = instance(route, *objects)
                requests = git_request(route, path) if route.git else [(None, path, body, {})]
                for service, target, sent, headers in requests:
                    status, code = wanted(route, caller, public, service)
                    if status == 200 and route.handler in NOT_THERE:
                        status, code = 404, NOT_THERE[route.handler]
                    reply = anonymous.request(route.method, target, sent, headers={**headers, **credential})
                    check_reply(route, reply, caller, status, code, objects[0])
                    tried += 1
                    if status == 200 and route.method != "GET" and not route.git:
                        objects = None
    return tried


@test
def private_repository(t):
    expect(run_matrix(t, public=False) > 800, "the matrix is large")


@test
def public_repository(t):
    expect(run_matrix(t, public=True) > 800, "the matrix is large")


@test
def access_is_decided_before_the_body_is_looked_at(t):
    world = World(t)
    repo, target, token = world.fresh(False)
    api = t.server.api()
    for route in routes():
        if route.body not in ("JSON", "LARGE"):
            continue
        path, _ = instance(route, repo, target, token)
        api.request(route.method, path, b"{nonsense").error("UNAUTHORIZED_ERROR")
        code = wanted(route, world.callers[17], False)[1]
        same(world.callers[17].name, "an identity without a grant", "the caller meant")
        api.request(route.method, path, b"{nonsense", credential=world.callers[17].secret).error(code)
        api.request(route.method, path, b"{nonsense", credential=world.account.key).error("GIT_INVALID_REQUEST")


@test
def a_key_is_no_identity_token(t):
    account = t.account
    for path in ("/auth/v1/whoami", "/git/v1/repo", "/identity/v1/identities"):
        t.server.api().get(path, headers={"X-Freestyle-Identity-Access-Token": account.key}).error("UNAUTHORIZED_ERROR")


@test
def basic_is_for_git_urls_only(t):
    account = t.account
    word = base64.b64encode(f"x:{account.key}".encode()).decode()
    t.server.api().get("/auth/v1/whoami", headers={"Authorization": f"Basic {word}"}).error("UNAUTHORIZED_ERROR")


@test
def authorization_alone_counts_when_both_are_sent(t):
    account, other = t.account, t.account
    token = other.identity().secret()
    both = {"X-Freestyle-Identity-Access-Token": token}
    same(account.api.get("/auth/v1/whoami", headers=both).ok(), {"accountId": account.id}, "whoami")
    t.server.api("rubbish").get("/auth/v1/whoami", headers=both).error("UNAUTHORIZED_ERROR")
    t.server.api(token).get("/auth/v1/whoami", headers={"X-Freestyle-Identity-Access-Token": "rubbish"}).ok()


@test
def gateway_headers_carry_no_authority(t):
    account = t.account
    headers = {"X-Freestyle-User-Id": account.id, "X-Freestyle-SDK": "x", "X-Freestyle-SDK-Version": "0.1.0"}
    t.server.api().get("/auth/v1/whoami", headers=headers).error("UNAUTHORIZED_ERROR")
    same(account.api.get("/auth/v1/whoami", headers={**headers, "X-Freestyle-User-Id": str(uuid.uuid4())}).ok(),
         {"accountId": account.id}, "whoami")


@test
def the_scheme_of_authorization_is_written_in_any_case(t):
    account = t.account
    for scheme in ("bearer", "BEARER"):
        t.server.api().get("/auth/v1/whoami", headers={"Authorization": f"{scheme} {account.key}"}).ok()


def plain(reply, *ids):
    """What a client can tell apart: status, headers and body, without what is different each time."""
    headers = [(k.lower(), v) for k, v in reply.headers if k.lower() not in ("date", "x-freestyle-trace-id")]
    body = reply.body
    for one in ids:
        body = body.replace(one.encode(), b"ID")
    return reply.status, sorted(headers), body


@test
def foreign_and_absent_look_alike(t):
    """Nobody finds out that something exists: the answers are the same to the byte, apart from the ids in them."""
    world = World(t)
    for public in (False, True):
        repo, target, token = world.fresh(public)
        grantless = world.callers[17].secret
        for route in routes():
            if "{repo" not in route.path and "{identity}" not in route.path and "{grant}" not in route.path:
                continue
            if route.git and public:
                continue
            absent = {repo.id: str(uuid.uuid4()), target.id: str(uuid.uuid4())}
            path, body = instance(route, repo, target, token)
            missing = path
            for one, another in absent.items():
                missing = missing.replace(one, another)
            secrets = [None, world.other.key] + ([grantless] if "{repo" in route.path else [])
            requests = git_request(route, path) if route.git else [(None, path, body, {})]
            others = git_request(route, missing) if route.git else [(None, missing, body, {})]
            api = t.server.api()
            for secret in secrets:
                for (_, here, sent, headers), (_, there, _, _) in zip(requests, others):
                    a = api.request(route.method, here, sent, headers=headers, credential=secret)
                    b = api.request(route.method, there, sent, headers=headers, credential=secret)
                    expect(a.status in (401, 404), f"{a.what}: status", a.status)
                    same(plain(b, *absent.values()), plain(a, *absent.keys()), f"{a.what}: as for an absent one")


@test
def grants_on_foreign_and_absent_repositories_look_alike(t):
    account, other = t.account, t.account
    foreign, identity = other.repo(), account.identity()
    absent = str(uuid.uuid4())
    for method, body in (("GET", None), ("POST", {"permission": "read"}), ("PUT", {"permission": "read"}), ("DELETE", None)):
        replies = [account.api.request(method, f"{identity.path}/permissions/git/{one}", body) for one in (foreign.id, absent)]
        replies[0].error("GIT_REPOSITORY_NOT_FOUND")
        same(plain(replies[1], absent), plain(replies[0], foreign.id), f"{method} of a grant")


@test
def jobs_of_others_and_absent_ones_look_alike(t):
    account, other = t.account, t.account
    begun = account.api.post("/git/v1/repo", {"source": {"url": "http://127.0.0.1:9/x.git"}}, headers={"Prefer": "respond-async"})
    same(begun.status, 202, f"{begun.what}: status")
    there, absent = begun.json["jobId"], str(uuid.uuid4())
    for method in ("GET", "DELETE"):
        foreign = other.api.request(method, f"/git/v1/job/{there}")
        foreign.error("JOB_NOT_FOUND", jobId=there)
        same(plain(other.api.request(method, f"/git/v1/job/{absent}"), absent), plain(foreign, there), f"{method} of a job")
    account.api.get(f"/git/v1/job/{there}").ok()


@test
def malformed_ids_answer_like_unknown_ones(t):
    account = t.account
    identity = account.identity()
    upper = account.repo()
    for bad in ("x", "undefined", "0", "-", upper.id[:-1], upper.id + "0", upper.id.replace("-", ""), "%20", "a%2Fb",
                "'%20OR%201=1", "%F0%9F%90%87", "x" * 2000):
        account.api.get(f"/git/v1/repo/{bad}").error("REPOSITORY_NOT_FOUND")
        account.api.delete(f"/git/v1/repo/{bad}").error("REPOSITORY_NOT_FOUND")
        account.api.get(f"/identity/v1/identities/{bad}/tokens").error("IDENTITY_NOT_FOUND")
        account.api.delete(f"/identity/v1/identities/{bad}").error("IDENTITY_NOT_FOUND")
        account.api.delete(f"{identity.path}/tokens/{bad}").error("NOT_FOUND")
        account.api.get(f"{identity.path}/permissions/git/{bad}").error("GIT_REPOSITORY_NOT_FOUND")
        same(account.api.get(f"/{bad}/info/refs?service=git-upload-pack").status, 404, f"/{bad}/info/refs")
