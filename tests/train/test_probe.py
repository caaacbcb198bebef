"A probe: a run like any other, the same figures cached or not, nothing heavy imported where all is known."

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leukocls.cli.bench import random_weights
from leukocls.core.errors import DataError, ModelError, RunError
from leukocls.data import images, survey
from leukocls.data.splits import split_table
from leukocls.data.survey import survey_images
from leukocls.data.table import read_table
from leukocls.measure.changes import CHANGED
from leukocls.measure.metrics import score
from leukocls.models import frozen as features, predictor as predict
from leukocls.models.engines import softmax, versions_of
from leukocls.models.networks import probe_head
from leukocls.models.predictor import by_fastai
from leukocls.runs import experiment
from leukocls.runs.experiment import train, train_all
from leukocls.runs.run import Run, Runs
from leukocls.train import learners, probe as probe_module
from leukocls.train.probe import GRIDS, FrozenBody, Head, fit_head, known_head, probe_folds
from leukocls.train.recipes import get_recipe


@pytest.fixture(scope='module')
def recipe(local_weights):
    return get_recipe('probe', arch=f'local-dir:{local_weights}', size=48)


@pytest.fixture(scope='module')
def probe(recipe, table, tmp_path_factory):
    return train(
        recipe,
        split_table(table),
        out=tmp_path_factory.mktemp('probe'),
        progress=False,
        device='cpu',
    )


def test_a_probe_is_a_run_like_any_other(probe, files_of_every_run):
    have = {p.name for p in probe.folder.iterdir()}
    assert files_of_every_run | {'plots', 'model.safetensors'} <= have
    assert probe.metrics['split'] == 'test'
    assert probe.info['status'] == 'finished'
    assert probe.info['model']['frozen'] > probe.info['model']['trainable'] > 0
    page = (probe.folder / 'report.html').read_text()
    assert 'log loss in cross-validation' in page
    assert '<h2>Training</h2>' not in page


def test_learner_predicts_what_the_probe_predicts(probe):
    p = probe.predictions
    few = list(p.path[:10])
    want = p.filter(like='p_').to_numpy()[:10]
    for learn in (probe.learner, Run(probe.folder).learner):
        assert np.allclose(by_fastai(learn, few), want, atol=2e-3)


def test_pickle_needs_no_leukocls(probe, plain_fastai):
    ((_, p),) = plain_fastai(probe.folder / 'learner.pkl', probe.predictions.path[:1])
    assert np.allclose(p, probe.predictions.filter(like='p_').to_numpy()[0], atol=2e-3)


def test_fine_tuning_goes_on_from_the_probe(probe):
    learn = probe.learner
    before = {name: v.clone() for name, v in learn.model.state_dict().items()}
    learn.unfreeze()
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-4)
    body = {name: v for name, v in learn.model.state_dict().items() if name.startswith('0.')}
    assert any((before[name] != v).any() for name, v in body.items())
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())


def test_a_run_that_is_opened_again_can_be_trained_on(probe):
    learn = Run(probe.folder).learner
    assert len(learn.dls.train_ds) == (probe.table.split == 'train').sum()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(1, 1e-4)
    assert len(learn.recorder.values) == 1
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())


@pytest.mark.usefixtures('no_plots')
def test_a_run_whose_images_are_gone_still_predicts(recipe, table, tmp_path):
    def in_folder(folder, paths):
        return [str(folder / Path(p).parent.name / Path(p).name) for p in paths]

    films = Path(table.path[0]).parents[1]
    copy = shutil.copytree(films, tmp_path / 'films')
    t = table.assign(path=in_folder(copy, table.path))
    run = train(recipe, split_table(t), out=tmp_path / 'runs', progress=False, device='cpu')
    want = run.predictions.filter(like='p_').to_numpy()
    shutil.rmtree(copy)
    originals = in_folder(films, run.predictions.path)
    assert np.allclose(by_fastai(Run(run.folder).learner, originals), want, atol=2e-3)


@pytest.mark.usefixtures('no_plots')
def test_neighbours_do_not_learn(recipe, table, tmp_path):
    learn = train(
        recipe, split_table(table), out=tmp_path, progress=False, device='cpu', head='knn'
    ).learner
    learn.unfreeze()
    with pytest.raises(ModelError, match='head="mlp"'), learn.no_bar(), learn.no_logging():
        learn.fit(1)


