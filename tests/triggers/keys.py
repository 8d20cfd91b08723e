"""The keys that deliveries are signed by: the set that consumers fetch, new ones under way, and what stays over a restart."""
import json
import os
import stat
import threading

from harness import expect, same, test, wait_for
from harness.receiver import Receiver, commit, trigger

COST = 8
CONFIG = "[webhooks]\nallow_private_networks = true\nretry_pause = 20ms\nsignature_life = 10s\nkey_overlap = 4s\n"


def key_set(server):
    reply = server.api().get("/.well-known/jwks.json")
    keys = reply.ok(["keys"])["keys"]
    for key in keys:
        same({k: key[k] for k in ("kty", "crv", "alg", "use")}, {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"}, "a key")
        same(sorted(key), ["alg", "crv", "kid", "kty", "use", "x"], "members: nothing of the private half")
    expect("max-age=" in (reply.header("Cache-Control") or ""), "Cache-Control", reply.header("Cache-Control"))
    return [key["kid"] for key in keys]


@test
def kept_over_restarts(t):
    server = t.own_server(config=CONFIG)
    receiver = Receiver(t)
    repo = server.account().repo(defaultBranch="main")
    trigger(repo, f"{receiver.url}/ok/x")
    before = key_set(server)
    same(len(before), 1, "one key")
    commit(repo, "main", {"a": "1"})
    receiver.wait("/ok/x", 1)
    path = os.path.join(server.data, "signing-keys.json")
    same(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode of the file")
    for end in (server.stop, server.kill):
        end()
        server.start()
        same(key_set(server), before, "the keys after a restart")
    commit(repo, "main", {"a": "2"})
    calls = receiver.wait("/ok/x", 2)
    same({c["header"]["kid"] for c in calls}, set(before), "the key that signs")
    receiver.check()


@test
def whose_they_are(t):
    """The issuer is the URL below which the keys are, also where public_url has a slash at its end."""
    server = t.own_server(config=CONFIG)
    receiver = Receiver(t, server.url)
    repo = server.account().repo(defaultBranch="main")
    trigger(repo, f"{receiver.url}/ok/x")
    server.listen = server.url.split("//")[1]
    server.flags += ["--public-url", server.url + "/"]
    server.restart()
    commit(repo, "main", {"a": "1"})
    receiver.wait("/ok/x", 1)
    receiver.check()


@test
def rotation_under_deliveries(t):
    """Consumers keep the set for as long as they are told; no signature is ever made that one of them cannot verify."""
    server = t.own_server(config=CONFIG)
    receiver = Receiver(t, server.url, cooldown_ms=900, cache_ms=1000)
    account = server.account()
    repo = account.repo(defaultBranch="main")
    trigger(repo, f"{receiver.url}/fail/1/500")
    old = key_set(server)[0]
    stop = threading.Event()

    def work():
        api, n = server.api(account.key), 0
        while not stop.is_set():
            n += 1
            commit(repo, "main", {"a": str(n)}, api=api)
            stop.wait(0.05)
    worker = threading.Thread(target=work)
    worker.start()
    t.stack.callback(worker.join)
    t.stack.callback(stop.set)
    receiver.wait("/fail/1/500", 1)
    made = server.cli("key", "rotate-signing")
    keys = key_set(server)
    same((keys[0], set(keys)), (old, {old, made["keyId"]}), "the old one signs, the new one is shown")
    same(server.cli("key", "rotate-signing")["keyId"], made["keyId"], "one at a time")

    def signs_anew():
        calls = receiver.of("/fail/1/500")
        return calls[-1]["header"]["kid"] == made["keyId"] if calls[-1].get("header") else None
    wait_for(signs_anew, "the new key signs")
    same(set(key_set(server)), {old, made["keyId"]}, "the old one is shown while its signatures count")
    came = len(receiver.of("/fail/1/500"))
    receiver.wait("/fail/1/500", came + 10)
    stop.set()
    worker.join()
    calls = receiver.check()
    kids = [c["header"]["kid"] for c in calls]
    same(kids, sorted(kids, key=[old, made["keyId"]].index), "one after the other")
    same(len({json.loads(c["body"])["commit"] for c in calls}) > 10, True, "under deliveries")


@test
def without_a_server(t):
    """The command works on the folder alone; a server that starts then knows it."""
    server = t.own_server(config=CONFIG)
    old = key_set(server)[0]
    server.stop()
    made = server.cli("key", "rotate-signing")
    server.start()
    same(set(key_set(server)), {old, made["keyId"]}, "both")


@test
def files_that_others_may_read(t):
    server = t.own_server(config=CONFIG)
    server.stop()
    path = os.path.join(server.data, "signing-keys.json")
    os.chmod(path, 0o644)
    said = server.cli("key", "rotate-signing", status=1)
    expect("signing-keys.json" in said and "0600" in said, "it says what to do", said)
    os.chmod(path, 0o600)
    server.start()
