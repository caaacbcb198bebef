"Metrics against scikit-learn over a grid, intervals against their definitions and against simulation."

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as skm

from leukocls.core.errors import DataError
from leukocls.measure.metrics import (
    METRICS,
    PER_CLASS,
    SHARES,
    Resamples,
    calibration_error,
    clustered_share,
    design_interval,
    draw_unit,
    draw_weights,
    fill_metrics,
    from_confusion,
    measured,
    metrics_table,
    register_metric,
    resampled_values,
    score,
    score_run,
    show_interval,
    unpacked,
    weighted_auc,
    wilson,
)


def cells(n=150, classes='abc', strength=1.5, seed=0, ties=False, patients=0):
    rng = np.random.default_rng(seed)
    names = np.array(list(classes))
    y = rng.choice(len(names), n)
    z = rng.normal(size=(n, len(names))) + strength * np.eye(len(names))[y]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    if ties:
        p = np.round(p, 1) + 1e-3
        p /= p.sum(1, keepdims=True)
    t = pd.DataFrame({f'p_{c}': p[:, i] for i, c in enumerate(names)}).assign(
        label=names[y], pred=names[p.argmax(1)], patient=pd.NA, split='test'
    )
    return t.assign(patient=rng.integers(0, patients, n).astype(str)) if patients else t


GRID = [
    dict(n=n, classes=c, strength=s, seed=i, ties=t)
    for i, (n, c) in enumerate([(40, 'ab'), (150, 'abc'), (400, 'abcdefgh')])
    for s in (0, 1.5, 6)
    for t in (False, True)
]


@pytest.mark.parametrize('kw', GRID, ids=str)
def test_against_sklearn(kw):
    t = cells(**kw)
    m = score(t, resamples=5)
    y, d, names = t.label, t.pred, m['classes']
    p = t[[f'p_{c}' for c in names]].to_numpy()
    macro = dict(average='macro', zero_division=0)
    want = dict(
        accuracy=skm.accuracy_score(y, d),
        balanced_accuracy=skm.balanced_accuracy_score(y, d),
        precision=skm.precision_score(y, d, **macro),
        recall=skm.recall_score(y, d, **macro),
        f1=skm.f1_score(y, d, **macro),
        f2=skm.fbeta_score(y, d, beta=2, **macro),
        kappa=skm.cohen_kappa_score(y, d),
        mcc=skm.matthews_corrcoef(y, d),
        log_loss=skm.log_loss(y, p, labels=names),
        auroc=np.mean([skm.roc_auc_score(y == c, t[f'p_{c}']) for c in names]),
        average_precision=np.mean(
            [skm.average_precision_score(y == c, t[f'p_{c}']) for c in names]
        ),
    )
    for k, v in want.items():
        assert m[k]['value'] == pytest.approx(v, abs=1e-6), k
    for c in names:
        tn, fp, fn, tp = skm.confusion_matrix(y == c, d == c).ravel()
        per = m['per_class'][c]
        assert (
            per['specificity']['value'] == pytest.approx(tn / (tn + fp))
            and per['support'] == tp + fn
        )
        assert per['recall']['value'] == pytest.approx(tp / (tp + fn)) and per['auroc'][
            'value'
        ] == pytest.approx(skm.roc_auc_score(y == c, t[f'p_{c}']))


def test_the_contract():
    m = json.loads(json.dumps(score(cells(), resamples=20)))
    assert list(m)[:3] == ['split', 'n', 'classes'] and set(METRICS) <= set(m)
    assert (
        list(METRICS)
        == 'accuracy balanced_accuracy precision recall specificity f1 f2 kappa mcc auroc'
        ' average_precision log_loss ece'.split()
    )
    for k in METRICS:
        assert (
            set(m[k]) == {'value', 'low', 'high'} and m[k]['low'] <= m[k]['value'] <= m[k]['high']
        )
    for c in 'abc':
        assert set(m['per_class'][c]) == {*PER_CLASS, 'support'}


