"""Stopping a trial between two folds by a paired test over subjects."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectrum.config import TrialConfig
from spectrum.errors import ConfigError
from spectrum.records import TrialEpochRecord
from spectrum.search.racing import is_behind, p_of_being_worse
from spectrum.search.settings import FoldRaceConfig
from spectrum.search.space import space_from_mapping
from spectrum.search.trials import TrialEnd
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, epoch_record, small_space, trial_end
from tests.unit.search.test_driver import lines_of

NUM_FOLDS = 4
SUBJECTS_PER_FOLD = 5


def test_p_is_the_share_of_sign_patterns_at_least_as_large() -> None:
    best = {f"sub-{n}": 1.0 for n in range(4)}
    assert p_of_being_worse(dict.fromkeys(best, 0.0), best) == (1 / 16, 4)
    assert p_of_being_worse(best, best) == (1.0, 4)
    assert p_of_being_worse(best, dict.fromkeys(best, 0.0))[0] == 1.0


def test_only_subjects_of_both_count_in_whatever_order() -> None:
    rng = np.random.default_rng(1)
    own = {f"sub-{n}": float(v) for n, v in enumerate(rng.integers(0, 3, 9) / 2)}
    best = {f"sub-{n}": float(v) for n, v in enumerate(rng.integers(0, 3, 12) / 2)}
    shared = {name: best[name] for name in reversed(own)}
    assert p_of_being_worse(own, best) == p_of_being_worse(own, shared)
    assert p_of_being_worse(own, best)[1] == 9


def test_too_few_subjects_stop_nothing_and_alpha_0_never_does() -> None:
    best, own = ({f"sub-{n}": v for n in range(9)} for v in (1.0, 0.0))
    few = dict(list(own.items())[:5])
    assert is_behind(own, best, config=FoldRaceConfig(alpha=0.05, min_subjects=6))
    assert not is_behind(few, best, config=FoldRaceConfig(alpha=0.05, min_subjects=6))
    assert not is_behind(own, best, config=FoldRaceConfig(alpha=0.0))


def test_equal_configurations_are_stopped_as_seldom_as_alpha_says() -> None:
    rng = np.random.default_rng(5)
    config = FoldRaceConfig(alpha=0.1)
    stopped = 0
    for _ in range(1500):
        own, best = (
            {f"sub-{n}": float(v) for n, v in enumerate(rng.integers(0, 2, 12))} for _ in range(2)
        )
        stopped += is_behind(own, best, config=config)
    assert stopped / 1500 < 0.13


@pytest.mark.parametrize(
    ("scheme", "order", "alpha", "is_refused"),
    [
        ("leave-one-run-out", "fold", 0.1, True),
        ("leave-one-run-out", "fold", 0.0, False),
        ("leave-one-run-out", "epoch", 0.1, False),
        ("leave-one-subject-out", "fold", 0.1, False),
    ],
)
def test_folds_that_part_a_subject_are_not_raced(
    scheme: str, order: str, alpha: float, is_refused: bool
) -> None:
    mapping = small_space(pruner={"folds": {"alpha": alpha}}).model_dump(mode="python")
    mapping["base"] |= {"target": "stage", "folds": {"scheme": scheme}}
    mapping["base"]["training"] |= {"fold_order": order}
    with (
        pytest.raises(ConfigError, match=r"leave-one-run-out.* study\.pruner\.folds\.alpha to 0")
        if is_refused
        else nullcontext()
    ):
        space_from_mapping(mapping).check()


class FoldByFold:
    """Ends one fold after the other, an epoch each; even trials are good, odd ones bad."""

    def __init__(self) -> None:
        self.folds_of: dict[int, int] = {}

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        value = 1.0 if number % 2 == 0 else 0.0
        for fold in range(NUM_FOLDS):
            self.folds_of[number] = fold + 1
            record = epoch_record(fold, value, finished=fold == NUM_FOLDS - 1)
            names = [f"ds{n}" for n in range(fold + 1)]
            by_group = {f"{d}/sub-{s}": value for d in names for s in range(SUBJECTS_PER_FOLD)}
            yield replace(
                record,
                score=replace(record.score, by_group=by_group),
                folds=tuple(replace(record.folds[0], fold=name) for name in names),
                ended_folds=tuple(names),
            )
        return trial_end(number, value)


@pytest.mark.parametrize(("min_subjects", "expected"), [(4, 1), (6, 2), (16, 4)])
def test_a_bad_trial_is_stopped_after_the_fold_that_shows_it(
    tmp_path: Path, min_subjects: int, expected: int
) -> None:
    objective = FoldByFold()
    pruner = {"rule": "none", "folds": {"alpha": 0.07, "min_subjects": min_subjects}}
    drive(
        tmp_path / "s",
        num_trials=4,
        tracker=ListTracker(),
        space=small_space(pruner=pruner),
        objective=objective,
    )
    lines = {line["number"]: line for line in lines_of(tmp_path / "s")}
    assert objective.folds_of == {0: 4, 1: expected, 2: 4, 3: expected}
    for number in (1, 3):
        stopped = lines[number]["stopped_by"]
        assert (lines[number]["state"], stopped) == (
            ("pruned", "folds") if expected < NUM_FOLDS else ("complete", None)
        )


class EpochsOfFolds:
    """Two folds of three epochs each; later trials are worse, in one fold alone."""

    def __init__(self, bad_fold: int) -> None:
        self.bad_fold = bad_fold
        self.num_epochs_of: dict[int, int] = {}

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        for step in range(6):
            self.num_epochs_of[number] = step + 1
            fold, epoch = divmod(step, 3)
            value = 0.9 - 0.1 * number * (fold == self.bad_fold)
            record = epoch_record(step, value, finished=step == 5)
            names = ["ds0", "ds1"][: fold + 1]
            yield replace(
                record,
                folds=tuple(replace(record.folds[0], fold=name) for name in names),
                ended_folds=tuple(names[: fold + (epoch == 2)]),
            )
        return trial_end(number, 0.5)


@pytest.mark.parametrize(
    ("order", "bad_fold", "epochs_of_last"),
    [("fold", 0, 2), ("fold", 1, 6), ("epoch", 1, 4)],
)
def test_fold_by_fold_the_epochs_of_the_first_fold_alone_are_compared(
    tmp_path: Path, order: str, bad_fold: int, epochs_of_last: int
) -> None:
    pruner = {"rule": "halving", "min_epochs": 2, "reduction": 2, "folds": {"alpha": 0.0}}
    mapping = small_space(pruner=pruner).model_dump(mode="python")
    mapping["base"]["training"] |= {"fold_order": order}
    objective = EpochsOfFolds(bad_fold)
    drive(
        tmp_path / "s",
        num_trials=5,
        tracker=ListTracker(),
        space=space_from_mapping(mapping),
        objective=objective,
    )
    assert objective.num_epochs_of[0] == 6
    assert objective.num_epochs_of[4] == epochs_of_last


def test_the_order_of_folds_is_no_parameter() -> None:
    mapping = small_space().model_dump(mode="python")
    mapping["parameters"]["training.fold_order"] = {"choice": ["epoch", "fold"]}
    with pytest.raises(ConfigError, match=r"training\.fold_order cannot be searched: .*compared"):
        space_from_mapping(mapping).check()
