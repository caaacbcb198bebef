"Fields on the web page: what the interface says of them, what it refuses, what a person sees."

import base64
import csv
import io
import time

import numpy as np
import pytest
from chrome import CHROMIUM, Chrome
from fake_model import CLASSES, OfCells, blob, drawn_field, plain
from PIL import Image

from leukocls.data.cells import find_cells
from leukocls.data.films import draw_film, draw_patient
from leukocls.web.application import make_app
from leukocls.web.guard import Token
from leukocls.web.server import Server
from leukocls.web.upload import Limits

httpx, _ = pytest.importorskip('httpx'), pytest.importorskip('starlette')


def in_a_browser(test):
    needed = pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed')
    return pytest.mark.browser(needed(test))


FIELD = drawn_field(columns=3, rows=2)
SINGLE = draw_film(draw_patient('Early', 1), 2, 160)


def upload(*images):
    return [('images', (f'{i}.png', blob(im), 'image/png')) for i, im in enumerate(images)]


@pytest.fixture(scope='module')
def server():
    with Server(make_app([OfCells('cells'), OfCells('fields', 'fields')])) as s:
        yield s


@pytest.fixture(scope='module')
def client(server):
    with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as c:
        yield c


def asked(client, image, **form):
    r = client.post('/api/field', files=upload(image), data=form)
    assert r.status_code == 200, r.text
    return r.json()['field']


@pytest.fixture(scope='module')
def field(client):
    return asked(client, FIELD)


def test_each_cell_is_where_find_cells_sees_it(field):
    found = find_cells(FIELD)
    assert (field['is_field'], field['width'], field['height']) == (True, *FIELD.size)
    assert len(field['cells']) == len(found)
    for cell, row in zip(field['cells'], found.itertuples()):
        assert (cell['x'], cell['y'], cell['radius'], cell['kind']) == row[1:4] + (row.kind,)
        assert cell['left'] <= cell['x'] <= cell['right'] and cell['top'] <= cell['y']
    shown = Image.open(io.BytesIO(base64.b64decode(field['jpeg'])))
    assert shown.size == FIELD.size
    crop = Image.open(io.BytesIO(base64.b64decode(field['cells'][0]['jpeg'])))
    assert crop.size == (128, 128)


def test_only_whole_leukocytes_that_are_not_refused_are_counted(field):
    counted = [cell for cell in field['cells'] if not cell['why_not']]
    cut_off = [cell for cell in field['cells'] if cell['cut_off']]
    asked = [cell for cell in field['cells'] if cell['prediction']]
    refused = [cell for cell in asked if cell['prediction']['in_domain'] is False]
    assert counted and cut_off
    for cell in cut_off:
        assert cell['why_not'] and cell['prediction'] is None
    for cell in refused:
        assert cell['why_not'] == cell['prediction']['why']
    labels = [cell['prediction']['label'] for cell in counted]
    assert {r['class']: r['count'] for r in field['differential']} == {
        c: labels.count(c) for c in CLASSES
    }
    assert all(r['low'] <= r['share'] <= r['high'] for r in field['differential'])


def test_a_field_is_recognised_for_a_model_of_single_cells(client):
    assert asked(client, FIELD, mode='auto')['is_field']
    single = asked(client, SINGLE, mode='auto')
    assert (single['is_field'], single['cells']) == (False, []) and single['prediction']
    assert asked(client, SINGLE, mode='field')['is_field'], 'as the person says'
    learned_from_fields = asked(client, FIELD, mode='auto', model='fields')
    assert not learned_from_fields['is_field'] and learned_from_fields['prediction']
    models = client.get('/api/models').json()['models']
    assert [m['pictures'] for m in models] == ['cells', 'fields']


def test_fields_without_cells_and_files_that_cannot_be_read(client):
    white = asked(client, plain(255, 255, 255, size=(300, 200)))
    assert (white['is_field'], white['cells'], white['differential']) == (True, [], [])
    r = client.post('/api/field', files=[('images', ('/home/me/broken.png', b'no image'))])
    field = r.json()['field']
    assert r.status_code == 200 and field['prediction']['error'] and field['width'] == 0
    assert field['name'] == 'broken.png' and '/home' not in r.text


@pytest.mark.parametrize(
    'path, files, form, words',
    [
        ('/api/field', upload(SINGLE), dict(mode='nope'), 'Known: auto, field'),
        ('/api/field', upload(SINGLE, SINGLE), {}, 'One image'),
        ('/api/field', [('pictures', ('a.png', b'x'))], {}, "'pictures'"),
        ('/api/predict', upload(SINGLE), dict(mode='field'), "'mode'"),
        ('/api/patient', upload(SINGLE), dict(mode='nope'), 'Known: auto, field'),
    ],
)
def test_wrong_requests_are_refused_in_words(client, path, files, form, words):
    r = client.post(path, files=files, data=form)
    assert r.status_code == 422 and words in r.json()['error']


def test_more_cells_than_a_request_may_have(client, monkeypatch):
    monkeypatch.setattr('leukocls.deploy.fields.MOST_CELLS', 3)
    field = asked(client, FIELD)
    assert not field['cells'] and 'at most 3 of a field' in field['prediction']['error']


def test_a_model_that_gives_no_number(client, monkeypatch):
    monkeypatch.setattr(OfCells, '__call__', no_number)
    field = asked(client, FIELD)
    assert field['differential'] == []
    assert any('no number' in cell['why_not'] for cell in field['cells'])


