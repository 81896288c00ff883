from __future__ import annotations

import html
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from spectrum.data.run_views import RunView, sources_of_set, sources_of_table, view_run
from spectrum.data.shards import ShardSet
from spectrum.errors import ConfigError
from spectrum.report.montage import mosaic_of
from spectrum.report.run_figure import UNITS, draw_run, draw_strips
from spectrum.report.runs_page import figure_name, write_run_plots
from spectrum.report.theme import LIGHT, render
from tests.unit.report.planted_shards import RECIPE, plant_shards, without_run
from tests.unit.report.test_report_page import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PNG = b"\x89PNG"


RUNS = {("01", "nback", "01"): 11, ("01", "nback", "02"): 13}
ONE_RUN = {("01", "nback", "01"): 11}


@pytest.fixture
def shards(tiny_bids: Callable[..., Path], tmp_path: Path) -> ShardSet:
    return plant_shards([tiny_bids(runs=RUNS)], tmp_path / "shards")[0]


def view(shards: ShardSet, index: int = 0) -> RunView:
    run = shards.manifest.runs[index]
    return view_run(shards, run, sources_of_set(shards)[str(run.key)])


def test_a_view_shows_the_head_where_it_was_scanned_and_what_the_recipe_left_of_it(
    shards: ShardSet,
) -> None:
    seen = view(shards)
    assert not isinstance(seen.scanned, str)
    assert not isinstance(seen.laid, str)
    inside = seen.scanned.inside_XYZ
    assert seen.scanned.voxel_mm == pytest.approx((5.0, 6.0, 7.0))
    assert seen.scanned.values_XYZ[inside].mean() == pytest.approx(1000, rel=0.02)
    assert seen.scanned.values_XYZ[~inside].mean() < 500
    np.testing.assert_array_equal(seen.laid.inside_XYZ, inside)
    np.testing.assert_allclose(
        seen.laid.values_XYZ[inside], seen.scanned.values_XYZ[inside], rtol=1e-4
    )
    assert np.isfinite(seen.dvars_V[1:]).all()
    assert seen.signal_V.mean() == pytest.approx(100.0)
    assert seen.carpet_NV.shape == (min(400, inside.sum()), seen.run.num_volumes)
    np.testing.assert_allclose(seen.carpet_NV.mean(axis=1), 0.0, atol=1e-5)


def test_what_is_not_known_is_replaced_by_the_reason(shards: ShardSet) -> None:
    root = shards.path.parent
    shutil.rmtree(root / ".spatial")
    (root / "digests.json").unlink()
    seen = view(shards)
    assert "not where it was" in str(seen.scanned)
    assert "is not kept (spectrum shards prune), or cannot be found" in str(seen.laid)
    assert "preprocessing.motion_correction is false" in str(seen.motion_V6)
    assert "preprocessing.motion_correction is false" in str(seen.fd_V)
    assert render(lambda theme: draw_run(theme, view=seen), LIGHT, "png")[0][:4] == PNG


def test_values_stored_at_a_scale_are_shown_in_the_unit_of_the_recipe(shards: ShardSet) -> None:
    run = shards.manifest.runs[0]
    sources = sources_of_set(shards)[str(run.key)]
    plain = view_run(shards, run, sources)
    scaled = view_run(shards, run.model_copy(update={"scale": 4.0}), sources)
    assert np.abs(plain.finished.values_XYZ).max() > 0
    np.testing.assert_array_equal(scaled.finished.values_XYZ, 4 * plain.finished.values_XYZ)
    np.testing.assert_array_equal(scaled.carpet_NV, 4 * plain.carpet_NV)


@pytest.mark.parametrize("standardization", ["zscore", "none"])
def test_no_word_beside_the_slices_of_a_report_is_cut(
    tiny_bids: Callable[..., Path], tmp_path: Path, standardization: str
) -> None:
    recipe = RECIPE.model_copy(update={"standardization": standardization})
    shards, _ = plant_shards([tiny_bids()], tmp_path / "shards", recipe)
    figure = draw_strips(LIGHT, view=view(shards))
    figure.canvas.draw()
    told = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    assert UNITS[standardization] in {text.get_text() for text in told}
    assert max(text.get_window_extent().x1 for text in told) < figure.bbox.x1


def test_motion_is_shown_as_it_was_found(tiny_bids: Callable[..., Path], tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"motion_correction": True})
    shards, _ = plant_shards([tiny_bids(runs=ONE_RUN)], tmp_path / "shards", recipe)
    seen = view(shards)
    assert isinstance(seen.motion_V6, np.ndarray)
    assert isinstance(seen.fd_V, np.ndarray)
    assert seen.motion_V6.shape == (seen.run.num_volumes, 6)
    steps = np.abs(np.diff(seen.motion_V6, axis=0))
    expected = steps[:, :3].sum(axis=1) + 50.0 * steps[:, 3:].sum(axis=1)
    np.testing.assert_allclose(seen.fd_V[1:], expected, rtol=1e-6)
    assert render(lambda theme: draw_run(theme, view=seen), LIGHT, "png")[0][:4] == PNG
    shutil.rmtree(shards.path.parent / ".spatial")
    later = view(shards)
    assert "six motion parameters are not shown" in str(later.motion_V6)
    assert isinstance(later.fd_V, np.ndarray)


