# sg2-gen: seeds and latents in; streams, folders and grids out; what others read and write; wrong input.
load lib

setup_file() {
    need sg2-train sg2-gen
    export NET=$BATS_FILE_TMPDIR/run/snapshot-000000.016.safetensors
    $python "$ROOT/tests/programs/store.py" "$BATS_FILE_TMPDIR/faces" 16 16
    # w is as large as z here, so that [N,16] arrays are ambiguous; the second network tells them apart
    sg2-train --quiet --data "$BATS_FILE_TMPDIR/faces" --out "$BATS_FILE_TMPDIR/run" --fmaps 0.004 --channel-max 8 --batch 8 \
        --z-dim 16 --w-dim 16 --kimg 0.016 --tick 0.016 --grid 3x2 --threads 1
    export NET2=$BATS_FILE_TMPDIR/run2/snapshot-000000.008.safetensors
    samples 12 16 16 png | pack-lmdb --quiet "$BATS_FILE_TMPDIR/classes"
    sg2-train --quiet --data "$BATS_FILE_TMPDIR/classes" --out "$BATS_FILE_TMPDIR/run2" --fmaps 0.004 --channel-max 8 --batch 8 \
        --z-dim 8 --w-dim 16 --kimg 0.008 --tick 0.008 --grid 3x2 --threads 1 --cond
}
gen() { sg2-gen --quiet --threads 1 --network "$NET" "$@"; }
network_py() { $python "$ROOT/tests/programs/network.py" "$@"; }

@test "a sample stream that Python's tarfile reads, with its provenance" {
    gen --seeds 0-4,85 --trunc 0.7 >out.tar
    [ "$(keys out.tar)" = "seed0000 seed0001 seed0002 seed0003 seed0004 seed0085" ]
    $python - "$NET" <<'PY'
import hashlib, io, json, sys, tarfile
from PIL import Image
t = tarfile.open('out.tar')
j = json.load(t.extractfile('seed0085.json'))
assert j['seed'] == 85 and j['truncation'] == 0.7 and j['width'] == 16
assert j['network'] == hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest()
assert j['steps'][-1]['tool'] == 'sg2-gen' and j['steps'][-1]['noise'] == 'const' and j['steps'][-1]['network_images'] == 16
im = Image.open(io.BytesIO(t.extractfile('seed0085.ppm').read()))
assert im.size == (16, 16) and im.mode == 'RGB'
PY
}

@test "the same pictures for any batch, order, thread and run" {
    for batch in 1 2 3 7 16; do gen --seeds 0-6 --batch $batch --noise random | sha256sum; done | sort -u >sums
    sg2-gen --quiet --threads 2 --network "$NET" --seeds 0-6 --noise random | sha256sum >>sums
    [ "$(sort -u sums | wc -l)" = 1 ]
    gen --seeds 3,0 --noise random >two.tar && gen --seeds 0-6 --noise random >all.tar
    cmp <(member two.tar seed0003.ppm) <(member all.tar seed0003.ppm)
    run ! cmp -s <(member all.tar seed0000.ppm) <(member all.tar seed0001.ppm)
}

@test "options change what they should" {
    for o in "" "--noise none" "--noise random" "--trunc 0.5" "--trunc 0.5 --cutoff 2" "--rng philox"; do
        gen --seeds 1 $o >o.tar && member o.tar seed0001.ppm | sha256sum
    done >sums
    # the noise strengths are still about 0 after two iterations, so noise may not show; everything else must
    [ "$(sort -u sums | wc -l)" -ge 4 ]
    cmp <(gen --seeds 1 --trunc 1 | sha256sum) <(gen --seeds 1 | sha256sum)
}

@test "z made by NumPy is the z of the seed" {
    $python -c 'import numpy as np; np.save("z.npy", np.concatenate([np.random.RandomState(s).randn(1, 16) for s in (7, 8, 9)]).astype("f4"))'
    gen <z.npy >z.tar
    gen --seeds 7-9 >s.tar
    [ "$(keys z.tar)" = "000000 000001 000002" ]
    for i in 0 1 2; do cmp <(member z.tar 00000$i.ppm) <(member s.tar seed000$((7 + i)).ppm); done
    # float64, Fortran order, several arrays in one stream, "-" as operand
    $python - >many.npy <<'PY'
import sys, numpy as np
z = np.load('z.npy')
np.save(sys.stdout.buffer, z[:1].astype('f8'))
np.save(sys.stdout.buffer, np.asfortranarray(z[1:]))
PY
    gen --batch 1 - <many.npy | cmp - z.tar
}

