"What runs show in a notebook and on the screen: the figure, how far it goes, links that open."

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from leukocls import Run, Runs
from leukocls.cli.options import say_board, say_run
from leukocls.core.errors import RunError
from leukocls.runs.leakage import cross_validate
from leukocls.train.kinds import KINDS, Kind, kind_named, register_kind
from leukocls.train.recipes import get_recipe

NETWORK, CLASSICAL = 'small-cnn-seed42', 'p3-naive-bayes-seed42'


@pytest.fixture
def two(stored, tmp_path, monkeypatch):
    "Copies of two stored runs below the current folder, whose name is awkward in an address."
    folder = tmp_path / 'größe #1 & more'
    shutil.copytree(stored / 'runs', folder / 'runs')
    monkeypatch.chdir(folder)
    return Runs(Run(f'runs/{name}') for name in (NETWORK, CLASSICAL))


def change_info(run, **split):
    "The run again, with something else known about its split."
    info = json.loads((run.folder / 'recipe.json').read_text(encoding='utf8'))
    info['split'] |= split
    (run.folder / 'recipe.json').write_text(json.dumps(info), encoding='utf8')
    return Run(run.folder)


def links_in(page):
    return [html.unescape(address) for address in re.findall(r'href="([^"]*)"', page)]


@pytest.mark.parametrize('place', ['.', 'notebooks'])
def test_links_open_from_the_notebooks_folder(two, place, monkeypatch):
    Path(place).mkdir(exist_ok=True)
    monkeypatch.chdir(place)
    for shown in (two, two[0], two.leaderboard):
        links = links_in(shown._repr_html_())
        assert any(link.endswith('report.html') for link in links)
        for link in links:
            assert not re.match('[a-z]+:|/', link), 'it would not open on another machine'
            assert (Path.cwd() / unquote(link)).is_file(), link
            assert '#' not in link and ' ' not in link


def test_what_is_known_stands_beside_the_figure(two):
    "In the notebook and in the text, of one run, of several and of the table."
    for shown in (two[0], two, two.leaderboard, Runs(two[:1])):
        for text in (repr(shown), shown._repr_html_()):
            assert 'Split by patient: nobody is on two sides.' in text
            assert 'Brightness alone reaches 37.5 %; this system reaches 0.0 %' in text
            assert '0.0 % (0.0–49.0)' in text
    assert repr(two).count('Split by patient') == 2 and repr(two.leaderboard).count('Split by') == 1
    assert 'on 8 test images of 4 patients' in repr(two[0])
    assert 'Report: runs' in repr(two[0]).replace(os.sep, '/')


def test_unknown_patients_and_leaks_are_said(two):
    note = 'Patients are unknown, so images of one patient may be on two sides.'
    run = change_info(two[0], note=note, shared_patients=3)
    runs = Runs([run, two[1]])
    for shown in (run, runs, runs.leaderboard):
        for text in (repr(shown), shown._repr_html_()):
            assert (
                note in text
                and '3 patients stand on two sides, so its figures are too good' in text
            )


def test_the_command_line_says_the_same(two, capsys):
    run = change_info(two[0], note='Patients are unknown.', shared_files=2)
    say_run(run)
    said = capsys.readouterr().out
    assert 'Patients are unknown.' in said and 'Brightness alone reaches 37.5 %' in said
    assert '2 identical files stand on two sides' in said and 'of 4 patients' in said
    say_board(Runs([run, two[1]]))
    said = capsys.readouterr().out
    assert 'Patients are unknown.' in said and 'Brightness alone' in said


def test_names_are_shown_and_not_obeyed(two):
    evil = '<img src=x onerror=alert(1)>'
    folder = two[0].folder.rename(two[0].folder.with_name(evil))
    info = json.loads((folder / 'recipe.json').read_text(encoding='utf8'))
    info['name'], info['recipe']['name'], info['split']['note'] = evil, evil, evil
    (folder / 'recipe.json').write_text(json.dumps(info), encoding='utf8')
    run = Run(folder)
    for shown in (run, Runs([run, two[1]]), Runs([run, two[1]]).leaderboard):
        assert '<img src=x' not in shown._repr_html_()


