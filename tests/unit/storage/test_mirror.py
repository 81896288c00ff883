"""A folder and its generations: what is pushed is pulled, and nothing of another is undone."""

from __future__ import annotations

import itertools
import json
import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectrum.errors import StorageError
from spectrum.owners import aside_path
from spectrum.storage import Mirror, ObjectStore
from spectrum.storage.generations import StoredFile, told_generation

Folder = dict[str, bytes]


def _write(folder: Path, files: Folder) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() and not path.name.startswith(".") else None
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _read(folder: Path) -> Folder:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


FIRST: Folder = {"study.json": b"{}", "trials/0/records.jsonl": b"1\n", "trials/1/x": b""}
SECOND: Folder = {
    "study.json": b"{}",
    "trials/0/records.jsonl": b"1\n2\n",
    "best/model": b"w" * 99,
}


def test_another_machine_gets_what_was_pushed_and_nothing_else(
    address: str, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    _write(here, FIRST)
    _write(there, {"old": b"of an earlier study"})

    assert Mirror(here, ObjectStore(address)).push()
    assert Mirror(there, ObjectStore(address)).pull()

    assert _read(there) == FIRST
    _write(here, SECOND)
    assert Mirror(here, ObjectStore(address)).push()
    assert Mirror(there, ObjectStore(address)).catch_up()
    assert _read(there) == SECOND


def test_what_was_pushed_is_not_sent_again(address: str, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "here", ObjectStore(address))
    _write(mirror.folder, FIRST)
    assert mirror.push()
    assert not mirror.push()
    assert not Mirror(mirror.folder, ObjectStore(address)).push(), "the book is kept on disk"
    names = mirror.store.names()
    _write(mirror.folder, SECOND)
    assert mirror.push()

    kept = set(names) & set(mirror.store.names())
    assert {name.partition("~")[0] for name in kept} == {"files/study.json", "latest.json"}
    assert len(mirror.store.names()) == len(SECOND) + 1, "objects of no generation are gone"


def test_nothing_stored_is_no_generation(address: str, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "here", ObjectStore(address))

    assert not mirror.has_latest
    assert not mirror.pull()
    assert not mirror.catch_up()
    assert not mirror.fetch_one("folds.json", tmp_path / "folds.json")


def test_two_machines_cannot_undo_each_other(address: str, tmp_path: Path) -> None:
    one, other = (Mirror(tmp_path / name, ObjectStore(address)) for name in ("one", "other"))
    _write(one.folder, FIRST)
    one.push()
    other.pull()
    _write(other.folder, SECOND)
    other.push()
    _write(one.folder, {**FIRST, "late": b"!"})

    with pytest.raises(StorageError, match="another one works on it"):
        one.push()
    with pytest.raises(StorageError, match="holds work that was never stored"):
        one.catch_up()

    assert _read(one.folder)["late"] == b"!"
    one.catch_up(yields=True)
    assert _read(one.folder) == SECOND


def test_work_that_is_here_alone_stays_where_nobody_else_went_on(
    address: str, tmp_path: Path
) -> None:
    mirror = Mirror(tmp_path / "here", ObjectStore(address))
    _write(mirror.folder, FIRST)
    mirror.push()
    _write(mirror.folder, SECOND)

    assert not Mirror(mirror.folder, ObjectStore(address)).catch_up()
    assert _read(mirror.folder) == SECOND


def test_what_is_of_one_machine_is_neither_sent_nor_taken_away(
    address: str, tmp_path: Path
) -> None:
    def skips(path: str) -> bool:
        return path.startswith("ray/")

    here, there = (
        Mirror(tmp_path / name, ObjectStore(address), skips=skips) for name in ("here", "there")
    )
    _write(here.folder, {**FIRST, "ray/session": b"here"})
    _write(there.folder, {"ray/session": b"there"})
    here.push()
    there.pull()

    assert _read(there.folder) == {**FIRST, "ray/session": b"there"}


@pytest.mark.parametrize("kept", ["nothing", "half of the objects", "all objects"])
def test_a_kill_in_the_middle_of_a_push_leaves_the_generation_before(
    tmp_path: Path, kept: str
) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    mirror = Mirror(tmp_path / "here", store)
    _write(mirror.folder, FIRST)
    mirror.push()
    before = {name: store.get(name, max_bytes=1000) for name in store.names()}
    _write(mirror.folder, SECOND)
    mirror.push()
    objects = [name for name in store.names() if name != "latest.json" and name not in before]
    for name in objects[: {"nothing": 0, "half of the objects": 1, "all objects": 9}[kept]]:
        before[name] = store.get(name, max_bytes=1000)
    for name in store.names():
        store.remove(name)
    for name, content in before.items():
        store.put(name, content or b"")

    other = Mirror(tmp_path / "there", store)
    assert other.pull()
    assert _read(other.folder) == FIRST
    other.sweep()
    assert len(store.names()) == len(FIRST) + 1


@pytest.mark.parametrize(
    "path",
    ["../outside", "/etc/passwd", "a/../../b", "a//b", ".", "a\\b", "a/./b", ".mirror.json"],
)
def test_a_generation_that_names_what_lies_outside_the_folder_is_refused(
    tmp_path: Path, path: str
) -> None:
    from spectrum.config import canonical_json, fingerprint

    store = ObjectStore(f"file://{tmp_path / 'store'}")
    content = {"schema": 1, "generation": 1, "files": {path: ["0" * 64, 1]}}
    store.put("latest.json", canonical_json({**content, "digest": fingerprint(content)}).encode())

    with pytest.raises(StorageError, match="no folder of Spectrum has"):
        Mirror(tmp_path / "here", store).pull()


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"digest": "0"}', b"\xff" * 10])
def test_a_generation_of_another_hand_is_refused(tmp_path: Path, damage: bytes) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    store.put("latest.json", damage)

    with pytest.raises(StorageError, match="is not what Spectrum wrote"):
        Mirror(tmp_path / "here", store).pull()


