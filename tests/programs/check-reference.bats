# check-reference: agrees with the reference, and can disagree.
load lib

# spoil FILE TENSOR FACTOR >OUT - the file with the largest element of one float32 tensor multiplied.
spoil() {
    $python - "$@" <<'PY'
import json, struct, sys
import numpy as np
data = bytearray(open(sys.argv[1], 'rb').read())
n = struct.unpack('<Q', data[:8])[0]
begin, end = json.loads(data[8:8 + n])[sys.argv[2]]['data_offsets']
x = np.frombuffer(data[8 + n + begin:8 + n + end], '<f4').copy()
x[np.abs(x).argmax()] *= float(sys.argv[3])
data[8 + n + begin:8 + n + end] = x.tobytes()
sys.stdout.buffer.write(data)
PY
}

@test "the operations, the networks and their gradients, the augmentation agree with the reference" {
    need check-reference
    check-reference "$ROOT"/tests/reference/{ops,stylegan2-r16,stylegan2-r32-cond5,augment-r32}.safetensors >out.txt
    tail -n 1 out.txt | grep -q '^check-reference: 4 files, 400 compared, 0 outside'
}

@test "17 iterations of training agree with the reference" {
    need check-reference
    check-reference "$ROOT/tests/reference/train-trace-r16.safetensors" >out.txt
    [ "$(grep -c '^ok   log' out.txt)" -ge 34 ]
    [ "$(grep -c '^ok   final' out.txt)" -eq 140 ]
}

@test "a wrong number is found in every kind of file" {
    need check-reference
    while read -r file tensor factor; do
        spoil "$ROOT/tests/reference/$file.safetensors" "$tensor" "$factor" >bad.safetensors
        run -1 check-reference bad.safetensors
        echo "$file $tensor: $output" | tail -n 3
        [[ "$output" == *"FAIL "* ]]
        [[ "${lines[-1]}" == "check-reference: 1 files, "* ]]
    done <<'END'
ops upfirdn2d.up2 1.001
ops modconv.w 1.01
augment-r32 out.bgc.p0.35 1.001
stylegan2-r16 grad_Gpl.G.synthesis.b8.conv0.weight 1.001
stylegan2-r16 D.b16.conv1.weight 1.05
train-trace-r16 final.G_ema.synthesis.b8.conv1.bias 1.01
END
}

@test "misuse and files that nobody knows" {
    need check-reference
    run -2 check-reference
    run -2 check-reference --nonsense
    run -2 check-reference missing.safetensors
    echo junk >junk.safetensors
    run -2 check-reference junk.safetensors
    $python -c 'import json, struct, sys
h = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
sys.stdout.buffer.write(struct.pack("<Q", len(h)) + h + b"\0\0\0\0")' >unknown.safetensors
    run -2 check-reference unknown.safetensors
    [[ "$output" == *"no subject recognises"* ]]
    check-reference --help | grep -q '^usage'
}
