"""Identities, tokens, grants, whoami: both families of paths."""
import os
import re
import threading
import uuid
from datetime import datetime

from harness import expect, same, test, wait_for
from harness.api import TIME, UUID

CONCURRENT = True
TOKEN = ["id", "description", "scope", "createdAt", "expiresAt", "lastUsedAt"]
NEW, OLD = "/identity/v1/identities", "/git/v1/identity"
GRANT = {NEW: "permissions/git", OLD: "permissions"}
UPDATE = {NEW: "PUT", OLD: "PATCH"}


@test
def whoami_says_account_and_identity(t):
    account = t.account
    same(account.api.get("/auth/v1/whoami").ok(), {"accountId": account.id}, "by key")
    identity = account.identity()
    secret = identity.secret()
    wanted = {"accountId": account.id, "identityId": identity.id}
    same(t.server.api(secret).get("/auth/v1/whoami").ok(), wanted, "by Bearer")
    header = {"X-Freestyle-Identity-Access-Token": secret}
    same(t.server.api().get("/auth/v1/whoami", headers=header).ok(), wanted, "by its own header")


@test
def identities_come_and_go(t):
    for base in (NEW, OLD):
        account = t.account
        made = account.api.post(base).ok(["id", "managed"])
        expect(UUID.match(made["id"]), "id", made)
        same(made["managed"], False, "managed")
        same(account.api.get(base).ok(), {"identities": [made], "total": 1, "offset": 0}, "list")
        account.api.delete(f"{base}/{made['id']}").empty()
        account.api.delete(f"{base}/{made['id']}").error("IDENTITY_NOT_FOUND")
        same(account.api.get(base).ok(), {"identities": [], "total": 0, "offset": 0}, "list")


@test
def bodies_that_creation_does_not_need_are_ignored(t):
    account = t.account
    for body in (b"", b"{}", b'{"x": 1}', b"nonsense", b"\x00\xff"):
        account.api.post(NEW, body).ok(["id", "managed"])


@test
def identities_are_listed_newest_first_in_pages(t):
    account = t.account
    ids = [account.identity().id for _ in range(7)][::-1]
    for base in (NEW, OLD):
        got = []
        for offset in (0, 3, 6):
            page = account.api.get(f"{base}?limit=3&offset={offset}").ok(["identities", "total", "offset"])
            same((page["total"], page["offset"]), (7, offset), "total and offset")
            got += [i["id"] for i in page["identities"]]
        same(got, ids, "all pages")
        for query, n in (("limit=0", 0), ("offset=8", 0), ("limit=5000", 7), ("includeManaged=true", 7),
                         ("includeManaged=false", 7), ("includeManaged=", 7)):
            same(len(account.api.get(f"{base}?{query}").ok()["identities"]), n, query)
        account.api.get(f"{base}?includeManaged=maybe").error("GIT_INVALID_REQUEST")


@test
def the_default_page_of_identities_has_a_hundred(t):
    account = t.account
    for _ in range(103):
        account.identity()
    same(len(account.api.get(NEW).ok()["identities"]), 100, "identities")


@test
def deleting_an_identity_ends_its_tokens_at_once(t):
    account = t.account
    repo = account.repo()
    identity = account.identity(write=repo)
    api = t.server.api(identity.secret())
    api.get(repo.path).ok()
    account.api.delete(identity.path).empty()
    api.get(repo.path).error("UNAUTHORIZED_ERROR")
    account.api.get(identity.path + "/tokens").error("IDENTITY_NOT_FOUND")
    account.api.get(f"{identity.path}/permissions/git/{repo.id}").error("IDENTITY_NOT_FOUND")


@test
def tokens_come_and_go(t):
    for base in (NEW, OLD):
        account = t.account
        identity = account.identity()
        path = f"{base}/{identity.id}/tokens"
        first = account.api.post(path).ok(["id", "token"])
        second = account.api.post(path, {}).ok(["id", "token"])
        for made in (first, second):
            t.server.keep_secret(made["token"])
            expect(UUID.match(made["id"]), "id", made["id"])
            expect(re.match(r"^[A-Za-z0-9_-]{20,}$", made["token"]), "token")
        expect(first["token"] != second["token"], "tokens differ")
        rows = account.api.get(path).ok(["tokens"])["tokens"]
        same([r["id"] for r in rows], [first["id"], second["id"]], "oldest first")
        for row in rows:
            same(sorted(row), sorted(TOKEN), "members of a row")
            same((row["description"], row["expiresAt"]), (None, None), "not asked for")
            expect(TIME.match(row["createdAt"]), "createdAt", row)
        expect(first["token"] not in str(rows), "the secret is not shown again")
        if base == NEW:
            account.api.delete(f"{path}/{first['id']}").empty()
            account.api.delete(f"{path}/{first['id']}").error("NOT_FOUND")
        else:
            account.api.delete(path, {"tokenId": first["id"]}).empty()
            account.api.delete(path, {"tokenId": first["id"]}).error("NOT_FOUND")
        same([r["id"] for r in account.api.get(path).ok()["tokens"]], [second["id"]], "live tokens")
        t.server.api(first["token"]).get("/auth/v1/whoami").error("UNAUTHORIZED_ERROR")
        t.server.api(second["token"]).get("/auth/v1/whoami").ok()


