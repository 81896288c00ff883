"""Checks of Ray and its token, of switches that let data run code, of Aim and the data. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spectrum.doctor.findings import Finding, error, ok, warning
from spectrum.doctor.seen import AimSeen, DataSeen, RaySeen, ServicesSeen, TokenSeen

__all__ = ["check_services"]

CLOCK_SLACK_S: Final = 60.0
NUM_NAMED: Final = 5


def check_services(seen: ServicesSeen) -> Iterator[Finding]:
    """Yield what is to be said of what runs beside Spectrum."""
    for switch, value in seen.unsafe_switches.items():
        yield error(
            "unsafe-switch",
            f"{switch}={value} lets a Parquet file run code when it is read.",
            f"Run: unset {switch}",
        )
    yield _token(seen.token, is_cluster=seen.ray.address is not None)
    yield from _ray(seen.ray)
    yield _aim(seen.aim)
    yield _data(seen.data)


def _token(seen: TokenSeen, *, is_cluster: bool) -> Finding:
    if seen.source is None and is_cluster:
        return error(
            "no-token",
            "There is no token for a Ray cluster: no RAY_AUTH_TOKEN, no RAY_AUTH_TOKEN_PATH, no "
            "~/.spectrum/ray_token.",
            "Copy the head node's token file here with mode 0600, and set RAY_AUTH_TOKEN_PATH.",
        )
    if seen.source is None:
        return ok("token", "No Ray token yet: the first search makes one that only you can read.")
    if seen.error is not None:
        return error(
            "no-token",
            f"The Ray token of {seen.source} cannot be read: {seen.error}",
            "Correct RAY_AUTH_TOKEN_PATH, or remove it: Spectrum then makes a token of its own.",
        )
    if seen.mode is not None and seen.mode & 0o077:
        return error(
            "token-readable",
            f"{seen.source} can be read by other users (mode {seen.mode:o}).",
            f"Run: chmod 600 {seen.source}",
        )
    return ok("token", f"Ray's token comes from {seen.source}.")


def _ray(seen: RaySeen) -> Iterator[Finding]:
    if seen.address is None:
        yield ok("ray", f"Ray {seen.own_version}; no cluster was asked (--address).")
        return
    if seen.error is not None:
        yield error(
            "ray-unreachable",
            f"{seen.address} does not answer: {seen.error}",
            "Start the cluster, or correct --address: host:6379, ray://host:10001 or "
            "http://host:8265, through an SSH tunnel where it is not on this machine.",
        )
        return
    yield from _asked(seen)


def _asked(seen: RaySeen) -> Iterator[Finding]:
    yield _guarded(seen)
    if seen.version and seen.own_version and seen.version != seen.own_version:
        yield error(
            "ray-version",
            f"The cluster has Ray {seen.version}, this machine {seen.own_version}.",
            f'Run here: python -m pip install "ray=={seen.version}", or upgrade the cluster.',
        )
    ahead_s = seen.clock_ahead_s
    if ahead_s is not None and abs(ahead_s) > CLOCK_SLACK_S:
        yield warning(
            "clock-differs",
            f"The cluster's clock is {ahead_s:+.0f} s from this one's.",
            "Set both clocks (timedatectl set-ntp true).",
        )


def _guarded(seen: RaySeen) -> Finding:
    if seen.status_without_token is None:
        return ok(
            "ray",
            f"{seen.address} takes connections; give its dashboard (http://host:8265) to have "
            "token and version checked.",
        )
    if seen.status_without_token < 400:
        return error(
            "ray-open",
            f"{seen.address} answers without a token: whoever reaches it runs code on it.",
            "Start it again with RAY_AUTH_MODE=token on every node, on loopback.",
        )
    if seen.is_token_withheld:
        return warning(
            "token-untried",
            f"{seen.address} asks for a token; ours was not sent in plain text over a network.",
            "Ask through an SSH tunnel: ssh -L 8265:localhost:8265 HEAD, --address "
            "http://localhost:8265",
        )
    if seen.status_with_token is not None and seen.status_with_token >= 400:
        return error(
            "token-refused",
            f"{seen.address} refuses our token (HTTP {seen.status_with_token}).",
            "Copy the head node's token file here, and set RAY_AUTH_TOKEN_PATH to it.",
        )
    return ok("ray", f"{seen.address} answers, and asks for a token.")


def _aim(seen: AimSeen) -> Finding:
    if not seen.exists:
        return ok("aim", f"{seen.folder} has no Aim repository yet; a search makes it.")
    if not seen.is_writable:
        return error(
            "aim-not-writable",
            f"The Aim repository {seen.folder} cannot be written to: no trial would be shown.",
            "Change its owner or mode, or mount it for writing.",
        )
    if seen.error is not None:
        return error(
            "aim-broken",
            f"The Aim repository {seen.folder} cannot be opened: {seen.error}",
            "Move its .aim folder away; the next `spectrum search --resume` writes it anew from "
            "the study folders, which hold the truth.",
        )
    if seen.num_outdated:
        return warning(
            "aim-index",
            f"{seen.num_outdated} of {seen.num_runs} trials in {seen.folder} are not in Aim's "
            "index, so that searches miss them.",
            "Run `spectrum ui` on it once: it indexes first.",
        )
    return ok("aim", f"{seen.num_runs} trials in {seen.folder}, all indexed.")


def _data(seen: DataSeen) -> Finding:
    if not seen.exists:
        return ok("data", f"{seen.folder} is not there yet; `spectrum download` fills it.")
    if seen.strangers:
        named = ", ".join(seen.strangers[:NUM_NAMED])
        more = len(seen.strangers) - NUM_NAMED
        return warning(
            "data",
            f"{seen.folder} has folders without dataset_description.json, so they are no BIDS "
            f"data sets: {named}{f' and {more} more' if more > 0 else ''}.",
            "Finish them with `spectrum download`; `spectrum inspect BIDS_ROOT --images` reads "
            "every image to its end and names each that is damaged.",
        )
    return ok("data", f"{seen.num_datasets} data sets in {seen.folder}; inspect checks them.")
