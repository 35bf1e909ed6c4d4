# sg2-latent: what each command computes, compared with NumPy; the same pictures by every way; streams that stop, wrong input.
load lib

setup_file() {
    need sg2-train sg2-gen sg2-latent
    export NET=$BATS_FILE_TMPDIR/run/snapshot-000000.016.safetensors
    $python "$ROOT/tests/programs/store.py" "$BATS_FILE_TMPDIR/faces" 16 16
    # z and w of one size, so that [N,16] is ambiguous
    sg2-train --quiet --data "$BATS_FILE_TMPDIR/faces" --out "$BATS_FILE_TMPDIR/run" --fmaps 0.004 --channel-max 8 --batch 8 \
        --z-dim 16 --w-dim 16 --kimg 0.016 --tick 0.016 --grid 3x2 --threads 1
    export NET2=$BATS_FILE_TMPDIR/run2/snapshot-000000.008.safetensors
    samples 12 16 16 png | pack-lmdb --quiet "$BATS_FILE_TMPDIR/classes"
    sg2-train --quiet --data "$BATS_FILE_TMPDIR/classes" --out "$BATS_FILE_TMPDIR/run2" --fmaps 0.004 --channel-max 8 --batch 8 \
        --z-dim 8 --w-dim 16 --kimg 0.008 --tick 0.008 --grid 3x2 --threads 1 --cond
    # what the tests of arithmetic start from
    sg2-latent sample --network "$NET" --seeds 0-6 | sg2-latent map --network "$NET" >"$BATS_FILE_TMPDIR/plus.npy"
    sg2-latent sample --network "$NET" --seeds 0-6 | sg2-latent map --network "$NET" --space w >"$BATS_FILE_TMPDIR/w.npy"
    sg2-latent mean --network "$NET" >"$BATS_FILE_TMPDIR/mean.npy"
}
setup() {
    cd "$BATS_TEST_TMPDIR" && cp "$BATS_FILE_TMPDIR"/{plus,w,mean}.npy .
}
gen() { sg2-gen --quiet --threads 1 --network "$NET" "$@"; }
map() { sg2-latent map --network "$NET" "$@"; }

# numpy CODE - with the helpers below; asserts in CODE are the test.
numpy() {
    $python - <<PY
import numpy as np, io, tarfile
from PIL import Image
load = lambda name: np.load(name).astype('f8')
def near(a, b, tolerance=2e-6): # equal but for rounding to float32
    assert a.shape == b.shape, (a.shape, b.shape)
    assert np.abs(a - b).max() <= tolerance * max(1, np.abs(b).max()), np.abs(a - b).max()
def pictures(name):
    t = tarfile.open(name)
    return np.stack([np.asarray(Image.open(io.BytesIO(t.extractfile(m).read()))) for m in t if m.name.endswith('ppm')]).astype(int)
def same_pictures(a, b): # acceptance: within 1 level, and equal on 99.9 %
    a, b = pictures(a), pictures(b)
    assert a.shape == b.shape and np.abs(a - b).max() <= 1 and (a != b).mean() <= 1e-3, np.abs(a - b).max()
$1
PY
}

@test "sample: the z of NumPy's seeds, or Philox's" {
    sg2-latent sample --seeds 85,0-2 >z.npy
    numpy 'z = np.load("z.npy")
assert z.dtype == np.float32
assert (z == np.concatenate([np.random.RandomState(s).randn(1, 512) for s in (85, 0, 1, 2)]).astype("f4")).all()'
    sg2-latent sample --seeds 3 --dim 7 | sg2-latent info | grep -q '^array 0: \[1,7\]'
    sg2-latent sample --seeds 3 --network "$NET2" | sg2-latent info | grep -q '^array 0: \[1,8\]'
    gen --rng philox --seeds 18446744073709551615,4 >seeds.tar
    sg2-latent sample --rng philox --dim 16 --seeds 18446744073709551615,4 | gen - >z.tar
    numpy 'same_pictures("z.tar", "seeds.tar")'
}

