//! One picture of a run: the proxies' CPU per statement.

use std::fmt::Write as _;

use super::report::{Outcome, cells, spread};
use super::rig::Leg;

const LEGS: [(Leg, &str); 3] = [
    (Leg::Relay, "#9aa5b1"),
    (Leg::PgBouncer, "#4c78a8"),
    (Leg::Hoop, "#e4572e"),
];
const ROW: f64 = 46.0;
const LEFT: f64 = 230.0;
const WIDTH: f64 = 520.0;

/// Bars with whiskers from the least to the greatest repeat, TLS off.
pub fn svg(outcome: &Outcome) -> String {
    let cells = cells(&outcome.samples, false);
    let bars = cells
        .iter()
        .flat_map(|cell| LEGS.map(|(leg, _)| spread(&outcome.samples, cell, leg, |sample| sample.cpu)));
    let most = bars.flatten().map(|spread| spread.max).fold(0.1, f64::max);
    let height = 70.0 + ROW * cells.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"12\" y=\"22\" font-size=\"15\">Proxy CPU seconds per 100,000 statements, TLS off</text>\n",
        LEFT + WIDTH + 80.0
    );
    for (index, (leg, colour)) in LEGS.iter().enumerate() {
        let x = LEFT + 110.0 * index as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"34\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"44\">{}</text>",
            x + 17.0,
            leg.name()
        );
    }
    for (row, cell) in cells.iter().enumerate() {
        let top = 60.0 + ROW * row as f64;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            top + 24.0,
            cell.name()
        );
        for (index, (leg, colour)) in LEGS.iter().enumerate() {
            let Some(found) = spread(&outcome.samples, cell, *leg, |sample| sample.cpu) else {
                continue;
            };
            let (y, x) = (top + 13.0 * index as f64, |value: f64| LEFT + WIDTH * value / most);
            let _ = writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"11\" fill=\"{colour}\"/><line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{m}\" y2=\"{m}\" stroke=\"#333\"/>\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{:.2}</text>",
                x(found.median) - LEFT,
                x(found.min),
                x(found.max),
                x(found.max) + 5.0,
                y + 9.0,
                found.median,
                m = y + 5.5,
            );
        }
    }
    out.push_str("</svg>\n");
    out
}
