"""Cells of fields, cut as a model's training pictures were, against the same cells in pictures of
their own: what the gate accepts, and what is right. Fields are four pictures of single cells, of
pictures that the model has not learned from, side by side.

python tests/bench/fields.py --data PBC8_SAMPLE --weights WEIGHTS --out results/fields.csv
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

CLASSES = 'eosinophil', 'lymphocyte', 'monocyte', 'neutrophil'
SIDE = 360
COMMAND = (
    'python tests/bench/fields.py --data PBC8_SAMPLE --weights WEIGHTS --out results/fields.csv'
)


def trained(data, weights, folder):
    "A bundle of a probe on the first 60 pictures of each class."
    from leukocls.deploy.bundle import export_bundle
    from leukocls.deploy.classifier import Classifier
    from leukocls.runs.experiment import train_all

    for label in CLASSES:
        (folder / 'few' / label).mkdir(parents=True)
        for path in sorted((data / label).glob('*.jpg'))[:60]:
            (folder / 'few' / label / path.name).symlink_to(path)
    how = dict(out=folder / 'runs', weights=weights, device='cpu', seed=0)
    run = train_all(folder / 'few', 'probe', **how)[0]
    return Classifier.load(export_bundle(run, folder / 'bundle'))


def fields_of(files, seed=0):
    "(classes, picture) of four files at a time."
    order = np.random.default_rng(seed).permutation(len(files))
    for start in range(0, len(files) - 3, 4):
        four = [files[i] for i in order[start : start + 4]]
        field = Image.new('RGB', (2 * SIDE, 2 * SIDE))
        for i, (_, path) in enumerate(four):
            single = Image.open(path).convert('RGB').resize((SIDE, SIDE))
            field.paste(single, (SIDE * (i % 2), SIDE * (i // 2)))
        yield [label for label, _ in four], field


def judged(clf, files):
    "Booleans (accepted, right) of pictures as they are, and of the cells of fields."
    from leukocls.deploy.fields import answer_field

    whole, cells, seconds = [], [], []
    for label, path in files:
        answer = clf(str(path))
        whole.append((bool(answer.in_domain), answer.label == label))
    for labels, field in fields_of(files):
        began = time.perf_counter()
        answer = answer_field(clf, field)
        seconds.append(time.perf_counter() - began)
        for cell in answer.cells:
            if cell.prediction is not None:
                label = labels[int(cell.x // SIDE) + 2 * int(cell.y // SIDE)]
                cells.append((bool(cell.prediction.in_domain), cell.prediction.label == label))
    return whole, cells, seconds


def rows_of(name, outcomes):
    "Shares with 95 % intervals (Wilson)."
    from leukocls.measure.metrics import wilson

    rows = []
    for what, values in zip(('accepted by the gate', 'right'), np.array(outcomes).T):
        low, high = wilson(values.sum(), len(values))
        found = dict(pictures=name, what=what, n=len(values), value=values.mean())
        rows.append(found | dict(low=float(low), high=float(high)))
    return rows


def main():
    words = argparse.ArgumentParser()
    words.add_argument('--data', type=Path, required=True)
    words.add_argument('--weights', required=True)
    words.add_argument('--out', type=Path, required=True)
    given = words.parse_args()
    clf = trained(given.data, given.weights, Path(tempfile.mkdtemp()))
    files = [(k, p) for k in CLASSES for p in sorted((given.data / k).glob('*.jpg'))[60:100]]
    whole, cells, seconds = judged(clf, files)
    rows = rows_of('single cells', whole) + rows_of('cells of fields', cells)
    rows.append(
        dict(pictures='fields', what='seconds each', n=len(seconds), value=np.mean(seconds))
    )
    table = pd.DataFrame(rows).round(3).assign(command=COMMAND)
    table.to_csv(given.out, index=False)
    print(table)


if __name__ == '__main__':
    main()
