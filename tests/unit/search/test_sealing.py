"""The seal of a study: drawn with the seed, written once, kept from all that a search reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectrum.errors import ConfigError, LeakageError, SearchError
from spectrum.search.folder import StudyFolder
from spectrum.search.images import IMAGES_NAME
from spectrum.search.json_lines import append_line
from spectrum.search.manifest import build_manifest, refuse_change
from spectrum.search.sealing import (
    OPENINGS_NAME,
    SEALED_NAME,
    UNSEALED_NAME,
    begin_seal,
    check_unseen,
    index_unsealed,
    plan_seal,
    read_seal,
    seal_notes,
    told_seal,
)
from spectrum.search.settings import StudySettings
from tests.tiny_bids import TASK
from tests.unit.search.fakes import small_space

RUNS = {(f"0{s}", TASK, f"0{r}"): 11 + s for s in (1, 2, 3, 4) for r in (1, 2)}


def test_the_setting_is_a_fraction_or_names() -> None:
    assert StudySettings.model_validate({"sealed": "0.25"}).sealed == 0.25
    assert StudySettings.model_validate({"sealed": ["0.5"]}).sealed == 0.5
    assert StudySettings.model_validate({"sealed": "ds000052"}).sealed == ("ds000052",)
    assert StudySettings.model_validate({"sealed": ["a", "b"]}).sealed == ("a", "b")
    for wrong in (0.0, 1.0, 7, "1.5", []):
        with pytest.raises(ValueError, match="give one"):
            StudySettings.model_validate({"sealed": wrong})


def test_sealed_people_are_in_no_table_and_damaged_images_are_told(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    root = tiny_bids(runs=RUNS)
    space = small_space(sealed=0.25, seed=4)
    planned = plan_seal(space, [root])
    assert planned is not None
    (group,) = planned.groups
    damaged = next((root / group.split("/")[1] / "func").glob("*run-02_bold.nii.gz"))
    damaged.write_bytes(b"no image")
    seal = begin_seal(space, [root], tmp_path / "shards")
    assert seal is not None
    assert seal.groups == planned.groups
    assert [name.split("/")[1].split("_")[0] for name in seal.voxels] == [group.split("/")[1]]
    assert len(seal.unread) == 1
    table = index_unsealed([root], space.default_config.data, seal)
    assert len(table.runs) == 6
    assert group not in {run.key.group for run in table.runs}
    assert begin_seal(small_space(), [root], tmp_path / "shards") is None


def test_only_whole_pairs_count_for_a_fraction(tiny_bids: Callable[..., Path]) -> None:
    runs = {k: v for k, v in RUNS.items() if k[0] in ("01", "02") or k[2] == "01"}
    root = tiny_bids(runs=runs)
    for seed in range(6):
        seal = plan_seal(small_space(sealed=0.5, seed=seed), [root])
        assert seal is not None
        assert set(seal.groups) < {"ds000002/sub-01", "ds000002/sub-02"}


def test_a_copy_across_the_seal_is_leakage_and_names_that_are_not_there_are_told(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    roots = [tiny_bids("ds000002"), tiny_bids("ds000011")]  # the same images, by their names
    with pytest.raises(LeakageError, match="which is sealed"):
        begin_seal(small_space(sealed="ds000011"), roots, tmp_path / "shards")
    with pytest.raises(ConfigError, match="nearest is ds000011"):
        begin_seal(small_space(sealed="ds000012"), roots, tmp_path / "shards")


def study_with(tmp_path: Path, root: Path, **study: Any) -> StudyFolder:
    space = small_space(sealed=0.25, **study)
    seal = begin_seal(space, [root], tmp_path / "shards")
    assert seal is not None
    folder = StudyFolder(tmp_path / "studies/one")
    folder.write(SEALED_NAME, seal.to_json())
    keys = [str(run.key) for run in index_unsealed([root], space.default_config.data, seal).runs]
    manifest = build_manifest(
        space,
        name="one",
        data={"runs": dict.fromkeys(keys, "0")},
        files=folder.digests_of(SEALED_NAME),
    )
    folder.write_manifest(manifest)
    return folder


def test_a_changed_seal_and_another_seal_are_refused(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    folder = study_with(tmp_path, tiny_bids(runs=RUNS))
    seal = read_seal(folder.path)
    assert seal is not None
    assert folder.read_manifest()["space"]["study"]["sealed"] == 0.25
    refuse_change(folder.read_manifest(), small_space(sealed=0.25), None)
    for other in (None, 0.5, "ds000002"):
        with pytest.raises(SearchError, match=r"study\.sealed was 0\.25"):
            refuse_change(folder.read_manifest(), small_space(sealed=other), None)
    told = json.loads((folder.path / SEALED_NAME).read_text())
    (folder.path / SEALED_NAME).write_text(json.dumps({**told, "groups": []}))
    with pytest.raises(SearchError, match="changed, damaged or removed"):
        read_seal(folder.path)


def test_no_study_is_begun_from_one_that_has_seen_the_sealed(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    root = tiny_bids(runs=RUNS)
    folder = study_with(tmp_path, root)
    check_unseen(read_seal(folder.path), [folder.path])
    check_unseen(None, [folder.path])
    others = [plan_seal(small_space(sealed=0.25, seed=seed), [root]) for seed in range(1, 9)]
    other = next(o for o in others if o and o.groups != read_seal(folder.path).groups)  # type: ignore[union-attr]
    with pytest.raises(LeakageError, match="has seen the answer"):
        check_unseen(other, [folder.path])


def test_a_sealed_person_whom_an_earlier_study_saw_under_another_name_is_known_by_the_image(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    seal = begin_seal(small_space(sealed=0.25), [tiny_bids(runs=RUNS)], tmp_path / "shards")
    assert seal is not None
    earlier = StudyFolder(tmp_path / "studies/earlier")
    images = {"ds000011/sub-77_task-rest_run-01": "0" * 64}
    for digest, is_refused in (("1" * 64, False), (next(iter(seal.voxels.values())), True)):
        images["ds000011/sub-78_task-rest_run-01"] = digest
        earlier.write(IMAGES_NAME, {name: {"voxels_sha256": d} for name, d in images.items()})
        manifest = build_manifest(
            small_space(),
            name="earlier",
            data={"runs": dict.fromkeys(images, "0")},
            files=earlier.digests_of(IMAGES_NAME),
        )
        earlier.write_manifest(manifest)
        if not is_refused:
            check_unseen(seal, [earlier.path])
            continue
        with pytest.raises(
            LeakageError, match=r"sub-78.* the image of ds000002/sub-.*sealed here"
        ):
            check_unseen(seal, [earlier.path])


def test_a_reader_is_told_who_is_sealed_and_what_was_found(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    folder = study_with(tmp_path, tiny_bids(runs=RUNS))
    told = told_seal(folder.path)
    assert told is not None
    assert told["sentence"] == "Sealed and not opened: 1 subject, 0.25 of each data set."
    assert seal_notes(folder.path) == ()
    for look in (1, 2):
        append_line(folder.path / OPENINGS_NAME, {"look": look})
    told = told_seal(folder.path)
    assert told is not None
    assert (told["opened"], told["looks"]) == (None, 2)
    assert "opened, but the opening was cut short" in told["sentence"]
    assert "no longer blind" in seal_notes(folder.path)[0]
    line = {
        "look": 2,
        "opened": "2026-02-03T04:05:06+00:00",
        "score": {"value": 0.71, "ci95": [0.6, 0.8]},
        "floor": {"value": 0.55},
        "p": 0.03,
        "p_corrected": 0.06,
    }
    append_line(folder.path / UNSEALED_NAME, line)
    told = told_seal(folder.path)
    assert told is not None
    assert "Opened on 2026-02-03: 0.710 [0.600, 0.800] beside a floor of 0.550" in told["sentence"]
    assert "p = 0.0600 at look 2 of 2" in told["sentence"]
