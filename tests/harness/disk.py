"""A disk that loses power: replays what fault/disk_faults.c noted, and makes folders as they could look after a cut.

What is certain: bytes of a file that a finished flush of it covers; names in a folder that a finished flush of the folder
covers. All else may be there or not: each write kept, dropped or torn at pages, a file's length old or new, and of the
operations of a folder a beginning, or any of them. Bytes that a failed flush covered are never certain again: the kernel
takes their pages for clean."""
import hashlib
import json
import mmap
import os
import struct

from harness.core import expect, warren

CREATE, WRITE, SIZE, ROOM, FLUSH, FLUSHED, RENAME, LINK, UNLINK, MARK, ROOT = range(1, 12)
HEAD = struct.Struct("<IIIIQQQQII")
PENDING, DONE, DOOMED = range(3)
CALLS = {"write": 1, "flush": 2, "rename": 4, "open": 8, "map": 16, "size": 32, "mkdir": 64, "unlink": 128, "create": 256,
         "memory": 512}


def library():
    """The preloaded library that stands beside the program under test."""
    path = os.path.join(os.path.dirname(warren()), "tests", "disk_faults.so")
    expect(os.path.exists(path), "no disk_faults.so beside the program: make unit", path)
    return path


def environment(data, log=None, control=None, clock=None):
    """clock: a harness.clock.Clock, or the machine's."""
    env = {"LD_PRELOAD": library(), "WARREN_FAULT_DATA": data, "ASAN_OPTIONS": "verify_asan_link_order=0"}
    if clock:
        env.update({**clock.environment, "LD_PRELOAD": f"{library()}:{clock.environment['LD_PRELOAD']}"})
    env.update({"WARREN_FAULT_LOG": log} if log else {})
    env.update({"WARREN_FAULT_CONTROL": control} if control else {})
    return env


# Instead of an error. What is below CRASH is a signal's number, negative, that the process's parent gets; its call is made.
CRASH = -1  # the thread that calls dies, and its process with it


class Control:
    """Says which calls of a running server fail."""

    FORM = struct.Struct("<IIIiIII50s50s")

    def __init__(self, path):
        self.path, self.lasts = path, False
        with open(path, "wb") as f:
            f.write(bytes(128))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 128)

    def fail(self, calls, error, after=0, times=1 << 31, halved=False, path="", spared=""):
        """calls: names joined by +. times: so many fail, from the one behind `after` on. path: a part of the name; spared: what
        is no part of it."""
        bits = sum(CALLS[c] for c in calls.split("+"))
        self.clear()
        self.map[:128] = self.FORM.pack(0, after, times, error, halved, 0, 0, path.encode(), spared.encode())
        self.map[:4] = struct.pack("<I", bits)

    def clear(self):
        self.map[:4] = bytes(4)

    def failed(self):
        """How many calls failed since the last fail()."""
        return self.FORM.unpack(self.map[:128])[6]

    def seen(self):
        """How many there were of those that could fail."""
        return self.FORM.unpack(self.map[:128])[5]


class Notes:
    """The log of a server under watch, and marks of the test's own in it."""

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def mark(self, **what):
        data = json.dumps(what).encode()
        row = HEAD.pack(HEAD.size + len(data), MARK, 0, 0, 0, 0, 0, 0, 0, 0) + data
        expect(os.write(self.fd, row) == len(row), "a mark is written")

    def note(self, kind, ino, ino2=0, at=0, flag=0, name="", data=b""):
        name = name.encode()
        row = HEAD.pack(HEAD.size + len(name) + len(data), kind, len(name), 0, ino, ino2, at, 0, flag, 0) + name + data
        expect(os.write(self.fd, row) == len(row), "a note is written")

    def begin(self, root):
        """Before the first server: this folder is the disk, and what is in it by now is certain."""
        self.note(ROOT, os.stat(root).st_ino)
        for folder, folders, files in os.walk(root):
            ino = os.stat(folder).st_ino
            for name in folders:
                self.note(CREATE, ino, os.stat(os.path.join(folder, name)).st_ino, flag=1, name=name)
            for name in files:
                path = os.path.join(folder, name)
                own = os.stat(path).st_ino
                self.note(CREATE, ino, own, name=name)
                with open(path, "rb") as f:
                    self.note(WRITE, own, data=f.read())
        self.mark(certain=True)

    def close(self):
        os.close(self.fd)

    def read(self):
        """The notes, in order."""
        with open(self.path, "rb") as f:
            data = f.read()
        notes, at = [], 0
        while at < len(data):
            note = Note(data, at)
            notes.append(note)
            at += note.len
        expect(at == len(data), "the log ends with a whole note")
        return notes


