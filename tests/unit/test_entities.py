import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.entities import ENTITY_OF_PREFIX, RunKey, parse_entities
from spectrum.errors import SidecarError, SpectrumError
from tests.realdata import FOUR, needs_trees

words = st.text("abcXYZ019", min_size=1, max_size=6)
numbers = st.text("0123456789", min_size=1, max_size=3)
further = st.dictionaries(
    st.sampled_from([p for p in ENTITY_OF_PREFIX if p not in ("sub", "ses", "task", "run")]),
    words,
    max_size=3,
)
keys = st.builds(
    RunKey,
    dataset=words,
    subject=words,
    session=st.one_of(st.just(""), words),
    task=words,
    run=st.one_of(st.just(""), numbers),
    acquisition=further.map(lambda d: "_".join(f"{name}-{value}" for name, value in d.items())),
)


@given(keys, st.sampled_from(["_bold.nii.gz", "_bold.nii", "_events.tsv"]))
def test_a_key_survives_the_way_through_a_file_name(key: RunKey, ending: str) -> None:
    name = str(key).removeprefix(f"{key.dataset}/")
    assert RunKey.from_file_name(name + ending, dataset=key.dataset) == key


@given(keys)
def test_a_key_survives_pickling_and_can_be_ordered(key: RunKey) -> None:
    assert pickle.loads(pickle.dumps(key)) == key  # noqa: S301
    assert not key < key


@given(numbers)
def test_runs_are_numbers_whatever_their_zeros(text: str) -> None:
    key = RunKey(dataset="d", subject="1", task="t", run=text)
    assert key.run_number == int(text)
    assert RunKey(dataset="d", subject="1", task="t", run=f"0{text}").run_number == int(text)


def test_a_run_without_number_has_none() -> None:
    assert RunKey(dataset="d", subject="1", task="t").run_number is None
    assert RunKey(dataset="d", subject="1", task="t", run="A").run_number is None


@given(st.text(max_size=40))
def test_no_file_name_breaks_the_parser(name: str) -> None:
    entities = parse_entities(name)
    assert all(value for value in entities.values())
    try:
        key = RunKey.from_file_name(name, dataset="d")
    except SidecarError as err:
        assert err.code == "bad-name"  # noqa: PT017
    else:
        assert key.subject
        assert key.task


def test_the_order_of_further_entities_is_kept() -> None:
    name = "sub-03_ses-b_task-nback_acq-mb4_dir-AP_run-02_echo-1_space-T1w_desc-preproc_bold.nii"
    key = RunKey.from_file_name(name, dataset="d")
    assert key.acquisition == "acq-mb4_dir-AP_echo-1_space-T1w_desc-preproc"
    assert (key.subject, key.session, key.task, key.run) == ("03", "b", "nback", "02")


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("sub-01_bold.nii.gz", "no task entity"),
        ("task-rest_bold.nii.gz", "no subject entity"),
        ("bold.nii.gz", "no subject and no task entity"),
    ],
)
def test_a_name_without_subject_or_task_is_refused(name: str, missing: str) -> None:
    with pytest.raises(SidecarError, match=missing) as caught:
        RunKey.from_file_name(name, dataset="d")
    assert caught.value.path == name


def test_the_same_subject_of_two_data_sets_is_two_people() -> None:
    one = RunKey(dataset="ds000002", subject="01", task="t")
    two = RunKey(dataset="ds000011", subject="01", task="t")
    assert one.group != two.group


@needs_trees
def test_every_real_run_has_a_key_of_its_own() -> None:
    keys = [
        RunKey.from_file_name(path.name, dataset=root.name)
        for root in FOUR
        for path in root.glob("sub-*/**/*_events.tsv")
    ]
    assert len(set(keys)) == len(keys) == 312
    assert len({key.group for key in keys}) == 52


def test_errors_keep_code_and_path_on_the_way_between_workers() -> None:
    err = SidecarError("found. expected.", code="bad-name", path="a/b")
    again = pickle.loads(pickle.dumps(err))  # noqa: S301
    assert (type(again), str(again)) == (SidecarError, "found. expected.")
    assert (again.code, again.path, again.exit_code) == ("bad-name", "a/b", 1)
    assert isinstance(again, SpectrumError)
