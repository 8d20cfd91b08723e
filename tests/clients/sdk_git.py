"""Every Git method of both npm packages, each answer compared with what git says of the same repository; every refusal as the
package's own class; and the answers against the packages' own types."""
import base64
import hashlib
import json
import os
import re
import subprocess
import tempfile

from harness import expect, same, test
from harness.core import slowness
from harness.node import packages
from harness.said import Said, in_tar, in_zip, times_read
from harness.sdk import CLIENTS, PACKAGES, Sdk

COST = 8
RELEASE_ONLY = True
recorded = {}  # package: [(method, answer)]
bodies = {}  # package: {name of the class: a body}
world = None


class World:
    """A repository with all that the reading methods tell of, pushed by git; it is only read."""

    def __init__(self, t):
        git = self.git = t.git
        self.folder = git.init(tempfile.mkdtemp(prefix="world-", dir=git.home))
        self.clock = 1_700_000_000
        self.commit({"README.md": "# Hello\n", "src/main.c": "int main(void)\n{\n\treturn 0;\n}\n" * 8, "src/deep/er/x": "x",
                     "bin": bytes(range(256)), "empty": "", "ä ö+%/ü.txt": "name\n", "old": "line\n" * 30}, "first\n\nwith a body")
        os.symlink("README.md", os.path.join(self.folder, "link"))
        os.chmod(os.path.join(self.folder, "src/main.c"), 0o755)
        self.commit({"big.txt": "".join(f"{i}\n" for i in range(5000))}, "second, ünicode")
        git("tag", "light", cwd=self.folder)
        git("tag", "-a", "-m", "words of v1\n", "v1/x", cwd=self.folder, env=self.now())
        git("tag", "-a", "-m", "of a tag", "again", "v1/x", cwd=self.folder, env=self.now())
        git("tag", "-a", "-m", "of a tree", "of-tree", "HEAD^{tree}", cwd=self.folder, env=self.now())
        git("tag", "of-blob", "HEAD:README.md", cwd=self.folder)
        git("checkout", "-q", "-b", "feat/x+y", cwd=self.folder)
        os.rename(os.path.join(self.folder, "old"), os.path.join(self.folder, "new"))
        self.commit({"README.md": "# Hello\nyou\n", "src/deep/er/x": None, "new": "line\n" * 30 + "more\n"}, "on the side")
        self.commit({"bin": b"\0\1", "added": "a\nb\n"}, "on the side again")
        git("checkout", "-q", "main", cwd=self.folder)
        self.commit({"only-main": "1"}, "main goes on")
        git("merge", "-q", "--no-ff", "-m", "a merge", "feat/x+y~1", cwd=self.folder, env=self.now())
        for i in range(5):
            self.commit({"counter": str(i)}, f"count {i}")
        git("checkout", "-q", "--orphan", "apart", cwd=self.folder)
        git("rm", "-q", "-r", "-f", ".", cwd=self.folder)
        self.commit({"apart": "yes"}, "another root")
        git("checkout", "-q", "main", cwd=self.folder)
        self.said = Said(git, self.folder, still=True)
        self.account = t.account
        self.repo = self.account.repo(name="world")
        self.sdks = {}
        git("push", "-q", self.repo.url(), "--all", cwd=self.folder)
        git("push", "-q", self.repo.url(), "--tags", cwd=self.folder)

    def now(self):
        self.clock += 100
        return {"GIT_AUTHOR_DATE": f"{self.clock - 7} +0330", "GIT_COMMITTER_DATE": f"{self.clock} -0700"}

    def commit(self, files, message):
        env, self.git.env = self.git.env, {**self.git.env, **self.now()}
        try:
            return self.git.commit(self.folder, files, message)
        finally:
            self.git.env = env


def the_world(t):
    global world
    if world is None or world.account.server is not t.server:
        world = World(t)
    return world


def both(t):
    """Each package as a client of the world's account."""
    w = the_world(t)
    for package in PACKAGES:
        sdk = w.sdks.get(package)
        if sdk is None or sdk.process.poll() is not None:
            sdk = w.sdks[package] = Sdk(t, package, kept=True, KEY=w.account.key)
        recorded.setdefault(package, [])
        yield w, w.said, sdk, sdk.repo(w.repo.id)
        recorded[package] += sdk.answers
        sdk.answers = []


def match(got, wanted, what):
    same(times_read(got), wanted, what)


