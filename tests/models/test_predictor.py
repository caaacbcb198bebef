"Every engine against fastai's own answer; files that are awkward, broken, many."

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from leukocls.core.errors import DataError, ModelError
from leukocls.data.images import Pixels, read_batches
from leukocls.data.splits import split_table
from leukocls.models.backbones import cell_learner
from leukocls.models.engines import (
    NEAR,
    SAME,
    SURE,
    Cascade,
    Engine,
    disagreement,
    pick_engine,
    softmax,
    stream,
    versions_of,
)
from leukocls.models.networks import network_of, stage_body
from leukocls.models.predictor import (
    Predictor,
    by_fastai,
    eight_views,
    open_pickle,
    predict_images,
    predict_to,
)
from leukocls.runs.run import Run
from leukocls.train.loaders import CellDataLoaders

ENGINES = ['torch', 'openvino', 'onnxruntime']


@pytest.fixture
def learn(table):  # anew for each test: some of them train it
    torch.manual_seed(0)
    learn = cell_learner(
        CellDataLoaders.from_table(split_table(table), size=40, device='cpu'),
        'mobilenetv2_035',
        'none',
    )
    for p in learn.model.parameters():
        p.data += 0.02 * torch.randn_like(p)
    return learn


@pytest.fixture(scope='module')
def awkward(tmp_path_factory):
    "Pictures as scanners, phones and web pages write them."
    d = tmp_path_factory.mktemp('awkward')
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (60, 50, 3), dtype='uint8')
    im = Image.fromarray(a)
    im.save(d / 'plain.jpg')
    im.convert('CMYK').save(d / 'cmyk.jpg')
    im.convert('P').save(d / 'palette.png')
    im.convert('L').save(d / 'grey.tif')
    im.crop((0, 0, 1, 1)).save(d / 'one.png')
    Image.fromarray((a[..., 0].astype('uint16') * 257)).save(d / 'deep.png')
    Image.fromarray(np.dstack([a, a[..., :1]])).save(d / 'alpha.png')
    im.resize((900, 20)).save(d / 'wide.bmp')
    exif = Image.Exif()
    exif[0x112] = 6
    im.save(d / 'turned.jpg', exif=exif)
    return sorted(map(str, d.iterdir()))


@pytest.mark.parametrize('engine', ENGINES)
def test_engines_say_what_fastai_says(learn, table, awkward, engine):
    if not versions_of(engine):
        pytest.skip(f'no {engine} here')
    if engine == 'onnxruntime':
        pytest.importorskip('onnxscript')
    paths = [*awkward, *table.path[:30]]
    p = predict_images(learn, paths, engine=engine)
    want = by_fastai(learn, paths)
    assert disagreement(p.filter(like='p_').to_numpy(), want) < 1e-4 and p.path.tolist() == paths
    assert p.pred.tolist() == [learn.dls.vocab[i] for i in want.argmax(1)]


@pytest.mark.skipif(sys.platform == 'win32', reason='signals of POSIX systems')
@pytest.mark.parametrize('thread', [False, True])  # where they go
def test_a_signal_finds_python_alive_after_networks_came_and_went(learn, table, tmp_path, thread):
    """OpenVINO gives each core that is made a stack for signal handlers: gone with it, in the wrong
    order, Ctrl-C was a segmentation fault.
    """
    if not versions_of('openvino'):
        pytest.skip('no openvino here')
    learn.path = tmp_path
    learn.export('learner.pkl')
    code = (
        "import gc, os, signal, subprocess, sys, threading, time\nfrom leukocls.models.predictor import"
        " Predictor, open_pickle\n"
        "kept = [Predictor(open_pickle(sys.argv[1], trust=True), 'openvino') for _ in range(3)];"
        " assert {one.engine.name for one in kept if len(one(sys.argv[2])) == 4} == {'openvino'}\n"
        "def drop():\n    while kept: del kept[0]; gc.collect()\n"
        "t = threading.Thread(target=drop); (t.start(), t.join()) if sys.argv[3] == 'True' else"
        " drop()\n"
        "seen = []; signal.signal(signal.SIGINT, signal.default_int_handler);"
        # a job in the background of a shell ignores SIGINT
        " signal.signal(signal.SIGCHLD, lambda *a: seen.append(1)); subprocess.run(['true'])\n"
        "try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "except KeyboardInterrupt: print('stopped', len(seen))"
    )
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            code,
            str(tmp_path / 'learner.pkl'),
            table.path[0],
            str(thread),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, 'stopped 1\n'), (
        done.returncode,
        done.stderr[-500:],
    )


