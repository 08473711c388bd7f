//! A table of operator's files: the good one, and one for every mistake, each with its code and line.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::*;

const NOW: Timestamp = Timestamp::constant(1_795_305_600, 0);

type Any = Config<Value, Value, Value>;

/// A directory with everything the good file refers to.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.path().join("policies")).unwrap();
        place.write("password", "s3cret\n");
        place.write("token", "0123456789abcdefghijklmn\n");
        place.certificate("tls", "db-broker.example.com", (-1, 30));
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// Writes `<name>.crt` and `<name>.key`, valid from and to so many days from now.
    fn certificate(&self, name: &str, host: &str, days: (i64, i64)) {
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        let day = |days: i64| {
            let zoned = (NOW + SignedDuration::from_hours(24 * days)).to_zoned(jiff::tz::TimeZone::UTC);
            rcgen::date_time_ymd(
                zoned.year().into(),
                zoned.month().unsigned_abs(),
                zoned.day().unsigned_abs(),
            )
        };
        (params.not_before, params.not_after) = (day(days.0), day(days.1));
        let key = rcgen::KeyPair::generate().unwrap();
        self.write(&format!("{name}.crt"), &params.self_signed(&key).unwrap().pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn good(&self) -> String {
        GOOD.replace("DIR", &self.path().display().to_string())
    }

    /// The good file without `public:` and `tls:`.
    fn bare(&self) -> String {
        let good = self.good();
        let kept = good
            .lines()
            .filter(|line| !line.starts_with("public:") && !line.starts_with("tls:"));
        kept.flat_map(|line| [line, "\n"]).collect()
    }

    /// The only mistake of the good file with `from` replaced by `to`.
    fn mistake(&self, from: &str, to: &str) -> Mistake {
        let mistakes = self.mistakes(&[(from, to)]);
        assert_eq!(mistakes.len(), 1, "{from} -> {to}: {mistakes:?}");
        mistakes[0].clone()
    }

    fn mistakes(&self, changes: &[(&str, &str)]) -> Vec<Mistake> {
        let mut text = self.good();
        for (from, to) in changes {
            let dir = self.path().display().to_string();
            let (from, to) = (from.replace("DIR", &dir), to.replace("DIR", &dir));
            assert!(text.contains(&from), "{from} is not in the good file");
            text = text.replace(&from, &to);
        }
        Any::parse(&text, "broker.yaml", NOW).unwrap_err().mistakes
    }
}

const GOOD: &str = r#"listen: { http: "0.0.0.0:8443", postgres: "0.0.0.0:6432" }
public: { http: "https://db-broker.example.com", postgres: "db-broker.example.com:6432" }
tls: { certificate: "file:DIR/tls.crt", key: "file:DIR/tls.key", ca: "file:DIR/tls.crt" }
state: { directory: DIR/state }
policies: { directory: DIR/policies }
operator-token: "file:DIR/token"
durability: strict
issuers: { github: { kind: github-actions } }
databases:
  orders-prod:
    address: "db.internal:5432"
    database: orders
    tls: { mode: verify-full, ca: "file:DIR/tls.crt" }
    login: { user: hoop_broker, password: "file:DIR/password" }
    enforcement: shared
repositories: [ { id: "github:260064828" } ]
ceilings: { payments-team: {} }
"#;

#[test]
fn a_good_file_is_read_whole() {
    let place = Place::new();
    let config = Any::parse(&place.good(), "broker.yaml", NOW).unwrap();
    assert_eq!(config.http.port(), 8443);
    assert_eq!(
        (config.public.host.as_str(), config.public.port),
        ("db-broker.example.com", 6432)
    );
    assert_eq!(config.durability, Durability::Strict);
    let database = &config.databases["orders-prod"];
    assert_eq!(
        (database.host.as_str(), database.port, database.user.as_str()),
        ("db.internal", 5432, "hoop_broker")
    );
    assert_eq!(database.password.expose(), "s3cret");
    assert!(matches!(&database.tls, UpstreamTls::VerifyFull { ca: Some(_) }));
    assert_eq!(config.operator_token.unwrap().expose(), "0123456789abcdefghijklmn");
    let tls = config.tls.unwrap();
    assert!(tls.ca.is_some() && tls.leaf().is_some());
    assert_eq!(
        tls.server(&["http/1.1"]).unwrap().alpn_protocols,
        [b"http/1.1".to_vec()]
    );
    assert_eq!(
        (config.repositories.len(), config.ceilings.len(), config.issuers.len()),
        (1, 1, 1)
    );
}

#[test]
fn loopback_needs_neither_tls_nor_a_public_address() {
    let place = Place::new();
    let plain = place.bare();
    let plain = plain
        .replace("0.0.0.0:8443", "127.0.0.1:8443")
        .replace("0.0.0.0:6432", "[::1]:6432");
    let config = Any::parse(&plain, "broker.yaml", NOW).unwrap();
    assert!(config.tls.is_none());
    let public = Public {
        http: "http://127.0.0.1:8443".into(),
        host: "[::1]".into(),
        port: 6432,
    };
    assert_eq!(config.public, public);
}

/// What is replaced in the good file, by what, and the code and line of the mistake it makes.
const MISTAKES: &[(&str, &str, &str, u64)] = &[
    ("0.0.0.0:8443", "everywhere", "config-invalid", 1),
    (
        "https://db-broker.example.com",
        "db-broker.example.com",
        "config-invalid",
        2,
    ),
    (
        "https://db-broker.example.com",
        "https://db-broker.example.com/x",
        "config-invalid",
        2,
    ),
    (
        "db-broker.example.com:6432",
        "db-broker.example.com",
        "config-invalid",
        2,
    ),
    (
        "certificate: \"file:DIR/tls.crt\"",
        "certificate: \"file:DIR/none.crt\"",
        "secret-missing",
        3,
    ),
    (
        "certificate: \"file:DIR/tls.crt\"",
        "certificate: \"file:DIR/garbage.crt\"",
        "certificate-invalid",
        3,
    ),
    (
        "certificate: \"file:DIR/tls.crt\"",
        "certificate: \"file:DIR/other.crt\"",
        "certificate-key-mismatch",
        3,
    ),
    (
        "key: \"file:DIR/tls.key\"",
        "key: \"file:DIR/tls.crt\"",
        "certificate-invalid",
        3,
    ),
    (
        "DIR/tls.crt\", key: \"file:DIR/tls.key",
        "DIR/old.crt\", key: \"file:DIR/old.key",
        "certificate-expired",
        3,
    ),
    (
        "DIR/tls.crt\", key: \"file:DIR/tls.key",
        "DIR/future.crt\", key: \"file:DIR/future.key",
        "certificate-expired",
        3,
    ),
    (
        "DIR/tls.crt\", key: \"file:DIR/tls.key",
        "DIR/other.crt\", key: \"file:DIR/other.key",
        "certificate-wrong-name",
        3,
    ),
    (
        "ca: \"file:DIR/tls.crt\" }\nstate",
        "ca: \"file:DIR/garbage.crt\" }\nstate",
        "certificate-invalid",
        3,
    ),
    (
        "directory: DIR/state",
        "directory: /proc/nowhere",
        "state-not-writable",
        4,
    ),
    ("directory: DIR/state", "directory: DIR/token", "state-not-writable", 4),
    (
        "directory: DIR/policies",
        "directory: DIR/nothing",
        "policies-unreadable",
        5,
    ),
    (
        "operator-token: \"file:DIR/token\"",
        "operator-token: hunter2",
        "literal-secret",
        6,
    ),
    ("file:DIR/token", "file:DIR/short", "config-invalid", 6),
    ("file:DIR/token", "file:DIR/empty", "secret-missing", 6),
    ("file:DIR/token", "vault:kv/token", "not-yet-enforced", 6),
    ("file:DIR/token", "env:HOOP_NO_SUCH_VARIABLE", "secret-missing", 6),
    ("durability: strict", "durability: sometimes", "config-invalid", 7),
    (
        "durability: strict",
        "durability: strict\ndebug: true",
        "config-invalid",
        8,
    ),
    (
        "durability: strict",
        "durability: strict\ndurability: strict",
        "config-invalid",
        8,
    ),
    (
        "durability: strict",
        "rate-limit: { per-second: 0, burst: 1 }",
        "config-invalid",
        7,
    ),
    ("durability: strict", "schema-poll: 6s", "config-invalid", 7),
    ("durability: strict", "schema-poll: 10ms", "config-invalid", 7),
    ("durability: strict", "schema-poll: often", "config-invalid", 7),
    ("{ github: { kind: github-actions } }", "{}", "config-invalid", 8),
    ("db.internal:5432", "db.internal", "config-invalid", 11),
    ("db.internal:5432", "user@db.internal:5432", "config-invalid", 11),
    ("database: orders\n", "database: \"\"\n", "config-invalid", 12),
    (
        "{ mode: verify-full, ca: \"file:DIR/tls.crt\" }",
        "{ mode: disable }",
        "tls-missing",
        13,
    ),
    ("mode: verify-full", "mode: prefer", "config-invalid", 13),
    ("file:DIR/password", "hunter2", "literal-secret", 14),
    ("user: hoop_broker, ", "", "config-invalid", 14),
    ("enforcement: shared", "enforcement: roles", "config-invalid", 15),
    (
        "enforcement: shared",
        "enforcement: shared\n    pool: 5",
        "config-invalid",
        16,
    ),
    ("listen:", "listen: &anchor", "config-invalid", 1),
];

#[test]
fn every_mistake_has_its_code_and_its_line() {
    let place = Place::new();
    place.certificate("old", "db-broker.example.com", (-30, -1));
    place.certificate("future", "db-broker.example.com", (5, 30));
    place.certificate("other", "other.example.com", (-1, 30));
    place.write("garbage.crt", "not a certificate");
    place.write("short", "abc");
    place.write("empty", "\n");
    for &(from, to, code, line) in MISTAKES {
        let mistake = place.mistake(from, to);
        assert_eq!((mistake.code, mistake.line), (code, line), "{from} -> {to}: {mistake}");
        assert!(
            !mistake.to_string().contains("hunter2"),
            "a literal secret is not repeated: {mistake}"
        );
        assert!(
            mistake.to_string().starts_with(&format!("broker.yaml:{line}:")),
            "{mistake}"
        );
    }
}

#[test]
fn listeners_in_the_open_need_tls_and_a_public_address() {
    let place = Place::new();
    let bare = place.bare();
    let mistakes = Any::parse(&bare, "broker.yaml", NOW).unwrap_err().mistakes;
    let codes: Vec<_> = mistakes.iter().map(|mistake| (mistake.code, mistake.line)).collect();
    assert_eq!(codes, [("config-invalid", 1), ("tls-missing", 1)]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    let place = Place::new();
    let changes = [
        ("0.0.0.0:6432", "x"),
        ("file:DIR/password", "hunter2"),
        ("database: orders\n", "database: \"\"\n"),
        ("DIR/policies", "DIR/no"),
    ];
    let mistakes = place.mistakes(&changes);
    let lines: Vec<_> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [1, 5, 12, 14]);
}

#[test]
fn a_database_on_loopback_may_be_reached_in_the_clear() {
    let place = Place::new();
    let tls = format!(
        "{{ mode: verify-full, ca: \"file:{}/tls.crt\" }}",
        place.path().display()
    );
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let text = place
            .good()
            .replace("db.internal", host)
            .replace(&tls, "{ mode: disable }");
        let config = Any::parse(&text, "broker.yaml", NOW).unwrap();
        assert_eq!(config.databases["orders-prod"].tls, UpstreamTls::Disable);
    }
    let text = place
        .good()
        .replace("db.internal", "localhost.example.com")
        .replace(&tls, "{ mode: disable }");
    assert_eq!(Any::parse(&text, "broker.yaml", NOW).unwrap_err().code(), "tls-missing");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let fault = Any::load(Path::new("/no/such/broker.yaml"), NOW).unwrap_err();
    assert_eq!(fault.code(), "config-unreadable");
    assert!(
        fault
            .to_string()
            .starts_with("/no/such/broker.yaml: config-unreadable: "),
        "{fault}"
    );
}
