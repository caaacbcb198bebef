"Classical systems: scikit-learn's probabilities out of plain arrays, a run like any other, nothing unpickled."

import json
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from leukocls.baselines import SYSTEMS, Spectrum, from_spec, layer_of, spectra, system
from leukocls.core import DataError, RunError
from leukocls.images import Pixels
from leukocls.predict import evaluate, open_pickle, predict_images
from leukocls.recipes import Recipe
from leukocls.runs import Run
from leukocls.splits import split_table
from leukocls.train import train, train_all

warnings.simplefilter('ignore', ConvergenceWarning)


@pytest.fixture(scope='module')
def forest(table, tmp_path_factory):
    return train(
        'p3-random-forest',
        split_table(table),
        out=tmp_path_factory.mktemp('runs'),
        progress=False,
        size=48,
    )


@pytest.mark.parametrize('classes', [2, 3, 5])
@pytest.mark.parametrize('name', list(SYSTEMS))
def test_layers_give_scikit_learns_probabilities(name, classes):
    rng = np.random.default_rng(0)
    y = np.repeat(np.array(list('abcde')[:classes]), 40)
    X = rng.normal(size=(len(y), 30)) + np.eye(5)[
        np.unique(y, return_inverse=True)[1]
    ] @ rng.normal(size=(5, 30))
    X[:, 3] = 7  # one that never varies
    fitted = system(name, seed=1).fit(X, y)
    new = rng.normal(size=(200, 30)) * 2
    new[:, 3] = 7
    layer = layer_of(fitted)
    again = from_spec(json.loads(json.dumps(layer.spec)))
    again.load_state_dict(layer.state_dict())
    with torch.inference_mode():
        p = again(torch.from_numpy(new)).softmax(1).numpy()
    want = fitted.predict_proba(new)
    assert np.abs(p - want).max() < 1e-5 and list(fitted.classes_) == sorted(set(y))
    clear = np.sort(want, 1)[:, -1] - np.sort(want, 1)[:, -2] > 1e-4
    assert (p.argmax(1) == want.argmax(1))[clear].all()


