"""Version 2 to the byte: every command, argument and section, and git's own upload-pack answers the same."""
import itertools

from harness import expect, same, test
from harness.pkt import DELIM, END, FLUSH, OFS_DELTA, REF_DELTA, lines as texts, parse, pkts
from harness.twin import Twin, date, kinds

IN_MEMORY = True
COST = 7
UNKNOWN = "1" * 40
HEAD = ("agent=test/1\n", "object-format=sha1\n")


def request(command, *args, head=HEAD):
    return (f"command={command}\n", *head, DELIM, *args, FLUSH)


def fetch(w, *args):
    return w.both(2, *request("fetch", *args))


# ---- what is announced, and ls-refs ----

@test
def the_advertisement(t):
    w = Twin(t)
    rows = texts(w.api.get(f"/{w.repo.id}/info/refs?service=git-upload-pack", headers={"Git-Protocol": "version=2"}).body)
    status, out, _ = t.git.run("upload-pack", "--advertise-refs", "--http-backend-info-refs", w.disk, env={"GIT_PROTOCOL": "version=2"})
    same(status, 0, "git's advertisement")
    words = lambda rows: {row.split("=")[0]: set(row.partition("=")[2].split()) for row in rows if row}
    ours, theirs = words(rows), words(texts(out))
    expect(ours.pop("agent") and theirs.pop("agent"), "both say who they are")
    same(ours, theirs, "what is announced")


@test
def ls_refs(t):
    w = Twin(t)
    flags = [["symrefs\n"], ["peel\n"], ["unborn\n"], ["symrefs"], ["symrefs\n", "peel\n", "unborn\n"], ["peel", "peel"], []]
    prefixes = ([], ["HEAD"], ["refs/heads/"], ["refs/tags/v"], ["refs/tags/v1", "refs/tags/", "refs/heads/m", "HE"], [""], ["refs"],
                ["refs/nothing"], ["refs/heads/main", "refs/heads/main", "zzz"], ["refs/changes/", "refs/warren/"])
    for flag, prefix in itertools.product(flags, prefixes):
        w.both(2, *request("ls-refs", *flag, *[f"ref-prefix {p}\n" for p in prefix]))
    w.both(2, "command=ls-refs\n", FLUSH)
    w.both(2, "command=ls-refs", "server-option=a\n", "server-option=\n", "server-option", "agent", FLUSH)
    w.both(2, "object-format=sha1\n", "agent=x y z\n", "command=ls-refs\n", DELIM, "peel\n", FLUSH)
    # The empty requests that say goodbye.
    same(w.ours(w.body(*request("ls-refs"), FLUSH, FLUSH), 2), w.theirs(w.body(*request("ls-refs")), 2)[0], "flushes behind it")


@test
def ls_refs_without_the_default_branch(t):
    w = Twin(t, default="trunk")
    for flags in (["symrefs"], ["unborn"], ["symrefs", "unborn"], ["symrefs", "unborn", "peel", "ref-prefix HEAD"],
                  ["symrefs", "unborn", "ref-prefix refs/"]):
        w.both(2, *request("ls-refs", *flags))
    same(parse(w.ours(w.body(*request("fetch", "want-ref HEAD\n", "done\n")), 2)), [b"ERR unknown ref HEAD"], "wanting it")


@test
def too_many_prefixes_are_none(t):
    w = Twin(t)
    for n in (65535, 65536, 65537):
        body = w.body(*request("ls-refs", *["ref-prefix x\n"] * (n - 1), "ref-prefix refs/tags/\n"))
        same(w.ours(body, 2), w.theirs(body, 2)[0], f"{n} prefixes")


# ---- fetch ----

WANTS = (("want {c6}\n",), ("want-ref refs/heads/main\n",), ("want {c4}\n", "want-ref refs/heads/side\n", "want {c4}"),
         ("want-ref HEAD\n", "want-ref refs/tags/v2\n", "want-ref refs/heads/main", "want-ref refs/tags/v2\n"))
HAVES = ((), (f"have {UNKNOWN}\n",), ("have {c4}\n",), (f"have {UNKNOWN}\n", "have {c3}\n", "have {s1}", "have {c3}\n"), ("have {c6}\n",),
         ("have {o1}\n",), ("have {s2}\n",))
