"""Comparisons: tests against scipy and enumeration by hand, intervals against formulas and simulation,
symmetry, and images that do not match.
"""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from matplotlib.figure import Figure
from scipy import stats
from sklearn import metrics as skm

from leukocls.core.errors import DataError, RunError
from leukocls.measure.metrics import METRICS, register_metric, score
from leukocls.measure.paired import (
    Comparison,
    compare,
    compare_all,
    holm,
    mcnemar,
    plot_compare,
    sign_flip,
)


def model(seed, n=200, patients=20, strength=1.6, own=1.0, name=None):
    """Predictions of one of several models on the same images; `own` is how much patients differ
    for it.
    """
    rng = np.random.default_rng(0)
    y = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    who = np.arange(n) % patients
    r = np.random.default_rng(seed + 100)
    z = (
        r.normal(size=(n, 3))
        + (strength + own * r.normal(size=patients)[who])[:, None] * np.eye(3)[y]
    )
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    t = pd.DataFrame(p, columns=['p_a', 'p_b', 'p_c']).assign(
        path=[f'films/c{i}.png' for i in range(n)],
        label=np.array(list('abc'))[y],
        pred=np.array(list('abc'))[p.argmax(1)],
        patient=[f'P{w}' for w in who],
        split='test',
    )
    if name:
        t.attrs['name'] = name
    return t


def judged(right_a, right_b, patient=None):
    "Two tables from who is right where."
    n = len(right_a)
    base = pd.DataFrame(
        dict(
            path=[f'{i}.png' for i in range(n)],
            label='a',
            patient=patient if patient is not None else None,
        )
    )
    return [
        base.assign(
            pred=np.where(r, 'a', 'b'), p_a=np.where(r, 0.8, 0.2), p_b=np.where(r, 0.2, 0.8)
        )
        for r in (np.asarray(right_a, bool), np.asarray(right_b, bool))
    ]


def blind(t):
    return t.drop(columns='patient')


# --- the tests themselves
@pytest.mark.parametrize(
    'a,b', [(0, 0), (0, 1), (1, 0), (3, 3), (2, 9), (15, 4), (0, 12), (120, 150)]
)
def test_mcnemar_against_scipy(a, b):
    assert mcnemar(a, b) == pytest.approx(stats.binomtest(a, a + b, 0.5).pvalue if a + b else 1.0)


@pytest.mark.parametrize(
    'd',
    [
        [1],
        [2, -1],
        [3, 2, 1],
        [5, -1, 2, 0, 0, 3],
        [1, 1, 1, 1, -1],
        [4, -4],
        [7, 1, -2, 3, 5, -1, 2, 2],
    ],
    ids=str,
)
def test_sign_flip_is_the_whole_enumeration(d):
    all_ = [
        abs(sum(s * x for s, x in zip(signs, d)))
        for signs in itertools.product([1, -1], repeat=len(d))
    ]
    assert sign_flip(d) == pytest.approx(np.mean(np.array(all_) >= abs(sum(d))))


def test_sign_flip_by_chance_is_near_the_enumeration():
    d = np.random.default_rng(1).normal(0.4, 1, 13)
    exact = sign_flip(d)
    assert (
        0.01 < exact < 0.9
        and abs(sign_flip(d, flips=8000) - exact) < 0.02
        and sign_flip(d, flips=8000) != exact
    )


def test_many_units_need_little_memory():
    "20,000 groups: signs come in blocks, and the result is that of the normal approximation."
    d = np.random.default_rng(0).choice([-1, 0, 1], 20_000, p=[0.05, 0.895, 0.055])
    assert sign_flip(d, flips=2000) == pytest.approx(
        2 * stats.norm.sf(abs(d.sum()) / (d**2).sum() ** 0.5), abs=0.04
    )


def test_many_clear_patients_are_never_p_zero():
    assert 0 < sign_flip([3] * 40, flips=999) == pytest.approx(1 / 1000)


@given(st.lists(st.integers(-5, 5), max_size=10))
@settings(max_examples=60, deadline=None)
def test_sign_flip_properties(d):
    p = sign_flip(d)
    assert 0 < p <= 1 and sign_flip([-x for x in d]) == p and sign_flip(d[::-1]) == pytest.approx(p)
    if d and set(map(abs, d)) <= {1}:
        assert p == pytest.approx(mcnemar(d.count(1), d.count(-1)))


