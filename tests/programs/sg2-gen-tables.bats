# sg2-gen: labelled tables: style mixing, truncation sweeps, directions.
load lib

setup_file() {
    need sg2-gen
    export NET=$ROOT/tests/reference/stylegan2-r16.safetensors
    export tools=$BATS_FILE_TMPDIR
    cat >"$BATS_FILE_TMPDIR/table.py" <<'PY'
"""Finds the tiles of a table: the rows and columns of 16x16 that hold the picture `first` and its like."""
import io, tarfile
import numpy as np
from PIL import Image


def tiles(path):
    t = tarfile.open(path)
    return [np.asarray(Image.open(io.BytesIO(t.extractfile(m).read()))).astype(int) for m in t if m.name.endswith('.ppm')]


def find(sheet, tile):
    """Upper left corners where the tile lies exactly."""
    h, w = sheet.shape[0] - 15, sheet.shape[1] - 15
    rough = np.argwhere((sheet[:h, :w] == tile[0, 0]).all(-1))
    return [(y, x) for y, x in rough if (sheet[y:y + 16, x:x + 16] == tile).all()]


def load(path):
    return np.asarray(Image.open(path).convert('RGB')).astype(int)
PY
}
gen() { sg2-gen --quiet --threads 2 --network "$NET" "$@"; }
py() { PYTHONPATH=$tools $python -; }

@test "style mixing: sources along the edges, styles of the columns in --layers" {
    gen --seeds 85,100 --mix 55,821,1789 --layers 0-2 --trunc 0.7 --out mix.png --save-w cells.npy --batch 4
    gen --seeds 85,100 --trunc 0.7 --save-w r.npy >rows.tar
    gen --seeds 55,821,1789 --trunc 0.7 --save-w c.npy >columns.tar
    $python - <<'PY'
import numpy as np
r, c, cells = np.load('r.npy'), np.load('c.npy'), np.load('cells.npy')
want = [x for x in c]
for i in range(2):
    want.append(r[i])
    want += [np.concatenate([x[:3], r[i][3:]]) for x in c]
assert cells.shape == (11, 6, 32) and (cells == np.stack(want)).all()
np.save('want.npy', np.stack(want))
PY
    gen want.npy >want.tar
    py <<'PY'
from table import *
sheet, cells = load('mix.png'), tiles('want.tar')
for source, at in zip(tiles('columns.tar') + [None] + tiles('rows.tar'), range(9)):
    assert source is None or find(sheet, source), at
# in a table of 3 rows and 4 columns, the corner empty, a gap behind the edges
places = [find(sheet, cell) for cell in cells]
assert all(len(p) == 1 for p in places), places
ys, xs = sorted({p[0][0] for p in places}), sorted({p[0][1] for p in places})
assert len(ys) == 3 and len(xs) == 4
assert [(ys.index(p[0][0]), xs.index(p[0][1])) for p in places] == [(0, 1), (0, 2), (0, 3)] + [(r, c) for r in (1, 2) for c in range(4)]
assert ys[1] - ys[0] > ys[2] - ys[1] == 16 and xs[1] - xs[0] > xs[2] - xs[1] == xs[3] - xs[2]
assert (sheet[ys[0]:ys[0] + 16, xs[0]:xs[0] + 16] == 255).all()
# headings: the digits of 85 in the font, right of nothing but paper
ink = (sheet[ys[1]:ys[1] + 16, :xs[0]] < 128).all(-1)
assert ink[4:12].any() and not ink[:4].any() and not ink[12:].any()
eight = [".###.", "#...#", "#...#", ".###.", "#...#", "#...#", ".###."]
text = [''.join('#' if p else '.' for p in row) for row in ink]
assert any(all(eight[i] in text[y + i] for i in range(7)) for y in range(9)), text
PY
    # by default the first 7 layers of 18
    gen --seeds 85,100 --mix 55,821,1789 --layers 0-1 --trunc 0.7 --out by-hand.png
    gen --seeds 85,100 --mix 55,821,1789 --trunc 0.7 --out default.png
    cmp by-hand.png default.png
    run ! cmp -s mix.png default.png
    # rows from latents, all layers from the columns: every row shows the columns
    $python -c 'import numpy as np; np.save("z.npy", np.random.RandomState(1).randn(2, 32))'
    gen --mix 55,821 --layers 0-5 --out all.png z.npy
    gen --seeds 55,821 >columns.tar
    py <<'PY'
from table import *
assert all(len(find(load('all.png'), tile)) == 3 for tile in tiles('columns.tar'))
PY
}

@test "truncation sweep" {
    gen --seeds 3,9 --trunc -0.5,0,0.5,1 --cutoff 4 --noise none --out sweep.png
    for psi in -0.5 0 0.5 1; do gen --seeds 3,9 --trunc $psi --cutoff 4 --noise none >psi$psi.tar; done
    py <<'PY'
from table import *
sheet, xs = load('sweep.png'), []
for psi in ('-0.5', '0', '0.5', '1'):
    a, b = tiles('psi%s.tar' % psi)
    # mean + psi*(w - mean) is rounded here and there in another order: within a level
    at = [(y, x) for y in range(sheet.shape[0] - 31) for x in range(sheet.shape[1] - 15)
          if np.abs(sheet[y:y + 16, x:x + 16] - a).max() <= 1 and np.abs(sheet[y + 16:y + 32, x:x + 16] - b).max() <= 1]
    assert len(at) == 1, (psi, at)
    xs.append(at[0][1])
assert xs == sorted(xs)
PY
}