def test_openvino_tells_nobody():
    """Its telemetry, a process and a message to Google Analytics for each import and each
    conversion, is not even imported.
    """
    if not versions_of('openvino'):
        pytest.skip('no openvino here')
    code = (
        "import os, sys; import torch; from leukocls.models.engines import silent_openvino; ov ="
        " silent_openvino(); forks = []; os.register_at_fork(before=lambda: forks.append(1));"
        " ov.convert_model(torch.nn.Linear(2, 2), example_input=torch.zeros(1, 2));"
        " print(len(forks), *(m for m in sys.modules if m.startswith('openvino_telemetry')))"
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k not in ('CI', 'TF_BUILD', 'JENKINS_URL')},
    )
    assert done.returncode == 0, done.stderr[-1000:]
    assert done.stdout.split() == ['0']


def test_auto_is_fastai_too(learn, table):
    assert (
        disagreement(
            predict_images(learn, table.path).filter(like='p_').to_numpy(),
            by_fastai(learn, table.path),
        )
        < 1e-4
    )


def test_one_image_is_as_many(learn, table):
    p = predict_images(learn, table.path[:4]).filter(like='p_').to_numpy()
    one = Predictor(learn)
    for i in range(4):
        assert np.allclose(list(one(table.path[i]).values()), p[i], atol=1e-5)
    assert np.allclose(list(one(Image.open(table.path[1])).values()), p[1], atol=1e-5)


def test_exported_learner_is_read_off_as_well(learn, table, tmp_path):
    learn.path = tmp_path
    learn.export('x.pkl')
    again = open_pickle(tmp_path / 'x.pkl', trust=True)
    assert network_of(again) is not None
    assert np.allclose(
        predict_images(again, table.path[:20]).filter(like='p_'),
        predict_images(learn, table.path[:20]).filter(like='p_'),
        atol=1e-4,
    )


@pytest.mark.parametrize('tfms', ['random resized crop', 'own function', 'multi-label'])
def test_unknown_loaders_are_left_to_fastai(table, tmp_path, tfms):
    "What cannot be read off exactly is not guessed: the answer is fastai's."
    from fastai.vision.augment import RandomResizedCrop

    kw = {
        'random resized crop': dict(item_tfms=RandomResizedCrop(32)),
        'own function': dict(batch_tfms=[lambda x: 1 - x]),
    }.get(tfms, {})
    learn = cell_learner(
        CellDataLoaders.from_table(split_table(table), size=32, device='cpu', **kw), 'small-cnn'
    )
    if tfms == 'multi-label':
        from fastai.losses import BCEWithLogitsLossFlat

        learn.loss_func = BCEWithLogitsLossFlat(thresh=0.5)
    assert np.allclose(
        predict_images(learn, table.path[:6]).filter(like='p_').to_numpy(),
        by_fastai(learn, table.path[:6]),
        atol=1e-4,
    )


@pytest.mark.parametrize('how', [dict(tta=True), dict(engine='torch')])
def test_what_fastai_alone_can_do_is_not_done_half(table, how):
    "Views or an engine for a learner whose answer is not a softmax: said, not silently left out."
    from fastai.losses import BCEWithLogitsLossFlat

    learn = cell_learner(
        CellDataLoaders.from_table(split_table(table), size=32, device='cpu'), 'small-cnn'
    )
    learn.loss_func = BCEWithLogitsLossFlat(thresh=0.5)
    with pytest.raises(ModelError, match='leave out tta and engine'):
        predict_images(learn, table.path[:3], **how)


def test_trained_on_is_predicted_anew(learn, table):
    "A Learner that learned more must not be answered from a converted network of before."
    a = predict_images(learn, table.path[:70]).filter(like='p_').to_numpy()
    for p in learn.model.parameters():
        p.data += 0.05 * torch.randn_like(p)
    b = predict_images(learn, table.path[:70]).filter(like='p_').to_numpy()
    assert disagreement(a, b) > 1e-3 and disagreement(b, by_fastai(learn, table.path[:70])) < 1e-4


