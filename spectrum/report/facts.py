"""What the page says in words and tables; pure, from the lines of a study.

A score never stands alone here: floor, ladder, majority, chance and the default configuration
stand beside it, and the best score is called selected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spectrum.report.labels import UNMASKED_LABEL, is_unmasked
from spectrum.report.reruns import front_sentences, how_selected, rerun_sentences
from spectrum.search.ladders import rungs_above_floor
from spectrum.search.sealing import told_seal
from spectrum.search.view import StudyView

__all__ = [
    "Reference",
    "Row",
    "dataset_scores",
    "flat",
    "format_score",
    "format_value",
    "leaderboard",
    "problems",
    "references",
    "summary",
]

STATE_ORDER: Final = {"complete": 0, "pruned": 1, "failed": 2}
MAX_CAUSE: Final = 160

Score = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """One number that a score is read against: its name, value, interval and what it is."""

    name: str
    value: float
    ci95: tuple[float, float] | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Row:
    """One trial of the leaderboard, all cells as text."""

    rank: str
    number: int
    state: str
    score: str
    interval: str
    above_floor: str
    params: tuple[str, ...]
    epochs: str
    seconds: str
    cause: str
    is_best: bool
    is_default: bool
    is_unmasked: bool


def summary(study: StudyView) -> tuple[str, ...]:
    """Return the study in a few sentences: what ran, what was selected, against what, how sure."""
    best = study.best
    if best is None:
        return (_counts(study), _nothing_selected(study))
    score = best["score"]
    in_search = "" if study.selection is None else "; in the search it scored"
    sentences = [
        _counts(study),
        f"Trial {best['number']}{_label(best)} was selected: {how_selected(study)}"
        f"{in_search or ','} {format_score(score)}, over {_units(score)}.",
        *_against(study),
        *rerun_sentences(study),
        *front_sentences(study),
        _standing(study, score),
        _beside_ladder(study, score),
    ]
    if len(study.complete) > 1:
        sentences.append(
            "A selected score is optimistic, because the highest of several noisy scores is taken;"
            " it describes this search and is no estimate for new subjects."
        )
    else:
        sentences.append("It is the only finished trial, so that nothing was compared.")
    sentences.append((told_seal(study.path) or {}).get("sentence", ""))
    return tuple(sentence for sentence in sentences if sentence)


def _counts(study: StudyView) -> str:
    counts = Counter(line["state"] for line in study.lines)
    parts = [f"{counts['complete']} finished"]
    parts += [f"{counts['pruned']} stopped early"] if counts["pruned"] else []
    parts += [f"{counts['failed']} failed"] if counts["failed"] else []
    parts += [f"{len(study.unfinished)} did not end"] if study.unfinished else []
    return f"Of {_number_of(len(study.numbers), 'trial')}, {_listed(parts)}."


def _nothing_selected(study: StudyView) -> str:
    """Return why there is no best trial, and what can be done."""
    states = {line["state"] for line in study.lines}
    if states == {"failed"}:
        return "Every trial failed, so that nothing was selected; the causes stand below."
    if states == {"pruned"}:
        return (
            "Every trial was stopped early, so that nothing was selected; scores of stopped trials"
            " are not compared. Continue the search, or let it stop fewer (study.pruner)."
        )
    return "No trial finished, so that nothing was selected: all failed or were stopped early."


def _against(study: StudyView) -> list[str]:
    words = [
        f"{reference.meaning} {reference.value:.3f}"
        + (f" [{reference.ci95[0]:.3f}, {reference.ci95[1]:.3f}]" if reference.ci95 else "")
        for reference in references(study)
    ]
    return [f"On the same folds, by the same score: {'; '.join(words)}."] if words else []


def _standing(study: StudyView, score: Score) -> str:
    floor = (study.floor or {}).get("floor")
    if floor is None:
        return "The floor was not measured, so whether this is brain signal cannot be said."
    low, value = score["ci95"][0], score["value"]
    chance = (study.floor or {}).get("chance") or 0.0
    if low <= chance:
        return (
            f"The interval of the selected score reaches down to chance, {chance:.3f}: the study"
            " shows no decoding."
        )
    if low > floor["ci95"][1]:
        return "The selected score lies above the floor, and their intervals do not meet."
    if low > floor["value"]:
        return (
            "The interval of the selected score lies above the floor's value, but the two"
            " intervals overlap."
        )
    if value > floor["value"]:
        return (
            "The selected score is above the floor, but its interval reaches down to it: the study"
            " does not show that the model reads more than the acquisition numbers."
        )
    return (
        "The selected score is not above the floor: acquisition numbers alone, which never see"
        " brain signal, do as well."
    )


def _beside_ladder(study: StudyView, score: Score) -> str:
    rungs = rungs_above_floor(study.ladder)
    if not rungs:
        return (
            "No ladder of simpler models was fitted, so whether this takes a network cannot be"
            " said."
        )
    best = max(rungs, key=lambda rung: rung["score"])
    if score["value"] > best["score"]:
        return (
            "The selected score lies above every simpler model of the ladder, of which"
            f" {best['name']} scores highest."
        )
    return (
        f"The selected score does not lie above {best['name']}: a simpler model does as well on"
        " these folds."
    )


def references(study: StudyView) -> tuple[Reference, ...]:
    """Return default, floor, rungs of the ladder, majority and chance, those that there are."""
    floor = study.floor or {}
    default = _label(next((line for line in study.lines if line["number"] == 0), {}))
    found = [
        (f"default{default}", _default_score(study), f"the default configuration{default} scores"),
        ("floor", floor.get("floor"), "the floor (acquisition numbers alone) is"),
        *(
            (rung["name"], {**rung, "value": rung["score"]}, f"{rung['about']} scores")
            for rung in rungs_above_floor(study.ladder)
        ),
        ("majority", floor.get("majority"), "always answering the majority class scores"),
        ("chance", floor.get("chance"), "chance is"),
    ]
    return tuple(_reference(*entry) for entry in found if entry[1] is not None)


def _label(line: Mapping[str, Any]) -> str:
    """Return what stands after the name of a trial with an unmasked recipe, nothing otherwise."""
    return f" ({UNMASKED_LABEL})" if is_unmasked(line.get("config") or {}) else ""


def _default_score(study: StudyView) -> Any:
    default = study.default or {}
    return default.get("score") if default.get("state", "complete") == "complete" else None


def _reference(name: str, score: Any, meaning: str) -> Reference:
    if isinstance(score, Mapping):
        low, high = score["ci95"]
        return Reference(name, float(score["value"]), (float(low), float(high)), meaning)
    return Reference(name, float(score), None, meaning)


def leaderboard(study: StudyView, paths: Sequence[str]) -> tuple[Row, ...]:
    """Return one row a trial: complete ones by score, then stopped ones, then failed ones."""
    ranks = {line["number"]: str(rank) for rank, line in enumerate(study.complete, start=1)}
    lines = sorted(study.lines, key=_place)
    return tuple(_row(study, line, paths, ranks.get(line["number"], "")) for line in lines)


def _place(line: Mapping[str, Any]) -> tuple[int, float, int]:
    value = (line.get("score") or {}).get("value")
    return (STATE_ORDER[line["state"]], -value if value is not None else 0.0, line["number"])


def _row(study: StudyView, line: Mapping[str, Any], paths: Sequence[str], rank: str) -> Row:
    score = line.get("score") or {}
    floor = (study.floor or {}).get("floor")
    error = line.get("error") or {}
    cause = f"{error.get('kind', '')}: {error.get('message', '')}" if error else ""
    has_value = score.get("value") is not None
    return Row(
        rank=rank,
        number=line["number"],
        state={"pruned": "stopped early"}.get(line["state"], line["state"]),
        score=f"{score['value']:.3f}" if has_value else "",
        interval=f"{score['ci95'][0]:.3f} to {score['ci95'][1]:.3f}" if has_value else "",
        above_floor=f"{score['value'] - floor['value']:+.3f}" if has_value and floor else "",
        params=tuple(format_value(line["params"].get(path)) for path in paths),
        epochs=str(line.get("num_epochs") or ""),
        seconds=f"{line['seconds']:.0f}" if line.get("seconds") is not None else "",
        cause=cause[:MAX_CAUSE],
        is_best=study.best is not None and line["number"] == study.best["number"],
        is_default=line["number"] == 0,
        is_unmasked=is_unmasked(line["config"]),
    )


def dataset_scores(line: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return the score of each subject of a trial, by data set, then by subject."""
    by_dataset: dict[str, dict[str, float]] = {}
    for group, value in sorted(((line.get("score") or {}).get("by_group") or {}).items()):
        dataset, _, subject = group.partition("/")
        if value is not None:
            by_dataset.setdefault(dataset, {})[subject or dataset] = float(value)
    return by_dataset


