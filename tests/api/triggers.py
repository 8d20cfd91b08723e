"""Triggers and the history of their deliveries by REST: what is taken and what refused, what is read back, and who may. Whether calls
arrive is tested in tests/triggers."""
import base64
import threading
import uuid

from harness import expect, same, test, wait_for
from harness.api import TIME, UUID

COST = 4
CONCURRENT = True
ENDPOINT = "https://hooks.invalid/a?b=c"
PRIVATE = "[webhooks]\nallow_private_networks = true\nretry_pause = 20ms\ngive_up = 200ms\n"
NOBODY = "http://127.0.0.1:9/"  # where none listens


def body(endpoint=ENDPOINT, payload=None, **trigger):
    action = {"action": "webhook", "endpoint": endpoint, **({"payload": payload} if payload else {})}
    return {"trigger": {"event": "push", **trigger}, "action": action}


class Place:
    """A repository, and its triggers' path."""

    def __init__(self, account):
        self.account, self.api, self.repo = account, account.api, account.repo()
        self.path = f"{self.repo.path}/trigger"

    def make(self, **fields):
        made = self.api.post(self.path, body(**fields)).ok(["triggerId"])["triggerId"]
        expect(UUID.match(made), "id", made)
        return made

    def read(self, one):
        return self.api.get(f"{self.path}/{one}").ok()

    def change(self, one, change):
        return self.api.request("PATCH", f"{self.path}/{one}", change)

    def commit(self, branch="main", api=None):
        made = (api or self.api).post(f"{self.repo.path}/commits", {"message": "m", "branch": branch, "files": [
            {"path": "f", "content": str(uuid.uuid4())}]})
        return made.ok()["commit"]["sha"]


# Making and reading.

@test
def what_was_made_is_read_back(t):
    p = Place(t.account)
    same(p.api.get(p.path).ok(), {"triggers": []}, "none")
    cases = [({}, None, None, {}), ({"branches": None, "globs": None}, None, None, {}), ({"branches": [], "globs": []}, None, None, {}),
             ({"branches": ["main", "rel/*", "{a,b}/**", "\u00fc"]}, ["main", "rel/*", "{a,b}/**", "\u00fc"], None, {}),
             ({"globs": ["src/**", "*.[ch]"], "branches": []}, None, ["src/**", "*.[ch]"], {}),
             ({"payload": "basic"}, None, None, {"payload": "basic"}), ({"payload": "extended"}, None, None, {"payload": "extended"})]
    made = []
    for asked, branches, globs, payload in cases:
        made.append(p.make(**asked))
        row = p.read(made[-1])
        expect(TIME.match(row["createdAt"]), "createdAt", row)
        same(row, {"id": made[-1], "repositoryId": p.repo.id, "trigger": {"event": "push", "branches": branches, "globs": globs},
                   "action": {"action": "webhook", "endpoint": ENDPOINT, **payload}, "managed": False, "paused": False,
                   "createdAt": row["createdAt"]}, f"a trigger of {asked}")
    rows = p.api.get(p.path).ok(["triggers"])["triggers"]
    same([row["id"] for row in rows], made, "oldest first")
    same(rows, [p.read(one) for one in made], "rows of the list")
    same(p.api.get(p.path + "/").ok()["triggers"], rows, "with a slash")
    p.api.delete(f"{p.path}/{made[2]}").empty()
    p.api.delete(f"{p.path}/{made[2]}").error("NOT_FOUND")
    p.api.get(f"{p.path}/{made[2]}").error("NOT_FOUND")
    same([row["id"] for row in p.api.get(p.path).ok()["triggers"]], made[:2] + made[3:], "without the deleted one")


