"""Faster, and the same? Validation loss of two fine-tuning epochs of MobileNetV2, leukocls against plain fastai, three seeds, PBC sample.

    python tests/bench/curves.py --weights WEIGHTS --data pbc8_sample --out results/curves.csv
"""
import argparse

import pandas as pd
from fastai.vision.all import accuracy, set_seed
from leukocls.bench import Sides
from leukocls.callbacks import Bf16OnCpu
from leukocls.core import cpu_has_bf16

ap = argparse.ArgumentParser(); ap.add_argument('--weights', required=True); ap.add_argument('--data', required=True); ap.add_argument('--out', required=True); a = ap.parse_args()
sides, rows = Sides(a.data, 'mobilenetv2_100', a.weights, 400), []
for seed in range(3):
    for name in ('fastai', 'leukocls'):
        set_seed(seed); learn = getattr(sides, 'fastai' if name == 'fastai' else 'ours')(); learn.unfreeze(); learn.metrics = [accuracy]; set_seed(seed)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3, cbs=[Bf16OnCpu()] if name == 'leukocls' and cpu_has_bf16() else [])
        for epoch, v in enumerate(learn.recorder.values, 1): rows.append(dict(side=name, seed=seed, epoch=epoch, train_loss=round(float(v[0]), 4), valid_loss=round(float(v[1]), 4), accuracy=round(float(v[2]), 4), images=len(sides.files), command='python tests/bench/curves.py'))
t = pd.DataFrame(rows); t.to_csv(a.out, index=False); print(t.groupby(['epoch', 'side'])[['train_loss', 'valid_loss', 'accuracy']].agg(['mean', 'min', 'max']).round(3).to_string())