@test
def contents_of_files_and_folders(t):
    for _, said, _, repo in both(t):
        match(repo.contents.get(), said.folder("HEAD", ""), "the root")
        for rev in ("feat/x+y", "light", "v1/x", "refs/heads/apart", said("rev-parse", "HEAD~2").strip()):
            match(repo.contents.get(path="", rev=rev), said.folder(rev, ""), f"the root at {rev}")
        match(repo.contents.get(path="src"), said.folder("HEAD", "src"), "a folder")
        match(repo.contents.get(path="src/deep", rev="main~6"), said.folder("main~6", "src/deep"), "a folder before")
        for path in ("README.md", "src/main.c", "bin", "empty", "ä ö+%/ü.txt", "big.txt", "link"):
            match(repo.contents.get(path=path, rev="light"), said.file("light", path), path)


@test
def objects_by_their_ids(t):
    for _, said, _, repo in both(t):
        for path in ("README.md", "bin", "empty", "big.txt"):
            oid = said("rev-parse", f"HEAD:{path}").strip()
            match(repo.blobs.get(sha=oid), said.blob(oid), f"blob {path}")
        for name in ("HEAD", "apart", "HEAD:src"):
            tree = said("rev-parse", name if ":" in name else f"{name}^{{tree}}").strip()
            match(repo.trees.get(sha=tree), said.tree(tree), f"tree of {name}")
        for oid in said("rev-list", "--all").split():
            match(repo.commits.get(sha=oid), said.commit(oid), f"commit {oid}")
        match(repo.commits.get(sha=oid[:12]), said.commit(oid), "an abbreviated id")
        for name in ("v1/x", "again", "of-tree"):
            oid = said("rev-parse", name).strip()
            inner = said("cat-file", "tag", oid).split("\ntag ")[1].splitlines()[0]
            match(repo.tags.getByHash(sha=oid), said.tag(inner, name), f"tag object {name}")


@test
def branches_and_tags(t):
    for _, said, _, repo in both(t):
        refs = said.git.refs(said.path)
        heads = {n[len("refs/heads/"):]: oid for n, oid in refs.items() if n.startswith("refs/heads/")}
        match(repo.branches.list(), {"branches": [{"name": n, "commit": heads[n]} for n in sorted(heads)]}, "branches")
        for name, oid in heads.items():
            match(repo.branches.get(branchName=name), {"name": f"refs/heads/{name}", "sha": oid}, name)
        tags = sorted(n[len("refs/tags/"):] for n in refs if n.startswith("refs/tags/"))
        match(repo.tags.list(), {"tags": [said.tag(n, f"refs/tags/{n}") for n in tags]}, "tags")
        for name in tags:
            match(repo.tags.get(tagName=name), said.tag(name, f"refs/tags/{name}"), name)
        match(repo.branches.getDefaultBranch(), {"defaultBranch": "main"}, "the default branch")


def listed(rows, order, selector, rest, limit=50, offset=None, total=None):
    return {"commits": rows, "count": len(rows), "limit": limit, "offset": offset, "total": total if total is not None else len(rows),
            "order": order, "selector": selector, "next_commit": rest}


def pages(repo, order, size, **options):
    """All ids of a listing, taken page by page as the reference says."""
    found, cursor = [], {}
    while True:
        page = repo.commits.list(limit=size, order=order, **{**options, **cursor})
        found += [c["sha"] for c in page["commits"]]
        same(page["count"], len(page["commits"]), "count")
        if page["next_commit"] is None:
            return found
        expect(page["count"] == size, "a page that is not the last is full", page["count"])
        cursor = {"until" if order == "desc" else "since": page["next_commit"]}


@test
def histories(t):
    for _, said, _, repo in both(t):
        whole = said.log("main")
        rows = [said.commit(oid) for oid in whole]
        match(repo.commits.list(), listed(rows, "desc", None, None, offset=0), "all")
        match(repo.commits.list(order="asc", branch="main"), listed(rows[::-1], "asc", None, None, offset=0), "oldest first")
        match(repo.commits.list(limit=3, offset=2), listed(rows[2:5], "desc", None, whole[5], 3, 2, len(rows)), "a page")
        side = said.log("feat/x+y")
        match(repo.commits.list(branch="feat/x+y")["commits"], [said.commit(o) for o in side], "another branch")
        for size in (1, 2, 4, 100):
            same(pages(repo, "desc", size), whole, f"pages of {size}")
            same(pages(repo, "asc", size), whole[::-1], f"ascending pages of {size}")
        since, until = whole[7], whole[2]
        cases = [({"until": until}, whole[2:], {"Until": until}, "desc"),
                 ({"since": since}, said.log("main", f"^{since}"), {"Since": since}, "desc"),
                 ({"since": since}, whole[:8][::-1], {"Since": since}, "asc"),
                 ({"until": until}, said.log(until)[::-1], {"Until": until}, "asc"),
                 ({"since": since, "until": until}, said.log(f"{since}..{until}"), {"Range": {"since": since, "until": until}}, "desc"),
                 ({"since": since, "until": until}, said.log(f"{since}..{until}")[::-1], {"Range": {"since": since, "until": until}}, "asc"),
                 ({"since": since, "until": since}, [], {"Range": {"since": since, "until": since}}, "desc")]
        for options, wanted, selector, order in cases:
            answer = repo.commits.list(order=order, **options)
            match(answer, listed([said.commit(o) for o in wanted], order, selector, None), f"{options} {order}")


