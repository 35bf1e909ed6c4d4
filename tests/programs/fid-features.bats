#!/usr/bin/env bats
# fid-features.bats - what fid-score's numbers rest on: resizing rules, weights, features of a network, provenance, intervals, path
# length. Most of it runs on the discriminator of a tiny checkpoint, which takes no time.
load lib

setup_file() {
    export FACEMILL_CACHE=$BATS_FILE_TMPDIR/cache
    export FACEMILL_MODELS=${FACEMILL_MODELS:-$ROOT/models}
    need sg2-train
    cd "$BATS_FILE_TMPDIR"
    $python "$ROOT/tests/programs/store.py" faces 16 24
    sg2-train --quiet --data faces --out run --kimg 0 --fmaps 0.004 --channel-max 8 --batch 8 --z-dim 8 --w-dim 8 --snap-full --grid 2x2 --threads 1
    mkdir a b
    for i in 1 2 3 4 5 6 7 8; do
        picture "a/$i.png" 20 24 "$i"
        picture "b/$i.png" 20 24 "$((i + 50))"
    done
    samples 8 20 24 ppm 9 >c.tar
    samples 40 16 16 ppm 5 >x.tar
    samples 30 16 16 ppm 6 >y.tar
}

net=$BATS_FILE_TMPDIR/run/checkpoint.safetensors A=$BATS_FILE_TMPDIR/a B=$BATS_FILE_TMPDIR/b C=$BATS_FILE_TMPDIR/c.tar
X=$BATS_FILE_TMPDIR/x.tar Y=$BATS_FILE_TMPDIR/y.tar
score() { fid-score --quiet --features "$net" "$@"; }
value() { $python -c 'import json, sys; o = json.load(open(sys.argv[1])); print(eval(sys.argv[2], {"o": o}))' "$@"; }

@test "resizing rules agree with PIL and NumPy: up, down, not square" {
    need test_prepare
    $python - <<'PY'
import subprocess
import numpy as np
from PIL import Image
rng = np.random.RandomState(4)

def two(a, size, centres):
    """Bilinear between two neighbours along axis 0, in float32."""
    scale = np.float32(len(a)) / np.float32(size)
    i = np.arange(size, dtype='f4')
    at = np.maximum((i + np.float32(.5)) * scale - np.float32(.5) if centres else i * scale, 0)
    left = np.minimum(at.astype(int), len(a) - 1)
    share = (at - left).reshape(-1, *[1] * (a.ndim - 1))
    return a[left] + (a[np.minimum(left + 1, len(a) - 1)] - a[left]) * share

for w, h, side in ((30, 20, 299), (128, 128, 299), (301, 437, 299), (640, 33, 64), (64, 64, 64)):
    a = rng.randint(0, 256, (h, w, 3)).astype('u1')
    Image.fromarray(a).save('in.ppm')
    def ours(rule):
        raw = subprocess.run(['test_prepare', str(rule), str(side)], stdin=open('in.ppm'), capture_output=True, check=True).stdout
        return np.frombuffer(raw, 'f4').reshape(side, side, 3)
    f = a.astype('f4')
    for rule, centres in ((0, False), (1, True)):
        want = two(two(f, side, centres).swapaxes(0, 1), side, centres).swapaxes(0, 1)
        assert abs(ours(rule) - want).max() < 1e-3, (w, h, side, rule, abs(ours(rule) - want).max())
    for rule, kind in ((2, Image.BICUBIC), (3, Image.BILINEAR)):
        want = np.stack([np.asarray(Image.fromarray(f[..., c], 'F').resize((side, side), kind)) for c in range(3)], 2)
        assert abs(ours(rule) - want).max() < 1e-3, (w, h, side, rule, abs(ours(rule) - want).max())
    assert w != 30 or ours(2).min() < 0 < 255 < ours(2).max() # nothing is clamped
PY
}

