"""Hostile requests, each with the status and the sentence that it gets. Whatever it was: the refs are the same, a clone
works, and the server has as much memory and as many descriptors as before."""
import gzip
import re
import zlib

from harness import expect, same, test
from harness import pkt
from harness.hostile import FETCH, PACK, Case, Target
from harness.pkt import DELIM, END, FLUSH, ZERO, entry, pack, pkts

COST = 5
CONFIG = """[lanes]
git_threads = 4
commit_threads = 2
[git]
max_fetch_request = 64k
max_wants = 10
max_haves = 20
max_preamble = 2k
max_depth_lines = 5
max_commands = 8
max_push_options = 3
max_pack = 256k
"""
NONE = "1" * 40
# What is wrong: the status, and what the sentence says.
PACKET = 400, r"A packet (does not begin|cannot have)|It ends in the middle of a packet"
FLUSHED = 400, r"not end with a flush|end with neither flush"
BEHIND = 400, r"Something follows the end"
ID = 400, r"An object id is 40"
COMMAND = 400, r"A command is two object ids"
LINE = 200, r"^ERR .*unexpected line"
OURS = 200, r"^ERR .*not our ref"
FORMAT = 200, r"^ERR .*object format sha1"
ANNOUNCED = 200, r"^ERR .*does not announce"
REF = 200, r"^ERR .*unknown ref"
NOREF = 200, r"^ERR .*names no ref"
FILTER = 200, r"^ERR .*(The filter is unknown|In (blob|tree|object|a filter)|sparse patterns|nested|may combine)"
TOGETHER = 200, r"^ERR .*cannot be used together"
WANTS = 200, r"^ERR .*may hold 10 wants"
HAVES = 200, r"^ERR .*may hold 20 haves"
DEPTHS = 200, r"^ERR .*may hold 5 lines"
PREAMBLE = 200, r"^ERR .*may hold 2048 bytes"
NUMBER = 400, r"deepen needs a number"
TIME = 400, r"deepen-since needs a time"
ONE = 400, r"A request holds one command"
NO_COMMAND = 400, r"names no command"
LARGE = 413, r"is larger than|unzips to more than"
ZIP = 400, r"The gzip encoding"
CODING = 415, r"content encoding"
TYPE = 415, r"The Content-Type has to be"
METHOD = 405, r"This path takes"
ESCAPE = 400, r"percent-escape"
ROUTE = 404, r"No such route"
REPOSITORY = 404, r"Repository not found"
CREDENTIAL = 401, r"valid credential"
SERVICE = 403, r"service"
MALFORMED = 400, r"syntactically incorrect|malformed"
UNKNOWN = 200, r"ng \S+ bad object: the new value is not in the repository"


class World(Target):
    """A branch, a commit that was forced away, and another tenant's commit."""

    def __init__(self, t):
        super().__init__(t, CONFIG)
        self.tip, made = pkt.small("tip", b"content\n")
        self.gone, forced = pkt.small("gone", b"forced away\n")
        self.theirs, secret = pkt.small("theirs", b"another tenant's\n")
        self.blob, self.tree = pkt.oid(*made[2]), pkt.oid(*made[1])
        self.store(self.repo, "refs/heads/main", ZERO, self.gone, forced)
        self.store(self.repo, "refs/heads/main", self.gone, self.tip, made)
        self.store(self.other, "refs/heads/main", ZERO, self.theirs, secret)
        self.refs = {"refs/heads/main": self.tip}
        self.good = pack([entry(k, d) for k, d in pkt.small("new", b"new\n")[1]])
        self.new = pkt.small("new", b"new\n")[0]

    def store(self, repo, ref, old, new, objects):
        reply = repo.account.api.post(f"/{repo.id}.git/git-receive-pack", pkt.push_body([(old, new, ref)], pack(
            [entry(k, d) for k, d in objects])), headers={"Content-Type": PACK})
        same(pkt.report(reply.body)[0], "ok", "a push")

    def v0(self, *lines, end=b"", **headers):
        return self.post("git-upload-pack", pkts(*lines) + end, **headers)

    def v2(self, command, *lines, end=FLUSH, before=(), **headers):
        return self.post("git-upload-pack", pkts(f"command={command}\n", *before, DELIM, *lines) + end, version=2,
            **headers)

    def receive(self, *lines, end=b""):
        return self.post("git-receive-pack", pkts(*lines) + end)

    def get(self, path, **more):
        return self.head("GET", path, **more)


def framing(w):
    """Lengths of packets that are none, at the beginning and behind a good line."""
    want, command = f"want {w.tip} side-band-64k\n", f"{ZERO} {w.new} refs/heads/x\0report-status\n"
    out = {}
    for bad in (b"zzzz", b"00zz", b"-001", b"+010", b" 004", b"0x10", b"000G", b"0003", b"fff1", b"ffff", b"\0\0\0\0",
        b"\xff\xff\xff\xff", b"00", b"0",
                b"00\n5", b"0032want", b"fff0" + bytes(100), b"0005", b"GET ", b"\x16\x03\x01\x02"):
        for where, head in (("of a fetch", b""), ("behind a want", pkts(want)),
            ("behind the wants", pkts(want, FLUSH))):
            if where == "of a fetch" or len(bad) == 4:
                out[f"length {bad[:8]!r} {where}"] = (w.post("git-upload-pack", head + bad), *PACKET)
        out[f"length {bad[:8]!r} of a version 2 request"] = (w.post("git-upload-pack", bad, version=2), *PACKET)
        out[f"length {bad[:8]!r} behind a command"] = (w.post("git-upload-pack", pkts("command=fetch\n", DELIM) + bad,
            version=2), *PACKET)
        out[f"length {bad[:8]!r} of a push"] = (w.post("git-receive-pack", bad), *PACKET)
        out[f"length {bad[:8]!r} behind a ref"] = (w.post("git-receive-pack", pkts(command) + bad), *PACKET)
    return out


