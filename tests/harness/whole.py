"""Repositories that come and go as wholes: forks, adoptions, exports and deletions, while somebody pushes and the server
may die.

What such a job makes has, of each ref, a value that this ref had at some time between the job's beginning and its end.
"""
import hashlib
import json
import os
import re

from harness.core import Fail, expect, same, wait_for
from harness.server import run_warren
from harness.traffic import Everyone, Lane

ENDED = ("done", "failed", "cancelled")


def forked(ref):
    """Whether a fork takes it along."""
    return ref.startswith(("refs/heads/", "refs/tags/"))


class Whole:
    """A repository, its lanes, and the jobs under way that read it."""

    def __init__(self, repo_id, lanes):
        self.id, self.lanes, self.errands = repo_id, lanes, []
        self.deleting = self.deleted = False

    def objects(self):
        return Everyone(self.lanes)

    def opened(self, lane):
        """A push has begun: what reads meanwhile may see it."""
        for errand in self.errands:
            for ref, new in lane.open.items():
                errand.choices.setdefault(ref, {lane.refs.get(ref)}).add(new)

    def values(self):
        """{ref: every value that it may have now}"""
        out = {}
        for lane in self.lanes:
            for ref, oid in lane.refs.items():
                out.setdefault(ref, set()).add(oid)
            for ref, new in (lane.open or {}).items():
                out.setdefault(ref, {lane.refs.get(ref)}).add(new)
        return out


class Errand:
    """A job on a whole repository, of which it may not be known whether there is one."""

    def __init__(self, kind, name, choices, lanes, path=None, branch=None):
        self.kind, self.name, self.path, self.branch = kind, name, path, branch
        self.choices, self.lanes = choices, lanes
        self.job_id = self.repo_id = self.source = None
        self.refused = self.done = False

    def wanted(self, ref):
        if self.kind != "fork":
            return True
        return ref == self.branch if self.branch else forked(ref)

    def may_fail(self, error):
        """Its branch may have been gone just then."""
        return self.branch and None in self.choices.get(self.branch, {None}) and error["code"] == "BRANCH_NOT_FOUND"

    def check(self, refs, what):
        for ref in {*refs, *self.choices}:
            possible = self.choices.get(ref, {None}) if self.wanted(ref) else {None}
            expect(refs.get(ref) in possible, f"{what}: {ref}", refs.get(ref), possible)

    def settle(self, refs, random):
        """Lanes that go on from what it has."""
        out = []
        for old in self.lanes:
            # The one branch of a fork is its default branch, which stays.
            kinds = {kind: n for kind, n in old.kinds.items() if kind != "delete" or not self.branch}
            lane = Lane(old.name, random, kinds, old.large)
            lane.objects = old.objects
            lane.turn = old.turn
            lane.refs = {ref: oid for ref, oid in refs.items() if lane.mine(ref)}
            lane.reset()
            out.append(lane)
        return out


class Bare:
    """A repository of plain git to be taken in: packs, loose objects, refs of both kinds, and something that no ref reaches."""

    def __init__(self, git, path, name, random):
        self.path = path
        self.lane = Lane(name, random, {"small": 4, "files": 1, "two": 2, "tag": 2, "rewind": 1}, 1000)
        git.init(path, bare=True)
        for i in range(8):
            commands, pack, _ = self.lane.prepare()
            write = ("unpack-objects", "-q") if i % 3 == 2 else ("index-pack", "--fix-thin", "--stdin")
            git(*write, cwd=path, data=pack)
            self.lane.settled()
            lines = [f"update {ref} {new}\n" for ref, (_, new) in commands.items()]
            git("update-ref", "--stdin", cwd=path, data="".join(lines).encode())
            if i == 5:
                git("pack-refs", "--all", cwd=path)
        self.refs = dict(self.lane.refs)
        self.was = tree(path)

    def check(self, what, path=None):
        same(tree(path or self.path), self.was, f"{what}: the folder that was taken in stays as it was")


def tree(path):
    """{name: digest} of all files below."""
    out = {}
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            with open(full, "rb") as f:
                out[os.path.relpath(full, path)] = hashlib.sha1(f.read()).hexdigest()
    return out


def most_links(path):
    return max((os.stat(os.path.join(folder, name)).st_nlink for folder, _, names in os.walk(path) for name in names), default=0)


def jobs(server):
    """{id: job}, the newest ones; None while the server does not answer."""
    status, out, _ = run_warren("job", "list", "--data", server.data)
    return {job["jobId"]: job for job in json.loads(out)["jobs"]} if status == 0 else None


def ended_jobs(server, what):
    """{id: job} once all have ended."""
    found = {}

    def running():
        found["jobs"] = jobs(server)
        if found["jobs"] is None:
            return ["no answer"]
        return [job for job in found["jobs"].values() if job["state"] not in ENDED]
    until_none(running, f"{what}: jobs that do not end")
    return found["jobs"]


def until_none(look, what, seconds=60):
    """Waits until there is nothing that look() finds."""
    last = []

    def gone():
        last[:] = look()
        return not last
    try:
        wait_for(gone, what, seconds)
    except Fail as e:
        raise Fail(f"{e}: {last}") from None


def rows(api):
    """{id: name} of an account's repositories."""
    out, more = {}, True
    while more:
        page = api.get(f"/git/v1/repo?limit=100&offset={len(out)}").ok()
        found = {row["id"]: row["name"] for row in page["repositories"]}
        more = bool(found) and len(out) + len(found) < page["total"]
        out.update(found)
    return out


PROCESS = re.compile(r"[a-z]+-[A-Za-z0-9]{24}\.lock")


def strays(server, ids):
    """What is in repos/ and run/ beside the folders of these repositories and what running processes have there."""
    found = []
    base = os.path.join(server.data, "repos")
    for folder, folders, names in os.walk(base):
        depth = 0 if folder == base else os.path.relpath(folder, base).count("/") + 1
        if depth == 2:
            found += [name for name in folders if name.removesuffix(".git") not in ids]
            folders.clear()
        found += names
    for folder, _, names in os.walk(os.path.join(server.data, "run")):
        # The names of processes' files are random letters, any three of which may stand together.
        found += [name for name in names if ("pack" in name or "tmp" in name) and not PROCESS.fullmatch(name)]
    return found


def unnamed(server, repo_id):
    """Files in a repository's folder that its state does not name."""
    status, out, _ = run_warren("repo", "show", repo_id, "--data", server.data)
    if status != 0:
        return [f"repo show: {status}"]
    shown = json.loads(out)
    if not shown["exists"]:
        return []
    base = os.path.join(server.data, "repos", repo_id[:2], repo_id[2:4], repo_id + ".git")
    packs = {pack["name"] for pack in shown["packs"]}
    found = [name for name in os.listdir(os.path.join(base, "objects", "pack")) if name.split(".")[0] not in packs]
    for name in os.listdir(os.path.join(base, "warren")):
        if name.endswith(".new") or (name.endswith(".refs") and name != f"{shown['checkpoint']}.refs"):
            found.append(name)
    return found + [name for name in os.listdir(base) if ".tmp" in name]
