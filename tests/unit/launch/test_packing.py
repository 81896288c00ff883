"""What goes along with a job is what Ray packs, and an unreadable folder is told."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from spectrum.errors import LaunchError
from spectrum.launch import files_to_send

FILES = ("a.yaml", "b.txt", "data/c.txt", "data/keep/d.yaml", "venv/e.py", "other/f.yaml")
IGNORED = {".gitignore": "*.txt\n!b.txt\nother/\n", "data/keep/.rayignore": "d.*\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files, an empty folder, and files of both kinds that leave some out."""
    root = tmp_path / "sent"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "empty").mkdir()
    for name, patterns in IGNORED.items():
        (root / name).write_text(patterns, encoding="utf-8")
    return root


@pytest.mark.parametrize("ignores_gitignore", [False, True])
def test_it_is_what_ray_packs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignores_gitignore: bool
) -> None:
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import create_package

    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", str(int(ignores_gitignore)))
    excludes = ["data/c.*"]
    package = tmp_path / "package.zip"
    create_package(
        str(folder),
        package,
        include_gitignore=not ignores_gitignore,
        excludes=[*get_runtime_env_default_excludes(), *excludes],
    )
    with zipfile.ZipFile(package) as packed:
        names = {Path(name) for name in packed.namelist()}
    found = files_to_send(folder, excludes)
    assert found == names
    assert (Path("other/f.yaml") in found) == ignores_gitignore
    assert {Path("a.yaml"), Path("b.txt"), Path("empty")} <= found


def test_an_ignore_file_that_is_no_text_is_told(folder: Path) -> None:
    (folder / ".gitignore").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(LaunchError, match=r"cannot send .*sent: .* or send a smaller folder"):
        files_to_send(folder)