def specials(w):
    want = f"want {w.tip} side-band-64k\n"
    command = f"{ZERO} {w.new} refs/heads/x\0report-status\n"
    return {
        "a delimiter in version 0": (w.v0(want, DELIM, "done\n"), *FLUSHED),
        "a delimiter among haves": (w.v0(want, FLUSH, f"have {w.tip}\n", DELIM, "done\n"), 400,
            "version 2 in a request of another"),
        "a response end in version 0": (w.v0(want, END, "done\n"), *FLUSHED),
        "a delimiter first in version 2": (w.post("git-upload-pack", pkts(DELIM, FLUSH), version=2), *NO_COMMAND),
        "two delimiters": (w.v2("fetch", DELIM, f"want {w.tip}\n", "done\n"), *FLUSHED),
        "a response end in version 2": (w.v2("fetch", END, f"want {w.tip}\n", "done\n"), *FLUSHED),
        "a delimiter for the flush": (w.v2("fetch", f"want {w.tip}\n", "done\n", end=DELIM), *FLUSHED),
        "no flush in version 2": (w.v2("fetch", f"want {w.tip}\n", "done\n", end=b""), *FLUSHED),
        "a response end for the flush": (w.v2("fetch", f"want {w.tip}\n", "done\n", end=END), *FLUSHED),
        "a delimiter among commands": (w.receive(command, DELIM, FLUSH), *FLUSHED),
        "a response end among commands": (w.receive(command, END, FLUSH), *FLUSHED),
        "a delimiter first in a push": (w.receive(DELIM, command, FLUSH), *FLUSHED),
        "no flush behind commands": (w.receive(command), *FLUSHED),
        "an empty packet among wants": (w.v0(want, "", FLUSH, "done\n"), *LINE),
        "an empty packet among commands": (w.receive(command, "", FLUSH), *COMMAND),
        "an empty packet in version 2": (w.v2("fetch", "", f"want {w.tip}\n", "done\n"), *LINE),
        "something behind done": (w.v0(want, FLUSH, "done\n", f"have {w.tip}\n"), *BEHIND),
        "a second request behind the flush": (w.v2("fetch", f"want {w.tip}\n", "done\n",
            end=FLUSH + pkts("command=ls-refs\n", FLUSH)), *BEHIND),
        "rubbish behind the flush": (w.v2("fetch", f"want {w.tip}\n", "done\n", end=FLUSH + b"rubbish"), *PACKET),
        "rubbish behind done": (w.v0(want, FLUSH, "done\n", end=b"rubbish"), *PACKET),
        "a pack behind done": (w.v0(want, FLUSH, "done\n", end=w.good), *PACKET),
    }


