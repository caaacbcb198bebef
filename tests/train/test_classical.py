"Classical systems: scikit-learn's probabilities out of plain arrays, a run like any other, nothing unpickled."

import json
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from shell import leukocls
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedGroupKFold

from leukocls.core.errors import DataError, ModelError, RunError
from leukocls.data.films import FILM_PATIENT, draw_films
from leukocls.data.images import Pixels
from leukocls.data.splits import split_table
from leukocls.models.engines import versions_of
from leukocls.models.predictor import evaluate, open_pickle, predict_images
from leukocls.runs.experiment import train, train_all
from leukocls.runs.run import Run
from leukocls.train import classical as baselines
from leukocls.train.classical import (
    SYSTEMS,
    Spectrum,
    _svm_folds,
    from_spec,
    layer_of,
    spectra,
    system,
)
from leukocls.train.recipes import Recipe

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
    one_hot = np.eye(5)[np.repeat(np.arange(classes), 40)]
    X = rng.normal(size=(len(y), 30)) + one_hot @ rng.normal(size=(5, 30))
    # one feature that never varies
    X[:, 3] = 7
    fitted = system(name, seed=1).fit(X, y)
    new = rng.normal(size=(200, 30)) * 2
    new[:, 3] = 7
    layer = layer_of(fitted)
    again = from_spec(json.loads(json.dumps(layer.spec)))
    again.load_state_dict(layer.state_dict())
    with torch.inference_mode():
        p = again(torch.from_numpy(new)).softmax(1).numpy()
    want = fitted.predict_proba(new)
    assert np.abs(p - want).max() < 1e-5
    assert list(fitted.classes_) == sorted(set(y))
    second, first = np.sort(want, 1)[:, -2:].T
    is_clear = first - second > 1e-4
    assert (p.argmax(1) == want.argmax(1))[is_clear].all()