def test_sources_are_the_same_from_the_table_and_from_the_set(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    shards, table = plant_shards([tiny_bids()], tmp_path / "shards")
    assert sources_of_table(table, RECIPE, shards.path.parent) == sources_of_set(shards)


def test_a_mosaic_holds_the_voxels_of_its_slices_square_and_upright(shards: ShardSet) -> None:
    seen = view(shards).scanned
    assert not isinstance(seen, str)
    mosaic = mosaic_of(seen, num_axial=3)
    assert mosaic.values.shape == mosaic.inside.shape
    found = set(np.unique(mosaic.values[np.isfinite(mosaic.values)]))
    assert found <= set(np.unique(seen.values_XYZ))
    one = mosaic_of(seen, num_axial=1, sides=False)
    height, width = (round(side * edge / 5.0) for side, edge in ((8, 6.0), (7, 5.0)))
    assert one.values.shape[0] == height
    assert np.isfinite(one.values).any(axis=0).sum() == width


def test_every_run_has_its_figure_and_the_page_names_it(shards: ShardSet, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    page = write_run_plots(
        shards,
        sources_of_set(shards),
        tmp_path / "plots",
        on_run_done=lambda done, total: told.append((done, total)),
    )
    num = len(shards.manifest.runs)
    assert told == [(done, num) for done in range(1, num + 1)]
    parsed = Page(page.read_text(encoding="utf-8"))
    assert not parsed.open
    links = [address for address in parsed.addresses if not address.startswith("data:")]
    assert sorted(links) == sorted(f"runs/{figure_name(r)}.png" for r in shards.manifest.runs)
    assert all((page.parent / link).read_bytes()[:4] == PNG for link in links)
    assert "script" not in page.read_text(encoding="utf-8")


def test_only_new_runs_are_drawn_and_figures_of_other_content_go(
    shards: ShardSet, tmp_path: Path
) -> None:
    folder = tmp_path / "plots"
    sources = sources_of_set(shards)
    write_run_plots(without_run(shards, 1), sources, folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}
    stranger = folder / "runs" / "notes.txt"
    stranger.write_text("mine", encoding="utf-8")
    name = figure_name(shards.manifest.runs[1])
    older = folder / "runs" / f"{name[:-10]}{'0' * 10}.png"
    older.write_bytes(PNG)
    write_run_plots(shards, sources, folder)
    after = {path: path.stat().st_mtime_ns for path in (folder / "runs").iterdir()}
    assert {path: after[path] for path in before} == before
    new = {path.name for path in after.keys() - before.keys()}
    assert new == {f"{name}.png", f"{name}.webp", "notes.txt"}


def test_a_figure_is_drawn_again_when_more_is_known_and_kept_when_less_is(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    root = tiny_bids(runs=ONE_RUN)
    shards, _ = plant_shards([root], tmp_path / "shards")
    (run,) = shards.manifest.runs
    spatial, image = shards.path.parent / ".spatial", next(root.rglob("*_bold.nii.gz"))

    def drawn() -> set[str]:
        page = write_run_plots(shards, sources_of_set(shards), tmp_path / "plots")
        found = {path.name for path in (page.parent / "runs").glob("*.png")}
        assert all(f"runs/{name}" in page.read_text(encoding="utf-8") for name in found)
        return found

    image.rename(tmp_path / "image")
    spatial.rename(tmp_path / "spatial")
    assert drawn() == {f"{figure_name(run, is_scanned=False, is_laid=False)}.png"}
    (tmp_path / "spatial").rename(spatial)
    assert drawn() == {f"{figure_name(run, is_scanned=False)}.png"}
    (tmp_path / "image").rename(image)
    assert drawn() == {f"{figure_name(run)}.png"}
    image.unlink()
    shutil.rmtree(spatial)
    assert drawn() == {f"{figure_name(run)}.png"}


def test_an_image_that_is_gone_meanwhile_costs_its_picture_and_no_more(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    root = tiny_bids(runs=ONE_RUN)
    shards, table = plant_shards([root], tmp_path / "shards")
    sources = sources_of_table(table, RECIPE, shards.path.parent)
    for image in root.rglob("*_bold.nii.gz"):
        image.write_bytes(b"")
    run = shards.manifest.runs[0]
    assert "cannot be read again" in str(view_run(shards, run, sources[str(run.key)]).scanned)
    assert write_run_plots(shards, sources, tmp_path / "plots").is_file()


def test_a_folder_that_cannot_be_written_to_is_told_in_one_sentence(
    shards: ShardSet, tmp_path: Path
) -> None:
    (tmp_path / "plots").write_text("a file", encoding="utf-8")
    with pytest.raises(ConfigError, match="--plots FOLDER"):
        write_run_plots(shards, sources_of_set(shards), tmp_path / "plots")


def test_names_from_data_sets_are_text_on_the_page(
    tiny_bids: Callable[..., Path], tmp_path: Path
) -> None:
    shards, _ = plant_shards([tiny_bids("<b>&", ONE_RUN)], tmp_path / "shards")
    page = write_run_plots(shards, sources_of_set(shards), tmp_path / "plots")
    text = page.read_text(encoding="utf-8")
    assert html.escape("<b>&") in text
    assert "<b>&" not in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no browser")
def test_a_browser_shows_the_page_without_a_network(shards: ShardSet, tmp_path: Path) -> None:
    page = write_run_plots(shards, sources_of_set(shards), tmp_path / "plots")
    shot = tmp_path / "shot.png"
    subprocess.run(
        [
            str(CHROMIUM),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--window-size=1400,1000",
            f"--screenshot={shot}",
            page.resolve().as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    from matplotlib.image import imread

    assert imread(shot)[..., :3].std() > 0.1
