//! Small texts are read inside the broker's process, where a fault of the C parser would end it. So millions of them are
//! tried: statements of the corpus, of the tools' workloads and of PostgreSQL's own regression SQL, cut to pieces and put
//! together again by their brackets and words. The reading happens in a process of its own, which may die of it.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hoop::sql::{Snapshot, Unreadable};
use serde::{Deserialize, Serialize};

use super::{Aim, Report, Rng, Score, regress};
use crate::corpus::{Corpus, Ground, Layer};
use crate::house::root;

/// A reading that takes longer is a hang.
const PATIENCE: Duration = Duration::from_secs(20);
/// Every text is below the bound for what is read in process.
const MAX_BYTES: usize = 16 * 1024;
/// The stack of the threads that serve sessions.
const STACK: usize = 2 * 1024 * 1024;
/// After so many ends of the process there is nothing more to learn.
const MAX_ENDS: usize = 20;

/// What texts are made of.
#[derive(Debug, Serialize, Deserialize)]
struct Material {
    seeds: Vec<Vec<String>>,
    functions: Vec<String>,
    snapshot: Snapshot,
}

/// What one process has seen.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Seen {
    read: u64,
    understood: u64,
    syntax: u64,
    elsewhere: u64,
    refused: u64,
    crashed: Vec<String>,
    slowest: Duration,
    slowest_text: String,
    peak_kilobytes: u64,
}

/// Reads `count` texts.
pub async fn fuzz(seed: u64, count: u64) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let material = folder.path().join("material.json");
    std::fs::write(&material, serde_json::to_vec(&gather().await?)?)?;
    let mut score = Score::new("R6", "", Aim::of(1_000_000), Aim::of(3_000_000));
    let (mut seen, mut from, mut ends) = (Seen::default(), 0, 0);
    while from < count && ends < MAX_ENDS {
        match child(&material, folder.path(), seed, from..count)? {
            End::Through(some) => {
                add(&mut seen, some);
                from = count;
            }
            End::Died(at, how, some) => {
                add(&mut seen, some);
                ends += 1;
                let text = Material::load(&material)?.text(seed, at);
                score.wrong(format!("text {at} of seed {seed} {how}: {text:?}"));
                from = at + 1;
            }
        }
    }
    for text in &seen.crashed {
        score.wrong(format!("the reader failed on {text:?}"));
    }
    score.n = from;
    score.what = format!(
        "random and mutated small texts read in process: {ends} ends of the process, {} caught panics; {} understood, \
         {} opaque, {} no SQL, {} too large for this; slowest {:.1} ms, peak {} MiB",
        seen.crashed.len(),
        seen.understood,
        seen.read - seen.understood,
        seen.syntax + seen.refused,
        seen.elsewhere,
        seen.slowest.as_secs_f64() * 1000.0,
        seen.peak_kilobytes / 1024
    );
    println!(
        "  slowest: {:?}",
        seen.slowest_text.chars().take(200).collect::<String>()
    );
    Ok(Report { scores: vec![score] })
}

fn add(seen: &mut Seen, some: Seen) {
    seen.read += some.read;
    seen.understood += some.understood;
    seen.syntax += some.syntax;
    seen.elsewhere += some.elsewhere;
    seen.refused += some.refused;
    seen.crashed.extend(some.crashed);
    seen.peak_kilobytes = seen.peak_kilobytes.max(some.peak_kilobytes);
    if some.slowest > seen.slowest {
        (seen.slowest, seen.slowest_text) = (some.slowest, some.slowest_text);
    }
}

/// How a process ended.
enum End {
    Through(Seen),
    /// At this text, by this; and what it had seen by then.
    Died(u64, String, Seen),
}

