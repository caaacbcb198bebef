"Metrics against scikit-learn over a grid, intervals against their definitions and against simulation."
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from leukocls.core import DataError
from leukocls.metrics import METRICS, PER_CLASS, calibration_error, draw_weights, from_confusion, metrics_table, score, show_interval, weighted_auc, wilson
from sklearn import metrics as skm


def cells(n=150, classes='abc', strength=1.5, seed=0, ties=False, patients=0):
    rng = np.random.default_rng(seed); names = np.array(list(classes)); y = rng.choice(len(names), n)
    z = rng.normal(size=(n, len(names))) + strength*np.eye(len(names))[y]; p = np.exp(z)/np.exp(z).sum(1, keepdims=True)
    if ties: p = np.round(p, 1) + 1e-3; p /= p.sum(1, keepdims=True)
    t = pd.DataFrame({f'p_{c}': p[:, i] for i, c in enumerate(names)}).assign(label=names[y], pred=names[p.argmax(1)], patient=pd.NA, split='test')
    return t.assign(patient=rng.integers(0, patients, n).astype(str)) if patients else t

GRID = [dict(n=n, classes=c, strength=s, seed=i, ties=t) for i, (n, c) in enumerate([(40, 'ab'), (150, 'abc'), (400, 'abcdefgh')]) for s in (0, 1.5, 6) for t in (False, True)]

@pytest.mark.parametrize('kw', GRID, ids=str)
def test_against_sklearn(kw):
    t = cells(**kw); m = score(t, resamples=5); y, d, names = t.label, t.pred, m['classes']; p = t[[f'p_{c}' for c in names]].to_numpy()
    macro = dict(average='macro', zero_division=0)
    want = dict(accuracy=skm.accuracy_score(y, d), balanced_accuracy=skm.balanced_accuracy_score(y, d), precision=skm.precision_score(y, d, **macro), recall=skm.recall_score(y, d, **macro),
                f1=skm.f1_score(y, d, **macro), f2=skm.fbeta_score(y, d, beta=2, **macro), kappa=skm.cohen_kappa_score(y, d), mcc=skm.matthews_corrcoef(y, d), log_loss=skm.log_loss(y, p, labels=names),
                auroc=np.mean([skm.roc_auc_score(y == c, t[f'p_{c}']) for c in names]), average_precision=np.mean([skm.average_precision_score(y == c, t[f'p_{c}']) for c in names]))
    for k, v in want.items(): assert m[k]['value'] == pytest.approx(v, abs=1e-6), k
    for i, c in enumerate(names):
        tn, fp, fn, tp = skm.confusion_matrix(y == c, d == c).ravel(); per = m['per_class'][c]
        assert per['specificity']['value'] == pytest.approx(tn/(tn + fp)) and per['support'] == tp + fn
        assert per['recall']['value'] == pytest.approx(tp/(tp + fn)) and per['auroc']['value'] == pytest.approx(skm.roc_auc_score(y == c, t[f'p_{c}']))

def test_the_contract():
    m = json.loads(json.dumps(score(cells(), resamples=20)))
    assert list(m)[:3] == ['split', 'n', 'classes'] and set(METRICS) <= set(m)
    assert METRICS == 'accuracy balanced_accuracy precision recall specificity f1 f2 kappa mcc auroc average_precision log_loss ece'.split()
    for k in METRICS: assert set(m[k]) == {'value', 'low', 'high'} and m[k]['low'] <= m[k]['value'] <= m[k]['high']
    for c in 'abc': assert set(m['per_class'][c]) == {*PER_CLASS, 'support'}

@pytest.mark.parametrize('seed', range(4))
def test_weighted_curves_against_sample_weight(seed):
    rng = np.random.default_rng(seed); n = 80; hit = rng.random(n) < .3; s = np.round(rng.random(n), 1 if seed % 2 else 6); w = draw_weights(n, 20, seed + 100)
    auc, ap = weighted_auc(hit, s, w)
    for i in range(20):
        assert auc[i] == pytest.approx(skm.roc_auc_score(hit, s, sample_weight=w[i]), abs=1e-5)
        assert ap[i] == pytest.approx(skm.average_precision_score(hit, s, sample_weight=w[i]), abs=1e-5)

