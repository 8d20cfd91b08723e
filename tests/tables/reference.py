"""docs/openapi.yaml beside server/http/routes.def and core/base/codes.def, in both directions; what is served of it."""
import base64
import functools
import hashlib
import html.parser
import json
import os
import re

from harness import expect, reference, same, test
from harness.reference import jsonschema, yaml
from harness.routes import routes

COST = 1
RELEASE_ONLY = True
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
METHODS = ("get", "post", "put", "patch", "delete")
ACCESS = {"NONE": "none", "ANY": "any", "ACCOUNT": "account", "REPO_READ": "read", "REPO_WRITE": "write",
          "REPO_ADMIN": "account", "GIT_SERVICE": "git-service", "GIT_READ": "git-read", "GIT_WRITE": "git-write"}
LIMITS = {"NONE": None, "JSON": "64 KB", "LARGE": "http.max_commit", "BYTES": "git.max_fetch_request", "STREAM": "git.max_pack"}
SCHEMES = {"none": [], "account": ["apiKey"], "git-write": ["apiKey", "gitBasic", "identityTokenBearer"],
           "git-read": [None, "apiKey", "gitBasic", "identityTokenBearer"]}
SCHEMES["any"] = SCHEMES["read"] = SCHEMES["write"] = ["apiKey", "identityTokenHeader", "identityTokenBearer"]
SCHEMES["git-service"] = SCHEMES["git-read"]
# Inside the answers to pushes only.
UNSENT = {"REF_CONFLICT"}


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


