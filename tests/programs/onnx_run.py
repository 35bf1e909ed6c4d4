"""onnx_run.py MODEL OUT.npy z=FILE.npy [class=K] [psi=X] [engine=numpy|onnxruntime] - runs an ONNX model and saves its result.

numpy: an interpreter of the operators that sg2-convert uses, and of no others, so that a test needs no runtime. It reads the file by
the wire format of protocol buffers alone and insists on what a runtime would: names defined before use, known operators, float32.
"""
import struct
import sys

import numpy as np


def fields(data):
    """(field, value) of each; value: int, float bytes, or bytes"""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = varint() if key & 7 == 2 else {1: 8, 5: 4}[key & 7]
            assert at + size <= len(data)
            yield key >> 3, data[at:at + size]
            at += size


def many(data, field):
    return [v for f, v in fields(data) if f == field]


def one(data, field, default=None):
    values = many(data, field)
    assert len(values) <= 1
    return values[0] if values else default


def tensor(data):
    dtype = {1: '<f4', 7: '<i8', 10: '<f2'}[one(data, 2)]
    return one(data, 8).decode(), np.frombuffer(one(data, 9, b''), dtype).reshape(many(data, 1))


def attribute(data):
    kind = one(data, 20)
    value = {1: lambda: struct.unpack('<f', one(data, 2))[0], 2: lambda: one(data, 3), 7: lambda: many(data, 8)}[kind]()
    return one(data, 1).decode(), value


def conv(x, w, pads=(0, 0, 0, 0), group=1):
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    n, c, h, wide = x.shape
    kh, kw = w.shape[2:]
    view = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3)) # n c oh ow kh kw
    if group == 1:
        return np.einsum('nchwij,ocij->nohw', view, w, optimize=True)
    assert group == c and w.shape[1] == 1
    return np.einsum('nchwij,cij->nchw', view, w[:, 0], optimize=True)


def conv_transpose(x, w, strides=(1, 1), pads=(0, 0, 0, 0), group=1):
    n, c, h, wide = x.shape
    kh, kw = w.shape[2:]
    sh, sw = strides
    out = np.zeros((n, w.shape[1] * group, (h - 1) * sh + kh, (wide - 1) * sw + kw), x.dtype)
    for i in range(kh):
        for j in range(kw):
            part = np.einsum('nchw,co->nohw', x, w[:, :, i, j], optimize=True) if group == 1 else x * w[None, :, 0, i, j, None, None]
            out[:, :, i:i + h * sh:sh, j:j + wide * sw:sw] += part
    return out[:, :, pads[0]:out.shape[2] - pads[2], pads[1]:out.shape[3] - pads[3]]


def one_hot(i, depth, values):
    out = np.full(i.shape + (int(depth),), values[0], 'f4')
    out[np.arange(i.size), i] = values[1]
    return out


def unsqueeze(x, axes):
    for a in sorted(int(a) for a in axes):
        x = np.expand_dims(x, a)
    return x


OPERATORS = {
    'Add': lambda a, b: a + b, 'Sub': lambda a, b: a - b, 'Mul': lambda a, b: a * b, 'MatMul': lambda a, b: a @ b,
    'Sqrt': np.sqrt, 'Reciprocal': lambda a: 1 / a, 'Identity': lambda a: a, 'Clip': np.clip, 'Unsqueeze': unsqueeze, 'OneHot': one_hot,
    'Cast': lambda a, to: a.astype({1: 'f4'}[to]), 'LeakyRelu': lambda a, alpha: np.where(a < 0, a * np.float32(alpha), a),
    'Concat': lambda *a, axis: np.concatenate(a, axis), 'ReduceMean': lambda a, axes, keepdims: a.mean(tuple(axes), keepdims=bool(keepdims)),
    'Gemm': lambda a, b, c, alpha, beta, transB: np.float32(alpha) * (a @ (b.T if transB else b)) + np.float32(beta) * c,
    'Conv': conv, 'ConvTranspose': conv_transpose}


def run(path, feed):
    model = open(path, 'rb').read()
    assert one(model, 1) == 8 and one(one(model, 8), 2) == 17, 'IR version 8, opset 17'
    graph = one(model, 7)
    values = dict(tensor(t) for t in many(graph, 5))
    for v in many(graph, 11):
        name = one(v, 1).decode()
        assert name not in values, name
        values[name] = feed.pop(name)
    assert not feed, feed
    for node in many(graph, 1):
        inputs, op = [n.decode() for n in many(node, 1)], one(node, 4).decode()
        result, output = OPERATORS[op](*(values[n] for n in inputs), **dict(attribute(a) for a in many(node, 5))), one(node, 2).decode()
        assert result.dtype == np.float32 and output not in values, (op, output, result.dtype)
        values[output] = result
    return values[one(one(graph, 12), 1).decode()]


def main():
    model, out = sys.argv[1:3]
    options = dict(a.split('=', 1) for a in sys.argv[3:])
    feed = {'z': np.load(options['z']).astype('f4')}
    if 'class' in options:
        feed['class'] = np.full(len(feed['z']), int(options['class']), 'i8')
    if 'psi' in options:
        feed['psi'] = np.array(float(options['psi']), 'f4')
    if options.get('engine') == 'onnxruntime':
        import onnxruntime
        image = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider']).run(None, feed)[0]
    else:
        image = run(model, feed)
    # as sg2-gen makes bytes of it, [N,H,W,C]
    np.save(out, np.clip(image * np.float32(127.5) + np.float32(128), 0, 255).astype('u1').transpose(0, 2, 3, 1))


if __name__ == '__main__':
    main()
