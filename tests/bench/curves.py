"""Faster, and the same? Validation loss of two fine-tuning epochs, leukocls against plain fastai,
three seeds, PBC sample.

    python tests/bench/curves.py --weights WEIGHTS --data pbc8_sample --out results/curves.csv
    python tests/bench/curves.py --arch efficientnet_b3 --weights none --images 320 \\
        --data pbc8_sample --out results/curves.csv

`--weights none` begins with random numbers, the same on both sides. Lines of other architectures
stay in the file.
"""

import argparse
import os
import tempfile

import pandas as pd
import torch
from fastai.vision.all import accuracy, set_seed
from said import command

from leukocls.cli.bench import Sides, random_weights
from leukocls.core.machine import cpu_has_bf16
from leukocls.train.callbacks import Bf16OnCpu, QuickLayers

ap = argparse.ArgumentParser()
ap.add_argument('--weights', required=True)
ap.add_argument('--data', required=True)
ap.add_argument('--out', required=True)
ap.add_argument('--arch', default='mobilenetv2_100')
ap.add_argument('--images', type=int, default=400)
a = ap.parse_args()
rows = (
    [r for r in pd.read_csv(a.out).to_dict('records') if r['arch'] != a.arch]
    if os.path.exists(a.out)
    else []
)
with tempfile.TemporaryDirectory() as d:
    torch.manual_seed(0)
    sides = Sides(
        a.data, a.arch, random_weights(a.arch, d) if a.weights == 'none' else a.weights, a.images
    )
    for seed in range(3):
        for name in ('fastai', 'leukocls'):
            set_seed(seed)
            learn = getattr(sides, 'fastai' if name == 'fastai' else 'ours')()
            learn.unfreeze()
            learn.metrics = [accuracy]
            set_seed(seed)
            bf16 = name == 'leukocls' and cpu_has_bf16()
            with learn.no_bar(), learn.no_logging():
                of_ours = [QuickLayers()] if name == 'leukocls' else []
                learn.fit_one_cycle(2, 1e-3, cbs=of_ours + ([Bf16OnCpu()] if bf16 else []))
            for epoch, v in enumerate(learn.recorder.values, 1):
                rows.append(
                    dict(
                        arch=a.arch,
                        weights='random' if a.weights == 'none' else 'ImageNet',
                        side=name,
                        precision='bf16' if bf16 else 'fp32',
                        seed=seed,
                        epoch=epoch,
                        train_loss=round(float(v[0]), 4),
                        valid_loss=round(float(v[1]), 4),
                        accuracy=round(float(v[2]), 4),
                        images=len(sides.files),
                        command=command(),
                    )
                )
                print(rows[-1], flush=True)
t = pd.DataFrame(rows)
t.to_csv(a.out, index=False, lineterminator='\n')
print(
    t.groupby(['arch', 'epoch', 'side'])[['train_loss', 'valid_loss', 'accuracy']]
    .agg(['mean', 'min', 'max'])
    .round(3)
    .to_string()
)