def test_accuracy_of_images_is_mcnemar():
    rng = np.random.default_rng(0)
    a, b = judged(rng.random(150) < 0.8, rng.random(150) < 0.9)
    c = compare(a, b)
    assert (
        c.only_a == (a.pred.eq('a') & b.pred.eq('b')).sum()
        and c.only_b == (b.pred.eq('a') & a.pred.eq('b')).sum()
    )
    assert (
        c.p == pytest.approx(stats.binomtest(c.only_a, c.only_a + c.only_b, 0.5).pvalue)
        and 'McNemar' in c.note
        and c.unit == 'image'
    )


def test_patients_are_flipped_as_a_whole():
    "Five patients of ten images: the p of five signs, not of thirty images."
    right_a = np.zeros(50, bool)
    right_b = np.repeat([6, 7, 5, 8, 4], 10) > np.tile(range(10), 5)
    a, b = judged(right_a, right_b, [f'P{i // 10}' for i in range(50)])
    c = compare(a, b)
    assert (
        c.p == pytest.approx(2 / 32)
        and not c.shown
        and 'no difference can reach p < 0.05' in c.note
        and compare(blind(a), blind(b)).p < 1e-6
    )


@pytest.mark.parametrize('metric', ['balanced_accuracy', 'kappa', 'auroc', 'log_loss'])
def test_swapping_against_enumeration_by_hand(metric):
    "Five patients, all 32 exchanges, values from scikit-learn."
    a, b = (model(i, 60, 5).sample(frac=1, random_state=3).reset_index(drop=True) for i in (0, 1))
    c = compare(a, b, metric, resamples=50)
    cols = ['p_a', 'p_b', 'p_c']
    of = dict(
        balanced_accuracy=lambda t: skm.balanced_accuracy_score(t.label, t.pred),
        kappa=lambda t: skm.cohen_kappa_score(t.label, t.pred),
        auroc=lambda t: skm.roc_auc_score(t.label, t[cols].to_numpy(), multi_class='ovr'),
        log_loss=lambda t: skm.log_loss(t.label, t[cols].to_numpy()),
    )[metric]
    assert c.difference == pytest.approx(of(b) - of(a), abs=1e-5)
    seen = []
    for swap in itertools.product([False, True], repeat=5):
        s = a.patient.map(dict(zip([f'P{i}' for i in range(5)], swap))).to_numpy()
        x, y = a.copy(), b.copy()
        for k in (*cols, 'pred'):
            x[k], y[k] = np.where(s, b[k], a[k]), np.where(s, a[k], b[k])
        seen.append(abs(of(y) - of(x)))
    assert (
        c.p == pytest.approx(np.mean(np.array(seen) >= abs(of(b) - of(a)) - 1e-5))
        and 'exchanged in whole patients, 32 times' in c.note
    )


# --- intervals
def test_standard_error_of_images_is_the_formula():
    "With one image more each way, as Bonett and Price: variance (discordant − n·d² + 2)/n²."
    rng = np.random.default_rng(3)
    a, b = judged(rng.random(400) < 0.85, rng.random(400) < 0.8)
    c = compare(a, b, resamples=8000)
    se = ((c.only_a + c.only_b - 400 * c.difference**2 + 2) / 400**2) ** 0.5
    assert (
        (c.high - c.low) / 2 / stats.t.ppf(0.975, 399) == pytest.approx(se, rel=0.03)
        and c.smallest == pytest.approx((1.96 + 0.84) * se, rel=0.04)
        and c.difference == pytest.approx((c.low + c.high) / 2)
    )


def test_standard_error_of_patients_is_the_formula():
    a, b = model(0, 600, 30), model(1, 600, 30)
    c = compare(a, b, resamples=8000)
    d = (b.pred.eq(b.label).astype(int) - a.pred.eq(a.label)).groupby(a.patient).mean()
    assert (c.high - c.low) / 2 / stats.t.ppf(0.975, 29) == pytest.approx(
        d.std() / 30**0.5, rel=0.04
    )


