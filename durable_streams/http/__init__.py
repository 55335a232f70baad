"""HTTP: plain request → use case → plain answer, and the fronts that carry them.

Owns: statuses, header fields of answers, routing. Handlers know no framework; only a front does.
"""
