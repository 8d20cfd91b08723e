"""A disk that loses what it was given: packs, indexes and states cut, changed or gone, also while they are served."""
import glob
import http.client
import os

from harness import expect, same, test
from harness.pkt import FLUSH, pkts


def fetch(repo, oid):
    """(status, body) of a whole clone by hand; a connection that breaks off is (None, None)."""
    try:
        reply = repo.account.server.api(repo.account.key).post(
            f"/{repo.id}.git/git-upload-pack", pkts(f"want {oid} ofs-delta\n", FLUSH, "done\n"),
            headers={"Content-Type": "application/x-git-upload-pack-request"})
    except (OSError, http.client.HTTPException):
        return None, None
    return reply.status, reply.body


def stored(server, repo, end):
    return glob.glob(os.path.join(server.data, "repos", "*", "*", repo.id + ".git", end))


def filled(t, account, name):
    repo = account.repo()
    path = t.git.init(t.path(name))
    oid = t.git.commit(path, {"large": t.random.randbytes(300_000), "small": name})
    t.git("push", "-q", repo.url(), "main", cwd=path)
    return repo, oid


def start(t):
    server = t.own_server()
    server.may_fail = True
    account = server.account()
    return server, filled(t, account, "broken"), filled(t, account, "sound")


def others_go_on(t, server, sound):
    expect(server.alive(), "the server lives", server.log_tail())
    copy = t.git.mirror(sound[0].url(), t.path(f"copy-{os.urandom(4).hex()}"))
    same(t.git.rev(copy, "main"), sound[1], "a clone of another repository")
    t.git("fsck", "--full", "--no-dangling", cwd=copy)


@test
def a_pack_is_cut_while_it_is_served(t):
    """Its pages cannot be read any more: damage in one repository, and nothing to the rest."""
    server, broken, sound = start(t)
    (pack,) = stored(server, broken[0], "objects/pack/*.pack")
    os.truncate(pack, 8192)
    fetch(*broken)
    others_go_on(t, server, sound)
    t.git.fails("clone", "-q", "--mirror", broken[0].url(), t.path("none"))
    others_go_on(t, server, sound)


@test
def an_index_is_cut_while_it_is_served(t):
    server, broken, sound = start(t)
    (index,) = stored(server, broken[0], "objects/pack/*.idx")
    os.truncate(index, 0)
    fetch(*broken)
    others_go_on(t, server, sound)
    t.git.fails("clone", "-q", "--mirror", broken[0].url(), t.path("none"))
    others_go_on(t, server, sound)


@test
def damage_that_a_start_finds(t):
    """Every file of a repository, cut, gone, or with a bit turned over: refused until it is as it was."""
    server, broken, sound = start(t)
    files = stored(server, broken[0], "objects/pack/*") + stored(server, broken[0], "warren/state")
    same(len(files), 3, "files")
    for path in files:
        with open(path, "rb") as f:
            whole = f.read()
        turned = bytearray(whole)
        turned[t.random.randrange(len(whole) // 3, len(whole) // 2)] ^= 1 << t.random.randrange(8)
        for data in (whole[:t.random.randrange(len(whole))], bytes(turned), None):
            server.stop()
            os.unlink(path)
            if data is not None:
                with open(path, "wb") as f:
                    f.write(data)
            server.start()
            what = f"{os.path.basename(path)}: {'gone' if data is None else len(data)} of {len(whole)}"
            status, out, _ = t.git.run("clone", "-q", "--mirror", broken[0].url(), t.path(what.replace(" ", "")))
            expect(status != 0, what, out)
            others_go_on(t, server, sound)
        with open(path, "wb") as f:
            f.write(whole)
    server.restart()
    others_go_on(t, server, broken)
