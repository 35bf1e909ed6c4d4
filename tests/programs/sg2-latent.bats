# sg2-latent: what each command computes, compared with NumPy; the same pictures by every way; streams that stop, wrong input.
load lib

setup_file() {
    need sg2-gen sg2-latent
    # z and w of 32 numbers in both, so that [N,32] is ambiguous; 6 and 8 layers, the second with 5 classes
    export NET=$ROOT/tests/reference/stylegan2-r16.safetensors NET2=$ROOT/tests/reference/stylegan2-r32-cond5.safetensors
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
    sg2-latent sample --seeds 3 --network "$NET2" | sg2-latent info | grep -q '^array 0: \[1,32\]'
    gen --rng philox --seeds 18446744073709551615,4 >seeds.tar
    sg2-latent sample --rng philox --dim 32 --seeds 18446744073709551615,4 | gen - >z.tar
    numpy 'same_pictures("z.tar", "seeds.tar")'
}

@test "the same pictures by sample | map | sg2-gen, and through NumPy files" {
    for options in "" "--trunc 0.7" "--trunc 0.6 --cutoff 3"; do
        gen --seeds 85,265,297 $options >seeds.tar
        sg2-latent sample --network "$NET" --seeds 85,265,297 | map $options | gen - >pipe.tar
        numpy 'same_pictures("pipe.tar", "seeds.tar")'
        sg2-latent sample --dim 32 --seeds 85,265,297 >z.npy
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
    numpy 'assert load("mean.npy").shape == (1, 32)'
    map --trunc 0 <<<"" 2>/dev/null && return 1
    sg2-latent sample --dim 32 --seeds 9 | map --trunc 0 --space w >zero.npy
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
c = load("c.npy").reshape(7, 3, 6, 32)
near(c[:, 0, :2], (m - 0.5 * (plus - m))[:, :2])
assert (c[:, 0, 2:] == plus[:, 2:]).all() and (c[:, 1] == plus).all()
near(c[:, 2, :2], np.broadcast_to(m, (7, 2, 32)))'
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
    [ "$(wc -l <info.json)" = 2 ] && grep -q '^plus.npy$' info.txt && grep -qF 'array 0: [7,6,32], mean' info.txt
    numpy 'import json
w, plus = load("w.npy"), load("plus.npy")
for line in open("info.json"):
    j = json.loads(line)
    assert j["shape"] == [7, 32]
    for name, value in dict(mean=w.mean(), deviation=w.std(), min=w.min(), max=w.max(), length=np.linalg.norm(w, axis=1).mean()).items():
        assert abs(j[name] - value) < 1e-5 * max(1, abs(value)), name'
    fails_with 1 'no row 28: there are 28' sg2-latent cat --rows 0,28 all.npy
    fails_with 1 'plus.npy: an array of \[N,6,32\] follows one of \[N,32\]' sg2-latent cat w.npy plus.npy
}

@test "latents that are none, or stop early, are refused in one line" {
    head -c 500 w.npy >short.npy
    head -c 100 /dev/urandom >noise.npy
    : >empty.npy
    cat w.npy noise.npy >tail.npy
    numpy 'np.save("nan.npy", np.full((2, 32), np.nan)); np.save("flat.npy", np.zeros(32)); np.save("none.npy", np.zeros((0, 32)))
np.save("wide.npy", np.zeros((1, 33), "f4")); np.save("deep.npy", np.zeros((1, 65, 32))); np.save("object.npy", np.array([[None]]))'
    for command in "map --network $NET" mean "truncate --network $NET" cat info; do
        fails_with 1 'short.npy: truncated .npy data' sg2-latent $command short.npy
        fails_with 1 'stdin: no .npy array' sg2-latent $command <noise.npy
        fails_with 1 'tail.npy: no .npy array' sg2-latent $command tail.npy
        fails_with 1 'empty.npy: no latents' sg2-latent $command empty.npy
        fails_with 1 'none.npy: no latents' sg2-latent $command none.npy
        fails_with 1 'nan.npy: row 0 .*not finite' sg2-latent $command nan.npy
        fails_with 1 'flat.npy: .*\[32\] holds no latents' sg2-latent $command flat.npy
        fails_with 1 'deep.npy: .*\[1,65,32\] holds no latents' sg2-latent $command deep.npy
        fails_with 1 'object.npy: .*object arrays' sg2-latent $command object.npy
        fails_with 1 'nowhere.npy: No such file' sg2-latent $command nowhere.npy
        fails_with 1 ': read: Is a directory' sg2-latent $command .
    done
    fails_with 1 'wide.npy: an array of \[N,33\] is no z of this network, which is \[N,32\]' sg2-latent map --network "$NET" wide.npy
    fails_with 1 'plus.npy: .* is no z' sg2-latent map --network "$NET" plus.npy
    fails_with 1 'wide.npy: .* neither w nor w\+' sg2-latent truncate --network "$NET" wide.npy
}

