#!/usr/bin/env bash
# quality.sh - does mixed precision train as well as float32? Same data, same seed, 200 kimg: curves of the losses, r(t) and the face score
# over one another, with a third run of another seed to show how far apart runs lie that differ in nothing that matters.
#
#   tests/bench/quality.sh train STORE OUT [sg2-train options]   runs OUT/bfloat16, OUT/float32, OUT/other-seed; again: continues them
#   tests/bench/quality.sh score STORE OUT                        the face score of every snapshot (needs the face models), the runs side by
#                                                                 side, -> OUT/scores.tsv; again: those that are missing
#   tests/bench/quality.sh report OUT                             OUT/quality.html and the verdict on stdout
#
# Environment: KIMG (200), RUNS ("bfloat16 other-seed float32": which, in this order), SEEDS (0-1999, pictures a score), DEVICE (cuda).
# Needs the programs in PATH or in build/bin or bin, and awk.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$here/../../build/bin:$here/../bin:$PATH # a checkout, a bundle
kimg=${KIMG:-200} device=${DEVICE:-cuda} seeds=${SEEDS:-0-1999}
read -ra runs <<<"${RUNS:-bfloat16 other-seed float32}"
usage() { sed -n '5,8s/^# \{0,3\}//p' "$0" >&2; exit 2; }

train() {
    local store=$1 out=$2 run options
    shift 2
    mkdir -p "$out"
    for run in "${runs[@]}"; do
        case $run in
            bfloat16) options=(--seed 0) ;;
            other-seed) options=(--seed 1) ;;
            float32) options=(--seed 0 --fp32) ;;
            *) usage ;;
        esac
        sg2-train --data "$store" --out "$out/$run" --mirror --kimg "$kimg" --tick 2 --snap 10 --device "$device" "$@" "${options[@]}"
    done
}

# "kimg<TAB>run<TAB>file" of every snapshot, by kimg and then as RUNS has them: whenever scoring is cut short, runs can be compared so far.
snapshots() {
    local run network at
    for run in "${runs[@]}"; do
        for network in "$1/$run"/snapshot-*.safetensors; do
            [ -f "$network" ] || continue
            at=$(basename "$network" .safetensors)
            printf '%s\t%s\t%s\n' "$(awk -v at="${at#snapshot-}" 'BEGIN { print at + 0 }')" "$run" "$network"
        done
    done | sort -s -t $'\t' -k 1,1g
}

score() {
    local store=$1 out=$2 at run network value scores=$2/scores.tsv
    if [ -e "$scores" ] && [ ! -f "$scores" ]; then
        echo "quality.sh: $scores is in the way: no file" >&2
        exit 1
    fi
    [ -n "$(snapshots "$out")" ] || { echo "quality.sh: $out has no snapshots of ${runs[*]}" >&2; exit 1; }
    while IFS=$'\t' read -r at run network; do
        if [ -f "$scores" ] && awk -F '\t' -v run="$run" -v at="$at" '$1 == run && $2 == at && $3 != "" { found = 1 } END { exit !found }' "$scores"; then
            continue
        fi
        value=$(sg2-gen --quiet --device "$device" --network "$network" --seeds "$seeds" </dev/null |
            fid-score --quiet --features dlib-face --ref "$store" --json - | sed -n 's/.*"fid": *\([-0-9.e+]*\).*/\1/p')
        printf '%s\t%s\t%s\n' "$run" "$at" "$value" | tee -a "$scores"
    done < <(snapshots "$out")
}

# "curve<TAB>run<TAB>kimg<TAB>value" of everything there is
points() {
    local run
    for run in "$1"/*/stats.jsonl; do
        awk -v run="$(basename "$(dirname "$run")")" '
            function field(name,    at, rest) {
                at = index($0, "\"" name "\":")
                if (!at) return "nan"
                rest = substr($0, at + length(name) + 3)
                if (rest ~ /^ *{/) sub(/^[^}]*"mean": */, "", rest)
                return match(rest, /^ *-?[0-9.]+([eE][-+]?[0-9]+)?/) ? substr(rest, 1, RLENGTH) + 0 : "nan"
            }
            BEGIN { n = split("Loss/G/loss Loss/D/loss Loss/signs/real Loss/r1_penalty Loss/pl_penalty Progress/augment", name, " ")
                    split("loss of G|loss of D|r(t): mean sign of D(real)|R1 penalty|path length penalty|augmentation probability", title, "|") }
            { x = field("Progress/kimg"); for (i = 1; i <= n; i++) if ((y = field(name[i])) != "nan") print title[i] "\t" run "\t" x "\t" y }' "$run"
    done
    if [ -s "$1/scores.tsv" ]; then awk -F '\t' -v OFS='\t' '$3 != "" { print "face score (Frechet distance)", $1, $2, $3 }' "$1/scores.tsv"; fi
}