def test_training_goes_on_after_predicting(learn, table):
    learn.model.train()
    predict_images(learn, table.path[:3])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-4)
    assert np.allclose(
        predict_images(learn, table.path[:3]).filter(like='p_').to_numpy(),
        by_fastai(learn, table.path[:3]),
        atol=1e-4,
    )


def test_turning_the_picture_does_not_change_tta(learn, tmp_path):
    a = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype='uint8')
    Image.fromarray(a).save(tmp_path / 'a.png')
    Image.fromarray(np.rot90(a, 1).copy()).save(tmp_path / 'b.png')
    Image.fromarray(a[:, ::-1].copy()).save(tmp_path / 'c.png')
    p = (
        predict_images(learn, [tmp_path / n for n in ('a.png', 'b.png', 'c.png')], tta=True)
        .filter(like='p_')
        .to_numpy()
    )
    assert np.allclose(p[0], p[1], atol=1e-5) and np.allclose(p[0], p[2], atol=1e-5)
    plain = (
        predict_images(learn, [tmp_path / 'a.png', tmp_path / 'b.png']).filter(like='p_').to_numpy()
    )
    assert disagreement(plain[:1], plain[1:]) > 1e-4


def test_eight_views_are_eight():
    x = np.arange(9 * 3).reshape(1, 3, 3, 3)
    assert (
        len({v.tobytes() for v in eight_views(x)}) == 8
        and np.array_equal(eight_views(x)[0], x[0])
        and eight_views(x, 1) is x
    )


def test_broken_files_are_rows(learn, table, tmp_path):
    (tmp_path / 'empty.png').write_bytes(b'')
    (tmp_path / 'text.jpg').write_text('hello')
    paths = [
        table.path[0],
        tmp_path / 'empty.png',
        table.path[1],
        tmp_path / 'text.jpg',
        tmp_path / 'gone.png',
    ]
    p = predict_images(learn, paths, on_error='keep')
    assert p.pred.eq('').tolist() == [False, True, False, True, True] and p.filter(
        like='p_'
    ).isna().all(axis=1).tolist() == [False, True, False, True, True]
    assert (
        'zero bytes' in p.error[1] and 'not an image' in p.error[3] and 'no such file' in p.error[4]
    )
    with pytest.raises(DataError, match='zero bytes'):
        predict_images(learn, paths)
    only = predict_images(learn, paths[3:], on_error='keep')
    assert only.pred.tolist() == ['', '']


@pytest.mark.parametrize('suffix', ['csv', 'parquet'])
def test_files_are_whole_and_in_order(learn, table, tmp_path, suffix):
    if suffix == 'parquet':
        pytest.importorskip('pyarrow')
    paths = list(table.path) * 6
    out = tmp_path / f'deep/p.{suffix}'
    assert predict_to(learn, iter(paths), out) == len(paths)
    t = pd.read_csv(out, keep_default_na=False) if suffix == 'csv' else pd.read_parquet(out)
    assert t.path.tolist() == paths and list(out.parent.iterdir()) == [out]


