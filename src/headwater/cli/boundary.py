"""Owns how a command ends: which exit status, and which words on standard error. The one place that catches all."""

from __future__ import annotations

import os
import signal
import sys
import threading

import click

from headwater.core.errors import HeadwaterError

INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE
# Seconds that threads have to end.
_MOMENT = 1.0


def left_in_time(status: int) -> int:
    """Return the status that a process ends with, at the latest in a moment: all that it kept is closed.

    Python waits for its threads, and one of them may be in a function of the user's that never returns.
    """
    late = threading.Timer(_MOMENT, os._exit, (status,))
    late.daemon = True
    late.start()
    return status


def guarded(command: click.Command) -> int:
    """Run a command with the process's arguments and return its exit status; an error becomes a sentence, not a trace.

    0 done, 1 failed, 2 wrong usage, 3 wrong configuration, 4 the data directory cannot be used, 130 Ctrl-C,
    141 the reader of standard output went away.
    """
    try:
        if "_HEADWATER_COMPLETE" in os.environ:
            command.main(prog_name="headwater")  # a shell asks for completions
        # Not `main`: it would turn a closed pipe and Ctrl-C into exit statuses of its own.
        with command.make_context("headwater", sys.argv[1:]) as context:
            status = command.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except HeadwaterError as error:
        click.echo(error.report(), err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered would raise again at exit; nobody reads it any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return status if isinstance(status, int) else 0
