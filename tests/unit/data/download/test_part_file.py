"""A file that is not whole yet: what a crash, a torn line or a foreign byte leaves of it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum.data.download.bucket import Extent, ObjectState
from spectrum.data.download.part_file import PartFile, missing_extents, state_name

STATE = ObjectState(num_bytes=100, etag='"e"', version_id="v")
PATH = "sub-01/func/sub-01_task-a_bold.nii.gz"


def _write(
    folder: Path, extents: Iterable[tuple[int, int]], *, state: ObjectState = STATE
) -> None:
    part = PartFile.open(folder, PATH, state)
    for start, stop in extents:
        data = bytes(range(start, stop))
        part.write(start, data)
        part.note(Extent(start, stop), zlib.crc32(data), flush=False)
    part.close()


def _arrived(folder: Path, *, state: ObjectState = STATE) -> tuple[Extent, ...]:
    part = PartFile.open(folder, PATH, state)
    part.close()
    return part.arrived


extents_of_100 = st.lists(
    st.tuples(st.integers(0, 99), st.integers(1, 100)).map(
        lambda t: Extent(t[0], min(100, t[0] + t[1]))
    ),
    max_size=8,
)


@given(extents_of_100, st.integers(1, 120))
def test_missing_and_arrived_bytes_make_up_the_file(
    arrived: list[Extent], part_bytes: int
) -> None:
    missing = missing_extents(arrived, num_bytes=100, part_bytes=part_bytes)
    there = {n for extent in arrived for n in range(extent.start, extent.stop)}
    absent = [n for extent in missing for n in range(extent.start, extent.stop)]
    assert sorted(absent) == sorted(set(range(100)) - there)
    for extent in missing:
        assert extent.start < extent.stop
        assert extent.start // part_bytes == (extent.stop - 1) // part_bytes


def test_what_was_noted_is_there_after_a_restart(tmp_path: Path) -> None:
    _write(tmp_path, [(0, 10), (50, 70)])
    _write(tmp_path, [(10, 20)])
    assert sorted(_arrived(tmp_path)) == [Extent(0, 10), Extent(10, 20), Extent(50, 70)]


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, 400))
def test_a_journal_that_is_torn_anywhere_claims_nothing_that_is_not_there(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    _write(folder, [(0, 10), (50, 70), (70, 90)])
    journal = folder / f"{state_name(PATH)}.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:cut])
    arrived = _arrived(folder)
    assert list(arrived) == [Extent(0, 10), Extent(50, 70), Extent(70, 90)][: len(arrived)]
    assert len(arrived) == max(0, whole[:cut].count(b"\n") - 1)
    _write(folder, [(20, 30)])
    assert Extent(20, 30) in _arrived(folder)


@pytest.mark.parametrize("at", [0, 9, 55, 69])
def test_bytes_that_never_reached_the_disk_are_fetched_again(tmp_path: Path, at: int) -> None:
    _write(tmp_path, [(0, 10), (50, 70)])
    part = tmp_path / f"{state_name(PATH)}.part"
    data = bytearray(part.read_bytes())
    data[at] ^= 1
    part.write_bytes(data)
    kept = Extent(50, 70) if at < 10 else Extent(0, 10)
    assert _arrived(tmp_path) == (kept,)


@pytest.mark.parametrize("num_bytes", [0, 5, 60])
def test_a_part_that_is_shorter_than_its_journal_says_is_not_believed(
    tmp_path: Path, num_bytes: int
) -> None:
    _write(tmp_path, [(0, 10), (50, 70)])
    os.truncate(tmp_path / f"{state_name(PATH)}.part", num_bytes)
    assert _arrived(tmp_path) == ((Extent(0, 10),) if num_bytes >= 10 else ())


@pytest.mark.parametrize(
    "state",
    [
        ObjectState(num_bytes=100, etag='"e"', version_id="w"),
        ObjectState(num_bytes=100, etag='"f"', version_id="v"),
        ObjectState(num_bytes=101, etag='"e"', version_id="v"),
    ],
)
def test_bytes_of_an_object_in_another_state_are_dropped(
    tmp_path: Path, state: ObjectState
) -> None:
    _write(tmp_path, [(0, 10)])
    assert _arrived(tmp_path, state=state) == ()


def test_nothing_in_the_state_folder_looks_like_an_image(tmp_path: Path) -> None:
    _write(tmp_path, [(0, 10)])
    for path in tmp_path.iterdir():
        assert "_" not in path.name
        assert "nii" not in path.name


def test_a_link_in_place_of_a_part_is_not_written_through(tmp_path: Path) -> None:
    from spectrum.errors import DownloadError

    target = tmp_path / "target"
    target.write_bytes(b"mine")
    (tmp_path / f"{state_name(PATH)}.part").symlink_to(target)
    with pytest.raises(DownloadError):
        PartFile.open(tmp_path, PATH, STATE)
    assert target.read_bytes() == b"mine"
