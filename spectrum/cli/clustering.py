"""Commands about a cluster of several nodes on this machine: cluster up, status, down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from spectrum.cli.console import print_json, print_text
from spectrum.cli.options import JsonOption
from spectrum.cli.progress import busy

if TYPE_CHECKING:
    from spectrum.launch import RunningCluster

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    cluster_app = typer.Typer(
        help="A Ray cluster of several nodes on this machine alone.", no_args_is_help=True
    )
    for command in (up, status, down):
        cluster_app.command()(command)
    app.add_typer(cluster_app, name="cluster")


def up(
    nodes: Annotated[int, typer.Option(min=1, max=64, help="Nodes, the head included.")] = 2,
    cpus_per_node: Annotated[int, typer.Option(min=1, help="CPUs that each gives out.")] = 1,
    object_store_gib: Annotated[
        float, typer.Option(min=0.1, help="Shared memory of each, GiB.")
    ] = 0.5,
    dashboard_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of dashboard and jobs; 0 takes a free one.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Start nodes on 127.0.0.1 that demand a token, and leave them running.

    Example: spectrum cluster up --nodes 2 --cpus-per-node 4
    """
    from spectrum.launch import bring_up

    with busy(f"Starting {nodes} nodes"):
        started = bring_up(
            num_nodes=nodes,
            cpus_per_node=cpus_per_node,
            object_store_gib=object_store_gib,
            dashboard_port=dashboard_port,
        )
    _tell(started, as_json=as_json)


def status(as_json: JsonOption = False) -> None:
    """Tell which nodes run; exits with 1 where none does or one is lost.

    Example: spectrum cluster status
    """
    from spectrum.launch import running_cluster

    found = running_cluster()
    if found is None:
        _tell_none(as_json=as_json)
        raise typer.Exit(1)
    _tell(found, as_json=as_json)
    if not all(node.is_alive for node in found.nodes):
        raise typer.Exit(1)


def down(as_json: JsonOption = False) -> None:
    """End the nodes that cluster up started, and nothing else.

    Example: spectrum cluster down
    """
    from spectrum.launch import take_down

    with busy("Ending the nodes"):
        ended = take_down()
    if ended is None:
        _tell_none(as_json=as_json)
    elif as_json:
        print_json({"ended": [node.name for node in ended.nodes]})
    else:
        print_text(f"Ended {len(ended.nodes)} nodes.")


def _tell(cluster: RunningCluster, *, as_json: bool) -> None:
    if as_json:
        print_json(cluster.to_json())
        return
    lines = [
        f"{node.name:8}  {node.cpus} CPUs  process {node.pid}"
        f"{'' if node.is_alive else '  is lost'}"
        for node in cluster.nodes
    ]
    lines += [
        f"address    {cluster.address}, on this machine alone; its token is in {cluster.token}",
        f"dashboard  {cluster.dashboard}",
        "Search on it with spectrum search ... --address auto; end it with spectrum cluster down.",
    ]
    print_text("\n".join(lines))


def _tell_none(*, as_json: bool) -> None:
    if as_json:
        print_json({"alive": False, "nodes": []})
    else:
        print_text("No cluster of spectrum cluster up runs here.")
