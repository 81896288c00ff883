import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from spectrum.config import (
    ModelConfig,
    PreprocessingConfig,
    TrialConfig,
    canonical_json,
    config_from_mapping,
    config_paths,
    fingerprint,
    get_path,
    nearest,
    set_paths,
)
from spectrum.errors import ConfigError

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


def fields_without_docstring(config: type[BaseModel]) -> list[str]:
    missing = []
    for name, field in config.model_fields.items():
        if len(field.description or "") < 15 or not (field.description or "").endswith("."):
            missing.append(f"{config.__name__}.{name}")
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            missing += fields_without_docstring(inner)
    return missing


def test_every_field_says_what_it_means() -> None:
    assert fields_without_docstring(TrialConfig) == []


def test_every_path_leads_to_a_value_and_back() -> None:
    config = TrialConfig()
    paths = config_paths(TrialConfig)
    assert len(set(paths)) == len(paths) > 40
    values = {path: get_path(config, path) for path in paths}
    assert TrialConfig.model_validate(set_paths({}, values)) == config


def test_config_paths_name_leaves_only() -> None:
    paths = config_paths(TrialConfig)
    assert {"target", "seed", "model.embed_dim", "preprocessing.fwhm_mm"} <= set(paths)
    assert "model" not in paths


@pytest.mark.parametrize("path", config_paths(TrialConfig))
def test_a_default_configuration_cannot_be_changed(path: str) -> None:
    *sections, name = path.split(".")
    owner = get_path(TrialConfig(), ".".join(sections)) if sections else TrialConfig()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(owner, name, None)


def test_set_paths_leaves_its_input_alone_and_the_neighbours_in_place() -> None:
    before = {"model": {"depth": 2, "embed_dim": 8}, "seed": 1}
    after = set_paths(before, {"model.depth": 3, "optimizer.lr": 0.1})
    assert before == {"model": {"depth": 2, "embed_dim": 8}, "seed": 1}
    assert after == {"model": {"depth": 3, "embed_dim": 8}, "seed": 1, "optimizer": {"lr": 0.1}}


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"optimizer": {"lrr": 1}}, r"optimizer\.lrr is no config path.*optimizer\.lr\."),
        ({"preprocesing": {}}, r"preprocesing is no config path.*preprocessing"),
        ({"optimizer": {"lr": 5.0}}, r"optimizer\.lr is 5\.0: .*less than or equal to 1"),
        ({"optimizer": {"lr": float("nan")}}, r"optimizer\.lr is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"model": {"embed_dim": 10, "num_heads": 4}}, "embed_dim is 10 and model.num_heads 4"),
        ({"model": {"attention_heads": 3}}, "model.attention_heads 3"),
        ({"preprocessing": {"grid": "matrix"}}, "preprocessing.matrix is None"),
        ({"preprocessing": {"matrix": [2, 3, 4]}}, "grid: common"),
        ({"preprocessing": {"grid": "matrix", "matrix": [2, 0, 4]}}, "each side must be >= 1"),
        ({"preprocessing": {"low_pass_hz": 0.1}}, "cosine, which has no low-pass"),
        (
            {"preprocessing": {"low_pass_hz": 0.005, "temporal_filter": "butterworth"}},
            r"low_pass_hz is 0\.005 and high_pass_hz 0\.008",
        ),
        (
            {"preprocessing": {"high_pass_hz": 0.0, "temporal_filter": "butterworth"}},
            "both of its cut-offs are 0",
        ),
        (
            {"preprocessing": {"high_pass_hz": 0.0, "compcor_components": 5}},
            "compcor_components is 5 with high_pass_hz: 0",
        ),
        ({"folds": {"scheme": "random"}}, r"folds\.scheme is 'random'"),
        (
            {"sequences": {"num_volumes": 1}, "training": {"temporal_mask_fraction": 0.2}},
            "temporal_mask_fraction is 0.2 with sequences.num_volumes: 1.*longer sequences",
        ),
        (
            {"model": {"embed_dim": 32, "slice_heads": 5}},
            r"embed_dim is 32 and model\.slice_heads 5",
        ),
        (
            {"model": {"embed_dim": 12, "num_heads": 2, "pos_embed": "rope"}},
            r"pos_embed is rope and model\.embed_dim / model\.num_heads 6",
        ),
        (
            {"model": {"embed_dim": 18, "pos_embed": "sincos2d"}},
            r"pos_embed is sincos2d and model\.embed_dim 18",
        ),
        (
            {"model": {"slice_pooling": "cls", "slice_depth": 0}},
            r"slice_pooling is cls with model\.slice_depth: 0.*sees nothing",
        ),
        (
            {"model": {"temporal_pooling": "cls", "temporal_depth": 0}},
            r"temporal_pooling is cls with model\.temporal_depth: 0.*sees nothing",
        ),
        (
            {"model": {"weights": "vit.safetensors"}},
            r"weights is vit\.safetensors with model\.amplitude_fraction: 0\.5.*to 0",
        ),
        (
            {"model": {"volumes_per_image": 3}},
            r"num_volumes is 8 and model\.volumes_per_image 3.*whole number of images",
        ),
    ],
)
def test_a_wrong_value_is_answered_in_one_sentence(
    mapping: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config_from_mapping(TrialConfig, mapping)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_matrix_grid_takes_unequal_sides() -> None:
    config = PreprocessingConfig(grid="matrix", matrix=(7, 8, 9))
    assert config.matrix == (7, 8, 9)


def test_a_recipe_without_a_mask_says_what_its_scores_are_worth() -> None:
    assert PreprocessingConfig().warnings == ()
    (warning,) = PreprocessingConfig(brain_mask=False).warnings
    assert "brain_mask: false" in warning
    assert "air" in warning


@pytest.mark.parametrize("voxel_mm", [2.0, 3.0, 4.0, 6.0, 8.0])
def test_the_usual_common_grids_are_in_range(voxel_mm: float) -> None:
    assert PreprocessingConfig(voxel_mm=voxel_mm).grid == "common"


def test_a_named_backbone_brings_its_own_dimensions() -> None:
    assert ModelConfig(backbone="vit_tiny_patch16_224", embed_dim=10).embed_dim == 10


@given(plain)
def test_canonical_json_is_a_fixed_point(value: object) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert text.isascii()
    assert len(fingerprint(value)) == 64


@given(st.dictionaries(st.text(max_size=4), plain, min_size=2))
def test_the_order_of_keys_does_not_change_a_fingerprint(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert fingerprint(turned) == fingerprint(value)


def test_a_fingerprint_tells_configurations_apart() -> None:
    prints = {
        fingerprint(config.model_dump(mode="json"))
        for config in (TrialConfig(), TrialConfig(seed=1), TrialConfig(target="stage"))
    }
    assert len(prints) == 3


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": float("inf")})


def test_nearest_is_the_word_itself_where_it_is_known() -> None:
    paths = config_paths(TrialConfig)
    assert all(nearest(path, paths) == path for path in paths)
    assert nearest("", ["alpha", "beta"]) in ("alpha", "beta")
