"""What it gains to measure all resamples at once: seconds for 1,000 resamples of 3,000 images of 5 classes (one
class for the curves), and for the interval of a share among 30 patients, against plain loops that give the same.

    python tests/bench/resampling.py
"""

import time

import numpy as np
from scipy.stats import betabinom
from sklearn import metrics as skm

from leukocls.measure.metrics import Resamples, clustered_share, draw_weights, weighted_auc

LOOPED = 20  # resamples that the loops are timed with; their time is multiplied


def seconds(task, times=1):
    begin = time.process_time()
    for _ in range(times):
        task()
    return (time.process_time() - begin) / times


rng = np.random.default_rng(0)
labels = rng.integers(0, 5, 3000)
logits = rng.normal(size=(3000, 5)) + 1.5 * np.eye(5)[labels]
p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
predicted = p.argmax(1)
weights = draw_weights(3000, 1000, 0)


def curves_one_by_one():
    for w in weights[:LOOPED]:
        skm.roc_auc_score(labels == 0, p[:, 0], sample_weight=w)
        skm.average_precision_score(labels == 0, p[:, 0], sample_weight=w)


def f1_one_by_one():
    for w in weights[:LOOPED]:
        skm.f1_score(labels, predicted, average='macro', sample_weight=w)


n = rng.integers(5, 61, 30)
hits = rng.binomial(n, rng.beta(8, 2, 30))


def share_one_by_one():
    for share in np.linspace(0.5, 0.95, 101):
        for rho in ((np.arange(24) + 0.5) / 24) ** 2:
            size = 1 / rho - 1
            betabinom.logpmf(hits, n, share * size, (1 - share) * size).sum()


factor = len(weights) / LOOPED
for what, slow, fast in (
    (
        'AUROC and average precision',
        factor * seconds(curves_one_by_one),
        seconds(lambda: weighted_auc(labels == 0, p[:, 0], weights), 5),
    ),
    (
        'macro F1 (at once: nine measures)',
        factor * seconds(f1_one_by_one),
        seconds(lambda: Resamples(labels, predicted, p, weights).counts, 20),
    ),
    (
        'share among 30 patients',
        seconds(share_one_by_one),
        seconds(lambda: clustered_share(hits, n), 50),
    ),
):
    print(f'{what:34} one by one {slow:8.3f} s, at once {fast:8.5f} s: {slow / fast:,.0f} times')
