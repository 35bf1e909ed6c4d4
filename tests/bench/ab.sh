#!/usr/bin/env bash
# ab.sh - CUDA kernels on a GPU machine: right, then faster than they were.
#
#   tests/bench/ab.sh pack FOLDER       where things are built: programs, plugin, the libraries a bare machine lacks, reference files;
#                                       and FOLDER.tar.xz, 50 MB, to carry
#   FOLDER/ab.sh run FOLDER [STEP...]   on the GPU machine; steps: check launches train lanes gen fp32 large (default: the first five)
#
# Logs go to $OUT (default: FOLDER/out). Choosing algorithms is the longest part: the cache of choices is kept there too. OLD=FOLDER: the logs
# of an earlier run on such a machine, whose launches are shown beside these. Captured launches have three lanes without FACEMILL_LANES=1 .. 4.
set -euo pipefail
command=${1:?pack or run} to=${2:?a folder}
shift 2

pack() {
    mkdir -p "$to"
    to=$(cd "$to" && pwd)
    cd "$(dirname "$0")/../.."
    make -j"${JOBS:-2}" build/lib/facemill-cuda.so build/bench/bench_cuda build/bench/bench_launches build/bin/sg2-gen build/tests/test_device \
        build/tests/test_fused build/tests/test_trainer build/tests/check-reference
    mkdir -p "$to"/{bin,lib,libs,reference}
    cp build/bench/bench_cuda build/bench/bench_launches build/bin/sg2-gen build/tests/test_device build/tests/test_fused build/tests/test_trainer build/tests/check-reference "$to/bin"
    cp build/lib/facemill-cuda.so "$to/lib"
    cp tests/reference/{ops,stylegan2-r16,stylegan2-r32-cond5,augment-r32}.safetensors examples/faces-128.safetensors "$to/reference"
    strip "$to"/bin/* "$to"/lib/*
    # all but the C and C++ libraries, which the machine has and of which CUDA's may want newer ones
    ldd "$to"/bin/* | awk '$3 ~ /^\// {print $3}' | sort -u | grep -vE '/(libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s|ld-linux[^/]*)\.so' | xargs -I{} cp -L {} "$to/libs"
    strip "$to"/libs/* 2>/dev/null || true
    cp tests/bench/ab.sh "$to"
    tar cf - -C "$(dirname "$to")" "$(basename "$to")" | xz -2 -T0 >"$to.tar.xz"
    ls -l "$to.tar.xz"
}

run() {
    to=$(cd "$to" && pwd)
    local steps=${*:-check launches train lanes gen} out=${OUT:-$to/out} failed=0
    mkdir -p "$out"
    out=$(cd "$out" && pwd)
    export LD_LIBRARY_PATH=$to/libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} XDG_CACHE_HOME=$out/cache FACEMILL_PLUGIN=$to/lib/facemill-cuda.so
    export OMP_WAIT_POLICY=passive FACEMILL_CHECK_DEVICE=cuda
    quietly() { # NAME COMMAND...: its last line, all of it in the log
        local name=$1 start=$SECONDS status=0
        shift
        "$@" >"$out/$name.log" 2>&1 || status=$?
        printf '%-30s %3ds  %s%s\n' "$name" $((SECONDS - start)) "$(tail -n 1 "$out/$name.log")" "$([ $status -eq 0 ] || echo "  FAILED ($status)")"
        [ $status -eq 0 ] || failed=1
    }
    beside() { # NAME: old and new times of bench_launches by line
        local before=${OLD:-}/$1.log now=$out/$1.log
        [ -n "${OLD:-}" ] && [ -f "$before" ] || { cat "$now" && return; }
        echo "$1: old ms, new ms, new over old, error of the new"
        awk 'NR == FNR {old[substr($0, 1, 30)] = $(NF - ($NF == "WRONG") - 2); next} FNR > 1 {w = $NF == "WRONG"; k = substr($0, 1, 30);
            n = $(NF - w - 2); printf "  %s %9s %9s %6.2f %9s%s\n", k, old[k], n, (old[k] > 0 ? n / old[k] : 0), $(NF - w - 3), (w ? "  WRONG" : "")}' "$before" "$now"
    }
    step() { case " $steps " in *" $1 "*) return 0 ;; *) return 1 ;; esac }
    cd "$to"
    if step check; then
        quietly test_fused bin/test_fused
        quietly test_device bin/test_device
        quietly test_trainer bin/test_trainer # captured in lanes and launched one by one: the same bits
        quietly check-reference bin/check-reference reference/{ops,stylegan2-r16,stylegan2-r32-cond5,augment-r32}.safetensors
    fi
    if step launches; then
        for part in fir bf16 f32 sample; do
            quietly launches-$part bin/bench_launches $part
            beside launches-$part
        done
    fi
    if step train; then # the second time with remembered choices, and a table of operations in the log
        quietly train-first bin/bench_cuda train-128
        FACEMILL_BENCH_PROFILE=1 quietly train bin/bench_cuda train-128
        grep -hE '^train-128.*s/kimg' "$out/train-first.log" || true
        grep -hE '^train-128.*s/kimg| every |^    phases' "$out/train.log" || true
        # milliseconds of all four phases by operation, unweighted
        awk '$1 ~ /^(fused|upfirdn2d|sum|matmul|conv2d.*|affine.*|adam)$/ && NF == 6 {t[$1] += $3; n[$1] += $2}
            END {for (o in t) printf "  %s %.2f ms (%d)", o, t[o], n[o]; print ""}' "$out/train.log"
    fi
    if step lanes; then
        for n in 1 2 3 4; do
            FACEMILL_LANES=$n quietly train-lanes-$n bin/bench_cuda train-128
            grep -hE '^train-128.*s/kimg| every |^    phases' "$out/train-lanes-$n.log" || true
        done
    fi
    if step gen; then
        quietly generate bin/bench_cuda generate-128-b32 generate-128-b1
        grep '^generate.*img/s' "$out/generate.log" || true
        bin/sg2-gen --network reference/faces-128.safetensors --seeds 0-63 --quiet >/dev/null # remembers its choices
        local start=$(date +%s%N)
        bin/sg2-gen --network reference/faces-128.safetensors --seeds 0-49999 --quiet | cat >/dev/null
        echo "50000 pictures into a pipe: $((50000 * 1000 / (($(date +%s%N) - start) / 1000000 + 1))) a second, the start included"
    fi
    if step fp32; then
        quietly train-fp32 bin/bench_cuda train-128-fp32
        grep -hE '^train-128.*s/kimg|every' "$out/train-fp32.log" || true
    fi
    if step large; then
        quietly train-large bin/bench_cuda train-128-b64 train-256
        grep -hE '^train.*s/kimg|every|phases' "$out/train-large.log" || true
    fi
    return $failed
}

case $command in
pack) pack ;;
run) run "$@" ;;
*) echo "ab.sh pack FOLDER | run FOLDER [STEP...]" >&2 && exit 2 ;;
esac
