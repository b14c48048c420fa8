"""What becomes of an error at the end of a command: a sentence and an exit code.

Operating faults and wrong input are told in one sentence on standard error. Only a defect of ours
shows a traceback, through the log, whose masks blank what must not be seen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from headend.domain.errors import BadInput, ConfigurationError, HeadEndError, InvariantViolated

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_INTERRUPTED = 130
# Options of the program itself, which people also try behind the command.
GLOBAL_OPTIONS = frozenset({"--config", "--log-level"})


def run_reporting(run: Callable[[], int]) -> int:
    """Call ``run`` and return its exit code, or the one that its error stands for."""
    try:
        return run()
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except typer.TyperException as error:
        return _tell(_explain_usage(error), EXIT_WRONG_USE)
    except Exception as error:  # noqa: BLE001 - the outermost frame: told below, never dropped
        return report(_innermost(error))


def report(error: BaseException) -> int:
    """Tell an error on standard error and return its exit code."""
    if isinstance(error, ConfigurationError | BadInput):
        return _tell(str(error), EXIT_WRONG_USE)
    if isinstance(error, HeadEndError) and not isinstance(error, InvariantViolated):
        return _tell(str(error) or type(error).__name__, EXIT_FAILED)
    from headend.store.faults import describe_database_fault

    fault = describe_database_fault(error)
    if fault is not None:
        return _tell(fault, EXIT_FAILED)
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has left (`headend ... | head`): nobody is there to be told.
        sys.stderr.close()
        return EXIT_FAILED
    import structlog

    from headend.log import configure_logging, get_logger

    if not structlog.is_configured():
        configure_logging()
    get_logger("headend.cli").critical("ended by a defect", exc_info=error)
    return EXIT_FAILED


def _innermost(error: BaseException) -> BaseException:
    """Return the first error inside a group of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _explain_usage(error: typer.TyperException) -> str:
    """Say what is wrong with the command line, in one sentence; typer's own takes five lines."""
    message = error.format_message().strip().rstrip(".")
    # typer reports a wrong choice through pydantic, whose own words come first.
    message = " ".join(message.replace("Value error, ", "").split())
    option = getattr(error, "option_name", None)
    if option in GLOBAL_OPTIONS:
        return f"{message}: it goes before the command, as in headend {option} ... serve"
    context = getattr(error, "ctx", None)
    command = "headend" if context is None else context.command_path
    return f"{message}. See {command} --help"


def _tell(sentence: str, code: int) -> int:
    print(f"headend: {sentence}", file=sys.stderr)
    return code
