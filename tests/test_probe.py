import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from leukocls.core import DataError, RunError
from leukocls.predict import by_fastai
from leukocls.probe import GRIDS, FrozenBody, Head, fit_head, probe_folds
from leukocls.recipes import get_recipe
from leukocls.runs import Run
from leukocls.splits import split_table
from leukocls.train import train, train_all


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


def test_a_probe_is_a_run_like_any_other(probe):
    have = {p.name for p in probe.folder.iterdir()}
    assert {
        'recipe.json',
        'table.csv',
        'history.csv',
        'predictions.csv',
        'metrics.json',
        'report.html',
        'plots',
        'learner.pkl',
        'model.safetensors',
    } <= have
    assert (
        probe.metrics['split'] == 'test'
        and probe.info['status'] == 'finished'
        and probe.info['model']['frozen'] > probe.info['model']['trainable'] > 0
    )
    page = (probe.folder / 'report.html').read_text()
    assert 'log loss in cross-validation' in page and '<h2>Training</h2>' not in page


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
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    learn.unfreeze()
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, 1e-4)
    assert any(
        (before[k] != v).any() for k, v in learn.model.state_dict().items() if k.startswith('0.')
    ) and all(torch.isfinite(p).all() for p in learn.model.parameters())


def test_a_run_that_is_opened_again_can_be_trained_on(probe):
    learn = Run(probe.folder).learner
    assert len(learn.dls.train_ds) == (probe.table.split == 'train').sum()
    with learn.no_bar(), learn.no_logging():
        learn.fine_tune(1, 1e-4)
    assert len(learn.recorder.values) == 1 and all(
        torch.isfinite(p).all() for p in learn.model.parameters()
    )


@pytest.mark.usefixtures('no_plots')
def test_a_run_whose_images_are_gone_still_predicts(recipe, table, tmp_path):
    import shutil

    own = shutil.copytree(Path(table.path[0]).parents[1], tmp_path / 'films')
    t = table.assign(path=[str(own / Path(p).parent.name / Path(p).name) for p in table.path])
    run = train(recipe, split_table(t), out=tmp_path / 'runs', progress=False, device='cpu')
    want = run.predictions.filter(like='p_').to_numpy()
    shutil.rmtree(own)
    there = [
        str(Path(table.path[0]).parents[1] / Path(p).parent.name / Path(p).name)
        for p in run.predictions.path
    ]
    assert np.allclose(by_fastai(Run(run.folder).learner, there), want, atol=2e-3)


@pytest.mark.usefixtures('no_plots')
def test_neighbours_do_not_learn(recipe, table, tmp_path):
    from leukocls.core import ModelError

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
    p = [r.predictions.filter(like='p_').to_numpy() for r in runs]
    assert (
        np.array_equal(p[0], p[1])
        and np.allclose(p[0], p[2], atol=1e-5)
        and np.allclose(p[0], p[3], atol=1e-5)
    )


def test_features_belong_to_content_weights_and_size(local_weights, table, tmp_path, monkeypatch):
    import shutil

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


@pytest.mark.parametrize('kind', list(GRIDS))
@pytest.mark.parametrize('classes', [2, 5])
def test_heads_become_networks(kind, classes):
    from leukocls.engines import softmax
    from leukocls.networks import probe_head

    rng = np.random.default_rng(0)
    y = np.repeat([f'c{i}' for i in range(classes)], 30)
    X = (rng.normal(size=(len(y), 12)) + np.repeat(np.arange(classes), 30)[:, None] * 0.5).astype(
        'float32'
    )
    X[:, 3] = 7  # never varies
    h = Head(kind, GRIDS[kind][1]).fit(X, y)
    values, shape = h.arrays()
    net = probe_head(kind, shape).eval()
    net.load_state_dict({k: torch.tensor(v) for k, v in values.items()})
    new = rng.normal(size=(20, 12)).astype('float32') * 2
    p = h.probabilities(new)
    assert np.allclose(p.sum(1), 1, atol=1e-5) and np.isfinite(p).all()
    assert np.allclose(softmax(net(torch.tensor(new)).detach().numpy()), p, atol=2e-4)


