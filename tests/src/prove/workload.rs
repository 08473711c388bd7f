//! What the jobs do while the broker is killed: a mix of statements over the raw wire, each with a marker of its own, and
//! a journal of what each client was told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};

use super::Rng;
use crate::house::DATABASE;
use crate::raw::{self, Raw};

/// Whether the rows with a marker may be in the database afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Their commit was acknowledged.
    There,
    /// Their commit was never sent, or refused.
    NotThere,
    /// The answer to their commit never came.
    Unknown,
}

/// What all clients of one round saw.
#[derive(Debug, Default)]
pub struct Journal {
    /// CommandComplete messages: marker and tag.
    pub acknowledged: Vec<(String, String)>,
    /// Errors of the server: marker and SQLSTATE.
    pub failed: Vec<(String, String)>,
    /// Refusals of the broker.
    pub denied: Vec<String>,
    /// Markers of statements that must never reach the server.
    pub forbidden: Vec<String>,
    /// Rows by marker.
    pub rows: BTreeMap<String, Fate>,
    /// Answers that fit nothing.
    pub strange: Vec<String>,
    /// Sessions that were opened.
    pub sessions: u64,
    /// Statements sent.
    pub sent: u64,
}

/// Where to connect.
#[derive(Debug, Clone)]
pub struct Door {
    /// The endpoint's port.
    pub port: u16,
    /// Its certificate authority.
    pub ca: String,
    /// Its user.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl Door {
    /// Logs in.
    pub async fn enter(&self) -> Result<Raw> {
        let stream = crate::client::tls(self.port, &self.ca).await?;
        Raw::login(Box::new(stream), &self.user, &self.password, &[("database", DATABASE)]).await
    }
}

/// One client. It works until its connection breaks.
pub struct Worker {
    door: Door,
    journal: Arc<Mutex<Journal>>,
    rng: Rng,
    prefix: String,
    count: u64,
    /// Keys of this worker's rows start here.
    keys: u64,
}

/// What one round trip showed.
struct Answer {
    failed: bool,
}

impl Worker {
    /// A client whose markers start with `prefix`.
    pub fn new(door: Door, journal: Arc<Mutex<Journal>>, rng: Rng, prefix: String, keys: u64) -> Self {
        Self {
            door,
            journal,
            rng,
            prefix,
            count: 0,
            keys,
        }
    }

    /// Works until the connection breaks; a connection that cannot be made ends it as well.
    pub async fn run(mut self) {
        while let Ok(mut raw) = self.door.enter().await {
            self.note(|journal| journal.sessions += 1);
            let statements = self.rng.between(5, 60);
            for _ in 0..statements {
                if self.step(&mut raw).await.is_err() {
                    return;
                }
            }
            let _gone = raw.message('X', b"").await;
        }
    }

    fn note<T>(&self, write: impl FnOnce(&mut Journal) -> T) -> T {
        write(&mut self.journal.lock().unwrap())
    }

    fn marker(&mut self) -> String {
        self.count += 1;
        self.note(|journal| journal.sent += 1);
        format!("{}n{}x", self.prefix, self.count)
    }

    /// A row marked `marker`, as the values of an INSERT.
    fn row(&mut self, marker: &str, fate: Fate) -> String {
        self.keys += 1;
        self.note(|journal| journal.rows.insert(marker.to_owned(), fate));
        format!("({}, '{marker}')", self.keys)
    }

    fn fates(&self, markers: &[String], fate: Fate) {
        self.note(|journal| {
            for marker in markers {
                if let Some(row) = journal.rows.get_mut(marker) {
                    *row = fate;
                }
            }
        });
    }

    async fn step(&mut self, raw: &mut Raw) -> Result<()> {
        match self.rng.below(11) {
            0 | 1 => {
                let m = self.marker();
                self.ask(
                    raw,
                    &raw::query(&format!("SELECT id FROM app.orders WHERE note = '{m}'")),
                    &[m],
                )
                .await?;
            }
            2 | 3 => {
                let m = self.marker();
                let row = self.row(&m, Fate::Unknown);
                self.ask_rows(raw, &raw::query(&format!("INSERT INTO app.notes VALUES {row}")), &[m])
                    .await?;
            }
            4 => self.prepared(raw).await?,
            5 => self.several(raw).await?,
            6 | 7 => self.transaction(raw).await?,
            8 => self.copy(raw).await?,
            9 => self.denied(raw).await?,
            _ => {
                let m = self.marker();
                let sql = format!("INSERT INTO app.customers VALUES (1, '{m}', '{m}', 'AT')");
                self.ask(raw, &raw::query(&sql), &[m]).await?;
            }
        }
        Ok(())
    }

    /// One statement prepared and executed three times in one pipeline.
    async fn prepared(&mut self, raw: &mut Raw) -> Result<()> {
        let m = self.marker();
        let writes = self.rng.below(2) == 0;
        let sql = if writes {
            self.note(|journal| journal.rows.insert(m.clone(), Fate::Unknown));
            format!("INSERT INTO app.orders (customer_id, amount, note) VALUES (1, 1, '{m}')")
        } else {
            format!("SELECT count(*) FROM app.orders WHERE note <> '{m}'")
        };
        let mut out = raw::parse(&m, &sql);
        for _ in 0..3 {
            out.extend([raw::bind("", &m), raw::execute("")].concat());
        }
        out.extend(raw::sync());
        self.ask_rows(raw, &out, &[m.clone(), m.clone(), m]).await
    }

