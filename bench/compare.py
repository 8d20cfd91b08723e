#!/usr/bin/env python3
"""Warren beside nginx + fcgiwrap + git http-backend, on the same repositories, packed with bitmaps, in the same run.

Requests are replayed raw by a small C program over kept connections, so that the client costs both the same and next to
nothing. The two servers take turns, round by round. Printed: requests a second, latency, server CPU per operation, and the
ratios; the server's CPU is the stable figure. Parts: small (info/refs, ls-refs, clones and pushes of a small repository),
big (clones of --big, a path to a large repository such as git.git), intake (a push of all of --library, such as libgit2).
"""
import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode


def git(*args, cwd=None, stdin=None):
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
           "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_AUTHOR_DATE": "1700000000 +0000",
           "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com", "GIT_COMMITTER_DATE": "1700000000 +0000"}
    return subprocess.run(["git", *args], cwd=cwd, input=stdin, env=env, check=True, capture_output=True).stdout


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pkt(line):
    return b"%04x" % (len(line) + 4) + line


def make_repository(path, commits=20, files=60):
    """An application's repository: some folders, files of a few KB, a short history."""
    git("init", "-q", "-b", "main", path)
    for c in range(commits):
        for f in range(files if c == 0 else 3):
            name = os.path.join(path, "src", f"part{f % 7}", f"file{f}.ts")
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "w") as out:
                for line in range(80):
                    out.write(f"export const value_{f}_{line} = compute({(f * 7919 + line * 104729 + c) % 99991});\n")
        git("add", "-A", cwd=path)
        git("commit", "-q", "-m", f"Change {c}", cwd=path)


def make_pushes(path, n, branch="main"):
    """n commits on top of main, each as the request body of one push of three objects."""
    bodies, old = [], git("rev-parse", "main", cwd=path).strip()
    first, ref = old, b"refs/heads/" + branch.encode()
    for i in range(n):
        with open(os.path.join(path, "counter.txt"), "w") as out:
            out.write(f"{branch} {i}\n")
        git("add", "counter.txt", cwd=path)
        git("commit", "-q", "-m", f"Push {i}", cwd=path)
        new = git("rev-parse", "main", cwd=path).strip()
        pack = git("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset", cwd=path,
                   stdin=new + b"\n^" + old + b"\n")
        before = b"0" * 40 if branch != "main" and i == 0 else old
        bodies.append(pkt(before + b" " + new + b" " + ref + b"\0 report-status") + b"0000" + pack)
        old = new
    git("reset", "-q", "--hard", first, cwd=path)
    return bodies


