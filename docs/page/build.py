#!/usr/bin/env python3
"""docs/page/build.py OUT: makes of docs/openapi.yaml what the program serves at /openapi.json and /docs, as C.

The page is one file with its style and script in it; the policy that goes along with it names their checksums and allows
nothing else. The same sources give the same bytes."""
import base64
import hashlib
import json
import os
import sys

try:
    import yaml
except ImportError:
    sys.exit("docs/page/build.py: this needs Debian's package python3-yaml. Run: apt-get install -y python3-yaml")

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import html_page  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
# Bytes of one piece of a C string.
PIECE = 1000


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read()


def checksum(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def c_string(data):
    """The literal of these bytes. Octal escapes have three digits, so what follows cannot become a part of them."""
    keep = set(range(32, 127)) - set(b'"\\?')
    pieces = [data[i:i + PIECE] for i in range(0, len(data), PIECE)]
    return "\n".join('"' + "".join(chr(c) if c in keep else f"\\{c:03o}" for c in piece) + '"' for piece in pieces)


def constant(name, data):
    tag = hashlib.sha256(data).hexdigest()[:16]
    return f"static const char {name}[] =\n{c_string(data)};\n#define {name.upper()}_ETAG \"\\\"{tag}\\\"\"\n"


def main(out):
    document = yaml.load(read("../openapi.yaml"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    style, script = read("page.css"), read("page.js")
    page = html_page.page(document, style, script)
    policy = ("default-src 'none'; img-src data:; style-src " + checksum(style) + "; script-src " + checksum(script) +
              "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    with open(out, "w", encoding="ascii") as f:
        f.write("/* Made by docs/page/build.py. */\n")
        f.write(constant("reference_json", text.encode()))
        f.write(constant("reference_page", page.encode()))
        f.write(f'#define REFERENCE_PAGE_POLICY \\\n{c_string(policy.encode())}\n')


if __name__ == "__main__":
    main(sys.argv[1])
