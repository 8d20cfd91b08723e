"""A disk that loses what it was given: packs, journals and lists of refs cut, changed or gone, also while they are served."""
import glob
import http.client
import os
import shutil

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
    """A repository with a pack of its own (more than a megabyte came at once) and two small pushes; the states of its refs."""
    repo = account.repo()
    path = t.git.init(t.path(name))
    t.git.commit(path, {"large": t.random.randbytes(1_500_000), "small": name})
    states = [{}]
    for i in range(3):
        if i:
            t.git.commit(path, {"small": f"{name} {i}"})
        t.git("push", "-q", repo.url(), "main", cwd=path)
        states.append(t.git.refs(path))
    return repo, t.git.rev(path), states


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
    shutil.rmtree(copy)


def cut_while_served(t, end, size):
    server, broken, sound = start(t)
    (path,) = stored(server, broken[0], end)
    os.truncate(path, size)
    fetch(*broken[:2])
    others_go_on(t, server, sound)
    t.git.fails("clone", "-q", "--mirror", broken[0].url(), t.path("none"))
    others_go_on(t, server, sound)


@test
def a_pack_is_cut_while_it_is_served(t):
    """Its pages cannot be read any more: damage in one repository, and nothing to the rest."""
    cut_while_served(t, "objects/pack/*.pack", 8192)


@test
def an_index_is_cut_while_it_is_served(t):
    cut_while_served(t, "objects/pack/*.idx", 0)


@test
def a_journal_is_cut_while_it_is_served(t):
    """Where its small objects lie."""
    cut_while_served(t, "warren/journal.*", 64)


@test
def files_vanish_while_they_are_served(t):
    """What is mapped stays readable; what was acknowledged is not forgotten by a server that has it; others go on."""
    server, broken, sound = start(t)
    for path in stored(server, broken[0], "objects/pack/*") + stored(server, broken[0], "warren/journal.*") + \
            stored(server, broken[0], "warren/current"):
        os.unlink(path)
    copy = t.git.mirror(broken[0].url(), t.path("copy"))
    same(t.git.rev(copy, "main"), broken[1], "a clone from what is mapped")
    others_go_on(t, server, sound)


def outcome(t, server, broken, what):
    """(refs of a clone or None) of the damaged repository; a clone that succeeds has to be sound."""
    path = t.path("clone-" + os.urandom(4).hex())
    status, _, _ = t.git.run("clone", "-q", "--mirror", broken[0].url(), path)
    if status != 0:
        shutil.rmtree(path, ignore_errors=True)
        return None
    t.git("fsck", "--full", "--no-dangling", cwd=path)
    refs = t.git.refs(path)
    shutil.rmtree(path)
    return refs


def damage(t, server, broken, sound):
    """Every file of the folder, cut, gone, or with a bit turned over. Never wrong contents: it is refused, or it is all there, or,
    where a journal's end is what is missing, it is as it was before the last pushes; a power cut looks no different."""
    server.stop()
    (folder,) = stored(server, broken[0], "")
    folder = folder.rstrip("/")
    shutil.copytree(folder, t.path("whole"))
    names = sorted(os.path.relpath(p, folder) for p in stored(server, broken[0], "warren/*") + stored(server, broken[0], "objects/pack/*"))
    refused = 0
    for name in names:
        with open(t.path("whole", name), "rb") as f:
            whole = f.read()
        if not whole:
            continue
        turned = bytearray(whole)
        turned[t.random.randrange(len(whole))] ^= 1 << t.random.randrange(8)
        ways = [whole[:t.random.randrange(len(whole))], bytes(turned), None]
        for data in t.random.sample(ways, min(3, len(t.rounds()))):
            what = f"{name}: {'gone' if data is None else len(data)} of {len(whole)}"
            path = os.path.join(folder, name)
            os.unlink(path)
            if data is not None:
                with open(path, "wb") as f:
                    f.write(data)
            server.start()
            got = outcome(t, server, broken, what)
            if got is None:
                refused += 1
            else:
                older = "journal." in name and data is not None
                expect(got in broken[2] if older else got == broken[2][-1], f"{what}: what is served", got, broken[2])
            same(t.git.remote_refs(sound[0].url()), sound[2][-1], f"{what}: another repository")
            server.stop()
            shutil.rmtree(folder)
            shutil.copytree(t.path("whole"), folder)
    expect(refused > 1, "damage was noticed", refused)
    server.start()
    others_go_on(t, server, sound)
    same(outcome(t, server, broken, "put back"), broken[2][-1], "as it was")


@test
def damage_that_a_start_finds(t):
    damage(t, *start(t))


@test
def damage_of_a_checkpoint_that_a_start_finds(t):
    server, broken, sound = start(t)
    server.cli("repo", "checkpoint", broken[0].id)
    damage(t, server, broken, sound)