@pytest.mark.parametrize('seed', range(4))
def test_weighted_curves_against_sample_weight(seed):
    rng = np.random.default_rng(seed)
    n = 80
    hit = rng.random(n) < 0.3
    s = np.round(rng.random(n), 1 if seed % 2 else 6)
    w = draw_weights(n, 20, seed + 100)
    auc, ap = weighted_auc(hit, s, w)
    for i in range(20):
        assert auc[i] == pytest.approx(skm.roc_auc_score(hit, s, sample_weight=w[i]), abs=1e-5)
        assert ap[i] == pytest.approx(
            skm.average_precision_score(hit, s, sample_weight=w[i]), abs=1e-5
        )


def test_confusion_of_resamples():
    cms = np.random.default_rng(0).integers(0, 30, (7, 4, 4))
    many = from_confusion(cms)
    for i in range(7):
        assert many['mcc'][i] == pytest.approx(float(from_confusion(cms[i])['mcc']))


@pytest.mark.parametrize(
    'hits,n,low,high',
    [
        (0, 10, 0, 0.2775),
        (10, 10, 0.7225, 1),
        (81, 263, 0.2553, 0.3662),
        (650, 651, 0.9914, 0.9997),
    ],
)
def test_wilson_known_values(hits, n, low, high):
    assert np.allclose(wilson(hits, n), (low, high), atol=2e-4)


def test_patients_widen_the_interval():
    "Images of one patient that all succeed or fail together carry the information of one image."
    rng = np.random.default_rng(0)
    good = np.repeat(rng.random(20) < 0.7, 25)
    label = rng.choice(['a', 'b'], 500)
    pred = np.where(good, label, np.where(label == 'a', 'b', 'a'))
    p = np.where(pred == 'a', 0.8, 0.2)
    t = pd.DataFrame(
        dict(
            label=label,
            pred=pred,
            p_a=p,
            p_b=1 - p,
            patient=np.repeat(np.arange(20), 25).astype(str),
        )
    )
    wide, narrow = (score(x)['accuracy'] for x in (t, t.assign(patient=pd.NA)))
    assert wide['high'] - wide['low'] > 3 * (narrow['high'] - narrow['low'])


@pytest.mark.slow
def test_image_bootstrap_covers():
    "A nominal 95 % interval holds the truth in 93 to 97 % of 600 simulated tests."
    truth = score(cells(200_000, 'ab', 1.0), resamples=1)
    held = dict(f1=0, auroc=0)
    for i in range(600):
        m = score(cells(250, 'ab', 1.0, seed=i + 1), resamples=300, seed=i)
        for k in held:
            held[k] += m[k]['low'] <= truth[k]['value'] <= m[k]['high']
    for k, v in held.items():
        assert 0.93 <= v / 600 <= 0.97, (k, v / 600)


def test_perfect_is_not_certain():
    "No error among 40 images still leaves room for some."
    t = cells(40)
    t['pred'] = t.label
    m = score(t)
    assert m['accuracy']['value'] == 1 and m['accuracy']['low'] < 0.93


def test_calibration_error_is_zero_when_calibrated():
    rng = np.random.default_rng(0)
    c = rng.uniform(0.3, 1, 200_000)
    assert calibration_error(rng.random(200_000) < c, c) < 0.01


def test_absent_class():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        t = cells()
        m = score(t[t.label != 'c'], resamples=20)
    assert (
        m['per_class']['c']
        == {**{k: dict(value=None, low=None, high=None) for k in PER_CLASS}, 'support': 0}
        and 'No image of c' in m['interval']['note']
    )
    assert m['recall']['value'] == pytest.approx(
        np.mean([m['per_class'][c]['recall']['value'] for c in 'ab'])
    )
    metrics_table(m)


def test_one_class_only_in_the_test():
    m = score(cells()[lambda t: t.label == 'a'], resamples=20)
    assert m['auroc']['value'] is None and show_interval(m['auroc'], 'auroc') == 'not defined'


def test_same_seed_same_interval():
    assert score(cells()) == score(cells())


