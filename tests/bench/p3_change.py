"""What has to change in P3's modified CNN for its published 97.69 %: one change at a time, then two, on the paper's own split.

    python tests/bench/p3_change.py --data Original --out results/p3-change.csv

Every line is the recipe `modified-cnn` with the change named, trained on the 2,604 images of a random split and judged on the other
652, last epoch kept. Changes are tried in this order on seed 0; a change that reaches the figure there is repeated with seeds 1 and 2,
and so is the recipe as it is. The held-out images decide here which change counts, so the figure of the change that wins is somewhat
too good; what it shows is what the description lacks. Lines that the CSV file holds already are not made again.
"""
import argparse
import os
import tempfile
from pathlib import Path

import pandas as pd
from leukocls.data import read_table
from leukocls.recipes import get_recipe
from leukocls.splits import split_table
from leukocls.train import train

CHANGES = {'as described': {}, 'no median filter': dict(median=0), 'one-cycle schedule': dict(schedule='one-cycle'), 'flips and quarter turns': dict(augment='turns'), '100 pixels': dict(size=100), '100 epochs': dict(epochs=100), 'colour': dict(grey=False),
    'colour, no median filter': dict(grey=False, median=0), 'colour, one-cycle schedule': dict(grey=False, schedule='one-cycle'), 'colour, flips and quarter turns': dict(grey=False, augment='turns'), 'colour, 100 pixels': dict(grey=False, size=100)}

if __name__ == '__main__':
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter); ap.add_argument('--data', required=True); ap.add_argument('--out', required=True); o = ap.parse_args()
    images, published = read_table(o.data), get_recipe('modified-cnn').published['accuracy']; done = pd.read_csv(o.out).to_dict('records') if os.path.exists(o.out) else []
    def made(name, seed):
        "The line of a change and seed, from the file or from a new run."
        old = [r for r in done if (r['images'], r['change'], r['seed']) == (Path(o.data).name, name, seed)]
        if old: return old[0]['accuracy']
        with tempfile.TemporaryDirectory() as d: run = train('modified-cnn', split_table(images, 'random', .2, 0, seed), out=d, seed=seed, progress=False, **CHANGES[name])
        m = run.metrics; a = m['accuracy']; done.append(dict(images=Path(o.data).name, change=name, changes=len(CHANGES[name]), seed=seed, **{k: round(100*a[v], 2) for k, v in (('accuracy', 'value'), ('low', 'low'), ('high', 'high'))}, f1=round(100*m['f1']['value'], 2), published=published, held_out=m['n'],
            shared_near_duplicates=run.info['split']['shared_groups'], parameters=run.info['model']['total'], train_seconds=run.info['seconds']['train'], command=f'python tests/bench/p3_change.py --data {Path(o.data).name} --out {o.out}'))
        pd.DataFrame(done).to_csv(o.out, index=False, lineterminator='\n'); print(f"{name}, seed {seed}: {done[-1]['accuracy']} %", flush=True); return done[-1]['accuracy']
    reached = [n for n in CHANGES if made(n, 0) >= published]
    for n in ('as described', *reached[:1]): [made(n, s) for s in (1, 2)]
