# The scripts that test and compare on a GPU, as far as they can be tried without one.
load lib

@test "cuda.sh counts what programs say, and stops where there is no GPU" {
    need check-reference sg2-train
    DEVICE=cpu "$ROOT/tests/cuda.sh" reference-ops >out.txt
    grep -Eq '^reference-ops +19 passed +0 failed' out.txt
    tail -n 1 out.txt | grep -q '^19 passed, 0 failed, 0 skipped'
    FACEMILL_PLUGIN=$PWD/nothing.so run -2 "$ROOT/tests/cuda.sh" 'reference-*'
    [[ "$output" == *"no GPU to test"* ]]
}

# tool REPORT - a compute-sanitizer that reports this, and programs that do nothing, as a build of their own.
tool() {
    mkdir -p fake/bin fake/tool
    printf '#!/bin/sh\necho "CUDA: device code sm_90; drawn"\n' >fake/bin/sg2-train
    cp fake/bin/sg2-train fake/bin/pack-lmdb
    printf '#!/bin/bash\nwhile [ "$1" != --log-file ]; do shift; done\ncp "%s" "$2"\n' "$PWD/report" >fake/tool/compute-sanitizer
    chmod +x fake/bin/* fake/tool/*
    { echo '========= COMPUTE-SANITIZER'; cat; echo '========= ERROR SUMMARY: some errors'; } >report
}

@test "reports of compute-sanitizer about our kernels fail, those about cuDNN's are counted" {
    tool </dev/null
    PATH=$PWD/fake/tool:$PATH BUILD=$PWD/fake "$ROOT/tests/cuda.sh" sanitizer-memcheck | tail -n 1 | grep -q '^1 passed, 0 failed'
    tool <<'END'
========= Uninitialized __global__ memory read of size 4 bytes
=========     at void cudnn::engine<float>()+0x70
=========     by thread (0,0,0) in block (0,0,0)
========= 
END
    PATH=$PWD/fake/tool:$PATH BUILD=$PWD/fake "$ROOT/tests/cuda.sh" sanitizer-initcheck >out.txt
    grep -q '1 reports about kernels of cuDNN' out.txt
    tool <<'END'
========= Invalid __global__ write of size 4 bytes
=========     at void sum_kernel<float>()+0x70
========= 
END
    PATH=$PWD/fake/tool:$PATH BUILD=$PWD/fake run -1 "$ROOT/tests/cuda.sh" sanitizer-memcheck
    [[ "$output" == *"1 reports about our kernels"* ]]
    [[ "${lines[-1]}" == "0 passed, 1 failed"* ]]
}

@test "quality.sh draws runs over one another and says how far apart they lie" {
    for run in bfloat16 float32 other-seed; do
        mkdir -p "runs/$run"
        $python - "$run" >"runs/$run/stats.jsonl" <<'PY'
import json, math, sys
shift = {'bfloat16': 0, 'float32': 0.1, 'other-seed': 0.3}[sys.argv[1]]
for i in range(1, 41):
    print(json.dumps({'Progress/kimg': i * 2, 'Loss/G/loss': math.sin(i / 5) + shift, 'Loss/D/loss': {'mean': 1 - 5 * shift if shift < .2 else 1.01}, 'Loss/r1_penalty': None}))
PY
    done
    printf 'bfloat16\t80\t0.5\nfloat32\t80\t0.51\nother-seed\t80\t0.6\n' >runs/scores.tsv
    "$ROOT/tests/bench/quality.sh" report runs >out.txt
    grep -Eq '^loss of G +0\.1 +0\.3 +within' out.txt
    grep -Eq '^loss of D +0\.5 +0\.01 +farther' out.txt
    grep -Eq '^face score .* 0\.01 +0\.1 +within' out.txt
    $python -c 'import re
page = open("runs/quality.html").read()
assert page.count("<svg") == 3 and page.count("<polyline") == 9, (page.count("<svg"), page.count("<polyline"))'
    run -2 "$ROOT/tests/bench/quality.sh"
}
