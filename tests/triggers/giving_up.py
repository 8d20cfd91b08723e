"""A day of an endpoint that fails, with the usual pauses, in moved time: when it is tried again, when it is given up, and what
becomes of all that waited behind it. And a clock that somebody puts forward or back meanwhile."""
import datetime
import json

from harness import expect, same, test, wait_for
from harness.clock import Clock
from harness.elsewhere import Elsewhere, answer
from harness.receiver import commit, history, trigger

COST = 9
SECOND, HOUR = 1000, 3600_000
PAUSES = [n * SECOND for n in (1, 2, 5, 15, 60, 300, 1800)]  # and then each hour


def ms(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


class Day:
    """A trigger whose endpoint fails, and one by which the sender is made to look at the time again."""

    def __init__(self, t, more=""):
        self.clock = Clock(t.path("clock"))
        self.server = t.own_server(config="[webhooks]\nallow_private_networks = true\n" + more, env=self.clock.environment)
        self.there = Elsewhere(t, {"/hook": self.say, "/steady": answer()})
        self.fails = lambda request: True
        self.repo = self.server.account().repo(defaultBranch="main")
        self.one = trigger(self.repo, self.there.url + "/hook", ["main"])
        self.other = trigger(self.repo, self.there.url + "/steady", ["side"])
        commit(self.repo, "side", {"a": "0"})

    def say(self, request):
        return answer(503, b"not now") if self.fails(request) else answer()

    def rows(self):
        """Of the failing trigger, by commit."""
        return {row["commit"]: row for row in history(self.repo, self.one)}

    def ended(self, sha, attempts):
        """The row of this commit, once so many attempts have ended."""
        row = self.rows().get(sha)
        return row if row and row["attempts"] >= attempts and row["state"] != "sending" else None

    def move(self, to_ms):
        """To this time, which the sender has seen at the end."""
        self.clock.move(to_ms - self.clock.now_ms())
        made = self.repo.account.api.post(f"{self.repo.path}/trigger/{self.other}/test", {}).ok()["deliveryId"]
        path = f"{self.repo.path}/trigger/{self.other}/delivery/{made}"
        wait_for(lambda: self.repo.account.api.get(path).ok()["state"] == "delivered", "the other endpoint")

    def came(self):
        """(commit, attempt) of each call."""
        return [(json.loads(r.body)["commit"], int(r.headers["x-warren-attempt"])) for r in self.there.requests if r.path == "/hook"]


@test
def a_day_of_failures(t):
    day = Day(t)
    began = day.clock.now_ms()
    shas = [commit(day.repo, "main", {"a": str(n)}) for n in range(1, 4)]
    first, before, attempts = shas[0], began, 0
    while True:
        attempts += 1
        row = wait_for(lambda: day.ended(first, attempts), f"attempt {attempts}")
        seen = day.clock.now_ms()
        same((row["attempts"], row["status"], row["answer"]), (attempts, 503, "not now"), "the row")
        if row["state"] == "failed":
            break
        pause = PAUSES[attempts - 1] if attempts <= len(PAUSES) else HOUR
        due = ms(row["nextAttemptAt"])
        expect(before + pause <= due <= seen + pause * 1.2 + 1, f"the pause behind attempt {attempts}", due - seen, pause)
        same(day.came(), [(first, n) for n in range(1, attempts + 1)], "what came so far")
        if pause >= 300 * SECOND:
            day.move(due - pause // 10)
            same(len(day.came()), attempts, "some time before it is due")
        before = due
        day.move(due)
    ended = ms(row["endedAt"])
    expect(began + 24 * HOUR <= ended <= seen and ended - began < 25.3 * HOUR, "given up after a day", ended - began)
    # 2,183 s and up to a fifth more until the first hour, and hours of up to 72 minutes.
    expect(7 + 19 <= attempts <= 8 + 24, "attempts of a day", attempts)
    logged = [line for line in day.server.log_lines() if line["event"] == "webhook.given_up"]
    same((logged[0]["delivery"], logged[0]["attempts"]), (row["id"], attempts), "the log")


@test
def what_waited_behind(t):
    """A day later each of them is tried once, and the rest arrives as soon as the endpoint is well again."""
    day = Day(t)
    shas = [commit(day.repo, "main", {"a": str(n)}) for n in range(1, 25)]
    wait_for(lambda: day.ended(shas[0], 1) and len(day.rows()) == len(shas), "the first attempt")
    day.fails = lambda request: json.loads(request.body)["commit"] in shas[:12]
    day.move(day.clock.now_ms() + 25 * HOUR)
    wait_for(lambda: all(row["endedAt"] for row in day.rows().values()), "the end of all of them")
    rows = day.rows()
    same([(rows[sha]["state"], rows[sha]["attempts"]) for sha in shas],
         [("failed", 2), *[("failed", 1)] * 11, *[("delivered", 1)] * 12], "how they ended, in order")
    same(day.came(), [(shas[0], 1), (shas[0], 2), *[(sha, 1) for sha in shas[1:]]], "what came, in order")
    same(sum(line["event"] == "webhook.given_up" for line in day.server.log_lines()), 12, "given up, and logged")
    last = commit(day.repo, "main", {"a": "last"})
    same(wait_for(lambda: day.ended(last, 1), "the next one")["state"], "delivered", "the next one")


QUICK = "retry_pause = 100ms\n"


def moved(server):
    """By how many seconds the log says that the clock was moved."""
    return [line["by_s"] for line in server.log_lines() if line["event"] == "clock.moved"]


@test
def the_clock_goes_back(t):
    """By hours, under a running server and between two: what waits for its time goes on with its pauses; nothing waits for hours."""
    day = Day(t, QUICK)
    first, behind = (commit(day.repo, "main", {"a": str(n)}) for n in range(2))
    wait_for(lambda: day.ended(first, 3), "three attempts")
    day.clock.leap(-5 * HOUR)
    wait_for(lambda: moved(day.server), "the leap in the log")
    expect(abs(moved(day.server)[0] + 5 * 3600) < 5, "by how much", moved(day.server))
    wait_for(lambda: [r for r in [day.ended(first, 4)] if r and ms(r["nextAttemptAt"]) < day.clock.now_ms() + 10 * SECOND],
             "the next attempt, and a near time for the one after it")
    day.server.stop()
    day.clock.leap(-5 * HOUR)
    day.fails = lambda request: False
    day.server.start()
    for sha in (first, behind, commit(day.repo, "main", {"a": "last"})):
        row = wait_for(lambda: next((r for r in [day.rows().get(sha)] if r and r["endedAt"]), None), "the end")
        same(row["state"], "delivered", "the end")
    same([sha for sha, _ in day.came()][-3:-1], [first, behind], "in order")


@test
def the_clock_goes_forward(t):
    """By more than a day: nobody had that day, so nothing is given up for it; what fails is tried on, and arrives later."""
    day = Day(t, QUICK)
    sha = commit(day.repo, "main", {"a": "1"})
    wait_for(lambda: day.ended(sha, 1), "an attempt")
    day.clock.leap(30 * HOUR)
    wait_for(lambda: day.ended(sha, 4), "some more")
    same(day.rows()[sha]["state"], "queued", "it goes on")
    day.fails = lambda request: False
    wait_for(lambda: day.rows()[sha]["endedAt"], "the end")
    same(day.rows()[sha]["state"], "delivered", "the end")
    expect(all(abs(by - 30 * 3600) < 5 for by in moved(day.server)), "the log", moved(day.server))
