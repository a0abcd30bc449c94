"""Which channel shows nuclei, by the names that people give stains and channels."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Stains and words that name a channel of nuclei, the surest first; whole words alone, in which
# spaces, hyphens and underscores are alike.
_NUCLEAR = tuple(
    re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)
    for pattern in (
        r"dapi\d*|(?:hoechst|hst) ?\d*|bisbenzimide?|h ?33(?:342|258)|draq ?[57]|nucblue|nucspot",
        r"sir ?(?:dna|hoechst)|(?:spy ?\d+ )?dna|dna ?\d+|(?:to|yo|bo|po) ?pro ?\d|toto ?\d?",
        r"nuc ?\d*|nucle(?:us|i|ar|o)s? ?\d*|ha?ematoxylin|sytox\w*|syto ?\d+|chromatin",
        r"h2[ab]\w*|histone ?\w*|propidium(?: iodide)?|pi",
        r"405 ?(?:nm)?",
    )
)
# Before such a word, these say that the channel does not show nuclei.
_NOT = re.compile(r"\b(?:no|non|not|without|minus)\b[ (]*$", re.IGNORECASE)


def nuclear_channel(names: Sequence[str]) -> int | None:
    """Find the channel whose name says that it shows nuclei.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    int or None
        The first of those with the surest name; None where none says so, or all alike, as where
        the name of the file stands in each.

    Examples
    --------
    >>> nuclear_channel(["GFP", "DAPI"]), nuclear_channel(["DAPI (405)", "PI"])
    (1, 0)
    >>> nuclear_channel(["Phase", "SiR-DNA"]), nuclear_channel(["488", "405"])
    (1, 1)
    >>> nuclear_channel(["GFP", "no nuclei"]) is None
    True
    """
    for pattern in _NUCLEAR:
        found = [_shows(name, pattern) for name in names]
        if any(found):
            return None if all(found) and len(names) > 1 else found.index(True)
    return None


def _shows(name: str, pattern: re.Pattern[str]) -> bool:
    words = re.sub(r"[-_./\s]+", " ", name)
    return any(not _NOT.search(words[: match.start()]) for match in pattern.finditer(words))
