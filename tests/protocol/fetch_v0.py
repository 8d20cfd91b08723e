"""Versions 0 and 1 to the byte: every capability, and git's own upload-pack answers the same."""
from harness import expect, same, test
from harness.pkt import FLUSH, OFS_DELTA, REF_DELTA, parse, pkts
from harness.twin import Answer, Twin, date, kinds

IN_MEMORY = True
COST = 6
UNKNOWN = "1" * 40
ACKS = ("", " multi_ack", " multi_ack_detailed", " multi_ack_detailed no-done", " multi_ack no-done", " no-done",
        " multi_ack multi_ack_detailed")

# Haves as they come between the flush behind the wants and the end of the request.
HAVES = (
    (FLUSH,), ("done\n",), (),
    (f"have {UNKNOWN}\n", FLUSH), (f"have {UNKNOWN}\n", "done\n"),
    ("have {c4}\n", FLUSH), ("have {c4}\n", "done\n"),
    ("have {c4}\n", f"have {UNKNOWN}\n", FLUSH), (f"have {UNKNOWN}\n", "have {c4}\n", FLUSH),
    ("have {c4}\n", f"have {UNKNOWN}\n", "done\n"),
    ("have {c6}\n", FLUSH), ("have {c6}\n", "have {c4}\n", "have {c3}\n", FLUSH), ("have {c6}\n", "done\n"),
    ("have {c3}\n", "have {s2}\n", FLUSH), ("have {s2}\n", "have {c3}\n", "have {s1}\n", "done\n"),
    ("have {c4}\n", "have {c4}\n", "have {c3}\n", "have {c1}\n", "have {s1}\n", "done\n"),
    ("have {o1}\n", FLUSH), ("have {o1}\n", "done\n"), ("have {o1}\n", f"have {UNKNOWN}\n", "have {c2}\n", FLUSH),
    ("have {c4}\n", FLUSH, "have {c3}\n", FLUSH, "done\n"), ("have {c4}\n", FLUSH, "done\n"),
    ("have {c4}", "done"),
)
WANTS = (("want {c6}",), ("want {c4}", "want {s2}\n"), ("want {c3}",), ("want {v2}", "want {c4}\n", "want {v2}\n"))


@test
def the_advertisement(t):
    for default in ("main", "trunk"):
        w = Twin(t, default)
        for version in (0, 1):
            env = {"GIT_PROTOCOL": f"version={version}"}
            ours = w.api.get(f"/{w.repo.id}/info/refs?service=git-upload-pack", headers={"Git-Protocol": f"version={version}"}).body
            theirs = t.git.run("upload-pack", "--advertise-refs", "--http-backend-info-refs", w.disk, env=env)[1]
            head = pkts("# service=git-upload-pack\n", FLUSH)
            expect(ours.startswith(head), "the service line", ours[:80])
            ours, theirs = [[p.split(b"\0") if p else [p] for p in parse(a)] for a in (ours[len(head):], theirs)]
            same([p[0] for p in ours], [p[0] for p in theirs], f"the refs in version {version}")
            words = [{w for p in a if len(p) == 2 for w in p[1].split() if not w.startswith(b"agent=")} for a in (ours, theirs)]
            same(words[0], words[1], f"the capabilities in version {version}")


@test
def negotiation(t):
    w = Twin(t)
    for acks in ACKS:
        for wants in WANTS if acks == " multi_ack_detailed no-done" else WANTS[:1]:
            first = f"{wants[0]}{acks} side-band-64k ofs-delta no-progress agent=test\n"
            for haves in HAVES:
                w.both(0, first, *wants[1:], FLUSH, *haves)


@test
def version_1_answers_as_version_0(t):
    w = Twin(t)
    for haves in HAVES:
        first = "want {c6} multi_ack_detailed no-done side-band-64k ofs-delta no-progress\n"
        body = w.body(first, FLUSH, *haves)
        same(w.ours(body, 1), w.ours(body, 0), f"{haves}")
        w.both(1, first, FLUSH, *haves)


