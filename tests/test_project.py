"""What holds for the project as a whole: order of the notebooks, documented modules, light imports,
no path of any machine.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(p for p in (ROOT / 'nbs').glob('[0-9][0-9]_*.ipynb'))
MODULES = {p.stem.split('_', 1)[1]: p.stem.split('_', 1)[0] for p in NOTEBOOKS}


def code(path):
    return [
        ''.join(c['source'])
        for c in json.loads(path.read_text(encoding='utf8'))['cells']
        if c['cell_type'] == 'code'
    ]


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_imports_only_from_lower_numbers(path):
    "Lessons included: the library can be read from front to back."
    number = path.stem[:2]
    for source in code(path):
        for module in re.findall(r'^\s*(?:from|import) leukocls\.(\w+)', source, re.M):
            assert MODULES[module] < number, f'{path.name} imports {module} ({MODULES[module]})'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_small_and_anonymous(path):
    text = path.read_text(encoding='utf8')
    assert len(text) < 1_000_000
    assert not re.search(r'/(home|root|Users|work|tmp|opt)/\w', text), re.search(
        r'.{40}/(home|root|Users|work|tmp|opt)/\w.{30}', text
    )
    cells = json.loads(text)['cells']
    assert (
        cells[0]['cell_type'] == 'markdown'
        and re.match(r'# .+\n\n> .+', ''.join(cells[0]['source']))
        and '#| default_exp' in ''.join(cells[1]['source'])
    )


@pytest.mark.parametrize('path', sorted((ROOT / 'leukocls').glob('*.py')), ids=lambda p: p.stem)
def test_modules_are_documented(path):
    text = path.read_text(encoding='utf8')
    if path.stem == '_modidx':
        return
    for node in ast.parse(text).body:
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith('_')
            and node.name not in ('style_of',)
        ):
            assert ast.get_docstring(node) or node.name in ('fp16',), f'{path.name}: {node.name}'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_public_parameters_are_explained(path):
    "Each parameter of a public function has a phrase on its own line or above it (docments)."
    module = ROOT / 'leukocls' / f'{path.stem[3:]}.py'
    lines = module.read_text(encoding='utf8').splitlines()
    for f in ast.parse('\n'.join(lines)).body:
        if (
            not isinstance(f, ast.FunctionDef)
            or f.name.startswith('_')
            or path.stem == '42_cli'
            or f.decorator_list
        ):
            continue
        for a in [*f.args.args, *f.args.kwonlyargs]:
            above = lines[a.lineno - 2].strip()
            explained = '#' in lines[a.lineno - 1] or above.startswith('#')
            assert explained, f'{module.name}: {f.name}({a.arg})'


def loaded(statement):
    return set(
        subprocess.run(
            [sys.executable, '-c', f'{statement}; import sys; print(*sys.modules)'],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout.split()
    )


@pytest.mark.parametrize(
    'statement', ['import leukocls', 'import leukocls.core.errors', 'import leukocls.cli.commands']
)
def test_start_is_light(statement):
    assert not {
        'torch',
        'fastai',
        'pandas',
        'numpy',
        'timm',
        'sklearn',
        'matplotlib',
        'nbdev',
        'IPython',
    } & loaded(statement)


def test_recipes_do_not_wait_for_torch():
    assert not {'torch', 'fastai', 'timm'} & loaded('import leukocls.train.recipes')


def test_training_does_not_need_nbdev():
    assert 'nbdev' not in loaded(
        'import leukocls.runs.experiment, leukocls.report.page, leukocls.measure.metrics'
    )


def test_import_changes_nothing():
    """No warnings filter, no CUDA start, no default device, no random state touched by importing us
    on top of fastai.
    """
    code = (
        'import warnings, random, torch; from fastai.vision.all import *; before ='
        ' len(warnings.filters), random.getstate(), torch.get_rng_state().sum().item(),'
        ' torch.get_num_threads();import leukocls.all; assert before == (len(warnings.filters),'
        ' random.getstate(), torch.get_rng_state().sum().item(), torch.get_num_threads()); assert'
        ' not torch.cuda.is_initialized()'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_lazy_names():
    import leukocls

    for name in leukocls.__all__:
        assert getattr(leukocls, name) is not None
    assert 'train_all' in dir(leukocls) and not set(leukocls.__all__) & {
        p.stem for p in (ROOT / 'leukocls').glob('*.py')
    }
    with pytest.raises(AttributeError, match='no attribute `trian_all`'):
        print(leukocls.trian_all)


def test_readme_follows_the_index():
    subprocess.run([sys.executable, ROOT / '.ci/readme.py', '--check'], check=True)


def test_figures_in_results_have_commands():
    import pandas as pd

    found = sorted((ROOT / 'results').glob('*.csv'))
    assert found
    for path in found:
        assert pd.read_csv(path).command.str.startswith('python ').all(), path.name


def test_every_page_stands_in_the_sidebar_once():
    listed = re.findall(r'^ +- (\S+\.ipynb)$', (ROOT / 'nbs/sidebar.yml').read_text(), re.M)
    there = {
        p.relative_to(ROOT / 'nbs').as_posix()
        for p in (ROOT / 'nbs').rglob('*.ipynb')
        if not {'_proc', '_docs', '.ipynb_checkpoints'} & set(p.parts)
    }
    assert len(listed) == len(set(listed)) and set(listed) == there


@pytest.mark.dev
def test_modules_are_what_the_notebooks_say(tmp_path):
    "nbdev_export in a copy changes nothing."
    import shutil

    copy = shutil.copytree(
        ROOT,
        tmp_path / 'copy',
        ignore=shutil.ignore_patterns('.git', 'runs', '_proc', 'build', '*.egg-info'),
        symlinks=True,
    )
    subprocess.run([str(Path(sys.executable).with_name('nbdev_export'))], cwd=copy, check=True)
    for path in sorted((ROOT / 'leukocls').glob('*.py')):
        assert path.read_text() == (copy / 'leukocls' / path.name).read_text(), path.name
