//! What would become of one statement, as `plan` and `policy explain` print it.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use super::out::{Out, Tone};
use crate::decide::explain::{self, MaskedColumn};
use crate::decide::judge::{self, Ground};
use crate::decide::{Decision, Denial};
use crate::policy::Scope;
use crate::sql::Statement;

/// One statement: allowed, by which lines and with what in the place of masked columns, or denied.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// The statement class, or nothing when the text could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(rename = "verdict")]
    said: &'static str,
    /// The policy lines that allow it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<String>,
    /// The masked columns it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    masks: Vec<Placed>,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<Denial>,
}

/// A masked column and where its table stands.
#[derive(Debug, Serialize)]
struct Placed {
    #[serde(flatten)]
    column: MaskedColumn,
    /// 1-based.
    at_line: u32,
    /// 1-based, in characters.
    at_column: u32,
}

impl Verdict {
    /// Judges `statement`, which was read from `ground.text`; that begins at the byte `start` of `whole`.
    pub fn of(statement: &Statement, scope: &Scope, ground: &Ground<'_>, (whole, start): (&str, usize)) -> Self {
        let class = Some(statement.class.as_str());
        let permit = match judge::judge(statement, scope, ground) {
            Decision::Allow(permit) => permit,
            Decision::Deny(denial) => {
                return Self {
                    class,
                    ..Self::unreadable(denial)
                };
            }
        };
        let rules: BTreeSet<String> = permit.rules().iter().map(ToString::to_string).collect();
        let place = |column: MaskedColumn| {
            let (at_line, at_column) = place(whole, start + column.at);
            Placed {
                column,
                at_line,
                at_column,
            }
        };
        Self {
            class,
            said: "allowed",
            rules: rules.into_iter().collect(),
            masks: explain::masked_columns(statement, scope, ground.snapshot)
                .into_iter()
                .map(place)
                .collect(),
            denial: None,
        }
    }

    /// A text of which no statement is known.
    pub fn unreadable(denial: Denial) -> Self {
        Self {
            class: None,
            said: "denied",
            rules: Vec::new(),
            masks: Vec::new(),
            denial: Some(denial),
        }
    }

    /// Prints it, behind `place`.
    pub fn print(&self, place: &str, out: &mut Out) -> Result<()> {
        if let Some(denial) = &self.denial {
            out.toned(Tone::Refused, &format!("{place}{}", denial.message()))?;
            out.line(&format!("  {}\n  {}", denial.detail, denial.hint))?;
            return Ok(());
        }
        let by = match self.rules.as_slice() {
            [] => "it needs no rule".to_owned(),
            rules => format!("by {}", rules.join(", ")),
        };
        let class = self.class.unwrap_or_default();
        out.toned(Tone::Good, &format!("{place}{} {class} {by}", self.said))?;
        for placed in &self.masks {
            let MaskedColumn {
                column, mask, origin, ..
            } = &placed.column;
            let (line, at) = (placed.at_line, placed.at_column);
            out.line(&format!("  {column} is replaced: {mask} by {origin}, at {line}:{at}"))?;
        }
        Ok(())
    }
}

/// Line and column of the first word at or after `at`: blanks and comments before a statement count as its own.
pub fn place(text: &str, at: usize) -> (u32, u32) {
    let mut rest = text.get(at..).unwrap_or_default();
    loop {
        let trimmed = rest.trim_start();
        let after = if let Some(comment) = trimmed.strip_prefix("--") {
            comment.split_once('\n').map(|(_, after)| after)
        } else if let Some(comment) = trimmed.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, after)| after)
        } else {
            rest = trimmed;
            break;
        };
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    let before = text.get(..text.len() - rest.len()).unwrap_or_default();
    let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
    let number = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
    (number(before.matches('\n').count()), number(line.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_statement_begins_at_its_first_word() {
        let text = "SELECT 1;\n-- a note\n/* more */  DROP TABLE é; TRUNCATE x";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, 9), (3, 13));
        assert_eq!(place(text, text.find("; TRUNC").unwrap() + 1), (3, 27));
    }
}