def test_nothing_half_remains(learn, table, tmp_path):
    with pytest.raises(DataError, match='no such file'):
        predict_to(learn, [*table.path, 'gone.png'], tmp_path / 'p.csv', on_error='raise')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number(table, tmp_path):
    "Peak memory for ten times the images within 20 %."
    code = (
        "import sys, resource, itertools, torch; from leukocls.train.loaders import CellDataLoaders; from"
        " leukocls.models.backbones import cell_learner; from leukocls.models.predictor import predict_to; from"
        " leukocls.data.table import read_table; from leukocls.data.splits import split_table\nt ="
        " read_table(sys.argv[1]); torch.manual_seed(0); learn ="
        " cell_learner(CellDataLoaders.from_table(split_table(t), size=32, device='cpu'),"
        " 'small-cnn')\nn = int(sys.argv[2]); predict_to(learn,"
        " itertools.islice(itertools.cycle(t.path), n), sys.argv[3], engine='torch');"
        " print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peak = [
        int(
            subprocess.run(
                [
                    sys.executable,
                    '-W',
                    'ignore',
                    '-c',
                    code,
                    os.path.dirname(os.path.dirname(table.path[0])),
                    str(n),
                    str(tmp_path / f'{n}.csv'),
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for n in (800, 8000)
    ]
    assert peak[1] < 1.2 * peak[0], peak


def test_read_batches_decodes_no_more_than_it_must(table):
    "A reader that stops early leaves the other files alone."
    seen = []

    class Spy(Pixels):
        def read(self, path):
            seen.append(path)
            return super().read(path)

    b = read_batches(list(table.path), Spy(16), bs=4, workers=2)
    next(b)
    b.close()
    assert len(seen) <= 4 * 5


def test_wrong_names_are_said(learn, table):
    with pytest.raises(ModelError, match='Use one of: auto, torch'):
        predict_images(learn, table.path[:2], engine='warp')


def test_environment_overrides(learn, table, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_ENGINE', 'torch-bf16')
    for n in (None, 3):
        one = Predictor(learn, n=n)
        one(table.path[0])
        assert one.engine.name == 'torch-bfloat16'


class Told(Engine):
    """Says what it was told of each picture, whose first two bytes are its number; remembers whom
    it was asked about.
    """

    def __init__(self, z, bs, depth):
        self.z, self.bs, self.depth, self.asked, self.busy = z, bs, depth, [], 0

    def start(self, x):
        self.busy += 1
        assert self.busy <= self.depth
        i = x[:, 0, 0, 0].astype(int) + 256 * x[:, 0, 0, 1].astype(int)
        self.asked += list(i)
        return self.z[i].copy()

    def finish(self, job):
        self.busy -= 1
        return job


@pytest.mark.parametrize('sharp,pays', [(40, True), (2, False)])
@pytest.mark.parametrize('bs', [(1, 1), (4, 1), (3, 5)])
def test_a_cascade_asks_again_where_it_is_unsure(sharp, pays, bs):
    """1,000 pictures: those below 0.995, and what is no number, are answered by the exact engine,
    all others once, in order; most are unsure: the fast engine is left alone.
    """
    rng = np.random.default_rng(0)
    exact = rng.normal(0, 1, (1000, 4)).astype('float32') * sharp
    fast = exact + rng.uniform(-0.35, 0.35, exact.shape).astype('float32')
    fast[5] = np.nan
    x = np.zeros((1000, 2, 2, 3), 'uint8')
    x[:, 0, 0, 0], x[:, 0, 0, 1] = np.arange(1000) % 256, np.arange(1000) // 256
    a, b = Told(fast, bs[0], 3), Told(exact, bs[1], 2)
    both = Cascade(a, b)
    z = np.concatenate(
        [o for _, o in stream(both, [(k, x[k : k + 16]) for k in range(0, 1000, 16)])]
    )
    p, want = softmax(z), softmax(exact)
    assert (
        (p.argmax(1) == want.argmax(1)).all()
        and disagreement(p, want) <= NEAR
        and both.pays == pays
        and a.busy == b.busy == 0
    )
    unsure = ~(softmax(fast[: max(a.asked) + 1]).max(1) >= SURE)
    assert (
        sorted(b.asked) == [*np.flatnonzero(unsure), *range(max(a.asked) + 1, 1000)]
        and a.asked == list(range(max(a.asked) + 1))
        and (len(a.asked) == 1000) == pays
        and unsure[5]
    )
    assert (Cascade(a, b)(x[:1]) == z[:1]).all()


@pytest.mark.parametrize(
    'engine', ['torch-cascade', *(['openvino-cascade'] if versions_of('openvino') else [])]
)
def test_a_cascade_of_real_engines(learn, table, engine):
    """A network made sure of itself: half precision answers where it is sure, and says what fastai
    says.
    """
    from sklearn.linear_model import LogisticRegression

    last = [m for m in learn.model.modules() if isinstance(m, torch.nn.Linear)][-1]
    seen = []
    hook = last.register_forward_pre_hook(lambda m, i: seen.append(i[0].detach().clone()))
    by_fastai(learn, list(table.path))
    hook.remove()
    fit = LogisticRegression(C=5.0, max_iter=2000).fit(torch.cat(seen).numpy(), table.label)
    last.weight.data, last.bias = (
        torch.tensor(fit.coef_).float(),
        torch.nn.Parameter(torch.tensor(fit.intercept_).float()),
    )
    one = Predictor(learn, engine)
    p = pd.concat(one.chunks(table.path)).filter(like='p_').to_numpy()
    want = by_fastai(learn, list(table.path))
    assert (
        isinstance(one.engine, Cascade)
        and one.engine.name == engine
        and disagreement(p, want) <= NEAR
        and (p.argmax(1) == want.argmax(1)).all()
        and one.engine.seen >= 64
        and 0 < one.engine.twice < one.engine.seen
    )
    alone = one(table.path[0])
    assert disagreement(np.array([list(alone.values())]), want[:1]) <= NEAR


@pytest.mark.parametrize('pair', ['views', 'neighbours'])
def test_networks_that_look_alike_are_kept_apart(learn, pair):
    """Two and eight views, three and five neighbours: the same weights and the same text, another
    answer.
    """
    from leukocls.models.networks import NearestHead, Ready, weights_key, with_views

    a, b = (
        [Ready(with_views(learn.model, n)) for n in (2, 8)]
        if pair == 'views'
        else [Ready(NearestHead(9, 4, 2, k)) for k in (3, 5)]
    )
    assert (
        repr(a) == repr(b)
        and weights_key(a, Pixels(40)) != weights_key(b, Pixels(40))
        and weights_key(a, Pixels(40)) == weights_key(a, Pixels(40))
    )


def test_an_engine_that_lies_is_not_used():
    class Honest(Engine):
        name = 'honest'

        def start(self, x):
            return np.stack([x.mean((1, 2, 3)), 255 - x.mean((1, 2, 3))], 1).astype('float32')

    class Liar(Honest):
        name = 'liar'

        def start(self, x):
            return super().start(x)[:, ::-1]

    class Nan(Honest):
        name = 'nan'

        def start(self, x):
            return super().start(x) * np.nan

    x = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype='uint8')
    assert pick_engine({'honest': Honest, 'liar': Liar, 'nan': Nan}, x).name == 'honest'


def test_stream_keeps_the_order():
    class Two(Engine):
        depth = 2

        def start(self, x):
            return x

    assert [t for t, _ in stream(Two(), ((i, np.zeros((1, 1))) for i in range(7)))] == list(
        range(7)
    )
    assert softmax(np.array([[1000.0, 0]])).tolist() == [[1, 0]]


@pytest.mark.parametrize(
    'arch,size',
    [
        ('resnet18', 64),
        ('convnext_atto', 64),
        ('swin_tiny_patch4_window7_224', 224),
        ('vgg11', 64),
        ('resmlp_12_224', 224),
        ('mobilenetv3_small_050', 64),
    ],
)
def test_stage_bodies_of_many_kinds(arch, size):
    """Channels first or last, with or without stages: one row of numbers per image, alike in a
    batch and alone.
    """
    body, _ = stage_body(arch, size)
    body.eval()
    x = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        a, b = body(x), body(x[1:])
    assert a.ndim == 2 and torch.isfinite(a).all() and torch.allclose(a[1:], b, atol=1e-4)


def test_a_bad_file_leaves_the_engine_ready(learn, table, tmp_path):
    """An error in the middle of a folder, or a reader who stops early, and the same predictor goes
    on as if nothing had been.
    """
    bad = tmp_path / 'bad.png'
    bad.write_bytes(b'no picture')
    files = list(table.path[:48])
    for engine in ('torch', *(['openvino'] if versions_of('openvino') else [])):
        one = Predictor(learn, engine)
        want = pd.concat(one.chunks(files))
        for _ in range(4):
            with pytest.raises(DataError, match='bad.png'):
                list(one.chunks([*files[:40], str(bad), *files]))
            few = one.chunks(files * 9, rows=16)
            next(few)
            few.close()
        assert np.allclose(
            pd.concat(one.chunks(files)).filter(like='p_'), want.filter(like='p_'), atol=1e-5
        )


def test_a_predictor_notices_that_its_learner_learned(learn, table):
    """Made once, kept by somebody, trained on in between, or given another network: never an answer
    of before.
    """
    one = Predictor(learn)
    many = Predictor(learn, *(['openvino'] if versions_of('openvino') else []))
    one(table.path[0])
    list(many.chunks(table.path[:20]))
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.05)
    for p in (one, many):
        assert (
            disagreement(
                pd.concat(p.chunks(table.path[:20])).filter(like='p_').to_numpy(),
                by_fastai(learn, list(table.path[:20])),
            )
            < 1e-3
        )
    with torch.no_grad():
        learn.model[-1][-1].weight.mul_(-1.0)  # not through an optimizer
    want = by_fastai(learn, [table.path[0]])[0]
    assert np.allclose(list(one(table.path[0]).values()), want, atol=1e-3)
    learn.model = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4)
    ).eval()
    assert np.allclose(
        list(one(table.path[0]).values()), by_fastai(learn, [table.path[0]])[0], atol=1e-3
    )


