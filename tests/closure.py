"""The versions of everything that Spectrum needs here, direct or through another package.

    python -m tests.closure > cluster/constraints.txt

writes those of the environment that it runs in, which is to be one that the whole suite has passed
in. Extras ``dev`` and ``serve`` are included, as the tests install from the file.
"""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
NOT_PINNED = ("pip",)
"""The installer is not held to the version that it happens to have here."""

HEAD = """\
# The version of each package that Spectrum needs, direct or not: those that the tests pass with.
# The image, the nodes of ray-up and the tests install with these (pip install -c).
# Written by: python -m tests.closure > cluster/constraints.txt
"""


def asked_for() -> list[Requirement]:
    """Return what the project asks for itself, its extras ``dev`` and ``serve`` included."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [Requirement(line) for line in chain(project["dependencies"], *extras.values())]


def closure_of_project() -> dict[str, str]:
    """Return the installed version of each package of the closure, by its canonical name."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = asked_for()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if name in NOT_PINNED or (name, extras) in seen:
            continue
        seen.add((name, extras))
        installed = metadata.distribution(name)
        found[name] = installed.version
        needed = map(Requirement, installed.requires or [])
        waiting += [one for one in needed if _applies(one, extras)]
    return found


def _applies(wanted: Requirement, extras: frozenset[str]) -> bool:
    if wanted.marker is None:
        return True
    return any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def pinned(text: str) -> dict[str, str]:
    """Return the versions of a constraints file by canonical name."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    matches = [re.fullmatch(r"([\w.-]+)==([\w.!+-]+)", line) for line in lines]
    wrong = [line for line, match in zip(lines, matches, strict=True) if match is None]
    if wrong:
        raise ValueError(f"{wrong[0]!r} pins no version")
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def main() -> None:
    versions = closure_of_project()
    lines = [f"{name}=={version.split('+')[0]}" for name, version in sorted(versions.items())]
    print(HEAD + "\n".join(lines))


if __name__ == "__main__":
    main()
