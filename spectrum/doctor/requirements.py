"""What Spectrum asks for: its dependencies and the range of Python."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement

import spectrum
from spectrum.doctor.seen import PackageSeen
from spectrum.doctor.tested import TESTED

__all__ = ["python_range", "see_packages"]

NAME: Final = "spectrum-fmri"


def python_range() -> str:
    """Return the versions of Python that Spectrum runs on, empty where nothing says."""
    project = _project()
    if project is not None:
        return str(project.get("requires-python", ""))
    try:
        return str(metadata.metadata(NAME)["Requires-Python"] or "")
    except metadata.PackageNotFoundError:
        return ""


def see_packages() -> tuple[PackageSeen, ...]:
    """Look up which version of each dependency is installed."""
    return tuple(
        PackageSeen(
            name=wanted.name,
            wanted=str(wanted.specifier),
            installed=installed_version(wanted.name),
            tested=TESTED.get(wanted.name.lower()),
        )
        for wanted in _requirements()
    )


def installed_version(name: str) -> str | None:
    """Return the version of a package without importing it; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def wanted_by(name: str, *, package: str) -> str | None:
    """Return the versions of ``package`` that the installed ``name`` asks for, if it says."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return None
    wanted = [one for line in lines if (one := _parsed(line)) and one.name == package]
    return str(wanted[0].specifier) if wanted else None


def _requirements() -> list[Requirement]:
    project = _project()
    try:
        lines = project["dependencies"] if project else metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        lines = []
    wanted = [one for line in lines if (one := _parsed(line)) is not None]
    return [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _project() -> dict[str, Any] | None:
    """Return the project's table of the source tree; None where it was installed as a wheel."""
    path = Path(spectrum.__file__).parents[1] / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (OSError, tomllib.TOMLDecodeError):
        return None
    return project if project.get("name") == NAME else None