def test_a_picture_in_hand_is_as_its_file(learn, awkward):
    one = Predictor(learn, n=3)
    for path in awkward:
        with Image.open(path) as im:
            assert np.allclose(list(one(im).values()), list(one(path).values()), atol=1e-5), path
    fresh = Predictor(learn, n=3, tta=True)
    path = next(p for p in awkward if 'cmyk' in p)
    with Image.open(path) as im:
        assert np.allclose(list(fresh(im).values()), list(fresh(path).values()), atol=1e-5)
    assert np.allclose(
        list(one(open(path, 'rb').read()).values()), list(one(path).values()), atol=1e-5
    )


def test_a_folder_that_begins_with_broken_files_goes_the_fast_way(learn, table, tmp_path):
    bad = [str(tmp_path / f'gone-{i}.png') for i in range(40)]
    one = Predictor(learn, tta=True)
    p = pd.concat(one.chunks(bad + list(table.path[:20]), on_error='keep'))
    want = predict_images(learn, table.path[:20], tta=True)
    assert (
        one.engine is not None
        and p.path.tolist() == bad + list(table.path[:20])
        and p.pred[:40].eq('').all()
        and np.allclose(p.filter(like='p_')[40:].astype(float), want.filter(like='p_'), atol=1e-4)
    )
    assert len(predict_images(learn, bad, on_error='keep')) == 40


