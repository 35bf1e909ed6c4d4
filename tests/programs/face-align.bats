load lib

# drawn FILE.tar - the drawn pictures and landmarks of the alignment reference as samples, KEY = the case's name.
drawn() {
    $python - "$ROOT/tests/reference/align-synthetic.safetensors" "$1" <<'PY'
import io, json, struct, sys, tarfile
import numpy as np
from PIL import Image
data = open(sys.argv[1], 'rb').read()
n = struct.unpack('<Q', data[:8])[0]
head = json.loads(data[8:8 + n])
def get(name):
    t = head[name]
    a, b = t['data_offsets']
    return np.frombuffer(data[8 + n + a:8 + n + b], {'U8': 'u1', 'F64': '<f8'}[t['dtype']]).reshape(t['shape'])
tar = tarfile.open(sys.argv[2], 'w')
def add(name, blob):
    info = tarfile.TarInfo(name)
    info.size = len(blob)
    tar.addfile(info, io.BytesIO(blob))
for case in json.loads(head['__metadata__']['cases']):
    png = io.BytesIO()
    Image.fromarray(get('in.%s.image_hwc' % case)).save(png, 'PNG')
    add(case + '.png', png.getvalue())
    add(case + '.json', json.dumps({'landmarks': get('in.%s.landmarks' % case).tolist(), 'kept': {'as': 'it is'}}).encode())
    add(case + '.txt', b'extra')
    np.save(case + '.npy', get('out.%s.image_hwc' % case))
tar.close()
PY
}

# psnr PPM NPY - peak signal to noise in whole dB
psnr() {
    $python - "$1" "$2" <<'PY'
import sys
import numpy as np
from PIL import Image
a, b = np.asarray(Image.open(sys.argv[1])).astype('f8'), np.load(sys.argv[2]).astype('f8')
print(int(10 * np.log10(255 ** 2 / max(((a - b) ** 2).mean(), 1e-9))))
PY
}

# json TAR NAME EXPRESSION - of the object `j`
json() { member "$1" "$2" | $python -c "import json, sys; j = json.load(sys.stdin); print($3)"; }

photo() { cp "$ROOT/examples/photos/astronaut.jpg" "$1"; }

@test "landmarks from JSON give the published script's crop" {
    need face-align
    drawn in.tar
    face-align --landmarks json --size 128 <in.tar >out.tar
    [ "$(keys out.tar)" = "$(keys in.tar)" ]
    for case in plain rotated padded corner tiny; do
        member out.tar $case.ppm >$case.ppm
        [ "$(psnr $case.ppm $case.npy)" -ge 38 ]
    done
    face-align --landmarks json --size 128 --no-rotation <in.tar >level.tar
    member level.tar level.ppm >level.ppm
    [ "$(psnr level.ppm level.npy)" -ge 38 ]
    face-align --landmarks json --size 128 --no-padding <in.tar >nopad.tar
    member nopad.tar nopad.ppm >nopad.ppm
    [ "$(psnr nopad.ppm nopad.npy)" -ge 38 ]
}

@test "unknown fields and members pass through, what was done is recorded" {
    need face-align
    drawn in.tar
    face-align --landmarks json --size 64 <in.tar >out.tar
    [ "$(member out.tar plain.txt)" = extra ]
    [ "$(json out.tar plain.json "j['kept']['as'], len(j['landmarks']), j['landmark_scheme'], j['source_size'], j['steps'][0]['size']")" = \
        "it is 68 dlib-68 [420, 380] 64" ]
    # the crop's own landmarks: the eyes are level and at the same height whatever the tilt was
    json out.tar rotated.json "max(abs(sum(p[1] for p in j['landmarks'][36:42]) - sum(p[1] for p in j['landmarks'][42:48])) / 6, 0) < 6" | grep True
}

