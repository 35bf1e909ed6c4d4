#!/bin/sh
# sefa.sh NETWORK SHEET.png [LAYERS] - what the network's strongest directions do to a face: a row for each.
#
# SeFa finds them in the weights alone, without a single picture. LAYERS such as 0-3 (pose, shape), 4-6 (features, hair) or 7-10
# (colours, of a 128x128 network) confines search and move to these; default all. SEED, COUNT, AMOUNTS and TRUNC change the rest.
# The directions stay beside the sheet, for sg2-latent move.
set -eu
[ $# -ge 2 ] || { sed -n '2s/^# \(.*\) - .*/usage: \1/p' "$0" >&2; exit 2; }
network=$1 sheet=$2 layers=${3:-} seed=${SEED:-8} count=${COUNT:-6} amounts=${AMOUNTS:--3,-1.5,0,1.5,3} psi=${TRUNC:-0.7}
directions=${sheet%.*}.npy

sg2-latent directions --network "$network" --method sefa --count "$count" ${layers:+--layers "$layers"} >"$directions" ||
    { rm "$directions" && exit 1; }
sg2-gen --network "$network" --seeds "$seed" --trunc "$psi" --directions "$directions" --amounts "$amounts" \
    ${layers:+--layers "$layers"} --out "$sheet"
echo "Done. Sheet: $sheet   Directions: $directions"