@test "wrong command lines" {
    fails_with 2 'name a command' sg2-latent
    fails_with 2 'no command mapp' sg2-latent mapp
    fails_with 2 'sample takes --seeds' sg2-latent sample
    fails_with 2 'sample takes no --trunc' sg2-latent sample --seeds 0 --trunc 0.5
    fails_with 2 '--dim and --network' sg2-latent sample --seeds 0 --dim 32 --network "$NET"
    fails_with 2 'over 2\^32-1' sg2-latent sample --seeds 4294967296
    fails_with 2 'numbers and ranges' sg2-latent sample --seeds x
    fails_with 2 'network FILE is needed' sg2-latent map w.npy
    fails_with 2 'map takes one --trunc' sg2-latent map --network "$NET" --trunc 0,1 w.npy
    fails_with 2 'trunc takes numbers from -10 to 10' sg2-latent truncate --network "$NET" --trunc 0,,1 w.npy
    fails_with 2 'takes one file' sg2-latent map --network "$NET" w.npy w.npy
    fails_with 2 'cutoff makes layers differ' sg2-latent map --network "$NET" --space w --cutoff 2 w.npy
    fails_with 2 '5 classes' sg2-latent map --network "$NET2" w.npy
    fails_with 2 'no classes' sg2-latent map --network "$NET" --class 0 w.npy
    fails_with 2 'mean takes --network or latents' sg2-latent mean --network "$NET" w.npy
    fails_with 1 'No such file' sg2-latent mean --network nowhere
}

@test "walk: linear and cubic as NumPy and SciPy have them, spherical and circular by their geometry" {
    for path in linear cubic spherical; do
        sg2-latent walk --path $path --frames 37 <w.npy >$path.npy
        sg2-latent walk --path $path --frames 35 --loop plus.npy >$path-loop.npy
    done
    sg2-latent cat --rows 2,5 w.npy | sg2-latent walk --path circular --frames 12 >circle.npy
    sg2-latent cat --rows 2,5 plus.npy | sg2-latent walk --path circular --frames 12 --origin mean.npy >around.npy
    sg2-latent walk --path spherical --frames 37 --origin mean.npy w.npy >about.npy
    sg2-latent walk --seeds 5,9 --dim 32 --path spherical --frames 5 >seeds.npy
    sg2-latent sample --seeds 5,9 --dim 32 | sg2-latent walk --path spherical --frames 5 | cmp - seeds.npy
    sg2-latent cat --rows 0,1 w.npy | sg2-latent walk --path cubic --loop --frames 8 >two.npy
    numpy 'from scipy.interpolate import CubicSpline
w, plus, mean = load("w.npy"), load("plus.npy"), load("mean.npy")
t, tl = np.linspace(0, 6, 37), np.arange(35) * 7 / 35
def lerp(k, t):
    i = np.minimum(t.astype(int), len(k) - 2); s = (t - i).reshape([-1] + [1] * (k.ndim - 1))
    return k[i] * (1 - s) + k[i + 1] * s
closed = lambda k: np.concatenate([k, k[:1]])
near(load("linear.npy"), lerp(w, t))
near(load("linear-loop.npy"), lerp(closed(plus), tl))
near(load("cubic.npy"), CubicSpline(np.arange(7), w, bc_type="natural")(t))
near(load("cubic-loop.npy"), CubicSpline(np.arange(8), closed(plus), bc_type="periodic")(tl))
near(load("two.npy"), CubicSpline(np.arange(3), closed(w[:2]), bc_type="periodic")(np.arange(8) / 4))
def slerp(k, t):
    i = np.minimum(t.astype(int), len(k) - 2); s = (t - i).reshape([-1] + [1] * (k.ndim - 1)); a, b = k[i], k[i + 1]
    la, lb = np.linalg.norm(a, axis=-1, keepdims=True), np.linalg.norm(b, axis=-1, keepdims=True)
    o = np.arccos((a / la * b / lb).sum(-1, keepdims=True))
    return (np.sin((1 - s) * o) * a / la + np.sin(s * o) * b / lb) / np.sin(o) * ((1 - s) * la + s * lb)
near(load("spherical.npy"), slerp(w, t), 1e-5)
near(load("spherical-loop.npy"), slerp(closed(plus), tl), 1e-5)
near(load("about.npy"), mean + slerp(w - mean, t), 1e-5)
angle = (np.arange(12) * np.pi / 6).reshape(-1, 1)
near(load("circle.npy"), w[2] * np.cos(angle) + w[5] * np.sin(angle))
angle = angle.reshape(-1, 1, 1)
near(load("around.npy"), mean + (plus[2] - mean) * np.cos(angle) + (plus[5] - mean) * np.sin(angle))
for name in ("linear", "cubic", "spherical"): # the latents themselves are met exactly
    assert (load(name + ".npy")[::6] == w).all() and (load(name + "-loop.npy")[::5] == plus).all()'
    sg2-latent walk --frames 1 w.npy | cmp - <(sg2-latent cat --rows 0 w.npy)
}

