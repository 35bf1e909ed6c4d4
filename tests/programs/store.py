"""store.py PATH SIDE COUNT [CLASSES [MODE]] - a store of smooth random pictures, written by Python's lmdb as the common StyleGAN2 loaders expect it."""
import io
import sys

import lmdb
import numpy as np
from PIL import Image

path, side, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
classes = int(sys.argv[4]) if len(sys.argv) > 4 else 0
mode = sys.argv[5] if len(sys.argv) > 5 else 'RGB'
rng = np.random.RandomState(5)
env = lmdb.open(path, map_size=1 << 26)
with env.begin(write=True) as t:
    for i in range(count):
        small = rng.randint(0, 256, (4, 4, 3)).astype('u1')
        picture = io.BytesIO()
        Image.fromarray(small).resize((side, side), Image.BICUBIC).convert(mode).save(picture, 'PNG')
        t.put(b'%d-%05d' % (side, i), picture.getvalue())
        if classes:
            t.put(b'label-%05d' % i, b'%d' % (i % classes))
    t.put(b'length', b'%d' % count)
env.close()
