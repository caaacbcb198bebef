"""P2's augmentation, in batches on tensors against the same operations image by image (NumPy and
SciPy, as imgaug works; and the batch code itself with one image at a time).

    python tests/bench/augment.py --out results/augment.csv

Pictures are noise of 224×224 pixels: what is in them does not matter for the time. The ways take
turns of some seconds, the first to warm up; medians of five turns. `--cpu-seconds` counts the
processor's seconds on one thread, for a machine that has other work to do. `--imgaug PYTHON` adds
the library that P2 used, on bytes with OpenCV; it needs NumPy 1, so it is asked in an environment
of its own (`pip install imgaug "numpy<2"`).
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from leukocls.core.machine import versions
from leukocls.train.augment import P2_OPERATIONS as O, augment_p2

ap = argparse.ArgumentParser()
ap.add_argument('--out', required=True)
ap.add_argument('--bs', type=int, default=32)
ap.add_argument('--size', type=int, default=224)
ap.add_argument('--device', default='cpu')
ap.add_argument('--seconds', type=float, default=2.0, help='length of a turn')
ap.add_argument(
    '--cpu-seconds',
    action='store_true',
    help='count processor seconds on one thread: what a machine with other work allows',
)
ap.add_argument('--imgaug', help='a Python that has imgaug')
a = ap.parse_args()
if a.cpu_seconds and a.imgaug:
    raise SystemExit('--cpu-seconds counts this process only: leave --imgaug out.')
if a.cpu_seconds:
    torch.set_num_threads(1)
clock = time.process_time if a.cpu_seconds else time.perf_counter
rng = np.random.default_rng(0)


def between(r, *s):
    return rng.uniform(*r, *s) if s else rng.uniform(*r)


def one(x):
    """The six operations on one picture (H, W, 3), values 0 to 1, as a loop over images would do
    them.
    """
    if rng.random() < O['flip']['p']:
        x = x[:, ::-1]
    if rng.random() < O['blur']['p']:
        s = between(O['blur']['sigma'])
        x = ndimage.gaussian_filter(x, (s, s, 0), mode='mirror')
    x = np.clip((x - 127 / 255) * np.float32(between(O['contrast']['factor'])) + 127 / 255, 0, 1)
    own = rng.random() < O['noise']['per_channel']
    x = np.clip(
        x
        + np.float32(between(O['noise']['scale']))
        * rng.standard_normal((*x.shape[:2], 3 if own else 1), dtype='float32'),
        0,
        1,
    )
    own = rng.random() < O['multiply']['per_channel']
    x = np.clip(x * rng.uniform(*O['multiply']['factor'], 3 if own else 1).astype('float32'), 0, 1)
    f = O['affine']
    t, h = np.deg2rad(between(f['rotate'])), np.deg2rad(between(f['shear']))
    m = np.linalg.inv(
        np.array([[np.cos(t), -np.sin(t + h)], [np.sin(t), np.cos(t + h)]])
        @ np.diag(rng.uniform(*f['scale'], 2))
    )[::-1, ::-1]
    middle = (np.array(x.shape[:2]) - 1) / 2
    shift = middle - m @ (middle + rng.uniform(*f['translate'], 2) * x.shape[:2])
    return np.stack([ndimage.affine_transform(x[..., c], m, shift, order=1) for c in range(3)], -1)


def rates_of(ways, turns=5):
    """Images/s of each way, in turns, so that what else the machine does meets all of them:
    (medians, and of the share of the first in each turn).
    """
    found = {k: [] for k in ways}
    for _ in range(turns + 1):  # the first warms up
        for k, (work, n) in ways.items():
            done, began = 0, clock()
            while clock() - began < a.seconds:
                work()
                done += n
            if a.device != 'cpu':
                torch.cuda.synchronize()
            found[k].append(done / (clock() - began))
    first = next(iter(found.values()))
    return {k: statistics.median(v[1:]) for k, v in found.items()}, {
        k: statistics.median(f / w for f, w in zip(first[1:], v[1:])) for k, v in found.items()
    }


IMGAUG = Path(__file__).parent / 'processes' / 'imgaug_p2.py'


def imgaug(python):
    """A process with imgaug that makes pictures one at a time, as often as it is asked to; and what
    asks it.
    """
    p = subprocess.Popen(
        [python, '-W', 'ignore', str(IMGAUG), json.dumps([O, a.bs, a.size])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask():
        p.stdin.write('\n')
        p.stdin.flush()
        assert p.stdout.readline() == 'done\n'

    return ask


x = torch.rand(a.bs, 3, a.size, a.size, device=a.device)
pictures = [np.ascontiguousarray(p) for p in x.cpu().permute(0, 2, 3, 1).numpy()]


def batch():
    augment_p2(x)
    if a.device != 'cpu':
        torch.cuda.synchronize()


ways = {
    'a batch on tensors': (batch, a.bs),
    'image by image, NumPy and SciPy': (lambda: [one(p) for p in pictures], a.bs),
    'image by image, the same tensor code': (lambda: [augment_p2(p[None]) for p in x], a.bs),
}
ways |= {'image by image, imgaug on bytes': (imgaug(a.imgaug), a.bs)} if a.imgaug else {}
rates, faster = rates_of(ways)
rows = [
    dict(
        way=k,
        images_per_second=round(v, 1),
        batch_is_faster=round(faster[k], 2),
        bs=a.bs,
        size=a.size,
        device=a.device if a.device == 'cpu' else torch.cuda.get_device_name(),
        clock='processor seconds, one thread' if a.cpu_seconds else 'wall',
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=versions()['torch'],
        command=f'python tests/bench/augment.py --out {a.out}'
        + (f' --device {a.device}' if a.device != 'cpu' else '')
        + ' --cpu-seconds' * a.cpu_seconds
        + (f' --bs {a.bs}' if a.bs != 32 else '')
        + (f' --seconds {a.seconds:g}' if a.seconds != 2 else '')
        + ' --imgaug PYTHON' * bool(a.imgaug),
    )
    for k, v in rates.items()
]
pd.DataFrame(rows).to_csv(a.out, index=False, lineterminator='\n')
print(pd.DataFrame(rows).iloc[:, :3].to_string())