@pytest.mark.usefixtures('no_plots')
def test_same_seed_same_figures_cached_or_not(recipe, table, tmp_path, monkeypatch):
    t = split_table(table)
    runs = []
    for cache in ('a', 'a', 'b', 'off'):
        monkeypatch.setenv('LEUKOCLS_CACHE', cache if cache == 'off' else str(tmp_path / cache))
        runs.append(train(recipe, t, out=tmp_path / 'runs', progress=False, device='cpu'))
    first, again, elsewhere, without = (r.predictions.filter(like='p_').to_numpy() for r in runs)
    assert np.array_equal(first, again)
    assert np.allclose(first, elsewhere, atol=1e-5)
    assert np.allclose(first, without, atol=1e-5)


def test_features_belong_to_content_weights_and_size(local_weights, table, tmp_path, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'cache'))
    arch = f'local-dir:{local_weights}'
    a = FrozenBody(arch, size=48)
    a(table.path[:8])
    copy = shutil.copy(table.path[2], tmp_path / 'renamed.png')
    b = FrozenBody(arch, size=48)
    assert np.array_equal(b([copy])[0, 0], a(table.path[:3])[0, 2]) and 'built' not in vars(b)
    moved = shutil.copytree(local_weights, tmp_path / 'moved')
    assert FrozenBody(f'local-dir:{moved}', size=48).key == a.key != FrozenBody(arch, size=64).key
    cfg = json.loads((moved / 'config.json').read_text())
    (moved / 'config.json').write_text(json.dumps({**cfg, 'x': 1}))
    assert FrozenBody(f'local-dir:{moved}', size=48).key != a.key


def shifted_normals(rng, classes):
    "Features (30 * classes, 12) whose means rise from class to class, and labels."
    y = np.repeat([f'c{i}' for i in range(classes)], 30)
    X = rng.normal(size=(len(y), 12)) + np.repeat(np.arange(classes), 30)[:, None] * 0.5
    return X.astype('float32'), y


@pytest.mark.parametrize('kind', list(GRIDS))
@pytest.mark.parametrize('classes', [2, 5])
def test_heads_become_networks(kind, classes):
    rng = np.random.default_rng(0)
    X, y = shifted_normals(rng, classes)
    # one feature that never varies
    X[:, 3] = 7
    head = Head(kind, GRIDS[kind][1]).fit(X, y)
    values, shape = head.arrays()
    network = probe_head(kind, shape).eval()
    network.load_state_dict({name: torch.tensor(v) for name, v in values.items()})
    new = rng.normal(size=(20, 12)).astype('float32') * 2
    p = head.probabilities(new)
    assert np.allclose(p.sum(1), 1, atol=1e-5)
    assert np.isfinite(p).all()
    assert np.allclose(softmax(network(torch.tensor(new)).detach().numpy()), p, atol=2e-4)


def test_linear_head_is_scikit_learns():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 6)).astype('float32')
    y = np.array(['a', 'b', 'c'])[
        (X[:, 0] + 0.3 * rng.normal(size=200) > 0).astype(int) + (X[:, 1] > 0.5)
    ]
    want = (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
        .fit(X, y)
        .predict_proba(X)
    )
    assert np.allclose(Head('linear', 0.1).fit(X, y, 1e-6).probabilities(X), want, atol=2e-3)


def test_a_balanced_head_is_scikit_learns_balanced_one():
    rng = np.random.default_rng(0)
    y = np.array(['common'] * 90 + ['rare'] * 10)
    X = (rng.normal(0, 1, (100, 6)) + 0.8 * (y == 'rare')[:, None]).astype('float32')
    plain, _ = fit_head(X[None], y, np.arange(100))
    balanced, tried = fit_head(X[None], y, np.arange(100), balance=True)
    mean, spread = X.mean(0), X.std(0)
    oracle = LogisticRegression(
        C=balanced.strength, class_weight='balanced', max_iter=500, tol=1e-3
    ).fit((X - mean) / spread, y)
    p = balanced.probabilities(X)
    assert np.allclose(p, oracle.predict_proba((X - mean) / spread), atol=1e-3)
    # the rare class is called more often than without
    assert p[:, 1].mean() > plain.probabilities(X)[:, 1].mean() + 0.1
    assert tried.log_loss.notna().all()
    with pytest.raises(RunError, match='cannot weight its classes'):
        fit_head(X[None], y, np.arange(100), 'mlp', balance=True)


