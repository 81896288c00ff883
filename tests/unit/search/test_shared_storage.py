"""What a node finds where the study's driver wrote: the same folder, another one, or none."""

from __future__ import annotations

from pathlib import Path

from spectrum.search.shared_storage import look


def test_a_node_that_sees_all_folders_answers_each_mark(tmp_path: Path) -> None:
    mark = tmp_path / ".seen-1"
    mark.write_text("1")
    assert look([str(mark)], [str(tmp_path)], "node") == []
    assert (tmp_path / ".seen-1.node").read_text() == "node"


def test_a_node_without_the_folders_names_each(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert look([str(gone / ".seen-1")], [str(gone)], "node") == [
        f"sees no folder {gone}",
        f"sees no folder at {gone}",
    ]


def test_a_file_in_place_of_a_folder_is_none(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert look([], [str(file)], "node") == [f"sees no folder {file}"]
