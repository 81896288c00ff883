"""The faults that Spectrum is held to, and the tests that inject each of them.

A fault is here with every test that injects it, wherever that stands; one that none injects says
so, and is told as not covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["FAULTS", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: what happens, and which tests make it happen.

    ``small`` are node ids that take seconds, ``full`` those beside them; ``gap`` is what no test
    injects.
    """

    name: str
    what: str
    small: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    gap: str = ""


SEARCH: Final = "tests/unit/search"
WHOLE: Final = "tests/integration"
DATA: Final = "tests/unit/data"
DOWNLOAD: Final = f"{DATA}/download"
MACHINE: Final = "tests/faults/test_machine_faults.py"

FAULTS: Final = (
    Fault(
        "F1",
        "SIGKILL of a train worker",
        full=(f"{WHOLE}/test_workers_killed.py", f"{SEARCH}/test_worker_group.py"),
    ),
    Fault("F2", "SIGKILL of a trial's process", full=(f"{WHOLE}/test_group_kill.py",)),
    Fault("F3", "a node is killed; a node hangs", full=("tests/faults/test_node_loss.py",)),
    Fault(
        "F4",
        "SIGKILL of the search at any moment",
        (f"{SEARCH}/test_kill_points.py",),
        (f"{WHOLE}/test_study_kill.py",),
    ),
    Fault(
        "F5",
        "SIGKILL of the head",
        ("tests/unit/launch/test_heads.py",),
        ("tests/faults/test_head_loss.py",),
        gap="a head that hangs",
    ),
    Fault(
        "F6",
        "SIGINT, SIGTERM, SIGUSR1, a terminal that goes",
        (f"{SEARCH}/test_signals.py",),
        (
            f"{WHOLE}/test_search_interrupt.py",
            f"{WHOLE}/test_prepare_interrupt.py",
            f"{WHOLE}/test_terminal_gone.py",
        ),
    ),
    Fault(
        "F7",
        "Aim's server hangs and dies while trials log",
        full=(f"{WHOLE}/test_aim_server.py",),
    ),
    Fault("F8", "Aim is slow", gap="a server that answers late; one that never answers is F7"),
    Fault(
        "F9",
        "SIGKILL of who writes to Aim",
        (
            "tests/unit/tracking/test_writer.py::test_a_writer_that_was_killed_is_followed_by_one_that_makes_all_good",
        ),
    ),
    Fault(
        "F10",
        "no space left",
        (
            f"{MACHINE}::test_a_study_whose_disk_is_full_stops_and_goes_on_once_there_is_room",
            f"{MACHINE}::test_trials_whose_disk_is_full_have_not_failed_and_go_on_once_there_is_room",
            f"{DATA}/test_pipeline_disk.py",
            f"{DOWNLOAD}/test_download_faults.py::test_a_full_disk_stops_everything_and_says_what_to_do",
        ),
        (f"{WHOLE}/test_download_kill.py",),
        gap="a full disk under Aim",
    ),
    Fault(
        "F11",
        "read-only disk",
        (
            f"{MACHINE}::test_a_folder_that_nobody_can_write_to_is_refused_before_anything_is_begun",
        ),
    ),
    Fault(
        "F12",
        "few open files",
        (f"{MACHINE}::test_a_study_ends_with_64_open_files",),
        (f"{WHOLE}/test_doctor.py",),
        gap="few inodes",
    ),
    Fault("F13", "bad images and events", (f"{DATA}/test_bad_images.py",)),
    Fault("F14", "one person under two names", (f"{DATA}/test_duplicates.py",)),
    Fault(
        "F15",
        "labels that leak",
        (f"{DATA}/test_folds.py",),
        (f"{DATA}/test_simulate_promises.py",),
    ),
    Fault(
        "F16",
        "a network that fails",
        (f"{DOWNLOAD}/test_download_faults.py", f"{DOWNLOAD}/test_download_bad_answers.py"),
    ),
    Fault("F17", "wrong bytes of the right size", (f"{DOWNLOAD}/test_download_digests.py",)),
    Fault(
        "F18",
        "two of everything at once",
        (
            f"{SEARCH}/test_kill_points.py::test_a_taken_study_names_its_owner",
            f"{DATA}/test_pipeline_single_flight.py",
        ),
        (f"{DATA}/test_pipeline_at_once.py",),
    ),
    Fault(
        "F19",
        "going on with other inputs",
        (f"{SEARCH}/test_folder.py", "tests/unit/training/test_resume.py"),
    ),
    Fault(
        "F20",
        "files of a study that are damaged",
        (f"{SEARCH}/test_kill_points.py::test_damage_is_refused_or_mended_and_never_a_new_study",),
    ),
    Fault(
        "F21",
        "a torn last line",
        (f"{SEARCH}/test_folder.py::test_wherever_a_line_is_torn_the_whole_ones_stay",),
    ),
    Fault(
        "F22",
        "a score that is not finite, an error, no result, a process that dies or hangs",
        full=(f"{SEARCH}/test_tune_adapters.py", f"{SEARCH}/test_overdue.py"),
        gap="a trial that hangs in its first epoch, or where study.epoch_minutes is not set: it "
        "cannot be told from a slow one",
    ),
    Fault("F23", "thousands of trials", gap="tests/benchmarks/many_trials.py measures it"),
    Fault(
        "F24",
        "a clock that jumps",
        (f"{MACHINE}::test_a_clock_that_jumps_an_hour_changes_no_duration_and_no_trial",),
        gap="nodes whose clocks differ",
    ),
    Fault("F25", "RPCs of Ray that fail", full=("tests/faults/test_rpc_faults.py",)),
    Fault("F26", "an image that kills its reader", full=(f"{DATA}/test_pipeline_killers.py",)),
    Fault(
        "F27",
        "another number of workers",
        full=(f"{WHOLE}/test_workers_agree.py", f"{DATA}/test_pipeline.py"),
    ),
    Fault(
        "F28",
        "a damaged checkpoint",
        (
            "tests/unit/training/test_checkpoints.py",
            "tests/unit/training/test_resume.py::test_damage_anywhere_is_refused_or_the_state_before_is_taken",
        ),
    ),
    Fault("F29", "64 MiB of shared memory", full=("tests/faults/test_shared_memory.py",)),
    Fault(
        "F30",
        "50 cycles of start, kill, resume",
        full=("tests/faults/test_cycles.py",),
        gap="more than 5 cycles; tests/benchmarks/cycles.py does 30",
    ),
)
"""In the order of their numbers."""
