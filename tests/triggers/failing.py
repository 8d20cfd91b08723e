"""Endpoints that fail, hang, trickle, flood and lead elsewhere: how each of them shows in the history, and whom it holds up."""
import json
import socket
import time

from harness import expect, same, test, wait_for
from harness.core import slowness
from harness.elsewhere import Elsewhere, answer
from harness.receiver import Receiver, commit, ended, history, once_each, tried_again, trigger

COST = 14
FAST = ("[webhooks]\nallow_private_networks = true\nretry_pause = 20ms\ngive_up = 300ms\ntimeout = 3s\n"
        "connect_timeout = 2s\n")


# Where: the history's status, a word of its error, the beginning of the answer.
FAILURES = {
    "/status/500": (500, "500", "answer 500"),
    "/status/404": (404, "404", "answer 404"),
    "/status/302": (302, "302", "answer 302"),
    "/reset": (None, "", None),
    "/hang": (None, "time", None),
    "/slowhead": (None, "time", None),
    "/endless/500": (500, "500", "yyyy"),
}


@test
def each_failure_has_its_words(t):
    # Time to answer on a busy machine, and for more than one attempt of those that do.
    server = t.own_server(config="[webhooks]\nallow_private_networks = true\nretry_pause = 100ms\ngive_up = 2200ms\ntimeout = 2s\n")
    receiver = Receiver(t, server.url)
    repo = server.account().repo(defaultBranch="main")
    closed = socket.create_server(("127.0.0.1", 0))
    nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    closed.close()
    there = {path: trigger(repo, receiver.url + path) for path in FAILURES}
    there["/redirect"] = trigger(repo, f"{receiver.url}/redirect?to={receiver.url}/ok/redirected")
    there["nobody"] = trigger(repo, nobody)
    there["noname"] = trigger(repo, "http://no-such-host.invalid/")
    there["tls"] = trigger(repo, receiver.url.replace("http:", "https:") + "/ok/tls")
    wanted = {**FAILURES, "/redirect": (307, "307", "answer 307"), "nobody": (None, "", None), "noname": (None, "name", None),
              "tls": (None, "", None)}
    sha = commit(repo, "main", {"a": "1"})
    for path, one in there.items():
        row = ended(repo, one, "failed")
        status, word, answer = wanted[path]
        same((row["status"], row["branch"], row["commit"], row["before"], row["kind"]), (status, "main", sha, None, "push"), path)
        tried_again(row, 2200, path)
        expect(row["error"] and word in row["error"], f"{path}: words", row["error"])
        expect(answer is None and not row["answer"] or row["answer"].startswith(answer), f"{path}: answer", row["answer"])
        expect(len(row["answer"] or "") <= 4096, f"{path}: length of the answer", len(row["answer"] or ""))
        expect(row["endedAt"] and row["nextAttemptAt"] is None, f"{path}: times", row)
    same(receiver.of("/ok/redirected") + receiver.of("/ok/tls"), [], "a redirect is not followed")
    given_up = [line for line in server.log_lines() if line["event"] == "webhook.given_up"]
    same(len(given_up), len(there), "what was given up is logged")


@test
def success_is_any_2xx(t):
    """Whatever becomes of the body."""
    server = t.own_server(config=FAST)
    receiver = Receiver(t, server.url)
    repo = server.account().repo(defaultBranch="main")
    there = {path: trigger(repo, receiver.url + path) for path in ("/ok/x", "/status/204", "/status/299", "/endless", "/drip")}
    commit(repo, "main", {"a": "1"})
    for path, one in there.items():
        row = ended(repo, one, "delivered")
        same((row["attempts"], row["error"]), (1, None), path)
        expect(200 <= row["status"] < 300 and row["latencyMs"] >= 0, path, row)
        once_each(receiver.of(path))
    receiver.check()


