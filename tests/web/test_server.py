"Starting the server where a notebook runs."

import asyncio

import pytest

from leukocls.core.errors import LeukoError
from leukocls.web.server import serve


def test_serve_in_a_notebook_says_what_to_call(small_bundle):
    async def cell():
        serve([small_bundle], port=0)

    with pytest.raises(LeukoError, match=r'show\(…\).*run=False'):
        asyncio.run(cell())


def test_a_server_aside_can_be_started_in_a_notebook(small_bundle):
    async def cell():
        server = serve([small_bundle], port=0, run=False, say=lambda line: None).start()
        server.stop()
        return server.server.started

    assert asyncio.run(cell())
