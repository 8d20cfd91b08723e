"""receive-pack to the byte: broken packs and requests leave nothing, neither in the refs nor in the data folder."""
import gzip
import hashlib
import http.client
import struct
import zlib

from harness import expect, same, test
from harness import pkt
from harness.pkt import (BLOB, COMMIT, FLUSH, OFS_DELTA, REF_DELTA, TAG, TREE, ZERO, delta, entry, entry_header, pack, push_body,
                         report, reseal, small)
from harness.pushes import TYPE, World


@test
def the_advertisement(t):
    w = World(t)
    reply = w.api.get(f"/{w.repo.id}/info/refs?service=git-receive-pack", headers={"Git-Protocol": "version=2"})
    same(reply.header("Content-Type"), "application/x-git-receive-pack-advertisement", "Content-Type")
    rows = pkt.lines(reply.body)
    same(rows[:2], ["# service=git-receive-pack", None], "the service line; version 2 means version 0 for pushes")
    first, capabilities = rows[2].split("\0")
    same(first, f"{w.base} refs/heads/main", "refs without HEAD")
    for word in ("report-status", "report-status-v2", "delete-refs", "side-band-64k", "quiet", "atomic", "ofs-delta",
                 "push-options", "object-format=sha1"):
        expect(word in capabilities.split(), f"capability {word}", capabilities)
    expect("push-cert" not in capabilities, "what is not there is not announced")


@test
def a_good_push_in_every_wrapping(t):
    w = World(t)
    w.expect_ok(w.tip, "refs/heads/a", w.good)
    reply = w.post(push_body([(ZERO, w.tip, "refs/heads/b")], w.good, "report-status"))
    same(report(reply.body, sideband=False), ("ok", {"refs/heads/b": "ok"}), "without a side band")
    reply = w.post(push_body([(ZERO, w.tip, "refs/heads/c")], w.good, "side-band-64k"))
    same(reply.status, 200, "without report-status")
    body = push_body([(ZERO, w.tip, "refs/heads/d")], w.good)
    same(report(w.post(gzip.compress(body), Content_Encoding="gzip").body)[0], "ok", "gzip")
    for size in (1, 100):
        body = push_body([(ZERO, w.tip, f"refs/heads/e{size}")], w.good)
        pieces = iter([body[i:i + size] for i in range(0, len(body), size)])
        connection = http.client.HTTPConnection(w.api.host, w.api.port, timeout=60)
        connection.request("POST", f"/{w.repo.id}/git-receive-pack", body=pieces, encode_chunked=True,
                           headers={**TYPE, "Transfer-Encoding": "chunked", "Authorization": f"Bearer {w.repo.account.key}"})
        same(report(connection.getresponse().read())[0], "ok", f"chunks of {size}")
        connection.close()
    same(sorted(w.refs()), sorted(["refs/heads/main"] + [f"refs/heads/{n}" for n in ("a", "b", "c", "d", "e1", "e100")]), "refs")


@test
def empty_requests_change_and_answer_nothing(t):
    w = World(t)
    for body in (b"", b"0000"):
        reply = w.post(body)
        same((reply.status, reply.body), (200, b""), f"{body!r}")


