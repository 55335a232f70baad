"""What an operator wants of a model reaches it in its format's words, and what a prompt wants only where it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from durable_streams.agents import Agent
from durable_streams.agents.errors import UpstreamError
from durable_streams.agents.models import ModelChoice, choose
from durable_streams.agents.sessions.prompts import InvalidPromptError, Prompt
from durable_streams.agents.sources.asking import Asking
from durable_streams.agents.sources.http import HttpModel, Upstream
from durable_streams.agents.sources.patience import retry_after_s
from durable_streams.agents.wires.anthropic import AnthropicWire
from durable_streams.agents.wires.openai_chat import OpenAIChatWire
from durable_streams.agents.wires.openai_responses import OpenAIResponsesWire
from durable_streams.agents.wires.options import OPTION_NAMES, InvalidOptionsError, Options
from durable_streams.cli.agent import agent_command
from durable_streams.client import StreamNotFoundError
from tests.agents.conftest import ended, stored
from tests.agents.raw_model import Answer, RawModel, chat
from tests.agents.test_kept import DONE_ANTHROPIC, DONE_CHAT, DONE_RESPONSES
from tests.agents.test_sessions import user

if TYPE_CHECKING:
    from durable_streams.agents.wires.base import Wire
    from tests.agents.conftest import Adapters

GIVEN = Options(temperature=0.5, max_tokens=100, reasoning_effort="low", body={"seed": 1})


async def answers(model: HttpModel) -> None:
    async for _ in model.stream([user("u1")], ()):
        pass


@pytest.mark.parametrize(
    ("wire", "given", "fields"),
    [
        (
            OpenAIChatWire(),
            Options(temperature=0.5, max_tokens=100, reasoning_effort="low", stop=("END",), body={"seed": 1}),
            {"temperature": 0.5, "max_tokens": 100, "reasoning_effort": "low", "stop": ["END"], "seed": 1},
        ),
        (OpenAIChatWire(length_field="max_completion_tokens"), GIVEN, {"max_completion_tokens": 100}),
        (
            OpenAIResponsesWire(),
            GIVEN,
            {"temperature": 0.5, "max_output_tokens": 100, "reasoning": {"effort": "low"}, "seed": 1},
        ),
        (
            AnthropicWire(),
            Options(temperature=0.5, max_tokens=100, stop=("END",)),
            {"temperature": 0.5, "max_tokens": 100, "stop_sequences": ["END"]},
        ),
        (
            AnthropicWire(),
            Options(max_tokens=100, reasoning_effort="low"),
            {"max_tokens": 3072, "thinking": {"type": "enabled", "budget_tokens": 2048}},
        ),
        (AnthropicWire(), Options(body={"max_tokens": 7}), {"max_tokens": 7}),
    ],
)
async def test_options_are_said_in_the_formats_words(wire: Wire, given: Options, fields: dict[str, Any]) -> None:
    done = {"openai-chat": DONE_CHAT, "openai-responses": DONE_RESPONSES, "anthropic": DONE_ANTHROPIC}[wire.name]
    async with RawModel(done) as model:
        source = model.client(wire, given, api_key="key", headers={"X-Team": "red"})
        await answers(source)
    assert {name: model.asked[0].body.get(name) for name in fields} == fields
    assert model.asked[0].headers["X-Team"] == "red"


def test_headers_of_the_operator_win() -> None:
    assert Upstream("http://a", "m", headers={"authorization": "x"}).headers["authorization"] == "x"


@pytest.mark.parametrize(
    "given",
    [
        {"temperature": 3},
        {"temperature": True},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"reasoning_effort": "much"},
        {"stop": ("",)},
        {"stop": ("x",) * 17},
        {"model": ""},
        {"body": [1]},
    ],
)
def test_options_out_of_their_range_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionsError):
        Options(**given)


@pytest.mark.parametrize(
    ("wire", "given"),
    [
        (OpenAIResponsesWire(), Options(stop=("END",))),
        (AnthropicWire(), Options(temperature=1, reasoning_effort="low")),
    ],
)
def test_an_option_that_a_format_does_not_have_is_refused_at_once(wire: Wire, given: Options) -> None:
    with pytest.raises(InvalidOptionsError):
        HttpModel(Upstream("http://a", "m"), wire, options=given)


async def test_a_prompt_may_set_what_it_is_allowed_to_for_its_own_answer(adapters: Adapters) -> None:
    async with RawModel(DONE_CHAT) as model:
        http = model.client(OpenAIChatWire(), GIVEN, allowed=frozenset({"temperature", "model", "stop"}))
        async with adapters(Agent(http)) as adapter:
            for turn, asked_for in (("u1", {"temperature": 1, "model": "other", "stop": "END"}), ("u2", None)):
                request = {} if asked_for is None else {"options": asked_for}
                asked = await adapter.ask("s1", Prompt([user(turn)], request=request))
                await ended(adapter, "s1", asked.attempt.id)
    first, second = (one.body for one in model.asked)
    assert (first["model"], first["temperature"], first["stop"], first["max_tokens"]) == ("other", 1, ["END"], 100)
    assert (second["model"], second["temperature"], "stop" in second) == ("m", 0.5, False)


@pytest.mark.parametrize(
    "asked_for",
    [{"temperature": 1}, {"headers": {"x": "y"}}, {"max_tokens": -1}, {"max_tokens": "many"}, {"stop": 7}, 7],
)
async def test_what_a_prompt_may_not_set_refuses_it(root: str, adapters: Adapters, asked_for: object) -> None:
    http = HttpModel(Upstream("http://127.0.0.1:1", "m"), OpenAIChatWire(), allowed=frozenset({"max_tokens", "stop"}))
    async with adapters(Agent(http)) as adapter:
        with pytest.raises(InvalidPromptError):
            await adapter.ask("s1", Prompt([user("u1")], request={"options": asked_for}))
    with pytest.raises(StreamNotFoundError):
        await stored(f"{root}/sessions/s1")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(OPTION_NAMES)), VALUES) | VALUES)
def test_whatever_a_prompt_asks_for_is_an_option_or_refused(asked_for: object) -> None:
    asking = Asking(OpenAIChatWire(), "https://a.example", "m", allowed=OPTION_NAMES)
    refusal = asking.refusal(user("u1"), {"options": asked_for})
    if refusal is None:
        orjson.dumps(asking.body([user("u1")], (), options=asking.chosen({"options": asked_for})))


REFUSED = {"message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"]}]}}


@pytest.mark.parametrize("status", [400, 422])
async def test_a_field_that_is_refused_by_name_is_not_sent_again(status: int) -> None:
    async with RawModel(Answer(orjson.dumps(REFUSED), status), DONE_CHAT) as model:
        source = model.client(OpenAIChatWire(), retry_count=0)
        for _ in range(2):
            await answers(source)
    assert ["stream_options" in one.body for one in model.asked] == [True, False, False]


@pytest.mark.parametrize(
    ("wire", "said", "before", "after"),
    [
        (
            OpenAIChatWire(),
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            {"max_tokens": 3072},
            {"max_completion_tokens": 3072},
        ),
        (
            AnthropicWire(),
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive".',
            {"thinking": {"type": "enabled", "budget_tokens": 2048}},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
    ],
    ids=["chat", "anthropic"],
)
async def test_what_newer_models_want_said_otherwise_is_said_so(
    *, wire: Wire, said: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    done = DONE_CHAT if wire.name == "openai-chat" else DONE_ANTHROPIC
    given = Options(max_tokens=3072, reasoning_effort="low")
    async with RawModel(Answer(orjson.dumps({"error": {"message": said}}), 400), done) as model:
        source = model.client(wire, given)
        for _ in range(2):
            await answers(source)
    first, *later = (one.body for one in model.asked)
    assert before.items() <= first.items()
    assert len(later) == 2
    for body in later:
        assert {name: body.get(name) for name in {**before, **after}} == {**dict.fromkeys(before), **after}


async def test_a_server_that_refuses_the_same_for_ever_is_not_asked_for_ever() -> None:
    error = {"error": {"message": "no thinking.type.enabled, no adaptive"}}
    async with RawModel(Answer(orjson.dumps(error), 400)) as model:
        source = model.client(AnthropicWire(), Options(reasoning_effort="low"))
        with pytest.raises(UpstreamError):
            await answers(source)
    assert len(model.asked) == 2


async def test_encrypted_reasoning_is_not_asked_of_those_who_have_none() -> None:
    error = {"error": {"message": "Encrypted content is not supported with this model."}}
    async with RawModel(Answer(orjson.dumps(error), 400), DONE_RESPONSES) as model:
        source = model.client(OpenAIResponsesWire())
        await answers(source)
    assert ["include" in one.body for one in model.asked] == [True, False]


class RefusedError(Exception):
    """As vendors' packages raise them."""

    status_code = 400


