"""Temperature, sets, referral and operating points against hand computation, theory and simulation;
the step of a run against its files.
"""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from sklearn.metrics import brier_score_loss, log_loss

from leukocls.core.errors import DataError, RunError
from leukocls.measure.abstention import decide
from leukocls.measure.calibration import (
    T_RANGE,
    apply_temperature,
    benign_classes,
    calibrate,
    calibrate_run,
    calibration_page,
    calibration_plots,
    calibration_scores,
    conformal_sets,
    coverage,
    fit_conformal,
    fit_temperature,
    operating_points,
    plot_reliability,
    refer_below,
    referral,
    reliability,
    risk_coverage,
)
from leukocls.measure.metrics import calibration_error, clustered_share, score, score_run, wilson

CLASSES = ['Benign', 'Early', 'Pre', 'Pro']


def table(p, label, classes, **more):
    p, classes = np.asarray(p, float), np.array(list(classes))
    return pd.DataFrame({f'p_{c}': p[:, i] for i, c in enumerate(classes)}).assign(
        label=np.asarray(label), pred=classes[p.argmax(1)], **more
    )


def cells(n=300, seed=0, too_sure=1.0, strength=4.0, classes=CLASSES, **more):
    "Labels drawn from honest probabilities, said `too_sure` times as sure."
    rng = np.random.default_rng(seed)
    z = strength * rng.normal(size=(n, len(classes)))

    def soft(z):
        return np.exp(z - z.max(1, keepdims=True)) / np.exp(z - z.max(1, keepdims=True)).sum(
            1, keepdims=True
        )

    y = (rng.random((n, 1)) > soft(z).cumsum(1)).sum(1).clip(0, len(classes) - 1)
    return table(
        soft(too_sure * z),
        np.array(classes)[y],
        classes,
        **dict(path=[f'{i}.png' for i in range(n)], patient=pd.NA) | more,
    )


def numbers(t):
    return t[[c for c in t if c.startswith('p_')]].to_numpy()


# Temperature


@pytest.mark.parametrize('T', [0.5, 1.0, 1.7, 4.0])
def test_known_temperature_is_found(T):
    assert fit_temperature(cells(6000, 1, too_sure=T)) == pytest.approx(T, rel=0.1)


@pytest.mark.parametrize('seed', range(3))
def test_temperature_is_the_best_of_a_grid(seed):
    t = cells(150, seed, too_sure=2)

    def loss(T):
        return log_loss(t.label, numbers(apply_temperature(t, T)), labels=CLASSES)

    assert loss(fit_temperature(t)) <= min(map(loss, np.geomspace(*T_RANGE, 200))) + 1e-6


rows = st.lists(
    st.lists(
        st.one_of(st.sampled_from([0.0, 1e-30, 1e-9]), st.floats(1e-6, 1)), min_size=3, max_size=3
    ).filter(lambda r: sum(r) > 1e-3),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, max_examples=60)
@given(rows, st.floats(0.05, 20))
def test_temperature_keeps_class_and_sum(raw, T):
    p = np.array(raw)
    p /= p.sum(1, keepdims=True)
    t = table(p, ['a'] * len(p), 'abc')
    q = numbers(apply_temperature(t, T))
    assert (
        np.isfinite(q).all()
        and np.allclose(q.sum(1), 1)
        and (apply_temperature(t, T).pred == t.pred).all()
    )
    assert (q[np.arange(len(p)), p.argmax(1)] >= q.max(1) - 1e-12).all()
    assert apply_temperature(t, 1).equals(t) and np.allclose(
        numbers(apply_temperature(t, 1.0000001)), p, atol=1e-5
    )


@settings(deadline=None, max_examples=30)
@given(st.floats(0.5, 5), st.floats(0.5, 5))
def test_temperatures_multiply(a, b):
    t = cells(20, strength=1)
    assert np.allclose(
        numbers(apply_temperature(apply_temperature(t, a), b)),
        numbers(apply_temperature(t, a * b)),
        atol=1e-6,
    )


def test_all_right_or_hopeless_has_no_temperature():
    t = cells(100)
    assert fit_temperature(t[t.label == t.pred]) == T_RANGE[0]
    wrong = table([[0.9, 0.1]] * 20, ['b'] * 20, 'ab')
    assert fit_temperature(wrong) > 0.99 * T_RANGE[1]
    c = calibrate(t[t.label == t.pred], t)
    assert (
        c['temperature'] == 1
        and c['ece']['before'] == c['ece']['after']
        and c['notes'][0].startswith('No temperature fits')
    )