@test
def retry_after_counts(t):
    server = t.own_server(config="[webhooks]\nallow_private_networks = true\nretry_pause = 100ms\n")
    receiver = Receiver(t, server.url)
    repo = server.account().repo(defaultBranch="main")
    one = trigger(repo, f"{receiver.url}/later/2/429")
    commit(repo, "main", {"a": "1"})
    receiver.wait("/later/2/429", 1)
    row = wait_for(lambda: next((r for r in history(repo, one) if r["attempts"] == 1), None), "the first attempt")
    same((row["state"], row["status"]), ("queued", 429), "between the attempts")
    first, second = receiver.wait("/later/2/429", 2)
    expect(second["received"] - first["received"] >= 1900, "the pause that was asked for", second["received"] - first["received"])
    same(ended(repo, one, "delivered")["attempts"], 2, "attempts")
    receiver.check()


@test
def again_and_tests(t):
    """One more delivery of what was delivered, and a test of the endpoint: both by themselves, both in the history."""
    server = t.own_server(config=FAST)
    receiver = Receiver(t, server.url)
    repo = server.account().repo(defaultBranch="main")
    api = repo.account.api
    one = trigger(repo, f"{receiver.url}/ok/x", branches=["none"], payload="extended")
    path = f"{repo.path}/trigger/{one}"
    api.post(f"{path}/test", {}).error("BRANCH_NOT_FOUND", branch="main")
    other = trigger(repo, f"{receiver.url}/ok/other")
    sha = commit(repo, "main", {"a": "1"})
    # Told of by now, so that another filter counts for what comes alone.
    receiver.wait("/ok/other", 1)
    api.delete(f"{repo.path}/trigger/{other}").empty()
    made = api.post(f"{path}/test", {}).ok(["deliveryId"])["deliveryId"]
    call = receiver.wait("/ok/x", 1)[0]
    same((call["delivery"], call["test"]), (made, "1"), "a test says so")
    same(json.loads(call["body"])["commit"], sha, "the tip")
    same(ended(repo, one, "delivered")["kind"], "test", "kind")
    api.request("PATCH", path, {"trigger": {"branches": None}}).ok()
    second = commit(repo, "main", {"a": "2"})
    call = receiver.wait("/ok/x", 2)[1]
    row = ended(repo, one, "delivered", 2)
    same((row["id"], row["before"]), (call["delivery"], sha), "the push")
    again = api.post(f"{path}/delivery/{row['id']}/redeliver").ok(["deliveryId"])["deliveryId"]
    call2 = receiver.wait("/ok/x", 3)[2]
    same((call2["delivery"], call2["body"], call2.get("test")), (again, call["body"], None), "again, the same bytes")
    row2 = ended(repo, one, "delivered", 3)
    same((row2["id"], row2["kind"], row2["redeliveryOf"], row2["commit"]), (again, "redelivery", row["id"], second), "its row")
    same(api.get(f"{path}/delivery/{again}").ok(), row2, "the same alone")
    page = api.get(f"{path}/delivery?limit=1&before={again}").ok()["deliveries"]
    same([r["id"] for r in page], [row["id"]], "the page behind it")
    receiver.check()


@test
def paused(t):
    """What happens meanwhile waits; resumed, it comes in order. A new endpoint gets what waits."""
    server = t.own_server(config=FAST)
    receiver = Receiver(t, server.url)
    repo = server.account().repo(defaultBranch="main")
    api = repo.account.api
    one = trigger(repo, f"{receiver.url}/ok/old")
    other = trigger(repo, f"{receiver.url}/ok/other")
    commit(repo, "main", {"a": "0"})
    receiver.wait("/ok/old", 1)
    same(api.request("PATCH", f"{repo.path}/trigger/{one}", {"paused": True}).ok()["paused"], True, "paused")
    shas = {b: [commit(repo, b, {"a": str(n)}) for n in range(1, 5)] for b in ("main", "side")}
    receiver.wait("/ok/other", 9)
    same({r["state"] for r in history(repo, one)[:8]}, {"queued"}, "they wait")
    api.post(f"{repo.path}/trigger/{one}/test", {}).ok()
    receiver.wait("/ok/old", 2)
    server.restart()
    api = repo.account.api
    api.request("PATCH", f"{repo.path}/trigger/{one}", {"action": {"action": "webhook", "endpoint": f"{receiver.url}/ok/new"}}).ok()
    same(len(receiver.of("/ok/new")), 0, "still paused")
    api.request("PATCH", f"{repo.path}/trigger/{one}", {"paused": False}).ok()
    receiver.wait("/ok/new", 8)
    for branch, wanted in shas.items():
        same([b["commit"] for b in receiver.bodies("/ok/new") if b["branch"] == branch], wanted, f"order of {branch}")
    same(len(receiver.of("/ok/old")), 2, "the old endpoint hears no more")
    same(other in {x["id"] for x in api.get(f"{repo.path}/trigger").ok()["triggers"]}, True, "the other one is there")


