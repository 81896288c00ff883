"""Advisories of the pinned versions, and the bill of materials."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit import CONSTRAINTS, accepted_advisories, ask, judge
from tests.closure import pinned

PINS = pinned(CONSTRAINTS.read_text(encoding="utf-8"))
AIM = {"package": "aim", "ids": ["CVE-1"], "what": "it", "closed_by": "that"}


def found(name: str, *numbers: str) -> dict[str, object]:
    """Return what pip-audit says of a package with advisories, each with an alias."""
    vulns = [{"id": f"PYSEC-{number}", "aliases": [number]} for number in numbers]
    return {"name": name, "version": "1", "vulns": vulns}


def test_an_advisory_that_is_not_explained_fails_the_audit() -> None:
    audit = judge([found("aim", "CVE-1", "CVE-2"), found("ray")], [AIM])
    assert audit.open_ones == ("aim PYSEC-CVE-2",)
    assert audit.explained == ("aim PYSEC-CVE-1",)
    assert audit.exit_code == 1


def test_an_explanation_holds_for_its_package_alone() -> None:
    assert judge([found("ray", "CVE-1")], [AIM]).exit_code == 1


def test_a_source_that_knows_no_package_is_no_success() -> None:
    skipped = {"name": "aim", "skip_reason": "Dependency not found on PyPI"}
    for dependencies in ([], [skipped]):
        audit = judge(dependencies, [AIM])
        assert audit.exit_code == 3
        assert audit.sentence.startswith("NOT AUDITED")
    assert judge([skipped, found("ray")], [AIM]).exit_code == 3


def test_all_asked_and_explained_is_success() -> None:
    assert judge([found("aim", "CVE-1"), found("ray")], [AIM]).exit_code == 0


def test_every_explanation_is_of_a_pinned_package_and_says_what_closes_it() -> None:
    for one in accepted_advisories():
        assert one["package"] in PINS
        assert one["ids"]
        assert one["what"]
        assert one["closed_by"]


@pytest.mark.slow
def test_nothing_is_open_in_the_pinned_versions() -> None:
    audit = judge(ask(), accepted_advisories())
    if audit.exit_code == 3:
        pytest.skip(audit.sentence[:200])
    assert audit.exit_code == 0, audit.sentence


def test_the_bill_of_materials_names_every_pinned_version(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(CONSTRAINTS)]
    subprocess.run([*command, "--output-file", str(out)], check=True, capture_output=True)
    told = json.loads(out.read_text(encoding="utf-8"))
    assert told["bomFormat"] == "CycloneDX"
    assert {one["name"]: one["version"] for one in told["components"]} == PINS