@test
def comparisons(t):
    for _, said, _, repo in both(t):
        names = ["main", "feat/x+y", "light", "v1/x", "main~1", "apart", "main~4"]
        for base, head in [(a, b) for a in names for b in names]:
            match(repo.compare(base=base, head=head), said.compare(base, head), f"{base}...{head}")


@test
def archives(t):
    for _, said, _, repo in both(t):
        for rev in ({}, {"rev": "feat/x+y"}, {"rev": "apart"}, {"rev": "light"}):
            wanted = said.archive(rev.get("rev", "HEAD"))
            for kind, found in (("tar", in_tar(repo.contents.downloadTarball(**rev))), ("zip", in_zip(repo.contents.downloadZip(**rev)))):
                same(sorted(found), sorted(wanted), f"names in the {kind} of {rev}")
                for name, file in wanted.items():
                    same(found[name], file, f"{name} in the {kind} of {rev}")


@test
def commits_are_made(t):
    for w, _, sdk, _ in both(t):
        made = sdk.git.repos.create(name="written", defaultBranch="trunk")
        repo = sdk.repo(made["repoId"])
        url = f"http://x:{w.account.key}@{t.server.url.split('//')[1]}/{made['repoId']}"
        binary = bytes(range(256)) * 9
        first = repo.commits.create(message="first", files=[
            {"path": "a.txt", "content": "text ä\n"}, {"path": "d/b.bin", "content": base64.b64encode(binary).decode(), "encoding": "base64"},
            {"path": "d/e/f", "content": "", "encoding": "utf8"}], author={"name": "Jo Ü", "email": "jo@example.com"})["commit"]
        second = repo.commits.create(message="second\n\nbody\n", branch="trunk", expectedSha=first["sha"],
                                     files=[{"path": "d/e/f", "deleted": True}, {"path": "a.txt", "content": "other"}])["commit"]
        stale = sdk.fails("CONFLICTING_PARENT", 409, repo.commits.create, message="late", files=[], expectedSha=first["sha"])
        same((stale["expected"], stale["actual"]), (first["sha"], second["sha"]), "what is said of the conflict")
        side = repo.commits.create(message="aside", branch="new/branch", files=[{"path": "n", "content": "n"}])["commit"]
        same(side["parents"], [], "a branch made on the way begins anew")
        empty = repo.commits.create(message="nothing", files=[])["commit"]
        copy = t.git.mirror(url, t.path(f"copy-{sdk.package}"))
        said = Said(t.git, copy)
        for commit in (first, second, side, empty):
            match(commit, said.commit(commit["sha"]), commit["message"])
        same((first["author"]["name"], first["author"]["email"]), ("Jo Ü", "jo@example.com"), "the author")
        same(said.archive(first["sha"]), {"a.txt": ("100644", "text ä\n".encode()), "d/b.bin": ("100644", binary),
                                          "d/e/f": ("100644", b"")}, "the first commit's files")
        same(said.archive("trunk"), {"a.txt": ("100644", b"other"), "d/b.bin": ("100644", binary)}, "the tip's files")
        same(said.log("trunk"), [empty["sha"], second["sha"], first["sha"]], "a line of commits")
        t.git("fsck", "--strict", "--no-dangling", cwd=copy)


