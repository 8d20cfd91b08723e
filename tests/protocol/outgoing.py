"""Requests to other people's servers: where they may lead, what they may carry along, and how each of them ends."""
import itertools
import socket
import time

from harness import expect, same, test
from harness.elsewhere import Elsewhere, answer, ask, certificate, redirect

# A public address, to whom it seems: remote_client's world leads to loopback whatever goes there.
PUBLIC = "1.2.3.4"
NAMES = {"name": [f"public.example@{PUBLIC}", f"other.example@{PUBLIC}"]}
# Of every family one; their borders: tests/unit/test_net.c.
PRIVATE = ("0.0.0.0", "10.1.2.3", "127.0.0.1", "127.8.8.8", "169.254.169.254", "192.168.1.1", "255.255.255.255", "::1", "::ffff:127.0.0.1",
           "fe80::1", "fd12:3456::1", "64:ff9b::a00:1")


def get(url, code="OK", says="", **keys):
    """The report of one request, which ends with this code and these words."""
    got = ask("get", url, **keys)
    same(got["code"], code, f"the end of {url}: {got}")
    expect(says in got["text"], f"the words of {url}", got["text"], says)
    return got


@test
def an_answer(t):
    there = Elsewhere(t, {"/a": answer(200, b"x" * 100_000, Content_Type="text/plain"), "/gone": answer(410, b"gone")})
    got = get(there.url + "/a", private=1)
    same((got["status"], got["bytes"], got["type"], got["sticks"]), (200, 100_000, "text/plain", True), "the answer")
    got = get(there.url + "/gone", private=1)
    same((got["status"], got["bytes"]), (410, 4), "any status is an answer")
    get(there.url + "/a", private=1, post="what")
    sent = there.requests[-1]
    same((sent.method, sent.body, sent.headers.get("user-agent")), ("POST", b"what", "warren"), "the request")
    expect("cookie" not in sent.headers and "authorization" not in sent.headers, "nothing is sent unasked", sent.headers)


@test
def only_public_addresses(t):
    """Judged is what is connected to, whoever named it: the URL, a redirect, a name."""
    there = Elsewhere(t, {"/a": answer(200, b"in"), "/own": redirect("http://127.0.0.1:1/"), "/name": redirect("http://inner.example/")})
    public = f"http://public.example:{there.port}"
    same(get(public + "/a", **NAMES)["bytes"], 2, "a public address")
    same(get(f"http://127.0.0.1:{there.port}/a", private=1)["bytes"], 2, "a private one where it is allowed")
    before = len(there.requests)
    for address in PRIVATE:
        host = f"[{address}]" if ":" in address else address
        get(f"http://{host}:{there.port}/a", "NET_REFUSED")
        get(f"http://inner.example:{there.port}/a", "NET_REFUSED", name=f"inner.example@{address}")
    # Other ways to write 127.0.0.1, and names that lead there.
    for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[::ffff:7f00:1]", "127.0.0.1."):
        get(f"http://{host}:{there.port}/a", "NET_REFUSED", name=["127.0.0.1.@127.0.0.1"])
    same(len(there.requests), before, "nobody was asked")
    get(public + "/own", "NET_REFUSED", redirects=5, **NAMES)
    get(public + "/name", "NET_REFUSED", redirects=5, name=[f"public.example@{PUBLIC}", "inner.example@10.0.0.1"])


@test
def names_that_change(t):
    there = Elsewhere(t, {"/a": answer(200, b"in")})
    url = f"http://rebinds.example:{there.port}"
    there.routes["/again"] = redirect(f"http://rebinds.example:{there.port}/a")
    there.routes["/other"] = redirect("http://rebinds.example.:1/a")
    changes = [f"rebinds.example@{PUBLIC}", "rebinds.example@127.0.0.1", "rebinds.example.@127.0.0.1"]
    same(get(url + "/a", name=changes)["bytes"], 2, "the first answer of the name")
    same(get(url + "/again", redirects=2, name=changes)["bytes"], 2, "the name's connection or address is used again")
    get(url + "/other", "NET_REFUSED", redirects=2, name=changes)
    # A name with two addresses: the public one is nobody's, the other one is ours.
    closed = Elsewhere(t)
    closed.close()
    get(f"http://both.example:{closed.port}/a", "NET_REFUSED", name=f"both.example@{PUBLIC}+127.0.0.1")
    same(get(f"http://both.example:{there.port}/a", name=f"both.example@127.0.0.1+{PUBLIC}")["bytes"], 2, "the public one")


