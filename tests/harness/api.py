"""HTTP by hand: a kept-alive client that checks what holds for every reply, and the form of every error."""
import http.client
import json
import re
import ssl
import urllib.parse

from harness import reference
from harness.core import expect, same, slowness

UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


class Reply:
    def __init__(self, what, status, headers, body):
        self.what, self.status, self.headers, self.body = what, status, headers, body

    def header(self, name):
        """The header's value, or None; a header that is there twice is an error."""
        values = [v for k, v in self.headers if k.lower() == name.lower()]
        expect(len(values) < 2, f"{self.what}: header {name} is there {len(values)} times")
        return values[0] if values else None

    @property
    def json(self):
        try:
            return json.loads(self.body)
        except ValueError:
            raise AssertionError(f"{self.what}: {self.status}, not JSON: {self.body[:300]!r}") from None

    def ok(self, keys=None):
        """The JSON of a success; keys: exactly these members."""
        same(self.status, 200, f"{self.what}: status with {self.body[:300]!r}")
        same(self.header("Content-Type"), "application/json", f"{self.what}: Content-Type")
        value = self.json
        if keys is not None:
            same(sorted(value), sorted(keys), f"{self.what}: members")
        return value

    def empty(self):
        same(self.ok(), {}, self.what)

    def error(self, code, **fields):
        """A JSON error of this code, whole: status, members, the given fields."""
        return check_error(self, code, **fields)


def check_error(reply, code, **fields):
    row = reference.document().codes[code]
    same(reply.status, row["status"], f"{reply.what}: status for {code} with {reply.body[:300]!r}")
    same(reply.header("Content-Type"), "application/json", f"{reply.what}: Content-Type")
    value = reply.json
    same(value.get("code"), code, f"{reply.what}: code")
    same(set(value), {"code", "message", *row["fields"]}, f"{reply.what}: members of {code}")
    expect(isinstance(value["message"], str) and value["message"], f"{reply.what}: message", value)
    if not row["sdk"]:
        same(value["description"], value["message"], f"{reply.what}: description")
    for key, wanted_value in fields.items():
        same(value[key], wanted_value, f"{reply.what}: {key}")
    return value


def check_every(reply, cors="*"):
    """What holds for every reply that Warren routed."""
    trace = reply.header("x-freestyle-trace-id")
    expect(trace is not None and re.match(r"^[0-9a-z-]+$", trace), f"{reply.what}: trace id", trace)
    expect("404" not in trace, f"{reply.what}: trace id contains 404", trace)
    same(reply.header("Server"), "warren", f"{reply.what}: Server")
    if cors is not None:
        same(reply.header("Access-Control-Allow-Origin"), cors, f"{reply.what}: Access-Control-Allow-Origin")
        exposed = (reply.header("Access-Control-Expose-Headers") or "").lower().replace(" ", "").split(",")
        expect("x-freestyle-trace-id" in exposed, f"{reply.what}: Access-Control-Expose-Headers", exposed)
    expect(reply.header("Access-Control-Allow-Credentials") is None, f"{reply.what}: credentials by CORS")
    expect(not 300 <= reply.status < 304, f"{reply.what}: a redirect")


class Api:
    """One kept-alive connection. credential: a key or token sent as Bearer, or None."""

    def __init__(self, url, credential=None, headers=None, cafile=None):
        parts = urllib.parse.urlsplit(url)
        self.url, self.host, self.port, self.scheme = url, parts.hostname, parts.port, parts.scheme
        self.credential, self.extra, self.cafile = credential, dict(headers or {}), cafile
        self.connection = None
        self.cors = "*"

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _connect(self):
        if self.scheme == "https":
            context = ssl.create_default_context(cafile=self.cafile)
            return http.client.HTTPSConnection(self.host, self.port, timeout=60 * slowness(), context=context)
        return http.client.HTTPConnection(self.host, self.port, timeout=60 * slowness())

    def request(self, method, path, body=None, headers=None, credential="own", fresh=False):
        """body: bytes as they are, None for no body, anything else as JSON. fresh: on a new connection."""
        sent = dict(self.extra)
        credential = self.credential if credential == "own" else credential
        if credential is not None:
            sent["Authorization"] = f"Bearer {credential}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        sent.update(headers or {})
        for attempt in (1, 2):
            if fresh:
                self.close()
            kept = self.connection is not None
            if self.connection is None:
                self.connection = self._connect()
            try:
                self.connection.request(method, path, body=body, headers=sent)
                answer = self.connection.getresponse()
                data = answer.read()
                break
            except (ConnectionError, http.client.BadStatusLine):
                # An idle connection may be closed by the server at any time; anything else is an error.
                self.close()
                if not kept or attempt == 2:
                    raise
        reply = Reply(f"{method} {path}", answer.status, answer.getheaders(), data)
        if answer.will_close:
            self.close()
        check_every(reply, self.cors)
        reference.check(method, path, reply)
        return reply

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, body=None, **options):
        return self.request("POST", path, body, **options)

    def put(self, path, body=None, **options):
        return self.request("PUT", path, body, **options)

    def delete(self, path, body=None, **options):
        return self.request("DELETE", path, body, **options)
