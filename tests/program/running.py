"""A server's life: HTTPS, the end by SIGTERM, the log."""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

from harness import Fail, expect, same, test, wait_for
from harness.pkt import report
from harness.server import run_warren
from harness.slow import SlowPush

CONCURRENT = True
COST = 3


def openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    if done.returncode:
        raise Fail(f"openssl {' '.join(args)}: {done.stderr.decode(errors='replace')}")


def certificates(t, name="127.0.0.1", kind="IP"):
    """A CA of our own and a certificate by it: (ca, chain, key)."""
    ca, ca_key, key, request, cert = (t.path(n) for n in ("ca.pem", "ca.key", "server.key", "server.csr", "server.pem"))
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=Test CA", "-keyout",
            ca_key, "-out", ca, "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=warren", "-keyout", key, "-out", request)
    extensions = t.write("ext", f"subjectAltName={kind}:{name}\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", cert)
    return ca, cert, key


@test
def https_with_certificate_checking(t):
    ca, cert, key = certificates(t)
    server = t.own_server(flags=["--tls-cert", cert, "--tls-key", key], cafile=ca)
    expect(server.url.startswith("https://"), "the ready line", server.url)
    account = server.account()
    repo = account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b", "big": t.random.randbytes(3_000_000)})
    trust = ("-c", f"http.sslCAInfo={ca}", "-c", "http.sslVerify=true")
    t.git(*trust, "push", "-q", repo.url(), "main", cwd=work)
    t.git(*trust, "clone", "-q", "--mirror", repo.url(), t.path("copy"))
    t.git.same_repository(t.path("copy"), work, "over HTTPS")
    err = t.git.fails("clone", "-q", repo.url(), t.path("untrusted"))
    expect("certificate" in err.lower() or "SSL" in err, "without our CA", err)
    host, port = server.url.split("//")[1].split(":")
    for highest, works in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)):
        context = ssl.create_default_context(cafile=ca)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = highest
        try:
            with socket.create_connection((host, int(port)), timeout=20) as raw, context.wrap_socket(raw, server_hostname=host) as s:
                spoken = s.version()
        except (ssl.SSLError, ConnectionError):
            spoken = None
        same(spoken is not None, works, f"at most {highest.name}: spoken {spoken}")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.settimeout(10)
        try:
            expect(b"200" not in raw.recv(1000), "plain HTTP is not served on it")
        except ConnectionResetError:
            pass


@test
def tls_options_that_do_not_fit_stop_the_start(t):
    ca, cert, key = certificates(t)
    other = t.path("other.key")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", other)
    for flags in (["--tls-cert", cert], ["--tls-key", key], ["--tls-cert", t.path("no"), "--tls-key", key], ["--tls-cert", cert, "--tls-key", ca],
                  ["--tls-cert", t.write("x", "nonsense"), "--tls-key", key], ["--tls-cert", cert, "--tls-key", other]):
        status, out, err = run_warren("serve", "--data", t.path("data"), "--listen", "127.0.0.1:0", *flags)
        expect(status != 0 and out == "" and err.strip(), "refused", flags, status, out, err)


def spools(server):
    """Files of packs that are on their way in."""
    return [name for name in server.files("run") if "pack" in name]


def draining(server):
    """Whether it said that it stops."""
    return any(line.get("event") == "server.draining" for line in server.log_lines())


@test
def sigterm_lets_a_push_finish(t):
    server = t.own_server()
    account = server.account()
    repo = account.repo()
    push = SlowPush(repo)
    push.send(0.5)
    wait_for(lambda: spools(server), "the push's beginning")
    server.terminate()
    wait_for(lambda: draining(server), "the drain")
    push.send(1)
    status, body = push.answer()
    same((status, report(body)), (200, ("ok", {push.ref: "ok"})), "the push in flight")
    same(server.wait(), 0, "exit status")
    server.start()
    same(t.git.remote_refs(repo.url()), {push.ref: push.tip}, "after the start")


