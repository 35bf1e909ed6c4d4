#!/bin/sh
# attribute.sh NETWORK OUT - finds the direction in which faces smile (or whatever MEASURE measures), and moves faces along it.
#
# Draws COUNT faces, measures each, takes the third with the most and the third with the least, and fits the plane that tells
# their latents apart: its normal is OUT/direction.npy. OUT/sheet.png shows six faces moved along it. MEASURE names a command that
# reads a sample stream and prints "KEY NUMBER" for each picture that it can judge; without it, the width of the mouth from
# face-align's landmarks is what counts as a smile. LAYERS are those that move: without the late ones, colours stay.
set -eu
[ $# -ge 2 ] || { sed -n '2s/^# \(.*\) - .*/usage: \1/p' "$0" >&2; exit 2; }
network=$1 out=$2 count=${COUNT:-600} amounts=${AMOUNTS:--4,-2,0,2,4} psi=${TRUNC:-0.7} layers=${LAYERS:-0-5}
mkdir -p "$out"

# Mouth corners are points 48 and 54, the jaw's ends 0 and 16; x of point i is number 2i+1.
smile() {
    rm -rf "$out/faces"
    face-align --quiet --max-reject 0.9 --out "$out/faces"
    find "$out/faces" -name '*.json' | sort | xargs awk '{
        match($0, /"landmarks":\[[^"]*/)
        split(substr($0, RSTART + 12, RLENGTH - 12), x, ",")
        for (i in x) gsub(/[^0-9.-]/, "", x[i])
        key = FILENAME; sub(/.*\//, "", key); sub(/\..*/, "", key)
        print key, (x[109] - x[97]) / (x[33] - x[1])
    }'
    rm -r "$out/faces"
}

echo "== $count faces, and their measures" >&2
sg2-latent sample --network "$network" --seeds "0-$((count - 1))" |
    sg2-latent map --network "$network" --trunc "$psi" --space w >"$out/w.npy"
sg2-gen --quiet --network "$network" --latent w - <"$out/w.npy" |
    if [ -n "${MEASURE:-}" ]; then sh -c "$MEASURE"; else smile; fi >"$out/measures.txt"

# A label for each latent: its key is its position in the stream.
echo '== the direction' >&2
sort -k 2 -g "$out/measures.txt" | awk -v count="$count" '{ at[NR] = $1 + 0 } END {
    third = int(NR / 3)
    for (i = 1; i <= NR; i++) label[at[i]] = i <= third ? 0 : i > NR - third ? 1 : "-"
    for (i = 0; i < count; i++) print i in label ? label[i] : "-"
}' >"$out/labels.txt"
sg2-latent directions --method logistic --labels "$out/labels.txt" "$out/w.npy" >"$out/direction.npy"

sg2-latent cat --rows 0-5 "$out/w.npy" |
    sg2-gen --quiet --network "$network" --latent w --directions "$out/direction.npy" --amounts "$amounts" --layers "$layers" \
        --out "$out/sheet.png" -
echo "Done. Sheet: $out/sheet.png   Direction: $out/direction.npy"
