"""What adapting a probe to another laboratory gains: without labels, and with a few.

A probe is trained on one data set. First its held-out pictures are degraded in twelve ways, each as a
laboratory of its own, whose classes are mixed evenly, mildly otherwise, mostly of one class, or all of
one: balanced accuracy before and after adapting, and how often `adapt` warns. Everything was chosen
on these. Then it is adapted to another laboratory, of which nothing was used to choose anything:
without labels, and with 5 and 10 labelled cells a class, drawn at random (means of so many draws) or
chosen by `choose_cells`, each judged on all others.

    python tests/bench/adapt.py --data pbc=DATA/pbc8_sample --other wbc100=DATA/wbc100/labels.csv \\
        --classes eosinophil,lymphocyte,monocyte,neutrophil --weights WEIGHTS --out results/adapt.csv
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from said import command

from leukocls.data.degradations import DEGRADATIONS, degrade
from leukocls.data.images import open_cell
from leukocls.measure.metrics import score
from leukocls.runs import adapt as adapting
from leukocls.runs.across import read_sources
from leukocls.runs.experiment import train_all

MIXES = ('even', 'mild', 'most of one', 'one class')
DRAWS, A_CLASS = 5, (5, 10)
NOBODY = pd.DataFrame(columns=['path', 'label', 'patient', 'source', 'split'], dtype='string')


def drawn(labels, mix, rng):
    "Rows of a laboratory whose classes are mixed in some way."
    of = {c: rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)}
    most = {c: len(of[c]) for c in of}
    if mix == 'mild':
        few = rng.choice(list(of), len(of) // 2, replace=False)
        most |= {c: len(of[c]) // 3 for c in few}
    if mix in ('most of one', 'one class'):
        one = rng.choice(list(of))
        most = {c: len(of[c]) if c == one else 5 * (mix == 'most of one') for c in of}
    return np.concatenate([of[c][: most[c]] for c in of])


def task_of(run, paths, learned=NOBODY, seed=0):
    return adapting._Task(run, list(paths), learned, NOBODY, 'auto', seed, False)


def judged(head, features, table):
    "Balanced accuracy and accuracy, with their intervals."
    known = dict(zip(table.path, features(list(table.path))[0]))
    answers = adapting._predict(head, known, list(table.path))
    truth = table[['path', 'label', 'patient']].reset_index(drop=True)
    scores = score(pd.concat([truth, answers], axis=1))
    row = {}
    for name in ('balanced_accuracy', 'accuracy', 'log_loss'):
        value = scores[name]
        row |= {name: value['value'], f'{name}_low': value['low'], f'{name}_high': value['high']}
    return row


def unadapted(run, features):
    "The head as the run has it."
    old = run.table
    train = (old.split == 'train').to_numpy()
    groups = adapting.groups_of(old)[train]
    X, y = features(list(old.path[train])), old.label[train].to_numpy(str)
    return adapting.known_head(X, y, groups, run.recipe.head, run.info['seed'])[0]


def on_degradations(run, folder):
    "Rows: each degradation and mix."
    held = run.table[run.table.split != 'train'].reset_index(drop=True)
    rng, rows = np.random.default_rng(0), []
    for d in DEGRADATIONS.values():
        paths = []
        for i, path in enumerate(held.path):
            paths.append(f'{folder}/{d.name}-{i}.png')
            changed = degrade(np.asarray(open_cell(path)), d.name, i)
            Image.fromarray(changed).save(paths[-1], compress_level=1)
        table = held.assign(path=paths)
        for mix in MIXES:
            use = drawn(table.label.to_numpy(str), mix, rng)
            _, features, head, notes = adapting.adapted_head(task_of(run, table.path.iloc[use]))
            row = dict(part='degradations', target=d.name, mix=mix, pictures=len(use), a_class=0)
            row |= dict(how='unlabelled', warned=int(len(notes) > 0))
            if mix == 'even':
                before = dict(row, how='as it is', mix='', pictures=0, warned=0)
                rows.append(before | judged(unadapted(run, features), features, table))
            rows.append(row | judged(head, features, table))
    return rows


def on_other(run, name, table):
    "Rows: the other laboratory, without labels and with some."
    _, features, head, notes = adapting.adapted_head(task_of(run, table.path))
    about = dict(part='other laboratory', target=name, pictures=len(table))
    before = judged(unadapted(run, features), features, table)
    rows = [about | dict(how='as it is', a_class=0, warned=0) | before]
    row = dict(how='unlabelled', a_class=0, warned=int(len(notes) > 0), notes=' '.join(notes))
    rows.append(about | row | judged(head, features, table))
    X = features(list(table.path))[0]
    for a_class in A_CLASS:
        draws = []
        for seed in range(DRAWS):
            picked = table.groupby('label').sample(a_class, random_state=seed).index
            draws.append(_with_labels(run, table, picked, features, seed))
        mean = pd.DataFrame(draws).mean().to_dict()
        least = dict(least=min(d['balanced_accuracy'] for d in draws))
        rows.append(about | dict(how=f'labelled, {DRAWS} draws', a_class=a_class) | mean | least)
        p = head.probabilities(X)
        chosen = adapting.choose_cells((X - head.mean) / head.scale, p, a_class)
        row = dict(how='labelled, chosen', a_class=a_class, labelled=len(chosen))
        rows.append(about | row | _with_labels(run, table, table.index[chosen], features, 0))
    return rows


def _with_labels(run, table, picked, features, seed):
    learned = table.loc[picked].reset_index(drop=True)
    rest = table.drop(index=picked).reset_index(drop=True)
    head = adapting.adapted_head(task_of(run, table.path, learned, seed))[2]
    return dict(labelled=len(learned)) | judged(head, features, rest)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', required=True)
    parser.add_argument('--other', required=True)
    parser.add_argument('--classes', required=True)
    parser.add_argument('--recipe', default='probe')
    parser.add_argument('--weights')
    parser.add_argument('--view')
    parser.add_argument('--out', required=True)
    args = parser.parse_args()
    (name, data), (other_name, other) = (v.split('=', 1) for v in (args.data, args.other))
    table = read_sources({name: data, other_name: other}, classes=args.classes.split(','))
    home, away = (table[table.source == s].reset_index(drop=True) for s in (name, other_name))
    changes = {k: v for k, v in dict(weights=args.weights, view=args.view).items() if v}
    with tempfile.TemporaryDirectory() as folder:
        run = train_all(home, args.recipe, out=f'{folder}/runs', progress=False, **changes)[0]
        rows = on_degradations(run, folder) + on_other(run, other_name, away)
    result = pd.DataFrame(rows).assign(data=name, recipe=args.recipe, command=command())
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    result.round(4).to_csv(args.out, index=False, lineterminator='\n')
    print(result.drop(columns='command').round(3).to_string())


if __name__ == '__main__':
    main()
