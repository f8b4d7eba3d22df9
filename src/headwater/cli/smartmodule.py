"""Owns `headwater smartmodule`: the store of modules, and trying one on lines of the standard input."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from headwater.cli.display import key_value, value_text
from headwater.cli.options import assignments, data_dir, print_table
from headwater.core.errors import SmartModuleError
from headwater.core.record import Record, StoredRecord
from headwater.core.units import format_size, parse_duration
from headwater.transforms.abi import Kind, Lookback, Parameters
from headwater.transforms.builtin import BUILTINS
from headwater.transforms.chain import Chain, Step
from headwater.transforms.library import Library
from headwater.transforms.stage import Limits
from headwater.transforms.store import Entry, Reference, Store, parse_reference
from headwater.transforms.wasm import MOST_CODE


@click.group()
def command() -> None:
    """Load, list, describe, delete and try SmartModules.

    A connect.yml names them as name, group/name or group/name@version.
    """


@command.command("load")
@click.argument("name", required=False)
@click.option(
    "--wasm-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="The module, as WebAssembly."
)
@click.option(
    "--package",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The module, as a signed .ipkg file.",
)
@data_dir
def load(name: str | None, wasm_file: Path | None, package: Path | None, data_dir: Path) -> None:
    """Keep a module under NAME, which may be name, group/name or group/name@version.

    It takes the place of one of the same name. A package knows its own name.
    """
    if (wasm_file is None) == (package is None):
        raise click.UsageError("Name either --wasm-file or --package.")
    reference = None if name is None else parse_reference(name)
    description = signed_by = ""
    if package is not None:
        from headwater.transforms.package import open_package  # noqa: PLC0415 - only packages pay for cryptography

        opened = open_package(_bytes(package), str(package))
        # What a package calls itself comes from elsewhere: it is read as strictly as what a person writes.
        own = parse_reference(str(Reference(opened.name, opened.group or None, opened.version or None)))
        if reference is not None and reference not in (own, Reference(own.name), Reference(own.name, own.group)):
            raise SmartModuleError(f"{package} is {own}, not {reference}", hint="leave the name out")
        reference, code = own, opened.code
        description, signed_by = opened.description, opened.signed_by
    else:
        assert wasm_file is not None
        code = _bytes(wasm_file)
        if reference is None:
            raise click.UsageError(
                "Give the module a name, such as: headwater smartmodule load my-filter --wasm-file F"
            )
    library = Library(data_dir)
    module = library.host.load(code, str(package or wasm_file))
    library.store.save(
        Entry(
            name=reference.name,
            group=reference.group,
            version=reference.version,
            digest=hashlib.sha256(code).hexdigest(),
            size=len(code),
            kind=module.kind,
            loaded=time.time_ns() // 1_000_000,
            description=description,
            signed_by=signed_by,
        ),
        code,
    )
    click.echo(f'smartmodule "{reference}" loaded ({module.kind}, {format_size(len(code))})')


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than may be: the bound is checked, with its own words, where the bytes are used.
            return file.read(2 * MOST_CODE + 1)
    except OSError as error:
        raise SmartModuleError(f"{path} cannot be read: {error.strerror}") from error


@command.command("list")
@click.option("-O", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@data_dir
def list_modules(output: str, data_dir: Path) -> None:
    """List the modules that were loaded, then those that come with Headwater."""
    entries = Store(data_dir / "smartmodules").entries()
    if output == "json":
        click.echo(json.dumps([_described(entry) for entry in entries], indent=2))
        return
    rows = [(str(entry.reference), entry.kind, format_size(entry.size), entry.description) for entry in entries]
    loaded = {(entry.name, entry.group) for entry in entries}
    rows += [
        (name, "built in", "", text)
        for name, (_, _, text) in BUILTINS.items()
        if (name.rpartition("/")[2], name.rpartition("/")[0]) not in loaded
    ]
    print_table(("SMARTMODULE", "KIND", "SIZE", "DESCRIPTION"), rows)


@command.command("describe")
@click.argument("name")
@data_dir
def describe(name: str, data_dir: Path) -> None:
    """Describe a module that was loaded."""
    entry = Store(data_dir / "smartmodules").find(parse_reference(name))
    if entry is None:
        raise SmartModuleError(
            f"there is no SmartModule {name!r}", hint="'headwater smartmodule list' shows those there are"
        )
    for key, value in _described(entry).items():
        click.echo(f"{key:<12}: {value}")


def _described(entry: Entry) -> dict[str, object]:
    loaded = datetime.fromtimestamp(entry.loaded / 1000).astimezone().isoformat(" ", "seconds")
    told: dict[str, object] = {"name": str(entry.reference), "kind": entry.kind, "size": format_size(entry.size)}
    told |= {"sha256": entry.digest, "loaded": loaded}
    return told | {
        key: value for key, value in (("description", entry.description), ("signed by", entry.signed_by)) if value
    }


@command.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_dir
def delete(names: Sequence[str], data_dir: Path) -> None:
    """Delete modules; without a version all of that name. Connectors at work keep what they have."""
    store = Store(data_dir / "smartmodules")
    for name in names:
        found = store.delete(parse_reference(name))
        if not found:
            raise SmartModuleError(
                f"there is no SmartModule {name!r}", hint="'headwater smartmodule list' shows those there are"
            )
        for entry in found:
            click.echo(f'smartmodule "{entry.reference}" deleted')


@command.command("test")
@click.argument("module")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Insist that it is of this kind.")
@click.option(
    "-e",
    "--param",
    "--params",
    "parameters",
    multiple=True,
    metavar="KEY=VALUE",
    callback=assignments,
    help="A parameter of the module. Repeatable.",
)
@click.option("--lookback", "--lookback-last", "last", type=click.IntRange(0), help="Show it the last N records first.")
@click.option("--lookback-age", metavar="DURATION", help="Show it only records that are not older.")
@click.option("--record", "earlier", multiple=True, metavar="TEXT", help="A record to look back at. Repeatable.")
@click.option("--text", help="One record, in place of the standard input.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Lines of this file, in place of the standard input.",
)
@click.option("--raw", is_flag=True, help="The whole file is one record.")
@click.option("--key", help="The key of every record.")
@click.option("--key-separator", metavar="TEXT", help="What parts the key from the value in a line.")
@click.option("-k", "--key-value", "with_key", is_flag=True, help="Print `[key] value`.")
@click.option("-v", "--verbose", is_flag=True, help="Say how many records came and went.")
@click.option("--timeout", metavar="DURATION", default="5s", show_default=True, help="How long one call may take.")
@data_dir
def test(
    module: str,
    kind: str | None,
    parameters: dict[str, str],
    last: int | None,
    lookback_age: str | None,
    earlier: tuple[str, ...],
    text: str | None,
    file: Path | None,
    raw: bool,  # noqa: FBT001 - a flag of the command line
    key: str | None,
    key_separator: str | None,
    with_key: bool,  # noqa: FBT001 - a flag of the command line
    verbose: bool,  # noqa: FBT001 - a flag of the command line
    timeout: str,
    data_dir: Path,
) -> int:
    r"""Run one module on lines of the standard input, each a record, and print what comes out.

    MODULE is what `uses:` takes: a name, a .wasm file, ./file.py:function or python:package.module:function. Exit
    status 1 when a record was refused.

    \b
    headwater smartmodule test ./clean.py:no_dogs < facts.txt
    """
    lookback = None
    if last is not None or lookback_age is not None:
        lookback = Lookback(last or 0, _seconds(lookback_age, "--lookback-age"))
    found = Library(data_dir).find(module)
    if kind is not None and found.kind != kind:
        raise SmartModuleError(f"{module} is of the kind {found.kind}, not {kind}")
    stage = found.stage(Parameters(parameters, lookback), Limits(seconds=_seconds(timeout, "--timeout") or 5.0))
    chain = Chain([Step(module, "", stage)])
    chain.begin({})
    now = time.time_ns() // 1_000_000
    if lookback is not None and earlier:
        shown = [Record(value.encode(), None, now) for value in earlier]
        stage.look_back(shown[-lookback.last :] if lookback.last else shown)
    if raw and file is None:
        raise click.UsageError("--raw needs --file.")
    if text is not None and file is not None:
        raise click.UsageError("Name either --text or --file.")
    records = _input(text, file, key, None if raw else key_separator, whole=raw)
    passed = chain.run(records, base_timestamp=now)
    for record in passed.records:
        stored = StoredRecord(record.value, record.key, record.timestamp or now, 0, 0)
        line = key_value(stored, "dynamic") if with_key else value_text(record.value, "dynamic")
        sys.stdout.buffer.write(line + b"\n")
    for rejection in passed.rejections:
        where = f"record {rejection.origin + 1}"
        click.echo(f"{where} refused ({rejection.slug.removeprefix('transform-')}): {rejection.reason}", err=True)
    if verbose:
        counts = f"{len(records)} records in, {len(passed.records)} out, {len(passed.rejections)} refused"
        click.echo(f"{found.kind}: {counts}", err=True)
        if stage.state is not None:
            click.echo(f"state: {value_text(stage.state, 'dynamic').decode(errors='replace')}", err=True)
    return 1 if passed.rejections else 0


def _input(text: str | None, file: Path | None, key: str | None, separator: str | None, *, whole: bool) -> list[Record]:
    common = None if key is None else key.encode()
    if text is not None:
        return [Record(text.encode(), common)]
    content = None if file is None else _bytes(file)
    if whole and content is not None:
        return [Record(content, common)]
    records = []
    for line in sys.stdin.buffer if content is None else content.splitlines(keepends=True):
        value = line.removesuffix(b"\n").removesuffix(b"\r")
        if separator is None:
            records.append(Record(value, common))
        else:
            before, found, after = value.partition(separator.encode())
            records.append(Record(after, before) if found else Record(value, common))
    return records


def _seconds(text: str | None, option: str) -> float | None:
    try:
        return None if text is None else parse_duration(text).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error