@test "a photograph: one face, in place, upright whatever its EXIF orientation" {
    need face-align
    photo a.jpg
    face-align --size 96 a.jpg >a.tar
    [ "$(keys a.tar)" = a ]
    json a.tar a.json "150 < j['source_box'][0] < 200 and 60 < j['source_box'][1] < 130 and j['score'] > 0.5" | grep True
    $python - <<'PY'
from PIL import Image
im = Image.open('a.jpg')
turn = {2: Image.FLIP_LEFT_RIGHT, 3: Image.ROTATE_180, 4: Image.FLIP_TOP_BOTTOM, 5: Image.TRANSPOSE, 6: Image.ROTATE_90,
        7: Image.TRANSVERSE, 8: Image.ROTATE_270}
im.crop((0, 0, 501, 443)).save('o1.png')
for o, t in turn.items():
    exif = Image.Exif()
    exif[0x112] = o
    im.crop((0, 0, 501, 443)).transpose(t).save('o%d.jpg' % o, quality=97, subsampling=0, exif=exif)
PY
    face-align --size 96 o1.png o?.jpg >o.tar
    [ "$(keys o.tar)" = "o1 o2 o3 o4 o5 o6 o7 o8" ]
    for o in 2 3 4 5 6 7 8; do
        json o.tar o$o.json "j['orientation'], j['source_size']" | grep -q "$o \[501, 443\]"
        $python - $o <<'PY'
import io, sys, tarfile
import numpy as np
from PIL import Image
t = tarfile.open('o.tar')
a, b = (np.asarray(Image.open(io.BytesIO(t.extractfile(n).read()))).astype(int) for n in ('o1.ppm', 'o%s.ppm' % sys.argv[1]))
assert abs(a - b).mean() < 10, abs(a - b).mean() # dlib's landmarks of a mirrored face are a pixel or two apart
PY
    done
}

@test "a large JPEG is cut from a reduced decode, as good as from the whole" {
    need face-align
    photo a.jpg
    $python -c "from PIL import Image; im = Image.open('a.jpg').resize((3000, 3000), Image.BICUBIC); im.save('big.jpg', quality=95); im.save('big.png', compress_level=1)"
    face-align --size 64 big.jpg >jpg.tar
    json jpg.tar big.json "j['steps'][0]['cut_scale'] < 0.5" | grep True
    # the same landmarks on the undecimated picture
    member jpg.tar big.json >big.json
    $python -c "import json; j = json.load(open('big.json')); json.dump({'landmarks': j['source_landmarks']}, open('big.json', 'w'))"
    face-align --landmarks json --size 64 big.png >png.tar
    member jpg.tar big.ppm >a.ppm
    member png.tar big.ppm >b.ppm
    $python -c "import numpy as np; from PIL import Image; np.save('b.npy', np.asarray(Image.open('b.ppm')))"
    [ "$(psnr a.ppm b.npy)" -ge 36 ]
}

@test "output order and bytes do not depend on the number of jobs" {
    need face-align
    photo 0.jpg
    for i in 1 2 3 4 5; do
        $python -c "import sys; from PIL import Image; im = Image.open('0.jpg'); n = 512 - 31 * $i; im.resize((n, n)).save('$i.jpg')"
    done
    echo "no picture" >2a.jpg
    face-align --quiet --size 48 --jobs 1 . >1.tar
    face-align --quiet --size 48 --jobs 4 . >4.tar
    cmp 1.tar 4.tar
    [ "$(keys 1.tar)" = "0 1 2 3 4 5" ]
}

@test "names from a list, a NUL-separated list, folders; a folder as output reads back" {
    need face-align
    mkdir -p in/sub
    photo in/a.b.jpg
    photo in/sub/c.jpg
    face-align --quiet --size 32 in >dir.tar
    [ "$(keys dir.tar)" = "a_b sub/c" ]
    find in -name '*.jpg' | sort | face-align --quiet --size 32 - >list.tar
    [ "$(keys list.tar)" = "in/a_b in/sub/c" ]
    find in -name '*.jpg' -print0 | sort -z | face-align --quiet --size 32 -0 - | cmp - list.tar
    face-align --quiet --size 32 --out out in
    [ -s out/a_b.png ] && [ -s out/sub/c.json ]
    face-align --quiet --size 32 --landmarks json out >again.tar # the JSON beside the pictures is theirs
    [ "$(json again.tar a_b.json "len(j['steps'])")" = 2 ]
}

@test "several faces: largest, first, all" {
    need face-align
    photo a.jpg
    $python - <<'PY'
from PIL import Image
im = Image.open('a.jpg')
two = Image.new('RGB', (900, 512), (120, 130, 140))
two.paste(im.resize((360, 360)).crop((40, 0, 330, 360)), (10, 60))
two.paste(im, (388, 0))
two.save('two.png')
PY
    face-align --faces all --threshold 0.2 --size 64 two.png >all.tar 2>log
    [ "$(keys all.tar)" = "two two_1" ]
    grep -q '2 faces' log && grep -q 'in 1, out 1, rejected 0' log
    face-align --size 64 two.png >largest.tar
    json largest.tar two.json "j['source_box'][0] > 400" | grep True
    face-align --faces first --size 64 two.png >first.tar
    [ "$(keys first.tar)" = two ]
}

