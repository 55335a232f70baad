"""``agent serve``: run the agent adapter."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from durable_streams.cli.descriptors import announce
from durable_streams.cli.endings import Failure, Status
from durable_streams.cli.options import Header, Names, Whole, gathered, option, tell_of_ignored_variables
from durable_streams.runtime.stopping import StoppedEarlyError, StopSignals

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_streams.agents.models import Provider
    from durable_streams.agents.service.serve import Service, ServiceConfig
    from durable_streams.agents.sessions.settings import Busy
    from durable_streams.agents.sources.context import Policy
    from durable_streams.runtime.logs import LogFormat


def _default_of(name: str) -> Callable[[], object]:
    """Return how to find the default of one setting, which only the help asks for."""

    def found() -> object:
        from durable_streams.agents.service.serve import ServiceConfig  # noqa: PLC0415 loading the adapter takes long

        config = ServiceConfig()
        return next(getattr(one, name) for one in (config, config.settings, config.settings.pace) if hasattr(one, name))

    return found


@click.group("agent")
def agent_command() -> None:
    """Put model output into streams: the agent adapter."""


@dataclass(frozen=True, slots=True)
class AgentServe:
    """The options of ``agent serve``, named as in ``ServiceConfig``, ``Settings``, ``Pace`` and ``ModelChoice``.

    ``None`` takes the default that stands there.
    """

    host: str | None
    port: int | None
    streams_url: str | None
    public_streams_url: str | None
    on_busy: Busy | None
    lease_ms: int | None
    renew_ms: int | None
    grace_ms: int | None
    drain_ms: int | None
    continuations_max: int | None
    linger_ms: int | None
    presence_ms: int | None
    provider: Provider | None
    model: str | None
    base_url: str | None
    api_key: str | None
    system: str | None
    source: str | None
    temperature: float | None
    max_tokens: int | None
    reasoning_effort: str | None
    stop: tuple[str, ...] | None
    model_headers: tuple[tuple[str, str], ...] | None
    model_body: str | None
    allow_option: tuple[str, ...] | None
    stream_options: bool | None
    context_tokens: int | None
    context_policy: Policy | None
    context_hook: str | None
    cors_origins: tuple[str, ...] | None
    allowed_hosts: tuple[str, ...] | None
    show_errors: bool | None
    session_tokens: int | None
    user_day_tokens: int | None
    day_tokens: int | None
    webhook_url: str | None
    webhook_secret: str | None
    on_finish: str | None
    log_format: LogFormat


@agent_command.command("serve")
@option(
    "--host",
    shown=_default_of("host"),
    envvar="DS_AGENT_HOST",
    help="Address to listen on; 0.0.0.0 and :: are all of them.",
)
@option(
    "--port", type=Whole(0, 65_535), shown=_default_of("port"), envvar="DS_AGENT_PORT", help="Port; 0 takes a free one."
)
@option("--streams-url", shown=_default_of("streams_url"), help="Root of the streams server.")
@option("--public-streams-url", default=None, help="The same root as clients reach it, if that differs.")
@option(
    "--on-busy",
    type=click.Choice(["reject", "interrupt", "enqueue"]),
    shown=_default_of("on_busy"),
    help="What becomes of a new prompt while an answer is being written.",
)
@option(
    "--lease-ms", type=Whole(100), shown=_default_of("lease_ms"), help="A process silent for so long is taken for dead."
)
@option(
    "--renew-ms", type=Whole(10), shown=_default_of("renew_ms"), help="Time between two signs of life of a process."
)
@option(
    "--grace-ms",
    type=Whole(0),
    shown=_default_of("grace_ms"),
    help="Time an owner has for the ending of a stopped run.",
)
@option(
    "--drain-ms",
    type=Whole(0),
    shown=_default_of("drain_ms"),
    help="Time that running answers have to end by themselves when the process is to stop.",
)
@option(
    "--continuations-max",
    type=Whole(1),
    shown=_default_of("continuations_max"),
    help="How often one message goes on after it has waited for somebody's answer.",
)
@option(
    "--linger-ms",
    type=Whole(0),
    shown=_default_of("linger_ms"),
    help="Shortest time between two appends of one answer.",
)
@option(
    "--presence-ms",
    type=Whole(1_000),
    shown=_default_of("presence_ms"),
    help="Somebody counts as present for so long after the last sign; each sign is a row in the session.",
)
@option(
    "--provider",
    type=click.Choice(["openai-chat", "openai-responses", "anthropic"]),
    default=None,
    help="The model's wire format.",
)
@option("--model", default=None, help="The model's name.")
@option("--base-url", default=None, help="Where the model is, as its vendor's package takes it.")
@option("--api-key", default=None, help="Its key; else OPENAI_API_KEY or ANTHROPIC_API_KEY.")
@option("--system", default=None, help="Instructions for the model.")
@option("--source", default=None, help="module:name of a Source of your own, instead of a model.")
@option("--temperature", type=click.FloatRange(0, 2), default=None, help="How varied answers are.")
@option("--max-tokens", type=Whole(1), default=None, help="Bound of one answer.")
@option(
    "--reasoning-effort",
    type=click.Choice(["none", "minimal", "low", "medium", "high", "xhigh"]),
    default=None,
    help="How long a model that reasons does so.",
)
@option("--stop", multiple=True, help="A text that ends an answer. Repeatable.")
@option(
    "--model-header",
    "model_headers",
    type=Header(),
    multiple=True,
    help="Send this header to the model, 'Name: value'. Repeatable.",
)
@option("--model-body", default=None, help="Further fields of requests to the model, a JSON object.")
@option(
    "--allow-option",
    type=click.Choice(["model", "temperature", "max_tokens", "reasoning_effort", "stop", "body"]),
    multiple=True,
    help="Let prompts set this for their own answer, in the field `options`. Repeatable; none by default.",
)
@option(
    "--stream-options/--no-stream-options",
    default=None,
    help="Whether to ask for the tokens of a streamed answer; a server that refuses is not asked again.",
)
@option("--context-tokens", type=Whole(1), default=None, help="The most that a history may take; else all is sent.")
@option(
    "--context-policy",
    type=click.Choice(["trim", "summarise"]),
    default=None,
    help="What becomes of older turns that do not fit: left out, or told in a summary.",
)
@option("--context-hook", default=None, help="module:name of a function that changes every history.")
@option(
    "--cors-origins",
    type=Names(),
    default=None,
    help="Origins whose pages may use the adapter, comma-separated; * are all. Else only its own page may.",
)
@option(
    "--allowed-hosts",
    type=Names(),
    default=None,
    help="Names it is reached under, comma-separated: needed behind a proxy if --host is a loopback address.",
)
@option(
    "--show-errors",
    is_flag=True,
    default=None,
    help="Show readers the texts of errors, which may hold secrets. For development.",
)
@option(
    "--session-tokens", type=Whole(1), default=None, help="Refuse prompts of a session that has taken so many tokens."
)
@option(
    "--user-day-tokens",
    type=Whole(1),
    default=None,
    help="Refuse prompts of a person, as they say in `by`, who has taken so many tokens today (UTC).",
)
@option("--day-tokens", type=Whole(1), default=None, help="Refuse all prompts once so many tokens were taken today.")
@option("--webhook-url", default=None, help="Takes a signed POST for each ending, at least once.")
@option("--webhook-secret", default=None, help="Signs it, as Standard Webhooks are; whsec_ and base64, or any text.")
@option("--on-finish", default=None, help="module:name of a function that is called with each ending, at most once.")
@option("--log-format", type=click.Choice(["logfmt", "json"]), default="logfmt", help="How log lines are written.")
@gathered(AgentServe)
def serve_command(options: AgentServe) -> int:
    """Serve chats until SIGTERM or ctrl-C; running answers then have --drain-ms to end.

    Needs a streams server. Prints where it listens once requests are taken.
    """
    from durable_streams.runtime.logs import configure_logs  # noqa: PLC0415 --help need not load the adapter

    signals = StopSignals()
    signals.install()
    configure_logs(options.log_format)
    tell_of_ignored_variables()
    try:
        with signals.interrupting():
            service = _service(options)
    except StoppedEarlyError:
        return Status.DONE
    try:
        service.run(signals.wake, announce)
    except OSError as error:
        raise Failure(f"cannot listen on {service.where}: {error}", Status.FAILED) from error
    return Status.DONE


def _service(options: AgentServe) -> Service:
    """Return the service, whose packages take seconds to load.

    Raises:
        Failure: the options contradict each other, or name what is not there.
    """
    from durable_streams.agents.models import SourceNotFoundError  # noqa: PLC0415 --help need not load the adapter
    from durable_streams.agents.service.access import InvalidAccessError  # noqa: PLC0415
    from durable_streams.agents.service.serve import Service  # noqa: PLC0415
    from durable_streams.agents.sessions.settings import InvalidSettingsError  # noqa: PLC0415
    from durable_streams.agents.sessions.webhook import InvalidWebhookError  # noqa: PLC0415
    from durable_streams.agents.sources.context import InvalidContextError  # noqa: PLC0415
    from durable_streams.agents.wires.options import InvalidOptionsError  # noqa: PLC0415

    try:
        return Service(_config(options))
    except (
        InvalidAccessError,
        InvalidContextError,
        InvalidOptionsError,
        InvalidSettingsError,
        InvalidWebhookError,
        SourceNotFoundError,
    ) as refusal:
        raise Failure(str(refusal)) from refusal


def _config(options: AgentServe) -> ServiceConfig:
    from durable_streams.agents.models import ModelChoice  # noqa: PLC0415 as above
    from durable_streams.agents.runs.writer import Pace  # noqa: PLC0415
    from durable_streams.agents.service.serve import ServiceConfig  # noqa: PLC0415
    from durable_streams.agents.sessions.ledger import Limits  # noqa: PLC0415
    from durable_streams.agents.sessions.settings import Settings  # noqa: PLC0415
    from durable_streams.agents.sessions.webhook import Target  # noqa: PLC0415

    given = {name: value for name, value in asdict(options).items() if value is not None}
    pace = Pace(**_chosen(given, Pace))
    limits = Limits(**_chosen(given, Limits))
    webhook = Target.of(options.webhook_url, options.webhook_secret) if options.webhook_url is not None else None
    settings = Settings(**_chosen(given, Settings), pace=pace, limits=limits, webhook=webhook)
    choice = ModelChoice(**_chosen(given, ModelChoice))
    return ServiceConfig(settings, choice, **_chosen(given, ServiceConfig))


def _chosen(given: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    return {field.name: given[field.name] for field in fields(kind) if field.name in given}