@pytest.mark.parametrize('metric', METRICS)
def test_every_measure_is_that_of_score(metric):
    a, b = model(0), model(1, strength=2.2)
    c = compare(a, b, metric, resamples=60, flips=100)
    x, y = (score(t, resamples=2)[metric]['value'] for t in (a, b))
    assert (
        (c.value_a, c.value_b, c.difference) == pytest.approx((x, y, y - x), abs=1e-6)
        and c.low < c.difference < c.high
        and 0 < c.p <= 1
        and c.smallest > 0
    )


@pytest.mark.parametrize('metric', ['accuracy', 'f1', 'auroc', 'log_loss'])
def test_patients_who_differ_as_a_whole_widen_the_interval(metric):
    a, b = model(0, 300, 15, own=3.0), model(1, 300, 15, own=3.0)

    def wide(c):
        return c.high - c.low

    assert wide(compare(a, b, metric, resamples=300, flips=50)) > 1.5 * wide(
        compare(blind(a), blind(b), metric, resamples=300, flips=50)
    )


def simulated(k, icc, rng, accuracy=0.85, gain=0.0):
    n = rng.integers(5, 41, k)
    who = np.repeat(np.arange(k), n)
    t = 1 / icc - 1
    return judged(
        *(
            rng.random(len(who))
            < np.clip(rng.beta(accuracy * t, (1 - accuracy) * t, k) + g, 0, 1)[who]
            for g in (0, gain)
        ),
        who.astype(str),
    )


def test_false_alarms_where_patients_differ():
    """Two equally good models, each with its own difficult patients: about 5 % false alarms;
    McNemar on images gives four times as many.
    """
    rng = np.random.default_rng(5)
    found = [
        compare(*simulated(25, 0.2, rng), resamples=400, flips=1000, seed=i) for i in range(250)
    ]
    ours, naive = (
        np.mean([c.p < 0.05 for c in found]),
        np.mean([mcnemar(c.only_a, c.only_b) < 0.05 for c in found]),
    )
    assert ours <= 0.09 and naive > 0.2 and naive > 3 * ours, (ours, naive)
    assert (
        0.9 < np.mean([c.low <= 0 <= c.high for c in found]) <= 0.99
        and np.mean([c.shown for c in found]) <= 0.09
    )


def test_false_alarms_among_independent_images():
    rng = np.random.default_rng(6)
    found = [
        compare(*judged(*(rng.random((2, 200)) < 0.8)), resamples=200, seed=i) for i in range(200)
    ]
    assert (
        np.mean([c.p < 0.05 for c in found]) <= 0.09
        and 0.91 <= np.mean([c.low <= 0 <= c.high for c in found]) <= 0.985
    )


def test_smallest_difference_is_found_in_four_of_five():
    "A gain as large as `smallest` is found in about 80 % of tests, half of it much less often."
    rng = np.random.default_rng(7)
    typical = np.median(
        [
            compare(*simulated(40, 0.05, rng, 0.7), resamples=200, flips=200).smallest
            for _ in range(20)
        ]
    )

    def power(gain):
        return np.mean(
            [
                compare(*simulated(40, 0.05, rng, 0.7, gain), resamples=100, flips=1000, seed=i).p
                < 0.05
                for i in range(100)
            ]
        )

    assert 0.68 <= power(typical) <= 0.92 and power(typical / 2) < 0.5


@pytest.fixture
def own():
    "What a test registers is gone after it."
    before = dict(METRICS)
    yield
    METRICS.clear()
    METRICS.update(before)


@pytest.mark.usefixtures('own')
def test_a_measure_of_ones_own_is_compared():
    "As a plain function, the F1 has the difference, interval and p of the built-in one."

    @register_metric(per_class=True, percent=True)
    def my_f1(labels, predicted, probabilities, weights):
        return skm.f1_score(
            labels, predicted, labels=range(3), average=None, sample_weight=weights, zero_division=0
        )

    a, b = model(0, 80, 8, name='probe'), model(1, 80, 8, strength=2.2, name='net')
    mine = compare(a, b, 'my_f1', resamples=100, flips=2000)
    built_in = compare(a, b, 'f1', resamples=100, flips=400)
    assert (mine.difference, mine.low, mine.high) == pytest.approx(
        (built_in.difference, built_in.low, built_in.high), abs=1e-5
    )
    assert mine.p == built_in.p and 'With net, my f1 is' in str(mine)


