"""Errors of the server carry the code of their route: a disk that fails under each of them (server/http/failures.def)."""
import errno
import json
import os
import re

from harness import expect, same, test
from harness.disk import Control, environment
from harness.routes import routes

COST = 3
DEFINITIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../server/http/failures.def")


def failures():
    """{handler: code on the wire}"""
    with open(DEFINITIONS, encoding="ascii") as f:
        rows = dict(re.findall(r"^X\((\w+), (\w+)\)", f.read(), re.M))
    return {handler: code.replace("CREATE_FAILED", "CREATE_REPOSITORY_FAILED") for handler, code in rows.items()}


def start(t):
    control = Control(t.path("control"))
    data = t.path("data")
    os.mkdir(data)
    server = t.own_server(data=data, env=environment(data, control=t.path("control")))
    server.may_fail = True
    return server, control


@test
def the_table_names_handlers_of_the_routes(t):
    handlers = {route.handler for route in routes()}
    expect(set(failures()) <= handlers, "handlers that no route has", sorted(set(failures()) - handlers))


@test
def repositories_that_cannot_be_read(t):
    server, control = start(t)
    account = server.account()
    repo = account.repo()
    made = account.api.post(repo.path + "/commits", {"message": "m", "files": [{"path": "f", "content": "x"}]}).ok()["commit"]
    server.restart()
    control.fail("open+map", errno.EIO, path=repo.id)
    table, seen = failures(), set()
    paths = {"{repo}": repo.id, "{path*}": "f", "{hash}": made["sha"], "{branch*}": "main", "{tag*}": "v1"}
    for route in routes():
        if route.git or route.access not in ("REPO_READ", "REPO_WRITE") or table.get(route.handler) not in (
                "GIT_ERROR", "GET_CONTENT_FAILED", "DOWNLOAD_FAILED"):
            continue
        path = route.path
        for name, value in paths.items():
            path = path.replace(name, value)
        path = path.replace("heads/main", "heads/other") if route.method == "POST" else path
        body = {"message": "m", "files": [], "tree": made["tree"]["sha"], "parents": []} if route.method == "POST" else None
        path += "/x" if path.endswith("heads") and body else "?base=main&head=main" if path.endswith("compare") else ""
        reply = account.server.api(account.key).request(route.method, path, body)
        reply.error(table[route.handler])
        expect("EIO" not in reply.body.decode() and repo.id not in reply.body.decode(), f"{reply.what}: what the client hears", reply.body)
        seen.add(table[route.handler])
    same(seen, {"GIT_ERROR", "GET_CONTENT_FAILED", "DOWNLOAD_FAILED"}, "codes that were provoked")
    control.clear()
    account.server.api(account.key).get(repo.path + "/contents/f").ok()


@test
def a_database_that_cannot_be_written(t):
    server, control = start(t)
    account = server.account()
    repo, other, identity, granted = account.repo(), account.repo(), account.identity(), account.identity()
    granted.grant(repo, "read")
    token, _ = identity.token()
    api = server.api(account.key)
    grant = f"permissions/git/{repo.id}"
    trigger = {"trigger": {"event": "push"}, "action": {"action": "webhook", "endpoint": "https://hooks.invalid/"}}
    there = f"{repo.path}/trigger/{api.post(f'{repo.path}/trigger', trigger).ok()['triggerId']}"
    cases = [("POST", "/git/v1/repo", {}, "CREATE_REPOSITORY_FAILED"), ("DELETE", other.path, None, "DELETE_REPOSITORY_FAILED"),
             ("PUT", repo.path + "/default-branch", {"defaultBranch": "x"}, "UPDATE_DEFAULT_BRANCH_FAILED"),
             ("PUT", repo.path + "/visibility", {"visibility": "public"}, "GET_REPOSITORY_INFO_FAILED"),
             ("POST", repo.path + "/trigger", trigger, "TRIGGER_ERROR"), ("PATCH", there, {"paused": True}, "TRIGGER_ERROR"),
             ("DELETE", there, None, "TRIGGER_ERROR"),
             ("POST", "/identity/v1/identities", None, "CREATE_IDENTITY_FAILED"),
             ("POST", f"{identity.path}/tokens", None, "CREATE_TOKEN_FAILED"), ("DELETE", f"{identity.path}/tokens/{token}", None, "REVOKE_TOKEN_FAILED"),
             ("POST", f"{identity.path}/{grant}", {"permission": "read"}, "GRANT_PERMISSION_FAILED"),
             ("PUT", f"{granted.path}/{grant}", {"permission": "write"}, "UPDATE_PERMISSION_FAILED"),
             ("DELETE", f"{granted.path}/{grant}", None, "REVOKE_PERMISSION_FAILED"),
             ("POST", "/git/v1/identity", None, "CREATE_IDENTITY_FAILED"), ("DELETE", identity.path, None, "DELETE_IDENTITY_FAILED")]
    for method, path, body, code in cases:
        control.fail("write+flush", errno.EIO, path="warren.db")
        reply = api.request(method, path, body)
        control.clear()
        reply.error(code)
        same(sorted(json.loads(reply.body)), ["code", "message"], f"{reply.what}: members")
    # Nothing of it was done, and the server goes on.
    same(api.get(repo.path + "/default-branch").ok(), {"defaultBranch": "main"}, "the default branch")
    for method, path, body, _ in cases[2:]:
        expect(api.request(method, path, body).status == 200, f"{method} {path}: afterwards")


@test
def a_full_disk_has_its_own_code(t):
    server, control = start(t)
    account = server.account()
    repo = account.repo()
    account.api.post(repo.path + "/commits", {"message": "m", "files": []}).ok()
    control.fail("write+size", errno.ENOSPC, path="/repos/")
    reply = account.api.post(repo.path + "/commits", {"message": "m", "files": []})
    control.clear()
    reply.error("STORAGE_FULL")
    expect(reply.header("Retry-After"), "Retry-After")
    account.api.post(repo.path + "/commits", {"message": "m", "files": []}).ok()
