"""upload-pack to the byte: advertisements, ls-refs, fetch, negotiation, nonsense."""
import gzip
import hashlib
import http.client
import struct
import tempfile
import zlib

from harness import expect, same, test
from harness.core import sanitized
from harness.pkt import DELIM, FLUSH, bands, lines, parse, pkts

IN_MEMORY = True
COST = 2
TYPE = {"Content-Type": "application/x-git-upload-pack-request"}


class World:
    def __init__(self, t):
        self.repo = t.account.repo()
        self.api = self.repo.account.api
        self.work = t.git.init(t.path("work"))
        self.commits = [t.git.commit(self.work, {"f": f"{i}\n", f"g{i}": "x"}, f"c{i}") for i in range(6)]
        t.git("tag", "-a", "-m", "tag", "v1", "HEAD~2", cwd=self.work)
        t.git("branch", "side", "HEAD~1", cwd=self.work)
        t.git("push", "-q", self.repo.url(), "main", "side", "v1", cwd=self.work)
        self.tag = t.git.rev(self.work, "v1")
        self.tip, self.git = self.commits[-1], t.git

    def refs(self, version=0, service="git-upload-pack"):
        headers = {"Git-Protocol": f"version={version}"} if version else {}
        return self.api.get(f"/{self.repo.id}/info/refs?service={service}", headers=headers)

    def post(self, body, version=0, **headers):
        sent = {**TYPE, **({"Git-Protocol": f"version={version}"} if version else {})}
        sent.update({k.replace("_", "-"): v for k, v in headers.items()})
        return self.api.post(f"/{self.repo.id}.git/git-upload-pack", body, headers=sent)

    def v2(self, command, *args, **headers):
        return self.post(pkts(f"command={command}\n", "object-format=sha1\n", DELIM, *[a + "\n" for a in args], FLUSH), 2, **headers)

    def ids_of(self, pack):
        """The ids in a pack, by git; the pack has to be whole and self-contained."""
        expect(pack[:4] == b"PACK" and hashlib.sha1(pack[:-20]).digest() == pack[-20:], "a pack with its checksum")
        with tempfile.TemporaryDirectory() as folder:
            self.git("init", "-q", "--bare", folder)
            self.git("unpack-objects", "-q", cwd=folder, data=pack)
            out = self.git("cat-file", "--batch-all-objects", "--batch-check", cwd=folder)
        return {line.split()[0] for line in out.splitlines()}


def check_git_reply(reply, kind):
    same(reply.status, 200, f"{reply.what}: status, with {reply.body[:200]!r}")
    same(reply.header("Content-Type"), f"application/x-{kind}", "Content-Type")
    expect("no-cache" in reply.header("Cache-Control"), "Cache-Control", reply.header("Cache-Control"))


@test
def the_advertisement_of_version_0(t):
    w = World(t)
    reply = w.refs()
    check_git_reply(reply, "git-upload-pack-advertisement")
    rows = lines(reply.body)
    same(rows[:2], ["# service=git-upload-pack", None], "the service line")
    first, capabilities = rows[2].split("\0")
    same(first, f"{w.tip} HEAD", "HEAD comes first")
    words = capabilities.split()
    for word in ("ofs-delta", "thin-pack", "side-band-64k", "include-tag", "shallow", "no-progress", "multi_ack_detailed",
                 "symref=HEAD:refs/heads/main", "object-format=sha1"):
        expect(word in words, f"capability {word}", words)
    expect(any(word.startswith("agent=") for word in words), "agent", words)
    same(rows[3:], [f"{w.tip} refs/heads/main", f"{w.commits[-2]} refs/heads/side", f"{w.tag} refs/tags/v1",
                    f"{w.commits[-3]} refs/tags/v1^{{}}", None], "refs in order, tags peeled")


@test
def the_advertisement_of_version_1(t):
    w = World(t)
    rows = lines(w.refs(1).body)
    same(rows[:3], ["# service=git-upload-pack", None, "version 1"], "version line")
    same(rows[3].split("\0")[0], f"{w.tip} HEAD", "then as in version 0")