def test_an_object_that_was_changed_in_the_store_is_never_taken(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    mirror = Mirror(tmp_path / "here", store)
    _write(mirror.folder, FIRST)
    mirror.push()
    (name,) = [name for name in store.names() if "records" in name]
    store.put(name, b"9\n")

    other = Mirror(tmp_path / "there", store)
    with pytest.raises(StorageError, match="removed or damaged"):
        other.pull()
    assert not (other.folder / "trials/0/records.jsonl").exists()


def test_a_damaged_book_costs_a_comparison_and_no_work(tmp_path: Path) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    mirror = Mirror(tmp_path / "here", store)
    _write(mirror.folder, FIRST)
    mirror.push()
    (mirror.folder / ".mirror.json").write_text(json.dumps({"generation": "x"}))

    again = Mirror(mirror.folder, store)
    assert again.generation == 0
    again.catch_up(yields=True)
    assert again.generation == 1
    assert _read(mirror.folder) == FIRST


names = st.sampled_from(["a", "b/c", "b/d", "e/f/g", "together-1", "together-2"])
folders = st.dictionaries(names, st.binary(max_size=20), max_size=6)


@given(st.lists(st.tuples(st.booleans(), folders), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_whoever_pushed_last_is_what_both_have(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, Folder]]
) -> None:
    root = tmp_path_factory.mktemp("mirror")
    store = ObjectStore(f"file://{root / 'store'}")
    folders = {name: root / ("one" if name else "other") for name in (True, False)}
    for name, files in steps:
        mirror = Mirror(folders[name], store, together=("together-1", "together-2"))
        mirror.catch_up()
        folders[name].mkdir(exist_ok=True)
        _write(folders[name], files)
        mirror.push()
        reader = Mirror(folders[not name], store)
        reader.catch_up()
        assert _read(folders[not name]) == _read(folders[name]) == files


class _Writer(threading.Thread):
    """Appends to one file, another, and the first again, until it is told to end."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.over = threading.Event()
        self._paths = [folder / name for name in ("journal", "lines", "journal")]
        for path in self._paths:
            path.touch()

    def run(self) -> None:
        for number in itertools.count():
            for path in self._paths:
                with path.open("a") as file:
                    file.write(f"{number}\n")
            if self.over.wait(random.random() / 200):
                return


def test_files_that_belong_together_are_never_of_two_moments(tmp_path: Path) -> None:
    folder, there = tmp_path / "here", tmp_path / "there"
    folder.mkdir()
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    mirror = Mirror(folder, store, together=("journal", "lines"))
    writer = _Writer(folder)
    writer.start()
    try:
        for _ in range(30):
            with suppress(StorageError):
                mirror.push()
            Mirror(there, store).pull()
            num_told, num_lines = (
                (there / name).read_text().count("\n") for name in ("journal", "lines")
            )
            assert 2 * num_lines - 1 <= num_told <= 2 * num_lines + 1
    finally:
        writer.over.set()
        writer.join()
    assert mirror.generation > 5


def test_another_generation_of_the_same_number_is_not_taken_for_the_own(
    address: str, tmp_path: Path
) -> None:
    one, other = (Mirror(tmp_path / name, ObjectStore(address)) for name in ("one", "other"))
    _write(one.folder, FIRST)
    one.push()
    for name in one.store.names():
        one.store.remove(name)
    _write(other.folder, SECOND)
    other.push()
    assert one.generation == other.generation
    _write(one.folder, {**FIRST, "late": b"!"})

    with pytest.raises(StorageError, match="another one works on it"):
        one.push()
    _write(one.folder, FIRST)
    assert one.catch_up()
    assert _read(one.folder) == SECOND


class _GoneWhenWritten(ObjectStore):
    """A store that writes ``latest.json``, and is away before it can say so."""

    def put(self, name: str, content: bytes) -> None:
        super().put(name, content)
        if name == "latest.json":
            raise StorageError("The store is away.")


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_generation_that_was_published_unknown_to_its_machine_is_its_own(
    tmp_path: Path, is_killed: bool
) -> None:
    address = f"file://{tmp_path / 'store'}"
    mirror = Mirror(tmp_path / "here", _GoneWhenWritten(address))
    _write(mirror.folder, FIRST)
    with pytest.raises(StorageError, match="away"):
        mirror.push()

    if is_killed:
        mirror = Mirror(mirror.folder, ObjectStore(address))
    mirror.store = ObjectStore(address)
    _write(mirror.folder, SECOND)
    assert not mirror.catch_up()
    assert mirror.push()
    assert Mirror(tmp_path / "there", ObjectStore(address)).pull()
    assert _read(tmp_path / "there") == SECOND


def test_a_store_that_was_emptied_is_told_before_work_begins(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "here", ObjectStore(f"file://{tmp_path / 'store'}"))
    _write(mirror.folder, FIRST)
    mirror.push()
    mirror.store.remove("latest.json")

    with pytest.raises(StorageError, match="it was removed there"):
        mirror.catch_up()
    assert not mirror.catch_up(yields=True)
    assert mirror.push()


@pytest.mark.parametrize(
    ("path", "sha256", "num_bytes"),
    [
        ("ray/tuner.pkl", "0" * 64, 1),
        ("x", "/../../../../lab", 1),
        ("x", 7, 1),
        ("x", "0" * 64, "1"),
    ],
)
def test_a_generation_cannot_name_what_is_never_stored_or_another_object(
    tmp_path: Path, path: str, sha256: str, num_bytes: int
) -> None:
    store = ObjectStore(f"file://{tmp_path / 'store'}")
    store.put("latest.json", told_generation(1, {path: StoredFile(sha256, num_bytes)}))
    mirror = Mirror(tmp_path / "here", store, skips=lambda path: path.startswith("ray/"))

    with pytest.raises(StorageError, match="not what Spectrum wrote"):
        mirror.pull()
    _write(mirror.folder, FIRST)
    with pytest.raises(StorageError, match="not what Spectrum wrote"):
        mirror.push(anew=True)


def test_what_another_process_is_fetching_is_neither_taken_away_nor_stored(
    tmp_path: Path,
) -> None:
    mirror = Mirror(tmp_path / "here", ObjectStore(f"file://{tmp_path / 'store'}"))
    _write(mirror.folder, FIRST)
    mirror.push()
    there = Mirror(tmp_path / "there", mirror.store)
    on_its_way = aside_path(there.folder / "trials" / "x")
    on_its_way.parent.mkdir(parents=True)
    on_its_way.write_bytes(b"half")

    there.pull()
    assert on_its_way.read_bytes() == b"half"
    assert not there.push()


def test_who_may_not_push_any_more_does_not(tmp_path: Path) -> None:
    def refuse() -> None:
        raise StorageError("Another has the lease.")

    store = ObjectStore(f"file://{tmp_path / 'store'}")
    mirror = Mirror(tmp_path / "here", store, allowed=refuse)
    _write(mirror.folder, FIRST)
    with pytest.raises(StorageError, match="lease"):
        mirror.push()
    assert store.names() == []