report() {
    local out=$1 page=$1/quality.html
    [ -f "$out/bfloat16/stats.jsonl" ] && [ -f "$out/float32/stats.jsonl" ] || { echo "quality.sh: $out has no bfloat16 and float32 run" >&2; exit 1; }
    points "$out" >"$out/points.tsv"
    {
        echo '<!doctype html><html lang="en"><meta charset="utf-8"><title>bfloat16 beside float32</title><style>body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;'
        echo 'margin:2rem auto;padding:0 1rem}svg{width:48%;min-width:300px}svg text{font:10px sans-serif;fill:#555}svg .t{font:600 12px sans-serif;fill:#111}</style>'
        echo '<h1>Mixed precision beside float32</h1><p>One store, one seed; the third run has another seed and shows the spread of runs.</p>'
        awk -F '\t' '
            { curve = $1; run = $2; key = curve SUBSEP run
              if (!(curve in seen)) { order[++curves] = curve; seen[curve] = 1; ymin[curve] = ymax[curve] = $4 }
              n = ++count[key]; X[key, n] = $3; Y[key, n] = $4
              if ($3 > xmax) xmax = $3
              if ($4 < ymin[curve]) ymin[curve] = $4
              if ($4 > ymax[curve]) ymax[curve] = $4 }
            END {
                split("bfloat16 float32 other-seed", run_name, " "); split("#2563eb #dc2626 #9ca3af", colour, " ")
                for (c = 1; c <= curves; c++) {
                    curve = order[c]; lo = ymin[curve]; hi = ymax[curve]; if (hi <= lo) hi = lo + 1
                    printf "<svg viewBox=\"0 0 400 190\"><text x=\"46\" y=\"16\" class=\"t\">%s</text>\n", curve
                    for (g = 0; g <= 4; g++) {
                        y = 158 - 130 * g / 4
                        printf "<line x1=\"46\" x2=\"376\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#e5e5e5\"/><text x=\"42\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n", y, y, y + 3, lo + (hi - lo) * g / 4
                    }
                    for (r = 3; r >= 1; r--) {
                        key = curve SUBSEP run_name[r]
                        if (!count[key]) continue
                        printf "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.4\" points=\"", colour[r]
                        for (i = 1; i <= count[key]; i++) printf "%.1f,%.1f ", 46 + 330 * X[key, i] / xmax, 158 - 130 * (Y[key, i] - lo) / (hi - lo)
                        printf "\"/><text x=\"%d\" y=\"185\" style=\"fill:%s\">%s</text>\n", 46 + (r - 1) * 90, colour[r], run_name[r]
                    }
                    printf "<text x=\"376\" y=\"172\" text-anchor=\"end\">%.4g kimg</text></svg>\n", xmax
                }
            }' "$out/points.tsv"
        echo '</html>'
    } >"$page"
    # Distance of two runs: root mean square of the difference of their curves, each averaged over five ticks, without the first tenth.
    awk -F '\t' '
        { key = $1 SUBSEP $2; n = ++count[key]; X[key, n] = $3; Y[key, n] = $4; curves[$1] = 1 }
        function smooth(key, i,    k, s, m) { for (k = i - 2; k <= i + 2; k++) if (k >= 1 && k <= count[key]) { s += Y[key, k]; m++ } return s / m }
        function distance(curve, a, b,    x, y, n, i, d, s, m) {
            x = curve SUBSEP a; y = curve SUBSEP b; n = count[x] < count[y] ? count[x] : count[y]
            for (i = int(n / 10) + 1; i <= n; i++) { d = smooth(x, i) - smooth(y, i); s += d * d; m++ }
            return m ? sqrt(s / m) : -1
        }
        END {
            printf "%-34s %16s %16s\n", "", "float32", "another seed"
            for (c in curves) {
                d = distance(c, "bfloat16", "float32"); e = distance(c, "bfloat16", "other-seed")
                printf "%-34s %16s %16s  %s\n", c, d < 0 ? "none" : sprintf("%.4g", d), e < 0 ? "none" : sprintf("%.4g", e),
                    d < 0 || e < 0 ? "" : d <= 1.5 * e ? "within the spread of runs" : "farther than runs lie apart"
            }
        }' "$out/points.tsv"
    echo "curves: $page"
}

[ $# -ge 2 ] || usage
command=$1
shift
case $command in
    train | score) [ $# -ge 2 ] || usage; "$command" "$@" ;;
    report) report "$1" ;;
    *) usage ;;
esac
