"""A machine that fails a study: a full or read-only disk, few open files, a clock that jumps."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest

from spectrum.config import TrialConfig
from spectrum.errors import SearchError
from spectrum.records import TrialEpochRecord
from spectrum.search.folder import StudyFolder
from spectrum.search.trials import TrialEnd, end_of
from tests.unit.search.fakes import PlantedObjective
from tests.unit.search.test_driver import lines_of, states_in_journal
from tests.unit.search.test_tune_adapters import search

CHECKOUT = Path(__file__).parents[2]
NUM_TRIALS = 12
DISK_BYTES = 2**20
FREE_PAGES = 12
"""Pages that are left of the disk: enough to begin, too few for all trials."""

FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


def drive(
    folder: Path,
    before: Callable[[], None] | None = None,
    *,
    num_trials: int = NUM_TRIALS,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run a study of planted trials, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "tests.unit.search.drive", str(folder), str(num_trials)],
        cwd=CHECKOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        preexec_fn=before,
        timeout=300,
    )


def check_each_trial_once(folder: Path) -> None:
    assert sorted(line["number"] for line in lines_of(folder)) == list(range(NUM_TRIALS))
    states = states_in_journal(folder / "optuna.journal")
    assert set(states.values()) <= {"COMPLETE", "PRUNED", "FAIL"}
    assert set(states) == set(range(NUM_TRIALS))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of one MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_study_whose_disk_is_full_stops_and_goes_on_once_there_is_room(disk: Path) -> None:
    filler = disk / "filler"
    filler.write_bytes(bytes(DISK_BYTES - FREE_PAGES * resource.getpagesize()))
    stopped = drive(disk / "s")
    assert stopped.returncode != 0
    assert "No space left on device" in stopped.stderr
    assert (disk / "s/trials.jsonl").read_bytes().count(b"\n") < NUM_TRIALS
    filler.unlink()
    done = drive(disk / "s")
    assert done.returncode == 0, done.stderr
    check_each_trial_once(disk / "s")


class WritingObjective(PlantedObjective):
    """Leaves some KiB on a disk after each epoch, as a trial leaves its state."""

    def __init__(self, disk: Path) -> None:
        super().__init__()
        self.disk = disk

    def __call__(
        self, number: int, config: TrialConfig, *, rank: int = 0
    ) -> Generator[TrialEpochRecord, None, TrialEnd]:
        epochs = super().__call__(number, config, rank=rank)
        while (record := next(epochs, None)) is not None and not record.finished:
            (self.disk / f"{number}.{record.epoch}").write_bytes(bytes(DISK_BYTES // 16))
            yield record
        assert record is not None
        yield record
        return end_of(epochs)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_trials_whose_disk_is_full_have_not_failed_and_go_on_once_there_is_room(
    disk: Path, tmp_path: Path
) -> None:
    objective = partial(WritingObjective, disk)
    with pytest.raises(SearchError, match=r"Trial \d+ could not write: .*No space left.*--resume"):
        search(tmp_path / "s", NUM_TRIALS, objective)
    num_done = len(lines_of(tmp_path / "s"))
    assert 0 < num_done < NUM_TRIALS
    subprocess.run(["mount", "-o", f"remount,size={8 * DISK_BYTES}", str(disk)], check=True)
    search(tmp_path / "s", NUM_TRIALS, objective)
    check_each_trial_once(tmp_path / "s")
    assert {line["state"] for line in lines_of(tmp_path / "s")} == {"complete"}


def test_a_folder_that_nobody_can_write_to_is_refused_before_anything_is_begun(
    disk: Path,
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(SearchError, match=r"cannot be written to: Read-only file system\. Give"):  # noqa: SIM117
        with StudyFolder(disk / "s").locked():
            pass


def test_a_study_ends_with_64_open_files(tmp_path: Path) -> None:
    done = drive(tmp_path / "s", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    assert done.returncode == 0, done.stderr
    check_each_trial_once(tmp_path / "s")


def test_a_clock_that_jumps_an_hour_changes_no_duration_and_no_trial(tmp_path: Path) -> None:
    library = next(Path("/").glob(FAKETIME.lstrip("/")), None)
    if library is None:
        pytest.skip("libfaketime is not installed; on Debian: apt-get install faketime")
    for part, offset in enumerate(("+0", "+1h", "-1h"), start=1):
        clock = {
            "LD_PRELOAD": str(library),
            "FAKETIME": offset,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        done = drive(tmp_path / "s", num_trials=part * NUM_TRIALS // 3, **clock)
        assert done.returncode == 0, done.stderr
    check_each_trial_once(tmp_path / "s")
    assert all(0.0 <= line["seconds"] < 60.0 for line in lines_of(tmp_path / "s"))