@test
def objects_of_every_type_may_be_wanted(t):
    w = Twin(t)
    tree, blob = w.rev(w.ids["c2"] + "^{tree}"), w.rev(w.ids["c3"] + ":f")
    for wants in ((tree,), (blob,), (w.ids["c1"],), (w.ids["v1"],), (w.ids["tree-tag"],), (w.ids["blob-tag"],), (w.ids["s1"], tree, blob)):
        lines = [f"want {wants[0]} multi_ack_detailed side-band-64k no-progress\n", *[f"want {i}\n" for i in wants[1:]]]
        for haves in (("done\n",), ("have {c1}\n", "done\n"), ("have {c1}\n", FLUSH)):
            w.both(0, *lines, FLUSH, *haves)


@test
def bands(t):
    w = Twin(t)
    for caps, most in (("", 0), (" side-band", 1000), (" side-band-64k", 65520), (" side-band side-band-64k", 65520)):
        for quiet in ("", " no-progress"):
            ours, _ = w.both(0, f"want {{c6}}{caps}{quiet}\n", FLUSH, "done\n")
            same(bool(ours.text), bool(caps) and not quiet, f"progress with{caps}{quiet}")
            expect(max(ours.sizes, default=0) <= most, "the size of packets", ours.sizes)


@test
def deltas(t):
    w = Twin(t)
    for thin in ("", " thin-pack"):
        for ofs in ("", " ofs-delta"):
            for haves in ((), ("have {c4}\n",)):
                ours, _ = w.both(0, f"want {{c6}}{thin}{ofs} multi_ack\n", FLUSH, *haves, "done\n")
                got = set(kinds(ours.pack))
                expect(ofs or OFS_DELTA not in got, f"no OFS_DELTA unless asked for: {ofs}", got)
                expect(not ofs or thin or REF_DELTA not in got, "a pack that is whole needs no REF_DELTA", got)


@test
def tags_come_along(t):
    w = Twin(t)
    for tags in ("", " include-tag"):
        for wants in (("want {c6}",), ("want {c2}",), ("want {c4}", "want {s2}\n")):
            ours, _ = w.both(0, f"{wants[0]}{tags} multi_ack\n", *wants[1:], FLUSH, "done\n")
            same(w.ids["v1"] in w.objects(ours.pack), bool(tags) and wants != ("want {c2}",), f"v1 with {wants}{tags}")
        w.both(0, f"want {{c6}}{tags} multi_ack\n", FLUSH, "have {c3}\n", "done\n")


DEPTHS = (
    ("deepen 1",), ("deepen 2\n",), ("deepen 2147483647",),
    ("shallow {c4}", "deepen 1"), ("shallow {c4}", "deepen 3"), ("shallow {c4}\n", "shallow {s2}\n", "deepen 2\n"),
    ("shallow {c6}", "deepen 2"), ("shallow {c4}", "shallow {s2}", "deepen 2147483647"),
    (f"shallow {UNKNOWN}", "shallow {c4}", "shallow {c4}", "deepen 2"),
    (f"shallow {UNKNOWN}",), ("shallow {c4}",), ("shallow {o1}",), ("shallow {o1}", "deepen 2"),
    (f"deepen-since {date('c4')}",), (f"deepen-since {date('s1')}",), (f"deepen-since {date('c6')}\n",), ("deepen-since 0",),
    ("shallow {c4}", f"deepen-since {date('c3')}"), ("shallow {c4}", "shallow {s2}", f"deepen-since {date('s1')}"),
    ("deepen-not v1",), ("deepen-not refs/tags/v1\n",), ("deepen-not light",), ("deepen-not tags/light", "deepen-not old"),
    ("deepen-not heads/side",), ("deepen-not changes/1",), ("shallow {c4}", "deepen-not light"),
    ("deepen-not refs/heads/old", f"deepen-since {date('s1')}"),
)


