"""The picture of a report in README: a probe trained on synthetic films (no patient, no clinical
meaning), its report.html photographed.

python tests/bench/report_pictures.py --weights WEIGHTS --out nbs/images
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
WIDTH, HEIGHT = 1000, 760


def picture(report):
    "The first screen of a report."
    from chrome import Chrome

    with Chrome() as browser:
        browser.look(WIDTH, HEIGHT, False)
        browser.open(report.as_uri())
        return Image.open(io.BytesIO(browser.shot()))


def main():
    from leukocls import FILM_PATIENT, draw_films, train_all

    words = argparse.ArgumentParser()
    words.add_argument('--out', type=Path, required=True)
    words.add_argument('--weights', default='imagenet')
    words.add_argument('--report', type=Path, help='A report.html that is there already.')
    given = words.parse_args()
    report = given.report
    if report is None:
        folder = Path(tempfile.mkdtemp())
        films = draw_films(folder / 'films', 40, 8, size=96, seed=3)
        how = dict(patient=FILM_PATIENT, device='cpu', seed=3, weights=given.weights)
        run = train_all(films, 'probe', out=folder / 'runs', **how)[0]
        report = run.folder / 'report.html'
        print(report)
    path = given.out / 'report.png'
    image = picture(report).convert('RGB').quantize(255, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    print(path, image.size, path.stat().st_size)


if __name__ == '__main__':
    main()
