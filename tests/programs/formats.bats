# formats.bats - what Python's PIL, numpy and tarfile write we read alike, and what we write they read. The unit programs of
# common/image, common/stream and common/rng serve as tools here, so no stage has to be right for these to pass.
load lib

@test "pictures of every kind decode to PIL's pixels" {
    need test_image
    $python - <<'PY'
import io, subprocess
import numpy as np
from PIL import Image
rng = np.random.RandomState(3)
big = Image.fromarray(rng.randint(0, 256, (9, 12, 4)).astype('u1'), 'RGBA').resize((95, 70), Image.BICUBIC)
rgb, grey = big.convert('RGB'), big.convert('L')
palette = rgb.quantize(31)
clear = palette.copy()
clear.info['transparency'] = 5
cases = []
def case(name, im, want, tolerance=0, **options):
    im.save(name, **options)
    cases.append((name, want, tolerance))
def jpeg(name, im, mode, **options):
    im.save(name, **options)
    cases.append((name, Image.open(name).convert(mode), 1))
jpeg('420.jpg', rgb, 'RGB', quality=80)
jpeg('444.jpg', rgb, 'RGB', quality=95, subsampling=0)
jpeg('422.jpg', rgb, 'RGB', quality=95, subsampling=1)
jpeg('progressive.jpg', rgb, 'RGB', progressive=True)
jpeg('grey.jpg', grey, 'L')
jpeg('cmyk.jpg', rgb.convert('CMYK'), 'RGB', quality=95)
data = open('cmyk.jpg', 'rb').read()
at = data.index(b'\xff\xee')
open('plain-cmyk.jpg', 'wb').write(data[:at] + data[at + 2 + int.from_bytes(data[at + 2:at + 4], 'big'):])
cases.append(('plain-cmyk.jpg', Image.open('plain-cmyk.jpg').convert('RGB'), 1))
case('rgb.png', rgb, rgb)
case('rgba.png', big, big)
case('grey.png', grey, grey)
case('la.png', big.convert('LA'), big.convert('LA').convert('RGBA'))
case('palette.png', palette, palette.convert('RGB'))
case('trns.png', clear, clear.convert('RGBA'), transparency=5)
case('bits.png', grey.convert('1'), grey.convert('1').convert('L'))
deep = rng.randint(0, 65536, (40, 50)).astype('<u2')
case('16.png', Image.frombytes('I;16', (50, 40), deep.tobytes()), Image.fromarray(((deep.astype(int) * 255 + 32767) // 65535).astype('u1')), 0)
case('rgb.ppm', rgb, rgb)
case('grey.pgm', grey, grey)
case('bits.pbm', grey.convert('1'), grey.convert('1').convert('L'))
case('lossless.webp', big, None, 0, lossless=True, exact=True)
cases[-1] = ('lossless.webp', big, 0)
rgb.save('lossy.webp', quality=80)
cases.append(('lossy.webp', Image.open('lossy.webp').convert('RGB'), 0))
frames = [big.rotate(a) for a in (0, 90, 180)]
frames[0].save('animated.webp', save_all=True, append_images=frames[1:], lossless=True, duration=50)
cases.append(('animated.webp', Image.open('animated.webp').convert('RGBA'), 0))
rgb.save('animated.png', save_all=True, append_images=[rgb.rotate(90)])
cases.append(('animated.png', rgb, 0))
for name, want, tolerance in cases:
    run = subprocess.run(['test_image', 'decode', name, '0', '0'], capture_output=True)
    assert run.returncode == 0, (name, run.stderr)
    got = Image.open(io.BytesIO(run.stdout))
    assert got.mode == want.mode and got.size == want.size, (name, got.mode, want.mode)
    a, b = np.asarray(got).astype(int), np.asarray(want).astype(int)
    if want.mode == 'RGBA' and 'webp' in name:
        a, b = a * (a[..., 3:] > 0), b * (b[..., 3:] > 0)
    worst = abs(a - b).max()
    assert worst <= tolerance, (name, worst)
    assert ('animated' in name) == (b'animated' in run.stderr), (name, run.stderr)
PY
}

@test "EXIF orientation is found in JPEG, PNG and WebP, and an unusable one is 1" {
    need test_image
    $python - <<'PY'
import subprocess
from PIL import Image
im = Image.new('RGB', (30, 20), (10, 200, 30))
for o in (1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 700):
    for suffix in ('jpg', 'png', 'webp'):
        exif = im.getexif()
        exif[0x010f] = 'maker'
        exif[0x0112] = o
        im.save('o.' + suffix, exif=exif)
        text = subprocess.run(['test_image', 'decode', 'o.' + suffix, '3', '0'], capture_output=True).stderr.decode()
        assert ' o%d ' % (o if 1 <= o <= 8 else 1) in text, (suffix, o, text)
PY
}

@test "pictures we write are read by PIL" {
    need test_image
    $python - <<'PY'
import io, subprocess
import numpy as np
from PIL import Image
rng = np.random.RandomState(4)
big = Image.fromarray(rng.randint(0, 256, (9, 12, 4)).astype('u1'), 'RGBA').resize((95, 70), Image.BICUBIC)
for mode in ('L', 'RGB', 'RGBA'):
    im = big.convert(mode)
    im.save('in.png')
    flat = Image.alpha_composite(Image.new('RGBA', im.size, 'white'), im).convert('RGB') if mode == 'RGBA' else im
    for suffix, want, mean in (('png', im, 0), ('ppm', flat, 0.6 if mode == 'RGBA' else 0), ('jpg', flat, 2),
                               ('webp', im if mode == 'RGBA' else flat.convert('RGB'), 4)):
        run = subprocess.run(['test_image', 'encode', 'in.png', suffix, '95'], capture_output=True, check=True)
        got = Image.open(io.BytesIO(run.stdout))
        assert got.format == {'png': 'PNG', 'ppm': 'PPM', 'jpg': 'JPEG', 'webp': 'WEBP'}[suffix]
        assert got.mode == want.mode, (mode, suffix, got.mode)
        a, b = np.asarray(got).astype(int), np.asarray(want).astype(int)
        if want.mode == 'RGBA' and suffix == 'webp':
            a, b = a * a[..., 3:] // 255, b * b[..., 3:] // 255
        assert abs(a - b).mean() <= mean, (mode, suffix, abs(a - b).mean())
PY
}

@test "resizing gives Pillow's bytes" {
    need test_image
    $python - <<'PY'
import io, subprocess
import numpy as np
from PIL import Image
filters = [Image.LANCZOS, Image.BICUBIC, Image.BILINEAR, Image.BOX]
rng = np.random.RandomState(5)
for mode, c in (('L', 1), ('RGB', 3), ('RGBA', 4)):
    for w, h in ((97, 61), (640, 31)):
        a = rng.randint(0, 256, (h, w, c)).astype('u1')
        im = Image.fromarray(a[..., 0] if c == 1 else a, mode)
        im.save('in.png')
        for size in ((128, 128), (13, 61), (w, 20), (1, 1)):
            for f in range(4):
                run = subprocess.run(['test_image', 'resize', 'in.png', str(size[0]), str(size[1]), str(f)], capture_output=True, check=True)
                got = np.asarray(Image.open(io.BytesIO(run.stdout)))
                want = np.asarray(im.resize(size, filters[f]))
                assert (got == want).all(), (mode, w, h, size, f, (got != want).mean())
PY
}

@test "sample streams pass between tarfile, GNU tar and us" {
    need test_sample
    samples 7 40 30 >in.tar
    test_sample copy <in.tar >out.tar
    [ "$(keys out.tar)" = "$(keys in.tar)" ]
    for m in 00003.ppm 00003.json; do cmp <(member in.tar $m) <(member out.tar $m | sed 's/,"/, "/g; s/":/": /g'); done
    gzip -c in.tar | test_sample copy | cmp - out.tar
    zstd -qc in.tar 2>/dev/null >in.zst && test_sample copy <in.zst | cmp - out.tar
    mkdir -p unpacked/folder.v1/"$(printf 'long%.0s' {1..40})" again
    tar xf out.tar -C unpacked
    mv unpacked/0000[56].* unpacked/folder.v1/long*/
    tar cf - --sort=name -C unpacked . | test_sample copy >gnu.tar
    [ "$(keys gnu.tar | wc -w)" -eq 7 ]
    tar xf gnu.tar -C again
    diff -r unpacked again
    cat out.tar out.tar | test_sample copy | tar t >list.txt
    [ "$(wc -l <list.txt)" -eq 28 ]
}

@test "unknown JSON fields and members pass untouched" {
    need test_sample
    $python - <<'PY'
import io, json, subprocess, tarfile
def tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as t:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()
fields = {'name': 'Zo\u00eb \u4e16', 'big': 123456789012345, 'small': 1e-300, 'third': 1 / 3, 'none': None, 'list': [1, [2, {}]],
          'yes': True, 'text': 'quote " and \\ and \n'}
members = [('caf\u00e9/a.b.c', bytes(range(256))), ('caf\u00e9/a.json', json.dumps(fields).encode()), ('caf\u00e9/a.txt', b'')]
run = subprocess.run(['test_sample', 'copy'], input=tar(members), capture_output=True, check=True)
t = tarfile.open(fileobj=io.BytesIO(run.stdout))
got = {m.name: t.extractfile(m).read() for m in t}
assert got['caf\u00e9/a.b.c'] == bytes(range(256)) and got['caf\u00e9/a.txt'] == b''
assert json.loads(got['caf\u00e9/a.json']) == fields, got['caf\u00e9/a.json']
PY
}

@test "a stream that was cut is a failure, and what it says fits one line" {
    need test_sample
    samples 4 40 30 >in.tar
    size=$(stat -c %s in.tar)
    for n in 1 100 512 513 4096 $((size / 2)) 16384 16385; do
        head -c $n in.tar >cut.tar
        fails_with 1 'truncated|no tar' test_sample copy <cut.tar
    done
    fails_with 1 'empty' test_sample copy </dev/null
    gzip -c in.tar | head -c 3000 >cut.gz
    fails_with 1 'truncated' test_sample copy <cut.gz
    full() { test_sample copy <in.tar >/dev/full; }
    run --separate-stderr full
    [ "$status" -eq 1 ]
    [[ $stderr == *"No space left on device"* ]]
    run --separate-stderr bash -c 'samples() { for i in {1..40}; do cat in.tar; done; }; samples 2>/dev/null | test_sample copy | head -c 1000 | wc -c; echo ${PIPESTATUS[1]}'
    [ "$output" = "1000"$'\n'"141" ]
    [ -z "$stderr" ]
}

@test "arrays pass between numpy and us" {
    need test_npy
    $python - <<'PY'
import io, subprocess
import numpy as np
rng = np.random.RandomState(6)
arrays = [rng.randn(3, 512).astype('f4'), rng.randn(2, 14, 512), rng.randn(4).astype('f2'), np.asfortranarray(rng.randn(5, 3)),
          rng.randn(2, 3).astype('>f8'), rng.randint(-100, 100, (2, 2)).astype('i1'), np.arange(6, dtype='u4').reshape(1, 6),
          np.float32(3), np.zeros((0, 512), 'f4'), np.asfortranarray(rng.randn(2, 3, 4, 5).astype('>f4')), np.array([True, False])]
stream = io.BytesIO()
for a in arrays:
    np.save(stream, a)
for kind in ('f4', 'f8'):
    run = subprocess.run(['test_npy', 'copy', kind], input=stream.getvalue(), capture_output=True, check=True)
    back = io.BytesIO(run.stdout)
    for a in arrays:
        b = np.load(back)
        assert b.dtype == np.dtype('<' + kind) and b.shape == np.shape(a), (b.dtype, b.shape)
        assert (b == np.asarray(a).astype(kind)).all(), a
    assert back.read() == b''
    run = subprocess.run(['test_npy', 'copy', kind], input=stream.getvalue()[:-1], capture_output=True)
    assert run.returncode == 1 and b'truncated' in run.stderr
PY
}

@test "seeds are numpy's seeds" {
    need test_numpy_rng
    $python - <<'PY'
import subprocess
import numpy as np
for seed in (0, 1, 85, 1000, 2**31, 2**32 - 1):
    got = np.frombuffer(subprocess.run(['test_numpy_rng', str(seed), '20001'], capture_output=True, check=True).stdout, '<f4')
    assert (got == np.random.RandomState(seed).randn(1, 20001).astype('f4')[0]).all(), seed
PY
}

@test "pictures of other kinds in a folder are left out with a word, other names of JPEG are taken" {
    mkdir -p mixed/deep
    picture mixed/a.jpg 32 32 1
    cp mixed/a.jpg mixed/b.jfif
    cp mixed/a.jpg mixed/deep/C.JPE
    picture mixed/d.bmp 32 32 1
    picture mixed/deep/e.tif 32 32 1
    : >mixed/notes.txt
    word='^[a-z-]+: mixed/d.bmp and 1 more pictures are left out: their kinds are not read here'
    pack-lmdb s.lmdb mixed 2>err
    [ "$(grep -cE "$word" err)" -eq 1 ]
    grep -q 'in 3, out 3' err
    face-crop mixed 2>err | tar t | grep -c ppm | grep -qx 3
    [ "$(grep -cE "$word" err)" -eq 1 ]
    pack-lmdb --quiet --force s.lmdb mixed 2>err
    [ ! -s err ]
    rm mixed/deep/e.tif
    pack-lmdb --force s.lmdb mixed 2>err
    grep -q 'mixed/d.bmp is left out: its kind' err
}