@pytest.mark.parametrize('what', ['.bin', '.xml', '.sum', 'gone'])
def test_a_damaged_kept_network_is_made_again(learn, table, tmp_path, monkeypatch, what):
    "OpenVINO answers from whatever lies in the file; a sum tells."
    if not versions_of('openvino'):
        pytest.skip('no openvino here')
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    paths = list(table.path[:20])
    want = predict_images(learn, paths, engine='openvino').filter(like='p_').to_numpy()
    assert disagreement(want, by_fastai(learn, paths)) < 1e-3
    xml = next((tmp_path / 'engines').glob('*.xml'))
    file = xml.with_suffix('.bin' if what == 'gone' else what)
    data = file.read_bytes()
    if what == 'gone':
        file.unlink()
    else:
        file.write_bytes(
            data[: len(data) // 3] + bytes(len(data) // 3) + data[2 * (len(data) // 3) :]
        )
    assert disagreement(
        predict_images(learn, paths, engine='openvino').filter(like='p_').to_numpy(), want
    ) < 1e-6 and (what in ('.xml', '.sum') or file.read_bytes() == data)


def test_a_full_or_foreign_cache_is_no_obstacle(learn, table, tmp_path, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path))
    paths = list(table.path[:70])
    want = by_fastai(learn, paths)
    predict_images(learn, paths)
    import leukocls.core.cache as memory
    from leukocls.core.errors import RunError

    def full(*a, **k):
        raise RunError('No space left on device')

    def foreign(*a, **k):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(memory, 'write_whole', full)
    monkeypatch.setattr(os, 'utime', foreign)
    monkeypatch.setattr(type(tmp_path), 'unlink', foreign)
    for p in learn.model.parameters():
        p.data += 0.01
    for _ in range(2):
        assert (
            disagreement(
                predict_images(learn, paths).filter(like='p_').to_numpy(), by_fastai(learn, paths)
            )
            < 1e-3
        )
    assert disagreement(want, by_fastai(learn, paths)) > 1e-4
    memory.prune(tmp_path / 'engines', 0)


def test_two_readers_of_one_predictor(learn, table):
    "Two half-read streams at once share one engine."
    if not versions_of('openvino'):
        pytest.skip('no openvino here')
    one = Predictor(learn, 'openvino')
    one(table.path[0])
    paths = list(table.path) * 3
    a, b = (one.chunks(paths, rows=8) for _ in range(2))
    got = [[], []]
    for _ in range(4):
        got[0].append(next(a))
        got[1].append(next(b))
    got[0] += a
    got[1] += b
    a, b = (pd.concat(g) for g in got)
    assert a.path.tolist() == b.path.tolist() == paths and np.allclose(
        a.filter(like='p_'), b.filter(like='p_')
    )