def fetches(w):
    want = f"want {w.tip} side-band-64k\n"
    one = lambda line, *caps: w.v0(f"want {w.tip} side-band-64k shallow deepen-since deepen-not filter\n", line, FLUSH,
        "done\n")
    two = lambda line: w.v2("fetch", f"want {w.tip}\n", line, "done\n")
    out = {
        "no want at all": (w.v0(f"have {w.tip}\n", FLUSH, "done\n"), *LINE),
        "only a depth": (w.v0("deepen 1\n", FLUSH, "done\n"), 400, "at least one want"),
        "haves that do not end": (w.v0(want, FLUSH, f"have {w.tip}\n"), *FLUSHED),
        "wants that do not end": (w.v0(want), *FLUSHED),
        "an unknown line": (one("hello\n"), *LINE),
        "an unknown line among haves": (w.v0(want, FLUSH, "hello\n", "done\n"), *LINE),
        "a line of NULs": (one(bytes(100)), *LINE),
        "a want among haves": (w.v0(want, FLUSH, want, "done\n"), *LINE),
        "the longest line there is": (one(b"x" * 65516), *LARGE),
        "format sha256": (w.v0(f"want {w.tip} object-format=sha256\n", FLUSH, "done\n"), *FORMAT),
        "a filter without its capability": (w.v0(want, "filter blob:none\n", FLUSH, "done\n"), 200,
            "^ERR .*needs the capability"),
        "a NUL in a want": (w.v0(b"want " + w.tip.encode() + b"\0side-band-64k\n", FLUSH, "done\n"), *ID),
        "version 2's command in version 0": (w.v0("command=fetch\n", FLUSH), *LINE),
        "an unknown command": (w.v2("hack"), *ANNOUNCED),
        "an empty command": (w.v2(""), *ANNOUNCED),
        "a command with spaces": (w.v2("fetch ls-refs"), *ANNOUNCED),
        "a command with a NUL": (w.v2("fetch\0"), *ANNOUNCED),
        "a command of 60 KB": (w.v2("x" * 60_000), *PREAMBLE),
        "two commands": (w.v2("fetch", before=["command=ls-refs\n"]), *ONE),
        "one command twice": (w.v2("fetch", before=["command=fetch\n"]), *ONE),
        "no command": (w.post("git-upload-pack", pkts("agent=x\n", DELIM, FLUSH), version=2), *NO_COMMAND),
        "version 0's want in version 2": (w.post("git-upload-pack", pkts(want, FLUSH), version=2), *ANNOUNCED),
        "the format sha256 in version 2": (w.v2("fetch", before=["object-format=sha256\n"]), *FORMAT),
        "an unknown argument": (two("hello\n"), *LINE),
        "an argument of NULs": (two(bytes(100)), *LINE),
        "packfile-uris": (two("packfile-uris https\n"), *ANNOUNCED),
        "want-ref of nothing": (w.v2("fetch", "want-ref refs/heads/none\n", "done\n"), *REF),
        "want-ref of HEAD's pattern": (w.v2("fetch", "want-ref refs/heads/*\n", "done\n"), *REF),
        "want-ref of the server's own": (w.v2("fetch", "want-ref refs/warren/x\n", "done\n"), *REF),
        "want-ref with a path": (w.v2("fetch", "want-ref refs/heads/../../config\n", "done\n"), *REF),
        "want-ref with NUL": (w.v2("fetch", "want-ref refs/heads/main\0\n", "done\n"), *REF),
        "want-ref twice": (w.v2("fetch", "want-ref refs/heads/main\n", "want-ref refs/heads/main\n", "done\n"), 200,
            "PACK"),
        "an unknown argument of ls-refs": (w.v2("ls-refs", "hello\n"), *LINE),
        "a want for ls-refs": (w.v2("ls-refs", f"want {w.tip}\n"), *LINE),
        "an unknown argument of object-info": (w.v2("object-info", "hello\n"), *LINE),
        "object-info of nothing here": (w.v2("object-info", "size\n", f"oid {NONE}\n"), 200, f"^size\n{NONE} ?$"),
        "object-info of what was forced away": (w.v2("object-info", "size\n", f"oid {w.gone}\n"), 200,
            f"^size\n{w.gone} ?$"),
        "object-info of another's": (w.v2("object-info", "size\n", f"oid {w.theirs}\n"), 200, f"^size\n{w.theirs} ?$"),
        "object-info of a short id": (w.v2("object-info", "size\n", f"oid {w.tip[:39]}\n"), *ID),
        "object-info of too much": (w.v2("object-info", "size\n", *[f"oid {w.tip}\n"] * 11), *WANTS),
        "a filter in two halves": (w.v2("fetch", f"want {w.tip}\n", "filter blob:none\n", "filter tree:0\n", "done\n"),
            200, "^ERR .*one filter"),
    }
    for spec in ("", "blob", "blob:", "blob:some", "blob:limit", "blob:limit=", "blob:limit=x", "blob:limit=-1",
        "blob:limit=99999999999999999999",
                 "tree:", "tree:x", "tree:-1", "object:type=", "object:type=thing", "sparse:oid=main:x",
                     "sparse:path=x", "combine:", "combine:blob:none+",
                 "combine:%", "combine:%zz", "combine:" + "combine%3A" * 40 + "tree%3A1",
                     "combine:" + "+".join(["tree:1"] * 200), "auto", "x" * 1500):
        out[f"filter {spec[:40]!r}"] = (two(f"filter {spec}\n"), *FILTER)
    for n in ("", "0", "-1", "+1", "x", "1x", "0x1", "1 1", "1e3", "99999999999999999999", "1\0"):
        out[f"deepen {n!r}"] = (one(f"deepen {n}\n"), *NUMBER)
        out[f"deepen {n!r} in version 2"] = (two(f"deepen {n}\n"), *NUMBER)
    for n in ("", "-1", "x", "yesterday", "9223372036854775808", "99999999999999999999"):
        out[f"deepen-since {n!r}"] = (one(f"deepen-since {n}\n"), *TIME)
    for n in ("", "none", "refs/heads/none", "refs/warren/x", w.tip, "main^", "../main", "x" * 1500):
        out[f"deepen-not {n[:20]!r}"] = (two(f"deepen-not {n}\n"), *NOREF)
    out["deepen with deepen-since"] = (w.v2("fetch", f"want {w.tip}\n", "deepen 1\n", "deepen-since 1\n", "done\n"),
        *TOGETHER)
    out["deepen with deepen-not"] = (w.v2("fetch", f"want {w.tip}\n", "deepen 1\n", "deepen-not main\n", "done\n"),
        *TOGETHER)
    out["a time in the far future"] = (two("deepen-since 9000000000000000000\n"), 200, "^ERR .*no commits selected")
    no_ids = {"short": w.tip[:39], "long": w.tip + "0", "of SHA-256": "1" * 64, "not hexadecimal": "g" * 40,
        "empty": "",
              "a name": "refs/heads/main", "negative": "-" + w.tip[1:], "with a NUL": w.tip[:20] + "\0" + w.tip[21:]}
    for name, oid in no_ids.items():
        out[f"a want that is {name}"] = (w.v0(f"want {oid} side-band-64k\n", FLUSH, "done\n"), *ID)
        out[f"a want that is {name}, in version 2"] = (w.v2("fetch", f"want {oid}\n", "done\n"), *ID)
        out[f"a have that is {name}"] = (w.v2("fetch", f"want {w.tip}\n", f"have {oid}\n", "done\n"), *ID)
        out[f"a shallow that is {name}"] = (one(f"shallow {oid}\n"), *ID)
    # What a client has that is not known here is its own business, and all alike.
    for name, oid in {"zero": ZERO, "unknown": NONE, "forced away": w.gone, "another's": w.theirs}.items():
        out[f"a want that is {name}"] = (w.v0(f"want {oid} side-band-64k\n", FLUSH, "done\n"), 200,
            f"^ERR .*not our ref {oid}$")
        out[f"a want that is {name}, in version 2"] = (w.v2("fetch", f"want {oid}\n", "done\n"), 200,
            f"^ERR .*not our ref {oid}$")
        out[f"a want that is {name}, among good ones"] = (
            w.v2("fetch", f"want {w.tip}\n", f"want {oid}\n", "done\n"), 200, f"^ERR .*not our ref {oid}$")
        out[f"a have that is {name}"] = (w.v2("fetch", f"want {w.tip}\n", f"have {oid}\n"), 200,
            "^acknowledgments\nNAK$")
        out[f"a shallow that is {name}"] = (one(f"shallow {oid}\n"), 200, "^NAK\n(.*\n)*PACK")
        out[f"only a shallow that is {name}"] = (
            w.v2("fetch", f"want {w.tip}\n", f"shallow {oid}\n", "deepen 1\n", "done\n"), 200,
                f"^shallow-info\nshallow {w.tip}\npackfile\n")
    return out


