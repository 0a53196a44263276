//! What a bench has found out, apart from how it is shown: sections of words, tables, plots and bars, with the machine
//! that they were measured on. [`Report::write`] makes the three forms of it: text for the terminal, JSON for programs,
//! and one HTML page that needs nothing else.

mod axis;
mod environment;
mod histogram;
mod html;
mod plot;
mod terminal;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Serialize;

pub use axis::{Axis, Scale};
pub use environment::Environment;
pub use histogram::Histogram;
pub use terminal::to_text;

/// Everything that one run of a bench has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was measured, in a few words.
    pub title: String,
    /// One or two sentences on how.
    pub summary: String,
    /// Where and when.
    pub environment: Environment,
    /// The few figures to remember, shown first.
    pub figures: Vec<Figure>,
    /// The rest, in order.
    pub sections: Vec<Section>,
}

/// A figure to remember.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it is.
    pub label: String,
    /// Its value, with its unit.
    pub value: String,
    /// What it is held against or how it came about; may be empty.
    pub note: String,
}

/// A heading and what stands under it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What stands under it, in order.
    pub items: Vec<Item>,
}

/// Something in a section.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// Lines over two axes.
    Plot(Plot),
    /// One bar for each of a few things.
    Bars(Bars),
}

/// A table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// What it shows; may be empty.
    pub title: String,
    /// Headings of its columns, with the unit where there is one.
    pub columns: Vec<String>,
    /// Rows of as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number.
    Number {
        /// The number, in the unit of its column.
        value: f64,
        /// Digits after the point when it is shown.
        decimals: usize,
    },
    /// There is no value, for this reason.
    Missing {
        /// The reason.
        missing: String,
    },
}

/// Lines over two axes.
#[derive(Clone, Debug, Serialize)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, at most eight to be told apart.
    pub series: Vec<Series>,
}

/// One line of a plot.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Its points, in rising x.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub style: Style,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// Straight from point to point, each of which is marked.
    #[default]
    Marked,
    /// As a line without marks: for many points.
    Line,
    /// As a dashed line without marks: for what others are held against.
    Reference,
    /// As steps, filled down to the axis: for histograms.
    Steps,
}

/// One bar for each of a few things.
#[derive(Clone, Debug, Serialize)]
pub struct Bars {
    /// What it shows.
    pub title: String,
    /// Unit of all values.
    pub unit: String,
    /// Names and values, not negative, in the order in which they are shown.
    pub bars: Vec<(String, f64)>,
    /// A value to hold them against, with its name.
    pub reference: Option<(String, f64)>,
}

/// The files that a report was written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// For programs.
    pub json: PathBuf,
    /// For people.
    pub html: PathBuf,
}

impl Report {
    /// An empty report of this machine, now.
    pub fn new(title: &str, summary: &str) -> Self {
        Self {
            title: title.to_owned(),
            summary: summary.to_owned(),
            environment: Environment::detect(),
            figures: Vec::new(),
            sections: Vec::new(),
        }
    }

    /// Adds a figure to remember.
    pub fn figure(&mut self, label: &str, value: impl Into<String>, note: &str) {
        self.figures.push(Figure { label: label.to_owned(), value: value.into(), note: note.to_owned() });
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// Those of the encoder; a report has nothing that it cannot encode.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The report as one HTML page with its style and drawings inside.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// Writes `NAME.json` and `NAME.html` to a directory, which is made if it is not there.
    ///
    /// # Errors
    /// What stands against writing.
    pub fn write(&self, directory: &Path, name: &str) -> io::Result<Written> {
        fs::create_dir_all(directory)?;
        let file = |ending: &str| directory.join(format!("{name}.{ending}"));
        let written = Written { json: file("json"), html: file("html") };
        fs::write(&written.json, self.to_json()?)?;
        fs::write(&written.html, self.to_html())?;
        Ok(written)
    }

    /// Prints the report, writes its files, and names them.
    ///
    /// # Errors
    /// What stands against writing.
    pub fn publish(&self, directory: &Path, name: &str) -> io::Result<Written> {
        let written = self.write(directory, name)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", to_text(self))?;
        writeln!(out, "Report: {}\nData:   {}", written.html.display(), written.json.display())?;
        Ok(written)
    }
}

impl Section {
    /// An empty section.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), items: Vec::new() }
    }

