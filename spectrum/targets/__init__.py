"""Which class a run, or an event of a run, has: a table with a source for every row.

Not here: which runs exist (``spectrum.data.bids``) and how classes are scored
(``spectrum.scores``).
"""

from spectrum.targets.findings import TargetFinding, num_excluded, target_findings
from spectrum.targets.reading import read_target, shipped_targets
from spectrum.targets.rules import EventRule, ExclusionRule, RunRule
from spectrum.targets.schema import target_schema
from spectrum.targets.target import Target

__all__ = [
    "EventRule",
    "ExclusionRule",
    "RunRule",
    "Target",
    "TargetFinding",
    "num_excluded",
    "read_target",
    "shipped_targets",
    "target_findings",
    "target_schema",
]
