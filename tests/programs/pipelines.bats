# The scripts of pipelines/, each run at small size, with a network of the reference data.
load lib

setup_file() {
    need sg2-gen sg2-latent
    export NET=$ROOT/tests/reference/stylegan2-r16.safetensors
}
run_pipeline() { "$ROOT/pipelines/$1" "${@:2}" 2>err || { cat err && return 1; }; }

@test "interpolate.sh: a loop through seeds, as animation, raw video and by ffmpeg" {
    FRAMES=6 run_pipeline interpolate.sh "$NET" walk.png 1,2,3
    FRAMES=6 FPS=12.5 run_pipeline interpolate.sh "$NET" walk.webp 1,2,3
    FRAMES=6 run_pipeline interpolate.sh "$NET" walk.y4m 1,2,3
    sg2-gen --quiet --network "$NET" --seeds 1-3 --trunc 0.7 --out seeds
    $python - <<'PY'
import numpy as np
from PIL import Image
im = Image.open('walk.png')
assert im.n_frames == 6 and Image.open('walk.webp').n_frames == 6
frames = []
for i in range(6):
    im.seek(i)
    frames.append(np.asarray(im.convert('RGB')).astype(int))
for i in range(3): # every second frame is a seed
    assert np.abs(frames[2 * i] - np.asarray(Image.open('seeds/seed%04d.png' % (i + 1)))).max() <= 1
assert np.abs(frames[1] - frames[0]).max() > 1
assert len(open('walk.y4m', 'rb').read().split(b'\n', 1)[1]) == 6 * (6 + 16 * 16 * 3 // 2)
PY
    if command -v ffmpeg >/dev/null; then
        FRAMES=6 run_pipeline interpolate.sh "$NET" walk.mkv 1,2,3
        [ -s walk.mkv ]
    fi
    run ! "$ROOT/pipelines/interpolate.sh" nowhere.safetensors bad.png 2>/dev/null
    [ ! -e bad.png ]
}

@test "mix.sh and truncation.sh: labelled tables" {
    run_pipeline mix.sh "$NET" mix.png 1,2 3,4,5
    run_pipeline mix.sh "$NET" late.png 1,2 3,4,5 3-5
    run_pipeline truncation.sh "$NET" sweep.png 1,2 0,0.5,1
    CUTOFF=2 run_pipeline truncation.sh "$NET" cut.png 1,2 0,0.5,1
    sg2-gen --quiet --network "$NET" --seeds 1,2 --trunc 0,0.5,1 --out want.png
    cmp want.png sweep.png
    run ! cmp -s sweep.png cut.png
    run ! cmp -s mix.png late.png
    $python -c 'from PIL import Image; a, b = Image.open("mix.png").size, Image.open("sweep.png").size; assert a[0] > 4 * 16 and a[1] > 3 * 16 and b[0] > 3 * 16'
}
