"""What a push may ask for, each by hand; where that is certain, the report is git's to the byte."""
import gzip
import http.client
import re
import socket

from harness import expect, same, test, wait_for
from harness import pkt
from harness.core import slowness
from harness.pkt import BLOB, FLUSH, TAG, ZERO, entry, pack, report
from harness.pushes import BANDS, TYPE, Twin, World, body, peak, results
from harness.raw import Objects, Wire

IN_MEMORY = True
COST = 3
# t1402-check-ref-format.sh, and some more.
NAMES = ["", "/", "foo/bar/baz", "refs///heads/foo", "heads/foo/", "/heads/foo", "///heads/foo", "./foo", "./foo/bar", "foo/./bar",
         "foo/bar/.", ".refs/foo", "refs/heads/foo.", "heads/foo..bar", "heads/foo?bar", "foo./bar", "heads/foo.lock",
         "heads///foo.lock", "foo.lock/bar", "foo.lock///bar", "heads/foo@bar", "heads/v@{ation", "heads/foo\\bar", "heads/foo\t",
         "heads/foo\x7f", b"heads/fu\303\237", "heads/*foo/bar", "heads/foo*/bar", "heads/f*o/bar", "foo", "foo/*", "*/foo", "foo/*/bar",
         "*", "@", "@/x", "x/@", "a@", "{", "@{", "a@{", "a{", "a.lockx/b", "a.lock", "a.LOCK", ".lock", "x/.lock/y", "a..", "..a", "a...b",
         "-", "-a", "a b", " a", "a ", "~", "a~1", "a^", "a:b", "a[b", "a]b", "a\x01b", "a\nb", b"\xff\xfe", b"a\x80b", "HEAD", "heads/HEAD",
         "FETCH_HEAD", "a/b/c/d/e/f/g/h", "a//b", "a/./b", "a/../b", "a/b.", "a./b.", "a.b", "..", ".", "a/.b", "'", '"', "$x", "`", "a;b",
         "%00", "a\\", "x/refs/heads/y", "refs/heads/y"]


@test
def capabilities_as_git_has_them(t):
    w = Twin(t)
    old, n = ZERO, 0
    tips = [w.tip, w.base]
    for words in ("report-status", "report-status-v2", "report-status report-status-v2", "report-status side-band-64k",
                  "report-status-v2 side-band-64k quiet", "report-status-v2 side-band-64k ofs-delta delete-refs atomic",
                  "report-status side-band-64k report-status side-band-64k", "report-status object-format=sha1 agent=git/2.39.5",
                  "report-status session-id=abc-123 unknown unknown=1", "report-status-v2 side-band-64k push-options"):
        options = [] if "push-options" in words else None
        w.same_report(words, [(old, tips[n % 2], "refs/heads/x"), (ZERO, w.tip, f"refs/heads/n{n}")], w.good, words, options=options)
        old, n = tips[n % 2], n + 1
    w.same_report("a deletion", [(old, ZERO, "refs/heads/x")])
    w.same_report("a forced update and a tag", [(w.tip, w.base, "refs/heads/n0"), (ZERO, w.base, "refs/tags/v")], pack([]))
    w.same_report("known objects once more", [(ZERO, w.tip, "refs/other/x")], w.good)
    for words in ("side-band-64k quiet", "quiet", "agent=x"):
        sent = body([(ZERO, w.tip, f"refs/heads/s{n}")], w.good, words)
        n += 1
        same(w.post(sent).body, w.theirs(sent), f"without a report, {words}")
        same(w.refs(), w.their_refs(), "the refs")


