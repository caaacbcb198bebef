"""Would cheaper features do? A probe on half precision for the training images alone, for all
images, and on smaller pictures; five folds, near-duplicates together.

    python tests/bench/cheaper.py --weights WEIGHTS --data Original --data pbc8_sample \\
        --out results/cheaper.csv

Half precision for the training images alone would leave every reported probability exact. `apart`
is the median difference of a feature from float32's, in standard deviations of that feature. A
processor without bfloat16 computes it slowly, with the same numbers.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from said import command

from leukocls.core.machine import versions
from leukocls.data.images import read_batches
from leukocls.data.splits import fold_tables, groups_of
from leukocls.data.table import read_table
from leukocls.measure.metrics import wilson
from leukocls.models.engines import stream, versions_of
from leukocls.models.frozen import FrozenBody
from leukocls.models.networks import Ready, openvino_engine
from leukocls.train.probe import fit_head


def features(table, weights, size, precision):
    "(N, D) features."
    frozen = FrozenBody('mobilenetv2_100', weights, size)
    ready = Ready(frozen.built[0], frozen.facts['mean'], frozen.facts['std']).eval()
    engine = openvino_engine(ready, frozen.pixels, precision)
    return np.concatenate(
        [
            o
            for _, o in stream(
                engine,
                (
                    (len(p), x)
                    for p, x, _ in read_batches(list(table.path), frozen.pixels, engine.block)
                ),
            )
        ]
    )


if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--weights', required=True)
    ap.add_argument('--data', action='append', required=True)
    ap.add_argument('--folds', type=int, default=5)
    ap.add_argument('--out', required=True)
    a = ap.parse_args()
    rows = []
    for data in a.data:
        t = read_table(data)
        y = t.label.to_numpy(str)
        parts = fold_tables(t, a.folds, 'group', seed=0)
        groups = groups_of(parts[0])
        X = {k: features(t, a.weights, *k) for k in ((224, 'f32'), (224, 'bf16'), (160, 'f32'))}
        exact = X[224, 'f32']
        for said, learn, judge in (
            ('as it is', (224, 'f32'), (224, 'f32')),
            ('half precision for training images', (224, 'bf16'), (224, 'f32')),
            ('half precision for all images', (224, 'bf16'), (224, 'bf16')),
            ('160 pixels', (160, 'f32'), (160, 'f32')),
        ):
            right, loss = np.zeros(len(t), bool), np.zeros(len(t))
            for p in parts:
                fit = (p.split == 'train').to_numpy()
                h = fit_head(X[learn][None][:, fit], y[fit], groups[fit], seed=0)[0]
                q = h.probabilities(X[judge][~fit])
                right[~fit] = np.array(h.classes)[q.argmax(1)] == y[~fit]
                loss[~fit] = -np.log(
                    np.clip(q[np.arange(len(q)), np.searchsorted(h.classes, y[~fit])], 1e-7, 1)
                )
            low, high = wilson(right.sum(), len(t))
            apart = (
                np.median(np.abs(X[learn] - exact) / (exact.std(0) + 1e-6))
                if learn[0] == 224
                else np.nan
            )
            rows.append(
                dict(
                    images=Path(data).name,
                    features=said,
                    accuracy=round(float(100 * right.mean()), 2),
                    low=round(100 * float(low), 2),
                    high=round(100 * float(high), 2),
                    log_loss=round(float(loss.mean()), 4),
                    apart=round(float(apart), 3),
                    n=len(t),
                    folds=a.folds,
                    openvino=versions_of('openvino'),
                    torch=versions()['torch'],
                    command=command(),
                )
            )
            print(rows[-1] | dict(command=''), flush=True)
    pd.DataFrame(rows).to_csv(a.out, index=False, lineterminator='\n')