@test
def repositories_are_made_from_others_and_from_files(t):
    for w, said, sdk, _ in both(t):
        copy = lambda repo_id, name: Said(t.git, t.git.mirror(
            f"http://x:{w.account.key}@{t.server.url.split('//')[1]}/{repo_id}", t.path(f"{name}-{sdk.package}")))
        forked = sdk.git.repos.create(source={"url": f"{t.server.url}/{w.repo.id}", "rev": "feat/x+y"})["repoId"]
        same(copy(forked, "fork").log("HEAD"), said.log("feat/x+y"), "the history of a fork")
        match(sdk.repo(forked).branches.getDefaultBranch(), {"defaultBranch": "feat/x+y"}, "its default branch")
        files = {"a.txt": "text ä\n", "d/e/b.txt": ""}
        made = sdk.git.repos.create(**{"import": {"type": "files", "files": files, "commitMessage": "brought", "authorName": "Jo", "authorEmail": "jo@x"}})
        brought = copy(made["repoId"], "files")
        same(brought.archive("HEAD"), {p: ("100644", c.encode()) for p, c in files.items()}, "files that were brought")
        commit = sdk.repo(made["repoId"]).commits.list()["commits"][0]
        same((commit["message"], commit["author"]["name"], commit["sha"]), ("brought", "Jo", brought("rev-parse", "HEAD").strip()), "its commit")
        part = sdk.git.repos.create(**{"import": {"type": "git", "url": f"{t.server.url}/{w.repo.id}", "rev": "main", "dir": "src", "commitMessage": "part"}})
        wanted = {p[len("src/"):]: f for p, f in said.archive("main").items() if p.startswith("src/")}
        same(copy(part["repoId"], "part").archive("HEAD"), wanted, "a folder of another repository")


@test
def branches_are_made_and_chosen(t):
    for w, said, sdk, _ in both(t):
        made = sdk.git.repos.create(name="branches")
        repo = sdk.repo(made["repoId"])
        same(repo.branches.list(), {"branches": []}, "none yet")
        one = repo.commits.create(message="one", files=[])["commit"]["sha"]
        body = sdk.fails("GIT_INVALID_REQUEST", 400, repo.branches.create, name="x", sha=one)
        expect("freestyle 0.1.63" in body["message"] and "{*branch}" in body["message"], "the fault is named", body["message"])
        # The package's own client, whose path has the name in it.
        post = lambda name, **sent: repo.apiClient.post(f"/git/v1/repo/{made['repoId']}/git/refs/heads/{name}", {"body": sent})
        match(post("b%2Fc", sha=one), {"name": "b/c", "sha": one}, "a new branch")
        match(post("d", sha=None), {"name": "d", "sha": one}, "one at the default branch's tip")
        same(repo.branches.setDefaultBranch(defaultBranch="b/c"), {}, "another default branch")
        match(repo.branches.getDefaultBranch(), {"defaultBranch": "b/c"}, "the default branch")
        same(sorted(b["name"] for b in repo.branches.list()["branches"]), ["b/c", "d", "main"], "branches")
        same(sdk.fails("BRANCH_ALREADY_EXISTS", 409, repo.apiClient.post, f"/git/v1/repo/{made['repoId']}/git/refs/heads/d",
                       {"body": {"sha": one}})["branch"], "d", "the branch that is there")
        del w, said


@test
def repositories_identities_and_grants(t):
    for w, _, sdk, _ in both(t):
        if sdk.package == "freestyle":  # the older one asks without a base URL, which no server hears of
            same(sdk.whoami(), {"accountId": w.account.id}, "whoami")
        made = sdk.git.repos.create(name="granted", public=True)
        rows = sdk.git.repos.list(limit=1)
        same((rows["repositories"][0]["id"], rows["offset"]), (made["repoId"], 0), "the newest first")
        listed_world = next(r for r in sdk.git.repos.list(limit=500)["repositories"] if r["id"] == w.repo.id)
        refs = w.git.refs(w.folder)
        same(listed_world["branches"], {n[11:]: {"name": n[11:], "target": oid, "default": n == "refs/heads/main"}
                                        for n, oid in refs.items() if n.startswith("refs/heads/")}, "branches of the list")
        tags = {n[10:]: w.said.tag(n[10:], n) for n in refs if n.startswith("refs/tags/")}
        same(listed_world["tags"], {n: {"name": n, "target": tag["target"]["sha"], "message": tag["message"]}
                                    for n, tag in tags.items()}, "tags of the list")
        who = sdk.identities.create()
        identity = sdk.identity(who["identityId"])
        token = identity.tokens.create()
        same([row["id"] for row in identity.tokens.list()["tokens"]], [token["tokenId"]], "tokens")
        git = identity.permissions.git
        same(git.grant(repoId=made["repoId"], permission="read"), {}, "grant")
        same(git.get(repoId=made["repoId"])["accessLevel"], "read", "the grant")
        same(git.update(repoId=made["repoId"], permission="write"), {}, "update")
        same(git.list()["repositories"][0]["permissions"], "write", "grants")
        mine = Sdk(t, sdk.package, TOKEN=t.server.keep_secret(token["token"]))
        same([r["id"] for r in mine.git.repos.list()["repositories"]], [made["repoId"]], "what the token may see")
        mine.repo(made["repoId"]).commits.create(message="by token", files=[])
        same(git.revoke(repoId=made["repoId"]), {}, "revoke")
        same(identity.tokens.revoke(tokenId=token["tokenId"]), {}, "revoke the token")
        expect(who["identityId"] in [i["id"] for i in sdk.identities.list()["identities"]], "identities")
        same(sdk.identities.delete(identityId=who["identityId"]), {}, "delete the identity")
        same(sdk.git.repos.delete(repoId=made["repoId"]), {}, "delete")


