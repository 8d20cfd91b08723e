"""Schemas of the document as lists of fields, and as examples."""
import json

import words
from words import code, e

SHA = "9f1c3d5a7b2e4f60718293a4b5c6d7e8f9012345"
SAMPLES = {"uuid": "8c1f0a52-7d0e-4a53-9b3f-3f1f6f2d9a10", "date-time": "2026-03-01T12:00:00.000Z", "uri": "https://example.com/app.git"}
BY_NAME = {"name": "main", "path": "src/app.ts", "email": "ada@example.com", "message": "Say hello", "filename": "src/app.ts"}

NUMBERS = {"offset": 0, "limit": 50, "size": 6, "behind_by": 0}


def variants(schema):
    return schema.get("oneOf", [schema])


class Schemas:
    def __init__(self, document):
        self.document = document

    def find(self, value):
        """What a reference stands for."""
        while isinstance(value, dict) and "$ref" in value:
            place = self.document
            for part in value["$ref"][2:].split("/"):
                place = place[part.replace("~1", "/").replace("~0", "~")]
            value = place
        return value

    def whole(self, schema):
        """The schema with its references and its single allOf followed: words here go before words there."""
        schema = self.find(schema)
        if "allOf" in schema:
            schema = {**self.whole(schema["allOf"][0]), **{k: v for k, v in schema.items() if k != "allOf"}}
        return schema

    def kind(self, schema):
        """Its type, in a word or two."""
        schema = self.whole(schema)
        if "const" in schema:
            return code(json.dumps(schema["const"]))
        if "enum" in schema:
            return " or ".join(code(json.dumps(v)) for v in schema["enum"])
        if "oneOf" in schema:
            kinds = list(dict.fromkeys(self.kind(s) for s in schema["oneOf"]))
            return " or ".join(kinds)
        kinds = schema.get("type", "any")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if "array" in kinds:
            kinds = ["array of " + self.kind(schema["items"]) if k == "array" else k for k in kinds]
        kinds = [k if not (k == "string" and "format" in schema) else {"date-time": "time"}.get(schema["format"], schema["format"])
                 for k in kinds]
        return " or ".join(e(k) if "<" not in k else k for k in kinds)

    def objects(self, schema):
        """[(title, object schema)] of the objects that a value of this schema is, or holds at its next level."""
        schema = self.whole(schema)
        if "oneOf" in schema:
            return [pair for s in schema["oneOf"] for pair in self.objects(s)]
        if "items" in schema:
            return self.objects(schema["items"])
        if isinstance(schema.get("additionalProperties"), dict):
            return self.objects(schema["additionalProperties"])
        return [(schema.get("title"), schema)] if "properties" in schema else []

    def fields(self, schema, above=(), answer=False):
        """The fields of an object as a list, those of objects in it below them. Of an answer it is said what may be absent."""
        out = []
        found = self.objects(schema)
        for title, one in found:
            rows = []
            for name, field in one["properties"].items():
                rows.append(self.field(name, field, name in one.get("required", ()), (*above, id(one)), answer))
            if title and len(found) > 1:
                out.append(f"<p class=variant>{e(title)}</p>")
            out.append("<dl>" + "".join(rows) + "</dl>" if rows else "")
        return "".join(out)

    def field(self, name, schema, required, above, answer):
        schema = self.whole(schema)
        again = any(id(one) in above for _, one in self.objects(schema))
        inner = "" if again else self.fields(schema, above, answer)
        facts = self.kind(schema)
        if "default" in schema:
            facts += f", default {code(json.dumps(schema['default']))}"
        marks = " <b>required</b>" if required and not answer else " <i>may be absent</i>" if answer and not required else ""
        marks += " <i>deprecated</i>" if schema.get("deprecated") else ""
        said = words.line(schema.get("description", "")) + (" The same again." if again else "")
        return (f"<div class=f><dt><code>{e(name)}</code> <span class=t>{facts}</span>{marks}</dt>"
                f"<dd>{said}{f'<div class=in>{inner}</div>' if inner else ''}</dd></div>")

    def sample(self, schema, name="", depth=0):
        """A value that could stand there."""
        schema = self.whole(schema)
        for key in ("example", "const", "default"):
            if key in schema:
                return schema[key]
        if "enum" in schema:
            return schema["enum"][0]
        if "oneOf" in schema:
            return None if {"type": "null"} in schema["oneOf"] else self.sample(schema["oneOf"][0], name, depth)
        kind = schema.get("type", "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            if "properties" in schema:
                wanted = schema.get("required", schema["properties"])
                return {k: self.sample(v, k, depth + 1) for k, v in schema["properties"].items() if k in wanted}
            extra = schema.get("additionalProperties")
            return {"main": self.sample(extra, name, depth + 1)} if isinstance(extra, dict) else {}
        if kind == "array":
            return [self.sample(schema["items"], name, depth + 1)] if depth < 4 else []
        if kind in ("integer", "boolean"):
            return {"integer": NUMBERS.get(name, 1), "boolean": False}[kind]
        if "40}" in schema.get("pattern", ""):
            return SHA
        if schema.get("contentEncoding") == "base64":
            return "aGVsbG8K"
        return SAMPLES.get(schema.get("format"), BY_NAME.get(name, name))
