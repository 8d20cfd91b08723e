"""Pushed objects are checked as git's receive.fsckObjects checks them: the same verdicts, with git's message ids."""
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from harness import expect, pkt, same, test
from harness.pkt import BLOB, COMMIT, REF_DELTA, TAG, TREE
from harness.raw import Objects, Wire
from harness.server import run_warren

CONCURRENT = True
IN_MEMORY = True
COST = 5
EMPTY = pkt.oid(BLOB, b"")
IDENT = b"A U Thor <author@example.com> 1700000000 +0000"
FAULT = re.compile(r"^error: object ([0-9a-f]{40}): (\w+): ", re.M)


class Judge:
    """git index-pack --strict, which is what receive.fsckObjects runs."""

    def __init__(self, t):
        self.t, self.count = t, 0
        self.repo = t.path("judge.git")
        t.git("init", "-q", "--bare", self.repo)

    def __call__(self, pack):
        """(accepted, [message ids in git's order])"""
        self.count += 1
        path = self.t.write(f"{self.count}.pack", pack)
        done = subprocess.run(["git", "index-pack", "--strict", path], cwd=self.repo, env=self.t.git.env,
                              stdin=subprocess.DEVNULL, capture_output=True)
        return done.returncode == 0, [m[1] for m in FAULT.findall(done.stderr.decode(errors="replace"))]


def same_git(t):
    """Message ids come and go with git's versions; Warren's are those of 2.39."""
    version = t.git("--version")
    if " 2.39." not in version:
        t.skip(f"the judge has to be git 2.39: {version.strip()}")


class Push:
    """Packs of some objects, pushed into a repository; what is refused leaves nothing there, so one serves for all."""

    def __init__(self, t, server=None):
        account = (server or t.server).account()
        self.repo = account.repo()
        self.wire = Wire((server or t.server).url, account.key)
        (server or t.server).clients.append(self.wire)
        self.count = 0

    def __call__(self, tip, pack):
        """(accepted, message id or None, the sentence)"""
        self.count += 1
        said = self.wire.push(self.repo.id, {f"refs/x/{self.count}": (None, tip)}, pack)
        if said.unpack == "ok":
            expect(said.ok, "a pack was taken and its ref not", said)
            return True, None, ""
        found = re.match(r"object ([0-9a-f]{40}): (\w+): ", said.unpack)
        return False, found.group(2) if found else None, said.unpack


def pack_of(*objects):
    """Each object once: git index-pack --strict refuses twins."""
    return pkt.pack([pkt.entry(kind, data) for kind, data in dict.fromkeys(objects)])


# ---- objects that are nearly right ----

IDENTS = [IDENT, b"A <a@b> 1 +0000", b"<a@b> 1 +0000", b" <a@b> 1 +0000", b"A <a@b> 1", b"A <a@b> 1 ", b"A <a@b>",
          b"A a@b 1 +0000", b"A <a@b>1 +0000", b"A<a@b> 1 +0000", b"A <a@b 1 +0000", b"A a@b> 1 +0000",
          b"A <a<b> 1 +0000", b"A >x< <a@b> 1 +0000", b"A <a@b> 01 +0000", b"A <a@b> 0 +0000", b"A <a@b> 00 +0000",
          b"A <a@b>  1 +0000", b"A <a@b> +1 +0000", b"A <a@b> -1 +0000", b"A <a@b> -0 +0000", b"A <a@b> x +0000",
          b"A <a@b> 1x +0000", b"A <a@b> 1.5 +0000", b"A <a@b> 9223372036854775807 +0000",
          b"A <a@b> 9223372036854775808 +0000", b"A <a@b> 99999999999999999999999 +0000",
          b"A <a@b> -18446744073709551615 +0000", b"A <a@b> 1 0000", b"A <a@b> 1 +000", b"A <a@b> 1 +00000",
          b"A <a@b> 1 -0800", b"A <a@b> 1 +0000 ", b"A <a@b> 1  +0000", b"A <a@b> 1 UTC", b"A <> 1 +0000", b"", b"A",
          b"A <a@b> \t1 +0000", b"A <a\xff@b> 1 +0000", b"\xff <a> 1 +0000", b"A <a@b> 1 +0\x000",
          b"A <a@b>\r 1 +0000", b"A <a@b> 1 +05:30"]