def test_linear_head_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

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
    assert head.classes == ['a', 'b'] and tried.log_loss.isna().all()


def test_views_are_learned_from(recipe, table, tmp_path):
    run = train(
        recipe, split_table(table), out=tmp_path, progress=False, device='cpu', views=4, head='mlp'
    )
    assert run.info['model']['head']['kind'] == 'mlp' and np.allclose(
        by_fastai(run.learner, list(run.predictions.path[:4])),
        run.predictions.filter(like='p_').to_numpy()[:4],
        atol=2e-3,
    )


def test_out_of_fold_predictions_never_saw_the_patient(recipe, table):
    p = probe_folds(table, recipe, folds=3)
    assert (
        sorted(p.path) == sorted(table.path)
        and p.groupby('patient').fold.nunique().max() == 1
        and p.path.is_unique
    )
    from leukocls.metrics import score

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
    import leukocls.probe as probe

    def full(path, data):
        if path.name == 'model.safetensors':
            raise RunError('No space left')
        return write(path, data)

    write = probe.write_whole
    monkeypatch.setattr(probe, 'write_whole', full)
    with pytest.raises(RunError, match='No space left'):
        train(recipe, split_table(table), out=tmp_path, progress=False, device='cpu')
    assert not any(tmp_path.iterdir())


def test_random_weights_are_refused(table, tmp_path):
    with pytest.raises(RunError, match='needs pretrained weights'):
        train('probe', split_table(table), out=tmp_path, progress=False, weights='none')
    assert not any(tmp_path.iterdir())


def test_known_features_need_neither_torch_nor_fastai(recipe, table, tmp_path):
    "The second look at a folder waits for nothing heavy until the report stands."
    csv = tmp_path / 't.csv'
    split_table(table).to_csv(csv, index=False)
    code = (
        "import sys, pandas as pd, leukocls.probe as p, leukocls.runs as r; from leukocls.train"
        " import train; from leukocls.recipes import get_recipe\np._learner = lambda *a:"
        " print('light' if not {'torch', 'fastai', 'timm'} & set(sys.modules) else"
        f" 'heavy')\ntrain(get_recipe('probe', arch={recipe.arch!r}, size=48),"
        f" pd.read_csv({str(csv)!r}, dtype=str), out={str(tmp_path / 'runs')!r}, progress=False)"
    )
    say = [
        subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        for _ in range(2)
    ]
    assert say[1] == 'light'


@pytest.fixture
def twice(recipe, table, tmp_path, monkeypatch, no_plots):
    "The same run again and again, with a cache folder of its own."
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'cache'))
    t = split_table(table)
    return lambda seed=42, **kw: train(
        recipe, t, out=tmp_path / 'runs', seed=seed, progress=False, device='cpu', **kw
    )


def test_a_repeated_run_copies_a_proven_learner(twice, tmp_path, monkeypatch):
    import leukocls.fit as fit

    first = twice()
    built = []
    old = fit.rebuild
    monkeypatch.setattr(fit, 'rebuild', lambda *a: (built.append(1), old(*a))[1])
    again = twice()
    assert (
        not built
        and (again.folder / 'learner.pkl').read_bytes()
        == (first.folder / 'learner.pkl').read_bytes()
    )
    assert {p.name for p in first.folder.iterdir()} == {p.name for p in again.folder.iterdir()}
    learn = again.learner
    assert (
        built
        and learn is again.learner
        and len(learn.dls.train_ds) == (again.table.split == 'train').sum()
    )
    few = list(again.predictions.path[:4])
    assert np.allclose(
        by_fastai(learn, few), again.predictions.filter(like='p_').to_numpy()[:4], atol=2e-3
    )
    other = twice(seed=3, head='knn')
    assert (
        len(built) == 2
        and other._learner is not None
        and len(list((tmp_path / 'cache' / 'learners').iterdir())) == 2
    )


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
    first = twice()
    (old,) = (tmp_path / 'cache' / 'learners').iterdir()
    spoil(old)
    again = twice()
    assert again._learner is not None
    third = twice()
    assert (
        third._learner is None
        and (third.folder / 'learner.pkl').read_bytes()
        == (again.folder / 'learner.pkl').read_bytes()
    )


