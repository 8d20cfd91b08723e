"""docs/webhooks.md: both consumers of the page run as they stand there, take what is genuine, and nothing else."""
import os
import re
import select
import socket
import subprocess
import time
import urllib.error
import urllib.request

from harness import expect, same, test
from harness.core import Fail, slowness
from harness.node import TRANSPILE, node, packages
from harness.receiver import CLIENTS, commit, trigger

COST = 3
RELEASE_ONLY = True
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/webhooks.md")
CONFIG = "[webhooks]\nallow_private_networks = true\nretry_pause = 50ms\n"
NODE = """
declare const process: { env: Record<string, string | undefined> };
declare class Buffer extends Uint8Array { static concat(all: Uint8Array[]): Buffer; toString(): string; }
declare module "node:crypto" { export function createHash(name: string): { update(b: Uint8Array): { digest(form: string): string } }; }
declare module "node:http" {
  interface Request extends AsyncIterable<Uint8Array> { headers: Record<string, string | string[] | undefined> }
  interface Response { writeHead(status: number): Response; end(): void }
  export function createServer(f: (request: Request, response: Response) => void): { listen(port: number, host: string, f: () => void): void };
}
"""


def block(language):
    with open(PAGE, encoding="utf-8") as f:
        found = re.findall(rf"^```{language}\n(.*?)^```$", f.read(), re.M | re.S)
    same(len(found), 1, f"blocks of {language}")
    return found[0]


class Consumer:
    def __init__(self, t, args, issuer, **env):
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}/hook"
        env = {"PATH": os.environ["PATH"], "WARREN": issuer, "ENDPOINT": self.endpoint, "NO_PROXY": "*", **env}
        self.process = subprocess.Popen(args, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=t.tmp)
        t.stack.callback(self.close)
        self.rest = b""
        same(self.line(), "ready", "its first line")

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def line(self):
        deadline = time.monotonic() + 60 * slowness()
        while b"\n" not in self.rest:
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Fail("the consumer says nothing")
            more = os.read(self.process.stdout.fileno(), 65536)
            expect(more, "the consumer has ended")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def post(self, body, signature):
        request = urllib.request.Request(self.endpoint, body, {"x-freestyle-signature": signature} if signature else {})
        try:
            with urllib.request.urlopen(request, timeout=30 * slowness()) as answer:
                return answer.status
        except urllib.error.HTTPError as e:
            return e.code


class Between:
    """An endpoint that keeps what comes, to be sent on changed."""

    def __init__(self, t):
        self.socket = socket.create_server(("127.0.0.1", 0))
        t.stack.callback(self.socket.close)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/hook"

    def take(self):
        """(signature, body) of one call."""
        self.socket.settimeout(60 * slowness())
        connection, _ = self.socket.accept()
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            head, body = data.split(b"\r\n\r\n", 1)
            length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
            while len(body) < length:
                body += connection.recv(65536)
            connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        return re.search(rb"(?i)x-freestyle-signature: (\S+)", head).group(1).decode(), body


def works(t, args, **env):
    server = t.own_server(config=CONFIG)
    consumer = Consumer(t, args, server.url, **env)
    repo = server.account().repo(defaultBranch="main")
    one = trigger(repo, consumer.endpoint)
    for n in range(3):
        sha = commit(repo, "main", {"a": str(n)})
        same(consumer.line(), f"{repo.id} main {sha}", "what it was told")
    # What was signed for another endpoint is not for this one, nor is anything forged.
    between = Between(t)
    trigger(repo, between.url)
    sha = commit(repo, "main", {"a": "last"})
    signature, body = between.take()
    same(consumer.line(), f"{repo.id} main {sha}", "its own")
    same(consumer.post(body, signature), 401, "signed for another endpoint")
    same(consumer.post(body, None), 401, "not signed")
    same(consumer.post(body, "a.b.c"), 401, "no signature")
    repo.account.api.post(f"{repo.path}/trigger/{one}/test", {}).ok()
    same(consumer.line(), f"{repo.id} main {sha}", "a test")


@test
def in_typescript(t):
    modules = packages(CLIENTS, "clients")
    os.symlink(modules, os.path.join(t.tmp, "node_modules"))
    for name, text in (("receiver.mts", block("ts")), ("node.d.ts", NODE), ("transpile.mjs", TRANSPILE)):
        t.write(name, text)
    status, out, err = node(modules, *(t.path(name) for name in ("transpile.mjs", "receiver.mts", "node.d.ts")))
    expect(status == 0, "the page's TypeScript does not compile", out, err)
    works(t, ["node", t.path("receiver.mjs")])


@test
def in_python(t):
    works(t, ["python3", t.write("receiver.py", block("python"))], PYTHONPATH="/usr/lib/python3/dist-packages")
