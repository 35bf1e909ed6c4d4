"""stylegan2.py - StyleGAN2's generator in NumPy, float64, from the equations of Karras et al. 2020: independent of the programs.

stylegan2.py check NETWORK...              does it give the numbers in the reference files?
stylegan2.py compare NETWORK FOLDER PSI CUTOFF NOISE CLASS SEED...
    are the pictures FOLDER/seedNNNN.png those of these seeds? Within 1 level on 99.9 % of the values, never more than 2."""
import json
import struct
import sys

import numpy as np


def read(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    meta = header.pop('__metadata__', {})
    out = {}
    for name, t in header.items():
        begin, end = t['data_offsets']
        out[name] = np.frombuffer(data[8 + n + begin:8 + n + end], {'F32': '<f4'}[t['dtype']]).reshape(t['shape']).astype(np.float64)
    return out, json.loads(meta['config'])


def normalise(x):
    return x / np.sqrt(np.mean(x ** 2, axis=1, keepdims=True) + 1e-8)


def lrelu(x):
    return np.where(x < 0, 0.2 * x, x) * np.sqrt(2)


def dense(t, name, x, lr=1.0):
    w = t[name + '.weight']
    return x @ w.T * (lr / np.sqrt(w.shape[1])) + t[name + '.bias'] * lr


def mapping(t, config, z, c):
    x = normalise(z)
    if config['c_dim']:
        x = np.concatenate([x, normalise(dense(t, 'mapping.embed', c))], axis=1)
    for i in range(config['map_layers']):
        x = lrelu(dense(t, 'mapping.fc%d' % i, x, 0.01))
    return x


def truncate(t, w, num_ws, psi, cutoff):
    ws = np.repeat(w[:, None], num_ws, axis=1)
    cut = num_ws if cutoff < 0 else cutoff
    ws[:, :cut] = t['mapping.w_avg'] + psi * (ws[:, :cut] - t['mapping.w_avg'])
    return ws


def correlate(x, w):
    """[N,I,H,W] with [N,O,I,k,k], nothing padded."""
    k = w.shape[-1]
    h, v = x.shape[2] - k + 1, x.shape[3] - k + 1
    return sum(np.einsum('nihw,noi->nohw', x[:, :, a:a + h, b:b + v], w[..., a, b]) for a in range(k) for b in range(k))


def spread(x, f, before, after):
    """Zeros between the pixels, then the filter f times 4; `before` and `after` zeros at the edges."""
    n, c, h, w = x.shape
    up = np.zeros((n, c, 2 * h, 2 * w))
    up[:, :, ::2, ::2] = x
    up = np.pad(up, ((0, 0), (0, 0), (before, after), (before, after)))
    h, w = up.shape[2] - 3, up.shape[3] - 3
    f = f[::-1, ::-1] * 4
    return sum(up[:, :, a:a + h, b:b + w] * f[a, b] for a in range(4) for b in range(4))


def modulated(t, name, x, w, demodulate, up):
    weight = t[name + '.weight']
    style = dense(t, name + '.affine', w)
    if not demodulate:
        style = style / np.sqrt(weight.shape[1])
    weight = weight[None] * style[:, None, :, None, None]
    if demodulate:
        weight = weight / np.sqrt(np.sum(weight ** 2, axis=(2, 3, 4), keepdims=True) + 1e-8)
    if up == 2:
        return correlate(spread(x, t[name + '.resample_filter'], 3, 2), weight[..., ::-1, ::-1])
    pad = weight.shape[-1] // 2
    return correlate(np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad))), weight)


def layer(t, name, x, w, up, noise):
    x = modulated(t, name, x, w, True, up)
    if noise:
        x = x + t[name + '.noise_const'] * t[name + '.noise_strength']
    return lrelu(x + t[name + '.bias'][:, None, None])


def synthesis(t, config, ws, noise):
    x = np.repeat(t['synthesis.b4.const'][None], len(ws), axis=0)
    x = layer(t, 'synthesis.b4.conv1', x, ws[:, 0], 1, noise)
    img = modulated(t, 'synthesis.b4.torgb', x, ws[:, 1], False, 1) + t['synthesis.b4.torgb.bias'][:, None, None]
    row, res = 1, 8
    while res <= config['res']:
        b = 'synthesis.b%d.' % res
        x = layer(t, b + 'conv0', x, ws[:, row], 2, noise)
        x = layer(t, b + 'conv1', x, ws[:, row + 1], 1, noise)
        rgb = modulated(t, b + 'torgb', x, ws[:, row + 2], False, 1) + t[b + 'torgb.bias'][:, None, None]
        img = spread(img, t[b + 'resample_filter'], 2, 1) + rgb
        row, res = row + 2, res * 2
    return img


def network(path):
    tensors, config = read(path)
    return tensors, {n[2:]: v for n, v in tensors.items() if n.startswith('G.')}, config


def check(path):
    tensors, t, config = network(path)
    num_ws = tensors['out.ws'].shape[1]
    w = mapping(t, config, tensors['in.z'], tensors['in.c'])
    got = {'out.ws': truncate(t, w, num_ws, 1, -1), 'out.ws_psi0.5': truncate(t, w, num_ws, 0.5, -1),
           'out.ws_psi0.7_cutoff2': truncate(t, w, num_ws, 0.7, 2)}
    got['out.img_noise_const'] = synthesis(t, config, got['out.ws'], True)
    got['out.img_noise_none'] = synthesis(t, config, got['out.ws'], False)
    got['out.img_noise_const_psi0.5'] = synthesis(t, config, got['out.ws_psi0.5'], True)
    for name, value in got.items():
        worst = np.abs(value - tensors[name]).max() / np.abs(tensors[name]).max()
        print('%s %s %.1e' % (path, name, worst))
        assert worst < 1e-5, name


def compare(path, folder, psi, cutoff, noise, label, seeds):
    from PIL import Image
    tensors, t, config = network(path)
    z = np.concatenate([np.random.RandomState(s).randn(1, config['z_dim']) for s in seeds])
    c = np.eye(config['c_dim'])[[label] * len(seeds)] if config['c_dim'] else None
    ws = truncate(t, mapping(t, config, z, c), tensors['out.ws'].shape[1], psi, cutoff)
    img = synthesis(t, config, ws, noise == 'const')
    want = np.floor(np.clip(img * 127.5 + 128, 0, 255)).astype(int).transpose(0, 2, 3, 1)
    got = np.stack([np.asarray(Image.open('%s/seed%04d.png' % (folder, s))) for s in seeds]).astype(int)
    off = np.abs(got - want)
    print('%d values: %d differ, by at most %d; %.0f %% are 0 or 255' % (off.size, (off > 0).sum(), off.max(),
                                                                       100 * np.mean((want == 0) | (want == 255))))
    assert got.std() > 20 and np.mean(off <= 1) >= 0.999 and off.max() <= 2


if sys.argv[1] == 'check':
    for p in sys.argv[2:]:
        check(p)
else:
    compare(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]), sys.argv[6], int(sys.argv[7]), [int(s) for s in sys.argv[8:]])
