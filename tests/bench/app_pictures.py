"""The pictures of the web page in the docs: a probe trained on synthetic films (no patient, no
clinical meaning), served and photographed.

python tests/bench/app_pictures.py --weights WEIGHTS --out nbs/images
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))


def written(words):
    im = Image.new('RGB', (300, 220), (250, 248, 240))
    d = ImageDraw.Draw(im)
    for i, line in enumerate(words.split('|')):
        d.text((16, 20 + 34 * i), line, fill=(20, 20, 20), font_size=22)
    return im


def main():
    from chrome import Chrome
    from fake_model import drawn_field

    from leukocls.data.films import FILM_PATIENT, draw_films
    from leukocls.deploy.bundle import export_bundle
    from leukocls.deploy.classifier import Classifier
    from leukocls.runs.experiment import train_all
    from leukocls.web.application import make_app
    from leukocls.web.server import Server

    ap = argparse.ArgumentParser()
    add = ap.add_argument
    add('--out', required=True)
    add('--weights', default='imagenet')
    add('--bundle', help='made before by this script; it saves the training')
    a = ap.parse_args()
    out = Path(a.out)
    out.mkdir(exist_ok=True)
    d = Path(tempfile.mkdtemp())
    films = draw_films(d / 'films', 70, 12, size=160, seed=3)
    if a.bundle and Path(a.bundle).exists():
        folder = a.bundle
    else:
        folder = export_bundle(
            train_all(
                films,
                'probe',
                out=d / 'runs',
                patient=FILM_PATIENT,
                device='cpu',
                seed=3,
                weights=a.weights,
            )[0],
            a.bundle or d / 'bundle',
            examples=40,
            licence='Apache-2.0',
        ).folder
    clf = Classifier.load(folder)
    fresh = draw_films(d / 'fresh', 6, 3, size=160, seed=99)
    found = {p: clf(str(p)) for p in sorted(fresh.rglob('*.png'))}
    sure = [p for p, o in found.items() if not o.refer]
    unsure = [p for p, o in found.items() if o.refer and o.in_domain]
    some = d / 'some'
    some.mkdir()

    def keep(im, name):
        (im if isinstance(im, Image.Image) else Image.open(im)).save(some / name)
        return some / name

    paths = [
        keep(p, f'film-{i + 1}.png')
        for i, p in enumerate(sure[:1] + sure[len(sure) // 2 : len(sure) // 2 + 1] + unsure[:1])
    ] + [keep(written('Referral letter|Ward 7, bed 2|To be filed'), 'letter.png')]
    (some / 'half-a-file.jpg').write_bytes(b'\xff\xd8\xff\xe0')
    paths.append(some / 'half-a-file.jpg')
    with Server(make_app([clf])) as s, Chrome() as c:
        for name, width, height, dark in (
            ('phone', 360, 780, False),
            ('desktop', 1280, 900, False),
            ('phone-dark', 360, 780, True),
            ('desktop-dark', 1280, 900, True),
        ):
            c.look(width, height, dark, phone=width < 500)
            c.open(s.url)
            c.until('document.querySelector(".model")')
            c.choose('#files', paths)
            c.until(
                f'document.querySelectorAll(".card").length === {len(paths)} &&'
                ' !document.querySelector(".card.wait")'
            )
            c.click('.card .foot button')
            c.until('document.querySelector(".card canvas")')
            c.click('.card .foot button:nth-child(2)')
            c.until('document.querySelector(".nearest li")')
            c.js('document.activeElement.blur(); scrollTo(0, 0)')
            im = Image.open(io.BytesIO(c.shot(whole=width > 500))) if width > 500 else phone(c)
            im.convert('RGB').quantize(255, dither=Image.Dither.NONE).save(
                out / f'web-page-{name}.png', optimize=True
            )
            print(name, im.size, (out / f'web-page-{name}.png').stat().st_size)
        photograph_field(c, s.url, keep(drawn_field(), 'field.png'), out / 'web-page-field.jpg')
        assert not c.trouble, c.trouble


def photograph_field(c, url, field, path):
    "What the page shows of a field: circles, count, and the first rows of the table."
    c.look(1280, 900)
    c.open(url)
    c.until('document.querySelector(".model")')
    c.js('document.querySelector("#mode").value = "field"')
    c.js('document.querySelector("#mode").dispatchEvent(new Event("change"))')
    c.choose('#files', [field])
    c.until('document.querySelector(".card.field .overlay .label")?.textContent', 60)
    c.js(
        'document.querySelectorAll(".card.field .cells tbody tr").forEach((r, i) => r.hidden = i > 3)'
    )
    c.js('document.querySelector(".research").remove(); document.activeElement.blur()')
    im = Image.open(io.BytesIO(c.shot(whole=True)))
    top = int(c.js('document.querySelector("#cards").getBoundingClientRect().top + scrollY'))
    # its colours mean something, and a palette would merge them
    im.crop((0, top, im.width, im.height)).convert('RGB').save(path, quality=80)
    print('field', im.size, path.stat().st_size)


def phone(c):
    "Two screens beside each other: the choice, and the results."
    first = Image.open(io.BytesIO(c.shot()))
    c.js('document.querySelector(".cards").scrollIntoView(); scrollBy(0, -60)')
    second = Image.open(io.BytesIO(c.shot()))
    both = Image.new('RGB', (first.width * 2 + 16, first.height), (128, 128, 128))
    both.paste(first)
    both.paste(second, (first.width + 16, 0))
    return both


if __name__ == '__main__':
    main()
