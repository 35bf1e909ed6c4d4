# pack-lmdb.bats - packing, and everything else one does with stores. Stores are read back by Python's lmdb and PIL.
load lib

content() { pack-lmdb ls --json "$1" | sed -n 's/.*"content_hash":[[:space:]]*"\([0-9a-f]*\)".*/\1/p' | head -n 1; }
length() { pack-lmdb ls --json "$1" | sed -n 's/.*"length":[[:space:]]*\([0-9]*\).*/\1/p' | head -n 1; }

# with_store STORE PYTHON - runs it with get(key) -> bytes or None, image(key) -> PIL image, keys.
with_store() {
    $python - "$@" <<'PY'
import sys, io, json, lmdb
from PIL import Image
env = lmdb.open(sys.argv[1], readonly=True, lock=False)
txn = env.begin()
get = lambda key: txn.get(key.encode())
image = lambda key: Image.open(io.BytesIO(get(key)))
keys = [k.decode() for k, _ in txn.cursor()]
exec(sys.argv[2])
PY
}

@test "a stream becomes a store that Python's lmdb and PIL read" {
    samples 7 48 48 >in.tar
    pack-lmdb -q s.lmdb <in.tar
    with_store s.lmdb '
assert get("length") == b"7" and image("48-00003").size == (48, 48) and image("48-00003").format == "JPEG"
assert get("key-00006") == b"00006" and get("label-00004") == b"1" and json.loads(get("json-00005"))["source"] == "drawn-5"
meta = json.loads(get("meta"))
assert meta["length"] == 7 and meta["label_dim"] == 3 and meta["sizes"] == [{"width": 48, "height": 48}]
assert meta["provenance"][0]["complete"] and sum(k.startswith("hash-") for k in keys) == 7'
    pack-lmdb check -q s.lmdb
    pack-lmdb ls s.lmdb | grep -q '7 samples of 48x48, 3 channels, jpg'
}

@test "several sizes, shapes, codecs and channels; a picture of the right kind keeps its bytes" {
    samples 3 64 96 >tall.tar
    pack-lmdb -q --size 16x24,64x96,32x48 --codec png --channels 1 s.lmdb <tall.tar
    with_store s.lmdb '
assert [s["height"] for s in json.loads(get("meta"))["sizes"]] == [96, 48, 24]
assert image("96-00002").size == (64, 96) and image("24-00000").size == (16, 24) and image("48-00001").mode == "L"'
    pack-lmdb -q --codec raw raw.lmdb <tall.tar
    [ "$(with_store raw.lmdb 'print(image("96-00001").format, len(get("96-00001")))')" = "PPM $((64 * 96 * 3 + 13))" ]
    mkdir p
    picture p/a.png 40 40 1 RGBA
    picture p/b.png 40 40 2
    pack-lmdb -q --codec png --channels 4 rgba.lmdb p
    with_store rgba.lmdb 'import hashlib
assert image("40-00000").mode == image("40-00001").mode == "RGBA"
assert get("40-00000") == open("p/a.png", "rb").read()'
    mkdir odd
    $python -c '
from PIL import Image
im = Image.open("p/b.png")
im.convert("P").save("odd/palette.png"); im.convert("CMYK").save("odd/cmyk.jpg"); im.convert("L").save("odd/grey.jpg")
im.convert("I").point(lambda v: v * 257).convert("I;16").save("odd/sixteen.png"); im.save("odd/moving.webp", save_all=True, append_images=[im])
e = Image.Exif(); e[0x112] = 6; im.save("odd/turned.jpg", exif=e)'
    for codec in jpg png; do
        pack-lmdb -q --codec $codec odd-$codec.lmdb odd
        with_store odd-$codec.lmdb 'assert all(image("40-%05d" % i).mode == "RGB" for i in range(6)), [image("40-%05d" % i).mode for i in range(6)]
assert not any(image("40-%05d" % i).getexif() for i in range(6))'
    done
    fails_with 2 'needs --codec png' pack-lmdb --channels 4 x.lmdb p
    fails_with 2 'one shape' pack-lmdb --size 32,16x24 x.lmdb p
    fails_with 2 'heights must differ' pack-lmdb --size 32,32 x.lmdb p
}