def test_balance_reaches_the_run_and_unused_fields_are_named(recipe, table, tmp_path, no_plots):
    few = split_table(table)
    rare = few[(few.label != 'Pro') | (few.index % 4 == 0) | (few.split != 'train')]
    how = dict(out=tmp_path, progress=False)
    plain = train(recipe, rare, **how)
    balanced = train(recipe, rare, balance=True, loss='focal', **how)
    of_pro = [run.predictions.p_Pro.mean() for run in (plain, balanced)]
    assert of_pro[1] > of_pro[0]
    assert not any('does not use' in note for note in plain.info['notes'])
    said = [note for note in balanced.info['notes'] if 'does not use' in note]
    assert len(said) == 1 and said[0].startswith('loss was changed')


def test_strength_is_chosen_inside_the_training_images():
    "Noise that only says which group a row is of must not look like a good feature."
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    y = np.where(groups % 2, 'a', 'b')
    marks = rng.normal(size=(40, 30))[groups] + 0.01 * rng.normal(size=(400, 30))
    _, honest = fit_head(marks[None].astype('float32'), y, groups)
    _, naive = fit_head(marks[None].astype('float32'), y, np.arange(400))
    assert naive.log_loss.min() < 0.2 < 0.6 < honest.log_loss.min()


def test_few_groups_still_give_a_head():
    X = np.random.default_rng(0).normal(size=(1, 8, 4)).astype('float32')
    y = ['a'] * 4 + ['b'] * 4
    head, tried = fit_head(X, y, [0] * 4 + [1] * 4)
    assert head.classes == ['a', 'b']
    assert tried.log_loss.isna().all()


def test_too_few_images_for_neighbours():
    X = np.random.default_rng(0).normal(size=(1, 4, 4)).astype('float32')
    with pytest.raises(RunError, match='needs more than 4 training images'):
        fit_head(X, ['a', 'a', 'b', 'b'], range(4), 'knn')


def test_views_are_learned_from(recipe, table, tmp_path):
    run = train(
        recipe, split_table(table), out=tmp_path, progress=False, device='cpu', views=4, head='mlp'
    )
    assert run.info['model']['head']['kind'] == 'mlp'
    p = by_fastai(run.learner, list(run.predictions.path[:4]))
    assert np.allclose(p, run.predictions.filter(like='p_').to_numpy()[:4], atol=2e-3)


def test_out_of_fold_predictions_never_saw_the_patient(recipe, table):
    p = probe_folds(table, recipe, folds=3)
    assert sorted(p.path) == sorted(table.path)
    assert p.path.is_unique
    assert p.groupby('patient').fold.nunique().max() == 1
    assert score(p, resamples=50)['n'] == len(table)


def test_probe_and_network_in_one_table(films, local_weights, quick, tmp_path):
    runs = train_all(
        films,
        [get_recipe('probe', arch=f'local-dir:{local_weights}', size=48), quick],
        out=tmp_path,
        progress=False,
        device='cpu',
    )
    board = runs.leaderboard
    assert set(board.recipe) == {'probe', 'small-cnn'} and board.accuracy.str.contains('%').all()
    assert runs[0].table.split.tolist() == runs[1].table.split.tolist()


def test_a_full_disk_leaves_no_half_run(recipe, table, tmp_path, monkeypatch):
    write_whole = probe_module.write_whole

    def full(path, data):
        if path.name == 'model.safetensors':
            raise RunError('No space left')
        return write_whole(path, data)

    monkeypatch.setattr(probe_module, 'write_whole', full)
    with pytest.raises(RunError, match='No space left'):
        train(recipe, split_table(table), out=tmp_path, progress=False, device='cpu')
    assert not any(tmp_path.iterdir())


def test_random_weights_are_refused(table, tmp_path):
    with pytest.raises(RunError, match='needs pretrained weights'):
        train('probe', split_table(table), out=tmp_path, progress=False, weights='none')
    assert not any(tmp_path.iterdir())


