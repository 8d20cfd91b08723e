"""Options by flag, environment and file; what is wrong stops the start and is named."""
import os
import re
import socket

from harness import expect, same, test, wait_for
from harness.server import run_warren

CONFIG_DEF = os.path.join(os.path.dirname(__file__), "../../core/base/config.def")
ROW = re.compile(r'^X\((\w+), (\w+), (\w+), "([^"]*)", [^,]*, [^,]*, (?:"([^"]+)"|NULL), "((?:[^"\\]|\\.)*)"\)', re.M)


def rows():
    with open(CONFIG_DEF, encoding="ascii") as f:
        found = ROW.findall(f.read())
    expect(len(found) > 20, "config.def could not be read", found)
    return found


def start_fails(t, *args, env=None):
    status, out, err = run_warren("serve", "--data", t.path("data"), "--listen", "127.0.0.1:0", *args, env=env)
    expect(status != 0 and out == "", "the start is refused", status, out, err)
    return err


def longest_lifetime(server):
    """Something that an option changes and everyone can see: the longest lifetime of a token, in seconds."""
    identity = server.account().identity()
    low, high = 1, 1 << 33
    while low < high:
        middle = (low + high + 1) // 2
        reply = identity.account.api.post(f"{identity.path}/tokens", {"expiresIn": middle})
        low, high = (middle, high) if reply.status == 200 else (low, middle - 1)
        if reply.status == 200:
            server.keep_secret(reply.json["token"])
    return low


@test
def flag_beats_environment_beats_file(t):
    config = "[server]\ndata = /nonexistent/file\nlisten = 127.0.0.1:1\n\n[tokens]\nmax_lifetime = 100s\n"
    env = {"WARREN_SERVER_DATA": "/nonexistent/env", "WARREN_SERVER_LISTEN": "127.0.0.1:0"}
    server = t.own_server(config=config, env=env, listen=None)
    same(longest_lifetime(server), 100, "from the file; the port from the environment; the data folder from the flag")
    server = t.own_server(config=config, env={**env, "WARREN_TOKENS_MAX_LIFETIME": "200s"}, listen=None)
    same(longest_lifetime(server), 200, "the environment beats the file")


@test
def a_grace_shorter_than_a_push_is_refused(t):
    for env in ({"WARREN_GIT_CRUFT_GRACE": "1h"}, {"WARREN_HTTP_REQUEST_TIMEOUT": "7d", "WARREN_GIT_CRUFT_GRACE": "6d"}):
        err = start_fails(t, env=env)
        expect("git.cruft_grace" in err and "http.request_timeout" in err and "raise" in err, "says what to do", err)
        status, _, err = run_warren("config", "check", env=env)
        expect(status != 0 and "git.cruft_grace" in err, "so does config check", status, err)


@test
def what_is_wrong_in_a_file_is_named(t):
    for text, line, words in (
            ("[server]\nlisten = 127.0.0.1:0\nlistne = x\n", 3, ["listne"]),
            ("\n\n[lanes]\ngit_threads = many\n", 4, ["git_threads"]),
            ("[lanes]\ngit_threads = 0\n", 2, ["git_threads"]),
            ("[lanes]\ngit_threads = 100000000\n", 2, ["git_threads"]),
            ("[http]\nidle_timeout = 5\n", 2, ["idle_timeout"]),
            ("[git]\nmax_pack = 4x\n", 2, ["max_pack"]),
            ("[git]\nmax_pack = -1\n", 2, ["max_pack"]),
            ("[nonsense]\n", 1, ["nonsense"]),
            ("# c\n[server\n", 2, []),
            ("[server]\nno equals sign\n", 2, []),
            ("listen = x\n", 1, ["listen"])):
        path = t.write("my.conf", text)
        err = start_fails(t, "--config", path)
        expect(f"my.conf:{line}" in err, f"{text!r}: file and line", err)
        for word in words:
            expect(word in err, f"{text!r}: the key", err)
    err = start_fails(t, "--config", t.path("absent.conf"))
    expect("absent.conf" in err, "a file that is not there", err)


@test
def what_is_wrong_in_the_environment_or_a_flag_is_named(t):
    err = start_fails(t, env={"WARREN_LANES_GIT_THREADS": "many"})
    expect("WARREN_LANES_GIT_THREADS" in err, "the variable", err)
    err = start_fails(t, "--stop-timeout", "soon")
    expect("--stop-timeout" in err, "the flag", err)
    err = start_fails(t, "--log-level", "loud")
    expect("loud" in err, "the value", err)
    err = start_fails(t, "--nonsense", "1")
    expect("--nonsense" in err, "an unknown flag", err)
    for listen in ("nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", ":-1"):
        start_fails(t, "--listen", listen)


@test
def variables_that_are_no_keys_are_left_alone(t):
    server = t.own_server(env={"WARREN_TEST_ROUNDS": "5", "WARREN_NONSENSE": "x"})
    same(server.api().get("/healthz").ok(), {"status": "ok"}, "health")


@test
def every_option_is_in_the_example_and_the_flags_in_the_help(t):
    status, example, _ = run_warren("config", "example")
    same(status, 0, "config example")
    _, text, _ = run_warren("serve", "--help")
    for section, key, _kind, default, flag, _help in rows():
        expect(f"[{section}]" in example, f"[{section}] in the example")
        expect(re.search(rf"^#?\s*{key} *=", example, re.M), f"{key} in the example")
        if flag:
            expect(f"--{flag}" in text, f"--{flag} in the help")
    with open(os.path.join(os.path.dirname(__file__), "../../config/warren.conf.example"), encoding="utf-8") as f:
        same(f.read(), example, "the example file in the tree")
    path = t.write("example.conf", re.sub(r"^#(\w+ *=)", r"\1", example, flags=re.M).replace("127.0.0.1:8080", "127.0.0.1:0"))
    t.own_server(flags=["--config", path], listen=None)


@test
def a_listen_address_of_ipv6(t):
    server = t.own_server(listen="[::1]:0")
    expect(server.url.startswith("http://[::1]:"), "url", server.url)
    same(server.api().get("/healthz").status, 200, "health")


@test
def the_connection_limit_holds(t):
    server = t.own_server(config="[http]\nmax_connections = 10\n")
    host, port = server.url.split("//")[1].split(":")
    held = []
    for _ in range(30):
        s = socket.create_connection((host, int(port)), timeout=20)
        t.stack.callback(s.close)
        held.append(s)
    for s in held:
        s.close()

    def answers():
        try:
            return server.api().get("/healthz").status == 200
        except OSError:
            return False
    wait_for(answers, "an answer after the flood")