@test "bytes do not depend on the number of jobs" {
    samples 60 40 40 jpg >in.tar
    pack-lmdb -q --size 24 --jobs 1 a.lmdb <in.tar
    pack-lmdb -q --size 24 --jobs 5 b.lmdb <in.tar
    [ "$(content a.lmdb)" = "$(content b.lmdb)" ]
    with_store a.lmdb 'open("a.keys", "w").write("\n".join(k for k in keys))'
    with_store b.lmdb 'open("b.keys", "w").write("\n".join(k for k in keys))'
    cmp a.keys b.keys
}

@test "unpack | pack gives the same content, labels and keys" {
    samples 9 32 32 >in.tar
    for codec in jpg png raw; do
        pack-lmdb -q --codec $codec a-$codec.lmdb <in.tar
        pack-lmdb unpack -q a-$codec.lmdb >out.tar
        pack-lmdb -q --codec $codec b-$codec.lmdb <out.tar
        [ "$(content a-$codec.lmdb)" = "$(content b-$codec.lmdb)" ]
        [ "$(keys out.tar)" = "$(keys in.tar)" ]
    done
    [ "$(member out.tar 00004.cls)" = 1 ]
    pack-lmdb -q --size 32,16 two.lmdb <in.tar
    pack-lmdb unpack -q --size 16 two.lmdb | pack-lmdb -q small.lmdb
    with_store small.lmdb 'assert image("16-00008").size == (16, 16)'
    fails_with 1 'no size 24' pack-lmdb unpack --size 24 two.lmdb
    pack-lmdb unpack -q --out files a-raw.lmdb
    [ "$(ls files | wc -l)" -eq 27 ]
    [ "$(cat files/00002.cls)" = 2 ]
    $python -c 'from PIL import Image; assert Image.open("files/00000.png").size == (32, 32)'
    fails_with 1 'something in it' pack-lmdb unpack --out files a-raw.lmdb
}

