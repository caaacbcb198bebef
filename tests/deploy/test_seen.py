"The names of seen pictures in a bundle: read as anything that strangers may have made."

import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from leukocls.core.errors import ModelError
from leukocls.data.seen import SEEN_FILE, Seen
from leukocls.deploy.bundle import Bundle, sums_of


@pytest.fixture
def bundle(root, tmp_path):
    "A bundle of a time when there were no such names."
    with zipfile.ZipFile(root / 'tests' / 'stored' / 'bundle-0.1.0.zip') as archive:
        archive.extractall(tmp_path)
    return tmp_path / 'bundle-0.1.0'


def put_in(bundle, data):
    (bundle / SEEN_FILE).write_bytes(data)
    names = [path for path in bundle.iterdir() if path.name != 'SHA256SUMS']
    (bundle / 'SHA256SUMS').write_text(sums_of({path.name: path.read_bytes() for path in names}))
    return Bundle(bundle)


def names(n, width=32, kind='uint8'):
    return np.zeros((n, width), kind)


@pytest.mark.once
def test_a_bundle_without_names_tells_nothing(bundle):
    assert Bundle(bundle).seen is None


@pytest.mark.once
def test_names_of_pictures_are_read(bundle):
    seen = Seen(names(3), names(3), np.array([True, False, False]))
    again = put_in(bundle, seen.to_bytes()).seen
    assert len(again) == 3 and again.chose.tolist() == [True, False, False]
    assert len(put_in(bundle, Seen(names(0), names(0), np.zeros(0, bool)).to_bytes()).seen) == 0


@pytest.mark.once
@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\x80\x04K\x01.',
        b'\xff' * 100,
        save(dict(contents=names(3), looks=names(3))),
        save(dict(contents=names(3), looks=names(3), chose=np.zeros(2, 'uint8'))),
        save(dict(contents=names(3), looks=names(4), chose=np.zeros(3, 'uint8'))),
        save(dict(contents=names(3, 16), looks=names(3, 16), chose=np.zeros(3, 'uint8'))),
        save(dict(contents=names(3), looks=names(3, 32, 'float32'), chose=np.zeros(3, 'uint8'))),
        save(dict(contents=names(3), looks=names(3), chose=np.zeros((3, 1), 'uint8'))),
    ],
)
def test_what_is_no_list_of_names_is_refused(bundle, data):
    with pytest.raises(ModelError, match='does not hold the names of pictures'):
        put_in(bundle, data)
