"""The document as one page of HTML: what stands where. build.py adds the checksums and makes C of it."""
import html
import json

import schemas
import words
from words import code, e

METHODS = ("get", "post", "put", "patch", "delete")
ICON = ("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' "
        "rx='3' fill='%230b7285'/%3E%3Cpath d='M3 4l2 8 3-6 3 6 2-8' fill='none' stroke='white' stroke-width='1.6'/%3E%3C/svg%3E")
ACCESS = {
    "account": "API key", "any": "API key or token", "read": "read grant", "write": "write grant", "none": "no credential",
    "git-service": "read or write, as the service asks", "git-read": "read grant, none on a public repository",
    "git-write": "write grant",
}
LIMITS = {"64 KB": "at most 64 KB", "http.max_commit": "at most what <code>[http] max_commit</code> says, 192 MB by default"}
# What stands in the examples for what the reader has.
NAMES = {"repo": "$REPO", "identity": "$IDENTITY", "token": "$TOKEN_ID", "job": "$JOB", "hash": "$SHA",
         "trigger": "$TRIGGER", "delivery": "$DELIVERY"}


class Page:
    def __init__(self, document):
        self.document = document
        self.schemas = schemas.Schemas(document)
        self.tags = {tag["name"]: [] for tag in document["tags"]}
        for path, item in document["paths"].items():
            for method in METHODS:
                if method in item:
                    self.tags[item[method]["tags"][0]].append((method, path, item[method]))
        # What this server asks of others.
        self.calls = {tag["name"]: [] for tag in document["tags"]}
        for item in document.get("webhooks", {}).values():
            for method, operation in item.items():
                self.calls[operation["tags"][0]].append((method, operation))

    def find(self, value):
        return self.schemas.find(value)

    # ---- an operation ----

    def example_path(self, path, parameters):
        for p in parameters:
            if p["in"] == "path":
                path = path.replace("{%s}" % p["name"], NAMES.get(p["name"], str(p.get("example", ""))))
        query = [f"{p['name']}={p.get('example', '')}" for p in parameters if p["in"] == "query" and p.get("required")]
        return path + ("?" + "&".join(query) if query else "")

    def requests(self, method, path, operation, parameters):
        """[(title, shell)] of its examples."""
        if "x-example" in operation:
            return [("Request", operation["x-example"].rstrip("\n"))]
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if media and "examples" in media:
            return [(title[0].upper() + title[1:], self.curl(method, path, operation, parameters, one["value"]))
                    for title, one in media["examples"].items()]
        sample = media and media.get("example", self.schemas.sample(media["schema"]))
        return [("Request", self.curl(method, path, operation, parameters, sample))]

    def curl(self, method, path, operation, parameters, sample):
        target = "$WARREN" + self.example_path(path, parameters)
        lines = ["curl" + (f" -X {method.upper()}" if method != "get" else "") + (f" '{target}'".replace("'", '"'))]
        access = operation["x-access"]
        if access != "none":
            lines.append('-H "Authorization: Bearer $' + ("TOKEN" if access in ("read", "write") else "KEY") + '"')
        if sample is not None:
            flat = json.dumps(sample, ensure_ascii=False)
            lines.append("-d '" + (flat if len(flat) < 46 else words.compact(sample)) + "'")
        answer = self.find(operation["responses"]["200"]).get("content", {})
        if not {"application/json", "text/html"} & set(answer):
            lines.append("-o " + ("archive.zip" if "application/zip" in answer else "archive.tar"))
        return " \\\n  ".join(lines)

    def parameter_rows(self, parameters):
        rows = []
        for p in parameters:
            kind = self.schemas.kind(p["schema"]) + (f", default {code(json.dumps(p['schema']['default']))}"
                                                     if "default" in p["schema"] else "")
            need = "" if p.get("required") and p["in"] == "path" else (" required" if p.get("required") else "")
            old = " <i>deprecated</i>" if p.get("deprecated") else ""
            rows.append(f"<div class=f><dt><code>{e(p['name'])}</code> <span class=t>{p['in']}, {kind}</span>"
                        f"{f' <b>{need}</b>' if need else ''}{old}</dt><dd>{words.line(p.get('description', ''))}</dd></div>")
        return "<dl>" + "".join(rows) + "</dl>"

    def answers(self, operation):
        """(panel with an example, fields, errors) as HTML."""
        panel, fields, errors = "", "", []
        for status, answer in operation["responses"].items():
            answer = self.find(answer)
            content = answer.get("content", {})
            if status.startswith("2"):
                others = ", ".join(f"<code>{e(mime)}</code>" for mime in content if mime != "application/json")
                if others:
                    fields += f"<p><b class=s2>{status}</b> {words.line(answer['description'])} {others}</p>"
                for media in [content["application/json"]] if "application/json" in content else []:
                    sample = media.get("example", self.schemas.sample(media["schema"]))
                    panel += (f"<figure><figcaption>{status} {e(answer['description'].rstrip('.'))}</figcaption><pre>"
                              f"{words.json_html(sample)}</pre></figure>")
                    fields += f"<p><b class=s2>{status}</b> {words.line(answer['description'])}</p>"
                    fields += self.schemas.fields(media["schema"], answer=True)
            else:
                codes = [self.find(s)["properties"]["code"]["const"]
                         for media in content.values() for s in schemas.variants(media["schema"])
                         if "code" in self.find(s).get("properties", {})]
                said = " ".join(f'<a href="#error-{c}"><code>{c}</code></a>' for c in codes)
                if not said or len(content) > 1:
                    said = words.line(answer["description"])
                errors.append(f"<div class=f><dt><b class=s{status[0]}>{status}</b></dt><dd>{said}</dd></div>")
        return panel, fields, "<dl class=errors>" + "".join(errors) + "</dl>"

    def operation(self, method, path, operation):
        parameters = [self.find(p) for p in operation.get("parameters", [])]
        panel, fields, errors = self.answers(operation)
        name = operation["operationId"]
        out = [f'<article id="{name}" class=op><div class=text>',
               f'<h3><a href="#{name}">{e(operation["summary"])}</a></h3>',
               f'<p class=route><b class="m {method}">{method.upper()}</b> <code>{words.path(path)}</code></p>',
               f'<p class=chips><span title="who may">{e(ACCESS[operation["x-access"]])}</span>']
        if "x-sdk" in operation:
            out.append(f'<span title="method of the npm client">{e(operation["x-sdk"])}()</span>')
        if operation.get("deprecated"):
            out.append("<span>deprecated</span>")
        out.append("</p>" + words.text(operation["description"]))
        for alias in operation.get("x-aliases", []):
            out.append(f"<p class=small>Also: <code>{words.path(alias)}</code></p>")
        for note in operation.get("x-compat", []):
            out.append(f"<p class=note>{words.line(note)}</p>")
        if parameters:
            out.append("<h4>Parameters</h4>" + self.parameter_rows(parameters))
        body = operation.get("requestBody")
        if body and "application/json" in body["content"]:
            optional = "" if body["required"] else ", may be left out"
            out.append(f"<h4>Body</h4><p class=small>JSON, {LIMITS[operation['x-body-limit']]}{optional}</p>")
            out.append(self.schemas.fields(body["content"]["application/json"]["schema"]))
        out.append(f"<h4>Answers</h4>{fields}{errors}</div><div class=code>")
        for title, lines in self.requests(method, path, operation, parameters):
            out.append(f"<figure><figcaption>{e(title)}</figcaption><pre>{words.shell(lines)}</pre></figure>")
        out.append(panel + "</div></article>")
        return "".join(out)

    def call(self, method, operation):
        name, media = operation["operationId"], operation["requestBody"]["content"]["application/json"]
        out = [f'<article id="{name}" class=op><div class=text><h3><a href="#{name}">{e(operation["summary"])}</a></h3>',
               f'<p class=route><b class="m {method}">{method.upper()}</b> your endpoint</p>', words.text(operation["description"]),
               "<h4>Headers</h4>", self.parameter_rows(operation["parameters"]),
               "<h4>Body</h4>", self.schemas.fields(media["schema"]), "<h4>Your answer</h4><dl>"]
        out += [f"<div class=f><dt><code>{e(status)}</code></dt><dd>{words.line(answer['description'])}</dd></div>"
                for status, answer in operation["responses"].items()]
        out.append("</dl></div><div class=code>")
        out += [f"<figure><figcaption>{e(title)}</figcaption><pre>{words.json_html(one['value'])}</pre></figure>"
                for title, one in media["examples"].items()]
        return "".join(out) + "</div></article>"

    # ---- the whole ----

    def contents(self):
        out = []
        for tag, operations in self.tags.items():
            rows = "".join(f'<li><a href="#{o["operationId"]}"><b class="m {m}">{m.upper()}</b>{e(o["summary"])}'
                           f'<span class=hidden> {e(p)} {e(o["operationId"])}</span></a></li>'
                           for m, p, o in operations + [(m, "", o) for m, o in self.calls[tag]])
            out.append(f'<li><a href="#tag-{tag}" class=tag>{e(words.title(tag))}</a><ul>{rows}</ul></li>')
        return ('<ul id=list><li><a href="#top" class=tag>Basics</a></li>' + "".join(out) +
                '<li><a href="#errors" class=tag>Error codes</a></li></ul>')

    def errors(self):
        rows = []
        for row in self.document["x-error-codes"]:
            schema = self.document["components"]["schemas"]["Err_" + row["code"]]
            fields = ", ".join(f"<code>{e(f)}</code>" for f in row["fields"])
            rows.append(f'<tr id="error-{row["code"]}"><td><b class=s{row["status"] // 100}>{row["status"]}</b><td><code>'
                        f'{words.breakable(row["code"])}</code>{"" if row["sdk"] else "*"}<td>{words.line(schema["description"])}'
                        f'{f" <span class=t>{fields}</span>" if fields else ""}')
        return ('<section id=errors><h2>Error codes</h2><p>Every failure has <code>code</code> and <code>message</code>, and the '
                'fields that stand here. The npm client has a class for each but those with a star.</p><table><thead><tr>'
                '<th>Status<th>Code<th>When<tbody>' + "".join(rows) + "</table></section>")

    def html(self, style, script):
        info = self.document["info"]
        sections = []
        for tag in self.document["tags"]:
            operations = "".join(self.operation(*o) for o in self.tags[tag["name"]])
            operations += "".join(self.call(*o) for o in self.calls[tag["name"]])
            sections.append(f'<section id="tag-{tag["name"]}"><h2>{e(words.title(tag["name"]))}</h2>'
                            f'<p>{words.line(tag["description"])}</p>{operations}</section>')
        return ("<!doctype html><html lang=en><head><meta charset=utf-8>"
                '<meta name=viewport content="width=device-width, initial-scale=1">'
                f'<title>{e(info["title"])}</title><link rel=icon href="{html.escape(ICON)}"><style>{style}</style></head><body>'
                f'<nav aria-label=Contents><details id=menu open><summary>{e(info["title"])} <small>{e(info["version"])}</small>'
                '</summary><input id=filter type=search placeholder="Filter ( / )" aria-label="Filter the contents" hidden>'
                f'{self.contents()}</details></nav><main id=top><header><h1>{e(info["title"])}</h1>'
                f'<p class=lead>{e(info["summary"])}. <a href="/openapi.json">OpenAPI {self.document["openapi"]} document</a></p>'
                f'{words.text(info["description"])}</header>' + "".join(sections) + self.errors() +
                f"</main><script>{script}</script></body></html>\n")


def page(document, style, script):
    return Page(document).html(style, script)
