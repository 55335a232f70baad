"""One transaction after another: commands become drafts, drafts one commit, commits answers.

Owns: the queue, the batch under way, the cache of heads, the writer thread. Must not know: what a command decides.
"""
