#!/usr/bin/env bats
# fid-score.bats - sides, statistics, cache, gates and reports of fid-score; scores recomputed by NumPy and SciPy.
load lib

# Pictures go through dlib's face embedding where its model is there (128 features: quick), through Inception with formula weights else.
setup_file() {
    export FACEMILL_CACHE=$BATS_FILE_TMPDIR/cache
    export FACEMILL_MODELS=${FACEMILL_MODELS:-$ROOT/models}
    export weights=$BATS_FILE_TMPDIR/inception.safetensors
    $python "$ROOT/tests/programs/inception_weights.py" "$ROOT/tests/reference/inception-shapes.json" safetensors "$weights"
    cd "$BATS_FILE_TMPDIR"
    mkdir a b
    for i in 1 2 3 4 5 6; do
        picture "a/$i.png" 40 48 "$i"
        picture "b/$i.png" 40 48 "$((i + 50))"
    done
    samples 6 40 48 ppm 9 >c.tar
}

score() { fid-score --quiet --inception "$weights" "$@"; }
value() { $python -c 'import json, sys; o = json.load(open(sys.argv[1])); print(eval(sys.argv[2], {"o": o}))' "$@"; }
A=$BATS_FILE_TMPDIR/a B=$BATS_FILE_TMPDIR/b C=$BATS_FILE_TMPDIR/c.tar
need_faces() { [ -r "$FACEMILL_MODELS/dlib_face_recognition_resnet_model_v1.dat" ] || skip "dlib's face embedding is not there (make models)"; }

@test "every score agrees with NumPy and SciPy on the saved features" {
    score --metrics fid,kid,prdc,is --kid-size 5 --kid-subsets 7 --splits 2 --save-features a.npy --json "$B" "$A" >ab.json
    score --save-features b.npy "$B"
    score --metrics prdc --neighbours 2 --json b.npy a.npy >two.json
    $python - ab.json a.npy b.npy <<'PY'
import json, sys
import numpy as np
from scipy.linalg import sqrtm
o, a, b = json.load(open(sys.argv[1])), np.load(sys.argv[2]).astype(np.float64), np.load(sys.argv[3]).astype(np.float64)
assert a.shape == b.shape == (6, 2048)
ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
# tr sqrt(ca cb) through the 6 x 6 Gram matrix of the centred rows
x, y = (a - a.mean(0)) / 5**.5, (b - b.mean(0)) / 5**.5
root = np.linalg.svd(x @ y.T, compute_uv=False).sum()
fid = ((a.mean(0) - b.mean(0))**2).sum() + np.trace(ca) + np.trace(cb) - 2 * root
assert abs(o['fid'] - fid) < 1e-6 * fid, (o['fid'], fid)
rng, kid = np.random.RandomState(2020), []
k = lambda x, y: (x @ y.T / 2048 + 1)**3
for _ in range(7):
    p, q = b[rng.choice(6, 5, replace=False)], a[rng.choice(6, 5, replace=False)]
    kid.append((k(p, p).sum() - np.trace(k(p, p))) / 20 + (k(q, q).sum() - np.trace(k(q, q))) / 20 - 2 * k(p, q).mean())
assert abs(o['kid'] - np.mean(kid)) < 1e-6 * abs(np.mean(kid)), (o['kid'], np.mean(kid))
assert abs(o['kid_std'] - np.std(kid)) < 1e-6 * np.std(kid)
dist = lambda x, y: np.sqrt(((x[:, None] - y[None])**2).sum(-1))
rr, gg, gr = dist(b, b), dist(a, a), dist(a, b)
ball = lambda d, k: np.sort(d, 1)[:, k]
assert o['precision'] == (gr <= ball(rr, 3)[None]).any(1).mean() and o['precision_neighbours'] == 3
two = json.load(open('two.json'))
assert two['precision'] == (gr <= ball(rr, 2)[None]).any(1).mean() and two['precision_neighbours'] == 2 and two['density'] == o['density']
assert o['recall'] == (gr <= ball(gg, 3)[:, None]).any(0).mean()
assert abs(o['density'] - (gr < ball(rr, 5)[None]).sum(0).mean() / 5) < 1e-12
assert o['coverage'] == (gr.min(0) < ball(rr, 5)).mean()
assert 1 <= o['inception_score'] <= 3
PY
}

