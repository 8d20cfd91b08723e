"""A relay between a client and the server, to count and look at requests and to let something happen between two of them."""
import gzip
import http.client
import http.server
import threading
import urllib.parse

from harness.core import slowness

PASSED_ON = {"connection", "content-length", "transfer-encoding", "host", "expect"}


class Relay:
    """Listens on a free port of 127.0.0.1. before(method, path, body), when set, is called ahead of each request that
    is passed on, with the body unzipped; requests: those three of each so far."""

    def __init__(self, t, server):
        parts = urllib.parse.urlsplit(server.url)
        self.to, self.before, self.requests = (parts.hostname, parts.port), None, []
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def body(self):
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                data = b""
                while True:
                    size = int(self.rfile.readline().split(b";")[0], 16)
                    data += self.rfile.read(size)
                    self.rfile.readline()
                    if not size:
                        return data

            def pass_on(self):
                body = self.body()
                plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                relay.requests.append((self.command, self.path, plain))
                if relay.before:
                    relay.before(self.command, self.path, plain)
                connection = http.client.HTTPConnection(*relay.to, timeout=60 * slowness())
                headers = {k: v for k, v in self.headers.items() if k.lower() not in PASSED_ON}
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in PASSED_ON:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = pass_on

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        t.stack.callback(self.close)

    def through(self, url):
        """A URL of the server, by way of the relay."""
        parts = urllib.parse.urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return urllib.parse.urlunsplit(("http", f"{login}@" * bool(login) + self.url.split("//")[1], *parts[2:]))

    def once(self, wanted, action):
        """Calls action ahead of the first request whose body has the bytes wanted."""
        def before(_, __, body):
            if wanted in body:
                self.before = None
                action()
        self.before = before

    def close(self):
        self.http.shutdown()
        self.http.server_close()