ENDS = ((), ("done\n",), ("wait-for-done\n",), ("wait-for-done\n", "done\n"))
DEPTHS = ((), ("shallow {c4}",), (f"shallow {UNKNOWN}",), ("deepen 2",), ("shallow {c4}", "shallow {s2}", "deepen 2"),
          ("shallow {c4}", "deepen 1", "deepen-relative"))


@test
def sections(t):
    w = Twin(t)
    for wants, haves, end, depth in itertools.product(WANTS, HAVES, ENDS, DEPTHS):
        if depth and (wants != WANTS[1] or len(haves) == 4):
            continue
        fetch(w, "no-progress\n", "ofs-delta\n", *depth, *wants, *haves, *end)


@test
def sections_in_bands(t):
    w = Twin(t)
    for wants, haves, end, depth in itertools.product(WANTS[1:3], HAVES[:5], ENDS, DEPTHS):
        if depth and (wants != WANTS[1] or "wait-for-done\n" in end):
            continue
        fetch(w, "no-progress\n", "sideband-all\n", *depth, *wants, *haves, *end)


@test
def negotiation_alone(t):
    w = Twin(t)
    for haves, end in itertools.product(HAVES, ((), ("done\n",))):
        if haves or end:
            fetch(w, "no-progress", "wait-for-done\n", *haves, *end)
        fetch(w, "no-progress", *haves, *end)
    # Nothing in common is an answer too; git's server sends a pack instead, at which its client dies.
    answer = w.ours(w.body(*request("fetch", "wait-for-done\n")), 2)
    same(parse(answer), [b"acknowledgments\n", b"NAK\n", None], "who has nothing in common")
    fetch(w, "sideband-all", "wait-for-done", "have {c3}")


@test
def order_of_arguments(t):
    w = Twin(t)
    args = ["want-ref refs/heads/main\n", "have {c3}\n", "sideband-all\n", "no-progress\n", "deepen 2\n", "shallow {c4}\n", "filter tree:2\n",
            "thin-pack\n", "ofs-delta\n", "include-tag\n", "done\n", "wait-for-done\n", "want {c4}\n"]
    for _ in range(8):
        t.random.shuffle(args)
        fetch(w, *args)


@test
def packs(t):
    w = Twin(t)
    for thin, ofs, tags, quiet in itertools.product(*[((), (f"{word}\n",)) for word in ("thin-pack", "ofs-delta", "include-tag", "no-progress")]):
        for haves in ((), ("have {c3}\n",)):
            ours, _ = fetch(w, *thin, *ofs, *tags, *quiet, "want {c4}\n", *haves, "done\n")
            same(bool(ours.text), not quiet, f"progress with {quiet}")
            expect(max(ours.sizes) <= 65520, "the size of packets", ours.sizes)
            same(w.ids["v1"] in w.objects(ours.pack, bool(thin)), bool(tags) and not haves, f"v1 with {tags}, {haves}")
            got = set(kinds(ours.pack))
            expect(ofs or OFS_DELTA not in got, "no OFS_DELTA unless asked for", got)
            expect(not ofs or thin or REF_DELTA not in got, "a pack that is whole needs no REF_DELTA", got)


@test
def objects_of_every_type_may_be_wanted(t):
    w = Twin(t)
    tree, blob = w.rev(w.ids["c2"] + "^{tree}"), w.rev(w.ids["c3"] + ":f")
    for wants in ((tree,), (blob,), (w.ids["c1"],), (w.ids["v2"],), (w.ids["tree-tag"],), (w.ids["blob-tag"],), (w.ids["s1"], tree, blob)):
        for haves, end in itertools.product(((), ("have {c1}\n",), (f"have {UNKNOWN}",)), ((), ("done\n",))):
            fetch(w, "no-progress\n", *[f"want {i}\n" for i in wants], *haves, *end)


@test
def wanted_refs_of_every_type(t):
    w = Twin(t)
    for name in ("refs/tags/tree-tag", "refs/tags/blob-tag", "refs/tags/light", "refs/changes/1", "HEAD"):
        for band in ((), ("sideband-all",)):
            fetch(w, *band, "no-progress", f"want-ref {name}\n", "done\n")