@test
def keys_and_tokens_look_different(t):
    account = t.account
    secrets = [account.identity().secret() for _ in range(3)]
    keys = [account.key, t.account.key]
    prefix = lambda s: re.match(r"^[A-Za-z]+[_-]", s)
    for s in secrets + keys:
        expect(prefix(s), "a prefix that secret scanners can find", s[:8])
        expect(re.match(r"^[A-Za-z0-9_-]+$", s), "letters, digits, - and _ only")
    expect(len({s.split("_")[0] for s in secrets}) == 1 and len({s.split("_")[0] for s in keys}) == 1, "one prefix each")
    shared = os.path.commonprefix([secrets[0], keys[0]])
    expect(len(shared) < min(len(os.path.commonprefix(secrets)), len(os.path.commonprefix(keys))), "prefixes differ",
           os.path.commonprefix(secrets), os.path.commonprefix(keys))


@test
def secrets_are_stored_hashed(t):
    """Neither a key nor a token stands anywhere in the data folder."""
    server = t.own_server()
    account = server.account()
    repo = account.repo()
    identity = account.identity(write=repo)
    secrets = [account.key.encode(), identity.secret().encode()]
    for secret in list(secrets):
        secrets.append(secret.split(b"_", 1)[-1])
    server.api(identity.secret()).get(repo.path).ok()
    server.stop()
    looked = 0
    for folder, _, names in os.walk(server.data):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            looked += len(data)
            for secret in secrets:
                expect(secret not in data, "a secret in clear", name)
    expect(looked > 4096, "there is a database to look at", looked)


@test
def a_token_takes_description_lifetime_and_scope(t):
    account = t.account
    identity = account.identity()
    token_id, _ = identity.token(description="f\u00fcr CI \U0001f407", expiresIn=3600, scope="read")
    row = account.api.get(f"{identity.path}/tokens/{token_id}").ok(TOKEN)
    same((row["id"], row["description"], row["scope"], row["lastUsedAt"]),
         (token_id, "f\u00fcr CI \U0001f407", "read", None), "token")
    made, ends = (datetime.fromisoformat(row[k].replace("Z", "+00:00")) for k in ("createdAt", "expiresAt"))
    same(round((ends - made).total_seconds()), 3600, "lifetime")
    same(account.api.get(f"{identity.path}/tokens").ok()["tokens"], [row], "in the list")
    plain = account.api.get(f"{identity.path}/tokens/{identity.token()[0]}").ok(TOKEN)
    expect(plain["scope"] != "read", "a token without scope is not capped", plain)


@test
def null_token_options_count_as_absent(t):
    identity = t.account.identity()
    token_id, secret = identity.token(description=None, expiresIn=None, scope=None, unknown=[1])
    row = identity.account.api.get(f"{identity.path}/tokens/{token_id}").ok(TOKEN)
    same((row["description"], row["expiresAt"]), (None, None), "token")
    t.server.api(secret).get("/auth/v1/whoami").ok()


@test
def wrong_token_options_are_refused(t):
    identity = t.account.identity()
    for fields in ({"description": 5}, {"description": ["x"]}, {"description": "x" * 20000}, {"expiresIn": 0},
                   {"expiresIn": -1}, {"expiresIn": "60"}, {"expiresIn": 1.5}, {"expiresIn": True}, {"expiresIn": 10**12},
                   {"expiresIn": 2**63 - 1}, {"scope": "admin"}, {"scope": "READ"}, {"scope": 1}, {"scope": ["read"]}, []):
        identity.account.api.post(f"{identity.path}/tokens", fields).error("GIT_INVALID_REQUEST")
    identity.account.api.post(f"{identity.path}/tokens", b'{"expiresIn": 99999999999999999999}').error("GIT_INVALID_REQUEST")
    same(identity.account.api.get(f"{identity.path}/tokens").ok()["tokens"], [], "tokens left behind")


@test
def the_longest_lifetime_is_configured(t):
    server = t.own_server(config="[tokens]\nmax_lifetime = 1h\n")
    identity = server.account().identity()
    identity.token(expiresIn=3600)
    identity.account.api.post(f"{identity.path}/tokens", {"expiresIn": 3601}).error("GIT_INVALID_REQUEST")


