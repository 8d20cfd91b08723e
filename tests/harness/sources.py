"""Somebody else's Git server: `git http-backend` behind a small HTTP server, with passwords, redirects, and answers that stop
in the middle until they are let go."""
import base64
import http.server
import os
import subprocess
import threading
import urllib.parse

from harness.core import same, slowness

USER, PASSWORD = "some one", "p@ss/word%41-"  # both need encoding in a URL


class Sources:
    """Below folder lies what it serves: /NAME.git. /locked/NAME.git wants USER and PASSWORD; /held/NAME.git stops in the
    middle of its pack until let_go() or close(); /moved/REST redirects to self.moved + REST. seen: (method, path,
    Authorization) of every request."""

    def __init__(self, t):
        self.git, self.folder = t.git, t.path("sources")
        os.makedirs(self.folder)
        self.seen, self.moved, self.held = [], "", threading.Event()
        self.version2 = True  # else it knows no other version of the protocol than 0
        self.go = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"sources": self}))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        t.stack.callback(self.close)

    def close(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def let_go(self):
        self.go.set()

    def wait_held(self):
        """Until an answer has stopped in the middle."""
        same(self.held.wait(60 * slowness()), True, "the source is asked for a pack")

    def repo(self, name, *config):
        """A new bare repository; its folder."""
        path = self.git.init(os.path.join(self.folder, f"{name}.git"), bare=True)
        for key in config:
            self.git("config", key, "true", cwd=path)
        return path

    def url(self, name, folder="", login=False):
        word = f"{urllib.parse.quote(USER)}:{urllib.parse.quote(PASSWORD, safe='')}@" if login else ""
        return f"{self.base.replace('//', '//' + word)}/{folder + '/' if folder else ''}{name}.git"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sources = None

    def log_message(self, *_):
        pass

    def answer(self, status, headers, body=b""):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.serve(b"")

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while (size := int(self.rfile.readline(), 16)) > 0:
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.serve(body)

    def serve(self, body):
        s = self.sources
        path, _, query = self.path.partition("?")
        s.seen.append((self.command, path, self.headers.get("Authorization")))
        folder = path.split("/")[1]
        if folder == "moved":
            self.answer(302, [("Location", s.moved + self.path[len("/moved"):])])
            return
        if folder == "locked":
            word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {word}":
                self.answer(401, [("WWW-Authenticate", 'Basic realm="x"')])
                return
        if folder in ("locked", "held"):
            path = path[len(folder) + 1:]
        if not os.path.isdir(os.path.join(s.folder, path.split("/")[1])):
            self.answer(404, [])
            return
        status, headers, out = self.backend(path, query, body)
        if folder == "held" and self.command == "POST" and b"PACK" in out:
            self.stop_in_the_middle(headers, out)
        else:
            self.answer(status, headers, out)

    def backend(self, path, query, body):
        s = self.sources
        env = {**s.git.env, "GIT_PROJECT_ROOT": s.folder, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
               "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_LENGTH": str(len(body)),
               "CONTENT_TYPE": self.headers.get("Content-Type") or "", "REMOTE_USER": "", "REMOTE_ADDR": "127.0.0.1",
               "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
               "GIT_PROTOCOL": (self.headers.get("Git-Protocol") or "") if s.version2 else ""}
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=False)
        head, _, out = done.stdout.partition(b"\r\n\r\n")
        headers, status = [], 200
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split(" ")[0])
            elif name:
                headers.append((name, value))
        return status, headers, out

    def stop_in_the_middle(self, headers, out):
        self.send_response_only(200)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        cut = out.index(b"PACK") + 20
        self.wfile.write(out[:cut])
        self.wfile.flush()
        self.sources.held.set()
        self.sources.go.wait(120 * slowness())
        try:
            self.wfile.write(out[cut:])
        except OSError:
            self.close_connection = True
