"""What carries requests and answers: the lane for the usual ones, aiohttp for all.

Must not know: what a request means.
"""