@test
def the_fields_have_other_names(t):
    """As the SDK's examples write them: refused, with the right names; not passed over."""
    p = Place(t.account)
    right = body()
    for wrong in ({"trigger": {"event": "push", "branch": ["main"]}, "action": {"type": "webhook", "url": ENDPOINT}},
                  {"trigger": {"event": "push", "branch": "main"}, "action": right["action"]},
                  {"trigger": right["trigger"], "action": {"type": "webhook", "endpoint": ENDPOINT}},
                  {"trigger": right["trigger"], "action": {"action": "webhook", "url": ENDPOINT}}):
        message = p.api.post(p.path, wrong).error("GIT_INVALID_REQUEST")["message"]
        for name in ("trigger.branches", "action.action", "action.endpoint"):
            expect(name in message, f"{wrong}: {name}", message)
    one = p.make()
    p.change(one, {"trigger": {"branch": "main"}}).error("GIT_INVALID_REQUEST")
    p.change(one, {"action": {"url": NOBODY}}).error("GIT_INVALID_REQUEST")
    # Beside the right ones they are as any that nobody knows.
    p.api.post(p.path, {"trigger": {**right["trigger"], "branch": 1, "branches": None}, "action": {**right["action"], "url": 7, "type": []},
                        "more": 1}).error("GIT_INVALID_REQUEST")
    p.api.post(p.path, {"trigger": {**right["trigger"], "branch": 1, "branches": ["main"]}, "action": {**right["action"], "url": 7, "type": []},
                        "more": 1}).ok(["triggerId"])


@test
def what_is_missing_or_wrong(t):
    p = Place(t.account)
    right = body()

    def refused(word, wrong):
        message = p.api.post(p.path, wrong).error("GIT_INVALID_REQUEST")["message"]
        expect(word in message, f"{wrong}: the sentence names {word}", message)

    for word, part, key in (("trigger.event", "trigger", "event"), ("action.action", "action", "action"), ("action.endpoint", "action", "endpoint")):
        for value in ({}, {key: None}):
            refused(word, {**right, part: {**{k: v for k, v in right[part].items() if k != key}, **value}})
    for part in ("trigger", "action"):
        refused(part, {k: v for k, v in right.items() if k != part})
        for value in (None, "x", [], 1):
            refused(part, {**right, part: value})
    for event in ("tag", "", 1):
        refused("event", {**right, "trigger": {"event": event}})
    for action in ("email", "", {}):
        refused("action", {**right, "action": {**right["action"], "action": action}})
    for payload in ("full", "", 1, True):
        refused("payload", {**right, "action": {**right["action"], "payload": payload}})
    many = [f"b{i}" for i in range(101)]
    for field in ("branches", "globs"):
        for value in ("main", {}, 1, True, many):
            refused(f"trigger.{field}", body(**{field: value}))
        for item in (1, None, "", [], "a[b", "{a", "x" * 1025, "a\0b"):
            refused(f"trigger.{field}[1]", body(**{field: ["fine", item]}))
        p.make(**{field: many[:100]})
    same(len(p.api.get(p.path).ok()["triggers"]), 2, "triggers that were made")


@test
def endpoints_that_are_refused(t):
    p = Place(t.account)
    wrong = ["", "x", "/hook", "ftp://example.com/", "file:///etc/passwd", "http://", "https://user:password@example.com/", "https://user@example.com/",
             "http://example.com/a\nb", "http://example.com/\0", "http://a b/", "https://example.com/" + "x" * 2048, "javascript:alert(1)"]
    inside = ["localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.1", "0x7f000001", "2130706433", "0", "0.0.0.0", "10.0.0.1",
              "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]",
              "[::ffff:127.0.0.1]", "[::ffff:a00:1]", "[64:ff9b::7f00:1]"]
    for endpoint in wrong + [f"http://{host}/hook" for host in inside] + [f"https://{host}:8443" for host in inside]:
        reply = p.api.post(p.path, body(endpoint=endpoint))
        message = reply.error("GIT_INVALID_REQUEST")["message"]
        expect("action.endpoint" in message and "password" not in message.replace("user name and password", ""), f"{endpoint!r}: words", message)
    for endpoint in (1, {}, ["http://example.com/"], True):
        p.api.post(p.path, body(endpoint=endpoint)).error("GIT_INVALID_REQUEST")
    # Names are not looked up.
    fine = ["http://example.com", "HTTPS://Example.COM:8443/a/b?c=d#e", "http://93.184.215.14/", "http://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
            "http://no-such-host.invalid/", "https://example.com/" + "x" * (2048 - 20)]
    for endpoint in fine:
        same(p.read(p.make(endpoint=endpoint))["action"]["endpoint"], endpoint, "the endpoint, unchanged")
    one = p.make()
    p.change(one, {"action": {"endpoint": "http://127.0.0.1/"}}).error("GIT_INVALID_REQUEST")
    same(p.read(one)["action"]["endpoint"], ENDPOINT, "after a refused change")