@test
def depth(t):
    w = Twin(t)
    caps = "multi_ack_detailed side-band-64k no-progress"
    for lines in DEPTHS:
        for haves in ((), ("done\n",), ("have {c6}\n", "done\n"), ("have {c4}\n", FLUSH), ("have {c4}\n", f"have {UNKNOWN}\n", FLUSH)):
            if haves == ("have {c6}\n", "done\n") and not any("shallow {" in line for line in lines):
                continue  # who has all of it has nothing to ask for
            w.both(0, f"want {{c6}} {caps}\n", *lines, FLUSH, *haves)


@test
def depth_from_where_the_client_is(t):
    w = Twin(t)
    caps = "multi_ack_detailed side-band-64k no-progress deepen-relative"
    for lines in (("shallow {c4}", "shallow {s2}", "deepen 1"), ("shallow {c6}", "deepen 1"), ("shallow {c6}", "deepen 2"),
                  ("shallow {c4}", "deepen 2147483647"), (f"shallow {UNKNOWN}", "deepen 1"), ("deepen 1",),
                  ("shallow {o1}", "shallow {c3}", "deepen 1")):
        for haves in ((), ("done\n",), ("have {c6}\n", "done\n")):
            w.both(0, f"want {{c6}} {caps}\n", *lines, FLUSH, *haves)


@test
def filters(t):
    w = Twin(t)
    for spec in ("blob:none", "blob:limit=10", "blob:limit=1k", "tree:0", "tree:1", "tree:2", "tree:3", "object:type=commit",
                 "object:type=tag", "object:type=tree", "object:type=blob", "combine:tree:2+blob:limit=10", "combine:blob:none+tree:0"):
        for wants in (("want {c6}",), ("want {c4}", "want {v2}\n"), (f"want {w.rev(w.ids['c6'] + ':f')}", "want {s2}\n")):
            for haves in ((), ("have {c3}\n",)):
                first = f"{wants[0]} filter multi_ack_detailed side-band-64k no-progress\n"
                w.both(0, first, *wants[1:], f"filter {spec}\n", FLUSH, *haves, "done\n")


@test
def the_two_forms_of_an_empty_request(t):
    w = Twin(t)
    for body in (b"", FLUSH):
        same(w.ours(body, 0), w.theirs(body, 0)[0] if body else b"", f"{body!r}")


# A request, and the sentence that its sender reads. Git says the same or less: on its own stderr, which stays at the server.
REFUSED = (
    ((f"want {UNKNOWN} side-band-64k\n", FLUSH, "done\n"), f"upload-pack: not our ref {UNKNOWN}"),
    (("want {c6}\n", f"want {UNKNOWN}\n", FLUSH, "done\n"), f"upload-pack: not our ref {UNKNOWN}"),
    (("want {c6}\n", f"deepen-since {date('c6') + 10}\n", FLUSH, "done\n"), "no commits selected for shallow requests"),
    (("want {c6}\n", "deepen-not main\n", FLUSH), "no commits selected for shallow requests"),
    (("want {c6}\n", "deepen-not nothing\n", FLUSH), "upload-pack: deepen-not 'nothing' names no ref here, or several"),
    (("want {c6}\n", "deepen 1\n", "deepen-since 1\n", FLUSH),
     "upload-pack: deepen and deepen-since (or deepen-not) cannot be used together"),
    (("want {c6}\n", "filter blob:none\n", FLUSH), "upload-pack: a filter line needs the capability 'filter' before it"),
    (("filter blob:none\n", "want {c6} filter\n", FLUSH), "upload-pack: a filter line needs the capability 'filter' before it"),
    (("want {c6} filter\n", "filter blob:none\n", "filter tree:0\n", FLUSH),
     "upload-pack: a request may hold one filter; combine:<filter>+<filter> joins several"),
    (("want {c6}\n", "hello\n", FLUSH), "upload-pack: unexpected line 'hello'"),
    (("want {c6}\n", FLUSH, "hello\n", "done\n"), "upload-pack: unexpected line 'hello'"),
    (("want {c6} object-format=sha256\n", FLUSH, "done\n"),
     "upload-pack: repositories here have the object format sha1, not 'sha256'"),
)