@test "a larger set than dimensions agrees with SciPy's matrix root" {
    need_faces
    samples 150 32 32 ppm 1 >x.tar
    samples 150 32 32 ppm 2 >y.tar
    score --features dlib-face --save-features x.npy --save-stats x.npz x.tar
    score --features dlib-face --json --save-features y.npy --ref x.npz y.tar >xy.json
    $python - <<'PY'
import json
import numpy as np
from scipy.linalg import sqrtm
x, y = np.load('x.npy').astype(np.float64), np.load('y.npy').astype(np.float64)
z = np.load('x.npz')
assert np.allclose(z['mu'], x.mean(0), rtol=1e-12, atol=1e-14) and np.allclose(z['sigma'], np.cov(x, rowvar=False), rtol=1e-9, atol=1e-16)
about = json.loads(z['facemill'].tobytes())
assert z['count'] == 150 == about['count'] and about['features'] == 'dlib-face' and len(about['extractor_sha256']) == 64
want = ((x.mean(0) - y.mean(0))**2).sum() + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * sqrtm(np.cov(x.T) @ np.cov(y.T)).real)
got = json.load(open('xy.json'))['fid']
assert abs(got - want) < 1e-6 * want, (got, want)
PY
}

@test "sides: folder, stream, file, store and statistics give the same score" {
    need_faces
    score --features dlib-face --json --ref "$A" "$C" >one.json
    score --features dlib-face --json --ref "$A" - <"$C" >two.json
    gzip -c "$C" >c.tgz
    score --features dlib-face --json "$A" c.tgz >three.json
    score --features dlib-face --save-stats a.npz "$A"
    score --features dlib-face --json --ref a.npz "$C" >four.json
    for f in two three four; do [ "$(value $f.json 'o["fid"]')" = "$(value one.json 'o["fid"]')" ]; done
    [ "$(value one.json 'o["scored"]["count"], o["reference"]["kind"], o["scored"]["kind"]')" = "(6, 'folder', 'sample stream')" ]
    [ "$(value four.json 'o["reference"]["kind"]')" = statistics ]
    need pack-lmdb
    samples 6 48 48 ppm 9 >square.tar
    pack-lmdb --quiet --codec png --size 48,24 s.lmdb <square.tar
    score --features dlib-face --json s.lmdb square.tar >five.json
    [ "$(value five.json 'o["fid"] < 1e-6')" = True ]
    score --features dlib-face --json --size 24 s.lmdb square.tar >six.json
    [ "$(value six.json 'o["fid"] > 1e-4 and "differ in size" in o["notes"][0]')" = True ]
    fails_with 1 'no pictures of height 32' fid-score --quiet --features dlib-face --size 32 s.lmdb square.tar
    [ "$(value five.json 'o["reference"]["kind"]')" = store ]
}

@test "a set is at distance zero from itself, whatever batch and jobs" {
    need_faces
    score --features dlib-face --batch 1 --jobs 1 --save-stats a1.npz "$A"
    score --features dlib-face --no-cache --batch 4 --jobs 2 --save-stats a2.npz "$A"
    score --json a1.npz a2.npz >z.json
    [ "$(value z.json 'o["fid"] < 1e-6')" = True ]
}

@test "Inception's weights: both layouts of torch.save, TensorFlow's graph and safetensors give the same bytes of statistics" {
    for kind in legacy zip pb; do
        $python "$ROOT/tests/programs/inception_weights.py" "$ROOT/tests/reference/inception-shapes.json" $kind $kind.pth
        fid-score --quiet --inception $kind.pth --save-stats $kind.npz "$C" >$kind.txt
        grep -q "$(sha256sum <$kind.pth | cut -d' ' -f1)" $kind.txt
        rm $kind.pth
    done
    FACEMILL_INCEPTION=$weights fid-score --quiet --save-stats safe.npz "$C"
    $python - <<'PY'
import numpy as np
l, z, g, s = (np.load(f + '.npz') for f in ('legacy', 'zip', 'pb', 'safe'))
assert all((l[k] == z[k]).all() and (l[k] == s[k]).all() and (l[k] == g[k]).all() for k in ('mu', 'sigma'))
PY
}

