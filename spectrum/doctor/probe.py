"""A process of its own that imports what may crash or hang, and prints what came of it.

One JSON object a line on stdout, written before and after each step, so that the step at which a
process died is known. Not here: who starts it and reads it (``libraries``, ``services``).
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any, Final

__all__ = ["main"]

MAX_TEXT: Final = 300


def main() -> None:
    """Do what the arguments say: ``imports MODULE...``, or ``aim FOLDER``."""
    kind, *arguments = sys.argv[1:]
    if kind == "aim":
        _tell(aim=_aim(Path(arguments[0])))
        return
    for module in arguments:
        _tell(begun=module)
        _tell(module=module, error=_error_of_import(module))
    if "torch" in sys.modules:
        _tell(torch=_torch())


def _tell(**told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _error_of_import(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except BaseException as err:
        return _short(err)
    return None


def _short(err: BaseException) -> str:
    text = " ".join(str(err).split()) or "no reason given"
    return f"{type(err).__name__}: {text}"[:MAX_TEXT]


def _torch() -> dict[str, Any]:
    torch = sys.modules["torch"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "num_gpus": num_gpus,
        "warning": " ".join(str(one.message) for one in caught)[:MAX_TEXT],
    }


def _aim(folder: Path) -> dict[str, Any]:
    from spectrum.tracking.index import count_runs

    try:
        num_runs, num_outdated = count_runs(folder)
    except Exception as err:
        return {"error": _short(err)}
    return {"num_runs": num_runs, "num_outdated": num_outdated}
