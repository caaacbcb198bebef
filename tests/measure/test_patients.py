"Whole patients: measures as scikit-learn's, intervals that hold, a run and real names all the way."

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from leukocls.core.errors import DataError
from leukocls.measure.metrics import wilson
from leukocls.measure.paired import compare
from leukocls.measure.patients import (
    EVERYBODY,
    PATIENT_RULES,
    USUAL_RULE,
    auroc_interval,
    calibrate_patients,
    choose_rule,
    count_classes,
    differential_count,
    draw_patients,
    judge_patients,
    patient_answers,
    patient_rule_named,
    patient_scores,
    read_patients,
)


@pytest.mark.parametrize('rule', PATIENT_RULES)
def test_measures_are_those_of_scikit_learn(rule):
    cells = draw_patients(50, (5, 60), carrying=0.15, seed=3)
    answers = patient_answers(cells, rule, resamples=0)
    scores = patient_scores(answers)
    has, called = answers.label == 'leukaemia', answers.pred == 'leukaemia'
    points_to = np.log(answers.p_leukaemia) - np.log(np.clip(answers.p_healthy, 1e-300, 1))
    assert np.isclose(scores['auroc']['value'], roc_auc_score(has, points_to))
    assert np.isclose(scores['sensitivity']['value'], recall_score(has, called))
    assert np.isclose(scores['specificity']['value'], recall_score(~has, ~called))
    assert scores['n'] == cells.patient.nunique()


def test_three_classes_are_averaged():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 60)
    answers = pd.DataFrame(p, columns=['p_AML', 'p_ALL', 'p_CLL']).assign(
        patient=[f'P{i}' for i in range(60)],
        label=rng.choice(['AML', 'ALL', 'CLL'], 60),
        pred=np.array(['AML', 'ALL', 'CLL'])[p.argmax(1)],
        split='test',
        cells=40,
        certain=True,
    )
    scores = patient_scores(answers)
    balanced = balanced_accuracy_score(answers.label, answers.pred)
    assert scores['positive'] == []
    assert np.isclose(scores['sensitivity']['value'], balanced)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    "One design of each kind; all of them: tests/bench/patients.py."
    rng = np.random.default_rng(1)
    x, y = rng.normal(1.19, 1, (600, 20)), rng.normal(0, 1, (600, 20))
    areas = (x[:, :, None] > y[:, None, :]).mean((1, 2))
    ends = np.array([auroc_interval(area, 20, 20) for area in areas])
    assert 0.93 <= ((ends[:, 0] <= 0.8) & (ends[:, 1] >= 0.8)).mean() <= 0.98
    held = cells_alone = 0
    for _ in range(400):
        of_field = rng.beta(0.3 * 9, 0.7 * 9, 20)
        called = np.where(rng.random((20, 5)) < of_field[:, None], 'a', 'b').ravel()
        one = count_classes(called, ['a', 'b'])[0]
        low, high = wilson(one['count'], 100)
        held += one['low'] <= 0.3 <= one['high']
        cells_alone += low <= 0.3 <= high
    assert 0.92 <= held / 400 <= 0.99
    # an interval that takes cells for independent holds it less often
    assert cells_alone < held


def test_calibration_says_what_it_means():
    "Of new patients about as many have the finding as their answers say."
    cells = draw_patients(300, 60, carrying=0.1, seed=5, valid=150)
    valid, test = (cells[cells.split == side] for side in ('valid', 'test'))
    calibration = calibrate_patients(patient_answers(valid, 'noisy-or', resamples=0))
    answers = patient_answers(test, 'noisy-or', calibration=calibration, resamples=0)
    has = (answers.label == 'leukaemia').mean()
    assert abs(answers.p_leukaemia.mean() - has) < 0.08
    assert patient_answers(test, 'noisy-or', resamples=0).p_leukaemia.mean() > 0.95


def test_a_run_its_bundle_and_its_report_know_patients(run, small_bundle, films):
    from leukocls.deploy.classifier import Classifier
    from leukocls.runs.leaderboard import leaderboard

    people = run.metrics['patients']
    test = run.predictions[run.predictions.split == 'test']
    assert people['n'] == test.patient.nunique()
    # five pictures are too few
    assert people['cannot_say']['value'] == 1.0
    answers = read_patients(run.folder / 'patients.csv')
    assert set(answers.patient) == set(run.predictions.patient)
    report = (run.folder / 'report.html').read_text(encoding='utf8')
    card = (run.folder / 'model_card.md').read_text(encoding='utf8')
    assert 'From cells to the patient' in report and 'told from chance' in report
    assert 'Whole patients' in card
    board = leaderboard([run], judged_on='patients')
    assert board.judged_on.tolist() == [f"{people['n']:,} test patients"]
    assert compare(run, run, judged_on='patients').n == people['n']
    # the bundle pools by the rule of the run, and says so of one person
    clf = Classifier.load(small_bundle, 'onnxruntime')
    assert clf.config['patients']['rule'] == people['rule']
    of_one = test[test.patient == test.patient.iloc[0]]
    answer = clf.patient(of_one.path.tolist())
    assert answer.cells + len(answer.refused) == len(of_one)
    assert not answer.certain and 'too few cells' in answer.reason
    json.dumps(answer.to_dict(), allow_nan=False)


