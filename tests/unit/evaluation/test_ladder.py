from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from spectrum.config import PreprocessingConfig
from spectrum.data.units import Fold
from spectrum.errors import ConfigError, LeakageError
from spectrum.evaluation.ladder import (
    LINEAR,
    RUNGS,
    Ladder,
    build_rungs,
    climb,
    permute_rung,
)
from spectrum.evaluation.rungs.networks import ParcelMlp, VolumeCnn
from spectrum.evaluation.rungs.parcels import fit_parcels
from spectrum.evaluation.rungs.question import FittedRung, Question, Rung
from spectrum.evaluation.rungs.responses import response_maps
from spectrum.targets import Target
from tests.unit.evaluation.planted import PAIRED, SEEN
from tests.unit.evaluation.voxels import (
    VoxelShards,
    ask,
    ask_paired,
    learnt_shards,
    seen_shards,
)

CASES = {
    "events": (seen_shards, SEEN, "leave-one-subject-out"),
    "events within subjects": (seen_shards, SEEN, "leave-one-run-out"),
    "pairs": (learnt_shards, PAIRED, "leave-one-dataset-out"),
}


def ladder_of(
    shards: VoxelShards, target: Target, scheme: str, names: tuple[str, ...] = LINEAR
) -> Ladder:
    question, folds = ask(shards, target, scheme)
    return climb(build_rungs(names), question, folds, target=target)


def small_rung(name: str) -> Rung:
    """Return a rung as the ladder has it, but that networks are trained for a few steps only."""
    small: dict[str, Rung] = {"mlp": ParcelMlp(steps=(3, 7)), "cnn": VolumeCnn(steps=(3, 7))}
    (rung,) = (rung for rung in build_rungs([name]) if rung.name == name)
    return small.get(name, rung)


def values(ladder: Ladder) -> dict[str, float]:
    return {rung.name: rung.score.value for rung in ladder.rungs}


@pytest.mark.parametrize("scheme", ["leave-one-subject-out", "leave-one-run-out"])
def test_rungs_above_the_floor_find_where_a_class_shows(scheme: str) -> None:
    ladder = ladder_of(seen_shards(effect=2.0), SEEN, scheme)
    found = values(ladder)
    assert list(found) == list(LINEAR)
    assert found["parcels"] > 0.8
    assert found["glm"] > 0.8
    assert found["floor"] < 0.6
    above = {rung.name: rung.above_floor for rung in ladder.rungs}
    assert above["dummy"] is above["floor"] is None
    assert above["glm"] is not None
    assert above["glm"].difference == pytest.approx(found["glm"] - found["floor"])


@dataclass(frozen=True, slots=True)
class BrokenRung:
    """Raises one error on every fold."""

    error: Exception
    name: str = "broken"
    about: str = "raises"

    def obstacle(self, question: Question) -> str:
        return ""

    def fit(self, question: Question, fold: Fold) -> FittedRung:
        raise self.error


def test_a_rung_that_fails_is_named_and_ends_no_ladder_that_is_to_go_on() -> None:
    question, folds = ask(seen_shards(effect=2.0), SEEN, "leave-one-subject-out")
    dummy, floor = build_rungs(["dummy"])
    rungs = (dummy, BrokenRung(ValueError("singular")), floor)
    told: list[tuple[int, int]] = []
    ladder = climb(
        rungs,
        question,
        folds,
        target=SEEN,
        keep_going=True,
        on_fold_done=lambda done, total: told.append((done, total)),
    )
    assert list(values(ladder)) == ["dummy", "floor"]
    assert ladder.skipped == {"broken": "it failed (ValueError: singular)"}
    assert told[-1] == (3 * len(folds), 3 * len(folds))
    with pytest.raises(ValueError, match="singular"):
        climb(rungs, question, folds, target=SEEN)


def test_a_leak_ends_a_ladder_that_is_to_go_on() -> None:
    question, folds = ask(seen_shards(effect=2.0), SEEN, "leave-one-subject-out")
    with pytest.raises(LeakageError):
        climb(
            [BrokenRung(LeakageError("two sides"))],
            question,
            folds,
            target=SEEN,
            keep_going=True,
        )


def test_networks_find_it_too() -> None:
    """By as many steps as the strong effect takes, out of those of the ladder."""
    question, folds = ask(seen_shards(effect=2.5), SEEN, "leave-one-run-out")
    rungs = (*build_rungs(["floor"]), ParcelMlp(steps=(100,)), VolumeCnn(steps=(60,)))
    found = values(climb(rungs, question, folds, target=SEEN))
    assert set(found) == {"floor", "mlp", "cnn"}
    assert found["mlp"] > 0.7
    assert found["cnn"] > 0.55


def test_the_response_to_events_tells_early_from_late_runs() -> None:
    found = values(ladder_of(learnt_shards(effect=2.0), PAIRED, "leave-one-dataset-out"))
    assert found["glm"] > 0.9
    assert found["dummy"] == 0.5


@pytest.mark.parametrize("case", list(CASES))
def test_nothing_is_found_where_nothing_is(case: str) -> None:
    write, target, scheme = CASES[case]
    for seed in range(2):
        ladder = ladder_of(write(effect=0.0, seed=seed), target, scheme)
        for rung in ladder.rungs:
            assert rung.score.p > 0.001


@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("case", list(CASES))
def test_changing_every_value_that_is_held_out_changes_no_fitted_state(
    name: str, case: str
) -> None:
    write, target, scheme = CASES[case]
    shards = write(effect=1.0, num_subjects=3)
    states = []
    for changed in (shards, _with_held_out_changed(shards, target, scheme)):
        question, folds = ask(changed, target, scheme)
        fitted = small_rung(name).fit(question, folds[1])
        states.append({key: np.asarray(value).tobytes() for key, value in fitted.state.items()})
    assert states[0]
    assert states[0] == states[1]


