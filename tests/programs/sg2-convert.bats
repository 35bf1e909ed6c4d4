# sg2-convert: the table, every format out and in again with the same pictures, ONNX against sg2-gen, wrong input.
load lib

PICKLES=$ROOT/tests/programs/pickles.py
NET=$ROOT/tests/reference/stylegan2-r16.safetensors   # G and D, 16x16
COND=$ROOT/tests/reference/stylegan2-r32-cond5.safetensors
convert() { sg2-convert --quiet "$@" 2>stderr.txt || { cat stderr.txt && return 1; }; }
picture_of() { # no two failures give the same bytes
    { sg2-gen --quiet --threads 1 --network "$1" --seeds 1-4 --noise const --trunc 0.7 "${@:2}" || echo "$1 failed: $BASHPID" >&2; } |
        tar xO --wildcards '*.ppm' || echo "$BASHPID $RANDOM"
}
tensors_of() { $python "$PICKLES" tensors "$1" | grep -v '^config '; }

@test "the table names every tensor, and the network" {
    sg2-convert "$NET" >table.txt
    grep -qE '^G\.synthesis\.b16\.conv0\.weight +F32 +\[16,24,3,3\]$' table.txt
    tail -n 1 table.txt | grep -q 'safetensors; a generator of 16x16 pictures, 3 channels, z 32, w 32, 0 classes, 2 mapping layers'
    $python "$PICKLES" nvidia "$NET" net.pkl clamp=256
    sg2-convert --json net.pkl | $python -c '
import json, sys
j = json.load(sys.stdin)
assert j["format"] == "NVIDIA pickle" and j["config"]["res"] == 16 and j["config"]["conv_clamp"] == 256
t = {x["name"]: x for x in j["tensors"]}
assert t["G_ema.synthesis.b4.const"] == {"name": "G_ema.synthesis.b4.const", "dtype": "F32", "shape": [24, 4, 4]}
assert t["D.b4.out.bias"]["shape"] == [1]'
    # what is no network is shown all the same, and not written
    sg2-convert "$ROOT/tests/reference/ops.safetensors" | tail -n 1 | grep -q 'tensors, .*; safetensors$'
    fails_with 1 'no generator' sg2-convert "$ROOT/tests/reference/ops.safetensors" x.npz
}

@test "one network through .pkl, .pt, .npz and .safetensors: equal tensors, equal pictures" {
    convert "$NET" ours.safetensors
    picture_of "$NET" >want
    tensors_of ours.safetensors >want.txt
    grep -q '^D.b16.fromrgb.weight ' want.txt
    $python "$PICKLES" nvidia "$NET" net.pkl
    convert net.pkl pkl.safetensors
    # a .pkl has G besides G_ema, and its noise strengths are scalars
    grep -v ' G\.' <(tensors_of pkl.safetensors) | grep -v '^G\.' | cmp - want.txt
    convert net.pkl net.npz
    grep -v '^G\.' <(tensors_of net.npz) | cmp - want.txt
    convert net.pkl net.pt
    picture_of net.pt | cmp - want
    convert net.pt back.safetensors
    picture_of back.safetensors | cmp - want
    tensors_of back.safetensors | grep -v '^G\.' | cmp - want.txt # with the filters that rosinality's layout leaves out
    $python "$PICKLES" rosinality "$NET" theirs.pt average=yes # not of our making
    convert theirs.pt theirs.safetensors
    tensors_of theirs.safetensors | grep -v '^G\.' | cmp - want.txt
    [ "$(tensors_of theirs.safetensors | grep -c '^G\.')" = "$(grep -c '^G_ema\.' want.txt)" ]
    convert --only-ema net.pkl ema.safetensors
    tensors_of ema.safetensors | cmp - <(grep '^G_ema\.' want.txt)
    # the same bytes every time
    convert --force net.pkl again.pt
    cmp again.pt net.pt
    convert --force net.pkl again.npz
    cmp again.npz net.npz
}

@test "16-bit numbers" {
    convert "$NET" full.safetensors
    for dtype in f16 bf16; do
        convert --dtype $dtype "$NET" half.safetensors --force
        sg2-convert half.safetensors | grep -qE "^G_ema.synthesis.b4.const +${dtype^^} "
        convert --dtype $dtype "$NET" half.pt --force
        sg2-convert half.pt | grep -qE "^G_ema.synthesis.b4.const +${dtype^^} "
        cmp <(picture_of half.pt) <(picture_of half.safetensors)
    done
    convert --dtype f16 "$NET" half.npz
    $python -c '
import numpy as np
a = np.load("half.npz")
sys_path = __import__("sys").path; sys_path.insert(0, "'"$ROOT"'/tests/programs")
import pickles
for k, v in pickles.load("full.safetensors").items():
    assert a[k].dtype == np.float16 and (a[k] == v.astype("f2")).all(), k'
    [ "$(stat -c %s half.npz)" -lt "$(stat -c %s full.safetensors)" ]
    $python - "$NET" <<'PY' # a weight that float16 cannot hold
import json, struct, sys
data = bytearray(open(sys.argv[1], 'rb').read())
n = struct.unpack('<Q', data[:8])[0]
at = 8 + n + json.loads(data[8:8 + n])['G.synthesis.b4.const']['data_offsets'][0]
data[at:at + 4] = struct.pack('<f', 1e6)
open('large.safetensors', 'wb').write(data)
PY
    fails_with 1 'synthesis.b4.const holds 1e\+06, which float16 cannot' sg2-convert --dtype f16 large.safetensors x.npz
    [ ! -e x.npz ]
    convert --dtype bf16 large.safetensors x.pt
}

