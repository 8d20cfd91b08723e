#!/usr/bin/env python3
"""tests/run.py: runs suites (the Python files of tests/'s folders), cmocka programs and fuzz corpora, and counts them all.

  tests/run.py --warren build/release/warren [--suite git/push] [--only atomic] [--rounds 5] [--seed 7] [--jobs 2]
               [--concurrent] [--unit PROGRAM...] [--fuzz PROGRAM...]
  tests/run.py --sum FILE...      adds up the closing lines of several runs

Suites run side by side, each in a process of its own; a suite's tests run one after another. A failure prints a line and
what is known about it. The last line is `N passed, M failed` (and `, K skipped`); exit status 1 when M is not 0."""
import argparse
import ast
import concurrent.futures
import fcntl
import glob
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
FOLDERS = ("tables", "api", "program", "protocol", "git", "triggers", "fault", "clients")
SUITE_SECONDS = 1800
TEST_SECONDS = 300
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$")
lock = threading.Lock()


def say(text):
    with lock:
        print(text, flush=True)


# A suite's own process: results go as JSON lines to the descriptor that --report names.

def load(name):
    sys.path.insert(0, HERE)
    path = os.path.join(HERE, name + ".py")
    spec = importlib.util.spec_from_file_location(name.replace("/", "."), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def run_one(suite, function, seed):
    """(outcome, details) of one test."""
    from harness import core
    t = core.Test(suite, function.__name__, seed)
    signal.alarm(int(TEST_SECONDS * core.slowness()))
    try:
        with t.stack:
            function(t)
        suite.check()
        return "passed", ""
    except core.Skip as why:
        return "skipped", str(why)
    except BaseException as e:
        if isinstance(e, KeyboardInterrupt):
            raise
        details = str(e) if isinstance(e, core.Fail) else f"{type(e).__name__}: {e}"
        details += "\n" + "".join(traceback.format_tb(e.__traceback__)[1:]) + suite.log_tail()
        suite.drop_server()
        return "failed", details
    finally:
        signal.alarm(0)


def too_long(*_):
    from harness import core
    raise core.Fail("the test takes too long")


def interrupted(*_):
    raise KeyboardInterrupt


def suite_process(name, only, seed, report):
    from harness import core
    out = os.fdopen(report, "w", encoding="utf-8", errors="backslashreplace")
    tell = lambda *row: (out.write(json.dumps(row) + "\n"), out.flush())
    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, interrupted)
    load(name)
    suite = core.Suite(name)
    try:
        for function in core.TESTS:
            if only and not re.search(only, f"{name}.{function.__name__}"):
                continue
            start, before = time.monotonic(), suite.cpu_seconds()
            outcome, details = run_one(suite, function, seed)
            tell(function.__name__, outcome, details, time.monotonic() - start, suite.cpu_seconds() - before)
    except KeyboardInterrupt:
        suite.abandon()
        raise
    try:
        suite.finish()
    except Exception as e:
        tell("the server's end", "failed", str(e), 0, 0)


def read_flag(name, flag):
    """A constant of a suite's file, without running it: CONCURRENT = True, COST = 3."""
    with open(os.path.join(HERE, name + ".py"), encoding="utf-8") as f:
        for node in ast.parse(f.read()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == flag:
                return ast.literal_eval(node.value)
    return None


class Totals:
    def __init__(self):
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}

    def add(self, name, rows, seconds, seed=None):
        mine = {"passed": 0, "failed": 0, "skipped": 0}
        for test, outcome, details in rows:
            mine[outcome] += 1
            if outcome == "failed":
                first, _, rest = details.strip().partition("\n")
                again = f"  (--seed {seed})" if seed is not None else ""
                say(f"FAIL {name}.{test}: {first}{again}" + "".join(f"\n     {line}" for line in rest.splitlines()))
            elif outcome == "skipped":
                say(f"skip {name}.{test}: {details}")
        with lock:
            for key, n in mine.items():
                self.counts[key] += n
        said = f"{mine['passed']} passed" + "".join(f", {mine[k]} {k}" for k in ("failed", "skipped") if mine[k])
        say(f"{'ok  ' if not mine['failed'] else 'FAIL'} {name}: {said}, {seconds:.1f} s")

    def close(self):
        c = self.counts
        print(f"{c['passed']} passed, {c['failed']} failed" + (f", {c['skipped']} skipped" if c["skipped"] else ""), flush=True)
        return 1 if c["failed"] or not (c["passed"] or c["skipped"]) else 0