def _with_held_out_changed(shards: VoxelShards, target: Target, scheme: str) -> VoxelShards:
    """Change volumes, numbers and classes-free qualities of all that the second fold holds out."""
    question, folds = ask(shards, target, scheme)
    held_out = {question.table.units[row].run_index for row in folds[1].validation}
    rng = np.random.default_rng(77)
    volumes, runs = dict(shards.volumes), list(shards.runs)
    numbers = dict(shards.volume_quality)
    for index in held_out:
        name = str(runs[index].key)
        volumes[name] = rng.normal(3.0, 50.0, volumes[name].shape).astype(np.float16)
        runs[index] = replace(runs[index], quality={"bg_mean": 1e4})
        if name in numbers:
            numbers[name] = {"bg_mean": rng.normal(5.0, 900.0, len(volumes[name]))}
    return VoxelShards(runs=tuple(runs), volumes=volumes, volume_quality=numbers)


@pytest.mark.parametrize("name", ["floor", "parcels", "glm", "mlp", "cnn"])
def test_changing_a_training_subject_does_change_the_fitted_state(name: str) -> None:
    shards = learnt_shards(effect=1.0, num_subjects=3)
    question, folds = ask_paired(shards)
    first = question.table.units[folds[1].training[0]].run_index
    other = str(shards.runs[first].key)
    changed = replace(
        shards,
        runs=tuple(
            replace(run, quality={"bg_mean": 50.0}) if str(run.key) == other else run
            for run in shards.runs
        ),
        volumes={**shards.volumes, other: shards.volumes[other][::-1] * np.float16(2)},
    )
    states = []
    for each in (shards, changed):
        asked, folds = ask_paired(each)
        fitted = small_rung(name).fit(asked, folds[1])
        states.append({key: np.asarray(value).tobytes() for key, value in fitted.state.items()})
    assert states[0] != states[1]


def test_inner_folds_keep_groups_whole() -> None:
    question, folds = ask_paired(learnt_shards(effect=1.0))
    rows = list(folds[0].training)
    seen = list(question.inner_folds(rows, 3))
    assert len(seen) == 3
    for kept, left_out in seen:
        assert not set(question.groups(kept)) & set(question.groups(left_out))
        assert sorted(kept + left_out) == rows


def test_no_class_enters_the_design_of_a_response() -> None:
    shards = seen_shards(effect=1.0, num_subjects=2)
    question, _ = ask(shards, SEEN, "leave-one-run-out")
    others = tuple(
        replace(run, events=tuple(replace(event, trial_type="cat") for event in run.events))
        for run in shards.runs
    )
    renamed = replace(question, runs=replace(shards, runs=others))
    found = response_maps(renamed)
    for row, values_N in response_maps(question).items():
        np.testing.assert_array_equal(values_N, found[row])


def test_a_rung_of_responses_is_skipped_by_name_where_runs_have_no_events() -> None:
    shards = learnt_shards(effect=1.0)
    bare = replace(shards, runs=(replace(shards.runs[0], events=()), *shards.runs[1:]))
    ladder = ladder_of(bare, PAIRED, "leave-one-dataset-out")
    assert "1 of 24 runs have no events, first a/sub-0" in ladder.skipped["glm"]
    assert "glm" not in values(ladder)


def test_parcels_are_spheres_of_the_atlas_where_the_grid_is_the_template() -> None:
    shards = learnt_shards(effect=1.0, num_subjects=2)
    question, folds = ask_paired(shards)
    assert "Ward" in fit_parcels(question, folds[0]).kind
    recipe = PreprocessingConfig(normalization="mni152", voxel_mm=20.0)
    shape = (9, 11, 9)
    rng = np.random.default_rng(0)
    shards = replace(
        shards,
        shape_SHW=shape,
        volumes={n: rng.normal(size=(40, *shape)).astype(np.float16) for n in shards.volumes},
    )
    asked, folds = ask_paired(shards)
    asked = Question(
        runs=shards,
        sequences=asked.sequences,
        recipe=recipe,
        paired=True,
        scheme="leave-one-dataset-out",
    )
    parcels = fit_parcels(asked, folds[0])
    assert parcels.kind == "300 Seitzman spheres"
    np.testing.assert_allclose(parcels.weights_PN.sum(axis=1), 1.0)


def test_the_json_has_the_keys_that_scripts_rely_on() -> None:
    ladder = ladder_of(learnt_shards(effect=1.0), PAIRED, "leave-one-dataset-out")
    told = json.loads(json.dumps(ladder.to_json(), allow_nan=False))
    assert [set(rung) >= {"name", "score", "ci95", "seconds"} for rung in told["rungs"]] == [
        True
    ] * 4
    assert told["floor"]["score"] == told["rungs"][1]["score"]
    assert told["chance"] == 0.5


def test_a_rung_is_tested_by_repeating_its_whole_fit_on_permuted_classes() -> None:
    results = []
    for effect in (2.0, 0.0):
        question, folds = ask_paired(learnt_shards(effect=effect))
        rung = small_rung("glm")
        results.append(
            permute_rung(rung, question, lambda _, drawn=folds: drawn, num_permutations=19)
        )
    found, nothing = results
    assert found.p == found.smallest_p == 1 / 20
    assert found.num_arrangements == 2**12
    assert not found.stopped_early
    assert nothing.p > 0.05
    assert abs(np.mean(found.null) - 0.5) < 0.15


def test_an_unknown_rung_is_named() -> None:
    with pytest.raises(ConfigError, match="'vit' is no rung"):
        build_rungs(["vit"])