def limits(w):
    ids = lambda word, n: [f"{word} {i:040x}\n" for i in range(1, n + 1)]
    commands = lambda n: [f"{ZERO} {w.new} refs/heads/x{i}" + ("\0report-status\n" if i == 0 else "\n")
        for i in range(n)]
    return {
        "wants, in version 0": (w.v0(*[f"want {w.tip}\n"] * 11, FLUSH, "done\n"), *WANTS),
        "wants": (w.v2("fetch", *ids("want", 11), "done\n"), *WANTS),
        "want-refs": (w.v2("fetch", *["want-ref refs/heads/main\n"] * 11, "done\n"), *WANTS),
        "wants and want-refs": (w.v2("fetch", *[f"want {w.tip}\n"] * 10, "want-ref refs/heads/main\n", "done\n"),
            *WANTS),
        "haves, in version 0": (w.v0(f"want {w.tip}\n", FLUSH, *ids("have", 21), "done\n"), *HAVES),
        "haves": (w.v2("fetch", f"want {w.tip}\n", *ids("have", 21), "done\n"), *HAVES),
        "shallow lines, in version 0": (w.v0(f"want {w.tip}\n", *ids("shallow", 6), FLUSH, "done\n"), *DEPTHS),
        "shallow lines": (w.v2("fetch", f"want {w.tip}\n", *ids("shallow", 6), "done\n"), *DEPTHS),
        "deepen-not lines": (w.v2("fetch", f"want {w.tip}\n", *["deepen-not main\n"] * 6, "done\n"), *DEPTHS),
        "both kinds of depth lines": (w.v2("fetch", f"want {w.tip}\n", *ids("shallow", 5), "deepen-not main\n",
            "done\n"), *DEPTHS),
        "bytes before the first want": (w.v2("fetch", *["no-progress\n"] * 200, f"want {w.tip}\n", "done\n"),
            *PREAMBLE),
        "server options": (w.v2("fetch", f"want {w.tip}\n", "done\n", before=[f"server-option={'x' * 100}\n"] * 30),
            *PREAMBLE),
        "an agent of 10 KB": (w.v2("fetch", f"want {w.tip}\n", "done\n", before=[f"agent={'x' * 10_000}\n"]),
            *PREAMBLE),
        "commands": (w.receive(*commands(9), FLUSH, end=w.good), 200, "^unpack A push may update 8 refs"),
        "a name of 60 KB": (w.receive(f"{ZERO} {w.new} refs/heads/{'x' * 60_000}\0report-status\n", FLUSH, end=w.good),
            200, "^unpack The name of a ref may have 4096 bytes"),
        "push options": (w.receive(f"{ZERO} {w.new} refs/heads/x\0report-status push-options\n", FLUSH, *["o\n"] * 4,
            FLUSH, end=w.good), 200, "^unpack A push may bring 3 push options"),
        "a push option of 10 KB": (w.receive(f"{ZERO} {w.new} refs/heads/x\0report-status push-options\n", FLUSH,
            "o" * 10_000, FLUSH, end=w.good), 200, "^unpack A push option may have 4096 bytes"),
        "shallow lines of a push": (w.receive(*ids("shallow", 6), *commands(1), FLUSH, end=w.good), 200,
            "^unpack A push may come with 5 shallow roots"),
        "a fetch of 65 KB": (w.post("git-upload-pack",
            pkts(f"want {w.tip}\n", FLUSH) + pkts("have " + NONE + "\n") * 1400), *LARGE),
        "a fetch that says 1 TB": (w.head("POST", f"/{w.repo.id}.git/git-upload-pack", {"Content-Type": FETCH},
            1 << 40), *LARGE),
        "a push that says 2^62 bytes": (w.head("POST", f"/{w.repo.id}.git/git-receive-pack", {"Content-Type": PACK},
            1 << 62), (400, 413), "Content-Length|larger"),
    }


