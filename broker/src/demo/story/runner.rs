//! GitHub's side of a step, as its runner does it: inputs and state as environment, command files, workflow commands
//! in the log, masks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::stage::{Said, Stage, hear};

/// The action beside this program's source.
const ACTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../action");
/// The oldest Node the action runs on.
const NODE: u32 = 20;

/// One job with one step that uses the action.
pub(super) struct Runner<'a> {
    stage: &'a Stage,
    dist: PathBuf,
    inputs: Vec<(&'static str, String)>,
    /// What steps exported for the steps after them.
    env: BTreeMap<String, String>,
    state: BTreeMap<String, String>,
    masks: Vec<String>,
}

/// How a part of the step ended.
pub(super) struct Ended {
    pub(super) good: bool,
    /// The log as GitHub shows it.
    pub(super) log: String,
    /// The job summary, in Markdown.
    pub(super) summary: String,
}

impl<'a> Runner<'a> {
    /// A runner, or in a few words why there is none.
    pub(super) async fn find(stage: &'a Stage, inputs: Vec<(&'static str, String)>) -> Result<Result<Self, String>> {
        let dist = Path::new(ACTION).join("dist");
        if !dist.join("main.cjs").is_file() || !dist.join("post.cjs").is_file() {
            return Ok(Err(format!("there is no action in {ACTION}")));
        }
        let mut ask = stage.job(Path::new("node"));
        ask.arg("--version");
        let version = match hear(ask).await {
            Ok(said) if said.status.success() => said.text.trim().to_owned(),
            _ => return Ok(Err("Node is not installed".to_owned())),
        };
        let major = version
            .trim_start_matches('v')
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < NODE) {
            return Ok(Err(format!(
                "the action needs Node {NODE} or newer, and this is {version}"
            )));
        }
        fs::create_dir_all(stage.path("runner/temp"))?;
        let env = BTreeMap::from([
            ("CI".to_owned(), "true".to_owned()),
            ("GITHUB_ACTIONS".to_owned(), "true".to_owned()),
            ("GITHUB_EVENT_NAME".to_owned(), "push".to_owned()),
            ("GITHUB_REPOSITORY".to_owned(), "acme/orders".to_owned()),
            (
                "RUNNER_TEMP".to_owned(),
                stage.path("runner/temp").display().to_string(),
            ),
        ]);
        Ok(Ok(Self {
            stage,
            dist,
            inputs,
            env,
            state: BTreeMap::new(),
            masks: Vec::new(),
        }))
    }

    /// The step itself.
    pub(super) async fn main(&mut self) -> Result<Ended> {
        self.part("main").await
    }

    /// Its post part, when the job ends.
    pub(super) async fn post(&mut self) -> Result<Ended> {
        self.part("post").await
    }

    /// A later step of the same job: it sees what the action exported.
    pub(super) async fn step(&self, program: &str, arguments: &[&str]) -> Result<Said> {
        let mut command = self.stage.job(Path::new(program));
        command.envs(&self.env).args(arguments);
        hear(command).await
    }

    async fn part(&mut self, part: &str) -> Result<Ended> {
        let file = |name: &str| self.stage.path(&format!("runner/{part}-{name}"));
        let mut command = self.stage.job(Path::new("node"));
        command
            .arg(self.dist.join(format!("{part}.cjs")))
            .envs(&self.env)
            .envs(
                self.inputs
                    .iter()
                    .map(|(name, value)| (format!("INPUT_{}", name.to_uppercase()), value)),
            )
            .envs(self.state.iter().map(|(name, value)| (format!("STATE_{name}"), value)))
            .env("ACTIONS_ID_TOKEN_REQUEST_URL", self.stage.github.request_url())
            .env(
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
                self.stage.github.request_token().expose(),
            );
        for name in ["OUTPUT", "ENV", "STATE", "PATH", "STEP_SUMMARY"] {
            fs::write(file(name), "")?;
            command.env(format!("GITHUB_{name}"), file(name));
        }
        let (env, state, summary) = (file("ENV"), file("STATE"), file("STEP_SUMMARY"));
        let said = hear(command).await?;
        self.env.extend(pairs(&fs::read_to_string(env)?)?);
        self.state.extend(pairs(&fs::read_to_string(state)?)?);
        let log = self.log(&said.text);
        Ok(Ended {
            good: said.status.success(),
            log,
            summary: self.masked(&fs::read_to_string(summary)?),
        })
    }

    /// The log as GitHub shows it: workflow commands obeyed, masked values hidden.
    fn log(&mut self, text: &str) -> String {
        let mut shown = String::new();
        for line in text.lines() {
            let line = match command(line) {
                Some(("add-mask", _, value)) => {
                    self.masks.push(unescaped(value));
                    continue;
                }
                Some(("debug" | "endgroup", ..)) => continue,
                Some(("group", _, title)) => unescaped(title),
                Some((level @ ("error" | "warning" | "notice"), properties, message)) => {
                    format!("{level}{}: {}", place(properties), unescaped(message))
                }
                _ => line.to_owned(),
            };
            if !line.trim().is_empty() {
                shown.push_str(&self.masked(&line));
                shown.push('\n');
            }
        }
        shown
    }

    fn masked(&self, text: &str) -> String {
        let masks = self.masks.iter().filter(|mask| !mask.is_empty());
        masks.fold(text.to_owned(), |text, mask| text.replace(mask.as_str(), "***"))
    }
}

/// `::name key=value,…::data`.
fn command(line: &str) -> Option<(&str, &str, &str)> {
    let (head, data) = line.strip_prefix("::")?.split_once("::")?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    Some((name, properties, data))
}

/// ` (file:line)` of an annotation.
fn place(properties: &str) -> String {
    let of = |wanted: &str| {
        let mut all = properties.split(',').filter_map(|pair| pair.trim().split_once('='));
        all.find(|(name, _)| *name == wanted).map(|(_, value)| unescaped(value))
    };
    match (of("file"), of("line")) {
        (Some(file), Some(line)) => format!(" ({file}:{line})"),
        _ => String::new(),
    }
}

fn unescaped(text: &str) -> String {
    [("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// A command file: `name=value`, or `name<<delimiter` with the value's lines up to the delimiter.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((name, delimiter)) = line.split_once("<<") {
            let mut value = Vec::new();
            loop {
                let next = lines
                    .next()
                    .with_context(|| format!("the value of {name} has no end"))?;
                if next == delimiter {
                    break;
                }
                value.push(next);
            }
            found.push((name.to_owned(), value.join("\n")));
        } else if let Some((name, value)) = line.split_once('=') {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_files_are_read() {
        let text = "A<<ghadelimiter_1\none\ntwo = 2\nghadelimiter_1\nB=3\n";
        assert_eq!(
            pairs(text).unwrap(),
            [("A".into(), "one\ntwo = 2".into()), ("B".into(), "3".into())]
        );
        assert!(pairs("A<<end\nnever").is_err());
    }

    #[test]
    fn workflow_commands_are_read() {
        assert_eq!(command("::add-mask::s3%25cret"), Some(("add-mask", "", "s3%25cret")));
        let (name, properties, data) = command("::warning title=a%3Ab,file=p.yaml,line=7::one%0Atwo").unwrap();
        assert_eq!(
            (name, place(properties).as_str(), unescaped(data).as_str()),
            ("warning", " (p.yaml:7)", "one\ntwo")
        );
        assert_eq!(command("a plain :: line"), None);
    }
}
