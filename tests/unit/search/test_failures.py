"""Why a trial failed: a full disk is told apart from what a trial does wrong."""

from __future__ import annotations

import errno
import os

import pytest

from spectrum.errors import ShardError
from spectrum.search.trials import DISK_FULL, failure_of

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/state.json")


def caused_by(err: Exception, cause: Exception) -> Exception:
    err.__cause__ = cause
    return err


class FromElsewhere(Exception):  # noqa: N818 - named as Ray's
    """An error as Ray hands it on from another process."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a task failed")
        self.cause = cause


@pytest.mark.parametrize(
    "err",
    [
        FULL,
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/data/state.json"),
        caused_by(RuntimeError("the state could not be written"), FULL),
        FromElsewhere(FULL),
        caused_by(ValueError("x"), FromElsewhere(FULL)),
        ShardError("shards/a cannot be written: No space left on device. Make room."),
    ],
)
def test_a_full_disk_is_known_whatever_it_is_wrapped_in(err: Exception) -> None:
    assert failure_of(err).kind == DISK_FULL


@pytest.mark.parametrize(
    "err",
    [
        RuntimeError("unable to mmap 64 bytes from file </torch_1>: No space left on device"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/dev/shm/torch_1"),
        OSError(errno.EROFS, os.strerror(errno.EROFS), "/home/ada/.cache"),
        OSError("No space left on device, said a library"),
        ShardError("a run has no volumes"),
        ValueError("x"),
    ],
)
def test_what_room_on_a_disk_would_not_mend_is_the_trials_own(err: Exception) -> None:
    assert failure_of(err).kind == type(err).__name__


def test_an_error_that_comes_from_itself_is_told() -> None:
    err = ValueError("a ring")
    err.__cause__ = caused_by(RuntimeError("of two"), err)
    assert failure_of(err).kind == "ValueError"
