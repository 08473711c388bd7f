//! What masks cost: a table read with its masks through the broker, beside the same view read directly, and beside both
//! ways of reading the table as it is; and what it costs to look through its texts.

use std::time::Instant;

use anyhow::{Context as _, Result};
use hoop::demo::cluster::SUPERUSER;
use hoop::detect::{Form, Found, Kind, Kinds, scrub};

use super::cpu::Watch;
use super::inner::time;
use super::rig::{DATABASE, DETECT, Leg, MASKED, Rig, Way};
use super::slices::Method;
use super::stats::{Seeded, quantile};
use super::wire::Client;

const QUERY: &str = "SELECT id, amount, note, at FROM bulk";

/// One way of reading all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// The table, around the broker.
    Table,
    /// The table through the broker, under a scope without masks.
    Through,
    /// The view that the database keeps for the masks, around the broker.
    View,
    /// The masked table through the broker, which puts a sub-query in its place.
    Inline,
    /// The masked table through the broker with `enforcement: role`, which puts the view in its place.
    Role,
    /// The table through the broker, under a scope with `detect`.
    Detect,
}

impl Read {
    const ALL: [Self; 6] = [
        Self::Table,
        Self::Through,
        Self::View,
        Self::Inline,
        Self::Role,
        Self::Detect,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Table => "the table, directly",
            Self::Through => "the table, through hoop-db",
            Self::View => "the masks' view, directly",
            Self::Inline => "masked, enforcement: shared",
            Self::Role => "masked, enforcement: role",
            Self::Detect => "the table, looked through",
        }
    }
}

/// Reads all of it in every way, `repeats` times; the lines of a table: medians in seconds, and what they are to the view.
pub async fn run(rig: &Rig, method: &Method) -> Result<Vec<String>> {
    // The first statement of the role's scope makes sure that its view is there.
    seconds(rig, method, Read::Role, "").await?;
    let name = "SELECT relname FROM pg_class WHERE relkind = 'v' AND relnamespace = 'hoop_masks'::regnamespace LIMIT 1";
    let view = rig.cluster.psql(DATABASE, name)?;
    let view = format!("SELECT id, amount, note, at FROM hoop_masks.{}", view.trim());
    let mut order = Seeded::new(method.seed + 3);
    let mut found: Vec<(Read, f64)> = Vec::new();
    for _ in 0..method.repeats {
        let mut turns = Read::ALL.to_vec();
        order.shuffle(&mut turns);
        for read in turns {
            found.push((read, seconds(rig, method, read, &view).await?));
        }
    }
    let median = |read: Read| {
        let mut times: Vec<f64> = found
            .iter()
            .filter(|(of, _)| *of == read)
            .map(|(_, time)| *time)
            .collect();
        quantile(&mut times, 0.5)
    };
    let base = median(Read::View);
    let line = |read: Read| {
        format!(
            "{:<28} {:>6.2} s  {:.2} × the view",
            read.name(),
            median(read),
            median(read) / base
        )
    };
    Ok(Read::ALL.map(line).to_vec())
}

async fn seconds(rig: &Rig, method: &Method, read: Read, view: &str) -> Result<f64> {
    let (way, grant) = match read {
        Read::Table => rig.way(Leg::Direct, false).await?,
        Read::Through => rig.way(Leg::Hoop, false).await?,
        Read::Inline => rig.way_as(Leg::Hoop, MASKED).await?,
        Read::Role => rig.way_as(Leg::Role, MASKED).await?,
        Read::Detect => rig.way_as(Leg::Hoop, DETECT).await?,
        Read::View => {
            let (way, _) = rig.way(Leg::Direct, false).await?;
            let superuser = Way {
                user: SUPERUSER.to_owned(),
                password: rig.cluster.password().to_owned(),
                ..way
            };
            (superuser, None)
        }
    };
    let mut client = Client::connect(&way, rig.authority.pem()).await?;
    let mut seconds = f64::NAN;
    for _ in 0..=method.retries {
        let (watch, start) = (Watch::begin(), Instant::now());
        client
            .query(if read == Read::View { view } else { QUERY })
            .await
            .context(read.name())?;
        seconds = start.elapsed().as_secs_f64();
        if watch.others() <= method.tolerated {
            break;
        }
    }
    drop(client);
    if let Some(grant) = grant {
        let leg = if read == Read::Role { Leg::Role } else { Leg::Hoop };
        rig.revoke((leg, false), &grant).await?;
    }
    Ok(seconds)
}

/// What it costs to look through a text for everything there is to find: the lines of a table.
pub fn looked_through() -> Vec<String> {
    const MIB: usize = 1024 * 1024;
    let texts = [
        ("prose", include_str!("../../../broker/docs/OPERATIONS.md")),
        (
            "what is found, line by line",
            "Ann, ann@corp.example, +49 170 1234567, 4111 1111 1111 1111\n",
        ),
        ("the worst known: \"0 0 0 …\"", "0 "),
    ];
    let kinds: Kinds = Kind::ALL.into_iter().collect();
    let mut lines = Vec::new();
    for (name, part) in texts {
        for size in [MIB, 2 * MIB] {
            let text: Vec<u8> = part.bytes().cycle().take(size).collect();
            let micros = time(|| {
                std::hint::black_box(scrub(&text, Form::Text, kinds, &mut Found::default()));
            });
            let rate = size as f64 / micros.median;
            lines.push(format!("{name:<28} {:>2} MiB  {rate:>6.1} MB/s", size / MIB));
        }
    }
    lines
}
