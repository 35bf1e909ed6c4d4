# manners.bats - what every program owes its user, asked of all that stand in stages/.
load lib

programs() { basename -s .c "$ROOT"/stages/*.c; }

@test "--help fits a screen, goes to stdout and gives examples" {
    for p in $(programs); do
        need "$p"
        "$p" --help >help.txt 2>err.txt
        [ ! -s err.txt ]
        head -n 1 help.txt | grep -q "^Usage: $p " || { head -n 1 help.txt && return 1; }
        [ "$(wc -l <help.txt)" -le 66 ] || { wc -l help.txt "$p" && return 1; }
        [ "$(wc -L <help.txt)" -le 120 ] || { echo "$p: lines of $(wc -L <help.txt) columns" && return 1; }
        grep -q '^Examples:' help.txt
        ! grep -n ' $' help.txt
    done
}

@test "--version names the program, its libraries and the CPU" {
    for p in $(programs); do
        "$p" --version >version.txt
        grep -qE "^facemill [0-9.]+ \($p\)$" version.txt
        grep -q '^libraries: ' version.txt
        grep -q '^CPU: ' version.txt
    done
}

@test "misuse is one line, a hint, and status 2" {
    for p in $(programs); do
        fails_with 2 'no option --no-such-option' "$p" --no-such-option
        fails_with 2 'no option -[?]' "$p" '-?'
    done
}

@test "a full disk under --help is an error" {
    for p in $(programs); do
        status=0
        "$p" --help >/dev/full 2>err.txt || status=$?
        [ "$status" -eq 1 ]
        grep -q "^$p: write to stdout: No space left on device$" err.txt
    done
}

@test "closed standard files are not given to other files, and what should have gone there is missed" {
    for p in $(programs); do
        status=0
        "$p" --help 2>err.txt >&- || status=$?
        [ "$status" -eq 1 ]
        grep -q "^$p: write to stdout: Bad file descriptor$" err.txt
    done
    need pack-lmdb
    samples 3 16 16 | pack-lmdb --quiet s.lmdb
    pack-lmdb check s.lmdb >&-
    status=0
    pack-lmdb ls s.lmdb 2>err.txt >&- || status=$?
    [ "$status" -eq 1 ]
    pack-lmdb --force copy.lmdb s.lmdb <&- >&- 2>&-
    pack-lmdb check copy.lmdb
    status=0
    pack-lmdb none.lmdb - 2>err.txt <&- || status=$?
    [ "$status" -eq 1 ]
    grep -q '^pack-lmdb: .*Bad file descriptor' err.txt
}

@test "a device that there is not is misuse" {
    fails_with 2 'device takes one of auto.cpu.cuda, not "tpu"' sg2-gen --network net --seeds 0 --device tpu
    fails_with 2 'device takes one of' sg2-train --data store --out run --device tpu
    fails_with 2 'device takes one of' sg2-project --network net --device tpu picture.png
    fails_with 2 'device takes one of' fid-score --features dlib-face --device tpu a b
}

@test "what is no regular file is not replaced by one" { # as root it would be: /dev/null, for one
    need sg2-convert
    net=$ROOT/tests/reference/stylegan2-r16.safetensors
    for name in pipe pipe.png pipe.webp pipe.y4m; do mkfifo $name; done
    fails_with 1 'write pipe: it is no regular file' sg2-convert --quiet --force --format npz "$net" pipe
    fails_with 1 'write pipe: it is no regular file' sg2-convert --quiet --force --format safetensors "$net" pipe
    fails_with 1 'write pipe: it is no regular file' sg2-gen --quiet --network "$net" --seeds 0 --save-w pipe
    fails_with 1 'write pipe.png: it is no regular file' sg2-gen --quiet --network "$net" --seeds 0-1 --out pipe.png
    fails_with 1 'write pipe.webp: it is no regular file' sg2-gen --quiet --network "$net" --seeds 0-1 --animate --out pipe.webp
    fails_with 1 'write pipe.y4m: it is no regular file' sg2-gen --quiet --network "$net" --seeds 0-1 --out pipe.y4m
    for name in pipe pipe.png pipe.webp pipe.y4m; do [ -p $name ]; done
}

@test "every program has a manual page that names all its options" {
    command -v mandoc >/dev/null || skip "mandoc is not installed"
    for p in $(programs); do
        mandoc -W error -T utf8 "$ROOT/stages/$p.1" >raw.txt
        sed 's/.\x08//g' raw.txt >page.txt
        for section in NAME SYNOPSIS DESCRIPTION OPTIONS 'EXIT STATUS' EXAMPLES CAVEATS; do
            grep -q "^$section" page.txt || { echo "$p.1 lacks $section" && return 1; }
        done
        for o in $("$p" --help | sed -n 's/^ *\(-[a-zA-Z0-9],\)\? *\(--[a-z0-9-]*\).*/\2/p'); do
            case $o in --help | --version | --quiet | --verbose) continue ;; esac
            grep -q -e "$o" page.txt || { echo "$p.1 does not name $o" && return 1; }
        done
    done
}
