//! The report as text: figures, paragraphs and tables; plots have their data in the JSON and their drawing on the page.

use super::{Bars, Item, Report, Table, axis};

/// Columns that paragraphs are broken at.
const WIDTH: usize = 110;
/// Characters of the longest bar.
const BAR: usize = 40;

/// The report as text.
pub fn to_text(report: &Report) -> String {
    let mut text =
        format!("{}\n{}\n{}\n", report.title, "=".repeat(report.title.chars().count()), wrapped(&report.summary));
    for (name, value) in report.environment.lines() {
        text += &format!("  {name:<10} {value}\n");
    }
    if !report.figures.is_empty() {
        text.push('\n');
    }
    let width = report.figures.iter().map(|figure| figure.label.chars().count()).max().unwrap_or(0);
    for figure in &report.figures {
        text += &format!("  {:<width$}  {}", figure.label, figure.value);
        text += &if figure.note.is_empty() { "\n".to_owned() } else { format!("  ({})\n", figure.note) };
    }
    for section in &report.sections {
        text += &format!("\n{}\n{}\n", section.title, "-".repeat(section.title.chars().count()));
        for item in &section.items {
            match item {
                Item::Text(paragraph) => text += &wrapped(paragraph),
                Item::Table(table) => text += &table_text(table),
                Item::Bars(bars) => text += &bars_text(bars),
                Item::Plot(_) => {}
            }
        }
    }
    text
}

fn table_text(table: &Table) -> String {
    let cells: Vec<Vec<_>> = table.rows.iter().map(|row| row.iter().map(super::Cell::show).collect()).collect();
    let width = |column: usize| {
        let lens = cells.iter().map(|row| row[column].chars().count());
        lens.chain([table.columns[column].chars().count()]).max().unwrap_or(0)
    };
    let columns: Vec<_> = (0..table.columns.len()).map(|n| (width(n), table.is_numeric(n))).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&columns).map(|(cell, (width, numeric))| match numeric {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut text = if table.title.is_empty() { "\n".to_owned() } else { format!("\n  {}\n", table.title) };
    text += &line(&table.columns);
    text += &line(&columns.iter().map(|(width, _)| "-".repeat(*width)).collect::<Vec<_>>());
    cells.iter().for_each(|row| text += &line(row));
    text.push('\n');
    text
}

fn bars_text(bars: &Bars) -> String {
    let all = bars.bars.iter().chain(&bars.reference);
    let width = all.clone().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let most = all.clone().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let mut text = format!("\n  {}, {}\n", bars.title, bars.unit);
    for (name, value) in all {
        let bar = "#".repeat((value / most * BAR as f64).round() as usize);
        text += &format!("  {name:<width$}  {bar:<BAR$}  {}\n", axis::compact(*value));
    }
    text.push('\n');
    text
}

fn wrapped(paragraph: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let len = word.chars().count();
        if column > 0 && column + 1 + len > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += len;
    }
    text.push('\n');
    text
}
