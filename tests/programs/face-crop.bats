load lib

# faces FILE.tar - three samples of 120x90 with a box and landmarks, a bright square where the face is.
faces() {
    $python - "$1" <<'PY'
import io, json, sys, tarfile
import numpy as np
from PIL import Image
tar = tarfile.open(sys.argv[1], 'w')
def add(name, blob):
    info = tarfile.TarInfo(name)
    info.size = len(blob)
    tar.addfile(info, io.BytesIO(blob))
for i, (x, y, side) in enumerate([(40, 20, 30), (2, 3, 24), (70, 40, 48)]):
    a = np.full((90, 120, 3), 60, 'u1')
    a[y:y + side, x:x + side] = (200, 150, 100)
    png = io.BytesIO()
    Image.fromarray(a).save(png, 'PNG')
    add('%d.png' % i, png.getvalue())
    lm = [[x + side * u, y + side * v] for u, v in ((0.3, 0.35), (0.7, 0.35), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))]
    add('%d.json' % i, json.dumps({'box': [x, y, side, side], 'landmarks': lm, 'source_box': [0, 0, 10 * side, 10 * side], 'label': i}).encode())
tar.close()
PY
}
json() { member "$1" "$2" | $python -c "import json, sys; j = json.load(sys.stdin); print($3)"; }
size_of() { member "$1" "$2" | $python -c "import io, sys; from PIL import Image; print(*Image.open(io.BytesIO(sys.stdin.buffer.read())).size)"; }

@test "centre crop and resize agree with Pillow" {
    need face-crop
    samples 3 100 70 png >in.tar
    for filter in lanczos bicubic bilinear box; do
        face-crop --quiet --size 48x32 --filter $filter <in.tar >out.tar
        $python - $filter <<'PY'
import io, sys, tarfile
import numpy as np
from PIL import Image
a, b = tarfile.open('in.tar'), tarfile.open('out.tar')
kind = {'lanczos': Image.LANCZOS, 'bicubic': Image.BICUBIC, 'bilinear': Image.BILINEAR, 'box': Image.BOX}[sys.argv[1]]
for i in range(3):
    im = Image.open(io.BytesIO(a.extractfile('%05d.png' % i).read()))
    w, h = 100, 67 # 100 / 1.5, rounded
    want = np.asarray(im.crop((0, 1, 100, 68)).resize((48, 32), kind)).astype(int)
    got = np.asarray(Image.open(io.BytesIO(b.extractfile('%05d.ppm' % i).read()))).astype(int)
    assert abs(want - got).max() <= 1, abs(want - got).max()
PY
    done
}

@test "the face has its share, the JSON moves along" {
    need face-crop
    faces in.tar
    face-crop --quiet --mode face --share 0.6 --size 50 <in.tar >out.tar
    [ "$(size_of out.tar 0.ppm)" = "50 50" ]
    json out.tar 0.json "j['label'], j['steps'][0]['window'], [round(v) for v in j['box']], j['source_box']" | grep -F "0 [30, 10, 50, 50] [10, 10, 30, 30] [0, 0, 300, 300]"
    json out.tar 1.json "j['steps'][0]['window'][:2]" | grep -F "[0, 0]" # moved to lie inside
    json out.tar 2.json "j['steps'][0]['window'][2] == 80" | grep True
    # the box in the JSON is where the bright square is
    $python - <<'PY'
import io, json, tarfile
import numpy as np
from PIL import Image
t = tarfile.open('out.tar')
for i in range(3):
    im = np.asarray(Image.open(io.BytesIO(t.extractfile('%d.ppm' % i).read())))[..., 0] > 130
    j = json.load(t.extractfile('%d.json' % i))
    ys, xs = np.nonzero(im)
    got = [xs.min(), ys.min(), xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()]
    assert max(abs(a - b) for a, b in zip(got, j['box'])) <= 1, (got, j['box'])
PY
}