@test "rejects are counted, explained and never vanish" {
    need face-align
    photo good.jpg
    picture blobs.png 200 150
    : >empty.jpg
    head -c 20000 good.jpg >cut.jpg
    echo text >text.png
    status=0
    face-align --size 32 --rejects r.jsonl good.jpg blobs.png empty.jpg cut.jpg text.png missing.jpg >out.tar 2>log || status=$?
    [ $status = 3 ]
    [ "$(keys out.tar)" = good ]
    grep -q 'in 6, out 1, rejected 5' log
    [ "$($python -c "import json; print(*[json.loads(l)['source'] for l in open('r.jsonl')])")" = "blobs.png empty.jpg cut.jpg text.png missing.jpg" ]
    [ "$(grep -c '^face-align: ' log)" = 6 ]
    grep -q 'no face found' r.jsonl
    face-align --quiet --size 32 --max-reject 5 good.jpg blobs.png empty.jpg cut.jpg text.png missing.jpg >/dev/null 2>&1
}

@test "unusual pictures: grey, alpha, 16-bit, CMYK, WebP, one pixel" {
    need face-align
    photo a.jpg
    $python - <<'PY'
import numpy as np
from PIL import Image
im = Image.open('a.jpg')
im.convert('L').save('grey.jpg')
im.convert('CMYK').save('cmyk.jpg')
im.convert('RGBA').save('alpha.png')
im.save('w.webp')
Image.fromarray(np.asarray(im.convert('L')).astype('u2') * 257).save('deep.png')
PY
    face-align --size 32 grey.jpg cmyk.jpg alpha.png w.webp deep.png >out.tar
    [ "$(keys out.tar)" = "grey cmyk alpha w deep" ]
    $python -c "from PIL import Image; Image.new('RGB', (1, 1)).save('one.png'); Image.new('RGB', (1, 3000)).save('thin.png')"
    fails_with 3 'no face found' face-align --quiet one.png
    fails_with 3 'no face found' face-align --quiet thin.png
}

@test "bad streams, bad landmarks, missing models and misuse: one line, the right status" {
    need face-align
    drawn in.tar
    head -c 100000 in.tar >cut.tar
    fails_with 1 'truncated|cut off|damaged|ends' face-align --quiet --landmarks json --size 16 <cut.tar
    fails_with 1 'tar' face-align --quiet --landmarks json <<<"no tar"
    fails_with 1 'shape_predictor_68.*libdlib-data' face-align --models "$PWD" in.tar
    fails_with 1 'mmod_human.*make models' face-align --models "$PWD" --detector cnn in.tar
    echo junk >shape_predictor_68_face_landmarks.dat
    fails_with 1 'not a usable dlib model' face-align --models "$PWD" in.tar
    fails_with 2 'size' face-align --size 0 in.tar
    $python - <<'PY'
import io, json, tarfile
from PIL import Image
tar = tarfile.open('odd.tar', 'w')
png = io.BytesIO()
Image.new('RGB', (40, 40)).save(png, 'PNG')
def add(name, blob):
    info = tarfile.TarInfo(name)
    info.size = len(blob)
    tar.addfile(info, io.BytesIO(blob))
for i, lm in enumerate([None, 'x', [[1, 2]] * 5, [[1e5, 1e5]] * 68, [[i, i * i] for i in range(68)], [[1, 2, 3]] * 5,
                        [[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]]]):
    add('%d.png' % i, png.getvalue())
    add('%d.json' % i, json.dumps({'landmarks': lm} if lm else {}).encode())
add('9.json', b'{}')
tar.close()
PY
    face-align --landmarks json --size 16 --max-reject 100 <odd.tar >odd.out 2>log
    [ "$(keys odd.out)" = 6 ]
    grep -q 'in 8, out 1, rejected 7' log
}

@test "a closed pipe ends it quietly, a full disk with status 1" {
    need face-align
    drawn in.tar
    [ "$(face-align --quiet --landmarks json --size 512 <in.tar 2>&1 >/dev/full | grep -c 'face-align: .*space')" = 1 ]
    face-align --quiet --landmarks json --size 512 <in.tar 2>err | head -c 10 >/dev/null
    [ ! -s err ]
}

@test "the network finds the face too" {
    need face-align
    [ -r "${FACEMILL_MODELS:-$ROOT/models}/mmod_human_face_detector.dat" ] || skip "make models brings mmod_human_face_detector.dat"
    export FACEMILL_MODELS=${FACEMILL_MODELS:-$ROOT/models}
    photo a.jpg
    $python -c "from PIL import Image; Image.open('a.jpg').crop((100, 20, 360, 300)).save('b.png')"
    face-align --detector cnn --landmarks 5 --size 32 b.png >out.tar
    json out.tar b.json "40 < j['source_box'][0] < 100 and j['steps'][0]['detector'] == 'cnn' and len(j['landmarks']) == 5" | grep True
}