@test
def the_advertisement_of_version_2(t):
    w = World(t)
    rows = lines(w.refs(2).body)
    same((rows[0], rows[-1]), ("version 2", None), "first and last")
    names = [row.split("=")[0] for row in rows[1:-1]]
    for name in ("agent", "ls-refs", "fetch", "object-format"):
        expect(name in names, f"capability {name}", rows)
    expect(w.tip not in str(rows), "no refs in it")


@test
def versions_that_do_not_exist_mean_version_0(t):
    w = World(t)
    for header in ("version=3", "version=x", "nonsense", "", "version=", "version=99999999999", "x=y:z"):
        reply = w.api.get(f"/{w.repo.id}/info/refs?service=git-upload-pack", headers={"Git-Protocol": header})
        expect(b" HEAD\0" in reply.body, header, reply.body[:100])
    reply = w.api.get(f"/{w.repo.id}/info/refs?service=git-upload-pack", headers={"Git-Protocol": "x=y:version=1:version=2"})
    expect(b"version 2" in reply.body, "the highest known one counts")


@test
def the_advertisement_of_an_empty_repository(t):
    repo = t.account.repo()
    api = repo.account.api
    for service in ("git-upload-pack", "git-receive-pack"):
        rows = lines(api.get(f"/{repo.id}/info/refs?service={service}").body)
        same(rows[0], f"# service={service}", "the service line")
        same(rows[2].split("\0")[0], f"{'0' * 40} capabilities^{{}}", "capabilities without refs")
        same(rows[3:], [None], "nothing more")


@test
def ls_refs(t):
    w = World(t)
    whole = [f"{w.tip} HEAD", f"{w.tip} refs/heads/main", f"{w.commits[-2]} refs/heads/side", f"{w.tag} refs/tags/v1"]
    reply = w.v2("ls-refs")
    check_git_reply(reply, "git-upload-pack-result")
    same(lines(reply.body), [*whole, None], "all")
    same(lines(w.v2("ls-refs", "peel", "symrefs").body),
         [f"{w.tip} HEAD symref-target:refs/heads/main", *whole[1:3], f"{whole[3]} peeled:{w.commits[-3]}", None], "peel, symrefs")
    same(lines(w.v2("ls-refs", "ref-prefix refs/heads/").body), [*whole[1:3], None], "a prefix")
    same(lines(w.v2("ls-refs", "ref-prefix refs/heads/s", "ref-prefix HEAD").body), [whole[0], whole[2], None], "two prefixes")
    same(lines(w.v2("ls-refs", "ref-prefix refs/heads/main/").body), [None], "a prefix of nothing")
    same(lines(w.v2("ls-refs", "ref-prefix ref").body), [*whole[1:], None], "half a word")


@test
def ls_refs_of_an_unborn_branch(t):
    repo = t.account.repo(defaultBranch="trunk")
    body = pkts("command=ls-refs\n", DELIM, "symrefs\n", "unborn\n", FLUSH)
    reply = repo.account.api.post(f"/{repo.id}/git-upload-pack", body, headers={**TYPE, "Git-Protocol": "version=2"})
    same(lines(reply.body), ["unborn HEAD symref-target:refs/heads/trunk", None], "unborn")


@test
def a_fetch_in_version_2(t):
    w = World(t)
    reply = w.v2("fetch", f"want {w.tip}", "done", "ofs-delta", "no-progress")
    check_git_reply(reply, "git-upload-pack-result")
    packets = parse(reply.body)
    same(packets[0], b"packfile\n", "the section")
    same(w.ids_of(bands(packets[1:])[1]), w.git.objects(w.work, "main"), "the objects")
    part = w.v2("fetch", f"want {w.tip}", f"have {w.commits[2]}", "done", "no-progress")
    packets = parse(part.body)
    same(packets[0], b"packfile\n", "no acknowledgments after done")
    wanted = w.git.objects(w.work, "main") - w.git.objects(w.work, w.commits[2])
    same(w.ids_of(bands(packets[1:])[1]), wanted, "only what is new")


