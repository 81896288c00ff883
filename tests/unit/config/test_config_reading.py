import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrum.config import (
    TrialConfig,
    config_from_mapping,
    parse_settings,
    read_config,
    read_yaml,
    write_yaml,
)
from spectrum.errors import ConfigError


def test_a_written_configuration_reads_back(tmp_path: Path) -> None:
    config = TrialConfig(seed=3, target="stage")
    path = tmp_path / "trial.yaml"
    path.write_text(write_yaml(config.model_dump(mode="json")))
    assert read_config(TrialConfig, path) == config


def test_settings_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trial.yaml"
    path.write_text("seed: 1\noptimizer: {lr: 0.01, beta1: 0.8}\n")
    config = read_config(TrialConfig, path, settings=["optimizer.lr=2e-3", "model.depth=5"])
    assert (config.seed, config.model.depth) == (1, 5)
    assert (config.optimizer.lr, config.optimizer.beta1) == (0.002, 0.8)


@given(st.integers() | st.booleans() | st.none() | st.lists(st.integers(), max_size=3))
def test_settings_keep_the_type_of_their_value(value: object) -> None:
    [parsed] = parse_settings([f"a.b={json.dumps(value)}"]).values()
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize("setting", ["lr", "=1", ""])
def test_a_setting_without_key_or_sign_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form key=value"):
        parse_settings([setting])


def test_a_setting_with_a_broken_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--set a=\[1: the value is not readable as YAML"):
        parse_settings(["a=[1"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml is no file"):
        read_yaml(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1\n- 2\n", "holds list, not a mapping"),
        (b"", "holds NoneType, not a mapping"),
        (b"a: [1", "not readable as YAML"),
        (b"a: \xff\xfe", "not readable as YAML"),
        (b"a: 1\nb: {c: 2, c: 3}\n", "the key 'c' stands twice"),
        (b"a: !!python/object/apply:os.system [ls]\n", "not readable as YAML"),
        (b"a: " + b"[" * 5000, "not readable as YAML"),
        (b"[a]: 1\n", "not readable as YAML"),
        (b"a: 2024-99-99\n", "not readable as YAML"),
        (b"a: " + b"x" * 1_000_001, "1 MB at most"),
    ],
)
def test_what_is_no_plain_mapping_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)
    assert "wrong.yaml" in str(caught.value)


def test_yaml_merge_keys_still_work(tmp_path: Path) -> None:
    path = tmp_path / "merge.yaml"
    path.write_text("base: &b {x: 1, y: 2}\nother:\n  <<: *b\n  y: 3\n")
    assert read_yaml(path)["other"] == {"x": 1, "y": 3}


def test_an_empty_mapping_is_the_default_configuration() -> None:
    assert config_from_mapping(TrialConfig, {}) == TrialConfig()
