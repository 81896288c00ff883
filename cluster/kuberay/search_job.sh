#!/bin/sh
# What a RayJob runs: search_or_resume.sh, with its words. Ray takes every exit code but 0 for a
# failure, and KubeRay begins a failed job again on a new cluster (backoffLimit). That is right after
# a crash, and wrong after a search that is done and named inputs that it refused (exit code 3).
set -u
code=0
search_or_resume.sh "$@" || code=$?
if [ "$code" -eq 3 ]; then
    echo "Done in part: inputs were refused, each is named above. The job counts as done, so that it is not repeated." >&2
    exit 0
fi
exit "$code"
