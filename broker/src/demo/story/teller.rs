//! The voice of the demo: numbered steps, what is done, what came back, and whether that was to be expected.

use std::io;
use std::process::ExitCode;

use crate::cli::out::{Out, Tone};

/// Tells the story and remembers what went wrong.
pub(super) struct Teller<'a> {
    out: &'a mut Out,
    step: usize,
    failures: Vec<String>,
    told: bool,
}

impl<'a> Teller<'a> {
    pub(super) fn new(out: &'a mut Out) -> Self {
        Self {
            out,
            step: 0,
            failures: Vec::new(),
            told: false,
        }
    }

    pub(super) fn head(&mut self, text: &str) -> io::Result<()> {
        self.out.toned(Tone::Head, text)
    }

    pub(super) fn tone(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        self.out.toned(tone, text)
    }

    /// The next step's heading.
    pub(super) fn step(&mut self, title: &str) -> io::Result<()> {
        self.step += 1;
        let line = format!("\n{}. {title}", self.step);
        self.out.toned(Tone::Head, &line)
    }

    /// A sentence about what happens.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        self.out.line(&format!("   {text}"))
    }

    /// A command as one would type it.
    pub(super) fn command(&mut self, text: &str) -> io::Result<()> {
        for (index, line) in text.lines().enumerate() {
            let mark = if index == 0 { '$' } else { ' ' };
            self.out.toned(Tone::Faint, &format!("   {mark} {line}"))?;
        }
        Ok(())
    }

    /// What came back.
    pub(super) fn output(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            let refused = ["ERROR:", "DETAIL:", "HINT:", "FATAL:", "error:"]
                .iter()
                .any(|word| line.contains(word));
            let line = format!("   │ {line}");
            if refused {
                self.out.toned(Tone::Refused, &line)?;
            } else {
                self.out.line(&line)?;
            }
        }
        Ok(())
    }

    /// Whether it is as it should be.
    pub(super) fn expect(&mut self, good: bool, what: &str) -> io::Result<()> {
        if good {
            return self.out.toned(Tone::Good, &format!("   ✓ {what}"));
        }
        self.failures.push(format!("step {}: {what}", self.step));
        self.out.toned(Tone::Bad, &format!("   ✗ expected, and not so: {what}"))
    }

    /// The story is over.
    pub(super) fn finish(&mut self) {
        self.told = true;
    }

    /// Whether the story was told to its end.
    pub(super) fn told(&self) -> bool {
        self.told
    }

    /// The last word, and the status that goes with it.
    pub(super) fn verdict(&mut self) -> io::Result<ExitCode> {
        if self.failures.is_empty() {
            self.out.toned(
                Tone::Good,
                &format!("\nall {} steps as expected; everything temporary is gone", self.step),
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        self.out.line("")?;
        for failure in &self.failures {
            self.out.error(failure);
        }
        Ok(ExitCode::FAILURE)
    }
}
