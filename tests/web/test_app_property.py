"""What the description of the interface says is what the server does: schemathesis makes requests
from it, right ones and wrong ones.
"""

import os

import pytest
from fake_model import Fake, blob, plain
from hypothesis import HealthCheck, given, settings, strategies as st

from leukocls.web.application import describe_interface, make_app, name_models
from leukocls.web.server import Server

schemathesis, httpx, _ = (pytest.importorskip(n) for n in ('schemathesis', 'httpx', 'starlette'))
RejectedPositive = pytest.importorskip('schemathesis.specs.openapi.checks').positive_data_acceptance
EXAMPLES = int(os.environ.get('LEUKOCLS_EXAMPLES', 25))  # more for a night: LEUKOCLS_EXAMPLES=2000
QUIET = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

MODELS = [Fake('fake', examples=2), Fake('other', calibrated=False, gate=False)]
api = schemathesis.openapi.from_dict(describe_interface(name_models(MODELS), '1.0'))


@pytest.fixture(scope='module')
def url():
    with Server(make_app(MODELS)) as s:
        yield s.url


def test_the_server_says_the_same(url):
    assert httpx.get(f'{url}api/docs', trust_env=False).json()['paths'] == api.raw_schema['paths']


@api.parametrize()
@QUIET
def test_as_described(url, case):
    """Status, content type, headers and body of each answer are those of the description; no 5xx;
    wrong requests are refused.
    """
    one = case.operation.path in (
        '/api/heat',
        '/api/nearest',
    )  # no schema can say that bytes are an image, and these want one that can be read
    case.call_and_validate(
        base_url=url, timeout=20, excluded_checks=[RejectedPositive] if one else []
    )


some_images = st.lists(
    st.one_of(
        st.binary(max_size=300),
        st.sampled_from(
            [
                blob(plain(60, 60, 240)),
                blob(plain(40, 230, 40), 'JPEG'),
                blob(plain(230, 40, 40), 'WEBP'),
            ]
        ),
        st.builds(
            lambda head, tail: head + tail,
            st.sampled_from(
                [b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM', b'II*\0', b'RIFF0000WEBP']
            ),
            st.binary(max_size=300),
        ),
    ),
    min_size=1,
    max_size=5,
)


@settings(QUIET, max_examples=2 * EXAMPLES)
@given(
    images=some_images,
    names=st.lists(
        st.text(
            st.characters(codec='utf-8', exclude_characters='\r\n"\\\0'), min_size=1, max_size=30
        ),
        min_size=5,
        max_size=5,
    ),
    model=st.one_of(
        st.none(),
        st.just('other'),
        st.text(st.characters(codec='ascii', min_codepoint=32), max_size=30),
    ),
)
def test_any_images_any_names(url, images, names, model):
    "As many results as images, in their order; each is whole; probabilities are probabilities."
    r = httpx.post(
        f'{url}api/predict',
        files=[('images', (n, b)) for n, b in zip(names, images)],
        data=dict(model=model) if model is not None else None,
        trust_env=False,
        timeout=20,
    )
    if model and model not in ('fake', 'other'):
        assert r.status_code == 422
        return
    assert r.status_code == 200, r.text
    results = r.json()['results']
    assert len(results) == len(images)
    for b, x in zip(images, results):
        assert bool(x['error']) == (x['label'] == '') == (x['probabilities'] == {})
        assert not x['probabilities'] or abs(sum(x['probabilities'].values()) - 1) < 1e-6
        if len(b) > 400 or b.startswith(b'RIFF') and len(b) > 40 and b[4:8] != b'0000':
            assert not x['error']


@settings(QUIET, max_examples=2 * EXAMPLES)
@given(
    body=st.binary(max_size=500),
    kind=st.sampled_from(
        [
            'multipart/form-data; boundary=b',
            'multipart/form-data',
            'application/json',
            'text/plain',
            '',
        ]
    ),
    path=st.sampled_from(['predict', 'field', 'heat', 'nearest']),
)
def test_any_bytes_are_refused_in_words(url, body, kind, path):
    r = httpx.post(
        f'{url}api/{path}', content=body, headers={'content-type': kind}, trust_env=False
    )
    assert (
        r.status_code in (400, 413, 415, 422)
        and list(r.json()) == ['error']
        and r.json()['error'].endswith('.')
    )
