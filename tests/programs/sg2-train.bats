# sg2-train: the run folder, exact resume, transfer, logs, and what happens to wrong input.
load lib

setup_file() {
    need sg2-train
    $python "$ROOT/tests/programs/store.py" "$BATS_FILE_TMPDIR/faces" 16 48
}

# command_line OUT OPTIONS... - puts the command line for a tiny network into "${cmd[@]}"; later options win. train runs it, refuses
# expects it to fail.
tiny=(--fmaps 0.004 --channel-max 8 --batch 8 --z-dim 16 --w-dim 16 --tick 0.04 --snap 4 --checkpoint 0 --grid 3x2 --threads 1)
fixed=(--p 0.3)
command_line() {
    local out=$1
    shift
    cmd=(sg2-train --quiet --data "$BATS_FILE_TMPDIR/faces" --out "$out" "${tiny[@]}" "${fixed[@]}" "$@")
}
train() { command_line "$@" && "${cmd[@]}"; }
refuses() { # STATUS PATTERN OUT OPTIONS...
    command_line "${@:3}"
    fails_with "$1" "$2" "${cmd[@]}"
}

# first_tick RUN PID - waits until that training wrote its first line.
first_tick() {
    while [ ! -s "$1/stats.jsonl" ]; do kill -0 "$2" && sleep 0.01 || return 1; done
}

# The lines of stats.jsonl without what a clock or the memory decides.
values() {
    $python - "$1/stats.jsonl" <<'PY'
import json, sys
for line in open(sys.argv[1]):
    d = json.loads(line)
    print(sorted((k, v) for k, v in d.items() if not k.startswith(('Timing', 'Resources', 'timestamp'))))
PY
}

# same_run A B - equal networks, checkpoints, grids and logs.
same_run() {
    local f
    [ "$(ls "$1")" = "$(ls "$2")" ] || { ls "$1" "$2"; return 1; }
    for f in "$1"/*.safetensors "$1"/*.png; do
        cmp "$f" "$2/$(basename "$f")" || return 1
    done
    diff <(values "$1") <(values "$2") || return 1
    [ "$(stat -c %s "$1"/events*)" = "$(stat -c %s "$2"/events*)" ]
}

@test "a run folder holds what it should, in formats others read" {
    train run --kimg 0.1 --mirror
    [ "$(ls run | tr '\n' ' ')" = "checkpoint.safetensors config.json events.out.tfevents.facemill fakes000000.000.png \
fakes000000.104.png network-final.safetensors reals.png snapshot-000000.000.safetensors snapshot-000000.104.safetensors stats.jsonl " ]
    cmp run/network-final.safetensors run/snapshot-000000.104.safetensors
    $python - <<'PY'
import json
from PIL import Image
assert Image.open('run/reals.png').size == (48, 32)
assert Image.open('run/fakes000000.104.png').size == (48, 32)
config = json.load(open('run/config.json'))
assert config['trainer']['mirror'] is True and config['options']['kimg'] == 0.1 and config['program'].startswith('facemill')
lines = [json.loads(l) for l in open('run/stats.jsonl')]
assert [l['Progress/kimg'] for l in lines] == [0.04, 0.08, 0.104] and [l['Progress/tick'] for l in lines] == [1, 2, 3]
for name in ('Loss/G/loss', 'Loss/D/loss', 'Loss/signs/real', 'Loss/r1_penalty', 'Loss/pl_penalty', 'Progress/augment',
             'Timing/sec_per_kimg', 'Resources/peak_gpu_mem_gb'):
    assert name in lines[0], name
assert lines[0]['Loss/r1_penalty'] is not None and lines[1]['Loss/r1_penalty'] is None # every 16th iteration
PY
    $python "$ROOT/tests/programs/network.py" run/checkpoint.safetensors >list
    for name in G.synthesis.b4.const D.b16.fromrgb.weight G_ema.mapping.w_avg adam_G.m.mapping.fc0.weight state.augment_p sampler.position; do
        grep -q "^$name " list
    done
    grep -q '^G.synthesis.b16.conv0.weight F32 \[8, 8, 3, 3\]$' list
    run ! grep -q "$BATS_FILE_TMPDIR" list
    [ "$($python "$ROOT/tests/programs/network.py" run/snapshot-000000.104.safetensors | grep -vc '^G_ema')" = 1 ]
}

@test "killed twenty times and resumed, it ends with the same bytes" {
    train whole --kimg 2 --keep 2
    kills=0
    while [ $kills -lt 20 ]; do
        command_line killed --kimg 2 --keep 2
        "${cmd[@]}" &
        pid=$!
        sleep "0.$((RANDOM % 15 + 5))$((RANDOM % 10))"
        if kill -KILL $pid 2>/dev/null; then kills=$((kills + 1)); fi
        wait $pid 2>/dev/null || true
        if [ -f killed/network-final.safetensors ]; then # at its end before the twentieth: begin again
            train killed --kimg 2 --keep 2                # one that is complete stays as it is
            same_run whole killed
            rm -r killed
        fi
    done
    train killed --kimg 2 --keep 2
    same_run whole killed
    [ "$(ls killed/snapshot-* | wc -l)" = 2 ]
}

@test "killed before any file gets or loses its name, and resumed, it ends with the same bytes" {
    [[ $BUILD != */san ]] || skip "the sanitizer's library wants to be the first one"
    gcc -shared -fPIC -o kill_at.so "$ROOT/tests/programs/kill_at.c" -ldl
    train whole --kimg 0.4 --keep 1
    for ((n = 1, status = 137; status == 137; n++)); do
        status=0
        KILL_AT=$n LD_PRELOAD=$PWD/kill_at.so train killed --kimg 0.4 --keep 1 || status=$?
        train killed --kimg 0.4 --keep 1
        same_run whole killed
        rm -r killed
    done
    [ $status = 0 ] && [ $n -gt 20 ]
}

