"""Clients that stop in the middle, until the test goes on with them."""
import http.client
import os
import socket

from harness import pkt
from harness.core import slowness
from harness.pkt import ZERO, entry, oid, pack, push_body, small
from harness.raw import FETCH, PUSH


def _connection(repo):
    return http.client.HTTPConnection(*repo.account.server.url.split("//")[1].split(":"), timeout=60 * slowness())


def _head(connection, path, key, body, headers):
    connection.putrequest("POST", path)
    for header, value in {**headers, "Content-Length": str(len(body)), "Authorization": f"Bearer {key}"}.items():
        connection.putheader(header, value)
    connection.endheaders()


class SlowPush:
    """A push whose body is sent in pieces by hand; large enough to need files, by which its beginning is seen."""

    def __init__(self, repo, ref="refs/heads/slow"):
        self.tip, objects = small("slow", os.urandom(4_000_000))
        self.ids = {oid(kind, data) for kind, data in objects}
        self.body = push_body([(ZERO, self.tip, ref)], pack([entry(k, d) for k, d in objects]))
        self.ref, self.at, self.repo = ref, 0, repo
        self.connection = _connection(repo)
        _head(self.connection, f"/{repo.id}.git/git-receive-pack", repo.account.key, self.body, PUSH)

    def send(self, part):
        end = int(len(self.body) * part)
        self.connection.send(self.body[self.at:end])
        self.at = end

    def answer(self):
        reply = self.connection.getresponse()
        return reply.status, reply.read()


class SlowClone:
    """A clone by protocol 2 whose answer, larger than what sockets hold, is read when the test asks for it."""

    def __init__(self, repo, wants):
        self.connection = _connection(repo)
        self.connection.sock = socket.socket()
        self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.connection.sock.settimeout(60 * slowness())
        self.connection.sock.connect((self.connection.host, int(self.connection.port)))
        lines = [f"want {w}\n" for w in wants]
        body = pkt.pkts("command=fetch\n", "agent=test\n", pkt.DELIM, *lines, "done\n", pkt.FLUSH)
        headers = {**FETCH, "Git-Protocol": "version=2"}
        _head(self.connection, f"/{repo.id}.git/git-upload-pack", repo.account.key, body, headers)
        self.connection.send(body)

    def answer(self):
        """The status, and the pack's bytes."""
        self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        reply = self.connection.getresponse()
        packets = pkt.parse(reply.read())
        return reply.status, pkt.bands(packets[1:])[1]
