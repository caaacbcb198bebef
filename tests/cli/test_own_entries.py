"""`--with FILE.py`: what a user registers in a file of theirs is known to the command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

OWN = """
from leukocls.data.splits import register_split
from leukocls.measure.metrics import register_metric
from leukocls.train.recipes import change, get_recipe, register_recipe

register_recipe(change(get_recipe('p3-knn'), name='mine', size=32))
register_split('by-half', lambda table: table.path.str[-5], 'Split by half.')
register_metric(lambda y, pred, p, weights: ((y == pred) * weights).sum() / weights.sum(), name='my_hits')
"""


def leukocls(*words, cwd):
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'leukocls', *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        encoding='utf8',
        # as for most users; some machines set it, and then no module leaves a `__pycache__`
        env={**os.environ, 'PYTHONDONTWRITEBYTECODE': ''},
    )


def failed_in_one_line(done, said):
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_recipe_a_split_and_a_measure_of_ones_own(films, tmp_path):
    (tmp_path / 'mine_of_a_user.py').write_text(OWN, encoding='utf8')
    shown = leukocls('recipes', 'mine', '--json', '--with', 'mine_of_a_user.py', cwd=tmp_path)
    assert json.loads(shown.stdout)[0]['name'] == 'mine', shown.stderr
    done = leukocls(
        *['train', films, '--recipe', 'mine', '--split', 'by-half'],
        *['--with', 'mine_of_a_user.py'],
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / 'runs' / 'mine-seed42'
    metrics = json.loads((folder / 'metrics.json').read_text(encoding='utf8'))
    assert 'Split by half.' in done.stdout and 'my hits' in done.stdout
    assert 'my_hits' in metrics and len(pd.read_csv(folder / 'table.csv')) == 120
    counted = r'Split by half. Judged groups: \d+; training groups: \d+\.'
    for name in ('report.html', 'model_card.md'):
        page = (folder / name).read_text(encoding='utf8')
        assert re.search(counted, page), f'{name} does not say how many groups were judged'
        assert 'drawn by split=' in page, f'{name} loses the rule where the run is repeated'


def test_without_the_file_it_is_not_known(films, tmp_path):
    failed_in_one_line(leukocls('train', films, '--recipe', 'mine', cwd=tmp_path), 'mine')


def test_a_file_that_is_missing_or_fails(tmp_path):
    "One line: the file, the line of it, the reason; nothing of it stays."

    def run(text):
        (tmp_path / 'own.py').write_text(text, encoding='utf8')
        return leukocls('recipes', '--with', 'own.py', cwd=tmp_path)

    failed_in_one_line(leukocls('recipes', '--with', 'no.py', cwd=tmp_path), 'no.py: no such file')
    failed_in_one_line(run('x = 1\n1/0\n'), 'own.py, line 2: ZeroDivisionError: division by zero.')
    failed_in_one_line(run('def f(:\n'), 'own.py, line 1: SyntaxError: ')
    failed_in_one_line(run('\nimport not_there_at_all\n'), 'own.py, line 2: ModuleNotFoundError')
    failed_in_one_line(run('raise SystemExit(3)\n'), 'own.py, line 1: SystemExit: 3.')
    twice = 'from leukocls.train.recipes import *\nregister_recipe(get_recipe("effb3"))\n'
    failed_in_one_line(run(twice), 'own.py, line 2: A recipe named `effb3` is there already.')
    (tmp_path / 'pandas.py').touch()
    done = leukocls('recipes', '--with', tmp_path / 'pandas.py', cwd=Path(__file__).parents[2])
    failed_in_one_line(done, 'Rename the file')
    assert not list(tmp_path.rglob('*.pyc'))


def test_a_file_is_only_run_when_it_is_named(tmp_path):
    (tmp_path / 'sitecustom.py').write_text('open("ran", "w")', encoding='utf8')
    assert leukocls('recipes', cwd=tmp_path).returncode == 0
    assert not (tmp_path / 'ran').exists()
