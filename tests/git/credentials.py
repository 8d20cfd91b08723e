"""Credentials as git sends them, both forms of the URL, public repositories, curl as a client."""
import base64
import os
import re
import subprocess

from harness import Fail, expect, same, test
from harness.core import slowness


def begin(t, **fields):
    repo = t.account.repo(**fields)
    work = t.git.init(t.path(f"work-{repo.id[:8]}"))
    t.git.commit(work, {"a": "b"})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    return repo, work


def curl(*args, data=None):
    """(exit status, stdout, stderr) of a curl that knows nothing of the machine."""
    done = subprocess.run(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", str(int(60 * slowness())), *args], input=data or b"",
                          capture_output=True, env={"PATH": os.environ["PATH"]})
    if done.returncode:
        raise Fail(f"curl {' '.join(args)}: {done.returncode} {done.stderr!r}")
    return done.stdout


@test
def any_user_name_goes_with_a_secret(t):
    repo, _ = begin(t)
    token = repo.account.identity(write=repo).secret()
    for n, (secret, user) in enumerate([(s, u) for s in (token, repo.account.key)
                                        for u in ("x-access-token", "git", "anyone", "a%40b.c", "oauth2")]):
        t.git("clone", "-q", repo.url(secret, user), t.path(f"c{n}"))
    err = t.git.fails("clone", "-q", repo.url("rubbish"), t.path("bad"))
    expect("Authentication failed" in err, "said", err)


@test
def both_forms_of_the_url(t):
    repo, work = begin(t)
    for n, suffix in enumerate((".git", "", ".git/", "/")):
        t.git("clone", "-q", repo.url(suffix=suffix), t.path(f"c{n}"))
        t.git.commit(work, {"n": str(n)})
        t.git("push", "-q", repo.url(suffix=suffix), "main", cwd=work)
        same(t.git.remote_refs(repo.url(suffix=suffix)), {"refs/heads/main": t.git.rev(work)}, suffix)


@test
def bearer_by_extra_header_works_on_the_first_request(t):
    repo, work = begin(t)
    secret = repo.account.identity(write=repo).secret()
    for n, one in enumerate((secret, repo.account.key)):
        config = ("-c", f"http.extraHeader=Authorization: Bearer {one}")
        t.git.commit(work, {"n": str(n)})
        for args in (("clone", "-q", repo.url(None), t.path(f"c{n}")), ("push", "-q", repo.url(None), "main")):
            status, _, err = t.git.run(*config, *args, cwd=work, env={"GIT_TRACE_CURL": "1", "GIT_TRACE_CURL_NO_DATA": "1"})
            same(status, 0, f"git {args[0]}: {err}")
            answers = re.findall(rb"Recv header: HTTP/1.1 (\d+)", err)
            same(set(answers), {b"200"}, f"no challenge was needed to {args[0]}")
    word = base64.b64encode(f"x:{secret}".encode()).decode()
    t.server.keep_secret(word)
    t.git("-c", f"http.extraHeader=Authorization: Basic {word}", "clone", "-q", repo.url(None), t.path("basic"))


@test
def a_credential_helper_is_asked_after_the_challenge(t):
    repo, _ = begin(t)
    helper = t.write("helper", f"#!/bin/sh\necho username=x\necho password={repo.account.key}\n")
    os.chmod(helper, 0o755)
    t.git("-c", f"credential.helper={helper}", "clone", "-q", repo.url(None), t.path("copy"))


@test
def private_repositories_need_a_credential(t):
    repo, _ = begin(t)
    err = t.git.fails("clone", repo.url(None), t.path("none"))
    expect("Authentication failed" in err or "could not read" in err, "said", err)
    other = t.account
    err = t.git.fails("clone", repo.url(other.key), t.path("foreign"))
    expect("not found" in err, "said", err)


