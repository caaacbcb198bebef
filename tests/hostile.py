"""What strangers send: files and requests made to break a server. Everything is made here; nothing
of it is a real attack tool.
"""

import gzip
import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
from fake_model import blob, plain
from PIL import Image

CELL = blob(plain(60, 60, 240))
NOISE = Image.frombytes(
    'RGB', (300, 200), np.random.default_rng(0).integers(0, 256, 180_000, 'uint8').tobytes()
)


# Files


def chunk(kind, body):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png(w, h, data=b'', depth=8, colour=2, extra=b'', crc=True):
    out = (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, depth, colour, 0, 0, 0))
        + extra
        + chunk(b'IDAT', data or zlib.compress(b'\0' * 9))
        + chunk(b'IEND', b'')
    )
    return out if crc else out[:29] + b'\0\0\0\0' + out[33:]


def zeros(n):  # n zeros, compressed, without holding them
    c = zlib.compressobj(9)
    out = b''.join(c.compress(bytes(min(1 << 20, n - i))) for i in range(0, n, 1 << 20))
    return out + c.flush()


def tiff(
    tags, after=0, tail=b'', count=None
):  # little-endian, one directory; tags are (tag, type, count, value)
    return (
        b'II*\0'
        + struct.pack('<IH', 8, len(tags) if count is None else count)
        + b''.join(struct.pack('<HHII', *t) for t in tags)
        + struct.pack('<I', after)
        + tail
    )


def tiff_of(w, h, **kw):
    return tiff(
        [
            (256, 4, 1, w),
            (257, 4, 1, h),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, 1, 150),
            (277, 3, 1, 1),
            (278, 4, 1, h),
            (279, 4, 1, w * h & 0xFFFFFFFF),
        ],
        **kw,
    )


def bmp(w, h, bits=24, compression=0, data=b''):
    return (
        b'BM'
        + struct.pack('<IHHI', 54 + len(data), 0, 0, 54)
        + struct.pack('<IiiHHIIiiII', 40, w, h, 1, bits, compression, len(data), 0, 0, 0, 0)
        + data
    )


def webp(kind, body):
    return (
        b'RIFF'
        + struct.pack('<I', 12 + len(body))
        + b'WEBP'
        + kind
        + struct.pack('<I', len(body))
        + body
    )


def jpeg_size(w, h):
    j = bytearray(blob(NOISE, 'JPEG'))
    i = j.index(b'\xff\xc0')
    j[i + 5 : i + 9] = struct.pack('>HH', h, w)
    return bytes(j)


def jpeg_with(segment, n=1, marker=b'\xff\xe1'):
    j = blob(plain(60, 60, 240), 'JPEG')
    return j[:2] + (marker + struct.pack('>H', len(segment) + 2) + segment) * n + j[2:]


def several(kind, n):
    return blob(
        plain(60, 60, 240),
        kind,
        save_all=True,
        append_images=[plain(i % 250, 9, 9) for i in range(n - 1)],
    )


def scans(n):  # a progressive JPEG whose last pass is repeated n times
    j = blob(Image.new('RGB', (2400, 2400), (60, 60, 240)), 'JPEG', progressive=True)
    i = j.rindex(b'\xff\xda')
    return j[:-2] + j[i:-2] * n + b'\xff\xd9'


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def zipped(name, data):
    b = io.BytesIO()
    z = zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED)
    z.writestr(name, data)
    z.close()
    return b.getvalue()


def exif_loop():
    "A directory that leads to itself."
    return b'Exif\0\0II*\0' + struct.pack('<IHHHIII', 8, 1, 0x8769, 4, 1, 8, 8)


def exif_overlap(n, size):  # tags that all point to the same bytes
    return (
        b'Exif\0\0II*\0'
        + struct.pack('<IH', 8, n)
        + b''.join(
            struct.pack(
                '<HHII',
                0x112 if i == 0 else 3000 + i,
                3 if i == 0 else 1,
                1 if i == 0 else size,
                6 if i == 0 else 10,
            )
            for i in range(n)
        )
        + bytes(max(4, size - 12 * n + 100))
    )