@test "rosinality's layout refuses what it cannot express, and warns" {
    fails_with 1 '5 classes' sg2-convert "$COND" x.pt
    [ ! -e x.pt ]
    $python "$PICKLES" nvidia "$NET" net.pkl clamp=256
    sg2-convert --quiet net.pkl x.pt 2>stderr.txt
    grep -q 'channel counts' stderr.txt
    grep -q "no clamp, this network's is 256" stderr.txt
    # names and shapes as its programs have them, read without a line of ours
    $python - <<'PY'
import zipfile
z = zipfile.ZipFile('x.pt')
assert z.testzip() is None and z.read('archive/version') == b'3\n' and z.read('archive/byteorder') == b'little'
p = z.read('archive/data.pkl')
for name in (b'g_ema', b'latent_avg', b'style.2.bias', b'input.input', b'conv1.conv.modulation.bias', b'convs.3.activate.bias', b'to_rgb1.conv.weight',
             b'to_rgbs.1.upsample.kernel', b'convs.2.conv.blur.kernel', b'noises.noise_4', b'final_linear.1.bias', b'convs.1.conv2.0.kernel'):
    assert b'X' + len(name).to_bytes(4, 'little') + name in p, name
PY
}

# onnx NET CLASS ENGINE PYTHON: pictures of the model and of sg2-gen differ by one level at most, and that rarely
same_as_onnx() {
    picture_of "$1" ${2:+--class $2} >want
    "$4" "$ROOT/tests/programs/onnx_run.py" model.onnx got.npy z=z.npy ${2:+class=$2} ${5:+psi=$5} engine=$3
    $python -c '
import numpy as np, sys
got = np.load("got.npy").astype(int)
want = np.frombuffer(open("want", "rb").read(), "u1")
head = len(want) // 4 - got[0].size
want = np.stack([w[head:] for w in want.reshape(4, -1)]).reshape(got.shape).astype(int)
d = abs(got - want)
assert d.max() <= 1 and (d > 0).mean() <= float(sys.argv[1]), (d.max(), (d > 0).mean())' "${6:-0.001}"
}

onnx_models() { # ENGINE PYTHON
    $python -c 'import numpy as np; np.save("z.npy", np.concatenate([np.random.RandomState(s).randn(1, 32) for s in (1, 2, 3, 4)]).astype("f4"))'
    convert --force "$NET" model.onnx
    same_as_onnx "$NET" "" "$@" 0.7
    convert --force --trunc 0.7 "$NET" model.onnx
    same_as_onnx "$NET" "" "$@"
    convert --force --trunc 0.7 --dtype f16 "$NET" model.onnx
    same_as_onnx "$NET" "" "$@" "" 0.05
    convert --force "$COND" model.onnx
    same_as_onnx "$COND" 3 "$@" 0.7
    $python "$PICKLES" nvidia "$NET" tight.pkl clamp=0.25
    convert --force tight.pkl model.onnx
    same_as_onnx tight.pkl "" "$@" 0.7
}

@test "ONNX draws the pictures of sg2-gen, computed with NumPy" {
    onnx_models numpy $python
}

@test "ONNX draws the pictures of sg2-gen, computed with onnxruntime" {
    local p=${ONNX_PYTHON:-$python} # any Python that has it: ONNX_PYTHON=venv/bin/python
    "$p" -c 'import onnxruntime' 2>/dev/null || skip "onnxruntime is not installed for $p (pip install onnxruntime, then ONNX_PYTHON=...)"
    onnx_models onnxruntime "$p"
}

@test "wrong options and places" {
    fails_with 2 'is needed' sg2-convert
    fails_with 2 'not 3 files' sg2-convert a b c
    fails_with 2 'names no format' sg2-convert "$NET" x.bin
    fails_with 2 'need OUT' sg2-convert --dtype f16 "$NET"
    fails_with 2 'is for onnx' sg2-convert --trunc 0.7 "$NET" x.pt
    fails_with 2 'bf16 is for' sg2-convert --dtype bf16 "$NET" x.onnx
    convert --format npz "$NET" x.bin
    fails_with 1 'there is such a file already' sg2-convert --format npz "$NET" x.bin
    fails_with 1 'No such file' sg2-convert absent.pkl
    fails_with 1 'No such file' sg2-convert "$NET" absent/x.pt
    for f in safetensors npz pt onnx; do fails_with 1 '(write|rename to) \.: ' sg2-convert "$NET" --format $f --force .; done
    [ "$(ls -A | grep -c tmp)" = 0 ]
    echo nonsense >x.pkl
    fails_with 1 'x.pkl: ' sg2-convert x.pkl
    full() { sg2-convert "$NET" >/dev/full; }
    run full
    [ "$status" -eq 1 ]
}
