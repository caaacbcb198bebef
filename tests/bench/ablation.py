"""Which ingredients of a fine-tuned network pay: each alone beside the plain recipe, five folds,
near-duplicates together.

    python tests/bench/ablation.py --data pbc8_sample --weights WEIGHTS --work runs/ablation \\
        --out results/ablation.csv
    python tests/bench/ablation.py --data pbc8_sample --weights WEIGHTS --work runs/ablation \\
        --out results/ours.csv --against probe --members 1 --arms longer

Every arm sees the same folds and the same start. Of each training part a fifth is set aside: the
epoch is chosen on it, and ingredients are judged on it. The tested fold is looked at once, for the
figure; `chosen` in the table says what would have been chosen in each fold by its own set-aside
images alone (lowest log loss), so that the row `chosen` is free of hindsight. `views` averages over
the eight flips and quarter turns; `2 members` over networks from two seeds; `folds` over five
networks that each left out another fifth of the training images, on which their epochs are chosen,
so that the set-aside images decide nothing there. Arms that need few folds to be judged are named
`arm:folds`. Runs that lie in --work already are not repeated.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd

from leukocls.data.splits import fold_tables
from leukocls.data.table import read_table
from leukocls.measure.metrics import score
from leukocls.measure.paired import compare
from leukocls.models.predictor import Predictor, predict_images
from leukocls.runs.experiment import train

ARMS = {
    'plain': {},
    'probe': {},
    'stain': dict(augment='stain'),
    'light': dict(augment='light'),
    'focal': dict(loss='focal'),
    'balance': dict(balance=True),
    'mixup': dict(mixup=0.4),
    'ema': dict(ema=0.99),
    'longer': dict(epochs=12),
    'folds': dict(members=5),
    'longer, folds': dict(epochs=12, members=5),
}


def one(name, changes, table, fold, seed, o):
    "Predictions of one arm on one fold, by one view and by eight; kept as CSV."
    home = Path(o.work) / f'{Path(o.data).name}-{name.replace(", ", "-")}-fold{fold}-seed{seed}'
    home.parent.mkdir(parents=True, exist_ok=True)
    files = {v: Path(f'{home}-{v}.csv') for v in (1, 8)}
    if not all(f.exists() for f in files.values()):
        run = train(
            'probe' if name == 'probe' else 'mobilenetv2',
            table,
            out=str(home),
            seed=seed,
            progress=False,
            weights=o.weights,
            **changes,
            **({} if name == 'probe' else dict(size=o.size)),
        )
        p = run.predictions
        p['group'] = p.path.map(table.set_index('path').group)
        p.to_csv(files[1], index=False)
        eight = predict_images(Predictor(run, tta=True), p.path.tolist())
        p[[c for c in eight if c != 'path']] = eight[[c for c in eight if c != 'path']]
        p.to_csv(files[8], index=False)
    return {
        v: pd.read_csv(f, dtype={'label': str, 'pred': str, 'group': str}) for v, f in files.items()
    }


def log_loss(p):
    return -np.log(np.clip([row[f'p_{row.label}'] for _, row in p.iterrows()], 1e-7, 1))


def mean_of(tables):
    "The mean of the members' probabilities."
    out = tables[0].copy()
    cols = [c for c in out if c.startswith('p_')]
    out[cols] = np.mean([t[cols] for t in tables], 0)
    out['pred'] = out[cols].idxmax(1).str[2:]
    return out


def rows_of(arms, base, o, shown):
    """A row per arm: accuracy with interval, log loss, and the differences from another arm, on the
    same folds, with theirs.
    """

    def side(tables, s):
        return pd.concat(
            [
                p[p.split == s].assign(path=p[p.split == s].path + f'#{i}')
                for i, p in enumerate(tables)
            ],
            ignore_index=True,
        )  # an image is set aside in several folds

    for a, tables in arms.items():
        for s in ('valid', 'test'):
            p, b = side(tables, s), side(arms[base][: len(tables)], s)
            p.attrs['name'], b.attrs['name'] = a, base
            m = score(p)
            d = {k: compare(b, p, k) for k in ('accuracy', 'log_loss')}
            yield dict(
                images=Path(o.data).name,
                arm=a,
                judged_on='set aside' if s == 'valid' else 'tested fold',
                folds=len(tables),
                n=m['n'],
                size=224 if a.startswith('probe') else o.size,
                accuracy=round(100 * m['accuracy']['value'], 2),
                low=round(100 * m['accuracy']['low'], 2),
                high=round(100 * m['accuracy']['high'], 2),
                log_loss=round(m['log_loss']['value'], 4),
                **{
                    f'{k}_{e}': round(x * (100 if k == 'accuracy' and e != 'p' else 1), 4)
                    for k, c in d.items()
                    for e, x in (
                        ('gain', c.difference),
                        ('gain_low', c.low),
                        ('gain_high', c.high),
                        ('p', c.p),
                    )
                },
                against=base,
                command=shown,
            )


if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--data', required=True)
    ap.add_argument('--weights', required=True)
    ap.add_argument('--work', default='runs/ablation')
    ap.add_argument('--out', required=True)
    ap.add_argument('--size', type=int, default=160)
    ap.add_argument('--folds', type=int, default=5)
    ap.add_argument('--members', type=int, default=3)
    ap.add_argument(
        '--arms', nargs='+', default=list(ARMS), help='name, or name:k for the first k folds only'
    )
    ap.add_argument(
        '--against',
        default='plain',
        help='the arm that the others are compared with; with ", views" its mean of eight views',
    )
    o = ap.parse_args()
    tables, found = fold_tables(read_table(o.data), o.folds, 'group', 0.16, 0), {}
    first = o.against.removesuffix(', views')
    for a, k in (
        (a.split(':')[0], int((a.split(':') + [o.folds])[1]))
        for a in [first, *(a for a in o.arms if a != first)]
    ):
        found[a] = [one(a, ARMS[a], t, i, 0, o) for i, t in enumerate(tables[:k])]
        print(
            a,
            *(
                f"{(f[1][f[1].split == 'test'].pred == f[1][f[1].split == 'test'].label).mean():.3f}"
                for f in found[a]
            ),
            flush=True,
        )
    more = (
        []
        if 'plain' not in found
        else [
            [one('plain', {}, t, k, s, o) for k, t in enumerate(tables)]
            for s in range(1, o.members)
        ]
    )
    arms = {a: [f[1] for f in fs] for a, fs in found.items()} | {
        f'{a}, views': [f[8] for f in fs] for a, fs in found.items()
    }
    single = list(arms)
    for v, end in ((1, ''), (8, ', views')) if more else ():
        arms[f'{o.members} members{end}'] = [
            mean_of([f[v] for f in fs]) for fs in zip(found.get('plain', []), *more)
        ]
    best = [
        min(
            (a for a in single if len(arms[a]) > k),
            key=lambda a: log_loss(arms[a][k][arms[a][k].split == 'valid']).mean(),
        )
        for k in range(o.folds)
    ]
    arms['chosen'] = [arms[a][k] for k, a in enumerate(best)]
    shown = ' '.join(
        [
            'python tests/bench/ablation.py',
            f'--data {Path(o.data).name}',
            f'--weights {Path(o.weights).name}',
            f'--size {o.size}',
            f'--members {o.members}',
            f'--against {o.against!r}' if ' ' in o.against else f'--against {o.against}',
            '--arms',
            *(repr(a) if ' ' in a else a for a in o.arms),
            f'--out {o.out}',
        ]
    )
    rows = pd.DataFrame(rows_of(arms, o.against, o, shown))
    rows['chosen_in_folds'] = rows.arm.map(
        lambda a: ' '.join(str(k) for k, b in enumerate(best) if b == a)
    )
    old = pd.read_csv(o.out) if os.path.exists(o.out) else pd.DataFrame()
    old = old[old.images != Path(o.data).name] if len(old) else old
    pd.concat([old, rows]).to_csv(o.out, index=False, lineterminator='\n')
    print(rows.drop(columns='command').to_string())