@test
def redirects(t):
    there = Elsewhere(t, {"/end": answer(200, b"the end"), "/loop": redirect("/loop"), "/none": answer(302, b"where?")})
    there.routes.update({f"/{i}": redirect(f"/{i - 1}" if i > 1 else "/end", (301, 302, 303, 307, 308)[i % 5]) for i in range(1, 8)})
    got = get(there.url + "/5", private=1, redirects=5)
    same((got["status"], got["bytes"], got["url"]), (200, 7, there.url + "/end"), "five redirects")
    get(there.url + "/6", "NET_UNREACHABLE", "Too many redirects", private=1, redirects=5)
    get(there.url + "/loop", "NET_UNREACHABLE", "Too many redirects", private=1, redirects=5)
    got = get(there.url + "/1", private=1, redirects=0)
    same((got["status"], got["bytes"]), (302, 9), "where none is followed it is the answer")
    same(get(there.url + "/none", private=1, redirects=5)["status"], 302, "one that leads nowhere")
    same(get(there.url + "/4", private=1, redirects=5, post="what")["bytes"], 7, "a POST")
    for to in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "dict://127.0.0.1/x", "scp://127.0.0.1/x", "nonsense://x/"):
        there.routes["/away"] = redirect(to)
        got = get(there.url + "/away", "NET_UNREACHABLE", "neither http nor https", private=1, redirects=5)
    there.routes["/away"] = redirect(f"http://me:secret@127.0.0.1:{there.port}/end")
    get(there.url + "/away", "NET_UNREACHABLE", "with a user name", private=1, redirects=5)
    there.routes["/away"] = redirect("http://[")
    get(there.url + "/away", "NET_UNREACHABLE", private=1, redirects=5)


@test
def credentials_stay(t):
    """A credential is for one scheme, host and port."""
    there, other = Elsewhere(t, {"/end": answer()}), Elsewhere(t, {"/end": answer()})
    mine = dict(private=1, redirects=5, user="me", password="sesam", **NAMES)

    def to(where):
        there.routes["/go"] = redirect(where)
        del there.requests[:], other.requests[:]
        same(get(f"http://public.example:{there.port}/go", **mine)["status"], 200, f"the redirect to {where}")
        same(there.requests[0].credential, ("me", "sesam"), "the first request's credential")
        return (there.requests[1:] + other.requests)[0].credential

    same(to("/end"), ("me", "sesam"), "the same host's")
    same(to(f"http://public.example:{other.port}/end"), None, "another port's")
    same(to(f"http://other.example:{there.port}/end"), None, "another host's")
    same(to(f"http://127.0.0.1:{there.port}/end"), None, "the same host's by another name")
    # There and back again.
    other.routes["/back"] = redirect(f"http://public.example:{there.port}/end")
    there.routes["/go"] = redirect(f"http://127.0.0.1:{other.port}/back")
    get(f"http://public.example:{there.port}/go", **mine)
    expect(all(r.credential is None for r in other.requests), "the other server learned nothing")


def endless(pause=0.0):
    yield b"HTTP/1.1 200 Here\r\nContent-Type: x\r\n\r\n"
    while True:
        yield b"x" * 1000
        time.sleep(pause)


@test
def slow_and_endless(t):
    there = Elsewhere(t, {"/endless": lambda r: endless(), "/slow": lambda r: endless(0.05), "/silent": lambda r: None,
                          "/stops": lambda r: itertools.chain(itertools.islice(endless(), 3), stop())})

    def stop():
        there.gone.wait()
        yield b""

    got = get(there.url + "/endless", "TOO_LARGE", "more than 5000000 bytes", private=1, max_bytes=5_000_000)
    expect(got["bytes"] <= 5_000_000, "no more than the bound was handed on", got)
    get(there.url + "/endless", "NET_SLOW", "takes too long", private=1, deadline_ms=300, nap_ms=10)
    get(there.url + "/slow", "NET_SLOW", "too slowly", private=1, min_rate=1_000_000, min_rate_ms=200)
    get(there.url + "/stops", "NET_SLOW", "too slowly", private=1, min_rate=100_000, min_rate_ms=200)
    get(there.url + "/silent", "NET_SLOW", "too slowly", private=1, min_rate=1, min_rate_ms=200)
    get(there.url + "/silent", "NET_SLOW", "takes too long", private=1, deadline_ms=200)
    # The time that our own reader takes is not the other server's.
    there.routes["/large"] = answer(200, b"y" * 1_500_000)
    same(get(there.url + "/large", private=1, min_rate=100_000_000, min_rate_ms=1000, nap_ms=50)["bytes"], 1_500_000, "a slow reader")