@test
def a_repository_has_a_hundred(t):
    p = Place(t.account)
    made = [p.make() for _ in range(100)]
    expect("100" in p.api.post(p.path, body()).error("GIT_INVALID_REQUEST")["message"], "how many")
    p.api.delete(f"{p.path}/{made[50]}").empty()
    made = made[:50] + made[51:] + [p.make()]
    same([row["id"] for row in p.api.get(p.path).ok()["triggers"]], made, "all of them")
    Place(p.account).make()


# Changing.

@test
def changes_touch_what_was_sent(t):
    p = Place(t.account)
    one = p.make(branches=["main"], globs=["src/**"], payload="extended")
    wanted = p.read(one)
    before = p.read(p.make())
    steps = [({}, {}), ({"trigger": None, "action": None, "paused": None}, {}), ({"trigger": {}, "action": {}}, {}),
             ({"trigger": {"branches": ["rel/*"]}}, {"trigger": {"branches": ["rel/*"]}}),
             ({"trigger": {"event": "push", "globs": []}}, {"trigger": {"globs": None}}),
             ({"trigger": {"branches": None, "globs": ["*.md"]}}, {"trigger": {"branches": None, "globs": ["*.md"]}}),
             ({"action": {"endpoint": "http://other.invalid/"}}, {"action": {"endpoint": "http://other.invalid/"}}),
             ({"action": {"action": "webhook", "endpoint": None, "payload": "basic"}}, {"action": {"payload": "basic"}}),
             ({"paused": True}, {"paused": True}), ({"paused": True}, {}), ({"action": {"payload": None}}, {"action": {"payload": None}}),
             ({"paused": False, "trigger": {"branches": ["main"]}}, {"paused": False, "trigger": {"branches": ["main"]}}), ({"paused": False}, {})]
    for sent, change in steps:
        for part in ("trigger", "action"):
            wanted[part] = {k: v for k, v in {**wanted[part], **change.get(part, {})}.items() if k != "payload" or v is not None}
        wanted["paused"] = change.get("paused", wanted["paused"])
        same(p.change(one, sent).ok(), wanted, f"the answer to {sent}")
        same(p.read(one), wanted, f"after {sent}")
    for wrong in ({"paused": "yes"}, {"paused": 1}, {"trigger": "main"}, {"action": []}, {"trigger": {"event": "tag"}}, {"trigger": {"branches": "main"}},
                  {"trigger": {"globs": ["a[b"]}}, {"action": {"action": "email"}}, {"action": {"payload": "all"}}, {"action": {"endpoint": "x"}},
                  {"paused": True, "action": {"endpoint": "x"}}):
        p.change(one, wrong).error("GIT_INVALID_REQUEST")
        same(p.read(one), wanted, f"after {wrong}")
    same(p.read(before["id"]), before, "the other one")


