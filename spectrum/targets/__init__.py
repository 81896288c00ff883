"""Which class a run, or an event of a run, has: a table with a source for every row.

Not here: which runs exist (``spectrum.data.bids``) and how classes are scored
(``spectrum.scores``).
"""

from spectrum.targets.reading import read_target, shipped_targets
from spectrum.targets.rules import EventRule, RunRule, Target

__all__ = ["EventRule", "RunRule", "Target", "read_target", "shipped_targets"]
