"""The seal of a study: drawn when it begins, written beside its folds, kept from all it reads.

A sealed run stands in no table that a search hands on: no file of it is opened but once, when the
study begins, to digest its voxels, so that one person under two names is found out. Not here: who
is drawn (``spectrum.data.seals``), and the opening (``unsealing``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from spectrum.config import DataConfig
from spectrum.data.bids import find_run_images, index_bids
from spectrum.data.runs import RunTable
from spectrum.data.seals import Seal, draw_seal, seal_from_json
from spectrum.data.voxel_digests import measure_voxels
from spectrum.entities import RunKey
from spectrum.errors import LeakageError
from spectrum.search.folder import StudyFolder
from spectrum.search.images import IMAGES_NAME
from spectrum.search.json_lines import read_json, read_lines
from spectrum.search.space import SearchSpace
from spectrum.targets import Target, read_target

__all__ = [
    "OPENINGS_NAME",
    "SEALED_NAME",
    "UNSEALED_NAME",
    "begin_seal",
    "check_unseen",
    "index_unsealed",
    "num_openings",
    "opened_lines",
    "plan_seal",
    "read_seal",
    "seal_notes",
    "seal_of_trial",
    "sealable_datasets",
    "told_seal",
]

SEALED_NAME: Final = "sealed.json"
"""File of a study that says who is sealed."""

OPENINGS_NAME: Final = "openings.jsonl"
"""File of a study that notes each opening of its seal before it is done."""

UNSEALED_NAME: Final = "unsealed.jsonl"
"""File of a study that holds what its openings found, one a line."""

Images = Mapping[RunKey, tuple[Path, ...]]


def begin_seal(space: SearchSpace, roots: Sequence[Path], shards_root: Path) -> Seal | None:
    """Draw who is sealed in a study that begins; None where the space seals no one.

    Every image is digested once, and never again while it does not change.

    Parameters
    ----------
    space : its ``study.sealed`` and seed
    roots : BIDS trees
    shards_root : remembers the digests

    Raises
    ------
    ConfigError, LeakageError
        As ``draw_seal``.
    """
    return _draw(space, roots, lambda images: measure_voxels(images, shards_root.absolute()))


def plan_seal(space: SearchSpace, roots: Sequence[Path]) -> Seal | None:
    """Draw who would be sealed, by names alone: people with two names are not known to be one."""
    return _draw(space, roots, lambda images: dict.fromkeys(images, ""))


def _draw(
    space: SearchSpace, roots: Sequence[Path], digests: Callable[[Images], dict[RunKey, str]]
) -> Seal | None:
    asked = space.study.sealed
    if asked is None:
        return None
    config = space.default_config
    images = find_run_images(roots, config.data)
    eligible = _scorable(images, read_target(config.target))
    return draw_seal(digests(images), asked, seed=space.study.seed, eligible=eligible)


def sealable_datasets(space: SearchSpace, roots: Sequence[Path]) -> tuple[str, ...]:
    """Return the data sets that have subjects to score, by the names of their files."""
    config = space.default_config
    groups = _scorable(find_run_images(roots, config.data), read_target(config.target))
    return tuple(sorted({group.split("/", 1)[0] for group in groups}))


def _scorable(keys: Iterable[RunKey], target: Target) -> set[str]:
    """Return the groups that a fraction is drawn from: those that can be scored, by name."""
    if target.event is not None:
        return {key.group for key in keys if target.counts_events_of(key)}
    classes_of: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for key in keys:
        if name := target.class_of(key):
            classes_of[key.group, target.pair_of(key)].add(name)
    needed = 2 if target.paired else 1
    return {group for (group, _), classes in classes_of.items() if len(classes) >= needed}


def index_unsealed(
    roots: Sequence[Path],
    choices: DataConfig,
    seal: Seal | None,
    *,
    on_run_done: Callable[[int, int], None] | None = None,
) -> RunTable:
    """Return the run table of BIDS trees without the sealed runs, of which no file is opened."""
    leave_out = seal.covers if seal is not None else None
    return index_bids(roots, choices, leave_out=leave_out, on_run_done=on_run_done)


def read_seal(study: Path) -> Seal | None:
    """Return the seal of a study; None where it seals no one.

    Raises
    ------
    SearchError
        Where its file is not the one that the study wrote.
    """
    folder = StudyFolder(study)
    if SEALED_NAME not in folder.read_manifest().get("files", {}):
        return None
    folder.check_files()
    return seal_from_json(read_json(study / SEALED_NAME))


def seal_of_trial(source: Path) -> Seal | None:
    """Return the seal of the study that ``STUDY/TRIAL`` names; None without study or seal."""
    folder = StudyFolder(source.parent)
    return read_seal(folder.path) if folder.exists else None


def check_unseen(seal: Seal | None, sources: Iterable[Path]) -> None:
    """Raise LeakageError where a study that a new one begins from was scored on sealed people.

    They are known by name, and under any other name by the voxels of their images.

    Parameters
    ----------
    seal : of the new study
    sources : folders of the earlier studies
    """
    if seal is None:
        return
    for source in sources:
        seen = next(_sealed_runs_of(StudyFolder(source), seal), None)
        if seen is not None:
            raise LeakageError(
                f"The study {source} searched on {seen}, which is sealed here: what it "
                "selected has seen the answer. Begin from no study, or from one that sealed it."
            )


def _sealed_runs_of(study: StudyFolder, seal: Seal) -> Iterator[str]:
    """Yield the sealed runs that a study read, first those that it names as the seal does."""
    manifest = study.read_manifest()
    yield from sorted(name for name in manifest["data"].get("runs", {}) if _is_sealed(name, seal))
    if IMAGES_NAME not in manifest.get("files", {}):
        return
    study.check_files()
    sealed_run = {digest: name for name, digest in seal.voxels.items()}
    for name, image in sorted(study.read(IMAGES_NAME).items()):
        if image["voxels_sha256"] in sealed_run:
            yield f"{name}, which has the image of {sealed_run[image['voxels_sha256']]}"


def _is_sealed(run: str, seal: Seal) -> bool:
    dataset, _, name = run.partition("/")
    return dataset in seal.datasets or f"{dataset}/{name.split('_', 1)[0]}" in seal.groups


def seal_notes(study: Path) -> tuple[str, ...]:
    """Return what to know of a study's seal: images never read, and that it was opened."""
    seal = read_seal(study)
    if seal is None:
        return ()
    unread = (
        f"{len(seal.unread)} sealed image(s) could not be read, first "
        f"{next(iter(seal.unread), '')}: whether they are copies of others is checked when the "
        "seal is opened."
    )
    opened = "The seal was opened before: what further trials select is no longer blind to it."
    is_opened = num_openings(study) > 0
    return (*([unread] if seal.unread else []), *([opened] if is_opened else []))