@test
def two_who_change_other_fields_do_not_undo_each_other(t):
    p = Place(t.account)
    one = p.make()
    rounds, gate, replies = 20, threading.Barrier(2), []

    def run(part, key, make):
        api = t.server.api(p.account.key)
        gate.wait()
        for n in range(rounds):
            replies.append(api.request("PATCH", f"{p.path}/{one}", {part: {key: make(n)}}))
    threads = [threading.Thread(target=run, args=args) for args in (("trigger", "branches", lambda n: [f"b{n}"]),
                                                                   ("action", "endpoint", lambda n: f"http://h{n}.example.com/"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    same([reply.status for reply in replies], [200] * 2 * rounds, "answers")
    row = p.read(one)
    same((row["trigger"]["branches"], row["action"]["endpoint"]), ([f"b{rounds - 1}"], f"http://h{rounds - 1}.example.com/"), "both stand")


# Who may.

@test
def others_find_nothing(t):
    p, other = Place(t.account), Place(t.account)
    beside = Place(p.account)
    one, theirs = p.make(), other.make()
    writer = t.server.api(p.account.identity(write=p.repo).secret())
    paths = [("GET", "", None), ("PATCH", "", {"paused": True}), ("DELETE", "", None), ("POST", "/test", {}), ("GET", "/delivery", None),
             ("GET", f"/delivery/{uuid.uuid4()}", None), ("POST", f"/delivery/{uuid.uuid4()}/redeliver", None)]
    for method, path, sent in paths:
        other.api.request(method, f"{p.path}/{one}{path}", sent).error("REPOSITORY_NOT_FOUND")
        writer.request(method, f"{p.path}/{one}{path}", sent).error("GIT_REPOSITORY_ACCESS_DENIED")
        for place, id in ((beside, one), (other, one), (p, theirs), (p, "nonsense"), (p, str(uuid.uuid4()))):
            place.api.request(method, f"{place.path}/{id}{path}", sent).error("NOT_FOUND")
    writer.get(p.path).error("GIT_REPOSITORY_ACCESS_DENIED")
    writer.post(p.path, body()).error("GIT_REPOSITORY_ACCESS_DENIED")
    same(p.read(one)["paused"], False, "nobody has changed it")
    same(p.api.get(f"{p.path}/{one.upper()}").ok()["id"], one, "an id in capitals")


@test
def a_repository_takes_its_triggers_along(t):
    p = Place(t.account)
    one = p.make()
    p.api.delete(p.repo.path).empty()
    for method, path in (("GET", p.path), ("POST", p.path), ("GET", f"{p.path}/{one}"), ("DELETE", f"{p.path}/{one}")):
        p.api.request(method, path, body() if method == "POST" else None).error("REPOSITORY_NOT_FOUND")


# Deliveries.

KEYS = ["id", "triggerId", "repoId", "branch", "commit", "before", "kind", "state", "attempts", "status", "latencyMs", "error", "answer", "note",
        "createdAt", "nextAttemptAt", "endedAt"]


def ended(p, one, n):
    def look():
        rows = p.api.get(f"{p.path}/{one}/delivery").ok(["deliveries"])["deliveries"]
        return rows if len(rows) == n and all(row["endedAt"] for row in rows) else None
    return wait_for(look, f"{n} deliveries that have ended")


@test
def the_history(t):
    """Of an endpoint where nobody is: pushes, a test, another delivery; pages of it; who else asks."""
    server = t.own_server(config=PRIVATE)
    p = Place(server.account())
    one = p.make(endpoint=NOBODY)
    history = f"{p.path}/{one}/delivery"
    same(p.api.get(history).ok(), {"deliveries": []}, "nothing yet")
    p.api.post(f"{p.path}/{one}/test").error("BRANCH_NOT_FOUND", branch="main")
    first, second = p.commit(), p.commit()
    rows = ended(p, one, 2)
    for row, commit, before in ((rows[0], second, first), (rows[1], first, None)):
        same(sorted(row), sorted(KEYS), "members")
        same((row["triggerId"], row["repoId"], row["branch"], row["commit"], row["before"], row["kind"], row["state"]),
             (one, p.repo.id, "main", commit, before, "push", "failed"), "a delivery that was given up")
        expect(row["attempts"] >= 1 and row["latencyMs"] >= 0 and row["error"], "attempts", row)
        same((row["status"], row["answer"], row["note"], row["nextAttemptAt"]), (None, None, None, None), "what is not there")
        expect(TIME.match(row["createdAt"]) and row["createdAt"] <= row["endedAt"], "times", row)
        same(p.api.get(f"{history}/{row['id']}").ok(), row, "the same alone")
    tested = p.api.post(f"{p.path}/{one}/test", {"branch": "main"}).ok(["deliveryId"])["deliveryId"]
    again = p.api.post(f"{history}/{rows[1]['id']}/redeliver").ok(["deliveryId"])["deliveryId"]
    rows = ended(p, one, 4)
    same([row["id"] for row in rows[:2]], [again, tested], "newest first")
    same((rows[0]["kind"], rows[0]["redeliveryOf"], rows[0]["commit"], rows[0]["before"]), ("redelivery", rows[3]["id"], first, None), "another one")
    same((rows[1]["kind"], rows[1]["commit"], rows[1]["before"], "redeliveryOf" in rows[1]), ("test", second, None, False), "a test")
    ids = [row["id"] for row in rows]
    for limit in (1, 2, 3, 500, 10**9):
        got, before = [], ""
        while True:
            page = p.api.get(f"{history}?limit={limit}{before}").ok()["deliveries"]
            if not page:
                break
            expect(len(page) <= limit, "the page's size", len(page))
            got += [row["id"] for row in page]
            before = f"&before={page[-1]['id']}"
        same(got, ids, f"pages of {limit}")
    same(p.api.get(f"{history}?limit=0").ok(), {"deliveries": []}, "an empty page")
    for wrong in ("-1", "NaN", "1.5", "x"):
        p.api.get(f"{history}?limit={wrong}").error("GIT_INVALID_REQUEST")
    beside, other = p.make(endpoint=NOBODY), Place(server.account())
    for place, id, delivery in ((p, beside, ids[0]), (p, one, str(uuid.uuid4())), (p, one, "nonsense"), (other, other.make(endpoint=NOBODY), ids[0])):
        there = f"{place.path}/{id}/delivery"
        place.api.get(f"{there}/{delivery}").error("NOT_FOUND")
        place.api.post(f"{there}/{delivery}/redeliver").error("NOT_FOUND")
        place.api.get(f"{there}?before={delivery}").error("NOT_FOUND")
    other.api.get(f"{history}/{ids[0]}").error("REPOSITORY_NOT_FOUND")


@test
def tests_of_branches(t):
    server = t.own_server(config=PRIVATE)
    p = Place(server.account())
    one = p.make(endpoint=NOBODY, branches=["none"])
    p.change(one, {"paused": True}).ok()
    main, side = p.commit(), p.commit("feat/x")
    folder = t.git.mirror(p.repo.url(), t.path("clone"))
    odd = b"caf\xe9".decode(errors="surrogateescape")
    t.git("push", "-q", p.repo.url(), f"{main}:refs/heads/{odd}", cwd=folder)
    test_path = f"{p.path}/{one}/test"
    for sent, branch, commit in ((None, "main", main), ({}, "main", main), ({"branch": None}, "main", main), ({"branch": ""}, "main", main),
                                 ({"branch": "feat/x", "more": 1}, "feat/x", side)):
        made = p.api.post(test_path, sent).ok(["deliveryId"])["deliveryId"]
        row = p.api.get(f"{p.path}/{one}/delivery/{made}").ok()
        same((row["branch"], row["commit"], row["kind"]), (branch, commit, "test"), f"a test of {sent}")
    for branch in ("gone", "feat", "refs/heads/main", "x" * 4000, "a\0b"):
        p.api.post(test_path, {"branch": branch}).error("BRANCH_NOT_FOUND", branch=branch)
    for wrong in ({"branch": 1}, {"branch": ["main"]}, b"[]", b"{"):
        p.api.post(test_path, wrong).error("GIT_INVALID_REQUEST")
    # The filter has kept all of the pushes away. A name that is no UTF-8 comes with its bytes.
    same({row["kind"] for row in ended(p, one, 5)}, {"test"}, "what was delivered")
    every = p.make(endpoint=NOBODY)
    t.git("push", "-q", "-f", p.repo.url(), f"{side}:refs/heads/{odd}", cwd=t.git.mirror(p.repo.url(), t.path("again")))
    row = ended(p, every, 1)[0]
    same((row["branch"], row["branchBase64"]), ("caf\ufffd", base64.b64encode(b"caf\xe9").decode()), "the name")
