"""Known vulnerabilities of the pinned versions, but for those that ``advisories.toml`` explains.

    python -m tests.audit [--json]

asks PyPI's advisories (pip-audit) for each version of ``cluster/constraints.txt``. pip-audit calls
it success where a source answers that it knows no package at all, as a mirror does; this does not.
Exit codes: 0 all were asked and nothing is open but what is explained; 1 something else is open;
3 not all could be asked, so that nothing is known of these.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CLUSTER = Path(__file__).parents[1] / "cluster"
CONSTRAINTS = CLUSTER / "constraints.txt"
ADVISORIES = CLUSTER / "advisories.toml"
ASKING_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What is known of the pinned versions.

    Attributes
    ----------
    num_asked : versions of which a source knows the advisories
    not_asked : names of the others
    explained, open_ones : advisories found, as "package id"
    """

    num_asked: int
    not_asked: tuple[str, ...]
    explained: tuple[str, ...]
    open_ones: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 in order, 1 something is open, 3 not known."""
        if self.open_ones:
            return 1
        return 3 if self.not_asked or not self.num_asked else 0

    @property
    def sentence(self) -> str:
        """What a reader is told."""
        if not self.num_asked:
            return "NOT AUDITED: no advisory source could be reached, so nothing is known."
        told = [f"{self.num_asked} versions asked, {len(self.explained)} advisories explained."]
        if self.not_asked:
            told.append(f"NOT AUDITED: {', '.join(self.not_asked)}.")
        if self.open_ones:
            told.append(f"OPEN: {', '.join(self.open_ones)}. Update, or explain in {ADVISORIES}.")
        return " ".join(told)


def judge(
    dependencies: Sequence[Mapping[str, Any]], accepted: Sequence[Mapping[str, Any]]
) -> Audit:
    """Hold what pip-audit found against what is explained.

    Parameters
    ----------
    dependencies : of pip-audit's JSON
    accepted : of ``advisories.toml``
    """
    known = {(one["package"], number) for one in accepted for number in one["ids"]}
    asked = [one for one in dependencies if "vulns" in one]
    explained, open_ones = [], []
    for one in asked:
        for advisory in one["vulns"]:
            numbers = [advisory["id"], *advisory.get("aliases", ())]
            is_known = any((one["name"], number) in known for number in numbers)
            (explained if is_known else open_ones).append(f"{one['name']} {numbers[0]}")
    return Audit(
        num_asked=len(asked),
        not_asked=tuple(sorted(one["name"] for one in dependencies if "vulns" not in one)),
        explained=tuple(explained),
        open_ones=tuple(open_ones),
    )


def ask() -> list[dict[str, Any]]:
    """Return what pip-audit says of each pinned version; empty where it cannot ask."""
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off"]
    command += ["--no-deps", "--disable-pip", "--timeout=10", f"--requirement={CONSTRAINTS}"]
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=ASKING_S, check=False
        ).stdout
        dependencies: list[dict[str, Any]] = json.loads(told)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return []
    return dependencies


def accepted_advisories() -> list[dict[str, Any]]:
    """Return the table of ``advisories.toml``."""
    table: list[dict[str, Any]] = tomllib.loads(ADVISORIES.read_text("utf-8"))["accepted"]
    return table


def main() -> None:
    audit = judge(ask(), accepted_advisories())
    print(json.dumps(asdict(audit)) if "--json" in sys.argv[1:] else audit.sentence)
    sys.exit(audit.exit_code)


if __name__ == "__main__":
    main()
