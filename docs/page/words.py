"""Small pieces of HTML: the few marks that the document's words use, paths, shell lines, JSON."""
import html
import json
import re

TITLES = {"smart-http": "Git", "auth": "Server and caller", "identities-legacy": "Older identity paths", "refs": "Branches and tags"}


def e(text):
    return html.escape(str(text), quote=True)


def code(text):
    return f"<code>{e(text)}</code>"


def title(tag):
    return TITLES.get(tag, tag.capitalize())


def breakable(name):
    """A long name may be broken after its underscores."""
    return e(name).replace("_", "_<wbr>")


def path(text):
    return re.sub(r"\{(\w+)\}", r"<em>{\1}</em>", e(text).replace("/", "/<wbr>"))


def line(text):
    """`code`, **strong** and *emphasis*."""
    out = []
    for i, piece in enumerate(re.split(r"`([^`]+)`", text.strip())):
        if i % 2:
            out.append(code(piece))
        else:
            piece = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", e(piece))
            out.append(re.sub(r"\*([^*\s][^*]*)\*", r"<em>\1</em>", piece))
    return "".join(out)


def text(source):
    """Paragraphs and lists."""
    out = []
    for block in source.strip().split("\n\n"):
        if block.startswith("- "):
            items = re.split(r"\n- ", block[2:])
            out.append("<ul>" + "".join(f"<li>{line(i)}</li>" for i in items) + "</ul>")
        else:
            out.append(f"<p>{line(block)}</p>")
    return "".join(out)


def shell(source):
    return re.sub(r"(\$[A-Z_]+)", r"<i>\1</i>", e(source))


def json_html(value):
    """JSON with its keys and strings marked."""
    dumped = e(compact(value))
    dumped = re.sub(r"(&quot;(?:[^&]|&(?!quot;))*?&quot;)(:)", r"<b>\1</b>\2", dumped)
    return re.sub(r"(: |\[|^\s+|, )(&quot;(?:[^&]|&(?!quot;))*?&quot;)(?!</b>)", r"\1<i>\2</i>", dumped, flags=re.M)


def compact(value, indent=0):
    """Like json.dumps with an indent, but what fits into a line stands in one."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(flat) + indent <= 56:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(k)}: {compact(v, indent + 2)}" for k, v in value.items()]
    else:
        rows = [pad + compact(v, indent + 2) for v in value]
    return "{["[isinstance(value, list)] + "\n" + ",\n".join(rows) + "\n" + " " * indent + "}]"[isinstance(value, list)]
