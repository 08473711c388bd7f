//! The one way anything is printed: standard output for results, standard error for complaints, colour only on a
//! terminal.

use std::io::{self, IsTerminal, Write};

/// Where a command's output goes.
#[derive(Debug)]
pub struct Out {
    colour: bool,
}

/// What a text means, for colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It worked.
    Good,
    /// It was refused, as it should be.
    Refused,
    /// It went wrong.
    Bad,
    /// A heading.
    Head,
    /// An aside.
    Faint,
}

impl Out {
    /// Standard output; colours when it is a terminal and `NO_COLOR` is not set.
    pub fn stdout() -> Self {
        Self {
            colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// One line.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self, "{text}")
    }

    /// One line in a tone.
    pub fn toned(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        let line = self.paint(tone, text);
        self.line(&line)
    }

    /// `text` with the tone's colour, where there is colour.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Refused => "33",
            Tone::Bad => "31;1",
            Tone::Head => "1",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// One line on standard error.
    pub fn error(&mut self, text: &str) {
        let text = if self.colour {
            format!("\u{1b}[31;1merror:\u{1b}[0m {text}")
        } else {
            format!("error: {text}")
        };
        // When even standard error is gone there is nobody left to tell.
        let _unheard = writeln!(io::stderr(), "{text}");
    }

    /// One remark on standard error.
    pub fn note(&mut self, text: &str) {
        let _unheard = writeln!(io::stderr(), "hoop-db: {text}");
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
