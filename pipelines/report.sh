#!/bin/sh
# report.sh RUN [SCORES.tsv [STORE.json [TIMES.tsv]]] > report.html
#
# One self-contained page about a training run: grids, curves, scores, provenance. Nothing is loaded from anywhere else, so the file
# can be mailed. RUN is a run folder of sg2-train; SCORES.tsv has lines "what<TAB>value<TAB>note"; STORE.json is what
# `pack-lmdb ls --json` printed; TIMES.tsv has lines "stage<TAB>seconds". Needs sh, awk, sed and base64 only.
set -eu
[ $# -ge 1 ] || { sed -n '2s/^# /usage: /p' "$0" >&2; exit 2; }
run=$1 scores=${2:-} store=${3:-} times=${4:-}
[ -f "$run/stats.jsonl" ] || { echo "report.sh: $run/stats.jsonl is not there; is $run a run folder of sg2-train?" >&2; exit 1; }

escape() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'; }
picture() { # file caption
    [ -f "$1" ] || return 0
    printf '<figure><img alt="%s" src="data:image/png;base64,' "$2"
    base64 -w0 "$1"
    printf '"><figcaption>%s</figcaption></figure>\n' "$2"
}
# curve TITLE NAME... draws the named fields of the lines of $from over the field $over as one SVG. A field is a number or {"mean":number}.
from=$run/stats.jsonl over=Progress/kimg
curve() {
    title=$1
    shift
    awk -v title="$title" -v over="$over" -v names="$*" '
    function field(line, name,    at, rest) {
        at = index(line, "\"" name "\":")
        if (!at) return "nan"
        rest = substr(line, at + length(name) + 3)
        sub(/^ */, "", rest)
        if (substr(rest, 1, 1) == "{") {
            sub(/^[^}]*"mean": */, "", rest)
        }
        return match(rest, /^-?[0-9.]+([eE][-+]?[0-9]+)?/) ? substr(rest, 1, RLENGTH) : "nan"
    }
    BEGIN { n = split(names, name, " "); split("#2563eb #dc2626 #059669 #d97706", colour, " ") }
    {
        x = field($0, over)
        if (x == "nan") next
        for (i = 1; i <= n; i++) {
            y = field($0, name[i])
            if (y == "nan") continue
            k = ++count[i]; X[i, k] = x; Y[i, k] = y
            if (x + 0 > xmax) xmax = x + 0
            if (!seen || y + 0 < ymin) ymin = y + 0
            if (!seen || y + 0 > ymax) ymax = y + 0
            seen = 1
        }
    }
    END {
        if (!seen) exit
        if (ymin > 0) ymin = 0
        if (ymax <= ymin) ymax = ymin + 1
        if (!xmax) xmax = 1
        L = 46; T = 28; W = 330; H = 130
        printf "<svg viewBox=\"0 0 400 190\" role=\"img\" aria-label=\"%s\"><text x=\"%d\" y=\"16\" class=\"t\">%s</text>\n", title, L, title
        for (g = 0; g <= 4; g++) {
            y = ymin + (ymax - ymin) * g / 4; py = T + H - H * g / 4
            printf "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%d\" y=\"%.1f\" class=\"a\" text-anchor=\"end\">%.3g</text>\n", L, L + W, py, py, L - 5, py + 3, y
        }
        printf "<text x=\"%d\" y=\"%d\" class=\"a\" text-anchor=\"end\">%.4g kimg</text>\n", L + W, T + H + 14, xmax
        for (i = 1; i <= n; i++) {
            printf "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"", colour[i]
            for (k = 1; k <= count[i]; k++) printf "%.1f,%.1f ", L + W * X[i, k] / xmax, T + H - H * (Y[i, k] - ymin) / (ymax - ymin)
            printf "\"/><text x=\"%d\" y=\"%d\" class=\"a\" style=\"fill:%s\">%s</text>\n", L + (i - 1) * 110, T + H + 27, colour[i], name[i]
        }
        print "</svg>"
    }' "$from"
}
table() { # file of tab-separated lines, heading cells...
    file=$1
    shift
    printf '<table><tr>'
    for h in "$@"; do printf '<th>%s</th>' "$h"; done
    printf '</tr>\n'
    escape <"$file" | awk -F '\t' '{ printf "<tr>"; for (i = 1; i <= NF; i++) printf "<td>%s</td>", $i; print "</tr>" }'
    printf '</table>\n'
}

