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
from syntax import parse

ROOT = Path(__file__).resolve().parent.parent
WINGS = [
    'core',
    'data',
    'audit',
    'models',
    'train',
    'measure',
    'report',
    'runs',
    'deploy',
    'web',
    'cli',
]
NOTEBOOKS = [p for wing in WINGS for p in sorted((ROOT / 'nbs' / wing).glob('[0-9]*.ipynb'))]
MODULE_FILES = sorted(
    p for p in (ROOT / 'leukocls').rglob('*.py') if p.name not in ('__init__.py', '_modidx.py')
)


def name_of(path):
    "'data.table' of nbs/data/03_table.ipynb."
    return f'{path.parent.name}.{path.stem[3:]}'


PLACE = {name_of(path): i for i, path in enumerate(NOTEBOOKS)}

# What is needed of a later page, inside a function, and why it is called from an earlier one
UPWARD = {
    'data.images': {'data.views'},  # where the cell is, in what a network sees of a picture
    'data.table': {
        'train.loaders'
    },  # `from leukocls.data import CellDataLoaders` works all the same
    'audit.labels': {'train.probe'},  # doubtful labels are those that a probe does not believe
    'models.engines': {'models.networks'},  # what builds each of our own engines
    'models.networks': {'train.loaders'},  # reads off our own loaders what they do
    'models.backbones': {'train.loaders'},  # an example needs images in batches
    'models.frozen': {'runs.pipeline', 'models.predictor'},  # imports ahead what comes next; views
    'models.predictor': {
        'measure.abstention',  # a run's own calibration
        'measure.domain',  # an example has a gate
        'measure.external',  # `evaluate`
        'measure.metrics',  # an example shows an interval
        'train.loaders',  # an example needs a learner
        'train.kinds',  # how a run answers for patients
    },
    'measure.paired': {'measure.patients'},  # a run's answers for whole patients
    'measure.external': {'measure.patients'},  # whole patients, where their labels are known
    'train.kinds': {
        'train.network',
        'train.probe',
        'train.tune',
        'train.mil',
        'train.classical',
    },  # what trains each kind
    'train.augment': {'train.loaders'},  # the lesson shows batches of loaders
    'train.probe': {  # writes its learner.pkl, compared with fastai; the lesson trains one
        'train.learners',
        'runs.run',
        'runs.experiment',
        'models.predictor',
    },
    'train.mil': {'measure.patients', 'runs.experiment'},  # when to say nothing; the lesson
    'train.tune': {'runs.experiment'},  # the lesson
    'train.classical': {'train.learners', 'runs.run', 'runs.experiment'},  # the same
    'runs.run': {'runs.leaderboard', 'deploy.bundle'},  # methods of a run
    'runs.experiment': {
        'runs.leaderboard',  # the table of several runs
        'runs.cluster',  # where runs are made elsewhere
    },
    'runs.cluster': {'cli.options'},  # own files of `--with`, in workers
    'web.application': {'web.server'},  # `show`
}


def code(path):
    return [
        ''.join(c['source'])
        for c in json.loads(path.read_text(encoding='utf8'))['cells']
        if c['cell_type'] == 'code'
    ]


def imported(source):
    "(module of leukocls, at the top of a cell or not) of everything that a cell imports."
    tree = parse(re.sub(r'^[%!].*$', '', source, flags=re.M))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('leukocls.'):
            name = node.module.removeprefix('leukocls.')
            names = [name] if '.' in name else [f'{name}.{a.name}' for a in node.names]
            yield from ((n, node in tree.body) for n in names if n in PLACE)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
def test_imports_run_downward(path):
    """A page imports from pages before it: exported code at its top, examples anywhere. Inside
    functions there are a few calls of what comes later, each with its reason.
    """
    here, upward = PLACE[name_of(path)], set()
    for source in code(path):
        exported = re.search(r'^#\| *export', source, re.M)
        for module, at_top in imported(source):
            if PLACE[module] > here:
                assert not (exported and at_top), f'{path.name} imports {module} at its top'
                upward.add(module)
    assert upward <= UPWARD.get(name_of(path), set()), upward


def test_upward_imports_are_still_needed():
    for name, modules in UPWARD.items():
        path = NOTEBOOKS[PLACE[name]]
        there = {module for source in code(path) for module, _ in imported(source)}
        assert modules <= there, (name, modules - there)


@pytest.mark.parametrize('wing', WINGS)
def test_wings_offer_what_their_modules_do(wing):
    """What is public in a module can be had from its wing, and no module is called like something
    that its wing offers: importing it would replace it.
    """
    import importlib

    package = importlib.import_module(f'leukocls.{wing}')
    modules = {p.stem for p in (ROOT / 'leukocls' / wing).glob('*.py')}
    assert not modules & set(package.__all__)
    for module in modules - {'__init__'}:
        theirs = importlib.import_module(f'leukocls.{wing}.{module}')
        for name in getattr(theirs, '__all__', ()):
            if name in package.__all__:
                assert getattr(package, name) is not None


def test_old_names_still_open():
    "Pickles and notebooks of the first state name modules that stood elsewhere."
    code = (
        'import leukocls.recipes, leukocls.app, leukocls.loaders;'
        'from leukocls.recipes import recipes; from leukocls.app import show;'
        'from leukocls.audit import audit; from leukocls.data import read_table;'
        'from leukocls.train import train; import leukocls;'
        'assert callable(leukocls.audit) and callable(leukocls.train);'
        'assert leukocls.recipes.__name__ == "leukocls.train.recipes"'
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True, cwd=ROOT)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
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


