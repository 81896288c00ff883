from collections import Counter

import pytest

from spectrum.entities import RunKey
from spectrum.errors import ConfigError
from spectrum.targets import Target, read_target, shipped_targets
from tests.realdata import FOUR, needs_trees


def real_keys() -> list[RunKey]:
    return [
        RunKey.from_file_name(path.name, dataset=root.name)
        for root in FOUR
        for path in sorted(root.glob("sub-*/**/*_events.tsv"))
    ]


def test_three_targets_are_shipped() -> None:
    assert shipped_targets() == ("condition", "early_late", "stage")


@pytest.mark.parametrize("name", shipped_targets())
def test_every_row_has_a_source_and_every_target_a_description(name: str) -> None:
    target = read_target(name)
    assert target.name == name
    assert len(target.description) > 40
    assert all(len(rule.source) > 20 for rule in target.rules)


def test_early_late_is_paired_and_stage_and_condition_are_flagged() -> None:
    assert read_target("early_late").paired
    assert read_target("early_late").classes == ("early", "late")
    assert read_target("stage").confounded_with == ("dataset", "task", "run")
    assert not read_target("stage").paired
    assert read_target("condition").confounded_with == ("task",)


@needs_trees
def test_early_late_gives_90_pairs_within_52_subjects() -> None:
    target = read_target("early_late")
    labelled = [key for key in real_keys() if target.class_of(key)]
    classes_of_pair: dict[str, list[str | None]] = {}
    for key in labelled:
        classes_of_pair.setdefault(target.pair_of(key), []).append(target.class_of(key))
    assert len(classes_of_pair) == 90
    assert {tuple(sorted(map(str, names))) for names in classes_of_pair.values()} == {
        ("early", "late")
    }
    assert len({key.group for key in labelled}) == 52


@needs_trees
def test_stage_is_what_the_original_project_drew() -> None:
    target = read_target("stage")
    counts = Counter(target.class_of(key) for key in real_keys())
    assert counts == {
        "acquisition": 109,
        "consolidation": 92,
        "transfer": 71,
        "reversal": 26,
        None: 14,
    }


@needs_trees
def test_every_rule_of_a_shipped_target_covers_a_real_run() -> None:
    keys = real_keys()
    for name in shipped_targets():
        for rule in read_target(name).rules:
            assert any(rule.covers(key) for key in keys), (name, rule)


@needs_trees
def test_condition_has_classes_in_one_data_set_only() -> None:
    target = read_target("condition")
    counts = Counter(
        (key.dataset, target.class_of(key)) for key in real_keys() if target.class_of(key)
    )
    assert counts == {
        ("ds000002", "probabilistic"): 34,
        ("ds000002", "deterministic"): 34,
        ("ds000002", "mixed"): 34,
    }


@pytest.mark.parametrize("run", ["1", "01", "001"])
def test_a_run_is_the_same_with_and_without_zeros(run: str) -> None:
    key = RunKey(dataset="ds000052", subject="03", task="weatherprediction", run=run)
    assert read_target("early_late").class_of(key) == "early"


@pytest.mark.parametrize(
    ("task", "run"),
    [
        ("reversalweatherprediction", "1"),
        ("weatherpredictio", "1"),
        ("Weatherprediction", "1"),
        ("weatherprediction", "10"),
        ("weatherprediction", "3"),
        ("weatherprediction", ""),
    ],
)
def test_parts_of_names_and_other_runs_have_no_class(task: str, run: str) -> None:
    key = RunKey(dataset="ds000052", subject="03", task=task, run=run)
    assert read_target("early_late").class_of(key) is None


def test_reversal_runs_are_reversal_in_every_run() -> None:
    stage: Target = read_target("stage")
    for run in ("1", "02", ""):
        key = RunKey(dataset="ds000052", subject="1", task="reversalweatherprediction", run=run)
        assert stage.class_of(key) == "reversal"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'early-late' is no shipped target.*'early_late'"):
        read_target("early-late")
