"""``submit``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from textmill.catalog import Kind
from textmill.cli.common import Session, connected, next_step, output_path
from textmill.cli.waiting import wait_and_report
from textmill.jobs import OUTPUT_FORMATS, kind_name
from textmill.panel import job_panel
from textmill.params import ParamError, parse_params
from textmill.progress import TransferBar
from textmill.source import Source

FORMATS = ("jsonl", "csv", "tsv", "text", "documents", "html", "parquet")
#: Ending of the name under which stdin is uploaded, by format.
_ENDINGS = {"text": "txt", "documents": "txt"}


@click.command(short_help="Submit a job, such as classify or summarize.")
@click.argument("kind")
@click.option(
    "--model", "-m", metavar="REF", help="hf:org/name, registry:name@alias, s3://…, pkg:…"
)
@click.option(
    "--input",
    "-i",
    "input_",
    required=True,
    metavar="PATH|URI|job:ID|-",
    help="A local file (uploaded first), s3://…, the id of an uploaded file, job:ID for the results of a job, or - for "
    "stdin.",
)
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="K=V",
    help="A parameter of the kind: JSON, a comma list, or text. `textmill kinds KIND` lists them.",
)
@click.option("--name", metavar="NAME", help="A name for people.")
@click.option("--priority", type=click.Choice(["high", "normal", "low"]))
@click.option(
    "--completion-window",
    metavar="N[m|h|d]",
    help="Let the job expire when it has not ended after this time, such as 90m, 24h or 7d.",
)
@click.option("--text-field", metavar="FIELD", help="Field or column that holds the text.")
@click.option("--id-field", metavar="FIELD", help="Field or column that holds the row's own id.")
@click.option("--carry", multiple=True, metavar="FIELD", help="Field to carry into the results.")
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="NAME=PATH",
    help="Of a job's results: where the value of a field lies, such as label=output.label.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Of a job's results: read only those for which this holds, such as output.score>=0.9; also <= and =.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="By default from the name's ending; JSON lines on stdin.",
)
@click.option("--max-errors", metavar="N|P%", help="Fail past so many failed rows, or a share.")
@click.option("--metadata", multiple=True, metavar="K=V", help="A note kept with the job.")
@click.option(
    "--output-uri",
    metavar="URI",
    help="s3://bucket/prefix/ where the server writes results and errors to as well.",
)
@click.option(
    "--output-format",
    type=click.Choice(OUTPUT_FORMATS),
    help="How they are written there; by default as JSON lines.",
)
@click.option(
    "--output-layout",
    type=click.Choice(["job", "date"]),
    help="In a folder of the job's id, as by default, or of the day.",
)
@click.option("--webhook-url", metavar="URL", help="Where to post a signed event at the job's end.")
@click.option(
    "--webhook-secret",
    metavar="SECRET",
    envvar="TEXTMILL_WEBHOOK_SECRET",
    help="What it is signed with, whsec_…; better given by TEXTMILL_WEBHOOK_SECRET, for others see "
    "command lines.",
)
@click.option(
    "--idempotency-key", metavar="KEY", help="Submitting again with the same key makes no new job."
)
@click.option("--wait", is_flag=True, help="Wait until the job ends.")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    callback=output_path,
    help="Save the results there once the job has completed, as CSV or Parquet if the name ends so; implies "
    "--wait. - is stdout.",
)
@connected
def submit(
    session: Session,
    /,
    *,
    kind: str,
    input_: str,
    params: tuple[str, ...],
    metadata: tuple[str, ...],
    fields: tuple[str, ...],
    where: tuple[str, ...],
    max_errors: str | None,
    format_: str | None,
    wait: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Submit a job of KIND, such as classify, summarize, translate or fine-tune."""
    if session.json and output == Path("-"):
        raise click.UsageError("--json and -o - both want stdout; choose one")
    if options["webhook_url"] is None and _from_environment("webhook_secret"):
        options["webhook_secret"] = None
    notes, named = pairs(metadata, "metadata"), pairs(fields, "field")
    conditions = [_condition(one) for one in where]
    with session.client() as tm:
        known = require_kind(kind, tm.kinds.list())
        if known.needs_model and not options["model"]:
            raise click.UsageError(f"{kind} needs a model: --model hf:org/name or registry:name")
        source, filename = _source(input_, format_)
        with TransferBar(filename or Path(input_).name) as bar:
            job = tm.jobs.create(
                kind=known.name,
                input=source,
                filename=filename,
                format=format_,
                params=_params(params, known),
                max_errors=_max_errors(max_errors),
                metadata=notes,
                fields=named,
                where=conditions,
                upload_progress=None if session.json else bar.update,
                **options,
            )
        if wait or output is not None:
            wait_and_report(session, tm, job, output=output)
            return
    session.show(job.raw, job_panel(job))
    session.note(next_step("watch", f"textmill watch {job.id}"))


def _from_environment(option: str) -> bool:
    """Whether an option's value comes from the environment, which is there for other calls too."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.ENVIRONMENT


def require_kind(text: str, kinds: Sequence[Kind]) -> Kind:
    """The kind that was asked for, with hyphens or underscores.

    Raises:
        click.UsageError: the server does not know it.
    """
    by_name = {kind.name: kind for kind in kinds}
    name = kind_name(text)
    if name in by_name:
        return by_name[name]
    shown = ", ".join(known.replace("_", "-") for known in by_name) or "none"
    close = get_close_matches(name, by_name, n=1)
    meant = f" Did you mean {close[0].replace('_', '-')}?" if close else ""
    raise click.UsageError(f"unknown kind {text!r}; this server knows: {shown}.{meant}")


def _params(pairs: tuple[str, ...], kind: Kind) -> dict[str, Any]:
    try:
        return parse_params(pairs, kind.params)
    except ParamError as error:
        raise click.UsageError(str(error)) from None


def _source(text: str, format_: str | None) -> tuple[Source, str | None]:
    if text != "-":
        return text, None
    stdin = sys.stdin.buffer
    if stdin.isatty():
        raise click.UsageError("--input - reads stdin, but nothing is piped into it")
    wanted = format_ or "jsonl"
    return stdin, f"stdin.{_ENDINGS.get(wanted, wanted)}"


def pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    """Values by name from ``name=value``."""
    found = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"expected --{option} name=value, found {pair!r}")
        found[name] = value
    return found


_TESTS = {">=": "at_least", "<=": "at_most", "=": "equals"}


def _condition(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"([^<>=]+)(>=|<=|=)(.+)", text)
    if match is None:
        raise click.UsageError(f"expected --where path>=number, <= or =value, found {text!r}")
    path, test, value = (part.strip() for part in match.groups())
    try:
        wanted = json.loads(value)
    except ValueError:
        wanted = value
    return {"field": path, _TESTS[test]: wanted}


def _max_errors(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text
