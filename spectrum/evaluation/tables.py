"""Tables of image quality from elsewhere, so that an audit needs no images: MRIQC's above all.

Columns are known by name, one by one; what is not known, not found or not matched is said. Not
here: what the numbers are used for (``predictors``).
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spectrum.data.quality import MAX_TABLE_BYTES, RUN_QUALITY_NAMES
from spectrum.entities import RunKey
from spectrum.errors import ConfigError, SidecarError

__all__ = ["COLUMNS", "NAME_COLUMNS", "QualityTable", "read_quality_table"]

COLUMNS: Final[Mapping[str, str]] = {
    **{name: name for name in RUN_QUALITY_NAMES},
    "tr_s": "tr_s",
    "dvars_nstd": "dvars_mean",
    "gsr_y": "gsr",
    "summary_bg_mean": "bg_mean",
    "summary_bg_stdv": "bg_sd",
    "summary_fg_mean": "fg_mean",
    "summary_fg_stdv": "fg_sd",
    "size_z": "num_slices",
    "size_t": "num_volumes",
    "spacing_x": "voxel_x_mm",
    "spacing_y": "voxel_y_mm",
    "spacing_z": "voxel_z_mm",
    "spacing_tr": "tr_s",
    "nz": "num_slices",
    "nt": "num_volumes",
    "dx_mm": "voxel_x_mm",
    "dy_mm": "voxel_y_mm",
    "dz_mm": "voxel_z_mm",
    "tr_header_s": "tr_s",
}
"""Column -> number of ours. Our own names; those of MRIQC's group table (Esteban et al. 2017), of
which ``gsr_y`` is along the axis that ours takes; those of NIfTI's own header structure."""

NAME_COLUMNS: Final = ("path", "bids_name", "filename")
"""Columns that may name the image of a row."""

ENTITY_COLUMNS: Final = ("dataset", "subject", "session", "task", "run")
"""Columns that repeat what the image's name says."""

DIGEST_COLUMNS: Final = ("md5", "sha256", "image_sha256")
"""Columns that may hold a digest of the image file."""

UNKNOWN: Final = frozenset({"", "n/a", "na", "nan", "none", "null"})


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityTable:
    """What a table says of runs, and what of it was not understood.

    ``numbers`` by run, None where the table has n/a; ``digests`` of those image files of which
    the table knows one; ``unused_columns`` are known to nobody here; ``unmatched_rows`` are image
    names that are no run of the data.
    """

    path: Path
    numbers: Mapping[RunKey, Mapping[str, float | None]]
    digests: Mapping[RunKey, str]
    columns: tuple[str, ...]
    unused_columns: tuple[str, ...]
    unmatched_rows: tuple[str, ...]

    @property
    def unmatched_note(self) -> str:
        """A sentence on the rows that are no run of the data."""
        more = f" and {len(self.unmatched_rows) - 3} more" if self.unmatched_rows[3:] else ""
        named = ", ".join(self.unmatched_rows[:3])
        return f"{self.path}: {len(self.unmatched_rows)} rows are no run here: {named}{more}."


def read_quality_table(
    path: Path, keys: Collection[RunKey], *, dataset: str | None = None
) -> QualityTable:
    """Read a table with a row for each image.

    Parameters
    ----------
    path : tab-separated, with a header line
    keys : the runs of the data
    dataset : data set of all rows
        None finds it: a column ``dataset``; the folder that the table lies in, ``<name>`` or
        ``<name>-mriqc``; the only data set there is; the only one that has a run of that name.

    Raises
    ------
    SidecarError
        ``bad-quality-table`` where it cannot be read, names no image, has no known number, has two
        columns for one number, a row twice, or a name that several data sets have.
    ConfigError
        Where ``dataset`` is none of the data.
    """
    known = sorted({key.dataset for key in keys})
    if dataset is not None and dataset not in known:
        raise ConfigError(
            f"--quality {dataset}={path} names no data set here. Expected {', '.join(known)}."
        )
    header, rows = _read_rows(path)
    name_column = next((name for name in NAME_COLUMNS if name in header), None)
    of_column = {name: COLUMNS[name] for name in header if name in COLUMNS}
    _check_header(path, name_column, of_column)
    assert name_column is not None
    digest_column = next((name for name in DIGEST_COLUMNS if name in header), None)
    place = dataset or _dataset_of_folder(path, known)
    finder = _Finder(path, keys, place)
    numbers: dict[RunKey, dict[str, float | None]] = {}
    digests, unmatched = {}, []
    for row in rows:
        key = finder.find(row[name_column], row.get("dataset"))
        if key is None:
            unmatched.append(row[name_column])
            continue
        if key in numbers:
            raise _bad(path, f"has two rows of {key}", "one row for each image")
        numbers[key] = {ours: _number(row[name], name, path) for name, ours in of_column.items()}
        if digest_column and not _is_unknown(row[digest_column]):
            digests[key] = row[digest_column].strip().lower()
    used = {name_column, digest_column, *ENTITY_COLUMNS, *of_column}
    return QualityTable(
        path=path,
        numbers=numbers,
        digests=digests,
        columns=tuple(of_column),
        unused_columns=tuple(name for name in header if name not in used),
        unmatched_rows=tuple(unmatched),
    )


