"""What all groups of options have in common."""

from __future__ import annotations

from headwater.config import load_text

ONE = "name: {name}\ntopic: t\nparameters:\n  endpoint: http://a.example\n"


def test_names_that_were_given_are_shared_and_stay_as_they_are() -> None:
    """Options in which the same was given have one set of its names, and what is made of one of them has its own."""
    one, two = (load_text(ONE.format(name=name)).connectors[0] for name in ("a", "b"))
    assert one.http.__pydantic_fields_set__ is two.http.__pydantic_fields_set__
    assert one.http.model_fields_set == {"endpoint"}
    changed = one.http.model_copy(update={"method": "POST"})
    assert changed.model_fields_set == {"endpoint", "method"}
    assert one.http.model_fields_set == two.http.model_fields_set == {"endpoint"}
    other = load_text(ONE.format(name="c") + "  method: POST\n").connectors[0]
    assert other.http.model_fields_set == {"endpoint", "method"}