def test_zero_and_one_are_survived():
    t = table([[1, 0], [0, 1], [1, 0], [0, 1.0]], list('abba'), 'ab')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        c = calibrate(t, t)
    assert (
        np.isfinite(fit_temperature(t))
        and json.loads(json.dumps(c, allow_nan=False)) == c
        and calibration_page(c)
    )


@pytest.mark.parametrize('T', [0, -1, float('nan'), float('inf')])
def test_no_temperature(T):
    with pytest.raises(DataError, match='Use a number above 0'):
        apply_temperature(cells(5), T)


# Reliability


def test_calibration_error_by_hand():
    "Ten at 80 %, six right; ten at 60 %, nine right: (.2 + .3)/2."
    t = table([[0.8, 0.2]] * 10 + [[0.6, 0.4]] * 10, list('aaaaaabbbb') + list('aaaaaaaaab'), 'ab')
    r = reliability(t)
    assert (
        r.confidence.tolist() == pytest.approx([0.6, 0.8])
        and r.accuracy.tolist() == pytest.approx([0.9, 0.6])
        and r.n.tolist() == [10, 10]
    )
    assert np.allclose(r[['low', 'high']].to_numpy().T, wilson([9, 6], [10, 10]))
    assert calibration_scores(t)['ece']['value'] == pytest.approx(0.25)


@pytest.mark.parametrize('bins', [1, 5, 10, 15, 37])
def test_reliability_sums_to_the_calibration_error(bins):
    for t in (
        cells(200, too_sure=2),
        table(np.round(numbers(cells(200)), 1), cells(200).label, CLASSES),
    ):  # round ones lie on the edges
        r = reliability(t, bins)
        assert (r.n * (r.confidence - r.accuracy).abs()).sum() / r.n.sum() == pytest.approx(
            calibration_error(t.label == t.pred, numbers(t).max(1), bins=bins)
        ) and r.n.sum() == 200


def test_bins_of_equal_mass():
    assert set(reliability(cells(200), 8, 'mass').n) == {25}
    tied = reliability(table([[0.7, 0.3]] * 9 + [[0.9, 0.1]], list('aaaaaaaaab'), 'ab'), 5, 'mass')
    assert tied.n.sum() == 10 and tied.confidence.is_monotonic_increasing
    assert len(reliability(table([[0.7, 0.3]] * 9, ['a'] * 9, 'ab'), 5, 'mass')) == 1


@pytest.mark.parametrize('kw', [dict(bins=0), dict(equal='size')])
def test_bad_bins(kw):
    with pytest.raises(DataError, match='use at least 1 bin'):
        reliability(cells(9), **kw)


def test_brier_against_sklearn():
    t = cells(200, classes=['a', 'b'])
    assert calibration_scores(t)['brier']['value'] == pytest.approx(
        2 * brier_score_loss(t.label == 'b', t.p_b)
    )
    t = cells(200)
    hand = np.mean(
        [sum((r[f'p_{c}'] - (r['label'] == c)) ** 2 for c in CLASSES) for r in t.to_dict('records')]
    )
    assert calibration_scores(t)['brier']['value'] == pytest.approx(hand)


def test_interval_of_a_share_counts_patients():
    """The error among the answered: wrong answers and answers are counted by patient, and the
    interval is that of a share among patients; images would give a narrower one.
    """
    t = cells(300, strength=2, patient=np.repeat(np.arange(30), 10).astype(str))
    r = referral(t, 0.8)
    told = t[numbers(t).max(1) >= 0.8]
    count = (told.label != told.pred).groupby(told.patient).agg(['sum', 'size'])
    low, high = clustered_share(count['sum'], count['size'])
    assert [r['error']['low'], r['error']['high']] == pytest.approx(
        [low, high], abs=1e-9
    ) and 0 < low < r['error']['value'] < high
    assert high - low > np.diff(wilson(count['sum'].sum(), len(told)))[0]


def test_the_curve_in_the_file_is_the_curve():
    t = cells(1000, strength=8)
    p = calibrate(t, t)['risk_coverage']['points']
    full = risk_coverage(t)
    assert len(p['coverage']) == 200 and p['coverage'][0] == 0.001 and p['coverage'][-1] == 1
    at = full.set_index(full.coverage.round(5)).loc[p['coverage']]
    assert all(np.allclose(at[k], p[k], atol=1e-5) for k in ('error', 'low', 'high', 'confidence'))


def test_before_is_what_metrics_says():
    t = cells(200, too_sure=2)
    assert calibration_scores(t)['ece'] == score(t)['ece']


