#!/usr/bin/env python3
"""fault/_long.py: goes on with the Rounds of a suite for as long as one likes, from where the last run ended.

  tests/fault/_long.py fault/killed --warren build/release/warren [--rounds 1000] [--seed 7] [--state FILE]

A round depends on seed and number alone (and on the machine's timing). The state file holds both; a round that failed is
the first one of the next run. --seed with another number begins anew. A failure keeps a copy of the data folder."""
import argparse
import importlib.util
import json
import os
import random
import shutil
import sys
import time
import traceback

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, HERE)
from harness import core  # noqa: E402


def load(name):
    spec = importlib.util.spec_from_file_location(name.replace("/", "."), os.path.join(HERE, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path, args):
    try:
        with open(path, encoding="utf-8") as f:
            state = json.load(f)
    except FileNotFoundError:
        state = {}
    fresh = not state or (args.seed is not None and args.seed != state["seed"])
    if fresh or state["next"] >= args.rounds:
        seed = random.SystemRandom().randrange(1 << 31) if args.seed is None else args.seed
        state = {"seed": seed, "next": 0}
    return state


def write(path, state):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump(state, f)
    os.replace(path + ".new", path)


def folder(suite, rounds_class, state, path, last):
    """The rounds that share one data folder; the state is written after each."""
    t = core.Test(suite, "long", state["seed"])
    with t.stack:
        rounds = rounds_class(t, state["seed"])
        try:
            for _ in range(min(rounds_class.PER_FOLDER, last - state["next"])):
                rounds.round(state["next"])
                state["next"] += 1
                write(path, state)
            rounds.close()
        except BaseException:
            server = getattr(rounds, "server", None)
            if server is not None and os.path.isdir(server.folder):
                if server.alive():
                    server.kill()
                kept = os.path.join(os.path.dirname(path), f"failed-{os.path.basename(path)}-{state['seed']}-{state['next']}")
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(server.folder, kept, ignore=lambda d, names: [n for n in names if ".sock" in n])
                print(f"the server's folder is kept in {kept}", flush=True)
            raise


def main():
    p = argparse.ArgumentParser()
    p.add_argument("suite")
    p.add_argument("--warren", default="build/release/warren")
    p.add_argument("--rounds", type=int, default=1000)
    p.add_argument("--seed", type=int)
    p.add_argument("--state")
    args = p.parse_args()
    os.environ["WARREN_BIN"] = os.path.abspath(args.warren)
    path = os.path.abspath(args.state or os.path.join("build", "long", args.suite.replace("/", "-")))
    state = read(path, args)
    rounds_class = load(args.suite).Rounds
    suite = core.Suite(args.suite)
    began = time.monotonic()
    print(f"{args.suite}: seed {state['seed']}, rounds {state['next']} to {args.rounds}", flush=True)
    try:
        while state["next"] < args.rounds:
            folder(suite, rounds_class, state, path, args.rounds)
            print(f"{args.suite}: {state['next']} of {args.rounds} rounds, {time.monotonic() - began:.0f} s", flush=True)
    except Exception:
        traceback.print_exc()
        print(f"FAIL {args.suite}: round {state['next']} of seed {state['seed']}", flush=True)
        return 1
    finally:
        suite.abandon()
    print(f"{args.suite}: all {args.rounds} rounds went well, seed {state['seed']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
