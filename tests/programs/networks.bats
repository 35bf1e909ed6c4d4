# networks of other programs: NVIDIA's .pkl and rosinality's .pt draw the same pictures as our safetensors, and files that mean harm are
# refused quickly and in little memory. pickles.py writes all of them, opcode by opcode.
load lib

PICKLES=$ROOT/tests/programs/pickles.py
NET=$ROOT/tests/reference/stylegan2-r16.safetensors   # G and D
COND=$ROOT/tests/reference/stylegan2-r32-cond5.safetensors
picture_of() { # no two failures give the same bytes
    { sg2-gen --quiet --threads 1 --network "$1" --seeds 1-4 --noise const --trunc 0.7 "${@:2}" || echo "$1 failed: $BASHPID" >&2; } |
        tar xO --wildcards '*.ppm' || echo "$BASHPID $RANDOM"
}

@test "NVIDIA's pickle, protocols 2 to 5, storages inline, as zip, or NumPy arrays: the same pictures" {
    need sg2-gen
    picture_of "$NET" >want
    [ -s want ]
    for protocol in 2 3 4 5; do
        for storage in inline zip numpy; do
            $python "$PICKLES" nvidia "$NET" net.pkl protocol=$protocol storage=$storage
            picture_of net.pkl | cmp - want
        done
    done
    cp net.pkl anything.safetensors # the content decides, not the name
    picture_of anything.safetensors | cmp - want
    $python "$PICKLES" nvidia "$COND" net.pkl
    cmp <(picture_of net.pkl --class 3) <(picture_of "$COND" --class 3)
}

@test "rosinality's layout, zip and legacy: the same pictures; the mean of w is made where it is absent" {
    need sg2-gen
    picture_of "$NET" >want
    for layout in zip legacy; do
        $python "$PICKLES" rosinality "$NET" net.pt layout=$layout average=yes
        picture_of net.pt | cmp - want
        $python "$PICKLES" rosinality "$NET" net.pt layout=$layout
        cmp <(picture_of net.pt --trunc 1) <(picture_of "$NET" --trunc 1)
        picture_of net.pt >"near-$layout"
        run ! cmp -s "near-$layout" want # another mean than the reference network's made-up one
    done
    cmp near-zip near-legacy
    $python "$PICKLES" rosinality "$NET" net.pt average=yes noise=no # as the oldest files are
    cmp <(picture_of net.pt --noise none) <(picture_of "$NET" --noise none)
    picture_of net.pt >other-noise
    picture_of net.pt | cmp - other-noise
    run ! cmp -s other-noise want
}

@test "attributes of the modules count, and those of other networks are refused" {
    need sg2-gen
    $python "$PICKLES" nvidia "$NET" none.pkl
    $python "$PICKLES" nvidia "$NET" wide.pkl clamp=256
    $python "$PICKLES" nvidia "$NET" tight.pkl clamp=0.25
    cmp <(picture_of none.pkl) <(picture_of wide.pkl)
    run ! cmp -s <(picture_of none.pkl) <(picture_of tight.pkl)
    $python "$PICKLES" nvidia "$NET" bad.pkl architecture=resnet
    fails_with 1 'bad.pkl: .*skip' sg2-gen --network bad.pkl --seeds 1 --out x.png
    $python "$PICKLES" nvidia "$NET" bad.pkl rate=0.001
    fails_with 1 'bad.pkl: .*multiplier 0.001' sg2-gen --network bad.pkl --seeds 1 --out x.png
    $python - "$ROOT/tests/programs" <<'PY'
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import pickles
open('free.pkl', 'wb').write(pickles.nvidia({'G_ema.synthesis.input.freqs': np.zeros((4, 2), 'f4')}, {}))
PY
    fails_with 1 'free.pkl: .*alias-free' sg2-gen --network free.pkl --seeds 1 --out x.png
}

@test "training goes on from either" {
    need sg2-train pack-lmdb
    samples 8 16 16 | pack-lmdb --quiet faces
    $python "$PICKLES" nvidia "$NET" net.pkl
    $python "$PICKLES" rosinality "$NET" net.pt average=yes
    for net in net.pkl net.pt; do
        sg2-train --quiet --data faces --out run-$net --resume $net --batch 4 --fmaps 0.0078125 --channel-max 24 \
            --map-depth 2 --z-dim 32 --w-dim 32 --kimg 0.004 --tick 0.004 --grid 2x2 --threads 1 >/dev/null
        run ! grep -E '^(shape|missing)' run-$net/transfer.txt
        grep -q '^copied  *D.b16.conv0.weight' run-$net/transfer.txt
    done
}

@test "files that mean harm are refused, in one line, quickly, in less than 200 MB" {
    need sg2-gen
    mkdir hostile
    $python "$PICKLES" hostile hostile
    for f in hostile/*; do
        status=0
        timeout -s KILL 60 /usr/bin/time -f %M -o rss sg2-gen --threads 1 --network "$f" --seeds 1 --out x.png 2>err || status=$?
        echo "$f: status $status, $(tail -n 1 rss) KB: $(cat err)"
        [ $status -eq 1 ]
        [ "$(wc -l <err)" -eq 1 ]
        grep -q "^sg2-gen: $f: " err
        [ ! -e x.png ]
        case $BUILD in *san*) ;; *) [ "$(tail -n 1 rss)" -lt 200000 ] ;; esac # a sanitizer's own memory is no matter
    done
    for f in system.pkl system-stack-global.pkl system.pth system.pt class-with-code.pkl; do
        sg2-gen --network hostile/$f --seeds 1 --out x.png 2>&1 | grep -q 'os.system.*refused'
    done
}