def test_temperature_mends_a_model_that_is_too_sure():
    c = calibrate(cells(1500, 1, too_sure=3), cells(1500, 2, too_sure=3))
    assert (
        c['ece']['after']['high'] < c['ece']['before']['low']
        and c['brier']['after']['value'] < c['brier']['before']['value']
    )


def test_clusters_widen_the_intervals():
    """Groups that succeed or fail together carry the information of one image; patients go before
    groups, an incomplete column counts for nothing.
    """
    rng = np.random.default_rng(0)
    good = np.repeat(rng.random(20) < 0.7, 25)
    label = np.where(good, 'a', 'b')
    t = table([[0.7, 0.3]] * 500, label, 'ab', patient=pd.NA)
    unit = np.repeat(np.arange(20), 25)

    def width(t):
        error = referral(t, 0)['error']
        return error['high'] - error['low']

    alone = width(t)
    assert (
        width(t.assign(group=unit)) > 3 * alone
        and width(t.assign(patient=unit.astype(str))) > 3 * alone
    )
    assert (
        width(t.assign(group=[''] + ['x'] * 249 + ['y'] * 250)) == alone
        and width(t.assign(group=np.arange(500), patient=unit)) > 3 * alone
    )
    assert calibrate(t, t.assign(group=unit))['unit'] == 'group'


def test_groups_in_which_nothing_is_doubled_are_images():
    "As in metrics.json: the interval of single images is Wilson's, not that of a share of groups."
    t = cells(200, strength=2)
    alone, grouped = referral(t, 0), referral(t.assign(group=range(200)), 0)
    assert grouped == alone and calibrate(t, t.assign(group=range(200)))['unit'] == 'image'


def test_the_area_of_all_resamples_is_a_loop():
    "The quick way against rows repeated as they are drawn, equal confidence answered together."
    from leukocls.measure.calibration import _area_under_risk
    from leukocls.measure.metrics import draw_weights

    rng = np.random.default_rng(0)
    sure, wrong = rng.integers(5, 10, 60) / 10, rng.random(60) < 0.3
    weights = draw_weights(60, 20, 1)
    for area, drawn in zip(_area_under_risk(wrong, sure, weights), weights.astype(int)):
        rows = np.repeat(np.arange(60), drawn)
        errors = [wrong[rows][sure[rows] >= line].mean() for line in sure[rows]]
        assert area == pytest.approx(np.mean(errors), abs=1e-6)


# Sets


def test_coverage_lies_where_theory_says():
    """Mean over 300 simulations, in each class: from 1−α to 1−α + 1/(n+1), within three standard
    errors; the hard class is not paid for by the easy one.
    """
    rng = np.random.default_rng(0)
    alpha, n, m, found = 0.1, 30, 200, []

    def draw(k):
        y = np.repeat([0, 1], k)
        z = rng.normal(size=2 * k) + np.where(y == 1, 0.5, -3)
        p = 1 / (1 + np.exp(-z))
        return table(np.stack([1 - p, p], 1), np.array(['a', 'b'])[y], 'ab')

    for _ in range(300):
        t = draw(m)
        found.append(
            coverage(t, conformal_sets(t, fit_conformal(draw(n), alpha)), alpha)
            .found[['a', 'b']]
            .tolist()
        )
    mean, error = np.mean(found, 0), np.std(found, 0) / np.sqrt(300)
    assert (mean >= 1 - alpha - 3 * error).all() and (
        mean <= 1 - alpha + 1 / (n + 1) + 3 * error
    ).all(), (mean, error)


def test_threshold_by_hand():
    "19 images and 5 %: the largest score; 39: the second largest but one, ⌈40·.95⌉ = 38th."
    for n, rank in ((19, 19), (39, 38), (20, 20), (59, 57)):
        s = np.linspace(0.01, 0.4, n)
        t = table(np.stack([1 - s, s], 1), ['a'] * n, 'ab')
        assert fit_conformal(t)['thresholds']['a'] == pytest.approx(s[rank - 1]), n


@pytest.mark.parametrize('alpha,least', [(0.05, 19), (0.1, 9), (0.01, 99), (0.3, 3)])
def test_too_few_to_promise(alpha, least):
    t = cells(2000, strength=1)
    few, enough = (
        fit_conformal(pd.concat([t[t.label != 'Pro'], t[t.label == 'Pro'][:k]]), alpha)
        for k in (least - 1, least)
    )
    assert (
        few['thresholds']['Pro'] is None
        and f'Pro: fewer than {least} calibration images' in few['note']
        and enough['thresholds']['Pro'] is not None
        and not enough['note']
    )
    assert conformal_sets(t, few).Pro.all() and not conformal_sets(t, enough).Pro.all()


