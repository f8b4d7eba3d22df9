from __future__ import annotations

import pytest

from headwater.testing.kubernetes.image import Image, command_line, expand

IMAGE = Image(entrypoint=("serve", "--here"), command=("all",))


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(NAME)", "value"),
        ("a-$(NAME)-$(NAME)", "a-value-value"),
        ("$(OTHER)", "$(OTHER)"),
        ("$$(NAME)", "$(NAME)"),
        ("$$$(NAME)", "$value"),
        ("$NAME ${NAME} $", "$NAME ${NAME} $"),
    ],
)
def test_references(text: str, expanded: str) -> None:
    """References are replaced where they are known, and only in their one form."""
    assert expand(text, {"NAME": "value"}) == expanded


@pytest.mark.parametrize(
    ("command", "arguments", "line"),
    [
        (None, None, ["serve", "--here", "all"]),
        (None, ["some"], ["serve", "--here", "some"]),
        (["other"], None, ["other"]),
        (["other"], ["some"], ["other", "some"]),
    ],
)
def test_command_and_arguments(command: list[str] | None, arguments: list[str] | None, line: list[str]) -> None:
    """A command stands for both parts of the image's, arguments for the second."""
    assert command_line(IMAGE, command, arguments, {}) == line