@test "stopped by a signal in mid-tick, continued with more threads, the same bytes" {
    train whole --kimg 2.4
    command_line parts --kimg 2.4
    "${cmd[@]}" &
    pid=$!
    first_tick parts $pid
    kill -TERM $pid
    wait $pid # exit code 0
    [ -f parts/checkpoint.safetensors ]
    run ! cmp -s whole/checkpoint.safetensors parts/checkpoint.safetensors
    train parts --kimg 2.4 --threads 2
    cmp whole/checkpoint.safetensors parts/checkpoint.safetensors
    diff <(values whole) <(values parts)
}

@test "pictures kept on the device, or kernels launched one by one: the same bytes" {
    train host --kimg 0.2 --mirror --pictures host
    train device --kimg 0.2 --mirror --pictures device
    same_run host device
    train parts --kimg 0.1 --mirror --pictures device --no-graph
    train parts --kimg 0.2 --mirror --pictures device
    cmp host/checkpoint.safetensors parts/checkpoint.safetensors
    sg2-train --data "$BATS_FILE_TMPDIR/faces" "${tiny[@]}" --plan --pictures device | grep -q '^pictures: 48, 0.0 MiB, kept on the device once shown$'
    sg2-train --data "$BATS_FILE_TMPDIR/faces" "${tiny[@]}" --plan --device cpu | grep -q 'uploaded batch by batch$'
}

@test "SIGUSR1 makes a snapshot and training goes on" {
    command_line run --kimg 2.4 --snap 0
    "${cmd[@]}" &
    pid=$!
    first_tick run $pid
    kill -USR1 $pid
    wait $pid
    [ "$(ls run/snapshot-* | wc -l)" = 3 ]
}

@test "a full snapshot can be continued" {
    train whole --kimg 0.32 --snap-full --snap 3
    mkdir branch
    cp whole/snapshot-000000.120.safetensors branch/checkpoint.safetensors
    train branch --kimg 0.32 --snap-full --snap 3 --resume auto
    cmp whole/checkpoint.safetensors branch/checkpoint.safetensors
}

@test "a finished run says so; a longer one goes on" {
    train run --kimg 0.1
    cp -r run copy
    train run --kimg 0.1
    cmp run/checkpoint.safetensors copy/checkpoint.safetensors
    train run --epochs 3 2>/dev/null
    tail -n 1 run/stats.jsonl | grep -q '"Progress/kimg":0.144,'
}

@test "a run is not continued with other settings, nor by two at once" {
    train run --kimg 0.1
    refuses 1 'r1_gamma is 3, was .*--resume' run --kimg 0.2 --gamma 3
    refuses 1 'seed is "7", was "0"' run --kimg 0.2 --seed 7
    flock run sleep 5 &
    sleep 0.2
    refuses 1 'another training is writing here' run --kimg 0.2
    kill %1
}

@test "transfer takes what fits and reports every tensor" {
    train run --kimg 0.1
    sg2-train --data "$BATS_FILE_TMPDIR/faces" --out same "${tiny[@]}" --resume run --kimg 0.01 2>log
    grep -Eq 'copied, 0 of another shape, 0 missing; see same/transfer.txt' log
    [ "$(grep -c '^copied' same/transfer.txt)" = "$(wc -l <same/transfer.txt)" ]
    sg2-train --data "$BATS_FILE_TMPDIR/faces" --out wide "${tiny[@]}" --resume run/snapshot-000000.104.safetensors --channel-max 12 \
        --kimg 0.01 2>log
    grep -q '^shape   G.synthesis.b4.const  file \[8,4,4\], network \[12,4,4\]$' wide/transfer.txt
    grep -q '^copied  G_ema.mapping.fc0.weight$' wide/transfer.txt
    grep -q '^missing D.b4.out.weight$' wide/transfer.txt
    refuses 1 'nothing.safetensors' other --resume nothing.safetensors
    # the transferred networks are the starting point: the first grids are equal
    cmp run/fakes000000.104.png same/fakes000000.000.png
}