def test_runs_that_have_no_figure_yet_are_shown(two, tmp_path):
    begun = tmp_path / 'begun'
    begun.mkdir()
    info = two[0].info | dict(status='training')
    (begun / 'recipe.json').write_text(json.dumps(info), encoding='utf8')
    run = Run(begun)
    assert 'training' in repr(run) and 'training' in run._repr_html_()
    assert repr(Runs()) == 'Runs: none' and 'none' in Runs()._repr_html_()
    failed = Runs(failed=[dict(recipe='x', seed=1, fold=None, error='no <b>weights</b>')])
    assert '1 failed' in repr(failed) and '&lt;b&gt;' in failed._repr_html_()


def test_a_leaderboard_is_a_table(two):
    board = two.leaderboard
    assert isinstance(board, pd.DataFrame) and list(board.index) == [CLASSICAL, NETWORK]
    part = board[['accuracy', 'f1']]
    assert type(part) is pd.DataFrame and type(board.accuracy) is pd.Series
    assert len(pd.concat([board, board])) == 4 and len(board.to_csv().splitlines()) == 3


@pytest.fixture
def own_kinds():
    "Two kinds of a user's own."
    kinds = [
        Kind('my-probe', 'frozen features of mine', kind_named('probe').fit, frozen=True),
        Kind('my-network', 'a network of mine', kind_named('network').fit, tunes=True),
    ]
    for kind in kinds:
        register_kind(kind)
    yield kinds
    for kind in kinds:
        del KINDS[kind.name]


def of_kind(run, kind):
    info = json.loads((run.folder / 'recipe.json').read_text(encoding='utf8'))
    info['recipe']['kind'] = kind
    (run.folder / 'recipe.json').write_text(json.dumps(info), encoding='utf8')
    return Run(run.folder)


def test_advice_knows_kinds_of_ones_own(two, own_kinds):
    "Whether fine-tuning pays is asked of what a kind does, not of its name."
    runs = Runs([of_kind(two[0], 'my-network'), of_kind(two[1], 'my-probe')])
    assert 'fine-tuning does not pay here' in runs.advice
    assert runs.advice in repr(runs.leaderboard) and runs.advice in runs._repr_html_()
    assert not Runs([of_kind(two[0], 'my-network')]).advice


def test_a_kind_brings_its_own_folds(table, monkeypatch):
    asked = []
    kind = Kind('by-folds', 'of mine', None, folds=lambda *a: asked.append(a) or 'predictions')
    monkeypatch.setitem(KINDS, 'by-folds', kind)
    recipe = get_recipe('probe')
    object.__setattr__(recipe, 'kind', 'by-folds')
    assert cross_validate(table, recipe, 3, 'patient', seed=7) == 'predictions'
    assert asked[0][2:] == (3, 'patient', 7)


def test_heat_shows_a_picture(small_bundle, run):
    from leukocls import Classifier

    clf = Classifier.load(small_bundle)
    heat = clf.heat(run.table.path[0])
    assert (
        heat.shape == (8, 8) and isinstance(heat, np.ndarray) and 0 <= heat.min() <= heat.max() <= 1
    )
    page = heat._repr_html_()
    assert page.count('data:image/jpeg') == 2 and clf(run.table.path[0]).label in page
    assert clf.heat(run.table.path[0], 'Pro').label == 'Pro'
    # numbers made of it are numbers
    for numbers in (heat * 2, heat[0], heat.mean(0)):
        assert numbers._repr_html_() is None
    assert json.dumps(heat.tolist())


def test_predictions_show_what_they_say(small_bundle, run):
    from leukocls import Classifier

    answers = Classifier.load(small_bundle).many(list(run.table.path[:2]) + ['nowhere.png'])
    text = repr(answers)
    assert all(str(answer) in text for answer in answers) and 'probabilities=' not in text
    assert 'no such file' in text.lower() or 'nowhere.png' in text


@pytest.mark.parametrize('name', ['train_all', 'evaluate', 'cell_learner', 'Classifier'])
def test_nothing_is_said_of_deprecation(name, tmp_path):
    "What fastai's import says to its makers is nothing to a user; an own warning is shown as ever."
    code = (
        f'from leukocls import {name}; import leukocls.runs.experiment as e; e._import_fastai();'
        ' import warnings; warnings.warn("mine", FutureWarning)'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0 and 'mine' in done.stderr
    assert 'deprecated' not in done.stderr


def test_a_folder_is_no_list_of_runs(tmp_path):
    with pytest.raises(RunError, match=r'such as Runs\(\[Run\('):
        Runs(tmp_path)