def read_text(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def memory_left():
    """Bytes that may still be used: by this machine, and by the container that this may be."""
    left = int(re.search(r"^MemAvailable:\s+(\d+) kB", read_text("/proc/meminfo"), re.M).group(1)) * 1024
    for folder, most, now in (("", "memory.max", "memory.current"),
                              ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            most, now = [read_text(os.path.join("/sys/fs/cgroup", folder, name)).strip() for name in (most, now)]
            left = min(left, int(most) - int(now))
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
    return left


def claimed(path):
    """The folder, open and locked for as long as this process lives; None where it is another's, or gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.exists(path) and os.fstat(fd).st_uid == os.getuid():
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def sweep_memory():
    """What runs left that were killed, which would be gone from memory for good."""
    for path in glob.glob("/dev/shm/wt-*"):
        fd = claimed(path)
        if fd is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(fd)


def folder_in_memory():
    """Where unit tests and suites that say IN_MEMORY, whose disk is none or a simulated one, put their folders, lest they
    wait for a real one; None where that would be too little, or TMPDIR says where."""
    if "TMPDIR" in os.environ:
        return None
    try:
        sweep_memory()
        shm = os.statvfs("/dev/shm")
        if shm.f_flag & os.ST_NOEXEC or shm.f_bavail * shm.f_frsize < 2 << 30 or memory_left() < 4 << 30:
            return None
        while True:
            folder = tempfile.TemporaryDirectory(prefix="wt-", dir="/dev/shm", ignore_cleanup_errors=True)
            if claimed(folder.name) is not None:  # else swept, in the moment before
                return folder
            folder.cleanup()
    except (OSError, AttributeError):
        return None


def in_memory(args):
    return {**os.environ, "TMPDIR": args.memory.name} if args.memory else dict(os.environ)


def run_suite(name, args, totals):
    start = time.monotonic()
    read, write = os.pipe()
    env = in_memory(args) if read_flag(name, "IN_MEMORY") else None
    command = [sys.executable, "-u", os.path.abspath(__file__), "--run-suite", name, "--report", str(write), "--seed",
               str(args.seed)] + (["--only", args.only] if args.only else [])
    with tempfile.TemporaryFile() as noise:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=noise, stderr=noise, pass_fds=[write], env=env)
        os.close(write)
        timer = threading.Timer(SUITE_SECONDS, process.terminate)
        timer.start()
        with os.fdopen(read, encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.endswith("\n")]
        process.wait()
        timer.cancel()
        noise.seek(0)
        text = noise.read().decode(errors="replace")
    if args.times:
        for test, _, _, seconds, cpu in sorted(rows, key=lambda r: -r[3])[:args.times]:
            say(f"     {seconds:6.2f} s, computed {cpu:6.2f} s: {name}.{test}")
    for line in text.splitlines():
        if line.startswith("note: "):
            say(f"     {name}: {line[len('note: '):]}")
    results = [row[:3] for row in rows]
    if process.returncode != 0:
        results.append(("the suite itself", "failed", f"ended with {process.returncode}\n{text[-4000:]}"))
    if results or not args.only:
        totals.add(name, results, time.monotonic() - start, args.seed)


def run_program(kind, program, args, command):
    """(stdout and stderr, exit status, seconds) of a unit test or a fuzz replay."""
    start = time.monotonic()
    # Else what fails on a thread that is not the first one ends the program without a word.
    env = {**in_memory(args), "WARREN_TEST_ROUNDS": str(args.rounds), "WARREN_TEST_SEED": str(args.seed), "CMOCKA_TEST_ABORT": "1"}
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                              cwd=ROOT, timeout=SUITE_SECONDS)
        return done.stdout.decode(errors="replace"), done.returncode, time.monotonic() - start
    except subprocess.TimeoutExpired as e:
        return (e.stdout or b"").decode(errors="replace") + f"\n{kind} {program}: too slow", 1, time.monotonic() - start


def run_unit(program, args, totals):
    """cmocka prints `[  PASSED  ] N test(s).` for each group, and names what failed."""
    name = "unit/" + os.path.basename(program)
    text, status, seconds = run_program("unit", program, args, [program])
    rows = [("", "passed", "")] * sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test\(s\)\.", text))
    rows += [("", "skipped", "by itself")] * sum(int(n) for n in re.findall(r"\[  SKIPPED \] (\d+) test\(s\)", text))
    failed = sorted(set(re.findall(r"^\[  (?:FAILED |ERROR  ) \] ([A-Za-z_]\w*)$", text, re.M)))
    rows += [(test, "failed", f"exit status {status}\n{text[-6000:]}") for test in failed]
    if not failed and (status != 0 or not rows):
        rows.append(("the program", "failed", f"exit status {status}\n{text[-6000:]}"))
    totals.add(name, rows, seconds)


def run_fuzz(program, args, totals):
    """Each file of the target's corpus is one test."""
    target = re.sub(r"^fuzz_", "", os.path.basename(program))
    files = sorted(glob.glob(os.path.join(HERE, "fuzz", "corpus", target, "*")))
    rows = []
    text, status, seconds = run_program("fuzz", program, args, [program, *files])
    if not files:
        rows.append(("corpus", "failed", f"tests/fuzz/corpus/{target} is empty"))
    elif status == 0:
        rows += [("", "passed", "")] * len(files)
    else:
        for path in files:
            text, status, _ = run_program("fuzz", program, args, [program, path])
            rows.append((os.path.basename(path), "failed" if status else "passed", f"exit status {status}\n{text[-4000:]}"))
        if not any(row[1] == "failed" for row in rows):
            rows.append(("all files in one process", "failed", text[-4000:]))
    totals.add(f"fuzz/{target}", rows, seconds)


def add_up(paths):
    """The closing line of each file, added; a file without one counts as a failure."""
    totals = Totals()
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = [line for line in f.read().splitlines() if line.strip()]
        matches = [m for m in (CLOSING.match(line) for line in lines) if m]
        if not matches:
            print(f"FAIL {os.path.basename(path)}: no closing line")
            totals.counts["failed"] += 1
            continue
        for key, n in zip(("passed", "failed", "skipped"), matches[-1].groups()):
            totals.counts[key] += int(n or 0)
    return totals.close()


def arguments():
    p = argparse.ArgumentParser(description="Runs Warren's tests.")
    p.add_argument("--warren", default=os.environ.get("WARREN_BIN", "build/release/warren"), help="the program under test")
    p.add_argument("--suite", action="append", help="only this suite (git/push) or folder (git); may be repeated")
    p.add_argument("--only", help="only tests whose suite.name matches this pattern")
    p.add_argument("--rounds", type=float, default=float(os.environ.get("WARREN_TEST_ROUNDS") or 1),
                   help="scales randomised tests (WARREN_TEST_ROUNDS)")
    p.add_argument("--seed", type=int, default=None, help="of the randomised tests")
    p.add_argument("--jobs", type=int, default=None, help="suites side by side; else three more than there are cores")
    p.add_argument("--times", type=int, default=0, help="show the slowest tests of each suite, and what they compute")
    p.add_argument("--concurrent", action="store_true", help="only suites that make the server's threads meet")
    p.add_argument("--unit", nargs="*", default=[], help="cmocka programs")
    p.add_argument("--fuzz", nargs="*", default=[], help="fuzz targets, to be fed their corpus")
    p.add_argument("--sum", nargs="+", metavar="FILE", help="add up closing lines")
    p.add_argument("--list", action="store_true", help="list the suites")
    p.add_argument("--run-suite", help=argparse.SUPPRESS)
    p.add_argument("--report", type=int, help=argparse.SUPPRESS)
    return p.parse_args()


def sanitized(args):
    return any(variant in os.path.abspath(args.warren).split(os.sep) for variant in ("asan", "tsan"))


def chosen_suites(args):
    names = []
    for folder in FOLDERS:
        for path in sorted(glob.glob(os.path.join(HERE, folder, "*.py"))):
            names.append(f"{folder}/{os.path.basename(path)[:-3]}")
    names = [n for n in names if not os.path.basename(n).startswith("_")]
    if args.suite:
        names = [n for n in names if n in args.suite or n.split("/")[0] in args.suite]
    elif sanitized(args):
        # Of clients, documents or times: what they ask of the server others ask, too.
        names = [n for n in names if not read_flag(n, "RELEASE_ONLY")]
    if args.concurrent:
        names = [n for n in names if read_flag(n, "CONCURRENT")]
    # The longest first, so that nothing long is left alone at the end.
    return sorted(names, key=lambda n: -(read_flag(n, "COST") or 1))


def main():
    args = arguments()
    if args.sum:
        return add_up(args.sum)
    if args.list:
        print("\n".join(chosen_suites(args)))
        return 0
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 31)
    if args.run_suite:
        sys.path.insert(0, HERE)
        suite_process(args.run_suite, args.only, args.seed, args.report)
        return 0
    binary = os.path.abspath(args.warren)
    if not os.access(binary, os.X_OK):
        print(f"FAIL no program at {args.warren}\n0 passed, 1 failed")
        return 1
    os.environ.update(WARREN_BIN=binary, WARREN_TEST_ROUNDS=f"{args.rounds:g}", PYTHONDONTWRITEBYTECODE="1")
    totals = Totals()
    args.memory = folder_in_memory()
    work = [(run_suite, name) for name in chosen_suites(args)]
    if not args.suite:
        if not args.only:
            work += [(run_fuzz, program) for program in args.fuzz]
        work += [(run_unit, program) for program in args.unit if not args.only or re.search(args.only, program)]
    # More than there are cores, since many mostly wait; under a sanitizer they compute.
    jobs = args.jobs or (os.cpu_count() or 1) + (1 if sanitized(args) else 3)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(function, item, args, totals) for function, item in work]:
            done.result()
    return totals.close()


if __name__ == "__main__":
    sys.exit(main())
