"One answer for a patient by attention: what is learned, what a run of it holds, and what it refuses."

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from leukocls.core.errors import DataError, ModelError, RunError
from leukocls.data.films import draw_cohort
from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.deploy.classifier import Classifier
from leukocls.measure.patients import read_patients
from leukocls.models.bags import (
    POOLS,
    REFERENCES,
    Bags,
    bags_from_bytes,
    bags_to_bytes,
    for_cohort,
)
from leukocls.models.predictor import by_fastai, evaluate
from leukocls.runs.experiment import train
from leukocls.runs.run import Run
from leukocls.train import mil
from leukocls.train.mil import BagSettings, fit_bags
from leukocls.train.recipes import get_recipe

QUICK = BagSettings(steps=60, folds=3, cells=32)


def draw_bags(sizes, share=0.15, seed=0, classes=2, width=30, distance=4.0):
    "Features, patient and label of each cell, and whether it carries its class."
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    label = owner % classes
    carries = (label > 0) & (rng.random(len(owner)) < share)
    X = rng.normal(0, 1, (len(owner), width)) + rng.normal(0, 0.3, (len(sizes), width))[owner]
    X[carries, label[carries]] += distance
    patients = np.array([f'P{i:03}' for i in owner])
    return X.astype('float32'), patients, np.array([f'c{i}' for i in label]), carries


@pytest.fixture(scope='module')
def learned():
    X, patients, labels, carries = draw_bags([40] * 40)
    return fit_bags(X[None], labels, patients, members=3, settings=QUICK).bags


def test_attention_finds_the_cells_and_the_patients_that_nobody_saw(learned):
    X, patients, labels, carries = draw_bags([60] * 40, share=0.1, seed=1)
    answers, share = learned.answer(X, patients)
    truth = pd.Series(labels).groupby(patients).first()
    assert roc_auc_score(truth == 'c1', answers.p_c1) > 0.95
    ill = labels == 'c1'
    assert roc_auc_score(carries[ill], share[ill]) > 0.9
    assert np.allclose(pd.Series(share).groupby(patients).sum(), 1, atol=1e-5)


@pytest.mark.parametrize('pool', POOLS)
def test_numpy_answers_as_pytorch_learned(pool):
    rng = torch.Generator().manual_seed(0)
    p = mil._start(3, 6, 4, 2, rng)
    with torch.no_grad():
        for values in p.values():
            values.copy_(torch.randn(values.shape, generator=rng))
    given = dict(mean=np.zeros(6), scale=np.ones(6), basis=np.eye(6))
    arrays = {k: np.float32(v.detach()) for k, v in p.items()} | {
        k: np.float32(v) for k, v in given.items()
    }
    X = torch.randn((25, 6), generator=rng)
    z, s = mil._forward(p, X[None])
    want = mil._pooled(z, s, pool).detach().numpy()[:, 0]
    assert np.allclose(Bags(['a', 'b'], arrays, pool).fits_of(X.numpy())[0], want, atol=1e-4)


@pytest.mark.parametrize('reference', REFERENCES)
def test_a_cell_alone_is_a_bag_of_one(learned, reference):
    bags = Bags(learned.classes, learned.arrays, reference=reference, half=1e8)
    X = draw_bags([5])[0]
    alone = np.stack([bags.bag(X[i : i + 1])[0] for i in range(5)])
    assert np.allclose(alone, bags.cells(X), atol=1e-4)


def test_bags_of_any_size(learned):
    X, patients, labels, _ = draw_bags([5, 5000, 1, 80, 60, 90, 70, 50], seed=3)
    fitted = fit_bags(X[None], labels, patients, members=4, settings=QUICK, strengths=(1.0,))
    for bags in (fitted.bags, learned):
        answers, share = bags.answer(X, patients, resamples=20)
        assert answers.cells.tolist() == [5, 5000, 1, 80, 60, 90, 70, 50]
        p = answers[['p_c0', 'p_c1']].to_numpy()
        assert np.isfinite(share).all() and np.allclose(p.sum(1), 1, atol=1e-5)
        assert (answers.low <= p.max(1)).all() and (p.max(1) <= answers.high).all()


def test_more_classes_one_of_them_with_a_single_patient():
    X, patients, labels, _ = draw_bags([40] * 25, classes=3, seed=4)
    labels = np.where(patients == 'P024', 'rare', labels)
    fitted = fit_bags(X[None], labels, patients, members=4, settings=QUICK)
    assert fitted.bags.classes == ['c0', 'c1', 'c2', 'rare']
    assert 'P024' not in set(fitted.left_out.patient) and len(fitted.left_out) == 24
    assert [t['strength'] for t in fitted.tried] == list(mil.STRENGTHS)


