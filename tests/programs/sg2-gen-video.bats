# sg2-gen: video and animations, as others read them: y4m against BT.601 in NumPy, PPM frames, APNG and WebP by Pillow.
load lib

setup_file() {
    need sg2-gen
    export NET=$ROOT/tests/reference/stylegan2-r32-cond5.safetensors
    cd "$BATS_FILE_TMPDIR"
    sg2-gen --quiet --threads 2 --network "$NET" --class 1 --seeds 0-6 --out frames
}
gen() { sg2-gen --quiet --threads 2 --network "$NET" --class 1 --seeds 0-6 "$@"; }
py() { $python - "$BATS_FILE_TMPDIR/frames" "$@"; }

@test "y4m holds the planes of BT.601" {
    gen --format y4m >half.y4m
    gen --format y4m --chroma 444 --fps 29.97 >full.y4m
    gen --out named.y4m
    cmp half.y4m named.y4m
    py <<'PY'
import sys
import numpy as np
from PIL import Image
rgb = np.stack([np.asarray(Image.open('%s/seed%04d.png' % (sys.argv[1], i))) for i in range(7)]).astype(float)
y = rgb @ [0.299, 0.587, 0.114]
cb, cr = (rgb[..., 2] - y) / 1.772, (rgb[..., 0] - y) / 1.402
y, cb, cr = 16 + y * 219 / 255, 128 + cb * 224 / 255, 128 + cr * 224 / 255
mean = lambda c: c.reshape(7, 16, 2, 16, 2).mean((2, 4))
for name, head, c in (('half.y4m', b'YUV4MPEG2 W32 H32 F24:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED', [mean(cb), mean(cr)]),
                      ('full.y4m', b'YUV4MPEG2 W32 H32 F30000:1001 Ip A1:1 C444 XCOLORRANGE=LIMITED', [cb, cr])):
    first, _, data = open(name, 'rb').read().partition(b'\n')
    assert first == head, first
    want = [y] + c
    size = sum(p[0].size for p in want) + 6
    assert len(data) == 7 * size, len(data)
    for i in range(7):
        frame = data[i * size:(i + 1) * size]
        assert frame[:6] == b'FRAME\n'
        got = np.frombuffer(frame[6:], 'u1').astype(float)
        off = np.abs(got - np.concatenate([p[i].ravel() for p in want]))
        assert off.max() <= 0.5 + 1e-3, off.max()
# and back again: what a player shows is the picture, but for rounding to 219 and 224 levels
planes = np.frombuffer(data[6:size], 'u1').reshape(3, 32, 32).astype(float)
l, b, r = (planes[0] - 16) * 255 / 219, (planes[1] - 128) * 255 / 224, (planes[2] - 128) * 255 / 224
red, blue = l + 1.402 * r, l + 1.772 * b
back = np.stack([red, (l - 0.299 * red - 0.114 * blue) / 0.587, blue], -1)
assert np.abs(back - rgb[0]).max() <= 2, np.abs(back - rgb[0]).max()
PY
}

@test "ffmpeg reads it, where there is one" {
    command -v ffmpeg >/dev/null || skip "no ffmpeg"
    gen --format y4m --chroma 444 | ffmpeg -v error -i - -f image2 -pix_fmt rgb24 y%d.png
    gen --format ppm | ffmpeg -v error -f image2pipe -framerate 24 -i - p%d.png
    py <<'PY'
import sys
import numpy as np
from PIL import Image
for i in range(7):
    want, y, p = (np.asarray(Image.open(n)).astype(int) for n in ('%s/seed%04d.png' % (sys.argv[1], i), 'y%d.png' % (i + 1), 'p%d.png' % (i + 1)))
    assert (p == want).all() and np.abs(y - want).mean() < 1.5, np.abs(y - want).mean()
PY
}