def test_known_features_need_neither_torch_nor_fastai(recipe, table, tmp_path):
    "The second look at a folder waits for nothing heavy until the report stands."
    code = """
        import sys
        import pandas as pd
        import leukocls.train.probe
        from leukocls.train.recipes import get_recipe
        from leukocls.runs.experiment import train

        def print_what_is_loaded(*args):
            heavy = {'torch', 'fastai', 'timm'} & set(sys.modules)
            print('heavy' if heavy else 'light')

        leukocls.train.probe.write_probe_learner = print_what_is_loaded
        arch, table, out = sys.argv[1:]
        table = pd.read_csv(table, dtype=str)
        train(get_recipe('probe', arch=arch, size=48), table, out=out, progress=False)
    """
    csv = tmp_path / 't.csv'
    split_table(table).to_csv(csv, index=False)
    for _ in range(2):
        last = python(code, recipe.arch, csv, tmp_path / 'runs').split()[-1]
    assert last == 'light'


def python(code, *args, **env):
    "What a program prints in a process of its own."
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code), *map(str, args)],
        capture_output=True,
        text=True,
        env=os.environ | env,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def twice(recipe, table, tmp_path, monkeypatch, no_plots):
    "The same run again and again, with a cache folder of its own."
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'cache'))
    t = split_table(table)
    return lambda seed=42, **kw: train(
        recipe, t, out=tmp_path / 'runs', seed=seed, progress=False, device='cpu', **kw
    )


def test_a_repeated_run_copies_a_proven_learner(twice, tmp_path, monkeypatch):
    first = twice()
    built = []
    rebuild = learners.rebuild

    def rebuild_and_note(*args):
        built.append(args)
        return rebuild(*args)

    monkeypatch.setattr(learners, 'rebuild', rebuild_and_note)
    again = twice()
    assert not built
    for name in ('learner.pkl', 'model.safetensors'):
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes()
    assert {p.name for p in first.folder.iterdir()} == {p.name for p in again.folder.iterdir()}
    learn = again.learner
    assert built
    assert learn is again.learner
    assert len(learn.dls.train_ds) == (again.table.split == 'train').sum()
    p = by_fastai(learn, list(again.predictions.path[:4]))
    assert np.allclose(p, again.predictions.filter(like='p_').to_numpy()[:4], atol=2e-3)
    other = twice(seed=3, head='knn')
    assert len(built) == 2
    assert other._learner is not None
    assert len(list((tmp_path / 'cache' / 'learners').iterdir())) == 2