@test "saved w+ gives the same pictures, and NumPy reads it" {
    gen --seeds 7-9 --trunc 0.6 --cutoff 3 --save-w w.npy --batch 2 >s.tar
    $python -c 'import numpy as np; w = np.load("w.npy"); assert w.shape == (3, 6, 16) and w.dtype == np.float32; assert np.abs(w[:, 2] - w[:, 3]).max() > 1e-3; assert (w[:, 0] == w[:, 2]).all()'
    gen <w.npy >w.tar
    for i in 0 1 2; do cmp <(member w.tar 00000$i.ppm) <(member s.tar seed000$((7 + i)).ppm); done
    gen --seeds 7-9 --save-w plain.npy >s.tar
    $python -c 'import numpy as np; np.save("w2.npy", np.load("plain.npy")[:, 0])'
    gen --latent w <w2.npy >w.tar
    for i in 0 1 2; do cmp <(member w.tar 00000$i.ppm) <(member s.tar seed000$((7 + i)).ppm); done
    # told apart by shape
    sg2-gen --quiet --threads 1 --network "$NET2" <w2.npy >w.tar
    [ "$(keys w.tar)" = "000000 000001 000002" ]
}

@test "folders, single files and grids" {
    gen --seeds 0-2 --out folder
    [ "$(ls folder | tr '\n' ' ')" = "seed0000.json seed0000.png seed0001.json seed0001.png seed0002.json seed0002.png " ]
    gen --seeds 0-2 --out jpegs --format jpg --quality 80
    gen --seeds 0 --out one.png
    gen --seeds 0-4 --out grid.png
    gen --seeds 0-4 --out wide.webp --grid 5x1
    $python - <<'PY'
from PIL import Image
import numpy as np
one, grid = Image.open('one.png'), Image.open('grid.png')
assert one.size == (16, 16) and grid.size == (48, 32) and Image.open('wide.webp').size == (80, 16)
assert Image.open('jpegs/seed0001.jpg').format == 'JPEG'
assert (np.asarray(one) == np.asarray(grid)[:16, :16]).all() and (np.asarray(Image.open('folder/seed0002.png')) == np.asarray(grid)[:16, 32:]).all()
assert (np.asarray(grid)[16:, 32:] == 0).all()
PY
    fails_with 1 'no room for 5' sg2-gen --quiet --threads 1 --network "$NET" --seeds 0-4 --out small.png --grid 2x2
    [ ! -e small.png ]
    fails_with 2 '--format and --out one.jpg contradict' sg2-gen --network "$NET" --seeds 0 --format png --out one.jpg
    fails_with 2 'walk.gif: files end in' sg2-gen --network "$NET" --seeds 0-3 --out walk.gif
    fails_with 2 'set.tar: a stream goes to' sg2-gen --network "$NET" --seeds 0-3 --out set.tar
    [ ! -e one.jpg ] && [ ! -e walk.gif ] && [ ! -e set.tar ]
    gen --seeds 0 --out walk.gif/ # a folder all the same
    [ -f walk.gif/seed0000.png ]
    # a training's grid is a grid of seeds
    gen --seeds 0-5 --out fakes.png --grid 3x2
    cmp fakes.png "$BATS_FILE_TMPDIR/run/fakes000000.016.png"
}

@test "classes" {
    two() { sg2-gen --quiet --threads 1 --network "$NET2" "$@"; }
    two --seeds 0 --class 2 >c.tar
    member c.tar seed0000.json | grep -q '"label":2'
    fails_with 2 '3 classes' sg2-gen --quiet --threads 1 --network "$NET2" --seeds 0
    fails_with 2 'classes 0-2' sg2-gen --quiet --threads 1 --network "$NET2" --seeds 0 --class 3
    fails_with 2 'no classes' sg2-gen --quiet --threads 1 --network "$NET" --seeds 0 --class 0
}

