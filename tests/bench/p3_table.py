"""P3's whole table as one table: every system on one split of 2,604 and 652 images, on Original and
on Segmented, seeds 0 to 2.

    python tests/bench/p3_table.py --data Original --data Segmented --systems classical \\
        --out results/p3-table.csv
    python tests/bench/p3_table.py --data Original --data Segmented --systems networks \\
        --weights WEIGHTS --out results/p3-table.csv

The paper's protocol: 80 % to train, 20 % held out at random, patients unknown; near-duplicates
stand on both sides, how many is in the table. All systems of a seed see the same split; Segmented
is split as Original is, name by name. Nothing is chosen on the held-out images: the last epoch is
kept. Rows that the CSV file holds already are not made again, so a run that was stopped goes on
where it was. `--grey` gives the classical systems grey pictures instead of colours; `--size` and
`--weights none` make networks smaller and start them from random numbers, and the row says so.
"""

import argparse
import os
import tempfile
from pathlib import Path

import pandas as pd
import torch

from leukocls.core.errors import LeukoError
from leukocls.core.machine import versions
from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.runs.experiment import train
from leukocls.train.papers import PAPER_SYSTEMS
from leukocls.train.recipes import get_recipe

P3 = [s['name'] for s in PAPER_SYSTEMS if s['paper'] == 'P3']
CLASSICAL = [n for n in P3 if get_recipe(n).kind == 'classical']
MEASURES = ('accuracy', 'precision', 'recall', 'specificity', 'f1')


def sides(folders, seed):
    "The same sides for every kind of image, those of the first: paths differ in their folder only."
    base = split_table(read_table(folders[0]), 'random', 0.2, 0, seed)
    for folder in folders:
        t = base.copy()
        t.attrs = dict(base.attrs)
        t['path'] = pd.array(
            [str(Path(folder) / c / Path(p).name) for p, c in zip(base.path, base.label)],
            dtype='string',
        )
        if lost := [p for p in t.path if not os.path.exists(p)]:
            raise SystemExit(
                f'{folder} lacks {len(lost)} images of {folders[0]}, such as {Path(lost[0]).name}.'
            )
        yield Path(folder).name, t


def own_weights(system, o):
    return {} if system in (*CLASSICAL, 'modified-cnn') else dict(weights=o.weights)


def one(system, table, seed, o, out):
    "Train one system; the row that tells of it."
    own = (
        dict(**own_weights(system, o), size=o.size)
        if system not in (*CLASSICAL, 'modified-cnn')
        else dict(grey=True)
        if o.grey
        else {}
    )
    run = train(
        system,
        table,
        out=out,
        seed=seed,
        progress=False,
        **{k: v for k, v in own.items() if v is not None},
    )
    m, i = run.metrics, run.info
    published = i['recipe']['published']
    facts = table.attrs['split']
    return dict(
        recipe=system,
        title=i['recipe']['title'],
        size=i['recipe']['size'],
        grey=i['recipe']['grey'],
        weights=Path(str(i['recipe']['weights'])).name,
        train=i['data']['sides']['train'],
        held_out=m['n'],
        split='random, patients unknown',
        shared_near_duplicates=facts['shared_groups'],
        **{
            f'{k}{end}': round(100 * m[k][part], 2)
            for k in MEASURES
            for part, end in (('value', ''), ('low', '_low'), ('high', '_high'))
        },
        ece=round(m['ece']['value'], 4),
        **{f'published_{k}': published.get(k) for k in MEASURES},
        parameters=i['model']['total'],
        train_seconds=i['seconds']['train'],
        images_per_second=i['seconds']['images_per_second'],
        megabytes=round((run.folder / 'model.safetensors').stat().st_size / 1e6, 1),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=versions()['torch'],
        scikit_learn=versions()['scikit-learn'],
    )


if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--data', action='append', required=True)
    ap.add_argument('--out', required=True)
    ap.add_argument('--systems', nargs='+', default=['classical'])
    ap.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    ap.add_argument('--grey', action='store_true')
    ap.add_argument('--weights')
    ap.add_argument('--size', type=int)
    o = ap.parse_args()
    names = [
        n
        for s in o.systems
        for n in (
            CLASSICAL
            if s == 'classical'
            else (
                [n for n in P3 if n not in CLASSICAL]
                if s == 'networks'
                else P3
                if s == 'all'
                else [get_recipe(s).name]
            )
        )
    ]
    shown = ' '.join(
        [
            'python tests/bench/p3_table.py',
            *(f'--data {Path(d).name}' for d in o.data),
            '--systems',
            *o.systems,
            *(['--grey'] if o.grey else []),
            *([f'--weights {Path(o.weights).name}'] if o.weights else []),
            *([f'--size {o.size}'] if o.size else []),
            f'--out {o.out}',
        ]
    )
    done = (
        pd.read_csv(o.out)
        if os.path.exists(o.out)
        else pd.DataFrame(columns=['images', 'recipe', 'seed', 'grey', 'size', 'weights'])
    )
    with tempfile.TemporaryDirectory() as d:
        for seed in o.seeds:
            for images, table in sides(o.data, seed):
                for n in names:
                    grey, size = (
                        (n in CLASSICAL and o.grey) or get_recipe(n).grey,
                        (
                            get_recipe(n).size
                            if n in (*CLASSICAL, 'modified-cnn')
                            else o.size or get_recipe(n).size
                        ),
                    )
                    weights = Path(str(get_recipe(n, **own_weights(n, o)).weights)).name
                    if (
                        (done.images == images)
                        & (done.recipe == n)
                        & (done.seed == seed)
                        & (done.grey.astype(bool) == grey)
                        & (done['size'] == size)
                        & (done.weights == weights)
                    ).any():
                        continue
                    try:
                        row = dict(
                            images=images, seed=seed, **one(n, table, seed, o, d), command=shown
                        )
                    except LeukoError as e:
                        print(f'{images} {n} seed {seed}: {e}', flush=True)
                        continue  # told, and tried again next time
                    done = pd.DataFrame([*done.to_dict('records'), row])[list(row)]
                    done.to_csv(o.out, index=False, lineterminator='\n')
                    print(f"{images} {n} seed {seed}: {row['accuracy']:.2f} %", flush=True)
