"""Patients from cells of which few carry the diagnosis: attention, its ablations, and the mean and
the maximum over a probe's cells, on drawn cohorts whose truth is known.

    python tests/bench/mil.py --part sweep shift cells --data PBC8 --weights WEIGHTS \\
        --out results/mil.csv
    python tests/bench/mil.py --part films --weights WEIGHTS --out films.csv

Parts (`--part`), each appended to the table:

sweep    100 patients of 150 cells to learn from, 100 others to judge; 3, 10, 30 % of an ill
         patient's cells carry the class; answers from the first 10, 50, 200 cells.
shift    82 patients of one laboratory to learn from, 100 others to judge, 5 %: in the same
         laboratory, in one with another stain, among other people. The defaults of `BagSettings`
         and of the recipe were chosen here.
cells    the same with real cells: pictures of pbc8_sample in eight looks, features of MobileNetV2;
         bystanders are mature cells, carriers immature granulocytes (of `kind`: erythroblasts in
         the others). Patients who learn and patients who judge share no picture. Needs `--data`,
         `--weights`.
films    drawn pictures, from the files to the patients, another laboratory's too (needs pretrained
         weights).

Cells are drawn as features: six kinds of bystanders in a mixture of each patient's own, carriers
near one of them. A patient and a laboratory move all their cells; a laboratory also stretches each
feature. `presence`: healthy patients have no carriers. `kind`: all patients have some, of another
kind in each class, as blasts of two leukaemias.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from leukocls.models.bags import POOLS, for_cohort
from leukocls.train.mil import BagSettings, fit_bags
from leukocls.train.probe import Head

COMMAND = (
    'python tests/bench/mil.py --part sweep shift cells --data PBC8 --weights WEIGHTS'
    ' --out results/mil.csv'
)
FEATURES, LATENT, TYPES = 200, 12, 6


# Where the patients are who are judged
PLACES = (
    'the same laboratory',
    'another stain',
    'other people (75 % ill, other bystanders)',
    'another stain and other people',
)


def draw_world(seed, scenario):
    "What cells look like: the same for all patients and laboratories of a world."
    rng = np.random.default_rng([seed, 1])
    world = dict(
        seed=seed,
        types=rng.normal(0, 2, (TYPES, LATENT)),
        seen=rng.normal(0, LATENT**-0.5, (LATENT, FEATURES)),
        looks=rng.normal(0, 6**-0.5, (6, FEATURES)),
    )
    away, apart = (v / np.linalg.norm(v) for v in rng.normal(size=(2, LATENT)))
    carrier = world['types'][0] + 3.5 * away
    if scenario == 'presence':
        world['carriers'] = {1: carrier}
    else:
        world['carriers'] = {0: carrier - 1.5 * apart, 1: carrier + 1.5 * apart}
    return world


def draw_study(world, study, patients, cells, share, lab=0):
    "Features (N, D), (N,) patients, (P,) classes, (N,) whether each cell carries the class."
    rng = np.random.default_rng([world['seed'], 2, study])
    other_people = lab in (2, 3)
    ill = 0.75 if other_people else 0.4
    mixture = 2 * rng.lognormal(0, 1, TYPES) if other_people else np.full(TYPES, 2.0)
    y = (rng.permutation(patients) < ill * patients).astype(int)
    X, carries = [], []
    for label in y:
        kinds = rng.choice(TYPES, cells, p=rng.dirichlet(mixture))
        latent = world['types'][kinds]
        own = np.zeros(cells, bool)
        if label in world['carriers']:
            own = rng.random(cells) < min(0.9, share * rng.lognormal(0, 0.4))
            own[rng.integers(cells)] |= not own.any()
            latent[own] = world['carriers'][label]
        latent = latent + rng.normal(size=latent.shape)
        look = rng.normal(0, 0.5, 6) @ world['looks']
        X.append(latent @ world['seen'] + look + rng.normal(0, 0.5, (cells, FEATURES)))
        carries.append(own)
    X = np.concatenate(X)
    if lab in (1, 3):
        rng = np.random.default_rng([world['seed'], 3])
        shift = 1.5 * rng.normal(0, 8**-0.5, 8) @ rng.normal(0, 1, (8, FEATURES))
        shift += rng.normal(0, 0.5, 6) @ world['looks']
        X = X * rng.lognormal(0, 0.2, FEATURES) + shift
    owner = np.repeat(np.arange(patients), cells)
    return X.astype('float32'), owner, y, np.concatenate(carries)


def auroc_rows(per_world, **facts):
    "One row: the mean AUROC over worlds, its interval over patients."
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(400):
        values = []
        for y, score in per_world:
            rows = rng.integers(0, len(y), len(y))
            if 0 < y[rows].sum() < len(rows):
                values.append(roc_auc_score(y[rows], score[rows]))
        draws.append(np.mean(values))
    value = np.mean([roc_auc_score(y, score) for y, score in per_world])
    low, high = np.percentile(draws, [2.5, 97.5])
    return facts | dict(auroc=round(value, 3), low=round(low, 3), high=round(high, 3))


def first_cells(owner, n):
    "Whether each cell is among the first n of its patient."
    place = pd.Series(owner).groupby(owner).cumcount().to_numpy()
    return place < n


def score_of(bags, X, owner):
    "(P,) probability of the second class of each patient, (N,) share of each cell."
    answers, share = bags.answer(X, [f'{i:05}' for i in owner])
    return answers['p_1'].to_numpy(), share


def by_cells(p, owner):
    "Scores of patients by simple rules on the probabilities of a probe's cells."
    groups = pd.Series(p).groupby(owner)
    return {
        'probe, mean of cells': groups.mean().to_numpy(),
        'probe, median of cells': groups.median().to_numpy(),
        'probe, most suspicious cell': groups.max().to_numpy(),
        'probe, top tenth of cells': groups.apply(
            lambda own: own.nlargest(max(1, len(own) // 10)).mean()
        ).to_numpy(),
    }


def fit(X, owner, y, pool='attention', reference='cohort', settings=None, **how):
    return fit_bags(
        # of several views, the first is the cell as it is
        X if X.ndim == 3 else X[None],
        y[owner].astype(str),
        [f'{i:05}' for i in owner],
        pool,
        reference,
        settings=settings,
        **how,
    ).bags


def sweep(worlds, scenarios, shares):
    "AUROC by share of carriers, cells of a patient and method; AUROC of attention for carriers."
    rows = []
    for scenario in scenarios:
        for share in shares:
            found = [sweep_one(draw_world(seed, scenario), share) for seed in range(worlds)]
            for cells, method in found[0][0]:
                per_world = [scores[cells, method] for scores, *_ in found]
                facts = dict(part='sweep', scenario=scenario, share=share, cells=cells)
                row = auroc_rows(per_world, **facts, method=method)
                if method == 'mil, attention':
                    finds, seconds = (np.mean([one[i] for one in found]) for i in (1, 2))
                    row |= dict(attention_finds=round(finds, 3), cpu_seconds=round(seconds, 1))
                rows.append(row)
            print(pd.DataFrame(rows).tail(24).to_string(), flush=True)
    return rows


def sweep_one(world, share):
    """{(cells, method): (classes, scores)} of patients of one world, the AUROC of attention for
    carriers, and the processor seconds of one fit.
    """
    X, owner, y, _ = draw_study(world, 0, 100, 150, share)
    new, of, y_new, carries = draw_study(world, 1, 100, 200, share)
    head = Head('linear', 1e-2).fit(X, y[owner].astype(str))
    began = time.process_time()
    fitted = {'attention': fit(X, owner, y)}
    cpu_seconds = time.process_time() - began
    fitted |= {pool: fit(X, owner, y, pool) for pool in POOLS if pool != 'attention'}
    scores = {}
    for n in (10, 50, 200):
        some = first_cells(of, n)
        ways = by_cells(head.probabilities(new[some])[:, 1], of[some])
        ways |= {
            f'mil, {pool}': score_of(bags, new[some], of[some])[0] for pool, bags in fitted.items()
        }
        scores |= {(n, name): (y_new, score) for name, score in ways.items()}
    weight = score_of(fitted['attention'], new, of)[1]
    ill = np.isin(y_new[of], list(world['carriers']))
    return scores, roc_auc_score(carries[ill], weight[ill]), cpu_seconds


# What is changed from the defaults, one at a time
ABLATION = {
    'as it is': {},
    'compared with the training cells': dict(reference='train'),
    "compared with the patient's mean": dict(reference='patient'),
    'patients not moved': dict(moved=0.0),
    'attention held back as the scores': dict(decay=10.0),
    '48 directions': dict(rank=48),
    '96 directions': dict(rank=96),
    'mean instead of attention': dict(pool='mean'),
}
# Only where cells are pictures: so many variations of each are learned from too
VARIED = {'4 variations of each picture': dict(varied=True)}
VARIATIONS = 4


def shift(worlds, scenarios, names=None):
    "What helps from one laboratory to another one."
    rows = []
    for scenario in scenarios:
        studies = []
        for seed in range(worlds):
            world = draw_world(seed, scenario)
            learn = draw_study(world, 0, 82, 150, 0.05)
            tests = [draw_study(world, 1, 100, 150, 0.05, lab) for lab in range(len(PLACES))]
            studies.append((learn, tests))
        facts = dict(part='shift', scenario=scenario, share=0.05, cells=150)
        rows += rows_of_studies(studies, names, facts)
    return rows


def rows_of_studies(studies, names, facts):
    "Rows of every line of the ablation, and of a probe's simple rules."
    rows = []
    changes = ABLATION | (VARIED if facts['part'] == 'cells' else {})
    for name in names or changes:
        began = time.process_time()
        scores = [scores_of_change(*study, **changes[name]) for study in studies]
        seconds = round((time.process_time() - began) / len(studies), 1)
        rows += rows_of_places(scores, **facts, method=name, cpu_seconds=seconds)
        print(pd.DataFrame(rows).tail(len(PLACES)).to_string(header=False), flush=True)
    of_probe = [scores_of_probe(*study) for study in studies]
    for name in of_probe[0]:
        rows += rows_of_places([one[name] for one in of_probe], **facts, method=name)
    return rows


def scores_of_change(learn, tests, varied=False, **change):
    "(classes, scores) of each test, with one thing changed from the defaults."
    decides = {k: change.pop(k) for k in list(change) if hasattr(BagSettings, k)}
    X, owner, y, _ = learn
    # of cells that are pictures: as they are, then their variations
    X = X if varied or X.ndim == 2 else X[0]
    bags = fit(X, owner, y, settings=replace(BagSettings(), **decides), **change)
    return [(y_new, score_of(for_cohort(bags, new, of), new, of)[0]) for new, of, y_new, _ in tests]


def scores_of_probe(learn, tests):
    "The same of simple rules on a probe's cells: name → list."
    X, owner, y, _ = learn
    X = X if X.ndim == 2 else X[0]
    head = Head('linear', 1e-2).fit(X, y[owner].astype(str))
    found = {}
    for new, of, y_new, _ in tests:
        for name, score in by_cells(head.probabilities(new)[:, 1], of).items():
            found.setdefault(name, []).append((y_new, score))
    return found


def rows_of_places(per_study, **facts):
    return [
        auroc_rows([scores[i] for scores in per_study], **facts, where=place)
        for i, place in enumerate(PLACES)
    ]


BYSTANDERS = 'neutrophil', 'eosinophil', 'basophil', 'monocyte', 'lymphocyte', 'platelet'
LOOKS = 4  # of each of two laboratories


def real_cells(data, weights):
    """(looks, V, N, D) features of pictures in each look, as they are and of the first laboratory's
    their variations, and (N,) their types.
    """
    import torch
    from PIL import Image

    from leukocls.models.frozen import FrozenBody
    from leukocls.train.augment import Variations, vary_stain

    files = sorted(Path(data).glob('*/*.*'))
    pictures = [np.asarray(Image.open(f).convert('RGB').resize((96, 96))) for f in files]
    x = torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    frozen, features = FrozenBody('mobilenetv2_100', weights, 96), []
    rng = np.random.default_rng(0)
    lab = [np.zeros((3, 3)), rng.uniform(-0.3, 0.3, (3, 3)) * (np.eye(3) + 0.3)]
    lamp = [np.ones(3), rng.uniform(0.8, 1, 3)]
    with tempfile.TemporaryDirectory() as folder:
        for look in range(2 * LOOKS):
            own = rng.uniform(-0.1, 0.1, (3, 3)) * (np.eye(3) + 0.2)
            mix = torch.tensor(np.eye(3) + lab[look // LOOKS] + own).float()
            light = torch.tensor(lamp[look // LOOKS] * rng.uniform(0.95, 1, 3)).float()
            seen = vary_stain(x, mix.expand(len(x), 3, 3), light.expand(len(x), 3))
            paths = [f'{folder}/{look}-{i}.png' for i in range(len(x))]
            for path, picture in zip(paths, (255 * seen).byte().permute(0, 2, 3, 1).numpy()):
                Image.fromarray(picture).save(path, compress_level=1)
            vary = Variations('travel', VARIATIONS) if look < LOOKS else None
            features.append(frozen(paths, vary=vary))
            print('look', look, flush=True)
    return features, np.array([f.parent.name for f in files])


def draw_real(features, types, scenario, seed, study, patients, cells, share, lab):
    "As `draw_study`; study 0 and study 1 share no picture."
    rng = np.random.default_rng([seed, 4, study])
    mine = np.arange(len(types)) % 2 == study
    of_type = {name: np.flatnonzero((types == name) & mine) for name in np.unique(types)}
    carriers = {1: 'ig'} if scenario == 'presence' else {1: 'ig', 0: 'erythroblast'}
    other_people = lab in (2, 3)
    mixture = 2 * rng.lognormal(0, 1, len(BYSTANDERS)) if other_people else [2.0] * len(BYSTANDERS)
    y = (rng.permutation(patients) < (0.75 if other_people else 0.4) * patients).astype(int)
    X, carries = [], []
    for label in y:
        kinds = rng.choice(BYSTANDERS, cells, p=rng.dirichlet(mixture)).astype(object)
        own = np.zeros(cells, bool)
        if label in carriers:
            own = rng.random(cells) < min(0.9, share * rng.lognormal(0, 0.4))
            own[rng.integers(cells)] |= not own.any()
            kinds[own] = carriers[label]
        look = rng.integers(LOOKS) + LOOKS * (lab in (1, 3))
        X.append(features[look][:, [rng.choice(of_type[kind]) for kind in kinds]])
        carries.append(own)
    owner = np.repeat(np.arange(patients), cells)
    X = np.concatenate(X, 1)
    # who is judged is judged by the cells as they are
    return X[0] if study else X, owner, y, np.concatenate(carries)


def of_real_cells(data, weights, worlds, scenarios, names=None):
    "What helps from one laboratory to another one, with real cells."
    features, types = real_cells(data, weights)
    rows = []
    for scenario in scenarios:
        studies = [
            (
                draw_real(features, types, scenario, seed, 0, 82, 100, 0.05, 0),
                [
                    draw_real(features, types, scenario, seed, 1, 100, 100, 0.05, lab)
                    for lab in range(len(PLACES))
                ],
            )
            for seed in range(worlds)
        ]
        facts = dict(part='cells', scenario=scenario, share=0.05, cells=100)
        rows += rows_of_studies(studies, names, facts)
    return rows


def films(weights):
    "Drawn pictures of two laboratories, from the table to the patients."
    from leukocls.data.films import draw_cohort
    from leukocls.models.predictor import evaluate
    from leukocls.runs.experiment import train_all

    rows, of = [], dict(patient='patient', label='diagnosis')
    with tempfile.TemporaryDirectory() as folder:
        here = draw_cohort(f'{folder}/here', patients=80, cells=40, share=0.1)
        other = draw_cohort(f'{folder}/other', patients=40, cells=40, share=0.1, lab=1)
        for recipe in ('mil', 'probe'):
            began = time.process_time()
            (run,) = train_all(
                here, recipe, out=folder, weights=weights, size=96, progress=False, **of
            )
            seconds = round(time.process_time() - began, 1)
            judged = dict(here=run.metrics, other=evaluate(run, other, **of))
            for where, metrics in judged.items():
                told = metrics['patients']
                auroc = {k: round(v, 3) for k, v in told['auroc'].items()}
                facts = dict(part='films', share=0.1, cells=40, method=f"{recipe}, {told['rule']}")
                where = f"{where}: {told['n']} patients"
                values = dict(auroc=auroc['value'], low=auroc['low'], high=auroc['high'])
                rows.append(facts | dict(where=where) | values | dict(cpu_seconds=seconds))
                print(rows[-1], flush=True)
    return rows


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--out', required=True)
    ap.add_argument('--part', nargs='*', default=['sweep', 'shift'])
    ap.add_argument('--worlds', type=int, default=1, help='drawn worlds of each setting')
    ap.add_argument('--scenario', nargs='*', default=['presence', 'kind'])
    ap.add_argument('--share', nargs='*', type=float, default=[0.03, 0.1, 0.3])
    ap.add_argument('--only', nargs='*', help='of shift and cells: these lines only')
    ap.add_argument('--weights', help='of cells and films: folder of pretrained weights')
    ap.add_argument('--data', help='of the part cells: folder of pbc8_sample')
    a = ap.parse_args()
    rows = []
    if 'sweep' in a.part:
        rows += sweep(a.worlds, a.scenario, a.share)
    if 'shift' in a.part:
        rows += shift(a.worlds, a.scenario, a.only)
    if 'cells' in a.part:
        rows += of_real_cells(a.data, a.weights, a.worlds, a.scenario, a.only)
    if 'films' in a.part:
        rows += films(a.weights)
    pd.DataFrame(rows).assign(command=COMMAND).to_csv(a.out, index=False)


if __name__ == '__main__':
    main()
