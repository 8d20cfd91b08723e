"""The npm package freestyle and its CLI."""
import json
import os
import re

from harness import expect, same, test
from harness.node import node, packages

COST = 3
RELEASE_ONLY = True
HERE = os.path.dirname(os.path.abspath(__file__))


def run(t, script, name, **env):
    modules = packages(HERE, "clients")
    status, out, err = node(modules, os.path.join(HERE, script), name, env={"URL": t.server.url, "TMP": t.tmp, **env})
    expect(status == 0, f"{script} {name}", out, err)
    expect("done" in out, f"{script} {name}: ran to its end", out)


def sdk(t, name, **env):
    account = t.account
    run(t, "sdk.mjs", name, KEY=account.key, ACCOUNT=account.id, **env)


def cli(t, account, *args, status=0):
    modules = packages(HERE, "clients")
    got, out, err = node(modules, os.path.join(modules, "freestyle/cli.mjs"), *args,
                         env={"FREESTYLE_API_URL": t.server.url, "FREESTYLE_API_KEY": account.key, "HOME": t.tmp})
    same(got, status, f"freestyle {' '.join(args)}: exit status with {out!r} {err!r}")
    return out + err


@test
def the_lock_file_names_no_host(t):
    for folder in (HERE, os.path.join(HERE, "../browsers")):
        with open(os.path.join(folder, "package-lock.json"), encoding="utf-8") as f:
            text = f.read()
        expect("://" not in text and '"resolved"' not in text, f"a host in the lock file of {folder}")
        expect(text.count('"integrity"') > 0, "what is locked is locked by checksum")


@test
def sdk_by_its_base_url(t):
    sdk(t, "whoami")


@test
def sdk_by_environment(t):
    account = t.account
    run(t, "sdk.mjs", "environment", FREESTYLE_API_URL=t.server.url + "/", FREESTYLE_API_KEY=account.key, ACCOUNT=account.id)


@test
def sdk_repositories(t):
    sdk(t, "repositories")


@test
def sdk_default_branch(t):
    sdk(t, "defaultBranch")


@test
def sdk_identities_and_tokens(t):
    sdk(t, "identities")


@test
def sdk_grants(t):
    sdk(t, "grants")


@test
def sdk_errors_and_trace_ids(t):
    sdk(t, "errors", FOREIGN=t.account.repo().id)


@test
def sdk_by_access_token(t):
    sdk(t, "accessToken")


@test
def cli_creates_lists_and_deletes(t):
    account = t.account
    expect(account.id in cli(t, account, "whoami"), "whoami")
    out = cli(t, account, "git", "create", "--name", "by-cli", "--default-branch", "trunk")
    repo_id = re.search(r"Repo ID: (\S+)", out).group(1)
    info = account.api.get(f"/git/v1/repo/{repo_id}").ok()
    same((info["name"], info["defaultBranch"], info["visibility"]), ("by-cli", "trunk", "private"), "the repository")
    out = cli(t, account, "git", "list")
    expect(repo_id in out and "trunk" in out and re.search(r"Total: 1\b", out), "list", out)
    listed = cli(t, account, "git", "list", "--json")
    same(json.loads(listed[listed.index("{"):])["repositories"][0]["id"], repo_id, "list --json")
    cli(t, account, "git", "delete", repo_id)
    account.api.get(f"/git/v1/repo/{repo_id}").error("REPOSITORY_NOT_FOUND")
    expect(re.search(r"Total: 0\b|[Nn]o .*repositor", cli(t, account, "git", "list")), "an empty list")
    out = cli(t, account, "git", "delete", repo_id, status=1)
    expect("REPOSITORY_NOT_FOUND" in out and "TraceId" in out, "an error with its trace id", out)
