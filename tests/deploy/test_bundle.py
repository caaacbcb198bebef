"Bundles: every byte is checked, nothing is half written, and all ways of running them agree."

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from shell import leukocls

from leukocls.core.errors import DataError, LeukoError, ModelError, RunError
from leukocls.data.splits import split_table
from leukocls.deploy.bundle import Bundle, export_bundle, read_config, sums_of, verify
from leukocls.deploy.classifier import Classifier
from leukocls.models.engines import softmax
from leukocls.runs.experiment import train
from leukocls.train.recipes import get_recipe


@pytest.fixture
def copy(small_bundle, tmp_path):
    return shutil.copytree(small_bundle, tmp_path / 'bundle')


@pytest.mark.once
def test_thousand_flips(copy):
    rng = np.random.default_rng(0)
    files = sorted(p for p in copy.iterdir())
    sizes = np.array([p.stat().st_size for p in files])
    assert len(files) >= 7
    for k in range(1000):
        p = (
            files[k % len(files)]
            if k < 300
            else files[rng.choice(len(files), p=sizes / sizes.sum())]
        )  # small files too
        data = p.read_bytes()
        i = int(rng.integers(len(data)))
        bad = bytearray(data)
        bad[i] ^= 1 << int(rng.integers(8))
        p.write_bytes(bad)
        with pytest.raises(ModelError):
            verify(copy)
        p.write_bytes(data)
    assert set(verify(copy)) == {
        'config.json',
        'model.onnx',
        'gate.json',
        'examples.safetensors',
        'seen.safetensors',
    }


@pytest.mark.once
@pytest.mark.parametrize(
    'name', ['config.json', 'model.onnx', 'model.safetensors', 'gate.json', 'model_card.md']
)
def test_missing_truncated_foreign(copy, name):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[:-1])
    with pytest.raises(ModelError, match=f'{name} is not what it was'):
        Bundle(copy)
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f'{name} is missing'):
        Bundle(copy)
    (copy / name).write_bytes(data)
    (copy / 'extra').mkdir()
    with pytest.raises(ModelError, match='extra does not belong here'):
        Bundle(copy)
    (copy / 'extra').rmdir()
    (copy / 'README.md').write_text('a hub adds this')
    Bundle(copy)


@pytest.mark.once
def test_every_fault_at_once(copy):
    (copy / 'model.onnx').write_bytes(b'')
    (copy / 'gate.json').unlink()
    (copy / 'learner.pkl').write_bytes(b'')
    with pytest.raises(ModelError) as e:
        Bundle(copy)
    for said in ('model.onnx is not', 'gate.json is missing', 'learner.pkl does not belong'):
        assert said in str(e.value)


@pytest.mark.once
@pytest.mark.parametrize(
    'sums',
    [
        '',
        'x',
        'a' * 64 + '  config.json',
        '../' * 3,
        'a' * 64 + '  ../../config.json\n',
        '0' * 64 + '  b\n' + '0' * 64 + '  a\n',
        '0' * 64 + '  a\n' + '0' * 64 + '  a\n',
        '\ud800'.encode('utf8', 'surrogatepass').decode('latin-1'),
    ],
)
def test_hostile_sums(copy, sums):
    (copy / 'SHA256SUMS').write_bytes(sums.encode('latin-1', 'replace'))
    with pytest.raises(ModelError):
        Bundle(copy)


def rewritten(folder, change):
    "A bundle by a stranger who knows how to make checksums."
    c = json.loads((folder / 'config.json').read_text())
    change(c)
    (folder / 'config.json').write_text(json.dumps(c))
    (folder / 'SHA256SUMS').write_text(
        sums_of({p.name: p.read_bytes() for p in folder.iterdir() if p.name != 'SHA256SUMS'})
    )
    return folder


@pytest.mark.once
@pytest.mark.parametrize(
    'change',
    [
        lambda c: c.update(format='leukocls-bundle 99'),
        lambda c: c.update(classes='abc'),
        lambda c: c.update(classes=[1, 2]),
        lambda c: c['pixels'].update(size=10**9),
        lambda c: c['pixels'].update(size='224'),
        lambda c: c['pixels'].update(size=True),
        lambda c: c['pixels'].update(median=10**6),
        lambda c: c.pop('pixels'),
        lambda c: c.update(calibration=[1]),
        lambda c: c['calibration'].update(temperature=0),
        lambda c: c['calibration'].update(temperature='1'),
        lambda c: c['calibration']['conformal']['thresholds'].update(Benign='x'),
        lambda c: c['calibration']['conformal']['thresholds'].pop('Benign'),
        lambda c: c['calibration'].update(refer=None),
        lambda c: c.update(name=None),
        lambda c: c.update(features=-1),
        lambda c: c.clear(),
    ],
)
def test_hostile_config(copy, change):
    with pytest.raises(ModelError, match='config.json'):
        Classifier.load(rewritten(copy, change))


