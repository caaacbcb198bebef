"""Systems of the papers and ours in one table on the honest split: five folds, near-duplicates
together, every image tested once.

    python tests/bench/honest.py --data Original --weights WEIGHTS \\
        --recipes classical modified-cnn probe mobilenetv2-tta --work runs/honest \\
        --out results/honest.csv

All systems see the same folds; of each training part a share is set aside, and the epoch is chosen
on it. Differences are paired, image by image, against the first row, with Holm's correction for all
rows. `--weights` is for networks that begin with some; classical systems and networks of their own
begin as their recipes say. Runs that lie in --work are not repeated.
"""

import argparse
import os
from pathlib import Path

import pandas as pd

from leukocls.core.machine import versions
from leukocls.runs.experiment import train_all

if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--data', required=True)
    ap.add_argument('--weights', required=True)
    ap.add_argument('--recipes', nargs='+', required=True)
    ap.add_argument('--work', default='runs/honest')
    ap.add_argument('--out', required=True)
    ap.add_argument('--folds', type=int, default=5)
    ap.add_argument('--seed', type=int, default=0)
    o = ap.parse_args()
    runs = train_all(
        o.data,
        o.recipes,
        out=f'{o.work}/{Path(o.data).name}',
        split='group',
        folds=o.folds,
        seed=o.seed,
        weights=o.weights,
        progress=False,
    )
    s = runs.standings.reset_index()
    share = [
        c
        for c in s
        if c.startswith(('accuracy', 'f1', 'auroc', 'difference')) or c in ('mcc', 'ece')
    ]
    s[share] = (100 * s[share].astype(float)).round(2)
    shown = (
        f"python tests/bench/honest.py --data {Path(o.data).name} --weights {Path(o.weights).name}"
        f" --recipes {' '.join(o.recipes)} --folds {o.folds} --seed {o.seed} --out {o.out}"
    )
    rows = s[
        [
            'recipe',
            'n',
            'folds',
            'split',
            *share,
            'log_loss',
            'p',
            'differs',
            'parameters',
            'train_seconds',
            'images_per_second',
            'megabytes',
            'status',
        ]
    ].assign(
        log_loss=s.log_loss.astype(float).round(4),
        cores=os.cpu_count(),
        torch=versions()['torch'],
        command=shown,
    )
    rows.insert(0, 'images', Path(o.data).name)
    old = pd.read_csv(o.out) if os.path.exists(o.out) else pd.DataFrame()
    old = old[old.images != Path(o.data).name] if len(old) else old
    pd.concat([old, rows]).to_csv(o.out, index=False, lineterminator='\n')
    print(
        rows[
            [
                'recipe',
                'accuracy',
                'accuracy_low',
                'accuracy_high',
                'difference',
                'differs',
                'status',
            ]
        ].to_string()
    )
