"Pages from templates: nothing that a user names becomes part of a page's code, and a wheel has them."

import re
import subprocess
import sys
import zipfile

import pytest
from PIL import Image

from leukocls.core.html import page_of, thumbnail_uri

HOSTILE = [
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '</title><svg onload=alert(1)>',
    '{{ 7 * 7 }}{% include "core/base.html" %}',
]


@pytest.mark.parametrize('text', HOSTILE)
def test_no_text_becomes_code(text):
    "As a title, a heading, a column, a cell; and what looks like a template is only text."
    page = page_of('core/example.html', name=text, rows=[[text, 1]])
    # words of the same length: a long one has a class of its own
    harmless = re.sub(r'\S', 'x', text)
    plain = page_of('core/example.html', name=harmless, rows=[[harmless, 1]])
    assert page.count('<') == plain.count('<') and page.count('"') == plain.count('"')
    assert page.count("'") == plain.count("'") and '49' not in page.partition('<body>')[2]


@pytest.mark.parametrize('name', ['core/../html.py', 'core/none.html', 'none', '../setup.py'])
def test_unknown_template(name):
    import jinja2

    with pytest.raises(jinja2.TemplateNotFound):
        page_of(name)


def test_page_asks_for_nothing_outside():
    page = page_of('core/example.html', name='x', rows=[])
    assert '<script' not in page and 'http' not in page and 'src=' not in page
    assert '@import' not in page and 'url(' not in page


def test_thumbnail_of_a_picture_with_an_odd_mode(tmp_path):
    Image.new('I;16', (40, 20)).save(tmp_path / 'grey.png')
    assert thumbnail_uri(tmp_path / 'grey.png', 10).startswith('data:image/jpeg;base64,')


def test_jinja_is_imported_with_the_first_page(root):
    code = (
        'import sys, leukocls.core.html, leukocls.report.page, leukocls.report.modelcard;'
        'assert "jinja2" not in sys.modules'
    )
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True, cwd=root)


def test_wheel_has_every_template(root, tmp_path):
    "Built in a copy, as `pip wheel` builds it."
    import shutil

    copy = shutil.copytree(
        root, tmp_path / 'copy', ignore=shutil.ignore_patterns('.git', 'nbs', 'build', '*.egg-info')
    )
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'bdist_wheel', '-d', str(tmp_path)],
        check=True,
        cwd=copy,
        capture_output=True,
    )
    names = set(zipfile.ZipFile(next(tmp_path.glob('*.whl'))).namelist())
    templates = {
        p.relative_to(root).as_posix()
        for p in (root / 'leukocls').glob('*/templates/*')
        if p.is_file()
    }
    assert 'leukocls/core/templates/base.html' in templates and templates <= names


def test_commands_in_sentences_are_shown_as_code():
    "In backticks they would be read as part of the command. What is inside is escaped as well."
    notes = ['Run `leukocls across table.csv`.', 'a `<script>` b', 'one ` alone', '`a\nb`']
    page = page_of('runs/across.html', title='x', verdict=notes, chart='', tables=[], notes=notes)
    assert page.count('Run <code>leukocls across table.csv</code>.') == 2
    assert page.count('a <code>&lt;script&gt;</code> b') == 2 and '<script' not in page
    assert page.count('one ` alone') == 2 and page.count('<code>') == 4
