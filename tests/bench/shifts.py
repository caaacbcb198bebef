"""Which kind of shift the gate names, and what is wrong with confidence before and after it refuses.

Gates are fitted on two fifths of a data set, with a threshold from two fifths, and asked about the
twelve degradations of pictures of the last fifth; near-duplicates stay together. Then a probe is
trained on one data set and judged on its held-out pictures, as they are and degraded, and on another
laboratory's pictures, of which only the classes that both have are used. Nothing is chosen here.

    python tests/bench/shifts.py --data pbc=DATA/pbc8_sample taleqani=DATA/taleqani/Original \\
        --photo DATA/photos/cat.jpg --classes eosinophil,lymphocyte,monocyte,neutrophil \\
        --probe pbc --other wbc100=DATA/wbc100/labels.csv --weights WEIGHTS --out results/shifts.csv
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from gate import EMPTY
from PIL import Image
from said import command

from leukocls.data.degradations import DEGRADATIONS, degrade
from leukocls.data.images import open_cell
from leukocls.data.splits import near_groups
from leukocls.data.survey import look
from leukocls.data.table import read_table
from leukocls.measure.appearance import gate_numbers
from leukocls.measure.changes import KINDS, looks_at
from leukocls.measure.domain import fit_gate
from leukocls.measure.metrics import wilson
from leukocls.runs.across import CONFIDENT, read_sources
from leukocls.runs.experiment import train_all

# Pictures of a data set at most, and pictures of the last fifth that are degraded
MOST, NEW = 1500, 100
KIND_OF_WORDS = {words: kind for kind, words in KINDS.items()}


def sides_of(table, rng):
    "Rows to learn from, rows for the threshold, new rows; copies together."
    group = near_groups(table).group.to_numpy()
    side = rng.permutation(np.unique(group))
    side = dict(zip(side, np.arange(len(side)) % 5))
    which = np.array([side[g] for g in group])
    return [np.flatnonzero(np.isin(which, part)) for part in ((0, 1), (2, 3), (4,))]


def share(hits, n):
    low, high = wilson(hits, n) if n else (np.nan, np.nan)
    value = hits / n if n else np.nan
    return [round(float(v), 4) for v in (value, low, high)]


def asked(gate, before, looks, made, kind):
    "A row of the confusion table."
    answer = gate(looks)
    numbers = (gate_numbers(looks) - gate.middle) / gate.scale
    named = [name or 'none' for name in gate.changes.name(numbers)]
    refused = ~answer.in_domain.to_numpy(bool)
    said = [KIND_OF_WORDS.get(words, 'other words') for words in answer.reason[refused]]
    counts = {f'named {k}': named.count(k) for k in ('none', *KINDS)}
    right, low, high = share(named.count(kind), len(named))
    told, told_low, told_high = share(said.count(kind), len(said))
    row = dict(part='names', made=made, kind=kind, n=len(named), right=right)
    row |= dict(right_low=low, right_high=high, **counts)
    for name, mask in (('refused', refused), ('refused_before', ~before(looks).in_domain)):
        row |= dict(zip((name, f'{name}_low', f'{name}_high'), share(int(mask.sum()), len(mask))))
    return row | dict(right_of_refused=told, told_low=told_low, told_high=told_high)


def confusion(name, folder, photo):
    "Rows for one data set."
    rng = np.random.default_rng(0)
    table = read_table(folder)
    if len(table) > MOST:
        table = table.sample(MOST, random_state=0).sort_values('path').reset_index(drop=True)
    train, held, new = sides_of(table, rng)
    looks = look(table.path)
    paths = list(table.path)
    pictures = [paths[i] for i in train]
    gate = fit_gate(looks[train], looks[held], pictures=pictures)
    before = fit_gate(looks[train], looks[held])
    few = [np.asarray(open_cell(paths[i])) for i in rng.permutation(new)[:NEW]]
    rows = [asked(gate, before, looks[new], 'as it is', 'none')]
    for d in DEGRADATIONS.values():
        shown = looks_at([degrade(a, d.name, i) for i, a in enumerate(few)])
        rows.append(asked(gate, before, shown, d.name, d.kind))
    side = min(few[0].shape[:2])
    empty = [make(rng, side) for make in EMPTY.values() for _ in range(5)]
    empty = [np.asarray(im.convert('RGB')) for im in empty]
    empty += [np.asarray(Image.open(photo).convert('RGB'))] if photo else []
    rows.append(asked(gate, before, looks_at(empty), 'no blood', 'other'))
    return [dict(data=name) | row for row in rows]


def confident(run, paths, labels, made):
    "What is wrong and more than 90 % sure, of all, and of what the gate lets pass."
    from leukocls.models.predictor import predict_images

    answers = predict_images(run, paths)
    wrong = answers.pred.to_numpy(str) != np.asarray(labels, str)
    sure = answers.filter(regex='^p_').to_numpy(float).max(1) > CONFIDENT
    inside = answers.in_domain.fillna(False).to_numpy(bool)
    alone = ~answers.refer.to_numpy(bool)
    row = dict(part='confident wrong', made=made, n=len(wrong))
    for name, hits in (
        ('wrong', wrong),
        ('confident_wrong', wrong & sure),
        ('refused', ~inside),
        ('confident_wrong_passed', wrong & sure & inside),
        ('wrong_answered_alone', wrong & alone),
    ):
        row |= dict(zip((name, f'{name}_low', f'{name}_high'), share(int(hits.sum()), len(hits))))
    return row


def confidence(name, data, other, classes, recipe):
    "Rows for one probe."
    other_name, other_data = other
    table = read_sources({name: data, other_name: other_data}, classes=classes)
    home, away = (table[table.source == s].reset_index(drop=True) for s in (name, other_name))
    with tempfile.TemporaryDirectory() as folder:
        run = train_all(home, out=f'{folder}/runs', progress=False, **recipe)[0]
        held = run.table[run.table.split == 'test']
        rows = [confident(run, list(held.path), held.label, 'as it is')]
        for d in DEGRADATIONS.values():
            paths = []
            for i, path in enumerate(held.path):
                paths.append(f'{folder}/{d.name}-{i}.png')
                Image.fromarray(degrade(np.asarray(open_cell(path)), d.name, i)).save(paths[-1])
            rows.append(confident(run, paths, held.label, d.name))
        rows.append(confident(run, list(away.path), away.label, other_name))
        reasons = run_reasons(run, list(away.path))
    rows[-1]['reasons'] = reasons
    return [dict(data=name) | row for row in rows]


def run_reasons(run, paths):
    "Reason of refusal = number of pictures."
    from leukocls.models.predictor import predict_images

    answers = predict_images(run, paths)
    outside = answers[~answers.in_domain.fillna(True).astype(bool)]
    counts = outside.why.str.extract(r'\((.*)\)')[0].value_counts()
    return '; '.join(f'{words} {n}' for words, n in counts.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', nargs='+', required=True)
    parser.add_argument('--photo')
    parser.add_argument('--classes')
    parser.add_argument('--probe')
    parser.add_argument('--other')
    parser.add_argument('--recipe', default='probe')
    parser.add_argument('--weights')
    parser.add_argument('--view')
    parser.add_argument('--out', required=True)
    args = parser.parse_args()
    data = dict(one.split('=', 1) for one in args.data)
    rows = []
    for name, folder in data.items():
        rows += confusion(name, folder, args.photo)
    if args.probe:
        changes = dict(weights=args.weights, view=args.view)
        recipe = dict(recipes=args.recipe) | {k: v for k, v in changes.items() if v}
        other = args.other.split('=', 1)
        rows += confidence(args.probe, data[args.probe], other, args.classes.split(','), recipe)
    table = pd.DataFrame(rows).assign(command=command())
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False, lineterminator='\n')
    print(table.drop(columns='command').to_string())


if __name__ == '__main__':
    main()