class Account:
    """CPU seconds of a server and all that it starts, by a control group of its own (version 2 or 1; needs root).

    Sums over /proc would miss the children that fcgiwrap never waits for, which are most of the peer's work.
    """

    def __init__(self, name):
        for base, usage, unit in (("/sys/fs/cgroup/cpuacct", "cpuacct.usage", 1e9), ("/sys/fs/cgroup", "cpu.stat", 1e6)):
            self.folder, self.usage, self.unit = os.path.join(base, f"warren-bench-{name}-{os.getpid()}"), usage, unit
            if os.path.isdir(base) and os.access(base, os.W_OK):
                os.mkdir(self.folder)
                if os.path.exists(os.path.join(self.folder, usage)):
                    return
                os.rmdir(self.folder)
        sys.exit("bench: no control group to count CPU with; run it as root")

    def join(self):
        with open(os.path.join(self.folder, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    def cpu(self):
        with open(os.path.join(self.folder, self.usage)) as f:
            return int(f.read().replace("usage_usec ", "").split()[0]) / self.unit

    def close(self):
        deadline = time.monotonic() + 10
        while os.path.isdir(self.folder) and time.monotonic() < deadline:
            try:
                os.rmdir(self.folder)
            except OSError:
                time.sleep(0.05)


class Warren:
    name = "warren"

    def __init__(self, binary, tmp):
        data = os.path.join(tmp, "warren-data")
        self.binary, self.data = binary, data
        env = dict(os.environ, WARREN_SERVER_DATA=data, WARREN_SERVER_LISTEN="127.0.0.1:0", WARREN_SERVER_LOG_LEVEL="warn")
        self.account = json.loads(subprocess.check_output([binary, "account", "create", "bench"], env=env,
                                                           stderr=subprocess.DEVNULL))
        self.account_cpu = Account("warren")
        self.process = subprocess.Popen([binary, "serve"], env=env, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=self.account_cpu.join,
                                        stderr=open(os.path.join(tmp, "warren.log"), "w"))
        line = self.process.stdout.readline()
        self.host, port = line.strip().rpartition("//")[2].rsplit(":", 1)
        self.port = int(port)
        self.auth = {"Authorization": "Basic " + b64encode(b"x:" + self.account["apiKey"].encode()).decode()}

    def add(self, source, name):
        c = http.client.HTTPConnection(self.host, self.port)
        c.request("POST", "/git/v1/repo", json.dumps({"name": name}),
                  {"Authorization": "Bearer " + self.account["apiKey"]})
        repo = json.loads(c.getresponse().read())["repoId"]
        if source:
            git("push", "-q", f"http://x:{self.account['apiKey']}@{self.host}:{self.port}/{repo}", "refs/heads/*:refs/heads/*",
                "refs/tags/*:refs/tags/*", cwd=source)
        return "/" + repo

    def settle(self, path):
        """Checkpointed, as a repository is soon after a push; beside it the peer's is repacked with bitmaps."""
        subprocess.run([self.binary, "repo", "checkpoint", path[1:], "--data", self.data], check=True, stdout=subprocess.DEVNULL)

    def anonymous(self):
        """Megabytes of anonymous memory."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(next(line for line in f if line.startswith("RssAnon")).split()[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.account_cpu.close()


class Peer:
    name = "nginx + git http-backend"

    def __init__(self, tmp, workers=4):
        self.root = os.path.join(tmp, "peer")
        os.makedirs(os.path.join(self.root, "tmp"))
        sock = os.path.join(self.root, "fcgi.sock")
        self.host, self.port, self.auth = "127.0.0.1", free_port(), {}
        user = "user root;" if os.getuid() == 0 else ""  # the workers have to reach the socket
        conf = f"""
{user} daemon off; worker_processes 2; pid {self.root}/nginx.pid; error_log {self.root}/error.log;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {self.root}/tmp; fastcgi_temp_path {self.root}/tmp;
 proxy_temp_path {self.root}/tmp; uwsgi_temp_path {self.root}/tmp; scgi_temp_path {self.root}/tmp;
 keepalive_requests 1000000; client_max_body_size 0;
 server {{ listen 127.0.0.1:{self.port};
  location / {{ fastcgi_pass unix:{sock}; include /etc/nginx/fastcgi_params;
   fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend; fastcgi_param PATH_INFO $uri;
   fastcgi_param GIT_PROJECT_ROOT {self.root}; fastcgi_param GIT_HTTP_EXPORT_ALL 1;
   fastcgi_param REMOTE_USER bench; fastcgi_param GIT_PROTOCOL $http_git_protocol; }} }} }}