def num_openings(study: Path) -> int:
    """Return how often a study's seal was opened, an opening that was cut short included."""
    return len(read_lines(study / OPENINGS_NAME))


def opened_lines(study: Path) -> list[dict[str, Any]]:
    """Return what the openings of a study's seal found, the first one first."""
    return read_lines(study / UNSEALED_NAME)


def told_seal(study: Path) -> dict[str, Any] | None:
    """Return who is sealed and what the openings found, as JSON for a reader; None without a seal.

    ``sentence`` says it in words; ``looks`` counts openings that were cut short too; ``score``,
    ``floor`` and ``p``, corrected for the looks before, are those of the first that was not.
    """
    seal = read_seal(study)
    if seal is None:
        return None
    lines = opened_lines(study)
    looks = num_openings(study)
    told = {"who": seal.told, "num_subjects": len(seal.groups), "looks": looks}
    if not lines:
        state = "opened, but the opening was cut short" if looks else "not opened"
        return {**told, "opened": None, "sentence": f"Sealed and {state}: {seal.told}."}
    first = lines[0]
    value, (low, high) = first["score"]["value"], first["score"]["ci95"]
    return {
        **told,
        "opened": first["opened"],
        "score": value,
        "ci95": [low, high],
        "floor": first["floor"]["value"],
        "p": first["p_corrected"],
        "sentence": f"Sealed: {seal.told}. Opened on {first['opened'][:10]}: {value:.3f} "
        f"[{low:.3f}, {high:.3f}] beside a floor of {first['floor']['value']:.3f}, "
        f"p = {first['p_corrected']:.4f}{_looks(first['look'], looks)}.",
    }


def _looks(look: int, looks: int) -> str:
    return f" at look {look} of {looks}" if looks > 1 else ""
