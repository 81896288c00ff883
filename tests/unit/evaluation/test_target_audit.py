from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectrum.config import FoldsConfig
from spectrum.errors import ConfigError, SidecarError
from spectrum.evaluation.masks import mask_numbers
from spectrum.evaluation.power import measure_power
from spectrum.evaluation.sources import Source, TableRun, TableRuns, open_source
from spectrum.evaluation.target_audit import TargetAudit, audit_target
from spectrum.targets import RunRule, Target
from tests.unit.data.fake_shards import FakeShards, paired_units, table_of
from tests.unit.evaluation.planted import PAIRED, SEEN, event_shards, paired_shards
from tests.unit.evaluation.test_audit import LODO, LOSO, cut


def source_of(shards: FakeShards, **changes: dict[str, Any]) -> Source:
    runs = tuple(
        TableRun(
            key=run.key,
            num_volumes=run.num_volumes,
            tr_s=run.tr_s,
            quality=run.quality,
            events=run.events,
            **changes.get(str(run.key), {}),
        )
        for run in shards.runs
    )
    return Source(runs=TableRuns(runs=runs), shards=None, notes=())


def audit_of(
    source: Source, target: Target = PAIRED, scheme: str = LODO, num_simulations: int = 12
) -> TargetAudit:
    folds = FoldsConfig.model_validate({"scheme": scheme})
    return audit_target(source, target, folds, num_simulations=num_simulations)


def test_a_leak_in_the_air_is_told_in_the_verdict_with_its_direction_in_pairs() -> None:
    audit = audit_of(source_of(paired_shards(leak=5.0)))
    assert audit.verdict.startswith(
        "`early_late`, leave-one-dataset-out: interpretable only above"
    )
    assert "run number defines the target" in audit.verdict
    assert audit.directions["bg_mean"].share_higher > 0.9
    assert audit.directions["bg_mean"].num_pairs == 21
    assert audit.directions["fd_mean"].num_pairs == 15, "data set b has none"
    assert "fg_mean" in audit.missing


def test_without_a_leak_the_verdict_is_that_a_score_can_be_read() -> None:
    audit = audit_of(source_of(paired_shards(leak=0.0)))
    assert ": interpretable: the floor" in audit.verdict


def test_a_class_that_goes_with_the_data_set_makes_a_target_not_interpretable() -> None:
    rules = tuple(
        RunRule(dataset=name, task="learn", run=run, class_name=which, source="planted")
        for name, classes in (("a", "xx"), ("b", "xy"), ("c", "yy"))
        for run, which in zip((1, 2), classes, strict=True)
    )
    target = Target(name="site", classes=("x", "y"), rules=rules)
    audit = audit_of(source_of(paired_shards(leak=0.0)), target, "grouped-k-fold")
    assert "not interpretable: data set alone scores" in audit.verdict
    assert audit.design["dataset"].value > 0.75
    assert not audit.floor.design["dataset"].defines_target


def test_an_image_under_two_names_on_both_sides_of_a_fold_is_found() -> None:
    shards = paired_shards(leak=0.0)
    names = [str(run.key) for run in shards.runs if run.key.subject == "00"][::2]
    same = {name: {"image_sha256": "same"} for name in names[:2]}
    audit = audit_of(source_of(shards, **same))
    (copy,) = audit.copies
    assert copy.runs == tuple(names[:2])
    assert copy.folds == ("a", "b")
    assert "not interpretable: 1 image(s) stand on both sides" in audit.verdict


def test_runs_whose_numbers_agree_to_the_last_digit_are_taken_for_one_image() -> None:
    shards = paired_shards(leak=0.0)
    more = {"efc": 0.5, "gsr": 0.1, "fd_mean": 0.2}
    runs = [replace(r, quality={**r.quality, **more}) for r in shards.runs]
    runs[9] = replace(runs[9], quality=dict(runs[0].quality))
    audit = audit_of(source_of(FakeShards(runs=tuple(runs))))
    assert [copy.runs for copy in audit.copies] == [(str(runs[0].key), str(runs[9].key))]
    assert audit.copies[0].why == "all numbers equal"


