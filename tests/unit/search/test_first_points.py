"""Points to run first, and trials told from other studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from spectrum.config import MODEL_VERSION, set_paths
from spectrum.errors import ConfigError, SearchError
from spectrum.search.first_points import check_sources, enqueued_points, first_trials
from spectrum.search.folder import StudyFolder
from spectrum.search.manifest import build_manifest
from spectrum.search.optuna_study import TrialJournal
from spectrum.search.space import SearchSpace, space_from_mapping
from tests.unit.search.drive import drive
from tests.unit.search.fakes import ListTracker, small_space
from tests.unit.search.test_driver import lines_of, params_of

DATA = {"runs": {"ds000002/sub-01_task-a_run-1": "ab"}, "target": "t", "folds": "f"}


def earlier_study(
    path: Path,
    *,
    num_trials: int = 6,
    data: dict[str, Any] = DATA,
    versions: dict[str, Any] | None = None,
) -> Path:
    space = small_space(sampler="random")
    drive(path, num_trials=num_trials, tracker=ListTracker(), space=space)
    manifest = build_manifest(space, name=path.name, data=data)
    manifest["versions"] |= versions or {}
    StudyFolder(path).write_manifest(manifest)
    return path


def changed_space(**changes: Any) -> SearchSpace:
    """The small space with other parts; base paths are dotted."""
    mapping = small_space(**changes.pop("study", {})).model_dump(mode="python")
    mapping["base"] = set_paths(mapping["base"], changes.pop("base", {}))
    mapping["parameters"] |= changes.pop("parameters", {})
    return space_from_mapping({**mapping, **changes})


def narrower_space(**study: Any) -> SearchSpace:
    """The small space with fewer heads and without the learning rate."""
    mapping = small_space(**study).model_dump(mode="python")
    del mapping["parameters"]["optimizer.lr"]
    mapping["parameters"]["model.num_heads"] = {"choice": [4, 8]}
    return space_from_mapping(mapping)


def test_enqueued_points_run_after_the_default_in_their_order(tmp_path: Path) -> None:
    points = [{"preprocessing.fwhm_mm": 9}, {"optimizer.lr": 2e-3, "model.num_heads": 8}]
    space = small_space(enqueue=points)
    drive(
        tmp_path / "s",
        num_trials=4,
        tracker=ListTracker(),
        space=space,
        first=lambda: first_trials(space),
    )
    params = params_of(tmp_path / "s")
    assert params[1] == {**params[0], "preprocessing.fwhm_mm": 9}
    assert params[2] == {**params[0], "optimizer.lr": 2e-3, "model.num_heads": 8}


@pytest.mark.parametrize(
    ("point", "problem"),
    [
        ({"model.num_heads": 5}, r"Point 1 .* model\.num_heads cannot be 5, it is one of"),
        ({"model.depth": 2}, r"model\.depth is not searched"),
    ],
)
def test_a_point_that_is_none_is_refused_by_name(point: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        enqueued_points(small_space(enqueue=[point]))


def test_earlier_trials_are_told_and_not_run_again(tmp_path: Path) -> None:
    folder = earlier_study(tmp_path / "earlier")
    space = small_space(warm_start=[str(folder)], seed=3)
    driver = drive(
        tmp_path / "s",
        num_trials=4,
        tracker=ListTracker(),
        space=space,
        first=lambda: first_trials(space, data=DATA),
    )
    assert len(lines_of(tmp_path / "s")) == 4
    assert f"6 finished trials of {folder} were told to the sampler." in driver.notes
    study = optuna.load_study(
        study_name="spectrum",
        storage=optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / "s/optuna.journal"))
        ),
    )
    told = [trial.values[0] for trial in study.trials if trial.user_attrs]
    assert sorted(told) == sorted(line["value"] for line in lines_of(folder))
    assert len(study.trials) == 10


def test_what_is_told_is_learnt_from(tmp_path: Path) -> None:
    folder = earlier_study(tmp_path / "earlier", num_trials=30)
    cold, warm = (
        small_space(startup_trials=10),
        small_space(startup_trials=10, warm_start=[str(folder)]),
    )
    best = {}
    for name, space in (("cold", cold), ("warm", warm)):
        drive(
            tmp_path / name,
            num_trials=5,
            tracker=ListTracker(),
            space=space,
            first=lambda space=space: first_trials(space, data=DATA),
        )
        values = [line["value"] for line in lines_of(tmp_path / name)[1:]]
        best[name] = sum(values) / len(values)
    assert best["warm"] > best["cold"]


def test_a_resumed_study_is_not_told_twice_and_needs_the_earlier_one_no_more(
    tmp_path: Path,
) -> None:
    folder = earlier_study(tmp_path / "earlier")
    space = small_space(warm_start=[str(folder)])
    options = {"tracker": ListTracker(), "space": space}
    drive(tmp_path / "s", num_trials=2, first=lambda: first_trials(space, data=DATA), **options)

    def never() -> Any:
        raise AssertionError("the earlier study was read again")

    drive(tmp_path / "s", num_trials=4, first=never, **options)
    drive(tmp_path / "w", num_trials=4, first=lambda: first_trials(space, data=DATA), **options)
    assert params_of(tmp_path / "s") == params_of(tmp_path / "w")


def test_a_kill_while_trials_are_told_leaves_each_told_once(tmp_path: Path) -> None:
    folder = earlier_study(tmp_path / "earlier")
    space = small_space(warm_start=[str(folder)])
    first = first_trials(space, data=DATA)
    path = tmp_path / "optuna.journal"
    TrialJournal(path, space, lambda: first)
    whole = path.read_bytes().splitlines(keepends=True)
    for kept in range(1, len(whole)):
        path.write_bytes(b"".join(whole[:kept]))
        TrialJournal(path, space, lambda: first)
        assert len(path.read_bytes().splitlines()) == len(whole)


def test_trials_that_are_no_points_of_the_space_are_left_out_by_name(tmp_path: Path) -> None:
    folder = earlier_study(tmp_path / "earlier")
    first = first_trials(narrower_space(warm_start=[str(folder)]), data=DATA)
    assert not first.told
    assert "6 because optimizer.lr is not searched" in first.notes[0]


def test_scores_on_other_data_are_not_told_but_their_best_points_run_first(
    tmp_path: Path,
) -> None:
    folder = earlier_study(tmp_path / "earlier", data={**DATA, "folds": "other"})
    first = first_trials(small_space(), data=DATA, parent=folder)
    assert not first.told
    best = max(lines_of(folder), key=lambda line: line["value"])
    assert first.points[0] == best["params"]
    assert "other data, folds or target" in first.notes[0]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("model", MODEL_VERSION - 1, f"version {MODEL_VERSION - 1} of the model, which is now"),
        ("model", None, "version unknown of the model"),
        ("steps", {"grid": 0}, "other versions of the steps of a recipe"),
    ],
)
def test_trials_of_another_version_of_model_or_steps_are_not_told_and_it_is_named(
    tmp_path: Path, name: str, value: Any, told: str
) -> None:
    folder = earlier_study(tmp_path / "earlier", versions={name: value})
    first = first_trials(small_space(), data=DATA, parent=folder)
    assert not first.told
    best = max(lines_of(folder), key=lambda line: line["value"])
    assert first.points[0] == best["params"]
    assert told in first.notes[0]


def test_an_earlier_study_that_did_not_measure_an_objective_is_refused(tmp_path: Path) -> None:
    folder = earlier_study(tmp_path / "earlier")
    space = small_space(warm_start=[str(folder)], objectives=["score", "seconds"])
    with pytest.raises(SearchError, match="did not measure seconds"):
        first_trials(space, data=DATA)


def test_scores_of_configurations_that_this_space_does_not_make_are_not_told(
    tmp_path: Path,
) -> None:
    folder = earlier_study(tmp_path / "earlier")
    space = changed_space(base={"training.num_epochs": 16})
    first = first_trials(space, data=DATA, parent=folder)
    assert not first.told
    best = max(lines_of(folder), key=lambda line: line["value"])
    assert first.points[0] == best["params"]
    assert "training.num_epochs was 4 and is 16" in first.notes[1]


def test_what_was_fixed_there_and_is_searched_here_is_told_as_it_ran(tmp_path: Path) -> None:
    folder = earlier_study(tmp_path / "earlier")
    depth = lines_of(folder)[0]["config"]["model"]["depth"]
    searched = {"model.depth": {"int": [depth, depth + 1]}}
    space = changed_space(base={"model.depth": depth + 1}, parameters=searched)
    first = first_trials(space, data=DATA, parent=folder)
    assert [trial.point["model.depth"] for trial in first.told] == [depth] * 6
    told = {
        trial.source: space.config(trial.point).model_dump(mode="json") for trial in first.told
    }
    assert told == {f"{folder}/{line['number']}": line["config"] for line in lines_of(folder)}


def test_fields_that_decide_no_number_may_differ_between_told_trials(tmp_path: Path) -> None:
    folder = earlier_study(tmp_path / "earlier")
    space = changed_space(base={"seed": 9, "training.stream_gib": 0.5})
    assert len(first_trials(space, data=DATA, parent=folder).told) == 6


def test_a_told_trial_is_not_moved_by_what_is_forbidden_now(tmp_path: Path) -> None:
    folder = earlier_study(tmp_path / "earlier")
    wide = [line for line in lines_of(folder) if line["params"]["preprocessing.fwhm_mm"] == 9]
    assert 0 < len(wide) < 6
    space = changed_space(forbid=[{"preprocessing.fwhm_mm": 9}])
    first = first_trials(space, data=DATA, parent=folder)
    assert len(first.told) == 6 - len(wide)
    assert f"{len(wide)} because preprocessing.fwhm_mm = 9.0 is forbidden" in first.notes[0]


def test_an_enqueued_point_is_never_changed_silently() -> None:
    forbid = [{"preprocessing.fwhm_mm": 9, "model.num_heads": 8}]
    point = {"preprocessing.fwhm_mm": 9, "model.num_heads": 8}
    with pytest.raises(ConfigError, match=r"fwhm_mm = 9.0 with model.num_heads = 8 is forbidden"):
        enqueued_points(changed_space(forbid=forbid, study={"enqueue": [point]}))


def test_an_enqueued_value_has_the_type_of_its_field() -> None:
    (point,) = enqueued_points(small_space(enqueue=[{"optimizer.lr": "1e-3"}]))
    assert point["optimizer.lr"] == 1e-3
    with pytest.raises(ConfigError, match=r"Point 1 .* optimizer\.lr cannot be 'fast'"):
        enqueued_points(small_space(enqueue=[{"optimizer.lr": "fast"}]))


def test_a_study_to_begin_from_that_is_none_is_named_with_its_kind(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(SearchError, match=r"^study\.warm_start .*nowhere"):
        check_sources(small_space(warm_start=[str(nowhere)]))
    with pytest.raises(SearchError, match=r"^--fork .*nowhere"):
        check_sources(small_space(), nowhere)


def test_quasi_random_proposals_differ_also_where_a_condition_holds(tmp_path: Path) -> None:
    space = changed_space(
        base={"training.noise_std": 0.0},
        parameters={
            "training.noise_std": {"choice": [0.0, 1.0]},
            "training.label_smoothing": {
                "uniform": [0.0, 0.4],
                "when": {"training.noise_std": 1.0},
            },
        },
        study={"sampler": "qmc"},
    )
    drive(tmp_path / "s", num_trials=10, tracker=ListTracker(), space=space)
    points = list(params_of(tmp_path / "s").values())[1:]
    assert all(point not in points[:place] for place, point in enumerate(points))
    drawn = [p["training.label_smoothing"] for p in points if "training.label_smoothing" in p]
    assert len(set(drawn)) == len(drawn) > 2
