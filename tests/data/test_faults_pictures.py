"Files whose picture is not what it seems: stacks, cameras of 12 bits, scans of slides."

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leukocls.audit.findings import audit
from leukocls.core.errors import DataError
from leukocls.data.images import open_cell, picture_warnings, scaled_to_8_bit, unusual_pictures
from leukocls.data.table import check_images, read_table

# Several pictures in a file -----------------------------------------------------------------------


def stack(path, n, **how):
    pages = [Image.new('RGB', (16, 16), (40 * i, 200, 90)) for i in range(n)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pages[0].save(path, save_all=True, append_images=pages[1:], **how)
    return path


@pytest.mark.parametrize('name', ['a.tif', 'a.TIFF', 'a.ome.tif', 'a.gif', 'a.webp'])
@pytest.mark.parametrize('n', [1, 2, 5])
def test_a_stack_is_said(tmp_path, name, n):
    path = stack(tmp_path / name, n, **({'lossless': True} if 'webp' in name else {}))
    words = [f'the file holds {n} pictures, and only the first was looked at'] if n > 1 else []
    assert picture_warnings(open_cell(path)) == words
    assert unusual_pictures([path])['several'] == ([str(path)] if n > 1 else [])


def test_a_stack_in_a_data_set_is_said_by_check_and_audit(tmp_path, capsys):
    for i in range(3):
        stack(tmp_path / 'a' / f'{i}.tif', 1 + i)
        stack(tmp_path / 'b' / f'{i}.tif', 1)
    t = check_images(read_table(tmp_path))
    words = '2 of 6 files hold several pictures each: 1.tif, 2.tif. Only the first of each is used.'
    assert t.attrs['notes'] == [words] and words in capsys.readouterr().err
    found = {f['kind']: f['what'] for f in audit(tmp_path, progress=False).data['findings']}
    assert found['reading'] == words


def test_a_classifier_says_it(tmp_path, small_bundle):
    from leukocls.deploy.classifier import Classifier

    clf = Classifier.load(small_bundle)
    for source in (stack(tmp_path / 'a.tif', 3), (tmp_path / 'a.tif').read_bytes()):
        assert any('holds 3 pictures' in w for w in clf(source).warnings)
    assert not any('holds' in w for w in clf(stack(tmp_path / 'b.tif', 1)).warnings)


# Cameras of fewer bits than their files -----------------------------------------------------------


def camera(folder, bits, ending='tif', n=6, **how):
    rng = np.random.default_rng(0)
    for i in range(n):
        place = folder / 'ab'[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        a = rng.integers(0, 2**bits, (16, 16)).astype('uint16')
        # dark pictures among bright ones
        Image.fromarray(a // (1 + i % 3)).save(place / f'{i}.{ending}', **how)
    return folder


@pytest.mark.parametrize('bits', [8, 10, 12, 14])
@pytest.mark.parametrize('ending', ['tif', 'png'])
def test_unused_bits_are_said(tmp_path, capsys, bits, ending):
    t = check_images(read_table(camera(tmp_path, bits, ending)))
    words = f'6 of 6 files have 16 bits and use {bits}'
    assert words in t.attrs['notes'][0] and f'Pass bits={bits}, so that all' in t.attrs['notes'][0]
    findings = audit(tmp_path, progress=False).data['findings']
    assert any(words in f['what'] for f in findings)
    assert picture_warnings(open_cell(t.path[0]))[0].startswith(f'the file uses {bits} of 16 bits')


@pytest.mark.parametrize('bits', [15, 16])
def test_bits_that_are_used_are_no_news(tmp_path, bits):
    assert 'notes' not in check_images(read_table(camera(tmp_path, bits))).attrs


def test_one_bright_picture_shows_that_all_bits_are_meant(tmp_path):
    camera(tmp_path, 12)
    Image.fromarray(np.full((16, 16), 60000, 'uint16')).save(tmp_path / 'a' / 'bright.tif')
    assert 'notes' not in check_images(read_table(tmp_path)).attrs


@pytest.mark.parametrize('bits', [9, 10, 12, 14, 15])
@pytest.mark.parametrize('tag', [281])
def test_a_tiff_that_states_its_range_is_read_by_it(tmp_path, bits, tag):
    a = np.linspace(0, 2**bits - 1, 256).astype('uint16').reshape(16, 16)
    path = tmp_path / 'a.tif'
    Image.fromarray(a).save(path, tiffinfo={tag: 2**bits - 1})
    grey = np.asarray(open_cell(path))[..., 0]
    assert abs(grey.astype(int) - np.arange(256).reshape(16, 16)).max() <= 1
    assert picture_warnings(open_cell(path)) == []


@pytest.mark.parametrize('stated', [4000, 0, 65535, 255, 7])
def test_other_statements_change_nothing(tmp_path, stated):
    "Some programs write the largest value of this one picture, which no other picture shares."
    path = tmp_path / 'a.tif'
    Image.fromarray(np.full((4, 4), 25700, 'uint16')).save(path, tiffinfo={281: stated})
    assert np.asarray(open_cell(path))[0, 0, 0] == 100


@pytest.mark.parametrize('bits', [10, 12, 14])
def test_bits_give_one_factor_for_the_whole_data_set(tmp_path, bits):
    camera(tmp_path, bits)
    Image.new('RGB', (16, 16), (9, 99, 199)).save(tmp_path / 'a' / 'eight.png')
    t = read_table(tmp_path, bits=bits)
    assert len(t) == 7 and t.own_path.str.startswith(str(tmp_path)).all()
    for own, path in zip(t.own_path, t.path):
        if own.endswith('eight.png'):
            assert own == path
            continue
        deep = np.asarray(Image.open(own)).astype(int)
        assert np.array_equal(np.asarray(open_cell(path))[..., 0], deep * 255 // (2**bits - 1))
        assert np.array_equal(np.asarray(scaled_to_8_bit(own, bits)), np.asarray(open_cell(path)))
    assert 'scaled by the range' in t.attrs['notes'][-1]
    # written once
    assert read_table(tmp_path, bits=bits).path.tolist() == t.path.tolist()
    assert not any('nearly black' in n for n in check_images(t).attrs['notes'])


@pytest.mark.parametrize('bits', [8, 16, '12', 12.0, 0])
def test_bits_are_checked(tmp_path, bits):
    camera(tmp_path, 12)
    with pytest.raises(DataError, match='is no depth of a camera'):
        read_table(tmp_path, bits=bits)


def test_bits_of_pictures_of_8_bits_change_nothing(tmp_path):
    for c in 'ab':
        stack(tmp_path / c / '0.tif', 1)
        stack(tmp_path / c / '1.tif', 1)
    t = read_table(tmp_path, bits=12)
    assert t.attrs['notes'] == ['No file has 16 bits: bits=12 changes nothing.']


def test_a_classifier_says_that_a_picture_is_nearly_black(tmp_path, small_bundle):
    from leukocls.deploy.classifier import Classifier

    camera(tmp_path, 12)
    clf = Classifier.load(small_bundle)
    assert any('12 of 16 bits' in w for w in clf(tmp_path / 'a' / '0.tif').warnings)


def test_a_depth_is_for_deep_pictures_only(tmp_path):
    Image.new('RGB', (8, 8), (9, 99, 199)).save(tmp_path / 'a.png')
    assert open_cell(tmp_path / 'a.png', bits=12).getpixel((0, 0)) == (9, 99, 199)


@pytest.mark.parametrize('largest, is_white', [(0, False), (4095, False), (60000, True)])
def test_values_beyond_the_camera_are_said(tmp_path, largest, is_white):
    Image.fromarray(np.full((8, 8), largest, 'uint16')).save(tmp_path / 'a.tif')
    said = picture_warnings(open_cell(tmp_path / 'a.tif', bits=12))
    assert [('beyond a camera of 12 bits' in words) for words in said] == [True] * is_white


def test_a_bundle_reads_new_deep_pictures_as_training_did(tmp_path, run):
    "The run knows the depth, the bundle keeps it, the page's uploads are read by it."
    import json
    import shutil

    from leukocls import Run
    from leukocls.data.splits import split_table
    from leukocls.deploy.bundle import export_bundle
    from leukocls.deploy.classifier import Classifier
    from leukocls.train.folder import start_run
    from leukocls.train.recipes import get_recipe
    from leukocls.web.application import bits_of
    from leukocls.web.upload import open_upload

    table = read_table(camera(tmp_path / 'deep', 12, n=12), bits=12)
    _, info = start_run(get_recipe('small-cnn'), split_table(table, 'random'), tmp_path / 'runs')
    assert info['data']['bits'] == 12
    folder = shutil.copytree(run.folder, tmp_path / 'run')
    facts = json.loads((folder / 'recipe.json').read_text(encoding='utf8'))
    facts['data']['bits'] = 12
    (folder / 'recipe.json').write_text(json.dumps(facts), encoding='utf8')
    clf = Classifier.load(export_bundle(Run(folder), tmp_path / 'bundle').folder)
    deep, copy = table.own_path[0], table.path[0]
    of_deep, of_copy = clf(deep), clf(copy)
    assert of_deep.probabilities == of_copy.probabilities
    assert of_deep.warnings == of_copy.warnings
    uploaded, notes = open_upload(Path(deep).read_bytes(), bits=bits_of(clf))
    assert np.array_equal(np.asarray(uploaded), np.asarray(open_cell(copy))) and notes == []
    assert open_upload(Path(deep).read_bytes())[1][0].endswith('the picture is nearly black.')


def test_bits_everywhere(tmp_path, capsys):
    import inspect

    from leukocls.cli.commands import main
    from leukocls.deploy.classifier import Classifier
    from leukocls.models.predictor import evaluate
    from leukocls.runs.experiment import train_all

    for function in (audit, train_all, evaluate, Classifier.evaluate):
        assert 'bits' in inspect.signature(function).parameters
    camera(tmp_path, 12)
    assert not any('black' in n for n in audit(tmp_path, progress=False, bits=12).data['notes'])
    with pytest.raises(SystemExit):
        main(['audit', str(tmp_path)])
    assert 'bits=12' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(['audit', str(tmp_path), '--bits', '12'])
    assert 'nearly black' not in capsys.readouterr().out


# Scans of slides ----------------------------------------------------------------------------------


def test_a_scan_of_a_slide_is_no_damaged_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    Image.new('1', (100, 100)).save(tmp_path / 'scan.png')
    with pytest.raises(DataError, match='If it is a scan of a slide, cut it into fields') as e:
        open_cell(tmp_path / 'scan.png')
    assert 'whole copy' not in str(e.value)