@test
def given_up(t):
    there = Elsewhere(t, {"/endless": lambda r: endless(), "/silent": lambda r: None})
    get(there.url + "/silent", "CANCELLED", private=1, cancel_ms=100)
    get(there.url + "/endless", "CANCELLED", private=1, cancel_ms=100, nap_ms=1)
    # A name's server that never answers is not waited for, whatever libc does.
    get("http://lost.example/", "CANCELLED", private=1, cancel_ms=200, name="lost.example@never")
    get("http://lost.example/", "NET_UNREACHABLE", "No connection in time", private=1, connect_ms=200, name="lost.example@never")
    # Nobody accepts: the listener's queue is full, and the connection is not made.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        with socket.create_connection(deaf.getsockname()):
            get(url, "CANCELLED", private=1, cancel_ms=200)
            get(url, "NET_UNREACHABLE", "No connection in time", private=1, connect_ms=200)


@test
def no_http(t):
    large = b"HTTP/1.1 200 Here\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(100)) + b"\r\n"
    there = Elsewhere(t, {"/nonsense": b"SSH-2.0-OpenSSH_9.2\r\n", "/nothing": b"", "/half": b"HTTP/1.1 200 H", "/large": large,
                          "/line": b"HTTP/1.1 200 Here\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
                          "/short": b"HTTP/1.1 200 Here\r\nContent-Length: 10\r\n\r\nshort",
                          "/chunk": b"HTTP/1.1 200 Here\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nab",
                          "/unended": b"HTTP/1.1 200 Here\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
                          "/badchunk": b"HTTP/1.1 200 Here\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabcde\r\n0\r\n\r\n",
                          "/early": b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" * 5 + answer(200, b"late")})
    get(there.url + "/nonsense", "NET_UNREACHABLE", "does not speak HTTP", private=1)
    for path in ("/nothing", "/half", "/line", "/badchunk"):
        get(there.url + path, "NET_UNREACHABLE", private=1)
    get(there.url + "/large", "NET_UNREACHABLE", "The head of the other server's answer", private=1)
    for path in ("/short", "/chunk", "/unended"):
        got = get(there.url + path, "NET_UNREACHABLE", "broke off", private=1)
        expect(got.get("sticks", True), "who reads on hears it again", got)
    same(get(there.url + "/early", private=1)["bytes"], 4, "answers before the answer")
    there.close()
    get(there.url + "/", "NET_UNREACHABLE", private=1)
    get("http://nowhere.invalid/", "NET_UNREACHABLE", "cannot be resolved", private=1)
    get("ftp://127.0.0.1/", "NET_UNREACHABLE", private=1)
    get("http://me@127.0.0.1/", "NET_UNREACHABLE", private=1)


@test
def certificates(t):
    pem = certificate(t)
    there = Elsewhere(t, {"/a": answer(200, b"secret")}, tls=pem)
    same(get(there.url + "/a", private=1, ca=pem + ".crt")["bytes"], 6, "a certificate that is trusted")
    get(there.url + "/a", "NET_UNREACHABLE", "TLS certificate", private=1)
    get(f"https://public.example:{there.port}/a", "NET_UNREACHABLE", "TLS certificate", ca=pem + ".crt", **NAMES)
    same(len(there.requests), 1, "nothing was asked of the others")
    plain = Elsewhere(t, {"/a": answer(200, b"in")})
    get(f"https://127.0.0.1:{plain.port}/a", "NET_UNREACHABLE", "TLS certificate", private=1)
    get(there.url + "/a", "INTERNAL", private=1, ca=t.path("absent.pem"))
    # From one to the other and back, by redirects.
    there.routes["/down"] = redirect(plain.url + "/a")
    same(get(there.url + "/down", private=1, redirects=1, ca=pem + ".crt", user="me", password="x")["bytes"], 2, "to http")
    expect(plain.requests[-1].credential is None, "no credential from https to http")
