"""The statement of a study as one page that loads nothing, in sentences for a methods section.

Not here: the facts (``spectrum.search.statement``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from markupsafe import Markup

from spectrum.owners import write_whole
from spectrum.report.templates import FOLDER, page_environment
from spectrum.search.json_lines import read_json
from spectrum.search.view import StudyView

__all__ = ["STATEMENT_JSON", "StatementFacts", "sentences", "statement_facts", "write_statement"]

STATEMENT_JSON: Final = "statement.json"
NUM_BINS: Final = 40
WIDTH, HEIGHT = 640, 160


def write_statement(folder: Path, told: Mapping[str, Any]) -> Path:
    """Write ``statement.json``, with its sentences, and ``statement.html`` into a study's folder.

    Returns
    -------
    path : of the JSON file
    """
    page = (
        page_environment()
        .get_template("statement.html")
        .render(
            told=told,
            style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
            paragraphs=tuple(sentences(told)),
            null=_null_figure(told["permutation"]),
        )
    )
    write_whole(folder / "statement.html", page.encode())
    path = folder / STATEMENT_JSON
    value = {**told, "sentences": list(sentences(told))}
    write_whole(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())
    return path


def sentences(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a methods section may say of a study, a paragraph each."""
    yield _who(told)
    yield _looks(told)
    yield _score(told)
    yield _test(told)
    yield _claim(told)
    for line in told["sealed"]["openings"]:
        yield _opening(line)


@dataclass(frozen=True, slots=True)
class StatementFacts:
    """What another page says of a statement: its conclusion, its address, if it is out of date."""

    sentence: str
    address: str
    doubt: str


def statement_facts(study: StudyView) -> StatementFacts | None:
    """Return what to say of the statement in the folder of a study; None where there is none.

    The address is relative to a page in a folder of the study.
    """
    path = study.path / STATEMENT_JSON
    if not path.is_file():
        return None
    told = read_json(path)
    tested, now = told["tested"]["trial"], study.best["number"] if study.best else None
    old = f"It is of trial {tested}, which is no longer the selected one: state it again."
    return StatementFacts(_claim(told), "../statement.html", "" if tested == now else old)


def _opening(line: Mapping[str, Any]) -> str:
    low, high = line["score"]["ci95"]
    return (
        f"Look {line['look']} at the sealed subjects, on {line['opened'][:10]}: trial "
        f"{line['trial']}, refitted on all others, scored {line['score']['value']:.3f} "
        f"[{low:.3f}, {high:.3f}] beside a floor of {line['floor']['value']:.3f}, "
        f"p = {line['p_corrected']:.4f}{_correction(line)}. This score is not selected."
    )


def _correction(line: Mapping[str, Any]) -> str:
    if line["look"] == 1:
        return ""
    return f" (Bonferroni's correction for {line['look']} looks at them; {line['p']:.4f} before)"


def _who(told: Mapping[str, Any]) -> str:
    tested, whom = told["tested"], told["whom"]
    parts = ", ".join(f"{n} of {name}" for name, n in whom["subjects_by_dataset"].items())
    return (
        f"The target {tested['target']} ({', '.join(tested['classes'])}) was decoded under "
        f"{tested['scheme']} in {whom['num_subjects']} subjects ({parts}); "
        f"{whom['num_units']} units were scored, each by a model that never saw its side of the "
        "fold."
    )


def _looks(told: Mapping[str, Any]) -> str:
    looks = told["looks"]
    return (
        f"The search tried {looks['num_trials']} configurations "
        f"({looks['num_complete']} complete, "
        f"{looks['num_pruned']} stopped early, {looks['num_failed']} failed) and repeated "
        f"{looks['num_reruns']} with new seeds, so that the data were looked at "
        f"{looks['num_looks']} times; sealed subjects were opened {looks['num_unsealings']} "
        "time(s)."
    )


def _score(told: Mapping[str, Any]) -> str:
    low, high = told["ci95"]
    floor = told["floor"]
    again = told["rerun_mean"]
    rerun = f" (mean over new seeds {again:.3f})" if again is not None else ""
    return (
        f"The selected trial scored {told['score']:.3f}{rerun}, 95 % interval over subjects "
        f"{low:.3f} to {high:.3f}, where guessing gives {told['chance']:.3f} and acquisition "
        f"numbers alone {floor['score']:.3f} [{floor['ci95'][0]:.3f}, {floor['ci95'][1]:.3f}]. "
        f"This is {told['label']}."
    )


def _test(told: Mapping[str, Any]) -> str:
    null, above = told["permutation"], told["above_floor"]
    if told["p"] is None:
        test = f"No permutation test could be made: {null['skipped']}"
    else:
        test = f"Permuted classes gave p = {told['p']:.4f} ({null['test']})."
    if above is None:
        return test
    low, high = above["ci95"]
    return (
        f"{test} Against the floor on the same subjects the difference was "
        f"{above['difference']:+.3f} [{low:+.3f}, {high:+.3f}], p = {above['p']:.4f}."
    )


def _claim(told: Mapping[str, Any]) -> str:
    finding = told["finding"]
    what = "is a positive finding" if finding["is_positive"] else "is no positive finding"
    return f"By the conditions stated beforehand this {what}: {'; '.join(finding['reasons'])}."


def _null_figure(null: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return bars (x, y, width, height) of the null scores and the place of the observed one."""
    if "null" not in null or not null["null"]:
        return None
    scores = np.array(null["null"])
    low = min(0.0, float(scores.min()))
    counts, _ = np.histogram(scores, bins=NUM_BINS, range=(low, 1.0))
    step = WIDTH / NUM_BINS
    tallest = max(1, int(counts.max()))
    bars = [
        (index * step, HEIGHT * (1 - count / tallest), step - 1, HEIGHT * count / tallest)
        for index, count in enumerate(counts.tolist())
        if count
    ]
    return {
        "bars": bars,
        "at": WIDTH * (null["observed"] - low) / (1.0 - low),
        "width": WIDTH,
        "height": HEIGHT,
        "low": low,
        "count": len(scores),
        "observed": null["observed"],
    }