def pushes(w):
    body = lambda *lines, end=w.good: w.receive(*lines, FLUSH, end=end)
    caps = "\0report-status\n"
    line = lambda old, new, ref: body(f"{old} {new} {ref}{caps}")
    out = {
        "no id": (body("refs/heads/x" + caps), *COMMAND),
        "one id": (body(f"{ZERO} refs/heads/x{caps}"), *COMMAND),
        "no name": (body(f"{ZERO} {w.new} {caps}"), *COMMAND),
        "nothing behind the ids": (body(f"{ZERO} {w.new}{caps}"), *COMMAND),
        "a short id": (line(ZERO[1:], w.new, "refs/heads/x"), *COMMAND),
        "an id of SHA-256": (line("0" * 64, "1" * 64, "refs/heads/x"), *COMMAND),
        "an id that is no number": (line(ZERO, "g" * 40, "refs/heads/x"), *COMMAND),
        "tabs for spaces": (body(f"{ZERO}\t{w.new}\trefs/heads/x{caps}"), *COMMAND),
        "a certificate": (body("push-cert\0report-status\n", f"certificate version 0.1\n"), 400,
            "does not take signed pushes"),
        "capabilities twice": (body(f"{ZERO} {w.new} refs/heads/x{caps}", f"{ZERO} {w.new} refs/heads/y{caps}"), 400,
            "behind the first command only"),
        "the format sha256": (body(f"{ZERO} {w.new} refs/heads/x\0report-status object-format=sha256\n"), 400,
            "object format here is sha1"),
        "a fetch for a push": (body(f"want {w.tip}{caps}"), *COMMAND),
        "a shallow line of nothing": (body("shallow \n", f"{ZERO} {w.new} refs/heads/x{caps}"), *ID),
        "options without their flush": (w.receive(f"{ZERO} {w.new} refs/heads/x\0report-status push-options\n", FLUSH,
            "o\n", end=w.good), *PACKET),
        "options that are no text": (w.receive(f"{ZERO} {w.new} refs/heads/x\0report-status push-options\n", FLUSH,
            "a\nb\0c", FLUSH, end=w.good), 400, "one line of text"),
        "an old id that is not": (line(w.gone, w.new, "refs/heads/main"), 200, "ng refs/heads/main the ref has moved"),
        "a creation of what is there": (line(ZERO, w.new, "refs/heads/main"), 200,
            "ng refs/heads/main the ref exists already"),
        "a deletion of what is not there": (w.receive(f"{w.tip} {ZERO} refs/heads/none{caps}", FLUSH), 200,
            "ng refs/heads/none the ref is gone"),
        "a deletion of the default branch": (w.receive(f"{w.tip} {ZERO} refs/heads/main{caps}", FLUSH), 200,
            "ng refs/heads/main deletion of the current branch prohibited"),
        "from nothing to nothing": (w.receive(f"{ZERO} {ZERO} refs/heads/x{caps}", FLUSH), 200,
            "ng refs/heads/x neither an old nor a new id"),
        "one ref twice": (body(f"{ZERO} {w.new} refs/heads/x{caps}", f"{ZERO} {w.tip} refs/heads/x\n"), 200,
            "(ng refs/heads/x multiple updates for one ref\\n?){2}"),
        "a deletion with a pack behind it": (w.receive(f"{w.gone} {ZERO} refs/heads/none{caps}", FLUSH, end=w.good),
            200, "ng refs/heads/none the ref is gone"),
        "text instead of a pack": (w.receive(f"{ZERO} {w.new} refs/heads/x{caps}", FLUSH, end=b"hello, world\n" * 10),
            200, "unpack bad pack: it has no header"),
        "another push instead of a pack": (w.receive(f"{ZERO} {w.new} refs/heads/x{caps}", FLUSH,
            end=pkts(f"{ZERO} {w.new} refs/heads/y{caps}", FLUSH)), 200, "unpack bad pack: it has no header"),
    }
    for name in ("HEAD", "main", "refs", "refs/", "refs/x", "refs/heads/", "refs/heads/a..b", "refs/heads/a b",
        "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a/",
                 "refs//heads/a", "refs/heads/a~1", "refs/heads/a^", "refs/heads/a:b", "refs/heads/a?",
                     "refs/heads/a*", "refs/heads/[a", "refs/heads/a\\b",
                 "refs/heads/@{x", "refs/heads/a.", "../../etc/passwd", "refs/heads/../../../x", "refs/warren/x",
                     "refs/warren", "/refs/heads/x", "refs/heads/a\x01",
                 "refs/heads/a\x7f", "refs/heads/main/x"):
        out[f"the ref {name!r}"] = (line(ZERO, w.new, name), 200,
            rf"ng {re.escape(name)} (funny refname|refs/warren/ belongs|.* in the way)")
    return out