@test
def refusals_as_git_has_them(t):
    w = Twin(t)
    w.same_report("names", [(ZERO, w.tip, "HEAD"), (ZERO, w.tip, "refs/heads/a..b"), (ZERO, w.tip, "refs/heads/fine")], w.good)
    w.same_report("the default branch", [(w.base, ZERO, "refs/heads/main"), (w.tip, ZERO, "refs/heads/fine")])
    w.same_report("nothing but illegal names", [(ZERO, w.tip, "main"), (ZERO, w.tip, "refs/one")], w.good)
    for atomic in ("", " atomic"):
        for old in (w.tip, "1" * 40):
            ours, theirs = w.both([(old, w.tip, "refs/heads/main"), (ZERO, w.tip, "refs/heads/y" + atomic[:2].strip())], w.good,
                                  BANDS + atomic)
            same([r == "ok" for r in results(ours).values()], [r == "ok" for r in results(theirs).values()], "a stale id")
    ours, theirs = w.both([(ZERO, w.base, "refs/heads/main/below"), (ZERO, w.base, "refs/heads/a/b"), (ZERO, w.base, "refs/heads/a")], pack([]))
    same([r == "ok" for r in results(ours).values()], [r == "ok" for r in results(theirs).values()], "folders")
    ours, _ = w.both([(ZERO, w.base, "refs/warren/x"), (ZERO, w.base, "refs/warren/y/z"), (ZERO, w.base, "refs/warrens/x")], pack([]))
    same([r == "ok" for r in results(ours).values()], [False, False, True], "the server's own refs")


@test
def names_as_git_has_them(t):
    """Each name as it is, and as the end of one that is right so far."""
    w = Twin(t)
    names = [n if isinstance(n, bytes) else n.encode() for n in NAMES]
    commands = [(ZERO, w.base, n) for n in names if n]
    commands += [(ZERO, w.base, b"refs/x%d/" % i + n) for i, n in enumerate(names)]
    commands += [(ZERO, w.base, b"refs/heads/y%d/" % i + n) for i, n in enumerate(names)]
    commands += [(ZERO, w.base, b"refs/" + n) for n in names if b"/" not in n]
    ours, theirs = w.both(commands, pack([]))
    verdicts = [[line.split(b" ")[0] for line in pkt.parse(r)[1:] if line] for r in (ours, theirs)]
    same(len(verdicts[0]), len(commands), "a line each")
    for command, mine, gits in zip(commands, *verdicts):
        same(mine, gits, f"the verdict on {command[2]!r}")
    same(ours, theirs, "with the same words")


@test
def what_a_ref_may_point_to(t):
    w = Twin(t)
    tag = (TAG, f"object {w.tip}\ntype commit\ntag v1\ntagger T <t@example.com> 1700000000 +0000\n\nv1\n".encode())
    ids = [w.tip, pkt.oid(*w.objects[1]), pkt.oid(*w.objects[2]), pkt.oid(*tag)]
    data = pack(w.entries + [entry(*tag)])
    for place, wanted in (("refs/heads", [True, False, False, False]), ("refs/tags", [True] * 4), ("refs/other", [True] * 4)):
        ours, theirs = w.both([(ZERO, oid, f"{place}/o{i}") for i, oid in enumerate(ids)], data)
        for who in (ours, theirs):
            same([r == "ok" for r in results(who).values()], wanted, place)
    listed = w.api.get(f"/{w.repo.id}/info/refs?service=git-upload-pack").body
    expect(b"refs/other/o3^{}" in listed and b"refs/warren" not in listed, "served like any others", listed)


@test
def push_options_are_taken_and_counted(t):
    server = t.own_server(config="[git]\nmax_push_options = 3\n")
    w = World(t, server)
    words = BANDS + " push-options"

    def option(ref, *options):
        reply = w.post(body([(ZERO, w.tip, ref)], w.good, words, options=options))
        same(reply.status, 200, "status")
        return report(reply.body)

    for i, options in enumerate(((), ("ci.skip",), ("a=very-secret-value\n", "", "b=\u00fc very-secret-value"), ("x" * 4096,))):
        same(option(f"refs/heads/o{i}", *options), ("ok", {f"refs/heads/o{i}": "ok"}), f"{options!r}")
    for options, said in ((("a",) * 4, "3 push options"), (("x" * 4097,), "4096 bytes")):
        unpack, refs = option("refs/heads/no", *options)
        expect(said in unpack and refs == {"refs/heads/no": "unpacker error"}, "the limit is told", unpack, refs)
    for options in (("two\nlines",), (b"a\0b",)):
        same(w.post(body([(ZERO, w.tip, "refs/heads/no")], w.good, words, options=options)).status, 400, f"{options!r}")
    expect("refs/heads/no" not in w.refs(), "refused")
    # A line comes when a request has ended for the server, which may be after its client has begun the next one.
    wait_for(lambda: sorted(re.findall(r'"push_options":(\d+)', log(server))) == ["1", "1", "3", "3"], "the access lines")
    expect("very-secret" not in log(server), "options do not get into the log")
    same(report(w.post(body([(w.tip, ZERO, "refs/heads/o0")], b"", words, options=["x"])).body), ("ok", {"refs/heads/o0": "ok"}), "a deletion")


