"""Where deliveries may lead, with the guard on: names that have private addresses or change them, redirects, certificates.
It is known what was connected to, so that what was only not answered does not pass for refused."""
import json

from harness import expect, same, test, wait_for
from harness.elsewhere import Elsewhere, answer, certificate, redirect
from harness.outside import PUBLIC, PUBLIC6, Authority, Outside
from harness.receiver import commit, ended, history, tried_again, trigger

COST = 5
GIVE_UP_MS = 300
FAST = f"[webhooks]\nretry_pause = 50ms\ngive_up = {GIVE_UP_MS}ms\nconnect_timeout = 20s\ntimeout = 20s\n"
NOT_PUBLIC = "The endpoint's address is not public: this server may not connect to it"

# Of every kind one; their borders: tests/unit/test_net.c.
PRIVATE = {
    "loopback": "127.0.0.1", "loopback-too": "127.9.9.9", "loopback-six": "::1", "any": "0.0.0.0", "any-six": "::",
    "private": "10.1.2.3", "home": "192.168.1.1", "carrier": "100.64.0.1", "link-local": "169.254.1.1", "link-local-six": "fe80::1",
    "metadata": "169.254.169.254", "metadata-six": "fd00:ec2::254", "unique-local": "fc00::1", "mapped": "::ffff:169.254.169.254",
    "mapped-loopback": "::ffff:127.0.0.1", "compatible": "::127.0.0.1", "nat64": "64:ff9b::a9fe:a9fe",
    "nat64-local": "64:ff9b:1::7f00:1", "six-to-four": "2002:7f00:1::1", "broadcast": "255.255.255.255", "multicast": "224.0.0.1",
    "several": "10.1.2.3+fd12:3456::1+127.0.0.1",
}


def world(t, config=FAST, **names):
    """The names, an endpoint to which all of them lead, the server, and a repository."""
    outside, there = Outside(t, **names), Elsewhere(t, {"/in": answer()})
    server = t.own_server(config=config, env=outside.environment)
    return outside, there, server, server.account().repo(defaultBranch="main")


def of(there):
    """The commits that arrived."""
    return [json.loads(r.body)["commit"] for r in there.requests]


def ended_as(repo, one, sha, state):
    """The row of this commit."""
    def look():
        return [r for r in history(repo, one) if r["commit"] == sha and r["state"] in ("delivered", "failed")]
    row = wait_for(look, f"the end of {sha}")[0]
    same(row["state"], state, f"how it ended: {row}")
    return row


@test
def names_with_private_addresses(t):
    """Each delivery fails with its words, and nobody was connected to."""
    outside, there, _, repo = world(t, public=PUBLIC, public_six=PUBLIC6, nobody="none", **PRIVATE)
    closed = Elsewhere(t)
    closed.close()
    # Where nobody listens at the public one of its addresses, what comes next is looked at as well.
    outside.names(both=f"{PUBLIC}+127.0.0.1+10.1.2.3")
    refused = {name: trigger(repo, f"http://{name}.example:{there.port}/in") for name in PRIVATE}
    refused["both"] = trigger(repo, f"http://both.example:{closed.port}/in")
    nobody, deaf = trigger(repo, f"http://nobody.example:{there.port}/in"), trigger(repo, f"http://public.example:{closed.port}/in")
    good = [trigger(repo, f"http://{name}.example:{there.port}/in") for name in ("public", "public-six")]
    sha = commit(repo, "main", {"a": "1"})
    for name, one in refused.items():
        row = ended(repo, one, "failed")
        same((row["error"], row["status"], row["answer"], row["commit"]), (NOT_PUBLIC, None, None, sha), name)
        tried_again(row, GIVE_UP_MS, name)
    same(ended(repo, nobody, "failed")["error"], "The name of the endpoint's host cannot be resolved", "no such name")
    expect("nothing listens" in ended(repo, deaf, "failed")["error"], "where nobody listens")
    for one in good:
        same(ended(repo, one, "delivered")["status"], 200, "a public address")
    same(of(there), [sha, sha], "what arrived")
    same(set(outside.connects()), {PUBLIC, PUBLIC6}, "what was connected to")


