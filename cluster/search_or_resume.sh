#!/bin/sh
# Begin a study, or go on with it where it was begun: one command for the first start and for
# every later one, after a requeue, a retry or a lost node.
#
#   search_or_resume.sh STUDIES NAME SPACE BIDS_ROOT... [OPTION...]
#
# STUDIES and NAME are the folder and the name of the study; the rest goes to spectrum search.
set -eu
if [ "$#" -lt 4 ]; then
    echo "usage: $0 STUDIES NAME SPACE BIDS_ROOT... [OPTION...]" >&2
    exit 2
fi
studies=$1 name=$2
shift 2
# What counts as begun: the study's manifest, or that of a search with each data set sealed in turn.
if [ -f "$studies/$name/study.json" ] || [ -f "$studies/$name.each.json" ]; then
    set -- "$@" --resume
fi
exec spectrum search "$@" --studies "$studies" --name "$name"