@test "checkpoints, and networks with other prefixes and no metadata" {
    gen --seeds 0-3 >want.tar
    pictures() { for i in 0 1 2 3; do member "$1" seed000$i.ppm; done; }
    sg2-gen --quiet --threads 1 --network "$BATS_FILE_TMPDIR/run/checkpoint.safetensors" --seeds 0-3 >got.tar
    cmp <(pictures want.tar) <(pictures got.tar)
    for prefix in G_ema. G. ""; do
        network_py "$NET" other.safetensors "$prefix" drop=synthesis.b4.resample_filter
        sg2-gen --quiet --threads 1 --network other.safetensors --seeds 0-3 >got.tar
        cmp <(pictures want.tar) <(pictures got.tar)
    done
}

@test "networks that lie are refused in one line" {
    refused() { # PATTERN CHANGE...
        local pattern=$1
        shift
        network_py "$NET" bad.safetensors G_ema. "$@"
        fails_with 1 "bad.safetensors: .*($pattern)" sg2-gen --network bad.safetensors --seeds 0
    }
    refused 'tensor G_ema.mapping.fc1.bias has a wrong shape' shape=mapping.fc1.bias
    refused 'G_ema.synthesis.b8.conv1.weight has 16 output channels' shape=synthesis.b8.conv1.weight
    refused 'tensor G_ema.synthesis.b8.conv0.bias is missing' drop=synthesis.b8.conv0.bias
    refused 'mapping.fc0.weight is missing' drop=mapping.fc0.weight
    refused 'holds no generator' drop=synthesis.b4.const
    refused 'its configuration says 64x64' 'config={"res":64,"z_dim":16,"w_dim":16,"channel_base":131,"channel_max":8,"map_layers":2}'
    refused 'configuration' 'config={"res":1e9}'
    refused 'configuration' 'config=[]'
    head -c 3000 "$NET" >short.safetensors
    fails_with 1 'short.safetensors: ' sg2-gen --network short.safetensors --seeds 0
    : >empty
    fails_with 1 'empty: the file is empty' sg2-gen --network empty --seeds 0
    head -c 5000 /dev/urandom >noise
    fails_with 1 'noise: ' sg2-gen --network noise --seeds 0
    fails_with 1 'No such file' sg2-gen --network nowhere --seeds 0
    fails_with 1 'not a regular file' sg2-gen --network . --seeds 0
}

@test "latents that are none are refused in one line" {
    save() { $python -c "import sys, numpy as np; np.save('l.npy', $1)"; }
    save 'np.zeros((3, 17), "f4")'
    fails_from 'shape \[3,17\] is no latent'
    save 'np.full((2, 16), np.nan, "f4")'
    fails_from 'not finite'
    save 'np.zeros((0, 16), "f4")'
    fails_from 'no latents'
    save 'np.zeros((1, 5, 16), "f4")'
    fails_from 'is no latent'
    head -c 100 /dev/urandom >l.npy
    fails_from 'stdin'
    : >l.npy
    fails_from 'no latents'
    $python -c 'import numpy as np; np.save("l.npy", np.zeros((4, 16), "f4"))' && truncate -s 200 l.npy
    fails_from 'stdin'
}
fails_from() { # PATTERN: latents from l.npy
    fails_with 1 "$1" sg2-gen --quiet --threads 1 --network "$NET" <l.npy
}

@test "wrong options" {
    fails_with 2 'network FILE is needed' sg2-gen --seeds 0
    fails_with 2 'numbers and ranges' sg2-gen --network "$NET" --seeds 5-2
    fails_with 2 'over 2\^32-1' sg2-gen --network "$NET" --seeds 4294967296
    fails_with 2 'seed 4 is given twice' sg2-gen --network "$NET" --seeds 4,1-5
    fails_with 2 'exclude' sg2-gen --network "$NET" --seeds 0 file
    fails_with 2 'grid needs --out' sg2-gen --network "$NET" --seeds 0 --grid 2x2
    fails_with 2 'columns x rows' sg2-gen --network "$NET" --seeds 0 --grid 2 --out x.png
    fails_with 2 'exclude' sg2-gen --network "$NET" --seeds 0 -
    fails_with 2 'trunc takes' sg2-gen --network "$NET" --seeds 0 --trunc lots
    gen --rng philox --seeds 18446744073709551615 >big.tar
    member big.tar seed18446744073709551615.json | grep -q '"seed":18446744073709551615,'
}