def no_number(self, image, name=''):
    answer = super(OfCells, self).__call__(image, name)
    said = dict(vars(answer), probabilities=dict.fromkeys(CLASSES, np.nan))
    answer.probabilities, answer.to_dict = said['probabilities'], lambda: said
    return answer


def test_a_token_and_the_time_limit_hold_for_fields_too():
    slow = make_app([OfCells(seconds=0.3)], Token('at-least-sixteen-letters'), Limits(seconds=0.5))
    with Server(slow) as s, httpx.Client(base_url=s.url, trust_env=False) as c:
        assert c.post('/api/field', files=upload(FIELD)).status_code == 401
        c.headers['authorization'] = 'Bearer at-least-sixteen-letters'
        assert c.post('/api/field', files=upload(FIELD)).status_code == 503


def test_one_answer_from_the_fields_of_one_person(client, field):
    r = client.post('/api/patient', files=upload(FIELD, SINGLE), data=dict(mode='auto')).json()
    counted = sum(not cell['why_not'] for cell in field['cells'])
    assert len(r['results']) == sum(cell['prediction'] is not None for cell in field['cells']) + 1
    assert r['patient']['cells'] + len(r['patient']['refused']) == len(r['results'])
    assert counted <= r['patient']['cells'] <= counted + 1
    assert r['results'][0]['name'].startswith('0.png, cell ')
    assert r['results'][-1]['name'] == '1.png'


# What a person sees

ROWS = '[...document.querySelectorAll(".card.field > .body > .cells tbody tr")]'


@pytest.fixture(scope='module')
def page(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp('pictures')
    for name, im in (('field.tif', FIELD), ('single.png', SINGLE)):
        im.save(folder / name)
    with Chrome() as c:
        c.open(server.url)
        c.until('document.querySelectorAll(".model").length === 2')
        c.choose('#files', [folder / 'field.tif', folder / 'single.png'])
        done(c)
        yield c
        assert not c.trouble, 'nothing in the console'


def done(page):
    all_done = 'document.querySelectorAll(".card").length === 2'
    page.until(f'{all_done} && !document.querySelector(".card.wait")')


@in_a_browser
def test_a_field_on_the_page(page, field):
    "Circles with number and class, an image that says it in words, the count, a row for each cell."
    counted = [cell for cell in field['cells'] if not cell['why_not']]
    asked = [cell for cell in field['cells'] if cell['prediction']]
    assert f'{len(counted)} cells counted in this field' in page.text('.card.field .verdict')
    words = page.js('document.querySelector(".overlay").getAttribute("aria-label")')
    labels = page.js('[...document.querySelectorAll(".overlay .label")].map(t => t.textContent)')
    assert len(labels) == len(field['cells'])
    for cell in counted:
        name = f'{cell["number"]} {cell["prediction"]["label"]}'
        assert name in words and any(label.startswith(name) for label in labels)
    count = page.js('[...document.querySelectorAll(".card.field .count td")].map(t => t.innerText)')
    assert count[0::3] == CLASSES and sum(map(int, count[1::3])) == len(counted)
    assert len(page.js(f'{ROWS}.map(r => r.innerText)')) == len(asked)
    assert page.js(f'{ROWS}.every(r => r.querySelector("img").naturalWidth === 128)')
    assert 'Cut off by the border' in page.js('document.querySelector(".others").textContent')
    assert page.js('document.querySelectorAll(".card")[1].className') != 'card field'


@in_a_browser
def test_it_fits_a_phone_and_is_numbered_there(page):
    for width in (390, 1280):
        page.look(width, 800, phone=width < 500)
        page.until(f'innerWidth === {width}')
        assert page.js('document.documentElement.scrollWidth') == width, 'nothing sticks out'
    page.look(390, 800, phone=True)
    page.until('/^\\d+$/.test(document.querySelector(".overlay .label").textContent)')
    page.look()


@in_a_browser
def test_a_row_of_the_csv_for_each_cell(page, field):
    page.click('#csv')
    end = time.time() + 10
    while not (files := list(page.downloads.glob('*.csv'))):
        assert time.time() < end
        time.sleep(0.05)
    rows = list(csv.DictReader(io.StringIO(files[0].read_text(encoding='utf-8-sig'))))
    assert [row['cell'] for row in rows] == [*map(str, range(1, len(field['cells']) + 1)), '']
    for row, cell in zip(rows, field['cells']):
        assert float(row['x']) == cell['x'] and row['kind'] == cell['kind']
        assert (row['verdict'] == 'not counted') == (cell['prediction'] is None)


def choose(page, mode):
    page.js(
        f'(s => {{ s.value = "{mode}"; s.dispatchEvent(new Event("change")); }})'
        '(document.querySelector("#mode"))'
    )


@in_a_browser
def test_what_the_person_says_goes_before_what_is_recognised(page):
    assert 'or of fields with several' in page.text('#drop-words')
    choose(page, 'whole')
    done(page)
    assert page.js('document.querySelectorAll(".card.field").length') == 0
    choose(page, 'field')
    done(page)
    assert page.js('document.querySelectorAll(".card.field").length') == 2
    choose(page, 'auto')
    page.click('.model:nth-child(2) input')
    done(page)
    assert page.js('document.querySelectorAll(".card.field").length') == 0
    assert page.text('#drop-words') == 'Drop pictures of fields here'
    assert 'learned from fields' in page.text('#mode-note')
