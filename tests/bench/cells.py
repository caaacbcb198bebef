"""How well leukocytes are found and outlined, and how fast. Writes results/cells.csv.

python tests/bench/cells.py ../shared/data

Nothing was chosen on the masks of wbc100. On bccd_fields every third field was looked at while the
code was written (also degraded); the row `bccd_fields, other fields` is of those that were not.
"""

import argparse
import os
import statistics
import time
from multiprocessing import Pool
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import pandas as pd
from PIL import Image

from leukocls.data.cells import find_cells, outline_cells
from leukocls.measure.metrics import wilson

COMMAND = 'python tests/bench/cells.py ../shared/data'


def leukocytes(image):
    "Rows of the leukocytes and smudges of a picture."
    table = find_cells(image)
    return table[table.kind.isin(['leukocyte', 'smudge'])]


def judge_field(path, boxes):
    """(boxes, boxes with the centre of a cell, cells outside all boxes, cells of these that the border
    cuts, second cells in one box) of a field.
    """
    cells = leukocytes(path)
    inside = [
        (cells.x >= b.xmin) & (cells.x <= b.xmax) & (cells.y >= b.ymin) & (cells.y <= b.ymax)
        for b in boxes.itertuples()
    ]
    anywhere = np.any(inside, axis=0) if inside else np.zeros(len(cells), bool)
    twice = sum(max(0, int(one.sum()) - 1) for one in inside)
    outside = int((~anywhere).sum())
    cut = int((~anywhere & cells.cut_off).sum())
    return len(inside), sum(one.any() for one in inside), outside, cut, twice


def fields(data):
    "Detection on whole fields, of those that were looked at and of the others."
    folder = data / 'bccd_fields'
    boxes = pd.read_csv(folder / 'boxes.csv')
    boxes = boxes[(boxes.kind == 'WBC') & (boxes.xmax > boxes.xmin)]
    paths = sorted((folder / 'images').iterdir())
    judged = np.array([judge_field(p, boxes[boxes.image == p.name]) for p in paths])
    seen = np.arange(len(paths)) % 3 == 0
    for name, chosen in (
        ('every third field', seen),
        ('other fields', ~seen),
        ('all', seen | True),
    ):
        n, found, outside, cut, twice = map(int, judged[chosen].sum(0))
        low, high = wilson(found, n)
        where = f'bccd_fields, {name}'
        yield where, 'boxes with the centre of a cell', found / n, low, high, n
        fields = int(chosen.sum())
        yield where, 'false cells a field', (outside + twice) / fields, None, None, fields
        yield (
            where,
            'cells outside of boxes that the border cuts, a field',
            cut / fields,
            *3 * [None],
        )
        yield where, 'second cells in a box, a field', twice / fields, *3 * [None]


def dice(a, b):
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def masks(data):
    "Dice of nucleus and whole cell, with a bootstrap interval over the pictures."
    folder, scores = data / 'wbc100', []
    for path in sorted((folder / 'images').iterdir()):
        truth = np.asarray(Image.open(folder / 'masks' / path.name).convert('L'))
        found = outline_cells(path)
        nuclei, bodies = found.masks()
        # the picture shows one cell: the one nearest to the middle
        rows = found.table[found.table.kind.isin(['leukocyte', 'smudge'])]
        if not len(rows):
            scores.append((0.0, 0.0))
            continue
        middle = np.hypot(rows.x - found.size[0] / 2, rows.y - found.size[1] / 2)
        number = middle.idxmin() + 1
        nucleus = truth > 192
        scores.append((dice(bodies == number, truth > 64), dice(nuclei == number, nucleus)))
    scores, rng = np.array(scores), np.random.default_rng(0)
    draws = scores[rng.integers(0, len(scores), (2000, len(scores)))].mean(1)
    for k, what in enumerate(('whole cell', 'nucleus')):
        low, high = np.percentile(draws[:, k], [2.5, 97.5])
        yield 'wbc100', f'Dice of the {what}, mean', scores[:, k].mean(), low, high, len(scores)
        yield 'wbc100', f'Dice of the {what}, median', np.median(scores[:, k]), *3 * [None]


def speed(data):
    "Fields a second on two processes, and seconds for a large field, files and all."
    paths = sorted((data / 'bccd_fields/images').iterdir())[:120]
    with Pool(2) as pool:
        pool.map(find_cells, paths[:8])
        began = time.perf_counter()
        pool.map(find_cells, paths, chunksize=4)
        rate = len(paths) / (time.perf_counter() - began)
    yield 'bccd_fields', 'fields of 640×480 a second, two processes', rate, *3 * [None]
    began = time.process_time()
    for path in paths[:40]:
        find_cells(path)
    seconds = (time.process_time() - began) / 40
    yield 'bccd_fields', 'processor seconds for a field of 640×480', seconds, *3 * [None]
    for times in (1, 4):
        large = large_field(paths[:16], times)
        took = []
        for _ in range(3):
            began = time.process_time()
            find_cells(large)
            took.append(time.process_time() - began)
        what = f'processor seconds for 2592×1944, {times * times} fields in it'
        yield 'bccd_fields', what, statistics.median(took), *3 * [None]


def large_field(paths, times):
    "A picture of 2592×1944 made of `times`² fields."
    large = Image.new('RGB', (2592, 1944))
    side = 2592 // times, 1944 // times
    for i in range(times * times):
        place = (i % times) * side[0], (i // times) * side[1]
        large.paste(Image.open(paths[i]).convert('RGB').resize(side), place)
    return large


PARTS = dict(fields=fields, masks=masks, speed=speed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('data', type=Path)
    parser.add_argument('--out', type=Path, default=Path('results/cells.csv'))
    # rows of the other parts stay as they are
    parser.add_argument('--part', choices=list(PARTS), nargs='*', default=list(PARTS))
    options = parser.parse_args()
    rows = []
    for part in options.part:
        for where, what, value, low, high, n in PARTS[part](options.data):
            shown = [None if v is None else round(float(v), 4) for v in (value, low, high)]
            rows.append([where, what, *shown, n, COMMAND])
            print(*rows[-1][:6], sep='\t', flush=True)
    head = ['data', 'what', 'value', 'low', 'high', 'n', 'command']
    new = pd.DataFrame(rows, columns=head)
    if options.out.exists() and set(options.part) != set(PARTS):
        old = pd.read_csv(options.out)
        replaced = old.what.isin(new.what) & old.data.isin(new.data)
        new = pd.concat([old[~replaced], new])
    new['n'] = new.n.astype('Int64')
    new.to_csv(options.out, index=False)


if __name__ == '__main__':
    main()