@test "mix: layers of the columns in the rows" {
    sg2-latent cat --rows 0,1,2 w.npy >rows.npy
    sg2-latent cat --rows 3,4 plus.npy >columns.npy
    sg2-latent mix --layers 0-1,5 rows.npy columns.npy >a.npy
    sg2-latent mix --layers 0-1,5 --network "$NET" - <(sg2-latent cat --rows 3,4 w.npy) <rows.npy | cmp - a.npy
    sg2-latent mix --layers 0-1,5 rows.npy - <columns.npy | cmp - a.npy
    numpy 'a, plus = np.load("a.npy"), np.load("plus.npy")
assert a.shape == (6, 6, 32)
for i in range(3):
    for k in range(2):
        want = plus[i].copy(); want[[0, 1, 5]] = plus[3 + k][[0, 1, 5]]
        assert (a[2 * i + k] == want).all()'
    fails_with 1 'w has no layers' sg2-latent mix --layers 0 rows.npy rows.npy
    fails_with 1 'layer 6: there are layers 0 to 5' sg2-latent mix --layers 0,6 rows.npy columns.npy
    for bad in 3-1 x 1, "" 0--2; do fails_with 1 'numbers and ranges of layers' sg2-latent mix --layers "$bad" rows.npy columns.npy; done
}

@test "move: by amounts and to places, along one or several directions, some layers" {
    numpy 'r = np.random.RandomState(1)
np.save("one.npy", r.randn(32)); np.save("three.npy", r.randn(3, 32)); np.save("each.npy", r.randn(1, 6, 32))'
    sg2-latent move --directions one.npy --amounts -2,0,1.5 w.npy >a.npy
    sg2-latent move --directions three.npy --amounts 1,2 plus.npy >b.npy
    sg2-latent move --directions one.npy --layers 1-2,4 --network "$NET" --amounts 3 <w.npy >c.npy
    sg2-latent move --directions one.npy --layers 1-2,4 --amounts 3 <plus.npy | cmp - c.npy
    sg2-latent move --directions each.npy w.npy >d.npy
    sg2-latent move --directions one.npy --absolute --amounts 1,-1 --origin mean.npy w.npy >e.npy
    sg2-latent move --directions each.npy --absolute --amounts 2 --layers 3 plus.npy >f.npy
    numpy 'w, plus, mean, one, three, each = (load(n + ".npy") for n in ("w", "plus", "mean", "one", "three", "each"))
near(load("a.npy"), (w[:, None] + np.array([-2, 0, 1.5])[:, None] * one).reshape(21, 32))
near(load("b.npy"), (plus[:, None, None] + np.array([1, 2])[:, None, None] * three[:, None, None]).reshape(42, 6, 32))
c = plus.copy(); c[:, [1, 2, 4]] += 3 * one; near(load("c.npy"), c)
near(load("d.npy"), plus + each)
e = load("e.npy").reshape(7, 2, 32); near((e - mean) @ one / (one @ one), np.tile([1.0, -1], (7, 1)))
off = e - w[:, None]; near(off - (off @ one)[..., None] * one / (one @ one), 0 * off) # nothing else has changed
f = load("f.npy"); near(f[:, 3] @ each[0, 3] / (each[0, 3] @ each[0, 3]), np.full(7, 2.0)); assert (np.delete(f, 3, 1) == np.float32(np.delete(plus, 3, 1))).all()'
    fails_with 1 'w has no layers' sg2-latent move --directions one.npy --layers 1 w.npy
    fails_with 1 'the direction is of \[N,6,32\]' sg2-latent move --directions plus.npy <(sg2-latent sample --dim 8 --seeds 0)
    fails_with 1 'an origin is one latent, not 7' sg2-latent move --directions one.npy --absolute --origin w.npy w.npy
    fails_with 2 'goes with --absolute' sg2-latent move --directions one.npy --origin mean.npy w.npy
    fails_with 2 'read for one thing' sg2-latent move --directions - - <w.npy
}