@test "the same pictures by sample | map | sg2-gen, and through NumPy files" {
    for options in "" "--trunc 0.7" "--trunc 0.6 --cutoff 3"; do
        gen --seeds 85,265,297 $options >seeds.tar
        sg2-latent sample --network "$NET" --seeds 85,265,297 | map $options | gen - >pipe.tar
        numpy 'same_pictures("pipe.tar", "seeds.tar")'
        sg2-latent sample --dim 16 --seeds 85,265,297 >z.npy
        numpy 'np.save("z2.npy", np.load("z.npy").astype("f8")[::-1])'
        map $options z2.npy >w.npy
        numpy 'np.save("w2.npy", np.asfortranarray(np.load("w.npy")[::-1]))'
        gen <w2.npy >files.tar
        numpy 'same_pictures("files.tar", "seeds.tar")'
    done
    gen --seeds 85,265,297 >seeds.tar
    sg2-latent sample --network "$NET" --seeds 85,265,297 | map --space w | gen --latent w - >pipe.tar
    numpy 'same_pictures("pipe.tar", "seeds.tar")'
    sg2-gen --quiet --threads 1 --network "$NET2" --class 2 --seeds 85,265,297 --trunc 0.5 >seeds.tar
    sg2-latent sample --network "$NET2" --seeds 85,265,297 | sg2-latent map --network "$NET2" --class 2 --trunc 0.5 |
        sg2-gen --quiet --threads 1 --network "$NET2" >pipe.tar
    numpy 'same_pictures("pipe.tar", "seeds.tar")'
}

@test "mean: of the network, and of latents" {
    $python "$ROOT/tests/programs/network.py" "$NET" | grep -q 'mapping.w_avg F32 \[16\]'
    numpy 'assert load("mean.npy").shape == (1, 16)'
    map --trunc 0 <<<"" 2>/dev/null && return 1
    sg2-latent sample --dim 16 --seeds 9 | map --trunc 0 --space w >zero.npy
    sg2-latent mean plus.npy >m.npy
    cat w.npy w.npy | sg2-latent mean >m2.npy
    numpy 'near(load("zero.npy"), load("mean.npy"))
near(load("m.npy"), load("plus.npy").mean(0, keepdims=True))
near(load("m2.npy"), load("w.npy").mean(0, keepdims=True))'
}

@test "truncate: w, w+, cutoff, sweeps; as map does it" {
    sg2-latent truncate --network "$NET" --trunc 0.25 w.npy >a.npy
    sg2-latent truncate --network "$NET" --trunc 0.25 <plus.npy >b.npy
    sg2-latent truncate --network "$NET" --trunc=-0.5,1,0 --cutoff 2 w.npy >c.npy
    sg2-latent truncate --network "$NET" --trunc=-0.5,1,0 --cutoff 2 plus.npy | cmp - c.npy
    sg2-latent sample --network "$NET" --seeds 0-6 | map --trunc 0.25 >d.npy
    numpy 'w, m, plus = load("w.npy"), load("mean.npy"), load("plus.npy")
near(load("a.npy"), m + 0.25 * (w - m))
near(load("b.npy"), m + 0.25 * (plus - m))
near(load("d.npy"), load("b.npy"))
c = load("c.npy").reshape(7, 3, 6, 16)
near(c[:, 0, :2], (m - 0.5 * (plus - m))[:, :2])
assert (c[:, 0, 2:] == plus[:, 2:]).all() and (c[:, 1] == plus).all()
near(c[:, 2, :2], np.broadcast_to(m, (7, 2, 16)))'
}

@test "cat joins and picks, info describes" {
    cat w.npy w.npy >two.npy
    sg2-latent cat two.npy - w.npy <w.npy >all.npy
    sg2-latent cat --rows 27,0-2,0 all.npy >some.npy
    numpy 'w = np.load("w.npy")
assert (np.load("all.npy") == np.concatenate([w] * 4)).all()
assert (np.load("some.npy") == w[[6, 0, 1, 2, 0]]).all()'
    sg2-latent info --json <two.npy >info.json
    sg2-latent info w.npy plus.npy >info.txt
    [ "$(wc -l <info.json)" = 2 ] && grep -q '^plus.npy$' info.txt && grep -qF 'array 0: [7,6,16], mean' info.txt
    numpy 'import json
w, plus = load("w.npy"), load("plus.npy")
for line in open("info.json"):
    j = json.loads(line)
    assert j["shape"] == [7, 16]
    for name, value in dict(mean=w.mean(), deviation=w.std(), min=w.min(), max=w.max(), length=np.linalg.norm(w, axis=1).mean()).items():
        assert abs(j[name] - value) < 1e-5 * max(1, abs(value)), name'
    fails_with 1 'no row 28: there are 28' sg2-latent cat --rows 0,28 all.npy
    fails_with 1 'plus.npy: an array of \[N,6,16\] follows one of \[N,16\]' sg2-latent cat w.npy plus.npy
}