@pytest.mark.once
@pytest.mark.parametrize(
    'change',
    [
        lambda c: c['classes'].append('Fifth') or c.update(calibration=None),
        lambda c: c.update(features=7),
        lambda c: c['pixels'].update(grey=True),
    ],
)
def test_config_of_another_network(copy, change):
    with pytest.raises(LeukoError):
        Classifier.load(rewritten(copy, change))


@pytest.mark.once
@pytest.mark.parametrize(
    'network',
    [
        dict(kind='own', arch='nope', classes=4, channels=3),
        dict(
            kind='timm', arch='os.system', head=['Sequential'], model_args={}, channels=3, maps=True
        ),
        dict(
            kind='timm', arch='resnet10t', head=['eval', {}], model_args={}, channels=3, maps=True
        ),
        dict(kind='own', arch='small-cnn', classes=3, channels=3),
        dict(
            kind='stages',
            arch='resnet10t',
            head=['Linear', dict(in_features='x')],
            model_args={},
            size=32,
        ),
    ],
)
def test_hostile_network(copy, network):
    b = Bundle(rewritten(copy, lambda c: c.update(network=network)))
    with pytest.raises(ModelError):
        b.network()


@pytest.mark.once
def test_not_onnx(copy):
    (copy / 'model.onnx').write_bytes(b'\x80\x04cos\nsystem\n')
    rewritten(copy, lambda c: None)
    for engine in ('onnxruntime', 'openvino', 'auto'):
        with pytest.raises(ModelError):
            Classifier.load(copy, engine)


@pytest.mark.once
def test_sums_are_those_of_sha256sum(small_bundle):
    if not shutil.which('sha256sum'):
        pytest.skip('no sha256sum here')
    assert (
        subprocess.run(
            ['sha256sum', '--check', '--strict', '--quiet', 'SHA256SUMS'], cwd=small_bundle
        ).returncode
        == 0
    )


def test_refuses_what_differs(run, tmp_path, monkeypatch):
    import leukocls.models.predictor as predict

    real = predict.by_fastai
    monkeypatch.setattr(
        predict, 'by_fastai', lambda learn, paths: np.roll(real(learn, paths), 1, 1)
    )
    with pytest.raises(ModelError, match='would not give the same answers'):
        export_bundle(run, tmp_path / 'b')
    assert list(tmp_path.iterdir()) == []


def test_whole_or_not_at_all(run, tmp_path, monkeypatch):
    "A disk that fills up leaves neither half a bundle nor takes the old one away."
    good = export_bundle(run, tmp_path / 'b')
    before = {p.name: p.read_bytes() for p in good.folder.iterdir()}
    from pathlib import Path

    real = Path.write_bytes

    def full(self, data):
        if self.name == 'model.onnx':
            raise OSError(28, 'No space left on device')
        return real(self, data)

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(RunError, match='No space left'):
        export_bundle(run, tmp_path / 'b', overwrite=True)
    with pytest.raises(RunError, match='No space left'):
        export_bundle(run, tmp_path / 'c')
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in (tmp_path / 'b').iterdir()} == before and [
        p.name for p in tmp_path.iterdir()
    ] == ['b']


def test_no_path_travels(small_bundle, run):
    for p in small_bundle.iterdir():
        for secret in (
            str(run.folder.parent),
            os.path.expanduser('~') + '/',
            str(run.table.path[0]),
        ):
            assert secret.encode() not in p.read_bytes(), (p.name, secret)


def weights_folder(net, folder, arch, model_args, size):
    "A timm local-dir folder of a network that differs from timm's by `model_args`."
    from safetensors.torch import save_file

    folder.mkdir()
    save_file(net.state_dict(), folder / 'model.safetensors')
    cfg = dict(input_size=[3, size, size], mean=[0.5] * 3, std=[0.5] * 3, num_classes=0)
    config = dict(architecture=arch, num_classes=0, model_args=model_args, pretrained_cfg=cfg)
    (folder / 'config.json').write_text(json.dumps(config))
    return folder


