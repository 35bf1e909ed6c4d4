# lib.bash - what the program tests share. In a .bats file:
#
#     load lib
#     @test "face-crop keeps count" {
#         samples 3 64 48 >in.tar
#         face-crop --size 32 <in.tar >out.tar
#         [ "$(keys out.tar)" = "00000 00001 00002" ]
#         fails_with 1 'truncated tar' face-crop --size 32 <<<"no tar"
#     }
#
# Each test runs in an empty folder of its own that bats removes. $BUILD names the build to test (default: build); programs of
# $BUILD/bin and $BUILD/tests come first in PATH.
bats_require_minimum_version 1.5.0
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$ROOT/$BUILD ;; esac
export PATH=$BUILD/bin:$BUILD/tests:$PATH
export LC_ALL=C.UTF-8 OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}
export LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$ROOT/tests/lsan.supp:print_suppressions=0}
python=/usr/bin/python3 # Debian's, which has the python3-{numpy,pil,lmdb} packages

setup() { cd "$BATS_TEST_TMPDIR" || exit 1; }

# need PROGRAM... - skips the test when one of them is not built.
need() {
    local p
    for p; do command -v "$p" >/dev/null || skip "$p is not built"; done
}

# fails_with STATUS PATTERN COMMAND... - the command ends with that status, says exactly one line on stderr (besides the
# two lines of a usage text when the status is 2), that line starts with the program's name and matches PATTERN (ERE).
fails_with() {
    local want=$1 pattern=$2 status=0 lines
    shift 2
    "$@" >stdout.txt 2>stderr.txt || status=$?
    if [ "$status" -ne "$want" ]; then
        echo "status $status, not $want: $*" && cat stderr.txt && return 1
    fi
    lines=$(grep -vcE '^usage: |^ +[a-z0-9-]+ --help lists the options$' stderr.txt)
    if [ "$lines" -ne 1 ] || ! head -n 1 stderr.txt | grep -qE "^$(basename "$1"): .*($pattern)"; then
        echo "expected one line of $1 that matches '$pattern', got:" && cat stderr.txt && return 1
    fi
}

# picture FILE WIDTH HEIGHT [SEED [MODE]] - a smooth random picture (blobs on a gradient), MODE as PIL names it (RGB).
picture() {
    $python - "$@" <<'PY'
import sys
import numpy as np
from PIL import Image
file, w, h = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.RandomState(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
mode = sys.argv[5] if len(sys.argv) > 5 else 'RGB'
small = rng.randint(0, 256, (max(2, h // 8), max(2, w // 8), 4)).astype('u1')
im = Image.fromarray(small, 'RGBA').resize((w, h), Image.BICUBIC)
im = im if mode == 'RGBA' else im.convert('RGB').convert(mode)
im.save(file, **({'quality': 92} if file.lower().endswith(('jpg', 'jpeg')) else {}))
PY
}

# samples N WIDTH HEIGHT [SUFFIX [SEED]] - a sample stream of N pictures with JSON, written by Python's tarfile.
samples() {
    $python - "$@" <<'PY'
import io, json, sys, tarfile
import numpy as np
from PIL import Image
n, w, h = map(int, sys.argv[1:4])
suffix = sys.argv[4] if len(sys.argv) > 4 else 'ppm'
rng = np.random.RandomState(int(sys.argv[5]) if len(sys.argv) > 5 else 1)
tar = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.USTAR_FORMAT)
def add(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
for i in range(n):
    small = rng.randint(0, 256, (max(2, h // 8), max(2, w // 8), 3)).astype('u1')
    picture = io.BytesIO()
    Image.fromarray(small).resize((w, h), Image.BICUBIC).save(picture, {'jpg': 'JPEG', 'ppm': 'PPM', 'png': 'PNG', 'webp': 'WEBP'}[suffix])
    add('%05d.%s' % (i, suffix), picture.getvalue())
    add('%05d.json' % i, json.dumps({'source': 'drawn-%d' % i, 'label': i % 3}).encode())
tar.close()
PY
}

# keys TAR - the keys of a stream, in order, separated by blanks.
keys() {
    $python - "$1" <<'PY'
import sys, tarfile
seen = []
for m in tarfile.open(sys.argv[1]):
    folder, _, base = m.name.rpartition('/')
    key = (folder + '/' if folder else '') + base.split('.', 1)[0]
    if key not in seen:
        seen.append(key)
print(*seen)
PY
}

# member TAR NAME - the bytes of one member.
member() { $python -c 'import sys, tarfile; sys.stdout.buffer.write(tarfile.open(sys.argv[1]).extractfile(sys.argv[2]).read())' "$@"; }