def broken(b, at, n=40):
    return b[:at] + b'\xff' * n + b[at + n :]


def files(marker):
    """Name → (function that makes the bytes, may it be classified?). None: either answer is right,
    as long as there is one.
    """
    j, p, t, w, b = (blob(NOISE, k) for k in ('JPEG', 'PNG', 'TIFF', 'WEBP', 'BMP'))
    script = b'<script>alert(1)</script>'
    return {
        'zero bytes': (lambda: b'', False),
        'one byte': (lambda: b'\xff', False),
        'a megabyte of zeros': (lambda: bytes(1_000_000), False),
        'a megabyte of ones': (lambda: b'\xff' * 1_000_000, False),
        'noise': (lambda: os.urandom(100_000), False),
        'JPEG start only': (lambda: b'\xff\xd8\xff\xe0', False),
        'PNG start only': (lambda: p[:8], False),
        'BMP start only': (lambda: b'BM', False),
        'TIFF start only': (lambda: b'II*\0', False),
        'WebP start only': (lambda: b'RIFF\0\0\0\0WEBP', False),
        'half a JPEG': (lambda: j[: len(j) // 2], False),
        'half a PNG': (lambda: p[: len(p) // 2], False),
        'half a TIFF': (lambda: t[: len(t) // 2], False),
        'half a WebP': (lambda: w[: len(w) // 2], False),
        'half a BMP': (lambda: b[: len(b) // 2], False),
        'JPEG damaged within': (lambda: broken(j, 700), None),
        'PNG damaged within': (lambda: broken(p, 700), False),
        'TIFF damaged directory': (lambda: broken(t, len(t) - 60), None),
        'WebP damaged within': (lambda: broken(w, 700), None),
        'PNG with a wrong checksum': (lambda: png(8, 8, crc=False), False),
        'PNG of 100,000 × 1': (lambda: png(100_000, 1), False),
        'PNG of 1 × 100,000': (lambda: png(1, 100_000), False),
        'PNG of 100,000²': (lambda: png(100_000, 100_000), False),
        'PNG of 2³¹ − 1': (lambda: png(2**31 - 1, 2**31 - 1), False),
        'PNG of 0 × 0': (lambda: png(0, 0), False),
        'PNG of 20,001 × 1, whole': (lambda: png(20_001, 1, zlib.compress(bytes(60_004))), False),
        'PNG of a million chunks': (
            lambda: png(8, 8, zlib.compress(bytes(200)), extra=chunk(b'tEXt', b'') * 1_000_000),
            False,
        ),
        'PNG bomb: 400 megapixels in 50 kB': (
            lambda: png(20_000, 20_000, zeros(20_000 * 20_001 // 8), 1, 0),
            False,
        ),
        'PNG at the limit: 50 megapixels': (
            lambda: png(7_000, 7_140, zeros(7_140 * 7_001), 8, 0),
            True,
        ),
        'PNG that unpacks to more than it says': (lambda: png(8, 8, zeros(100_000_000)), None),
        'PNG that unpacks to less': (lambda: png(2000, 2000, zeros(1000)), False),
        'PNG text bomb': (
            lambda: png(8, 8, extra=chunk(b'zTXt', b'a\0\0' + zeros(100_000_000))),
            None,
        ),
        'PNG profile bomb': (
            lambda: png(8, 8, extra=chunk(b'iCCP', b'a\0\0' + zeros(100_000_000))),
            None,
        ),
        'PNG of 20,000 text chunks': (
            lambda: png(8, 8, zlib.compress(bytes(200)), extra=chunk(b'tEXt', b'a\0b') * 20_000),
            None,
        ),
        'PNG palette that is missing': (lambda: png(8, 8, zlib.compress(bytes(80)), 8, 3), None),
        'PNG that claims a billion frames': (
            lambda: png(
                8, 8, zlib.compress(bytes(200)), extra=chunk(b'acTL', struct.pack('>II', 10**9, 0))
            ),
            None,
        ),
        'deep PNG of 16 megapixels': (lambda: png(4000, 4000, zeros(4000 * 8001), 16, 0), False),
        'JPEG of 65,500²': (lambda: jpeg_size(65_500, 65_500), False),
        'JPEG of 0 × 0': (lambda: jpeg_size(0, 0), False),
        'JPEG with a thousand passes': (lambda: scans(1000), False),
        'JPEG with 400 passes': (lambda: scans(400), True),
        'JPEG of two million comments': (lambda: jpeg_with(b'', 2_000_000, b'\xff\xfe'), False),
        'JPEG with 20 MB of padding': (lambda: j[:2] + b'\xff' * 20_000_000 + j[2:], False),
        'JPEG whose EXIF reads itself 4,000 times': (
            lambda: jpeg_with(exif_overlap(4000, 47_000)),
            None,
        ),
        'JPEG with 20 MB of comments': (lambda: jpeg_with(b'x' * 65_000, 300, b'\xff\xfe'), True),
        'JPEG whose EXIF leads to itself': (lambda: jpeg_with(exif_loop()), None),
        'JPEG turned by 99': (
            lambda: jpeg_with(b'Exif\0\0II*\0' + struct.pack('<IHHHIII', 8, 1, 0x112, 3, 1, 99, 0)),
            True,
        ),
        'JPEG with EXIF noise': (lambda: jpeg_with(b'Exif\0\0' + os.urandom(5000)), None),
        'JPEG with a path as its description': (
            lambda: jpeg_with(
                b'Exif\0\0II*\0'
                + struct.pack('<IHHHIII', 8, 1, 0x10E, 2, 30, 26, 0)
                + b'../../../../etc/passwd;reboot\0'
            ),
            True,
        ),
        'BMP of 2³¹ − 1': (lambda: bmp(2**31 - 1, 2**31 - 1), False),
        'BMP of a negative side': (lambda: bmp(-50, 50), False),
        'BMP run-length bomb': (
            lambda: bmp(20_000, 2_400, 8, 1, b'\xff\x01' * 10_000 + b'\0\x01'),
            None,
        ),
        'BMP run-length of single pixels': (
            lambda: bmp(3000, 3000, 8, 1, b'\1\1' * 5_000_000),
            False,
        ),
        'BMP run-length that stands still': (
            lambda: bmp(3000, 3000, 8, 1, b'\0\2\0\0' * 2_000_000),
            False,
        ),
        'BMP of 3 bits': (lambda: bmp(8, 8, 3, 0, bytes(300)), False),
        'TIFF of 100,000²': (lambda: tiff_of(100_000, 100_000), False),
        'TIFF whose pages go in a circle': (
            lambda: tiff_of(10, 10, after=8, tail=bytes(300)),
            None,
        ),
        'TIFF of 65,535 tags': (lambda: tiff([(270, 2, 4, 0)] * 65_535), False),
        'TIFF tag of 4 GB': (
            lambda: tiff([(256, 4, 1, 8), (257, 4, 1, 8), (273, 4, 2**30, 8), (279, 4, 2**30, 8)]),
            False,
        ),
        'TIFF whose 200 tags share 5 MB': (
            lambda: tiff(
                [(256, 4, 1, 8), (257, 4, 1, 8)]
                + [(40_000 + i, 1, 5_000_000, 8) for i in range(200)],
                tail=bytes(5_000_000),
            ),
            False,
        ),
        'PNG whose EXIF tags share 5 MB': (
            lambda: png(
                8,
                8,
                zlib.compress(bytes(200)),
                extra=chunk(b'eXIf', exif_overlap(200, 5_000_000)[6:]),
            ),
            None,
        ),
        'TIFF strip beyond the end': (lambda: tiff_of(1000, 1000), False),
        'TIFF of 500 pages': (lambda: several('TIFF', 500), True),
        'TIFF of NaN': (
            lambda: blob(Image.fromarray(np.full((9, 9), np.nan, 'float32')), 'TIFF'),
            None,
        ),
        'WebP canvas of 16,384²': (
            lambda: webp(b'VP8X', b'\0\0\0\0' + (16_383).to_bytes(3, 'little') * 2),
            False,
        ),
        'lossless WebP of 16,384²': (
            lambda: webp(b'VP8L', b'\x2f' + struct.pack('<I', 16_383 | 16_383 << 14) + b'\0' * 20),
            False,
        ),
        'WebP of 500 frames': (lambda: several('WEBP', 500), True),
        'PNG of 300 frames': (lambda: several('PNG', 300), True),
        'GIF': (lambda: blob(plain(1, 2, 3), 'GIF'), False),
        'SVG with a program': (
            lambda: b'<svg xmlns="http://www.w3.org/2000/svg">' + script + b'</svg>',
            False,
        ),
        'XML entity bomb': (
            lambda: (
                b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c'
                b' "&b;&b;&b;&b;">]><a>&c;</a>'
            ),
            False,
        ),
        'PDF': (lambda: blob(plain(1, 2, 3), 'PDF'), False),
        'EPS': (lambda: b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(cmd) run', False),
        'PPM of 100,000²': (lambda: b'P6 100000 100000 255\n', False),
        'ICO': (lambda: blob(plain(1, 2, 3), 'ICO'), False),
        'HTML': (lambda: b'<html>' + script, False),
        'shell script': (lambda: b'#!/bin/sh\ntouch ' + marker.encode(), False),
        'ZIP bomb': (lambda: zipped('x.png', bytes(50_000_000)), False),
        'gzip bomb': (lambda: gzip.compress(bytes(50_000_000)), False),
        'pickle': (lambda: pickle.dumps(Evil(marker)), False),
        'pickle of protocol 0': (lambda: pickle.dumps(Evil(marker), 0), False),
        'torch file': (lambda: zipped('archive/data.pkl', pickle.dumps(Evil(marker))), False),
        'numpy file of objects': (
            lambda: (
                b'\x93NUMPY\1\0v\0'
                + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117)
                + b'\n'
                + pickle.dumps([Evil(marker)])
            ),
            False,
        ),
        'PNG and pickle in one': (lambda: CELL + pickle.dumps(Evil(marker)), True),
        'PNG and ZIP in one': (lambda: CELL + zipped('a.html', script), True),
        'JPEG and HTML in one': (lambda: jpeg_with(script, 1, b'\xff\xfe') + script, True),
        'PDF and JPEG in one': (lambda: b'%PDF-1.7\n' + j, False),
        'BMP and JavaScript in one': (lambda: b'BM=1;/*' + b[7:] + b'*/', None),
        'TIFF with a pickle as text': (
            lambda: blob(
                plain(60, 60, 240),
                'TIFF',
                tiffinfo={270: pickle.dumps(Evil(marker), 0).decode('latin-1')},
            ),
            True,
        ),
        'one pixel': (lambda: blob(plain(60, 60, 240, size=(1, 1))), True),
        '20,000 × 1 pixels': (lambda: blob(plain(60, 60, 240, size=(20_000, 1))), True),
        'CMYK': (lambda: blob(Image.new('CMYK', (9, 9), (200, 200, 0, 0)), 'JPEG'), True),
        'wholly transparent': (lambda: blob(Image.new('RGBA', (9, 9))), True),
        'one bit': (lambda: blob(Image.new('1', (9, 9))), True),
    }


# Requests, byte by byte


def form(*parts, end=b'--edge--\r\n'):
    return (
        b''.join(b'--edge\r\n' + head + b'\r\n\r\n' + data + b'\r\n' for head, data in parts) + end
    )


DISPOSITION = b'Content-Disposition: form-data; name="images"; filename="a.png"'


def post(
    body,
    kind=b'multipart/form-data; boundary=edge',
    path=b'/api/predict',
    length=None,
    more=b'',
    host=b'127.0.0.1',
):
    return (
        b'POST '
        + path
        + b' HTTP/1.1\r\nHost: '
        + host
        + b'\r\nContent-Type: '
        + kind
        + b'\r\nContent-Length: '
        + str(len(body) if length is None else length).encode()
        + b'\r\n'
        + more
        + b'\r\n'
        + body
    )


def requests():
    "Name → (bytes, statuses that are right); None: the line may also just be closed."
    good = form((DISPOSITION, CELL))

    def part(head):
        return post(form((head, CELL)))

    bad = {400, 415, 422}
    chunked = (
        b'POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data;'
        b' boundary=edge\r\nTransfer-Encoding: chunked\r\n'
    )
    return {
        'no boundary': (post(good, b'multipart/form-data'), bad),
        'another boundary': (post(good, b'multipart/form-data; boundary=other'), bad),
        'a boundary of 1,000 letters': (
            post(good, b'multipart/form-data; boundary=' + b'x' * 1000),
            bad,
        ),
        'an empty boundary': (post(good, b'multipart/form-data; boundary='), bad),
        'a form without its end': (post(good[:-8]), bad),
        'a form that ends in a part': (post(good[:80]), bad),
        'an empty body': (post(b''), bad),
        'line feeds only': (post(good.replace(b'\r\n', b'\n')), bad),
        'a form in a form': (
            post(
                form(
                    (
                        (
                            b'Content-Disposition: form-data; name="images"\r\nContent-Type:'
                            b' multipart/mixed; boundary=in'
                        ),
                        b'--in\r\n\r\nx\r\n--in--',
                    )
                )
            ),
            bad,
        ),
        'a part without a head': (post(form((b'', CELL))), bad),
        'a part without a name': (part(b'Content-Disposition: form-data; filename="a"'), bad),
        'a part of 10,000 heads': (
            part(b'\r\n'.join([b'X-%d: y' % i for i in range(10_000)])),
            bad,
        ),
        'a head of 1 MB': (part(b'X: ' + b'y' * 1_000_000), bad),
        'a head without a colon': (part(b'nonsense'), bad),
        '50,000 parts': (post(form(*[(DISPOSITION, b'')] * 50_000)), {413, *bad}),
        '50,000 fields': (
            post(
                form(
                    *[
                        (b'Content-Disposition: form-data; name="f%d"' % i, b'')
                        for i in range(50_000)
                    ]
                )
            ),
            bad,
        ),
        'the same field twice': (
            post(
                form(
                    *[(b'Content-Disposition: form-data; name="model"', b'fake')] * 2,
                    (DISPOSITION, CELL),
                )
            ),
            bad,
        ),
        'a field of 1 MB': (
            post(form((b'Content-Disposition: form-data; name="model"', b'x' * 1_000_000))),
            bad,
        ),
        'a thousand images': (post(form(*[(DISPOSITION, CELL)] * 1000)), {413}),
        'a name with line breaks': (
            part(
                b'Content-Disposition: form-data; name="images"; filename="a\\r\\nSet-Cookie: x=y"'
            ),
            {200},
        ),
        'a name with a NUL': (
            part(b'Content-Disposition: form-data; name="images"; filename="a\0.png"'),
            {200, *bad},
        ),
        'a name of 10 kB': (
            part(
                b'Content-Disposition: form-data; name="images"; filename="' + b'x' * 10_000 + b'"'
            ),
            bad,
        ),
        'a name that is a path': (
            part(b'Content-Disposition: form-data; name="images"; filename="/etc/passwd"'),
            {200},
        ),
        'a name that is no UTF-8': (
            part(b'Content-Disposition: form-data; name="images"; filename="\xff\xfe"'),
            {200},
        ),
        'a name without its quote': (
            part(b'Content-Disposition: form-data; name="images"; filename="a'),
            {200, *bad},
        ),
        'a model named like a program': (
            post(
                form(
                    (
                        b'Content-Disposition: form-data; name="model"',
                        b'__import__("os").system("id")',
                    ),
                    (DISPOSITION, CELL),
                )
            ),
            {422},
        ),
        'base64 in a part': (part(DISPOSITION + b'\r\nContent-Transfer-Encoding: base64'), {200}),
        'an image as text': (
            post(form((b'Content-Disposition: form-data; name="images"', CELL))),
            bad,
        ),
        'two lengths': (post(good, more=b'Content-Length: 5\r\n'), {400}),
        'a length below zero': (post(good, length=-5), {400}),
        'a length that is no number': (post(good, length='five'), {400}),
        'a length too short': (post(good, length=30), bad),
        'a length and pieces': (post(good, more=b'Transfer-Encoding: chunked\r\n'), {400}),
        'a length of 10 TB': (post(b'x', length=10**13), {413}),
        'pieces with a wrong size': (chunked + b'\r\nzz\r\nxx\r\n', bad | {None}),
        'a piece of 2⁶⁴ bytes': (chunked + b'\r\nffffffffffffffff\r\nxx', {408, None, *bad}),
        'a gzip body': (post(gzip.compress(good), more=b'Content-Encoding: gzip\r\n'), bad),
        'an XML body': (post(b'<a/>', b'application/xml'), {415}),
        'a pickle body': (post(b'\x80\x04K\x01.', b'application/octet-stream'), {415}),
        'a request line of 100 kB': (
            b'GET /' + b'a' * 100_000 + b' HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
            {400, 404, None},
        ),
        '5,000 headers': (
            b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n'
            + b''.join(b'X-%d: y\r\n' % i for i in range(5000))
            + b'\r\n',
            {200, 400, None},
        ),
        'a header with a bare line feed': (
            b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\nSet-Cookie: y\r\n\r\n',
            {200, 400},
        ),
        'a header with a NUL': (b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n', {400}),
        'a folded header': (b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n\r\n', {200, 400}),
        'two hosts': (
            b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n',
            {400, 421},
        ),
        'no host': (b'GET / HTTP/1.1\r\n\r\n', {400, 421}),
        'another host': (post(good, host=b'evil.example'), {421}),
        'HTTP/0.9': (b'GET /\r\n\r\n', {400, None}),
        'HTTP/2': (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', {400, 421, 505, None}),
        'TLS': (b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(500), {400, None}),
        'noise': (os.urandom(5000) + b'\r\n\r\n', {400, None}),
        'a path to a file': (
            b'GET /static/../../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
            {404},
        ),
        'a path with a NUL': (b'GET /static/app.js%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', {404}),
        'a path that is no UTF-8': (b'GET /%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', {404}),
        'a whole address': (
            b'GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
            {200, 400, 404},
        ),
        'CONNECT': (
            b'CONNECT evil.example:443 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
            {400, 404, 405},
        ),
        'TRACE': (b'TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', {405}),
        'a WebSocket': (
            (
                b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection:'
                b' Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n'
            ),
            {200, 400, 426},
        ),
        'a script in the address': (
            (
                b'GET /<script>alert(1)</script> HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept:'
                b' text/html\r\n\r\n'
            ),
            {400, 404},
        ),
        'two hundred requests at once': (
            b'GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n' * 200,
            {200},
        ),
        'a head that never ends': (b'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-', {None}),
        'a body that never comes': (post(b'--edge\r\n', length=5000), {408, None}),
    }