def test_without_a_cache_the_learner_is_made_each_time(twice, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', 'off')
    assert twice()._learner is not None and twice()._learner is not None


def test_a_network_that_disagrees_is_never_kept(twice, tmp_path, monkeypatch):
    import leukocls.predict as predict

    old = predict.by_fastai
    monkeypatch.setattr(predict, 'by_fastai', lambda *a: 1 - old(*a))
    with pytest.raises(RunError, match='gives other probabilities than the probe'):
        twice()
    assert not list((tmp_path / 'cache' / 'learners').iterdir())


@pytest.mark.data
@pytest.mark.once
def test_real_cells(shared, tmp_path):
    "Eight kinds of real cells, 800 images: far above chance and above the last map alone (87.7 %)."
    from leukocls.data import read_table

    p = probe_folds(
        read_table(shared / 'data/pbc8_sample'),
        'probe',
        weights=str(shared / 'weights/mobilenetv2_100_imagenet'),
    )
    assert (p.label == p.pred).mean() > 0.89


@pytest.mark.parametrize('network,pays', [(0.999, True), (0.99, False), (0.90, False)])
def test_advice_goes_by_the_probes_interval(network, pays):
    from types import SimpleNamespace

    from leukocls.runs import Runs

    def fake(kind, value):
        return SimpleNamespace(
            info={'recipe': {'kind': kind}, 'status': 'finished'},
            recipe=SimpleNamespace(name=kind),
            metrics={'accuracy': dict(value=value, low=value - 0.01, high=min(1, value + 0.005))},
            predictions=pd.DataFrame(dict(split=['test'], label=['a'], pred=['a'])),
        )

    said = Runs([fake('probe', 0.99), fake('network', network)]).advice
    assert ('fine-tuning pays here' in said) == pays and '99.0 %' in said
    assert Runs([fake('probe', 0.99)]).advice == ''


@pytest.mark.parametrize('classes', [2, 3, 5])
def test_a_kept_linear_head_is_the_fitted_one(classes, tmp_path, monkeypatch):
    """Same probabilities, same weights, same choice, without scikit-learn; other features, labels,
    groups or seed are another head; a damaged file is made again.
    """
    from leukocls.probe import known_head

    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    rng = np.random.default_rng(0)
    y = np.repeat([f'c{i}' for i in range(classes)], 30)
    X = (
        rng.normal(size=(1, len(y), 12)) + np.repeat(np.arange(classes), 30)[:, None] * 0.5
    ).astype('float32')
    groups = np.arange(len(y)) // 2
    (a, tried), (b, again) = fit_head(X, y, groups), known_head(X, y, groups)
    new = rng.normal(size=(50, 12)).astype('float32') * 2
    pd.testing.assert_frame_equal(tried, again)
    assert (b.classes, b.strength, b.kind) == (a.classes, a.strength, a.kind)
    for h in (b, known_head(X, y, groups)[0]):
        np.testing.assert_allclose(h.probabilities(new), a.probabilities(new), atol=1e-6)
        assert (
            all(
                np.array_equal(u, v) for u, v in zip(h.arrays()[0].values(), a.arrays()[0].values())
            )
            and h.arrays()[1] == a.arrays()[1]
        )
    import leukocls.probe as probe

    fitted = []
    old = probe.fit_head
    monkeypatch.setattr(probe, 'fit_head', lambda *a, **k: (fitted.append(1), old(*a, **k))[1])
    known_head(X, y, groups + 7)
    assert not fitted
    for other in ((X + 1, y, groups), (X, y[::-1], groups), (X, y, groups // 2)):
        known_head(*other)
    known_head(X, y, groups, seed=3)
    assert len(fitted) == 4
    known_head(X, y, groups, 'knn')
    known_head(X, y, groups, 'knn')
    assert len(fitted) == 6
    for p in (tmp_path / 'heads').iterdir():
        p.write_bytes(b'half')
    known_head(X, y, groups)
    assert len(fitted) == 7


@pytest.mark.slow
def test_a_repeated_run_needs_no_scikit_learn(recipe, table, tmp_path):
    csv = tmp_path / 't.csv'
    split_table(table).to_csv(csv, index=False)
    code = (
        "import sys, pandas as pd; from leukocls.train import train; from leukocls.recipes import"
        f" get_recipe\ntrain(get_recipe('probe', arch={recipe.arch!r}, size=48),"
        f" pd.read_csv({str(csv)!r}, dtype=str), out={str(tmp_path / 'runs')!r}, progress=False);"
        " print(*sorted({'sklearn', 'torch', 'fastai', 'timm', 'openvino', 'scipy.stats',"
        " 'scipy.optimize'} & set(sys.modules)))"
    )
    say = [
        subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {'LEUKOCLS_CACHE': str(tmp_path / 'cache')},
        ).stdout.split()
        for _ in range(2)
    ]
    assert 'torch' in say[0] and say[1] == []
    a, b = (tmp_path / 'runs' / n for n in ('probe-seed42', 'probe-seed42-2'))
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
def test_an_engine_is_chosen_aside(table, local_weights, tmp_path):
    """PyTorch stays out of the process that asks, on the first folder and on the next; a process
    that was killed changes nothing, and none is left behind.
    """
    from leukocls.engines import versions_of

    code = f"""
import os, sys, json; import numpy as np; from leukocls.features import _ASIDE, FrozenBody, end_all
files, other = json.loads(sys.argv[1]); said = {{}}
def new(name): os.environ['LEUKOCLS_CACHE'] = {str(tmp_path)!r} + '/' + name; return FrozenBody('mobilenetv2_035', {str(local_weights)!r}, 48)
f = new('a'); said['began'] = f.begin(files, 'cpu', 1); said['twice'] = f.begin(files, 'cpu', 1); X = f(files, device='cpu'); said['torch'] = 'torch' in sys.modules; said['engine'] = f.engine.name; said['left'] = len(_ASIDE)
g = new('a'); said['again'] = g.begin(other, 'cpu', 1); Y = g(other, device='cpu'); said['torch again'] = 'torch' in sys.modules; end_all()
f = new('b'); f.begin(files, 'cpu', 1); started = list(_ASIDE.values()); end_all(); said['ended'] = len(started), len(_ASIDE), all(p.poll() is not None for p in started)
if f.begin(files, 'cpu', 1): _ASIDE[f.key].kill()
said['killed'] = float(np.abs(f(files, device='cpu') - X).max())
sys.executable = '/nowhere/python'; f = new('c'); sys.modules.pop('torch', None); said['no python'] = f.begin(files, 'cpu', 1)
print(json.dumps(said))"""
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            code,
            json.dumps([list(table.path[:80]), list(table.path[80:84])]),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.strip().splitlines()[-1])
    converted = bool(versions_of('openvino'))
    opened = not converted or said['engine'] != 'openvino'
    assert (
        (said['began'], said['twice'], said['left']) == (converted, False, 0)
        and said['ended'] == [int(converted), 0, True]
        and said['no python'] is False
        and said['killed'] < 1e-3
    ), said
    assert said['again'] is (opened and converted) and (said['torch'], said['torch again']) == (
        opened,
        opened,
    ), said


def test_features_of_an_interrupted_run_are_kept(table, local_weights, tmp_path, monkeypatch):
    "Ctrl-C, or a broken file, in the middle: what was computed is there next time."
    from leukocls import features

    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    files = list(table.path)

    def new():
        return FrozenBody('mobilenetv2_035', local_weights, 48)

    real = features.stream
    seen = []

    def stops(engine, blocks):
        for n, (tag, o) in enumerate(real(engine, blocks)):
            if n == 2:
                raise KeyboardInterrupt
            yield tag, o

    def counts(engine, blocks):
        for tag, o in real(engine, blocks):
            seen.append(tag)
            yield tag, o

    monkeypatch.setattr(features, 'stream', stops)
    with pytest.raises(KeyboardInterrupt):
        new()(files, 'torch')
    monkeypatch.setattr(features, 'stream', counts)
    one = new()(files, 'torch')
    assert 0 < sum(seen) < len(files), seen
    seen.clear()
    X = new()(files, 'torch', views=2)
    first = sum(seen)
    assert np.allclose(X[0], one[0], atol=1e-5)
    monkeypatch.setattr(features, 'KEEP_EVERY', 5)
    seen.clear()
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'other'))
    Y = new()(files, 'torch', views=2)
    assert first == sum(seen) == len(files) and np.allclose(X, Y, atol=1e-5)
    assert np.array_equal(new()(files, views=2), Y) and sum(seen) == len(files)


