#!/bin/sh
# mix.sh NETWORK TABLE.png [ROWS [COLUMNS [LAYERS]]] - style mixing: which layers of the network draw what?
#
# Each face has some layers from the seed above it and the rest from the seed to its left. With the first layers (0-3 of 12, the
# default) pose, shape and hair come from above; with the middle ones (4-6) features; with the last (7-11) colours and light.
set -eu
[ $# -ge 2 ] || { sed -n '2s/^# \(.*\) - .*/usage: \1/p' "$0" >&2; exit 2; }
network=$1 table=$2 rows=${3:-5,9,11,16} columns=${4:-6,7,8,20,22} layers=${5:-}

sg2-gen --network "$network" --trunc "${TRUNC:-0.7}" --seeds "$rows" --mix "$columns" ${layers:+--layers "$layers"} --out "$table"