@pytest.mark.parametrize(
    'change,said',
    [
        (lambda t: t.drop(columns='label'), 'no column `label`'),
        (lambda t: t.drop(columns=['p_a', 'p_b', 'p_c']), 'p_<class>'),
        (lambda t: t[:0], 'empty'),
        (lambda t: t.assign(label='zebra'), 'zebra'),
        (lambda t: t.assign(p_a=np.nan), 'no number'),
    ],
)
def test_bad_tables(change, said):
    with pytest.raises(DataError, match=said):
        score(change(cells()))


def people(k, accuracy, icc, rng):
    "(right, images) of k patients of 5 to 60 images, beta-binomial."
    n = rng.integers(5, 61, k)
    t = 1 / icc - 1
    return rng.binomial(n, rng.beta(accuracy * t, (1 - accuracy) * t, k)), n


def covered(interval, truth, found):
    return np.mean(
        [low - 1e-12 <= truth <= high + 1e-12 for low, high in (interval(x, n) for x, n in found)]
    )


@pytest.mark.parametrize(
    'k,accuracy,icc',
    [(15, 0.7, 0.15), (15, 0.97, 0.4), (20, 0.93, 0.4), (30, 0.85, 0.05), (60, 0.97, 0.15)],
)
def test_clustered_interval_covers_where_the_naive_one_does_not(k, accuracy, icc):
    """Of 300 simulated tests with correlated patients; the settings of tests/bench/coverage.py with
    the most and the least trouble.
    """
    rng = np.random.default_rng(k)
    found = [people(k, accuracy, icc, rng) for _ in range(300)]
    ours, naive = (
        covered(clustered_share, accuracy, found),
        covered(lambda x, n: wilson(x.sum(), n.sum()), accuracy, found),
    )
    assert ours >= 0.91, ours
    assert naive < min(0.85, ours - 0.1), naive


def test_clustered_interval_is_not_just_wide():
    "Without correlation it is at most a third wider than the interval of independent images."
    rng = np.random.default_rng(0)
    wide = []
    for _ in range(40):
        n = rng.integers(5, 61, 30)
        x = rng.binomial(n, 0.85)
        low, high = clustered_share(x, n)
        a, b = wilson(x.sum(), n.sum())
        wide.append((high - low) / (b - a))
    assert 1 < np.mean(wide) < 1.34, np.mean(wide)


def test_macro_measures_cover():
    """Errors go to either other class and classes are as frequent as each other: macro F1 and
    balanced accuracy are the accuracy.
    """
    rng = np.random.default_rng(0)
    hit, naive, k = dict(balanced_accuracy=0, f1=0), 0, 15
    for s in range(100):
        x, n = people(k, 0.95, 0.3, rng)
        who = np.repeat(np.arange(k), n)
        right = np.concatenate([np.arange(m) < h for h, m in zip(x, n)])
        y = rng.integers(0, 3, len(who))
        pred = np.where(right, y, (y + rng.integers(1, 3, len(who))) % 3)
        p = np.full((len(who), 3), 0.1)
        p[np.arange(len(who)), pred] = 0.8
        t = pd.DataFrame(p, columns=['p_a', 'p_b', 'p_c']).assign(
            label=np.array(list('abc'))[y],
            pred=np.array(list('abc'))[pred],
            patient=who.astype(str),
        )
        m = score(t, resamples=200, seed=s)
        for c in hit:
            hit[c] += m[c]['low'] <= 0.95 <= m[c]['high']
        b = score(t.drop(columns='patient'), resamples=200, seed=s)['f1']
        naive += b['low'] <= 0.95 <= b['high']
    assert min(hit.values()) / 100 >= 0.9 and naive / 100 < 0.6, (hit, naive)