@test
def where_history_ends(t):
    w = Twin(t)
    for depth in (("deepen 1",), ("deepen 4\n",), ("deepen 2147483647",), ("shallow {c4}", "deepen 2147483647"), ("shallow {o1}", "deepen 2"),
                  (f"deepen-since {date('c4')}",), ("deepen-since 0",), ("shallow {c4}", "shallow {s2}", f"deepen-since {date('s1')}"),
                  ("deepen-not v1",), ("deepen-not refs/heads/old",), ("deepen-not light", "deepen-not heads/old"),
                  ("deepen-not light", f"deepen-since {date('s1')}"), ("deepen-relative", "shallow {c6}", "deepen 1"),
                  ("deepen-relative", "deepen 1"), ("deepen-relative", "shallow {c3}", "shallow {s1}", "deepen 2"),
                  (f"shallow {UNKNOWN}", "shallow {c4}", "shallow {c4}", "deepen 3")):
        for haves, end in itertools.product(((), ("have {c4}\n",)), ((), ("done\n",))):
            fetch(w, "no-progress\n", *depth, "want {c6}\n", *haves, *end)


@test
def filters(t):
    w = Twin(t)
    for spec in ("blob:none", "blob:limit=0", "blob:limit=10", "blob:limit=1k", "tree:0", "tree:1", "tree:2", "tree:3", "object:type=commit",
                 "object:type=tag", "object:type=tree", "object:type=blob", "combine:tree:2+blob:limit=10",
                 "combine:combine%3Ablob:none%2Btree:3+object:type=tree"):
        for wants in (("want {c6}\n",), ("want-ref refs/tags/v2\n", "include-tag\n"), (f"want {w.rev(w.ids['c6'] + ':f')}\n", "want {s2}\n")):
            for more in ((), ("have {c3}\n",), ("deepen 1\n",)) if wants == ("want {c6}\n",) else ((),):
                fetch(w, "no-progress\n", *wants, f"filter {spec}\n", *more, "done\n")


# ---- object-info ----

@test
def object_info(t):
    w = Twin(t)
    lost = w.git("hash-object", "-w", "--stdin", cwd=w.disk, data=b"nobody names this\n").strip()
    everything = sorted(w.git.objects(w.disk))
    for oids in ((), (w.ids["c1"],), (UNKNOWN,), everything, (w.ids["c6"], w.ids["c6"], UNKNOWN, w.ids["v1"])):
        w.both(2, *request("object-info", "size\n", *[f"oid {i}\n" for i in oids]))
        w.both(2, *request("object-info", *[f"oid {i}" for i in oids], "size"))
    # What exists and no ref reaches answers as what does not exist.
    w.git("update-ref", "refs/heads/lost", w.git("commit-tree", "-m", "x", w.git("mktree", cwd=w.disk, data=f"100644 blob {lost}\tx\n".encode()).strip(),
                                                cwd=w.disk).strip(), cwd=w.disk)
    gone = w.rev("refs/heads/lost")
    w.git("push", "-q", w.repo.url(), "refs/heads/lost", cwd=w.disk)
    same(texts(w.ours(w.body(*request("object-info", "size", f"oid {lost}")), 2)), ["size", f"{lost} 18", None], "while a branch reaches it")
    w.git("push", "-q", w.repo.url(), ":refs/heads/lost", cwd=w.disk)
    for oid in (lost, gone, UNKNOWN):
        same(texts(w.ours(w.body(*request("object-info", "size", f"oid {oid}")), 2)), ["size", f"{oid} ", None], "and no more")


# ---- what is refused ----

