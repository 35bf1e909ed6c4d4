# watch.sh: snapshots scored beside a training that knows nothing of it.
load lib

setup_file() {
    export FACEMILL_CACHE=$BATS_FILE_TMPDIR/cache
    need sg2-train sg2-gen fid-score pack-lmdb
    cd "$BATS_FILE_TMPDIR"
    $python "$ROOT/tests/programs/store.py" faces 16 24
    # snapshots with discriminators: the last one's serves as the eye, which takes no time
    sg2-train --quiet --data faces --out trained --kimg 0.24 --tick 0.08 --snap 1 --snap-full --fmaps 0.004 --channel-max 8 --batch 8 --z-dim 8 \
        --w-dim 8 --grid 2x2 --threads 1
}

net=$BATS_FILE_TMPDIR/trained/network-final.safetensors
copy() { cp -r "$BATS_FILE_TMPDIR/trained" run; }
watch() {
    eye=$(ls "$BATS_FILE_TMPDIR"/trained/snapshot-*.safetensors | tail -n 1)
    WAIT=0.2 SEEDS=0-29 FID="--features $eye" "$ROOT/pipelines/watch.sh" run "$BATS_FILE_TMPDIR/faces" "$@"
}
lines() { $python - <<'PY'
import json
for line in open('run/scores.jsonl'):
    o = json.loads(line)
    print(o['snapshot'], o['kimg'], 'error' if 'error' in o else round(o['fid'], 6))
PY
}

@test "every snapshot is scored once; the best are kept; the report has the curve" {
    copy
    n=$(ls run/snapshot-*.safetensors | wc -l)
    [ "$n" -ge 4 ]
    KEEP=2 watch report.html 2>err
    [ "$(wc -l <run/scores.jsonl)" -eq "$n" ]
    [ "$(grep -c 'watch.sh: snapshot-.*: fid [0-9]' err)" -eq "$n" ]
    $python - <<'PY'
import json, os
lines = [json.loads(l) for l in open('run/scores.jsonl')]
assert [l['snapshot'] for l in lines] == sorted(f for f in os.listdir('run') if f.startswith('snapshot'))
assert [l['kimg'] for l in lines][:2] == [0, 0.08] and all(l['scored']['count'] == 30 and l['reference']['count'] == 24 for l in lines)
best = [l['snapshot'] for l in sorted(lines, key=lambda l: l['fid'])][:2]
assert [l.split('\t')[1] for l in open('run/best/order').read().split('\n') if l] == best, best
assert sorted(os.listdir('run/best')) == sorted(best + ['order'])
for b in best:
    assert open('run/best/' + b, 'rb').read() == open('run/' + b, 'rb').read()
text = open('report.html').read()
assert 'fid of the snapshots' in text and '<polyline' in text and all(l['snapshot'] in text for l in lines)
assert '30 against 24' in text and 'kept in best/' in text and 'discriminator, tf1' in text
PY
    sg2-gen --quiet --network run/snapshot-000000.000.safetensors --seeds 0-29 | fid-score --quiet --json \
        --features "$(ls run/snapshot-*.safetensors | tail -n 1)" --ref "$BATS_FILE_TMPDIR/faces" - >again.json
    $python -c 'import json; assert json.loads(open("run/scores.jsonl").readline())["fid"] == json.load(open("again.json"))["fid"]'
    cp run/scores.jsonl before
    KEEP=2 watch report.html 2>err # once more: nothing to do
    cmp before run/scores.jsonl
    [ ! -s err ]
}

@test "snapshots that appear, vanish or are damaged; a second watcher; the end of training" {
    mkdir run
    watch 2>err &
    watcher=$!
    for i in $(seq 1200); do [ -e run/.watch.lock ] && ! flock -n run/.watch.lock true && break || sleep 0.1; done
    fails_with 1 'another one watches run' "$ROOT/pipelines/watch.sh" run "$BATS_FILE_TMPDIR/faces"
    printf 'no network' >run/snapshot-000001.000.safetensors
    cp "$net" run/new && mv run/new run/snapshot-000002.500.safetensors
    for i in $(seq 1200); do [ "$(cat run/scores.jsonl 2>/dev/null | wc -l)" -lt 2 ] && sleep 0.1 || break; done
    rm run/snapshot-000002.500.safetensors # as --keep does
    [ -s run/best/snapshot-000002.500.safetensors ]
    kill -0 "$watcher" # still watching
    cp "$net" run/new && mv run/new run/snapshot-000003.000.safetensors
    cp "$net" run/network-final.safetensors
    wait "$watcher"
    lines | tee lines
    [ "$(cut -d' ' -f 1 lines | tr '\n' ' ')" = 'snapshot-000001.000.safetensors snapshot-000002.500.safetensors snapshot-000003.000.safetensors ' ]
    head -n 1 lines | grep -qE '^snapshot-000001.000.safetensors 1(\.0)? error$'
    grep -q 'snapshot-000001.000.safetensors: not scored: sg2-gen: ' err
    [ "$(sed -n 2p lines | cut -d' ' -f 3)" = "$(sed -n 3p lines | cut -d' ' -f 3)" ] # the same network
}

@test "usage, and folders that are not there" {
    status=0
    "$ROOT/pipelines/watch.sh" run 2>err || status=$?
    [ "$status" -eq 2 ] && grep -q '^usage: watch.sh' err
    fails_with 1 'is not there' "$ROOT/pipelines/watch.sh" nowhere "$BATS_FILE_TMPDIR/faces"
    copy
    status=0
    ONCE=1 METRIC=wrong watch 2>err || status=$?
    [ "$status" -eq 1 ] && grep -q 'fid-score gave no "wrong"' err
}
