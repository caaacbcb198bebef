"""One view of a picture, bit by bit, on all ways from training to the web page; and pictures without a
cell, which are never squashed in silence.
"""

import json

import numpy as np
import pytest
from PIL import Image

from leukocls.core.errors import ModelError
from leukocls.data.films import draw_film, draw_patient
from leukocls.data.images import Pixels, expect
from leukocls.data.survey import survey_images
from leukocls.data.views import Place, cell_view, central_cell, cut_cell, pictures_without_cell
from leukocls.measure.domain import NO_CELL

WORDS = f'no image like those it learned from ({NO_CELL})'
EMPTY = Image.new('RGB', (50, 70), (232, 224, 218))


@pytest.fixture(scope='module')
def cut_table(tmp_path_factory):
    "Cells anywhere in pictures of different shapes, and one training picture without a cell."
    from leukocls.data.table import read_table

    folder, rng = tmp_path_factory.mktemp('cut'), np.random.default_rng(0)
    for label in ('Early', 'Pro'):
        (folder / label).mkdir()
        for i in range(8):
            field = Image.new('RGB', (90 + 4 * i, 100), (232, 224, 218))
            film = draw_film(draw_patient(label, i), i, size=64)
            field.paste(film, tuple(int(v) for v in rng.integers(0, 27, 2)))
            field.save(folder / label / f'P{i:02}_{label}.png')
    EMPTY.save(folder / 'Pro' / 'P00_empty.png')
    table = read_table(folder, patient=r'(P\d+)_')
    split = [
        'test' if p in ('P06', 'P07') else 'valid' if p == 'P05' else 'train' for p in table.patient
    ]
    return table.assign(split=split)


@pytest.fixture(scope='module')
def cell_run(cut_table, local_weights, without_plots, tmp_path_factory):
    from leukocls.runs.experiment import train

    with without_plots():
        return train(
            'probe',
            cut_table,
            out=tmp_path_factory.mktemp('runs'),
            arch='test_efficientnet',
            weights=local_weights,
            size=48,
            view='cell',
            progress=False,
            device='cpu',
        )


@pytest.fixture(scope='module')
def cell_bundle(cell_run, tmp_path_factory):
    from leukocls.deploy.bundle import export_bundle

    return export_bundle(cell_run, tmp_path_factory.mktemp('bundles') / 'cell').folder


def pictures_on_all_ways(run, bundle, table):
    "Way → the pictures (N, H, W, C) that a network gets on it."
    from leukocls.deploy.classifier import Classifier, _see
    from leukocls.deploy.conversion import read_learner
    from leukocls.models.frozen import FrozenBody
    from leukocls.models.networks import network_of
    from leukocls.models.predictor import _Reader
    from leukocls.train.loaders import CellDataLoaders
    from leukocls.web.upload import open_upload

    paths = list(table.path)
    frozen = FrozenBody(run.recipe.arch, run.recipe.weights, 48, view=run.recipe.view)
    ready = expect(frozen.pixels, paths)
    survey_images(table, ready=[ready])
    clf = Classifier.load(bundle)
    data = [open(path, 'rb').read() for path in paths]
    ways = dict(
        probe=[frozen.pixels.read(p) for p in paths],
        survey=[ready.read(p) for p in paths],
        run=[_Reader(network_of(run.learner)[1], True).read(p) for p in paths],
        bundle=[_see(p, '', clf.pixels).x for p in paths],
        serve=[_see(d, '', clf.pixels).x for d in data],
        page=[_see(open_upload(d)[0], '', clf.pixels).x for d in data],
        pickle=[read_learner(run.folder / 'learner.pkl')['pixels'].read(p) for p in paths],
    )
    for name, remember in (('kept', True), ('fastai', False)):
        dls = CellDataLoaders.from_table(
            table, 48, bs=4, view='cell', remember=remember, device='cpu'
        )
        dl = dls.train.new(shuffle=False, drop_last=False)
        x = np.concatenate([np.asarray(batch[0].cpu()) for batch in dl])
        ways[name] = np.rint(255 * x).astype('uint8').transpose(0, 2, 3, 1)
    return {name: np.stack(list(pictures)) for name, pictures in ways.items()}


