"""The same recipe on a random split, as the papers have it, and with near-duplicates kept together;
on the images, on segmented ones and on grey ones.

python tests/bench/splits.py --data FOLDER --segmented FOLDER --weights FOLDER --out
results/splits.csv
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image

from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.runs.experiment import train


def grey(table, out):
    "The same images without colour, as PNG."
    paths = []
    for p, c in zip(table.path, table.label):
        q = Path(out) / c / (Path(p).stem + '.png')
        q.parent.mkdir(exist_ok=True, parents=True)
        Image.open(p).convert('L').save(q)
        paths.append(str(q))
    return table.assign(path=paths)


if __name__ == '__main__':
    a = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    a.add_argument('--data', required=True)
    a.add_argument('--segmented')
    a.add_argument('--weights', required=True)
    a.add_argument('--out', required=True)
    a.add_argument('--recipes', nargs='+', default=['probe', 'modified-cnn', 'mobilenetv2'])
    a.add_argument('--images', nargs='+', default=['original', 'segmented', 'grey'])
    a.add_argument('--seed', type=int, default=0)
    a.add_argument('--size', type=int)
    o = a.parse_args()
    rows = pd.read_csv(o.out).to_dict('records') if os.path.exists(o.out) else []
    shown = (
        f"python tests/bench/splits.py --data {Path(o.data).name} --segmented"
        f" {Path(o.segmented).name if o.segmented else ''} --weights {Path(o.weights).name} --out"
        f" {o.out}" + (f' --size {o.size}' if o.size else '')
    )
    with tempfile.TemporaryDirectory() as d:
        base = read_table(o.data)
        split = {
            m: split_table(base, m, 0, 0.2, o.seed) for m in ('random', 'group')
        }  # the same sides for every kind of image: those of the originals
        for images in o.images:
            made = grey(base, f'{d}/grey') if images == 'grey' else None
            for recipe in o.recipes:
                for method, t in split.items():
                    if any(
                        (r['images'], r['recipe'], r['split']) == (images, recipe, method)
                        for r in rows
                    ):
                        continue
                    t2 = t.copy()
                    t2.attrs = t.attrs
                    if images == 'segmented':
                        t2['path'] = [
                            str(Path(o.segmented) / c / Path(p).name)
                            for p, c in zip(t.path, t.label)
                        ]
                    if images == 'grey':
                        t2['path'] = made.path.to_numpy()
                    own = (
                        dict(weights=o.weights, arch='mobilenetv2_100')
                        if recipe in ('probe', 'mobilenetv2')
                        else {}
                    )
                    if o.size and recipe == 'mobilenetv2':
                        own['size'] = o.size
                    if recipe != 'probe':
                        own['keep'] = 'last'  # nothing is chosen on the test images
                    t2['split'] = t2.split.astype('string')
                    run = train(recipe, t2, out=f'{d}/runs', seed=o.seed, progress=False, **own)
                    m = run.metrics
                    s = run.folder / 'shortcuts.json'
                    told = pd.read_json(s, orient='index').accuracy.to_dict() if s.exists() else {}
                    rows.append(
                        dict(
                            images=images,
                            recipe=recipe,
                            split=method,
                            seed=o.seed,
                            size=run.info['recipe']['size'],
                            n_test=m['n'],
                            accuracy=round(m['accuracy']['value'], 4),
                            low=round(m['accuracy']['low'], 4),
                            high=round(m['accuracy']['high'], 4),
                            f1=round(m['f1']['value'], 4),
                            interval_unit=m['interval']['unit'],
                            colour_alone=round(told.get('colour', float('nan')), 4),
                            background_alone=round(told.get('background', float('nan')), 4),
                            shared_near_duplicates=t.attrs['split']['shared_groups'],
                            seconds=round(run.info['seconds']['train']),
                            command=shown,
                        )
                    )
                    print(rows[-1], flush=True)
                    pd.DataFrame(rows).to_csv(o.out, index=False, lineterminator='\n')
    print(o.out, file=sys.stderr)
