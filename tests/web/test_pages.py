"Pages come from templates: whatever stands in a text is shown, and never obeyed."

import html
import json
import re

import pytest

from leukocls.web.application import docs_page, fill_page, page_files
from leukocls.web.pages import error_answer, plain_page
from leukocls.web.server import results_html

HOSTILE = '<script>alert("x")</script>\'&{{ version }}{% raw %}'


def shown(page):
    "The text of a page as a reader sees it."
    return html.unescape(re.sub('<[^>]+>', '', page))


def test_an_error_shows_what_was_sent():
    page = error_answer(404, HOSTILE, html=True, path='/a/b')[1].decode()
    assert '<script' not in page and HOSTILE in shown(page)
    assert json.loads(error_answer(404, HOSTILE)[1]) == {'error': HOSTILE}


@pytest.mark.parametrize(
    'path,up', [('/', './'), ('/x', './'), ('/a/b', '../'), ('/a/b/', '../../')]
)
def test_links_lead_to_where_the_application_stands(path, up):
    page = plain_page('web/error.html', path, title='t', message='m').decode()
    assert set(re.findall(r'href="([^"]*)"', page)) == {
        f'{up}static/app.css',
        f'{up}static/icon.svg',
        up,
    }


def test_texts_of_the_main_pages_are_escaped():
    _, texts = page_files()
    hostile = dict.fromkeys(texts, HOSTILE)
    for name in ('page.html', 'login.html'):
        page = fill_page(name, hostile, version=HOSTILE, research=HOSTILE, wrong=HOSTILE).decode()
        assert page.count('<script') == 1 and 'alert(&#34;x' in page
    plain = fill_page('login.html', texts, research='', wrong='').decode()
    assert 'role="alert"' not in plain


def test_a_text_that_is_missing_is_an_error():
    import jinja2

    _, texts = page_files()
    del texts['heading']
    with pytest.raises(jinja2.UndefinedError, match='heading'):
        fill_page('page.html', texts, version='', research='')


def test_the_interfaces_description_is_escaped():
    operation = dict(summary=HOSTILE, responses={'200': {}})
    docs = dict(
        info=dict(version=HOSTILE, description=HOSTILE),
        paths={HOSTILE: dict(get=operation)},
        components=dict(schemas=dict(Prediction=dict(properties={HOSTILE: dict(description='d')}))),
    )
    page = docs_page(docs).decode()
    assert '<script' not in page and shown(page).count(HOSTILE) == 6


def test_names_of_pictures_are_escaped():
    class Model:
        name, classes = HOSTILE, [HOSTILE]

        def many(self, images, names=None):
            return []

    page = results_html(Model(), [(HOSTILE, b'no picture')])
    assert '<script' not in page and shown(page).count(HOSTILE) == 2


def test_pages_hold_no_script_of_their_own(root):
    "The content security policy allows scripts and styles from files only."
    for path in (root / 'leukocls' / 'web' / 'templates').glob('*.html'):
        text = path.read_text(encoding='utf8')
        assert not re.search(r'<style|\son\w+=|\sstyle=|<script(?! src=)|\|\s*safe', text), path
