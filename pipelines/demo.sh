#!/bin/sh
# demo.sh PHOTOS OUT - photographs in, faces out: the whole pipeline at a size that two cores finish in minutes.
#
# Aligns every photograph in PHOTOS, packs a store of 32x32 faces, trains a small StyleGAN2 (at most 64 channels), generates
# faces, scores them before and after training, and writes OUT/report.html. Run it again and it continues where it was.
# KIMG=8 sets the length of the training in thousands of pictures shown.
set -eu
photos=${1:-examples/photos} out=${2:-build/demo}
kimg=${KIMG:-8}
here=$(dirname "$0")
mkdir -p "$out"
: >"$out/times.tsv"
stage() { # NAME COMMAND...: runs it, says how long it took
    name=$1
    shift
    started=$(date +%s)
    echo "== $name" >&2
    "$@"
    printf '%s\t%s\n' "$name" "$(($(date +%s) - started))" >>"$out/times.tsv"
}

align() { face-align --size 64 --rejects "$out/rejects.jsonl" "$photos" >"$out/aligned.tar"; }
pack() { pack-lmdb --resume --size 32 "$out/faces.lmdb" <"$out/aligned.tar"; }
train() {
    sg2-train --data "$out/faces.lmdb" --out "$out/run" --kimg "$kimg" --batch 16 --fmaps 0.0625 --channel-max 64 \
        --z-dim 64 --w-dim 64 --map-depth 2 --glr 0.0025 --dlr 0.0025 --gamma 0.1 --ema-kimg 2 --mirror --aug ada --tick 0.5 --snap 4
}
# score WHAT NETWORK: as many generated faces as there are real ones, so that the rows can be compared
score() {
    sg2-gen --quiet --network "$2" --seeds "0-$((count - 1))" |
        fid-score --quiet --features dlib-face --ref "$out/faces.lmdb" --json - >"$out/score.json"
    row "$1" "$out/score.json" "$count generated, $count real"
}
row() { # WHAT JSON NOTE
    printf '%s\t%s\t%s\n' "$1" "$(sed -n 's/.*"fid": *\([0-9.e+-]*\).*/\1/p' "$2" | head -n 1)" "$3, dlib face embedding" >>"$out/scores.tsv"
}

stage 'align the faces' align
stage 'pack the store' pack
count=$(pack-lmdb ls --json "$out/faces.lmdb" | tee "$out/store.json" | sed -n 's/.*"length": *\([0-9]*\).*/\1/p' | head -n 1)
stage 'train' train
: >"$out/scores.tsv"
stage 'score the untrained network' score 'before training' "$(ls "$out"/run/snapshot-*.safetensors | head -n 1)"
stage 'score the trained network' score 'after training' "$out/run/network-final.safetensors"
sg2-gen --quiet --network "$out/run/network-final.safetensors" --seeds 0-47 --trunc 0.7 --grid 8x6 --out "$out/faces.png"
"$here/report.sh" "$out/run" "$out/scores.tsv" "$out/store.json" "$out/times.tsv" >"$out/report.html"
column -t -s "$(printf '\t')" "$out/scores.tsv" 2>/dev/null || cat "$out/scores.tsv"
echo "done. Faces: $out/faces.png   everything: $out/report.html"
