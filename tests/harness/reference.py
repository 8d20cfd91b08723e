"""Every answer against docs/openapi.yaml: its status and code stand there for its route, and its body has the schema, without a
key that the schema does not have. harness.api asks for each reply of each test."""
import functools
import os
import re
import sys
import urllib.parse

sys.path.append("/usr/lib/python3/dist-packages")  # Debian's packages, where python3 is another one
import jsonschema
import yaml

from harness.core import Fail, expect

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "docs", "openapi.yaml")
# Versions differ in where it is.
FORMATS = getattr(jsonschema.Draft202012Validator, "FORMAT_CHECKER", None) or jsonschema.draft202012_format_checker
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# What any request may get, whatever its route.
ANY = {"NOT_FOUND", "METHOD_NOT_ALLOWED", "GIT_INVALID_REQUEST", "PAYLOAD_TOO_LARGE", "UNAVAILABLE"}
LONG = 400  # of a longer list the ends are looked at


def closed(value):
    """The schema with every list of properties complete, and its references into what validators find in it."""
    if isinstance(value, list):
        return [closed(v) for v in value]
    if not isinstance(value, dict):
        return value
    out = {k: closed(v) for k, v in value.items() if k not in ("example", "examples", "description", "discriminator")}
    if "properties" in value and isinstance(value["properties"], dict):
        out["properties"] = {k: closed(v) for k, v in value["properties"].items()}
        out.setdefault("additionalProperties", False)
    if isinstance(value.get("$ref"), str):
        out["$ref"] = value["$ref"].replace("#/components/schemas/", "#/$defs/")
    return out


def thin(value):
    if isinstance(value, dict):
        return {k: thin(v) for k, v in value.items()}
    if isinstance(value, list):
        some = value if len(value) <= LONG else value[:LONG // 2] + value[-LONG // 2:]
        return [thin(v) for v in some]
    return value


class Operation:
    def __init__(self, method, path, body):
        self.method, self.path, self.body = method, path, body
        self.id, self.git = body["operationId"], body["x-access"].startswith("git-")


class Document:
    def __init__(self):
        with open(PATH, encoding="utf-8") as f:
            self.text = yaml.load(f, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self.definitions = {k: closed(v) for k, v in self.text["components"]["schemas"].items()}
        self.operations = [Operation(m.upper(), p, o) for p, item in self.text["paths"].items() for m, o in item.items()]
        self.places = []  # (pattern, how particular, operation)
        for operation in self.operations:
            for path in [operation.path, *operation.body.get("x-aliases", ())]:
                self.places.append((self._pattern(path, operation), self._rank(path), operation))
        self.codes = {row["code"]: row for row in self.text["x-error-codes"]}
        self.seen = set()  # (operation, status, code or None)

    @staticmethod
    def _pattern(path, operation):
        """{path}, {branch} and {tag} at the end take the rest; the slash at an end is free."""
        parts = []
        for part in re.split(r"(\{\w+\})", path):
            if not part.startswith("{"):
                parts.append(re.escape(part))
            elif part in ("{path}", "{branch}", "{tag}") and path.endswith(part):
                parts.append(".*")
            else:
                parts.append("[^/]+")
        text = "".join(parts)
        text = text[:-len("/.*")] + "(/.*)?" if text.endswith("/.*") and operation.method == "POST" else text
        return re.compile(text + ("" if text.endswith("/") or text.endswith("*") else "/?"), re.DOTALL)

    @staticmethod
    def _rank(path):
        return [not part.startswith("{") for part in path.split("/")]

    def find(self, method, path):
        """(operation or None, one of this path with whatever method)."""
        path = "/".join(urllib.parse.unquote(part).replace("/", "%2F") for part in path.split("/"))
        hits = [(rank, operation) for pattern, rank, operation in self.places if pattern.fullmatch(path)]
        mine = [hit for hit in hits if hit[1].method == method]
        best = max(mine or hits, key=lambda hit: hit[0], default=(None, None))[1]
        return best if mine else None, best

    def resolve(self, value):
        while "$ref" in value:
            place = self.text
            for part in value["$ref"][2:].split("/"):
                place = place[part]
            value = place
        return value

    @functools.lru_cache(maxsize=None)
    def answer(self, operation, status):
        """The response object, and for failures {code: name of its schema}."""
        response = operation.body["responses"].get(str(status))
        if response is None:
            return None, {}
        response = self.resolve(response)
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        names = [s["$ref"].rsplit("/", 1)[1] for s in schema.get("oneOf", [schema]) if "$ref" in s]
        return response, {n[len("Err_"):]: n for n in names if n.startswith("Err_")}

    @functools.lru_cache(maxsize=None)
    def validator(self, operation, status, code):
        schema = {"$ref": f"#/$defs/Err_{code}"} if code else \
            closed(self.answer(operation, status)[0]["content"]["application/json"]["schema"])
        return jsonschema.Draft202012Validator({"$defs": self.definitions, **schema}, format_checker=FORMATS)

    def declared(self):
        """{(operation, status, code or None)} of the document."""
        for operation in self.operations:
            for status in operation.body["responses"]:
                codes = self.answer(operation, int(status))[1]
                yield from ((operation.id, int(status), code) for code in codes or [None])


@functools.lru_cache(maxsize=None)
def document():
    return Document()


def validate(doc, operation, reply, code):
    for error in doc.validator(operation, reply.status, code).iter_errors(thin(reply.json)):
        place = "/".join(str(p) for p in error.absolute_path)
        raise Fail(f"{reply.what}: {reply.status} is not as {operation.id} says, at /{place}: {error.message[:400]}")


def check_failure(doc, operation, reply, known):
    code = reply.json.get("code")
    name = operation.id if operation else "no operation"
    codes = doc.answer(operation, reply.status)[1] if operation else {}
    expect(code in codes or code in ANY, f"{reply.what}: {reply.status} {code} is not in the document for {name}", sorted(codes))
    expect(f"Err_{code}" in doc.definitions, f"{reply.what}: the document does not know {code}")
    expect(operation or code in ("METHOD_NOT_ALLOWED" if known else "NOT_FOUND", "GIT_INVALID_REQUEST", "PAYLOAD_TOO_LARGE", "UNAVAILABLE"),
           f"{reply.what}: {code}, and the document has no such {'method' if known else 'path'}")
    validate(doc, operation, reply, code)
    return code


def check(method, path, reply):
    """A Fail when the reply is not one that the document has for this request."""
    doc = document()
    if method not in METHODS:
        return
    operation, known = doc.find(method, path.split("?", 1)[0])
    if known and known.git:
        return
    code = None
    if reply.status >= 400:
        code = check_failure(doc, operation, reply, known)
    else:
        expect(operation is not None, f"{reply.what}: {reply.status}, and the document does not have it")
        response = doc.answer(operation, reply.status)[0]
        expect(response is not None, f"{reply.what}: {operation.id} has no answer {reply.status} in the document")
        if reply.status != 304:
            kind = (reply.header("Content-Type") or "").split(";")[0]
            expect(kind in response.get("content", {}), f"{reply.what}: Content-Type {kind} is not in the document")
            if kind == "application/json" and "schema" in response["content"][kind]:
                validate(doc, operation, reply, None)
    if operation or known:
        doc.seen.add(((operation or known).id, reply.status, code))
