from __future__ import annotations

from typing import Any

import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.manifest import RunFinding, ShardRun
from spectrum.report.run_facts import outliers, recipe_text, run_problems, worst_first

MASKED = PreprocessingConfig()


def a_run(subject: int, dataset: str = "ds1", **more: Any) -> ShardRun:
    values: dict[str, Any] = {
        "dataset": dataset,
        "subject": f"{subject:02d}",
        "task": "learn",
        "num_volumes": 7,
        "tr_s": 2.0,
        "voxel_mm": (3.0, 3.0, 4.0),
        "source_shape": (5, 6, 7, 8),
        "shape_SHW": (2, 3, 4),
        "image_sha256": "a",
        "fingerprint": "b",
        "content_sha256": "c",
        "quality": {},
    }
    return ShardRun(**{**values, **more})


def named(number: int, dataset: str = "ds1") -> str:
    return f"{dataset}/sub-{number:02d}_task-learn"


def test_a_run_that_moved_is_told_and_one_at_rest_is_not() -> None:
    moved = a_run(1, quality={"fd_mean": 0.71})
    assert run_problems(moved, MASKED) == (
        "Mean framewise displacement is 0.71 mm, above 0.5 mm.",
    )
    assert run_problems(a_run(1, quality={"fd_mean": 0.2}), MASKED) == ()
    assert run_problems(a_run(1, quality={"fd_mean": None}), MASKED) == ()


def test_findings_other_names_and_an_unmasked_recipe_are_told() -> None:
    odd = a_run(
        1, findings=(RunFinding(code="odd", message="The image is odd."),), person="ds1/sub-09"
    )
    told = " ".join(run_problems(odd, PreprocessingConfig(brain_mask=False)))
    assert told.startswith("Unmasked recipe")
    assert "The image is odd." in told
    assert "ds1/sub-09" in told


@pytest.mark.parametrize(
    ("name", "usual", "bad", "good"),
    [("tsnr", 60.0, 12.0, 150.0), ("dvars_mean", 2.0, 9.0, 0.1), ("efc", 0.5, 0.9, 0.1)],
)
def test_a_run_stands_out_on_the_bad_side_of_its_own_data_set_alone(
    name: str, usual: float, bad: float, good: float
) -> None:
    usual_runs = [a_run(n, quality={name: usual * (1 + 0.01 * n)}) for n in range(6)]
    other = [a_run(n, "ds2", quality={name: bad * (1 + 0.01 * n)}) for n in range(6)]
    runs = [*usual_runs, a_run(7, quality={name: bad}), a_run(8, quality={name: good}), *other]
    assert set(outliers(runs)) == {named(7)}


def test_of_few_or_of_equal_runs_nothing_stands_out() -> None:
    few = [a_run(n, quality={"tsnr": value}) for n, value in enumerate([60.0, 61.0, 62.0, 1.0])]
    assert outliers(few) == {}
    assert outliers([a_run(n, quality={"tsnr": 60.0}) for n in range(9)]) == {}


def test_the_worst_run_comes_first_and_every_run_once() -> None:
    runs = [
        a_run(1, quality={"fd_mean": 0.1, "tsnr": 60.0}),
        a_run(2, quality={"fd_mean": 0.3, "tsnr": 70.0}),
        a_run(3, quality={"fd_mean": 0.1, "tsnr": 20.0}),
        a_run(4, quality={}),
    ]
    order = worst_first(runs, {named(4): ["Odd."]})
    assert order == [named(4), named(2), named(3), named(1)]


def test_the_recipe_in_words_names_what_is_on_and_nothing_that_is_off() -> None:
    text = recipe_text(PreprocessingConfig(fwhm_mm=0.0, motion_correction=True))
    assert "motion corrected" in text
    assert "smoothed" not in text
    assert "8 mm grid" in text
    assert "no mask" in recipe_text(PreprocessingConfig(brain_mask=False))
