//! Prometheus's text exposition format 0.0.4, for node_exporter's textfile collector: lines of one metric stand together,
//! after its HELP and TYPE, and have no timestamps.
//!
//! Base units only (seconds, bytes), counters end in `_total`. What is not known has no line: an absent metric is not a zero.

use std::fmt::Write;

use holdfast::stats::{BlkioEntry, MemoryEntry, NetworkInterface, Pressure};

use super::Sample;

/// Before every name.
const PREFIX: &str = "holdfast_container_";

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// A metric: its lines, in the order in which they came.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    lines: String,
}

/// All metrics, in the order in which they first came: the same for every container, so that lines of one stand together.
#[derive(Default)]
struct Metrics(Vec<Metric>);

impl Metrics {
    fn add(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let index = match self.0.iter().position(|metric| metric.name == name) {
            Some(index) => index,
            None => {
                self.0.push(Metric {
                    name,
                    help,
                    kind,
                    lines: String::new(),
                });
                self.0.len() - 1
            }
        };
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
            .collect();
        let lines = &mut self.0[index].lines;
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{PREFIX}{name}{{{}}} {value}", labels.join(","));
    }
}

/// What belongs to one container.
struct Of<'a> {
    metrics: &'a mut Metrics,
    id: &'a str,
}

impl Of<'_> {
    fn gauge(&mut self, name: &'static str, help: &'static str, more: &[(&str, &str)], value: f64) {
        self.add(Kind::Gauge, name, help, more, value);
    }

    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        more: &[(&str, &str)],
        value: f64,
    ) {
        self.add(Kind::Counter, name, help, more, value);
    }

    fn add(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        more: &[(&str, &str)],
        value: f64,
    ) {
        let mut labels = vec![("id", self.id)];
        labels.extend(more);
        self.metrics.add(kind, name, help, &labels, value);
    }
}

/// Everything that is known of these containers.
pub fn exposition(samples: &[Sample]) -> String {
    let mut metrics = Metrics::default();
    for sample in samples {
        let mut of = Of {
            metrics: &mut metrics,
            id: &sample.id,
        };
        let bundle = sample.bundle.to_string_lossy();
        let help = "A container that runs, and its bundle.";
        of.gauge("info", help, &[("bundle", &bundle)], 1.0);
        cpu(&mut of, sample);
        memory(&mut of, sample);
        pids(&mut of, sample);
        devices(&mut of, sample);
        huge_pages(&mut of, sample);
        network(&mut of, sample);
        pressures(&mut of, sample);
    }
    let mut text = String::new();
    for metric in metrics.0 {
        let (name, help) = (metric.name, metric.help);
        let kind = match metric.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let _ = writeln!(text, "# HELP {PREFIX}{name} {help}");
        let _ = writeln!(text, "# TYPE {PREFIX}{name} {kind}");
        text.push_str(&metric.lines);
    }
    text
}

fn cpu(of: &mut Of<'_>, sample: &Sample) {
    let Some(cpu) = &sample.stats.cpu else { return };
    let usage = &cpu.usage;
    let help = "Processor time used.";
    of.counter("cpu_seconds_total", help, &[], nanos(usage.total));
    for (mode, time) in [("user", usage.user), ("system", usage.kernel)] {
        let help = "Processor time used, by mode.";
        of.counter(
            "cpu_mode_seconds_total",
            help,
            &[("mode", mode)],
            nanos(time),
        );
    }
    for (number, &time) in usage.percpu.iter().enumerate() {
        let help = "Processor time used, by processor.";
        let number = number.to_string();
        of.counter(
            "cpu_core_seconds_total",
            help,
            &[("cpu", &number)],
            nanos(time),
        );
    }
    let Some(throttling) = cpu.throttling else {
        return;
    };
    let help = "Periods in which it wanted to run.";
    of.counter("cpu_periods_total", help, &[], throttling.periods as f64);
    let help = "Periods in which it was held back by its quota.";
    let throttled = throttling.throttled_periods as f64;
    of.counter("cpu_throttled_periods_total", help, &[], throttled);
    let help = "Time for which it was held back by its quota.";
    let throttled = nanos(throttling.throttled_time);
    of.counter("cpu_throttled_seconds_total", help, &[], throttled);
}

fn memory(of: &mut Of<'_>, sample: &Sample) {
    let Some(memory) = &sample.stats.memory else {
        return;
    };
    let help = "Memory without the page cache that would be given up first.";
    of.gauge(
        "memory_working_set_bytes",
        help,
        &[],
        memory.working_set() as f64,
    );
    let help = "Page cache.";
    of.gauge("memory_cache_bytes", help, &[], memory.cache as f64);
    let kinds: [(&str, Option<MemoryEntry>); 4] = [
        ("memory", Some(memory.usage)),
        ("memory_and_swap", memory.swap),
        ("kernel", memory.kernel),
        ("kernel_tcp", memory.kernel_tcp),
    ];
    for (kind, entry) in kinds {
        let Some(entry) = entry else { continue };
        let kind = [("kind", kind)];
        of.gauge(
            "memory_usage_bytes",
            "Memory used, by kind.",
            &kind,
            entry.usage as f64,
        );
        if let Some(max) = entry.max {
            let help = "The most memory that was used, by kind.";
            of.gauge("memory_max_usage_bytes", help, &kind, max as f64);
        }
        if let Some(limit) = entry.limited() {
            let help = "The most memory that may be used, by kind.";
            of.gauge("memory_limit_bytes", help, &kind, limit as f64);
        }
        if let Some(failcnt) = entry.failcnt {
            let help = "How often the limit was in the way, by kind.";
            of.counter("memory_failures_total", help, &kind, failcnt as f64);
        }
    }
}

