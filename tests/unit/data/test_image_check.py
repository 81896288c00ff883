import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spectrum.data.bids import index_bids
from spectrum.data.image_check import Look, check_images
from spectrum.data.runs import RunTable
from tests.tiny_bids import TASK, write_run, write_tiny_bids

FUNC = "func/sub-{0}_task-" + TASK + "_run-{1}_bold.nii.gz"


def image(root: Path, subject: str, run: str) -> Path:
    return root / f"sub-{subject}" / FUNC.format(subject, run)


def refusals(table: RunTable) -> dict[str, str]:
    """Return the code of each refused run, by the end of its name."""
    return {
        f"{run.key.dataset}/{run.key.subject}/{run.key.run}": problem.code
        for run in table.runs
        for problem in run.problems
        if problem.refuses
    }


def test_whole_images_have_no_problem(tmp_path: Path) -> None:
    done = []
    table = index_bids([write_tiny_bids(tmp_path / "dsA")])
    checked = check_images(
        table, num_processes=2, on_run_done=lambda *numbers: done.append(numbers)
    )
    assert checked == table
    assert done == [(number, 4) for number in (1, 2, 3, 4)]


def test_a_damaged_image_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    root = write_tiny_bids(tmp_path / "dsA")
    path = image(root, "02", "01")
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 4
    path.write_bytes(packed)
    table = check_images(index_bids([root]), num_processes=1)
    assert refusals(table) == {"dsA/02/01": "bad-gzip"}
    assert [run.is_usable for run in table.runs] == [True, True, False, True]
    assert any(problem.code == "bad-gzip" for problem in table.problems)


def test_the_image_of_another_subject_is_found_and_the_two_are_one_person(tmp_path: Path) -> None:
    roots = [write_tiny_bids(tmp_path / name) for name in ("dsA", "dsB")]
    for subject in ("01", "02"):
        for run in ("01", "02"):
            write_run(roots[1], (subject, TASK, run), 12, seed=int(subject + run))
    shutil.copy(image(roots[0], "01", "01"), image(roots[1], "02", "01"))
    table = check_images(index_bids(roots), num_processes=1)
    assert refusals(table) == {"dsB/02/01": "duplicate-image"}
    [person] = [problem for problem in table.problems if problem.code == "same-person"]
    assert "dsA/sub-01, dsB/sub-02 share an image" in person.message


def test_one_image_under_two_runs_refuses_both(tmp_path: Path) -> None:
    root = write_tiny_bids(tmp_path / "dsA")
    shutil.copy(image(root, "01", "01"), image(root, "01", "02"))
    table = check_images(index_bids([root]), num_processes=1)
    assert refusals(table) == {"dsA/01/01": "duplicate-image", "dsA/01/02": "duplicate-image"}
    assert not any(problem.code == "same-person" for problem in table.problems)


def die_at_subject_2(paths: tuple[Path, ...]) -> Look:
    if "sub-02" in paths[0].name and "run-01" in paths[0].name:
        os.abort()
    return Look(digest=paths[0].name)


def test_an_image_that_ends_its_reader_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    table = index_bids([write_tiny_bids(tmp_path / "dsA")])
    checked = check_images(table, num_processes=2, reader=die_at_subject_2)
    assert refusals(checked) == {"dsA/02/01": "reader-died"}
    assert sum(run.is_usable for run in checked.runs) == 3


def die_at_two_of_twelve(paths: tuple[Path, ...]) -> Look:
    if "sub-03_" in paths[0].name or "sub-09_" in paths[0].name:
        os.abort()
    with (paths[0].parents[2] / "read.log").open("a") as log:
        log.write(f"{os.getpid()}\n")
    return Look(digest=paths[0].name)


def test_two_images_that_end_their_readers_do_not_make_the_rest_slow(tmp_path: Path) -> None:
    root = tmp_path / "dsA"
    for number in range(1, 13):
        write_run(root, (f"{number:02}", TASK, "01"), 8, seed=number)
    done: list[tuple[int, int]] = []
    checked = check_images(
        index_bids([root]),
        num_processes=2,
        reader=die_at_two_of_twelve,
        on_run_done=lambda *numbers: done.append(numbers),
    )
    assert refusals(checked) == {"dsA/03/01": "reader-died", "dsA/09/01": "reader-died"}
    assert sum(run.is_usable for run in checked.runs) == 10
    assert done == [(number, 12) for number in range(1, 13)]
    readers = set((root / "read.log").read_text().split())
    assert len(readers) <= 3 * 2 + 2, (
        "three pools of two, and two that were in flight with the dead"
    )


SLOW_READING = """
import os, sys, time
from pathlib import Path
from spectrum.data.bids import index_bids
from spectrum.data.image_check import check_images

def read_slowly(paths):
    (Path(sys.argv[2]) / str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    check_images(index_bids([Path(sys.argv[1])]), num_processes=2, reader=read_slowly)
"""


@pytest.mark.parametrize("is_from_terminal", [True, False])
def test_an_interrupt_ends_the_reading_at_once(tmp_path: Path, is_from_terminal: bool) -> None:
    root = write_tiny_bids(tmp_path / "dsA")
    pids = tmp_path / "pids"
    pids.mkdir()
    script = tmp_path / "slow_reading.py"
    script.write_text(SLOW_READING)
    command = [sys.executable, str(script), str(root), str(pids)]
    checking = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: len(list(pids.iterdir())) == 2, within_s=30)
        begin = time.monotonic()
        (os.killpg if is_from_terminal else os.kill)(checking.pid, signal.SIGINT)
        assert checking.wait(timeout=10) != 0
        assert time.monotonic() - begin < 5
        wait_until(lambda: not any(is_alive(int(pid.name)) for pid in pids.iterdir()), within_s=5)
    finally:
        checking.kill()
        checking.wait()


def wait_until(holds: Callable[[], bool], *, within_s: float) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Tell whether a process lives; one that ended and waits to be asked how is dead."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_runs_without_an_image_are_passed_on(tmp_path: Path) -> None:
    root = write_tiny_bids(tmp_path / "dsA")
    image(root, "01", "01").unlink()
    table = index_bids([root])
    assert check_images(table, num_processes=1, reader=unique) == table


def unique(paths: tuple[Path, ...]) -> Look:
    return Look(digest=str(paths[0]))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_the_answer_is_the_same_for_any_number_of_processes(
    tmp_path: Path, num_processes: int
) -> None:
    root = write_tiny_bids(tmp_path / "dsA")
    shutil.copy(image(root, "01", "01"), image(root, "02", "01"))
    table = check_images(index_bids([root]), num_processes=num_processes)
    assert refusals(table) == {"dsA/02/01": "duplicate-image"}
