"""OpenAI Chat Completions and its relatives: contents and endings."""

from __future__ import annotations

import orjson

from tests.agents.provider_cases.case import read, sse
from tests.agents.provider_cases.chat import DONE, A, chat, delta, fragment

CHAT_ENDINGS = [
    chat(
        "an emoji split over two deltas",
        [
            b'data: {"choices":[{"index":0,"delta":{"content":"Hi \\ud83d"}}]}\n\n',
            b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00 there"}}]}\n\n',
            delta("stop"),
            "[DONE]",
        ],
        text="Hi \U0001f600 there",
    ),
    chat(
        "an emoji whose second half looks like a byte",
        [
            b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n',
            b'data: {"choices":[{"index":0,"delta":{"content":"\\udc80"}}]}\n\n',
            delta("stop"),
        ],
        text="\U0001f480",
    ),
    chat(
        "a character whose bytes come in two deltas",
        [
            b'data: {"choices":[{"index":0,"delta":{"content":"Z\xc3"}}]}\n\n',
            b'data: {"choices":[{"index":0,"delta":{"content":"\xbcrich \xe2\x82"}}]}\n\n',
            delta("stop"),
        ],
        text="Zürich \ufffd",
    ),
    chat(
        "Mistral: content as a list, thoughts in it",
        [
            delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]),
            delta(content=[{"type": "text", "text": "Hello"}, {"type": "reference", "reference_ids": [1]}]),
            delta("stop"),
            "[DONE]",
        ],
        reasoning="hm",
        text="Hello",
    ),
    chat(
        "DeepSeek: thoughts in reasoning_content, null content",
        [delta(content=None, reasoning_content="hm"), delta(content="Hi", reasoning_content=None), delta("stop")],
        reasoning="hm",
        text="Hi",
    ),
    chat(
        "OpenRouter: comments, thoughts in reasoning, and in reasoning_content again",
        [b": OPENROUTER PROCESSING\n\n", delta(content="", reasoning="hm", reasoning_content="hm"), *DONE],
        reasoning="hm",
        text="done",
    ),
    chat(
        "Azure: what was filtered in the prompt comes first, a choice without a delta last",
        [
            {"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
            delta(content="Hi"),
            delta("stop"),
            {"choices": [{"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 1}}]},
            "[DONE]",
        ],
        text="Hi",
    ),
    chat(
        "Azure: the answer is filtered",
        [delta(content="half"), delta("content_filter"), "[DONE]"],
        text="half",
        finish="content-filter",
        raw="content_filter",
    ),
    chat(
        "OpenAI: a refusal",
        [delta(refusal="I can"), delta(refusal="not."), delta("stop"), "[DONE]"],
        text="I cannot.",
        finish="content-filter",
        raw="stop",
    ),
    chat("the limit of length", [delta(content="half"), delta("length"), "[DONE]"], text="half", finish="length"),
    chat(
        "Mistral: model_length",
        [delta("model_length", content="half")],
        text="half",
        finish="length",
        raw="model_length",
    ),
    chat(
        "GLM: sensitive",
        [delta("sensitive", content="half")],
        text="half",
        finish="content-filter",
        raw="sensitive",
    ),
    chat("Gemini: SAFETY", [delta("SAFETY")], finish="content-filter", raw="SAFETY"),
    chat("GLM: network_error", [delta("network_error", content="par")], text="par", finish=None, error="network_error"),
    chat("Together: eos", [delta("eos", content="whole")], text="whole", raw="eos"),
    chat("a reason nobody knows", [delta("tired", content="a")], text="a", finish="other", raw="tired"),
    chat(
        "gateways: `stop` in every chunk",
        [delta("stop", reasoning_content="hm"), delta("stop", content="Hel"), delta("stop", content="lo"), "[DONE]"],
        reasoning="hm",
        text="Hello",
    ),
    chat("Ollama: an empty reason in every chunk", [delta("", content="a"), delta("stop", content="b")], text="ab"),
    chat(
        "OpenRouter: an error in the choice",
        [
            delta(content="par"),
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": ""},
                        "finish_reason": "error",
                        "error": {"code": 502, "message": "Provider disconnected"},
                    }
                ]
            },
        ],
        text="par",
        finish=None,
        error="Provider disconnected",
    ),
    chat(
        "OpenRouter: an error beside the choice",
        [delta(content="par"), {"error": {"code": 502, "message": "Gone"}, **delta("error", content="t")}, "[DONE]"],
        text="part",
        finish=None,
        error="Gone",
    ),
    chat("Mistral: the reason `error`", [delta("error", content="par")], text="par", finish=None, error="broke"),
    chat("vLLM: the reason `abort`", [delta("abort", content="par")], text="par", finish=None, error="abort"),
    chat(
        "DeepSeek: out of resources",
        [delta("insufficient_system_resource", content="par"), "[DONE]"],
        text="par",
        finish=None,
        error="insufficient_system_resource",
    ),
    chat(
        "Gemini: a call that the model has garbled",
        [delta("function_call_filter: MALFORMED_FUNCTION_CALL"), "[DONE]"],
        finish=None,
        error="MALFORMED_FUNCTION_CALL",
    ),
    chat(
        "vLLM: a flat error",
        [delta(content="par"), {"object": "error", "message": "too long", "code": 400}, "[DONE]"],
        text="par",
        finish=None,
        error="too long",
    ),
    chat("an error that is a string", [{"error": "out of memory"}, "[DONE]"], finish=None, error="out of memory"),
    chat(
        "llama.cpp: an error in a field of its own",
        [delta(content="par"), b'error: {"code":500,"message":"slot died","type":"server_error"}\n\n', "[DONE]"],
        text="par",
        finish=None,
        error="slot died",
    ),
    chat(
        "LM Studio: an event named error",
        [delta(content="par"), b'event: error\ndata: {"error":{"message":"unloaded"}}\n\n'],
        text="par",
        finish=None,
        error="unloaded",
    ),
    chat(
        "an event named error that is a sentence",
        [b"event: error\ndata: no memory\n\n"],
        finish=None,
        error="no memory",
    ),
    chat("more behind [DONE]", [sse(delta("stop", content="a")) + sse("[DONE]") + sse(delta(content="b"))], text="a"),
    chat("a reason, and no [DONE]", [delta(content="a"), delta("stop")], text="a"),
    chat("[DONE], and no reason", [delta(content="a"), "[DONE]"], text="a", finish=None, error="cut short"),
    chat("no reason and no [DONE]", [delta(content="a")], text="a", finish=None, error="cut short"),
    chat("nothing at all", [b"\n"], finish=None, error="cut short"),
    chat("llama.cpp: a last event without its blank line", [delta(content="a"), sse(delta("stop"))[:-2]], text="a"),
    chat("a last event that is cut", [delta(content="a"), sse(delta("stop"))[:-9]], text="a", finish=None, error="cut"),
    chat("lines that end in CR LF", [sse(delta("stop", content="a")).replace(b"\n", b"\r\n")], text="a"),
    chat("empty events between", [b"data:\n\n", b"data: \n\n", delta("stop", content="a")], text="a"),
    chat("a connection that stays open", [delta("stop", content="a"), "[DONE]"], text="a", stays_open=True),
    chat(
        "several choices",
        [
            {"choices": [{"index": 1, "delta": {"content": "other"}}, {"index": 0, "delta": {"content": "the"}}]},
            {"choices": [{"index": 1, "delta": {"content": " one"}, "finish_reason": "length"}]},
            {"choices": [{"index": 0, "delta": {"content": " first"}, "finish_reason": "stop"}]},
            "[DONE]",
        ],
        text="the first",
    ),
    chat(
        "an answer that was not streamed",
        [
            orjson.dumps(
                {
                    "object": "chat.completion",
                    "choices": [
                        {
                            "index": 0,
                            "message": {
                                "role": "assistant",
                                "content": "Let me see.",
                                "reasoning_content": "hm",
                                "tool_calls": [fragment(A, id="call_a", name="read")],
                            },
                            "finish_reason": "tool_calls",
                        }
                    ],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
                }
            )
        ],
        DONE,
        runs=[read("a")],
        reasoning="hm",
        text="Let me see.done",
        content_type="application/json",
    ),
    chat(
        "an error with status 200",
        [b'{"error":{"message":"quota', b' exceeded","type":"insufficient_quota"}}'],
        finish=None,
        error="quota exceeded",
        content_type="application/json",
    ),
    chat(
        "Gemini: an error in a list",
        [b'[{"error":{"code":400,"message":"bad key"}}]'],
        finish=None,
        error="bad key",
        content_type="application/json",
    ),
    chat("a gateway's own error", [b'{"detail":"no such model"}'], finish=None, error="no such model"),
    chat("a page of a proxy", [b"<html>log in</html>"], finish=None, error="cut short", content_type="text/html"),
    chat(
        "an event of another shape",
        [{"choices": [{"index": 0, "delta": {"tool_calls": 7}}]}],
        finish=None,
        error="an event that cannot be read",
    ),
]
