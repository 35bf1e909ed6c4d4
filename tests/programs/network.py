"""network.py FILE - what plain Python sees in a network: prints each tensor's name, type and shape, then the metadata.
network.py FILE OUT PREFIX [CHANGE...] - writes OUT with the tensors of G_ema under another prefix and without metadata. CHANGE: drop=NAME
leaves a tensor out, shape=NAME lies about its shape, config=JSON puts a configuration into the metadata."""
import json
import struct
import sys


def read(path):
    data = open(path, 'rb').read()
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    meta = header.pop('__metadata__', {})
    size = {'F32': 4, 'F64': 8, 'I64': 8, 'U64': 8}
    tensors = {}
    for name, t in header.items():
        begin, end = t['data_offsets']
        count = 1
        for d in t['shape']:
            count *= d
        assert end - begin == count * size[t['dtype']], name
        tensors[name] = (t['dtype'], t['shape'], data[8 + n + begin:8 + n + end])
    return tensors, meta


def write(path, tensors, meta):
    header, at = ({'__metadata__': meta} if meta else {}), 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text + b''.join(t[2] for t in tensors.values()))


tensors, meta = read(sys.argv[1])
if len(sys.argv) == 2:
    for name, (dtype, shape, _) in sorted(tensors.items()):
        print(name, dtype, shape)
    print(json.dumps(meta))
else:
    out, prefix = sys.argv[2:4]
    chosen = {prefix + n[6:]: t for n, t in tensors.items() if n.startswith('G_ema.')}
    meta = {}
    for change in sys.argv[4:]:
        what, _, value = change.partition('=')
        if what == 'drop':
            del chosen[prefix + value]
        elif what == 'shape':
            dtype, shape, data = chosen[prefix + value]
            chosen[prefix + value] = (dtype, [shape[0] * 2] + shape[1:], data + data)
        elif what == 'config':
            meta['config'] = value
    write(out, chosen, meta)