def log(server):
    with open(server.log_path, encoding="utf-8") as f:
        return f.read()


@test
def what_is_cut_before_its_pack_is_no_push(t):
    w = World(t)
    whole = body([(ZERO, w.tip, "refs/heads/a"), (ZERO, w.tip, "refs/heads/b")], b"", BANDS + " push-options", shallow=[w.base],
                 options=["one", "two"])
    refs = w.refs()
    for n in range(1, len(whole)):
        reply = w.post(whole[:n])
        same(reply.status, 400, f"cut at {n}")
        expect(reply.body.strip(), "a sentence")
    same(w.refs(), refs, "refs")
    same(w.post(whole + w.good).status, 200, "the whole")
    same(len(w.refs()), 3, "refs")


@test
def limits_are_told_in_the_report(t):
    server = t.own_server(config="[git]\nmax_commands = 20\nmax_depth_lines = 3\n")
    w = World(t, server)
    refs, files = w.refs(), w.folder()
    for what, sent in {"20 refs": body([(ZERO, w.tip, f"refs/heads/x{i}") for i in range(21)], w.good),
                       "3 shallow roots": body([(ZERO, w.tip, "refs/heads/x")], w.good, shallow=[w.base] * 4),
                       "4096 bytes": body([(ZERO, w.tip, "refs/heads/" + "x" * 5000)], w.good),
                       "too long together": body([(ZERO, w.tip, f"refs/heads/{i}" + "x" * 4000) for i in range(20)], w.good)}.items():
        reply = w.post(sent)
        same(reply.status, 200, what)
        expect(what in report(reply.body)[0], what, report(reply.body)[0])
        expect(what.encode() in pkt.bands(pkt.parse(reply.body))[2], f"{what}: for people")
        w.refused(what, reply, refs, files)
    reply = w.post(body([(ZERO, w.tip, f"refs/heads/x{i}") for i in range(21)], w.good, "agent=x"))
    same(reply.status, 400, "who wants no report gets a status")
    for sent, said in ((pkt.pkt(b"push-cert\0 push-cert=nonce") + FLUSH, b"--signed"),
                       (body([(ZERO, w.tip, "refs/heads/x")], w.good, "report-status object-format=sha256"), b"sha1")):
        reply = w.post(sent)
        expect(reply.status == 400 and said in reply.body, "refused with a sentence", reply.status, reply.body)


@test
def a_pusher_with_a_cut_history(t):
    """Where nothing is missing here the roots do not matter; where it is, what builds on it is refused, and the rest is not."""
    w = World(t)
    o = Objects()
    tree = o.tree({"f": o.blob(b"f\n")})
    root = o.commit(tree, message="root")
    middle = o.commit(tree, [root], "middle")
    tip = o.commit(tree, [middle], "tip")
    tree_id = pkt.oid(*w.base_objects[1])
    known = o.add(pkt.COMMIT, pkt.commit(tree_id, w.base, message="on what is there"), [])
    reply = w.post(body([(ZERO, known, "refs/heads/known")], o.pack([known]), shallow=[w.base]))
    same(report(reply.body), ("ok", {"refs/heads/known": "ok"}), "nothing is missing")
    cut = o.pack(o.closure([tip], without=[root]))
    for words in (BANDS, BANDS + " atomic"):
        atomic = "atomic" in words
        commands = [(ZERO, tip, "refs/heads/cut"), (known, ZERO, "refs/heads/known"), (ZERO, w.base, "refs/tags/base")]
        reply = w.post(body(commands, cut, words, shallow=[middle]))
        unpack, refs = report(reply.body)
        same((unpack, refs["refs/heads/cut"]), ("ok", "shallow update not allowed"), "refused as git does")
        same({r for r, said in refs.items() if said == "ok"}, set() if atomic else {"refs/heads/known", "refs/tags/base"}, "the others")
        expect(b"git fetch --unshallow" in pkt.bands(pkt.parse(reply.body))[2], "what to do", reply.body)
        if not atomic:
            same(report(w.post(body([(ZERO, known, "refs/heads/known"), (w.base, ZERO, "refs/tags/base")], pack([]))).body)[0], "ok", "again")
    unpack, refs = report(w.post(body([(ZERO, tip, "refs/heads/cut")], cut)).body)
    expect(unpack != "ok" and refs == {"refs/heads/cut": "unpacker error"}, "without its roots the pack is incomplete", unpack)
    unpack, refs = report(w.post(body([(ZERO, tip, "refs/heads/cut")], cut, shallow=[tip])).body)
    expect(unpack != "ok", "a root that is another commit does not help", unpack, refs)
    same(report(w.post(body([(ZERO, tip, "refs/heads/cut")], o.pack(o.closure([tip])), shallow=[middle])).body)[1],
         {"refs/heads/cut": "ok"}, "and whole it is taken")