@pytest.mark.data
def test_real_names_go_the_whole_way(shared, tmp_path):
    "C-NMC's own names: table, split by subject, an answer for each subject, report."
    from leukocls.runs.experiment import train_all

    images = shared / 'data' / 'cnmc2019' / 'images'
    runs = train_all(images, 'p3-naive-bayes', out=tmp_path, label_of='patient', progress=False)
    run = runs[0]
    assert run.info['split']['method'] == 'patient'
    people = run.metrics['patients']
    subjects = run.predictions[run.predictions.split == 'test'].patient
    assert people['positive'] == ['all'] and people['n'] == subjects.nunique()
    assert np.sum(people['confusion']) == people['n']
    # two or three pictures of each subject are too few to say anything of a person
    report = (run.folder / 'report.html').read_text(encoding='utf8')
    assert people['certain']['n'] == 0 and '“Cannot say” is the answer for all' in report


def test_patients_are_not_judged_where_labels_are_those_of_cells():
    cells = draw_patients(10, 30)
    mixed = cells.assign(label=np.where(cells.index % 2, 'healthy', 'leukaemia'))
    assert judge_patients(mixed) == (None, None)
    assert judge_patients(cells.drop_duplicates('patient')) == (None, None)


def films(shares, cells, alike=0.0, seed=0):
    """Predictions of patients with these shares of two classes. Neighbours are alike: with this
    probability a cell is of the class of the one before it.
    """
    rng, rows = np.random.default_rng(seed), []
    for patient, share in enumerate(shares):
        drawn = np.where(rng.random(cells) < share, 'blast', 'lymphocyte')
        for i in np.flatnonzero(rng.random(cells) < alike):
            drawn[i] = drawn[i - 1] if i else drawn[i]
        rows += [
            dict(path=f'{patient}-{i}', label=c, patient=f'P{patient}', split='test', pred=c)
            for i, c in enumerate(drawn)
        ]
    table = pd.DataFrame(rows)
    return table.assign(
        p_blast=(table.pred == 'blast') * 1.0, p_lymphocyte=(table.pred != 'blast') * 1.0
    )


def test_a_differential_counts_each_patient_and_all_of_them():
    table = films([0.2, 0.6], 200)
    counts = differential_count(table).set_index(['patient', 'class'])
    for patient in ('P0', 'P1'):
        ours = counts.loc[patient]
        true = table.pred[table.patient == patient].value_counts()
        assert ours['count'].to_dict() == true.to_dict() and ours.cells.eq(200).all()
        assert np.allclose(ours.share, ours['count'] / 200)
        # cells that are independent are worth about as many as there are
        assert (ours.worth > 100).all() and (ours.worth <= 200).all()
        assert ((ours.low < ours.share) & (ours.share < ours.high)).all()
    both = counts.loc[EVERYBODY]
    assert both['count'].sum() == both.cells.iloc[0] == 400
    # two patients who differ say little of a third
    wide = (both.high - both.low)['blast']
    assert wide > (counts.loc['P0'].high - counts.loc['P0'].low)['blast']


def test_neighbours_that_are_alike_are_worth_less():
    alone, alike = (
        differential_count(films([0.3], 400, alike=a)).set_index('class').loc['blast']
        for a in (0, 0.9)
    )
    assert alike.worth < 0.4 * alone.worth
    assert alike.high - alike.low > 1.4 * (alone.high - alone.low)


def test_a_rule_is_chosen_only_where_enough_patients_tell():
    few = draw_patients(patients=12, cells=30, seed=1)
    assert (
        choose_rule(few)['rule'] == USUAL_RULE
        and '12 validation patients' in choose_rule(few)['why']
    )
    # one cell in fifty carries the disease: the mean of all cells hardly sees it
    many = draw_patients(patients=80, cells=150, carrying=0.03, seed=2)
    chosen = choose_rule(many)
    assert chosen['rule'] != USUAL_RULE and 'fits 80 validation patients best' in chosen['why']
    with pytest.raises(DataError, match='No rule is named `most`'):
        patient_rule_named('most')
