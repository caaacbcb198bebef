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
    "With every section open."
    with Chrome() as page:
        page.look(width, height, phone=width < 500)
        page.open(pages[name].as_uri())
        page.js('document.querySelectorAll("details").forEach(d => d.open = true)')
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


@pytest.mark.parametrize('name', ['report', 'audit'])
def test_no_column_is_cut_on_a_phone(name, pages):
    "A table becomes narrow, or a list of names and values for each row."
    with Chrome() as page:
        page.look(390, 844, phone=True)
        page.open(pages[name].as_uri())
        page.js('document.querySelectorAll("details").forEach(d => d.open = true)')
        cut = page.js(
            '[...document.querySelectorAll(".prose, .facts, .stacked")].filter(e =>'
            ' e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 60))'
        )
        assert not cut, cut
        assert page.js('document.querySelectorAll(".stacked td[data-head]").length') > 0
        assert (
            page.js('getComputedStyle(document.querySelector(".stacked thead")).display') == 'none'
        )


def test_the_verdict_is_read_first(pages):
    "On a phone's first screen; the picture that proves it begins there too."
    with Chrome() as page:
        page.look(390, 844, phone=True)
        page.open(pages['report'].as_uri())
        top, bottom = page.js(
            '(r => [r.top, r.bottom])(document.querySelector(".verdict").getBoundingClientRect())'
        )
        assert 0 < top < bottom < 500
        assert page.js('document.querySelector(".plot img").getBoundingClientRect().top') < 844
        assert page.js('getComputedStyle(document.querySelector("nav")).display') == 'none'


def test_contents_stand_at_the_side_and_open_their_section(pages):
    with Chrome() as page:
        page.look(1280, 900)
        page.open(pages['report'].as_uri())
        nav = page.js('document.querySelector("nav").getBoundingClientRect().right')
        assert nav < page.js('document.querySelector("main").getBoundingClientRect().left')
        links = page.js('[...document.querySelectorAll("nav a")].map(a => a.getAttribute("href"))')
        there = page.js('[...document.querySelectorAll("[id]")].map(e => "#" + e.id)')
        assert len(links) > 8 and set(links) <= set(there)
        page.open(pages['report'].as_uri() + links[-1])
        page.until(
            'document.querySelectorAll("details")[0].parentNode && '
            'document.querySelector("pre").closest("details").open'
        )


def contrast(page, selector):
    "Of a text against what lies behind it, as WCAG computes it."
    return page.js(
        """(() => {
            const light = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
                .map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
                return .2126 * v[0] + .7152 * v[1] + .0722 * v[2] };
            const text = document.querySelector(%r);
            let behind = text;
            while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)')
                behind = behind.parentElement;
            const a = light(getComputedStyle(text).color);
            const b = light(getComputedStyle(behind).backgroundColor);
            return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) })()"""
        % selector
    )


@pytest.mark.parametrize('dark', [False, True], ids=['light', 'dark'])
def test_colours_can_be_read(pages, dark):
    with Chrome() as page:
        page.look(1280, 900, dark=dark)
        page.open(pages['report'].as_uri())
        page.js('document.querySelectorAll("details").forEach(d => d.open = true)')
        for selector in (
            '.research',
            '.verdict',
            '.soft',
            'figcaption',
            'th',
            'td',
            'nav a',
            'pre',
        ):
            assert contrast(page, selector) >= 4.5, selector
        shade = page.js('getComputedStyle(document.body).backgroundColor')
        assert (shade == 'rgb(22, 20, 26)') is dark


def test_paper_has_what_is_folded(pages):
    "Sections that are closed on the screen are printed, on white."
    with Chrome() as page:
        page.look(1280, 900, dark=True)
        page.open(pages['report'].as_uri())
        page.do('Emulation.setEmulatedMedia', media='print')
        assert page.js('getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
        seen = 'document.querySelector("pre").checkVisibility()'
        assert page.js(seen)
        page.do('Emulation.setEmulatedMedia', media='screen')
        assert not page.js(seen)