/// Runs a process over the texts of `range`.
fn child(material: &Path, folder: &Path, seed: u64, range: std::ops::Range<u64>) -> Result<End> {
    let (place, found) = (folder.join("at"), folder.join("seen.json"));
    std::fs::write(&place, range.start.to_le_bytes())?;
    std::fs::write(&found, b"{}")?;
    let mut process = Command::new(std::env::current_exe()?)
        .arg("--fuzz-child")
        .arg(folder)
        .args(["--seed", &seed.to_string()])
        .args(["--fuzz-range", &format!("{}..{}", range.start, range.end)])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{}", material.display()))?;
    let at = || -> Result<u64> {
        let bytes = std::fs::read(&place)?;
        Ok(bytes.try_into().map_or(range.start, u64::from_le_bytes))
    };
    let mut errors = process.stderr.take().context("it is piped")?;
    let told = std::thread::spawn(move || {
        let mut text = String::new();
        let _whatever_came = errors.read_to_string(&mut text);
        text
    });
    let (mut last, mut since) = (range.start, Instant::now());
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        let now = at()?;
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            process.kill()?;
            process.wait()?;
            return Ok(End::Died(now, format!("hung for {PATIENCE:?}"), load(&found)));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let told = told.join().unwrap_or_default();
    if status.success() {
        return Ok(End::Through(load(&found)));
    }
    let how = match status.signal() {
        Some(signal) => format!("ended the process by signal {signal}"),
        None => format!(
            "ended the process: {status}; {}",
            told.lines().last().unwrap_or_default()
        ),
    };
    ensure!(last >= range.start, "{how}");
    Ok(End::Died(at()?, how, load(&found)))
}

fn load(found: &Path) -> Seen {
    let bytes = std::fs::read(found).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The process that reads: `folder` has the material, and gets the place and what was seen.
pub fn read_all(folder: &Path, seed: u64, range: &str) -> Result<()> {
    let (from, to) = range.split_once("..").context("FROM..TO")?;
    let (from, to): (u64, u64) = (from.parse()?, to.parse()?);
    let ground = Material::load(&folder.join("material.json"))?;
    let place = File::options().write(true).open(folder.join("at"))?;
    let found = folder.join("seen.json");
    // Panics are caught where they matter; their words on the way are noise.
    std::panic::set_hook(Box::new(|_| ()));
    let reader = std::thread::Builder::new().stack_size(STACK);
    let through = reader.spawn(move || -> Result<()> {
        let mut seen = Seen::default();
        for number in from..to {
            place.write_all_at(&number.to_le_bytes(), 0)?;
            let text = ground.text(seed, number);
            let began = Instant::now();
            let read = hoop::sql::read_small(&text, &ground.snapshot);
            let took = began.elapsed();
            match read {
                None => seen.elsewhere += 1,
                Some(Ok(statements)) => {
                    seen.read += 1;
                    seen.understood += u64::from(statements.iter().all(|one| one.opaque.is_empty()));
                }
                Some(Err(Unreadable::Syntax { .. })) => seen.syntax += 1,
                Some(Err(Unreadable::Crashed)) => seen.crashed.push(text.clone()),
                Some(Err(_)) => seen.refused += 1,
            }
            if took > seen.slowest {
                (seen.slowest, seen.slowest_text) = (took, text);
            }
            if number % 10_000 == 9_999 || number + 1 == to {
                seen.peak_kilobytes = peak();
                std::fs::write(&found, serde_json::to_vec(&seen)?)?;
            }
        }
        Ok(())
    })?;
    through
        .join()
        .map_err(|_| anyhow::anyhow!("the reading thread panicked"))?
}

/// The most memory this process ever had.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or_default()
}

/// Seeds from everywhere, and the corpus' live schema.
async fn gather() -> Result<Material> {
    let corpus = Corpus::own()?;
    let ground = Ground::start(&corpus, 1, Layer::Proxy).await?;
    let snapshot = ground.judge().await?.snapshot.as_ref().clone();
    let mut texts: Vec<String> = corpus.cases.iter().map(|case| ground.fill(&case.sql)).collect();
    for entry in std::fs::read_dir(root().join("tests/corpus/workload"))? {
        let text = std::fs::read_to_string(entry?.path())?;
        texts.extend(text.split("\n-- ---\n").map(str::to_owned));
    }
    texts.extend(regress::everything()?);
    texts.retain(|text| !text.trim().is_empty() && text.len() < MAX_BYTES / 2);
    texts.sort();
    texts.dedup();
    let mut functions: Vec<String> = snapshot.functions.keys().cloned().collect();
    functions.sort();
    Ok(Material {
        seeds: texts.iter().map(|text| tokens(text)).collect(),
        functions,
        snapshot,
    })
}

