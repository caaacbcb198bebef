"""What a fine-tuned network loses in another laboratory, and what brings it back. Writes
results/travel-networks.csv.

python tests/bench/travel_networks.py ../shared/data ../shared/weights/mobilenetv2_100_imagenet

MobileNetV2 learns four classes from 60 pictures each of Barcelona (pbc8_sample), as tests/bench/travel.py
lets a probe. Three ingredients of the training are there or not: the view of the cell, augmentation
`travel` instead of flips and turns, and what becomes of batch normalisation (trained, frozen, or group
normalisation in its place; the convolutions start from the same ImageNet weights, and both learn at a
tenth of the rate). A fourth, `cohort`, is of the judgement: batch normalisation by the unlabelled
pictures that are judged, as `leukocls adapt` does it. Each network is trained with two seeds (`cohort`
with the first alone, and where batch normalisation was trained), and judged on 30 other pictures of each
class, as they are and after each of twelve degradations. What is best there, among what needs no picture
of the other laboratory, is `chosen`. After that, and once, all rows are judged on wbc100, on which
nothing was chosen. Intervals are those of the pictures, of the mean over the seeds.
"""

import argparse
import itertools
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '2')

import numpy as np
import pandas as pd
import torch
from torch import nn
from travel import CLASSES, HELD, TRAINING, barcelona, degraded, other_laboratory

import leukocls.train.network as fit
from leukocls.data.degradations import DEGRADATIONS
from leukocls.data.images import Pixels, open_cell
from leukocls.models.predictor import predict_images
from leukocls.runs.adapt import _renormalise
from leukocls.train.folder import start_run
from leukocls.train.recipes import get_recipe

COMMAND = 'python tests/bench/travel_networks.py ../shared/data ../shared/weights/mobilenetv2_100_imagenet'
EPOCHS, SEEDS, GROUP, SIZE = 10, (0, 1), 8, 224
# Share of the recipe's learning rate: nothing holds the steps of a network whose normalisation is
# frozen, and at the whole rate it did not learn Barcelona's pictures (42 %)
RATES = dict(trained=1.0, frozen=0.1, group=0.1)