@test "--resize and --covariance are named, and part of the cache's key" {
    for rule in tf1 pytorch clean; do
        score --resize $rule --json "$A" "$C" >$rule.json
        [ "$(value $rule.json 'o["reference"]["cached"]')" = False ]
        value $rule.json 'o["features"]["preprocessing"]' | grep -q "^$rule: .*16x16"
        score --resize $rule --json "$A" "$C" >again.json
        [ "$(value again.json 'o["reference"]["cached"], o["fid"]')" = "(True, $(value $rule.json 'o["fid"]'))" ]
    done
    [ "$(cat tf1.json pytorch.json clean.json | sed 's/.*"fid":\([^,]*\).*/\1/' | sort -u | wc -l)" -eq 3 ]
    score --covariance n --json "$A" "$C" >n.json
    [ "$(value n.json 'o["reference"]["cached"], o["covariance"]')" = "(False, 'n')" ]
    score --resize clean --save-stats a.npz "$A"
    score --resize tf1 --covariance n --json a.npz "$C" >mixed.json
    value mixed.json 'o["notes"]' | grep -q 'prepared differently'
    value mixed.json 'o["notes"]' | grep -q 'divided by n, the other by n - 1'
    score --resize pytorch "$A" "$C" >text
    grep -q '^prepared    pytorch: bilinear .*; computed in float32$' text
    grep -q '^covariance  divided by n - 1$' text
}

@test "features of a checkpoint's discriminator: stated, by picture, alike for every batch" {
    score --json --save-features 1.npy --batch 1 "$A" "$C" >1.json
    score --json --save-features 5.npy --batch 5 --jobs 1 "$A" "$C" >5.json
    $python -c '
import numpy as np
a, b = np.load("1.npy"), np.load("5.npy")
assert a.shape == (8, 8) and abs(a - b).max() < 1e-5 * abs(a).max(), abs(a - b).max()'
    [ "$(value 5.json 'o["features"]["name"], o["features"]["dim"]')" = "('discriminator', 8)" ]
    [ "$(value 5.json 'o["features"]["sha256"]')" = "$(sha256sum <"$net" | cut -d' ' -f1)" ]
    fails_with 1 'no discriminator' fid-score --quiet --features "${net%/*}/network-final.safetensors" "$A" "$C" ||
        fails_with 1 'no discriminator' fid-score --quiet --features "$ROOT/examples/faces-128.safetensors" "$A" "$C"
    fails_with 1 'No such file' fid-score --quiet --features nowhere "$A" "$C"
}

@test "notes: sizes, codecs and filters that differ, also from statistics and the cache" {
    need pack-lmdb face-crop
    samples 6 32 32 ppm 3 >plain.tar
    face-crop --quiet --mode center --size 16 --filter box <plain.tar >box.tar
    pack-lmdb --quiet --codec jpg --size 16 --filter lanczos j.lmdb <plain.tar
    pack-lmdb --quiet --codec png --size 16 --filter lanczos p.lmdb <plain.tar
    for i in 1 2; do
        score --json j.lmdb box.tar >1.json
        [ "$(value 1.json 'len(o["notes"])')" = 2 ]
        value 1.json 'o["notes"][0]' | grep -q 'differ in codec (jpg, and raw)'
        value 1.json 'o["notes"][1]' | grep -q 'different filters (lanczos, and box)'
    done
    [ "$(value 1.json 'o["reference"]["cached"]')" = True ]
    score --save-stats j.npz j.lmdb
    score --json j.npz plain.tar >2.json
    [ "$(value 2.json 'o["notes"]')" = "['the pictures differ in size (16x16, and 32x32): resizing alone moves the score', \
'the pictures differ in codec (jpg, and raw): compression alone moves the score']" ]
    score --json p.lmdb p.lmdb >3.json
    [ "$(value 3.json 'o["notes"]')" = '[]' ]
}

