"""Which mode feeds a trial: on the device, one copy for the node, or streamed from disk.

The choice decides how fast batches come and how much memory they take, and no number. A mode that
was asked for by name and has no room is refused; ``auto`` goes on to the next and says so. Not
here: how much room there is (``room``), and how each mode reads (``feeds``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from spectrum.config import TrialConfig
from spectrum.data.sequences import resident_sequences, stream_sequences
from spectrum.data.shards import ShardSet
from spectrum.errors import ConfigError
from spectrum.targets import Target
from spectrum.training.feeds import Sequences
from spectrum.training.place import Parallel, Place
from spectrum.training.room import Room, measure_room

if TYPE_CHECKING:
    from spectrum.training.node_copies import NodeCopies

__all__ = ["Choice", "FedSequences", "Mode", "choose_feeding", "open_sequences"]

Mode = Literal["device", "node", "stream"]

PLACES: Final = {
    "device": "on the device, in each process",
    "node": "in shared memory, one copy for all processes of a node",
    "stream": "on disk, read as batches need them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A mode, and why not an earlier one; ``reason`` is empty where the first one will do."""

    mode: Mode
    reason: str = ""

    @property
    def note(self) -> str:
        """A sentence for the user."""
        because = f", as {self.reason}" if self.reason else ""
        return f"Volumes are {PLACES[self.mode]} (training.feeding: {self.mode}){because}."


@dataclass(frozen=True, slots=True, kw_only=True)
class FedSequences:
    """Sequences as a mode has them, and the choice of the mode."""

    data: Sequences
    choice: Choice


def open_sequences(
    shards: ShardSet,
    target: Target,
    config: TrialConfig,
    *,
    copies: NodeCopies | None = None,
) -> FedSequences:
    """Cut a shard set into sequences, and put its volumes where the configuration says.

    Parameters
    ----------
    shards : readable on this node
    target : gives each run, or each event, its class
    config : ``sequences`` and ``training`` are read
    copies : of this node, where other processes of it will want the same volumes; or None

    Raises
    ------
    ConfigError
        A mode that was asked for by name has no room.
    ShardError
        The set is gone or damaged.
    """
    streamed = stream_sequences(shards, target, config.sequences)
    device = Place.choose(config.training, Parallel()).device
    room = measure_room(device, has_neighbours=copies is not None)
    asked = config.training.feeding
    choice = choose_feeding(asked, streamed.num_bytes, room)
    if choice.mode == "node":
        from spectrum.training.node_copies import NodeCopies, NoRoom

        shared = (copies or NodeCopies()).share(streamed, shards, config.sequences.plane)
        if not isinstance(shared, NoRoom):
            return FedSequences(data=shared, choice=choice)
        choice = _without_store(asked, streamed.num_bytes, room, shared.reason)
    if choice.mode == "device":
        return FedSequences(data=resident_sequences(streamed), choice=choice)
    return FedSequences(data=streamed, choice=choice)


def choose_feeding(asked: str, num_bytes: int, room: Room) -> Choice:
    """Return the mode for volumes of a size.

    Parameters
    ----------
    asked : ``training.feeding``
    num_bytes : of all volumes that are used, float16
    room : of this process

    Raises
    ------
    ConfigError
        A mode that was asked for by name has no room.
    """
    if asked == "auto":
        return _first_with_room(_order(room), num_bytes, room)
    mode = next(mode for mode in _order(room) if mode == asked)
    reason = _reason_against(mode, num_bytes, room)
    if reason:
        raise _refusal(mode, reason)
    return Choice(mode=mode)


def _order(room: Room) -> tuple[Mode, ...]:
    """Return the modes by preference: on a CPU, neighbours share what they would all copy."""
    if room.device_bytes is None and room.has_neighbours:
        return ("node", "device", "stream")
    return ("device", "node", "stream")


def _first_with_room(modes: tuple[Mode, ...], num_bytes: int, room: Room) -> Choice:
    reasons = {mode: _reason_against(mode, num_bytes, room) for mode in modes}
    mode = next(mode for mode in modes if not reasons[mode])
    return Choice(mode=mode, reason=reasons[modes[0]])


def _reason_against(mode: Mode, num_bytes: int, room: Room) -> str:
    """Return why a mode has no room, as the end of a sentence; empty where it has."""
    if mode == "stream":
        return ""
    if mode == "node" and room.store_bytes is None:
        return "no Ray runs in this process, whose object store would hold the copy"
    there, what = {
        "node": (room.store_bytes or 0, "this node's object store"),
        "device": (room.memory_bytes, "the memory of this process"),
    }[mode]
    if mode == "device" and room.device_bytes is not None:
        there, what = room.device_bytes, "the memory of the GPU"
    if num_bytes <= there:
        return ""
    return f"the volumes take {_mib(num_bytes)} and may take {_mib(there)} of {what}"


def _without_store(asked: str, num_bytes: int, room: Room, reason: str) -> Choice:
    """Return the mode after ``node`` gave no copy in spite of its room."""
    if asked == "node":
        raise _refusal("node", reason)
    modes: tuple[Mode, ...] = ("stream",) if _order(room)[0] == "device" else ("device", "stream")
    return Choice(mode=_first_with_room(modes, num_bytes, room).mode, reason=reason)


def _refusal(mode: Mode, reason: str) -> ConfigError:
    return ConfigError(
        f"training.feeding is {mode}, but {reason}. "
        "Set training.feeding to auto or stream, or give Ray or this process more memory."
    )


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB"