@test "conditional, FreezeD, grey, every augmentation" {
    need pack-lmdb
    samples 30 16 16 png | pack-lmdb --quiet classes
    sg2-train --quiet --data classes --out cond "${tiny[@]}" --cond --kimg 0.04 --augpipe bgcfnc
    grep -q '"c_dim":.*3' cond/config.json
    train frozen --kimg 0.04 --freezed 2
    fixed=()
    train plain --kimg 0.04 --aug noaug
    train fixed --kimg 0.04 --aug fixed --p 0.5 --augpipe geom
    grep -q '"Progress/augment":0.5,' fixed/stats.jsonl
    $python "$ROOT/tests/programs/store.py" grey 16 20 0 L
    sg2-train --quiet --data grey --out grey-run "${tiny[@]}" --kimg 0.04
    $python -c 'from PIL import Image; assert Image.open("grey-run/fakes000000.040.png").mode == "L"'
    fails_with 1 'no class labels' sg2-train --data "$BATS_FILE_TMPDIR/faces" --out x "${tiny[@]}" --cond
}

@test "--subset: a run on some of the pictures, continued on them" {
    train whole --kimg 0.048 --subset 12
    grep -q '"length":.*12' whole/config.json
    train part --kimg 0.024 --subset 12
    train part --kimg 0.048 --subset 12
    cmp whole/checkpoint.safetensors part/checkpoint.safetensors
    train all --kimg 0.048
    ! cmp whole/reals.png all/reals.png
    train none --kimg 0.048 --subset 0
    same_run all none
    sg2-train --data "$BATS_FILE_TMPDIR/faces" "${tiny[@]}" --subset 12 --epochs 3 --dry-run | grep -q '"images":.*36,'
    refuses 1 'subset 49 of 48 pictures' x --subset 49
}

@test "disk full: one line, the old checkpoint stays" {
    train run --kimg 0.1
    cp run/checkpoint.safetensors old
    full() { (ulimit -f 50; trap '' XFSZ; sg2-train --quiet --data "$BATS_FILE_TMPDIR/faces" --out run "${tiny[@]}" --kimg 0.2); }
    run full
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 1 ]
    [[ "${lines[0]}" =~ ^sg2-train:.*checkpoint.safetensors ]]
    cmp old run/checkpoint.safetensors
    run ! ls run/*.tmp-*
    train run --kimg 0.2 # room again
}

@test "dry run, plan and profile write nothing" {
    sg2-train --data "$BATS_FILE_TMPDIR/faces" --out not "${tiny[@]}" --dry-run | $python -c 'import json, sys; assert json.load(sys.stdin)["trainer"]["batch"] == 8'
    sg2-train --data "$BATS_FILE_TMPDIR/faces" "${tiny[@]}" --plan | grep -q '^Gpl '
    sg2-train --data "$BATS_FILE_TMPDIR/faces" "${tiny[@]}" --profile | grep -q '^conv2d_weight_grad '
    [ ! -e not ]
    sg2-train --data "$BATS_FILE_TMPDIR/faces" --dry-run --cfg stylegan2 --batch 6 | grep -q '"mbstd_group":.*3'
}

@test "wrong input is one line and the right status" {
    fails_with 2 'data STORE is needed' sg2-train --out x
    fails_with 2 'out DIR is needed' sg2-train --data "$BATS_FILE_TMPDIR/faces"
    fails_with 2 'no option --bathc \(did you mean --batch\?\)' sg2-train --bathc 3
    refuses 2 'batch takes an integer' x --batch zero
    refuses 2 'cfg takes one of' x --cfg paper
    refuses 2 'exclude' x --kimg 1 --epochs 1
    refuses 2 'mean nothing' x --aug noaug
    refuses 2 'need --aug ada' x --aug fixed --target 0.5
    refuses 2 'no multiple' x --batch 9 --mbstd 4
    refuses 2 'columns x rows' x --grid 4
    fails_with 1 'nowhere' sg2-train --data nowhere --out x
    mkdir empty
    fails_with 1 'empty' sg2-train --data empty --out x
    refuses 1 'no pictures of size 64' x --size 64
    $python "$ROOT/tests/programs/store.py" odd 24 3
    fails_with 1 'squares of' sg2-train --data odd --out x
    touch file
    refuses 1 'file' file/run
    [ ! -e x/checkpoint.safetensors ]
    train net --kimg 0.01
    mv net/network-final.safetensors net/checkpoint.safetensors
    refuses 1 'network, no training checkpoint' net --kimg 0.1
}

@test "a damaged checkpoint is refused, not trained over" {
    train run --kimg 0.05
    head -c 20000 run/checkpoint.safetensors >short && cp short run/checkpoint.safetensors
    refuses 1 'checkpoint.safetensors' run --kimg 0.1
    cmp short run/checkpoint.safetensors
    : >run/checkpoint.safetensors
    refuses 1 'checkpoint.safetensors: the file is empty' run --kimg 0.1
}

@test "a damaged picture ends the training with its number" {
    $python "$ROOT/tests/programs/store.py" bad 16 20
    $python -c 'import lmdb
with lmdb.open("bad", map_size=1 << 26).begin(write=True) as t: t.put(b"16-00007", t.get(b"16-00007")[:40])'
    fails_with 1 'bad: sample 7: ' sg2-train --quiet --data bad --out x "${tiny[@]}" --kimg 0.1
}
