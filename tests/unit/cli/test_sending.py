"""What a search on a cluster needs is looked for before it is sent; nobody is asked anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from spectrum.cli import main

KEPT = ("--studies", "/cluster/studies", "--shards", "s3://lab/shards")
ALL_IS_THERE = "No cluster is known here"


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a space and data, beside the user's own; no cluster is known."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sent"
    (folder / "data").mkdir(parents=True)
    (folder / "joint.yaml").touch()
    return folder


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Return exit code and message of a search that is sent."""
    with pytest.raises(SystemExit) as caught:
        main(["submit", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code, " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("space", "working_dir"),
    [("joint.yaml", "sent"), ("./joint.yaml", "./sent"), ("sent/joint.yaml", ".")],
)
def test_what_is_sent_along_is_enough(
    sent: Path, capsys: pytest.CaptureFixture[str], space: str, working_dir: str
) -> None:
    words = (space, "/cluster/ds000002", *KEPT, "--working-dir", working_dir)
    code, message = told(capsys, *words)
    assert (code, ALL_IS_THERE in message) == (1, True)


@pytest.mark.parametrize("path", ["/cluster/joint.yaml", "s3://lab/joint.yaml"])
def test_of_whole_paths_the_cluster_alone_knows(
    sent: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    code, message = told(capsys, path, "/cluster/ds000002", *KEPT)
    assert (code, ALL_IS_THERE in message) == (1, True)


@pytest.mark.parametrize("source", ["s3://lab/sent.zip", "sent.zip"])
def test_what_an_archive_holds_is_not_known_here(
    sent: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    (sent.parent / "env.yaml").write_text(f"working_dir: {source}", encoding="utf-8")
    words = ("any.yaml", "data", *KEPT, "--runtime-env", "env.yaml")
    code, message = told(capsys, *words)
    assert (code, ALL_IS_THERE in message) == (1, True)


@pytest.mark.parametrize("option", ["--working-dir", "--runtime-env"])
def test_a_space_that_is_not_in_what_is_sent_is_refused(
    sent: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (sent.parent / "env.yaml").write_text("working_dir: sent", encoding="utf-8")
    value = "sent" if option == "--working-dir" else "env.yaml"
    words = ("other.yaml", "/cluster/ds000002", *KEPT, option, value)
    code, message = told(capsys, *words)
    assert code == 2
    assert "other.yaml is a relative path, and sent, which is sent, holds no such file" in message


def test_a_space_that_is_named_from_here_is_told_by_its_name_in_what_is_sent(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sent/joint.yaml", "/cluster/ds000002", *KEPT, "--working-dir", "sent")
    code, message = told(capsys, *words)
    assert code == 2
    assert "Give it as it is called in there (joint.yaml)" in message


def test_what_lies_above_the_folder_that_is_sent_does_not_go_along(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sent.parent / "above.yaml").touch()
    words = ("../above.yaml", "/cluster/ds000002", *KEPT, "--working-dir", "sent")
    assert "holds no such file" in told(capsys, *words)[1]


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("sent/joint.yaml", "/cluster/ds000002"), "sent/joint.yaml"),
        (("/cluster/joint.yaml", "sent/data"), "sent/data"),
        (("/cluster/joint.yaml", "/cluster/ds000002", "--fork", "studies/one"), "studies/one"),
    ],
)
def test_a_relative_path_is_refused_where_no_folder_is_sent(
    sent: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], path: str
) -> None:
    code, message = told(capsys, *words, *KEPT)
    assert code == 2
    assert f"{path} is a relative path, and no folder is sent that holds it" in message
    assert "--working-dir" in message


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((), "--studies is studies"),
        (("--studies", "/cluster/studies"), "--shards is shards"),
        ((*KEPT, "--aim", "aim"), "--aim is aim"),
    ],
)
def test_what_would_be_lost_with_the_job_is_refused(
    sent: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], option: str
) -> None:
    where = ("joint.yaml", "/cluster/ds000002", "--working-dir", "sent")
    code, message = told(capsys, *where, *words)
    assert code == 2
    assert f"{option}, a relative path" in message
    assert "Give the whole path" in message