fn pids(of: &mut Of<'_>, sample: &Sample) {
    let Some(pids) = sample.stats.pids else {
        return;
    };
    of.gauge("pids", "Processes and threads.", &[], pids.current as f64);
    if let Some(limit) = pids.limit {
        let help = "How many processes and threads there may be.";
        of.gauge("pids_limit", help, &[], limit as f64);
    }
}

fn devices(of: &mut Of<'_>, sample: &Sample) {
    let Some(blkio) = &sample.stats.blkio else {
        return;
    };
    let mut each = |name, help, entries: &[BlkioEntry]| {
        for entry in entries {
            let operation = match &*entry.op {
                "Read" => "read",
                "Write" => "write",
                "Discard" => "discard",
                // The same once more, in other parts.
                _ => continue,
            };
            let device = format!("{}:{}", entry.major, entry.minor);
            let labels = [("device", &*device), ("operation", operation)];
            of.counter(name, help, &labels, entry.value as f64);
        }
    };
    let help = "Bytes moved from and to block devices.";
    each("blkio_bytes_total", help, &blkio.io_service_bytes_recursive);
    let help = "Requests to block devices.";
    each("blkio_requests_total", help, &blkio.io_serviced_recursive);
}

fn huge_pages(of: &mut Of<'_>, sample: &Sample) {
    for (size, huge) in &sample.stats.hugetlb {
        let size = [("size", &**size)];
        of.gauge(
            "hugetlb_usage_bytes",
            "Huge pages used.",
            &size,
            huge.usage as f64,
        );
        if let Some(max) = huge.max {
            let help = "The most huge pages that were used.";
            of.gauge("hugetlb_max_usage_bytes", help, &size, max as f64);
        }
        let help = "How often the limit of huge pages was in the way.";
        of.counter("hugetlb_failures_total", help, &size, huge.failcnt as f64);
    }
}

type Count = fn(&NetworkInterface) -> u64;

const NETWORK: [(&str, &str, Count); 8] = [
    ("network_receive_bytes_total", "Bytes received.", |it| {
        it.rx_bytes
    }),
    ("network_receive_packets_total", "Packets received.", |it| {
        it.rx_packets
    }),
    (
        "network_receive_errors_total",
        "Bad packets received.",
        |it| it.rx_errors,
    ),
    (
        "network_receive_dropped_total",
        "Packets received and dropped.",
        |it| it.rx_dropped,
    ),
    ("network_transmit_bytes_total", "Bytes sent.", |it| {
        it.tx_bytes
    }),
    ("network_transmit_packets_total", "Packets sent.", |it| {
        it.tx_packets
    }),
    (
        "network_transmit_errors_total",
        "Packets that could not be sent.",
        |it| it.tx_errors,
    ),
    (
        "network_transmit_dropped_total",
        "Packets dropped instead of being sent.",
        |it| it.tx_dropped,
    ),
];

fn network(of: &mut Of<'_>, sample: &Sample) {
    for interface in sample.stats.network_interfaces.iter().flatten() {
        for (name, help, count) in NETWORK {
            let value = count(interface) as f64;
            of.counter(name, help, &[("interface", &interface.name)], value);
        }
    }
}

fn pressures(of: &mut Of<'_>, sample: &Sample) {
    let stats = &sample.stats;
    let resources: [(&str, Option<Pressure>); 3] = [
        ("cpu", stats.cpu.as_ref().and_then(|cpu| cpu.psi)),
        (
            "memory",
            stats.memory.as_ref().and_then(|memory| memory.psi),
        ),
        ("io", stats.blkio.as_ref().and_then(|blkio| blkio.psi)),
    ];
    for (resource, psi) in resources {
        let Some(psi) = psi else { continue };
        let labels = [("resource", resource)];
        let help = "Time in which some processes waited for a resource.";
        of.counter(
            "pressure_waiting_seconds_total",
            help,
            &labels,
            micros(psi.some.total),
        );
        if let Some(full) = psi.full {
            let help = "Time in which all processes waited for a resource.";
            of.counter(
                "pressure_stalled_seconds_total",
                help,
                &labels,
                micros(full.total),
            );
        }
    }
}

fn nanos(time: u64) -> f64 {
    time as f64 / 1e9
}

fn micros(time: u64) -> f64 {
    time as f64 / 1e6
}

/// A label's value between quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast::Stats;
    use holdfast::stats::Pids;
    use std::time::Instant;

    #[test]
    fn lines_of_one_metric_stand_together_and_labels_are_escaped() {
        let sample = |id: &str, bundle: &str, limit| Sample {
            id: id.to_owned(),
            bundle: bundle.into(),
            stats: Stats {
                pids: Some(Pids { current: 2, limit }),
                ..Stats::default()
            },
            taken: Instant::now(),
            age: None,
        };
        let text = exposition(&[sample("a", "/x\\y\"z\n", None), sample("b", "/b", Some(9))]);
        assert_eq!(
            text,
            r#"# HELP holdfast_container_info A container that runs, and its bundle.
# TYPE holdfast_container_info gauge
holdfast_container_info{id="a",bundle="/x\\y\"z\n"} 1
holdfast_container_info{id="b",bundle="/b"} 1
# HELP holdfast_container_pids Processes and threads.
# TYPE holdfast_container_pids gauge
holdfast_container_pids{id="a"} 2
holdfast_container_pids{id="b"} 2
# HELP holdfast_container_pids_limit How many processes and threads there may be.
# TYPE holdfast_container_pids_limit gauge
holdfast_container_pids_limit{id="b"} 9
"#
        );
        assert_eq!(exposition(&[]), "");
    }
}
