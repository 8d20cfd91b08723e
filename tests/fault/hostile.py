"""Tenants and clients that mean harm: what one of them does, the others do not notice."""
import socket

from harness import expect, same, test


def connect(server):
    host, port = server.url.split("//")[1].split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def announce(server, repo, length):
    """A fetch whose body is promised and never sent: the connection, and the status that the promise got."""
    s = connect(server)
    s.sendall("\r\n".join([
        f"POST /{repo.id}.git/git-upload-pack HTTP/1.1", "Host: x", f"Authorization: Bearer {repo.account.key}",
        "Content-Type: application/x-git-upload-pack-request", f"Content-Length: {length}", "Expect: 100-continue",
        "", ""]).encode())
    line = s.recv(4096).split(b"\r\n")[0]
    return s, int(line.split()[1])


@test
def one_account_cannot_take_all_buffers(t):
    server = t.own_server(config="[http]\nmax_buffered = 8m\n[git]\nmax_fetch_request = 1m\n")
    greedy, other = server.account().repo(), server.account().repo()
    promised = [announce(server, greedy, 1 << 20) for _ in range(12)]
    for s, _ in promised:
        t.stack.callback(s.close)
    same({status for _, status in promised}, {100, 503}, "what the promises of one account got")
    same(other.account.api.post("/git/v1/repo", {"name": "x"}).status, 200, "another account creates a repository")
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b"})
    t.git("push", "-q", other.url(), "main", cwd=work)
    t.git("clone", "-q", other.url(), t.path("clone"))
    same(t.git.rev(t.path("clone")), t.git.rev(work), "what another account cloned")
    taken = [s for s, status in promised if status == 100]
    expect(len(taken) > 3, "most of the room is one account's, while nobody else wants it", len(taken))