@test "PPM frames one after another" {
    gen --format ppm >frames.ppm
    py <<'PY'
import sys
import numpy as np
from PIL import Image
data = open('frames.ppm', 'rb').read()
head = b'P6\n32 32\n255\n'
assert len(data) == 7 * (len(head) + 32 * 32 * 3)
for i in range(7):
    frame = data[i * len(data) // 7:(i + 1) * len(data) // 7]
    assert frame.startswith(head)
    assert frame[len(head):] == np.asarray(Image.open('%s/seed%04d.png' % (sys.argv[1], i))).tobytes()
PY
    # a folder of PPM files is still a folder, and a sample stream still the default
    gen --format ppm --out folder
    [ "$(head -c 2 folder/seed0003.ppm)" = P6 ]
    gen --format auto | tar t | grep -q '^seed0003.ppm$'
}

@test "animated PNG and WebP" {
    gen --out walk.png --animate
    gen --out walk.apng --fps 12.5
    gen --out walk.webp --animate --quality 90 --fps 30
    gen --out stills --format webp --quality 90
    py <<'PY'
import struct, sys, zlib
import numpy as np
from PIL import Image
want = [np.asarray(Image.open('%s/seed%04d.png' % (sys.argv[1], i))) for i in range(7)]
for name, fps in ('walk.png', 24), ('walk.apng', 12.5), ('walk.webp', 30):
    im = Image.open(name)
    assert im.is_animated and im.n_frames == 7 and im.size == (32, 32) and im.info['loop'] == 0, name
    total = 0
    for i in range(7):
        im.seek(i)
        im.load()
        total += im.info['duration']
        still = want[i] if name != 'walk.webp' else np.asarray(Image.open('stills/seed%04d.webp' % i).convert('RGB'))
        assert (np.asarray(im.convert('RGB')) == still).all(), (name, i)
    assert abs(total - 7000 / fps) < 1, total
# chunk by chunk, as the specification has it
data, at, names, sequence = open('walk.png', 'rb').read(), 8, [], []
while at < len(data):
    size, name = struct.unpack('>I4s', data[at:at + 8])
    body = data[at + 8:at + 8 + size]
    assert struct.unpack('>I', data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(name + body)
    names.append(name)
    if name in (b'fcTL', b'fdAT'):
        sequence.append(struct.unpack('>I', body[:4])[0])
    if name == b'acTL':
        assert struct.unpack('>II', body) == (7, 0)
    at += size + 12
assert names[:4] == [b'IHDR', b'acTL', b'fcTL', b'IDAT'] and names[-1] == b'IEND' and names.count(b'fcTL') == 7
assert sequence == list(range(len(sequence)))
PY
    # one frame; and a grid is still a grid
    sg2-gen --quiet --network "$NET" --class 1 --seeds 3 --out one.webp --animate
    gen --out grid.png
    $python -c 'from PIL import Image; assert not getattr(Image.open("grid.png"), "is_animated", False); assert Image.open("grid.png").size == (96, 96); assert Image.open("one.webp").size == (32, 32)'
}

@test "the same seed twice is two frames" {
    sg2-gen --quiet --network "$NET" --class 1 --seeds 1,2,1 --format ppm >f.ppm
    cmp <(head -c 3085 f.ppm) <(tail -c 3085 f.ppm)
}

@test "options that contradict each other" {
    no() { fails_with 2 "$1" sg2-gen --network "$NET" --class 1 --seeds 0 "${@:2}"; }
    no 'animate needs --out' --animate
    no 'animate needs --out' --animate --out walk.jpg
    no 'animate needs --out' --animate --out folder
    no 'contradict' --format y4m --out walk.png
    no 'contradict' --format webp --out walk.png --animate
    no 'contradict' --format png --out walk.y4m
    no 'fps is for video' --fps 10 --out grid.png
    no 'framerate' --fps 10 --format ppm
    no 'chroma is for' --chroma 444 --format ppm
    no 'chroma is for' --chroma 444 --out walk.png --animate
    no 'chroma is for' --chroma 444
    no 'grid needs' --format y4m --grid 2x2
    no 'grid needs' --out walk.webp --animate --grid 2x2
    no 'fps takes' --fps 0 --format y4m
    fails_with 1 'nowhere/walk.apng: No such' sg2-gen --quiet --network "$NET" --class 1 --seeds 0 --out nowhere/walk.apng
    full=0
    gen --format y4m >/dev/full 2>err || full=$?
    [ $full = 1 ] && [ "$(wc -l <err)" = 1 ] && grep -q 'No space' err
}

# The latents stay open: the program waits for more when the signal comes.
@test "a signal in the middle leaves no file under a temporary name" {
    $python -c 'import numpy as np; np.save("z.npy", np.zeros((1, 32), "f4"))'
    mkfifo pipe
    for signal in INT TERM HUP; do
        exec 4<>pipe
        env --default-signal=INT sg2-gen --quiet --threads 1 --network "$NET" --class 1 --animate --out a.png --save-w w.npy - <&4 3>&- 4>&- &
        cat z.npy >&4
        tries=0
        until ls a.png.tmp-* w.npy.tmp-* >/dev/null 2>&1; do
            sleep 0.05
            [ $((tries += 1)) -lt 1200 ]
        done
        kill -$signal $!
        status=0
        wait $! || status=$?
        exec 4>&-
        [ "$status" -eq $((128 + $(kill -l $signal))) ]
        [ "$(ls)" = "$(printf 'pipe\nz.npy')" ]
    done
}
