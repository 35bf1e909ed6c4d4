#!/usr/bin/python3
"""Writes FID's Inception with formula weights (tests/reference/README.md) in four kinds of file.

usage: inception_weights.py SHAPES.json safetensors|legacy|zip|pb OUT [CHANGE]

The two pickled kinds are written opcode by opcode as torch.save writes them, and the frozen TensorFlow graph field by field, so that
neither PyTorch nor TensorFlow is needed. CHANGE, for pb: "epsilon" or "missing" makes a graph that is not FID's; "unscaled" says
that gamma is not applied, and gives gammas that would do harm. For safetensors: "ones" makes every gamma 1.
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


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def node(name, op, inputs=(), **attrs):
    """A NodeDef; an attribute is an encoded AttrValue."""
    b = message(1, name.encode()) + message(2, op.encode()) + b"".join(message(3, i.encode()) for i in inputs)
    for key, value in attrs.items():
        b += message(5, message(1, key.encode()) + message(2, value))
    return message(1, b)


def constant(name, a):
    dims = b"".join(message(2, b"\x08" + varint(d)) for d in a.shape)
    kind = 1 if a.dtype == np.float32 else 3
    tensor_proto = b"\x08" + varint(kind) + message(2, dims) + message(4, np.ascontiguousarray(a).tobytes())
    return node(name, "Const", dtype=b"\x30" + varint(kind), value=message(8, tensor_proto))


def scope(name):
    """The graph's scope of a layer: blocks are numbered through, branches are towers, pairs a block in a tower."""
    stem = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
    nth = lambda i: "_%d" % i if i else ""
    if name in stem:
        return "conv" + nth(stem.index(name))
    block, branch = name.split(".")
    mixed = "mixed" + nth("5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c".split().index(block[6:]))
    fixed = {"branch1x1": "conv", "branch3x3": "conv", "branch_pool": "tower_2/conv"}
    if branch in fixed:
        return mixed + "/" + fixed[branch]
    kind, step = branch.rsplit("_", 1)
    towers = {"branch5x5": "tower", "branch3x3dbl": "tower" if block == "Mixed_6a" else "tower_1", "branch7x7": "tower",
              "branch7x7dbl": "tower_1", "branch3x3": "tower", "branch7x7x3": "tower_1"}
    conv = "mixed/conv" + nth("ab".index(step[1])) if len(step) > 1 else "conv" + nth(int(step) - 1)
    return mixed + "/" + towers[kind] + "/" + conv


def write_pb(tensors, out, change=""):
    out.write(node("DecodeJpeg/contents", "Placeholder") + constant("ResizeBilinear/size", np.array([299, 299], np.int32)))
    for name, t in tensors.items():
        layer, _, what = name.rpartition(".")
        if what == "num_batches_tracked":
            continue
        if layer == "fc":
            out.write(constant("softmax/weights", t.T) if what == "weight" else constant("softmax/biases", t))
            continue
        layer, _, kind = layer.rpartition(".")
        where = scope(layer)
        if change == "missing" and where == "mixed_7/tower_1/conv_2":
            continue
        if kind == "conv":
            out.write(constant(where + "/conv2d_params", t.transpose(2, 3, 1, 0)))
            continue
        part = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}[what]
        if change == "unscaled" and part == "gamma":
            t = t + 5
        out.write(constant(where + "/batchnorm/" + part, t))
        if part == "gamma":
            epsilon = 1e-5 if change == "epsilon" else 1e-3
            out.write(node(where + "/batchnorm", "BatchNormWithGlobalNormalization", [where + "/Conv2D"],
                           variance_epsilon=b"\x25" + struct.pack("<f", epsilon),
                           scale_after_normalization=b"\x28" + (b"\0" if change == "unscaled" else b"\1")))
    out.write(message(4, b"\x08\x08"))


def main():
    shapes, kind, path = sys.argv[1:4]
    tensors = {name: formula(name, shape) for name, shape in json.load(open(shapes)).items()}
    with open(path, "wb") as out:
        if sys.argv[4:] == ["ones"]:
            tensors.update({name: np.ones_like(t) for name, t in tensors.items() if name.endswith(".bn.weight")})
        if kind == "pb":
            write_pb(tensors, out, *sys.argv[4:])
        else:
            {"safetensors": write_safetensors, "legacy": write_legacy, "zip": write_zip}[kind](tensors, out)


if __name__ == "__main__":
    main()
