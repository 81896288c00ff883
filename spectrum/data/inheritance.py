"""The files of a BIDS tree, and which of them speak for an image (BIDS inheritance principle).

A file speaks for an image where it lies in the image's folder or above, up to the root, and each
of its entities is one of the image's. Runs compare as numbers. Not here: what the files say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from spectrum.entities import parse_entities

__all__ = ["BidsFile", "BidsTree", "find_files"]


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

    @property
    def suffix(self) -> str:
        """The last word before the extension, such as ``bold``."""
        return self.path.name.split(".", 1)[0].rsplit("_", 1)[-1]

    @property
    def extension(self) -> str:
        """All after the first dot, with it."""
        return "".join(self.path.name.partition(".")[1:])

    def speaks_for(self, other: BidsFile) -> bool:
        """Tell whether each entity is one of the other file's."""
        return self.entities.items() <= other.entities.items()


@dataclass(frozen=True)
class BidsTree:
    """All files of a root that could matter to BOLD runs, by folder."""

    root: Path
    files_of_folder: dict[Path, tuple[BidsFile, ...]]

    def iter_files(self) -> Iterator[BidsFile]:
        """Yield every file, folder by folder."""
        for folder in sorted(self.files_of_folder):
            yield from self.files_of_folder[folder]

    def find_inherited(self, image: BidsFile, suffix: str, extension: str) -> list[BidsFile]:
        """Return the files that speak for an image, the most general one first.

        Parameters
        ----------
        image : a file of this tree, or of a tree that was derived from it
        suffix, extension : of the files looked for, such as ``events`` and ``.tsv``
        """
        found = []
        for folder in self._folders_above(image):
            speaking = [
                file
                for file in self.files_of_folder.get(folder, ())
                if (file.suffix, file.extension) == (suffix, extension) and file.speaks_for(image)
            ]
            found += sorted(speaking, key=lambda file: len(file.entities))
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
    neither are hidden folders. Links to folders are followed, each folder once.
    """
    files_of_folder = {root: _bids_files(root, [path.name for path in root.iterdir()])}
    seen: set[str] = set()
    for subject in sorted(root.glob("sub-*")):
        for folder, inner, names in os.walk(subject, followlinks=True):
            real = os.path.realpath(folder)
            inner[:] = [] if real in seen else sorted(n for n in inner if n[:1] != ".")
            if real not in seen:
                files_of_folder[Path(folder)] = _bids_files(Path(folder), names)
            seen.add(real)
    return BidsTree(root=root, files_of_folder=files_of_folder)


def _bids_files(folder: Path, names: list[str]) -> tuple[BidsFile, ...]:
    return tuple(
        BidsFile(folder / name)
        for name in sorted(names)
        if "_" in name and name.endswith((".nii", ".nii.gz", ".json", ".tsv")) and name[0] != "."
    )