def test_pictures_are_equal_on_all_ways(cell_run, cell_bundle, cut_table):
    ways = pictures_on_all_ways(cell_run, cell_bundle, cut_table)
    want = ways.pop('probe')
    is_train = (cut_table.split == 'train').to_numpy()
    for name, got in ways.items():
        ours = want[is_train] if name in ('kept', 'fastai') else want
        assert np.array_equal(got, ours), name
    # and they are of the cell
    whole = np.stack([Pixels(48).read(p) for p in cut_table.path])
    assert np.mean([np.array_equal(a, b) for a, b in zip(want, whole)]) < 0.1


def test_run_says_how_many_had_no_cell(cell_run, cut_table):
    note = f'No cell was found in 1 of {len(cut_table)} pictures; they were used whole.'
    assert note in cell_run.info['notes']
    missing = pictures_without_cell(cut_table.path)
    assert list(np.array(cut_table.path)[missing]) == [p for p in cut_table.path if 'empty' in p]


def test_picture_without_cell_is_refused(cell_run, cell_bundle, cut_table, tmp_path):
    from leukocls.deploy.classifier import Classifier
    from leukocls.models.predictor import predict_images

    EMPTY.save(tmp_path / 'empty.png')
    paths = [str(tmp_path / 'empty.png'), cut_table.path[0]]
    by_run, clf = predict_images(cell_run, paths), Classifier.load(cell_bundle)
    answers = clf.many(paths)
    assert by_run.why[0] == answers[0].why == WORDS
    assert by_run.in_domain[0] is not True and answers[0].in_domain is False and answers[0].refer
    assert NO_CELL not in by_run.why[1] + answers[1].why
    # a bare learner has no gate, and says it too
    assert predict_images(cell_run.learner, paths).why[0] == WORDS


def test_bundle_says_its_view(cell_bundle, small_bundle, tmp_path):
    from leukocls.deploy.bundle import FORMAT, Bundle, read_config

    config = json.loads((cell_bundle / 'config.json').read_text())
    assert config['pixels']['view'] == 'cell' and Bundle(cell_bundle).pixels.view == 'cell'
    # versions that know no views must not open it, and squash
    assert config['format'] != FORMAT
    config['format'] = FORMAT
    with pytest.raises(ModelError, match='pixels.view'):
        read_config(json.dumps(config).encode())
    old = json.loads((small_bundle / 'config.json').read_text())
    assert 'view' not in old['pixels'] and old['format'] == FORMAT
    assert Bundle(small_bundle).pixels.view == 'whole'


def test_features_of_another_view_are_others(local_weights):
    from leukocls.models.frozen import FrozenBody

    whole, cell = (
        FrozenBody('test_efficientnet', local_weights, 48, view=v) for v in ('whole', 'cell')
    )
    assert whole.key != cell.key
    # features that were kept before there were views are found again
    assert repr(Pixels(48, True, 3, bits=12)) == 'Pixels(size=48, grey=True, median=3)'


def test_scale_and_place_of_the_cell():
    "The same cell, cut otherwise and larger, looks the same."
    film = draw_film(draw_patient('Pro', 0), 2, size=240)
    want = np.asarray(cell_view(film)[0].resize((64, 64)), float)
    tight, large = film.crop((30, 20, 230, 220)), film.resize((620, 620), Image.Resampling.BICUBIC)
    for other in (tight, large, film.rotate(90)):
        got = np.asarray(cell_view(other)[0].resize((64, 64)), float)
        got = np.rot90(got, -1) if other.size == film.size else got
        assert np.corrcoef(got.ravel(), want.ravel())[0, 1] > 0.95


def test_strange_pictures_have_a_view():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8))
    for im in (noise, EMPTY, Image.new('RGB', (1, 1)), Image.new('RGB', (3, 900), 'purple')):
        view, is_found = cell_view(im)
        assert is_found is (central_cell(im) is not None)
        assert view.size[0] == view.size[1] if is_found else view is im
        assert Pixels(32, view='cell').array(im).shape == (32, 32, 3)
    # a cell at the corner: its square reaches beyond the picture on two sides
    assert cut_cell(noise, Place(0, 0, 30)).size == (90, 90)
