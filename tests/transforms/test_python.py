"""SmartModules in Python: what a function's types say, its parameters, its errors and its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import Record, smartmodule
from headwater.core.errors import SmartModuleError, SmartModuleTrapError
from headwater.transforms.abi import Kind, Parameters
from headwater.transforms.python import PythonLoader, PythonModule, PythonStage
from headwater.transforms.stage import Limits


@smartmodule
def short(record: Record, *, most: int = 3) -> bool:
    if record.value == b"stuck":
        while True:
            pass
    if record.value == b"bad":
        raise ValueError("I do not like it")
    return len(record.value) <= most


@smartmodule
def upper(record: Record) -> Record:
    return Record(record.value.upper(), b"key")


@smartmodule
def maybe(record: Record) -> Record | None:
    return Record(record.value * 2) if record.value else None


@smartmodule
def words(record: Record) -> Iterator[Record]:
    for word in record.value.split():
        yield Record(word)


@smartmodule
def words_list(record: Record) -> list[Record]:
    return [Record(word) for word in record.value.split()]


@smartmodule
def longest(state: bytes, record: Record) -> bytes:
    return max(state, record.value, key=len)


@smartmodule
def tally(state: dict[str, int], record: Record) -> dict[str, int]:
    name = record.value.decode()
    # In place, as people do.
    state[name] = state.get(name, 0) + 1
    if name == "stuck":
        while True:
            pass
    return state


def stage(function: Callable[..., Any], seconds: float = 5.0, **values: str) -> PythonStage:
    made = PythonModule(function, "mine").stage(Parameters(values), Limits(seconds))
    made.begin(None)
    return made


def values(stage: PythonStage, *given: str) -> list[str]:
    return [it.value.decode() for it in stage.call([Record(value.encode(), b"k", 7) for value in given]).records]


def test_kinds_by_types() -> None:
    """The types say what it does; keys and times as in Fluvio."""
    assert values(stage(short), "cat", "lion") == ["cat"]
    (made,) = stage(upper).call([Record(b"a", b"k", 7)]).records
    assert made == Record(b"A", b"key", 7)
    assert values(stage(maybe), "a", "", "b") == ["aa", "bb"]
    for many in (words, words_list):
        result = stage(many).call([Record(b"a b"), Record(b""), Record(b"c")])
        assert ([it.value for it in result.records], list(result.origins)) == ([b"a", b"b", b"c"], [0, 0, 2])
    assert values(stage(longest), "a", "abc", "b") == ["a", "abc", "abc"]
    assert values(stage(tally), "x", "y", "x") == ['{"x":1}', '{"x":1,"y":1}', '{"x":2,"y":1}']
    kinds = [PythonModule(it, "").kind for it in (short, upper, maybe, words, longest)]
    assert kinds == [Kind.FILTER, Kind.MAP, Kind.FILTER_MAP, Kind.ARRAY_MAP, Kind.AGGREGATE]


def test_records_have_their_time() -> None:
    """A function sees the time that the record will get."""
    seen = []

    @smartmodule
    def look(record: Record) -> bool:
        seen.append(record.timestamp)
        return True

    (kept,) = stage(look).call([Record(b"x")], base_timestamp=99).records
    assert (seen, kept.timestamp) == ([99], None)


def test_a_kind_by_name() -> None:
    """Where types cannot say it, the decorator does."""

    @smartmodule(kind="filter")
    def keep(record):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - on purpose
        return record.value == b"x"

    assert values(stage(keep), "x", "y") == ["x"]


def test_parameters_are_converted() -> None:
    """Keyword-only arguments come from `with`, by their types; what is missing, unknown or wrong is told."""
    assert values(stage(short, most="5"), "lion") == ["lion"]

    @smartmodule
    def typed(record: Record, *, ratio: float, on: bool, names: list[str], title: str = "x") -> bool:
        return (ratio, on, names, title) == (0.5, True, ["a"], "t")

    assert values(stage(typed, ratio="0.5", on="true", names='["a"]', title="t"), "x") == ["x"]
    for given, said in (
        ({"ratio": "0.5", "on": "true"}, "needs the parameter 'names'"),
        ({"ratio": "half"}, "cannot use the value of 'ratio'"),
        ({"names": "[1"}, "cannot use the value of 'names'"),
        ({"rate": "1"}, "has no parameter 'rate'"),
    ):
        with pytest.raises(SmartModuleError, match=said):
            PythonModule(typed, "mine").arguments(given)


def test_an_exception_refuses_the_record() -> None:
    """What was before it is there, and the reason is the exception's."""
    result = stage(short).call([Record(b"a"), Record(b"bad"), Record(b"b")])
    assert ([it.value for it in result.records], result.refused) == ([b"a"], 1)
    assert result.complaint == "ValueError: I do not like it"


def test_time_is_bounded() -> None:
    """A function that never ends is stopped, also one that holds on to whatever it catches; the next call works."""
    filtering = stage(short, 0.1)
    with pytest.raises(SmartModuleTrapError, match=r"mine took longer than 0\.1 s") as caught:
        filtering.call([Record(b"stuck")])
    assert caught.value.slug == "transform-timeout"
    assert values(filtering, "a") == ["a"]

    @smartmodule
    def stubborn(record: Record) -> bool:
        for _ in range(3):
            try:
                while True:
                    pass
            except BaseException:  # noqa: BLE001, S112 - on purpose
                continue
        return True

    with pytest.raises(SmartModuleTrapError):
        stage(stubborn, 0.1).call([Record(b"x"), Record(b"y")])