"""
        with open(os.path.join(self.root, "nginx.conf"), "w") as f:
            f.write(conf)
        script = f"fcgiwrap -c {workers} -s unix:{sock} & nginx -e {self.root}/error.log -c {self.root}/nginx.conf & wait"
        self.account_cpu = Account("peer")
        self.process = subprocess.Popen(["bash", "-c", script], start_new_session=True, preexec_fn=self.account_cpu.join,
                                        stderr=open(os.path.join(self.root, "stderr"), "w"))
        deadline = time.monotonic() + 10
        while True:
            try:
                http.client.HTTPConnection(self.host, self.port, timeout=1).connect()
                if os.path.exists(sock):
                    break
            except OSError:
                pass
            if time.monotonic() > deadline:
                sys.exit("bench: nginx did not start; see " + self.root)
            time.sleep(0.05)

    def add(self, source, name, durable=False):
        path = os.path.join(self.root, name)
        git("clone", "-q", "--bare", source, path)
        if durable is not None:
            git("repack", "-q", "-adb", cwd=path)
        git("config", "http.receivepack", "true", cwd=path)
        git("config", "receive.autogc", "false", cwd=path)
        if durable:
            git("config", "core.fsync", "all", cwd=path)
        return "/" + name

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
        self.account_cpu.close()


REPLAY = "build/release/bench/replay"
V2 = {"Git-Protocol": "version=2"}
UPLOAD = {**V2, "Content-Type": "application/x-git-upload-pack-request"}
RECEIVE = {"Content-Type": "application/x-git-receive-pack-request"}
LS_REFS = (pkt(b"command=ls-refs\n") + pkt(b"object-format=sha1") + b"0001" + pkt(b"peel\n") + pkt(b"symrefs\n") +
           pkt(b"ref-prefix HEAD\n") + pkt(b"ref-prefix refs/heads/\n") + pkt(b"ref-prefix refs/tags/\n") + b"0000")


def fetch_body(tips):
    return (pkt(b"command=fetch") + pkt(b"object-format=sha1") + b"0001" + pkt(b"thin-pack") + pkt(b"ofs-delta") +
            b"".join(pkt(b"want " + tip + b"\n") for tip in tips) + pkt(b"done\n") + b"0000")


def raw(server, method, path, headers, body=b"", part=False):
    """One request as bench/replay.c reads it."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {server.host}\r\n"
    for key, value in {**server.auth, **headers, **({"Content-Length": len(body)} if method == "POST" else {})}.items():
        head += f"{key}: {value}\r\n"
    text = (b"-" if part else b"") + head.encode() + b"\r\n" + body
    return struct.pack("<Q", len(text)) + text


def info_refs(server, path):
    return raw(server, "GET", path + "/info/refs?service=git-upload-pack", V2)


def ls_refs(server, path):
    return raw(server, "POST", path + "/git-upload-pack", UPLOAD, LS_REFS)


def clone(server, path, tips):
    return (raw(server, "GET", path + "/info/refs?service=git-upload-pack", V2, part=True) +
            raw(server, "POST", path + "/git-upload-pack", UPLOAD, LS_REFS, part=True) +
            raw(server, "POST", path + "/git-upload-pack", UPLOAD, fetch_body(tips)))


def push(server, path, body):
    return (raw(server, "GET", path + "/info/refs?service=git-receive-pack", {}, part=True) +
            raw(server, "POST", path + "/git-receive-pack", RECEIVE, body))


class Replay:
    """One run of the client: clients is a list of requests for each."""

    def __init__(self, tmp, server, needle, clients):
        self.files = []
        for i, requests in enumerate(clients):
            self.files.append(os.path.join(tmp, f"requests-{id(self)}-{i}"))
            with open(self.files[-1], "wb") as f:
                f.write(requests)
        self.server, self.needle = server, needle

    def start(self):
        self.cpu = self.server.account_cpu.cpu()
        self.process = subprocess.Popen([REPLAY, self.server.host, str(self.server.port), self.needle, *self.files],
                                        stdout=subprocess.PIPE, text=True)
        return self

    def end(self):
        out = self.process.communicate()[0]
        if self.process.returncode != 0:
            raise RuntimeError(f"{self.server.name}: a request failed")
        result = json.loads(out)
        result["cpu_ms"] = (self.server.account_cpu.cpu() - self.cpu) * 1000 / result["count"]
        result["rate"] = result["count"] / result["seconds"]
        for path in self.files:
            os.unlink(path)
        return result


def compare(tmp, title, ours, peer, needle, make, rounds, names=("ratio",)):
    """make(server, round) gives that round's requests, a piece of bytes for each client. The servers take turns."""
    results = {}
    for r in range(rounds):
        for server in (ours, peer):
            results.setdefault(server.name, []).append(Replay(tmp, server, needle, make(server, r)).start().end())
    rows = {name: {key: statistics.median(v[key] for v in values) for key in values[0] if key != "some"} for name, values in results.items()}
    print(title)
    for name, v in rows.items():
        print(f"  {name:26s} {v['rate']:9.1f}/s  median {v['median_ms']:9.2f} ms  p99 {v['p99_ms']:9.2f} ms"
              f"  server CPU {v['cpu_ms']:9.3f} ms each" + (f"  first byte {v['first_ms']:.1f} ms" if needle == "PACK" else ""))
    a, b = rows[ours.name], rows[peer.name]
    print(f"  {names[0]:26s} rate {a['rate'] / b['rate']:.1f}x, latency 1/{b['median_ms'] / a['median_ms']:.1f},"
          f" CPU 1/{b['cpu_ms'] / max(a['cpu_ms'], 1e-9):.1f}")
    sys.stdout.flush()
    return rows