# weights CODE - numpy with style(name), the style weights of a layer of $NET.
weights() {
    NET=$NET numpy "import json, os, struct
data = open(os.environ['NET'], 'rb').read(); size = struct.unpack('<Q', data[:8])[0]; head = json.loads(data[8:8 + size])
def tensor(name):
    t = head['G.' + name]; b, e = t['data_offsets']
    return np.frombuffer(data[8 + size + b:8 + size + e], '<f4').reshape(t['shape']).astype('f8')
style = lambda name: tensor('synthesis.' + name + '.affine.weight')
$1"
}

@test "sefa: the eigenvectors of the stacked style weights; moving and undoing gives the start" {
    sg2-latent directions --network "$NET" --count 32 >all.npy 2>said
    grep -q '^sg2-latent: 32 directions hold 100.0 % of the style weights of 112 channels, the first ' said
    sg2-latent directions --quiet --network "$NET" --count 5 --layers 2-3 >some.npy
    weights 'def check(name, layers, count):
    a = np.concatenate([style(n) for n in layers]); values, vectors = np.linalg.eigh(a.T @ a)
    got, want = load(name), vectors.T[::-1][:count]
    assert got.shape == want.shape
    near(np.abs((got * want).sum(1)), np.ones(count), 1e-5) # up to sign
check("all.npy", ["b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"], 32)
check("some.npy", ["b8.conv1", "b16.conv0"], 5)'
    for k in 0 1 2 3 4; do
        sg2-latent cat --rows $k some.npy >d.npy
        sg2-latent move --directions d.npy --amounts 4 --layers 2-3 plus.npy >moved.npy
        sg2-latent move --directions d.npy --amounts -4 --layers 2-3 <moved.npy >back.npy
        gen <plus.npy >start.tar && gen <moved.npy >moved.tar && gen <back.npy >back.tar
        numpy 'same_pictures("start.tar", "back.tar"); assert np.abs(pictures("start.tar") - pictures("moved.tar")).max() > 1'
    done
    fails_with 2 'feed no convolution .0 to 4 do' sg2-latent directions --network "$NET" --layers 5
    fails_with 2 'layer 6: there are layers 0 to 5' sg2-latent directions --network "$NET" --layers 6
    fails_with 2 'sefa takes no latents' sg2-latent directions --network "$NET" w.npy
    fails_with 2 'sefa takes no --seeds' sg2-latent directions --network "$NET" --seeds 0-9
}

@test "pca: the eigenvectors of the covariance, of seeds and of given latents" {
    sg2-latent directions --method pca --quiet --network "$NET" --seeds 0-299 --count 4 >seeds.npy
    sg2-latent sample --seeds 0-299 --dim 32 | map --space w >many.npy
    sg2-latent directions --method pca --quiet --count 4 <many.npy >w-given.npy
    sg2-latent sample --seeds 0-299 --dim 32 | map | sg2-latent directions --method pca --quiet --count 4 >plus-given.npy
    numpy 'w = load("many.npy"); values, vectors = np.linalg.eigh(np.cov(w.T))
for name in ("seeds.npy", "w-given.npy", "plus-given.npy"):
    near(np.abs((load(name) * vectors.T[::-1][:4]).sum(1)), np.ones(4), 1e-5)'
    sg2-latent mix --layers 0 plus.npy plus.npy >mixed.npy
    fails_with 1 'mixed.npy: layers of a w\+ differ' sg2-latent directions --method pca mixed.npy
    fails_with 1 'at least 2 latents' sg2-latent directions --method pca mean.npy
    sg2-latent sample --seeds 0-2 --dim 32 | sg2-latent directions --method pca --quiet --count 9 >few.npy
    numpy 'assert load("few.npy").shape == (2, 32)' # three points lie in a plane
}