def test_a_tree_at_its_thresholds():
    """Features that stand exactly on a threshold, or a hair beside it, go the way that scikit-learn
    sends them.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = rng.integers(0, 3, 300)
    fitted = system('decision-tree').fit(X, y)
    scaler, tree = fitted[0], fitted[-1].tree_
    is_inner = tree.children_left >= 0
    rows = []
    for feature, threshold in zip(tree.feature[is_inner], tree.threshold[is_inner]):
        exact = np.float32(threshold)
        for value in (
            exact,
            np.nextafter(exact, np.float32(9)),
            np.nextafter(exact, np.float32(-9)),
        ):
            row = X[rng.integers(300)].copy()
            row[feature] = value * scaler.scale_[feature] + scaler.mean_[feature]
            rows.append(row)
    new = np.stack(rows)
    assert len(new) > 100
    with torch.inference_mode():
        p = layer_of(fitted)(torch.from_numpy(new)).softmax(1).numpy()
    assert np.array_equal(p.argmax(1), fitted.predict_proba(new).argmax(1))


@pytest.mark.parametrize('size,channels', [(8, 3), (33, 1), (224, 3)])
def test_spectrum_is_numpys(size, channels):
    x = np.random.default_rng(0).integers(0, 256, (2, channels, size, size), dtype='uint8')
    features = Spectrum(size, channels)(torch.from_numpy(x) / 255).numpy()
    grey = np.tensordot([0.299, 0.587, 0.114] if channels == 3 else [1.0], x.astype(float), (0, 1))
    magnitudes = np.abs(np.fft.fft2(grey))
    low = min(16, (size + 1) // 2)
    want = np.log1p(magnitudes[:, np.r_[0:low, 1 - low : 0], :low]).reshape(2, -1)
    spectrum, histograms = np.split(features, [want.shape[1]], axis=1)
    assert np.allclose(spectrum, want, atol=1e-4)
    edges = np.arange(0, 257, 8)
    counts = [np.histogram(channel, edges)[0] for image in x for channel in image]
    assert np.allclose(histograms, np.reshape(counts, (2, -1)) / size**2, atol=1e-6)


def test_features_are_remembered_by_content(table, tmp_path, monkeypatch):
    X = spectra(table.path[:10], Pixels(24))
    moved = [shutil.copy(p, tmp_path / f'{i}.png') for i, p in enumerate(table.path[:10])]
    opened = []
    read_batches = baselines.read_batches

    def read_and_note(paths, *args):
        opened.extend(paths)
        return read_batches(paths, *args)

    monkeypatch.setattr(baselines, 'read_batches', read_and_note)
    assert np.array_equal(spectra(moved, Pixels(24)), X)
    assert not opened
    assert spectra([*moved, table.path[11]], Pixels(24)).shape[0] == 11
    assert opened == [table.path[11]]
    assert len(spectra(moved[:1], Pixels(24, grey=True))[0]) != X.shape[1]


def test_a_run_like_any_other(forest, table, files_of_every_run):
    files = {str(p.relative_to(forest.folder)) for p in forest.folder.rglob('*') if p.is_file()}
    assert (
        files_of_every_run
        | {
            'model.safetensors',
            'plots/confusion.png',
            'gate.json',
            'shortcuts.json',
            'calibration.json',
        }
        <= files
    )
    assert 'plots/loss.png' not in files
    assert forest.info['status'] == 'finished'
    assert forest.info['model']['system']['parts'][0]['kind'] == 'Trees'
    assert forest.info['seconds']['images_per_second'] > 0
    assert list(forest.predictions.columns)[:5] == ['path', 'label', 'patient', 'split', 'pred']
    assert forest.metrics['accuracy']['value'] > 0.5


def test_four_ways_to_the_same_numbers(forest):
    "scikit-learn's probabilities, the learner in memory, the rebuilt one, the pickle."
    p = forest.predictions
    want = p.filter(like='p_')
    for learn in (
        forest.learner,
        Run(forest.folder).learner,
        open_pickle(forest.folder / 'learner.pkl', trust=True),
    ):
        assert np.allclose(predict_images(learn, p.path).filter(like='p_'), want, atol=1e-3)
    most_probable = want.columns[want.to_numpy().argmax(1)].str.removeprefix('p_')
    assert list(p.pred) == list(most_probable)
    # names, not numbers of classes
    assert not set(p.pred) & set(range(4))


def test_no_pickle_is_opened(forest, table, tmp_path, monkeypatch):
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
        _ = Run(copy).learner


def test_command_line(forest, table):
    done = leukocls('predict', forest.folder, *table.path[:2])
    assert done.returncode == 0, done.stderr
    rows = [line.split('\t') for line in done.stdout.strip().splitlines()]
    assert rows[0][:2] == ['path', 'pred']
    assert len(rows) == 3


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
    if not versions_of(engine):
        # importing OpenVINO here would start its telemetry
        pytest.skip(f'no {engine} here')
    name, run = system_run
    paths, want = list(run.predictions.path), run.predictions.filter(like='p_').to_numpy()
    try:
        p = predict_images(run.learner, paths, engine=engine)
    except ModelError as e:
        assert 'engine="torch"' in str(e) and engine != 'torch'
        pytest.skip(str(e)[:150])
    difference = np.abs(p.filter(like='p_').to_numpy() - want).max(1)
    allowed = 0.03 if name == 'random-forest' and engine != 'torch' else 1e-3
    assert (difference < allowed).mean() > 0.95, difference.max()
    if engine == 'torch':
        often = predict_images(run.learner, paths * 3).filter(like='p_').to_numpy()
        assert np.abs(often[: len(want)] - want).max() < 2e-3


def test_in_one_table_with_networks(films, quick, tmp_path):
    runs = train_all(
        films,
        ['p3-naive-bayes', quick],
        patient=FILM_PATIENT,
        out=tmp_path,
        progress=False,
        device='cpu',
        epochs=1,
    )
    assert len(runs.leaderboard) == 2
    assert runs[0].table.split.tolist() == runs[1].table.split.tolist()
    assert runs.advice == ''


@pytest.mark.usefixtures('no_plots')
def test_same_seed_same_result(table, tmp_path):
    t = split_table(table)

    def probabilities(seed):
        run = train('p3-e2', t, out=tmp_path, progress=False, size=32, seed=seed)
        return run.predictions.filter(like='p_').to_numpy()

    first = probabilities(1)
    assert np.array_equal(probabilities(1), first)
    assert not np.array_equal(probabilities(2), first)


def test_too_few_for_a_probability(table, tmp_path):
    "One patient in each class: a system without an SVM is trained, one with an SVM is not."
    t = table.groupby('label').head(8)
    t = t.assign(split=['train' if i % 8 < 4 else 'test' for i in range(len(t))], patient=t.label)
    t = split_table(t.astype({'split': 'string'}), 'given')
    with pytest.raises(RunError, match='need two'):
        train('p3-svm', t, out=tmp_path, progress=False, size=32)
    assert train('p3-knn', t, out=tmp_path, progress=False, size=32).metrics['n'] == 16


@pytest.mark.parametrize('seed', [158, 168])
def test_a_class_of_two_patients_is_learned_from_in_each_fold(seed):
    "Scikit-learn's grouped folds put both of its patients into one."
    rng = np.random.default_rng(seed)
    groups, y = [], []
    for patient in range(6):
        images = dict(a=rng.integers(1, 20), b=rng.integers(1, 20))
        if patient < 2:
            images['c'] = rng.integers(1, 6)
        for label, n in images.items():
            groups += [patient] * int(n)
            y += [label] * int(n)
    groups, y = np.array(groups), np.array(y)
    plain = StratifiedGroupKFold(2, shuffle=True, random_state=seed).split(y, y, groups)
    assert any(len(set(y[fit])) < 3 for fit, _ in plain)
    folds = _svm_folds(y, groups, 2, seed)
    for fit, judged in folds:
        assert len(set(y[fit])) == 3
        assert not set(groups[fit]) & set(groups[judged])
    assert sorted(np.concatenate([judged for _, judged in folds])) == list(range(len(y)))


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
    elsewhere = draw_films(tmp_path / 'n', patients=2, images=3, size=48, seed=9)
    assert evaluate(forest.learner, elsewhere, patient=FILM_PATIENT)['n'] == 24
    page = (forest.folder / 'report.html').read_text()
    assert 'Random forest' in page
    assert '96.83' in page
    assert 'Platt' not in page
    assert 'lowest 31×16 frequencies' in page
