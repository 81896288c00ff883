"""The newest version of each dependency that the whole test suite has passed with."""

from __future__ import annotations

from typing import Final

__all__ = ["TESTED"]

TESTED: Final = {
    "aim": "3.29.1",
    "boto3": "1.44.8",
    "captum": "0.9.0",
    "isal": "1.9.1",
    "jinja2": "3.1.6",
    "matplotlib": "3.11.2",
    "nibabel": "5.4.2",
    "nilearn": "0.14.1",
    "numpy": "2.4.6",
    "optuna": "5.0.0",
    "packaging": "26.4",
    "pandas": "3.1.1",
    "plotly": "7.1.0",
    "psutil": "7.2.2",
    "pyarrow": "26.0.1",
    "pydantic": "2.14.4",
    "pyyaml": "6.0.4",
    "ray": "2.60.0",
    "rich": "15.0.0",
    "safetensors": "0.8.0",
    "scikit-learn": "1.9.1",
    "scipy": "1.17.1",
    "simpleitk": "2.5.7",
    "threadpoolctl": "3.8.0",
    "timm": "1.0.31",
    "torch": "2.14.1",
    "typer": "0.29.2",
}