def test_a_class_absent_from_calibration_is_always_in_the_set():
    v, t = cells(500), cells(300, 1)
    c = calibrate(v[v.label != 'Pro'], t)
    assert c['conformal']['n']['Pro'] == 0 and c['conformal']['thresholds']['Pro'] is None
    pro = next(r for r in c['conformal']['coverage'] if r['of'] == 'Pro')
    assert pro['found'] == 1 and any('Pro: fewer than 19' in n for n in c['notes'])


def test_a_class_absent_from_the_test():
    t = cells(300, 1)
    c = calibrate(cells(500), t[t.label != 'Pro'])
    pro = next(r for r in c['conformal']['coverage'] if r['of'] == 'Pro')
    assert (
        pro['found'] is None
        and pro['n'] == 0
        and pro['promised'] == 0.95
        and json.dumps(c, allow_nan=False)
        and len(calibration_page(c)) > 3
    )


def test_coverage_by_hand():
    t = table(
        [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]],
        list('aabb'),
        'ab',
        patient=['x', 'x', 'y', 'z'],
    )
    c = coverage(t, pd.DataFrame(dict(a=[1, 0, 1, 0], b=[0, 0, 1, 0]), dtype=bool), 0.4)
    assert (
        c.found['every image'] == 0.5
        and c.found['a'] == 0.5
        and c.found['b'] == 0.5
        and c['size']['every image'] == 0.75
        and c['empty']['every image'] == 0.5
        and c['single']['every image'] == 0.25
    )
    assert coverage(t, pd.DataFrame(dict(a=[1, 0, 1, 0], b=[0, 0, 1, 0]), dtype=bool), 0.5).found[
        'patients below'
    ] == pytest.approx(1 / 3)  # exactly as promised is not below
    assert (
        c.found['patients below'] == pytest.approx(2 / 3)
        and c.n['patients below'] == 3
        and c.promised['a'] == 0.6
    )


def test_sets_need_no_labels_and_fit_the_model():
    t = cells(300)
    f = fit_conformal(t)
    s = conformal_sets(t.drop(columns=['label', 'pred']), f)
    assert s.equals(conformal_sets(t, json.loads(json.dumps(f))))
    hand = np.array(
        [[1 - p <= f['thresholds'][c] for c, p in zip(CLASSES, row)] for row in numbers(t)]
    )
    assert (s.to_numpy() == hand).all()
    assert conformal_sets(t[[*t.columns[::-1]]], f)[CLASSES].equals(s)
    with pytest.raises(DataError, match='Use what was fitted for this model'):
        conformal_sets(cells(9, classes=['a', 'b']), f)


@pytest.mark.parametrize('alpha', [0, 1, 5, -0.1])
def test_bad_alpha(alpha):
    with pytest.raises(DataError, match='must lie between 0 and 1'):
        fit_conformal(cells(30), alpha)


# Answer or refer


