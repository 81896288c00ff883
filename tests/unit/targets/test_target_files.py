from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.bids import index_bids, inspect_table
from spectrum.entities import RunKey
from spectrum.errors import ConfigError, TargetError
from spectrum.targets import EventRule, RunRule, Target, read_target
from tests.realdata import REALDATA, needs_bold

HAXBY = """
description: What was looked at, block by block (Haxby et al. 2001).
classes: [bottle, cat, chair, face, house, scissors, scrambledpix, shoe]
event:
  trial_types: {bottle: bottle, cat: cat, chair: chair, face: face, house: house,
                scissors: scissors, scrambledpix: scrambledpix, shoe: shoe}
  hrf_delay_s: 5.0
  tasks: [objectviewing]
  source: README of the data set
"""

RUNS = """
name: halves
classes: [first, second]
rules:
  - {dataset: dsA, task: rest, run: 1, class: first, source: logbook page 3}
  - {dataset: dsA, task: rest, run: 2, session: "02", class: second, source: logbook page 4}
"""


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(TargetError) as caught:
        read_target(written(folder, text))
    assert caught.value.code == "bad-target"
    assert caught.value.path.endswith("mine.yaml")
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_file_without_a_name_is_called_as_the_file(tmp_path: Path) -> None:
    assert read_target(written(tmp_path, HAXBY)).name == "mine"
    assert read_target(written(tmp_path, RUNS)).name == "halves"


def test_a_session_in_a_row_matches_that_session_only(tmp_path: Path) -> None:
    target = read_target(written(tmp_path, RUNS))
    second = RunKey(dataset="dsA", subject="7", session="02", task="rest", run="2")
    other = RunKey(dataset="dsA", subject="7", session="2", task="rest", run="2")
    none = RunKey(dataset="dsA", subject="7", task="rest", run="2")
    assert [target.class_of(key) for key in (second, other, none)] == ["second", None, None]


@needs_bold
def test_the_categories_of_haxby_give_8_events_each(tmp_path: Path) -> None:
    target = read_target(written(tmp_path, HAXBY))
    table = index_bids([REALDATA / "bold" / "haxby2001-1slice"])
    found = inspect_table(table, target)
    assert found["classes"] == dict.fromkeys(target.classes, 8)
    assert (found["unit"], found["num_runs"], found["unlabelled"]) == ("event", 8, 0)
    assert found["problems"] == []


def test_events_of_other_tasks_and_types_have_no_class(tmp_path: Path) -> None:
    target = read_target(written(tmp_path, HAXBY))
    key = RunKey(dataset="haxby", subject="001", task="objectviewing", run="1")
    rest = RunKey(dataset="haxby", subject="001", task="rest", run="1")
    assert target.class_of_event(key, "face") == "face"
    assert target.class_of_event(key, "Face") is None
    assert target.class_of_event(rest, "face") is None
    assert target.class_of(key) is None
    assert target.kind == "event"


def test_without_tasks_events_of_every_task_count() -> None:
    target = Target(
        name="t", classes=("a", "b"), event=EventRule(trial_types={"x": "a", "y": "b", "z": "b"})
    )
    key = RunKey(dataset="d", subject="1", task="whatever")
    assert [target.class_of_event(key, word) for word in "xyz"] == ["a", "b", "b"]
    assert target.event is not None
    assert target.event.hrf_delay_s == 5.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class: second", "class: secnd", "row 2 of rules.*'secnd'.*Did you mean 'second'"),
        ("class: second", "class: first", "nothing has the class 'second'"),
        ("session", "sesion", "row 2 of rules: sesion is no known key.*'session'"),
        ('"02"', "02", "row 2 of rules: session is 2. Expected text. Write it in quotes"),
        ("run: 1", "run: one", "row 1 of rules: run is 'one'"),
        (", source: logbook page 3", "", "row 1 of rules: source is missing. Add it: Where"),
        ("classes:", "clases:", "clases is no known key.*nearest is 'classes'; known at the top"),
        ("rules:", "rule:", "rule is no known key.*nearest is 'rules'"),
        ("classes:", "subject: x\nclasses:", "subject is no known key.*belongs in a row of rules"),
        ("class: second", "class:", "row 2 of rules: class is empty. Expected text"),
        ("rules:", "paired: 1\nrules:", "paired is 1. Expected true or false"),
        ("[first, second]", "first", "classes is 'first'. Expected a list"),
        ("[first, second]", "[yes, no]", "classes.0 is True. Expected text. Write it in quotes"),
        ("session", "reason", "row 2 of rules: reason is no known.*belongs in a row of excluded"),
        ("run: 1", 'run: "1"', "row 1 of rules: run is '1'"),
        ('"02"', "ses-02", "row 2 of rules: session is 'ses-02'. Expected a BIDS label, without"),
        ("classes:", "excluded: [{dataset: dsA}]\nclasses:", "row 1 of excluded: task is missing"),
        ("classes: [first, second]\n", "", "classes is missing. Add it: All classes"),
        ("classes", "rules2: x\nclasses", "rules2 is no known key"),
        ("[first, second]", "[first, second, first]", "Name each class once"),
        ("[first, second]", "[first]", "classes"),
        ("run: 2, ", "", "rows 1 and 2 of rules cover the same runs of dsA, task rest"),
        ("rules:", "rules: [", "not readable as YAML"),
        ("name: halves", "name: a\nname: b", "the key 'name' stands twice"),
        ("classes", "paired: true\nevent: {trial_types: {x: first}}\nclasses", "2 rules and an"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in RUNS
    with pytest.raises(TargetError, match=message):
        read_target(written(tmp_path, RUNS.replace(old, new, 1)))
    refused(tmp_path, RUNS.replace(old, new, 1))


def test_an_unknown_class_of_events_is_named_with_the_nearest(tmp_path: Path) -> None:
    message = refused(tmp_path, HAXBY.replace("cat: cat", "cat: cats"))
    assert "trial type 'cat' has the class 'cats'" in message
    assert "Did you mean 'cat'?" in message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hrf_delay_s", "hrf_delay", "event.hrf_delay is no known key.*'hrf_delay_s'"),
        ("hrf_delay_s", "duration", "event.duration is no known key.*'duration_s'"),
        (
            "hrf_delay_s: 5.0",
            "hrf_delay_s: 5 s",
            "event.hrf_delay_s is '5 s'. Expected a number, without its unit",
        ),
        ("hrf_delay_s: 5.0", "duration_s: 0", "event.duration_s is 0: .*greater than 0"),
        ("  hrf_delay_s", "hrf_delay_s", "not readable as YAML|hrf_delay_s is no known key"),
        ("classes", "hrf_delay_s: 5\nclasses", "hrf_delay_s is no known key. It belongs in event"),
        ("tasks", "task", "event.task is no known key"),
    ],
)
def test_a_wrong_word_in_event_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in HAXBY
    with pytest.raises(TargetError, match=message):
        read_target(written(tmp_path, HAXBY.replace(old, new, 1)))


