import io
import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from leukocls.core.errors import DataError
from leukocls.data.images import open_cell, scan_folder, to_rgb

COLOUR = (180, 90, 140)


def save(tmp_path, im, name, **kw):
    p = tmp_path / name
    im.save(p, **kw)
    return p


@pytest.mark.parametrize(
    'name',
    [
        'a.jpg',
        'a.JPEG',
        'a.png',
        'a.BMP',
        'a.tif',
        'a.TIFF',
        'ein Bild.png',
        'κύτταρο 細胞.png',
        'x' * 200 + '.png',
        "it's; rm -rf $HOME.png",
    ],
)
def test_formats_and_names(tmp_path, name):
    im = open_cell(save(tmp_path, Image.new('RGB', (7, 5), COLOUR), name, quality=95))
    assert (
        im.mode == 'RGB'
        and im.size == (7, 5)
        and np.abs(np.asarray(im).astype(int) - COLOUR).max() <= 4
    )


@pytest.mark.parametrize('mode', ['L', 'LA', 'P', 'RGBA', 'CMYK', '1', 'YCbCr', 'HSV'])
def test_modes(mode):
    grey = Image.new('RGB', (4, 4), (120, 120, 120))
    im = to_rgb(grey.quantize(4) if mode == 'P' else grey.convert(mode))
    assert im.mode == 'RGB' and im.size == (4, 4)
    if mode != '1':
        assert np.abs(np.asarray(im).astype(int) - 120).max() <= 2


@pytest.mark.parametrize('name', ['a.png', 'a.tif'])
def test_16_bit_keeps_its_scale(tmp_path, name):
    deep = np.array([[0, 257 * 50, 257 * 128, 65535]], 'uint16')
    assert np.asarray(open_cell(save(tmp_path, Image.fromarray(deep), name)))[0, :, 0].tolist() == [
        0,
        50,
        128,
        255,
    ]


def test_float_tiff(tmp_path):
    assert np.asarray(
        open_cell(save(tmp_path, Image.fromarray(np.array([[0.0, 0.5, 1.0]], 'float32')), 'f.tif'))
    )[0, :, 0].tolist() == [0, 127, 255]


def test_cmyk_jpeg(tmp_path):
    im = open_cell(
        save(tmp_path, Image.new('RGB', (8, 8), COLOUR).convert('CMYK'), 'c.jpg', quality=95)
    )
    assert np.abs(np.asarray(im).astype(int) - COLOUR).max() <= 6


def test_transparency_is_white(tmp_path):
    im = Image.new('RGBA', (2, 1), (0, 0, 0, 0))
    im.putpixel((1, 0), (*COLOUR, 255))
    assert np.asarray(open_cell(save(tmp_path, im, 't.png'))).tolist() == [
        [[255] * 3, list(COLOUR)]
    ]
    p = Image.new('P', (1, 1), 0)
    p.putpalette([10, 20, 30] * 256)
    p.info['transparency'] = 0
    assert to_rgb(p).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_rotation(tmp_path, orientation):
    "The same pixels, saved on their side with the tag that says so, come out upright."
    upright = Image.fromarray(np.arange(12, dtype='uint8').reshape(3, 4) * 20).convert('RGB')
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    lying = upright.transpose(undo) if undo is not None else upright
    exif = Image.Exif()
    exif[0x112] = orientation
    assert np.array_equal(
        np.asarray(open_cell(save(tmp_path, lying, 'e.png', exif=exif))), np.asarray(upright)
    )


def damaged():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype='uint8')).save(
        buffer, 'JPEG'
    )
    whole = buffer.getvalue()
    return [
        ('zero.jpg', b'', 'zero bytes'),
        ('text.jpg', b'hello world', 'not an image'),
        ('half.jpg', whole[: len(whole) // 2], 'truncated'),
        ('head.png', b'\x89PNG\r\n\x1a\n', 'truncated|not an image|damaged'),
        ('page.png', b'<html>404</html>', 'not an image'),
    ]


@pytest.mark.parametrize('name,content,why', damaged(), ids=[d[0] for d in damaged()])
def test_damaged(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=why) as e:
        open_cell(tmp_path / name)
    assert name in str(e.value)


def test_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match='more pixels'):
        open_cell(save(tmp_path, Image.new('1', (100, 100)), 'bomb.png'))


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    """A million files must cost one listing: one scandir per folder, and no question to the disk
    about a single file.
    """
    for c in 'abc':
        (tmp_path / c / 'deep').mkdir(parents=True)
        for i in range(200):
            (tmp_path / c / 'deep' / f'{i}.png').touch()
    listed, asked, scandir, stat = [], [], os.scandir, os.stat
    monkeypatch.setattr(os, 'scandir', lambda p: listed.append(str(p)) or scandir(p))
    monkeypatch.setattr(os, 'stat', lambda p, **k: asked.append(str(p)) or stat(p, **k))
    assert len(list(scan_folder(tmp_path, Counter()))) == 600
    assert len(listed) == len(set(listed)) == 7 and len(asked) <= 7


def test_links_in_a_circle_and_hidden_files(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / '1.png').touch()
    (tmp_path / 'a' / '._1.png').touch()
    (tmp_path / '.hidden').mkdir()
    (tmp_path / '.hidden' / '2.png').touch()
    (tmp_path / 'a' / 'back').symlink_to(tmp_path)
    assert [os.path.basename(p) for p, _ in scan_folder(tmp_path, Counter())] == ['1.png']