def scramble(random, data):
    """A byte more, less or other; or the end is gone."""
    at = random.randrange(len(data) + 1)
    kind = random.randrange(6)
    byte = random.choice([b"\0", b"\n", b" ", b"<", b">", b"0", b"x", b"\xff", b"\n\n", bytes([random.randrange(256)])])
    if kind == 0:
        return data[:at]
    if kind < 3:
        return data[:at] + byte + data[at:]
    if kind == 3:
        return data[:at] + data[at + 1:]
    return data[:at] + byte + data[at + 1:]


def shuffle_lines(random, data):
    lines = data.split(b"\n")
    kind, i, k = random.randrange(3), random.randrange(len(lines)), random.randrange(len(lines))
    if kind == 0:
        lines.pop(i)
    elif kind == 1:
        lines.insert(k, lines[i])
    else:
        lines[i], lines[k] = lines[k], lines[i]
    return b"\n".join(lines)


def mutate(random, data):
    for _ in range(random.choice([0, 1, 1, 1, 2])):
        data = random.choice([scramble, scramble, shuffle_lines])(random, data)
    return data


def commit_case(random):
    tree = pkt.oid(TREE, b"")
    ident = lambda: random.choice(IDENTS) if random.random() < 0.4 else IDENT
    rows = [b"tree " + tree.encode(), b"author " + ident(), b"committer " + ident()]
    extra = random.choice([[], [], [b"encoding latin-1"], [b"gpgsig x", b" y"], [b"author " + ident()]])
    data = b"\n".join(rows + extra) + b"\n\n" + random.choice([b"", b"text\n", b"text", b"te\0xt\n"])
    data = mutate(random, data)
    return pkt.oid(COMMIT, data), [(TREE, b""), (COMMIT, data)]


ENDS = [b"\n\ntext\n", b"\n\n", b"\n", b"", b"\nmore: x\n\ntext\n"]


def tag_case(random):
    kind = random.choice([b"blob", b"blob", b"blob", b"tree", b"commit", b"tag", b"blob ", b"Blob", b""])
    rows = [b"object " + EMPTY.encode(), b"type " + kind,
            b"tag " + random.choice([b"v1", b"a b", b"", b"x..y", b"/", b"\xff"]),
            b"tagger " + random.choice([IDENT, *IDENTS])]
    if random.random() < 0.15:
        rows.pop()
    data = mutate(random, b"\n".join(rows) + random.choice(ENDS))
    return pkt.oid(TAG, data), [(BLOB, b""), (TAG, data)]


NAMES = [b"a", b"a-", b"a.c", b"a.c.d", b"a0", b"aa", b"b", b"b.c", b"c", b"d", b"e", b"f"]
ODD = [b".", b"..", b"...", b".git", b".GIT", b".Git ", b".git.", b".git . .", b".git:x", b".git::$INDEX_ALLOCATION",
       b".gitx", b"git~1", b"GIT~1", b"git~1.", b"git~2", b"git~11", b"x\\.git", b"x\\GIT~1\\y", b".git\\x", b"x\\..",
       b"x\\.gitx", b"x/y", b"/", b"x/", b".git/x", b"a/.git", b".g\xe2\x80\x8cit", b"\xef\xbb\xbf.git",
       b".git\xe2\x81\xaf", b".git\xe2\x80\x90", b".git\xff", b".git\xe2\x80", b".git\xc0\xaf", b".gi\xfft",
       b".git\xef\xbf\xbf", b".git\xed\xa0\x80", b".git\xf0\x9f\x98\x80", b"\xe2\x80\xaa.git", b".git\xe2\x80\x8c/",
       b".gitmodules", b".GITMODULES", b".gitmodules ", b".gitmodules:x", b".gitmodules.x", b"gitmod~1", b"gitmod~4",
       b"gitmod~5", b"GITMOD~1. ", b"gi7eba~1", b"gi7eba~9", b"gi7eba~0", b"GI7EB~10", b"gi7e~123", b"gi7~1234",
       b"~1000000", b"gi7eba~1x", b"gi7eba~12", b"x\\.gitmodules", b"x\\gitmod~1", b"x\\.gitmodules\\y",
       b".gitm\xe2\x80\x8codules", b".gitmodules\xff", b".gitattributes", b".GitAttributes .", b"gitatt~1",
       b"gitatt~9", b"gi7d29~1", b"x\\.gitattributes", b".gitattribute\xe2\x80\x8cs", b".gitignore", b"gitign~1",
       b".mailmap", b"mailma~1", b" ", b"\n", b"\\", b"~", b"g~", b"\xff"]