@test
def sigterm_does_not_wait_for_idle_connections(t):
    server = t.own_server(flags=["--stop-timeout", "50s"])
    account = server.account()
    account.api.get("/healthz").ok()
    host, port = server.url.split("//")[1].split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(5)]
    for s in silent:
        t.stack.callback(s.close)
    silent[0].sendall(b"GET /healthz HT")
    start = time.monotonic()
    server.terminate()
    same(server.wait(), 0, "exit status")
    expect(time.monotonic() - start < 25, "an idle connection delays nothing", time.monotonic() - start)


@test
def sigterm_gives_up_on_a_client_that_sends_no_more(t):
    server = t.own_server(flags=["--stop-timeout", "500ms"])
    account = server.account()
    repo = account.repo()
    push = SlowPush(repo)
    push.send(0.5)
    wait_for(lambda: spools(server), "the push's beginning")
    server.terminate()
    same(server.wait(), 0, "exit status")
    server.start()
    same(t.git.remote_refs(repo.url()), {}, "nothing of it")
    wait_for(lambda: not spools(server), "nothing left in run/")


@test
def while_draining_the_health_check_fails(t):
    server = t.own_server(flags=["--stop-timeout", "50s"])
    account = server.account()
    repo = account.repo()
    api = server.api()
    api.get("/healthz").ok()
    push = SlowPush(repo)
    push.send(0.5)
    wait_for(lambda: spools(server), "the push's beginning")
    server.terminate()
    wait_for(lambda: draining(server), "the drain")
    try:
        reply = api.connection and api.get("/healthz")
        expect(reply.status == 503, "health of a kept-alive connection", reply.status)
        reply.error("UNAVAILABLE")
    except (ConnectionError, http.client.HTTPException):
        pass  # closed at once is fine as well
    push.send(1)
    same(push.answer()[0], 200, "the push in flight")
    same(server.wait(), 0, "exit status")


@test
def other_signals_stop_it_too(t):
    for number in (signal.SIGINT, signal.SIGHUP):
        server = t.own_server()
        server.process.send_signal(number)
        same(server.wait(), 0, f"exit status after {number.name}")


@test
def control_sockets_that_never_got_their_name_go(t):
    """A process that dies between making its socket and renaming it leaves one; what is young may be another one's, and what is no socket is nobody's."""
    server = t.own_server()
    server.stop()
    kept = [os.path.join(server.data, name) for name in ("control.sock.00000001", "control.sock.00000002", "control.sockets.old")]
    gone = os.path.join(server.data, "control.sock.00000003")
    for path in (kept[0], kept[2], gone):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
    with open(kept[1], "wb"):
        pass
    for path in (kept[1], kept[2], gone):
        os.utime(path, (time.time() - 3600,) * 2)
    server.start()
    same([os.path.exists(path) for path in [*kept, gone]], [True, True, True, False], "what is left")
    server.account()