def go_on(connection):
    """Who asked whether to send a body is told to."""
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        more = connection.recv(1)
        expect(more, "an answer to Expect: 100-continue", got)
        got += more
    expect(got.startswith(b"HTTP/1.1 100 "), "go on", got)


class Slow:
    """A push that was admitted, and whose body is then sent piece by piece."""

    def __init__(self, w, key):
        self.socket = socket.create_connection((w.api.host, w.api.port), timeout=60 * slowness())
        head = [f"POST /{w.repo.id}/git-receive-pack HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", "Transfer-Encoding: chunked",
                f"Content-Type: {TYPE['Content-Type']}", "Expect: 100-continue"]
        self.socket.sendall("\r\n".join(head).encode() + b"\r\n\r\n")
        go_on(self.socket)

    def send(self, data):
        self.socket.sendall(b"%x\r\n" % len(data) + data + b"\r\n")

    def answer(self):
        self.socket.sendall(b"0\r\n\r\n")
        reply = http.client.HTTPResponse(self.socket, method="POST")
        reply.begin()
        return reply.status, reply.read()


@test
def a_permission_that_goes_while_the_pack_comes(t):
    def tokens(w):
        identity = w.repo.account.identity(write=w.repo)
        token, secret = identity.token()
        return identity, token, secret

    def downgrade(w, identity, _):
        w.api.put(f"{identity.path}/permissions/git/{w.repo.id}", {"permission": "read"}).empty()

    ways = {"the token": lambda w, identity, token: identity.revoke(token),
            "the grant": lambda w, identity, _: w.api.delete(f"{identity.path}/permissions/git/{w.repo.id}").empty(),
            "half the grant": downgrade,
            "the identity": lambda w, identity, _: w.api.delete(identity.path).empty()}
    for what, take in ways.items():
        w = World(t)
        refs, files = w.refs(), w.folder()
        identity, token, secret = tokens(w)
        push = Slow(w, secret)
        push.send(body([(ZERO, w.tip, "refs/heads/x"), (w.base, w.tip, "refs/heads/main")]))
        push.send(w.good[:60])
        take(w, identity, token)
        push.send(w.good[60:])
        status, answer = push.answer()
        same(status, 200, what)
        unpack, said = report(answer)
        same(unpack, "ok", what)
        same(set(said), {"refs/heads/x", "refs/heads/main"}, what)
        expect(all("withdrawn" in reason for reason in said.values()), f"{what}: told", said)
        same(w.refs(), refs, what)
        same(w.folder()[0], files[0], f"{what}: files")
    w = World(t)
    push = Slow(w, tokens(w)[2])
    push.send(body([(ZERO, w.tip, "refs/heads/x")], w.good[:60]))
    push.send(w.good[60:])
    same(report(push.answer()[1])[1], {"refs/heads/x": "ok"}, "who may, may")