@pytest.mark.parametrize('seed', range(3))
def test_clustered_share_against_integration(seed):
    "The grid against a plain double loop over a fine grid of the same posterior."
    from scipy.stats import betabinom

    rng = np.random.default_rng(seed)
    x, n = people(12, 0.8, 0.2, rng)
    share, rho = np.linspace(0.3, 0.995, 400), ((np.arange(120) + 0.5) / 120) ** 2
    weight = np.zeros(len(share))
    for r in rho:
        s = 1 / r - 1
        weight += (
            np.exp(sum(betabinom.logpmf(a, b, share * s, (1 - share) * s) for a, b in zip(x, n)))
            * (1 - r) ** 2
            * r**0.5
            * (share * (1 - share)) ** -0.5
        )
    total = np.cumsum(weight) / weight.sum()
    low, high = np.interp([0.025, 0.975], total - weight / weight.sum() / 2, share)
    got = clustered_share(x, n)
    assert got[1] == pytest.approx(high, abs=0.004) and got[0] == pytest.approx(
        min(low, design_interval(x, n)[0]), abs=0.004
    )


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_clustered_share_on_any_counts(patients):
    n = np.array([a for a, _ in patients])
    x = np.array([round(a * f) for a, f in patients])
    low, high = clustered_share(x, n)
    assert 0 <= low <= x.sum() / n.sum() <= high <= 1 and high - low > 0.9 * np.subtract(
        *wilson(x.sum(), n.sum())[::-1]
    ) * (len(n) > 1)
    order = np.random.default_rng(0).permutation(len(n))
    assert clustered_share(x[order], n[order]) == pytest.approx((low, high))


def test_few_patients_are_told():
    assert (
        'Fewer than 20 patients' in score(cells(patients=8), resamples=50)['interval']['note']
        and 'Fewer' not in score(cells(400, patients=30), resamples=50)['interval']['note']
    )


def test_copies_are_drawn_together():
    """A test in which every picture stands four times knows no more than the pictures once; integer
    and text groups, gaps included.
    """
    t = cells(100).drop(columns='patient')
    once = score(t)

    def width(m, k):
        return m[k]['high'] - m[k]['low']

    for group in (list(range(100)), [f'g{i}' for i in range(100)]):
        four = score(pd.concat([t.assign(group=group)] * 4))
        i = four['interval']
        assert (
            (i['unit'], i['groups'], i['patients']) == ('group', 100, None)
            and i['note'].startswith('Bootstrap of 100 near-duplicate groups')
            and 'patients unknown, so intervals may be too narrow' in i['note']
        )
        for k in ('accuracy', 'f1', 'kappa', 'auroc'):
            assert 0.85 < width(four, k) / width(once, k) < 1.4, k
        assert width(score(pd.concat([t] * 4)), 'accuracy') < 0.6 * width(once, 'accuracy')
    gaps = score(t.assign(group=[1, 1, *[None] * 98]))
    assert gaps['interval']['groups'] == 99


@pytest.mark.parametrize('group', [range(100), [None] * 100, [7] * 100])
def test_groups_without_copies_change_nothing(group):
    t = cells(100).drop(columns='patient')
    assert score(t.assign(group=list(group)), resamples=50) == score(t, resamples=50)