@test "--bootstrap: NumPy's resamples give the same intervals" {
    score --metrics fid,kid --kid-subsets 1 --kid-size 0 --bootstrap 40 --seed 7 --save-features y.npy --json "$X" "$Y" >1.json
    score --save-features x.npy --save-stats x.npz "$X"
    score --metrics fid,kid --kid-subsets 1 --kid-size 0 --bootstrap 40 --seed 7 --json --jobs 1 "$X" "$Y" >2.json
    cmp 1.json 2.json
    score --bootstrap 25 --seed 8 --json x.npz "$Y" >3.json
    $python - <<'PY'
import json
import numpy as np
from scipy.linalg import sqrtm
x, y = np.load('x.npy').astype('f8'), np.load('y.npy').astype('f8')

def fid(a, b):
    ca, cb = np.cov(a.T), np.cov(b.T)
    return ((a.mean(0) - b.mean(0))**2).sum() + np.trace(ca + cb) - 2 * np.sqrt(np.maximum(np.linalg.eigvals(ca @ cb).real, 0)).sum()

def kid(a, b):
    k = lambda p, q: (p @ q.T / p.shape[1] + 1)**3
    n, m = len(a), len(b)
    return (k(a, a).sum() - np.trace(k(a, a))) / n / (n - 1) + (k(b, b).sum() - np.trace(k(b, b))) / m / (m - 1) - 2 * k(a, b).mean()

def interval(score, values):
    return score + np.percentile(values, [2.5, 97.5]) - np.mean(values)

def check(got, want):
    assert np.allclose(got, want, rtol=1e-6, atol=1e-6 * abs(np.diff(want)[0])), (got, want)

def pick(rng, a):
    return a[rng.randint(0, len(a), len(a))]
o, rng = json.load(open('1.json')), np.random.RandomState(7)
score = fid(x, y)
assert abs(o['fid'] - score) < 1e-6 * score
values = []
for _ in range(40):
    a = pick(rng, x)
    values.append(fid(a, pick(rng, y)))
check([o['fid_low'], o['fid_high']], interval(score, values))
assert o['fid_low'] < o['fid'] < o['fid_high'] and o['resamples'] == 40 and o['resampled'] == 'both'

# KID: the share of a picture is what the estimate loses, to first order, when its weight is taken away
n, m, k = len(x), len(y), lambda p, q: (p @ q.T / p.shape[1] + 1)**3
kx, ky, kxy = k(x, x), k(y, y), k(x, y)
hx = 2 * ((kx.sum(1) - np.diag(kx)) / (n - 1) - kxy.mean(1))
hy = 2 * ((ky.sum(1) - np.diag(ky)) / (m - 1) - kxy.mean(0))
rng, values = np.random.RandomState(7), []
for _ in range(40):
    a = pick(rng, hx).mean()
    values.append(a + pick(rng, hy).mean())
check([o['kid_low'], o['kid_high']], interval(kid(x, y), values))

o, rng = json.load(open('3.json')), np.random.RandomState(8)
check([o['fid_low'], o['fid_high']], interval(score, [fid(x, pick(rng, y)) for _ in range(25)]))
assert o['resampled'] == 'scored'
PY
    score --bootstrap 25 x.npz "$Y" >text
    grep -q '95 % of 25 resamples of the scored side (seed 2020) within' text
    grep -q 'biased upwards, as with any side of fewer than 40 pictures' text
    score "$X" "$X" >text
    run ! grep -q 'biased upwards' text
}

@test "--ppl: path length of a generator, alone or beside a comparison" {
    score --ppl "$net" --ppl-samples 20 --json >1.json
    [ "$(value 1.json 'o["ppl"] > 0, o["ppl_samples"], o["ppl_kept"], o["ppl_epsilon"], o["ppl_sampling"], o["features"]["name"]')" = \
        "(True, 20, 20, 0.0001, 'end', 'discriminator')" ]
    [ "$(value 1.json 'o["ppl_network_sha256"]')" = "$(sha256sum <"$net" | cut -d' ' -f1)" ]
    score --ppl "$net" --ppl-samples 20 --ppl-sampling full --json --metrics fid "$A" "$C" >2.json
    [ "$(value 2.json 'o["ppl"] > 0 and o["fid"] > 0 and o["ppl_sampling"]')" = full ]
    [ "$(value 2.json 'o["ppl"]')" != "$(value 1.json 'o["ppl"]')" ]
    score --ppl "$net" --ppl-samples 20 --batch 3 --jobs 1 --json >3.json
    $python -c 'import sys; a, b = map(float, sys.argv[1:]); assert abs(a - b) < 1e-2 * a, (a, b)' "$(value 1.json 'o["ppl"]')" "$(value 3.json 'o["ppl"]')"
    score --ppl "$net" --ppl-samples 5 >text
    grep -q '^PPL .*in w, at the path.s beginning; 5 pairs.*epsilon 0.0001; seed 2020' text
    grep -q 'squared difference of discriminator features, not LPIPS' text
    fails_with 4 'PPL .* above --max-ppl' fid-score --quiet --features "$net" --ppl "$net" --ppl-samples 5 --max-ppl 1e-9
    fails_with 1 'holds no generator|header|safetensors' fid-score --quiet --features "$net" --ppl "$C"
}