@test
def triggers(t):
    for w, _, sdk, _ in both(t):
        repo = sdk.repo(sdk.git.repos.create(name="told")["repoId"])
        endpoint, filters = "https://hooks.invalid/told", {"event": "push", "branches": ["main", "rel/*"], "globs": ["src/**"]}
        same(repo.triggers.list(), {"triggers": []}, "none")
        made = [repo.triggers.create(trigger=trigger, action={"action": "webhook", "endpoint": endpoint})["triggerId"]
                for trigger in (filters, {"event": "push"}, {"event": "push", "branches": [], "globs": None})]
        rows = repo.triggers.list()["triggers"]
        none = {"event": "push", "branches": None, "globs": None}
        same([(row["id"], row["trigger"], row["action"], row["managed"]) for row in rows],
             [(one, wanted, {"action": "webhook", "endpoint": endpoint}, False) for one, wanted in zip(made, (filters, none, none))], "the list")
        # As the package's own examples write it.
        body = sdk.fails("GIT_INVALID_REQUEST", 400, repo.triggers.create, trigger={"event": "push", "branch": ["main"]},
                         action={"type": "webhook", "url": endpoint})
        expect(all(name in body["message"] for name in ("trigger.branches", "action.action", "action.endpoint")), "the right names", body)
        for one in made:
            same(repo.triggers.delete(triggerId=one), {}, "delete")
        sdk.fails("NOT_FOUND", 404, repo.triggers.delete, triggerId=made[0])
        same(repo.triggers.list(), {"triggers": []}, "none is left")


ABSENT = "1234567890" * 4