@test
def negotiation_in_version_2(t):
    w = World(t)
    rows = lines(w.v2("fetch", f"want {w.tip}", "have " + "1" * 40).body)
    same(rows, ["acknowledgments", "NAK", None], "nothing in common")
    body = w.v2("fetch", f"want {w.tip}", "have " + "1" * 40, f"have {w.commits[1]}", "no-progress").body
    packets = parse(body)
    same(packets[:2], [b"acknowledgments\n", f"ACK {w.commits[1]}\n".encode()], "the common commit")
    if packets[2] == b"ready\n":
        same(packets[3:5], [1, b"packfile\n"], "then the pack at once")
        same(w.ids_of(bands(packets[5:])[1]), w.git.objects(w.work, "main") - w.git.objects(w.work, w.commits[1]), "objects")
    else:
        same(packets[2:], [None], "the end of the round")


@test
def an_up_to_date_fetch_is_an_empty_pack(t):
    w = World(t)
    packets = parse(w.v2("fetch", f"want {w.tip}", f"have {w.tip}", "done", "no-progress").body)
    pack = bands(packets[1:])[1]
    same(struct.unpack(">4sII", pack[:12]), (b"PACK", 2, 0), "an empty pack")


@test
def a_fetch_in_version_0(t):
    w = World(t)
    caps = "side-band-64k ofs-delta no-progress agent=test"
    reply = w.post(pkts(f"want {w.tip} {caps}\n", FLUSH, "done\n"))
    check_git_reply(reply, "git-upload-pack-result")
    packets = parse(reply.body)
    same(packets[0], b"NAK\n", "NAK")
    same(w.ids_of(bands(packets[1:])[1]), w.git.objects(w.work, "main"), "the objects")
    reply = w.post(pkts(f"want {w.tip} ofs-delta\n", FLUSH, "done\n"))
    same(reply.body[:8], b"0008NAK\n", "without a side band")
    same(w.ids_of(reply.body[8:]), w.git.objects(w.work, "main"), "the bare pack")
    reply = w.post(pkts(f"want {w.tip} side-band no-progress\n", FLUSH, "done\n"))
    packets = parse(reply.body)
    expect(all(p is None or len(p) <= 996 for p in packets), "small packets for the small side band")
    same(w.ids_of(bands(packets[1:])[1]), w.git.objects(w.work, "main"), "by the small side band")


@test
def negotiation_in_version_0(t):
    w = World(t)
    reply = w.post(pkts(f"want {w.tip} side-band-64k multi_ack_detailed no-progress\n", FLUSH, "have " + "1" * 40 + "\n", FLUSH))
    same(lines(reply.body), ["NAK"], "nothing in common")
    reply = w.post(pkts(f"want {w.tip} side-band-64k multi_ack_detailed no-progress\n", FLUSH, f"have {w.commits[1]}\n", FLUSH))
    rows = lines(reply.body)
    expect(rows[0] in (f"ACK {w.commits[1]} common", f"ACK {w.commits[1]} ready"), "acknowledged", rows)
    same(rows[-1], "NAK", "the end of the round")
    reply = w.post(pkts(f"want {w.tip} side-band-64k multi_ack_detailed no-progress\n", FLUSH, f"have {w.commits[1]}\n", "done\n"))
    packets = parse(reply.body)
    last = max(i for i, p in enumerate(packets) if p and p.startswith(b"ACK"))
    same(packets[last], f"ACK {w.commits[1]}\n".encode(), "the final ACK")
    same(w.ids_of(bands(packets[last + 1:])[1]), w.git.objects(w.work, "main") - w.git.objects(w.work, w.commits[1]), "objects")


@test
def depth_in_both_versions(t):
    w = World(t)
    packets = parse(w.v2("fetch", f"want {w.tip}", "deepen 2", "done", "no-progress").body)
    same([packets[0], packets[1].rstrip(b"\n"), *packets[2:4]],
         [b"shallow-info\n", f"shallow {w.commits[-2]}".encode(), 1, b"packfile\n"], "version 2")
    two = w.git.objects(w.work, w.tip, f"^{w.commits[-3]}")
    got = w.ids_of(bands(packets[4:])[1])
    expect(two <= got and w.commits[-3] not in got, "two commits and all they need")
    reply = w.post(pkts(f"want {w.tip} side-band-64k shallow no-progress\n", "deepen 2\n", FLUSH, "done\n"))
    packets = parse(reply.body)
    same([packets[0].rstrip(b"\n"), *packets[1:3]], [f"shallow {w.commits[-2]}".encode(), None, b"NAK\n"], "version 0")
    same(w.ids_of(bands(packets[3:])[1]), got, "the same objects")


