from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import FoldsConfig
from spectrum.data.duplicates import find_copies, people_notes
from spectrum.data.folds import check_folds, plan_folds
from spectrum.data.units import SequenceTable
from spectrum.entities import RunKey
from tests.unit.data.fake_shards import key, paired_units, table_of

keys = st.builds(
    key,
    dataset=st.sampled_from(["dsA", "dsB"]),
    subject=st.sampled_from(["1", "2", "3"]),
    task=st.sampled_from(["x", "y"]),
    run=st.sampled_from(["1", "2"]),
)
digests = st.dictionaries(keys, st.sampled_from(["", "a", "b", "c", "d", "e"]))


@given(digests)
def test_no_image_is_left_under_two_names(digest_of_run: dict[RunKey, str]) -> None:
    copies = find_copies(digest_of_run)
    kept = [d for k, d in digest_of_run.items() if k not in copies.refused and d]
    assert len(kept) == len(set(kept))


@given(digests)
def test_runs_of_one_image_are_of_one_person(digest_of_run: dict[RunKey, str]) -> None:
    person_of = find_copies(digest_of_run).person_of
    for one, first in digest_of_run.items():
        for other, second in digest_of_run.items():
            if first and first == second and one.group != other.group:
                assert person_of[one.group] == person_of[other.group]
    assert set(person_of.values()) <= set(person_of)


@given(digests)
def test_what_is_unlike_all_others_is_left_alone(digest_of_run: dict[RunKey, str]) -> None:
    copies = find_copies(digest_of_run)
    for run, digest in digest_of_run.items():
        if list(digest_of_run.values()).count(digest) == 1 or not digest:
            assert run not in copies.refused


def test_of_copies_under_two_subjects_the_first_stays() -> None:
    runs = [key(dataset=name, subject=s) for name, s in (("dsA", "1"), ("dsB", "7"), ("dsB", "8"))]
    copies = find_copies({runs[1]: "same", runs[0]: "same", runs[2]: "other"})
    assert list(copies.refused) == [runs[1]]
    assert "dsA/sub-1_task-learn_run-01 is used" in copies.refused[runs[1]]
    assert copies.person_of == {"dsA/sub-1": "dsA/sub-1", "dsB/sub-7": "dsA/sub-1"}


@pytest.mark.parametrize("change", [{"run": "02"}, {"task": "other"}, {"session": "b"}])
def test_of_copies_under_two_runs_of_a_subject_none_is_used(change: dict[str, str]) -> None:
    runs = [key(), replace(key(), **change)]
    copies = find_copies(dict.fromkeys(runs, "same"))
    assert set(copies.refused) == set(runs)
    assert all("none of them is used" in sentence for sentence in copies.refused.values())
    assert copies.person_of == {}


def test_a_chain_of_shared_images_is_one_person_with_a_note() -> None:
    one, two, three = (key(subject=subject) for subject in "123")
    later = replace(two, run="02")
    copies = find_copies({one: "p", two: "p", later: "q", replace(three, run="02"): "q"})
    assert set(copies.person_of.values()) == {"ds000002/sub-1"}
    [note] = people_notes((person, group) for group, person in copies.person_of.items())
    assert "ds000002/sub-1, ds000002/sub-2, ds000002/sub-3 share an image" in note


def doubled_table() -> SequenceTable:
    """Return three data sets in which a/2 and c/1 are one person."""
    table = table_of(paired_units({"a": ["1", "2"], "b": ["1"], "c": ["1", "2"]}))
    person_of = {"a/sub-2": "a/sub-2", "c/sub-1": "a/sub-2"}
    units = tuple(replace(u, person=person_of.get(u.key.group, "")) for u in table.units)
    return replace(table, units=units)


@pytest.mark.parametrize(
    "config",
    [
        FoldsConfig(scheme="leave-one-dataset-out"),
        FoldsConfig(scheme="leave-one-subject-out"),
        FoldsConfig(scheme="grouped-k-fold", num_folds=3),
    ],
    ids=lambda config: config.scheme,
)
def test_a_person_with_two_names_stands_on_one_side_of_every_fold(config: FoldsConfig) -> None:
    table = doubled_table()
    plan = plan_folds(table, config, paired=True)
    check_folds(plan.folds, table, config)
    scored = [index for fold in plan.folds for index in fold.validation]
    assert sorted(scored) == list(range(len(table.units)))
    for fold in plan.folds:
        training = {table.units[index].group for index in fold.training}
        assert not training & {table.units[index].group for index in fold.validation}
    assert "a/sub-2, c/sub-1 share an image" in plan.notes[0]


def test_a_prediction_is_of_the_person_under_the_first_name() -> None:
    unit = next(u for u in doubled_table().units if u.key.group == "c/sub-1")
    prediction = unit.predicted([0.2, 0.8], classes=("early", "late"), fold="a")
    assert (prediction.subject, prediction.group) == ("1", "a/sub-2")