@test
def every_refusal_is_the_packages_own_class(t):
    for w, said, sdk, repo in both(t):
        head, apart = said("rev-parse", "HEAD").strip(), said("rev-parse", "apart").strip()
        blob = said("rev-parse", "HEAD:bin").strip()
        empty = sdk.repo(sdk.git.repos.create(name="empty")["repoId"])
        identity = sdk.identity(sdk.identities.create()["identityId"])
        nobody = Sdk(t, sdk.package, TOKEN=t.server.keep_secret(identity.tokens.create()["token"]))
        reader = w.account.identity(read=w.repo)
        read = Sdk(t, sdk.package, TOKEN=reader.secret())
        wrong = Sdk(t, sdk.package, KEY="wrk_wrong")
        create, grant = repo.commits.create, identity.permissions.git
        change = lambda **file: {"message": "m", "files": [file]}
        heads = f"/git/v1/repo/{w.repo.id}/git/refs/heads/"
        cases = [
            ("GIT_INVALID_REQUEST", 400, sdk.git.repos.list, {"cursor": "rubbish"}, {}),
            ("GIT_INVALID_REQUEST", 400, repo.commits.list, {"order": "sideways"}, {}),
            ("GIT_INVALID_REQUEST", 400, repo.compare, {"base": "main"}, {}),
            ("GIT_INVALID_REQUEST", 400, create, {"message": "m"}, {}),
            ("SOURCE_IMPORT_CONFLICT", 400, sdk.git.repos.create, {
                "source": {"url": "http://localhost/x"}, "import": {"type": "files", "files": {}, "commitMessage": "m"}}, {}),
            ("SOURCE_NOT_FOUND", 400, sdk.git.repos.create, {"source": {"url": f"{t.server.url}/{w.account.id}"}}, {"url": f"{t.server.url}/{w.account.id}"}),
            ("SOURCE_UNAUTHORIZED", 400, sdk.git.repos.create, {"source": {"url": t.server.url.replace("//", "//x:wrong@") + "/" + w.repo.id}}, {}),
            ("IMPORT_SUBDIR_NOT_FOUND", 400, sdk.git.repos.create, {
                "import": {"type": "git", "url": f"{t.server.url}/{w.repo.id}", "dir": "gone", "commitMessage": "m"}}, {"dir": "gone"}),
            ("INVALID_FILE_PATH", 400, create, change(path="a/../b", content=""), {"path": "a/../b"}),
            ("INVALID_FILE_CHANGE", 400, create, change(path="a"), {"path": "a"}),
            ("INVALID_BASE64_CONTENT", 400, create, change(path="a", content="!", encoding="base64"), {"path": "a"}),
            ("INVALID_OBJECT_ID", 400, create, {"message": "m", "files": [], "expectedSha": "main"}, {"hash": "main"}),
            ("INVALID_OBJECT_ID", 400, repo.blobs.get, {"sha": "x"}, {"hash": "x"}),
            ("INVALID_OBJECT_ID", 400, repo.trees.get, {"sha": "zz"}, {"hash": "zz"}),
            ("INVALID_REVISION", 400, repo.contents.get, {"rev": "a..b"}, {"revision": "a..b"}),
            ("INVALID_REVISION", 400, repo.contents.downloadZip, {"rev": "of-blob"}, {"revision": "of-blob"}),
            ("INVALID_REVISION", 400, repo.compare, {"base": "main^{tree}", "head": "main"}, {"revision": "main^{tree}"}),
            ("OFFSET_WITH_SELECTOR", 400, repo.commits.list, {"since": head, "offset": 1}, {}),
            ("COMMIT_NOT_IN_BRANCH", 400, repo.commits.list, {"until": apart}, {"sha": apart, "branch": "main"}),
            ("INVALID_RANGE", 400, repo.commits.list, {"since": head, "until": f"{said('rev-parse', 'HEAD~3').strip()}"},
             {"since": head, "until": said("rev-parse", "HEAD~3").strip()}),
            ("UNAUTHORIZED_ERROR", 401, wrong.repo(w.repo.id).contents.get, {}, {"route": f"/git/v1/repo/{w.repo.id}/contents/"}),
            ("FORBIDDEN", 403, read.git.repos.create, {"name": "x"}, {}),
            ("FORBIDDEN", 403, read.identities.list, {}, {}),
            ("GIT_REPOSITORY_ACCESS_DENIED", 403, read.repo(w.repo.id).commits.create, {"message": "m", "files": []}, {}),
            ("GIT_REPOSITORY_ACCESS_DENIED", 403, read.git.repos.delete, {"repoId": w.repo.id}, {}),
            ("REPOSITORY_NOT_FOUND", 404, nobody.repo(w.repo.id).contents.get, {}, {"repoId": w.repo.id}),
            ("REPOSITORY_NOT_FOUND", 404, sdk.git.repos.delete, {"repoId": "nonsense"}, {"repoId": "nonsense"}),
            ("NOT_FOUND", 404, identity.tokens.revoke, {"tokenId": "nonsense"}, {}),
            ("IDENTITY_NOT_FOUND", 404, sdk.identities.delete, {"identityId": w.repo.id}, {}),
            ("GIT_REPOSITORY_NOT_FOUND", 404, grant.get, {"repoId": "nonsense"}, {}),
            ("PERMISSION_NOT_FOUND", 404, grant.revoke, {"repoId": w.repo.id}, {}),
            ("PERMISSION_NOT_FOUND", 404, grant.update, {"repoId": w.repo.id, "permission": "read"}, {}),
            ("BRANCH_NOT_FOUND", 404, repo.branches.get, {"branchName": "feat"}, {"branch": "feat"}),
            ("BRANCH_NOT_FOUND", 404, repo.commits.list, {"branch": "gone/x"}, {"branch": "gone/x"}),
            ("BRANCH_NOT_FOUND", 404, repo.branches.setDefaultBranch, {"defaultBranch": "gone"}, {"branch": "gone"}),
            ("REFERENCE_NOT_FOUND", 404, repo.tags.get, {"tagName": "v9"}, {"reference": "refs/tags/v9"}),
            ("REFERENCE_NOT_FOUND", 404, repo.contents.get, {"rev": "gone"}, {"reference": "gone"}),
            ("REFERENCE_NOT_FOUND", 404, empty.contents.get, {}, {"reference": "HEAD"}),
            ("REFERENCE_NOT_FOUND", 404, empty.contents.downloadTarball, {}, {"reference": "HEAD"}),
            ("PATH_NOT_FOUND", 404, repo.contents.get, {"path": "src/gone"}, {"path": "src/gone"}),
            ("PATH_NOT_FOUND", 404, create, change(path="gone", deleted=True), {"path": "gone"}),
            ("BLOB_NOT_FOUND", 404, repo.blobs.get, {"sha": head}, {"hash": head}),
            ("TREE_NOT_FOUND", 404, repo.trees.get, {"sha": blob}, {"hash": blob}),
            ("TAG_NOT_FOUND", 404, repo.tags.getByHash, {"sha": ABSENT}, {"hash": ABSENT}),
            ("COMMIT_NOT_FOUND", 404, repo.commits.get, {"sha": ABSENT}, {"sha": ABSENT}),
            ("CONFLICTING_PARENT", 409, create, {"message": "m", "files": [], "expectedSha": ABSENT}, {"expected": ABSENT, "actual": head}),
            ("CONFLICTING_PARENT", 409, create, {"message": "m", "files": [], "branch": "none", "expectedSha": ABSENT},
             {"expected": ABSENT, "actual": None}),
        ]
        for code, status, place, options, fields in cases:
            keep(sdk, code, sdk.fails(code, status, place, **options), fields)
        post = repo.apiClient.post
        keep(sdk, "BRANCH_NAME_EMPTY", sdk.fails("BRANCH_NAME_EMPTY", 400, post, heads, {"body": {}}), {})
        keep(sdk, "BRANCH_ALREADY_EXISTS", sdk.fails("BRANCH_ALREADY_EXISTS", 409, post, f"{heads}apart", {"body": {}}), {"branch": "apart"})
        grant.grant(repoId=w.repo.id, permission="read")
        keep(sdk, "PERMISSION_ALREADY_EXISTS", sdk.fails("PERMISSION_ALREADY_EXISTS", 409, grant.grant, repoId=w.repo.id, permission="read"), {})
        keep(sdk, "AMBIGUOUS", *ambiguous(sdk))


