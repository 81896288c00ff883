"""What Ray sends of a working directory: all but what ignore files and settings leave out.

Not here: the sending (``jobs``).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from spectrum.errors import LaunchError

__all__ = ["files_to_send"]

logger = logging.getLogger("spectrum.launch")


def files_to_send(folder: Path, excludes: Iterable[str] = ()) -> frozenset[Path]:
    """Return the files and empty folders that Ray sends, by Ray's own rule.

    Left out is what a ``.gitignore`` or ``.rayignore`` of the folder or below it names, unless
    RAY_RUNTIME_ENV_IGNORE_GITIGNORE is 1 for the former, and ``.git``, ``.venv``, ``venv`` and
    ``__pycache__``.

    Parameters
    ----------
    folder : working directory of a job
    excludes : of Ray's runtime environment, left out too

    Returns
    -------
    paths : relative to the folder

    Raises
    ------
    LaunchError
        A part of it cannot be read, or a pattern is none.
    """
    from ray._private import ray_constants
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    root = folder.absolute()
    found: list[Path] = []

    def note(path: Path) -> None:
        if path.is_file() or (path.is_dir() and not any(path.iterdir())):
            found.append(path.relative_to(root))

    ignores = os.environ.get(ray_constants.RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") == "1"
    try:
        named = [*ray_constants.get_runtime_env_default_excludes(), *excludes]
        left_out = [_get_excludes(root, named)]
        _dir_travel(root, left_out, note, include_gitignore=not ignores, logger=logger)
    except (OSError, TypeError, ValueError) as err:
        raise LaunchError(
            f"Ray cannot send {folder}: {err}. Make all of it readable and its ignore files text, "
            "or send a smaller folder."
        ) from err
    return frozenset(found)
