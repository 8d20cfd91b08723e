"""What git says of a repository on disk, in the form of the API's answers."""
import base64
import datetime
import io
import re
import stat
import tarfile
import zipfile

from harness.core import expect, same


def time_text(seconds):
    return datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc)


def read_time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def person(line):
    name, mail, seconds = re.fullmatch(r"(.*) <(.*)> (\d+) [+-]\d{4}", line).groups()
    return {"name": name, "email": mail, "date": time_text(seconds)}


class Said:
    """still: nothing changes in the repository, so that git is asked once for each thing."""

    def __init__(self, git, path, still=False):
        self.git, self.path, self.still, self.known = git, path, still, {}

    def run(self, *args):
        if not self.still or args not in self.known:
            self.known[args] = self.git.run(*args, cwd=self.path)
        return self.known[args]

    def raw(self, *args):
        status, out, err = self.run(*args)
        expect(status == 0, f"git {args}", err.decode(errors="replace"))
        return out

    def __call__(self, *args):
        return self.raw(*args).decode(errors="surrogateescape")

    def commit(self, name):
        oid = self("rev-parse", f"{name}^{{commit}}").strip()
        head, _, message = self("cat-file", "commit", oid).partition("\n\n")
        lines = [line.split(" ", 1) for line in head.splitlines() if not line.startswith(" ")]
        return {"sha": oid, "tree": {"sha": dict(lines)["tree"]}, "parents": [{"sha": v} for k, v in lines if k == "parent"],
                "author": person(dict(lines)["author"]), "committer": person(dict(lines)["committer"]), "message": message}

    def tag(self, name, ref):
        """A tag as all three reads give it; light ones have neither tagger nor message."""
        oid = self("rev-parse", ref).strip()
        if self("cat-file", "-t", oid).strip() != "tag":
            return {"name": name, "tagger": None, "message": None, "target": {"sha": oid}, "sha": oid}
        head, _, message = self("cat-file", "tag", oid).partition("\n\n")
        lines = dict(line.split(" ", 1) for line in head.splitlines())
        tagger = person(lines["tagger"]) if "tagger" in lines else None
        return {"name": name, "tagger": tagger, "message": message, "target": {"sha": lines["object"]}, "sha": oid}

    def entries(self, tree):
        """[(mode, type, id, size, name)] without submodules."""
        rows = []
        for row in self("ls-tree", "-l", "-z", tree).split("\0")[:-1]:
            head, name = row.split("\t", 1)
            mode, kind, oid, size = head.split()
            if kind != "commit":
                rows.append((mode, kind, oid, None if size == "-" else int(size), name))
        return rows

    def tree(self, name):
        oid = self("rev-parse", f"{name}^{{tree}}").strip()
        rows = [{"type": kind, "path": path, "sha": sha, **({"size": size} if kind == "blob" else {})}
                for _, kind, sha, size, path in self.entries(oid)]
        return {"sha": oid, "tree": rows}

    def blob(self, oid):
        data = self.raw("cat-file", "blob", oid)
        return {"sha": oid, "size": len(data), "encoding": "base64", "content": base64.b64encode(data).decode()}

    def folder(self, rev, path, recursive=False):
        """The answer for a directory."""
        tree = self("rev-parse", f"{rev}^{{tree}}" if not path else f"{rev}:{path}").strip()
        below = []
        for _, kind, oid, size, name in self.entries(tree):
            full = f"{path}/{name}" if path else name
            if kind == "blob":
                below.append({"type": "file", "name": name, "path": full, "sha": oid, "size": size})
            else:
                inner = self.folder(rev, full, True)["entries"] if recursive else []
                below.append({"type": "dir", "name": name, "path": full, "sha": oid, "entries": inner})
        return {"type": "dir", "name": path.rsplit("/", 1)[-1], "path": path, "sha": tree, "entries": below}

    def file(self, rev, path):
        data = self.raw("cat-file", "blob", f"{rev}:{path}")
        return {"type": "file", "name": path.rsplit("/", 1)[-1], "path": path, "sha": self("rev-parse", f"{rev}:{path}").strip(),
                "size": len(data), "content": base64.b64encode(data).decode()}

    def log(self, *what):
        """The history's order as the reference has it: newest committer date first, children before parents."""
        return self("rev-list", "--date-order", *what).split()

    def compare(self, base, head):
        bases = self.run("merge-base", "--all", base, head)[1].decode().split()
        behind, ahead = self.git.apart(self.path, base, head)
        status = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
        start = bases[0] if bases else base
        counts = {}
        numbers = iter(self("diff", "-M", "--numstat", "-z", start, head).split("\0"))
        for row in numbers:
            if not row:
                continue
            added, gone, path = row.split("\t")
            if not path:
                next(numbers)
                path = next(numbers)
            counts[path] = tuple(0 if n == "-" else int(n) for n in (added, gone))
        files = []
        words = iter(self("diff", "-M", "--raw", "-z", "--abbrev=40", start, head).split("\0"))
        for row in words:
            if not row:
                continue
            old_mode, mode, old, new, letter = row[1:].split(" ")
            path, before = next(words), None
            if letter[0] in "RC":
                before, path = path, next(words)
            kind = {"A": "added", "D": "removed", "M": "modified", "T": "changed", "R": "renamed"}[letter[0]]
            if kind == "modified" and old == new:
                kind = "changed"
            added, gone = counts[path]
            shown = old if kind == "removed" else new
            module = (old_mode if kind == "removed" else mode) == "160000"
            files.append({"status": kind, "filename": path, "previous_filename": before, "additions": added, "deletions": gone,
                          "changes": added + gone, "sha": None if module else shown})
        return {"status": status, "ahead_by": ahead, "behind_by": behind, "total_commits": ahead,
                "files": sorted(files, key=lambda f: f["filename"].encode(errors="surrogateescape"))}

    def archive(self, rev):
        """{path: (mode, bytes)} as git puts it into an archive, folders and submodules aside."""
        found = {}
        for row in self("ls-tree", "-r", "-z", rev).split("\0")[:-1]:
            head, name = row.split("\t", 1)
            mode, kind, oid = head.split()
            if kind == "blob":
                found[name] = (mode, self.raw("cat-file", "blob", oid))
        return found


def in_tar(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        found = {}
        for m in tar.getmembers():
            if m.issym():
                found[m.name] = ("120000", m.linkname.encode(errors="surrogateescape"))
            elif m.isfile():
                found[m.name] = ("100755" if m.mode & 0o100 else "100644", tar.extractfile(m).read())
            else:
                expect(m.isdir(), "an entry of the tar", m.name)
        return found


def in_zip(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        same(z.testzip(), None, "checksums of the zip")
        found = {}
        for i in z.infolist():
            mode = i.external_attr >> 16
            if not i.filename.endswith("/"):
                kind = "120000" if stat.S_ISLNK(mode) else "100755" if mode & 0o100 else "100644"
                found[i.filename] = (kind, z.read(i))
        return found


def times_read(value):
    """An answer whose dates can be compared."""
    if isinstance(value, dict):
        return {k: read_time(v) if k == "date" and isinstance(v, str) else times_read(v) for k, v in value.items()}
    return [times_read(v) for v in value] if isinstance(value, list) else value