MODES = [b"100644", b"100755", b"120000", b"40000"]
ODD_MODES = [b"160000", b"100664", b"0100644", b"040000", b"100600", b"10644", b"0", b"00", b"777777", b"120644",
             b"40755", b"160755", b"177777", b"77777777777", b"200000100644", b"37777740000", b"644", b"8", b"",
             b"100644 "]


def tree_case(random):
    rows = []
    for _ in range(random.randint(1, 7)):
        name = random.choice(ODD if random.random() < 0.2 else NAMES)
        mode = random.choice(ODD_MODES if random.random() < 0.06 else MODES)
        rows.append((name, mode))
    if random.random() < 0.9:
        rows = list({r[0] + (b"/" if r[1][-5:] == b"40000" else b""): r for r in rows}.values())
    if random.random() < 0.7:
        rows = list({r[0]: r for r in rows}.values())
    if random.random() < 0.93:
        rows.sort(key=lambda r: r[0] + (b"/" if r[1][-5:] == b"40000" else b""))
    data = b""
    for name, mode in rows:
        try:
            kind = int(mode, 8) & 0o170000
        except ValueError:
            kind = 0
        target = bytes.fromhex(pkt.oid(TREE, b"") if kind == 0o40000 else EMPTY)
        data += mode + b" " + name + b"\0" + (b"\0" * 20 if random.random() < 0.01 else target)
    if random.random() < 0.08:
        data = scramble(random, data)
    return pkt.oid(TREE, data), [(TREE, b""), (BLOB, b""), (TREE, data)]


SECTIONS = [b'[submodule "m"]', b'[submodule "a/b"]', b'[submodule "../x"]', b'[submodule "x/.."]',
            b'[submodule "a\\\\..\\\\b"]', b'[submodule "..."]', b'[submodule "..x"]', b'[submodule ""]',
            b'[submodule.x]', b'[submodule.../y]', b"[submodule]", b'[SubModule "../z"]', b'[other "../x"]',
            b'[submodule  "../x"]', b'[submodule "x" ]', b'[submodule "a\\"b"]', b'[submodule "../\\x"]',
            b'[submodule\t"../x"]', b'[submodule "a" "../b"]', b'[submodule "x.url"]', b'[submodule.x "../y"]',
            b'["../x"]', b"[]", b"[ ]", b"[a b]", b'[submodule "a\0/../b"]', b'[submodule "x\ny"]', b'[submodule "x',
            b"[submodule", b'[submodule "x.url\0y"]', b'[submodule ".\\./x"]']
URLS = [b"https://example.com/x", b"-x", b"--upload-pack=x", b'"-x"', b"\\-x", b"./x", b"../x", b"../../x", b"../:x",
        b"..//x", b"../../:x", b".././:x", b"./:x", b".\\x", b"..\\:x", b"..\\/x", b"../%0ax", b"../%0Ax", b"./%0a",
        b"a%0ab", b"../%250a", b"../%%0a", b"../a:%0a", b"../%0a:b", b"git://x/%0a", b"git://x%0a/y", b"git%0a://x",
        b"git://", b"http://", b"https:///x", b"https://x", b"http::https://x/y", b"http::x", b"https::",
        b"ftp://x/y", b"ftps:///", b"http://x%0a/y", b"http://x/%0a", b"http://u%0a@x/y", b"http://u:p%0a@x/y",
        b"http://u%0a:p@x/y", b"http://@/x", b"http://u@/x", b"http://x:80/y", b"http://x%0a:80/y", b"http://?x",
        b"http://#x", b"http://x?%0a", b"http://x/@y%0a", b"ssh://x%0ay/z", b"ssh://-x/y", b"x:y", b"HTTP://%0a",
        b"http::://x", b"http::x://y/%0a", b'"../a\\n"', b'"https://a/\\n"', b'"x\\ny"', b'"git://x/\\ny"',
        b"https://x # y", b"", b"\\q", b'"', b'"x', b"../a\\\n%0a", b"file:///x", b"http://u:p:%0a@x/",
        b"http://:@x/%0a", b"http://x//%0a", b"..", b".", b"../", b"./-x", b"http:/x", b"http::-x"]
