//! What the run costs: processor time and memory of the server's processes and of the bots, and the server's counters.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Processor time and memory of some processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Seconds of processor time since they began.
    pub(crate) cpu: f64,
    /// Resident memory in bytes.
    pub(crate) memory: u64,
    /// How many processes they are.
    pub(crate) processes: usize,
}

/// Cores that were busy between two readings.
#[derive(Debug)]
pub(crate) struct Meter {
    last: Option<(Instant, f64)>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { last: None }
    }

    /// Busy cores since the last reading; `None` at the first, and when a process went away.
    pub(crate) fn cores(&mut self, now: Instant, cpu: f64) -> Option<f64> {
        let (then, before) = self.last.replace((now, cpu))?;
        let elapsed = (now - then).as_secs_f64();
        (cpu >= before && elapsed > 0.0).then(|| (cpu - before) / elapsed)
    }
}

/// Of the processes with these names or process ids.
pub(crate) fn usage_of(wanted: &[String]) -> Usage {
    let mut usage = Usage::default();
    let Ok(entries) = std::fs::read_dir("/proc") else { return usage };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        if wanted.iter().any(|one| one == pid) || is_called(&entry.path(), wanted) {
            add(&mut usage, &entry.path());
        }
    }
    usage
}

/// Of this process.
pub(crate) fn own_usage() -> Usage {
    let mut usage = Usage::default();
    add(&mut usage, Path::new("/proc/self"));
    usage
}

/// Datagrams that the whole machine has dropped because a receiver was too slow.
pub(crate) fn receive_buffer_errors() -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut udp = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (Some(names), Some(values)) = (udp.next(), udp.next()) else { return 0 };
    let place = names.split(' ').position(|name| name == "RcvbufErrors");
    place.and_then(|place| values.split(' ').nth(place)?.parse().ok()).unwrap_or(0)
}

/// Samples of a Prometheus page by name, those that differ only in labels added up; buckets of histograms left out.
pub(crate) fn read_metrics(page: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((left, value)) = line.rsplit_once(' ') else { continue };
        let name = left.split('{').next().unwrap_or(left);
        if let Ok(value) = value.parse::<f64>()
            && value.is_finite()
            && !name.ends_with("_bucket")
        {
            *sums.entry(name.to_owned()).or_insert(0.0) += value;
        }
    }
    sums
}

fn is_called(process: &Path, wanted: &[String]) -> bool {
    // The command line's first word; the kernel's own name of a process is cut at 15 bytes.
    let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let name = first.rsplit('/').next().unwrap_or_default();
    wanted.iter().any(|one| one == name)
}

fn add(usage: &mut Usage, process: &Path) {
    let Ok(stat) = std::fs::read_to_string(process.join("stat")) else { return };
    // The name in parentheses may contain anything; what follows is numbers, beginning with the third field.
    let Some((_, rest)) = stat.rsplit_once(')') else { return };
    let fields: Vec<_> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    usage.cpu += (field(14) + field(15)) as f64 / rustix::param::clock_ticks_per_second() as f64;
    usage.memory += field(24) * rustix::param::page_size() as u64;
    usage.processes += 1;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn this_process_is_found_by_id_and_costs_something() {
        let own = own_usage();
        assert!(own.memory > 1 << 20 && own.processes == 1, "{own:?}");
        let by_id = usage_of(&[std::process::id().to_string()]);
        assert_eq!(by_id.processes, 1);
        assert_eq!(usage_of(&["no-process-is-called-so".to_owned()]), Usage::default());
    }

    #[test]
    fn busy_cores_are_time_over_time() {
        let mut meter = Meter::new();
        let start = Instant::now();
        assert_eq!(meter.cores(start, 10.0), None);
        assert_eq!(meter.cores(start + Duration::from_secs(2), 13.0), Some(1.5));
        assert_eq!(meter.cores(start + Duration::from_secs(3), 1.0), None, "a process went away");
    }

    #[test]
    fn metrics_add_up_over_labels() {
        let page =
            "# HELP a_total x\na_total{worker=\"0\"} 3\na_total{worker=\"1\"} 4.5\nb 1\nc_bucket{le=\"1\"} 9\nd NaN\n";
        let metrics = read_metrics(page);
        assert_eq!(metrics.into_iter().collect::<Vec<_>>(), [("a_total".to_owned(), 7.5), ("b".to_owned(), 1.0)]);
    }
}