class _Finder:
    def __init__(self, path: Path, keys: Collection[RunKey], dataset: str | None) -> None:
        self._path, self._dataset = path, dataset
        self._of_name: defaultdict[str, dict[str, RunKey]] = defaultdict(dict)
        for key in keys:
            self._of_name[_local_name(key)][key.dataset] = key

    def find(self, name: str, dataset: str | None) -> RunKey | None:
        """Return the run of an image name, None where the data have none."""
        file_name = Path(name).name
        if not re.search(r"_bold(\.|$)", file_name):
            file_name = f"{file_name.split('.', 1)[0]}_bold"
        try:
            wanted = RunKey.from_file_name(file_name, dataset="")
        except SidecarError:
            return None
        found = self._of_name.get(_local_name(wanted), {})
        place = dataset or self._dataset
        if place is not None:
            return found.get(place)
        if len(found) > 1:
            raise _bad(
                self._path,
                f"does not tell whose {file_name} is: {', '.join(sorted(found))} all have one",
                "a column `dataset`, or --quality <data set>=<file>",
            )
        return next(iter(found.values()), None)


def _local_name(key: RunKey) -> str:
    return str(key).split("/", 1)[1]


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", restkey="", restval=None)
            rows = list(reader)
            header = list(reader.fieldnames or [])
    except (OSError, ValueError, csv.Error) as err:
        raise _bad(path, f"cannot be read ({err})", "a tab-separated table") from err
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise _bad(path, f"has two columns {twice[0]!r}", "one column of a name")
    for number, row in enumerate(rows, start=2):
        if None in row.values() or "" in row:
            raise _bad(path, f"has {len(header)} columns but not so in line {number}", "a table")
    return header, rows


def _check_header(path: Path, name_column: str | None, of_column: Mapping[str, str]) -> None:
    if name_column is None:
        raise _bad(path, "has no column that names the image", f"one of {_words(NAME_COLUMNS)}")
    if not of_column:
        raise _bad(path, "has no number that is known here", f"some of {_words(COLUMNS)}")
    for ours, count in Counter(of_column.values()).items():
        if count > 1:
            both = [name for name, other in of_column.items() if other == ours]
            raise _bad(path, f"has {_words(both)}, which are one number", "one of them")


def _dataset_of_folder(path: Path, known: Sequence[str]) -> str | None:
    for parent in path.absolute().parents:
        name = parent.name.removesuffix("-mriqc")
        if name in known:
            return name
    return known[0] if len(known) == 1 else None


def _is_unknown(text: str) -> bool:
    return text.strip().lower() in UNKNOWN


def _number(text: str, column: str, path: Path) -> float | None:
    if _is_unknown(text):
        return None
    try:
        value = float(text)
    except ValueError as err:
        raise _bad(path, f"has {text!r} in the column {column}", "a number or n/a") from err
    return value if math.isfinite(value) else None


def _words(names: Collection[str]) -> str:
    return ", ".join(names)


def _bad(path: Path, found: str, expected: str) -> SidecarError:
    return SidecarError(
        f"{path} {found}. Expected {expected}.", code="bad-quality-table", path=str(path)
    )
