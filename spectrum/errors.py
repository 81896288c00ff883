"""Every error that Spectrum raises on purpose.

SpectrumError
    ConfigError        a configuration, a search space or an argument is wrong (exit 2)
    DataError          an input on disk is wrong; carries a code and the path
        SidecarError   metadata: JSON sidecars, events, tables
        ImageError     a NIfTI image
        TargetError    a class table, or runs that it cannot label
        DownloadError  a data set cannot be fetched, or what arrived is not what was announced
    ShardError         a shard set is missing, foreign or damaged
    LeakageError       one group stands on two sides of a fold; stops a study
    CheckpointError    a checkpoint is missing, foreign or damaged
    TrainingError      a fit broke down: its loss is no longer finite, or a worker was lost
    SearchError        a study cannot be started, resumed or read
    LaunchError        Ray cannot be started or joined
    StorageError       an object store refuses, does not answer, or holds what is not Spectrum's

A message says what was found, what was expected and what to do.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DownloadError",
    "ImageError",
    "LaunchError",
    "LeakageError",
    "SearchError",
    "ShardError",
    "SidecarError",
    "SpectrumError",
    "StorageError",
    "TargetError",
    "TrainingError",
]


class SpectrumError(Exception):
    """Root of all errors raised on purpose."""

    exit_code = 1


class ConfigError(SpectrumError, ValueError):
    """A configuration, a search space or an argument is wrong.

    Parameters
    ----------
    message : two sentences
        What was found, what was expected, what to do.
    at : keys and indices
        Where in a mapping the fault lies, outermost key first; empty where it lies in no mapping.
    """

    exit_code = 2

    def __init__(self, message: str, *, at: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.at = at


class DataError(SpectrumError):
    """An input on disk is wrong.

    Parameters
    ----------
    message : two sentences
        What was found, what was expected, what to do.
    code : kebab-case
        Names the kind of problem in tables and JSON.
    path : path as text
        The file at fault; empty where there is none.
    """

    def __init__(self, message: str, *, code: str = "data", path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way between Ray workers with code and path."""
        return (_rebuild_data_error, (type(self), self.message, self.code, self.path))


def _rebuild_data_error(kind: type[DataError], message: str, code: str, path: str) -> DataError:
    return kind(message, code=code, path=path)


class SidecarError(DataError):
    """Metadata is wrong: JSON sidecar, events, confounds or participants."""


class ImageError(DataError):
    """An image is missing, damaged, or not a 4-D NIfTI."""


class TargetError(DataError):
    """A class table is wrong, or cannot label the runs at hand."""


class DownloadError(DataError):
    """A data set cannot be fetched, or what arrived is not what was announced."""


class ShardError(SpectrumError):
    """A shard set is missing, foreign or damaged."""


class LeakageError(SpectrumError):
    """One group stands on two sides of a fold."""


class CheckpointError(SpectrumError):
    """A checkpoint is missing, foreign or damaged."""


class TrainingError(SpectrumError):
    """A fit broke down: its loss is no longer finite, or a worker was lost."""


class SearchError(SpectrumError):
    """A study cannot be started, resumed or read."""


class LaunchError(SpectrumError):
    """Ray cannot be started or joined."""


class StorageError(SpectrumError):
    """An object store refuses, does not answer, or holds what is not Spectrum's."""