@test "mirrored: picture, box and landmarks agree; both writes each twice" {
    need face-crop
    faces in.tar
    face-crop --flip both --mode face --share 0.5 <in.tar >out.tar 2>log
    [ "$(keys out.tar)" = "0 0_flip 1 1_flip 2 2_flip" ]
    grep -q 'in 3, out 3, rejected 0' log
    $python - <<'PY'
import io, json, tarfile
import numpy as np
from PIL import Image
t = tarfile.open('out.tar')
for i in range(3):
    a, b = (np.asarray(Image.open(io.BytesIO(t.extractfile('%d%s.ppm' % (i, s)).read()))) for s in ('', '_flip'))
    assert (a[:, ::-1] == b).all()
    p, q = (json.load(t.extractfile('%d%s.json' % (i, s))) for s in ('', '_flip'))
    w = a.shape[1]
    assert abs(q['box'][0] - (w - p['box'][0] - p['box'][2])) < 0.01
    assert abs(q['landmarks'][0][0] - (w - 1 - p['landmarks'][1][0])) < 0.01
PY
    face-crop --quiet --flip all <in.tar >flipped.tar
    face-crop --quiet --flip all <flipped.tar >twice.tar
    face-crop --quiet <in.tar >plain.tar
    [ "$(member twice.tar 1.ppm | sha256sum)" = "$(member plain.tar 1.ppm | sha256sum)" ]
}

@test "wide keeps the width and fills up with black" {
    need face-crop
    faces in.tar
    face-crop --quiet --mode wide --size 60 --filter box <in.tar >out.tar
    [ "$(size_of out.tar 0.ppm)" = "60 60" ]
    member out.tar 0.ppm | $python -c "
import io, sys
import numpy as np
from PIL import Image
a = np.asarray(Image.open(io.BytesIO(sys.stdin.buffer.read())))
assert a[:7].max() == 0 and a[-7:].max() == 0 and a[9:50].min() > 40"
}

@test "filters reject with the reason, and the count is kept" {
    need face-crop
    faces in.tar
    status=0
    face-crop --min-face 300 --rejects r.jsonl <in.tar >out.tar 2>log || status=$?
    [ $status = 0 ] && [ "$(keys out.tar)" = "0 2" ]
    grep -q 'in 3, out 2, rejected 1' log && grep -q 'face of 240 pixels is under 300' r.jsonl
    face-crop --quiet --max-yaw 10 --max-roll 5 <in.tar >out.tar
    [ "$(keys out.tar)" = "0 1 2" ]
    fails_with 3 'sharpness' face-crop --quiet --min-sharpness 900 < <(samples 1 32 32)
    fails_with 3 'landmarks' face-crop --quiet --max-yaw 10 < <(samples 1 32 32)
    fails_with 3 'box' face-crop --quiet --mode face < <(samples 1 32 32)
}

@test "the same bytes for any number of jobs; broken members do not stop it" {
    need face-crop
    samples 20 60 40 jpg >in.tar
    face-crop --quiet --size 24 --jobs 1 <in.tar >1.tar
    face-crop --quiet --size 24 --jobs 5 <in.tar | cmp - 1.tar
    mkdir d
    picture d/a.png 50 40
    echo nothing >d/b.jpg
    picture d/c.jpg 40 50
    face-crop --size 20 --out made d 2>log
    [ -s made/a.png ] && [ -s made/c.json ] && [ ! -e made/b.png ]
    grep -q 'in 3, out 2, rejected 1' log
}

@test "misuse and broken streams: one line, the right status" {
    need face-crop
    fails_with 2 'size' face-crop --size 12y <<<x
    fails_with 2 'size' face-crop --size 0 <<<x
    fails_with 2 'share' face-crop --mode wide --share 0.5 <<<x
    fails_with 1 'tar' face-crop --quiet <<<"no tar"
    samples 2 50 50 >in.tar
    head -c 9000 in.tar >cut.tar
    fails_with 1 'truncated|cut off|damaged|ends' face-crop --quiet --size 8 <cut.tar
}