def test_a_trial_type_that_yaml_reads_as_a_number_must_be_quoted(tmp_path: Path) -> None:
    assert "Write it in quotes" in refused(tmp_path, HAXBY.replace("cat: cat", "7: cat"))


def test_rules_and_events_exclude_each_other_and_one_is_needed(tmp_path: Path) -> None:
    message = refused(tmp_path, "classes: [a, b]")
    assert "0 rules and no event section" in message


@pytest.mark.parametrize("text", ["- a\n- b", "", "just words", "\tx: 1"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text)


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder, and a target is a name or a YAML file"):
        read_target(str(tmp_path))


def test_a_path_without_a_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no target file .*absent\.yaml"):
        read_target(str(tmp_path / "absent.yaml"))


def test_events_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="is paired with 2 classes of events"):
        Target(
            name="t",
            classes=("a", "b"),
            paired=True,
            event=EventRule(trial_types={"x": "a", "y": "b"}),
        )


def test_class_index_follows_the_order_and_names_the_nearest(tmp_path: Path) -> None:
    target = read_target(written(tmp_path, RUNS))
    assert [target.class_index(name) for name in target.classes] == [0, 1]
    with pytest.raises(TargetError, match="Did you mean 'second'"):
        target.class_index("secondo")


def row(class_name: str, run: int | None, session: str | None) -> RunRule:
    return RunRule(
        dataset="d", task="t", run=run, session=session, class_name=class_name, source="s"
    )


selectors = st.tuples(st.sampled_from([None, 0, 1, 2, 10]), st.sampled_from([None, "", "1", "01"]))
keys = st.builds(
    RunKey,
    dataset=st.sampled_from(["d", "dd"]),
    subject=st.just("1"),
    session=st.sampled_from(["", "1", "01"]),
    task=st.sampled_from(["t", "tt"]),
    run=st.sampled_from(["", "0", "1", "01", "2", "10"]),
)


@given(selectors, selectors, keys)
def test_rules_that_cover_one_run_overlap(
    left: tuple[int | None, str | None], right: tuple[int | None, str | None], key: RunKey
) -> None:
    one, two = row("a", *left), row("b", *right)
    if one.covers(key) and two.covers(key):
        assert one.overlaps(two)
        assert two.overlaps(one)


@given(keys)
def test_pairs_part_subject_task_and_session_but_not_runs(key: RunKey) -> None:
    target = Target(
        name="t", classes=("a", "b"), paired=True, rules=(row("a", 1, None), row("b", 2, None))
    )
    pair = target.pair_of(key)
    assert pair.startswith(f"{key.group}/{key.task}")
    assert pair.endswith(f"/ses-{key.session}") == bool(key.session)
    twin = RunKey(
        dataset=key.dataset, subject="1", session=key.session, task=key.task, run=key.run + "1"
    )
    assert target.pair_of(twin) == pair


def test_an_unpaired_target_has_no_pairs(tmp_path: Path) -> None:
    target = read_target(written(tmp_path, RUNS))
    assert target.pair_of(RunKey(dataset="dsA", subject="1", task="rest", run="1")) == ""


def test_a_target_survives_the_way_through_json(tmp_path: Path) -> None:
    for text in (RUNS, HAXBY):
        target = read_target(written(tmp_path, text))
        assert Target.model_validate_json(target.model_dump_json()) == target