@test "latents that are none, or stop early, are refused in one line" {
    head -c 500 w.npy >short.npy
    head -c 100 /dev/urandom >noise.npy
    : >empty.npy
    cat w.npy noise.npy >tail.npy
    numpy 'np.save("nan.npy", np.full((2, 16), np.nan)); np.save("flat.npy", np.zeros(16)); np.save("none.npy", np.zeros((0, 16)))
np.save("wide.npy", np.zeros((1, 17), "f4")); np.save("deep.npy", np.zeros((1, 65, 16))); np.save("object.npy", np.array([[None]]))'
    for command in "map --network $NET" mean "truncate --network $NET" cat info; do
        fails_with 1 'short.npy: truncated .npy data' sg2-latent $command short.npy
        fails_with 1 'stdin: no .npy array' sg2-latent $command <noise.npy
        fails_with 1 'tail.npy: no .npy array' sg2-latent $command tail.npy
        fails_with 1 'empty.npy: no latents' sg2-latent $command empty.npy
        fails_with 1 'none.npy: no latents' sg2-latent $command none.npy
        fails_with 1 'nan.npy: row 0 .*not finite' sg2-latent $command nan.npy
        fails_with 1 'flat.npy: .*\[16\] holds no latents' sg2-latent $command flat.npy
        fails_with 1 'deep.npy: .*\[1,65,16\] holds no latents' sg2-latent $command deep.npy
        fails_with 1 'object.npy: .*object arrays' sg2-latent $command object.npy
        fails_with 1 'nowhere.npy: No such file' sg2-latent $command nowhere.npy
        fails_with 1 ': read: Is a directory' sg2-latent $command .
    done
    fails_with 1 'wide.npy: an array of \[N,17\] is no z of this network, which is \[N,16\]' sg2-latent map --network "$NET" wide.npy
    fails_with 1 'plus.npy: .* is no z' sg2-latent map --network "$NET" plus.npy
    fails_with 1 'wide.npy: .* neither w nor w\+' sg2-latent truncate --network "$NET" wide.npy
}

@test "wrong command lines" {
    fails_with 2 'name a command' sg2-latent
    fails_with 2 'no command mapp' sg2-latent mapp
    fails_with 2 'sample takes --seeds' sg2-latent sample
    fails_with 2 'sample takes no --trunc' sg2-latent sample --seeds 0 --trunc 0.5
    fails_with 2 '--dim and --network' sg2-latent sample --seeds 0 --dim 16 --network "$NET"
    fails_with 2 'over 2\^32-1' sg2-latent sample --seeds 4294967296
    fails_with 2 'numbers and ranges' sg2-latent sample --seeds x
    fails_with 2 'network FILE is needed' sg2-latent map w.npy
    fails_with 2 'map takes one --trunc' sg2-latent map --network "$NET" --trunc 0,1 w.npy
    fails_with 2 'trunc takes numbers from -10 to 10' sg2-latent truncate --network "$NET" --trunc 0,,1 w.npy
    fails_with 2 'takes one file' sg2-latent map --network "$NET" w.npy w.npy
    fails_with 2 'cutoff makes layers differ' sg2-latent map --network "$NET" --space w --cutoff 2 w.npy
    fails_with 2 '3 classes' sg2-latent map --network "$NET2" w.npy
    fails_with 2 'no classes' sg2-latent map --network "$NET" --class 0 w.npy
    fails_with 2 'mean takes --network or latents' sg2-latent mean --network "$NET" w.npy
    fails_with 1 'No such file' sg2-latent mean --network nowhere
}
