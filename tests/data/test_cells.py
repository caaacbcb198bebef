"Cells: found in drawn fields of every look, cut into pictures, with labels and fields kept."

import json
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from leukocls.core.errors import DataError, LeukoError
from leukocls.data.cells import CELL_COLUMNS, CELL_KINDS, find_cells, outline_cells
from leukocls.data.crops import BOX_COLUMNS, crop_cells, match_boxes, read_boxes
from leukocls.data.density import red_cell_diameter
from leukocls.data.splits import split_table
from leukocls.data.table import read_table

RED, PALE, DARK, GREY_BLUE = (215, 150, 150), (185, 170, 215), (95, 60, 150), (200, 205, 215)


def disc(a, x, y, radius, colour):
    yy, xx = np.mgrid[: a.shape[0], : a.shape[1]]
    a[np.hypot(yy - y, xx - x) < radius] = colour


def draw_field(cells=((90, 90),), red_cells=14, width=360, height=270, red=17, seed=0):
    "A field with leukocytes of 12 µm at given places among red cells of 7 µm."
    rng = np.random.default_rng(seed)
    a = np.full((height, width, 3), (238, 236, 232), float)
    placed = [(x, y, 34) for x, y in cells]
    while len(placed) < len(cells) + red_cells:
        x, y = rng.uniform(red, width - red), rng.uniform(red, height - red)
        if all(np.hypot(x - u, y - v) > r + red for u, v, r in placed):
            placed.append((x, y, red))
            disc(a, x, y, red, RED)
    for x, y in cells:
        disc(a, x, y, 29, PALE)
        disc(a, x + 4, y, 20, DARK)
    a = a + rng.normal(0, 2, a.shape)
    im = Image.fromarray(np.clip(a, 0, 255).astype('uint8'))
    return im.filter(ImageFilter.GaussianBlur(0.8))


def changed(im, how):
    a = np.asarray(im) / 255
    if how == 'dark':
        a = a * 0.5
    if how == 'yellow':
        a = a * (1.0, 0.9, 0.65)
    if how == 'pale':
        a = a**0.5
    if how == 'strong':
        a = a**1.8
    if how == 'corner':
        a = a * np.linspace(1, 0.7, im.width)[:, None]
    return Image.fromarray((255 * a).astype('uint8'))


@pytest.mark.parametrize('look', ['plain', 'dark', 'yellow', 'pale', 'strong', 'corner'])
def test_light_and_stain_do_not_matter(look):
    found = find_cells(changed(draw_field(((90, 90), (260, 180))), look))
    assert list(found.kind) == ['leukocyte'] * 2 and not found.cut_off.any()
    assert np.abs(found[['x', 'y']].to_numpy() - [(90, 90), (260, 180)]).max() < 3
    assert ((found.radius > 25) & (found.radius < 33)).all()


@pytest.mark.parametrize('factor', [0.4, 1, 2.5])
def test_size_comes_from_the_red_cells(factor):
    field = draw_field(((90, 90),))
    field = field.resize([round(side * factor) for side in field.size])
    found = find_cells(field)
    assert list(found.kind) == ['leukocyte'] and red_cell_diameter(field) == pytest.approx(
        34 * factor, rel=0.15
    )
    assert found.diameter_um[0] == pytest.approx(12, rel=0.2)


def test_touching_cells_are_two_and_lobes_are_one():
    assert len(find_cells(draw_field(((100, 100), (157, 100))))) == 2
    a = np.asarray(draw_field(())).astype(float)
    disc(a, 100, 150, 29, PALE)
    for x, y in ((88, 140), (112, 140), (100, 162)):
        disc(a, x, y, 9, DARK)
    found = find_cells(a.astype('uint8'))
    assert list(found.kind) == ['leukocyte'] and found.radius[0] == pytest.approx(29, abs=3)


def test_what_is_no_leukocyte_is_named_so():
    a = np.asarray(draw_field(((180, 130),))).astype(float)
    disc(a, 60, 220, 7, DARK)
    found = find_cells(a.astype('uint8'))
    assert sorted(found.kind) == ['leukocyte', 'platelet'] and set(found.kind) <= set(CELL_KINDS)
    assert not len(find_cells(draw_field(())))


def test_cells_at_the_border_are_cut_off():
    found = find_cells(draw_field(((6, 135), (250, 130))))
    assert list(found.sort_values('x').cut_off) == [True, False]


def test_masks_are_those_of_the_drawing():
    im = draw_field(((120, 130),))
    nuclei, bodies = outline_cells(im).masks()
    truth = np.zeros((2, *nuclei.shape, 1))
    disc(truth[0], 120, 130, 29, 1)
    disc(truth[1], 124, 130, 20, 1)
    for mask, true in ((bodies, truth[0, ..., 0]), (nuclei, truth[1, ..., 0])):
        assert 2 * (mask * true).sum() / (mask.sum() + true.sum()) > 0.95


@pytest.mark.parametrize('size', [(1, 1), (3, 700), (60, 60)])
@pytest.mark.parametrize('colour', ['white', 'black', 'purple'])
def test_pictures_without_cells_give_an_empty_table(size, colour):
    found = outline_cells(Image.new('RGB', size, colour))
    assert list(found.table.columns) == list(CELL_COLUMNS) and found.masks()[1].shape == size[::-1]


def test_black_ground_is_no_cell():
    a = np.zeros((200, 200, 3))
    disc(a, 100, 90, 40, DARK)
    found = find_cells(a.astype('uint8'))
    assert (
        len(found) == 1 and abs(found.x[0] - 100) < 3 and found.radius[0] == pytest.approx(40, 0.1)
    )


