"""Sessions: conversations in streams, worked on by any number of adapter processes.

Theory. ``S = sessions/{id}`` holds State-Protocol rows: messages, attempts, presence. ``G =
sessions/{id}/gen/{gid}`` holds one attempt's UI chunks and is closed at its end. The log decides, by triples that only
one writer can have accepted:

| decision | stream, triple | the rest learn |
|---|---|---|
| whose prompt is turn n | S: ``turn``, 0, n | duplicate: look again |
| an owner's updates of its row | S: ``row:{gid}``, k, 0 … (k = 0 for the first owner) | |
| who takes over from owner k | S: ``row:{gid}``, k + 1, 0 | duplicate: another one has it |
| the row's final state | S: ``row:{gid}``, 1 000 000, 0 | duplicate; the owner is fenced by the epoch |
| the owner's deltas and ordinary end | G: ``gen``, k, 0 … | closed: it was stopped |
| stopped by somebody | G: ``stop``, 0, 0 with close | duplicate: somebody stopped it; closed: it had ended |
| taken over: the fence | G: ``gen``, k + 1, 0 | the owner that comes back: stale |
| lost: the end, if nobody can go on | G: ``reap``, 0, 0 with close | as for stop |

No process is needed for a decision, and none can take one back.
"""
