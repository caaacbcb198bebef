"What all tests share: synthetic films, a quick recipe, and the real images where there are any."

import functools
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path

if (
    (workers := int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))) > 1
    # before NumPy and torch are loaded: workers that take every core each wait for each other;
    # subprocesses inherit it
):
    os.environ.setdefault('OMP_NUM_THREADS', str(max(1, (os.cpu_count() or 1) // workers)))

# nothing is sent, and no thread of Ray's asks for figures to send while the tests run
os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')

import matplotlib
import pytest
from selection import asks_the_gate, is_quick, is_repeated, looks_at_plots, needs_fastai

matplotlib.use('Agg')
ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get('LEUKOCLS_SHARED', ROOT.parent / 'shared'))


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory):
    "Tests neither use nor fill the cache of whoever runs them; subprocesses inherit it."
    os.environ['LEUKOCLS_CACHE'] = str(tmp_path_factory.mktemp('cache'))
    yield
    del os.environ['LEUKOCLS_CACHE']


# What takes a file its time; a test that is marked as slow takes that of several trainings
COSTS = re.compile(r'\b(train(_all)?|fitted|export_bundle|leukocls|fuzz)\(|subprocess\.')
SLOW = 8


def pytest_collection_modifyitems(items):
    import importlib.util

    import torch

    text = {path: path.read_text(encoding='utf8') for path in {item.path for item in items}}
    cost = {path: len(COSTS.findall(t)) + SLOW * t.count('mark.slow') for path, t in text.items()}
    # the longest files first, so that at the end no worker waits for another's
    items.sort(key=lambda item: -cost[item.path])
    for item in items:
        if is_quick(item):
            item.add_marker(pytest.mark.quick)
        if not needs_fastai(item) or is_repeated(item):
            item.add_marker(pytest.mark.once)
    why = {
        'data': (
            None
            if (SHARED / 'data').is_dir()
            else f'no real images: {SHARED / "data"} is absent (set LEUKOCLS_SHARED)'
        ),
        'cuda': None if torch.cuda.is_available() else 'no CUDA device',
        'dev': (
            None
            if importlib.util.find_spec('nbdev')
            else 'nbdev is not installed (development only)'
        ),
    }
    for item in items:
        for marker, reason in why.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish():
    "What is imported by now stays: Python's collector need not look through it again and again."
    import gc

    gc.collect()
    gc.freeze()


def pytest_runtest_setup():
    """What PyTorch knows of ONNX's operators is collected once: it would be half a second for each
    network that a test writes. Where PyTorch keeps it elsewhere, each network takes its time.
    """
    registration = sys.modules.get('torch.onnx._internal.exporter._registration')
    registry = getattr(registration, 'ONNXRegistry', None)
    collect = getattr(registry, 'from_torchlib', None)
    if collect is not None and not hasattr(collect, 'cache_info'):
        registry.from_torchlib = staticmethod(functools.cache(collect))


@pytest.fixture(scope='session')
def root():
    return ROOT


@pytest.fixture(scope='session')
def shared():
    return SHARED


@pytest.fixture(scope='session')
def films(tmp_path_factory):
    from leukocls.data.films import draw_films

    return draw_films(tmp_path_factory.mktemp('films') / 'films', patients=6, images=5, size=48)


@pytest.fixture(scope='session')
def table(films):
    from leukocls.data.films import FILM_PATIENT
    from leukocls.data.table import read_table

    return read_table(films, patient=FILM_PATIENT)


@pytest.fixture(scope='session')
def quick():
    from leukocls.train.recipes import get_recipe

    return get_recipe('small-cnn', size=32, epochs=2, lr=3e-3, bs=16)


@pytest.fixture(scope='session')
def without_plots():
    """A context for trainings of which a test asks figures: the report is written without its
    plots, which take three times as long as such a training. Those of a network, a probe and a
    classical system, and of runs with something odd about them, are drawn in the tests of
    reports and runs.
    """

    @contextmanager
    def context():
        with pytest.MonkeyPatch.context() as m:
            m.setattr('leukocls.report.page._plots', lambda *a: {})
            m.setattr('shell.PLOTS', False)
            yield

    return context


FEW = 4  # Pictures whose changed copies a gate learns from, where no test asks it


@pytest.fixture(autouse=True)
def plots_where_asked(request, without_plots):
    """Reports have their plots where a test looks at them (see `selection.py`), and in what several
    tests share. In the others they are left out, here and in commands in forks.
    """
    if is_quick(request.node) or looks_at_plots(request.node):
        yield
        return
    with without_plots():
        yield


@pytest.fixture(autouse=True)
def gates_where_asked(request, monkeypatch):
    """Gates learn kinds of change from as many pictures as usual where a test asks what they say (see
    `selection.py`), and in what several tests share. In the others from a few, which takes a tenth
    of the time, here and in commands in forks.
    """
    if is_quick(request.node) or asks_the_gate(request.node):
        return
    monkeypatch.setattr('leukocls.measure.domain.CHANGED', FEW)
    monkeypatch.setattr('shell.CHANGED', FEW)


@pytest.fixture
def no_plots(without_plots):
    with without_plots():
        yield


@pytest.fixture(scope='session')
def run(table, quick, tmp_path_factory):
    from leukocls.data.splits import split_table
    from leukocls.runs.experiment import train

    return train(
        quick, split_table(table), out=tmp_path_factory.mktemp('runs'), progress=False, device='cpu'
    )


@pytest.fixture(scope='session')
def files_of_every_run():
    "What is in a run folder, whatever was trained."
    names = ('recipe.json', 'table.csv', 'history.csv', 'predictions.csv', 'metrics.json')
    return {*names, 'report.html', 'learner.pkl'}


@pytest.fixture(scope='session')
def plain_fastai():
    """What a pickle says of image files to a user of plain fastai, on another machine, without
    leukocls: (label, probabilities) each. For every pickle a process of its own, forked from one
    that has imported fastai and nothing else.
    """
    import json
    import subprocess
    import sys

    p = subprocess.Popen(
        [sys.executable, '-W', 'ignore', str(Path(__file__).with_name('plain_fastai.py'))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd='/',
    )

    def ask(pkl, files):
        p.stdin.write(json.dumps([str(pkl), list(map(str, files))]) + '\n')
        p.stdin.flush()
        lines = []
        while not lines or lines[-1] != 'DONE':
            line = p.stdout.readline()
            assert line, 'the process with fastai ended'
            lines.append(line.rstrip('\n'))
        said = [line for line in lines if line.startswith('SAID ')]
        assert said, '\n'.join(lines)
        return json.loads(said[0][5:])

    yield ask
    p.stdin.close()
    p.wait()


@pytest.fixture(scope='session')
def local_weights(tmp_path_factory):
    "A timm local-dir folder with a tiny network that nobody trained."
    import json

    import timm
    import torch
    from safetensors.torch import save_file

    d = tmp_path_factory.mktemp('weights') / 'tiny'
    d.mkdir()
    # the same network whatever ran before: some of its maps hardly vary, and rounding shows there
    with torch.random.fork_rng():
        torch.manual_seed(0)
        m = timm.create_model('test_efficientnet', num_classes=10)
    save_file(m.state_dict(), d / 'model.safetensors')
    cfg = dict(
        input_size=[3, 64, 64],
        mean=[0.4] * 3,
        std=[0.3] * 3,
        num_classes=10,
        pool_size=[2, 2],
        first_conv='conv_stem',
        classifier='classifier',
    )
    (d / 'config.json').write_text(
        json.dumps(dict(architecture='test_efficientnet', num_classes=10, pretrained_cfg=cfg))
    )
    return d


@pytest.fixture(scope='session')
def small_bundle(run, tmp_path_factory):
    "A bundle with everything in it; copy it before you change it."
    from leukocls.deploy.bundle import export_bundle

    return export_bundle(run, tmp_path_factory.mktemp('bundles') / 'small', examples=10).folder
