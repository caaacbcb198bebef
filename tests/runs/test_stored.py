"Runs that an older state of the library stored (tests/stored/make_runs.py) open and say the same."

import re
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from leukocls import Classifier, Run, Runs, evaluate, predict_images
from leukocls.cli.commands import main
from leukocls.deploy.bundle import export_bundle
from leukocls.deploy.conversion import convert_pickle
from leukocls.models.predictor import open_pickle
from leukocls.report.page import report_run

NETWORK, CLASSICAL = 'small-cnn-seed42', 'p3-naive-bayes-seed42'


def expected(stored, name):
    "What was predicted then, with the paths of now."
    table = pd.read_csv(stored / f'{name}.csv')
    return table.assign(path=[str(stored / path) for path in table.path])


def assert_same(got, want):
    columns = [c for c in want if c.startswith('p_')]
    assert len(columns) == 4 and list(got.pred) == list(want.pred)
    assert np.abs(got[columns].to_numpy() - want[columns].to_numpy()).max() < 1e-6


@pytest.mark.parametrize('name', [NETWORK, CLASSICAL])
def test_a_stored_run_predicts_the_same(stored, name):
    "From its own files and from its pickle, images having been moved."
    want = expected(stored, name)
    run = Run(stored / 'runs' / name)
    assert_same(predict_images(run.learner, want.path), want)
    learner = open_pickle(run.folder / 'learner.pkl', trust=True)
    assert_same(predict_images(learner, want.path), want)
    assert evaluate(run.learner, stored / 'films')['n'] == len(want)
    assert {'refer', 'in_domain'} <= set(predict_images(run, want.path[:2]))


@pytest.mark.parametrize('name', [NETWORK, CLASSICAL])
def test_the_command_line_opens_a_stored_pickle(stored, name, tmp_path, monkeypatch, capsys):
    want, table = expected(stored, name), tmp_path / 'r.csv'
    pickle, films = str(stored / 'runs' / name / 'learner.pkl'), str(stored / 'films')
    words = ['leukocls', 'predict', pickle, films, '--csv', str(table)]
    monkeypatch.setattr(sys, 'argv', words)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2 and '--trust' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', [*words, '--trust'])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code, capsys.readouterr().err
    assert_same(pd.read_csv(table).sort_values('path'), want.sort_values('path'))


def test_stored_runs_have_a_leaderboard_of_the_same_figures(stored):
    runs = Runs(Run(stored / 'runs' / name) for name in (NETWORK, CLASSICAL))
    then = pd.read_csv(stored / 'standings.csv', index_col='run')
    now = runs.standings
    assert list(now.index) == list(then.index)
    for measure in ('accuracy', 'accuracy_low', 'f1', 'auroc', 'log_loss', 'ece'):
        assert np.allclose(now[measure].astype(float), then[measure], atol=1e-6), measure
    assert (then.p.isna() == now.p.isna()).all() and then.changed.tolist() == now.changed.tolist()
    board = runs.leaderboard
    assert board.shape[0] == 2 and '%' in board.accuracy.iloc[0]
    assert runs.best.name in runs._repr_html_()
    assert list(runs[0].history.columns) and runs[0].recipe.name == 'small-cnn'


@pytest.mark.parametrize('name', [NETWORK, CLASSICAL])
def test_a_stored_run_is_reported_again(stored, name, tmp_path):
    folder = shutil.copytree(stored / 'runs' / name, tmp_path / name)
    (folder / 'report.html').unlink()
    report_run(folder)
    page = (folder / 'report.html').read_text(encoding='utf8')
    assert name in page and (folder / 'plots' / 'confusion.png').exists()


def test_a_stored_run_is_exported(stored, tmp_path):
    want = expected(stored, NETWORK)
    run = Run(stored / 'runs' / NETWORK)
    temperature = pd.read_json(run.folder / 'calibration.json', typ='series').temperature
    plain = want[[c for c in want if c.startswith('p_')]].to_numpy()
    calibrated = plain ** (1 / temperature)
    calibrated /= calibrated.sum(1, keepdims=True)
    of_run = export_bundle(run, tmp_path / 'of_run')
    of_pickle = convert_pickle(run.folder / 'learner.pkl', tmp_path / 'of_pickle')
    for bundle, right in ((of_run, calibrated), (of_pickle, plain)):
        answers = Classifier.load(bundle).many(list(want.path))
        got = np.array([list(answer.probabilities.values()) for answer in answers])
        # another engine than the one that trained
        assert np.abs(got - right).max() < 1e-5
        assert [answer.label for answer in answers] == list(want.pred)


def test_stored_files_name_no_machine(stored):
    "They were made in /data, and no other folder is named."
    for path in stored.rglob('*'):
        if path.is_file() and path.suffix != '.png':
            content = path.read_bytes()
            place = re.search(rb'/(?:(?:home|tmp|Users|work|opt)/|root)', content)
            assert place is None, f'{path.name} names {place[0]}'