def test_state_is_as_before_a_timeout() -> None:
    """A state that was changed in place by a call that was stopped is put back; it goes on elsewhere as JSON."""
    counting = stage(tally, 0.1)
    assert values(counting, "x") == ['{"x":1}']
    with pytest.raises(SmartModuleTrapError):
        counting.call([Record(b"y"), Record(b"stuck")])
    assert counting.state == b'{"x":1}'
    again = PythonModule(tally, "mine").stage()
    again.begin(counting.state)
    assert values(again, "x") == ['{"x":2}']
    with pytest.raises(SmartModuleError, match="cannot begin with its state"):
        again.begin(b"[")


@pytest.mark.parametrize(
    ("returned", "said"),
    [(1, "returned int, not True or False"), (None, "returned NoneType, not True or False")],
)
def test_a_filter_that_returns_something_else(returned: object, said: str) -> None:
    """It is a defect of the function, told with what it returned."""

    @smartmodule(kind="filter")
    def wrong(record: Record) -> object:
        return returned

    with pytest.raises(SmartModuleTrapError, match=said) as caught:
        stage(wrong).call([Record(b"x")])
    assert caught.value.slug == "transform-output"


def test_records_that_are_none() -> None:
    """A value that is a text, a map that returns bytes, a state that is no JSON."""

    @smartmodule(kind="map")
    def text(record: Record) -> object:
        return Record("a text")  # type: ignore[arg-type]

    @smartmodule(kind="array_map")
    def plain(record: Record) -> Iterable[object]:
        return [b"bytes"]

    @smartmodule(kind="aggregate")
    def strange(state: dict[str, object], record: Record) -> dict[str, object]:
        return {"x": object()}

    for function, said in (
        (text, "value or key is not bytes"),
        (plain, "returned bytes, not records"),
        (strange, "not JSON"),
    ):
        with pytest.raises(SmartModuleTrapError, match=said):
            stage(function).call([Record(b"x")])


def test_types_of_no_kind() -> None:
    """A function without types, with others, or with too many arguments is refused with the forms there are."""

    @smartmodule
    def untyped(record):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - on purpose
        return True

    @smartmodule
    def other(record: Record) -> int:
        return 1

    @smartmodule
    def three(one: bytes, two: Record, more: Record) -> bytes:
        return b""

    @smartmodule
    def unknown(record: Record) -> NoSuchType:  # type: ignore[name-defined]  # noqa: F821
        return True

    for function, said in ((untyped, "no kind"), (other, "no kind"), (three, "no kind"), (unknown, "cannot be read")):
        with pytest.raises(SmartModuleError, match=said):
            PythonModule(function, "mine")


FILE = "from headwater import Record, smartmodule\n\n@smartmodule\ndef keep(record: Record) -> bool:\n    return {}\n"


def test_files_are_loaded_anew(tmp_path: Path) -> None:
    """A path begins at the configuration's directory; a changed file is read again."""
    loader, file = PythonLoader(), tmp_path / "mine.py"
    file.write_text(FILE.format("True"))
    assert loader.load("./mine.py:keep", tmp_path).function(Record(b""))
    assert loader.load(f"python:{file}:keep", Path()).function(Record(b""))
    file.write_text(FILE.format("False  # changed"))
    assert not loader.load("./mine.py:keep", tmp_path).function(Record(b""))


def test_packages_are_found_beside_the_configuration(tmp_path: Path) -> None:
    """A dotted name is imported, from the configuration's directory too."""
    package = tmp_path / "headwater_test_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text(FILE.format("record.value == b'x'"))
    module = PythonLoader().load("python:headwater_test_package.inner:keep", tmp_path)
    assert module.kind is Kind.FILTER
    assert module.function(Record(b"x"))


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    """Each mistake has its sentence, with the line where there is one."""
    (tmp_path / "plain.py").write_text(
        "from headwater import Record\n\ndef keep(record: Record) -> bool:\n    return True\n"
    )
    (tmp_path / "broken.py").write_text("x = 1\nraise RuntimeError('no')\n")
    (tmp_path / "syntax.py").write_text("def keep(:\n")
    (tmp_path / "good.py").write_text(FILE.format("True"))
    for uses, said in (
        ("./plain.py:keep", "not declared to be a SmartModule"),
        ("./broken.py:keep", r"RuntimeError: no \(line 2\)"),
        ("./syntax.py:keep", "SyntaxError"),
        ("./none.py:keep", "No such file"),
        ("./good.py:kept", "there is no kept"),
        ("./good.py", "names no function"),
        ("python:no_such_package_here:keep", "cannot be imported"),
        ("python:json:loads", "not declared"),
    ):
        with pytest.raises(SmartModuleError, match=said):
            PythonLoader().load(uses, tmp_path)


BEGINNING = "import sys\nfrom asyncio import CancelledError\nfrom headwater import Record, smartmodule\n"


@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise KeyboardInterrupt", "raise CancelledError"])
def test_a_function_cannot_end_the_process(tmp_path: Path, ending: str) -> None:
    """What would end the process refuses the record instead, and on import it is an error of that module."""
    source = f"{BEGINNING}\n@smartmodule\ndef f(record: Record) -> bool:\n    {ending}\n"
    (tmp_path / "quits.py").write_text(source)
    stage = PythonLoader().load("./quits.py:f", tmp_path).stage(Parameters({}), Limits())
    stage.begin(None)
    call = stage.call([Record(b"x")])
    assert call.complaint is not None
    (tmp_path / "gone.py").write_text(f"{BEGINNING}{ending}\n")
    with pytest.raises(SmartModuleError, match="cannot be imported"):
        PythonLoader().load("./gone.py:f", tmp_path)