    /// Several statements in one message: one implicit transaction.
    async fn several(&mut self, raw: &mut Raw) -> Result<()> {
        let [a, b, c] = [self.marker(), self.marker(), self.marker()];
        let (first, last) = (self.row(&a, Fate::Unknown), self.row(&c, Fate::Unknown));
        let sql = format!(
            "INSERT INTO app.notes VALUES {first}; SELECT id FROM app.orders WHERE note = '{b}'; INSERT INTO app.notes VALUES {last}"
        );
        self.ask_rows(raw, &raw::query(&sql), &[a, b, c]).await
    }

    async fn transaction(&mut self, raw: &mut Raw) -> Result<()> {
        let [begin, insert, end] = [self.marker(), self.marker(), self.marker()];
        self.ask(raw, &raw::query(&format!("BEGIN /* {begin} */")), &[begin])
            .await?;
        let row = self.row(&insert, Fate::NotThere);
        self.ask(
            raw,
            &raw::query(&format!("INSERT INTO app.notes VALUES {row}")),
            std::slice::from_ref(&insert),
        )
        .await?;
        if self.rng.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(self.rng.below(30))).await;
        }
        if self.rng.below(4) == 0 {
            self.ask(raw, &raw::query(&format!("ROLLBACK /* {end} */")), &[end])
                .await?;
            return Ok(());
        }
        self.fates(std::slice::from_ref(&insert), Fate::Unknown);
        let answer = self
            .ask(raw, &raw::query(&format!("COMMIT /* {end} */")), &[end])
            .await?;
        self.fates(&[insert], if answer.failed { Fate::NotThere } else { Fate::There });
        Ok(())
    }

    async fn copy(&mut self, raw: &mut Raw) -> Result<()> {
        let m = self.marker();
        let lines = self.rng.between(1, 200);
        let mut data = String::new();
        for _ in 0..lines {
            self.keys += 1;
            data += &format!("{}\t{m}\n", self.keys);
        }
        self.note(|journal| journal.rows.insert(m.clone(), Fate::Unknown));
        raw.send(&raw::query(&format!("COPY app.notes (id, body) FROM STDIN /* {m} */")))
            .await?;
        let out = [raw::frame('d', data.as_bytes()), raw::frame('c', b"")].concat();
        self.ask_rows(raw, &out, &[m]).await
    }

    /// Statements that may not pass: alone, prepared, behind an allowed one.
    async fn denied(&mut self, raw: &mut Raw) -> Result<()> {
        let m = self.marker();
        let sql = format!("SELECT token FROM app.card_tokens WHERE token = '{m}'");
        self.note(|journal| journal.forbidden.push(m.clone()));
        match self.rng.below(3) {
            0 => self.ask(raw, &raw::query(&sql), &[m]).await?,
            1 => {
                self.ask(raw, &[raw::parse("", &sql), raw::sync()].concat(), &[m])
                    .await?
            }
            _ => {
                let before = self.marker();
                let row = self.row(&before, Fate::NotThere);
                let sql = format!("INSERT INTO app.notes VALUES {row}; {sql}");
                self.ask(raw, &raw::query(&sql), &[before, m]).await?
            }
        };
        Ok(())
    }

    /// Sends, and settles the fate of the rows once the server is ready again.
    async fn ask_rows(&mut self, raw: &mut Raw, bytes: &[u8], markers: &[String]) -> Result<()> {
        let answer = self.ask(raw, bytes, markers).await?;
        self.fates(markers, if answer.failed { Fate::NotThere } else { Fate::There });
        Ok(())
    }

    /// Sends, and journals every answer at the moment it is seen. The n-th answer is that of the n-th marker.
    async fn ask(&mut self, raw: &mut Raw, bytes: &[u8], markers: &[String]) -> Result<Answer> {
        raw.send(bytes).await?;
        let (mut next, mut failed) = (0, false);
        loop {
            let waited = tokio::time::timeout(Duration::from_secs(20), raw.next()).await;
            let Ok(message) = waited else {
                self.note(|journal| journal.strange.push(format!("no answer for {markers:?}")));
                bail!("no answer");
            };
            let (tag, body) = message?;
            let marker = markers.get(next).cloned();
            match tag {
                'C' => {
                    let text = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
                    self.note(|journal| match marker {
                        Some(marker) => journal.acknowledged.push((marker, text)),
                        None => journal.strange.push(format!("{text} after the last of {markers:?}")),
                    });
                    next += 1;
                }
                'E' => {
                    failed = true;
                    let (code, text) = (raw::field(&body, 'C'), raw::field(&body, 'M'));
                    self.note(|journal| match marker {
                        Some(marker) if text.starts_with("denied by ") => journal.denied.push(marker),
                        Some(marker) if raw::field(&body, 'S') == "ERROR" => journal.failed.push((marker, code)),
                        marker => journal.strange.push(format!("{code} {text} for {marker:?}")),
                    });
                }
                'Z' => return Ok(Answer { failed }),
                _ => {}
            }
        }
    }
}