def test_patients_count_before_groups():
    assert (
        score(cells(100, patients=10).assign(group=[i // 2 for i in range(100)]), resamples=50)[
            'interval'
        ]['unit']
        == 'patient'
    )


@pytest.mark.parametrize('known', [None, 3])
def test_patients_unknown_or_partly_known(known):
    "A patient here and there does not make the others independent people."
    t = cells(60)
    t['patient'] = [str(i % 5) if known and i % known else None for i in range(60)]
    i = score(t, resamples=50)['interval']
    assert i['unit'] == 'image' and i['groups'] is None
    assert score(t)['accuracy']['low'] == pytest.approx(
        float(wilson((t.label == t.pred).sum(), 60)[0])
    )


def test_score_run_takes_groups_from_the_table(tmp_path):
    t = cells(80, patients=0).assign(path=[f'{i}.png' for i in range(80)], patient='')
    t.to_csv(tmp_path / 'predictions.csv', index=False)
    assert score_run(tmp_path)['interval']['unit'] == 'image'  # a folder without table.csv
    t[['path', 'label']].assign(group=[str(i // 4) if i < 40 else '' for i in range(80)]).sample(
        frac=1, random_state=0
    ).to_csv(tmp_path / 'table.csv', index=False)
    m = score_run(tmp_path)
    assert (
        m['interval']['groups'] == 50 and json.loads((tmp_path / 'metrics.json').read_text()) == m
    )
    t[['path', 'label']].to_csv(tmp_path / 'table.csv', index=False)
    assert score_run(tmp_path)['interval']['unit'] == 'image'


def test_wilson_holds_the_share_in_spite_of_rounding():
    n = np.arange(1, 5000)
    k = np.random.default_rng(0).integers(0, n + 1)
    for hits in (np.zeros_like(n), n, k):
        low, high = wilson(hits, n)
        assert (low <= hits / n).all() and (high >= hits / n).all()


@pytest.mark.parametrize('unit', ['image', 'patient', 'group'])
@pytest.mark.parametrize('n', [2, 12, 300])
def test_what_is_perfect_is_not_certain(unit, n):
    """Every measure of a perfect result has a lower end that rises with the number of what was
    drawn; P4's AUC of 1.0 among them.
    """
    y = np.resize(['a', 'b'], n)
    t = pd.DataFrame(
        dict(
            path=[f'{i}.png' for i in range(n)],
            label=y,
            pred=y,
            p_a=(y == 'a') * 0.8 + 0.1,
            p_b=(y == 'b') * 0.8 + 0.1,
        )
    )
    if unit != 'image':
        t = pd.concat([t.assign(path=t.path + str(k)) for k in range(2)], ignore_index=True)
        t['patient' if unit == 'patient' else 'group'] = [f'P{i % n}' for i in range(2 * n)]
    m = score(t, resamples=200)
    lows = {k: m[k]['low'] for k in METRICS if k not in ('log_loss', 'ece')}
    assert all(m[k]['value'] == 1 == m[k]['high'] and -1 <= low < 1 for k, low in lows.items()), (
        lows
    )
    assert (
        m['auroc']['low'] <= m['accuracy']['low'] + 1e-9
        and m['kappa']['low'] <= m['accuracy']['low']
        and (n == 2 or m['mcc']['low'] == m['kappa']['low'])
        and all(m['per_class'][c]['auroc']['low'] < 1 for c in 'ab')
    )
    if n == 300:
        assert all(low > 0.9 for low in lows.values()), lows


@pytest.mark.parametrize('unit', ['image', 'patient'])
def test_a_class_that_is_always_called_leaves_doubt(unit):
    "All resamples agree on a kappa of 0, and on a recall of a third: that is no certainty."
    t = cells(90, patients=15 if unit == 'patient' else 0).assign(pred='a')
    m = score(t, resamples=200)
    n = 90 if unit == 'image' else 15
    for k in ('kappa', 'mcc'):
        assert m[k]['value'] == 0
        assert [m[k]['low'], m[k]['high']] == pytest.approx(
            [2 * float(x) - 1 for x in wilson(n / 2, n)]
        )
    recall = m['balanced_accuracy']
    assert recall['value'] == pytest.approx(1 / 3) and recall['low'] < 0.25 < 0.42 < recall['high']
    assert show_interval(m['kappa'], 'kappa').startswith(
        '0.000 (-0.'
    ) and ' to 0.' in show_interval(m['kappa'], 'kappa')


def test_one_resample_is_no_agreement():
    "resamples=0 leaves only Wilson's intervals: what is no single share has none."
    m = score(cells(), resamples=0)
    assert m['accuracy']['low'] < m['accuracy']['value'] < m['accuracy']['high']
    assert m['f1']['high'] - m['f1']['low'] < 0.1
    assert m['f1']['value'] in (m['f1']['low'], m['f1']['high'])


@pytest.mark.parametrize(
    'low,high,text',
    [
        (0.1, 0.3, '0.200 (0.100–0.300)'),
        (-0.08, 0.3, '0.200 (-0.080 to 0.300)'),
        (None, None, '0.200'),
    ],
)
def test_a_dash_does_not_stand_beside_a_minus(low, high, text):
    assert show_interval(dict(value=0.2, low=low, high=high), 'kappa') == text


def test_all_resamples_at_once_are_a_loop():
    "The quick way against the slow one: rows are repeated as drawn, and scikit-learn is asked."
    t = cells(120)
    classes, y, predicted, p = unpacked(t)
    w = draw_weights(120, 40, 3)
    fast = Resamples(y, predicted, p, w)
    for i, drawn in enumerate(w.astype(int)):
        rows = np.repeat(np.arange(120), drawn)
        slow = dict(
            accuracy=skm.accuracy_score(y[rows], predicted[rows]),
            f1=skm.f1_score(y[rows], predicted[rows], average='macro'),
            kappa=skm.cohen_kappa_score(y[rows], predicted[rows]),
            log_loss=skm.log_loss(y[rows], p[rows], labels=range(3)),
            auroc=skm.roc_auc_score(y[rows], p[rows], multi_class='ovr'),
            ece=calibration_error(y[rows] == predicted[rows], p[rows].max(1)),
        )
        for k, value in slow.items():
            assert resampled_values(METRICS[k], fast)[0][i] == pytest.approx(value, abs=1e-5), k


# --- measures of one's own


@pytest.fixture
def own():
    "What a test registers is gone after it."
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


def f1_of_sklearn(labels, predicted, probabilities, weights):
    c = probabilities.shape[1]
    return skm.f1_score(
        labels, predicted, labels=range(c), average=None, sample_weight=weights, zero_division=0
    )


@pytest.mark.parametrize('patients', [0, 12])
@pytest.mark.usefixtures('own')
def test_a_plain_function_has_the_interval_of_the_quick_one(patients):
    """F1 and log loss once more, as functions of one resample: values and intervals are those of
    the measures that see all resamples at once.
    """
    register_metric(f1_of_sklearn, name='my_f1', per_class=True, percent=True)

    @register_metric(high=np.inf, higher_is_better=False, from_probabilities=True)
    def my_loss(labels, predicted, probabilities, weights):
        return skm.log_loss(labels, probabilities, sample_weight=weights, labels=range(3))

    m = score(cells(patients=patients), resamples=100)
    for mine, built_in in (('my_f1', 'f1'), ('my_loss', 'log_loss')):
        for end in ('value', 'low', 'high'):
            assert m[mine][end] == pytest.approx(m[built_in][end], abs=1e-5)
    for c in 'abc':
        assert m['per_class'][c]['my_f1'] == pytest.approx(m['per_class'][c]['f1'], abs=1e-5)
    assert list(METRICS)[-2:] == ['my_f1', 'my_loss'] and 'my_f1' in PER_CLASS and 'my_f1' in SHARES
    assert list(metrics_table(m).index) == list(METRICS)
    assert show_interval(m['my_f1'], 'my_f1') == show_interval(m['f1'], 'f1')
    json.dumps(m)


@pytest.mark.usefixtures('own')
def test_a_share_of_images_is_counted():
    "A measure that says which images are hits has Wilson's interval, and needs no resampling."
    register_metric(
        name='sure',
        batch=lambda r: (r.weights @ (r.probabilities.max(1) > 0.8)) / r.weights.sum(1),
        counted=lambda labels, predicted, c: (labels < 0, np.ones(len(labels), bool)),
        percent=True,
    )
    m = score(cells(), resamples=50)
    low, high = wilson(0, 150)
    assert m['sure']['low'] == min(float(low), m['sure']['value'])


@pytest.mark.usefixtures('own')
def test_a_measure_where_less_is_better_reaches_further_up():
    @register_metric(higher_is_better=False, percent=True)
    def misses(labels, predicted, probabilities, weights):
        return weights[labels != predicted].sum() / weights.sum()

    rng = np.random.default_rng(0)
    t = cells(600, patients=15, strength=4)
    t.loc[rng.random(600) < 0.02, 'pred'] = 'a'
    m = score(t)
    assert m['misses']['value'] == pytest.approx(1 - m['accuracy']['value'])
    assert m['misses']['high'] - m['misses']['value'] > m['misses']['value'] - m['misses']['low']


@pytest.mark.usefixtures('own')
def test_a_measure_without_ends():
    @register_metric(low=-np.inf, high=np.inf)
    def score_units(labels, predicted, probabilities, weights):
        return 1000 * weights[labels == predicted].sum() / weights.sum() - 700

    for patients in (0, 12):
        m = score(cells(patients=patients), resamples=100)['score_units']
        assert m['low'] < m['value'] < m['high']


@pytest.mark.usefixtures('own')
def test_undefined_in_a_resample_is_no_warning():
    @register_metric(low=0, high=np.inf)
    def odds(labels, predicted, probabilities, weights):
        return weights[labels == predicted].sum() / weights[labels != predicted].sum()

    t = cells(40)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert score(t.assign(pred=t.label), resamples=20)['odds']['value'] is None


@pytest.mark.parametrize(
    'facts,message',
    [
        (dict(name='f1'), '`f1` is taken'),
        (dict(name='support'), '`support` is taken'),
        (dict(name='two words'), 'cannot name a measure'),
        (dict(low=1, high=0), 'must be less than'),
        (dict(scale='round'), 'Use one of: share, log, plain, percentile'),
    ],
)
@pytest.mark.usefixtures('own')
def test_what_cannot_be_registered(facts, message):
    before = list(METRICS)
    with pytest.raises(DataError, match=message):
        register_metric(f1_of_sklearn, **facts)
    assert list(METRICS) == before


@pytest.mark.parametrize(
    'fn,facts,message',
    [
        (f1_of_sklearn, {}, r'shape \(3,\), not one number'),
        (lambda *data: 0.5, dict(per_class=True), r'shape \(\), not \(3,\)'),
        (lambda *data: 2, {}, 'returned 2.0, which is not between its ends 0 and 1'),
    ],
)
@pytest.mark.usefixtures('own')
def test_a_function_that_is_no_measure_is_named(fn, facts, message):
    register_metric(fn, name='mine', **facts)
    with pytest.raises(DataError, match='`mine` returned'):
        score(cells(), resamples=5)
    with pytest.raises(DataError, match=message):
        score(cells(), resamples=5)


@pytest.mark.usefixtures('own')
def test_an_old_run_gets_the_measure_from_its_predictions(tmp_path):
    "Without predictions.csv it stays without; nothing is a KeyError."
    files = cells(60).assign(path=[f'{i}.png' for i in range(60)])
    files.to_csv(tmp_path / 'predictions.csv', index=False)
    old = score_run(tmp_path)
    register_metric(f1_of_sklearn, name='my_f1', per_class=True)
    assert measured(old) == list(METRICS)[:-1] and show_interval(old.get('my_f1'), 'my_f1') == '–'
    assert list(metrics_table(old).index) == list(METRICS)[:-1]
    filled = fill_metrics(old, tmp_path)
    assert filled == score(files) and 'my_f1' not in old and 'my_f1' not in old['per_class']['a']
    assert fill_metrics(filled, tmp_path) is filled
    (tmp_path / 'predictions.csv').unlink()
    assert fill_metrics(old, tmp_path) == old
    METRICS.pop('my_f1')
    assert measured(filled) == [*METRICS, 'my_f1'] and 'my_f1' in metrics_table(filled).index


@pytest.mark.parametrize('column', ['patient', 'group'])
def test_a_blank_is_unknown(column):
    "An empty text is no patient and no group, however a program writes what it does not know."
    t = cells(60).drop(columns='patient')
    gaps = [f'u{i // 4}' if i % 3 else None for i in range(60)]
    blanks = ['' if u is None else u for u in gaps]
    for partly in (True, False):
        unknown, blank = (
            draw_unit(t.assign(**{column: values}), partly) for values in (gaps, blanks)
        )
        assert unknown[0] == blank[0] == ('group' if column == 'group' and partly else 'image')


def test_a_rounded_nothing_has_no_minus():
    assert (
        show_interval(dict(value=-1e-9, low=-0.0004, high=0.2), 'kappa') == '0.000 (0.000 to 0.200)'
    )
