"""Find the channel that shows nuclei, by common names of stains and channels."""

from __future__ import annotations

import re
from collections.abc import Sequence

_DYES = r"(?:alexa|fluor|af|cf|dylight|atto|coralite)"
# Stains and words that indicate a nuclear channel, the most reliable first. Only whole words match;
# spaces, hyphens and underscores are equivalent.
_NUCLEAR = tuple(
    re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)
    for pattern in (
        r"\w{0,2}dapi\d*|(?:ho?[eö]?(?:chst|scht|chest|csht)|hst) ?\d*|bisbenzimide?"
        r"|(?:h|hoe?)? ?33(?:342|258)|draq ?[57]|nucblue|nucspot",
        r"sir ?(?:dna|hoechst)|(?:spy ?\d+ )?(?:ds)?dna|dna ?\d+|(?:to|yo|bo|po) ?pro ?\d?"
        r"|toto ?\d?|ir ?19[13]|19[13] ?ir",
        r"nuc(?:lear)? ?(?:mask|stain|red|green|light|fix|id)|nuc ?\d*|nucle(?:us|i|ar|o)s? ?\d*"
        r"|ha?ematoxylin|sytox\w*|syto ?\d+|chromatin",
        r"h2b\w*|h2av?|histone ?\w*|propidium(?: iodide)?|pi(?! ?3|\()|7 ?aad|nls",
        # A laser line; with the name of a dye it belongs to an antibody.
        rf"(?P<dye>{_DYES} ?)?(?:ex|ch|csu|laser)? ?405 ?(?:nm)?",
    )
)
# Before or after such a word, these mean that the channel does not show nuclei.
_NOT = re.compile(
    r"\b(?:no|non|not|without|w o|minus|lacking|excluding|except|mito\w*|mt)"
    r"(?: (?:the|any|of|stained))*[ (]*$",
    re.IGNORECASE,
)
_NOT_BEHIND = re.compile(
    r" ?(?:free|less|negative|excluded|removed|subtracted|bleed|paint|fish|damage|repair"
    r"|polymerase|envelope|membrane|pore)\b",
    re.IGNORECASE,
)


def nuclear_channel(names: Sequence[str]) -> int | None:
    """Find the channel that shows nuclei, by its name.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    int or None
        The first channel with the most reliable kind of name. None if no name indicates nuclei, or
        if all do, for example because each contains the name of the file.

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
    words = re.sub(r"[-_./\s]+", " ", name)  # w/o becomes w o
    return any(
        not match.groupdict().get("dye")
        and not _NOT.search(words[: match.start()])
        and not _NOT_BEHIND.match(words, match.end())
        for match in pattern.finditer(words)
    )