class Note:
    __slots__ = ("len", "kind", "ino", "ino2", "at", "size", "flag", "a", "b", "data")

    def __init__(self, log, start):
        self.len, self.kind, a, b, self.ino, self.ino2, self.at, self.size, self.flag, _ = HEAD.unpack_from(log, start)
        p = start + HEAD.size
        self.a, self.b = log[p:p + a].decode(), log[p + a:p + a + b].decode()
        self.data = log[p + a + b:start + self.len]

    @property
    def mark(self):
        return json.loads(self.data)


class Op:
    """One change of a file or folder that is not certain yet."""
    __slots__ = ("state", "serial", "what")

    def __init__(self, serial, what):
        self.state, self.serial, self.what = PENDING, serial, what


class Node:
    """A file or folder: what is certain, the operations since, and how many of them each flush under way covers."""

    def __init__(self, is_folder, name=""):
        self.is_folder, self.name = is_folder, name
        self.sure = {} if is_folder else bytearray()
        self.now = {} if is_folder else None
        self.ops, self.gone, self.flushing = [], 0, {}

    def add(self, serial, *what):
        self.ops.append(Op(serial, what))

    def flush(self, number):
        self.flushing[number] = self.gone + len(self.ops)

    def flushed(self, number, failed):
        upto = self.flushing.pop(number) - self.gone
        if failed and self.is_folder:
            return
        for op in self.ops[:max(0, upto)]:
            if op.state == PENDING:
                op.state = DOOMED if failed else DONE
        while self.ops and self.ops[0].state == DONE:
            self.apply(self.sure, self.ops.pop(0).what)
            self.gone += 1

    def settle(self):
        """All of it is certain."""
        for op in self.ops:
            self.apply(self.sure, op.what)
        self.gone += len(self.ops)
        self.ops = []

    def apply(self, onto, what):
        if self.is_folder:
            for name, node in what:
                if node is None:
                    onto.pop(name, None)
                else:
                    onto[name] = node
            return
        kind, at, data = what
        if kind == "size":
            del onto[at:]
            onto.extend(bytes(at - len(onto)))
            return
        end = at + (len(data) if kind == "write" else data)
        if len(onto) < end:
            onto.extend(bytes(end - len(onto)))
        if kind == "write":
            onto[at:end] = data


class Disk:
    """Fed with notes one by one; make() may be called in between."""

    def __init__(self, deaf=lambda name: False):
        """deaf: files and folders whose flushes this disk ignores, by their last name (to see that tests notice)."""
        self.nodes, self.root, self.serial, self.deaf = {}, None, 0, deaf

    def feed(self, note):
        node = self.nodes.get(note.ino)
        self.serial += 1
        if note.kind == ROOT:
            if self.root is None:
                self.root = self.nodes[note.ino] = Node(True)
        elif note.kind == MARK:
            if "certain" in note.mark:
                for each in self.nodes.values():
                    each.settle()
        elif node is None:
            # Not a file of ours: made by other means than the calls that are watched.
            expect(note.kind not in (WRITE, CREATE), "a change of an unknown file", note.kind, note.a)
        elif note.kind == CREATE:
            made = self.nodes[note.ino2] = Node(bool(note.flag), note.a)
            self.entries(node, [(note.a, made)])
        elif note.kind == LINK:
            self.entries(node, [(note.a, self.nodes[note.ino2])])
        elif note.kind == UNLINK:
            if note.a in node.now:
                self.entries(node, [(note.a, None)])
        elif note.kind == RENAME:
            self.rename(node, self.nodes[note.ino2], note.a, note.b)
        elif note.kind == WRITE:
            node.add(self.serial, "write", note.at, note.data)
        elif note.kind == SIZE:
            node.add(self.serial, "size", note.size, b"")
        elif note.kind == ROOM:
            node.add(self.serial, "room", note.at, note.size)
        elif note.kind == FLUSH:
            node.flush(note.at)
        elif note.kind == FLUSHED and note.at in node.flushing:
            node.flushed(note.at, note.flag or self.deaf(node.name))

    def entries(self, folder, changes):
        folder.apply(folder.now, changes)
        folder.add(self.serial, *changes)

    def rename(self, source, target, old, new):
        if ".sock" in old:
            return  # bind() made it, which is not watched; it is no data
        node = source.now[old]
        node.name = new
        if source is target:
            self.entries(source, [(old, None), (new, node)])
            return
        self.entries(target, [(new, node)])
        self.entries(source, [(old, None)])

    # What a cut leaves.

    def make(self, path, choice):
        """Writes the folder as choice (a Choice) has it; the digest of all that is in it."""
        choice.begin(self)
        digest = hashlib.sha1()
        self._folder(self.root, path, "", choice, digest, {})
        return digest.digest()

    def _folder(self, node, path, below, choice, digest, made):
        """made: files by their nodes; what has several names is linked."""
        os.mkdir(path, 0o700)
        for name, child in sorted(choice.entries(node).items()):
            if name.endswith("-shm"):
                continue  # SQLite's shared memory: mapped, rebuilt by whoever comes first
            here = f"{below}/{name}"
            if child.is_folder:
                digest.update(f"{here}\0folder\0".encode())
                self._folder(child, os.path.join(path, name), here, choice, digest, made)
                continue
            if id(child) in made:
                os.link(made[id(child)], os.path.join(path, name))
                continue
            data = choice.content(child)
            digest.update(f"{here}\0{len(data)}\0".encode() + hashlib.sha1(data).digest())
            with open(os.path.join(path, name), "wb", opener=lambda p, f: os.open(p, f, 0o600)) as f:
                f.write(data)
            made[id(child)] = os.path.join(path, name)