def test_a_bundle_says_what_its_training_pictures_show(small_bundle):
    "A field is cut so that its cells look like these; numbers are all that may stand there."
    config = Bundle(small_bundle).config
    known = config['data']['cells']
    assert known['looked_at'] == 12 and known['fields'] + known['single'] > 0
    assert 0 < known['diameter'] < known['side'] and known['micrometres'] > 5
    changed = json.dumps(dict(config, data=dict(cells=dict(known, side='wide'))))
    with pytest.raises(ModelError, match='side'):
        read_config(changed.encode())


@pytest.mark.usefixtures('no_plots')
@pytest.mark.parametrize(
    'name, changes',
    [
        ('mobilenetv2', dict(arch='test_efficientnet')),
        ('mobilenetv2', dict(arch='vit_tiny_patch16_224', size=32, model_args=None)),
        ('modified-cnn', dict(size=50)),
        *(
            pytest.param(*p, marks=pytest.mark.slow)
            for p in [
                ('p2-cml1', dict(size=64)),
                ('p3-hybrid', dict(arch='test_efficientnet+resnet10t', weights='none', size=64)),
                ('p3-vgg16', dict(arch='vgg11', size=32, top='linear')),
                ('probe', dict(head='knn')),
            ]
        ),
        ('probe', dict(head='mlp')),
    ],
)
def test_every_kind_of_network(table, local_weights, tmp_path, name, changes):
    "Learner = PyTorch without fastai = ONNX Runtime = OpenVINO; timm alone loads the body."
    changes = {k: v for k, v in changes.items() if v is not None}
    probe = name == 'probe'
    if changes.get('arch', '').startswith('vit'):
        small = dict(img_size=32, depth=2)
        m = timm.create_model(changes['arch'], num_classes=0, **small)
        folder = weights_folder(m, tmp_path / 'vit', changes['arch'], small, size=32)
        changes['weights'] = str(folder)
    elif changes.get('arch') == 'vgg11':
        # its layer of 4096 would be nine tenths of what the test writes and reads
        narrow = dict(mlp_ratio=1 / 32)
        m = timm.create_model('vgg11', num_classes=0, **narrow)
        changes['weights'] = str(weights_folder(m, tmp_path / 'vgg', 'vgg11', narrow, size=32))
    elif name in ('mobilenetv2', 'probe'):
        changes['weights'] = str(local_weights)
        changes.setdefault('size', 64)
    if probe:
        changes['arch'] = 'test_efficientnet'
    own = (
        {}
        if probe
        else dict(epochs=1, lr=1e-3, patience=0)
        | ({'head_epochs': 0} if name == 'mobilenetv2' else {})
    )
    r = train(
        get_recipe(name, **changes, **own),
        split_table(table),
        out=tmp_path / 'runs',
        progress=False,
        device='cpu',
    )
    b = export_bundle(r, tmp_path / 'b')
    c = b.config
    assert (
        c['parity']['images'] > 0
        and {'learner', 'onnxruntime', 'openvino'} <= set(c['parity']['largest_difference'])
        and max(c['parity']['largest_difference'].values()) < 1e-3
    )
    clf = Classifier.load(tmp_path / 'b', 'onnxruntime')
    held = r.predictions[r.predictions.split == 'test']
    p = np.array(
        [
            list(map(float, softmax(clf.engine(clf.pixels.read(f)[None])[:, : clf.k])[0]))
            for f in held.path
        ]
    )
    assert np.abs(p - held[[f'p_{k}' for k in clf.classes]].to_numpy()).max() < 2e-3
    again = Classifier.load(tmp_path / 'b', 'torch')
    x = clf.pixels.read(held.path.iloc[0])[None]
    assert np.abs(softmax(again.engine(x)) - softmax(clf.engine(x)[:, : clf.k])).max() < 1e-3
    if name == 'mobilenetv2' or probe:
        assert c['timm'] is True
        model = timm.create_model(f'local-dir:{tmp_path}/b', pretrained=True)
        want = b.network().model
        want = want[0][0] if probe else want.body
        for k, v in model.state_dict().items():
            assert torch.equal(v, want.state_dict()[k])


@pytest.mark.once
def test_hub(small_bundle, monkeypatch):
    import huggingface_hub

    done = []

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo, private, exist_ok):
            done.append(('repo', repo, private))
            return f'https://hub/{repo}'

        def upload_folder(self, repo_id, folder_path, ignore_patterns):
            done.append(sorted(os.listdir(folder_path)))

        def upload_file(self, repo_id, path_in_repo, path_or_fileobj):
            done.append((path_in_repo, os.path.basename(path_or_fileobj)))

    monkeypatch.setattr(huggingface_hub, 'HfApi', Api)
    assert Bundle(small_bundle).push_to_hub('me/cells') == 'https://hub/me/cells'
    assert (
        done[0] == ('repo', 'me/cells', True)
        and 'model.onnx' in done[1]
        and done[2] == ('README.md', 'model_card.md')
    )


