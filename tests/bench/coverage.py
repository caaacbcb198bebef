"""How often a nominal 95 % interval holds the truth where images of one patient are alike, on
simulated tests.

Two sets of settings, told apart by the column `settled`. `on these`: beta-binomial patients of 5 to
60 images, the settings that the interval was settled on. `fresh`: other laws, numbers of patients,
sizes and accuracies, written down after the interval was fixed, and no reason to change it since.

    python tests/bench/coverage.py --out results/coverage.csv
"""

import argparse
import itertools

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit

from leukocls.measure.metrics import clustered_share, design_interval, draw_weights, score, wilson

ap = argparse.ArgumentParser()
ap.add_argument('--out', required=True)
ap.add_argument('--tests', type=int, default=1000, help='simulated tests per setting')
ap.add_argument('--macro', type=int, default=300, help='the same, for macro measures')
a = ap.parse_args()
COMMAND = 'python tests/bench/coverage.py --out results/coverage.csv'


def people(rng, k, accuracy, icc, sizes='any'):
    "(images, right) of k patients; `sizes='informative'`: the more images, the worse."
    n = rng.integers(5, 61, k)
    t = 1 / icc - 1
    q = rng.beta(accuracy * t, (1 - accuracy) * t, k)
    if sizes == 'informative':
        q = q * (1.13 - n / 250)
    return n, rng.binomial(n, np.clip(q, 0, 1)), np.clip(q, 0, 1)


def percentile(hits, n, seed):
    "What leukocls 0.1 did at first: the middle 95 % of resampled patients."
    w = draw_weights(len(n), 1000, seed, np.arange(len(n)))
    draws = (w @ hits) / (w @ n)
    low, high = np.percentile(draws, [2.5, 97.5])
    return (
        wilson(float(hits.sum() > 0) * len(n), len(n))
        if low == high and low in (0, 1)
        else (low, high)
    )


METHODS = {
    'naive: Wilson of images': lambda x, n, s: wilson(x.sum(), n.sum()),
    'old: percentile of patients': percentile,
    'survey: Wilson of the effective number': lambda x, n, s: design_interval(x, n),
    'ours': lambda x, n, s: clustered_share(x, n),
}


def row(
    metric, k, images, accuracy, icc, sizes, method, found, truth, law='beta', settled='on these'
):
    low, high = np.array(found, float).T
    out = (low > truth + 1e-12), (high < truth - 1e-12)
    return dict(
        metric=metric,
        settled=settled,
        law=law,
        patients=k,
        images=round(images),
        accuracy=accuracy,
        truth=round(float(truth), 4),
        icc=round(float(icc), 3),
        sizes=sizes,
        method=method,
        coverage=round(1 - np.mean(out[0] | out[1]), 3),
        too_good=round(out[0].mean(), 3),
        too_bad=round(out[1].mean(), 3),
        mean_width=round(np.mean(high - low), 4),
        tests=len(low),
        command=COMMAND,
    )


rows = []
grid = [
    (*g, 'any')
    for g in itertools.product((15, 20, 30, 60), (0.7, 0.85, 0.93, 0.97), (0.05, 0.15, 0.4))
] + [(k, 0.85, icc, 'informative') for k in (20, 60) for icc in (0.05, 0.15)]
for i, (k, accuracy, icc, sizes) in enumerate(grid):
    rng = np.random.default_rng(i)
    found = {m: [] for m in METHODS}
    images = []
    truth = accuracy
    if sizes == 'informative':
        n, _, q = people(rng, 400_000, accuracy, icc, sizes)
        truth = (n * q).sum() / n.sum()
    for s in range(a.tests):
        n, x, _ = people(rng, k, accuracy, icc, sizes)
        images.append(n.sum())
        for m, interval in METHODS.items():
            found[m].append(interval(x, n, s))
    rows += [
        row('accuracy', k, np.mean(images), accuracy, icc, sizes, m, found[m], truth)
        for m in METHODS
    ]

NODES, MASS = np.polynomial.hermite_e.hermegauss(99)
MASS = MASS / MASS.sum()


def logit_normal(accuracy, icc):
    """(middle, sd) on the logit scale of patients whose mean accuracy and whose correlation between
    images are these.
    """

    def middle(sd):
        return brentq(lambda m: MASS @ expit(m + sd * NODES) - accuracy, -40, 40)

    def spread(sd):
        return MASS @ (expit(middle(sd) + sd * NODES) - accuracy) ** 2 / (accuracy * (1 - accuracy))

    sd = brentq(lambda sd: spread(sd) - icc, 0.01, 12)
    return middle(sd), sd