@test "--ppl-space, --ppl-epsilon, --ppl-crop: other paths, other lengths, said in the report" {
    ppl() { score --ppl "$net" --ppl-samples 10 --json "$@" | $python -c 'import json, sys; o = json.load(sys.stdin); print(o["ppl"], o["ppl_space"], o["ppl_crop"], o["ppl_epsilon"])'; }
    ppl >w
    ppl --ppl-space z >z
    ppl --ppl-crop >crop
    ppl --ppl-epsilon 0.01 >step
    grep -q ' w False 0.0001$' w
    grep -q ' z False 0.0001$' z
    grep -q ' w True 0.0001$' crop
    grep -q ' w False 0.01$' step
    [ "$(cut -d' ' -f1 w z crop step | sort -u | wc -l)" -eq 4 ]
    score --ppl "$net" --ppl-samples 2 --ppl-space z --ppl-crop --ppl-sampling full | grep -q "in z, at any point of the path, of the pictures' middles; 2 pairs"
    fails_with 2 'ppl-epsilon takes a number from 1e-06 to 1' fid-score --ppl "$net" --ppl-epsilon 0
}

@test "features from a file score as the pictures they were made of" {
    scores() { $python -c 'import json, sys; o = json.load(open(sys.argv[1])); print(*[o[k] for k in ("fid", "kid", "precision", "recall", "density", "coverage", "fid_low")])' "$1"; }
    score --save-features x.npy --save-stats x.npz "$X"
    score --save-features y.npy "$Y"
    all=(--metrics fid,kid,prdc --kid-size 20 --kid-subsets 5 --bootstrap 20 --json)
    score "${all[@]}" "$X" "$Y" >pictures.json
    fid-score --quiet "${all[@]}" x.npy y.npy >files.json # no network is needed
    score "${all[@]}" "$X" y.npy >mixed.json
    [ "$(scores pictures.json)" = "$(scores files.json)" ]
    [ "$(scores pictures.json)" = "$(scores mixed.json)" ]
    [ "$(value files.json 'o["reference"]["kind"], o["reference"]["count"], o["scored"]["count"]')" = "('features', 40, 30)" ]
    fid-score --quiet --save-stats again.npz x.npy
    $python -c 'import numpy as np; a, b = np.load("x.npz"), np.load("again.npz"); assert (a["mu"] == b["mu"]).all() and (a["sigma"] == b["sigma"]).all() and b["count"] == 40'
    fid-score --quiet x.npz y.npy | grep -q 'note .*does not say which weights'
    $python -c '
import numpy as np
x = np.load("x.npy")
np.save("one.npy", x[:1]); np.save("flat.npy", x[0]); np.save("wide.npy", np.zeros((4, 9000), "f4"))
x[3, 2] = np.inf; np.save("inf.npy", x)'
    head -c 300 x.npy >cut.npy
    fails_with 1 'one.npy: features are an array' fid-score --quiet one.npy y.npy
    fails_with 1 'flat.npy: features are an array' fid-score --quiet flat.npy y.npy
    fails_with 1 'wide.npy: features are an array' fid-score --quiet wide.npy y.npy
    fails_with 1 'inf.npy: row 3 .*not finite' fid-score --quiet inf.npy y.npy
    fails_with 1 'cut.npy: .*(end|trunc)' fid-score --quiet cut.npy y.npy
    fails_with 2 'x.npy: features are what it has already' fid-score --save-features z.npy x.npy
    fails_with 2 'x.npy: the Inception score' fid-score --metrics is x.npy
}