    /// Adds a paragraph.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.items.push(Item::Text(text.into()));
        self
    }

    /// Adds a table.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.items.push(Item::Table(table));
        self
    }

    /// Adds a plot.
    #[must_use]
    pub fn plot(mut self, plot: Plot) -> Self {
        self.items.push(Item::Plot(plot));
        self
    }

    /// Adds bars.
    #[must_use]
    pub fn bars(mut self, bars: Bars) -> Self {
        self.items.push(Item::Bars(bars));
        self
    }
}

impl Table {
    /// A table without rows.
    pub fn new(title: &str, columns: &[&str]) -> Self {
        Self { title: title.to_owned(), columns: columns.iter().map(|&name| name.to_owned()).collect(), rows: vec![] }
    }

    /// Adds a row; it is cut or filled up to the number of columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let mut row: Vec<_> = cells.into_iter().take(self.columns.len()).collect();
        row.resize(self.columns.len(), Cell::Text(String::new()));
        self.rows.push(row);
    }

    /// Whether a column holds nothing but numbers: those stand to the right.
    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column));
        !self.rows.is_empty() && cells.all(|cell| !matches!(cell, Cell::Text(_)))
    }
}

impl Cell {
    /// A number that is shown with so many digits after the point.
    pub fn number(value: f64, decimals: usize) -> Self {
        if value.is_finite() { Self::Number { value, decimals } } else { Self::missing("not measured") }
    }

    /// A count.
    pub fn count(value: u64) -> Self {
        Self::Number { value: value as f64, decimals: 0 }
    }

    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// No value, and why.
    pub fn missing(why: impl Into<String>) -> Self {
        Self::Missing { missing: why.into() }
    }

    /// As it is shown, thousands set apart.
    pub fn show(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number { value, decimals } => axis::grouped(*value, *decimals),
            Self::Missing { missing } => missing.clone(),
        }
    }
}

impl Series {
    /// A line with marks.
    pub fn marked(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, style: Style::Marked }
    }

    /// A line without marks.
    pub fn line(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, style: Style::Line }
    }

    /// A dashed line that others are held against.
    pub fn reference(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points, style: Style::Reference }
    }
}

impl Plot {
    /// How many of each distribution's values are larger than x, both axes logarithmic: where the slow ones are.
    pub fn tails(title: &str, x: &str, unit: &str, distributions: &[(&str, &Histogram)]) -> Self {
        let series = distributions.iter().map(|(name, values)| Series::line(name, values.tail())).collect();
        let y = Axis::new("larger than that", "%", Scale::Log);
        Self { title: title.to_owned(), x: Axis::new(x, unit, Scale::Log), y, series }
    }

    /// How many of each distribution's values are at most x.
    pub fn cumulative(title: &str, x: &str, unit: &str, distributions: &[(&str, &Histogram)]) -> Self {
        let series = distributions.iter().map(|(name, values)| Series::line(name, values.cumulative())).collect();
        let y = Axis::new("at most that", "%", Scale::Linear);
        Self { title: title.to_owned(), x: Axis::new(x, unit, Scale::Log), y, series }
    }

    /// How often values of each size occurred.
    pub fn histogram(title: &str, x: &str, unit: &str, values: &Histogram) -> Self {
        let series = vec![Series { name: "share".to_owned(), points: values.shares(), style: Style::Steps }];
        let y = Axis::new("share", "%", Scale::Linear);
        Self { title: title.to_owned(), x: Axis::new(x, unit, Scale::Log), y, series }
    }
}

#[cfg(test)]
mod tests;