@test
def what_is_refused(t):
    w = Twin(t)
    for lines, sentence in REFUSED:
        for version in (0, 1):
            body = w.body(*lines)
            same(parse(w.ours(body, version)), [f"ERR {sentence}".encode()], f"{lines}")
            out, err = w.theirs(body, version)
            expect("sha256" in sentence or err, "git refuses it too", lines, out, err)


@test
def filters_that_are_not_granted(t):
    w = Twin(t)
    for spec in ("sparse:oid=main:x", "sparse:path=x", "nonsense", "", "blob:limit=", "tree:", "tree:-1", "object:type=x", "combine:",
                 "combine:blob:none+sparse:oid=x", "blob:none "):
        packets = parse(w.ours(w.body("want {c6} filter\n", f"filter {spec}\n", FLUSH, "done\n"), 0))
        expect(len(packets) == 1 and packets[0].startswith(b"ERR upload-pack: "), "one sentence", spec, packets)
        expect(len(packets[0]) > len("ERR upload-pack: ") + 10 and packets[0].isascii(), "that says something", packets)


@test
def a_request_that_ends_too_early_is_400(t):
    w = Twin(t)
    whole = w.body("want {c6} multi_ack_detailed side-band-64k filter\n", "want {s2}\n", "shallow {c4}\n", "deepen 2\n", "filter blob:none\n",
                   FLUSH, "have {c3}\n", "have {c1}\n", "done\n")
    # Where the client may stop: with the flush (it asks for the depth alone), and at the end.
    stops = {0: 200, whole.index(b"0000") + 4: 200, len(whole): 200}
    for n in range(len(whole)):
        reply = w.post(whole[:n], 0)
        same(reply.status, stops.get(n, 400), f"the first {n} bytes, with {reply.body[:80]!r}")


@test
def framing_counts_also_behind_a_refusal(t):
    w = Twin(t)
    for tail in (b"", b"00", b"zzzz", b"0003", b"0010short", pkts("have x\n")):
        same(w.post(pkts("hello\n") + tail, 0).status, 400, f"{tail!r}")
    same(Answer(w.post(pkts("hello\n", FLUSH), 0).body, False).front, [b"ERR upload-pack: unexpected line 'hello'"], "and whole")


@test
def bounds(t):
    server = t.own_server(config="[git]\nmax_wants = 3\nmax_haves = 4\nmax_depth_lines = 5\nmax_preamble = 1024\n")
    repo = server.account().repo()
    headers = {"Content-Type": "application/x-git-upload-pack-request"}
    oids = [f"{i:040x}" for i in range(1, 100)]
    for lines, key in (([*[f"want {i}\n" for i in oids[:4]], FLUSH, "done\n"], "max_wants"),
                       ([f"want {oids[0]}\n", FLUSH, *[f"have {i}\n" for i in oids[:5]], FLUSH], "max_haves"),
                       ([f"want {oids[0]}\n", *[f"shallow {i}\n" for i in oids[:6]], FLUSH], "max_depth_lines"),
                       ([f"want {oids[0]}\n", *["shallow " + oids[1] + "\n"] * 3, *["deepen-not x\n"] * 3, FLUSH], "max_depth_lines"),
                       (["deepen 100000000000000000\n"] * 50 + [FLUSH], "max_preamble")):
        packets = parse(repo.account.api.post(f"/{repo.id}/git-upload-pack", pkts(*lines), headers=headers).body)
        expect(len(packets) == 1 and packets[0].startswith(b"ERR upload-pack: a request may hold "), key, packets)
        expect(packets[0].endswith(f"let this server's operator raise git.{key}".encode()), key, packets)
    same(parse(repo.account.api.post(f"/{repo.id}/git-upload-pack", pkts(*[f"want {i}\n" for i in oids[:3]], FLUSH, "done\n"),
                                     headers=headers).body), [f"ERR upload-pack: not our ref {oids[0]}".encode()], "at the bound")