@test
def truncated_packs_leave_nothing(t):
    w = World(t)
    refs, files = w.refs(), w.folder()
    for cut in sorted({1, 4, 8, 11, 12, 13, len(w.good) // 2, len(w.good) - 21, len(w.good) - 20, len(w.good) - 19, len(w.good) - 1}
                      | {t.random.randrange(len(w.good)) for _ in t.rounds(10)}):
        w.refused(f"cut at {cut}", w.push(w.tip, "refs/heads/x", w.good[:cut]), refs, files)
    w.refused("no pack at all", w.push(w.tip, "refs/heads/x", b""), refs, files)
    w.expect_ok(w.tip, "refs/heads/x", w.good)


@test
def flipped_bits_leave_nothing(t):
    w = World(t)
    refs, files = w.refs(), w.folder()
    for _ in t.rounds(40):
        at, bit = t.random.randrange(len(w.good)), t.random.randrange(8)
        bad = bytearray(w.good)
        bad[at] ^= 1 << bit
        w.refused(f"bit {bit} of byte {at}", w.push(w.tip, "refs/heads/x", bytes(bad)), refs, files)


@test
def damaged_packs_with_a_right_trailer_leave_nothing(t):
    """Checksums do not help here: what is inside has to be looked at."""
    w = World(t)
    refs, files = w.refs(), w.folder()
    c, tr, b = w.objects
    blob_id, tree_id, commit_id = pkt.oid(*b), pkt.oid(*tr), pkt.oid(*c)
    body = w.good[:-20]
    none = "1" * 40
    bad_packs = {
        "a wrong magic": pack(w.entries, magic=b"KCAP"),
        "version 4": pack(w.entries, version=4),
        "too small a count": pack(w.entries, count=2),
        "too large a count": pack(w.entries, count=4),
        "a count of four thousand million": pack(w.entries, count=0xffffffff),
        "an empty pack": pack([]),
        "garbage before the trailer": reseal(body + b"garbage"),
        "a claimed size too small": pack([entry(*c), entry(*tr), entry(BLOB, b[1], size=len(b[1]) - 1)]),
        "a claimed size too large": pack([entry(*c), entry(*tr), entry(BLOB, b[1], size=len(b[1]) + 1)]),
        "a claimed size of 2^60": pack([entry(*c), entry(*tr), entry(BLOB, b[1], size=1 << 60)]),
        "a size that never ends": reseal(w.good[:12] + b"\xbf" + b"\xff" * 40),
        "type 0": pack([entry_header(0, 3) + zlib.compress(b"abc"), *w.entries]),
        "type 5": pack([entry_header(5, 3) + zlib.compress(b"abc"), *w.entries]),
        "no zlib": pack([entry_header(BLOB, 3) + b"\xff" * 30, *w.entries]),
        "zlib that is cut": pack([entry(*c), entry(*tr), entry(*b)[:-6]]),
        "zlib with a wrong checksum": pack([entry(*c), entry(*tr), entry(*b)[:-1] + bytes([entry(*b)[-1] ^ 1])]),
        "a delta on an unknown base": pack([*w.entries, entry(REF_DELTA, delta(5, 3, b"abc"), none)]),
        "a delta of a foreign base size": pack([*w.entries, entry(REF_DELTA, delta(len(b[1]) + 1, 3, b"abc"), blob_id)]),
        "a delta of another result size": pack([*w.entries, entry(REF_DELTA, delta(len(b[1]), 9, b"abc"), blob_id)]),
        "a delta that copies beyond its base": pack([*w.entries, entry(REF_DELTA, delta(len(b[1]), 50, (5, 50)), blob_id)]),
        "a delta with the reserved command": pack([*w.entries, entry(REF_DELTA, delta(len(b[1]), 3, b"abc") + b"\0", blob_id)]),
        "a delta result of 2^62": pack([*w.entries, entry(REF_DELTA, delta(len(b[1]), 1 << 62, b"abc"), blob_id)]),
        "an empty delta": pack([*w.entries, entry(REF_DELTA, b"", blob_id)]),
        "an offset before the pack": pack([*w.entries, entry(OFS_DELTA, delta(3, 3, b"abc"), base=100000)]),
        "an offset of 0": pack([*w.entries, entry(OFS_DELTA, delta(3, 3, b"abc"), base=0)]),
        "an offset into the middle": pack([*w.entries, entry(OFS_DELTA, delta(3, 3, b"abc"), base=5)]),
        "a missing blob": pack([entry(*c), entry(*tr)]),
        "a missing tree": pack([entry(*c), entry(*b)]),
        "a missing commit": pack([entry(*tr), entry(*b)]),
    }
    for what, bad in bad_packs.items():
        w.refused(what, w.push(w.tip, "refs/heads/x", bad), refs, files)
    same(commit_id, w.tip, "the commit")
    same(tree_id, pkt.oid(*tr), "the tree")
    w.expect_ok(w.tip, "refs/heads/x", w.good)


@test
def incomplete_histories_leave_nothing(t):
    w = World(t)
    refs, files = w.refs(), w.folder()
    none = "1" * 40
    blob = (BLOB, b"content\n")
    blob_id = pkt.oid(*blob)

    def through(*objects, tip=None):
        tip = tip or pkt.oid(*objects[0])
        return tip, pack([entry(k, d) for k, d in objects])

    def with_tree(data, *more):
        tree = (TREE, data)
        return through((COMMIT, pkt.commit(pkt.oid(*tree))), tree, *more)

    good_tree = (TREE, pkt.tree(("100644", "f", blob_id)))
    good_id = pkt.oid(*good_tree)
    cases = {
        "a missing parent": through((COMMIT, pkt.commit(good_id, none)), good_tree, blob),
        "a missing second parent": through((COMMIT, pkt.commit(good_id, w.base, none)), good_tree, blob),
        "a missing tree": through((COMMIT, pkt.commit(none))),
        "a missing subtree": with_tree(pkt.tree(("40000", "d", none), ("100644", "f", blob_id)), blob),
        "a missing blob": with_tree(pkt.tree(("100644", "f", none))),
        "a missing blob deep down": with_tree(pkt.tree(("40000", "d", pkt.oid(TREE, pkt.tree(("100644", "f", none))))),
                                              (TREE, pkt.tree(("100644", "f", none)))),
        "a tag of nothing": through((TAG, f"object {none}\ntype commit\ntag x\n\nm\n".encode())),
        "a parent that is a tree": through((COMMIT, pkt.commit(good_id, good_id)), good_tree, blob),
        "a tree that is a blob": through((COMMIT, pkt.commit(blob_id)), blob),
        "a subtree that is a blob": with_tree(pkt.tree(("40000", "d", blob_id)), blob),
        "a blob that is a tree": with_tree(pkt.tree(("100644", "f", good_id)), good_tree, blob),
        "a commit without a tree": through((COMMIT, b"author A <a@example.com> 1 +0000\n\nx\n")),
        "an empty commit object": through((COMMIT, b"")),
        "a tree cut short": with_tree(pkt.tree(("100644", "f", blob_id))[:-5], blob),
        "a tree without a mode": with_tree(b"f\0" + bytes.fromhex(blob_id), blob),
        "a tree of garbage": with_tree(b"\xff" * 30),
        "a commit as tip that only another object needs": through(good_tree, blob, tip=none),
    }
    for what, (tip, bad) in cases.items():
        w.refused(what, w.push(tip, "refs/tags/x", bad), refs, files)
        if not what.startswith("a tag"):
            w.refused(what + ", as a branch", w.push(tip, "refs/heads/x", bad), refs, files)
    # Unrelated incomplete objects in the pack of a good push: what is new has to be whole, or it is not kept.
    tip, stray = w.tip, (COMMIT, pkt.commit(none, message="stray"))
    reply = w.push(tip, "refs/heads/x", pack([*w.entries, entry(*stray)]))
    expect(reply.status == 200, "a stray incomplete object", reply.body)
    v2 = pkt.pkts("command=fetch\n", pkt.DELIM, f"want {pkt.oid(*stray)}\n", "done\n", FLUSH)
    answer = w.api.post(f"/{w.repo.id}/git-upload-pack", v2,
                        headers={"Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2"})
    expect(b"PACK" not in answer.body, "the stray object is not served")


@test
def a_later_push_cannot_build_on_a_refused_one(t):
    """Objects of a refused push are not there for the next one."""
    w = World(t)
    refs, files = w.refs(), w.folder()
    w.refused("missing blob", w.push(w.tip, "refs/heads/x", pack(w.entries[:2])), refs, files)
    w.refused("only the blob", w.push(w.tip, "refs/heads/x", pack(w.entries[2:])), refs, files)
    w.refused("nothing but the command", w.push(w.tip, "refs/heads/x", pack([])), refs, files)


@test
def deltas_on_what_the_repository_has(t):
    """A thin pack: its base is only here."""
    w = World(t)
    base = w.base_objects[2][1]
    new = base[:20] + b"NEW" + base[20:40]
    steps = delta(len(base), len(new), (0, 20), b"NEW", (20, 20))
    tree = pkt.tree(("100644", "file", pkt.oid(BLOB, new)))
    commit = pkt.commit(pkt.oid(TREE, tree), w.base)
    thin = pack([entry(COMMIT, commit), entry(TREE, tree), entry(REF_DELTA, steps, pkt.oid(BLOB, base))])
    w.expect_ok(pkt.oid(COMMIT, commit), "refs/heads/thin", thin)
    blob2 = new + b"second"
    chain = delta(len(new), len(blob2), (0, len(new)), b"second")
    tree2 = pkt.tree(("100644", "file", pkt.oid(BLOB, blob2)))
    commit2 = pkt.commit(pkt.oid(TREE, tree2), pkt.oid(COMMIT, commit))
    first = entry(REF_DELTA, delta(len(base), len(new), (0, 20), b"NEW", (20, 20)), pkt.oid(BLOB, base))
    chained = pack([first, entry(OFS_DELTA, chain, base=len(first)), entry(TREE, tree2), entry(COMMIT, commit2)])
    w.expect_ok(pkt.oid(COMMIT, commit2), "refs/heads/chained", chained)


@test
def deltas_in_a_circle_leave_nothing(t):
    w = World(t)
    refs, files = w.refs(), w.folder()
    one, two = "1" * 40, "2" * 40
    circle = pack([*w.entries, entry(REF_DELTA, delta(3, 3, (0, 3)), one), entry(REF_DELTA, delta(3, 3, (0, 3)), two)])
    w.refused("a circle", w.push(w.tip, "refs/heads/x", circle), refs, files)


@test
def one_object_many_times(t):
    """A pack that holds an object twice is fine, as for git index-pack; so is what is there already."""
    w = World(t)
    w.expect_ok(w.tip, "refs/heads/twice", pack(w.entries + w.entries[2:]))
    w.expect_ok(w.tip, "refs/heads/x", pack(w.entries + [entry(k, d) for k, d in w.base_objects]))
    w.expect_ok(w.tip, "refs/heads/y", w.good)
    w.expect_ok(w.base, "refs/heads/z", pack([]))
    copy = t.git.mirror(w.repo.url(), t.path("copy"))
    t.git("fsck", "--full", cwd=copy)


@test
def deep_trees_and_long_chains_do_not_break_the_server(t):
    w = World(t)
    objects, inner = [], (BLOB, b"x")
    inner_id = pkt.oid(*inner)
    objects.append(inner)
    mode = "100644"
    for _ in range(3000):
        tree = (TREE, pkt.tree((mode, "d", inner_id)))
        objects.append(tree)
        inner_id, mode = pkt.oid(*tree), "40000"
    commit = (COMMIT, pkt.commit(inner_id))
    reply = w.push(pkt.oid(*commit), "refs/heads/deep", pack([entry(k, d) for k, d in [*objects, commit]]))
    expect(reply.status in (200, 400), "an answer", reply.status)
    base = b"base " * 100
    entries, at = [entry(BLOB, base)], base
    for i in range(5000):
        new = at[:50] + b"%05d" % i + at[55:]
        entries.append(entry(OFS_DELTA, delta(len(at), len(new), (0, 50), b"%05d" % i, (55, len(at) - 55)), base=len(entries[-1])))
        at = new
    tree = (TREE, pkt.tree(("100644", "f", pkt.oid(BLOB, at))))
    commit = (COMMIT, pkt.commit(pkt.oid(*tree)))
    reply = w.push(pkt.oid(*commit), "refs/heads/chain", pack([*entries, entry(*tree), entry(*commit)]))
    expect(reply.status in (200, 400), "an answer", reply.status)
    if reply.status == 200 and report(reply.body)[0] == "ok":
        v2 = pkt.pkts("command=fetch\n", pkt.DELIM, f"want {pkt.oid(*commit)}\n", "done\n", FLUSH)
        answer = w.api.post(f"/{w.repo.id}/git-upload-pack", v2,
                            headers={"Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2"})
        expect(b"PACK" in answer.body or b"ERR" in answer.body, "an answer")
    expect(w.server.alive(), "the server lives")


@test
def requests_that_are_no_push(t):
    w = World(t)
    refs, files = w.refs(), w.folder()
    line = f"{ZERO} {w.tip} refs/heads/x"
    caps = b"\0 report-status"
    for what, body in {
        "no pkt-line": b"nonsense", "framing": b"zzzz", "cut short": b"00ff" + line.encode(), "length 3": b"0003",
        "no flush": pkt.pkt(line.encode() + caps), "a short id": pkt.pkt(line[1:].encode() + caps) + FLUSH,
        "no name": pkt.pkt(f"{ZERO} {w.tip} ".encode() + caps) + FLUSH, "no second id": pkt.pkt(f"{ZERO} refs/heads/x".encode() + caps) + FLUSH,
        "an unknown line": pkt.pkt(b"hello" + caps) + FLUSH, "a certificate": pkt.pkt(b"push-cert\0 push-cert=x") + FLUSH,
        "a flush and garbage": FLUSH + b"garbage",
    }.items():
        reply = w.post(body)
        if reply.status == 200 and not reply.body:
            same(w.refs(), refs, what)
            continue
        w.refused(what, reply, refs, files)
        if what in ("no pkt-line", "framing", "length 3"):
            same(reply.status, 400, what)


@test
def names_that_are_no_refs(t):
    w = World(t)
    refs, files = w.refs(), w.folder()
    for name in ("HEAD", "main", "refs/heads/", "refs/heads/a..b", "refs/heads/a b", "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a/",
                 "refs//heads/a", "refs/heads/a~1", "refs/heads/a^", "refs/heads/a:b", "refs/heads/a?", "refs/heads/a*", "refs/heads/a[",
                 "refs/heads/a\\b", "refs/heads/@{x", "refs/heads/a.", "../../etc/passwd", "refs/../x", "refs/heads/../../../x",
                 "refs/warren/x", "refs/warren", "refs", "refs/", "/refs/heads/x", "refs/heads/a\x01b", "refs/heads/a\x7fb", "refs/heads/a\tb",
                 "objects/x", "FETCH_HEAD", "refs/heads/main/x", "refs/heads/" + "x" * 5000):
        reply = w.push(w.tip, name, w.good)
        if reply.status == 200:
            expect(report(reply.body)[1].get(name) != "ok", f"{name[:60]!r} is refused", reply.body)
        w.refused(repr(name[:60]), reply, refs, files)


@test
def stale_ids_are_refused(t):
    w = World(t)
    for old, ref in ((ZERO, "refs/heads/main"), (w.tip, "refs/heads/main"), ("1" * 40, "refs/heads/main"), (w.base, "refs/heads/new")):
        reply = w.push(w.tip, ref, w.good, old)
        expect(report(reply.body)[1][ref] != "ok", f"{old[:7]} for {ref}", reply.body)
        same(w.refs(), {"refs/heads/main": w.base}, "refs")
    w.expect_ok(w.tip, "refs/heads/main", w.good, w.base)
    reply = w.post(push_body([("1" * 40, ZERO, "refs/heads/main")]))
    expect(report(reply.body)[1]["refs/heads/main"] != "ok", "a stale deletion", reply.body)


@test
def some_refs_go_and_others_not(t):
    w = World(t)
    commands = [(ZERO, w.tip, "refs/heads/a"), ("1" * 40, w.tip, "refs/heads/main"), (ZERO, w.tip, "refs/tags/a"),
                (ZERO, "2" * 40, "refs/heads/missing"), (ZERO, w.tip, "refs/warren/x")]
    unpack, results = report(w.post(push_body(commands, w.good)).body)
    same(unpack, "ok", "unpack")
    same({k for k, v in results.items() if v == "ok"}, {"refs/heads/a", "refs/tags/a"}, "accepted")
    same(set(results), {c[2] for c in commands}, "each has its line")
    same(w.refs(), {"refs/heads/main": w.base, "refs/heads/a": w.tip, "refs/tags/a": w.tip}, "refs")
    commands = [(ZERO, w.tip, "refs/heads/b"), ("1" * 40, w.tip, "refs/heads/main")]
    unpack, results = report(w.post(push_body(commands, w.good, "report-status side-band-64k atomic")).body)
    expect(all(v != "ok" for v in results.values()) and len(results) == 2, "atomic: none", results)
    expect("refs/heads/b" not in w.refs(), "atomic: nothing")


@test
def one_ref_twice_in_a_push(t):
    w = World(t)
    reply = w.post(push_body([(ZERO, w.tip, "refs/heads/x"), (ZERO, w.base, "refs/heads/x")], w.good))
    if reply.status == 200:
        results = [line.decode() for line in pkt.parse(pkt.bands(pkt.parse(reply.body))[1]) if line and b"refs/heads/x" in line]
        expect(sum(1 for r in results if r.startswith("ok")) <= 1, "never both", results)
    else:
        same(reply.status, 400, "status")


@test
def deletions_need_no_pack(t):
    w = World(t)
    w.expect_ok(w.tip, "refs/heads/x", w.good)
    same(report(w.post(push_body([(w.tip, ZERO, "refs/heads/x")])).body), ("ok", {"refs/heads/x": "ok"}), "deleted")
    same(w.refs(), {"refs/heads/main": w.base}, "refs")
    reply = w.post(push_body([(w.base, ZERO, "refs/heads/main")]))
    expect(report(reply.body)[1]["refs/heads/main"] != "ok", "the default branch stays", reply.body)
    reply = w.post(push_body([(ZERO, ZERO, "refs/heads/none")]))
    same(w.refs(), {"refs/heads/main": w.base}, "refs")


@test
def an_old_object_that_no_ref_reaches_any_more(t):
    """Coming back to what was deleted works whether the client sends it again, and is whole if it does not."""
    w = World(t)
    w.expect_ok(w.tip, "refs/heads/x", w.good)
    same(report(w.post(push_body([(w.tip, ZERO, "refs/heads/x")])).body)[1], {"refs/heads/x": "ok"}, "deleted")
    w.expect_ok(w.tip, "refs/heads/x", w.good)
    t.git("fsck", "--full", cwd=t.git.mirror(w.repo.url(), t.path("copy")))


@test
def a_wrong_content_type_is_415(t):
    w = World(t)
    for kind in ("application/json", "application/x-git-upload-pack-request", "text/plain"):
        same(w.api.post(f"/{w.repo.id}/git-receive-pack", b"0000", headers={"Content-Type": kind}).status, 415, kind)


@test
def limits_of_a_push(t):
    server = t.own_server(config="[git]\nmax_pack = 100k\nmax_pack_objects = 50\nmax_object = 200k\nmax_commands = 20\n")
    w = World(t, server)
    refs, files = w.refs(), w.folder()
    w.refused("too many bytes", w.push(w.tip, "refs/heads/x", pack([*w.entries, entry(BLOB, t.random.randbytes(150_000))])), refs, files)
    w.refused("too many objects", w.push(w.tip, "refs/heads/x", pack([*w.entries, *[entry(BLOB, b"%d" % i) for i in range(60)]])), refs, files)
    w.refused("too large an object", w.push(w.tip, "refs/heads/x", pack([*w.entries, entry(BLOB, b"\0" * 300_000)])), refs, files)
    base = w.objects[2]
    bomb = delta(len(base[1]), 0x10000 * 30, *[(0, 5)] * 10)
    w.refused("too large a delta", w.push(w.tip, "refs/heads/x", pack([*w.entries, entry(REF_DELTA, bomb, pkt.oid(*base))])), refs, files)
    many = [(ZERO, w.tip, f"refs/heads/x{i}") for i in range(30)]
    w.refused("too many commands", w.post(push_body(many, w.good)), refs, files)
    w.expect_ok(w.tip, "refs/heads/x", w.good)


@test
def a_huge_count_costs_no_memory(t):
    t.skip_if_sanitized()
    w = World(t)
    before = w.server.rss_anon()
    for count in (9_000_000, 0x7fffffff, 0xffffffff):
        reply = w.push(w.tip, "refs/heads/x", pack(w.entries, count=count))
        expect(reply.status in (200, 400, 413), "an answer", reply.status)
    expect(w.server.rss_anon() - before < 100_000_000, "memory", w.server.rss_anon() - before)


@test
def random_nonsense_after_the_commands(t):
    w = World(t)
    refs, files = w.refs(), w.folder()
    for _ in t.rounds(30):
        kind = t.random.randrange(3)
        if kind == 0:
            bad = t.random.randbytes(t.random.randrange(200))
        elif kind == 1:
            body = b"PACK" + struct.pack(">II", 2, t.random.randrange(5)) + t.random.randbytes(t.random.randrange(300))
            bad = body + hashlib.sha1(body).digest()
        else:
            keep = t.random.randrange(len(w.good))
            bad = reseal(w.good[:keep] + t.random.randbytes(10) + w.good[keep + t.random.randrange(10):-20])
        w.refused(f"nonsense {bad[:30].hex()}", w.push(w.tip, "refs/heads/x", bad), refs, files)