@test "statistics of other tools are read: compressed, float32, Fortran order" {
    score --save-stats c.npz "$C"
    $python -c '
import numpy as np
z = np.load("c.npz")
np.savez_compressed("other.npz", mu=z["mu"], sigma=np.asfortranarray(z["sigma"]))
np.savez("single.npz", mu=z["mu"].astype("f4"), sigma=z["sigma"].astype("f4"))'
    score --json other.npz "$C" >other.json
    [ "$(value other.json 'o["fid"] < 1e-6 and "does not say" in o["notes"][0]')" = True ]
    score --json single.npz "$C" >single.json
    [ "$(value single.json 'o["fid"] < 1e-2')" = True ]
}

@test "the cache: hit on the same content, miss after one changed picture or other weights" {
    need_faces
    cp -r "$A" own
    score --features dlib-face --json own "$C" >1.json
    score --features dlib-face --json own "$C" >2.json
    [ "$(value 1.json 'o["reference"]["cached"]') $(value 2.json 'o["reference"]["cached"]')" = 'False True' ] ||
        [ "$(value 1.json 'o["reference"]["cached"]')" = True ] # A itself was scored before: same content, same entry
    [ "$(value 1.json 'o["fid"]')" = "$(value 2.json 'o["fid"]')" ]
    mv own moved # the name does not matter
    score --features dlib-face --json moved "$C" >3.json
    [ "$(value 3.json 'o["reference"]["cached"]')" = True ]
    picture moved/3.png 40 48 99
    score --features dlib-face --json moved "$C" >4.json
    [ "$(value 4.json 'o["reference"]["cached"]')" = False ]
    [ "$(value 3.json 'o["fid"]')" != "$(value 4.json 'o["fid"]')" ]
    score --json moved "$C" >5.json
    [ "$(value 5.json 'o["reference"]["cached"]')" = False ]
    for f in "$FACEMILL_CACHE"/*.npz; do echo damaged >"$f"; done
    score --features dlib-face --json moved "$C" >6.json
    [ "$(value 6.json 'o["reference"]["cached"]')" = False ]
    [ "$(value 4.json 'o["fid"]')" = "$(value 6.json 'o["fid"]')" ]
}

@test "grey, alpha, mixed sizes and broken pictures are counted" {
    need_faces
    mkdir odd
    picture odd/1.png 40 40 1 L
    picture odd/2.png 64 48 2 RGBA
    picture odd/3.jpg 300 200 3
    picture odd/4.png 40 40 4 P
    head -c 500 odd/3.jpg >odd/5.jpg
    : >odd/6.png
    status=0
    fid-score --features dlib-face --quiet --json --rejects rejects.jsonl --ref "$A" odd >odd.json 2>err || status=$?
    [ "$status" -eq 3 ]
    [ "$(value odd.json 'o["scored"]["read"], o["scored"]["count"], o["scored"]["rejected"]')" = '(6, 4, 2)' ]
    value odd.json 'o["scored"]["pictures"]' | grep -q '^40x40 to 300x200, 2 of another size than the first, 1 grey repeated, 1 with alpha over white$'
    [ "$(value odd.json '[o["scored"][k] for k in ("other_sizes", "grey", "alpha", "rotated")]')" = '[2, 1, 1, 0]' ]
    [ "$(value odd.json 'o["scored"]["codecs"]')" = 'png 3, jpg 1' ]
    value odd.json 'o["notes"][0]' | grep -q 'differ in size'
    [ "$(wc -l <rejects.jsonl)" -eq 2 ]
    fid-score --features dlib-face --quiet --max-reject 2 --ref "$A" odd >/dev/null 2>&1
}

@test "gates: exit status 4 above --max-fid" {
    need_faces
    score --features dlib-face --max-fid 1e6 "$A" "$C" >/dev/null
    fails_with 4 'above --max-fid' fid-score --quiet --features dlib-face --max-fid 1e-9 "$A" "$C"
    fails_with 4 'above --max-kid' fid-score --quiet --features dlib-face --metrics kid --kid-size 4 --max-kid -10 "$A" "$C"
}

@test "one clear line when something is wrong" {
    need_faces
    export FACEMILL_INCEPTION=
    f() { fails_with 1 "$1" fid-score --quiet --features dlib-face "${@:2}"; }
    fails_with 1 'No such file' fid-score --quiet --ref "$A" nowhere
    FACEMILL_MODELS=$PWD fails_with 1 'pt_inception-2015-12-05-6726825d.pth.*published' fid-score --quiet "$A" "$C"
    mkdir empty
    f 'empty: 0 usable pictures' --ref "$A" empty
    f 'no tar|tar' --ref "$A" - </dev/null
    head -c 2000 "$C" >cut.tar
    f 'cut' --ref "$A" cut.tar
    echo garbage >garbage.npz
    printf 'PK\003\004 and no more' >zip.npz
    f 'zip.npz' --ref zip.npz "$C"
    $python -c 'import numpy as np; np.savez("small.npz", mu=np.zeros(3), sigma=np.eye(3)); np.savez("odd.npz", mu=np.zeros(128), sigma=np.eye(3)); np.savez("flat.npz", mu=np.zeros(128), sigma=np.ones((128, 1))); np.savez("nan.npz", mu=np.zeros(128), sigma=np.full((128, 128), np.nan)); np.savez("other.npz", a=np.zeros(3)); np.savez("object.npz", mu=np.array([{}]), sigma=np.eye(1))'
    f 'different extractors' --ref small.npz "$C"
    f 'mu has 128 numbers, sigma is 3' --ref odd.npz "$C"
    f 'sigma has another shape' --ref flat.npz "$C"
    f 'not finite' --ref nan.npz "$C"
    f 'mu and sigma are missing' --ref other.npz "$C"
    f 'object.npz: mu' --ref object.npz "$C"
    fails_with 1 'FID.s Inception|too|header|truncated|safetensors' fid-score --quiet --inception "$C" "$A" "$C"
    printf '\200\002\212\012l\374\234F\371 j\250P\031.\200\002M\351\003.\200\002}.\200\002cos\nsystem\nX\004\000\000\000true\205R.' >evil.pth
    fails_with 1 'os.system.*refused' fid-score --quiet --inception evil.pth "$A" "$C"
    f 'No such file|not exist|cannot' --save-stats nowhere/x.npz "$C"
    fails_with 2 'second side' fid-score --features dlib-face "$A"
    fails_with 2 'none of' fid-score --metrics fid,lpips "$A" "$C"
    fails_with 2 'only one side' fid-score --ref - -
    fails_with 2 '.second side.*|no SIDE' fid-score --features dlib-face --bootstrap 3 "$A"
    fails_with 2 'bootstrap is for FID or KID' fid-score --features dlib-face --bootstrap 3 --metrics prdc "$A" "$C"
    fails_with 2 'no SIDE' fid-score --ppl nowhere --ref "$A"
    fails_with 2 'exclude each other' fid-score --no-cache --cache folder "$A" "$C"
    fails_with 2 'needs --features inception' fid-score --features dlib-face --metrics is "$A" "$C"
    score --features dlib-face --save-stats a.npz "$A"
    fails_with 2 'has no features' fid-score --features dlib-face --metrics kid a.npz "$C"
    fails_with 2 'has no features to resample' fid-score --features dlib-face --bootstrap 3 "$C" a.npz
    [ -z "$(ls | grep tmp- || true)" ]
}

@test "a full disk and a closed pipe" {
    need_faces
    [ -w /dev/full ] || skip "no /dev/full"
    status=0
    fid-score --quiet --features dlib-face "$A" "$C" >/dev/full 2>err || status=$?
    [ "$status" -eq 1 ] && grep -q 'fid-score: .*No space' err
    fid-score --quiet --features dlib-face "$A" "$C" | true
}
