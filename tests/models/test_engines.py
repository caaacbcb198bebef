"An engine that a user registers is named, built, compared and refused as those of leukocls are."

import numpy as np
import pytest
import torch

from leukocls.core.errors import ModelError
from leukocls.deploy.bundle import export_bundle
from leukocls.deploy.classifier import Classifier
from leukocls.models.engines import (
    ENGINES,
    Engine,
    EngineKind,
    builders_for,
    engine_for,
    engine_packages,
    machine_key,
    register_engine,
    versions_of,
    wished,
)
from leukocls.models.frozen import FrozenBody
from leukocls.models.networks import ReadyNetwork, network_of
from leukocls.models.predictor import Predictor, predict_images


class Own(Engine):
    "PyTorch by another way; it counts the pictures that it was shown."

    bs = 4

    def __init__(self, network):
        self.net, self.seen = network.network_on_cpu().eval(), 0

    def start(self, x):
        self.seen += len(x)
        with torch.inference_mode():
            return self.net(torch.from_numpy(np.ascontiguousarray(x))).numpy()


class Wrong(Own):
    "Agrees with nobody."

    def start(self, x):
        return -super().start(x)


@pytest.fixture
def register():
    "Registers kinds of engines; they are gone after the test."
    names = []

    def add(name, build, **facts):
        names.append(name)
        return register_engine(EngineKind(name, f'the engine {name}', build, **facts))

    yield add
    for name in names:
        ENGINES.pop(name, None)


@pytest.fixture(scope='module')
def learn(run):
    return run.learner


def test_predictor_takes_it(learn, table, register):
    register('own', Own)
    paths = table.path[:6]
    one = Predictor(learn, 'own')
    mine = predict_images(one, paths)
    want = predict_images(learn, paths, engine='torch')
    assert (one.engine.kind, one.engine.name) == ('own', 'own') and one.engine.seen >= 6
    assert np.allclose(mine.filter(like='p_'), want.filter(like='p_'), atol=1e-5)


def test_the_environment_may_name_it(learn, table, register, monkeypatch):
    register('own', Own)
    monkeypatch.setenv('LEUKOCLS_ENGINE', 'own')
    assert wished() == 'own'
    one = Predictor(learn)
    one(table.path[0])
    assert one.engine.kind == 'own'
    ENGINES.pop('own')
    with pytest.raises(ModelError, match='LEUKOCLS_ENGINE=own is not known'):
        Predictor(learn)(table.path[0])


def test_classifier_takes_it(small_bundle, table, register):
    register('own', Own)
    clf = Classifier.load(small_bundle, 'own')
    other = Classifier.load(small_bundle, 'torch')
    assert clf.engine.kind == 'own'
    for path in table.path[:4]:
        mine, theirs = clf(path), other(path)
        assert mine.label == theirs.label
        assert np.allclose(
            list(mine.probabilities.values()), list(theirs.probabilities.values()), atol=1e-5
        )


def test_an_engine_of_the_onnx_file(small_bundle, table, register):
    ort = pytest.importorskip('onnxruntime')

    class OwnRuntime(Engine):
        def __init__(self, network):
            self.parts = network.parts
            self.session = ort.InferenceSession(bytes(network.onnx()))

        def start(self, x):
            parts = self.session.run(None, {'pictures': np.ascontiguousarray(x)})
            return np.concatenate(parts[: self.parts], 1)

    register('own-runtime', OwnRuntime, packages=('onnxruntime',))
    clf = Classifier.load(small_bundle, 'own-runtime')
    want = Classifier.load(small_bundle, 'onnxruntime')(table.path[0])
    assert clf(table.path[0]).label == want.label


def test_half_precision_of_a_bundle(small_bundle, table):
    "A bundle takes every registered name; a cascade looks at classes, not at features."
    for name in ('torch-bf16', 'torch-cascade'):
        clf = Classifier.load(small_bundle, name)
        assert clf.engine.half and clf(table.path[0]).label
    if versions_of('openvino'):
        clf = Classifier.load(small_bundle, 'openvino-cascade')
        assert clf.engine.classes == len(clf.classes)
        assert clf(table.path[0]).label


