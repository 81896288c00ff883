"""Makes Aim show what a study folder holds: the one who writes, in a process that may die.

One run a trial. Its parameters: ``hparams`` (the whole configuration, nested, so that
``run.hparams.optimizer.lr > 1e-4`` works), ``searched`` (the part that the search chose),
``trial`` (number, state, score with interval), ``floor`` and ``ladder`` (what it is read against),
``folds``, ``metrics``, ``code`` (git revision and versions), ``artifacts`` (where its checkpoints
lie) and ``nonfinite`` (each NaN or infinity, by metric, fold, side and epoch). Metrics have the
context ``{"fold": name, "role": "training" | "validation"}``, with ``dataset`` where they are of
one; pooled ones have the fold ``all``. Not here: the run of the study itself (``study_run``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from spectrum.records import TrialEpochRecord
from spectrum.search.json_lines import read_json
from spectrum.search.tracker import TrialLine
from spectrum.search.view import StudyView
from spectrum.tracking.figures import confusion_figure, roc_figure
from spectrum.tracking.run_map import STUDY, RunMap, digest_of_trial, started_file
from spectrum.tracking.store import AimStore
from spectrum.tracking.values import (
    ALL_FOLDS,
    TrackedValue,
    datasets_of_sides,
    description_of,
    floor_params,
    nested,
    outcome_params,
    plain,
    safe_name,
    safe_text,
    tags_of_line,
    values_of_epoch,
)

__all__ = ["POOLED", "AimWriter", "track_figure", "track_text"]

POOLED: Final = {"fold": ALL_FOLDS, "role": "validation"}
"""Context of what is told of all folds together."""


def track_figure(run: Any, figure: Mapping[str, Any], name: str, *, step: int = 0) -> None:
    """Track a Plotly description; one tracked before at this step is replaced."""
    from aim import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    run.track(Figure(PlotlyFigure(figure)), name, step=step, context=POOLED)


def track_text(run: Any, text: str, name: str, *, step: int = 0) -> None:
    """Track a text; one tracked before at this step is replaced."""
    from aim import Text

    run.track(Text(safe_text(text)), name, step=step, context=POOLED)


class AimWriter:
    """Brings the Aim runs of one study to what its folder says, as often as asked.

    Parameters
    ----------
    study : folder
    repo : folder of an Aim repository, or ``aim://HOST:PORT``; None is where it was shown before
    on_step : called after each thing written, so that whoever watches can tell slow from stuck

    Errors of Aim, of a server and of the disk are raised as they come.
    """

    def __init__(
        self, study: Path, *, repo: str | None = None, on_step: Callable[[], None] = lambda: None
    ) -> None:
        self._study = study.resolve()
        self._on_step = on_step
        self.runs = RunMap.open(self._study, repo)
        self.store = AimStore(self.runs, study=self._study.name, on_step=on_step)
        self._num_told: dict[int, int] = {}
        folds = self._study / "folds.json"
        self._datasets = datasets_of_sides(read_json(folds)["folds"] if folds.is_file() else ())

    def write_trials(self, study: StudyView, *, live: bool = False) -> int:
        """Add what is missing, repeat nothing, drop runs of trials that the study does not know.

        Parameters
        ----------
        study : as its folder says now
        live : whether unfinished trials go on, so that their runs stay open

        Returns
        -------
        num_written : trials whose runs were written or removed
        """
        there = self.store.numbers()
        ended = [line for line in study.lines if not self._is_shown(line, study, there)]
        self.store.make([*(line["number"] for line in ended), *study.unfinished])
        for line in ended:
            self._write_ended(line, study, line["number"] in there)
        for number in study.unfinished:
            self._follow(number, study)
        if not live:
            self._close_unfinished(study)
        strays = there - study.numbers - {STUDY}
        for number in sorted(strays):
            self.store.delete(number)
        return len(ended) + len(strays)

    def _is_shown(self, line: TrialLine, study: StudyView, there: set[int]) -> bool:
        number = line["number"]
        return number in there and self.runs.digest_of.get(number) == digest_of_trial(line, study)

    def _write_ended(self, line: TrialLine, study: StudyView, exists: bool) -> None:
        number = line["number"]
        records = study.records_of(number)
        self.runs.unsettle(number)
        if line.get("started"):
            self.store.date(number, datetime.fromisoformat(line["started"]))
        if not (exists and self.runs.epochs_of.get(number) == len(records)):
            self._tell(number, records, study)
        run = self.store.run_of(number)
        self._set_inputs(run, number, line.get("config") or {}, line.get("params") or {}, study)
        for name, section in outcome_params(line).items():
            run[name] = section
        self._show(run, line, study, records)
        marks = {"nonfinite"} & set(run.tags)
        tags = map(safe_name, study.tags_of(number))
        self.store.set_tags(number, {*tags_of_line(line), *tags, *marks})
        self.store.close_run(number, seconds=line.get("seconds"))
        self._num_told.pop(number, None)
        self.runs.settle(number, digest_of_trial(line, study), len(records))
        self.store.index([number])
        self._on_step()

    def _set_inputs(
        self,
        run: Any,
        number: int,
        config: Mapping[str, Any],
        params: Mapping[str, Any],
        study: StudyView,
    ) -> None:
        sections = {
            "hparams": nested(config),
            "searched": nested(params),
            "trial": {"number": number, "state": "running"},
            "study": self._study.name,
            "floor": floor_params(study.floor or {}),
            "ladder": {r["name"]: r["score"] for r in (study.ladder or {}).get("rungs", ())},
            "code": _code(study),
        }
        for name, section in sections.items():
            if section:
                run[name] = plain(section)
        self.store.describe(number, description_of(params))

    def _show(
        self,
        run: Any,
        line: TrialLine,
        study: StudyView,
        records: Sequence[TrialEpochRecord],
    ) -> None:
        """Track figures, log and checkpoints of an ended trial."""
        number, step = line["number"], line.get("num_epochs") or 0
        metrics = line.get("metrics") or {}
        counts = metrics.get("confusion")
        classes = [str(name) for name in metrics.get("classes") or range(len(counts or ()))]
        if counts:
            track_figure(run, confusion_figure(classes, counts), "confusion", step=step)
        predictions = study.predictions_of(number)
        if predictions and metrics.get("classes"):
            curves = roc_figure(predictions, classes)
            if curves is not None:
                track_figure(run, curves, "roc", step=step)
        track_text(run, log_of_trial(line, records), "log")
        checkpoints = sorted((self._study / "trials" / str(number)).glob("checkpoints/*"))
        if checkpoints:
            run["artifacts"] = {
                "checkpoints": [str(path.relative_to(self._study.parent)) for path in checkpoints]
            }

    def _follow(self, number: int, study: StudyView) -> None:
        """Tell the epochs of an unfinished trial that were not told yet."""
        records = study.records_of(number)
        if number not in self._num_told:
            self.runs.unsettle(number)
            config, params = _started(self._study, number)
            self._set_inputs(self.store.run_of(number), number, config, params, study)
        self._tell(number, records, study)

    def _tell(self, number: int, records: Sequence[TrialEpochRecord], study: StudyView) -> None:
        """Track epochs; a trial that began again tells all again, each replacing itself."""
        num_told = self._num_told.get(number, 0)
        for record in records[num_told if num_told <= len(records) else 0 :]:
            self._tell_epoch(number, record)
            self.store.drain()
            self._on_step()
        self._num_told[number] = len(records)

    def _tell_epoch(self, number: int, record: TrialEpochRecord) -> None:
        run = self.store.run_of(number)
        values = values_of_epoch(record, self._datasets)
        for value in values:
            if value.is_finite:
                run.track(
                    value.value,
                    value.name,
                    step=record.epoch,
                    epoch=record.epoch,
                    context=value.context,
                )
        _note_nonfinite(run, record.epoch, [v for v in values if not v.is_finite])

    def _close_unfinished(self, study: StudyView) -> None:
        numbers = self.store.open_trials
        for number in numbers:
            self.store.run_of(number)["trial", "state"] = "unfinished"
            self.store.close_run(number)
            self._on_step()
        self._num_told.clear()
        self.store.index(numbers)


def log_of_trial(line: TrialLine, records: Sequence[TrialEpochRecord]) -> str:
    """Return what befell a trial: an epoch a line, and how it ended."""
    told = [f"started {line.get('started') or 'never'}"]
    for record in records:
        losses = ", ".join(
            f"{fold.fold} {fold.training_loss:.4f}/{fold.validation_loss:.4f}"
            for fold in record.folds
        )
        told.append(f"epoch {record.epoch}: score {record.score.value:.3f}; loss {losses}")
    told.append(f"{line['state']} after {line.get('seconds') or 0:.1f} s")
    if line.get("stopped_by"):
        told.append(f"stopped by the pruner over {line['stopped_by']}")
    if line.get("error"):
        told.append(f"{line['error']['kind']}: {line['error']['message']}")
    return "\n".join(told)


def _code(study: StudyView) -> dict[str, Any]:
    known = {name: study.manifest.get(name) for name in ("git_revision", "versions")}
    return {name: value for name, value in known.items() if value}


def _started(study: Path, number: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return configuration and parameters of a trial that has not ended, as far as known."""
    try:
        told = json.loads(started_file(study, number).read_text(encoding="utf-8"))
        return told["config"], told["params"]
    except (OSError, ValueError, KeyError):
        return {}, {}


def _note_nonfinite(run: Any, epoch: int, values: Sequence[TrackedValue]) -> None:
    for value in values:
        place = ("nonfinite", value.name, value.fold, value.role, f"epoch {epoch}")
        run.set(place, str(value.value))
    if values and "nonfinite" not in run.tags:
        run.add_tag("nonfinite")
