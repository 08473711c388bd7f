//! Documents that must agree with the code: the command-line reference, the API's document, the error codes, and what
//! the prose says about both. `UPDATE_EXPECTED=1` rewrites the generated ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::{Command, CommandFactory as _};
use hoop::cli::Cli;
use proc_macro2::TokenTree;
use tests::house::root;
use tests::source::files;

/// Prose that is held to the binary and to the tree.
const PROSE: &[&str] = &[
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "broker/docs/ARCHITECTURE.md",
    "broker/docs/ERRORS.md",
    "broker/docs/LEDGER.md",
    "broker/docs/OPERATIONS.md",
    "broker/docs/THREAT-MODEL.md",
    "broker/deploy/README.md",
    "policies/README.md",
];

/// Literals of the broker that look like codes and are none: YAML keys, statement classes, names of records, headers.
const NO_CODES: &[&str] = &[
    "25P01",
    "access-method",
    "advisory-lock",
    "always-detect",
    "always-mask",
    "backend-control",
    "broker-started",
    "copy-in",
    "copy-out",
    "date-shift",
    "definer-function",
    "event-trigger",
    "fake-name",
    "foreign-data-wrapper",
    "github-actions",
    "grant-minted",
    "hoop-db",
    "id-token",
    "idempotency-key",
    "idle-timeout",
    "kebab-case",
    "keep-first",
    "keep-last",
    "large-object",
    "ledger-chain",
    "ledger-sync",
    "lock-timeout",
    "login-lacks",
    "mask-key",
    "max-connections",
    "max-lifetime",
    "max-session",
    "max-token-age",
    "national-id",
    "no-store",
    "operator-token",
    "policy-from",
    "pull-requests",
    "reader-worker",
    "reads-by-name",
    "repository-id",
    "required-claims",
    "reusable-workflow",
    "revoke-token",
    "session-closed",
    "session-opened",
    "start-up",
    "text-search",
    "two-phase",
    "user-mapping",
    "verify-full",
    "x-request-id",
];
/// Codes of one word, which look like any other word.
const ONE_WORD: &[&str] = &[
    "busy",
    "empty",
    "internal",
    "never",
    "opaque",
    "stopping",
    "timeout",
    "unresolved",
];
/// The same for the action: its inputs, outputs and headers.
const NO_CODES_OF_THE_ACTION: &[&str] = &[
    "broker-url",
    "ca-certificate",
    "ca-file",
    "content-type",
    "database-url",
    "env-prefix",
    "expires-at",
    "fail-on-denied-statement",
    "github-actions",
    "grant-id",
    "hoop-db-access-action",
    "idempotency-key",
    "jdbc-url",
    "on-denial",
    "policy-sha",
    "retry-after",
    "service-file",
    "tls-name",
    "tls-trust",
    "url-scheme",
    "url-style",
    "verify-connection",
    "verify-full",
];

fn is_kebab(text: &str) -> bool {
    text.contains('-')
        && text
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase()))
}

fn is_sqlstate(text: &str) -> bool {
    text.len() == 5
        && text.starts_with(|first: char| first.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// Every string literal of the broker's sources, tests and demo left out.
fn literals() -> BTreeSet<String> {
    fn walk(tokens: &[TokenTree], into: &mut BTreeSet<String>) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => walk(&group.stream().into_iter().collect::<Vec<_>>(), into),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    if let Some(text) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                        into.insert(text.to_owned());
                    }
                }
                _ => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    for source in files(&root().join("broker/src")) {
        let helper = ["demo/", "store/conformance", "grant/testing"]
            .iter()
            .any(|part| source.path.starts_with(part));
        if !source.of_tests && !helper {
            walk(&source.tokens, &mut found);
        }
    }
    found
}

/// String literals of the action's sources.
fn action_literals() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root().join("action/src/lib")).expect("the action's sources") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a source file");
        found.extend(
            text.split('\'')
                .skip(1)
                .filter(|part| is_kebab(part))
                .map(str::to_owned),
        );
    }
    found
}

/// What stands in the first column of the tables of ERRORS.md.
fn documented() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("broker/docs/ERRORS.md")).expect("ERRORS.md");
    let cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(code, _)| code.to_owned()).collect()
}

#[test]
fn every_code_is_explained_and_every_explained_code_exists() {
    let literals = literals();
    let of = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    let mut codes: BTreeSet<String> = literals
        .iter()
        .filter(|text| is_kebab(text) || is_sqlstate(text))
        .cloned()
        .collect();
    codes.extend(
        ONE_WORD
            .iter()
            .filter(|word| literals.contains(**word))
            .map(|word| (*word).to_owned()),
    );
    codes.extend(action_literals().difference(&of(NO_CODES_OF_THE_ACTION)).cloned());
    let stale: Vec<&&str> = NO_CODES.iter().filter(|word| !codes.contains(**word)).collect();
    assert!(
        stale.is_empty(),
        "no longer in the code, take them out of NO_CODES: {stale:?}"
    );
    let codes: BTreeSet<String> = codes.difference(&of(NO_CODES)).cloned().collect();
    let documented = documented();
    let missing: Vec<&String> = codes.difference(&documented).collect();
    let gone: Vec<&String> = documented.difference(&codes).collect();
    assert!(
        missing.is_empty(),
        "explain them in broker/docs/ERRORS.md (or they are no codes: NO_CODES): {missing:?}"
    );
    assert!(
        gone.is_empty(),
        "broker/docs/ERRORS.md explains codes that are gone: {gone:?}"
    );
    assert!(
        codes.len() > 100,
        "only {} codes were seen: the scan is broken",
        codes.len()
    );
}