def test_half_precision_training_does_not_make_prediction_slow(learn, table):
    """A learner that trains in half precision is compared with fastai in full precision, and keeps
    its callback.
    """
    from leukocls.train.callbacks import Bf16OnCpu

    learn.add_cb(Bf16OnCpu())
    [p.data.mul_(0.4) for p in learn.model[-1].parameters()]
    one = Predictor(learn)
    one(table.path[0])
    assert (
        one.engine is not None
        and any(isinstance(c, Bf16OnCpu) for c in learn.cbs)
        and not torch.is_autocast_enabled('cpu')
    )
    assert (
        disagreement(
            by_fastai(learn, list(table.path[:20])),
            by_fastai(learn, list(table.path[:20]), exact=True),
        )
        > SAME
    )


def test_a_wish_is_met_where_it_can_be(table, learn, monkeypatch):
    """An engine in the environment is for everything that runs: what has no such engine takes its
    best.
    """
    from fastai.losses import BCEWithLogitsLossFlat

    monkeypatch.setenv('LEUKOCLS_ENGINE', 'torch-bf16')
    learn.loss_func = BCEWithLogitsLossFlat(thresh=0.5)
    assert np.allclose(
        predict_images(learn, table.path[:3]).filter(like='p_'),
        by_fastai(learn, list(table.path[:3])),
        atol=1e-4,
    )
    monkeypatch.setenv('LEUKOCLS_ENGINE', 'warp')
    with pytest.raises(ModelError, match='LEUKOCLS_ENGINE=warp'):
        predict_images(learn, table.path[:3])


def test_the_learner_is_moved_where_it_is_told(learn, table):
    from leukocls.core.errors import LeukoError

    p = predict_images(learn, table.path[:3], device='cpu')
    assert np.allclose(p.filter(like='p_'), by_fastai(learn, list(table.path[:3])), atol=1e-4)
    if not torch.cuda.is_available():
        with pytest.raises(LeukoError, match='not available here'):
            predict_images(learn, table.path[:3], device='cuda')


def test_names_that_are_no_text(learn, table, tmp_path):
    "File names are bytes on Linux; a table of them can be written and read again."
    import shutil

    try:
        name = os.fsdecode(bytes(tmp_path) + b'/caf\xe9.png')
        shutil.copy(table.path[0], name)
    except (OSError, UnicodeError):
        pytest.skip('this file system takes text only')
    assert (
        predict_to(learn, tmp_path, tmp_path / 'out.csv') == 1
        and (tmp_path / 'out.csv').read_bytes().count(b'caf\xe9.png') == 1
    )
    pytest.importorskip('pyarrow')
    assert predict_to(learn, [name], tmp_path / 'out.parquet') == 1 and pd.read_parquet(
        tmp_path / 'out.parquet'
    ).path[0].endswith('caf\\xe9.png')


def test_two_processes_may_write_one_table(learn, table, tmp_path):
    "Each writes its own; the last to end stands, whole."
    from leukocls.models.predictor import _predictor

    out = tmp_path / 'p.csv'
    inside = []

    def paths():
        for i, p in enumerate(table.path[:40]):
            if i == 30:
                inside.append(predict_to(learn, list(table.path[:5]), out))
            yield p

    assert (
        predict_to(_predictor(learn), paths(), out) == 40
        and inside == [5]
        and len(pd.read_csv(out)) == 40
        and list(tmp_path.iterdir()) == [out]
    )


