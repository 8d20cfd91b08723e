"""JSON that is large, wide, deep or zipped: each ends in its own answer, and all together within [http] max_buffered."""
import base64
import gzip
import json
import threading

from harness import expect, same, test
from harness.said import Said

CONCURRENT = True
COST = 4
MB = 1 << 20
MAX = 64
CONFIG = f"[http]\nmax_buffered = {MAX}m\nmax_commit = 16m\n"


def at_once(server, account, path, bodies, headers=None):
    """The replies to so many requests sent at the same time, and by how many bytes the server's memory grew meanwhile."""
    replies, done, before = [None] * len(bodies), threading.Event(), server.rss_anon()
    most = [before]

    def ask(i, api):
        replies[i] = api.post(path, bodies[i], headers=headers)

    def look():
        while not done.wait(0.01):
            most[0] = max(most[0], server.rss_anon())

    apis = [server.api(account.key) for _ in bodies]
    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(apis)]
    watch = threading.Thread(target=look)
    for thread in (watch, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watch.join()
    expect(None not in replies, "every request got its answer")
    return replies, most[0] - before


def refused_for_now(reply):
    if reply.status != 503:
        return False
    reply.error("UNAVAILABLE")
    expect(reply.header("Retry-After"), f"{reply.what}: Retry-After")
    return True


def wide(piece, size):
    return b'{"message":"m","files":[' + piece * (size // len(piece)) + b'{}]}'


@test
def wide_bodies_are_refused_before_a_value_is_made(t):
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    path = account.repo().path + "/commits"
    for piece in (b"[],", b"{},", b"0,", b'"",', b'{"a":1},'):
        replies, grown = at_once(server, account, path, [wide(piece, 4 * MB)] * 16)
        for reply in replies:
            if not refused_for_now(reply):
                expect("values" in reply.error("PAYLOAD_TOO_LARGE")["message"], f"{piece}: what is too large", reply.body)
        expect(grown < (MAX + 60) * MB, f"{piece}: memory", grown // MB)
    # So many that they are made, but not all at once.
    replies, grown = at_once(server, account, path, [wide(b"[],", 150_000)] * 16)
    made = [reply for reply in replies if not refused_for_now(reply)]
    for reply in made:
        reply.error("GIT_INVALID_REQUEST")
    expect(made and grown < (MAX + 60) * MB, "some are read, within the memory", len(made), grown // MB)


@test
def deep_bodies_are_refused_at_their_place(t):
    account = t.account
    repo = account.repo()
    for text in (b"[" * 60_000, b'{"a":' * 12_000, b'{"name":[' + b"[[[[[[[[[[" * 5000):
        for method, path in (("POST", repo.path + "/commits"), ("PUT", repo.path + "/visibility"), ("POST", "/git/v1/repo")):
            message = account.api.request(method, path, text).error("GIT_INVALID_REQUEST")["message"]
            expect("nested too deeply (line 1, column " in message, "where it is too deep", message)


@test
def large_commits_come_again_later(t):
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    repo = account.repo()
    files = [t.random.randbytes(4 * MB) for _ in range(12)]
    bodies = [{"message": str(i), "files": [{"path": f"f{i}", "content": base64.b64encode(data).decode(), "encoding": "base64"}]}
              for i, data in enumerate(files)]
    bodies = [json.dumps(body).encode() for body in bodies]
    replies, grown = at_once(server, account, repo.path + "/commits", bodies)
    accepted = [i for i, reply in enumerate(replies) if not refused_for_now(reply)]
    for i in accepted:
        replies[i].ok(["commit"])
    expect(accepted, "some are accepted at once")
    # A body, what is compressed of it, and what belongs to no request.
    expect(grown < (2 * MAX + 60) * MB, "memory", grown // MB)
    for i in set(range(len(files))) - set(accepted):
        account.api.post(repo.path + "/commits", bodies[i]).ok(["commit"])
    found = Said(t.git, t.git.mirror(repo.url(), t.path("copy"))).archive("main")
    same(found, {f"f{i}": ("100644", data) for i, data in enumerate(files)}, "the files")
    message = account.api.post(repo.path + "/commits", b" " * (16 * MB + 1)).error("PAYLOAD_TOO_LARGE")["message"]
    expect(str(16 * MB) in message, "the limit is told", message)


@test
def zipped_bodies_count_by_what_they_become(t):
    t.skip_if_sanitized()
    server = t.own_server(config=CONFIG)
    account = server.account()
    repo = account.repo()
    bomb = gzip.compress(b'{"message":"m","files":[]' + b" " * (15 * MB) + b"}", 9)
    replies, grown = at_once(server, account, repo.path + "/commits", [bomb] * 16, {"Content-Encoding": "gzip"})
    for reply in replies:
        if not refused_for_now(reply):
            reply.ok(["commit"])
    expect(grown < (MAX + 60) * MB, "memory", grown // MB)
    over = gzip.compress(b" " * (17 * MB), 9)
    account.api.post(repo.path + "/commits", over, headers={"Content-Encoding": "gzip"}).error("PAYLOAD_TOO_LARGE")


@test
def long_contents_arrive_as_they_were(t):
    """Contents that stay in the body: with every kind of escape, both encodings, beside short ones; and mistakes behind them."""
    account = t.account
    repo = account.repo()
    text = 'ä€😀"\\/\n\t\0\x7f\u2028' * 300
    data = bytes(range(256)) * 20
    files = {"a": text.encode(), "b": data, "c": b"short", "d": b"", "e": b"x" * 1023, "f": b"y" * 1024, "g": text.encode()}
    body = ", ".join(json.dumps({"path": p, "content": base64.b64encode(c).decode(), "encoding": "base64"}) if p == "b" else
                     json.dumps({"content": c.decode(), "path": p}, ensure_ascii=p != "g") for p, c in files.items())
    account.api.post(repo.path + "/commits", ('{"message":"m", "files":[' + body + "]}").encode()).ok(["commit"])
    found = Said(t.git, t.git.mirror(repo.url(), t.path("copy"))).archive("main")
    same(found, {p: ("100644", c) for p, c in files.items()}, "the files")
    broken = f'{{"message":"m",\n "files":[{body},\n {{"path": }}]}}'.encode()
    message = account.api.post(repo.path + "/commits", broken).error("GIT_INVALID_REQUEST")["message"]
    expect("(line 3, column 11)" in message, "the place of the mistake", message)
    for wrong in ("%%%%" * 400, "YQ==" * 300, "YWJj" * 300 + "YQ"):
        change = {"path": "w", "content": wrong, "encoding": "base64"}
        account.api.post(repo.path + "/commits", {"message": "m", "files": [change]}).error("INVALID_BASE64_CONTENT", path="w")


@test
def a_hundred_thousand_files_are_no_attack(t):
    t.skip_if_sanitized()
    account = t.account
    repo = account.repo()
    files = [{"path": f"folder-{i % 100}/file-{i}.txt", "content": f"{i}\n"} for i in range(100_000)]
    account.api.post(repo.path + "/commits", {"message": "all", "files": files}).ok(["commit"])
    same(len(account.api.get(repo.path + "/contents/folder-7").ok()["entries"]), 1000, "files of a folder")
