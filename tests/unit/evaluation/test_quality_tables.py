from __future__ import annotations

from pathlib import Path

import pytest

from spectrum.entities import RunKey
from spectrum.errors import ConfigError, SidecarError
from spectrum.evaluation.tables import read_quality_table
from tests.unit.data.fake_shards import key

KEYS = [key(dataset="ds1", run="01"), key(dataset="ds1", run="02"), key(dataset="ds2", run="01")]


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line.replace(" ", "\t") + "\n" for line in lines), encoding="utf-8")
    return path


def test_columns_of_mriqc_become_our_numbers_and_the_others_are_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "ds1" / "group_bold.tsv",
        "bids_name dvars_nstd gsr_y size_t snr tsrn",
        "sub-01_task-learn_run-01_bold 12.5 0.25 180 4 9",
        "sub-01_task-learn_run-02_bold n/a 0.5 181 4 9",
        "sub-77_task-learn_run-01_bold 1 1 1 1 1",
    )
    table = read_quality_table(path, KEYS)
    assert table.numbers[KEYS[0]] == {"dvars_mean": 12.5, "gsr": 0.25, "num_volumes": 180.0}
    assert table.numbers[KEYS[1]]["dvars_mean"] is None
    assert table.unused_columns == ("snr", "tsrn")
    assert table.unmatched_rows == ("sub-77_task-learn_run-01_bold",)
    assert "1 rows are no run here: sub-77" in table.unmatched_note


@pytest.mark.parametrize(
    ("folder", "column", "value", "dataset"),
    [("ds2", "", "", "ds2"), ("ds2-mriqc", "", "", "ds2"), ("x", " dataset", " ds2", "ds2")],
)
def test_the_data_set_of_a_row_is_its_column_or_the_folder_of_the_table(
    tmp_path: Path, folder: str, column: str, value: str, dataset: str
) -> None:
    path = write(
        tmp_path / folder / "t.tsv",
        f"path tsnr{column}",
        f"sub-01/func/sub-01_task-learn_run-01_bold.nii.gz 5{value}",
    )
    assert [k.dataset for k in read_quality_table(path, KEYS).numbers] == [dataset]


def test_a_name_that_two_data_sets_have_is_not_guessed_at(tmp_path: Path) -> None:
    path = write(tmp_path / "t.tsv", "path tsnr", "sub-01_task-learn_run-01_bold.nii.gz 5")
    with pytest.raises(SidecarError, match=r"ds1, ds2 all have one.*--quality <data set>=<file>"):
        read_quality_table(path, KEYS)
    assert list(read_quality_table(path, KEYS, dataset="ds2").numbers) == [KEYS[2]]
    with pytest.raises(ConfigError, match="names no data set here"):
        read_quality_table(path, KEYS, dataset="ds3")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["image tsnr", "sub-01_task-learn_run-01_bold 5"], "no column that names the image"),
        (["path quality", "sub-01_task-learn_run-01_bold 5"], "no number that is known here"),
        (["path nt size_t", "sub-01_task-learn_run-01_bold 5 5"], "which are one number"),
        (["path tsnr tsnr", "sub-01_task-learn_run-01_bold 5 5"], "two columns 'tsnr'"),
        (["path tsnr", "sub-01_task-learn_run-01_bold high"], "'high' in the column tsnr"),
        (["path tsnr", "sub-01_task-learn_run-01_bold"], "not so in line 2"),
        (["path tsnr", *["sub-01_task-learn_run-01_bold 5"] * 2], "two rows of ds1/sub-01"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused_with_a_sentence(
    tmp_path: Path, lines: list[str], said: str
) -> None:
    with pytest.raises(SidecarError, match=said):
        read_quality_table(write(tmp_path / "ds1" / "t.tsv", *lines), KEYS)


def test_a_number_that_is_not_finite_is_unknown(tmp_path: Path) -> None:
    path = write(tmp_path / "ds1" / "t.tsv", "path tsnr", "sub-01_task-learn_run-01_bold inf")
    assert read_quality_table(path, KEYS).numbers[KEYS[0]] == {"tsnr": None}


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SidecarError, match=r"absent\.tsv cannot be read"):
        read_quality_table(tmp_path / "absent.tsv", list[RunKey]())


@pytest.mark.parametrize("column", ["md5", "sha256", "image_sha256"])
def test_digests_that_are_not_known_are_not_equal(tmp_path: Path, column: str) -> None:
    path = write(
        tmp_path / "ds1" / "t.tsv",
        f"path tsnr {column}",
        "sub-01_task-learn_run-01_bold 5 n/a",
        "sub-01_task-learn_run-02_bold 5 N/A",
    )
    assert read_quality_table(path, KEYS).digests == {}
    path = write(
        tmp_path / "ds1" / "t.tsv",
        f"path tsnr {column}",
        "sub-01_task-learn_run-01_bold 5 0AFF",
        "sub-01_task-learn_run-02_bold 5 nan",
    )
    assert read_quality_table(path, KEYS).digests == {KEYS[0]: "0aff"}
