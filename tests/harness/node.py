"""npm packages at locked versions, installed into build/, and scripts that use them."""
import fcntl
import os
import shutil
import subprocess

from harness.core import Fail, slowness

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Where there is no registry, to say so soon beats to wait for minutes.
NPM_FLAGS = ["--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=2", "--fetch-retry-mintimeout=1000",
             "--fetch-retry-maxtimeout=5000", "--fetch-timeout=60000"]
failed = {}  # what npm said, by name: the tests of a suite need not ask again


# A script: its arguments are TypeScript files, which it makes JavaScript of beside them, and complains.
TRANSPILE = """
import { createRequire } from "node:module";
import fs from "node:fs";
const ts = createRequire(process.env.MODULES + "/none.js")("typescript");
const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, moduleResolution: ts.ModuleResolutionKind.Bundler,
  strict: true, noEmitOnError: true, skipLibCheck: true, types: [] };
const program = ts.createProgram(process.argv.slice(2), options);
const { diagnostics } = program.emit();
const all = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
if (all.length) throw new Error(ts.formatDiagnostics(all, { getCurrentDirectory: () => "", getCanonicalFileName: (f) => f, getNewLine: () => "\\n" }));
"""


def packages(source, name):
    """The node_modules of the lock file in the folder source, in build/<name>; npm runs only when the lock is newer."""
    target = os.path.join(ROOT, "build", name)
    os.makedirs(target, exist_ok=True)
    lock, modules = os.path.join(source, "package-lock.json"), os.path.join(target, "node_modules")
    mark = os.path.join(target, "installed-lock.json")
    with open(os.path.join(target, ".busy"), "w", encoding="ascii") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        with open(lock, "rb") as f:
            wanted = f.read()
        if os.path.exists(mark) and os.path.isdir(modules):
            with open(mark, "rb") as f:
                if f.read() == wanted:
                    return modules
        for file in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(os.path.join(source, file), os.path.join(target, file))
        if name in failed:
            raise Fail(failed[name])
        done = subprocess.run(["npm", "ci", *NPM_FLAGS], cwd=target, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
        if done.returncode:
            failed[name] = f"npm ci in build/{name}: {done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}"
            raise Fail(failed[name])
        with open(mark, "wb") as f:
            f.write(wanted)
    return modules


def node(modules, script, *args, env=None, seconds=120):
    """(exit status, stdout, stderr) of a script whose packages are in modules."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_PROXY": "*", "MODULES": modules, "TZ": "UTC", **(env or {})}
    done = subprocess.run(["node", script, *args], stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=seconds * slowness())
    return done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")
