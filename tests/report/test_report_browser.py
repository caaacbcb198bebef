"Pages that lie in files, in a real browser: nothing sticks out, on a phone and on a desk."

import pytest

pytest.importorskip('websockets')  # noqa
from chrome import CHROMIUM, Chrome

from leukocls.audit.findings import audit
from leukocls.data.splits import split_table
from leukocls.runs.experiment import train
from leukocls.train.recipes import get_recipe

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason='no Chromium is installed'),
]


@pytest.fixture(scope='module')
def pages(table, films, tmp_path_factory):
    """A report with everything that can be in one (a changed recipe of a paper, an ensemble, what
    the paper left open), and an audit.
    """
    out = tmp_path_factory.mktemp('pages')
    long = table.assign(
        label=table.label.replace(
            'Pro', 'Pro-B_lymphoblasts_of_a_very_long_name_without_any_space_in_it'
        )
    )
    run = train(
        get_recipe('p2-cml1', size=32, epochs=1, members=2, bs=8),
        split_table(long),
        out=out,
        progress=False,
        device='cpu',
    )
    audit(films).to_html(out / 'audit.html')
    return dict(report=run.folder / 'report.html', audit=out / 'audit.html')


@pytest.mark.parametrize('width, height', [(360, 780), (1280, 900)], ids=['phone', 'desktop'])
@pytest.mark.parametrize('name', ['report', 'audit'])
def test_pages_fit(name, pages, width, height):
    with Chrome() as page:
        page.look(width, height, phone=width < 500)
        page.open(pages[name].as_uri())
        assert page.js('document.documentElement.scrollWidth') == width, page.js(
            '[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right >'
            ' %d + 1 && !e.closest(".wide,svg")).slice(0, 3).map(e => e.tagName + " " +'
            ' e.textContent.slice(0, 60)).join(" | ")' % width
        )
        assert (
            page.js('[...document.images].every(i => i.complete && i.naturalWidth > 0)')
            and not page.trouble
            and 'Not a medical device' in page.js('document.body.innerText')
        )