@pytest.mark.parametrize("said", ["Encrypted content is not supported with this model.", "no such model"])
async def test_through_a_vendors_package_it_is_the_same(said: str) -> None:
    asked: list[bool] = []

    async def create(**body: object) -> str:
        asked.append("include" in body)
        if asked[-1]:
            raise RefusedError(said)
        return "stream"

    asking = Asking(OpenAIResponsesWire(), "https://api.example/v1", "m")
    if "Encrypted" in said:
        assert await asking.created(create, asking.body([user("u1")], ())) == "stream"
        assert "include" not in asking.body([user("u1")], ())
    else:
        with pytest.raises(RefusedError):
            await asking.created(create, asking.body([user("u1")], ()))
    assert asked == ([True, False] if "Encrypted" in said else [True])


async def test_any_other_bad_request_is_an_error() -> None:
    async with RawModel(Answer(b'{"error":{"message":"no such model"}}', 400)) as model:
        source = model.client(OpenAIChatWire())
        with pytest.raises(UpstreamError, match="no such model"):
            await answers(source)
    assert len(model.asked) == 1


async def test_the_environments_proxy_is_used_and_its_exceptions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawModel(DONE_CHAT) as proxy:
        for name in ("HTTP_PROXY", "ALL_PROXY", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.base_url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        source = proxy.client(OpenAIChatWire(), base_url="http://model.invalid/v1")
        await answers(source)
        async with RawModel(DONE_CHAT) as near:
            source = near.client(OpenAIChatWire())
            await answers(source)
        assert [one.url for one in proxy.asked] == ["http://model.invalid/v1/chat/completions"]
    assert len(near.asked) == 1


NOW_S = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "2s"}, 2),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:25 GMT"}, 5),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:15 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30.5s"}, 90.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "9s"}, None),
        ({"x-ratelimit-reset": "3"}, 3),
        ({"x-ratelimit-reset": "1700000004"}, 4),
        ({"x-ratelimit-reset": "1700000004500"}, 4.5),
        ({"x-ratelimit-reset": "1699999999"}, 0),
    ],
)
def test_a_wait_is_read_in_every_form(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, NOW_S) == (wait_s if wait_s is None else pytest.approx(wait_s))


