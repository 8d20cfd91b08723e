"""Other people's servers, on loopback: one that answers with any bytes, and one that is git http-backend."""
import base64
import gzip
import json
import os
import socket
import ssl
import subprocess
import threading

from harness.core import warren


class Request:
    def __init__(self, head, body):
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = first.split(" ", 2)
        self.path, _, self.query = self.target.partition("?")
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        self.body = body

    @property
    def credential(self):
        """(user, password), or None."""
        kind, _, value = self.headers.get("authorization", "").partition(" ")
        return tuple(base64.b64decode(value).decode().split(":", 1)) if kind == "Basic" else None


def answer(status=200, body=b"", close=True, **headers):
    """An answer's bytes; in the names of headers _ stands for -."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"] + (["Connection: close"] if close else [])
    lines += [f"{k.replace('_', '-')}: {v}" for k, v in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(to, status=302):
    return answer(status, b"elsewhere", Location=to)


class Elsewhere:
    """routes: path to bytes, to an iterable of bytes, or to a function of the request that gives one of these (None: nothing
    is said, and the connection stays open until the end). requests: all that came."""

    def __init__(self, t, routes=None, tls=None):
        self.routes, self.requests = dict(routes or {}), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.context, self.connections, self.lock = None, set(), threading.Lock()
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.gone = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()
        t.stack.callback(self.close)

    def close(self):
        if self.gone.is_set():
            return
        self.gone.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for c in self.connections:
                try:
                    c.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with self.lock:
            self.connections.add(connection)
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            elif connection.recv(1, socket.MSG_PEEK) == b"\x16":
                connection.sendall(answer(400, b"no TLS here"))
                return connection.close()
            with connection, connection.makefile("rb") as f:
                request = self.read(f)
                if request:
                    self.requests.append(request)
                    self.say(connection, request, self.find(request))
        except OSError:
            pass

    @staticmethod
    def read(f):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = f.readline()
            if not line:
                return None
            head += line
        request = Request(head[:-4], b"")
        if request.headers.get("transfer-encoding") == "chunked":
            while True:
                n = int(f.readline(), 16)
                request.body += f.read(n)
                f.readline()
                if n == 0:
                    return request
        request.body = f.read(int(request.headers.get("content-length") or 0))
        return request

    def find(self, request):
        return self.routes.get(request.path, answer(404))

    def say(self, connection, request, what):
        if callable(what):
            what = what(request)
        if what is None:
            self.gone.wait()
        else:
            for piece in [what] if isinstance(what, bytes) else what:
                connection.sendall(piece)


class GitServer(Elsewhere):
    """git http-backend over the bare repositories under root. config: of git, for all of them; version: of the protocol, None
    for the one that the client asks for; credential: the only one that is let in; zipped: gzip where the client takes it."""

    def __init__(self, t, root, config=(), version=None, credential=None, zipped=False, tls=None):
        self.root, self.config, self.version, self.credential, self.zipped = root, config, version, credential, zipped
        super().__init__(t, tls=tls)

    def find(self, request):
        if request.path in self.routes:
            return self.routes[request.path]
        if self.credential and request.credential != self.credential:
            return answer(401, b"no", WWW_Authenticate='Basic realm="x"')
        return self.backend

    def environment(self, request):
        env = {"PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": self.root, "GIT_HTTP_EXPORT_ALL": "1", "HOME": self.root,
               "PATH_INFO": request.path, "QUERY_STRING": request.query, "REQUEST_METHOD": request.method,
               "CONTENT_TYPE": request.headers.get("content-type", ""), "CONTENT_LENGTH": str(len(request.body)),
               "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""), "GIT_CONFIG_NOSYSTEM": "1",
               "GIT_CONFIG_COUNT": str(len(self.config)),
               "GIT_PROTOCOL": request.headers.get("git-protocol", "") if self.version is None else f"version={self.version}"}
        for i, (key, value) in enumerate(self.config):
            env[f"GIT_CONFIG_KEY_{i}"], env[f"GIT_CONFIG_VALUE_{i}"] = key, value
        return env

    def backend(self, request):
        """The answer in chunks, as it comes."""
        with subprocess.Popen(["git", "http-backend"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, env=self.environment(request)) as git:
            git.stdin.write(request.body)
            git.stdin.close()
            lines = []
            for line in iter(lambda: git.stdout.readline().strip(), b""):
                lines.append(line.decode())
            status = next((line[8:] for line in lines if line.startswith("Status: ")), "200 OK")
            zipped = self.zipped and "gzip" in request.headers.get("accept-encoding", "")
            head = [f"HTTP/1.1 {status}", "Transfer-Encoding: chunked", "Connection: close"]
            head += [line for line in lines if not line.startswith("Status: ")] + (["Content-Encoding: gzip"] if zipped else [])
            yield "\r\n".join(head).encode() + b"\r\n\r\n"
            pieces = [gzip.compress(git.stdout.read())] if zipped else iter(lambda: git.stdout.read1(1 << 17), b"")
            for piece in pieces:
                yield b"%x\r\n%s\r\n" % (len(piece), piece)
            yield b"0\r\n\r\n"


def certificate(t, name="own.pem", hosts="IP:127.0.0.1"):
    """The path of a key with a certificate that it signed itself."""
    path = t.path(name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=elsewhere", "-addext", f"subjectAltName={hosts}", "-keyout", path, "-out", path + ".crt"],
                   check=True, capture_output=True)
    with open(path, "ab") as f, open(path + ".crt", "rb") as crt:
        f.write(crt.read())
    return path


def ask(what, url, *ids, **keys):
    """What tests/clients/remote_client.c says; keys that have several values come as lists."""
    program = os.path.join(os.path.dirname(warren()), "tests", "remote_client")
    words = [f"{k}={v}" for k, values in keys.items() for v in (values if isinstance(values, list) else [values])]
    done = subprocess.run([program, *words, what, url, *ids], stdin=subprocess.DEVNULL, capture_output=True, timeout=240)
    if done.returncode != 0:
        raise AssertionError(f"remote_client ended with {done.returncode}: {done.stderr.decode(errors='replace')[-3000:]}")
    return json.loads(done.stdout)