UPDATES = [b"!cmd", b"none", b"merge", b'"!x"', b" !x", b"\\!x", b"x!", b'"" !x', b"", b"-x"]
PATHS = [b"x", b"-x", b"--x", b'"-x"', b"./-x", b"", b" -x ", b'"" -x', b"\\\n-x"]
ENTRIES = [(b"url", URLS), (b"url", URLS), (b"path", PATHS), (b"update", UPDATES), (b"branch", URLS)]


def some(random, chance, odd, usual):
    """Now and then one of the odd ones."""
    return random.choice(odd) if random.random() < chance else usual


def modules_text(random):
    rows = []
    for _ in range(random.randint(1, 3)):
        rows.append(random.choice(SECTIONS) if random.random() < 0.6 else b'[submodule "m"]')
        for _ in range(random.randint(0, 4)):
            key, values = random.choice(ENTRIES)
            if random.random() < 0.1:
                key = random.choice([key.upper(), key + b"x", b"." + key, key + b" ", b"1" + key, key + b"-"])
            space = some(random, 0.2, [b"", b"  ", b"; ", b"# "], b"\t")
            equals = some(random, 0.3, [b"=", b" =\t", b"", b" "], b" = ")
            rows.append(space + key + equals + random.choice(values))
    joint = some(random, 0.1, [b"\r\n", b" "], b"\n")
    text = joint.join(rows) + random.choice([b"\n", b"", b"\r", b"\n\n"])
    if random.random() < 0.25:
        text = scramble(random, text)
    return text


def modules_case(random):
    blob = modules_text(random)
    return blob_case(b".gitmodules", blob)


def blob_case(name, blob):
    tree = b"100644 " + name + b"\0" + bytes.fromhex(pkt.oid(BLOB, blob))
    return pkt.oid(TREE, tree), [(BLOB, blob), (TREE, tree)]


def attributes_case(random):
    rows = [b"x" * random.choice([0, 1, 80, 2046, 2047, 2048, 2049, 5000]) for _ in range(random.randint(1, 4))]
    blob = random.choice([b"\n", b"\n", b"\r\n", b"\0"]).join(rows) + random.choice([b"\n", b""])
    return blob_case(random.choice([b".gitattributes", b"gitatt~1", b"x"]), blob)


# ---- where the two may differ ----

def excused(kind, data, git, ids, warren, fault):
    """Why another answer than git's is right, or None."""
    if kind == TAG and git and ids and fault == ids[0]:
        return "git prints the fault of the tagger line and forgets it when another header follows"
    if kind == BLOB and (b"\xff" in data or data.startswith(b"\xef")):
        return "git 2.39 takes 0xff in a blob for its end, and knows no byte order mark there; in a file it does right"
    if kind == TREE and git and not warren and fault in ("gitmodulesMissing", "gitattributesMissing"):
        return "index-pack leaves what is missing to others, unpack-objects refuses it"
    return None


CASES = [(COMMIT, commit_case, 110), (TAG, tag_case, 70), (TREE, tree_case, 150), (BLOB, modules_case, 150),
         (BLOB, attributes_case, 15)]


