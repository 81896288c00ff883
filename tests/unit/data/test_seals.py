"""Who is sealed: whole people, drawn from each data set, and never on two sides."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.data.seals import Seal, draw_seal, seal_from_json
from spectrum.entities import RunKey
from spectrum.errors import ConfigError, LeakageError, SearchError


def key(dataset: str, subject: str, run: str = "1") -> RunKey:
    return RunKey(dataset=dataset, subject=subject, task="learn", run=run)


def digests_of(sizes: dict[str, int]) -> dict[RunKey, str]:
    """Two runs a subject, each with an image of its own."""
    return {
        key(dataset, f"{s:02d}", run): f"{dataset}-{s}-{run}"
        for dataset, size in sizes.items()
        for s in range(size)
        for run in ("1", "2")
    }


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.floats(0.01, 0.99),
    st.integers(0, 50),
)
def test_a_fraction_leaves_and_takes_someone_of_each_data_set(
    sizes: list[int], fraction: float, seed: int
) -> None:
    named = {f"ds{i}": size for i, size in enumerate(sizes)}
    digests = digests_of(named)
    if max(sizes) == 1:
        with pytest.raises(ConfigError, match="seals no one"):
            draw_seal(digests, fraction, seed=seed)
        return
    seal = draw_seal(digests, fraction, seed=seed)
    assert seal == draw_seal(digests, fraction, seed=seed)
    for dataset, size in named.items():
        taken = sum(group.startswith(f"{dataset}/") for group in seal.groups)
        assert taken == min(max(round(fraction * size), 1), size - 1)
    covered = [k for k in digests if seal.covers(k)]
    assert {k.group for k in covered} == set(seal.groups)
    assert len(covered) == 2 * len(seal.groups)


def test_other_seeds_seal_others() -> None:
    digests = digests_of({"a": 9, "b": 7})
    drawn = {draw_seal(digests, 0.3, seed=seed).groups for seed in range(8)}
    assert len(drawn) > 4


@pytest.mark.parametrize("seed", range(12))
def test_a_person_with_two_names_is_sealed_under_both_or_none(seed: int) -> None:
    digests = digests_of({"a": 4, "b": 3})
    digests[key("b", "01")] = digests[key("a", "02")]
    groups = set(draw_seal(digests, 0.4, seed=seed).groups)
    assert ("a/sub-02" in groups) == ("b/sub-01" in groups)


def test_only_those_who_can_be_scored_are_drawn() -> None:
    seal = draw_seal(digests_of({"a": 6}), 0.5, seed=0, eligible=["a/sub-03", "a/sub-05"])
    assert set(seal.groups) < {"a/sub-03", "a/sub-05"}


def test_a_data_set_is_sealed_with_whoever_joins_it() -> None:
    seal = draw_seal(digests_of({"a": 2, "b": 3}), ("b",), seed=0)
    assert seal.groups == ("b/sub-00", "b/sub-01", "b/sub-02")
    assert seal.covers(key("b", "99"))
    assert not seal.covers(key("a", "00"))
    assert seal.told == "b (3 subjects)"


def test_a_data_set_that_is_not_there_and_all_data_sets_are_refused() -> None:
    digests = digests_of({"ds000011": 2, "ds000052": 2})
    with pytest.raises(ConfigError, match="nearest is ds000052"):
        draw_seal(digests, ("ds000053",), seed=0)
    with pytest.raises(ConfigError, match="none is left"):
        draw_seal(digests, ("ds000011", "ds000052"), seed=0)


def test_an_image_in_a_sealed_and_an_open_data_set_is_leakage() -> None:
    digests = digests_of({"a": 3, "b": 2})
    digests[key("b", "01", "2")] = digests[key("a", "02", "1")]
    with pytest.raises(LeakageError, match=r"a/sub-02_task-learn_run-1.* has the image of b/sub"):
        draw_seal(digests, ("b",), seed=0)


def test_runs_that_are_sealed_or_have_a_sealed_image_are_leakage() -> None:
    digests = digests_of({"a": 3, "b": 2})
    seal = draw_seal(digests, ("b",), seed=0)

    def run(key: RunKey, voxels: str) -> SimpleNamespace:
        return SimpleNamespace(key=key, voxels_sha256=voxels)

    seal.check([run(k, d) for k, d in digests.items() if k.dataset == "a"])  # type: ignore[misc]
    with pytest.raises(LeakageError, match="b/sub-00_task-learn_run-1 is sealed"):
        seal.check([run(key("b", "00"), "x")])  # type: ignore[list-item]
    with pytest.raises(LeakageError, match=r"a/sub-00.* has the image of b/sub-01"):
        seal.check([run(key("a", "00"), digests[key("b", "01")])])  # type: ignore[list-item]


def test_a_sealed_image_that_was_not_read_is_known_by_digests_that_come_later() -> None:
    digests = digests_of({"a": 2, "b": 2})
    seal = draw_seal({k: "" for k in digests}, ("b",), seed=0)
    assert len(seal.unread) == 4
    seal.check_images(digests)
    digests[key("a", "01")] = digests[key("b", "00")]
    with pytest.raises(LeakageError, match="a/sub-01"):
        seal.check_images(digests)


@pytest.mark.parametrize("asked", [0.25, ("b",)])
def test_a_seal_reads_back_and_a_changed_one_is_refused(asked: float | tuple[str, ...]) -> None:
    digests = digests_of({"a": 5, "b": 4})
    seal: Seal = draw_seal(digests, asked, seed=3)
    told = json.loads(json.dumps(seal.to_json()))
    assert seal_from_json(told) == seal
    told["groups"] = told["groups"][1:]
    with pytest.raises(SearchError, match="changed"):
        seal_from_json(told)