UPLOAD = "upload-pack: "
REFUSED = (
    (request("fetch", f"want {UNKNOWN}\n", "done\n"), f"{UPLOAD}not our ref {UNKNOWN}"),
    (request("fetch", "want {c6}\n", f"want {UNKNOWN}\n", f"have {UNKNOWN}"), f"{UPLOAD}not our ref {UNKNOWN}"),
    (request("fetch", "want-ref refs/heads/nothing\n", "done\n"), "unknown ref refs/heads/nothing"),
    (request("fetch", "want-ref main\n", "done\n"), "unknown ref main"),
    (request("fetch", "want-ref refs/heads/\n", "done\n"), "unknown ref refs/heads/"),
    (request("fetch", "want-ref refs/../HEAD\n", "done\n"), "unknown ref refs/../HEAD"),
    (request("fetch", "want-ref refs/warren/x\n", "done\n"), "unknown ref refs/warren/x"),
    (request("fetch", "want {c6}\n", f"deepen-since {date('c6') + 10000}\n", "done\n"), "no commits selected for shallow requests"),
    (request("fetch", "want {c6}\n", "deepen-not main\n", "done\n"), "no commits selected for shallow requests"),
    (request("fetch", "want {c6}\n", "deepen-not nothing\n", "done\n"), f"{UPLOAD}deepen-not 'nothing' names no ref here, or several"),
    (request("fetch", "want {c6}\n", "deepen 1\n", "deepen-not v1\n", "done\n"),
     f"{UPLOAD}deepen and deepen-since (or deepen-not) cannot be used together"),
    (request("fetch", "want {c6}\n", "filter blob:none\n", "filter blob:none\n", "done\n"),
     f"{UPLOAD}a request may hold one filter; combine:<filter>+<filter> joins several"),
    (request("fetch", "hello\n"), f"{UPLOAD}unexpected line 'hello'"),
    (request("fetch", "done \n"), f"{UPLOAD}unexpected line 'done '"),
    (request("fetch", "peel\n"), f"{UPLOAD}unexpected line 'peel'"),
    (request("ls-refs", "thin-pack\n"), f"{UPLOAD}unexpected line 'thin-pack'"),
    (request("object-info", "oids\n"), f"{UPLOAD}unexpected line 'oids'"),
    (request("push"), f"{UPLOAD}this server does not announce the command 'push'"),
    (request("bundle-uri"), f"{UPLOAD}this server does not announce the command 'bundle-uri'"),
    (request("fetch=1"), f"{UPLOAD}this server does not announce the command 'fetch=1'"),
    (request("fetch", head=("session-id=x\n",)), f"{UPLOAD}this server does not announce the capability 'session-id'"),
    (request("fetch", head=("thin-pack\n",)), f"{UPLOAD}this server does not announce the capability 'thin-pack'"),
    (request("fetch", head=("ls-refs=unborn\n",)), f"{UPLOAD}this server does not announce the capability 'ls-refs'"),
    (request("fetch", head=("object-format=sha256\n",)), f"{UPLOAD}repositories here have the object format sha1, not 'sha256'"),
    (request("fetch", head=("object-format\n",)), f"{UPLOAD}repositories here have the object format sha1, not ''"),
)


@test
def refusals(t):
    """Each is one packet with a sentence; git refuses the same, mostly in words that stay at its server."""
    w = Twin(t)
    for lines, sentence in REFUSED:
        body = w.body(*lines)
        same(parse(w.ours(body, 2)), [f"ERR {sentence}".encode()], f"{lines}")
        out, err = w.theirs(body, 2)
        expect("fatal: " in err or b"ERR " in out, "git refuses it too", lines, out, err)
        if DELIM in lines and lines[0] == "command=fetch\n" and "capability" not in sentence and "format" not in sentence:
            at = lines.index(DELIM) + 1
            body = w.body(*lines[:at], "sideband-all\n", *lines[at:])
            same(parse(w.ours(body, 2)), [f"\3{sentence}".encode()], f"in a band: {lines}")


@test
def packfile_uris_are_not_announced(t):
    w = Twin(t)
    same(parse(w.ours(w.body(*request("fetch", "packfile-uris https\n", "want {c6}\n", "done\n")), 2)),
         [b"ERR upload-pack: this server does not announce packfile-uris and has none"], "asked for all the same")


@test
def filters_that_are_not_granted(t):
    w = Twin(t)
    for spec in ("sparse:oid=main:x", "sparse:path=x", "nonsense", "", "blob:limit=", "tree:", "tree:-1", "object:type=x", "combine:",
                 "combine:blob:none+sparse:oid=x", "blob:none "):
        packets = parse(w.ours(w.body(*request("fetch", "want {c6}\n", f"filter {spec}\n", "done\n")), 2))
        expect(len(packets) == 1 and packets[0].startswith(b"ERR upload-pack: "), "one sentence", spec, packets)
        expect(len(packets[0]) > len("ERR upload-pack: ") + 10 and packets[0].isascii(), "that says something", packets)


@test
def git_shows_its_user_the_sentence(t):
    w = Twin(t)
    url = w.repo.url()
    for version in (0, 1, 2):
        config = ("-c", f"protocol.version={version}")
        for options, sentence in ((("--filter=sparse:oid=main:f",), "sparse"), ((f"--shallow-since={date('c6') + 10000}",), "no commits selected"),
                                  (("--shallow-exclude=nothing",), "names no ref here"),
                                  (("--depth=1", f"--shallow-since={date('c4')}"), "cannot be used together")):
            said = t.git.fails(*config, "clone", "-q", *options, url, t.path(f"{version}{options[0]}"))
            expect("remote error: " in said and sentence in said, f"version {version} {options}", said)


