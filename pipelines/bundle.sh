#!/bin/bash
# bundle.sh BUILD PLUGIN OUT - puts what was built into one folder that runs wherever it lies, and into OUT.tar.xz.
#
# BUILD is a build with BUNDLE=1 (programs look for libraries in ../lib); PLUGIN the CUDA plugin, or "" where none was built. OUT gets
# bin lib tests bench share examples. Libraries that every distribution has (libc, libm, libstdc++, libgcc) and NVIDIA's stay outside.
# Ends with a check: the folder is moved elsewhere, every program is run from there with an empty environment, and none may use a library
# from outside the folder but those.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -eq 3 ] || { echo "usage: bundle.sh BUILD PLUGIN OUT   (make bundle runs it)" >&2; exit 2; }
build=$1 plugin=$2 out=$3
limit=60000000
say() { echo "bundle: $*" >&2; }
outside='linux-vdso|ld-linux-x86-64|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so'

rm -rf "$out" "$out.tar.xz"
mkdir -p "$out"/{bin,lib,bench,tests,examples,share/man/man1}
install "$build"/bin/* "$out/bin"
install "$build"/bench/bench_cuda "$build"/bench/bench_inception "$build"/bench/bench_launches "$out/bench"
for t in "$build"/tests/*; do
    if [ -f "$t" ] && [ -x "$t" ]; then install "$t" "$out/tests"; fi
done
[ -z "$plugin" ] || install "$plugin" "$out/lib"
install "$build/lib/libopenblas.so.0" "$out/lib"

# libraries, and theirs; the loader looks beside the program first, so what is already there is found there
for e in "$out"/bin/* "$out"/tests/* "$out"/bench/*; do
    [ -f "$e" ] && ldd "$e" | awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 } /not found/ { print "MISSING", $1 }'
done | sort -u | while read -r name file; do
    if [ "$name" = MISSING ]; then
        say "$file is not there"
        exit 1
    fi
    case $file in "$PWD"/* | "$out"/*) continue ;; esac
    if ! grep -qE "^($outside)" <<<"$name"; then install -m 755 "$(readlink -f "$file")" "$out/lib/$name"; fi
done
strip --strip-unneeded "$out"/bin/* "$out"/tests/* "$out"/bench/* "$out"/lib/* 2>/dev/null || true # scripts are none

install -m 644 stages/*.1 "$out/share/man/man1"
mkdir -p "$out/share/facemill/pipelines"
cp -r pipelines/*.sh pipelines/experiment.mk pipelines/models.sha256 "$out/share/facemill/pipelines"
install tests/cuda.sh "$out/tests"
install tests/bench/quality.sh "$out/bench"
cp -r tests/reference "$out/tests/reference"
cp -r examples/photos "$out/examples/photos"
cp README.md LICENSE "$out"

bytes=$(du -sb "$out" | cut -f 1)
if [ "$bytes" -gt $limit ]; then
    say "$out has $bytes bytes, more than $limit"
    du -ab "$out" | sort -rn | head -20 >&2
    exit 1
fi

# ---- does it run elsewhere? ----
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
cp -r "$out" "$elsewhere/a folder"
cd "$elsewhere/a folder"
for e in bin/* tests/test_* tests/check-reference bench/bench_*; do
    strange=$(env -i ldd "$e" | grep '=>' | grep -vE "^[[:space:]]*($outside)" | grep -vF "=> $PWD/" || true)
    if [ -n "$strange" ]; then
        say "$e would use from outside: $strange"
        exit 1
    fi
done
for p in bin/*; do
    env -i "./$p" --version >/dev/null || { say "$p does not run"; exit 1; }
done
run() { env -i "$@" || { say "$* failed"; exit 1; }; }
run ./bin/pack-lmdb --quiet --size 16 --crop center "$elsewhere/store" examples/photos
run ./bin/sg2-train --quiet --device cpu --data "$elsewhere/store" --out "$elsewhere/run" --kimg 0.016 --batch 8 --fmaps 0.01 --channel-max 16
run ./bin/sg2-gen --quiet --device cpu --network "$elsewhere/run/network-final.safetensors" --seeds 0-3 --out "$elsewhere/faces.png"
env -i ./tests/check-reference tests/reference/{ops,stylegan2-r16,train-trace-r16}.safetensors | tail -n 1 | grep -q ' 0 outside the tolerance$'
cd - >/dev/null
tar -C "$(dirname "$out")" -cJf "$out.tar.xz" "$(basename "$out")"
say "$out: $((bytes / 1000000)) MB, $(($(stat -c %s "$out.tar.xz") / 1000000)) MB as $out.tar.xz; runs from elsewhere"