def problems(manifest: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return each problem and refused run that the manifest names, wherever it names it."""
    found: list[Mapping[str, Any]] = []
    for name, value in manifest.items():
        if name in ("problems", "refused") and isinstance(value, Sequence):
            found += [item for item in value if isinstance(item, Mapping)]
        elif isinstance(value, Mapping):
            found += problems(value)
    return tuple(found)


def flat(value: Mapping[str, Any], *, prefix: str = "") -> dict[str, str]:
    """Return the leaves of nested mappings by dotted name, as text."""
    leaves: dict[str, str] = {}
    for name, inner in value.items():
        path = f"{prefix}{name}"
        if isinstance(inner, Mapping):
            leaves.update(flat(inner, prefix=f"{path}."))
        else:
            leaves[path] = format_value(inner)
    return leaves


def format_score(score: Score) -> str:
    """Return a score with its interval."""
    low, high = score["ci95"]
    return f"{score['value']:.3f} (95 % interval {low:.3f} to {high:.3f})"


def format_value(value: Any) -> str:
    """Return a parameter or setting as people write it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value)
    return str(value)


def _units(score: Score) -> str:
    groups = _number_of(score["num_groups"], "independent group")
    return f"{_number_of(score['num_units'], 'scored unit')} of {groups}"


def _number_of(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
