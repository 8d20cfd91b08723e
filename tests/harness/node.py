"""npm packages at locked versions, installed into build/, and scripts that use them."""
import fcntl
import os
import shutil
import subprocess

from harness.core import Fail, slowness

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


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
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=target, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=600)
        if done.returncode:
            raise Fail(f"npm ci in build/{name}: {done.stdout.decode(errors='replace')}{done.stderr.decode(errors='replace')}")
        with open(mark, "wb") as f:
            f.write(wanted)
    return modules


def node(modules, script, *args, env=None, seconds=120):
    """(exit status, stdout, stderr) of a script whose packages are in modules."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "NO_PROXY": "*", "MODULES": modules, "TZ": "UTC", **(env or {})}
    done = subprocess.run(["node", script, *args], stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=seconds * slowness())
    return done.returncode, done.stdout.decode(), done.stderr.decode(errors="replace")
