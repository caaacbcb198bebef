"""What tuning the upper layers reaches, and what it costs beside fine-tuning all of them.

    python tests/bench/tune.py --data pbc8_sample --weights WEIGHTS --out results/tune.csv
    python tests/bench/tune.py --data pbc8_sample --weights WEIGHTS --turns 1 --out results/tune.csv

The first makes five folds, near-duplicates together, every image tested once; of each training part
a share is set aside, on which the epoch is chosen. The second trains `tune` and `mobilenetv2-tta` on
one division, in turns on a machine that does nothing else, and writes the seconds from files to the
report, and those of the fit.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import pandas as pd

from leukocls.core.machine import versions
from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.runs.experiment import train, train_all
from leukocls.train.recipes import get_recipe

FULL = 'mobilenetv2-tta'


def judged(o, changes):
    "A row: five folds of `tune`, pooled."
    name = ', '.join(['tune', *(f'{k}={v}' for k, v in changes.items())])
    recipe = get_recipe('tune', weights=o.weights, **changes)
    out = f'{o.work}/{Path(o.data).name}/{name.replace(" ", "")}'
    how = dict(out=out, split='group', folds=o.folds, seed=o.seed, progress=False)
    runs = train_all(o.data, recipe, **how)
    row = runs.standings.reset_index().iloc[0]
    figures = {c: round(100 * float(row[c]), 2) for c in row.index if c.startswith('accuracy')}
    return dict(
        what='folds',
        recipe=name,
        n=int(row.n),
        folds=o.folds,
        **figures,
        log_loss=round(float(row.log_loss), 4),
    )


def timed(o):
    "Rows: seconds of both recipes on one division, in turns."
    table = split_table(read_table(o.data), 'group', seed=o.seed)
    rows = []
    for turn in range(o.turns):
        for name in ('tune', FULL):
            with tempfile.TemporaryDirectory() as out:
                os.environ['LEUKOCLS_CACHE'] = f'{out}/cache'
                began = time.perf_counter()
                recipe = get_recipe(name, weights=o.weights)
                run = train(recipe, table, out=out, progress=False, device='cpu')
                rows.append(
                    dict(
                        what='turn',
                        recipe=name,
                        n=len(table),
                        turn=turn + 1,
                        seconds=round(time.perf_counter() - began, 1),
                        fit_seconds=run.info['seconds']['train'],
                        accuracy=round(100 * run.metrics['accuracy']['value'], 2),
                        log_loss=round(run.metrics['log_loss']['value'], 4),
                    )
                )
                print(rows[-1], flush=True)
    return rows


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--data', required=True)
    ap.add_argument('--weights', required=True)
    ap.add_argument('--out', required=True)
    ap.add_argument('--work', default='runs/tune')
    ap.add_argument('--folds', type=int, default=5)
    ap.add_argument('--seed', type=int, default=0)
    ap.add_argument('--turns', type=int, default=0)
    ap.add_argument('--lr', help='"find" looks for a learning rate')
    ap.add_argument('--share', type=float, help='of the multiplications, above the division')
    o = ap.parse_args()
    changes = {k: v for k, v in (('lr', o.lr), ('share', o.share)) if v is not None}
    rows = pd.DataFrame(timed(o) if o.turns else [judged(o, changes)])
    options = ''.join(f' --{k} {v}' for k, v in changes.items())
    options += f' --turns {o.turns}' if o.turns else f' --folds {o.folds}'
    shown = (
        f'python tests/bench/tune.py --data {Path(o.data).name} --weights {Path(o.weights).name}'
    )
    rows = rows.assign(
        cores=os.cpu_count(),
        torch=versions()['torch'],
        command=f'{shown} --seed {o.seed}{options} --out {o.out}',
    )
    rows.insert(0, 'images', Path(o.data).name)
    if os.path.exists(o.out):
        old = pd.read_csv(o.out)
        rows = pd.concat([old[~old.command.isin(rows.command)], rows])
    rows.to_csv(o.out, index=False, lineterminator='\n')
    print(rows.drop(columns='command').to_string())


if __name__ == '__main__':
    main()