def test_an_engine_for_few_is_not_kept_for_many(table, local_weights, tmp_path, monkeypatch):

    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    f = FrozenBody('mobilenetv2_035', local_weights, 48)
    asked = []
    choose = FrozenBody._choose
    monkeypatch.setattr(
        FrozenBody,
        '_choose',
        lambda self, paths, n, device, engine: (
            asked.append((n, engine)) or choose(self, paths, n, device, engine)
        ),
    )
    few, many, rest = list(table.path[:3]), list(table.path[3:80]), list(table.path[80:82])
    f(few, device='cpu')
    f(many, device='cpu')
    f(rest, device='cpu')
    f(list(table.path[82:84]), 'torch', 'cpu')
    assert asked == [(3, 'auto'), (77, 'auto'), (2, 'torch')] and f.engine.name == 'torch'
    monkeypatch.setenv('LEUKOCLS_ENGINE', 'torch-bf16')
    assert (
        FrozenBody('mobilenetv2_035', local_weights, 64)(few, device='cpu').shape[1] == 3
    )  # a probe has no such engine


def test_what_a_look_decoded_is_not_opened_again(table, local_weights, tmp_path, monkeypatch):
    """The same features, whether the network opens the files or finds them prepared; few are opened
    again, to tell the rate from file to answer.
    """
    import leukocls.images as images
    from leukocls.looks import look

    opened, real, paths = [], images.open_cell, list(table.path)
    few = 32 + 16
    assert len(paths) > few  # 16 more: the engine was chosen with them
    monkeypatch.setattr(images, 'open_cell', lambda *a: (opened.append(str(a[0])), real(*a))[1])
    monkeypatch.setenv('LEUKOCLS_CACHE', 'off')

    def body():
        return FrozenBody('mobilenetv2_035', local_weights, 48)

    plain = body()(paths, 'torch')
    assert len(opened) >= len(paths)
    images.expect(body().pixels, paths)
    look([paths[0]])
    look(paths)
    opened.clear()
    f = body()
    x = f(paths, 'torch')
    assert 32 <= len(opened) <= few and np.array_equal(x, plain) and f.remembered > 0
    opened.clear()
    assert np.array_equal(body()(paths, 'torch'), plain) and len(opened) >= len(
        paths
    )  # each is handed out once
    images.expect_nothing()
    assert images._AHEAD == {}


def test_nothing_is_left_in_memory_after_a_comparison(recipe, table, tmp_path):
    import leukocls.images as images

    train_all(table, [recipe, 'p3-knn'], out=tmp_path, split='group', progress=False)
    assert images._AHEAD == {}
    with pytest.raises(DataError):
        train_all(table.assign(path='nowhere.png'), recipe, out=tmp_path, progress=False)
    assert images._AHEAD == {}
