"""The corpus of real answers is whole."""

from __future__ import annotations

import pytest

from sources.shapes.corpus import FOLDER, SHAPES, Shape


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_is_whole(shape: Shape) -> None:
    """Each page has its answer, what is expected of it, and a next page but the last."""
    assert len(list((FOLDER / shape.name).glob("page-*.http"))) == len(shape.pages)
    assert [page.next is None for page in shape.pages] == [False] * (len(shape.pages) - 1) + [True]
    for page, response in zip(shape.pages, shape.responses, strict=True):
        assert response.status == 200
        for item in page.items:
            assert item.timestamp is None or item.time_ms
        for header in shape.quota.values():
            assert response.header(header), header