@test "closed pipe, full device, unwritable places" {
    set +o pipefail
    gen --seeds 0-999 --batch 4 2>err | head -c 1000 >/dev/null
    [ "${PIPESTATUS[0]}" = 141 ] || [ "${PIPESTATUS[0]}" = 0 ]
    [ ! -s err ]
    full=0
    gen --seeds 0-99 >/dev/full 2>err || full=$?
    [ $full -eq 1 ] && [ "$(wc -l <err)" = 1 ] && grep -q 'No space' err
    touch file
    fails_with 1 'folder file' sg2-gen --quiet --threads 1 --network "$NET" --seeds 0 --out file
    fails_with 1 'nowhere' sg2-gen --quiet --threads 1 --network "$NET" --seeds 0 --out nowhere/x.png
    fails_with 1 'nowhere/w.npy' sg2-gen --quiet --threads 1 --network "$NET" --seeds 0 --save-w nowhere/w.npy --out ok.png
    run ! ls ./*.tmp-*
}
@test "plan and profile" {
    gen --plan | grep -q conv2d
    gen --profile | grep -q '^conv2d '
}

@test "a NumPy archive of other projectors counts as its array w" {
    sg2-gen --quiet --network "$NET" --seeds 3,4 --save-w w.npy >seeds.tar
    $python - <<'PY'
import numpy as np
w = np.load('w.npy')
np.savez('projected_w.npz', w=w)
np.savez_compressed('small.npz', noise=w[:1] * 0, w=w)
np.savez('only.npz', latents=w)
np.savez('several.npz', a=w, b=w)
np.savez('none.npz')
np.savez_compressed('zeros.npz', w=np.zeros((800000, 32), 'f4'))
open('cut.npz', 'wb').write(open('projected_w.npz', 'rb').read()[:700])
open('p.npy', 'wb').write(b'PK')
PY
    sg2-gen --quiet --network "$NET" w.npy | tar xO --wildcards '*.ppm' >want
    for f in projected_w small only; do
        sg2-gen --quiet --network "$NET" $f.npz | tar xO --wildcards '*.ppm' >got
        cmp want got
        sg2-latent cat $f.npz | cmp - w.npy
    done
    sg2-gen --quiet --network "$NET" <(cat w.npy) | tar xO --wildcards '*.ppm' | cmp - want
    $python -c 'import numpy as np; np.savez("d.npz", np.load("w.npy")[0, :1])'
    sg2-gen --quiet --network "$NET" --seeds 1 --directions d.npz --out d.png
    fails_with 1 'several.npz: 2 arrays, and none of them is w' sg2-gen --quiet --network "$NET" several.npz
    fails_with 1 'none.npz' sg2-latent info none.npz
    fails_with 1 'zeros.npz: an array is larger than' sg2-latent info zeros.npz
    fails_with 1 'cut.npz' sg2-latent info cut.npz
    fails_with 1 'p.npy: no .npy array' sg2-latent info p.npy
    fails_with 2 'save-w w.npz: what is written is one array' sg2-gen --quiet --network "$NET" --seeds 1 --save-w w.npz
    fails_with 2 'out w.npz' sg2-gen --quiet --network "$NET" --seeds 1 --out w.npz
}

@test "alpha gets into a sample stream unless PPM is asked for" {
    need pack-lmdb
    samples 12 16 16 png | pack-lmdb --quiet --channels 4 --codec png clear
    sg2-train --quiet --data clear --out r --fmaps 0.004 --channel-max 8 --batch 4 --z-dim 16 --w-dim 16 --kimg 0 --grid 2x2
    sg2-gen --quiet --network r/network-final.safetensors --seeds 5,6 >a.tar
    sg2-gen --quiet --network r/network-final.safetensors --seeds 5,6 --out a
    member a.tar seed0005.png >p.png
    cmp p.png a/seed0005.png
    $python -c 'from PIL import Image; i = Image.open("p.png"); assert i.mode == "RGBA" and i.getextrema()[3][0] < 255'
    pack-lmdb --quiet --channels 4 --codec png again a.tar
    pack-lmdb unpack --quiet again | tar xO seed0005.png | cmp - p.png
    sg2-gen --quiet --network r/network-final.safetensors --seeds 5 --format jpg | tar t | grep -q jpg
}
