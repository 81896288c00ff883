"""Where Ray is started, joined and guarded.

Clusters that we start take part only with a token of our own, which no other user of the machine
can read, and bind to loopback; one that answers without a token is joined only where the user says
so. Not here: what runs on Ray.
"""

from spectrum.launch.addresses import AUTO, check_head_address
from spectrum.launch.cluster import RunningCluster, bring_up, running_cluster, take_down
from spectrum.launch.guards import (
    PICKLE_SWITCHES,
    TOKEN_BYTES,
    refuse_unsafe_switches,
    require_token,
)
from spectrum.launch.jobs import Job, JobDoor
from spectrum.launch.joining import joined_ray, ray_at
from spectrum.launch.local import available_cpus, local_ray
from spectrum.launch.packing import files_to_send

__all__ = [
    "AUTO",
    "PICKLE_SWITCHES",
    "TOKEN_BYTES",
    "Job",
    "JobDoor",
    "RunningCluster",
    "available_cpus",
    "bring_up",
    "check_head_address",
    "files_to_send",
    "joined_ray",
    "local_ray",
    "ray_at",
    "refuse_unsafe_switches",
    "require_token",
    "running_cluster",
    "take_down",
]