@test "difference and logistic: two groups, by files or labels" {
    # latents of a known attribute, blurred
    numpy 'r = np.random.RandomState(3); x = r.randn(400, 32) * 3 + 1; d = r.randn(32); y = x @ d + 4 * r.randn(400) > d.sum()
np.save("x.npy", x); np.save("with.npy", x[y]); np.save("without.npy", x[~y]); np.save("y.npy", y)
skip = np.arange(400) % 7 == 0
open("labels", "w").write("".join("-\n" if s else "2.5\n" if v else "0\n" for s, v in zip(skip, y)))
np.save("kept.npy", ~skip)'
    sg2-latent directions --method difference with.npy without.npy >difference.npy 2>said
    grep -q 'the means of the groups are [0-9.]* apart' said
    sg2-latent directions --method difference --quiet without.npy - <with.npy >minus.npy
    sg2-latent directions --method logistic with.npy without.npy >logistic.npy 2>said
    grep -qE 'told from [89][0-9.]* % of 400 latents, and from [789][0-9.]* % of those' said
    sg2-latent directions --method logistic --quiet --labels labels x.npy >labels.npy
    numpy 'from scipy.optimize import minimize
def direction(x, y): # the published objective, minimised by another method
    z = (x - x.mean(0)) / (x - x.mean(0)).std(); s = np.where(y, 1, -1)
    def f(v):
        m = s * (z @ v[:32] + v[32]); g = -s / (1 + np.exp(m))
        return np.logaddexp(0, -m).sum() + (v[:32] ** 2).sum() / 2, np.append(g @ z + v[:32], g.sum())
    v = minimize(f, np.zeros(33), jac=True, method="L-BFGS-B", options=dict(ftol=1e-15, gtol=1e-9, maxiter=10000)).x[:32]
    return v[None] / np.linalg.norm(v)
x, y, kept = load("x.npy").astype("f4").astype("f8"), np.load("y.npy"), np.load("kept.npy")
d = x[y].mean(0) - x[~y].mean(0); near(load("difference.npy"), d[None] / np.linalg.norm(d)); near(load("minus.npy"), -load("difference.npy"))
near(load("logistic.npy"), direction(x, y), 1e-4); near(load("labels.npy"), direction(x[kept], y[kept]), 1e-4)'
    for method in difference logistic; do
        printf '1\n%.0s' {1..400} >ones
        fails_with 1 'group is empty: 400 latents with' sg2-latent directions --method $method --labels ones x.npy
        head -n 399 ones >few && fails_with 1 '399 lines for 400 latents' sg2-latent directions --method $method --labels few x.npy
        echo 1 >>ones && fails_with 1 'more lines than the 400' sg2-latent directions --method $method --labels ones x.npy
        echo maybe >bad && fails_with 1 'line 1 is neither' sg2-latent directions --method $method --labels bad x.npy
        fails_with 2 'takes the latents with the attribute' sg2-latent directions --method $method x.npy
        fails_with 1 'latents of different sizes' sg2-latent directions --method $method x.npy <(sg2-latent sample --seeds 0 --dim 8)
    done
}

@test "a walk of 10,000 frames in constant memory; readers that leave, writers that stop, full disks" {
    sg2-latent sample --seeds 0-3 | sg2-latent cat >keys.npy
    numpy 'np.save("keys.npy", np.repeat(np.load("keys.npy")[:, None], 12, 1))' # w+ of a 128x128 network: 24 KB a frame, 246 MB in all
    sg2-latent sample --seeds 9 >d.npy
    for frames in 100 10000; do
        /usr/bin/time -f %M -o walk.$frames sg2-latent walk --path cubic --frames $frames keys.npy |
            /usr/bin/time -f %M -o move.$frames sg2-latent move --directions d.npy |
            /usr/bin/time -f %M -o info.$frames sg2-latent info | grep -qF "[$frames,12,512]"
    done
    for p in walk move info; do [ $(($(tail -n 1 $p.10000) - $(tail -n 1 $p.100))) -lt 65536 ]; done # KB
    set +o pipefail
    sg2-latent walk --frames 10000 keys.npy 2>err | sg2-latent move --directions d.npy 2>>err | head -c 100000 >/dev/null
    [ "${PIPESTATUS[0]}" = 141 ] && [ "${PIPESTATUS[1]}" = 141 ] && [ ! -s err ]
    # a writer that dies: its reader says so in one line
    sg2-latent walk --frames 1000 plus.npy | head -c 10000 | sg2-latent truncate --network "$NET" 2>err | gen >/dev/null 2>err2 || status=$?
    [ "$status" = 1 ] && [ "$(cat err)" = 'sg2-latent: stdin: truncated .npy data' ] && [ "$(cat err2)" = 'sg2-gen: stdin: truncated .npy data' ]
    for command in "sample --seeds 0-99" "walk --frames 99 plus.npy" "cat plus.npy" "mix --layers 0 plus.npy plus.npy" "mean plus.npy" "info plus.npy"; do
        status=0
        sg2-latent $command >/dev/full 2>err || status=$?
        [ "$status" = 1 ] && [ "$(wc -l <err)" = 1 ] && grep -q 'No space' err
    done
}
