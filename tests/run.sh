#!/usr/bin/env bash
# run.sh - runs every test and counts: unit programs (cmocka), reference numbers, fuzz corpora, programs (bats), each also under the
# sanitizers where that finds anything. Ends with "N passed, N failed"; exit 1 when anything failed or nothing ran.
#
#   BUILD=build SAN_BUILD=build/san tests/run.sh [PATTERN]     only test files whose name matches the shell pattern
set -uo pipefail
cd "$(dirname "$0")/.."
export BUILD=${BUILD:-build} SAN_BUILD=${SAN_BUILD:-build/san} FACEMILL_MODELS=${FACEMILL_MODELS:-$PWD/models}
pattern=${1:-*}
passed=0 failed=0 skipped=0 failures=
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# dlib, oneDNN and OpenBLAS keep caches until exit; everything else that leaks is ours.
export LSAN_OPTIONS="suppressions=$PWD/tests/lsan.supp:print_suppressions=0" ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1

# Counts ok/not-ok lines of a log by two patterns (cmocka says each failure twice); a run that failed without saying which counts as one.
tally() { # name status log ok-pattern bad-pattern
    local ok bad skip
    ok=$(grep -cE "$4" "$3") bad=$(grep -E "$5" "$3" | sort -u | wc -l) skip=$(grep -cE '^ok .*# skip' "$3")
    ok=$((ok - skip)) skipped=$((skipped + skip))
    [ "$2" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
    [ "$2" -eq 0 ] && [ $((ok + skip)) -eq 0 ] && bad=1 # ran nothing
    passed=$((passed + ok)) failed=$((failed + bad))
    printf '%-34s %4d passed %3d failed  %3ds%s\n' "$1" "$ok" "$bad" "$SECONDS" "$([ "$skip" -eq 0 ] || echo "  $skip skipped")"
    if [ "$skip" -gt 0 ]; then grep -E '^ok .*# skip' "$3" | sed 's/^/    | /'; fi
    if [ "$bad" -gt 0 ]; then
        tail -n 60 "$3" | sed 's/^/    | /'
        failures+=$(grep -E -B 4 -A 8 "$5" "$3" | head -n 60 | sed "s/^/$1: /" || :)$'\n'
        [ "$2" -eq 0 ] || failures+="$1: exit status $2, last line: $(tail -n 1 "$3")"$'\n'
    fi
}
match() { case $1 in $pattern) return 0 ;; *) return 1 ;; esac }

# Unit programs with threads that sleep when idle (the stages see to it themselves): beside other work it is ten times as fast.
for build in "$BUILD" "$SAN_BUILD"; do
    tag=$([ "$build" = "$SAN_BUILD" ] && echo ' (sanitized)')
    for t in "$build"/tests/test_*; do
        name=$(basename "$t")
        match "$name" && [ -x "$t" ] || continue
        SECONDS=0
        OMP_WAIT_POLICY=passive CMOCKA_MESSAGE_OUTPUT=stdout timeout 600 "$t" >"$logs/log" 2>&1
        tally "$name$tag" $? "$logs/log" '^\[       OK \]' '^\[  FAILED  \] [a-zA-Z_][a-zA-Z0-9_]*$'
    done
done
for f in tests/reference/*.safetensors; do
    name=reference-$(basename "$f" .safetensors)
    match "$name" || continue
    SECONDS=0
    timeout 600 "$BUILD/tests/check-reference" "$f" >"$logs/log" 2>&1
    tally "$name" $? "$logs/log" '^ok ' '^FAIL '
done
for t in "$SAN_BUILD"/tests/fuzz_*; do
    name=$(basename "$t")
    match "$name" && [ -x "$t" ] || continue
    SECONDS=0
    if timeout 600 "$t" "tests/fuzz/corpus/${name#fuzz_}" >"$logs/log" 2>&1; then echo "ok fuzz" >>"$logs/log"; s=0; else s=1; fi
    tally "$name (sanitized)" $s "$logs/log" '^ok fuzz' '^never$'
done
programs() { # BUILD TAG: the program tests of that build
    for t in tests/programs/*.bats; do
        name=$(basename "$t" .bats)
        match "$name" || continue
        # under the sanitizers, the programs that take untrusted bytes; training and scoring have their unit tests there
        [ -z "$2" ] || case $name in manners | formats | face-* | pack-lmdb | sg2-gen* | sg2-latent | networks | sg2-convert) ;; *) continue ;; esac
        SECONDS=0
        BUILD=$1 timeout 1200 bats --tap "$t" >"$logs/log" 2>&1
        tally "$name$2" $? "$logs/log" '^ok ' '^not ok '
    done
}
programs "$BUILD" ''
programs "$SAN_BUILD" ' (sanitized)'
# once more at the end, where a log that was cut still has them
[ -z "$failures" ] || printf '\nWhat failed:\n%s' "$failures"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
