"""What the pages of reports have in common: one file that needs nothing outside itself."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

STYLE = """
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;
color:#1c1f24}h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #e3e5e8}
table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.25rem .9rem .25rem 0;text-align:left;vertical-align:top}
th{font-weight:600;color:#5a6068}code{font-size:.85em;word-break:break-all}.big{font-size:2.1rem;font-weight:650}
.row{display:flex;flex-wrap:wrap;gap:1.4rem}figure{margin:0}figcaption{color:#5a6068;font-size:.85rem}img{max-width:100%}
.key span{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .3em 0 1em}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page of these parts."""
    body = "\n".join(parts)
    return f"<!doctype html><meta charset=utf-8><title>Tandem {title}</title><style>{STYLE}</style>\n{body}\n"


def table(rows: Iterable[Sequence[Any]], *, is_html: bool = False) -> str:
    """Return rows as an HTML table; `is_html`: the cells are HTML already."""
    lines = ("".join(f"<td>{cell if is_html else text(cell)}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def text(value: Any) -> str:
    """Return any value as text that HTML shows as it is."""
    return html.escape(str(value))
