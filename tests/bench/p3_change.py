"""What has to change in P3's modified CNN for its published 97.69 %: one change at a time, then
two, on the paper's own split.

    python tests/bench/p3_change.py --data Original --out results/p3-change.csv

Every line is the recipe `modified-cnn` with the change named, trained on the 2,604 images of a
random split and judged on the other 652, last epoch kept. Changes are tried in this order on seed
0; the first that reaches the figure there is repeated with seeds 1 and 2 (the recipe as it is has
its three seeds in results/p3-table.csv). The held-out images decide here which change counts, so
the figure of the change that wins is somewhat too good; what it shows is what the description
lacks. Lines that the CSV file holds already are not made again.
"""

import argparse
import os
import shlex
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image

from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.runs.experiment import train
from leukocls.train.recipes import get_recipe

CHANGES = {
    'as described': {},
    'colour': dict(grey=False),
    'one-cycle schedule': dict(schedule='one-cycle'),
    "Keras' Adam": dict(opt='keras-adam'),
    'flips and quarter turns': dict(augment='turns'),
    'no median filter': dict(median=0),
    '100 pixels': dict(size=100),
    '100 epochs': dict(epochs=100),
    'turned copies before the split': {},
    'colour, one-cycle schedule': dict(grey=False, schedule='one-cycle'),
    'colour, flips and quarter turns': dict(grey=False, augment='turns'),
    'colour, no median filter': dict(grey=False, median=0),
    'colour, 100 pixels': dict(grey=False, size=100),
    'colour, 100 epochs': dict(grey=False, epochs=100),
    'colour, 200 epochs': dict(grey=False, epochs=200),
    'colour, turned copies before the split': dict(grey=False),
}

COPIES = [
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_LEFT_RIGHT,
]  # what 'turned copies before the split' makes of each image: a leak, shown as one


def with_copies(images, folder):
    """Each image four times, turned and mirrored; a table that knows nothing of which belong
    together.
    """
    for path, label in zip(images.path, images.label):
        (Path(folder) / label).mkdir(parents=True, exist_ok=True)
        im = Image.open(path)
        for k, turn in enumerate(COPIES):
            (im if turn is None else im.transpose(turn)).save(
                Path(folder) / label / f'{Path(path).stem}-{k}.png', compress_level=1
            )
    return read_table(folder)


if __name__ == '__main__':
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument('--data', required=True)
    ap.add_argument('--out', required=True)
    ap.add_argument(
        '--changes',
        nargs='+',
        default=list(CHANGES),
        choices=list(CHANGES),
        help='some of them only',
    )
    o = ap.parse_args()
    images, published = read_table(o.data), get_recipe('modified-cnn').published['accuracy']
    done = pd.read_csv(o.out).to_dict('records') if os.path.exists(o.out) else []

    def made(name, seed):
        "The line of a change and seed, from the file or from a new run."
        old = [
            r
            for r in done
            if (r['images'], r['change'], r['seed']) == (Path(o.data).name, name, seed)
        ]
        if old:
            return old[0]['accuracy']
        with tempfile.TemporaryDirectory() as d:
            table = with_copies(images, f'{d}/copies') if 'copies' in name else images
            run = train(
                'modified-cnn',
                split_table(table, 'random', 0.2, 0, seed),
                out=f'{d}/runs',
                seed=seed,
                progress=False,
                **CHANGES[name],
            )
            m, info = run.metrics, run.info
        a = m['accuracy']
        done.append(
            dict(
                images=Path(o.data).name,
                change=name,
                changes=len(CHANGES[name]) + ('copies' in name),
                seed=seed,
                **{
                    k: round(100 * a[v], 2)
                    for k, v in (('accuracy', 'value'), ('low', 'low'), ('high', 'high'))
                },
                f1=round(100 * m['f1']['value'], 2),
                published=published,
                held_out=m['n'],
                shared_near_duplicates=info['split']['shared_groups'],
                parameters=info['model']['total'],
                train_seconds=info['seconds']['train'],
                command=f'python tests/bench/p3_change.py --data {Path(o.data).name} --out {o.out}'
                + (f' --changes {shlex.join(o.changes)}' if o.changes != list(CHANGES) else ''),
            )
        )
        pd.DataFrame(done).to_csv(o.out, index=False, lineterminator='\n')
        print(f"{name}, seed {seed}: {done[-1]['accuracy']} %", flush=True)
        return done[-1]['accuracy']

    reached = [n for n in o.changes if made(n, 0) >= published]
    for n in reached[:1]:
        [made(n, s) for s in (1, 2)]
