#!/usr/bin/env bash
# cuda.sh - what a GPU computes, against the CPU, the reference and itself; counts like run.sh and ends with "N passed, N failed".
#
#   tests/cuda.sh [PATTERN]      only parts whose name matches the shell pattern, such as 'test_*' or 'sanitizer-*'
#
# Parts: test_NAME (unit programs on the device; test_device compares every operation with the CPU), reference-NAME (the numbers of the
# published implementations, in float32 and, networks, in bfloat16), training-NAME and generating-NAME (programs against themselves: graphs
# and single launches, interrupted and whole, pictures here and there), sanitizer-NAME (a small training under compute-sanitizer).
# Needs bash and the programs: a checkout (BUILD=build after make and make test-programs), or a bundle, where make is not there.
# Environment: BUILD; FACEMILL_PLUGIN; FACEMILL_SEED and FACEMILL_DRAWS of test_device (default: a seed of the clock, 6 shapes a case);
# SANITIZE_SECONDS a tool may take (300); DEVICE=cpu tries the script itself where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ -z "${BUILD:-}" ]; then BUILD=build; [ -d bin ] && BUILD=$PWD; fi
BUILD=$(cd "$BUILD" && pwd) || exit 2
device=${DEVICE:-cuda} pattern=${1:-*}
export FACEMILL_CHECK_DEVICE=$device FACEMILL_SEED=${FACEMILL_SEED:-$(date +%s)} FACEMILL_DRAWS=${FACEMILL_DRAWS:-6}
PATH=$BUILD/bin:$PATH
passed=0 failed=0 skipped=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache # algorithms are chosen afresh, once
mkdir "$work/cache"

match() { case $1 in $pattern) return 0 ;; *) return 1 ;; esac }
result() { # name ok|not-ok|skip seconds [log or reason]
    case $2 in
        ok) passed=$((passed + 1)) ;;
        skip) skipped=$((skipped + 1)) ;;
        *) failed=$((failed + 1)) ;;
    esac
    printf '%-34s %-7s %4ds%s\n' "$1" "$2" "$3" "$([ "$2" = skip ] && echo "  $4")"
    if [ "$2" = not-ok ]; then tail -n 40 "$4" | sed 's/^/    | /'; fi
}
# counted NAME LIMIT OK BAD COMMAND... - a program that says which of its cases passed, by two patterns
counted() {
    local name=$1 limit=$2 good=$3 bad=$4 status ok wrong
    shift 4
    match "$name" || return 0
    SECONDS=0
    OMP_WAIT_POLICY=passive CMOCKA_MESSAGE_OUTPUT=stdout timeout "$limit" "$@" >"$work/log" 2>&1
    status=$?
    ok=$(grep -cE "$good" "$work/log") wrong=$(grep -cE "$bad" "$work/log")
    if [ $status -ne 0 ] && [ "$wrong" -eq 0 ]; then wrong=1; fi
    if [ $status -eq 0 ] && [ "$ok" -eq 0 ]; then wrong=1; fi # ran nothing
    passed=$((passed + ok)) failed=$((failed + wrong))
    printf '%-34s %4d passed %3d failed  %3ds%s\n' "$name" "$ok" "$wrong" "$SECONDS" "$([ $status -eq 124 ] && echo '  out of time')"
    grep -E ' is refused: |every shape was refused' "$work/log" | sort | uniq -c | head -n 8 | sed 's/^/    | /'
    if [ "$wrong" -gt 0 ]; then
        grep -E "$bad" "$work/log" | head -n 20 | sed 's/^/    | /'
        tail -n 25 "$work/log" | sed 's/^/    | /'
    fi
}
# checked NAME COMMAND... - a function or program that succeeds or not
checked() {
    local name=$1
    shift
    match "$name" || return 0
    SECONDS=0
    if "$@" >"$work/log" 2>&1; then result "$name" ok "$SECONDS"; else result "$name" not-ok "$SECONDS" "$work/log"; fi
}

version=$(sg2-train --version)
grep -E '^(facemill|CUDA)' <<<"$version"
if [ "$device" = cuda ] && grep -qE '^CUDA: (none|.*no GPU)' <<<"$version"; then
    echo "cuda.sh: no GPU to test (DEVICE=cpu tries the script alone)" >&2
    exit 2
fi

# ---- operations, engine, training state ----
for t in test_device test_grad test_fused test_trainer test_generator; do
    counted "$t" 900 '^\[       OK \]' '^\[  FAILED  \] [a-zA-Z_]+[^:]*$' "$BUILD/tests/$t"