/// Words, numbers, literals, runs of operator characters, single other characters and runs of space.
fn tokens(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' => {
                let close = rest[1..].find(first);
                close.map_or(rest.len(), |close| close + 2)
            }
            _ => {
                let kind = |symbol: char| match symbol {
                    _ if symbol.is_alphanumeric() || symbol == '_' => 1,
                    _ if symbol.is_whitespace() => 2,
                    _ if "~!@#^&|`?+-*/%<>=:".contains(symbol) => 3,
                    _ => 0,
                };
                let alike = |symbol: char| kind(symbol) == kind(first) && kind(first) != 0;
                let length = rest.find(|symbol| !alike(symbol)).unwrap_or(rest.len());
                length.max(first.len_utf8())
            }
        };
        let (token, after) = rest.split_at(end);
        found.push(token.to_owned());
        rest = after;
    }
    found
}

/// Tokens that are where readers trip.
const ODD: &[&str] = &[
    "''",
    "E'\\\\'",
    "E'\\x00'",
    "E'\\u00e9'",
    "U&'\\0041'",
    "U&\"d\\0061t\"",
    "$$x$$",
    "$a$ $$ $a$",
    "B'01'",
    "X'1F'",
    "N'x'",
    "1e999",
    "0x1F",
    "0b1",
    "99999999999999999999",
    "$1",
    "$65536",
    "$4294967296",
    ".5",
    "1.",
    "-",
    "::",
    ":=",
    "=>",
    "..",
    "*",
    "(",
    ")",
    "[",
    "]",
    ",",
    ";",
    "--\n",
    "/*",
    "*/",
    "/* /* */",
    "\u{e9}",
    "\u{1f418}",
    "\u{2028}",
    "\u{a0}",
    "'\n'",
    "ARRAY[",
    "ROW(",
    "CASE WHEN",
    "END",
    "NOT",
    "IS JSON",
    "COLLATE \"C\"",
    "AT TIME ZONE",
    "OVER (",
    "FILTER (WHERE",
    "WITHIN GROUP (ORDER BY",
    "OPERATOR(pg_catalog.+)",
    "BETWEEN",
    "LIKE",
    "ESCAPE ''",
    "OVERLAPS",
    "UNION ALL",
    "INTERSECT",
    "LATERAL",
    "TABLESAMPLE x(1)",
    "WITH ORDINALITY",
    "ON CONFLICT DO NOTHING",
    "RETURNING *",
    "FOR UPDATE OF x",
    "GROUPING SETS (())",
    "XMLTABLE(",
    "JSON_TABLE(",
    "JSON_OBJECT(",
    "MERGE INTO",
    "NULLS NOT DISTINCT",
    "BEGIN ATOMIC",
    "FROM",
    "SELECT",
    "WHERE",
    "INTO",
    "VALUES",
    "DEFAULT",
    "CREATE CONVERSION c FOR '' TO '' FROM f",
];

