# sg2-project: pictures back to latents; what comes out draws them again; the same bytes every time; reports; wrong input.
load lib

setup_file() {
    need sg2-train sg2-gen sg2-project
    export RUN=$BATS_FILE_TMPDIR/run
    export NET=$RUN/snapshot-000000.016.safetensors
    $python "$ROOT/tests/programs/store.py" "$BATS_FILE_TMPDIR/faces" 16 16
    sg2-train --quiet --data "$BATS_FILE_TMPDIR/faces" --out "$RUN" --fmaps 0.004 --channel-max 8 --batch 8 --z-dim 16 --w-dim 24 \
        --kimg 0.016 --tick 0.016 --grid 3x2 --threads 1
    # noise that shows: strengths are about 0 after two iterations
    $python - "$NET" "$BATS_FILE_TMPDIR/noisy.safetensors" <<'PY'
import json, struct, sys
data = bytearray(open(sys.argv[1], 'rb').read())
n = struct.unpack('<Q', data[:8])[0]
for name, t in json.loads(data[8:8 + n]).items():
    if name.endswith('noise_strength'):
        data[8 + n + t['data_offsets'][0]:8 + n + t['data_offsets'][1]] = struct.pack('<f', 0.2)
open(sys.argv[2], 'wb').write(data)
PY
    export NOISY=$BATS_FILE_TMPDIR/noisy.safetensors
}
gen() { sg2-gen --quiet --threads 1 --network "$NET" "$@"; }
project() { sg2-project --quiet --threads 1 --network "$NET" "$@"; }
# psnr A.tar B.tar - of the pictures of two streams, one a line, in order
psnr() {
    $python - "$@" <<'PY'
import io, sys, tarfile
import numpy as np
from PIL import Image
def pictures(file):
    t = tarfile.open(file)
    return [np.asarray(Image.open(io.BytesIO(t.extractfile(m).read()))).astype(float) for m in t if m.name.endswith('.ppm')]
a, b = map(pictures, sys.argv[1:3])
assert len(a) == len(b) > 0
for x, y in zip(a, b):
    print('%.2f' % (10 * np.log10(255 ** 2 / max(np.mean((x - y) ** 2), 1e-3))))
PY
}

@test "generated pictures are found again, through the pipe" {
    gen --seeds 0-2 >in.tar
    project --batch 2 --report report.jsonl <in.tar | tee w.npy | gen - >out.tar
    psnr in.tar out.tar >psnr
    $python - <<'PY'
import json, numpy as np
psnr = [float(line) for line in open('psnr')]
report = [json.loads(line) for line in open('report.jsonl')]
assert min(psnr) >= 30, psnr
assert [r['key'] for r in report] == ['seed0000', 'seed0001', 'seed0002'] and [r['index'] for r in report] == [0, 1, 2]
for p, r in zip(psnr, report):
    assert abs(p - min(r['psnr'], 78.13)) < 0.02 and r['psnr'] == r['psnr_network_noise'], (p, r)
    assert r['distance'] == 'pixel' and r['space'] == 'w+' and r["steps"] == 500 and r['loss']['features'] == 0
f = open('w.npy', 'rb')
first, second = np.load(f), np.load(f)
assert first.shape == (2, 6, 24) and second.shape == (1, 6, 24) and first.dtype == np.float32
assert np.ptp(first, axis=1).max() > 1e-3
PY
}

@test "one w for all layers" {
    gen --seeds 3 --out in
    project --space w --steps 400 in >plus.npy
    project --space w --steps 400 --format w --pictures pair.png in >w.npy
    $python - <<'PY'
import numpy as np
from PIL import Image
plus, w = np.load('plus.npy'), np.load('w.npy')
assert plus.shape == (1, 6, 24) and w.shape == (1, 24) and (plus == w[:, None]).all()
pair, target = np.asarray(Image.open('pair.png')).astype(float), np.asarray(Image.open('in/seed0003.png'))
assert pair.shape == (16, 32, 3) and (pair[:, :16] == target).all()
assert np.mean((pair[:, 16:] - target) ** 2) < 65
PY
    gen --latent w <w.npy >out.tar
    [ "$(keys out.tar)" = "000000" ]
}

@test "the same bytes, for any number of threads, from files and from streams" {
    gen --seeds 0-1 >in.tar
    gen --seeds 0-1 --out in
    for t in 1 2; do sg2-project --quiet --threads $t --network "$NET" --steps 20 --noise optimise <in.tar | sha256sum; done >sums
    project --steps 20 --noise optimise in | sha256sum >>sums
    project --steps 20 --noise optimise in/seed0000.png in/seed0001.png | sha256sum >>sums
    [ "$(sort -u sums | wc -l)" = 1 ]
    for o in "" "--seed 1" "--space w" "--lr 0.05" "--w-noise 0" "--steps 21"; do project --steps 20 $o in | sha256sum; done >>sums
    [ "$(sort -u sums | wc -l)" = 7 ]
    # a picture's latents do not depend on its company
    project --steps 20 in/seed0001.png >one.npy
    project --steps 20 in >both.npy
    $python -c 'import numpy as np; f = open("both.npy", "rb"); np.load(f); assert (np.load(f) == np.load("one.npy")).all()'
}