class Choice:
    """What of the uncertain is there. names and bytes: none, all, some; with random numbers where some."""

    def __init__(self, names, data, random=None):
        self.names, self.data, self.random = names, data, random

    def __str__(self):
        return f"names {self.names}, bytes {self.data}"

    def begin(self, disk):
        """some: one journal of the file system's up to a point, a beginning of each folder's changes, or any of them."""
        self.listed, self.contents = {}, {}
        if self.names != "some":
            return
        self.how = self.random.choice(["journal", "beginnings", "any"])
        folders = [n for n in disk.nodes.values() if n.is_folder and n.ops]
        certain = max([op.serial for n in folders for op in n.ops if op.state == DONE], default=0)
        serials = sorted({op.serial for n in folders for op in n.ops if op.serial > certain})
        self.upto = self.random.choice([certain, *serials])

    def entries(self, node):
        if id(node) not in self.listed:
            self.listed[id(node)] = self._entries(node)
        return self.listed[id(node)]

    def _entries(self, node):
        out = dict(node.sure)
        cut = self.random.randint(0, len(node.ops)) if self.names == "some" else 0
        for i, op in enumerate(node.ops):
            keep = op.state == DONE or self.names == "all"
            if self.names == "some" and not keep:
                keep = {"journal": op.serial <= self.upto, "beginnings": i < cut, "any": self.random.random() < 0.5}[self.how]
            if keep:
                node.apply(out, op.what)
        return out

    def content(self, node):
        if id(node) not in self.contents:
            self.contents[id(node)] = bytes(self._content(node))
        return self.contents[id(node)]

    def _content(self, node):
        if self.data == "all" or not node.ops:
            out = bytearray(node.sure)
            for op in node.ops:
                node.apply(out, op.what)
            return out
        out = bytearray(node.sure)
        longest = len(out)
        how = self.random.choice(["none", "all", "any", "torn", "beginning"]) if self.data == "some" else self.data
        cut = self.random.randint(0, len(node.ops)) if how == "beginning" else 0
        for i, op in enumerate(node.ops):
            whole = op.state == DONE or how == "all" or (how == "any" and self.random.random() < 0.5) or i < cut
            if whole:
                node.apply(out, op.what)
            elif how == "torn":
                self._tear(node, out, op.what)
            longest = max(longest, len(out), op.what[1] + (len(op.what[2]) if op.what[0] == "write" else op.what[2] or 0))
        # The length may be there before the bytes are.
        if how == "length" or (self.data == "some" and longest > len(out) and self.random.random() < 0.3):
            out.extend(bytes(longest - len(out)))
        return out

    def _tear(self, node, out, what):
        kind, at, data = what
        if kind != "write":
            if self.random.random() < 0.5:
                node.apply(out, what)
            return
        page = self.random.choice([512, 4096])
        place = at
        while place < at + len(data):
            end = min(at + len(data), (place // page + 1) * page)
            if self.random.random() < 0.5:
                node.apply(out, ("write", place, data[place - at:end - at]))
            place = end
