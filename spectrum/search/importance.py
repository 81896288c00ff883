"""How much each parameter of a study matters, by Optuna's own methods.

Not here: Shapley shares (``shapley``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from spectrum.errors import SearchError
from spectrum.search.optuna_study import STUDY_NAME, storage_of

__all__ = ["MAX_FANOVA_TRIALS", "MIN_TRIALS_FOR_IMPORTANCE", "importances"]

MIN_TRIALS_FOR_IMPORTANCE: Final = 6
"""Finished trials below which importances would be noise."""

MAX_FANOVA_TRIALS: Final = 300
"""Finished trials of which fANOVA's forest is made, drawn at random from more.

With all of 1,000 trials of 40 parameters it took 32 s of a processor core, with 300 it takes 3 s.
"""

NUM_FANOVA_TREES: Final = 32


def importances(
    study_folder: Path, *, method: Literal["ped-anova", "fanova"] = "ped-anova"
) -> dict[str, float]:
    """Return how much each parameter matters, by config path, the most important first.

    Over the complete trials; the values add up to 1. Empty where too few trials are complete, or
    all scored the same.

    Parameters
    ----------
    study_folder : holds the journal
    method : PED-ANOVA (Watanabe et al. 2023), or fANOVA (Hutter et al. 2014)
        fANOVA leaves out parameters that some trials do not have, and of many trials it takes
        ``MAX_FANOVA_TRIALS``.
    """
    path = study_folder / "optuna.journal"
    if not path.is_file():
        raise SearchError(
            f"{study_folder} holds no optuna.journal. Give the folder of a study, such as "
            "studies/quickstart."
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=STUDY_NAME, storage=storage_of(path))
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if (
        len(complete) < MIN_TRIALS_FOR_IMPORTANCE
        or len({trial.values[0] for trial in complete}) < 2
    ):
        return {}
    evaluator = None
    if method == "fanova":
        study = _thinned(study, complete)
        evaluator = FanovaImportanceEvaluator(n_trees=NUM_FANOVA_TREES, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(
            study, evaluator=evaluator, target=lambda trial: trial.values[0]
        )
        return {name: float(value) for name, value in found.items()}


def _thinned(study: optuna.Study, complete: Sequence[FrozenTrial]) -> optuna.Study:
    """Return a study in memory that holds some of the complete trials, or the study where few."""
    if len(complete) <= MAX_FANOVA_TRIALS:
        return study
    chosen = np.random.default_rng(0).choice(len(complete), MAX_FANOVA_TRIALS, replace=False)
    thinned = optuna.create_study(directions=study.directions)
    thinned.add_trials([complete[place] for place in sorted(chosen)])
    return thinned
