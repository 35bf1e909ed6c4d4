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

@test "sefa.sh: a row for each direction, as sg2-latent move makes it" {
    COUNT=3 AMOUNTS=-9,0,9 SEED=4 TRUNC=1 run_pipeline sefa.sh "$NET" sheet.png 0-2
    sg2-latent sample --network "$NET" --seeds 4 | sg2-latent map --network "$NET" |
        sg2-latent move --directions sheet.npy --amounts -9,0,9 --layers 0-2 |
        sg2-gen --quiet --network "$NET" --grid 3x3 --out grid.png -
    $python - <<'PY'
import numpy as np
from PIL import Image
sheet, grid = (np.asarray(Image.open(f)).astype(int) for f in ('sheet.png', 'grid.png'))
assert grid.shape == (48, 48, 3) and len(np.load('sheet.npy')) == 3
cells = [grid[16 * (k // 3):, 16 * (k % 3):][:16, :16] for k in range(9)]
places = np.lib.stride_tricks.sliding_window_view(sheet, (16, 16, 3))[:, :, 0]
for k, cell in enumerate(cells):
    assert k % 3 == 1 or np.abs(cell - cells[k // 3 * 3 + 1]).max() > 1 # the middle column is the face itself
    assert (np.abs(places - cell).max((2, 3, 4)) <= 1).any(), k        # somewhere behind the headings
PY
    run_pipeline sefa.sh "$NET" all.png
}

@test "attribute.sh: a direction along which the measure grows; balanced.sh: every person at every place of it" {
    cat >brightness.py <<'PY'
import io, sys, tarfile
import numpy as np
from PIL import Image
tar = tarfile.open(fileobj=sys.stdin.buffer, mode='r|')
for m in tar:
    if m.name.endswith('ppm') and int(m.name[:6]) % 7: # none for every seventh picture
        print(m.name[:6], np.asarray(Image.open(io.BytesIO(tar.extractfile(m).read()))).mean())
PY
    COUNT=100 TRUNC=1 MEASURE="$python brightness.py" run_pipeline attribute.sh "$NET" out
    grep -q 'told from [0-9.]* % of 56 latents' err
    [ "$(sort out/labels.txt | uniq -c | tr -s ' \n' ' ')" = ' 44 - 28 0 28 1 ' ]
    sg2-latent cat --rows 0-19 out/w.npy | sg2-latent move --directions out/direction.npy --amounts -2,0,2 |
        sg2-gen --quiet --network "$NET" --latent w --grid 3x20 --out moved.png -
    PEOPLE=5 TRUNC=1 PLACES=-1,0,1,2 run_pipeline balanced.sh "$NET" out/direction.npy faces.lmdb
    pack-lmdb unpack --quiet --out faces faces.lmdb
    $python - <<'PY'
import glob
import numpy as np
from PIL import Image
columns = np.asarray(Image.open('moved.png')).astype(float).reshape(320, 3, 16, 3).mean((0, 2, 3))
assert columns[0] < columns[1] < columns[2], columns
assert Image.open('out/sheet.png').size > (5 * 16, 6 * 16)
assert abs(np.linalg.norm(np.load('out/direction.npy')) - 1) < 1e-5
assert [int(open(f).read()) for f in sorted(glob.glob('faces/*.cls'))] == [i // 4 for i in range(20)]
faces = np.stack([np.asarray(Image.open(f)) for f in sorted(glob.glob('faces/*.jpg'))]).reshape(5, 4, -1).astype(float)
assert (np.diff(faces.mean((0, 2))) > 0).all(), faces.mean((0, 2)) # brighter from place to place
PY
}

@test "attribute.sh: faces that smile" {
    need face-align
    COUNT=18 run_pipeline attribute.sh "$ROOT/examples/faces-128.safetensors" out
    [ "$(wc -l <out/measures.txt)" -ge 12 ] && [ "$(wc -l <out/labels.txt)" = 18 ]
    awk '$2 < 0.3 || $2 > 0.6 { exit 1 }' out/measures.txt # mouth to jaw
    $python -c 'from PIL import Image; assert Image.open("out/sheet.png").size > (5 * 128, 6 * 128)'
}

@test "project-and-edit.sh: from a photograph, and from what is aligned already" {
    need face-align sg2-project
    PROJECT='--steps 20 --threads 1' COUNT=2 run_pipeline project-and-edit.sh "$NET" "$ROOT/examples/photos/astronaut.jpg" out -2,0,2
    [ "$(wc -l <out/report.jsonl)" = 1 ] && [ "$(ls out/edited/*.png | wc -l)" = 6 ] && [ -s out/directions.png ]
    sg2-gen --quiet --network "$NET" --out again out/w.npy
    $python - <<'PY'
import numpy as np
from PIL import Image
edited = [np.asarray(Image.open('out/edited/%06d.png' % i)).astype(int) for i in range(6)]
again = np.asarray(Image.open('again/000000.png')).astype(int)
assert np.abs(edited[1] - again).max() <= 1 and np.abs(edited[4] - again).max() <= 1 # amount 0
assert all(np.abs(edited[i] - again).max() > 8 for i in (0, 2, 3, 5))
assert np.abs(np.asarray(Image.open('out/projected.png')).astype(int)[:, 16:] - again).max() <= 1
PY
    # again: the projection is kept; other directions
    touch -d '2001-01-01' out/w.npy
    DIRECTIONS=out/directions.npy run_pipeline project-and-edit.sh "$NET" nowhere.jpg out 5
    [ "$(date -r out/w.npy +%Y)" = 2001 ]
    ALIGNED=1 PROJECT='--steps 20 --threads 1' COUNT=1 run_pipeline project-and-edit.sh "$NET" again/000000.png other 1
    [ "$(ls other/edited/*.png | wc -l)" = 1 ]
    run ! "$ROOT/pipelines/project-and-edit.sh" "$NET" nowhere.jpg bad 2>/dev/null
    [ ! -e bad/w.npy ]
}

@test "without arguments, each says how it is used, and exits with 2" {
    for script in attribute balanced interpolate mix project-and-edit report sefa truncation watch; do
        run "$ROOT/pipelines/$script.sh" </dev/null
        [ "$status" -eq 2 ]
        [[ $output == "usage: $script.sh "[A-Z]* ]]
    done
}