@test
def public_repositories_can_be_cloned_by_everyone(t):
    repo, work = begin(t, public=True)
    for version in (0, 1, 2):
        copy = t.path(f"c{version}")
        t.git("-c", f"protocol.version={version}", "clone", "-q", repo.url(None), copy)
        t.git.commit(work, {"n": str(version)})
        t.git("push", "-q", repo.url(), "main", cwd=work)
        t.git("-c", f"protocol.version={version}", "pull", "-q", cwd=copy)
        same(t.git.rev(copy), t.git.rev(work), f"version {version}: tip")
    other = t.account
    t.git("clone", "-q", repo.url(other.key), t.path("foreign"))
    t.git.commit(work, {"n": "x"})
    err = t.git.fails("push", repo.url(None), "main", cwd=work)
    expect("Authentication failed" in err or "could not read" in err, "a push needs a credential", err)
    err = t.git.fails("push", repo.url(other.key), "main", cwd=work)
    expect("403" in err, "a push by others", err)


@test
def a_revoked_token_ends_a_running_clone_of_nothing(t):
    """The next command is refused at once."""
    repo, _ = begin(t)
    identity = repo.account.identity(read=repo)
    token_id, secret = identity.token()
    t.git("clone", "-q", repo.url(secret), t.path("a"))
    identity.revoke(token_id)
    t.git.fails("clone", "-q", repo.url(secret), t.path("b"))


@test
def no_dumb_protocol(t):
    repo, _ = begin(t, public=True)
    api = repo.account.api
    for path in ("HEAD", "objects/info/packs", "objects/info/alternates", "info/packs", "refs/heads/main", "config",
                 "objects/pack/pack-x.idx", "packed-refs"):
        for suffix in ("", ".git"):
            same(api.get(f"/{repo.id}{suffix}/{path}").status, 404, path)
    err = t.git.fails("clone", repo.url(), t.path("dumb"), env={"GIT_SMART_HTTP": "0"})
    expect(err, "git says something")


@test
def the_service_has_to_be_named(t):
    repo, _ = begin(t)
    api = repo.account.api
    api.get(f"/{repo.id}/info/refs").error("EXPECTED_SERVICE")
    api.get(f"/{repo.id}/info/refs?service=").error("EXPECTED_SERVICE")
    for wrong in ("git-upload-archive", "upload-pack", "git-upload-pack%20", "x", "GIT-UPLOAD-PACK"):
        api.get(f"/{repo.id}/info/refs?service={wrong}").error("INVALID_SERVICE")


@test
def curl_with_expect_100_continue(t):
    repo, _ = begin(t)
    body = b"%04xcommand=ls-refs\n" % (4 + len("command=ls-refs\n")) + b"0001" + b"0000"
    path = t.write("body", body)
    out = curl("-u", f"x:{repo.account.key}", "-H", "Expect: 100-continue", "-H", "Git-Protocol: version=2", "-H",
               "Content-Type: application/x-git-upload-pack-request", "-D", t.path("headers"), "--data-binary", f"@{path}",
               f"{t.server.url}/{repo.id}.git/git-upload-pack")
    expect(b"refs/heads/main" in out, "ls-refs", out)
    expect(b"100 Continue" in open(t.path("headers"), "rb").read(), "100 Continue was sent")


@test
def curl_gets_its_refusal_without_sending_the_body(t):
    repo, _ = begin(t)
    path = t.write("body", b"x" * 2_000_000)
    out = curl("-H", "Expect: 100-continue", "-H", "Content-Type: application/x-git-receive-pack-request", "-w", "%{http_code} %{size_upload}",
               "-o", "/dev/null", "--data-binary", f"@{path}", f"{t.server.url}/{repo.id}.git/git-receive-pack")
    status, sent = out.decode().split()
    same((status, sent), ("401", "0"), "status and bytes sent")


@test
def curl_streams_an_answer_kept_alive(t):
    repo, _ = begin(t)
    url = f"{t.server.url}/{repo.id}.git/info/refs?service=git-upload-pack"
    out = curl("-u", f"x:{repo.account.key}", "-w", "%{num_connects}\\n", "-o", t.path("a"), "-o", t.path("b"), "-o", t.path("c"),
               url, url, url)
    same(out.decode().split(), ["1", "0", "0"], "one connection for three requests")
    same(open(t.path("a"), "rb").read(), open(t.path("c"), "rb").read(), "answers")
