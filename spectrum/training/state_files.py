"""The state of an unfinished fit on disk: safetensors and JSON, two generations, never a pickle.

A fold has a folder. ``state.json`` names the files of tensors of the last epoch (``last-*``) and
of the kept one (``best-*``) and how much of ``records.jsonl`` counts, each with its digest, and
holds a digest of itself; ``previous.json`` is the state before. ``state.json`` is written last,
aside and renamed, and names no file that is written again, so that a kill at any moment leaves a
whole state. Where the last one is damaged the one before is taken; a file that is not what was
written is never taken for it.

Files are not forced to the disk: a kill loses nothing, and a machine that loses power is noticed
by the digests.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from spectrum.config import canonical_json, fingerprint
from spectrum.config.files import parse_json
from spectrum.data.units import SequenceTable
from spectrum.errors import CheckpointError
from spectrum.owners import write_whole
from spectrum.records import EpochRecord
from spectrum.training.fold_state import FitState, KeptState

__all__ = ["FoldStateFiles", "StateFolder"]

FORMAT_VERSION: Final = 2
STATE_NAME: Final = "state.json"
PREVIOUS_NAME: Final = "previous.json"
RECORDS_NAME: Final = "records.jsonl"


SPARE_BYTES: Final = 64 * 2**20
"""Larger states are kept once: with tens of folds two of each would fill a disk."""


class _DamageError(Exception):
    """Why one generation cannot be taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFolder:
    """Where a trial's states lie, one folder a fold, and how they are dealt with.

    ``every_epochs``, >= 1, is how many epochs a stop may lose. A state that is damaged, or of
    another configuration, fold or data, is refused, or with ``begins_again`` left behind. The
    state before the last one is kept where a state takes at most ``spare_bytes``.
    """

    path: Path
    every_epochs: int = 1
    begins_again: bool = False
    spare_bytes: int = SPARE_BYTES

    def drop(self) -> None:
        """Remove all states; do nothing where there are none."""
        shutil.rmtree(self.path, ignore_errors=True)


