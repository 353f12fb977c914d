//! Draws what the benches stored: one SVG for each question, from the newest result of each bench.
//!
//! | file | x | y |
//! | --- | --- | --- |
//! | `append-first.svg`, `append-recycled.svg` | threads × records a commit | MB/s, a line a contender |
//! | `latency-<life>-<load>.svg` | p50, p99, p99.9 | µs, logarithmic |
//! | `restart-time.svg`, `restart-memory.svg` | events of backlog | ms to the first event; MiB |
//! | `growth-<sweep>.svg`, `growth-<sweep>-memory.svg` | what grows | MB/s; MiB at the peak |
//!
//! Every x is a step of its own, in the order of the rows: the sweeps are geometric, and shapes have no order at all.

use std::path::{Path, PathBuf};

use plotters::prelude::*;
use serde_json::Value;

use crate::failure::{Context, Failure};
use crate::options::Options;
use crate::table::{newest, plain};

/// Options of the command.
pub const OPTIONS: &[&str] = &["results", "plots"];

const SIZE: (u32, u32) = (860, 480);

/// A chart before it is drawn.
#[derive(Debug)]
struct Chart {
    name: String,
    title: String,
    unit: &'static str,
    logarithmic: bool,
    /// The steps of x.
    steps: Vec<String>,
    /// Each line's name and its points: step and figure.
    series: Vec<(String, Vec<(usize, f64)>)>,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<(), Failure> {
    let directory: PathBuf = options.get("plots", PathBuf::from("docs/plots"))?;
    std::fs::create_dir_all(&directory).context(|| format!("create {}", directory.display()))?;
    let mut drawn = 0;
    for result in newest(&options.results()?)? {
        let rows = result.json["summary"].as_array().map_or(&[][..], Vec::as_slice);
        for chart in charts(&result.bench, rows).iter().filter(|chart| !chart.is_empty()) {
            let path = directory.join(format!("{}.svg", chart.name));
            chart.draw(&path).context(|| format!("draw {}", path.display()))?;
            println!("{}", path.display());
            drawn += 1;
        }
    }
    match drawn {
        0 => Err(Failure("no stored results to draw: run a bench first".into())),
        _ => Ok(()),
    }
}

fn charts(bench: &str, rows: &[Value]) -> Vec<Chart> {
    match bench {
        "append" => ["first", "recycled"].map(|life| append(rows, life)).into(),
        "latency" => {
            let loads = [("first", "idle"), ("first", "half"), ("recycled", "idle"), ("recycled", "half")];
            loads.map(|(life, load)| latency(rows, life, load)).into()
        }
        "restart" => vec![
            restart(rows, "time", "ms from exec to the first event", "first_event_seconds", 1e3),
            restart(rows, "memory", "MiB of peak RSS", "peak_rss_mib", 1.0),
        ],
        "growth" => {
            let mut sweeps: Vec<String> = rows.iter().map(|row| plain(&row["sweep"])).collect();
            sweeps.dedup();
            let both = |sweep: &String| {
                [
                    growth(rows, sweep, "", "MB/s", "mb_per_s"),
                    growth(rows, sweep, "-memory", "MiB of peak RSS", "peak_rss_mib"),
                ]
            };
            sweeps.iter().flat_map(both).collect()
        }
        _ => Vec::new(),
    }
}

fn append(rows: &[Value], life: &str) -> Chart {
    let title = format!("Durable append, {life} life: threads × records of 512 bytes a commit");
    let mut chart = Chart::new(format!("append-{life}"), title, "MB/s");
    for row in rows.iter().filter(|row| row["life"] == life) {
        let step = chart.step(plain(&row["shape"]));
        for contender in row["contenders"].as_array().into_iter().flatten() {
            chart.point(plain(&contender[0]), step, contender[1].as_f64());
        }
        chart.point("ceiling".into(), step, row["ceiling_mb_per_s"].as_f64());
    }
    chart
}

fn latency(rows: &[Value], life: &str, load: &str) -> Chart {
    let title = format!("A commit of one event, {life} life, {load} load");
    let mut chart = Chart::new(format!("latency-{life}-{load}"), title, "µs");
    chart.logarithmic = true;
    for row in rows.iter().filter(|row| row["life"] == life && row["load"] == load) {
        for (name, key) in [("p50", "p50_us"), ("p99", "p99_us"), ("p99.9", "p999_us")] {
            let step = chart.step(name.into());
            chart.point(plain(&row["contender"]), step, row[key].as_f64());
        }
    }
    chart
}

fn restart(rows: &[Value], name: &str, unit: &'static str, key: &str, scale: f64) -> Chart {
    let title = "Restart after SIGKILL, by events of backlog".into();
    let mut chart = Chart::new(format!("restart-{name}"), title, unit);
    for row in rows {
        let who = row["who"].as_str().unwrap_or("Flumen");
        let step = chart.step(plain(&row["events"]));
        chart.point(who.into(), step, row[key].as_f64().map(|figure| figure * scale));
    }
    chart
}

fn growth(rows: &[Value], sweep: &str, suffix: &str, unit: &'static str, key: &str) -> Chart {
    let title = format!("Put and take through file channels, as {sweep} grows");
    let mut chart = Chart::new(format!("growth-{sweep}{suffix}"), title, unit);
    for row in rows.iter().filter(|row| row["sweep"] == sweep) {
        let step = chart.step(plain(&row["value"]));
        chart.point("Flumen".into(), step, row[key].as_f64());
    }
    chart
}

impl Chart {
    fn new(name: String, title: String, unit: &'static str) -> Self {
        Self { name, title, unit, logarithmic: false, steps: Vec::new(), series: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.series.iter().all(|(_, points)| points.is_empty())
    }

    /// The step of this name.
    fn step(&mut self, name: String) -> usize {
        self.steps.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.steps.push(name);
            self.steps.len() - 1
        })
    }