@test "noise maps that take the place of the network's draw the projection" {
    sg2-gen --quiet --threads 1 --network "$NOISY" --seeds 4 --noise random --out in
    sg2-project --threads 1 --network "$NOISY" --steps 200 --noise optimise --save-noise maps.safetensors --report report.jsonl \
        --pictures out in >w.npy 2>messages
    grep -q "PSNR .* with the network's own noise" messages
    $python - "$NOISY" <<'PY'
import json, struct, sys
import numpy as np
def read(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    return json.loads(data[8:8 + n]), bytearray(data), 8 + n
head, data, at = read(sys.argv[1])
maps, values, start = read('maps.safetensors')
assert maps.pop('__metadata__')['format'] == 'facemill-noise'
assert len(maps) == 5 and maps['synthesis.b16.conv0.noise_const']['shape'] == [16, 16]
for name, t in maps.items():
    begin, end = t['data_offsets']
    x = np.frombuffer(values[start + begin:start + end], '<f4')
    assert abs(x.mean()) < 1e-5 and abs(x.std() - 1) < 1e-4
    to = head['G_ema.' + name]['data_offsets']
    data[at + to[0]:at + to[1]] = values[start + begin:start + end]
open('with.safetensors', 'wb').write(data)
r = json.loads(open('report.jsonl').read())
assert r['noise'] == 'optimise' and r['psnr'] != r['psnr_network_noise'] and r['loss']['noise'] > 0
PY
    sg2-gen --quiet --threads 1 --network with.safetensors --out again.png <w.npy
    $python -c 'import numpy as np; from PIL import Image; a, b = (np.asarray(Image.open(f)).astype(int) for f in ("again.png", "out/seed0004.png")); assert abs(a - b).max() <= 1'
}

@test "the discriminator judges where the file has one" {
    gen --seeds 0 --out in
    sg2-project --threads 1 --network "$RUN/checkpoint.safetensors" --steps 10 --report auto.jsonl in >auto.npy 2>messages
    grep -q 'distance discriminator' messages && grep -q '"distance":"discriminator"' auto.jsonl
    sg2-project --quiet --threads 1 --network "$RUN/checkpoint.safetensors" --steps 10 --distance discriminator in | cmp - auto.npy
    run ! cmp -s auto.npy <(sg2-project --quiet --threads 1 --network "$RUN/checkpoint.safetensors" --steps 10 --distance pixel in)
    cmp <(project --steps 10 in) <(sg2-project --quiet --threads 1 --network "$RUN/checkpoint.safetensors" --steps 10 --distance pixel in)
    fails_with 1 'has no discriminator' sg2-project --network "$NET" --distance discriminator in
}

@test "Inception judges where it is asked to" {
    $python "$ROOT/tests/programs/inception_weights.py" "$ROOT/tests/reference/inception-shapes.json" safetensors inception.safetensors
    gen --seeds 0 --out in
    project --distance inception --inception inception.safetensors --steps 4 --report report.jsonl in >w.npy
    sum=$(sha256sum <inception.safetensors | cut -d' ' -f1)
    grep -q "\"distance\":\"inception\",\"inception\":\"$sum\"" report.jsonl
    $python -c 'import json; assert json.load(open("report.jsonl"))["loss"]["features"] > 0'
    run ! cmp -s w.npy <(project --steps 4 in)
    fails_with 1 'tensor Conv2d_1a_3x3.conv.weight is missing' sg2-project --network "$NET" --distance inception --inception "$NET" in
    FACEMILL_MODELS=$PWD fails_with 1 'published' sg2-project --network "$NET" --distance inception in
    fails_with 2 'for --distance inception' sg2-project --network "$NET" --inception inception.safetensors in
}

@test "a film of the search" {
    gen --seeds 1-2 --out in
    project --steps 20 --video-every 5 --save-video film.y4m in >w.npy
    cmp w.npy <(project --steps 20 in)
    project --steps 20 --save-video film.png in/seed0001.png >w.npy
    $python - <<'PY'
from PIL import Image
import numpy as np
data = open('film.y4m', 'rb').read()
assert data.startswith(b'YUV4MPEG2 W32 H16 F24:1') and data.count(b'FRAME') == 5 + 24, data.count(b'FRAME')
film = Image.open('film.png')
assert film.size == (32, 16) and film.n_frames == 3 + 24
target = np.asarray(Image.open('in/seed0001.png'))
assert (np.asarray(film.convert('RGB'))[:, :16] == target).all()
PY
    fails_with 2 'should end in' sg2-project --network "$NET" --save-video film.gif in
    fails_with 2 'needs --save-video' sg2-project --network "$NET" --video-every 5 in
    mkdir empty
    project --save-video none.y4m empty >w.npy
    [ ! -s w.npy ] && [ -z "$(ls none.y4m* 2>/dev/null)" ]
}

@test "pictures of other sizes, and what cannot be used" {
    picture big.png 40 40
    picture grey.png 16 16 2 L
    picture wide.png 20 16
    echo nonsense >broken.png
    status=0
    project --steps 5 --rejects rejects.jsonl --max-reject 0 big.png wide.png broken.png grey.png >w.npy 2>messages || status=$?
    [ "$status" = 3 ]
    grep -q '20x16 pixels: only square' rejects.jsonl && [ "$(wc -l <rejects.jsonl)" = 2 ]
    $python -c 'import numpy as np; f = open("w.npy", "rb"); np.load(f), np.load(f); assert not f.read()'
    fails_with 1 'no tar stream' sg2-project --quiet --network "$NET" </dev/null
    fails_with 1 'nowhere' sg2-project --quiet --network nowhere big.png
    fails_with 2 'network FILE is needed' sg2-project big.png
    fails_with 2 'needs --noise optimise' sg2-project --network "$NET" --save-noise x big.png
    fails_with 2 'needs --space w' sg2-project --network "$NET" --format w big.png
    fails_with 2 'no classes' sg2-project --network "$NET" --class 0 big.png
    fails_with 1 'no/such' sg2-project --network "$NET" --report no/such big.png
    sg2-project --quiet --network "$NET" --plan | grep -q adam
}
