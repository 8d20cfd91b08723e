"""The command line: help, version, accounts, keys; beside a running server and without one."""
import json
import os
import re
import subprocess

from harness import expect, same, test, wait_for
from harness.api import TIME, UUID
from harness.core import warren
from harness.server import clean_environment, run_warren

COMMANDS = ("serve", "account create", "account list", "account delete", "key create", "key list", "key revoke",
            "key rotate-signing", "webhook status", "version")


def ok(*args):
    status, out, err = run_warren(*args)
    same(status, 0, f"warren {' '.join(args)}: exit status with {err!r}")
    return out


def refused(*args):
    status, out, err = run_warren(*args)
    expect(status != 0, f"warren {' '.join(args)}: should be refused", out)
    same(out, "", f"warren {' '.join(args)}: stdout of a failure")
    expect(err.strip(), f"warren {' '.join(args)}: says why")
    return err


def one_json(text):
    same(text.count("\n"), 1, "one line")
    return json.loads(text)


@test
def help_everywhere(t):
    top = ok("--help")
    for command in COMMANDS:
        expect(command.split()[0] in top, f"{command} in the help", top)
        text = ok(*command.split(), "--help")
        expect(command in text and len(text) > 40, f"help of {command}", text)
        same(ok(*command.split(), "-h"), text, "-h")
    for flag in ("--data", "--listen", "--config", "--public-url", "--tls-cert", "--tls-key"):
        expect(flag in ok("serve", "--help"), f"{flag} in the help of serve")
    expect("--with-repositories" in ok("account", "delete", "--help"), "--with-repositories in the help")


@test
def version(t):
    expect(re.match(r"^warren \d+\.\d+\.\d+\n$", ok("version")), "version", ok("version"))


@test
def what_is_no_command_is_refused(t):
    for args in (("nonsense",), ("account", "nonsense"), ("account", "create"), ("account", "create", "a", "b"), ("key", "create", "a"),
                 ("serve", "--nonsense", "x"), ("serve", "--listen"), ("serve", "x"), ("account", "list", "--with-repositories"),
                 ("-x",), ("account", "create", "a", "--listem", "x")):
        refused(*args, *([] if args[-1] == "--listen" else ["--data", t.path("data")]))


def accounts_and_keys(t, data, server=None):
    """The whole life of accounts and keys; with a server every step holds on its next request."""
    run = lambda *args: one_json(ok(*args, "--data", data))
    same(run("account", "list"), {"accounts": []}, "no accounts yet")
    made = run("account", "create", "first")
    same(sorted(made), ["accountId", "apiKey", "name"], "members")
    same(made["name"], "first", "name")
    expect(UUID.match(made["accountId"]), "accountId", made)
    second = run("account", "create", "Zweiter Kunde \U0001f407")
    rows = run("account", "list")["accounts"]
    same([r["name"] for r in rows], ["first", "Zweiter Kunde \U0001f407"], "list")
    expect(made["apiKey"] not in json.dumps(rows), "no key in the list")
    for bad in ("first", "", "a\nb", "x" * 1000, made["accountId"]):
        refused("account", "create", bad, "--data", data)
    key = run("key", "create", "first", "ci")
    expect(key["apiKey"].startswith(made["apiKey"][:4]) and key["apiKey"] != made["apiKey"], "another key")
    refused("key", "create", "first", "ci", "--data", data)
    refused("key", "create", "nobody", "ci", "--data", data)
    by_id = run("key", "create", made["accountId"], "by id")
    keys = run("key", "list", "first")["keys"]
    same(len(keys), 3, "keys")
    expect({"ci", "by id"} < {k["name"] for k in keys}, "names of keys", keys)
    for k in keys:
        expect(UUID.match(k["keyId"]) and TIME.match(k["createdAt"]), "a row", k)
    expect(key["apiKey"] not in json.dumps(keys), "no secret in the list")
    if server:
        server.keep_secret(key["apiKey"]), server.keep_secret(by_id["apiKey"]), server.keep_secret(made["apiKey"])
        api = server.api(key["apiKey"])
        api.get("/auth/v1/whoami").ok()
    run("key", "revoke", "first", "ci")
    if server:
        api.get("/auth/v1/whoami").error("UNAUTHORIZED_ERROR")
        server.api(made["apiKey"]).get("/auth/v1/whoami").ok()
    refused("key", "revoke", "first", "ci", "--data", data)
    run("key", "revoke", "first", next(k["keyId"] for k in keys if k["name"] == "by id"))
    refused("key", "revoke", second["name"], next(k["keyId"] for k in keys if k["name"] == "default"), "--data", data)
    same(len(run("key", "list", "first")["keys"]), 1, "keys left")
    run("account", "delete", second["name"])
    refused("account", "delete", second["name"], "--data", data)
    same([r["name"] for r in run("account", "list")["accounts"]], ["first"], "accounts left")
    run("account", "create", second["name"])
    return made


