"""The files of a BIDS tree, and which of them speak for an image (BIDS inheritance principle).

A file speaks for an image where it lies in the image's folder or above, up to the root, and each
of its entities is one of the image's. Runs compare as numbers. Not here: what the files say.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from spectrum.entities import parse_entities

__all__ = ["BidsFile", "BidsTree", "find_files"]

Kind = tuple[str, str]
"""Suffix and extension, such as ``bold`` and ``.nii.gz``."""

_EXTENSIONS: Final = (".nii", ".nii.gz", ".img", ".img.gz", ".hdr", ".hdr.gz", ".json", ".tsv")


_ALMOST_SUBJECT: Final = re.compile(r"(?!sub-)[sS][uU][bB]-")

_ALMOST_BOLD: Final = re.compile(r"_bold\.(nii|img|hdr|mgz|mgh|gz|nii\.\w+)(\.gz)?", re.IGNORECASE)


def _is_almost_bold(name: str) -> bool:
    """Tell whether a file means to be a BOLD image and is not named as one."""
    is_one = name.partition(".")[0].endswith("_bold") and name.endswith(_EXTENSIONS)
    return _ALMOST_BOLD.search(name) is not None and not is_one and name[0] != "."


@dataclass(frozen=True)
class BidsFile:
    """A file whose name follows BIDS: ``<entities>_<suffix><extension>``."""

    path: Path

    @cached_property
    def entities(self) -> dict[str, str]:
        """Entities by long name; the run without leading zeros."""
        entities = parse_entities(self.path.name)
        run = entities.get("run", "")
        return {**entities, "run": str(int(run))} if run.isdigit() else entities

    @cached_property
    def kind(self) -> Kind:
        """Suffix, the last word before the first dot, and extension, all after it."""
        stem, dot, rest = self.path.name.partition(".")
        return stem.rsplit("_", 1)[-1], dot + rest

    @property
    def suffix(self) -> str:
        """The last word before the extension, such as ``bold``."""
        return self.kind[0]

    @property
    def extension(self) -> str:
        """All after the first dot, with it."""
        return self.kind[1]

    def speaks_for(self, other: BidsFile) -> bool:
        """Tell whether each entity is one of the other file's."""
        return self.entities.items() <= other.entities.items()


@dataclass(frozen=True)
class BidsTree:
    """All files of a root that could matter to BOLD runs, by folder, kind and subject.

    The subject is "" for files without one, which speak for every subject. ``unreadable`` are
    the errors of folders that could not be listed, ``misnamed`` what would be an image or the
    folder of a subject but for the case or the ending of its name.
    """

    root: Path
    files_of_folder: Mapping[Path, Mapping[Kind, Mapping[str, tuple[BidsFile, ...]]]]
    unreadable: tuple[OSError, ...] = ()
    misnamed: tuple[BidsFile, ...] = ()

    def iter_files(self) -> Iterator[BidsFile]:
        """Yield every file, folder by folder, each folder in the order of names."""
        for folder in sorted(self.files_of_folder):
            kinds = self.files_of_folder[folder].values()
            files = [
                file for subjects in kinds for several in subjects.values() for file in several
            ]
            yield from sorted(files, key=lambda file: file.path.name)

    def find(self, folder: Path, kind: Kind, subject: str) -> tuple[BidsFile, ...]:
        """Return the files of a folder that are of a kind and of a subject, or of none."""
        subjects = self.files_of_folder.get(folder, {}).get(kind, {})
        return (*subjects.get("", ()), *(subjects.get(subject, ()) if subject else ()))

    def find_inherited(self, image: BidsFile, suffix: str, extension: str) -> list[BidsFile]:
        """Return the files that speak for an image, the most general one first.

        Parameters
        ----------
        image : a file of this tree, or of a tree that was derived from it
        suffix, extension : of the files looked for, such as ``events`` and ``.tsv``
        """
        found = []
        subject = image.entities.get("subject", "")
        for folder in self._folders_above(image):
            near = self.find(folder, (suffix, extension), subject)
            speaking = [file for file in near if file.speaks_for(image)]
            found += sorted(speaking, key=lambda file: (len(file.entities), file.path.name))
        return found

    def _folders_above(self, image: BidsFile) -> list[Path]:
        folders = [self.root, self.root / f"sub-{image.entities.get('subject', '')}"]
        if "session" in image.entities:
            folders.append(folders[-1] / f"ses-{image.entities['session']}")
        folders.append(folders[-1] / "func")
        own = image.path.parent
        return folders if own in folders or self.root not in own.parents else [*folders, own]


def find_files(root: Path) -> BidsTree:
    """List the files at the root and in its subject folders.

    ``derivatives``, ``sourcedata`` and ``code`` are other data sets or none, and are not entered;
    neither are hidden folders. Links to folders are followed, each folder once. A folder with
    the name of a file counts as that file, so that whoever reads it says what it is.
    """
    files_of_folder = {root: _by_kind(root, [path.name for path in root.iterdir()])}
    seen: set[str] = set()
    unreadable: list[OSError] = []
    misnamed = [
        BidsFile(path) for path in sorted(root.iterdir()) if _ALMOST_SUBJECT.match(path.name)
    ]
    for subject in sorted(root.glob("sub-*")):
        for folder, inner, names in os.walk(subject, onerror=unreadable.append, followlinks=True):
            real = os.path.realpath(folder)
            posing = [name for name in inner if name.endswith(_EXTENSIONS)]
            entered = [] if real in seen else set(inner).difference(posing)
            inner[:] = sorted(name for name in entered if name[0] != ".")
            if real not in seen:
                files_of_folder[Path(folder)] = _by_kind(Path(folder), [*names, *posing])
                almost = (name for name in sorted(names) if _is_almost_bold(name))
                misnamed += [BidsFile(Path(folder) / name) for name in almost]
            seen.add(real)
    return BidsTree(
        root=root,
        files_of_folder=files_of_folder,
        unreadable=tuple(unreadable),
        misnamed=tuple(misnamed),
    )


def _by_kind(folder: Path, names: list[str]) -> dict[Kind, dict[str, tuple[BidsFile, ...]]]:
    found: defaultdict[Kind, defaultdict[str, list[BidsFile]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for name in sorted(names):
        if "_" in name and name.endswith(_EXTENSIONS) and name[0] != ".":
            file = BidsFile(folder / name)
            found[file.kind][file.entities.get("subject", "")].append(file)
    return {
        kind: {subject: tuple(files) for subject, files in subjects.items()}
        for kind, subjects in found.items()
    }