def ambiguous(sdk):
    """Two blobs whose ids begin alike: the first that a search over small files finds."""
    made, seen, n = sdk.repo(sdk.git.repos.create(name="alike")["repoId"]), {}, 0
    while True:
        data = str(n).encode()
        short = hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()[:4]
        if short in seen:
            break
        seen[short], n = data.decode(), n + 1
    made.commits.create(message="alike", files=[{"path": "a", "content": seen[short]}, {"path": "b", "content": data.decode()}])
    return sdk.fails("AMBIGUOUS", 400, made.blobs.get, sha=short), {"rev": short}


def keep(sdk, code, body, fields):
    for key, value in fields.items():
        same(body[key], value, f"{code}: {key}")
    bodies.setdefault(sdk.package, {})[sdk.thrown] = body


# Answers and their rows that carry more than the packages' types know, and what (COMPATIBILITY.md).
ADDED = {"identity.permissions.git.list": (None, {"total", "offset"}),
         "repo.triggers.list": ("triggers", {"paused"}),
         "git.repos.list": ("repositories", {"id", "name", "visibility", "createdAt"}),
         "identity.tokens.list": ("tokens", {"description", "scope", "createdAt", "expiresAt", "lastUsedAt"})}
TYPES = {
    "git.repos.list": "ResponseGetGitV1Repo200", "repo.contents.get": "ResponseGetGitV1RepoRepoContentsPath200",
    "repo.blobs.get": "ResponseGetGitV1RepoRepoGitBlobsHash200", "repo.trees.get": "ResponseGetGitV1RepoRepoGitTreesHash200",
    "repo.commits.get": "ResponseGetGitV1RepoRepoGitCommitsHash200", "repo.commits.list": "ResponseGetGitV1RepoRepoGitCommits200",
    "repo.commits.create": "ResponsePostGitV1RepoRepoCommits200", "repo.branches.list": "ResponseGetGitV1RepoRepoGitRefsHeads200",
    "repo.branches.get": "ResponseGetGitV1RepoRepoGitRefsHeadsBranch200", "repo.tags.list": "ResponseGetGitV1RepoRepoGitRefsTags200",
    "repo.tags.get": "ResponseGetGitV1RepoRepoGitRefsTagsTag200", "repo.tags.getByHash": "ResponseGetGitV1RepoRepoGitTagsHash200",
    "repo.compare": "ResponseGetGitV1RepoRepoCompare200",
    "repo.triggers.list": "ResponseGetGitV1RepoRepoTrigger200", "repo.triggers.create": "ResponsePostGitV1RepoRepoTrigger200",
    "repo.triggers.delete": "ResponseDeleteGitV1RepoRepoTriggerTrigger200",
    "repo.branches.getDefaultBranch": "ResponseGetGitV1RepoRepoIdDefaultBranch200",
    "repo.branches.setDefaultBranch": "ResponsePutGitV1RepoRepoIdDefaultBranch200",
    "git.repos.delete": "ResponseDeleteGitV1RepoRepo200", "identities.list": "ResponseGetIdentityV1Identities200",
    "identities.delete": "ResponseDeleteIdentityV1IdentitiesIdentity200",
    "identity.permissions.git.list": "ResponseGetIdentityV1IdentitiesIdentityPermissionsGit200",
    "identity.permissions.git.get": "ResponseGetIdentityV1IdentitiesIdentityPermissionsGitRepo200",
    "identity.permissions.git.grant": "ResponsePostIdentityV1IdentitiesIdentityPermissionsGitRepo200",
    "identity.permissions.git.update": "ResponsePutIdentityV1IdentitiesIdentityPermissionsGitRepo200",
    "identity.permissions.git.revoke": "ResponseDeleteIdentityV1IdentitiesIdentityPermissionsGitRepo200",
    "identity.tokens.list": "ResponseGetIdentityV1IdentitiesIdentityTokens200",
    "identity.tokens.revoke": "ResponseDeleteIdentityV1IdentitiesIdentityTokensToken200",
}

