"""What travels down: frozen configurations that check themselves.

Names of fields joined by dots are *config paths* (``preprocessing.fwhm_mm``); search spaces,
``--set`` and Aim parameters use them. Not here: search spaces (``spectrum.search.space``).
"""

from spectrum.config.data import DataConfig
from spectrum.config.model import MODEL_VERSION, ModelConfig
from spectrum.config.paths import config_paths, get_path, nearest, set_paths
from spectrum.config.preprocessing import PreprocessingConfig
from spectrum.config.reading import (
    config_from_mapping,
    parse_settings,
    read_config,
    read_yaml,
    read_yaml_lines,
    write_yaml,
)
from spectrum.config.training import OptimizerConfig, TrainingConfig
from spectrum.config.trial import (
    FoldsConfig,
    SequencesConfig,
    TrialConfig,
    canonical_json,
    fingerprint,
)
from spectrum.config.weights import digest_weights, pin_weights

__all__ = [
    "MODEL_VERSION",
    "DataConfig",
    "FoldsConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PreprocessingConfig",
    "SequencesConfig",
    "TrainingConfig",
    "TrialConfig",
    "canonical_json",
    "config_from_mapping",
    "config_paths",
    "digest_weights",
    "fingerprint",
    "get_path",
    "nearest",
    "parse_settings",
    "pin_weights",
    "read_config",
    "read_yaml",
    "read_yaml_lines",
    "set_paths",
    "write_yaml",
]