cat <<'HTML'
<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>facemill: photos in, faces out</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #ddd}
figure{margin:0 0 1rem}img{max-width:100%;image-rendering:pixelated;border:1px solid #ddd}figcaption{color:#666;font-size:.85rem}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:1rem}
svg{width:100%}svg .t{font:600 12px sans-serif}svg .a{font:10px sans-serif;fill:#666}svg .g{stroke:#e5e5e5}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #eee;vertical-align:top}
pre{background:#f6f6f6;padding:.8rem;overflow:auto;font-size:.8rem}
</style>
<h1>facemill: photos in, faces out</h1>
HTML

if [ -n "$scores" ] && [ -s "$scores" ]; then
    echo '<h2>Scores</h2>'
    table "$scores" 'what was compared' 'distance' 'how'
    echo '<p>Lower is closer. A Fr&eacute;chet distance of few pictures is biased upwards: compare only rows made with the same counts,
features, reference and resizing. Of a few hundred or thousand pictures it is no FID of the literature (50,000 generated pictures against a
whole data set): it says which of two networks is closer to this reference, not how good either is, and a network that repeats its
training pictures has the best of all. The distance between two halves of the real pictures is what a perfect generator would reach here. Face-embedding
features say how alike two sets of faces are to a face recogniser; they are not the Inception features of published FID numbers.</p>'
fi
if [ -s "$run/scores.jsonl" ]; then
    echo '<h2>Snapshots, scored while training went on</h2><div class="grid">'
    from=$run/scores.jsonl over=kimg
    for metric in fid kid precision recall; do curve "$metric of the snapshots" "$metric"; done
    from=$run/stats.jsonl over=Progress/kimg
    echo '</div>'
    names=$(mktemp)
    awk '
    function number(text, name,    at) {
        at = index(text, "\"" name "\":")
        text = substr(text, at + length(name) + 3)
        return at && match(text, /^-?[0-9.]+([eE][-+]?[0-9]+)?/) ? substr(text, 1, RLENGTH) : "-"
    }
    function word(text, name,    at) {
        at = index(text, "\"" name "\":\"")
        text = substr(text, at + length(name) + 4)
        return at ? substr(text, 1, index(text, "\"") - 1) : ""
    }
    {
        reference = substr($0, index($0, "\"reference\":{")); made = substr($0, index($0, "\"scored\":{"))
        how = word(substr($0, index($0, "\"features\":{")), "name") ", " word($0, "preprocessing")
        if (index($0, "\"error\":")) how = "not scored: " word($0, "error")
        print word($0, "snapshot") "\t" number($0, "fid") "\t" number(made, "count") " against " number(reference, "count") "\t" how
    }' "$run/scores.jsonl" >"$names"
    table "$names" 'snapshot' 'Fr&eacute;chet distance' 'pictures' 'features, preprocessing'
    rm -f "$names"
    if [ -s "$run/best/order" ]; then
        echo '<p>The best, kept in best/: '
        cut -f 2 "$run/best/order" | escape | paste -sd ' ' -
        echo '</p>'
    fi
    echo '<p>Distances of few pictures are biased upwards: compare along the curve, not with other counts, features or papers.</p>'
fi
echo '<h2>Pictures</h2><div class="grid">'
picture "$run/reals.png" 'real: a sample of the store'
set -- "$run"/fakes*.png
picture "$1" "$(basename "$1" .png): before training"
[ $# -lt 3 ] || { shift $(($# / 2)); picture "$1" "$(basename "$1" .png): on the way"; }
for last in "$@"; do :; done
[ "$1" = "$last" ] && [ $# -eq 1 ] || picture "$last" "$(basename "$last" .png): at the end"
echo '</div><h2>Training</h2><div class="grid">'
curve 'losses' Loss/G/loss Loss/D/loss
curve 'sign of D on real pictures (target of ADA: 0.6)' Loss/signs/real
curve 'augmentation probability' Progress/augment
curve 'R1 penalty' Loss/r1_penalty
curve 'path length penalty' Loss/pl_penalty
curve 'seconds per 1000 pictures' Timing/sec_per_kimg
echo '</div>'
if [ -n "$times" ] && [ -s "$times" ]; then
    echo '<h2>Time</h2>'
    table "$times" 'stage' 'seconds'
fi
echo '<h2>Provenance</h2>'
for f in "$run/config.json" "$store"; do
    [ -n "$f" ] && [ -f "$f" ] || continue
    printf '<p>%s</p><pre>' "$(basename "$f")"
    escape <"$f"
    echo '</pre>'
done
echo '</html>'