def test_risk_coverage_by_hand():
    t = table([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.7, 0.3], [0.4, 0.6]], list('abbaa'), 'ab')
    r = risk_coverage(t)
    assert (
        r.confidence.tolist() == [0.9, 0.8, 0.7, 0.6]
        and r.answered.tolist() == [1, 2, 4, 5]
        and r.wrong.tolist() == [0, 0, 1, 2]
        and r.coverage.iloc[-1] == 1
    )
    assert np.allclose(r[['low', 'high']].to_numpy().T, wilson(r.wrong, r.answered))
    assert calibrate(t, t)['risk_coverage']['aurc']['value'] == pytest.approx(
        (0 + 0 + 1 / 4 + 1 / 4 + 2 / 5) / 5
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(5, 80))
def test_the_curve_ends_at_the_error(seed, n):
    t = cells(n, seed)
    r = risk_coverage(t)
    assert (
        r.error.iloc[-1] == pytest.approx((t.label != t.pred).mean())
        and r.coverage.is_monotonic_increasing
        and ((r.low <= r.error + 1e-12) & (r.error <= r.high + 1e-12)).all()
    )
    c = referral(t, r.confidence.iloc[len(r) // 2])
    assert c['answered'] == r.answered.iloc[len(r) // 2] and c['wrong'] == r.wrong.iloc[len(r) // 2]


@pytest.mark.parametrize('wrong,n', [(0, 400), (1, 500), (3, 900)])
def test_bound_is_clopper_and_pearson(wrong, n):
    t = table([[0.9, 0.1]] * n, ['b'] * wrong + ['a'] * (n - wrong), 'ab')
    r = refer_below(t)
    assert (
        r['bound'] == pytest.approx(stats.binomtest(wrong, n).proportion_ci(0.9, 'exact').high)
        and r['threshold'] == 0
        and (r['answered'], r['wrong']) == (n, wrong)
    )


def test_299_without_an_error():
    def t(n):
        return table([[0.9, 0.1]] * n, ['a'] * n, 'ab')

    assert (
        refer_below(t(298))['threshold'] is None
        and '299 validation images' in refer_below(t(298))['note']
        and refer_below(t(299))['threshold'] == 0
    )


def test_the_line_is_the_lowest_that_passes():
    v = cells(3000, strength=12)
    r = refer_below(v, 0.02)
    curve = risk_coverage(v)
    assert 0 < r['threshold'] < 1 and r['bound'] <= 0.02
    lower = curve[curve.confidence < r['threshold']]
    assert len(lower) and all(
        stats.binomtest(int(w), int(n)).proportion_ci(0.9, 'exact').high > 0.02
        for w, n in zip(lower.wrong[:40], lower.answered[:40])
    )
    assert refer_below(v, 0.05)['threshold'] <= r['threshold'] <= refer_below(v, 0.01)['threshold']


@pytest.mark.parametrize(
    'error,most',
    [
        (lambda u: 0.002 + 0.06 * u**6, 0.085),
        (lambda u: np.where(u < 0.6, 0.0005, 0.05), 0.085),
        (lambda u: np.full_like(u, 0.0105), 0.2),
    ],
    ids=['rising', 'step', 'tells nothing'],
)
def test_how_often_the_promise_fails(error, most):
    """The true error above the line exceeds 1 % in 5 % of 400 draws (and sampling error) where
    confidence tells right from wrong; the line is chosen, so somewhat more often where it does
    not.
    """
    rng = np.random.default_rng(0)
    u = (np.arange(20_000) + 0.5) / 20_000
    true = np.cumsum(error(u)) / np.arange(1, 20_001)
    failed = 0
    for _ in range(400):
        x = rng.random(800)
        p = 1 - x / 2.001
        line = refer_below(
            table(np.stack([p, 1 - p], 1), np.where(rng.random(800) < error(x), 'b', 'a'), 'ab')
        )['threshold']
        if line is not None:
            failed += true[min(int((1 - line) * 2.001 * 20_000), 19_999)] > 0.01
    assert failed / 400 <= most, failed / 400


@pytest.mark.parametrize('kw', [dict(max_error=0), dict(max_error=1)])
def test_bad_max_error(kw):
    with pytest.raises(DataError, match='must lie between 0 and 1'):
        refer_below(cells(9), **kw)


@pytest.mark.parametrize('few', [12, 100])
def test_what_is_answered_alone_is_what_decide_answers(few):
    "With few images of two classes, the confidence is high enough and no set names one class."
    by_class = cells(1000, 4, strength=8).groupby('label')
    v = pd.concat([t[: few if name in ('Pre', 'Pro') else 100] for name, t in by_class])
    t = cells(300, 5, strength=8)
    c = calibrate(v, t, max_error=0.3)
    refer, why = c['refer'], decide(numbers(t), CLASSES, c)[2]
    assert refer['answered'] > refer['alone']['answered'] == why.count('')
    assert (why.count('') == 0) == (few == 12)
    assert 'The sets refer some of these as well' in calibration_page(c)[1]


def test_refer_everything():
    r = referral(cells(40), None)
    assert (r['answered'], r['coverage']['value'], r['error']) == (
        0,
        0,
        dict(value=None, low=None, high=None),
    )


# Malignant against benign


@pytest.mark.parametrize(
    'classes,benign',
    [
        (['Benign', 'Early'], ['Benign']),
        (['all', 'hem'], ['hem']),
        (['HEM', 'ALL'], ['HEM']),
        (['healthy', 'all'], ['healthy']),
        (['a', 'healthy_blood_cell'], ['healthy_blood_cell']),
        (['Haematogones', 'B-ALL'], ['Haematogones']),
        (['normal cells', 'blast'], ['normal cells']),
        (['abnormal', 'blast'], []),
        (['basophil', 'ig'], []),
        (['hemoblast', 'ig'], []),
        (['benign', 'normal'], []),
    ],
)
def test_benign_classes(classes, benign):
    assert benign_classes(classes) == benign


def test_operating_points_by_hand():
    """100 malignant images with 1 %, 2 %, … 100 %: one may be missed at 98 %, so the line is the
    ⌊101·.02⌋ = second lowest.
    """
    p = np.arange(1, 101) / 100
    v = table(np.stack([1 - p, p], 1), ['x'] * 100, ['hem', 'x'])
    t = table(
        [
            [0.985, 0.015],
            [0.98, 0.02],
            [0.3, 0.7],
            [0.99, 0.01],
            [0.995, 0.005],
            [0.99, 0.01],
            [0.4, 0.6],
        ],
        ['x', 'x', 'x', 'hem', 'hem', 'hem', 'hem'],
        ['hem', 'x'],
    )
    assert [operating_points(v[-n:], t, ['x'], [0.98])[0]['threshold'] for n in (99, 98)] == [
        0.03,
        0.03,
    ]  # the second of 99, the first of 98
    (o,) = operating_points(v, t, ['x'], [0.98])
    assert o['threshold'] == 0.02 and (o['positives'], o['n'], o['missed']) == (100, 3, 1)
    assert (
        o['sensitivity']['value'] == pytest.approx(2 / 3)
        and o['specificity']['value'] == pytest.approx(3 / 4)
        and np.allclose([o['sensitivity']['low'], o['sensitivity']['high']], wilson(2, 3))
        and '150' in o['note']
    )


def test_a_threshold_for_what_a_bundle_shows():
    """The second threshold is for calibrated probabilities: its counts are those of a person who
    applies it to them. With two classes it calls the same images malignant as the first.
    """
    v, t = cells(1500, strength=2), cells(800, 1, strength=2)
    c = calibrate(v, t)
    assert c['temperature'] != 1
    for point in c['operating_points']:
        shown = apply_temperature(t, c['temperature'])
        called = (
            shown[[f'p_{k}' for k in CLASSES[1:]]].sum(axis=1) >= point['calibrated']['threshold']
        )
        ill = shown.label != 'Benign'
        assert point['calibrated']['missed'] == (ill & ~called).sum()
        assert point['calibrated']['sensitivity']['value'] == pytest.approx(called[ill].mean())
    two = [
        table.assign(label=np.where(table.label == 'Benign', 'Benign', 'x'))
        .assign(p_x=1 - table.p_Benign)
        .pipe(lambda t: t.assign(pred=np.where(t.p_x > 0.5, 'x', 'Benign')))
        .drop(columns=[f'p_{k}' for k in CLASSES[1:]])
        for table in (v, t)
    ]
    c = calibrate(*two)
    assert c['temperature'] != 1
    for point in c['operating_points']:
        assert point['calibrated']['missed'] == point['missed']
        assert point['calibrated']['threshold'] != point['threshold']


def test_probabilities_of_malignant_classes_are_summed():
    v, t = cells(1500, strength=2), cells(800, 1, strength=2)
    many = operating_points(v, t, CLASSES[1:])

    def two(t):
        return t.assign(
            p_x=numbers(t)[:, 1:].sum(1),
            label=np.where(t.label == 'Benign', 'Benign', 'x'),
            pred='x',
        ).drop(columns=['p_Early', 'p_Pre', 'p_Pro'])

    for a, b in zip(many, operating_points(two(v), two(t), ['x'])):
        assert (
            a['threshold'] == pytest.approx(b['threshold'])
            and abs(a['missed'] - b['missed']) <= 1
            and a['positives'] == b['positives']
        )


def test_wanted_sensitivity_is_reached_on_average():
    found = [
        operating_points(
            cells(150, 2 * i, strength=1), cells(300, 2 * i + 1, strength=1), CLASSES[1:], [0.95]
        )[0]
        for i in range(150)
    ]
    s = np.array([f['sensitivity']['value'] for f in found])
    assert 0.95 - 3 * s.std() / 150**0.5 <= s.mean() <= 0.95 + 2 / 100 + 3 * s.std() / 150**0.5


@pytest.mark.parametrize('n,noted', [(299, True), (300, False)])
def test_rule_of_three(n, noted):
    v = table([[0.1, 0.9]] * n + [[0.9, 0.1]] * 5, ['x'] * n + ['hem'] * 5, ['hem', 'x'])
    assert bool(operating_points(v, v, ['x'], [0.99])[0]['note']) == noted


def test_no_malignant_image_to_calibrate_on():
    v, t = cells(200), cells(100, 1)
    o = operating_points(v[v.label == 'Benign'], t, CLASSES[1:])[0]
    assert o['threshold'] is None and o['positives'] == 0 and '0 malignant' in o['note']
    c = calibrate(v[v.label == 'Benign'], t)
    assert json.dumps(c, allow_nan=False) and calibration_page(c)


@pytest.mark.parametrize('positive', [[], ['zebra'], CLASSES])
def test_bad_positive(positive):
    with pytest.raises(DataError, match='name some, not all'):
        operating_points(cells(30), cells(30), positive)


def test_no_benign_class_no_operating_points():
    names = ['basophil', 'ig']
    c = calibrate(cells(200, classes=names), cells(200, 1, classes=names))
    assert c['operating_points'] == [] and any(
        'No class is known as benign' in n for n in c['notes']
    )


# Tables that cannot be judged


@pytest.mark.parametrize(
    'judge',
    [
        fit_temperature,
        reliability,
        calibration_scores,
        fit_conformal,
        risk_coverage,
        refer_below,
        lambda t: referral(t, 0.5),
        lambda t: operating_points(t, t, ['Pro']),
        lambda t: calibrate(t, t),
        lambda t: coverage(t, t),
    ],
    ids=(
        'temperature reliability scores conformal risk refer referral points calibrate coverage'.split()
    ),
)
@pytest.mark.parametrize(
    'change,said',
    [
        (lambda t: t.drop(columns='label'), 'no column `label`'),
        (lambda t: t.drop(columns=[f'p_{c}' for c in CLASSES]), 'p_<class>'),
        (lambda t: t[:0], 'empty'),
        (lambda t: t.assign(label='zebra'), 'zebra'),
        (lambda t: t.assign(p_Pro=np.nan), 'no number'),
    ],
)
def test_bad_tables(judge, change, said):
    with pytest.raises(DataError, match=said):
        judge(change(cells(30)))


@pytest.mark.parametrize(
    'judge',
    [lambda t: apply_temperature(t, 2), lambda t: conformal_sets(t, fit_conformal(cells(30)))],
)
@pytest.mark.parametrize(
    'change,said',
    [
        (lambda t: t.drop(columns=[f'p_{c}' for c in CLASSES]), 'p_<class>'),
        (lambda t: t[:0], 'empty'),
        (lambda t: t.assign(p_Pro=np.nan), 'no number'),
    ],
)
def test_bad_probabilities(judge, change, said):
    with pytest.raises(DataError, match=said):
        judge(change(cells(30)))


def test_nothing_is_changed():
    v, t = cells(200), cells(200, 1)
    a, b = v.copy(), t.copy()
    calibrate(v, t)
    pd.testing.assert_frame_equal(v, a)
    pd.testing.assert_frame_equal(t, b)


# A run


def a_run(folder, sides=('valid', 'test'), **kw):
    made = pd.concat([cells(400, i, strength=8, **kw).assign(split=s) for i, s in enumerate(sides)])
    made[['path', 'label', 'patient', 'split', 'pred', *[f'p_{c}' for c in CLASSES]]].to_csv(
        folder / 'predictions.csv', index=False
    )
    score_run(folder)
    return folder


def strict(path):
    def refuse(name):
        raise AssertionError(f'{name} is not JSON')

    return json.loads(path.read_text(encoding='utf8'), parse_constant=refuse)


def test_calibrate_run(tmp_path):
    c = calibrate_run(a_run(tmp_path))
    first = (tmp_path / 'calibration.json').read_bytes()
    assert strict(tmp_path / 'calibration.json') == c
    assert (
        set(c)
        == set(
            'n classes unit temperature ece brier conformal refer risk_coverage operating_points'
            ' notes'.split()
        )
        and c['n'] == dict(calibration=400, scored=400)
        and c['classes'] == CLASSES
    )
    assert (
        c['ece']['before'] == json.loads((tmp_path / 'metrics.json').read_text())['ece']
        and len(c['risk_coverage']['points']['error']) <= 200
        and len(c['operating_points']) == 3
    )
    for v in (c['ece'], c['brier']):
        assert all(
            set(v[k]) == {'value', 'low', 'high'} and v[k]['low'] <= v[k]['value'] <= v[k]['high']
            for k in ('before', 'after')
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'calibration.json',
        'metrics.json',
        'predictions.csv',
    ]
    assert calibrate_run(tmp_path) == c and (tmp_path / 'calibration.json').read_bytes() == first


def test_no_promise_about_images_from_elsewhere(tmp_path):
    "Where a hospital was held out, its images are not like those that were calibrated on."
    run = a_run(tmp_path)
    assert not any('elsewhere' in note for note in calibrate_run(run)['notes'])
    split = dict(method='hospital', short='split by hospital', elsewhere=True)
    (run / 'recipe.json').write_text(json.dumps(dict(split=split)))
    note = calibrate_run(run)['notes'][-1]
    assert 'come from elsewhere (split by hospital), so no promise is about them' in note


def test_only_the_sides_that_may_be_used(tmp_path):
    "Fitted on valid, counted on test; training rows, should there be any, count for nothing."
    for n in ('a', 'b'):
        (tmp_path / n).mkdir()
    c = calibrate_run(a_run(tmp_path / 'a'))
    p = pd.read_csv(tmp_path / 'a' / 'predictions.csv')
    pd.concat([cells(50, 9)[lambda t: [*p.columns.drop('split')]].assign(split='train'), p]).to_csv(
        tmp_path / 'b' / 'predictions.csv', index=False
    )
    score_run(tmp_path / 'b')
    assert calibrate_run(tmp_path / 'b') == c
    v, t = (cells(400, i, strength=8) for i in (0, 1))
    assert (
        c['temperature'] == pytest.approx(fit_temperature(v))
        and c['refer']['answered'] == referral(t, refer_below(v)['threshold'])['answered']
    )


@pytest.mark.parametrize('sides', [('valid',), ('test',), ('valid', 'valid')])
def test_no_side_to_calibrate_on(tmp_path, sides):
    c = calibrate_run(a_run(tmp_path, sides))
    assert (
        list(c) == ['note']
        and c['note'].startswith('Not calibrated: ')
        and 'valid_pct above 0 and test_pct above 0' in c['note']
    )
    assert (
        strict(tmp_path / 'calibration.json') == c
        and calibration_page(c) == [c['note']]
        and calibration_plots(tmp_path, c) == {}
    )


def test_no_run(tmp_path):
    with pytest.raises(RunError, match='predictions.csv, metrics.json'):
        calibrate_run(tmp_path)


def test_patients_in_a_run(tmp_path):
    who = np.repeat(np.arange(20), 20).astype(str)
    c = calibrate_run(a_run(tmp_path, patient=who))
    assert (
        c['unit'] == 'patient'
        and c['conformal']['coverage'][-1]['of'] == 'patients below'
        and c['conformal']['coverage'][-1]['n'] == 20
    )
    assert any('Only 20 patients' in n for n in c['notes']) and any(
        'of the patients it is less than promised' in s for s in calibration_page(c)
    )


def test_the_page_is_in_words(tmp_path):
    c = calibrate_run(a_run(tmp_path))
    page = calibration_page(c)
    r = c['refer']
    assert all(
        isinstance(s, str) and s.endswith('.') and 'None' not in s and ' nan' not in s for s in page
    )
    assert (
        f"{100 * r['coverage']['value']:.1f} %" in page[1]
        if r['threshold'] is not None
        else 'refer every image' in page[1]
    )
    assert (
        page[2].startswith('Sets that hold the true class in at least 95 %')
        and 'at most 1 malignant image in 200' in page[4]
        and page[-1] == c['notes'][-1]
    )


def test_everything_right_reads_well():
    t = table([[0.9, 0.1]] * 400 + [[0.1, 0.9]] * 400, ['hem'] * 400 + ['x'] * 400, ['hem', 'x'])
    c = calibrate(t, t)
    page = calibration_page(c)
    assert (
        'the model answers 100.0 % (99.5–100.0)' in page[1]
        and 'among those answered 0.0 % (0.0–0.5) are wrong' in page[1]
        and 'No temperature fits' in ' '.join(page)
    )


def test_figures(tmp_path):
    c = calibrate_run(a_run(tmp_path))
    plots = calibration_plots(tmp_path, c, 'stamp')
    assert list(plots) == ['reliability', 'risk_coverage']
    for f in plots.values():
        f.savefig(tmp_path / 'x.png')
        assert (
            f.get_size_inches().tolist() == [4.2, 3.6]
            and f.dpi == 110
            and (tmp_path / 'x.png').stat().st_size < 60_000
        )
    import matplotlib.pyplot as plt

    assert not plt.get_fignums()
    plot_reliability(dict(one=cells(1)))
    for t in (cells(1), table([[1, 0]] * 3, ['a'] * 3, 'ab')):
        for f in calibration_plots(t, calibrate(t, t)).values():
            f.savefig(tmp_path / 'x.png')