@test
def names_that_change(t):
    """What was looked at is what is connected to; what a name's server says later is looked at again."""
    outside, there, server, repo = world(t, rebinds=PUBLIC)
    one = trigger(repo, f"http://rebinds.example:{there.port}/in")
    first = commit(repo, "main", {"a": "1"})
    same(ended(repo, one, "delivered")["commit"], first, "the public address")
    same(outside.lookups("rebinds.example"), 1, "the name was asked for once, not to be looked at and then again")
    for address in ("127.0.0.1", "169.254.169.254"):
        outside.names(rebinds=address)
        server.restart()  # so that no connection is kept, and nothing of the name
        row = ended_as(repo, one, commit(repo, "main", {"a": address}), "failed")
        same((row["error"], row["status"]), (NOT_PUBLIC, None), "a private address")
    outside.names(rebinds=PUBLIC)
    server.restart()
    last = commit(repo, "main", {"a": "last"})
    ended_as(repo, one, last, "delivered")
    same(of(there), [first, last], "what arrived")
    same(set(outside.connects()), {PUBLIC}, "what was connected to")


@test
def names_that_move_between_attempts(t):
    """The next attempt goes to where the name leads by then."""
    outside, there, _, repo = world(t, "", moves=(PUBLIC, PUBLIC6), mended=("10.1.2.3", PUBLIC))
    answers = iter([answer(503)])
    there.routes["/moves"] = lambda request: next(answers, answer())
    moves, mended = (trigger(repo, f"http://{name}.example:{there.port}{path}") for name, path in (("moves", "/moves"), ("mended", "/in")))
    commit(repo, "main", {"a": "1"})
    for one, name in ((moves, "moves"), (mended, "mended")):
        row = ended(repo, one, "delivered")
        same((row["attempts"], outside.lookups(f"{name}.example")), (2, 2), f"{name}: attempts, and how often it was asked for")
    same(sorted(outside.connects()), [PUBLIC, PUBLIC, PUBLIC6], "what was connected to")


@test
def redirects_lead_nowhere(t):
    outside, there, _, repo = world(t, public=PUBLIC, inner="10.1.2.3")
    port = there.port
    ways = {"metadata": "http://169.254.169.254/latest/meta-data/", "loopback": f"http://127.0.0.1:{port}/in",
            "loopback-six": f"http://[::1]:{port}/in", "mapped": f"http://[::ffff:127.0.0.1]:{port}/in", "name": f"http://inner.example:{port}/in",
            "here": f"http://public.example:{port}/in", "path": "/in", "file": "file:///etc/passwd"}
    there.routes.update({f"/{name}/{status}": redirect(to, status) for name, to in ways.items() for status in (302, 307)})
    made = {path: trigger(repo, f"http://public.example:{port}{path}") for path in there.routes if path != "/in"}
    commit(repo, "main", {"a": "1"})
    for path, one in made.items():
        row, status = ended(repo, one, "failed"), int(path[-3:])
        same((row["status"], row["error"], row["answer"]),
             (status, f"The endpoint answered {status}; redirects are not followed", "elsewhere"), path)
    same([r.path for r in there.requests if r.path not in made], [], "nobody followed one")
    same((set(outside.connects()), outside.lookups("inner.example")), ({PUBLIC}, 0), "what was connected to, and looked up")


@test
def certificates(t):
    """Of the authorities that the server trusts alone, for the name that was called, and in their time."""
    authority, other = Authority(t), Authority(t, "another")
    prefix = "The endpoint's TLS certificate is not accepted: "
    unknown = prefix + "no authority that is trusted here has signed it, or certificates between them are not sent along"
    wanted = {
        "good": (authority.issue("good.example"), None),
        "wrong": (authority.issue("right.example"), prefix + "it is for another host name"),
        "address": (certificate(t, "address.pem", f"IP:{PUBLIC}"), unknown),
        "expired": (authority.issue("expired.example", -1), prefix + "it has expired"),
        "selfsigned": (certificate(t, "self.pem", "DNS:selfsigned.example"), unknown),
        "foreign": (other.issue("foreign.example"), unknown),
        "plain": (None, "No TLS connection comes about with the endpoint"),
    }
    outside = Outside(t, **{name: PUBLIC for name in wanted})
    server = t.own_server(config=FAST + f"ca_file = {authority.path}\n", env=outside.environment)
    repo = server.account().repo(defaultBranch="main")
    made = {}
    for name, (pem, _) in wanted.items():
        there = Elsewhere(t, {"/in": answer()}, tls=pem)
        made[name] = there, trigger(repo, f"https://{name}.example:{there.port}/in")
    sha = commit(repo, "main", {"a": "1"})
    for name, (there, one) in made.items():
        error = wanted[name][1]
        row = ended(repo, one, "failed" if error else "delivered")
        same((row["error"], row["status"]), (error, None if error else 200), name)
        same(of(there), [] if error else [sha], f"{name}: what arrived")
