# sg2-gen: the pixels themselves: against the equations in NumPy, by batch, by layer of noise; and latents by files and broken pipes.
load lib

setup_file() {
    need sg2-gen
    export NET=$ROOT/tests/reference/stylegan2-r16.safetensors NET5=$ROOT/tests/reference/stylegan2-r32-cond5.safetensors
}
gen() { sg2-gen --quiet --threads 2 --network "$NET" "$@"; }
reference() { $python "$ROOT/tests/programs/stylegan2.py" "$@"; }

@test "the equations in NumPy give the numbers of the reference files" { reference check "$NET" "$NET5"; }

@test "seeds 85,265,297 give the reference's pixels" {
    gen --seeds 85,265,297 --trunc 0.7 --noise const --out a
    reference compare "$NET" a 0.7 -1 const 0 85 265 297
    gen --seeds 0-9 --trunc 0.5 --cutoff 3 --noise none --out b
    reference compare "$NET" b 0.5 3 none 0 0 1 2 3 4 5 6 7 8 9
    sg2-gen --quiet --threads 2 --network "$NET5" --class 3 --seeds 85,265,297 --trunc 0.7 --noise const --out c
    reference compare "$NET5" c 0.7 -1 const 3 85 265 297
    # the comparison can fail
    run ! reference compare "$NET" a 0.7 -1 none 0 85 265 297
    run ! reference compare "$NET" a 0.6 -1 const 0 85 265 297
}

@test "any batch size gives the same bytes" {
    for noise in random const; do
        for batch in 1 3 8; do
            sg2-gen --quiet --threads 2 --network "$NET5" --class 1 --seeds 0-9 --noise $noise --batch $batch | sha256sum
        done | sort -u >sums
        [ "$(wc -l <sums)" = 1 ]
    done
    # a network with wide layers, where libraries choose their method by the size of the work
    for batch in 1 3 8; do
        sg2-gen --quiet --network "$ROOT/examples/faces-128.safetensors" --seeds 0-7 --noise random --batch $batch | sha256sum
    done | sort -u >sums
    [ "$(wc -l <sums)" = 1 ]
}

@test "noise by layer" {
    picture() { gen --seeds 3 --format ppm "$@" | sha256sum; }
    [ "$(picture --noise-scale 1)" = "$(picture)" ]
    [ "$(picture --noise-scale 0)" = "$(picture --noise none)" ]
    [ "$(picture --noise-scale 0-5=0)" = "$(picture --noise none)" ]
    [ "$(picture --noise random --noise-scale 0)" = "$(picture --noise none)" ]
    for scale in 1 0 0-1=0 2-4=0 4=2 4=2,0=0.5; do picture --noise random --noise-scale $scale; done | sort -u >sums
    [ "$(wc -l <sums)" = 6 ]
    for bad in x 1,2 0-1=1,3 6=1 1-0=1 =1 0= 0=x 0=1, 1e9 nan; do
        fails_with 2 'noise-scale: ' sg2-gen --network "$NET" --seeds 0 --noise-scale "$bad" --out x.png
    done
    gen --seeds 3 --noise-scale 4=2 >s.tar
    member s.tar seed0003.json | grep -q '"noise_scale":"4=2"'
}

@test "latents from files and pipes, w+ saved beside a folder of pictures" {
    $python -c 'import numpy as np; np.save("z.npy", np.concatenate([np.random.RandomState(s).randn(1, 32) for s in (7, 8, 9)]))'
    gen --seeds 7-9 --trunc 0.7 --out folder --save-w w.npy --batch 2
    gen --trunc 0.7 z.npy >z.tar
    gen w.npy >w.tar
    cat w.npy | gen - >piped.tar
    cmp w.tar piped.tar
    head -c 0 /dev/null | gen z.npy w.npy >both.tar # files, not the stdin there is
    [ "$(keys both.tar)" = "000000 000001 000002 000003 000004 000005" ]
    $python - <<'PY'
import io, tarfile
import numpy as np
from PIL import Image
assert np.load('w.npy').shape == (3, 6, 32)
z, w = tarfile.open('z.tar'), tarfile.open('w.tar')
for i in range(3):
    want = np.asarray(Image.open('folder/seed%04d.png' % (7 + i)))
    for t in z, w:
        assert (np.asarray(Image.open(io.BytesIO(t.extractfile('%06d.ppm' % i).read()))) == want).all()
PY
    fails_with 1 'none.npy: No such file' sg2-gen --quiet --network "$NET" z.npy none.npy --out x
    fails_with 2 'exclude' sg2-gen --network "$NET" --seeds 1 z.npy
}

@test "a latent pipe that stops early ends everything cleanly" {
    $python -c 'import numpy as np; np.save("z.npy", np.random.RandomState(0).randn(40, 32).astype("f4"))'
    # cut between two rows and within one: one line, no file under its final name, nothing left over
    for size in 1300 1311 90; do
        head -c $size z.npy >cut.npy
        for out in folder grid.png walk.apng; do
            fails_with 1 'stdin: truncated' sg2-gen --quiet --threads 1 --network "$NET" --batch 4 --out $out <cut.npy
        done
        [ ! -e grid.png ] && [ ! -e walk.apng ]
        run ! ls ./*.tmp-*
        # what came whole was drawn
        status=0
        gen --batch 1 --format ppm <cut.npy >frames 2>/dev/null || status=$?
        [ $status = 1 ]
        [ "$(wc -c <frames)" = $((((size - 128) > 0 ? (size - 128) / 128 : 0) * (16 * 16 * 3 + 13))) ]
    done
    # a reader that goes away ends both sides
    set +o pipefail
    cat z.npy z.npy z.npy | gen --format y4m --batch 1 2>err | head -c 500 >/dev/null
    [ ! -s err ]
}

@test "10,000 frames stream in the memory of a few hundred" {
    case $BUILD in */san) skip "sanitizers keep what was freed" ;; esac
    peak() { # FRAMES COMMAND...: kilobytes
        local n=$1
        shift
        $python -c 'import sys, numpy as np; np.save(sys.stdout.buffer, np.random.RandomState(0).randn(int(sys.argv[1]), 6, 32).astype("f4"))' "$n" >walk.npy
        /usr/bin/time -f %M -o peak "$@" <walk.npy | wc -c >bytes
        cat peak
    }
    for format in y4m ppm auto; do
        few=$(peak 500 sg2-gen --quiet --threads 1 --network "$NET" --format $format)
        many=$(peak 10000 sg2-gen --quiet --threads 1 --network "$NET" --format $format)
        echo "$format: $few kB, $many kB"
        [ "$many" -lt $((few + 4000)) ]
    done
    few=$(peak 500 sg2-gen --quiet --threads 1 --network "$NET" --out walk.apng)
    many=$(peak 5000 sg2-gen --quiet --threads 1 --network "$NET" --out walk.apng)
    echo "apng: $few kB, $many kB"
    [ "$many" -lt $((few + 4000)) ]
}
