#!/bin/sh
# demo.sh PHOTOS OUT - photographs in, faces out: the whole pipeline at a size that two cores finish in minutes.
#
# Aligns every photograph in PHOTOS, packs a store of 32x32 faces, trains a small StyleGAN2 (at most 64 channels), generates
# faces, scores them before and after training, and writes OUT/report.html. Run it again and it continues where it was.
# KIMG sets the length of the training in thousands of pictures shown.
set -eu
photos=${1:-examples/photos} out=${2:-build/demo} kimg=${KIMG:-22}
here=$(dirname "$0")
command -v face-align >/dev/null || { echo "demo.sh: the programs are not in PATH; make demo builds them and runs this" >&2; exit 1; }
mkdir -p "$out"
: >"$out/times.tsv"
: >"$out/scores.tsv"
stage() { # NAME COMMAND...: runs it and notes how long it took
    name=$1
    shift
    started=$(date +%s)
    echo "== $name" >&2
    "$@"
    printf '%s\t%s\n' "$name" "$(($(date +%s) - started))" >>"$out/times.tsv"
}

# A handful of photographs is no dataset: each is then taken at several scales, and mirrored. A sample's key is its path, so each
# scale reads the photographs through a link of its own name.
pack() {
    if [ "$(find "$photos" -name '*.*' -type f | wc -l)" -ge 64 ]; then
        face-align --size 64 --rejects "$out/rejects.jsonl" "$photos" | pack-lmdb --resume --size 32 "$out/faces.lmdb"
        return
    fi
    rm -rf "$out/faces.lmdb" "$out/at"
    mkdir "$out/at"
    add=
    for scale in 0.9 1 1.1 1.2 1.3; do
        ln -s "$(cd "$photos" && pwd)" "$out/at/$scale"
        (cd "$out/at" && find "$scale/" -type f ! -name '*.md' | sort | face-align --quiet --scale $scale --size 64 -) |
            face-crop --quiet --flip both | pack-lmdb --quiet $add --size 32 "$out/faces.lmdb"
        add=--append
    done
    rm -r "$out/at"
}
settings='--batch 8 --fmaps 0.0625 --channel-max 64 --z-dim 64 --w-dim 64 --map-depth 2 --glr 0.005 --dlr 0.005 --gamma 0.05
    --ema-kimg 2 --noise none --mix 0 --pl-interval 16 --mirror --aug ada --ada-kimg 100 --tick 1 --snap 4'
# shellcheck disable=SC2086 # the settings are words
train() { sg2-train --data "$out/faces.lmdb" --out "$out/run" --kimg "$kimg" $settings; }
# shellcheck disable=SC2086
untrained() { sg2-train --quiet --data "$out/faces.lmdb" --out "$out/untrained" --kimg 0 $settings; }

# Every score compares as many pictures on both sides, so that the rows can be compared with each other.
row() { # WHAT NOTE < JSON
    sed -n 's/.*"fid": *\([0-9.e+-]*\).*/\1/p' | head -n 1 | awk -v what="$1" -v note="$2" '{ printf "%s\t%.4f\t%s\n", what, $1, note } END { exit NR == 0 }' >>"$out/scores.tsv"
}
score() { # WHAT NETWORK
    sg2-gen --quiet --network "$2" --seeds "0-$((count - 1))" | fid-score --features dlib-face --json --ref "$out/faces.lmdb" - |
        row "$1" "$count generated, $count real, dlib's face embedding"
}
halves() {
    rm -rf "$out/a" "$out/b"
    mkdir -p "$out/b"
    pack-lmdb unpack --quiet --out "$out/a" "$out/faces.lmdb"
    find "$out/a" -name '*.jpg' | sort | awk 'NR % 2 == 0 { print NR "\t" $0 }' | while IFS="$(printf '\t')" read -r i f; do
        mv "$f" "$out/b/$i.jpg"
    done
    fid-score --features dlib-face --json --no-cache --ref "$out/a" "$out/b" | row 'real pictures, one half against the other' "$((count / 2)) each"
    rm -rf "$out/a" "$out/b"
}

stage 'align and pack' pack
pack-lmdb ls --json "$out/faces.lmdb" >"$out/store.json"
count=$(sed -n 's/.*"length":[^0-9]*\([0-9]*\).*/\1/p' "$out/store.json" | head -n 1)
stage 'train' train
untrained
stage 'score the untrained network' score 'before training' "$out/untrained/network-final.safetensors"
stage 'score the trained network' score 'after training' "$out/run/network-final.safetensors"
stage 'score real against real' halves
sg2-gen --quiet --network "$out/run/network-final.safetensors" --seeds 0-47 --trunc 0.7 --grid 8x6 --out "$out/faces.png"
"$here/report.sh" "$out/run" "$out/scores.tsv" "$out/store.json" "$out/times.tsv" >"$out/report.html"
awk -F '\t' '{ printf "%-45s %10s   %s\n", $1, $2, $3 }' "$out/scores.tsv"
echo "Done. Faces: $out/faces.png   Everything: $out/report.html"