def small(args, tmp, ours, peer):
    source, n = os.path.join(tmp, "source"), args.count
    make_repository(source)
    pushes = make_pushes(source, n)
    branches = [make_pushes(source, n // 4, f"b{i}") for i in range(16)]
    tip = git("rev-parse", "main", cwd=source).strip()
    paths = {s.name: s.add(source, "small") for s in (ours, peer)}
    ours.settle(paths[ours.name])
    for clients in (1, 8):
        many = f", {clients} client{'s' if clients > 1 else ''}"
        compare(tmp, "info/refs" + many, ours, peer, "version 2",
                lambda s, r: [info_refs(s, paths[s.name]) * n] * clients, args.rounds)
        compare(tmp, "ls-refs" + many, ours, peer, "refs/heads/main",
                lambda s, r: [ls_refs(s, paths[s.name]) * n] * clients, args.rounds)
        compare(tmp, "full clone, 60 files, 20 commits" + many, ours, peer, "PACK",
                lambda s, r: [clone(s, paths[s.name], [tip]) * n] * clients, args.rounds)
    for durable in (True, False):
        said = f" (peer with core.fsync={'all' if durable else 'default, which flushes nothing'})"

        def fresh(s, r, what):
            name = f"{what}-{durable}-{r}"
            return s.add(source, name, durable) if s is peer else s.add(source, name)
        compare(tmp, "push of 3 objects, 1 client" + said, ours, peer, "ok refs/heads/main",
                lambda s, r: [b"".join(push(s, p, b) for p in [fresh(s, r, "one")] for b in pushes)], args.rounds)
        compare(tmp, "push of 3 objects, 16 clients on 16 repositories" + said, ours, peer, "ok refs/heads/",
                lambda s, r: [b"".join(push(s, p, b) for p in [fresh(s, r, f"own{i}")] for b in pushes[:n // 4])
                              for i in range(16)], args.rounds)

        def shared(s, r):
            path = fresh(s, r, "shared")
            return [b"".join(push(s, path, b) for b in bodies) for bodies in branches]
        compare(tmp, "push of 3 objects, 16 clients on one repository" + said, ours, peer, "ok refs/heads/", shared, args.rounds)


def tips_of(path):
    rows = git("for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags", cwd=path).split()
    return list(dict.fromkeys(rows))


def big(args, tmp, ours, peer):
    source = os.path.join(tmp, "big-source")
    git("clone", "-q", "--bare", args.big, source)  # with the bitmap that may be there
    if not any(name.endswith(".bitmap") for name in os.listdir(os.path.join(source, "objects/pack"))):
        git("repack", "-q", "-adb", cwd=source)
    paths = {ours.name: ours.add(source, "big"), peer.name: peer.add(source, "big", None)}
    ours.settle(paths[ours.name])
    tips = tips_of(source)
    size = sum(os.path.getsize(os.path.join(source, "objects/pack", f)) for f in os.listdir(os.path.join(source, "objects/pack"))
               if f.endswith(".pack"))
    idle = ours.anonymous()
    compare(tmp, f"full clone of the big repository ({size / 1e6:.0f} MB), 1 client", ours, peer, "PACK",
            lambda s, r: [clone(s, paths[s.name], tips) * 3], args.rounds)
    for clients in (8, 32):
        result = {}
        for server in (ours, peer):
            clones = Replay(tmp, server, "PACK", [clone(server, paths[server.name], tips)] * clients).start()
            adverts, most = [], 0
            while clones.process.poll() is None:
                beside = Replay(tmp, server, "version 2", [info_refs(server, paths[server.name]) * 20]).start().end()
                adverts += beside["some"]
                most = max(most, ours.anonymous() - idle) if server is ours else 0
            adverts.sort()
            result[server.name] = (clones.end(), adverts, most)
        print(f"{clients} full clones of it at once, info/refs beside them")
        for name, (v, adverts, most) in result.items():
            print(f"  {name:26s} {v['seconds']:7.2f} s  server CPU {v['cpu_ms'] / 1000:7.3f} s each, adverts included"
                  f"  adverts: median {adverts[len(adverts) // 2]:.1f} ms, p99 {adverts[len(adverts) * 99 // 100]:.1f} ms of {len(adverts)}" + (f"  anonymous memory {most:.0f} MB" if name == ours.name else ""))
        a, b = result[ours.name][0], result[peer.name][0]
        print(f"  ratio                      time 1/{b['seconds'] / a['seconds']:.1f}, CPU 1/{b['cpu_ms'] / a['cpu_ms']:.1f}")
        sys.stdout.flush()


def intake(args, tmp, ours):
    """A push of everything, against git's two steps on the same pack: index-pack, and its check of connectivity."""
    source = os.path.join(tmp, "library-source")
    git("clone", "-q", "--bare", "--no-local", args.library, source)
    git("repack", "-q", "-ad", cwd=source)
    pack = next(os.path.join(source, "objects/pack", f) for f in os.listdir(os.path.join(source, "objects/pack")) if f.endswith(".pack"))
    refs = [row.split() for row in git("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags",
                                       cwd=source).splitlines()]
    with open(pack, "rb") as f:
        content = f.read()
    commands = [b"0" * 40 + b" " + oid + b" " + name for oid, name in refs]
    body = pkt(commands[0] + b"\0 report-status") + b"".join(pkt(c) for c in commands[1:]) + b"0000" + content
    ours_s, ours_cpu, git_s, git_cpu, most = [], [], [], [], 0
    for r in range(args.rounds):
        path = ours.add(None, f"library-{r}")
        idle = ours.anonymous()
        run = Replay(tmp, ours, "unpack ok", [raw(ours, "POST", path + "/git-receive-pack", RECEIVE, body)]).start()
        while run.process.poll() is None:
            most = max(most, ours.anonymous() - idle)
            time.sleep(0.02)
        v = run.end()
        ours_s.append(v["seconds"])
        ours_cpu.append(v["cpu_ms"] / 1000)
        target = os.path.join(tmp, f"library-git-{r}")
        git("init", "-q", "--bare", target)
        before, start = os.times(), time.perf_counter()
        with open(pack, "rb") as f:
            subprocess.run(["git", "index-pack", "--stdin"], stdin=f, cwd=target, check=True, stdout=subprocess.DEVNULL)
        git("rev-list", "--objects", "--stdin", "--not", "--all", "--quiet", cwd=target, stdin=b"\n".join(o for o, _ in refs) + b"\n")
        after = os.times()
        git_s.append(time.perf_counter() - start)
        git_cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
        shutil.rmtree(target)
    a, b = statistics.median(ours_s), statistics.median(git_s)
    print(f"push of all of the library ({len(content) / 1e6:.0f} MB, {len(refs)} refs) into an empty repository")
    print(f"  warren                     {a:7.2f} s  server CPU {statistics.median(ours_cpu):7.2f} s  anonymous memory {most:.0f} MB")
    print(f"  git index-pack, rev-list   {b:7.2f} s         CPU {statistics.median(git_cpu):7.2f} s")
    print(f"  ratio                      time {a / b:.2f}")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--warren", default="build/release/warren")
    p.add_argument("--count", type=int, default=200, help="operations a round")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--big", help="a large repository to clone")
    p.add_argument("--library", help="a repository to push as a whole")
    p.add_argument("--part", action="append", choices=("small", "big", "intake"))
    args = p.parse_args()
    tmp = tempfile.mkdtemp(prefix="warren-bench-")
    servers = []
    try:
        ours, peer = Warren(args.warren, tmp), Peer(tmp)
        servers = [ours, peer]
        if not args.part or "small" in args.part:
            small(args, tmp, ours, peer)
        if args.big and (not args.part or "big" in args.part):
            big(args, tmp, ours, peer)
        if args.library and (not args.part or "intake" in args.part):
            intake(args, tmp, ours)
    finally:
        for s in servers:
            s.stop()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    main()
