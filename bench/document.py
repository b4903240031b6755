"""Sections with tables and plots, written as Markdown and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1c; --soft: #6a6a6a; --rule: #d8d8d8; --page: #fcfcfa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --soft: #a0a0a0; --rule: #3c3c3c; --page: #161616; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p, li { color: var(--ink); } .wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child, .words td, .words th { text-align: left; }
.words td { white-space: normal; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: 13px; }
svg { width: 100%; height: auto; margin: .6rem 0; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); } svg .grid { stroke: var(--rule); stroke-width: 1; }
"""


@dataclass(frozen=True)
class Table:
    """Cells as text. `words`: cells are sentences, not figures."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it, in this order: plots (HTML only), text, tables, remarks."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    remarks: Sequence[str] = ()
    plots: Sequence[tuple[str, str]] = ()     # caption and SVG


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The whole as Markdown, without plots."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for paragraph in section.text:
            lines += [paragraph, ""]
        for table in section.tables:
            rule = ["---"] + ["---" if table.words else "---:"] * (len(table.head) - 1)
            lines += [_cells(table.head), _cells(rule), *(_cells(row) for row in table.rows), ""]
        if section.remarks:
            lines += [*(f"- {remark}" for remark in section.remarks), ""]
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    kind = ' class="words"' if table.words else ""
    return f'<div class="wide"><table{kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def html(title: str, sections: Sequence[Section]) -> str:
    """The whole as one page that loads nothing."""
    parts = [f"<h1>{escape(title)}</h1>"]
    for section in sections:
        parts.append(f"<h2>{escape(section.title)}</h2>")
        parts += [
            f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>" for caption, svg in section.plots if svg
        ]
        parts += [f"<p>{escape(paragraph)}</p>" for paragraph in section.text]
        parts += [_table(table) for table in section.tables]
        if section.remarks:
            parts.append("<ul>" + "".join(f"<li>{escape(remark)}</li>" for remark in section.remarks) + "</ul>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
