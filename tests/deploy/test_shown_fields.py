"What is shown of a field: each cell's circle in its class's colour, and what was not counted in grey."

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageColor

from leukocls.deploy.fields import (
    COLOURS,
    NOT_COUNTED,
    FieldAnswer,
    FieldCell,
    pictures_learned,
    show_field,
)

CLASSES = ['Benign', 'Early', 'Pre']


def cell(number, x, y, label='', **facts):
    prediction = SimpleNamespace(label=label) if label else None
    box = dict(left=x - 20, top=y - 20, right=x + 20, bottom=y + 20)
    facts = dict(kind='leukocyte', cut_off=False) | facts
    return FieldCell(number, x, y, 20.0, **box, prediction=prediction, **facts)


def answer(cells, size=(400, 300)):
    counted = [c for c in cells if not c.why_not]
    counts = [sum(c.prediction.label == name for c in counted) for name in CLASSES]
    rows = [{'class': name, 'count': n} for name, n in zip(CLASSES, counts)]
    picture = Image.new('RGB', size, (200, 180, 210))
    return FieldAnswer('field.png', True, size, cells=cells, differential=rows, picture=picture)


def colour_left_of(shown, x, y, radius):
    "The colour of the circle at its leftmost point."
    pixels = np.asarray(shown)[round(y), round(x - radius - 2) - 1 : round(x - radius - 2) + 3]
    return {tuple(map(int, p)) for p in pixels}


def test_each_circle_has_the_colour_of_its_class():
    cells = [
        cell(1, 80, 100, 'Early'),
        cell(2, 200, 100, 'Benign'),
        cell(3, 320, 100, 'Pre'),
        cell(4, 80, 220, kind='platelet', why_not='a platelet'),
        cell(5, 200, 220, 'Pre', why_not='refused'),
        cell(6, 320, 220, cut_off=True, why_not='cut off'),
    ]
    given = answer(cells)
    shown = show_field(given)
    assert shown.size == (400, 300) and shown.mode == 'RGB'
    colours = [COLOURS[1], COLOURS[0], COLOURS[2], *[NOT_COUNTED] * 3]
    for one, colour in zip(cells, colours):
        assert ImageColor.getrgb(colour) in colour_left_of(shown, one.x, one.y, one.radius)
    # the field itself is left as it was
    assert given.picture.getcolors() == [(400 * 300, (200, 180, 210))]
    assert repr(given) == '<field.png: 1 Benign, 1 Early, 1 Pre; 3 not counted>'
    assert [c.number for c in given.counted] == [1, 2, 3]


def test_a_large_field_is_shown_small_with_its_circles_in_place():
    given = answer([cell(1, 1600, 600, 'Pre')], size=(2000, 1000))
    shown = show_field(given, side=500)
    assert shown.size == (500, 250)
    assert ImageColor.getrgb(COLOURS[2]) in colour_left_of(shown, 400, 150, 5)


def test_words_of_a_cell_at_the_border_stay_in_the_picture():
    corner = answer([cell(1, 2, 2, 'Benign'), cell(2, 398, 298, 'Benign')])
    shown = np.asarray(show_field(corner))
    # black letters on white, both whole: as many dark pixels as in the middle
    middle = np.asarray(
        show_field(answer([cell(1, 150, 150, 'Benign'), cell(2, 300, 150, 'Benign')]))
    )
    assert (shown.max(2) < 40).sum() >= 0.9 * (middle.max(2) < 40).sum() > 0


def test_nothing_counted_is_said():
    assert repr(answer([])) == '<field.png: no cell counted; 0 not counted>'
    whole = FieldAnswer('one.png', False, (9, 9), prediction='Benign 90 %')
    assert repr(whole) == '<Benign 90 %>'


def test_the_page_has_the_same_colours(root):
    "Its circles are drawn by the style sheet."
    css = (root / 'leukocls/static/app.css').read_text(encoding='utf8')
    hues = dict(re.findall(r'\.(c\d|grey) \{ --hue: (#\w+); \}', css))
    assert [hues[f'c{i}'] for i in range(len(COLOURS))] == COLOURS and hues['grey'] == NOT_COUNTED


@pytest.mark.parametrize(
    'config, learned',
    [
        (dict(pixels=dict(view='cell')), 'cells'),
        (dict(data=dict(cells=dict(fields=9, single=1))), 'fields'),
        (dict(data=dict(cells=dict(fields=1, single=9))), 'cells'),
        (dict(data=dict(cells=dict(fields=0, single=0))), ''),
        (dict(data='hostile'), ''),
        (dict(), ''),
    ],
)
def test_what_a_bundle_learned_from(config, learned):
    assert pictures_learned(config) == learned