@test "labels from folders, tables and dataset zips" {
    mkdir -p p/cat p/dog
    for i in 0 1 2; do picture p/cat/$i.png 16 16 $i; picture p/dog/$i.png 16 16 1$i; done
    pack-lmdb -q --labels folder folder.lmdb p
    with_store folder.lmdb 'assert [get("label-%05d" % i) for i in range(6)] == [b"0"] * 3 + [b"1"] * 3
assert json.loads(get("meta"))["classes"] == ["cat", "dog"]'
    printf '# comment\ncat/0\t4\ncat/1.png 2\ndog/0 0\n2 7\n' >table
    pack-lmdb --labels table --rejects r.jsonl -q table.lmdb p 2>/dev/null
    with_store table.lmdb 'assert [get("label-%05d" % i) for i in range(5)] == [b"4", b"2", b"7", b"0", b"7"]'
    grep -q 'dog/1.png.*not in the table' r.jsonl
    printf '0 old\n1 young\n2 old\n' >names
    pack-lmdb -q --labels names names.lmdb p
    with_store names.lmdb 'assert [get("label-%05d" % i) for i in range(6)] == [b"0", b"1", b"0"] * 2'
    $python -c '
import zipfile, json
z = zipfile.ZipFile("ada.zip", "w")
for i in range(6): z.write("p/%s/%d.png" % (("cat", "dog")[i // 3], i % 3), "%05d/img%08d.png" % (i // 4, i))
z.writestr("dataset.json", json.dumps({"labels": [["%05d/img%08d.png" % (i // 4, i), i % 4] for i in range(6)]}))'
    pack-lmdb -q --codec png ada.lmdb ada.zip
    with_store ada.lmdb 'assert [get("label-%05d" % i) for i in range(6)] == [b"0", b"1", b"2", b"3", b"0", b"1"]
assert get("key-00005") == b"00001/img00000005" and get("16-00004") == open("p/dog/1.png", "rb").read()'
    pack-lmdb -q --labels none none.lmdb ada.zip
    with_store none.lmdb 'assert get("label-00000") is None and json.loads(get("meta"))["label_dim"] == 0'
    $python -c 'import zipfile; zipfile.ZipFile("ada.zip").extractall("x")'
    pack-lmdb -q --codec png x.lmdb x
    [ "$(content x.lmdb)" = "$(content ada.lmdb)" ]
    head -c 900 ada.zip >cut.zip
    fails_with 1 'cut.zip: damaged or truncated' pack-lmdb -q cut.lmdb cut.zip
    echo '{"labels": [["a", [1, 2]]]}' >vector.json
    fails_with 1 'vectors are not supported' pack-lmdb --labels vector.json v.lmdb p
    # all or none
    samples 2 16 16 >in.tar
    pack-lmdb -q mixed.lmdb in.tar p --rejects r.jsonl 2>/dev/null || [ $? -eq 3 ]
    [ "$(grep -c 'no label' r.jsonl)" -eq 6 ]
}

@test "bad pictures are rejected with a reason and counted" {
    mkdir p
    picture p/good1.png 32 32 1
    picture p/good2.jpg 32 32 2
    picture p/wide.png 48 32 3 && head -c 300 p/good1.png >p/short.png && : >p/zero.jpg && echo text >p/text.png
    head -c 400 p/good2.jpg >p/short.jpg
    printf 'P6 60000 60000 255\n' >p/huge.ppm
    status=0; pack-lmdb s.lmdb p --rejects r.jsonl --max-reject 9 2>err.txt || status=$?
    [ $status -eq 0 ]
    [ "$(wc -l <r.jsonl)" -eq 6 ]
    grep -q 'in 8, out 2, rejected 6' err.txt
    grep -q 'wide.png.*48x32.*--crop center' r.jsonl
    pack-lmdb -q --force --max-reject 5 s.lmdb p 2>/dev/null || [ $? -eq 3 ]
    pack-lmdb -q --force --crop center --codec raw --max-reject 9 s.lmdb p 2>/dev/null
    with_store s.lmdb 'from PIL import ImageChops
assert image("32-00002").tobytes() == Image.open("p/wide.png").crop((8, 0, 40, 32)).tobytes()'
    rm p/good* p/wide.png
    status=0; pack-lmdb none.lmdb p 2>/dev/null || status=$?
    [ $status -eq 1 ]
    [ ! -e none.lmdb ]
}

@test "dedupe leaves out what is there, within an input and across runs" {
    samples 5 16 16 >a.tar; samples 5 16 16 ppm 2 >b.tar
    pack-lmdb -q --dedupe s.lmdb a.tar a.tar --rejects r.jsonl 2>/dev/null
    [ "$(length s.lmdb)" -eq 5 ]
    [ "$(grep -c 'same picture as sample' r.jsonl)" -eq 5 ]
    pack-lmdb -q --append --dedupe s.lmdb a.tar b.tar 2>/dev/null
    [ "$(length s.lmdb)" -eq 10 ]
    pack-lmdb -q once.lmdb a.tar b.tar
    [ "$(content s.lmdb)" = "$(content once.lmdb)" ]
    pack-lmdb -q both.lmdb a.tar a.tar
    [ "$(length both.lmdb)" -eq 10 ]
    pack-lmdb -q --limit 3 three.lmdb a.tar
    [ "$(length three.lmdb)" -eq 3 ]
}

@test "append and merge give the store of one run" {
    samples 5 16 16 >a.tar; samples 4 16 16 ppm 2 >b.tar
    pack-lmdb -q --codec png once.lmdb a.tar b.tar
    pack-lmdb -q --codec png a.lmdb a.tar; pack-lmdb -q --codec png b.lmdb b.tar
    pack-lmdb merge -q m.lmdb a.lmdb b.lmdb
    pack-lmdb check -q m.lmdb
    [ "$(content m.lmdb)" = "$(content once.lmdb)" ]
    pack-lmdb merge -q --dedupe --force m.lmdb b.lmdb a.lmdb b.lmdb
    [ "$(length m.lmdb)" -eq 9 ]
    pack-lmdb check -q m.lmdb
    pack-lmdb -q --append a.lmdb b.tar
    [ "$(content a.lmdb)" = "$(content once.lmdb)" ]
    with_store a.lmdb 'assert [p["first"] for p in json.loads(get("meta"))["provenance"]] == [0, 5] and image("16-00008").format == "PNG"'
    fails_with 1 'there is a store already' pack-lmdb merge m.lmdb a.lmdb
    fails_with 1 'other sizes' pack-lmdb --append --size 32 a.lmdb b.tar
    fails_with 1 'another codec' pack-lmdb --append --codec jpg a.lmdb b.tar
    pack-lmdb -q jpg.lmdb a.tar
    fails_with 1 'jpg.lmdb: its sizes, channels or codec' pack-lmdb merge x.lmdb a.lmdb jpg.lmdb
    [ ! -e x.lmdb ]
    ! ls -d x.lmdb.tmp* 2>/dev/null
    for i in 1 2 3; do mkdir -p c/$i d/$i; picture c/$i/x.png 16 16 $i; picture d/$i/x.png 16 16 2$i; done
    rm -r d/1; mv d/2 d/0
    pack-lmdb -q --labels folder c.lmdb c; pack-lmdb -q --labels folder d.lmdb d; pack-lmdb merge -q cd.lmdb c.lmdb d.lmdb
    with_store cd.lmdb 'assert json.loads(get("meta"))["classes"] == ["1", "2", "3", "0"] and get("label-00003") == b"3" and get("label-00004") == b"2"'
}

@test "resume: nothing twice, nothing missing, and only the same input" {
    samples 8 16 16 >a.tar; samples 8 16 16 ppm 2 >b.tar; samples 5 16 16 >five.tar
    pack-lmdb -q whole.lmdb a.tar b.tar
    pack-lmdb -q --resume s.lmdb five.tar # nothing there yet: a new store
    pack-lmdb -q --resume s.lmdb a.tar b.tar
    [ "$(content s.lmdb)" = "$(content whole.lmdb)" ]
    with_store s.lmdb 'open("1", "w").write(str(get("meta")))'
    pack-lmdb --resume s.lmdb a.tar b.tar 2>err.txt
    grep -q 'in 16, out 16' err.txt # once more changes nothing
    with_store s.lmdb 'open("2", "w").write(str(get("meta")))'
    cmp 1 2
    fails_with 1 'another one: --resume needs the input' pack-lmdb -q --resume s.lmdb b.tar
    fails_with 1 'input ends before' pack-lmdb -q --resume s.lmdb a.tar
    [ "$(content s.lmdb)" = "$(content whole.lmdb)" ]
    # an append that is resumed; duplicates without and with --dedupe
    pack-lmdb -q --append s.lmdb five.tar
    pack-lmdb -q --resume s.lmdb a.tar
    pack-lmdb -q x.lmdb a.tar b.tar a.tar
    [ "$(content s.lmdb)" = "$(content x.lmdb)" ]
    pack-lmdb -q --dedupe d.lmdb a.tar a.tar 2>/dev/null
    pack-lmdb -q --resume d.lmdb a.tar a.tar b.tar 2>/dev/null
    [ "$(content d.lmdb)" = "$(content whole.lmdb)" ]
}

@test "SIGKILL twenty times, then resume: every sample once" {
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    $python - >in.tar <<'PY'
import io, sys, tarfile
tar = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.USTAR_FORMAT)
for i in range(6000): # every fortieth is broken, every fiftieth comes twice
    data = b'P6 12 12 255\n' + bytes((j * i + j * j) % 251 for j in range(12 * 12 * 3))
    info = tarfile.TarInfo('%05d.ppm' % i)
    data = data[:40] if i % 40 == 7 else data
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
    if i % 50 == 3:
        info.name = '%05d-again.ppm' % i
        tar.addfile(info, io.BytesIO(data))
tar.close()
PY
    start=$(date +%s%N)
    pack-lmdb -q whole.lmdb in.tar 2>/dev/null
    span=$((($(date +%s%N) - start) / 1000000)) # milliseconds of a whole run: kills fall anywhere in one, on any machine
    [ "$(length whole.lmdb)" -eq 5970 ]
    RANDOM=$seed hits=0 tries=0
    while [ $hits -lt 20 ] && [ $tries -lt 300 ]; do
        tries=$((tries + 1))
        pack-lmdb -q --resume s.lmdb in.tar 2>/dev/null &
        sleep "$(printf '0.%03d' $((RANDOM % (span < 900 ? span : 900) + 1)))"
        if kill -9 $!; then hits=$((hits + 1)); fi 2>/dev/null
        wait $! 2>/dev/null || true
        [ -e s.lmdb/data.mdb ] || continue
        if ! pack-lmdb check -q s.lmdb 2>err.txt; then
            cat err.txt
            grep -qE 'before the first samples|the file is empty' err.txt # and nothing else
        elif [ "$(length s.lmdb)" -eq 5970 ]; then # done before all kills: from the beginning
            [ "$(content s.lmdb)" = "$(content whole.lmdb)" ]
            rm -r s.lmdb
        fi
    done
    pack-lmdb -q --resume s.lmdb in.tar 2>/dev/null
    pack-lmdb check -q s.lmdb
    [ "$(content s.lmdb)" = "$(content whole.lmdb)" ]
    with_store whole.lmdb 'open("1", "w").write("\n".join(str((k, get(k))) for k in keys if k != "meta"))'
    with_store s.lmdb 'open("2", "w").write("\n".join(str((k, get(k))) for k in keys if k != "meta"))'
    cmp 1 2
    echo "$hits of $tries kills hit a running program"
    [ $hits -eq 20 ]
}

@test "a writer that is killed before its first commit leaves nothing in the way" {
    samples 3 16 16 >in.tar
    for bytes in 0 4096 8192; do
        mkdir s.lmdb
        $python -c 'import lmdb; lmdb.open("e.lmdb").close()'
        head -c $bytes e.lmdb/data.mdb >s.lmdb/data.mdb
        fails_with 1 'empty|too short|first two pages' pack-lmdb ls s.lmdb
        if [ $bytes = 0 ]; then pack-lmdb -q s.lmdb in.tar; else pack-lmdb -q --resume s.lmdb in.tar; fi
        pack-lmdb check -q s.lmdb
        [ "$(length s.lmdb)" -eq 3 ]
        rm -r s.lmdb e.lmdb
    done
}

@test "a dataset zip out and in again: the same pixels and labels" {
    mkdir p
    for i in $(seq 0 6); do picture p/$i.png 16 16 $i; echo "$i.png $((i * 3 % 5))"; done >labels
    pack-lmdb -q --codec png --labels labels png.lmdb p
    pack-lmdb unpack -q --out png.zip png.lmdb
    pack-lmdb -q --codec png again.lmdb png.zip
    pack-lmdb unpack -q --out again.zip again.lmdb
    cmp png.zip again.zip
    # as a reader in Python sees it, who sorts the names
    $python - <<'PY'
import json, zipfile
import numpy as np
from PIL import Image
z = zipfile.ZipFile('png.zip')
assert z.testzip() is None
names = ['00000/img%08d.png' % i for i in range(7)]
assert z.namelist() == names + ['dataset.json'] and all(i.compress_type == zipfile.ZIP_STORED for i in z.infolist())
assert json.load(z.open('dataset.json'))['labels'] == [[n, i * 3 % 5] for i, n in enumerate(names)]
for i, n in enumerate(names):
    assert (np.asarray(Image.open(z.open(n))) == np.asarray(Image.open('p/%d.png' % i))).all(), n
PY
    # from JPEG and raw stores the pixels that the store has; one of several sizes; grey; no labels
    pack-lmdb -q --labels none --size 16,8 jpg.lmdb p
    pack-lmdb unpack -q --size 8 --out jpg.zip jpg.lmdb -j 3
    pack-lmdb unpack -q --size 8 --limit 5 --out five.zip jpg.lmdb
    pack-lmdb -q --labels none --codec raw --channels 1 grey.lmdb p
    pack-lmdb unpack -q --out grey.zip grey.lmdb
    $python - <<'PY'
import io, json, lmdb, zipfile
import numpy as np
from PIL import Image
for name, key, n in (('jpg', '8-%05d', 7), ('five', '8-%05d', 5), ('grey', '16-%05d', 7)):
    z = zipfile.ZipFile(name + '.zip')
    assert json.load(z.open('dataset.json')) == {'labels': None} and len(z.namelist()) == n + 1
    with lmdb.open(name.replace('five', 'jpg') + '.lmdb', readonly=True, lock=False) as env, env.begin() as t:
        for i in range(n):
            want = np.asarray(Image.open(io.BytesIO(t.get((key % i).encode())))).astype(int)
            got = np.asarray(Image.open(z.open('00000/img%08d.png' % i))).astype(int)
            assert got.shape == want.shape and abs(got - want).max() <= (name != 'grey'), (name, i)
PY
    samples 1002 8 8 | pack-lmdb -q many.lmdb
    pack-lmdb unpack -q --out many.zip many.lmdb
    $python -c '
import json, zipfile
z = zipfile.ZipFile("many.zip")
assert z.namelist()[999:1002] == ["00000/img00000999.png", "00001/img00001000.png", "00001/img00001001.png"]
assert json.load(z.open("dataset.json"))["labels"][1001] == ["00001/img00001001.png", 1001 % 3]'
    fails_with 1 'there is such a file' pack-lmdb unpack --out many.zip many.lmdb
    pack-lmdb unpack -q --force --limit 1 --out many.zip many.lmdb
    samples 2 16 8 | pack-lmdb -q wide.lmdb
    fails_with 1 'square pictures' pack-lmdb unpack --out wide.zip wide.lmdb
    fails_with 1 'make absent/x.zip' pack-lmdb unpack --out absent/x.zip many.lmdb
    fails_with 2 'with --out FILE.zip only' pack-lmdb unpack --force --out new many.lmdb
    [ ! -e wide.zip ]
    [ "$(ls | grep -c tmp)" = 0 ]
}

@test "other stores as input: several sizes as prepare_data writes them, and ours" {
    $python - <<'PY'
import io, lmdb
import numpy as np
from PIL import Image
rng = np.random.RandomState(1)
with lmdb.open('f.lmdb', map_size=1 << 24) as env, env.begin(write=True) as t:
    for i in range(5):
        im = Image.fromarray(rng.randint(0, 256, (8, 8, 3)).astype('u1')).resize((64, 64), Image.LANCZOS)
        for size in (16, 32, 64):
            b = io.BytesIO()
            im.resize((size, size), Image.LANCZOS).save(b, format='jpeg', quality=100)
            t.put(f'{size}-{str(i).zfill(5)}'.encode('utf-8'), b.getvalue())
    t.put('length'.encode('utf-8'), str(5).encode('utf-8'))
PY
    cp f.lmdb/data.mdb before
    pack-lmdb merge -q all.lmdb f.lmdb # all sizes, byte for byte
    pack-lmdb check -q all.lmdb
    pack-lmdb ls all.lmdb | grep -q '5 samples of 64x64, 32x32, 16x16'
    pack-lmdb -q --codec png --size 64,16 n.lmdb f.lmdb # anew, from the largest
    pack-lmdb check -q n.lmdb
    pack-lmdb -q same.lmdb f.lmdb/data.mdb
    cmp before f.lmdb/data.mdb
    $python - <<'PY'
import io, lmdb
import numpy as np
from PIL import Image
f, a, n, s = (lmdb.open(x, readonly=True, lock=False).begin() for x in ('f.lmdb', 'all.lmdb', 'n.lmdb', 'same.lmdb'))
for i in range(5):
    for size in (16, 32, 64):
        assert f.get(b'%d-%05d' % (size, i)) == a.get(b'%d-%05d' % (size, i))
    want, got = (np.asarray(Image.open(io.BytesIO(t.get(b'64-%05d' % i)))).astype(int) for t in (f, n))
    assert abs(want - got).max() <= 1
    assert s.get(b'64-%05d' % i) == f.get(b'64-%05d' % i) and n.get(b'key-%05d' % i) == b'%05d' % i
PY
    # labels and keys of our own go along; stores and streams mix
    samples 4 16 16 | pack-lmdb -q --codec png own.lmdb
    samples 3 16 16 ppm 9 >more.tar
    pack-lmdb -q --codec png --size 16 both.lmdb own.lmdb more.tar
    [ "$(length both.lmdb)" -eq 7 ]
    with_store both.lmdb 'assert [get("label-%05d" % i) for i in range(7)] == [b"0", b"1", b"2", b"0", b"0", b"1", b"2"]'
    fails_with 1 'cannot be its own input' pack-lmdb --append own.lmdb own.lmdb
    mkdir broken && head -c 5000 own.lmdb/data.mdb >broken/data.mdb
    fails_with 1 'broken: truncated' pack-lmdb -q x.lmdb broken
    [ ! -e x.lmdb ]
}

@test "stores of other programs are read, not written to" {
    $python -c '
import lmdb, io, numpy as np
from PIL import Image
with lmdb.open("f.lmdb", map_size=1 << 24) as env, env.begin(write=True) as txn:
    for i in range(4):
        for size in (32, 8):
            b = io.BytesIO(); Image.fromarray(np.full((size, size, 3), 40 * i, "u1")).save(b, "JPEG", quality=100)
            txn.put(("%d-%05d" % (size, i)).encode(), b.getvalue())
    txn.put(b"length", b"4")'
    pack-lmdb ls f.lmdb | grep -q '4 samples of 32x32, 8x8, 3 channels, jpg'
    pack-lmdb check -q f.lmdb
    pack-lmdb unpack -q f.lmdb | pack-lmdb -q n.lmdb
    [ "$(length n.lmdb)" -eq 4 ]
    pack-lmdb merge -q m.lmdb f.lmdb f.lmdb
    pack-lmdb check -q m.lmdb
    [ "$(length m.lmdb)" -eq 8 ]
    fails_with 1 'made by another program' pack-lmdb --append f.lmdb n.tar </dev/null
}

@test "what is no store, or a damaged one, is refused in one line" {
    samples 40 16 16 >in.tar
    pack-lmdb -q --codec png s.lmdb in.tar
    fails_with 1 'there is no such store' pack-lmdb ls nothing.lmdb
    mkdir empty
    fails_with 1 'without data.mdb' pack-lmdb ls empty
    make_lmdb() { $python -c 'import lmdb, sys
with lmdb.open(sys.argv[1]) as env, env.begin(write=True) as txn:
    for kv in sys.argv[2:]: txn.put(*[x.encode() for x in kv.split("=", 1)])' "$@"; }
    make_lmdb a.lmdb hello=world
    fails_with 1 'no key "length"' pack-lmdb ls a.lmdb
    make_lmdb b.lmdb length=-3
    fails_with 1 'not a number' pack-lmdb ls b.lmdb
    make_lmdb c.lmdb length=5 00001=x 7=y
    fails_with 1 'no keys of the form SIZE-INDEX' pack-lmdb ls c.lmdb
    make_lmdb d.lmdb length=5 16-00000=x
    fails_with 1 'record 16-00000' pack-lmdb ls d.lmdb
    make_lmdb e.lmdb length=1 meta='{"format": "facemill-store", "version": 9}'
    fails_with 1 'newer version' pack-lmdb ls e.lmdb
    make_lmdb g.lmdb length=1 meta='{"format":"facemill-store","version":1,"length":1,"channels":3,"label_dim":0,"codec":"png","sizes":[{"width":65000,"height":65000}]}'
    fails_with 1 'impossible sizes' pack-lmdb ls g.lmdb
    cp -r s.lmdb h.lmdb && $python -c 'import lmdb
with lmdb.open("h.lmdb") as env, env.begin(write=True) as txn:
    txn.put(b"length", b"2000000"); txn.put(b"meta", txn.get(b"meta").replace(b"\"length\":40", b"\"length\":2000000"))'
    fails_with 1 'claims 2000000 samples' pack-lmdb ls h.lmdb
    cp -r s.lmdb i.lmdb && $python -c 'import lmdb
with lmdb.open("i.lmdb") as env, env.begin(write=True) as txn:
    txn.put(b"16-00003", txn.get(b"16-00004")); txn.put(b"16-00007", b"junk"); txn.delete(b"16-00009")'
    status=0; pack-lmdb check i.lmdb 2>err.txt || status=$?
    [ $status -eq 1 ]
    grep -q 'record 16-00007' err.txt
    grep -q '16-00009: missing' err.txt
    grep -q 'content hash' err.txt
    status=0; pack-lmdb unpack i.lmdb >o.tar 2>err.txt || status=$?
    [ $status -eq 0 ]
    grep -q 'in 40, out 38, rejected 2' err.txt
    [ "$(keys o.tar | wc -w)" -eq 38 ]
    for bytes in 0 100 5000 8192 12288 20000; do
        cp -r s.lmdb t.lmdb && truncate -s $bytes t.lmdb/data.mdb
        fails_with 1 'truncated|too short|empty|first two pages' pack-lmdb ls t.lmdb
        fails_with 1 'truncated|too short|empty|first two pages|no such store' pack-lmdb -q --append t.lmdb in.tar
        rm -r t.lmdb
    done
    mkdir junk.lmdb
    head -c 50000 /dev/urandom >junk.lmdb/data.mdb
    fails_with 1 'not an LMDB database' pack-lmdb check junk.lmdb
    # any one byte changed: either said in plain words or not in a place that matters, never a crash
    $python -c '
import random, shutil, subprocess, sys
random.seed(5)
whole = open("s.lmdb/data.mdb", "rb").read()
shutil.copytree("s.lmdb", "y.lmdb")
for i in range(150):
    data = bytearray(whole)
    for k in range(random.choice((1, 1, 3, 40))):
        data[random.randrange(len(data) if i % 3 else 8192)] = random.randrange(256)
    open("y.lmdb/data.mdb", "wb").write(data)
    code = subprocess.run(["pack-lmdb", "check", "-q", "y.lmdb"], stderr=subprocess.PIPE).returncode
    assert code in (0, 1), (i, code)'
}

@test "an existing store, a folder of other things and a second writer are left alone" {
    samples 3 16 16 >in.tar
    pack-lmdb -q s.lmdb in.tar
    sum=$(cksum s.lmdb/data.mdb)
    fails_with 1 'there is a store already \(--append' pack-lmdb s.lmdb in.tar
    mkdir mine
    echo x >mine/file
    fails_with 1 'other things in it \(file\)' pack-lmdb -q mine in.tar
    [ "$(ls mine)" = file ]
    mkfifo pipe
    pack-lmdb -q --append s.lmdb pipe & writer=$!
    exec 9>pipe
    fails_with 1 'another program is writing to it' pack-lmdb --append s.lmdb in.tar
    pack-lmdb ls s.lmdb >/dev/null # reading goes on
    cat in.tar >&9
    exec 9>&-
    wait $writer
    [ "$(length s.lmdb)" -eq 6 ]
    [ "$sum" != "$(cksum s.lmdb/data.mdb)" ]
    fails_with 2 'name a store' pack-lmdb
    fails_with 2 'ls takes no --dedupe' pack-lmdb ls --dedupe s.lmdb
    fails_with 2 'packing takes no --out' pack-lmdb --out x y.lmdb in.tar
    fails_with 2 'exclude each other' pack-lmdb --append --force s.lmdb in.tar
    fails_with 1 'no such file|No such file' pack-lmdb y.lmdb nowhere.tar
    [ ! -e y.lmdb ]
}

@test "a damaged stream: what came before is safe, and resume goes on" {
    samples 30 16 16 >in.tar
    head -c 40000 in.tar >cut.tar
    status=0; pack-lmdb s.lmdb cut.tar 2>err.txt || status=$?
    [ $status -eq 1 ]
    grep -q 'truncated tar' err.txt
    grep -q 'safe in it; --resume' err.txt
    pack-lmdb check -q s.lmdb
    [ "$(length s.lmdb)" -gt 5 ]
    pack-lmdb -q --resume s.lmdb in.tar
    pack-lmdb -q whole.lmdb in.tar
    [ "$(content s.lmdb)" = "$(content whole.lmdb)" ]
    fails_with 1 'no tar stream' pack-lmdb -q x.lmdb </dev/null
    [ ! -e x.lmdb ]
}

@test "a full disk and a closed pipe" {
    samples 900 32 32 >in.tar
    status=0; (ulimit -f 2500; pack-lmdb --codec raw s.lmdb in.tar 2>err.txt) || status=$?
    [ $status -eq 1 ]
    grep -qE 'write s.lmdb: (File too large|No space|.*disk full)' err.txt
    grep -q 'out 512' err.txt
    grep -q 'samples are safe' err.txt
    pack-lmdb check -q s.lmdb
    [ "$(length s.lmdb)" -eq 512 ]
    pack-lmdb -q --resume --codec raw s.lmdb in.tar
    pack-lmdb -q --codec raw whole.lmdb in.tar
    [ "$(content s.lmdb)" = "$(content whole.lmdb)" ]
    status=0; (ulimit -f 12; pack-lmdb -q --codec raw tiny.lmdb in.tar 2>err.txt) || status=$?
    [ $status -eq 1 ]
    [ "$(wc -l <err.txt)" -eq 1 ]
    [ ! -e tiny.lmdb ]
    pack-lmdb unpack -q s.lmdb | head -c 2000 >part
    [ "${PIPESTATUS[0]}" -eq 141 ]
    [ "$(wc -c <part)" -eq 2000 ]
    if [ -w /dev/full ]; then fails_with 1 'write sample stream' sh -c 'exec pack-lmdb unpack -q s.lmdb >/dev/full' || grep -q 'No space' stderr.txt; fi
}

@test "a store that may only be read" {
    samples 3 16 16 >in.tar
    pack-lmdb -q s.lmdb in.tar
    rm s.lmdb/lock.mdb && chmod a-w s.lmdb s.lmdb/data.mdb
    [ "$(id -u)" -ne 0 ] || skip "root may write everywhere"
    pack-lmdb check -q s.lmdb
    [ ! -e s.lmdb/lock.mdb ]
    fails_with 1 'cannot write to it' pack-lmdb --append s.lmdb in.tar
    mkdir closed
    chmod a-w closed
    fails_with 1 'cannot make the folder' pack-lmdb -q closed/s.lmdb in.tar
    chmod 0 s.lmdb/data.mdb
    fails_with 1 'Permission denied' pack-lmdb ls s.lmdb
    chmod u+w s.lmdb
}

@test "ls names a few inputs and counts the rest" {
    mkdir many
    for i in 1 2 3 4 5 6 7; do cp "$ROOT/examples/photos/generated-seed0000.jpg" many/$i.jpg; done
    pack-lmdb --quiet --crop center --size 32 many.lmdb many/*.jpg
    run pack-lmdb ls many.lmdb
    [[ $output == *'"many/4.jpg"]'*'and 3 more inputs'* && $output != *many/5.jpg* ]]
    pack-lmdb ls --json many.lmdb | grep -q 'many/7.jpg'
}
