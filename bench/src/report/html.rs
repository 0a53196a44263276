//! The page: one file with its style and its drawings inside, in the reader's light or dark theme, for a telephone's
//! width as for a desk's.

use std::fmt::Write as _;

use super::plot::{self, COLOURS, NARROW, WIDE};
use super::{Bars, Cell, Figure, Item, Plot, Report, Section, Style, Table};

/// The report as a page.
pub(super) fn page(report: &Report) -> String {
    let mut body = format!("<header><h1>{}</h1><p>{}</p></header>", escape(&report.title), escape(&report.summary));
    if !report.figures.is_empty() {
        body += &format!("<ul class=\"figures\">{}</ul>", each(&report.figures, figure));
    }
    body += &each(&report.sections, section);
    let lines = report.environment.lines();
    let environment = each(&lines, |(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(value)));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{} · Millrace</title><style>{STYLE}</style></head>\
         <body><main>{body}<footer><h2>Where it was measured</h2><dl>{environment}</dl></footer></main></body></html>\n",
        escape(&report.title)
    )
}

/// Text for between tags and for attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            _ => escaped.push(character),
        }
    }
    escaped
}

fn each<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect()
}

fn figure(figure: &Figure) -> String {
    let Figure { label, value, note } = figure;
    let mut item = format!("<li><span>{}</span><strong>{}</strong>", escape(label), escape(value));
    if !note.is_empty() {
        let _ = write!(item, "<small>{}</small>", escape(note));
    }
    item + "</li>"
}

fn section(section: &Section) -> String {
    let items = each(&section.items, |item| match item {
        Item::Text(text) => format!("<p>{}</p>", escape(text)),
        Item::Table(table) => self::table(table),
        Item::Plot(plot) => self::plot(plot),
        Item::Bars(bars) => self::bars(bars),
    });
    format!("<section><h2>{}</h2>{items}</section>", escape(&section.title))
}

fn table(table: &Table) -> String {
    let numeric: Vec<_> = (0..table.columns.len()).map(|column| table.is_numeric(column)).collect();
    let class = |column: usize| if numeric[column] { " class=\"n\"" } else { "" };
    let mut html = "<div class=\"scroll\"><table>".to_owned();
    if !table.title.is_empty() {
        let _ = write!(html, "<caption>{}</caption>", escape(&table.title));
    }
    html += "<thead><tr>";
    for (at, column) in table.columns.iter().enumerate() {
        let _ = write!(html, "<th{}>{}</th>", class(at), escape(column));
    }
    html += "</tr></thead><tbody>";
    for row in &table.rows {
        html += "<tr>";
        for (at, cell) in row.iter().enumerate() {
            let shown = escape(&cell.show());
            let _ = match cell {
                Cell::Missing { .. } => write!(html, "<td{} data-missing>{shown}</td>", class(at)),
                _ => write!(html, "<td{}>{shown}</td>", class(at)),
            };
        }
        html += "</tr>";
    }
    html + "</tbody></table></div>"
}

fn plot(plot: &Plot) -> String {
    let mut legend = String::new();
    for (at, series) in plot.series.iter().enumerate() {
        let dashed = if series.style == Style::Reference { " dashed" } else { "" };
        let _ = write!(legend, "<li><i class=\"c{}{dashed}\"></i>{}</li>", at % COLOURS, escape(&series.name));
    }
    let legend = if plot.series.len() > 1 { format!("<ul class=\"legend\">{legend}</ul>") } else { String::new() };
    format!(
        "<figure><figcaption>{}</figcaption>{legend}<p class=\"caption\">{}</p>{}{}</figure>",
        escape(&plot.title),
        escape(&plot.y.caption()),
        plot::plot(plot, WIDE),
        plot::plot(plot, NARROW)
    )
}

fn bars(bars: &Bars) -> String {
    format!(
        "<figure><figcaption>{}</figcaption>{}{}</figure>",
        escape(&bars.title),
        plot::bars(bars, WIDE),
        plot::bars(bars, NARROW)
    )
}

const STYLE: &str = include_str!("page.css");
