#!/bin/sh
# bench.sh [PORTRAITS] - speed and memory of every stage on this machine, as a table: what, measured, goal.
#
# PORTRAITS is a folder of small portraits (default examples/photos). Whole programs are timed by the wall clock; peak memory is the
# largest resident set of a stage. The machine's own sgemm rate (2048 cubed, all processors) is measured in the same run.
set -eu
portraits=${1:-examples/photos}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
now() { date +%s.%N; }
calc() { awk "BEGIN { printf \"$1\", $2 }"; }
row() { printf '%-58s %12s   goal %s\n' "$1" "$2" "$3"; }
# timed NAME COMMAND...: leaves seconds in $seconds and peak KiB in $peak
timed() {
    name=$1
    shift
    start=$(now)
    if ! "$@" >"$dir/$name.out" 2>"$dir/$name.err"; then
        tail -n 5 "$dir/$name.err" >&2
        exit 1
    fi
    seconds=$(calc %.3f "$(now) - $start")
}
rss() { /usr/bin/time -f %M -o "$dir/rss" "$@" >/dev/null 2>&1 && cat "$dir/rss"; }

gflops=$(bench_ops --sgemm | sed "s/.*: *\([0-9.]*\) GFLOP.*/\1/")
row 'sgemm 2048x2048x2048, GFLOP/s' "$gflops" '-'

# ---- face-align: small portraits, and photographs of 12 megapixels made from them ----
n=$(find "$portraits" -name '*.jpg' | wc -l)
timed align face-align --quiet --size 128 "$portraits"
row "face-align, $n portraits, pictures/s" "$(calc %.1f "$n / $seconds")" '>= 110'
mkdir "$dir/large" "$dir/one"
find "$portraits" -name '*.jpg' | sort | head -n 12 | while read -r f; do
    face-crop --quiet --mode center --size 3000x4000 --format jpg "$f" | tar xO --wildcards '*.jpg' >"$dir/large/$(basename "$f")"
done
m=$(ls "$dir/large" | wc -l)
timed large face-align --quiet --size 128 "$dir/large"
row "face-align, $m photographs of 12 megapixels, pictures/s" "$(calc %.1f "$m / $seconds")" '>= 6'

# ---- pack-lmdb: a stream of 128x128 pictures, repeated for a longer run ----
i=0
while [ $((i * n)) -lt 6000 ]; do cat "$dir/align.out"; i=$((i + 1)); done >"$dir/many.tar"
timed pack sh -c "pack-lmdb --quiet --codec jpg --size 128 $dir/many.lmdb < $dir/many.tar"
count=$(pack-lmdb ls --json "$dir/many.lmdb" | sed -n 's/.*"length":[^0-9]*\([0-9]*\).*/\1/p' | head -n 1)
row "pack-lmdb, $count pictures of 128x128 to JPEG, pictures/s" "$(calc %.0f "$count / $seconds")" '>= 1000'

# ---- sg2-train: 32x32, at most 64 channels, everything on ----
pack-lmdb --quiet --size 32 "$dir/s32.lmdb" <"$dir/align.out"
timed train sg2-train --quiet --data "$dir/s32.lmdb" --out "$dir/run" --kimg 2 --tick 1 --batch 16 --fmaps 0.0625 --channel-max 64 \
    --z-dim 64 --w-dim 64 --map-depth 2 --mirror --aug ada
per_kimg=$(tail -n 1 "$dir/run/stats.jsonl" | sed -n 's/.*"Timing\/sec_per_kimg": *\({"num":[^}]*"mean": *\)*\([0-9.]*\).*/\2/p')
row 'sg2-train, 32x32, at most 64 channels, pictures/s' "$(calc %.1f "1000 / $per_kimg")" '>= 30'

# ---- sg2-gen at 128x128, fmaps 0.5, against the sgemm rate ----
bench_generate "$gflops" | while IFS="$(printf '\t')" read -r what value goal; do row "$what" "$value" "$goal"; done

# ---- fid-score: Inception (formula weights: speed does not depend on them) and the face embedding ----
if /usr/bin/python3 tests/programs/inception_weights.py tests/reference/inception-shapes.json safetensors "$dir/inception.safetensors"; then
    bench_inception "$dir/inception.safetensors" | while IFS="$(printf '\t')" read -r what value goal; do row "$what" "$value" "$goal"; done
fi
timed embed sh -c "fid-score --quiet --features dlib-face --save-stats $dir/faces.npz - < $dir/align.out"
row 'fid-score, dlib-face features, pictures/s' "$(calc %.1f "$n / $seconds")" '-'

# ---- memory does not grow with the number of samples: peak resident KiB for one portion and for four ----
four="$dir/many.tar"
for stage in 'face-crop --quiet --size 64' 'pack-lmdb --quiet --force --size 64 '"$dir/mem.lmdb"; do
    a=$(rss sh -c "$stage < $dir/align.out") b=$(rss sh -c "$stage < $four")
    row "${stage%% *}: peak MiB for $n, for $count samples" "$((a / 1024)), $((b / 1024))" 'equal'
done
a=$(rss sh -c "fid-score --quiet --features dlib-face --save-stats $dir/faces.npz - < $dir/align.out")
b=$(rss sh -c "cat $dir/align.out $dir/align.out | fid-score --quiet --features dlib-face --save-stats $dir/faces.npz -")
row "fid-score: peak MiB for $n, for $((2 * n)) samples" "$((a / 1024)), $((b / 1024))" 'equal'