def test_the_json_has_the_keys_that_scripts_rely_on() -> None:
    told = json.loads(
        json.dumps(audit_of(source_of(paired_shards(leak=1.0))).to_json(), allow_nan=False)
    )
    assert set(told) >= {
        "target",
        "scheme",
        "design",
        "acquisition",
        "floor",
        "majority",
        "chance",
        "verdict",
        "duplicates",
        "power",
    }
    assert set(told["design"]["run"]) >= {"score", "defines_target"}
    assert set(told["acquisition"]["bg_mean"]) >= {"score", "ci95"}
    assert set(told["power"]) == {"all", "a", "b", "c"}


def test_events_without_shards_have_no_numbers_of_their_own() -> None:
    audit = audit_of(source_of(event_shards(leak=3.0)), SEEN, LOSO, num_simulations=3)
    assert not audit.floor.response
    assert not any(name.startswith("event_") for name in audit.floor.predictors)


def test_more_subjects_show_smaller_effects() -> None:
    smallest = []
    for count in (6, 24):
        names = [f"{i:02}" for i in range(count)]
        table = table_of(paired_units({"a": names}))
        _, folds = cut(paired_shards(leak=0.0), PAIRED, LOSO)
        whole = replace(folds[0], validation=tuple(range(2 * count)))
        power = measure_power(table, [whole], paired=True, num_simulations=60)
        assert power.num_subjects == power.num_units == count
        smallest.append(power.smallest)
    assert smallest[0] is not None
    assert smallest[1] is not None
    assert 0.5 < smallest[1] < smallest[0] <= 1.0


def test_three_subjects_can_show_nothing() -> None:
    table = table_of(paired_units({"a": ["01", "02", "03"]}))
    _, folds = cut(paired_shards(leak=0.0), PAIRED, LOSO)
    whole = replace(folds[0], validation=tuple(range(6)))
    power = measure_power(table, [whole], paired=True, num_simulations=5)
    assert (power.smallest, power.needed) == (None, None)


def test_a_mask_is_measured_where_the_recipe_has_one() -> None:
    slices = np.ones((3, 4, 6, 7), dtype=np.float16)
    assert mask_numbers(slices) == {}
    slices[:, :, :, 4:] = 0
    numbers = mask_numbers(slices)
    assert numbers["mask_voxels"] == 4 * 6 * 4
    assert numbers["mask_centre_W"] == 1.5
    assert 0 < numbers["mask_surface"] < 1


def test_headers_alone_give_geometry_and_length(tiny_bids: Any) -> None:
    source = open_source([tiny_bids()])
    first = source.runs.manifest.runs[0]
    assert first.quality["num_slices"] == 9
    assert first.quality["num_volumes"] == 11
    assert "bg_mean" in source.missing
    assert "num_slices" not in source.missing


def test_a_table_adds_to_headers_and_runs_without_a_row_are_named(
    tiny_bids: Any, tmp_path: Path
) -> None:
    root = tiny_bids()
    name = "sub-01_task-deterministicclassification_run-01_bold"
    (tmp_path / "t.tsv").write_text(f"bids_name\ttsnr\n{name}\t55.5\n")
    source = open_source([root], quality=[f"ds000002={tmp_path / 't.tsv'}"])
    assert source.runs.manifest.runs[0].quality["tsnr"] == 55.5
    assert any("3 runs have no row in any table" in note for note in source.notes)


def test_tables_that_contradict_each_other_are_refused(tiny_bids: Any, tmp_path: Path) -> None:
    name = "sub-01_task-deterministicclassification_run-01_bold"
    for number in (1, 2):
        (tmp_path / f"{number}.tsv").write_text(f"path\ttsnr\n{name}\t{number}\n")
    with pytest.raises(SidecarError, match="tsnr 2 for ds000002/sub-01"):
        open_source([tiny_bids()], quality=[str(tmp_path / f"{n}.tsv") for n in (1, 2)])


def test_a_table_beside_a_shard_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ConfigError, match="whose numbers were measured on the images"):
        open_source([tmp_path], quality=["t.tsv"])