@pytest.fixture(scope='module')
def fields(tmp_path_factory):
    folder = tmp_path_factory.mktemp('cells') / 'fields'
    for i in range(6):
        place = folder / ('ill' if i % 2 else 'well')
        place.mkdir(parents=True, exist_ok=True)
        draw_field(((90, 90), (260, 180)), seed=i).save(place / f'P{i}_a.png')
    return folder


def test_cells_of_a_field_stay_together(fields, tmp_path):
    cells = crop_cells(fields, tmp_path / 'out', patient=r'(P\d)_', progress=False)
    assert len(cells) == 12 and set(cells.label) == {'ill', 'well'}
    table = read_table(tmp_path / 'out/cells.csv')
    assert table.patient.nunique() == 6
    assert set(map(os.path.realpath, table.source)) == {str(p) for p in fields.rglob('*.png')}
    for method in ('patient', 'group'):
        split = split_table(table, method, 0.3, 0.3)
        assert split.groupby('source').split.nunique().max() == 1
    middle = np.asarray(Image.open(cells.path[0]))[112, 112]
    assert np.abs(middle - np.array(DARK)).max() < 25


def test_a_stop_costs_nothing_and_bad_fields_are_named(fields, tmp_path, monkeypatch):
    from leukocls.data import crops

    whole = crop_cells(fields, tmp_path / 'whole', progress=False)
    cut, real = [], crops.outline_cells

    def stop_after_three(im):
        cut.append(im)
        if len(cut) == 4:
            raise KeyboardInterrupt
        return real(im)

    monkeypatch.setattr(crops, 'decoding_threads', lambda: 1)
    monkeypatch.setattr(crops, 'outline_cells', stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        crop_cells(fields, tmp_path / 'out', progress=False)
    assert not (tmp_path / 'out/cells.csv').exists()
    cells = crop_cells(fields, tmp_path / 'out', progress=False)
    assert len(cut) < 4 + 6 and cells.x.tolist() == whole.x.tolist()
    with pytest.raises(LeukoError, match='exists already'):
        crop_cells(fields, tmp_path / 'out', progress=False)
    broken = fields / 'well/broken.png'
    broken.write_bytes(b'no image')
    try:
        with pytest.raises(
            DataError, match=r'1 of 7 fields cannot be read; 12 cells .*\n.*broken.png: '
        ):
            crop_cells(fields, tmp_path / 'bad', progress=False)
        assert len(pd.read_csv(tmp_path / 'bad/cells.csv')) == 12
        assert len(crop_cells(fields, tmp_path / 'bad2', on_error='skip', progress=False)) == 12
    finally:
        broken.unlink()


VOC = '<annotation><filename>P0_a</filename><object><name>blast</name><bndbox>{}</bndbox></object></annotation>'
SIDES = '<xmin>60</xmin><ymin>60</ymin><xmax>121</xmax><ymax>120</ymax>'


def test_boxes_of_three_kinds_say_the_same(fields, tmp_path):
    (tmp_path / 'voc').mkdir()
    (tmp_path / 'voc/P0_a.xml').write_text(VOC.format(SIDES))
    box = dict(image_id=1, category_id=7, bbox=[60, 60, 61, 60])
    coco = dict(
        images=[dict(id=1, file_name='well/P0_a.png')],
        categories=[dict(id=7, name='blast')],
        annotations=[box],
    )
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    (tmp_path / 'boxes.csv').write_text(
        'filename,class,xmin,ymin,xmax,ymax\nP0_a.png,blast,60,60,121,120\nP0_a.png,blast,5,5,5,5\n'
    )
    for name in ('voc', 'coco.json', 'boxes.csv'):
        boxes = read_boxes(tmp_path / name)
        assert boxes.iloc[0, 1:].tolist() == ['blast', 60, 60, 121, 120] and len(boxes) == 1
        cells = crop_cells(
            fields / 'well', tmp_path / f'out-{name}', boxes=boxes, progress=False, size=32
        )
        assert cells.label.notna().sum() == 1
        assert 'P0_a' in cells.source[cells.label == 'blast'].item()
    with pytest.raises(DataError, match='None of the 1 images'):
        crop_cells(fields / 'ill', tmp_path / 'none', boxes=boxes, progress=False)


@pytest.mark.parametrize(
    'name, text, said',
    [
        ('a.xml', '<annotation><object/></annotation>', 'is no annotation of Pascal VOC'),
        ('a.xml', '<!DOCTYPE a [<!ENTITY b "c">]><a/>', 'declares entities'),
        ('a.json', '[1]', 'is no COCO file'),
        ('a.csv', 'image,label,xmin\na,b,1\n', 'no column for top, right, bottom'),
        ('a.csv', 'image,label,x1,y1,x2,y2\na,b,1,2,3,four\n', 'row 2: `bottom` is no number'),
    ],
)
def test_wrong_boxes_are_errors_in_words(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        read_boxes(tmp_path / name)


def test_a_box_labels_one_cell():
    cells = pd.DataFrame(
        [[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]], columns=list(BOX_COLUMNS[2:])
    )
    boxes = pd.DataFrame(
        [['f', 'a', 0, 0, 10, 10], ['f', 'b', 80, 80, 90, 90]], columns=list(BOX_COLUMNS)
    )
    assert match_boxes(cells, boxes) == (['a', '', ''], 1)


@pytest.mark.parametrize(
    'option', [dict(size=4), dict(micrometres=1), dict(kinds='monkey'), dict(on_error='no')]
)
def test_wrong_options_are_errors_before_any_work(tmp_path, option):
    with pytest.raises(DataError):
        crop_cells(tmp_path, tmp_path / 'out', **option)
    assert not (tmp_path / 'out').exists()
