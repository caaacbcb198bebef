"""The pictures of reports in the docs, of synthetic films (no patient, no clinical meaning): of a
probe for README, and of the small network of the page *Read a report*.

python tests/bench/report_pictures.py --weights WEIGHTS --out nbs/images
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Name of the picture: width, height, dark, phone, what is at its top
OF_README = {'report': (1000, 760, False, False, '')}
OF_LESSON = {
    'report-desktop': (1100, 842, False, False, ''),
    'report-phone-dark': (390, 844, True, True, ''),
    'report-wrong': (900, 720, False, False, 'What it gets wrong'),
}


def photograph(report, pictures, out):
    "Screens of a report, as they are first seen, or from a section on."
    from chrome import Chrome

    with Chrome() as browser:
        for name, (width, height, dark, phone, section) in pictures.items():
            browser.look(width, height, dark, phone)
            browser.open(report.as_uri())
            if section:
                browser.js(
                    'const d = [...document.querySelectorAll("details")].find(d => d.innerText'
                    f'.startsWith("{section}")); d.open = true; d.scrollIntoView(); scrollBy(0, -80)'
                )
            image = Image.open(io.BytesIO(browser.shot())).convert('RGB')
            path = out / f'{name}.png'
            image.quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)
            print(path.name, image.size, path.stat().st_size)


def probe_run(folder, weights):
    from leukocls import FILM_PATIENT, draw_films, train_all

    films = draw_films(folder / 'films', 40, 8, size=96, seed=3)
    how = dict(patient=FILM_PATIENT, device='cpu', seed=3, weights=weights)
    return train_all(films, 'probe', out=folder / 'runs', **how)[0]


def lesson_run(folder):
    "As nbs/explanations/reading_a_report.ipynb trains it."
    from leukocls import FILM_PATIENT, draw_films, train_all

    films = draw_films(folder / 'small', patients=15, images=12, size=64)
    how = dict(patient=FILM_PATIENT, lr=5e-3, epochs=8, progress=False)
    return train_all(films, 'small-cnn', out=folder / 'lesson', **how)[0]


def main():
    words = argparse.ArgumentParser()
    words.add_argument('--out', type=Path, required=True)
    words.add_argument('--weights', default='imagenet')
    words.add_argument(
        '--report', type=Path, help='A report.html of a probe that is there already.'
    )
    given = words.parse_args()
    folder = Path(tempfile.mkdtemp())
    report = given.report or probe_run(folder, given.weights).folder / 'report.html'
    photograph(report, OF_README, given.out)
    photograph(lesson_run(folder).folder / 'report.html', OF_LESSON, given.out)


if __name__ == '__main__':
    main()
