"""P1's learning rate, 0.00001 with plain SGD for 15 epochs: how far it moves its three networks,
and what the same networks do with settings that converge.

    python tests/bench/p1_rate.py --data Original --size 64 --images 400 --out results/p1-rate.csv

Two classes, as in P1: benign against malignant. From random weights and at a reduced size, because
that is what the machine without a GPU can do; the paper's VGG-16 starts from ImageNet's. `moved` is
how far the weights went, as a share of their own length.
"""

import argparse
import os
from pathlib import Path

import pandas as pd
import torch
from fastai.optimizer import SGD, Adam

from leukocls.core.machine import set_seed, versions
from leukocls.data.splits import split_table
from leukocls.data.table import CellDataLoaders, read_table
from leukocls.models.backbones import cell_learner
from leukocls.train.network import _fit
from leukocls.train.recipes import get_recipe

ap = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
ap.add_argument('--data', required=True)
ap.add_argument('--out', required=True)
ap.add_argument('--size', type=int, default=64)
ap.add_argument('--images', type=int, default=400)
ap.add_argument(
    '--systems', nargs='+', default=['p1-cnn', 'p1-alexnet', 'p1-vgg16'], help='some of them only'
)
o = ap.parse_args()
t = read_table(o.data)
t['label'] = ['benign' if v == 'Benign' else 'malignant' for v in t.label]
t = split_table(
    t.groupby('label').sample(o.images // 2, random_state=0).reset_index(drop=True),
    'random',
    0.2,
    0,
    0,
)
rows = (
    pd.read_csv(o.out).to_dict('records') if os.path.exists(o.out) else []
)  # goes on where it was stopped


def weights(learn):
    return torch.cat([p.detach().flatten().clone() for p in learn.model.parameters()])


def quiet(learn):
    with learn.no_bar():
        return learn.validate()


for base in o.systems:
    for name in (base, f'{base}-converges'):
        if any(r['recipe'] == name for r in rows):
            continue
        r = get_recipe(name, size=o.size, weights='none')
        set_seed(0)
        dls = CellDataLoaders.from_table(t, size=r.size, bs=r.bs, device='cpu')
        learn = cell_learner(
            dls,
            r.arch,
            'none',
            opt_func={'adam': Adam, 'sgd': SGD}[r.opt],
            wd=r.wd,
            fp16=False,
            top=r.top,
        )
        before = weights(learn)
        start = float(quiet(learn)[0])
        _fit(learn, r, False, [])
        after = weights(learn)
        loss, accuracy = quiet(learn)[:2]
        rows.append(
            dict(
                recipe=name,
                optimiser=r.opt,
                learning_rate=r.lr,
                schedule=r.schedule,
                epochs=r.epochs,
                size=r.size,
                images=len(t),
                moved=f'{float((after - before).norm() / before.norm()):.2e}',
                loss_before=round(start, 4),
                loss_after=round(float(loss), 4),
                accuracy=round(100 * float(accuracy), 1),
                most_frequent=round(
                    100 * t[t.split == 'valid'].label.value_counts(normalize=True).max(), 1
                ),
                cores=os.cpu_count(),
                torch=versions()['torch'],
                command=(
                    f'python tests/bench/p1_rate.py --data {Path(o.data).name} --size {o.size}'
                    f' --images {o.images}'
                )
                + (f' --systems {" ".join(o.systems)}' if len(o.systems) < 3 else '')
                + f' --out {o.out}',
            )
        )
        print(rows[-1] | dict(command=''), flush=True)
        pd.DataFrame(rows).to_csv(o.out, index=False, lineterminator='\n')
