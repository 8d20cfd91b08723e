"""Power cuts in what concerns whole repositories: forks, adoptions, exports, cruft, base rewrites and deletions, and their jobs.

As fault/powerloss.py; `make powerloss-long` takes all of these cuts, too."""
from harness import test
from harness.core import sanitized
from harness.cuts import sample
from harness.scenes import WHOLES

IN_MEMORY = True
COST = 25


@test
def power_cuts_at_flushes(t):
    """A sample of every scene's cuts."""
    for _ in t.rounds(1):
        sample(t, WHOLES, 1 if sanitized() else 4)