def zipped(w):
    """gzip, broken in every way, of a good fetch and a good push."""
    fetch = pkts(f"want {w.tip} side-band-64k\n", FLUSH, "done\n")
    push = pkt.push_body([(ZERO, NONE, "refs/heads/x")], w.good)
    bare = zlib.compressobj(wbits=-15)
    out = {}
    for what, service, body in (("fetch", "git-upload-pack", fetch), ("push", "git-receive-pack", push)):
        good = gzip.compress(body, mtime=0)
        bad = {
            "nothing": b"", "half a header": good[:5], "a header alone": good[:10],
                "cut in the middle": good[:len(good) // 2], "cut before the checksum": good[:-8],
            "cut in the checksum": good[:-6], "cut in the length": good[:-2],
                "a wrong checksum": good[:-8] + bytes(4) + good[-4:],
            "a wrong length": good[:-4] + b"\1\2\3\4", "a byte behind": good + b"\0",
                "rubbish behind": good + b"rubbish" * 100, "another member behind": good + good,
            "a wrong magic": b"\x1f\x8c" + good[2:], "a wrong method": good[:2] + b"\7" + good[3:],
                "reserved flags": good[:3] + b"\xe0" + good[4:],
            "a name that never ends": good[:3] + b"\x08" + good[4:10] + b"x" * 3000,
                "a wrong header checksum": good[:3] + b"\x02" + good[4:10] + b"xx" + good[10:],
            "text": b"hello", "what is not zipped": body, "zlib's own form": zlib.compress(body),
                "gzip of gzip": gzip.compress(good),
        }
        if what == "fetch":
            del bad["nothing"]  # as git asks whether its credential is good
        for name, data in bad.items():
            out[f"gzip of a {what}: {name}"] = (w.post(service, data, Content_Encoding="gzip"),
                *(PACKET if name == "gzip of gzip" else ZIP))
        for coding in ("deflate", "br", "compress", "zstd", "gzip, gzip", "gzip,identity", "x", "gzip;q=1", "g zip",
            ""):
            out[f"the encoding {coding!r} of a {what}"] = (w.post(service, good, Content_Encoding=coding),
                *(CODING if coding else PACKET))
    piece = zlib.compressobj(9, wbits=31)
    bomb = piece.compress(b"0000" * (1 << 18)) + b"".join(piece.compress(b"0000" * (1 << 18))
        for _ in range(200)) + piece.flush()
    out["200 MB of flushes in a gzip, as a fetch"] = (w.post("git-upload-pack", bomb, Content_Encoding="gzip"), *LARGE)
    out["200 MB of flushes in a gzip, as a version 2 fetch"] = (w.post("git-upload-pack", bomb, version=2,
        Content_Encoding="gzip"), *LARGE)
    out["200 MB of flushes in a gzip, as a push"] = (w.post("git-receive-pack", bomb, Content_Encoding="gzip"), *LARGE)
    zeros = zlib.compressobj(9, wbits=31)
    tail = zeros.compress(pkt.push_body([(ZERO, NONE, "refs/heads/x")],
        b"PACK\0\0\0\2\0\0\0\1")) + b"".join(zeros.compress(bytes(1 << 20)) for _ in range(200)) + zeros.flush()
    out["200 MB of zeros behind a pack's header"] = (w.post("git-receive-pack", tail, Content_Encoding="gzip"), 400,
        "a wrong header in the entry")
    return out


def http(w):
    """What is no request of Git's at all."""
    refs = f"/{w.repo.id}/info/refs?service=git-upload-pack"
    post = lambda path, kind, **headers: w.head("POST", path, {"Content-Type": kind, **headers}, 4) + b"0000"
    up, down = f"/{w.repo.id}.git/git-upload-pack", f"/{w.repo.id}.git/git-receive-pack"
    out = {f"Content-Type {kind!r} of a fetch": (post(up, kind), *TYPE) for kind in (
        "", "text/plain", PACK, "application/json", "application/x-git-upload-pack-advertisement",
            "application/x-git-upload-pack-requestx", "x" * 2000, FETCH + ",x")}
    out |= {f"Content-Type {kind!r} of a push": (post(down, kind), *TYPE)
        for kind in ("", FETCH, "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")}
    out["no Content-Type"] = (w.head("POST", up, {}, 4) + b"0000", *TYPE)
    out |= {f"{method} of {path.rsplit('/', 1)[1][:20]}": (w.head(method, path, {}, 0), *METHOD) for method, path in (
        ("GET", up), ("GET", down), ("PUT", up), ("DELETE", down), ("PATCH", up), ("TRACE", up), ("BREW", up),
            ("POST", refs), ("PUT", refs), ("CONNECT", refs), ("get", refs))}
    for service in ("", "git-upload-archive", "git-upload-packx", "upload-pack", "git-receive-pack%00",
        "GIT-UPLOAD-PACK", "../x", "git%2Dupload%2Dpack%20", "%zz"):
        out[f"the service {service!r}"] = (w.get(f"/{w.repo.id}/info/refs?service={service}"),
            *(ESCAPE if "%00" in service or "%zz" in service else SERVICE))
    out["no service"] = (w.get(f"/{w.repo.id}/info/refs"), *SERVICE)
    out["two services"] = (w.get(f"/{w.repo.id}/info/refs?service=git-upload-pack&service=git-receive-pack"), 200,
        "service=git-upload-pack")
    i, there = w.repo.id, (200, "service=git-upload-pack")
    paths = {
        ESCAPE: ["/ID%00", "/ID.git%00.git", "/%zz", "/%", "/ID%2"],
        ROUTE: ["//ID", "/ID/", "/ID/info/", "/./ID", "/x/../ID", "/ID/../ID", "", "/.git", "/ID/info/refs/x",
            "/" + "a/" * 500],
        REPOSITORY: ["/ID.git.git", "/ID.GIT", "/ID0", "/{ID}", "/..%2f..%2fetc%2fpasswd", "/%2e%2e", "/ID%20",
            "/ID;x", "/ID%2f", f"/{i[:-1]}",
                     f"/{i.replace('-', '')}", f"/{ZERO[:8]}-0000-0000-0000-000000000000", f"/{w.other.id}",
                         "/" + "x" * 3000, "/git", "/%ff"],
        there: [f"/{i.upper()}", "/%49D".replace("%49D", f"%{ord(i[0]):x}{i[1:]}")],
    }
    for says, names in paths.items():
        for n, name in enumerate(names):
            out[f"the path {name.replace(i, 'ID')[:60]!r} ({says[0]}, {n})"] = (
                w.get(name.replace("ID", i) + "/info/refs?service=git-upload-pack"), *says)
    for name in ("HEAD", "objects/info/packs", "config", "info/refs/x", "info%2frefs", "warren/current",
        "git-upload-archive", "../x.git/HEAD"):
        out[f"the file {name!r}"] = (w.get(f"/{i}.git/{name}?service=git-upload-pack"), *ROUTE)
    for header in ("version=3", "version=2:version=x", "version=-1", "version=99999999999999999999", "x" * 3000,
        ":::::", "version=2\0", "version", "\xff\xfe"):
        out[f"Git-Protocol {header[:30]!r}"] = (w.get(refs, headers={"Git-Protocol": header}), 200,
            "^(# service=git-upload-pack|version 2\n)")
    for name, value in {"no credential": None, "an empty one": "", "another scheme": "Digest x",
        "a wrong key": "Bearer wrk_" + "x" * 40, "a broken Basic": "Basic !!!", "a Basic without a colon": "Basic eHg=",
                        "a very long key": "Bearer " + "x" * 6000, "a NUL in Basic": "Basic eDoAAAA="}.items():
        out[f"{name} for a push"] = (w.head("POST", down, {"Content-Type": PACK, "Authorization": value}, 4,
            credential=False) + b"0000", *CREDENTIAL)
    return out


def wire(w):
    """What is hardly HTTP. Some of it libmicrohttpd answers by itself."""
    host, key = "Host: x\r\n", f"Authorization: Bearer {w.account.key}\r\n"
    refs = f"/{w.repo.id}/info/refs?service=git-upload-pack"
    good = f"GET {refs} HTTP/1.1\r\n{host}{key}\r\n".encode()
    line = lambda text: (text.encode() + b"\r\n" + host.encode() + b"\r\n", *MALFORMED)
    more = lambda rows, status, says: (good[:-2] + rows + b"\r\n\r\n", status, says)
    chunked = lambda service, kind, body: w.head("POST", f"/{w.repo.id}.git/{service}", {
        "Content-Type": kind, "Transfer-Encoding": "chunked"}) + body
    return {
        # Nothing of it looks like the end of a header, so that it could go on; the header's deadline ends it.
        "a hello of TLS": (bytes.fromhex("160301020001000001fc0303") + bytes(300), None, ""),
        "NULs": (bytes(1000), None, ""),
        "a header that does not end": (good[:-2], None, ""),
        "a hello of SSH": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", (0, 400), ""),
        "the git protocol": (b"0032git-upload-pack /x\0host=x\0\r\n\r\n", *MALFORMED),
        "the beginning of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, ""),
        "HTTP/0.9": (f"GET {refs}\r\n\r\n".encode(), *MALFORMED),
        "HTTP/3.7": (f"GET {refs} HTTP/3.7\r\n{host}\r\n".encode(), 505, ""),
        "no version": line(f"GET {refs} "),
        "no path": line("GET HTTP/1.1"),
        "an empty method": (f" {refs} HTTP/1.1\r\n{host}\r\n".encode(), (0, 400), ""),
        "random bytes": (bytes(range(256)) * 4 + b"\r\n\r\n", *MALFORMED),
        "no host": (f"GET {refs} HTTP/1.1\r\n{key}\r\n".encode(), 400, "one Host"),
        "two hosts": more(host.encode()[:-2], 400, "one Host"),
        "two credentials": more(key.encode()[:-2], 400, "one Authorization"),
        "a space in the path": (f"GET /{w.repo.id} x/info/refs HTTP/1.1\r\n{host}{key}\r\n".encode(), 400,
            "percent-encoded"),
        "a header of 20 KB": more(b"X: " + b"x" * 20_000, 431, ""),
        "300 headers": more(b"X: y\r\n" * 299 + b"X: y", 431, ""),
        "a header without a colon": more(b"nonsense", *MALFORMED),
        "a header name with a space": more(b"X : a", 400, "malformed"),
        "a header with a control character": more(b"X: a\x01b", 400, "malformed"),
        "a URL of 20 KB": (good.replace(b"/info", b"/" + b"x" * 20_000 + b"/info"), 414, ""),
        "two lengths": more(b"Content-Length: 4\r\nContent-Length: 5", 400, "given twice"),
        # libmicrohttpd 0.9.75 puts a second head before the body of these.
        "a negative length": more(b"Content-Length: -1", 400, "Bad Request"),
        "a length that is no number": more(b"Content-Length: four", 400, "Bad Request"),
        "a length of 2^80": more(b"Content-Length: 1208925819614629174706176", 413, ""),
        "length and chunks": more(b"Content-Length: 4\r\nTransfer-Encoding: chunked", 400, "given twice"),
        "an unknown transfer encoding": more(b"Transfer-Encoding: gzip", 400, "transfer encoding"),
        "a chunk of 2^64": (chunked("git-upload-pack", FETCH, b"10000000000000000\r\n0000"), 413, ""),
        "a chunk of no size": (chunked("git-upload-pack", FETCH, b"xyz\r\n0000\r\n0\r\n\r\n"), *MALFORMED),
        "a chunk longer than it says": (chunked("git-receive-pack", PACK, b"2\r\n0000\r\n0\r\n\r\n"), *MALFORMED),
        "a chunk that is cut": (chunked("git-receive-pack", PACK, b"200\r\n0000"), None, ""),
    }


def pipelined(w):
    """Requests in one piece with rubbish behind, or with more behind than they say."""
    fetch = w.v2("fetch", f"want {w.tip}\n", "done\n")
    refs = w.get(f"/{w.repo.id}/info/refs?service=git-upload-pack")
    bad = w.v2("fetch", f"want {w.tip}\n", "done\n", end=b"")
    push = w.push((ZERO, NONE, "refs/heads/x"), pack=w.good)
    ok, advert, rubbish = (200, "PACK"), (200, "service=git-upload-pack"), ((0, 400), "")
    said = lambda length, body: w.head("POST", f"/{w.repo.id}.git/git-upload-pack", {"Content-Type": FETCH},
        length) + body
    return [
        Case("rubbish behind a fetch", fetch + b"rubbish\r\n\r\n", *ok, more=[rubbish]),
        Case("NULs behind a fetch", fetch + bytes(100) + b"\r\nrubbish\r\n\r\n", *ok, more=[rubbish]),
        Case("rubbish behind a list of refs", refs + b"\x16\x03\x01 x\r\n\r\n", *advert, more=[rubbish]),
        Case("a response behind a fetch", fetch + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", *ok,
            more=[((400, 505), "")]),
        Case("two fetches and rubbish", fetch * 2 + b"rubbish\r\n\r\n", *ok, more=[ok, rubbish]),
        Case("a hundred requests and rubbish", refs * 100 + b"rubbish\r\n\r\n", *advert,
            more=[advert] * 99 + [rubbish]),
        Case("a refused fetch, a good one and rubbish", bad + fetch + b"rubbish\r\n\r\n", 400, "flush",
            more=[ok, rubbish]),
        Case("a refused push, a fetch and rubbish", push + fetch + b"rubbish\r\n\r\n", *UNKNOWN, more=[ok, rubbish]),
        Case("a body that is longer than said", said(4, b"0000rubbish\r\n\r\n"), 200, "^$", more=[rubbish]),
        Case("a pack behind a push without one", w.receive(FLUSH) + w.good + b"\r\n\r\n", 200, "^$", more=[rubbish]),
        Case("a request within a request's body", said(len(refs), refs), *PACKET),
        Case("a request behind one that was not read",
            w.head("POST", f"/{w.repo.id}.git/git-upload-pack", {"Content-Type": FETCH}, 1 << 40) +
             refs, *LARGE),
        Case("a request behind one of two lengths",
            refs[:-2] + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + refs, 400, "given twice",
             more=[(0, "")]),
    ]


def cases(w, *groups):
    for group in groups:
        for name, (request, status, says) in group(w).items():
            yield Case(f"{group.__name__}: {name}", request, status, f"(?m){says}")


@test
def each_request_has_its_refusal(t):
    w = World(t)
    expect(w.run(list(cases(w, framing, specials, fetches, limits, pushes))) >= 300, "cases of hostile requests")


@test
def each_broken_wrapping_has_its_refusal(t):
    w = World(t)
    expect(w.run([*cases(w, zipped, http, wire), *pipelined(w)]) >= 150, "cases of hostile wrappings")


@test
def cut_anywhere(t):
    """Good requests that end at any byte: refused where their length says so too, else the client leaves."""
    w = World(t)
    bodies = {
        "fetch": ("git-upload-pack", pkts(f"want {w.tip} side-band-64k\n", FLUSH, f"have {NONE}\n", "done\n"), None),
        "version 2": ("git-upload-pack", pkts("command=fetch\n", DELIM, f"want {w.tip}\n", "done\n", FLUSH), 2),
        "ls-refs": ("git-upload-pack", pkts("command=ls-refs\n", DELIM, "peel\n", FLUSH), 2),
        "push": ("git-receive-pack", pkt.push_body([(ZERO, w.new, "refs/heads/x")], w.good), None),
    }
    for name, (service, body, version) in bodies.items():
        cut = []
        for n in range(1, len(body)):
            # Where only "done" is missing the client has asked for its turn, and gets it.
            asked = name == "fetch" and body[:n] in (pkts(f"want {w.tip} side-band-64k\n", FLUSH),)
            report = name == "push" and n >= len(body) - len(w.good)
            status, says = (200, "") if asked else (200, "^unpack (?!ok)") if report else (400, "end|begin|length")
            cut.append(Case(f"{name}, cut at {n}", w.post(service, body[:n], version=version), status, f"(?m){says}"))
        w.run(cut)
        whole = w.post(service, body, version=version)
        w.run([Case(f"{name}, the client leaves after {n} bytes", whole[:n], None) for n in range(1, len(whole), 5)])
