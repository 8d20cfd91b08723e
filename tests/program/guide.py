"""docs/api.md, literally: its blocks of sh and ts run one after the other, and print what stands below them."""
import json
import os
import re
import subprocess

from harness import expect, same, test
from harness.core import warren
from harness.node import TRANSPILE, node, packages
from harness.server import clean_environment

COST = 2
RELEASE_ONLY = True
HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(HERE, "../../docs/api.md")
CLIENTS = os.path.join(HERE, "../clients")
PAGE_HOST = "127.0.0.1:8080"
MARK = "=== block"
# Different in every run: the first of a kind in a text is its number 1, and so on.
VARYING = re.compile(r"\b(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b|\b(?P<sha>[0-9a-f]{40})\b|"
                     r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)")


def blocks():
    """[(line, language, source, what it prints: (json or text, words), or None)]"""
    found, printed = [], None
    with open(PAGE, encoding="utf-8") as f:
        lines = f.read().split("\n")
    i = 0
    while i < len(lines):
        if not lines[i].startswith("```"):
            printed = None if lines[i] else printed
            i += 1
            continue
        start, language = i + 1, lines[i][3:]
        i = lines.index("```", start) + 1
        body = "\n".join(lines[start:i - 1]) + "\n"
        if language in ("sh", "ts"):
            found.append([start, language, body, None])
            printed = found[-1]
        else:
            expect(language in ("json", "text"), f"docs/api.md:{start}: a block of another kind", language)
            expect(printed is not None and printed[3] is None, f"docs/api.md:{start}: says what no block above it prints")
            printed[3] = (language, body)
    return found


def numbered(text):
    """The text with its ids and times by number: equal ones have the same."""
    seen = {}

    def name(match):
        kind = match.lastgroup
        if kind == "time":
            return "<time>"
        numbers = seen.setdefault(kind, {})
        return f"<{kind} {numbers.setdefault(match.group(), len(numbers) + 1)}>"
    return VARYING.sub(name, text)


def values(text):
    """The JSON values that stand in a text one after the other."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].lstrip()
    return found


def compare(line, wanted, printed):
    where = f"docs/api.md:{line}"
    if wanted is None:
        same(printed.strip(), "", f"{where}: prints nothing")
        return
    kind, words = wanted
    if kind == "text":
        same(numbered(printed).strip("\n"), numbered(words).strip("\n"), f"{where}: prints")
        return
    try:
        got = values(printed)
    except ValueError:
        got = printed
    same(numbered(json.dumps(got)), numbered(json.dumps(values(words))), f"{where}: prints")


def check(found, out, err):
    """Each block's part of what was printed."""
    parts = re.split(rf"^{MARK} \d+\n", out, flags=re.M)[1:]
    for (line, _, _, wanted), printed in zip(found, parts):
        compare(line, wanted, printed)
    same(len(parts), len(found), f"blocks that were run, with {err!r}")


def here(t, text):
    """The page's server is this one."""
    return text.replace(PAGE_HOST, t.server.url.split("://")[1])


@test
def the_page_has_examples(t):
    kinds = [language for _, language, _, _ in blocks()]
    expect(kinds.count("sh") > 15 and kinds.count("ts") > 8, "docs/api.md has lost its examples", kinds)


@test
def commands(t):
    """In a folder with build/warren and warren-data in it, as after `make run`."""
    os.mkdir(os.path.join(t.tmp, "build"))
    os.symlink(warren(), os.path.join(t.tmp, "build/warren"))
    os.symlink(t.server.data, os.path.join(t.tmp, "warren-data"))
    found = [b for b in blocks() if b[1] == "sh"]
    script = "set -e\n" + "".join(f"printf '%s\\n' '{MARK} {line}'\n{here(t, body)}\nprintf '\\n'\n" for line, _, body, _ in found)
    env = clean_environment({"HOME": t.tmp, "LC_ALL": "C.UTF-8", "NO_PROXY": "*", "GIT_CONFIG_NOSYSTEM": "1",
                             "GIT_TERMINAL_PROMPT": "0"})
    done = subprocess.run(["bash", "-c", script], cwd=t.tmp, stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=200)
    out, err = done.stdout.decode(), done.stderr.decode(errors="replace")
    check(found, out, err)
    expect(done.returncode == 0 and not err, "the page's commands", done.returncode, err, out[-1000:])


# What the page uses of Node.
NODE = """
declare const process: { env: Record<string, string | undefined> };
declare class Buffer { static from(text: string, encoding: string): Buffer; toString(): string; }
"""


@test
def typescript(t):
    """With the types of the npm package; what the compiler makes of it runs as one module."""
    modules = packages(CLIENTS, "clients")
    os.symlink(modules, os.path.join(t.tmp, "node_modules"))
    found = [b for b in blocks() if b[1] == "ts"]
    source = "".join(f'console.log("{MARK} {line}");\n{body}' for line, _, body, _ in found)
    for name, text in (("guide.mts", source), ("node.d.ts", NODE), ("transpile.mjs", TRANSPILE)):
        with open(os.path.join(t.tmp, name), "w", encoding="utf-8") as f:
            f.write(text)
    status, out, err = node(modules, *(os.path.join(t.tmp, name) for name in ("transpile.mjs", "guide.mts", "node.d.ts")))
    expect(status == 0, "the page's TypeScript does not compile", out, err)
    status, out, err = node(modules, os.path.join(t.tmp, "guide.mjs"), env={"WARREN": t.server.url, "KEY": t.account.key})
    check(found, out, err)
    expect(status == 0 and not err, "the page's TypeScript", status, err)
