#!/usr/bin/env python3
"""Clone and push of a small repository: Warren beside nginx + fcgiwrap + git http-backend.

Requests are replayed raw over kept connections, so that the client costs both the same and little. The two servers take
turns, round by round. Printed: requests a second, median latency, server CPU per operation, and the ratios; the server's
CPU is the stable figure.
"""
import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
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


def make_pushes(path, n):
    """n commits on top of main, each as the request body of one push of three objects."""
    bodies, old = [], git("rev-parse", "main", cwd=path).strip()
    first = old
    for i in range(n):
        with open(os.path.join(path, "counter.txt"), "w") as out:
            out.write(f"{i}\n")
        git("add", "counter.txt", cwd=path)
        git("commit", "-q", "-m", f"Push {i}", cwd=path)
        new = git("rev-parse", "main", cwd=path).strip()
        pack = git("pack-objects", "--revs", "--thin", "--stdout", "-q", "--delta-base-offset", cwd=path,
                   stdin=new + b"\n^" + old + b"\n")
        bodies.append(pkt(old + b" " + new + b" refs/heads/main\0 report-status") + b"0000" + pack)
        old = new
    git("update-ref", "refs/heads/main", first, cwd=path)
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
        git("push", "-q", f"http://x:{self.account['apiKey']}@{self.host}:{self.port}/{repo}", "main", cwd=source)
        return "/" + repo

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


def call(conn, server, method, path, body=None, headers=None):
    conn.request(method, path, body, {**server.auth, **(headers or {})})
    reply = conn.getresponse()
    data = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"{server.name}: {method} {path}: {reply.status} {data[:200]!r}")
    return data


V2 = {"Git-Protocol": "version=2"}
UPLOAD = {**V2, "Content-Type": "application/x-git-upload-pack-request"}
LS_REFS = (pkt(b"command=ls-refs\n") + pkt(b"object-format=sha1") + b"0001" + pkt(b"peel\n") + pkt(b"symrefs\n") +
           pkt(b"ref-prefix HEAD\n") + pkt(b"ref-prefix refs/heads/\n") + pkt(b"ref-prefix refs/tags/\n") + b"0000")


def fetch_body(tip):
    return (pkt(b"command=fetch") + pkt(b"object-format=sha1") + b"0001" + pkt(b"thin-pack") + pkt(b"ofs-delta") +
            pkt(b"want " + tip + b"\n") + pkt(b"done\n") + b"0000")


def info_refs(conn, server, path):
    call(conn, server, "GET", path + "/info/refs?service=git-upload-pack", headers=V2)


def clone(conn, server, path, tip):
    info_refs(conn, server, path)
    call(conn, server, "POST", path + "/git-upload-pack", LS_REFS, UPLOAD)
    if b"PACK" not in call(conn, server, "POST", path + "/git-upload-pack", fetch_body(tip), UPLOAD):
        raise RuntimeError(server.name + ": a clone without a pack")


def push(conn, server, path, body):
    call(conn, server, "GET", path + "/info/refs?service=git-receive-pack")
    answer = call(conn, server, "POST", path + "/git-receive-pack", body,
                  {"Content-Type": "application/x-git-receive-pack-request"})
    if b"ok refs/heads/main" not in answer:
        raise RuntimeError(f"{server.name}: push refused: {answer!r}")


def measure(server, jobs, clients):
    """jobs: list of functions(conn). Returns (seconds, median latency, CPU seconds)."""
    latencies, errors, lock, it = [], [], threading.Lock(), iter(jobs)

    def work():
        conn = http.client.HTTPConnection(server.host, server.port, timeout=60)
        try:
            while True:
                with lock:
                    job = next(it, None)
                if job is None:
                    return
                start = time.perf_counter()
                job(conn)
                with lock:
                    latencies.append(time.perf_counter() - start)
        except Exception as e:
            errors.append(e)

    cpu, start = server.account_cpu.cpu(), time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return time.perf_counter() - start, statistics.median(latencies), server.account_cpu.cpu() - cpu


def compare(title, ours, peer, make, count, clients, rounds):
    """make(server, round) gives that round's jobs. The servers take turns."""
    result = {}
    for r in range(rounds):
        for server in (ours, peer):
            jobs = make(server, r)
            seconds, median, cpu = measure(server, jobs, clients)
            result.setdefault(server.name, []).append((len(jobs) / seconds, median * 1000, cpu / len(jobs) * 1000))
    rows = {name: [statistics.median(column) for column in zip(*values)] for name, values in result.items()}
    print(f"{title}, {clients} client{'s' if clients > 1 else ''}, {rounds} rounds of {count}")
    for name, (rate, latency, cpu) in rows.items():
        print(f"  {name:26s} {rate:9.1f}/s  median {latency:8.2f} ms  server CPU {cpu:8.3f} ms each")
    a, b = rows[ours.name], rows[peer.name]
    print(f"  ratio                      rate {a[0] / b[0]:.1f}x, latency 1/{b[1] / a[1]:.1f}, CPU 1/{b[2] / max(a[2], 1e-9):.1f}")
    sys.stdout.flush()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--warren", default="build/release/warren")
    p.add_argument("--count", type=int, default=100, help="operations a round")
    p.add_argument("--rounds", type=int, default=3)
    args = p.parse_args()
    tmp = tempfile.mkdtemp(prefix="warren-bench-")
    servers = []
    try:
        source = os.path.join(tmp, "source")
        make_repository(source)
        pushes = make_pushes(source, args.count)
        tip = git("rev-parse", "main", cwd=source).strip()
        ours, peer = Warren(args.warren, tmp), Peer(tmp)
        servers = [ours, peer]
        paths = {s.name: s.add(source, "small") for s in servers}
        for clients in (1, 8):
            compare("info/refs", ours, peer,
                    lambda s, r: [lambda c: info_refs(c, s, paths[s.name])] * args.count, args.count, clients, args.rounds)
            compare("full clone, 60 files, 20 commits", ours, peer,
                    lambda s, r: [lambda c: clone(c, s, paths[s.name], tip)] * args.count, args.count, clients, args.rounds)

        for durable in (True, False):
            def fresh(s, r):
                name = f"push-{durable}-{r}"
                path = s.add(source, name, durable) if s is peer else s.add(source, name)
                return [lambda c, b=b: push(c, s, path, b) for b in pushes]
            compare(f"push of 3 objects (peer with core.fsync={'all' if durable else 'default, which flushes nothing'})",
                    ours, peer, fresh, args.count, 1, args.rounds)
    finally:
        for s in servers:
            s.stop()
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    main()