@test
def the_same_verdicts_as_git(t):
    same_git(t)
    judge, push = Judge(t), Push(t)
    cases = []
    for kind, make, count in CASES:
        cases += [(kind, *make(t.random)) for _ in t.rounds(count)]
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(judge, [pack_of(*objects) for _, _, objects in cases]))
    seen, good, wrong = set(), 0, []
    for (kind, tip, objects), (git, ids) in zip(cases, verdicts):
        warren, fault, said = push(tip, pack_of(*objects))
        data = objects[0 if kind == BLOB else -1][1]
        good += git
        seen.update(ids[:1])
        wanted = (git, None if git else ids[0] if ids else fault)
        if wanted != (warren, fault) and not excused(kind, data, git, ids, warren, fault):
            wrong.append(f"git {git} {ids}, Warren {warren} {said}: {data!r}")
    expect(not wrong, f"{len(wrong)} of {len(cases)} objects are judged otherwise than by git", "\n".join(wrong[:20]))
    expect(good > len(cases) // 5 and len(seen) > min(15, len(cases) // 30), "objects of all kinds", good, sorted(seen))


# ---- what users see ----

def old_history(t, path):
    """A repository as old tools wrote them: modes with a zero in front, a time zone that is none."""
    t.git.init(path)
    t.git.commit(path, {"d/f": "1", "g": "2"})
    tree = t.git("ls-tree", "-r", "HEAD", cwd=path)
    oids = {line.split("\t")[1]: line.split()[2] for line in tree.splitlines()}
    folder = store(t, path, "tree", b"100644 f\0" + bytes.fromhex(oids["d/f"]))
    root = store(t, path, "tree", b"040000 d\0" + bytes.fromhex(folder) + b"100644 g\0" + bytes.fromhex(oids["g"]))
    text = f"tree {root}\nauthor {IDENT.decode()}\ncommitter {IDENT.decode()[:-5]}-7\n\nold\n"
    commit = store(t, path, "commit", text.encode())
    t.git("update-ref", "refs/heads/main", commit, cwd=path)
    return commit, root


def store(t, path, kind, data):
    return t.git("hash-object", "-t", kind, "-w", "--stdin", "--literally", cwd=path, data=data).strip()


@test
def the_message_id_reaches_the_user(t):
    work = t.path("work")
    commit, root = old_history(t, work)
    repo = t.account.repo()
    err = t.git.fails("push", "-q", repo.url(), "main", cwd=work)
    expect(f"object {commit}: badTimezone: " in err or f"object {root}: zeroPaddedFilemode: " in err, "the id", err)
    expect("remote unpack failed" in err, "the report", err)
    same(t.git("ls-remote", repo.url()), "", "nothing came")
    lenient = t.own_server(config="[git]\nfsck_ignore = zeropaddedfilemode, badTimezone\n")
    again = lenient.account().repo()
    t.git("push", "-q", again.url(), "main", cwd=work)
    copy = t.path("copy")
    t.git("clone", "-q", again.url(), copy)
    same(t.git.rev(copy), commit, "the clone")
    t.git.commit(copy, {"g": "3"})
    t.git("push", "-q", "origin", "HEAD:main", cwd=copy)
    expect("zeroPaddedFilemode" in t.git.fails("-c", "fsck.badTimezone=ignore", "fsck", "--strict", cwd=copy),
           "the old tree is still as it was")


@test
def an_unknown_id_stops_the_start(t):
    for value, words in (("badTimezone nosuchthing", "git.fsck_ignore: \"nosuchthing\" is none of git's message ids"),
                         ("nulInHeader", "git.fsck_ignore: nulInHeader cannot be let pass")):
        status, out, err = run_warren("serve", "--data", t.path("data"), "--listen", "127.0.0.1:0",
                                      env={"WARREN_GIT_FSCK_IGNORE": value})
        same((status, out), (1, ""), f"{value}: the start")
        expect(words in err, f"{value}: the sentence", err)


@test
def trees_in_disorder_serve_as_they_are(t):
    """What fsck_ignore lets in confuses neither checks of what is built on it, nor checkpoints, nor who fetches."""
    same_git(t)
    server = t.own_server(config="[git]\nfsck_ignore = duplicateEntries treeNotSorted\n")
    push, objects, random = Push(t, server), Objects(), t.random
    tip, sent = None, set()
    for turn in t.rounds(12):
        rows = [(random.choice([b"100644", b"40000"]), random.choice(NAMES)) for _ in range(random.randint(2, 9))]
        links, data = [], b""
        for mode, name in rows:
            i = (objects.tree({}) if mode == b"40000" else objects.blob(b"%d" % random.randrange(turn + 2)))
            links.append(i)
            data += mode + b" " + name + b"\0" + bytes.fromhex(i)
        tip_before, tip = tip, objects.commit(objects.add(TREE, data, links), [tip] if tip else [], f"{turn}")
        new = objects.closure([tip]) - sent
        said = push.wire.push(push.repo.id, {"refs/heads/main": (tip_before, tip)}, objects.pack(new))
        expect(said.ok, "a push", said, data)
        sent |= new
        if turn % 4 == 3:
            status, _, err = run_warren("repo", "checkpoint", push.repo.id, "--data", server.data)
            same(status, 0, f"a checkpoint: {err}")
    got = push.wire.clone(push.repo.id, {"refs/heads/main": tip})
    same(set(got), objects.closure([tip]), "a clone")


@test
def a_delta_on_the_store_brings_no_fault(t):
    """The tree that a thin pack builds on was looked at, and so is what is made of it."""
    push = Push(t)
    blob = pkt.oid(BLOB, b"x")
    rows = [b"100644 n%03d\0" % i + bytes.fromhex(blob) for i in range(200)]
    base = b"".join(rows)
    same(push(pkt.oid(TREE, base), pack_of((BLOB, b"x"), (TREE, base)))[0], True, "the tree")
    tree_id = pkt.oid(TREE, base)
    at = len(b"".join(rows[:100]))
    twice = "duplicateEntries"
    cases = {b"100644 n099\0": twice, b"40000 n099\0": twice, b"100644 n100\0": twice,
             b"100644 n000\0": "treeNotSorted", b"100644 z\0": "treeNotSorted", b"100644 n099/x\0": "fullPathname",
             b"0100644 n0995\0": "zeroPaddedFilemode", b"100644 .git\0": "hasDotgit", b"100644 n0995\0": None,
             b"40000 n0995\0": None}
    for entry, fault in cases.items():
        target = pkt.oid(TREE, b"") if entry.startswith(b"40000") else blob
        new = base[:at] + entry + bytes.fromhex(target) + base[at:]
        inserted = new[at:at + len(new) - len(base)]
        delta = pkt.delta(len(base), len(new), (0, at), inserted, (at, len(base) - at))
        pack = pkt.pack([pkt.entry(TREE, b""), pkt.entry(REF_DELTA, delta, base=tree_id)])
        accepted, said, _ = push(pkt.oid(TREE, new), pack)
        same((accepted, said), (fault is None, fault), f"{entry!r} in the middle")


@test
def modules_in_large_packs(t):
    """Packs that become files: whatever the order, and whether the blob is whole or a delta."""
    push = Push(t)
    filler = t.random.randbytes(1 << 20) + b"tail"
    good = b'[submodule "a"]\n\turl = https://example.com/a\n'
    for bad, fault in ((b'[submodule "a"]\n\turl = -x\n', "gitmodulesUrl"), (b'[submodule "a"]\n\tpath = a\n', None)):
        tree = b"100644 .gitmodules\0" + bytes.fromhex(pkt.oid(BLOB, bad))
        step = pkt.delta(len(good), len(bad), (0, 17), bad[17:])
        entries = {"whole": [pkt.entry(BLOB, bad)],
                   "delta": [pkt.entry(BLOB, good), pkt.entry(REF_DELTA, step, base=pkt.oid(BLOB, good))]}
        for what, blobs in entries.items():
            first, middle = pkt.entry(TREE, tree), pkt.entry(BLOB, filler)
            for rows in ([first, middle, *blobs], [*blobs, middle, first]):
                accepted, said, sentence = push(pkt.oid(TREE, tree), pkt.pack(rows))
                same((accepted, said), (fault is None, fault), f"{what}: {sentence}")