async def test_no_server_makes_us_wait_longer_than_the_cap() -> None:
    busy = Answer(b"{}", 429, {"Retry-After": "86400"})
    async with RawModel(busy, DONE_CHAT) as model:
        source = model.client(OpenAIChatWire(), retry_after_max_s=0.0)
        await answers(source)
    assert len(model.asked) == 2


async def chosen_body(choice: ModelChoice) -> dict[str, Any]:
    async with RawModel(chat({"content": "hi"})) as model:
        chosen = choose(
            ModelChoice(**{**{n: getattr(choice, n) for n in choice.__slots__}, "base_url": model.base_url}), {}
        )
        assert chosen is not None
        http = chosen.source._model  # type: ignore[attr-defined] # an Agent's
        await answers(http)
        await http.aclose()
    return model.asked[0].body | {"headers": model.asked[0].headers}


async def test_the_services_options_reach_the_model() -> None:
    body = await chosen_body(
        ModelChoice(
            temperature=0.5,
            max_tokens=9,
            reasoning_effort="low",
            stop=("END",),
            model_headers=(("X-Team", "red"),),
            model_body='{"seed": 1}',
            stream_options=False,
        )
    )
    expected = {"temperature": 0.5, "max_tokens": 9, "reasoning_effort": "low", "stop": ["END"], "seed": 1}
    assert expected.items() <= body.items()
    assert body["headers"]["X-Team"] == "red"
    assert "stream_options" not in body


@pytest.mark.parametrize(
    "choice",
    [
        ModelChoice(base_url="http://a", model_body="{"),
        ModelChoice(base_url="http://a", model_body="[1]"),
        ModelChoice(base_url="http://a", allow_option=("headers",)),
        ModelChoice(base_url="http://a", provider="openai-responses", stop=("END",)),
    ],
)
def test_options_that_cannot_work_are_refused_at_the_start(choice: ModelChoice) -> None:
    with pytest.raises(InvalidOptionsError):
        choose(choice, {})


@pytest.mark.parametrize(
    "given",
    [
        ["--model-body", "{"],
        ["--provider", "openai-responses", "--stop", "x"],
        ["--source", "tests.agents.tool_source:make", "--context-tokens", "9", "--context-policy", "summarise"],
    ],
)
def test_the_command_says_so_in_one_line(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_URL", "http://127.0.0.1:1")
    finished = CliRunner().invoke(agent_command, ["serve", "--base-url", "http://127.0.0.1:1", *given])
    assert finished.exit_code != 0