@test
def what_no_ref_reaches_is_not_given(t):
    w = World(t)
    hidden = w.git.commit(w.work, {"hidden": "1"})
    w.git("push", "-q", w.repo.url(), "main", cwd=w.work)
    w.git("push", "-q", "-f", w.repo.url(), "main~1:main", cwd=w.work)
    blob, tree = w.git.rev(w.work, "HEAD:hidden"), w.git.rev(w.work, "HEAD^{tree}")
    for oid in (hidden, blob, tree, "1" * 40, "0" * 40):
        for reply in (w.v2("fetch", f"want {oid}", "done"), w.post(pkts(f"want {oid} side-band-64k\n", FLUSH, "done\n"))):
            expect(b"PACK" not in reply.body, f"no pack for {oid}")
            expect(reply.status == 400 or (b"ERR " in reply.body and b"not our ref" in reply.body), "refused", reply.status, reply.body)
    for reply in (w.v2("fetch", f"want {w.tip}", f"want {hidden}", "done"),):
        expect(b"PACK" not in reply.body, "one bad want among good ones")


@test
def gzip_bodies(t):
    w = World(t)
    body = pkts(f"want {w.tip} no-progress\n", FLUSH, "done\n")
    wanted = w.post(body).body
    for kind in ("gzip", "x-gzip"):
        same(w.post(gzip.compress(body), Content_Encoding=kind).body, wanted, kind)
    same(w.post(body, Content_Encoding="identity").body, wanted, "identity")
    for bad in (b"", b"x", gzip.compress(body)[:-9], gzip.compress(body)[:12], b"\x1f\x8b" + b"\xff" * 50, body,
                gzip.compress(body)[:-4] + b"\0\0\0\0" if gzip.compress(body)[-4:] != b"\0\0\0\0" else b"x"):
        reply = w.post(bad, Content_Encoding="gzip")
        expect(reply.status == 400 or (bad == b"" and reply.status == 200), "damaged gzip", reply.status, bad[:20])
    for kind in ("br", "deflate", "gzip, gzip", "zstd"):
        expect(w.post(body, Content_Encoding=kind).status in (400, 415), kind)
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join([bomb.compress(b"0000" * 250_000) for _ in range(100)] + [bomb.flush()])
    before = w.repo.account.server.rss_anon()
    same(w.post(packed, Content_Encoding="gzip").status, 413, "100 MB in a small gzip")
    if not sanitized():
        expect(w.repo.account.server.rss_anon() - before < 64_000_000, "memory after it")


@test
def chunked_bodies(t):
    w = World(t)
    body = pkts(f"want {w.tip} no-progress\n", FLUSH, "done\n")
    wanted = w.post(body).body
    for size in (1, 7, 1000):
        pieces = iter([body[i:i + size] for i in range(0, len(body), size)])
        w.api.close()
        connection = http.client.HTTPConnection(w.api.host, w.api.port, timeout=60)
        connection.request("POST", f"/{w.repo.id}/git-upload-pack", body=pieces, encode_chunked=True,
                           headers={**TYPE, "Transfer-Encoding": "chunked", "Authorization": f"Bearer {w.repo.account.key}"})
        same(connection.getresponse().read(), wanted, f"chunks of {size}")
        connection.close()