done
for f in tests/reference/*.safetensors; do
    counted "reference-$(basename "$f" .safetensors)" 900 '^ok ' '^FAIL ' "$BUILD/tests/check-reference" "$f"
done

# ---- whole programs ----
store=$work/photos.lmdb
pack-lmdb --quiet --size 64,32 --crop center --filter lanczos --codec png "$store" examples/photos 2>"$work/log" || {
    result packing not-ok 0 "$work/log"
    exit 1
}
small=(--data "$store" --size 32 --fmaps 0.06 --channel-max 64 --batch 8 --z-dim 64 --w-dim 64 --tick 0.08 --snap 2 --checkpoint 0
    --grid 3x2 --mirror --p 0.3 --augpipe bgcfnc --device "$device" --quiet)
train() { # OUT OPTIONS...
    sg2-train "${small[@]}" --out "$work/$1" "${@:2}"
}
# The same bytes: networks, checkpoints, grids; and the same log but for clocks and memory.
same_run() {
    local f
    for f in "$work/$1"/*.safetensors "$work/$1"/fakes*.png; do
        cmp "$f" "$work/$2/$(basename "$f")" || return 1
    done
    diff <(sed -E 's/"(Timing|Resources)[^,}]*//g; s/"timestamp"[^,}]*//' "$work/$1/stats.jsonl") \
        <(sed -E 's/"(Timing|Resources)[^,}]*//g; s/"timestamp"[^,}]*//' "$work/$2/stats.jsonl")
}
length=0.4
[ "$device" = cuda ] || length=0.24
# Everything in one precision, against one whole run.
precision() { # bfloat16|float32 OPTIONS
    local kind=$1 options=("${@:2}") whole=whole-$1
    twice() { train "$whole" --kimg $length "${options[@]}" && train "$kind-again" --kimg $length "${options[@]}" && same_run "$whole" "$kind-again"; }
    launches() { train "$kind-launches" --kimg $length --no-graph "${options[@]}" && same_run "$whole" "$kind-launches"; }
    pictures() { train "$kind-host" --kimg $length --pictures host "${options[@]}" && same_run "$whole" "$kind-host"; }
    resumed() {
        train "$kind-parts" --kimg 0.16 "${options[@]}" && train "$kind-parts" --kimg $length "${options[@]}" &&
            cmp "$work/$whole/checkpoint.safetensors" "$work/$kind-parts/checkpoint.safetensors"
    }
    killed() {
        local pid n stats=$work/$kind-killed/stats.jsonl
        mkdir "$work/$kind-killed" && : >"$stats"
        for n in 0 1 2; do
            (exec sg2-train "${small[@]}" --out "$work/$kind-killed" --kimg $length "${options[@]}") &
            pid=$!
            while kill -0 $pid 2>/dev/null && [ "$(wc -l <"$stats")" -le $n ]; do sleep 0.02; done
            kill -KILL $pid 2>/dev/null
            wait $pid 2>/dev/null
        done
        train "$kind-killed" --kimg $length "${options[@]}" && same_run "$whole" "$kind-killed"
    }
    checked "training-$kind-twice" twice
    [ -f "$work/$whole/network-final.safetensors" ] || train "$whole" --kimg $length "${options[@]}"
    checked "training-$kind-launches" launches
    checked "training-$kind-pictures" pictures
    checked "training-$kind-resumed" resumed
    checked "training-$kind-killed" killed
}
for kind in bfloat16 float32; do
    for part in twice launches pictures resumed killed; do
        if match "training-$kind-$part"; then
            precision "$kind" $([ "$kind" = bfloat16 ] || echo --fp32)
            break
        fi
    done
done