@test
def tokens_belong_to_their_identity(t):
    account = t.account
    one, two = account.identity(), account.identity()
    token_id, secret = one.token()
    account.api.get(f"{two.path}/tokens/{token_id}").error("NOT_FOUND")
    account.api.delete(f"{two.path}/tokens/{token_id}").error("NOT_FOUND")
    account.api.delete(f"{OLD}/{two.id}/tokens", {"tokenId": token_id}).error("NOT_FOUND")
    other = t.account
    other.api.get(f"{one.path}/tokens/{token_id}").error("IDENTITY_NOT_FOUND")
    other.api.delete(f"{one.path}/tokens/{token_id}").error("IDENTITY_NOT_FOUND")
    account.api.get(f"{one.path}/tokens/{uuid.uuid4()}").error("NOT_FOUND")
    t.server.api(secret).get("/auth/v1/whoami").ok()


@test
def the_older_revocation_needs_a_token_id(t):
    identity = t.account.identity()
    path = f"{OLD}/{identity.id}/tokens"
    for body in (None, {}, {"tokenId": None}, {"tokenId": 5}, {"id": "x"}, b"{"):
        identity.account.api.delete(path, body).error("GIT_INVALID_REQUEST")
    identity.account.api.delete(path, {"tokenId": "x"}).error("NOT_FOUND")


@test
def revocation_holds_on_the_next_request_of_a_kept_connection(t):
    account = t.account
    repo = account.repo()
    identity = account.identity(read=repo)
    token_id, secret = identity.token()
    api = t.server.api(secret)
    for _ in range(3):
        api.get(repo.path).ok()
    connection = api.connection
    identity.revoke(token_id)
    api.get(repo.path).error("UNAUTHORIZED_ERROR")
    expect(api.connection is connection, "on the same connection")


@test
def expiry_holds_on_a_kept_connection(t):
    account = t.account
    identity = account.identity()
    token_id, secret = identity.token(expiresIn=1)
    api = t.server.api(secret)
    wait_for(lambda: api.get("/auth/v1/whoami").status == 401, "the token's expiry")
    api.get("/auth/v1/whoami").error("UNAUTHORIZED_ERROR")
    same(t.server.api().get("/auth/v1/whoami", headers={"X-Freestyle-Identity-Access-Token": secret}).status, 401, "header")
    expect(token_id not in str(account.api.get(f"{identity.path}/tokens").ok()), "only live tokens are listed")


@test
def a_changed_grant_holds_on_the_next_request(t):
    account = t.account
    repo = account.repo()
    identity = account.identity()
    api = t.server.api(identity.secret())
    path = f"{identity.path}/permissions/git/{repo.id}"
    push = f"/{repo.id}/info/refs?service=git-receive-pack"
    api.get(repo.path).error("REPOSITORY_NOT_FOUND")
    same(api.get(push).status, 404, "without a grant")
    account.api.post(path, {"permission": "read"}).empty()
    api.get(repo.path).ok()
    same(api.get(push).status, 403, "reader")
    account.api.put(path, {"permission": "write"}).empty()
    same(api.get(push).status, 200, "writer")
    account.api.put(path, {"permission": "read"}).empty()
    same(api.get(push).status, 403, "reader again")
    account.api.delete(path).empty()
    same(api.get(push).status, 404, "no grant again")


@test
def a_read_scope_caps_every_grant(t):
    account = t.account
    repos = [account.repo(), account.repo()]
    identity = account.identity(write=repos)
    api = t.server.api(identity.secret(scope="read"))
    for repo in repos:
        api.get(repo.path).ok()
        same(api.get(f"/{repo.id}/info/refs?service=git-upload-pack").status, 200, "fetch")
        same(api.get(f"/{repo.id}/info/refs?service=git-receive-pack").status, 403, "push")


@test
def last_use_shows_up(t):
    account = t.account
    identity = account.identity()
    used, secret = identity.token()
    unused, _ = identity.token()
    t.server.api(secret).get("/auth/v1/whoami").ok()
    read = lambda one: account.api.get(f"{identity.path}/tokens/{one}").ok(TOKEN)["lastUsedAt"]
    seen = wait_for(lambda: read(used), "lastUsedAt", 90)
    expect(TIME.match(seen), "lastUsedAt", seen)
    same(read(unused), None, "the other token's lastUsedAt")


