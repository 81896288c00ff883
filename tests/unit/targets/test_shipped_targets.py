from collections import Counter

import pytest

from spectrum.entities import RunKey
from spectrum.errors import ConfigError
from spectrum.targets import Target, read_target, shipped_targets, target_findings
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
    assert all(len(row.source) > 20 for row in (*target.rules, *target.excluded))
    assert all(len(row.reason) > 20 for row in target.excluded)
    assert all(not rule.note or len(rule.note) > 20 for rule in target.rules)


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
@pytest.mark.parametrize(
    ("name", "num_labelled"), [("condition", 102), ("early_late", 180), ("stage", 298)]
)
def test_every_one_of_the_312_runs_is_either_labelled_or_excluded_by_a_row(
    name: str, num_labelled: int
) -> None:
    target, keys = read_target(name), real_keys()
    decided = [
        (target.class_of(key) is not None, target.exclusion_of(key) is not None) for key in keys
    ]
    assert Counter(decided) == {(True, False): num_labelled, (False, True): 312 - num_labelled}


@needs_trees
@pytest.mark.parametrize("name", shipped_targets())
def test_shipped_targets_fit_the_four_data_sets_without_a_finding(name: str) -> None:
    assert target_findings(read_target(name), real_keys()) == ()


@needs_trees
def test_every_task_that_is_no_learning_is_doubted_or_excluded() -> None:
    stage = read_target("stage")
    rows = [(rule.task, rule.note) for rule in stage.rules] + [
        (row.task, row.reason) for row in stage.excluded
    ]
    for task in (
        "selectivestopsignaltask",
        "tonecounting",
        "mixedeventrelatedprobe",
        "reversalweatherprediction",
        "Classificationprobewithoutfeedback",
    ):
        said = [text for name, text in rows if name == task]
        assert said
        assert all(said)


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
