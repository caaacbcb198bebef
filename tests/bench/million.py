"""How the search for near-duplicates and the audit's other steps grow to a million images.

Three things are measured, each in a process of its own (seconds of all its threads together, largest
memory). *descriptions*: the search for pairs among simulated descriptions, 64 numbers each, of which
one in a hundred is a copy with noise as between real copies; `found` is the share of these copies that
become candidates, `nearest` the share of nearest neighbours that an exhaustive search names too, for a
thousand rows. *pictures*: everything that `near_duplicates` does once the images are read, for drawn
films with noise. *audit*: leaks between the sides and the border shortcut, for a simulated table with
twenty images a patient. `law` is the exponent between a row and the one before of the same kind.

    python tests/bench/million.py --out results/million.csv
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ['LEUKOCLS_CACHE'] = 'off'

import numpy as np
import pandas as pd
from said import command

from leukocls.audit.findings import leaks_between, shortcut_accuracy
from leukocls.data.duplicates import _find_pairs, nearest, pairs_of_nearest
from leukocls.data.films import draw_films
from leukocls.data.survey import look, room_for_thumbs

SIZES = dict(
    descriptions=[10_000, 100_000, 1_000_000],
    audit=[10_000, 100_000, 1_000_000],
    pictures=[5_000, 10_000],
)


def largest_mb():
    return int(re.search(r'VmHWM:\s+(\d+)', Path('/proc/self/status').read_text())[1]) / 1024


def simulated(n, rng):
    "Descriptions as the metric makes them (copies differ by one in each number), and which are copies."
    spread = np.geomspace(30, 1.5, 64).astype('float32')
    P = rng.standard_normal((n, 64), 'float32') * spread
    copies = np.arange(n - n // 100, n)
    of = rng.choice(n - n // 100, len(copies), replace=False)
    P[copies] = P[of] + rng.standard_normal((len(copies), 64), 'float32')
    return P, copies, of


def descriptions(n):
    rng = np.random.default_rng(0)
    P, copies, of = simulated(n, rng)
    middle = P + 2 * rng.standard_normal(P.shape, 'float32')
    before, began = largest_mb(), time.process_time()
    pairs = pairs_of_nearest(P, middle)
    seconds, most = time.process_time() - began, largest_mb()
    numbers = pairs[:, 0] * n + pairs[:, 1]
    found = np.isin(np.minimum(of, copies) * n + np.maximum(of, copies), numbers).mean()
    some = np.sort(rng.choice(n, 1000, replace=False))
    quick, exact = (nearest(P, P[some], some, 1, cells)[0] for cells in (None, 1))
    return dict(
        seconds=seconds,
        mb_before=before,
        mb=most,
        pairs=len(pairs),
        found=found,
        nearest=(quick == exact).mean(),
    )


def pictures(n):
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        films = draw_films(folder, patients=25, images=5, size=64)
        paths = sorted(map(str, Path(films).rglob('*.png')))
        drawn = look(paths)
        which = np.arange(n) % len(paths)
        thumbs = room_for_thumbs(n)
        for i, row in enumerate(which):
            noise = rng.normal(0, 12, (64, 64, 3))
            turned = np.rot90(np.roll(drawn.thumbs[row], rng.integers(0, 64, 2), (0, 1)), i % 4)
            thumbs[i] = np.clip(turned + noise, 0, 255)
        looks = type(drawn)(drawn.facts.iloc[which].reset_index(drop=True), thumbs)
        before, began = largest_mb(), time.process_time()
        pairs = _find_pairs([paths[i] for i in which], looks, 4, False)
        seconds = time.process_time() - began
    return dict(seconds=seconds, mb_before=before, mb=largest_mb(), pairs=len(pairs))


def audit(n):
    rng = np.random.default_rng(0)
    patient = pd.Series([f'P{i // 20}' for i in range(n)], dtype='string')
    split = rng.choice(['train', 'valid', 'test'], n)
    table = pd.DataFrame(dict(path=[f'{i}.png' for i in range(n)], patient=patient, split=split))
    near = [[i, i + 1] for i in range(0, n - 1, 50)]
    exact = near[::2]
    X = rng.standard_normal((n, 6)) @ rng.standard_normal((6, 24))
    X += 0.3 * rng.standard_normal((n, 24))
    fold = rng.integers(0, 5, n)
    folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(5)]
    before, began = largest_mb(), time.process_time()
    leaks = leaks_between(table, dict(exact=exact, near=near))
    shortcut_accuracy(X, rng.integers(0, 4, n), folds)
    seconds = time.process_time() - began
    return dict(seconds=seconds, mb_before=before, mb=largest_mb(), pairs=len(leaks))


def law(rows):
    "The exponent b of seconds = a n^b between one row and the next."
    t = pd.DataFrame(rows)
    steps = t.groupby('what')[['n', 'seconds']].transform(lambda x: np.log(x).diff())
    return t.assign(law=steps.seconds / steps.n)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--out', default='million.csv')
    parser.add_argument('--only', choices=SIZES, nargs='*', default=list(SIZES))
    parser.add_argument('--one', nargs=2, help='used by itself: what, and how many')
    asked = parser.parse_args()
    if asked.one:
        what, n = asked.one
        facts = dict(descriptions=descriptions, pictures=pictures, audit=audit)[what](int(n))
        print('\n', pd.Series(facts).to_json())
        return
    rows = []
    for what in asked.only:
        for n in SIZES[what]:
            words = [sys.executable, '-W', 'ignore', __file__, '--one', what, str(n)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            facts = json.loads(done.stdout.split('\n')[-2])
            rows.append(dict(what=what, n=n) | facts)
            print(rows[-1], flush=True)
            table = law(rows).round(4).assign(cores=os.cpu_count(), command=command())
            table.to_csv(asked.out, index=False)


if __name__ == '__main__':
    main()