@test
def nonsense_is_400_before_any_200(t):
    w = World(t)
    for body in (b"x", b"zzzz", b"00", b"0003", b"fffff", b"ffff", b"0010short", b"-001", b"0x10", b" 004", b"000G",
                 b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\xff" * 100, pkts("nonsense\n", FLUSH), pkts("want x\n", FLUSH),
                 pkts(f"want {w.tip[:39]}\n", FLUSH), pkts(f"want {w.tip}x\n", FLUSH), pkts(f"have {w.tip}\n", FLUSH),
                 pkts(f"want {w.tip}\n", "deepen x\n", FLUSH, "done\n"), pkts(f"want {w.tip}\n", "deepen -1\n", FLUSH, "done\n"),
                 pkts(f"want {w.tip}\n", "shallow x\n", FLUSH, "done\n"), pkts(f"want {w.tip}\n", FLUSH, "have x\n", FLUSH),
                 pkts(f"want {w.tip}\n", FLUSH, "nonsense\n"), pkts(f"want {w.tip}\n", FLUSH) + b"00"):
        for version in (0, 1):
            reply = w.post(body, version)
            expect(reply.status == 400 or (reply.status == 200 and reply.body[4:8] == b"ERR "), "refused", version, body, reply.status,
                   reply.body[:100])
            if body[:4] in (b"zzzz", b"0003", b"0x10", b" 004", b"-001", b"000G"):
                same(reply.status, 400, f"bad framing {body!r}")
    for body in (b"x", b"zzzz", b"0003", b"0010short", pkts("nonsense\n", FLUSH), pkts("command=nonsense\n", FLUSH),
                 pkts("command=fetch\n", DELIM, "nonsense\n", FLUSH), pkts("command=fetch\n", DELIM, "want x\n", FLUSH),
                 pkts("command=fetch\n", DELIM, f"want {w.tip}\n"), pkts("command=ls-refs\n", DELIM, "nonsense x\n", FLUSH),
                 pkts("command=fetch\n", "command=ls-refs\n", FLUSH), pkts("command=\n", FLUSH), pkts(DELIM, FLUSH),
                 pkts("command=fetch\n", DELIM, DELIM, FLUSH), pkts("command=fetch\n", "object-format=sha256\n", DELIM, FLUSH),
                 pkts("command=fetch\n", DELIM, f"want {w.tip}\n", "deepen 0x1\n", "done\n", FLUSH),
                 pkts("command=fetch\n", DELIM, f"want {w.tip}\n", "done\n", FLUSH) + b"00"):
        reply = w.post(body, 2)
        expect(reply.status == 400 or (reply.status == 200 and reply.body[4:8] == b"ERR "), "refused", body, reply.status, reply.body[:100])


@test
def empty_requests_answer_nothing(t):
    w = World(t)
    for body in (b"", b"0000"):
        for version in (0, 1, 2):
            reply = w.post(body, version)
            same((reply.status, reply.body), (200, b""), f"{body!r} in version {version}")


@test
def a_wrong_content_type_is_415(t):
    w = World(t)
    for kind in ("application/json", "text/plain", "application/x-git-receive-pack-request", "application/x-www-form-urlencoded", ""):
        same(w.api.post(f"/{w.repo.id}/git-upload-pack", b"0000", headers={"Content-Type": kind}).status, 415, kind)
    same(w.api.post(f"/{w.repo.id}/git-upload-pack", b"0000").status, 415, "none")


@test
def a_request_body_has_a_bound(t):
    server = t.own_server(config="[git]\nmax_fetch_request = 64k\nmax_wants = 10\nmax_haves = 20\n")
    account = server.account()
    repo = account.repo()
    post = lambda body, v: account.api.post(f"/{repo.id}/git-upload-pack", body, headers={**TYPE, "Git-Protocol": f"version={v}"})
    have = lambda n: [f"have {i:040x}\n" for i in range(1, n + 1)]
    want = lambda n: [f"want {i:040x}\n" for i in range(1, n + 1)]
    same(post(pkts("command=fetch\n", DELIM, *have(2000), FLUSH), 2).status, 413, "too many bytes")
    for body, version in ((pkts("command=fetch\n", DELIM, *have(30), FLUSH), 2), (pkts("command=fetch\n", DELIM, *want(11), FLUSH), 2),
                          (pkts(*want(11), FLUSH, "done\n"), 0), (pkts(*want(1), FLUSH, *have(30), FLUSH), 0)):
        reply = post(body, version)
        expect(reply.status == 400 or reply.body[4:8] == b"ERR ", "too many lines", reply.status, reply.body[:100])
