import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spectrum.data.echoes import combine_echoes
from spectrum.data.images import BoldImage
from spectrum.errors import ImageError
from tests.tiny_bids import tiny_affine

SHAPE = (3, 4, 5, 12)


def image(data_XYZV: NDArray[np.float32], name: str = "a") -> BoldImage:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return BoldImage(
        data_XYZV=data_XYZV,
        affine=tiny_affine(),
        voxel_mm=(5.0, 6.0, 7.0),
        tr_s=2.0,
        sha256=digest,
        voxels_sha256=digest,
    )


def echo(rng: np.random.Generator, *, mean: float, noise_sd: float) -> NDArray[np.float32]:
    return (mean + noise_sd * rng.standard_normal(SHAPE)).astype(np.float32)


@given(st.integers(2, 4), st.integers(0, 99))
def test_the_combination_lies_between_the_echoes(num_echoes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    echoes = [echo(rng, mean=500.0 / (n + 1), noise_sd=9.0) for n in range(num_echoes)]
    times_s = [0.012 * (n + 1) for n in range(num_echoes)]
    combined = combine_echoes([image(e) for e in echoes], times_s).data_XYZV
    assert combined.dtype == np.float32
    assert (combined >= np.min(echoes, axis=0) - 1e-3).all()
    assert (combined <= np.max(echoes, axis=0) + 1e-3).all()


def test_equal_echoes_give_the_echo(rng: np.random.Generator) -> None:
    data = echo(rng, mean=300.0, noise_sd=5.0)
    combined = combine_echoes([image(data), image(data), image(data)], [0.01, 0.03, 0.05])
    np.testing.assert_allclose(combined.data_XYZV, data, rtol=1e-5)


def test_an_echo_weighs_by_its_time_and_its_tsnr(rng: np.random.Generator) -> None:
    early, late = (echo(rng, mean=m, noise_sd=s) for m, s in ((800.0, 20.0), (400.0, 5.0)))
    combined = combine_echoes([image(early), image(late)], [0.015, 0.030]).data_XYZV
    tsnr = [e.mean(axis=3) / e.std(axis=3) for e in (early, late)]
    share = 0.015 * tsnr[0] / (0.015 * tsnr[0] + 0.030 * tsnr[1])
    expected = early * share[..., None] + late * (1.0 - share[..., None])
    np.testing.assert_allclose(combined, expected, rtol=1e-4)


def test_a_contrast_in_the_later_echo_is_seen_better_than_in_the_mean() -> None:
    rng = np.random.default_rng(5)
    wave = np.sin(np.arange(SHAPE[3]))
    echoes = [echo(rng, mean=900.0, noise_sd=30.0), echo(rng, mean=500.0, noise_sd=6.0)]
    echoes[1] += (8.0 * wave).astype(np.float32)
    combined = combine_echoes([image(e) for e in echoes], [0.012, 0.035]).data_XYZV

    def correlation(data_XYZV: NDArray[np.float32]) -> float:
        series = data_XYZV.reshape(-1, SHAPE[3])
        return float(np.mean([np.corrcoef(row, wave)[0, 1] for row in series]))

    assert correlation(combined) > correlation(np.mean(echoes, axis=0)) + 0.1


def test_where_nothing_varies_all_echoes_weigh_the_same() -> None:
    flat = [np.full(SHAPE, value, dtype=np.float32) for value in (100.0, 300.0)]
    combined = combine_echoes([image(data) for data in flat], [0.01, 0.02])
    np.testing.assert_allclose(combined.data_XYZV, 200.0)


def test_the_digest_knows_every_echo_and_their_order(rng: np.random.Generator) -> None:
    data = echo(rng, mean=300.0, noise_sd=5.0)
    digests = {
        combine_echoes([image(data, name) for name in names], [0.01, 0.02]).voxels_sha256
        for names in ("ab", "ba", "ac", "aa")
    }
    assert len(digests) == 4


@pytest.mark.parametrize("shape", [(3, 4, 5, 11), (3, 4, 6, 12)])
def test_echoes_on_two_grids_are_refused(shape: tuple[int, ...]) -> None:
    images = [image(np.ones(s, dtype=np.float32)) for s in (SHAPE, shape)]
    with pytest.raises(ImageError, match="echoes have the shapes") as caught:
        combine_echoes(images, [0.01, 0.02])
    assert caught.value.code == "unequal-echoes"
