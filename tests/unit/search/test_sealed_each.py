"""Several sealed studies as one: who belongs together, and one score over all people."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spectrum.errors import ConfigError, SearchError
from spectrum.evaluation.sealed_score import power_of_predictions, score_sealed
from spectrum.records import Prediction
from spectrum.search.json_lines import append_line, write_json
from spectrum.search.openings import Openings
from spectrum.search.sealed_each import SealedEach, plan_each, read_each, unseal_each, write_each
from spectrum.search.sealing import OPENINGS_NAME, UNSEALED_NAME
from tests.tiny_bids import TASK
from tests.unit.data.fake_shards import paired_units
from tests.unit.evaluation.answers import CLASSES, late_answer
from tests.unit.search.fakes import small_space

RUNS = {(f"0{s}", TASK, f"0{r}"): 11 + s for s in (1, 2) for r in (1, 2)}
SIZES = {"ds000002": 7, "ds000011": 2, "ds000017": 5}


def test_each_data_set_with_pairs_is_sealed_in_a_study_of_its_own(
    tmp_path: Path, tiny_bids: Callable[..., Path]
) -> None:
    learnt = {(s, "probabilisticclassification", r): n for (s, _, r), n in RUNS.items()}
    unlabelled = {(s, "rest", r): n for (s, _, r), n in RUNS.items()}
    roots = [
        tiny_bids("ds000002", RUNS),
        tiny_bids("ds000017", learnt),
        tiny_bids("ds000052", unlabelled),
    ]
    folder, space = tmp_path / "studies/joint", small_space(sealed="each")
    group = plan_each(folder, space, roots)
    assert dict(group.study_of) == {"ds000002": "joint-ds000002", "ds000017": "joint-ds000017"}
    assert group.space_of("ds000017", space).study.sealed == ("ds000017",)
    assert read_each(folder) is None
    write_each(group)
    assert read_each(folder) == plan_each(folder, space, roots) == group
    with pytest.raises(ConfigError, match="Give several"):
        plan_each(tmp_path / "studies/other", space, roots[:1])
    weather = {(s, "weatherprediction", r): n for (s, _, r), n in RUNS.items()}
    more = [*roots[:2], tiny_bids("more/ds000052", weather)]
    with pytest.raises(SearchError, match="and now there are ds000002, ds000017, ds000052"):
        plan_each(folder, space, more)


def opened_group(tmp_path: Path, *, gap: float = 9.0) -> SealedEach:
    """Studies that were all opened, each with the answers of its model and of a floor."""
    rng = np.random.default_rng(3)
    group = SealedEach(path=tmp_path / "joint", study_of={name: f"joint-{name}" for name in SIZES})
    for name, size in SIZES.items():
        units = paired_units({name: [f"{i:02}" for i in range(size)]})
        told = [late_answer(u, gap * (u.class_index - 0.5) + rng.normal()) for u in units]
        floor = [late_answer(u, rng.normal()) for u in units]
        study = group.study(name)
        write_json(study / "predictions.json", [asdict(p) for p in told])
        write_json(study / "floor_predictions.json", [asdict(p) for p in floor])
        opening = {
            "look": 1,
            "opened": "2026-02-03T04:05:06+00:00",
            "again": False,
            "data": "d",
            "trial": size,
            "config": {"target": "early_late"},
            "num_trials": 4,
            "num_reruns": 2,
        }
        append_line(study / OPENINGS_NAME, opening)
        append_line(study / UNSEALED_NAME, {**opening, **_found(told, floor, name)})
    return group


def _found(told: list[Prediction], floor: list[Prediction], name: str) -> dict[str, Any]:
    scored = score_sealed(
        told,
        floor,
        classes=CLASSES,
        paired=True,
        power=power_of_predictions(told, classes=CLASSES, paired=True),
    )
    return {
        **scored.to_json(),
        "sealed": sorted({p.group for p in told}),
        "classes": list(CLASSES),
        "predictions": "predictions.json",
        "floor_predictions": "floor_predictions.json",
    }


def test_all_people_are_scored_together_once(tmp_path: Path) -> None:
    group = opened_group(tmp_path)
    line = unseal_each(group, [], shards_root=tmp_path / "shards")
    assert line["num_subjects"] == sum(SIZES.values()) == len(line["sealed"])
    assert line["score"]["value"] == pytest.approx(
        np.average(
            [told["score"] for told in line["studies"].values()],
            weights=[SIZES[name] for name in line["studies"]],
        )
    )
    assert (line["num_trials"], line["num_reruns"], line["look"]) == (12, 6, 1)
    assert line["p"] < min(told["p"] for told in line["studies"].values())
    assert line["finding"]["is_positive"]
    assert "14 sealed subjects: p < 0.05 takes" in line["power"]["told"]
    assert "2 sealed subjects are too few" in line["studies"]["ds000011"]["power"]
    with pytest.raises(SearchError, match="The seals were opened on"):
        unseal_each(group, [], shards_root=tmp_path / "shards")


def test_two_processes_do_not_open_the_seals_at_once(tmp_path: Path) -> None:
    group = opened_group(tmp_path)
    lock = tmp_path / ".joint.each.lock"
    hold = (
        "import sys; from pathlib import Path; from spectrum.search.locks import lock_held\n"
        "with lock_held(Path(sys.argv[1]), taken='', remedy=''):\n"
        "    print('held', flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SearchError, match=rf"opens the seals .*process {other.pid} .*Wait"):
            unseal_each(group, [], shards_root=tmp_path / "shards")
        assert not group.found.exists()
        other.stdin.write("\n")
    assert unseal_each(group, [], shards_root=tmp_path / "shards")["look"] == 1


def test_none_is_opened_before_all_are_over(tmp_path: Path) -> None:
    group = opened_group(tmp_path)
    for name in (OPENINGS_NAME, UNSEALED_NAME):
        (group.study("ds000017") / name).unlink()
    with pytest.raises(SearchError, match=r"joint-ds000017 holds no study"):
        unseal_each(group, [], shards_root=tmp_path / "shards")
    append_line(group.found, {"look": 1, "opened": "before"})
    with pytest.raises(SearchError, match=r"joint-ds000002 holds no study"):
        unseal_each(group, [], shards_root=tmp_path / "shards", again=True)
    assert [len(Openings(group.study(name)).openings) for name in SIZES] == [1, 1, 0]
