"""How often the nominal 95 % intervals of patients hold the truth, on simulated studies.

Three things are simulated: the AUROC of patients, the sensitivity of patients, and the differential
count of one patient whose cells lie in fields. Two sets of designs, told apart by the column
`settled`: `on these` are those that the methods were chosen on; `fresh` are other laws, numbers and
shares, which the methods were not changed for.

    python tests/bench/patients.py --out results/patients-coverage.csv
"""

import argparse
import itertools

import numpy as np
import pandas as pd
from scipy.special import expit, logit, ndtri
from scipy.stats import beta

from leukocls.measure.metrics import clustered_share, wilson
from leukocls.measure.patients import auroc_interval, count_classes

ap = argparse.ArgumentParser()
ap.add_argument('--out', required=True)
ap.add_argument('--tests', type=int, default=2000, help='simulated studies per design')
ap.add_argument('--only', default='', help='auroc, sensitivity or differential')
a = ap.parse_args()
COMMAND = 'python tests/bench/patients.py --out results/patients-coverage.csv'
Z = 1.959964


def row(what, settled, method, found, truth, **design):
    low, high = np.array(found, float).T
    out = (low > truth + 1e-12), (high < truth - 1e-12)
    return dict(
        what=what,
        settled=settled,
        method=method,
        **design,
        truth=round(float(truth), 4),
        coverage=round(1 - np.mean(out[0] | out[1]), 4),
        too_high=round(out[0].mean(), 4),
        too_low=round(out[1].mean(), 4),
        mean_width=round(float(np.mean(high - low)), 4),
        tests=len(low),
        command=COMMAND,
    )


# --- the AUROC of patients


def scores(rng, law, area, positive, negative):
    "(tests, positive), (tests, negative) scores whose true AUROC is `area`."
    shape = (a.tests, positive), (a.tests, negative)
    if law == 'exponential':
        return rng.exponential(area / (1 - area), shape[0]), rng.exponential(1.0, shape[1])
    sd = 2.0 if law == 'unequal normal' else 1.0
    shift = ndtri(area) * np.sqrt(1 + sd**2)
    return rng.normal(shift, sd, shape[0]), rng.normal(0.0, 1.0, shape[1])


def placements(x, y):
    "(tests, positive), (tests, negative) shares of the others that each patient ranks rightly."
    above = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    return above.mean(2), above.mean(1)


def delong(of_x, of_y):
    "Standard error by DeLong's method."
    m, n = of_x.shape[1], of_y.shape[1]
    return np.sqrt(of_x.var(1, ddof=1) / m + of_y.var(1, ddof=1) / n)


def on_logit(area, error):
    inside = np.clip(area, 1e-6, 1 - 1e-6)
    half = Z * error / (inside * (1 - inside))
    return np.stack([expit(logit(inside) - half), expit(logit(inside) + half)], 1)


def plain(area, error):
    return np.clip(np.stack([area - Z * error, area + Z * error], 1), 0, 1)


def effective(area, error):
    "Wilson's for as many trials as a share with this standard error would have."
    inside = np.clip(area, 1e-9, 1 - 1e-9)
    n = inside * (1 - inside) / np.maximum(error, 1e-9) ** 2
    return np.stack(wilson(inside * n, n), 1)


AREAS = [
    ('on these', 'normal', pair, area)
    for pair, area in itertools.product([(12, 12), (8, 16), (20, 20), (40, 40)], (0.7, 0.85, 0.95))
] + [
    ('fresh', law, pair, area)
    for law, pair, area in itertools.product(
        ('normal', 'unequal normal', 'exponential'),
        [(10, 14), (15, 15), (25, 10), (30, 52), (60, 45)],
        (0.65, 0.8, 0.9),
    )
]


def auroc_rows():
    for i, (settled, law, (positive, negative), area) in enumerate(AREAS):
        rng = np.random.default_rng(i)
        x, y = scores(rng, law, area, positive, negative)
        of_x, of_y = placements(x, y)
        found, error = of_x.mean(1), delong(of_x, of_y)
        ours = [auroc_interval(v, positive, negative) for v in found]
        methods = {
            'DeLong': plain(found, error),
            'DeLong on the logit': on_logit(found, error),
            'DeLong, Wilson of effective trials': effective(found, error),
            'ours: Newcombe': ours,
        }
        for method, intervals in methods.items():
            if settled == 'fresh' and method not in ('DeLong', 'ours: Newcombe'):
                continue
            design = dict(law=law, patients=positive + negative, positive=positive)
            yield row('auroc', settled, method, intervals, area, **design)


# --- the sensitivity of patients


def clopper_pearson(hits, n):
    low = np.where(hits == 0, 0.0, beta.ppf(0.025, hits, n - hits + 1))
    high = np.where(hits == n, 1.0, beta.ppf(0.975, hits + 1, n - hits))
    return np.stack([low, high], 1)