@test
def grants_come_and_go(t):
    for base in (NEW, OLD):
        account = t.account
        repo = account.repo(name="granted", public=True)
        identity = account.identity()
        grants = f"{base}/{identity.id}/{GRANT[base]}"
        path = f"{grants}/{repo.id}"
        one = {"identity": identity.id, "repo": repo.id}
        same(account.api.get(path).ok(), {**one, "accessLevel": None}, "before")
        account.api.request(UPDATE[base], path, {"permission": "read"}).error("PERMISSION_NOT_FOUND")
        account.api.delete(path).error("PERMISSION_NOT_FOUND")
        account.api.post(path, {"permission": "read", "unknown": 1}).empty()
        same(account.api.get(path).ok(), {**one, "accessLevel": "read"}, "granted")
        account.api.post(path, {"permission": "read"}).error("PERMISSION_ALREADY_EXISTS")
        account.api.post(path, {"permission": "write"}).error("PERMISSION_ALREADY_EXISTS")
        same(account.api.get(path).ok(), {**one, "accessLevel": "read"}, "after the refusal")
        account.api.request(UPDATE[base], path, {"permission": "write"}).empty()
        row = {"id": repo.id, "name": "granted", "accountId": account.id, "permissions": "write", "visibility": "public"}
        same(account.api.get(grants).ok(), {"repositories": [row], "total": 1, "offset": 0}, "list")
        account.api.delete(path).empty()
        account.api.delete(path).error("PERMISSION_NOT_FOUND")
        same(account.api.get(path).ok(), {**one, "accessLevel": None}, "after")
        same(account.api.get(grants).ok(), {"repositories": [], "total": 0, "offset": 0}, "list")


@test
def wrong_grants_are_refused(t):
    account = t.account
    repo, identity = account.repo(), account.identity()
    path = f"{identity.path}/permissions/git/{repo.id}"
    bodies = ({}, None, {"permission": None}, {"permission": "admin"}, {"permission": "Read"}, {"permission": 1},
              {"permission": ["read"]}, {"accessLevel": "read"}, {"permission": ""}, b"{", b"[]")
    for body in bodies:
        account.api.post(path, body).error("GIT_INVALID_REQUEST")
    same(account.api.get(path).ok()["accessLevel"], None, "level")
    identity.grant(repo, "read")
    for body in bodies:
        account.api.put(path, body).error("GIT_INVALID_REQUEST")
        account.api.request("PATCH", f"{OLD}/{identity.id}/permissions/{repo.id}", body).error("GIT_INVALID_REQUEST")
    same(account.api.get(path).ok()["accessLevel"], "read", "level")


@test
def grants_need_both_ends(t):
    account = t.account
    repo, identity = account.repo(), account.identity()
    for method, body in (("GET", None), ("POST", {"permission": "read"}), ("PUT", {"permission": "read"}), ("DELETE", None)):
        account.api.request(method, f"{NEW}/{uuid.uuid4()}/permissions/git/{repo.id}", body).error("IDENTITY_NOT_FOUND")
        account.api.request(method, f"{identity.path}/permissions/git/{uuid.uuid4()}", body).error("GIT_REPOSITORY_NOT_FOUND")
    account.api.get(f"{NEW}/{uuid.uuid4()}/permissions/git").error("IDENTITY_NOT_FOUND")


@test
def grants_are_listed_in_pages(t):
    account = t.account
    repos = [account.repo() for _ in range(7)]
    identity = account.identity(read=repos)
    got = []
    for offset in (0, 3, 6):
        page = account.api.get(f"{identity.path}/permissions/git?limit=3&offset={offset}").ok()
        same((page["total"], page["offset"]), (7, offset), "total and offset")
        got += [r["id"] for r in page["repositories"]]
    same(sorted(got), sorted(r.id for r in repos), "all pages")
    same(account.api.get(f"{identity.path}/permissions/git?limit=0").ok()["repositories"], [], "limit=0")


@test
def an_identity_never_administers(t):
    account = t.account
    repo = account.repo()
    identity = account.identity(write=repo)
    api = t.server.api(identity.secret())
    for method, path, body in (("GET", NEW, None), ("POST", NEW, None), ("POST", identity.path + "/tokens", None),
                               ("GET", identity.path + "/tokens", None), ("DELETE", identity.path, None),
                               ("PUT", f"{identity.path}/permissions/git/{repo.id}", {"permission": "write"}),
                               ("POST", "/git/v1/repo", {}), ("GET", OLD, None)):
        api.request(method, path, body).error("FORBIDDEN")
    api.delete(repo.path).error("GIT_REPOSITORY_ACCESS_DENIED")


@test
def many_clients_at_once_get_their_own_answers(t):
    """Several connections, each as its own identity, all at the same time: nobody ever gets another's answer."""
    account = t.account
    identities = [account.identity() for _ in range(8)]
    secrets = [i.secret() for i in identities]
    wrong = []

    def work(n):
        api = t.server.api(secrets[n])
        done = 0
        try:
            while done < 60:
                same(api.get("/auth/v1/whoami").ok(), {"accountId": account.id, "identityId": identities[n].id}, "whoami")
                done += 1
        except Exception as e:
            wrong.append(f"after {done} answers: {e}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same(wrong, [], "wrong answers")

