"""The documents say what is there: commands, options, files, examples."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from commandline import CommandLine
from headwater.cli.app import COMMANDS
from headwater.config import load_text
from headwater.config.secrets import SecretSource
from stock.client import FOLDER, lacks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()


def test_the_readme_begins_with_two_commands() -> None:
    """`make demo` and `make test` come first, and both are targets."""
    commands = re.findall(r"^    (make \S+)", README, re.MULTILINE)
    assert commands[:2] == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", README + ARCHITECTURE + (ROOT / "CONTRIBUTING.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_command_is_in_the_readme() -> None:
    """Each command of the table has its line."""
    for name in COMMANDS:
        assert f"headwater {name}" in README or f"make {name}" in README, name


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
def test_the_readmes_configurations_load(text: str) -> None:
    """What a reader copies runs."""
    assert load_text(text).connectors


@pytest.mark.parametrize("text", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_readmes_programs_compile(text: str) -> None:
    """What a reader copies uses names that there are."""
    compile(text, "README.md", "exec")
    names = set(re.findall(r"headwater\.(\w+)", text))
    program = f"import headwater; [getattr(headwater, name) for name in {sorted(names)}]"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yml")), ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    """Each file of examples/ loads, with the secrets that it names."""
    assert load_text(path.read_text(), secrets=SecretSource({"API_TOKEN": "x"}, "a test")).connectors


def test_the_example_of_the_page_is_the_demos() -> None:
    """The packaged example, the one in examples/ and the one that the README prints are the same."""
    packaged = (ROOT / "src/headwater/sample/connect.yml").read_text()
    assert packaged == (ROOT / "examples/connect.yml").read_text()
    assert packaged in README
    assert yaml.safe_load(packaged)["parameters"]["endpoint"] == "https://catfact.ninja/fact"


def test_links_lead_somewhere() -> None:
    """Every relative link of the documents is a file."""
    documents = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for document in (*documents, *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document}: {target}"


def test_commands_of_the_pages_are_there() -> None:
    """What a page under docs/ has people type is a command, and its links lead somewhere."""
    for page in (ROOT / "docs").glob("in-*.md"):
        text = page.read_text()
        for name in re.findall(r"^(?:\$ |    )?headwater ([a-z0-9]+)", text, re.MULTILINE):
            assert name in COMMANDS, f"{page.name}: {name}"
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_modules_named_in_the_architecture_exist() -> None:
    """Each path in ARCHITECTURE.md is there."""
    for path in re.findall(
        r"`((?:cli|cluster|control|core|config|engine|fetch|fluvio|kubernetes|log|profile|server|sources|testing|transforms)/[\w/]+\.py)`",
        ARCHITECTURE,
    ):
        assert (ROOT / "src/headwater" / path).exists(), path


def test_layers_in_the_architecture_are_the_contract() -> None:
    """The packages that ARCHITECTURE.md draws are those that the import contract orders."""
    drawn = ARCHITECTURE.partition("## Layers")[2].partition("##")[0]
    contract = (ROOT / "pyproject.toml").read_text().partition("layers = [")[2].partition("]")[0]
    for package in re.findall(r"headwater\.(\w+)", contract):
        assert package in drawn, package


def test_the_readmes_smartmodule_runs(tmp_path: Path) -> None:
    """The ten lines of Python do what is said of them."""
    (text,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    headwater = CommandLine(tmp_path)
    (tmp_path / "mine.py").write_text(text)
    facts = '{"fact":"Cats sleep.","length":11}\n{"fact":"Cats do many other things too.","length":30}\n'
    run = ("smartmodule", "test", "./mine.py:short_facts", "-e", "most=20", "-k")
    assert headwater.good(*run, given=facts) == "[fact] Cats sleep.\n"


def test_the_readmes_stock_client_reads(tmp_path: Path) -> None:
    """The program in the README, run by the stock client itself, prints what is in the topic."""
    version = "0.21.0"
    if (missing := lacks(version)) is not None:
        pytest.skip(missing)
    (program,) = re.findall(r"```python\n(from fluvio.*?)```", README, re.DOTALL)
    headwater = CommandLine(tmp_path)
    headwater.good("topic", "create", "cat-facts")
    headwater.good("produce", "cat-facts", given="Cats sleep.\nCats purr.\n")
    serving = headwater.start("up", "--sc-port", "0", "--spu-port", "0")
    assert serving.stderr is not None
    endpoint = json.loads(serving.stderr.readline())["endpoint"]
    reading = subprocess.Popen(
        [sys.executable, "-u", "-c", program.replace("127.0.0.1:9003", endpoint)],
        env={**headwater.environment, "PYTHONPATH": str(FOLDER / version)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reading.stdout is not None
        assert [reading.stdout.readline() for _ in range(2)] == ["Cats sleep.\n", "Cats purr.\n"]
    finally:
        reading.kill()
        reading.communicate()
        headwater.close()


def test_features_name_their_tests() -> None:
    """Whatever the table says yes to, or partly, names a test that is there; what is not done names none."""
    page = (ROOT / "docs/features.md").read_text()
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"^\| .*\|$", page, re.MULTILINE)
    ]
    rows = [row for row in rows if row[0] != "feature"]
    assert len(rows) > 80
    for feature, ours, proof, *_ in rows:
        assert ours[0] in "YPN", feature
        assert bool(proof) == (ours[0] != "N"), feature
        if proof:
            path, _, name = proof.strip("`").partition("::")
            assert re.search(rf"^(?:async )?def {name}\(", (ROOT / "tests" / path).read_text(), re.MULTILINE), proof