def jeffreys(hits, n):
    low = np.where(hits == 0, 0.0, beta.ppf(0.025, hits + 0.5, n - hits + 0.5))
    high = np.where(hits == n, 1.0, beta.ppf(0.975, hits + 0.5, n - hits + 0.5))
    return np.stack([low, high], 1)


SHARES = [
    ('on these', patients, 0.5, share)
    for patients, share in itertools.product((24, 40, 80, 160), (0.7, 0.85, 0.95))
] + [
    ('fresh', patients, prevalence, share)
    for patients, prevalence, share in itertools.product(
        (30, 60, 106, 200), (0.3, 0.6), (0.65, 0.8, 0.9, 0.93)
    )
]


def sensitivity_rows():
    for i, (settled, patients, prevalence, share) in enumerate(SHARES):
        rng = np.random.default_rng(1000 + i)
        # a study does not choose how many of its patients are ill
        n = np.maximum(rng.binomial(patients, prevalence, 20 * a.tests), 1)
        hits = rng.binomial(n, share)
        methods = {
            'Clopper-Pearson': clopper_pearson(hits, n),
            'Jeffreys': jeffreys(hits, n),
            'normal': np.stack(
                [hits / n + s * Z * np.sqrt(hits * (n - hits) / n**3) for s in (-1, 1)], 1
            ),
            'ours: Wilson': np.stack(wilson(hits, n), 1),
        }
        for method, intervals in methods.items():
            if settled == 'fresh' and method not in ('normal', 'ours: Wilson'):
                continue
            design = dict(law='binomial', patients=patients, positive=round(patients * prevalence))
            yield row('sensitivity', settled, method, intervals, share, **design)


# --- the differential count of one patient

CLASSES = list('abcd')


def film(rng, cells, field, icc, shares, law):
    "(cells,) classes of cells, field after field; within a field they are alike."
    called = []
    while len(called) < cells:
        size = field if law == 'even fields' else rng.geometric(1 / field)
        of_field = rng.dirichlet(np.array(shares) * (1 / icc - 1)) if icc else shares
        called += list(rng.choice(len(shares), min(size, cells - len(called)), p=of_field))
    return np.array(called)


def runs_of(called, c):
    "(hits, cells) of runs of about √n neighbours."
    parts = np.array_split(called == c, len(called) // int(np.ceil(np.sqrt(len(called)))))
    return [part.sum() for part in parts], [len(part) for part in parts]


FILMS = [
    ('on these', 'even fields', cells, 10, icc, (0.6, 0.25, 0.1, 0.05))
    for cells, icc in itertools.product((50, 100, 200, 500), (0, 0.05, 0.15))
] + [
    ('fresh', 'uneven fields', cells, field, icc, shares)
    for cells, field, icc, shares in itertools.product(
        (60, 120, 300),
        (4, 8),
        (0, 0.03, 0.1),
        ((0.45, 0.35, 0.15, 0.05), (0.8, 0.12, 0.06, 0.02)),
    )
]


def differential_rows():
    for i, (settled, law, cells, field, icc, shares) in enumerate(FILMS):
        rng = np.random.default_rng(2000 + i)
        found = {}
        for _ in range(a.tests // 2):
            called = film(rng, cells, field, icc, shares, law)
            counted = count_classes([CLASSES[k] for k in called], CLASSES)
            for c, one in enumerate(counted):
                methods = {
                    'Wilson of cells': np.ravel(wilson(one['count'], cells)),
                    'ours: Wilson of effective cells': (one['low'], one['high']),
                }
                if settled == 'on these':
                    methods['beta-binomial of runs'] = clustered_share(
                        *runs_of(called, c), (61, 12)
                    )
                for method, interval in methods.items():
                    found.setdefault((method, c), []).append(interval)
        for (method, c), intervals in found.items():
            design = dict(law=law, cells=cells, field=field, icc=icc)
            yield row('differential', settled, method, intervals, shares[c], **design)


PARTS = dict(auroc=auroc_rows, sensitivity=sensitivity_rows, differential=differential_rows)
rows = [r for name, part in PARTS.items() if a.only in ('', name) for r in part()]
t = pd.DataFrame(rows)
first = 'what settled method law patients positive cells field icc truth'.split()
t = t[[c for c in first if c in t] + [c for c in t if c not in first]]
t.to_csv(a.out, index=False)
by = t.groupby(['what', 'settled', 'method'])
summary = by.coverage.agg(['count', 'min', 'mean', 'max']).round(3)
summary['within'] = by.coverage.agg(lambda c: c.between(0.93, 0.97).mean()).round(2)
summary['width'] = by.mean_width.mean().round(3)
print(summary.to_string())
