#!/usr/bin/python3
"""Writes FID's Inception with formula weights (tests/reference/README.md) in three kinds of file.

usage: inception_weights.py SHAPES.json safetensors|legacy|zip OUT

The two pickled kinds are written opcode by opcode as torch.save writes them, so that no PyTorch is needed.
"""
import json
import math
import struct
import sys
import zipfile

import numpy as np


def formula(name, shape):
    n = int(np.prod(shape, dtype=np.int64))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    state = 0xCBF29CE484222325
    for c in name.encode():
        state = ((state ^ c) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, n + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(40)).astype(np.float64) / 2**24
    if name.endswith(".conv.weight"):
        v = (2 * u - 1) * math.sqrt(6.0 / (n // shape[0]))
    elif name == "fc.weight":
        v = (2 * u - 1) * math.sqrt(3.0 / 2048)
    elif name == "fc.bias":
        v = 0.1 * (2 * u - 1)
    elif name.endswith((".bn.weight", ".bn.running_var")):
        v = 0.75 + 0.5 * u
    else:
        v = 0.2 * (2 * u - 1)
    return v.astype(np.float32).reshape(shape)


def write_safetensors(tensors, out):
    header, at = {}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F32" if t.dtype == np.float32 else "I64", "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out.write(struct.pack("<Q", len(text)) + text)
    for t in tensors.values():
        out.write(t.tobytes())


def text(s):
    b = s.encode()
    return b"X" + struct.pack("<I", len(b)) + b


def integer(i):
    return b"K" + bytes([i]) if i < 256 else b"M" + struct.pack("<H", i) if i < 65536 else b"J" + struct.pack("<i", i)


def strides(shape):
    s, step = [], 1
    for d in reversed(shape):
        s.insert(0, step)
        step *= d
    return s


def tensor(key, t, legacy):
    """_rebuild_tensor_v2((storage by persistent id), offset, size, stride, requires_grad, OrderedDict())"""
    kind = b"FloatStorage" if t.dtype == np.float32 else b"LongStorage"
    p = b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + integer(t.size)
    p += (b"N" if legacy else b"") + b"tQ" + integer(0)
    p += b"(" + b"".join(integer(d) for d in t.shape) + b"t" + b"(" + b"".join(integer(d) for d in strides(t.shape)) + b"t"
    return p + b"\x89ccollections\nOrderedDict\n)RtR"


def state_dict(tensors, keys, legacy):
    p = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01("
    for name, t in tensors.items():
        p += text(name) + tensor(keys[name], t, legacy)
    p += b"u}" + text("_metadata") + b"h\x00)Rsb."
    return p


def write_legacy(tensors, out):
    keys = {name: str(94000000000000 + 64 * i) for i, name in enumerate(tensors)}
    out.write(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")  # the magic number
    out.write(b"\x80\x02M\xe9\x03.")  # protocol 1001
    sizes = b"}(" + text("short") + b"K\x02" + text("int") + b"K\x04" + text("long") + b"K\x04u"
    out.write(b"\x80\x02}(" + text("protocol_version") + b"M\xe9\x03" + text("little_endian") + b"\x88" + text("type_sizes") + sizes + b"u.")
    out.write(state_dict(tensors, keys, True))
    order = sorted(tensors, key=lambda name: keys[name])
    out.write(b"\x80\x02]q\x00(" + b"".join(text(keys[name]) for name in order) + b"e.")
    for name in order:
        out.write(struct.pack("<q", tensors[name].size) + tensors[name].tobytes())


def write_zip(tensors, out):
    keys = {name: str(i) for i, name in enumerate(tensors)}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        z.writestr("archive/data.pkl", state_dict(tensors, keys, False))
        for name, t in tensors.items():
            z.writestr("archive/data/" + keys[name], t.tobytes())
        z.writestr("archive/version", b"3\n")


def main():
    shapes, kind, path = sys.argv[1:]
    tensors = {name: formula(name, shape) for name, shape in json.load(open(shapes)).items()}
    with open(path, "wb") as out:
        {"safetensors": write_safetensors, "legacy": write_legacy, "zip": write_zip}[kind](tensors, out)


if __name__ == "__main__":
    main()