def trees_of(path):
    "Who calls whom, as the prose of a notebook draws it: a list of trees."
    cells = json.loads(path.read_text(encoding='utf8'))['cells']
    prose = '\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    return re.findall(r'^Who calls whom:\n\n```\n(.*?)\n```', prose, re.M | re.S)


WITH_TREES = [path for path in NOTEBOOKS if trees_of(path)]


@pytest.mark.parametrize('path', WITH_TREES, ids=name_of)
def test_who_calls_whom_stands_in_the_module_too_and_is_true(path):
    "Who comes to a module from a traceback finds the tree of its page there, of functions that exist."
    module = ROOT / 'leukocls' / path.parent.name / f'{path.stem[3:]}.py'
    text = module.read_text(encoding='utf8')
    (tree,) = trees_of(path)
    lines = [f'#   {line}'.rstrip() for line in tree.splitlines()]
    assert '\n'.join(['# Who calls whom:', '#', *lines]) in text
    functions = {node.name: node for node in ast.walk(parse(text)) if hasattr(node, 'name')}
    above = []
    for line in filter(None, tree.splitlines()):
        marks, name = re.match(r'([│├└ ]*)([\w.]+)', line).groups()
        name = name.split('.')[-1]
        assert name in functions, name
        del above[len(marks) // 2 :]
        if above:
            called = {
                getattr(n, 'id', getattr(n, 'attr', '')) for n in ast.walk(functions[above[-1]])
            }
            assert name in called, f'{above[-1]} does not call {name}'
        above.append(name)


def test_some_pages_draw_who_calls_whom():
    assert len(WITH_TREES) >= 3


@pytest.mark.parametrize('path', MODULE_FILES, ids=lambda p: f'{p.parent.name}.{p.stem}')
def test_modules_are_documented(path):
    text = path.read_text(encoding='utf8')
    for node in parse(text).body:
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith('_')
            and node.name not in ('style_of',)
        ):
            assert ast.get_docstring(node) or node.name in ('fp16',), f'{path.name}: {node.name}'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
def test_public_parameters_are_explained(path):
    "Each parameter of a public function has a phrase on its own line or above it (docments)."
    module = ROOT / 'leukocls' / path.parent.name / f'{path.stem[3:]}.py'
    lines = module.read_text(encoding='utf8').splitlines()
    for f in parse('\n'.join(lines)).body:
        if (
            not isinstance(f, ast.FunctionDef)
            or f.name.startswith('_')
            or name_of(path) == 'cli.commands'
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
    wings = {p.name for p in (ROOT / 'leukocls').iterdir() if p.is_dir()}
    assert 'train_all' in dir(leukocls) and not set(leukocls.__all__) & wings
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
    listed = re.findall(
        r'^ +(?:- |href: )(\S+\.ipynb)$', (ROOT / 'nbs/sidebar.yml').read_text(), re.M
    )
    there = {
        p.relative_to(ROOT / 'nbs').as_posix()
        for p in (ROOT / 'nbs').rglob('*.ipynb')
        if not {'_proc', '_docs', '.ipynb_checkpoints'} & set(p.parts)
    }
    assert len(listed) == len(set(listed)) and set(listed) == there


@pytest.mark.dev
def test_modules_know_every_name_that_they_use():
    """In a notebook a name may come from a cell that is not exported; in the module it is missing
    then, until somebody calls the function.
    """
    words = 'check -q --isolated --no-cache --select F821 leukocls'.split()
    done = subprocess.run(
        [sys.executable, '-m', 'ruff', *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


@pytest.mark.dev
def test_modules_are_what_the_notebooks_say(tmp_path):
    "nbdev_export in a copy changes nothing."
    import shutil

    copy = shutil.copytree(
        ROOT,
        tmp_path / 'copy',
        ignore=shutil.ignore_patterns('.git', '_proc', 'build', '*.egg-info'),
        symlinks=True,
    )
    subprocess.run([str(Path(sys.executable).with_name('nbdev_export'))], cwd=copy, check=True)
    for path in sorted((ROOT / 'leukocls').rglob('*.py')):
        written = copy / path.relative_to(ROOT)
        assert path.read_text() == written.read_text(), path.relative_to(ROOT)


def test_imports_have_cells_of_their_own(root):
    "The docs run import cells without the others; a cell that mixes both breaks the site."
    mixed = []
    for path in sorted((root / 'nbs').rglob('*.ipynb')):
        for cell in json.loads(path.read_text(encoding='utf8'))['cells']:
            source = ''.join(cell['source'])
            if cell['cell_type'] != 'code' or 'nbdev_export()' in source:
                continue
            plain = [line for line in source.splitlines() if not line.startswith(('%', '!'))]
            kinds = {
                isinstance(n, (ast.Import, ast.ImportFrom)) for n in parse('\n'.join(plain)).body
            }
            if kinds == {True, False}:
                mixed.append(f'{path.relative_to(root)} {cell["id"]}')
    assert not mixed


def test_no_default_tells_of_the_machine_that_made_the_docs(root):
    """The reference shows each default as Python writes it. One like `os.environ` would publish every
    variable of whoever builds the site, passwords with them.
    """
    telling = []
    for path in sorted((root / 'leukocls').rglob('*.py')):
        for node in ast.walk(parse(path.read_text(encoding='utf8'))):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            names = {ast.unparse(default) for default in defaults}
            if told := {
                n for n in names if re.search(r'\bos\.|\bsys\.|Path\.(home|cwd)|getuser', n)
            }:
                telling.append((path.name, node.name, told))
    assert not telling, telling
