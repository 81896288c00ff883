"""The steps of the image without Docker: its files copied, its pip in a fresh environment.

What needs Debian's packages is simulated by apt-get; the account is made under another root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.closure import pinned

CHECKOUT = Path(__file__).parents[2]
DOCKERFILE = CHECKOUT / "cluster/Dockerfile"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions and their arguments, long lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


class Replay:
    """Carries instructions out under a folder that stands for the image's root."""

    def __init__(self, root: Path, *, device: str) -> None:
        self.root, self.folder = root, root
        self.venv = root / "venv"
        subprocess.run([sys.executable, "-m", "venv", self.venv], check=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PATH": f"{root}/usr/local/bin:{self.venv}/bin:{os.environ['PATH']}",
            "DEVICE": device,
        }

    def place(self, path: str) -> Path:
        """Return where a path of the image lies."""
        return self.root / path[1:] if path.startswith("/") else self.folder / path

    def workdir(self, path: str) -> None:
        self.folder = self.place(path)
        self.folder.mkdir(parents=True, exist_ok=True)

    def copy(self, paths: str) -> None:
        *sources, target = paths.split()
        for source in map(CHECKOUT.joinpath, sources):
            place = self.place(target)
            place = place / source.name if target.endswith("/") else place
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, place)

    def run(self, command: str) -> str:
        """Run a step, or what stands for one that would change this machine."""
        if "apt-get" in command:
            packages = re.search(r"--no-install-recommends ([\w+. -]+?) *&&", command)
            assert packages
            command = f"apt-get install --simulate --no-install-recommends {packages[1]}"
        elif command.startswith("useradd"):
            (self.root / "etc").mkdir(exist_ok=True)
            for name in ("passwd", "shadow", "group"):
                (self.root / "etc" / name).touch()
            command = command.replace("useradd", f"useradd --prefix {self.root}")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("the image's own steps are root's, on Debian")
    replay = Replay(tmp_path_factory.mktemp("image"), device="cuda")
    steps = {"WORKDIR": replay.workdir, "COPY": replay.copy, "RUN": replay.run}
    for name, argument in instructions():
        if name in steps:
            steps[name](argument)
    return replay


def test_the_image_holds_the_pinned_versions_and_no_others(image: Replay) -> None:
    pins = pinned((CHECKOUT / "cluster/constraints.txt").read_text(encoding="utf-8"))
    told = json.loads(image.run("pip list --format=json"))
    installed = {one["name"].lower().replace("_", "-").replace(".", "-"): one for one in told}
    assert {"ray", "torch", "aim", "uvicorn"} <= set(installed)
    for name, one in installed.items():
        if name not in ("pip", "spectrum-fmri"):
            assert one["version"].split("+")[0] == pins[name], name


def test_what_runs_in_the_image_is_there(image: Replay) -> None:
    image.run("python -c 'import aim, ray, timm, torch, torchvision'")
    space = image.place("/opt/spectrum/search_spaces/joint.yaml")
    assert "valid" in image.run(f"spectrum space check {space}")
    image.run("search_or_resume.sh 2>/dev/null; test $? -eq 2")
    assert "spectrum" in (image.root / "etc/passwd").read_text(encoding="utf-8")