@pytest.fixture
def photograph(tmp_path):
    "A sky over a meadow, with a dark house: no cell anywhere."
    y, x = np.mgrid[:240, :320]
    sky, meadow = np.array([90, 150, 230]), np.array([60, 140, 40])
    a = np.where((y < 130)[..., None], sky + y[..., None] // 4, meadow + x[..., None] // 8)
    a[90:190, 60:150] = 70, 40, 30
    a = a + np.random.default_rng(0).normal(0, 4, a.shape)
    Image.fromarray(np.clip(a, 0, 255).astype('uint8')).save(tmp_path / 'house.jpg')
    return str(tmp_path / 'house.jpg')


SAFEGUARDS = ['classes', 'refer', 'why', 'in_domain']


def test_a_run_says_what_it_does_not_know(run, small_bundle, table, photograph, tmp_path):
    """A photograph was `Benign 0.9992` without a word. A run heeds its gate and its calibration as
    its bundle does, in the same words; file by file the two tables agree.
    """
    from leukocls.deploy.classifier import Classifier, write_table

    (tmp_path / 'broken.png').write_bytes(b'no picture')
    files = [photograph, *run.predictions.path, str(tmp_path / 'broken.png')]
    predict_to(Run(run.folder), files, tmp_path / 'run.csv')
    write_table(Classifier.load(small_bundle), files, tmp_path / 'bundle.csv', progress=False)
    ours, theirs = (
        pd.read_csv(tmp_path / f'{name}.csv', keep_default_na=False) for name in ('run', 'bundle')
    )
    assert list(ours) == [c for c in theirs if c != 'warnings']
    for column in ('pred', *SAFEGUARDS):
        assert ours[column].tolist() == theirs[column].tolist(), column
    assert str(ours.in_domain[0]) == 'False' and str(ours.refer[0]) == 'True'
    assert ours.why[0].startswith('no image like those it learned from')
    assert (ours.in_domain[1:-1].astype(str) == 'True').mean() >= 0.8
    assert ours.pred.iloc[-1] == '' and 'not an image' in ours.error.iloc[-1]
    p, q = (t.filter(like='p_')[:-1].astype(float).to_numpy() for t in (ours, theirs))
    assert np.allclose(p, q, atol=1e-3)
    one = Predictor(Run(run.folder))
    for again in (one(photograph), one(photograph)):  # the first one chooses the engine
        assert np.allclose(list(again.values()), p[0], atol=1e-3)


def test_what_has_no_gate_is_as_before(run, table, photograph, tmp_path):
    import shutil

    bare = predict_images(run.learner, [photograph, *table.path[:3]])
    assert not {*SAFEGUARDS} & {*bare}
    copy = shutil.copytree(run.folder, tmp_path / 'copy')
    (copy / 'gate.json').unlink()
    one = Predictor(Run(copy))
    assert 'has no gate.json' in one.safeguards.note and '\n' not in one.safeguards.note
    pd.testing.assert_frame_equal(
        predict_images(one, [photograph, *table.path[:3]]), bare, atol=1e-5
    )
    (copy / 'gate.json').write_text('{')
    with pytest.raises(ModelError, match='gate.json is damaged'):
        Predictor(Run(copy))


@pytest.mark.parametrize('way', ['engine', 'fastai'])
def test_each_picture_is_decoded_once(run, table, photograph, monkeypatch, way):
    "For the network and for the gate, however often a file is named; in order."
    import leukocls.data.images as images
    import leukocls.models.predictor as predict

    one = Predictor(Run(run.folder))
    files = [photograph, *table.path[:40], photograph, table.path[0]]
    want = pd.concat(one.chunks(files))  # the engine is chosen
    if way == 'fastai':
        one._only_fastai()
    opened, real = [], images.open_cell

    def count(path, *args):
        opened.append(str(path))
        return real(path, *args)

    for module in (images, predict):
        monkeypatch.setattr(module, 'open_cell', count)
    got = pd.concat(one.chunks(files, rows=7), ignore_index=True)
    assert sorted(opened) == sorted(files)
    assert got.path.tolist() == files and got.in_domain.tolist() == want.in_domain.tolist()
    assert got.in_domain.tolist()[0] is False and got.why[0] == got.why[41] != ''
    assert np.allclose(got.filter(like='p_'), want.filter(like='p_'), atol=1e-3)


def test_parquet_holds_what_a_gate_says(run, table, photograph, tmp_path):
    pytest.importorskip('pyarrow')
    files = ['gone.png', photograph, *table.path[:20]]
    one = Predictor(Run(run.folder))
    predict_to(one, files, tmp_path / 'p.parquet')
    p = pd.read_parquet(tmp_path / 'p.parquet')
    assert p.in_domain.isna().tolist() == [True] + [False] * 21 and not p.in_domain[1]


def test_a_path_in_place_of_a_model_is_answered_in_a_sentence(run, table):
    with pytest.raises(ModelError, match='is a path, not a model. Open it first: Run'):
        predict_images(str(run.folder), table.path[:1])