# bytes A B - how many bytes of two folders of pictures differ, by how much at most, and their mean difference
bytes() {
    local f
    for f in "$work/$1"/*.ppm; do
        cmp -l "$f" "$work/$2/$(basename "$f")" | awk '{ print $2, $3 }'
    done | awk -v total="$(cat "$work/$1"/*.ppm | wc -c)" '
        function number(o) { return int(o / 100) * 64 + int(o % 100 / 10) * 8 + o % 10 } # cmp writes octal
        { d = number($1) - number($2); d = d < 0 ? -d : d; n++; sum += d; if (d > most) most = d }
        END { printf "%d %d %.4f\n", n, most, sum / total }'
}
draw() { # OUT OPTIONS...
    local network=examples/faces-128.safetensors # not in a bundle: it is as large as half of that
    if [ ! -f "$network" ]; then
        network=$work/whole-float32/network-final.safetensors
        [ -f "$network" ] || train whole-float32 --kimg $length --fp32 || return 1
    fi
    sg2-gen --quiet --network "$network" --seeds 0-7 --batch 8 --trunc 0.7 --format ppm --out "$work/$1" "${@:2}"
}
generating() { # what DEVICE computes as the CPU does, and in bfloat16 nearly
    local n most mean
    draw gen-cpu --device cpu && draw gen-f32 --device "$device" --fp32 && draw gen-16 --device "$device" || return 1
    read -r n most mean < <(bytes gen-cpu gen-f32)
    echo "float32: $n bytes of $(cat "$work"/gen-cpu/*.ppm | wc -c) differ, by $most at most"
    [ "$most" -le 2 ] && [ "$n" -le 2000 ] || return 1
    read -r n most mean < <(bytes gen-cpu gen-16)
    echo "bfloat16: mean difference $mean levels, $most at most"
    awk -v mean="$mean" 'BEGIN { exit !(mean <= 3) }'
}
launched() { draw gen-a --device "$device" && draw gen-b --device "$device" --no-graph && [ "$(bytes gen-a gen-b)" = "0 0 0.0000" ]; }
checked generating-agrees generating
if match generating-agrees && [ -s "$work/log" ]; then grep -E '^(float32|bfloat16):' "$work/log" | sed 's/^/    | /'; fi
checked generating-launches launched

# ---- compute-sanitizer ----
tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer /usr/local/cuda/compute-sanitizer/compute-sanitizer 2>/dev/null | head -n 1)
# Reports about kernels of cuDNN and cuBLAS are counted apart: they are not ours to mend.
sanitize() { # TOOL KIMG
    local name=sanitizer-$1 log=$work/$1.log status ours theirs
    match "$name" || return 0
    if [ "$device" != cuda ] || [ -z "$tool" ]; then
        result "$name" skip 0 "$([ "$device" = cuda ] && echo 'compute-sanitizer is not there' || echo 'needs a GPU')"
        return 0
    fi
    [ -d "$work/warm" ] || train warm --kimg "$2" >/dev/null 2>&1 # algorithms are measured and remembered
    SECONDS=0
    # with this set, sg2-train does not start itself again
    OMP_WAIT_POLICY=passive timeout "${SANITIZE_SECONDS:-300}" "$tool" --tool "$1" --report-api-errors no --print-limit 200 --log-file "$log" \
        "$BUILD/bin/sg2-train" "${small[@]}" --out "$work/$name" --kimg "$2" >"$work/log" 2>&1
    status=$?
    cat "$log" >>"$work/log" 2>/dev/null
    if grep -qE 'Device not supported|not supported on (this|the) device' "$work/log"; then
        result "$name" skip "$SECONDS" 'compute-sanitizer does not work on this machine'
        return 0
    fi
    if [ $status -eq 124 ]; then echo "out of time after ${SANITIZE_SECONDS:-300} s" >>"$work/log"; fi
    read -r ours theirs < <(awk '
        function close_report() { if (report ~ /cudnn|cublas|cutlass|xmma|nvjet/) theirs++; else if (report != "") ours++; report = "" }
        /^========= (Invalid|Uninitialized|Host API|Error: |Misaligned|Race|Barrier|Warning: Race)/ { close_report(); report = $0; next }
        /^========= *$/ { close_report(); next }
        /^========= (ERROR|RACECHECK|COMPUTE|LEAK)/ { close_report(); next }
        report != "" { report = report $0 }
        END { close_report(); print ours + 0, theirs + 0 }' "$log" 2>/dev/null || echo 0 0)
    if [ $status -eq 0 ] && [ "$ours" -eq 0 ] && grep -qE '(ERROR|RACECHECK) SUMMARY' "$log"; then
        result "$name" ok "$SECONDS"
        [ "$theirs" -eq 0 ] || echo "    | $theirs reports about kernels of cuDNN or cuBLAS"
    else
        echo "status $status, $ours reports about our kernels, $theirs about cuDNN's and cuBLAS's" >>"$work/log"
        result "$name" not-ok "$SECONDS" "$work/log"
    fi
}
sanitize memcheck 0.136
sanitize initcheck 0.04
sanitize racecheck 0.016

printf '%d passed, %d failed, %d skipped (FACEMILL_SEED=%s)\n' "$passed" "$failed" "$skipped" "$FACEMILL_SEED"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
