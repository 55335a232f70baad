"""Sessions: conversations in streams, worked on by any number of adapter processes.

Theory. ``S = sessions/{id}`` holds State-Protocol rows: messages, generations, presence. ``G =
sessions/{id}/gen/{gid}`` holds one attempt's UI chunks and is closed at its end. The log decides, by triples that only
one writer can have accepted:

| decision | stream, triple | the rest learn |
|---|---|---|
| whose prompt is turn n | S: ``turn``, 0, n | duplicate: look again |
| an owner's updates of its row | S: ``row:{gid}``, 0, 0 … | |
| the row's final state | S: ``row:{gid}``, 1, 0 | duplicate; the owner is fenced by the epoch |
| the owner's deltas and ordinary end | G: ``gen``, 0, 0 … | closed: it was stopped |
| stopped by somebody | G: ``stop``, 0, 0 with close | duplicate: somebody stopped it; closed: it had ended |
| lost: first the fence | G: ``gen``, 1, 0 | the owner that comes back: stale |
| lost: then the end | G: ``reap``, 0, 0 with close | as for stop |

No process is needed for a decision, and none can take one back.
"""