def test_same_seed_same_fit():
    X, patients, labels, _ = draw_bags([20] * 12)
    a, b = (
        fit_bags(X[None], labels, patients, members=2, settings=QUICK, strengths=(1.0,)).bags
        for _ in range(2)
    )
    assert all((a.arrays[k] == b.arrays[k]).all() for k in a.arrays)


def test_every_view_is_learned_from_and_the_first_one_answered():
    X, patients, labels, _ = draw_bags([20] * 12)
    other = np.random.default_rng(0).normal(size=X.shape).astype('float32')
    how = dict(members=2, settings=QUICK, strengths=(1.0,))
    one = fit_bags(X[None], labels, patients, **how).bags
    two = fit_bags(np.stack([X, other]), labels, patients, **how).bags
    assert (one.arrays['mean'] == two.arrays['mean']).all()
    assert not np.allclose(one.arrays['score'], two.arrays['score'])


def test_a_shifted_cohort_is_brought_back_and_a_small_one_left(learned):
    bags = Bags(learned.classes, learned.arrays, reference='cohort')
    X, patients, labels, _ = draw_bags([60] * 40, seed=5)
    moved = X * 1.5 + np.random.default_rng(1).normal(0, 2, X.shape[1]).astype('float32')
    truth = pd.Series(labels).groupby(patients).first() == 'c1'
    lost = roc_auc_score(truth, bags.answer(moved, patients)[0].p_c1)
    regained = roc_auc_score(
        truth, for_cohort(bags, moved, patients).answer(moved, patients)[0].p_c1
    )
    assert regained > 0.9 and regained > lost
    few = patients < 'P005'
    assert for_cohort(bags, moved[few], patients[few]).arrays is bags.arrays
    assert for_cohort(learned, moved, patients) is learned


def test_what_it_refuses():
    X, patients, labels, _ = draw_bags([10] * 8)
    with pytest.raises(DataError, match='patient of 10 of 80 images is not known.*patient'):
        unknown = np.where(patients == 'P000', None, patients)
        fit_bags(X[None], labels, unknown)
    with pytest.raises(DataError, match='1 of 8 patients have more than one label: P000'):
        fit_bags(X[None], np.where(np.arange(80) == 0, 'c1', labels), patients)
    with pytest.raises(DataError, match='2 training patients of 2 classes are too few'):
        fit_bags(X[None, :20], labels[:20], patients[:20])
    with pytest.raises(DataError, match='of 1 class are too few'):
        fit_bags(X[None], ['c1'] * 80, patients)
    with pytest.raises(RunError, match="head='linear' is not known"):
        fit_bags(X[None], labels, patients, 'linear')
    with pytest.raises(RunError, match='reference'):
        get_recipe('mil', reference='moon')


@pytest.mark.parametrize(
    'change',
    [
        dict(score=np.zeros((3, 2, 2), 'float32')),
        dict(mean=None),
        dict(scale=np.zeros(30, 'float32')),
        dict(attend=np.full((3, 16), np.nan, 'float32')),
        dict(more=np.zeros(1, 'float32')),
        dict(score_bias=np.zeros((3, 2), 'float64')),
    ],
)
def test_a_changed_file_is_refused(learned, change):
    with pytest.raises(ModelError, match='does not fit the rest'):
        replace(learned, arrays=learned.arrays | change)


def test_bytes_that_are_no_bags(learned):
    data = bags_to_bytes(learned)
    same = bags_from_bytes(data)
    assert all((same.arrays[k] == learned.arrays[k]).all() for k in learned.arrays)
    for bad in (b'', data[:-3], data.replace(b'"attention"', b'"attentiom"')):
        with pytest.raises(ModelError):
            bags_from_bytes(bad)


OF = dict(patient='patient', label='diagnosis')


@pytest.fixture(scope='module')
def study(local_weights, tmp_path_factory):
    "A run of drawn patients, its table, and another laboratory's table."
    home = tmp_path_factory.mktemp('mil')
    here = draw_cohort(home / 'here', patients=30, cells=10, share=0.5, size=48)
    other = draw_cohort(home / 'other', patients=10, cells=6, share=0.5, size=48, lab=1)
    how = dict(arch=f'local-dir:{local_weights}', size=48, augment='travel', variations=1)
    recipe = get_recipe('mil', **how, members=3, reference='cohort')
    table = split_table(read_table(here, **OF))
    run = train(recipe, table, out=home / 'runs', progress=False, device='cpu')
    return run, table, other


