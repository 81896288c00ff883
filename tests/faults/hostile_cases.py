"""Texts and weights that were made to harm whoever reads them, each beside what reads it.

Not here: tables, images and names (``hostile_data``), and what counts as harm (``hostile_files``).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from spectrum.config import ModelConfig, TrialConfig
from spectrum.config.reading import parse_settings, read_config
from spectrum.data.shards import ShardSet
from spectrum.data.sidecars import read_sidecar
from spectrum.model.encoder import build_encoder
from spectrum.model.weights import start_from_weights
from spectrum.search.folder import StudyFolder
from spectrum.search.optuna_study import TrialJournal
from spectrum.search.space import read_space
from spectrum.targets import read_target
from spectrum.training.checkpoints import (
    HEADER_NAME,
    WEIGHTS_NAME,
    CheckpointHeader,
    read_checkpoint,
    write_checkpoint,
)
from spectrum.training.exported import read_model
from tests.faults.hostile_bytes import (
    ESCAPE,
    GIB,
    Case,
    Write,
    alias_bomb,
    device,
    just,
    pickled,
    pipe,
    sparse,
    torch_file,
)
from tests.unit.search.fakes import small_space
from tests.unit.training.planted import tiny_config

__all__ = ["text_cases", "weights_cases"]

MODEL = ModelConfig(
    backbone="vit_tiny_patch16_224",
    patch_size=16,
    amplitude_fraction=0.0,
    attention_heads=1,
    patch_pooling="cls",
)

YAML: dict[str, Write] = {
    "python/object/apply": just(b"a: !!python/object/apply:os.system ['touch CANARY']\n"),
    "python/object/new": just(b"a: !!python/object/new:subprocess.Popen [['touch', CANARY]]\n"),
    "python/name as a key": just(b"!!python/name:os.system : 1\n"),
    "alias bomb": just(alias_bomb()),
    "100,000 open brackets": just(b"a: " + b"[" * 100_000),
    "an integer of 100,000 digits": just(b"seed: " + b"9" * 100_000),
    "a date that is none": just(b"seed: 2020-99-99\n"),
    "escape sequences as a key": just(b'"' + rb"\e[2J\a" + b'": 1\n'),
    "a pickle": pickled,
    "8 GiB": sparse,
    "a pipe": pipe,
    "a device": device,
}

YAML_READERS: dict[str, Callable[[Path], Any]] = {
    "config": partial(read_config, TrialConfig),
    "space": read_space,
    "target": lambda path: read_target(str(path)),
}


def _yaml_cases() -> Iterator[Case]:
    for entry, read in YAML_READERS.items():
        for name, write in YAML.items():
            yield Case(
                f"YAML: {name}", entry, lambda f, c, r=read, w=write: r(w(f / "given.yaml", c))
            )
    for text in ("!!python/object/apply:os.system [touch CANARY]", "2020-99-99", "[" * 100_000):
        yield Case(
            f"YAML: {text[:30]}",
            "--set",
            lambda f, c, t=text: parse_settings([f"seed={t.replace('CANARY', str(c))}"]),
        )


JSON: dict[str, Write] = {
    "a pickle": pickled,
    "100,000 open brackets": just(b"[" * 100_000),
    "objects 100,000 deep": just(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "an integer of 100,000 digits": just(b'{"format_version": ' + b"9" * 100_000 + b"}"),
    "no UTF-8": just(b'{"a": "\xff\xfe"}'),
    "a list": just(b"[1]"),
    "8 GiB": sparse,
    "a pipe": pipe,
    "a device": device,
}


def text_cases() -> Iterator[Case]:
    yield from _yaml_cases()
    yield from _json_cases()


def _json_cases() -> Iterator[Case]:
    readers: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "sidecar": ("sub-01_bold.json", read_sidecar),
        "shards": ("manifest.json", lambda path: ShardSet.open(path.parent)),
        "model": ("model.json", lambda path: read_model(path.parent)),
        "checkpoint": (HEADER_NAME, lambda path: read_checkpoint(path.parent)),
        "study": ("study.json", lambda path: StudyFolder(path.parent).read_manifest()),
        "trials": ("trials.jsonl", lambda path: StudyFolder(path.parent).read_trials()),
        "header of weights": ("config.json", _weights_beside),
        "journal": ("optuna.journal", lambda path: TrialJournal(path, small_space())),
    }
    for entry, (file, read) in readers.items():
        for name, write in JSON.items():
            yield Case(
                f"JSON: {name}", entry, lambda f, c, r=read, w=write, n=file: r(w(f / n, c))
            )
    for value in ('["a"]', "[1, 1e308, 1e308]", "[1, -1, 0]", "5", '"x"', "[]"):
        text = f'{{"pretrained_cfg": {{"input_size": {value}}}}}'.encode()
        yield Case(
            f"JSON: input_size {value}",
            "header of weights",
            lambda f, c, t=text: _weights_beside(just(t)(f / "config.json", c)),
        )
    yield Case(
        "JSON: pretrained_cfg a list",
        "header of weights",
        lambda f, c: _weights_beside(just(b'{"pretrained_cfg": [1]}')(f / "config.json", c)),
    )


def _encoder() -> Any:
    encoder = build_encoder(MODEL, (32, 48))
    del encoder.blocks[1:]
    return encoder


def _weights(path: Path) -> Any:
    config = MODEL.model_copy(update={"weights": str(path)})
    return start_from_weights(_encoder(), config)


def _weights_beside(header: Path) -> Any:
    path = header.with_name("w.safetensors")
    save_file({n: t.contiguous() for n, t in _encoder().state_dict().items()}, path)
    return _weights(path)


def _safetensors(header: bytes, body: bytes = b"", *, length: int | None = None) -> Write:
    told = len(header) if length is None else length
    return just(struct.pack("<Q", told) + header + body)


def _tensor(
    dtype: str = "F32", shape: list[int] | None = None, at: tuple[int, int] = (0, 4)
) -> Any:
    return {"dtype": dtype, "shape": [1] if shape is None else shape, "data_offsets": list(at)}


def _told(**tensors: Any) -> bytes:
    return json.dumps({name.replace("__", "."): value for name, value in tensors.items()}).encode()


def _named(*names: str) -> bytes:
    return json.dumps(
        {name: _tensor(at=(4 * i, 4 * i + 4)) for i, name in enumerate(names)}
    ).encode()


SAFETENSORS: dict[str, Write] = {
    "a pickle": pickled,
    "torch.save": torch_file,
    "header of 2^63 bytes": _safetensors(b"{}", length=2**63),
    "header of 2^40 bytes": _safetensors(b"{}", length=2**40),
    "header longer than the file": _safetensors(b"{}", length=3),
    "header is no JSON": _safetensors(b"{a}"),
    "header 100,000 deep": _safetensors(b'{"a":' * 100_000),
    "overlapping tensors": _safetensors(_told(a=_tensor(), b=_tensor(at=(2, 6))), bytes(6)),
    "tensors beyond the file": _safetensors(_told(a=_tensor(at=(0, 2**40))), bytes(4)),
    "offsets the wrong way": _safetensors(_told(a=_tensor(at=(4, 0))), bytes(4)),
    "negative offsets": _safetensors(_told(a=_tensor(at=(-4, 0))), bytes(4)),
    "a shape beyond 64 bits": _safetensors(_told(a=_tensor(shape=[2**62, 2**62])), bytes(4)),
    "an unknown type": _safetensors(_told(a=_tensor("PYOBJECT")), bytes(4)),
    "a hole": _safetensors(_told(a=_tensor(at=(8, 12))), bytes(12)),
    "a hostile name": _safetensors(_named(f"../../{ESCAPE}"), bytes(4)),
    "a convolution of one number": _safetensors(_named("patch_embed.proj.weight"), bytes(4)),
    "positions of one number": _safetensors(_named("pos_embed"), bytes(4)),
    "tokens of one number": _safetensors(_named("pos_embed", "cls_token"), bytes(8)),
    "a norm without its other half": _safetensors(_named("fc_norm.weight"), bytes(4)),
    "more tokens than positions": _safetensors(
        _told(pos_embed=_tensor(shape=[1, 1, 1]), cls_token=_tensor(shape=[1, 9, 1], at=(4, 40))),
        bytes(40),
    ),
    "a flat convolution of no square": _safetensors(
        _told(patch_embed__proj__weight=_tensor(shape=[1, 5], at=(0, 20))), bytes(20)
    ),
    "empty tensors": _safetensors(
        _told(
            patch_embed__proj__weight=_tensor(shape=[0, 3, 0, 0], at=(0, 0)),
            pos_embed=_tensor(shape=[1, 0, 0], at=(0, 0)),
        )
    ),
    "nothing": just(b""),
    "8 GiB": sparse,
    "a pipe": pipe,
    "a device": device,
}


def weights_cases() -> Iterator[Case]:
    for name, write in SAFETENSORS.items():
        yield Case(
            f"safetensors: {name}",
            "weights",
            lambda f, c, w=write: _weights(w(f / "w.safetensors", c)),
        )
        yield Case(f"safetensors: {name}", "checkpoint", partial(_checkpoint, write))


def _checkpoint(write: Write, folder: Path, canary: Path) -> Any:
    """Give weights with the digest that their header wants, as whoever sends both would."""
    header = CheckpointHeader(
        config=tiny_config(),
        shape_TSHW=(3, 2, 7, 9),
        classes=("early", "late"),
        scored_classes=(0, 1),
        fold="first",
        held_out="first",
        epoch=2,
        data_hash="planted",
    )
    write_checkpoint(folder, {}, header)
    (folder / WEIGHTS_NAME).unlink()
    path = write(folder / WEIGHTS_NAME, canary)
    if path.is_file() and path.stat().st_size < GIB:
        told = json.loads((folder / HEADER_NAME).read_bytes())
        told["weights_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / HEADER_NAME).write_text(json.dumps(told))
    return read_checkpoint(folder)