def test_a_tree_at_its_thresholds():
    """Features that stand exactly on a threshold, or a hair beside it, go the way that scikit-learn
    sends them.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = rng.integers(0, 3, 300)
    s = system('decision-tree').fit(X, y)
    t = s[-1].tree_
    inner = t.children_left >= 0
    new = []
    for f, v in zip(t.feature[inner], t.threshold[inner]):
        for w in (
            np.float32(v),
            np.nextafter(np.float32(v), np.float32(9)),
            np.nextafter(np.float32(v), np.float32(-9)),
        ):
            x = X[rng.integers(300)].copy()
            x[f] = w * s[0].scale_[f] + s[0].mean_[f]
            new.append(x)
    with torch.inference_mode():
        p = layer_of(s)(torch.from_numpy(np.stack(new))).softmax(1).numpy()
    assert np.array_equal(p.argmax(1), s.predict_proba(np.stack(new)).argmax(1)) and len(new) > 100


@pytest.mark.parametrize('size,channels', [(8, 3), (33, 1), (224, 3)])
def test_spectrum_is_numpys(size, channels):
    x = np.random.default_rng(0).integers(0, 256, (2, channels, size, size), dtype='uint8')
    f = Spectrum(size, channels)(torch.from_numpy(x) / 255).numpy()
    low = min(16, (size + 1) // 2)
    F = np.abs(
        np.fft.fft2(
            np.tensordot([0.299, 0.587, 0.114] if channels == 3 else [1.0], x.astype(float), (0, 1))
        )
    )
    want = np.log1p(F[:, np.r_[0:low, 1 - low : 0]][:, :, :low]).reshape(2, -1)
    assert np.allclose(f[:, : want.shape[1]], want, atol=1e-4)
    counts = (
        np.stack(
            [np.concatenate([np.histogram(c, np.arange(0, 257, 8))[0] for c in im]) for im in x]
        )
        / size**2
    )
    assert np.allclose(f[:, want.shape[1] :], counts, atol=1e-6)


def test_features_are_remembered_by_content(table, tmp_path, monkeypatch):
    import leukocls.baselines as b

    X = spectra(table.path[:10], Pixels(24))
    moved = [shutil.copy(p, tmp_path / f'{i}.png') for i, p in enumerate(table.path[:10])]
    seen = []
    old = b.read_batches
    monkeypatch.setattr(b, 'read_batches', lambda paths, *a: seen.extend(paths) or old(paths, *a))
    assert np.array_equal(spectra(moved, Pixels(24)), X) and not seen
    assert (
        spectra([*moved, table.path[11]], Pixels(24)).shape[0] == 11
        and seen == [table.path[11]]
        and len(spectra(moved[:1], Pixels(24, grey=True))[0]) != X.shape[1]
    )


def test_a_run_like_any_other(forest, table):
    files = {str(p.relative_to(forest.folder)) for p in forest.folder.rglob('*') if p.is_file()}
    assert {
        'recipe.json',
        'table.csv',
        'history.csv',
        'predictions.csv',
        'metrics.json',
        'report.html',
        'model.safetensors',
        'learner.pkl',
        'plots/confusion.png',
        'gate.json',
        'shortcuts.json',
        'calibration.json',
    } <= files and 'plots/loss.png' not in files
    assert (
        forest.info['status'] == 'finished'
        and forest.info['model']['system']['parts'][0]['kind'] == 'Trees'
        and forest.info['seconds']['images_per_second'] > 0
    )
    assert (
        list(forest.predictions.columns)[:5] == ['path', 'label', 'patient', 'split', 'pred']
        and forest.metrics['accuracy']['value'] > 0.5
    )


def test_four_ways_to_the_same_numbers(forest):
    "What scikit-learn said, the learner in memory, the rebuilt one, the pickle."
    p = forest.predictions
    want = p.filter(like='p_').to_numpy()
    for learn in (
        forest.learner,
        Run(forest.folder).learner,
        open_pickle(forest.folder / 'learner.pkl', trust=True),
    ):
        assert np.allclose(
            predict_images(learn, p.path).filter(like='p_').to_numpy(), want, atol=1e-3
        )
    assert (p.pred == want.argmax(1).astype(object)).sum() == 0 and list(p.pred) == [
        p.filter(like='p_').columns[i][2:] for i in want.argmax(1)
    ]


def test_no_pickle_is_opened(forest, table, tmp_path, monkeypatch):
    import pickle

    copy = shutil.copytree(forest.folder, tmp_path / 'copy')
    (copy / 'learner.pkl').unlink()
    monkeypatch.setattr(pickle, 'load', lambda *a, **k: 1 / 0)
    assert len(predict_images(Run(copy), table.path[:3])) == 3


def test_damaged_weights_are_refused(forest, tmp_path):
    copy = shutil.copytree(forest.folder, tmp_path / 'copy')
    info = json.loads((copy / 'recipe.json').read_text())
    info['model']['system']['parts'][0]['arrays']['feature'][1] += 1
    (copy / 'recipe.json').write_text(json.dumps(info))
    with pytest.raises(RunError, match='does not fit'):
        Run(copy).learner


def test_command_line(forest, table):
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-m',
            'leukocls',
            'predict',
            str(forest.folder),
            *table.path[:2],
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [l.split('\t') for l in done.stdout.strip().splitlines()]
    assert rows[0][:2] == ['path', 'pred'] and len(rows) == 3


@pytest.fixture(scope='module', params=['random-forest', 'svm', 'knn', 'e2'])
def system_run(request, table, tmp_path_factory, without_plots):
    "(name, a run of this system), trained once for all engines."
    with without_plots():
        return request.param, train(
            Recipe('mine', request.param, kind='classical', weights='none', size=32),
            split_table(table),
            out=tmp_path_factory.mktemp('engines'),
            progress=False,
        )


@pytest.mark.parametrize('engine', ['torch', 'openvino', 'onnxruntime'])
def test_engines(system_run, engine):
    """Any engine that is asked for; in single precision one tree of a hundred may turn the other
    way where a feature stands on its threshold. By itself an engine is used only where it agrees
    with PyTorch.
    """
    from leukocls.core import ModelError
    from leukocls.engines import versions_of

    if not versions_of(engine):
        pytest.skip(f'no {engine} here')  # importing OpenVINO here would start its telemetry
    name, run = system_run
    try:
        p = predict_images(run.learner, run.predictions.path, engine=engine)
    except ModelError as e:
        assert 'engine="torch"' in str(e) and engine != 'torch'
        pytest.skip(str(e)[:150])
    gap = np.abs(p.filter(like='p_').to_numpy() - run.predictions.filter(like='p_').to_numpy()).max(
        1
    )
    assert (
        gap < (0.03 if name == 'random-forest' and engine != 'torch' else 1e-3)
    ).mean() > 0.95, gap.max()
    if engine == 'torch':
        assert (
            np.abs(
                predict_images(run.learner, list(run.predictions.path) * 3)
                .filter(like='p_')
                .to_numpy()[: len(gap)]
                - run.predictions.filter(like='p_').to_numpy()
            ).max()
            < 2e-3
        )


def test_in_one_table_with_networks(films, quick, tmp_path):
    from leukocls.smears import FILM_PATIENT

    runs = train_all(
        films,
        ['p3-naive-bayes', quick],
        patient=FILM_PATIENT,
        out=tmp_path,
        progress=False,
        device='cpu',
        epochs=1,
    )
    assert (
        len(runs.leaderboard) == 2
        and runs[0].table.split.tolist() == runs[1].table.split.tolist()
        and runs.advice == ''
    )


@pytest.mark.usefixtures('no_plots')
def test_same_seed_same_result(table, tmp_path):
    a, b, c = (
        train('p3-e2', split_table(table), out=tmp_path, progress=False, size=32, seed=s)
        .predictions.filter(like='p_')
        .to_numpy()
        for s in (1, 1, 2)
    )
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_too_few_for_a_probability(table, tmp_path):
    t = table.groupby('label').head(8)
    t = t.assign(split=['train' if i % 8 < 4 else 'test' for i in range(len(t))], patient=t.label)
    t['split'] = t.split.astype('string')
    from leukocls.splits import split_table as s

    with pytest.raises(RunError, match='need two'):
        train('p3-svm', s(t, 'given'), out=tmp_path, progress=False, size=32)
    assert train('p3-knn', s(t, 'given'), out=tmp_path, progress=False, size=32).metrics['n'] == 16


@pytest.mark.parametrize('seed', [158, 168])
def test_a_class_of_two_patients_is_learned_from_in_each_fold(seed):
    "Scikit-learn's grouped folds put both of its patients into one."
    from sklearn.model_selection import StratifiedGroupKFold

    from leukocls.baselines import _folds

    rng = np.random.default_rng(seed)
    who, y = [], []
    for p in range(6):
        for c, n in dict(
            a=rng.integers(1, 20), b=rng.integers(1, 20), c=rng.integers(1, 6) if p < 2 else 0
        ).items():
            who += [p] * int(n)
            y += [c] * int(n)
    who, y = np.array(who), np.array(y)
    assert any(
        len(set(y[fit])) < 3
        for fit, _ in StratifiedGroupKFold(2, shuffle=True, random_state=seed).split(y, y, who)
    )
    parts = _folds(y, who, 2, seed)
    assert all(
        len(set(y[fit])) == 3 and not set(who[fit]) & set(who[test]) for fit, test in parts
    ) and sorted(np.concatenate([t for _, t in parts])) == list(range(len(y)))


def test_slips(table, tmp_path):
    with pytest.raises(RunError, match='Use one of: svm'):
        train(
            Recipe('mine', 'perceptron', kind='classical'),
            split_table(table),
            out=tmp_path,
            progress=False,
        )
    assert not any(tmp_path.iterdir())
    with pytest.raises(DataError, match='no such file'):
        spectra(['nowhere.png'], Pixels(32))


def test_evaluate_and_report(forest, tmp_path):
    from leukocls.smears import FILM_PATIENT, draw_films

    assert (
        evaluate(
            forest.learner,
            draw_films(tmp_path / 'n', patients=2, images=3, size=48, seed=9),
            patient=FILM_PATIENT,
        )['n']
        == 24
    )
    page = (forest.folder / 'report.html').read_text()
    assert (
        'Random forest' in page
        and '96.83' in page
        and 'Platt' not in page
        and 'lowest 31×16 frequencies' in page
    )
