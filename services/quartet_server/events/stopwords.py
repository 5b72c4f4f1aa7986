"""Words that nearly every English text has: they tell nothing about what a question is after."""

from __future__ import annotations

STOP_WORDS = frozenset(
    """
    a about after again all also am an and any are aren't as at be because been before being between both but by can can't
    could couldn't did didn't do does doesn't doing don't down during each few for from further get give had hadn't has
    hasn't have haven't having he he's her here hers him his how i i'd i'll i'm i've if in into is isn't it it's its just
    let's like me more most my no nor not now of off on once only or other our ours out over own please same she she's
    should so some such tell than that that's the their them then there there's these they they're this those through to
    too under until up us very was wasn't we we'd we'll we're we've were weren't what what's when when's where where's
    which while who who's whom why will with won't would wouldn't you you'd you'll you're you've your yours
    """.split()
)
