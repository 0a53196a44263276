use super::environment::{cpu_model, utc};
use super::*;

fn sample() -> Report {
    let mut report = Report::new("Cost <of> a packet", "Held against the floor.");
    report.figure("ratio", "1.07 ×", "floor of the same run");
    let mut table = Table::new("Costs", &["profile", "ns"]);
    table.row([Cell::text("gcm"), Cell::number(1234.5, 1)]);
    table.row([Cell::text("cm"), Cell::missing("not installed")]);
    let plot = Plot {
        title: "Cost against subscribers".to_owned(),
        x: Axis::new("subscribers", "", Scale::Log),
        y: Axis::new("cost", "ns", Scale::Linear),
        series: vec![
            Series::marked("millrace", vec![(1.0, 900.0), (10.0, 500.0), (1_000.0, 450.0)]),
            Series::reference("floor", vec![(1.0, 400.0), (1_000.0, 400.0)]),
        ],
    };
    let bars = Bars {
        title: "Stages".to_owned(),
        unit: "instructions".to_owned(),
        bars: vec![("seal & send".to_owned(), 3_000.0), ("parse".to_owned(), 60.0)],
        reference: None,
    };
    report.sections.push(Section::new("Fan-out").text("In one run.").table(table).plot(plot).bars(bars));
    report
}

#[test]
fn the_page_needs_nothing_else_and_escapes_what_it_shows() {
    let html = sample().to_html();
    assert!(html.contains("Cost &lt;of&gt; a packet") && !html.contains("Cost <of>"));
    assert!(html.contains("seal &amp; send"));
    for foreign in ["http:", "https:", "<script", "<link", "@import", "url("] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert_eq!(html.matches("<svg").count(), 4, "each drawing for wide and for narrow pages");
    assert!(!html.contains("NaN") && !html.contains("inf"));
}

#[test]
fn json_holds_the_numbers_and_not_their_rounding() {
    let value: serde_json::Value = serde_json::from_str(&sample().to_json().unwrap()).unwrap();
    let items = &value["sections"][0]["items"];
    assert_eq!(items[1]["table"]["rows"][0][1]["value"], 1234.5);
    assert_eq!(items[1]["table"]["rows"][1][1]["missing"], "not installed");
    assert_eq!(items[2]["plot"]["series"][0]["points"][2], serde_json::json!([1000.0, 450.0]));
}

#[test]
fn text_lines_up_and_says_what_is_missing() {
    let text = to_text(&sample());
    assert!(text.contains("\n  profile             ns\n"), "{text}");
    assert!(text.contains("\n  gcm            1,234.5\n"), "{text}");
    assert!(text.contains("\n  cm       not installed\n"), "{text}");
}

#[test]
fn files_are_written_where_they_are_said_to_be() {
    let directory = std::env::temp_dir().join(format!("millrace-report-{}", std::process::id()));
    let written = sample().write(&directory, "sample").unwrap();
    assert!(fs::read_to_string(&written.html).unwrap().starts_with("<!doctype html>"));
    assert!(fs::read_to_string(&written.json).unwrap().contains("\"title\""));
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn quantiles_are_within_a_bucket_of_the_truth() {
    let mut histogram = Histogram::new(1_000.0);
    let mut other = Histogram::new(1_000.0);
    for value in 1..=100_000u64 {
        if value % 2 == 0 { histogram.record(value) } else { other.record(value) }
    }
    histogram.merge(&other);
    assert_eq!(histogram.count(), 100_000);
    for (q, truth) in [(0.5, 50.0), (0.99, 99.0), (0.999, 99.9), (1.0, 100.0)] {
        let got = histogram.quantile(q);
        assert!((got / truth - 1.0).abs() < 0.032, "{q}: {got}");
    }
    assert!((histogram.mean() - 50.0).abs() < 0.001);
    assert!(Histogram::new(1.0).quantile(0.5).is_nan());
    let cumulative = histogram.cumulative();
    assert!(cumulative.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    assert!((cumulative.last().unwrap().1 - 100.0).abs() < 1e-9);
    assert!((histogram.shares().iter().map(|(_, share)| share).sum::<f64>() - 100.0).abs() < 1e-6);
}

#[test]
fn a_histogram_takes_any_value() {
    let mut histogram = Histogram::new(1.0);
    [0, 1, 31, 32, 33, u64::MAX].into_iter().for_each(|value| histogram.record(value));
    assert_eq!(histogram.quantile(0.5), 31.0);
    assert_eq!(histogram.max(), u64::MAX as f64);
    assert_eq!(histogram.quantile(1.0), u64::MAX as f64);
}

#[test]
fn axes_span_their_values_with_round_ticks() {
    let linear = Axis::new("", "", Scale::Linear).range([3.0, 47.0].into_iter()).unwrap();
    assert_eq!(linear.ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
    assert_eq!((linear.place(0.0), linear.place(50.0)), (0.0, 1.0));
    let log = Axis::new("", "", Scale::Log).range([0.0, 1.0, 1_000.0].into_iter()).unwrap();
    assert_eq!(log.ticks, [1.0, 10.0, 100.0, 1_000.0]);
    assert!((log.place(10.0) - 1.0 / 3.0).abs() < 1e-9);
    let narrow = Axis::new("", "", Scale::Log).range([12.0, 43.0].into_iter()).unwrap();
    assert_eq!(narrow.ticks, [10.0, 20.0, 50.0]);
    assert!(Axis::new("", "", Scale::Log).range([1.0].into_iter()).unwrap().place(1.0).is_finite());
    assert!(Axis::new("", "", Scale::Log).range([0.0, f64::NAN].into_iter()).is_none());
}

#[test]
fn numbers_are_short_on_axes_and_grouped_in_tables() {
    let short = [0.0, 0.25, 7.0, 1_500.0, 12_000.0, 1_250_000.0, 3e9].map(axis::compact);
    assert_eq!(short, ["0", "0.25", "7", "1500", "12k", "1.25M", "3G"]);
    assert_eq!(axis::grouped(1_234_567.891, 2), "1,234,567.89");
    assert_eq!(axis::grouped(-999.6, 0), "-1,000");
    assert_eq!(axis::grouped(-0.001, 1), "0.0");
}

#[test]
fn dates_follow_the_calendar() {
    assert_eq!(utc(0), "1970-01-01 00:00");
    assert_eq!(utc(1_709_164_800), "2024-02-29 00:00");
    assert_eq!(utc(1_795_372_200), "2026-11-22 18:30");
    assert_eq!(cpu_model("processor\t: 0\nmodel name\t: AMD EPYC\n").as_deref(), Some("AMD EPYC"));
}