@test "a dataset zip is a side as the store it was made of" {
    need pack-lmdb
    pack-lmdb --quiet --codec png s.lmdb "$X"
    pack-lmdb unpack --quiet --out d.zip s.lmdb
    score --save-features a.npy s.lmdb
    score --save-features b.npy --json d.zip >b.json
    cmp a.npy b.npy
    [ "$(value b.json 'o["scored"]["kind"], o["scored"]["read"], o["scored"]["rejected"]')" = "('zip', 40, 0)" ]
    $python -c '
import zipfile
z = zipfile.ZipFile("bad.zip", "w")
for n in zipfile.ZipFile("d.zip").namelist()[:4]: z.writestr(n, zipfile.ZipFile("d.zip").read(n))
z.writestr("z.png", b"no picture")'
    status=0
    score --json --rejects r.jsonl bad.zip "$X" >out 2>err || status=$?
    [ "$status" -eq 3 ]
    [ "$(wc -l <r.jsonl)" -eq 1 ]
    grep -q 'z.png' r.jsonl
    head -c 2000 d.zip >cut.zip
    fails_with 1 'cut.zip' fid-score --quiet --features "$net" cut.zip "$X"
}

@test "Inception's earlier layers are features of their own" {
    $python "$ROOT/tests/programs/inception_weights.py" "$ROOT/tests/reference/inception-shapes.json" safetensors i.safetensors
    samples 3 16 16 >three.tar
    for d in 64 192 768; do
        fid-score --quiet --inception i.safetensors --features inception-$d --save-features f.npy --save-stats $d.npz --json three.tar >$d.json
        [ "$(value $d.json 'o["features"]["name"], o["features"]["dim"]')" = "('inception-$d', $d)" ]
        $python -c 'import sys, numpy as np; f = np.load("f.npy"); assert f.shape == (3, int(sys.argv[1])) and abs(np.load(sys.argv[1] + ".npz")["mu"] - f.mean(0)).max() < 1e-5 and f.std() > 0' $d
    done
    fails_with 1 '64.npz .*192' fid-score --quiet 64.npz 192.npz
    fails_with 2 'needs --features inception' fid-score --quiet --features inception-64 --metrics is three.tar
}

@test "path length with dlib's face embedding, which takes floats for it" {
    [ -r "$FACEMILL_MODELS/dlib_face_recognition_resnet_model_v1.dat" ] || skip "dlib's face embedding is not there (make models)"
    fid-score --quiet --features dlib-face --ppl "$net" --ppl-samples 3 --json >1.json
    [ "$(value 1.json 'o["ppl"] > 0')" = True ]
}

@test "TensorFlow's graph: gamma is left out where it says so, another graph is refused" {
    w() { $python "$ROOT/tests/programs/inception_weights.py" "$ROOT/tests/reference/inception-shapes.json" "$@"; }
    samples 2 16 16 >two.tar
    w pb unscaled.pb unscaled
    fid-score --quiet --inception unscaled.pb --save-features unscaled.npy --save-stats u.npz two.tar >/dev/null
    w safetensors ones.safetensors ones
    fid-score --quiet --inception ones.safetensors --save-features ones.npy --save-stats o.npz two.tar >/dev/null
    cmp unscaled.npy ones.npy
    rm -- *.pb *.safetensors
    w pb epsilon.pb epsilon
    fails_with 1 'epsilon.pb: conv/batchnorm is no batch normalisation with epsilon 0.001' fid-score --quiet --inception epsilon.pb "$A" "$B"
    w pb missing.pb missing
    fails_with 1 'Mixed_6e.branch7x7dbl_3.conv.weight is missing' fid-score --quiet --inception missing.pb "$A" "$B"
    head -c 1000000 missing.pb >cut.pb
    fails_with 1 'cut.pb: ' fid-score --quiet --inception cut.pb "$A" "$B"
}