impl Material {
    fn load(path: &Path) -> Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    fn seed<'g>(&'g self, rng: &mut Rng) -> &'g [String] {
        &self.seeds[rng.below(self.seeds.len() as u64) as usize]
    }

    /// The text of this number: always the same.
    fn text(&self, seed: u64, number: u64) -> String {
        let mut rng = Rng::new(seed).part(number);
        let mut text = self.seed(&mut rng).to_vec();
        for _ in 0..rng.below(4) {
            self.change(&mut text, &mut rng);
        }
        let mut joined = text.concat();
        if rng.below(8) == 0 {
            joined = wrapped(&joined, &mut rng);
        }
        joined.truncate(boundary(&joined, MAX_BYTES - 1));
        joined
    }

    /// One change.
    fn change(&self, text: &mut Vec<String>, rng: &mut Rng) {
        if text.is_empty() {
            text.push("SELECT 1".to_owned());
        }
        let at = rng.below(text.len() as u64) as usize;
        match rng.below(16) {
            0 => drop(text.remove(at)),
            1 => text.insert(at, text[at].clone()),
            2 => {
                let other = rng.below(text.len() as u64) as usize;
                text.swap(at, other);
            }
            3 => text[at] = ODD[rng.below(ODD.len() as u64) as usize].to_owned(),
            4 => text.insert(at, format!(" {} ", ODD[rng.below(ODD.len() as u64) as usize])),
            // The beginning of one and the end of another.
            5 => {
                let other = self.seed(rng);
                let from = rng.below(other.len().max(1) as u64) as usize;
                text.truncate(at);
                text.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            // A bracket of another one in place of one of its own.
            6 | 7 | 13 | 14 => {
                let other = self.seed(rng);
                let (own, its) = (bracket(text, rng), bracket(other, rng));
                if let (Some(own), Some(its)) = (own, its) {
                    text.splice(own, other[its].iter().cloned());
                }
            }
            // A word for a word, a literal for a literal.
            8 | 11 | 12 => {
                let other = self.seed(rng);
                let kind = |token: &str| token.chars().next().map(char::is_alphanumeric);
                let alike: Vec<&String> = other.iter().filter(|token| kind(token) == kind(&text[at])).collect();
                if !alike.is_empty() {
                    text[at] = alike[rng.below(alike.len() as u64) as usize].clone();
                }
            }
            9 => {
                let function = &self.functions[rng.below(self.functions.len() as u64) as usize];
                let its = bracket(text, rng).map_or("()".to_owned(), |its| text[its].concat());
                text[at] = format!("{function}{its}");
            }
            // A stretch many times over.
            10 => {
                let length = rng.below(6) as usize + 1;
                let stretch = text[at..(at + length).min(text.len())].concat();
                let times = 1 + rng.below((MAX_BYTES / 4 / stretch.len().max(1)).clamp(1, 600) as u64) as usize;
                text.insert(at, stretch.repeat(times));
            }
            _ => {
                let symbol = char::from_u32(rng.below(0x250) as u32 + 1).unwrap_or('?');
                let token = &mut text[at];
                let place = boundary(token, rng.below(token.len() as u64 + 1) as usize);
                token.insert(place, symbol);
            }
        }
    }
}

/// The last boundary of a character up to `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default()
}

/// A pair of brackets with what is in it.
fn bracket(tokens: &[String], rng: &mut Rng) -> Option<std::ops::Range<usize>> {
    let opens: Vec<usize> = (0..tokens.len()).filter(|at| tokens[*at] == "(").collect();
    let open = *opens.get(rng.below(opens.len() as u64) as usize)?;
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(open..at + 1);
        }
    }
    None
}

fn wrapped(text: &str, rng: &mut Rng) -> String {
    let text = text.trim_end_matches([';', ' ', '\n']);
    match rng.below(8) {
        0 => format!("EXPLAIN (ANALYZE, VERBOSE) {text}"),
        1 => format!("PREPARE p AS {text}"),
        2 => format!("WITH q AS ({text}) SELECT * FROM q"),
        3 => format!("COPY ({text}) TO STDOUT"),
        4 => format!("SELECT ({text}), EXISTS ({text})"),
        5 => format!("DECLARE c CURSOR FOR {text}"),
        6 => format!("{text}; {text}"),
        _ => {
            let depth = rng.below(300) as usize;
            format!("SELECT {}({text}){}", "(".repeat(depth), ")".repeat(depth))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text_and_every_number_has_one_text() {
        let text = "SELECT 'a b', \"c\" FROM t--x\nWHERE é>=1 AND 'open";
        assert_eq!(tokens(text).concat(), text);
        assert_eq!(tokens("a('b')+-1"), ["a", "(", "'b'", ")", "+-", "1"]);
        let ground = Material {
            seeds: vec![tokens(text), tokens("SELECT (1), (SELECT (2))")],
            functions: vec!["abs".to_owned()],
            snapshot: Snapshot::default(),
        };
        for number in 0..2_000 {
            let made = ground.text(7, number);
            assert_eq!(made, ground.text(7, number));
            assert!(made.len() < MAX_BYTES);
        }
    }
}