def test_cli(run, small_bundle, copy, tmp_path):
    done = leukocls('export', run.folder, '--out', tmp_path / 'b')
    assert (
        done.returncode == 0 and 'onnxruntime' in done.stdout and 'Research use only' in done.stdout
    )
    Bundle(tmp_path / 'b')
    image = run.table.path[0]
    done = leukocls('predict', small_bundle, image, '--csv', tmp_path / 'r.csv')
    assert (
        done.returncode == 0
        and (tmp_path / 'r.csv').read_text().count('\n') == 2
        and 'Research use only' in done.stderr
    )
    (copy / 'config.json').write_text('{}')
    done = leukocls('predict', copy, image)
    assert (
        done.returncode == 2
        and 'config.json is not what it was' in done.stderr
        and 'Traceback' not in done.stderr
    )
    from typer.testing import CliRunner

    from leukocls.cli.commands import app

    def asked(*w):
        return CliRunner().invoke(app, [*map(str, w)], catch_exceptions=False)

    with pytest.raises(RunError, match='exists already'):
        asked('export', run.folder, '--out', tmp_path / 'b')
    with pytest.raises(RunError, match='leave out tta'):
        asked('predict', small_bundle, image, '--tta')
    said = asked(
        'evaluate',
        small_bundle,
        os.path.dirname(os.path.dirname(image)),
        '--json',
        tmp_path / 'm.json',
    )
    assert (
        said.exit_code == 0
        and 'to an expert' in said.output
        and json.loads((tmp_path / 'm.json').read_text())['n'] == len(run.table)
    )


@pytest.mark.usefixtures('no_plots')
@pytest.mark.slow
def test_eight_views_travel_with_the_network(table, quick, plain_fastai, tmp_path):
    """What averages over views in training's run does so in the pickle without leukocls, rebuilt,
    as bundle and in every engine; it is what `tta` gives of one view, and the features are those
    of one view.
    """
    from leukocls.models.predictor import Predictor, predict_images
    from leukocls.runs.run import Run

    one, eight = (
        train(quick, table, out=str(tmp_path), progress=False, views=v, epochs=5, keep='last')
        for v in (1, 8)
    )
    p = eight.predictions
    few = p.path[:6].tolist()
    want = p.filter(like='p_').to_numpy()
    assert np.allclose(
        predict_images(Predictor(one, tta=True), p.path.tolist()).filter(like='p_'), want, atol=1e-5
    ) and not np.allclose(one.predictions.filter(like='p_'), want, atol=1e-3)
    assert np.allclose(
        predict_images(Run(eight.folder).learner, few).filter(like='p_'), want[:6], atol=1e-5
    )
    assert np.allclose(
        [p for _, p in plain_fastai(eight.folder / 'learner.pkl', few)], want[:6], atol=2e-4
    )
    b = export_bundle(eight, tmp_path / 'bundle')
    assert (
        b.config['network']['views'] == 8
        and max(b.config['parity']['largest_difference'].values()) < 1e-4
    )
    for engine in (
        'torch',
        'onnxruntime',
        'openvino',
    ):  # before temperature: the same weights once and eight times
        clf = Classifier.load(b.folder, engine)
        x = np.stack([clf.pixels.read(f) for f in few])
        assert np.allclose(softmax(clf.engine(x)[:, : clf.k]), want[:6], atol=1e-4) and np.allclose(
            softmax(clf.engine(x[:1])[:, : clf.k]), want[:1], atol=1e-4
        )


