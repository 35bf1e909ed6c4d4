#!/bin/sh
# watch.sh RUN REFERENCE [REPORT.html] - scores the snapshots of a run folder as they appear, in a process of its own.
#
#   pipelines/watch.sh run faces.lmdb run/report.html &        # beside sg2-train --out run; ends when the training has ended
#   ONCE=1 pipelines/watch.sh run faces.lmdb                   # what is there now, and no more
#
# RUN/scores.jsonl gets one line a snapshot: what fid-score --json said, with the file's name and kimg before it. RUN/best/ keeps the
# KEEP best networks whatever becomes of the snapshots (sg2-train --keep). REPORT.html is written anew after every score, with the
# curve. Training knows nothing of this: it is neither waited for nor stopped, and a snapshot that cannot be scored is one line with
# an "error". Start it again and it goes on with what has no score yet. Another one on the same run ends at once.
# Training has ended when RUN/network-final.safetensors is there; STAY=1 watches on, for a run that will be resumed.
#
# Settings by environment: SEEDS=0-9999, KEEP=3, METRIC=fid (or kid with FID='--metrics fid,kid'), FID='--features dlib-face ...'
# (options of fid-score), GEN='--batch 32 ...' (options of sg2-gen), WAIT=30 seconds between looks, NICE=10.
set -eu
export LC_ALL=C # numbers have a point
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    echo "usage: watch.sh RUN REFERENCE [REPORT.html]" >&2
    exit 2
fi
run=$1 ref=$2 report=${3:-}
seeds=${SEEDS:-0-9999} keep=${KEEP:-3} metric=${METRIC:-fid} wait=${WAIT:-30}
here=$(dirname "$0") scores=$run/scores.jsonl
[ -d "$run" ] || { echo "watch.sh: $run is not there; is it the run folder of sg2-train?" >&2; exit 1; }
for p in sg2-gen fid-score flock; do
    command -v "$p" >/dev/null || { echo "watch.sh: $p is not in the PATH" >&2; exit 1; }
done
exec 9>"$run/.watch.lock"
flock -n 9 || { echo "watch.sh: another one watches $run" >&2; exit 1; }
renice -n "${NICE:-10}" -p $$ >/dev/null 2>&1 || true # training comes first

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

field() { # NAME < JSON line: a number of it
    sed -n "s/.*\"$1\": *\\(-\\{0,1\\}[0-9][0-9.eE+-]*\\).*/\\1/p"
}
scored() { grep -qsF "{\"snapshot\":\"$1\"," "$scores"; }

# Takes a copy first (a link where it can): the snapshot may be pruned while it is scored.
score() { # FILE
    name=$(basename "$1")
    kimg=$(echo "$name" | sed -n 's/^snapshot-0*\([0-9][0-9.]*\)\.safetensors$/\1/p')
    cp -l "$1" "$work/$name" 2>/dev/null || cp "$1" "$work/$name" 2>/dev/null || return 0 # gone already
    rm -f "$work/failed"
    code=0
    # shellcheck disable=SC2086 # options are words
    { sg2-gen --quiet ${GEN:-} --network "$work/$name" --seeds "$seeds" 2>"$work/gen" 9>&- || : >"$work/failed"; } |
        fid-score --quiet ${FID:-} --json --ref "$ref" - >"$work/json" 2>"$work/fid" 9>&- || code=$?
    if [ ! -e "$work/failed" ] && { [ "$code" -eq 0 ] || [ "$code" -eq 4 ]; }; then # 4: above a gate, and scored
        sed "s/^{/{\"snapshot\":\"$name\",\"kimg\":${kimg:-null},/" "$work/json" >"$work/line"
        keep_best "$name" "$(field "$metric" <"$work/json")"
        echo "watch.sh: $name: $metric $(field "$metric" <"$work/json")" >&2
    else
        reason=$(cat "$work/gen" "$work/fid" | head -n 1 | tr -d '\\"' | tr '\t' ' ')
        printf '{"snapshot":"%s","kimg":%s,"error":"%s"}\n' "$name" "${kimg:-null}" "$reason" >"$work/line"
        echo "watch.sh: $name: not scored: $reason" >&2
    fi
    cat "$work/line" >>"$scores"
    rm -f "$work/$name"
}

# best/ holds the snapshots themselves and, in `order`, "value<TAB>name" with the best first.
keep_best() { # NAME VALUE
    if [ -z "$2" ]; then
        echo "watch.sh: fid-score gave no \"$metric\"" >&2
        exit 1
    fi
    mkdir -p "$run/best"
    touch "$run/best/order"
    { grep -vF "	$1" "$run/best/order" || true; printf '%s\t%s\n' "$2" "$1"; } | sort -g >"$work/order"
    cp -l "$work/$1" "$run/best/$1" 2>/dev/null || cp "$work/$1" "$run/best/$1"
    tail -n +$((keep + 1)) "$work/order" | cut -f 2 | while read -r old; do rm -f "$run/best/$old"; done
    head -n "$keep" "$work/order" >"$run/best/order.new"
    mv "$run/best/order.new" "$run/best/order"
}

while :; do
    # asked before looking: what is written until then is seen by this look
    ended=${ONCE:-}
    [ -n "${STAY:-}" ] || [ ! -e "$run/network-final.safetensors" ] || ended=1
    for f in "$run"/snapshot-*.safetensors; do
        [ -e "$f" ] && ! scored "$(basename "$f")" || continue
        score "$f"
        if [ -n "$report" ] && [ -s "$run/stats.jsonl" ]; then
            "$here/report.sh" "$run" >"$report.new" && mv "$report.new" "$report"
        fi
    done
    [ -z "$ended" ] || break
    sleep "$wait" 9>&-
done
