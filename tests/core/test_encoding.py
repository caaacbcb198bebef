"""Text is written and read as UTF-8, whatever the system's own encoding is (Windows: a code page)."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from syntax import parse

CLASSES = ['größe', 'Бласт', '芽球']
PROGRAM = """
import sys, warnings
warnings.filterwarnings('ignore')
# any text file of ours that is opened without naming an encoding
warnings.filterwarnings('error', category=EncodingWarning, module='leukocls')
from leukocls.cli.commands import main
def run(*words):
    try: main(list(words))
    except SystemExit as e:
        if e.code: raise
run('train', 'cells.csv', '--recipe', 'p3-knn', '--size', '32')
run('evaluate', 'runs/p3-knn-seed42', 'cells.csv', '--json', 'judged.json')
from leukocls.runs.run import Run
made = Run('runs/p3-knn-seed42')
assert sorted(made.metrics['classes']) == sorted(set(made.table.label)) and len(made.predictions)
print(len(Run('runs/p3-knn-seed42').info['notes']))
"""


def test_class_names_of_any_script_where_the_system_is_not_utf8(films, tmp_path):
    files = sorted(films.rglob('*.png'))
    shown = pd.DataFrame(dict(path=files[:60], label=[CLASSES[i % 3] for i in range(60)]))
    shown.to_csv(tmp_path / 'cells.csv', index=False, encoding='utf8')
    done = subprocess.run(
        [sys.executable, '-X', 'warn_default_encoding', '-c', PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        env={
            **os.environ,
            **dict(PYTHONUTF8='0', PYTHONCOERCECLOCALE='0', LC_ALL='C', PYTHONIOENCODING='cp1252'),
            'PYTHONPATH': str(Path(__file__).parents[2]),
        },
    )
    assert done.returncode == 0, done.stderr.decode('cp1252')[-2000:]
    folder = tmp_path / 'runs' / 'p3-knn-seed42'
    for name in ('metrics.json', 'predictions.csv', 'report.html', 'table.csv'):
        text = (folder / name).read_text(encoding='utf8')
        assert all(label in text for label in CLASSES), name
    assert all(label in (tmp_path / 'judged.json').read_text('utf8') for label in CLASSES)


def test_every_text_file_names_its_encoding():
    "In the source too: `read_text()`, `write_text(x)` and `open(x)` take what the system has."
    for path in sorted((Path(__file__).parents[2] / 'leukocls').rglob('*.py')):
        for node in ast.walk(parse(path.read_text(encoding='utf8'))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, 'attr', getattr(node.func, 'id', ''))
            named = {keyword.arg for keyword in node.keywords}
            place = f'{path.name}:{node.lineno}'
            if name == 'read_text':
                assert named & {'encoding'} or node.args, place
            if name == 'write_text':
                assert named & {'encoding'} or len(node.args) > 1, place
            if name == 'open' and isinstance(node.func, ast.Name):
                mode = next((a.value for a in node.args[1:2] if isinstance(a, ast.Constant)), 'r')
                assert 'b' in str(mode) or 'encoding' in named, place
