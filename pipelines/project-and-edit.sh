#!/bin/sh
# project-and-edit.sh NETWORK PHOTO OUT [AMOUNT,...] - a photograph into a network, changed there, and drawn again.
#
# The face is found, aligned and projected (OUT/projected.png: target and projection; OUT/w.npy: its w+). Then it is moved along
# directions of w: each of the network's own first ones (SeFa, in LAYERS, which change pose and shape when they are the first), or
# those of DIRECTIONS=file.npy, such as "sg2-latent directions --method logistic" makes of labelled faces. OUT/directions.png shows all of
# them; OUT/edited is a folder with one picture for each direction and amount, for whatever comes next.
# ALIGNED=1 takes the photograph as aligned already; PROJECT holds further options of sg2-project. Run again, it keeps the projection.
set -eu
[ $# -ge 3 ] || { sed -n '2s/^# \(.*\) - .*/usage: \1/p' "$0" >&2; exit 2; }
network=$1 photo=$2 out=$3 amounts=${4:--2,-1,0,1,2} layers=${LAYERS:-0-4} directions=${DIRECTIONS:-}
mkdir -p "$out"

# shellcheck disable=SC2086 # PROJECT holds words
project() { sg2-project --network "$network" ${PROJECT:-} --pictures "$out/projected.png" --report "$out/report.jsonl" "$@"; }

if [ ! -s "$out/w.npy" ]; then
    if [ "${ALIGNED:-0}" = 1 ]; then
        project "$photo" >"$out/w.tmp"
    else
        face-align --size 512 "$photo" | project >"$out/w.tmp"
    fi
    [ -s "$out/w.tmp" ] || { echo "project-and-edit.sh: no face in $photo" >&2 && exit 1; }
    mv "$out/w.tmp" "$out/w.npy"
fi
if [ -z "$directions" ]; then
    directions=$out/directions.npy
    sg2-latent directions --network "$network" --layers "$layers" --count "${COUNT:-4}" >"$directions"
fi
sg2-gen --network "$network" --directions "$directions" --amounts "$amounts" --layers "$layers" --out "$out/directions.png" "$out/w.npy"
sg2-latent move --directions "$directions" --amounts "$amounts" --layers "$layers" "$out/w.npy" | sg2-gen --network "$network" --out "$out/edited" -
