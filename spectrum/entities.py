"""BIDS entities as values: which run is meant, to and from a file name.

Not here: what lies in a file (``spectrum.data``), and what class a run has (``spectrum.targets``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from spectrum.errors import SidecarError

__all__ = ["RunKey", "parse_entities"]

ENTITY_OF_PREFIX: Final = {
    "sub": "subject",
    "ses": "session",
    "task": "task",
    "acq": "acquisition",
    "ce": "contrast",
    "rec": "reconstruction",
    "dir": "direction",
    "run": "run",
    "echo": "echo",
    "part": "part",
    "space": "space",
    "res": "resolution",
    "den": "density",
    "desc": "description",
}
"""Short and long names of the entities of BOLD files, in order (BIDS 1.10, appendix)."""

_PAIR = re.compile(r"^([a-zA-Z]+)-([a-zA-Z0-9+.]+)$")
_NAMED = frozenset({"subject", "session", "task", "run"})


def parse_entities(file_name: str) -> dict[str, str]:
    """Split a BIDS file name into its entities.

    Parameters
    ----------
    file_name : name without folders
        Such as ``sub-01_task-rest_run-1_bold.nii.gz``.

    Returns
    -------
    entities : long entity name -> value, in the order of the name
        Prefixes that are no BIDS entity are kept under their own name.

    Examples
    --------
    >>> parse_entities("sub-01_task-rest_run-1_bold.nii.gz")
    {'subject': '01', 'task': 'rest', 'run': '1'}
    """
    stem = file_name.split(".", 1)[0]
    pairs = (_PAIR.match(part) for part in stem.split("_")[:-1])
    return {ENTITY_OF_PREFIX.get(m[1], m[1]): m[2] for m in pairs if m is not None}


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class RunKey:
    """Identifies one BIDS run: one uninterrupted acquisition.

    Parameters
    ----------
    dataset : accession or folder name
    subject : BIDS ``sub`` without prefix
        Unique only together with the dataset.
    session, run : as the file name writes them, or "" where it has none
    task : exact case
    acquisition : further entities, such as ``acq-mb4_dir-AP``, or ""
    """

    dataset: str
    subject: str
    session: str = ""
    task: str
    run: str = ""
    acquisition: str = ""

    @classmethod
    def from_file_name(cls, file_name: str, *, dataset: str) -> RunKey:
        """Read the key from a BIDS file name; raise SidecarError where sub or task is missing."""
        entities = parse_entities(file_name)
        missing = [name for name in ("subject", "task") if name not in entities]
        if missing:
            raise SidecarError(
                f"{file_name} has no {' and no '.join(missing)} entity. "
                "Expected sub-<label>_..._task-<label>_..._bold; rename the file after BIDS.",
                code="bad-name",
                path=file_name,
            )
        return cls(
            dataset=dataset,
            acquisition=_further_entities(entities),
            **{name: value for name, value in entities.items() if name in _NAMED},
        )

    @property
    def group(self) -> str:
        """The person: data set and subject, the key that folds are drawn from."""
        return f"{self.dataset}/sub-{self.subject}"

    @property
    def run_number(self) -> int | None:
        """The run as a number, so that ``run-1`` and ``run-01`` are the same; None without one."""
        return int(self.run) if self.run.isdigit() else None

    def __str__(self) -> str:
        """Write the key as a path-like name without blanks."""
        parts = [f"sub-{self.subject}"]
        parts += [f"ses-{self.session}"] if self.session else []
        parts += [f"task-{self.task}"]
        parts += [self.acquisition] if self.acquisition else []
        parts += [f"run-{self.run}"] if self.run else []
        return f"{self.dataset}/{'_'.join(parts)}"


def _further_entities(entities: dict[str, str]) -> str:
    prefix_of = {name: prefix for prefix, name in ENTITY_OF_PREFIX.items()}
    return "_".join(
        f"{prefix_of.get(name, name)}-{value}"
        for name, value in entities.items()
        if name not in _NAMED
    )
