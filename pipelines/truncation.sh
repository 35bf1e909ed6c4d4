#!/bin/sh
# truncation.sh NETWORK TABLE.png [SEEDS [PSI,...]] - what truncation does: the same faces from the opposite, through the mean, to the whole.
#
# psi is the share of a face's distance from the mean face: 0 is the mean, 1 the face as the network means it, 0.5 to 0.7 the usual
# compromise between quality and variety, negative numbers the opposite of everything. With CUTOFF=N it holds in the first N layers
# only: the shape nears the mean, the colours stay.
set -eu
[ $# -ge 2 ] || { sed -n '2s/^# \(.*\) - .*/usage: \1/p' "$0" >&2; exit 2; }
network=$1 table=$2 seeds=${3:-5,9,11} psi=${4:--0.7,-0.4,0,0.4,0.7,1}

sg2-gen --network "$network" --seeds "$seeds" --trunc "$psi" --cutoff "${CUTOFF:--1}" --out "$table"