# Codes that the packages describe as those of virtual machines, and a field that was renamed since (COMPATIBILITY.md).
OTHER_BODIES = {("freestyle", "ForbiddenError"), ("freestyle", "NotFoundError"), ("freestyle-sandboxes", "NotFoundError"),
                ("freestyle-sandboxes", "TreeNotFoundError")}


def bare(name, value):
    """The answer without what is added to it: TypeScript lets a literal have no key that its type does not know."""
    if name not in ADDED:
        return value
    rows, added = ADDED[name]
    strip = lambda o: {k: v for k, v in o.items() if k not in added}
    return {**value, rows: [strip(row) for row in value[rows]]} if rows else strip(value)


@test
def answers_have_the_packages_types(t):
    modules = packages(CLIENTS, "clients")
    lines, exports = [], {"freestyle": "freestyle/private.mjs", "freestyle-sandboxes": "freestyle-sandboxes/index.mjs"}
    for i, package in enumerate(PACKAGES):
        lines.append(f'import type {{ Responses as R{i}, Errors as E{i} }} from "{modules}/{exports[package]}";')
        seen = {}
        for name, value in recorded.get(package, []):
            seen.setdefault(name, []).append(value)
        same(sorted(set(TYPES) - set(seen)), [], f"{package}: methods that were never called")
        for name, values in seen.items():
            # Of many alike the first few, and the longest.
            some = sorted(values[:6] + [max(values, key=lambda v: len(json.dumps(v)))], key=lambda v: -len(json.dumps(v)))
            for value in some if name in TYPES else []:
                lines.append(f"({json.dumps(bare(name, value))}) satisfies R{i}.{TYPES[name]};")
        for name, body in bodies.get(package, {}).items():
            if (package, name) not in OTHER_BODIES:
                lines.append(f'({json.dumps(body)}) satisfies InstanceType<typeof E{i}.{name}>["body"];')
    lines.append('import type { Freestyle } from "' + modules + '/freestyle/index.mjs";')
    for name, value in recorded.get("freestyle", []):
        if name in ("whoami", "git.repos.list", "identities.list"):
            lines.append(f"({json.dumps(bare(name, value))}) satisfies Awaited<ReturnType<Freestyle{''.join(f'[{json.dumps(n)}]' for n in name.split('.'))}>>;")
    lines += ["// @ts-expect-error", f'({{"branches": [{{"commit": null}}]}}) satisfies R0.{TYPES["repo.branches.list"]};']
    path = t.write("answers.mts", "\n".join(lines) + "\n")
    options = {"noEmit": True, "strict": True, "skipLibCheck": True, "target": "es2022", "module": "nodenext", "types": []}
    project = t.write("tsconfig.json", json.dumps({"compilerOptions": options, "files": ["answers.mts"]}))
    done = subprocess.run(["node", os.path.join(modules, "typescript/bin/tsc"), "-p", project], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=120 * slowness())
    said = done.stdout.decode() + done.stderr.decode()
    numbers = sorted({int(n) for n in re.findall(r"answers\.mts\((\d+),", said)})
    expect(done.returncode == 0, "tsc", said, *[lines[n - 1][:300] for n in numbers[:5]])
    expect(len(lines) > 100, "answers were checked", len(lines))