/// Compares `text` with the file at `path`, or writes it when `UPDATE_EXPECTED` is set.
fn hold(path: &str, text: &str) {
    let full = root().join(path);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&full, text).expect("the file can be written");
    }
    let stands = fs::read_to_string(&full).unwrap_or_default();
    assert!(
        stands == text,
        "{path} is out of date: UPDATE_EXPECTED=1 cargo test -p tests --test generated"
    );
}

/// The command line without what depends on the terminal or the environment it is asked in.
fn plain(command: Command) -> Command {
    let command = command.term_width(100).mut_args(|arg| arg.hide_env_values(true));
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    names
        .iter()
        .fold(command, |command, name| command.mut_subcommand(name, plain))
}

fn chapter(command: &mut Command, name: &str, out: &mut String) {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    out.push_str(&format!(
        "\n## `{name}`\n\n```text\n{}\n```\n",
        lines.join("\n").trim_end()
    ));
    let shown = |sub: &&mut Command| sub.get_name() != "help" && !sub.is_hide_set();
    for sub in command.get_subcommands_mut().filter(shown) {
        let name = format!("{name} {}", sub.get_name());
        chapter(sub, &name, out);
    }
}

#[test]
fn the_command_line_reference_is_current() {
    let mut command = plain(Cli::command());
    command.build();
    let mut text =
        "# Command line\n\nGenerated from the program: `UPDATE_EXPECTED=1 cargo test -p tests --test generated`.\n"
            .to_owned();
    chapter(&mut command, "hoop-db", &mut text);
    hold("broker/docs/CLI.md", &text);
}

#[test]
fn the_api_document_is_current() {
    hold("broker/docs/openapi.json", &(hoop::http::document() + "\n"));
}

fn prose() -> Vec<(PathBuf, String)> {
    let paths = PROSE.iter().map(|path| root().join(path));
    paths
        .map(|path| {
            (
                path.clone(),
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            )
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut count = 0;
    for (path, text) in prose() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            count += 1;
            if !path.parent().expect("a folder").join(target).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(count > 40, "only {count} links were seen: the scan is broken");
}

/// The `hoop-db …` lines of fenced blocks, continuations joined.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| {
        block
            .replace("\\\n", " ")
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    lines
        .filter_map(|line| {
            let line = line.trim().trim_start_matches("- ").trim_start_matches("$ ");
            let start = line
                .find("hoop-db ")
                .filter(|at| *at == 0 || line[..*at].ends_with("$(") || line[..*at].ends_with('"'))?;
            let line = line[start..].split(" # ").next()?.split(" | ").next()?;
            Some(line.trim_end_matches(['"', ')']).to_owned())
        })
        .collect()
}

/// Words as a shell would split them, as far as the examples need it.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, ' ') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn every_command_of_the_prose_is_one_the_program_takes() {
    let mut wrong = Vec::new();
    let mut count = 0;
    // Where the examples rely on the environment, so does the check.
    let cli = || {
        let given = |command: Command, name: &'static str| {
            command.mut_subcommand(name, |sub| {
                sub.mut_arg("broker", |arg| arg.default_value("x").required(false))
            })
        };
        ["run", "open", "close", "whoami", "kill"]
            .into_iter()
            .fold(Cli::command(), given)
            .mut_subcommand("kill", |sub| {
                sub.mut_arg("operator_token", |arg| arg.default_value("x").required(false))
            })
    };
    for (path, text) in prose() {
        for line in commands(&text) {
            count += 1;
            if let Err(error) = cli().try_get_matches_from(words(&line)) {
                wrong.push(format!("{}: {line}\n{error}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 15, "only {count} commands were seen: the scan is broken");
}

#[test]
fn the_readmes_policy_fits_its_operators_file() {
    let text = fs::read_to_string(root().join("README.md")).expect("README.md");
    let block = |begins: &str| {
        let mut blocks = text
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        blocks
            .find(|block| block.contains(begins))
            .unwrap_or_else(|| panic!("no block with {begins}"))
            .to_owned()
    };
    let operator = hoop::policy::operator::Operator::read(&block("\nrepositories:"), "broker.yaml")
        .unwrap_or_else(|found| panic!("{found:?}"));
    let policies = hoop::policy::set::Policies::load(&operator, |file| {
        assert_eq!(file, "acme/orders/db-access.yaml");
        Ok(block("\nscopes:") + &block("  report:\n"))
    });
    let repository = policies.repositories().next().expect("one repository");
    let compiled = repository.policy.as_ref().expect("its policy");
    for name in ["migrate", "report"] {
        let scope = compiled.scopes.get(name).expect("the scope");
        assert!(scope.is_ok(), "{:?}", compiled.diagnostics);
    }
}