def test_confusion_of_resamples():
    cms = np.random.default_rng(0).integers(0, 30, (7, 4, 4)); many = from_confusion(cms)
    for i in range(7): assert many['mcc'][i] == pytest.approx(float(from_confusion(cms[i])['mcc']))

@pytest.mark.parametrize('hits,n,low,high', [(0, 10, 0, .2775), (10, 10, .7225, 1), (81, 263, .2553, .3662), (650, 651, .9914, .9997)])
def test_wilson_known_values(hits, n, low, high): assert np.allclose(wilson(hits, n), (low, high), atol=2e-4)

def test_patients_widen_the_interval():
    "Images of one patient that all succeed or fail together carry the information of one image."
    rng = np.random.default_rng(0); good = np.repeat(rng.random(20) < .7, 25); label = rng.choice(['a', 'b'], 500)
    pred = np.where(good, label, np.where(label == 'a', 'b', 'a')); p = np.where(pred == 'a', .8, .2)
    t = pd.DataFrame(dict(label=label, pred=pred, p_a=p, p_b=1 - p, patient=np.repeat(np.arange(20), 25).astype(str)))
    wide, narrow = (score(x)['accuracy'] for x in (t, t.assign(patient=pd.NA)))
    assert wide['high'] - wide['low'] > 3*(narrow['high'] - narrow['low'])

@pytest.mark.slow
def test_image_bootstrap_covers():
    "A nominal 95 % interval holds the truth in 93 to 97 % of 600 simulated tests."
    truth = score(cells(200_000, 'ab', 1.), resamples=1); hit = dict(f1=0, auroc=0)
    for i in range(600):
        m = score(cells(250, 'ab', 1., seed=i + 1), resamples=300, seed=i)
        for k in hit: hit[k] += m[k]['low'] <= truth[k]['value'] <= m[k]['high']
    for k, v in hit.items(): assert .93 <= v/600 <= .97, (k, v/600)

def test_perfect_is_not_certain():
    "No error among 40 images still leaves room for some."
    t = cells(40); t['pred'] = t.label; m = score(t)
    assert m['accuracy']['value'] == 1 and m['accuracy']['low'] < .93

def test_calibration_error_is_zero_when_calibrated():
    rng = np.random.default_rng(0); c = rng.uniform(.3, 1, 200_000); assert calibration_error(rng.random(200_000) < c, c) < .01

def test_absent_class():
    with warnings.catch_warnings(): warnings.simplefilter('error'); t = cells(); m = score(t[t.label != 'c'], resamples=20)
    assert m['per_class']['c'] == {**{k: dict(value=None, low=None, high=None) for k in PER_CLASS}, 'support': 0} and 'No image of c' in m['interval']['note']
    assert m['recall']['value'] == pytest.approx(np.mean([m['per_class'][c]['recall']['value'] for c in 'ab'])); metrics_table(m)

def test_one_class_only_in_the_test():
    m = score(cells()[lambda t: t.label == 'a'], resamples=20); assert m['auroc']['value'] is None and show_interval(m['auroc'], 'auroc') == 'not defined'

def test_same_seed_same_interval(): assert score(cells()) == score(cells())

@pytest.mark.parametrize('change,said', [(lambda t: t.drop(columns='label'), 'no column `label`'), (lambda t: t.drop(columns=['p_a', 'p_b', 'p_c']), 'p_<class>'), (lambda t: t[:0], 'empty'),
                                         (lambda t: t.assign(label='zebra'), 'zebra'), (lambda t: t.assign(p_a=np.nan), 'no number')])
def test_bad_tables(change, said):
    with pytest.raises(DataError, match=said): score(change(cells()))
