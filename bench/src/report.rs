//! Tables for people, JSON for machines, medians for both.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::{Context, Failure};
use crate::place::Place;

/// One command's outcome, as stored.
#[derive(Debug, Serialize)]
pub struct Stored<'a, R: Serialize, S: Serialize> {
    /// The command.
    pub bench: &'a str,
    /// Where it ran.
    pub place: &'a Place,
    /// What was fixed: durability, payload, options.
    pub setting: serde_json::Value,
    /// Medians, row by row as printed.
    pub summary: &'a [S],
    /// Every round.
    pub runs: &'a [R],
}

impl<R: Serialize, S: Serialize> Stored<'_, R, S> {
    /// Writes `<results>/<bench>-<unix time>.json` and returns its path.
    pub fn store(&self, results: &Path) -> Result<PathBuf, Failure> {
        std::fs::create_dir_all(results).context(|| format!("create {}", results.display()))?;
        let path = results.join(format!("{}-{}.json", self.bench, self.place.unix_time));
        let mut text = serde_json::to_string_pretty(self).context(|| "encode results".into())?;
        text.push('\n');
        std::fs::write(&path, text).context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// The middle value; of an even number the mean of the two in the middle. 0 of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Prints rows under their heads: the first column to the left, numbers to the right.
pub fn print_table(heads: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::from("|");
        for (column, (cell, width)) in cells.into_iter().zip(&widths).enumerate() {
            match column {
                0 => text.push_str(&format!(" {cell:<width$} |")),
                _ => text.push_str(&format!(" {cell:>width$} |")),
            }
        }
        println!("{text}");
    };
    line(heads.to_vec());
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(rules.iter().map(String::as_str).collect());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn one_outlier_does_not_move_a_median() {
        assert_eq!(median([3.0, 1.0, 900.0]), 3.0);
        assert_eq!(median([4.0, 1.0, 2.0, 900.0]), 3.0);
        assert_eq!(median([]), 0.0);
    }
}