@test "directions: rows of a file, columns of amounts" {
    $python -c 'import numpy as np; d = np.random.RandomState(4).randn(2, 32); d /= np.linalg.norm(d, axis=1, keepdims=True); np.save("d.npy", d); np.save("dd.npy", np.repeat(d[:, None], 6, 1))'
    gen --seeds 7 --directions d.npy --amounts -4,0,4 --trunc 0.7 --out one.png --save-w cells.npy
    gen --seeds 7 --trunc 0.7 --save-w w.npy >seed.tar
    $python - <<'PY'
import numpy as np
w, d = np.load('w.npy')[0], np.load('d.npy')
want = np.stack([w + a * v for v in d for a in (-4, 0, 4)])
assert np.abs(np.load('cells.npy') - want).max() < 1e-5 * np.abs(want).max()
PY
    py <<'PY'
from table import *
sheet, seed = load('one.png'), tiles('seed.tar')[0]
(y0, x0), (y1, x1) = find(sheet, seed) # amount 0, once for each direction
assert x0 == x1 and y1 - y0 == 16
assert len({sheet[y:y + 16, x:x + 16].tobytes() for y in (y0, y1) for x in (x0 - (x0 % 1), x0)}) == 1
PY
    $python -c 'import numpy as np; np.save("d1.npy", np.load("d.npy")[0])'
    gen --seeds 7 --directions d1.npy --amounts -4,0,4 --trunc 0.7 --out first.png --save-w first.npy
    $python -c 'import numpy as np; assert (np.load("first.npy") == np.load("cells.npy")[:3]).all()'
    # the same direction for every layer, and in a few layers only
    gen --seeds 7 --directions dd.npy --amounts -4,0,4 --trunc 0.7 --out plus.png
    cmp one.png plus.png
    gen --seeds 7,8 --directions d.npy --amounts 3 --layers 1,3-4 --out few.png --save-w few.npy
    $python -c 'import numpy as np; f = np.load("few.npy"); assert f.shape == (4, 6, 32); d = np.abs(f[0] - f[1]).max(1); assert (d[[0, 2, 5]] == 0).all() and (d[[1, 3, 4]] > 0).all()'
}

@test "a grid with the seed below each picture" {
    gen --seeds 85,265,297 --grid 2x2 --label --out sheet.png
    gen --seeds 85,265,297 >plain.tar
    py <<'PY'
from table import *
sheet = load('sheet.png')
height = sheet.shape[0] // 2
assert sheet.shape[1] == 32 and height > 16 + 7
for i, tile in enumerate(tiles('plain.tar')):
    y, x = i // 2 * height, i % 2 * 16
    assert find(sheet, tile) == [(y, x)]
    line = sheet[y + 16:y + height, x:x + 16]
    assert (line[0] == 255).all() and (line[-1] == 255).all() and 20 < (line < 128).all(-1).sum() < 60
PY
    fails_with 2 'label is for grids' sg2-gen --network "$NET" --seeds 0 --label
    fails_with 2 'label is for grids' sg2-gen --network "$NET" --seeds 0 --label --mix 1 --out x.png
}

@test "wrong tables are refused in one line" {
    no() { fails_with 2 "$1" sg2-gen --quiet --network "$NET" --seeds 0 "${@:2}"; }
    bad() { fails_with 1 "$1" sg2-gen --quiet --network "$NET" --seeds 0 --directions d.npy --out x.png; }
    no 'out FILE.png is needed' --mix 1
    no 'out FILE.png is needed' --trunc 0,1 --out folder
    no 'out FILE.png is needed' --mix 1 --out x.apng
    no 'choose one' --mix 1 --trunc 0,1 --out x.png
    no 'layers goes with' --layers 1 --out x.png
    no 'amounts goes with' --amounts 1 --out x.png
    no 'layer 6: there are layers 0 to 5' --mix 1 --layers 0-6 --out x.png
    no 'mix takes numbers' --mix x --out x.png
    no 'trunc takes' --trunc 0,,1 --out x.png
    no 'amounts takes' --directions d.npy --amounts 1e7 --out x.png
    no 'neither video nor tables' --mix 1 --grid 2x2 --out x.png
    fails_with 1 'at most 4096 rows' sg2-gen --quiet --network "$NET" --seeds 0-4096 --trunc 0,1 --out x.png
    fails_with 1 'over the limit' sg2-gen --quiet --network "$NET" --seeds 0-4095 --trunc 0,1 --out x.png
    bad 'd.npy: No such file'
    : >d.npy && bad 'd.npy: the file is empty'
    $python -c 'import numpy as np; np.save("d.npy", np.zeros((2, 31)))' && bad 'directions of this network are'
    $python -c 'import numpy as np; np.save("d.npy", np.full((2, 32), np.inf))' && bad 'not finite'
    $python -c 'import numpy as np; np.save("d.npy", np.zeros((0, 32)))' && bad 'directions of this network are'
    [ ! -e x.png ]
}
