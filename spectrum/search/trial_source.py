"""The configuration of a trial of a study, to train it alone.

Not here: training it (``single``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectrum.config import TrialConfig, config_from_mapping, parse_settings, set_paths
from spectrum.errors import SearchError
from spectrum.search.view import StudyView, view_study

__all__ = ["config_of_trial"]


def config_of_trial(source: Path, settings: Sequence[str] = ()) -> TrialConfig:
    """Return what a trial was trained with.

    Parameters
    ----------
    source : folder of a study, then the number of a trial, or ``best`` or ``default``, such as
        ``studies/quickstart/7``
    settings : ``key=value``, applied on top

    Raises
    ------
    SearchError
        Where there is no such study or trial.
    """
    study = view_study(source.parent)
    line = _line(study, source.name)
    if line is None:
        raise SearchError(
            f"{study.path} has no ended trial {source.name!r}. Give the number of one, best or "
            f"default; it has {_known(study)}."
        )
    return config_from_mapping(TrialConfig, set_paths(line["config"], parse_settings(settings)))


def _line(study: StudyView, name: str) -> dict[str, Any] | None:
    if name == "best":
        return dict(study.best) if study.best is not None else None
    number = "0" if name == "default" else name
    found = (line for line in (*study.lines, *study.reruns) if str(line["number"]) == number)
    return next((dict(line) for line in found), None)


def _known(study: StudyView) -> str:
    numbers = [line["number"] for line in study.lines]
    return f"{len(numbers)}, numbers {min(numbers)} to {max(numbers)}" if numbers else "none"
