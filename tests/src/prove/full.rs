//! R3: the ledger's disk takes nothing more. No statement passes, sessions are told why, `/readyz` turns red, grants can
//! still be revoked; when there is room again everything works without a restart.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::crash::{admin, door};
use super::oracle::{Book, ServerLog};
use super::workload::Door;
use super::{Aim, Canaries, Report, Score};
use crate::house::Plan;
use crate::raw::{self, Raw};
use crate::{Grant, House};

/// How the disk is made to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// A file-size limit of nothing on the broker's process; needs no rights.
    Limit,
    /// A small file system of its own, filled up; needs root.
    Small,
}

/// The state directory's disk.
enum Disk {
    Limit(u32),
    Small(PathBuf),
}

impl Disk {
    fn fill(&self) -> Result<()> {
        match self {
            Self::Limit(pid) => limit(*pid, "0:unlimited"),
            Self::Small(path) => {
                let mut filler = File::options().create(true).append(true).open(path.join("filler"))?;
                // Down to the last byte.
                for size in [65_536, 4096, 64, 1] {
                    while filler.write_all(&vec![0; size]).is_ok() {}
                }
                Ok(())
            }
        }
    }

    fn free(&self) -> Result<()> {
        match self {
            Self::Limit(pid) => limit(*pid, "unlimited:unlimited"),
            Self::Small(path) => Ok(fs::remove_file(path.join("filler"))?),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Small(path) = self {
            let _unmounted = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

fn limit(pid: u32, bounds: &str) -> Result<()> {
    let status = Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--fsize={bounds}")])
        .status()?;
    ensure!(status.success(), "prlimit failed");
    Ok(())
}

/// A house whose disk can be filled; `None` when this machine does not allow it.
async fn house(means: Means) -> Result<Option<(House, Disk)>> {
    // Without this the limit's signal would end the process; a full disk sends none.
    let wrapper = ["env", "--ignore-signal=XFSZ"].map(str::to_owned).to_vec();
    let plan = Plan {
        policy: super::policy(),
        extra: super::operator(),
        wrapper,
        ..Plan::default()
    };
    let mut house = House::plan(plan).await?;
    if means == Means::Limit {
        let disk = Disk::Limit(house.broker_pid());
        return Ok(Some((house, disk)));
    }
    house.kill_broker();
    let state = house.path("state");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&state)
        .output()?;
    if !mounted.status.success() {
        return Ok(None);
    }
    let disk = Disk::Small(state);
    house.start_broker().await?;
    Ok(Some((house, disk)))
}

/// Fills the disk and frees it `rounds` times.
pub async fn full(means: Means, rounds: u64) -> Result<Report> {
    let Some((house, disk)) = house(means).await? else {
        println!("R3   skipped with a file system of its own: this machine does not let us mount one");
        return Ok(Report::default());
    };
    let mut score = Score::new(
        "R3",
        format!("the ledger's disk is full ({means:?})"),
        Aim::within(5, 5000),
        Aim::within(10, 1000),
    );
    let mut full = Full {
        log: ServerLog::new(house.cluster.home()),
        book: Book::new(&house.path("state")),
        admin: admin(&house).await?,
        canaries: Canaries::new(),
        house,
        disk,
        marks: 0,
        refused: Vec::new(),
        unseen: Vec::new(),
    };
    for round in 0..rounds {
        if let Err(error) = full.round(&mut score).await {
            let ended = full
                .house
                .broker
                .as_mut()
                .and_then(|broker| broker.try_wait().ok().flatten());
            return Err(error.context(format!(
                "round {round}; broker ended: {ended:?}\n{}",
                full.house.broker_log()
            )));
        }
    }
    let secrets = full.canaries.search(&full.house).await?;
    Ok(Report {
        scores: vec![score, secrets],
    })
}

struct Full {
    admin: tokio_postgres::Client,
    log: ServerLog,
    book: Book,
    canaries: Canaries,
    house: House,
    disk: Disk,
    marks: u64,
    /// Statements that were refused.
    refused: Vec<String>,
    /// Rows that were never committed.
    unseen: Vec<String>,
}

/// What became of a statement.
enum Said {
    Done,
    Refused { sqlstate: String, text: String },
}

impl Full {
    async fn round(&mut self, score: &mut Score) -> Result<()> {
        let (grant, doomed) = (self.house.grant("migrate").await?, self.house.grant("migrate").await?);
        self.canaries.grant(&grant);
        self.canaries.grant(&doomed);
        let entrance = door(&self.house, &grant);
        let (mut reader, mut writer, mut cut) = (
            entrance.enter().await?,
            entrance.enter().await?,
            door(&self.house, &doomed).enter().await?,
        );
        let held = self.mark();
        let row = format!("INSERT INTO app.notes VALUES ({}, '{held}')", self.marks);
        let begin = format!("BEGIN /* {} */", self.mark());
        for sql in [begin.as_str(), row.as_str()] {
            ensure!(
                matches!(say(&mut writer, sql).await?, Said::Done),
                "{sql} was refused before the disk was full"
            );
        }
        self.disk.fill()?;
        self.until_refused(&mut reader, score).await?;
        let commit = format!("COMMIT /* {} */", self.mark());
        if self.expect_refused(&mut writer, &commit, score).await? {
            self.unseen.push(held);
        }
        self.ask_around(&grant, &entrance, score).await?;
        self.revoke(&doomed, &mut cut, score).await?;
        self.disk.free()?;
        self.recover(&entrance, score).await?;
        self.settled(&doomed).await?;
        self.compare(score).await?;
        let entered = door(&self.house, &doomed).enter().await.is_ok();
        score.check(!entered, || {
            "a grant revoked while the disk was full lets in after a restart".to_owned()
        });
        for grant in [&grant, &doomed] {
            self.house.revoke(grant).await?;
        }
        Ok(())
    }

    fn mark(&mut self) -> String {
        self.marks += 1;
        format!("mkfull{}x", self.marks)
    }

    /// The last page of the journal may still hold a few records: what passes must be in the ledger, as ever.
    async fn until_refused(&mut self, session: &mut Raw, score: &mut Score) -> Result<()> {
        for _ in 0..500 {
            let mark = self.mark();
            let sql = format!("SELECT id FROM app.orders WHERE note = '{mark}'");
            if let Said::Refused { sqlstate, text } = say(session, &sql).await? {
                if self.may_have_run(&sqlstate) {
                    return Ok(());
                }
                self.refused.push(mark);
                score.check(sqlstate == "53100" && text.contains("disk is full"), || {
                    format!("a read was refused with {text}")
                });
                return Ok(());
            }
        }
        score.wrong("500 statements passed with a full disk");
        Ok(())
    }

    /// True when it was refused. On a file system of its own another runtime's journal may have a page left, or a page
    /// came back from a journal that was chained: what passes then must be recorded, which is checked at the end.
    async fn expect_refused(&mut self, session: &mut Raw, sql: &str, score: &mut Score) -> Result<bool> {
        let said = say(session, sql).await?;
        if matches!((&said, &self.disk), (Said::Done, Disk::Small(_))) {
            self.disk.fill()?;
            return Ok(false);
        }
        if matches!(&said, Said::Refused { sqlstate, .. } if self.may_have_run(sqlstate)) {
            return Ok(false);
        }
        self.refused.extend(super::oracle::markers(sql));
        let right = matches!(&said, Said::Refused { sqlstate, .. } if ["53100", "58030"].contains(&sqlstate.as_str()));
        score.check(right, || match said {
            Said::Done => format!("{sql} passed with a full disk"),
            Said::Refused { sqlstate, text } => format!("{sql} was refused with {sqlstate} {text}"),
        });
        Ok(true)
    }

    /// The last page took the intent and not the outcome, and the client was told just that. Then it may have run; what
    /// did must be recorded, which is checked at the end.
    fn may_have_run(&self, sqlstate: &str) -> bool {
        sqlstate == "08007" && matches!(self.disk, Disk::Small(_))
    }

    /// New sessions, new grants, readiness: nobody gets in, everybody is told.
    async fn ask_around(&mut self, grant: &Grant, entrance: &Door, score: &mut Score) -> Result<()> {
        for _ in 0..10 {
            match entrance.enter().await {
                Err(error) => {
                    let text = format!("{error:#}");
                    self.canaries.answer(text.clone());
                    score.check(text.contains("C53100") || text.contains("C58030"), || {
                        format!("a new session heard: {text}")
                    });
                }
                // Its own journal had room for the greeting still.
                Ok(mut raw) => {
                    let mark = self.mark();
                    let sql = format!("INSERT INTO app.notes VALUES ({}, '{mark}')", self.marks);
                    if self.expect_refused(&mut raw, &sql, score).await? {
                        self.unseen.push(mark);
                    }
                }
            }
        }
        let (status, answer) = self.house.api("GET", "/readyz", None, None).await?;
        score.check(status == 503 && answer.to_string().contains("ledger-full"), || {
            format!("/readyz says {status} {answer}")
        });
        let token = self.house.github.github(&serde_json::json!({}))?;
        let body = serde_json::json!({ "scope": "migrate" });
        let (status, answer) = self.house.api("POST", "/v1/grants", Some(&token), Some(body)).await?;
        score.check(status == 503 && answer["fix"].is_string(), || {
            format!("a token with a full disk got {status} {answer}")
        });
        self.canaries.answer(answer.to_string());
        let path = format!("/v1/grants/{}", grant.id());
        let (status, answer) = self.house.api("GET", &path, Some(&grant.revoke_token()), None).await?;
        score.check([200, 503].contains(&status), || {
            format!("a grant's report with a full disk: {status} {answer}")
        });
        Ok(())
    }

    /// Whatever the disk: a revoked session is cut.
    async fn revoke(&mut self, doomed: &Grant, session: &mut Raw, score: &mut Score) -> Result<()> {
        let path = format!("/v1/grants/{}", doomed.id());
        let (status, answer) = self
            .house
            .api("DELETE", &path, Some(&doomed.revoke_token()), None)
            .await?;
        score.check([200, 503].contains(&status), || {
            format!("a revocation with a full disk: {status} {answer}")
        });
        self.canaries.answer(answer.to_string());
        let mut over = false;
        while let Ok(message) = tokio::time::timeout(Duration::from_secs(5), session.next()).await {
            let Ok((tag, body)) = message else { break };
            over |= tag == 'E' && raw::field(&body, 'C') == "57P01";
        }
        score.check(over, || "a session revoked with a full disk was not told".to_owned());
        Ok(())
    }

    /// Measures until a new session's statement passes.
    async fn recover(&mut self, entrance: &Door, score: &mut Score) -> Result<()> {
        let freed = Instant::now();
        loop {
            ensure!(
                freed.elapsed() < Duration::from_secs(20),
                "nothing passes 20 s after the disk was freed:\n{}",
                self.house.broker_log()
            );
            let mark = self.mark();
            if let Ok(mut raw) = entrance.enter().await
                && matches!(
                    say(
                        &mut raw,
                        &format!("INSERT INTO app.notes VALUES ({}, '{mark}')", self.marks)
                    )
                    .await?,
                    Said::Done
                )
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        score.took(freed.elapsed());
        while self.house.api("GET", "/readyz", None, None).await?.0 != 200 {
            ensure!(freed.elapsed() < Duration::from_secs(20), "/readyz stays red");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The revocation that the store did not take is written once it does.
    async fn settled(&self, doomed: &Grant) -> Result<()> {
        let (path, freed) = (format!("/v1/grants/{}", doomed.id()), Instant::now());
        loop {
            let (_, answer) = self.house.api("GET", &path, Some(&doomed.revoke_token()), None).await?;
            if answer.pointer("/grant/state").and_then(serde_json::Value::as_str) == Some("revoked") {
                return Ok(());
            }
            ensure!(
                freed.elapsed() < Duration::from_secs(20),
                "a revocation is never written: {answer}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the server ran is in the ledger, what was refused never reached the server.
    async fn compare(&mut self, score: &mut Score) -> Result<()> {
        self.house.kill_broker();
        self.house.start_broker().await?;
        if let Disk::Limit(pid) = &mut self.disk {
            *pid = self.house.broker_pid();
        }
        score.violations.extend(self.book.read()?);
        let (fresh, unexplained) = self.log.read()?;
        score.violations.extend(unexplained);
        for marker in &fresh {
            let known = self.book.executions.contains_key(marker);
            score.check(known, || format!("{marker} ran and is not in the ledger"));
        }
        for marker in &self.refused {
            let ran = self.log.seen.contains_key(marker);
            score.check(!ran, || format!("{marker} was refused and ran"));
        }
        let rows = self
            .admin
            .query("SELECT body FROM app.notes WHERE body = ANY($1)", &[&self.unseen])
            .await?;
        score.check(rows.is_empty(), || "uncommitted or refused rows are there".to_owned());
        self.admin.batch_execute("TRUNCATE app.notes").await?;
        let (verifies, text) = self.house.verify_ledger()?;
        score.check(verifies, || text);
        Ok(())
    }
}

/// One simple query.
async fn say(session: &mut Raw, sql: &str) -> Result<Said> {
    session.send(&raw::query(sql)).await?;
    for (tag, body) in session.until_ready(1).await? {
        match tag {
            'E' => {
                let text = raw::fields(&body).join(" ");
                return Ok(Said::Refused {
                    sqlstate: raw::field(&body, 'C'),
                    text,
                });
            }
            'Z' => return Ok(Said::Done),
            _ => {}
        }
    }
    Ok(Said::Refused {
        sqlstate: String::new(),
        text: "the connection was closed without a word".to_owned(),
    })
}
