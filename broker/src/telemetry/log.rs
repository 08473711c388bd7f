//! The log: for eyes when it goes to a terminal, JSON lines otherwise. `HOOP_LOG` filters it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable with the filter, such as `info,hoop::http=debug`.
pub const VARIABLE: &str = "HOOP_LOG";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    /// The filter cannot be read.
    #[error("{VARIABLE} is not a log filter: {0}; write it like `info` or `info,hoop::http=debug`")]
    Filter(String),
    /// The process has one already.
    #[error("the log is already set up: {0}")]
    Twice(String),
}

/// Sets up the process's log on standard error. `filter` is the value of [`VARIABLE`].
pub fn init(filter: Option<&str>) -> Result<(), LogFault> {
    let filter = read(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A line that cannot be written is lost. Reporting that on standard error as well would panic when it is
        // standard error that takes nothing, and a full disk must not end what a request has begun.
        .log_internal_errors(false);
    let done = if std::io::stderr().is_terminal() {
        builder.finish().try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .finish()
            .try_init()
    };
    done.map_err(|error| LogFault::Twice(error.to_string()))
}

/// A filter that cannot be read is an error: a silent log would be noticed when it is needed.
fn read(filter: Option<&str>) -> Result<EnvFilter, LogFault> {
    let text = filter.filter(|text| !text.is_empty()).unwrap_or("info");
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| LogFault::Filter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_or_explained() {
        assert_eq!(read(None).unwrap().to_string(), "info");
        assert_eq!(read(Some("")).unwrap().to_string(), "info");
        assert!(read(Some("warn,hoop::http=debug")).is_ok());
        assert!(read(Some("hoop=loud")).unwrap_err().to_string().contains("HOOP_LOG"));
    }
}