class FoldStateFiles:
    """Files of one fold's state.

    Parameters
    ----------
    folder : made when first written to
    identity : what the state belongs to, as plain JSON; another one is refused
    table : the units that records speak of
    begins_again : whether a state that cannot be taken is left behind
    spare_bytes : largest state of which the one before is kept too
    """

    def __init__(
        self,
        folder: Path,
        *,
        identity: Mapping[str, Any],
        table: SequenceTable,
        begins_again: bool = False,
        spare_bytes: int = SPARE_BYTES,
    ) -> None:
        self.folder = folder
        self.notes: tuple[str, ...] = ()
        self._identity = fingerprint(identity)
        self._table = table
        self._begins_again = begins_again
        self._spare_bytes = spare_bytes
        self._index_of_unit = {unit.name: index for index, unit in enumerate(table.units)}
        self._current: dict[str, Any] | None = None
        self._digest_of_records = hashlib.sha256()
        self._num_bytes = 0

    def read(self) -> FitState | None:
        """Return the last state that is whole, or None where there is none.

        Raises
        ------
        CheckpointError
            Where there are states and none can be taken, unless ``begins_again``.
        """
        damages = []
        for name in (STATE_NAME, PREVIOUS_NAME):
            if not (self.folder / name).is_file():
                continue
            try:
                state = self._read(name)
            except _DamageError as damage:
                damages.append(str(damage))
                continue
            if damages:
                self.notes = (f"{damages[0]}; the fit goes on from the state before.",)
            return state
        if damages:
            self._refuse(damages)
        return None

    def write(self, state: FitState, records: Sequence[EpochRecord]) -> None:
        """Write the state after some more epochs, and their records.

        Parameters
        ----------
        records : those since the last state
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self._current
        if before is not None and before["last"]["num_bytes"] > self._spare_bytes:
            before = None
        content = {
            "format_version": FORMAT_VERSION,
            "identity": self._identity,
            "epoch": state.epoch,
            "is_finished": state.is_finished,
            "scaler": dict(state.scaler),
            "num_parts": state.num_parts,
            "records": self._append(records),
            "last": self._write_tensors(f"last-{state.epoch:05d}", state.tensors),
            "kept": self._write_kept(state.kept),
        }
        if before is not None:
            (self.folder / PREVIOUS_NAME).write_bytes(_sealed(before))
        write_whole(self.folder / STATE_NAME, _sealed(content))
        if before is None:
            (self.folder / PREVIOUS_NAME).unlink(missing_ok=True)
        self._current = content
        self._prune([content] if before is None else [content, before])

    def _refuse(self, damages: Sequence[str]) -> None:
        sentence = "; ".join(dict.fromkeys(damages))
        if not self._begins_again:
            raise CheckpointError(
                f"{sentence}. A fit goes on only from a state that is whole and its own: restore "
                f"the folder, or remove {self.folder} to fit this fold from its beginning."
            )
        self.notes = (f"{sentence}; the fold was fitted from its beginning.",)
        shutil.rmtree(self.folder)

    def _read(self, name: str) -> FitState:
        content = _opened(self.folder / name)
        if content.get("format_version") != FORMAT_VERSION:
            raise _DamageError(
                f"{self.folder / name} has format {content.get('format_version')}, not "
                f"{FORMAT_VERSION}"
            )
        if content["identity"] != self._identity:
            raise _DamageError(
                f"{self.folder / name} is of another configuration, fold or set of shards, or of "
                "other classes, or of another device, number of workers or version of the model"
            )
        kept = content["kept"]
        state = FitState(
            epoch=content["epoch"],
            is_finished=content["is_finished"],
            scaler=content["scaler"],
            num_parts=content["num_parts"],
            tensors=self._read_tensors(content["last"]),
            kept=kept
            and KeptState(kept["epoch"], kept["monitor_loss"], self._read_tensors(kept["file"])),
        )
        records = self._read_records(content["records"])
        self._current = content
        return replace(state, records=records)

    def _append(self, records: Sequence[EpochRecord]) -> dict[str, Any]:
        lines = "".join(self._line_of(record) + "\n" for record in records).encode()
        path = self.folder / RECORDS_NAME
        with path.open("r+b" if path.exists() else "wb") as file:
            # What a kill left behind the records that count is written over.
            file.truncate(self._num_bytes)
            file.seek(self._num_bytes)
            file.write(lines)
        self._digest_of_records.update(lines)
        self._num_bytes += len(lines)
        return {"num_bytes": self._num_bytes, "sha256": self._digest_of_records.hexdigest()}

    def _read_records(self, told: Mapping[str, Any]) -> tuple[EpochRecord, ...]:
        content = _content_of(self.folder / RECORDS_NAME)[: told["num_bytes"]]
        digest = hashlib.sha256(content)
        if digest.hexdigest() != told["sha256"]:
            raise _DamageError(f"{self.folder / RECORDS_NAME} is not what was written")
        self._digest_of_records, self._num_bytes = digest, len(content)
        return tuple(self._record_of(parse_json(line)) for line in content.splitlines())

    def _line_of(self, record: EpochRecord) -> str:
        said = record.predictions
        plain = {
            **record.to_json(),
            "units": [self._index_of_unit[prediction.unit] for prediction in said],
            "probabilities": [prediction.probabilities for prediction in said],
            "answers": [prediction.sequence_answers for prediction in said],
        }
        return json.dumps(plain)

    def _record_of(self, value: dict[str, Any]) -> EpochRecord:
        units, probabilities = value.pop("units"), value.pop("probabilities")
        answers = value.pop("answers", [()] * len(units))
        predictions = tuple(
            self._table.units[unit].predicted(
                row, classes=self._table.classes, fold=value["fold"], sequence_answers=counts
            )
            for unit, row, counts in zip(units, probabilities, answers, strict=True)
        )
        return EpochRecord(**value, predictions=predictions)

    def _write_kept(self, kept: KeptState | None) -> dict[str, Any] | None:
        if kept is None:
            return None
        before = self._current and self._current["kept"]
        if before and before["epoch"] == kept.epoch:
            return dict(before)
        file = self._write_tensors(f"best-{kept.epoch:05d}", kept.weights)
        return {"epoch": kept.epoch, "monitor_loss": kept.monitor_loss, "file": file}

    def _write_tensors(self, stem: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        name = f"{stem}.safetensors"
        (self.folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        return {"name": name, "sha256": digest, "num_bytes": len(content)}

    def _read_tensors(self, told: Mapping[str, Any]) -> dict[str, Tensor]:
        path = self.folder / told["name"]
        content = _content_of(path)
        if hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise _DamageError(f"{path} is not what was written")
        try:
            return load(content)
        except SafetensorError as err:
            raise _DamageError(f"{path} holds no tensors: {err}") from err

    def _prune(self, generations: Sequence[Mapping[str, Any]]) -> None:
        """Remove what a kill left half-written, and tensors that no generation names."""
        named = {STATE_NAME, PREVIOUS_NAME, RECORDS_NAME}
        named |= {told["last"]["name"] for told in generations}
        named |= {told["kept"]["file"]["name"] for told in generations if told["kept"]}
        for path in self.folder.iterdir():
            if path.name not in named:
                path.unlink()


def _sealed(content: Mapping[str, Any]) -> bytes:
    return canonical_json({"content": content, "digest": fingerprint(content)}).encode()


def _opened(path: Path) -> dict[str, Any]:
    try:
        sealed = parse_json(_content_of(path))
        content: dict[str, Any] = sealed["content"]
        is_whole = fingerprint(content) == sealed["digest"]
    except (ValueError, KeyError, TypeError) as err:
        raise _DamageError(f"{path} is not what was written") from err
    if not is_whole:
        raise _DamageError(f"{path} is not what was written")
    return content


def _content_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise _DamageError(f"{path} cannot be read: {err.strerror}") from err