def test_words_that_no_search_takes_are_told_before_they_are_sent(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("joint.yaml", "data", *KEPT, "--working-dir", "sent", "--trails", "3")
    code, message = told(capsys, *words)
    assert code == 2
    assert "--trails" in message


@pytest.mark.parametrize(
    ("words", "code", "remedy"),
    [
        (("--cpus", "4"), 2, "Leave --cpus away"),
        (("--dry-run",), 2, "Give it to spectrum search without --address"),
        (("--sealed", "each", "--studies", "s3://lab/studies"), 1, "Give --studies a folder"),
        (("--aim", "http://lab:53800"), 2, "Give aim://HOST:PORT"),
    ],
)
def test_words_that_the_search_in_the_job_would_refuse_are_refused_here(
    sent: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, remedy: str
) -> None:
    told_code, message = told(capsys, "joint.yaml", "data", *KEPT, "--working-dir", "sent", *words)
    assert (told_code, remedy in message) == (code, True)


def test_each_data_set_sealed_in_turn_may_be_sent_with_studies_in_a_folder(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("joint.yaml", "data", *KEPT, "--working-dir", "sent", "--sealed", "each")
    assert ALL_IS_THERE in told(capsys, *words)[1]


@pytest.mark.parametrize(
    ("name", "pattern", "path"),
    [
        (".gitignore", "joint.yaml", "joint.yaml"),
        (".rayignore", "*.yaml", "joint.yaml"),
        (".gitignore", "data/", "data"),
        ("data/.gitignore", "*", "data"),
    ],
)
def test_what_ray_leaves_out_of_what_is_sent_is_refused(
    sent: Path, capsys: pytest.CaptureFixture[str], name: str, pattern: str, path: str
) -> None:
    (sent / "data/participants.tsv").touch()
    (sent / name).write_text(f"{pattern}\n", encoding="utf-8")
    code, message = told(capsys, "joint.yaml", "data", *KEPT, "--working-dir", "sent")
    assert code == 2
    assert f"{path} is in sent, which is sent, but Ray leaves out all of it" in message
    assert "RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1" in message


def test_data_whose_images_alone_are_left_out_are_refused(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("participants.tsv", "sub-01_bold.nii.gz"):
        (sent / "data" / name).touch()
    (sent / ".gitignore").write_text("*.nii.gz\n", encoding="utf-8")
    code, message = told(capsys, "joint.yaml", "data", *KEPT, "--working-dir", "sent")
    assert (code, "but Ray leaves out its images" in message) == (2, True)


def test_excludes_of_the_runtime_environment_count_too(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sent.parent / "env.yaml").write_text("working_dir: sent\nexcludes: [data]", encoding="utf-8")
    code, message = told(capsys, "joint.yaml", "data", *KEPT, "--runtime-env", "env.yaml")
    assert (code, "data is in sent" in message) == (2, True)


def test_data_of_which_a_part_is_ignored_is_sent(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sub-01_bold.nii.gz", "notes.txt"):
        (sent / "data" / name).touch()
    (sent / ".gitignore").write_text("*.txt\n", encoding="utf-8")
    assert ALL_IS_THERE in told(capsys, "joint.yaml", "data", *KEPT, "--working-dir", "sent")[1]


def test_where_ray_is_told_to_ignore_gitignore_all_of_it_is_sent(
    sent: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    (sent / ".gitignore").write_text("*\n", encoding="utf-8")
    assert ALL_IS_THERE in told(capsys, "joint.yaml", "data", *KEPT, "--working-dir", "sent")[1]


@pytest.mark.parametrize("pattern", ["ds0000*", "ds00000?", "ds00000[12]"])
def test_a_pattern_that_matches_nothing_here_is_refused_as_none_expands_it_there(
    sent: Path, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    code, message = told(capsys, "/cluster/joint.yaml", f"/cluster/{pattern}", *KEPT)
    assert code == 2
    assert f"/cluster/{pattern} matches nothing on this machine" in message
    assert "Name the folders one by one" in message


def test_a_folder_that_is_called_like_a_pattern_may_be_sent(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sent / "ds[2]").mkdir()
    assert ALL_IS_THERE in told(capsys, "/cluster/joint.yaml", str(sent / "ds[2]"), *KEPT)[1]


def test_a_folder_that_is_not_there_cannot_be_sent(
    sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("joint.yaml", "data", *KEPT, "--working-dir", "none")
    code, message = told(capsys, *words)
    assert code == 2
    assert "'none' does not exist" in message