def by_groups(model):
    "Group normalisation, of eight channels each, in the place of each batch normalisation of images."
    for name, child in model.named_children():
        if not isinstance(child, nn.BatchNorm2d):
            by_groups(child)
            continue
        norm = nn.GroupNorm(child.num_features // GROUP, child.num_features, eps=child.eps)
        norm.load_state_dict(dict(weight=child.weight, bias=child.bias))
        # timm's normalisation holds the activation that follows it
        setattr(model, name, nn.Sequential(norm, getattr(child, 'act', nn.Identity())))


def seen(paths, view, folder):
    "Files of what the network sees of each picture, once for all networks: to the byte what it would see."
    pixels, files = Pixels(SIZE, view=view), []
    for number, path in enumerate(paths):
        file = Path(folder, view, f'{number}.png')
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels(open_cell(path)).save(file, compress_level=1)
        files.append(str(file))
    return files


def table_of(data):
    "60 pictures of a class to learn from; the ten after those that are judged say how far a fit is."
    (train, labels), _ = barcelona(data)
    valid = [
        (str(path), label)
        for label in CLASSES
        for path in sorted((data / 'pbc8_sample' / label).iterdir())[TRAINING + HELD :]
    ]
    rows = [(*row, 'train') for row in zip(train, labels)] + [(*row, 'valid') for row in valid]
    table = pd.DataFrame(rows, columns=['path', 'label', 'split'])
    return table.assign(patient=pd.NA)


def trained(table, weights, augment, norm, seed):
    "A fastai Learner."
    rates = tuple(RATES[norm] * rate for rate in get_recipe('mobilenetv2').lr)
    recipe = get_recipe(
        'mobilenetv2',
        lr=rates,
        weights=str(weights),
        size=SIZE,
        augment=augment,
        norm='frozen' if norm == 'frozen' else 'trained',
        epochs=EPOCHS,
        keep='last',
        precision='fp32' if norm == 'group' else 'auto',
    )
    usual = fit.cell_learner

    def with_groups(*args, **kwargs):
        learn = usual(*args, **kwargs)
        by_groups(learn.model)
        learn.create_opt()
        return learn

    if norm == 'group':
        fit.cell_learner = with_groups
    try:
        with tempfile.TemporaryDirectory() as out:
            folder, info = start_run(recipe, table, out, seed=seed)
            learn = fit.fit_network(recipe, table, folder, info, 'cpu', False).learner
    finally:
        fit.cell_learner = usual
    return learn


def answers_of(table, labels):
    "(whether each is right, whether each is wrong with more than 0.9)"
    right = (table.pred == np.array(labels)).to_numpy()
    return right, ~right & (table.filter(regex='^p_').max(axis=1) > 0.9).to_numpy()


def balanced(right, labels):
    "Mean over classes; `right` may have a row a seed."
    labels = np.array(labels)
    return np.mean([right[..., labels == c].mean(-1) for c in np.unique(labels)], 0)


def interval(right, labels, draws=2000):
    "95 % interval of the seeds' mean balanced accuracy: pictures drawn again within their class."
    rng, labels = np.random.default_rng(0), np.array(labels)
    means = []
    for c in np.unique(labels):
        share = right[:, labels == c].mean(0)
        means.append(rng.choice(share, (draws, len(share))).mean(1))
    return np.percentile(np.mean(means, 0), [2.5, 97.5])


def all_judged(learn, sets):
    "Name of a set → `answers_of` it."
    paths = [path for paths, _ in sets.values() for path in paths]
    table, answers = predict_images(learn, paths, engine='torch'), {}
    for name, (paths, labels) in sets.items():
        answers[name] = answers_of(table.iloc[: len(paths)], labels)
        table = table.iloc[len(paths) :]
    return answers


def all_adapted(learn, sets):
    "The same of networks whose batch normalisation has seen the pictures of each set."
    answers, kept = {}, {k: v.clone() for k, v in learn.model.state_dict().items()}
    for name, (paths, labels) in sets.items():
        _renormalise(learn, paths)
        answers[name] = answers_of(predict_images(learn, paths, engine='torch'), labels)
        learn.model.load_state_dict(kept)
    return answers


def row_of(how, seeds, sets):
    "Figures of the seeds' networks on Barcelona's pictures and their degradations."
    labels = sets['clean'][1]
    each = {
        name: balanced(np.stack([answers[name][0] for answers in seeds]), labels).mean()
        for name in ('clean', *DEGRADATIONS)
    }
    shifted = [each[name] for name in DEGRADATIONS]
    sure = [answers[name][1].mean() for answers in seeds for name in DEGRADATIONS]
    return how | dict(
        barcelona=each['clean'],
        degraded=np.mean(shifted),
        worst=min(shifted),
        sure_and_wrong=np.mean(sure),
        **{name: each[name] for name in DEGRADATIONS},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path)
    parser.add_argument('weights', type=Path)
    parser.add_argument('--out', type=Path, default=Path('results/travel-networks.csv'))
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ['OMP_NUM_THREADS']))
    table, rows, elsewhere, began = table_of(options.data), [], [], time.time()
    _, (held, labels) = barcelona(options.data)
    with tempfile.TemporaryDirectory() as folder:
        sets = dict(clean=(list(held), list(labels)))
        sets |= {name: (degraded(held, name, folder), list(labels)) for name in DEGRADATIONS}
        sets['wbc100'] = other_laboratory(options.data)
        arms = itertools.product(
            ('whole', 'cell'), ('turns', 'travel'), ('trained', 'frozen', 'group')
        )
        views = {}
        for view in ('whole', 'cell'):
            views[view] = (
                table.assign(path=seen(table.path, view, Path(folder, 'learned'))),
                {
                    name: (seen(paths, view, Path(folder, 'judged', name)), labels)
                    for name, (paths, labels) in sets.items()
                },
            )
            print(view, 'prepared', round(time.time() - began), flush=True)
        for view, augment, norm in arms:
            table, sets = views[view]
            answers = {False: [], True: []}
            for seed in SEEDS:
                learn = trained(table, options.weights, augment, norm, seed)
                answers[False].append(all_judged(learn, sets))
                if norm == 'trained' and seed == SEEDS[0]:
                    answers[True].append(all_adapted(learn, sets))
            for cohort, seeds in answers.items():
                if seeds:
                    how = dict(
                        view=view, augment=augment, norm=norm, cohort=cohort, seeds=len(seeds)
                    )
                    rows.append(row_of(how, seeds, sets))
                    elsewhere.append([s['wbc100'] for s in seeds])
                    print(list(rows[-1].values())[:9], round(time.time() - began), flush=True)
    result = pd.DataFrame(rows)
    result['chosen'] = result.index == result[~result.cohort].degraded.idxmax()

    # once, after the choice; the pictures were predicted while the networks were there
    labels = sets['wbc100'][1]
    for i, seeds in enumerate(elsewhere):
        right = np.stack([right for right, _ in seeds])
        of_seeds = balanced(right, labels)
        result.loc[i, 'wbc100'] = of_seeds.mean()
        result.loc[i, ['wbc100_low', 'wbc100_high']] = interval(right, labels)
        result.loc[i, ['wbc100_worst_seed', 'wbc100_best_seed']] = of_seeds.min(), of_seeds.max()
        result.loc[i, 'wbc100_sure_and_wrong'] = np.mean([sure.mean() for _, sure in seeds])
    result = result.round(4).assign(epochs=EPOCHS, command=COMMAND)
    result.to_csv(options.out, index=False, lineterminator='\n')
    print(result.round(3).T.to_string())


if __name__ == '__main__':
    main()
