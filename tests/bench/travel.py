"""What a probe loses in another laboratory, and what brings it back. Writes results/travel.csv.

python tests/bench/travel.py ../shared/data ../shared/weights/mobilenetv2_100_imagenet

A probe learns four classes from 60 pictures each of Barcelona (pbc8_sample). Three ingredients are
there or not: the view of the cell, variations of the training pictures, and standardising by the
mean and deviation of the unlabelled pictures that are judged. It is judged on 30 other pictures of
each class, as they are and after each of twelve degradations. What is best there, among what needs
no picture of the other laboratory, is `chosen`. After that, and once, all rows are judged on wbc100,
on which nothing was chosen.
"""

import argparse
import itertools
import os
import tempfile
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import pandas as pd
from PIL import Image

from leukocls.data.degradations import DEGRADATIONS, degrade
from leukocls.data.images import open_cell
from leukocls.models.frozen import FrozenBody
from leukocls.train.augment import Variations
from leukocls.train.probe import known_head

COMMAND = 'python tests/bench/travel.py ../shared/data ../shared/weights/mobilenetv2_100_imagenet'
CLASSES = 'eosinophil', 'lymphocyte', 'monocyte', 'neutrophil'
TRAINING, HELD = 60, 30
ALL = ('view', 'variations', 'cohort')


def barcelona(data):
    "(training paths, labels), (held-out paths, labels)"
    train, held = [], []
    for label in CLASSES:
        files = sorted((data / 'pbc8_sample' / label).iterdir())
        train += [(str(p), label) for p in files[:TRAINING]]
        held += [(str(p), label) for p in files[TRAINING : TRAINING + HELD]]
    return zip(*train), zip(*held)


def other_laboratory(data):
    table = pd.read_csv(data / 'wbc100' / 'labels.csv')
    table = table[table.label.isin(CLASSES)]
    return [str(data / 'wbc100' / p) for p in table.path], table.label.tolist()


def degraded(paths, name, folder):
    "Files with the same pictures as another laboratory would have them."
    files = []
    for seed, path in enumerate(paths):
        file = Path(folder, name, f'{Path(path).stem}.png')
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(degrade(np.asarray(open_cell(path)), name, seed)).save(
            file, compress_level=1
        )
        files.append(str(file))
    return files


def judge(head, X, labels, cohort):
    "(labels, predictions, whether each is wrong with more than 0.9)"
    if cohort:
        # as if these pictures had the mean and deviation of the training pictures
        usual = np.where(np.isfinite(head.scale), head.scale, 0)
        X = (X - X.mean(0)) / (X.std(0) + 1e-3) * usual + head.mean
    p = head.probabilities(X)
    predicted = np.array(head.classes)[p.argmax(1)]
    return np.array(labels), predicted, (p.max(1) > 0.9) & (predicted != labels)


def balanced(labels, predicted):
    return np.mean([np.mean(predicted[labels == c] == c) for c in np.unique(labels)])


def interval(labels, predicted, draws=2000):
    "95 % interval of balanced accuracy: pictures drawn again within their class."
    rng = np.random.default_rng(0)
    means = []
    for c in np.unique(labels):
        right = (predicted[labels == c] == c).astype(float)
        means.append(rng.choice(right, (draws, len(right))).mean(1))
    return np.percentile(np.mean(means, 0), [2.5, 97.5])


def all_features(frozen, data, variations, folder):
    "Features by name: `train` (V, n, D), and (n, D) of every set that is judged."
    (train, labels), (held, held_labels) = barcelona(data)
    vary = Variations('travel', variations)
    X = dict(train=frozen(train, vary=vary), clean=frozen(held)[0])
    for name in DEGRADATIONS:
        X[name] = frozen(degraded(held, name, folder))[0]
        print(frozen.pixels, name, flush=True)
    return X, np.array(labels), np.array(held_labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path)
    parser.add_argument('weights', type=Path)
    parser.add_argument('--variations', type=int, default=4)
    parser.add_argument('--out', type=Path, default=Path('results/travel.csv'))
    options = parser.parse_args()
    frozen = {
        view: FrozenBody('mobilenetv2_100', options.weights, 224, view=view)
        for view in ('whole', 'cell')
    }
    with tempfile.TemporaryDirectory() as folder:
        known = {
            v: all_features(f, options.data, options.variations, folder) for v, f in frozen.items()
        }
    rows, heads = [], {}
    for ingredients in itertools.product((False, True), repeat=3):
        has = dict(zip(ALL, ingredients))
        view = 'cell' if has['view'] else 'whole'
        X, labels, held_labels = known[view]
        learned = X['train'] if has['variations'] else X['train'][:1]
        head, _ = known_head(learned, labels, np.arange(len(labels)))
        heads[ingredients] = head
        judged = {
            n: judge(head, X[n], held_labels, has['cohort']) for n in ('clean', *DEGRADATIONS)
        }
        each = {n: balanced(t, p) for n, (t, p, _) in judged.items()}
        sure = [wrong.mean() for n, (*_, wrong) in judged.items() if n != 'clean']
        shifted = [each[n] for n in DEGRADATIONS]
        rows.append(
            dict(
                **has,
                barcelona=each['clean'],
                degraded=np.mean(shifted),
                worst=min(shifted),
                sure_and_wrong=np.mean(sure),
                **{n: each[n] for n in DEGRADATIONS},
            )
        )
    table = pd.DataFrame(rows)
    alone = table[~table.cohort]
    table['chosen'] = table.index == alone.degraded.idxmax()
    print(table.round(3).to_string(), flush=True)

    # once, after the choice
    paths, labels = other_laboratory(options.data)
    X = {view: f(paths)[0] for view, f in frozen.items()}
    for i, (ingredients, head) in enumerate(heads.items()):
        view = 'cell' if ingredients[0] else 'whole'
        truth, predicted, wrong = judge(head, X[view], labels, ingredients[2])
        low, high = interval(truth, predicted)
        table.loc[i, ['wbc100', 'wbc100_low', 'wbc100_high']] = (
            balanced(truth, predicted),
            low,
            high,
        )
        table.loc[i, 'wbc100_sure_and_wrong'] = wrong.mean()
        for c in CLASSES:
            table.loc[i, f'wbc100_{c}'] = np.mean(predicted[truth == c] == c)
    table = table.round(4).assign(command=COMMAND)
    table.to_csv(options.out, index=False, lineterminator='\n')
    print(table.round(3).T.to_string())


if __name__ == '__main__':
    main()