def fresh(rng, k, law, middle, sd, accuracy, sizes):
    """(images, right) of k patients of another law; the giant is one patient of 300 images among
    others of 10 to 40.
    """
    n = (
        rng.geometric(1 / 30, k)
        if sizes == 'geometric'
        else np.r_[300, rng.integers(10, 41, k - 1)]
    )
    q = (
        expit(rng.normal(middle, sd, k))
        if law == 'logit-normal'
        else np.where(rng.random(k) < 0.1, accuracy / 2, accuracy)
    )
    return n, rng.binomial(n, q)


laws = [
    ('logit-normal', 0.05),
    ('logit-normal', 0.15),
    ('logit-normal', 0.3),
    ('mixture', None),
]  # mixture: one patient in ten has half the accuracy of the others
for i, (k, accuracy, (law, icc), sizes) in enumerate(
    itertools.product((18, 25, 45, 89), (0.75, 0.85, 0.93, 0.98), laws, ('geometric', 'one giant'))
):
    rng = np.random.default_rng(10_000 + i)
    names = [m for m in METHODS if not m.startswith('survey')]
    found = {m: [] for m in names}
    images = []
    middle, sd = logit_normal(accuracy, icc) if icc else (0, 0)
    truth = accuracy if icc else 0.95 * accuracy
    icc = icc or 0.09 * (accuracy / 2) ** 2 / (truth * (1 - truth))
    for s in range(a.tests):
        n, x = fresh(rng, k, law, middle, sd, accuracy, sizes)
        images.append(n.sum())
        for m in names:
            found[m].append(METHODS[m](x, n, 500_000 + s))
    rows += [
        row('accuracy', k, np.mean(images), accuracy, icc, sizes, m, found[m], truth, law, 'fresh')
        for m in names
    ]


def predictions(rng, k, accuracy, icc):
    """Three classes as often as each other, errors go to either other class: balanced accuracy and
    macro F1 are then the accuracy.
    """
    n, _, q = people(rng, k, accuracy, icc)
    who = np.repeat(np.arange(k), n)
    y = rng.integers(0, 3, len(who))
    pred = np.where(rng.random(len(who)) < q[who], y, (y + rng.integers(1, 3, len(who))) % 3)
    p = np.full((len(who), 3), 0.1)
    p[np.arange(len(who)), pred] = 0.8
    return pd.DataFrame(p, columns=['p_a', 'p_b', 'p_c']).assign(
        label=np.array(list('abc'))[y], pred=np.array(list('abc'))[pred], patient=who.astype(str)
    )


for i, (k, accuracy, icc) in enumerate(itertools.product((15, 30, 60), (0.8, 0.95), (0.05, 0.3))):
    if not a.macro:
        break
    rng = np.random.default_rng(100 + i)
    found = {
        (m, name): []
        for m in ('balanced_accuracy', 'f1')
        for name in ('naive: bootstrap of images', 'ours')
    }
    images = []
    for s in range(a.macro):
        t = predictions(rng, k, accuracy, icc)
        images.append(len(t))
        for name, one in (
            ('naive: bootstrap of images', score(t.drop(columns='patient'), resamples=300, seed=s)),
            ('ours', score(t, resamples=300, seed=s)),
        ):
            for m in ('balanced_accuracy', 'f1'):
                found[m, name].append((one[m]['low'], one[m]['high']))
    rows += [
        row(m, k, np.mean(images), accuracy, icc, 'any', name, v, accuracy)
        for (m, name), v in found.items()
    ]
t = pd.DataFrame(rows)
t.to_csv(a.out, index=False)
print(
    t.drop(columns='command')
    .groupby(['settled', 'metric', 'law', 'sizes', 'method'])
    .coverage.describe()[['count', 'min', 'mean', 'max']]
    .round(3)
    .to_string()
)
for (settled, method), c in t[t.metric == 'accuracy'].groupby(['settled', 'method']).coverage:
    print(
        f'{settled:9} {method:40} {len(c)} settings: {(c < 0.93).sum()} below .93,'
        f' {c.between(0.93, 0.97).sum()} within, {(c > 0.97).sum()} above .97'
    )
