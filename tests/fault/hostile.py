"""Tenants and clients that mean harm: what one of them does, the others do not notice."""
import socket

from harness import expect, same, test, wait_for


def connect(server):
    host, port = server.url.split("//")[1].split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def announce(server, repo, length):
    """A fetch whose body is promised: the connection, and the status that the promise got."""
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
    held = []

    def refused():
        s, status = announce(server, greedy, 1 << 20)
        t.stack.callback(s.close)
        if status == 100:
            s.sendall(b"0" * ((1 << 20) - 1))
            held.append(s)
        return status != 100 and (status,)

    same(wait_for(refused, "a refusal of more bodies that do not end"), (503,), "what the account's next promise gets")
    same(other.account.api.post("/git/v1/repo", {"name": "x"}).status, 200, "another account creates a repository")
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b"})
    t.git("push", "-q", other.url(), "main", cwd=work)
    t.git("clone", "-q", other.url(), t.path("clone"))
    same(t.git.rev(t.path("clone")), t.git.rev(work), "what another account cloned")
    expect(len(held) > 3, "most of the room is one account's, while nobody else wants it", len(held))


@test
def promises_take_no_buffers(t):
    """A body that is only announced costs nobody his place: not its own account either."""
    server = t.own_server(config="[http]\nmax_buffered = 8m\n[git]\nmax_fetch_request = 1m\n")
    repo = server.account().repo()
    work = t.git.init(t.path("work"))
    t.git.commit(work, {"a": "b"})
    t.git("push", "-q", repo.url(), "main", cwd=work)
    promised = [announce(server, repo, 1 << 20) for _ in range(60)]
    for s, _ in promised:
        t.stack.callback(s.close)
    same({status for _, status in promised}, {100}, "what the promises got")
    t.git("clone", "-q", repo.url(), t.path("clone"))
    same(t.git.rev(t.path("clone")), t.git.rev(work), "what was cloned meanwhile")
