"""Is every bad input found, and nothing else? Images and events tables of every kind we know.

    python -m tests.benchmarks.bad_inputs --json --figure detected.png

Reads all images in one worker under a limit of memory, flips single bits of a good image, and
reads sound images for false alarms. One object a kind, and a summary at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spectrum.data.bids import index_bids
from spectrum.data.events import read_events
from spectrum.data.inspection import inspect_table
from spectrum.data.simulate import SimulationConfig, simulate
from spectrum.errors import SidecarError
from spectrum.targets import read_target

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bad_events import RUN_S, TABLES
from tests.bad_images import BAD, CONTENTS, HEADERS, NAMED_AS_IMAGES, ODD, PAIRS, STREAMS
from tests.benchmarks.telling import measured_here
from tests.bit_flips import flip_outcomes
from tests.clean_images import CLEAN
from tests.reading_worker import PEAK_CAP_BYTES, read_in_worker
from tests.realdata import REALDATA
from tests.tiny_bids import TASK, write_tiny_bids

GROUPS = {
    "no image": NAMED_AS_IMAGES,
    "stream": STREAMS,
    "header": HEADERS,
    "pair": PAIRS,
    "voxels": CONTENTS,
    "odd but usable": ODD,
}

GROUP_OF_OUTCOME = {"refuse": "events", "problem": "odd events", "fine": "sound events"}


def judged_images(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Read the corpus; return one object a kind, and the worker's peak in bytes."""
    kinds = [(group, image) for group, images in GROUPS.items() for image in images]
    paths = [image.write(_fresh(folder, index)) for index, (_, image) in enumerate(kinds)]
    told = read_in_worker(paths)
    judged = []
    for (group, image), result in zip(kinds, told["results"], strict=True):
        codes = [result["code"]] if image in BAD else result["findings"]
        is_met = image.code in codes and (result["outcome"] == "refused") == (image in BAD)
        code = image.code if is_met else ",".join(codes)
        judged.append(_object(group, image.kind, result["outcome"], code, met=is_met))
    return judged, told["peak_bytes"]


def judged_tables(folder: Path) -> list[dict[str, Any]]:
    """Give one run each events table in turn; return one object a kind."""
    root = write_tiny_bids(folder / "ds000002", {("01", TASK, "01"): round(RUN_S / 2.0)})
    (path,) = root.rglob("*_events.tsv")
    judged = []
    for table in TABLES:
        path.write_bytes(table.content())
        outcome, codes = _outcome_of_events(root, path)
        expected = {"refuse": "refused", "problem": "told", "fine": "read"}[table.outcome]
        is_met = outcome == expected
        judged.append(
            _object(GROUP_OF_OUTCOME[table.outcome], table.kind, outcome, codes, met=is_met)
        )
    return judged


def _outcome_of_events(root: Path, path: Path) -> tuple[str, str]:
    try:
        read_events(path)
    except SidecarError as err:
        return "refused", err.code
    problems = inspect_table(index_bids([root]), read_target("early_late"))["problems"]
    codes = {problem["code"] for problem in problems if problem["path"] == str(path)}
    return "told" if codes else "read", ",".join(sorted(codes))


def judged_flips(folder: Path, num_flips: int) -> dict[str, Any]:
    outcomes = flip_outcomes(folder, num_flips=num_flips, seed=3)
    told = _object(
        "flips",
        f"{num_flips} flipped bits",
        "",
        "",
        met=not (outcomes["changed"] or outcomes["unnamed"]),
    )
    return {**told, "outcome": dict(outcomes)}


def false_alarms(folder: Path) -> dict[str, Any]:
    """Read sound images: legal forms, simulated runs, real runs."""
    sets: dict[str, Sequence[Path]] = {
        "legal forms": [image.write(_fresh(folder, f"clean{i}")) for i, image in enumerate(CLEAN)],
        "simulated": _simulated(folder),
        "real": _real(),
    }
    counts = {}
    for name, paths in sets.items():
        results = read_in_worker(paths)["results"] if paths else []
        outcomes = Counter(result["outcome"] for result in results)
        counts[name] = {"num_images": len(paths), **outcomes}
    alarms = sum(count.get("refused", 0) + count.get("told", 0) for count in counts.values())
    return {**_object("clean", "false alarms", "", "", met=alarms == 0), "outcome": counts}