@test
def a_repository_that_is_deleted_while_the_pack_comes(t):
    w = World(t)
    push = Slow(w, w.repo.account.key)
    push.send(body([(ZERO, w.tip, "refs/heads/x")], w.good[:60]))
    w.api.delete(w.repo.path).empty()
    push.send(w.good[60:])
    status, answer = push.answer()
    expect(status == 404 or report(answer)[1]["refs/heads/x"] != "ok", "not stored", status, answer)
    wait_for(lambda: not any(w.repo.id in name for name in w.server.files("repos")), "the folder's removal")


@test
def bodies_in_every_wrapping(t):
    w = World(t)
    n = 0

    def name():
        nonlocal n
        n += 1
        return f"refs/heads/w{n}"

    def raw(head, data):
        with socket.create_connection((w.api.host, w.api.port), timeout=60 * slowness()) as s:
            s.sendall("\r\n".join([f"POST /{w.repo.id}/git-receive-pack HTTP/1.1", "Host: x", f"Authorization: Bearer {w.repo.account.key}",
                                   f"Content-Type: {TYPE['Content-Type']}", *head]).encode() + b"\r\n\r\n")
            if "Expect: 100-continue" in head:
                go_on(s)
            s.sendall(data)
            reply = http.client.HTTPResponse(s, method="POST")
            reply.begin()
            same(reply.status, 200, f"{head}")
            return report(reply.read())

    def chunks(data, size):
        return b"".join(b"%x\r\n" % len(data[i:i + size]) + data[i:i + size] + b"\r\n" for i in range(0, len(data), size)) + b"0\r\n\r\n"

    for expects in ([], ["Expect: 100-continue"]):
        for size in (0, 1, 7, 1000):
            for zipped in (False, True):
                ref = name()
                data = body([(ZERO, w.tip, ref)], w.good, BANDS + " push-options", options=["x"])
                data = gzip.compress(data) if zipped else data
                head = expects + (["Content-Encoding: gzip"] if zipped else [])
                head += ["Transfer-Encoding: chunked"] if size else [f"Content-Length: {len(data)}"]
                same(raw(head, chunks(data, size) if size else data), ("ok", {ref: "ok"}), f"{head}")
    same(len(w.refs()), n + 1, "all are there")


@test
def a_client_that_does_not_wait_for_the_answer(t):
    """It may have gone through or not, as a whole; others do not notice."""
    w = World(t)
    for i in t.rounds(10):
        sent = body([(ZERO, w.tip, f"refs/heads/gone{i}a"), (ZERO, w.base, f"refs/heads/gone{i}b")], w.good, BANDS + " atomic")
        with socket.create_connection((w.api.host, w.api.port), timeout=60 * slowness()) as s:
            s.sendall((f"POST /{w.repo.id}/git-receive-pack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {w.repo.account.key}\r\n"
                       f"Content-Type: {TYPE['Content-Type']}\r\nContent-Length: {len(sent)}\r\n\r\n").encode() + sent)
            if i % 2:
                s.shutdown(socket.SHUT_WR)
                s.settimeout(5 * slowness())
                try:
                    s.recv(100)
                except OSError:
                    pass
        wait_for(lambda: log(w.server).count('"route":"/{repo.git}/git-receive-pack"') > i, "the request's end")
        have = {name for name in w.refs() if name.startswith(f"refs/heads/gone{i}")}
        expect(len(have) in (0, 2), "all or none", have)
    w.expect_ok(w.tip, "refs/heads/after", w.good)


@test
def packs_that_nobody_needs_and_needed_ones_that_are_not_there(t):
    w = World(t)
    w.expect_ok(w.tip, "refs/heads/x", w.good)
    for data in (w.good, pack([]), b"no pack at all" * 1000):
        same(report(w.post(body([(w.tip, ZERO, "refs/heads/x")], data)).body), ("ok", {"refs/heads/x": "ok"}), "behind deletions")
        w.expect_ok(w.tip, "refs/heads/x", pack([]))
    unpack, said = report(w.post(body([(ZERO, w.tip, "refs/heads/y")])).body)
    expect(unpack != "ok" and len(unpack.split()) > 2 and said == {"refs/heads/y": "unpacker error"}, "no pack, a sentence", unpack, said)
    large = t.random.randbytes(3_000_000)
    for commands in ([(ZERO, w.tip, "refs/heads/t"), (ZERO, w.tip, "refs/heads/t")], [(ZERO, ZERO, "refs/heads/t")]):
        unpack, said = report(w.post(body(commands, pack([entry(BLOB, large)]))).body)
        expect(unpack == "ok" and "ok" not in said.values(), "refused from the start", unpack, said)
    reply = w.post(body([(ZERO, w.tip, "refs/heads/n"), (w.tip, ZERO, "refs/heads/x"), (w.tip, w.base, "refs/heads/main")], w.good))
    same([said == "ok" for said in report(reply.body)[1].values()], [True, True, False], "each alone")


