"""The time of day as a server sees it, which the test moves, and a disk that the test makes slow (fault/moved_clock.c)."""
import mmap
import os
import struct
import time

from harness.core import expect, warren


def library():
    """The preloaded library that stands beside the program under test."""
    path = os.path.join(os.path.dirname(warren()), "tests", "moved_clock.so")
    expect(os.path.exists(path), "no moved_clock.so beside the program: make unit", path)
    return path


class Clock:
    """environment is what servers and commands are started with. A process that runs takes a move for a clock that was put
    right: for some of what it measures only the next process believes it."""

    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(bytes(24))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 24)
        self.environment = {"LD_PRELOAD": library(), "WARREN_CLOCK": path, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        self.ahead_ms = self.leapt_ms = 0

    def leap(self, ms):
        """Somebody puts the time of day forward, or back."""
        self.leapt_ms += int(ms)
        self.move(ms)
        self.map[16:24] = struct.pack("<q", self.leapt_ms)

    def move(self, ms):
        """So much later, as after a sleep of the machine; less than zero goes back."""
        self.ahead_ms += int(ms)
        self.map[:8] = struct.pack("<q", self.ahead_ms)

    def now_ms(self):
        return int(time.time() * 1000) + self.ahead_ms

    def slow(self, flush_ms):
        """Each flush takes so much longer; 0 ends it."""
        self.map[8:16] = struct.pack("<q", int(flush_ms * 1000))