def _simulated(folder: Path) -> list[Path]:
    found: list[Path] = []
    for truth in ("effect", "null"):
        config = SimulationConfig.model_validate({"truth": truth, "num_subjects": 2, "matrix": 12})
        for root in simulate(folder / truth, config):
            found += sorted(root.rglob("*_bold.nii.gz"))
    return found


def _real() -> list[Path]:
    """Return the real runs, if they are there; masks and anatomy are not runs."""
    names = ("*_bold.nii.gz", "functional.nii", "example*.nii.gz", "subject*.nii.gz")
    return sorted(path for name in names for path in (REALDATA / "bold").rglob(name))


def _fresh(folder: Path, name: int | str) -> Path:
    new = folder / str(name)
    new.mkdir()
    return new


def _object(group: str, kind: str, outcome: str, code: str, *, met: bool) -> dict[str, Any]:
    return {
        "benchmark": "bad_inputs",
        "group": group,
        "kind": kind,
        "outcome": outcome,
        "code": code,
        "met": met,
    }


def judged(num_flips: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bad") as name:
        folder = Path(name)
        images, peak_bytes = judged_images(folder)
        tables, flips = judged_tables(folder), judged_flips(folder, num_flips)
        clean = false_alarms(folder)
    yield from (*images, *tables, flips, clean)
    yield {
        **_object("summary", "summary", "", "", met=False),
        "images": _count(images),
        "events": _count(t for t in tables if t["group"] != "sound events"),
        "sound_events": _count(t for t in tables if t["group"] == "sound events"),
        "flips": flips["outcome"],
        "clean": clean["outcome"],
        "peak_bytes": peak_bytes,
        "peak_cap_bytes": PEAK_CAP_BYTES,
        "met": all(told["met"] for told in (*images, *tables, flips, clean))
        and peak_bytes < PEAK_CAP_BYTES,
        **measured_here(),
    }


def _count(objects: Iterable[dict[str, Any]]) -> dict[str, int]:
    met = [told["met"] for told in objects]
    return {"detected": sum(met), "total": len(met)}


def draw(objects: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw detected of total, one bar a group of kinds, as a PNG."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    groups: dict[str, list[bool]] = {}
    for told in objects:
        if told["group"] not in ("summary", "clean", "flips", "sound events"):
            groups.setdefault(told["group"], []).append(told["met"])
    flips = next(told["outcome"] for told in objects if told["group"] == "flips")
    bars = {name: (sum(met), len(met)) for name, met in groups.items()}
    bars["flipped bits"] = (sum(flips.values()) - flips.get("changed", 0), sum(flips.values()))
    figure, axes = plt.subplots(figsize=(7, 0.42 * len(bars) + 1.2), layout="constrained")
    for row, (found, total) in enumerate(bars.values()):
        axes.barh(row, 1.0, color="#d9d9d9")
        axes.barh(row, found / total, color="#2b6ca3")
        axes.text(1.01, row, f"{found} / {total}", va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.18)
    axes.set_xticks([0, 0.5, 1.0], ["0", "50 %", "100 %"])
    axes.set_xlabel("detected, or for flipped bits refused or without effect")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _text(told: dict[str, Any]) -> str:
    if told["group"] == "summary":
        return json.dumps(told, indent=1)
    sign = "ok " if told["met"] else "BAD"
    return f"{sign} {told['group']}: {told['kind']}: {told['outcome']} {told['code']}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--flips", type=int, default=1000, help="number of flipped bits")
    parser.add_argument("--figure", type=Path, help="where to draw detected / total (PNG)")
    arguments = parser.parse_args()
    objects = []
    for told in judged(arguments.flips):
        objects.append(told)
        sys.stdout.write((json.dumps(told) if arguments.json else _text(told)) + "\n")
    if arguments.figure:
        draw(objects, arguments.figure)


if __name__ == "__main__":
    main()
