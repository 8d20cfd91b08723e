"""The rows of server/http/routes.def."""
import os
import re

from harness.core import expect

ROUTES_DEF = os.path.join(os.path.dirname(__file__), "../../server/http/routes.def")
ROW = re.compile(r'^X\((\w+), "([^"]+)", (\w+), (\w+), (\w+), (\w+)\)', re.M)


class Route:
    def __init__(self, method, path, access, body, _lane, handler):
        self.method, self.path, self.access, self.body, self.handler = method, path, access, body, handler
        self.git = access.startswith("GIT_")
        self.name = f"{method} {path}"


def routes():
    with open(ROUTES_DEF, encoding="ascii") as f:
        found = [Route(*row) for row in ROW.findall(f.read())]
    expect(len(found) > 30, "routes.def could not be read", len(found))
    return found
