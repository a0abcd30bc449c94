"""Pieces of a page of HTML. What is called a piece is HTML already; all else is escaped."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape

Cell = str | int | float | None


def counted(count: int, one: str, many: str = "") -> str:
    """Say a number of things.

    Examples
    --------
    >>> counted(1, "image"), counted(1200, "image"), counted(0, "nucleus", "nuclei")
    ('1 image', '1,200 images', '0 nuclei')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def number(value: float) -> str:
    """Write a number for people: three digits, and all of those before the point.

    Examples
    --------
    >>> number(12345.6), number(12.345), number(0.5)
    ('12,346', '12.3', '0.5')
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shortened(name: str, most: int = 40) -> str:
    """Leave out the middle of a long name: its beginning and its end tell it from others.

    Examples
    --------
    >>> shortened("short.tif"), shortened("plate_1_well_A01_field_1_channel_2_time_3.tif", 21)
    ('short.tif', 'plate_1_we…time_3.tif')
    """
    if len(name) <= most:
        return name
    first = (most - 1) // 2
    return f"{name[:first]}…{name[len(name) - (most - 1 - first) :]}"


def section(name: str, title: str, *pieces: str) -> str:
    """Put pieces under a heading, to which a link ``#name`` leads."""
    return "\n".join([f'<section id="{name}">', f"<h2>{escape(title)}</h2>", *pieces, "</section>"])


def paragraph(text: str) -> str:
    """Set a paragraph of an explanation."""
    return f'<p class="quiet">{escape(text)}</p>'


def definitions(facts: Mapping[str, str]) -> str:
    """List names with what they stand for; nothing where there are none."""
    rows = [f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()]
    return "\n".join(["<dl>", *rows, "</dl>"]) if rows else ""


def figure(
    jpeg: bytes | None,
    title: str,
    text: str,
    *,
    description: str,
    warnings: Sequence[str] = (),
    link: str = "",
) -> str:
    """Show a picture with its caption.

    Parameters
    ----------
    jpeg : bytes or None
        File of the picture; without one, there is only the caption.
    title, text : str
        First and second line of the caption; the first is shortened in its middle.
    description : str
        What the picture shows, for those who do not see it.
    warnings : sequence of str
        Sentences below, which also mark the whole figure.
    link : str
        Address to which the picture leads, if any.

    Returns
    -------
    str
        Item of a list.
    """
    picture = ""
    if jpeg is not None:
        source = f"data:image/jpeg;base64,{b64encode(jpeg).decode('ascii')}"
        picture = _linked(f'<img loading="lazy" alt="{escape(description)}" src="{source}">', link)
    marked = ' class="look"' if warnings else ""
    remarks = "".join(f'<span class="warning">{escape(each)}</span>' for each in warnings)
    return (
        f"<li><figure{marked}>{picture}"
        f'<figcaption><strong title="{escape(title)}">{escape(shortened(title))}</strong>'
        f"{escape(text)}{remarks}</figcaption>"
        "</figure></li>"
    )


def table(
    title: str,
    columns: Mapping[str, bool] | Sequence[tuple[str, bool]],
    rows: Iterable[tuple[str, str, Sequence[Cell]]],
) -> str:
    """Set a table whose first column names its rows.

    Parameters
    ----------
    title : str
        What it holds, for those who do not see it.
    columns : mapping of str to bool, or pairs of them
        Head of each column, and whether numbers are in it.
    rows : iterable of (kind, link, cells)
        The kind becomes the row's class, the link is where its name leads, if anywhere; None is
        an empty cell.

    Returns
    -------
    str
        In a frame that scrolls, by keyboard too, where the table is larger than the window.
    """
    named = [*columns.items()] if isinstance(columns, Mapping) else columns
    heads = "".join(
        f'<th scope="col"{_NUMERIC * numbers}>{escape(head)}</th>' for head, numbers in named
    )
    kinds = [numbers for _, numbers in named[1:]]
    lines = [
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}">',
        f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>",
    ]
    for kind, link, (name, *cells) in rows:
        row = f'<th scope="row">{_linked(escape(str(name)), link)}</th>'
        row += "".join(_cell(cell, numbers) for cell, numbers in zip(cells, kinds, strict=True))
        lines.append(f'<tr class="{kind}">{row}</tr>' if kind else f"<tr>{row}</tr>")
    return "\n".join([*lines, "</tbody>\n</table>\n</div>"])


_NUMERIC = ' class="n"'


def _linked(piece: str, link: str) -> str:
    return f'<a href="{escape(link)}">{piece}</a>' if link else piece


def _cell(cell: Cell, numbers: bool) -> str:
    if isinstance(cell, str) or cell is None:
        return f"<td{_NUMERIC * numbers}>{escape(cell or '')}</td>"
    text = f"{cell:,}" if isinstance(cell, int) else number(cell)
    # The page's script sorts by the value, where the text is another.
    value = f' data-value="{cell}"' if text != str(cell) else ""
    return f"<td{_NUMERIC}{value}>{text}</td>"