@pytest.mark.usefixtures('own')
def test_a_share_of_images_of_ones_own_has_the_exact_test():
    "Where every image is a hit or not, McNemar counts the hits of that measure."

    @register_metric(
        percent=True,
        hit_word='called a',
        counted=lambda labels, predicted, c: (predicted == 0, np.ones(len(labels), bool)),
    )
    def called_a(labels, predicted, probabilities, weights):
        return weights[predicted == 0].sum() / weights.sum()

    a, b = blind(model(0, name='probe')), blind(model(1, name='net'))
    c = compare(a, b, 'called_a', resamples=50)
    only = [int(((x.pred == 'a') & (y.pred != 'a')).sum()) for x, y in ((a, b), (b, a))]
    assert [c.only_a, c.only_b] == only and c.p == mcnemar(*only)
    assert 'net is called a in ' in str(c) and 'images than probe' in str(c)
    assert c.difference == pytest.approx((only[1] - only[0]) / 200)


# --- symmetry
@pytest.mark.parametrize('metric', ['accuracy', 'f1', 'auroc', 'log_loss', 'ece'])
def test_a_run_against_itself(metric):
    a = model(0)
    c = compare(a, a, metric, resamples=50, flips=100)
    assert (c.difference, c.p, c.shown, c.only_a, c.only_b) == (
        0,
        1,
        False,
        0,
        0,
    ) and c.low <= 0 <= c.high
    if metric in ('accuracy', 'f1'):
        assert c.smallest == c.high == 3 / 20 and 'rule of three, 3/20' in c.note
    else:
        assert c.smallest is None and 'cannot be told' in str(c)


@pytest.mark.parametrize('metric', ['accuracy', 'mcc', 'auroc', 'ece'])
@pytest.mark.parametrize('drop', [False, True])
def test_the_other_way_round(metric, drop):
    a, b = model(0), model(1, strength=2.3)
    if drop:
        a, b = blind(a), blind(b)
    c, d = (compare(*x, metric, resamples=100, flips=400) for x in ((a, b), (b, a)))
    assert (c.difference, c.low, c.high, c.p, c.smallest, c.only_a) == pytest.approx(
        (-d.difference, -d.high, -d.low, d.p, d.smallest, d.only_b), abs=1e-6
    )


def test_order_of_rows_and_columns_does_not_matter():
    a, b = model(0), model(1)
    want = compare(a, b, 'f1', resamples=50, flips=100)
    got = compare(a, b.sample(frac=1, random_state=1)[list(b)[::-1]], 'f1', resamples=50, flips=100)
    assert got == want


# --- what is drawn as a whole
def test_copies_of_a_picture_are_one_picture():
    "Four copies of each image add nothing; without the groups they halve the interval."
    rng = np.random.default_rng(0)
    a, b = judged(rng.random(100) < 0.8, rng.random(100) < 0.7)
    one = compare(a, b)

    def wide(c):
        return c.high - c.low

    four = [
        pd.concat([t.assign(path=[f'{k}-{p}' for p in t.path], group=range(100)) for k in range(4)])
        for t in (a, b)
    ]
    c = compare(*four)
    assert (
        (c.unit, c.units, c.n) == ('group', 100, 400)
        and 0.85 < wide(c) / wide(one) < 1.15
        and 'Caution: patients unknown' in c.note
        and 'groups of copies' in str(c)
    )
    assert compare(*(t.drop(columns='group') for t in four)).p < c.p and wide(
        compare(*(t.drop(columns='group') for t in four))
    ) < 0.6 * wide(one)


@pytest.mark.parametrize(
    'known,unit,said',
    [
        (200, 'patient', None),
        (0, 'image', 'patients unknown'),
        (150, 'image', 'patients of 50 of 200 images unknown'),
    ],
)
def test_patients_partly_known(known, unit, said):
    a, b = model(0), model(1)
    for t in (a, b):
        t.loc[known:, 'patient'] = None
    c = compare(a, b)
    assert (
        c.unit == unit and (said or 'resamples') in c.note and ('Caution' in c.note) == bool(said)
    )


def test_one_run_may_know_the_patients_for_both():
    assert compare(blind(model(0)), model(1)).units == 20