def test_features_take_exact_engines_only(local_weights, table, register, monkeypatch, tmp_path):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    files = list(table.path[:4])
    register('own', Own, exact=True)
    register('rough', Own)
    body = FrozenBody('test_efficientnet', local_weights, 48)
    mine = body(files, 'own', 'cpu')
    assert body.engine.kind == 'own' and body.engine.seen >= 4
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'other'))
    want = FrozenBody('test_efficientnet', local_weights, 48)(files, 'torch', 'cpu')
    assert np.allclose(mine, want, atol=1e-5)
    with pytest.raises(ModelError, match='float32.*Use one of: auto, torch, .*own'):
        FrozenBody('test_efficientnet', local_weights, 64)(files, 'rough', 'cpu')
    # in the environment it is no error, and nothing of half precision is kept
    monkeypatch.setenv('LEUKOCLS_ENGINE', 'rough')
    body = FrozenBody('test_efficientnet', local_weights, 64)
    body(files, device='cpu')
    assert body.engine.name == 'torch'


def test_automatic_only_if_it_says_so(learn, table, register):
    ready, pixels = network_of(learn)
    network = ReadyNetwork(ready, pixels)
    x = np.stack([pixels.read(p) for p in table.path[:16]])
    register('silent', Own)
    assert 'silent' not in builders_for(network)
    before = machine_key('a')
    register('wrong', Wrong, automatic=True)
    assert machine_key('a') != before, 'a remembered choice did not know it'
    seen = []
    register('never', lambda network: seen.append(network), automatic=lambda network: False)
    assert list(builders_for(network))[0] == 'torch' and 'wrong' in builders_for(network)
    assert engine_for(network, x).kind not in ('wrong', 'silent', 'never') and not seen


def test_the_fastest_that_agrees_may_be_it(learn, table, register):
    "An engine that has the answers ready wins against all others."
    ready, pixels = network_of(learn)
    x = np.stack([pixels.read(p) for p in table.path[:16]])
    with torch.inference_mode():
        ready.eval()
        answers = {p.tobytes(): z for p, z in zip(x, ready(torch.from_numpy(x)).numpy())}

    class Knows(Engine):
        def __init__(self, network):
            pass

        def start(self, x):
            return np.stack([answers[p.tobytes()] for p in x])

    register('knows', Knows, automatic=True)
    assert engine_for(ReadyNetwork(ready, pixels), x).kind == 'knows'


def test_an_automatic_engine_is_compared_at_export(run, tmp_path, register):
    register('own', Own, automatic=True)
    bundle = export_bundle(run, tmp_path / 'good')
    assert 'own' in bundle.config['parity']['largest_difference']
    ENGINES.pop('own')
    register('wrong', Wrong, automatic=True)
    with pytest.raises(ModelError, match='wrong differs by up to'):
        export_bundle(run, tmp_path / 'bad')
    assert not (tmp_path / 'bad').exists()


def test_what_is_wrong_is_said(learn, table, register):
    register('no-engine', lambda network: len)
    with pytest.raises(ModelError, match='gave builtin_function_or_method, not an Engine'):
        predict_images(learn, table.path[:2], engine='no-engine')
    with pytest.raises(ModelError, match='no EngineKind'):
        register_engine('own')
    for taken in ('torch', 'auto'):
        with pytest.raises(ModelError, match='there already'):
            register_engine(EngineKind(taken, 'again', Own))
    absent = register('absent', Own, packages=('no-such-package',), automatic=True)
    ready, pixels = network_of(learn)
    assert not absent.available and 'absent' not in builders_for(ReadyNetwork(ready, pixels))
    assert 'no-such-package' in engine_packages()


def test_no_other_place_tests_for_a_name():
    "What the table says is asked of the table."
    import re
    from pathlib import Path

    import leukocls

    names = '|'.join(sorted(ENGINES, key=len, reverse=True))
    pattern = re.compile(rf"""(==|!=|\bin)\s*\(?['"]({names})['"]""")
    found = []
    for path in Path(leukocls.__file__).parent.rglob('*.py'):
        found += [
            f'{path.name}: {line.strip()}'
            for line in path.read_text(encoding='utf8').splitlines()
            if pattern.search(line) and 'module' not in line
        ]
    assert not found, found
