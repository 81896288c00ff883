"""Runs that ended every worker that made them: refused by name, and not tried again unasked.

Remembered beside the sets, by the fingerprint of recipe and content, so that a changed file or
recipe is tried as anything new is. Memory is no part of that: who gives a machine more of it asks
for the run again. Not here: how deaths are counted (``fan_out``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from spectrum.data.digests import DigestCache
from spectrum.data.fan_out import MAX_DEATHS
from spectrum.data.inputs import Inputs, measured_digests
from spectrum.data.manifest import Refusal
from spectrum.data.pieces import RunJob
from spectrum.data.remembered import read_entries, write_entries

__all__ = ["KILLED_ITS_WORKER", "killers_among", "refusal_of_killer", "remember_killers"]

KILLED_ITS_WORKER: Final = "killed-its-worker"
FILE_NAME: Final = "quarantine.json"


def killers_among(inputs: Inputs, root: Path, cache: DigestCache) -> tuple[RunJob, ...]:
    """Return the jobs that ended their workers in an earlier call, recipe and content unchanged.

    Files are read only of runs that are remembered by name, and only where they were touched.
    """
    name_of = read_entries(root / FILE_NAME, str)
    names = set(name_of.values())
    suspects = [job for job in inputs.jobs if job.name in names]
    digests = measured_digests(suspects, cache)
    return tuple(job for job in suspects if job.fingerprint_for(digests[job.name]) in name_of)


def remember_killers(
    root: Path, jobs: Iterable[RunJob], cache: DigestCache, *, sound: Collection[str]
) -> None:
    """Remember jobs that ended their workers; forget those that are made by now.

    Parameters
    ----------
    root : folder of all shard sets
    jobs : that ended their workers; their files are read where digests are not known
    cache : digests
    sound : fingerprints of runs that are made
    """
    new = {
        job.fingerprint_for(digests): job.name
        for job in jobs
        for digests in measured_digests([job], cache).values()
    }
    write_entries(root / FILE_NAME, new, str, forget=sound)


def refusal_of_killer(job: RunJob) -> Refusal:
    """Return why such a run is not in a set."""
    return Refusal(
        code=KILLED_ITS_WORKER,
        path=job.path,
        message=(
            f"{job.name} ended {MAX_DEATHS} workers that made it, the last one with no other run "
            "beside it (out of memory, or a fault in a library). It is not tried again until its "
            "file or the recipe changes: fetch the image again, or free memory and add --retry."
        ),
    )