@test
def sigterm_under_load(t):
    """Requests of every kind are under way: each gets a whole answer or a closed connection, and the end is clean."""
    server = t.own_server()
    account = server.account()
    repo = account.repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"big": t.random.randbytes(2_000_000)})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    stop, wrong = threading.Event(), []

    def rest():
        api = server.api(account.key)
        while not stop.is_set():
            try:
                api.post("/git/v1/repo", {}, fresh=True)
                api.get("/git/v1/repo?limit=5")
            except (OSError, http.client.HTTPException):
                return
            except Exception as e:
                wrong.append(repr(e))
                return

    def clone(n):
        while not stop.is_set():
            if t.git.run("clone", "-q", "--mirror", repo.url(), t.path(f"c{n}-{time.monotonic_ns()}"))[0] != 0:
                return

    threads = [threading.Thread(target=rest) for _ in range(4)] + [threading.Thread(target=clone, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    server.terminate()
    status = server.wait()
    stop.set()
    for thread in threads:
        thread.join()
    same(status, 0, f"exit status\n{server.log_tail()}")
    same(wrong, [], "odd answers")
    server.start()
    t.git.same_repository(t.git.mirror(repo.url(), t.path("after")), work, "after the start")


@test
def one_log_line_a_request_by_route_name(t):
    server = t.own_server()
    account = server.account()
    repo = account.repo()
    start = len(server.log_lines())
    replies = [("/git/v1/repo/{repo}", account.api.get(repo.path)), (None, account.api.get("/nowhere/secret-path")),
               ("/git/v1/repo", account.api.get("/git/v1/repo?search=private-words")),
               ("/{repo.git}/info/refs", account.api.get(f"/{repo.id}.git/info/refs?service=git-upload-pack")),
               ("/healthz", account.api.get("/healthz"))]
    traces = {reply.header("x-freestyle-trace-id"): (route, reply) for route, reply in replies}
    same(len(traces), len(replies), "each has its own trace id")

    def lines():
        found = [x for x in server.log_lines()[start:] if x.get("event") == "request" and x.get("trace") in traces]
        return found if len(found) >= len(replies) else None

    found = wait_for(lines, "the lines of the log")
    same(len(found), len(replies), "one line each")
    for line in found:
        route, reply = traces[line["trace"]]
        same((line["status"], line["method"]), (reply.status, "GET"), "status and method")
        if route:
            same(line["route"], route, "route")
        expect("time" in line and "level" in line, "time and level", line)
    text = json.dumps(found)
    expect("private-words" not in text and "secret-path" not in text, "neither queries nor unknown paths", text)


@test
def each_request_of_many_has_its_line(t):
    """Several share a write then, and an end writes what waits."""
    server = t.own_server()
    account = server.account()
    traces = []

    def ask():
        api = server.api(account.key)
        traces.extend([api.get("/auth/v1/whoami").header("x-freestyle-trace-id") for _ in range(100)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()
    lines = [line["trace"] for line in server.log_lines() if line["event"] == "request"]
    same(sorted(traces), sorted(lines), "the requests, and their lines")
    server.start()


@test
def no_secret_reaches_the_log(t):
    """All ways in which a secret can come in, right and wrong; the log is read by the harness at the end, and here."""
    server = t.own_server(flags=["--log-level", "debug"])
    account = server.account()
    repo = account.repo()
    identity = account.identity(write=repo)
    token_id, secret = identity.token(description="words of the description")
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"file": "content-of-the-file"})
    for one in (secret, account.key):
        t.git("push", "-q", "-f", repo.url(one), "main", cwd=work)
        t.git("-c", f"http.extraHeader=Authorization: Bearer {one}", "ls-remote", repo.url(None))
        server.api().get("/auth/v1/whoami", headers={"X-Freestyle-Identity-Access-Token": one})
        server.api().get(f"/auth/v1/whoami?token={one}&key={one}", credential=one)
        server.api().get(f"/{one}/info/refs?service=git-upload-pack", credential=one)
        server.api().get(f"/git/v1/repo/{one}", credential=one)
        server.api().get(f"/nowhere/{one}")
        server.api().post("/git/v1/repo", one.encode(), credential=one)
        server.api().request("PATCH", f"/{one}", credential=one)
    identity.revoke(token_id)
    server.api(secret).get("/auth/v1/whoami").error("UNAUTHORIZED_ERROR")
    wrong = server.keep_secret("wrk_" + "A" * 43)
    server.api(wrong).get("/auth/v1/whoami").error("UNAUTHORIZED_ERROR")
    server.stop()
    text = server.log()
    for word in (secret, account.key, wrong, "content-of-the-file", "words of the description"):
        expect(word.encode() not in text, "in the log", word)
    expect(not re.search(rb"wr[kt]_[A-Za-z0-9]{20}", text), "anything that looks like a secret")
    expect(text.count(b"\n") > 20, "there is a log to look at", text)
    server.start()
