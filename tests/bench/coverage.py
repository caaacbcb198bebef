"""How often a nominal 95 % interval holds the truth where images of one patient are alike; simulated tests, beta-binomial patients of 5 to 60 images.

    python tests/bench/coverage.py --out results/coverage.csv
"""
import argparse
import itertools

import numpy as np
import pandas as pd
from leukocls.metrics import clustered_share, design_interval, draw_weights, score, wilson

ap = argparse.ArgumentParser(); ap.add_argument('--out', required=True); ap.add_argument('--tests', type=int, default=1000, help='simulated tests per setting'); ap.add_argument('--macro', type=int, default=300, help='the same, for macro measures'); a = ap.parse_args()
COMMAND = 'python tests/bench/coverage.py --out results/coverage.csv'

def people(rng, k, accuracy, icc, sizes='any'):
    "(images, right) of k patients; `sizes='informative'`: the more images, the worse."
    n = rng.integers(5, 61, k); t = 1/icc - 1
    q = rng.beta(accuracy*t, (1 - accuracy)*t, k)
    if sizes == 'informative': q = q*(1.13 - n/250)
    return n, rng.binomial(n, np.clip(q, 0, 1)), np.clip(q, 0, 1)

def percentile(hits, n, seed):
    "What leukocls 0.1 did at first: the middle 95 % of resampled patients."
    w = draw_weights(len(n), 1000, seed, np.arange(len(n))); draws = (w @ hits)/(w @ n); low, high = np.percentile(draws, [2.5, 97.5])
    return wilson(float(hits.sum() > 0)*len(n), len(n)) if low == high and low in (0, 1) else (low, high)

METHODS = {'naive: Wilson of images': lambda x, n, s: wilson(x.sum(), n.sum()), 'old: percentile of patients': percentile,
           'survey: Wilson of the effective number': lambda x, n, s: design_interval(x, n), 'ours': lambda x, n, s: clustered_share(x, n)}

def row(metric, k, images, accuracy, icc, sizes, method, found, truth):
    low, high = np.array(found, float).T; out = (low > truth + 1e-12), (high < truth - 1e-12)
    return dict(metric=metric, patients=k, images=round(images), accuracy=accuracy, icc=icc, sizes=sizes, method=method, coverage=round(1 - np.mean(out[0] | out[1]), 3), too_good=round(out[0].mean(), 3), too_bad=round(out[1].mean(), 3), mean_width=round(np.mean(high - low), 4), tests=len(low), command=COMMAND)

rows = []
grid = [(*g, 'any') for g in itertools.product((15, 20, 30, 60), (.7, .85, .93, .97), (.05, .15, .4))] + [(k, .85, icc, 'informative') for k in (20, 60) for icc in (.05, .15)]
for i, (k, accuracy, icc, sizes) in enumerate(grid):
    rng = np.random.default_rng(i); found = {m: [] for m in METHODS}; images = []; truth = accuracy
    if sizes == 'informative': n, _, q = people(rng, 400_000, accuracy, icc, sizes); truth = (n*q).sum()/n.sum()
    for s in range(a.tests):
        n, x, _ = people(rng, k, accuracy, icc, sizes); images.append(n.sum())
        for m, interval in METHODS.items(): found[m].append(interval(x, n, s))
    rows += [row('accuracy', k, np.mean(images), accuracy, icc, sizes, m, found[m], truth) for m in METHODS]

def predictions(rng, k, accuracy, icc):
    "Three classes as often as each other, errors go to either other class: balanced accuracy and macro F1 are then the accuracy."
    n, _, q = people(rng, k, accuracy, icc); who = np.repeat(np.arange(k), n); y = rng.integers(0, 3, len(who))
    pred = np.where(rng.random(len(who)) < q[who], y, (y + rng.integers(1, 3, len(who))) % 3); p = np.full((len(who), 3), .1); p[np.arange(len(who)), pred] = .8
    return pd.DataFrame(p, columns=['p_a', 'p_b', 'p_c']).assign(label=np.array(list('abc'))[y], pred=np.array(list('abc'))[pred], patient=who.astype(str))

for i, (k, accuracy, icc) in enumerate(itertools.product((15, 30, 60), (.8, .95), (.05, .3))):
    if not a.macro: break
    rng = np.random.default_rng(100 + i); found = {(m, name): [] for m in ('balanced_accuracy', 'f1') for name in ('naive: bootstrap of images', 'ours')}; images = []
    for s in range(a.macro):
        t = predictions(rng, k, accuracy, icc); images.append(len(t))
        for name, one in (('naive: bootstrap of images', score(t.drop(columns='patient'), resamples=300, seed=s)), ('ours', score(t, resamples=300, seed=s))):
            for m in ('balanced_accuracy', 'f1'): found[m, name].append((one[m]['low'], one[m]['high']))
    rows += [row(m, k, np.mean(images), accuracy, icc, 'any', name, v, accuracy) for (m, name), v in found.items()]
t = pd.DataFrame(rows); t.to_csv(a.out, index=False); print(t.drop(columns='command').groupby(['metric', 'sizes', 'method']).coverage.describe()[['count', 'min', 'mean', 'max']].round(3).to_string())