@functools.cache
def document():
    return yaml.load(text_of("docs/openapi.yaml"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def operations(doc):
    for path, item in doc["paths"].items():
        expect(set(item) <= set(METHODS), f"{path}: what is no method", sorted(item))
        for method, operation in item.items():
            yield path, method, operation


def find(doc, value):
    while isinstance(value, dict) and "$ref" in value:
        expect(value["$ref"].startswith("#/"), "a reference to elsewhere", value["$ref"])
        place = doc
        for part in value["$ref"][2:].split("/"):
            expect(part in place, "a reference that leads nowhere", value["$ref"])
            place = place[part]
        value = place
    return value


def canonical(path):
    """Names of parameters are free; {repo.git} is two paths of the document."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def rows_by_path():
    """{(method, path)} of routes.def, and of the forms that they take besides."""
    main, also = {}, {}
    for route in routes():
        key = route.method.lower()
        main[key, canonical(route.path)] = route
        if route.path.endswith("*}"):
            folder = canonical(route.path.rsplit("/", 1)[0])
            also.update({(key, folder): route, (key, folder + "/"): route})
        elif not route.path.endswith("}"):
            also[key, canonical(route.path) + "/"] = route
        if "{repo.git}" in route.path:
            also[key, canonical(route.path).replace("{}/", "{}.git/")] = route
    return main, also


@test
def routes_and_document_agree(t):
    doc = document()
    main, also = rows_by_path()
    seen = set()
    for path, method, operation in operations(doc):
        name = f"{method.upper()} {path}"
        route = main.get((method, canonical(path)))
        expect(route is not None, f"{name} is in the document and not in routes.def")
        seen.add((method, canonical(path)))
        same(operation["x-access"], ACCESS[route.access], f"{name}: who may")
        same(operation.get("x-body-limit"), LIMITS[route.body], f"{name}: the limit of its body")
        same("requestBody" in operation, route.body != "NONE", f"{name}: whether it has a body")
        for alias in operation.get("x-aliases", ()):
            key = (method, canonical(alias))
            expect(key in main or key in also, f"{name}: no row serves its alias {alias}")
            seen.add(key)
    missing = sorted(f"{m.upper()} {p}" for m, p in set(main) - seen)
    same(missing, [], "routes that the document does not have")


@test
def the_document_is_whole(t):
    """References lead somewhere, everything is used, each operation has what OpenAPI 3.1 wants of it."""
    doc = document()
    same(doc["openapi"], "3.1.0", "version")
    used = set()

    def walk(value):
        if isinstance(value, dict):
            if "$ref" in value:
                find(doc, value)
                if value["$ref"] in used:
                    return
                used.add(value["$ref"])
                walk(find(doc, {"$ref": value["$ref"]}))
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(doc["paths"])
    walk(doc["webhooks"])
    for row in doc["x-error-codes"]:
        used.add("#/components/schemas/Err_" + row["code"])
    for folder, things in doc["components"].items():
        for name in things:
            expect(re.match(r"^[A-Za-z0-9._-]+$", name), f"a name of {folder}", name)
            if folder != "securitySchemes":
                expect(f"#/components/{folder}/{name}" in used, f"nothing uses components/{folder}/{name}")
    tags = {tag["name"] for tag in doc["tags"]}
    ids = []
    for path, method, operation in operations(doc):
        ids.append(operation["operationId"])
        name = operation["operationId"]
        for key in ("summary", "description", "tags", "responses", "security", "x-access"):
            expect(key in operation, f"{name} has no {key}")
        expect(len(operation["tags"]) == 1 and operation["tags"][0] in tags, f"{name}: tags", operation["tags"])
        same([next(iter(s), None) for s in operation["security"]], SCHEMES[operation["x-access"]], f"{name}: security")
        parameters = [find(doc, p) for p in operation.get("parameters", ())]
        keys = [(p["in"], p["name"]) for p in parameters]
        same(len(keys), len(set(keys)), f"{name}: parameters that are there once")
        same({n for where, n in keys if where == "path"}, set(re.findall(r"\{(\w+)\}", path)), f"{name}: path parameters")
        for p in parameters:
            expect("schema" in p and p.get("description"), f"{name}: parameter {p['name']}", p)
            expect(p["in"] != "path" or p.get("required") is True, f"{name}: {p['name']} is required")
        for status, answer in operation["responses"].items():
            answer = find(doc, answer)
            expect(re.match(r"^[2-5]\d\d$", status) and answer.get("description"), f"{name}: answer {status}", answer)
            expect("x-freestyle-trace-id" in answer["headers"], f"{name}: answer {status} has the trace id")
        expect("200" in operation["responses"], f"{name}: success")
    same(sorted(ids), sorted(set(ids)), "operation ids that are there once")


@test
def schemas_are_schemas(t):
    """What is no keyword of JSON Schema would be no constraint, silently."""
    known = {"$ref", "type", "description", "title", "enum", "const", "format", "pattern", "minimum", "maximum", "maxLength",
             "maxProperties", "required", "properties", "additionalProperties", "items", "oneOf", "allOf", "default",
             "deprecated", "discriminator", "contentEncoding", "example", "minLength"}
    doc = document()

    def check(name, schema):
        if isinstance(schema, bool):
            return
        expect(isinstance(schema, dict), f"{name}: a schema", schema)
        same(sorted(set(schema) - known), [], f"{name}: unknown keywords")
        if "properties" in schema:
            missing = set(schema.get("required", ())) - set(schema["properties"])
            same(sorted(missing), [], f"{name}: required and not described")
        for key, one in schema.get("properties", {}).items():
            check(f"{name}.{key}", one)
        for key in ("items", "additionalProperties"):
            if key in schema:
                check(f"{name}.{key}", schema[key])
        for key in ("oneOf", "allOf"):
            for i, one in enumerate(schema.get(key, ())):
                check(f"{name}.{key}[{i}]", one)
        if "pattern" in schema:
            re.compile(schema["pattern"])

    for name, schema in doc["components"]["schemas"].items():
        check(name, schema)
    for name, p in doc["components"]["parameters"].items():
        check(name, p["schema"])
    for _path, _method, operation in operations(doc):
        for p in operation.get("parameters", ()):
            check(operation["operationId"], find(doc, p)["schema"])


def wire_codes():
    """{code on the wire: (status, known to the SDK)} of codes.def, without what never is an answer of its own."""
    rows = re.findall(r'^X\((\w+), (\d+), "(\w+)", ".*", (true|false)\)', text_of("core/base/codes.def"), re.M)
    expect(len(rows) > 40, "codes.def could not be read", len(rows))
    return {code: (int(status), sdk == "true") for _name, status, code, sdk in rows}


@test
def codes_are_those_of_the_server(t):
    doc, codes = document(), wire_codes()
    schemas = doc["components"]["schemas"]
    for row in doc["x-error-codes"]:
        name = row["code"]
        expect(name in codes, f"the server knows no {name}")
        same((row["status"], row["sdk"]), codes[name], f"{name}: status, and whether the SDK knows it")
        schema = schemas["Err_" + name]
        same(schema["title"], f"{name} ({row['status']})", f"{name}: title")
        same(schema["properties"]["code"], {"const": name}, f"{name}: code")
        same(sorted(schema["required"]), sorted(["code", "message", *row["fields"]]), f"{name}: required fields")
        same(sorted(schema["properties"]), sorted(schema["required"]), f"{name}: fields")
        same("description" in row["fields"], not row["sdk"], f"{name}: description goes with what the SDK does not know")
    listed = [row["code"] for row in doc["x-error-codes"]]
    same(listed, sorted(set(listed), key=lambda c: (codes[c][0], c)), "the order of the error codes")
    same(sorted(set(codes) - set(listed) - UNSENT), [], "codes that the document does not have")
    same(sorted(n[4:] for n in schemas if n.startswith("Err_")), sorted(listed), "schemas of errors")


@test
def answers_carry_codes_of_their_status(t):
    doc, codes = document(), wire_codes()
    for _path, _method, operation in operations(doc):
        for status, answer in operation["responses"].items():
            media = find(doc, answer).get("content", {}).get("application/json")
            if status < "400" or media is None:
                continue
            schema = find(doc, media["schema"])
            for one in schema.get("oneOf", [schema]):
                code = find(doc, one)["properties"]["code"]["const"]
                same(str(codes[code][0]), status, f"{operation['operationId']}: status of {code}")
                if "oneOf" in schema:
                    expect(f"`{code}`" in find(doc, answer)["description"], f"{operation['operationId']} {status}: says {code}")


@test
def examples_are_right(t):
    """Those of bodies and answers, against their schemas."""
    doc, seen = document(), 0
    closed = reference.document()

    def check(name, media):
        validator = jsonschema.Draft202012Validator({"$defs": closed.definitions, **reference.closed(media["schema"])},
                                                    format_checker=reference.FORMATS)
        values = [media["example"]] if "example" in media else [e["value"] for e in media.get("examples", {}).values()]
        for value in values:
            faults = [f"{'/'.join(map(str, f.absolute_path))}: {f.message[:300]}" for f in validator.iter_errors(value)]
            same(faults, [], f"{name}: {value}")
        return len(values)

    for _path, _method, operation in operations(doc):
        name = operation["operationId"]
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        seen += check(f"{name}: the example of a body", media) if media else 0
        for status, answer in operation["responses"].items():
            media = find(doc, answer).get("content", {}).get("application/json")
            seen += check(f"{name}: the example of {status}", media) if media else 0
    for name, item in doc["webhooks"].items():
        seen += check(f"{name}: the example of a call", item["post"]["requestBody"]["content"]["application/json"])
    expect(seen > 20, "examples", seen)


class Links(html.parser.HTMLParser):
    """What a page refers to, what can be referred to, and its style and script."""

    def __init__(self, text):
        super().__init__()
        self.refs, self.ids, self.inside, self.texts = [], [], None, {"style": [], "script": []}
        self.attributes = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes |= {name for name, _ in attrs}
        self.refs += [v for k, v in attrs if k in ("src", "href", "action", "srcset", "data", "poster")]
        self.ids += [v for k, v in attrs if k == "id"]
        self.inside = tag if tag in self.texts else self.inside

    def handle_endtag(self, tag):
        self.inside = None if tag == self.inside else self.inside

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside].append(data)


@test
def the_document_is_served(t):
    api = t.server.api()
    same(api.get("/openapi.json").ok(), json.loads(json.dumps(document())), "/openapi.json")


@test
def caches_can_ask_whether_it_has_changed(t):
    api = t.server.api()
    for path in ("/openapi.json", "/docs"):
        first = api.get(path)
        tag = first.header("ETag")
        expect(re.match(r'^"[0-9a-f]{16}"$', tag or ""), f"{path}: ETag", tag)
        for condition in (tag, "W/" + tag, f'"other", {tag}', "*"):
            reply = api.get(path, headers={"If-None-Match": condition})
            same((reply.status, reply.body, reply.header("ETag")), (304, b"", tag), f"{path} with If-None-Match: {condition}")
        reply = api.get(path, headers={"If-None-Match": '"0000000000000000"'})
        same((reply.status, reply.body), (200, first.body), f"{path} with another tag")
        head = api.request("HEAD", path)
        same((head.status, head.body, head.header("Content-Length")), (200, b"", str(len(first.body))), f"HEAD {path}")


@test
def the_page_needs_nothing_from_outside(t):
    reply = t.server.api().get("/docs")
    same(reply.status, 200, "status")
    same(reply.header("Content-Type"), "text/html; charset=utf-8", "Content-Type")
    same(reply.header("X-Content-Type-Options"), "nosniff", "X-Content-Type-Options")
    same(reply.header("Referrer-Policy"), "no-referrer", "Referrer-Policy")
    text = reply.body.decode()
    links = Links(text)
    for ref in links.refs:
        expect(ref.startswith(("#", "data:image/svg+xml,")) or ref == "/openapi.json", "a reference to elsewhere", ref)
    style, script = ("".join(links.texts[k]) for k in ("style", "script"))
    for outside in ("url(", "@import", "fetch(", "import("):
        expect(outside not in style + script, f"{outside} in the page's style or script")
    same(sorted(a for a in links.attributes if a.startswith("on") or a == "style"), [], "what the policy would not allow")
    policy = dict(p.strip().split(" ", 1) for p in reply.header("Content-Security-Policy").split(";"))
    same(policy, {"default-src": "'none'", "img-src": "data:", "style-src": checksum(style), "script-src": checksum(script),
                  "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'"}, "Content-Security-Policy")


def checksum(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


@test
def the_page_has_everything(t):
    doc = document()
    text = t.server.api().get("/docs").body.decode()
    links = Links(text)
    same(sorted(links.ids), sorted(set(links.ids)), "ids that are there once")
    for ref in links.refs:
        expect(not ref.startswith("#") or ref[1:] in links.ids, "a link that leads nowhere", ref)
    for path, method, operation in operations(doc):
        name = operation["operationId"]
        expect(name in links.ids and f"#{name}" in links.refs, f"{name} is on the page and in its contents")
        part = text[text.index(f'<article id="{name}"'):]
        part = part[:part.index("</article>")]
        plain = html.unescape(re.sub(r"<[^>]+>", "", part))
        expect(method.upper() in plain and path in plain, f"{name}: method and path")
        expect("curl " in plain or "git " in plain, f"{name}: an example")
        for p in operation.get("parameters", ()):
            expect(find(doc, p)["name"] in plain, f"{name}: parameter", find(doc, p)["name"])
        for status in operation["responses"]:
            expect(status in plain, f"{name}: answer {status}")
    for item in doc["webhooks"].values():
        name = item["post"]["operationId"]
        expect(name in links.ids and f"#{name}" in links.refs, f"{name} is on the page and in its contents")
        part = text[text.index(f'<article id="{name}"'):]
        for p in item["post"]["parameters"]:
            expect(p["name"] in part[:part.index("</article>")], f"{name}: header", p["name"])
    for row in doc["x-error-codes"]:
        expect(f"error-{row['code']}" in links.ids, "an error code that is not on the page", row["code"])
