#!/usr/bin/python3
"""Makes tests/fuzz/corpus: one small input of every kind each target reads. The files are committed; run this after adding a kind.

    tests/fuzz/make_corpus.py [FOLDER]
"""
import gzip
import io
import json
import os
import struct
import sys
import tarfile

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'programs'))
import pickles

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus')


def put(target, name, data):
    folder = os.path.join(ROOT, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), 'wb') as f:
        f.write(data)


def saved(im, kind, **options):
    out = io.BytesIO()
    im.save(out, kind, **options)
    return out.getvalue()


def images():
    rng = np.random.RandomState(1)
    rgba = Image.fromarray(rng.randint(0, 256, (3, 4, 4)).astype('u1'), 'RGBA').resize((29, 19), Image.BICUBIC)
    rgb, grey = rgba.convert('RGB'), rgba.convert('L')
    exif = rgb.getexif()
    exif[0x0112] = 6
    palette = rgb.quantize(7)
    deep = Image.frombytes('I;16', (8, 8), rng.randint(0, 65536, 64).astype('<u2').tobytes())
    for name, data in {
            'rgb.jpg': saved(rgb, 'JPEG', quality=70), 'grey.jpg': saved(grey, 'JPEG'),
            'progressive.jpg': saved(rgb, 'JPEG', progressive=True, quality=60), 'cmyk.jpg': saved(rgb.convert('CMYK'), 'JPEG'),
            'exif.jpg': saved(rgb, 'JPEG', exif=exif), 'restart.jpg': saved(rgb, 'JPEG', quality=50, subsampling=0),
            'rgb.png': saved(rgb, 'PNG'), 'rgba.png': saved(rgba, 'PNG'), 'la.png': saved(rgba.convert('LA'), 'PNG'),
            'palette.png': saved(palette, 'PNG', transparency=2), 'bits.png': saved(grey.convert('1'), 'PNG'),
            '16.png': saved(deep, 'PNG'), 'exif.png': saved(rgb, 'PNG', exif=exif),
            'animated.png': saved(rgb, 'PNG', save_all=True, append_images=[rgb.rotate(180)]),
            'lossy.webp': saved(rgb, 'WEBP'), 'lossless.webp': saved(rgba, 'WEBP', lossless=True),
            'exif.webp': saved(rgb, 'WEBP', exif=exif),
            'animated.webp': saved(rgba, 'WEBP', save_all=True, append_images=[rgba.rotate(180)], duration=9),
            'p1.pbm': b'P1\n# bits\n3 2\n101\n0 1 0\n', 'p2.pgm': b'P2 2 2 15\n0 5 # comment\n10 15\n',
            'p3.ppm': b'P3 1 2 1000\n1 2 3\n1000 500 0\n', 'p4.pbm': b'P4 9 2\n\x80\x80\x7f\x00',
            'p5.pgm': b'P5 3 1 1023\n\x00\x01\x02\x03\x03\xff', 'p6.ppm': b'P6\n#x\n2 2\n255\n' + bytes(range(12)),
            'html.txt': b'<!DOCTYPE html><html><body>404</body></html>', 'gif.gif': b'GIF89a\1\0\1\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;',
    }.items():
        put('image', name, data)


def tar(members, form):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=form) as t:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, 'elsewhere'
                t.addfile(info)
            else:
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tars():
    ppm = b'P6 2 2 255\n' + bytes(range(12))
    plain = [('00000.ppm', ppm), ('00000.json', b'{"source":"x","steps":[],"n":1e300}'), ('d.v1/00001.ppm', ppm), ('d.v1/00001.cls', b'3')]
    odd = [('x' * 120 + '/caf\u00e9.json', b'{}'), ('/abs.ppm', ppm), ('../up.ppm', ppm), ('a.ppm', None), ('b.json', b'[1]'), ('b.json', b'{}'),
           ('c', b'no suffix'), ('.hidden', b''), ('e.jpg', b'GIF89a'), ('f.tar.gz', b'')]
    ustar, pax, gnu = (tar(plain, f)[:7168] for f in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    put('tar', 'ustar.tar', ustar)
    put('tar', 'two.tar', ustar[:2048] + bytes(1024) + ustar[:2048] + bytes(1024))
    put('tar', 'pax.tar', tar(odd, tarfile.PAX_FORMAT).rstrip(b'\0') + bytes(2048))
    put('tar', 'gnu.tar', tar([o for o in odd if o[0] != '/abs.ppm'], tarfile.GNU_FORMAT).rstrip(b'\0') + bytes(2048))
    put('tar', 'cut.tar', ustar[:2048])
    put('tar', 'packed.tar.gz', gzip.compress(ustar, mtime=0))
    put('tar', 'empty.tar', bytes(1024))


def arrays():
    def npy(a):
        out = io.BytesIO()
        np.save(out, a)
        return out.getvalue()
    rng = np.random.RandomState(2)
    for i, a in enumerate([rng.randn(2, 8).astype('f4'), np.asfortranarray(rng.randn(3, 2)), rng.randn(4).astype('>f2'),
                           rng.randint(0, 9, (2, 3, 2)).astype('i8'), np.float32(3), np.zeros((0, 5), 'f4'), np.array([True])]):
        put('npy', '%d.npy' % i, npy(a))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}"
    put('npy', 'v2.npy', b'\x93NUMPY\2\0' + struct.pack('<I', len(header)) + header + bytes(16))
    put('npy', 'object.npy', npy(np.array([None], object)))


