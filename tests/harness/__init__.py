"""What every black-box test stands on: a server of its own, callers, the real git, raw bytes.

A suite is a Python file in one of tests/'s folders; its tests are functions marked @test that take one argument t
(harness.core.Test). Nothing here knows a suite."""
from harness.api import Api, Reply, check_error
from harness.core import Fail, Skip, Test, expect, same, test, wait_for
from harness.gitcmd import Git
from harness.server import Account, Identity, Repo, Server

__all__ = ["Account", "Api", "Fail", "Git", "Identity", "Reply", "Repo", "Server", "Skip", "Test", "check_error", "expect",
           "same", "test", "wait_for"]
