"""Whose data nobody looks at until a study is over: which people are sealed, and the check of it.

People are sealed whole, under all names that share an image. Pure: digests of images are handed
in. Not here: the file of a study that holds its seal (``spectrum.search.sealing``), and the fold
that opens it (``folds``).
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from spectrum.config import fingerprint, nearest
from spectrum.data.duplicates import find_copies
from spectrum.entities import RunKey
from spectrum.errors import ConfigError, LeakageError, SearchError

if TYPE_CHECKING:
    from spectrum.data.manifest import ShardRun

__all__ = ["Asked", "Seal", "draw_seal", "seal_from_json"]

Asked = float | tuple[str, ...]
"""What may be sealed: a fraction of the people of each data set, or data sets by name."""

SCHEMA: Final = 1
"""Version of the seal's JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """Whose data are kept from a study.

    ``groups`` are the names (data set and subject) of the sealed people; ``datasets`` those sealed
    as a whole, with whoever joins them later. ``voxels`` gives the digest of the voxels of each
    sealed run's image, by the run's name, and ``unread`` the runs of which it could not be had.
    """

    asked: Asked
    seed: int
    groups: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    voxels: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    def covers(self, key: RunKey) -> bool:
        """Return whether a run is sealed."""
        return key.dataset in self.datasets or key.group in self.groups

    def check(self, runs: Iterable[ShardRun]) -> None:
        """Raise LeakageError where a run that is to be trained on is sealed, or its image is.

        Parameters
        ----------
        runs : of a shard set
        """
        runs = tuple(runs)
        for run in runs:
            if self.covers(run.key):
                raise LeakageError(
                    f"{run.key} is sealed and stands among the runs that are trained on. Leave "
                    "its data out; only `spectrum unseal` may read it."
                )
        self.check_images({run.key: run.voxels_sha256 for run in runs})

    def check_images(self, digests: Mapping[RunKey, str]) -> None:
        """Raise LeakageError where a run that is not sealed has the image of one that is.

        Parameters
        ----------
        digests : of the voxels of runs on either side, "" where not known
        """
        sealed_run = {digest: name for name, digest in self.voxels.items()}
        sealed_run |= {d: str(key) for key, d in digests.items() if d and self.covers(key)}
        for key in sorted(digests):
            if not self.covers(key) and digests[key] in sealed_run:
                raise LeakageError(_shared(str(key), sealed_run[digests[key]]))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON; ``hash`` is of everything else."""
        told: dict[str, Any] = {
            "schema": SCHEMA,
            "asked": self.asked if isinstance(self.asked, float) else list(self.asked),
            "seed": self.seed,
            "groups": list(self.groups),
            "datasets": list(self.datasets),
            "num_subjects": len(self.groups),
            "voxels": dict(self.voxels),
            "unread": list(self.unread),
        }
        return {**told, "hash": fingerprint(told)}

    @property
    def told(self) -> str:
        """What is sealed, in a few words."""
        number = f"{len(self.groups)} subject{'s' if len(self.groups) != 1 else ''}"
        if self.datasets:
            return f"{', '.join(self.datasets)} ({number})"
        return f"{number}, {self.asked:g} of each data set"


def seal_from_json(value: Mapping[str, Any]) -> Seal:
    """Return the seal that ``to_json`` wrote; raise SearchError where it was changed."""
    told = {name: inner for name, inner in value.items() if name != "hash"}
    if fingerprint(told) != value.get("hash") or told.get("schema") != SCHEMA:
        raise SearchError(
            "The seal (sealed.json) was changed or is of another version. Restore the file, or "
            "search again under another name."
        )
    asked = told["asked"]
    return Seal(
        asked=float(asked) if isinstance(asked, float) else tuple(asked),
        seed=told["seed"],
        groups=tuple(told["groups"]),
        datasets=tuple(told["datasets"]),
        voxels=dict(told["voxels"]),
        unread=tuple(told["unread"]),
    )


