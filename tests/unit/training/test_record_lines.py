from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spectrum.records import EpochRecord, ScoreRecord, TrialEpochRecord
from spectrum.training.record_lines import FollowedRecords, append_record

SCORE = ScoreRecord(
    value=0.75, ci95=(0.5, 1.0), chance=0.5, p=0.25, num_units=4, num_groups=2, test="sign-flip"
)
EPOCH = EpochRecord(
    fold="first",
    epoch=0,
    training_loss=0.7,
    training_accuracy=0.5,
    validation_loss=0.8,
    validation_accuracy=0.25,
    lr=0.001,
    num_sequences=7,
    metrics={"gradient_norm": 1.5},
)
RECORDS = [
    TrialEpochRecord(epoch=index, score=SCORE, folds=(EPOCH,), finished=index == 2)
    for index in range(3)
]


def test_records_arrive_once_in_order_while_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, RECORDS[0])
    seen: list[TrialEpochRecord] = []
    with FollowedRecords(path, seen.append):
        for record in RECORDS[1:]:
            append_record(path, record)
    assert seen == RECORDS


def test_a_line_without_its_end_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, replace(RECORDS[0]))
    with path.open("a") as lines:
        lines.write('{"epoch": 1, ')
    seen: list[TrialEpochRecord] = []
    with FollowedRecords(path, seen.append):
        pass
    assert seen == RECORDS[:1]