def test_a_run_answers_for_each_patient_who_was_held_out(study):
    run, table, _ = study
    answers = read_patients(run.folder / 'patients.csv')
    held = table[table.split != 'train']
    assert set(answers.patient) == set(held.patient) and set(answers.rule) == {'mil'}
    assert (answers.cells == 10).all() and (answers.low <= answers.high).all()
    people = run.metrics['patients']
    assert people['rule'] == 'mil' and people['n'] == held[held.split == 'test'].patient.nunique()
    by_patient = run.predictions.groupby(['split', 'patient']).attention.sum()
    assert np.allclose(by_patient, 1, atol=1e-4)
    assert [row['cells'] for row in people['curve']] == [10]
    assert people['curve'][0]['changed'] == 0 and people['curve'][0]['auroc'] == pytest.approx(
        people['auroc']['value'], abs=1e-6
    )
    left_out = pd.read_csv(run.folder / 'patients_left_out.csv')
    assert set(left_out.patient) == set(table.patient[table.split == 'train'])
    assert len(run.info['head_tried']) == len(mil.STRENGTHS)
    # a variation of each cell was learned from, and nothing says that it was asked for in vain
    assert not any('does not use' in note for note in run.info['notes'])


def test_the_learner_answers_for_one_cell(study):
    run, *_ = study
    few = run.predictions.head(6)
    want = few.filter(like='p_').to_numpy()
    for learn in (run.learner, Run(run.folder).learner):
        assert np.allclose(by_fastai(learn, list(few.path)), want, atol=2e-3)


def test_the_report_shows_what_answers_rest_on(study):
    run, *_ = study
    page = (run.folder / 'report.html').read_text()
    part = page[page.index('The most decisive cells of each patient</h2>') :]
    part = part[: part.index('</details>')]
    assert '% of the answer' in part and 'data:image' in part
    assert 'type of cell' in part and '<br>Pro' in part


def test_another_cohort_is_judged_by_run_and_bundle_alike(study, tmp_path):
    run, _, other = study
    by_run = evaluate(run, other, **OF)
    assert by_run['patients']['rule'] == 'mil' and by_run['patients']['n'] == 10
    assert any('compared with the cells of these 10 patients' in note for note in by_run['notes'])
    clf = Classifier.load(run.export_bundle(tmp_path / 'bundle'))
    by_bundle = clf.evaluate(other, **OF)
    # a bundle says besides that its probabilities are calibrated
    of_calibration = [note for note in by_bundle['notes'] if 'calibrated (temperature' in note]
    assert len(of_calibration) == (clf.config['calibration']['temperature'] != 1)
    assert by_bundle['notes'] == by_run['notes'] + of_calibration
    # the command and `patients` say of these people what they were judged by
    table = read_table(other, **OF)
    people = {name: list(rows.path) for name, rows in table.groupby('patient')}
    answers = list(clf.patients(people))
    assert any('cells of these 10 patients' in w for w in answers[0].warnings)
    called = pd.Series({a.patient: a.label for a in answers})
    truth = table.groupby('patient').label.first()
    assert (called == truth).sum() == np.trace(by_bundle['patients']['confusion'])
    alone = [clf.patient(files, patient=name) for name, files in people.items()]
    assert any(a.probability != b.probability for a, b in zip(answers, alone))
    assert list(clf.patients({})) == []
    assert by_bundle['patients']['rule'] == 'mil'
    answers = read_patients(run.folder / 'patients.csv')
    one = answers.iloc[0]
    cells = run.predictions[run.predictions.patient == one.patient]
    said = clf.patient(list(cells.path))
    assert said.label == one.pred and said.rule == 'mil'
    assert abs(said.probabilities['leukaemia'] - one.p_leukaemia) < 1e-3
    assert said.decisive[0]['name'] == cells.path[cells.attention.idxmax()]
    assert abs(said.decisive[0]['weight'] - cells.attention.max()) < 1e-3


def test_a_table_without_patients_or_with_labels_of_cells(study):
    run, table, _ = study
    with pytest.raises(DataError, match='is not known'):
        train(run.recipe, table.assign(patient=pd.NA), out=run.folder.parent, progress=False)
    of_cells = table.assign(label=np.where(np.arange(len(table)) % 2, 'a', 'b'))
    with pytest.raises(DataError, match='more than one label'):
        train(run.recipe, of_cells, out=run.folder.parent, progress=False)