@pytest.mark.parametrize(
    'spoil',
    [
        lambda p: p.write_bytes(b'half'),
        lambda p: p.write_bytes(p.read_bytes()[:-300]),
        lambda p: p.write_bytes(p.read_bytes().replace(b'fastai', b'fastbi', 1)),
        lambda p: p.chmod(0o666),
        lambda p: p.parent.chmod(0o777),
        lambda p: p.unlink(),
    ],
)
def test_a_kept_learner_that_is_damaged_or_not_only_ours_is_made_again(twice, tmp_path, spoil):
    twice()
    (kept,) = (tmp_path / 'cache' / 'learners').iterdir()
    spoil(kept)
    again = twice()
    assert again._learner is not None
    third = twice()
    assert third._learner is None
    for name in ('learner.pkl', 'model.safetensors'):
        assert (third.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_without_a_cache_the_learner_is_made_each_time(twice, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', 'off')
    assert twice()._learner is not None
    assert twice()._learner is not None


def test_a_network_that_disagrees_is_never_kept(twice, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, 'by_fastai', lambda *args: 1 - by_fastai(*args))
    with pytest.raises(RunError, match='gives other probabilities than the probe'):
        twice()
    assert not list((tmp_path / 'cache' / 'learners').iterdir())


@pytest.mark.data
@pytest.mark.once
def test_real_cells(shared, tmp_path):
    "Eight kinds of real cells, 800 images: far above chance and above the last map alone (87.7 %)."
    p = probe_folds(
        read_table(shared / 'data/pbc8_sample'),
        'probe',
        weights=str(shared / 'weights/mobilenetv2_100_imagenet'),
    )
    assert (p.label == p.pred).mean() > 0.89


@pytest.mark.parametrize('network,pays', [(0.999, True), (0.99, False), (0.90, False)])
def test_advice_goes_by_the_probes_interval(network, pays):
    def fake(kind, value):
        return SimpleNamespace(
            folder=Path('no-such-run'),
            info={'recipe': {'kind': kind}, 'status': 'finished'},
            recipe=SimpleNamespace(name=kind),
            metrics={'accuracy': dict(value=value, low=value - 0.01, high=min(1, value + 0.005))},
            predictions=pd.DataFrame(dict(split=['test'], label=['a'], pred=['a'])),
        )

    advice = Runs([fake('probe', 0.99), fake('network', network)]).advice
    assert ('fine-tuning pays here' in advice) == pays
    assert '99.0 %' in advice
    assert Runs([fake('probe', 0.99)]).advice == ''


@pytest.mark.parametrize('classes', [2, 3, 5])
def test_a_kept_linear_head_is_the_fitted_one(classes, tmp_path, monkeypatch):
    """Same probabilities, same weights, same choice, without scikit-learn; other features, labels,
    groups or seed are another head; a damaged file is made again.
    """
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    rng = np.random.default_rng(0)
    X, y = shifted_normals(rng, classes)
    X = X[None]
    groups = np.arange(len(y)) // 2
    fitted, tried = fit_head(X, y, groups)
    new = rng.normal(size=(50, 12)).astype('float32') * 2
    # the first one is fitted and written, the second one is read
    for _ in range(2):
        known, tried_then = known_head(X, y, groups)
        pd.testing.assert_frame_equal(tried, tried_then)
        assert (known.classes, known.strength, known.kind) == (
            fitted.classes,
            fitted.strength,
            fitted.kind,
        )
        np.testing.assert_allclose(known.probabilities(new), fitted.probabilities(new), atol=1e-6)
        (layers, shape), (fitted_layers, fitted_shape) = known.arrays(), fitted.arrays()
        assert shape == fitted_shape
        assert layers.keys() == fitted_layers.keys()
        assert all(np.array_equal(layers[name], fitted_layers[name]) for name in layers)

    calls = []

    def fit_and_note(*args, **kwargs):
        calls.append(args)
        return fit_head(*args, **kwargs)

    monkeypatch.setattr(probe_module, 'fit_head', fit_and_note)
    known_head(X, y, groups + 7)
    assert not calls
    known_head(X + 1, y, groups)
    known_head(X, y[::-1], groups)
    known_head(X, y, groups // 2)
    known_head(X, y, groups, seed=3)
    assert len(calls) == 4
    # only linear heads are kept
    known_head(X, y, groups, 'knn')
    known_head(X, y, groups, 'knn')
    assert len(calls) == 6
    for file in (tmp_path / 'heads').iterdir():
        file.write_bytes(b'half')
    known_head(X, y, groups)
    assert len(calls) == 7


@pytest.mark.slow
def test_a_repeated_run_needs_no_scikit_learn(recipe, table, tmp_path):
    code = """
        import sys
        import pandas as pd
        from leukocls.train.recipes import get_recipe
        from leukocls.runs.experiment import train

        arch, table, out = sys.argv[1:]
        table = pd.read_csv(table, dtype=str)
        train(get_recipe('probe', arch=arch, size=48), table, out=out, progress=False)
        heavy = 'sklearn torch fastai timm openvino scipy.stats scipy.optimize'.split()
        print(*sorted(set(heavy) & set(sys.modules)))
    """
    csv = tmp_path / 't.csv'
    split_table(table).to_csv(csv, index=False)
    cache = str(tmp_path / 'cache')
    first, again = (
        python(code, recipe.arch, csv, tmp_path / 'runs', LEUKOCLS_CACHE=cache).split()
        for _ in range(2)
    )
    assert 'torch' in first
    assert again == []
    a, b = sorted((tmp_path / 'runs').glob('probe-with-tiny-seed42*'), key=lambda p: len(p.name))
    for name in (
        'predictions.csv',
        'metrics.json',
        'calibration.json',
        'shortcuts.json',
        'gate.json',
        'model.safetensors',
        'learner.pkl',
        'table.csv',
        'history.csv',
    ):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    assert {p.name for p in (a / 'plots').iterdir()} == {p.name for p in (b / 'plots').iterdir()}


@pytest.mark.once
def test_an_engine_is_chosen_aside(table, tmp_path):
    """PyTorch stays out of the process that asks, on the first folder and on the next; a process
    that was killed changes nothing, and none is left behind.
    """
    code = """
        import json
        import os
        import sys
        import numpy as np
        from leukocls.models.frozen import FrozenBody, end_all

        weights, cache, files, other = sys.argv[1:]
        files, other = json.loads(files), json.loads(other)
        seen = {}

        def new_body(name):
            os.environ['LEUKOCLS_CACHE'] = f'{cache}/{name}'
            return FrozenBody('mobilenetv2_035', weights, 48)

        body = new_body('a')
        seen['began'] = body.begin(files, 'cpu', 1)
        seen['began twice'] = body.begin(files, 'cpu', 1)
        X = body(files, device='cpu')
        seen['torch'] = 'torch' in sys.modules
        seen['engine'] = body.engine.name
        seen['left'] = len(body.ahead.choosing)

        body = new_body('a')
        seen['began again'] = body.begin(other, 'cpu', 1)
        body(other, device='cpu')
        seen['torch again'] = 'torch' in sys.modules
        end_all(body.ahead)

        body = new_body('b')
        body.begin(files, 'cpu', 1)
        started = list(body.ahead.choosing.values())
        end_all(body.ahead)
        seen['started'] = len(started)
        seen['left after end_all'] = len(body.ahead.choosing)
        seen['all ended'] = all(process.poll() is not None for process in started)

        if body.begin(files, 'cpu', 1):
            body.ahead.choosing[body.key].kill()
        seen['difference after a kill'] = float(np.abs(body(files, device='cpu') - X).max())

        sys.executable = '/nowhere/python'
        body = new_body('c')
        sys.modules.pop('torch', None)
        seen['began without python'] = body.begin(files, 'cpu', 1)
        print(json.dumps(seen))
    """
    # a network that OpenVINO runs faster than PyTorch does, so that it is chosen
    weights = random_weights('mobilenetv2_035', tmp_path / 'weights')
    files, other = json.dumps(list(table.path[:80])), json.dumps(list(table.path[80:84]))
    seen = json.loads(python(code, weights, tmp_path, files, other).splitlines()[-1])
    has_openvino = bool(versions_of('openvino'))
    needs_torch = not has_openvino or seen['engine'] != 'openvino'
    assert seen['began'] is has_openvino, seen
    assert seen['began twice'] is False, seen
    assert seen['left'] == 0, seen
    assert seen['started'] == int(has_openvino), seen
    assert seen['left after end_all'] == 0, seen
    assert seen['all ended'] is True, seen
    assert seen['began without python'] is False, seen
    assert seen['difference after a kill'] < 1e-3, seen
    assert seen['began again'] is (needs_torch and has_openvino), seen
    assert seen['torch'] is needs_torch, seen
    assert seen['torch again'] is needs_torch, seen


def test_features_of_an_interrupted_run_are_kept(table, local_weights, tmp_path, monkeypatch):
    "Ctrl-C, or a broken file, in the middle: what was computed is there next time."
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    files = list(table.path)

    def new():
        return FrozenBody('test_efficientnet', local_weights, 48)

    stream = features.stream
    computed = []

    def stops(engine, blocks):
        for n, (images_in_block, output) in enumerate(stream(engine, blocks)):
            if n == 2:
                raise KeyboardInterrupt
            yield images_in_block, output

    def counts(engine, blocks):
        for images_in_block, output in stream(engine, blocks):
            computed.append(images_in_block)
            yield images_in_block, output

    monkeypatch.setattr(features, 'stream', stops)
    with pytest.raises(KeyboardInterrupt):
        new()(files, 'torch')
    monkeypatch.setattr(features, 'stream', counts)
    one = new()(files, 'torch')
    assert 0 < sum(computed) < len(files), computed
    computed.clear()
    X = new()(files, 'torch', views=2)
    first = sum(computed)
    assert np.allclose(X[0], one[0], atol=1e-5)
    monkeypatch.setattr(features, 'KEEP_EVERY', 5)
    computed.clear()
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'other'))
    Y = new()(files, 'torch', views=2)
    assert first == sum(computed) == len(files)
    assert np.allclose(X, Y, atol=1e-5)
    assert np.array_equal(new()(files, views=2), Y)
    assert sum(computed) == len(files)


def test_an_engine_for_few_is_not_kept_for_many(table, local_weights, tmp_path, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    asked = []
    choose = FrozenBody._choose

    def choose_and_note(self, paths, n, device, engine):
        asked.append((n, engine))
        return choose(self, paths, n, device, engine)

    monkeypatch.setattr(FrozenBody, '_choose', choose_and_note)
    body = FrozenBody('test_efficientnet', local_weights, 48)
    few, many, rest = list(table.path[:3]), list(table.path[3:80]), list(table.path[80:82])
    body(few, device='cpu')
    body(many, device='cpu')
    body(rest, device='cpu')
    body(list(table.path[82:84]), 'torch', 'cpu')
    assert asked == [(3, 'auto'), (77, 'auto'), (2, 'torch')]
    assert body.engine.name == 'torch'
    # a probe has no such engine
    monkeypatch.setenv('LEUKOCLS_ENGINE', 'torch-bf16')
    assert FrozenBody('test_efficientnet', local_weights, 64)(few, device='cpu').shape[1] == 3


def test_what_a_look_decoded_is_not_opened_again(table, local_weights, tmp_path, monkeypatch):
    """The same features, whether the network opens the files or finds them prepared; few are opened
    again, to tell the rate from file to answer.
    """
    paths = list(table.path)
    # 16 more than the 32 of the rate: the engine was chosen with them
    few = 32 + 16
    assert len(paths) > few
    opened = []
    open_cell = images.open_cell

    def open_and_note(path, *args, **bits):
        opened.append(str(path))
        return open_cell(path, *args, **bits)

    def new_body(ahead=None):
        return FrozenBody('test_efficientnet', local_weights, 48, ahead)

    monkeypatch.setattr(images, 'open_cell', open_and_note)
    monkeypatch.setenv('LEUKOCLS_CACHE', 'off')
    plain = new_body()(paths, 'torch')
    assert len(opened) >= len(paths)
    recipe = get_recipe('probe', arch='test_efficientnet', weights=str(local_weights), size=48)
    ahead = features.begin_all([recipe], paths)
    (ready,) = ahead.images.values()
    survey_images(table, [ready])
    assert len(ready) == len(paths)
    opened.clear()
    body = new_body(ahead)
    prepared = body(paths, 'torch')
    assert 32 <= len(opened) <= few
    assert np.array_equal(prepared, plain)
    assert body.remembered > 0
    # each prepared image is handed out once
    assert len(ready) == 0
    opened.clear()
    assert np.array_equal(new_body(ahead)(paths, 'torch'), plain)
    assert len(opened) >= len(paths)
    features.end_all(ahead)
    assert ahead.images == {}


def test_nothing_is_left_in_memory_after_a_comparison(recipe, table, tmp_path, monkeypatch):
    "Pictures that were got ready go when a comparison ends, or fails."
    kept = []
    begin_all = experiment.begin_all

    def begin_and_note(*args):
        kept.append(begin_all(*args))
        assert kept[-1].images
        return kept[-1]

    monkeypatch.setattr(experiment, 'begin_all', begin_and_note)
    train_all(table, [recipe, 'p3-knn'], out=tmp_path, split='group', progress=False)
    with pytest.raises(DataError):
        train_all(table.assign(path='nowhere.png'), recipe, out=tmp_path, progress=False)
    assert [ahead.images for ahead in kept] == [{}] * len(kept)


def test_images_are_decoded_once_for_the_survey_and_the_network(
    recipe, films, tmp_path, without_plots, monkeypatch
):
    """Without a cache, each file is decoded once, for the survey: the check of the images, the
    network, the shortcuts and the gate take it from there. What is decoded again is a sample: at
    most 100 images at twice the size, from which the search for copies learns; 16 that choose the
    engine; 32 that tell the rate from file to answer; those few that the report shows, 16 of each
    of two sections; those that the gate changes, to learn what a change does; and a few that prove
    the learner.
    """
    decoded = Counter()
    open_regular, look_at = images.open_regular, survey.look_at

    def open_and_count(path, *args, **kwargs):
        decoded[str(path)] += 1
        return open_regular(path, *args, **kwargs)

    looked_at = Counter()

    def look_and_count(path, *args):
        looked_at[str(path)] += 1
        return look_at(path, *args)

    monkeypatch.setenv('LEUKOCLS_CACHE', 'off')
    monkeypatch.setattr(images, 'open_regular', open_and_count)
    monkeypatch.setattr(survey, 'look_at', look_and_count)
    # what reads the beginning of a file decodes nothing
    monkeypatch.setattr(images, '_kind_of_picture', lambda path: (1, False))
    with without_plots():
        train_all(films, recipe, out=tmp_path, progress=False, device='cpu')
    files = sorted(map(str, films.glob('*/*')))
    assert looked_at == Counter(files)
    samples = 100 + 16 + 32 + 2 * 16 + CHANGED + 8
    assert len(files) <= sum(decoded.values()) <= len(files) + samples
