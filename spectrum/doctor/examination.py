"""One examination: look at everything, then judge; what cannot be looked at is a finding too."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from spectrum.doctor.findings import Finding, error
from spectrum.doctor.libraries import see_libraries
from spectrum.doctor.library_checks import check_libraries
from spectrum.doctor.machine import see_machine
from spectrum.doctor.machine_checks import check_machine
from spectrum.doctor.seen import Seen
from spectrum.doctor.service_checks import check_services
from spectrum.doctor.services import see_services

__all__ = ["Questions", "examine", "findings_of"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Folders to look at, and the Ray cluster to ask; ``root`` is that of the file system."""

    shards: Path = Path("shards")
    studies: Path = Path("studies")
    data: Path = Path("data/raw")
    address: str | None = None
    root: Path = Path("/")


def examine(questions: Questions) -> tuple[Finding, ...]:
    """Look at this machine and return every finding, in the order of machine to services."""
    return findings_of(_look(questions))


def findings_of(seen: Seen) -> tuple[Finding, ...]:
    """Judge what was seen. Pure."""
    findings = [_unseen(area, why) for area, why in seen.failures.items()]
    if seen.machine is not None:
        findings += check_machine(seen.machine)
    if seen.libraries is not None:
        findings += check_libraries(seen.libraries)
    if seen.services is not None:
        findings += check_services(seen.services)
    return tuple(findings)


def _unseen(area: str, why: str) -> Finding:
    return error(
        f"unseen-{area}",
        f"The {area} could not be looked at: {why}",
        "Mend what the message names, and run `spectrum doctor` again.",
    )


def _look(questions: Questions) -> Seen:
    failures: dict[str, str] = {}
    folders = {
        "shards": questions.shards,
        "studies": questions.studies,
        "data": questions.data,
        "tmp": Path(tempfile.gettempdir()),
    }
    with ThreadPoolExecutor(3) as pool:
        machine = pool.submit(see_machine, folders)
        libraries = pool.submit(see_libraries, questions.root)
        services = pool.submit(
            see_services,
            address=questions.address,
            studies=questions.studies,
            data=questions.data,
            environment=dict(os.environ),
        )
    return Seen(
        machine=_or_failure(machine, "machine", failures),
        libraries=_or_failure(libraries, "libraries", failures),
        services=_or_failure(services, "services", failures),
        failures=failures,
    )


def _or_failure(looked: Future[T], area: str, failures: dict[str, str]) -> T | None:
    """Return what was seen; where looking broke down, note why, since a doctor must not fall."""
    try:
        return looked.result()
    except Exception as err:
        failures[area] = f"{type(err).__name__}: {err}"
        return None