def others():
    for i, text in enumerate([b'0-9,85,100-120', b'18446744073709551615', b'-3', b'1e-3', b'.5', b'5-3,,', b'nan', 'caf\u00e9'.encode(), b'caf\xe9',
                              json.dumps({'source': 'x', 'steps': [{'tool': 'a'}], 'n': [1, -2.5e300, None, True]}).encode(), b'{"steps":3}']):
        put('jsonish', 'text-%d' % i, text)


def networks():
    """A generator of 8x8 grey pictures with two channels everywhere."""
    shapes = {'mapping.w_avg': [2], 'mapping.fc0.weight': [2, 2], 'mapping.fc0.bias': [2], 'synthesis.b4.const': [2, 4, 4]}
    for r, layers in ((4, ['conv1']), (8, ['conv0', 'conv1'])):
        b = 'synthesis.b%d.' % r
        shapes[b + 'resample_filter'] = [4, 4]
        for l in layers + ['torgb']:
            shapes[b + l + '.weight'] = [1, 2, 1, 1] if l == 'torgb' else [2, 2, 3, 3]
            shapes[b + l + '.bias'] = [1 if l == 'torgb' else 2]
            shapes[b + l + '.affine.weight'], shapes[b + l + '.affine.bias'] = [2, 2], [2]
            if l != 'torgb':
                shapes.update({b + l + '.noise_strength': [], b + l + '.noise_const': [r, r], b + l + '.resample_filter': [4, 4]})
    config = {'res': 8, 'img_channels': 1, 'z_dim': 2, 'w_dim': 2, 'channel_base': 16, 'channel_max': 2, 'map_layers': 1}
    for name, prefix, meta in (('ours', 'G_ema.', {'config': json.dumps(config), 'images': '12'}), ('bare', '', None)):
        header, at = ({'__metadata__': meta} if meta else {}), 0
        for k, shape in shapes.items():
            header[prefix + k] = {'dtype': 'F32', 'shape': shape, 'data_offsets': [at, at + 4 * int(np.prod(shape))]}
            at += 4 * int(np.prod(shape))
        text = json.dumps(header).encode()
        put('checkpoint', name, struct.pack('<Q', len(text)) + text + bytes(at))
    small = {'G_ema.' + k: np.zeros(shape, '<f4') for k, shape in shapes.items()}
    for name, data in (('nvidia-2.pkl', pickles.nvidia(small, {'protocol': '2', 'storage': 'numpy', 'clamp': '256'})),
                       ('nvidia-3.pkl', pickles.nvidia(small, {'protocol': '3', 'storage': 'inline'})),
                       ('nvidia-5.pkl', pickles.nvidia(small, {'protocol': '5', 'storage': 'numpy'})),
                       ('rosinality.pt', pickles.rosinality(small, {'average': 'yes'})),
                       ('rosinality-legacy.pt', pickles.rosinality(small, {'layout': 'legacy'}))):
        put('checkpoint', name, data)
    # for the unpickler by itself a file of two tensors does, in each way there is to write one
    few = {k: small[k] for k in ('G_ema.mapping.w_avg', 'G_ema.synthesis.b4.torgb.bias')}
    for protocol in (2, 3, 4, 5):
        for storage in ('inline', 'zip', 'numpy'):
            put('pickle', '%s-%d.pkl' % (storage, protocol), pickles.nvidia(few, {'protocol': protocol, 'storage': storage}))
    for name, data in pickles.hostile():
        if len(data) < 4096:
            put('pickle', 'hostile-' + name, data.ljust(24, b'.'))


def graphs():
    """Frozen TensorFlow graphs; field numbers as in common/store/graphdef.c."""
    def varint(n):
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

    def message(number, body):
        return varint(number << 3 | 2) + varint(len(body)) + body

    def node(name, op, **attrs):
        b = message(1, name) + message(2, op) + message(3, b'in')
        return message(1, b + b''.join(message(5, message(1, k.encode()) + message(2, v)) for k, v in attrs.items()))

    def value(dims, kind, field, data):
        shape = b''.join(message(2, b'\x08' + varint(d)) for d in dims)
        return message(8, b'\x08' + varint(kind) + message(2, shape) + (message(field, data) if field else data))
    six = np.arange(6).astype('<f4').tobytes()
    norm = node(b'c/bn', b'BatchNormWithGlobalNormalization', variance_epsilon=b'\x25' + six[4:8], scale_after_normalization=b'\x28\1')
    put('pb', 'two.pb', node(b'c/w', b'Const', dtype=b'\x30\1', value=value([1, 3, 2], 1, 4, six)) + norm +
        node(b'size', b'Const', value=value([2], 3, 4, six[:8])) + node(b'one', b'Const', value=value([], 1, 0, b'\x2d' + six[:4])) +
        message(4, b'\x08\x08'))
    put('pb', 'packed.pb', node(b'p', b'Const', value=value([6], 1, 5, six)) + node(b'repeated', b'Const', value=value([1 << 30], 1, 5, six[:4])) +
        node(b'unknown', b'Const', value=message(8, b'\x08\1' + message(2, b'\x18\1') + message(4, six))))
    put('pb', 'fixed64.pb', b'\x11' + bytes(8) + node(b'p', b'Const', value=value([6], 1, 4, six)) + message(2, b'library'))


images()
graphs()
networks()
tars()
arrays()
others()
