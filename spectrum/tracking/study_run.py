"""The one run of the study itself: what was searched, what matters, what may be claimed.

It has the tag ``study``, and stands beside the runs of the trials under the study's name. Pictures
that other commands left in the study's folder (brain slices of the report, attention maps) are
shown here and in the run of the selected trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from spectrum.config import fingerprint
from spectrum.errors import SearchError
from spectrum.search.importance import importances
from spectrum.search.json_lines import read_json
from spectrum.search.view import StudyView
from spectrum.tracking.figures import bars, parallel_figure, pareto_figure
from spectrum.tracking.run_map import STUDY, digest_of_trial
from spectrum.tracking.store import AimStore
from spectrum.tracking.values import floor_params, nested, plain, safe_text
from spectrum.tracking.writer import POOLED, AimWriter, track_figure, track_text

__all__ = ["write_study_run"]

STATEMENT: Final = "statement.json"

PICTURES: Final[Mapping[str, str]] = {
    "brain slices": "report/figures/brain-*.png",
    "attention": "attention/**/*.png",
}
"""Images by name: files of the study folder."""


def write_study_run(writer: AimWriter, study: StudyView) -> bool:
    """Bring the run of the study to what its folder says; return whether there was anything to do.

    Parameters
    ----------
    writer : has written the trials
    study : as its folder says now
    """
    store, digest = writer.store, _digest(study)
    if store.runs.digest_of.get(STUDY) == digest and STUDY in store.numbers():
        return False
    store.runs.unsettle(STUDY)
    run = store.run_of(STUDY)
    importance = _importance(study)
    for name, section in _sections(study, importance).items():
        if section:
            run[name] = plain(section)
    for name, figure in _figures(study, importance).items():
        track_figure(run, figure, name)
    for name, text in _texts(study).items():
        track_text(run, text, name)
    store.set_tags(STUDY, {"study", *run.tags})
    told = (study.manifest.get("space") or {}).get("description") or ""
    store.describe(STUDY, safe_text(str(told)))
    _show_pictures(run, study)
    store.close_run(STUDY)
    indexed = [STUDY, *_show_in_best(store, study)]
    store.runs.settle(STUDY, digest, 0)
    store.index(indexed)
    return True


def _show_in_best(store: AimStore, study: StudyView) -> tuple[int, ...]:
    if study.best is None or not any(files for _, files in _pictures(study)):
        return ()
    number = study.best["number"]
    _show_pictures(store.run_of(number), study)
    store.close_run(number, seconds=study.best["seconds"])
    return (number,)


def _digest(study: StudyView) -> str:
    statement = study.path / STATEMENT
    return fingerprint(
        [
            [digest_of_trial(line, study) for line in study.lines],
            len(study.unfinished),
            statement.read_text(encoding="utf-8") if statement.is_file() else "",
            [
                [path.name, path.stat().st_size, path.stat().st_mtime_ns]
                for _, files in _pictures(study)
                for path in files
            ],
        ]
    )


def _sections(study: StudyView, importance: Mapping[str, float]) -> dict[str, Any]:
    manifest, best = study.manifest, study.best
    states = [line["state"] for line in study.lines]
    return {
        "study": study.path.name,
        "summary": {
            "created": manifest.get("created"),
            "description": (manifest.get("space") or {}).get("description"),
            "seed": manifest.get("seed"),
            "num_complete": states.count("complete"),
            "num_pruned": states.count("pruned"),
            "num_failed": states.count("failed"),
            "num_unfinished": len(study.unfinished),
            "best": None if best is None else best["number"],
            "score": None if best is None else best["score"]["value"],
        },
        "space": nested((manifest.get("space") or {}).get("parameters") or {}),
        "code": {name: manifest.get(name) for name in ("git_revision", "versions")},
        "floor": floor_params(study.floor or {}),
        "ladder": _ladder(study),
        "importance": nested(importance),
        "statement": _judged(study),
    }


def _ladder(study: StudyView) -> dict[str, float]:
    return {rung["name"]: rung["score"] for rung in (study.ladder or {}).get("rungs", ())}


def _importance(study: StudyView) -> dict[str, float]:
    try:
        return importances(study.path)
    except SearchError:
        # A study without its journal has no importance to show.
        return {}


def _figures(study: StudyView, importance: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    steps = _steps(study)
    figures = {
        "importance": bars(importance, title="share of importance") if importance else None,
        "parallel coordinates": parallel_figure(study, importance),
        "pareto": pareto_figure(study),
        "ladder": bars(steps, title="score") if steps else None,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _steps(study: StudyView) -> dict[str, float]:
    """Return what stands beside the selected score, from below to above."""
    floor = floor_params(study.floor or {})
    steps: dict[str, float] = {
        name: floor[name] for name in ("chance", "majority") if name in floor
    }
    if "score" in floor:
        steps["floor"] = floor["score"]
    steps |= {name: score for name, score in _ladder(study).items() if name != "dummy"}
    if study.best is not None:
        steps[f"trial {study.best['number']} (selected)"] = study.best["score"]["value"]
    return steps


def _texts(study: StudyView) -> dict[str, str]:
    verdict = (study.floor or {}).get("verdict") or ""
    statement = "\n\n".join(_statement(study).get("sentences") or ())
    texts = {"floor": verdict, "statement": statement}
    return {name: text for name, text in texts.items() if text}


def _judged(study: StudyView) -> dict[str, Any]:
    told = _statement(study)
    named = {name: told.get(name) for name in ("date", "p", "rerun_mean", "label")}
    looks = (told.get("looks") or {}).get("num_looks")
    return {k: v for k, v in {**named, "num_looks": looks}.items() if v is not None}


def _statement(study: StudyView) -> dict[str, Any]:
    path = study.path / STATEMENT
    return dict(read_json(path)) if path.is_file() else {}


def _pictures(study: StudyView) -> Iterator[tuple[str, list[Path]]]:
    for name, pattern in PICTURES.items():
        yield name, sorted(study.path.glob(pattern))


def _show_pictures(run: Any, study: StudyView) -> None:
    from aim import Image

    for name, files in _pictures(study):
        for step, path in enumerate(files):
            run.track(Image(str(path), caption=path.stem), name, step=step, context=POOLED)