@test
def a_name_that_is_deleted_and_made_again(t):
    """Deletions make room for what is created, in one push."""
    w = World(t)
    w.expect_ok(w.tip, "refs/heads/d/one", w.good)
    commands = [(ZERO, w.tip, "refs/heads/d"), (w.tip, ZERO, "refs/heads/d/one")]
    same(set(report(w.post(body(commands, pack([]))).body)[1].values()), {"ok"}, "a folder becomes a ref")
    commands = [(ZERO, w.tip, "refs/heads/d/one"), (ZERO, w.base, "refs/heads/d/two"), (w.tip, ZERO, "refs/heads/d")]
    same(set(report(w.post(body(commands, pack([]), BANDS + " atomic")).body)[1].values()), {"ok"}, "and a folder again")
    said = report(w.post(body([(ZERO, w.tip, "refs/heads/d"), (w.tip, ZERO, "refs/heads/d/one")], pack([]))).body)[1]
    same([v == "ok" for v in said.values()], [False, True], "one is left below")
    said = report(w.post(body([(w.base, ZERO, "refs/heads/d/two"), (ZERO, w.tip, "refs/heads/d/two")], pack([]))).body)[1]
    expect("ok" not in said.values(), "one name twice has no one fate", said)
    same(w.refs(), {"refs/heads/main": w.base, "refs/heads/d/two": w.base}, "refs")


@test
def a_hundred_thousand_refs(t):
    """Created, updated, deleted and created again, each in one push; seconds and bounded memory where that can be told."""
    server = t.own_server()
    w = World(t, server)
    wire = Wire(server.url, w.repo.account.key)
    count = 2000 if slowness() > 1 else 100_000
    names = [f"refs/heads/team{i % 50}/topic-{i}" for i in range(count)]
    spots = [names[0], names[count // 2], names[-1]]

    def push(what, old, new, data=b"", words=BANDS, wanted="ok", odd=()):
        """odd: refs whose old id is wrong."""
        sent = body([("1" * 40 if n in odd else old, new, n) for n in names], data, words)
        status, answer = wire.request("POST", f"/{w.repo.id}/git-receive-pack", sent, TYPE, seconds=120)
        same(status, 200, what)
        unpack, said = report(answer)
        same((unpack, len(said)), ("ok", count), what)
        if wanted is not None:
            same({v for n, v in said.items() if n not in odd}, {wanted}, what)
        expect(all(said[n] != "ok" for n in odd), f"{what}: the wrong ones", [said[n] for n in odd])

    push("create", ZERO, w.tip, w.good)
    same(len(wire.ls_refs(w.repo.id)), count + 1, "ls-refs")
    push("update", w.tip, w.base, pack([]))
    push("one of them is wrong, all are refused", w.base, w.tip, pack([]), BANDS + " atomic", "atomic push failure", odd=spots[1:2])
    same(set(wire.ls_refs(w.repo.id).values()), {(w.base, None)}, "nothing of it")
    push("three are wrong, the others go", w.base, w.tip, pack([]), odd=spots)
    refs = wire.refs(w.repo.id)
    same([refs[n] for n in spots], [w.base] * 3, "the wrong ones stay")
    push("delete", w.tip, ZERO, odd=spots)
    push("again", ZERO, w.tip, pack([]), odd=spots)
    refs = wire.refs(w.repo.id)
    same(len(refs), count + 1, "refs")
    same(len(wire.clone(w.repo.id, refs)), 6, "a clone")
    if slowness() == 1:
        expect(peak(server) < 400 << 20, "memory", peak(server))
    wire.close()
