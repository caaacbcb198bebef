"P2's augmentation by the library that P2 used; it needs NumPy 1, so in an environment of its own."

import json
import sys

import imgaug.augmenters as iaa
import numpy as np

ranges, n, size = json.loads(sys.argv[1])
pictures = np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype='uint8')


def both(r):
    return dict(x=tuple(r), y=tuple(r))


affine = ranges['affine']
change = iaa.Sequential(
    [
        iaa.Fliplr(ranges['flip']['p']),
        iaa.Sometimes(ranges['blur']['p'], iaa.GaussianBlur(tuple(ranges['blur']['sigma']))),
        iaa.LinearContrast(tuple(ranges['contrast']['factor'])),
        iaa.AdditiveGaussianNoise(
            scale=tuple(255 * v for v in ranges['noise']['scale']),
            per_channel=ranges['noise']['per_channel'],
        ),
        iaa.Multiply(
            tuple(ranges['multiply']['factor']), per_channel=ranges['multiply']['per_channel']
        ),
        iaa.Affine(
            scale=both(affine['scale']),
            translate_percent=both(affine['translate']),
            rotate=tuple(affine['rotate']),
            shear=tuple(affine['shear']),
        ),
    ]
)
for _ in sys.stdin:
    for picture in pictures:
        change(image=picture)
    print('done', flush=True)