def test_folders_tables_and_runs_agree(tmp_path):
    a, b = model(0), model(1)
    for name, t in (('probe', a), ('net', b)):
        (tmp_path / name).mkdir()
        t.to_csv(tmp_path / name / 'predictions.csv', index=False)
    c = compare(tmp_path / 'probe', SimpleNamespace(folder=tmp_path / 'net', name='net'))
    d = compare(a, b)
    assert (c.a, c.b, c.unit) == ('probe', 'net', 'patient') and (
        c.difference,
        c.low,
        c.p,
    ) == pytest.approx((d.difference, d.low, d.p))
    for name, t in (('probe', a), ('net', b)):
        t.assign(patient='').to_csv(tmp_path / name / 'predictions.csv', index=False)
        t[['path']].assign(group=[i // 2 for i in range(200)]).to_csv(
            tmp_path / name / 'table.csv', index=False
        )
    assert compare(str(tmp_path / 'probe'), tmp_path / 'net').units == 100


def test_test_images_count_where_there_are_any():
    a, b = (
        pd.concat(
            [
                model(i).assign(split='valid'),
                model(i).assign(split='test', path=lambda t: 'x' + t.path)[:60],
            ]
        )
        for i in (0, 1)
    )
    assert (
        compare(a, b).n == 60
        and 'test set (60 images' in str(compare(a, b))
        and compare(a, b, side='valid').n == 200
        and 'validation set (200 images' in str(compare(a, b, side='valid'))
    )


# --- what a user can get wrong
def test_other_images_are_named():
    a, b = model(0, name='probe'), model(1, name='net')
    b.loc[:2, 'path'] = ['x.png', 'y.png', 'z.png']
    with pytest.raises(
        RunError,
        match=(
            r'probe and net were not judged on the same images; 3 only in probe \(test\): c0.png,'
            r' c1.png, c2.png, 3 only in net \(test\): x.png, y.png, z.png\. Train both on one'
            r' table'
        ),
    ):
        compare(a, b)
    with pytest.raises(RunError, match='50 only in probe .*c150.png'):
        compare(a, model(1, name='net')[:150])


def test_moved_folders_are_recognised():
    with pytest.raises(RunError, match='file names are the same and the folders are not'):
        compare(model(0), model(1).assign(path=lambda t: 'elsewhere/' + t.path))


def test_other_labels_are_named():
    b = model(1)
    b.loc[3, 'label'] = 'c' if b.label[3] != 'c' else 'a'
    with pytest.raises(
        DataError,
        match=r'disagree about the truth of 1 images: c3.png \(. or .\)\. Correct the labels',
    ):
        compare(model(0), b)


@pytest.mark.parametrize(
    'change,error,said',
    [
        (lambda t: t.drop(columns='path'), DataError, 'no column `path`'),
        (lambda t: t.drop(columns='pred'), DataError, 'no column `pred`'),
        (lambda t: pd.concat([t, t[:2]]), DataError, 'predicts 2 images twice: c0.png, c1.png'),
        (lambda t: t.assign(p_d=0.0), DataError, 'do not know the same classes: d'),
        (lambda t: t.drop(columns=['p_a', 'p_b', 'p_c']), DataError, 'p_<class>'),
        (lambda t: t.assign(split='valid', path='v' + t.path), RunError, r'only in b \(valid\)'),
    ],
)
def test_tables_that_cannot_be_paired(change, error, said):
    with pytest.raises(error, match=said):
        compare(model(0), change(model(1)))


def test_missing_files_and_unknown_words(tmp_path):
    with pytest.raises(RunError, match='does not exist. Pass a finished run'):
        compare(tmp_path / 'none', model(0))
    with pytest.raises(RunError, match='has no predictions.csv. Pass a finished run'):
        compare(tmp_path, model(0))
    with pytest.raises(RunError, match="metric='acuracy' is not known. Use one of: accuracy"):
        compare(model(0), model(1), 'acuracy')
    with pytest.raises(RunError, match="no images of side='train'; it has test"):
        compare(model(0), model(1), side='train')
    with pytest.raises(DataError, match='`auroc` has no value on these images: only a occurs'):
        compare(*judged([1] * 9, [0] * 9), 'auroc')


# --- words, many runs, plot
def said(**kw):
    return str(
        Comparison(
            **{
                **dict(
                    a='probe',
                    b='net',
                    metric='accuracy',
                    value_a=0.9,
                    value_b=0.912,
                    difference=0.012,
                    low=-0.003,
                    high=0.027,
                    p=0.14,
                    smallest=0.021,
                    n=651,
                    unit='image',
                    units=651,
                    only_a=1,
                    only_b=2,
                    side='test',
                    note='',
                ),
                **kw,
            }
        )
    )


def test_words():
    assert (
        said()
        == 'net is right in 1.2 percentage points more images than probe (−0.3 to 2.7; p = 0.14):'
        ' no difference shown. This test set (651 images) could have shown 2.1 points.'
    )
    assert said(difference=-0.012, low=-0.02, high=-0.004, p=0.0002).startswith(
        'net is right in 1.2 percentage points fewer images than probe (−2.0 to −0.4; p < 0.001): a'
        ' difference, probe is better.'
    )
    assert 'no difference shown' in said(low=0.001, p=0.06) and 'no difference shown' in said(
        low=-0.001, p=0.04
    )
    assert said(
        metric='log_loss', difference=-0.1, low=-0.2, high=-0.05, p=0.01, unit='patient', units=23
    ).startswith(
        'With net, log loss is 0.100 lower than with probe (−0.200 to −0.050; p = 0.010): a'
        ' difference, net is better. This test set (651 images of 23 patients)'
    )


def test_shows_itself():
    c = compare(model(0, name='<probe>'), model(1, name='net'))
    assert (
        '<probe>' not in c._repr_html_()
        and '&lt;probe>' in c._repr_html_()
        and str(c) in c._repr_markdown_()
        and c.note in c._repr_markdown_()
    )


@pytest.mark.parametrize(
    'p,want',
    [
        ([0.01, 0.02, 0.03, 0.04], [0.04, 0.06, 0.06, 0.06]),
        ([0.04, 0.01], [0.04, 0.02]),
        ([0.5, 0.9], [1, 1]),
        ([0.001], [0.001]),
        ([0.03, 0.03, 0.01], [0.06, 0.06, 0.03]),
    ],
)
def test_holm_by_hand(p, want):
    assert holm(p) == pytest.approx(want)


def test_all_pairs():
    t = compare_all({'x': model(0), 'y': model(1), 'z': model(2, strength=4.0, own=0.1)}, flips=500)
    assert list(zip(t.a, t.b)) == [
        ('x', 'y'),
        ('x', 'z'),
        ('y', 'z'),
    ] and t.p_holm.tolist() == pytest.approx(holm(t.p).tolist())
    assert (
        t.shown.tolist() == [False, True, True]
        and t.text[1].startswith('z is right in')
        and len(compare_all([model(0), model(1)])) == 1
        and compare_all([model(0), model(1)]).a[0] == 'run 1'
    )
    assert (
        len(compare_all([model(0, name='x'), model(1, name='x'), model(2, name='x')])) == 3
    )  # one name for all loses none
    with pytest.raises(RunError, match='nothing to compare'):
        compare_all([])


def test_text_and_shown_go_by_the_adjusted_p():
    """x beats w by 8 images to 1 (p = .039) and y by 9 to 1 (p = .021), but these are two of three
    comparisons.
    """
    i = np.arange(100)
    w, x = judged(i >= 8, i != 8)
    y = judged((i >= 8) & (i != 9), i >= 0)[0]
    assert compare(w, x).shown
    t = compare_all(dict(w=w, x=x, y=y))
    between = t[(t.p < 0.05) & (t.p_holm >= 0.05)]
    assert (
        len(between) == 2
        and not between.shown.any()
        and between.text.str.contains('no difference shown').all()
    )


def test_plot_is_a_figure_without_state():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    t = compare_all([model(0), model(1), model(2)], flips=200)
    fig = plot_compare(t, stamp='research use only')
    assert isinstance(fig, Figure) and plt.get_fignums() == before
    assert [x.get_text() for x in fig.axes[0].get_yticklabels()] == [
        'run 2 − run 1',
        'run 3 − run 1',
        'run 3 − run 2',
    ] and isinstance(plot_compare(compare(model(0), model(0), 'ece', flips=10)), Figure)
    with pytest.raises(RunError, match='no comparison to draw'):
        plot_compare([])