# ---- framing and bounds ----

@test
def a_request_that_ends_too_early_is_400(t):
    w = Twin(t)
    for whole in (w.body(*request("fetch", "thin-pack\n", "shallow {c4}\n", "deepen 2\n", "filter blob:none\n", "want-ref HEAD\n", "have {c1}\n", "done\n")),
                  w.body(*request("ls-refs", "peel\n", "ref-prefix refs/heads/\n")), w.body(*request("object-info", "size\n", "oid {c1}\n")),
                  w.body(*request("fetch", "hello\n", "want {c1}\n")), w.body(*request("nothing", "hello\n"))):
        for n in range(1, len(whole)):
            reply = w.post(whole[:n], 2)
            same(reply.status, 400, f"the first {n} bytes of {whole}, with {reply.body[:80]!r}")
        same(w.post(whole, 2).status, 200, "all of it")
        for tail in (b"0", b"000", b"0001", b"0002", b"zzzz", whole, pkts("x\n")):
            if b"hello" not in whole:
                same(w.post(whole + tail, 2).status, 400, f"{tail!r} behind it")


@test
def special_packets_in_the_wrong_place_are_400(t):
    w = Twin(t)
    for lines in ((DELIM, FLUSH), (END,), ("command=fetch\n", END), ("command=fetch\n", DELIM, DELIM, FLUSH), ("agent=x\n", DELIM, "command=fetch\n", FLUSH),
                  ("command=fetch\n", DELIM, "want {c6}\n", END, FLUSH), ("agent=x\n", FLUSH), ("command=fetch\n", "command=ls-refs\n", FLUSH)):
        same(w.post(w.body(*lines), 2).status, 400, f"{lines}")


@test
def bounds(t):
    server = t.own_server(config="[git]\nmax_wants = 3\nmax_haves = 4\nmax_depth_lines = 5\nmax_preamble = 1024\n")
    repo = server.account().repo()
    headers = {"Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2"}
    oids = [f"{i:040x}" for i in range(1, 100)]
    post = lambda lines: parse(repo.account.api.post(f"/{repo.id}/git-upload-pack", pkts(*lines), headers=headers).body)
    for lines, key in ((request("fetch", *[f"want {i}\n" for i in oids[:4]]), "max_wants"),
                       (request("fetch", *[f"want {i}\n" for i in oids[:2]], "want-ref refs/heads/a", "want-ref refs/heads/a"), "max_wants"),
                       (request("object-info", *[f"oid {i}\n" for i in oids[:4]]), "max_wants"),
                       (request("fetch", *[f"have {i}\n" for i in oids[:5]]), "max_haves"),
                       (request("fetch", *[f"shallow {i}\n" for i in oids[:6]]), "max_depth_lines"),
                       (request("fetch", *["shallow " + oids[1] + "\n"] * 3, *["deepen-not x\n"] * 3), "max_depth_lines"),
                       (request("fetch", *["thin-pack\n"] * 200), "max_preamble"),
                       (request("ls-refs", *["peel\n"] * 300), "max_preamble"),
                       (request("ls-refs", head=[f"server-option={oids[0]}\n"] * 20), "max_preamble"),
                       (request("ls-refs", head=[f"agent={'x' * 2000}\n"]), "max_preamble"),
                       (request("fetch", f"filter combine:{'blob:none+' * 120}blob:none\n"), "max_preamble")):
        packets = post(lines)
        expect(len(packets) == 1 and packets[0].startswith(b"ERR upload-pack: a request may hold "), key, packets)
        expect(packets[0].endswith(f"let this server's operator raise git.{key}".encode()), key, packets)
    same(post(request("fetch", *[f"want {i}\n" for i in oids[:3]], *[f"have {i}\n" for i in oids[:4]], *[f"shallow {i}\n" for i in oids[:5]])),
         [f"ERR upload-pack: not our ref {oids[0]}".encode()], "at the bounds")
    same(post(request("ls-refs", *[f"ref-prefix refs/heads/{i}\n" for i in oids])), [None], "prefixes have a bound of their own")
