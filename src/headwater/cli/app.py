"""Owns the table of commands. A command's module is imported only when it is called, so that `--help` is instant."""

from __future__ import annotations

from importlib import import_module

import click

from headwater.version import __version__

# name -> (module in headwater.cli, what `headwater --help` says). The order is the order of the help.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Run connectors in the foreground, from their connect.yml files."),
    "up": ("up", "Serve the topics over Fluvio's protocol, and run managed connectors."),
    "connector": ("connector", "Create, update, delete and watch managed connectors."),
    "http": ("http", "Run one connector from flags, as Fluvio's local connector does."),
    "consume": ("consume", "Print the records of a topic, and follow it."),
    "produce": ("produce", "Append records from the standard input or a file."),
    "topic": ("topic", "Create, list, describe and delete topics."),
    "profile": ("profile", "List, switch, add and delete profiles: which log or cluster commands talk to."),
    "smartmodule": ("smartmodule", "Load, list, describe, delete and try SmartModules."),
    "init": ("init", "Write a commented connect.yml for an endpoint, and say why."),
    "plan": ("plan", "Show what connectors would do, and send nothing."),
    "test": ("trial", "Do one exchange and show it, or replay a recording; append nothing."),
    "record": ("record", "Record what a connector sends and gets, for tests without the network."),
    "lint": ("lint", "Check connect.yml files without running them."),
    "ledger": ("ledger", "Show what became of the last polls and connections, and why."),
    "checkpoint": ("checkpoint", "Show how far connectors are, and set them back or ahead."),
    "backfill": ("backfill", "Ask for a stretch of the past, beside the connector that runs."),
    "health": ("health", "Say whether a server or connectors are at work, for health checks."),
    "schema": ("schema", "Print the JSON Schema of connect.yml."),
    "k8s": ("k8s", "Print connectors as Kubernetes objects."),
    "demo": ("demo", "Poll a sample API into a topic and print the records."),
}


class Commands(click.Group):
    """A group that knows its commands' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the module of a command and return its `command`."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"headwater.cli.{COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the table of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest one when there is none."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - only a mistake pays for it

            near = get_close_matches(args[0], COMMANDS, n=1)
            meant = f" Did you mean '{near[0]}'?" if near else " 'headwater --help' lists them."
            raise click.UsageError(f"There is no command '{args[0]}'.{meant}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Records go to standard output, everything else to standard error.",
)
@click.version_option(__version__, "-V", "--version", message="headwater %(version)s")
def headwater() -> None:
    """Turn any HTTP API into a durable stream of records.

    Describe the endpoint in a connect.yml, `headwater run` it, and read its topic with `headwater consume`.
    """