@pytest.mark.usefixtures('no_plots')
@pytest.mark.slow
def test_an_ensemble_travels_as_one_network(table, local_weights, plain_fastai, tmp_path):
    """The mean of several networks in the pickle without leukocls, rebuilt, as bundle and in every
    engine; timm alone is not said to load it, and features are those of all of them.
    """
    from leukocls.models.networks import members_of, views_of
    from leukocls.models.predictor import predict_images
    from leukocls.runs.run import Run

    r = train(
        get_recipe(
            'mobilenetv2',
            arch='test_efficientnet',
            weights=str(local_weights),
            size=64,
            members=2,
            views=2,
            epochs=1,
            lr=1e-3,
        ),
        split_table(table),
        out=tmp_path / 'runs',
        progress=False,
        device='cpu',
    )
    p = r.predictions
    few = p.path[:6].tolist()
    want = p.filter(like='p_').to_numpy()
    nets = members_of(views_of(r.learner.model)[1])
    assert len(nets) == 2 and not any(
        torch.equal(a, b) for a, b in zip(*(list(m.parameters())[-2:-1] for m in nets))
    )
    assert np.allclose(
        predict_images(Run(r.folder).learner, few).filter(like='p_'), want[:6], atol=1e-5
    ) and np.allclose(
        [q for _, q in plain_fastai(r.folder / 'learner.pkl', few)], want[:6], atol=2e-4
    )
    b = export_bundle(r, tmp_path / 'bundle')
    c = b.config
    assert (c['network']['members'], c['network']['views'], 'timm' in c) == (2, 2, False) and max(
        c['parity']['largest_difference'].values()
    ) < 1e-3
    for engine in ('torch', 'onnxruntime', 'openvino'):
        clf = Classifier.load(b.folder, engine)
        x = np.stack([clf.pixels.read(f) for f in few])
        assert np.allclose(softmax(clf.engine(x)[:, : clf.k]), want[:6], atol=2e-3)
    from leukocls.deploy.conversion import convert_pickle

    c = convert_pickle(r.folder / 'learner.pkl', tmp_path / 'converted', trust=True).config
    assert (c['network']['members'], c['network']['views']) == (2, 2) and c['parity'][
        'largest_difference'
    ]['learner'] < 1e-3  # read without running it
    clf = Classifier.load(tmp_path / 'converted', 'torch')
    assert np.allclose(
        softmax(clf.engine(np.stack([clf.pixels.read(f) for f in few]))[:, : clf.k]),
        want[:6],
        atol=1e-3,
    )
    c = b.config
    assert (
        c['features']
        == 2
        * export_bundle(
            train(
                get_recipe(
                    'mobilenetv2',
                    arch='test_efficientnet',
                    weights=str(local_weights),
                    size=64,
                    epochs=1,
                    lr=1e-3,
                ),
                split_table(table),
                out=tmp_path / 'runs',
                progress=False,
                device='cpu',
            ),
            tmp_path / 'one',
        ).config['features']
        > 0
    )


def test_a_bundle_that_refers_everything_says_why(run, tmp_path):
    "And another share of errors can be allowed: everything that depends on it is fitted again."
    strict = export_bundle(run, tmp_path / 'strict')
    refer = strict.config['calibration']['refer']
    assert refer['threshold'] is None and refer['max_error'] == 0.01
    (note,) = strict.notes
    assert 'sends every image to an expert' in note and 'validation images without an error' in note
    assert 'max_error=0.05' in note and note in strict._repr_html_().replace('&#x27;', "'")
    clf = Classifier.load(strict)
    assert not clf.warnings and 'seldom enough' in clf(run.table.path[0]).why
    loose = export_bundle(run, tmp_path / 'loose', max_error=0.95)
    refer = loose.config['calibration']['refer']
    assert refer['max_error'] == 0.95 and refer['threshold'] is not None
    # six validation images of each class: the sets still hold every class
    (note,) = loose.notes
    assert 'sends every image to an expert' in note and 'fewer than 19 validation images' in note
    assert '--valid-pct' in note and 'max_error' not in note
    assert refer['answered'] > 0 and refer['alone']['answered'] == 0
    answers = Classifier.load(loose).many(list(run.predictions.path))
    assert not any('seldom enough' in answer.why for answer in answers)
    assert all(answer.refer for answer in answers)
    assert 'more than one class is possible' in [answer.why for answer in answers]
    # nothing of the run itself is changed
    assert (
        export_bundle(run, tmp_path / 'again').config['calibration']['refer']['threshold'] is None
    )
    for wrong in (0, 1, -3):
        with pytest.raises(DataError, match='max_error'):
            export_bundle(run, tmp_path / 'wrong', max_error=wrong)
    assert not (tmp_path / 'wrong').exists()


def test_another_share_of_errors_on_the_command_line(run, tmp_path, monkeypatch, capsys):
    from leukocls.cli.commands import main

    def export(*words):
        monkeypatch.setattr(sys, 'argv', ['leukocls', 'export', *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out + said.err

    code, said = export(run.folder, '--out', tmp_path / 'a')
    assert code == 0 and 'sends every image to an expert' in said and '--max-error 0.05' in said
    code, said = export(run.folder, '--out', tmp_path / 'b', '--max-error', 0.95)
    # no confidence is too low now; the sets still name several classes each
    assert code == 0 and '--max-error' not in said and '--valid-pct' in said
    pickle = run.folder / 'learner.pkl'
    code, said = export(pickle, '--trust', '--out', tmp_path / 'c', '--max-error', 0.95)
    assert code == 2 and 'holds no calibration' in said