    fn point(&mut self, series: String, step: usize, figure: Option<f64>) {
        let Some(figure) = figure.filter(|figure| figure.is_finite() && *figure > 0.0) else { return };
        match self.series.iter_mut().find(|(name, _)| *name == series) {
            Some((_, points)) => points.push((step, figure)),
            None => self.series.push((series, vec![(step, figure)])),
        }
    }

    fn draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let height = |figure: f64| if self.logarithmic { figure.log10() } else { figure };
        let figures = || self.series.iter().flat_map(|(_, points)| points.iter().map(|(_, figure)| *figure));
        let low = if self.logarithmic { height(figures().fold(f64::MAX, f64::min)).floor() } else { 0.0 };
        let high = height(figures().fold(0.0, f64::max));
        let high = if self.logarithmic { high.ceil().max(low + 1.0) } else { high * 1.1 };

        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(64)
            .build_cartesian_2d(-0.3..self.steps.len() as f64 - 0.7, low..high)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .y_labels(if self.logarithmic { (high - low) as usize + 1 } else { 10 })
            .x_labels(self.steps.len() * 2)
            .x_label_formatter(&|at| {
                let step = at.round();
                let near = (at - step).abs() < 0.01;
                self.steps.get(step as usize).filter(|_| near && step >= 0.0).cloned().unwrap_or_default()
            })
            .y_label_formatter(&|at| match self.logarithmic {
                true => format!("{:.0}", 10f64.powf(*at)),
                false => format!("{at:.0}"),
            })
            .y_desc(self.unit)
            .draw()?;
        for (n, (name, points)) in self.series.iter().enumerate() {
            let colour = match name.as_str() {
                "ceiling" | "raw write" => BLACK.to_rgba(),
                _ => Palette99::pick(n).to_rgba(),
            };
            let points: Vec<(f64, f64)> =
                points.iter().map(|(step, figure)| (*step as f64, height(*figure))).collect();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        }
        if self.series.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_bench_becomes_its_charts() {
        let rows = [
            serde_json::json!({ "sweep": "size", "value": 100, "mb_per_s": 10.0, "peak_rss_mib": 30.0 }),
            serde_json::json!({ "sweep": "size", "value": 300, "mb_per_s": 20.0, "peak_rss_mib": 31.0 }),
        ];
        let charts = charts("growth", &rows);
        let dir = tempfile::tempdir().unwrap();
        for chart in &charts {
            let path = dir.path().join(&chart.name);
            chart.draw(&path).unwrap();
            let svg = std::fs::read_to_string(path).unwrap();
            assert!(svg.contains("300") && svg.contains("polyline"), "{svg}");
        }
        assert_eq!(
            charts.iter().map(|chart| chart.name.as_str()).collect::<Vec<_>>(),
            ["growth-size", "growth-size-memory"]
        );
    }
}