def draw_seal(
    digests: Mapping[RunKey, str],
    asked: Asked,
    *,
    seed: int,
    eligible: Iterable[str] | None = None,
) -> Seal:
    """Choose who is sealed.

    Parameters
    ----------
    digests : of the voxels of each run's image, "" where it is not known
    asked : names of data sets, which are sealed as a whole; or a fraction of the people of each
        data set: at least one where it has two, never all
    seed : of the draw
    eligible : groups that a fraction is drawn from; None draws from all

    Raises
    ------
    ConfigError
        A data set is not there, all are sealed, or no one can be.
    LeakageError
        An image stands both in a data set that is sealed and in one that is not.
    """
    people = _People.of(digests)
    if isinstance(asked, float):
        groups = _draw(people, asked, seed, set(people.groups if eligible is None else eligible))
        datasets: tuple[str, ...] = ()
    else:
        datasets = _known(asked, sorted({key.dataset for key in digests}))
        groups = {key.group for key in digests if key.dataset in datasets}
        people.check_whole(groups)
    sealed = [key for key in sorted(digests) if key.group in groups]
    return Seal(
        asked=asked,
        seed=seed,
        groups=tuple(sorted(groups)),
        datasets=datasets,
        voxels={str(key): digests[key] for key in sealed if digests[key]},
        unread=tuple(str(key) for key in sealed if not digests[key]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _People:
    """The person of each group, under the first of its names, and the digests that say so."""

    person_of: Mapping[str, str]
    digests: Mapping[RunKey, str]

    @classmethod
    def of(cls, digests: Mapping[RunKey, str]) -> _People:
        linked = find_copies(digests).person_of
        groups = sorted({key.group for key in digests})
        return cls(
            person_of={group: linked.get(group, group) for group in groups}, digests=digests
        )

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(self.person_of)

    def names_of(self, people: Iterable[str]) -> set[str]:
        """Return all names of some people."""
        wanted = set(people)
        return {group for group, person in self.person_of.items() if person in wanted}

    def check_whole(self, groups: set[str]) -> None:
        """Raise LeakageError where a person has names inside and outside of some groups."""
        outside = set(self.person_of) - groups
        both = self.names_of(self.person_of[group] for group in groups) & outside
        if both:
            raise LeakageError(_shared(*self._shared_image(groups, both)))

    def _shared_image(self, groups: set[str], others: set[str]) -> tuple[str, str]:
        inside = {d: k for k, d in self.digests.items() if d and k.group in groups}
        for key in sorted(self.digests):
            if key.group in others and self.digests[key] in inside:
                return str(key), str(inside[self.digests[key]])
        return min(others), min(groups)


def _shared(open_run: str, sealed_run: str) -> str:
    return (
        f"{open_run}, which is not sealed, has the image of {sealed_run}, which is sealed. One "
        "person must stand on one side of the seal: correct the name or remove the copy, and "
        "search again."
    )


def _draw(people: _People, fraction: float, seed: int, eligible: set[str]) -> set[str]:
    """Return the names of the people drawn, each data set on its own."""
    of_dataset: defaultdict[str, list[str]] = defaultdict(list)
    for person in sorted({people.person_of[group] for group in eligible}):
        of_dataset[person.split("/", 1)[0]].append(person)
    drawn: list[str] = []
    for dataset, members in sorted(of_dataset.items()):
        number = min(max(round(fraction * len(members)), 1), len(members) - 1)
        rng = np.random.default_rng([seed, zlib.crc32(b"sealed"), zlib.crc32(dataset.encode())])
        drawn += [members[i] for i in rng.permutation(len(members))[:number]]
    if not drawn:
        raise ConfigError(
            f"No data set has two subjects with a class, so that study.sealed={fraction:g} seals "
            "no one. Seal a data set by its name, or give more subjects."
        )
    return people.names_of(drawn)


def _known(asked: Sequence[str], datasets: Sequence[str]) -> tuple[str, ...]:
    for name in asked:
        if name not in datasets:
            raise ConfigError(
                f"{name} cannot be sealed: the data sets are {', '.join(datasets)}, the nearest "
                f"is {nearest(name, datasets)}. Give its root too, or the name of another."
            )
    if set(asked) >= set(datasets):
        raise ConfigError(
            f"All data sets ({', '.join(datasets)}) are sealed, and none is left to search on. "
            "Seal fewer, or a fraction of the subjects."
        )
    return tuple(sorted(set(asked)))
