"""pickles.py - networks as other programs save them, and files that only pretend to be, written opcode by opcode: no pickle module and
no PyTorch take part, so that what the reader accepts is a layout and not what one version of a library happens to write.

    pickles.py nvidia FILE OUT [protocol=2..5] [storage=inline|zip|numpy] [clamp=X] [rate=X] [architecture=NAME]
    pickles.py rosinality FILE OUT [layout=zip|legacy] [average=yes|no] [noise=yes|no]
    pickles.py hostile FOLDER            one file for each trick
    pickles.py tensors FILE              prints "NAME SHAPE SHA-256" of each float32 tensor of a safetensors or .npz file, by name

FILE is a safetensors file with the tensors of G (or G_ema) and D. .pkl: the dictionary of stylegan2-ada-pytorch with modules recorded
by torch_utils.persistence. .pt: torch.save of {"g", "d", "g_ema", "args", ...} with rosinality's names and shapes.
"""
import hashlib
import io
import json
import struct
import sys
import zipfile

import numpy as np


def load(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop('__metadata__', None)
    kinds = {'F32': '<f4', 'F16': '<f2', 'F64': '<f8', 'I64': '<i8', 'U64': '<u8'}
    return {k: np.frombuffer(data, kinds[t['dtype']], int(np.prod(t['shape'])), 8 + n + t['data_offsets'][0]).reshape(t['shape'])
            for k, t in header.items() if t['dtype'] in kinds}


# ---- a pickle, opcode by opcode ----

class Name:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """function(*args), then items set and a state given to the result; new: NEWOBJ instead of REDUCE"""
    def __init__(self, function, args=(), items=None, state=None, new=False):
        self.function, self.args, self.items, self.state, self.new = function, args, items, state, new


class Persistent:
    def __init__(self, value):
        self.value = value


class Pickle:
    def __init__(self, protocol):
        self.protocol, self.out, self.memo = protocol, bytearray(), {}
        self.count = 0

    def remember(self, key=None):
        if key is not None:
            self.memo[key] = self.count
        if self.protocol >= 4:
            self.out += b'\x94'
        else:
            self.out += b'q%c' % self.count if self.count < 256 else b'r' + struct.pack('<I', self.count)
        self.count += 1

    def recall(self, key):
        n = self.memo[key]
        self.out += b'h%c' % n if n < 256 else b'j' + struct.pack('<I', n)

    def text(self, s):
        if ('t', s) in self.memo:
            return self.recall(('t', s))
        b = s.encode()
        short = self.protocol >= 4 and len(b) < 256
        self.out += (b'\x8c%c' % len(b) if short else b'X' + struct.pack('<I', len(b))) + b
        self.remember(('t', s))

    def bytes(self, b):
        if self.protocol == 2:
            return self.put(Call(Name('_codecs', 'encode'), (b.decode('latin1'), 'latin1')))
        self.out += (b'C%c' % len(b) if len(b) < 256 else b'B' + struct.pack('<I', len(b))) + b
        self.remember()

    def name(self, n):
        module = '__builtin__' if n.module == 'builtins' and self.protocol < 3 else n.module
        if ('n', module, n.name) in self.memo:
            return self.recall(('n', module, n.name))
        if self.protocol >= 4:
            self.text(module)
            self.text(n.name)
            self.out += b'\x93'
        else:
            self.out += b'c%s\n%s\n' % (module.encode(), n.name.encode())
        self.remember(('n', module, n.name))

    def items(self, pairs):
        if pairs:
            self.out += b'('
            for k, v in pairs:
                self.put(k)
                self.put(v)
            self.out += b'u'

    def put(self, v):
        if v is None or v is True or v is False:
            self.out += {None: b'N', True: b'\x88', False: b'\x89'}[v]
        elif isinstance(v, int):
            self.out += b'K%c' % v if 0 <= v < 256 else b'M' + struct.pack('<H', v) if 0 <= v < 65536 else (
                b'J' + struct.pack('<i', v) if abs(v) < 2**31 else b'\x8a\x08' + struct.pack('<q', v))
        elif isinstance(v, float):
            self.out += b'G' + struct.pack('>d', v)
        elif isinstance(v, str):
            self.text(v)
        elif isinstance(v, bytes):
            self.bytes(v)
        elif isinstance(v, bytearray):
            self.out += b'\x96' + struct.pack('<Q', len(v)) + v
            self.remember()
        elif isinstance(v, tuple):
            if len(v) > 3:
                self.out += b'('
            for x in v:
                self.put(x)
            self.out += b')\x85\x86\x87t'[min(len(v), 4):][:1]
            if v:
                self.remember()
        elif isinstance(v, list):
            self.out += b']'
            self.remember()
            if v:
                self.out += b'('
                for x in v:
                    self.put(x)
                self.out += b'e'
        elif isinstance(v, set):
            if self.protocol < 4:
                return self.put(Call(Name('builtins', 'set'), (sorted(v),)))
            self.out += b'\x8f'
            self.remember()
            if v:
                self.out += b'('
                for x in sorted(v):
                    self.put(x)
                self.out += b'\x90'
        elif isinstance(v, dict):
            self.out += b'}'
            self.remember()
            self.items(list(v.items()))
        elif isinstance(v, Name):
            self.name(v)
        elif isinstance(v, Call):
            self.name(v.function)
            self.put(v.args)
            self.out += b'\x81' if v.new else b'R'
            self.remember()
            self.items(list((v.items or {}).items()))
            if v.state is not None:
                self.put(v.state)
                self.out += b'b'
        elif isinstance(v, Persistent):
            self.put(v.value)
            self.out += b'Q'
        else:
            raise TypeError(type(v))

    def dump(self, v):
        self.put(v)
        body = bytes(self.out) + b'.'
        frame = b'\x95' + struct.pack('<Q', len(body)) if self.protocol >= 4 else b''
        return b'\x80%c' % self.protocol + frame + body


def ordered(pairs=()):
    return Call(Name('collections', 'OrderedDict'), (), dict(pairs))


def easy(**pairs):
    return Call(Name('dnnlib.util', 'EasyDict'), (), pairs, new=True)


# ---- torch.save ----

PREAMBLE = b'\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.' + Pickle(2).dump(
    {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {'short': 2, 'int': 4, 'long': 4}})


def storage(key, count, old=True):
    """old: the legacy layout, which adds that this is no view of another storage"""
    return Persistent(('storage', Name('torch', 'FloatStorage'), key, 'cpu', count) + ((None,) if old else ()))


def legacy(value, data):
    """data: {key: array}"""
    keys = list(data)
    out = PREAMBLE + Pickle(2).dump(value) + Pickle(2).dump(keys)
    return out + b''.join(struct.pack('<q', data[k].size) + data[k].astype('<f4').tobytes() for k in keys)


def zipped(value, data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_STORED) as z:
        z.writestr(zipfile.ZipInfo('archive/data.pkl'), Pickle(2).dump(value))
        for k, a in data.items():
            z.writestr(zipfile.ZipInfo('archive/data/' + k), a.astype('<f4').tobytes())
        z.writestr(zipfile.ZipInfo('archive/version'), '3\n')
    return out.getvalue()


def strides(shape):
    return tuple(int(np.prod(shape[i + 1:])) for i in range(len(shape)))


def tensor(storage_value, shape):
    return Call(Name('torch._utils', '_rebuild_tensor_v2'), (storage_value, 0, tuple(shape), strides(shape), False, ordered()))


# ---- NVIDIA's modules ----

def numpy_type(name):
    return Call(Name('numpy', 'dtype'), (name, False, True), state=(3, '<', None, None, None, -1, -1, 0))


def numpy_float(x):
    return Call(Name('numpy.core.multiarray', 'scalar'), (numpy_type('f8'), struct.pack('<d', x)))


class Nvidia:
    def __init__(self, protocol, how, clamp, rate, architecture):
        self.protocol, self.how, self.clamp, self.rate, self.architecture = protocol, how, clamp, rate, architecture

    def tensor(self, a, parameter):
        a = np.ascontiguousarray(a)
        if self.how == 'numpy' and self.protocol == 5:
            return Call(Name('numpy.core.numeric', '_frombuffer'), (bytearray(a.tobytes()), numpy_type('f4'), a.shape, 'C'))
        if self.how == 'numpy':
            fortran = a.ndim == 2
            return Call(Name('numpy.core.multiarray', '_reconstruct'), (Name('numpy', 'ndarray'), (0,), b'b'),
                        state=(1, a.shape, numpy_type('f4'), fortran, (a.T if fortran else a).tobytes()))
        inside = (zipped if self.how == 'zip' else legacy)(storage('0', a.size, self.how != 'zip'), {'0': a})
        t = tensor(Call(Name('torch.storage', '_load_from_bytes'), (inside,)), a.shape)
        return Call(Name('torch._utils', '_rebuild_parameter'), (t, True, ordered())) if parameter else t

    def module(self, kind, tensors, path=''):
        """tensors: {name below this module: array}"""
        children, parameters, buffers = {}, {}, {}
        for name, a in tensors.items():
            head, _, rest = name.partition('.')
            if rest:
                children.setdefault(head, {})[rest] = a
            elif head in ('noise_const', 'resample_filter', 'w_avg'):
                buffers[head] = a
            else:
                parameters[head] = a.reshape(()) if head == 'noise_strength' else a
        state = {'_init_args': (), '_init_kwargs': easy(synthesis_kwargs=easy(num_fp16_res=0)), 'training': False,
                 '_parameters': ordered((k, self.tensor(a, True)) for k, a in parameters.items()),
                 '_buffers': ordered([(k, self.tensor(a, False)) for k, a in buffers.items()] + [('absent', None)]),
                 '_non_persistent_buffers_set': set(), '_backward_hooks': ordered(), '_is_full_backward_hook': None,
                 '_modules': ordered((k, self.module('Part', v, k)) for k, v in children.items())}
        if path.startswith('conv') or path == 'torgb':
            state.update(conv_clamp=self.clamp, activation='lrelu', act_gain=numpy_float(2 ** 0.5))
        if path.startswith('fc'):
            state.update(activation='lrelu', bias_gain=self.rate, weight_gain=numpy_float(0.01))
        if path.startswith('b'):
            state.update(architecture=self.architecture, num_conv=2)
        return Call(Name('torch_utils.persistence', '_reconstruct_persistent_obj'), (
            {'type': 'class', 'version': 6, 'module_src': 'import os\nos.system("true")\n', 'class_name': kind, 'state': state},))


def nvidia(tensors, options):
    v = Nvidia(int(options.get('protocol', 4)), options.get('storage', 'inline'), float(options['clamp']) if 'clamp' in options else None,
               float(options.get('rate', 0.01)), options.get('architecture', 'skip'))
    prefix = 'G_ema.' if any(k.startswith('G_ema.') for k in tensors) else 'G.'
    g = {k[len(prefix):]: a for k, a in tensors.items() if k.startswith(prefix)}
    d = {k[2:]: a for k, a in tensors.items() if k.startswith('D.')}
    snapshot = {'training_set_kwargs': easy(path='faces.zip', use_labels=False), 'G': v.module('Generator', g)}
    if d:
        snapshot['D'] = v.module('Discriminator', d)
    snapshot['G_ema'] = v.module('Generator', g)
    snapshot['augment_pipe'] = None
    return Pickle(v.protocol).dump(snapshot)


# ---- rosinality's names ----

def rosinality(tensors, options):
    prefix = 'G_ema.' if any(k.startswith('G_ema.') for k in tensors) else 'G.'
    g = {k[len(prefix):]: a for k, a in tensors.items() if k.startswith(prefix)}
    d = {k[2:]: a for k, a in tensors.items() if k.startswith('D.')}
    sizes = sorted({int(k.split('.')[1][1:]) for k in g if k.startswith('synthesis.')})
    out = {'input.input': g['synthesis.b4.const'][None]}
    for k, a in g.items():
        part = k.split('.')
        if part[:2] == ['mapping', 'w_avg']:
            continue
        if part[0] == 'mapping':
            out['style.%d.%s' % (int(part[1][2:]) + 1, part[2])] = a
            continue
        level = sizes.index(int(part[1][1:])) - 1
        if part[2] == 'torgb':
            where = 'to_rgbs.%d' % level if level >= 0 else 'to_rgb1'
        else:
            where = 'convs.%d' % (2 * level + (part[2] == 'conv1')) if level >= 0 else 'conv1'
        what = '.'.join(part[3:])
        if what == 'weight':
            out[where + '.conv.weight'] = a[None]
        elif part[2] == 'torgb' and what == 'bias':
            out[where + '.bias'] = a[None, :, None, None]
        elif what == 'bias':
            out[where + '.activate.bias'] = a
        elif what == 'noise_strength':
            out[where + '.noise.weight'] = a.reshape(1)
        elif what.startswith('affine'):
            out[where + '.conv.modulation.' + part[4]] = a
        elif what == 'noise_const' and options.get('noise') != 'no':
            out['noises.noise_%d' % (2 * level + (part[2] == 'conv1') + 1 if level >= 0 else 0)] = a[None, None]
        elif part[2] == 'resample_filter' and level >= 0:
            out['to_rgbs.%d.upsample.kernel' % level] = a * 4
        elif part[2:] == ['conv0', 'resample_filter']:
            out[where + '.conv.blur.kernel'] = a * 4
    critic = {}
    for k, a in d.items():
        part = k.split('.')
        if part[0] == 'b4':
            layer = {'conv': 'final_conv.%d' % (part[-1] == 'bias'), 'fc': 'final_linear.0', 'out': 'final_linear.1'}[part[1]]
            if part[-1] != 'resample_filter':
                critic[layer + '.' + part[-1]] = a
            continue
        n = len(sizes) - sizes.index(int(part[0][1:]))
        if part[-1] == 'resample_filter':
            if part[1] in ('conv1', 'skip') and len(part) == 3:
                critic['convs.%d.%s.0.kernel' % (n, 'conv2' if part[1] == 'conv1' else 'skip')] = a
        elif part[1] == 'fromrgb':
            critic['convs.0.%d.%s' % (part[2] == 'bias', part[2])] = a
        else:
            first, weight = {'conv0': ('conv1', 0), 'conv1': ('conv2', 1), 'skip': ('skip', 1)}[part[1]]
            critic['convs.%d.%s.%d.%s' % (n, first, weight + (part[2] == 'bias'), part[2])] = a
    data = {}

    def saved(a):
        key = str(len(data))
        data[key] = np.ascontiguousarray(a)
        return tensor(storage(key, a.size, options.get('layout') == 'legacy'), a.shape)

    value = {'g': ordered((k, saved(a)) for k, a in out.items()), 'd': ordered((k, saved(a)) for k, a in critic.items()),
             'g_ema': ordered((k, saved(a)) for k, a in out.items()),
             'g_optim': {'state': {0: {'step': 3, 'exp_avg': saved(np.zeros(4))}}, 'param_groups': [{'lr': 0.002, 'betas': (0.0, 0.99)}]},
             'args': Call(Name('argparse', 'Namespace'), (), state={'path': 'faces.lmdb', 'size': sizes[-1], 'mixing': 0.9}, new=True),
             'ada_aug_p': 0.25}
    if options.get('average') == 'yes':
        value['latent_avg'] = saved(g['mapping.w_avg'])
    return (legacy if options.get('layout') == 'legacy' else zipped)(value, data)


# ---- files that mean harm or nonsense ----

def hostile():
    def legacy_of(pickle):
        return PREAMBLE + pickle + b'\x80\x02].'

    def in_zip(pickle):
        out = io.BytesIO()
        with zipfile.ZipFile(out, 'w', zipfile.ZIP_STORED) as z:
            z.writestr(zipfile.ZipInfo('archive/data.pkl'), pickle)
        return out.getvalue()

    system = b'cos\nsystem\nX\4\0\0\0true\x85R.'
    yield 'system.pkl', b'\x80\x02' + system
    yield 'system-stack-global.pkl', b'\x80\x04\x8c\2os\x8c\6system\x93\x8c\4true\x85R.'
    yield 'system.pth', legacy_of(b'\x80\x02' + system)
    yield 'system.pt', in_zip(b'\x80\x02' + system)
    yield 'eval.pkl', b'\x80\x03cbuiltins\neval\nX\3\0\0\0' + b'1+1\x85R.'
    yield 'getattr.pkl', b'\x80\x03cbuiltins\ngetattr\ncos\nX\6\0\0\0system\x86R.'
    yield 'load-in-load.pkl', Pickle(3).dump(Call(Name('torch.storage', '_load_from_bytes'), (legacy(
        Call(Name('torch.storage', '_load_from_bytes'), (b'x' * 20,)), {}),)))
    yield 'class-with-code.pkl', Pickle(4).dump({'G_ema': Call(Name('torch_utils.persistence', '_reconstruct_persistent_obj'), (
        {'type': 'class', 'version': 6, 'class_name': 'Generator', 'module_src': '', 'state': Call(Name('os', 'system'), ('true',))},))})
    yield 'tensorflow.pkl', b'\x80\x03cdnnlib.tflib.network\nNetwork\n)\x81}b.'
    yield 'inst.pkl', b"\x80\x02(S'true'\nios\nsystem\n."
    yield 'obj.pkl', b'\x80\x02(cos\nsystem\nX\4\0\0\0trueo.'
    yield 'ext.pkl', b'\x80\x02\x82\x01)R.'
    bomb = b'\x80\x02]q\0' + b''.join(b'](' + b'h%c' % i * 16 + b'eq%c' % (i + 1) for i in range(64)) + b'.'
    yield 'memo-bomb.pkl', bomb
    yield 'memo-bomb.pt', in_zip(bomb)
    wide = b'\x80\x02]q\0(' + b'N' * 400000 + b'e0](' + b'h\0' * 400000 + b'e.' # each of many items is one long list
    yield 'wide-bomb.pkl', wide
    yield 'recursive-list.pkl', b'\x80\x02]q\0h\0a.'
    yield 'recursive-dict.pkl', b'\x80\x02}q\0X\1\0\0\0ah\0s.'
    state = b'}q\1X\x08\0\0\0_modulesh\1s'
    yield 'recursive-module.pkl', (b'\x80\x02}X\1\0\0\0Gctorch_utils.persistence\n_reconstruct_persistent_obj\n}(X\x0a\0\0\0class_name'
                                   b'X\1\0\0\0xX\5\0\0\0state' + state + b'u\x85Rs.')
    yield 'values.pkl', b'\x80\x02' + b'K\x01' * 3000000 + b'.'
    yield 'marks.pkl', b'\x80\x02' + b'(' * 3000000 + b'.'
    yield 'dup.pkl', b'\x80\x02](' + b'N' + b'2' * 3000000 + b'e.'
    yield 'tuples.pkl', b'\x80\x02N' + b'\x85' * 3000000 + b'.'
    tensor_once = (b'\x80\x03ctorch._utils\n_rebuild_tensor_v2\nq\1(ctorch.storage\n_load_from_bytes\nB' +
                   (lambda b: struct.pack('<I', len(b)) + b)(legacy(storage('0', 4), {'0': np.zeros(4)})) +
                   b'\x85RK\0)))tq\2R0')
    yield 'tensors.pkl', tensor_once + b'](' + b'h\1h\2R' * 600000 + b'e.'
    text = b'\x80\x02c_codecs\nencode\nq\1X' + struct.pack('<I', 1 << 20) + b'a' * (1 << 20) + b'q\2X\6\0\0\0latin1q\3'
    yield 'encode-bomb.pkl', text + b'h\1h\2h\3\x86R0' * 100000 + b'.'
    blob = legacy(storage('0', 1 << 18), {'0': np.zeros(1 << 18)})
    yield 'blob-bomb.pkl', (b'\x80\x03ctorch.storage\n_load_from_bytes\nq\1B' + struct.pack('<I', len(blob)) + blob + b'q\2' +
                            b'0h\1h\2\x85R' * 100000 + b'.')
    big = b'\x80\x02}q\1(' + b''.join(b'K\1N' for _ in range(300000)) + b'u0ctorch_utils.persistence\n_reconstruct_persistent_obj\nq\2'
    yield 'module-scan-bomb.pkl', big + b'0h\2h\1\x85R' * 200000 + b'.'
    key = b"\x80\x02(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0kX\3\0\0\0cpuK\1tq\1Q"
    yield 'storage-bomb.pkl', key + b'0h\1Q' * 900000 + b'.'
    for op, what in ((b'X', '4'), (b'T', '4'), (b'B', '4')):
        yield 'length-%s-%s.pkl' % (op.decode(), what), b'\x80\x02' + op + b'\xff\xff\xff\x7f' + b'x' * 20
    for op in (0x8d, 0x8e, 0x96):
        yield 'length-%x.pkl' % op, b'\x80\x04' + bytes([op]) + struct.pack('<Q', 1 << 60) + b'x' * 20
    yield 'frame.pkl', b'\x80\x04\x95' + struct.pack('<Q', 1 << 60) + b'X' * 20
    yield 'long4.pkl', b'\x80\x02\x8b\xff\xff\xff\x7f' + b'x' * 20
    yield 'huge-storage.pkl', Pickle(3).dump({'w': tensor(storage('0', 1 << 60), (1 << 30, 1 << 30))})
    yield 'huge-view.pkl', Pickle(3).dump({'w': Call(Name('torch._utils', '_rebuild_tensor_v2'), (
        Call(Name('torch.storage', '_load_from_bytes'), (legacy(storage('0', 4), {'0': np.zeros(4)}),)), 0, (1 << 30, 1 << 30), (0, 0)))})
    yield 'huge-array.pkl', Pickle(3).dump({'w': Call(Name('numpy.core.multiarray', '_reconstruct'), (Name('numpy', 'ndarray'), (0,), b'b'),
                                                      state=(1, (1 << 30, 1 << 30, 1 << 30), numpy_type('f4'), True, b'abcd'))})
    yield 'object-array.pkl', Pickle(3).dump({'w': Call(Name('numpy.core.multiarray', '_reconstruct'), (Name('numpy', 'ndarray'), (0,), b'b'),
                                                        state=(1, (1,), numpy_type('O8'), False, [None]))})
    yield 'empty.pkl', b'\x80\x03N.' + bytes(20)
    yield 'zeros.pkl', b'\x80\x04' + bytes(100)


def main():
    command, source = sys.argv[1:3]
    options = dict(a.split('=', 1) for a in sys.argv[4:])
    if command == 'hostile':
        for name, data in hostile():
            with open(source + '/' + name, 'wb') as f:
                f.write(data.ljust(24, b'.')) # what is shorter is no pickle at all
    elif command == 'tensors':
        tensors = load(source) if source.endswith('.safetensors') else np.load(source)
        for k in sorted(tensors):
            a = np.ascontiguousarray(tensors[k])
            print(k, a.dtype, ','.join(map(str, a.shape)), hashlib.sha256(a.tobytes()).hexdigest())
    else:
        data = (nvidia if command == 'nvidia' else rosinality)(load(source), options)
        with open(sys.argv[3], 'wb') as f:
            f.write(data)


if __name__ == '__main__':
    main()