@test
def accounts_and_keys_without_a_server(t):
    data = t.path("data")
    made = accounts_and_keys(t, data)
    server = t.own_server(data=data)
    server.api(server.keep_secret(made["apiKey"])).get("/auth/v1/whoami").ok()


@test
def accounts_and_keys_beside_a_server(t):
    server = t.own_server()
    accounts_and_keys(t, server.data, server)


@test
def an_account_with_repositories_is_not_deleted_by_chance(t):
    server = t.own_server()
    for running in (True, False):
        account = server.account(f"owner-{running}")
        repo = account.repo()
        work = t.git.init(t.path(f"work-{running}"))
        t.git.commit(work, {"a": "b"})
        t.git("push", "-q", repo.url(), "main", cwd=work)
        identity = account.identity(read=repo)
        secret = identity.secret()
        if not running:
            server.stop()
        err = refused("account", "delete", account.name, "--data", server.data)
        expect("--with-repositories" in err, "says what would help", err)
        if not running:
            server.start()
        account.api.get(repo.path).ok()
        if not running:
            server.stop()
        ok("account", "delete", account.name, "--with-repositories", "--data", server.data)
        if not running:
            server.start()
        account.api.get(repo.path).error("UNAUTHORIZED_ERROR")
        server.api(secret).get(repo.path).error("UNAUTHORIZED_ERROR")
        same(server.api().get(f"/{repo.id}/info/refs?service=git-upload-pack").status, 401, "git")
        wait_for(lambda: not any(repo.id in name for name in server.files()), "the folder's removal")


@test
def commands_at_once(t):
    """Twenty accounts created side by side, some while a server starts: all are there, none twice."""
    data = t.path("data")
    started = [subprocess.Popen([warren(), "account", "create", f"a{i}", "--data", data], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=clean_environment()) for i in range(10)]
    server = t.own_server(data=data)
    started += [subprocess.Popen([warren(), "account", "create", f"b{i}", "--data", data], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=clean_environment()) for i in range(10)]
    for process in started:
        out, err = process.communicate(timeout=120)
        same(process.returncode, 0, f"exit status, with {err!r}")
        server.api(server.keep_secret(json.loads(out)["apiKey"])).get("/auth/v1/whoami").ok()
    same(len(server.cli("account", "list")["accounts"]), 20, "accounts")


@test
def the_data_folder_is_private(t):
    server = t.own_server()
    server.account()
    same(os.stat(server.data).st_mode & 0o077, 0, "nobody else may look into it")


@test
def a_data_folder_that_cannot_be_is_said(t):
    path = t.write("file", "x")
    err = refused("account", "list", "--data", path)
    expect(path in err, "names the path", err)
    err = refused("account", "list", "--data", os.path.join(t.tmp, "no", "such", "folder"))


@test
def a_second_server_on_the_same_folder_is_refused(t):
    server = t.own_server()
    account = server.account()
    status, out, err = run_warren("serve", "--data", server.data, "--listen", "127.0.0.1:0", "--stop-timeout", "100ms")
    expect(status != 0 and out == "" and server.data in err, "refused", status, out, err)
    account.api.get("/auth/v1/whoami").ok()


@test
def a_port_that_is_taken_is_said(t):
    server = t.own_server()
    address = server.url.split("//")[1]
    status, out, err = run_warren("serve", "--data", t.path("other"), "--listen", address)
    expect(status != 0 and out == "" and address.split(":")[1] in err, "refused", status, out, err)


@test
def a_second_start_goes_on_with_the_data(t):
    server = t.own_server()
    account = server.account()
    repo = account.repo(name="kept")
    identity = account.identity(write=repo)
    secret = identity.secret()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b"})
    t.git("push", "-q", repo.url(secret), "main", cwd=work)
    for _ in range(2):
        server.restart()
        same(account.api.get(repo.path).ok()["name"], "kept", "the repository")
        same(t.git.remote_refs(repo.url(secret)), t.git.refs(work), "its refs")
        t.git.commit(work, {"a": os.urandom(4)})
        t.git("push", "-q", repo.url(secret), "main", cwd=work)
    t.git.same_repository(t.git.mirror(repo.url(), t.path("copy")), work, "after two starts")