@test
def an_account_has_a_bound(t):
    """Of what waits: an endpoint that is dead costs its account the oldest, in words, and no other account anything."""
    server = t.own_server(config="[webhooks]\nallow_private_networks = true\nretry_pause = 60s\nwaiting_account = 10\n")
    there = Elsewhere(t, {"/dead": answer(500), "/well": answer()})
    repo, other = (server.account().repo(defaultBranch="main") for _ in range(2))
    dead, well, others = trigger(repo, there.url + "/dead"), trigger(repo, there.url + "/well"), trigger(other, there.url + "/dead")
    theirs = [commit(other, "main", {"a": str(n)}) for n in range(9)]
    shas = []
    for n in range(30):
        shas.append(commit(repo, "main", {"a": str(n)}))
        # What waits for an endpoint that is well is young.
        wait_for(lambda: sum(r["state"] == "delivered" for r in history(repo, well)) == n + 1, "the endpoint that is well")
    wait_for(lambda: len([r for r in history(repo, dead) if r["state"] == "failed"]) >= 20, "the oldest to be given up")
    rows = {r["commit"]: r for r in history(repo, dead)}
    lost = [sha for sha in shas if rows[sha]["state"] == "failed"]
    # One that is under way at that moment is left; one more goes where what is for the endpoint that is well waits just then.
    expect(20 <= len(lost) <= 21 and not set(lost) & set(shas[25:]), "which of them", [shas.index(sha) for sha in lost])
    expect(all("too many deliveries waiting" in rows[sha]["error"] for sha in lost), "words", rows[lost[0]])
    same({r["state"] for r in history(other, others)}, {"queued"}, "the other account's")
    same(len(history(other, others)), len(theirs), "all of them")
    given_up = [line for line in server.log_lines() if line["event"] == "webhook.too_many"]
    same((sum(line["given_up"] for line in given_up), {line["account"] for line in given_up}), (len(lost), {repo.account.id}), "the log")


@test
def hanging_endpoints_hold_up_nobody_else(t):
    """Of one account dozens of endpoints hang; another account's calls come at once, and this one's other host's, too."""
    server = t.own_server(config="[webhooks]\nallow_private_networks = true\nparallel = 24\nparallel_account = 8\nparallel_host = 4\n"
                                 "timeout = 60s\n")
    hostile, receiver = Receiver(t), Receiver(t, server.url)
    bad = server.account().repo(defaultBranch="main")
    for n in range(40):
        trigger(bad, f"{hostile.url}/hang/{n}")
    mine = trigger(bad, f"{receiver.url.replace('127.0.0.1', 'localhost')}/ok/mine")
    good = server.account().repo(defaultBranch="main")
    trigger(good, f"{receiver.url}/ok/good")
    commit(bad, "main", {"a": "1"})
    wait_for(lambda: len(hostile.calls) == 4, "as many as one host of one account may have")
    state = wait_for(lambda: next((s for s in [server.cli("webhook", "status")] if (s["queued"], s["sending"]) == (36, 4)), None), "what waits")
    same(sorted(state), ["dueSince", "oldestAt", "queued", "sending"], "warren webhook status")
    expect(state["oldestAt"] and state["dueSince"], "since when", state)
    began = time.monotonic()
    for n in range(20):
        commit(good, "main", {"a": str(n)})
    receiver.wait("/ok/good", 20)
    expect(time.monotonic() - began < 30 * slowness(), "long before the first one that hangs is given up")
    wait_for(lambda: ended_now(bad, mine), "the same account's other host")
    same(len(hostile.calls), 4, "the rest waits")
    once_each(receiver.of("/ok/good"))


def ended_now(repo, one):
    rows = history(repo, one)
    return rows and rows[0]["state"] != "queued"
