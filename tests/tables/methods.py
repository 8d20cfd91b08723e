"""405 with Allow, preflights, unknown routes: from the same table, on every path."""
import uuid

from harness import expect, same, test
from harness.routes import routes

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = ("authorization", "content-type", "git-protocol", "x-freestyle-identity-access-token", "x-freestyle-sdk",
                   "x-freestyle-sdk-version", "idempotency-key", "if-none-match", "range", "prefer")


def paths(t):
    """{path with real or random ids: the methods of its rows}"""
    account = t.account
    repo, identity = account.repo(), account.identity()
    token = identity.token()[0]
    out, git = {}, set()
    for route in routes():
        path = route.path.replace("{repo.git}", f"{repo.id}.git").replace("{repo}", repo.id)
        path = path.replace("{identity}", identity.id).replace("{token}", token).replace("{grant}", repo.id)
        out.setdefault(path, set()).add(route.method)
        if route.git:
            git.add(path)
    return account, out, git


def words(value):
    return {w.strip() for w in (value or "").split(",") if w.strip()}


@test
def other_methods_are_405_with_allow(t):
    account, table, git = paths(t)
    for path, methods in table.items():
        for method in METHODS:
            if method in methods:
                continue
            for credential in (account.key, None):
                reply = t.server.api(credential).request(method, path)
                same(reply.status, 405, f"{reply.what}: status, with {reply.body[:200]!r}")
                if path not in git:
                    reply.error("METHOD_NOT_ALLOWED")
                allowed = words(reply.header("Allow"))
                same(allowed - {"OPTIONS", "HEAD"}, methods, f"{reply.what}: Allow")


@test
def preflights_need_no_credential_and_say_everything(t):
    _, table, _ = paths(t)
    api = t.server.api()
    for path, methods in table.items():
        for method in sorted(methods):
            reply = api.request("OPTIONS", path, headers={
                "Origin": "https://app.example.com", "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization,content-type"})
            expect(reply.status in (200, 204), f"{reply.what}: status", reply.status)
            expect(methods <= words(reply.header("Access-Control-Allow-Methods")), f"{reply.what}: allowed methods",
                   reply.header("Access-Control-Allow-Methods"))
            allowed = {w.lower() for w in words(reply.header("Access-Control-Allow-Headers"))}
            expect(allowed >= set(REQUEST_HEADERS), f"{reply.what}: allowed headers", sorted(set(REQUEST_HEADERS) - allowed))


@test
def preflights_of_unknown_routes_are_answered(t):
    """Else a page on another origin could not read the 404."""
    for path in ("/nowhere", "/git/v1/repo/x/nothing", "/"):
        for method in ("GET", "POST"):
            reply = t.server.api().request("OPTIONS", path, headers={
                "Origin": "https://app.example.com", "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": "authorization"})
            expect(reply.status in (200, 204), f"{reply.what}: status", reply.status)


@test
def cors_is_on_every_kind_of_reply(t):
    """The checks are in the client of these tests (harness.api.check_every); here are the replies from all corners."""
    account, _, _ = paths(t)
    api = t.server.api(account.key)
    origin = {"Origin": "https://app.example.com"}
    api.get("/healthz", headers=origin).ok()
    api.get("/nothing/here", headers=origin).error("NOT_FOUND")
    api.get("/", headers=origin).error("NOT_FOUND")
    api.request("PATCH", "/healthz", headers=origin).error("METHOD_NOT_ALLOWED")
    api.get("/auth/v1/whoami", headers=origin, credential="rubbish").error("UNAUTHORIZED_ERROR")
    api.post("/git/v1/repo", b"{", headers=origin).error("GIT_INVALID_REQUEST")
    api.put(f"{account.repo().path}/visibility", b"{" + b" " * 70000, headers=origin).error("PAYLOAD_TOO_LARGE")
    same(api.get(f"/{uuid.uuid4()}/info/refs?service=git-upload-pack", headers=origin).status, 404, "an unknown repository")
    same(api.get(f"/{uuid.uuid4()}/info/refs?service=git-upload-pack", headers=origin, credential=None).status, 401, "none")


@test
def origins_can_be_named(t):
    server = t.own_server(config="[http]\ncors_origins = https://app.example.com http://localhost:3000\n")
    api = server.api()
    for origin in ("https://app.example.com", "http://localhost:3000"):
        api.cors = origin
        reply = api.get("/healthz", headers={"Origin": origin})
        expect("origin" in (reply.header("Vary") or "").lower(), "an answer that depends on Origin says so")
        api.get("/auth/v1/whoami", headers={"Origin": origin}).error("UNAUTHORIZED_ERROR")
    api.cors = None
    for origin in ("https://evil.example.com", "https://app.example.com.evil.example.com", "null"):
        reply = api.get("/healthz", headers={"Origin": origin})
        expect(reply.header("Access-Control-Allow-Origin") in (None,) or
               reply.header("Access-Control-Allow-Origin") != origin, "a foreign origin", origin)
        expect(reply.header("Access-Control-Allow-Origin") != "*", "all origins", origin)


@test
def origins_can_be_turned_off(t):
    server = t.own_server(config="[http]\ncors_origins =\n")
    api = server.api()
    api.cors = None
    reply = api.get("/healthz", headers={"Origin": "https://app.example.com"})
    same(reply.header("Access-Control-Allow-Origin"), None, "Access-Control-Allow-Origin")


@test
def unknown_routes_are_404(t):
    account = t.account
    repo = account.repo()
    for path in ("/", "/git", "/git/v1", "/git/v2/repo", f"/git/v1/repo/{repo.id}/nothing", "/git/v1/repository",
                 "/identity/v1", f"/git/v1/repo/{repo.id}/default-branch/x", "/auth/v1/whoami/x", "/healthz/x", "/HEALTHZ",
                 f"/{repo.id}", f"/{repo.id}.git", f"/{repo.id}/info/lfs", "/favicon.ico", "//", "/git//v1/repo",
                 "/.well-known/nothing"):
        for method in ("GET", "POST"):
            for credential in (None, account.key):
                t.server.api(credential).request(method, path).error("NOT_FOUND")


@test
def a_trailing_slash_changes_nothing(t):
    account = t.account
    repo, identity = account.repo(), account.identity()
    for path in ("/git/v1/repo", f"/git/v1/repo/{repo.id}/default-branch", "/auth/v1/whoami", "/identity/v1/identities",
                 f"{identity.path}/tokens", "/healthz"):
        same(account.api.get(path + "/").ok(), account.api.get(path).ok(), f"{path}/")
