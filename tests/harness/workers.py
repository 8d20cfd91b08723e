"""The processes of a server, as its log, /proc and the database show them."""
import json
import os
import sqlite3

from harness.core import same
from harness.server import run_warren


def children(server):
    with open(f"/proc/{server.pid}/task/{server.pid}/children", encoding="ascii") as f:
        return [int(child) for child in f.read().split()]


def workers(server):
    """Those of them that serve, or will; not what only looks at a configuration."""
    found = []
    for pid in children(server):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                if f.read() == "warren-worker\n":
                    found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def worker(server):
    """The process that serves; None while there is none, or two."""
    found = workers(server)
    return found[0] if len(found) == 1 else None


def running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def logged(server, name):
    """The lines of the log with this event."""
    return [line for line in server.log_lines() if line["event"] == name]


def rows(server):
    """{repository: (event_seq, mark)}"""
    db = sqlite3.connect(f"file:{os.path.join(server.data, 'warren.db')}?mode=ro", uri=True, timeout=30)
    try:
        return {row[0]: row[1:] for row in db.execute("SELECT id, event_seq, mark FROM repo WHERE state = 'live'")}
    finally:
        db.close()


def sequence(server, repo_id):
    """Of the last record in the journal, as the program says."""
    status, out, text = run_warren("repo", "show", repo_id, "--data", server.data)
    same(status, 0, f"repo show: {text}")
    return json.loads(out)["sequence"]
