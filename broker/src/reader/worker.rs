//! The other side: what runs in a worker process. It has a socket as standard input and output, and nothing else.

use std::io;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};

use super::frame;
use crate::sql::splice::{Edits, splice};
use crate::sql::{self, Snapshot};

/// Answers texts until the broker closes its side. `memory` in megabytes of address space, `cpu` in seconds of
/// processor time per text.
pub fn serve(memory: u64, cpu: u64) -> io::Result<()> {
    close_inherited();
    // Where memory runs out, this process goes before the broker. Not every system has this file.
    let _not_linux = std::fs::write("/proc/self/oom_score_adj", "1000");
    let memory = memory.saturating_mul(1024 * 1024);
    for (resource, limit) in [
        (Resource::RLIMIT_AS, memory),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        // The three standard ones are open; there will be no other.
        (Resource::RLIMIT_NOFILE, 3),
    ] {
        setrlimit(resource, limit, limit)?;
    }
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    let mut snapshot = Snapshot::default();
    while let Some((kind, body)) = frame::read(&mut from)? {
        match kind {
            frame::SNAPSHOT => snapshot = serde_json::from_slice(&body)?,
            frame::TEXT => {
                let text = std::str::from_utf8(&body).map_err(|_| io::ErrorKind::InvalidData)?;
                more_time(cpu)?;
                let read = sql::read(text, &snapshot);
                frame::write(&mut to, frame::READ, &serde_json::to_vec(&read)?)?;
            }
            frame::SPLICE => {
                let (text, edits): (String, Edits) = serde_json::from_slice(&body)?;
                more_time(cpu)?;
                let spliced = splice(&text, &edits);
                frame::write(&mut to, frame::SPLICED, &serde_json::to_vec(&spliced)?)?;
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(())
}

/// Closes what the broker itself has inherited: it opens nothing that a child could.
fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let names = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let inherited: Vec<i32> = names.filter(|fd| *fd > 2).collect();
    for fd in inherited {
        // The list's own is closed already.
        let _already_closed = nix::unistd::close(fd);
    }
}

/// Moves the processor time limit to `cpu` seconds from now.
fn more_time(cpu: u64) -> io::Result<()> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let used = usage.user_time().tv_sec() + usage.system_time().tv_sec();
    let used = u64::try_from(used).unwrap_or(0);
    let (_, hard) = getrlimit(Resource::RLIMIT_CPU)?;
    setrlimit(Resource::RLIMIT_CPU, (used + cpu + 1).min(hard), hard)?;
    Ok(())
}
